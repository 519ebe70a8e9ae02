//! Reads entry trees and list trees: leaf by leaf in order, from the start or from a path on, in bounded memory.
//! What a hostile repository could claim (depth, order, twins that differ) is checked on the way down.

use crate::error::{Damage, Error, Result};
use crate::format::entry::compare;
use crate::format::lists::{Content, Item, ListNode, ListsChild, get_lists_node};
use crate::format::tree::{Group, NamesChild, TreeRoot, get_leaf, get_names_leaf, get_names_node};
use crate::format::wire::{Bytes, Decoded, Malformed, from_bytes};
use crate::id::{ChunkId, Class, ObjectName};
use crate::limits::TREE_LEVELS_MAX;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// What is wrong with the plaintext of a chunk, which has no object of its own: named by the folder it would be found under.
pub fn chunk_damaged(class: Class, id: &ChunkId, damage: Damage) -> Error {
    match chunk_name(class, id) {
        Some(object) => Error::Damaged { object, damage },
        None => Error::ChunkMissing { id: *id },
    }
}

fn chunk_name(class: Class, id: &ChunkId) -> Option<ObjectName> {
    ObjectName::parse(&format!("{}/chunk-{id}", class.folder()))
}

/// What does not decode is damage of the chunk.
pub fn decoded<T>(class: Class, id: &ChunkId, result: Decoded<T>) -> Result<T> {
    result.map_err(|m| match chunk_name(class, id) {
        Some(name) => crate::format::object::malformed(&name, m),
        None => Error::ChunkMissing { id: *id },
    })
}

/// Two ids of one node or leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Twins {
    /// Names side.
    pub names: ChunkId,
    /// Lists side.
    pub lists: ChunkId,
}

/// Directory and name of an entry.
pub type Key = (Bytes, Bytes);

/// What lies directly below a node.
pub struct Node {
    /// Names side: where each begins, and what it holds.
    pub children: Vec<NamesChild>,
    /// Lists side, in the same order.
    pub twins: Vec<ListsChild>,
}

/// A node or leaf still to be read, and what the node above says of it. Held to both bounds a tree can be no longer than the
/// chunks it is made of: else a few nodes that name one child a thousand times each would be read for ever.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// Its ids.
    pub twins: Twins,
    /// Its first entry.
    pub first: Option<Key>,
    /// Its last entry lies before this one.
    pub end: Option<Key>,
}

impl Ahead {
    /// The top of a tree, of which nobody says anything.
    pub fn top(root: &TreeRoot) -> Self {
        Ahead { twins: Twins { names: root.names, lists: root.lists }, first: None, end: None }
    }

    fn holds(&self, first: (&[u8], &[u8]), last: (&[u8], &[u8])) -> bool {
        self.first.as_ref().is_none_or(|(dir, name)| compare((&dir.0, &name.0), first) == Ordering::Equal)
            && self.end.as_ref().is_none_or(|(dir, name)| compare(last, (&dir.0, &name.0)) == Ordering::Less)
    }

