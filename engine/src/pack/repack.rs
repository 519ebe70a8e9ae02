//! Takes chunks out of packs and puts them into new ones: what a collection keeps of packs that go, what a run rescues.
//! Frames of which all chunks are wanted, or as many as the caller says, are copied as they are sealed; the others are made anew, where the
//! keyring allows.
//! Nothing rotten is copied: in a pack of its own it would match its name, and nobody could tell any more without the keys.

use crate::buffers::Buffers;
use crate::chunk::ChunkIds;
use crate::error::{Damage, Error, Result};
use crate::format::object::Purpose;
use crate::format::pack::CODEC_ZSTD;
use crate::id::{ChunkId, Class, PackId};
use crate::pack::bits::Bits;
use crate::pack::frames::FrameBuilder;
use crate::pack::sink::{PanicGuard, Sink, ToPack};
use crate::pack::writer::{CopiedFrame, EncodedFrame, NewFrame};
use crate::pack::{Compression, FrameDecoder, OpenPack, check_chunk};
use crate::seal::key::Keys;
use crate::seal::{unwrap_pack_key, wrap_pack_key};
use crate::store::{Store, each, reread};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::ops::Range;
use std::sync::Arc;

/// How much is read of a pack at a time, and which gap between two frames is read along with them.
const READ_BYTES: u64 = 4 << 20;
const GAP_BYTES: u64 = 256 << 10;
/// Reads of a remote store at a time.
const READS_MAX: usize = 4;
/// Frames of a group that may wait, opened, until it is their turn: what they become may be ten times what was read.
const FRAMES_OPENED: usize = 8;
/// Frames that are read at a time where nothing is paid for a request: they stay in a processor's cache until they are opened.
const FRAMES_READ: usize = 2;

/// What waits between the threads that write, in frames. Less than in a backup: memory is full of rows meanwhile.
const FRAMES_QUEUED: usize = 2;
/// Groups that were read and wait to be opened,
const GROUPS_QUEUED: usize = 3;
/// and those that may be opened, for each thread, before the first of them is taken.
const GROUPS_OPENED: usize = 2;

/// How a collection compresses frames that it makes anew. What is left of many old frames does not lie beside what it is like any more: of
/// that, level 3 makes 2.3 % less than level 2 (dumps and source trees), in one and a half times as long.
pub const REFRAMED: Compression = Compression::Level(2);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The part of a frame that nobody may want for it to be copied all the same. See [`stays`].
    pub spare: f64,
    /// What becomes of the seals of frames that are copied.
    pub seals: Seals<'a>,
}

/// What becomes of the seals of frames that are copied as they are compressed.
#[derive(Clone, Copy)]
pub enum Seals<'a> {
    /// They stay, and the keys of their packs come along as they are wrapped.
    Kept,
    /// They stay, and the keys of their packs are wrapped anew for these keys, of the same family, where these do not open them.
    Rewrapped(&'a Keys),
    /// Frames are sealed anew, by the key of the pack that they go to: whoever knows their old keys reads nothing of them there.
    Renewed,
}

/// Whether a frame is copied of which so much is wanted: all of it, or so much that to open it and make it anew is not worth the rest; and
/// also where it cannot be opened.
pub fn stays(pack: &OpenPack, frame: u32, wanted: &Bits, spare: f64) -> bool {
    let Some(span) = pack.table.frames.get(frame as usize) else { return true };
    let unwanted = span.chunks().filter(|chunk| !wanted.has(*chunk));
    let unwanted: u64 = unwanted.filter_map(|chunk| pack.table.chunks.get(chunk)).map(|chunk| u64::from(chunk.bytes)).sum();
    !pack.holds_key(frame) || unwanted == 0 || unwanted as f64 <= f64::from(span.info.plain) * spare
}

