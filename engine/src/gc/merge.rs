//! Upkeep (spec chapter 7): small segments go into larger ones, entries of packs that are named and gone are left out, and
//! records are folded. What is merged is put before its parts are deleted: reading two segments that say the same is always right.

use crate::error::Result;
use crate::faults;
use crate::format::object::{HEADER_BYTES, ObjectType, PART_HEAD_BYTES, PartHead};
use crate::format::protocol::Record;
use crate::format::segment::{ENTRY_BYTES, Segment};
use crate::format::wire::Time;
use crate::id::{ObjectId, ObjectName, PackId};
use crate::limits::{RECORD_PACKS_MAX, SEGMENT_CHUNKS_TARGET};
use crate::observe::Observer;
use crate::repository::grounds::{Grounds, SEGMENTS_BATCH, SegmentFacts};
use crate::repository::{Records, Repository};
use crate::seal::object::seal_object;
use crate::seal::random;
use crate::store::{Listed, each_busy, there};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Segments with fewer entries than this part of a full one are merged, once there are so many of them.
const SMALL_PART: u64 = 4;
const SMALL_COUNT: usize = 8;
/// A segment of whose packs this part is gone is written anew without them.
const GONE_PART: usize = 4;
/// Records are folded once there are so many; the newest stay as they are, for their packs may still have to go.
const RECORDS_MAX: usize = 64;
const RECORDS_KEPT: usize = 16;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Merged {
    /// Segments that are gone.
    pub segments: u64,
    /// Records that are gone.
    pub records: u64,
}

/// A segment on the way into another.
struct Part {
    name: ObjectName,
    segment: Segment,
}

