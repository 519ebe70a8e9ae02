//! Objects as files below one local directory: disks, network mounts, volumes.
//! It must never create the directory it opens, replace an object by other bytes, report a put that a power loss could undo, or
//! follow a symlink below its directory. It obeys spec chapter 2 (names) and DESIGN section 7 (contract).

mod files;
mod upload;

use crate::buffers::room;
use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::{ObjectName, unhex};
use crate::store::{Listed, Store, Upload};
use files::{FILE_FLAGS, FOLDER_FLAGS, create_root, is_temp, not_a_file, open_file, open_folder, read, split, sync_entries, walk};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawDir, mkdirat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use upload::{LocalUpload, MARK_BYTES, boot_mark};

/// A temp file of another machine is debris after a day without a write: no upload of a pack takes as long.
const FOREIGN_TEMP_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// The folder of uploads under way; never listed.
const TEMPS: &str = "tmp";
/// What may stand in a directory that becomes a repository; anything else is somebody's data.
const OURS: [&str; 16] = [
    "seabed",
    "features",
    "slots",
    "keyring",
    "data",
    "names",
    "lists",
    "index",
    "pending",
    "snapshots",
    "forgotten",
    "holds",
    "releases",
    "records",
    "notes",
    TEMPS,
];
/// Files kept open for reading: a restore reads each pack in many small ranges.
const HANDLES_MAX: usize = 64;

/// A store in a local directory.
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// Held open, so that every call reaches the directory that was opened, whatever is mounted or moved over its path.
    root: Arc<File>,
    /// Folders whose own entry this store has made durable.
    durable: Mutex<HashSet<String>>,
    /// Files open for reading, the longest unused first. Keyed by name: names never recur.
    handles: Mutex<VecDeque<(ObjectName, Arc<File>)>>,
    /// The way to give a finished file its name that this filesystem is known to take (see `upload`).
    method: AtomicU8,
    folder_sync_failed: AtomicBool,
}

impl LocalStore {
    /// Opens a directory that exists. It is never created here: the empty mount point of an absent disk must not become a new repository.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let root = match retry_on_intr(|| rustix::fs::open(&path, FOLDER_FLAGS, Mode::empty())) {
            Ok(root) => Arc::new(File::from(root)),
            Err(Errno::NOENT) => return Err(Error::NoRepository { place: path.display().to_string() }),
            Err(e) => return Err(store_error(StoreOp::Open, path.display(), e.into())),
        };
        let inner = Inner {
            path,
            root,
            durable: Mutex::default(),
            handles: Mutex::default(),
            method: AtomicU8::new(0),
            folder_sync_failed: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates the directory, and the ones above it, for its owner only. One that exists may hold nothing but what is ours.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        create_root(&path).map_err(|e| store_error(StoreOp::Open, path.display(), e))?;
        let store = Self::open(path)?;
        let failed = |e: Errno| store_error(StoreOp::Open, store.place(), e.into());
        for entry in Dir::read_from(&store.inner.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !OURS.iter().any(|own| own.as_bytes() == name) {
                return Err(Error::PlaceNotEmpty { place: store.place() });
            }
        }
        Ok(store)
    }

    /// Removes the temp files of processes that died, and returns how many. A live upload holds a lock on its file; where the
    /// filesystem has no locks nobody can be told to be dead, and everything stays.
    pub fn sweep_temps(&self) -> Result<u64> {
        self.inner.sweep().map_err(|e| store_error(StoreOp::Delete, TEMPS, e))
    }
}

impl Store for LocalStore {
    fn place(&self) -> String {
        self.inner.path.display().to_string()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(LocalUpload::begin(&self.inner)?))
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        let (file, have) = self.inner.open(name)?;
        if have > bytes_max {
            return Err(Error::damaged(name, Damage::TooLarge { have, max: bytes_max }));
        }
        let mut bytes = room(usize::try_from(have).unwrap_or(0));
        read(&file, name, 0..have, have, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        match self.inner.handle(name).and_then(|(file, have)| read(&file, name, range, have, into)) {
            Ok(()) => Ok(()),
            Err(e) => {
                // The buffer held earlier bytes or a part of these: neither may pass for an answer.
                into.clear();
                Err(e)
            }
        }
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        let (file, have) = self.inner.handle(name)?;
        let mut into = Vec::new();
        read(&file, name, have.saturating_sub(bytes)..have, have, &mut into)?;
        Ok((into, have))
    }

