//! Which repository is meant, where its cache is, and how it is opened or made.
//! It must never create a repository that was not asked for: a cron job with another HOME has to fail, not to start a new one.
//! It obeys what README.md says of it.

use crate::args::{Global, Side};
use crate::exit::{Code, Fail};
use crate::output::Output;
use crate::remote;
use crate::secret::{self, Given};
use seabed_engine::error::Error;
use seabed_engine::id::{ObjectName, RepositoryId};
use seabed_engine::keys::Rotated;
use seabed_engine::repository::{Found, InitOptions, OpenOptions, Repository};
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::random;
use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;
use seabed_engine::store::s3::{Capabilities, ClassFound, S3Place, S3Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Kinds of places that other tools know and this version does not: never taken for a directory of that name.
const REMOTE: [&str; 10] = ["sftp", "ssh", "rest", "rclone", "b2", "gs", "azure", "swift", "http", "https"];

/// Where a repository is.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory, or a bucket.
    pub kind: Kind,
    /// It is the one that is used when none is named.
    pub is_default: bool,
}

/// What kind of place it is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A directory, absolute.
    Directory(PathBuf),
    /// A bucket of an S3-compatible store.
    S3(S3Place),
}

impl Place {
    /// As it is written; holds no secret.
    pub fn text(&self) -> String {
        match &self.kind {
            Kind::Directory(path) => path.display().to_string(),
            Kind::S3(place) => place.text(),
        }
    }

    /// Its directory, where it has one.
    pub fn directory(&self) -> Option<&PathBuf> {
        if let Kind::Directory(path) = &self.kind { Some(path) } else { None }
    }

    /// For people.
    pub fn words(&self) -> String {
        format!("{}{}", self.text(), if self.is_default { " (the default)" } else { "" })
    }
}

/// A base directory: the variable where it is absolute, as the XDG specification wants it, else below HOME.
pub fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

fn default_path() -> Option<PathBuf> {
    directory("XDG_DATA_HOME", ".local/share").map(|base| base.join("seabed/repo"))
}

/// Which repository is meant.
pub fn place(global: &Global) -> Result<Place, Fail> {
    let default = default_path();
    let named = global.repo.clone().or_else(|| std::env::var_os(global.side.variable("REPOSITORY")).map(PathBuf::from));
    let Some(named) = named else {
        // Only the repository that every command has may go without a name.
        if global.side != Side::Own {
            let fail = Fail::config("no other repository is named");
            let (flag, variable) = (global.side.flag("repo"), global.side.variable("REPOSITORY"));
            return Err(fail.hint(format!("name it with {flag} or {variable}")));
        }
        let path = default.ok_or_else(|| {
            Fail::config("no repository is named, and without HOME there is no default one")
                .hint("name one with --repo or SEABED_REPOSITORY")
        })?;
        return Ok(Place { kind: Kind::Directory(path), is_default: true });
    };
    if named.as_os_str().is_empty() {
        return Err(Fail::config("the name of the repository is empty").hint("unset SEABED_REPOSITORY, or give it a value"));
    }
    if let Some(text) = named.to_str().filter(|text| S3Place::is_meant(text)) {
        // The name itself is not repeated: it may hold a secret.
        let place = S3Place::parse(text).map_err(|why| {
            Fail::config(format!("the name of the repository makes no sense: {why}"))
                .hint("write s3://BUCKET/PREFIX, or s3:https://HOST/BUCKET/PREFIX")
        })?;
        return Ok(Place { kind: Kind::S3(remote::at_endpoint(place)?), is_default: false });
    }
    let text = named.to_string_lossy();
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    // The name itself is not repeated: it may hold a password.
    if let Some(scheme) = scheme.filter(|scheme| REMOTE.contains(&scheme.as_str())) {
        return Err(Fail::config(format!("repositories at `{scheme}:` are not in this version")).hint("name a local directory or s3:…"));
    }
    if text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/')) {
        let fail = Fail::config("the name of the repository begins like a place in a network of a kind that is not known here");
        return Err(fail.hint("write s3://BUCKET/PREFIX or s3:https://HOST/BUCKET/PREFIX; for a directory of this name begin with `./`"));
    }
    let path = std::path::absolute(&named).map_err(|e| {
        Fail::config(format!("cannot use {}: {}", named.display(), crate::exit::plain(&e)))
            .hint("write the whole path: --repo /where/it/is")
    })?;
    Ok(Place { is_default: default.is_some_and(|d| d == path), kind: Kind::Directory(path) })
}

