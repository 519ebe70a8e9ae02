//! The system calls of the walk: opening and listing directories, reading small files, and turning `statx` into an entry.
//! Nothing here follows a symlink unless it is told that the user typed it, waits for a fifo, or takes a path.
//! It obeys spec chapter 6 (entry metadata).

use super::filter::IGNORE_BYTES_MAX;
use super::names::Names;
use super::roots::display;
use crate::error::SourceError;
use crate::format::entry::{Entry, EntryKind, join, name_is_valid};
use crate::format::wire::Time;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RawDir, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;

/// One `getdents` fills this; a directory of 2,000 files is one call.
pub(super) const LIST_BUFFER_BYTES: usize = 128 << 10;
/// Subdirectories that stay open between their entry and their listing, at most, in all levels together.
const PENDING_OPEN_MAX: u64 = 512;

/// Marks of a subdirectory: it only leads to a root; it is a symlink that the user typed.
pub(super) const MARK_IMPLIED: u8 = 1;
pub(super) const MARK_FOLLOW: u8 = 2;

/// Opens a file or directory that the walk met, for reading, leaving its time of access alone where the kernel allows.
/// The caller compares what it got with the entry: another file may have taken the name.
pub fn open_entry(dirfd: BorrowedFd<'_>, entry: &Entry, follow: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, !follow);
    flags.set(OFlags::DIRECTORY, entry.kind == EntryKind::Directory);
    match rustix::fs::openat(dirfd, &entry.name.0[..], flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(dirfd, &entry.name.0[..], flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Reads the names of a directory. What was read before a failure is kept: a file system that fails halfway must not cost the first half.
pub(super) fn list(dir: &[u8], fd: BorrowedFd<'_>, names: &mut Names, buffer: &mut Vec<u8>, errors: &mut VecDeque<SourceError>) {
    let mut fail = |path: &[u8], during, e: Errno| errors.push_back(SourceError { path: display(path), during, source: e.into() });
    let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(next) = raw.next() {
        let found = match next {
            Ok(found) => found,
            Err(e) => return fail(dir, "list", e),
        };
        let name = found.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if !name_is_valid(name) {
            fail(&join(dir, name), "store", Errno::NAMETOOLONG);
        } else if !names.push(name, 0) {
            return fail(dir, "list all of", Errno::OVERFLOW);
        }
    }
}

/// Raises the soft limit of open files to the hard one, and says how many directories may wait open.
pub(super) fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised =
        limit.maximum != limit.current && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok();
    let now = if raised { limit.maximum } else { limit.current };
    now.map_or(PENDING_OPEN_MAX, |n| (n / 8).min(PENDING_OPEN_MAX))
}

pub(super) fn open_dir(parent: impl AsFd + Copy, name: &CStr, mark: u8, noatime: &mut OFlags) -> Result<OwnedFd, Errno> {
    let common = OFlags::DIRECTORY | OFlags::CLOEXEC | if mark & MARK_FOLLOW == 0 { OFlags::NOFOLLOW } else { OFlags::empty() };
    if mark & MARK_IMPLIED != 0 {
        // To pass through, the right to search is enough; many a parent of a home directory cannot be listed.
        return rustix::fs::openat(parent, name, common | OFlags::PATH, Mode::empty());
    }
    match rustix::fs::openat(parent, name, common | OFlags::RDONLY | *noatime, Mode::empty()) {
        // Only owners may read without leaving a trace; asking again for every directory would double the cost.
        Err(Errno::PERM) if !noatime.is_empty() => {
            *noatime = OFlags::empty();
            rustix::fs::openat(parent, name, common | OFlags::RDONLY, Mode::empty())
        }
        other => other,
    }
}

/// Reads a small regular file in a directory, never waiting for a fifo and never through a symlink.
pub(super) fn read_small(dirfd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let fd = rustix::fs::openat(dirfd, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let st = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(st.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(fd), IGNORE_BYTES_MAX), &mut text)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(text)
}

pub(super) fn absolute<'a>(buf: &'a mut Vec<u8>, dir: &[u8], name: &[u8]) -> &'a [u8] {
    buf.clear();
    for part in [dir, name] {
        if !part.is_empty() {
            buf.push(b'/');
            buf.extend_from_slice(part);
        }
    }
    buf
}

pub(super) fn kind_of(st: &Statx) -> EntryKind {
    EntryKind::from_mode(u32::from(st.stx_mode)).unwrap_or(EntryKind::File)
}

pub(super) fn entry_of(name: &[u8], kind: EntryKind, st: &Statx, with_atime: bool) -> Entry {
    let time = |t: StatxTimestamp| Time { secs: t.tv_sec, nanos: t.tv_nsec };
    let mut e = Entry::new(name, kind);
    e.mode = u32::from(st.stx_mode) & 0o7777;
    e.uid = st.stx_uid;
    e.gid = st.stx_gid;
    e.mtime = time(st.stx_mtime);
    e.ctime = time(st.stx_ctime);
    e.btime = (st.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(st.stx_btime));
    e.atime = with_atime.then(|| time(st.stx_atime));
    e.inode = st.stx_ino;
    match kind {
        EntryKind::File => e.size = st.stx_size,
        EntryKind::CharDevice | EntryKind::BlockDevice => (e.rdev_major, e.rdev_minor) = (st.stx_rdev_major, st.stx_rdev_minor),
        _ => {}
    }
    if kind != EntryKind::Directory && st.stx_nlink > 1 {
        e.links = u64::from(st.stx_nlink);
    }
    e
}
