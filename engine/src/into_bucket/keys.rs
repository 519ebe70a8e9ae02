//! Which key an entry gets. What was backed up from a bucket gets back the key it had there; any other file the path it has.
//! It must never give two entries one key.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::entry::EntryKind;
use crate::format::manifest::ROOT_TAR;
use crate::repository::entries::is_below;
use crate::repository::merged::Item;
use crate::repository::selector::Selected;
use crate::source::objects::attributes::etag_of;
use crate::source::objects::keys::to_key;

/// The key of an entry.
pub struct Key(pub String);

/// Why an entry has none.
pub enum Lacks {
    /// It needs none: a directory that only leads to what is in it.
    Nothing,
    /// No object can be what it is.
    Key,
}

/// What of a snapshot is meant, and how its paths become keys.
pub struct Meant<'s> {
    snapshot: &'s Snapshot,
    path: Vec<u8>,
    /// It was a bucket: paths are written in its way.
    coded: bool,
}

impl<'s> Meant<'s> {
    /// What is selected. A snapshot that is a bucket and nothing else means what is in it, without the name that it has here.
    pub fn of(selected: &'s Selected) -> Result<Self> {
        let Selected { snapshot, path } = selected;
        let roots = &snapshot.names.roots;
        let buckets: Vec<&[u8]> = roots
            .iter()
            .filter(|root| root.kind == ROOT_TAR && root.stream.as_ref().is_some_and(|facts| facts.format == "s3"))
            .map(|root| &root.name.0[..])
            .collect();
        let meant = |path: &[u8], coded| Ok(Meant { snapshot, path: path.to_vec(), coded });
        match buckets.as_slice() {
            [only] if path.is_empty() && roots.len() == 1 => meant(only, true),
            all if all.iter().any(|name| is_below(name, path) && (!name.is_empty() || roots.len() == 1)) => meant(path, true),
            all => match all.iter().find(|name| is_below(path, name)) {
                None => meant(path, false),
                Some(name) => {
                    let name = String::from_utf8_lossy(name);
                    let what = format!("snapshot {} holds more than one bucket: choose one, as in SNAPSHOT:/{name}", snapshot.id.short());
                    Err(Error::Option { what })
                }
            },
        }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// The path from which on keys are made.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The key of an entry.
    pub fn key(&self, item: &Item) -> std::result::Result<Key, Lacks> {
        let is_dir = item.entry.kind == EntryKind::Directory;
        let marks = is_dir && self.coded && !item.entry.implied && !etag_of(&item.entry.xattrs).is_empty();
        match item.entry.kind {
            EntryKind::File => {}
            EntryKind::Directory if marks => {}
            EntryKind::Directory => return Err(Lacks::Nothing),
            _ => return Err(Lacks::Key),
        }
        // What was selected itself: a directory becomes the target, a file goes into it under its name.
        let path = if item.own && !is_dir { item.entry.name.0.clone() } else { item.path() };
        let key = match (self.coded, &path[..]) {
            (true, b"") => Some(Vec::new()),
            (true, path) => to_key(path),
            (false, path) => Some(path.to_vec()),
        };
        let mut key = key.and_then(|key| String::from_utf8(key).ok()).ok_or(Lacks::Key)?;
        if is_dir && !path.is_empty() {
            key.push('/');
        }
        Ok(Key(key))
    }
}
