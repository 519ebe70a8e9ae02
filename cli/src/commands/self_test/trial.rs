//! A whole life of a repository in some seconds: made, filled, restored, compared, checked, damaged, and the damage found.
//! It must never go on after a step that failed: what follows rests on it.

use super::tree::{self, Content};
use crate::commands::findings::{Finding, Level, finding};
use crate::exit::{Fail, plain};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size};
use seabed_engine::backup::{BackupOptions, BackupReport, StreamSource, backup};
use seabed_engine::check::{CheckOptions, CheckReport, ReadData, check};
use seabed_engine::dump::dump;
use seabed_engine::error::Error;
use seabed_engine::id::hex;
use seabed_engine::repository::selector::Filter;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::restore::{RestoreOptions, restore};
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::random;
use seabed_engine::source::stream::{ReaderStream, Stream};
use seabed_engine::store::local::LocalStore;
use std::fs;
use std::io::{self, Cursor};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use zeroize::Zeroizing;

/// The stream that is stored beside the tree.
const STREAM: (&str, Content, u64) = ("dump.sql", Content::Text(24 << 20), 99);
/// What to do where something does not work for no reason that is known.
const REPORT: &str = "this should not happen: please report it, with what `seabed self-test --json` says";
/// What to do where bytes differ from what they were.
const MEMORY: &str = "test this machine's memory (memtest86+) and disk before you trust it with a backup";

/// Why a step failed: what to say, and what to do.
struct Trouble(String, String);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let fail = Fail::from(error);
        Trouble(fail.message, fail.hint.unwrap_or_else(|| REPORT.to_owned()))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let hint = if error.kind() == io::ErrorKind::StorageFull { "make room there, or name another place with --dir" } else { REPORT };
        Trouble(plain(&error), hint.to_owned())
    }
}

fn trouble(text: impl Into<String>, remedy: &str) -> Trouble {
    Trouble(text.into(), remedy.to_owned())
}

fn fine(text: impl Into<String>) -> Finding {
    finding(Level::Fine, text, None)
}

struct Trial<'a> {
    place: &'a Path,
    out: &'a Output,
    tree: PathBuf,
    secret: Secret,
}

/// Tries everything in `place`; each step is told when it is done.
pub fn run(place: &Path, out: &Output, told: &mut dyn FnMut(Finding)) -> Result<(), Fail> {
    let secret = Secret::Passphrase(Zeroizing::new(hex(&random::<32>()?).into_bytes()));
    let trial = Trial { place, out, tree: place.join("tree"), secret };
    let Some(repository) = step(told, "making a repository", || trial.open()) else { return Ok(()) };
    let steps: [(&str, &dyn Fn() -> Result<Finding, Trouble>); 5] = [
        ("backing up", &|| trial.first(&repository)),
        ("backing up again", &|| trial.again(&repository)),
        ("restoring", &|| trial.restored(&repository)),
        ("checking", &|| trial.checked(&repository)),
        ("damaging a copy", &|| trial.damaged()),
    ];
    for (what, run) in steps {
        if signals::interrupted() || step(told, what, || Ok((run()?, ()))).is_none() {
            break;
        }
    }
    Ok(())
}

/// Does a step and tells of it; `None` where it failed.
fn step<T>(told: &mut dyn FnMut(Finding), what: &str, run: impl FnOnce() -> Result<(Finding, T), Trouble>) -> Option<T> {
    match run() {
        Ok((found, made)) => {
            told(found);
            Some(made)
        }
        // Whatever gave way first: who stopped it was the user.
        Err(_) if signals::interrupted() => None,
        Err(Trouble(text, remedy)) => {
            told(finding(Level::Failure, format!("{what} fails: {text}"), Some(&remedy)));
            None
        }
    }
}

