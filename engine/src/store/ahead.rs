//! Reads packs of a remote store in few, long requests: neighbours in one GET, and the next ones before anybody asks, as far as
//! somebody reads on. Ranges are multiples of 64 KiB: the store learns no more exactly what was read (DESIGN section 1, promise 5).

use crate::buffers::Buffers;
use crate::error::{Damage, Error, Result};
use crate::id::ObjectName;
use crate::store::Store;
use crossbeam_channel::{Sender, unbounded};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What is fetched and kept at a time: a multiple of 64 KiB, about the length of a frame.
const BLOCK_BYTES: u64 = 512 << 10;
/// Blocks of one request at most: 4 MiB, so that several readers have several of them.
const BLOCKS_MAX: u64 = 8;
/// Windows longer than this, the first of a pack, use memory that goes round: the allocator would keep holes of all their lengths.
const POOLED_FROM: u64 = FIRST_BLOCKS * BLOCK_BYTES;
/// Packs of which is known who reads them and where: those with blocks here stay, the others are forgotten when there are so many.
const PACKS_KNOWN_MAX: usize = 512;
/// What may be under way beforehand, wait to be read, or was read. Readers that wait right now get what they need on top of it. Peak memory is to stay below 128 MB, packs under way not counted.
const KEPT_BYTES_MAX: u64 = 56 << 20;
/// Uses of other blocks after which nobody is believed to come for one: more than twice what is kept.
const STALE_USES: u64 = 256;
/// Blocks at the beginning of a pack.
const FIRST_BLOCKS: u64 = 4;
/// By how much windows grow.
const GROWTH: u64 = 4;
/// Requests beforehand, for each reader that reads on.
const WINDOWS_AHEAD: u64 = 4;
/// Threads that fetch beforehand.
const FETCHERS: usize = 6;

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
        Window { bytes: Vec::new(), asked, books: books.clone() }
    }

    /// Takes the memory.
    fn prepare(&mut self) {
        if self.asked > POOLED_FROM && self.asked <= BLOCKS_MAX * BLOCK_BYTES {
            self.bytes = self.books.spare.take();
            // All of one length, so that each fits where another was.
            self.bytes.reserve_exact((BLOCKS_MAX * BLOCK_BYTES) as usize);
        }
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
    /// What is known of the readers of each pack.
    packs: HashMap<ObjectName, Readers>,
    /// Lengths of packs, as far as somebody saw them.
    lengths: HashMap<ObjectName, u64>,
}

/// Several readers may go through one pack, each from a place of its own.
#[derive(Default)]
struct Readers {
    /// The block that each is expected to ask for next, and how many were fetched for it at a time; the last one at the end.
    runs: Vec<(u64, u64)>,
    /// Blocks that were fetched and read: nobody fetches them beforehand again.
    read: HashSet<u64>,
}

/// Readers of one pack that are told apart.
const RUNS_MAX: usize = 8;
/// Blocks between the one that a reader is expected to ask for and the one that it asks for: frames that nobody needs.
const PASSED_OVER_MAX: u64 = 2;

impl Readers {
    /// How many blocks were fetched at a time for the reader that now asks for `block`; `None` where it is a new one.
    fn take_run(&mut self, block: u64) -> Option<u64> {
        let at = self.runs.iter().position(|(next, _)| (*next..=*next + PASSED_OVER_MAX).contains(&block))?;
        Some(self.runs.remove(at).1)
    }

    fn put_run(&mut self, next: u64, blocks: u64) {
        if self.runs.len() >= RUNS_MAX {
            self.runs.remove(0);
        }
        self.runs.push((next, blocks));
    }
}

struct Shared {
    far: Arc<dyn Store>,
    state: Mutex<State>,
    arrived: Condvar,
    books: Arc<Books>,
    /// Nobody reads any more.
    ended: AtomicBool,
}

/// Blocks of packs between a remote store and its readers.
pub struct Ahead {
    shared: Arc<Shared>,
    /// Closed on drop, so that the fetching threads end.
    jobs: Sender<Coming>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
    }
}

