//! Reads chunks through two bounded caches: open packs (footers) and decoded frames.
//! A frame holds a hundred neighbouring chunks, so that a sequential reader decodes each frame once. Callers may be many threads.

use crate::chunk::ChunkIds;
use crate::error::{Error, Result};
use crate::id::{ChunkId, Class};
use crate::index::{Index, Location};
use crate::pack::{FrameDecoder, OpenPack, check_chunk};
use crate::seal::key::Keys;
use crate::store::Store;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A map of at most `max` weight that forgets what was used longest ago; a value that is being made is made once.
struct Lru<K, V> {
    max: usize,
    state: Mutex<LruState<K, V>>,
}

/// A value under a lock of its own, which is held while the value is made.
type Cell<V> = Arc<Mutex<Option<Arc<V>>>>;

struct LruState<K, V> {
    /// Value, time of the last use, weight (0 until it is made).
    slots: HashMap<K, (Cell<V>, u64, usize)>,
    clock: u64,
    weight: usize,
}

/// A thread that panicked while it held a lock left the value as it was before or after: both are fine for a cache.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    fn new(max: usize) -> Self {
        Lru { max, state: Mutex::new(LruState { slots: HashMap::new(), clock: 0, weight: 0 }) }
    }

    fn get(&self, key: K, weigh: impl FnOnce(&V) -> usize, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let slot = {
            let mut state = lock(&self.state);
            state.clock += 1;
            let now = state.clock;
            let slot = state.slots.entry(key).or_insert_with(|| (Arc::default(), now, 0));
            slot.1 = now;
            slot.0.clone()
        };
        let mut value = lock(&slot);
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        // The slot's own lock is held while the value is made: a second reader waits for it instead of decoding it again.
        let made = match make() {
            Ok(made) => Arc::new(made),
            Err(error) => {
                lock(&self.state).slots.remove(&key);
                return Err(error);
            }
        };
        *value = Some(made.clone());
        drop(value);
        let weight = weigh(&made);
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.get_mut(&key) {
            slot.2 = weight;
            state.weight += weight;
        }
        while state.weight > self.max {
            let oldest = state.slots.iter().filter(|(k, s)| **k != key && s.2 > 0).min_by_key(|(_, s)| s.1).map(|(k, s)| (*k, s.2));
            let Some((oldest, weight)) = oldest else { break };
            state.slots.remove(&oldest);
            state.weight -= weight;
        }
        Ok(made)
    }
}

/// Decoded frames that are kept: enough for every worker's neighbourhood in a snapshot that draws on some thirty generations of packs.
const FRAMES_CACHE_BYTES: usize = 32 << 20;
/// Footers that are kept, by their size in memory.
const PACKS_CACHE_BYTES: usize = 24 << 20;

/// Finds, reads and checks chunks.
pub struct ChunkReader {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    ids: ChunkIds,
    index: Arc<Index>,
    packs: Lru<u32, OpenPack>,
    frames: Lru<(u32, u32), Vec<u8>>,
}

/// Pack and frame by their numbers in the index.
type FrameAt = (u32, u32);

/// What one thread reuses from chunk to chunk.
#[derive(Default)]
pub struct ReadBuffers {
    stored: Vec<u8>,
    decoder: FrameDecoder,
    last: Option<(FrameAt, Arc<OpenPack>, Arc<Vec<u8>>)>,
}

impl ChunkReader {
    /// A reader over what `index` knows.
    pub fn new(store: Arc<dyn Store>, keys: Arc<Keys>, ids: ChunkIds, index: Arc<Index>) -> Self {
        ChunkReader { store, keys, ids, index, packs: Lru::new(PACKS_CACHE_BYTES), frames: Lru::new(FRAMES_CACHE_BYTES) }
    }

    /// The index that chunks are looked up in.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    fn open(&self, pack: u32) -> Result<Arc<OpenPack>> {
        let info = &self.index.packs()[pack as usize];
        let weigh = |p: &OpenPack| 512 + p.table.chunks.len() * 48 + p.table.frames.len() * 96;
        self.packs.get(pack, weigh, || OpenPack::open(&*self.store, &self.keys, info.class, &info.id))
    }

    fn read_at(&self, at: Location, class: Class, id: &ChunkId, buffers: &mut ReadBuffers, out: &mut Vec<u8>) -> Result<()> {
        // The footer gives the frame; a run of neighbours then needs no lock at all.
        let known = buffers.last.as_ref().filter(|(key, _, _)| key.0 == at.pack).map(|(_, pack, _)| pack.clone());
        let pack = match known {
            Some(pack) => pack,
            None => self.open(at.pack)?,
        };
        let wrong = || Error::damaged(&pack.name, crate::error::Damage::Malformed("index position"));
        let span = *pack.table.chunks.get(at.chunk as usize).ok_or_else(wrong)?;
        let key = (at.pack, span.frame);
        let frame = match &buffers.last {
            Some((last, _, frame)) if *last == key => frame.clone(),
            _ => {
                let ReadBuffers { stored, decoder, .. } = &mut *buffers;
                let frame = self.frames.get(key, Vec::len, || {
                    let mut plain = Vec::new();
                    pack.frame(&*self.store, span.frame, stored, decoder, &mut plain)?;
                    Ok(plain)
                })?;
                buffers.last = Some((key, pack.clone(), frame.clone()));
                frame
            }
        };
        let bytes = frame.get(span.offset as usize..(span.offset + span.bytes) as usize).ok_or_else(wrong)?;
        check_chunk(&pack.name, &self.ids, class, id, bytes)?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends the bytes of a chunk to `out`. Where a chunk has several copies, a damaged one is passed over.
    pub fn read(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers, out: &mut Vec<u8>) -> Result<()> {
        let mut failure = None;
        for at in self.index.find(class, id) {
            match self.read_at(at, class, id, buffers, out) {
                Ok(()) => return Ok(()),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(match failure {
            Some(Error::Damaged { object, damage: crate::error::Damage::Missing }) => match object.as_pack() {
                Some((_, pack)) => Error::PackMissing { pack, id: *id },
                None => Error::ChunkMissing { id: *id },
            },
            Some(error) => error,
            None => Error::ChunkMissing { id: *id },
        })
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read(class, id, buffers, &mut out)?;
        Ok(out)
    }
}
