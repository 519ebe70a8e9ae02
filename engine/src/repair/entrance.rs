//! What a repository is opened by: the descriptor, slots and keyrings. Where these are gone or damaged nothing else can be repaired, and only
//! a copy of the same repository has them: the same objects under the same names, which are of no use to any other repository.
//! It must never take away what is good, nor bring back what was taken away on purpose: a rotation takes away keyrings that are older than
//! its own, and slots that its own is not sealed to.

use crate::error::{Error, Result};
use crate::format::object::{ObjectType, Purpose};
use crate::format::repo::Keyring;
use crate::id::{ObjectName, RepositoryId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repair::roots::for_good;
use crate::repository::Repository;
use crate::seal::key::{OpenSlot, decode_keyring, decode_slot, open_keyring};
use crate::seal::object::decode_descriptor;
use crate::store::{Listed, Store, reread};
use std::collections::BTreeSet;

/// Folders of which a repository and its copy have names in common, for these are random; a sibling has none of these names.
const WITNESSES: [&str; 3] = ["slots", "keyring", "snapshots"];

/// What takes the place of an object that is damaged or gone: the bytes of a copy that were seen to be good.
pub struct Spare {
    /// Which object.
    pub name: ObjectName,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Something damaged has the name.
    pub is_taken: bool,
}

impl Spare {
    /// Puts it there.
    ///
    /// Some stores do not replace an object: what is damaged goes first, and a run that is killed between the two leaves nothing under the name,
    /// whichever order they have. So what is missing is brought back too, by the next run, and not only what is damaged.
    pub fn put(&self, store: &dyn Store) -> Result<()> {
        if self.is_taken {
            store.delete(&self.name)?;
        }
        store.put(&self.name, &self.bytes)
    }
}

/// Brings back from `copy`, which is open, what the repository in `store` does not open with, or opens only as it was before a rotation.
/// Returns the names of what was brought: none where nothing is damaged or gone, and then it is the secret that is wrong.
pub fn reopen(store: &dyn Store, copy: &Repository) -> Result<Vec<ObjectName>> {
    let descriptor = descriptor(store, copy)?;
    let mut back = Vec::new();
    for spare in descriptor.into_iter().chain(locks(store, copy)?) {
        spare.put(store)?;
        back.push(spare.name);
    }
    Ok(back)
}

/// The descriptor, where it is damaged or gone; an error where `copy` is one of another repository.
fn descriptor(store: &dyn Store, copy: &Repository) -> Result<Option<Spare>> {
    let name = ObjectName::descriptor();
    let gear = copy.keys().require(&name, Purpose::Gear, 0)?;
    let read = |store: &dyn Store| {
        reread(store, &name, || {
            let bytes = store.get(&name, SMALL_OBJECT_BYTES_MAX)?;
            let (descriptor, mac) = decode_descriptor(&name, &bytes)?;
            mac.verify(gear)?;
            Ok((descriptor.repository, bytes))
        })
    };
    let other = || Error::Refused { what: format!("{} is not a copy of {}", copy.origin().place(), store.place()) };
    let is_taken = match read(store) {
        Ok((id, _)) if id == copy.id() => return Ok(None),
        Ok(_) => return Err(other()),
        Err(error) if error.is_damage() => !error.is_missing(),
        Err(error) => return Err(error),
    };
    let mut shared = false;
    for folder in WITNESSES {
        let names = |listed: Vec<Listed>| -> BTreeSet<ObjectName> { listed.into_iter().map(|listed| listed.name).collect() };
        shared = shared || !names(store.list(folder)?).is_disjoint(&names(copy.origin().list(folder)?));
    }
    if !shared {
        return Err(other());
    }
    let (_, bytes) = read(copy.origin())?;
    Ok(Some(Spare { name, bytes, is_taken }))
}

/// Slots and keyrings of the repository in `store` that are damaged or gone, and that its `copy` has whole. What it has is believed as far as
/// the slot that opened it goes: that one itself, and the keyrings that it opens.
pub fn locks(store: &dyn Store, copy: &Repository) -> Result<Vec<Spare>> {
    // Keys that came from a recovery sheet vouch for nothing that lies in a store.
    let Some(slot) = copy.slot() else { return Ok(Vec::new()) };
    let mut spares = Vec::new();
    // The newest keyrings first: they say which slots there are.
    let keyrings = keyrings(store, copy, slot, &mut spares)?;
    slots(store, copy, slot, &keyrings, &mut spares)?;
    Ok(spares)
}

fn names(store: &dyn Store, kind: ObjectType, folder: &str) -> Result<BTreeSet<ObjectName>> {
    Ok(store.list(folder)?.into_iter().map(|listed| listed.name).filter(|name| ObjectType::of(name) == Some(kind)).collect())
}

/// What is read of an object, where it can be: an error is no word about the object itself.
fn seen<T>(read: Result<T>) -> Result<Seen<T>> {
    match read {
        Ok(value) => Ok(Seen::Good(value)),
        Err(error) if error.is_missing() => Ok(Seen::Gone),
        Err(error) if for_good(&error) => Ok(Seen::Damaged),
        // What the store cannot read today, or a newer program wrote: nothing takes its place.
        Err(error) if error.is_damage() || matches!(error, Error::NewerFormat { .. } | Error::UnknownFeature { .. }) => Ok(Seen::Unclear),
        Err(error) => Err(error),
    }
}

enum Seen<T> {
    Good(T),
    Damaged,
    Gone,
    Unclear,
}

/// A keyring with its bytes, and whether the slot opens it.
fn keyring(store: &dyn Store, name: &ObjectName, (id, slot): (&RepositoryId, &OpenSlot)) -> Result<(Keyring, Vec<u8>, bool)> {
    reread(store, name, || {
        let bytes = store.get(name, SMALL_OBJECT_BYTES_MAX)?;
        let keyring = decode_keyring(name, &bytes)?;
        let opens = open_keyring(id, name, &keyring, slot)?.is_some();
        Ok((keyring, bytes, opens))
    })
}

/// Returns the keyrings of the newest epoch, as they are once the spares are put.
fn keyrings(store: &dyn Store, copy: &Repository, slot: &OpenSlot, spares: &mut Vec<Spare>) -> Result<Vec<Keyring>> {
    let opener = (&copy.id(), slot);
    let own = names(store, ObjectType::Keyring, "keyring")?;
    let newest = own.iter().filter_map(ObjectName::as_keyring).max().unwrap_or(0);
    let mut good: Vec<Keyring> = Vec::new();
    let theirs = names(copy.origin(), ObjectType::Keyring, "keyring")?;
    for name in own.union(&theirs) {
        let is_taken = match seen(keyring(store, name, opener))? {
            Seen::Good((keyring, ..)) => {
                good.push(keyring);
                continue;
            }
            Seen::Damaged => true,
            // A rotation takes away older ones alone: one that is newer than all that are here, or as new, was lost. Nobody may go on
            // under the keys of before it.
            Seen::Gone if name.as_keyring() >= Some(newest) => false,
            Seen::Gone | Seen::Unclear => continue,
        };
        if let Seen::Good((keyring, bytes, true)) = seen(keyring(copy.origin(), name, opener))? {
            good.push(keyring);
            spares.push(Spare { name: name.clone(), bytes, is_taken });
        }
    }
    let newest = good.iter().map(|keyring| keyring.epoch).max().unwrap_or(0).max(newest);
    good.retain(|keyring| keyring.epoch == newest);
    Ok(good)
}

fn slots(store: &dyn Store, copy: &Repository, slot: &OpenSlot, keyrings: &[Keyring], spares: &mut Vec<Spare>) -> Result<()> {
    let read = |store: &dyn Store, name: &ObjectName| {
        reread(store, name, || {
            let bytes = store.get(name, SMALL_OBJECT_BYTES_MAX)?;
            Ok((decode_slot(name, &bytes)?.public, bytes))
        })
    };
    // Of most damage in a slot nothing can be seen: it looks like one for another secret. But what opened the copy is what was put under this
    // name, and other bytes are not.
    let opened = ObjectName::slot(&slot.id);
    let sound = match seen(read(copy.origin(), &opened))? {
        Seen::Good((public, bytes)) if public == slot.member().public => Some(bytes),
        _ => None,
    };
    let recipients = keyrings.iter().flat_map(|keyring| &keyring.recipients);
    let remaining: BTreeSet<ObjectName> = recipients.map(|recipient| ObjectName::slot(&recipient.slot)).collect();
    let differs = |name: &ObjectName| *name == opened && store.get(name, SMALL_OBJECT_BYTES_MAX).is_ok_and(|bytes| Some(bytes) != sound);
    for name in names(store, ObjectType::Slot, "slots")?.union(&remaining).cloned() {
        let is_taken = match seen(read(store, &name))? {
            Seen::Damaged => true,
            Seen::Good(_) | Seen::Unclear if sound.is_some() && differs(&name) => true,
            // Whom the newest keyring is not sealed to a rotation removed.
            Seen::Gone if remaining.contains(&name) => false,
            Seen::Good(_) | Seen::Gone | Seen::Unclear => continue,
        };
        if let Seen::Good((_, bytes)) = seen(read(copy.origin(), &name))? {
            spares.push(Spare { name, bytes, is_taken });
        }
    }
    Ok(())
}
