//! Takes chunks out of packs and puts them into new ones: what a collection keeps of packs that go, what a run rescues.
//! Frames of which all chunks are wanted are copied as they are sealed; the others are made anew, where the keyring allows.
//! Nothing rotten is copied: in a pack of its own it would match its name, and nobody could tell any more without the keys.

use crate::chunk::ChunkIds;
use crate::error::{Damage, Error, Result};
use crate::format::pack::CODEC_ZSTD;
use crate::id::{ChunkId, Class, PackId};
use crate::pack::bits::Bits;
use crate::pack::frames::FrameBuilder;
use crate::pack::sink::{Job, PanicGuard, Sink, ToPack, frame_channel, job_channel, write_channel};
use crate::pack::writer::{CopiedFrame, NewFrame};
use crate::pack::{FrameDecoder, OpenPack, check_chunk};
use crate::seal::key::Keys;
use crate::store::{Store, each, reread};
use crossbeam_channel::{Sender, bounded};
use rayon::prelude::*;
use std::ops::Range;

/// How much is read of a pack at a time, and which gap between two frames is read along with them.
const READ_BYTES: u64 = 4 << 20;
const GAP_BYTES: u64 = 256 << 10;
/// Reads of a remote store at a time.
const READS_MAX: usize = 4;
/// Frames that are opened at the same time: what they become may be ten times what was read.
const FRAMES_OPENED: usize = 8;

/// Chunks that are wanted of a pack.
pub struct Take {
    /// Its class.
    pub class: Class,
    /// Its id.
    pub pack: PackId,
    /// The chunks, by their numbers in it.
    pub chunks: Bits,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repacked {
    /// Frames that were copied as they are.
    pub frames_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Frames that were opened, for only some of their chunks were wanted.
    pub frames_opened: u64,
    /// Bytes that nobody wants and that were copied all the same, for the keyring cannot open their frames: shares of those.
    pub bytes_stuck: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
}

/// Where chunks are read from, and with which keys.
pub struct From<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The keys.
    pub keys: &'a Keys,
    /// Makes chunk ids.
    pub ids: &'a ChunkIds,
    /// Called between two reads with the bytes read so far: whether to go on.
    pub go_on: &'a (dyn Fn(u64) -> bool + Sync),
}

/// Takes the chunks of all `takes`, in order, and returns when packs and segments with them are durable.
pub fn repack(sink: &Sink<'_>, from: &From<'_>, takes: impl Iterator<Item = Take>, threads: usize) -> Result<Repacked> {
    let (jobs_in, jobs_out) = job_channel();
    let (frames_in, frames_out) = frame_channel();
    let (pieces_in, pieces_out) = write_channel();
    let (uploads_in, uploads_out) = bounded(2);
    let taken = std::thread::scope(|scope| {
        for _ in 0..sink.finishers() {
            let uploads = uploads_out.clone();
            scope.spawn(move || sink.finish_packs(&uploads));
        }
        drop(uploads_out);
        scope.spawn(move || sink.write_packs(&pieces_out, uploads_in));
        scope.spawn(move || sink.pack(&frames_out, pieces_in));
        for _ in 0..threads.max(1) {
            let (jobs, frames) = (jobs_out.clone(), frames_in.clone());
            scope.spawn(move || {
                let _guard = PanicGuard(sink.trouble);
                let work = || -> Result<()> {
                    let mut encoder = sink.encoder()?;
                    jobs.iter().try_for_each(|job: Job| sink.encode(&mut encoder, job, &frames))
                };
                if let Err(error) = work() {
                    sink.trouble.set(error);
                }
            });
        }
        drop(jobs_out);
        let _guard = PanicGuard(sink.trouble);
        let mut taker = Taker { sink, from, frames: frames_in, builder: FrameBuilder::new(sink, jobs_in), done: Repacked::default() };
        let taken = takes.into_iter().try_for_each(|take| taker.take(&take)).and_then(|()| taker.builder.flush());
        if taken.is_err() {
            // What is on its way stays without a segment; the next collection finds it.
            sink.trouble.stop();
        }
        taken.map(|()| taker.done)
    });
    match (taken, sink.trouble.take()) {
        // The first real failure; that a thread was told to stop is only an echo.
        (_, Some(error)) => Err(error),
        (Ok(done), None) => sink.finish().map(|()| done),
        (Err(error), None) => Err(error),
    }
}

