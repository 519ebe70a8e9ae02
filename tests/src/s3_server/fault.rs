//! What can go wrong with one request: every row of the fault list that a server or the network behind it can produce.
//! It must never say when: rules and seeds do.

use super::behaviour::Etags;
use super::reply::Reply;
use super::request::Operation;
use std::time::Duration;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The S3 error code; 304 has no body and shows none.
    pub code: String,
    /// Seconds in `Retry-After`.
    pub retry_after_secs: Option<u64>,
}

/// What a PUT leaves behind that is answered with an error all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Nothing,
    /// The object as it was sent.
    AsSent,
    /// The object with its first bit wrong: what the digest said.
    Damaged,
}

/// How a request goes wrong. Where bytes are counted and a body has fewer, its last byte counts as the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error instead of the operation: 503 `SlowDown`, 429, 500, 502, 504, 403, 404 for what exists, 409, 412, 501, 507, ...
    Refuse(Refusal),
    /// The operation is carried out, and then this error is answered: an ambiguous result.
    RefuseApplied(Refusal),
    /// A redirect: 301 `PermanentRedirect` with `x-amz-bucket-region`, 307 `TemporaryRedirect` to another host.
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The `Location` header.
        location: Option<String>,
        /// The `x-amz-bucket-region` header.
        region: Option<String>,
    },
    /// 200 without headers of S3 and without a body; nothing is done.
    EmptyOk,
    /// 200 with an `<Error>` of this code in the body; nothing is done.
    ErrorInOk(String),
    /// 200 with a page of HTML: the login of a hotel's network. Nothing is done.
    Portal,

    /// This status with a line of text: a proxy that finds nobody behind it. Nothing is done.
    Page(u16),

    /// The connection is reset once the request was read; nothing is done.
    ResetBefore,
    /// The operation is carried out, and the connection is reset instead of an answer.
    ResetAfter,
    /// The connection is reset after so many bytes of the request's body; nothing is done.
    ResetUpload(u64),
    /// The connection is reset after so many bytes of the answer's body; the client sees at most these.
    ResetDownload(u64),
    /// No answer, ever, and nothing is done. Stalls end when the server does, or by [`super::S3Server::release_stalls`].
    StallBefore,
    /// The operation is carried out, and there is never an answer.
    StallAfter,
    /// The request's body is read no further after so many bytes; the kernel's buffers still take some megabytes.
    StallUpload(u64),
    /// The answer's body stops after so many bytes, for ever.
    StallDownload(u64),
    /// All of the answer's body comes, without a Content-Length, and the connection is closed before its end is said.
    CutAtEnd,
    /// The answer's body is followed by so many blanks: to XML they mean nothing.
    Padded(u64),
    /// The answer's body comes in pieces of so many bytes, one per interval.
    Drip(usize, Duration),
    /// The request's body is read at so many bytes per interval, in pieces as large as they come.
    DripUpload(usize, Duration),
    /// The connection is closed after so many bytes of an answer that has a Content-Length.
    CutWithLength(u64),
    /// The answer has no Content-Length, and its chunked body ends in good order after so many bytes.
    CutChunked(u64),

    /// GET: the `Range` is ignored, 200 with all of it.
    IgnoreRange,
    /// GET: the right bytes, and a `Content-Range` that is so many bytes off.
    ContentRange(i64),
    /// GET: the bytes of a range that is so many bytes further on, and a `Content-Range` as if they were the right ones.
    ShiftedRange(i64),
    /// GET: the bytes of the object with this key.
    OtherObject(String),
    /// GET and HEAD: the version before the last one; 404 when there is none.
    Stale,
    /// GET: this bit of what is sent is wrong (counted modulo the bits there are).
    FlipBit(u64),
    /// Any answer that would have an ETag.
    Etag(Etags),

    /// PUT: 400 `BadDigest`.
    BadDigest(Stored),
    /// PUT: 200, and nothing is stored.
    LostPut,
    /// PUT: 200, and for so many more requests of any kind the object is not there.
    LatePut(u64),
    /// DeleteObjects: 200, and this error for each key that contains the text; those stay.
    DeleteErrors {
        /// Part of the keys.
        key: String,
        /// The error code.
        code: String,
    },

    /// A listing that is wrong.
    List(ListFault),
}

/// How a page of a listing is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFault {
    /// `IsTruncated` without a token.
    NoToken,
    /// The token of the next page is the one of this page.
    SameToken,
    /// The page begins from the top, whatever the token says.
    Restart,
    /// The keys of the page stand in the opposite order; a lone one stands twice.
    NotIncreasing,
    /// `KeyCount` is so much off.
    KeyCount(i64),
    /// Keys that do not exist stand in the page, each in its place.
    Unknown(Vec<String>),
    /// Keys are said to be url-encoded and are not: each ends in `%zz`.
    BadEncoding,
    /// Keys that contain one of these are silently missing.
    Without(Vec<String>),
    /// Only so many keys, and `IsTruncated` is false.
    Short(usize),
    /// No key at all and a token that goes on where this page began. Legal, and clients have taken it for the end.
    EmptyPage,
}

