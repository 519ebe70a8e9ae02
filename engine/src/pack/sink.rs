//! Turns new chunks into durable packs and segments: frames are built in order, encoded by worker threads, sealed into
//! packs by one thread, written by a second and made durable by a third. A segment is only written after every pack that it names is durable (DESIGN section 5, B2).

use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::faults;
use crate::format::pack::CODEC_RAW;
use crate::format::segment::Segment;
use crate::id::{ChunkId, Class, PackId, SnapshotId, WriterId};
use crate::index::build_segment;
use crate::pack::naming::{Batch, Naming};
use crate::pack::writer::{EncodedFrame, NewFrame, NewPack, PackUpload, PackWriter};
use crate::pack::{Compression, FrameEncoder, Origin};
use crate::seal::key::Keys;
use crate::store::{Store, Upload};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

/// Frames of a backup that wait for an encoder, encoded ones that wait for the packer, and pieces that wait for the disk: enough that nobody
/// idles, 12 MiB at most.
pub const FRAMES_QUEUED: usize = 4;

/// Packs that are complete and wait for a finisher.
const UPLOADS_QUEUED: usize = 2;
/// Packs that are made durable at a time, where the store has as many connections: a disk does one after the other. Each is in memory.
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
    /// Which one of the run it is.
    pub(super) number: u64,
    pub(super) class: Class,
    pub(super) origin: Origin,
    pub(super) plain: Vec<u8>,
    pub(super) chunks: Vec<(ChunkId, u32)>,
}

/// What goes to the encoders.
pub enum Job {
    /// A frame.
    Frame(FrameJob),
    /// A point of the run, behind so many frames.
    Mark {
        /// Its number.
        number: u64,
        /// Frames before it.
        frames: u64,
    },
}

/// The channel from the builder to the encoders; it ends when the builder is gone.
pub fn job_channel(queued: usize) -> (Sender<Job>, Receiver<Job>) {
    bounded(queued)
}

/// What goes to the packer.
pub enum ToPack {
    /// A frame, the class of pack that it goes into, and which one of the run it is; that counts only where there are marks.
    Frame(Class, NewFrame, u64),
    /// As [`Job::Mark`]. It may come before some of its frames: encoders are many.
    Mark {
        /// Its number.
        number: u64,
        /// Frames before it.
        frames: u64,
    },
}

/// What a packer tells the writer, pack after pack of a class.
enum ToWrite {
    /// The next bytes of the open pack of this class; they begin one where none is open.
    Bytes(Class, Vec<u8>),
    /// That was all of it; its number.
    End(NewPack, u64),
    /// A mark stands: whether it is reached may be known already.
    Marked,
}

/// What goes to the finishers.
enum ToFinish {
    /// A pack to be made durable.
    Pack(PackUpload),
    /// As [`ToWrite::Marked`].
    Marked,
}

/// What a run wrote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
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

/// Puts a segment and returns its length; the caller knows how it is sealed.
pub type PutSegment<'a> = &'a (dyn Fn(&Segment) -> Result<u64> + Sync);
/// Called when all that came before a mark is durable and named.
pub type Reached<'a> = &'a (dyn Fn(u64) -> Result<()> + Sync);

/// What the threads of a sink share.
pub struct Sink<'a> {
    store: &'a dyn Store,
    keys: &'a Keys,
    options: SinkOptions,
    writer: WriterId,
    session: SnapshotId,
    put_segment: PutSegment<'a>,
    reached: Reached<'a>,
    /// First failure of any thread.
    pub trouble: &'a Trouble,
    /// Buffers in circulation.
    pub buffers: Buffers,
    naming: Mutex<Naming>,
    ids: Mutex<Vec<PackId>>,
    packs_written: AtomicU64,
    pack_bytes_written: AtomicU64,
    bytes_written: AtomicU64,
}

impl<'a> Sink<'a> {
    /// A sink for one run.
    pub fn new(
        store: &'a dyn Store,
        keys: &'a Keys,
        options: SinkOptions,
        (writer, session): (WriterId, SnapshotId),
        (put_segment, reached): (PutSegment<'a>, Reached<'a>),
        trouble: &'a Trouble,
    ) -> Self {
        let (packs_written, pack_bytes_written, bytes_written) = Default::default();
        let (buffers, naming, ids) = Default::default();
        Sink {
            store,
            keys,
            options,
            writer,
            session,
            put_segment,
            reached,
            trouble,
            buffers,
            naming,
            ids,
            packs_written,
            pack_bytes_written,
            bytes_written,
        }
    }

