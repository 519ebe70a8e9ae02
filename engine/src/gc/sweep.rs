//! Carrying a plan out (spec chapter 7, G2 to G5): copy, tell everybody, look again, and only then delete.
//! Every step may be the last one: what was copied is a copy more, what was condemned is finished by a later collection.

use crate::error::{Error, Result};
use crate::faults;
use crate::format::object::ObjectType;
use crate::format::segment::Segment;
use crate::gc::figures::Figures;
use crate::gc::plan::{Plan, is_over, mark};
use crate::gc::roots::Roots;
use crate::gc::{is_overtaken, merge};
use crate::id::{ObjectName, PackId, SnapshotId};
use crate::index::compact::{Copy, Rows};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::repack::{From, REFRAMED, Repacked, Seals, Take, repack};
use crate::pack::sink::{Sink, SinkOptions, Trouble, Written};
use crate::repository::Repository;
use crate::repository::grounds::{Grounds, State};
use crate::seal::random;
use crate::store::{each, each_busy};
use std::collections::HashSet;
use std::io::ErrorKind;

/// What a collection did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// What was planned.
    pub figures: Figures,
    /// What was taken out of packs.
    pub repacked: Repacked,
    /// Packs and bytes that were written for that.
    pub written: Written,
    /// Packs that this collection condemned.
    pub condemned: u64,
    /// Packs that were deleted.
    pub deleted_packs: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs that were condemned and are needed all the same: the next collection takes out what only they hold.
    pub spared_packs: u64,
    /// Manifests of forgotten snapshots that were deleted.
    pub deleted_manifests: u64,
    /// Notes about such snapshots that were deleted.
    pub deleted_notes: u64,
    /// Pending manifests that were deleted.
    pub deleted_pendings: u64,
    /// Objects that should go and that the store does not let go.
    pub refused_deletions: u64,
    /// Segments that went into others, or whose packs are gone.
    pub merged_segments: u64,
    /// Records that went into others.
    pub folded_records: u64,
    /// Bytes of packs after it.
    pub pack_bytes: u64,
}

/// Carries a plan out.
pub fn collect(repository: &Repository, plan: Plan, observer: &dyn Observer) -> Result<GcReport> {
    let collected = carry_out(repository, plan, observer);
    collected.map_err(|error| if is_overtaken(repository, &error) { Error::Overtaken } else { error })
}

