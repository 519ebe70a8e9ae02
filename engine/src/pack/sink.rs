//! Turns new chunks into durable packs and segments: frames are built in order, encoded by worker threads, sealed into
//! packs by one thread, written by a second and made durable by a third. A segment is only written after every pack that it names is durable (DESIGN section 5, B2).

use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::format::pack::CODEC_RAW;
use crate::format::segment::Segment;
use crate::id::{ChunkId, Class, SnapshotId, WriterId};
use crate::index::build_segment;
use crate::limits::{FRAME_BYTES_TARGET, SEGMENT_CHUNKS_TARGET, TAG_BYTES};
use crate::pack::writer::{EncodedFrame, NewPack, PackUpload, PackWriter};
use crate::pack::{Compression, FrameEncoder, Origin};
use crate::seal::key::Keys;
use crate::store::{Store, Upload};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Frames that wait for an encoder, and encoded ones that wait for the packer: enough that nobody idles, 8 MiB at most.
const FRAMES_QUEUED: usize = 4;
/// A segment is written at the latest after packs of this size, so that a killed run loses little of what it stored.
const SEGMENT_PACK_BYTES: u64 = 1 << 30;

/// Packs that are made durable at a time, where the store has as many connections. Each is in memory.
const FINISHERS_MAX: usize = 4;

/// The first failure of a group of threads; the others stop when they see it.
#[derive(Default)]
pub struct Trouble {
    stop: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Trouble {
    /// Records a failure; only the first is kept.
    pub fn set(&self, error: Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
        self.stop.store(true, Ordering::Release);
    }

    /// Makes the others stop for an error that its owner reports himself.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether some thread failed.
    pub fn is_set(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The failure.
    pub fn take(&self) -> Option<Error> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Makes a panic of one thread known to the others, which would wait for it for ever.
pub struct PanicGuard<'a>(pub &'a Trouble);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Error::SelfCheck { what: "a thread of the backup" });
        }
    }
}

/// A frame's plaintext on its way to an encoder.
pub struct FrameJob {
    class: Class,
    origin: Origin,
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

/// The channel from the builder to the encoders; it ends when the builder is gone.
pub fn job_channel() -> (Sender<FrameJob>, Receiver<FrameJob>) {
    bounded(FRAMES_QUEUED)
}

/// A frame and the class of pack that it goes into.
pub type ClassFrame = (Class, EncodedFrame);

/// The channel from the encoders to the packer.
pub fn frame_channel() -> (Sender<ClassFrame>, Receiver<ClassFrame>) {
    bounded(FRAMES_QUEUED)
}

/// What a packer tells the writer, pack after pack of a class.
pub enum ToWrite {
    /// The next bytes of the open pack of this class; they begin one where none is open.
    Bytes(Class, Vec<u8>),
    /// That was all of it.
    End(NewPack),
}

/// The channel from the packer to the writer.
pub fn write_channel() -> (Sender<ToWrite>, Receiver<ToWrite>) {
    bounded(FRAMES_QUEUED)
}

/// What a run wrote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Packs.
    pub packs: u64,
    /// Bytes of packs and segments.
    pub bytes: u64,
}

/// How a sink writes.
#[derive(Clone, Copy, Debug)]
pub struct SinkOptions {
    /// Compression of new frames.
    pub compression: Compression,
    /// Target of data packs, bytes.
    pub data_pack_bytes: u64,
    /// Target of names and lists packs, bytes.
    pub meta_pack_bytes: u64,
}

/// What the threads of a sink share.
pub struct Sink<'a> {
    store: &'a dyn Store,
    keys: &'a Keys,
    options: SinkOptions,
    writer: WriterId,
    session: SnapshotId,
    /// Puts a segment and returns its length; the caller knows how it is sealed.
    put_segment: &'a (dyn Fn(&Segment) -> Result<u64> + Sync),
    /// First failure of any thread.
    pub trouble: &'a Trouble,
    /// Buffers in circulation.
    pub buffers: Buffers,
    /// Packs that are durable and that no segment names yet.
    unnamed: Mutex<Vec<NewPack>>,
    packs_written: AtomicU64,
    bytes_written: AtomicU64,
}

