//! What goes over the wire: how much of it, how fast it may be, and whether it still moves. Bodies are cut into slices here, so that
//! a stalled upload is noticed and a limit is kept evenly.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;
use crate::store::Traffic;

/// A body is handed on in slices of so many bytes.
const SLICE_BYTES: usize = 64 << 10;
/// Difference of clocks that nobody has told yet.
const UNKNOWN: i64 = i64::MIN;

/// Counts all requests of one store, and reads the server's clock from their answers.
#[derive(Debug)]
pub struct Meter {
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    /// The server's clock less ours, nanoseconds.
    ahead: AtomicI64,
}

impl Default for Meter {
    fn default() -> Self {
        Meter { requests: AtomicU64::new(0), up: AtomicU64::new(0), down: AtomicU64::new(0), ahead: AtomicI64::new(UNKNOWN) }
    }
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
        Some(self.ahead.load(Relaxed)).filter(|ahead| *ahead != UNKNOWN)
    }
}

/// Tells a [`Meter`] of each request that goes out and of the Date of each answer.
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

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The body of an object is counted as it comes; all others, listings and errors, are here whole.
        if let Some(body) = context.response().body().bytes() {
            self.0.arrived(body.len() as u64);
        }
        let date = context.response().headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let theirs = date.and_then(|date| i64::try_from(date.as_nanos()).ok());
        if let (Some(theirs), Some(ours)) = (theirs, clock::now().as_nanos()) {
            // A Date is cut to whole seconds, and old when it arrives: what it says is the least, the largest of these the closest.
            self.0.ahead.fetch_max(theirs.saturating_sub(ours), Relaxed);
        }
        Ok(())
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
    moved: Arc<AtomicU64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    /// As the SDK takes it. `moved` grows with every slice that the connection takes.
    pub fn body(bytes: Bytes, meter: Arc<Meter>, limit: Arc<Limit>, moved: Arc<AtomicU64>) -> SdkBody {
        SdkBody::from_body_1_x(Outgoing { rest: bytes, meter, limit, moved, pause: None })
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
        let n = self.rest.len().min(SLICE_BYTES);
        let slice = self.rest.split_to(n);
        self.meter.up.fetch_add(n as u64, Relaxed);
        self.moved.fetch_add(n as u64, Relaxed);
        self.pause = self.limit.take(n as u64).map(|until| Box::pin(sleep_until(until)));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
