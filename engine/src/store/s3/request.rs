//! One request and its tries, and what reading an object is made of. Every answer is held against what was asked: offset, length, end.
//! What it hands out is complete; a beginning is never passed off as the whole.

use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::patience::{IDLE_BYTES_PER_SECOND, Tries};
use crate::store::s3::{Inner, client};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::ops::Range;
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
/// Failures before the user hears of them, and the time after which the first is one too many: a stall takes a minute to be noticed.
const QUIET_TRIES: u32 = 2;
const QUIET_TIME: Duration = Duration::from_secs(10);

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
    /// Grows with every byte that moves.
    pub moved: Arc<AtomicU64>,
}

impl Inner {
    pub(super) fn lacks(&self, what: u8) -> bool {
        self.lacks.load(Relaxed) & what != 0
    }

    pub(super) fn note_lack(&self, what: u8) {
        self.lacks.fetch_or(what, Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.as_ref().is_some_and(|stop| stop.load(Relaxed))
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
    async fn watched<T>(&self, trying: impl Future<Output = Result<T, Refusal>>, moved: &AtomicU64) -> Result<T, Refusal> {
        let mut trying = pin!(trying);
        let idle = self.budget.pace().idle;
        let (mut since, mut then) = (Instant::now(), moved.load(Relaxed));
        loop {
            if let Ok(done) = tokio::time::timeout(LOOK, trying.as_mut()).await {
                return done;
            }
            if self.is_stopped() {
                return Err(Refusal::new(Verdict::Interrupted, "interrupted"));
            }
            if since.elapsed() >= idle {
                let now = moved.load(Relaxed);
                if now - then < IDLE_BYTES_PER_SECOND * idle.as_secs().max(1) {
                    return Err(Refusal::new(Verdict::Passing, format!("nothing moved for {} seconds", idle.as_secs())));
                }
                (since, then) = (Instant::now(), now);
            }
        }
    }

    /// Makes a request until it succeeds, fails for good, or the budget is spent.
    pub(super) async fn request<T, F>(&self, mut once: impl FnMut(Try) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut tries = Tries::new(self.budget.pace());
        let mut odd = 0;
        loop {
            if self.is_stopped() {
                return Err(Refusal::new(Verdict::Interrupted, "interrupted"));
            }
            let current = self.current().await;
            let moved = Arc::new(AtomicU64::new(0));
            let permit = self.gate.enter().await;
            let tried = self.watched(once(Try { client: current.client, moved: moved.clone() }), &moved).await;
            drop(permit);
            let refusal = match tried {
                Ok(done) => {
                    self.gate.succeeded();
                    self.budget.succeeded();
                    self.say_skew();
                    return Ok(done);
                }
                Err(refusal) => refusal,
            };
            let mut asked = None;
            match refusal.verdict {
                Verdict::Passing => {}
                Verdict::Throttled(after) => {
                    self.gate.throttled();
                    asked = after;
                }
                Verdict::Credentials | Verdict::Skewed | Verdict::Region | Verdict::Garbled => {
                    odd += 1;
                    if odd >= ODD_TRIES {
                        return Err(refusal);
                    }
                    match refusal.verdict {
                        Verdict::Credentials => drop(self.renew(Some(current.generation), None).await),
                        Verdict::Region => drop(self.renew(Some(current.generation), refusal.region.clone()).await),
                        Verdict::Skewed => self.say_skew(),
                        _ => {}
                    }
                }
                // The store is there, and has answered.
                _ => {
                    self.budget.succeeded();
                    return Err(refusal);
                }
            }
            let wait = tries.next_wait(self.budget.pace(), asked);
            if !self.budget.allows(&tries, wait) {
                return Err(refusal);
            }
            if (tries.count > QUIET_TRIES || tries.took() > QUIET_TIME) && !self.said.swap(true, Relaxed) {
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

    fn say(&self, text: &str) {
        if let Some(say) = &self.options.say {
            say(text);
        }
    }

    /// One GET with a range. Returns the length of the whole object; what it hands out goes behind what `into` holds.
    async fn fetch(&self, name: &ObjectName, range: String, expect: Expect, into: &mut Vec<u8>) -> Result<u64, Refusal> {
        let key = self.place.key(name.as_str());
        let start = into.len();
        // What one try got, the next one need not fetch again.
        let got = tokio::sync::Mutex::new((std::mem::take(into), None));
        let asked = &range;
        let fetched = self
            .request(|Try { client, moved }| {
                let (key, got, expect) = (&key, &got, &expect);
                async move {
                    let mut got = got.lock().await;
                    let (bytes, whole) = &mut *got;
                    let have = (bytes.len() - start) as u64;
                    let range = match (expect, have) {
                        (_, 0) => asked.clone(),
                        (Expect::Range(range), have) => format!("bytes={}-{}", range.start + have, range.end - 1),
                        // The next try may see another end: from the beginning.
                        _ => {
                            bytes.truncate(start);
                            asked.clone()
                        }
                    };
                    let from = (bytes.len() - start) as u64;
                    let answer = client.get_object().bucket(&self.place.bucket).key(key).range(range).send().await.map_err(judge)?;
                    if answer.content_range().is_none() {
                        is_a_store_s(answer.e_tag(), answer.last_modified())?;
                    }
                    let place = Arrived::of(&answer, expect, from)?;
                    if whole.is_some_and(|whole| whole != place.whole) {
                        bytes.truncate(start);
                        *whole = None;
                        return Err(Refusal::new(Verdict::Passing, "the object changed its length while it was read"));
                    }
                    *whole = Some(place.whole);
                    if place.whole > expect.bytes_max() {
                        return Ok(place.whole);
                    }
                    self.take_in(answer, place.bytes, &moved, bytes).await?;
                    Ok(place.whole)
                }
            })
            .await;
        *into = got.into_inner().0;
        if fetched.is_err() {
            into.truncate(start);
        }
        fetched
    }

    /// Reads a body of which `bytes` are announced.
    async fn take_in(&self, answer: GetObjectOutput, bytes: u64, moved: &AtomicU64, into: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut body = answer.body;
        let end = into.len() as u64 + bytes;
        into.reserve(bytes as usize);
        loop {
            let slice = match body.next().await {
                None => break,
                Some(Ok(slice)) => slice,
                Some(Err(error)) => return Err(Refusal::new(Verdict::Passing, format!("the connection broke: {error}"))),
            };
            self.meter.arrived(slice.len() as u64);
            moved.fetch_add(slice.len() as u64, Relaxed);
            if into.len() as u64 + slice.len() as u64 > end {
                return Err(Refusal::new(Verdict::Passing, "more arrived than was announced"));
            }
            into.extend_from_slice(&slice);
            if let Some(until) = self.down.take(slice.len() as u64) {
                tokio::time::sleep_until(until).await;
            }
        }
        if into.len() as u64 == end { Ok(()) } else { Err(Refusal::new(Verdict::Passing, "less arrived than was announced")) }
    }

    /// Asks again for a while for what must be there: some stores show a new object late.
    pub(super) async fn patient<T, F>(&self, name: &ObjectName, mut once: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = Instant::now();
        let mut wait = self.budget.pace().missing / 8;
        loop {
            match once().await {
                Err(error) if error.is_missing() && began.elapsed() + wait <= self.budget.pace().missing && !wait.is_zero() => {
                    self.rest(wait).await.map_err(|refusal| self.object_error(StoreOp::Get, name, refusal))?;
                    wait *= 2;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.fetch(name, "bytes=0-".to_owned(), Expect::Whole(bytes_max), &mut bytes).await {
            Ok(whole) if whole > bytes_max => Err(Error::damaged(name, Damage::TooLarge { have: whole, max: bytes_max })),
            Ok(_) => Ok(bytes),
            // An empty object has no first byte.
            Err(refusal) if refusal.verdict == Verdict::Range => match self.size(name).await? {
                Some(0) => Ok(Vec::new()),
                Some(_) => Err(self.object_error(StoreOp::Get, name, refusal)),
                None => Err(Error::damaged(name, Damage::Missing)),
            },
            Err(refusal) => Err(self.object_error(StoreOp::Get, name, refusal)),
        }
    }

    /// Reads as much of a range as there is. Returns the length of the whole object.
    pub(super) async fn get_upto(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<u64> {
        into.clear();
        if range.start > range.end {
            let source = io::Error::new(ErrorKind::InvalidInput, "the range ends before it starts");
            return Err(Error::Store { op: StoreOp::Get, object: name.to_string(), source });
        }
        let missing = || Error::damaged(name, Damage::Missing);
        if range.is_empty() {
            return self.patient(name, || async { self.size(name).await?.ok_or_else(missing) }).await;
        }
        let buffer = tokio::sync::Mutex::new(std::mem::take(into));
        let read = self
            .patient(name, || async {
                let mut buffer = buffer.lock().await;
                let asked = format!("bytes={}-{}", range.start, range.end - 1);
                match self.fetch(name, asked, Expect::Range(range.clone()), &mut buffer).await {
                    Err(refusal) if refusal.verdict == Verdict::Range => match self.size(name).await? {
                        Some(have) if have <= range.start => Ok(have),
                        // A range that goes past the end: by S3 that is what there is, by rclone it may be 416.
                        Some(have) if have < range.end => {
                            let asked = format!("bytes={}-{}", range.start, have - 1);
                            let read = self.fetch(name, asked, Expect::Range(range.start..have), &mut buffer).await;
                            read.map_err(|refusal| self.object_error(StoreOp::Get, name, refusal))
                        }
                        Some(_) => Err(self.object_error(StoreOp::Get, name, refusal)),
                        None => Err(missing()),
                    },
                    other => other.map_err(|refusal| self.object_error(StoreOp::Get, name, refusal)),
                }
            })
            .await;
        *into = buffer.into_inner();
        read
    }

    pub(super) async fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        self.patient(name, || async {
            if bytes == 0 {
                let whole = self.size(name).await?;
                return whole.map(|whole| (Vec::new(), whole)).ok_or_else(|| Error::damaged(name, Damage::Missing));
            }
            let mut suffix = Vec::new();
            match self.fetch(name, format!("bytes=-{bytes}"), Expect::Suffix(bytes), &mut suffix).await {
                Ok(whole) => Ok((suffix, whole)),
                Err(refusal) if refusal.verdict == Verdict::Range => match self.size(name).await? {
                    Some(0) => Ok((Vec::new(), 0)),
                    // Longer than the object: by S3 that is all of it, by rclone it is 416.
                    Some(whole) if whole < bytes => {
                        self.get_upto(name, 0..whole, &mut suffix).await?;
                        Ok((suffix, whole))
                    }
                    Some(_) => Err(self.object_error(StoreOp::Get, name, refusal)),
                    None => Err(Error::damaged(name, Damage::Missing)),
                },
                Err(refusal) => Err(self.object_error(StoreOp::Get, name, refusal)),
            }
        })
        .await
    }

    pub(super) async fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        let mut asked = self.head(name).await;
        if matches!(&asked, Err(refusal) if matches!(refusal.verdict, Verdict::Final(ErrorKind::PermissionDenied | ErrorKind::Other))) {
            // The answer to a HEAD has no body, so that it cannot say whether it is about the clock, a token that has expired or the
            // region. One that has a body says it, or sets it right.
            self.holds_any("notes").await?;
            asked = self.head(name).await;
        }
        match asked {
            Ok(bytes) => Ok(Some(bytes)),
            Err(refusal) if refusal.verdict == Verdict::Missing => Ok(None),
            Err(refusal) => Err(self.object_error(StoreOp::Get, name, refusal)),
        }
    }

    async fn head(&self, name: &ObjectName) -> Result<u64, Refusal> {
        let key = self.place.key(name.as_str());
        self.request(|Try { client, .. }| {
            let key = &key;
            async move {
                let answer = client.head_object().bucket(&self.place.bucket).key(key).send().await.map_err(judge)?;
                is_a_store_s(answer.e_tag(), answer.last_modified())?;
                let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
                length.ok_or_else(|| Refusal::new(Verdict::Passing, "the answer says no length"))
            }
        })
        .await
    }

    pub(super) async fn delete(&self, name: &ObjectName) -> Result<()> {
        let key = self.place.key(name.as_str());
        let deleted = self
            .request(|Try { client, .. }| {
                let key = &key;
                async move { client.delete_object().bucket(&self.place.bucket).key(key).send().await.map(|_| ()).map_err(judge) }
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

/// Refuses an answer about an object that knows neither its ETag nor its time: a portal says 200 to everything, and its page would be
/// taken for the object, which is then called damaged.
fn is_a_store_s(e_tag: Option<&str>, modified: Option<&DateTime>) -> Result<(), Refusal> {
    match (e_tag, modified) {
        (None, None) => Err(Refusal::new(Verdict::Passing, "something answers that is no S3 store")),
        _ => Ok(()),
    }
}

/// What part of an object is asked for.
enum Expect {
    /// All of it, unless it is longer than this.
    Whole(u64),
    /// These bytes, or as many of them as there are.
    Range(Range<u64>),
    /// So many at its end.
    Suffix(u64),
}

impl Expect {
    fn bytes_max(&self) -> u64 {
        if let Expect::Whole(max) = self { *max } else { u64::MAX }
    }
}

/// What an answer says of itself: how many bytes come, of an object how long.
struct Arrived {
    bytes: u64,
    whole: u64,
}

impl Arrived {
    /// Reads an answer's head; `have` bytes of the range are there already. Another part than was asked for is refused: of what lies
    /// where nobody asked, no seal tells.
    fn of(answer: &GetObjectOutput, expect: &Expect, have: u64) -> Result<Self, Refusal> {
        let wrong = |what: &str| Refusal::new(Verdict::Garbled, format!("the store sent another part of the object: {what}"));
        let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let (start, end, whole) = match answer.content_range() {
            // Status 200: a store may leave ranges alone.
            None => match length {
                Some(whole) => (0, whole, whole),
                None => return Err(wrong("all of it, without a length")),
            },
            Some(text) => content_range(text).ok_or_else(|| wrong(text))?,
        };
        let fits = match expect {
            Expect::Whole(_) => start == 0 && end == whole,
            Expect::Range(range) => start == range.start + have && end == range.end.min(whole),
            Expect::Suffix(bytes) => end == whole && start == whole.saturating_sub(*bytes),
        };
        if !fits {
            return Err(wrong(answer.content_range().unwrap_or("all of it")));
        }
        Ok(Arrived { bytes: end - start, whole })
    }
}

/// Reads `bytes 5-9/100` as the bytes 5..10 of 100.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    // Nothing of an empty object has no first byte; Garage says one all the same.
    if whole.trim() == "0" {
        return Some((0, 0, 0));
    }
    let (first, last) = range.trim().split_once('-')?;
    let (first, last, whole): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, whole.trim().parse().ok()?);
    (first <= last && last < whole).then(|| (first, last + 1, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, 10, 100)));
        assert_eq!(content_range("bytes 0-0/1"), Some((0, 1, 1)));
        assert_eq!(content_range("bytes 0-18446744073709551615/0"), Some((0, 0, 0)));
        for wrong in
            ["", "bytes */5", "bytes 5-4/100", "bytes 5-100/100", "bytes 5-9/*", "items 5-9/100", "bytes 5-18446744073709551615/100"]
        {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
