//! The workers of a restore, and what they share with the walking thread.
//! Every chunk is checked against its id before a byte of it is written, every file is whole before it has a name.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, join};
use crate::format::lists::{Content, Item};
use crate::id::Class;
use crate::observe::{Action, Observer, Stage};
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::tree::ContentCursor;
use crate::restore::ends_restore;
use crate::restore::file::{Decision, Placed, TempFile};
use crate::restore::options::RestoreReport;
use crate::restore::shortfalls::Shortfall;
use crate::restore::target::{Removed, Target};
use crate::restore::watch::Watch;
use crossbeam_channel::Receiver;
use rustix::fs::{Mode, OFlags};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Errors that are kept word for word.
const ERRORS_KEPT: usize = 1000;
/// Content that a worker gathers before it writes.
const WRITE_BYTES: usize = 1 << 20;

/// What a run over the snapshot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Restores.
    Write,
    /// Reads back and compares.
    Verify,
}

/// An entry to restore: target directory, entry, content.
pub struct FileJob {
    /// Directory below the target.
    pub dir: Arc<[u8]>,
    /// The entry.
    pub entry: Entry,
    /// Its content.
    pub content: Option<Content>,
}

/// Work for a worker.
pub enum Job {
    /// Small files, links, nodes.
    Files(Vec<FileJob>),
    /// A stretch of a long file.
    Segment {
        /// The file.
        file: Arc<LongFile>,
        /// Where the stretch begins.
        offset: u64,
        /// Its items.
        items: Vec<Item>,
        /// Its length.
        bytes: u64,
    },
}

/// What walker and workers share.
pub struct Shared<'a> {
    /// Chunks.
    pub reader: &'a ChunkReader,
    /// Where to.
    pub target: &'a Target,
    /// Who listens.
    pub observer: &'a dyn Observer,
    /// How far it is.
    pub watch: Watch,
    keep_going: bool,
    /// A pass that reads back will follow: it has nothing to say about what was lost before.
    verifies: bool,
    lost: Mutex<HashSet<Vec<u8>>>,
    stop: AtomicBool,
    first: Mutex<Option<Error>>,
    report: Mutex<RestoreReport>,
    /// First member of each hard-linked file: its place and what it became.
    placed: Mutex<HashMap<(u64, u64), FirstMember>>,
}

/// Where the first member of a hard-linked file was put, and as which device and inode.
#[derive(Clone)]
struct FirstMember {
    dir: Arc<[u8]>,
    name: Vec<u8>,
    id: (u64, u64),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Shared<'a> {
    /// Nothing done yet.
    pub fn new(reader: &'a ChunkReader, target: &'a Target, observer: &'a dyn Observer, (keep_going, verifies): (bool, bool)) -> Self {
        let (watch, stop, first, report, placed, lost) = Default::default();
        Shared { reader, target, observer, watch, keep_going, verifies, lost, stop, first, report, placed }
    }

    /// A stage begins.
    pub fn enter(&self, stage: Stage) {
        self.watch.enter(stage);
        self.tell();
    }

    /// Says how far it is, without holding what the workers share: who listens may be slow.
    fn tell(&self) {
        let progress = self.watch.at(&lock(&self.report));
        self.observer.progress(&progress);
    }

    /// Whether the run is to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The error that ended the run.
    pub fn take_stop(&self) -> Option<Error> {
        lock(&self.first).take()
    }

    /// Records an error. The result is an error itself where the run is to end.
    pub fn error(&self, error: Error) -> Result<()> {
        if ends_restore(&error) && !self.keep_going {
            self.stop.store(true, Ordering::Release);
            lock(&self.first).get_or_insert(error);
            return Err(Error::Interrupted);
        }
        let path = self.target.path_in(&error);
        let nth = {
            let mut report = lock(&self.report);
            report.error_count += 1;
            report.error_count
        };
        // Said when it happens, and only then: whoever interrupts the run has heard it.
        if nth <= ERRORS_KEPT as u64 {
            self.observer.item_error(&path, &error);
            lock(&self.report).errors.push(error);
        }
        Ok(())
    }

