//! Carrying a plan out: packs are read and written by several threads at once, and as soon as all that a snapshot needs is durable and named,
//! it is committed, while what the next ones need is under way.
//! The order is the protocol's (spec chapter 7): a pack is durable before a segment names it, a segment is there before a manifest needs it.

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, Known, Usable, ledger};
use crate::copy::broken::{Broken, examine};
use crate::copy::plan::{RawPack, Work};
use crate::copy::raw::{Sent, send};
use crate::copy::{Avoid, CopyOptions, CopyReport};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::COPY;
use crate::format::segment::Segment;
use crate::id::{Class, PackId, SnapshotId};
use crate::index::{NewPack, build_segment};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::repack::{From, REFRAMED, Repacked, Seals, Take, repack};
use crate::pack::sink::{PanicGuard, Sink, SinkOptions, Trouble, Written};
use crate::repository::Repository;
use crate::seal::random;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};

/// Packs that go as they are at a time: on a disk one is read while another is written,
const SENDERS_MIN: usize = 2;
/// and over a network as many as there are connections, up to this.
const SENDERS_MAX: usize = 8;
/// What of them may be in memory: a remote store takes a pack as a whole.
const HELD_BYTES_MAX: u64 = 96 << 20;
/// A segment names what was brought at least after so many packs,
const UNNAMED_PACKS_MAX: usize = 32;
/// or so many bytes: what a killed run leaves without a segment is read again by the next.
const UNNAMED_BYTES_MAX: u64 = 256 << 20;
/// The part of a frame that nobody may want for it to be taken all the same: to open it and to make it anew costs more.
const SPARE: f64 = 0.25;

/// What a round came to.
pub struct Round {
    /// Snapshots that it did not commit: for something that they need was found damaged, or condemned.
    pub rest: Vec<Snapshot>,
    /// A collection of the target had condemned something.
    pub overtaken: bool,
}

/// What comes of the threads that bring packs.
enum Moved {
    /// A pack went over as it is.
    Sent(usize, NewPack),
    /// What is wanted of other packs for a snapshot is there, and named.
    Repacked(usize, Repacked, Written),
    /// The target does not open it as it is.
    Sealed(usize, PackId),
    /// It is damaged, or gone.
    Broken(usize, PackId, Broken),
}

/// Bytes of packs that are in memory.
#[derive(Default)]
struct Held {
    bytes: Mutex<u64>,
    less: Condvar,
}

impl Held {
    /// Waits until there is room. One that is larger than all of it goes alone.
    fn take(&self, bytes: u64) -> Holding<'_> {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *held > 0 && *held + bytes > HELD_BYTES_MAX {
            held = self.less.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        *held += bytes;
        Holding(self, bytes)
    }
}

/// Gives it back however its thread ends: others wait for it.
struct Holding<'a>(&'a Held, u64);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        *self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= self.1;
        self.0.less.notify_all();
    }
}

/// What all threads of a round share.
struct Shared<'a> {
    from: &'a Repository,
    to: &'a Repository,
    options: &'a CopyOptions,
    observer: &'a dyn Observer,
    trouble: Trouble,
    held: Held,
    bytes: AtomicU64,
    packs: AtomicU64,
    totals: (u64, u64),
}

