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
use crate::repository::{Cache, Repository, listed};
use crate::seal::key::{KDF_DEFAULT, Keys, Secret, decode_keyring, decode_slot, new_keyring, new_slot, open_keyring, open_slot};
use crate::seal::object::{decode_descriptor, encode_descriptor, open_object};
use crate::seal::random;
use crate::store::Store;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// How to make a repository.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Argon2id cost of the first slot: KiB, passes, lanes.
    pub kdf: (u32, u32, u32),
    /// What the user calls the first slot.
    pub label: String,
    /// Its id, where the caller had to know it beforehand (to name a key file after it); else a fresh one.
    pub id: Option<RepositoryId>,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions { kdf: KDF_DEFAULT, label: String::new(), id: None }
    }
}

/// How to open a repository.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Where caches of all repositories are; `None` for a run without.
    pub cache: Option<PathBuf>,
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
        let mut keys = Keys::generate()?;
        let (slot_name, slot, opened) = new_slot(&repository, secret, init.kdf, &init.label, now)?;
        keys.members.push(opened.member());
        let (keyring_name, keyring) = new_keyring(&repository, &keys)?;
        let descriptor = Descriptor {
            repository,
            family: keys.family,
            chunker: CHUNKER_GEAR,
            profiles: Profile::default_sizes(),
            created: now,
            extra: Vec::new(),
        };
        let gear = keys.require(&descriptor_name, Purpose::Gear, 0)?;
        let object = encode_descriptor(&descriptor, gear);
        store.put(&slot_name, &slot)?;
        store.put(&keyring_name, &keyring)?;
        // Last: from here on it exists. Two at once: the second put finds other bytes and fails.
        store.put(&descriptor_name, &object)?;
        Self::assemble(store, descriptor, keys, open)
    }

    /// The id of the repository in a store, as its descriptor says without proof.
    pub fn id_in(store: &dyn Store) -> Result<RepositoryId> {
        Ok(decode_descriptor(&ObjectName::descriptor(), &descriptor_bytes(store)?)?.0.repository)
    }

    /// Opens a repository.
    pub fn open(store: Arc<dyn Store>, secret: &Secret, options: &OpenOptions) -> Result<Self> {
        let name = ObjectName::descriptor();
        let bytes = descriptor_bytes(&*store)?;
        let (descriptor, mac) = decode_descriptor(&name, &bytes)?;
        let keys = unlock(&*store, &descriptor, secret)?;
        mac.verify(keys.require(&name, Purpose::Gear, 0)?)?;
        if keys.family != descriptor.family {
            return Err(Error::damaged(&name, Damage::Malformed("family")));
        }
        Self::assemble(store, descriptor, keys, options)
    }

    fn assemble(store: Arc<dyn Store>, descriptor: Descriptor, keys: Keys, options: &OpenOptions) -> Result<Self> {
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
            let what = format!("the repository shows key epoch {}, but epoch {newest} was seen before: it was rolled back", keys.epoch);
            return Err(Error::Refused { what });
        }
        let catalog = Mutex::new(catalog);
        let repository = Repository {
            store,
            descriptor,
            keys: Arc::new(keys),
            ids,
            chunker,
            cutter: TreeCutter::new(&gear),
            cache,
            catalog,
            index: Mutex::new(None),
        };
        repository.require_features(Access::Read)?;
        Ok(repository)
    }

    /// Refuses what a feature that this program does not know forbids.
    pub fn require_features(&self, access: Access) -> Result<()> {
        for listed in self.listed(ObjectType::Feature, "features")? {
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
                return Err(Error::UnknownFeature { object: listed.name, feature: feature.name });
            }
        }
        Ok(())
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
    for folder in ["snapshots", "pending", "index", Class::Data.folder(), Class::Names.folder(), Class::Lists.folder()] {
        if !store.list(folder)?.is_empty() {
            return Err(Error::DescriptorLost { place: store.place() });
        }
    }
    Ok(())
}

/// Finds the slot of `secret` and the newest keyring that it opens.
fn unlock(store: &dyn Store, descriptor: &Descriptor, secret: &Secret) -> Result<Keys> {
    let repository = &descriptor.repository;
    let mut opened = None;
    let mut damage = None;
    for listed in listed(store, ObjectType::Slot, "slots")? {
        // One damaged slot must not lock out the holders of the others.
        let tried = store.get(&listed.name, SMALL_OBJECT_BYTES_MAX).and_then(|bytes| {
            let slot = decode_slot(&listed.name, &bytes)?;
            open_slot(repository, &listed.name, &slot, secret)
        });
        match tried {
            Ok(Some(slot)) => {
                opened = Some(slot);
                break;
            }
            Ok(None) => {}
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    let Some(slot) = opened else { return Err(damage.unwrap_or(Error::WrongKey)) };
    let mut keyrings = listed(store, ObjectType::Keyring, "keyring")?;
    // Names sort by epoch: the last one that holds a copy for this slot is the newest.
    keyrings.reverse();
    // A slot opens and there is no keyring at all: that is not the fault of the secret.
    let none = keyrings.is_empty();
    let mut newest: Option<Keys> = None;
    for listed in keyrings {
        // Several share an epoch where slots were added at the same time: neither knows of the other's.
        if newest.as_ref().is_some_and(|keys| listed.name.as_keyring() != Some(keys.epoch)) {
            break;
        }
        // A damaged newer keyring is said, not passed over: writing on under old keys would undo a rotation unseen.
        let keyring = decode_keyring(&listed.name, &store.get(&listed.name, SMALL_OBJECT_BYTES_MAX)?)?;
        match (open_keyring(repository, &listed.name, &keyring, &slot)?, &mut newest) {
            (Some(more), Some(keys)) => keys.unite(&listed.name, more)?,
            (Some(keys), none) => *none = Some(keys),
            (None, _) => {}
        }
    }
    newest.ok_or_else(|| if none { Error::damaged(&ObjectName::keyring(1, &slot.id), Damage::Missing) } else { Error::WrongKey })
}
