//! What a store can do, found out by trying: listings and their pages, conditional puts, checksums, refused digests, storage classes.
//! Asked at `init` and by `doctor`. Nothing that keeps data safe rests on the answers: they choose headers, and are shown to people.

use crate::error::{Error, Result, StoreOp};
use crate::id::{ObjectName, hex};
use crate::seal::random;
use crate::store::Store;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::request::{CHECKSUMS, CONDITIONAL_PUT, Try};
use crate::store::s3::{Inner, S3Store};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
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

/// How a store lists what takes several pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// In order, and page by page.
    InPages,
    /// In order, and more on a page than was asked for.
    LargerPages,
    /// What was just put is not shown yet.
    Late,
    /// Not so that it could ever be complete: why.
    Wrong(&'static str),
}

impl Listing {
    /// Why nobody should trust it with a repository.
    pub const fn flaw(self) -> Option<&'static str> {
        match self {
            Listing::InPages | Listing::LargerPages => None,
            Listing::Late => Some("it does not list what was just written to it"),
            Listing::Wrong(why) => Some(why),
        }
    }
}

/// What became of the storage class that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassFound {
    /// An object lies in it.
    Kept,
    /// An object lies in this one instead.
    Other(String),
    /// The store says no, in these words.
    Refused(String),
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
    /// How objects that were just put are listed.
    pub listing: Listing,
    /// The storage class of data packs, and what became of it; `None` where none is asked for.
    pub storage_class: Option<(String, ClassFound)>,
    /// Whether this key may delete. A backup never needs to; where it may not, the probe's own objects stay: `left`.
    pub deletes: bool,
    /// The folder of what the probe could not remove.
    pub left: Option<ObjectName>,
    /// By how many seconds the store's clock is ahead of ours; `None` where it tells no time.
    pub clock_ahead_seconds: Option<i64>,
}

/// Pages after which a listing of two objects should have ended: empty ones are legal.
const PAGES_MAX: usize = 4;

impl S3Store {
    /// Finds out what the store can do, with some objects below `probe/<id>/` that are removed afterwards. The format has no such folder
    /// and readers pass it over: where they may not be removed, they are in nobody's way.
    pub fn probe(&self) -> Result<Capabilities> {
        let random: [u8; 16] = random()?;
        let name = |text: &str| ObjectName::parse(text).ok_or(Error::SelfCheck { what: "a name" });
        let folder = name(&format!("probe/{}", hex(&random)))?;
        let names = [name(&format!("{folder}/0"))?, name(&format!("{folder}/1"))?, name(&format!("{folder}/2"))?];
        let mut probed = self.inner.runtime.block_on(self.inner.probe(&folder, &names));
        let used = if self.inner.options.storage_class.is_some() { 3 } else { 2 };
        for name in &names[..used] {
            match self.delete(name) {
                Ok(()) => {}
                Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                    probed = probed.map(|found| Capabilities { deletes: false, left: Some(folder.clone()), ..found });
                }
                Err(error) => probed = probed.and(Err(error)),
            }
        }
        probed
    }
}

impl Inner {
    async fn probe(&self, folder: &ObjectName, [name, second, classed]: &[ObjectName; 3]) -> Result<Capabilities> {
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        // First with everything: what is refused is left out from then on.
        self.put(name, body("seabed probe")).await?;
        self.put(second, body("seabed probe")).await?;
        let listing = self.probe_listing(folder, [name, second]).await?;
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
        let storage_class = match &self.options.storage_class {
            None => None,
            Some(class) => Some((class.clone(), self.probe_class(classed, class).await?)),
        };
        let clock_ahead_seconds = self.meter.ahead().map(|nanos| nanos / 1_000_000_000);
        Ok(Capabilities { conditional_put, checksum, signed_body, listing, storage_class, deletes: true, left: None, clock_ahead_seconds })
    }

