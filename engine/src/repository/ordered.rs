//! Content in order, fetched by several threads ahead of the one that takes it: what dumps and archives are written with.
//! A planner says what comes, workers fetch and check it, the taker gets part after part. Every chunk is checked before it is given out, and
//! memory is bounded however slow the taker is.

use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::format::lists::Item;
use crate::id::{ChunkId, Class};
use crate::pack::reader::{ChunkReader, Expected, Piece, ReadBuffers};
use crate::repository::Repository;
use crossbeam_channel::{Sender, bounded, unbounded};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that one worker fetches at a time, about two frames' worth: with less, two workers wait for the same frame.
pub const PART_BYTES: u64 = 2 << 20;
/// Items of one part at most; files of few long chunks have fewer.
const ITEMS_PER_PART: u64 = 256;
/// Zeros that are written at a time for a hole.
const HOLE_STEP: usize = 64 << 10;

/// A run of chunks at least this long is given out where it was decoded; shorter ones are gathered first.
const SHARED_BYTES_MIN: usize = 32 << 10;
/// Frames that one part keeps alive: what is under way stays below 24 MiB with two threads.
const SHARED_FRAMES_MAX: usize = 4;
/// Runs that a part looks up behind one that is not to be had yet. Each keeps its frame alive until then: 16 MiB more with two threads.
const HELD_MAX: usize = 8;

/// What a planner says of what comes next.
pub enum Ask<M> {
    /// A word to the taker.
    Say(M),
    /// These chunks, one behind the other.
    Read(Vec<ChunkId>),
    /// So many zeros.
    Zeros(u64),
    /// Something that the planner could not find.
    Lost(Error),
}

/// What the taker gets for it.
pub enum Got<M, T> {
    /// A word of the planner.
    Say(M),
    /// Bytes, which [`Part::slices`] gives out, and what was made of them.
    Bytes {
        /// Where in the part.
        at: Range<usize>,
        /// How many.
        bytes: u64,
        /// What was made of them.
        made: T,
    },
    /// So many zeros.
    Zeros(u64),
    /// What cannot be had, and why.
    Lost(Error),
}

enum Stretch {
    Copied(Range<usize>),
    /// Still where it was decoded.
    Shared(Piece),
}

/// A part: what a planner asked for at a time.
pub struct Part<M, T> {
    gathered: Gathered,
    /// What it holds, in order.
    pub got: Vec<Got<M, T>>,
}

impl<M, T> Part<M, T> {
    /// The bytes at a place.
    pub fn slices(&self, at: &Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.gathered.slices(at)
    }
}

/// Bytes in order: some of them copied, some still where they were decoded.
struct Gathered {
    copied: Vec<u8>,
    stretches: Vec<Stretch>,
    frames: usize,
    /// Parts go round in the same memory: grown and faulted in anew, each was paid for three times.
    home: Arc<Buffers>,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.copied));
    }
}

impl Gathered {
    fn new(home: &Arc<Buffers>) -> Self {
        Gathered { copied: home.take(), stretches: Vec::new(), frames: 0, home: home.clone() }
    }

    /// Adds a piece; what is copied joins the stretch before it where that is not before `from`.
    fn push(&mut self, piece: Piece, from: usize) {
        let shares = |stretch: &Stretch| matches!(stretch, Stretch::Shared(other) if other.shares_frame(&piece));
        let known = self.stretches.iter().rev().any(shares);
        if piece.len() >= SHARED_BYTES_MIN && (known || self.frames < SHARED_FRAMES_MAX) {
            self.frames += usize::from(!known);
            self.stretches.push(Stretch::Shared(piece));
            return;
        }
        let start = self.copied.len();
        self.copied.extend_from_slice(&piece);
        let end = self.copied.len();
        match self.stretches.get_mut(from..).and_then(<[_]>::last_mut) {
            Some(Stretch::Copied(last)) => last.end = end,
            _ => self.stretches.push(Stretch::Copied(start..end)),
        }
    }

    fn slices(&self, at: &Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.stretches[at.clone()].iter().map(|stretch| match stretch {
            Stretch::Copied(range) => &self.copied[range.clone()],
            Stretch::Shared(piece) => piece,
        })
    }

    /// Takes back all that came since there were so many stretches and copied bytes.
    fn back_to(&mut self, (stretches, copied): (usize, usize)) {
        self.stretches.truncate(stretches);
        self.copied.truncate(copied);
    }
}

