//! Rescue (spec chapter 7, CHECK): chunks whose only copies are in packs that records name are copied out while those exist.
//! The new packs are named by a segment before anybody asks again.

use crate::error::{Error, Result};
use crate::faults;
use crate::format::segment::Segment;
use crate::id::{ChunkId, Class, ObjectName, PackId, SnapshotId};
use crate::index::Index;
use crate::limits::{PACK_BYTES_DATA, PACK_BYTES_META};
use crate::pack::Compression;
use crate::pack::bits::Bits;
use crate::pack::repack::{From, Seals, Take, repack};
use crate::pack::sink::{Sink, SinkOptions, Trouble};
use crate::repository::Repository;
use crate::store::there;
use std::collections::{BTreeMap, HashSet};

/// Copies `chunks`, none of which is in a usable pack of `index`, out of packs that still exist.
pub fn rescue(
    repository: &Repository,
    session: SnapshotId,
    index: &Index,
    chunks: &[(Class, ChunkId)],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    if repository.keys().are_old() {
        // A chunk of theirs would be sealed under keys that were taken out of use. The next run has the new ones.
        return Err(Error::Overtaken);
    }
    let places = |(class, id): &(Class, ChunkId)| index.find(*class, id).collect::<Vec<_>>();
    let holders: HashSet<u32> = chunks.iter().flat_map(places).map(|at| at.pack).collect();
    let names = holders.iter().map(|number| &index.packs()[*number as usize]).map(|pack| ObjectName::pack(pack.class, &pack.id));
    let there: HashSet<PackId> =
        there(repository.store(), names.collect())?.iter().filter_map(|object| object.name.as_pack()).map(|(_, id)| id).collect();
    let mut takes: BTreeMap<u32, Bits> = BTreeMap::new();
    for chunk in chunks {
        let place = places(chunk).into_iter().find(|at| there.contains(&index.packs()[at.pack as usize].id));
        // Its pack is gone: only the source can give it again, and the next run stores it.
        let place = place.ok_or(Error::Overtaken)?;
        takes.entry(place.pack).or_default().set(place.chunk as usize);
    }
    let takes = takes.into_iter().map(|(number, chunks)| {
        let pack = &index.packs()[number as usize];
        Take { class: pack.class, pack: pack.id, chunks }
    });
    let trouble = Trouble::default();
    let put_segment = |segment: &Segment| if faults::seeded("rescue-unindexed") { Ok(0) } else { repository.put_segment(segment) };
    let options = SinkOptions { compression: Compression::Auto, data_pack_bytes: PACK_BYTES_DATA, meta_pack_bytes: PACK_BYTES_META };
    let sink =
        Sink::new(repository.store(), repository.keys(), options, (repository.writer(), session), (&put_segment, &|_| Ok(())), &trouble);
    let go_on = |_| go_on();
    let from =
        From { store: repository.store(), keys: repository.keys(), ids: repository.ids(), go_on: &go_on, spare: 0.0, seals: Seals::Kept };
    // Few chunks; the source is being read meanwhile.
    match repack(&sink, &from, takes, rayon::current_num_threads().min(2)) {
        // Deleted between the question and the read. The CHECK that follows finds another copy, or that there is none.
        Err(error) if error.is_missing() => Ok(()),
        other => other.map(|_| ()),
    }
}
