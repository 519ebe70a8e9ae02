//! What a check found, collected from many threads: one entry per damage, however many places it shows up in.
//! Bounded: a repository whose packs are all gone must not fill the memory with the list of its chunks.

use crate::check::CheckReport;
use crate::error::{Damage, Error};
use crate::id::{ObjectName, SnapshotId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Findings that are kept; the rest is counted.
const FINDINGS_MAX: usize = 10_000;
/// Paths that are kept per finding where nobody asks for more.
pub const PATHS_MAX: usize = 16;

/// Something that is wrong, and whom it hurts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong with which object.
    pub error: Error,
    /// The snapshots that it hurts.
    pub snapshots: Vec<SnapshotId>,
    /// The first paths that it hurts, as stored, without leading `/`.
    pub paths: Vec<Vec<u8>>,
    /// Whether it hurts more paths than these.
    pub more_paths: bool,
}

/// Something that is not as it should be, and by which nothing is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A pack of a run that was killed.
    #[error("{pack} ({bytes} bytes) is in no index segment: the next backup or `rebuild` takes it in")]
    Orphan {
        /// The pack.
        pack: ObjectName,
        /// Its length.
        bytes: u64,
    },
    /// A pack that is gone or broken, and no snapshot needs it: of what snapshots need, there are other copies.
    #[error("{error}; nothing is lost by it: no snapshot needs it, or there is another copy")]
    Unneeded {
        /// What is wrong with it.
        error: Error,
    },
    /// A manifest of a run that did not end, and whose chunks are not all there.
    #[error("{pending} cannot be resumed: not all of its chunks are there")]
    PendingIncomplete {
        /// The manifest.
        pending: ObjectName,
    },
    /// Manifests that are committed: their runs died before they could remove them, or may not delete.
    #[error("{count} manifests in `pending` are left over from snapshots that are committed: `gc` removes them")]
    PendingCommitted {
        /// How many.
        count: u64,
    },
    /// A manifest whose run died long ago.
    #[error("{pending} is left over from a run that died {days} days ago: `gc` removes it")]
    PendingStale {
        /// The manifest.
        pending: ObjectName,
        /// Its age by the store's clock.
        days: u64,
    },
    /// A collection that nobody has finished.
    #[error("{record} condemned {packs} packs ({bytes} bytes) {days} days ago, and they are still there: `gc` deletes them")]
    RecordOpen {
        /// The record.
        record: ObjectName,
        /// Its packs that are still there.
        packs: u64,
        /// Their bytes.
        bytes: u64,
        /// Its age by the store's clock.
        days: u64,
    },
    /// Objects that the store has and does not list. Nothing is lost by it as long as somebody names them.
    #[error("the store's listing of `{folder}` leaves out {count} objects that are there: it must not be trusted")]
    ListingShort {
        /// The folder.
        folder: &'static str,
        /// How many.
        count: u64,
    },
    /// A file whose name is not of the format.
    #[error("{object} is not of this format and was passed over")]
    Foreign {
        /// Its name.
        object: ObjectName,
    },
}

/// A finding by its place in the list; one that was left out has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId(usize);

/// One that is not in the list, because that is full or because nobody is to blame.
pub const NOWHERE: FindingId = FindingId(usize::MAX);

/// What becomes of a finding that hurts no snapshot.
#[derive(Clone, Copy)]
enum Excuse {
    /// It is a finding all the same.
    None,
    /// A pack of so many bytes that nobody needs: a warning.
    Warn(u64),
    /// A pack that was to go.
    Drop,
}

struct Row {
    error: Error,
    snapshots: BTreeSet<SnapshotId>,
    paths: BTreeSet<Vec<u8>>,
    more_paths: bool,
    excuse: Excuse,
}

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    by_text: HashMap<String, FindingId>,
    left_out: u64,
    warnings: Vec<Warning>,
    /// Not everything that snapshots need could be walked.
    torn: bool,
}

