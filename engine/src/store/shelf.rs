//! Copies of small objects of a remote store in the cache directory: slots, keyrings, segments, records, packs of metadata.
//! Objects never change, so a copy never goes stale; one that does not match its own hash is thrown away and fetched anew.
//! It must never be the reason that something fails: whatever goes wrong here, the store is asked.

use crate::error::{Error, Result};
use crate::id::{Class, ObjectName, hex};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The hash at the end of each file.
const HASH_BYTES: usize = 32;
/// What packs of metadata may take before the ones that were used longest ago go. One GiB, as restic users expect of a cache.
pub const PACKS_BYTES_MAX: u64 = 1 << 30;
/// A copy takes seconds to write.
const PASSING_MAX: Duration = Duration::from_secs(3600);
/// Descriptors that are kept open.
const OPEN_MAX: usize = 64;

/// A directory of copies.
pub struct Shelf {
    directory: PathBuf,
    packs_bytes_max: u64,
    /// Packs whose hash was checked in this run.
    open: Mutex<HashMap<ObjectName, Arc<Kept>>>,
}

/// A copy that is whole.
pub struct Kept {
    file: File,
    /// Length of the object.
    pub bytes: u64,
}

impl Kept {
    /// Reads `from..` of the object, as much as `into` takes.
    pub fn read_at(&self, from: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, from)
    }
}

/// What a shelf holds of one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Copies.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Shelf {
    /// A shelf in `directory`, which is made when the first copy comes.
    pub fn new(directory: PathBuf, packs_bytes_max: u64) -> Self {
        Shelf { directory, packs_bytes_max, open: Mutex::default() }
    }

    /// Whether copies of an object are kept. Not of data: it is read once, and it is what fills disks. Not of the descriptor, by which
    /// the right directory is found.
    pub fn takes(name: &ObjectName) -> bool {
        Self::is_meta_pack(name) || matches!(name.folder(), "slots" | "keyring" | "index" | "records")
    }

    /// Whether an object is a pack of names or lists.
    pub fn is_meta_pack(name: &ObjectName) -> bool {
        matches!(name.as_pack(), Some((Class::Names | Class::Lists, _)))
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.directory.join(name.folder()).join(name.last())
    }

    fn hash(name: &ObjectName, bytes: &[u8]) -> blake3::Hash {
        // With its name: a copy of another object is as wrong as a damaged one.
        blake3::Hasher::new().update(name.as_str().as_bytes()).update(&[0]).update(bytes).finalize()
    }

    /// The copy of an object.
    pub fn read(&self, name: &ObjectName) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(name)).ok()?.read_to_end(&mut bytes).ok()?;
        let Some(end) = bytes.len().checked_sub(HASH_BYTES).filter(|end| Self::hash(name, &bytes[..*end]).as_bytes()[..] == bytes[*end..])
        else {
            self.forget(name);
            return None;
        };
        bytes.truncate(end);
        Some(bytes)
    }

    /// The copy of a pack, open; its hash is checked once a run.
    pub fn pack(&self, name: &ObjectName) -> Option<Arc<Kept>> {
        if let Some(kept) = lock(&self.open).get(name) {
            return Some(kept.clone());
        }
        let bytes = self.read(name)?.len() as u64;
        let file = File::open(self.path(name)).ok()?;
        // Its time says when it was last of use.
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        utimensat(CWD, self.path(name), &times, AtFlags::empty()).unwrap_or(());
        let kept = Arc::new(Kept { file, bytes });
        let mut open = lock(&self.open);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(name.clone(), kept.clone());
        Some(kept)
    }

    /// Keeps a copy. Under a passing name first: another process may be reading, and another one writing the same.
    pub fn keep(&self, name: &ObjectName, bytes: &[u8]) {
        let path = self.path(name);
        let write = || -> io::Result<()> {
            let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|_| ErrorKind::Other)?;
            let passing = folder.join(format!(".{}", hex(&random)));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&passing)?;
            let written = file.write_all(bytes).and_then(|()| file.write_all(Self::hash(name, bytes).as_bytes()));
            // Not made durable: a copy that a power cut tore does not match its hash.
            let named = written.and_then(|()| Ok(rustix::fs::rename(&passing, &path)?));
            named.inspect_err(|_| fs::remove_file(&passing).unwrap_or(()))
        };
        // A full or read-only cache costs time, nothing else.
        write().unwrap_or(());
    }

    /// Throws a copy away.
    pub fn forget(&self, name: &ObjectName) {
        lock(&self.open).remove(name);
        fs::remove_file(self.path(name)).unwrap_or(());
    }

    /// Throws away the copies in a folder of what is no longer in the store.
    pub fn retain(&self, folder: &str, names: impl IntoIterator<Item = ObjectName>) {
        let names: HashSet<String> = names.into_iter().map(|name| name.last().to_owned()).collect();
        for entry in entries(&self.directory.join(folder)) {
            // One under a passing name is being written right now, or was an hour ago by a run that was killed.
            let passing = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
            let old = || entry.metadata().ok().and_then(|m| m.modified().ok()?.elapsed().ok()).is_some_and(|age| age > PASSING_MAX);
            if if passing { old() } else { entry.file_name().to_str().is_none_or(|name| !names.contains(name)) } {
                fs::remove_file(entry.path()).unwrap_or(());
            }
        }
    }

    /// Throws away the packs that were used longest ago, until the others take at most the bound. Returns how many bytes went.
    pub fn trim(&self) -> u64 {
        self.trim_to(self.packs_bytes_max)
    }

    /// As [`Shelf::trim`], to another bound.
    pub fn trim_to(&self, bytes_max: u64) -> u64 {
        let mut packs = Vec::new();
        for class in [Class::Names, Class::Lists] {
            for entry in entries(&self.directory.join(class.folder())) {
                if let Ok(meta) = entry.metadata() {
                    packs.push((meta.mtime(), meta.mtime_nsec(), meta.len(), entry.path()));
                }
            }
        }
        let mut bytes: u64 = packs.iter().map(|(_, _, len, _)| len).sum();
        let before = bytes;
        packs.sort();
        for (_, _, len, path) in packs {
            if bytes <= bytes_max {
                break;
            }
            fs::remove_file(path).unwrap_or(());
            bytes -= len;
        }
        before - bytes
    }

    /// What it holds, by folder.
    pub fn usage(&self) -> Result<Vec<(String, Usage)>> {
        let failed = |source| Error::Cache { path: self.directory.clone(), source };
        let mut folders = Vec::new();
        for folder in entries(&self.directory) {
            let mut usage = Usage::default();
            for entry in entries(&folder.path()) {
                usage.objects += 1;
                usage.bytes += entry.metadata().map_err(failed)?.len();
            }
            folders.push((folder.file_name().to_string_lossy().into_owned(), usage));
        }
        folders.sort();
        Ok(folders)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.trim();
    }
}

