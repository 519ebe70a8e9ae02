//! Replanting: a snapshot's trees made anew from another snapshot's, without some of its entries or under the ids of another repository.
//! What a rewrite, a copy to a repository of another key family, and a repair from one have in common. It stores and commits nothing:
//! what it returns are roots of which all is durable and indexed, for whoever makes a manifest of them (spec chapters 6 and 7).
//!
//! One thread reads the source's trees, several read and verify content and give it its ids in the target, the calling one builds, and a
//! sink's threads write. The same snapshot always becomes the same trees.

mod build;
pub mod foreign;
mod memo;
mod sieve;
mod translate;
mod walk;

pub use build::Stored;
pub use walk::Gone;

use crate::buffers::Buffers;
use crate::catalog::Snapshot;
use crate::commit::{Known, Sure, Usable, usable_index};
use crate::error::{Error, Result};
use crate::format::manifest::{IndexRoot, Roots};
use crate::format::segment::Segment;
use crate::id::{FamilyId, PackId, SnapshotId};
use crate::index::Index;
use crate::index::session::SessionIndex;
use crate::limits::{PACK_BYTES_DATA, PACK_BYTES_META};
use crate::observe::Observer;
use crate::pack::Compression;
use crate::pack::frames::FrameBuilder;
use crate::pack::reader::ChunkReader;
use crate::pack::sink::{FRAMES_QUEUED, PanicGuard, Sink, SinkOptions, Trouble, Written};
use crate::replant::build::{Builder, ChunkStore};
use crate::replant::memo::Memo;
use crate::replant::sieve::{Sieve, tops};
use crate::replant::translate::Translator;
use crate::replant::walk::{Mode, Walker};
use crate::repository::{Access, Records, Repository};
use crate::source::Excludes;
use crossbeam_channel::bounded;
use std::collections::HashSet;
use std::sync::Arc;

/// Steps that wait to be taken, each with a MiB of content, in most cases.
const STEPS_QUEUED: usize = 8;

/// How to replant.
#[derive(Clone, Debug)]
pub struct ReplantOptions {
    /// What is left out: patterns alone count, and not what an entry is or how large.
    pub excludes: Excludes,
    /// How frames are compressed.
    pub compression: Compression,
    /// Target of data packs, bytes.
    pub data_pack_bytes: u64,
    /// Threads that read content, and as many that compress; 0 for one per core.
    pub threads: usize,
    /// Find out what would come of it, store nothing.
    pub dry_run: bool,
}

impl Default for ReplantOptions {
    fn default() -> Self {
        ReplantOptions {
            excludes: Excludes::new(),
            compression: Compression::default(),
            data_pack_bytes: PACK_BYTES_DATA,
            threads: 0,
            dry_run: false,
        }
    }
}

impl ReplantOptions {
    fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64),
            n => n.min(256),
        }
    }
}

/// What came of a snapshot.
pub struct Planted {
    /// Its roots in the target: all that they need is durable and named by a segment there, unless that was a dry run. None where nothing is
    /// left.
    pub roots: Roots,
    /// What was left out.
    pub gone: Gone,
    /// What was new in the target.
    pub stored: Stored,
    /// What that became there.
    pub written: Written,
}

/// Snapshots that are planted into one repository, one after the other: what the first has brought the next need not.
pub struct Session<'t> {
    to: &'t Repository,
    options: ReplantOptions,
    state: State,
    /// Something was to be stored and was not: what this session believes to be in the target may not be there.
    spoilt: bool,
}

/// What a session knows.
struct State {
    base: Arc<Index>,
    records: Records,
    lost: HashSet<PackId>,
    chunks: SessionIndex,
    memo: Memo,
    /// The key family that the memo is of, and the paths for which it knows leaves that stay whole.
    source: Option<(FamilyId, Vec<Vec<u8>>)>,
    /// Reads the source of the last snapshot.
    reader: Option<Arc<ChunkReader>>,
    /// What was made sure of, of snapshots that the target had before.
    sure: Option<Sure>,
}

