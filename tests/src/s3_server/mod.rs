//! An S3 server in this process, which answers as AWS does until it is told to fail: by behaviour, by rules, by seeds.
//! It must never be softer than AWS where it is not told to be: wrong signatures and digests are refused, and every request is logged.
//!
//! What of the network it cannot do itself, [`crate::proxy`] does in front of it; a name that does not resolve is a name in
//! `.invalid`, and a TLS handshake fails where `https` meets this server, which speaks plain HTTP.

pub mod behaviour;
pub mod fault;
pub mod inject;
pub mod log;
pub mod request;
pub mod sigv4;
pub mod xml;

mod auth;
mod bucket;
mod clock;
mod list;
mod multipart;
mod objects;
mod operations;
mod payload;
mod reply;
mod service;
mod wire;

pub use behaviour::Behaviour;
pub use fault::{Fault, ListFault};
pub use inject::{FOR_EVER, Rule};
pub use log::{Logged, Outcome};
pub use payload::{checksum, content_md5};
pub use request::Operation;

use crate::background::Background;
use hyper::body::Bytes;
use inject::Injector;
use objects::{Kind, Objects, Version};
use request::Call;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use wire::Line;

/// The access key id that the server knows.
pub const ACCESS_KEY: &str = "test-access";
/// Its secret.
pub const SECRET_KEY: &str = "test-secret";
/// The bucket that exists from the start.
pub const BUCKET: &str = "bucket";
/// The region that requests must be signed for.
pub const REGION: &str = "us-east-1";

/// How long [`S3Server::wait_until`] waits: a test that needs longer would never end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all requests share.
#[derive(Default)]
struct State {
    behaviour: Behaviour,
    objects: Objects,
    injector: Injector,
    log: Vec<Logged>,
    uploads: multipart::Uploads,
    requests: u64,
    /// Requests that came and have no answer yet, and how many of them there were at a time at most.
    under_way: (usize, usize),
    /// Where answers are held: each takes a turn from it first.
    held: Option<Arc<Semaphore>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified whenever the log changes.
    changed: Condvar,
    /// Stalled requests wait for it.
    release: Notify,
    lines: Mutex<Vec<Weak<Line>>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics in a closure of its own must not take the server's thread with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers and logs a request and says what shall happen to it.
    fn begin(&self, call: &Call) -> (u64, Option<Fault>) {
        let mut state = self.state();
        state.requests += 1;
        let now = state.under_way.0 + 1;
        state.under_way = (now, state.under_way.1.max(now));
        let fault = state.injector.pick(call);
        let logged = Logged::new(state.requests, call, fault.clone());
        state.log.push(logged);
        self.changed.notify_all();
        (state.requests, fault)
    }

    /// Changes the entry of a request, unless the log was cleared since.
    fn note(&self, number: u64, change: impl FnOnce(&mut Logged)) {
        let mut state = self.state();
        if let Some(logged) = state.log.iter_mut().rev().find(|logged| logged.number == number) {
            change(logged);
        }
        self.changed.notify_all();
    }

    /// Ends what [`Shared::begin`] began. Whoever asked hears of the answer only after this: what it asks next is no second one.
    fn end(&self) {
        self.state().under_way.0 -= 1;
        self.changed.notify_all();
    }

    fn join(&self, line: &Arc<Line>) {
        let mut lines = self.lines.lock().unwrap();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
    }
}

/// See the module's text. Dropped, it is gone, and with it all connections.
pub struct S3Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    _background: Background,
}

