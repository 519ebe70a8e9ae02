//! What networks do to whole runs: names that do not resolve, hosts that are away, TLS that cannot be trusted, connections that are cut,
//! stalled and slow, and many faults at once. A run ends well or says why not; it never hangs, and never says yes to half.

use crate::s3::quick;
use crate::s3_faults::{LONG, World, all, put_survives};
use seabed_engine::backup::Failure;
use seabed_engine::check::check;
use seabed_engine::error::Kind;
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::store::Store;
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store};
use seabed_tests::proxy::{Cut, Direction, How, Proxy};
use seabed_tests::repo::{backup_paths, open, restored};
use seabed_tests::s3_server::fault::Stored;
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule, S3Server, url};
use seabed_tests::store_contract::{bytes, name};
use seabed_tests::tls::{Certificate, TlsFront, authority};
use seabed_tests::trees::{Tree, capture, differences, noise};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use Operation::{GetObject, HeadObject, PutObject};

/// Stalls are given up after this. Longer than a busy machine needs for an answer of this size.
const IDLE: Duration = Duration::from_millis(300);

fn hurried() -> S3Options {
    S3Options { pace: Pace { idle: IDLE, ..quick().pace }, ..quick() }
}

/// With little patience for what does not go away.
fn impatient() -> S3Options {
    S3Options { pace: Pace { budget: Duration::from_millis(300), ..quick().pace }, ..quick() }
}

fn at(url: &str, options: S3Options) -> S3Store {
    S3Store::open(S3Place::parse(url).unwrap(), options).unwrap()
}

fn same(world: &World, id: &SnapshotId, want: &Tree, what: &str) {
    let have = restored(&open(world.store(), None).unwrap(), id, world.source.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(differences(want, &have), [""; 0], "{what}");
}

// Row: DNS.
#[test]
fn a_host_that_does_not_resolve_is_unreachable() {
    // No resolver has to be asked for a name that is too long to be one.
    let error = at(&format!("s3:https://{}.invalid/bucket/x", "a".repeat(70)), impatient()).list("index").unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("dns") || error.to_string().contains("lookup"), "{error}");
}

// Row: connect refused: until the host is back.
#[test]
fn a_host_that_is_back_in_time_ends_no_run() {
    let world = World::new();
    let proxy = Arc::new(Proxy::start(world.server.address()));
    proxy.set_down(true);
    // Back as soon as the user has been told that it is away.
    let (of_store, told) = (proxy.clone(), Arc::new(Mutex::new(Vec::new())));
    let heard = told.clone();
    let say = move |text: &str| {
        heard.lock().unwrap().push(text.to_owned());
        of_store.set_down(false);
    };
    let store: Arc<dyn Store> = Arc::new(at(&url(proxy.address(), "x"), S3Options { say: Some(Arc::new(say)), ..hurried() }));
    let id = backup_paths(&open(store, None).unwrap(), &world.paths).unwrap().snapshot.unwrap();
    assert!(matches!(&told.lock().unwrap()[..], [one] if one.contains("trying again")), "{told:?}");
    same(&world, &id, &capture(world.source.path(), false), "after the host was away");
}

/// A certificate of one's own ended with "cannot read seabed" and the advice to look at the user's rights.
// Row: TLS handshake: a certificate that cannot be trusted. Nothing is sent, and the error says what to do.
#[test]
fn no_request_goes_to_whom_the_certificate_does_not_prove() {
    let server = S3Server::start();
    let (object, trusting) = (name("index/00"), S3Options { ca_file: Some(authority()), ..impatient() });
    let valid = TlsFront::start(server.address(), Certificate::Valid);
    let expired = TlsFront::start(server.address(), Certificate::Expired);
    for (front, options, says) in [(&valid, impatient(), "UnknownIssuer"), (&expired, trusting.clone(), "expired")] {
        let store = at(&front.url("x"), options);
        for error in [store.get(&object, 10).unwrap_err(), store.put(&object, b"x").unwrap_err(), store.list("index").unwrap_err()] {
            assert_eq!(error.kind(), Kind::Configuration, "{error}");
            assert!(error.to_string().contains("certificate") && error.to_string().contains(says), "{error}");
        }
    }
    assert_eq!(server.log().len(), 0);
    let store = at(&valid.url("x"), trusting);
    store.put(&object, &bytes(1, LONG)).unwrap();
    assert!(store.get(&object, LONG as u64).unwrap() == bytes(1, LONG));
}

