//! The reading thread: streams first, then tar archives, then buckets, then the walk, joined with the parent. Small files are left to the workers; long ones
//! and streams are read and cut here, front to back, because where a chunk ends depends on where the one before it ended.

mod objects;
mod tar;

use crate::backup::as_path::{AsPath, Moved};
use crate::backup::assemble::Compared;
use crate::backup::flow::{Done, DoneContent, DoneItem, Flow, Numbered, Step, Todo, TodoItem};
use crate::backup::options::{BackupOptions, Failure, StreamSource};
use crate::backup::parent::{ParentJoin, Prior, Tree, action, inherit};
use crate::backup::work::{File, open_file, wait_out_tick};
use crate::chunk::Profile;
use crate::error::{Error, SourceError};
use crate::format::entry::{Entry, EntryKind, STATUS_CHANGED, STATUS_UNREADABLE};
use crate::format::manifest::Stream;
use crate::format::wire::{Bytes, Time};
use crate::observe::{Action, Observer};
use crate::pack::Probe;
use crate::pack::sink::{PanicGuard, Trouble};
use crate::repository::Repository;
use crate::source::stream::{Stream as SourceStream, StreamEnd as StreamOutcome, StreamFailure};
use crate::source::{Completer, WalkEntry, WalkItem, Walker, data_ranges};
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

/// Files up to this size are read whole by a worker.
pub const SMALL_FILE_BYTES: u64 = 1 << 20;
/// Files from this size on are probed: what does not compress is cut coarsely.
const COARSE_FILE_BYTES: u64 = 16 << 20;
/// Content in one batch of entries.
const BATCH_BYTES: u64 = 1 << 20;
/// Entries in one batch.
const BATCH_ENTRIES: usize = 512;
/// Directories that one batch may hold open.
const BATCH_DIRS: usize = 32;
/// What an entry costs while it is under way, on top of its content.
const ENTRY_COST: usize = 768;
/// How much is asked of a stream at a time: a pipe's buffer at its largest.
const STREAM_READ_BYTES: usize = 1 << 20;
/// How much is asked at first.
const STREAM_READ_BYTES_FIRST: usize = 64 << 10;
/// How much of a long file is cut at a time.
const SEGMENT_BYTES: usize = 1 << 20;

/// A stream that was read to its end.
pub struct StreamEnd {
    /// Stored path.
    pub name: Vec<u8>,
    /// What the manifest says of it.
    pub stream: Stream,
}

/// What the reading thread learnt.
#[derive(Default)]
pub struct SourceEnds {
    /// The streams, in order.
    pub streams: Vec<StreamEnd>,
    /// The tar archives, in order.
    pub tars: Vec<StreamEnd>,
    /// The buckets, in order.
    pub objects: Vec<StreamEnd>,
    /// The first sources that failed.
    pub errors: Vec<SourceError>,
    /// How many failed here; the workers count theirs.
    pub error_count: u64,
    /// Entries left out by excludes.
    pub excluded: u64,
    /// Objects left out because they are archived.
    pub archived: u64,
    /// Entries that were asked for, not only led to.
    pub entries: u64,
}

/// How many errors are kept word for word.
pub const ERRORS_KEPT: usize = 1000;

/// See the module's text.
pub fn run(repository: &Repository, compared: Compared<'_>, flow: Flow<'_>, observer: &dyn Observer) -> Result<SourceEnds, Failure> {
    let options = compared.options;
    let trouble = flow.trouble;
    let _guard = PanicGuard(trouble);
    let mut reads = Reads {
        repository,
        flow,
        join: ParentJoin::new(compared.reader, compared.parents.all(), Tree::Paths, options),
        compared,
        observer,
        number: 0,
        steps: Vec::new(),
        batch_bytes: 0,
        batch_dirs: 0,
        batch_todo: false,
        last_dir: None,
        completer: Completer::only(options.walk.attributes),
        probe: Probe::new()?,
        ends: SourceEnds::default(),
    };
    let result = reads.all(options);
    // The channels close with `reads`; whoever waits for more must know that this was not the end.
    match result {
        Ok(()) => Ok(reads.ends),
        Err(failure) => {
            trouble.set(Error::Interrupted);
            Err(failure)
        }
    }
}

struct Reads<'a> {
    repository: &'a Repository,
    flow: Flow<'a>,
    join: ParentJoin<'a>,
    compared: Compared<'a>,
    observer: &'a dyn Observer,
    number: u64,
    steps: Vec<Step>,
    batch_bytes: u64,
    batch_dirs: usize,
    batch_todo: bool,
    last_dir: Option<Arc<[u8]>>,
    completer: Completer,
    probe: Probe,
    ends: SourceEnds,
}

