//! Slots and keyrings as they lie in a store, and how a secret becomes the keys that a run holds (spec chapter 3).
//! One that is damaged must never lock out whom another one lets in; a newer keyring that is damaged is said, and never passed over.

use crate::error::{Damage, Error, Result};
use crate::format::object::ObjectType;
use crate::id::{ObjectName, RepositoryId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::listed;
use crate::seal::key::{Keys, OpenSlot, Secret, decode_keyring, decode_slot, open_keyring, open_slot};
use crate::store::{Store, each};
use std::io;

/// An object and what became of reading it.
type Fetched = (ObjectName, Result<Vec<u8>>);

/// How often keyrings are listed where some are listed and not there.
const LOOKS_MAX: u32 = 3;

/// The slots and keyrings of a repository, as they were fetched.
pub struct Locks {
    slots: Vec<Fetched>,
    keyrings: Vec<Fetched>,
}

/// A keyring and what the slots at hand make of it: `None` where it holds no copy for them.
pub type Opened = (ObjectName, Result<Option<Keys>>);

impl Locks {
    /// Fetches these.
    pub fn fetch(store: &dyn Store, slots: Vec<ObjectName>, keyrings: Vec<ObjectName>) -> Self {
        let count = slots.len();
        let names = [slots, keyrings].concat();
        let fetched = each(store, &names, |name| store.get(name, SMALL_OBJECT_BYTES_MAX));
        let mut slots: Vec<Fetched> = names.into_iter().zip(fetched).collect();
        let keyrings = slots.split_off(count);
        Locks { slots, keyrings }
    }

    /// These slots, and all keyrings that the store lists now.
    pub fn now(store: &dyn Store, slots: Vec<ObjectName>) -> Result<Self> {
        let mut looks = 1;
        loop {
            let keyrings = listed(store, ObjectType::Keyring, "keyring")?;
            let locks = Locks::fetch(store, slots.clone(), keyrings.into_iter().map(|listed| listed.name).collect());
            // A rotation took one away between the listing and the read: its own keyring came before, a new listing shows it. Some stores list
            // for minutes what was deleted: who needs it says so.
            if looks == LOOKS_MAX || !locks.keyrings.iter().any(|(_, fetched)| matches!(fetched, Err(error) if error.is_missing())) {
                return Ok(locks);
            }
            looks += 1;
        }
    }

    /// All slots and keyrings that the store lists now.
    pub fn anew(store: &dyn Store) -> Result<Self> {
        let slots = listed(store, ObjectType::Slot, "slots")?;
        Locks::now(store, slots.into_iter().map(|listed| listed.name).collect())
    }

    /// The same once more from the store itself; `None` where it says the same.
    pub fn fetched_anew(&self, store: &dyn Store) -> Option<Locks> {
        let names = |fetched: &[Fetched]| -> Vec<ObjectName> { fetched.iter().map(|(name, _)| name.clone()).collect() };
        let (slots, keyrings) = (names(&self.slots), names(&self.keyrings));
        // All of them: which one is wrong nobody can tell.
        let may_differ = slots.iter().chain(&keyrings).filter(|name| store.distrust(name)).count() > 0;
        let anew = may_differ.then(|| Locks::fetch(store, slots, keyrings))?;
        // No passphrase is stretched a second time for nothing.
        let same = |(one, other): (&Fetched, &Fetched)| one.1.as_ref().ok() == other.1.as_ref().ok();
        let all_same = self.slots.iter().zip(&anew.slots).all(same) && self.keyrings.iter().zip(&anew.keyrings).all(same);
        (!all_same).then_some(anew)
    }

    /// Finds the slot of `secret` and the newest keyring that it opens.
    pub fn unlock(&self, repository: &RepositoryId, secret: &Secret) -> Result<(Keys, OpenSlot)> {
        let mut slots = self.slots(repository, secret);
        let slot = slots.next().unwrap_or(Err(Error::WrongKey))?;
        let first = self.keys(repository, &[&slot]).map(|keys| (keys, slot));
        let is_newest = |opened: &Result<(Keys, OpenSlot)>| matches!(opened, Ok((keys, _)) if Some(keys.epoch) >= self.newest_epoch());
        if is_newest(&first) {
            return first;
        }
        // One secret may have two slots: of one that was replaced by the same secret again the old one may not have been let go. The others
        // are tried only where the first one does not open all.
        let mut best = first;
        for slot in slots.filter_map(Result::ok) {
            let other = self.keys(repository, &[&slot]).map(|keys| (keys, slot));
            let epoch = |opened: &Result<(Keys, OpenSlot)>| opened.as_ref().map_or(0, |(keys, _)| keys.epoch);
            if epoch(&other) > epoch(&best) {
                best = other;
            }
            if is_newest(&best) {
                break;
            }
        }
        best
    }

    /// The slots that a secret opens, one after the other; at the end, where it opens none, what is damaged.
    fn slots<'l>(&'l self, repository: &'l RepositoryId, secret: &'l Secret) -> impl Iterator<Item = Result<OpenSlot>> + 'l {
        let (mut damage, mut found) = (None, false);
        let mut left = self.slots.iter();
        std::iter::from_fn(move || {
            for (name, fetched) in left.by_ref() {
                // One damaged slot must not lock out the holders of the others.
                let tried = again(fetched).and_then(|bytes| open_slot(repository, name, &decode_slot(name, bytes)?, secret));
                match tried {
                    Ok(Some(slot)) => {
                        found = true;
                        return Some(Ok(slot));
                    }
                    Ok(None) => {}
                    // Listed and gone: an init that gave way to another took it back, and some stores list for minutes what was deleted.
                    Err(error) if error.is_missing() => {}
                    Err(error) => damage = damage.take().or(Some(error)),
                }
            }
            (!found).then(|| damage.take()).flatten().map(Err)
        })
    }

    /// The keys that slots open: those of the highest epoch that holds a copy for one of them.
    pub fn keys(&self, repository: &RepositoryId, slots: &[&OpenSlot]) -> Result<Keys> {
        let (mut newest, mut gone, mut damage): (Option<Keys>, Option<Error>, Option<Error>) = (None, None, None);
        let mut damaged_at = None;
        // Names sort by epoch: the last one that holds a copy for this slot is the newest.
        for (name, fetched) in self.keyrings.iter().rev() {
            let epoch = name.as_keyring();
            // A damaged newer keyring is said, not passed over: writing on under old keys would undo a rotation unseen. Beside another one of
            // its epoch it stops nobody: slots that are added at the same time make several, and each has all keys.
            if newest.is_none() && damage.is_some() && damaged_at != epoch {
                break;
            }
            match (open(repository, name, fetched, slots), &mut newest) {
                (Ok(None), _) => {}
                (Ok(Some(keys)), none @ None) => *none = Some(keys),
                // Several share an epoch where slots were added at the same time: neither knows of the other's.
                (Ok(Some(more)), Some(keys)) if epoch == Some(keys.epoch) => keys.unite(name, more)?,
                (Ok(Some(older)), Some(keys)) => keys.learn(older),
                // Listed and gone, as a slot may be. Who withholds one could as well not list it: what this machine has seen tells.
                (Err(error), _) if error.is_missing() => gone = gone.or(Some(error)),
                (Err(error), Some(_)) if error.is_damage() => {}
                (Err(error), _) if error.is_damage() => (damage, damaged_at) = (damage.or(Some(error)), epoch),
                // Of an older one nothing is needed but where two rotations met.
                (Err(_), Some(keys)) if epoch < Some(keys.epoch) => {}
                (Err(error), _) => return Err(error),
            }
        }
        // A slot opens and there is no keyring at all: that is not the fault of the secret.
        let none = self.keyrings.is_empty().then_some(slots.first()).flatten();
        let none = none.map(|slot| Error::damaged(&ObjectName::keyring(1, &slot.id), Damage::Missing));
        newest.ok_or_else(|| damage.or(gone).or(none).unwrap_or(Error::WrongKey))
    }

    /// What each keyring holds for these slots.
    pub fn each(&self, repository: &RepositoryId, slots: &[&OpenSlot]) -> Vec<Opened> {
        self.keyrings.iter().map(|(name, fetched)| (name.clone(), open(repository, name, fetched, slots))).collect()
    }

    /// For which slots each keyring that can be read holds a copy. That stands in the clear.
    pub fn copies(&self) -> Vec<(ObjectName, Vec<crate::id::ObjectId>)> {
        let read = |(name, fetched): &Fetched| decode_keyring(name, fetched.as_ref().ok()?).ok().map(|keyring| (name.clone(), keyring));
        let slots =
            |(name, keyring): (ObjectName, crate::format::repo::Keyring)| (name, keyring.recipients.iter().map(|copy| copy.slot).collect());
        self.keyrings.iter().filter_map(read).map(slots).collect()
    }

    /// The highest epoch of a keyring that is there.
    pub fn newest_epoch(&self) -> Option<u32> {
        self.keyrings.iter().filter(|(_, fetched)| fetched.is_ok()).filter_map(|(name, _)| name.as_keyring()).max()
    }
}

fn open(repository: &RepositoryId, name: &ObjectName, fetched: &Result<Vec<u8>>, slots: &[&OpenSlot]) -> Result<Option<Keys>> {
    let keyring = decode_keyring(name, again(fetched)?)?;
    for slot in slots {
        if let Some(keys) = open_keyring(repository, name, &keyring, slot)? {
            return Ok(Some(keys));
        }
    }
    Ok(None)
}

/// What was fetched, or an error that says the same as the one that was kept.
fn again(fetched: &Result<Vec<u8>>) -> Result<&[u8]> {
    match fetched {
        Ok(bytes) => Ok(bytes),
        Err(Error::Damaged { object, damage }) => Err(Error::damaged(object, damage.clone())),
        Err(Error::Store { op, object, source }) => {
            Err(Error::Store { op: *op, object: object.clone(), source: io::Error::new(source.kind(), source.to_string()) })
        }
        Err(Error::Unreachable { place, what }) => Err(Error::Unreachable { place: place.clone(), what: what.clone() }),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(other) => Err(Error::Option { what: other.to_string() }),
    }
}