fn carry_out(repository: &Repository, plan: Plan, observer: &dyn Observer) -> Result<GcReport> {
    let mut report = GcReport { figures: plan.figures.clone(), ..GcReport::default() };
    let Plan { options, watermark, mut roots, mut grounds, condemn, takes, spare, mut due, now, .. } = plan;
    let store = repository.store();
    // What killed runs left half-written takes room that this one may need: a disk may be full when space is to come back.
    store.sweep().map(|_| ()).unwrap_or(());
    if faults::seeded("remark-before-record") {
        roots = look_again(repository, &watermark, &mut grounds, roots, observer)?;
    }

    // G2. Before anything is condemned: whoever finds a pack named must find its chunks somewhere else.
    if !takes.is_empty() {
        let total = report.figures.read_bytes;
        let listed = takes.iter().map(|(number, chunks)| {
            let pack = &grounds.rows.packs()[*number as usize];
            Take { class: pack.class, pack: pack.id, chunks: chunks.clone() }
        });
        let trouble = Trouble::default();
        let put_segment = |segment: &Segment| repository.put_segment(segment);
        let targets =
            SinkOptions { compression: REFRAMED, data_pack_bytes: options.data_pack_bytes, meta_pack_bytes: options.meta_pack_bytes() };
        let session = SnapshotId::new(random()?);
        let sink = Sink::new(store, repository.keys(), targets, (repository.writer(), session), (&put_segment, &|_| Ok(())), &trouble);
        let go_on = |read| {
            observer.progress(&Progress { stage: Stage::Working, bytes_done: read, bytes_total: total, ..Progress::default() });
            !observer.interrupted()
        };
        let seals = if options.renew.is_some() { Seals::Renewed } else { Seals::Kept };
        let from = From { store, keys: repository.keys(), ids: repository.ids(), go_on: &go_on, spare, seals };
        report.repacked = repack(&sink, &from, listed, options.threads())?;
        report.written = sink.written();
        grounds.own = sink.into_packs().into_iter().collect();
        // A store that says yes and stores nothing has been seen: the copies must be there before the originals are given up.
        repository.confirm(&[])?;
    }
    if observer.interrupted() {
        return Err(Error::Interrupted);
    }

    observer.progress(&Progress { stage: Stage::Finishing, ..Progress::default() });
    let mut record = None;
    // G3. From here on nobody uses these packs. An outcome that is not known ends the run: a later one finds the record, or does not.
    let own: Vec<PackId> = condemn.iter().map(|number| grounds.rows.packs()[*number as usize].id).collect();
    if !own.is_empty() {
        let records = repository.records(&grounds.records)?;
        let packs = condemn.iter().map(|number| &grounds.rows.packs()[*number as usize]).map(|pack| (pack.class, pack.id));
        match repository.condemn(&records, packs) {
            Ok(id) => record = Some(id),
            Err(Error::Unreachable { .. }) if faults::seeded("record-unconfirmed") => {}
            Err(error) => return Err(error),
        }
        report.condemned = own.len() as u64;
        if options.grace.is_zero() {
            due.extend(&own);
        }
    }
    if faults::seeded("own-records-only-deleted") {
        due.retain(|id| own.contains(id));
    }

    // G4. Who commits reads the records behind its root; who collects reads the roots behind its record: one of them sees the other.
    let forgotten = roots.forgotten.iter().any(|(_, at)| is_over(now, *at, &options));
    if !due.is_empty() || forgotten || !roots.spent.is_empty() {
        let seen: HashSet<PackId> = grounds.records.packs().clone();
        if !faults::seeded("no-remark") && !faults::seeded("remark-before-record") {
            roots = look_again(repository, &watermark, &mut grounds, roots, observer)?;
        }
        // All rests on it that the newest records are listed. Where even the own one is not (and nobody has folded it while this process
        // was suspended), nothing is deleted.
        if record.is_some_and(|own| !grounds.records.speak_of(&own))
            && !faults::seeded("no-remark")
            && !faults::seeded("remark-before-record")
        {
            return Err(Error::ListIncomplete { folder: "records".to_owned(), why: "it does not show what was just put there" });
        }
        if faults::seeded("late-record-deleted") {
            due.extend(grounds.records.packs().difference(&seen));
        }
        let taken: HashSet<u32> = takes.iter().map(|(number, _)| *number).collect();
        let spared = spared(&mut grounds, &due, &own, &taken);
        report.spared_packs = spared.len() as u64;
        delete(repository, &grounds, (&due, &spared), &mut report)?;
        if faults::seeded("drop-records") {
            drop_records(repository, &grounds, (&due, &spared))?;
        }
        // G5. Packs before manifests: a collection that dies here leaves a forgotten snapshot that cannot be undeleted, and no more.
        let over = roots.forgotten.iter().filter(|(_, at)| is_over(now, *at, &options)).map(|(name, _)| name.clone());
        let over: Vec<ObjectName> = over.collect();
        let gone = delete_each(repository, &over, &mut report)?;
        report.deleted_manifests = gone.iter().filter(|gone| **gone).count() as u64;
        let gone = over.iter().zip(gone).filter(|(_, gone)| *gone).filter_map(|(name, _)| name.as_snapshot()).collect();
        report.deleted_notes = delete_notes(repository, &roots, gone, &mut report)?;
        report.deleted_pendings = delete_all(repository, std::mem::take(&mut roots.spent), &mut report)?;
    }
    // Millions of rows are of no use any more, and segments are about to be read.
    grounds.rows = Rows::default();
    // Who may not delete would put one more segment each time, and none would go.
    if report.refused_deletions == 0 {
        let merged = merge::merge(repository, &grounds, options.renew.is_some(), observer)?;
        report.merged_segments = merged.segments;
        report.folded_records = merged.records;
    }
    repository.drop_index();
    report.pack_bytes = report.figures.pack_bytes + report.written.pack_bytes - report.deleted_bytes;
    Ok(report)
}

/// Roots, index, packs, records, in this order, and marks for what is new.
fn look_again(
    repository: &Repository,
    watermark: &crate::repository::ledger::Watermark,
    grounds: &mut Grounds,
    before: Roots,
    observer: &dyn Observer,
) -> Result<Roots> {
    let mut roots = Roots::read(repository, watermark, Some(&before))?;
    grounds.refresh(repository, observer)?;
    mark(repository, grounds, &mut roots, Some(&before), observer)?;
    Ok(roots)
}

