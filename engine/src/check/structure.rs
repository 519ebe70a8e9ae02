//! Every object but the packs: listed, read, authenticated, decoded, and held against its name.
//! The order of the listings is that of the protocol, so that a check beside a running backup or collection sees nothing that is not wrong.

use crate::check::findings::{FindingId, Findings, Warning};
use crate::check::is_about_an_object;
use crate::check::memory::Memory;
use crate::error::{Damage, Error, Result};
use crate::format::manifest::{IndexPart, IndexRoot, NamesPart};
use crate::format::object::{ObjectType, Purpose};
use crate::format::protocol::{Hold, Note, Record, Release, Tombstone};
use crate::format::repo::Feature;
use crate::format::segment::SegmentPack;
use crate::format::wire::{Time, Wire};
use crate::id::{Class, ObjectId, ObjectName, PackId, SnapshotId, hex};
use crate::index::Index;
use crate::limits::{RECORD_BYTES_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::repository::ledger::{LedgerRow, Watermark};
use crate::repository::{Repository, SEGMENT_LISTINGS, note_fits};
use crate::seal::key::{decode_keyring, decode_slot};
use crate::seal::object::{decode_descriptor, open_object};
use crate::store::{Listed, each, each_busy, reread, there};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Manifests that are read at once: ten thousand must not be in memory together with their names.
const OBJECTS_BATCH: usize = 32;
const MANIFESTS_BATCH: usize = 256;

/// A manifest, as far as it is walked.
pub struct Manifest {
    pub name: ObjectName,
    pub id: SnapshotId,
    /// The roots, streams with their path.
    pub roots: Vec<(IndexRoot, Vec<u8>)>,
}

/// What the objects besides the packs say.
pub struct Structure {
    pub snapshots: Vec<Manifest>,
    pub pendings: Vec<Manifest>,
    /// Snapshots whose manifest is listed, readable or not.
    pub listed: HashSet<SnapshotId>,
    /// Snapshots that have a tombstone, readable or not.
    pub forgotten: HashSet<SnapshotId>,
    pub ledger: Vec<LedgerRow>,
    /// Some manifest or tombstone does not open: what it said of the ledger is not known.
    pub ledger_is_torn: bool,
    pub segments: u64,
    pub index: Index,
    /// The first segment that does not open: packs that no other segment names may have been in it.
    pub bad_segment: Option<FindingId>,
    /// The packs of the store.
    pub packs: BTreeMap<(Class, PackId), u64>,
    pub condemned: HashSet<PackId>,
    /// When packs were verified, and put.
    pub memory: Memory,
    pub foreign: BTreeSet<ObjectName>,
}

/// Reads and authenticates objects one by one; what is wrong goes to the findings.
struct Reader<'a> {
    repository: &'a Repository,
    findings: &'a Findings,
    foreign: BTreeSet<ObjectName>,
    /// Manifests that were listed and are not there.
    vanished: Vec<(SnapshotId, Error)>,
}