    fn settle(&self, name: &ObjectName) -> Result<()> {
        let (folder, _) = split(name);
        // Its folder may be as new as itself.
        let above = folder.split_once('/').map_or("", |(above, _)| above);
        let sync = |folder| self.inner.folder(folder, false).and_then(|dir| sync_name(&dir));
        sync(folder).and_then(|()| sync(above)).map_err(|e| store_error(StoreOp::Put, name, e))
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        let (folder, last) = split(name);
        let stat = self.inner.folder(folder, false).and_then(|dir| Ok(retry_on_intr(|| statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW))?));
        match stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(Some(stat.st_size as u64)),
            Ok(_) => Err(store_error(StoreOp::Get, name, not_a_file())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(store_error(StoreOp::Get, name, e)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        self.inner.list(folder, &mut found).map_err(|e| store_error(StoreOp::List, if folder.is_empty() { "/" } else { folder }, e))?;
        found.sort();
        // A directory that changes while it is read may show an entry twice.
        found.dedup_by(|a, b| a.name == b.name);
        Ok(found)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        // An open handle would keep the space of the object, which a collection on a full disk needs at once.
        self.inner.close(name);
        let (folder, last) = split(name);
        // No fsync: an object that a power loss brings back is as harmless as a late delete (DESIGN section 5).
        match self.inner.folder(folder, false).and_then(|dir| Ok(retry_on_intr(|| unlinkat(&dir, last, AtFlags::empty()))?)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(store_error(StoreOp::Delete, name, e)),
            _ => Ok(()),
        }
    }

    fn sweep(&self) -> Result<u64> {
        self.sweep_temps()
    }

    fn now(&self) -> Result<i64> {
        #[allow(clippy::disallowed_methods, reason = "the only clock that a directory has")]
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok());
        since.ok_or_else(|| store_error(StoreOp::Get, "the clock", io::Error::new(ErrorKind::InvalidData, "it is outside 1970 to 2262")))
    }
}

/// Makes durable what a listing has just shown. Between its rename and the fsync of its folder a name can be seen and still be
/// lost to a power cut: a backup that deduplicated against such a segment, or counted on such a manifest, would be
/// acknowledged and not restore. Packs need none of this: their segment was put after them, and one without goes through
/// [`Store::settle`].
fn settle(dir: &File, folder: &str) -> io::Result<()> {
    if matches!(folder.split('/').next(), Some("data" | "names" | "lists" | "")) {
        return Ok(());
    }
    sync_name(dir)
}

