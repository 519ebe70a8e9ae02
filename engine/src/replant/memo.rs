//! What a session of replanting has found out and will need again: under which ids the target holds what the source has. Twenty snapshots of
//! one tree share most of it, and without it each of them would be read whole.
//! Bounded, however much a source holds; it must never say of a chunk that was not stored that it was, so only the thread that stores writes.

use crate::format::lists::Content;
use crate::id::ChunkId;
use crate::index::session::IdHasher;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type ById<T> = HashMap<ChunkId, T, BuildHasherDefault<IdHasher>>;

/// Chunks that are remembered before all of them are forgotten: what fits a table of 2^20, about 72 MiB.
const CHUNKS_MAX: usize = 7 << 17;
/// Contents with a list tree, each one chunk of the source's.
const LISTS_MAX: usize = 1 << 16;
/// Leaves of which nothing goes.
const LEAVES_MAX: usize = 1 << 18;

/// See the module's text.
#[derive(Default)]
pub struct Memo {
    /// By ids of the source: id and length in the target.
    chunks: RwLock<ById<(ChunkId, u32)>>,
    /// By the roots of list trees of the source: content and length in the target.
    lists: RwLock<ById<(Content, u64)>>,
    /// Names sides of leaves of which the filter takes nothing.
    whole: RwLock<HashSet<ChunkId, BuildHasherDefault<IdHasher>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn keep<T>(map: &mut ById<T>, max: usize, id: ChunkId, value: T) {
    if map.len() >= max {
        map.clear();
    }
    map.insert(id, value);
}

impl Memo {
    /// Id and length of a chunk of content in the target.
    pub fn chunk(&self, id: &ChunkId) -> Option<(ChunkId, u32)> {
        read(&self.chunks).get(id).copied()
    }

    /// Remembers one that the target has, or that is on its way there.
    pub fn keep_chunk(&self, id: ChunkId, target: (ChunkId, u32)) {
        keep(&mut write(&self.chunks), CHUNKS_MAX, id, target);
    }

    /// What the content whose list tree has this root became.
    pub fn list(&self, root: &ChunkId) -> Option<(Content, u64)> {
        read(&self.lists).get(root).cloned()
    }

    /// Remembers that.
    pub fn keep_list(&self, root: ChunkId, content: (Content, u64)) {
        keep(&mut write(&self.lists), LISTS_MAX, root, content);
    }

    /// Whether nothing goes of the leaf with this names side.
    pub fn is_whole(&self, names: &ChunkId) -> bool {
        read(&self.whole).contains(names)
    }

    /// Remembers that.
    pub fn keep_whole(&self, names: ChunkId) {
        let mut whole = write(&self.whole);
        if whole.len() >= LEAVES_MAX {
            whole.clear();
        }
        whole.insert(names);
    }

    /// Forgets what holds for one filter and one set of paths only.
    pub fn forget_whole(&self) {
        write(&self.whole).clear();
    }
}
