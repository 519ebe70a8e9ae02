//! Objects in a bucket of an S3-compatible store (DESIGN section 7). The engine's only asynchronous code: callers block, requests run on
//! a small runtime of this store's own.
//! It must never trust more than read-after-write and list-after-write: no ETag, no conditional put, no clock, no short answer.

mod answer;
mod archive;
mod bucket;
mod client;
mod foreign;
mod lines;
mod list;
mod meter;
mod patience;
mod place;
mod probe;
mod put;
mod read;
mod request;
mod runtime;

pub use answer::UNTRUSTED;
pub use bucket::{BucketFacts, Fact, Threat};
pub use foreign::{Bucket, Moment, Rule, Uploading, etag_of_parts, is_digest};
pub use patience::Pace;
pub use place::S3Place;
pub use probe::{Capabilities, ClassFound, Listing, Treatment};

use crate::clock;
use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::{Listed, Readiness, Store, Taken, ThawOrder, Traffic, Upload, each};
use answer::{Refusal, Verdict};
use aws_sdk_s3::config::SharedHttpClient;
use bytes::Bytes;
use meter::{Limit, Meter};
use patience::{Budget, Gate};
use runtime::Driver;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Credentials that a program gives itself, instead of those that the environment has.
#[derive(Clone)]
pub struct S3Credentials {
    /// Who.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// For temporary ones.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Credentials({})", self.access_key_id)
    }
}

/// How the store is to encrypt what is encrypted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sse {
    /// `AES256`: under keys of the store.
    Aes256,
    /// `aws:kms`: under a key of KMS; `None` is the bucket's own.
    Kms(Option<String>),
}

/// How to talk to the store.
#[derive(Clone, Default)]
pub struct S3Options {
    /// The region, where environment and profile do not say the right one.
    pub region: Option<String>,
    /// The bucket as part of the path instead of the host's name. Default: everywhere but at AWS.
    pub path_style: Option<bool>,
    /// Certificates to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Talk to other machines without TLS.
    pub allow_http: bool,
    /// The storage class of data packs; everything else stays where it can be read at once.
    pub storage_class: Option<String>,
    /// Encryption by the store.
    pub sse: Option<Sse>,
    /// Requests at a time; `None` finds out what the store bears.
    pub connections: Option<usize>,
    /// Bytes per second.
    pub limit_upload: Option<u64>,
    /// Bytes per second.
    pub limit_download: Option<u64>,
    /// When to try again, and when to stop.
    pub pace: Pace,
    /// Instead of what the environment has.
    pub credentials: Option<S3Credentials>,
    /// Raised when whoever runs this wants it to end: waiting ends at once.
    pub stop: Option<Arc<AtomicBool>>,
    /// Told what a user should know while it happens: that a store does not answer, and is tried again.
    pub say: Option<Say>,
}

/// Takes a line for the user.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// A store in a bucket.
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    place: S3Place,
    options: S3Options,
    http: SharedHttpClient,
    runtime: Driver,
    current: tokio::sync::RwLock<Option<request::Current>>,
    budget: Arc<Budget>,
    gate: Gate,
    meter: Arc<Meter>,
    up: Arc<Limit>,
    down: Limit,
    said: AtomicBool,
    skew_said: AtomicBool,
    clock_said: AtomicBool,
    /// What the store was found not to understand, and that it was seen to honour conditional puts.
    lacks: AtomicU8,
    unconfirmed: Mutex<put::Unconfirmed>,
    /// Objects that stayed missing for as long as anybody waits.
    missing: Mutex<HashSet<ObjectName>>,
    /// Objects that the store was found not to serve.
    unreadable: Mutex<HashSet<String>>,
    /// Nobody waits for what is still under way.
    given_up: AtomicBool,
    /// A commit has begun; and when it was asked to stop.
    insisting: AtomicBool,
    asked_to_stop: OnceLock<Instant>,
    /// How many objects the last listing of each folder showed.
    listed: Mutex<HashMap<String, usize>>,
}

impl S3Store {
    /// Opens a place in a bucket. Asks the store nothing yet.
    pub fn open(place: S3Place, options: S3Options) -> Result<Self> {
        Ok(S3Store { inner: Arc::new(Inner::open(place, options)?) })
    }

