//! What an operation tells its caller while it runs. The engine prints nothing: a terminal, a log or a test listens here.
//! Methods must return at once; they are called from many threads.

use crate::error::{Error, SourceError};
use std::path::Path;

/// What happened to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    New,
    Changed,
    Unchanged,
    Restored,
    Updated,
    Skipped,
    Deleted,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It finds out what there is to do: indexes, listings, plans.
    #[default]
    Preparing,
    /// It does it; the counts tell how far.
    Working,
    /// It reads back what it wrote, or follows what it has found.
    Verifying,
    /// What was to be counted is counted; the rest is being written, linked, committed.
    Finishing,
}

impl Stage {
    /// Its name, the same in every output.
    pub const fn word(self) -> &'static str {
        match self {
            Stage::Preparing => "preparing",
            Stage::Working => "working",
            Stage::Verifying => "verifying",
            Stage::Finishing => "finishing",
        }
    }
}

/// Running totals, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Where the operation is.
    pub stage: Stage,
    /// Files finished.
    pub files_done: u64,
    /// Bytes finished: of content in plaintext, of packs as they are stored.
    pub bytes_done: u64,
    /// Bytes of these that had to be read, of a backup: all but those of files that its parent has as they are.
    pub bytes_read: u64,
    /// Packs finished, of operations that look at packs.
    pub packs_done: u64,
    /// Files in all; 0 while nobody knows.
    pub files_total: u64,
    /// Bytes in all; 0 while nobody knows.
    pub bytes_total: u64,
    /// Packs in all; 0 while nobody knows.
    pub packs_total: u64,
    /// Errors so far.
    pub errors: u64,
}

/// Listens to an operation.
pub trait Observer: Sync {
    /// Totals moved. Called often: keep it cheap.
    fn progress(&self, _progress: &Progress) {}
    /// Whether totals are worth what it costs to count them beside the operation, where nothing else tells them.
    fn wants_totals(&self) -> bool {
        false
    }
    /// An entry was dealt with. `path` is as stored; only called when [`Observer::wants_items`].
    fn item(&self, _path: &[u8], _action: Action, _bytes: u64) {}
    /// Whether [`Observer::item`] is wanted.
    fn wants_items(&self) -> bool {
        false
    }
    /// Whether [`Observer::item`] is wanted at least for what is deleted.
    fn wants_deletions(&self) -> bool {
        self.wants_items()
    }
    /// A source failed; the operation goes on.
    fn source_error(&self, _error: &SourceError) {}
    /// An entry could not be restored; the operation goes on. `path` is as in [`Observer::item`], empty where no entry is known.
    fn item_error(&self, _path: &[u8], _error: &Error) {}
    /// A restore leaves out something of this kind (`setuid and setgid bits`) for the first time because nobody said that the snapshot is to
    /// be trusted with it. `first` is where it would have been. The report says how much it was in the end.
    fn withheld(&self, _what: &str, _first: &Path) {}
    /// Something the user may like to know while it runs, and that needs no attention.
    fn remark(&self, _text: &str) {}
    /// Something the user should know that is no failure; said once per operation.
    fn warning(&self, _text: &str) {}
    /// Whether the user asked to stop. Polled several times a second.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Listens to nothing.
pub struct Silent;

impl Observer for Silent {}
