//! Siblings: repositories of the same key family, between which packs go as they are (spec chapter 3).
//! A sibling has the sub-keys and the chunker of the one that it is made of, and an id, a slot and a keyring of its own.

use crate::error::{Error, Result};
use crate::format::object::Purpose;
use crate::format::repo::Descriptor;
use crate::format::wire::Time;
use crate::id::{ObjectName, RepositoryId};
use crate::repository::{InitOptions, OpenOptions, Repository};
use crate::seal::key::{Secret, new_keyring, new_slot};
use crate::seal::object::encode_descriptor;
use crate::seal::random;
use crate::store::Store;
use std::sync::Arc;

impl Repository {
    /// Makes a repository in an empty store that is a sibling `of` another one, and opens it.
    pub fn init_sibling(store: Arc<dyn Store>, of: &Repository, secret: &Secret, init: &InitOptions, open: &OpenOptions) -> Result<Self> {
        let name = ObjectName::descriptor();
        if store.size(&name)?.is_some() {
            return Err(Error::RepositoryExists { place: store.place() });
        }
        let now = Time::from_nanos(store.now()?);
        let repository = match init.id {
            Some(id) => id,
            None => RepositoryId::new(random()?),
        };
        let (slot_name, slot, opened) = new_slot(&repository, secret, init.kdf, &init.label, now)?;
        let mut keys = of.keys().clone();
        // Who opens the other one opens this one by his own secret here, or not at all.
        keys.members = vec![opened.member()];
        let (keyring_name, keyring) = new_keyring(&repository, &keys)?;
        let descriptor = Descriptor { repository, created: now, ..of.descriptor().clone() };
        let object = encode_descriptor(&descriptor, keys.require(&name, Purpose::Gear, 0)?);
        store.put(&slot_name, &slot)?;
        store.put(&keyring_name, &keyring)?;
        // Last: from here on it exists.
        store.put(&name, &object)?;
        Self::open(store, secret, open)
    }
}
