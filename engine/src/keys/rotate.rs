//! New epochs: what is written from then on is under new keys, which who was removed does not get. The new keyring is the moment: before it
//! nothing changed, and what comes behind it is housekeeping.

use crate::error::{Damage, Error, Result};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName};
use crate::keys::{Seen, TURNS_MAX, look, put_keyring, removed, too_many};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::locks::Locks;
use crate::repository::{Access, Repository};
use crate::seal::key::{Keys, OpenSlot, Secret, decode_slot, new_slot};
use crate::store::reread;
use std::collections::{BTreeMap, BTreeSet};

/// What a rotation did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// The new epoch.
    pub epoch: u32,
    /// The slot that takes the place of the one in use: of [`passwd`] alone.
    pub new_slot: Option<ObjectId>,
    /// How many slots open it.
    pub slots: usize,
    /// Of rotations that met and were brought together only now: slots that not all of them left in, with what they are called. They are out.
    pub disputed: Vec<(ObjectId, String)>,
    /// Objects that the store did not let go: slots and older keyrings of who was removed. They open what was written before, no more.
    pub refused: Vec<Error>,
}

/// Starts a new epoch, whose keys all members get but `remove`. What was written before stays readable for whoever kept a keyring of before.
///
/// This `Repository` still writes under the keys of before: open it anew. Other processes do so until they end; whoever opens it on a machine
/// that has seen the new epoch is refused an older one ([`crate::catalog::Catalog::note_epoch`]).
pub fn rotate(repository: &Repository, remove: &[ObjectId]) -> Result<Rotated> {
    repository.require_known(Access::Write)?;
    let own = repository.slot().ok_or_else(removed)?;
    if remove.contains(&own.id) {
        let what = "the slot in use cannot be removed: open the repository with another one, or replace its secret".to_owned();
        return Err(Error::Refused { what });
    }
    if !remove.is_empty() {
        is_whole(repository, own)?;
    }
    turn(repository, own, remove.iter().copied().collect(), None)
}

/// Who takes slots of others away must not be left with one that opens on this machine alone, from a copy in its cache.
fn is_whole(repository: &Repository, own: &OpenSlot) -> Result<()> {
    let name = ObjectName::slot(&own.id);
    let store = repository.origin();
    let read = reread(store, &name, || decode_slot(&name, &store.get(&name, SMALL_OBJECT_BYTES_MAX)?));
    match read {
        Ok(slot) if slot.public == own.member().public => Ok(()),
        Ok(_) => Err(Error::damaged(&name, Damage::Malformed("public"))),
        Err(error) => Err(error),
    }
}

/// Replaces the secret of the slot in use: a new slot of the same label, and a new epoch with it instead of the old one.
pub fn passwd(repository: &Repository, secret: &Secret, kdf: (u32, u32, u32)) -> Result<Rotated> {
    repository.require_known(Access::Write)?;
    let own = repository.slot().ok_or_else(removed)?;
    let now = Time::from_nanos(repository.store().now()?);
    let (name, object, slot) = new_slot(&repository.id(), secret, kdf, &own.label, now)?;
    // Before the keyring: from that on only the new secret opens what is written. Read back, for a slot that the store lost is all that a
    // sole owner would have.
    repository.store().put(&name, &object)?;
    if repository.origin().get(&name, SMALL_OBJECT_BYTES_MAX)? != object {
        return Err(Error::SelfCheck { what: "a slot" });
    }
    turn(repository, own, BTreeSet::from([own.id]), Some((&slot, secret)))
}

/// Brings rotations together that met, where the one that should have done it was killed before: until then whom the one removed, the other
/// one's epoch may be sealed to. `None` where there is nothing to bring together.
pub fn settle(repository: &mut Repository) -> Result<Option<Rotated>> {
    if !repository.keys().are_apart() {
        return Ok(None);
    }
    let rotated = rotate(repository, &[])?;
    super::renew(repository)?;
    Ok(Some(rotated))
}

