//! When to try again, when a connection is given up, and how much at a time: one budget of waiting per run, decorrelated jitter, and a
//! number of connections that halves when the store says that it is too much and grows again while it does not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
const IDLE_BYTES_PER_SECOND: u64 = 1024;
/// The longest wait that a store may impose on us.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// One request's way through its tries.
pub struct Tries {
    wait: Duration,
    /// What it waited, and how long nothing moved in the tries that failed.
    pub spent: Duration,
    /// How often it failed.
    pub count: u32,
}

impl Tries {
    /// None yet.
    pub fn new(pace: &Pace) -> Self {
        Tries { wait: pace.wait_min, spent: Duration::ZERO, count: 0 }
    }

    /// How long to wait now: between the shortest wait and three times the last one, by chance, so that clients that failed together
    /// do not come back together.
    fn next_wait(&mut self, pace: &Pace, asked: Option<Duration>) -> Duration {
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
    /// Since when nothing moves anywhere, if somebody has noticed.
    since: Option<Instant>,
    spent: Duration,
    exhausted: Option<Exhausted>,
}

/// All of the budget went, and nothing has moved since.
struct Exhausted {
    /// When a request was given up last, or let through.
    at: Instant,
    /// What it met.
    what: String,
    /// One was let through since.
    scouted: bool,
}

/// The budget that all requests of a run share. It pays for time in which nothing happens, never for bytes that move slowly.
pub struct Budget {
    pace: Pace,
    began: Instant,
    /// When a byte moved last, or a request was answered; nanoseconds since `began`.
    alive: AtomicU64,
    /// Whether `Trouble::since` is set: asked with every slice of every body, without the lock.
    troubled: AtomicBool,
    trouble: Mutex<Trouble>,
}

impl Budget {
    /// All of it is left.
    pub fn new(pace: Pace) -> Self {
        let (alive, troubled) = (AtomicU64::new(0), AtomicBool::new(false));
        Budget { pace, began: Instant::now(), alive, troubled, trouble: Mutex::default() }
    }

    /// How waiting is done.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The store is there: it answered, or bytes move.
    pub fn alive(&self) {
        self.alive_at(Instant::now());
    }

    fn alive_at(&self, now: Instant) {
        self.alive.fetch_max(nanos(now.saturating_duration_since(self.began)), Relaxed);
        if self.troubled.load(Relaxed) {
            let mut trouble = lock(&self.trouble);
            self.troubled.store(false, Relaxed);
            trouble.exhausted = None;
            if let Some(since) = trouble.since.take() {
                trouble.spent += now.saturating_duration_since(since);
            }
        }
    }

    /// A request failed, and nothing of it had moved for `stalled`. How long it is to wait before its next try; `None` when there is
    /// none. The time in which nothing moved anywhere counts once, however many requests wait in it; beside others that get on, a
    /// request has only its own time. Whatever others spent, each may try once more, unless nothing has moved since one of them was
    /// given up: where many names are asked for, one try more of each, a minute long, is hours.
    pub fn grant(&self, tries: &mut Tries, stalled: Duration, asked: Option<Duration>, what: &str) -> Option<Duration> {
        self.grant_at(Instant::now(), tries, stalled, asked, what)
    }

    /// What the last request met that was given up, where another one need not even try. One may: what was given up may have been about
    /// one thing that its caller does without. If that meets the same, nobody tries for a while.
    pub fn given_up(&self) -> Option<String> {
        self.given_up_at(Instant::now())
    }

    fn given_up_at(&self, now: Instant) -> Option<String> {
        if !self.troubled.load(Relaxed) {
            return None;
        }
        let mut trouble = lock(&self.trouble);
        let exhausted = trouble.exhausted.as_mut()?;
        if exhausted.scouted && now.saturating_duration_since(exhausted.at) < self.pace.wait_max {
            return Some(exhausted.what.clone());
        }
        (exhausted.scouted, exhausted.at) = (true, now);
        None
    }

