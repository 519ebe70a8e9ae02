//! Making and opening repositories. Slot and keyring are stored before the descriptor: a repository exists once its
//! descriptor does, and what an interrupted `init` leaves behind is bound to an id that no descriptor names.

use crate::catalog::Catalog;
use crate::chunk::{Chunker, Profile};
use crate::error::{Damage, Error, Result};
use crate::format::object::{ObjectType, Purpose};
use crate::format::repo::{CHUNKER_GEAR, Descriptor, Feature};
use crate::format::tree::TreeCutter;
use crate::format::wire::Time;
use crate::id::{Class, ObjectName, RepositoryId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::locks::Locks;
use crate::repository::manifests::Listings;
use crate::repository::{Cache, Repository, listed};
use crate::seal::key::{KDF_DEFAULT, Keys, OpenSlot, Secret, new_keyring, new_slot};
use crate::seal::object::{UnverifiedMac, decode_descriptor, encode_descriptor, open_object};
use crate::seal::random;
use crate::store::near::NearStore;
use crate::store::shelf::PACKS_BYTES_MAX;
use crate::store::{Listed, Store, each};
use crossbeam_channel::never;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How to make a repository.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Argon2id cost of the first slot: KiB, passes, lanes.
    pub kdf: (u32, u32, u32),
    /// What the user calls the first slot.
    pub label: String,
    /// Its id, where the caller had to know it beforehand (to name a key file after it); else a fresh one.
    pub id: Option<RepositoryId>,
    /// How long whoever makes a repository in the same place at the same time may take; only where the store cannot tell two puts apart.
    pub patience: Duration,
}

impl Default for InitOptions {
    fn default() -> Self {
        // Puts of small objects; more than the retries of a short outage would be a riddle to who waits.
        InitOptions { kdf: KDF_DEFAULT, label: String::new(), id: None, patience: Duration::from_secs(10) }
    }
}

/// How to open a repository.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Where caches of all repositories are; `None` for a run without.
    pub cache: Option<PathBuf>,
    /// What copies of a remote store's packs of metadata may take there, bytes.
    pub copies_bytes_max: u64,
}

/// The directory of copies in a repository's cache.
pub const COPIES: &str = "objects";

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { cache: None, copies_bytes_max: PACKS_BYTES_MAX }
    }
}

/// Features that this program knows: none yet.
const KNOWN_FEATURES: [&str; 0] = [];

/// What a run is about to do, as far as feature flags care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Collect.
    Gc,
}

impl Repository {
    /// Makes a repository in an empty store and opens it.
    pub fn init(store: Arc<dyn Store>, secret: &Secret, init: &InitOptions, open: &OpenOptions) -> Result<Self> {
        Self::init_with(store, None, secret, init, open)
    }

    /// Makes a repository of the same key family as `other`, which is open with all its keys: packs can be copied between the two as they
    /// are. It has an id and slots of its own; from the next rotation of either on, the other lacks the keys of what is written then.
    pub fn init_sibling(
        store: Arc<dyn Store>,
        other: &Repository,
        secret: &Secret,
        init: &InitOptions,
        open: &OpenOptions,
    ) -> Result<Self> {
        if !other.keys.is_full() {
            return Err(Error::Refused { what: "a sibling needs all keys of the other repository".to_owned() });
        }
        Self::init_with(store, Some(other), secret, init, open)
    }

