//! A file with a secret for a client program: in memory where the kernel and the program go along with that, else on a disk for a while.
//! It must never be readable by another user, nor outlive the process that made it where that can be had.

use crate::exit::{Fail, plain};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// See the module's text.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    /// What keeps it there.
    _keep: Keep,
}

#[derive(Debug)]
enum Keep {
    /// The memory goes with the last descriptor.
    Memory { _fd: OwnedFd },
    /// The directory goes when this is dropped.
    Directory { _dir: TempDir },
}

impl SecretFile {
    /// Makes one; `what` is what it holds, for errors.
    pub fn new(text: &[u8], what: &str) -> Result<Self, Fail> {
        in_memory(text).or_else(|_| on_disk(text)).map_err(|error| {
            Fail::config(format!("{what} cannot be handed to the client: {}", plain(&error)))
                .hint("it needs memfd_create and /proc, or room for a small file in XDG_RUNTIME_DIR or TMPDIR")
        })
    }

    /// Where a child of this process finds it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn in_memory(text: &[u8]) -> io::Result<SecretFile> {
    // Not closed in children: they find it below their own /proc/self. /proc/PID of this process would be closed to them where it forbids
    // core dumps.
    let fd = memfd_create("seabed", MemfdFlags::empty())?;
    // Clients refuse what others may read, and they look at these bits.
    fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let mut file = File::from(fd.try_clone()?);
    file.write_all(text)?;
    drop(file);
    // No /proc, or one that leads nowhere: the other way is taken.
    let seen = std::fs::metadata(&path)?;
    if !seen.is_file() || seen.len() != text.len() as u64 || seen.permissions().mode() & 0o077 != 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    File::open(&path)?;
    Ok(SecretFile { path, _keep: Keep::Memory { _fd: fd } })
}

fn on_disk(text: &[u8]) -> io::Result<SecretFile> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute() && dir.is_dir());
    let dir = private_directory(runtime.as_deref())?;
    let path = dir.path().join("secret");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text)?;
    Ok(SecretFile { path, _keep: Keep::Directory { _dir: dir } })
}

/// A directory that only this user may enter, below `base`, else where TMPDIR says. It goes with all in it when it is dropped.
pub fn private_directory(base: Option<&Path>) -> io::Result<TempDir> {
    let mut made = tempfile::Builder::new();
    made.prefix("seabed-").permissions(std::fs::Permissions::from_mode(0o700));
    match base {
        Some(base) => made.tempdir_in(base),
        None => made.tempdir(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_reads_it_and_nobody_else_may() {
        for made in [in_memory(b"hunter22"), on_disk(b"hunter22")] {
            let file = made.unwrap();
            let read = Command::new("cat").arg(file.path()).output().unwrap();
            assert_eq!(read.stdout, b"hunter22");
            // As the clients look at it.
            let mode = Command::new("stat").args(["-L", "-c", "%a %F"]).arg(file.path()).output().unwrap();
            assert_eq!(mode.stdout, b"600 regular file\n");
            let path = file.path().to_owned();
            let in_memory = path.starts_with("/proc");
            drop(file);
            assert!(in_memory || !path.parent().unwrap().exists(), "it stays");
        }
    }
}
