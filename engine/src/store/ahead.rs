//! Reads packs of a remote store in few, long requests: neighbours in one GET, and the next ones before anybody asks, as far as
//! somebody reads on. Ranges are multiples of 64 KiB: the store learns no more exactly what was read (DESIGN section 1, promise 5).

use crate::buffers::Buffers;
use crate::error::{Damage, Error, Result};
use crate::id::ObjectName;
use crate::store::Store;
use crossbeam_channel::{Sender, unbounded};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What is fetched and kept at a time: a multiple of 64 KiB, about the length of a frame.
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks of one request at most: 8 MiB.
const BLOCKS_MAX: u64 = 16;
/// Windows longer than this use memory that goes round: the allocator would keep holes of all their lengths.
const POOLED_FROM: u64 = 2 << 20;
/// What may be under way beforehand or wait to be read. Peak memory is to stay below 128 MB, packs under way not counted.
const KEPT_BYTES_MAX: u64 = 48 << 20;
/// Requests beforehand, for each reader that reads on.
const WINDOWS_AHEAD: u64 = 2;
/// Threads that fetch beforehand.
const FETCHERS: usize = 4;

/// A block by its pack and number.
type At = (ObjectName, u64);

/// What one request fetches. Its memory is counted from before it is asked for until the last reader lets go, and used again.
struct Window {
    bytes: Vec<u8>,
    asked: u64,
    books: Arc<Books>,
}

/// Memory of windows: what is in use, and what waits to be used again.
#[derive(Default)]
struct Books {
    held: AtomicU64,
    spare: Buffers,
}

impl Window {
    fn new(books: &Arc<Books>, asked: u64) -> Self {
        books.held.fetch_add(asked, Relaxed);
        let bytes = if asked > POOLED_FROM { books.spare.take() } else { Vec::new() };
        let mut window = Window { bytes, asked, books: books.clone() };
        if asked > POOLED_FROM && asked <= BLOCKS_MAX * BLOCK_BYTES {
            // All of one length, so that each fits where another was.
            window.bytes.reserve_exact((BLOCKS_MAX * BLOCK_BYTES) as usize);
        }
        window
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.bytes.capacity() as u64 == BLOCKS_MAX * BLOCK_BYTES {
            self.books.spare.give(std::mem::take(&mut self.bytes));
        }
        self.books.held.fetch_sub(self.asked, Relaxed);
    }
}

enum Block {
    /// Somebody fetches it.
    Coming,
    /// A part of what came with it; it is shorter at the end of its pack. `unread` bytes were not handed out yet.
    Here { window: Arc<Window>, range: Range<usize>, used: u64, unread: usize },
}

