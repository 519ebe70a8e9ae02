//! Attributes that `statx` does not tell: symlink targets, extended attributes, chattr flags, names of owners, and where a file has holes.
//! It must never fail an entry because one attribute cannot be read: that attribute is reported, the rest is kept.
//! It obeys spec chapter 6 (entry metadata).

use super::roots::display;
use crate::error::SourceError;
use crate::format::entry::{Entry, EntryKind, Xattr, join};
use crate::format::manifest::{WITHOUT_ACLS, WITHOUT_FLAGS, WITHOUT_OWNER_NAMES, WITHOUT_XATTRS};
use crate::format::wire::Bytes;
use crate::limits::{ENTRY_BYTES_MAX, SYMLINK_BYTES_MAX, XATTR_BYTES_MAX};
use crate::tar::acl;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{IFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Attributes of `chattr` that a user can set and a restore can bring back; the kernel's own (extents, inline data, encrypted …) are not data.
pub const SETTABLE_FLAGS: u32 = IFlags::SECURE_REMOVAL.bits()
    | IFlags::UNRM.bits()
    | IFlags::COMPRESSED.bits()
    | IFlags::SYNC.bits()
    | IFlags::IMMUTABLE.bits()
    | IFlags::APPEND.bits()
    | IFlags::NODUMP.bits()
    | IFlags::NOATIME.bits()
    | IFlags::JOURNALING.bits()
    | IFlags::NOTAIL.bits()
    | IFlags::DIRSYNC.bits()
    | IFlags::TOPDIR.bits()
    | IFlags::NOCOW.bits()
    | IFlags::PROJECT_INHERIT.bits()
    | FS_CASEFOLD_FL;
const FS_CASEFOLD_FL: u32 = 0x4000_0000;

/// Attributes that are permissions by another name.
pub const ACLS: [&[u8]; 3] = [acl::ACCESS, acl::DEFAULT, b"system.nfs4_acl"];

/// Space that the attributes of one entry may take, so that the whole entry stays below its bound.
pub const XATTRS_BYTES_MAX: usize = ENTRY_BYTES_MAX - (64 << 10);

/// Which attributes are stored, of those that `statx` does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: bool,
    /// ACLs.
    pub acls: bool,
    /// Attributes of `chattr`.
    pub flags: bool,
    /// Names of owners, besides their numbers.
    pub owner_names: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Attributes { xattrs: true, acls: true, flags: true, owner_names: true }
    }
}

impl Attributes {
    /// What is left out, as a manifest says it.
    pub fn left_out(&self) -> u8 {
        let bits = [
            (self.xattrs, WITHOUT_XATTRS),
            (self.acls, WITHOUT_ACLS),
            (self.flags, WITHOUT_FLAGS),
            (self.owner_names, WITHOUT_OWNER_NAMES),
        ];
        bits.iter().filter(|(kept, _)| !kept).fold(0, |all, (_, bit)| all | bit)
    }

    /// All but those that a manifest says were left out.
    pub fn but(left_out: u8) -> Self {
        let kept = |bit| left_out & bit == 0;
        Attributes {
            xattrs: kept(WITHOUT_XATTRS),
            acls: kept(WITHOUT_ACLS),
            flags: kept(WITHOUT_FLAGS),
            owner_names: kept(WITHOUT_OWNER_NAMES),
        }
    }
}

/// Reads attributes and remembers the names of owners. One per thread.
#[derive(Default)]
pub struct Completer {
    kept: Attributes,
    users: HashMap<u32, Vec<u8>>,
    groups: HashMap<u32, Vec<u8>>,
}

impl Completer {
    /// Reads all of them.
    pub fn new() -> Self {
        Completer::default()
    }

    /// Reads only these.
    pub fn only(kept: Attributes) -> Self {
        Completer { kept, ..Completer::default() }
    }