fn sync_name(dir: &File) -> io::Result<()> {
    match dir.sync_all() {
        // Nothing is under way on a file system that nobody can write to.
        Err(e) if matches!(e.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

impl Inner {
    /// Opens a folder part by part, so that no symlink is followed at any level. With `create`, every part comes to exist durably.
    fn folder(&self, folder: &str, create: bool) -> io::Result<Arc<File>> {
        let mut at = self.root.clone();
        let mut end = 0;
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            end += part.len() + 1;
            let key = &folder[..end - 1];
            let mut made = false;
            let next = match open_folder(&at, part) {
                Err(e) if create && e.kind() == ErrorKind::NotFound => {
                    match retry_on_intr(|| mkdirat(&at, part, Mode::RWXU)) {
                        // Another process may be faster; its folder is as good.
                        Ok(()) | Err(Errno::EXIST) => made = true,
                        Err(e) => return Err(e.into()),
                    }
                    open_folder(&at, part)?
                }
                other => other?,
            };
            // Also for a folder that somebody else made: they may have died, or not yet have come to, before their own fsync of
            // the parent, and with the folder a power loss would take the objects that we put in it and acknowledged.
            if create && (made || !lock(&self.durable).contains(key)) {
                self.sync_folder(&at)?;
                lock(&self.durable).insert(key.to_owned());
            }
            at = Arc::new(next);
        }
        Ok(at)
    }

    /// Makes the entries of a folder durable.
    fn sync_folder(&self, folder: &File) -> io::Result<()> {
        // The kernel reports a failed write-back once and then forgets it: a second fsync would say yes to what is lost. The names
        // cannot be taken back, others may rely on them already; so nothing more is acknowledged by this store.
        if self.folder_sync_failed.load(Relaxed) {
            return Err(io::Error::other("an earlier fsync of a folder failed, names written since may be lost"));
        }
        sync_entries(folder).inspect_err(|_| self.folder_sync_failed.store(true, Relaxed))
    }

    fn open(&self, name: &ObjectName) -> Result<(File, u64)> {
        let (folder, last) = split(name);
        self.folder(folder, false).and_then(|dir| open_file(&dir, last)).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::damaged(name, Damage::Missing),
            _ => store_error(StoreOp::Get, name, e),
        })
    }

    /// An open file of the object and its length now.
    fn handle(&self, name: &ObjectName) -> Result<(Arc<File>, u64)> {
        let cached = {
            let mut handles = lock(&self.handles);
            let at = handles.iter().position(|(own, _)| own == name);
            at.and_then(|at| handles.remove(at)).map(|entry| {
                let file = entry.1.clone();
                handles.push_back(entry);
                file
            })
        };
        if let Some(file) = cached {
            let meta = file.metadata().map_err(|e| store_error(StoreOp::Get, name, e))?;
            // No link left: another process has deleted the object, or replaced what a power loss had cut short.
            if meta.nlink() > 0 {
                return Ok((file, meta.len()));
            }
            self.close(name);
        }
        let (file, have) = self.open(name)?;
        let file = Arc::new(file);
        let mut handles = lock(&self.handles);
        handles.retain(|(own, _)| own != name);
        if handles.len() >= HANDLES_MAX {
            handles.pop_front();
        }
        handles.push_back((name.clone(), file.clone()));
        Ok((file, have))
    }

    fn close(&self, name: &ObjectName) {
        lock(&self.handles).retain(|(own, _)| own != name);
    }

    fn list(&self, folder: &str, found: &mut Vec<Listed>) -> io::Result<()> {
        if !folder.is_empty() && ObjectName::parse(folder).is_none() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this is not the name of a folder"));
        }
        if is_temp(folder) {
            return Ok(());
        }
        let listed = match self.folder(folder, false) {
            Ok(dir) => walk(&dir, folder, found).and_then(|()| settle(&dir, folder)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        // Of a directory that is itself removed everything looks absent, and an empty listing would say that all is well. Only
        // the plain call tells: the iterator takes this error for the end.
        let mut buffer = Vec::with_capacity(1024);
        match RawDir::new(&self.root, buffer.spare_capacity_mut()).next() {
            Some(Err(Errno::NOENT)) => Err(io::Error::new(ErrorKind::NotFound, "the directory of the repository is gone")),
            _ => listed,
        }
    }

    fn sweep(&self) -> io::Result<u64> {
        let folder = match self.folder(TEMPS, false) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut count = 0;
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let Some((temp, id)) = entry.file_name().to_str().ok().and_then(|name| Some((name, unhex::<16>(name)?))) else { continue };
            let open = |access| retry_on_intr(|| openat(&folder, temp, access | FILE_FLAGS, Mode::empty()));
            // NFS gives an exclusive lock only on a file open for writing; a finished temp is read-only and opens only for reading.
            let file = match open(OFlags::RDWR).or_else(|e| if e == Errno::ACCESS { open(OFlags::RDONLY) } else { Err(e) }) {
                Ok(file) => File::from(file),
                // Gone since, or nothing that an upload makes: a symlink, a socket, a folder.
                Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => continue,
                Err(e) => return Err(e.into()),
            };
            // Of another machine's temp files only their age tells: its lock may not be seen here.
            if id[..MARK_BYTES] != boot_mark() && !is_older(&file, FOREIGN_TEMP_AGE)? {
                continue;
            }
            // Removed while the lock is held, so that an upload that has just created this name notices.
            if file.try_lock().is_ok() {
                match retry_on_intr(|| unlinkat(&folder, temp, AtFlags::empty())) {
                    Ok(()) => count += 1,
                    Err(Errno::NOENT) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(count)
    }
}

/// Whether nothing was written to it for so long. Both times are rough: a day's difference of clocks costs a failed upload at worst.
fn is_older(file: &File, age: Duration) -> io::Result<bool> {
    let modified = file.metadata()?.modified()?;
    Ok(modified.elapsed().is_ok_and(|since| since > age))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these, and both are only caches.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store_error(op: StoreOp, object: impl std::fmt::Display, source: io::Error) -> Error {
    Error::Store { op, object: object.to_string(), source }
}
