//! The directory that a restore writes into: held descriptors of its subdirectories, policies, and removal of what does not belong.
//! It must never reach anything outside: every step goes from a held descriptor to one name, never through a symlink, never through `..`.
//! It obeys the restore rules of the threat model (spec chapter 3).

pub use super::options::{Overwrite, TargetOptions};

use super::attrs::{AttributeNames, Owners};
use super::shortfalls::{Shortfall, Shortfalls};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, join, path_is_valid, split};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Directories kept open.
const OPEN_MAX: usize = 768;

/// What stands where a directory belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// A file or a node.
    Other,
}

/// A directory under the target, held open.
#[derive(Debug)]
pub struct Dir {
    /// Where it is under the target.
    pub path: Vec<u8>,
    /// Itself.
    pub fd: OwnedFd,
}

/// What [`Target::remove_extra`] took away.
#[derive(Debug, Default)]
pub struct Removed {
    /// Files, links and nodes.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Their paths below the target.
    pub paths: Vec<Vec<u8>>,
    /// What would not go.
    pub errors: Vec<Error>,
}

#[derive(Default)]
struct Cache {
    dirs: HashMap<Vec<u8>, (Arc<Dir>, u64)>,
    tick: u64,
}

/// A restore target. Shared by all workers.
pub struct Target {
    pub(super) place: PathBuf,
    pub(super) options: TargetOptions,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The target was empty and hands nothing down (group, ACL): what is created has our owner and the mode that was asked for.
    pub(super) plain: bool,
    pub(super) umask: u32,
    pub(super) tmpfile: AtomicBool,
    pub(super) link_empty: AtomicBool,
    pub(super) owners: Mutex<Owners>,
    pub(super) names: AttributeNames,
    pub(super) later: Mutex<Vec<(File, Arc<Dir>, Entry)>>,
    made: bool,
    /// Directories that this restore has made, where those that were there stay as they are.
    own: Mutex<HashSet<Vec<u8>>>,
    root: Option<Arc<Dir>>,
    cache: Mutex<Cache>,
    shortfalls: Mutex<Shortfalls>,
    is_news: AtomicBool,
    replaced: Mutex<Removed>,
    openat2: AtomicBool,
    passing: (u64, AtomicU64),
    may_go: Box<dyn Fn(&[u8]) -> bool + Send + Sync>,
}

