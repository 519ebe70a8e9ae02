//! Requests as data, so that a scheduler can hold them back, apply them late or twice, and say what they were.

use seabed_engine::error::{Error, Result};
use seabed_engine::id::ObjectName;
use seabed_engine::store::{Listed, Store};
use std::ops::Range;
use std::sync::Arc;

/// Which bytes of an object are asked for.
#[derive(Clone, Debug)]
pub enum How {
    /// All, if they are no more than this.
    Whole(u64),
    /// These.
    Range(Range<u64>),
    /// So many at the end.
    Suffix(u64),
}

/// A request to the store.
#[derive(Clone, Debug)]
pub enum Op {
    /// None yet: a process is about to begin.
    Start,
    /// Put an object.
    Put(ObjectName, Arc<Vec<u8>>),
    /// Delete one.
    Delete(ObjectName),
    /// Read of one.
    Get(ObjectName, How),
    /// Ask for its length.
    Size(ObjectName),
    /// List a folder.
    List(String),
    /// Ask for the time.
    Now,
}

/// What the store says to it.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, of an object of this length.
    Suffix(Vec<u8>, u64),
    /// This length.
    Size(Option<u64>),
    /// These objects.
    Listed(Vec<Listed>),
    /// This time.
    Time(i64),
}

/// Folders of objects that nobody deletes or adds to while backups and collections run: what is read there says the same at any time.
const STILL: [&str; 6] = ["seabed", "slots", "keyring", "features", "notes", "probe"];

impl Op {
    /// The object that it is about.
    pub fn name(&self) -> Option<&ObjectName> {
        match self {
            Op::Put(name, _) | Op::Delete(name) | Op::Get(name, _) | Op::Size(name) => Some(name),
            Op::Start | Op::List(_) | Op::Now => None,
        }
    }

    /// The folder at the top that it is about.
    pub fn folder(&self) -> &str {
        match self {
            Op::List(folder) => folder,
            op => op.name().map_or("", |name| name.as_str().split('/').next().unwrap_or_default()),
        }
    }

    /// What it does, in a word.
    pub fn verb(&self) -> &'static str {
        match self {
            Op::Start => "begins",
            Op::Put(..) => "PUT",
            Op::Delete(_) => "DELETE",
            Op::Get(..) => "GET",
            Op::Size(_) => "HEAD",
            Op::List(_) => "LIST",
            Op::Now => "TIME",
        }
    }

    /// Whether it changes what others see.
    pub fn writes(&self) -> bool {
        matches!(self, Op::Put(..) | Op::Delete(_))
    }

    /// Whether it reads one object, which at most disappears meanwhile.
    pub fn reads(&self) -> bool {
        matches!(self, Op::Get(..) | Op::Size(_))
    }

    /// Whether it says the same whenever it is done.
    pub fn is_still(&self) -> bool {
        matches!(self, Op::Now) || !self.writes() && STILL.contains(&self.folder())
    }

    /// Does it.
    pub fn apply(&self, store: &dyn Store) -> Result<Answer> {
        Ok(match self {
            Op::Start => Answer::Done,
            Op::Put(name, bytes) => store.put(name, bytes).map(|()| Answer::Done)?,
            Op::Delete(name) => store.delete(name).map(|()| Answer::Done)?,
            Op::Get(name, How::Whole(max)) => Answer::Bytes(store.get(name, *max)?),
            Op::Get(name, How::Range(range)) => {
                let mut into = Vec::new();
                store.get_range(name, range.clone(), &mut into)?;
                Answer::Bytes(into)
            }
            Op::Get(name, How::Suffix(bytes)) => {
                let (bytes, length) = store.get_suffix(name, *bytes)?;
                Answer::Suffix(bytes, length)
            }
            Op::Size(name) => Answer::Size(store.size(name)?),
            Op::List(folder) => Answer::Listed(store.list(folder)?),
            Op::Now => Answer::Time(store.now()?),
        })
    }
}

/// What a process is told whose request was lost, or who is cut off.
pub fn no_answer() -> Error {
    Error::Unreachable { place: "memory".to_owned(), what: "no answer".to_owned() }
}
