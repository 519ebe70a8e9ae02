//! Reads chunks through two bounded caches: open packs (footers) and decoded frames.
//! A frame holds a hundred neighbouring chunks, so that a sequential reader decodes each frame once. Callers may be many threads.

use crate::buffers::Buffers;
use crate::chunk::ChunkIds;
use crate::error::{Error, Result};
use crate::id::{ChunkId, Class};
use crate::index::{Index, Location};
use crate::pack::lru::Lru;
use crate::pack::{FrameDecoder, OpenPack, check_chunk};
use crate::seal::key::Keys;
use crate::store::{Store, reread};
use std::collections::HashSet;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Decoded frames that are kept: enough for every worker's neighbourhood in a snapshot that draws on some thirty generations of packs.
const FRAMES_CACHE_BYTES: usize = 32 << 20;
/// Footers that are kept, by their size in memory.
const PACKS_CACHE_BYTES: usize = 24 << 20;

/// A decoded frame. Its memory goes back to where it came from.
struct Frame {
    plain: Vec<u8>,
    home: Arc<Buffers>,
    /// Which of its chunks are what their ids in the footer say: whoever takes a long chunk piece by piece has it hashed once.
    checked: Box<[AtomicBool]>,
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.plain));
    }
}

/// Bytes that lie in a decoded frame: all of them were checked against the ids of their chunks.
pub struct Piece {
    frame: Arc<Frame>,
    range: Range<usize>,
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.frame.plain[self.range.clone()]
    }
}

impl Piece {
    /// Whether both lie in the same frame.
    pub fn shares_frame(&self, other: &Piece) -> bool {
        Arc::ptr_eq(&self.frame, &other.frame)
    }

    /// Takes in `next` where it lies directly behind; gives it back where not.
    pub fn join(&mut self, next: Piece) -> Option<Piece> {
        if self.shares_frame(&next) && self.range.end == next.range.start {
            self.range.end = next.range.end;
            None
        } else {
            Some(next)
        }
    }
}

/// Finds, reads and checks chunks.
pub struct ChunkReader {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    ids: ChunkIds,
    index: Arc<Index>,
    packs: Lru<u32, OpenPack>,
    frames: Lru<FrameAt, Frame>,
    decoded: AtomicU64,
    /// Memory of frames that were forgotten.
    spare: Arc<Buffers>,
    /// Reads the index anew, and how often that may still be done.
    renew: Option<(Renew, u32)>,
    /// The reader over what it read.
    renewed: OnceLock<Option<Box<ChunkReader>>>,
}

/// Reads the index as it is now.
pub type Renew = Arc<dyn Fn() -> Result<Index> + Send + Sync>;

/// How often a reader looks at the index again where packs are gone: as many collections as one restore may meet that wait for nobody.
const RENEWALS: u32 = 3;

/// Pack and frame by their numbers in the index.
type FrameAt = (u32, u32);

/// What one thread reuses from chunk to chunk.
#[derive(Default)]
pub struct ReadBuffers {
    stored: Vec<u8>,
    decoder: FrameDecoder,
    last: Option<Last>,
}

/// Where the last chunk was: the next one most often lies behind it.
struct Last {
    at: Location,
    frame_at: FrameAt,
    pack: Arc<OpenPack>,
    frame: Arc<Frame>,
}

/// Where someone has come who says beforehand what will be read.
#[derive(Default)]
pub struct Expected {
    last: Option<(Location, Arc<OpenPack>)>,
    /// The frame that was asked for last.
    frame: Option<FrameAt>,
    /// Packs that do not open: whoever reads them says so.
    unreadable: HashSet<u32>,
}

/// Where the chunk is that was measured last: the next one most often lies behind it.
#[derive(Default)]
pub struct Measured(Option<(Location, Arc<OpenPack>)>);

impl ChunkReader {
    /// A reader over what `index` knows.
    pub fn new(store: Arc<dyn Store>, keys: Arc<Keys>, ids: ChunkIds, index: Arc<Index>) -> Self {
        let (packs, frames) = (Lru::new(PACKS_CACHE_BYTES), Lru::new(FRAMES_CACHE_BYTES));
        ChunkReader {
            store,
            keys,
            ids,
            index,
            packs,
            frames,
            decoded: AtomicU64::new(0),
            spare: Arc::default(),
            renew: None,
            renewed: OnceLock::new(),
        }
    }

