//! Owners, modes, extended attributes, times and flags of what a restore creates.
//! It must never act on a path that somebody else could swap: always on a descriptor, or on a name in a held directory without following it.
//! Nor may it lend rights that were not asked for: a setuid bit comes back with the owner that it belongs to, or not at all.
//! It obeys spec chapter 6 (entry metadata).

use super::shortfalls::{DEVICES, LOCKING, SETUID};
use super::target::{Dir, Overwrite, Target, TargetOptions};
use crate::error::Error;
use crate::format::entry::{Entry, EntryKind};
use crate::format::wire::Time;
use crate::source::Excludes;
use crate::source::meta::{ACLS, SETTABLE_FLAGS, proc_path};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, Gid, IFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Flags under which a file takes no more changes.
pub(super) const LOCKING_FLAGS: u32 = IFlags::IMMUTABLE.bits() | IFlags::APPEND.bits();

/// Which extended attributes are restored, by name.
pub(super) struct AttributeNames {
    all: bool,
    acls: bool,
    include: Option<Excludes>,
    exclude: Excludes,
}

impl AttributeNames {
    /// As the options say; an error names a pattern that makes no sense.
    pub fn new(options: &TargetOptions) -> crate::error::Result<Self> {
        let compile = |patterns: &[Vec<u8>]| {
            let mut set = Excludes::new();
            patterns.iter().try_for_each(|pattern| set.pattern(&in_one_part(pattern), false)).map(|()| set)
        };
        let include = if options.include_xattrs.is_empty() { None } else { Some(compile(&options.include_xattrs)?) };
        Ok(AttributeNames { all: options.xattrs, acls: options.permissions, include, exclude: compile(&options.exclude_xattrs)? })
    }

    /// Whether an attribute of this name is restored.
    pub fn want(&self, name: &[u8]) -> bool {
        let part = in_one_part(name);
        self.all
            && (self.acls || !ACLS.contains(&name))
            && self.include.as_ref().is_none_or(|include| include.rejects(&part, true))
            && !self.exclude.rejects(&part, true)
    }
}

/// A name or pattern in which `/` is a letter as any other.
fn in_one_part(text: &[u8]) -> Vec<u8> {
    text.iter().map(|b| if *b == b'/' { 1 } else { *b }).collect()
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
    /// A symlink in a held directory that nobody else writes in.
    Link(BorrowedFd<'a>, &'a [u8]),
    /// A symlink, held with `O_PATH`.
    HeldLink(BorrowedFd<'a>),
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
            On::Node(fd) | On::HeldLink(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
            On::Link(dir, name) => rustix::fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn chmod(&self, mode: u32) -> Result<(), Errno> {
        match self {
            On::Open { mode: Some(now), .. } if *now == mode => Ok(()),
            On::Open { fd, .. } => rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)),
            // Following this magic link leads to the very inode that is held.
            On::Node(fd) => rustix::fs::chmod(own_path(*fd), Mode::from_raw_mode(mode)),
            On::Link(..) | On::HeldLink(_) => Ok(()),
        }
    }

    /// Whether the owners that the setuid and setgid bits of `mode` lend the rights of are these.
    fn belongs_to(&self, mode: u32, (uid, gid): (u32, u32)) -> bool {
        let fd = match self {
            On::Open { fd, .. } | On::Node(fd) => fd,
            On::Link(..) | On::HeldLink(_) => return false,
        };
        rustix::fs::fstat(fd).is_ok_and(|st| (mode & 0o4000 == 0 || st.st_uid == uid) && (mode & 0o2000 == 0 || st.st_gid == gid))
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            On::Open { fd, .. } => rustix::fs::fsetxattr(fd, name, value, flags),
            On::Node(fd) | On::HeldLink(fd) => rustix::fs::setxattr(own_path(*fd), name, value, flags),
            On::Link(dir, link) => rustix::fs::lsetxattr(proc_path(*dir, link), name, value, flags),
        }
    }

    fn utimes(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            On::Open { fd, .. } => rustix::fs::futimens(fd, times),
            On::Node(fd) | On::HeldLink(fd) => rustix::fs::utimensat(fd, c"", times, AtFlags::EMPTY_PATH),
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

pub(super) fn is_device(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice)
}

/// Whether an entry makes a program run with other rights than those of whoever runs it: then its content must be the snapshot's, and not
/// only look like it.
pub(super) fn lends_rights(entry: &Entry) -> bool {
    entry.kind == EntryKind::File && (lends(entry) || entry.xattrs.iter().any(|x| is_reserved(&x.name.0)))
}

/// Whether an entry's mode lends the rights of its owner or group to whoever runs it. On directories the bits only hand the group down.
fn lends(entry: &Entry) -> bool {
    entry.mode & 0o6000 != 0 && entry.kind != EntryKind::Directory && entry.kind != EntryKind::Symlink
}

