//! Records: what collections condemned. A pack that one of them names is never used again, by anyone (spec chapter 7).
//! A record that another one has seen, and that the listing lacks, means a short listing: nothing may be decided by it.

use crate::error::{Damage, Error, Result};
use crate::faults;
use crate::format::object::ObjectType;
use crate::format::protocol::{Condemned, Record};
use crate::format::wire::Time;
use crate::id::{Class, ObjectId, ObjectName, PackId};
use crate::limits::RECORD_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::{open_object, seal_object};
use crate::seal::random;
use crate::store::{Listed, each, reread};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How often records are listed where one that was seen is not listed.
const LISTINGS: u32 = 3;

/// The records of a repository, as one listing showed them.
#[derive(Clone, Debug, Default)]
pub struct Records {
    read: BTreeMap<ObjectName, Arc<Record>>,
    packs: HashSet<PackId>,
}

impl Records {
    fn new(read: BTreeMap<ObjectName, Arc<Record>>) -> Self {
        let packs = read.values().flat_map(|record| record.packs.iter().map(|pack| pack.id)).collect();
        Records { read, packs }
    }

    /// Whether a record names this pack: then nobody may rely on it any more.
    pub fn name(&self, pack: &PackId) -> bool {
        self.packs.contains(pack)
    }

    /// The packs that they name.
    pub fn packs(&self) -> &HashSet<PackId> {
        &self.packs
    }

    /// Each with its name, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Record)> {
        self.read.iter().map(|(name, record)| (name, &**record))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.read.len()
    }

    /// The random parts of their names.
    pub fn ids(&self) -> Vec<ObjectId> {
        self.read.keys().filter_map(|name| name.as_record()).map(|(_, id)| id).collect()
    }

    /// Whether a record is among them, or was folded into one of them.
    pub fn speak_of(&self, id: &ObjectId) -> bool {
        self.ids().contains(id) || self.read.values().any(|record| record.folds.contains(id))
    }

    /// Those that may be folded into one: of all but the `newest` those that one of these has seen, as long as together they name no more
    /// than `room` packs. A record that was put late, by a collector that slept, may sort before others that have not seen it; a listing of
    /// a directory may lack both it and what it was folded into, and who has seen it must be there to show the hole (the protocol's model:
    /// `fold-unseen`). A record that nobody can read would stop everybody, so what would make it too large stays as it is.
    pub fn to_fold(&self, newest: usize, mut room: usize) -> Vec<(&ObjectName, &Record)> {
        let old = self.count().saturating_sub(newest);
        let seen: HashSet<ObjectId> = self.iter().skip(old).flat_map(|(_, record)| record.seen.iter().copied()).collect();
        let is_seen = |(name, _): &(&ObjectName, &Record)| name.as_record().is_some_and(|(_, id)| seen.contains(&id));
        let fits = |(_, record): &(&ObjectName, &Record)| {
            let left = room.checked_sub(record.packs.len());
            room = left.unwrap_or(room);
            left.is_some()
        };
        self.iter().take(old).filter(is_seen).filter(fits).collect()
    }

    /// The number of the next one.
    pub fn next_sequence(&self) -> u64 {
        self.read.keys().filter_map(|name| name.as_record()).map(|(sequence, _)| sequence).max().unwrap_or(0).saturating_add(1)
    }

    /// A record that one of these has seen, that none folds and that is not among them: it, and by whom it is known.
    pub fn lost(&self) -> Option<(ObjectId, &ObjectName)> {
        let there: HashSet<ObjectId> = self.ids().into_iter().chain(self.read.values().flat_map(|r| r.folds.iter().copied())).collect();
        self.iter().find_map(|(name, record)| Some((*record.seen.iter().find(|id| !there.contains(id))?, name)))
    }
}

impl Repository {
    /// The records that there are now; those in `known` are not read again, for a record never changes.
    #[doc(hidden)]
    pub fn records(&self, known: &Records) -> Result<Records> {
        let mut round = 0;
        loop {
            round += 1;
            let listed = self.listed(ObjectType::Record, "records")?;
            let read = each(self.store(), &listed, |listed| self.record(listed, known));
            // Folded between the listing and the read: the folded one came before, a new listing shows it.
            if round < LISTINGS && read.iter().any(|read| matches!(read, Err(error) if error.is_missing())) {
                continue;
            }
            let read = listed.into_iter().zip(read).map(|(listed, read)| Ok((listed.name, read?))).collect::<Result<_>>()?;
            let records = Records::new(read);
            match records.lost().filter(|_| !faults::seeded("short-records-trusted")) {
                None => return Ok(records),
                Some((record, known_by)) if round >= LISTINGS => return Err(Error::RecordLost { record, known_by: known_by.clone() }),
                Some(_) => {}
            }
        }
    }

