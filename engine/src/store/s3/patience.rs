//! When to try again, and how much at a time: one budget of waiting per run, decorrelated jitter, and a number of connections that
//! halves when the store says that it is too much and grows again while it does not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long to wait between tries, and when to stop.
#[derive(Clone, Debug)]
pub struct Pace {
    /// What a run may spend on a store that does not answer, all requests together (restic's figure).
    pub budget: Duration,
    /// The shortest wait.
    pub wait_min: Duration,
    /// The longest wait that we choose; the store may ask for longer.
    pub wait_max: Duration,
    /// A connection on which less than 1 KiB a second moves for so long is given up.
    pub idle: Duration,
    /// How long an object that must be there may be missing before that is believed (`reliability.md`: ten seconds).
    pub missing: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            budget: Duration::from_secs(15 * 60),
            wait_min: Duration::from_millis(100),
            wait_max: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            missing: Duration::from_secs(10),
        }
    }
}

/// Below this rate a connection counts as stalled.
pub const IDLE_BYTES_PER_SECOND: u64 = 1024;
/// The longest wait that a store may impose on us.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// One request's way through its tries.
pub struct Tries {
    began: Instant,
    wait: Duration,
    /// How often it failed.
    pub count: u32,
}

impl Tries {
    /// None yet.
    pub fn new(pace: &Pace) -> Self {
        Tries { began: Instant::now(), wait: pace.wait_min, count: 0 }
    }

    /// Since the first.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long to wait now: between the shortest wait and three times the last one, by chance, so that clients that failed together
    /// do not come back together.
    pub fn next_wait(&mut self, pace: &Pace, asked: Option<Duration>) -> Duration {
        self.count += 1;
        let most = (self.wait * 3).min(pace.wait_max).max(pace.wait_min);
        let mut random = [0; 4];
        // Without randomness all wait the longest: late, not wrong.
        let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
        self.wait = pace.wait_min + (most - pace.wait_min).mul_f64(share);
        asked.map_or(self.wait, |asked| asked.min(RETRY_AFTER_MAX).max(self.wait))
    }
}

#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    spent: Duration,
}

/// The budget that all requests of a run share.
pub struct Budget {
    pace: Pace,
    trouble: Mutex<Trouble>,
}

impl Budget {
    /// All of it is left.
    pub fn new(pace: Pace) -> Self {
        Budget { pace, trouble: Mutex::default() }
    }

    /// How waiting is done.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// A request succeeded: the store is there.
    pub fn succeeded(&self) {
        let mut trouble = lock(&self.trouble);
        if let Some(since) = trouble.since.take() {
            trouble.spent += since.elapsed();
        }
    }

    /// A request failed, and would wait for `wait`. Whether it may: the time in which nothing succeeded counts once, however many
    /// requests wait in it; a request that fails while all others succeed has only its own time.
    pub fn allows(&self, tries: &Tries, wait: Duration) -> bool {
        let mut trouble = lock(&self.trouble);
        let since = *trouble.since.get_or_insert_with(Instant::now);
        trouble.spent + since.elapsed() + wait <= self.pace.budget && tries.began.elapsed() + wait <= self.pace.budget
    }
}

/// How many requests run at a time.
pub struct Gate {
    state: Mutex<GateState>,
    freed: Notify,
    most: usize,
    adaptive: bool,
}

struct GateState {
    limit: f64,
    running: usize,
    halved: Option<Instant>,
}

/// Requests at the start of an adaptive run, and at most.
const CONNECTIONS: (f64, usize) = (8.0, 32);
/// Answers to requests that were under way together are one message.
const HALVING_APART: Duration = Duration::from_secs(1);

/// The right to one request.
pub struct Permit<'a>(&'a Gate);

impl Gate {
    /// As many as the user says, or as many as the store bears.
    pub fn new(connections: Option<usize>) -> Self {
        let (limit, most) = connections.map_or(CONNECTIONS, |n| (n.max(1) as f64, n.max(1)));
        let state = Mutex::new(GateState { limit, running: 0, halved: None });
        Gate { state, freed: Notify::new(), most, adaptive: connections.is_none() }
    }

    /// How many requests may be useful at a time.
    pub fn most(&self) -> usize {
        self.most
    }

    #[cfg(test)]
    fn limit(&self) -> usize {
        lock(&self.state).limit as usize
    }

    /// Waits for its turn.
    pub async fn enter(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = lock(&self.state);
                if state.running < (state.limit as usize).max(1) {
                    state.running += 1;
                    return Permit(self);
                }
            }
            freed.await;
        }
    }

    /// The store said that it is too much.
    pub fn throttled(&self) {
        let mut state = lock(&self.state);
        if self.adaptive && state.halved.is_none_or(|at| at.elapsed() > HALVING_APART) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.halved = Some(Instant::now());
        }
    }

    /// A request succeeded: one more for every full round.
    pub fn succeeded(&self) {
        let mut state = lock(&self.state);
        if self.adaptive {
            state.limit = (state.limit + 1.0 / state.limit).min(self.most as f64);
            drop(state);
            // There may be room for one more than leaves.
            self.freed.notify_one();
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).running -= 1;
        self.0.freed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_between_their_bounds_and_obey_the_store() {
        let pace = Pace { wait_min: Duration::from_millis(10), wait_max: Duration::from_millis(100), ..Pace::default() };
        let mut tries = Tries::new(&pace);
        for _ in 0..50 {
            let wait = tries.next_wait(&pace, None);
            assert!((pace.wait_min..=pace.wait_max).contains(&wait), "{wait:?}");
        }
        assert_eq!(tries.next_wait(&pace, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(tries.next_wait(&pace, Some(Duration::from_secs(86_400))), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_budget_ends() {
        let pace = Pace { budget: Duration::from_secs(5), ..Pace::default() };
        let (budget, tries) = (Budget::new(pace.clone()), Tries::new(&pace));
        assert!(budget.allows(&tries, Duration::from_secs(1)));
        assert!(!budget.allows(&tries, Duration::from_secs(6)));
        lock(&budget.trouble).spent = Duration::from_secs(5);
        assert!(!budget.allows(&tries, Duration::from_millis(1)));
    }

    #[test]
    fn connections_halve_once_per_message_and_grow_by_one_per_round() {
        let gate = Gate::new(None);
        gate.throttled();
        gate.throttled();
        assert_eq!(gate.limit(), 4);
        (0..5).for_each(|_| gate.succeeded());
        assert_eq!(gate.limit(), 5);
        let fixed = Gate::new(Some(3));
        fixed.throttled();
        fixed.succeeded();
        assert_eq!((fixed.limit(), fixed.most()), (3, 3));
    }
}
