//! Adding a slot: the slot, then a keyring of the same epoch for all members and the new one. Whoever rotates at the same time either sees
//! the new keyring and takes its slot in, or is seen here, and the slot is added to the new epoch.

use crate::error::{Error, Result};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName};
use crate::keys::{TURNS_MAX, look, put_keyring, removed, too_many};
use crate::repository::locks::Locks;
use crate::repository::{Access, Repository};
use crate::seal::key::{Keys, Secret, new_slot};

/// What [`add`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// The slot.
    pub id: ObjectId,
    /// The epoch of the keyring that it opens.
    pub epoch: u32,
}

/// Adds a slot for `secret`. `kdf` is the Argon2id cost of a passphrase: KiB, passes, lanes. Before it returns, the secret has opened
/// the repository from what the store holds.
pub fn add(repository: &Repository, secret: &Secret, label: &str, kdf: (u32, u32, u32)) -> Result<Added> {
    repository.require_features(Access::Write)?;
    let own = repository.slot().ok_or_else(removed)?;
    // From the store, not from when this run opened: a rotation may have been there since.
    let base = look(repository, &[own])?;
    if base.newest() > base.keys.epoch {
        return Err(removed());
    }
    add_to(repository, base.keys, secret, label, kdf)
}

/// The same to keys that the caller has. Where they came from a recovery sheet nobody can go on from a newer epoch, if there is one.
pub(super) fn add_to(repository: &Repository, mut keys: Keys, secret: &Secret, label: &str, kdf: (u32, u32, u32)) -> Result<Added> {
    let now = Time::from_nanos(repository.store().now()?);
    let (name, object, slot) = new_slot(&repository.id(), secret, kdf, label, now)?;
    // First: a keyring for a slot that is nowhere would be of no use to anybody.
    repository.store().put(&name, &object)?;
    for _ in 0..TURNS_MAX {
        if !keys.has_member(&slot.id) {
            keys.members.push(slot.member());
            put_keyring(repository, &keys, Some(&slot))?;
        }
        // By the way that whoever holds the secret goes, all of it from the store itself. The listing comes after the put: a rotation that it
        // does not show has not put its keyring yet, and will see ours.
        let locks = Locks::now(repository.origin(), vec![ObjectName::slot(&slot.id)])?;
        let opened = match locks.unlock(&repository.id(), secret) {
            Ok((opened, _)) => Some(opened.epoch),
            // A rotation took the keyring away and had not seen the slot.
            Err(Error::WrongKey) => None,
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        let newest = locks.newest_epoch().or(opened);
        if let Some(epoch) = opened.filter(|epoch| Some(*epoch) >= newest && *epoch >= keys.epoch) {
            return Ok(Added { id: slot.id, epoch });
        }
        let own = match (repository.slot(), opened) {
            (Some(own), _) => own,
            (None, Some(epoch)) => return Ok(Added { id: slot.id, epoch }),
            (None, None) => return Err(removed()),
        };
        let seen = look(repository, &[own])?;
        if seen.newest() > seen.keys.epoch {
            return Err(removed());
        }
        keys = seen.keys;
    }
    Err::<Added, Error>(too_many())
}
