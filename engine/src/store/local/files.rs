//! The system calls of the local store: opening, reading, comparing and listing files, each without following a symlink.
//! It must never wait on a pipe or a device that stands in place of an object, nor hand out a part of what was asked for.
//! It obeys DESIGN section 7; it knows nothing of uploads and holds no state.

use super::{TEMPS, store_error};
use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::Listed;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::{Errno, retry_on_intr};
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// Bytes compared at a time when a name is taken already.
const COMPARE_BYTES: usize = 64 << 10;

pub(super) const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Not blocking: the open of a pipe that stands in place of an object would wait for its writer for ever.
pub(super) const FILE_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The folder of an object, `""` for the top, and its name in there.
pub(super) fn split(name: &ObjectName) -> (&str, &str) {
    name.as_str().rsplit_once('/').unwrap_or(("", name.as_str()))
}

pub(super) fn is_temp(path: &str) -> bool {
    path.strip_prefix(TEMPS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is not a regular file")
}

pub(super) fn open_folder(at: &File, part: &str) -> io::Result<File> {
    Ok(retry_on_intr(|| openat(at, part, FOLDER_FLAGS | OFlags::NOFOLLOW, Mode::empty()))?.into())
}

/// Opens an object for reading; gives its length too.
pub(super) fn open_file(folder: &File, last: &str) -> io::Result<(File, u64)> {
    let file = match retry_on_intr(|| openat(folder, last, OFlags::RDONLY | FILE_FLAGS, Mode::empty())) {
        Ok(file) => File::from(file),
        // How the kernel says that there is a symlink, or a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(not_a_file()),
        Err(e) => return Err(e.into()),
    };
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(not_a_file()) }
}

/// Reads `range`, all of it, of a file of `have` bytes. After an error `into` holds anything.
pub(super) fn read(file: &File, name: &ObjectName, range: Range<u64>, have: u64, into: &mut Vec<u8>) -> Result<()> {
    let invalid = |why| store_error(StoreOp::Get, name, io::Error::new(ErrorKind::InvalidInput, why));
    let bytes = range.end.checked_sub(range.start).ok_or_else(|| invalid("the range ends before it starts"))?;
    // Before anything is allocated: the range can come from an index that somebody else wrote.
    if range.end > have {
        return Err(Error::damaged(name, Damage::Short { have, want: range.end }));
    }
    // Not cleared first: what is overwritten anyway need not be zeroed.
    into.resize(usize::try_from(bytes).map_err(|_| invalid("the range does not fit in memory"))?, 0);
    file.read_exact_at(into, range.start).map_err(|e| match (e.kind(), file.metadata()) {
        // It has been cut since it was measured.
        (ErrorKind::UnexpectedEof, Ok(meta)) => Error::damaged(name, Damage::Short { have: meta.len(), want: range.end }),
        _ => store_error(StoreOp::Get, name, e),
    })
}

/// What stands under a name that we have an object for.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    Same,
    /// Less than ours, and equal as far as it goes; possibly nothing.
    Beginning,
    Other,
}

/// Compares our object, of `bytes`, with the one that is there.
pub(super) fn compare(ours: &File, bytes: u64, there: &File) -> io::Result<Taken> {
    let have = there.metadata()?.len();
    if have > bytes {
        return Ok(Taken::Other);
    }
    let (mut a, mut b) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    let mut at = 0;
    while at < have {
        // At most COMPARE_BYTES, which fits.
        let step = (have - at).min(COMPARE_BYTES as u64) as usize;
        ours.read_exact_at(&mut a[..step], at)?;
        there.read_exact_at(&mut b[..step], at)?;
        if a[..step] != b[..step] {
            return Ok(Taken::Other);
        }
        at += step as u64;
    }
    Ok(if have == bytes { Taken::Same } else { Taken::Beginning })
}

/// Collects every object below `dir`, which is `folder` of the store.
pub(super) fn walk(dir: &File, folder: &str, found: &mut Vec<Listed>) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(part) = entry.file_name().to_str() else { continue };
        let path = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
        // Also leaves out `.`, `..`, `lost+found` and what desktops and people drop.
        let Some(name) = ObjectName::parse(&path) else { continue };
        if is_temp(&path) {
            continue;
        }
        let stat = match retry_on_intr(|| statat(dir, part, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let modified = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
                found.push(Listed { modified, ..Listed::new(name, stat.st_size as u64) });
            }
            FileType::Directory => match open_folder(dir, part) {
                Ok(below) => walk(&below, &path, found)?,
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            },
            // A folder moved to another disk behind a symlink would vanish from the listing, and a collection take what it holds
            // for lost: no listing is better than this one.
            _ => return Err(io::Error::new(ErrorKind::InvalidData, format!("{path} is neither a regular file nor a folder"))),
        }
    }
    Ok(())
}

/// Writes the entries of a folder to disk.
pub(super) fn sync_entries(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        // Some network filesystems know no fsync of a folder; there is nothing more that could be asked of them.
        Err(e) if [Errno::INVAL, Errno::OPNOTSUPP].map(|e| Some(e.raw_os_error())).contains(&e.raw_os_error()) => Ok(()),
        result => result,
    }
}

/// Creates the directory of a new store and those above it.
pub(super) fn create_root(path: &Path) -> io::Result<()> {
    let create = || DirBuilder::new().mode(0o700).create(path);
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let created = match (create(), parent) {
        (Err(e), Some(parent)) if e.kind() == ErrorKind::NotFound => {
            create_root(parent)?;
            create()
        }
        (result, _) => result,
    };
    match created {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let Some(parent) = parent else { return Ok(()) };
    // The directory itself must not be lost with everything that is acknowledged in it; whoever made it may have died before this.
    match File::open(parent).and_then(|parent| sync_entries(&parent)) {
        // It stood there before us, in a place that we may not read: not ours to make durable.
        Err(_) if created.is_err() => Ok(()),
        result => result,
    }
}
