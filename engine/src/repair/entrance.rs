//! What a repository is opened by: the descriptor, slots and keyrings. Where these are gone or damaged nothing else can be repaired, and only
//! a copy of the same repository has them: the same objects under the same names, which are of no use to any other repository.

use crate::error::{Error, Result};
use crate::format::object::ObjectType;
use crate::id::ObjectName;
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::decode_descriptor;
use crate::store::{Listed, Store};
use std::collections::BTreeSet;

/// Folders of which a repository and its copy have names in common, for these are random.
const WITNESSES: [&str; 5] = ["slots", "keyring", "snapshots", "index", "lists"];

/// Brings back from `copy`, which is open, what the repository in `store` does not open with. Returns the names of what was brought.
///
/// For one that does not open and no other: of two objects of the same name that differ the copy's is believed, for it opens that.
pub fn reopen(store: &dyn Store, copy: &Repository) -> Result<Vec<ObjectName>> {
    let name = ObjectName::descriptor();
    let mut back = Vec::new();
    let other = || Error::Refused { what: format!("{} is not a copy of {}", copy.origin().place(), store.place()) };
    let have = store.get(&name, SMALL_OBJECT_BYTES_MAX).and_then(|bytes| Ok(decode_descriptor(&name, &bytes)?.0.repository));
    match have {
        Ok(id) if id == copy.id() => {}
        Ok(_) => return Err(other()),
        Err(error) if error.is_damage() => {
            let mut shared = false;
            for folder in WITNESSES {
                let names = |listed: Vec<Listed>| -> BTreeSet<ObjectName> { listed.into_iter().map(|listed| listed.name).collect() };
                shared = shared || !names(store.list(folder)?).is_disjoint(&names(copy.origin().list(folder)?));
            }
            if !shared {
                return Err(other());
            }
        }
        Err(error) => return Err(error),
    }
    let mut bring = |name: ObjectName| -> Result<()> {
        let bytes = copy.origin().get(&name, SMALL_OBJECT_BYTES_MAX)?;
        match store.get(&name, SMALL_OBJECT_BYTES_MAX) {
            Ok(have) if have == bytes => return Ok(()),
            Err(error) if !error.is_damage() => return Err(error),
            _ => {}
        }
        store.delete(&name)?;
        store.put(&name, &bytes)?;
        back.push(name);
        Ok(())
    };
    bring(name)?;
    for (kind, folder) in [(ObjectType::Slot, "slots"), (ObjectType::Keyring, "keyring")] {
        let mut own = store.list(folder)?;
        own.retain(|listed| ObjectType::of(&listed.name) == Some(kind));
        for name in copy.listed(kind, folder)?.into_iter().map(|listed| listed.name) {
            // One that is gone may have been taken away on purpose, as long as there is another.
            if own.is_empty() || own.iter().any(|listed| listed.name == name) {
                bring(name)?;
            }
        }
    }
    Ok(back)
}