/// Takes the chunks of all `takes`, in order, and returns when packs and segments with them are durable.
pub fn repack(sink: &Sink<'_>, from: &From<'_>, takes: impl Iterator<Item = Take>, threads: usize) -> Result<Repacked> {
    let buffers = &GroupBuffers::default();
    let taken = std::thread::scope(|scope| {
        let frames = sink.start(scope, FRAMES_QUEUED);
        let jobs = sink.start_encoders(scope, (threads, FRAMES_QUEUED), &frames);
        let _guard = PanicGuard(sink.trouble);
        let mut taker = Taker { frames, builder: FrameBuilder::new(sink, jobs), buffers, done: Repacked::default() };
        let mut reader = Reader { sink, from, buffers, bytes_read: 0 };
        let opener = || Opener { from, copies: &sink.buffers, buffers, decoder: FrameDecoder::default(), plain: Vec::new() };
        let taken = if threads > 1 {
            take_ahead(&mut reader, (0..threads).map(|_| opener()).collect(), taker, takes)
        } else {
            let mut opener = opener();
            let hand = &mut |group: Group| {
                let class = group.take.class;
                opener.group(group, &mut |taken| taker.take(class, taken))
            };
            let read = takes.into_iter().try_for_each(|take| reader.take(take, hand));
            read.and_then(|()| taker.builder.flush()).map(|()| taker.done)
        };
        if taken.is_err() {
            // What is on its way stays without a segment; the next collection finds it.
            sink.trouble.stop();
        }
        taken.map(|done| Repacked { bytes_read: reader.bytes_read, ..done })
    });
    match (taken, sink.trouble.take()) {
        // The first real failure; that a thread was told to stop is only an echo.
        (_, Some(error)) => Err(error),
        (Ok(done), None) => sink.finish().map(|()| done),
        (Err(error), None) => Err(error),
    }
}

/// One thread reads ahead, so that nobody waits for a disk or a network who could decode meanwhile; several open what it has read; one
/// takes what comes of it, in the order in which it was read, whoever has opened it.
fn take_ahead(
    reader: &mut Reader<'_, '_>,
    openers: Vec<Opener<'_>>,
    mut taker: Taker<'_, '_>,
    mut takes: impl Iterator<Item = Take>,
) -> Result<Repacked> {
    let trouble = reader.sink.trouble;
    std::thread::scope(|scope| {
        let (tickets_in, tickets_out) = bounded::<Ticket>(GROUPS_OPENED * openers.len());
        let (groups_in, groups_out) = bounded::<(Group, Sender<Result<Taken>>)>(GROUPS_QUEUED);
        for mut opener in openers {
            let groups = groups_out.clone();
            scope.spawn(move || {
                let _guard = PanicGuard(trouble);
                for (group, out) in groups {
                    if let Err(error) = opener.group(group, &mut |taken| out.send(Ok(taken)).map_err(|_| Error::Interrupted)) {
                        // Nobody listens any more where something else has failed before.
                        out.send(Err(error)).ok();
                    }
                }
            });
        }
        drop(groups_out);
        let taking = scope.spawn(move || {
            let _guard = PanicGuard(trouble);
            let taken = tickets_out.iter().try_for_each(|ticket| taker.redeem(&ticket)).and_then(|()| taker.builder.flush());
            taken.map(|()| taker.done)
        });
        let hand = &mut |group: Group| {
            let (opened_in, opened) = bounded(FRAMES_OPENED);
            let ticket = Ticket { class: group.take.class, frames: group.parts.len(), opened };
            // Nobody takes them any more only when the taker failed; that failure is the one to report.
            tickets_in.send(ticket).map_err(|_| Error::Interrupted)?;
            groups_in.send((group, opened_in)).map_err(|_| Error::Interrupted)
        };
        let read = takes.try_for_each(|take| reader.take(take, hand));
        drop((tickets_in, groups_in));
        match (read, taking.join().unwrap_or(Err(Error::SelfCheck { what: "a thread that takes frames" }))) {
            (Err(error), Ok(_)) => Err(error),
            (_, taken) => taken,
        }
    })
}

