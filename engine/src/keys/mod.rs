//! Slots of an opened repository: listing, adding, removing and replacing them, new epochs, and recovery sheets (spec chapter 3).
//! A keyring must never be sealed to what lies below `slots/`, but to the members of the last one; nothing is acknowledged before it was
//! read back from the store and opened. There are no locks: whoever puts a keyring looks afterwards what others put meanwhile, so that of two
//! at least one sees the other.

mod add;
mod rotate;
mod sheet;

pub use crate::format::repo::Sheet;
pub use crate::seal::sheet::{is_meant as is_sheet, lines as sheet_lines, parse as parse_sheet, spaced as spaced_line};
pub use add::{Added, add};
pub use rotate::{Rotated, passwd, rotate, settle};
pub use sheet::{Imported, export, import};

use crate::error::{Error, Result};
use crate::format::object::ObjectType;
use crate::format::repo::{SLOT_KEY_FILE, SLOT_PASSPHRASE};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::repository::locks::{Locks, Opened};
use crate::seal::key::{Keys, OpenSlot, decode_keyring, decode_slot, new_keyring, open_keyring};
use crate::store::reread;
use std::collections::BTreeSet;

/// How often a verb begins again because others put keyrings meanwhile. Two that meet part at once: this bounds a store that lies.
const TURNS_MAX: u32 = 16;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotKind {
    /// A passphrase, with its Argon2id cost: KiB, passes, lanes.
    Passphrase(u32, u32, u32),
    /// A key file.
    KeyFile,
    /// Something that this version does not know.
    Other,
}

/// What lies below `slots/` for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotObject {
    /// The slot.
    Whole,
    /// Nothing: its secret opens nothing any more.
    Missing,
    /// Something that cannot be read.
    Damaged,
    /// A slot with another public key than the keyring says: not the one that was added.
    Swapped,
}

/// A slot, as [`list`] finds it.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// Its id.
    pub id: ObjectId,
    /// What opens it; `None` where the object cannot be read. Of a slot that is no member this is what the store says.
    pub kind: Option<SlotKind>,
    /// What the user calls it; empty where nobody knows.
    pub label: String,
    /// When it was added.
    pub created: Option<Time>,
    /// This run opened with it.
    pub own: bool,
    /// The newest keyring is sealed to it. What only lies below `slots/` opens nothing: an `add` that was killed, or what a stranger put there.
    pub member: bool,
    /// The object below `slots/`.
    pub object: SlotObject,
}

/// All slots: the members of the newest keyring in the order in which they were added, then what else lies below `slots/`.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::keys;
/// use seabed_engine::{Key, Secret};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// let laptop = Secret::KeyFile(Key::random()?);
/// let added = keys::add(&repository, &laptop, "laptop", seabed_engine::InitOptions::default().kdf)?;
/// let slots = keys::list(&repository)?;
/// assert_eq!(slots.len(), 2);
/// assert!(slots.iter().all(|slot| slot.member));
///
/// // What is written from the next opening on, this slot cannot read.
/// keys::rotate(&repository, &[added.id])?;
/// # Ok(())
/// # }
/// ```
pub fn list(repository: &Repository) -> Result<Vec<SlotInfo>> {
    let store = repository.origin();
    let listed = repository.listed(ObjectType::Slot, "slots")?;
    let keys = match repository.slot() {
        Some(own) => look(repository, &[own])?.keys,
        None => repository.keys().clone(),
    };
    let own = repository.slot().map(|slot| slot.id);
    let read = |id: ObjectId| {
        let name = ObjectName::slot(&id);
        match reread(store, &name, || decode_slot(&name, &store.get(&name, SMALL_OBJECT_BYTES_MAX)?)) {
            Ok(slot) => {
                let kdf = slot.kdf.as_ref().map(|kdf| (kdf.memory_kib, kdf.passes, kdf.lanes));
                let kind = match (slot.kind, kdf) {
                    (SLOT_PASSPHRASE, Some((kib, passes, lanes))) => SlotKind::Passphrase(kib, passes, lanes),
                    (SLOT_KEY_FILE, _) => SlotKind::KeyFile,
                    _ => SlotKind::Other,
                };
                Ok((Some(kind), SlotObject::Whole, Some(slot.public)))
            }
            Err(error) if error.is_missing() => Ok((None, SlotObject::Missing, None)),
            Err(error) if error.is_damage() => Ok((None, SlotObject::Damaged, None)),
            Err(Error::NewerFormat { .. } | Error::UnknownFeature { .. }) => Ok((Some(SlotKind::Other), SlotObject::Whole, None)),
            Err(error) => Err(error),
        }
    };
    let mut slots = Vec::new();
    for member in &keys.members {
        let (kind, mut object, public) = read(member.slot)?;
        if public.is_some_and(|public| public != member.public) {
            object = SlotObject::Swapped;
        }
        let is_own = own == Some(member.slot);
        // Members of keyrings that were made before there were labels have none; its own slot says it itself.
        let open = repository.slot().filter(|_| is_own);
        let label = open.map_or_else(|| member.label.clone(), |open| open.label.clone());
        let created = member.created.or(open.map(|open| open.created));
        slots.push(SlotInfo { id: member.slot, kind, label, created, own: is_own, member: true, object });
    }
    slots.sort_by_key(|slot| (slot.created, slot.id));
    for id in listed.iter().filter_map(|listed| ObjectId::from_hex(listed.name.last())).filter(|id| !keys.has_member(id)) {
        let (kind, object, _) = read(id)?;
        // Gone since it was listed.
        if object != SlotObject::Missing {
            let own = own == Some(id);
            slots.push(SlotInfo { id, kind, label: String::new(), created: None, own, member: false, object });
        }
    }
    Ok(slots)
}

