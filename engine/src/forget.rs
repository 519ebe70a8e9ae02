//! Forgetting (spec chapter 7): a tombstone says that a snapshot is one no more. What it holds goes with a later collection, and
//! until then it can be undeleted. Holds say which snapshots nobody may forget.

use crate::clock;
use crate::commit::put_tombstone;
use crate::error::{Error, Result};
use crate::format::manifest::IndexPart;
use crate::format::object::ObjectType;
use crate::format::protocol::{Hold, Release, Tombstone};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::ledger::{Ledger, LedgerRow, Lost, Watermark};
use crate::repository::{Access, Repository};
use crate::seal::object::{open_object, seal_object};
use crate::seal::random;
use crate::store::{Listed, each, reread, there};
use std::collections::{BTreeSet, HashSet};

/// The reason that a tombstone gives.
pub const FORGET: &str = "forget";
/// The reason that a tombstone gives for a snapshot that was there no more.
pub const LOST: &str = "lost";
/// Lost snapshots that are found at a time: each takes an object.
const LOST_MAX: usize = 10_000;

/// Forgets snapshots. All of them are looked at first, so that a mistake in one forgets none.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::retention::{Item, Keep, Period, Policy, decide};
/// use seabed_engine::{Error, Snapshot, forget, hold, now, unhold};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let first = example::snapshot(&repository)?;
/// # example::snapshot(&repository)?;
/// // What a policy makes of the snapshots; see `retention` for its rules and for the guards that a careful caller asks too.
/// let snapshots = repository.catalog().snapshots()?;
/// let item = |snapshot: &Snapshot| Item {
///     id: snapshot.id,
///     time: snapshot.index.time,
///     group: snapshot.names.series.clone(),
///     tags: snapshot.names.tags.clone(),
///     complete: !snapshot.index.incomplete,
///     held: false,
///     bytes: snapshot.names.summary.bytes_total,
///     order: snapshot.index.sequence,
/// };
/// let items: Vec<Item> = snapshots.iter().map(item).collect();
/// let policy = Policy::default().rule(Period::Each, Keep::Count(1));
/// let going: Vec<_> = decide(&policy, &items, now()).into_iter().filter(|decision| !decision.keeps()).map(|decision| decision.id).collect();
/// assert_eq!(going, [first]);
///
/// // A hold outweighs all policies and all forgetting by name, until it ends.
/// hold(&repository, &first, "before the migration", None)?;
/// assert!(matches!(forget(&repository, &going), Err(Error::Refused { .. })));
/// unhold(&repository, &first)?;
/// forget(&repository, &going)?;
/// repository.refresh()?;
/// assert_eq!(repository.catalog().snapshots()?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub fn forget(repository: &Repository, snapshots: &[SnapshotId]) -> Result<()> {
    repository.require_features(Access::Write)?;
    let held = repository.holds(clock::now())?;
    if let Some(id) = snapshots.iter().find(|id| held.contains_key(id)) {
        return Err(Error::Refused { what: format!("snapshot {} is held", id.short()) });
    }
    let mut manifests = Vec::with_capacity(snapshots.len());
    for (id, read) in snapshots.iter().zip(each(repository.store(), snapshots, |id| manifest(repository, id))) {
        match read {
            // Somebody else has forgotten it, and a collection was there: it is as was wished.
            Err(Error::NoSnapshot { .. }) if repository.is_forgotten(id)? => {}
            read => manifests.push(read?),
        }
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

/// Snapshots that someone vouches for and that are neither there nor forgotten: taken away, lost, or of a repository that was rolled back.
/// Whatever the listing leaves out is asked for by name. Refreshes the catalog.
pub fn lost(repository: &Repository) -> Result<Vec<Lost>> {
    // Before any listing: a snapshot that is committed meanwhile must not look like one that was lost.
    let watermark = Watermark::read(repository)?;
    let refresh = repository.refresh()?;
    if let Some(unreadable) = refresh.unreadable.into_iter().next() {
        // What it vouches for is not known.
        return Err(unreadable.error);
    }
    let mut rows: Vec<LedgerRow> = repository.catalog().snapshots()?.iter().map(|snapshot| LedgerRow::from(&snapshot.index)).collect();
    let snapshots = repository.listed(ObjectType::Snapshot, "snapshots")?;
    let tombstones = repository.listed(ObjectType::Tombstone, "forgotten")?;
    let listed: HashSet<SnapshotId> = snapshots.iter().filter_map(|listed| listed.name.as_snapshot()).collect();
    let forgotten: HashSet<SnapshotId> = tombstones.iter().filter_map(|listed| listed.name.as_tombstone()).collect();
    let read = |listed: &Listed| {
        reread(repository.store(), &listed.name, || {
            let bytes = repository.store().get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
            open_object::<Tombstone>(repository.keys(), &repository.id(), &listed.name, ObjectType::Tombstone, &bytes)
        })
    };
    for tombstone in each(repository.store(), &tombstones, read) {
        rows.push(LedgerRow::from(tombstone?));
    }
    let vouched: BTreeSet<SnapshotId> = rows.iter().flat_map(LedgerRow::vouches).chain(watermark.snapshots()).collect();
    let unlisted = vouched.iter().filter(|id| !listed.contains(id) && !forgotten.contains(id));
    let found = there(repository.origin(), unlisted.map(ObjectName::snapshot).collect())?;
    if !found.is_empty() {
        return Err(Error::ListIncomplete {
            folder: "snapshots".to_owned(),
            why: "it leaves out what is there when it is asked for by name",
        });
    }
    let ledger = Ledger { rows: &rows, listed: &listed, forgotten: &forgotten, is_torn: false };
    Ok(ledger.lost(&watermark, LOST_MAX))
}

/// Says of lost snapshots that they are forgotten, so that nobody misses them any more and collections go on. One that turns up again is
/// forgotten, and can be undeleted.
pub fn forget_lost(repository: &Repository, lost: &[Lost]) -> Result<()> {
    repository.require_features(Access::Write)?;
    let put = |Lost { snapshot, writer, sequence, .. }: &Lost| -> Result<()> {
        // Of one whose id nobody knows the number is what is missed.
        let snapshot = snapshot.map_or_else(|| random().map(SnapshotId::new), Ok)?;
        let name = ObjectName::tombstone(&snapshot, &ObjectId::new(random()?));
        let tombstone = Tombstone {
            snapshot,
            writer: *writer,
            sequence: *sequence,
            previous: None,
            heads: Vec::new(),
            time: clock::now(),
            reason: LOST.to_owned(),
            extra: Vec::new(),
        };
        let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Tombstone, &tombstone)?;
        repository.store().put(&name, &object)
    };
    each(repository.store(), lost, put).into_iter().collect()
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
