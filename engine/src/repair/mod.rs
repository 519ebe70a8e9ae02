//! Repair (spec chapter 7): what is broken is healed from what this repository still has, from others, and from the live source; what nobody
//! has is told. Data is published first, then the index, then manifests and everything else, and packs are condemned last.
//! Nothing that can be read is dropped: no pack is deleted here, and none is condemned that holds what nothing else has.

mod entrance;
mod family;
mod ground;
mod mend;
mod objects;
mod quarry;
mod roots;
mod source;

pub use entrance::reopen;

use crate::error::{Error, Result};
use crate::id::{Class, ObjectName, PackId, SnapshotId};
use crate::limits::RECORD_PACKS_MAX;
use crate::observe::{Observer, Progress, Stage};
use crate::repair::ground::{Ground, Need, Root, need};
use crate::repair::mend::{Mended, Wanted, mend};
use crate::repair::objects::Objects;
use crate::repair::quarry::Quarry;
use crate::repair::roots::{Back, Roots, for_good};
use crate::repair::source::Source;
use crate::repository::ledger::Watermark;
use crate::repository::{Access, Repository, Segments};
use crate::store::there;
use std::collections::{HashMap, HashSet};

/// The reason that a tombstone gives for a snapshot that was there no more.
const LOST: &str = "lost";
/// How often what is missed is looked for: each time leaves or nodes came back, below which more may be missed. Trees are no deeper.
const ROUNDS_MAX: u32 = 24;

/// What to repair with.
#[derive(Clone, Default)]
pub struct RepairOptions<'a> {
    /// Other repositories: siblings and copies of this one, opened.
    pub others: Vec<&'a Repository>,
    /// Read files of hurt snapshots of this host, at the paths where they were. `None`: no file is read.
    pub host: Option<String>,
    /// Store nothing, and say what could be healed.
    pub dry_run: bool,
}

/// Who had what was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Healer {
    /// This repository: damaged packs, condemned ones, other copies.
    Own,
    /// Another one.
    Other,
    /// A file.
    Source,
}

/// What one of the sources of healing gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Healed {
    /// Chunks.
    pub chunks: u64,
    /// Their bytes, in plaintext; of a dry run only of what was read for it.
    pub bytes: u64,
}

/// What a repair did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// Taken out of damaged or condemned packs of this repository.
    pub own: Healed,
    /// Taken from other repositories.
    pub other: Healed,
    /// Read from files.
    pub source: Healed,
    /// Bytes that were read of other repositories, as they are stored.
    pub bytes_fetched: u64,
    /// Index segments that did not open, and what they said is said by others now.
    pub segments_replaced: u64,
    /// Packs that no segment named, and that one names now: of a segment that was lost, or of a run that was killed.
    pub packs_indexed: u64,
    /// Packs that are broken or gone, and that nobody uses any more.
    pub packs_condemned: Vec<ObjectName>,
    /// Packs that are broken or gone and may hold what nothing else has.
    pub packs_kept: u64,
    /// Snapshots whose manifests were gone or damaged, by their old and new ids.
    pub snapshots_back: Vec<(SnapshotId, SnapshotId)>,
    /// Small objects that did not open, and what they said is said by others now.
    pub objects_healed: Vec<ObjectName>,
    /// Small objects that did not open and were removed: others say the same, or nobody knows any more what they said.
    pub objects_dropped: Vec<ObjectName>,
    /// Small objects that do not open and of which nobody has a copy, and why.
    pub objects_lost: Vec<(ObjectName, String)>,
    /// Chunks that snapshots need and that nobody has.
    pub chunks_lost: u64,
    /// Some of these are lists of names or of chunks: what hangs below them cannot be told.
    pub trees_lost: bool,
    /// The snapshots that lack any of them.
    pub snapshots_hurt: Vec<SnapshotId>,
    /// Snapshots whose manifests are gone or do not open, and that nobody has.
    pub snapshots_lost: Vec<Option<SnapshotId>>,
}

