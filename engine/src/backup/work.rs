//! Worker threads of a backup: reading small files, cutting and hashing, compressing frames.
//! Frames come first: they are what the threads behind wait for. A file that cannot be read costs that file, never the batch.

use crate::backup::flow::{Done, DoneContent, DoneItem, Numbered, Step, Todo, TodoItem};
use crate::backup::parent::TICK_NANOS;
use crate::backup::reads::SMALL_FILE_BYTES;
use crate::chunk::Profile;
use crate::clock;
use crate::error::SourceError;
use crate::format::entry::{Entry, EntryKind, STATUS_CHANGED, STATUS_UNREADABLE, join};
use crate::format::wire::Time;
use crate::id::{ChunkId, Class};
use crate::pack::sink::{Job, PanicGuard, Sink, ToPack};
use crate::repository::Repository;
use crate::source::roots::display;
use crate::source::{Completer, WalkEntry};
use crossbeam_channel::{Receiver, Sender, never, select_biased};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How much is asked at a time of a file whose length nobody knows.
const READ_ON_BYTES: usize = 64 << 10;

/// A file open for reading.
pub struct File {
    /// The descriptor.
    pub fd: OwnedFd,
}

/// Opens what the walk met. Never blocks on a pipe, never follows a link that took the file's place, leaves the access time
/// alone where the kernel lets us.
pub fn open_file(walk: &WalkEntry) -> Result<File, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if !walk.follow {
        flags |= OFlags::NOFOLLOW;
    }
    let open = |flags| rustix::fs::openat(&walk.dirfd, walk.name(), flags, Mode::empty());
    let fd = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }?;
    Ok(File { fd })
}

impl File {
    /// Reads at an offset; 0 at the end.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize, Errno> {
        loop {
            match rustix::io::pread(&self.fd, &mut *buffer, at) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Appends what there is at an offset, up to the buffer's room; 0 at the end.
    pub fn append_at(&self, data: &mut Vec<u8>, at: u64) -> Result<usize, Errno> {
        loop {
            match rustix::io::pread(&self.fd, rustix::buffer::spare_capacity(data), at) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Whether it still is what the walk saw: same file, same size, no change since.
    pub fn is_still(&self, entry: &Entry) -> bool {
        let Ok(stat) = rustix::fs::fstat(&self.fd) else { return false };
        let time = |secs, nanos| Time { secs, nanos: nanos as u32 };
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        regular
            && stat.st_ino == entry.inode
            && stat.st_size.cast_unsigned() == entry.size
            && time(stat.st_mtime, stat.st_mtime_nsec) == entry.mtime
            && time(stat.st_ctime, stat.st_ctime_nsec) == entry.ctime
    }

    /// Takes over what the file is by now, before it is read once more. `false` where it is another file.
    fn look_again(&self, entry: &mut Entry) -> bool {
        let Ok(stat) = rustix::fs::fstat(&self.fd) else { return false };
        entry.size = stat.st_size.cast_unsigned();
        entry.mtime = Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        entry.ctime = Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 };
        stat.st_ino == entry.inode && entry.size <= 2 * SMALL_FILE_BYTES
    }
}

/// What one worker keeps from job to job.
struct Worker<'a> {
    repository: &'a Repository,
    completer: Completer,
    errors: Vec<SourceError>,
}

/// Works until the assembler is done with frames.
pub fn run(
    (repository, completer): (&Repository, Completer),
    sink: &Sink<'_>,
    jobs: &Receiver<Job>,
    mut todo: Receiver<Numbered<Todo>>,
    frames: &Sender<ToPack>,
    done: Sender<(Numbered<Done>, Vec<SourceError>)>,
) {
    let _guard = PanicGuard(sink.trouble);
    let mut done = Some(done);
    let mut worker = Worker { repository, completer, errors: Vec::new() };
    let mut encoder = match sink.encoder() {
        Ok(encoder) => encoder,
        Err(error) => return sink.trouble.set(error),
    };
    loop {
        select_biased! {
            recv(jobs) -> job => match job {
                Ok(job) => if let Err(error) = sink.encode(&mut encoder, job, frames) {
                    return sink.trouble.set(error);
                },
                Err(_) => return,
            },
            recv(todo) -> work => match work {
                Ok(Numbered { number, cost, what }) => {
                    let what = worker.work(what, sink);
                    // Nobody listens any more only when the run has failed.
                    let sent = done.as_ref().map(|done| done.send((Numbered { number, cost, what }, std::mem::take(&mut worker.errors))));
                    if !matches!(sent, Some(Ok(()))) {
                        return;
                    }
                }
                // All is read; frames may still come. The assembler ends the frames when nobody can send it anything any more,
                // so this end has to go now: each waiting for the other to close was the first deadlock of this pipeline.
                Err(_) => {
                    todo = never();
                    done = None;
                }
            },
        }
    }
}

impl Worker<'_> {
    fn work(&mut self, todo: Todo, sink: &Sink<'_>) -> Done {
        match todo {
            Todo::Segment { data, cuts } => {
                let mut rest = &data[..];
                let mut chunks = Vec::with_capacity(cuts.len());
                for bytes in cuts {
                    let (chunk, after) = rest.split_at(bytes as usize);
                    chunks.push((self.repository.ids().id(Class::Data, chunk), bytes));
                    rest = after;
                }
                Done::Segment { data, chunks }
            }
            Todo::Members { items, data } => {
                let mut rest = &data[..];
                let mut done = Vec::with_capacity(items.len());
                for (mut item, bytes) in items {
                    let (content, after) = rest.split_at(bytes);
                    if matches!(item.content, DoneContent::Chunks(_)) {
                        item.content = DoneContent::Chunks(self.cut(content));
                    }
                    rest = after;
                    done.push(item);
                }
                Done::Items { items: done, data }
            }
            Todo::Items(steps) => {
                let mut data = sink.buffers.take();
                let mut items = Vec::with_capacity(steps.len());
                for step in steps {
                    match step {
                        Step::Done(item) => items.push(item),
                        Step::Todo(todo) => items.extend(self.item(todo, &mut data)),
                    }
                }
                Done::Items { items, data }
            }
        }
    }

