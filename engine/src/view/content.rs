//! Content of one file by offset: from the sums in its list tree down to the node that holds an offset, and in that node by the lengths that
//! the packs' footers say. It must never hand out a byte that was not verified, nor read what an offset does not need.

use crate::error::{Damage, Error, Result};
use crate::format::lists::{Content, Item, ListNode};
use crate::id::{ChunkId, Class, ObjectName, SnapshotId};
use crate::limits::TREE_LEVELS_MAX;
use crate::pack::lru::Lru;
use crate::repository::tree::{chunk_damaged, list_node_damaged, list_node_is, read_list_node};
use crate::view::reading::Reading;
use std::sync::Arc;

/// Nodes of list trees that are kept, with the places of their items: those of some gigabytes of content.
const LISTS_BYTES: usize = 12 << 20;
/// Nodes that are looked through for a hole: 2 GiB of short chunks, 250 GiB of long ones. What lies behind is taken for data, as it may be.
const SEEK_NODES_MAX: usize = 1024;

/// Items with the places where they begin.
struct Table {
    /// In order; items of which nobody can say where they begin or end are left out.
    spans: Vec<Span>,
}

/// An item at its place.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where it begins, from the beginning of the content.
    pub start: u64,
    /// Its length in bytes; never 0.
    pub bytes: u64,
    /// What it is.
    pub item: Item,
}

/// Nodes that were used last.
pub struct Lists {
    nodes: Lru<ChunkId, ListNode>,
    tables: Lru<ChunkId, Table>,
}

impl Default for Lists {
    fn default() -> Self {
        Lists { nodes: Lru::new(LISTS_BYTES / 3), tables: Lru::new(LISTS_BYTES / 3 * 2) }
    }
}

/// The items of one node, or an inline list, and where they lie.
struct Part {
    items: Arc<ListNode>,
    /// Where they begin.
    start: u64,
    /// How long they are.
    bytes: u64,
    /// The node; `None` for an inline list.
    id: Option<ChunkId>,
}