impl State {
    /// B1, and then the catalog. That a snapshot stands there says nothing of where its chunks are: one that was committed while a
    /// collection condemned may have some in packs that are named and kept for now.
    fn new(to: &Repository, dry_run: bool, observer: &dyn Observer) -> Result<Self> {
        let Usable { index, records, lost, .. } = usable_index(to, dry_run, observer)?;
        let refresh = to.refresh()?;
        for bad in &refresh.unreadable {
            observer.warning(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error));
        }
        let chunks = SessionIndex::new(index.clone());
        Ok(State { base: index, records, lost, chunks, memo: Memo::default(), source: None, reader: None, sure: None })
    }
}

/// What the threads of one snapshot work with.
struct Ground<'g> {
    from: &'g Repository,
    snapshot: &'g Snapshot,
    sieve: Sieve<'g>,
    reader: Arc<ChunkReader>,
    mode: Mode,
}

impl<'t> Session<'t> {
    /// Reads what the target has (B1), and brings its catalog up to date.
    pub fn new(to: &'t Repository, options: ReplantOptions, observer: &dyn Observer) -> Result<Self> {
        to.require_features(Access::Write)?;
        // Killed runs leave up to a pack each. What cannot be removed is no reason to stop.
        if !options.dry_run {
            to.store().sweep().map(|_| ()).unwrap_or(());
        }
        let state = State::new(to, options.dry_run, observer)?;
        Ok(Session { to, options, state, spoilt: false })
    }

    /// The target.
    pub fn target(&self) -> &'t Repository {
        self.to
    }

    /// Whether it would begin anew, with B1, for the next snapshot: after a failure that was not the source's.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// What a commit may take for looked at, of what this session planted from another repository.
    pub fn known(&self) -> Known {
        Known { records: Some(self.state.records.clone()), lost: self.state.lost.clone() }
    }

    /// What a commit may take for looked at, of trees that this session made of those below `roots` in the target itself, or of these.
    pub fn known_below(&mut self, roots: &[IndexRoot]) -> Result<Known> {
        let State { base, records, lost, sure, .. } = &mut self.state;
        sure.get_or_insert_with(|| Sure::new(self.to, base.clone(), records.clone(), lost.clone())).known(roots)
    }

    /// Makes the trees of `snapshot`, which is of `from`, in the target. The packs that it writes say that they are of the run `id`.
    ///
    /// Where something of the snapshot cannot be read that is the error, and the session goes on: what was stored of it stays and is named.
    /// Where source and target are one repository, content is not looked at.
    pub fn plant(&mut self, from: &Repository, snapshot: &Snapshot, id: SnapshotId, observer: &dyn Observer) -> Result<Planted> {
        if self.spoilt {
            self.state = State::new(self.to, self.options.dry_run, observer)?;
            self.spoilt = false;
        }
        let mode = if std::ptr::eq(from, self.to) {
            Mode::Same
        } else if from.descriptor().family == self.to.descriptor().family {
            Mode::Kin
        } else {
            Mode::Foreign
        };
        self.know_source(from, snapshot);
        let reader = self.reader(from, mode)?;
        let ground = Ground { from, snapshot, sieve: Sieve::new(&self.options.excludes, snapshot), reader, mode };
        let planted = grow(&ground, self.to, &self.options, &mut self.state, id, observer);
        let (planted, spoilt) = match planted {
            Ok(planted) => (Ok(planted), false),
            Err((error, spoilt)) => (Err(error), spoilt),
        };
        self.spoilt = spoilt;
        planted.map_err(|error| from.unless_forgotten(&snapshot.id, error))
    }

    /// What is remembered of one key family says nothing of another: its ids are others.
    fn know_source(&mut self, from: &Repository, snapshot: &Snapshot) {
        let (family, tops) = (from.descriptor().family, tops(snapshot));
        match &self.state.source {
            Some((known, _)) if *known != family => self.state.memo = Memo::default(),
            Some((_, known)) if *known != tops => self.state.memo.forget_whole(),
            _ => {}
        }
        self.state.source = Some((family, tops));
    }

    /// A reader of the source: the one that read the last snapshot, and has decoded what the next one shares with that.
    fn reader(&mut self, from: &Repository, mode: Mode) -> Result<Arc<ChunkReader>> {
        // What this run relies on in its own repository is what it reads from.
        let index = if mode == Mode::Same { self.state.base.clone() } else { from.index()? };
        if let Some(reader) = self.state.reader.as_ref().filter(|reader| Arc::ptr_eq(reader.index(), &index)) {
            return Ok(reader.clone());
        }
        // A collection may move what it reads; what the new trees rely on the CHECK of their commit looks after.
        let reader = Arc::new(from.reader_from(index));
        self.state.reader = Some(reader.clone());
        Ok(reader)
    }
}