    /// Where it is.
    pub fn s3_place(&self) -> &S3Place {
        &self.inner.place
    }

    /// Makes the bucket, where it is not there yet.
    pub fn create_bucket(&self) -> Result<()> {
        self.inner.runtime.block_on(self.inner.create_bucket())
    }
}

impl Inner {
    fn open(place: S3Place, options: S3Options) -> Result<Self> {
        let place = place.configured()?;
        if place.is_in_the_clear() && !options.allow_http {
            return Err(Error::Option { what: format!("{} would be talked to without TLS", place.text()) });
        }
        let failed = |source| Error::Store { op: StoreOp::Open, object: place.text(), source };
        let http = client::connector(options.ca_file.as_deref())?;
        let runtime = Driver::start().map_err(failed)?;
        Ok(Inner {
            http,
            runtime,
            current: tokio::sync::RwLock::new(None),
            budget: Arc::new(Budget::new(options.pace.clone())),
            gate: Gate::new(options.connections),
            meter: Arc::default(),
            up: Arc::new(Limit::new(options.limit_upload)),
            down: Limit::new(options.limit_download),
            said: AtomicBool::new(false),
            skew_said: AtomicBool::new(false),
            lacks: AtomicU8::new(0),
            unconfirmed: Mutex::default(),
            missing: Mutex::default(),
            unreadable: Mutex::default(),
            given_up: AtomicBool::new(false),
            clock_said: AtomicBool::new(false),
            insisting: AtomicBool::new(false),
            asked_to_stop: OnceLock::new(),
            listed: Mutex::default(),
            place,
            options,
        })
    }

    fn missing(&self) -> MutexGuard<'_, HashSet<ObjectName>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failed request means to whoever asked for `object`.
    fn error(&self, op: StoreOp, object: &str, refusal: Refusal) -> Error {
        let kind = match refusal.verdict {
            Verdict::Interrupted => return Error::Interrupted,
            Verdict::Credentials => {
                return Error::Option { what: format!("the keys for {} are not taken: {}", self.place.text(), refusal.text) };
            }
            Verdict::Keyless => return Error::NoKeys { place: self.place.text(), why: refusal.text },
            Verdict::Keys => {
                return Error::Option { what: format!("the keys for {} are wrong: {}", self.place.text(), refusal.text) };
            }
            Verdict::Untrusted => {
                return Error::Option { what: format!("{}: {UNTRUSTED} ({})", self.place.text(), refusal.text) };
            }
            Verdict::Class => {
                let class = self.options.storage_class.as_deref().unwrap_or("STANDARD");
                return Error::Option { what: format!("{} does not know the storage class {class}: {}", self.place.text(), refusal.text) };
            }
            Verdict::Passing | Verdict::Throttled(_) | Verdict::Skewed | Verdict::Region | Verdict::Unreadable => {
                let about = if object.is_empty() || op == StoreOp::Open { String::new() } else { format!(" (asked to {op} {object})") };
                return Error::Unreachable { place: self.place.text(), what: refusal.text + &about };
            }
            Verdict::Final(ErrorKind::NotFound) => {
                return Error::NoBucket { place: self.place.text() };
            }
            Verdict::Archived => return Error::Archived { object: object.to_owned() },
            Verdict::Final(kind) => kind,
            Verdict::Exists => ErrorKind::AlreadyExists,
            Verdict::Missing => ErrorKind::NotFound,
            Verdict::Garbled => ErrorKind::InvalidData,
            Verdict::Unsupported => ErrorKind::Unsupported,
            Verdict::Range => ErrorKind::UnexpectedEof,
        };
        Error::Store { op, object: object.to_owned(), source: io::Error::new(kind, refusal.text) }
    }

    fn object_error(&self, op: StoreOp, name: &ObjectName, refusal: Refusal) -> Error {
        match refusal.verdict {
            Verdict::Missing => Error::damaged(name, Damage::Missing),
            Verdict::Unreadable => Error::damaged(name, Damage::Unreadable(refusal.text)),
            _ => self.error(op, name.as_str(), refusal),
        }
    }
}

