//! What snapshots take: which bytes only one of them holds, and what goes with some of them (a chunk's share of its frame).
//! Exact for whole frames; of a frame that is shared, each chunk has the part that its plaintext is of the whole.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::id::{ChunkId, Class, SnapshotId};
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::repository::Repository;
use crate::repository::grounds::{Grounds, State};
use crate::repository::reach::{Visit, walk};
use crate::store::each;
use std::collections::HashMap;

/// Footers that are read at a time.
const FOOTERS_BATCH: usize = 64;
/// Nobody needs the chunk.
const NOBODY: u32 = 0;
/// Several snapshots need it.
const SEVERAL: u32 = u32::MAX;

/// What a repository's bytes are for.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Stored bytes that only this snapshot holds.
    pub unique: HashMap<SnapshotId, u64>,
    /// Stored bytes that each snapshot needs and none before it in the order that was asked for.
    pub further: Vec<(SnapshotId, u64)>,
    /// Stored bytes that some snapshot needs.
    pub needed: u64,
    /// Their plaintext.
    pub needed_plain: u64,
    /// Chunks that some snapshot needs.
    pub chunks: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
}

/// Whose chunks are counted as whose.
struct Owners<'a> {
    grounds: &'a Grounds,
    owners: &'a mut [u32],
    number: u32,
    /// Whether to tell what only one has, or who has it first.
    only: bool,
    observer: &'a dyn Observer,
    steps: u32,
}

impl Visit for Owners<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(1 << 16) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let row = self.grounds.rows.first(class, id).ok_or(Error::ChunkMissing { id: *id })?;
        let owner = &mut self.owners[row];
        match *owner {
            NOBODY => *owner = self.number,
            other if other == self.number || other == SEVERAL || !self.only => return Ok(false),
            // What hangs below a node that another one has too, the other one has too.
            _ => *owner = SEVERAL,
        }
        Ok(true)
    }
}

/// Looks at `snapshots`, in their order. Reads what they are made of and the footers of packs.
pub fn usage(repository: &Repository, snapshots: &[Snapshot], observer: &dyn Observer) -> Result<Usage> {
    let grounds = Grounds::read(repository, observer)?;
    let rows = grounds.rows.count() as usize;
    let mut only = vec![NOBODY; rows];
    let mut first = vec![NOBODY; rows];
    let reader = repository.reader_over(grounds.lists());
    for (at, snapshot) in snapshots.iter().enumerate() {
        let number = at as u32 + 1;
        for (owners, only) in [(&mut only, true), (&mut first, false)] {
            walk(&reader, &snapshot.index.roots, &mut Owners { grounds: &grounds, owners, number, only, observer, steps: 0 })?;
        }
    }
    let mut usage = Usage { packs: grounds.packs.len() as u64, ..Usage::default() };
    usage.pack_bytes = grounds.packs.values().map(|object| object.bytes).sum();
    let mut unique = vec![0u64; snapshots.len()];
    let mut further = vec![0u64; snapshots.len()];
    shares(repository, &grounds, observer, |row, stored, plain| {
        let (only, first) = (only[row], first[row]);
        if first == NOBODY {
            return;
        }
        usage.needed += stored;
        usage.needed_plain += plain;
        usage.chunks += 1;
        further[first as usize - 1] += stored;
        if only != SEVERAL {
            unique[only as usize - 1] += stored;
        }
    })?;
    usage.unique = snapshots.iter().map(|s| s.id).zip(unique).collect();
    usage.further = snapshots.iter().map(|s| s.id).zip(further).collect();
    Ok(usage)
}

/// What goes when of all snapshots only `kept` stay: the stored bytes that some of `gone` need and none of `kept`.
pub fn freed(repository: &Repository, kept: &[Snapshot], gone: &[Snapshot], observer: &dyn Observer) -> Result<u64> {
    let all: Vec<Snapshot> = kept.iter().chain(gone).cloned().collect();
    let usage = usage(repository, &all, observer)?;
    Ok(usage.further.iter().skip(kept.len()).map(|(_, bytes)| bytes).sum())
}

/// Calls `each_chunk` with the number of the first row of every chunk, its share of its frame, and its length.
fn shares(repository: &Repository, grounds: &Grounds, observer: &dyn Observer, mut each_chunk: impl FnMut(usize, u64, u64)) -> Result<()> {
    let states = grounds.states();
    let packs: Vec<u32> = (0..states.len() as u32).filter(|number| states[*number as usize] != State::Gone).collect();
    for batch in packs.chunks(FOOTERS_BATCH) {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let open = |number: &u32| {
            let pack = &grounds.rows.packs()[*number as usize];
            OpenPack::open(repository.store(), repository.keys(), pack.class, &pack.id)
        };
        for (number, opened) in batch.iter().zip(each(repository.store(), batch, open)) {
            let opened = match opened {
                Ok(opened) => opened,
                // Collected meanwhile.
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            for (chunk, id) in opened.table.ids().enumerate() {
                let Some(row) = grounds.rows.first(opened.class, &id) else { continue };
                // A chunk in two packs counts once.
                if grounds.rows.at(row).is_none_or(|copy| (copy.pack, copy.chunk as usize) != (*number, chunk)) {
                    continue;
                }
                let Some(span) = opened.table.chunks.get(chunk) else { continue };
                let Some(frame) = opened.table.frames.get(span.frame as usize) else { continue };
                let stored = u64::from(frame.info.stored) * u64::from(span.bytes) / u64::from(frame.info.plain).max(1);
                each_chunk(row, stored, span.bytes.into());
            }
        }
    }
    Ok(())
}