/// Condemned packs that hold something needed of which nothing else has a copy that counts: in an indexed pack that is there and that no
/// record names. They stay for now.
/// What was copied out of the packs `taken` has a copy in those that this collection has put, as long as these count.
fn spared(grounds: &mut Grounds, due: &HashSet<PackId>, own: &[PackId], taken: &HashSet<u32>) -> HashSet<PackId> {
    let states = grounds.states();
    let copied = !grounds.own.is_empty() && grounds.own_count();
    let mut spared = HashSet::new();
    let own: HashSet<&PackId> = own.iter().collect();
    let counts = |pack: u32, id: &PackId| match states[pack as usize] {
        // Whatever is about to go was named when it was condemned, though a listing may not show it.
        State::Good => !due.contains(id),
        State::Named => faults::seeded("reuse-kept") && !due.contains(id) || faults::seeded("own-only") && !own.contains(id),
        State::Orphan | State::Gone => false,
    };
    grounds.rows.choose(|packs, copies| {
        let id = |at: usize| &packs[copies[at].pack as usize].id;
        let is_copied = |copy: &Copy| copied && copy.kept && taken.contains(&copy.pack);
        if !copies.iter().any(is_copied) && !(0..copies.len()).any(|at| counts(copies[at].pack, id(at))) {
            spared.extend((0..copies.len()).map(id).filter(|id| due.contains(*id)));
        }
        None
    });
    spared
}

fn delete(
    repository: &Repository,
    grounds: &Grounds,
    (due, spared): (&HashSet<PackId>, &HashSet<PackId>),
    report: &mut GcReport,
) -> Result<()> {
    let mut going: Vec<_> = due.difference(spared).filter_map(|id| grounds.packs.get(id)).collect();
    // In an order that is the same for whoever looks at it again.
    going.sort();
    let deleted = each_busy(repository.store(), &going, |object| repository.store().delete(&object.name));
    for (object, deleted) in going.iter().zip(deleted) {
        if is_gone(deleted, report)? {
            report.deleted_packs += 1;
            report.deleted_bytes += object.bytes;
        }
    }
    Ok(())
}

/// Whether something was deleted. What may not be, for want of a permission or because an object lock holds it, stays named or forgotten: a
/// later collection tries again, and the others go meanwhile.
fn is_gone(deleted: Result<()>, report: &mut GcReport) -> Result<bool> {
    match deleted {
        Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
            report.refused_deletions += 1;
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// What the protocol forbids: records whose packs are gone go too.
fn drop_records(repository: &Repository, grounds: &Grounds, (due, spared): (&HashSet<PackId>, &HashSet<PackId>)) -> Result<()> {
    let stays = |id: &PackId| grounds.packs.contains_key(id) && (!due.contains(id) || spared.contains(id));
    let over = grounds.records.iter().filter(|(_, record)| !record.packs.iter().any(|pack| stays(&pack.id)));
    delete_all(repository, over.map(|(name, _)| name.clone()).collect(), &mut GcReport::default()).map(drop)
}

fn delete_all(repository: &Repository, names: Vec<ObjectName>, report: &mut GcReport) -> Result<u64> {
    Ok(delete_each(repository, &names, report)?.into_iter().filter(|gone| *gone).count() as u64)
}

/// Of each, whether it was deleted.
fn delete_each(repository: &Repository, names: &[ObjectName], report: &mut GcReport) -> Result<Vec<bool>> {
    each(repository.store(), names, |name| repository.store().delete(name)).into_iter().map(|deleted| is_gone(deleted, report)).collect()
}

/// Notes about snapshots whose manifests are `gone` by now, their holds and releases, and what an earlier collection left of such: behind the
/// manifests, so that no snapshot that may still come back loses what was edited. What is not about a forgotten snapshot is nobody's to
/// delete here: of a note about something unknown the manifest may come yet. A store that does not let them go has lost nothing by it.
fn delete_notes(repository: &Repository, roots: &Roots, gone: HashSet<SnapshotId>, report: &mut GcReport) -> Result<u64> {
    if gone.is_empty() {
        return Ok(0);
    }
    let earlier = roots.collected();
    let about = |name: &ObjectName| name.last().split('-').next().and_then(SnapshotId::from_hex);
    let is_over = |name: &ObjectName| about(name).is_some_and(|id| gone.contains(&id) || earlier.contains(&id));
    let mut count = 0;
    // Holds before releases: one without its release would look like one that counts.
    for (kind, folder) in [(ObjectType::Note, "notes"), (ObjectType::Hold, "holds"), (ObjectType::Release, "releases")] {
        let listed = repository.listed(kind, folder)?;
        count += delete_all(repository, listed.into_iter().map(|listed| listed.name).filter(is_over).collect(), report)?;
    }
    Ok(count)
}