impl Store for S3Store {
    fn place(&self) -> String {
        self.inner.place.text()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload { inner: self.inner.clone(), bytes: Vec::new() }))
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.runtime.block_on(self.inner.put(name, Bytes::copy_from_slice(bytes)))
    }

    fn put_owned(&self, name: &ObjectName, bytes: Vec<u8>) -> Result<()> {
        self.inner.runtime.block_on(self.inner.put(name, Bytes::from(bytes)))
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        let get = || self.inner.get(name, bytes_max);
        // A manifest that was listed is there, or was collected since: which happens less often than that a store shows it late.
        let manifest = name.folder() == "snapshots";
        self.inner.runtime.block_on(async { if manifest { self.inner.patient(name, get).await } else { get().await } })
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        let wanted = range.end;
        let whole = self.inner.runtime.block_on(self.inner.get_upto(name, range, into))?;
        if whole < wanted {
            into.clear();
            return Err(Error::damaged(name, Damage::Short { have: whole, want: wanted }));
        }
        Ok(())
    }

    fn get_upto(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.inner.runtime.block_on(self.inner.get_upto(name, range, into)).map(|_| ())
    }

    fn distrust(&self, _name: &ObjectName) -> bool {
        // Caches on the way, bit flips behind TLS: the second answer may be another one.
        true
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        self.inner.runtime.block_on(self.inner.get_suffix(name, bytes))
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        self.inner.runtime.block_on(self.inner.size(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.inner.runtime.block_on(self.inner.list(folder))
    }

    fn holds_any(&self, folder: &str) -> Result<bool> {
        self.inner.runtime.block_on(self.inner.holds_any(folder))
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.inner.runtime.block_on(self.inner.delete(name))
    }

    fn confirm(&self, taken: Taken<'_>) -> Result<()> {
        let what = self.inner.to_confirm();
        let looked = each(self, &what, |what| self.inner.runtime.block_on(self.inner.unseen(what)));
        let mut unseen: Vec<Listed> = looked.into_iter().collect::<Result<Vec<_>>>()?.concat();
        if unseen.is_empty() {
            return Ok(());
        }
        // Before anybody waits for it to come.
        let names: Vec<ObjectName> = unseen.iter().map(|object| object.name.clone()).collect();
        let gone = taken(&names)?;
        unseen.retain(|object| !gone.contains(&object.name));
        each(self, &unseen, |object| self.inner.runtime.block_on(self.inner.wait_for(object))).into_iter().collect()
    }

    fn now(&self) -> Result<i64> {
        if self.inner.meter.ahead().is_none() {
            // Any answer tells the time.
            self.size(&ObjectName::descriptor())?;
        }
        let ahead = self.inner.meter.ahead();
        if ahead.is_none() && !self.inner.clock_said.swap(true, Relaxed) {
            self.inner.say("the store does not tell the time: this machine's clock decides how old something is");
        }
        let now = clock::now().as_nanos().unwrap_or(0);
        Ok(now.saturating_add(ahead.unwrap_or(0)))
    }

    fn insist(&self) {
        self.inner.insisting.store(true, Relaxed);
    }

    fn readiness(&self, name: &ObjectName) -> Result<Readiness> {
        self.inner.runtime.block_on(self.inner.readiness(name))
    }

    fn thaw(&self, name: &ObjectName, order: ThawOrder) -> Result<()> {
        self.inner.runtime.block_on(self.inner.thaw(name, order))
    }

    fn connections(&self) -> usize {
        self.inner.gate.most()
    }

    fn refuses_other_bytes(&self) -> bool {
        self.inner.lacks(probe::CONDITIONAL_SEEN)
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.inner.meter.traffic())
    }
}

/// An object that is gathered in memory: a single PUT needs its length and hash first, and every try sends it anew.
struct S3Upload {
    inner: Arc<Inner>,
    bytes: Vec<u8>,
}

impl Upload for S3Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<()> {
        let inner = self.inner.clone();
        inner.runtime.block_on(inner.put(name, Bytes::from(self.bytes)))
    }
}