impl Part {
    fn items(&self) -> &[Item] {
        if let ListNode::Items(items) = &*self.items { items } else { &[] }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

/// What is known of an open file's content.
pub struct FileContent {
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// Its length in bytes.
    pub bytes: u64,
    list: List,
}

enum List {
    Inline(Arc<ListNode>, std::sync::OnceLock<Arc<Table>>),
    Tree { level: u8, id: ChunkId },
}

impl FileContent {
    /// Of a file of `bytes` bytes. One that cannot be that long is damage: known before anything is read.
    pub fn new(snapshot: SnapshotId, content: &Content, bytes: u64) -> Result<Self> {
        if !content.can_be(bytes) {
            return Err(Error::damaged(&ObjectName::snapshot(&snapshot), Damage::Malformed("length of a file")));
        }
        let list = match content {
            Content::Inline(items) => List::Inline(Arc::new(ListNode::Items(items.clone())), Default::default()),
            Content::Tree(root) => List::Tree { level: root.level.min(TREE_LEVELS_MAX), id: root.id },
        };
        Ok(FileContent { snapshot, bytes, list })
    }

    /// The items around `offset`, which is before the end.
    fn part(&self, (lists, reading): (&Lists, &Reading), offset: u64) -> Result<Part> {
        let (level, id) = match &self.list {
            List::Inline(items, _) => return Ok(Part { items: items.clone(), start: 0, bytes: self.bytes, id: None }),
            List::Tree { level, id } => (*level, *id),
        };
        let mut at = Part { items: lists.node(reading, &id)?, start: 0, bytes: self.bytes, id: Some(id) };
        for level in (0..=level).rev() {
            let own = at.id.unwrap_or(id);
            if !list_node_is(&at.items, level, at.bytes) {
                return Err(list_node_damaged(&own));
            }
            let ListNode::Children { children, .. } = &*at.items else { break };
            let mut start = at.start;
            let child = children.iter().find(|(_, bytes)| {
                let is_here = offset < start + bytes;
                start += if is_here { 0 } else { *bytes };
                is_here
            });
            let (child, bytes) = child.ok_or_else(|| list_node_damaged(&own))?;
            at = Part { items: lists.node(reading, child)?, start, bytes: *bytes, id: Some(*child) };
        }
        Ok(at)
    }

    /// The places of the items of a part. With what is wrong where some are not known.
    fn table(&self, (lists, reading): (&Lists, &Reading), part: &Part) -> (Arc<Table>, Option<Error>) {
        let mut partial = None;
        let mut make = || {
            let (table, failure) = reading.with(|reader, _| {
                let (table, failure) = locate(part, |ids| reader.lengths(Class::Data, ids));
                match failure {
                    // It may be somewhere else by now.
                    Some(error @ (Error::PackMissing { .. } | Error::ChunkMissing { .. })) => {
                        partial = Some(table);
                        Err(error)
                    }
                    failure => Ok((table, failure)),
                }
            })?;
            match failure {
                None => Ok(table),
                Some(error) => {
                    partial = Some(table);
                    Err(error)
                }
            }
        };
        let made = match (&part.id, &self.list) {
            (Some(id), _) => lists.tables.get(*id, |table| 64 + table.spans.len() * size_of::<Span>(), make),
            (None, List::Inline(_, known)) => match known.get() {
                Some(table) => Ok(table.clone()),
                None => make().map(|table| known.get_or_init(|| Arc::new(table)).clone()),
            },
            (None, List::Tree { .. }) => make().map(Arc::new),
        };
        match made {
            Ok(table) => (table, None),
            Err(error) => (Arc::new(partial.unwrap_or(Table { spans: Vec::new() })), Some(error)),
        }
    }

    /// The item in which `offset` lies, which is before the end, and those behind it in the same node that begin before `until`.
    pub fn spans(&self, with: (&Lists, &Reading), offset: u64, until: u64) -> Result<Vec<Span>> {
        let part = self.part(with, offset)?;
        let (table, failure) = self.table(with, &part);
        let own = offset - part.start;
        let at = table.spans.partition_point(|span| span.start + span.bytes <= own);
        match table.spans.get(at).filter(|span| span.start <= own) {
            None => Err(failure.unwrap_or_else(|| self.wrong(&part))),
            Some(_) => {
                let until = until - part.start;
                let mut end = own;
                // As far as nothing is left out.
                let here = table.spans[at..].iter().take_while(|span| {
                    let is_next = span.start <= end && span.start < until;
                    end = span.start + span.bytes;
                    is_next
                });
                Ok(here.map(|span| Span { start: span.start + part.start, ..*span }).collect())
            }
        }
    }

    fn wrong(&self, part: &Part) -> Error {
        match &part.id {
            Some(id) => list_node_damaged(id),
            None => Error::damaged(&ObjectName::snapshot(&self.snapshot), Damage::Malformed("length of a file")),
        }
    }

    /// At most `bytes` bytes from `offset` on; fewer only at the end.
    pub fn read(&self, with: (&Lists, &Reading), offset: u64, bytes: usize) -> Result<Vec<u8>> {
        let end = offset.saturating_add(bytes as u64).min(self.bytes);
        let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            for span in self.spans(with, at, end)? {
                let until = (span.start + span.bytes).min(end);
                let (from, to) = ((at - span.start) as usize, (until - span.start) as usize);
                match &span.item {
                    Item::Hole(_) => out.resize(out.len() + (to - from), 0),
                    Item::Chunk(id) => {
                        let piece = with.1.with(|reader, buffers| reader.piece(Class::Data, id, buffers))?;
                        // Else what lies behind it would be somewhere else than where it was looked for.
                        if piece.len() as u64 != span.bytes {
                            return Err(chunk_damaged(Class::Data, id, Damage::Malformed("length")));
                        }
                        out.extend_from_slice(&piece[from..to]);
                    }
                }
                at = until;
                if at == end {
                    break;
                }
            }
        }
        Ok(out)
    }

    /// The first hole, or the first data, at or behind `offset`, which is before the end. The end is a hole; `None` where only that follows.
    pub fn seek(&self, with: (&Lists, &Reading), offset: u64, hole: bool) -> Result<Option<u64>> {
        let mut at = offset;
        for _ in 0..SEEK_NODES_MAX {
            if at >= self.bytes {
                return Ok(hole.then_some(self.bytes));
            }
            let part = self.part(with, at)?;
            let is_hole = |item: &Item| matches!(item, Item::Hole(_));
            match part.items().iter().any(is_hole) {
                // No lengths are needed to tell.
                false if hole => at = part.end(),
                false => return Ok(Some(at)),
                true => {
                    for span in self.spans(with, at, u64::MAX)? {
                        if is_hole(&span.item) == hole {
                            return Ok(Some(at.max(span.start)));
                        }
                        at = span.start + span.bytes;
                    }
                }
            }
        }
        Ok(if hole { Some(self.bytes) } else { Some(at) })
    }
}

impl Lists {
    fn node(&self, reading: &Reading, id: &ChunkId) -> Result<Arc<ListNode>> {
        let weigh = |node: &ListNode| match node {
            ListNode::Items(items) => 64 + items.len() * size_of::<Item>(),
            ListNode::Children { children, .. } => 64 + children.len() * size_of::<(ChunkId, u64)>(),
        };
        let make = || reading.with(|reader, buffers| read_list_node(reader, buffers, id));
        self.nodes.get(*id, weigh, make)
    }
}

/// Finds the places of the items of a part, which are counted from its beginning, and from its end where lengths in the middle are not known.
fn locate(part: &Part, lengths: impl FnOnce(Vec<&ChunkId>) -> (Vec<Option<u32>>, Option<Error>)) -> (Table, Option<Error>) {
    let items = part.items();
    let ids = items.iter().filter_map(|item| if let Item::Chunk(id) = item { Some(id) } else { None }).collect();
    let (known, failure) = lengths(ids);
    let mut known = known.into_iter();
    let lengths: Vec<Option<u64>> = items
        .iter()
        .map(|item| match item {
            Item::Hole(bytes) => Some(*bytes),
            Item::Chunk(_) => known.next().flatten().map(u64::from),
        })
        .collect();
    let (mut front, mut spans) = (0u64, Vec::with_capacity(items.len()));
    let mut unknown = None;
    for (at, bytes) in lengths.iter().enumerate() {
        let Some(end) = bytes.and_then(|bytes| front.checked_add(bytes)).filter(|end| *end <= part.bytes) else {
            unknown = Some(at);
            break;
        };
        spans.push(Span { start: front, bytes: end - front, item: items[at] });
        front = end;
    }
    let wrong = || part.id.as_ref().map(list_node_damaged);
    let Some(unknown) = unknown else {
        // All are known, and are not what the node above says: nobody knows which of them lies.
        let sum_is_right = front == part.bytes;
        return if sum_is_right { (Table { spans }, failure) } else { (Table { spans: Vec::new() }, failure.or_else(wrong)) };
    };
    let (mut back, mut tail) = (part.bytes, Vec::new());
    for at in (unknown + 1..items.len()).rev() {
        let Some(start) = lengths[at].and_then(|bytes| back.checked_sub(bytes)).filter(|start| *start >= front) else { break };
        tail.push(Span { start, bytes: back - start, item: items[at] });
        back = start;
    }
    spans.extend(tail.into_iter().rev());
    (Table { spans }, failure.or_else(wrong))
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