/// Takes the newest keys, as the slot that opened the repository has them: behind a rotation, to write under its epoch in the same run.
pub fn renew(repository: &mut Repository) -> Result<()> {
    let own = repository.slot().ok_or_else(removed)?;
    let seen = look(repository, &[own])?;
    if seen.newest() > seen.keys.epoch {
        return Err(removed());
    }
    repository.adopt_keys(seen.keys)
}

/// What the store's keyrings say at one time.
struct Seen {
    /// Those that it lists.
    names: BTreeSet<ObjectName>,
    /// What each holds for the slots at hand.
    opened: Vec<Opened>,
    locks: Locks,
    /// All keys that these slots open.
    keys: Keys,
}

impl Seen {
    /// The highest epoch that there is, whoever holds a copy.
    fn newest(&self) -> u32 {
        self.locks.newest_epoch().unwrap_or(0)
    }
}

/// Reads all keyrings from the store itself, past any copy, and opens them with these slots.
fn look(repository: &Repository, slots: &[&OpenSlot]) -> Result<Seen> {
    let locks = Locks::now(repository.origin(), Vec::new())?;
    let keys = match locks.keys(&repository.id(), slots) {
        // The secret is right: it opened this run.
        Err(Error::WrongKey) => return Err(removed()),
        keys => keys?,
    };
    let opened = locks.each(&repository.id(), slots);
    Ok(Seen { names: opened.iter().map(|(name, _)| name.clone()).collect(), opened, locks, keys })
}

/// Puts a keyring of these keys, and opens it again with one of its members' slots.
fn put_keyring(repository: &Repository, keys: &Keys, slot: Option<&OpenSlot>) -> Result<ObjectName> {
    if !keys.is_full() {
        return Err(Error::Refused { what: "a keyring is made by who holds all keys".to_owned() });
    }
    let (name, object) = new_keyring(&repository.id(), keys)?;
    repository.store().put(&name, &object)?;
    let Some(slot) = slot else { return Ok(name) };
    let store = repository.origin();
    let bytes = match store.get(&name, SMALL_OBJECT_BYTES_MAX) {
        // A rotation that has seen it took it away with those before it. Who looks next sees that rotation.
        Err(error) if error.is_missing() => return Ok(name),
        read => read?,
    };
    let keyring = decode_keyring(&name, &bytes)?;
    match open_keyring(&repository.id(), &name, &keyring, slot)? {
        Some(back) if back.to_set() == keys.to_set() => Ok(name),
        _ => Err(Error::SelfCheck { what: "a keyring" }),
    }
}

/// Who was removed meanwhile, by whom ever.
fn removed() -> Error {
    Error::Refused { what: "the slot in use was removed by a rotation meanwhile: nothing that this run did to the keys counts".to_owned() }
}

fn too_many() -> Error {
    Error::Refused { what: "others change the keys all the time: run it again".to_owned() }
}
