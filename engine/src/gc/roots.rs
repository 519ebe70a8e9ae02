//! What a collection must keep: committed snapshots that are not forgotten, and pending manifests (spec chapter 7, G1 and G4).
//! Pendings are listed before snapshots, for that is the way that a commit takes; whatever is unclear stops the collection.

use crate::commit::GAVE_UP;
use crate::error::{Error, Result};
use crate::faults;
use crate::format::manifest::{IndexPart, IndexRoot};
use crate::format::object::ObjectType;
use crate::format::protocol::Tombstone;
use crate::id::{ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::repository::ledger::{Ledger, LedgerRow, Watermark};
use crate::seal::object::{open_manifest_index, open_object};
use crate::store::{Listed, each, reread, there};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How often manifests are listed where one that is listed is gone when it is read.
const LISTINGS: u32 = 6;
/// Manifests that are in memory at the same time before only their roots are kept.
const BATCH: usize = 256;
/// Pendings that are older (by the store's clock) are no roots any more: their runs are dead.
pub const PENDING_STALE_DAYS: i64 = 14;
pub const DAY_NANOS: i64 = 86_400 * 1_000_000_000;

/// A pending manifest.
pub struct Pending {
    pub name: ObjectName,
    pub roots: Vec<IndexRoot>,
    /// All that it needs was found and marked.
    pub whole: bool,
}

/// Everything that is a root, and what is one no more.
#[derive(Default)]
pub struct Roots {
    /// Committed and not forgotten.
    pub snapshots: HashMap<SnapshotId, Vec<IndexRoot>>,
    /// Of runs that have not ended.
    pub pendings: Vec<Pending>,
    /// Pendings that are none: their snapshot is committed, or nobody has touched them for long.
    pub spent: Vec<ObjectName>,
    /// Manifests of forgotten snapshots, and when they were forgotten, by the store's clock.
    pub forgotten: Vec<(ObjectName, i64)>,
    ledger: Vec<LedgerRow>,
    listed: HashSet<SnapshotId>,
    tombstones: BTreeMap<ObjectName, Tombstone>,
}

impl Roots {
    /// Reads the roots as they are now. What `before` had read already is not read again: no manifest ever changes.
    pub fn read(repository: &Repository, watermark: &Watermark, before: Option<&Roots>) -> Result<Self> {
        let mut gone = HashSet::new();
        let mut round = 0;
        loop {
            round += 1;
            let known = gone.len();
            match Self::read_once(repository, watermark, before, &mut gone) {
                // Forgotten and collected between the listing and the read: a new listing shows it.
                Err(error) if error.is_missing() && round < LISTINGS => {}
                // A pending went since it was listed: its run has committed, and the listing of snapshots may have been before that.
                Ok(_) if gone.len() > known && round < LISTINGS => {}
                other => return other,
            }
        }
    }

    fn read_once(repository: &Repository, watermark: &Watermark, before: Option<&Roots>, gone: &mut HashSet<ObjectName>) -> Result<Self> {
        let origin = repository.origin();
        let list = |kind, folder: &str| -> Result<Vec<Listed>> {
            let mut listed = origin.list(folder)?;
            listed.retain(|object| ObjectType::of(&object.name) == Some(kind));
            Ok(listed)
        };
        let now = origin.now()?;
        // Twice: all rests on these listings, and a store that cuts one short need not cut the next one. A snapshot that was committed since
        // the listing before is known to nobody else: no other one vouches for it yet, and its pending is gone.
        let twice = |kind, folder: &str| -> Result<BTreeMap<ObjectName, Listed>> {
            let listed = list(kind, folder)?.into_iter().chain(list(kind, folder)?);
            Ok(listed.map(|listed| (listed.name.clone(), listed)).collect())
        };
        let pendings = twice(ObjectType::Pending, "pending")?;
        let snapshots = twice(ObjectType::Snapshot, "snapshots")?;
        let tombstones = list(ObjectType::Tombstone, "forgotten")?;
        let mut roots = Roots { listed: snapshots.keys().filter_map(ObjectName::as_snapshot).collect(), ..Roots::default() };
        roots.read_tombstones(repository, &tombstones, before)?;
        let mut forgotten: HashMap<SnapshotId, i64> = HashMap::new();
        for listed in &tombstones {
            if let Some(id) = listed.name.as_tombstone() {
                // Of several the first counts.
                let at = forgotten.entry(id).or_insert(listed.modified);
                *at = (*at).min(listed.modified);
            }
        }
        roots.read_snapshots(repository, &forgotten, before, watermark)?;
        roots.forgotten =
            forgotten.iter().filter(|(id, _)| roots.listed.contains(id)).map(|(id, at)| (ObjectName::snapshot(id), *at)).collect();
        roots.read_pendings(repository, pendings.into_values(), (before, now), gone)?;
        Ok(roots)
    }

    fn read_tombstones(&mut self, repository: &Repository, listed: &[Listed], before: Option<&Roots>) -> Result<()> {
        let read = |listed: &Listed| {
            if let Some(known) = before.and_then(|before| before.tombstones.get(&listed.name)) {
                return Ok(known.clone());
            }
            reread(repository.store(), &listed.name, || {
                let bytes = repository.store().get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
                open_object::<Tombstone>(repository.keys(), &repository.id(), &listed.name, ObjectType::Tombstone, &bytes)
            })
        };
        for batch in listed.chunks(BATCH) {
            for (listed, tombstone) in batch.iter().zip(each(repository.store(), batch, read)) {
                let tombstone = tombstone?;
                self.ledger.push(LedgerRow::from(tombstone.clone()));
                self.tombstones.insert(listed.name.clone(), tombstone);
            }
        }
        Ok(())
    }

    fn read_snapshots(
        &mut self,
        repository: &Repository,
        forgotten: &HashMap<SnapshotId, i64>,
        before: Option<&Roots>,
        watermark: &Watermark,
    ) -> Result<()> {
        let mut vouched: HashSet<SnapshotId> = watermark.snapshots().collect();
        // Snapshots of the listing before too: one that is missing now and not forgotten stops everything.
        vouched.extend(before.into_iter().flat_map(|before| before.listed.iter().copied()));
        if faults::seeded("short-roots-trusted") {
            vouched.clear();
        }
        vouched.extend(self.ledger.iter().flat_map(LedgerRow::vouches));
        // What is forgotten is no root, and its tombstone says all that the ledger wants.
        let mut todo: Vec<SnapshotId> = self.listed.iter().filter(|id| !forgotten.contains_key(*id)).copied().collect();
        let mut asked: HashSet<SnapshotId> = HashSet::new();
        loop {
            for batch in todo.chunks(BATCH) {
                let read = |id: &SnapshotId| read_index(repository, &ObjectName::snapshot(id));
                for (id, read) in batch.iter().zip(each(repository.store(), batch, read)) {
                    let index = read?;
                    let row = LedgerRow::from(&index);
                    vouched.extend(row.vouches());
                    self.ledger.push(row);
                    self.snapshots.insert(*id, index.roots);
                }
            }
            // Whom somebody vouches for, or this machine has seen, is asked for by name where the listing does not show it.
            vouched.retain(|id| !self.listed.contains(id) && !forgotten.contains_key(id) && asked.insert(*id));
            let found = there(repository.origin(), vouched.drain().map(|id| ObjectName::snapshot(&id)).collect())?;
            todo = found.iter().filter_map(|object| object.name.as_snapshot()).collect();
            if todo.is_empty() {
                break;
            }
            self.listed.extend(&todo);
        }
        if let Some(before) = before.filter(|_| !faults::seeded("short-roots-trusted")) {
            let lost = before.listed.iter().find(|id| !self.listed.contains(id) && !forgotten.contains_key(id));
            if let Some(id) = lost {
                return Err(Error::SnapshotLost { snapshot: *id });
            }
        }
        let gone: HashSet<SnapshotId> = forgotten.keys().copied().collect();
        let ledger = Ledger { rows: &self.ledger, listed: &self.listed, forgotten: &gone, is_torn: false };
        match ledger.gaps(watermark).into_iter().next().filter(|_| !faults::seeded("short-roots-trusted")) {
            Some((error, _)) => Err(error),
            None => Ok(()),
        }
    }

    fn read_pendings(
        &mut self,
        repository: &Repository,
        listed: impl Iterator<Item = Listed>,
        (before, now): (Option<&Roots>, i64),
        gone: &mut HashSet<ObjectName>,
    ) -> Result<()> {
        let mut todo = Vec::new();
        for pending in listed {
            let Some((snapshot, _)) = pending.name.as_pending() else { continue };
            // By the store's clock; one that does not say when is young.
            let stale = pending.modified > 0 && now.saturating_sub(pending.modified) > PENDING_STALE_DAYS * DAY_NANOS;
            if stale || self.is_spent(&snapshot) {
                self.spent.push(pending.name);
            } else {
                todo.push((pending.name, snapshot));
            }
        }
        let known: HashMap<&ObjectName, &Pending> =
            before.into_iter().flat_map(|before| &before.pendings).map(|pending| (&pending.name, pending)).collect();
        let read = |(name, _): &(ObjectName, SnapshotId)| match known.get(name) {
            Some(pending) => Ok(pending.roots.clone()),
            None => read_index(repository, name).map(|index| index.roots),
        };
        for ((name, _), roots) in todo.iter().zip(each(repository.store(), &todo, read)) {
            match roots {
                Ok(roots) => self.pendings.push(Pending { name: name.clone(), roots, whole: false }),
                // The snapshots were listed behind the last time that it was gone: if it was committed, its root is among them. Some
                // listings show for minutes what is gone.
                Err(error) if error.is_missing() => drop(gone.insert(name.clone())),
                // Whatever it was, its owner's CHECK fails, and nobody else can use it.
                Err(error) if error.is_damage() && !faults::seeded("pending-aborts") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Snapshots that are forgotten and whose manifests are not listed.
    pub fn collected(&self) -> HashSet<SnapshotId> {
        self.tombstones.values().map(|tombstone| tombstone.snapshot).filter(|id| !self.listed.contains(id)).collect()
    }

    /// Whether a pending of this snapshot says nothing any more: the snapshot is there, or a user forgot it. That of a run that gave up
    /// stays a resume point.
    fn is_spent(&self, snapshot: &SnapshotId) -> bool {
        let mut of = self.tombstones.values().filter(|tombstone| tombstone.snapshot == *snapshot).peekable();
        if of.peek().is_some() { of.all(|tombstone| tombstone.reason != GAVE_UP) } else { self.listed.contains(snapshot) }
    }
}

/// The part of a manifest that a collector may read.
fn read_index(repository: &Repository, name: &ObjectName) -> Result<IndexPart> {
    reread(repository.store(), name, || {
        let bytes = repository.store().get(name, SMALL_OBJECT_BYTES_MAX)?;
        open_manifest_index(repository.keys(), &repository.id(), name, &bytes)
    })
}