// Row: TLS handshake: a port that speaks no TLS.
#[test]
fn where_no_tls_is_spoken_the_store_is_unreachable() {
    let server = S3Server::start();
    let error = at(&server.url("x").replace("http://", "https://"), impatient()).get(&name("index/00"), 10).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    assert_eq!(server.log().len(), 0);
}

// Rows: reset or timeout before the PUT's response; stall mid-body (either way), 1 B/s drip; GET truncated: in whole runs, at the level
// of TCP, anywhere in a head or a body.
#[test]
fn runs_survive_connections_that_are_cut_stalled_and_slow() {
    for how in [How::Reset, How::Close, How::Stall, How::Drip(1, Duration::from_millis(20))] {
        let world = World::new();
        let proxy = Proxy::start(world.server.address());
        let through = || -> Arc<dyn Store> { Arc::new(at(&url(proxy.address(), "x"), hurried())) };
        let cut = |direction, places: &[u64]| places.iter().for_each(|place| proxy.cut(Cut::new(direction, *place, how)));
        cut(Direction::Up, &[0, 300, 100_000, 700_000]);
        cut(Direction::Down, &[0, 100]);
        let id = backup_paths(&open(through(), None).unwrap(), &world.paths).unwrap_or_else(|e| panic!("{how:?}: {e}")).snapshot.unwrap();
        proxy.clear_cuts();
        let met = proxy.counts().cut;
        assert!(met >= 3, "{how:?}: of six cuts {met} were met");
        cut(Direction::Down, &[0, 200, 300_000]);
        cut(Direction::Up, &[0]);
        let repository = open(through(), None).unwrap();
        let have = restored(&repository, &id, world.source.path()).unwrap_or_else(|e| panic!("{how:?}: {e}"));
        assert_eq!(differences(&capture(world.source.path(), false), &have), [""; 0], "{how:?}");
        assert!(proxy.counts().cut >= met + 2, "{how:?}: {:?}", proxy.counts());
        proxy.clear_cuts();
        cut(Direction::Down, &[150, 20_000]);
        let report = check(&open(through(), None).unwrap(), &all(), &Silent).unwrap_or_else(|e| panic!("{how:?}: {e}"));
        assert!(report.findings.is_empty(), "{how:?}: {report:?}");
    }
}

// Row: 500/502/504: when the budget ends: what was stored until then is used by the next run.
#[test]
fn what_was_stored_before_the_store_went_away_is_used() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::refuse(503, "ServiceUnavailable")).on(PutObject).key("index/").for_ever());
    let run = backup_paths(&open(Arc::new(at(&world.server.url("x"), impatient())), None).unwrap(), &world.paths);
    assert!(matches!(&run, Err(Failure::Repository(error)) if error.kind() == Kind::Unreachable), "{run:?}");
    assert!(world.keys("snapshots").is_empty());
    let packs = ["data", "names", "lists"].map(|folder| world.keys(folder));
    assert!(packs.iter().all(|keys| !keys.is_empty()), "{packs:?}");
    world.server.clear_faults();
    let id = world.backup().unwrap();
    assert_eq!(world.keys("data"), packs[0], "nothing was stored twice");
    same(&world, &id, &capture(world.source.path(), false), "the next run");
}

/// A proxy before a store spoke HTTP/2, by which all requests shared one connection: when a router forgot that, every further try waited
/// on it, for longer than all patience; and whatever was allowed at a time went over one line.
// Row: stall mid-body: behind what speaks HTTP/2.
#[test]
fn a_connection_that_fell_silent_is_not_asked_again() {
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(1, LONG));
    let front = TlsFront::start_http2(server.address());
    let proxy = Proxy::start(front.address());
    let place = url(proxy.address(), "x").replace("http://", "https://");
    let store = at(&place, S3Options { ca_file: Some(authority()), ..hurried() });
    proxy.cut(Cut::new(Direction::Down, 100_000, How::Stall));
    let object = name("data/aa/aa");
    assert!(store.get(&object, LONG as u64).unwrap() == bytes(1, LONG));
    assert_eq!(proxy.counts().connections, 2, "the first one is not used again");
    // And what is well is used again, by one request at a time.
    for _ in 0..3 {
        assert_eq!(store.size(&object).unwrap(), Some(LONG as u64));
    }
    // So is the one by which an answer without a body was asked for in words.
    server.inject(Rule::new(Fault::refuse(404, "")).on(HeadObject).times(1));
    assert_eq!(store.size(&object).unwrap(), Some(LONG as u64));
    assert_eq!((server.waiting_rules().len(), proxy.counts().connections), (0, 2));
    server.inject(Rule::new(Fault::StallBefore).on(GetObject).times(4));
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| store.get(&object, LONG as u64).unwrap().len())).collect();
        proxy.wait_until(|counts| counts.connections >= 5);
        server.release_stalls();
        asking.into_iter().for_each(|asked| assert_eq!(asked.join().unwrap(), LONG));
    });
}

