//! What a manifest needs: every chunk that hangs below its roots, nodes and leaves included.
//! Only the lists side of trees is read, which names its twins: whoever collects needs no key of names or contents.

use crate::error::Result;
use crate::format::lists::{Content, Item, ListNode, get_lists_leaf, get_lists_node};
use crate::format::manifest::IndexRoot;
use crate::format::wire::{Malformed, from_bytes};
use crate::id::{ChunkId, Class};
use crate::limits::TREE_LEVELS_MAX;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::tree::decoded;

/// Takes what a walk comes by.
pub trait Visit {
    /// A chunk that is needed. What it returns counts for nodes and leaves of the lists class: whether what hangs below is walked too.
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool>;

    /// All that hangs below a node or leaf was visited; called in the reverse order of [`Visit::chunk`], for those that were walked.
    fn below(&mut self, _id: &ChunkId) {}
}

/// Walks everything below `roots`. A node or leaf that cannot be read ends the walk: nobody knows what hangs below it.
pub fn walk(reader: &ChunkReader, roots: &[IndexRoot], visit: &mut dyn Visit) -> Result<()> {
    let mut walk = Walk { reader, buffers: ReadBuffers::default(), visit };
    for root in roots {
        if let Some(content) = &root.content {
            walk.content(content)?;
        }
        if let Some(tree) = root.as_tree() {
            walk.tree(tree.level, &tree.names, &tree.lists)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    reader: &'a ChunkReader,
    buffers: ReadBuffers,
    visit: &'a mut dyn Visit,
}

impl Walk<'_> {
    fn tree(&mut self, level: u8, names: &ChunkId, lists: &ChunkId) -> Result<()> {
        self.visit.chunk(Class::Names, names)?;
        if !self.visit.chunk(Class::Lists, lists)? {
            return Ok(());
        }
        let plain = self.reader.chunk(Class::Lists, lists, &mut self.buffers)?;
        if level == 0 {
            for content in decoded(Class::Lists, lists, get_lists_leaf(&plain))? {
                self.content(&content)?;
            }
        } else {
            for child in decoded(Class::Lists, lists, get_lists_node(&plain, level))? {
                self.tree(level - 1, &child.names, &child.lists)?;
            }
        }
        self.visit.below(lists);
        Ok(())
    }

    fn content(&mut self, content: &Content) -> Result<()> {
        match content {
            Content::Inline(items) => self.items(items),
            Content::Tree(root) => self.list(root.level.min(TREE_LEVELS_MAX), &root.id),
        }
    }

    fn list(&mut self, level: u8, id: &ChunkId) -> Result<()> {
        if !self.visit.chunk(Class::Lists, id)? {
            return Ok(());
        }
        let plain = self.reader.chunk(Class::Lists, id, &mut self.buffers)?;
        match decoded(Class::Lists, id, from_bytes::<ListNode>(&plain, "list node"))? {
            ListNode::Items(items) if level == 0 => self.items(&items)?,
            ListNode::Children { level: below, children } if below == level && level > 0 => {
                children.iter().try_for_each(|(child, _)| self.list(level - 1, child))?;
            }
            _ => return decoded(Class::Lists, id, Err(Malformed::Field("list node"))),
        }
        self.visit.below(id);
        Ok(())
    }

    fn items(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            if let Item::Chunk(id) = item {
                self.visit.chunk(Class::Data, id)?;
            }
        }
        Ok(())
    }
}
