//! A small file system for one test, which can be full or read-only. It must never outlive its test.

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tmpfs of its own.
pub struct Mount {
    dir: TempDir,
    options: CString,
}

impl Mount {
    /// Mounts one with these options, such as `size=1m`. A test that may not mount fails: skipped, it would hide what it tests.
    pub fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = CString::new(options).unwrap();
        if let Err(e) = mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            panic!("this test needs the right to mount a tmpfs (run as root, or under `unshare -rm`): {e}");
        }
        Mount { dir, options }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A place for a repository on it.
    pub fn repo(&self) -> PathBuf {
        self.path().join("repo")
    }

    /// From now on nothing can be written to it.
    pub fn set_read_only(&self) {
        mount_remount(self.path(), MountFlags::RDONLY, self.options.as_c_str()).expect("a remount");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached: a store that is still open must not keep the mount for ever.
        if let Err(e) = unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {e}", self.path().display());
        }
    }
}