impl<'a> Sink<'a> {
    /// A sink for one run.
    pub fn new(
        store: &'a dyn Store,
        keys: &'a Keys,
        options: SinkOptions,
        (writer, session): (WriterId, SnapshotId),
        put_segment: &'a (dyn Fn(&Segment) -> Result<u64> + Sync),
        trouble: &'a Trouble,
    ) -> Self {
        let zero = AtomicU64::default;
        let (buffers, unnamed) = Default::default();
        Sink { store, keys, options, writer, session, put_segment, trouble, buffers, unnamed, packs_written: zero(), bytes_written: zero() }
    }

    /// An encoder for one thread.
    pub fn encoder(&self) -> Result<FrameEncoder> {
        FrameEncoder::new(self.options.compression)
    }

    /// Encodes one frame and hands it to the packer.
    pub fn encode(&self, encoder: &mut FrameEncoder, job: FrameJob, out: &Sender<(Class, EncodedFrame)>) -> Result<()> {
        let mut bytes = self.buffers.take();
        let codec = encoder.encode(job.origin, &job.plain, &mut bytes)?;
        let plain = job.plain.len() as u32;
        let mut spare = job.plain;
        if codec == CODEC_RAW {
            std::mem::swap(&mut bytes, &mut spare);
        }
        self.buffers.give(spare);
        // A closed channel means that the packer failed and has said why.
        out.send((job.class, EncodedFrame { codec, bytes, plain, chunks: job.chunks })).or(Ok(()))
    }

