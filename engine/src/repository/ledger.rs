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
}

impl Watermark {
    /// From the catalog. Before any listing: a snapshot that is committed meanwhile must not look like one that was lost.
    pub fn read(repository: &Repository) -> Result<Self> {
        let catalog = repository.catalog();
        Ok(Watermark { heads: catalog.heads()?.into_iter().chain(catalog.places()?).collect() })
    }

    /// Every snapshot that was seen.
    pub fn snapshots(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        self.heads.iter().map(|head| head.snapshot)
    }

    /// Whose a snapshot was, and as which.
    pub fn place_of(&self, id: &SnapshotId) -> Option<(WriterId, u64)> {
        self.heads.iter().find(|head| head.snapshot == *id).map(|head| (head.writer, head.sequence))
    }
}

/// A snapshot that is neither listed nor forgotten, though someone vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Its id; nobody may know it.
    pub snapshot: Option<SnapshotId>,
    /// Who wrote it,
    pub writer: WriterId,
    /// as which of its snapshots.
    pub sequence: u64,
    /// No manifest and no tombstone speaks of it, only what this machine remembers: then the repository may have been rolled back.
    pub only_remembered: bool,
}

/// Numbers that are missing from a writer's snapshots, from the first to the last of them.
struct Gap {
    writer: WriterId,
    first: u64,
    last: u64,
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
        let (lost, gaps) = self.compare(watermark);
        let lost = lost.iter().filter_map(|lost| lost.snapshot).map(|snapshot| (Error::SnapshotLost { snapshot }, Some(snapshot)));
        lost.chain(gaps.into_iter().map(|Gap { writer, first, last }| (Error::LedgerGap { writer, first, last }, None))).collect()
    }

    /// Whether nothing in the repository speaks of what is lost, only what this machine remembers.
    pub fn is_rolled_back(&self, watermark: &Watermark) -> bool {
        let (lost, _) = self.compare(watermark);
        !lost.is_empty() && lost.iter().all(|lost| lost.only_remembered)
    }

    /// What [`Ledger::gaps`] finds, one by one, `most` at most.
    pub fn lost(&self, watermark: &Watermark, most: usize) -> Vec<Lost> {
        let (lost, gaps) = self.compare(watermark);
        let numbers = gaps.into_iter().flat_map(|gap| (gap.first..=gap.last).map(move |sequence| (gap.writer, sequence)));
        let unnamed = numbers.map(|(writer, sequence)| Lost { snapshot: None, writer, sequence, only_remembered: false });
        lost.into_iter().chain(unnamed).take(most).collect()
    }

    fn compare(&self, watermark: &Watermark) -> (Vec<Lost>, Vec<Gap>) {
        let there = |id: &SnapshotId| self.listed.contains(id) || self.forgotten.contains(id);
        let mut lost = Vec::new();
        let mut said = HashSet::new();
        let mut writers: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
        // Numbers that belong to a lost snapshot which is named: said once, by its name.
        let mut named: HashSet<(WriterId, u64)> = HashSet::new();
        let mut vouch = |snapshot: SnapshotId, writer: WriterId, sequence: u64, only_remembered: bool| {
            if !there(&snapshot) {
                named.insert((writer, sequence));
                if said.insert(snapshot) {
                    lost.push(Lost { snapshot: Some(snapshot), writer, sequence, only_remembered });
                }
            }
        };
        for row in self.rows {
            writers.entry(row.writer).or_default().insert(row.sequence);
            if let Some(previous) = row.previous {
                vouch(previous, row.writer, row.sequence.saturating_sub(1), false);
            }
            row.heads.iter().for_each(|head| vouch(head.snapshot, head.writer, head.sequence, false));
        }
        for head in &watermark.heads {
            vouch(head.snapshot, head.writer, head.sequence, true);
            // Up to what was seen once, even where all of a writer's snapshots are gone.
            writers.entry(head.writer).or_default();
        }
        // A manifest that does not open keeps its number to itself: it would look like a gap.
        if self.is_torn {
            return (lost, Vec::new());
        }
        let mut gaps = Vec::new();
        for (writer, there) in writers {
            let seen = watermark.heads.iter().filter(|h| h.writer == writer).map(|h| h.sequence).max();
            let end = seen.map(|top| top.saturating_add(1)).into_iter().chain(there.last().copied()).max().unwrap_or(0);
            let mut next = 1;
            for at in there.into_iter().chain([end]) {
                if at > next {
                    gaps.extend(gap(writer, next, at - 1, &named));
                }
                next = next.max(at.saturating_add(1));
            }
        }
        (lost, gaps)
    }
}

fn gap(writer: WriterId, first: u64, last: u64, named: &HashSet<(WriterId, u64)>) -> Option<Gap> {
    let (mut first, mut last) = (first, last);
    while first <= last && named.contains(&(writer, first)) {
        first += 1;
    }
    while last > first && named.contains(&(writer, last)) {
        last -= 1;
    }
    (first <= last).then_some(Gap { writer, first, last })
}
