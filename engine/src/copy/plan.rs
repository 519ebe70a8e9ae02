//! What a copy will do: which snapshots the target has already, which chunks it lacks, and from which packs of the source these come.
//! It must never take a chunk for present that a new snapshot there may not rely on.

use crate::catalog::Snapshot;
use crate::commit::{Usable, usable_index};
use crate::copy::wanted::Wanted;
use crate::copy::{Avoid, CopyOptions};
use crate::error::{Error, Result};
use crate::id::{Class, ObjectName, PackId, SnapshotId};
use crate::index::{Index, IndexPack};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::pack::repack::Take;
use crate::repository::reach::walk;
use crate::repository::{Access, Repository};
use crate::store::each;
use std::collections::HashSet;

/// A pack of which so many of four chunks are wanted goes as it is: what comes along costs less than to open and frame the rest anew.
const RAW_QUARTERS: u64 = 3;
/// What is fetched beforehand of a source that is far away: more of it may be of snapshots that nobody asked for.
const FETCHED_BYTES_MAX: u64 = 128 << 20;

/// What a copy will do.
#[derive(Default)]
#[non_exhaustive]
pub struct CopyPlan {
    /// Snapshots to be copied, by their ids in the source, oldest first.
    pub new: Vec<SnapshotId>,
    /// What the target has already, by its ids in the source.
    pub present: Vec<SnapshotId>,
    /// What cannot be copied because the source has lost some of it, and what that is.
    pub failed: Vec<(SnapshotId, Error)>,
    /// What somebody has forgotten in the source, and a collection has taken away there, since the caller chose it.
    pub forgotten: Vec<SnapshotId>,
    /// The target is of another key family: everything is opened and sealed anew. What that reads and writes is not known beforehand.
    pub re_encrypted: bool,
    /// Packs that go as they are,
    pub packs_raw: u64,
    /// and their bytes.
    pub bytes_raw: u64,
    /// Packs of which frames are taken,
    pub packs_opened: u64,
    /// and about how many bytes of them.
    pub bytes_opened: u64,
    pub(super) work: Work,
    pub(super) foreign: Vec<Snapshot>,
}

impl CopyPlan {
    /// About how many bytes are read from the source, and as many written to the target.
    pub fn bytes(&self) -> u64 {
        self.bytes_raw + self.bytes_opened
    }

    /// Packs that are read.
    pub fn packs(&self) -> u64 {
        self.packs_raw + self.packs_opened
    }
}

/// A pack that goes as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawPack {
    pub class: Class,
    pub id: PackId,
    pub bytes: u64,
}

/// What is brought before a snapshot is committed, but for what came before it.
#[derive(Default)]
pub(super) struct Step {
    pub raw: Vec<RawPack>,
    pub takes: Vec<Take>,
}

/// What one round does.
#[derive(Default)]
pub(super) struct Work {
    /// To be copied, oldest first, each with what it needs beyond the one before.
    pub snapshots: Vec<Snapshot>,
    pub steps: Vec<Step>,
    /// What new snapshots of the target may rely on.
    pub usable: Option<Usable>,
    pub failed: Vec<(SnapshotId, Error)>,
    pub forgotten: Vec<SnapshotId>,
    /// About what is read, packs and bytes: of packs that go as they are, and of the others.
    pub raw: (u64, u64),
    pub opened: (u64, u64),
}