impl Shared<'_> {
    /// Tells how far it is, and says whether to go on.
    fn tell(&self, bytes: u64) -> bool {
        let bytes_done = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let (packs_total, bytes_total) = self.totals;
        self.observer.progress(&Progress {
            stage: Stage::Working,
            bytes_done: bytes_done.min(bytes_total),
            bytes_total,
            packs_done: self.packs.load(Relaxed),
            packs_total,
            ..Progress::default()
        });
        !self.trouble.is_set() && !self.observer.interrupted()
    }

    /// A thread that sends packs as they are.
    fn send_all(&self, jobs: &Receiver<(usize, RawPack)>, moved: &Sender<Moved>) {
        let _guard = PanicGuard(&self.trouble);
        // Only what is held for a whole put is held.
        let holds = self.to.store().traffic().is_some();
        for (step, pack) in jobs {
            if !self.tell(0) {
                return;
            }
            let bytes = if holds { pack.bytes } else { 0 };
            let held = self.held.take(bytes);
            let sent = send(self.from, self.to, &pack, &|bytes| self.tell(bytes));
            drop(held);
            let said = match sent {
                Ok(Sent::Done(pack)) => Moved::Sent(step, pack),
                Ok(Sent::Sealed) => Moved::Sealed(step, pack.id),
                Ok(Sent::Broken(damage)) => match self.examine(pack.class, &pack.id, damage) {
                    Ok(broken) => Moved::Broken(step, pack.id, broken),
                    Err(error) => return self.trouble.set(error),
                },
                Err(error) => return self.trouble.set(error),
            };
            self.packs.fetch_add(1, Relaxed);
            // Nobody listens any more only when the run has failed.
            if moved.send(said).is_err() {
                return;
            }
        }
    }

    /// The thread that takes frames out of the packs that do not go as they are.
    fn repack_all(&self, jobs: Vec<(usize, Vec<Take>)>, moved: &Sender<Moved>) {
        let _guard = PanicGuard(&self.trouble);
        for (step, takes) in jobs {
            if !self.tell(0) {
                return;
            }
            let packs = takes.len() as u64;
            let said = match self.repack_one(takes) {
                Ok((repacked, written)) => Moved::Repacked(step, repacked, written),
                Err(error) => match damaged(error).and_then(|(class, pack, damage)| Ok((pack, self.examine(class, &pack, damage)?))) {
                    Ok((pack, broken)) => Moved::Broken(step, pack, broken),
                    Err(error) => return self.trouble.set(error),
                },
            };
            self.packs.fetch_add(packs, Relaxed);
            if moved.send(said).is_err() {
                return;
            }
        }
    }

    /// What is left of a damaged pack.
    fn examine(&self, class: Class, id: &PackId, damage: Damage) -> Result<Broken> {
        examine(self.from, class, id, damage, &|| self.tell(0))
    }

    fn repack_one(&self, takes: Vec<Take>) -> Result<(Repacked, Written)> {
        let (from, to) = (self.from, self.to);
        let trouble = Trouble::default();
        let put_segment = |segment: &Segment| to.put_segment(segment);
        let options = SinkOptions {
            compression: REFRAMED,
            data_pack_bytes: self.options.data_pack_bytes,
            meta_pack_bytes: self.options.meta_pack_bytes(),
        };
        let session = SnapshotId::new(random()?);
        let sink = Sink::new(to.store(), to.keys(), options, (to.writer(), session), (&put_segment, &|_| Ok(())), &trouble);
        let told = AtomicU64::new(0);
        let go_on = |read: u64| self.tell(read.saturating_sub(told.swap(read, Relaxed)));
        let seals = Seals::Rewrapped(to.keys());
        let source = From { store: from.store(), keys: from.keys(), ids: from.ids(), go_on: &go_on, spare: SPARE, seals };
        let repacked = repack(&sink, &source, takes.into_iter(), self.options.threads())?;
        Ok((repacked, sink.written()))
    }
}

/// The pack that an error speaks of as damaged, and how; else the error.
fn damaged(error: Error) -> Result<(Class, PackId, Damage)> {
    match error {
        Error::Damaged { object, damage } => match object.as_pack() {
            Some((class, pack)) => Ok((class, pack, damage)),
            None => Err(Error::Damaged { object, damage }),
        },
        error => Err(error),
    }
}

