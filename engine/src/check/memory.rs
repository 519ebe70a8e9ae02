//! What checks remember: when each pack was last read whole and found sound, in notes about the repository, so that any host goes on where another
//! one stopped (spec chapter 7). It must never date what was not verified; a date that is lost costs reading a pack once more.

use crate::check::data::{Job, Outcome};
use crate::check::{Budget, CheckReport, OldestPack, ReadData};
use crate::error::{Error, Result};
use crate::format::notes::{Fact, PackPrefix, Runs, VERIFIED, Verified, VerifiedRun, WHOLE, prefix};
use crate::format::object::ObjectType;
use crate::format::protocol::Note;
use crate::format::wire::{Bytes, Time, to_bytes};
use crate::id::{Class, ObjectName, PackId};
use crate::limits::{CLOCK_SKEW_SECS_MAX, SMALL_OBJECT_BYTES_MAX, VERIFIED_NOTES_MAX, VERIFIED_PACKS_MAX, VERIFIED_RUNS_MAX};
use crate::observe::Observer;
use crate::repository::{Access, Repository};
use crate::seal::object::open_object;
use crate::store::each;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SECOND_NANOS: i64 = 1_000_000_000;
const DAY_NANOS: i64 = 86_400 * SECOND_NANOS;

/// Dates are nanoseconds by the store's clock.
#[derive(Default)]
pub struct Memory {
    /// When each pack was last verified.
    dates: HashMap<PackPrefix, i64>,
    /// The notes that say so.
    notes: Vec<ObjectName>,
    /// When each pack was put; 0 where the store does not say.
    put: HashMap<PackId, i64>,
    /// When the check looked at the time.
    now: i64,
    /// Before this nothing was put.
    born: i64,
}

impl Memory {
    /// With the times at which the packs were put, and `now`.
    pub fn new(repository: &Repository, now: i64) -> Self {
        Memory { now, born: repository.descriptor().created.as_nanos().unwrap_or(0), ..Memory::default() }
    }

    /// Takes in what a note says, if it speaks of verifications.
    pub fn note(&mut self, name: &ObjectName, note: &Note) {
        let Ok(Fact::Verified(verified)) = note.fact() else { return };
        self.notes.push(name.clone());
        for run in &verified.runs.0 {
            // A date that lies ahead would keep a pack from being read for as long as somebody likes.
            let Some(at) = run.time.as_nanos().filter(|at| at.saturating_sub(self.now) <= CLOCK_SKEW_SECS_MAX * SECOND_NANOS) else {
                continue;
            };
            run.prefixes().for_each(|pack| self.date(pack, at));
        }
    }

    fn date(&mut self, pack: PackPrefix, at: i64) {
        let date = self.dates.entry(pack).or_insert(at);
        *date = at.max(*date);
    }

    /// Takes in when a pack was put.
    pub fn listed(&mut self, pack: PackId, at: i64) {
        self.put.insert(pack, at);
    }

    /// When a pack was put, at the earliest.
    fn put_at(&self, pack: &PackId) -> i64 {
        self.put.get(pack).copied().filter(|at| *at > 0).unwrap_or(self.born)
    }

    /// For how long nobody has verified a pack: since it was put, where nobody ever has.
    fn age(&self, now: i64, pack: &PackId) -> i64 {
        let since = self.dates.get(&prefix(pack)).copied().unwrap_or_else(|| self.put_at(pack));
        now.saturating_sub(since).max(0)
    }

    /// The packs in the order in which they are to be read, by [`ReadData::Oldest`]: those that nobody has verified, the oldest first, then the
    /// others, beginning with those that were verified longest ago. Young ones are left out.
    ///
    /// Behind these come `suspects`, in which damage was found: never verified, or long ago, they would be the first in every check, and keep it
    /// from all others. They are due at whatever age, for what is known to be damaged must not go unsaid. Condemned packs come last.
    pub fn oldest(
        &self,
        packs: &BTreeMap<(Class, PackId), u64>,
        max_age: Option<i64>,
        (suspects, condemned): (&HashSet<PackId>, &HashSet<PackId>),
    ) -> HashMap<PackId, usize> {
        let due = |id: &&PackId| match (self.dates.get(&prefix(id)), max_age) {
            (Some(at), Some(max)) => suspects.contains(id) || self.now.saturating_sub(*at) > max,
            _ => true,
        };
        let mut order: Vec<&PackId> = packs.keys().map(|(_, id)| id).filter(due).collect();
        order.sort_by_cached_key(|id| {
            let place = (condemned.contains(id), suspects.contains(id));
            match self.dates.get(&prefix(id)) {
                None => (place, false, self.put_at(id), **id),
                Some(at) => (place, true, *at, **id),
            }
        });
        order.into_iter().enumerate().map(|(at, id)| (*id, at)).collect()
    }

