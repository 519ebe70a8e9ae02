//! Every request that came, in order, with what became of it.
//! It must never forget one, and never hold a body.

use super::fault::Fault;
use super::request::{Call, Operation};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Pending,
    /// This status was sent; the body may have been cut short since, see [`Logged::fault`] and [`Logged::bytes_out`].
    Status(u16),
    /// The server reset or cut the connection, before the answer or within its body.
    Reset,
    /// The server does nothing more, before the answer or within a body.
    Stalled,
    /// The connection ended before the request was read and answered, and not by a fault.
    Gone,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Counted from 1 since the server's start.
    pub number: u64,
    /// The HTTP method.
    pub method: String,
    /// What it asks for.
    pub operation: Operation,
    /// The bucket.
    pub bucket: String,
    /// The object's key, or the prefix of a listing.
    pub key: String,
    /// Names and values, decoded.
    pub query: Vec<(String, String)>,
    /// The `Range` header.
    pub range: Option<String>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Bytes of the request's body as they came over the wire.
    pub bytes_in: u64,
    /// Bytes of the answer's body, without framing.
    pub bytes_out: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What was done to it.
    pub fault: Option<Fault>,
}

impl Logged {
    pub(super) fn new(number: u64, call: &Call, fault: Option<Fault>) -> Logged {
        Logged {
            number,
            method: call.method.clone(),
            operation: call.operation,
            bucket: call.bucket.clone(),
            key: call.key.clone(),
            query: call.query.clone(),
            range: call.header("range").map(str::to_owned),
            headers: call.headers.clone(),
            bytes_in: 0,
            bytes_out: 0,
            outcome: Outcome::Pending,
            fault,
        }
    }

    /// The status that was sent, if the answer was not cut.
    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Status(status) => Some(status),
            _ => None,
        }
    }

    /// A header of the request; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}
