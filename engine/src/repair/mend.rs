//! What was found is put into packs of this repository: verified chunks go through a sink as those of a backup do, packs first and then the
//! segment that names them. It must never store what nobody has missed, nor anything under an id that is not its own.

use crate::chunk::ChunkIds;
use crate::error::{Error, Result};
use crate::format::segment::Segment;
use crate::id::{ChunkId, Class, SnapshotId};
use crate::limits::{PACK_BYTES_DATA, PACK_BYTES_META};
use crate::observe::Observer;
use crate::pack::Compression;
use crate::pack::frames::FrameBuilder;
use crate::pack::sink::{PanicGuard, Sink, SinkOptions, Trouble};
use crate::repair::{Healed, Healer};
use crate::repository::Repository;
use crate::seal::random;
use std::collections::HashSet;

/// What waits between the threads that write, in frames.
const FRAMES_QUEUED: usize = 2;

/// A chunk that something needs.
pub type Wanted = (Class, ChunkId);

/// Takes chunks that are missed, from whoever has them.
pub struct Mender<'s, 'a> {
    ids: &'s ChunkIds,
    wanted: HashSet<Wanted>,
    /// `None`: nothing is stored, only counted.
    frames: Option<FrameBuilder<'s, 'a>>,
    observer: &'s dyn Observer,
    done: Mended,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mended {
    /// By who gave it.
    pub by: [Healed; 3],
    /// Bytes that were read of the other repositories.
    pub fetched: u64,
}

impl Mended {
    /// Chunks in all.
    pub fn chunks(&self) -> u64 {
        self.by.iter().map(|healed| healed.chunks).sum()
    }
}

impl Mender<'_, '_> {
    /// Whether a chunk is still missed.
    pub fn wants(&self, class: Class, id: &ChunkId) -> bool {
        self.wanted.contains(&(class, *id))
    }

    /// What is still missed.
    pub fn rest(&self) -> Vec<Wanted> {
        let mut rest: Vec<Wanted> = self.wanted.iter().copied().collect();
        rest.sort_unstable_by_key(|(class, id)| (class.code(), *id));
        rest
    }

    /// Whether nothing is missed any more.
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether content is missed still.
    pub fn wants_content(&self) -> bool {
        self.wanted.iter().any(|(class, _)| *class == Class::Data)
    }

    /// Bytes were read of another repository.
    pub fn fetched(&mut self, bytes: u64) {
        self.done.fetched += bytes;
    }

    /// Takes a chunk, if it is missed and these are its bytes; whoever says so may lie.
    pub fn give(&mut self, class: Class, id: &ChunkId, bytes: &[u8], from: Healer) -> Result<bool> {
        if !self.wants(class, id) || self.ids.id(class, bytes) != *id {
            return Ok(false);
        }
        if let Some(frames) = &mut self.frames {
            frames.push(class, *id, bytes)?;
        }
        self.count(class, id, bytes.len() as u64, from);
        Ok(true)
    }

    /// Takes down that a chunk could be had, for a run that stores nothing.
    pub fn promise(&mut self, class: Class, id: &ChunkId, from: Healer) {
        if self.frames.is_none() && self.wants(class, id) {
            self.count(class, id, 0, from);
        }
    }

    /// Whether something is stored.
    pub fn stores(&self) -> bool {
        self.frames.is_some()
    }

    fn count(&mut self, class: Class, id: &ChunkId, bytes: u64, from: Healer) {
        self.wanted.remove(&(class, *id));
        let healed = &mut self.done.by[from as usize];
        healed.chunks += 1;
        healed.bytes += bytes;
    }

    /// An error once the user asked to stop.
    pub fn go_on(&self) -> Result<()> {
        if self.observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Calls `work` with a mender of what is `wanted`, and returns once all that it was given is durable and named by a segment.
pub fn mend(
    repository: &Repository,
    wanted: HashSet<Wanted>,
    dry_run: bool,
    observer: &dyn Observer,
    work: &mut dyn FnMut(&mut Mender<'_, '_>) -> Result<()>,
) -> Result<Mended> {
    let ids = repository.ids();
    if dry_run {
        let mut mender = Mender { ids, wanted, frames: None, observer, done: Mended::default() };
        return work(&mut mender).map(|()| mender.done);
    }
    let session = SnapshotId::new(random()?);
    let trouble = Trouble::default();
    let put_segment = |segment: &Segment| repository.put_segment(segment);
    let options = SinkOptions { compression: Compression::Auto, data_pack_bytes: PACK_BYTES_DATA, meta_pack_bytes: PACK_BYTES_META };
    let sink =
        Sink::new(repository.store(), repository.keys(), options, (repository.writer(), session), (&put_segment, &|_| Ok(())), &trouble);
    let mended = std::thread::scope(|scope| {
        let sink = &sink;
        let jobs = sink.start_encoders(scope, (rayon::current_num_threads().min(4), FRAMES_QUEUED), &sink.start(scope, FRAMES_QUEUED));
        let _guard = PanicGuard(sink.trouble);
        let frames = Some(FrameBuilder::new(sink, jobs));
        let mut mender = Mender { ids, wanted, frames, observer, done: Mended::default() };
        let given = work(&mut mender).and_then(|()| mender.frames.as_mut().map_or(Ok(()), FrameBuilder::flush));
        if given.is_err() {
            // What is on its way stays without a segment: the next run that looks for such packs gives them one.
            sink.trouble.stop();
        }
        given.map(|()| mender.done)
    });
    match (mended, trouble.take()) {
        // The first real failure; that a thread was told to stop is only an echo.
        (_, Some(error)) => Err(error),
        (Ok(done), None) => sink.finish().map(|()| done),
        (Err(error), None) => Err(error),
    }
}
