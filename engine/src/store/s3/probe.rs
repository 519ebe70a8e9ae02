//! What a store can do, found out by trying: conditional puts, checksums, refused digests. Asked at `init` and by `doctor`.
//! Nothing that keeps data safe rests on the answers: they choose headers, and are shown to people.

use crate::error::{Error, Result};
use crate::id::{ObjectName, hex};
use crate::seal::random;
use crate::store::Store;
use crate::store::s3::request::{CHECKSUMS, CONDITIONAL_PUT};
use crate::store::s3::{Inner, S3Store};
use bytes::Bytes;
use std::io::ErrorKind;

/// Beside what a store lacks: a conditional put was seen to be honoured.
pub(super) const CONDITIONAL_SEEN: u8 = 4;

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
    /// Whether this key may delete. A backup never needs to; where it may not, the probe's own object stays: `left`.
    pub deletes: bool,
    /// What the probe could not remove.
    pub left: Option<ObjectName>,
    /// By how many seconds the store's clock is ahead of ours; `None` where it tells no time.
    pub clock_ahead_seconds: Option<i64>,
}

impl S3Store {
    /// Finds out what the store can do, with an object in `notes/` that is removed afterwards. Its name is none of the format's: where it
    /// may not be removed, it is in nobody's way.
    pub fn probe(&self) -> Result<Capabilities> {
        let random: [u8; 16] = random()?;
        let name = ObjectName::parse(&format!("notes/probe-{}", hex(&random))).ok_or(Error::SelfCheck { what: "a name" })?;
        let probed = self.inner.runtime.block_on(self.inner.probe(&name));
        match self.delete(&name) {
            Ok(()) => probed,
            Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                probed.map(|found| Capabilities { deletes: false, left: Some(name), ..found })
            }
            Err(error) => probed.and(Err(error)),
        }
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
            self.note_lack(CONDITIONAL_SEEN);
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
        Ok(Capabilities { conditional_put, checksum, signed_body, lists_at_once, deletes: true, left: None, clock_ahead_seconds })
    }
}
