//! Which chunks of which packs of the source the target lacks, found on a walk of what snapshots need. A bit for each chunk, so that memory
//! is bounded by the source's index, which is in memory anyhow.

use crate::copy::Avoid;
use crate::error::{Error, Result};
use crate::id::{ChunkId, Class, ObjectName};
use crate::index::{Index, Location};
use crate::observe::Observer;
use crate::pack::bits::Bits;
use crate::repository::reach::Visit;
use std::collections::{HashMap, HashSet};

/// Chunks between two looks at whether to stop.
const LOOK_EVERY: u32 = 4096;

/// See the module's text.
pub struct Wanted<'a> {
    from: &'a Index,
    to: &'a Index,
    avoid: &'a Avoid,
    observer: &'a dyn Observer,
    /// The snapshot that is walked,
    step: usize,
    /// and chunks seen.
    seen: u32,
    /// By the number of the pack: the first snapshot that wants something of it, and what all of them want.
    takes: HashMap<u32, (usize, Bits)>,
    /// Nodes and leaves below which everything was walked. One that failed midway is not among them: whoever comes by it again fails, too.
    walked: HashSet<ChunkId>,
}

impl<'a> Wanted<'a> {
    /// Of what `to` has no usable copy.
    pub fn new(from: &'a Index, to: &'a Index, avoid: &'a Avoid, observer: &'a dyn Observer) -> Self {
        Wanted { from, to, avoid, observer, step: 0, seen: 0, takes: HashMap::new(), walked: HashSet::new() }
    }

    /// From now on it is this snapshot that wants something.
    pub fn begin(&mut self, step: usize) {
        self.step = step;
    }

    /// The numbers of packs, the first snapshot that wants something of each, and what is wanted.
    pub fn into_takes(self) -> Vec<(u32, usize, Bits)> {
        self.takes.into_iter().map(|(number, (step, chunks))| (number, step, chunks)).collect()
    }

    /// Chooses the place that a chunk is taken from: where it is wanted already, else in a pack of which something is, so that there are few.
    fn want(&mut self, class: Class, id: &ChunkId) -> Result<()> {
        let (mut best, mut broken): (Option<(bool, Location)>, _) = (None, None);
        for at in self.from.find(class, id) {
            let Some(pack) = self.from.packs().get(at.pack as usize) else { continue };
            if let Some(damage) = self.avoid.broken.get(&pack.id).and_then(|broken| broken.why_not(at.chunk as usize)) {
                broken = Some(Error::damaged(&ObjectName::pack(class, &pack.id), damage.clone()));
                continue;
            }
            let taken = self.takes.get(&at.pack);
            if taken.is_some_and(|(_, chunks)| chunks.has(at.chunk as usize)) {
                return Ok(());
            }
            if best.is_none_or(|(before, _)| taken.is_some() && !before) {
                best = Some((taken.is_some(), at));
            }
        }
        let Some((_, at)) = best else { return Err(broken.unwrap_or(Error::ChunkMissing { id: *id })) };
        self.takes.entry(at.pack).or_insert_with(|| (self.step, Bits::default())).1.set(at.chunk as usize);
        Ok(())
    }
}

impl Visit for Wanted<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.seen = self.seen.wrapping_add(1);
        if self.seen.is_multiple_of(LOOK_EVERY) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        if !self.to.has(class, id) {
            self.want(class, id)?;
        }
        Ok(class == Class::Lists && !self.walked.contains(id))
    }

    fn below(&mut self, id: &ChunkId) {
        self.walked.insert(*id);
    }
}
