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
        match &*slot {
            Some(current) => Ok(current.clone()),
            None => self.fill(&mut slot),
        }
    }

    fn fill(&self, slot: &mut Option<Arc<Current>>) -> Result<Arc<Current>> {
        let reader = self.repository.reader_over(self.repository.index()?).with_frames(FRAMES_BYTES);
        let current = Arc::new(Current { reader, spare: Mutex::default(), since: Instant::now() });
        *slot = Some(current.clone());
        Ok(current)
    }

    /// Reads the index anew, unless that was done just now.
    fn look_again(&self, old: &Arc<Current>) -> Option<Arc<Current>> {
        let mut slot = lock(&self.current);
        if let Some(current) = slot.as_ref().filter(|current| !Arc::ptr_eq(current, old)) {
            return Some(current.clone());
        }
        if old.since.elapsed() < LOOK_AGAIN {
            return None;
        }
        // All under one lock: else another thread finds the slot empty while the repository still has the old index, and puts that there.
        self.repository.drop_index();
        if slot.take().is_some() {
            self.decoded.fetch_add(old.reader.frames_decoded(), Relaxed);
        }
        self.fill(&mut slot).ok()
    }

    /// From the next question on the index is that of now: there are snapshots that the old one does not know. The repository does not know it
    /// either where it was another process that entered them in the catalog.
    pub fn forget_index(&self) {
        let mut slot = lock(&self.current);
        self.repository.drop_index();
        if let Some(old) = slot.take() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{InitOptions, OpenOptions};
    use crate::seal::Key;
    use crate::seal::key::Secret;
    use crate::store::memory::MemoryStore;
    use std::sync::atomic::AtomicBool;

    /// Whoever found a chunk gone emptied the slot, and only then had the index forgotten. In between another thread put the old index
    /// there again: the second try failed as the first had, and for ten seconds nobody looked any more.
    #[test]
    fn a_new_look_never_finds_the_old_index() {
        let init = InitOptions { kdf: (8, 1, 1), ..InitOptions::default() };
        let secret = Secret::KeyFile(Key::new([7; 32]));
        let repository = Repository::init(Arc::new(MemoryStore::new()), &secret, &init, &OpenOptions::default()).unwrap();
        let reading = Reading::new(Arc::new(repository));
        let long_ago = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
        let is_over = AtomicBool::new(false);
        let looked_anew = || {
            let index = reading.repository.index().ok()?;
            let reader = reading.repository.reader_over(index);
            let old = Arc::new(Current { reader, spare: Mutex::default(), since: long_ago });
            *lock(&reading.current) = Some(old.clone());
            let new = reading.look_again(&old)?;
            Some(!Arc::ptr_eq(old.reader.index(), new.reader.index()))
        };
        let all = std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        drop(reading.current());
                    }
                });
            }
            // No panic in here: the others would never end.
            let all = (0..1000).all(|_| looked_anew() == Some(true));
            is_over.store(true, Relaxed);
            all
        });
        assert!(all, "a reader looked again, and got the index that it had");
    }
}