    /// Counts an entry that was asked for.
    pub fn count(&self, entry: &Entry) {
        let mut report = lock(&self.report);
        report.files_total += 1;
        report.bytes_total = report.bytes_total.saturating_add(entry.size);
    }

    /// Counts a directory.
    pub fn count_directory(&self) {
        lock(&self.report).directories += 1;
    }

    /// Counts what surplus went.
    pub fn removed(&self, removed: Removed) -> Result<()> {
        lock(&self.report).files_deleted += removed.files + removed.directories;
        if self.observer.wants_deletions() {
            removed.paths.iter().for_each(|path| self.observer.item(path, Action::Deleted, 0));
        }
        removed.errors.into_iter().try_for_each(|error| self.error(error))
    }

    /// A file that the snapshot names and does not hold.
    pub fn not_stored(&self, path: &[u8]) -> Result<()> {
        lock(&self.report).files_not_stored += 1;
        let path = self.target.path_of_stored(path);
        let source = io::Error::other("its content is not in the snapshot: it could not be read when that was made");
        self.error(Error::Target { op: "restore", path, source })
    }

    /// The report.
    pub fn report(self, shortfalls: Vec<Shortfall>) -> RestoreReport {
        self.say_withheld();
        let mut report = std::mem::take(&mut *lock(&self.report));
        report.shortfalls = shortfalls;
        report
    }

    /// Says at once what is left out because it was not asked for: whoever waits for a whole machine should not learn it at the end.
    fn say_withheld(&self) {
        self.target.take_news().iter().for_each(|shortfall| self.observer.withheld(&shortfall.what, &shortfall.first));
    }

    fn done(&self, dir: &[u8], entry: &Entry, action: Action, written: u64) {
        self.say_withheld();
        if self.target.options().delete {
            // An error that ends the run is stored, and the next job finds it.
            self.removed(self.target.take_replaced()).unwrap_or(());
        }
        let mut report = lock(&self.report);
        *(match action {
            Action::Restored | Action::New => &mut report.files_restored,
            Action::Updated | Action::Changed => &mut report.files_updated,
            Action::Unchanged => &mut report.files_unchanged,
            Action::Skipped | Action::Deleted => &mut report.files_skipped,
        }) += 1;
        // Sizes are claims: added up they may be more than a number holds.
        report.bytes_restored = report.bytes_restored.saturating_add(written);
        report.bytes_skipped = report.bytes_skipped.saturating_add(entry.size - written.min(entry.size));
        let progress = self.watch.at(&report);
        drop(report);
        if self.observer.wants_items() {
            self.observer.item(&join(dir, &entry.name.0), action, entry.size);
        }
        self.observer.progress(&progress);
    }

    /// Counts what stays because something else is in its way.
    pub fn kept(&self, path: &[u8], size: u64) {
        let mut report = lock(&self.report);
        report.files_skipped += 1;
        report.bytes_skipped = report.bytes_skipped.saturating_add(size);
        drop(report);
        if self.observer.wants_items() {
            self.observer.item(path, Action::Skipped, size);
        }
    }

    /// Files an entry that was put in place.
    fn placed(&self, dir: &Arc<[u8]>, entry: &Entry, placed: Placed, written: u64) -> Result<()> {
        if let Some(id) = placed.id {
            let first = FirstMember { dir: dir.clone(), name: entry.name.0.clone(), id };
            lock(&self.placed).insert((entry.device, entry.inode), first);
        }
        self.done(dir, entry, placed.action, written);
        placed.problems.into_iter().try_for_each(|problem| self.error(problem))
    }

    /// Gives what stays the attributes of its entry: only its content is known to be right.
    fn refresh(&self, dir: &[u8], entry: &Entry) -> Result<Vec<Error>> {
        if self.target.options().dry_run {
            if !self.target.withholds(entry) {
                self.target.foresee(dir, &entry.name.0, entry);
            }
            return Ok(Vec::new());
        }
        let refreshed = self.target.existing(dir).and_then(|found| match found {
            Some(found) => self.target.refresh(&found, entry),
            None => Ok(Vec::new()),
        });
        refreshed.or_else(|error| self.error(error).map(|()| Vec::new()))
    }

