//! The list of faults that S3 stores and networks have (`reliability.md` section 3), each produced by the in-process server: what is put
//! is there, what is read is right, and what cannot be had is said. `fault_list` has the rows and all their tests.

use crate::s3::{quick, store};
use seabed_engine::backup::Failure;
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::{Damage, Error, Kind, Result};
use seabed_engine::id::ObjectName;
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::store::Store;
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store};
use seabed_tests::repo::{backup_paths, init, open, restored};
use seabed_tests::s3_server::behaviour::{Conditional, Etags};
use seabed_tests::s3_server::fault::Stored;
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule, S3Server};
use seabed_tests::store_contract::{bytes, name};
use seabed_tests::trees::noise;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

use Operation::{DeleteObject, GetObject, HeadObject, ListObjectsV2, PutObject};

/// Long enough for several slices of a body.
pub const LONG: usize = 300_000;

pub fn all() -> CheckOptions {
    CheckOptions { read_data: ReadData::All, ..Default::default() }
}

pub fn put(server: &S3Server) -> Result<()> {
    store(server, "x").put(&name("data/aa/aa"), &bytes(1, LONG))
}

/// Puts under each fault, once each: the put succeeds and the object is there, whole.
#[track_caller]
pub fn put_survives(faults: &[Fault]) {
    for fault in faults {
        let server = S3Server::start();
        server.inject(Rule::new(fault.clone()).on(PutObject).times(1));
        put(&server).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(server.fired(), 1, "{fault:?}");
        assert!(server.object("x/data/aa/aa").unwrap() == bytes(1, LONG), "{fault:?}");
    }
}

/// Reads under each fault, so many times each: what is read is right.
#[track_caller]
pub fn get_survives(faults: &[Fault], times: u32) {
    for fault in faults {
        let server = S3Server::start();
        server.put_object("x/data/aa/aa", bytes(1, LONG));
        server.put_object("x/data/other", bytes(2, LONG));
        let (store, object, mut into) = (store(&server, "x"), name("data/aa/aa"), Vec::new());
        server.inject(Rule::new(fault.clone()).on(GetObject).times(times));
        store.get_range(&object, 1000..200_000, &mut into).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(into == bytes(1, LONG)[1000..200_000], "{fault:?}");
        assert!(server.fired() >= 1, "{fault:?}");
        server.clear_faults();
        server.inject(Rule::new(fault.clone()).on(GetObject).times(times));
        assert!(store.get(&object, LONG as u64).unwrap_or_else(|error| panic!("{fault:?}: {error}")) == bytes(1, LONG), "{fault:?}");
    }
}

/// A bucket with a repository and one snapshot of a tree.
pub struct World {
    pub server: S3Server,
    pub source: TempDir,
    pub paths: [PathBuf; 1],
}

impl World {
    pub fn new() -> World {
        let (server, source) = (S3Server::start(), tempfile::tempdir().unwrap());
        for n in 0..5u64 {
            fs::write(source.path().join(format!("f{n}")), noise(n, 200_000)).unwrap();
        }
        let paths = [source.path().to_owned()];
        init(Arc::new(store(&server, "x")), None).unwrap();
        World { server, source, paths }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(store(&self.server, "x"))
    }

    pub fn backup(&self) -> std::result::Result<seabed_engine::id::SnapshotId, Failure> {
        backup_paths(&open(self.store(), None)?, &self.paths).map(|report| report.snapshot.unwrap())
    }

    pub fn keys(&self, folder: &str) -> Vec<String> {
        let below = format!("x/{folder}/");
        self.server.objects().into_keys().filter(|key| key.starts_with(&below)).collect()
    }

    pub fn is_sound(&self) {
        let report = check(&open(self.store(), None).unwrap(), &all(), &Silent).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    }
}

pub fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Repository(error) => error,
        other => panic!("{other:?}"),
    }
}

