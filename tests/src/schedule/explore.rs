//! All schedules within bounds, those with the fewest interventions first: each is played from the start, since threads cannot be copied.

use crate::schedule::choice::{Chooser, Point, Taken};
use crate::schedule::crew::Crew;
use crate::schedule::random::Random;
use crate::schedule::scenario::Scenario;
use crate::schedule::script::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Processes of a schedule at most.
pub const PROCESSES_MAX: usize = 12;

/// What came of an exploration.
#[derive(Debug, Default)]
pub struct Explored {
    /// Schedules that were played.
    pub schedules: u64,
    /// Whether those were all within the bounds.
    pub complete: bool,
    /// How often a replay went another way than the run it repeats: what the engine draws or hashes decides about it.
    pub diverged: u64,
    /// The first schedule that must not be.
    pub failure: Option<Failure>,
}

/// A run as another one is, up to a point.
struct Branch {
    path: Arc<[Taken]>,
    at: usize,
    chosen: u16,
}

/// Follows a branch, and lets nobody interfere behind it.
struct Follow {
    branch: Branch,
    diverged: u32,
}

impl Chooser for Follow {
    fn choose(&mut self, point: &Point) -> Taken {
        let Branch { path, at, chosen } = &self.branch;
        if point.step == *at && *at < path.len() {
            return point.take(usize::from(*chosen));
        }
        let Some(before) = path.get(point.step).filter(|_| point.step < *at) else { return point.take(0) };
        let taken = point.again(before.choice).unwrap_or_else(|| point.take(0));
        self.diverged += u32::from(taken.signature != before.signature);
        taken
    }

    fn diverged(&self) -> u32 {
        self.diverged
    }
}

/// Works on as many threads as there are processors, each with a crew of its own, which stays on one of them: of a crew one thread at a time
/// has something to do, and to wake the next on another processor takes as long as the engine's part of a schedule.
pub fn on_all_processors(work: impl Fn(usize, &Crew) + Sync) {
    let allowed = sched_getaffinity(None).expect("the processors of this process");
    // A container may allow all of them, and only the time of two.
    let drivers = std::thread::available_parallelism().map_or(2, usize::from);
    let processors = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).take(drivers);
    std::thread::scope(|scope| {
        for (driver, processor) in processors.enumerate() {
            let work = &work;
            scope.spawn(move || {
                let mut only = CpuSet::new();
                only.set(processor);
                // Threads that this one starts stay there, too.
                sched_setaffinity(None, &only).expect("a processor of this process");
                work(driver, &Crew::new(PROCESSES_MAX));
            });
        }
    });
}

/// Plays all schedules of a scenario, but no more than `limit`.
pub fn explore(scenario: &Scenario, limit: u64) -> Explored {
    let (played, diverged) = (AtomicU64::new(0), AtomicU64::new(0));
    let failure: Mutex<Option<Failure>> = Mutex::new(None);
    let found = || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let mut level = vec![Branch { path: Arc::new([]), at: 0, chosen: 0 }];
    while !level.is_empty() && !found() && played.load(Relaxed) < limit {
        // Where not all of them will be played, those that are should be of all kinds.
        let mut random = Random::new(level.len() as u64);
        for at in 1..level.len() {
            level.swap(at, random.below(at as u64 + 1) as usize);
        }
        let todo = Mutex::new((std::mem::take(&mut level), Vec::new()));
        let lock = || todo.lock().unwrap_or_else(PoisonError::into_inner);
        on_all_processors(|_, crew| {
            loop {
                let Some(branch) = lock().0.pop() else { return };
                if found() || played.fetch_add(1, Relaxed) >= limit {
                    lock().0.push(branch);
                    return;
                }
                let from = if branch.path.is_empty() { 0 } else { branch.at + 1 };
                let run = scenario.play(crew, Box::new(Follow { branch, diverged: 0 }));
                diverged.fetch_add(u64::from(run.chooser.diverged()), Relaxed);
                if let Some(new) = Failure::of(scenario, &run) {
                    let new = new.shorter(scenario, crew);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(new);
                    return;
                }
                let path: Arc<[Taken]> = run.trace.taken.into();
                let branches = (from..path.len()).flat_map(|at| (1..path[at].count).map(move |chosen| (at, chosen)));
                let branches: Vec<_> = branches.map(|(at, chosen)| Branch { path: path.clone(), at, chosen }).collect();
                lock().1.extend(branches);
            }
        });
        let (left, next) = todo.into_inner().unwrap_or_else(PoisonError::into_inner);
        level = next;
        level.extend(left);
    }
    Explored {
        schedules: played.into_inner().min(limit),
        complete: level.is_empty(),
        diverged: diverged.into_inner(),
        failure: failure.into_inner().unwrap_or_else(PoisonError::into_inner),
    }
}

/// Plays schedules by chance: `make` says for each seed which scenario and who chooses.
pub fn roam(seeds: std::ops::Range<u64>, make: impl Fn(u64) -> (Scenario, Box<dyn Chooser>) + Sync) -> Explored {
    let (next, played) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failure: Mutex<Option<Failure>> = Mutex::new(None);
    let found = || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    on_all_processors(|_, crew| {
        while !found() {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (scenario, chooser) = make(seed);
            let run = scenario.play(crew, chooser);
            played.fetch_add(1, Relaxed);
            if let Some(new) = Failure::of(&scenario, &run) {
                let new = new.shorter(&scenario, crew);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(new);
            }
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    Explored { schedules: played.into_inner(), complete: false, diverged: 0, failure }
}