    fn record(&self, listed: &Listed, known: &Records) -> Result<Arc<Record>> {
        if let Some(record) = known.read.get(&listed.name) {
            return Ok(record.clone());
        }
        reread(self.store(), &listed.name, || {
            let bytes = self.store().get(&listed.name, RECORD_BYTES_MAX)?;
            let record: Record = open_object(self.keys(), &self.id(), &listed.name, ObjectType::Record, &bytes)?;
            match listed.name.as_record() {
                Some((sequence, _)) if sequence == record.sequence => Ok(Arc::new(record)),
                _ => Err(Error::damaged(&listed.name, Damage::Name)),
            }
        })
    }

    /// Puts a record that condemns `packs`, and returns its id. From here on nobody uses them; what of them is needed has been copied out
    /// before, and is durable and indexed. An outcome that is not known ends the run: a later one finds the record, or does not.
    #[doc(hidden)]
    pub fn condemn(&self, records: &Records, packs: impl Iterator<Item = (Class, PackId)>) -> Result<ObjectId> {
        let record = Record {
            sequence: records.next_sequence(),
            packs: packs.map(|(class, id)| Condemned { class, id, extra: Vec::new() }).collect(),
            seen: records.ids(),
            folds: Vec::new(),
            time: Time::from_nanos(self.origin().now()?),
            extra: Vec::new(),
        };
        let id = ObjectId::new(random()?);
        let name = ObjectName::record(record.sequence, &id);
        let object = seal_object(self.keys(), &self.id(), &name, ObjectType::Record, &record)?;
        self.store().put(&name, &object)?;
        self.confirm(&[])?;
        Ok(id)
    }

    /// Whether the listing shows exactly these records. One request, and all that a CHECK needs where nothing was condemned meanwhile.
    #[doc(hidden)]
    pub fn no_record_is_new(&self, known: &Records) -> Result<bool> {
        let listed = self.listed(ObjectType::Record, "records")?;
        Ok(listed.len() == known.read.len() && listed.iter().all(|listed| known.read.contains_key(&listed.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8, seen: &[u8], folds: &[u8]) -> (ObjectName, Arc<Record>) {
        let ids = |ids: &[u8]| ids.iter().map(|id| ObjectId::new([*id; 16])).collect();
        let body =
            Record { sequence: n.into(), packs: vec![], seen: ids(seen), folds: ids(folds), time: Default::default(), extra: vec![] };
        (ObjectName::record(n.into(), &ObjectId::new([n; 16])), Arc::new(body))
    }

    #[test]
    fn what_is_folded_can_still_be_read_and_was_seen() {
        let packs = |n: u8, count: u8, seen: &[u8]| {
            let (name, body) = record(n, seen, &[]);
            let pack = |at| Condemned { class: Class::Data, id: PackId::new([at; 32]), extra: vec![] };
            (name, Arc::new(Record { packs: (0..count).map(pack).collect(), ..Record::clone(&body) }))
        };
        let all = |seen: &[u8]| {
            let list = [packs(1, 3, &[]), packs(2, 90, &[1]), packs(3, 4, &[]), packs(4, 4, &[1, 2]), packs(5, 1, seen)];
            Records::new(list.into_iter().collect())
        };
        let sequences = |records: &Records, newest, room| records.to_fold(newest, room).iter().map(|(_, r)| r.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(&all(&[1, 2, 3, 4]), 1, 200), [1, 2, 3, 4]);
        // The large one stays as it is, and stands in nobody's way.
        assert_eq!(sequences(&all(&[1, 2, 3, 4]), 1, 10), [1, 3]);
        assert_eq!(sequences(&all(&[1, 2, 3, 4]), 9, 10), [0; 0]);
        // The third was put by a collector that had slept: the others do not know of it.
        assert_eq!(sequences(&all(&[1, 2, 4]), 1, 200), [1, 2, 4]);
        assert_eq!(sequences(&all(&[1, 2, 4]), 2, 200), [1, 2]);
    }

    #[test]
    fn a_hole_in_the_listing_is_seen_unless_it_was_folded() {
        let of = |list: Vec<(ObjectName, Arc<Record>)>| Records::new(list.into_iter().collect());
        let (one, two, three) = (record(1, &[], &[]), record(2, &[1], &[]), record(3, &[1, 2], &[]));
        assert!(of(vec![one.clone(), two.clone(), three.clone()]).lost().is_none());
        assert!(of(vec![one, three.clone()]).lost().is_some_and(|(id, _)| id == ObjectId::new([2; 16])));
        assert!(of(vec![three.clone(), record(4, &[1, 2, 3], &[1, 2])]).lost().is_none());
        let folded = of(vec![three.clone(), record(4, &[1, 2, 3], &[1, 2])]);
        let spoken_of = [1, 2, 3, 4, 5].map(|id| folded.speak_of(&ObjectId::new([id; 16])));
        assert_eq!(spoken_of, [true, true, true, true, false]);
        // The newest one cannot be missed by anybody.
        assert_eq!(of(vec![two, three]).next_sequence(), 4);
    }
}
