//! Content of single files: a file of this machine cut as a backup would cut it, beside what is stored of it; and the bytes of either,
//! for who shows what changed in a text. What cannot be read costs its file, never the comparison.

use crate::chunk::Profile;
use crate::diff::content::{Delta, Gather, Which};
use crate::diff::live::Handle;
use crate::diff::side::Item;
use crate::error::{Error, Result, SourceError};
use crate::format::entry::{Entry, EntryKind, join};
use crate::format::lists::{self, Content};
use crate::format::wire::Time;
use crate::id::{ChunkId, Class};
use crate::observe::Observer;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::tree::ContentCursor;
use crate::source::data_ranges;
use crate::source::roots::display;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;

/// How much of a file is cut at a time, beyond the longest chunk.
const SEGMENT_BYTES: usize = 1 << 20;
/// Up to this size a file may lie in its inode, without a block: only from a page on can there be a hole.
const INODE_BYTES_MAX: u64 = 4096;

/// What a file of this machine is, compared with what is stored.
pub struct Compared {
    /// It has the same chunks and holes.
    pub same: bool,
    /// What only one of them has, where that was asked for.
    pub delta: Option<Delta>,
}

/// A failure of what is read, which costs one file; the outer one is the repository's.
pub type Read<T> = Result<Result<T, SourceError>>;

/// A piece of a file, as a backup would store it.
enum Cut<'c> {
    Chunk(&'c [u8]),
    Hole(u64),
}

pub(super) fn failed(item: &Item, during: &'static str, source: io::Error) -> SourceError {
    let dir = item.live.as_ref().map_or(&b""[..], |live| &live.dir);
    SourceError { path: display(&join(dir, &item.at.entry.name.0)), during, source }
}

/// Reads a file and cuts it, until `each` says `false`.
fn cut(
    (repository, profile): (&Repository, Profile),
    (file, entry, blocks): (&OwnedFd, &Entry, u64),
    each: &mut dyn FnMut(Cut<'_>) -> Result<bool>,
) -> Result<Result<(), Errno>> {
    let chunker = repository.chunker();
    let max = chunker.max(profile);
    let sparse = entry.size > INODE_BYTES_MAX && blocks.saturating_mul(512) < entry.size;
    let room = (SEGMENT_BYTES.max(max) + max).min(usize::try_from(entry.size).unwrap_or(usize::MAX).saturating_add(1));
    let mut data: Vec<u8> = Vec::with_capacity(room);
    let mut total = 0;
    for range in data_ranges(file.as_fd(), entry.size, if sparse { blocks } else { u64::MAX }) {
        let (start, bytes) = match range {
            Ok(range) => range,
            Err(error) => return Ok(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        };
        if start > total && !each(Cut::Hole(start - total))? {
            return Ok(Ok(()));
        }
        let (mut at, end) = (start, start + bytes);
        loop {
            while data.len() < room && at < end {
                data.reserve_exact(room - data.len());
                let before = data.len();
                match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut data), at) {
                    Ok(0) => break,
                    Ok(n) => {
                        let n = n.min(usize::try_from(end - at).unwrap_or(usize::MAX));
                        data.truncate(before + n);
                        at += n as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(errno) => return Ok(Err(errno)),
                }
            }
            let ended = at >= end || data.len() < room;
            let mut from = 0;
            while from < data.len() && (ended || data.len() - from >= max) {
                let bytes = chunker.cut(profile, &data[from..]);
                if !each(Cut::Chunk(&data[from..from + bytes]))? {
                    return Ok(Ok(()));
                }
                from += bytes;
            }
            data.drain(..from);
            if ended {
                total = at;
                break;
            }
        }
    }
    if sparse && entry.size > total {
        each(Cut::Hole(entry.size - total))?;
    }
    Ok(Ok(()))
}

/// Whether a file still is what the walk saw.
fn is_still(file: &OwnedFd, entry: &Entry) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else { return false };
    let time = |secs, nanos| Time { secs, nanos: nanos as u32 };
    stat.st_ino == entry.inode
        && stat.st_size.cast_unsigned() == entry.size
        && time(stat.st_mtime, stat.st_mtime_nsec) == entry.mtime
        && time(stat.st_ctime, stat.st_ctime_nsec) == entry.ctime
}

/// The items of a stored file, one after the other.
struct Expected<'e> {
    reader: &'e ChunkReader,
    buffers: &'e mut ReadBuffers,
    cursor: ContentCursor,
    items: VecDeque<lists::Item>,
}

impl Expected<'_> {
    fn next(&mut self) -> Result<Option<lists::Item>> {
        while self.items.is_empty() {
            match self.cursor.next_items(self.reader, self.buffers)? {
                Some(found) => self.items = found.items.into(),
                None => return Ok(None),
            }
        }
        Ok(self.items.pop_front())
    }
}

