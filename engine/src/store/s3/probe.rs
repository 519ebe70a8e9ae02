//! What a store can do, found out by trying: conditional puts, checksums, refused digests. Asked at `init` and by `doctor`.
//! Nothing that keeps data safe rests on the answers: they choose headers, and are shown to people.

use crate::error::Result;
use crate::id::{ObjectId, ObjectName};
use crate::seal::random;
use crate::store::Store;
use crate::store::s3::request::{CHECKSUMS, CONDITIONAL_PUT};
use crate::store::s3::{Inner, S3Store};
use bytes::Bytes;

/// How a store treats something that it may not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It does what it says.
    Honoured,
    /// It takes the request and does nothing about it.
    Ignored,
    /// It refuses the request.
    Refused,
}

impl Treatment {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Treatment::Honoured => "honoured",
            Treatment::Ignored => "ignored",
            Treatment::Refused => "refused",
        }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `If-None-Match: *` on a PUT.
    pub conditional_put: Treatment,
    /// `x-amz-checksum-sha256`.
    pub checksum: Treatment,
    /// Whether a body that does not match its signed hash is refused.
    pub signed_body: Treatment,
    /// Whether objects that were just put are listed.
    pub lists_at_once: bool,
    /// By how many seconds the store's clock is ahead of ours; `None` where it tells no time.
    pub clock_ahead_seconds: Option<i64>,
}

impl S3Store {
    /// Finds out what the store can do, with an object in `notes/` that is removed afterwards.
    pub fn probe(&self) -> Result<Capabilities> {
        let about = random()?;
        let name = ObjectName::note(&about, &ObjectId::new(random()?));
        let probed = self.inner.runtime.block_on(self.inner.probe(&name));
        self.delete(&name)?;
        probed
    }
}

impl Inner {
    async fn probe(&self, name: &ObjectName) -> Result<Capabilities> {
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        // First with everything: what is refused is left out from then on.
        self.put(name, body("seabed probe")).await?;
        let lists_at_once = self.list("notes").await?.iter().any(|listed| listed.name == *name);
        let conditional_put = if self.lacks(CONDITIONAL_PUT) {
            Treatment::Refused
        } else if self.put_differs(name, body("another one")).await? {
            self.note_lack(CONDITIONAL_PUT);
            Treatment::Ignored
        } else {
            Treatment::Honoured
        };
        let checksum = if self.lacks(CHECKSUMS) {
            Treatment::Refused
        } else if self.put_takes_wrong(name, body("seabed probe"), true).await? {
            Treatment::Ignored
        } else {
            Treatment::Honoured
        };
        let signed_body =
            if self.put_takes_wrong(name, body("seabed probe"), false).await? { Treatment::Ignored } else { Treatment::Honoured };
        let clock_ahead_seconds = self.meter.ahead().map(|nanos| nanos / 1_000_000_000);
        Ok(Capabilities { conditional_put, checksum, signed_body, lists_at_once, clock_ahead_seconds })
    }
}
