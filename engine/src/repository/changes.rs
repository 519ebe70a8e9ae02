//! What differs between two entry trees, entry by entry in order, in bounded memory. Equal subtrees are passed over by their ids, unread:
//! where leaves and nodes begin depends on paths alone, so that what did not change is the same chunk in both.

use crate::error::Result;
use crate::format::entry::{Entry, compare};
use crate::format::lists::Content;
use crate::format::tree::TreeRoot;
use crate::pack::reader::ChunkReader;
use crate::repository::tree::{Stretch, TreeCursor};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// An entry with its content, where it has one.
pub type Found = (Entry, Option<Content>);

/// An entry that lies in a leaf that differs. Both sides may be equal: leaves are compared, entries are the caller's.
pub struct Change {
    /// Its directory, without leading `/`.
    pub dir: Arc<[u8]>,
    /// As it is in the old tree.
    pub old: Option<Found>,
    /// As it is in the new tree.
    pub new: Option<Found>,
}

/// One of the two trees.
struct Side<'r> {
    cursor: Option<TreeCursor<'r>>,
    /// Entries of the leaf that was read last.
    entries: VecDeque<(Arc<[u8]>, Found)>,
}

impl<'r> Side<'r> {
    fn new(reader: &'r ChunkReader, root: Option<&TreeRoot>) -> Self {
        Side { cursor: root.map(|root| TreeCursor::new(reader, root)), entries: VecDeque::new() }
    }

    /// What comes next, unread.
    fn head(&self) -> Option<Stretch<'_>> {
        self.cursor.as_ref()?.ahead()
    }

    fn skip(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.pass();
        }
    }

    /// Reads what comes next: a node makes room for its children, a leaf for its entries.
    fn open(&mut self) -> Result<()> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        for group in cursor.open()? {
            let dir: Arc<[u8]> = group.dir.into();
            self.entries.extend(group.entries.into_iter().map(|found| (dir.clone(), found)));
        }
        Ok(())
    }

    fn key(&self) -> Option<(&[u8], &[u8])> {
        self.entries.front().map(|(dir, (entry, _))| (&dir[..], &entry.name.0[..]))
    }

    /// Whether something before `key`, or at it, was not read yet.
    fn is_behind(&self, key: Option<(&[u8], &[u8])>) -> bool {
        key.is_some() && self.entries.is_empty() && self.head().is_some_and(|head| order(head.first, key) != Ordering::Greater)
    }
}

/// Walks two trees side by side.
pub struct Changes<'r> {
    old: Side<'r>,
    new: Side<'r>,
}

/// Compares the beginnings of two nodes; what is not known is at the very front.
fn order(a: Option<(&[u8], &[u8])>, b: Option<(&[u8], &[u8])>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

impl<'r> Changes<'r> {
    /// From `old` to `new`; a tree that is not there is an empty one.
    pub fn new(reader: &'r ChunkReader, old: Option<&TreeRoot>, new: Option<&TreeRoot>) -> Self {
        Changes { old: Side::new(reader, old), new: Side::new(reader, new) }
    }

    /// The next entry of a leaf that differs. After an error nothing more can be said of the trees.
    pub fn next_change(&mut self) -> Result<Option<Change>> {
        loop {
            if self.old.entries.is_empty() && self.new.entries.is_empty() {
                if !self.meet()? {
                    return Ok(None);
                }
                continue;
            }
            // An entry is told once the other side has nothing unread before it, or at it.
            if self.new.is_behind(self.old.key()) {
                self.new.open()?;
                continue;
            }
            if self.old.is_behind(self.new.key()) {
                self.old.open()?;
                continue;
            }
            let order = match (self.old.key(), self.new.key()) {
                (Some(old), Some(new)) => compare(old, new),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let old = (order != Ordering::Greater).then(|| self.old.entries.pop_front()).flatten();
            let new = (order != Ordering::Less).then(|| self.new.entries.pop_front()).flatten();
            let (old_dir, old) = old.unzip();
            let (new_dir, new) = new.unzip();
            return Ok(old_dir.or(new_dir).map(|dir| Change { dir, old, new }));
        }
    }

    /// Both sides stand between leaves: passes over what is equal, opens what is not. `false` at the end of both.
    fn meet(&mut self) -> Result<bool> {
        let (open_old, open_new) = match (self.old.head(), self.new.head()) {
            (None, None) => return Ok(false),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(old), Some(new)) if old.level == new.level && old.twins == new.twins => {
                self.old.skip();
                self.new.skip();
                return Ok(true);
            }
            // What is higher may hold the other below it.
            (Some(old), Some(new)) => match old.level.cmp(&new.level).then(order(new.first, old.first)) {
                Ordering::Greater => (true, false),
                Ordering::Less => (false, true),
                Ordering::Equal => (true, true),
            },
        };
        if open_old {
            self.old.open()?;
        }
        if open_new {
            self.new.open()?;
        }
        Ok(true)
    }
}