/// Plans a copy of `snapshots` of `from`. Both catalogs were refreshed by the caller.
pub fn plan(
    from: &Repository,
    to: &Repository,
    snapshots: &[Snapshot],
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<CopyPlan> {
    if from.id() == to.id() {
        return Err(Error::Option { what: format!("{} and {} are the same repository", from.store().place(), to.store().place()) });
    }
    to.require_features(Access::Write)?;
    let mut known: HashSet<_> = to.catalog().snapshots()?.iter().map(|snapshot| snapshot.identity(&to.id())).collect();
    let mut sorted: Vec<&Snapshot> = snapshots.iter().collect();
    sorted.sort_by_key(|snapshot| (snapshot.index.time, snapshot.id));
    let (new, present): (Vec<&Snapshot>, Vec<&Snapshot>) =
        sorted.into_iter().partition(|snapshot| known.insert(snapshot.identity(&from.id())));
    let new: Vec<Snapshot> = new.into_iter().cloned().collect();
    let present = present.into_iter().map(|snapshot| snapshot.id).collect();
    let mut plan = CopyPlan { new: new.iter().map(|snapshot| snapshot.id).collect(), present, ..CopyPlan::default() };
    if from.descriptor().family != to.descriptor().family {
        return Ok(CopyPlan { re_encrypted: true, foreign: new, ..plan });
    }
    if new.is_empty() {
        return Ok(plan);
    }
    let mut work = prepare(from, to, new, &Avoid::default(), options.dry_run, observer)?;
    (plan.packs_raw, plan.bytes_raw) = work.raw;
    (plan.packs_opened, plan.bytes_opened) = work.opened;
    plan.new = work.snapshots.iter().map(|snapshot| snapshot.id).collect();
    plan.failed = std::mem::take(&mut work.failed);
    plan.forgotten = std::mem::take(&mut work.forgotten);
    Ok(CopyPlan { work, ..plan })
}

/// Finds out what `snapshots` need that the target lacks. One of which the source has lost something is left out, and said.
pub(super) fn prepare(
    from: &Repository,
    to: &Repository,
    mut snapshots: Vec<Snapshot>,
    avoid: &Avoid,
    dry_run: bool,
    observer: &dyn Observer,
) -> Result<Work> {
    observer.progress(&Progress { stage: Stage::Preparing, ..Progress::default() });
    let usable = usable_index(to, dry_run, observer)?;
    let index = from.index()?;
    fetch_lists(from, &index, &usable.index);
    let reader = from.reader_from(index.clone());
    let (mut failed, mut forgotten) = (Vec::new(), Vec::new());
    loop {
        let mut wanted = Wanted::new(&index, &usable.index, avoid, observer);
        let mut good = Vec::with_capacity(snapshots.len());
        let before = failed.len() + forgotten.len();
        for snapshot in snapshots {
            wanted.begin(good.len());
            match walk(&reader, &snapshot.index.roots, &mut wanted) {
                Ok(()) => good.push(snapshot),
                Err(error) if error.is_damage() => match from.unless_forgotten(&snapshot.id, error) {
                    Error::WasForgotten { snapshot } => forgotten.push(snapshot),
                    error => failed.push((snapshot.id, error)),
                },
                Err(error) => return Err(error),
            }
        }
        snapshots = good;
        // What those wanted that cannot be copied nobody may want: the others are walked once more without them.
        if failed.len() + forgotten.len() == before {
            let mut work = Work { failed, forgotten, ..Work::default() };
            steps(from, to, &index, &usable, (wanted.into_takes(), snapshots.len()), avoid, &mut work);
            return Ok(Work { snapshots, usable: Some(usable), ..work });
        }
    }
}

/// Has copies made of what is about to be walked, several at a time, where the source is far away: a walk asks for one after the other. Packs
/// that the target knows are of what it has. What fails here fails again for whoever reads.
fn fetch_lists(from: &Repository, index: &Index, there: &Index) {
    let is_new = |pack: &&IndexPack| pack.class == Class::Lists && !there.knows_pack(&pack.id);
    let packs: Vec<&IndexPack> = index.packs().iter().filter(is_new).collect();
    let bytes: u64 = packs.iter().map(|pack| pack.bytes).sum();
    if from.store().traffic().is_none() || from.cache_directory().is_none() || bytes > FETCHED_BYTES_MAX {
        return;
    }
    each(from.store(), &packs, |pack| from.store().get_suffix(&ObjectName::pack(pack.class, &pack.id), 1).map(drop).unwrap_or(()));
}

/// How each pack comes over, and before which snapshot.
fn steps(
    from: &Repository,
    to: &Repository,
    index: &Index,
    usable: &Usable,
    (mut takes, count): (Vec<(u32, usize, Bits)>, usize),
    avoid: &Avoid,
    work: &mut Work,
) {
    let rows = index.rows_per_pack();
    // A name that the target has used is not used again. What a record names may be deleted at any time; what is damaged there would stand
    // in the way of what is whole.
    let may_go_raw = |id: &PackId| !usable.index.knows_pack(id) && !usable.records.name(id) && !avoid.sealed.contains(id);
    let place = |number: u32| index.packs().get(number as usize);
    let mut raw: HashSet<u32> = takes
        .iter()
        .filter(|(number, _, chunks)| {
            let all = rows.get(*number as usize).copied().unwrap_or(u64::MAX);
            chunks.count().saturating_mul(4) >= all.saturating_mul(RAW_QUARTERS) && place(*number).is_some_and(|pack| may_go_raw(&pack.id))
        })
        .map(|(number, ..)| *number)
        .collect();
    if !to.keys().open_all_packs_of(from.keys()) {
        // Some epochs are not the same here and there: only the packs tell which they are of.
        let candidates: Vec<u32> = raw.into_iter().collect();
        let opens = each(from.store(), &candidates, |number| place(*number).is_some_and(|pack| opens(from, to, pack.class, &pack.id)));
        raw = candidates.into_iter().zip(opens).filter_map(|(number, opens)| opens.then_some(number)).collect();
    }
    work.steps = (0..count).map(|_| Step::default()).collect();
    // In the order in which they were written, as the index has them: what was stored together comes together.
    takes.sort_by_key(|(number, ..)| *number);
    for (number, step, chunks) in takes {
        let (Some(pack), Some(step)) = (place(number), work.steps.get_mut(step)) else { continue };
        if raw.contains(&number) {
            step.raw.push(RawPack { class: pack.class, id: pack.id, bytes: pack.bytes });
            work.raw = (work.raw.0 + 1, work.raw.1 + pack.bytes);
        } else {
            let all = rows.get(number as usize).copied().unwrap_or(0).max(1);
            let share = (u128::from(pack.bytes) * u128::from(chunks.count()) / u128::from(all)) as u64;
            step.takes.push(Take { class: pack.class, pack: pack.id, chunks });
            work.opened = (work.opened.0 + 1, work.opened.1 + share);
        }
    }
}

/// Whether the target opens all of a pack of the source with its own keys.
fn opens(from: &Repository, to: &Repository, class: Class, id: &PackId) -> bool {
    // What does not open for another reason is found out by whoever opens it with the source's keys.
    OpenPack::open(from.store(), to.keys(), class, id).is_ok_and(|pack| all_open(&pack))
}

/// Whether the keys that a pack was opened with open each of its frames.
pub(super) fn all_open(pack: &OpenPack) -> bool {
    (0..pack.table.frames.len()).all(|number| pack.holds_key(number as u32))
}

impl RawPack {
    /// Its name.
    pub fn name(&self) -> ObjectName {
        ObjectName::pack(self.class, &self.id)
    }
}
