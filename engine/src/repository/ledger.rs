//! The ledger (spec chapter 6): what manifests and tombstones say of each other, and what this machine remembers.
//! A snapshot that someone vouches for and that is neither listed nor forgotten was taken away, or the listing lied.

use crate::error::{Error, Result};
use crate::format::manifest::{Head, IndexPart};
use crate::format::protocol::Tombstone;
use crate::id::{SnapshotId, WriterId};
use crate::repository::Repository;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a manifest or tombstone says of the ledger.
pub struct LedgerRow {
    /// Who wrote the snapshot,
    pub writer: WriterId,
    /// as which of its snapshots,
    pub sequence: u64,
    /// after which,
    pub previous: Option<SnapshotId>,
    /// having seen which.
    pub heads: Vec<Head>,
}

impl From<&IndexPart> for LedgerRow {
    fn from(index: &IndexPart) -> Self {
        LedgerRow { writer: index.writer, sequence: index.sequence, previous: index.previous, heads: index.heads.clone() }
    }
}

impl From<Tombstone> for LedgerRow {
    fn from(t: Tombstone) -> Self {
        LedgerRow { writer: t.writer, sequence: t.sequence, previous: t.previous, heads: t.heads }
    }
}

impl LedgerRow {
    /// The snapshots that it vouches for.
    pub fn vouches(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        self.previous.into_iter().chain(self.heads.iter().map(|head| head.snapshot))
    }
}

/// What this machine remembers of the repository: the one thing that a rolled back repository cannot roll back with it.
pub struct Watermark {
    heads: Vec<Head>,
    snapshots: HashSet<SnapshotId>,
}

impl Watermark {
    /// From the catalog. Before any listing: a snapshot that is committed meanwhile must not look like one that was lost.
    pub fn read(repository: &Repository) -> Result<Self> {
        let catalog = repository.catalog();
        Ok(Watermark { heads: catalog.heads()?, snapshots: catalog.ids()? })
    }

    /// Every snapshot that was seen.
    pub fn snapshots(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        self.snapshots.iter().copied().chain(self.heads.iter().map(|head| head.snapshot))
    }
}

/// All that is known of the ledger at one moment.
pub struct Ledger<'a> {
    /// What manifests and tombstones say.
    pub rows: &'a [LedgerRow],
    /// Snapshots that are listed, readable or not.
    pub listed: &'a HashSet<SnapshotId>,
    /// Snapshots that have a tombstone, readable or not.
    pub forgotten: &'a HashSet<SnapshotId>,
    /// Some manifest or tombstone does not open: what it said is not known.
    pub is_torn: bool,
}

impl Ledger<'_> {
    /// Compares everything that vouches with everything that is there: what is wrong, each thing once, and whose snapshot it is.
    pub fn gaps(&self, watermark: &Watermark) -> Vec<(Error, Option<SnapshotId>)> {
        let there = |id: &SnapshotId| self.listed.contains(id) || self.forgotten.contains(id);
        let mut wrong = Vec::new();
        let mut said = HashSet::new();
        let mut lost = |id: SnapshotId| {
            if said.insert(id) {
                wrong.push((Error::SnapshotLost { snapshot: id }, Some(id)));
            }
        };
        let mut writers: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
        // Numbers that belong to a lost snapshot which is named: said once, by its name.
        let mut named: HashSet<(WriterId, u64)> = HashSet::new();
        for row in self.rows {
            writers.entry(row.writer).or_default().insert(row.sequence);
            if let Some(previous) = row.previous.filter(|id| !there(id)) {
                lost(previous);
                named.insert((row.writer, row.sequence.saturating_sub(1)));
            }
            for head in row.heads.iter().filter(|h| !there(&h.snapshot)) {
                lost(head.snapshot);
                named.insert((head.writer, head.sequence));
            }
        }
        for head in &watermark.heads {
            if !there(&head.snapshot) {
                lost(head.snapshot);
                named.insert((head.writer, head.sequence));
            }
            // Up to what was seen once, even where all of a writer's snapshots are gone.
            writers.entry(head.writer).or_default();
        }
        for id in watermark.snapshots.iter().filter(|id| !there(id)) {
            lost(*id);
        }
        // A manifest that does not open keeps its number to itself: it would look like a gap.
        if self.is_torn {
            return wrong;
        }
        for (writer, there) in writers {
            let seen = watermark.heads.iter().filter(|h| h.writer == writer).map(|h| h.sequence).max();
            let end = seen.map(|top| top.saturating_add(1)).into_iter().chain(there.last().copied()).max().unwrap_or(0);
            let mut next = 1;
            for at in there.into_iter().chain([end]) {
                if at > next {
                    wrong.extend(gap(writer, next, at - 1, &named).map(|error| (error, None)));
                }
                next = next.max(at.saturating_add(1));
            }
        }
        wrong
    }
}

fn gap(writer: WriterId, first: u64, last: u64, named: &HashSet<(WriterId, u64)>) -> Option<Error> {
    let (mut first, mut last) = (first, last);
    while first <= last && named.contains(&(writer, first)) {
        first += 1;
    }
    while last > first && named.contains(&(writer, last)) {
        last -= 1;
    }
    (first <= last).then_some(Error::LedgerGap { writer, first, last })
}
