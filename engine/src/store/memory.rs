//! Objects in memory, shared by every clone: the store of tests, models and throughput measurements.
//! It must never be kinder than a real store: names, limits, ranges and refused puts follow the same contract.
//! It obeys spec chapter 2 (names) and DESIGN section 7 (contract).

use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::{Listed, Store, Upload};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory; a clone is another handle on the same objects.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    /// Each object is shared, so that a copy of it is made without holding the lock.
    objects: BTreeMap<ObjectName, Arc<Vec<u8>>>,
    /// When each was put.
    times: BTreeMap<ObjectName, i64>,
    now: i64,
}

impl MemoryStore {
    /// An empty store whose clock stands at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// All objects as they are at this moment.
    pub fn objects(&self) -> BTreeMap<ObjectName, Arc<Vec<u8>>> {
        self.lock().objects.clone()
    }

    /// Damages an object in place, past every rule of the contract; `false` when there is none of this name.
    #[must_use = "a test that damaged nothing proves nothing"]
    pub fn corrupt(&self, name: &ObjectName, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut content = self.lock();
        let Some(bytes) = content.objects.get_mut(name) else { return false };
        damage(Arc::make_mut(bytes));
        true
    }

    /// Loses an object, as a store does that breaks its promise; `false` when there is none of this name.
    #[must_use = "a test that lost nothing proves nothing"]
    pub fn remove(&self, name: &ObjectName) -> bool {
        self.lock().objects.remove(name).is_some()
    }

    /// Sets the clock of the store, in nanoseconds since 1970. It stands still until it is set again.
    pub fn set_now(&self, now: i64) {
        self.lock().now = now;
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // A test that panicked inside `corrupt` leaves whole objects behind; nothing here is ever half updated.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &ObjectName) -> Result<Arc<Vec<u8>>> {
        self.lock().objects.get(name).cloned().ok_or_else(|| Error::damaged(name, Damage::Missing))
    }
}

impl Store for MemoryStore {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(MemoryUpload { store: self.clone(), bytes: Vec::new() }))
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        let object = self.object(name)?;
        let have = object.len() as u64;
        if have > bytes_max {
            return Err(Error::damaged(name, Damage::TooLarge { have, max: bytes_max }));
        }
        Ok(object.to_vec())
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        if range.start > range.end {
            return Err(refused(StoreOp::Get, name, io::ErrorKind::InvalidInput, "the range ends before it starts"));
        }
        let object = self.object(name)?;
        let short = Damage::Short { have: object.len() as u64, want: range.end };
        let slice = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).and_then(|(from, to)| object.get(from..to));
        into.extend_from_slice(slice.ok_or_else(|| Error::damaged(name, short))?);
        Ok(())
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        let object = self.object(name)?;
        let skip = object.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok((object[skip..].to_vec(), object.len() as u64))
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        Ok(self.lock().objects.get(name).map(|object| object.len() as u64))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        if !folder.is_empty() && ObjectName::parse(folder).is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "this is not the name of a folder");
            return Err(Error::Store { op: StoreOp::List, object: folder.to_owned(), source });
        }
        let below = |name: &str| folder.is_empty() || name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let content = self.lock();
        let listed = content.objects.iter().filter(|(name, _)| below(name.as_str()));
        let modified = |name: &ObjectName| content.times.get(name).copied().unwrap_or(0);
        Ok(listed.map(|(name, object)| Listed { modified: modified(name), ..Listed::new(name.clone(), object.len() as u64) }).collect())
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.lock().objects.remove(name);
        Ok(())
    }

    fn now(&self) -> Result<i64> {
        Ok(self.lock().now)
    }
}

struct MemoryUpload {
    store: MemoryStore,
    bytes: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let mut content = self.store.lock();
        // A beginning of our own bytes may be replaced, as in a directory, where a power loss can leave one; a test that cuts
        // an object short then sees the same healing here as there.
        if content.objects.get(name).is_some_and(|there| !self.bytes.starts_with(there)) {
            return Err(refused(StoreOp::Put, name, io::ErrorKind::AlreadyExists, "an object of other bytes has this name"));
        }
        let now = content.now;
        content.times.insert(name.clone(), now);
        content.objects.insert(name.clone(), Arc::new(self.bytes));
        Ok(())
    }
}

fn refused(op: StoreOp, name: &ObjectName, kind: io::ErrorKind, why: &'static str) -> Error {
    Error::Store { op, object: name.to_string(), source: io::Error::new(kind, why) }
}