impl Ord for Usage {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.bytes, self.objects).cmp(&(other.bytes, other.objects))
    }
}

impl PartialOrd for Usage {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn entries(folder: &Path) -> Vec<DirEntry> {
    fs::read_dir(folder).map(|entries| entries.flatten().collect()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only a cache of open files.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackId;

    fn pack(n: u8) -> ObjectName {
        ObjectName::pack(Class::Names, &PackId::new([n; 32]))
    }

    #[test]
    fn a_copy_is_whole_or_gone() {
        let tmp = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(tmp.path().join("x"), u64::MAX);
        let name = ObjectName::parse("index/00ff").unwrap();
        assert_eq!(shelf.read(&name), None);
        shelf.keep(&name, b"content");
        assert_eq!(shelf.read(&name).as_deref(), Some(&b"content"[..]));
        let path = shelf.path(&name);
        let stored = fs::read(&path).unwrap();
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap().write_all(&damaged).unwrap();
            assert_eq!(shelf.read(&name), None, "byte {at}");
            assert!(!path.exists());
        }
        // One object's copy under another one's name.
        shelf.keep(&name, b"content");
        let other = ObjectName::parse("index/00fe").unwrap();
        fs::copy(&path, shelf.path(&other)).unwrap();
        assert_eq!(shelf.read(&other), None);
    }

    #[test]
    fn the_oldest_packs_go_first_and_segments_stay() {
        let tmp = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(tmp.path().to_owned(), u64::MAX);
        let segment = ObjectName::parse("index/0a").unwrap();
        shelf.keep(&segment, &[0; 5000]);
        for n in 0..4 {
            shelf.keep(&pack(n), &[n; 1000]);
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: 1000 + i64::from(n), tv_nsec: 0 },
            };
            utimensat(CWD, shelf.path(&pack(n)), &times, AtFlags::empty()).unwrap();
        }
        // Use makes it the youngest.
        assert_eq!(shelf.pack(&pack(0)).unwrap().bytes, 1000);
        assert_eq!(shelf.trim_to(2100), 2 * 1032);
        let kept: Vec<bool> = (0..4).map(|n| shelf.read(&pack(n)).is_some()).collect();
        assert_eq!(kept, [true, false, false, true]);
        assert!(shelf.read(&segment).is_some());
        shelf.retain("index", []);
        assert!(shelf.read(&segment).is_none());
    }
}