struct Taker<'s, 'a> {
    sink: &'s Sink<'a>,
    from: &'s From<'s>,
    frames: Sender<ToPack>,
    builder: FrameBuilder<'s, 'a>,
    done: Repacked,
}

/// A frame of which something is wanted.
struct Part {
    number: u32,
    /// Where it lies in what is read together.
    at: Range<usize>,
    whole: bool,
}

/// What became of a frame.
enum Taken {
    Copied(CopiedFrame, u64),
    Opened(Vec<(ChunkId, Range<usize>)>, Vec<u8>),
}

impl Taker<'_, '_> {
    fn take(&mut self, take: &Take) -> Result<()> {
        let From { store, keys, .. } = *self.from;
        let pack = OpenPack::open(store, keys, take.class, &take.pack)?;
        if let Some(frame) = pack.table.frames.iter().find(|frame| frame.info.codec > CODEC_ZSTD) {
            return Err(Error::UnknownFeature { object: pack.name.clone(), feature: format!("frame codec {}", frame.info.codec) });
        }
        // Frames that cannot be opened cannot be verified: then all of the pack must be what its name says.
        let opens = (0..pack.table.frames.len()).all(|number| pack.holds_key(number as u32));
        if !opens && !pack.is_what_its_name_says(store, &take.pack)? {
            return Err(Error::damaged(&pack.name, Damage::Name));
        }
        let groups = groups(&pack, &take.chunks);
        for batch in groups.chunks(store.connections().clamp(1, READS_MAX)) {
            if self.sink.trouble.is_set() || !(self.from.go_on)(self.done.bytes_read) {
                return Err(Error::Interrupted);
            }
            let read = |(range, _): &(Range<u64>, Vec<Part>)| {
                let mut bytes = Vec::new();
                reread(store, &pack.name, || store.get_range(&pack.name, range.clone(), &mut bytes)).map(|()| bytes)
            };
            for ((_, parts), bytes) in batch.iter().zip(each(store, batch, read)) {
                let bytes = bytes?;
                self.done.bytes_read += bytes.len() as u64;
                self.group(&pack, take, parts, &bytes)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, pack: &OpenPack, take: &Take, parts: &[Part], bytes: &[u8]) -> Result<()> {
        let ids = self.from.ids;
        let work = |decoder: &mut FrameDecoder, part: &Part| {
            let stored = bytes.get(part.at.clone()).ok_or(Error::SelfCheck { what: "the place of a frame" })?;
            if part.whole || !pack.holds_key(part.number) {
                return copy(pack, part, stored, &take.chunks);
            }
            open(pack, part, (stored, &take.chunks), ids, decoder)
        };
        for parts in parts.chunks(FRAMES_OPENED) {
            let taken: Vec<Result<Taken>> = parts.par_iter().map_init(FrameDecoder::default, work).collect();
            taken.into_iter().try_for_each(|taken| self.send(take.class, taken?))?;
        }
        Ok(())
    }

    /// Hands on what became of a frame.
    fn send(&mut self, class: Class, taken: Taken) -> Result<()> {
        match taken {
            Taken::Copied(frame, stuck) => {
                self.done.frames_copied += 1;
                self.done.bytes_copied += frame.bytes.len() as u64;
                self.done.bytes_stuck += stuck;
                // Nobody takes frames any more only when a thread failed; that failure is the one to report.
                self.frames.send(ToPack::Frame(class, NewFrame::Copied(frame))).map_err(|_| Error::Interrupted)
            }
            Taken::Opened(chunks, plain) => {
                self.done.frames_opened += 1;
                chunks.into_iter().try_for_each(|(id, range)| self.builder.push(class, id, &plain[range]))
            }
        }
    }
}

/// Frames of which something is wanted, by what is read at a time.
fn groups(pack: &OpenPack, wanted: &Bits) -> Vec<(Range<u64>, Vec<Part>)> {
    let mut groups: Vec<(Range<u64>, Vec<Part>)> = Vec::new();
    for (number, span) in pack.table.frames.iter().enumerate() {
        let chunks = span.first_chunk as usize..(span.first_chunk + span.info.chunks) as usize;
        let count = chunks.clone().filter(|chunk| wanted.has(*chunk)).count();
        if count == 0 {
            continue;
        }
        let range = span.offset..span.offset + u64::from(span.info.stored);
        let near = |group: &(Range<u64>, Vec<Part>)| range.start - group.0.end <= GAP_BYTES && range.end - group.0.start <= READ_BYTES;
        if !groups.last().is_some_and(near) {
            groups.push((range.start..range.start, Vec::new()));
        }
        let Some(group) = groups.last_mut() else { continue };
        let at = (range.start - group.0.start) as usize..(range.end - group.0.start) as usize;
        group.1.push(Part { number: number as u32, at, whole: count == chunks.len() });
        group.0.end = range.end;
    }
    groups
}

fn chunks_of(pack: &OpenPack, part: &Part) -> Result<Vec<(ChunkId, usize)>> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    let span = pack.table.frames.get(part.number as usize).ok_or_else(damaged)?;
    let numbers = span.first_chunk as usize..(span.first_chunk + span.info.chunks) as usize;
    numbers.map(|number| Ok((pack.table.id(number).ok_or_else(damaged)?, number))).collect()
}

/// Takes a frame as it is, and says how much of it nobody wants.
fn copy(pack: &OpenPack, part: &Part, stored: &[u8], wanted: &Bits) -> Result<Taken> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    if pack.holds_key(part.number) && !pack.authenticates(part.number, stored) {
        return Err(damaged());
    }
    let info = pack.table.frames.get(part.number as usize).ok_or_else(damaged)?.info.clone();
    let key = pack.table.footer.keys.get(info.key as usize).ok_or_else(damaged)?.clone();
    let (mut chunks, mut dead) = (Vec::new(), 0);
    for (id, number) in chunks_of(pack, part)? {
        let bytes = pack.table.chunks.get(number).ok_or_else(damaged)?.bytes;
        if !wanted.has(number) {
            dead += u64::from(bytes);
        }
        chunks.push((id, bytes));
    }
    let stuck = dead * u64::from(info.stored) / u64::from(info.plain).max(1);
    Ok(Taken::Copied(CopiedFrame { bytes: stored.to_vec(), info, key, chunks }, stuck))
}

/// Opens a frame and verifies those of its chunks that are wanted.
fn open(pack: &OpenPack, part: &Part, (stored, wanted): (&[u8], &Bits), ids: &ChunkIds, decoder: &mut FrameDecoder) -> Result<Taken> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    let mut plain = Vec::new();
    pack.decode(part.number, &mut stored.to_vec(), decoder, &mut plain)?;
    let mut chunks = Vec::new();
    for (id, number) in chunks_of(pack, part)?.into_iter().filter(|(_, number)| wanted.has(*number)) {
        let place = pack.table.chunks.get(number).ok_or_else(damaged)?;
        let range = place.offset as usize..(place.offset + place.bytes) as usize;
        check_chunk(&pack.name, ids, pack.class, &id, plain.get(range.clone()).ok_or_else(damaged)?)?;
        chunks.push((id, range));
    }
    Ok(Taken::Opened(chunks, plain))
}
