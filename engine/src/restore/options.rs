//! What a caller asks of a restore and what it is told: plain data.

use crate::error::Error;
use crate::repository::selection::Pattern;
use crate::restore::target::TargetOptions;
use std::path::PathBuf;

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Where to.
    pub target: PathBuf,
    /// What may happen there.
    pub options: TargetOptions,
    /// Only what matches one of these, if there are any. Paths are those below the target, here and in `exclude`.
    pub include: Vec<Pattern>,
    /// Nothing that matches one of these.
    pub exclude: Vec<Pattern>,
    /// Read everything back afterwards and compare.
    pub verify: bool,
    /// Go on after damage and restore all that is left.
    pub keep_going: bool,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
}

impl RestoreOptions {
    /// How many workers to start.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64),
            n => n.min(256),
        }
    }
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Files that were asked for, links and nodes included.
    pub files_total: u64,
    /// Files that were created.
    pub files_restored: u64,
    /// Files that took the place of others.
    pub files_updated: u64,
    /// Files that were there as in the snapshot.
    pub files_unchanged: u64,
    /// Files that the policy kept, or that failed.
    pub files_skipped: u64,
    /// Files and directories removed because the snapshot does not have them.
    pub files_deleted: u64,
    /// Directories.
    pub directories: u64,
    /// Content that was asked for.
    pub bytes_total: u64,
    /// Content written.
    pub bytes_restored: u64,
    /// Content not written because it was there.
    pub bytes_skipped: u64,
    /// Files read back and found equal.
    pub files_verified: u64,
    /// Files that the snapshot itself does not hold: they could not be read when it was made.
    pub files_not_stored: u64,
    /// The first errors.
    pub errors: Vec<Error>,
    /// How many there were.
    pub error_count: u64,
    /// What the user or the platform may not restore: kind, how often, first path.
    pub shortfalls: Vec<(String, u64, PathBuf)>,
}
