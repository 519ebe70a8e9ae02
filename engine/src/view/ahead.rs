//! Reads ahead of whoever reads a file from front to back: a window of it is decoded by a few threads, each frame once, and waits in the
//! reader's cache. It must never read for who jumps about, nor more at a time than that cache holds for all readers together.

use crate::format::lists::Item;
use crate::id::{ChunkId, Class};
use crate::pack::lru::lock;
use crate::pack::reader::Expected;
use crate::view::Shared;
use crate::view::content::FileContent;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

/// What must have been read in a row before anything is read ahead: more than programs look at to see what a file is.
const RUN_BYTES: u64 = 256 << 10;
/// How far a read may lie from the end of the one before and still go on from there: the kernel's own reading ahead comes in pieces, and
/// several threads take them.
const SLACK_BYTES: u64 = 1 << 20;
/// What is read ahead for all files together: half of the frames that are kept.
const WINDOWS_BYTES: u64 = 32 << 20;
/// What is read ahead for one file: eight frames, enough for a few threads and for a store that is not near.
const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// What one thread takes at a time, about a frame.
const STEP_BYTES: u64 = 1 << 20;
/// Steps that may wait: those of all windows.
const STEPS_MAX: usize = (WINDOWS_BYTES / STEP_BYTES) as usize;

struct Step {
    file: Weak<FileContent>,
    from: u64,
    to: u64,
}

/// The threads, which end when this is dropped.
pub struct Ahead {
    steps: Sender<Step>,
    /// How many files are being read from front to back.
    readers: Arc<AtomicUsize>,
}

/// How one open file is being read.
#[derive(Default)]
pub struct Pace(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where the last read ended.
    next: u64,
    /// How much was read in a row.
    run: u64,
    /// Up to where something was read ahead.
    ahead: u64,
    /// Counted among the readers from front to back for as long as it is one.
    counted: Option<Counted>,
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(readers: &Arc<AtomicUsize>) -> Self {
        readers.fetch_add(1, Relaxed);
        Counted(readers.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Ahead {
    /// Starts the threads.
    pub(super) fn new(shared: &Arc<Shared>, threads: usize) -> Self {
        let (steps, todo) = bounded(STEPS_MAX);
        for _ in 0..threads {
            let (shared, todo) = (shared.clone(), todo.clone());
            std::thread::spawn(move || fetch(&shared, &todo));
        }
        Ahead { steps, readers: Arc::default() }
    }

    /// Somebody is about to read `bytes` bytes at `offset`.
    pub fn note(&self, file: &Arc<FileContent>, pace: &Pace, offset: u64, bytes: u64) {
        let mut state = lock(&pace.0);
        let end = offset.saturating_add(bytes);
        if offset.abs_diff(state.next) > SLACK_BYTES {
            *state = State { next: end, run: bytes, ..State::default() };
            return;
        }
        state.next = state.next.max(end);
        state.run = state.run.saturating_add(bytes);
        if state.run < RUN_BYTES {
            return;
        }
        state.counted.get_or_insert_with(|| Counted::new(&self.readers));
        let readers = self.readers.load(Relaxed).max(1) as u64;
        let window = (WINDOWS_BYTES / readers).clamp(STEP_BYTES, WINDOW_BYTES_MAX);
        let until = state.next.saturating_add(window).min(file.bytes);
        let mut from = state.ahead.max(state.next);
        // In whole steps, but for the last one.
        while from < until && (until - from >= STEP_BYTES || until == file.bytes) {
            let to = (from + STEP_BYTES).min(until);
            if self.steps.try_send(Step { file: Arc::downgrade(file), from, to }).is_err() {
                break;
            }
            from = to;
        }
        state.ahead = from;
    }
}

fn fetch(shared: &Shared, todo: &Receiver<Step>) {
    for step in todo {
        // Whoever wanted it may have closed the file.
        let Some(file) = step.file.upgrade() else { continue };
        let mut ids: Vec<ChunkId> = Vec::new();
        let mut at = step.from;
        while at < step.to {
            // What fails here fails again for whoever reads, and is said there.
            let Ok(spans) = file.spans((&shared.lists, &shared.reading), at, step.to) else { break };
            let Some(last) = spans.last() else { break };
            at = last.start + last.bytes;
            ids.extend(spans.iter().filter_map(|span| if let Item::Chunk(id) = &span.item { Some(*id) } else { None }));
        }
        let warm = shared.reading.with(|reader, buffers| {
            if reader.is_far() {
                reader.expect(Class::Data, &ids, &mut Expected::default());
            }
            ids.iter().for_each(|id| reader.warm(Class::Data, id, buffers));
            Ok(())
        });
        warm.unwrap_or(());
    }
}