    /// Puts down which packs were read whole and found sound, and gathers older notes where there are many. Also behind an interruption: what was
    /// verified was verified. A store that takes no note costs a warning, and the next check its work.
    pub fn keep(&mut self, repository: &Repository, jobs: &[Job], outcomes: &[Outcome], observer: &dyn Observer) {
        let sound: Vec<PackPrefix> =
            jobs.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_sound()).map(|(job, _)| prefix(&job.id)).collect();
        if sound.is_empty() {
            return;
        }
        // Whoever wants to stop waits for this as for the end of a commit: some seconds at most, or hours of reading would be lost.
        repository.origin().insist();
        if let Err(error) = self.put_down(repository, jobs, &sound) {
            observer.warning(&format!("when packs were verified could not be noted, the next check does not know of this one: {error}"));
        }
    }

    fn put_down(&mut self, repository: &Repository, jobs: &[Job], sound: &[PackPrefix]) -> Result<()> {
        repository.require_features(Access::Write)?;
        // When it began: of what was read in the hours since nothing may look younger than it is.
        let now = self.now;
        sound.iter().for_each(|pack| self.date(*pack, now));
        let there = || jobs.iter().map(|job| prefix(&job.id));
        let parts = jobs.len().div_ceil(VERIFIED_PACKS_MAX);
        let gathers = self.notes.len() >= VERIFIED_NOTES_MAX.max(2 * parts);
        // Of all packs that there are, or of those that were read: dates of packs that are gone are let go.
        let dated: Vec<(i64, PackPrefix)> = match gathers {
            true => there().filter_map(|pack| Some((*self.dates.get(&pack)?, pack))).collect(),
            false => sound.iter().map(|pack| (now, *pack)).collect(),
        };
        for body in bodies(dated) {
            let body = Bytes(to_bytes(&body));
            let (name, note) = repository.put_note(VERIFIED, &WHOLE, Time::from_nanos(now), body)?;
            // Before the parts go: a store that says yes and keeps nothing has been seen.
            if gathers {
                let bytes = repository.origin().get(&name, SMALL_OBJECT_BYTES_MAX)?;
                let back: Note = open_object(repository.keys(), &repository.id(), &name, ObjectType::Note, &bytes)?;
                if back != note {
                    return Err(Error::SelfCheck { what: "a note that was put" });
                }
            }
        }
        if gathers {
            // A courtesy: who may not delete reads some notes more each time.
            drop(each(repository.origin(), &self.notes, |name| repository.store().delete(name)));
            self.notes.clear();
        }
        Ok(())
    }

    /// Puts into the report how old the oldest unverified byte is.
    pub fn report(
        &self,
        repository: &Repository,
        packs: &BTreeMap<(Class, PackId), u64>,
        read_data: ReadData,
        report: &mut CheckReport,
    ) -> Result<()> {
        let now = repository.origin().now()?;
        let max_age = max_age_nanos(read_data);
        let mut oldest: Option<(i64, OldestPack)> = None;
        for ((_, id), bytes) in packs {
            let (age, verified) = (self.age(now, id), self.dates.contains_key(&prefix(id)));
            if !verified {
                report.packs_never_verified += 1;
                report.bytes_never_verified += bytes;
            }
            if max_age.is_some_and(|max| age > max) {
                report.packs_overdue += 1;
                report.bytes_overdue += bytes;
            }
            // Of several as old the first one by class and id, so that two checks say the same.
            if oldest.as_ref().is_none_or(|(oldest, _)| *oldest < age) {
                oldest =
                    Some((age, OldestPack { pack: *id, age_secs: u64::try_from(age / SECOND_NANOS).unwrap_or(0), is_verified: verified }));
            }
        }
        report.oldest_unverified = oldest.map(|(_, pack)| pack);
        Ok(())
    }
}