/// What is read of a pack at a time.
struct Group {
    pack: Arc<OpenPack>,
    take: Arc<Take>,
    parts: Vec<Part>,
    bytes: Vec<u8>,
}

/// Where the frames of a group come from, in their order.
struct Ticket {
    class: Class,
    frames: usize,
    opened: Receiver<Result<Taken>>,
}

/// Memory that goes round: to fault it in anew for each group takes as long as to decode it.
#[derive(Default)]
struct GroupBuffers {
    /// For what is read,
    read: Buffers,
    /// and for what is wanted of a frame.
    wanted: Buffers,
}

struct Reader<'s, 'a> {
    sink: &'s Sink<'a>,
    from: &'s From<'s>,
    buffers: &'s GroupBuffers,
    bytes_read: u64,
}

impl Reader<'_, '_> {
    fn take(&mut self, take: Take, hand: &mut dyn FnMut(Group) -> Result<()>) -> Result<()> {
        let From { store, keys, spare, .. } = *self.from;
        let pack = OpenPack::open(store, keys, take.class, &take.pack)?;
        if let Some(frame) = pack.table.frames.iter().find(|frame| frame.info.codec > CODEC_ZSTD) {
            return Err(Error::UnknownFeature { object: pack.name.clone(), feature: format!("frame codec {}", frame.info.codec) });
        }
        // Frames that cannot be opened cannot be verified: then all of the pack must be what its name says.
        let opens = (0..pack.table.frames.len()).all(|number| pack.holds_key(number as u32));
        if !opens && !pack.is_what_its_name_says(store, &take.pack)? {
            return Err(Error::damaged(&pack.name, Damage::Name));
        }
        // Where a request costs nothing there are many, and whoever opens frames soon has some.
        let frames_max = if store.traffic().is_some() { usize::MAX } else { FRAMES_READ };
        let mut groups = groups(&pack, &take.chunks, spare, frames_max);
        let (pack, take) = (Arc::new(pack), Arc::new(take));
        for batch in groups.chunks_mut(store.connections().clamp(1, READS_MAX)) {
            if self.sink.trouble.is_set() || !(self.from.go_on)(self.bytes_read) {
                return Err(Error::Interrupted);
            }
            let read = |(range, _): &(Range<u64>, Vec<Part>)| {
                let mut bytes = self.buffers.read.take();
                reread(store, &pack.name, || store.get_range(&pack.name, range.clone(), &mut bytes)).map(|()| bytes)
            };
            let read = each(store, batch, read);
            for ((_, parts), bytes) in batch.iter_mut().zip(read) {
                let bytes = bytes?;
                self.bytes_read += bytes.len() as u64;
                hand(Group { pack: pack.clone(), take: take.clone(), parts: std::mem::take(parts), bytes })?;
            }
        }
        Ok(())
    }
}

/// A frame of which something is wanted.
struct Part {
    number: u32,
    /// Where it lies in what is read together.
    at: Range<usize>,
    copied: bool,
}

/// What became of a frame.
enum Taken {
    /// It was copied, with so many bytes that nobody wants.
    Copied(CopiedFrame, u64),
    /// It is to be sealed anew, as it is compressed.
    Renewed(EncodedFrame),
    /// The chunks that are wanted of it, one after the other.
    Opened(Vec<(ChunkId, u32)>, Vec<u8>),
}

struct Opener<'s> {
    from: &'s From<'s>,
    copies: &'s Buffers,
    buffers: &'s GroupBuffers,
    decoder: FrameDecoder,
    /// What a frame is decoded into: always the same memory, which a processor has at hand.
    plain: Vec<u8>,
}