    /// Fills in what the walk left out. `dir` is the stored path of `dirfd`; `opened` is the entry itself, where the caller has it open for reading.
    pub fn complete(&mut self, dir: &[u8], dirfd: BorrowedFd<'_>, entry: &mut Entry, opened: Option<BorrowedFd<'_>>) -> Vec<SourceError> {
        let mut errors = Vec::new();
        let name = entry.name.0.clone();
        let mut fail =
            |during, source: Errno| errors.push(SourceError { path: display(&join(dir, &name)), during, source: io::Error::from(source) });
        if self.kept.owner_names {
            entry.user = Bytes(self.users.entry(entry.uid).or_insert_with(|| user_name(entry.uid)).clone());
            entry.group = Bytes(self.groups.entry(entry.gid).or_insert_with(|| group_name(entry.gid)).clone());
        }
        if entry.kind == EntryKind::Symlink {
            match rustix::fs::readlinkat(dirfd, &name[..], Vec::with_capacity(256)) {
                Ok(target) if target.as_bytes().len() > SYMLINK_BYTES_MAX => fail("read the target of", Errno::NAMETOOLONG),
                Ok(target) => entry.target = Bytes(target.into_bytes()),
                Err(e) => fail("read the target of", e),
            }
        }
        // Opened here, where the caller had no need to: flags can only be asked by descriptor, and so the attributes need no path.
        let own: Option<OwnedFd> = match (entry.kind, opened) {
            (EntryKind::Directory | EntryKind::File, None) => super::open::open_entry(dirfd, entry, false).ok(),
            _ => None,
        };
        let fd = opened.or(own.as_ref().map(|fd| fd.as_fd()));
        if let (true, Some(fd), EntryKind::Directory | EntryKind::File) = (self.kept.flags, fd, entry.kind) {
            match rustix::fs::ioctl_getflags(fd) {
                Ok(flags) => entry.flags = flags.bits() & SETTABLE_FLAGS,
                Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
                Err(e) => fail("read the flags of", e),
            }
        }
        let place = match fd {
            Some(fd) => Place::Fd(fd),
            None => Place::Path(proc_path(dirfd, &name)),
        };
        if self.kept.xattrs {
            entry.xattrs = xattrs(&place, self.kept.acls, &mut fail);
        }
        errors
    }
}

fn user_name(uid: u32) -> Vec<u8> {
    uzers::get_user_by_uid(uid).map(|u| u.name().as_bytes().to_vec()).unwrap_or_default()
}

fn group_name(gid: u32) -> Vec<u8> {
    uzers::get_group_by_gid(gid).map(|g| g.name().as_bytes().to_vec()).unwrap_or_default()
}

/// A path to `name` in a held directory, for the calls that have no `at` form. The last component is not followed by `l…xattr`,
/// and the rest is a descriptor, so nobody can swap it.
pub fn proc_path(dirfd: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dirfd.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

enum Place<'a> {
    Fd(BorrowedFd<'a>),
    Path(Vec<u8>),
}

impl Place<'_> {
    fn list(&self, buf: &mut Vec<u8>) -> Result<(), Errno> {
        let spare = rustix::buffer::spare_capacity(buf);
        match self {
            Place::Fd(fd) => rustix::fs::flistxattr(fd, spare).map(|_| ()),
            Place::Path(path) => rustix::fs::llistxattr(&path[..], spare).map(|_| ()),
        }
    }

    fn get(&self, name: &[u8], buf: &mut Vec<u8>) -> Result<(), Errno> {
        let spare = rustix::buffer::spare_capacity(buf);
        match self {
            Place::Fd(fd) => rustix::fs::fgetxattr(fd, name, spare).map(|_| ()),
            Place::Path(path) => rustix::fs::lgetxattr(&path[..], name, spare).map(|_| ()),
        }
    }
}

/// Runs a call that fills a buffer, with a small one first, since nearly all lists and values are small or empty.
fn filled(mut call: impl FnMut(&mut Vec<u8>) -> Result<(), Errno>) -> Result<Vec<u8>, Errno> {
    let mut buf = Vec::with_capacity(256);
    match call(&mut buf) {
        Err(Errno::RANGE) => {
            buf = Vec::with_capacity(XATTR_BYTES_MAX);
            call(&mut buf)?;
            Ok(buf)
        }
        Err(e) => Err(e),
        Ok(()) => Ok(buf),
    }
}