    fn fail(&mut self, walk: &WalkEntry, during: &'static str, source: std::io::Error) {
        self.errors.push(SourceError { path: display(&join(&walk.dir, &walk.entry.name.0)), during, source });
    }

    /// Completes an entry; `None` where it is gone.
    fn item(&mut self, todo: TodoItem, data: &mut Vec<u8>) -> Option<DoneItem> {
        let TodoItem { mut walk, content, action } = todo;
        let mut file = None;
        let content = match (walk.entry.kind, content) {
            (_, Some(content)) => DoneContent::Known(content),
            (EntryKind::File, None) => match open_file(&walk) {
                Ok(opened) => {
                    let content = self.read(&mut walk, &opened, data);
                    file = Some(opened);
                    content
                }
                Err(errno) => {
                    self.fail(&walk, "open", errno.into());
                    if errno == Errno::NOENT {
                        return None;
                    }
                    walk.entry.status = STATUS_UNREADABLE;
                    DoneContent::None
                }
            },
            _ => DoneContent::None,
        };
        let errors = walk.complete(&mut self.completer, file.as_ref().map(|f| f.fd.as_fd()));
        self.errors.extend(errors);
        Some(DoneItem { dir: walk.dir, entry: walk.entry, content, action })
    }

    /// Reads a file whole, once more where it changed meanwhile, and cuts it.
    fn read(&mut self, walk: &mut WalkEntry, file: &File, data: &mut Vec<u8>) -> DoneContent {
        let start = data.len();
        for last in [false, true] {
            data.truncate(start);
            wait_out_tick(&walk.entry);
            if let Err(errno) = read_whole(file, walk.entry.size, data) {
                data.truncate(start);
                self.fail(walk, "read", errno.into());
                walk.entry.status = STATUS_UNREADABLE;
                return DoneContent::None;
            }
            let still = file.is_still(&walk.entry);
            if still && data.len() - start == walk.entry.size as usize {
                break;
            }
            // Files of procfs have no size, and content all the same.
            if still && walk.entry.size == 0 && matches!(read_on(file, start, data), Ok(true)) {
                break;
            }
            if last || !file.look_again(&mut walk.entry) {
                self.fail(walk, "read", std::io::Error::other("it changed while it was read"));
                walk.entry.status = STATUS_CHANGED;
                break;
            }
        }
        walk.entry.size = (data.len() - start) as u64;
        DoneContent::Chunks(self.cut(&data[start..]))
    }

    fn cut(&self, mut content: &[u8]) -> Vec<(ChunkId, u32)> {
        let mut chunks = Vec::new();
        while !content.is_empty() {
            let (chunk, rest) = content.split_at(self.repository.chunker().cut(Profile::Normal, content));
            chunks.push((self.repository.ids().id(Class::Data, chunk), chunk.len() as u32));
            content = rest;
        }
        chunks
    }
}

/// Waits until a change of the file would show in its times. The clock of a file system moves on every few milliseconds only: what is
/// written twice between two of its ticks, and read between the two writes, looks unchanged afterwards.
pub fn wait_out_tick(entry: &Entry) {
    let (Some(changed), Some(now)) = (entry.ctime.as_nanos(), clock::now().as_nanos()) else { return };
    // A time ahead of ours is another machine's; how far it will go on nobody knows.
    if let Ok(since @ 0..TICK_NANOS) = u64::try_from(now.saturating_sub(changed)) {
        clock::wait(Duration::from_nanos(TICK_NANOS - since));
    }
}

/// Reads on behind what `data` holds from `start` on. `false` where there is no end in sight.
fn read_on(file: &File, start: usize, data: &mut Vec<u8>) -> Result<bool, Errno> {
    let limit = start + 2 * SMALL_FILE_BYTES as usize;
    while data.len() < limit {
        data.reserve(READ_ON_BYTES);
        let at = (data.len() - start) as u64;
        if file.append_at(data, at)? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends the content of a file that should be `size` long; a little more is read, so that one that grew is noticed.
fn read_whole(file: &File, size: u64, data: &mut Vec<u8>) -> Result<(), Errno> {
    let start = data.len();
    let limit = start + size as usize + 1;
    data.reserve(size as usize + 1);
    while data.len() < limit {
        let at = (data.len() - start) as u64;
        let filled = data.len();
        match rustix::io::pread(&file.fd, rustix::buffer::spare_capacity(data), at) {
            Ok(0) => return Ok(()),
            // A regular file gives all there is: less than the room means its end.
            Ok(n) if filled + n < limit && n as u64 == size => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
