//! All roots of a snapshot as one: everything at and below a path, streams as the files that they become, in the order of the format, and
//! what of it is not read yet. Trees are opened only where they have to be, so that whoever compares two can pass over what both have.

use crate::catalog::Snapshot;
use crate::chunk::Profile;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, compare, compare_dirs, join, split};
use crate::format::lists::Content;
use crate::format::manifest::{IndexRoot, ROOT_STREAM};
use crate::format::tree::{Group, TreeRoot};
use crate::pack::reader::ChunkReader;
use crate::repository::entries::{find_in_tree, is_below, stream_entry};
use crate::repository::tree::{TreeCursor, Twins};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::IntoIter;

/// An entry, and where it is.
pub struct Item {
    /// Its directory, from the path that was asked for on; empty for that path itself.
    pub dir: Arc<[u8]>,
    /// It is the path itself that was asked for.
    pub own: bool,
    /// It is a stream: its entry is made up, its time is that of the run.
    pub is_stream: bool,
    /// The entry.
    pub entry: Entry,
    /// Its content, where it has one and lists are read.
    pub content: Option<Content>,
}

impl Item {
    /// Directory and name. What was asked for itself comes before everything below it.
    pub fn key(&self) -> (&[u8], &[u8]) {
        if self.own { (b"", b"") } else { (&self.dir, &self.entry.name.0) }
    }

    /// Its path, from the one that was asked for on.
    pub fn path(&self) -> Vec<u8> {
        let (dir, name) = self.key();
        join(dir, name)
    }
}

/// What comes first, with the least that its key can be.
#[doc(hidden)]
pub enum Head<'s> {
    /// An entry.
    Entry {
        /// Its key.
        key: (&'s [u8], &'s [u8]),
    },
    /// A node or leaf that is not read yet.
    Unread {
        /// 0 for a leaf.
        level: u8,
        /// Its ids.
        twins: Twins,
        /// No entry in it has a lesser key; `None`: nobody knows.
        least: Option<(&'s [u8], &'s [u8])>,
        /// All entries in it have lesser keys; `None`: nobody knows.
        end: Option<(&'s [u8], &'s [u8])>,
    },
}

impl<'s> Head<'s> {
    /// The least that its key can be; `None` stands before all.
    pub fn least(&self) -> Option<(&'s [u8], &'s [u8])> {
        match self {
            Head::Entry { key } => Some(*key),
            Head::Unread { least, .. } => *least,
        }
    }

    /// Whether it has to be read first.
    pub fn is_unread(&self) -> bool {
        matches!(self, Head::Unread { .. })
    }
}

/// Compares what heads have for keys: nothing known stands before all.
#[doc(hidden)]
pub fn compare_least(a: Option<(&[u8], &[u8])>, b: Option<(&[u8], &[u8])>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
    }
}

/// Entries of one directory that are not passed yet.
type Rest = (Arc<[u8]>, IntoIter<(Entry, Option<Content>)>);

/// The part of one tree that was asked for.
struct TreeRun<'r> {
    cursor: TreeCursor<'r>,
    prefix: Vec<u8>,
    groups: IntoIter<Group>,
    group: Option<Rest>,
    next: Option<Item>,
    ended: bool,
}

/// Where a directory stands to the path that was asked for.
enum Place<'d> {
    Before,
    Within(&'d [u8]),
    Behind,
}

fn place<'d>(prefix: &[u8], dir: &'d [u8]) -> Place<'d> {
    if !is_below(prefix, dir) {
        return if compare_dirs(dir, prefix) == Ordering::Greater { Place::Behind } else { Place::Before };
    }
    // With the slash behind the prefix, where there is one.
    let from = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
    Place::Within(dir.get(from..).unwrap_or_default())
}

