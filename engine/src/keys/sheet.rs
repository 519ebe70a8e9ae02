//! Recovery sheets: what is written on one, and how a repository is opened with it where nothing else is left (spec chapter 3).
//! Nothing that is whole is replaced: a descriptor is put back where it is gone or damaged, beside what is its repository's, and nowhere else.

use crate::error::{Error, Result};
use crate::format::object::{ObjectType, Purpose};
use crate::format::repo::{SHEET_VERSION, Sheet, SheetSlot};
use crate::format::segment::Segment;
use crate::format::wire::{Bytes, Time};
use crate::id::{ObjectId, ObjectName, RepositoryId};
use crate::keys::add::add_to;
use crate::keys::{add, look, removed};
use crate::limits::{SEGMENT_BYTES_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::repository::locks::Locks;
use crate::repository::{Access, OpenOptions, Repository};
use crate::seal::Key;
use crate::seal::key::{KDF_DEFAULT, Keys, Secret, decode_slot, new_slot};
use crate::seal::object::{decode_descriptor, open_manifest_index, open_object};
use crate::seal::sheet::lines;
use crate::store::Store;
use std::sync::Arc;

/// Objects that are tried before a store is said to hold none of a repository.
const TRIED_MAX: usize = 64;

/// Makes a recovery sheet: by default with a slot of its own, so that it opens what is written after later rotations too, until that slot is
/// removed. `label` is what that slot is called. Without one it opens what is written under the keys of today.
pub fn export(repository: &Repository, label: Option<&str>) -> Result<Sheet> {
    let own = repository.slot().ok_or_else(removed)?;
    repository.require_features(Access::Read)?;
    let descriptor = Bytes(repository.origin().get(&ObjectName::descriptor(), SMALL_OBJECT_BYTES_MAX)?);
    let created = Time::from_nanos(repository.store().now()?);
    let made = |keys: &Keys, slot: Option<SheetSlot>| -> Result<Sheet> {
        let sheet = Sheet {
            version: SHEET_VERSION,
            descriptor: descriptor.clone(),
            epoch: keys.epoch,
            keys: keys.to_set(),
            slot,
            created,
            extra: Vec::new(),
        };
        fitting(sheet)
    };
    let slot = match label {
        None => None,
        Some(label) => {
            let key = Key::random()?;
            // Whether there can be such a sheet, before there is a slot whose key stands nowhere: with one that takes as much room.
            let (_, _, trial) = new_slot(&repository.id(), &Secret::KeyFile(key.clone()), KDF_DEFAULT, label, created)?;
            let mut keys = look(repository, &[own])?.keys;
            keys.members.push(trial.member());
            made(&keys, Some(SheetSlot { slot: trial.id, key: *key.as_bytes(), extra: Vec::new() }))?;
            let added = add(repository, &Secret::KeyFile(key.clone()), label, KDF_DEFAULT)?;
            Some(SheetSlot { slot: added.id, key: *key.as_bytes(), extra: Vec::new() })
        }
    };
    let sheet = made(&look(repository, &[own])?.keys, slot)?;
    // What does not open now opens nothing in the year when it is needed.
    sheet.open().map_err(|_| Error::SelfCheck { what: "a recovery sheet" })?;
    Ok(sheet)
}

/// The same with so many epochs' keys, from the newest on, as there is room for on a sheet. What its slot opens has the keys of all; without
/// one a sheet that lacks some would promise too much.
fn fitting(mut sheet: Sheet) -> Result<Sheet> {
    loop {
        let oldest = sheet.keys.keys.iter().map(|sub| sub.epoch).filter(|epoch| *epoch > 0).min();
        match lines(&sheet) {
            Err(_) if sheet.slot.is_some() && oldest.is_some_and(|oldest| oldest < sheet.epoch) => {
                sheet.keys.keys.retain(|sub| Some(sub.epoch) != oldest);
            }
            other => return other.map(|_| sheet),
        }
    }
}

/// What [`import`] did.
#[non_exhaustive]
pub struct Imported {
    /// The repository, opened with the new secret.
    pub repository: Repository,
    /// The new slot.
    pub slot: ObjectId,
    /// The descriptor was gone and is back.
    pub descriptor_restored: bool,
    /// The sheet's own slot did not open: its keys did, as they were when it was made.
    pub by_keys: bool,
}

/// Opens a repository with a recovery sheet, and adds a slot for `secret` to it.
pub fn import(
    store: Arc<dyn Store>,
    sheet: &Sheet,
    secret: &Secret,
    (label, kdf): (&str, (u32, u32, u32)),
    options: &OpenOptions,
) -> Result<Imported> {
    let (descriptor, keys) = sheet.open()?;
    let descriptor_restored = restore_descriptor(&*store, sheet, &descriptor.repository, &keys)?;
    let found = Repository::find(store.clone(), options)?;
    if found.id() != descriptor.repository {
        let what = format!("the sheet is of repository {}, and this is {}", descriptor.repository.short(), found.id().short());
        return Err(Error::Refused { what });
    }
    let by_slot = sheet.secret().map(|own| found.open(&own, options));
    let opened = match by_slot {
        Some(Err(error)) if error.is_damage() || matches!(error, Error::WrongKey) => None,
        Some(opened) => Some(opened?),
        None => None,
    };
    let (added, by_keys) = match opened {
        // A removed slot opens what was before, as the keys do.
        Some(repository) if !repository.is_behind() => (add(&repository, secret, label, kdf)?, false),
        behind => {
            let mut keys = keys;
            if let Some(behind) = behind {
                // Its slot went on after the sheet was printed, until it was removed.
                let mut newer = behind.keys().clone();
                newer.learn(keys);
                keys = newer;
            } else if Locks::now(&*store, Vec::new())?.newest_epoch() < Some(keys.epoch) {
                // No keyring is left of this epoch: of those that came after nobody can tell, nor whom they removed.
                keys = keys.rotated()?;
            }
            let repository = found.open_with(keys.clone(), options)?;
            // Whose slot is there yet gets the keys again. Of who has none there nobody can tell whether he was removed.
            let mut there = Vec::new();
            for member in &keys.members {
                let name = ObjectName::slot(&member.slot);
                let slot = store.get(&name, SMALL_OBJECT_BYTES_MAX).and_then(|bytes| decode_slot(&name, &bytes));
                match slot {
                    Ok(slot) if slot.public == member.public => there.push(member.clone()),
                    Ok(_) => {}
                    // Of a later version, and there.
                    Err(Error::NewerFormat { .. } | Error::UnknownFeature { .. }) => there.push(member.clone()),
                    Err(error) if error.is_damage() => {}
                    // Not to be read now is not gone: left out, its holder would be locked out.
                    Err(error) => return Err(error),
                }
            }
            keys.members = there;
            (add_to(&repository, keys, secret, label, kdf)?, true)
        }
    };
    let repository = Repository::open(store, secret, options)?;
    Ok(Imported { repository, slot: added.id, descriptor_restored, by_keys })
}

/// Puts the descriptor back where it is gone or damaged, beside objects of its repository and nowhere else: another one's would look like
/// damage for ever. Returns whether it did.
fn restore_descriptor(store: &dyn Store, sheet: &Sheet, repository: &RepositoryId, keys: &Keys) -> Result<bool> {
    let name = ObjectName::descriptor();
    let gear = keys.require(&name, Purpose::Gear, 0)?;
    let there = match store.get(&name, SMALL_OBJECT_BYTES_MAX) {
        Ok(bytes) if decode_descriptor(&name, &bytes).is_ok_and(|(_, mac)| mac.verify(gear).is_ok()) => return Ok(false),
        Ok(_) => true,
        Err(error) if error.is_missing() => false,
        Err(error) if error.is_damage() => true,
        Err(error) => return Err(error),
    };
    if !is_of(store, sheet, repository, keys)? {
        return Ok(false);
    }
    if there {
        // Killed between the two: the next import finds it gone.
        store.delete(&name)?;
    }
    store.put(&name, &sheet.descriptor.0)?;
    Ok(true)
}

/// Whether anything in the store is this repository's: the sheet's slot, or what opens with its keys.
fn is_of(store: &dyn Store, sheet: &Sheet, repository: &RepositoryId, keys: &Keys) -> Result<bool> {
    if let Some(secret) = sheet.secret() {
        match Locks::anew(store)?.unlock(repository, &secret) {
            Ok(_) => return Ok(true),
            Err(error) if error.is_damage() || matches!(error, Error::WrongKey) => {}
            Err(error) => return Err(error),
        }
    }
    for (folder, bytes_max) in [("snapshots", SMALL_OBJECT_BYTES_MAX), ("index", SEGMENT_BYTES_MAX)] {
        let mut tried = 0;
        for listed in store.list(folder)? {
            let opened = store.get(&listed.name, bytes_max).and_then(|bytes| match folder {
                "snapshots" => open_manifest_index(keys, repository, &listed.name, &bytes).map(drop),
                _ => open_object::<Segment>(keys, repository, &listed.name, ObjectType::Segment, &bytes).map(drop),
            });
            match opened {
                Ok(()) => return Ok(true),
                // Of a later epoch than the sheet: it says nothing.
                Err(Error::EpochUnknown { .. }) => {}
                Err(_) if tried == TRIED_MAX => break,
                Err(_) => tried += 1,
            }
        }
    }
    Ok(false)
}
