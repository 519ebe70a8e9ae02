//! Small objects that do not open: what a copy of this repository says of them, or what can be told without it, is put under a new name, and
//! the damaged object goes behind that. It must never make a forgotten snapshot visible, end a hold, or let a condemned pack be used again:
//! where it cannot tell, the object stays, and is spoken of.

use crate::clock;
use crate::error::{Error, Result};
use crate::format::object::ObjectType;
use crate::format::protocol::{Hold, Note, Record, Release, Tombstone};
use crate::format::wire::Wire;
use crate::id::{ObjectId, ObjectName, SnapshotId, WriterId};
use crate::limits::{RECORD_BYTES_MAX, RECORD_PACKS_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::repair::RepairReport;
use crate::repair::entrance::{Spare, locks};
use crate::repair::roots::for_good;
use crate::repository::Repository;
use crate::seal::key::{decode_keyring, decode_slot};
use crate::seal::object::{open_object, seal_object};
use crate::seal::random;
use crate::store::{each, reread};
use std::collections::{BTreeSet, HashSet};

/// Objects that are looked at together: each may be as long as its bound.
const BATCH: usize = 32;

/// What heals small objects.
pub struct Objects<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Copies of it: repositories of the same id.
    pub copies: Vec<&'a Repository>,
    /// Nothing is put or deleted.
    pub dry_run: bool,
}

/// Objects of one type, those that do not open with why.
type Read<T> = Vec<(ObjectName, Result<T>)>;

