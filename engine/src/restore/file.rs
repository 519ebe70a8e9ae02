//! Files, links and nodes under a restore target: made without a name, or under a passing one, then put in place.
//! It must never let a name appear before content, owner, mode and times are right, nor write through what stood there before.
//! It obeys the restore rules of the threat model (spec chapter 3).

use super::attrs::{LOCKING_FLAGS, On, is_device, lends_rights, looks_like};
use super::shortfalls::DEVICES;
use super::target::{Dir, Overwrite, Target};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, name_is_valid};
use crate::format::wire::Time;
use crate::observe::Action;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What to do about an entry, in view of what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing stands there.
    Create,
    /// Something stands there and is to be replaced.
    Replace,
    /// What stands there is the entry, as far as its kind, size, time and target tell.
    Unchanged,
    /// The policy keeps what stands there.
    Skip,
}

/// Something that was put in place.
#[derive(Debug)]
pub struct Placed {
    /// [`Action::Restored`], [`Action::Updated`], [`Action::Unchanged`] or [`Action::Skipped`].
    pub action: Action,
    /// Device and inode, for entries with several links: what [`Target::hard_link`] asks for.
    pub id: Option<(u64, u64)>,
    /// Attributes that could not be set and should have been.
    pub problems: Vec<Error>,
}

impl Placed {
    fn just(action: Action) -> Self {
        Placed { action, id: None, problems: Vec::new() }
    }
}

/// A file that is being written and has no name yet, or a passing one.
pub struct TempFile {
    dir: Arc<Dir>,
    file: std::fs::File,
    /// The passing name, where the file system knows no files without.
    name: Option<Vec<u8>>,
    mode: Option<u32>,
}

impl TempFile {
    /// A second handle, for writing from another thread.
    pub fn share(&self) -> std::io::Result<std::fs::File> {
        self.file.try_clone()
    }

    /// Writes verified bytes. What is never written stays a hole.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Sets the length, for files that end in a hole.
    pub fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    /// The directory it will appear in.
    pub fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing more can be done about one that stays; its name says what it is.
            rustix::fs::unlinkat(&self.dir.fd, &name[..], AtFlags::empty()).unwrap_or_default();
        }
    }
}