    /// Lists the two objects of `folder`, all at once and then one by one.
    async fn probe_listing(&self, folder: &ObjectName, names: [&ObjectName; 2]) -> Result<Listing> {
        match self.list(folder.as_str()).await {
            Ok(listed) if names.iter().all(|name| listed.iter().any(|listed| listed.name == **name)) => {}
            Ok(_) => return Ok(Listing::Late),
            Err(Error::ListIncomplete { why, .. }) => return Ok(Listing::Wrong(why)),
            Err(error) => return Err(error),
        }
        let prefix = format!("{}/", self.place.key(folder.as_str()));
        let (mut token, mut shown, mut larger) = (None::<String>, String::new(), false);
        for _ in 0..PAGES_MAX {
            let asked = self
                .request(|Try { client, .. }| {
                    let (prefix, token) = (&prefix, token.clone());
                    async move {
                        let asked = client.list_objects_v2().bucket(&self.place.bucket).prefix(prefix).max_keys(1);
                        asked.set_continuation_token(token).send().await.map_err(judge)
                    }
                })
                .await;
            let page = asked.map_err(|refusal| self.error(StoreOp::List, folder.as_str(), refusal))?;
            // Nothing else is below this prefix, so that the last character tells them apart, however keys are encoded.
            shown.extend(page.contents().iter().filter_map(|object| object.key()?.chars().last()));
            larger |= page.contents().len() > 1;
            if !"01".starts_with(&shown) {
                return Ok(Listing::Wrong("its keys do not increase from page to page"));
            }
            token = match (page.is_truncated().unwrap_or(false), page.next_continuation_token().filter(|token| !token.is_empty())) {
                (true, Some(next)) => Some(next.to_owned()),
                (true, None) => return Ok(Listing::Wrong("a page says that more follows, and not how to ask for it")),
                (false, Some(_)) => return Ok(Listing::Wrong("a page says how to ask for more, and not that more follows")),
                (false, None) if shown != "01" => return Ok(Listing::Wrong("it says that a page is the last one, and more follows")),
                (false, None) => return Ok(if larger { Listing::LargerPages } else { Listing::InPages }),
            };
        }
        Ok(Listing::Wrong("it does not end"))
    }

    /// Puts an object as a data pack would be put, and looks where it lies.
    async fn probe_class(&self, name: &ObjectName, class: &str) -> Result<ClassFound> {
        let key = self.place.key(name.as_str());
        let put = self
            .request(|Try { client, .. }| {
                let key = &key;
                async move {
                    let put = client.put_object().bucket(&self.place.bucket).key(key).content_length(0);
                    let put = put.body(ByteStream::from_static(b"")).storage_class(StorageClass::from(class));
                    // A bucket may take nothing that is not encrypted.
                    self.encrypted(put).send().await.map(|_| ()).map_err(judge)
                }
            })
            .await;
        let failed = |refusal| self.error(StoreOp::Put, name.as_str(), refusal);
        match put {
            Ok(()) => {}
            Err(
                refusal @ Refusal {
                    verdict:
                        Verdict::Passing
                        | Verdict::Throttled(_)
                        | Verdict::Credentials
                        | Verdict::Keyless
                        | Verdict::Keys
                        | Verdict::Untrusted
                        | Verdict::Skewed
                        | Verdict::Region
                        | Verdict::Interrupted,
                    ..
                },
            ) => return Err(failed(refusal)),
            // The same without a class was taken: what is refused is the class, whatever the words.
            Err(refusal) => return Ok(ClassFound::Refused(refusal.text)),
        }
        let looked = self
            .request(|Try { client, .. }| {
                let key = &key;
                async move { client.head_object().bucket(&self.place.bucket).key(key).send().await.map_err(judge) }
            })
            .await;
        let answer = looked.map_err(failed)?;
        // Of the usual class nothing is said.
        let lies_in = answer.storage_class().map_or("STANDARD", |class| class.as_str());
        Ok(if lies_in == class { ClassFound::Kept } else { ClassFound::Other(lies_in.to_owned()) })
    }
}