impl RepairReport {
    /// Whether anything was changed, or would have been.
    pub fn changes(&self) -> bool {
        let counts = [self.own.chunks, self.other.chunks, self.source.chunks, self.segments_replaced, self.packs_indexed];
        let objects = self.objects_healed.len() + self.objects_dropped.len() + self.packs_condemned.len() + self.snapshots_back.len();
        counts.iter().sum::<u64>() > 0 || objects > 0
    }

    /// Whether everything that a snapshot needs is there.
    pub fn is_whole(&self) -> bool {
        self.chunks_lost == 0 && self.snapshots_lost.is_empty()
    }

    fn take(&mut self, mended: &Mended) {
        for (sum, healed) in [&mut self.own, &mut self.other, &mut self.source].into_iter().zip(&mended.by) {
            sum.chunks += healed.chunks;
            sum.bytes += healed.bytes;
        }
        self.bytes_fetched += mended.fetched;
    }
}

/// Repairs a repository. What is damaged inside is what the last `check` of this machine found; run one that reads all data first.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{CheckOptions, ReadData, RepairOptions, Silent, check, repair};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// for segment in repository.store().list("index")? {
///     repository.store().delete(&segment.name)?;
/// }
/// check(&repository, &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() }, &Silent)?;
/// // Nothing of the content was lost: the index is made anew from the packs.
/// let report = repair(&repository, &RepairOptions::default(), &Silent)?;
/// assert!(report.is_whole());
/// assert!(check(&repository, &CheckOptions::default(), &Silent)?.is_clean());
/// # Ok(())
/// # }
/// ```
pub fn repair(repository: &Repository, options: &RepairOptions<'_>, observer: &dyn Observer) -> Result<RepairReport> {
    if !options.dry_run {
        repository.require_features(Access::Write)?;
    }
    let mut report = RepairReport::default();
    // Before any listing, and before a refresh takes out of the catalog what is gone: it may be all that still speaks of a snapshot.
    let watermark = Watermark::read(repository)?;
    let mut remembered = repository.catalog().snapshots()?;
    remembered.extend(repository.catalog().lost()?);
    let copies = options.others.iter().copied().filter(|other| other.id() == repository.id()).collect();
    let objects = Objects { repository, copies, dry_run: options.dry_run };
    objects.records(&mut report)?;
    repository.refresh()?;
    let damaged = damaged_segments(repository)?;
    let mut roots = Roots::read(repository, &watermark, None)?;
    let lost = roots.lost.iter().filter_map(|lost| lost.snapshot).collect();
    if objects.forgotten_elsewhere(&lost, &mut report)? && !options.dry_run {
        roots = Roots::read(repository, &watermark, Some(roots))?;
    }
    let back = roots.back(repository, remembered, &options.others)?;
    let mut healer = Healing { repository, options, observer, refused: HashSet::new() };
    let (ground, needs) = healer.heal(&roots, &back, HashSet::new(), &mut report)?;

    // What the segments named is named by others now, put by whoever looked for packs without one.
    for name in damaged {
        if !options.dry_run {
            repository.confirm(&[])?;
            repository.store().delete(&name)?;
        }
        report.segments_replaced += 1;
    }
    let healed = report.objects_healed.len();
    objects.about_snapshots(&mut report)?;
    if report.objects_healed.len() > healed && !options.dry_run {
        // What the notes among them say of snapshots that come back.
        repository.refresh()?;
    }
    if options.dry_run {
        report.snapshots_back.extend(back.iter().filter(|back| !needs.hurt.contains(&back.old)).map(|back| (back.old, back.old)));
    } else {
        roots::commit(repository, &roots, (&back, &needs.hurt), (&ground, &watermark), &mut report, observer)?;
    }
    for id in &roots.debris {
        objects.drop(&ObjectName::snapshot(id), &mut report)?;
    }
    objects.others(&|id| roots.place_of(id, &watermark), &mut report)?;
    let roots = if report.changes() && !options.dry_run { Roots::read(repository, &watermark, Some(roots))? } else { roots };
    let needs = condemn(&mut healer, &roots, (ground, needs), &mut report)?;
    tell(&roots, &needs, &mut report);
    Ok(report)
}