/// Merges what is worth merging. What the collection has read of the segments says which; whatever it is by now is read again.
/// With `renew` also those that older epochs sealed.
pub fn merge(repository: &Repository, grounds: &Grounds, renew: bool, observer: &dyn Observer) -> Result<Merged> {
    let mut merged = Merged::default();
    let absent: HashSet<PackId> = if faults::seeded("merge-drops-absent") { absent(repository)? } else { HashSet::new() };
    let known = &grounds.segments;
    let small = |facts: &SegmentFacts| facts.entries < SEGMENT_CHUNKS_TARGET as u64 / SMALL_PART;
    let listed = repository.listed(ObjectType::Segment, "index")?;
    // One that came since is most often small, and belongs to a run that may come by here again.
    let gather = listed.iter().filter(|object| known.get(&object.name).is_none_or(small)).count() >= SMALL_COUNT;
    let worn = |facts: &SegmentFacts| {
        let named = facts.packs.iter().filter(|id| grounds.records.name(id)).count();
        named > 0 && named * GONE_PART >= facts.packs.len()
    };
    let taken = |name: &ObjectName| known.get(name).map_or(gather, |facts| gather && small(facts) || worn(facts));
    let old = if renew { sealed_before(repository, &listed)? } else { HashSet::new() };
    let names: Vec<&ObjectName> = listed.iter().map(|object| &object.name).filter(|name| taken(name) || old.contains(*name)).collect();
    let mut group: Vec<Part> = Vec::new();
    for batch in names.chunks(SEGMENTS_BATCH) {
        if observer.interrupted() {
            break;
        }
        for (name, segment) in batch.iter().zip(each_busy(repository.store(), batch, |name| repository.read_segment(name))) {
            match segment {
                Ok(segment) => group.push(Part { name: (*name).clone(), segment }),
                // Another collection merged it.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        let entries: usize = group.iter().map(|part| part.segment.entries.0.len() / ENTRY_BYTES).sum();
        if entries >= SEGMENT_CHUNKS_TARGET {
            merged.segments += put_merged(repository, std::mem::take(&mut group), &absent, &old)?;
        }
    }
    merged.segments += put_merged(repository, group, &absent, &old)?;
    merged.records = fold(repository)?;
    Ok(merged)
}

/// The objects of one part, segments and notes, that keys of older epochs sealed. The epoch stands in the clear at their beginning.
pub fn sealed_before(repository: &Repository, listed: &[Listed]) -> Result<HashSet<ObjectName>> {
    let store = repository.store();
    let head = |object: &Listed| {
        let mut bytes = Vec::new();
        store.get_range(&object.name, 0..(HEADER_BYTES + PART_HEAD_BYTES) as u64, &mut bytes)?;
        PartHead::decode(&object.name, &bytes[HEADER_BYTES..]).map(|head| head.epoch < repository.keys().epoch)
    };
    let mut old = HashSet::new();
    for (object, is_old) in listed.iter().zip(each_busy(store, listed, head)) {
        match is_old {
            Ok(true) => drop(old.insert(object.name.clone())),
            Ok(false) => {}
            // Merged or collected meanwhile, or damaged: then there is nothing to seal anew.
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(old)
}

/// What the store does not list: no reason to leave a pack out.
fn absent(repository: &Repository) -> Result<HashSet<PackId>> {
    let mut listed = HashSet::new();
    for class in crate::id::Class::ALL {
        listed.extend(repository.store().list(class.folder())?.iter().filter_map(|object| object.name.as_pack()).map(|(_, id)| id));
    }
    let mut absent = HashSet::new();
    for segment in repository.read_segments()?.good {
        absent.extend(segment.packs.iter().map(|pack| pack.id).filter(|id| !listed.contains(id)));
    }
    Ok(absent)
}

/// Puts one segment in the place of those of a group, unless it would say just the same.
fn put_merged(repository: &Repository, group: Vec<Part>, absent: &HashSet<PackId>, old: &HashSet<ObjectName>) -> Result<u64> {
    if group.is_empty() {
        return Ok(0);
    }
    // Records behind the segments that were read. Only a pack that one of them names, and that is gone, is left out: any other may be a
    // pack whose listing is behind, or whose deletion somebody else regrets.
    let records = repository.records(&Records::default())?;
    let packs: BTreeMap<PackId, _> = group.iter().flat_map(|part| &part.segment.packs).map(|pack| (pack.id, pack.class)).collect();
    let named: Vec<_> = packs.iter().filter(|(id, _)| records.name(id)).collect();
    let names = named.iter().map(|(id, class)| ObjectName::pack(**class, id)).collect();
    let there: HashSet<PackId> =
        there(repository.origin(), names)?.iter().filter_map(|object| object.name.as_pack()).map(|(_, id)| id).collect();
    let gone: HashSet<PackId> = named.iter().map(|(id, _)| **id).filter(|id| !there.contains(id)).chain(absent.iter().copied()).collect();
    if group.len() == 1 && gone.is_empty() && !old.contains(&group[0].name) {
        return Ok(0);
    }
    let parts: Vec<ObjectName> = group.iter().map(|part| part.name.clone()).collect();
    let mut taken: BTreeSet<PackId> = BTreeSet::new();
    let mut rest = Vec::new();
    for part in group {
        rest.extend(part.segment.only(|pack| !gone.contains(&pack.id) && !taken.contains(&pack.id)));
        taken.extend(part.segment.packs.iter().map(|pack| pack.id));
    }
    let deleted: Vec<ObjectName> = if faults::seeded("merge-deletes-all") {
        repository.listed(ObjectType::Segment, "index")?.into_iter().map(|object| object.name).collect()
    } else {
        parts
    };
    if faults::seeded("merge-deletes-first") {
        deleted.iter().try_for_each(|name| repository.store().delete(name))?;
    }
    if let Some(segment) = Segment::joined(rest) {
        repository.put_segment(&segment)?;
        repository.confirm(&deleted)?;
    }
    deleted.iter().try_for_each(|name| repository.store().delete(name))?;
    Ok(deleted.len() as u64)
}

/// Folds records once there are many: one that names all that they name, and sorts behind all of them, comes before they go.
fn fold(repository: &Repository) -> Result<u64> {
    let records = repository.records(&Records::default())?;
    if records.count() < RECORDS_MAX {
        return Ok(0);
    }
    // With its order goes what stands behind it: that the newest stay.
    let parts = if faults::seeded("fold-page-order") { records.iter().collect() } else { records.to_fold(RECORDS_KEPT, RECORD_PACKS_MAX) };
    if parts.len() < 2 {
        return Ok(0);
    }
    let mut folds: BTreeSet<ObjectId> = parts.iter().filter_map(|(name, _)| name.as_record()).map(|(_, id)| id).collect();
    // With what they had folded: somebody may have seen those.
    folds.extend(parts.iter().flat_map(|(_, record)| record.folds.iter().copied()));
    let mut packs: BTreeMap<PackId, _> = BTreeMap::new();
    for pack in parts.iter().flat_map(|(_, record)| &record.packs) {
        packs.insert(pack.id, pack.clone());
    }
    let sequence = if faults::seeded("fold-page-order") { 0 } else { records.next_sequence() };
    let record = Record {
        sequence,
        packs: packs.into_values().collect(),
        seen: records.ids(),
        folds: folds.into_iter().collect(),
        time: parts.iter().map(|(_, record)| record.time).max().unwrap_or(Time::default()),
        extra: Vec::new(),
    };
    let name = ObjectName::record(sequence, &ObjectId::new(random()?));
    let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Record, &record)?;
    repository.store().put(&name, &object)?;
    repository.confirm(&[])?;
    parts.iter().try_for_each(|(name, _)| repository.store().delete(name))?;
    Ok(parts.len() as u64)
}