    /// With caches of a quarter of their size: for who goes through everything once, in order, and needs the memory for something else.
    pub fn with_small_caches(mut self) -> Self {
        self.packs.set_max(PACKS_CACHE_BYTES / 4);
        self.frames.set_max(FRAMES_CACHE_BYTES / 4);
        self
    }

    /// With another bound for decoded frames, bytes: for who is asked for anything in any order.
    pub fn with_frames(mut self, bytes: usize) -> Self {
        self.frames.set_max(bytes);
        self
    }

    /// How many frames were decoded so far.
    pub fn frames_decoded(&self) -> u64 {
        self.decoded.load(Relaxed)
    }

    /// With an index that is read anew where a pack is gone: a collection without grace may have written what is needed of it anew.
    pub fn renewed_by(mut self, renew: Renew) -> Self {
        self.renew = Some((renew, RENEWALS));
        self
    }

    fn renewed(&self) -> Option<&ChunkReader> {
        let make = || {
            let (renew, left) = self.renew.as_ref().filter(|(_, left)| *left > 0)?;
            let index = Arc::new(renew().ok()?);
            let mut next = ChunkReader::new(self.store.clone(), self.keys.clone(), self.ids.clone(), index);
            next.renew = Some((renew.clone(), left - 1));
            Some(Box::new(next))
        };
        self.renewed.get_or_init(make).as_deref()
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

    /// Whether reading is waiting: then it is worth while to say beforehand what will be read.
    pub fn is_far(&self) -> bool {
        self.store.traffic().is_some()
    }

    /// Has the frames of these chunks fetched before somebody reads them, in the order in which that will be. Nothing depends on it: what
    /// cannot be fetched is asked for again by whoever reads it, and fails there.
    pub fn expect<'i>(&self, class: Class, ids: impl IntoIterator<Item = &'i ChunkId>, expected: &mut Expected) {
        for id in ids {
            // The copy that a reader would take: the one behind the last one, else the first.
            let next = expected
                .last
                .as_ref()
                .filter(|(last, pack)| pack.class == class && pack.table.id(last.chunk as usize + 1).is_some_and(|next| next == *id));
            let at = match next {
                Some((last, _)) => Location { chunk: last.chunk + 1, ..*last },
                None => match self.index.find(class, id).next() {
                    Some(at) => at,
                    None => continue,
                },
            };
            let known = expected.last.take().filter(|(last, _)| last.pack == at.pack).map(|(_, pack)| pack);
            if known.is_none() && expected.unreadable.contains(&at.pack) {
                continue;
            }
            let Some(pack) = known.or_else(|| self.open(at.pack).ok()) else {
                expected.unreadable.insert(at.pack);
                continue;
            };
            if let Some(place) = pack.table.chunks.get(at.chunk as usize) {
                let frame_at = (at.pack, place.frame);
                if expected.frame != Some(frame_at)
                    && !self.frames.has(&frame_at)
                    && let Some(span) = pack.table.frames.get(place.frame as usize)
                {
                    self.store.expect(&pack.name, span.offset..span.offset + u64::from(span.info.stored));
                }
                expected.frame = Some(frame_at);
            }
            expected.last = Some((at, pack));
        }
    }

