//! Marks: from time to time what a run has done so far becomes a pending manifest (spec chapter 7, B3). It is a root for
//! collections, a resume point for the next run, and can be restored.

use crate::backup::options::BackupOptions;
use crate::format::lists::Content;
use crate::format::manifest::{IndexPart, IndexRoot, NamesPart, NamesRoot, ROOT_PATHS, ROOT_STREAM, ROOT_TAR, Stream, Summary};
use crate::format::tree::TreeRoot;
use crate::format::wire::{Bytes, Time};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a run has done so far.
pub struct Done {
    /// The tree.
    pub tree: Option<TreeRoot>,
    /// The trees of tar archives, each with its name, and with what is known of the archive where it has ended.
    pub tars: Vec<(TreeRoot, Vec<u8>, Option<Stream>)>,
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
        if let Some(tree) = &done.tree {
            index.roots.push(IndexRoot::tree(ROOT_PATHS, tree));
            names.roots.push(NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: Vec::new() });
        }
        for (tree, name, stream) in done.tars {
            index.roots.push(IndexRoot::tree(ROOT_TAR, &tree));
            let stream = Some(stream.unwrap_or_else(|| part_of_stream(self.options, index.finished)));
            names.roots.push(NamesRoot { kind: ROOT_TAR, name: Bytes(name), stream, extra: Vec::new() });
        }
        for (number, ((content, bytes), stream)) in done.streams.into_iter().enumerate() {
            // Streams come one after the other, and before the files.
            let name = self.options.streams.get(number).map_or_else(|| UNFINISHED.to_vec(), |stream| stream.name.clone());
            let stream = stream.unwrap_or_else(|| part_of_stream(self.options, index.finished));
            index.roots.push(IndexRoot::stream(content, bytes));
            names.roots.push(NamesRoot { kind: ROOT_STREAM, name: Bytes(name), stream: Some(stream), extra: Vec::new() });
        }
        (index, names)
    }
}

/// What is said of a stream that has not ended: of the hash of all of it, nothing.
fn part_of_stream(options: &BackupOptions, now: Time) -> Stream {
    Stream {
        argv: Vec::new(),
        exit: None,
        stderr: Bytes::default(),
        format: String::new(),
        hash: [0; 32],
        mode: 0o600,
        uid: options.uid_gid.0,
        gid: options.uid_gid.1,
        mtime: now,
        extra: Vec::new(),
    }
}