pub fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Store { source, .. } => source.kind(),
        other => panic!("a store error is expected, not: {other}"),
    }
}

// Row: 503 SlowDown / 429.
#[test]
fn t16_throttling_is_waited_out() {
    put_survives(&[Fault::slow_down(None), Fault::slow_down(Some(0)), Fault::too_many_requests(None)]);
    get_survives(&[Fault::slow_down(None), Fault::too_many_requests(Some(0))], 5);
    let world = World::new();
    world.server.inject_seeded(1, 0.3, &[Fault::slow_down(None)]);
    world.backup().unwrap();
    world.server.clear_faults();
    world.is_sound();
}

/// What Cloudflare says of a store that restarts behind it (520 to 530), and others in their own way, ended the run.
// Row: 500/502/504, connect refused.
#[test]
fn errors_that_pass_are_waited_out() {
    let faults = [500, 502, 504, 509, 520, 522, 524, 529, 530, 598].map(|status| Fault::refuse(status, "InternalError"));
    put_survives(&faults);
    get_survives(&faults, 4);
    let pages = [502, 520].map(Fault::Page);
    put_survives(&pages);
    get_survives(&pages, 4);
}

/// One object that a store could not read was asked for until all patience was gone, and with it the run, which did not even say which
/// one it was.
// Row: GET truncated, with or without Content-Length: one object of many, for good. Also 500 for one object.
#[test]
fn one_object_that_is_not_served_ends_no_check() {
    let pace = || Pace { budget: Duration::from_millis(1500), ..quick().pace };
    for fault in [Fault::refuse(500, "InternalError"), Fault::CutWithLength(100), Fault::ResetBefore] {
        let world = World::new();
        world.backup().unwrap();
        let pack = world.keys("data").remove(0);
        world.server.inject(Rule::new(fault.clone()).on(GetObject).key(&pack).for_ever());
        let at = || S3Store::open(S3Place::parse(&world.server.url("x")).unwrap(), S3Options { pace: pace(), ..quick() }).unwrap();
        let report = check(&open(Arc::new(at()), None).unwrap(), &all(), &Silent).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        let hex = pack.rsplit('/').next().unwrap();
        let found = report.findings.iter().find(|finding| finding.error.to_string().contains(hex));
        assert!(found.is_some_and(|finding| finding.error.to_string().contains("serves other objects")), "{fault:?}: {report:?}");
        // What makes the index anew leaves it out: the old segments stay, so that the next one that can read it misses nothing.
        let (old, rebuilt) = (world.keys("index"), rebuild(&open(Arc::new(at()), None).unwrap(), &Silent));
        assert!(rebuilt.is_err() && old.iter().all(|key| world.keys("index").contains(key)), "{fault:?}: {rebuilt:?}");
        // When nothing is served it is not the object.
        world.server.inject(Rule::new(Fault::refuse(500, "InternalError")).for_ever());
        let error = at().get(&name(pack.strip_prefix("x/").unwrap()), 1 << 30).unwrap_err();
        assert!(error.kind() == Kind::Unreachable && error.to_string().contains(hex), "{fault:?}: {error}");
    }
}

// Row: 500/502/504, connect refused: when the budget ends.
#[test]
fn a_store_that_stays_away_is_unreachable() {
    let pace = Pace { budget: Duration::from_millis(300), ..quick().pace };
    let options = S3Options { pace, ..quick() };
    let server = S3Server::start();
    server.inject(Rule::new(Fault::refuse(500, "InternalError")).for_ever());
    let at = |url: &str| S3Store::open(S3Place::parse(url).unwrap(), options.clone()).unwrap();
    let error = at(&server.url("x")).get(&name("data/aa/aa"), 10).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    // Nobody listens there any more.
    let url = server.url("x");
    drop(server);
    let error = at(&url).get(&name("data/aa/aa"), 10).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}

