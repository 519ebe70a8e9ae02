//! How much there is to read, counted by a second walk beside the first one: only for somebody who watches a first backup, of which
//! nothing else tells. It must never slow down or fail the backup: what it cannot read it does not count, and it ends with the run.

use crate::backup::options::BackupOptions;
use crate::format::entry::EntryKind;
use crate::observe::Observer;
use crate::pack::sink::Trouble;
use crate::source::{WalkItem, Walker};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Entries between two looks at whether anybody still wants to know.
const LOOK_EVERY: u64 = 256;

/// What was counted: nothing before all of it was.
#[derive(Default)]
pub struct Totals {
    counted: OnceLock<(u64, u64)>,
    /// Everything was read before it was counted.
    late: AtomicBool,
}

impl Totals {
    /// Files and bytes, once they are known.
    pub fn get(&self) -> Option<(u64, u64)> {
        self.counted.get().copied()
    }

    /// Nobody needs them any more.
    pub fn stop(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// Counts, unless the run ends before.
    pub fn count(&self, options: &BackupOptions, trouble: &Trouble, observer: &dyn Observer) {
        let (mut files, mut bytes, mut steps) = (0u64, 0u64, 0u64);
        let mut walker = Walker::new(&options.paths, options.walk.clone());
        while let Some(item) = walker.next() {
            steps += 1;
            if steps.is_multiple_of(LOOK_EVERY) && (self.late.load(Ordering::Relaxed) || trouble.is_set() || observer.interrupted()) {
                return;
            }
            if let WalkItem::Entry(walk) = item
                && walk.entry.kind == EntryKind::File
            {
                files += 1;
                bytes = bytes.saturating_add(walk.entry.size);
            }
        }
        // Set once, by the one thread that counts.
        self.counted.set((files, bytes)).unwrap_or(());
    }
}
