//! Which entries of a snapshot go: those that a backup of the same paths with the same patterns would not have stored.
//! What lies below something that goes, goes; what is only there because a path below it was asked for stays, as it does in a backup.

use crate::catalog::Snapshot;
use crate::format::entry::join;
use crate::format::manifest::ROOT_PATHS;
use crate::repository::entries::is_below;
use crate::source::Excludes;

/// The patterns, and the paths that a snapshot was asked for.
pub struct Sieve<'f> {
    excludes: &'f Excludes,
    tops: Vec<Vec<u8>>,
}

/// The paths that a snapshot was asked for, as stored. None where it is not of paths.
pub fn tops(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let of_paths = snapshot.index.roots.iter().any(|root| root.kind == ROOT_PATHS);
    let stored = |path: &[u8]| path.strip_prefix(b"/").unwrap_or(path).to_vec();
    if of_paths { snapshot.names.paths.iter().map(|path| stored(&path.0)).collect() } else { Vec::new() }
}

impl<'f> Sieve<'f> {
    /// Of these patterns, for the snapshot.
    pub fn new(excludes: &'f Excludes, snapshot: &Snapshot) -> Self {
        Sieve { excludes, tops: tops(snapshot) }
    }

    /// Whether nothing goes, whatever there is.
    pub fn is_open(&self) -> bool {
        self.excludes.is_empty()
    }

    /// Whether what is at `path` goes; all above it is known to stay.
    fn takes(&self, path: &[u8]) -> bool {
        let is_above = |top: &Vec<u8>| top.len() > path.len() && is_below(path, top);
        let is_top = self.tops.iter().any(|top| top == path);
        // Nobody asked for a directory above a path: patterns are about what lies at and below it.
        if !is_top && self.tops.iter().any(is_above) && !self.tops.iter().any(|top| is_below(top, path)) {
            return false;
        }
        self.excludes.rejects(path, !is_top)
    }

    /// Whether a directory goes, or one above it.
    pub fn takes_dir(&self, dir: &[u8]) -> bool {
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        !self.is_open() && !dir.is_empty() && ends.chain([dir.len()]).any(|end| self.takes(&dir[..end]))
    }

    /// Whether an entry goes of a directory that stays.
    pub fn takes_entry(&self, dir: &[u8], name: &[u8]) -> bool {
        !self.is_open() && self.takes(&join(dir, name))
    }
}
