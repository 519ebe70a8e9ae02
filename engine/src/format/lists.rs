//! Content of files: inline lists of chunk ids, list trees of long files, and the lists leaf (spec chapter 6).
//! Nothing here names anything: a collector reads these with the lists key alone.

use crate::format::wire::{Bytes, Decoded, Enc, Malformed, Wire, array, at_most, done, map_struct, tuple};
use crate::id::{ChunkId, Class};
use crate::limits::{CHUNK_BYTES_MAX, LEAF_ENTRIES_MAX, LIST_CUT_BITS, LIST_INLINE_MAX, LIST_ITEMS_MAX, NODE_ITEMS_MAX, TREE_LEVELS_MAX};
use minicbor::Decoder;
use minicbor::data::Type;

/// First item of a lists leaf and of a names leaf.
pub const TAG_LEAF: u8 = 0;
/// First item of a node of an entry tree, both classes.
pub const TAG_NODE: u8 = 1;
/// First item of a node of a file's list tree.
pub const TAG_LIST: u8 = 2;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Stored bytes.
    Chunk(ChunkId),
    /// This many bytes that the file system had not allocated; they read as zeros.
    Hole(u64),
}

map_struct! {
    /// Root of a list tree.
    pub struct ListRoot {
        /// Levels above the nodes that hold items.
        0 ? level: u8,
        /// The root node, a chunk of the lists class.
        2 => id: ChunkId,
        /// Length of the whole content.
        4 => bytes: u64,
    }
}

/// The content of one file or stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The items themselves, at most [`LIST_INLINE_MAX`].
    Inline(Vec<Item>),
    /// A tree of them.
    Tree(ListRoot),
}

impl Content {
    /// Whether this can be content of `bytes` bytes: known before anything of it is read, so that a claim costs no work.
    pub fn can_be(&self, bytes: u64) -> bool {
        match self {
            Content::Tree(root) => root.bytes == bytes && i64::try_from(bytes).is_ok(),
            Content::Inline(items) => {
                let holes = items.iter().try_fold(0u64, |sum, item| sum.checked_add(if let Item::Hole(n) = item { *n } else { 0 }));
                let chunks = items.iter().filter(|item| matches!(item, Item::Chunk(_))).count() as u64;
                let rest = holes.and_then(|holes| bytes.checked_sub(holes));
                i64::try_from(bytes).is_ok() && rest.is_some_and(|rest| (chunks..=chunks * CHUNK_BYTES_MAX as u64).contains(&rest))
            }
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Content::Inline(Vec::new())
    }
}

/// Items are written as runs: a byte string of whole chunk ids, or the length of a hole.
pub fn put_items(items: &[Item], e: &mut Enc) {
    let runs = items.chunk_by(|a, b| matches!((a, b), (Item::Chunk(_), Item::Chunk(_))));
    done(e.array(runs.clone().count() as u64).map(|_| ()));
    for run in runs {
        if let [Item::Hole(bytes)] = run {
            bytes.put(e);
            continue;
        }
        let mut ids = Vec::with_capacity(run.len() * ChunkId::BYTES);
        for item in run {
            if let Item::Chunk(id) = item {
                ids.extend_from_slice(id.as_bytes());
            }
        }
        done(e.bytes(&ids).map(|_| ()));
    }
}

/// Reads runs of items, at most `max` of them.
pub fn get_items(d: &mut Decoder<'_>, max: usize, field: &'static str) -> Decoded<Vec<Item>> {
    let bad = Malformed::Field(field);
    let mut items = Vec::new();
    let mut after_ids = false;
    for _ in 0..array(d, field)? {
        if matches!(d.datatype(), Ok(Type::Bytes)) {
            let bytes = d.bytes().map_err(|_| bad.clone())?;
            let (ids, []) = bytes.as_chunks::<{ ChunkId::BYTES }>() else { return Err(bad) };
            // Two runs of ids in a row would be a second encoding of the same list.
            if ids.is_empty() || after_ids {
                return Err(bad);
            }
            items.extend(ids.iter().map(|id| Item::Chunk(ChunkId::new(*id))));
            after_ids = true;
        } else {
            let bytes = u64::get(d, field)?;
            if bytes == 0 {
                return Err(bad);
            }
            items.push(Item::Hole(bytes));
            after_ids = false;
        }
        if items.len() > max {
            return Err(bad);
        }
    }
    Ok(items)
}

impl Wire for Content {
    fn put(&self, e: &mut Enc) {
        match self {
            Content::Inline(items) => put_items(items, e),
            Content::Tree(root) => root.put(e),
        }
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        if matches!(d.datatype(), Ok(Type::Map)) {
            let root = ListRoot::get(d, field)?;
            return if root.level <= TREE_LEVELS_MAX { Ok(Content::Tree(root)) } else { Err(Malformed::Field(field)) };
        }
        get_items(d, LIST_INLINE_MAX, field).map(Content::Inline)
    }
}

/// A node of a file's list tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListNode {
    /// Level 0: the items.
    Items(Vec<Item>),
    /// Higher: child nodes with the bytes of content below each.
    Children {
        /// Its level, 1 or more.
        level: u8,
        /// The children.
        children: Vec<(ChunkId, u64)>,
    },
}