impl<'r> TreeRun<'r> {
    fn new(reader: &'r ChunkReader, root: &TreeRoot, prefix: &[u8], names_only: bool) -> Result<Self> {
        let mut cursor = TreeCursor::new(reader, root);
        if names_only {
            cursor = cursor.names_only();
        }
        let mut next = None;
        let mut ended = false;
        if !prefix.is_empty() {
            if let Some((entry, content)) = find_in_tree(reader, root, prefix)? {
                ended = entry.kind != EntryKind::Directory;
                next = Some(Item { dir: Arc::from(&b""[..]), own: true, is_stream: false, entry, content });
            }
            cursor.seek(prefix, b"")?;
        }
        Ok(TreeRun { cursor, prefix: prefix.to_vec(), groups: Vec::new().into_iter(), group: None, next, ended })
    }

    /// Makes the next entry of what is read the next one, where there is one.
    fn fill(&mut self) {
        while self.next.is_none() && !self.ended {
            if let Some((dir, entries)) = &mut self.group {
                if let Some((entry, content)) = entries.next() {
                    self.next = Some(Item { dir: dir.clone(), own: false, is_stream: false, entry, content });
                    return;
                }
                self.group = None;
            }
            let Some(group) = self.groups.next() else { return };
            match place(&self.prefix, &group.dir) {
                Place::Before => {}
                Place::Within(dir) => self.group = Some((dir.into(), group.entries.into_iter())),
                Place::Behind => self.ended = true,
            }
        }
    }

    fn head(&mut self) -> Option<Head<'_>> {
        self.fill();
        if let Some(next) = &self.next {
            return Some(Head::Entry { key: next.key() });
        }
        if self.ended {
            return None;
        }
        let ahead = self.cursor.ahead()?;
        let least = match ahead.first.map(|(dir, name)| (place(&self.prefix, dir), name)) {
            Some((Place::Behind, _)) => return None,
            Some((Place::Within(dir), name)) => Some((dir, name)),
            // With a path, what comes first there may stand anywhere in it.
            Some((Place::Before, _)) | None => None,
        };
        let end = match ahead.end.map(|(dir, name)| (place(&self.prefix, dir), name)) {
            Some((Place::Within(dir), name)) => Some((dir, name)),
            Some((Place::Before, _)) => Some((&b""[..], &b""[..])),
            Some((Place::Behind, _)) | None => None,
        };
        Some(Head::Unread { level: ahead.level, twins: ahead.twins, least, end })
    }

    fn open(&mut self) -> Result<()> {
        let groups = self.cursor.open()?;
        if !groups.is_empty() {
            self.groups = groups.into_iter();
        }
        Ok(())
    }
}

enum Run<'r> {
    Tree(Box<TreeRun<'r>>),
    Streams(VecDeque<Item>),
}

impl Run<'_> {
    fn head(&mut self) -> Option<Head<'_>> {
        match self {
            Run::Tree(tree) => tree.head(),
            Run::Streams(items) => items.front().map(|item| Head::Entry { key: item.key() }),
        }
    }

    fn take(&mut self) -> Option<Item> {
        match self {
            Run::Tree(tree) => {
                tree.fill();
                tree.next.take()
            }
            Run::Streams(items) => items.pop_front(),
        }
    }
}

/// What a snapshot has at and below a path.
#[doc(hidden)]
#[derive(Default)]
pub struct Merged<'r> {
    runs: Vec<Run<'r>>,
    /// Nodes and leaves that were read.
    pub read: u64,
}