// Row: reset or timeout before the PUT's response (ambiguous).
#[test]
fn ambiguous_puts_are_put_again() {
    put_survives(&[Fault::ResetBefore, Fault::ResetAfter, Fault::ResetUpload(100_000), Fault::refuse_applied(500, "InternalError")]);
    // Nor is one that is refused because of another, which then is not there: an upload that broke off.
    put_survives(&[Fault::refuse(412, "PreconditionFailed")]);
    // Somebody else's object is no lost answer of ours.
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(2, LONG));
    assert_eq!(kind(&put(&server).unwrap_err()), ErrorKind::AlreadyExists);
    assert!(server.object("x/data/aa/aa").unwrap() == bytes(2, LONG));
}

// Row: stall mid-body (either way), 1 B/s drip.
#[test]
fn stalls_and_drips_are_cut() {
    put_survives(&[Fault::StallBefore, Fault::StallAfter]);
    get_survives(&[Fault::StallBefore, Fault::StallDownload(50_000), Fault::Drip(1, Duration::from_millis(20))], 1);
}

// Row: GET truncated, with or without Content-Length.
#[test]
fn cut_answers_are_resumed() {
    get_survives(&[Fault::CutWithLength(100_000), Fault::ResetDownload(100_000), Fault::CutWithLength(0), Fault::CutChunked(100_000)], 2);
}

// Row: GET ignores Range (200 full), wrong Content-Range.
#[test]
fn answers_to_other_questions_are_asked_again() {
    get_survives(&[Fault::IgnoreRange, Fault::ContentRange(64), Fault::ContentRange(-64)], 1);
    let server = S3Server::start();
    server.put_object("x/data/aa/aa", bytes(1, LONG));
    server.inject(Rule::new(Fault::ContentRange(64)).on(GetObject).for_ever());
    let mut into = vec![1];
    let error = store(&server, "x").get_range(&name("data/aa/aa"), 1000..2000, &mut into).unwrap_err();
    assert_eq!((kind(&error), into.len()), (ErrorKind::InvalidData, 0), "{error}");
}

// Rows: other object's bytes, stale version; bit flips, once.
#[test]
fn bytes_that_do_not_authenticate_are_fetched_once_more() {
    let world = World::new();
    let id = world.backup().unwrap();
    let other = world.keys("data")[0].clone();
    for fault in [Fault::FlipBit(4000), Fault::OtherObject(other), Fault::ShiftedRange(16)] {
        for folder in ["data/", "names/", "lists/", "index/", "snapshots/"] {
            world.server.clear_faults();
            world.server.inject(Rule::new(fault.clone()).on(GetObject).key(folder).times(1));
            restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_or_else(|e| panic!("{fault:?} {folder}: {e}"));
        }
    }
}

// Row: bit flips, persistent: pack, snapshots and paths are named; other files continue.
#[test]
fn lasting_damage_is_named() {
    let world = World::new();
    world.backup().unwrap();
    let pack = world.keys("data").remove(0);
    world.server.flip_bit(&pack, 8 * 5000);
    let report = check(&open(world.store(), None).unwrap(), &all(), &Silent).unwrap();
    let hex = pack.rsplit('/').next().unwrap();
    assert!(report.findings.iter().any(|f| f.error.to_string().contains(hex) && !f.paths.is_empty()), "{report:?}");
}

// Row: ETag absent, opaque, not MD5.
#[test]
fn an_etag_is_no_checksum() {
    for etags in [Etags::Opaque, Etags::Absent] {
        let world = World::new();
        world.server.behave(|b| b.etags = etags);
        world.backup().unwrap();
        world.is_sound();
    }
}

// Row: 400 BadDigest.
#[test]
fn a_refused_digest_is_tried_again_and_then_said() {
    // The other one is MinIO's, of a checksum.
    put_survives(&[Fault::BadDigest(Stored::Nothing), Fault::refuse(400, "XAmzContentChecksumMismatch")]);
    let server = S3Server::start();
    server.inject(Rule::new(Fault::BadDigest(Stored::Nothing)).on(PutObject).for_ever());
    assert_eq!(kind(&put(&server).unwrap_err()), ErrorKind::InvalidData);
}