type Numbered<T> = (u64, T);
type Job<M> = Numbered<Vec<Ask<M>>>;

/// The planner's way to the workers.
pub struct Planner<'p, M> {
    /// Where it reads what it needs itself.
    pub reader: &'p ChunkReader,
    jobs: Sender<Job<M>>,
    tokens: Sender<()>,
    number: u64,
    /// Where reading is expected, if that is worth while: workers wait for a store that is far away.
    expected: Option<Expected>,
}

/// The taker has given up, and says why.
#[derive(Debug)]
pub struct GaveUp;

impl<M> Planner<'_, M> {
    /// Sends a part.
    pub fn send(&mut self, asks: Vec<Ask<M>>) -> Result<(), GaveUp> {
        if asks.is_empty() {
            return Ok(());
        }
        if let Some(expected) = &mut self.expected {
            let ids = asks.iter().flat_map(|ask| if let Ask::Read(ids) = ask { &ids[..] } else { &[] });
            self.reader.expect(Class::Data, ids, expected);
        }
        self.tokens.send(()).map_err(|_| GaveUp)?;
        self.jobs.send((self.number, asks)).map_err(|_| GaveUp)?;
        self.number += 1;
        Ok(())
    }

    /// Sends items of `bytes` bytes in parts.
    pub fn send_items(&mut self, items: &[Item], bytes: u64) -> Result<(), GaveUp> {
        // By the mean: single chunks differ by their bounds at most.
        let per_part = (PART_BYTES.saturating_mul(items.len() as u64) / bytes.max(1)).clamp(1, ITEMS_PER_PART) as usize;
        items.chunks(per_part).try_for_each(|some| self.send(asks_of(some)))
    }
}

/// What to ask for to get items.
pub fn asks_of<M>(items: &[Item]) -> Vec<Ask<M>> {
    let runs = items.chunk_by(|a, b| matches!((a, b), (Item::Chunk(_), Item::Chunk(_))));
    let id = |item: &Item| if let Item::Chunk(id) = item { Some(*id) } else { None };
    let ask = |run: &[Item]| match run {
        [Item::Hole(bytes)] => Ask::Zeros(*bytes),
        chunks => Ask::Read(chunks.iter().filter_map(id).collect()),
    };
    runs.map(ask).collect()
}