impl Target {
    /// Decides what to do about `entry`, before its content is fetched.
    pub fn decide(&self, dir: &Dir, entry: &Entry) -> Result<Decision> {
        let name = self.checked(dir, &entry.name.0)?;
        let st = match rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(st) => st,
            Err(Errno::NOENT) => return Ok(Decision::Create),
            Err(e) => return Err(self.error("look at", dir, name, e)),
        };
        let there = Time { secs: st.st_mtime, nanos: st.st_mtime_nsec as u32 };
        Ok(match self.options.overwrite {
            Overwrite::Always => Decision::Replace,
            Overwrite::Never => Decision::Skip,
            Overwrite::IfNewer if (entry.mtime.secs, entry.mtime.nanos) > (there.secs, there.nanos) => Decision::Replace,
            Overwrite::IfNewer => Decision::Skip,
            Overwrite::IfChanged => {
                let same_target = || rustix::fs::readlinkat(&dir.fd, name, Vec::new()).is_ok_and(|t| t.as_bytes() == entry.target.0);
                // What gets rights with this restore must hold what the snapshot holds: size and time anybody can make so.
                let is_trusted = !(self.options.privileged && lends_rights(entry));
                let same = looks_like(&st, entry) && is_trusted && (entry.kind != EntryKind::Symlink || same_target());
                if same { Decision::Unchanged } else { Decision::Replace }
            }
        })
    }

    /// Begins a file of `entry`'s attributes in `dir`.
    pub fn begin_file(&self, dir: &Arc<Dir>, entry: &Entry) -> Result<TempFile> {
        self.checked(dir, &entry.name.0)?;
        self.may_write(dir, &entry.name.0)?;
        // A file without a name can have its mode from the start, when the umask, an ACL or a lack of rights do not spoil it.
        let mode = entry.mode & 0o777;
        let early = self.options.permissions && self.plain && mode & self.umask == 0 && entry.xattrs.is_empty();
        let first = if early { mode } else { self.first_mode(entry) };
        if self.tmpfile.load(Ordering::Relaxed) {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::openat(&dir.fd, c".", flags, Mode::from_raw_mode(first)) {
                Ok(fd) => return Ok(self.begun(dir, fd, None, early.then_some(mode), entry)),
                // This file system knows no such files, or this kernel none at all.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => self.tmpfile.store(false, Ordering::Relaxed),
                Err(e) => return Err(self.error("create", dir, &entry.name.0, e)),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let (fd, name) =
            self.under_passing_name(dir, &entry.name.0, |name| rustix::fs::openat(&dir.fd, name, flags, self.first_mode(entry).into()))?;
        Ok(self.begun(dir, fd, Some(name), None, entry))
    }

    /// The mode that a file is made with: nobody else's until its own is set, or where it gets none, that of any new file here.
    fn first_mode(&self, entry: &Entry) -> u32 {
        match self.options.permissions {
            true => 0o600,
            false if entry.mode & 0o111 != 0 => 0o777,
            false => 0o666,
        }
    }

    fn begun(&self, dir: &Arc<Dir>, fd: OwnedFd, name: Option<Vec<u8>>, mode: Option<u32>, entry: &Entry) -> TempFile {
        if self.options.flags && entry.flags & IFlags::NOCOW.bits() != 0 {
            // Only an empty file can be told this; one that cannot says so again when all flags are set.
            let now = rustix::fs::ioctl_getflags(&fd);
            now.and_then(|now| rustix::fs::ioctl_setflags(&fd, now | IFlags::NOCOW)).unwrap_or_default();
        }
        TempFile { dir: dir.clone(), file: fd.into(), name, mode }
    }

    /// Gives the file its attributes, then its name. What stood there is replaced in one step, or kept where the policy is never to overwrite.
    pub fn publish(&self, mut temp: TempFile, entry: &Entry) -> Result<Placed> {
        let dir = temp.dir.clone();
        let name = self.checked(&dir, &entry.name.0)?;
        let fd = temp.file.as_fd();
        let problems = self.set_attrs(&On::Open { fd, mode: temp.mode }, &dir, name, entry);
        let action = match temp.name.take() {
            None => match self.link_fd(fd, &dir, name) {
                Ok(()) => Action::Restored,
                Err(Errno::EXIST) if self.options.overwrite == Overwrite::Never => return Ok(Placed::just(Action::Skipped)),
                Err(Errno::EXIST) => {
                    let ((), passing) = self.under_passing_name(&dir, name, |passing| self.link_fd(fd, &dir, passing))?;
                    self.put_in_place(&dir, &passing, name)?
                }
                Err(e) => return Err(self.error("name", &dir, name, e)),
            },
            Some(passing) => self.put_in_place(&dir, &passing, name)?,
        };
        let mut id = None;
        if entry.links > 1 {
            let st = rustix::fs::fstat(fd).map_err(|e| self.error("look at", &dir, name, e))?;
            id = Some((st.st_dev, st.st_ino));
        }
        if entry.links > 1 && entry.flags & LOCKING_FLAGS != 0 {
            // An immutable file takes no further links: its flags wait until every link is there.
            let fd = temp.file.try_clone().map_err(|source| self.io_error("look at", &dir, name, source))?;
            self.later.lock().unwrap_or_else(|e| e.into_inner()).push((fd, dir.clone(), entry.clone()));
        } else {
            self.set_flags(fd, &dir, name, entry);
        }
        Ok(Placed { action, id, problems })
    }

    /// Restores a symlink, fifo, socket or device node.
    pub fn special(&self, dir: &Arc<Dir>, entry: &Entry) -> Result<Placed> {
        let name = self.checked(dir, &entry.name.0)?;
        self.may_write(dir, name)?;
        if self.withholds(entry) {
            self.withhold(DEVICES, &dir.path, name);
            return Ok(Placed::just(Action::Skipped));
        }
        let make = |name: &[u8]| self.make_special(dir, name, entry);
        // On its own name at once where that is free: a link needs no more than that, and a node has no rights until its owner is right.
        match make(name) {
            Ok(()) => {
                let problems = self.finish_special(dir, name, entry)?;
                Ok(Placed { problems, id: self.id_of(dir, name, entry)?, action: Action::Restored })
            }
            Err(Errno::EXIST) if self.options.overwrite == Overwrite::Never => Ok(Placed::just(Action::Skipped)),
            Err(Errno::EXIST) => {
                let ((), passing) = self.under_passing_name(dir, name, make)?;
                let problems = self.finish_special(dir, &passing, entry).inspect_err(|_| {
                    rustix::fs::unlinkat(&dir.fd, &passing[..], AtFlags::empty()).unwrap_or_default();
                })?;
                let action = self.put_in_place(dir, &passing, name)?;
                Ok(Placed { problems, id: self.id_of(dir, name, entry)?, action })
            }
            Err(Errno::PERM) if is_device(entry) => {
                self.shortfall(DEVICES, dir, name);
                Ok(Placed::just(Action::Skipped))
            }
            Err(e) => Err(self.error("create", dir, name, e)),
        }
    }

    fn make_special(&self, dir: &Dir, name: &[u8], entry: &Entry) -> Result<(), Errno> {
        let kind = match entry.kind {
            EntryKind::Symlink => return rustix::fs::symlinkat(&entry.target.0[..], &dir.fd, name),
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Socket => FileType::Socket,
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            EntryKind::File | EntryKind::Directory => return Err(Errno::INVAL),
        };
        let mode = if self.options.permissions { Mode::empty() } else { Mode::from_raw_mode(0o666) };
        rustix::fs::mknodat(&dir.fd, name, kind, mode, rustix::fs::makedev(entry.rdev_major, entry.rdev_minor))
    }

    fn finish_special(&self, dir: &Dir, name: &[u8], entry: &Entry) -> Result<Vec<Error>> {
        if entry.kind == EntryKind::Symlink && self.plain {
            return Ok(self.set_attrs(&On::Link(dir.fd.as_fd(), name), dir, name, entry));
        }
        // In a directory that others can write, the name may already be something else. What is held now is looked at, and only that is changed.
        let held = self.hold(dir, name)?;
        let st = rustix::fs::fstat(&held).map_err(|e| self.error("look at", dir, name, e))?;
        if EntryKind::from_mode(st.st_mode) != Some(entry.kind) || (st.st_uid != self.uid && entry.kind != EntryKind::Symlink) {
            return Err(self.error("create", dir, name, Errno::STALE));
        }
        let on = if entry.kind == EntryKind::Symlink { On::HeldLink(held.as_fd()) } else { On::Node(held.as_fd()) };
        Ok(self.set_attrs(&on, dir, name, entry))
    }

    /// Holds what stands under a name, without following it.
    pub(super) fn hold(&self, dir: &Dir, name: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&dir.fd, name, flags, Mode::empty()).map_err(|e| self.error("look at", dir, name, e))
    }

    fn id_of(&self, dir: &Dir, name: &[u8], entry: &Entry) -> Result<Option<(u64, u64)>> {
        if entry.links <= 1 {
            return Ok(None);
        }
        let st = rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.error("look at", dir, name, e))?;
        Ok(Some((st.st_dev, st.st_ino)))
    }

    /// Gives a file that this run made, known by its `id`, a further name. Another file that took its place is never linked.
    pub fn hard_link(&self, from: (&Dir, &[u8]), id: (u64, u64), dir: &Arc<Dir>, entry: &Entry) -> Result<Placed> {
        let name = self.checked(dir, &entry.name.0)?;
        self.may_write(dir, name)?;
        let held = self.hold(from.0, self.checked(from.0, from.1)?)?;
        let st = rustix::fs::fstat(&held).map_err(|e| self.error("look at", from.0, from.1, e))?;
        if (st.st_dev, st.st_ino) != id {
            return Err(self.error("link to", from.0, from.1, Errno::STALE));
        }
        match self.link_fd(held.as_fd(), dir, name) {
            Ok(()) => Ok(Placed { action: Action::Restored, id: Some(id), problems: Vec::new() }),
            Err(Errno::EXIST) => {
                let there =
                    rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.error("look at", dir, name, e))?;
                // Renaming one link of a file over another does nothing and leaves both.
                if (there.st_dev, there.st_ino) == id {
                    return Ok(Placed { id: Some(id), ..Placed::just(Action::Unchanged) });
                }
                if self.options.overwrite == Overwrite::Never {
                    return Ok(Placed::just(Action::Skipped));
                }
                let ((), passing) = self.under_passing_name(dir, name, |passing| self.link_fd(held.as_fd(), dir, passing))?;
                Ok(Placed { action: self.put_in_place(dir, &passing, name)?, id: Some(id), problems: Vec::new() })
            }
            Err(e) => Err(self.error("link", dir, name, e)),
        }
    }

    /// Links an open file to a name.
    fn link_fd(&self, fd: BorrowedFd<'_>, dir: &Dir, name: &[u8]) -> Result<(), Errno> {
        if self.link_empty.load(Ordering::Relaxed) {
            match rustix::fs::linkat(fd, c"", &dir.fd, name, AtFlags::EMPTY_PATH) {
                // Older kernels allow this to root alone.
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => self.link_empty.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        rustix::fs::linkat(CWD, path, &dir.fd, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Renames a passing name to the real one. A directory in the way goes only when it is empty, or with `delete`.
    fn put_in_place(&self, dir: &Dir, passing: &[u8], name: &[u8]) -> Result<Action> {
        let result = self.replace(dir, passing, name);
        if result.is_err() {
            rustix::fs::unlinkat(&dir.fd, passing, AtFlags::empty()).unwrap_or_default();
        }
        result
    }

    fn replace(&self, dir: &Dir, passing: &[u8], name: &[u8]) -> Result<Action> {
        if self.options.overwrite == Overwrite::Never {
            // Looking first and renaming then would overwrite what came in between.
            match rustix::fs::renameat_with(&dir.fd, passing, &dir.fd, name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(Action::Restored),
                // Not every file system knows this flag; those that do not are looked at below.
                Err(Errno::EXIST | Errno::INVAL) => {}
                Err(e) => return Err(self.error("name", dir, name, e)),
            }
        }
        let there = match rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(st) => Some(FileType::from_raw_mode(st.st_mode)),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(self.error("look at", dir, name, e)),
        };
        match there {
            Some(_) if self.options.overwrite == Overwrite::Never => {
                rustix::fs::unlinkat(&dir.fd, passing, AtFlags::empty()).map_err(|e| self.error("remove", dir, passing, e))?;
                return Ok(Action::Skipped);
            }
            Some(FileType::Directory) if self.options.delete => {
                self.remove_replaced(dir, name)?;
            }
            Some(FileType::Directory) => {
                rustix::fs::unlinkat(&dir.fd, name, AtFlags::REMOVEDIR).map_err(|e| self.error("replace", dir, name, e))?;
            }
            _ => {}
        }
        rustix::fs::renameat(&dir.fd, passing, &dir.fd, name).map_err(|e| self.error("name", dir, name, e))?;
        Ok(if there.is_some() { Action::Updated } else { Action::Restored })
    }

    /// Makes something under a random name that nobody uses.
    fn under_passing_name<T>(&self, dir: &Dir, name: &[u8], mut make: impl FnMut(&[u8]) -> Result<T, Errno>) -> Result<(T, Vec<u8>)> {
        for _ in 0..100 {
            let passing = self.passing_name();
            match make(&passing) {
                Ok(made) => return Ok((made, passing)),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(self.error("create", dir, name, e)),
            }
        }
        Err(self.error("create", dir, name, Errno::EXIST))
    }

    /// A name from a snapshot, checked once more before it reaches the kernel: the parser did, but this is the last door.
    pub(super) fn checked<'n>(&self, dir: &Dir, name: &'n [u8]) -> Result<&'n [u8]> {
        if name_is_valid(name) { Ok(name) } else { Err(self.error("create", dir, b"", Errno::INVAL)) }
    }
}
