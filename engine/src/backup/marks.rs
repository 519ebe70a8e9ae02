//! Marks: from time to time what a run has done so far becomes a pending manifest (spec chapter 7, B3). It is a root for
//! collections, a resume point for the next run, and can be restored.

use crate::backup::options::BackupOptions;
use crate::format::lists::Content;
use crate::format::manifest::{IndexPart, NamesPart, Roots, Stream, Summary};
use crate::format::tree::TreeRoot;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a run has done so far.
pub struct Done {
    /// The tree.
    pub tree: Option<TreeRoot>,
    /// The trees of tar archives and buckets, each with its name, and with what is known of it; of an archive only where that has ended.
    pub trees: Vec<(TreeRoot, Vec<u8>, Option<Stream>)>,
    /// The streams, each with its length, and with what is known of it where it has ended.
    pub streams: Vec<((Content, u64), Option<Stream>)>,
    /// What was counted.
    pub summary: Summary,
}

/// The name under which the part of a long file is kept that was read when a mark was set. Nothing else would keep it.
const UNFINISHED: &[u8] = b".seabed-unfinished";

/// The marks of a run.
pub struct Marks<'a> {
    options: &'a BackupOptions,
    /// Both parts of the manifest, but for roots and counts.
    parts: (IndexPart, NamesPart),
    last: Mutex<(Instant, u64, u64)>,
    set: Mutex<HashMap<u64, Done>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Marks<'a> {
    /// None yet.
    pub fn new(options: &'a BackupOptions, parts: (IndexPart, NamesPart)) -> Self {
        Marks { options, parts, last: Mutex::new((Instant::now(), 0, 0)), set: Mutex::default() }
    }

    /// Whether it is time for one: after so long, or so many new bytes, and where there is anything new.
    pub fn is_due(&self, bytes_added: u64) -> bool {
        let (at, bytes, _) = *lock(&self.last);
        let new = bytes_added.saturating_sub(bytes);
        !self.options.dry_run && new > 0 && (new >= self.options.pending_bytes || at.elapsed() >= self.options.pending_after)
    }

    /// Sets one. Returns its number.
    pub fn set(&self, done: Done, bytes_added: u64) -> u64 {
        let mut last = lock(&self.last);
        let number = last.2;
        *last = (Instant::now(), bytes_added, number + 1);
        lock(&self.set).insert(number, done);
        number
    }

    /// The manifest that says what was done before mark `number`, once.
    pub fn take(&self, number: u64) -> Option<(IndexPart, NamesPart)> {
        let done = lock(&self.set).remove(&number)?;
        Some(self.manifest(done))
    }

    fn manifest(&self, done: Done) -> (IndexPart, NamesPart) {
        let (mut index, mut names) = self.parts.clone();
        index.incomplete = true;
        index.finished = crate::clock::now();
        names.summary = done.summary;
        // What is said of one that has not ended: of the hash of all of it, nothing.
        let part = |format| Stream::new(format, self.options.uid_gid, index.finished);
        let mut roots = Roots::default();
        done.tree.iter().for_each(|tree| roots.paths(tree));
        for (number, (content, facts)) in done.streams.into_iter().enumerate() {
            // Streams come one after the other, and before the files.
            let name = self.options.streams.get(number).map_or_else(|| UNFINISHED.to_vec(), |stream| stream.name.clone());
            roots.stream(content, name, facts.unwrap_or_else(|| part("")));
        }
        for (tree, name, facts) in done.trees {
            roots.tar(&tree, name, facts.unwrap_or_else(|| part("tar")));
        }
        (index.roots, names.roots) = (roots.index, roots.names);
        (index, names)
    }
}
