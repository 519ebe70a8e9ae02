//! The other side where it is this machine: what a backup of the same paths would see now, in the order of the format.
//! What cannot be looked at is said and remembered: nobody knows that it is gone.

use crate::diff::side::Item;
use crate::error::SourceError;
use crate::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, join, split};
use crate::observe::Observer;
use crate::repository::entries::is_below;
use crate::repository::merged;
use crate::source::{WalkEntry, WalkItem, WalkOptions, Walker, open_entry};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an entry of this machine is, so that it can be opened. Holds its directory open.
pub struct Handle {
    dirfd: Arc<OwnedFd>,
    follow: bool,
    /// Blocks of 512 bytes, for [`crate::source::data_ranges`].
    pub blocks: u64,
    /// Its directory, as stored.
    pub dir: Arc<[u8]>,
}

impl Handle {
    /// The directory.
    pub fn dirfd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.dirfd.as_fd()
    }

    /// Opens the entry for reading.
    pub fn open(&self, entry: &Entry) -> std::io::Result<OwnedFd> {
        open_entry(self.dirfd.as_fd(), entry, self.follow)
    }
}

/// What is walked.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Absolute paths.
    pub roots: Vec<PathBuf>,
    /// The path that is compared: the one root, without leading `/`; empty for all of them, each under its own path.
    pub path: Vec<u8>,
    /// How.
    pub walk: WalkOptions,
}

/// The walk.
pub struct LiveRun {
    walker: Walker,
    path: Vec<u8>,
    next: Option<Item>,
    /// The path itself was met: what comes now lies below it.
    met: bool,
    /// The last directory, as stored and as compared.
    last: Option<(Arc<[u8]>, Arc<[u8]>)>,
    /// Paths that could not be looked at, as compared.
    unknown: HashSet<Vec<u8>>,
    errors: Vec<SourceError>,
    /// How many sources failed.
    pub error_count: u64,
}

impl LiveRun {
    /// At the first entry.
    pub fn new(live: &Live) -> Self {
        let walker = Walker::new(&live.roots, live.walk.clone());
        let (unknown, errors) = (HashSet::new(), Vec::new());
        let (path, met) = (live.path.clone(), live.path.is_empty());
        let mut run = LiveRun { walker, path, next: None, met, last: None, unknown, errors, error_count: 0 };
        run.advance();
        run
    }

    /// The next entry.
    pub fn peek(&self) -> Option<&Item> {
        self.next.as_ref()
    }

    /// Takes the next entry.
    pub fn next(&mut self) -> Option<Item> {
        let next = self.next.take();
        self.advance();
        next
    }

    /// Says what failed since it was asked last.
    pub fn report(&mut self, observer: &dyn Observer) {
        for error in self.errors.drain(..) {
            observer.source_error(&error);
        }
    }

    /// Takes note of something that could not be read.
    pub fn fail(&mut self, error: SourceError) {
        self.error_count += 1;
        self.errors.push(error);
    }

    /// Whether nobody could look whether this is still there.
    pub fn is_unknown(&self, path: &[u8]) -> bool {
        let mut at = path;
        while !self.unknown.is_empty() {
            if self.unknown.contains(at) {
                return true;
            }
            if at.is_empty() {
                break;
            }
            at = split(at).0;
        }
        false
    }

    /// A stored path as it is compared; `None` for what only leads to it.
    fn compared<'p>(&self, stored: &'p [u8]) -> Option<&'p [u8]> {
        if self.path.is_empty() {
            return Some(stored);
        }
        is_below(&self.path, stored).then(|| stored.get(self.path.len() + 1..).unwrap_or_default())
    }

    fn advance(&mut self) {
        while self.next.is_none() {
            match self.walker.next() {
                None => return,
                Some(WalkItem::Entry(walk)) => self.next = self.item(walk),
                // Gone between one look and the next is gone. The walk says so for roots too, and these a caller has looked for.
                Some(WalkItem::Error(error)) if error.source.kind() == ErrorKind::NotFound => {}
                Some(WalkItem::Error(error)) => {
                    let stored = error.path.as_os_str().as_bytes();
                    let stored = stored.strip_prefix(b"/").unwrap_or(stored).to_vec();
                    if let Some(path) = self.compared(&stored) {
                        self.unknown.insert(path.to_vec());
                    } else if is_below(&stored, &self.path) {
                        self.unknown.insert(Vec::new());
                    }
                    self.fail(error);
                }
            }
        }
    }

    fn item(&mut self, walk: WalkEntry) -> Option<Item> {
        let WalkEntry { dir: stored, entry, dirfd, blocks, follow, .. } = walk;
        let own = !self.met && join(&stored, &entry.name.0) == self.path;
        self.met |= own;
        let dir: Arc<[u8]> = match &self.last {
            _ if own => Arc::from(&b""[..]),
            Some((last, dir)) if Arc::ptr_eq(last, &stored) => dir.clone(),
            _ if self.path.is_empty() => stored.clone(),
            _ => self.compared(&stored)?.into(),
        };
        if !own {
            self.last = Some((stored.clone(), dir.clone()));
        }
        let at = merged::Item { dir, own, is_stream: false, entry, content: None };
        if at.entry.kind == EntryKind::Directory && at.entry.status == STATUS_UNREADABLE {
            self.unknown.insert(at.path());
        }
        Some(Item { at, live: Some(Handle { dirfd, follow, blocks, dir: stored }) })
    }
}