impl Reads<'_> {
    fn all(&mut self, options: &BackupOptions) -> Result<(), Failure> {
        for source in &options.streams {
            let end = self.stream(source, options.uid_gid)?;
            self.ends.streams.push(end);
        }
        for source in &options.tars {
            let end = self.tar(source, options.uid_gid, &options.walk)?;
            self.ends.tars.push(end);
        }
        for source in &options.objects {
            let end = self.objects(source, options)?;
            self.ends.objects.push(end);
        }
        let mut as_path = options.as_path.as_ref().map(|to| AsPath::new(&options.paths, to)).transpose()?;
        let mut walker = Walker::new(&options.paths, options.walk.clone());
        while let Some(item) = walker.next() {
            match item {
                WalkItem::Entry(mut walk) => match as_path.as_mut().map(|moving| moving.apply(&mut walk)) {
                    Some(Moved::Dropped) => {}
                    Some(Moved::Placed(before)) => {
                        for (dir, entry) in before {
                            self.made_up(dir, entry)?;
                        }
                        self.entry(walk)?;
                    }
                    None => self.entry(walk)?,
                },
                WalkItem::Error(error) => self.error(error),
            }
        }
        self.flush()?;
        self.ends.excluded += walker.excluded();
        let failure = self.join.failure.take();
        self.parent_failed(failure);
        Ok(())
    }

    fn parent_failed(&self, failure: Option<Error>) {
        if let Some(error) = failure {
            // No damage where somebody has forgotten the parent and collected it meanwhile.
            self.observer.warning(&format!(
                "part of the parent snapshot cannot be read, so files were read again; this backup lacks nothing because of it, and unless the \
                 parent was forgotten meanwhile a check says what is hurt: {error}"
            ));
        }
    }

    fn error(&mut self, error: SourceError) {
        self.observer.source_error(&error);
        self.ends.error_count += 1;
        if self.ends.errors.len() < ERRORS_KEPT {
            self.ends.errors.push(error);
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.flow.trouble.is_set() || self.observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Sends work; the order of numbers is the order of everything.
    fn send_todo(&mut self, cost: usize, what: Todo) -> Result<(), Error> {
        self.check()?;
        let cost = self.flow.credits.take(cost)?;
        let numbered = Numbered { number: self.number, cost, what };
        self.number += 1;
        self.flow.todo.send(numbered).map_err(|_| Error::Interrupted)
    }

    fn send_done(&mut self, cost: usize, what: Done) -> Result<(), Error> {
        self.check()?;
        let cost = self.flow.credits.take(cost)?;
        let numbered = Numbered { number: self.number, cost, what };
        self.number += 1;
        self.flow.done.send((numbered, Vec::new())).map_err(|_| Error::Interrupted)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let steps = std::mem::take(&mut self.steps);
        let cost = self.batch_bytes as usize + steps.len() * ENTRY_COST;
        let todo = std::mem::take(&mut self.batch_todo);
        (self.batch_bytes, self.batch_dirs, self.last_dir) = (0, 0, None);
        if steps.is_empty() {
            return Ok(());
        }
        if todo {
            return self.send_todo(cost, Todo::Items(steps));
        }
        let done = |step| if let Step::Done(item) = step { Some(item) } else { None };
        self.send_done(cost, Done::Items { items: steps.into_iter().filter_map(done).collect(), data: Vec::new() })
    }

    fn push(&mut self, step: Step, bytes: u64) -> Result<(), Error> {
        if let Step::Todo(item) = &step {
            self.batch_todo = true;
            if self.last_dir.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &item.walk.dir)) {
                self.batch_dirs += 1;
                self.last_dir = Some(item.walk.dir.clone());
            }
        }
        self.batch_bytes += bytes;
        self.steps.push(step);
        if self.batch_bytes >= BATCH_BYTES || self.steps.len() >= BATCH_ENTRIES || self.batch_dirs >= BATCH_DIRS {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// A directory that only leads to what was asked for. Its times and inode say nothing of that and change with every name that
    /// comes or goes beside it: kept, they made a new tree of a source that was the same.
    fn implied(&mut self, mut walk: WalkEntry) -> Result<(), Error> {
        self.beside_tars(&walk.dir, &walk.entry.name.0)?;
        let entry = &mut walk.entry;
        (entry.mtime, entry.ctime, entry.btime, entry.atime) = (Time::default(), Time::default(), None, None);
        (entry.inode, entry.links, entry.size) = (0, 0, 0);
        let prior = self.join.find(&walk.dir, &walk.entry.name.0);
        let now = &walk.entry;
        let same = |p: &Entry| p.kind == now.kind && p.mode == now.mode && p.uid == now.uid && p.gid == now.gid && p.status == now.status;
        let action = action(prior.as_ref().map(|p| &p.entry), prior.as_ref().is_some_and(|p| same(&p.entry)));
        self.push(Step::Todo(TodoItem { walk, content: None, action }), 0)
    }

    fn made_up(&mut self, dir: Arc<[u8]>, entry: Entry) -> Result<(), Error> {
        self.beside_tars(&dir, &entry.name.0)?;
        let prior = self.join.find(&dir, &entry.name.0);
        let action = action(prior.as_ref().map(|p| &p.entry), prior.as_ref().is_some_and(|p| p.entry == entry));
        self.push(Step::Done(DoneItem { dir, entry, content: DoneContent::None, action }), 0)
    }

    /// Two things under one stored path: a restore could only keep one of them.
    fn refuse_twice(&self, walk: &WalkEntry) -> Result<(), Error> {
        let same = |end: &StreamEnd| {
            end.name.ends_with(&walk.entry.name.0) && end.name == crate::format::entry::join(&walk.dir, &walk.entry.name.0)
        };
        match self.ends.streams.iter().find(|end| same(end)) {
            None => Ok(()),
            Some(end) => {
                Err(Error::Option { what: format!("`/{}` is the name of a stream and of a file", String::from_utf8_lossy(&end.name)) })
            }
        }
    }

    fn entry(&mut self, mut walk: WalkEntry) -> Result<(), Error> {
        self.refuse_twice(&walk)?;
        if walk.entry.implied {
            return self.implied(walk);
        }
        self.beside_tars(&walk.dir, &walk.entry.name.0)?;
        self.ends.entries += 1;
        if !self.ends.streams.is_empty() {
            self.beside_streams(&walk)?;
        }
        let prior = self.join.find(&walk.dir, &walk.entry.name.0);
        let unchanged = prior.as_ref().is_some_and(|prior| self.join.unchanged(&walk.entry, prior));
        let act = action(prior.as_ref().map(|p| &p.entry), unchanged);
        if walk.entry.kind != EntryKind::File {
            return match prior {
                Some(prior) if unchanged && !self.join.must_read_attributes(&prior) => {
                    inherit(&mut walk.entry, prior.entry);
                    self.push(Step::Done(DoneItem { dir: walk.dir, entry: walk.entry, content: DoneContent::None, action: act }), 0)
                }
                _ => self.push(Step::Todo(TodoItem { walk, content: None, action: act }), 0),
            };
        }
        let profile = prior.as_ref().map(|p| p.entry.profile);
        // Its chunks may be gone: lost, or condemned by a collection. Then it is read again, which heals.
        let read_attributes = prior.as_ref().is_some_and(|prior| self.join.must_read_attributes(prior));
        if let Some(Prior { entry, content: Some(content), .. }) = prior
            && unchanged
            && self.join.is_stored(&content)
        {
            if read_attributes {
                walk.entry.profile = entry.profile;
                return self.push(Step::Todo(TodoItem { walk, content: Some(content), action: act }), 0);
            }
            inherit(&mut walk.entry, entry);
            let content = DoneContent::Known(content);
            return self.push(Step::Done(DoneItem { dir: walk.dir, entry: walk.entry, content, action: act }), 0);
        }
        let act = if act == Action::New { Action::New } else { Action::Changed };
        let size = walk.entry.size;
        walk.entry.profile = profile.unwrap_or(Profile::Normal.code());
        // A file in the inode itself (ext4, btrfs) has no blocks at all: only from a page on can there be a hole.
        let sparse = size > 4096 && walk.blocks.saturating_mul(512) < size;
        if size <= SMALL_FILE_BYTES && !sparse && walk.entry.profile == Profile::Normal.code() {
            return self.push(Step::Todo(TodoItem { walk, content: None, action: act }), size);
        }
        self.flush()?;
        self.long_file(walk, profile.is_none(), act)
    }

    /// Two things under one path could not both be restored.
    fn beside_streams(&self, walk: &WalkEntry) -> Result<(), Error> {
        let path = crate::format::entry::join(&walk.dir, &walk.entry.name.0);
        let taken = |name: &[u8]| {
            let rest = name.strip_prefix(&path[..]);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' && walk.entry.kind != EntryKind::Directory)
        };
        match self.ends.streams.iter().find(|s| taken(&s.name)) {
            None => Ok(()),
            Some(stream) => {
                let (name, path) = (String::from_utf8_lossy(&stream.name), crate::source::roots::display(&path));
                Err(Error::Option {
                    what: format!("the stream `{name}` and {} would be restored to one place: rename the stream", path.display()),
                })
            }
        }
    }

    /// The tree of an archive has the directory at its top to itself: two trees could not both say what it is.
    fn beside_tars(&self, dir: &[u8], name: &[u8]) -> Result<(), Error> {
        let first = |path: &[u8]| path.split(|b| *b == b'/').next().map(<[u8]>::len);
        let top = if dir.is_empty() { name } else { &dir[..first(dir).unwrap_or(0)] };
        match self.ends.tars.iter().chain(&self.ends.objects).find(|tar| tar.name.get(..first(&tar.name).unwrap_or(0)) == Some(top)) {
            None => Ok(()),
            Some(tar) => {
                let (name, top) = (String::from_utf8_lossy(&tar.name), crate::source::roots::display(top));
                Err(Error::Option { what: format!("`{name}` would lie in {}: give it another name", top.display()) })
            }
        }
    }

    /// Reads a long or sparse file here. Its end travels behind its segments.
    fn long_file(&mut self, mut walk: WalkEntry, new: bool, action: Action) -> Result<(), Error> {
        let path = |walk: &WalkEntry| crate::source::roots::display(&crate::format::entry::join(&walk.dir, &walk.entry.name.0));
        let fail = |walk: &WalkEntry, during, source: rustix::io::Errno| SourceError { path: path(walk), during, source: source.into() };
        let file = match open_file(&walk) {
            Ok(file) => file,
            Err(errno) => {
                self.error(fail(&walk, "open", errno));
                if errno == rustix::io::Errno::NOENT {
                    return Ok(());
                }
                walk.entry.status = STATUS_UNREADABLE;
                return self.end_file(walk, None, action);
            }
        };
        let mut profile = Profile::from_code(walk.entry.profile).unwrap_or(Profile::Normal);
        if new && walk.entry.size >= COARSE_FILE_BYTES && !self.sample_shrinks(&file, walk.entry.size) {
            profile = Profile::Coarse;
        }
        walk.entry.profile = profile.code();
        let mut total = 0;
        wait_out_tick(&walk.entry);
        let result = self.file_ranges(&file, &walk, profile, &mut total)?;
        if let Err(errno) = result {
            // What was read is dropped with the entry: half a file under a whole file's name helps nobody.
            self.error(fail(&walk, "read", errno));
            walk.entry.status = STATUS_UNREADABLE;
        } else if !file.is_still(&walk.entry) || total != walk.entry.size {
            self.error(SourceError { path: path(&walk), during: "read", source: std::io::Error::other("it changed while it was read") });
            walk.entry.status = STATUS_CHANGED;
        }
        walk.entry.size = if walk.entry.status == STATUS_UNREADABLE { walk.entry.size } else { total };
        self.end_file(walk, Some(file), action)
    }

    fn end_file(&mut self, mut walk: WalkEntry, file: Option<File>, action: Action) -> Result<(), Error> {
        let fd = file.as_ref().map(|f| f.fd.as_fd());
        for error in walk.complete(&mut self.completer, fd) {
            self.error(error);
        }
        let item = DoneItem { dir: walk.dir, entry: walk.entry, content: DoneContent::Gathered, action };
        self.send_done(ENTRY_COST, Done::Items { items: vec![item], data: Vec::new() })
    }

    fn sample_shrinks(&mut self, file: &File, size: u64) -> bool {
        let mut sample = vec![0; 64 << 10];
        for (n, part) in sample.chunks_exact_mut(8 << 10).enumerate() {
            if file.read_at(part, size / 8 * n as u64).is_err() {
                return true;
            }
        }
        self.probe.shrinks(&sample)
    }

    /// Sends a file's data and holes. The outer error ends the run, the inner one is the source's.
    fn file_ranges(
        &mut self,
        file: &File,
        walk: &WalkEntry,
        profile: Profile,
        total: &mut u64,
    ) -> Result<Result<(), rustix::io::Errno>, Error> {
        let size = walk.entry.size;
        for range in data_ranges(file.fd.as_fd(), size, walk.blocks) {
            let (start, bytes) = match range {
                Ok(range) => range,
                Err(e) => return Ok(Err(rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))),
            };
            if start > *total {
                self.send_done(64, Done::Hole(start - *total))?;
                *total = start;
            }
            let mut at = start;
            let end = start + bytes;
            let read = self.cut_all(profile, |data| {
                let before = data.len();
                let n = file.append_at(data, at)?.min((end - at) as usize);
                // What lies behind the range is a hole, or grew there since.
                data.truncate(before + n);
                at += n as u64;
                Ok(n)
            })?;
            match read {
                Ok(n) => *total += n,
                Err(errno) => return Ok(Err(errno)),
            }
        }
        if size > *total && walk.blocks.saturating_mul(512) < size {
            self.send_done(64, Done::Hole(size - *total))?;
            *total = size;
        }
        Ok(Ok(()))
    }

    /// Reads until `read` appends nothing more, and sends segments. Returns how many bytes there were. `read` appends at most
    /// as much as the buffer has room for.
    fn cut_all<E>(&mut self, profile: Profile, mut read: impl FnMut(&mut Vec<u8>) -> Result<usize, E>) -> Result<Result<u64, E>, Error> {
        let repository = self.repository;
        let chunker = repository.chunker();
        let max = chunker.max(profile);
        // At least one whole segment beyond the longest chunk: a cut then never depends on how much was read.
        let room = SEGMENT_BYTES.max(max) + max;
        let mut total = 0;
        let mut data = self.flow.segments.take();
        loop {
            data.reserve_exact(room.saturating_sub(data.len()));
            let mut ended = false;
            while data.len() < room {
                match read(&mut data) {
                    Ok(0) => {
                        ended = true;
                        break;
                    }
                    Ok(n) => total += n as u64,
                    Err(e) => return Ok(Err(e)),
                }
                self.check()?;
            }
            let (mut at, mut cuts) = (0, Vec::new());
            while at < data.len() && (ended || data.len() - at >= max) {
                let bytes = chunker.cut(profile, &data[at..]);
                cuts.push(bytes as u32);
                at += bytes;
            }
            let mut next = self.flow.segments.take();
            next.extend_from_slice(&data[at..]);
            data.truncate(at);
            if !cuts.is_empty() {
                self.send_todo(data.len(), Todo::Segment { data, cuts })?;
            }
            data = next;
            if ended {
                self.flow.segments.give(data);
                return Ok(Ok(total));
            }
        }
    }

    fn stream(&mut self, source: &StreamSource, (uid, gid): (u32, u32)) -> Result<StreamEnd, Failure> {
        let name = || String::from_utf8_lossy(&source.name).into_owned();
        let open = source.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return Err(StreamFailure::Empty { name: name() }.into()) };
        let mut stream = open()?;
        let mut hasher = blake3::Hasher::new();
        let (trouble, observer) = (self.flow.trouble, self.observer);
        // Grows with what comes: room has to be filled with zeros, and most small streams are very small.
        let mut step = STREAM_READ_BYTES_FIRST;
        let read = self.cut_all(Profile::Fine, |data| {
            let before = data.len();
            data.resize(before + step.min(data.capacity() - before), 0);
            let read = read_on(&mut *stream, &mut data[before..], trouble, observer);
            let got = read.as_ref().map_or(0, |n| *n);
            if got == step {
                step = STREAM_READ_BYTES.min(step * 4);
            }
            data.truncate(before + got);
            hasher.update(&data[before..]);
            read
        })?;
        // Given up, not failed: the stream is dropped, which ends its command.
        if read.is_err() {
            self.check()?;
        }
        let total = read.map_err(|source| StreamFailure::Read { name: name(), source })?;
        let format = stream.format().to_owned();
        // Its exit status before its content: a dump that died is no dump, however much of it there is.
        let end = stream.finish()?;
        if total == 0 && !source.allow_empty {
            return Err(StreamFailure::Empty { name: name() }.into());
        }
        let stream = facts(source, &format, (uid, gid), end, &hasher);
        self.send_done(64, Done::EndStream(Box::new(stream.clone())))?;
        Ok(StreamEnd { name: source.name.clone(), stream })
    }
}

/// Reads from a stream that may have nothing for hours, as long as the run is to go on.
fn read_on(stream: &mut dyn SourceStream, into: &mut [u8], trouble: &Trouble, observer: &dyn Observer) -> std::io::Result<usize> {
    loop {
        while !stream.ready()? {
            if trouble.is_set() || observer.interrupted() {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
        match stream.read(into) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// What is known of a stream or archive that has ended.
fn facts(source: &StreamSource, format: &str, owner: (u32, u32), end: StreamOutcome, hasher: &blake3::Hasher) -> Stream {
    Stream {
        argv: source.argv.iter().map(|a| Bytes(a.clone())).collect(),
        exit: end.exit,
        stderr: Bytes(end.stderr),
        hash: *hasher.finalize().as_bytes(),
        ..Stream::new(format, owner, crate::clock::now())
    }
}
