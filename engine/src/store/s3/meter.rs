//! What goes over the wire: how much of it, how fast it may be, and whether it still moves. Bodies are cut into slices here, so that
//! a stalled upload is noticed and a limit is kept evenly; answers that are no objects end here when they do not end by themselves.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;
use crate::store::Traffic;
use crate::store::s3::patience::Motion;

/// A body is handed on in slices of so many bytes, and of fewer where a limit would make each of them a long silence.
const SLICE_BYTES: usize = 64 << 10;
const SLICE_BYTES_MIN: usize = 512;
/// Slices in a second, at least, where there is a limit: stores cut connections on which nothing comes for some seconds.
const SLICES_PER_SECOND: u64 = 64;
/// The longest answer that is no object: a page of a thousand keys of the longest kind, each of its bytes encoded as three, is 3.3 MB.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Of so many answers the clock is taken.
const DATES: usize = 9;
/// Dates that differ by less mean the same time: answers may be late.
const NEAR_NANOS: u64 = 60_000_000_000;

tokio::task_local! {
    /// What moves in the try that this task is making.
    pub static MOTION: Arc<Motion>;
}

/// Counts all requests of one store, and reads the server's clock from their answers.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    clock: Mutex<Clock>,
}

impl Meter {
    /// What went over the wire so far: bodies, without headers.
    pub fn traffic(&self) -> Traffic {
        Traffic { requests: self.requests.load(Relaxed), up: self.up.load(Relaxed), down: self.down.load(Relaxed) }
    }

    /// Bytes of an answer arrived.
    pub fn arrived(&self, bytes: u64) {
        self.down.fetch_add(bytes, Relaxed);
    }

    /// By how many nanoseconds the server's clock is ahead of ours, as far as its answers tell.
    pub fn ahead(&self) -> Option<i64> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).ahead
    }

    fn told(&self, ahead: i64) {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).told(ahead);
    }
}

/// What the Dates of answers say.
#[derive(Debug, Default)]
struct Clock {
    /// The server's clock less ours, nanoseconds, by the last answers.
    last: VecDeque<i64>,
    ahead: Option<i64>,
}

impl Clock {
    /// A Date is cut to whole seconds, and old when it arrives: what it says is the least, the largest of these the closest, and time
    /// never runs back. But one wrong Date would be the largest for the rest of the run, and so would be what held before a step of our
    /// own clock: what is far from the median of the last answers counts for nothing. In doubt the server's clock is behind: what rests
    /// on it is whether something is old enough to be deleted.
    fn told(&mut self, ahead: i64) {
        if self.last.len() == DATES {
            self.last.pop_front();
        }
        self.last.push_back(ahead);
        let mut sorted: Vec<i64> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get((sorted.len() - 1) / 2).copied().unwrap_or(ahead);
        self.ahead = self.last.iter().copied().chain(self.ahead).filter(|ahead| ahead.abs_diff(median) <= NEAR_NANOS).max();
    }
}

/// Tells a [`Meter`] of each request that goes out and of the Date of each answer, and has answers bounded.
#[derive(Clone, Debug)]
pub struct Tally(pub Arc<Meter>);

impl Intercept for Tally {
    fn name(&self) -> &'static str {
        "Tally"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.requests.fetch_add(1, Relaxed);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let good = context.response().status().is_success();
        // Whoever reads an object knows how long it may be. All else the SDK gathers in memory, as long as it comes.
        if !(good && bag.load::<Metadata>().is_some_and(|what| what.name() == "GetObject")) {
            let body = context.response_mut().body_mut();
            let inner = std::mem::replace(body, SdkBody::taken());
            let motion = MOTION.try_with(Arc::clone).ok();
            *body = SdkBody::from_body_1_x(Bounded { inner, left: ANSWER_BYTES_MAX, motion, meter: self.0.clone(), good });
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let theirs = date.and_then(|date| i64::try_from(date.as_nanos()).ok());
        if let (Some(theirs), Some(ours)) = (theirs, clock::now().as_nanos()) {
            self.0.told(theirs.saturating_sub(ours));
        }
        Ok(())
    }
}

/// An answer that is longer than any store has reason to send.
#[derive(Debug)]
pub struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)
    }
}

