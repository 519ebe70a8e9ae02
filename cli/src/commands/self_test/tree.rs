//! A tree of files that is the same each time: made in a place, and compared with one that was restored, byte by byte.
//! It must never compare a file with a copy of it: what it should be is made anew, so that a disk or memory that lies is seen.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// Lines that compress.
    Text(u64),
    /// What does not.
    Noise(u64),
    /// A hole, with something at its end.
    Sparse(u64),
}

/// A random sequence that is the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What stands at the end of a sparse file.
const TAIL: &[u8] = b"the end of a hole";

/// The bytes of a content, but for holes.
pub fn bytes(content: Content, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let (Content::Text(len) | Content::Noise(len) | Content::Sparse(len)) = content;
    let len = usize::try_from(len).unwrap_or(0);
    let mut out = Vec::with_capacity(len + 64);
    match content {
        Content::Text(_) => {
            while out.len() < len {
                let row = dice.next();
                out.extend_from_slice(format!("{}\t{:x}\tthe quick brown fox\t{}\n", row % 100_000, row >> 40, row % 7).as_bytes());
            }
        }
        Content::Noise(_) => {
            while out.len() < len {
                out.extend_from_slice(&dice.next().to_le_bytes());
            }
        }
        Content::Sparse(_) => return TAIL.to_vec(),
    }
    out.truncate(len);
    out
}

/// Files of the tree: path, content, seed, mode.
fn files() -> Vec<(PathBuf, Content, u64, u32)> {
    let name = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut files = vec![
        (name(b"empty"), Content::Text(0), 0, 0o600),
        (name(b"one byte"), Content::Noise(1), 1, 0o444),
        (name(b"large.sql"), Content::Text(24 << 20), 2, 0o640),
        (name(b"large.jpg"), Content::Noise(24 << 20), 3, 0o644),
        (name(b"sparse.img"), Content::Sparse(64 << 20), 4, 0o644),
        (name(b"line\nfeed"), Content::Text(100), 5, 0o644),
        (name(&[b'n'; 255]), Content::Text(3000), 6, 0o755),
        (name(b"deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/bottom"), Content::Noise(5000), 7, 0o644),
    ];
    for directory in 0..30u64 {
        for file in 0..50u64 {
            let seed = 1000 + directory * 50 + file;
            let len = Dice(seed).next() % 12_000;
            let content = if file % 3 == 0 { Content::Noise(len) } else { Content::Text(len) };
            files.push((PathBuf::from(format!("small/{directory:02}/{file:02}.txt")), content, seed, 0o644));
        }
    }
    files
}

/// What some file systems refuse: the tree has them where it can.
const ODD: &[u8] = b"not \xff\xfe text";

/// What the tree takes: files and bytes, holes left out.
pub struct Made {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

fn write(path: &Path, content: Content, seed: u64, mode: u32) -> io::Result<u64> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create_new(path)?;
    let bytes = bytes(content, seed);
    match content {
        Content::Sparse(len) => file.write_all_at(&bytes, len - bytes.len() as u64)?,
        _ => file.write_all(&bytes)?,
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(bytes.len() as u64)
}

/// Makes the tree.
pub fn make(top: &Path) -> io::Result<Made> {
    let mut made = Made { files: 0, bytes: 0 };
    fs::create_dir_all(top.join("an empty directory"))?;
    for (path, content, seed, mode) in files() {
        made.bytes += write(&top.join(path), content, seed, mode)?;
        made.files += 1;
    }
    if write(&top.join(OsStr::from_bytes(ODD)), Content::Text(77), 8, 0o644).is_ok() {
        made.files += 1;
    }
    std::os::unix::fs::symlink("small/00/00.txt", top.join("a symlink")).unwrap_or(());
    if fs::hard_link(top.join("one byte"), top.join("the same byte")).is_ok() {
        made.files += 1;
    }
    Ok(made)
}

/// What differs between the tree as it was made and as it was restored: the first difference, in words.
pub fn difference(made: &Path, restored: &Path) -> io::Result<Option<String>> {
    for (path, content, seed, _) in files() {
        if !same_bytes(&restored.join(&path), content, seed)? {
            return Ok(Some(format!("{} has other content", path.display())));
        }
    }
    let (left, right) = (names(made)?, names(restored)?);
    if let Some(name) = left.symmetric_difference(&right).next() {
        return Ok(Some(format!("{} is in one of them only", name.display())));
    }
    for name in &left {
        let (a, b) = (fs::symlink_metadata(made.join(name))?, fs::symlink_metadata(restored.join(name))?);
        let facts = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), if m.is_dir() { 0 } else { m.len() });
        if facts(&a) != facts(&b) {
            return Ok(Some(format!("{} has other attributes", name.display())));
        }
        if a.is_symlink() && fs::read_link(made.join(name))? != fs::read_link(restored.join(name))? {
            return Ok(Some(format!("{} leads elsewhere", name.display())));
        }
        if !a.is_dir() && (a.nlink() > 1) != (b.nlink() > 1) {
            return Ok(Some(format!("{} is linked otherwise", name.display())));
        }
    }
    Ok(None)
}

fn names(top: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(top.join(&dir))? {
            let entry = entry?;
            let name = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                todo.push(name.clone());
            }
            found.insert(name);
        }
    }
    Ok(found)
}

/// Whether a file holds what it should.
fn same_bytes(path: &Path, content: Content, seed: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let should = bytes(content, seed);
    if let Content::Sparse(len) = content {
        let mut tail = vec![0; should.len()];
        file.read_exact_at(&mut tail, len - should.len() as u64)?;
        let mut rest = len - should.len() as u64;
        let mut some = vec![0; 1 << 20];
        while rest > 0 {
            let want = some.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            file.read_exact(&mut some[..want])?;
            if some[..want].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            rest -= want as u64;
        }
        return Ok(tail == should && file.metadata()?.len() == len);
    }
    let mut have = Vec::with_capacity(should.len() + 1);
    file.take(should.len() as u64 + 1).read_to_end(&mut have)?;
    Ok(have == should)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("seabed-tree-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).unwrap_or(());
        path
    }

    /// A comparison that finds nothing is worth what it can find.
    #[test]
    fn a_difference_is_seen() {
        let top = place("made");
        make(&top).unwrap();
        assert_eq!(difference(&top, &top).unwrap(), None);
        let flipped = top.join("small/07/07.txt");
        let times = fs::metadata(&flipped).unwrap().modified().unwrap();
        let mut bytes = fs::read(&flipped).unwrap();
        bytes[5] ^= 1;
        fs::write(&flipped, bytes).unwrap();
        File::options().write(true).open(&flipped).unwrap().set_modified(times).unwrap();
        assert!(difference(&top, &top).unwrap().unwrap().contains("07.txt"));
        fs::remove_dir_all(&top).unwrap();
    }
}
