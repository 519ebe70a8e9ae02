//! Content of files by their lists: which chunks only one of two versions has, and how much that is. No content is read for it.
//! Of long files what both versions have in common is passed over node by node, unread.

use crate::error::Result;
use crate::format::lists::{Content, Item, ListNode};
use crate::id::ChunkId;
use crate::limits::TREE_LEVELS_MAX;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::tree::{list_node_damaged, list_node_is, read_list_node};
use std::collections::{HashMap, HashSet};

/// Chunks of one version that are told apart one by one: 2 GiB of them, some 16 MiB of memory. What is longer is told apart by nodes.
const CHUNKS_TOLD_MAX: usize = 1 << 18;

/// Which version has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Only the one before.
    Before,
    /// Only the one after.
    After,
}

/// What [`differing`] comes by.
pub enum Found<'f> {
    /// A node that only one version has.
    Node(Which, ChunkId),
    /// What stands in such a node, or in the entry itself, with its length where that is known.
    Items(Which, &'f [Item], Option<u64>),
    /// A node that both have.
    Shared {
        /// Levels above the nodes that hold items.
        level: u8,
        /// The node.
        id: ChunkId,
        /// Content below it.
        bytes: u64,
    },
}

/// The nodes of one level, each with the bytes below it.
type Nodes = Vec<(ChunkId, u64)>;

/// Walks what two versions of a file do not have in common, level by level. Holds the nodes of one level.
pub fn differing(
    reader: &ChunkReader,
    buffers: &mut ReadBuffers,
    versions: [Option<&Content>; 2],
    found: &mut dyn FnMut(Found<'_>) -> Result<()>,
) -> Result<()> {
    const SIDES: [Which; 2] = [Which::Before, Which::After];
    let mut top = 0;
    let mut starts: [Option<(u8, ChunkId, u64)>; 2] = [None, None];
    for ((which, content), start) in SIDES.into_iter().zip(versions).zip(&mut starts) {
        match content {
            None => {}
            Some(Content::Inline(items)) => found(Found::Items(which, items, None))?,
            Some(Content::Tree(root)) => {
                let level = root.level.min(TREE_LEVELS_MAX);
                top = top.max(level);
                *start = Some((level, root.id, root.bytes));
            }
        }
    }
    let mut nodes: [Nodes; 2] = [Vec::new(), Vec::new()];
    for level in (0..=top).rev() {
        for (nodes, start) in nodes.iter_mut().zip(&mut starts) {
            if let Some((_, id, bytes)) = start.take_if(|(at, ..)| *at == level) {
                nodes.push((id, bytes));
            }
        }
        let mut below: [Nodes; 2] = [Vec::new(), Vec::new()];
        let ids = |nodes: &Nodes| nodes.iter().map(|(id, _)| *id).collect::<HashSet<_>>();
        let [before, after] = [ids(&nodes[0]), ids(&nodes[1])];
        for ((which, nodes), below) in SIDES.into_iter().zip(&nodes).zip(&mut below) {
            let other = if which == Which::Before { &after } else { &before };
            for (id, bytes) in nodes {
                if other.contains(id) {
                    if which == Which::After {
                        found(Found::Shared { level, id: *id, bytes: *bytes })?;
                    }
                    continue;
                }
                found(Found::Node(which, *id))?;
                let node = read_list_node(reader, buffers, id)?;
                if !list_node_is(&node, level, *bytes) {
                    return Err(list_node_damaged(id));
                }
                match node {
                    ListNode::Items(items) => found(Found::Items(which, &items, Some(*bytes)))?,
                    ListNode::Children { children, .. } => below.extend(children),
                }
            }
        }
        nodes = below;
    }
    Ok(())
}

/// What only one of two versions of a file has, in bytes; holes are nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delta {
    /// Only the version after.
    pub added: u64,
    /// Only the version before.
    pub removed: u64,
}

/// Chunks of the differing part of one version, each as often as it stands there.
#[derive(Default)]
struct Version {
    chunks: HashMap<ChunkId, u64>,
    /// Bytes of the differing part, without holes.
    bytes: u64,
}

/// Takes in what [`differing`] finds, to say how much it is.
#[derive(Default)]
pub struct Gather {
    versions: [Version; 2],
    /// There are too many chunks to tell them apart.
    over: bool,
}

impl Gather {
    /// Takes in items; `bytes` is what they are together, holes included.
    pub fn items(&mut self, which: Which, items: &[Item], bytes: u64) {
        let version = &mut self.versions[which as usize];
        let holes: u64 = items.iter().map(|item| if let Item::Hole(bytes) = item { *bytes } else { 0 }).fold(0, u64::saturating_add);
        version.bytes = version.bytes.saturating_add(bytes.saturating_sub(holes));
        if self.over {
            return;
        }
        for item in items {
            if let Item::Chunk(id) = item {
                *version.chunks.entry(*id).or_default() += 1;
            }
        }
        if version.chunks.len() > CHUNKS_TOLD_MAX {
            self.over = true;
            self.versions.iter_mut().for_each(|version| version.chunks = HashMap::new());
        }
    }

