//! Reads packs of a remote store in few, long requests: neighbours in one GET, and the next ones before anybody asks, as far as
//! somebody reads on. Ranges are multiples of 64 KiB: the store learns no more exactly what was read (DESIGN section 1, promise 5).

use crate::error::{Damage, Error, Result};
use crate::id::ObjectName;
use crate::store::Store;
use crossbeam_channel::{Sender, unbounded};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What is fetched and kept at a time: a multiple of 64 KiB, about the length of a frame.
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks of one request at most: 8 MiB.
const BLOCKS_MAX: u64 = 16;
/// What may wait to be read. Peak memory is to stay below 128 MB, packs under way not counted.
const KEPT_BYTES_MAX: u64 = 48 << 20;
/// Requests beforehand, for each reader that reads on.
const WINDOWS_AHEAD: u64 = 2;
/// Threads that fetch beforehand.
const FETCHERS: usize = 4;

/// A block by its pack and number.
type At = (ObjectName, u64);

enum Block {
    /// Somebody fetches it.
    Coming,
    /// A part of what came with it; it is shorter at the end of its pack.
    Here { bytes: Arc<Vec<u8>>, range: Range<usize>, used: u64 },
}

#[derive(Default)]
struct State {
    blocks: HashMap<At, Block>,
    bytes: u64,
    tick: u64,
    /// Which block of each pack comes next where it is read on, and how many were fetched at a time.
    runs: HashMap<ObjectName, (u64, u64)>,
    /// Lengths of packs, as far as somebody saw them.
    lengths: HashMap<ObjectName, u64>,
}

struct Shared {
    far: Arc<dyn Store>,
    state: Mutex<State>,
    arrived: Condvar,
}

/// Blocks of packs between a remote store and its readers.
pub struct Ahead {
    shared: Arc<Shared>,
    /// Closed on drop, so that the fetching threads end.
    jobs: Sender<(ObjectName, Range<u64>)>,
}

