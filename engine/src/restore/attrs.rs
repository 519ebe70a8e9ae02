//! Owners, modes, extended attributes, times and flags of what a restore creates, and the list of what could not be brought back.
//! It must never act on a path that somebody else could swap: always on a descriptor, or on a name in a held directory without following it.
//! It obeys spec chapter 6 (entry metadata).

use super::target::{Dir, Target};
use crate::error::Error;
use crate::format::entry::{Entry, EntryKind};
use crate::format::wire::Time;
use crate::source::meta::{SETTABLE_FLAGS, proc_path};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, IFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The kind of shortfall that costs whole entries, not only attributes.
pub const NOT_CREATED: &str = "device nodes";

/// What this user, or this file system, could not bring back: kind, how often, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortfalls {
    kinds: BTreeMap<String, (u64, PathBuf)>,
}

impl Shortfalls {
    pub(super) fn add(&mut self, kind: &str, example: PathBuf) {
        match self.kinds.get_mut(kind) {
            Some((n, _)) => *n += 1,
            None => {
                self.kinds.insert(kind.to_owned(), (1, example));
            }
        }
    }

    /// Whether everything was restored.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Kind, count and first example, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, &PathBuf)> {
        self.kinds.iter().map(|(k, (n, p))| (k.as_str(), *n, p))
    }
}

/// Ids of owners by name, remembered: `None` where this system has no such name.
#[derive(Default)]
pub(super) struct Owners {
    users: HashMap<Vec<u8>, Option<u32>>,
    groups: HashMap<Vec<u8>, Option<u32>>,
}

impl Owners {
    pub fn user(&mut self, name: &[u8], id: u32) -> u32 {
        if let Some(known) = self.users.get(name) {
            return known.unwrap_or(id);
        }
        let found = uzers::get_user_by_name(OsStr::from_bytes(name)).map(|u| u.uid());
        self.users.insert(name.to_vec(), found);
        found.unwrap_or(id)
    }

    pub fn group(&mut self, name: &[u8], id: u32) -> u32 {
        if let Some(known) = self.groups.get(name) {
            return known.unwrap_or(id);
        }
        let found = uzers::get_group_by_name(OsStr::from_bytes(name)).map(|g| g.gid());
        self.groups.insert(name.to_vec(), found);
        found.unwrap_or(id)
    }
}

/// What attributes are put on.
pub(super) enum On<'a> {
    /// A file or directory open for more than its path. `mode` is what it surely has already, where that is known.
    Open { fd: BorrowedFd<'a>, mode: Option<u32> },
    /// A fifo, socket or device node, held with `O_PATH`.
    Node(BorrowedFd<'a>),
    /// A symlink in a held directory.
    Link(BorrowedFd<'a>, &'a [u8]),
}

impl On<'_> {
    fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        // To the kernel this number means "as it is"; no owner has it, but a manifest may claim so.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            On::Open { fd, .. } => rustix::fs::fchown(fd, uid, gid),
            On::Node(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
            On::Link(dir, name) => rustix::fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chmod(&self, mode: u32) -> Result<(), Errno> {
        match self {
            On::Open { mode: Some(now), .. } if *now == mode => Ok(()),
            On::Open { fd, .. } => rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)),
            // Following this magic link leads to the very inode that is held.
            On::Node(fd) => rustix::fs::chmod(own_path(*fd), Mode::from_raw_mode(mode)),
            On::Link(..) => Ok(()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            On::Open { fd, .. } => rustix::fs::fsetxattr(fd, name, value, flags),
            On::Node(fd) => rustix::fs::setxattr(own_path(*fd), name, value, flags),
            On::Link(dir, link) => rustix::fs::lsetxattr(proc_path(*dir, link), name, value, flags),
        }
    }

    fn utimes(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            On::Open { fd, .. } => rustix::fs::futimens(fd, times),
            On::Node(fd) => rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH),
            On::Link(dir, name) => rustix::fs::utimensat(dir, *name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }
}

fn own_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn timestamps(entry: &Entry) -> Timestamps {
    let spec = |t: Time| Timespec { tv_sec: t.secs, tv_nsec: t.nanos.into() };
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: entry.atime.map_or(omit, spec), last_modification: spec(entry.mtime) }
}

/// Whether the system says that this user or this file system cannot do it, as opposed to something being wrong.
fn is_shortfall(e: Errno) -> bool {
    matches!(e, Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::INVAL)
}

