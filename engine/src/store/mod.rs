//! What a store must do (spec chapter 2, DESIGN section 7), and nothing of how: local directory, memory, later S3.
//! A store holds opaque objects under [`ObjectName`]s. It never interprets them and never renames or changes one.
//!
//! The guarantees that every implementation gives, and that the contract suite checks on all of them:
//! * **put** is atomic and durable: when it returns `Ok` the whole object survives power loss, before that readers see
//!   nothing of it. Putting the same bytes under the same name again is legal. An existing object is never replaced by
//!   other bytes: names never recur, so such a put is a bug or an attack and fails. (The one exception: an object that is a
//!   strict prefix of the new bytes is the debris of a power cut on a file system without ordering, and counts as absent.)
//! * **get** returns exactly the bytes asked for; an object that ends earlier is an error, never a short read.
//! * **list** is complete or an error, and what it shows outside the pack folders is durable. It may include objects put or
//!   deleted while it runs.
//! * read-after-write and list-after-write hold. Nothing else is assumed: no conditional put, no clock.

pub mod local;
pub mod memory;

use crate::error::Result;
use crate::id::ObjectName;
use std::ops::Range;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub bytes: u64,
}

/// An object under way: written front to back, and visible only after [`Upload::finish`]. Dropping one discards it.
pub trait Upload: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the object durable and visible under `name`. `Ok` means durable.
    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()>;
}

/// A place for objects. See the module text for what each call promises.
pub trait Store: Send + Sync {
    /// Where this is, for messages; never holds a secret.
    fn place(&self) -> String;

    /// Begins an object whose name is known only when all of it is written (a pack is named by its hash).
    fn begin(&self) -> Result<Box<dyn Upload>>;

    /// Stores a whole object.
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let mut upload = self.begin()?;
        upload.write(bytes)?;
        upload.finish(name)
    }

    /// Reads a whole object of at most `bytes_max` bytes. Missing: `Error::Damaged` with `Damage::Missing`; longer: `Damage::TooLarge`.
    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>>;

    /// Reads `range` of an object, all of it, into `into`, which is cleared first. An object that is shorter: `Damage::Short`.
    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()>;

    /// Reads the last `bytes` of an object (all of it when it is shorter) and returns them with its whole length.
    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)>;

    /// Makes durable that an object exists which a listing has shown: whoever put it may have died before it had made sure.
    fn settle(&self, _name: &ObjectName) -> Result<()> {
        Ok(())
    }

    /// The length of an object, or `None` when it does not exist.
    fn size(&self, name: &ObjectName) -> Result<Option<u64>>;

    /// Every object below `folder` (`"data"`, `"index"`; `""` for all), sorted by name. A folder nobody wrote to is empty, not an error.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// Removes an object; one that is gone already is `Ok`.
    fn delete(&self, name: &ObjectName) -> Result<()>;

    /// Removes what uploads of dead processes left behind, if the store can tell; returns how many. Live ones are not touched.
    fn sweep(&self) -> Result<u64> {
        Ok(0)
    }

    /// The store's own clock, nanoseconds since 1970: deletion is never decided by the client's clock.
    fn now(&self) -> Result<i64>;
}
