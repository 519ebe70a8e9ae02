//! How a view reads chunks: by an index that is read anew when packs are gone, with what each thread uses from chunk to chunk.
//! A view lives for weeks, and collections come and go meanwhile. It must never mix the numbers of one index with those of another.

use crate::error::{Error, Result};
use crate::pack::lru::lock;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Decoded frames that are kept. As many as restic keeps for this: whoever jumps about in a file of this size decodes each part once.
const FRAMES_BYTES: usize = 64 << 20;
/// Between two looks at the index because of chunks that are not where it says. Where they are lost for good, each look is in vain.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A reader, and what threads use with it. These remember places by its index, so they go with it.
struct Current {
    reader: ChunkReader,
    spare: Mutex<Vec<ReadBuffers>>,
    since: Instant,
}

/// Reads chunks.
pub struct Reading {
    repository: Arc<Repository>,
    current: Mutex<Option<Arc<Current>>>,
    /// Frames that were decoded by readers that are no more.
    decoded: AtomicU64,
}

impl Reading {
    /// Nothing is read before something is asked for.
    pub fn new(repository: Arc<Repository>) -> Self {
        Reading { repository, current: Mutex::default(), decoded: AtomicU64::new(0) }
    }

    /// The repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    fn current(&self) -> Result<Arc<Current>> {
        let mut slot = lock(&self.current);
        if let Some(current) = &*slot {
            return Ok(current.clone());
        }
        let reader = self.repository.reader_over(self.repository.index()?).with_frames(FRAMES_BYTES);
        let current = Arc::new(Current { reader, spare: Mutex::default(), since: Instant::now() });
        *slot = Some(current.clone());
        Ok(current)
    }

    /// Reads the index anew, unless that was done just now.
    fn look_again(&self, old: &Arc<Current>) -> Option<Arc<Current>> {
        {
            let mut slot = lock(&self.current);
            if let Some(current) = slot.as_ref().filter(|current| !Arc::ptr_eq(current, old)) {
                return Some(current.clone());
            }
            if old.since.elapsed() < LOOK_AGAIN {
                return None;
            }
            *slot = None;
        }
        self.decoded.fetch_add(old.reader.frames_decoded(), Relaxed);
        self.repository.drop_index();
        self.current().ok()
    }

    /// From the next question on the index is that of now: there are snapshots that the old one does not know. The repository does not know it
    /// either where it was another process that entered them in the catalog.
    pub fn forget_index(&self) {
        self.repository.drop_index();
        if let Some(old) = lock(&self.current).take() {
            self.decoded.fetch_add(old.reader.frames_decoded(), Relaxed);
        }
    }

    /// Runs `read`, and again where chunks are not there and a new look at the index may say where they are now.
    pub fn with<T>(&self, mut read: impl FnMut(&ChunkReader, &mut ReadBuffers) -> Result<T>) -> Result<T> {
        let mut current = self.current()?;
        let mut looked = false;
        loop {
            let mut buffers = lock(&current.spare).pop().unwrap_or_default();
            let result = read(&current.reader, &mut buffers);
            lock(&current.spare).push(buffers);
            match result {
                Err(error @ (Error::PackMissing { .. } | Error::ChunkMissing { .. })) if !looked => match self.look_again(&current) {
                    Some(new) => (current, looked) = (new, true),
                    None => return Err(error),
                },
                other => return other,
            }
        }
    }

    /// How many frames were decoded so far.
    pub fn frames_decoded(&self) -> u64 {
        let now = lock(&self.current).as_ref().map_or(0, |current| current.reader.frames_decoded());
        self.decoded.load(Relaxed) + now
    }
}