impl Opener<'_> {
    fn group(&mut self, group: Group, hand: &mut dyn FnMut(Taken) -> Result<()>) -> Result<()> {
        let Group { pack, take, parts, mut bytes } = group;
        for part in &parts {
            let stored = bytes.get_mut(part.at.clone()).ok_or(Error::SelfCheck { what: "the place of a frame" })?;
            hand(match (part.copied, self.from.seals) {
                (false, _) => self.open(&pack, part, stored, &take.chunks)?,
                (true, Seals::Renewed) => renew(&pack, part, stored, self.copies.take())?,
                (true, Seals::Kept) => copy(&pack, part, stored, &take.chunks, self.copies.take())?,
                (true, Seals::Rewrapped(to)) => {
                    let taken = copy(&pack, part, stored, &take.chunks, self.copies.take())?;
                    rewrapped(&pack, taken, self.from.keys, to)?
                }
            })?;
        }
        self.buffers.read.give_filled(bytes);
        Ok(())
    }

    /// Opens a frame where it was read to, and verifies those of its chunks that are wanted.
    fn open(&mut self, pack: &OpenPack, part: &Part, stored: &mut [u8], wanted: &Bits) -> Result<Taken> {
        let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
        let mut places = Vec::new();
        for (id, number) in chunks_of(pack, part)?.into_iter().filter(|(_, number)| wanted.has(*number)) {
            let place = pack.table.chunks.get(number).ok_or_else(damaged)?;
            places.push((id, place.offset as usize..(place.offset + place.bytes) as usize));
        }
        let need = places.iter().map(|(_, range)| range.end).max().unwrap_or(0);
        pack.decode_to(need, part.number, stored, &mut self.decoder, &mut self.plain)?;
        let (mut chunks, mut bytes) = (Vec::with_capacity(places.len()), self.buffers.wanted.take());
        for (id, range) in places {
            let chunk = self.plain.get(range).ok_or_else(damaged)?;
            check_chunk(&pack.name, self.from.ids, pack.class, &id, chunk)?;
            chunks.push((id, chunk.len() as u32));
            bytes.extend_from_slice(chunk);
        }
        Ok(Taken::Opened(chunks, bytes))
    }
}

struct Taker<'s, 'a> {
    frames: Sender<ToPack>,
    builder: FrameBuilder<'s, 'a>,
    buffers: &'s GroupBuffers,
    done: Repacked,
}

impl Taker<'_, '_> {
    fn redeem(&mut self, ticket: &Ticket) -> Result<()> {
        let mut frames = 0;
        for taken in &ticket.opened {
            self.take(ticket.class, taken?)?;
            frames += 1;
        }
        // Who opens them dies with a panic, or not at all; what is not here would be lost with its pack.
        if frames == ticket.frames { Ok(()) } else { Err(Error::SelfCheck { what: "the number of frames" }) }
    }

    /// Hands on what became of a frame.
    fn take(&mut self, class: Class, taken: Taken) -> Result<()> {
        match taken {
            Taken::Copied(frame, stuck) => {
                self.done.frames_copied += 1;
                self.done.bytes_copied += frame.bytes.len() as u64;
                self.done.bytes_stuck += stuck;
                // Nobody takes frames any more only when a thread failed; that failure is the one to report.
                self.frames.send(ToPack::Frame(class, NewFrame::Copied(frame), 0)).map_err(|_| Error::Interrupted)
            }
            Taken::Renewed(frame) => {
                self.done.frames_copied += 1;
                self.done.bytes_copied += frame.bytes.len() as u64;
                self.frames.send(ToPack::Frame(class, NewFrame::Fresh(frame), 0)).map_err(|_| Error::Interrupted)
            }
            Taken::Opened(chunks, bytes) => {
                self.done.frames_opened += 1;
                let mut rest = &bytes[..];
                for (id, length) in chunks {
                    let (chunk, behind) =
                        rest.split_at_checked(length as usize).ok_or(Error::SelfCheck { what: "the length of a chunk" })?;
                    self.builder.push(class, id, chunk)?;
                    rest = behind;
                }
                self.buffers.wanted.give(bytes);
                Ok(())
            }
        }
    }
}

