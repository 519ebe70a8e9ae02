//! Reads packs: footers always, frames where asked for. Each pack is read once, front to back, and hashed on the way.
//! Readers fetch a few MiB of whole frames at a time, workers decode and verify them: memory does not grow with the size of packs.

use crate::check::memory::Purse;
use crate::check::{ReadData, is_about_an_object};
use crate::error::{Damage, Error, Result};
use crate::format::object::open_header;
use crate::format::pack::{PACK_HEADER_BYTES, TRAILER_BYTES};
use crate::id::{ChunkId, Class, ObjectName, PackId};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::{FrameDecoder, OpenPack, check_chunk};
use crate::repository::Repository;
use crossbeam_channel::{Sender, bounded};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are read and handed to a worker at once: some ten milliseconds of its work. With sixteen workers some twenty-four
/// steps are under way, and all of them together must stay below what a small machine has.
const STEP_BYTES: u64 = 2 << 20;
/// Below this much to do, threads cost more than they give.
const THREADS_FROM_BYTES: u64 = 1 << 20;
/// Packs whose footers make threads worth while: on a remote store each costs a round trip.
const THREADS_FROM_PACKS: usize = 64;
/// Packs that are read at once, and steps that wait for a worker: one reader hashes faster than eight workers decode.
const READERS_MAX: usize = 4;

/// The same where each waits for a network: each holds a step, and as many wait.
const READERS_REMOTE: usize = 12;

/// A pack to be looked at.
pub struct Job {
    pub class: Class,
    pub id: PackId,
    pub bytes: u64,
    /// Its number in the index.
    pub number: Option<u32>,
    /// Open the footer.
    pub open: bool,
    /// Read all of it.
    pub read: bool,
    /// Damage was found in it before.
    pub is_suspect: bool,
}

/// What a footer says.
pub struct FooterFacts {
    pub lengths: Vec<u32>,
    /// Chunk ids, where no segment names the pack.
    pub ids: Vec<u8>,
    /// Whether the index says the same.
    pub agrees: bool,
}

/// Chunks of one pack that cannot be read, and why.
pub struct BadChunks {
    pub numbers: Range<u32>,
    pub ids: Vec<ChunkId>,
    pub error: Error,
}

/// What was seen of a pack.
#[derive(Default)]
pub struct Outcome {
    /// How often it was begun to be read: what a worker says of an earlier time does not count.
    time: u32,
    pub footer: Option<Result<FooterFacts>>,
    /// All of it was to be read, and there was something left of the budget for it.
    pub begun: bool,
    /// It lies in an archive, where nothing of it can be read.
    pub archived: bool,
    /// Whether all of it was read.
    pub whole: bool,
    pub bytes_read: u64,
    /// What is wrong with it besides its chunks.
    pub errors: Vec<Error>,
    /// Chunks that cannot be read.
    pub bad: Vec<BadChunks>,
}

impl Outcome {
    /// Whether all of it was read, decoded and held against its hashes, and nothing is wrong with it.
    pub fn is_sound(&self) -> bool {
        self.whole && matches!(self.footer, Some(Ok(_))) && self.errors.is_empty() && self.bad.is_empty()
    }
}

/// Refuses a choice that makes no sense.
pub fn validate(read_data: ReadData) -> Result<()> {
    let fair = match read_data {
        ReadData::None | ReadData::All | ReadData::Bytes(_) | ReadData::Oldest { .. } => true,
        ReadData::Part { n, of } => 1 <= n && n <= of && of <= 256,
        ReadData::Percent(percent) => percent > 0.0 && percent <= 100.0,
    };
    let what = || "a part to read is n/t with n from 1 to t and t up to 256, or more than 0 and up to 100 per cent".to_owned();
    if fair { Ok(()) } else { Err(Error::Option { what: what() }) }
}

