//! Buckets of others: what a backup reads and a restore writes, whatever its keys are. The repository's own objects have their own way
//! ([`S3Store`](super::S3Store)); tries, patience, credentials and listings are the same.
//! It must never change an object but by a PUT that was ordered, and never delete one.

mod lifecycle;
mod read;
mod write;

pub use lifecycle::{Moment, Rule};
pub use write::{Uploading, etag_of_parts, is_digest};

use crate::error::{Error, Result, StoreOp};
use crate::format::wire::Time;
use crate::source::objects::{Listed, Object, Objects, Part, Unread};
use crate::store::Traffic;
use crate::store::s3::archive::ARCHIVES;
use crate::store::s3::list::{Asked, ENDLESS, Flaw, LISTINGS, Pages};
use crate::store::s3::{Inner, S3Options, S3Place};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::Object as Shown;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Keys that a listing may show, and its pages: they are not held in memory, but a store that never ends must end.
const KEYS_MAX: usize = 1 << 30;
const PAGES_MAX: usize = 1 << 21;

/// A bucket, or what lies below a prefix in it. Keys are those behind the prefix.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

/// An ETag as it is compared: without quotes, and without the mark of a weak one.
fn plain(etag: Option<&str>) -> String {
    let etag = etag.unwrap_or_default().trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.trim_matches('"').to_owned()
}

fn time(at: Option<&DateTime>) -> Time {
    at.map_or_else(Time::default, |at| Time { secs: at.secs(), nanos: at.subsec_nanos() })
}

impl Bucket {
    /// Opens it. Asks nothing yet.
    pub fn open(place: S3Place, options: S3Options) -> Result<Self> {
        Ok(Bucket { inner: Arc::new(Inner::open(place, options)?) })
    }

    /// Where it is.
    pub fn place(&self) -> &S3Place {
        &self.inner.place
    }

    /// What went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        self.inner.meter.traffic()
    }

    /// Whether anything lies below the prefix.
    pub fn is_empty(&self) -> Result<bool> {
        self.inner.runtime.block_on(self.inner.holds_any("")).map(|any| !any)
    }

    fn object(&self, key: &str, size: u64, shown: &Shown) -> Option<Object> {
        let class = shown.storage_class().map_or("", |class| class.as_str());
        // Only where it is known that the listing tells what was brought back, its silence means something.
        let told = self.inner.place.is_aws();
        let back = shown.restore_status().is_some_and(|status| status.restore_expiry_date().is_some());
        Some(Object {
            key: self.inner.key_behind(key)?.to_owned(),
            size,
            mtime: time(shown.last_modified()),
            etag: plain(shown.e_tag()),
            archived: told && ARCHIVES.contains(&class) && !back,
        })
    }

    fn list_once(&self, take: &mut dyn FnMut(Listed) -> Result<()>) -> Result<std::result::Result<(), Flaw>> {
        let inner = &self.inner;
        let how = Asked { encoded: true, restored: inner.place.is_aws(), ..Asked::default() };
        let (mut pages, mut token) = (Pages::default(), None::<String>);
        loop {
            let prefix = inner.place.key("");
            let page = inner.runtime.block_on(inner.page(&prefix, token.as_deref(), how));
            let page = page.map_err(|refusal| inner.error(StoreOp::List, &inner.place.text(), refusal))?;
            let mut taken = Ok(());
            let held = pages.take(&page, (KEYS_MAX, PAGES_MAX), &mut |key, size, shown| {
                if let (Ok(()), Some(object)) = (&taken, self.object(key, size, shown)) {
                    taken = take(Listed::Object(object));
                }
                true
            });
            taken?;
            match held {
                Ok(Some(next)) => token = Some(next),
                Ok(None) => return Ok(Ok(())),
                Err(flaw) if flaw == ENDLESS => return Err(Error::ListIncomplete { folder: inner.place.text(), why: flaw }),
                Err(flaw) => return Ok(Err(flaw)),
            }
        }
    }
}

impl Inner {
    /// The key behind the prefix; `None` for one that lies elsewhere. The prefix itself, with a slash, is the empty one.
    fn key_behind<'a>(&self, key: &'a str) -> Option<&'a str> {
        self.place.name_in(key)
    }
}

impl Objects for Bucket {
    fn list(&self, take: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let inner = &self.inner;
        let mut flaw = "";
        let mut wait = inner.budget.pace().wait_min;
        for time in 0..LISTINGS {
            if time > 0 {
                take(Listed::Again)?;
            }
            match self.list_once(take)? {
                Ok(()) => return Ok(()),
                Err(found) => flaw = found,
            }
            let rested = inner.runtime.block_on(inner.rest(wait));
            rested.map_err(|refusal| inner.error(StoreOp::List, &inner.place.text(), refusal))?;
            wait = (wait * 4).min(inner.budget.pace().wait_max);
        }
        Err(Error::ListIncomplete { folder: inner.place.text(), why: flaw })
    }

    fn look(&self, key: &str) -> std::result::Result<Object, Unread> {
        self.inner.runtime.block_on(self.inner.look_at(key))
    }

    fn read(&self, object: &Object, range: Range<u64>) -> std::result::Result<Part, Unread> {
        self.inner.runtime.block_on(self.inner.read_part(object, range))
    }

    fn give_up(&self) {
        self.inner.given_up.store(true, Relaxed);
    }
}
