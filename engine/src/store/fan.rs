//! Packs that go to several stores while they are made: to one that counts, and beside it to others. One of the others that fails drops out,
//! and whoever brings it up to date later sees what it has. It must never let another store fail the one that counts.

use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::store::{Listed, Readiness, Store, Taken, ThawOrder, Traffic, Upload};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store that packs go to as well.
pub struct Branch {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failure: Option<Error>,
    there: HashSet<ObjectName>,
}

impl Branch {
    /// One that nothing has gone to yet.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Branch { store, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it failed: then nothing goes to it any more.
    pub fn is_out(&self) -> bool {
        self.state().failure.is_some()
    }

    /// It drops out; the first failure is kept.
    pub fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
    }

    /// Why it dropped out.
    pub fn take_failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    /// Whether a pack is durable there.
    pub fn has(&self, name: &ObjectName) -> bool {
        self.state().there.contains(name)
    }
}

/// The store that counts, and its branches. Everything but a new object is its own alone.
pub struct Fan<'a> {
    main: &'a dyn Store,
    branches: Vec<Arc<Branch>>,
}

impl<'a> Fan<'a> {
    /// Of `main`.
    pub fn new(main: &'a dyn Store, branches: Vec<Arc<Branch>>) -> Self {
        Fan { main, branches }
    }
}

/// An object on its way into several stores.
struct FanUpload {
    main: Box<dyn Upload>,
    branches: Vec<(Arc<Branch>, Box<dyn Upload>)>,
}

impl Upload for FanUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.main.write(bytes)?;
        self.branches.retain_mut(|(branch, upload)| match upload.write(bytes) {
            Ok(()) => true,
            Err(error) => {
                branch.fail(error);
                false
            }
        });
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let FanUpload { main, branches } = *self;
        // All at once: the slowest of them is all that is waited for.
        std::thread::scope(|scope| {
            for (branch, upload) in branches {
                scope.spawn(move || match upload.finish(name) {
                    Ok(()) => drop(branch.state().there.insert(name.clone())),
                    Err(error) => branch.fail(error),
                });
            }
            main.finish(name)
        })
    }
}

impl Store for Fan<'_> {
    fn place(&self) -> String {
        self.main.place()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        let main = self.main.begin()?;
        let mut branches = Vec::new();
        for branch in self.branches.iter().filter(|branch| !branch.is_out()) {
            match branch.store.begin() {
                Ok(upload) => branches.push((branch.clone(), upload)),
                Err(error) => branch.fail(error),
            }
        }
        Ok(Box::new(FanUpload { main, branches }))
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.main.put(name, bytes)
    }

    fn put_owned(&self, name: &ObjectName, bytes: Vec<u8>) -> Result<()> {
        self.main.put_owned(name, bytes)
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        self.main.get(name, bytes_max)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.main.get_range(name, range, into)
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        self.main.get_suffix(name, bytes)
    }

    fn get_upto(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.main.get_upto(name, range, into)
    }

    fn distrust(&self, name: &ObjectName) -> bool {
        self.main.distrust(name)
    }

    fn settle(&self, name: &ObjectName) -> Result<()> {
        self.main.settle(name)
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        self.main.size(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.main.list(folder)
    }

    fn holds_any(&self, folder: &str) -> Result<bool> {
        self.main.holds_any(folder)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.main.delete(name)
    }

    fn sweep(&self) -> Result<u64> {
        self.main.sweep()
    }

    fn now(&self) -> Result<i64> {
        self.main.now()
    }

    fn confirm(&self, taken: Taken<'_>) -> Result<()> {
        self.main.confirm(taken)
    }

    fn expect(&self, name: &ObjectName, range: Range<u64>) {
        self.main.expect(name, range);
    }

    fn insist(&self) {
        self.main.insist();
    }

    fn readiness(&self, name: &ObjectName) -> Result<Readiness> {
        self.main.readiness(name)
    }

    fn thaw(&self, name: &ObjectName, order: ThawOrder) -> Result<()> {
        self.main.thaw(name, order)
    }

    fn connections(&self) -> usize {
        // Of a disk one pack after the other is made durable; beside a network that would be to wait for each of them.
        self.branches.iter().map(|branch| branch.store.connections()).fold(self.main.connections(), usize::max)
    }

    fn refuses_other_bytes(&self) -> bool {
        self.main.refuses_other_bytes()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.main.traffic()
    }
}