impl S3Server {
    /// Starts one on a free port of 127.0.0.1, with the empty bucket [`BUCKET`].
    pub fn start() -> S3Server {
        let shared = Arc::new(Shared::default());
        shared.state().objects.make_bucket(BUCKET);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("an address");
        let of_thread = shared.clone();
        let background = Background::run("the S3 server", move || async move {
            service::serve(of_thread, tokio::net::TcpListener::from_std(listener).expect("a listener")).await;
        });
        S3Server { shared, address, _background: background }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `s3:http://127.0.0.1:PORT/bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        url(self.address, prefix)
    }

    /// Changes what the server is like, from the next request on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.state().behaviour);
    }

    /// Adds a rule; of those that match a request the oldest decides.
    pub fn inject(&self, rule: Rule) {
        self.shared.state().injector.rule(rule);
    }

    /// Any request for which one of `faults` means something meets one with this probability. What happens depends on the seed,
    /// the operation, the key and how often both came before, not on other threads. Rules go first.
    pub fn inject_seeded(&self, seed: u64, probability: f64, faults: &[Fault]) {
        self.shared.state().injector.seeded(seed, probability, faults.to_vec());
    }

    /// Forgets all rules and seeds.
    pub fn clear_faults(&self) {
        self.shared.state().injector.clear();
    }

    /// Requests that met a fault since the start.
    pub fn fired(&self) -> u64 {
        self.shared.state().injector.fired()
    }

    /// Rules that have not met as many requests as they were to: a test whose faults did not happen tests nothing.
    pub fn waiting_rules(&self) -> Vec<Rule> {
        self.shared.state().injector.waiting()
    }

    /// Resets the connections of all stalled requests.
    pub fn release_stalls(&self) {
        self.shared.release.notify_waiters();
    }

    /// Closes all connections, idle ones too, without a word; new ones are accepted.
    pub fn close_connections(&self) {
        for line in self.shared.lines.lock().unwrap().drain(..).filter_map(|line| line.upgrade()) {
            line.end(false);
        }
    }

    /// Every request since the start or [`S3Server::clear_log`], in order.
    pub fn log(&self) -> Vec<Logged> {
        self.shared.state().log.clone()
    }

    /// The requests of one operation.
    pub fn log_of(&self, operation: Operation) -> Vec<Logged> {
        self.shared.state().log.iter().filter(|logged| logged.operation == operation).cloned().collect()
    }

    /// Forgets them.
    pub fn clear_log(&self) {
        self.shared.state().log.clear();
    }

    /// Waits until the log is as `holds` wants it: instead of sleeping. Panics after two minutes.
    pub fn wait_until(&self, holds: impl Fn(&[Logged]) -> bool) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, |state| !holds(&state.log));
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "the log never became as it should be: {:#?}", state.log);
    }

    /// From now on requests are read and get no answer, until [`S3Server::let_go`].
    pub fn hold_answers(&self) {
        self.shared.state().held = Some(Arc::new(Semaphore::new(0)));
    }

    /// So many of the requests that are held, or of those that come next, get theirs.
    pub fn let_go(&self, answers: usize) {
        self.shared.state().held.as_ref().expect("held answers").add_permits(answers);
    }

    /// All get theirs, and nothing is held any more.
    pub fn let_all_go(&self) {
        self.shared.state().held.take().expect("held answers").close();
    }

    /// Waits until at least so many requests are under way: read, or being read, and not answered. Panics after two minutes.
    pub fn wait_until_under_way(&self, requests: usize) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), PATIENCE, |state| state.under_way.0 < requests);
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "{:?} of {requests} requests are under way: {:#?}", state.under_way, state.log);
    }

    /// How many requests were under way at a time at most, since the start or the last call of this.
    pub fn most_under_way(&self) -> usize {
        let mut state = self.shared.state();
        let now = state.under_way.0;
        std::mem::replace(&mut state.under_way.1, now)
    }

    /// What the bucket holds, invisible objects included.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        let state = self.shared.state();
        state.objects.past(BUCKET, "", u64::MAX).map(|(key, version)| (key.to_owned(), version.bytes.clone())).collect()
    }

    /// One object.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.shared.state().objects.object(BUCKET, key, u64::MAX).map(|version| version.bytes.clone())
    }

    /// The storage class of an object and the headers that it was put with and that come back with it.
    pub fn object_headers(&self, key: &str) -> Option<(String, Vec<(String, String)>)> {
        let state = self.shared.state();
        state.objects.object(BUCKET, key, u64::MAX).map(|version| (version.class.clone(), version.headers.clone()))
    }

    /// Puts an object past all checks, as the newest version.
    pub fn put_object(&self, key: &str, bytes: impl Into<Bytes>) {
        let mut state = self.shared.state();
        let mut version = Version::object(bytes.into(), clock::now(&state.behaviour));
        if state.behaviour.versioning == behaviour::Versioning::Enabled {
            version.id = state.objects.next_version();
        }
        state.objects.put(BUCKET, key, version);
    }

    /// The same, with headers that come back with it.
    pub fn put_with(&self, key: &str, bytes: impl Into<Bytes>, headers: &[(&str, &str)]) {
        self.put_object(key, bytes);
        let mut state = self.shared.state();
        let version = state.objects.object_mut(BUCKET, key).expect("the object that was put");
        version.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Multipart uploads that have neither ended nor been given up.
    pub fn uploads(&self) -> usize {
        self.shared.state().uploads.len()
    }

    /// Changes one bit of an object for good; its ETag, its time and all else stay: what a disk does.
    pub fn flip_bit(&self, key: &str, bit: u64) {
        let mut state = self.shared.state();
        let version = state.objects.object_mut(BUCKET, key).expect("an object to damage");
        version.bytes = operations::flip(&version.bytes, bit);
    }

    /// Puts an object into another storage class: what a lifecycle rule does.
    pub fn set_storage_class(&self, key: &str, class: &str) {
        let mut state = self.shared.state();
        let version = state.objects.object_mut(BUCKET, key).expect("an object to move");
        class.clone_into(&mut version.class);
    }

    /// Removes an object without a trace, locked or not; false when there was none.
    pub fn remove_object(&self, key: &str) -> bool {
        let mut state = self.shared.state();
        let now = clock::now(&state.behaviour);
        let existed = state.objects.object(BUCKET, key, u64::MAX).is_some();
        if existed {
            state.objects.put(BUCKET, key, Version::absent(Kind::Gone, now));
        }
        existed
    }
}

/// `s3:http://ADDRESS/bucket/prefix`, for a server or a proxy in front of it.
pub fn url(address: SocketAddr, prefix: &str) -> String {
    format!("s3:http://{address}/{BUCKET}/{prefix}")
}