    /// Device and inode of what stands in an entry's place.
    fn id_of(&self, dir: &[u8], entry: &Entry) -> Option<(u64, u64)> {
        let found = self.target.existing(dir).ok()??;
        let stat = rustix::fs::statat(&found.fd, &entry.name.0[..], rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    fn failed(&self, dir: &[u8], entry: &Entry, error: Error) -> Result<()> {
        self.done(dir, entry, Action::Skipped, 0);
        self.lost(dir, entry, error)
    }

    /// Records what kept an entry from being restored. Its path belongs to that: of a damaged pack nobody knows what was in it.
    pub fn lost(&self, dir: &[u8], entry: &Entry, error: Error) -> Result<()> {
        let path = join(dir, &entry.name.0);
        if self.verifies {
            lock(&self.lost).insert(path.clone());
        }
        self.error(match error {
            Error::Target { .. } | Error::Lost { .. } | Error::Interrupted => error,
            other => {
                let shown = [b"/", &path[..]].concat();
                Error::Lost { path: std::ffi::OsStr::from_bytes(&shown).into(), source: other.into() }
            }
        })
    }

    /// Restores a later member of a hard-linked file.
    pub fn link(&self, job: FileJob) -> Result<()> {
        let first = lock(&self.placed).get(&(job.entry.device, job.entry.inode)).cloned();
        if let Some(FirstMember { dir, name, id }) = first {
            let linked = (|| {
                let (from, to) = (self.target.directory(&dir)?, self.target.directory(&job.dir)?);
                match self.target.decide(&to, &job.entry)? {
                    Decision::Skip => Ok(None),
                    _ => self.target.hard_link((&from, &name), id, &to, &job.entry).map(Some),
                }
            })();
            match linked {
                Ok(Some(placed)) => return self.placed(&job.dir, &job.entry, placed, 0),
                Ok(None) => {
                    self.done(&job.dir, &job.entry, Action::Skipped, 0);
                    return Ok(());
                }
                // Another file system, or the first member is gone again: it has content of its own.
                Err(_) => {}
            }
        }
        let mut worker = Worker { shared: self, buffers: ReadBuffers::default(), data: Vec::new() };
        worker.file(&job)
    }
}

/// A long file under way: begun by the walker, written by several workers, finished by whoever is last.
pub struct LongFile {
    dir: Arc<[u8]>,
    entry: Entry,
    temp: Mutex<Option<TempFile>>,
    open: AtomicUsize,
    written: AtomicU64,
    spoilt: AtomicBool,
}

impl LongFile {
    /// Begins it; `None` where there is nothing to do.
    pub fn begin(shared: &Shared<'_>, dir: Arc<[u8]>, entry: Entry) -> Result<Option<Self>> {
        let dry_run = shared.target.options().dry_run;
        let begun = (|| {
            if let Some(action) = decide(shared, &dir, &entry)? {
                return Ok(Err(action));
            }
            let to = shared.target.directory(&dir)?;
            shared.target.begin_file(&to, &entry).map(Ok)
        })();
        match begun {
            Ok(Ok(temp)) => {
                let (temp, open, written, spoilt) =
                    (Mutex::new(Some(temp)), AtomicUsize::new(1), AtomicU64::new(0), AtomicBool::new(false));
                Ok(Some(LongFile { dir, entry, temp, open, written, spoilt }))
            }
            Ok(Err(action)) => {
                let written = if dry_run && !matches!(action, Action::Unchanged | Action::Skipped) { entry.size } else { 0 };
                shared.done(&dir, &entry, action, written);
                Ok(None)
            }
            Err(error) => shared.failed(&dir, &entry, error).map(|()| None),
        }
    }

    /// One more segment will come.
    pub fn expect_segment(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Something of it failed, and this is why: it will get no name. Of several pieces that fail the first speaks for the file.
    pub fn fail(&self, shared: &Shared<'_>, error: Error) -> Result<()> {
        if self.spoilt.swap(true, Ordering::AcqRel) { Ok(()) } else { shared.lost(&self.dir, &self.entry, error) }
    }

    /// Its pieces are not as long as it is said to be.
    pub fn wrong_length(&self, shared: &Shared<'_>) -> Result<()> {
        self.fail(shared, wrong_length(shared, &self.dir, &self.entry))
    }

    /// Whether it is spoilt.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Acquire)
    }

    /// A segment, or the walker, is done with it.
    pub fn segment_done(&self, shared: &Shared<'_>) -> Result<()> {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        let Some(temp) = lock(&self.temp).take() else { return Ok(()) };
        shared.watch.landed(self.written.load(Ordering::Acquire));
        if self.spoilt.load(Ordering::Acquire) {
            shared.done(&self.dir, &self.entry, Action::Skipped, 0);
            return Ok(());
        }
        let published = temp.set_len(self.entry.size).map_err(|source| write_failed(shared, &self.dir, &self.entry, source));
        match published.and_then(|()| shared.target.publish(temp, &self.entry)) {
            Ok(placed) => shared.placed(&self.dir, &self.entry, placed, self.entry.size),
            Err(error) => shared.failed(&self.dir, &self.entry, error),
        }
    }

    fn write(&self, shared: &Shared<'_>, bytes: &[u8], at: u64) -> Result<()> {
        // Taken out of the lock for the write: pwrite at different places needs no order.
        let writer = lock(&self.temp).as_ref().map(TempFile::share);
        let Some(writer) = writer else { return Err(Error::Interrupted) };
        let written = writer.and_then(|file| file.write_all_at(bytes, at));
        written.map_err(|source| write_failed(shared, &self.dir, &self.entry, source))
    }
}

fn write_failed(shared: &Shared<'_>, dir: &[u8], entry: &Entry, source: io::Error) -> Error {
    Error::Target { op: "write", path: shared.target.path_of_stored(&join(dir, &entry.name.0)), source }
}

/// What policy and dry run make of an entry before its content is fetched; `None`: it is to be written.
fn decide(shared: &Shared<'_>, dir: &[u8], entry: &Entry) -> Result<Option<Action>> {
    let target = shared.target;
    let decision = if target.was_empty() {
        Decision::Create
    } else {
        match target.existing(dir)? {
            Some(found) => {
                let decision = target.decide(&found, entry)?;
                if decision == Decision::Replace && target.options().dry_run {
                    target.would_replace(&found, entry)?;
                }
                decision
            }
            None => Decision::Create,
        }
    };
    if target.options().dry_run && matches!(decision, Decision::Create | Decision::Replace) {
        target.foresee(dir, &entry.name.0, entry);
        if target.withholds(entry) {
            return Ok(Some(Action::Skipped));
        }
    }
    Ok(match decision {
        Decision::Unchanged => Some(Action::Unchanged),
        Decision::Skip => Some(Action::Skipped),
        Decision::Create if target.options().dry_run => Some(Action::Restored),
        Decision::Replace if target.options().dry_run => Some(Action::Updated),
        Decision::Create | Decision::Replace => None,
    })
}

/// Whether an entry's content would be read, for a target that is only looked at.
pub fn would_write(shared: &Shared<'_>, dir: &[u8], entry: &Entry) -> bool {
    // What cannot be put there is said by the restore itself.
    matches!(decide(shared, dir, entry), Ok(Some(Action::Restored | Action::Updated)))
}

struct Worker<'s, 'a> {
    shared: &'s Shared<'a>,
    buffers: ReadBuffers,
    data: Vec<u8>,
}

/// Works until there are no more jobs.
pub fn run(shared: &Shared<'_>, pass: Pass, jobs: &Receiver<Job>) {
    let mut worker = Worker { shared, buffers: ReadBuffers::default(), data: Vec::new() };
    for job in jobs {
        // Once the run is to end the rest is only taken, so that the walker never waits for a full channel.
        if shared.stopped() {
            continue;
        }
        let result = match (job, pass) {
            (Job::Files(files), Pass::Write) => files.iter().try_for_each(|job| worker.file(job)),
            (Job::Files(files), Pass::Verify) => files.iter().try_for_each(|job| worker.verify(job)),
            (Job::Segment { file, offset, items, bytes }, _) => {
                let written = worker.segment(&file, offset, &items, bytes);
                let failed = match written {
                    Ok(()) => {
                        file.written.fetch_add(bytes, Ordering::AcqRel);
                        shared.watch.wrote(bytes);
                        shared.tell();
                        Ok(())
                    }
                    Err(error) => file.fail(shared, error),
                };
                failed.and(file.segment_done(shared))
            }
        };
        // `error` has stored why; there is nothing more to say here.
        result.unwrap_or(());
    }
}

impl Worker<'_, '_> {
    fn file(&mut self, job: &FileJob) -> Result<()> {
        let shared = self.shared;
        let FileJob { dir, entry, content } = job;
        match decide(shared, dir, entry) {
            Ok(None) => {}
            Ok(Some(action)) => {
                let written = if matches!(action, Action::Unchanged | Action::Skipped) { 0 } else { entry.size };
                // What stays is what the later members of a hard-linked file are linked to.
                let id = if action == Action::Unchanged && entry.links > 1 { shared.id_of(dir, entry) } else { None };
                let problems = if action == Action::Unchanged { shared.refresh(dir, entry)? } else { Vec::new() };
                return shared.placed(dir, entry, Placed { action, id, problems }, written);
            }
            Err(error) => return shared.failed(dir, entry, error),
        }
        let placed = match content {
            Some(content) => self.write(dir, entry, content),
            None => shared.target.directory(dir).and_then(|to| shared.target.special(&to, entry)),
        };
        match placed {
            Ok(placed) => shared.placed(dir, entry, placed, if content.is_some() { entry.size } else { 0 }),
            Err(error) => shared.failed(dir, entry, error),
        }
    }

    fn write(&mut self, dir: &[u8], entry: &Entry, content: &Content) -> Result<Placed> {
        let shared = self.shared;
        let mut cursor = ContentCursor::new(content);
        let mut temp = None;
        let mut at = 0;
        let mut ends_in_hole = false;
        self.data.clear();
        // Content first: a file whose chunks do not verify is never begun, if it fits in one buffer.
        while let Some(found) = cursor.next_items(shared.reader, &mut self.buffers)? {
            for item in &found.items {
                if let Item::Chunk(id) = item {
                    shared.reader.read(Class::Data, id, &mut self.buffers, &mut self.data)?;
                }
                let hole = if let Item::Hole(bytes) = item { Some(*bytes) } else { None };
                ends_in_hole = hole.is_some();
                if self.data.len() >= WRITE_BYTES || hole.is_some() {
                    self.put(dir, entry, &mut temp, &mut at)?;
                }
                at = at.saturating_add(hole.unwrap_or(0));
                if at.saturating_add(self.data.len() as u64) > entry.size {
                    return Err(wrong_length(shared, dir, entry));
                }
            }
        }
        if at.saturating_add(self.data.len() as u64) != entry.size {
            return Err(wrong_length(shared, dir, entry));
        }
        self.put(dir, entry, &mut temp, &mut at)?;
        let Some(temp) = temp else { return Err(Error::Interrupted) };
        // A hole at the end is written by nobody.
        if ends_in_hole {
            temp.set_len(entry.size).map_err(|source| write_failed(shared, dir, entry, source))?;
        }
        shared.target.publish(temp, entry)
    }

    /// Writes what was gathered, and begins the file if need be.
    fn put(&mut self, dir: &[u8], entry: &Entry, temp: &mut Option<TempFile>, at: &mut u64) -> Result<()> {
        let shared = self.shared;
        let file = match temp {
            Some(file) => file,
            None => {
                let to = shared.target.directory(dir)?;
                temp.insert(shared.target.begin_file(&to, entry)?)
            }
        };
        if !self.data.is_empty() {
            file.write_at(&self.data, *at).map_err(|source| write_failed(shared, dir, entry, source))?;
        }
        *at += self.data.len() as u64;
        self.data.clear();
        Ok(())
    }

    fn segment(&mut self, file: &LongFile, offset: u64, items: &[Item], bytes: u64) -> Result<()> {
        let shared = self.shared;
        let mut at = offset;
        self.data.clear();
        for item in items {
            match item {
                Item::Chunk(id) => {
                    shared.reader.read(Class::Data, id, &mut self.buffers, &mut self.data)?;
                    if self.data.len() >= WRITE_BYTES {
                        file.write(shared, &self.data, at)?;
                        at += self.data.len() as u64;
                        self.data.clear();
                    }
                }
                Item::Hole(hole) => {
                    file.write(shared, &self.data, at)?;
                    at = at.saturating_add(self.data.len() as u64).saturating_add(*hole);
                    self.data.clear();
                }
            }
        }
        file.write(shared, &self.data, at)?;
        at += self.data.len() as u64;
        self.data.clear();
        // Chunks of other lengths than the tree above says would have been written into their neighbours.
        if at != offset.saturating_add(bytes) { Err(wrong_length(shared, &file.dir, &file.entry)) } else { Ok(()) }
    }

    /// Reads an entry back and compares it with what the repository holds.
    fn verify(&mut self, job: &FileJob) -> Result<()> {
        let shared = self.shared;
        let (FileJob { dir, entry, .. }, Some(content)) = (job, &job.content) else { return Ok(()) };
        if entry.kind != EntryKind::File || lock(&shared.lost).contains(&join(dir, &entry.name.0)) {
            return Ok(());
        }
        let same = (|| {
            let Some(from) = shared.target.existing(dir)? else { return Ok(false) };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&from.fd, &entry.name.0[..], flags, Mode::empty());
            let file = std::fs::File::from(opened.map_err(|e| write_failed(shared, dir, entry, e.into()))?);
            self.equals(&file, entry, content)
        })();
        match same {
            Ok(true) => {
                lock(&shared.report).files_verified += 1;
                shared.watch.read_back(entry.size);
                shared.tell();
                Ok(())
            }
            Ok(false) => shared.error(write_failed(shared, dir, entry, io::Error::other("it differs from the snapshot"))),
            Err(error) => shared.lost(dir, entry, error),
        }
    }

    fn equals(&mut self, file: &std::fs::File, entry: &Entry, content: &Content) -> Result<bool> {
        let mut cursor = ContentCursor::new(content);
        let mut at = 0;
        let mut have = Vec::new();
        while let Some(found) = cursor.next_items(self.shared.reader, &mut self.buffers)? {
            for item in &found.items {
                match item {
                    Item::Chunk(id) => {
                        self.data.clear();
                        self.shared.reader.read(Class::Data, id, &mut self.buffers, &mut self.data)?;
                        have.resize(self.data.len(), 0);
                        if file.read_exact_at(&mut have, at).is_err() || have != self.data {
                            return Ok(false);
                        }
                        at += self.data.len() as u64;
                    }
                    Item::Hole(bytes) => {
                        let end = at.saturating_add(*bytes);
                        have.resize(64 << 10, 0);
                        while at < end {
                            let want = have.len().min((end - at) as usize);
                            if file.read_exact_at(&mut have[..want], at).is_err() || have[..want].iter().any(|b| *b != 0) {
                                return Ok(false);
                            }
                            at += want as u64;
                        }
                    }
                }
            }
        }
        Ok(at == entry.size && file.metadata().is_ok_and(|m| m.len() == entry.size))
    }
}

pub(super) fn wrong_length(shared: &Shared<'_>, dir: &[u8], entry: &Entry) -> Error {
    let path = shared.target.path_of_stored(&join(dir, &entry.name.0));
    Error::Target { op: "restore", path, source: io::Error::other("its chunks have another length than the snapshot says") }
}
