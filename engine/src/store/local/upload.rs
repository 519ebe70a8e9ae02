//! One object on its way into a directory: temp file, bytes, fsync, name, fsync of the folder, in this order.
//! It must never give a name to bytes that are not durable, nor say Ok before the name is durable, nor replace other bytes.
//! It obeys DESIGN section 7 (put).

use super::files::{Taken, compare, is_temp, open_file, split};
use super::{Inner, TEMPS, store_error};
use crate::error::{Result, StoreOp};
use crate::id::{ObjectName, hex};
use crate::store::Upload;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// How a finished temp file gets its name, best first; a store steps down when the filesystem refuses one.
const RENAME_NO_REPLACE: u8 = 0;
const LINK: u8 = 1;
const LOOK_THEN_RENAME: u8 = 2;

/// Bytes of a temp file's name that say under which kernel it was made.
pub(super) const MARK_BYTES: usize = 4;

/// The same for all processes of one machine from one start to the next: among them, and only among them, a lock tells whether a temp
/// file's owner lives. Some network file systems grant every host a lock of its own.
pub(super) fn boot_mark() -> [u8; MARK_BYTES] {
    static MARK: OnceLock<[u8; MARK_BYTES]> = OnceLock::new();
    *MARK.get_or_init(|| {
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&blake3::hash(&boot).as_bytes()[..MARK_BYTES]);
        mark
    })
}

#[derive(PartialEq)]
enum State {
    Writing,
    /// A write failed: what the file holds is not what the caller meant.
    Broken,
    /// The temp file has become the object.
    Placed,
}

pub(super) struct LocalUpload {
    inner: Arc<Inner>,
    folder: Arc<File>,
    temp: String,
    file: File,
    bytes: u64,
    state: State,
}

impl Upload for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| {
            self.state = State::Broken;
            store_error(StoreOp::Put, format_args!("{TEMPS}/{}", self.temp), e)
        })
    }

    fn finish(mut self: Box<Self>, name: &ObjectName) -> Result<()> {
        self.publish(name).map_err(|e| store_error(StoreOp::Put, name, e))
    }
}

impl LocalUpload {
    pub(super) fn begin(inner: &Arc<Inner>) -> Result<Self> {
        loop {
            let upload = Self::create(inner)?;
            if upload.claim().map_err(|e| store_error(StoreOp::Put, TEMPS, e))? {
                return Ok(upload);
            }
        }
    }

