//! Chunks out of packs, frame by frame: a pack with one bad frame loses only that frame. What does not open, does not decode or is not what
//! its id says is passed over; whose pack it is, and whether anybody else may use it, does not matter here.

use crate::error::{Error, Result, StoreOp};
use crate::id::{ChunkId, Class, PackId};
use crate::index::Index;
use crate::pack::{FrameDecoder, OpenPack};
use crate::repair::Healer;
use crate::repair::mend::{Mender, Wanted};
use crate::seal::key::Keys;
use crate::store::{Store, each_busy, reread};
use std::collections::BTreeMap;

/// Frames that are read at a time.
const FRAMES_BATCH: usize = 8;

/// Packs of a repository, this one or another of its family.
pub struct Quarry<'a> {
    /// Where they are.
    pub store: &'a dyn Store,
    /// What opens them.
    pub keys: &'a Keys,
    /// What is in them.
    pub index: &'a Index,
    /// Whose they are.
    pub from: Healer,
}

/// Whether an error costs the pack or frame that it is about, and not the run.
fn costs_itself(error: &Error) -> bool {
    let unread = matches!(error, Error::Archived { .. } | Error::Store { op: StoreOp::Get, .. });
    unread || error.is_damage() || matches!(error, Error::UnknownFeature { .. } | Error::NewerFormat { .. })
}

fn or_nothing<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if costs_itself(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Quarry<'_> {
    /// Gives the mender what it wants and these packs have.
    pub fn take(&self, mender: &mut Mender<'_, '_>, wanted: &[Wanted]) -> Result<()> {
        let mut places: BTreeMap<u32, BTreeMap<u32, ChunkId>> = BTreeMap::new();
        for (class, id) in wanted {
            for at in self.index.find(*class, id) {
                places.entry(at.pack).or_default().insert(at.chunk, *id);
            }
        }
        for (number, chunks) in places {
            let Some(pack) = self.index.packs().get(number as usize) else { continue };
            // Where a chunk has several copies, the first good one is enough.
            if chunks.values().any(|id| mender.wants(pack.class, id)) {
                self.pack(mender, pack.class, &pack.id, &chunks)?;
            }
        }
        Ok(())
    }

    fn pack(&self, mender: &mut Mender<'_, '_>, class: Class, id: &PackId, chunks: &BTreeMap<u32, ChunkId>) -> Result<()> {
        mender.go_on()?;
        if !mender.stores() && self.from == Healer::Other {
            // What it would cost to fetch is not paid for a question.
            chunks.values().for_each(|id| mender.promise(class, id, self.from));
            return Ok(());
        }
        let Some(pack) = or_nothing(OpenPack::open(self.store, self.keys, class, id))? else { return Ok(()) };
        let mut frames: BTreeMap<u32, Vec<(usize, ChunkId)>> = BTreeMap::new();
        for (number, id) in chunks {
            let number = *number as usize;
            // The index knows half of an id.
            if let Some(place) = pack.table.chunks.get(number).filter(|_| pack.table.id(number) == Some(*id) && mender.wants(class, id)) {
                frames.entry(place.frame).or_default().push((number, *id));
            }
        }
        let frames: Vec<(u32, Vec<(usize, ChunkId)>)> = frames.into_iter().collect();
        for batch in frames.chunks(FRAMES_BATCH) {
            mender.go_on()?;
            let read = |(number, _): &(u32, Vec<(usize, ChunkId)>)| {
                let (mut stored, mut plain, mut decoder) = (Vec::new(), Vec::new(), FrameDecoder::default());
                let open = || pack.frame(self.store, *number, &mut stored, &mut decoder, &mut plain);
                reread(self.store, &pack.name, open).map(|()| (stored.len() as u64, plain))
            };
            for ((_, chunks), read) in batch.iter().zip(each_busy(self.store, batch, read)) {
                let Some((stored, plain)) = or_nothing(read)? else { continue };
                if self.from == Healer::Other {
                    mender.fetched(stored);
                }
                for (number, id) in chunks {
                    let place = pack.table.chunks.get(*number);
                    let range = place.map(|place| place.offset as usize..(place.offset + place.bytes) as usize);
                    if let Some(bytes) = range.and_then(|range| plain.get(range)) {
                        mender.give(class, id, bytes, self.from)?;
                    }
                }
            }
        }
        Ok(())
    }
}
