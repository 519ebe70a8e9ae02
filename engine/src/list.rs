//! Listing what a snapshot holds: entries in order, from any path on, by the names side alone (spec chapter 6).
//! Streams are listed as the files that they become when restored. Nothing of a content is read.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, compare_dirs, join, split};
use crate::format::manifest::{NamesRoot, ROOT_STREAM};
use crate::pack::reader::ChunkReader;
use crate::repository::Repository;
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

/// Calls `each` with directory and entry for everything at or below `path` (all of the snapshot where it is empty): first
/// streams, then trees in the order of the format. `recursive` goes below the first level. `each` returns `false` to stop.
pub fn list(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    mut each: impl FnMut(&[u8], &Entry) -> Result<bool>,
) -> Result<()> {
    let mut found = path.is_empty();
    for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
        if names.kind == ROOT_STREAM {
            let Some((dir, entry)) = stream_entry(names, index.bytes) else { continue };
            if wanted(path, &dir, &entry, recursive) {
                found = true;
                if !each(&dir, &entry)? {
                    return Ok(());
                }
            }
        }
    }
    let reader = repository.reader()?;
    for root in snapshot.index.roots.iter().filter_map(|r| r.as_tree()) {
        // The entry itself, then its children: two places in the order, the second not before the first.
        let mut cursor = TreeCursor::new(&reader, &root).names_only();
        let (dir, name) = split(path);
        cursor.seek(dir, name)?;
        if !path.is_empty() {
            let mut is_dir = false;
            'own: while let Some(groups) = cursor.next_leaf()? {
                for group in &groups {
                    if compare_dirs(&group.dir, dir) == Ordering::Greater {
                        break 'own;
                    }
                    if let Some((entry, _)) = group.entries.iter().find(|(e, _)| group.dir == dir && e.name.0 == name) {
                        found = true;
                        is_dir = entry.kind == EntryKind::Directory;
                        if !each(&group.dir, entry)? {
                            return Ok(());
                        }
                        break 'own;
                    }
                    if group.dir == dir && group.entries.last().is_some_and(|(e, _)| e.name.0.as_slice() > name) {
                        break 'own;
                    }
                }
            }
            if !is_dir {
                continue;
            }
            cursor = TreeCursor::new(&reader, &root).names_only();
            cursor.seek(path, b"")?;
        }
        'below: while let Some(groups) = cursor.next_leaf()? {
            for group in &groups {
                if !is_below(path, &group.dir) {
                    if compare_dirs(&group.dir, path) == Ordering::Greater {
                        break 'below;
                    }
                    continue;
                }
                if !recursive && group.dir != path {
                    break 'below;
                }
                for (entry, _) in &group.entries {
                    if !each(&group.dir, entry)? {
                        return Ok(());
                    }
                }
            }
        }
    }
    if found { Ok(()) } else { Err(Error::NoSuchPath { snapshot: snapshot.id, path: String::from_utf8_lossy(path).into_owned() }) }
}

/// Whether `dir` is `path` or lies below it.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.is_empty() || dir.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn wanted(path: &[u8], dir: &[u8], entry: &Entry, recursive: bool) -> bool {
    join(dir, &entry.name.0) == path || is_below(path, dir) && (recursive || dir == path)
}

/// Finds one entry with its content: a stream or a file of a tree.
pub fn find_content(
    reader: &ChunkReader,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<Option<(Entry, Option<crate::format::lists::Content>)>> {
    for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
        if names.kind == ROOT_STREAM && names.name.0 == path {
            return Ok(stream_entry(names, index.bytes).map(|(_, entry)| (entry, index.content.clone())));
        }
    }
    let (dir, name) = split(path);
    for root in snapshot.index.roots.iter().filter_map(|r| r.as_tree()) {
        let mut cursor = TreeCursor::new(reader, &root);
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
    }
    Ok(None)
}