    /// The packer thread: until the encoders are gone. Returns with every pack handed to the writer behind `out`.
    pub fn pack(&self, frames: &Receiver<(Class, EncodedFrame)>, out: Sender<ToWrite>) {
        let _guard = PanicGuard(self.trouble);
        let mut open: [Option<PackWriter>; 3] = [None, None, None];
        let result = (|| {
            for (class, frame) in frames {
                if self.trouble.is_set() {
                    return Ok(());
                }
                let slot = &mut open[usize::from(class.code())];
                let target = if class == Class::Data { self.options.data_pack_bytes } else { self.options.meta_pack_bytes };
                if let Some(full) = slot.take_if(|pack| pack.is_full_for(&frame, target)) {
                    self.end(full, &out)?;
                }
                let pack = match slot {
                    Some(pack) => pack,
                    None => {
                        let (pack, first) = PackWriter::begin(self.keys, class, self.writer, self.session)?;
                        out.send(ToWrite::Bytes(class, first)).or(Ok::<_, Error>(()))?;
                        slot.insert(pack)
                    }
                };
                out.send(ToWrite::Bytes(class, pack.add(frame)?)).or(Ok::<_, Error>(()))?;
            }
            open.iter_mut().filter_map(Option::take).try_for_each(|pack| self.end(pack, &out))
        })();
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    /// A closed channel means that the writer failed and has said why.
    fn end(&self, pack: PackWriter, out: &Sender<ToWrite>) -> Result<()> {
        let (pack, last) = pack.finish(self.keys)?;
        out.send(ToWrite::Bytes(pack.class, last)).and_then(|()| out.send(ToWrite::End(pack))).or(Ok(()))
    }

    /// The writing thread: gives bytes to the store, beside the one that seals. A disk that is slow to take them is all that it waits for.
    pub fn write_packs(&self, pieces: &Receiver<ToWrite>, finisher: Sender<PackUpload>) {
        let _guard = PanicGuard(self.trouble);
        let mut open: [Option<Box<dyn Upload>>; 3] = [None, None, None];
        let result = (|| {
            for piece in pieces {
                if self.trouble.is_set() {
                    return Ok(());
                }
                match piece {
                    ToWrite::Bytes(class, bytes) => {
                        let slot = &mut open[usize::from(class.code())];
                        let upload = match slot {
                            Some(upload) => upload,
                            None => slot.insert(self.store.begin()?),
                        };
                        upload.write(&bytes)?;
                        self.buffers.give(bytes);
                    }
                    ToWrite::End(pack) => {
                        if let Some(upload) = open[usize::from(pack.class.code())].take() {
                            finisher.send(PackUpload { upload, pack }).or(Ok::<_, Error>(()))?;
                        }
                    }
                }
            }
            Ok(())
        })();
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    /// How many threads make packs durable: a disk does one after the other, a network several at a time.
    pub fn finishers(&self) -> usize {
        self.store.connections().min(FINISHERS_MAX)
    }

    /// A finisher thread: makes packs durable, and names them in segments. Waiting for a disk or a network here stalls nobody else.
    pub fn finish_packs(&self, uploads: &Receiver<PackUpload>) {
        let _guard = PanicGuard(self.trouble);
        let result = (|| {
            for upload in uploads {
                if self.trouble.is_set() {
                    return Ok(());
                }
                let pack = upload.finish()?;
                self.packs_written.fetch_add(1, Ordering::Relaxed);
                self.bytes_written.fetch_add(pack.bytes, Ordering::Relaxed);
                self.name(Some(pack))?;
            }
            Ok(())
        })();
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    /// Names in a segment what none names yet. Called when the finishers are done and nothing failed.
    pub fn finish(&self) -> Result<()> {
        self.name(None)
    }

    /// Takes in a pack that is durable; writes a segment when there is enough for one, or nothing more to come.
    fn name(&self, pack: Option<NewPack>) -> Result<()> {
        let packs = {
            let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
            let last = pack.is_none();
            unnamed.extend(pack);
            let chunks: usize = unnamed.iter().map(|p| p.ids.len() / ChunkId::BYTES).sum();
            let bytes: u64 = unnamed.iter().map(|p| p.bytes).sum();
            if unnamed.is_empty() || !last && chunks < SEGMENT_CHUNKS_TARGET && bytes < SEGMENT_PACK_BYTES {
                return Ok(());
            }
            std::mem::take(&mut *unnamed)
        };
        let bytes = (self.put_segment)(&build_segment(&packs))?;
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// What was made durable so far.
    pub fn written(&self) -> Written {
        Written { packs: self.packs_written.load(Ordering::Relaxed), bytes: self.bytes_written.load(Ordering::Relaxed) }
    }
}

/// Collects new chunks into frames, one open frame per class.
pub struct FrameBuilder<'s, 'a> {
    sink: &'s Sink<'a>,
    open: [FrameJob; 3],
    jobs: Sender<FrameJob>,
}

impl<'s, 'a> FrameBuilder<'s, 'a> {
    /// A builder that feeds the encoders behind `jobs`.
    pub fn new(sink: &'s Sink<'a>, jobs: Sender<FrameJob>) -> Self {
        let empty = |class| FrameJob { class, origin: Origin::Files, plain: Vec::new(), chunks: Vec::new() };
        FrameBuilder { sink, open: Class::ALL.map(empty), jobs }
    }

    /// Says where data chunks come from by now. A frame has one origin.
    pub fn set_origin(&mut self, origin: Origin) -> Result<()> {
        let at = usize::from(Class::Data.code());
        if self.open[at].origin != origin {
            self.flush_class(at)?;
            self.open[at].origin = origin;
        }
        Ok(())
    }

    /// Appends a new chunk.
    pub fn push(&mut self, class: Class, id: ChunkId, bytes: &[u8]) -> Result<()> {
        let at = usize::from(class.code());
        if !self.open[at].plain.is_empty() && self.open[at].plain.len() + bytes.len() > FRAME_BYTES_TARGET {
            self.flush_class(at)?;
        }
        let frame = &mut self.open[at];
        if frame.plain.capacity() == 0 {
            frame.plain = self.sink.buffers.take();
            // Room for the tag too: a raw frame is sealed in this very buffer.
            frame.plain.reserve(FRAME_BYTES_TARGET + TAG_BYTES);
        }
        frame.plain.extend_from_slice(bytes);
        frame.chunks.push((id, bytes.len() as u32));
        Ok(())
    }

    fn flush_class(&mut self, at: usize) -> Result<()> {
        let frame = &mut self.open[at];
        let (plain, chunks) = (std::mem::take(&mut frame.plain), std::mem::take(&mut frame.chunks));
        let job = FrameJob { class: frame.class, origin: frame.origin, plain, chunks };
        if job.chunks.is_empty() {
            return Ok(());
        }
        // Nobody takes jobs any more only when a thread failed; that failure is the one to report.
        self.jobs.send(job).map_err(|_| Error::Interrupted)
    }

    /// Sends what is left.
    pub fn flush(&mut self) -> Result<()> {
        (0..3).try_for_each(|at| self.flush_class(at))
    }
}
