//! What reading an object is made of. Every answer is held against what was asked: offset, length, end.
//! What it hands out is complete; a beginning is never passed off as the whole.

use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::s3::Inner;
use crate::store::s3::answer::{Refusal, Verdict, judge, judge_silent};
use crate::store::s3::patience::Motion;
use crate::store::s3::request::{Reading, Try};
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

impl Inner {
    /// One GET with a range. Returns the length of the whole object; what it hands out goes behind what `into` holds.
    async fn fetch(&self, name: &ObjectName, range: String, expect: Expect, into: &mut Vec<u8>) -> Result<u64, Refusal> {
        let key = self.place.key(name.as_str());
        let start = into.len();
        // What one try got, the next one need not fetch again.
        let got = tokio::sync::Mutex::new((std::mem::take(into), None));
        let asked = &range;
        let reading = Reading { name: name.as_str(), at: AtomicU64::new(0) };
        let fetched = self
            .request_for(Some(&reading), |Try { client, moved }| {
                let (key, got, expect, at) = (&key, &got, &expect, &reading.at);
                async move {
                    let mut got = got.lock().await;
                    let (bytes, whole) = &mut *got;
                    let have = (bytes.len() - start) as u64;
                    if let (Expect::Range(range), Some(whole)) = (expect, *whole)
                        && have == range.end.min(whole).saturating_sub(range.start)
                    {
                        // All of it came, and then nothing that would have ended it.
                        return Ok(whole);
                    }
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
                    self.take_in(answer, place.bytes, (&moved, at), bytes).await?;
                    Ok(place.whole)
                }
            })
            .await;
        let fetched = self.denied_or_missing(&key, fetched).await;
        *into = got.into_inner().0;
        match fetched {
            Ok(_) => drop(self.unreadable().remove(name.as_str())),
            Err(_) => into.truncate(start),
        }
        fetched
    }

    /// Reads a body of which `bytes` are announced, and says how far it came.
    pub(super) async fn take_in(
        &self,
        answer: GetObjectOutput,
        bytes: u64,
        (moved, at): (&Motion, &AtomicU64),
        into: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let mut body = answer.body;
        let end = into.len() as u64 + bytes;
        into.reserve(bytes as usize);
        loop {
            let slice = match body.next().await {
                None => break,
                Some(Ok(slice)) => slice,
                // Of what was announced nothing is left that could still come.
                Some(Err(_)) if into.len() as u64 == end => break,
                Some(Err(error)) => return Err(Refusal::new(Verdict::Passing, format!("the connection broke: {error}"))),
            };
            self.meter.arrived(slice.len() as u64);
            moved.moved(slice.len() as u64);
            if into.len() as u64 + slice.len() as u64 > end {
                return Err(Refusal::new(Verdict::Passing, "more arrived than was announced"));
            }
            into.extend_from_slice(&slice);
            at.store(into.len() as u64, Relaxed);
            if let Some(until) = self.down.take(slice.len() as u64) {
                moved.hold(until.into_std());
                tokio::time::sleep_until(until).await;
            }
        }
        if into.len() as u64 == end { Ok(()) } else { Err(Refusal::new(Verdict::Passing, "less arrived than was announced")) }
    }