impl Objects<'_> {
    fn open<T: Wire>(&self, at: &Repository, name: &ObjectName, kind: ObjectType) -> Result<T> {
        let bytes_max = if kind == ObjectType::Record { RECORD_BYTES_MAX } else { SMALL_OBJECT_BYTES_MAX };
        let (store, own) = (at.origin(), self.repository);
        reread(store, name, || open_object::<T>(own.keys(), &own.id(), name, kind, &store.get(name, bytes_max)?))
    }

    fn read<T: Wire + Send>(&self, kind: ObjectType, folder: &str) -> Result<Read<T>> {
        let listed = self.repository.listed(kind, folder)?;
        let mut all = Vec::new();
        for batch in listed.chunks(BATCH) {
            let read = each(self.repository.origin(), batch, |listed| self.open::<T>(self.repository, &listed.name, kind));
            for (listed, read) in batch.iter().zip(read) {
                match read {
                    Err(error) if error.is_missing() => {}
                    Err(error) if !error.is_damage() => return Err(error),
                    read => all.push((listed.name.clone(), read)),
                }
            }
        }
        Ok(all)
    }

    /// What a copy of this repository says of an object.
    fn copied<T: Wire>(&self, name: &ObjectName, kind: ObjectType) -> Option<T> {
        self.copies.iter().find_map(|copy| self.open::<T>(copy, name, kind).ok())
    }

    /// Puts what an object said under another name, and only then takes the damaged one away: at no time it says less than before.
    fn renew<T: Wire>(&self, old: &ObjectName, kind: ObjectType, body: &T, report: &mut RepairReport) -> Result<()> {
        if !self.dry_run {
            let new = renamed(old)?;
            let object = seal_object(self.repository.keys(), &self.repository.id(), &new, kind, body)?;
            self.repository.store().put(&new, &object)?;
            self.repository.confirm(&[])?;
            self.repository.store().delete(old)?;
        }
        report.objects_healed.push(old.clone());
        Ok(())
    }

    /// Renews what a copy has, and takes away what says nothing any more.
    fn renew_or_drop<T: Wire>(&self, name: &ObjectName, kind: ObjectType, error: &Error, report: &mut RepairReport) -> Result<()> {
        match self.copied::<T>(name, kind) {
            Some(body) => self.renew(name, kind, &body, report),
            None => {
                report.objects_lost.push((name.clone(), error.to_string()));
                self.drop(name, report)
            }
        }
    }

    /// Takes away what says nothing that others do not say.
    pub fn drop(&self, old: &ObjectName, report: &mut RepairReport) -> Result<()> {
        if !self.dry_run {
            self.repository.store().delete(old)?;
        }
        report.objects_dropped.push(old.clone());
        Ok(())
    }

    /// Records, before anything else: nobody can work beside one that does not open. What a copy says of it goes into a new one, as when
    /// records are folded; without a copy nobody knows which packs must not be used, and it stays.
    pub fn records(&self, report: &mut RepairReport) -> Result<()> {
        const KIND: ObjectType = ObjectType::Record;
        let all = self.read::<Record>(KIND, "records")?;
        let there: Vec<ObjectId> = all.iter().filter_map(|(name, _)| name.as_record()).map(|(_, id)| id).collect();
        let good = || all.iter().filter_map(|(_, read)| read.as_ref().ok());
        let folded: HashSet<ObjectId> = good().flat_map(|record| record.folds.iter().copied()).collect();
        // Those that do not open, and those that somebody has seen and that are gone.
        let mut wrong: Vec<(ObjectName, Option<Record>)> = Vec::new();
        for (name, read) in &all {
            match read {
                Err(error) if for_good(error) => wrong.push((name.clone(), self.copied(name, KIND))),
                _ => {}
            }
        }
        let lost: HashSet<ObjectId> =
            good().flat_map(|record| record.seen.iter().copied()).filter(|id| !there.contains(id) && !folded.contains(id)).collect();
        if !lost.is_empty() {
            for copy in &self.copies {
                for name in copy.listed(KIND, "records")?.into_iter().map(|listed| listed.name) {
                    if name.as_record().is_some_and(|(_, id)| lost.contains(&id)) && !wrong.iter().any(|(known, _)| *known == name) {
                        wrong.push((name.clone(), self.copied(&name, KIND)));
                    }
                }
            }
        }
        // One that was killed here had folded it, and not taken it away.
        let (spent, wrong): (Vec<_>, Vec<_>) =
            wrong.into_iter().partition(|(name, _)| name.as_record().is_some_and(|(_, id)| folded.contains(&id)));
        spent.iter().try_for_each(|(name, _)| self.drop(name, report))?;
        let mut next = all.iter().filter_map(|(name, _)| name.as_record()).map(|(sequence, _)| sequence).max().unwrap_or(0);
        for (name, copy) in wrong {
            let (Some((_, id)), Some(copy)) = (name.as_record(), copy.filter(|copy| copy.packs.len() <= RECORD_PACKS_MAX)) else {
                if let Some((_, Err(error))) = all.iter().find(|(known, _)| *known == name) {
                    report.objects_lost.push((name, error.to_string()));
                }
                continue;
            };
            next = next.saturating_add(1);
            let folds = [&[id][..], &copy.folds].concat();
            let record = Record { sequence: next, packs: copy.packs, seen: there.clone(), folds, time: copy.time, extra: Vec::new() };
            if !self.dry_run {
                let new = ObjectName::record(next, &ObjectId::new(random()?));
                let object = seal_object(self.repository.keys(), &self.repository.id(), &new, KIND, &record)?;
                self.repository.store().put(&new, &object)?;
                self.repository.confirm(&[])?;
                self.repository.store().delete(&name)?;
            }
            report.objects_healed.push(name);
        }
        Ok(())
    }

    /// Snapshots that are missed and of which a copy says that they are forgotten: it is the tombstone that is gone. Whether there was any.
    pub fn forgotten_elsewhere(&self, lost: &HashSet<SnapshotId>, report: &mut RepairReport) -> Result<bool> {
        let mut found = HashSet::new();
        for copy in self.copies.iter().filter(|_| !lost.is_empty()) {
            for name in copy.listed(ObjectType::Tombstone, "forgotten")?.into_iter().map(|listed| listed.name) {
                let Some(id) = name.as_tombstone().filter(|id| lost.contains(id)) else { continue };
                if self.open::<Tombstone>(copy, &name, ObjectType::Tombstone).is_err() || !found.insert(id) {
                    continue;
                }
                if !self.dry_run {
                    // The same bytes under the same name, which is always right.
                    self.repository.store().put(&name, &copy.origin().get(&name, SMALL_OBJECT_BYTES_MAX)?)?;
                }
                report.objects_healed.push(name);
            }
        }
        Ok(!found.is_empty())
    }

    /// Holds, releases and notes: before snapshots come back, for what they say of an old one goes over to the new one.
    pub fn about_snapshots(&self, report: &mut RepairReport) -> Result<()> {
        self.holds(report)?;
        for (name, read) in self.read::<Note>(ObjectType::Note, "notes")? {
            let Some(Err(error)) = Some(read).filter(|read| read.as_ref().is_err_and(for_good)) else { continue };
            // What it said is gone where no copy has it: a tag, a date. Nothing that a snapshot needs hangs on it.
            self.renew_or_drop::<Note>(&name, ObjectType::Note, &error, report)?;
        }
        Ok(())
    }

    /// Tombstones, features, slots and keyrings.
    pub fn others(&self, place_of: &dyn Fn(&SnapshotId) -> Option<(WriterId, u64)>, report: &mut RepairReport) -> Result<()> {
        self.tombstones(place_of, report)?;
        self.named(report)
    }

    /// A damaged tombstone still says by its name which snapshot is forgotten; the place of that in the ledger others may have noted.
    fn tombstones(&self, place_of: &dyn Fn(&SnapshotId) -> Option<(WriterId, u64)>, report: &mut RepairReport) -> Result<()> {
        const KIND: ObjectType = ObjectType::Tombstone;
        let all = self.read::<Tombstone>(KIND, "forgotten")?;
        let said: HashSet<SnapshotId> = all.iter().filter_map(|(_, read)| Some(read.as_ref().ok()?.snapshot)).collect();
        for (name, read) in all {
            let Some(Err(error)) = Some(read).filter(|read| read.as_ref().is_err_and(for_good)) else { continue };
            let Some(snapshot) = name.as_tombstone() else { continue };
            if said.contains(&snapshot) {
                // Another one says all that it did.
                self.drop(&name, report)?;
                continue;
            }
            let manifest = || self.repository.read_manifest(&ObjectName::snapshot(&snapshot)).ok().map(|(index, _)| index);
            let tombstone = |(writer, sequence), previous, heads| Tombstone {
                snapshot,
                writer,
                sequence,
                previous,
                heads,
                time: clock::now(),
                reason: "forget".to_owned(),
                extra: Vec::new(),
            };
            let body = self.copied::<Tombstone>(&name, KIND).filter(|copy| copy.snapshot == snapshot);
            let body = body.or_else(|| manifest().map(|index| tombstone((index.writer, index.sequence), index.previous, index.heads)));
            match body.or_else(|| place_of(&snapshot).map(|place| tombstone(place, None, Vec::new()))) {
                Some(body) => self.renew(&name, KIND, &body, report)?,
                None => report.objects_lost.push((name, error.to_string())),
            }
        }
        Ok(())
    }

    /// A hold that does not open holds for ever: to release it is a word, to miss it may be a year's backups.
    fn holds(&self, report: &mut RepairReport) -> Result<()> {
        let releases = self.read::<Release>(ObjectType::Release, "releases")?;
        let released: HashSet<ObjectId> =
            releases.iter().filter_map(|(_, read)| read.as_ref().ok()).flat_map(|r| r.holds.clone()).collect();
        for (name, read) in self.read::<Hold>(ObjectType::Hold, "holds")? {
            if !read.is_err_and(|error| for_good(&error)) {
                continue;
            }
            let id = name.last().rsplit('-').next().and_then(ObjectId::from_hex);
            if id.is_some_and(|id| released.contains(&id)) {
                self.drop(&name, report)?;
                continue;
            }
            let snapshot = name.last().split('-').next().and_then(SnapshotId::from_hex);
            let unread = |snapshot| Hold {
                snapshot,
                reason: "a hold that could not be read".to_owned(),
                until: None,
                time: clock::now(),
                extra: Vec::new(),
            };
            let copy = self.copied::<Hold>(&name, ObjectType::Hold).filter(|copy| Some(copy.snapshot) == snapshot);
            if let Some(hold) = copy.or(snapshot.map(unread)) {
                self.renew(&name, ObjectType::Hold, &hold, report)?;
            }
        }
        for (name, read) in releases {
            let Some(Err(error)) = Some(read).filter(|read| read.as_ref().is_err_and(for_good)) else { continue };
            // Where no copy has it, the holds that it released count again, as long as nobody releases them once more.
            self.renew_or_drop::<Release>(&name, ObjectType::Release, &error, report)?;
        }
        Ok(())
    }

    /// Objects that are nothing under another name: a copy's bytes take the place of what is of no use to anybody, and of what is missing
    /// where it was not taken away on purpose.
    fn named(&self, report: &mut RepairReport) -> Result<()> {
        let own = self.repository;
        let mut back: BTreeSet<ObjectName> = BTreeSet::new();
        for copy in &self.copies {
            for spare in locks(own.origin(), copy)? {
                if back.insert(spare.name.clone()) && !self.dry_run {
                    spare.put(own.store())?;
                }
            }
        }
        let opens = |at: &Repository, kind: ObjectType, name: &ObjectName| -> Result<Vec<u8>> {
            reread(at.origin(), name, || {
                let bytes = at.origin().get(name, SMALL_OBJECT_BYTES_MAX)?;
                match kind {
                    ObjectType::Slot => drop(decode_slot(name, &bytes)?),
                    ObjectType::Keyring => drop(decode_keyring(name, &bytes)?),
                    _ => drop(open_object::<crate::format::repo::Feature>(own.keys(), &own.id(), name, kind, &bytes)?),
                }
                Ok(bytes)
            })
        };
        for (kind, folder) in [(ObjectType::Slot, "slots"), (ObjectType::Keyring, "keyring"), (ObjectType::Feature, "features")] {
            let mut names: BTreeSet<ObjectName> = own.listed(kind, folder)?.into_iter().map(|listed| listed.name).collect();
            // No feature is ever taken away: one that a copy has and that is not here was lost.
            for copy in self.copies.iter().filter(|_| kind == ObjectType::Feature) {
                names.extend(copy.listed(kind, folder)?.into_iter().map(|listed| listed.name));
            }
            for name in names.difference(&back.clone()).cloned() {
                let Err(error) = opens(own, kind, &name) else { continue };
                let is_gone = kind == ObjectType::Feature && error.is_missing();
                if !is_gone && !for_good(&error) {
                    continue;
                }
                match self.copies.iter().find_map(|copy| opens(copy, kind, &name).ok()) {
                    Some(bytes) => {
                        let spare = Spare { name, bytes, is_taken: !is_gone };
                        if !self.dry_run {
                            spare.put(own.store())?;
                        }
                        back.insert(spare.name);
                    }
                    None => report.objects_lost.push((name, error.to_string())),
                }
            }
        }
        report.objects_healed.extend(back);
        Ok(())
    }
}

/// Another name for an object of the same type about the same thing.
fn renamed(old: &ObjectName) -> Result<ObjectName> {
    let about = old.last().split('-').next().unwrap_or_default();
    let name = format!("{}/{about}-{}", old.folder(), ObjectId::new(random()?));
    ObjectName::parse(&name).ok_or(Error::SelfCheck { what: "the name of an object" })
}