/// Where caches go; `None` where there is to be none.
pub fn cache(global: &Global) -> Option<PathBuf> {
    if global.no_cache {
        return None;
    }
    let named = global.cache_dir.clone().or_else(|| std::env::var_os("SEABED_CACHE_DIR").map(PathBuf::from));
    named.filter(|p| !p.as_os_str().is_empty()).or_else(|| directory("XDG_CACHE_HOME", ".cache").map(|base| base.join("seabed")))
}

/// A repository that is open, and what the user may want to know about it.
pub struct Opened {
    /// Itself.
    pub repository: Repository,
    /// Where.
    pub place: Place,
    /// Where caches of all repositories are.
    pub cache: Option<PathBuf>,
    /// It was made just now.
    pub created: bool,
    /// The key file that was made with it.
    pub new_key: Option<PathBuf>,
    /// What the store can do, where a new repository's was tried.
    pub capabilities: Option<Capabilities>,
}

/// Runs `open` with the cache, and again without where the cache cannot be used: it only saves time.
fn with_cache<T>(cache: &mut Option<PathBuf>, out: &Output, open: impl Fn(&OpenOptions) -> Result<T, Error>) -> Result<T, Error> {
    match open(&options(cache.clone())) {
        Err(error @ (Error::Cache { .. } | Error::Catalog { .. })) if cache.is_some() => {
            out.warn(&format!("{}; going on without a cache", crate::exit::without_number(&error.to_string())));
            *cache = None;
            open(&options(None))
        }
        other => other,
    }
}

/// The key files that this program would have made for a repository.
fn own_keys(place: &Place, id: &RepositoryId, related: bool) -> Vec<PathBuf> {
    let Some(base) = secret::key_directory() else { return Vec::new() };
    let default = (place.is_default || related).then(|| base.join("key"));
    default.into_iter().chain([base.join(format!("keys/{id}.key"))]).collect()
}

/// Opens the repository that is meant.
pub fn open(global: &Global, out: &Output) -> Result<Opened, Fail> {
    let place = place(global)?;
    open_at(global, out, place)
}

/// For what runs unattended and writes: two rotations that met, and that nobody brought together, would stop it until somebody looks.
pub fn settle(opened: &mut Opened, dry_run: bool, out: &Output) -> Result<(), Fail> {
    if dry_run {
        return Ok(());
    }
    if let Some(rotated) = seabed_engine::keys::settle(&mut opened.repository)? {
        out.warn(&format!("keys were rotated twice at the same time: epoch {} brings the two together", rotated.epoch));
        warn_disputed(&rotated, out);
    }
    Ok(())
}

/// Whom that took out.
pub fn warn_disputed(rotated: &Rotated, out: &Output) {
    for (slot, label) in &rotated.disputed {
        let id = slot.to_string();
        let id = id.get(..8).unwrap_or(&id);
        out.warn(&format!("slot {id} `{label}` opens nothing from now on: one of the two removed it, or did not know it"));
    }
}

/// The store at a place that should hold a repository.
pub fn store_at(global: &Global, out: &Output, place: &Place) -> Result<Arc<dyn Store>, Fail> {
    let store: Arc<dyn Store> = match &place.kind {
        Kind::Directory(path) => Arc::new(LocalStore::open(path).map_err(|e| missing(e, place, global.side))?),
        Kind::S3(s3) => Arc::new(remote::store(global, out, s3.clone())?),
    };
    out.meter(&store);
    Ok(store)
}

/// The store at the place that is meant, whatever is there: what a recovery sheet is for may have no descriptor.
pub fn bare(global: &Global, out: &Output) -> Result<(Place, Arc<dyn Store>), Fail> {
    let place = place(global)?;
    let store = store_at(global, out, &place)?;
    Ok((place, store))
}

/// How the engine is to open a repository.
fn options(cache: Option<PathBuf>) -> OpenOptions {
    OpenOptions { cache, ..OpenOptions::default() }
}

fn open_at(global: &Global, out: &Output, place: Place) -> Result<Opened, Fail> {
    // Whether it is there before any question for a secret: a passphrase for nothing is a riddle.
    let store = store_at(global, out, &place)?;
    let mut cache = cache(global);
    let found = Repository::find(store, &options(cache.clone())).map_err(|e| missing(e, &place, global.side))?;
    open_found(global, out, place, &found, &mut cache)
}