fn xattrs(place: &Place<'_>, acls: bool, fail: &mut impl FnMut(&'static str, Errno)) -> Vec<Xattr> {
    let list = match filled(|buf| place.list(buf)) {
        Ok(list) => list,
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODATA) => return Vec::new(),
        Err(e) => {
            fail("list the attributes of", e);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    let mut total = 0;
    for name in list.split(|b| *b == 0).filter(|n| !n.is_empty() && (acls || !ACLS.contains(n))) {
        match filled(|buf| place.get(name, buf)) {
            Ok(value) => {
                total += name.len() + value.len() + 16;
                if total > XATTRS_BYTES_MAX {
                    fail("store all attributes of", Errno::TOOBIG);
                    break;
                }
                found.push(Xattr { name: Bytes(name.to_vec()), value: Bytes(value), extra: Vec::new() });
            }
            // Gone since it was listed, or the file system lists what it does not keep.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => fail("read an attribute of", e),
        }
    }
    found.sort_by(|a, b| a.name.0.cmp(&b.name.0));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

/// The stretches of a file that hold data, ascending, within `size`. Everything else is a hole.
/// It moves the offset of the descriptor: read with `pread`.
pub fn data_ranges(fd: BorrowedFd<'_>, size: u64, blocks: u64) -> DataRanges<'_> {
    // As many blocks as bytes: no room for a hole, and two system calls less for nearly every file.
    DataRanges { fd, at: 0, size, dense: blocks.saturating_mul(512) >= size }
}

/// See [`data_ranges`].
pub struct DataRanges<'a> {
    fd: BorrowedFd<'a>,
    at: u64,
    size: u64,
    dense: bool,
}

impl Iterator for DataRanges<'_> {
    /// Offset and length.
    type Item = io::Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.size {
            return None;
        }
        let start = if self.dense { Ok(self.at) } else { rustix::fs::seek(self.fd, SeekFrom::Data(self.at)) };
        let start = match start {
            Ok(start) if start < self.size => start,
            // No data up to the end.
            Ok(_) | Err(Errno::NXIO) => {
                self.at = self.size;
                return None;
            }
            // The file system cannot say: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.dense = true;
                self.at
            }
            Err(e) => {
                self.at = self.size;
                return Some(Err(e.into()));
            }
        };
        let end = if self.dense { self.size } else { rustix::fs::seek(self.fd, SeekFrom::Hole(start)).unwrap_or(self.size).min(self.size) };
        // A file that is being cut shorter can answer with the same place again: then the rest is read as data.
        let end = if end <= start { self.size } else { end };
        self.at = end;
        Some(Ok((start, end - start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn holes_are_found_and_dense_files_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let f = std::fs::File::create_new(dir.path().join("f")).unwrap();
        f.set_len(1 << 20).unwrap();
        f.write_all_at(&[1; 4096], 65536).unwrap();
        f.write_all_at(&[1; 4096], 262144).unwrap();
        let blocks = f.metadata().unwrap().blocks();
        let got: Vec<_> = data_ranges(f.as_fd(), 1 << 20, blocks).map(|r| r.unwrap()).collect();
        assert_eq!(got, vec![(65536, 4096), (262144, 4096)]);
        assert_eq!(data_ranges(f.as_fd(), 1000, 8).map(|r| r.unwrap()).collect::<Vec<_>>(), vec![(0, 1000)]);
        assert_eq!(data_ranges(f.as_fd(), 0, 0).count(), 0);
        f.set_len(0).unwrap();
        assert_eq!(data_ranges(f.as_fd(), 4096, 0).count(), 0);
    }

    #[test]
    fn targets_attributes_flags_and_names() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("f"), b"x").unwrap();
        std::os::unix::fs::symlink("to \u{1}", tmp.path().join("l")).unwrap();
        std::fs::create_dir(tmp.path().join("d")).unwrap();
        let big = vec![7u8; 3000];
        for path in ["f", "d"] {
            let path = tmp.path().join(path);
            rustix::fs::setxattr(&path, "user.z", &big, rustix::fs::XattrFlags::empty()).unwrap();
            rustix::fs::setxattr(&path, "user.a", b"", rustix::fs::XattrFlags::empty()).unwrap();
        }
        let dirfd = std::fs::File::open(tmp.path()).unwrap();
        let f = std::fs::File::open(tmp.path().join("f")).unwrap();
        let flagged = rustix::fs::ioctl_setflags(&f, rustix::fs::ioctl_getflags(&f).unwrap() | IFlags::NODUMP).is_ok();
        let mut completer = Completer::new();
        for opened in [None, Some(f.as_fd())] {
            let mut e = Entry::new(b"f", EntryKind::File);
            assert!(completer.complete(b"x", dirfd.as_fd(), &mut e, opened).is_empty());
            let names: Vec<_> =
                e.xattrs.iter().filter(|x| x.name.0.starts_with(b"user.")).map(|x| (&x.name.0[..], x.value.0.len())).collect();
            assert_eq!(names, vec![(&b"user.a"[..], 0), (b"user.z", 3000)]);
            assert_eq!(e.user.0, b"root");
            assert_eq!(e.flags, if flagged { IFlags::NODUMP.bits() } else { 0 });
        }
        let mut d = Entry::new(b"d", EntryKind::Directory);
        assert!(completer.complete(b"", dirfd.as_fd(), &mut d, None).is_empty());
        assert!(d.xattrs.len() >= 2);
        let mut l = Entry::new(b"l", EntryKind::Symlink);
        l.uid = 4_000_000_000;
        assert!(completer.complete(b"", dirfd.as_fd(), &mut l, None).is_empty());
        assert_eq!((&l.target.0[..], &l.user.0[..]), (&b"to \x01"[..], &b""[..]));
        let gone = completer.complete(b"p", dirfd.as_fd(), &mut Entry::new(b"gone", EntryKind::Symlink), None);
        assert!(gone.len() == 2 && gone[0].path.to_str() == Some("/p/gone"));
    }
}