/// Grows the trees of one snapshot. With an error comes whether something that was to be stored was not.
fn grow(
    ground: &Ground<'_>,
    to: &Repository,
    options: &ReplantOptions,
    state: &mut State,
    id: SnapshotId,
    observer: &dyn Observer,
) -> std::result::Result<Planted, (Error, bool)> {
    let Ground { from, snapshot, sieve, mode, .. } = ground;
    let reader = &*ground.reader;
    let trouble = Trouble::default();
    let put_segment = |segment: &Segment| to.put_segment(segment);
    let targets = SinkOptions {
        compression: options.compression,
        data_pack_bytes: options.data_pack_bytes,
        meta_pack_bytes: PACK_BYTES_META.min(options.data_pack_bytes),
    };
    let sink = Sink::new(to.store(), to.keys(), targets, (to.writer(), id), (&put_segment, &|_| Ok(())), &trouble);
    let threads = options.threads();
    let readers = if *mode == Mode::Same { 0 } else { from.reading_threads(threads) };
    let (steps_in, steps_out) = bounded(STEPS_QUEUED);
    let (work_in, work_out) = bounded(STEPS_QUEUED);
    let buffers = Buffers::default();
    let (memo, base) = (&state.memo, &*state.base);
    let chunks = &mut state.chunks;
    let roots = (&snapshot.index.roots[..], &snapshot.names.roots[..]);

    let (built, walked) = std::thread::scope(|scope| {
        let jobs = sink.start_encoders(scope, (threads, FRAMES_QUEUED), &sink.start(scope, FRAMES_QUEUED));
        for _ in 0..readers {
            let work = work_out.clone();
            let (ids, trouble, buffers) = (to.ids(), &trouble, &buffers);
            let translator = Translator { reader, ids, base, memo, mode: *mode, buffers };
            scope.spawn(move || {
                let _guard = PanicGuard(trouble);
                translator.run(&work);
            });
        }
        drop(work_out);
        let walker = Walker { reader, base, sieve, memo, mode: *mode, steps: steps_in, work: work_in, observer, trouble: &trouble };
        let walking = scope.spawn(|| {
            let _guard = PanicGuard(&trouble);
            walker.run(roots.0, roots.1)
        });
        let _guard = PanicGuard(&trouble);
        let frames = FrameBuilder::new(&sink, jobs);
        let store = ChunkStore { to, session: chunks, frames, dry_run: options.dry_run, stored: Stored::default() };
        let mut builder = Builder::new(store, (reader, memo, &buffers), observer);
        let built = builder.run(&steps_out, roots);
        // Whoever walks waits for nobody any more.
        drop(steps_out);
        let walked = walking.join().unwrap_or(Err(Error::SelfCheck { what: "the thread that reads trees" }));
        let (built, walked) = match (built, walked) {
            // What the other says then is only an echo.
            (Err(Error::Interrupted), Err(error)) | (Err(error), _) => (Err(error), None),
            (Ok(()), Err(error)) => (Err(error), None),
            (Ok(()), Ok(gone)) => (Ok(()), Some(gone)),
        };
        // Of a snapshot that cannot be read the next one may still want what was read of it.
        let flushed = if matches!(built, Err(Error::Interrupted)) { Err(Error::Interrupted) } else { builder.flush() };
        if flushed.is_err() {
            trouble.stop();
        }
        (
            built
                .map_err(|error| (error, flushed.is_err()))
                .and_then(|()| flushed.map_err(|error| (error, true)))
                .map(|()| builder.finish()),
            walked,
        )
    });
    // Packer and finisher ended with the scope: their failures count too. What is said is the first real failure.
    if let Some(error) = trouble.take() {
        return Err((error, true));
    }
    let finished = sink.finish();
    let (roots, stored) = built?;
    finished.map_err(|error| (error, true))?;
    Ok(Planted { roots, gone: walked.unwrap_or_default(), stored, written: sink.written() })
}