/// The packs to read, chosen by their ids alone: the same wherever and whenever this is asked.
pub fn choose(read_data: ReadData, packs: &BTreeMap<(Class, PackId), u64>) -> HashSet<PackId> {
    // By id, not by class: ids are hashes, so that any beginning of the list is a fair sample.
    let by_id: BTreeMap<PackId, u64> = packs.iter().map(|((_, id), bytes)| (*id, *bytes)).collect();
    let first = |count: usize| by_id.keys().take(count).copied().collect();
    match read_data {
        ReadData::None => HashSet::new(),
        // Which of them, in which order, is not said by ids.
        ReadData::All | ReadData::Oldest { .. } => by_id.into_keys().collect(),
        ReadData::Part { n, of } => by_id.into_keys().filter(|id| u32::from(id.as_bytes()[0]) % of == n - 1).collect(),
        ReadData::Percent(percent) => first(((by_id.len() as f64 * percent / 100.0).ceil() as usize).max(1)),
        ReadData::Bytes(bytes) => {
            let mut sum = 0u64;
            let before = by_id.values().take_while(|pack| {
                let more = sum < bytes;
                sum = sum.saturating_add(**pack);
                more
            });
            first(before.count().max(1))
        }
    }
}

/// Frames of one pack, in the order in which they stand, as stored.
struct Step {
    job: usize,
    time: u32,
    pack: Arc<OpenPack>,
    frames: Range<u32>,
    /// Offset of `bytes` in the pack.
    at: u64,
    bytes: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compares an open pack with the index.
type Agrees<'a> = dyn Fn(&Job, &OpenPack) -> bool + Sync + 'a;

struct Run<'a> {
    repository: &'a Repository,
    jobs: &'a [Job],
    agrees: &'a Agrees<'a>,
    purse: &'a Purse,
    observer: &'a dyn Observer,
    /// Jobs are taken from here in order.
    next: AtomicUsize,
    outcomes: Vec<Mutex<Outcome>>,
    /// Buffers of steps that are done with.
    spare: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    bytes_total: u64,
    bytes_done: AtomicU64,
    packs_done: AtomicU64,
}

/// Looks at every job, and takes what is to be read from the `purse`; outcomes come in their order. Behind a failure too: what was seen until
/// then was seen.
pub fn run(
    repository: &Repository,
    jobs: &[Job],
    agrees: &Agrees<'_>,
    purse: &Purse,
    observer: &dyn Observer,
) -> (Vec<Outcome>, Option<Error>) {
    let to_read = |is_suspect| jobs.iter().filter(|job| job.read && job.is_suspect == is_suspect).map(|job| job.bytes).sum();
    let bytes_total = purse.at_most(to_read(false)).saturating_add(purse.at_most(to_read(true)));
    let run = Run {
        repository,
        jobs,
        agrees,
        purse,
        observer,
        next: AtomicUsize::new(0),
        outcomes: jobs.iter().map(|_| Mutex::default()).collect(),
        spare: Mutex::default(),
        stop: AtomicBool::new(false),
        failure: Mutex::default(),
        bytes_total,
        bytes_done: AtomicU64::new(0),
        packs_done: AtomicU64::new(0),
    };
    let connections = repository.origin().connections();
    if connections <= 1 && bytes_total < THREADS_FROM_BYTES && jobs.len() < THREADS_FROM_PACKS {
        let mut worker = Worker::default();
        run.read_packs(&mut |step| worker.verify(&run, step));
    } else {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16);
        std::thread::scope(|scope| {
            let readers = if connections > 1 { connections.min(READERS_REMOTE) } else { threads.min(READERS_MAX) };
            let (steps, todo) = bounded::<Step>(readers);
            for _ in 0..threads {
                let (run, todo) = (&run, todo.clone());
                scope.spawn(move || {
                    let mut worker = Worker::default();
                    todo.iter().for_each(|step| worker.verify(run, step));
                });
            }
            for _ in 0..readers {
                let (run, steps): (_, Sender<Step>) = (&run, steps.clone());
                // A send fails only when every worker is gone, and then the scope panics with them.
                scope.spawn(move || run.read_packs(&mut |step| drop(steps.send(step))));
            }
        });
    }
    let failure = lock(&run.failure).take();
    let whole = |outcome: Mutex<Outcome>| outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    (run.outcomes.into_iter().map(whole).collect(), failure)
}