impl Ahead {
    /// Nothing read yet.
    pub fn new(far: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared {
            far,
            state: Mutex::default(),
            arrived: Condvar::new(),
            books: Arc::default(),
            ended: AtomicBool::new(false),
        });
        let (jobs, todo) = unbounded::<Coming>();
        for _ in 0..FETCHERS {
            let todo = todo.clone();
            std::thread::spawn(move || {
                for coming in todo {
                    let shared = coming.shared.clone();
                    if !shared.ended.load(Relaxed) {
                        // What fails here is asked for again by whoever needs it, and fails there.
                        shared.fetch(coming).map(|_| ()).unwrap_or(());
                    }
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

    /// Fetches what somebody will read soon, and what comes behind it where that follows what was asked for before. What there is no room for
    /// is fetched by whoever reads it.
    pub fn expect(&self, name: &ObjectName, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let (mut block, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
        while block <= last {
            let mut state = self.shared.lock();
            if state.blocks.contains_key(&(name.clone(), block)) {
                block += 1;
                continue;
            }
            let room_but_for = KEPT_BYTES_MAX.saturating_sub((last + 1 - block) * BLOCK_BYTES);
            state.make_room(&self.shared.books, room_but_for);
            if self.shared.books.held.load(Relaxed) > room_but_for {
                return;
            }
            let (wanted, beforehand) = state.plan(name, (block, last), &self.shared.books);
            block = wanted.end.max(block + 1);
            drop(state);
            for blocks in std::iter::once(wanted).chain(beforehand) {
                self.jobs.send(Coming::new(&self.shared, name, blocks)).unwrap_or(());
            }
        }
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
                    let (wanted, beforehand) = state.plan(name, (block, last), &self.shared.books);
                    drop(state);
                    let coming = |blocks| Coming::new(&self.shared, name, blocks);
                    // Memory is promised before anything is asked for: what waits for a fetcher counts too.
                    let (wanted, beforehand) = (coming(wanted), beforehand.into_iter().map(coming).collect::<Vec<_>>());
                    for blocks in beforehand {
                        // It is given up again however the job ends, also where nobody takes it: then it is fetched when it is needed.
                        self.jobs.send(blocks).unwrap_or(());
                    }
                    return self.shared.fetch(wanted);
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
    fn fetch(&self, mut coming: Coming) -> Result<(Arc<Window>, Range<usize>)> {
        let Some(mut window) = coming.window.take() else { return Err(Error::Interrupted) };
        let (name, blocks) = (&coming.name, coming.blocks.clone());
        window.prepare();
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
        state.make_room(&self.books, KEPT_BYTES_MAX);
        drop(state);
        self.arrived.notify_all();
        let part = part(blocks.start);
        Ok((window, part))
    }
}

/// Blocks that are being fetched. However that ends, nobody waits for them afterwards.
struct Coming {
    shared: Arc<Shared>,
    name: ObjectName,
    blocks: Range<u64>,
    window: Option<Window>,
}

impl Coming {
    fn new(shared: &Arc<Shared>, name: &ObjectName, blocks: Range<u64>) -> Self {
        let window = Window::new(&shared.books, (blocks.end - blocks.start) * BLOCK_BYTES);
        Coming { shared: shared.clone(), name: name.clone(), blocks, window: Some(window) }
    }
}

impl Drop for Coming {
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
    /// What to fetch for a reader that needs `block` now and will need all up to `last`; and what to fetch beforehand. Several times as much
    /// as the last time where it reads on, only what it asked for where it jumps.
    fn plan(&mut self, name: &ObjectName, (block, last): (u64, u64), books: &Books) -> (Range<u64>, Vec<Range<u64>>) {
        let needed = last + 1 - block;
        self.forget_packs();
        let run = self.packs.entry(name.clone()).or_default().take_run(block);
        let room = || KEPT_BYTES_MAX.saturating_sub(books.held.load(Relaxed)) / BLOCK_BYTES;
        self.make_room(books, KEPT_BYTES_MAX.saturating_sub(BLOCKS_MAX * (1 + WINDOWS_AHEAD) * BLOCK_BYTES));
        let mut room = room();
        // Who begins a pack at its beginning most often reads on; each step on the way to long windows is a round trip.
        let first = if block == 0 { FIRST_BLOCKS } else { needed };
        let window = run.map_or(first, |blocks| blocks * GROWTH).min(room).clamp(needed, BLOCKS_MAX.max(needed));
        let end_of_pack = self.lengths.get(name).map_or(u64::MAX, |bytes| bytes.div_ceil(BLOCK_BYTES));
        let (must, may) = (block + needed, (block + window).min(end_of_pack.max(block + 1)));
        let wanted = self.claim(name, block..may, must);
        let (mut beforehand, mut next) = (Vec::new(), wanted.end);
        room = room.saturating_sub(wanted.end - wanted.start);
        if run.is_some() && end_of_pack != u64::MAX {
            for _ in 0..WINDOWS_AHEAD {
                let blocks = self.claim(name, next..(next + window.min(room)).min(end_of_pack), next);
                if blocks.is_empty() {
                    break;
                }
                room -= blocks.end - blocks.start;
                next = blocks.end;
                beforehand.push(blocks);
            }
        }
        if let Some(readers) = self.packs.get_mut(name) {
            readers.put_run(next, window);
        }
        (wanted, beforehand)
    }

    /// A restore reads many more packs than it has memory for: what is known of them must not grow with it.
    fn forget_packs(&mut self) {
        if self.packs.len().max(self.lengths.len()) < PACKS_KNOWN_MAX {
            return;
        }
        // Each block holds at least some KiB of the bounded memory, so that of these there are not many.
        let here: HashSet<&ObjectName> = self.blocks.keys().map(|(name, _)| name).collect();
        self.packs.retain(|name, _| here.contains(name));
        self.lengths.retain(|name, _| here.contains(name));
    }

    /// Marks blocks as coming, up to the first that is here or coming already, or from `must` on was read before: another reader has gone on
    /// from there.
    fn claim(&mut self, name: &ObjectName, blocks: Range<u64>, must: u64) -> Range<u64> {
        let read = self.packs.get(name).map(|readers| &readers.read);
        let mut end = blocks.start;
        while end < blocks.end {
            let at = (name.clone(), end);
            if self.blocks.contains_key(&at) || end >= must && read.is_some_and(|read| read.contains(&end)) {
                break;
            }
            self.blocks.insert(at, Block::Coming);
            end += 1;
        }
        blocks.start..end
    }

    /// Takes note of what was handed out of a block.
    fn was_read(&mut self, at: &At, bytes: usize) {
        if let Some(Block::Here { unread, .. }) = self.blocks.get_mut(at) {
            *unread = unread.saturating_sub(bytes);
            if *unread == 0 {
                self.packs.entry(at.0.clone()).or_default().read.insert(at.1);
            }
        }
    }

    /// Makes room down to `bytes`: by what was read already, which is of use once more where files share content, and by what nobody has come
    /// for in a long while (footers, headers, frames that are passed over); the oldest first. What was fetched beforehand stays: it would
    /// only have to be fetched again.
    fn make_room(&mut self, books: &Books, bytes: u64) {
        if books.held.load(Relaxed) <= bytes {
            return;
        }
        let now = self.tick;
        let done = |block: &Block| match block {
            Block::Here { used, unread, .. } if *unread == 0 || *used + STALE_USES < now => Some(*used),
            _ => None,
        };
        let mut done: Vec<(u64, At)> = self.blocks.iter().filter_map(|(at, block)| Some((done(block)?, at.clone()))).collect();
        done.sort();
        for (_, at) in done {
            if books.held.load(Relaxed) <= bytes {
                break;
            }
            self.blocks.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    /// What is known of each pack that was ever read took 50 MB per terabyte restored.
    #[test]
    fn packs_that_were_read_are_forgotten() {
        let (mut state, books) = (State::default(), Books::default());
        let name = |n: u32| {
            ObjectName::pack(
                crate::id::Class::Data,
                &crate::id::PackId::new([n as u8, (n >> 8) as u8].repeat(16).try_into().unwrap_or([0; 32])),
            )
        };
        for n in 0..3 * PACKS_KNOWN_MAX as u32 {
            state.plan(&name(n), (0, 3), &books);
            state.lengths.insert(name(n), 1 << 20);
            if n != 7 {
                state.blocks.retain(|at, _| at.0 == name(7));
            }
        }
        assert!(state.packs.len() <= PACKS_KNOWN_MAX && state.lengths.len() <= PACKS_KNOWN_MAX);
        assert!(state.packs.contains_key(&name(7)), "of this one there are blocks");
    }

    /// A restore from 50 ms away waited for each footer, each first block and, at its end, for one frame after the other: somebody has to say
    /// in time what will be read. That may take no more memory than there is, and hides no error.
    #[test]
    fn what_is_expected_is_fetched_as_far_as_there_is_room() {
        const PACK_BYTES: u64 = 80 << 20;
        let (memory, name) = (MemoryStore::new(), ObjectName::pack(crate::id::Class::Data, &crate::id::PackId::new([7; 32])));
        let content: Vec<u8> = (0..PACK_BYTES).map(|at| (at >> 10) as u8).collect();
        memory.put(&name, &content).unwrap();
        let ahead = Ahead::new(Arc::new(memory));
        let steps = (0..PACK_BYTES / (1 << 20)).map(|at| at << 20..(at + 1) << 20);
        ahead.expect(&name, 0..10);
        assert!(ahead.shared.lock().blocks.contains_key(&(name.clone(), 0)), "on its way or here, and nobody waits for it");
        steps.clone().for_each(|range| ahead.expect(&name, range));
        assert!(ahead.shared.books.held.load(Relaxed) <= KEPT_BYTES_MAX);
        let mut read = Vec::new();
        for range in steps {
            ahead.get_range(&name, range.clone(), &mut read).unwrap();
            assert!(read == content[range.start as usize..range.end as usize], "{range:?}");
        }
        let lost = ObjectName::pack(crate::id::Class::Data, &crate::id::PackId::new([8; 32]));
        ahead.expect(&lost, 0..10);
        assert!(ahead.get_range(&lost, 0..10, &mut read).unwrap_err().is_missing());
    }
}