impl<'r> Merged<'r> {
    /// At the beginning. Only roots that `wanted` takes; entries come without content where only names are read.
    pub fn new(
        reader: &'r ChunkReader,
        snapshot: &Snapshot,
        path: &[u8],
        names_only: bool,
        wanted: impl Fn(&IndexRoot) -> bool,
    ) -> Result<Self> {
        let mut streams: Vec<Item> = Vec::new();
        let mut runs = Vec::new();
        for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots).filter(|(index, _)| wanted(index)) {
            if let Some(root) = index.as_tree() {
                runs.push(Run::Tree(Box::new(TreeRun::new(reader, &root, path, names_only)?)));
            } else if names.kind == ROOT_STREAM
                && let Some((_, mut entry)) = stream_entry(names, index.bytes)
            {
                // As it was cut: its entry is made up.
                entry.profile = Profile::Fine.code();
                let own = names.name.0 == path;
                let Place::Within(below) = place(path, &names.name.0) else { continue };
                let dir = if own { &b""[..] } else { split(below).0 };
                let content = index.content.clone().filter(|_| !names_only);
                streams.push(Item { dir: dir.into(), own, is_stream: true, entry, content });
            }
        }
        streams.sort_by(|a, b| compare(a.key(), b.key()));
        if !streams.is_empty() {
            runs.push(Run::Streams(streams.into()));
        }
        let mut merged = Merged { runs, read: 0 };
        if !path.is_empty() && !merged.holds_any()? {
            return Err(Error::NoSuchPath { snapshot: snapshot.id, path: String::from_utf8_lossy(path).into_owned() });
        }
        Ok(merged)
    }

    fn holds_any(&mut self) -> Result<bool> {
        loop {
            match self.head() {
                None => return Ok(false),
                Some((_, Head::Entry { .. })) => return Ok(true),
                Some((run, Head::Unread { .. })) => self.open(run)?,
            }
        }
    }

    /// What comes first, and in which run. Before an entry comes what may hold another one of the same key.
    pub fn head(&mut self) -> Option<(usize, Head<'_>)> {
        let heads = self.runs.iter_mut().enumerate().filter_map(|(run, r)| Some((run, r.head()?)));
        heads.min_by(|(_, a), (_, b)| compare_least(a.least(), b.least()).then(b.is_unread().cmp(&a.is_unread())))
    }

    /// Whether all entries of what stands unread in `run` come before those of any other run.
    pub fn is_alone(&mut self, run: usize) -> bool {
        if self.runs.len() == 1 {
            return true;
        }
        let end = match self.runs.get_mut(run).and_then(Run::head) {
            Some(Head::Unread { end, .. }) => end.map(|(dir, name)| (dir.to_vec(), name.to_vec())),
            _ => return false,
        };
        let mut others = self.runs.iter_mut().enumerate().filter(|(other, _)| *other != run);
        others.all(|(_, other)| match (other.head().map(|head| head.least()), &end) {
            (None, _) => true,
            (Some(least), Some((dir, name))) => least.is_some_and(|least| compare(least, (dir, name)) != Ordering::Less),
            (Some(_), None) => false,
        })
    }

    /// Reads what stands unread in `run`.
    pub fn open(&mut self, run: usize) -> Result<()> {
        self.read += 1;
        match self.runs.get_mut(run) {
            Some(Run::Tree(tree)) => tree.open(),
            _ => Ok(()),
        }
    }

    /// Passes over what stands unread in `run`.
    pub fn pass(&mut self, run: usize) {
        if let Some(Run::Tree(tree)) = self.runs.get_mut(run) {
            tree.cursor.pass();
        }
    }

    /// Takes the entry that comes first, where that is read. Several under one key, which only several roots can have, the format forbids.
    /// Where a manifest claims them all the same, one that only leads to something gives way, a stream goes before trees, and of trees the
    /// last one's is taken. (A restore writes streams first, so that it leaves the last tree's.)
    pub fn take(&mut self) -> Option<Item> {
        let (run, _) = self.head().filter(|(_, head)| !head.is_unread())?;
        let mut best = self.runs.get_mut(run)?.take()?;
        for other in &mut self.runs {
            let same = other.head().is_some_and(|head| !head.is_unread() && head.least() == Some(best.key()));
            if same && let Some(item) = other.take().filter(|item| !item.entry.implied || best.entry.implied) {
                best = item;
            }
        }
        Some(best)
    }

    /// The next entry, read where it has to be.
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        loop {
            match self.head() {
                None => return Ok(None),
                Some((_, Head::Entry { .. })) => return Ok(self.take()),
                Some((run, Head::Unread { .. })) => self.open(run)?,
            }
        }
    }
}
