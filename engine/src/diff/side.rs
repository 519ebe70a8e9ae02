//! One side of a comparison: what a snapshot has at and below a path, or what is on this machine.

use crate::diff::live::{Handle, LiveRun};
use crate::error::Result;
use crate::repository::merged::{self, Head, Merged};
use crate::repository::side_by_side::Heads;

/// An entry of one side.
pub struct Item {
    /// The entry.
    pub at: merged::Item,
    /// Where it is, for one that is not stored.
    pub live: Option<Handle>,
}

/// One side.
pub enum Side<'r> {
    /// A snapshot.
    Stored(Box<Merged<'r>>),
    /// This machine.
    Live(Box<LiveRun>),
}

impl Heads for Side<'_> {
    fn head(&mut self) -> Option<(usize, Head<'_>)> {
        match self {
            Side::Stored(merged) => merged.head(),
            Side::Live(live) => live.peek().map(|item| (0, Head::Entry { key: item.at.key() })),
        }
    }

    fn is_alone(&mut self, run: usize) -> bool {
        match self {
            Side::Stored(merged) => merged.is_alone(run),
            Side::Live(_) => false,
        }
    }
}

impl Side<'_> {
    /// Takes the entry that comes first.
    pub fn take(&mut self) -> Option<Item> {
        match self {
            Side::Stored(merged) => merged.take().map(|at| Item { at, live: None }),
            Side::Live(live) => live.next(),
        }
    }

    /// As for [`Merged`].
    pub fn open(&mut self, run: usize) -> Result<()> {
        match self {
            Side::Stored(merged) => merged.open(run),
            Side::Live(_) => Ok(()),
        }
    }

    /// As for [`Merged`].
    pub fn pass(&mut self, run: usize) {
        if let Side::Stored(merged) = self {
            merged.pass(run);
        }
    }

    /// Nodes and leaves that were read.
    pub fn read(&self) -> u64 {
        if let Side::Stored(merged) = self { merged.read } else { 0 }
    }

    /// The walk, where this side is this machine.
    pub fn live(&self) -> Option<&LiveRun> {
        if let Side::Live(live) = self { Some(live) } else { None }
    }

    /// The same, to be told what failed.
    pub fn live_mut(&mut self) -> Option<&mut LiveRun> {
        if let Side::Live(live) = self { Some(live) } else { None }
    }
}
