//! What a restore with `delete` takes away: all that the target's directories hold and the snapshot does not have there.
//! Comes after every file is in its place, and not at all where part of the snapshot's names cannot be read: what only looks surplus may
//! be the last copy. Of a directory that the backup could not list nobody knows what belongs into it.

use crate::error::{Error, Result};
use crate::format::entry::{EntryKind, STATUS_OK, compare_dirs, join, split};
use crate::format::manifest::{ROOT_STREAM, ROOT_TAR};
use crate::repository::entries::{find_content, is_below, place_of};
use crate::repository::selector::Selected;
use crate::repository::tree::TreeCursor;
use crate::restore::work::Shared;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

/// Refuses to take away everything beside a single file.
pub fn refuse_single_file(shared: &Shared<'_>, selected: &Selected) -> Result<()> {
    if selected.path.is_empty() {
        return Ok(());
    }
    match find_content(shared.reader, &selected.snapshot, &selected.path) {
        Ok(Some((entry, _))) if entry.kind != EntryKind::Directory => {
            let path = String::from_utf8_lossy(&selected.path).into_owned();
            Err(Error::Refused { what: format!("`/{path}` is no directory: with --delete everything beside it would go") })
        }
        _ => Ok(()),
    }
}

/// Walks the names once more and takes away what is not among them.
pub fn prune(shared: &Shared<'_>, selected: &Selected) -> Result<()> {
    let names = &selected.snapshot.names;
    let streams = names.roots.iter().filter(|root| root.kind == ROOT_STREAM);
    let streams = streams.filter_map(|root| place_of(&selected.path, &root.name.0, false)).collect();
    let archives: Vec<&[u8]> = names.roots.iter().filter(|root| root.kind == ROOT_TAR).map(|root| trimmed(&root.name.0)).collect();
    let (unknown, torn) = (HashSet::new(), Vec::new());
    let mut prune = Prune { shared, selected, streams, current: None, open: BTreeSet::new(), unknown, torn };
    if names.summary.errors > names.failures.len() as u64 {
        shared.observer.warning("nothing was deleted: more sources could not be read for this snapshot than it names");
        return Ok(());
    }
    // Of what failed some names are not in the snapshot: those of a listing that ended halfway, of children that could not even be
    // looked at, of a source that was not there.
    for failure in &names.failures {
        let path = &failure.path.0;
        if !names.paths.iter().any(|root| is_below(trimmed(&root.0), trimmed(path))) {
            // Stored elsewhere than it was (`--as-path`): where, the failure does not say.
            shared.observer.warning("nothing was deleted: the snapshot does not say where what could not be read would be in it");
            return Ok(());
        }
        // Of an archive as a whole nobody knows where in it what is missing would be.
        if archives.contains(&trimmed(path)) {
            let all = is_below(trimmed(path), &selected.path).then(Vec::new);
            prune.torn.extend(all.or_else(|| place_of(&selected.path, trimmed(path), true)));
        }
        prune.unknown.extend(place_of(&selected.path, trimmed(path), true));
        let mut above = trimmed(path);
        while !above.is_empty() {
            above = split(above).0;
            prune.unknown.extend(place_of(&selected.path, above, true));
        }
    }
    // What leads to an archive, others may have names in too.
    for archive in &archives {
        let mut above = *archive;
        while !above.is_empty() {
            above = split(above).0;
            prune.unknown.extend(place_of(&selected.path, above, true));
        }
    }
    // Above the sources nobody looked around.
    if selected.path.is_empty() && !names.paths.iter().any(|root| trimmed(&root.0).is_empty()) {
        prune.unknown.insert(Vec::new());
    }
    prune.trees()?;
    prune.end()?;
    // Directories in which the tree has no name: empty ones.
    for dir in std::mem::take(&mut prune.open) {
        // One that was left out as another file system looks empty in the snapshot.
        if !prune.is_mount_point(&dir)? {
            prune.remove(&dir, Vec::new())?;
        }
    }
    Ok(())
}