impl Fault {
    /// An error instead of the operation.
    pub fn refuse(status: u16, code: &str) -> Fault {
        Fault::Refuse(Refusal { status, code: code.to_owned(), retry_after_secs: None })
    }

    /// An error after the operation.
    pub fn refuse_applied(status: u16, code: &str) -> Fault {
        Fault::RefuseApplied(Refusal { status, code: code.to_owned(), retry_after_secs: None })
    }

    /// 503 `SlowDown`, with or without the seconds to wait.
    pub fn slow_down(retry_after_secs: Option<u64>) -> Fault {
        Fault::Refuse(Refusal { status: 503, code: "SlowDown".to_owned(), retry_after_secs })
    }

    /// 429 `TooManyRequests`, with or without the seconds to wait.
    pub fn too_many_requests(retry_after_secs: Option<u64>) -> Fault {
        Fault::Refuse(Refusal { status: 429, code: "TooManyRequests".to_owned(), retry_after_secs })
    }

    /// 404 `NoSuchKey`, whether it exists or not.
    pub fn not_found() -> Fault {
        Fault::refuse(404, "NoSuchKey")
    }

    /// 301 `PermanentRedirect`: the bucket is in this region, and there is no `Location`.
    pub fn wrong_region(region: &str) -> Fault {
        Fault::Redirect { status: 301, location: None, region: Some(region.to_owned()) }
    }

    /// 307 to another place.
    pub fn redirect(location: &str) -> Fault {
        Fault::Redirect { status: 307, location: Some(location.to_owned()), region: None }
    }

    /// Whether the fault means anything for `operation`; rules pass over requests for which it does not.
    pub fn applies_to(&self, operation: Operation) -> bool {
        use Operation::{DeleteObjects, GetObject, HeadObject, ListObjectsV2, PutObject};
        match self {
            Fault::IgnoreRange | Fault::ContentRange(_) | Fault::ShiftedRange(_) | Fault::OtherObject(_) | Fault::FlipBit(_) => {
                operation == GetObject
            }
            Fault::Stale => matches!(operation, GetObject | HeadObject),
            Fault::Etag(_) => matches!(operation, GetObject | HeadObject | PutObject | ListObjectsV2),
            Fault::BadDigest(_) | Fault::LostPut | Fault::LatePut(_) => operation == PutObject,
            Fault::ResetUpload(_) | Fault::StallUpload(_) | Fault::DripUpload(..) => matches!(operation, PutObject | DeleteObjects),
            Fault::ResetDownload(_) | Fault::StallDownload(_) | Fault::Drip(..) | Fault::CutWithLength(_) | Fault::CutChunked(_) => {
                matches!(operation, GetObject | ListObjectsV2)
            }
            Fault::CutAtEnd => operation == GetObject,
            Fault::DeleteErrors { .. } => operation == DeleteObjects,
            Fault::List(_) => operation == ListObjectsV2,
            _ => true,
        }
    }

    /// The answer that takes the place of the operation, if the fault is one.
    pub(super) fn instead(&self) -> Option<Reply> {
        Some(match self {
            Fault::Refuse(refusal) => refusal.reply(),
            Fault::Redirect { status, location, region } => {
                let code = if *status == 301 { "PermanentRedirect" } else { "TemporaryRedirect" };
                let mut reply = Reply::error(*status, code, "This bucket is elsewhere.");
                if let Some(location) = location {
                    reply = reply.header("location", location);
                }
                if let Some(region) = region {
                    reply = reply.header("x-amz-bucket-region", region);
                }
                reply
            }
            Fault::EmptyOk => Reply::empty(200),
            Fault::ErrorInOk(code) => Reply { status: 200, ..Reply::error(500, code, "It went wrong after the headers were sent.") },
            Fault::Portal => Reply::body(200, "text/html", "<!DOCTYPE html><html><title>Welcome</title><form>Room</form></html>"),
            Fault::Page(status) => Reply::body(*status, "text/plain", &format!("{status} page not found\n")),
            _ => return None,
        })
    }
}

impl Refusal {
    pub(super) fn reply(&self) -> Reply {
        let reply = if self.status == 304 { Reply::empty(304) } else { Reply::error(self.status, &self.code, "Injected.") };
        match self.retry_after_secs {
            Some(secs) => reply.header("retry-after", &secs.to_string()),
            None => reply,
        }
    }
}
