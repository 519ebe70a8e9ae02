//! Objects of a bucket as a source: what is listed, and read one by one or in parts. What they are read with lies elsewhere; here are the
//! words for it, and how keys become paths ([`keys`]) and headers attributes ([`attributes`]).
//! It must never take a listing that is not whole for whole: what it does not show would count as deleted.
//! It obeys spec chapter 6 (buckets).

pub mod attributes;
pub mod keys;

pub use attributes::Headers;

use crate::error::{Error, Result};
use crate::format::wire::Time;
use std::ops::Range;

/// An object as a listing shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its key, behind the prefix that was asked for.
    pub key: String,
    /// Its length.
    pub size: u64,
    /// When it was put.
    pub mtime: Time,
    /// Its ETag without quotes; empty where the store tells none.
    pub etag: String,
    /// It lies in an archive class, and nobody has had it brought back, as far as the listing tells.
    pub archived: bool,
}

/// What a listing says.
#[derive(Debug)]
pub enum Listed {
    /// An object. Keys come in no certain order, each once.
    Object(Object),
    /// What came so far was no complete listing: all of it comes again.
    Again,
}

/// A part of an object, and what is known of the object it was read from.
#[derive(Debug)]
pub struct Part {
    /// The bytes: as many as were asked for.
    pub bytes: Vec<u8>,
    /// What it was put with.
    pub headers: Headers,
}

/// Why an object cannot be read.
#[derive(Debug)]
pub enum Unread {
    /// It is not there any more.
    Gone,
    /// It is another one by now.
    Changed,
    /// It is archived.
    Archived,
    /// The store does not hand it out, and says this. Others may be read.
    Refused(String),
    /// The store cannot be read at all.
    Store(Error),
}

/// A bucket, or part of one, to be backed up.
pub trait Objects: Send + Sync {
    /// Hands out all objects. `take` ends the listing with an error of its own.
    fn list(&self, take: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()>;

    /// What is under a key now.
    fn look(&self, key: &str) -> std::result::Result<Object, Unread>;

    /// Reads a part of an object, as long as it is the one that was listed. No more is held in memory than `range` is long.
    fn read(&self, object: &Object, range: Range<u64>) -> std::result::Result<Part, Unread>;

    /// Ends what is under way: the run has failed, and nobody waits for it. May be called from any thread.
    fn give_up(&self) {}
}