    fn naming(&self) -> MutexGuard<'_, Naming> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An encoder for one thread.
    pub fn encoder(&self) -> Result<FrameEncoder> {
        FrameEncoder::new(self.options.compression)
    }

    /// Encodes one frame and hands it to the packer.
    pub fn encode(&self, encoder: &mut FrameEncoder, job: Job, out: &Sender<ToPack>) -> Result<()> {
        let job = match job {
            Job::Frame(job) => job,
            // A closed channel means that the packer failed and has said why.
            Job::Mark { number, frames } => return out.send(ToPack::Mark { number, frames }).or(Ok(())),
        };
        let mut bytes = self.buffers.take();
        let codec = encoder.encode(job.origin, &job.plain, &mut bytes)?;
        let plain = job.plain.len() as u32;
        let mut spare = job.plain;
        if codec == CODEC_RAW {
            std::mem::swap(&mut bytes, &mut spare);
        }
        self.buffers.give(spare);
        let frame = NewFrame::Fresh(EncodedFrame { codec, bytes, plain, chunks: job.chunks });
        out.send(ToPack::Frame(job.class, frame, job.number)).or(Ok(()))
    }

    /// Starts the threads that pack, write and make durable what comes out of encoders, with at most so many frames waiting for each. They end
    /// when the sender that this returns is gone, with all of its clones; what failed is in the trouble then.
    pub fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, queued: usize) -> Sender<ToPack> {
        // Each owns the end that it takes from: when it gives up, whoever waits to send is told. The finisher only borrowed its end
        // once; when a pack failed, the packer waited for room in the queue for ever.
        let (frames_in, frames_out) = bounded(queued);
        let (pieces_in, pieces_out) = bounded(queued);
        let (uploads_in, uploads_out) = bounded(UPLOADS_QUEUED);
        for _ in 0..self.store.connections().min(FINISHERS_MAX) {
            let uploads = uploads_out.clone();
            scope.spawn(move || self.finish_packs(&uploads));
        }
        scope.spawn(move || self.write_packs(&pieces_out, uploads_in));
        scope.spawn(move || self.pack(&frames_out, pieces_in));
        frames_in
    }

    /// Starts threads that encode, and hand on to `frames`; they end when the sender that this returns is gone.
    pub fn start_encoders<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        (threads, queued): (usize, usize),
        frames: &Sender<ToPack>,
    ) -> Sender<Job> {
        let (jobs_in, jobs_out) = job_channel(queued);
        for _ in 0..threads.max(1) {
            let (jobs, frames) = (jobs_out.clone(), frames.clone());
            scope.spawn(move || {
                let _guard = PanicGuard(self.trouble);
                let work = || -> Result<()> {
                    let mut encoder = self.encoder()?;
                    jobs.iter().try_for_each(|job: Job| self.encode(&mut encoder, job, &frames))
                };
                if let Err(error) = work() {
                    self.trouble.set(error);
                }
            });
        }
        jobs_in
    }

    /// The packer thread: until the encoders are gone. Returns with every pack handed to the writer behind `out`.
    fn pack(&self, frames: &Receiver<ToPack>, out: Sender<ToWrite>) {
        let _guard = PanicGuard(self.trouble);
        let result = self.pack_all(frames, &out);
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    fn pack_all(&self, frames: &Receiver<ToPack>, out: &Sender<ToWrite>) -> Result<()> {
        let mut open: [Option<PackWriter>; 3] = [None, None, None];
        // All before this one were taken, and these of those behind it. A count is not enough: encoders are many, and what stands behind a mark
        // may come before the last frame before it, which would then be in no pack that the mark's manifest can rely on.
        let (mut taken, mut ahead) = (0, BTreeSet::new());
        let mut marks: VecDeque<(u64, u64)> = VecDeque::new();
        for next in frames {
            if self.trouble.is_set() {
                return Ok(());
            }
            match next {
                ToPack::Mark { number, frames } => marks.push_back((number, frames)),
                ToPack::Frame(class, frame, number) => {
                    ahead.insert(number);
                    while ahead.remove(&taken) {
                        taken += 1;
                    }
                    self.pack_one(&mut open[usize::from(class.code())], class, frame, out)?;
                }
            }
            while let Some((number, _)) = marks.front().copied().filter(|(_, frames)| *frames <= taken) {
                marks.pop_front();
                open.iter_mut().filter_map(Option::take).try_for_each(|pack| self.end(pack, out))?;
                self.naming().mark(number);
                out.send(ToWrite::Marked).or(Ok::<_, Error>(()))?;
            }
        }
        open.iter_mut().filter_map(Option::take).try_for_each(|pack| self.end(pack, out))
    }

    fn pack_one(&self, slot: &mut Option<PackWriter>, class: Class, frame: NewFrame, out: &Sender<ToWrite>) -> Result<()> {
        let target = if class == Class::Data { self.options.data_pack_bytes } else { self.options.meta_pack_bytes };
        if let Some(full) = slot.take_if(|pack| pack.is_full_for(&frame, target)) {
            self.end(full, out)?;
        }
        let pack = match slot {
            Some(pack) => pack,
            None => {
                let (pack, first) = PackWriter::begin(self.keys, class, self.writer, self.session)?;
                out.send(ToWrite::Bytes(class, first)).or(Ok::<_, Error>(()))?;
                slot.insert(pack)
            }
        };
        out.send(ToWrite::Bytes(class, pack.add(frame)?)).or(Ok(()))
    }

    /// A closed channel means that the writer failed and has said why.
    fn end(&self, pack: PackWriter, out: &Sender<ToWrite>) -> Result<()> {
        let (pack, last) = pack.finish(self.keys)?;
        let number = self.naming().end();
        out.send(ToWrite::Bytes(pack.class, last)).and_then(|()| out.send(ToWrite::End(pack, number))).or(Ok(()))
    }

    /// The writing thread: gives bytes to the store, beside the one that seals. A disk that is slow to take them is all that it waits for.
    fn write_packs(&self, pieces: &Receiver<ToWrite>, finisher: Sender<ToFinish>) {
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
                    ToWrite::End(pack, number) => {
                        if let Some(upload) = open[usize::from(pack.class.code())].take() {
                            finisher.send(ToFinish::Pack(PackUpload { number, upload, pack })).or(Ok::<_, Error>(()))?;
                        }
                    }
                    ToWrite::Marked => finisher.send(ToFinish::Marked).or(Ok::<_, Error>(()))?,
                }
            }
            Ok(())
        })();
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    /// A finisher thread: makes packs durable, and names them in segments. Waiting for a disk or a network here stalls nobody else.
    fn finish_packs(&self, uploads: &Receiver<ToFinish>) {
        let _guard = PanicGuard(self.trouble);
        let result = (|| {
            for upload in uploads {
                if self.trouble.is_set() {
                    return Ok(());
                }
                if let ToFinish::Pack(upload) = upload {
                    let number = upload.number;
                    if faults::seeded("seg-before-pack") {
                        (self.put_segment)(&build_segment(std::slice::from_ref(&upload.pack)))?;
                    }
                    let pack = upload.finish()?;
                    self.packs_written.fetch_add(1, Ordering::Relaxed);
                    self.pack_bytes_written.fetch_add(pack.bytes, Ordering::Relaxed);
                    self.bytes_written.fetch_add(pack.bytes, Ordering::Relaxed);
                    self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(pack.id);
                    self.naming().durable(number, pack);
                }
                self.name(false)?;
            }
            Ok(())
        })();
        if let Err(error) = result {
            self.trouble.set(error);
        }
    }

    /// Names in a segment what none names yet. Called when the finishers are done and nothing failed.
    pub fn finish(&self) -> Result<()> {
        self.name(true)
    }

    /// Writes a segment when there is enough for one, a mark waits for it, or nothing more is to come.
    fn name(&self, last: bool) -> Result<()> {
        let due = self.naming().due(last);
        if let Some(Batch { numbers, packs }) = due {
            let segment = build_segment(&packs);
            // Their ids take more memory than the segment, which is about to be encoded.
            drop(packs);
            let bytes = (self.put_segment)(&segment)?;
            self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
            self.naming().named(&numbers);
        }
        loop {
            let reached = self.naming().reached();
            match reached {
                Some(number) => (self.reached)(number)?,
                None => return Ok(()),
            }
        }
    }

    /// The packs that were made durable.
    pub fn into_packs(self) -> Vec<PackId> {
        self.ids.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made durable so far.
    pub fn written(&self) -> Written {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Written { packs: load(&self.packs_written), pack_bytes: load(&self.pack_bytes_written), bytes: load(&self.bytes_written) }
    }
}