impl Wire for ListNode {
    fn put(&self, e: &mut Enc) {
        match self {
            ListNode::Items(items) => {
                done(e.array(3).map(|_| ()));
                TAG_LIST.put(e);
                0u8.put(e);
                put_items(items, e);
            }
            ListNode::Children { level, children } => {
                done(e.array(4).map(|_| ()));
                TAG_LIST.put(e);
                level.put(e);
                let ids: Vec<u8> = children.iter().flat_map(|(id, _)| *id.as_bytes()).collect();
                Bytes(ids).put(e);
                done(e.array(children.len() as u64).map(|_| ()));
                for (_, bytes) in children {
                    bytes.put(e);
                }
            }
        }
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        let bad = Malformed::Field(field);
        let n = array(d, field)?;
        let (tag, level) = (u8::get(d, field)?, u8::get(d, field)?);
        match (n, tag, level) {
            (3, TAG_LIST, 0) => get_items(d, LIST_ITEMS_MAX, field).map(ListNode::Items),
            (4, TAG_LIST, 1..=TREE_LEVELS_MAX) => {
                let ids = Bytes::get(d, field)?;
                let bytes = at_most::<u64>(d, LIST_ITEMS_MAX, field)?;
                let (ids, []) = ids.0.as_chunks::<{ ChunkId::BYTES }>() else { return Err(bad) };
                if ids.is_empty() || ids.len() != bytes.len() || ids.len() > LIST_ITEMS_MAX {
                    return Err(bad);
                }
                let children = ids.iter().zip(bytes).map(|(id, bytes)| (ChunkId::new(*id), bytes)).collect();
                Ok(ListNode::Children { level, children })
            }
            _ => Err(bad),
        }
    }
}

/// The lists leaf: one [`Content`] for each entry of the names leaf that has content, in the same order.
pub fn put_lists_leaf(records: u32, encoded: &[u8]) -> Vec<u8> {
    let mut e = Enc::new(Vec::with_capacity(encoded.len() + 8));
    done(e.array(2).map(|_| ()));
    TAG_LEAF.put(&mut e);
    done(e.array(u64::from(records)).map(|_| ()));
    let mut out = e.into_writer();
    out.extend_from_slice(encoded);
    out
}

/// Reads a lists leaf.
pub fn get_lists_leaf(bytes: &[u8]) -> Decoded<Vec<Content>> {
    let mut d = Decoder::new(bytes);
    tuple(&mut d, 2, "lists leaf")?;
    let tag = u8::get(&mut d, "lists leaf")?;
    let records = at_most::<Content>(&mut d, LEAF_ENTRIES_MAX, "lists leaf")?;
    if tag == TAG_LEAF && d.position() == bytes.len() { Ok(records) } else { Err(Malformed::Field("lists leaf")) }
}

/// A child of a node of the lists side of an entry tree: the collector learns the names side's ids here, without their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListsChild {
    /// The child on the lists side.
    pub lists: ChunkId,
    /// Its twin on the names side.
    pub names: ChunkId,
}

/// Writes a node of the lists side: `[1, level, ids]`, 64 bytes per child.
pub fn put_lists_node(level: u8, children: &[ListsChild]) -> Vec<u8> {
    let mut e = Enc::new(Vec::with_capacity(children.len() * 64 + 16));
    done(e.array(3).map(|_| ()));
    TAG_NODE.put(&mut e);
    level.put(&mut e);
    let ids: Vec<u8> = children.iter().flat_map(|c| c.lists.as_bytes().iter().chain(c.names.as_bytes())).copied().collect();
    Bytes(ids).put(&mut e);
    e.into_writer()
}