// Row: ExpiredToken / InvalidToken.
#[test]
fn credentials_are_loaded_anew() {
    put_survives(&[Fault::refuse(400, "ExpiredToken"), Fault::refuse(403, "InvalidToken")]);
    let server = S3Server::start();
    server.inject(Rule::new(Fault::refuse(400, "ExpiredToken")).for_ever());
    let error = put(&server).unwrap_err();
    assert!(error.kind() == Kind::Configuration && error.to_string().contains("ExpiredToken"), "{error}");
}

// Row: 403 RequestTimeTooSkewed.
#[test]
fn the_store_s_clock_counts() {
    for offset in [-3600, 3600] {
        let server = S3Server::start();
        server.behave(|b| b.clock_offset_secs = offset);
        put(&server).unwrap();
        let store = store(&server, "x");
        let ours = seabed_engine::clock::now().as_nanos().unwrap();
        let ahead = (store.now().unwrap() - ours) / 1_000_000_000;
        assert!((ahead - offset).abs() <= 2, "{ahead}");
    }
}

// Row: 403 AccessDenied at the start, midway, on DELETE.
#[test]
fn t16_what_is_denied_ends_the_run_and_a_backup_needs_no_delete() {
    let denied = || Fault::refuse(403, "AccessDenied");
    let world = World::new();
    world.server.inject(Rule::new(denied()).for_ever());
    assert_eq!(kind(&open(world.store(), None).err().unwrap()), ErrorKind::PermissionDenied);
    world.server.clear_faults();
    world.server.inject(Rule::new(denied()).on(PutObject).key("data/").for_ever());
    assert_eq!(kind(&failed(world.backup().unwrap_err())), ErrorKind::PermissionDenied);
    assert_eq!(world.keys("snapshots").len(), 0);
    world.server.clear_faults();
    world.server.inject(Rule::new(denied()).on(DeleteObject).for_ever());
    world.backup().unwrap();
    world.server.clear_faults();
    world.is_sound();
}

// Row: 404 after 200 PUT.
#[test]
fn a_put_that_stored_nothing_is_noticed_before_the_commit() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::LostPut).on(PutObject).key("data/").times(1));
    let error = failed(world.backup().unwrap_err());
    assert!(error.to_string().contains("does not have it"), "{error}");
    assert_eq!(world.keys("snapshots").len(), 0, "nothing was acknowledged");
    // The segment names the pack that is not there: it is asked for, found missing, and its content stored again.
    let id = world.backup().unwrap();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
    let late = World::new();
    late.server.inject(Rule::new(Fault::LatePut(3)).on(PutObject).key("data/").times(1));
    late.backup().unwrap();
    late.is_sound();
    let manifest = World::new();
    manifest.server.inject(Rule::new(Fault::LostPut).on(PutObject).key("snapshots/").times(1));
    assert!(manifest.backup().is_err(), "a manifest that cannot be read back is no snapshot");
}

// Row: 404 on a referenced pack in a read; the next backup stores its content again.
#[test]
fn a_pack_that_is_missing_is_asked_for_several_times_and_then_stored_again() {
    let world = World::new();
    let id = world.backup().unwrap();
    world.server.inject(Rule::new(Fault::not_found()).on(GetObject).key("data/").times(2));
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
    world.server.clear_faults();
    assert!(world.server.remove_object(&world.keys("data")[0]));
    let error = restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Damage, "{error}");
    world.backup().unwrap();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
}

fn list_faults() -> Vec<ListFault> {
    vec![
        ListFault::NoToken,
        ListFault::SameToken,
        ListFault::Restart,
        ListFault::NotIncreasing,
        ListFault::KeyCount(1),
        ListFault::KeyCount(-1),
        ListFault::BadEncoding,
    ]
}