    fn init_with(
        store: Arc<dyn Store>,
        sibling: Option<&Repository>,
        secret: &Secret,
        init: &InitOptions,
        open: &OpenOptions,
    ) -> Result<Self> {
        let descriptor_name = ObjectName::descriptor();
        if store.size(&descriptor_name)?.is_some() {
            return Err(Error::RepositoryExists { place: store.place() });
        }
        // Slots and a keyring may be left of an init that was killed.
        refuse_without_descriptor(&*store)?;
        let now = Time::from_nanos(store.now()?);
        let repository = match init.id {
            Some(id) => id,
            None => RepositoryId::new(random()?),
        };
        let (mut keys, profiles) = match sibling {
            None => (Keys::generate()?, Profile::default_sizes()),
            // The same cuts, or a copy would share nothing with what is backed up there.
            Some(other) => (Keys::clone(&other.keys), other.descriptor.profiles.clone()),
        };
        // Who opens the other does not open this one.
        keys.members.clear();
        let (slot_name, slot, opened) = new_slot(&repository, secret, init.kdf, &init.label, now)?;
        keys.members.push(opened.member());
        let (keyring_name, keyring) = new_keyring(&repository, &keys)?;
        let descriptor = Descriptor { repository, family: keys.family, chunker: CHUNKER_GEAR, profiles, created: now, extra: Vec::new() };
        let gear = keys.require(&descriptor_name, Purpose::Gear, 0)?;
        let object = encode_descriptor(&descriptor, gear);
        // With copies in the cache: the first backup need not ask for them.
        let stores = Stores::new(store.clone(), &repository, open);
        stores.near.put(&slot_name, &slot)?;
        stores.near.put(&keyring_name, &keyring)?;
        // Last: from here on it exists. Two at once: where the store refuses to replace an object, the second put fails; elsewhere it would
        // take the first one's repository away from it, so there whoever sees another's slot lets the other go first.
        let gone_first = let_others_go_first(&*store, &slot_name, init.patience);
        if matches!(gone_first, Err(Error::RepositoryExists { .. })) {
            // Nobody knows of them. What cannot be removed is sealed for a repository that never was.
            for name in [&slot_name, &keyring_name] {
                stores.near.delete(name).unwrap_or(());
            }
        }
        gone_first?;
        store.put(&descriptor_name, &object)?;
        Self::assemble(stores, descriptor, (keys, Some(opened)), Vec::new(), false, open)
    }

    /// Looks for a repository, and reads all of it that needs no key.
    pub fn find(store: Arc<dyn Store>, options: &OpenOptions) -> Result<Found> {
        Found::new(store, options)
    }

    /// Opens a repository.
    pub fn open(store: Arc<dyn Store>, secret: &Secret, options: &OpenOptions) -> Result<Self> {
        Found::new(store, options)?.open(secret, options)
    }

    fn assemble(
        stores: Stores,
        descriptor: Descriptor,
        (keys, slot): (Keys, Option<OpenSlot>),
        features: Vec<Listed>,
        behind: bool,
        options: &OpenOptions,
    ) -> Result<Self> {
        let name = ObjectName::descriptor();
        let gear = *keys.require(&name, Purpose::Gear, 0)?.as_bytes();
        let chunker = Chunker::new(&gear, &descriptor.profiles).ok_or(Error::damaged(&name, Damage::Malformed("profiles")))?;
        let ids = keys
            .chunk_ids()
            .ok_or_else(|| Error::UnknownFeature { object: name.clone(), feature: "a keyring without id keys".to_owned() })?;
        let cache = match &options.cache {
            Some(base) => Cache::open(base, &descriptor.repository)?,
            None => Cache::none()?,
        };
        let catalog = Catalog::open(cache.directory(), &descriptor.repository)?;
        // A withheld keyring would make this run write under keys that a rotation took from somebody.
        let newest = catalog.note_epoch(keys.epoch)?;
        if newest > keys.epoch {
            return Err(Error::RolledBack { epoch: keys.epoch, seen: newest, removed: behind });
        }
        let catalog = Mutex::new(catalog);
        let slot = slot.map(Arc::new);
        let keys = match slot.clone().filter(|_| !behind) {
            None => keys,
            Some(slot) => {
                let (far, id) = (stores.far.clone(), descriptor.repository);
                keys.renewed_by(Arc::new(move || Locks::now(&*far, Vec::new())?.keys(&id, &[&slot])))
            }
        };
        let repository = Repository {
            store: stores.near,
            origin: stores.far,
            features,
            descriptor,
            keys: Arc::new(keys),
            slot,
            behind,
            ids,
            chunker,
            cutter: TreeCutter::new(&gear),
            cache,
            catalog,
            index: Mutex::new(None),
            listings: Mutex::new(None),
            put: Mutex::default(),
        };
        repository.require_features(Access::Read)?;
        Ok(repository)
    }

    /// Refuses what a feature that this program does not know forbids, and to write under keys that whom a rotation removed may hold.
    #[doc(hidden)]
    pub fn require_features(&self, access: Access) -> Result<()> {
        if access != Access::Read && self.keys.are_apart() {
            let what = "keys were rotated twice at the same time, and nobody brought the two together: `seabed key rotate` does".to_owned();
            return Err(Error::Refused { what });
        }
        self.require_known(access)
    }