/// Reads a node of the lists side, which must be of `level`.
pub fn get_lists_node(bytes: &[u8], level: u8) -> Decoded<Vec<ListsChild>> {
    let bad = Malformed::Field("lists node");
    let mut d = Decoder::new(bytes);
    tuple(&mut d, 3, "lists node")?;
    let head = (u8::get(&mut d, "lists node")?, u8::get(&mut d, "lists node")?);
    let ids = Bytes::get(&mut d, "lists node")?;
    let (ids, []) = ids.0.as_chunks::<64>() else { return Err(bad) };
    if head != (TAG_NODE, level) || ids.is_empty() || ids.len() > NODE_ITEMS_MAX || d.position() != bytes.len() {
        return Err(bad);
    }
    let half = |at: &[u8]| at.try_into().map(ChunkId::new).map_err(|_| Malformed::Field("lists node"));
    ids.iter().map(|pair| Ok(ListsChild { lists: half(&pair[..32])?, names: half(&pair[32..])? })).collect()
}

/// Whether a list node ends after this item: decided by the id alone, so that an edit moves few cuts.
pub fn cuts_after(item: &Item, level: u8) -> bool {
    match item {
        Item::Hole(_) => false,
        Item::Chunk(id) => {
            let bytes = id.as_bytes();
            let tail = u64::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27], bytes[28], bytes[29], bytes[30], bytes[31]]);
            level == 0 && tail.trailing_zeros() >= LIST_CUT_BITS || level > 0 && tail.trailing_zeros() >= LIST_CUT_BITS - 2
        }
    }
}

/// Stores the plaintext of a chunk and returns its id.
pub type StoreChunk<'a, E> = dyn FnMut(Class, &[u8]) -> Result<ChunkId, E> + 'a;

/// Collects the items of one file and cuts them into nodes when they outgrow the leaf.
#[derive(Clone, Default)]
pub struct ListWriter {
    items: Vec<Item>,
    bytes: u64,
    total: u64,
    /// One open node per level above the items.
    levels: Vec<Vec<(ChunkId, u64)>>,
}

impl ListWriter {
    /// Appends an item of `bytes` bytes of content. Nodes that are full go to `store`.
    pub fn push<E>(&mut self, item: Item, bytes: u64, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        self.total += bytes;
        if let (Some(Item::Hole(last)), Item::Hole(more)) = (self.items.last_mut(), &item) {
            *last += more;
            self.bytes += bytes;
            return Ok(());
        }
        self.items.push(item);
        self.bytes += bytes;
        // Up to LIST_INLINE_MAX items nobody knows yet whether the file stays inline, so the first node is never cut before that.
        let cut = cuts_after(&item, 0) && (self.items.len() > LIST_INLINE_MAX || !self.levels.is_empty());
        if cut || self.items.len() >= LIST_ITEMS_MAX {
            self.close_items(store)?;
        }
        Ok(())
    }

    fn close_items<E>(&mut self, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        let node = ListNode::Items(std::mem::take(&mut self.items));
        let id = store(Class::Lists, &crate::format::wire::to_bytes(&node))?;
        let bytes = std::mem::take(&mut self.bytes);
        self.push_child(0, id, bytes, store)
    }

    fn push_child<E>(&mut self, at: usize, id: ChunkId, bytes: u64, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        if self.levels.len() == at {
            self.levels.push(Vec::new());
        }
        self.levels[at].push((id, bytes));
        if cuts_after(&Item::Chunk(id), 1) && self.levels[at].len() > 1 || self.levels[at].len() >= LIST_ITEMS_MAX {
            self.close_children(at, store)?;
        }
        Ok(())
    }

    fn close_children<E>(&mut self, at: usize, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        let children = std::mem::take(&mut self.levels[at]);
        let bytes = children.iter().map(|(_, bytes)| bytes).sum();
        let id = store(Class::Lists, &crate::format::wire::to_bytes(&ListNode::Children { level: at as u8 + 1, children }))?;
        self.push_child(at + 1, id, bytes, store)
    }