/// Runs a planner, workers and `take`, which gets every part in the order in which it was planned. `maker` makes for each worker what turns
/// bytes into something else beside them. The first error ends it all: one of the planner's after everything that it had planned.
pub fn in_order<M: Send, T: Send, W: FnMut(&mut dyn Iterator<Item = &[u8]>) -> T>(
    repository: &Repository,
    reader: &ChunkReader,
    plan: impl FnOnce(&mut Planner<'_, M>) -> Result<()> + Send,
    maker: impl Fn() -> W + Sync,
    mut take: impl FnMut(Part<M, T>) -> Result<()>,
) -> Result<()> {
    let threads = repository.reading_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16));
    let (jobs_in, jobs_out) = unbounded::<Job<M>>();
    let (parts_in, parts_out) = unbounded::<Numbered<Result<Part<M, T>>>>();
    // One token per part that is under way.
    let (tokens_in, tokens_out) = bounded::<()>(threads * 3);
    let home = Arc::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, parts, maker, home) = (jobs_out.clone(), parts_in.clone(), &maker, &home);
            scope.spawn(move || {
                let (mut buffers, mut make) = (ReadBuffers::default(), maker());
                for (number, asks) in jobs {
                    let part = fetch(reader, asks, &mut buffers, home, &mut make);
                    if parts.send((number, Ok(part))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(jobs_out);
        scope.spawn(move || {
            let expected = reader.is_far().then(Expected::default);
            let mut planner = Planner { reader, jobs: jobs_in, tokens: tokens_in, number: 0, expected };
            if let Err(error) = plan(&mut planner) {
                parts_in.send((planner.number, Err(error))).unwrap_or(());
            }
        });
        let mut waiting: BTreeMap<u64, Result<Part<M, T>>> = BTreeMap::new();
        let mut next = 0;
        let mut all = || -> Result<()> {
            for (number, part) in &parts_out {
                waiting.insert(number, part);
                while let Some(part) = waiting.remove(&next) {
                    next += 1;
                    take(part?)?;
                    tokens_out.try_recv().unwrap_or(());
                }
            }
            Ok(())
        };
        let taken = all();
        // Closed here, so that nobody waits for room that will never come.
        drop((parts_out, tokens_out));
        taken?;
        // Parts that wait for one that never came: a fetching thread died.
        if waiting.is_empty() { Ok(()) } else { Err(Error::SelfCheck { what: "a fetching thread" }) }
    })
}

fn fetch<M, T>(
    reader: &ChunkReader,
    asks: Vec<Ask<M>>,
    buffers: &mut ReadBuffers,
    home: &Arc<Buffers>,
    make: &mut dyn FnMut(&mut dyn Iterator<Item = &[u8]>) -> T,
) -> Part<M, T> {
    let mut part = Part { gathered: Gathered::new(home), got: Vec::with_capacity(asks.len()) };
    for ask in asks {
        let got = match ask {
            Ask::Say(word) => Got::Say(word),
            Ask::Zeros(bytes) => Got::Zeros(bytes),
            Ask::Lost(error) => Got::Lost(error),
            Ask::Read(ids) => {
                let before = (part.gathered.stretches.len(), part.gathered.copied.len());
                match gather(reader, &ids, buffers, &mut part.gathered) {
                    Ok(()) => {
                        let at = before.0..part.gathered.stretches.len();
                        let bytes = part.gathered.slices(&at).map(|slice| slice.len() as u64).sum();
                        let made = make(&mut part.gathered.slices(&at));
                        Got::Bytes { at, bytes, made }
                    }
                    Err(error) => {
                        part.gathered.back_to(before);
                        Got::Lost(error)
                    }
                }
            }
        };
        part.got.push(got);
    }
    part
}

/// Chunks under way. Neighbouring parts draw on the same frames, so that another thread may be decoding what comes next here:
/// then what comes after it is looked up first. Two threads that waited for each other's frames once were idle a sixth of the time.
struct Gathering<'g> {
    reader: &'g ChunkReader,
    gathered: &'g mut Gathered,
    /// The first stretch that may be added to.
    from: usize,
    run: Option<Piece>,
    /// From the first piece on that was not to be had at once, in order.
    later: VecDeque<(ChunkId, Option<Piece>)>,
    /// Runs of pieces in `later`; each may keep a frame alive.
    held: usize,
}

impl Gathering<'_> {
    fn push(&mut self, piece: Piece) {
        let apart = match &mut self.run {
            Some(run) => run.join(piece),
            None => Some(piece),
        };
        if let Some(piece) = apart
            && let Some(before) = self.run.replace(piece)
        {
            self.gathered.push(before, self.from);
        }
    }

    fn add(&mut self, id: ChunkId, buffers: &mut ReadBuffers) -> Result<()> {
        let piece = self.reader.try_piece(Class::Data, &id, buffers)?;
        match piece {
            Some(piece) if self.later.is_empty() => self.push(piece),
            piece => {
                let known = self.later.back().and_then(|(_, last)| last.as_ref()).zip(piece.as_ref());
                self.held += usize::from(!known.is_some_and(|(last, piece)| last.shares_frame(piece)));
                self.later.push_back((id, piece));
            }
        }
        if self.held >= HELD_MAX { self.catch_up(buffers) } else { Ok(()) }
    }

    fn catch_up(&mut self, buffers: &mut ReadBuffers) -> Result<()> {
        self.held = 0;
        while let Some((id, piece)) = self.later.pop_front() {
            let piece = match piece {
                Some(piece) => piece,
                None => self.reader.piece(Class::Data, &id, buffers)?,
            };
            self.push(piece);
        }
        Ok(())
    }
}

fn gather(reader: &ChunkReader, ids: &[ChunkId], buffers: &mut ReadBuffers, gathered: &mut Gathered) -> Result<()> {
    let from = gathered.stretches.len();
    let mut under_way = Gathering { reader, gathered, from, run: None, later: VecDeque::new(), held: 0 };
    for id in ids {
        under_way.add(*id, buffers)?;
    }
    under_way.catch_up(buffers)?;
    if let Some(last) = under_way.run.take() {
        under_way.gathered.push(last, from);
    }
    Ok(())
}

/// Writes zeros.
pub fn write_zeros(mut bytes: u64, out: &mut (dyn io::Write + Send)) -> io::Result<()> {
    while bytes > 0 {
        let step = (HOLE_STEP as u64).min(bytes) as usize;
        out.write_all(&[0; HOLE_STEP][..step])?;
        bytes -= step as u64;
    }
    Ok(())
}
