//! A snapshot as one tree: its trees laid over each other, and its streams among them as the files that they become. It must never show two
//! things under one name: a stream goes before trees, and a tree before those behind it. The format lets no two roots hold one path, and
//! where a manifest claims so all the same a dump reads what is shown here; a restore, which writes streams first, leaves the last tree's.

use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::entry::{Entry, EntryKind, join, split};
use crate::format::lists::Content;
use crate::format::manifest::ROOT_STREAM;
use crate::format::tree::TreeRoot;
use crate::format::wire::Time;
use crate::id::SnapshotId;
use crate::repository::entries::stream_entry;
use crate::view::leaves::{Children, Found, Leaves};
use crate::view::reading::Reading;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A snapshot that somebody looks into.
pub struct Opened {
    /// Its id.
    pub id: SnapshotId,
    /// Its time.
    pub time: Time,
    /// Entries in all its trees, and streams.
    pub entries: u64,
    /// Content of all of these, bytes.
    pub bytes: u64,
    trees: Vec<TreeRoot>,
    /// Streams and the directories that they lie in, by directory and name.
    streams: HashMap<Vec<u8>, BTreeMap<Vec<u8>, Beside>>,
}

/// What is there because of streams.
#[derive(Clone)]
enum Beside {
    Directory,
    Stream(Arc<(Entry, Option<Content>)>),
}

/// What is under a name in a snapshot.
#[derive(Clone)]
pub enum Thing {
    /// An entry of its tree with this number.
    Entry(usize, Found),
    /// A stream.
    Stream(Arc<(Entry, Option<Content>)>),
    /// A directory that is only there for what lies in it.
    Directory,
}

impl Thing {
    /// The entry, where it has one.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Thing::Entry(_, found) => Some(found.entry()),
            Thing::Stream(stream) => Some(&stream.0),
            Thing::Directory => None,
        }
    }

    /// Its content, where it has one.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Thing::Entry(_, found) => found.content(),
            Thing::Stream(stream) => stream.1.as_ref(),
            Thing::Directory => None,
        }
    }

    /// What it is.
    pub fn kind(&self) -> EntryKind {
        self.entry().map_or(EntryKind::Directory, |entry| entry.kind)
    }
}

impl Opened {
    /// Nothing is read for it.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut streams: HashMap<Vec<u8>, BTreeMap<Vec<u8>, Beside>> = HashMap::new();
        let (mut entries, mut bytes) = (0u64, 0u64);
        for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
            bytes = bytes.saturating_add(index.bytes);
            entries = entries.saturating_add(index.entries.max(1));
            if names.kind != ROOT_STREAM {
                continue;
            }
            let Some((dir, entry)) = stream_entry(names, index.bytes) else { continue };
            let name = entry.name.0.clone();
            streams.entry(dir.clone()).or_default().insert(name, Beside::Stream(Arc::new((entry, index.content.clone()))));
            let mut path = dir.as_slice();
            while !path.is_empty() {
                let (above, name) = split(path);
                // Two streams of which one lies in the other: the format forbids it, and a manifest may claim it.
                streams.entry(above.to_vec()).or_default().entry(name.to_vec()).or_insert(Beside::Directory);
                path = above;
            }
        }
        let trees = snapshot.index.roots.iter().filter_map(|root| root.as_tree()).collect();
        Opened { id: snapshot.id, time: snapshot.index.time, entries, bytes, trees, streams }
    }

    fn beside(&self, dir: &[u8], name: &[u8]) -> Option<&Beside> {
        self.streams.get(dir)?.get(name)
    }

    /// What is under a name.
    pub fn find(&self, leaves: &Leaves, reading: &Reading, dir: &[u8], name: &[u8]) -> Result<Option<Thing>> {
        let beside = self.beside(dir, name);
        if let Some(Beside::Stream(stream)) = beside {
            return Ok(Some(Thing::Stream(stream.clone())));
        }
        let mut failure = None;
        for (number, root) in self.trees.iter().enumerate() {
            match leaves.find(reading, root, dir, name) {
                Ok(Some(found)) => return Ok(Some(Thing::Entry(number, found))),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match (beside, failure) {
            // Whether a tree has it, and lets nobody but its owner in, cannot be known: a bare directory would let everybody in.
            (_, Some(error)) => Err(error),
            (Some(_), None) => Ok(Some(Thing::Directory)),
            (None, None) => Ok(None),
        }
    }

    /// Calls `each` with name and thing for all that a directory holds behind the name `after`, in the order of names, until it says `false`.
    /// Part that cannot be read is passed over and told to `torn`. With it goes a directory of streams that may be in it.
    pub fn list(
        &self,
        (leaves, reading): (&Leaves, &Reading),
        dir: &[u8],
        after: Option<&[u8]>,
        mut each: impl FnMut(&[u8], Thing) -> bool,
        mut torn: impl FnMut(crate::error::Error),
    ) {
        let mut trees: Vec<Children<'_>> = self.trees.iter().map(|root| Children::new(leaves, reading, root, dir, after)).collect();
        let mut heads: Vec<Option<Found>> = Vec::with_capacity(trees.len());
        let is_torn = Cell::new(false);
        let mut next = |tree: &mut Children<'_>| loop {
            match tree.next() {
                Ok(found) => return found,
                Err(error) => {
                    is_torn.set(true);
                    torn(error);
                }
            }
        };
        for tree in &mut trees {
            heads.push(next(tree));
        }
        let none = BTreeMap::new();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut streams = self.streams.get(dir).unwrap_or(&none).range::<[u8], _>((from, Bound::Unbounded)).peekable();
        loop {
            let first =
                heads.iter().flatten().map(|found| found.entry().name.0.as_slice()).chain(streams.peek().map(|(n, _)| n.as_slice()));
            let Some(name) = first.min().map(<[u8]>::to_vec) else { return };
            let beside = streams.next_if(|(n, _)| **n == name).map(|(_, beside)| beside.clone());
            let mut thing = match &beside {
                Some(Beside::Stream(stream)) => Some(Thing::Stream(stream.clone())),
                _ => None,
            };
            for (number, head) in heads.iter_mut().enumerate() {
                if let Some(found) = head.take_if(|found| found.entry().name.0 == name) {
                    thing = thing.or(Some(Thing::Entry(number, found)));
                    *head = next(&mut trees[number]);
                }
            }
            let thing = match thing {
                Some(thing) => thing,
                // Where part of a tree cannot be read, that may be where this name is.
                None if is_torn.get() => match self.find(leaves, reading, dir, &name) {
                    Ok(Some(thing)) => thing,
                    _ => continue,
                },
                None => Thing::Directory,
            };
            if !each(&name, thing) {
                return;
            }
        }
    }

    /// The path of a name in a directory; without a name, that of the directory.
    pub fn path_of(dir: &[u8], name: &[u8]) -> Vec<u8> {
        if name.is_empty() { dir.to_vec() } else { join(dir, name) }
    }
}