    /// Whether a node that was read for this is what the node above said.
    pub fn check_node(&self, node: &Node) -> Result<()> {
        match (node.children.first(), node.children.last()) {
            (Some(first), Some(last)) if !self.holds((&first.dir.0, &first.name.0), (&last.dir.0, &last.name.0)) => {
                decoded(Class::Names, &self.twins.names, Err(Malformed::Field("names node")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a leaf that was read for this is what the node above said.
    pub fn check_leaf(&self, groups: &[Group]) -> Result<()> {
        let ends = groups.first().zip(groups.last()).and_then(|(a, b)| Some((a, a.entries.first()?, b, b.entries.last()?)));
        match ends {
            Some((a, (first, _), b, (last, _))) if !self.holds((&a.dir, &first.name.0), (&b.dir, &last.name.0)) => {
                decoded(Class::Names, &self.twins.names, Err(Malformed::Field("names leaf")))
            }
            _ => Ok(()),
        }
    }

    /// The child number `at` of the node that was read for this, as the node says.
    pub fn child(&self, node: &Node, at: usize) -> Option<Ahead> {
        let (child, twin) = (node.children.get(at)?, node.twins.get(at)?);
        let key = |child: &NamesChild| (child.dir.clone(), child.name.clone());
        let end = node.children.get(at + 1).map(key).or_else(|| self.end.clone());
        Some(Ahead { twins: Twins { names: twin.names, lists: twin.lists }, first: Some(key(child)), end })
    }

    /// What lies below it, as its node says.
    fn children(self, node: Node) -> VecDeque<Ahead> {
        let Node { children, twins } = node;
        let mut ends: Vec<Option<Key>> = children.iter().skip(1).map(|c| Some((c.dir.clone(), c.name.clone()))).collect();
        ends.push(self.end);
        let ahead = children.into_iter().zip(twins).zip(ends);
        ahead.map(|((c, t), end)| Ahead { twins: Twins { names: t.names, lists: t.lists }, first: Some((c.dir, c.name)), end }).collect()
    }
}

/// What a cursor stands before: a node or leaf that is not read yet. Two with the same twins hold the same entries.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'c> {
    /// 0 for a leaf.
    pub level: u8,
    /// Its ids.
    pub twins: Twins,
    /// Directory and name of its first entry, where a node above says so.
    pub first: Option<(&'c [u8], &'c [u8])>,
    /// Its last entry lies before this one; `None`: it is the last stretch of the tree.
    pub end: Option<(&'c [u8], &'c [u8])>,
}

impl Node {
    /// Reads the node of `level` with these ids, both sides. What the node above says of it is not looked at: [`Ahead::check_node`].
    pub fn read(reader: &ChunkReader, buffers: &mut ReadBuffers, level: u8, at: Twins) -> Result<Node> {
        let names = reader.chunk(Class::Names, &at.names, buffers)?;
        let children = decoded(Class::Names, &at.names, get_names_node(&names, level))?;
        let lists = reader.chunk(Class::Lists, &at.lists, buffers)?;
        let twins = decoded(Class::Lists, &at.lists, get_lists_node(&lists, level))?;
        if children.len() != twins.len() || children.iter().zip(&twins).any(|(c, t)| c.id != t.names) {
            return Err(chunk_damaged(Class::Lists, &at.lists, Damage::Twins));
        }
        Ok(Node { children, twins })
    }

    /// The number of the only child that can hold (dir, name): the last one that begins at or before it.
    pub fn child_for(&self, dir: &[u8], name: &[u8]) -> usize {
        self.children.partition_point(|c| compare((&c.dir.0, &c.name.0), (dir, name)) != Ordering::Greater).saturating_sub(1)
    }
}

/// Reads the leaf with these ids, both sides. What the node above says of it is not looked at: [`Ahead::check_leaf`].
pub fn read_leaf(reader: &ChunkReader, buffers: &mut ReadBuffers, at: Twins) -> Result<Vec<Group>> {
    let names = reader.chunk(Class::Names, &at.names, buffers)?;
    let lists = reader.chunk(Class::Lists, &at.lists, buffers)?;
    decoded(Class::Names, &at.names, get_leaf(&names, &lists))
}

/// Walks the leaves of a tree in order.
pub struct TreeCursor<'r> {
    reader: &'r ChunkReader,
    buffers: ReadBuffers,
    /// Per level what is still to come, the deepest last.
    stack: Vec<(u8, VecDeque<Ahead>)>,
    names_only: bool,
}

impl<'r> TreeCursor<'r> {
    /// At the first leaf.
    pub fn new(reader: &'r ChunkReader, root: &TreeRoot) -> Self {
        let top = VecDeque::from([Ahead::top(root)]);
        TreeCursor { reader, buffers: ReadBuffers::default(), stack: vec![(root.level.min(TREE_LEVELS_MAX), top)], names_only: false }
    }

    /// Does not read the lists side of leaves: entries come without content.
    pub fn names_only(mut self) -> Self {
        self.names_only = true;
        self
    }

    fn node(&mut self, level: u8, ahead: &Ahead) -> Result<Node> {
        let node = Node::read(self.reader, &mut self.buffers, level, ahead.twins)?;
        ahead.check_node(&node)?;
        Ok(node)
    }

    /// Moves to the leaf in which (dir, name) is or would be, forwards only.
    pub fn seek(&mut self, dir: &[u8], name: &[u8]) -> Result<()> {
        // Leave what lies wholly before.
        while let Some((level, mut queue)) = self.stack.pop() {
            if level == 0 || queue.is_empty() {
                self.stack.push((level, queue));
                return Ok(());
            }
            let Some(at) = queue.pop_front() else { return Ok(()) };
            self.stack.push((level, queue));
            let node = self.node(level, &at)?;
            let first = node.child_for(dir, name);
            let mut rest = at.children(node);
            rest.drain(..first);
            self.stack.push((level - 1, rest));
        }
        Ok(())
    }

    fn next_ahead(&mut self) -> Result<Option<Ahead>> {
        while let Some((level, queue)) = self.stack.last_mut() {
            let level = *level;
            let Some(at) = queue.pop_front() else {
                self.stack.pop();
                continue;
            };
            if level == 0 {
                return Ok(Some(at));
            }
            let node = self.node(level, &at)?;
            self.stack.push((level - 1, at.children(node)));
        }
        Ok(None)
    }

    fn leaf(&mut self, at: Twins) -> Result<Vec<Group>> {
        if !self.names_only {
            return read_leaf(self.reader, &mut self.buffers, at);
        }
        let names = self.reader.chunk(Class::Names, &at.names, &mut self.buffers)?;
        decoded(Class::Names, &at.names, get_names_leaf(&names))
    }

    /// What comes next, unread; `None` at the end. Whoever knows it from another tree can [`TreeCursor::pass`] it.
    pub fn ahead(&self) -> Option<Stretch<'_>> {
        let (level, ahead) = self.stack.iter().rev().find_map(|(level, queue)| Some((level, queue.front()?)))?;
        fn key(key: &Option<Key>) -> Option<(&[u8], &[u8])> {
            key.as_ref().map(|(dir, name)| (&dir.0[..], &name.0[..]))
        }
        Some(Stretch { level: *level, twins: ahead.twins, first: key(&ahead.first), end: key(&ahead.end) })
    }

    /// Passes over what comes next, with all that is below it.
    pub fn pass(&mut self) {
        self.take();
    }

    fn take(&mut self) -> Option<(u8, Ahead)> {
        while self.stack.last().is_some_and(|(_, queue)| queue.is_empty()) {
            self.stack.pop();
        }
        let (level, queue) = self.stack.last_mut()?;
        queue.pop_front().map(|at| (*level, at))
    }

    /// Reads what comes next. Of a node nothing is to be had yet: what is below it comes next then. After an error the cursor stands
    /// behind what could not be read.
    pub fn open(&mut self) -> Result<Vec<Group>> {
        let Some((level, at)) = self.take() else { return Ok(Vec::new()) };
        if level == 0 {
            return self.leaf_ahead(&at);
        }
        let node = self.node(level, &at)?;
        self.stack.push((level - 1, at.children(node)));
        Ok(Vec::new())
    }

    /// The next leaf. After an error the cursor stands behind what could not be read.
    pub fn next_leaf(&mut self) -> Result<Option<Vec<Group>>> {
        let Some(ahead) = self.next_ahead()? else { return Ok(None) };
        self.leaf_ahead(&ahead).map(Some)
    }

    /// Reads a leaf, and holds it to what the node above says of it.
    fn leaf_ahead(&mut self, ahead: &Ahead) -> Result<Vec<Group>> {
        let groups = self.leaf(ahead.twins)?;
        ahead.check_leaf(&groups)?;
        Ok(groups)
    }
}

/// A node of a list tree still to be visited.
#[derive(Clone, Copy, Debug)]
struct Pending {
    level: u8,
    id: ChunkId,
    bytes: u64,
}

/// Some items of a file, and how much content they are, where the tree above them says so.
pub struct Items {
    /// The items.
    pub items: Vec<Item>,
    /// Their length; `None` for an inline list.
    pub bytes: Option<u64>,
}

/// Whether a node of a list tree can be what the node above says: of `level` and, if there are nodes below it, of `bytes` of content.
pub fn list_node_is(node: &ListNode, level: u8, bytes: u64) -> bool {
    match node {
        ListNode::Items(_) => level == 0,
        ListNode::Children { level: found, children } => {
            // A node that claims other bytes than its children have would shift everything behind it.
            let sum = children.iter().try_fold(0u64, |sum, (_, bytes)| sum.checked_add(*bytes));
            // A child of no bytes would be read for nothing, and 1024 of them on each of eight levels for ever.
            *found == level && level > 0 && sum == Some(bytes) && children.iter().all(|(_, bytes)| *bytes > 0)
        }
    }
}

/// Reads a node of a list tree. What the node above says of it is not looked at: [`list_node_is`].
pub fn read_list_node(reader: &ChunkReader, buffers: &mut ReadBuffers, id: &ChunkId) -> Result<ListNode> {
    let plain = reader.chunk(Class::Lists, id, buffers)?;
    decoded(Class::Lists, id, from_bytes::<ListNode>(&plain, "list node"))
}

/// What is wrong with a node that is not what the node above says.
pub fn list_node_damaged(id: &ChunkId) -> Error {
    chunk_damaged(Class::Lists, id, Damage::Malformed("list node"))
}

/// Walks the items of one file in order, a node at a time.
pub struct ContentCursor {
    inline: Option<Vec<Item>>,
    pending: Vec<Pending>,
    seen: Vec<ChunkId>,
}

impl ContentCursor {
    /// At the first item.
    pub fn new(content: &Content) -> Self {
        match content {
            Content::Inline(items) => ContentCursor { inline: Some(items.clone()), pending: Vec::new(), seen: Vec::new() },
            Content::Tree(root) => {
                let top = Pending { level: root.level.min(TREE_LEVELS_MAX), id: root.id, bytes: root.bytes };
                ContentCursor { inline: None, pending: vec![top], seen: Vec::new() }
            }
        }
    }

    /// The next items: all of a node, or all of an inline list. `None` at the end.
    pub fn next_items(&mut self, reader: &ChunkReader, buffers: &mut ReadBuffers) -> Result<Option<Items>> {
        if let Some(items) = self.inline.take() {
            return Ok(Some(Items { items, bytes: None }));
        }
        while let Some(at) = self.pending.pop() {
            let node = read_list_node(reader, buffers, &at.id)?;
            self.seen.push(at.id);
            if !list_node_is(&node, at.level, at.bytes) {
                return Err(list_node_damaged(&at.id));
            }
            match node {
                ListNode::Items(items) => return Ok(Some(Items { items, bytes: Some(at.bytes) })),
                ListNode::Children { level, children } => {
                    self.pending.extend(children.iter().rev().map(|(id, bytes)| Pending { level: level - 1, id: *id, bytes: *bytes }));
                }
            }
        }
        Ok(None)
    }

    /// The nodes that were read so far.
    pub fn nodes_seen(&self) -> &[ChunkId] {
        &self.seen
    }
}
