//! A small file system for one test, which can be full or read-only. It must never outlive its test.

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::cell::Cell;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tmpfs of its own.
pub struct Mount {
    dir: TempDir,
    options: CString,
    is_mounted: Cell<bool>,
}

impl Mount {
    /// Mounts one with these options, such as `size=1m`. A test that may not mount fails: skipped, it would hide what it tests.
    pub fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = CString::new(options).unwrap();
        if let Err(e) = mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            panic!("this test needs the right to mount a tmpfs (run as root, or under `unshare -rm`): {e}");
        }
        Mount { dir, options, is_mounted: Cell::new(true) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A place for a repository on it.
    pub fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    /// Unmounts it: the directory is empty, as that of a disk that is not there.
    pub fn take_away(&self) {
        unmount(self.path(), UnmountFlags::DETACH).expect("an unmount");
        self.is_mounted.set(false);
    }

    /// Takes all its space but for so many bytes; returns the file that holds it.
    pub fn fill(&self, but_bytes: u64) -> PathBuf {
        let (ballast, now) = (self.path().join("ballast"), rustix::fs::statvfs(self.path()).expect("its size"));
        let bytes = (now.f_bavail * now.f_bsize).saturating_sub(but_bytes);
        let mut file = std::fs::File::create(&ballast).expect("a file");
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), bytes), &mut file).expect("room for it");
        ballast
    }

    /// From now on nothing can be written to it.
    pub fn set_read_only(&self) {
        mount_remount(self.path(), MountFlags::RDONLY, self.options.as_c_str()).expect("a remount");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached: a store that is still open must not keep the mount for ever.
        if !self.is_mounted.get() {
            return;
        }
        if let Err(e) = unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {e}", self.path().display());
        }
    }
}