    /// The lengths of these chunks in bytes, by the footers of packs that hold them: no frame is read for it. `None` for one whose packs do
    /// not open, and why for the first of them. A length is no more than a claim until the chunk itself was read.
    pub fn lengths<'i>(&self, class: Class, ids: impl IntoIterator<Item = &'i ChunkId>) -> (Vec<Option<u32>>, Option<Error>) {
        let (mut lengths, mut failure, mut last) = (Vec::new(), None, Measured::default());
        for id in ids {
            lengths.push(match self.measure(class, id, &mut last) {
                Ok(length) => Some(length),
                Err(error) => {
                    failure.get_or_insert(error);
                    None
                }
            });
        }
        (lengths, failure)
    }

    /// The same of one chunk, for whoever needs no more of them once one is not known.
    pub fn chunk_bytes(&self, class: Class, id: &ChunkId, last: &mut Measured) -> Result<u64> {
        self.measure(class, id, last).map(u64::from)
    }

    fn measure(&self, class: Class, id: &ChunkId, last: &mut Measured) -> Result<u32> {
        match self.place_behind(last.0.take(), class, id) {
            Ok((at, pack)) => {
                let bytes = pack.table.chunks.get(at.chunk as usize).map(|span| span.bytes);
                last.0 = Some((at, pack));
                bytes.ok_or(Error::ChunkMissing { id: *id })
            }
            Err(error @ (Error::PackMissing { .. } | Error::ChunkMissing { .. })) => match self.renewed() {
                // Its numbers of packs are others.
                Some(renewed) => renewed.measure(class, id, &mut Measured::default()),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Where a chunk is: behind the last one, else at the first place whose pack opens and says the same.
    fn place_behind(&self, last: Option<(Location, Arc<OpenPack>)>, class: Class, id: &ChunkId) -> Result<(Location, Arc<OpenPack>)> {
        if let Some((at, pack)) = &last
            && pack.class == class
            && pack.table.id(at.chunk as usize + 1).is_some_and(|next| next == *id)
        {
            return Ok((Location { chunk: at.chunk + 1, ..*at }, pack.clone()));
        }
        let mut failure = None;
        for at in self.index.find(class, id) {
            let known = last.as_ref().filter(|(last, _)| last.pack == at.pack).map(|(_, pack)| pack.clone());
            match known.map_or_else(|| self.open(at.pack), Ok) {
                Ok(pack) if pack.table.id(at.chunk as usize).is_some_and(|found| found == *id) => return Ok((at, pack)),
                Ok(_) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(Self::gone(failure, id))
    }

    /// Decodes the frame of a chunk where it is not decoded yet, so that who reads the chunk soon need not wait. Nothing depends on it: what
    /// fails here fails again for whoever reads.
    pub fn warm(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers) {
        let last = buffers.last.as_ref().map(|last| (last.at, last.pack.clone()));
        let Ok((at, pack)) = self.place_behind(last, class, id) else { return };
        let Some(span) = pack.table.chunks.get(at.chunk as usize) else { return };
        let frame_at = (at.pack, span.frame);
        let known = buffers.last.as_ref().filter(|last| last.frame_at == frame_at).map(|last| last.frame.clone());
        let frame = match known {
            Some(frame) => frame,
            None => match self.frame(frame_at, &pack, buffers, true) {
                Ok(Some(frame)) => frame,
                _ => return,
            },
        };
        buffers.last = Some(Last { at, frame_at, pack, frame });
    }

    fn frame(&self, at: FrameAt, pack: &OpenPack, buffers: &mut ReadBuffers, wait: bool) -> Result<Option<Arc<Frame>>> {
        let ReadBuffers { stored, decoder, .. } = buffers;
        // By capacity: what a frame holds of its former life is memory too.
        let weigh = |frame: &Frame| frame.plain.capacity() + frame.checked.len();
        let make = || {
            let chunks = pack.table.frames.get(at.1 as usize).map_or(0, |span| span.info.chunks as usize);
            let checked = (0..chunks).map(|_| AtomicBool::new(false)).collect();
            let mut frame = Frame { plain: self.spare.take(), home: self.spare.clone(), checked };
            self.decoded.fetch_add(1, Relaxed);
            reread(&*self.store, &pack.name, || pack.frame(&*self.store, at.1, stored, decoder, &mut frame.plain))?;
            Ok(frame)
        };
        if wait { self.frames.get(at, weigh, make).map(Some) } else { self.frames.try_get(at, weigh, make) }
    }

    fn piece_at(&self, at: Location, (class, id): (Class, &ChunkId), buffers: &mut ReadBuffers, wait: bool) -> Result<Option<Piece>> {
        // The footer gives the frame; a run of neighbours then needs no lock at all.
        let known = buffers.last.as_ref().filter(|last| last.at.pack == at.pack).map(|last| last.pack.clone());
        let pack = match known {
            Some(pack) => pack,
            None => self.open(at.pack)?,
        };
        let wrong = || Error::damaged(&pack.name, crate::error::Damage::Malformed("index position"));
        let span = *pack.table.chunks.get(at.chunk as usize).ok_or_else(wrong)?;
        let frame_at = (at.pack, span.frame);
        let frame = match &buffers.last {
            Some(last) if last.frame_at == frame_at => last.frame.clone(),
            _ => {
                let Some(frame) = self.frame(frame_at, &pack, buffers, wait)? else { return Ok(None) };
                frame
            }
        };
        let range = span.offset as usize..(span.offset + span.bytes) as usize;
        let bytes = frame.plain.get(range.clone()).ok_or_else(wrong)?;
        // The index may lead to another chunk than the one that was asked for: what was found right is so by the footer's id.
        let own = pack.table.id(at.chunk as usize).is_some_and(|own| own == *id);
        let number = pack.table.frames.get(span.frame as usize).and_then(|frame| (at.chunk).checked_sub(frame.first_chunk));
        let checked = number.filter(|_| own).and_then(|number| frame.checked.get(number as usize));
        if !checked.is_some_and(|checked| checked.load(Relaxed)) {
            check_chunk(&pack.name, &self.ids, class, id, bytes)?;
            if let Some(checked) = checked {
                checked.store(true, Relaxed);
            }
        }
        buffers.last = Some(Last { at, frame_at, pack, frame: frame.clone() });
        Ok(Some(Piece { frame, range }))
    }

    /// The bytes of a chunk where they were decoded. Where a chunk has several copies, a damaged one is passed over.
    pub fn piece(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers) -> Result<Piece> {
        self.find_piece(class, id, buffers, true)?.ok_or(Error::Interrupted)
    }

    /// As [`ChunkReader::piece`], but `None` where another thread is decoding its frame right now: there may be other work until then.
    pub fn try_piece(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers) -> Result<Option<Piece>> {
        self.find_piece(class, id, buffers, false)
    }

    fn find_piece(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers, wait: bool) -> Result<Option<Piece>> {
        // Behind the last one, as what was stored together is read together: that saves a search in the index, and of two copies
        // it is the one whose frame is decoded already.
        if let Some(last) = &buffers.last
            && last.pack.class == class
            && last.pack.table.id(last.at.chunk as usize + 1).is_some_and(|next| next == *id)
        {
            let next = Location { chunk: last.at.chunk + 1, ..last.at };
            if let Ok(piece) = self.piece_at(next, (class, id), buffers, wait) {
                return Ok(piece);
            }
        }
        let mut failure: Option<Error> = None;
        for at in self.index.find(class, id) {
            match self.piece_at(at, (class, id), buffers, wait) {
                Ok(piece) => return Ok(piece),
                // A copy that cannot be read now may be a good one: the chunk is not lost because another copy is.
                Err(error) if failure.as_ref().is_none_or(|first| first.is_damage() && !error.is_damage()) => failure = Some(error),
                Err(_) => {}
            }
        }
        let failure = Self::gone(failure, id);
        if matches!(failure, Error::PackMissing { .. } | Error::ChunkMissing { .. })
            && let Some(renewed) = self.renewed()
        {
            // Its numbers of packs are others, so that nothing of what this thread remembers holds there.
            return renewed.find_piece(class, id, &mut ReadBuffers::default(), wait);
        }
        Err(failure)
    }

    /// What it means for a chunk that no place of it can be read.
    fn gone(failure: Option<Error>, id: &ChunkId) -> Error {
        match failure {
            Some(Error::Damaged { object, damage: crate::error::Damage::Missing }) => match object.as_pack() {
                Some((_, pack)) => Error::PackMissing { pack, id: *id },
                None => Error::ChunkMissing { id: *id },
            },
            Some(error) => error,
            None => Error::ChunkMissing { id: *id },
        }
    }

    /// Appends the bytes of a chunk to `out`.
    pub fn read(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.piece(class, id, buffers)?);
        Ok(())
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, class: Class, id: &ChunkId, buffers: &mut ReadBuffers) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read(class, id, buffers, &mut out)?;
        Ok(out)
    }
}