/// Frames of which something is wanted, by what is read at a time.
fn groups(pack: &OpenPack, wanted: &Bits, spare: f64, frames_max: usize) -> Vec<(Range<u64>, Vec<Part>)> {
    let mut groups: Vec<(Range<u64>, Vec<Part>)> = Vec::new();
    for (number, span) in pack.table.frames.iter().enumerate() {
        if !span.chunks().any(|chunk| wanted.has(chunk)) {
            continue;
        }
        let range = span.offset..span.offset + u64::from(span.info.stored);
        let near = |group: &(Range<u64>, Vec<Part>)| {
            range.start - group.0.end <= GAP_BYTES && range.end - group.0.start <= READ_BYTES && group.1.len() < frames_max
        };
        if !groups.last().is_some_and(near) {
            groups.push((range.start..range.start, Vec::new()));
        }
        let Some(group) = groups.last_mut() else { continue };
        let at = (range.start - group.0.start) as usize..(range.end - group.0.start) as usize;
        group.1.push(Part { number: number as u32, at, copied: stays(pack, number as u32, wanted, spare) });
        group.0.end = range.end;
    }
    groups
}

fn chunks_of(pack: &OpenPack, part: &Part) -> Result<Vec<(ChunkId, usize)>> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    let span = pack.table.frames.get(part.number as usize).ok_or_else(damaged)?;
    span.chunks().map(|number| Ok((pack.table.id(number).ok_or_else(damaged)?, number))).collect()
}

/// Takes a frame as it is, and says how much of it nobody wants.
fn copy(pack: &OpenPack, part: &Part, stored: &mut [u8], wanted: &Bits, mut bytes: Vec<u8>) -> Result<Taken> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    bytes.extend_from_slice(stored);
    let opens = pack.holds_key(part.number);
    if opens && !pack.authenticates(part.number, stored) {
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
    let stuck = if opens { 0 } else { dead * u64::from(info.stored) / u64::from(info.plain).max(1) };
    Ok(Taken::Copied(CopiedFrame { bytes, info, key, chunks }, stuck))
}

/// Opens the seal of a frame and leaves it compressed. Whoever lacks its key cannot renew it: that is an error, not a copy.
fn renew(pack: &OpenPack, part: &Part, stored: &mut [u8], mut bytes: Vec<u8>) -> Result<Taken> {
    let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: part.number });
    if !pack.holds_key(part.number) {
        return Err(Error::UnknownFeature { object: pack.name.clone(), feature: "a pack key that this keyring lacks".to_owned() });
    }
    let encoded = pack.unseal(part.number, stored).ok_or_else(damaged)?;
    bytes.extend_from_slice(encoded);
    let info = &pack.table.frames.get(part.number as usize).ok_or_else(damaged)?.info;
    let mut chunks = Vec::new();
    for (id, number) in chunks_of(pack, part)? {
        chunks.push((id, pack.table.chunks.get(number).ok_or_else(damaged)?.bytes));
    }
    Ok(Taken::Renewed(EncodedFrame { codec: info.codec, bytes, plain: info.plain, chunks }))
}

/// Wraps the key of a copied frame for `to`, unless that opens it already. Two repositories of a family rotate each for itself: of one's
/// epochs the other knows nothing, or another key by the same number.
fn rewrapped(pack: &OpenPack, taken: Taken, from: &Keys, to: &Keys) -> Result<Taken> {
    let Taken::Copied(mut frame, stuck) = taken else { return Ok(taken) };
    let purpose = Purpose::wraps(pack.class);
    let opens = |keys: &Keys| {
        let wrapping = keys.get(purpose, frame.key.epoch)?;
        unwrap_pack_key(wrapping, &keys.family, pack.class, &frame.key)
    };
    if opens(to).is_none() {
        let key = opens(from).ok_or_else(|| Error::damaged(&pack.name, Damage::Seal))?;
        let wrapping = to.require(&pack.name, purpose, to.epoch)?;
        frame.key = wrap_pack_key(wrapping, to.epoch, &to.family, pack.class, &frame.key.birth, &key)?;
    }
    Ok(Taken::Copied(frame, stuck))
}