    /// How much differs. `length` says how long a chunk is; where it cannot say that of what is needed, all that may differ counts.
    /// What the versions have in common is asked for, or what they have not, whichever `length` may know and is less.
    pub fn delta(&self, length: &mut dyn FnMut(&ChunkId) -> Option<u64>) -> Delta {
        let [before, after] = &self.versions;
        let common: Vec<&ChunkId> = before.chunks.keys().filter(|id| after.chunks.contains_key(id)).collect();
        if common.is_empty() {
            return Delta { added: after.bytes, removed: before.bytes };
        }
        let mut one = |version: &Version, other: &Version| {
            let same = common.iter().filter_map(|id| version.chunks.get_key_value(*id));
            let only = version.chunks.iter().filter(|(id, _)| !other.chunks.contains_key(id));
            let by_same = common.len() * 2 <= version.chunks.len();
            let mut sum = 0u64;
            let counted = if by_same { same.collect::<Vec<_>>() } else { only.collect() };
            for (id, times) in counted {
                sum = sum.saturating_add(length(id)?.saturating_mul(*times));
            }
            Some(if by_same { version.bytes.saturating_sub(sum) } else { sum })
        };
        Delta { added: one(after, before).unwrap_or(after.bytes), removed: one(before, after).unwrap_or(before.bytes) }
    }

    /// The same where the lengths of all chunks after are known: what both have tells how much is gone.
    pub fn delta_by(&self, length: &dyn Fn(&ChunkId) -> Option<u64>) -> Delta {
        let [before, after] = &self.versions;
        let same = |version: &Version, other: &Version| {
            let common = version.chunks.iter().filter(|(id, _)| other.chunks.contains_key(id));
            common.map(|(id, times)| length(id).unwrap_or(0).saturating_mul(*times)).fold(0, u64::saturating_add)
        };
        Delta { added: after.bytes.saturating_sub(same(after, before)), removed: before.bytes.saturating_sub(same(before, after)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ChunkId {
        ChunkId::new([n; 32])
    }

    fn gather(before: &[u8], after: &[u8]) -> Delta {
        let mut gather = Gather::default();
        for (which, ids) in [(Which::Before, before), (Which::After, after)] {
            let items: Vec<Item> = ids.iter().map(|n| Item::Chunk(id(*n))).collect();
            gather.items(which, &items, ids.iter().map(|n| u64::from(*n)).sum());
        }
        gather.delta(&mut |id| Some(u64::from(id.as_bytes()[0])))
    }

    #[test]
    fn bytes_that_only_one_version_has() {
        assert_eq!(gather(&[1, 2, 3], &[1, 2, 3]), Delta { added: 0, removed: 0 });
        assert_eq!(gather(&[1, 2, 3], &[4, 5]), Delta { added: 9, removed: 6 });
        assert_eq!(gather(&[1, 2, 3], &[1, 9, 3]), Delta { added: 9, removed: 2 });
        assert_eq!(gather(&[1, 2, 3, 5, 6, 7, 8, 9], &[1, 10, 11, 12, 13, 14, 15]), Delta { added: 75, removed: 40 });
        // As often as they stand there.
        assert_eq!(gather(&[4], &[4, 5, 5, 5]), Delta { added: 15, removed: 0 });
        assert_eq!(gather(&[], &[7]), Delta { added: 7, removed: 0 });
    }

    #[test]
    fn what_is_only_stored_need_not_be_measured() {
        let mut gather = Gather::default();
        gather.items(Which::Before, &[Item::Chunk(id(1)), Item::Chunk(id(2)), Item::Chunk(id(3))], 6);
        gather.items(Which::After, &[Item::Chunk(id(1)), Item::Chunk(id(4))], 5);
        let known = |id: &ChunkId| [1, 4].contains(&id.as_bytes()[0]).then(|| u64::from(id.as_bytes()[0]));
        assert_eq!(gather.delta_by(&known), Delta { added: 4, removed: 5 });
    }

    #[test]
    fn what_nobody_can_measure_counts_whole() {
        let mut gather = Gather::default();
        gather.items(Which::Before, &[Item::Chunk(id(1)), Item::Hole(100)], 110);
        gather.items(Which::After, &[Item::Chunk(id(1)), Item::Chunk(id(2))], 30);
        // Of the version before nothing is gone, and for that no length is needed.
        assert_eq!(gather.delta(&mut |_| None), Delta { added: 30, removed: 0 });
    }
}
