//! One request and its tries: with which client, for how long, and what a failure asks for. Nothing here knows what is asked.

use crate::error::{Result, StoreOp};
use crate::id::ObjectName;
use crate::store::s3::answer::{Refusal, Verdict, judge, judge_silent};
use crate::store::s3::meter::MOTION;
use crate::store::s3::patience::{Motion, Tries, Watch};
use crate::store::s3::{Inner, client};
use aws_sdk_s3::Client;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a store may lack, as bits.
pub(super) const CONDITIONAL_PUT: u8 = 1;
pub(super) const CHECKSUMS: u8 = 2;

/// How often a wait looks whether it is to end: a fraction of the second in which Ctrl-C has to work.
const LOOK: Duration = Duration::from_millis(100);
/// Tries for what should not have to be tried twice: a digest that is refused, an answer to another range, a region.
const ODD_TRIES: u32 = 3;
/// A difference of clocks that the user hears of.
const SKEW_SAID_MINUTES: u64 = 5;
/// How long a commit goes on after it was asked to stop: a PUT and two questions, or a tombstone.
const INSISTING_MAX: Duration = Duration::from_secs(20);
/// Failures before the user hears of them, and the time lost after which the first is one too many: a stall takes a minute to be noticed.
const QUIET_TRIES: u32 = 2;
const QUIET_TIME: Duration = Duration::from_secs(10);

/// Failures of one object at one place of it, before it is asked whether the store serves others; fewer for one that was found out before.
const ALONE_TRIES: u32 = 5;
const ALONE_TRIES_KNOWN: u32 = 2;
/// The time that they take at least, as a part of the budget: a minute of a quarter of an hour.
const ALONE_TIME: u32 = 15;
/// So often the store has to serve another between two failures: once may be the moment in which it came back.
const ALONE_SEEN: u32 = 2;

/// The reading of an object, beside which others go on.
pub(super) struct Reading<'a> {
    /// What it is called: its name, or the key of an object that is not ours.
    pub name: &'a str,
    /// How far its bytes came.
    pub at: AtomicU64,
}

/// How an object fails, and no other.
struct Alone {
    at: u64,
    since: Instant,
    tries: u32,
    seen: u32,
}

/// A client, and which one it is.
#[derive(Clone)]
pub(super) struct Current {
    pub client: Client,
    generation: u64,
    region: Option<String>,
}

/// What one try is given.
pub(super) struct Try {
    /// The client.
    pub client: Client,
    /// To be told of every byte that moves.
    pub moved: Arc<Motion>,
}

impl Inner {
    pub(super) fn lacks(&self, what: u8) -> bool {
        self.lacks.load(Relaxed) & what != 0
    }

    pub(super) fn note_lack(&self, what: u8) {
        self.lacks.fetch_or(what, Relaxed);
    }

    fn is_stopped(&self) -> bool {
        if self.given_up.load(Relaxed) {
            return true;
        }
        let asked = self.options.stop.as_ref().is_some_and(|stop| stop.load(Relaxed));
        // What a commit has begun it may bring to an end that it can vouch for, or take back.
        asked && !(self.insisting.load(Relaxed) && self.asked_to_stop.get_or_init(Instant::now).elapsed() < INSISTING_MAX)
    }

    async fn current(&self) -> Current {
        if let Some(current) = &*self.current.read().await {
            return current.clone();
        }
        self.renew(None, None).await
    }

    /// Makes the client anew, once for all that found the one of `generation` wanting.
    async fn renew(&self, generation: Option<u64>, region: Option<String>) -> Current {
        let mut slot = self.current.write().await;
        if let Some(current) = &*slot
            && Some(current.generation) != generation
        {
            return current.clone();
        }
        let region = region.or_else(|| slot.as_ref().and_then(|current| current.region.clone()));
        let client = client::client(&self.place, &self.options, &self.http, region.as_deref(), &self.meter).await;
        let current = Current { client, generation: generation.map_or(0, |n| n + 1), region };
        *slot = Some(current.clone());
        current
    }