    /// Asks again for a while for what must be there: some stores show a new object late. Once for each object: who reads sixty files out of
    /// a pack that is gone waits for it once.
    pub(super) async fn patient<T, F>(&self, name: &ObjectName, mut once: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = Instant::now();
        let mut wait = self.budget.pace().missing / 8;
        loop {
            match once().await {
                Err(error) if error.is_missing() => {
                    let waited = began.elapsed() + wait > self.budget.pace().missing || wait.is_zero();
                    if waited || self.missing().contains(name) {
                        self.missing().insert(name.clone());
                        return Err(error);
                    }
                    self.rest(wait).await.map_err(|refusal| self.object_error(StoreOp::Get, name, refusal))?;
                    wait *= 2;
                }
                Ok(done) => {
                    self.missing().remove(name);
                    return Ok(done);
                }
                Err(error) => return Err(error),
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
        // Without a length it would not have been taken for an answer.
        Ok(self.look(name).await?.and_then(|answer| u64::try_from(answer.content_length()?).ok()))
    }

    /// Asks for an object's head; `None` where there is no such object.
    pub(super) async fn look(&self, name: &ObjectName) -> Result<Option<HeadObjectOutput>> {
        let failed = |refusal| self.object_error(StoreOp::Get, name, refusal);
        let key = self.place.key(name.as_str());
        let mut asked = self.head(&key).await;
        // The answer to a HEAD has no body that could say more.
        match asked.as_ref().err().map(|refusal| refusal.verdict) {
            // It may be about the clock, a token that has expired or the region. An answer that has a body says it, or sets it right.
            Some(Verdict::Final(ErrorKind::PermissionDenied | ErrorKind::Other)) => {
                self.holds_any("notes").await?;
                asked = self.head(&key).await;
            }
            // It may be a proxy's, while the store behind it starts.
            Some(Verdict::Missing) if self.is_there(&key).await.map_err(failed)? => {
                asked = self.head(&key).await.map_err(|refusal| match refusal.verdict {
                    Verdict::Missing => Refusal::new(Verdict::Passing, "the store says of an object that it is there, and that it is not"),
                    _ => refusal,
                });
            }
            _ => {}
        }
        match self.denied_or_missing(&key, asked).await {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if refusal.verdict == Verdict::Missing => Ok(None),
            Err(refusal) => Err(failed(refusal)),
        }
    }

    /// Whether an object is there, by an answer that says in words that it is not.
    async fn is_there(&self, key: &str) -> Result<bool, Refusal> {
        let asked = self.request(|Try { client, .. }| async move { self.first_byte(&client, key).await }).await;
        match self.denied_or_missing(key, asked).await {
            Ok(()) => Ok(true),
            Err(refusal) => match refusal.verdict {
                Verdict::Missing => Ok(false),
                // It has no first byte, or not now.
                Verdict::Range | Verdict::Archived => Ok(true),
                _ => Err(refusal),
            },
        }
    }

    /// Asks for an object by its first byte: an answer to a GET says in words what one to a HEAD cannot.
    pub(super) async fn first_byte(&self, client: &Client, key: &str) -> Result<(), Refusal> {
        let answer = client.get_object().bucket(&self.place.bucket).key(key).range("bytes=0-0").send().await.map_err(judge)?;
        is_a_store_s(answer.e_tag(), answer.last_modified())?;
        // To its end: an answer that is left half read costs its connection, and all that are idle with it.
        let mut body = answer.body;
        loop {
            match body.next().await {
                None => return Ok(()),
                // A store that leaves ranges alone would send all of it.
                Some(Ok(slice)) if slice.len() > 1 => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Refusal::new(Verdict::Passing, format!("the connection broke: {error}"))),
            }
        }
    }

    /// Finds out what a 403 is about. Whoever may list only below a prefix is told 403 of what is not there, by AWS and by Ceph: an
    /// object that the listing, which is allowed, does not show is missing. Where it cannot be listed the 403 stands.
    pub(super) async fn denied_or_missing<T>(&self, key: &str, asked: Result<T, Refusal>) -> Result<T, Refusal> {
        match asked {
            Err(refusal) if refusal.verdict == Verdict::Final(ErrorKind::PermissionDenied) => match self.shows(key).await {
                Ok(Some(false)) => Err(Refusal::new(Verdict::Missing, refusal.text)),
                Err(interrupted) if interrupted.verdict == Verdict::Interrupted => Err(interrupted),
                _ => Err(refusal),
            },
            other => other,
        }
    }

    pub(super) async fn head(&self, key: &str) -> Result<HeadObjectOutput, Refusal> {
        self.request(|Try { client, .. }| async move {
            let answer = client.head_object().bucket(&self.place.bucket).key(key).send().await.map_err(judge_silent)?;
            is_a_store_s(answer.e_tag(), answer.last_modified())?;
            match answer.content_length().is_some_and(|n| n >= 0) {
                true => Ok(answer),
                false => Err(Refusal::new(Verdict::Passing, "the answer says no length")),
            }
        })
        .await
    }
}

/// Refuses an answer about an object that knows neither its ETag nor its time: a portal says 200 to everything, and its page would be
/// taken for the object, which is then called damaged.
pub(super) fn is_a_store_s(e_tag: Option<&str>, modified: Option<&DateTime>) -> Result<(), Refusal> {
    match (e_tag, modified) {
        (None, None) => Err(Refusal::new(Verdict::Passing, "something answers that is no S3 store")),
        _ => Ok(()),
    }
}

/// What part of an object is asked for.
pub(super) enum Expect {
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
pub(super) struct Arrived {
    /// That come.
    pub bytes: u64,
    /// Of the object.
    pub whole: u64,
}

impl Arrived {
    /// Reads an answer's head; `have` bytes of the range are there already. Another part than was asked for is refused: of what lies
    /// where nobody asked, no seal tells.
    pub(super) fn of(answer: &GetObjectOutput, expect: &Expect, have: u64) -> Result<Self, Refusal> {
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
pub(super) fn content_range(text: &str) -> Option<(u64, u64, u64)> {
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
