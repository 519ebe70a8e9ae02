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

/// How much of a folder a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// All of it at one moment.
    All,
    /// What was there when the schedule began; of records, whatever sorts among those.
    Old,
    /// The rest.
    New,
}

/// In which pages listings come. Names are random, so that any objects may share a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// In one.
    #[default]
    One,
    /// In two, what is old first.
    OldFirst,
    /// In two, what is new first; but for records, whose names are in order.
    NewFirst,
}

impl Pages {
    /// The pages of a folder, in order.
    pub fn of(self, folder: &str) -> &'static [Page] {
        match self {
            Pages::One => &[Page::All],
            Pages::NewFirst if folder != "records" => &[Page::New, Page::Old],
            Pages::OldFirst | Pages::NewFirst => &[Page::Old, Page::New],
        }
    }
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
    /// List a folder, or a part of it.
    List(String, Page),
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
            Op::Start | Op::List(..) | Op::Now => None,
        }
    }

    /// The folder at the top that it is about.
    pub fn folder(&self) -> &str {
        match self {
            Op::List(folder, _) => folder,
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
            Op::List(_, Page::All) => "LIST",
            Op::List(_, Page::Old) => "LIST what is old in",
            Op::List(_, Page::New) => "LIST what is new in",
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
            Op::List(folder, _) => Answer::Listed(store.list(folder)?),
            Op::Now => Answer::Time(store.now()?),
        })
    }
}

/// What a process is told whose request was lost, or who is cut off.
pub fn no_answer() -> Error {
    Error::Unreachable { place: "memory".to_owned(), what: "no answer".to_owned() }
}
