//! Manifests in the store, and the catalog kept in step with them.
//! A listing is compared with the catalog and only what is new is read: ten thousand snapshots cost one listing.

use crate::catalog::{Catalog, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{IndexPart, NamesPart};
use crate::format::object::ObjectType;
use crate::id::{ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::{open_manifest, seal_manifest};
use crate::store::{Listed, Store, beside, each, each_busy, reread, there};
use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A manifest that a listing shows and that does not open.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unreadable {
    /// Its snapshot.
    pub id: SnapshotId,
    /// Why not.
    pub error: Error,
}

/// What a refresh of the catalog found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Refresh {
    /// Manifests that do not open; everything else is listed all the same.
    pub unreadable: Vec<Unreadable>,
    /// Snapshots that the store's listing left out, and that are there when they are asked for by name.
    pub unlisted: u64,
    /// Snapshots that this machine has seen and that are gone, though nobody has forgotten them.
    pub lost: u64,
    /// Notes that do not open, and what is wrong with them: what they say of tags and descriptions is not shown.
    pub unreadable_notes: Vec<Error>,
    /// Why this run goes on with a catalog in memory.
    pub uncached: Option<Error>,
}

/// What the folders of manifests hold, listed beforehand.
pub(super) struct Listings {
    asked: Instant,
    snapshots: Result<Vec<Listed>>,
    forgotten: Result<Vec<Listed>>,
}

/// For how long a listing that was asked for beforehand is as good as one that is asked for now.
const LISTINGS_GOOD: Duration = Duration::from_secs(3);

impl Listings {
    pub(super) fn new(store: &dyn Store) -> Self {
        let asked = Instant::now();
        // In any order: one that is forgotten between the two listings is not listed, or forgotten, and gone from the catalog both ways.
        let mut listings = each(store, &["snapshots", "forgotten"], |folder| store.list(folder)).into_iter();
        let mut next = || listings.next().unwrap_or(Ok(Vec::new()));
        Listings { asked, snapshots: next(), forgotten: next() }
    }

    /// Whether all of `known` were there, or forgotten.
    fn shows_all(&self, known: &HashSet<SnapshotId>) -> bool {
        let (Ok(snapshots), Ok(forgotten)) = (&self.snapshots, &self.forgotten) else { return false };
        let shown = snapshots.iter().filter_map(|l| l.name.as_snapshot()).chain(forgotten.iter().filter_map(|l| l.name.as_tombstone()));
        let shown: HashSet<SnapshotId> = shown.collect();
        known.is_subset(&shown)
    }
}

impl Repository {
    /// Reads a manifest, committed or pending.
    #[doc(hidden)]
    pub fn read_manifest(&self, name: &ObjectName) -> Result<(IndexPart, NamesPart)> {
        reread(self.store(), name, || {
            let bytes = self.store.get(name, SMALL_OBJECT_BYTES_MAX)?;
            open_manifest(&self.keys, &self.id(), name, &bytes)
        })
    }

    /// Writes a manifest. Everything that it needs is durable and indexed already: this is the last put of a run.
    #[doc(hidden)]
    pub fn put_manifest(&self, name: &ObjectName, index: &IndexPart, names: &NamesPart) -> Result<u64> {
        let object = seal_manifest(&self.keys, &self.id(), name, index, names)?;
        if object.len() as u64 > SMALL_OBJECT_BYTES_MAX {
            return Err(Error::Option { what: "paths, excludes and descriptions of this snapshot take more than 16 MiB".to_owned() });
        }
        self.store.put(name, &object)?;
        Ok(object.len() as u64)
    }

    /// Brings the catalog up to date with the store. One that cannot be written any more, for its disk is full, is left as it is: this run
    /// goes on with one in memory.
    pub fn refresh(&self) -> Result<Refresh> {
        self.refresh_or_go_without(true)
    }

    /// As [`Repository::refresh`], without tags and descriptions that were edited since the last one: for who looks at neither, and for whom
    /// each request counts.
    #[doc(hidden)]
    pub fn refresh_manifests(&self) -> Result<Refresh> {
        self.refresh_or_go_without(false)
    }

    fn refresh_or_go_without(&self, notes: bool) -> Result<Refresh> {
        match self.refresh_catalog(notes) {
            Err(error @ (Error::Catalog { .. } | Error::Cache { .. })) if self.cache.directory().is_some() => {
                *self.catalog() = Catalog::open(None, &self.id())?;
                self.refresh_catalog(notes).map(|refresh| Refresh { uncached: Some(error), ..refresh })
            }
            other => other,
        }
    }

    fn refresh_catalog(&self, notes: bool) -> Result<Refresh> {
        if !notes {
            return self.refresh_snapshots();
        }
        // Before the listing, as below.
        let known = self.catalog().notes()?;
        // Beside the others: it is no round trip more. A note may come before its manifest is seen, or after: the catalog joins them.
        let (listed, refresh) = beside(self.store(), || self.listed(ObjectType::Note, "notes"), || self.refresh_snapshots());
        let refresh = refresh?;
        let unreadable_notes = self.learn_notes(&known, listed?)?;
        Ok(Refresh { unreadable_notes, ..refresh })
    }

    fn refresh_snapshots(&self) -> Result<Refresh> {
        let early = self.listings.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut catalog = self.catalog();
        // Before the listing: what another process has stored, and entered in this catalog, since then would look like left out of it.
        let known = catalog.ids()?;
        let lost_before = catalog.lost_ids()?;
        let good = |early: &Listings| early.asked.elapsed() < LISTINGS_GOOD && early.shows_all(&known);
        let Listings { snapshots, forgotten, .. } = early.filter(good).unwrap_or_else(|| Listings::new(self.store()));
        let listed: HashSet<SnapshotId> = snapshots?.iter().filter_map(|l| l.name.as_snapshot()).collect();
        let forgotten: HashSet<SnapshotId> = forgotten?.iter().filter_map(|l| l.name.as_tombstone()).collect();
        let mut refresh = Refresh::default();
        let gone: Vec<SnapshotId> = known.union(&lost_before).filter(|id| forgotten.contains(id)).copied().collect();
        // No tombstone is ever removed: a snapshot without one that is not listed was lost, or the listing is short. Only by name the
        // store says which.
        let unlisted: Vec<SnapshotId> = known.iter().filter(|id| !listed.contains(id) && !forgotten.contains(id)).copied().collect();
        let found = there(self.store(), unlisted.iter().map(ObjectName::snapshot).collect())?;
        let found: HashSet<SnapshotId> = found.iter().filter_map(|object| object.name.as_snapshot()).collect();
        refresh.unlisted = found.len() as u64;
        let lost: Vec<SnapshotId> = unlisted.into_iter().filter(|id| !found.contains(id)).collect();
        refresh.lost = lost.len() as u64;
        let new: Vec<SnapshotId> = listed.iter().filter(|id| !forgotten.contains(id) && !known.contains(id)).copied().collect();
        let read = |id: &SnapshotId| (*id, self.read_manifest(&ObjectName::snapshot(id)));
        let mut vanished = Vec::new();
        // In batches: a fresh cache before ten thousand snapshots must not hold them all at once.
        for batch in new.chunks(512) {
            let mut snapshots = Vec::with_capacity(batch.len());
            for (id, manifest) in each_busy(self.store(), batch, read) {
                match manifest {
                    Ok((index, names)) => snapshots.push(Snapshot { id, index, names }),
                    Err(error) if error.is_missing() => vanished.push(Unreadable { id, error }),
                    // It says nothing of the manifest: going on would take an older snapshot for the newest.
                    Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Interrupted | Kind::Configuration) => return Err(error),
                    Err(error) => refresh.unreadable.push(Unreadable { id, error }),
                }
            }
            catalog.apply(&snapshots, &[])?;
        }
        // Listed and not there: forgotten since, and collected; or lost, and then that has to be said.
        if !vanished.is_empty() {
            let forgotten: HashSet<SnapshotId> = self.store.list("forgotten")?.iter().filter_map(|l| l.name.as_tombstone()).collect();
            refresh.unreadable.extend(vanished.into_iter().filter(|vanished| !forgotten.contains(&vanished.id)));
        }
        if !gone.is_empty() {
            catalog.apply(&[], &gone)?;
        }
        // Not shown any more, and not let go: what it was a repair may learn from here alone.
        if !lost.is_empty() {
            catalog.lose(&lost)?;
        }
        drop(catalog);
        if !new.is_empty() {
            // What they are made of is in segments that an index read before them does not know.
            self.drop_index();
        }
        refresh.unreadable.sort_by_key(|u| u.id);
        Ok(refresh)
    }
}
