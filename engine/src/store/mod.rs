//! What a store must do (spec chapter 2, DESIGN section 7), and nothing of how: local directory, memory, S3.
//! A store holds opaque objects under [`ObjectName`]s. It never interprets them and never renames or changes one.
//!
//! The guarantees that every implementation gives, and that the contract suite checks on all of them:
//! * **put** is atomic and durable: when it returns `Ok` the whole object survives power loss, before that readers see
//!   nothing of it. Putting the same bytes under the same name again is legal. An existing object is never replaced by
//!   other bytes: names never recur, so such a put is a bug or an attack and fails. (Two exceptions: an object that is a
//!   strict prefix of the new bytes is the debris of a power cut on a file system without ordering, and counts as absent; and
//!   S3 stores that know no conditional put cannot refuse, see [`Store::refuses_other_bytes`]. Nothing relies on it.)
//! * **get** returns exactly the bytes asked for; an object that ends earlier is an error, never a short read.
//! * **list** is complete or an error, and what it shows outside the pack folders is durable. It may include objects put or
//!   deleted while it runs.
//! * read-after-write and list-after-write hold. Nothing else is assumed: no conditional put, no clock.

mod ahead;
#[doc(hidden)]
pub mod fan;
pub mod local;
pub mod memory;
#[doc(hidden)]
pub mod near;
pub mod s3;
#[doc(hidden)]
pub mod shelf;

use crate::error::{Damage, Error, Result};
use crate::id::ObjectName;
use rayon::prelude::*;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Which of these objects, which were put and are not there, others had the right to take away.
pub type Taken<'a> = &'a dyn Fn(&[ObjectName]) -> Result<HashSet<ObjectName>>;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was put, by the store's clock in nanoseconds since 1970; 0 where the store does not say. Good for guesses, never for safety.
    pub modified: i64,
    /// Where it lies, in the store's word (`GLACIER`); `None` for what the store has by default.
    pub class: Option<Arc<str>>,
}

impl Listed {
    /// An object of which only name and length are known.
    pub fn new(name: ObjectName, bytes: u64) -> Self {
        Listed { name, bytes, modified: 0, class: None }
    }
}

/// What went over the wire: requests sent, and bytes of bodies, without headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, those that failed and were sent again too.
    pub requests: u64,
    /// Bytes sent.
    pub up: u64,
    /// Bytes received.
    pub down: u64,
}

/// Whether an object can be read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// It lies in an archive, and nobody has asked for it.
    Frozen,
    /// It lies in an archive, and the store is bringing it back.
    Thawing,
}

/// How urgently the store is to bring something back from an archive: what it takes and costs is the store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThawTier {
    /// Minutes, at a price; not out of every archive.
    Expedited,
    /// Hours.
    #[default]
    Standard,
    /// Half a day or two, for the least.
    Bulk,
}

/// An order to bring something back from an archive.
#[derive(Clone, Copy, Debug)]
pub struct ThawOrder {
    /// How urgently.
    pub tier: ThawTier,
    /// Days for which it then can be read.
    pub days: u32,
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

    /// As [`Store::put`], for who needs the bytes no longer.
    fn put_owned(&self, name: &ObjectName, bytes: Vec<u8>) -> Result<()> {
        self.put(name, &bytes)
    }

    /// Reads a whole object of at most `bytes_max` bytes. Missing: `Error::Damaged` with `Damage::Missing`; longer: `Damage::TooLarge`.
    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>>;

    /// Reads `range` of an object, all of it, into `into`, which is cleared first. An object that is shorter: `Damage::Short`.
    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()>;

