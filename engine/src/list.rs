//! Listing what a snapshot holds: entries in order, from any path on, by the names side alone (spec chapter 6).
//! Streams are listed as the files that they become when restored. Nothing of a content is read.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, compare_dirs, join, split};
use crate::repository::Repository;
use crate::repository::entries::{is_below, stream_entry};
use crate::repository::merged::{Item, Merged};
use crate::repository::tree::TreeCursor;
use std::cmp::Ordering;

/// Calls `each` with directory and entry for everything at or below `path` (all of the snapshot where it is empty): first
/// streams, then trees in the order of the format. `recursive` goes below the first level. `each` returns `false` to stop.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::list;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// // Paths are stored without the first `/`, and in the order of the format: directories before what is in them.
/// let snapshot = repository.select("latest", &Default::default())?.snapshot;
/// let mut found = Vec::new();
/// list(&repository, &snapshot, b"home/ann", true, |directory, entry| {
///     found.push(format!("{}/{}", String::from_utf8_lossy(directory), String::from_utf8_lossy(&entry.name.0)));
///     Ok(true)
/// })?;
/// assert_eq!(found, ["home/ann", "home/ann/mail", "home/ann/mail/letter.txt"]);
/// # Ok(())
/// # }
/// ```
pub fn list(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    mut each: impl FnMut(&[u8], &Entry) -> Result<bool>,
) -> Result<()> {
    let mut found = path.is_empty();
    for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
        if let Some((dir, entry)) = stream_entry(names, index.bytes)
            && wanted(path, &dir, &entry, recursive)
        {
            found = true;
            if !each(&dir, &entry)? {
                return Ok(());
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

/// Calls `each` with everything at and below `path` in the order of the format, streams in their places: a directory's entries follow each
/// other, and then those of its subdirectories. Directories that only lead to a stream have no entry. `each` returns `false` to stop.
pub fn list_in_order(repository: &Repository, snapshot: &Snapshot, path: &[u8], mut each: impl FnMut(&Item) -> Result<bool>) -> Result<()> {
    let reader = repository.reader()?;
    let mut merged = Merged::new(&reader, snapshot, path, true, |_| true)?;
    while let Some(item) = merged.next_item()? {
        if !each(&item)? {
            break;
        }
    }
    Ok(())
}

fn wanted(path: &[u8], dir: &[u8], entry: &Entry, recursive: bool) -> bool {
    join(dir, &entry.name.0) == path || is_below(path, dir) && (recursive || dir == path)
}
