//! The wall clock, in one place: what is written into manifests as the time of a run, and nothing else.
//! No decision about deletion may rest on it; those use the store's time.

use crate::format::wire::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, by this machine.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn now() -> Time {
    let at = SystemTime::now();
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() },
        Err(before) => Time::from_nanos(i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n)),
    }
}

/// Lets time pass.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn wait(time: Duration) {
    std::thread::sleep(time);
}