    /// Ends the file; returns its content and its length.
    pub fn finish<E>(mut self, store: &mut StoreChunk<'_, E>) -> Result<(Content, u64), E> {
        if self.levels.is_empty() && self.items.len() <= LIST_INLINE_MAX {
            return Ok((Content::Inline(self.items), self.total));
        }
        if !self.items.is_empty() {
            self.close_items(store)?;
        }
        let mut at = 0;
        loop {
            let top = at + 1 == self.levels.len();
            if top && self.levels[at].len() == 1 {
                let (id, bytes) = self.levels[at][0];
                return Ok((Content::Tree(ListRoot { level: at as u8, id, bytes, extra: Vec::new() }), bytes));
            }
            if !self.levels[at].is_empty() {
                self.close_children(at, store)?;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::{from_bytes, to_bytes};
    use std::collections::HashMap;
    use std::convert::Infallible;

    fn id(n: u64) -> ChunkId {
        ChunkId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn write(items: &[Item]) -> (Content, u64, HashMap<ChunkId, Vec<u8>>) {
        let mut kept = HashMap::new();
        let mut store = |class, plain: &[u8]| {
            assert_eq!(class, Class::Lists);
            let id = ChunkId::new(*blake3::hash(plain).as_bytes());
            kept.insert(id, plain.to_vec());
            Ok::<_, Infallible>(id)
        };
        let mut w = ListWriter::default();
        for item in items {
            let bytes = if let Item::Hole(n) = item { *n } else { 10 };
            w.push(*item, bytes, &mut store).unwrap();
        }
        let (content, bytes) = w.finish(&mut store).unwrap();
        (content, bytes, kept)
    }

    fn read(content: &Content, kept: &HashMap<ChunkId, Vec<u8>>) -> Vec<Item> {
        fn node(id: &ChunkId, level: u8, kept: &HashMap<ChunkId, Vec<u8>>, out: &mut Vec<Item>) {
            match from_bytes::<ListNode>(&kept[id], "node").unwrap() {
                ListNode::Items(items) if level == 0 => out.extend(items),
                ListNode::Children { level: l, children } if l == level => {
                    children.iter().for_each(|(id, _)| node(id, level - 1, kept, out));
                }
                _ => panic!("level"),
            }
        }
        match content {
            Content::Inline(items) => items.clone(),
            Content::Tree(root) => {
                let mut out = Vec::new();
                node(&root.id, root.level, kept, &mut out);
                out
            }
        }
    }

    #[test]
    fn lists_of_every_length_come_back_and_grow_by_few_nodes() {
        for n in [0, 1, 31, 32, 33, 256, 1023, 1024, 1025, 5000, 200_000] {
            let items: Vec<Item> = (0..n).map(|i| if i % 97 == 5 { Item::Hole(i + 1) } else { Item::Chunk(id(i)) }).collect();
            let (content, bytes, kept) = write(&items);
            assert_eq!(read(&content, &kept), items, "{n}");
            assert_eq!(from_bytes::<Content>(&to_bytes(&content), "c").as_ref(), Ok(&content));
            let want: u64 = items.iter().map(|i| if let Item::Hole(n) = i { *n } else { 10 }).sum();
            assert_eq!(bytes, want);
            let mut more = items.clone();
            more.push(Item::Chunk(id(1 << 40)));
            let (_, _, kept_more) = write(&more);
            let new = kept_more.keys().filter(|k| !kept.contains_key(*k)).count();
            assert!(new <= 8, "one more chunk at the end of {n} wrote {new} nodes");
        }
    }

    #[test]
    fn an_insert_in_the_middle_moves_few_cuts() {
        let items: Vec<Item> = (0..50_000).map(|i| Item::Chunk(id(i))).collect();
        let (_, _, kept) = write(&items);
        let mut edited = items.clone();
        edited.insert(25_000, Item::Chunk(id(1 << 41)));
        let (_, _, kept_edited) = write(&edited);
        assert!(kept_edited.keys().filter(|k| !kept.contains_key(*k)).count() <= 6);
    }

    #[test]
    fn two_encodings_of_one_list_are_refused() {
        let one = [0x82, 0x58, 0x20].iter().copied().chain([1; 32]).chain([0x58, 0x20]).chain([2; 32]).collect::<Vec<u8>>();
        assert!(from_bytes::<Content>(&one, "c").is_err());
        assert!(from_bytes::<Content>(&[0x81, 0x00], "c").is_err(), "an empty hole");
        assert!(from_bytes::<Content>(&[0x81, 0x40], "c").is_err(), "an empty run");
    }
}
