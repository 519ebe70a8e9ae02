//! Single entries of a snapshot: the file that a stream becomes, the content under a path.
//! What listing, restoring and dumping share.

use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::entry::{Entry, EntryKind, compare_dirs, split};
use crate::format::lists::Content;
use crate::format::manifest::{NamesRoot, ROOT_STREAM};
use crate::format::tree::TreeRoot;
use crate::pack::reader::ChunkReader;
use crate::repository::tree::TreeCursor;
use std::cmp::Ordering;

/// The entry that a stream is restored as.
pub fn stream_entry(root: &NamesRoot, bytes: u64) -> Option<(Vec<u8>, Entry)> {
    let stream = root.stream.as_ref()?;
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

/// Finds one entry with its content: a stream or a file of a tree.
pub fn find_content(reader: &ChunkReader, snapshot: &Snapshot, path: &[u8]) -> Result<Option<(Entry, Option<Content>)>> {
    for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
        if names.kind == ROOT_STREAM && names.name.0 == path {
            return Ok(stream_entry(names, index.bytes).map(|(_, entry)| (entry, index.content.clone())));
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