impl Trial<'_> {
    fn repository(&self) -> PathBuf {
        self.place.join("repository")
    }

    fn open(&self) -> Result<(Finding, Repository), Trouble> {
        let store = Arc::new(LocalStore::create(self.repository())?);
        let options = OpenOptions { cache: Some(self.place.join("cache")), ..OpenOptions::default() };
        drop(Repository::init(store.clone(), &self.secret, &InitOptions::default(), &options)?);
        let began = Instant::now();
        let repository = Repository::open(store, &self.secret, &options)?;
        let took = began.elapsed().as_secs_f64();
        Ok((fine(format!("a repository is made, and opens with its passphrase in {took:.2} s")), repository))
    }

    fn first(&self, repository: &Repository) -> Result<Finding, Trouble> {
        let made = tree::make(&self.tree)?;
        let began = Instant::now();
        let report = self.backup(repository)?;
        let took = began.elapsed().as_secs_f64();
        let (have, want) = (report.summary.files_total, made.files + 1);
        if have != want {
            return Err(trouble(format!("{have} files are in the snapshot, and {want} were to be"), REPORT));
        }
        let (files, bytes) = (size::of(made.files, "file"), size::human(made.bytes));
        Ok(fine(format!("{files}, {bytes}, and a stream are backed up in {took:.1} s")))
    }

    fn again(&self, repository: &Repository) -> Result<Finding, Trouble> {
        let summary = self.backup(repository)?.summary;
        if summary.data_chunks > 0 {
            return Err(trouble("a second backup of the same files stores some of them again", MEMORY));
        }
        // Those that were written just before the first one began are read twice, as they should be.
        if summary.files_changed > summary.files_unmodified {
            let text = format!("a second backup takes {} for changed", size::of(summary.files_changed, "file"));
            let remedy =
                "times or inode numbers change by themselves there, or times are coarse: backups from there read more than they need";
            return Ok(finding(Level::Note, text, Some(remedy)));
        }
        Ok(fine("a second backup takes them for unchanged"))
    }

    fn restored(&self, repository: &Repository) -> Result<Finding, Trouble> {
        let target = self.place.join("restored");
        let options = RestoreOptions { target: target.clone(), verify: true, ..RestoreOptions::default() };
        repository.refresh()?;
        let mut selected = repository.select("latest", &Filter::default())?;
        selected.path = self.tree.strip_prefix("/").unwrap_or(&self.tree).as_os_str().as_bytes().to_vec();
        let report = self.listening("restoring", |listener| Ok(restore(repository, &selected, &options, listener)?))?;
        if let Some(error) = report.errors.into_iter().next() {
            return Err(error.into());
        }
        if let Some(difference) = tree::difference(&self.tree, &target)? {
            return Err(trouble(format!("what was restored differs: {difference}"), MEMORY));
        }
        let mut stream = Vec::new();
        selected.path = STREAM.0.as_bytes().to_vec();
        self.listening("restoring", |listener| Ok(dump(repository, &selected, &mut stream, listener)?))?;
        if stream != tree::bytes(STREAM.1, STREAM.2) {
            return Err(trouble("the stream that was restored differs", MEMORY));
        }
        Ok(fine("all of it is restored and equal, byte by byte"))
    }

    fn checked(&self, repository: &Repository) -> Result<Finding, Trouble> {
        let report = self.check(repository)?;
        match report.findings.first() {
            None => Ok(fine(format!("a check reads {} and finds nothing wrong", size::of(report.packs_read, "pack")))),
            Some(found) => Err(trouble(format!("the check finds damage: {}", found.error), MEMORY)),
        }
    }

    fn damaged(&self) -> Result<Finding, Trouble> {
        let copy = self.place.join("damaged");
        copy_all(&self.repository(), &copy)?;
        let packs = files_below(&copy.join("data"))?;
        let largest = packs.iter().max_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
        let pack = largest.ok_or_else(|| trouble("no pack is there", REPORT))?;
        let mut bytes = fs::read(pack)?;
        let at = bytes.len() / 3;
        bytes[at] ^= 0x10;
        // A file of its own: packs cannot be written.
        fs::remove_file(pack)?;
        fs::write(pack, bytes)?;
        let options = OpenOptions { cache: Some(self.place.join("another cache")), ..OpenOptions::default() };
        let repository = Repository::open(Arc::new(LocalStore::open(&copy)?), &self.secret, &options)?;
        if self.check(&repository)?.is_clean() {
            return Err(trouble("a flipped bit in a copy was not found", REPORT));
        }
        Ok(fine("a flipped bit in a copy of the repository is found"))
    }

    fn listening<T>(&self, what: &'static str, run: impl FnOnce(&Listener<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let listener = Listener::beside_result(self.out, what);
        let result = run(&listener);
        listener.finish();
        result
    }

    fn backup(&self, repository: &Repository) -> Result<BackupReport, Trouble> {
        let open = || Ok(Box::new(ReaderStream(Cursor::new(tree::bytes(STREAM.1, STREAM.2)))) as Box<dyn Stream>);
        let (name, open) = (STREAM.0.as_bytes().to_vec(), Mutex::new(Some(Box::new(open) as Box<_>)));
        let options = BackupOptions {
            paths: vec![self.tree.clone()],
            streams: vec![StreamSource { name, argv: Vec::new(), open, allow_empty: false }],
            series: Some("self-test".to_owned()),
            host: "self-test".to_owned(),
            ..BackupOptions::default()
        };
        let report = self.listening("backing up", |listener| {
            backup(repository, options, listener).map_err(|failure| {
                let fail = Fail::from(failure);
                Trouble(fail.message, fail.hint.unwrap_or_else(|| REPORT.to_owned()))
            })
        })?;
        match report.errors.first() {
            None => Ok(report),
            Some(error) => Err(trouble(error.to_string(), REPORT)),
        }
    }

    fn check(&self, repository: &Repository) -> Result<CheckReport, Trouble> {
        self.listening("checking", |listener| {
            Ok(check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, listener)?)
        })
    }
}

fn files_below(top: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut found, mut todo) = (Vec::new(), vec![top.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for path in files_below(from)? {
        let copy = to.join(path.strip_prefix(from).unwrap_or(&path));
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&path, &copy)?;
    }
    Ok(())
}
