//! Forgetting (spec chapter 7): a tombstone says that a snapshot is one no more. What it holds goes with a later collection, and
//! until then it can be undeleted. Holds say which snapshots nobody may forget.

use crate::clock;
use crate::commit::put_tombstone;
use crate::error::{Error, Result};
use crate::format::manifest::IndexPart;
use crate::format::object::ObjectType;
use crate::format::protocol::{Hold, Release};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::repository::{Access, Repository};
use crate::seal::object::seal_object;
use crate::seal::random;
use crate::store::each;

/// The reason that a tombstone gives.
pub const FORGET: &str = "forget";

/// Forgets snapshots. All of them are looked at first, so that a mistake in one forgets none.
pub fn forget(repository: &Repository, snapshots: &[SnapshotId]) -> Result<()> {
    repository.require_features(Access::Write)?;
    let held = repository.holds(clock::now())?;
    if let Some(id) = snapshots.iter().find(|id| held.contains_key(id)) {
        return Err(Error::Refused { what: format!("snapshot {} is held", id.short()) });
    }
    let mut manifests = Vec::with_capacity(snapshots.len());
    for read in each(repository.store(), snapshots, |id| manifest(repository, id)) {
        manifests.push(read?);
    }
    for put in each(repository.store(), &manifests, |index| put_tombstone(repository, index, FORGET)) {
        put?;
    }
    // The catalog may lag: what is forgotten is what the store says.
    repository.catalog().apply(&[], snapshots).or(Ok(()))
}

fn manifest(repository: &Repository, id: &SnapshotId) -> Result<IndexPart> {
    match repository.read_manifest(&ObjectName::snapshot(id)) {
        Ok((index, _)) => Ok(index),
        Err(error) if error.is_missing() => Err(Error::NoSnapshot { selector: id.to_string() }),
        Err(error) => Err(error),
    }
}

/// Holds a snapshot until `until`, or for ever.
pub fn hold(repository: &Repository, snapshot: &SnapshotId, reason: &str, until: Option<Time>) -> Result<()> {
    repository.require_features(Access::Write)?;
    manifest(repository, snapshot)?;
    let name = ObjectName::hold(snapshot, &ObjectId::new(random()?));
    let hold = Hold { snapshot: *snapshot, reason: reason.to_owned(), until, time: clock::now(), extra: Vec::new() };
    let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Hold, &hold)?;
    repository.store().put(&name, &object)
}

/// Releases every hold of a snapshot; returns how many there were.
pub fn unhold(repository: &Repository, snapshot: &SnapshotId) -> Result<usize> {
    repository.require_features(Access::Write)?;
    let holds: Vec<ObjectId> = repository.holds(clock::now())?.remove(snapshot).unwrap_or_default().into_iter().map(|(id, _)| id).collect();
    if holds.is_empty() {
        return Ok(0);
    }
    let count = holds.len();
    let name = ObjectName::release(snapshot, &ObjectId::new(random()?));
    let release = Release { snapshot: *snapshot, holds, time: clock::now(), extra: Vec::new() };
    let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Release, &release)?;
    repository.store().put(&name, &object)?;
    Ok(count)
}
