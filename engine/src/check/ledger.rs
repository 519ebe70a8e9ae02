//! The ledger (spec chapter 6): what manifests and tombstones say of each other, and what this machine remembers.
//! A snapshot that someone vouches for and that is neither listed nor forgotten was taken away, or the listing lied.

use crate::check::findings::Findings;
use crate::check::structure::Structure;
use crate::error::{Error, Result};
use crate::format::manifest::Head;
use crate::id::{SnapshotId, WriterId};
use crate::repository::Repository;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What this machine remembers of the repository: the one thing that a rolled back repository cannot roll back with it.
pub struct Watermark {
    heads: Vec<Head>,
    snapshots: HashSet<SnapshotId>,
}

impl Watermark {
    /// From the catalog.
    pub fn read(repository: &Repository) -> Result<Self> {
        let catalog = repository.catalog();
        Ok(Watermark { heads: catalog.heads()?, snapshots: catalog.ids()? })
    }

    /// Every snapshot that was seen.
    pub fn snapshots(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        self.snapshots.iter().copied().chain(self.heads.iter().map(|head| head.snapshot))
    }
}

/// Compares everything that vouches with everything that is there.
pub fn check(structure: &Structure, watermark: &Watermark, findings: &Findings) {
    let there = |id: &SnapshotId| structure.listed.contains(id) || structure.forgotten.contains(id);
    let lost = |id: SnapshotId| {
        let at = findings.add(Error::SnapshotLost { snapshot: id });
        findings.hurts(at, id);
    };
    let mut writers: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
    // Numbers that belong to a lost snapshot which is named: said once, by its name.
    let mut named: HashSet<(WriterId, u64)> = HashSet::new();
    for row in &structure.ledger {
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
    if structure.ledger_is_torn {
        return;
    }
    for (writer, there) in writers {
        let seen = watermark.heads.iter().filter(|h| h.writer == writer).map(|h| h.sequence).max();
        let end = seen.map(|top| top.saturating_add(1)).into_iter().chain(there.last().copied()).max().unwrap_or(0);
        let mut next = 1;
        for at in there.into_iter().chain([end]) {
            if at > next {
                gap(writer, next, at - 1, &named, findings);
            }
            next = next.max(at.saturating_add(1));
        }
    }
}

fn gap(writer: WriterId, first: u64, last: u64, named: &HashSet<(WriterId, u64)>, findings: &Findings) {
    let (mut first, mut last) = (first, last);
    while first <= last && named.contains(&(writer, first)) {
        first += 1;
    }
    while last > first && named.contains(&(writer, last)) {
        last -= 1;
    }
    if first <= last {
        findings.add(Error::LedgerGap { writer, first, last });
    }
}