/// Segments that are there and do not open. One that a store cannot read today it may read tomorrow.
fn damaged_segments(repository: &Repository) -> Result<Vec<ObjectName>> {
    let Segments { damaged, .. } = repository.read_segments()?;
    let mut names = Vec::new();
    for error in damaged {
        let Error::Damaged { object, .. } = error else { continue };
        // From the store itself: nothing is replaced for what a copy says.
        if repository.read_origin_segment(&object).is_err_and(|error| for_good(&error)) {
            names.push(object);
        }
    }
    Ok(names)
}

/// What is done again until nothing more is found.
struct Healing<'a> {
    repository: &'a Repository,
    options: &'a RepairOptions<'a>,
    observer: &'a dyn Observer,
    /// Repositories of other families of which was said that they cannot help.
    refused: HashSet<String>,
}

impl Healing<'_> {
    /// Looks for what roots miss wherever it may be, and stores it, until nothing more comes of it. Returns what there is then.
    fn heal(&mut self, roots: &Roots, back: &[Back], broken: HashSet<PackId>, report: &mut RepairReport) -> Result<(Ground, Need)> {
        let all = roots.all(back);
        let mut ground = Ground::look(self.repository, self.options.dry_run, broken, self.observer)?;
        report.packs_indexed += ground.indexed;
        let mut rounds = 0;
        loop {
            let needs = need(self.repository, &mut ground, &all, self.observer)?;
            rounds += 1;
            if needs.missing.is_empty() || rounds > ROUNDS_MAX {
                return Ok((ground, needs));
            }
            self.observer.progress(&Progress { stage: Stage::Working, ..Progress::default() });
            let (mended, rest) = self.round(&ground, &needs, &all)?;
            report.take(&mended);
            if self.options.dry_run {
                let hurt = if rest.is_empty() { HashSet::new() } else { needs.hurt };
                return Ok((ground, Need { torn: needs.torn && !rest.is_empty(), missing: rest, hurt }));
            }
            if mended.chunks() == 0 {
                return Ok((ground, needs));
            }
            // A store that says yes and stores nothing has been seen: nothing is given up before it is there.
            self.repository.confirm(&[])?;
            self.repository.drop_index();
            ground = Ground::look(self.repository, false, ground.broken, self.observer)?;
        }
    }

    /// One look at everybody, the nearest first.
    fn round(&mut self, ground: &Ground, needs: &Need, all: &[Root]) -> Result<(Mended, Vec<Wanted>)> {
        let Healing { repository, options, observer, .. } = *self;
        let wanted: HashSet<Wanted> = needs.missing.iter().copied().collect();
        let mut rest = Vec::new();
        let mut mended = mend(repository, wanted, options.dry_run, observer, &mut |mender| {
            let own = Quarry { store: repository.origin(), keys: repository.keys(), index: &ground.index, from: Healer::Own };
            own.take(mender, &mender.rest())?;
            for other in options.others.iter().filter(|other| other.keys().family == repository.keys().family) {
                if mender.is_done() {
                    break;
                }
                let index = other.index()?;
                let quarry = Quarry { store: other.store(), keys: other.keys(), index: &index, from: Healer::Other };
                quarry.take(mender, &mender.rest())?;
            }
            if let Some(host) = &options.host {
                let mut source = Source::new(repository, ground);
                let hurt = all.iter().filter(|root| needs.hurt.contains(&root.id)).filter_map(|root| root.snapshot.as_ref());
                for snapshot in hurt.filter(|snapshot| snapshot.names.host == *host) {
                    if mender.wants_content() {
                        source.take(mender, snapshot)?;
                    }
                }
            }
            rest = mender.rest();
            Ok(())
        })?;
        let hurt: Vec<&Root> = all.iter().filter(|root| needs.hurt.contains(&root.id)).collect();
        for other in self.options.others.iter().filter(|other| other.keys().family != repository.keys().family) {
            if rest.is_empty() || self.options.dry_run || self.refused.contains(&other.origin().place()) {
                continue;
            }
            match family::replant(repository, other, (ground, &hurt), observer) {
                Ok(planted) => {
                    for (sum, healed) in mended.by.iter_mut().zip(planted.by) {
                        (sum.chunks, sum.bytes) = (sum.chunks + healed.chunks, sum.bytes + healed.bytes);
                    }
                    mended.fetched += planted.fetched;
                }
                Err(Error::Refused { what }) => {
                    self.observer.warning(&what);
                    self.refused.insert(other.origin().place());
                }
                Err(error) => return Err(error),
            }
        }
        Ok((mended, rest))
    }
}

