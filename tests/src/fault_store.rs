//! A store that fails on a schedule: the Nth operation, once or for ever, before or after it took effect, or midway through an upload.
//! It must never soften the store below: what it lets pass is passed on as it is.
//! It obeys the fault list of DESIGN's background (errors before, after, torn uploads, a process that dies).

use seabed_engine::error::{Error, Result, StoreOp};
use seabed_engine::id::ObjectName;
use seabed_engine::store::{Listed, Store, Taken, Upload};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Looks in a row that see no operation: then whoever is not at work waits for something.
const STANDSTILL_LOOKS: u32 = 20;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happened.
    Before,
    /// It happened, and the answer was lost.
    After,
    /// Half of what was to be written was written; as [`Fault::Before`] for what writes nothing.
    Torn,
}

/// When.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The operation, counted from 0.
    pub at: u64,
    /// How.
    pub fault: Fault,
    /// All that come after it fail too, with nothing done: the process was killed, or the network is gone.
    pub for_ever: bool,
}

/// Something that somebody else does at a point of a run.
struct Meanwhile {
    op: StoreOp,
    below: &'static str,
    act: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct State {
    meanwhile: Mutex<Vec<Meanwhile>>,
    schedule: Mutex<Option<Schedule>>,
    count: AtomicU64,
    fired: AtomicU64,
    log: Mutex<Vec<String>>,
    /// Uploads fail at their end, once nobody writes any more.
    stalls: AtomicBool,
}

/// See the module's text. A clone shares the schedule.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    state: Arc<State>,
}

impl FaultStore {
    /// Over `inner`, with nothing scheduled.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        FaultStore { inner, state: Arc::default() }
    }

    /// Sets the schedule and counts from 0 again.
    pub fn schedule(&self, schedule: Option<Schedule>) {
        *self.state.schedule.lock().unwrap() = schedule;
        self.state.count.store(0, SeqCst);
        self.state.fired.store(0, SeqCst);
        self.state.log.lock().unwrap().clear();
    }

    /// From now on the end of every upload waits until everybody else stands still, and fails then: a disk that is slow and full.
    pub fn stall_and_fail(&self) {
        self.state.stalls.store(true, SeqCst);
    }

    /// Calls `act` just before the next operation of this kind on an object below a folder; several one after the other.
    pub fn before(&self, op: StoreOp, below: &'static str, act: impl FnOnce() + Send + 'static) {
        self.state.meanwhile.lock().unwrap().push(Meanwhile { op, below, act: Box::new(act) });
    }

    fn meanwhile(&self, op: StoreOp, object: &str) {
        let mut waiting = self.state.meanwhile.lock().unwrap();
        // In their order: the first one that waits says whether it is its turn.
        if waiting.first().is_some_and(|next| next.op == op && object.starts_with(next.below)) {
            let next = waiting.remove(0);
            drop(waiting);
            (next.act)();
        }
    }

    /// Operations since the schedule was set.
    pub fn operations(&self) -> u64 {
        self.state.count.load(SeqCst)
    }

    /// How many of them failed.
    pub fn fired(&self) -> u64 {
        self.state.fired.load(SeqCst)
    }

    /// What failed, for messages.
    pub fn log(&self) -> Vec<String> {
        self.state.log.lock().unwrap().clone()
    }

    fn fault(&self, op: StoreOp, object: &str) -> Option<Fault> {
        self.meanwhile(op, object);
        let n = self.state.count.fetch_add(1, SeqCst);
        let schedule = (*self.state.schedule.lock().unwrap())?;
        let fault = match n.cmp(&schedule.at) {
            std::cmp::Ordering::Equal => schedule.fault,
            std::cmp::Ordering::Greater if schedule.for_ever => Fault::Before,
            _ => return None,
        };
        self.state.fired.fetch_add(1, SeqCst);
        self.state.log.lock().unwrap().push(format!("{n}: {op} {object} {fault:?}"));
        Some(fault)
    }

    fn run<T>(&self, op: StoreOp, object: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let failed = || Error::Store { op, object: object.to_owned(), source: io::Error::other("injected") };
        match self.fault(op, object) {
            None => act(),
            Some(Fault::Before | Fault::Torn) => Err(failed()),
            Some(Fault::After) => act().and_then(|_| Err(failed())),
        }
    }
}

struct FaultUpload {
    store: FaultStore,
    inner: Box<dyn Upload>,
}

impl Upload for FaultUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let failed = || Error::Store { op: StoreOp::Put, object: "an upload".to_owned(), source: io::Error::other("injected") };
        match self.store.fault(StoreOp::Put, "an upload") {
            None => self.inner.write(bytes),
            Some(Fault::Before) => Err(failed()),
            Some(Fault::Torn) => self.inner.write(&bytes[..bytes.len() / 2]).and(Err(failed())),
            Some(Fault::After) => self.inner.write(bytes).and(Err(failed())),
        }
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let FaultUpload { store, inner } = *self;
        if store.state.stalls.load(SeqCst) {
            let (mut seen, mut still) = (0, 0);
            while still < STANDSTILL_LOOKS {
                std::thread::sleep(Duration::from_millis(20));
                let now = store.operations();
                still = if now == seen { still + 1 } else { 0 };
                seen = now;
            }
            return Err(Error::Store { op: StoreOp::Put, object: name.as_str().to_owned(), source: io::Error::other("injected") });
        }
        store.run(StoreOp::Put, name.as_str(), || inner.finish(name))
    }
}

impl Store for FaultStore {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        let inner = self.run(StoreOp::Put, "a new object", || self.inner.begin())?;
        Ok(Box::new(FaultUpload { store: self.clone(), inner }))
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        self.run(StoreOp::Get, name.as_str(), || self.inner.get(name, bytes_max))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.run(StoreOp::Get, name.as_str(), || self.inner.get_range(name, range, into))
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        self.run(StoreOp::Get, name.as_str(), || self.inner.get_suffix(name, bytes))
    }

    fn settle(&self, name: &ObjectName) -> Result<()> {
        self.run(StoreOp::Put, name.as_str(), || self.inner.settle(name))
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        self.run(StoreOp::Get, name.as_str(), || self.inner.size(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.run(StoreOp::List, folder, || self.inner.list(folder))
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.run(StoreOp::Delete, name.as_str(), || self.inner.delete(name))
    }

    fn now(&self) -> Result<i64> {
        self.run(StoreOp::Open, "the clock", || self.inner.now())
    }

    fn confirm(&self, taken: Taken<'_>) -> Result<()> {
        self.inner.confirm(taken)
    }
}