    /// Waits, but not longer than until whoever runs this asks to stop.
    pub(super) async fn rest(&self, wait: Duration) -> Result<(), Refusal> {
        let until = Instant::now() + wait;
        loop {
            if self.is_stopped() {
                return Err(Refusal::new(Verdict::Interrupted, "interrupted"));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Runs one try; ends it when nothing moves on its connection, or whoever runs this asks to stop.
    async fn watched<T>(&self, trying: impl Future<Output = Result<T, Refusal>>, motion: &Motion) -> Result<T, Refusal> {
        let mut trying = pin!(trying);
        let idle = self.budget.pace().idle;
        let mut watch = Watch::new(motion);
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK, trying.as_mut()).await {
                return done;
            }
            if self.is_stopped() {
                return Err(Refusal::new(Verdict::Interrupted, "interrupted"));
            }
            if watch.is_idle(motion, idle) {
                return Err(Refusal::new(Verdict::Passing, format!("nothing moved for {} seconds", idle.as_secs())));
            }
        }
    }

    /// Whether the store serves another object: the smallest one that every repository has.
    async fn serves_others(&self, client: &Client) -> bool {
        let moved = Arc::new(Motion::new(self.budget.clone()));
        let key = self.place.key(ObjectName::descriptor().as_str());
        match self.watched(MOTION.scope(moved.clone(), self.first_byte(client, &key)), &moved).await {
            Ok(()) => true,
            Err(refusal) => refusal.verdict == Verdict::Missing,
        }
    }

    /// Takes note of a failure. Whether it is the object by now: a quarter of an hour of patience with each one that a store cannot read
    /// ends nothing but the run, which has others to read.
    async fn fails_alone(&self, reading: &Reading<'_>, client: &Client, alone: &mut Option<Alone>) -> bool {
        let at = reading.at.load(Relaxed);
        // Elsewhere in it than the last time: that is a line that breaks.
        let same = alone.take().filter(|alone| alone.at == at);
        let alone = alone.insert(same.unwrap_or_else(|| Alone { at, since: Instant::now(), tries: 0, seen: 0 }));
        alone.tries += 1;
        let known = self.unreadable().contains(reading.name);
        let (tries, time, seen) = match known {
            true => (ALONE_TRIES_KNOWN, Duration::ZERO, 1),
            false => (ALONE_TRIES, self.budget.pace().budget / ALONE_TIME, ALONE_SEEN),
        };
        if alone.tries < tries || alone.since.elapsed() < time || reading.name == ObjectName::descriptor().as_str() {
            return false;
        }
        if !self.serves_others(client).await {
            alone.seen = 0;
            return false;
        }
        self.budget.alive();
        alone.seen += 1;
        if alone.seen < seen {
            return false;
        }
        self.unreadable().insert(reading.name.to_owned());
        true
    }

    /// Makes a request until it succeeds, fails for good, or the budget is spent.
    pub(super) async fn request<T, F>(&self, once: impl FnMut(Try) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        self.request_for(None, once).await
    }

    /// As [`Inner::request`]; where an object is read, its failures may be its own.
    pub(super) async fn request_for<T, F>(&self, reading: Option<&Reading<'_>>, mut once: impl FnMut(Try) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut tries = Tries::new(self.budget.pace());
        let mut odd = 0;
        let mut alone = None;
        if let Some(what) = self.budget.given_up() {
            let verdict = if self.is_stopped() { Verdict::Interrupted } else { Verdict::Passing };
            return Err(Refusal::new(verdict, what));
        }
        loop {
            if self.is_stopped() {
                return Err(Refusal::new(Verdict::Interrupted, "interrupted"));
            }
            let current = self.current().await;
            let permit = self.gate.enter().await;
            let moved = Arc::new(Motion::new(self.budget.clone()));
            let once = once(Try { client: current.client.clone(), moved: moved.clone() });
            let tried = self.watched(MOTION.scope(moved.clone(), once), &moved).await;
            drop(permit);
            let stalled = moved.stalled();
            let refusal = match tried {
                Ok(done) => {
                    self.gate.succeeded();
                    self.budget.alive();
                    self.say_skew();
                    return Ok(done);
                }
                Err(refusal) => refusal,
            };
            let mut asked = None;
            match refusal.verdict {
                Verdict::Passing => {
                    if let Some(reading) = reading
                        && self.fails_alone(reading, &current.client, &mut alone).await
                    {
                        return Err(Refusal { verdict: Verdict::Unreadable, ..refusal });
                    }
                }
                Verdict::Throttled(after) => {
                    self.gate.throttled();
                    asked = after;
                }
                Verdict::Credentials | Verdict::Keyless | Verdict::Keys | Verdict::Skewed | Verdict::Region | Verdict::Garbled => {
                    odd += 1;
                    if odd >= ODD_TRIES {
                        return Err(explained(refusal).await);
                    }
                    match refusal.verdict {
                        Verdict::Credentials | Verdict::Keyless | Verdict::Keys | Verdict::Region => {
                            drop(self.renew(Some(current.generation), refusal.region.clone()).await);
                        }
                        Verdict::Skewed => self.say_skew(),
                        _ => {}
                    }
                }
                // The store is there, and has answered.
                _ => {
                    self.budget.alive();
                    return Err(refusal);
                }
            }
            let Some(wait) = self.budget.grant(&mut tries, stalled, asked, &refusal.text) else {
                return Err(explained(refusal).await);
            };
            if (tries.count > QUIET_TRIES || tries.spent > QUIET_TIME) && !self.said.swap(true, Relaxed) {
                let minutes = self.budget.pace().budget.as_secs().div_ceil(60);
                self.say(&format!("{}: {}; trying again for up to {minutes} minutes", self.place.text(), refusal.text));
            }
            self.rest(wait).await?;
        }
    }

    /// Says once that the clocks differ by more than anybody would want: times of snapshots come from ours.
    fn say_skew(&self) {
        let minutes = self.meter.ahead().unwrap_or(0).unsigned_abs() / 60_000_000_000;
        if minutes >= SKEW_SAID_MINUTES && !self.skew_said.swap(true, Relaxed) {
            self.say(&format!("the clock of this machine and the store's differ by {minutes} minutes"));
        }
    }

    pub(super) fn say(&self, text: &str) {
        if let Some(say) = &self.options.say {
            say(text);
        }
    }

    pub(super) async fn delete(&self, name: &ObjectName) -> Result<()> {
        let key = self.place.key(name.as_str());
        let deleted = self
            .request(|Try { client, .. }| {
                let key = &key;
                async move { client.delete_object().bucket(&self.place.bucket).key(key).send().await.map(|_| ()).map_err(judge_silent) }
            })
            .await;
        match deleted {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.verdict == Verdict::Missing => Ok(()),
            Err(refusal) => Err(self.object_error(StoreOp::Delete, name, refusal)),
        }
    }

    pub(super) async fn create_bucket(&self) -> Result<()> {
        use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
        let made = self
            .request(|Try { client, .. }| async move {
                let region = client.config().region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
                let mut asked = client.create_bucket().bucket(&self.place.bucket);
                // us-east-1 is the one region that must not be named; stores of one's own have their own mind about all others.
                if self.place.is_aws() && region != "us-east-1" {
                    let there = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(&*region));
                    asked = asked.create_bucket_configuration(there.build());
                }
                asked.send().await.map(|_| ()).map_err(|error| {
                    let mine = error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you());
                    if mine { Refusal::new(Verdict::Exists, "it is there") } else { judge(error) }
                })
            })
            .await;
        match made {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.verdict == Verdict::Exists => Ok(()),
            Err(refusal) => Err(self.error(StoreOp::Open, &self.place.text(), refusal)),
        }
    }
}

/// Adds to a failure to load credentials what the SDK passes over: that the profile that is asked for is nowhere.
async fn explained(mut refusal: Refusal) -> Refusal {
    if refusal.verdict == Verdict::Keyless
        && let Some(profile) = client::profile_that_is_not_there().await
    {
        refusal.text = format!("there is no profile `{profile}` (AWS_PROFILE); {}", refusal.text);
    }
    refusal
}
