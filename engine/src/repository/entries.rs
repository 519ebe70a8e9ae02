//! Single entries of a snapshot: the file that a stream becomes, the content under a path, and where entries go that are brought back.
//! What listing, restoring and dumping share.

use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::entry::{Entry, EntryKind, compare_dirs, split};
use crate::format::lists::Content;
use crate::format::manifest::{NamesRoot, ROOT_STREAM};
use crate::format::tree::TreeRoot;
use crate::format::wire::to_bytes;
use crate::pack::reader::ChunkReader;
use crate::repository::tree::TreeCursor;
use std::cmp::Ordering;

/// The entry that a stream is restored as; `None` for a root that is none.
pub fn stream_entry(root: &NamesRoot, bytes: u64) -> Option<(Vec<u8>, Entry)> {
    let stream = root.stream.as_ref().filter(|_| root.kind == ROOT_STREAM)?;
    let (dir, name) = split(&root.name.0);
    let mut entry = Entry::new(name, EntryKind::File);
    entry.mode = stream.mode;
    entry.uid = stream.uid;
    entry.gid = stream.gid;
    entry.mtime = stream.mtime;
    entry.size = bytes;
    Some((dir.to_vec(), entry))
}

/// Whether `dir` is `path` or lies below it.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.is_empty() || dir.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Where a stored path goes below a target or in an archive that `sub` becomes the top of; `None` where it is not asked for.
pub fn place_of(sub: &[u8], path: &[u8], is_dir: bool) -> Option<Vec<u8>> {
    if sub.is_empty() {
        return Some(path.to_vec());
    }
    if path == sub {
        // The directory itself becomes the target, a single file goes into it.
        return Some(if is_dir { Vec::new() } else { split(path).1.to_vec() });
    }
    is_below(sub, path).then(|| path[sub.len() + 1..].to_vec())
}

/// What all members of a hard-linked file have in common besides the inode, which another file may have had before.
pub fn holds(entry: &Entry, content: Option<&Content>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    let numbers = [
        entry.kind as u64,
        entry.size,
        entry.mtime.secs.cast_unsigned(),
        u64::from(entry.mtime.nanos),
        u64::from(entry.rdev_major) << 32 | u64::from(entry.rdev_minor),
        entry.target.0.len() as u64,
    ];
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&entry.target.0).update(&content.map(to_bytes).unwrap_or_default());
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Finds one entry with its content: a stream or a file of a tree.
pub fn find_content(reader: &ChunkReader, snapshot: &Snapshot, path: &[u8]) -> Result<Option<(Entry, Option<Content>)>> {
    for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
        if names.name.0 == path
            && let Some((_, entry)) = stream_entry(names, index.bytes)
        {
            return Ok(Some((entry, index.content.clone())));
        }
    }
    for root in snapshot.index.roots.iter().filter_map(|r| r.as_tree()) {
        if let Some(found) = find_in_tree(reader, &root, path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Finds one entry of a tree with its content.
pub fn find_in_tree(reader: &ChunkReader, root: &TreeRoot, path: &[u8]) -> Result<Option<(Entry, Option<Content>)>> {
    let (dir, name) = split(path);
    let mut cursor = TreeCursor::new(reader, root);
    cursor.seek(dir, name)?;
    while let Some(groups) = cursor.next_leaf()? {
        for group in groups {
            match compare_dirs(&group.dir, dir) {
                Ordering::Less => continue,
                Ordering::Greater => return Ok(None),
                Ordering::Equal => {}
            }
            for (entry, content) in group.entries {
                match entry.name.0.as_slice().cmp(name) {
                    Ordering::Less => {}
                    Ordering::Equal => return Ok(Some((entry, content))),
                    Ordering::Greater => return Ok(None),
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::Bytes;

    /// Two symlinks of one second that had one inode after the other were taken for names of one: both were restored with the target of
    /// the first. So were two device nodes.
    #[test]
    fn names_of_one_file_have_target_and_device_in_common() {
        let link = |target: &[u8]| Entry { target: Bytes(target.to_vec()), ..Entry::new(b"l", EntryKind::Symlink) };
        let node = |rdev_major, rdev_minor| Entry { rdev_major, rdev_minor, ..Entry::new(b"n", EntryKind::CharDevice) };
        let all = [link(b"release-1"), link(b"release-2"), node(1, 2), node(1, 3), node(2, 1)].map(|entry| holds(&entry, None));
        for (at, hash) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(hash), "{at}");
        }
        let other_name = Entry { name: Bytes(b"other".to_vec()), ..link(b"release-1") };
        assert_eq!(holds(&other_name, None), all[0]);
    }
}