impl std::error::Error for TooMuch {}

/// A body that ends, and says when it moves.
struct Bounded {
    inner: SdkBody,
    left: u64,
    motion: Option<Arc<Motion>>,
    meter: Arc<Meter>,
    /// The answer says yes.
    good: bool,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &polled
            && let Some(slice) = frame.data_ref()
        {
            let bytes = slice.len() as u64;
            let Some(left) = self.left.checked_sub(bytes) else { return Poll::Ready(Some(Err(TooMuch.into()))) };
            self.left = left;
            self.meter.arrived(bytes);
            match &self.motion {
                Some(motion) if self.good => motion.moved(bytes),
                Some(motion) => motion.stirred(bytes),
                None => {}
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

/// A bound on bytes per second, shared by all connections of one direction.
#[derive(Debug)]
pub struct Limit {
    bytes_per_second: Option<u64>,
    free_at: Mutex<Option<Instant>>,
}

impl Limit {
    /// `None` is no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Limit { bytes_per_second: bytes_per_second.filter(|n| *n > 0), free_at: Mutex::default() }
    }

    /// How many bytes go at a time.
    fn slice(&self) -> usize {
        let even = self.bytes_per_second.map_or(SLICE_BYTES, |n| usize::try_from(n / SLICES_PER_SECOND).unwrap_or(SLICE_BYTES));
        even.clamp(SLICE_BYTES_MIN, SLICE_BYTES)
    }

    /// Takes note of bytes that go now. Until when the next ones have to wait.
    pub fn take(&self, bytes: u64) -> Option<Instant> {
        let per_second = self.bytes_per_second?;
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        // What was not used in a pause is gone: no bursts.
        let from = free_at.map_or(now, |at| at.max(now));
        let until = from + Duration::from_secs_f64(bytes as f64 / per_second as f64);
        *free_at = Some(until);
        Some(until)
    }
}

/// Bytes on their way out.
pub struct Outgoing {
    rest: Bytes,
    meter: Arc<Meter>,
    limit: Arc<Limit>,
    motion: Arc<Motion>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    /// As the SDK takes it. `motion` is told of every slice that the connection takes.
    pub fn body(bytes: Bytes, meter: Arc<Meter>, limit: Arc<Limit>, motion: Arc<Motion>) -> SdkBody {
        SdkBody::from_body_1_x(Outgoing { rest: bytes, meter, limit, motion, pause: None })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let n = self.rest.len().min(self.limit.slice());
        let slice = self.rest.split_to(n);
        self.meter.up.fetch_add(n as u64, Relaxed);
        self.motion.moved(n as u64);
        if self.rest.is_empty() {
            self.motion.sent();
        }
        self.pause = self.limit.take(n as u64).map(|until| {
            self.motion.hold(until.into_std());
            Box::pin(sleep_until(until))
        });
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer with a wrong Date, or a step of our own clock, decided over what is old enough until the end of the run.
    #[test]
    fn a_wrong_date_does_not_stick() {
        const SECOND: i64 = 1_000_000_000;
        let meter = Meter::default();
        let told = |seconds: &[i64]| {
            seconds.iter().for_each(|seconds| meter.told(seconds * SECOND));
            meter.ahead().map(|ahead| ahead / SECOND)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[4000, -3]), Some(-3));
        assert_eq!(told(&[-2, -5, 4000, -4]), Some(-2), "the closest");
        assert_eq!(told(&[-9; 3 * DATES]), Some(-2), "time does not run back because answers are late");
        // Our clock was set back an hour, and on again.
        assert_eq!(told(&[3600; DATES / 2]), Some(-2));
        assert_eq!(told(&[3600]), Some(3600));
        assert_eq!(told(&[-1; DATES]), Some(-1));
    }

    /// A limit was kept in slices of 64 KiB: at a kilobyte a second, each was a minute of silence to the store.
    #[test]
    fn a_low_limit_is_kept_in_small_slices() {
        let slice = |limit| Limit::new(limit).slice();
        assert_eq!((slice(None), slice(Some(100 << 20)), slice(Some(64_000)), slice(Some(1))), (64 << 10, 64 << 10, 1000, 512));
    }
}
