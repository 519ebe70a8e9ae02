//! What a running backup knows besides the index: the chunks that it is writing itself.
//! Bounded: what a published segment names is kept as sorted 16-byte prefixes, the rest in a small hash set.

use crate::format::segment::{Prefix, prefix};
use crate::id::{ChunkId, Class};
use crate::index::Index;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Chunk ids are keyed hashes: their bytes are as good a hash as any, and an attacker cannot choose them.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
}

/// Answers "is this chunk stored or on its way?".
pub struct SessionIndex {
    base: Arc<Index>,
    fresh: HashSet<(u8, Prefix), BuildHasherDefault<IdHasher>>,
    frozen: Vec<Vec<(u8, Prefix)>>,
}

impl SessionIndex {
    /// On top of what the repository holds.
    pub fn new(base: Arc<Index>) -> Self {
        SessionIndex { base, fresh: HashSet::default(), frozen: Vec::new() }
    }

    /// Takes note of a chunk; `true` where it is new and must be written.
    pub fn insert(&mut self, class: Class, id: &ChunkId) -> bool {
        let key = (class.code(), prefix(id));
        if self.base.has(class, id) || self.frozen.iter().any(|run| run.binary_search(&key).is_ok()) {
            return false;
        }
        self.fresh.insert(key)
    }

    /// Moves the fresh chunks to sorted memory once there are `max` of them.
    pub fn compact(&mut self, max: usize) {
        if self.fresh.len() < max {
            return;
        }
        let mut run: Vec<_> = self.fresh.drain().collect();
        if self.frozen.len() >= 4 {
            run.extend(self.frozen.drain(..).flatten());
        }
        run.sort_unstable();
        self.frozen.push(run);
    }
}
