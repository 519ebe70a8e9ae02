//! What flows between the threads of a backup, and how much of it at a time.
//! Everything is numbered by the reading thread and put back in order before it is deduplicated.

use crate::buffers::Buffers;
use crate::error::{Error, SourceError};
use crate::format::entry::Entry;
use crate::format::lists::Content;
use crate::format::manifest::Stream;
use crate::id::ChunkId;
use crate::observe::Action;
use crate::pack::sink::Trouble;
use crate::source::WalkEntry;
use crossbeam_channel::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of content and bookkeeping that may be between the reading thread and the assembler.
const CREDIT_BYTES: usize = 16 << 20;

/// What is to be done with an entry whose attributes, at least, must be read.
pub struct TodoItem {
    /// The entry as met.
    pub walk: WalkEntry,
    /// Content that is known already; else a file is read.
    pub content: Option<Content>,
    /// What to count it as.
    pub action: Action,
}

/// An entry that is complete.
pub struct DoneItem {
    /// Stored path of its directory.
    pub dir: Arc<[u8]>,
    /// The entry.
    pub entry: Entry,
    /// Its content.
    pub content: DoneContent,
    /// What to count it as.
    pub action: Action,
}

/// Content of an entry that is complete.
pub enum DoneContent {
    /// It has none.
    None,
    /// Unchanged.
    Known(Content),
    /// These chunks, one after the other in the batch's data.
    Chunks(Vec<(ChunkId, u32)>),
    /// What the segments and holes since the last end amount to.
    Gathered,
    /// It is another name of what its archive holds under this path by now.
    SameAs(Vec<u8>),
    /// Excludes leave it out of its archive, and with it what was under its name before.
    LeftOut,
}

/// One entry of a batch.
pub enum Step {
    /// To be read.
    Todo(TodoItem),
    /// Nothing left to do.
    Done(DoneItem),
}

/// Work for the workers.
pub enum Todo {
    /// Entries.
    Items(Vec<Step>),
    /// A stretch of a long file, cut; the numbers are chunk lengths.
    Segment {
        /// The bytes.
        data: Vec<u8>,
        /// Lengths of the chunks.
        cuts: Vec<u32>,
    },
    /// Entries of an archive or a bucket; the content of those that have some lies in `data`, one behind the other.
    Members {
        /// The entries, each with the length of its content there.
        items: Vec<(DoneItem, usize)>,
        /// Their content.
        data: Vec<u8>,
    },
}

/// Work for the assembler.
pub enum Done {
    /// Entries, with the content of those that were read.
    Items {
        /// The entries.
        items: Vec<DoneItem>,
        /// Their content.
        data: Vec<u8>,
    },
    /// A stretch of a long file, hashed.
    Segment {
        /// The bytes.
        data: Vec<u8>,
        /// The chunks.
        chunks: Vec<(ChunkId, u32)>,
    },
    /// A hole in a long file.
    Hole(u64),
    /// The end of a stream: its content is complete, and this is what the manifest says of it.
    EndStream(Box<Stream>),
    /// The entries that follow are those of an archive, in any order.
    BeginTar,
    /// They were, and this is what the manifest says of the archive.
    EndTar(Box<Stream>),
    /// The entries that follow are those of a bucket, in the order of a tree; this is what the manifest says of it so far.
    BeginObjects(Box<Stream>),
    /// They were, and this is what it says in the end.
    EndObjects(Box<Stream>),
    /// What the segments since the last end amount to is of no use: it was not all of an object.
    Forget,
}

/// Something numbered, with the credit it took.
pub struct Numbered<T> {
    /// Its place in the order.
    pub number: u64,
    /// Credit to give back when it was dealt with.
    pub cost: usize,
    /// What it is.
    pub what: T,
}

/// Bounds what is under way.
pub struct Credits<'a> {
    left: Mutex<usize>,
    freed: Condvar,
    trouble: &'a Trouble,
}

impl<'a> Credits<'a> {
    /// All free.
    pub fn new(trouble: &'a Trouble) -> Self {
        Credits { left: Mutex::new(CREDIT_BYTES), freed: Condvar::new(), trouble }
    }

    /// Takes `cost`, or all there is where it is more; waits for it. An error once some thread failed.
    pub fn take(&self, cost: usize) -> Result<usize, Error> {
        let cost = cost.min(CREDIT_BYTES);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        while *left < cost {
            if self.trouble.is_set() {
                return Err(Error::Interrupted);
            }
            (left, _) = self.freed.wait_timeout(left, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner);
        }
        *left -= cost;
        Ok(cost)
    }

    /// Gives credit back.
    pub fn give(&self, cost: usize) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) += cost;
        self.freed.notify_one();
    }
}

/// The reading thread's way to the others.
pub struct Flow<'a> {
    /// To the workers.
    pub todo: Sender<Numbered<Todo>>,
    /// To the assembler.
    pub done: Sender<(Numbered<Done>, Vec<SourceError>)>,
    /// What may be under way.
    pub credits: &'a Credits<'a>,
    /// First failure of any thread.
    pub trouble: &'a Trouble,
    /// Buffers of segments, which are larger than those of frames.
    pub segments: &'a Buffers,
}
