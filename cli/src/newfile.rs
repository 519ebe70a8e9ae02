//! A file that appears under its name when all of it is there and durable, and not before. What stood there stays until then.
//! It must never leave half a file that passes for a whole one, nor put a file where a device was.

use crate::exit::{Code, Fail, plain, where_to_write};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See the module's text.
pub struct NewFile {
    file: File,
    /// Its passing name and the real one; `None` for what is no regular file, and is written as it is.
    names: Option<(PathBuf, PathBuf)>,
    kept: bool,
}

fn failed(path: &Path, error: &io::Error) -> Fail {
    let hint = where_to_write(error).map(str::to_owned);
    Fail { hint, ..Fail::new(Code::Failed, format!("cannot write {}: {}", path.display(), plain(error))) }
}

impl NewFile {
    /// Begins one for `path`.
    pub fn begin(path: &Path) -> Result<Self, Fail> {
        let wrong = |error: io::Error| failed(path, &error);
        let there = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            there => Some(there.map_err(wrong)?),
        };
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(path).map_err(wrong)?;
            return Ok(NewFile { file, names: None, kept: false });
        }
        // Through a symlink, as whoever made it wants it.
        let name = if there.is_some() { path.canonicalize().map_err(wrong)? } else { path.to_path_buf() };
        let Some(last) = name.file_name() else { return Err(wrong(io::ErrorKind::InvalidFilename.into())) };
        let mut passing = std::ffi::OsString::from(".");
        passing.push(last);
        passing.push(format!(".{}.seabed", std::process::id()));
        let passing = name.with_file_name(passing);
        let file = File::create_new(&passing).map_err(wrong)?;
        let new = NewFile { file, names: Some((passing, name)), kept: false };
        if let Some(there) = there {
            new.file.set_permissions(there.permissions()).map_err(wrong)?;
        }
        Ok(new)
    }

    /// Where to write.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Everything is written: gives the file its name.
    pub fn keep(mut self) -> Result<(), Fail> {
        let Some((passing, name)) = self.names.clone() else { return Ok(()) };
        let wrong = |error: io::Error| failed(&name, &error);
        self.file.sync_all().map_err(wrong)?;
        std::fs::rename(&passing, &name).map_err(wrong)?;
        self.kept = true;
        // The name is to be durable too; a file system that cannot sync a directory has it soon enough.
        let dir = name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).unwrap_or(());
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((passing, _)) = self.names.as_ref().filter(|_| !self.kept) {
            std::fs::remove_file(passing).unwrap_or(());
        }
    }
}

/// Refuses a path at which something stands.
fn refuse_existing(path: &Path) -> Result<(), Fail> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(Fail::config(format!("{} is there already", path.display())).hint("name a new file, or move that one away")),
        Err(_) => Ok(()),
    }
}

/// A new file that only its owner may read. Without what it is for it goes away again.
pub struct SecretFile {
    file: File,
    path: PathBuf,
    written: bool,
}

impl SecretFile {
    /// Makes it, before there is anything to write into it.
    pub fn create(path: &Path) -> Result<Self, Fail> {
        refuse_existing(path)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(|error| failed(path, &error))?;
        Ok(SecretFile { file, path: path.to_path_buf(), written: false })
    }

    /// Writes it; durable when this returns.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), Fail> {
        self.file.write_all(bytes).and_then(|()| self.file.sync_all()).map_err(|error| failed(&self.path, &error))?;
        self.written = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).unwrap_or(());
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.written {
            std::fs::remove_file(&self.path).unwrap_or(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("seabed-newfile-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn what_stood_there_stays_until_the_new_is_whole() {
        let dir = scratch("stays");
        let path = dir.join("out");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("out", dir.join("link")).unwrap();
        let mut given_up = NewFile::begin(&path).unwrap();
        given_up.file().write_all(b"half").unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3);
        drop(given_up);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut new = NewFile::begin(&dir.join("link")).unwrap();
        new.file().write_all(b"new").unwrap();
        new.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(dir.join("link").is_symlink());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "nothing is left over");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_device_stays_one_and_a_directory_is_no_file() {
        let mut new = NewFile::begin(Path::new("/dev/null")).unwrap();
        new.file().write_all(b"gone").unwrap();
        new.keep().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        assert!(NewFile::begin(&scratch("dir")).is_err());
        assert!(NewFile::begin(Path::new("/no/such/directory/file")).is_err());
        std::fs::remove_dir_all(scratch("dir")).unwrap();
    }
}
