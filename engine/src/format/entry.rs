//! Entries of a tree: names and attributes as stored, their order, and the checks on names from outside (spec chapter 6).
//! An entry never holds a path: its directory stands once per group in the leaf.

use crate::format::wire::{Bytes, Decoded, Enc, Malformed, Time, Wire, map_struct};
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use minicbor::Decoder;
use std::cmp::Ordering;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum EntryKind {
    Directory = 0,
    File = 1,
    Symlink = 2,
    Fifo = 3,
    Socket = 4,
    CharDevice = 5,
    BlockDevice = 6,
}

impl EntryKind {
    /// What the type bits of a `st_mode` say; `None` for types that Linux does not have.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o040_000 => EntryKind::Directory,
            0o100_000 => EntryKind::File,
            0o120_000 => EntryKind::Symlink,
            0o010_000 => EntryKind::Fifo,
            0o140_000 => EntryKind::Socket,
            0o020_000 => EntryKind::CharDevice,
            0o060_000 => EntryKind::BlockDevice,
            _ => return None,
        })
    }

    /// The word for it in messages and JSON (restic's words).
    pub const fn word(self) -> &'static str {
        match self {
            EntryKind::Directory => "dir",
            EntryKind::File => "file",
            EntryKind::Symlink => "symlink",
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
            EntryKind::CharDevice => "chardev",
            EntryKind::BlockDevice => "dev",
        }
    }
}

impl Wire for EntryKind {
    fn put(&self, e: &mut Enc) {
        (*self as u8).put(e);
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        use EntryKind::*;
        let all = [Directory, File, Symlink, Fifo, Socket, CharDevice, BlockDevice];
        all.get(usize::from(u8::get(d, field)?)).copied().ok_or(Malformed::Field(field))
    }
}

/// The content was read whole and did not change meanwhile.
pub const STATUS_OK: u8 = 0;
/// The file changed while it was read; the content is a mixture.
pub const STATUS_CHANGED: u8 = 1;
/// The content (of a file) or the names (in a directory) could not be read; nothing of it is stored.
pub const STATUS_UNREADABLE: u8 = 2;

map_struct! {
    /// An extended attribute. POSIX ACLs and file capabilities are attributes of the system's own name spaces.
    pub struct Xattr {
        /// Its full name, `user.mime_type`.
        0 => name: Bytes,
        /// Its value.
        2 ? value: Bytes,
    }
}

map_struct! {
    /// One name in a directory.
    pub struct Entry {
        /// The name: one path component, any bytes but `/` and NUL.
        0 => name: Bytes,
        /// What it is.
        2 => kind: EntryKind,
        /// Permission bits, setuid, setgid and sticky included (07777).
        4 => mode: u32,
        /// Owner.
        6 ? uid: u32,
        /// Group.
        8 ? gid: u32,
        /// Owner's name, where the system knew one.
        10 ? user: Bytes,
        /// Group's name, where the system knew one.
        12 ? group: Bytes,
        /// Last change of the content.
        14 => mtime: Time,
        /// Last change of the attributes.
        16 ? ctime: Time,
        /// Birth, where the file system tells.
        18 ? btime: Option<Time>,
        /// Last access, where asked for.
        20 ? atime: Option<Time>,
        /// Length of a file in bytes, holes included: what is stored, not what `stat` once said.
        22 ? size: u64,
        /// Inode number.
        24 ? inode: u64,
        /// File system, numbered from 0 in the order in which the walk met them.
        26 ? device: u64,
        /// Number of hard links, where above one and not a directory. Entries of equal `device` and `inode` are one file.
        28 ? links: u64,
        /// Target of a symlink, any bytes.
        30 ? target: Bytes,
        /// Major number of a device node.
        32 ? rdev_major: u32,
        /// Minor number of a device node.
        34 ? rdev_minor: u32,
        /// Extended attributes, ascending by name.
        36 ? xattrs: Vec<Xattr>,
        /// Attributes of `chattr` (FS_IOC_GETFLAGS), those a user can set.
        38 ? flags: u32,
        /// Chunking profile of the content; a later run keeps to it.
        40 ? profile: u8,
        /// [`STATUS_OK`], [`STATUS_CHANGED`] or [`STATUS_UNREADABLE`].
        42 ? status: u8,
        /// A directory that is only here because something below it was asked for.
        44 ? implied: bool,
    }
}

impl Entry {
    /// Whether the lists leaf holds a record for this entry.
    pub fn has_content(&self) -> bool {
        self.kind == EntryKind::File && self.status != STATUS_UNREADABLE
    }

    /// An entry with nothing but a name and a kind, to be filled in.
    pub fn new(name: &[u8], kind: EntryKind) -> Self {
        Entry {
            name: Bytes(name.to_vec()),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Bytes::default(),
            group: Bytes::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            btime: None,
            atime: None,
            size: 0,
            inode: 0,
            device: 0,
            links: 0,
            target: Bytes::default(),
            rdev_major: 0,
            rdev_minor: 0,
            xattrs: Vec::new(),
            flags: 0,
            profile: 0,
            status: STATUS_OK,
            implied: false,
            extra: Vec::new(),
        }
    }
}

/// Whether `name` can be one component of a path: what a restore may create.
pub fn name_is_valid(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

/// Whether `path` is empty (the root) or valid names joined by `/`.
pub fn path_is_valid(path: &[u8]) -> bool {
    path.is_empty()
        || path.len() <= PATH_BYTES_MAX
            && path.split(|b| *b == b'/').all(name_is_valid)
            && path.iter().filter(|b| **b == b'/').count() < PATH_DEPTH_MAX
}

/// Compares two directories component by component, so that a subtree is contiguous: `/` sorts below every byte of a name.
pub fn compare_dirs(a: &[u8], b: &[u8]) -> Ordering {
    // `/` cannot occur in a name and NUL cannot either, so mapping `/` to 0 gives the order by components.
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    match common {
        None => a.len().cmp(&b.len()),
        Some(at) => {
            let low = |c: u8| if c == b'/' { 0 } else { c };
            low(a[at]).cmp(&low(b[at]))
        }
    }
}

/// The order of entries in a snapshot: by directory, then by name.
pub fn compare(a: (&[u8], &[u8]), b: (&[u8], &[u8])) -> Ordering {
    compare_dirs(a.0, b.0).then_with(|| a.1.cmp(b.1))
}

/// Joins a directory and a name to a path as stored, without leading `/`.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// Splits a path as stored into directory and name.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_subtrees_are_contiguous() {
        let mut paths: Vec<&[u8]> = vec![b"b/z", b"a/x/1", b"a.b/q", b"a", b"a/y", b"b", b"a.b", b"a/x", b"a/x/1/2", b"a-b"];
        paths.sort_by(|a, b| compare(split(a), split(b)));
        let want: Vec<&[u8]> = vec![b"a", b"a-b", b"a.b", b"b", b"a/x", b"a/y", b"a/x/1", b"a/x/1/2", b"a.b/q", b"b/z"];
        assert_eq!(paths, want);
    }

    #[test]
    fn names_that_could_climb_or_confuse_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(!name_is_valid(bad));
        }
        assert!(name_is_valid(b"...") && name_is_valid(&[0xff, 0xfe]) && name_is_valid(b" "));
        for bad in [&b"/a"[..], b"a/", b"a//b", b"a/../b", b"./a"] {
            assert!(!path_is_valid(bad));
        }
        assert!(path_is_valid(b"") && path_is_valid(b"a/b/c"));
    }
}