/// An absolute path as stored: without slashes around it.
fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().take_while(|b| **b == b'/').count();
    let end = path.iter().rev().take_while(|b| **b == b'/').count();
    path.get(start..path.len() - end.min(path.len() - start)).unwrap_or_default()
}

struct Prune<'a> {
    shared: &'a Shared<'a>,
    selected: &'a Selected,
    /// Where the streams belong.
    streams: Vec<Vec<u8>>,
    /// The directory whose names are being collected, and the names.
    current: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    /// Directories of the snapshot of which no name was met yet.
    open: BTreeSet<Vec<u8>>,
    /// Directories that the backup did not list, or not to the end.
    unknown: HashSet<Vec<u8>>,
    /// Directories below which anything may be missing.
    torn: Vec<Vec<u8>>,
}

impl Prune<'_> {
    fn trees(&mut self) -> Result<()> {
        let sub = &self.selected.path;
        for root in self.selected.snapshot.index.roots.iter().filter_map(|root| root.as_tree()) {
            let mut cursor = TreeCursor::new(self.shared.reader, &root).names_only();
            let (dir, name) = split(sub);
            cursor.seek(dir, name)?;
            'tree: while let Some(groups) = cursor.next_leaf()? {
                if self.shared.observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                for group in groups {
                    if !is_below(sub, &group.dir) {
                        if compare_dirs(&group.dir, sub) == Ordering::Greater {
                            break 'tree;
                        }
                        if group.dir != split(sub).0 {
                            continue;
                        }
                    }
                    for (entry, _) in group.entries {
                        let is_dir = entry.kind == EntryKind::Directory;
                        let Some(place) = place_of(&self.selected.path, &join(&group.dir, &entry.name.0), is_dir) else { continue };
                        if is_dir && (entry.status != STATUS_OK || entry.implied) {
                            self.unknown.insert(place.clone());
                        } else if is_dir {
                            self.open.insert(place.clone());
                        }
                        if !place.is_empty() {
                            self.keep(split(&place).0, entry.name.0)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A directory's names come one after the other; those of the one before are complete then.
    fn keep(&mut self, dir: &[u8], name: Vec<u8>) -> Result<()> {
        match &mut self.current {
            Some((current, names)) if current == dir => names.push(name),
            _ => {
                self.end()?;
                self.current = Some((dir.to_vec(), vec![name]));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let Some((dir, names)) = self.current.take() else { return Ok(()) };
        self.open.remove(&dir);
        self.remove(&dir, names)
    }

    fn is_mount_point(&self, dir: &[u8]) -> Result<bool> {
        let device = |dir: &[u8]| {
            let found = self.shared.target.existing(dir);
            found.map(|found| found.and_then(|found| rustix::fs::fstat(&found.fd).ok()).map(|stat| stat.st_dev))
        };
        match (device(dir), device(split(dir).0)) {
            (Ok(own), Ok(above)) => Ok(own != above),
            (Err(error), _) | (_, Err(error)) => self.shared.error(error).map(|()| true),
        }
    }

    fn remove(&self, dir: &[u8], mut keep: Vec<Vec<u8>>) -> Result<()> {
        if self.unknown.contains(dir) || self.torn.iter().any(|torn| is_below(torn, dir)) {
            return Ok(());
        }
        // Names that streams need here: their own, or those of the directories that lead to them.
        let below = |place: &Vec<u8>| {
            let rest = if dir.is_empty() { Some(&place[..]) } else { place.strip_prefix(dir).and_then(|r| r.strip_prefix(b"/")) };
            rest.and_then(|rest| rest.split(|b| *b == b'/').next()).map(<[u8]>::to_vec)
        };
        keep.extend(self.streams.iter().filter_map(below));
        keep.sort();
        let found = match self.shared.target.existing(dir) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => return self.shared.error(error),
        };
        match self.shared.target.remove_extra(&found, &keep) {
            Ok(removed) => self.shared.removed(removed),
            Err(error) => self.shared.error(error),
        }
    }
}
