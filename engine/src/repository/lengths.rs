//! How long chunks are, which only footers tell: each footer that is needed is read once, in whatever order chunks were met.

use crate::error::{Error, Result};
use crate::index::IndexPack;
use crate::index::numbers::Numbers;
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::repository::Repository;
use crate::store::each;

/// Footers that are read at a time where that saves waiting: of packs of tiny chunks each may take tens of megabytes.
const FOOTERS_BATCH: usize = 8;

/// Calls `found` with each number that is `wanted` and the length of its chunk; `None` where its pack is archived, damaged or gone.
pub fn lengths(
    repository: &Repository,
    numbers: &Numbers,
    observer: &dyn Observer,
    wanted: &dyn Fn(usize) -> bool,
    found: &mut dyn FnMut(usize, Option<u64>),
) -> Result<()> {
    let packs: Vec<_> = numbers.packs().filter(|(_, range)| (*range).clone().any(wanted)).collect();
    for batch in packs.chunks(repository.store().connections().clamp(1, FOOTERS_BATCH)) {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let open = |(pack, _): &(&IndexPack, _)| OpenPack::open(repository.store(), repository.keys(), pack.class, &pack.id);
        for ((_, range), opened) in batch.iter().zip(each(repository.store(), batch, open)) {
            let opened = match opened {
                Ok(opened) => Some(opened),
                Err(Error::Damaged { .. } | Error::Archived { .. }) => None,
                Err(error) => return Err(error),
            };
            for (chunk, number) in (*range).clone().enumerate().filter(|(_, number)| wanted(*number)) {
                let place = opened.as_ref().and_then(|opened| opened.table.chunks.get(chunk));
                found(number, place.map(|place| u64::from(place.bytes)));
            }
        }
    }
    Ok(())
}
