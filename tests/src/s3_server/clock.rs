//! The server's clock and the two forms in which S3 writes times.
//! It must never be the machine's clock alone: tests put it off.

use super::behaviour::Behaviour;
use jiff::{SignedDuration, Timestamp};

/// Now, by the server.
pub(super) fn now(behaviour: &Behaviour) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(behaviour.clock_offset_secs)
}

/// As in listings: `2009-10-12T17:50:30.000Z`.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// As in headers: `Mon, 12 Oct 2009 17:50:30 GMT`.
pub(super) fn http(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
