//! Marking what roots need (spec chapter 7, G1).

use crate::error::{Error, Result};
use crate::format::manifest::IndexRoot;
use crate::id::{ChunkId, Class};
use crate::index::compact::{Need, Rows};
use crate::observe::Observer;
use crate::pack::reader::ChunkReader;
use crate::repository::grounds::{Grounds, State};
use crate::repository::reach::{Visit, walk};
use crossbeam_channel::bounded;
use std::collections::HashSet;

/// Chunks of a class that are marked at a time: half a megabyte of ids.
const BATCH: usize = 16_384;
/// Batches that wait.
const BATCHES_QUEUED: usize = 2;

impl Grounds {
    /// Marks everything that a snapshot needs. An error where a node or leaf cannot be read, or a chunk is nowhere: after that, nothing
    /// may be concluded from the marks.
    pub fn mark(&mut self, reader: &ChunkReader, roots: &[IndexRoot], observer: &dyn Observer) -> Result<()> {
        let (rows, walked) = (&mut self.rows, &mut self.walked);
        let mut missing = None;
        let mut note = |class, ids: &[ChunkId]| missing = missing.or(rows.need_all(class, ids));
        let walked = if rayon::current_num_threads() < 2 {
            walk_all(reader, roots, (walked, observer), &mut |class, ids| {
                note(class, &ids);
                Ok(())
            })
        } else {
            // Rows are looked up beside the walk: each of them waits for memory about as long as it takes to decode what names it.
            std::thread::scope(|scope| {
                let (batches_in, batches) = bounded::<(Class, Vec<ChunkId>)>(BATCHES_QUEUED);
                let noting = scope.spawn(move || batches.iter().for_each(|(class, ids)| note(class, &ids)));
                let gone = || Error::SelfCheck { what: "the thread that marks" };
                let walked =
                    walk_all(reader, roots, (walked, observer), &mut |class, ids| batches_in.send((class, ids)).map_err(|_| gone()));
                drop(batches_in);
                noting.join().map_err(|_| gone()).and(walked)
            })
        };
        let marked = walked.and_then(|()| missing.map_or(Ok(()), |id| Err(Error::ChunkMissing { id })));
        if marked.is_err() {
            self.walked.clear();
        }
        marked
    }

    /// Marks what is there of what a pending needs. What is not is for its owner's CHECK to find out: an index that still speaks of a pack
    /// which is gone must not make a loss of it that nobody has. Returns whether all of it is there.
    pub fn mark_what_is_there(&mut self, reader: &ChunkReader, roots: &[IndexRoot], observer: &dyn Observer) -> Result<bool> {
        let there = self.states().into_iter().map(|state| state != State::Gone).collect();
        let mut mark = MarkSome { rows: &mut self.rows, walked: &self.walked, observer, steps: 0, there, missed: 0, above: Vec::new() };
        match walk(reader, roots, &mut mark) {
            Err(error) if error.is_damage() => Ok(false),
            walked => walked.map(|()| mark.missed == 0),
        }
    }
}

/// Takes chunks of a class that are needed.
type Hand<'a> = &'a mut dyn FnMut(Class, Vec<ChunkId>) -> Result<()>;

fn walk_all(
    reader: &ChunkReader,
    roots: &[IndexRoot],
    (walked, observer): (&mut HashSet<ChunkId>, &dyn Observer),
    hand: Hand<'_>,
) -> Result<()> {
    let mut visit = MarkAll { walked, observer, found: Default::default(), hand };
    walk(reader, roots, &mut visit).and_then(|()| Class::ALL.into_iter().try_for_each(|class| visit.send(class)))
}

/// Collects what is needed, all of which must be there.
struct MarkAll<'a> {
    walked: &'a mut HashSet<ChunkId>,
    observer: &'a dyn Observer,
    found: [Vec<ChunkId>; Class::ALL.len()],
    hand: Hand<'a>,
}

impl MarkAll<'_> {
    fn send(&mut self, class: Class) -> Result<()> {
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        (self.hand)(class, std::mem::take(&mut self.found[usize::from(class.code())]))
    }
}

impl Visit for MarkAll<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        // What hangs below it was walked, or is about to be. Where that fails, all of it does.
        if class == Class::Lists && !self.walked.insert(*id) {
            return Ok(false);
        }
        let found = &mut self.found[usize::from(class.code())];
        found.push(*id);
        if found.len() == BATCH {
            self.send(class)?;
        }
        Ok(true)
    }
}

/// Marks what is there.
struct MarkSome<'a> {
    rows: &'a mut Rows,
    walked: &'a HashSet<ChunkId>,
    observer: &'a dyn Observer,
    steps: u32,
    /// Which packs are there, by their numbers. What is not there is passed over.
    there: Vec<bool>,
    /// How much was passed over,
    missed: u64,
    /// and how much it was when each of the nodes above was reached.
    above: Vec<u64>,
}

impl Visit for MarkSome<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(1 << 16) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        if !self.rows.any(class, id, |copy| self.there[copy.pack as usize]) {
            self.missed += 1;
            return Ok(false);
        }
        match self.rows.need(class, id) {
            Need::Missing => {
                self.missed += 1;
                Ok(false)
            }
            Need::Walked => Ok(false),
            Need::First | Need::Again if class == Class::Lists && self.walked.contains(id) => Ok(false),
            // Needed before is not walked before: what hung below may not have been there then, and be there now.
            Need::First | Need::Again => {
                if class == Class::Lists {
                    self.above.push(self.missed);
                }
                Ok(true)
            }
        }
    }

    fn below(&mut self, id: &ChunkId) {
        if self.above.pop() == Some(self.missed) {
            self.rows.walked(Class::Lists, id);
        }
    }
}