/// The findings so far.
pub struct Findings {
    state: Mutex<State>,
    paths_max: usize,
}

impl Findings {
    /// None, with at most so many paths for each.
    pub fn new(paths_max: usize) -> Self {
        Findings { state: Mutex::default(), paths_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, error: Error, excuse: Excuse) -> FindingId {
        let mut state = self.lock();
        let text = error.to_string();
        if let Some(id) = state.by_text.get(&text) {
            return *id;
        }
        if state.rows.len() >= FINDINGS_MAX {
            state.left_out += 1;
            return NOWHERE;
        }
        let id = FindingId(state.rows.len());
        state.by_text.insert(text, id);
        state.rows.push(Row { error, snapshots: BTreeSet::new(), paths: BTreeSet::new(), more_paths: false, excuse });
        id
    }

    /// Takes down something that is wrong; the same again is the same finding.
    pub fn add(&self, error: Error) -> FindingId {
        self.insert(error, Excuse::None)
    }

    /// Takes down what is wrong with a pack of `bytes` bytes as a whole: a finding if a snapshot turns out to need it, else a warning.
    pub fn add_if_needed(&self, error: Error, bytes: u64) -> FindingId {
        self.insert(error, Excuse::Warn(bytes))
    }

    /// As [`Findings::add_if_needed`], for what was expected: not even a warning where nobody needs it.
    pub fn add_silently(&self, error: Error) -> FindingId {
        self.insert(error, Excuse::Drop)
    }

    /// What was found in a pack of `bytes` bytes is a warning, if no snapshot turns out to need it.
    pub fn excuse(&self, id: FindingId, bytes: u64) {
        if let Some(row) = self.lock().rows.get_mut(id.0) {
            row.excuse = Excuse::Warn(bytes);
        }
    }

    /// Something that says what a snapshot needs could not be read.
    pub fn tear(&self) {
        self.lock().torn = true;
    }

    /// Takes down a warning.
    pub fn warn(&self, warning: Warning) {
        self.lock().warnings.push(warning);
    }

    /// The finding hurts a snapshot.
    pub fn hurts(&self, id: FindingId, snapshot: SnapshotId) {
        if let Some(row) = self.lock().rows.get_mut(id.0) {
            row.snapshots.insert(snapshot);
        }
    }

    /// The finding hurts a path.
    pub fn hurts_path(&self, id: FindingId, path: &[u8]) {
        if let Some(row) = self.lock().rows.get_mut(id.0) {
            row.paths.insert(path.to_vec());
            // The first ones in order, whichever thread was first.
            if row.paths.len() > self.paths_max {
                row.paths.pop_last();
                row.more_paths = true;
            }
        }
    }

    /// Sorts findings from warnings, once all snapshots were walked.
    pub fn into_report(self, report: &mut CheckReport, foreign: impl IntoIterator<Item = ObjectName>) {
        let State { rows, left_out, warnings, torn, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.findings_left_out = left_out;
        report.warnings = warnings;
        report.warnings.extend(foreign.into_iter().map(|object| Warning::Foreign { object }));
        for Row { error, snapshots, paths, more_paths, excuse } in rows {
            let hurts = !snapshots.is_empty();
            let finding =
                |error| Finding { error, snapshots: snapshots.into_iter().collect(), paths: paths.into_iter().collect(), more_paths };
            match (excuse, error) {
                (Excuse::None, error) => report.findings.push(finding(error)),
                (_, error) if hurts => report.findings.push(finding(error)),
                (Excuse::Drop, _) => {}
                (Excuse::Warn(bytes), Error::Damaged { object: pack, damage: Damage::Unindexed }) => {
                    report.warnings.push(Warning::Orphan { pack, bytes });
                }
                // Below a tree that cannot be read nobody knows what is needed: then nothing is excused.
                (Excuse::Warn(_), error) if torn => report.findings.push(finding(error)),
                (Excuse::Warn(_), error) => report.warnings.push(Warning::Unneeded { error }),
            }
        }
    }
}