impl Target {
    /// Opens the target directory, and makes it and its parents where they are missing. A symlink as the target itself is the user's wish and is followed.
    pub fn open(path: &Path, options: TargetOptions) -> Result<Target> {
        let failed = |op, source: io::Error| Error::Target { op, path: path.to_path_buf(), source };
        let made = !path.exists();
        if !options.dry_run {
            std::fs::create_dir_all(path).map_err(|e| failed("create directory", e))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Some(Arc::new(Dir { path: Vec::new(), fd })),
            Err(Errno::NOENT) if options.dry_run => None,
            Err(e) => return Err(failed("open", e.into())),
        };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut plain = false;
        if let Some(root) = &root {
            let st = rustix::fs::fstat(&root.fd).map_err(|e| failed("look at", e.into()))?;
            let acl = rustix::fs::fgetxattr(&root.fd, c"system.posix_acl_default", &mut [0u8; 4096][..]);
            let handed_down = st.st_mode & 0o2000 != 0 || st.st_gid != gid || !matches!(acl, Err(Errno::NODATA | Errno::OPNOTSUPP));
            let mut names = Vec::new();
            list(&root.fd, &mut names).map_err(|e| failed("list", e.into()))?;
            plain = names.is_empty() && !handed_down && umask().is_some();
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        Ok(Target {
            place: path.to_path_buf(),
            names: AttributeNames::new(&options)?,
            options,
            uid,
            gid,
            plain,
            umask: umask().unwrap_or(0o777),
            tmpfile: AtomicBool::new(true),
            link_empty: AtomicBool::new(true),
            owners: Mutex::default(),
            later: Mutex::default(),
            made,
            own: Mutex::default(),
            root,
            cache: Mutex::default(),
            shortfalls: Mutex::default(),
            is_news: AtomicBool::new(false),
            replaced: Mutex::default(),
            openat2: AtomicBool::new(true),
            passing: (u64::from_le_bytes(random), AtomicU64::new(0)),
            may_go: Box::new(|_| true),
        })
    }

    /// Says which paths below the target may be deleted; without it, all.
    pub fn sparing(self, may_go: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Target { may_go: Box::new(may_go), ..self }
    }

    /// Whether the target was empty at the start: then there is nothing to decide, and nothing to delete.
    pub fn was_empty(&self) -> bool {
        self.plain
    }

    /// Whether the target directory itself was made for this restore.
    pub fn was_made(&self) -> bool {
        self.made
    }

    /// Whether this restore has made a directory. Only known where nothing is overwritten.
    pub(super) fn is_own(&self, path: &[u8]) -> bool {
        if path.is_empty() { self.made } else { self.own.lock().unwrap_or_else(|e| e.into_inner()).contains(path) }
    }

    /// The options it was opened with.
    pub fn options(&self) -> &TargetOptions {
        &self.options
    }

    /// A directory under the target, made where it is missing, with mode 0700 until its attributes are set, at the end.
    pub fn directory(&self, path: &[u8]) -> Result<Arc<Dir>> {
        if self.options.dry_run {
            return self.existing(path)?.ok_or_else(|| self.path_error("create directory", path, Errno::ROFS));
        }
        self.go(path, true)?.ok_or_else(|| self.path_error("open", path, Errno::NOENT))
    }

    /// A directory under the target, if it is one already.
    pub fn existing(&self, path: &[u8]) -> Result<Option<Arc<Dir>>> {
        self.go(path, false)
    }

    fn go(&self, path: &[u8], create: bool) -> Result<Option<Arc<Dir>>> {
        if !path_is_valid(path) {
            return Err(self.path_error("open", path, Errno::INVAL));
        }
        let Some(mut at) = self.root.clone() else { return Ok(None) };
        // From the nearest ancestor that is still open, component by component.
        let mut done = 0;
        {
            let mut cache = self.cache.lock().unwrap_or_else(|e| e.into_inner());
            cache.tick += 1;
            let tick = cache.tick;
            let mut end = path.len();
            while end > 0 {
                if let Some((dir, used)) = cache.dirs.get_mut(&path[..end]) {
                    *used = tick;
                    (at, done) = (dir.clone(), end);
                    break;
                }
                end = split(&path[..end]).0.len();
            }
        }
        while done < path.len() {
            let start = if done == 0 { 0 } else { done + 1 };
            let end = path[start..].iter().position(|b| *b == b'/').map_or(path.len(), |n| start + n);
            let Some(fd) = self.enter(&at, &path[start..end], create)? else { return Ok(None) };
            at = Arc::new(Dir { path: path[..end].to_vec(), fd });
            self.remember(&at);
            done = end;
        }
        Ok(Some(at))
    }

    fn remember(&self, dir: &Arc<Dir>) {
        let mut cache = self.cache.lock().unwrap_or_else(|e| e.into_inner());
        if cache.dirs.len() >= OPEN_MAX {
            // The older half goes at once: as good as a list, and a twentieth of the code.
            let mut ticks: Vec<u64> = cache.dirs.values().map(|(_, used)| *used).collect();
            let middle = ticks.len() / 2;
            let middle = *ticks.select_nth_unstable(middle).1;
            cache.dirs.retain(|_, (_, used)| *used > middle);
        }
        let tick = cache.tick;
        cache.dirs.insert(dir.path.clone(), (dir.clone(), tick));
    }

    /// Opens one component, and makes it or makes room for it.
    fn enter(&self, parent: &Dir, name: &[u8], create: bool) -> Result<Option<OwnedFd>> {
        let mut missing = self.plain && create;
        for _ in 0..8 {
            if missing {
                // Others may look once its attributes are set; one that gets none is as any new directory from the start.
                let mode = if self.options.permissions { Mode::RWXU } else { Mode::from_raw_mode(0o777) };
                match rustix::fs::mkdirat(&parent.fd, name, mode) {
                    Ok(()) if self.options.overwrite == Overwrite::Never => {
                        self.own.lock().unwrap_or_else(|e| e.into_inner()).insert(join(&parent.path, name));
                    }
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.error("create directory", parent, name, e)),
                }
            }
            match self.open_beneath(parent, name) {
                Ok(fd) => {
                    if create {
                        self.make_writable(&fd);
                    }
                    return Ok(Some(fd));
                }
                Err(Errno::NOENT) if create => missing = true,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::AGAIN) => {}
                Err(Errno::NOTDIR | Errno::LOOP) if !create => return Ok(None),
                // A symlink where a directory belongs: somebody put data elsewhere with it. It is neither followed nor taken away.
                Err(Errno::NOTDIR | Errno::LOOP) if is_link(parent, name) => return Err(self.link_error(&self.path_of(parent, name))),
                Err(Errno::NOTDIR | Errno::LOOP) if self.options.overwrite.replaces_for_directory() => {
                    match rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => missing = true,
                        Err(e) => return Err(self.error("replace", parent, name, e)),
                    }
                }
                Err(e) => return Err(self.error("open directory", parent, name, e)),
            }
        }
        Err(self.error("open directory", parent, name, Errno::LOOP))
    }

    fn link_error(&self, path: &Path) -> Error {
        let why = "a symbolic link stands there, and nothing is restored through a symbolic link; remove it, or restore to another target";
        Error::Target { op: "restore directory", path: path.to_path_buf(), source: io::Error::other(why) }
    }

    /// What stands where a directory belongs. An error says that nothing can be restored below it.
    pub fn standing(&self, path: &[u8]) -> Result<Standing> {
        let (dir, name) = split(path);
        let Some(parent) = self.existing(dir)? else { return Ok(Standing::Nothing) };
        if path.is_empty() {
            return Ok(Standing::Directory);
        }
        match rustix::fs::statat(&parent.fd, self.checked(&parent, name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(st) => match FileType::from_raw_mode(st.st_mode) {
                FileType::Directory => Ok(Standing::Directory),
                FileType::Symlink => Err(self.link_error(&self.path_of(&parent, name))),
                _ => Ok(Standing::Other),
            },
            Err(Errno::NOENT) => Ok(Standing::Nothing),
            Err(e) => Err(self.error("look at", &parent, name, e)),
        }
    }

    fn open_beneath(&self, parent: &Dir, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.openat2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&parent.fd, name, flags, Mode::empty(), resolve) {
                // No such call here, or a sandbox forbids it: one component without following says the same.
                Err(Errno::NOSYS | Errno::PERM) => self.openat2.store(false, Ordering::Relaxed),
                other => return other,
            }
        }
        rustix::fs::openat(&parent.fd, name, flags, Mode::empty())
    }

    /// A read-only directory of an earlier restore would refuse its files to its own owner. Its mode is set again at the end.
    fn make_writable(&self, fd: &OwnedFd) {
        if self.plain || self.uid == 0 || !self.options.permissions {
            return;
        }
        if let Ok(st) = rustix::fs::fstat(fd)
            && st.st_uid == self.uid
            && st.st_mode & 0o700 != 0o700
        {
            // Where this fails, creating the first file says why.
            rustix::fs::fchmod(fd, Mode::from_raw_mode(st.st_mode & 0o7777 | 0o700)).unwrap_or_default();
        }
    }

    /// Removes from a directory all that is not in `keep` (ascending) and that `may_go` by its path, which is asked of everything below
    /// too. Symlinks are removed, not followed; other file systems are not entered.
    /// A dry run counts and names the same and takes nothing.
    pub fn remove_extra<N: AsRef<[u8]>>(&self, dir: &Dir, keep: &[N]) -> Result<Removed> {
        let mut names = Vec::new();
        list(&dir.fd, &mut names).map_err(|e| self.error("list", dir, b"", e))?;
        let mut removed = Removed::default();
        for name in names.iter().filter(|n| keep.binary_search_by(|k| k.as_ref().cmp(n)).is_err()) {
            self.remove_tree(dir, name, &mut removed);
        }
        Ok(removed)
    }

    /// Removes one name and what is below it, from held descriptors.
    pub(super) fn remove_tree(&self, dir: &Dir, name: &[u8], removed: &mut Removed) {
        struct Level {
            fd: OwnedFd,
            name: Vec<u8>,
            names: Vec<Vec<u8>>,
            /// Something below it stays, and so does it.
            stays: bool,
        }
        let unlink = |parent: BorrowedFd<'_>, name: &[u8]| match self.options.dry_run {
            false => rustix::fs::unlinkat(parent, name, AtFlags::empty()),
            true => match FileType::from_raw_mode(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
                FileType::Directory => Err(Errno::ISDIR),
                _ => Ok(()),
            },
        };
        let unlink_empty = |parent: BorrowedFd<'_>, name: &[u8]| match self.options.dry_run {
            false => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
            true => Ok(()),
        };
        let mut levels: Vec<Level> = Vec::new();
        let mut next = Some(name.to_vec());
        let at = |levels: &[Level], name: &[u8]| {
            let mut path = dir.path.clone();
            for part in levels.iter().map(|l| &l.name[..]).chain([name]) {
                path = join(&path, part);
            }
            path
        };
        loop {
            let parent = levels.last().map_or(dir.fd.as_fd(), |l| l.fd.as_fd());
            let path = next.as_ref().map(|name| at(&levels, name));
            if path.as_ref().is_some_and(|path| !(self.may_go)(path)) {
                levels.iter_mut().for_each(|level| level.stays = true);
            } else if let Some(name) = next.take() {
                match unlink(parent, &name) {
                    Ok(()) => {
                        removed.files += 1;
                        removed.paths.push(at(&levels, &name));
                    }
                    Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR | Errno::PERM) => match open_same_device(parent, &name) {
                        Ok(fd) => {
                            let mut names = Vec::new();
                            if let Err(e) = list(&fd, &mut names) {
                                removed.errors.push(self.path_error("list", &at(&levels, &name), e));
                            }
                            // Removed ones are gone from every level's memory of it, or a later file would appear inside what is no more.
                            self.forget(&at(&levels, &name));
                            levels.push(Level { fd, name, names, stays: false });
                        }
                        Err(e) => removed.errors.push(self.path_error("remove", &at(&levels, &name), e)),
                    },
                    Err(e) => removed.errors.push(self.path_error("remove", &at(&levels, &name), e)),
                }
            }
            let Some(level) = levels.last_mut() else { return };
            next = level.names.pop();
            if next.is_none()
                && let Some(done) = levels.pop()
            {
                let parent = levels.last().map_or(dir.fd.as_fd(), |l| l.fd.as_fd());
                let gone = if done.stays { Err(Errno::NOTEMPTY) } else { unlink_empty(parent, &done.name) };
                match gone {
                    Err(Errno::NOTEMPTY) if done.stays => {}
                    Ok(()) => {
                        removed.directories += 1;
                        removed.paths.push(at(&levels, &done.name));
                    }
                    Err(e) => removed.errors.push(self.path_error("remove", &at(&levels, &done.name), e)),
                }
                if levels.is_empty() {
                    return;
                }
            }
        }
    }

    /// Removes a full directory where something else belongs. What was below it counts as removed, itself as replaced.
    pub(super) fn remove_replaced(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        let mut gone = Removed::default();
        self.remove_tree(dir, name, &mut gone);
        let mut failed = gone.errors.pop();
        if gone.paths.last() == Some(&join(&dir.path, name)) {
            gone.directories = gone.directories.saturating_sub(1);
            gone.paths.pop();
        } else if failed.is_none() {
            failed = Some(self.error("replace", dir, name, Errno::NOTEMPTY));
        }
        let mut replaced = self.replaced.lock().unwrap_or_else(|e| e.into_inner());
        replaced.files += gone.files;
        replaced.directories += gone.directories;
        replaced.paths.append(&mut gone.paths);
        replaced.errors.append(&mut gone.errors);
        failed.map_or(Ok(()), Err)
    }

    /// What [`Target::publish`] and its like removed since the last call.
    pub fn take_replaced(&self) -> Removed {
        std::mem::take(&mut *self.replaced.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// What a dry run knows of putting something in an entry's place: what would go for it, or why it could not be.
    pub fn would_replace(&self, dir: &Dir, entry: &Entry) -> Result<()> {
        let name = self.checked(dir, &entry.name.0)?;
        let there = rustix::fs::statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.error("look at", dir, name, e))?;
        if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
            return Ok(());
        }
        if self.options.delete {
            return self.remove_replaced(dir, name);
        }
        let mut names = Vec::new();
        let fd = self.open_beneath(dir, name).map_err(|e| self.error("open", dir, name, e))?;
        list(&fd, &mut names).map_err(|e| self.error("list", dir, name, e))?;
        if names.is_empty() { Ok(()) } else { Err(self.error("replace", dir, name, Errno::NOTEMPTY)) }
    }

    fn forget(&self, path: &[u8]) {
        self.cache.lock().unwrap_or_else(|e| e.into_inner()).dirs.remove(path);
    }

    /// Does what had to wait until all links were there, and says what could not be restored.
    pub fn finish(&self) -> Vec<Shortfall> {
        let later = std::mem::take(&mut *self.later.lock().unwrap_or_else(|e| e.into_inner()));
        for (file, dir, entry) in later {
            self.set_flags(file.as_fd(), &dir, &entry.name.0, &entry);
        }
        self.shortfalls.lock().unwrap_or_else(|e| e.into_inner()).all()
    }

    /// Notes what this user or this place cannot have.
    pub(super) fn shortfall(&self, what: &str, dir: &Dir, name: &[u8]) {
        self.shortfalls.lock().unwrap_or_else(|e| e.into_inner()).add(what, false, || self.path_of(dir, name));
    }

    /// Notes what is left out because nobody said that the snapshot is to be trusted with it.
    pub(super) fn withhold(&self, what: &str, dir: &[u8], name: &[u8]) {
        let path = || if name.is_empty() { self.path_of_stored(dir) } else { self.path_of_stored(&join(dir, name)) };
        if self.shortfalls.lock().unwrap_or_else(|e| e.into_inner()).add(what, true, path) {
            self.is_news.store(true, Ordering::Release);
        }
    }

    /// Kinds of things that were withheld for the first time since the last call.
    pub fn take_news(&self) -> Vec<Shortfall> {
        if !self.is_news.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.shortfalls.lock().unwrap_or_else(|e| e.into_inner()).take_news()
    }

    pub(super) fn passing_name(&self) -> Vec<u8> {
        let n = self.passing.1.fetch_add(1, Ordering::Relaxed);
        format!(".seabed-{:016x}", self.passing.0.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).into_bytes()
    }

    pub(super) fn may_write(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        if self.options.dry_run { Err(self.error("create", dir, name, Errno::ROFS)) } else { Ok(()) }
    }

    fn path_of(&self, dir: &Dir, name: &[u8]) -> PathBuf {
        let mut path = self.place.clone();
        for part in [&dir.path[..], name].into_iter().filter(|p| !p.is_empty()) {
            path.push(OsStr::from_bytes(part));
        }
        path
    }

    pub(super) fn error(&self, op: &'static str, dir: &Dir, name: &[u8], e: Errno) -> Error {
        self.io_error(op, dir, name, e.into())
    }

    pub(super) fn io_error(&self, op: &'static str, dir: &Dir, name: &[u8], source: io::Error) -> Error {
        Error::Target { op, path: self.path_of(dir, name), source }
    }

    /// Where a path below the target is, for messages.
    pub fn path_of_stored(&self, path: &[u8]) -> PathBuf {
        let mut full = self.place.clone().into_os_string();
        full.push("/");
        full.push(OsStr::from_bytes(path));
        full.into()
    }

    /// Which path below the target an error is about; empty where it is about none.
    pub fn path_in(&self, error: &Error) -> Vec<u8> {
        let path = match error {
            Error::Target { path, .. } => path.strip_prefix(&self.place),
            Error::Lost { path, .. } => path.strip_prefix("/"),
            _ => return Vec::new(),
        };
        path.map_or_else(|_| Vec::new(), |path| path.as_os_str().as_bytes().to_vec())
    }

    fn path_error(&self, op: &'static str, path: &[u8], e: Errno) -> Error {
        Error::Target { op, path: self.path_of_stored(path), source: e.into() }
    }
}

fn is_link(parent: &Dir, name: &[u8]) -> bool {
    let st = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW);
    st.is_ok_and(|st| FileType::from_raw_mode(st.st_mode) == FileType::Symlink)
}

/// Opens a directory to empty it, unless something is mounted there.
fn open_same_device(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let (own, above): (Stat, Stat) = (rustix::fs::fstat(&fd)?, rustix::fs::fstat(parent)?);
    if own.st_dev == above.st_dev { Ok(fd) } else { Err(Errno::XDEV) }
}

/// All names in a directory, sorted.
fn list(fd: &OwnedFd, names: &mut Vec<Vec<u8>>) -> Result<(), Errno> {
    // A descriptor of its own: the held one is shared, and so is its position.
    let own = rustix::fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut raw = RawDir::new(&own, buffer.spare_capacity_mut());
    while let Some(next) = raw.next() {
        let name = next?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(())
}

/// The umask, which can only be asked for by reading this file: setting it to look would change it for other threads.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