// Row: LIST truncated without a token; repeated token; keys not increasing; KeyCount mismatch; bad url-encoding.
#[test]
fn a_listing_is_complete_or_an_error() {
    for fault in list_faults() {
        let server = S3Server::start();
        server.behave(|b| b.page_keys = 4);
        for n in 0..10 {
            server.put_object(&format!("x/index/{n:02}"), vec![n]);
        }
        let store = store(&server, "x");
        // Once: the listing is begun anew.
        server.inject(Rule::new(Fault::List(fault.clone())).on(ListObjectsV2).skip(1).times(1));
        assert_eq!(store.list("index").unwrap().len(), 10, "{fault:?}");
        server.clear_faults();
        server.inject(Rule::new(Fault::List(fault.clone())).on(ListObjectsV2).skip(1).for_ever());
        let error = store.list("index").unwrap_err();
        assert!(matches!(error, Error::ListIncomplete { .. }), "{fault:?}: {error}");
    }
}

// Row: LIST: unknown keys; an empty page that says that more follows.
#[test]
fn strangers_and_empty_pages_in_a_listing_are_passed_over() {
    let server = S3Server::start();
    for n in 0..3 {
        server.put_object(&format!("x/index/{n:02}"), vec![n]);
    }
    for fault in [ListFault::Unknown(vec!["x/index/00.bak".into(), "x/index/Zz".into()]), ListFault::EmptyPage] {
        server.inject(Rule::new(Fault::List(fault)).on(ListObjectsV2).times(1));
        assert_eq!(store(&server, "x").list("index").unwrap().len(), 3);
    }
}

// Row: LIST incomplete: a backup goes on, and costs duplicates at worst.
#[test]
fn a_backup_goes_on_without_a_listing_of_packs() {
    let world = World::new();
    world.backup().unwrap();
    world.server.inject(Rule::new(Fault::List(ListFault::KeyCount(1))).on(ListObjectsV2).key("data").for_ever());
    let id = world.backup().unwrap();
    world.server.clear_faults();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
}

// Row: LIST short with IsTruncated=false. Also item 7 of the issue: only a 404 makes a pack lost.
#[test]
fn a_silently_short_listing_makes_nothing_disappear() {
    let world = World::new();
    world.backup().unwrap();
    let packs = world.keys("data").len();
    world.server.inject(Rule::new(Fault::List(ListFault::Without(vec!["x/data/".into()]))).on(ListObjectsV2).for_ever());
    let id = world.backup().unwrap();
    assert_eq!(world.keys("data").len(), packs, "nothing was stored again: each pack was asked for");
    assert!(!world.server.log_of(HeadObject).is_empty());
    world.server.clear_faults();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
    // A snapshot that a listing leaves out is back with the next one.
    world.server.inject(Rule::new(Fault::List(ListFault::Without(vec!["x/snapshots/".into()]))).on(ListObjectsV2).for_ever());
    let repository = open(world.store(), None).unwrap();
    repository.refresh().unwrap();
    world.server.clear_faults();
    repository.refresh().unwrap();
    assert_eq!(repository.catalog().ids().unwrap().len(), 2);
}

// Row: conditional PUT 412 / 409 / 304 / 501 / 200 but ignored.
#[test]
fn no_conditional_put_is_needed() {
    for conditional in [Conditional::Honoured, Conditional::Ignored, Conditional::NotImplemented, Conditional::NotModified] {
        let server = S3Server::start();
        server.behave(|b| b.conditional_put = conditional);
        put(&server).unwrap();
        put(&server).unwrap_or_else(|error| panic!("{conditional:?}: {error}"));
        server.inject(Rule::new(Fault::ResetAfter).on(PutObject).times(1));
        store(&server, "x").put(&name("data/aa/ab"), &bytes(2, LONG)).unwrap_or_else(|error| panic!("{conditional:?}: {error}"));
    }
    put_survives(&[Fault::refuse(409, "ConditionalRequestConflict")]);
}

