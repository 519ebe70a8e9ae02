//! Entries of one tree by directory and name: a descent through nodes that are kept, to leaves that are kept. A leaf holds some hundred
//! neighbours, so that whoever asks for one most often asks for the next. It must never hold more than its bounds, nor believe a node or leaf
//! more than the node above it allows.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, compare_dirs};
use crate::format::lists::Content;
use crate::format::tree::{Group, TreeRoot};
use crate::pack::lru::Lru;
use crate::repository::tree::{Ahead, Key, Node, Twins, read_leaf};
use crate::view::reading::Reading;
use std::cmp::Ordering;
use std::sync::Arc;

/// Leaves that are kept, by what they take in memory: some thirty thousand entries, a few times what a listing of all goes through at once.
const LEAVES_BYTES: usize = 24 << 20;
/// Nodes that are kept: the way to some ten million entries.
const NODES_BYTES: usize = 8 << 20;

/// Reads leaves and nodes, and keeps those that were used last.
pub struct Leaves {
    nodes: Lru<Twins, Node>,
    leaves: Lru<Twins, Vec<Group>>,
}

/// An entry where it was decoded.
#[derive(Clone)]
pub struct Found {
    leaf: Arc<Vec<Group>>,
    group: usize,
    at: usize,
}

impl Found {
    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.leaf[self.group].entries[self.at].0
    }

    /// Its content, where it has one.
    pub fn content(&self) -> Option<&Content> {
        self.leaf[self.group].entries[self.at].1.as_ref()
    }
}

/// Part of a tree that cannot be read, and where what lies behind it begins.
pub struct Torn {
    error: Error,
    end: Option<Key>,
}

fn weigh_leaf(groups: &[Group]) -> usize {
    let content = |content: &Option<Content>| if let Some(Content::Inline(items)) = content { items.len() * 40 } else { 64 };
    let entry = |(entry, list): &(Entry, Option<Content>)| {
        let xattrs: usize = entry.xattrs.iter().map(|x| 128 + x.name.0.len() + x.value.0.len()).sum();
        let extra: usize = entry.extra.iter().map(|(_, value)| 64 + value.len()).sum();
        let bytes = [&entry.name, &entry.user, &entry.group, &entry.target].iter().map(|bytes| 16 + bytes.0.len()).sum::<usize>();
        size_of::<(Entry, Option<Content>)>() + bytes + xattrs + extra + content(list)
    };
    groups.iter().map(|group| 128 + group.dir.len() + group.entries.iter().map(entry).sum::<usize>()).sum()
}

fn weigh_node(node: &Node) -> usize {
    node.children.iter().map(|child| 240 + child.dir.0.len() + child.name.0.len()).sum()
}

impl Default for Leaves {
    fn default() -> Self {
        Leaves { nodes: Lru::new(NODES_BYTES), leaves: Lru::new(LEAVES_BYTES) }
    }
}

impl Leaves {
    /// The leaf in which (dir, name) is or would be, with the key at which the next one begins.
    fn locate(&self, reading: &Reading, root: &TreeRoot, dir: &[u8], name: &[u8]) -> Result<(Arc<Vec<Group>>, Option<Key>), Box<Torn>> {
        let mut at = Ahead::top(root);
        for level in (1..=root.level).rev() {
            let torn = |error| Box::new(Torn { error, end: at.end.clone() });
            let node = self.node(reading, level, &at).map_err(torn)?;
            match at.child(&node, node.child_for(dir, name)) {
                Some(child) => at = child,
                // A node without children does not decode.
                None => return Err(torn(Error::Interrupted)),
            }
        }
        match self.leaf(reading, &at) {
            Ok(leaf) => Ok((leaf, at.end)),
            Err(error) => Err(Box::new(Torn { error, end: at.end })),
        }
    }

    fn node(&self, reading: &Reading, level: u8, at: &Ahead) -> Result<Arc<Node>> {
        let make = || reading.with(|reader, buffers| Node::read(reader, buffers, level, at.twins));
        let node = self.nodes.get(at.twins, weigh_node, make)?;
        at.check_node(&node)?;
        Ok(node)
    }

    fn leaf(&self, reading: &Reading, at: &Ahead) -> Result<Arc<Vec<Group>>> {
        let make = || reading.with(|reader, buffers| read_leaf(reader, buffers, at.twins));
        let leaf = self.leaves.get(at.twins, |leaf: &Vec<Group>| weigh_leaf(leaf), make)?;
        at.check_leaf(&leaf)?;
        Ok(leaf)
    }

    /// The entry `name` of directory `dir`.
    pub fn find(&self, reading: &Reading, root: &TreeRoot, dir: &[u8], name: &[u8]) -> Result<Option<Found>> {
        let (leaf, _) = self.locate(reading, root, dir, name).map_err(|torn| torn.error)?;
        let found = leaf.binary_search_by(|group| compare_dirs(&group.dir, dir)).ok().and_then(|group| {
            let at = leaf[group].entries.binary_search_by(|(entry, _)| entry.name.0.as_slice().cmp(name)).ok()?;
            Some((group, at))
        });
        Ok(found.map(|(group, at)| Found { leaf, group, at }))
    }
}

/// The entries of one directory in one tree, in order.
pub struct Children<'v> {
    leaves: &'v Leaves,
    reading: &'v Reading,
    root: TreeRoot,
    dir: &'v [u8],
    /// Where to go on reading: the name from which on, in a leaf that is not read yet.
    next: Option<Vec<u8>>,
    /// Entries of the leaf that was read last: leaf, group, number of the next one.
    here: Option<(Arc<Vec<Group>>, usize, usize)>,
}

impl<'v> Children<'v> {
    /// Those behind `after`; all of them without it.
    pub fn new(leaves: &'v Leaves, reading: &'v Reading, root: &TreeRoot, dir: &'v [u8], after: Option<&[u8]>) -> Self {
        // The least name behind another one is that with a NUL at its end, which no entry has.
        let from = after.map_or(Vec::new(), |name| [name, b"\0"].concat());
        Children { leaves, reading, root: *root, dir, next: Some(from), here: None }
    }

    /// The next one. After an error what lies behind the part that cannot be read comes next.
    pub fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if let Some((leaf, group, at)) = &mut self.here {
                if *at < leaf[*group].entries.len() {
                    let found = Found { leaf: leaf.clone(), group: *group, at: *at };
                    *at += 1;
                    return Ok(Some(found));
                }
                self.here = None;
            }
            let Some(from) = self.next.take() else { return Ok(None) };
            match self.leaves.locate(self.reading, &self.root, self.dir, &from) {
                Ok((leaf, end)) => {
                    self.go_on(end);
                    if let Ok(group) = leaf.binary_search_by(|group| compare_dirs(&group.dir, self.dir)) {
                        let at = leaf[group].entries.partition_point(|(entry, _)| entry.name.0 < from);
                        self.here = Some((leaf, group, at));
                    }
                }
                Err(torn) => {
                    self.go_on(torn.end);
                    return Err(torn.error);
                }
            }
        }
    }

    /// Where the next leaf begins the directory may be over.
    fn go_on(&mut self, end: Option<Key>) {
        let is_here = |(dir, _): &Key| compare_dirs(&dir.0, self.dir) == Ordering::Equal;
        self.next = end.filter(is_here).map(|(_, name)| name.0);
    }
}