    /// The same for who is about to bring rotations together.
    pub(crate) fn require_known(&self, access: Access) -> Result<()> {
        // Who opens only what was before a rotation would write what those who remain may read, under keys that were taken out of use.
        if self.behind && access != Access::Read {
            let what = "a newer epoch has no keys for this secret: its slot was removed, and it reads what was written before".to_owned();
            return Err(Error::Refused { what });
        }
        for listed in &self.features {
            if KNOWN_FEATURES.iter().any(|known| listed.name.last() == *known) {
                continue;
            }
            let bytes = self.store.get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
            let feature: Feature = open_object(&self.keys, &self.id(), &listed.name, ObjectType::Feature, &bytes)?;
            let forbids = match access {
                Access::Read => feature.read,
                Access::Write => feature.write,
                Access::Gc => feature.gc,
            };
            if forbids {
                return Err(Error::UnknownFeature { object: listed.name.clone(), feature: feature.name });
            }
        }
        Ok(())
    }
}

/// Between two looks for a descriptor.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the descriptor of whoever else is making a repository here; an error once it is there. Of two inits that have put their slots
/// at least one sees the other's. That both wait ends by their order; a slot that a killed init left ends by itself.
fn let_others_go_first(store: &dyn Store, own: &ObjectName, patience: Duration) -> Result<()> {
    let others = || -> Result<usize> {
        let slots = store.list("slots")?;
        let before = slots.iter().filter(|slot| slot.name < *own).count();
        // Who is first waits too: one that came just now may not have seen it.
        Ok(if slots.iter().any(|slot| slot.name != *own) { before + 1 } else { 0 })
    };
    if store.refuses_other_bytes() {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        let turns = others()?;
        if turns == 0 || began.elapsed() >= patience * u32::try_from(turns).unwrap_or(u32::MAX) {
            return Ok(());
        }
        // Nothing is sent on it: a wait, no more.
        never::<()>().recv_timeout((patience / 20).min(LOOK)).unwrap_or(());
        if store.size(&ObjectName::descriptor())?.is_some() {
            return Err(Error::RepositoryExists { place: store.place() });
        }
    }
}

fn descriptor_bytes(store: &dyn Store) -> Result<Vec<u8>> {
    match store.get(&ObjectName::descriptor(), SMALL_OBJECT_BYTES_MAX) {
        Err(e) if e.is_missing() => {
            refuse_without_descriptor(store)?;
            Err(Error::NoRepository { place: store.place() })
        }
        other => other,
    }
}

/// A repository whose descriptor was lost is no place for a new one: the old one's objects would lie among the new one's, and look
/// like damage for ever.
fn refuse_without_descriptor(store: &dyn Store) -> Result<()> {
    let folders = ["snapshots", "pending", "index", Class::Data.folder(), Class::Names.folder(), Class::Lists.folder()];
    for holds_any in each(store, &folders, |folder| store.holds_any(folder)) {
        if holds_any? {
            return Err(Error::DescriptorLost { place: store.place() });
        }
    }
    Ok(())
}

/// A store, and the same with copies and read-ahead where it is far away.
#[derive(Clone)]
struct Stores {
    far: Arc<dyn Store>,
    near: Arc<dyn Store>,
}

impl Stores {
    fn new(far: Arc<dyn Store>, repository: &RepositoryId, options: &OpenOptions) -> Self {
        if far.traffic().is_none() {
            return Stores { near: far.clone(), far };
        }
        let copies = options.cache.as_ref().map(|base| base.join(repository.to_string()).join(COPIES));
        Stores { near: Arc::new(NearStore::new(far.clone(), copies.as_deref(), options.copies_bytes_max)), far }
    }
}

/// How long what was read of slots and keyrings is believed: nothing that a program does by itself between reading and using it takes longer.
const FRESH: Duration = Duration::from_secs(10);

/// A repository before any secret: what can be read of it without a key, fetched in as few round trips as there can be.
pub struct Found {
    stores: Stores,
    descriptor: Vec<u8>,
    id: RepositoryId,
    locks: Locks,
    fetched: Instant,
    features: Vec<Listed>,
    listing: Mutex<Option<JoinHandle<Listings>>>,
}

