//! Recovery sheets: what is written on one, and how a repository is opened with it where nothing else is left (spec chapter 3).
//! Nothing in the store is replaced: a descriptor is put back where there is none, beside objects that these keys open, and nowhere else.

use crate::error::{Error, Result};
use crate::format::object::ObjectType;
use crate::format::repo::{SHEET_VERSION, Sheet, SheetSlot};
use crate::format::segment::Segment;
use crate::format::wire::{Bytes, Time};
use crate::id::{ObjectId, ObjectName};
use crate::keys::add::add_to;
use crate::keys::{add, look, removed};
use crate::limits::{SEGMENT_BYTES_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::repository::{Access, OpenOptions, Repository};
use crate::seal::Key;
use crate::seal::key::{KDF_DEFAULT, Keys, Secret, decode_slot};
use crate::seal::object::{open_manifest_index, open_object};
use crate::store::Store;
use std::sync::Arc;

/// Objects that are tried before a store is said to hold none of a repository.
const TRIED_MAX: usize = 64;

/// Makes a recovery sheet: by default with a slot of its own, so that it opens what is written after later rotations too, until that slot is
/// removed. `label` is what that slot is called. Without one it opens what is written under the keys of today.
pub fn export(repository: &Repository, label: Option<&str>) -> Result<Sheet> {
    let own = repository.slot().ok_or_else(removed)?;
    let slot = match label {
        None => None,
        Some(label) => {
            let key = Key::random()?;
            let added = add(repository, &Secret::KeyFile(key.clone()), label, KDF_DEFAULT)?;
            Some(SheetSlot { slot: added.id, key: *key.as_bytes(), extra: Vec::new() })
        }
    };
    repository.require_features(Access::Read)?;
    let keys = look(repository, &[own])?.keys;
    let descriptor = Bytes(repository.origin().get(&ObjectName::descriptor(), SMALL_OBJECT_BYTES_MAX)?);
    let created = Time::from_nanos(repository.store().now()?);
    let sheet = Sheet { version: SHEET_VERSION, descriptor, epoch: keys.epoch, keys: keys.to_set(), slot, created, extra: Vec::new() };
    // What does not open now opens nothing in the year when it is needed.
    sheet.open().map_err(|_| Error::SelfCheck { what: "a recovery sheet" })?;
    Ok(sheet)
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
    let found = match Repository::find(store.clone(), options) {
        Err(Error::DescriptorLost { place }) => {
            // Only beside what is this repository's: another one's objects would look like damage for ever.
            if !is_of(&*store, &descriptor.repository, &keys)? {
                return Err(Error::DescriptorLost { place });
            }
            store.put(&ObjectName::descriptor(), &sheet.descriptor.0)?;
            (Repository::find(store.clone(), options)?, true)
        }
        found => (found?, false),
    };
    let (found, descriptor_restored) = found;
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
        _ => {
            let repository = found.open_with(keys.clone(), options)?;
            let mut keys = keys;
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

/// Whether anything in the store opens with these keys.
fn is_of(store: &dyn Store, repository: &crate::id::RepositoryId, keys: &Keys) -> Result<bool> {
    for listed in store.list("snapshots")?.iter().take(TRIED_MAX) {
        let bytes = store.get(&listed.name, SMALL_OBJECT_BYTES_MAX);
        if bytes.is_ok_and(|bytes| open_manifest_index(keys, repository, &listed.name, &bytes).is_ok()) {
            return Ok(true);
        }
    }
    for listed in store.list("index")?.iter().take(TRIED_MAX) {
        let bytes = store.get(&listed.name, SEGMENT_BYTES_MAX);
        if bytes.is_ok_and(|bytes| open_object::<Segment>(keys, repository, &listed.name, ObjectType::Segment, &bytes).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}