    fn grant_at(&self, now: Instant, tries: &mut Tries, stalled: Duration, asked: Option<Duration>, what: &str) -> Option<Duration> {
        let mut wait = tries.next_wait(&self.pace, asked);
        tries.spent += stalled;
        let mut trouble = lock(&self.trouble);
        let alive = self.began + Duration::from_nanos(self.alive.load(Relaxed));
        let since = *trouble.since.get_or_insert_with(|| now.checked_sub(stalled).map_or(now, |since| since.max(alive).min(now)));
        self.troubled.store(true, Relaxed);
        let spent = trouble.spent + now.saturating_duration_since(since);
        if (spent + wait).max(tries.spent + wait) > self.pace.budget {
            if tries.count > 1 || trouble.exhausted.is_some() {
                // Beside others that get on it is this one's time alone that is over.
                if spent + wait > self.pace.budget {
                    let scouted = trouble.exhausted.as_ref().is_some_and(|exhausted| exhausted.scouted);
                    trouble.exhausted = Some(Exhausted { at: now, what: what.to_owned(), scouted });
                }
                return None;
            }
            // Not as long as the store asks for, though: that would be more than all of it.
            wait = tries.wait;
        }
        tries.spent += wait;
        Some(wait)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What Linux buffers of one connection at most (net.ipv4.tcp_wmem), and how much of it is gone within any idle time.
const SEND_BUFFER_BYTES: u64 = 4 << 20;
const SEND_BUFFER_FREE: u64 = 512 << 10;
/// Bytes per second of a line that nothing is known of: 0.25 Mbit/s.
const SLOW_LINE: f64 = 32.0 * 1024.0;
/// Nobody waits longer than this for a store that took everything and says nothing.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// What moves in one try.
pub struct Motion {
    budget: Arc<Budget>,
    began: Instant,
    bytes: AtomicU64,
    /// When the last byte moved, nanoseconds since `began`; in the future while the next one waits for a limit of ours.
    last: AtomicU64,
    /// Until when bytes waited for a limit of ours, likewise.
    held: AtomicU64,
}

impl Motion {
    /// Begins now.
    pub fn new(budget: Arc<Budget>) -> Self {
        let zero = || AtomicU64::new(0);
        Motion { budget, began: Instant::now(), bytes: zero(), last: zero(), held: zero() }
    }

    /// So many bytes of an object or a listing went or came.
    pub fn moved(&self, bytes: u64) {
        self.stirred(bytes);
        self.budget.alive();
    }

    /// So many bytes came of an answer that says no: the connection is alive, which says nothing of the store.
    pub fn stirred(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.last.fetch_max(nanos(self.began.elapsed()), Relaxed);
    }

    /// All bytes were handed over. What the system holds of them is still on its way, and on a slow line for longer than a store may be
    /// silent: it gets the time that it needs at the rate of what went before, or at that of a slow line.
    pub fn sent(&self) {
        let bytes = self.bytes.load(Relaxed);
        let held = bytes.min(SEND_BUFFER_BYTES);
        let went = bytes - held;
        let elapsed = self.began.elapsed().as_secs_f64();
        // Less says nothing of the line: the other end buffers too.
        let rate = if went >= 4 * SEND_BUFFER_BYTES { went as f64 / elapsed.max(0.001) } else { SLOW_LINE };
        let drain = held.saturating_sub(SEND_BUFFER_FREE) as f64 / rate.max(IDLE_BYTES_PER_SECOND as f64);
        self.hold(Instant::now() + Duration::from_secs_f64(drain).min(DRAIN_MAX));
    }

    /// The next byte waits until then for a limit of ours: the store has no part in that.
    pub fn hold(&self, until: Instant) {
        let until = nanos(until.saturating_duration_since(self.began));
        self.held.fetch_max(until, Relaxed);
        self.last.fetch_max(until, Relaxed);
    }

    /// For how long nothing has moved.
    pub fn stalled(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_nanos(self.last.load(Relaxed)))
    }
}

/// Looks whether a try gets on.
pub struct Watch {
    since: Instant,
    bytes: u64,
}

impl Watch {
    /// Begins with the try.
    pub fn new(motion: &Motion) -> Self {
        Watch { since: motion.began, bytes: 0 }
    }

    /// Whether too little moved for too long.
    pub fn is_idle(&mut self, motion: &Motion, idle: Duration) -> bool {
        self.is_idle_at(Instant::now(), motion, idle)
    }