impl Target {
    /// Puts owner, attributes, mode and times on something. What fails is said and does not stop the rest.
    ///
    /// The order is not free. Owner first: a change of owner clears setuid bits and file capabilities. Attributes before the mode: on a
    /// read-only file only root may set them; an ACL sets the group bits, which the stored mode repeats. Times after all that touches
    /// the inode's data. Flags are not done here: an immutable inode could not be given its name any more.
    pub(super) fn set_attrs(&self, on: &On<'_>, dir: &Dir, name: &[u8], entry: &Entry) -> Vec<Error> {
        let mut problems = Vec::new();
        let mut failed = |kind: &str, op: &'static str, e: Errno| {
            if is_shortfall(e) { self.shortfall(kind, dir, name) } else { problems.push(self.error(op, dir, name, e)) }
        };
        if self.options.owners {
            let (uid, gid) = self.owner_of(entry);
            let (mine, ours) = (uid == self.uid, gid == self.gid);
            if self.options.privileged {
                if !(mine && ours && self.plain) {
                    on.chown(Some(uid), Some(gid)).unwrap_or_else(|e| failed("owners", "set the owner of", e));
                }
            } else {
                if !mine {
                    failed("owners", "set the owner of", Errno::PERM);
                }
                // Anyone may give a file to a group that they are in.
                if !(ours && self.plain) {
                    on.chown(None, Some(gid)).unwrap_or_else(|e| failed("groups", "set the group of", e));
                }
            }
        }
        if self.options.xattrs {
            if !self.plain && entry.kind == EntryKind::Directory {
                self.drop_other_xattrs(on, entry);
            }
            for x in &entry.xattrs {
                let space = x.name.0.split(|b| *b == b'.').next().unwrap_or_default();
                let reserved = space == b"security" || space == b"trusted";
                let result = if reserved && !self.options.privileged { Err(Errno::PERM) } else { on.set_xattr(&x.name.0, &x.value.0) };
                if let Err(e) = result {
                    failed(&format!("{}.* attributes", String::from_utf8_lossy(space)), "set an attribute of", e);
                }
            }
        }
        let mut mode = entry.mode & 0o7777;
        if mode & 0o6000 != 0 && entry.kind != EntryKind::Directory && !self.options.privileged {
            // Without its owner, a setuid program would lend the rights of whoever restores.
            mode &= !0o6000;
            failed("setuid and setgid bits", "set the mode of", Errno::PERM);
        }
        on.chmod(mode).unwrap_or_else(|e| failed("modes", "set the mode of", e));
        if self.options.times && !entry.implied {
            on.utimes(&timestamps(entry)).unwrap_or_else(|e| failed("times", "set the times of", e));
        }
        problems
    }

    /// The ids that an entry's owner has here: by name where wanted and known, else by number.
    pub(super) fn owner_of(&self, entry: &Entry) -> (u32, u32) {
        if self.options.numeric_owner || (entry.user.0.is_empty() && entry.group.0.is_empty()) {
            return (entry.uid, entry.gid);
        }
        let mut known = self.owners.lock().unwrap_or_else(|e| e.into_inner());
        let uid = if entry.user.0.is_empty() { entry.uid } else { known.user(&entry.user.0, entry.uid) };
        let gid = if entry.group.0.is_empty() { entry.gid } else { known.group(&entry.group.0, entry.gid) };
        (uid, gid)
    }

    /// Removes attributes that a directory had before and the snapshot does not know, a default ACL above all. Those of the system stay.
    fn drop_other_xattrs(&self, on: &On<'_>, entry: &Entry) {
        let On::Open { fd, .. } = on else { return };
        let mut list = Vec::with_capacity(4096);
        if rustix::fs::flistxattr(fd, rustix::buffer::spare_capacity(&mut list)).is_err() {
            return;
        }
        for name in list.split(|b| *b == 0).filter(|n| n.starts_with(b"user.") || n.starts_with(b"system.posix_acl_")) {
            if !entry.xattrs.iter().any(|x| x.name.0 == name) {
                // One that stays is no harm: what the snapshot says is set all the same.
                rustix::fs::fremovexattr(fd, name).unwrap_or_default();
            }
        }
    }

    /// Sets `chattr` flags, the very last thing. The kernel's own bits (extents and the like) must be handed back as they are.
    pub(super) fn set_flags(&self, fd: BorrowedFd<'_>, dir: &Dir, name: &[u8], entry: &Entry) {
        let known_clear = self.plain || entry.kind != EntryKind::Directory;
        if entry.flags == 0 && known_clear {
            return;
        }
        let done = rustix::fs::ioctl_getflags(fd).and_then(|now| {
            let want = IFlags::from_bits_retain((now.bits() & !SETTABLE_FLAGS) | (entry.flags & SETTABLE_FLAGS));
            if want == now { Ok(()) } else { rustix::fs::ioctl_setflags(fd, want) }
        });
        if done.is_err() && entry.flags != 0 {
            self.shortfall("chattr flags", dir, name);
        }
    }

    /// Attributes of something that stays where it is because its content is right already.
    pub fn refresh(&self, dir: &Dir, entry: &Entry) -> crate::error::Result<Vec<Error>> {
        let name = self.checked(dir, &entry.name.0)?;
        if entry.kind == EntryKind::Symlink {
            return Ok(self.set_attrs(&On::Link(dir.fd.as_fd(), name), dir, name, entry));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(&dir.fd, name, flags, Mode::empty()).map_err(|e| self.error("open", dir, name, e))?;
        Ok(self.set_attrs(&On::Node(node.as_fd()), dir, name, entry))
    }

    /// Attributes of a directory, after everything in it is done: a read-only or immutable one takes no more names, and each new
    /// name would change its time. Call the deepest first.
    pub fn finish_directory(&self, path: &[u8], entry: &Entry) -> crate::error::Result<Vec<Error>> {
        let dir = self.directory(path)?;
        let problems = self.set_attrs(&On::Open { fd: dir.fd.as_fd(), mode: None }, &dir, b"", entry);
        self.set_flags(dir.fd.as_fd(), &dir, b"", entry);
        Ok(problems)
    }
}
