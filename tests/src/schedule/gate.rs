//! The store as one process sees it: every call becomes a request that waits until the scheduler grants it.

use crate::schedule::op::{Answer, How, Op, Page, Pages};
use crate::schedule::stage::Stage;
use seabed_engine::error::{Error, Result};
use seabed_engine::id::ObjectName;
use seabed_engine::store::{Listed, Store, Traffic, Upload};
use std::ops::Range;
use std::sync::Arc;

/// See the module's text.
#[derive(Clone)]
pub struct GatedStore {
    stage: Arc<Stage>,
    process: usize,
    far: bool,
    pages: Pages,
}

impl GatedStore {
    /// The handle of one process.
    pub fn new(stage: Arc<Stage>, process: usize, (far, pages): (bool, Pages)) -> Self {
        GatedStore { stage, process, far, pages }
    }

    fn call(&self, op: Op) -> Result<Answer> {
        self.stage.call(self.process, op)
    }

    fn bytes(&self, name: &ObjectName, how: How) -> Result<Vec<u8>> {
        match self.call(Op::Get(name.clone(), how))? {
            Answer::Bytes(bytes) => Ok(bytes),
            other => Err(mismatch(&other)),
        }
    }
}

/// The answer to another question: a mistake of the harness, which must not pass for one of the store.
fn mismatch(answer: &Answer) -> Error {
    unreachable!("the scheduler answered {answer:?}")
}

struct GatedUpload {
    store: GatedStore,
    bytes: Vec<u8>,
}

impl Upload for GatedUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    // What an upload that is never finished leaves behind nobody sees, so that all of it is one request.
    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let GatedUpload { store, bytes } = *self;
        store.call(Op::Put(name.clone(), Arc::new(bytes))).map(drop)
    }
}

impl Store for GatedStore {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(GatedUpload { store: self.clone(), bytes: Vec::new() }))
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        self.bytes(name, How::Whole(bytes_max))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        into.extend(self.bytes(name, How::Range(range))?);
        Ok(())
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        match self.call(Op::Get(name.clone(), How::Suffix(bytes)))? {
            Answer::Suffix(bytes, length) => Ok((bytes, length)),
            other => Err(mismatch(&other)),
        }
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        match self.call(Op::Size(name.clone()))? {
            Answer::Size(size) => Ok(size),
            other => Err(mismatch(&other)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for page in if Op::List(folder.to_owned(), Page::All).is_still() { &[Page::All] } else { self.pages.of(folder) } {
            match self.call(Op::List(folder.to_owned(), *page))? {
                Answer::Listed(listed) => all.extend(listed),
                other => return Err(mismatch(&other)),
            }
        }
        all.sort();
        Ok(all)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.call(Op::Delete(name.clone())).map(drop)
    }

    fn now(&self) -> Result<i64> {
        match self.call(Op::Now)? {
            Answer::Time(time) => Ok(time),
            other => Err(mismatch(&other)),
        }
    }

    fn traffic(&self) -> Option<Traffic> {
        self.far.then(Traffic::default)
    }
}