impl Found {
    fn new(far: Arc<dyn Store>, options: &OpenOptions) -> Result<Self> {
        const KINDS: [(ObjectType, &str); 3] =
            [(ObjectType::Slot, "slots"), (ObjectType::Keyring, "keyring"), (ObjectType::Feature, "features")];
        let asked = [None, Some(KINDS[0]), Some(KINDS[1]), Some(KINDS[2])];
        let mut descriptor = None;
        let mut listings = Vec::new();
        let answers = each(&*far, &asked, |asked| match asked {
            None => descriptor_bytes(&*far).map(|bytes| (bytes, Vec::new())),
            Some((kind, folder)) => listed(&*far, *kind, folder).map(|listed| (Vec::new(), listed)),
        });
        for answer in answers {
            // The descriptor's comes first: that there is no repository says more than what follows from it.
            let (bytes, listed) = answer?;
            match descriptor {
                None => descriptor = Some(bytes),
                Some(_) => listings.push(listed),
            }
        }
        let descriptor = descriptor.unwrap_or_default();
        let id = decode_descriptor(&ObjectName::descriptor(), &descriptor)?.0.repository;
        // Nearly every command asks next which snapshots there are, and stretching a passphrase takes as long as two round trips.
        let listing = far.traffic().map(|_| {
            let far = far.clone();
            std::thread::spawn(move || Listings::new(&*far))
        });
        let stores = Stores::new(far, &id, options);
        let [features, keyrings, slots] = [(); 3].map(|()| listings.pop().unwrap_or_default());
        let name_of = |listed: Vec<Listed>| listed.into_iter().map(|listed| listed.name).collect();
        let locks = Locks::fetch(&*stores.near, name_of(slots), name_of(keyrings));
        Ok(Found { locks, fetched: Instant::now(), stores, descriptor, id, features, listing: Mutex::new(listing) })
    }

    /// The id of the repository, as its descriptor says without proof.
    pub fn id(&self) -> RepositoryId {
        self.id
    }

    /// Opens it.
    pub fn open(&self, secret: &Secret, options: &OpenOptions) -> Result<Repository> {
        // Somebody may have thought about his passphrase meanwhile: a run that begins now must not begin under an epoch that has ended.
        let anew = || Locks::anew(&*self.stores.near);
        if self.fetched.elapsed() > FRESH {
            return self.open_by(&anew()?, secret, options);
        }
        match self.open_by(&self.locks, secret, options) {
            // This machine has seen a rotation that came after the keyrings were read.
            Err(Error::RolledBack { removed: false, .. }) => self.open_by(&anew()?, secret, options),
            other => other,
        }
    }

    fn open_by(&self, locks: &Locks, secret: &Secret, options: &OpenOptions) -> Result<Repository> {
        let name = ObjectName::descriptor();
        let (descriptor, mac) = decode_descriptor(&name, &self.descriptor)?;
        let mut newer = None;
        let (keys, slot) = match locks.unlock(&self.id, secret) {
            // Listed, and gone when it was read: a rotation was there between the two.
            Err(error) if error.is_missing() => newer.insert(Locks::anew(&*self.stores.near)?).unlock(&self.id, secret)?,
            // What was fetched, or a copy of it, may have gone wrong on the way: believed, it would lock everybody out of this machine.
            Err(error) if error.is_damage() || matches!(error, Error::WrongKey) => match locks.fetched_anew(&*self.stores.near) {
                Some(locks) => newer.insert(locks).unlock(&self.id, secret)?,
                None => return Err(error),
            },
            other => other?,
        };
        self.with_keys(newer.as_ref().unwrap_or(locks), (keys, Some(slot)), (descriptor, mac), options)
    }

    /// Opens it with keys that came another way than by slot and keyring: from a recovery sheet.
    #[doc(hidden)]
    pub fn open_with(&self, keys: Keys, options: &OpenOptions) -> Result<Repository> {
        let name = ObjectName::descriptor();
        self.with_keys(&self.locks, (keys, None), decode_descriptor(&name, &self.descriptor)?, options)
    }

    fn with_keys(
        &self,
        locks: &Locks,
        (keys, slot): (Keys, Option<OpenSlot>),
        (descriptor, mac): (Descriptor, UnverifiedMac<'_>),
        options: &OpenOptions,
    ) -> Result<Repository> {
        let name = ObjectName::descriptor();
        mac.verify(keys.require(&name, Purpose::Gear, 0)?)?;
        if keys.family != descriptor.family {
            return Err(Error::damaged(&name, Damage::Malformed("family")));
        }
        let behind = locks.newest_epoch().is_some_and(|newest| newest > keys.epoch);
        let repository = Repository::assemble(self.stores.clone(), descriptor, (keys, slot), self.features.clone(), behind, options)?;
        let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner).take();
        *repository.listings.lock().unwrap_or_else(PoisonError::into_inner) = listing.and_then(|listing| listing.join().ok());
        Ok(repository)
    }
}