/// Does what a plan says, as far as nothing is found in its way.
pub fn carry(
    from: &Repository,
    to: &Repository,
    work: Work,
    (avoid, report): (&mut Avoid, &mut CopyReport),
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<Round> {
    let Work { snapshots, steps, usable, raw, opened, .. } = work;
    let usable = usable.ok_or(Error::SelfCheck { what: "the plan of a copy" })?;
    let shared = Shared {
        from,
        to,
        options,
        observer,
        trouble: Trouble::default(),
        held: Held::default(),
        bytes: AtomicU64::new(0),
        packs: AtomicU64::new(0),
        totals: (raw.0 + opened.0, raw.1 + opened.1),
    };
    let (jobs_in, jobs) = unbounded();
    let (mut left, mut repacks) = (Vec::new(), Vec::new());
    let mut sends = 0;
    for (number, step) in steps.into_iter().enumerate() {
        left.push(step.raw.len() + usize::from(!step.takes.is_empty()));
        sends += step.raw.len();
        // Its other end is here.
        step.raw.into_iter().try_for_each(|pack| jobs_in.send((number, pack))).unwrap_or(());
        if !step.takes.is_empty() {
            repacks.push((number, step.takes));
        }
    }
    drop(jobs_in);
    let senders = from.store().connections().max(to.store().connections()).clamp(SENDERS_MIN, SENDERS_MAX).min(sends);
    let mut committer = Committer {
        shared: &shared,
        usable,
        snapshots,
        left,
        blocked: None,
        next: 0,
        unnamed: Vec::new(),
        overtaken: false,
        avoid,
        report,
    };
    let carried = std::thread::scope(|scope| {
        let (moved_in, moved) = unbounded();
        let shared = &shared;
        for _ in 0..senders {
            let (jobs, moved_in) = (jobs.clone(), moved_in.clone());
            scope.spawn(move || shared.send_all(&jobs, &moved_in));
        }
        if !repacks.is_empty() {
            let moved_in = moved_in.clone();
            scope.spawn(move || shared.repack_all(repacks, &moved_in));
        }
        drop(moved_in);
        let carried = committer.run(&moved);
        if carried.is_err() {
            shared.trouble.stop();
        }
        carried
    });
    // The first failure of a thread says more than what it made others do.
    let failed = shared.trouble.take().map_or(carried, Err);
    let interrupted = failed.is_ok() && observer.interrupted();
    if failed.is_err() || interrupted {
        // What is durable gets a name, so that whoever goes on takes it as it is. What that fails at is what the run failed at.
        to.store().insist();
        committer.name().unwrap_or(());
    }
    failed?;
    if interrupted && committer.next < committer.snapshots.len() {
        return Err(Error::Interrupted);
    }
    let Committer { mut snapshots, next, overtaken, .. } = committer;
    snapshots.drain(..next);
    Ok(Round { rest: snapshots, overtaken })
}

/// Names what came, and commits what is complete, in order.
struct Committer<'s, 'a> {
    shared: &'s Shared<'a>,
    usable: Usable,
    snapshots: Vec<Snapshot>,
    /// What each still waits for.
    left: Vec<usize>,
    /// From this one on none can be committed in this round.
    blocked: Option<usize>,
    next: usize,
    unnamed: Vec<NewPack>,
    overtaken: bool,
    avoid: &'s mut Avoid,
    report: &'s mut CopyReport,
}

impl Committer<'_, '_> {
    fn run(&mut self, moved: &Receiver<Moved>) -> Result<()> {
        loop {
            self.commit_ready()?;
            let Ok(moved) = moved.recv() else { break };
            self.take(moved)?;
        }
        if self.shared.trouble.is_set() {
            return Err(Error::Interrupted);
        }
        // Of snapshots that are not complete: it is there, and the next round or run finds it.
        self.name()
    }

    fn take(&mut self, moved: Moved) -> Result<()> {
        let (step, done) = match moved {
            Moved::Sent(step, pack) => {
                self.report.packs_sent += 1;
                self.report.bytes_sent += pack.bytes;
                self.unnamed.push(pack);
                (step, true)
            }
            Moved::Repacked(step, repacked, written) => {
                let all = &mut self.report.repacked;
                all.frames_copied += repacked.frames_copied;
                all.bytes_copied += repacked.bytes_copied;
                all.frames_opened += repacked.frames_opened;
                all.bytes_stuck += repacked.bytes_stuck;
                all.bytes_read += repacked.bytes_read;
                self.report.packs_written += written.packs;
                self.report.bytes_written += written.pack_bytes;
                (step, true)
            }
            Moved::Sealed(step, pack) => {
                self.avoid.sealed.insert(pack);
                (step, false)
            }
            Moved::Broken(step, pack, broken) => {
                // What is whole in it is taken frame by frame, each by its own seal: of the pack nothing can be verified any more.
                self.avoid.sealed.insert(pack);
                let broken = if self.avoid.broken.contains_key(&pack) { broken.again() } else { broken };
                self.avoid.broken.insert(pack, broken);
                (step, false)
            }
        };
        if let Some(left) = self.left.get_mut(step).filter(|_| done) {
            *left -= 1;
        }
        if !done {
            // Later ones may need it, too: only the first one that wanted a pack is known.
            self.blocked = Some(self.blocked.map_or(step, |blocked| blocked.min(step)));
        }
        let bytes: u64 = self.unnamed.iter().map(|pack| pack.bytes).sum();
        if self.unnamed.len() >= UNNAMED_PACKS_MAX || bytes >= UNNAMED_BYTES_MAX { self.name() } else { Ok(()) }
    }

    /// Names in a segment what none names yet. All of it is durable.
    fn name(&mut self) -> Result<()> {
        let unnamed = std::mem::take(&mut self.unnamed);
        if unnamed.is_empty() {
            return Ok(());
        }
        self.shared.to.put_segment(&build_segment(&unnamed)).map(|_| ())
    }

    fn commit_ready(&mut self) -> Result<()> {
        while self.left.get(self.next) == Some(&0) && self.blocked.is_none_or(|blocked| self.next < blocked) {
            self.name()?;
            if !self.shared.tell(0) {
                return Err(Error::Interrupted);
            }
            let Some(snapshot) = self.snapshots.get(self.next) else { return Ok(()) };
            match self.commit(snapshot) {
                Ok(id) => self.report.copied.push((snapshot.id, id)),
                // What a collection there has condemned, and deleted, is brought again: by the next round, which looks at everything anew.
                Err(Error::Overtaken) => {
                    self.overtaken = true;
                    self.blocked = Some(self.next);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.next += 1;
        }
        Ok(())
    }

    fn commit(&self, snapshot: &Snapshot) -> Result<SnapshotId> {
        let Shared { from, to, observer, .. } = *self.shared;
        let session = SnapshotId::new(random()?);
        let (mut index, mut names) = (snapshot.index.clone(), snapshot.names.clone());
        let own = ledger(to)?;
        (index.writer, index.sequence, index.previous, index.heads) = (own.writer, own.sequence, own.previous, own.heads);
        // When this was written, by the clock of who writes it: the original may be years old. Its parent is one of another repository.
        (index.snapshot, index.finished) = (session, clock::now());
        names.parent = None;
        names.origin = Some(snapshot.origin_for(&from.id(), COPY));
        let known = Known { records: Some(self.usable.records.clone()), lost: self.usable.lost.clone() };
        Commit::new(to, session, known, observer).publish(index, names)?;
        Ok(session)
    }
}