impl Run<'_> {
    /// Takes job after job until there is none.
    fn read_packs(&self, send: &mut dyn FnMut(Step)) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(number) else { return };
            let result = if self.observer.interrupted() { Err(Error::Interrupted) } else { self.job(number, job, send) };
            match result {
                Ok(()) => {}
                Err(error) if is_about_an_object(&error) => lock(&self.outcomes[number]).errors.push(error),
                Err(Error::Archived { .. }) => lock(&self.outcomes[number]).archived = true,
                Err(error) => {
                    lock(&self.failure).get_or_insert(error);
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.settle(number, job);
            self.packs_done.fetch_add(1, Ordering::Relaxed);
            self.tell();
        }
    }

    /// What was not read of a pack that was begun, because it lies in an archive or is damaged, is there for another one.
    fn settle(&self, number: usize, job: &Job) {
        let outcome = lock(&self.outcomes[number]);
        if outcome.begun && !outcome.whole {
            self.purse.give_back(job, outcome.bytes_read);
        }
    }

    fn tell(&self) {
        self.observer.progress(&Progress {
            stage: Stage::Working,
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_total: self.bytes_total,
            packs_done: self.packs_done.load(Ordering::Relaxed),
            packs_total: self.jobs.len() as u64,
            ..Progress::default()
        });
    }

    fn job(&self, number: usize, job: &Job, send: &mut dyn FnMut(Step)) -> Result<()> {
        if !job.open {
            return Ok(());
        }
        // Its footer is looked at in any case.
        let begun = job.read && self.purse.take(self.repository, job)?;
        lock(&self.outcomes[number]).begun = begun;
        // Twice where the bytes are not those that the name is the hash of, and may be others when they are asked for again.
        loop {
            match self.look(number, job, send) {
                Ok(false) => {}
                Err(error) if error.is_damage() && self.once_more(number, job) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Whether a pack that seems to be damaged is to be read once more: where it may have gone wrong on the way, before anybody is alarmed and
    /// its chunks are stored anew. Forgets what was seen of it.
    fn once_more(&self, number: usize, job: &Job) -> bool {
        let mut outcome = lock(&self.outcomes[number]);
        let again = outcome.time == 0 && self.repository.origin().distrust(&ObjectName::pack(job.class, &job.id));
        if again {
            self.bytes_done.fetch_sub(outcome.bytes_read, Ordering::Relaxed);
            *outcome = Outcome { time: 1, begun: outcome.begun, ..Outcome::default() };
        }
        again
    }

    /// Looks at one pack; `false` where it is to be looked at once more.
    fn look(&self, number: usize, job: &Job, send: &mut dyn FnMut(Step)) -> Result<bool> {
        let (pack, suffix) = match OpenPack::open_keeping_suffix(self.repository.origin(), self.repository.keys(), job.class, &job.id) {
            Ok(opened) => opened,
            Err(error) if is_about_an_object(&error) => {
                lock(&self.outcomes[number]).footer = Some(Err(error));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let ids = if job.number.is_none() { pack.table.footer.ids.0.clone() } else { Vec::new() };
        let facts = FooterFacts { lengths: pack.table.footer.lengths.clone(), ids, agrees: (self.agrees)(job, &pack) };
        let mut outcome = lock(&self.outcomes[number]);
        outcome.footer = Some(Ok(facts));
        let begun = outcome.begun;
        drop(outcome);
        if begun { self.whole(number, job, Arc::new(pack), &suffix, send) } else { Ok(true) }
    }

    /// Reads a pack front to back, hashes it, and hands its frames on. `false` where that is to be done once more.
    fn whole(&self, number: usize, job: &Job, pack: Arc<OpenPack>, suffix: &[u8], send: &mut dyn FnMut(Step)) -> Result<bool> {
        let time = lock(&self.outcomes[number]).time;
        let mut hasher = blake3::Hasher::new();
        let mut header = Vec::new();
        let mut at = 0;
        let mut frame = 0;
        while at < pack.bytes {
            if self.stop.load(Ordering::Relaxed) || self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            // Whole frames, the header before the first of them, then what is left: padding, footer, trailer.
            let first = frame;
            let mut end = at;
            while let Some(span) = pack.table.frames.get(frame)
                && (frame == first || end - at < STEP_BYTES)
            {
                end = span.offset + u64::from(span.info.stored);
                frame += 1;
            }
            if frame == first {
                end = pack.bytes.min(at + STEP_BYTES);
            }
            let mut bytes = lock(&self.spare).pop().unwrap_or_default();
            self.read(&pack, at..end, suffix, &mut bytes)?;
            hasher.update(&bytes);
            if at < PACK_HEADER_BYTES as u64 {
                header.extend(bytes.iter().take(PACK_HEADER_BYTES - header.len()));
            }
            self.advance(number, end - at);
            let frames = first as u32..frame as u32;
            if frames.is_empty() {
                lock(&self.spare).push(bytes);
            } else {
                send(Step { job: number, time, pack: pack.clone(), frames, at, bytes });
            }
            at = end;
        }
        let sound = hasher.finalize().as_bytes() == job.id.as_bytes();
        if !sound && self.once_more(number, job) {
            return Ok(false);
        }
        let mut outcome = lock(&self.outcomes[number]);
        outcome.whole = true;
        if !sound {
            outcome.errors.push(Error::damaged(&pack.name, Damage::Name));
        } else if let Err(error) = header_agrees(&pack, job.class, &header, suffix) {
            outcome.errors.push(error);
        }
        Ok(true)
    }

    /// Bytes of a pack: from the store, but not those that were read with the footer.
    fn read(&self, pack: &OpenPack, range: Range<u64>, suffix: &[u8], into: &mut Vec<u8>) -> Result<()> {
        let suffix_at = pack.bytes - suffix.len() as u64;
        into.clear();
        if range.start < suffix_at {
            self.repository.origin().get_range(&pack.name, range.start..range.end.min(suffix_at), into)?;
        }
        if range.end > suffix_at {
            let from = range.start.max(suffix_at) - suffix_at;
            into.extend_from_slice(&suffix[from as usize..(range.end - suffix_at) as usize]);
        }
        Ok(())
    }

    fn advance(&self, number: usize, bytes: u64) {
        lock(&self.outcomes[number]).bytes_read += bytes;
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }
}

/// Type, version and birth stand at both ends of a pack.
fn header_agrees(pack: &OpenPack, class: Class, header: &[u8], suffix: &[u8]) -> Result<()> {
    use crate::format::object::{HEADER_BYTES, ObjectType};
    open_header(&pack.name, ObjectType::pack(class), header)?;
    let birth = suffix.len().checked_sub(TRAILER_BYTES).and_then(|at| suffix.get(at + 8..at + 24));
    if header.get(HEADER_BYTES..PACK_HEADER_BYTES) == birth { Ok(()) } else { Err(Error::damaged(&pack.name, Damage::Trailer)) }
}

/// Decodes and verifies frames; one per thread.
#[derive(Default)]
struct Worker {
    stored: Vec<u8>,
    plain: Vec<u8>,
    decoder: FrameDecoder,
}

impl Worker {
    fn verify(&mut self, run: &Run<'_>, step: Step) {
        let mut bad = Vec::new();
        for number in step.frames.clone() {
            self.frame(run, &step, number, &mut bad);
        }
        if !bad.is_empty() {
            let mut outcome = lock(&run.outcomes[step.job]);
            if outcome.time == step.time {
                outcome.bad.append(&mut bad);
            }
        }
        lock(&run.spare).push(step.bytes);
    }

    fn frame(&mut self, run: &Run<'_>, step: &Step, number: u32, bad: &mut Vec<BadChunks>) {
        let pack = &*step.pack;
        let damaged = || Error::damaged(&pack.name, Damage::Frame { frame: number });
        let Some(span) = pack.table.frames.get(number as usize) else { return };
        let chunks = span.first_chunk..span.first_chunk + span.info.chunks;
        let mut found = |numbers: Range<u32>, error| {
            let ids = numbers.clone().filter_map(|chunk| pack.table.id(chunk as usize)).collect();
            bad.push(BadChunks { numbers, ids, error });
        };
        let from = (span.offset - step.at) as usize;
        let Some(stored) = step.bytes.get(from..from + span.info.stored as usize) else { return found(chunks, damaged()) };
        self.stored.clear();
        self.stored.extend_from_slice(stored);
        if let Err(error) = pack.decode(number, &mut self.stored, &mut self.decoder, &mut self.plain) {
            return found(chunks, error);
        }
        for chunk in chunks {
            let (Some(at), Some(id)) = (pack.table.chunks.get(chunk as usize), pack.table.id(chunk as usize)) else { continue };
            let checked = match self.plain.get(at.offset as usize..(at.offset + at.bytes) as usize) {
                Some(bytes) => check_chunk(&pack.name, run.repository.ids(), pack.class, &id, bytes),
                None => Err(damaged()),
            };
            if let Err(error) = checked {
                found(chunk..chunk + 1, error);
            }
        }
    }
}