fn open_found(global: &Global, out: &Output, place: Place, found: &Found, cache: &mut Option<PathBuf>) -> Result<Opened, Fail> {
    let id = found.id();
    let mut attempt = |secret: &Secret| with_cache(cache, out, |options| found.open(secret, options));
    let given = match secret::given(global)? {
        Given::Secret(secret) => Some(secret),
        Given::KeyFile(path) => Some(secret::key_file(&path)?),
        Given::Nothing => None,
    };
    let repository = match given.as_ref().map(&mut attempt) {
        // The secret of the own one, which nobody said is this one's: it may have a key file of its own.
        Some(Err(Error::WrongKey)) if global.related => unasked((&place, true), &id, out, &mut attempt)?,
        Some(Err(Error::WrongKey)) => return Err(not_opened(&place, global.secrets_of)),
        Some(opened) => opened?,
        None => unasked((&place, global.related), &id, out, &mut attempt)?,
    };
    remember(cache.as_deref(), &id, &place);
    Ok(Opened { repository, place, cache: cache.clone(), created: false, new_key: None, capabilities: None })
}

/// In the cache of a repository: where it is, so that its catalog is found when the place cannot be reached.
const PLACES: &str = "places";
/// Places that are remembered of one repository: a disk that is mounted here and there.
const PLACES_MAX: usize = 8;

