//! How far a restore is, for whoever watches: what is under way, and how much there is in all.
//! It must never decide anything: what a snapshot says of its size is a claim, and a count beside the restore only saves a guess.

use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::observe::{Progress, Stage};
use crate::pack::reader::ChunkReader;
use crate::repository::merged::Merged;
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::restore::options::RestoreReport;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// See the module's text.
#[derive(Default)]
pub struct Watch {
    stage: Mutex<Stage>,
    totals: OnceLock<(u64, u64)>,
    /// Bytes of long files that have no name yet.
    under_way: AtomicU64,
    /// Bytes that were read back.
    verified: AtomicU64,
    /// Nobody needs a count any more.
    over: AtomicBool,
}

impl Watch {
    /// A stage begins.
    pub fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// How far it is.
    pub fn at(&self, report: &RestoreReport) -> Progress {
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let (files_total, bytes_total) = self.totals.get().copied().unwrap_or_default();
        let written = report.bytes_restored.saturating_add(report.bytes_skipped);
        let progress = match stage {
            Stage::Verifying => Progress {
                files_done: report.files_verified,
                bytes_done: self.verified.load(Relaxed),
                // Links and nodes are not read back.
                bytes_total: report.bytes_total,
                ..Progress::default()
            },
            _ => Progress {
                files_done: report.files_restored
                    + report.files_updated
                    + report.files_unchanged
                    + report.files_skipped
                    + report.files_not_stored,
                bytes_done: written.saturating_add(self.under_way.load(Relaxed)),
                files_total,
                bytes_total,
                ..Progress::default()
            },
        };
        Progress { stage, errors: report.error_count, ..progress }
    }

    /// A piece of a long file was written.
    pub fn wrote(&self, bytes: u64) {
        self.under_way.fetch_add(bytes, Relaxed);
    }

    /// The file of these pieces is done: from now on it counts as a whole.
    pub fn landed(&self, bytes: u64) {
        self.under_way.fetch_sub(bytes, Relaxed);
    }

    /// Bytes were read back.
    pub fn read_back(&self, bytes: u64) {
        self.verified.fetch_add(bytes, Relaxed);
    }

    /// Nobody needs a count any more.
    pub fn stop(&self) {
        self.over.store(true, Relaxed);
    }

    /// Whether the totals are known.
    pub fn knows(&self) -> bool {
        self.totals.get().is_some()
    }

    /// What a snapshot says of itself, where all of it is meant.
    pub fn believe(&self, selected: &Selected) {
        let summary = &selected.snapshot.names.summary;
        self.totals.set((summary.files_total.saturating_add(summary.others), summary.bytes_total)).unwrap_or(());
    }

    /// Counts what is meant of a snapshot, by its names. What cannot be read is the restore's to speak of.
    pub fn count(&self, reader: &ChunkReader, selected: &Selected, selection: &Selection) {
        let count = || -> Result<Option<(u64, u64)>> {
            let mut merged = Merged::new(reader, &selected.snapshot, &selected.path, true, |_| true)?;
            let (mut files, mut bytes) = (0u64, 0u64);
            while let Some(item) = merged.next_item()? {
                if self.over.load(Relaxed) {
                    return Ok(None);
                }
                // A single file goes into the target by its name.
                let place = || if item.own { item.entry.name.0.clone() } else { item.path() };
                if item.entry.kind != EntryKind::Directory && selection.wants(&place()) {
                    (files, bytes) = (files + 1, bytes.saturating_add(item.entry.size));
                }
            }
            Ok(Some((files, bytes)))
        };
        if let Ok(Some(sum)) = count() {
            self.totals.set(sum).unwrap_or(());
        }
    }
}