impl Reader<'_> {
    /// The objects of one type in `folder`; what is none is taken down as foreign.
    fn list(&mut self, kind: ObjectType, folder: &str) -> Result<Vec<Listed>> {
        let (ours, foreign): (Vec<_>, Vec<_>) =
            self.repository.origin().list(folder)?.into_iter().partition(|object| ObjectType::of(&object.name) == Some(kind));
        self.foreign.extend(foreign.into_iter().map(|object| object.name));
        Ok(ours)
    }

    /// `None` where the object is gone since the listing or does not open. What does not open is a finding.
    fn keep<T>(&self, read: Result<T>, snapshot: Option<SnapshotId>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            // Deleted since the listing: collected, merged or committed. If it was not, what needs it says so.
            Err(error) if error.is_missing() => Ok(None),
            Err(error) if is_about_an_object(&error) => {
                let at = self.findings.add(error);
                if let Some(snapshot) = snapshot {
                    self.findings.hurts(at, snapshot);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a type. `fits` says whether what is inside agrees with the name.
    fn all<T: Wire + Send>(
        &mut self,
        kind: ObjectType,
        folder: &str,
        fits: impl Fn(&ObjectName, &T) -> bool + Sync,
    ) -> Result<Vec<(ObjectName, T)>> {
        let mut out = Vec::new();
        let listed = self.list(kind, folder)?;
        let bytes_max = if kind == ObjectType::Record { RECORD_BYTES_MAX } else { SMALL_OBJECT_BYTES_MAX };
        let (store, keys, id) = (self.repository.origin(), self.repository.keys(), self.repository.id());
        let open = |Listed { name, .. }: &Listed| {
            reread(store, name, || {
                let body = open_object::<T>(keys, &id, name, kind, &store.get(name, bytes_max)?)?;
                if fits(name, &body) { Ok(body) } else { Err(Error::damaged(name, Damage::Name)) }
            })
        };
        // In batches: each object may be as long as its bound.
        for batch in listed.chunks(OBJECTS_BATCH) {
            for (Listed { name, .. }, read) in batch.iter().zip(each(store, batch, open)) {
                let snapshot = name.last().split('-').next().and_then(SnapshotId::from_hex);
                if let Some(body) = self.keep(read, snapshot.filter(|_| kind != ObjectType::Note))? {
                    out.push((name.clone(), body));
                }
            }
        }
        Ok(out)
    }

    /// Descriptor, slots and keyrings. This run's own slot and keyring copy opened already; of the others only the layout can be
    /// seen, for what is inside is sealed to their owners.
    fn keys(&mut self) -> Result<()> {
        let name = ObjectName::descriptor();
        let store = self.repository.origin();
        let read = reread(store, &name, || {
            let bytes = store.get(&name, SMALL_OBJECT_BYTES_MAX)?;
            let (descriptor, mac) = decode_descriptor(&name, &bytes)?;
            mac.verify(self.repository.keys().require(&name, Purpose::Gear, 0)?)?;
            if descriptor == *self.repository.descriptor() { Ok(()) } else { Err(Error::damaged(&name, Damage::Malformed("repository"))) }
        });
        match read {
            Err(error) if error.is_missing() => {
                self.findings.add(error);
            }
            read => {
                self.keep(read, None)?;
            }
        }
        for slot in self.list(ObjectType::Slot, "slots")? {
            let read = reread(store, &slot.name, || decode_slot(&slot.name, &store.get(&slot.name, SMALL_OBJECT_BYTES_MAX)?));
            self.keep(read, None)?;
        }
        for keyring in self.list(ObjectType::Keyring, "keyring")? {
            let read = reread(store, &keyring.name, || decode_keyring(&keyring.name, &store.get(&keyring.name, SMALL_OBJECT_BYTES_MAX)?));
            self.keep(read, None)?;
        }
        Ok(())
    }

    fn manifests(
        &mut self,
        names: &[ObjectName],
        id_of: impl Fn(&ObjectName) -> Option<SnapshotId>,
        mut take: impl FnMut(&Self, &ObjectName, SnapshotId, Option<(IndexPart, NamesPart)>),
    ) -> Result<()> {
        for batch in names.chunks(MANIFESTS_BATCH) {
            let read = |name: &ObjectName| self.repository.read_manifest(name);
            for (name, read) in batch.iter().zip(each_busy(self.repository.origin(), batch, read)) {
                let Some(id) = id_of(name) else { continue };
                let committed = (name.as_snapshot() == Some(id)).then_some(id);
                let read = match read {
                    Err(error) if error.is_missing() => {
                        self.vanished.extend(committed.map(|id| (id, error)));
                        continue;
                    }
                    read => read,
                };
                let read = self.keep(read, committed)?;
                take(self, name, id, read);
            }
        }
        Ok(())
    }

    /// The segments as one index, with what they disagree on.
    fn segments(&mut self) -> Result<(u64, Index, Option<FindingId>)> {
        let mut round = 0;
        loop {
            round += 1;
            let mut segments = Vec::new();
            let mut packs: HashMap<PackId, SegmentPack> = HashMap::new();
            let mut bad = None;
            let listed = self.list(ObjectType::Segment, "index")?;
            let read = each(self.repository.origin(), &listed, |object| self.repository.read_origin_segment(&object.name));
            // Merged away between the listing and the read: the merged segment came before, a new listing shows it. One that stays in the
            // listing (Garage shows what was deleted for minutes) holds nothing that another does not hold, or who needs it says so.
            if round < SEGMENT_LISTINGS && read.iter().any(|read| matches!(read, Err(error) if error.is_missing())) {
                continue;
            }
            for (Listed { name, .. }, read) in listed.into_iter().zip(read) {
                let segment = match read {
                    Ok(segment) => segment,
                    Err(error) if error.is_missing() => continue,
                    Err(error) if is_about_an_object(&error) => {
                        bad = bad.or(Some(self.findings.add(error)));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                for pack in &segment.packs {
                    let first = packs.entry(pack.id).or_insert_with(|| pack.clone());
                    if (first.class, first.bytes) != (pack.class, pack.bytes) {
                        self.findings.add(Error::damaged(&name, Damage::Index));
                    }
                }
                segments.push(segment);
            }
            return Ok((segments.len() as u64, Index::new(segments), bad));
        }
    }
}

/// Reads all that there is besides packs.
pub fn read(repository: &Repository, watermark: &Watermark, findings: &Findings) -> Result<Structure> {
    let mut reader = Reader { repository, findings, foreign: BTreeSet::new(), vanished: Vec::new() };
    reader.keys()?;
    // Roots first, pendings before snapshots (a commit moves them that way), and tombstones after both: what is forgotten meanwhile
    // is seen as forgotten, never as lost. Then the index, then the packs: whatever a root needs was there before it. Records last:
    // a pack that is missing from the listing was condemned before it was deleted.
    let names = |listed: Vec<Listed>| -> Vec<ObjectName> { listed.into_iter().map(|l| l.name).collect() };
    let pendings = names(reader.list(ObjectType::Pending, "pending")?);
    let committed = names(reader.list(ObjectType::Snapshot, "snapshots")?);
    let tombstones = reader.list(ObjectType::Tombstone, "forgotten")?;
    let forgotten: HashSet<SnapshotId> = tombstones.iter().filter_map(|l| l.name.as_tombstone()).collect();
    let mut listed: HashSet<SnapshotId> = committed.iter().filter_map(ObjectName::as_snapshot).collect();

    let mut ledger = Vec::new();
    let mut snapshots = Vec::new();
    let mut ledger_is_torn = false;
    let manifest = |name: &ObjectName, id, index: IndexPart, parts: NamesPart| {
        let paths = parts.roots.into_iter().map(|root| root.name.0);
        Manifest { name: name.clone(), id, roots: index.roots.into_iter().zip(paths).collect() }
    };
    // Whom this machine has seen, or a manifest vouches for, is asked for by name where the listing does not show it.
    let mut vouched: BTreeSet<SnapshotId> = watermark.snapshots().collect();
    let mut asked = HashSet::new();
    let (mut todo, mut unlisted) = (committed, 0);
    loop {
        vouched.retain(|id| !listed.contains(id) && !forgotten.contains(id) && asked.insert(*id));
        for Listed { name, .. } in there(repository.origin(), std::mem::take(&mut vouched).iter().map(ObjectName::snapshot).collect())? {
            unlisted += 1;
            listed.extend(name.as_snapshot());
            todo.push(name);
        }
        if todo.is_empty() {
            break;
        }
        reader.manifests(&std::mem::take(&mut todo), ObjectName::as_snapshot, |reader, name, id, read| match read {
            Some((index, parts)) => {
                let row = LedgerRow::from(&index);
                vouched.extend(row.vouches());
                ledger.push(row);
                // What hangs below a forgotten snapshot may be collected already.
                if !forgotten.contains(&id) {
                    snapshots.push(manifest(name, id, index, parts));
                }
            }
            None => {
                ledger_is_torn = true;
                reader.findings.tear();
            }
        })?;
    }
    ledger_is_torn |= lost_manifests(repository, std::mem::take(&mut reader.vanished), findings)?;
    if unlisted > 0 {
        findings.warn(Warning::ListingShort { folder: "snapshots", count: unlisted });
    }
    let mut walked = Vec::new();
    let mut left = 0;
    let now = repository.origin().now()?;
    reader.manifests(
        &pendings,
        |name| name.as_pending().map(|(id, _)| id),
        |reader, name, id, read| {
            let Some((index, parts)) = read else { return };
            let days = age_in_days(now, index.finished);
            if listed.contains(&id) {
                left += 1;
            } else if days >= PENDING_STALE_DAYS {
                reader.findings.warn(Warning::PendingStale { pending: name.clone(), days });
            } else {
                walked.push(manifest(name, id, index, parts));
            }
        },
    )?;
    if left > 0 {
        findings.warn(Warning::PendingCommitted { count: left });
    }
    let about = |name: &ObjectName, id: &[u8]| name.last().starts_with(&format!("{}-", hex(id)));
    let read = reader.all(ObjectType::Tombstone, "forgotten", |name, t: &Tombstone| about(name, t.snapshot.as_bytes()))?;
    ledger_is_torn |= read.len() < tombstones.len();
    ledger.extend(read.into_iter().map(|(_, tombstone)| LedgerRow::from(tombstone)));
    reader.all(ObjectType::Hold, "holds", |name, hold: &Hold| about(name, hold.snapshot.as_bytes()))?;
    reader.all(ObjectType::Release, "releases", |name, release: &Release| about(name, release.snapshot.as_bytes()))?;
    let mut memory = Memory::new(repository, now);
    for (name, note) in reader.all(ObjectType::Note, "notes", |name, note: &Note| note_fits(name, note))? {
        if note.fact().is_err() {
            reader.findings.add(Error::damaged(&name, Damage::Malformed("note")));
        }
        memory.note(&name, &note);
    }
    reader.all(ObjectType::Feature, "features", |name, feature: &Feature| feature.name == name.last())?;

    let (segments, index, bad_segment) = reader.segments()?;
    let mut packs = BTreeMap::new();
    for class in Class::ALL {
        for object in reader.list(ObjectType::pack(class), class.folder())? {
            if let Some((class, id)) = object.name.as_pack() {
                packs.insert((class, id), object.bytes);
                memory.listed(id, object.modified);
            }
        }
    }
    let unseen = index.packs().iter().filter(|pack| !packs.contains_key(&(pack.class, pack.id)));
    let found = there(repository.origin(), unseen.map(|pack| ObjectName::pack(pack.class, &pack.id)).collect())?;
    for class in Class::ALL {
        let of_class = found.iter().filter(|pack| pack.name.folder() == class.folder());
        let count = of_class.filter_map(|pack| Some(packs.insert(pack.name.as_pack()?, pack.bytes))).count() as u64;
        if count > 0 {
            findings.warn(Warning::ListingShort { folder: class.folder(), count });
        }
    }
    let records =
        reader.all(ObjectType::Record, "records", |name, r: &Record| name.last().starts_with(&format!("{:016x}-", r.sequence)))?;
    let condemned = records.iter().flat_map(|(_, r)| r.packs.iter().map(|p| p.id)).collect();
    lost_records(repository, &records, findings)?;
    open_records(&records, &packs, now, findings);
    Ok(Structure {
        snapshots,
        pendings: walked,
        listed,
        forgotten,
        ledger,
        ledger_is_torn,
        segments,
        index,
        bad_segment,
        packs,
        condemned,
        memory,
        foreign: reader.foreign,
    })
}

/// Manifests that were listed and could not be had: forgotten and collected meanwhile, or lost. Whether any is lost.
fn lost_manifests(repository: &Repository, vanished: Vec<(SnapshotId, Error)>, findings: &Findings) -> Result<bool> {
    if vanished.is_empty() {
        return Ok(false);
    }
    let tombstones = repository.listed(ObjectType::Tombstone, "forgotten")?;
    let forgotten: HashSet<SnapshotId> = tombstones.iter().filter_map(|l| l.name.as_tombstone()).collect();
    let mut lost = false;
    for (id, error) in vanished.into_iter().filter(|(id, _)| !forgotten.contains(id)) {
        findings.hurts(findings.add(error), id);
        lost = true;
    }
    Ok(lost)
}

/// Pendings that are older are no roots any more (spec chapter 7).
const PENDING_STALE_DAYS: u64 = 14;

fn age_in_days(now: i64, time: Time) -> u64 {
    let age = time.as_nanos().map_or(0, |then| now.saturating_sub(then));
    u64::try_from(age / (86_400 * 1_000_000_000)).unwrap_or(0)
}

/// A collection deletes what it condemned a day later at the earliest; who collects at all does it within the week.
const RECORD_OPEN_DAYS: u64 = 8;

/// Records whose packs should be gone by now.
fn open_records(records: &[(ObjectName, Record)], packs: &BTreeMap<(Class, PackId), u64>, now: i64, findings: &Findings) {
    for (name, record) in records {
        let days = age_in_days(now, record.time);
        let there = record.packs.iter().filter_map(|pack| packs.get(&(pack.class, pack.id)));
        let (count, bytes) = there.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if count > 0 && days >= RECORD_OPEN_DAYS {
            findings.warn(Warning::RecordOpen { record: name.clone(), packs: count, bytes, days });
        }
    }
}

/// A record that another one has seen, that none folds and that is not listed: a short listing, or someone deleted it.
fn lost_records(repository: &Repository, records: &[(ObjectName, Record)], findings: &Findings) -> Result<()> {
    let listed = repository.listed(ObjectType::Record, "records")?;
    let there: HashSet<ObjectId> = listed.iter().filter_map(|l| l.name.as_record()).map(|(_, id)| id).collect();
    let folded: HashSet<ObjectId> = records.iter().flat_map(|(_, r)| r.folds.iter().copied()).collect();
    for (name, record) in records {
        for id in record.seen.iter().filter(|id| !there.contains(id) && !folded.contains(id)) {
            findings.add(Error::RecordLost { record: *id, known_by: name.clone() });
        }
    }
    Ok(())
}