fn turn(repository: &Repository, own: &OpenSlot, remove: BTreeSet<ObjectId>, new: Option<(&OpenSlot, &Secret)>) -> Result<Rotated> {
    let mut seen = look(repository, &[own])?;
    let before: BTreeSet<ObjectId> = seen.keys.members.iter().map(|member| member.slot).collect();
    let first = seen.keys.epoch;
    if seen.newest() > first {
        return Err(removed());
    }
    // Nobody can tell whom a rotation removed from whom it did not know: who is not in all of them is out, and is said.
    let disputed = seen.keys.disputed();
    if disputed.iter().any(|member| member.slot == own.id) {
        return Err(removed());
    }
    let mut gone: BTreeSet<ObjectId> = remove.iter().copied().chain(disputed.iter().map(|member| member.slot)).collect();
    let mine: Vec<&OpenSlot> = new.iter().map(|(slot, _)| *slot).chain([own]).collect();
    let (mut known, mut put) = (seen.names.clone(), BTreeSet::new());
    let mut keys = next_epoch(&seen, &gone, new)?;
    for _ in 0..TURNS_MAX {
        let opens = new.map_or(own, |(slot, _)| slot);
        let name = put_keyring(repository, &keys, Some(opens))?;
        known.insert(name.clone());
        put.insert(name);
        // After the put: an `add` or another rotation that this listing does not show has not put its keyring yet, and will see ours.
        seen = look(repository, &mine)?;
        let unseen: Vec<_> = seen.opened.iter().filter(|(name, _)| !known.contains(name)).collect();
        known.extend(seen.names.iter().cloned());
        // Rotations of others: each took slots away, and has keys that ours lacks.
        let theirs = others(&seen, &put, first);
        // One of our own epoch is of an `add` that came after it.
        let ours: BTreeSet<u32> = put.iter().filter_map(ObjectName::as_keyring).collect();
        let is_theirs = |name: &ObjectName| name.as_keyring().is_some_and(|epoch| epoch > first && !ours.contains(&epoch));
        if unseen.iter().any(|(name, _)| is_theirs(name)) {
            if seen.opened.iter().any(|(name, opened)| is_theirs(name) && matches!(opened, Ok(None))) {
                return Err(removed());
            }
            for members in theirs.values() {
                gone.extend(before.iter().filter(|slot| !members.iter().any(|member| member.slot == **slot)));
            }
            let mut all = seen.keys.clone();
            join(&mut all, keys.members.clone());
            theirs.into_values().for_each(|members| join(&mut all, members));
            seen.keys = all;
            keys = next_epoch(&seen, &gone, new)?;
            continue;
        }
        // Slots that were added to the old epoch meanwhile. Who is removed stays so, whatever keyring names him.
        let mut late = keys.clone();
        for (_, opened) in unseen {
            if let Ok(Some(more)) = opened {
                let added = more.members.iter().filter(|member| !before.contains(&member.slot) && !gone.contains(&member.slot));
                join(&mut late, added.cloned().collect());
            }
        }
        if late.members.len() > keys.members.len() {
            keys = late;
            continue;
        }
        let (slots, refused) = (keys.members.len(), finish(repository, (seen, &keys), (&remove, &gone), new)?);
        let disputed = disputed.into_iter().map(|member| (member.slot, member.label)).collect();
        return Ok(Rotated { epoch: keys.epoch, new_slot: new.map(|(slot, _)| slot.id), slots, disputed, refused });
    }
    Err(too_many())
}

/// The keys and members of the epoch after what was seen.
fn next_epoch(seen: &Seen, gone: &BTreeSet<ObjectId>, new: Option<(&OpenSlot, &Secret)>) -> Result<Keys> {
    let mut keys = seen.keys.rotated()?;
    if let Some((slot, _)) = new {
        join(&mut keys, vec![slot.member()]);
    }
    keys.members.retain(|member| !gone.contains(&member.slot));
    // Whose keys these are: the slot in use is never among those that go, but where another takes its place.
    if keys.members.is_empty() { Err(Error::Refused { what: "the last slot cannot be removed".to_owned() }) } else { Ok(keys) }
}

fn join(keys: &mut Keys, members: Vec<crate::format::repo::Member>) {
    for member in members {
        if !keys.has_member(&member.slot) {
            keys.members.push(member);
        }
    }
}

/// The members of each epoch after `first` that somebody else made.
fn others(seen: &Seen, put: &BTreeSet<ObjectName>, first: u32) -> BTreeMap<u32, Vec<crate::format::repo::Member>> {
    let mut out: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    let ours: BTreeSet<u32> = put.iter().filter_map(ObjectName::as_keyring).collect();
    for (_, opened) in &seen.opened {
        if let Ok(Some(keys)) = opened
            && keys.epoch > first
            && !ours.contains(&keys.epoch)
        {
            out.entry(keys.epoch).or_default().extend(keys.members.iter().cloned());
        }
    }
    out
}

/// The new epoch stands, and nobody else came. What opened for who was removed is of no more use to anybody.
fn finish(
    repository: &Repository,
    (seen, keys): (Seen, &Keys),
    (remove, gone): (&BTreeSet<ObjectId>, &BTreeSet<ObjectId>),
    new: Option<(&OpenSlot, &Secret)>,
) -> Result<Vec<Error>> {
    if let Some((slot, secret)) = new {
        // Before the old one goes: the whole way, from the store itself.
        let locks = Locks::now(repository.origin(), vec![ObjectName::slot(&slot.id)])?;
        if locks.unlock(&repository.id(), secret)?.0.epoch < keys.epoch {
            return Err(Error::SelfCheck { what: "a keyring" });
        }
    }
    // This machine takes no older epoch from now on.
    repository.catalog().note_epoch(keys.epoch)?;
    let mut refused = Vec::new();
    let mut delete = |name: &ObjectName| {
        // One that is gone already is as it should be.
        if let Err(error) = repository.store().delete(name)
            && !error.is_missing()
        {
            refused.push(error);
        }
    };
    // Keyrings before slots: what is left of an interrupted run is seen in the list of slots.
    let opened: BTreeSet<&ObjectName> =
        seen.opened.iter().filter(|(_, opened)| matches!(opened, Ok(Some(_)))).map(|(name, _)| name).collect();
    for (name, slots) in seen.locks.copies() {
        let older = name.as_keyring() < Some(keys.epoch);
        // One that did not open for us may hold what nobody else has. Also what another rotation removed: an epoch of ours that did not know
        // of it is sealed to it.
        if older && opened.contains(&name) && slots.iter().any(|slot| gone.contains(slot)) {
            delete(&name);
        }
    }
    // Not those of others: whose they are they take away themselves.
    remove.iter().for_each(|slot| delete(&ObjectName::slot(slot)));
    Ok(refused)
}