// Row: GET truncated: a prefix is never handed out, not even when what is missing never comes.
#[test]
fn a_beginning_is_not_handed_out() {
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(1, LONG));
    for cut in [Fault::CutWithLength(50_000), Fault::CutChunked(50_000), Fault::ResetDownload(50_000)] {
        server.inject(Rule::new(cut.clone()).on(GetObject).times(1));
        server.inject(Rule::new(Fault::refuse(500, "InternalError")).on(GetObject).for_ever());
        let (store, mut into) = (at(&server.url("x"), impatient()), vec![1, 2, 3]);
        let error = store.get_range(&name("data/aa/aa"), 0..LONG as u64, &mut into).unwrap_err();
        assert_eq!((error.kind(), into.len()), (Kind::Unreachable, 0), "{cut:?}: {error}");
        assert!(server.log().iter().any(|request| request.bytes_out == 50_000 || request.fault == Some(cut.clone())));
        server.clear_faults();
        server.clear_log();
    }
}

// Row: stall mid-body: an upload that the server reads no further, longer than what buffers on the way take.
#[test]
fn an_upload_that_nobody_reads_is_cut() {
    put_survives(&[Fault::StallUpload(100_000)]);
    let server = S3Server::start();
    server.inject(Rule::new(Fault::StallUpload(1_000_000)).times(1));
    let object = name("data/aa/aa");
    at(&server.url("x"), hurried()).put(&object, &bytes(1, 24 << 20)).unwrap();
    assert!(server.object("x/data/aa/aa").unwrap() == bytes(1, 24 << 20));
    assert_eq!(server.log().len(), 2);
}

// Row: 1 B/s drip: what is slow and moves is left alone, however long it takes.
#[test]
fn a_slow_download_is_no_stall() {
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(1, 4 << 20));
    // 64 times 32 ms: twice the time after which a stall is given up.
    server.inject(Rule::new(Fault::Drip(64 << 10, Duration::from_millis(32))).on(GetObject).for_ever());
    let mut into = Vec::new();
    at(&server.url("x"), quick()).get_range(&name("data/aa/aa"), 0..4 << 20, &mut into).unwrap();
    assert!(into == bytes(1, 4 << 20));
    assert_eq!(server.log().len(), 1, "in one go");
}

/// Faults that pass, of every kind that may come any number of times.
fn passing() -> Vec<Fault> {
    vec![
        Fault::slow_down(None),
        Fault::too_many_requests(Some(0)),
        Fault::refuse(500, "InternalError"),
        Fault::refuse(502, "BadGateway"),
        Fault::refuse(504, "GatewayTimeout"),
        Fault::refuse_applied(500, "InternalError"),
        Fault::EmptyOk,
        Fault::ErrorInOk("InternalError".to_owned()),
        Fault::Portal,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::ResetUpload(1000),
        Fault::ResetUpload(200_000),
        Fault::ResetDownload(500),
        Fault::ResetDownload(100_000),
        Fault::CutWithLength(300),
        Fault::StallBefore,
    ]
}

/// Faults that end a request, or may.
fn lasting() -> Vec<Fault> {
    vec![
        Fault::refuse(403, "AccessDenied"),
        Fault::refuse(400, "ExpiredToken"),
        Fault::refuse(501, "NotImplemented"),
        Fault::refuse(507, "InsufficientStorage"),
        Fault::not_found(),
        Fault::wrong_region("eu-west-1"),
        Fault::BadDigest(Stored::AsSent),
        Fault::BadDigest(Stored::Nothing),
        Fault::FlipBit(5000),
        Fault::IgnoreRange,
        Fault::ContentRange(64),
        Fault::ShiftedRange(16),
        Fault::CutChunked(700),
        Fault::Stale,
        Fault::List(ListFault::KeyCount(1)),
        Fault::List(ListFault::Short(0)),
        Fault::List(ListFault::Without(vec!["/data/".to_owned()])),
        Fault::List(ListFault::Without(vec!["/index/".to_owned()])),
        Fault::List(ListFault::Without(vec!["/snapshots/".to_owned()])),
    ]
}

