//! A remote store with what makes it feel near: copies of small objects on disk, packs read ahead. Answers are the same as without.
//! It must never say that something is in the store because a copy of it is here: existence is always asked of the store itself.

use crate::error::{Damage, Error, Result};
use crate::id::ObjectName;
use crate::store::ahead::Ahead;
use crate::store::shelf::{Kept, Shelf};
use crate::store::{Listed, Readiness, Store, Taken, ThawOrder, Traffic, Upload};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A pack of metadata longer than this is read like data.
const META_PACK_BYTES_MAX: u64 = 16 << 20;

/// A remote store and its copies.
pub struct NearStore {
    far: Arc<dyn Store>,
    shelf: Option<Arc<Shelf>>,
    ahead: Ahead,
    /// No copy could be made.
    keeps_nothing: AtomicBool,
    /// Packs of metadata that are too long for a copy.
    long: Mutex<HashSet<ObjectName>>,
}

impl NearStore {
    /// With copies below `directory`, or without.
    pub fn new(far: Arc<dyn Store>, directory: Option<&Path>, packs_bytes_max: u64) -> Self {
        let shelf = directory.map(|directory| Arc::new(Shelf::new(directory.to_owned(), packs_bytes_max)));
        NearStore { ahead: Ahead::new(far.clone()), far, shelf, keeps_nothing: AtomicBool::new(false), long: Mutex::default() }
    }

    fn shelf_for(&self, name: &ObjectName) -> Option<&Shelf> {
        self.shelf.as_deref().filter(|_| Shelf::takes(name))
    }

    /// The copy of a pack of metadata; fetched whole when it is first of use, as most of it will be.
    fn meta_pack(&self, name: &ObjectName) -> Result<Option<Arc<Kept>>> {
        let Some(shelf) = self.shelf_for(name).filter(|_| Shelf::is_meta_pack(name)) else { return Ok(None) };
        if let Some(kept) = shelf.pack(name) {
            return Ok(Some(kept));
        }
        if self.keeps_nothing.load(Relaxed) || self.long().contains(name) {
            return Ok(None);
        }
        match self.far.get(name, META_PACK_BYTES_MAX) {
            Ok(bytes) => shelf.keep(name, &bytes),
            Err(Error::Damaged { damage: Damage::TooLarge { .. }, .. }) => {
                self.long().insert(name.clone());
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let kept = shelf.pack(name);
        if kept.is_none() {
            // A full or read-only disk. From here on such packs are read like data: whole each time they would be fetched for nothing.
            self.keeps_nothing.store(true, Relaxed);
        }
        Ok(kept)
    }

    fn long(&self) -> MutexGuard<'_, HashSet<ObjectName>> {
        self.long.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for NearStore {
    fn place(&self) -> String {
        self.far.place()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(NearUpload { far: self.far.clone(), shelf: self.shelf.clone(), bytes: Vec::new() }))
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.far.put(name, bytes)?;
        if let Some(shelf) = self.shelf_for(name) {
            shelf.keep(name, bytes);
        }
        Ok(())
    }

    fn put_owned(&self, name: &ObjectName, bytes: Vec<u8>) -> Result<()> {
        self.far.put_owned(name, bytes)
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        let Some(shelf) = self.shelf_for(name) else { return self.far.get(name, bytes_max) };
        if let Some(bytes) = shelf.read(name).filter(|bytes| bytes.len() as u64 <= bytes_max) {
            return Ok(bytes);
        }
        let bytes = self.far.get(name, bytes_max)?;
        shelf.keep(name, &bytes);
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        if let Some(kept) = self.meta_pack(name)?
            && range.start <= range.end
            && range.end <= kept.bytes
        {
            into.clear();
            into.resize((range.end - range.start) as usize, 0);
            if kept.read_at(range.start, into).is_ok() {
                return Ok(());
            }
        }
        if name.as_pack().is_some() { self.ahead.get_range(name, range, into) } else { self.far.get_range(name, range, into) }
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        if let Some(kept) = self.meta_pack(name)? {
            let mut suffix = vec![0; bytes.min(kept.bytes) as usize];
            if kept.read_at(kept.bytes - suffix.len() as u64, &mut suffix).is_ok() {
                return Ok((suffix, kept.bytes));
            }
        }
        let (suffix, whole) = self.far.get_suffix(name, bytes)?;
        self.ahead.note_length(name, whole);
        Ok((suffix, whole))
    }

    fn expect(&self, name: &ObjectName, range: Range<u64>) {
        // Packs of metadata come whole, or are read like data; who asks for them waits for them.
        if name.as_pack().is_some() && !Shelf::is_meta_pack(name) {
            self.ahead.expect(name, range);
        }
    }

    fn get_upto(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.far.get_upto(name, range, into)
    }

    fn distrust(&self, name: &ObjectName) -> bool {
        if let Some(shelf) = self.shelf_for(name) {
            shelf.forget(name);
        }
        self.ahead.forget(name);
        self.far.distrust(name);
        true
    }

    fn settle(&self, name: &ObjectName) -> Result<()> {
        self.far.settle(name)
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        self.far.size(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let listed = self.far.list(folder)?;
        if let Some(shelf) = self.shelf.as_ref().filter(|_| matches!(folder, "slots" | "keyring" | "index" | "records")) {
            shelf.retain(folder, listed.iter().map(|object| object.name.clone()));
        }
        Ok(listed)
    }

    fn holds_any(&self, folder: &str) -> Result<bool> {
        self.far.holds_any(folder)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.far.delete(name)?;
        if let Some(shelf) = self.shelf_for(name) {
            shelf.forget(name);
        }
        Ok(())
    }

    fn sweep(&self) -> Result<u64> {
        self.far.sweep()
    }

    fn now(&self) -> Result<i64> {
        self.far.now()
    }

    fn confirm(&self, taken: Taken<'_>) -> Result<()> {
        self.far.confirm(taken)
    }

    fn insist(&self) {
        self.far.insist();
    }

    fn readiness(&self, name: &ObjectName) -> Result<Readiness> {
        self.far.readiness(name)
    }

    fn thaw(&self, name: &ObjectName, order: ThawOrder) -> Result<()> {
        self.far.thaw(name, order)
    }

    fn connections(&self) -> usize {
        self.far.connections()
    }

    fn refuses_other_bytes(&self) -> bool {
        self.far.refuses_other_bytes()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.far.traffic()
    }
}

/// An object under way: whole in memory, because a remote store wants it at once, and a copy may be kept of it.
struct NearUpload {
    far: Arc<dyn Store>,
    shelf: Option<Arc<Shelf>>,
    bytes: Vec<u8>,
}

impl Upload for NearUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let copy = self.shelf.filter(|_| Shelf::takes(name)).map(|shelf| (shelf, self.bytes.clone()));
        self.far.put_owned(name, self.bytes)?;
        // Behind the put: a copy of what is not in the store would be read, and believed to be there.
        if let Some((shelf, bytes)) = copy {
            shelf.keep(name, &bytes);
        }
        Ok(())
    }
}