#[derive(Default)]
struct State {
    blocks: HashMap<At, Block>,
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
    books: Arc<Books>,
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
        let shared = Arc::new(Shared { far, state: Mutex::default(), arrived: Condvar::new(), books: Arc::default() });
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
        here.iter().for_each(|at| drop(state.blocks.remove(at)));
    }

    /// Reads a range of a pack.
    pub fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        if range.start >= range.end {
            return self.shared.far.get_range(name, range, into);
        }
        let (first, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
        for block in first..=last {
            let (window, part) = self.block(name, block, last)?;
            let from = range.start.max(block * BLOCK_BYTES) - block * BLOCK_BYTES;
            let to = range.end.min((block + 1) * BLOCK_BYTES) - block * BLOCK_BYTES;
            let Some(found) = window.bytes.get(part).and_then(|bytes| bytes.get(from as usize..to as usize)) else {
                into.clear();
                // Who reports it has asked for exactly this.
                let have = self.shared.far.size(name)?.ok_or_else(|| Error::damaged(name, Damage::Missing))?;
                return Err(Error::damaged(name, Damage::Short { have, want: range.end }));
            };
            into.extend_from_slice(found);
            self.shared.lock().was_read(&(name.clone(), block), found.len());
        }
        Ok(())
    }

    /// One block; `last` is the last one that the same reader will ask for.
    fn block(&self, name: &ObjectName, block: u64, last: u64) -> Result<(Arc<Window>, Range<usize>)> {
        let at = (name.clone(), block);
        let mut state = self.shared.lock();
        loop {
            state.tick += 1;
            let tick = state.tick;
            match state.blocks.get_mut(&at) {
                Some(Block::Here { window, range, used, .. }) => {
                    *used = tick;
                    return Ok((window.clone(), range.clone()));
                }
                Some(Block::Coming) => state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                None => {
                    let (wanted, beforehand) = state.plan(name, (block, last), self.shared.books.held.load(Relaxed));
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
    fn fetch(&self, name: &ObjectName, blocks: Range<u64>) -> Result<(Arc<Window>, Range<usize>)> {
        let coming = Coming { shared: self, name, blocks: blocks.clone() };
        let mut window = Window::new(&self.books, (blocks.end - blocks.start) * BLOCK_BYTES);
        self.far.get_upto(name, blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES, &mut window.bytes)?;
        let window = Arc::new(window);
        let mut state = self.lock();
        let part = |block: u64| {
            let from = (((block - blocks.start) * BLOCK_BYTES) as usize).min(window.bytes.len());
            from..(from + BLOCK_BYTES as usize).min(window.bytes.len())
        };
        for block in blocks.clone() {
            state.tick += 1;
            let (range, used) = (part(block), state.tick);
            let unread = range.len();
            state.blocks.insert((name.clone(), block), Block::Here { window: window.clone(), range, used, unread });
        }
        state.shrink(&self.books);
        drop(state);
        drop(coming);
        let part = part(blocks.start);
        Ok((window, part))
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
    fn plan(&mut self, name: &ObjectName, (block, last): (u64, u64), held: u64) -> (Range<u64>, Vec<Range<u64>>) {
        let needed = last + 1 - block;
        // A block or two may be passed over: frames that nobody needs.
        let (reads_on, blocks) = match self.runs.get(name) {
            Some((expected, blocks)) => ((*expected..=*expected + 2).contains(&block), *blocks),
            None => (false, 0),
        };
        let mut room = KEPT_BYTES_MAX.saturating_sub(held) / BLOCK_BYTES;
        let window = if reads_on { (blocks * 2).min(room).clamp(needed, BLOCKS_MAX.max(needed)) } else { needed };
        let end_of_pack = self.lengths.get(name).map_or(u64::MAX, |bytes| bytes.div_ceil(BLOCK_BYTES));
        let wanted = self.claim(name, block..(block + window).min(end_of_pack.max(block + 1)));
        let (mut beforehand, mut next) = (Vec::new(), wanted.end);
        room = room.saturating_sub(wanted.end - wanted.start);
        if reads_on && end_of_pack != u64::MAX {
            for _ in 0..WINDOWS_AHEAD {
                let blocks = window.min(end_of_pack.saturating_sub(next));
                if blocks == 0 || blocks > room || self.blocks.contains_key(&(name.clone(), next)) {
                    break;
                }
                let window = self.claim(name, next..next + blocks);
                room -= window.end - window.start;
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

    /// Takes note of what was handed out of a block. One that was read whole goes: nobody reads the same frame twice, it is kept decoded.
    fn was_read(&mut self, at: &At, bytes: usize) {
        if let Some(Block::Here { unread, .. }) = self.blocks.get_mut(at) {
            *unread = unread.saturating_sub(bytes);
            if *unread == 0 {
                self.blocks.remove(at);
            }
        }
    }

    /// Forgets what was used longest ago, a good part of it at a time.
    fn shrink(&mut self, books: &Books) {
        if books.held.load(Relaxed) <= KEPT_BYTES_MAX {
            return;
        }
        let used = |block: &Block| if let Block::Here { used, .. } = block { Some(*used) } else { None };
        let mut here: Vec<(u64, At)> = self.blocks.iter().filter_map(|(at, block)| Some((used(block)?, at.clone()))).collect();
        here.sort();
        for (_, at) in here {
            if books.held.load(Relaxed) <= KEPT_BYTES_MAX / 4 * 3 {
                break;
            }
            self.blocks.remove(&at);
        }
    }
}