// Rules for all rows: any number of faults that pass costs time and nothing else. Names are random, so that a seed means another
// schedule in every run: what is asserted holds for all of them.
#[test]
fn faults_that_pass_cost_time_and_nothing_else() {
    for seed in 0..4 {
        let world = World::new();
        let store = || -> Arc<dyn Store> { Arc::new(at(&world.server.url("x"), hurried())) };
        world.server.inject_seeded(seed, 0.3, &passing());
        let mut made = Vec::new();
        for n in 0..2 {
            fs::write(world.source.path().join("f1"), noise(seed * 10 + n, 150_000)).unwrap();
            let report = backup_paths(&open(store(), None).unwrap(), &world.paths).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            made.push((report.snapshot.unwrap(), capture(world.source.path(), false)));
        }
        for (id, want) in &made {
            let have = restored(&open(store(), None).unwrap(), id, world.source.path()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(differences(want, &have), [""; 0], "seed {seed}");
        }
        let report = check(&open(store(), None).unwrap(), &all(), &Silent).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(report.findings.is_empty(), "seed {seed}: {report:?}");
        assert!(world.server.fired() > 20, "seed {seed}: {} faults", world.server.fired());
    }
}

// Rules for all rows: whatever comes of a run, what was acknowledged restores, and the next run succeeds.
#[test]
fn faults_that_last_cost_no_more_than_the_run() {
    let (mut succeeded, mut failed) = (0, 0);
    let faults: Vec<Fault> = passing().into_iter().chain(lasting()).collect();
    for seed in 0..12 {
        let world = World::new();
        let paths: &[PathBuf] = &world.paths;
        let first = (world.backup().unwrap(), capture(world.source.path(), false));
        fs::write(world.source.path().join("f1"), noise(seed + 100, 300_000)).unwrap();
        let now = capture(world.source.path(), false);
        world.server.inject_seeded(seed, 0.015 * (1 + seed) as f64, &faults);
        let store: Arc<dyn Store> = Arc::new(at(&world.server.url("x"), hurried()));
        let run = open(store, None).map_err(Failure::from).and_then(|repository| backup_paths(&repository, paths));
        world.server.clear_faults();
        let what = format!("seed {seed}, {:?}", run.as_ref().map(|report| report.snapshot));
        match &run {
            Ok(report) => {
                succeeded += 1;
                same(&world, &report.snapshot.unwrap(), &now, &what);
            }
            Err(_) => failed += 1,
        }
        same(&world, &first.0, &first.1, &what);
        // Every manifest that is there stands for a whole snapshot, also one of the run that failed.
        let repository = open(world.store(), None).unwrap();
        assert!(repository.refresh().unwrap().unreadable.is_empty(), "{what}");
        let ids: Vec<SnapshotId> = repository.catalog().snapshots().unwrap().iter().map(|s| s.id).collect();
        ids.iter().filter(|id| **id != first.0).for_each(|id| same(&world, id, &now, &what));
        let next = world.backup().unwrap_or_else(|e| panic!("{what}: the next run: {e}"));
        same(&world, &next, &now, &what);
        world.is_sound();
    }
    assert!(succeeded > 0 && failed > 0, "{succeeded} succeeded, {failed} failed");
}

/// What the kernel has taken counted as moved: on a slow line the last megabytes of a pack lay in its buffers for longer than the idle time,
/// and the upload was cut and begun anew, each time.
// Row: 1 B/s drip: no total timeout on large bodies.
#[test]
fn a_slow_upload_is_no_stall() {
    let server = seabed_tests::s3_server::S3Server::start();
    // 2.6 seconds for 8 MiB, 1 second of which nothing may move; as 4 MB in buffers, 60 seconds and 0.5 Mbit/s.
    server.inject(Rule::new(Fault::DripUpload(64 << 10, Duration::from_millis(20))).on(PutObject).for_ever());
    let content = seabed_tests::store_contract::bytes(1, 8 << 20);
    let store = crate::s3::store(&server, "x");
    seabed_engine::store::Store::put(&store, &seabed_tests::store_contract::name("data/aa/aa"), &content).unwrap();
    assert_eq!(server.log().len(), 1, "in one go");
}
