//! A source with what is to be kept, its repository, and restores of it by root and by somebody else.
//! It must never take the engine's word for what a restored file has: all of it is asked of the system.

use crate::cli::{Home, ended, lines};
use rustix::fs::{CWD, FileType, IFlags, Mode, XattrFlags};
use seabed_tests::trees::{capture, differences};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Somebody who is not root.
pub(super) const NOBODY: u32 = 65_534;

/// A source, its repository, and restores of it.
pub(super) struct Bench {
    pub(super) home: Home,
    pub(super) top: String,
}

impl Bench {
    pub(super) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests give files away and make devices: run them as root");
        let home = Home::new();
        fs::remove_dir_all(home.path("src")).unwrap();
        fs::create_dir(home.path("src")).unwrap();
        let top = home.path("src").to_str().unwrap().to_owned();
        Bench { home, top }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.home.write(&format!("src/{name}"), name);
        self.source(name)
    }

    pub(super) fn source(&self, name: &str) -> PathBuf {
        self.home.path("src").join(name)
    }

    pub(super) fn back_up(&self, more: &[&str]) {
        self.home.ends(0, &[&["backup", "--init", "src"], more].concat());
    }

    /// Restores into a directory of its own and returns where `src` is in there; the run ends with `code`.
    pub(super) fn restored(&self, name: &str, code: i32, more: &[&str]) -> PathBuf {
        let run = self.run(name, more);
        ended(code, &run, more);
        self.place(name)
    }

    pub(super) fn run(&self, name: &str, more: &[&str]) -> Output {
        self.home.run(&[&["restore", "latest", "--target", name], more].concat())
    }

    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.home.path(&format!("{name}{}", self.top))
    }

    /// The same by somebody who is not root, but may read the repository.
    pub(super) fn run_as_nobody(&self, name: &str, more: &[&str]) -> Output {
        self.open_to_nobody();
        let mut command = self.home.command(&[&["restore", "latest", "--target", name], more].concat());
        // The binary may lie where only root looks.
        let binary = self.home.path("seabed");
        if !binary.exists() {
            // By another process: while this one has it open for writing, one that another test starts has too, and nobody may run it.
            let copied = std::process::Command::new("cp").args([command.get_program(), binary.as_os_str()]).status().unwrap();
            assert!(copied.success());
            fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut own = std::process::Command::new(binary);
        own.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).args(command.get_args());
        own.current_dir(command.get_current_dir().unwrap()).uid(NOBODY).gid(NOBODY);
        command = own;
        command.output().unwrap()
    }

    /// Gives the home to nobody, with the repository, its key and its cache.
    pub(super) fn open_to_nobody(&self) {
        lchown(self.home.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut todo = vec![self.home.path(".local"), self.home.path(".config"), self.home.path(".cache")];
        while let Some(path) = todo.pop() {
            lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            if path.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }

    /// The sources' and the restored tree's differences.
    pub(super) fn differences(&self, place: &Path) -> Vec<String> {
        differences(&capture(Path::new(&self.top), true), &capture(place, true))
    }

    /// Entries of the snapshot as `ls` lists them, by name.
    pub(super) fn listed(&self, name: &str) -> Value {
        let listing = lines(&self.home.ends(0, &["ls", "latest", "--recursive", "--json"]));
        listing.into_iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name} is not listed"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is locked cannot be removed.
        let mut todo = vec![self.home.path("")];
        while let Some(path) = todo.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if (meta.is_file() || meta.is_dir()) && flags_of(&path) & LOCKS != 0 {
                set_flags(&path, IFlags::empty());
            }
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
    }
}

pub(super) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(super) fn owner(path: &Path) -> (u32, u32) {
    fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap()
}

pub(super) fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{name} of {}: {e}", path.display()));
}

pub(super) fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let bytes = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(bytes);
    Some(value)
}

pub(super) fn complaints(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

pub(super) const LOCKS: u32 = IFlags::IMMUTABLE.bits() | IFlags::APPEND.bits();
/// What these tests set. The kernel's own bits, such as that a file has extents, must be handed back.
pub(super) const SETTABLE: u32 = LOCKS | IFlags::NODUMP.bits() | IFlags::NOATIME.bits();

pub(super) fn flags_of(path: &Path) -> u32 {
    rustix::fs::ioctl_getflags(fs::File::open(path).unwrap()).unwrap().bits() & SETTABLE
}

pub(super) fn set_flags(path: &Path, flags: IFlags) {
    let file = fs::File::open(path).unwrap();
    let kept = rustix::fs::ioctl_getflags(&file).unwrap().bits() & !SETTABLE;
    let set = rustix::fs::ioctl_setflags(&file, IFlags::from_bits_retain(kept | flags.bits()));
    set.unwrap_or_else(|e| panic!("chattr of {}: {e}: the temporary directory must be on a file system that knows these", path.display()));
}

pub(super) fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}