/// Name spaces that are the system's: what stands there decides what programs may do.
fn is_reserved(attribute: &[u8]) -> bool {
    attribute.starts_with(b"security.") || attribute.starts_with(b"trusted.")
}

/// Attributes of the same name space, in words.
fn attributes(name: &[u8]) -> String {
    format!("{}.* attributes", String::from_utf8_lossy(name.split(|b| *b == b'.').next().unwrap_or_default()))
}

/// Whether something is what an entry says, as far as that can be told without reading it.
pub(super) fn looks_like(st: &Stat, entry: &Entry) -> bool {
    let there = Time { secs: st.st_mtime, nanos: st.st_mtime_nsec as u32 };
    EntryKind::from_mode(st.st_mode) == Some(entry.kind)
        && match entry.kind {
            EntryKind::File => st.st_size as u64 == entry.size && there == entry.mtime,
            EntryKind::CharDevice | EntryKind::BlockDevice => st.st_rdev == rustix::fs::makedev(entry.rdev_major, entry.rdev_minor),
            _ => true,
        }
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
        let (uid, gid) = self.owner_of(entry);
        if self.options.owners && !(uid == self.uid && gid == self.gid && self.plain) {
            match on.chown(Some(uid), Some(gid)) {
                // Anyone may give a file to a group that they are in.
                Err(Errno::PERM) => {
                    if uid != self.uid {
                        failed("owners", "set the owner of", Errno::PERM);
                    }
                    on.chown(None, Some(gid)).unwrap_or_else(|e| failed("groups", "set the group of", e));
                }
                done => done.unwrap_or_else(|e| failed("owners", "set the owner of", e)),
            }
        }
        if self.options.xattrs {
            let was_there = entry.kind == EntryKind::Directory || matches!(on, On::Node(_));
            if !self.plain && was_there {
                self.drop_other_xattrs(on, entry);
            }
            for x in entry.xattrs.iter().filter(|x| self.names.want(&x.name.0)) {
                let kind = attributes(&x.name.0);
                if is_reserved(&x.name.0) && !self.options.privileged {
                    self.withhold(&kind, &dir.path, name);
                } else {
                    on.set_xattr(&x.name.0, &x.value.0).unwrap_or_else(|e| failed(&kind, "set an attribute of", e));
                }
            }
        }
        if self.options.permissions {
            let mut mode = entry.mode & 0o7777;
            if lends(entry) {
                if !self.options.privileged {
                    self.withhold(SETUID, &dir.path, name);
                    mode &= !0o6000;
                } else if !on.belongs_to(mode, (uid, gid)) {
                    // With another owner it would lend the rights of whoever restores.
                    failed(SETUID, "set the mode of", Errno::PERM);
                    mode &= !0o6000;
                }
            }
            on.chmod(mode).unwrap_or_else(|e| failed("modes", "set the mode of", e));
        }
        if self.options.times && !entry.implied {
            on.utimes(&timestamps(entry)).unwrap_or_else(|e| failed("times", "set the times of", e));
        }
        problems
    }

    /// Whether an entry is left out whole.
    pub fn withholds(&self, entry: &Entry) -> bool {
        !self.options.privileged && is_device(entry)
    }

    /// What of an entry would be left out for want of [`TargetOptions::privileged`], for a target that is only looked at.
    pub fn foresee(&self, dir: &[u8], name: &[u8], entry: &Entry) {
        if self.options.privileged {
            return;
        }
        if self.withholds(entry) {
            return self.withhold(DEVICES, dir, name);
        }
        for x in entry.xattrs.iter().filter(|x| is_reserved(&x.name.0) && self.names.want(&x.name.0)) {
            self.withhold(&attributes(&x.name.0), dir, name);
        }
        if self.options.permissions && lends(entry) {
            self.withhold(SETUID, dir, name);
        }
        if self.options.flags && entry.flags & LOCKING_FLAGS != 0 {
            self.withhold(LOCKING, dir, name);
        }
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

    /// Removes attributes that what stays had before and the snapshot does not know, ACLs above all: they let somebody in. Those of the
    /// system stay.
    fn drop_other_xattrs(&self, on: &On<'_>, entry: &Entry) {
        let mut list = Vec::with_capacity(4096);
        let room = rustix::buffer::spare_capacity(&mut list);
        let listed = match on {
            On::Open { fd, .. } => rustix::fs::flistxattr(fd, room),
            On::Node(fd) => rustix::fs::listxattr(own_path(*fd), room),
            On::Link(..) | On::HeldLink(_) => return,
        };
        if listed.is_err() {
            return;
        }
        for name in list.split(|b| *b == 0).filter(|n| n.starts_with(b"user.") || n.starts_with(b"system.posix_acl_")) {
            if self.names.want(name) && !entry.xattrs.iter().any(|x| x.name.0 == name) {
                // One that stays is no harm: what the snapshot says is set all the same.
                let removed = match on {
                    On::Open { fd, .. } => rustix::fs::fremovexattr(fd, name),
                    On::Node(fd) => rustix::fs::removexattr(own_path(*fd), name),
                    On::Link(..) | On::HeldLink(_) => Ok(()),
                };
                removed.unwrap_or_default();
            }
        }
    }

    /// Sets `chattr` flags, the very last thing. The kernel's own bits (extents and the like) must be handed back as they are.
    pub(super) fn set_flags(&self, fd: BorrowedFd<'_>, dir: &Dir, name: &[u8], entry: &Entry) {
        let known_clear = self.plain || entry.kind != EntryKind::Directory;
        if !self.options.flags || entry.flags == 0 && known_clear {
            return;
        }
        // Locks that are there already are not this restore's to open, unless it may set them too.
        let mut ours = SETTABLE_FLAGS;
        if !self.options.privileged {
            ours &= !LOCKING_FLAGS;
            if entry.flags & LOCKING_FLAGS != 0 {
                self.withhold(LOCKING, &dir.path, name);
            }
        }
        let Ok(now) = rustix::fs::ioctl_getflags(fd) else {
            if entry.flags & ours != 0 {
                self.shortfall("chattr flags", dir, name);
            }
            return;
        };
        let want = (now.bits() & !ours) | (entry.flags & ours);
        if want == now.bits() || rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(want)).is_ok() {
            return;
        }
        // One that this file system does not know must not cost the others.
        let mut now = now.bits();
        let differing = want ^ now;
        for bit in (0..u32::BITS).map(|n| 1 << n).filter(|bit| differing & bit != 0) {
            match rustix::fs::ioctl_setflags(fd, IFlags::from_bits_retain(now ^ bit)) {
                Ok(()) => now ^= bit,
                Err(_) if entry.flags & bit == 0 => {}
                Err(_) if bit & LOCKING_FLAGS != 0 => self.shortfall(LOCKING, dir, name),
                Err(_) => self.shortfall("chattr flags", dir, name),
            }
        }
    }

    /// Attributes of something that stays where it is because its content is right already.
    pub fn refresh(&self, dir: &Dir, entry: &Entry) -> crate::error::Result<Vec<Error>> {
        let name = self.checked(dir, &entry.name.0)?;
        let node = self.hold(dir, name)?;
        // Whoever can write in the directory may have put another file there since it was looked at, and it is not to become the entry's owner's.
        let st = rustix::fs::fstat(&node).map_err(|e| self.error("look at", dir, name, e))?;
        if !looks_like(&st, entry) {
            return Err(self.error("look at", dir, name, Errno::STALE));
        }
        if entry.kind == EntryKind::Symlink {
            return Ok(self.set_attrs(&On::HeldLink(node.as_fd()), dir, name, entry));
        }
        // A device that is there is as good as the snapshot's: who may not make one gives none to others either.
        if self.withholds(entry) {
            return Ok(Vec::new());
        }
        // Flags can only be set on what is open for reading.
        let file = match entry.flags {
            0 => None,
            // By the descriptor: it is the inode that is held.
            _ => rustix::fs::open(own_path(node.as_fd()), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok(),
        };
        if let (Some(file), true) = (&file, self.options.flags && self.options.privileged)
            && let Ok(now) = rustix::fs::ioctl_getflags(file)
            && now.bits() & LOCKING_FLAGS != 0
        {
            // Locked by an earlier restore. Where it stays locked, what follows says so.
            rustix::fs::ioctl_setflags(file, IFlags::from_bits_retain(now.bits() & !LOCKING_FLAGS)).unwrap_or_default();
        }
        let problems = self.set_attrs(&On::Node(node.as_fd()), dir, name, entry);
        if let Some(file) = file {
            self.set_flags(file.as_fd(), dir, name, entry);
        }
        Ok(problems)
    }

    /// Attributes of a directory, after everything in it is done: a read-only or immutable one takes no more names, and each new
    /// name would change its time. Call the deepest first.
    pub fn finish_directory(&self, path: &[u8], entry: &Entry) -> crate::error::Result<Vec<Error>> {
        let dir = self.directory(path)?;
        if self.options.overwrite == Overwrite::Never && !self.is_own(path) {
            return Ok(Vec::new());
        }
        let problems = self.set_attrs(&On::Open { fd: dir.fd.as_fd(), mode: None }, &dir, b"", entry);
        self.set_flags(dir.fd.as_fd(), &dir, b"", entry);
        Ok(problems)
    }
}