// Row: a PUT that is answered 200 by something else: empty 200, 200 with an error, a captive portal.
#[test]
fn any_200_is_not_an_acknowledgement() {
    put_survives(&[Fault::EmptyOk, Fault::Portal]);
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    server.inject(Rule::new(Fault::Portal).on(ListObjectsV2).times(1));
    assert_eq!(store(&server, "x").list("index").unwrap().len(), 1);
}

// Row: InvalidObjectState.
#[test]
fn an_archived_object_is_said_to_be_archived() {
    let server = S3Server::start();
    server.behave(|b| b.classes_cold = vec!["DEEP_ARCHIVE".into()]);
    server.put_object("x/data/aa/aa", bytes(1, 100));
    server.set_storage_class("x/data/aa/aa", "DEEP_ARCHIVE");
    let error = store(&server, "x").get(&name("data/aa/aa"), 100).unwrap_err();
    assert!(matches!(error, Error::Archived { .. }), "{error}");
}

// Row: object lock: a refused DELETE.
#[test]
fn a_locked_bucket_takes_backups() {
    let world = World::new();
    world.server.behave(|b| b.locked = vec!["x/".into()]);
    world.backup().unwrap();
    world.backup().unwrap();
    world.is_sound();
}

// Row: 301/307 wrong region, cross-host redirect.
#[test]
fn the_right_region_is_found_and_no_redirect_followed() {
    put_survives(&[Fault::wrong_region("eu-west-1")]);
    let (server, elsewhere) = (S3Server::start(), S3Server::start());
    server.inject(Rule::new(Fault::redirect(&format!("{}/bucket/x", elsewhere.endpoint()))).for_ever());
    put(&server).unwrap_err();
    assert_eq!(elsewhere.log().len(), 0, "no credential went to another host");
}

// Row: QuotaExceeded / 507.
#[test]
fn a_full_store_ends_the_run_at_once() {
    for fault in [Fault::refuse(403, "QuotaExceeded"), Fault::refuse(507, "InsufficientStorage")] {
        let world = World::new();
        world.server.clear_log();
        world.server.inject(Rule::new(fault).on(PutObject).key("data/").for_ever());
        assert_eq!(kind(&failed(world.backup().unwrap_err())), ErrorKind::StorageFull);
        assert_eq!(world.server.log_of(PutObject).iter().filter(|r| r.key.contains("data/")).count(), 1, "it is not tried again");
        assert_eq!(world.keys("snapshots").len(), 0);
    }
}

/// Ctrl-C while a store does not answer ended nothing for as long as the store was tried again.
#[test]
fn waiting_ends_when_it_is_asked_to() {
    let server = S3Server::start();
    server.inject(Rule::new(Fault::StallBefore).for_ever());
    let stop = Arc::new(AtomicBool::new(false));
    let options = S3Options { stop: Some(stop.clone()), pace: Pace::default(), ..quick() };
    let store = S3Store::open(S3Place::parse(&server.url("x")).unwrap(), options).unwrap();
    let asking = std::thread::spawn(move || store.get(&ObjectName::descriptor(), 10));
    server.wait_until(|log| !log.is_empty());
    stop.store(true, Relaxed);
    assert!(matches!(asking.join().unwrap(), Err(Error::Interrupted)));
}

/// What is missing is `Missing`, for every way of asking.
#[test]
fn a_missing_object_is_missing() {
    let server = S3Server::start();
    let store = store(&server, "x");
    let missing = |error: Error| matches!(error, Error::Damaged { damage: Damage::Missing, .. });
    assert!(missing(store.get(&name("data/aa/aa"), 1).unwrap_err()));
    assert!(missing(store.get_suffix(&name("data/aa/aa"), 1).unwrap_err()));
}