/// Says of broken packs that nobody is to use them, where all that anything needs of them has a copy that counts.
///
/// As a collection does: what is needed was copied before, a record names the packs, and then roots, index and records are looked at once
/// more. Who commits meanwhile reads the records behind its root; who condemned one of the copies meanwhile reads this record before it
/// deletes. What is missed then is healed again: from the packs named here too, for these are still there.
fn condemn(healer: &mut Healing<'_>, roots: &Roots, (ground, needs): (Ground, Need), report: &mut RepairReport) -> Result<Need> {
    let repository = healer.repository;
    let bad = ground.bad();
    if bad.is_empty() {
        return Ok(needs);
    }
    // Where a root or a node is not known, nobody can say what is needed.
    let unsure = needs.torn || !roots.are_all_known();
    let holding: HashSet<PackId> = needs
        .missing
        .iter()
        .flat_map(|(class, id)| ground.index.find(*class, id))
        .filter_map(|at| ground.index.packs().get(at.pack as usize))
        .map(|pack| pack.id)
        .collect();
    let packs: Vec<(Class, PackId, u64)> =
        ground.index.packs().iter().filter(|p| bad.contains(&p.id)).map(|p| (p.class, p.id, p.bytes)).collect();
    let free = packs.iter().filter(|(_, id, _)| !unsure && !holding.contains(id)).take(RECORD_PACKS_MAX);
    let mut going: Vec<(Class, PackId, u64)> = free.copied().collect();
    // A listing that leaves a pack out does not make it lost, and one that is there again in its full length is no worse than others.
    let suspects = repository.catalog().suspects()?;
    let names: Vec<ObjectName> = going.iter().map(|(class, id, _)| ObjectName::pack(*class, id)).collect();
    let sizes: HashMap<ObjectName, u64> =
        there(repository.origin(), names)?.into_iter().map(|listed| (listed.name, listed.bytes)).collect();
    let whole = |class: Class, id: &PackId, bytes: u64| sizes.get(&ObjectName::pack(class, id)) == Some(&bytes);
    going.retain(|(class, id, bytes)| suspects.contains(id) || ground.broken.contains(id) || !whole(*class, id, *bytes));
    report.packs_kept = (packs.len() - going.len()) as u64;
    report.packs_condemned = going.iter().map(|(class, id, _)| ObjectName::pack(*class, id)).collect();
    if going.is_empty() || healer.options.dry_run {
        return Ok(needs);
    }
    repository.confirm(&[])?;
    let records = repository.records(&ground.records)?;
    repository.condemn(&records, going.iter().map(|(class, id, _)| (*class, *id)))?;
    let watermark = Watermark::read(repository)?;
    let now = Roots::read(repository, &watermark, None)?;
    healer.heal(&now, &[], ground.broken, report).map(|(_, needs)| needs)
}

/// What is left.
fn tell(roots: &Roots, needs: &Need, report: &mut RepairReport) {
    report.chunks_lost = needs.missing.len() as u64;
    report.trees_lost = needs.torn;
    report.snapshots_hurt = roots.seen_of(&needs.hurt);
    let came: HashSet<SnapshotId> = report.snapshots_back.iter().map(|(old, _)| *old).collect();
    let gone = roots.lost.iter().map(|lost| lost.snapshot).chain(roots.unreadable.keys().map(|id| Some(*id)));
    report.snapshots_lost = gone.filter(|id| id.is_none_or(|id| !came.contains(&id))).collect();
}