/// Compares a file of this machine with what is stored of it, chunk by chunk. Nothing of the stored content is read.
pub fn compare(
    repository: &Repository,
    (reader, buffers): (&ChunkReader, &mut ReadBuffers),
    (item, handle): (&Item, &Handle),
    (stored, content): (&Entry, &Content),
    wants_delta: bool,
    observer: &dyn Observer,
) -> Read<Compared> {
    let file = match handle.open(&item.at.entry) {
        Ok(file) => file,
        Err(error) => return Ok(Err(failed(item, "open", error))),
    };
    let mut gather = wants_delta.then(Gather::default);
    if let Some(gather) = &mut gather {
        let mut cursor = ContentCursor::new(content);
        while let Some(found) = cursor.next_items(reader, buffers)? {
            gather.items(Which::Before, &found.items, found.bytes.unwrap_or(stored.size));
        }
    }
    let mut lengths = std::collections::HashMap::<ChunkId, u64>::new();
    let mut expected = Expected { reader, buffers, cursor: ContentCursor::new(content), items: VecDeque::new() };
    let mut same = true;
    let mut hole = 0;
    let profile = Profile::from_code(stored.profile).unwrap_or(Profile::Normal);
    let read = cut((repository, profile), (&file, &item.at.entry, handle.blocks), &mut |piece| {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let chunk = match piece {
            // Neighbouring holes are one.
            Cut::Hole(bytes) => {
                hole += bytes;
                return Ok(true);
            }
            Cut::Chunk(bytes) => bytes,
        };
        let id = repository.ids().id(Class::Data, chunk);
        if same && hole > 0 {
            same = expected.next()? == Some(lists::Item::Hole(hole));
        }
        hole = 0;
        if same {
            same = expected.next()? == Some(lists::Item::Chunk(id));
        }
        if let Some(gather) = &mut gather {
            lengths.insert(id, chunk.len() as u64);
            gather.items(Which::After, &[lists::Item::Chunk(id)], chunk.len() as u64);
        }
        Ok(same || gather.is_some())
    })?;
    if let Err(errno) = read {
        return Ok(Err(failed(item, "read", errno.into())));
    }
    if !is_still(&file, &item.at.entry) {
        return Ok(Err(failed(item, "read", io::Error::other("it changed while it was read"))));
    }
    if same && hole > 0 {
        same = expected.next()? == Some(lists::Item::Hole(hole));
    }
    same = same && expected.next()?.is_none();
    // What both have was just read, so that its length is known; what is only stored need not be measured then.
    let delta = gather.map(|gather| gather.delta_by(&|id| lengths.get(id).copied()));
    Ok(Ok(Compared { same, delta }))
}

/// The bytes of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of them.
    Bytes(Vec<u8>),
    /// There are more of them than anybody wanted.
    Long,
    /// They cannot be read; why was said.
    Unreadable,
}

/// The bytes of a stored file or the target of a link, at most `max`.
pub fn stored_body(
    (reader, buffers): (&ChunkReader, &mut ReadBuffers),
    (entry, content): (&Entry, Option<&Content>),
    max: u64,
    observer: &dyn Observer,
) -> Result<Option<Body>> {
    let content = match (entry.kind, content) {
        (EntryKind::Symlink, _) => return Ok(Some(Body::Bytes(entry.target.0.clone()))),
        (EntryKind::File, Some(content)) => content,
        (EntryKind::File, None) => return Ok(Some(Body::Unreadable)),
        _ => return Ok(None),
    };
    if entry.size > max {
        return Ok(Some(Body::Long));
    }
    let mut bytes = Vec::new();
    let mut gather = || -> Result<Body> {
        let mut cursor = ContentCursor::new(content);
        while let Some(found) = cursor.next_items(reader, buffers)? {
            for item in found.items {
                match item {
                    lists::Item::Chunk(id) => reader.read(Class::Data, &id, buffers, &mut bytes)?,
                    lists::Item::Hole(hole) => {
                        let end = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_add(hole).min(max + 1);
                        bytes.resize(usize::try_from(end).unwrap_or(usize::MAX), 0);
                    }
                }
                // Its entry says less than there is.
                if bytes.len() as u64 > max {
                    return Ok(Body::Long);
                }
            }
        }
        Ok(Body::Bytes(std::mem::take(&mut bytes)))
    };
    match gather() {
        Err(error @ Error::Interrupted) => Err(error),
        Err(error) if error.is_damage() || matches!(error, Error::Archived { .. }) => {
            observer.warning(&format!("{error}; what it was cannot be shown"));
            Ok(Some(Body::Unreadable))
        }
        other => other.map(Some),
    }
}

/// The same of this machine.
pub fn live_body((item, handle): (&Item, &Handle), max: u64) -> Result<Option<Body>, SourceError> {
    let entry = &item.at.entry;
    match entry.kind {
        EntryKind::Symlink => return Ok(Some(Body::Bytes(entry.target.0.clone()))),
        EntryKind::File => {}
        _ => return Ok(None),
    }
    if entry.size > max {
        return Ok(Some(Body::Long));
    }
    let file = handle.open(entry).map_err(|error| failed(item, "open", error))?;
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), max + 1), &mut bytes);
    match read {
        Ok(n) if n as u64 > max => Ok(Some(Body::Long)),
        Ok(_) => Ok(Some(Body::Bytes(bytes))),
        Err(error) => Err(failed(item, "read", error)),
    }
}