impl Ahead {
    /// Nothing read yet.
    pub fn new(far: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared { far, state: Mutex::default(), arrived: Condvar::new() });
        let (jobs, todo) = unbounded::<(ObjectName, Range<u64>)>();
        for _ in 0..FETCHERS {
            let (shared, todo) = (shared.clone(), todo.clone());
            std::thread::spawn(move || {
                for (name, blocks) in todo {
                    // What fails here is asked for again by whoever needs it, and fails there.
                    shared.fetch(&name, blocks).map(|_| ()).unwrap_or(());
                }
            });
        }
        Ahead { shared, jobs }
    }

    /// Takes note of the length of a pack.
    pub fn note_length(&self, name: &ObjectName, bytes: u64) {
        self.shared.lock().lengths.insert(name.clone(), bytes);
    }

    /// Drops what is kept of a pack: it turned out to be damaged.
    pub fn forget(&self, name: &ObjectName) {
        let mut state = self.shared.lock();
        let here: Vec<At> =
            state.blocks.iter().filter(|((n, _), b)| n == name && matches!(b, Block::Here { .. })).map(|(at, _)| at.clone()).collect();
        here.iter().for_each(|at| state.remove(at));
    }

    /// Reads a range of a pack.
    pub fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        if range.start >= range.end {
            return self.shared.far.get_range(name, range, into);
        }
        let (first, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
        for block in first..=last {
            let (bytes, part) = self.block(name, block, last)?;
            let from = range.start.max(block * BLOCK_BYTES) - block * BLOCK_BYTES;
            let to = range.end.min((block + 1) * BLOCK_BYTES) - block * BLOCK_BYTES;
            let Some(found) = bytes.get(part).and_then(|bytes| bytes.get(from as usize..to as usize)) else {
                into.clear();
                // Who reports it has asked for exactly this.
                let have = self.shared.far.size(name)?.ok_or_else(|| Error::damaged(name, Damage::Missing))?;
                return Err(Error::damaged(name, Damage::Short { have, want: range.end }));
            };
            into.extend_from_slice(found);
        }
        Ok(())
    }

    /// One block; `last` is the last one that the same reader will ask for.
    fn block(&self, name: &ObjectName, block: u64, last: u64) -> Result<(Arc<Vec<u8>>, Range<usize>)> {
        let at = (name.clone(), block);
        let mut state = self.shared.lock();
        loop {
            state.tick += 1;
            let tick = state.tick;
            match state.blocks.get_mut(&at) {
                Some(Block::Here { bytes, range, used }) => {
                    *used = tick;
                    return Ok((bytes.clone(), range.clone()));
                }
                Some(Block::Coming) => state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                None => {
                    let (wanted, beforehand) = state.plan(name, block, last);
                    drop(state);
                    for blocks in beforehand {
                        // Nobody takes jobs any more: then they are fetched when they are needed.
                        self.jobs.send((name.clone(), blocks)).unwrap_or(());
                    }
                    return self.shared.fetch(name, wanted);
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Blocks are only ever whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches blocks that are marked as coming, and returns the first.
    fn fetch(&self, name: &ObjectName, blocks: Range<u64>) -> Result<(Arc<Vec<u8>>, Range<usize>)> {
        let coming = Coming { shared: self, name, blocks: blocks.clone() };
        let mut bytes = Vec::new();
        self.far.get_upto(name, blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES, &mut bytes)?;
        let bytes = Arc::new(bytes);
        let mut state = self.lock();
        let part = |block: u64| {
            let from = (((block - blocks.start) * BLOCK_BYTES) as usize).min(bytes.len());
            from..(from + BLOCK_BYTES as usize).min(bytes.len())
        };
        for block in blocks.clone() {
            state.tick += 1;
            let (range, used) = (part(block), state.tick);
            state.bytes += range.len() as u64;
            state.blocks.insert((name.clone(), block), Block::Here { bytes: bytes.clone(), range, used });
        }
        state.shrink();
        drop(state);
        drop(coming);
        Ok((bytes.clone(), part(blocks.start)))
    }
}

/// Blocks that are being fetched. However that ends, nobody waits for them afterwards.
struct Coming<'a> {
    shared: &'a Shared,
    name: &'a ObjectName,
    blocks: Range<u64>,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for block in self.blocks.clone() {
            let at = (self.name.clone(), block);
            if matches!(state.blocks.get(&at), Some(Block::Coming)) {
                state.blocks.remove(&at);
            }
        }
        self.shared.arrived.notify_all();
    }
}

impl State {
    /// What to fetch for a reader that needs `block` now and will need all up to `last`; and what to fetch beforehand. Twice as much as
    /// the last time where it reads on, only what it asked for where it jumps.
    fn plan(&mut self, name: &ObjectName, block: u64, last: u64) -> (Range<u64>, Vec<Range<u64>>) {
        let needed = last + 1 - block;
        // A block or two may be passed over: frames that nobody needs.
        let (reads_on, blocks) = match self.runs.get(name) {
            Some((expected, blocks)) => ((*expected..=*expected + 2).contains(&block), *blocks),
            None => (false, 0),
        };
        let window = if reads_on { (blocks * 2).clamp(needed, BLOCKS_MAX.max(needed)) } else { needed };
        let end_of_pack = self.lengths.get(name).map_or(u64::MAX, |bytes| bytes.div_ceil(BLOCK_BYTES));
        let wanted = self.claim(name, block..(block + window).min(end_of_pack.max(block + 1)));
        let (mut beforehand, mut next) = (Vec::new(), wanted.end);
        if reads_on && end_of_pack != u64::MAX {
            for _ in 0..WINDOWS_AHEAD {
                if next >= end_of_pack || self.blocks.contains_key(&(name.clone(), next)) {
                    break;
                }
                let window = self.claim(name, next..(next + window).min(end_of_pack));
                next = window.end;
                beforehand.push(window);
            }
        }
        self.runs.insert(name.clone(), (next, window));
        (wanted, beforehand)
    }

    /// Marks blocks as coming, up to the first that is here or coming already.
    fn claim(&mut self, name: &ObjectName, blocks: Range<u64>) -> Range<u64> {
        let mut end = blocks.start;
        while end < blocks.end && !self.blocks.contains_key(&(name.clone(), end)) {
            self.blocks.insert((name.clone(), end), Block::Coming);
            end += 1;
        }
        blocks.start..end
    }

    fn remove(&mut self, at: &At) {
        if let Some(Block::Here { range, .. }) = self.blocks.remove(at) {
            self.bytes -= range.len() as u64;
        }
    }

    /// Forgets what was used longest ago, a good part of it at a time.
    fn shrink(&mut self) {
        if self.bytes <= KEPT_BYTES_MAX {
            return;
        }
        let used = |block: &Block| if let Block::Here { used, .. } = block { Some(*used) } else { None };
        let mut here: Vec<(u64, At)> = self.blocks.iter().filter_map(|(at, block)| Some((used(block)?, at.clone()))).collect();
        here.sort();
        for (_, at) in here {
            if self.bytes <= KEPT_BYTES_MAX / 4 * 3 {
                break;
            }
            self.remove(&at);
        }
    }
}