    /// Reads the last `bytes` of an object (all of it when it is shorter) and returns them with its whole length.
    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)>;

    /// As [`Store::get_range`], but an object that ends in the range, or before it, gives what there is.
    fn get_upto(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        match self.get_range(name, range.clone(), into) {
            Err(Error::Damaged { damage: Damage::Short { have, .. }, .. }) => self.get_range(name, range.start.min(have)..have, into),
            other => other,
        }
    }

    /// What was read of an object does not authenticate: copies of it are dropped. Whether reading it once more may give other bytes.
    fn distrust(&self, _name: &ObjectName) -> bool {
        false
    }

    /// Makes durable that an object exists which a listing has shown: whoever put it may have died before it had made sure.
    fn settle(&self, _name: &ObjectName) -> Result<()> {
        Ok(())
    }

    /// The length of an object, or `None` when it does not exist.
    fn size(&self, name: &ObjectName) -> Result<Option<u64>>;

    /// Every object below `folder` (`"data"`, `"index"`; `""` for all), sorted by name. A folder nobody wrote to is empty, not an error.
    fn list(&self, folder: &str) -> Result<Vec<Listed>>;

    /// Whether there is any object below `folder`.
    fn holds_any(&self, folder: &str) -> Result<bool> {
        Ok(!self.list(folder)?.is_empty())
    }

    /// Removes an object; one that is gone already is `Ok`.
    fn delete(&self, name: &ObjectName) -> Result<()>;

    /// Removes what uploads of dead processes left behind, if the store can tell; returns how many. Live ones are not touched.
    fn sweep(&self) -> Result<u64> {
        Ok(0)
    }

    /// The store's own clock, nanoseconds since 1970: deletion is never decided by the client's clock.
    fn now(&self) -> Result<i64>;

    /// Makes sure that the packs, segments and manifests are there which this handle put; called before a commit relies on them, and before
    /// it is acknowledged. Of those that are not, `taken` replies with the ones that others had the right to take away meanwhile, which a
    /// store cannot know. A store whose `put` is as good as its word has nothing to do.
    fn confirm(&self, _taken: Taken<'_>) -> Result<()> {
        Ok(())
    }

    /// Says that this range will be read soon, so that a store that is far away may have it here by then. It promises nothing.
    fn expect(&self, _name: &ObjectName, _range: Range<u64>) {}

    /// From now on a wish to stop waits, for a bounded time: what has begun is a commit, which has to end in a way that can be vouched for.
    fn insist(&self) {}

    /// Whether an object can be read at once.
    fn readiness(&self, _name: &ObjectName) -> Result<Readiness> {
        Ok(Readiness::Ready)
    }

    /// Asks for an object to be brought back from an archive. `Ok` means that it will come; what is under way already stays so.
    fn thaw(&self, _name: &ObjectName, _order: ThawOrder) -> Result<()> {
        Ok(())
    }

    /// How many calls at a time make sense: one for each connection; a disk gains nothing by more than the threads that compute.
    fn connections(&self) -> usize {
        1
    }

    /// Whether a put of other bytes under a name that exists is known to fail. Without it a second writer of the same name would win.
    fn refuses_other_bytes(&self) -> bool {
        true
    }

    /// What went over the wire so far; `None` for a store without one.
    fn traffic(&self) -> Option<Traffic> {
        None
    }
}

/// Reads something of an object, and once more where it turns out to be damaged and the damage may be on the way or in a copy. What says that
/// it is of an epoch that never began is damaged: a byte turned over.
#[doc(hidden)]
pub fn reread<T>(store: &dyn Store, name: &ObjectName, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let read = match read() {
        Err(error @ Error::Damaged { damage: Damage::Missing | Damage::Unreadable(_), .. }) => return Err(error),
        // A version or a feature that nobody knows may be a byte that turned over, as much as any other damage.
        Err(Error::Damaged { .. } | Error::NewerFormat { .. } | Error::UnknownFeature { .. } | Error::EpochUnknown { .. })
            if store.distrust(name) =>
        {
            read()
        }
        other => other,
    };
    match read {
        Err(Error::EpochUnknown { object, epoch, held }) if !has_begun(store, epoch, held)? => {
            Err(Error::damaged(&object, Damage::Malformed("epoch")))
        }
        other => other,
    }
}

/// Whether an epoch has begun whose keys a reader of the epoch `held` lacks: there is a keyring of it, or of one after it. Those before may be
/// gone with whom a rotation removed; who holds a later epoch holds the keys of all before.
fn has_begun(store: &dyn Store, epoch: u32, held: u32) -> Result<bool> {
    let mut epochs = store.list("keyring")?.into_iter().filter_map(|listed| listed.name.as_keyring());
    Ok(epochs.any(|there| there == epoch || there > epoch && epoch > held))
}

/// Does two things, at the same time where that saves a round trip.
#[doc(hidden)]
pub fn beside<A: Send, B: Send>(store: &dyn Store, one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    if store.connections() <= 1 {
        return (one(), other());
    }
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        match one.join() {
            Ok(one) => (one, other),
            // What it panicked with is a bug here as it was there.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Calls `work` for each item, as many at a time as the store has connections. Results are in order.
#[doc(hidden)]
pub fn each<T: Sync, R: Send>(store: &dyn Store, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = store.connections().min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) = Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, items.get(at)?))) {
                    let result = work(item);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// As [`each`], for work that also takes a processor: where nothing waits for a network, as many at a time as there are cores.
#[doc(hidden)]
pub fn each_busy<T: Sync, R: Send>(store: &dyn Store, items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    if store.traffic().is_none() { items.par_iter().map(work).collect() } else { each(store, items, work) }
}

/// Those of `names` that the store has, whatever its listings say: only an answer about the object itself makes it lost.
#[doc(hidden)]
pub fn there(store: &dyn Store, names: Vec<ObjectName>) -> Result<Vec<Listed>> {
    let sizes = each(store, &names, |name| store.size(name));
    let listed = names.into_iter().zip(sizes).map(|(name, size)| Ok(size?.map(|bytes| Listed::new(name, bytes))));
    listed.filter_map(Result::transpose).collect()
}