    fn create(inner: &Arc<Inner>) -> Result<Self> {
        let failed = |e| store_error(StoreOp::Put, TEMPS, e);
        let folder = inner.folder(TEMPS, true).map_err(failed)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        random[..MARK_BYTES].copy_from_slice(&boot_mark());
        let temp = hex(&random);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&folder, &temp, flags, Mode::RUSR | Mode::WUSR)).map_err(|e| failed(e.into()))?;
        Ok(Self { inner: inner.clone(), folder, temp, file: file.into(), bytes: 0, state: State::Writing })
    }

    /// Locks the temp file for the life of this upload; `false` when a sweep took it for debris between its creation and here.
    fn claim(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => {}
            // A sweep holds it and is about to remove it.
            Err(TryLockError::WouldBlock) => return Ok(false),
            // Where there are no locks there is no sweep either.
            Err(TryLockError::Error(_)) => {}
        }
        match retry_on_intr(|| statat(&self.folder, &self.temp, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(_) => Ok(true),
            // A sweep has removed it and let go of it.
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn publish(&mut self, name: &ObjectName) -> io::Result<()> {
        if self.state == State::Broken {
            return Err(io::Error::new(ErrorKind::InvalidInput, "an earlier write of this object failed"));
        }
        let (folder, last) = split(name);
        if is_temp(name.as_str()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this name is kept for temp files"));
        }
        // Before the fsync, which then covers it. A courtesy against mistakes, which some network filesystems cannot give.
        match rustix::fs::fchmod(&self.file, Mode::RUSR) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
        // Before the name: a name on disk whose bytes are not would be an empty or short object after a power loss. `sync_all` and
        // not `sync_data`: the mode is to be covered too, and for a new file both write the same journal entry. When it fails
        // the bytes are lost although the cache shows them; it is never tried again, the temp file goes and the put fails.
        self.file.sync_all()?;
        // Before the name as well: the entry of the folder must not be lost with an acknowledged object in it.
        let target = self.inner.folder(folder, true)?;
        while !self.take_name(&target, last)? {
            let there = match open_file(&target, last) {
                Ok((there, _)) => there,
                // Deleted since: the name is free again.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            match compare(&self.file, self.bytes, &there)? {
                Taken::Same => {
                    // Whoever put it may not be through with its own fsync, and our Ok has to hold without theirs.
                    there.sync_all()?;
                    break;
                }
                // A power loss leaves empty and short files where a disk or a filesystem lies about fsync. A beginning of the very
                // bytes we hold carries nothing else: it counts as absent, or the object could never be stored again. Renamed
                // over and not removed first, so that no moment exists in which another process's whole copy could be lost.
                Taken::Beginning => {
                    retry_on_intr(|| renameat(&self.folder, &self.temp, &target, last))?;
                    self.state = State::Placed;
                    break;
                }
                Taken::Other => return Err(io::Error::new(ErrorKind::AlreadyExists, "an object of other bytes has this name")),
            }
        }
        self.inner.close(name);
        // After the name and before the Ok: until now a power loss may still undo the rename.
        self.inner.sync_folder(&target)
    }

    /// Gives the temp file its name unless that is taken; says whether it did.
    fn take_name(&mut self, target: &File, last: &str) -> io::Result<bool> {
        if self.inner.method.load(Relaxed) == RENAME_NO_REPLACE {
            match retry_on_intr(|| renameat_with(&self.folder, &self.temp, target, last, RenameFlags::NOREPLACE)) {
                Ok(()) => {
                    self.state = State::Placed;
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::INVAL | Errno::NOSYS) => self.inner.method.store(LINK, Relaxed),
                Err(e) => return Err(e.into()),
            }
        }
        if self.inner.method.load(Relaxed) == LINK {
            match retry_on_intr(|| linkat(&self.folder, &self.temp, target, last, AtFlags::empty())) {
                // The temp file's own name goes when the upload is dropped; if the process dies before, a sweep takes it.
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => self.inner.method.store(LOOK_THEN_RENAME, Relaxed),
                Err(e) => return Err(e.into()),
            }
        }
        // Two puts of one name can both find it free here and the later one wins. Names never recur, so they hold the same bytes.
        match retry_on_intr(|| statat(target, last, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => {
                retry_on_intr(|| renameat(&self.folder, &self.temp, target, last))?;
                self.state = State::Placed;
                Ok(true)
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if self.state != State::Placed {
            // What cannot be removed now is debris for a sweep, and no reason to fail anything.
            unlinkat(&self.folder, &self.temp, AtFlags::empty()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LocalStore;
    use super::*;
    use crate::store::Store;

    /// Filesystems without a no-replace rename, and without hard links, are not at hand in every place where tests run.
    #[test]
    fn every_way_to_give_a_name_keeps_what_is_there() {
        for method in [RENAME_NO_REPLACE, LINK, LOOK_THEN_RENAME] {
            let dir = tempfile::tempdir().unwrap();
            let store = LocalStore::create(dir.path()).unwrap();
            store.inner.method.store(method, Relaxed);
            let name = ObjectName::parse("data/ab/cd").unwrap();
            store.put(&name, b"first").unwrap();
            store.put(&name, b"first").unwrap();
            store.put(&name, b"other").unwrap_err();
            assert_eq!(store.get(&name, 9).unwrap(), b"first");
            std::fs::write(dir.path().join("data/ab/ef"), b"fi").unwrap();
            store.put(&ObjectName::parse("data/ab/ef").unwrap(), b"first").unwrap();
            assert_eq!(store.list("").unwrap().len(), 2);
            assert_eq!(store.inner.method.load(Relaxed), method);
            assert_eq!(std::fs::read_dir(dir.path().join(TEMPS)).unwrap().count(), 0, "method {method}");
        }
    }

    /// The window is a few microseconds wide, so both of its ends are played here.
    #[test]
    fn a_sweep_between_creation_and_lock_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::create(dir.path()).unwrap();
        let swept = LocalUpload::create(&store.inner).unwrap();
        assert_eq!(store.sweep_temps().unwrap(), 1);
        assert!(!swept.claim().unwrap());
        let held = LocalUpload::create(&store.inner).unwrap();
        let sweep = File::open(dir.path().join(TEMPS).join(&held.temp)).unwrap();
        sweep.try_lock().unwrap();
        assert!(!held.claim().unwrap());
        drop(sweep);
        assert!(held.claim().unwrap());
        assert_eq!(store.sweep_temps().unwrap(), 0);
    }

    #[test]
    fn an_upload_that_failed_once_is_never_given_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::create(dir.path()).unwrap();
        let mut upload = LocalUpload::begin(&store.inner).unwrap();
        upload.state = State::Broken;
        Box::new(upload).finish(&ObjectName::parse("notes/a").unwrap()).unwrap_err();
        assert_eq!(store.list("").unwrap(), []);
    }

    #[test]
    fn after_a_failed_fsync_of_a_folder_nothing_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::create(dir.path()).unwrap();
        let name = ObjectName::parse("notes/a").unwrap();
        store.put(&name, b"a").unwrap();
        store.inner.folder_sync_failed.store(true, Relaxed);
        store.put(&name, b"a").unwrap_err();
        assert_eq!(store.get(&name, 1).unwrap(), b"a");
    }
}