    fn is_idle_at(&mut self, now: Instant, motion: &Motion, idle: Duration) -> bool {
        let bytes = motion.bytes.load(Relaxed);
        let held = motion.began + Duration::from_nanos(motion.held.load(Relaxed));
        if held > self.since {
            (self.since, self.bytes) = (held, bytes);
        }
        if now.saturating_duration_since(self.since) < idle {
            return false;
        }
        if bytes - self.bytes < IDLE_BYTES_PER_SECOND * idle.as_secs().max(1) {
            return true;
        }
        (self.since, self.bytes) = (now, bytes);
        false
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

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Waits of a second, a budget of ten minutes.
    fn budget() -> Budget {
        Budget::new(Pace { budget: secs(600), wait_min: secs(1), wait_max: secs(1), ..Pace::default() })
    }

    #[test]
    fn a_budget_ends() {
        let budget = budget();
        let (mut tries, mut now, mut waits) = (Tries::new(budget.pace()), budget.began, 0);
        while budget.grant_at(now, &mut tries, secs(9), None, "away").is_some() {
            now += secs(10);
            waits += 1;
        }
        assert_eq!(waits, 60);
    }

    /// An upload that took longer than the budget and was reset then was never tried again: the budget paid for the time in which it
    /// went well.
    #[test]
    fn what_moves_costs_nothing() {
        let budget = budget();
        let (mut tries, mut now) = (Tries::new(budget.pace()), budget.began);
        for _ in 0..100 {
            // Twenty minutes of healthy upload, then a reset.
            budget.alive_at(now);
            now += secs(1200);
            budget.alive_at(now);
            assert_eq!(budget.grant_at(now, &mut tries, Duration::ZERO, None, "away"), Some(secs(1)));
            now += secs(1);
        }
        budget.alive_at(now);
        assert_eq!(lock(&budget.trouble).spent, secs(100), "the waits");
    }

    /// One error was charged from then until some request succeeded, minutes later on a slow line, though bytes moved all the time.
    #[test]
    fn trouble_ends_with_the_first_byte() {
        let (budget, mut tries) = (budget(), Tries::new(&Pace::default()));
        let began = budget.began;
        budget.grant_at(began + secs(100), &mut tries, secs(60), None, "away");
        budget.alive_at(began + secs(102));
        budget.alive_at(began + secs(400));
        assert_eq!(lock(&budget.trouble).spent, secs(62), "the minute in which it stalled, and what it waited");
        // Another one, who stalled while the first got on.
        budget.grant_at(began + secs(401), &mut tries, secs(60), None, "away");
        budget.alive_at(began + secs(402));
        assert_eq!(lock(&budget.trouble).spent, secs(64));
    }

    #[test]
    fn each_request_may_try_once_more() {
        let budget = budget();
        lock(&budget.trouble).spent = secs(600);
        let mut tries = Tries::new(budget.pace());
        assert_eq!(budget.grant_at(budget.began, &mut tries, secs(60), Some(secs(300)), "away"), Some(secs(1)));
        assert_eq!(budget.grant_at(budget.began, &mut tries, Duration::ZERO, None, "away"), None);
    }

    /// On a network that swallows everything each of ten thousand names had two tries of a minute, after all patience was gone.
    #[test]
    fn where_nothing_moves_after_the_budget_went_nobody_tries_again() {
        let budget = budget();
        lock(&budget.trouble).spent = secs(600);
        let now = Instant::now();
        let grant = |tries: &mut Tries| budget.grant_at(now, tries, secs(60), None, "away");
        let (mut one, mut other) = (Tries::new(budget.pace()), Tries::new(budget.pace()));
        assert!(grant(&mut one).is_some());
        assert_eq!(budget.given_up_at(now), None);
        assert_eq!(grant(&mut one), None);
        assert_eq!(budget.given_up_at(now), None, "one may see whether it is everything");
        assert_eq!(budget.given_up_at(now).as_deref(), Some("away"));
        assert_eq!(budget.given_up_at(now + secs(1)), None, "another one after a while");
        assert_eq!(grant(&mut other), None, "its first failure");
        budget.alive();
        assert_eq!(budget.given_up_at(now), None);
        assert!(grant(&mut Tries::new(budget.pace())).is_some(), "something moved");
    }

    /// With `--limit-upload` below a kilobyte a second the watchdog cut connections that only waited for that limit.
    #[test]
    fn waiting_for_our_own_limit_is_not_idle() {
        let motion = Motion::new(Arc::new(budget()));
        let (mut watch, began) = (Watch::new(&motion), motion.began);
        motion.stirred(512);
        motion.hold(began + secs(500));
        assert!(!watch.is_idle_at(began + secs(499), &motion, secs(60)));
        assert_eq!(motion.stalled(), Duration::ZERO);
        assert!(!watch.is_idle_at(began + secs(559), &motion, secs(60)));
        assert!(watch.is_idle_at(began + secs(560), &motion, secs(60)), "nothing came after the limit let it");
        let mut watch = Watch::new(&motion);
        motion.stirred(70_000);
        assert!(!watch.is_idle_at(began + secs(499), &motion, secs(60)));
        motion.stirred(61 * 1024);
        assert!(!watch.is_idle_at(began + secs(560), &motion, secs(60)));
        assert!(watch.is_idle_at(began + secs(620), &motion, secs(60)));
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