fn places(directory: &Path) -> Vec<String> {
    std::fs::read_to_string(directory.join(PLACES)).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Remembers where a repository is. What cannot be written is not missed before the store is away.
fn remember(cache: Option<&Path>, id: &RepositoryId, place: &Place) {
    let Some(directory) = cache.map(|base| base.join(id.to_string())) else { return };
    let (mut known, text) = (places(&directory), place.text());
    if known.first() == Some(&text) || text.contains('\n') {
        return;
    }
    known.retain(|other| *other != text);
    known.insert(0, text);
    known.truncate(PLACES_MAX);
    let next = directory.join("places.new");
    std::fs::write(&next, known.join("\n") + "\n").and_then(|()| std::fs::rename(&next, directory.join(PLACES))).unwrap_or(());
}

/// The repository that was at a place, and its directory in the cache.
pub fn remembered(cache: &Path, place: &Place) -> Option<(RepositoryId, PathBuf)> {
    let text = place.text();
    let known = std::fs::read_dir(cache).ok()?.flatten().filter_map(|entry| {
        let id = RepositoryId::from_hex(entry.file_name().to_str()?)?;
        let at = places(&entry.path()).iter().position(|known| *known == text)?;
        let changed = entry.path().join(PLACES).metadata().and_then(|meta| meta.modified()).ok();
        Some((at, std::cmp::Reverse(changed), id, entry.path()))
    });
    // A place that was given to another repository since is the first of that one's list, or the one that was written last.
    known.min_by_key(|(at, changed, ..)| (*at, *changed)).map(|(_, _, id, path)| (id, path))
}

/// Opens with what this program knows by itself: the key file that it made, else the person at the terminal.
fn unasked(
    (place, related): (&Place, bool),
    id: &RepositoryId,
    out: &Output,
    attempt: &mut dyn FnMut(&Secret) -> Result<Repository, Error>,
) -> Result<Repository, Fail> {
    let mut wrong: Option<PathBuf> = None;
    for path in own_keys(place, id, related).into_iter().filter(|p| p.exists()) {
        match attempt(&secret::key_file(&path)?) {
            Err(Error::WrongKey) => wrong = Some(path),
            other => return other.map_err(Fail::from),
        }
    }
    if !secret::can_ask() {
        return Err(match wrong {
            Some(path) => Fail::new(Code::WrongKey, format!("the key file {} does not open {}", path.display(), place.text()))
                .hint("give the right secret: --password-file, --key-file, SEABED_PASSWORD …"),
            None => Fail::config(format!("no secret is given for {}", place.text()))
                .hint("give one: --password-file, --password-command, --key-file, SEABED_PASSWORD, SEABED_KEY_FILE …"),
        });
    }
    for _ in 0..secret::TRIES {
        let Some(secret) = secret::ask(&format!("Passphrase for {}: ", place.text()))? else { continue };
        match attempt(&secret) {
            Err(Error::WrongKey) => out.warn("this passphrase opens nothing here"),
            other => return other.map_err(Fail::from),
        }
    }
    Err(Error::WrongKey.into())
}

/// Of several repositories, which one it is, and by which options its secret is given.
fn not_opened(place: &Place, side: Side) -> Fail {
    let (file, key) = (side.flag("password-file"), side.flag("key-file"));
    let (word, path) = (side.variable("PASSWORD"), side.variable("KEY_FILE"));
    Fail::new(Code::WrongKey, format!("no key slot of {} opens with this secret", place.text()))
        .hint(format!("check {file}, {key} and the {word}, {path} variables"))
}

fn missing(error: Error, place: &Place, side: Side) -> Fail {
    let none = matches!(error, Error::NoRepository { .. });
    let fail = Fail::from(error);
    let repo = side.flag("repo");
    match (none, side, place.is_default) {
        (true, Side::From, _) => fail.hint(format!("name one that is there with {repo}")),
        (true, Side::To, _) => fail.hint(format!("create it with `seabed init --sibling-of`, or name another one with {repo}")),
        (true, Side::Own, true) => Fail::new(fail.code, format!("there is no repository at {}", place.words()))
            .hint("create it with `seabed backup --init PATH…` or `seabed init`, or name another one with --repo"),
        _ => fail,
    }
}

/// The store at a place that may hold a repository. `None`: a directory that is not there.
fn store_of(global: &Global, out: &Output, place: &Place) -> Result<Option<AnyStore>, Fail> {
    let store = match &place.kind {
        Kind::Directory(path) => match LocalStore::open(path) {
            Ok(store) => AnyStore::Directory(Arc::new(store)),
            Err(Error::NoRepository { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        Kind::S3(s3) => AnyStore::S3(Arc::new(remote::store(global, out, s3.clone())?)),
    };
    out.meter(&store.clone().whole());
    Ok(Some(store))
}

/// A store of either kind. What one run asks of a bucket it asks by one of them: they count requests, and share what may be waited.
#[derive(Clone)]
enum AnyStore {
    Directory(Arc<LocalStore>),
    S3(Arc<S3Store>),
}

impl AnyStore {
    fn whole(self) -> Arc<dyn Store> {
        match self {
            AnyStore::Directory(store) => store,
            AnyStore::S3(store) => store,
        }
    }
}

/// Opens the repository that is meant, or makes it where it is not there yet: `backup --init`.
pub fn open_or_init(global: &Global, out: &Output) -> Result<Opened, Fail> {
    let place = place(global)?;
    let mut cache = cache(global);
    let store = store_of(global, out, &place)?;
    if let Some(store) = &store {
        match Repository::find(store.clone().whole(), &options(cache.clone())) {
            Ok(found) => return open_found(global, out, place, &found, &mut cache),
            Err(Error::NoRepository { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    init_at(global, out, (place, store), false, (&NewRepository::default(), None))
}

/// How a new repository is to be.
#[derive(Clone, Debug, Default)]
pub struct NewRepository {
    /// What the user calls the first slot.
    pub label: String,
    /// The bucket is made too, where it is not there.
    pub create_bucket: bool,
}

/// Makes the repository that is meant, a sibling `of` another one where that is given. A person at the terminal may choose a passphrase.
pub fn init(global: &Global, out: &Output, new: &NewRepository, of: Option<&Repository>) -> Result<Opened, Fail> {
    let place = place(global)?;
    let store = store_of(global, out, &place)?;
    if let (Some(AnyStore::S3(store)), true) = (&store, new.create_bucket) {
        create_bucket(store, &place)?;
    }
    // Before any question for a secret, and before a key file is made for nothing.
    if let Some(store) = &store
        && store.clone().whole().size(&ObjectName::descriptor())?.is_some()
    {
        return Err(Error::RepositoryExists { place: place.text() }.into());
    }
    init_at(global, out, (place, store), true, (new, of))
}

fn create_bucket(store: &S3Store, place: &Place) -> Result<(), Fail> {
    match store.create_bucket() {
        // Some stores (rclone) say so of one's own bucket too: whoever may list it may use it.
        Err(Error::Store { source, .. }) if source.to_string().contains("BucketAlreadyExists") => match store.holds_any("slots") {
            Ok(_) => Ok(()),
            Err(Error::Store { .. }) => {
                let fail = Fail::config(format!("somebody else owns a bucket with the name of that of {}", place.text()));
                Err(fail.hint("names of buckets are everybody's: choose another one; if it is yours, look at the keys"))
            }
            Err(other) => Err(other.into()),
        },
        other => other.map_err(Fail::from),
    }
}

fn init_at(
    global: &Global,
    out: &Output,
    (place, store): (Place, Option<AnyStore>),
    may_ask: bool,
    (new, of): (&NewRepository, Option<&Repository>),
) -> Result<Opened, Fail> {
    let id = RepositoryId::new(random()?);
    let given = match secret::given(global)? {
        Given::Nothing if may_ask && secret::can_ask() => secret::ask_new(out)?.map_or(Given::Nothing, Given::Secret),
        given => given,
    };
    // The directory before the key file: where that cannot be made, nothing is left behind.
    let mut capabilities = None;
    let store: Arc<dyn Store> = match (&place.kind, store) {
        (Kind::Directory(_), _) if new.create_bucket => {
            return Err(
                Fail::config("a directory is no bucket").hint("leave --create-bucket out, or name a bucket: --repo s3://BUCKET/PREFIX")
            );
        }
        (_, Some(AnyStore::S3(store))) => {
            // Before anything relies on it. All else that a store may lack costs time, this costs data.
            let found = store.probe()?;
            if let Some(flaw) = found.listing.flaw() {
                let fail = Fail::new(Code::Refused, format!("listings at {} cannot be trusted: {flaw}", place.text()));
                return Err(fail.hint("it promises less than S3: backups of others would be overlooked; use another store"));
            }
            match &found.storage_class {
                Some((class, ClassFound::Refused(why))) => {
                    let fail = Fail::config(format!("{} takes nothing of the storage class `{class}`: {why}", place.text()));
                    return Err(fail.hint("correct --storage-class, or leave it out; where the class is right, look at the keys"));
                }
                Some((class, ClassFound::Other(other))) => {
                    out.warn(&format!("the store ignores --storage-class {class}: what is put lies in {other}"));
                }
                Some((_, ClassFound::Kept)) | None => {}
            }
            capabilities = Some(found);
            store
        }
        (Kind::Directory(path), _) => Arc::new(LocalStore::create(path)?),
        (Kind::S3(s3), _) => Arc::new(remote::store(global, out, s3.clone())?),
    };
    out.meter(&store);
    let (secret, new_key) = match given {
        Given::Secret(secret) => (secret, None),
        Given::KeyFile(path) => make_or_read(&path)?,
        Given::Nothing => {
            // A default key that is there already is used again: it may be all that opens something else.
            let path = own_keys(&place, &id, false).into_iter().next().ok_or_else(|| {
                Fail::config("there is no secret, and without HOME no place for a key file")
                    .hint("give one with --password-file or --key-file")
            })?;
            make_or_read(&path)?
        }
    };
    let mut cache = cache(global);
    let init = InitOptions { label: new.label.clone(), id: Some(id), ..InitOptions::default() };
    let made = match of {
        Some(of) => Repository::init_sibling(store.clone(), of, &secret, &init, &options(cache.clone())),
        None => Repository::init(store.clone(), &secret, &init, &options(cache.clone())),
    };
    let repository = match made {
        // The descriptor is written before the cache is looked at: the repository is there.
        Err(Error::Cache { .. } | Error::Catalog { .. }) => with_cache(&mut cache, out, |o| Repository::open(store.clone(), &secret, o))?,
        // Somebody else made it meanwhile. A key that was made for ours is of no use.
        Err(error @ Error::RepositoryExists { .. }) => {
            if let Some(path) = &new_key {
                std::fs::remove_file(path).unwrap_or(());
            }
            if may_ask || new_key.is_some() {
                return Err(error.into());
            }
            let repository = with_cache(&mut cache, out, |o| Repository::open(store.clone(), &secret, o))?;
            return Ok(Opened { repository, place, cache, created: false, new_key: None, capabilities: None });
        }
        other => other?,
    };
    remember(cache.as_deref(), &repository.id(), &place);
    Ok(Opened { repository, place, cache, created: true, new_key, capabilities })
}

fn make_or_read(path: &Path) -> Result<(Secret, Option<PathBuf>), Fail> {
    if path.exists() { Ok((secret::key_file(path)?, None)) } else { Ok((secret::make_key_file(path)?, Some(path.to_owned()))) }
}

/// Says which repository this is, where the story is told.
pub fn introduce(opened: &Opened, out: &Output) {
    let id = opened.repository.id().short();
    if !opened.created {
        out.say(&format!("repository {id} at {}", opened.place.words()));
        return;
    }
    out.say(&format!("created repository {id} at {}", opened.place.words()));
    if let Some(Capabilities { conditional_put, checksum, .. }) = &opened.capabilities {
        let (puts, sums) = (conditional_put.word(), checksum.word());
        out.say(&format!("  the store: checksums {sums}, conditional writes {puts}; `seabed doctor` says more"));
    }
    if let Some(key) = &opened.new_key {
        out.say(&format!("its key is in {}", key.display()));
        out.say("  Copy this file to another place, now. Without it nobody can read the backups.");
    }
}

/// Beside data on standard output only the default is worth a remark.
pub fn remark(opened: &Opened, out: &Output) {
    if opened.place.is_default {
        out.remark(&format!("repository {} at {}", opened.repository.id().short(), opened.place.words()));
    }
}
