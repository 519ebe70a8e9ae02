//! `--as-path`: one root stored under another path than its own. The order of entries stays, since all of them move together.
//! Directories that lead to the new place are made up: nobody asked for them, and the real ones are elsewhere.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, join, split};
use crate::source::WalkEntry;
use crate::source::roots::Root;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Moves entries of one root.
pub struct AsPath {
    from: Vec<u8>,
    to: Vec<u8>,
    started: bool,
    last: Option<(Arc<[u8]>, Arc<[u8]>)>,
}

/// What became of an entry.
pub enum Moved {
    /// It only led to the root; it is left out.
    Dropped,
    /// It has its new place. Before it come these directories, the first time.
    Placed(Vec<(Arc<[u8]>, Entry)>),
}

impl AsPath {
    /// Moves `paths`, of which there must be one, to `to`.
    pub fn new(paths: &[PathBuf], to: &Path) -> Result<Self> {
        let wrong = |what: &str| Error::Option { what: what.to_owned() };
        let [from] = paths else { return Err(wrong("another path to store under goes with exactly one path to back up")) };
        if !to.is_absolute() {
            return Err(wrong("the path to store under must be absolute"));
        }
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let stored = |path: &Path| Root::new(path, &cwd).map(|root| root.path);
        let (from, to) = (stored(from), stored(to));
        let from = from.ok_or_else(|| wrong("the path to back up is none"))?;
        let to = to.ok_or_else(|| wrong("the path to store under is none"))?;
        Ok(AsPath { from, to, started: false, last: None })
    }

    /// Moves one entry.
    pub fn apply(&mut self, walk: &mut WalkEntry) -> Moved {
        let path = join(&walk.dir, &walk.entry.name.0);
        let inside = self.from.is_empty() || walk.dir[..] == self.from[..] || walk.dir.starts_with(&[&self.from[..], b"/"].concat());
        if !inside && path != self.from {
            return Moved::Dropped;
        }
        let mut before = Vec::new();
        if !self.started {
            self.started = true;
            // The root directory of the system has no entry of its own: its new place is made up like what leads to it.
            let leads = if inside { self.to.clone() } else { split(&self.to).0.to_vec() };
            let mut dir = Vec::new();
            for name in leads.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
                let mut entry = Entry::new(name, EntryKind::Directory);
                entry.mode = 0o755;
                entry.implied = true;
                before.push((Arc::from(&dir[..]), entry));
                dir = join(&dir, name);
            }
        }
        if !inside {
            let (dir, name) = split(&self.to);
            if name.is_empty() {
                return Moved::Dropped;
            }
            walk.dir = dir.into();
            walk.real_name = Some(std::mem::replace(&mut walk.entry.name.0, name.to_vec()).into());
            return Moved::Placed(before);
        }
        let moved = match &self.last {
            Some((old, new)) if Arc::ptr_eq(old, &walk.dir) => new.clone(),
            _ => {
                let below = if self.from.is_empty() { &walk.dir[..] } else { walk.dir.get(self.from.len() + 1..).unwrap_or_default() };
                let new: Arc<[u8]> = if below.is_empty() { self.to[..].into() } else { join(&self.to, below).into() };
                self.last = Some((walk.dir.clone(), new.clone()));
                new
            }
        };
        walk.dir = moved;
        Moved::Placed(before)
    }
}