/// The largest age that is asked for.
pub fn max_age_nanos(read_data: ReadData) -> Option<i64> {
    match read_data {
        ReadData::Oldest { max_age: Some(age), .. } => Some(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)),
        _ => None,
    }
}

/// Decides, pack by pack, whether there is something left of the budget.
#[derive(Default)]
pub struct Purse {
    budget: Option<Budget>,
    /// Of packs that are known to be damaged apart from the others: neither keeps a check from the other, however small the budget is.
    spent: [Mutex<Spent>; 2],
}

#[derive(Default)]
struct Spent {
    /// When the first pack was begun.
    began: i64,
    /// Packs that were begun, and their bytes.
    packs: u64,
    bytes: u64,
}

impl Purse {
    /// With all of a budget in it.
    pub fn new(read_data: ReadData) -> Self {
        let budget = if let ReadData::Oldest { budget, .. } = read_data { budget } else { None };
        Purse { budget, ..Purse::default() }
    }

    fn spent(&self, job: &Job) -> MutexGuard<'_, Spent> {
        self.spent[usize::from(job.is_suspect)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another pack may be begun. The first one always may, or a small budget would never come to an end.
    pub fn take(&self, repository: &Repository, job: &Job) -> Result<bool> {
        let mut spent = self.spent(job);
        let now = if let Some(Budget::Time(_)) = self.budget { repository.origin().now()? } else { 0 };
        if spent.began == 0 {
            spent.began = now;
        }
        let passed = u64::try_from(now.saturating_sub(spent.began));
        let goes_on = spent.packs == 0
            || match self.budget {
                None => true,
                Some(Budget::Bytes(all)) => spent.bytes < all,
                Some(Budget::Time(all)) => passed.is_ok_and(|passed| u128::from(passed) < all.as_nanos()),
            };
        if goes_on {
            spent.packs += 1;
            spent.bytes = spent.bytes.saturating_add(job.bytes);
        }
        Ok(goes_on)
    }

    /// How many of so many bytes will be read, at most.
    pub fn at_most(&self, bytes: u64) -> u64 {
        if let Some(Budget::Bytes(all)) = self.budget { bytes.min(all) } else { bytes }
    }

    /// Of a pack that was begun only so many bytes were read: the others are there for another one.
    pub fn give_back(&self, job: &Job, read: u64) {
        let mut spent = self.spent(job);
        spent.packs = spent.packs.saturating_sub(u64::from(read == 0));
        spent.bytes = spent.bytes.saturating_sub(job.bytes.saturating_sub(read));
    }
}

/// Notes that say when packs were verified, none of them longer than a reader takes.
fn bodies(mut dated: Vec<(i64, PackPrefix)>) -> Vec<Verified> {
    dated.sort_unstable();
    dated.dedup();
    let runs = dated.chunk_by(|a, b| a.0 == b.0).count();
    // Whole days, rounded down: nothing looks younger than it is.
    if runs > VERIFIED_RUNS_MAX {
        dated.iter_mut().for_each(|(at, _)| *at -= at.rem_euclid(DAY_NANOS));
        dated.sort_unstable();
        dated.dedup();
    }
    let mut bodies = Vec::new();
    for part in dated.chunks(VERIFIED_PACKS_MAX) {
        let run = |of: &[(i64, PackPrefix)]| VerifiedRun {
            time: Time::from_nanos(of.first().map_or(0, |(at, _)| *at)),
            packs: Bytes(of.iter().flat_map(|(_, pack)| *pack).collect()),
            extra: Vec::new(),
        };
        let runs: Vec<VerifiedRun> = part.chunk_by(|a, b| a.0 == b.0).map(run).collect();
        for runs in runs.chunks(VERIFIED_RUNS_MAX) {
            bodies.push(Verified { runs: Runs(runs.to_vec()), extra: Vec::new() });
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::notes::DESCRIPTION;

    fn pack(n: u32) -> PackPrefix {
        let mut pack = [0; 16];
        pack[..4].copy_from_slice(&n.to_be_bytes());
        pack
    }

    #[test]
    fn bodies_are_what_a_reader_takes() {
        let note = |body: &Verified| Note {
            kind: VERIFIED.into(),
            about: Bytes::default(),
            time: Time::default(),
            body: Bytes(to_bytes(body)),
            extra: vec![],
        };
        assert!(bodies(vec![]).is_empty());
        let some = bodies(vec![(2, pack(1)), (1, pack(9)), (2, pack(0)), (2, pack(1))]);
        let runs: Vec<(i64, usize)> = some[0].runs.0.iter().map(|run| (run.time.as_nanos().unwrap(), run.prefixes().count())).collect();
        assert_eq!((some.len(), runs), (1, vec![(1, 1), (2, 2)]));
        assert!(note(&some[0]).fact().is_ok());
        // As many times as packs.
        let hours = bodies((0..5000).map(|n| (i64::from(n) * DAY_NANOS / 24 + 5, pack(n))).collect());
        assert_eq!((hours.len(), hours[0].runs.0.len()), (1, 5000_usize.div_ceil(24)));
        assert!(note(&hours[0]).fact().is_ok());
        let days = bodies((0..5000).map(|n| (i64::from(n) * DAY_NANOS + 5, pack(n))).collect());
        assert_eq!(days.iter().map(|body| body.runs.0.len()).collect::<Vec<_>>(), [VERIFIED_RUNS_MAX, 5000 - VERIFIED_RUNS_MAX]);
        let many = bodies((0..VERIFIED_PACKS_MAX as u32 + 1).map(|n| (7, pack(n))).collect());
        assert_eq!(many.len(), 2);
        assert!(many.iter().all(|body| note(body).fact().is_ok()));
    }

    #[test]
    fn a_date_that_lies_ahead_is_none_and_the_latest_counts() {
        let mut memory = Memory { now: 10 * DAY_NANOS, ..Memory::default() };
        let say = |at: i64, packs: &[u32]| Note {
            kind: VERIFIED.into(),
            about: Bytes::default(),
            time: Time::default(),
            body: Bytes(to_bytes(&bodies(packs.iter().map(|n| (at, pack(*n))).collect())[0])),
            extra: vec![],
        };
        let name = ObjectName::note(&WHOLE, &crate::id::ObjectId::new([1; 16]));
        memory.note(&name, &say(5 * DAY_NANOS, &[1, 2]));
        memory.note(&name, &say(3 * DAY_NANOS, &[1, 3]));
        memory.note(&name, &say(11 * DAY_NANOS, &[3, 4]));
        memory.note(&name, &Note { kind: DESCRIPTION.into(), ..say(9 * DAY_NANOS, &[1]) });
        let mut dates: Vec<_> = memory.dates.iter().map(|(pack, at)| (pack[3], at / DAY_NANOS)).collect();
        dates.sort_unstable();
        assert_eq!((dates, memory.notes.len()), (vec![(1, 5), (2, 5), (3, 3)], 3));
        // Never verified before verified long ago before verified of late.
        let id = |n: u32| PackId::new([pack(n), [0; 16]].concat().try_into().unwrap());
        memory.listed(id(8), 9 * DAY_NANOS);
        memory.listed(id(9), 8 * DAY_NANOS);
        let packs = [1, 2, 3, 8, 9].map(|n| ((Class::Data, id(n)), 1)).into();
        let order = |max_age: Option<i64>, suspects: &[u32], condemned: &[u32]| {
            let [suspects, condemned] = [suspects, condemned].map(|ids| ids.iter().map(|n| id(*n)).collect());
            let mut order: Vec<_> =
                memory.oldest(&packs, max_age, (&suspects, &condemned)).into_iter().map(|(id, at)| (at, id.as_bytes()[3])).collect();
            order.sort_unstable();
            order.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(order(None, &[], &[]), [9, 8, 3, 1, 2]);
        assert_eq!(order(Some(6 * DAY_NANOS), &[], &[]), [9, 8, 3]);
        // What is known to be damaged waits for the others, at whatever age, and what is to go for all.
        assert_eq!(order(Some(6 * DAY_NANOS), &[9, 1], &[8]), [3, 9, 1, 8]);
    }
}
