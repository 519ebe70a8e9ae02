//! Stores that acknowledge and lose, list what is gone, leave out what is there, or let a second one overwrite: what a run then believes.

use crate::s3::{quick, store};
use seabed_engine::check::{CheckOptions, Warning, check};
use seabed_engine::error::{Error, Kind, StoreOp};
use seabed_engine::forget::lost;
use seabed_engine::gc::{GcOptions, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::store::Store;
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store};
use seabed_tests::fault_store::FaultStore;
use seabed_tests::repo::{backup_paths, init, open, restored, secret};
use seabed_tests::s3_server::behaviour::Conditional;
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule, S3Server};
use seabed_tests::trees::noise;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use Operation::{GetObject, ListObjectsV2, PutObject};

/// A bucket with a repository and one snapshot.
struct World {
    server: S3Server,
    source: TempDir,
    paths: [PathBuf; 1],
    snapshot: SnapshotId,
}

impl World {
    fn new() -> World {
        let (server, source) = (S3Server::start(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("a"), noise(1, 300_000)).unwrap();
        let paths = [source.path().to_owned()];
        let repository = init(Arc::new(store(&server, "x")), None).unwrap();
        let snapshot = backup_paths(&repository, &paths).unwrap().snapshot.unwrap();
        World { server, source, paths, snapshot }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(store(&self.server, "x"))
    }

    fn open(&self) -> Repository {
        open(self.store(), None).unwrap()
    }

    fn change(&self, n: u64) {
        fs::write(self.source.path().join("a"), noise(n, 300_000)).unwrap();
    }

    fn leave_out(&self, folder: &str) {
        self.server.inject(Rule::new(Fault::List(ListFault::Without(vec![format!("x/{folder}/")]))).on(ListObjectsV2).for_ever());
    }

    fn deny(&self, folder: &str) {
        self.server.inject(Rule::new(Fault::refuse(404, "NoSuchKey")).on(GetObject).key(folder).for_ever());
    }

    fn restores(&self) {
        self.server.clear_faults();
        restored(&self.open(), &self.snapshot, self.source.path()).unwrap();
    }
}

fn options() -> InitOptions {
    InitOptions { kdf: (8, 1, 1), patience: Duration::from_secs(600), ..InitOptions::default() }
}

/// Four `backup --init` of one fleet in the same second: all were acknowledged, and three of the four snapshots opened for nobody, for the
/// last descriptor had replaced the others. Here the first init has put its slot and not yet its descriptor when the second one comes.
#[test]
fn of_two_inits_at_once_the_second_waits_for_the_first() {
    let server = S3Server::start();
    server.behave(|b| b.conditional_put = Conditional::Ignored);
    server.inject(Rule::new(Fault::StallBefore).on(PutObject).key("x/seabed").times(1));
    let make = || Repository::init(Arc::new(store(&server, "x")), &secret(), &options(), &OpenOptions::default()).map(|r| r.id());
    std::thread::scope(|scope| {
        let first = scope.spawn(make);
        server.wait_until(|log| log.iter().any(|r| r.operation == PutObject && r.key == "x/seabed"));
        let second = scope.spawn(make);
        // It has seen the first one's slot, and asks for the descriptor.
        server.wait_until(|log| {
            log.iter().filter(|r| r.operation == ListObjectsV2 && r.query.iter().any(|(_, v)| v == "x/slots/")).count() >= 2
        });
        server.release_stalls();
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert!(matches!(second, Err(Error::RepositoryExists { .. })), "{second:?}");
        assert_eq!(open(Arc::new(store(&server, "x")), None).unwrap().id(), first.unwrap());
    });
    assert_eq!(server.objects().into_keys().filter(|key| key.starts_with("x/slots/")).count(), 1, "the second took its slot away");
}

/// A slot that a killed init left held up every later one for ever.
#[test]
fn a_slot_that_was_left_behind_only_costs_time() {
    let server = S3Server::start();
    server.put_object("x/slots/0000000000000000000000000000000000000000000000000000000000000000", noise(1, 100));
    let options = InitOptions { patience: Duration::from_millis(20), ..options() };
    Repository::init(Arc::new(store(&server, "x")), &secret(), &options, &OpenOptions::default()).unwrap();
    open(Arc::new(store(&server, "x")), None).unwrap();
}

#[test]
fn nothing_is_acknowledged_in_a_repository_that_was_replaced() {
    let world = World::new();
    let repository = world.open();
    let other = S3Server::start();
    init(Arc::new(store(&other, "x")), None).unwrap();
    world.server.put_object("x/seabed", other.object("x/seabed").unwrap());
    let error = backup_paths(&repository, &world.paths).unwrap_err();
    assert!(error.to_string().contains("another repository was made"), "{error}");
    assert_eq!(world.server.objects().into_keys().filter(|key| key.starts_with("x/forgotten/")).count(), 1);
}

/// Segments, slots and keyrings were believed to be there on the strength of a 200: a backup whose segment was lost did not restore, and
/// a repository whose keyring was lost opened for nobody.
#[test]
fn lost_segments_slots_and_keyrings_are_noticed() {
    let world = World::new();
    fs::write(world.source.path().join("b"), noise(2, 100_000)).unwrap();
    world.server.inject(Rule::new(Fault::LostPut).on(PutObject).key("x/index/").times(1));
    let error = backup_paths(&world.open(), &world.paths).unwrap_err();
    assert!(error.to_string().contains("does not have it"), "{error}");
    let next = backup_paths(&world.open(), &world.paths).unwrap().snapshot.unwrap();
    restored(&world.open(), &next, world.source.path()).unwrap();
    for folder in ["slots/", "keyring/"] {
        let server = S3Server::start();
        server.inject(Rule::new(Fault::LostPut).on(PutObject).key(folder).times(1));
        assert!(init(Arc::new(store(&server, "x")), None).is_err(), "{folder}");
        assert!(server.object("x/seabed").is_none(), "{folder}");
    }
}

/// `restore latest` took the snapshot before without a word, and `check` found nothing.
#[test]
fn a_manifest_that_is_listed_and_not_there_is_said() {
    let world = World::new();
    world.deny("x/snapshots/");
    let refresh = world.open().refresh().unwrap();
    assert_eq!(refresh.unreadable.len(), 1);
    let report = check(&world.open(), &CheckOptions::default(), &Silent).unwrap();
    assert!(report.findings.iter().any(|f| f.snapshots.contains(&world.snapshot)), "{report:?}");
    world.restores();
}

/// A store that did not answer made the newest snapshot "unreadable", and the command went on with an older one.
#[test]
fn a_store_that_is_away_is_no_unreadable_manifest() {
    let world = World::new();
    let pace = Pace { budget: Duration::from_millis(50), ..quick().pace };
    let place = S3Place::parse(&world.server.url("x")).unwrap();
    let repository = open(Arc::new(S3Store::open(place, S3Options { pace, ..quick() }).unwrap()), None).unwrap();
    world.server.inject(Rule::new(Fault::refuse(503, "ServiceUnavailable")).on(GetObject).key("x/snapshots/").for_ever());
    assert_eq!(repository.refresh().unwrap_err().kind(), Kind::Unreachable);
}

/// A segment that stays in a listing after it is gone: every command asked for a new listing for ever.
#[test]
fn a_segment_that_is_listed_and_not_there_ends_nothing() {
    let world = World::new();
    world.deny("x/index/");
    // What it said is read from the packs themselves.
    restored(&world.open(), &world.snapshot, world.source.path()).unwrap();
    check(&world.open(), &CheckOptions::default(), &Silent).unwrap();
    backup_paths(&world.open(), &world.paths).unwrap();
    world.restores();
}

#[test]
fn what_a_listing_leaves_out_is_asked_for_by_name() {
    let cache = tempfile::tempdir().unwrap();
    let world = World::new();
    open(world.store(), Some(cache.path())).unwrap().refresh().unwrap();
    for folder in ["snapshots", "data"] {
        world.leave_out(folder);
        let repository = open(world.store(), Some(cache.path())).unwrap();
        let refresh = repository.refresh().unwrap();
        assert_eq!((refresh.unlisted, repository.catalog().ids().unwrap().len()), (u64::from(folder == "snapshots"), 1));
        let report = check(&repository, &CheckOptions::default(), &Silent).unwrap();
        assert!(report.is_clean() && report.snapshots == 1, "{report:?}");
        assert!(report.warnings.iter().any(|w| matches!(w, Warning::ListingShort { folder: f, .. } if *f == folder)), "{report:?}");
        world.server.clear_faults();
    }
    world.server.remove_object(&format!("x/snapshots/{}", world.snapshot));
    let repository = open(world.store(), Some(cache.path())).unwrap();
    assert_eq!(repository.refresh().unwrap().unlisted, 0);
    assert_eq!(repository.catalog().ids().unwrap().len(), 0, "a 404 is an answer");
}

/// `rebuild` believed one listing of packs, and then removed the segments that knew better.
#[test]
fn a_rebuild_under_a_short_listing_loses_no_pack() {
    let world = World::new();
    world.leave_out("data");
    let report = rebuild(&world.open(), &Silent).unwrap();
    assert!(report.removed > 0);
    world.server.clear_faults();
    // From the new index alone, as restores use it.
    world.restores();
    let report = check(&world.open(), &CheckOptions::default(), &Silent).unwrap();
    assert!(report.is_clean() && report.warnings.is_empty(), "{report:?}");
}

/// Several readers went through one pack, and each fetched beforehand what another had read already: a restore of a gigabyte read half of
/// it twice.
#[test]
fn a_restore_reads_each_pack_once() {
    let world = World::new();
    fs::write(world.source.path().join("long"), noise(7, 40 << 20)).unwrap();
    let id = backup_paths(&world.open(), &world.paths).unwrap().snapshot.unwrap();
    let stored: usize = world.server.objects().iter().filter(|(key, _)| key.starts_with("x/data/")).map(|(_, bytes)| bytes.len()).sum();
    world.server.clear_log();
    let out = tempfile::tempdir().unwrap();
    seabed_tests::repo::restore_to(&world.open(), &id, b"", out.path()).unwrap();
    let read: u64 = world.server.log_of(GetObject).iter().filter(|get| get.key.starts_with("x/data/")).map(|get| get.bytes_out).sum();
    // Footers are asked for with some of what stands before them, and a frame ends within a block.
    assert!(read <= stored as u64 * 105 / 100 + (2 << 20), "{read} of {stored}");
}

/// A collection merges the segment of a run that is under way, which then looked for it for a minute, took the store for one that loses
/// what it acknowledges, and failed: found by a soak.
#[test]
fn a_segment_that_was_merged_is_not_lost() {
    let world = World::new();
    let store = Arc::new(FaultStore::new(world.store()));
    let repository = open(store.clone(), None).unwrap();
    for n in 2..9 {
        world.change(n);
        backup_paths(&world.open(), &world.paths).unwrap();
    }
    world.change(9);
    let other = world.store();
    store.before(StoreOp::Put, "pending/", move || {
        let collector = open(other, None).unwrap();
        let report = collect(&collector, plan(&collector, &GcOptions::default(), &Silent).unwrap(), &Silent).unwrap();
        assert!(report.merged_segments >= 8, "{report:?}");
    });
    let snapshot = backup_paths(&repository, &world.paths).unwrap().snapshot.unwrap();
    assert_eq!(world.store().list("index").unwrap().len(), 1);
    restored(&world.open(), &snapshot, world.source.path()).unwrap();
}

/// The old segments were deleted before anybody had looked whether the new one was there.
// Row: 404 after 200 PUT: in a rebuild.
#[test]
fn a_rebuild_deletes_no_segment_before_it_has_seen_its_own() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::LostPut).on(PutObject).key("index/").times(1));
    rebuild(&open(world.store(), None).unwrap(), &Silent).map(|_| ()).unwrap_or(());
    assert_eq!(world.server.fired(), 1);
    restored(&open(world.store(), None).unwrap(), &world.snapshot, world.source.path()).unwrap();
}

// Row: 404 after 200 PUT: in a merge.
#[test]
fn a_merge_deletes_no_segment_before_it_has_seen_its_own() {
    let world = World::new();
    for n in 2..9 {
        world.change(n);
        backup_paths(&world.open(), &world.paths).unwrap();
    }
    world.server.inject(Rule::new(Fault::LostPut).on(PutObject).key("index/").times(1));
    let collector = world.open();
    let planned = plan(&collector, &GcOptions::default(), &Silent).unwrap();
    collect(&collector, planned, &Silent).map(|_| ()).unwrap_or(());
    assert_eq!(world.server.fired(), 1);
    restored(&world.open(), &world.snapshot, world.source.path()).unwrap();
}

/// What a store leaves out of its listing and has when it is asked by name is not lost: who accepted the loss of it would make it one.
#[test]
fn what_a_listing_leaves_out_is_no_loss_to_be_accepted() {
    let world = World::new();
    backup_paths(&world.open(), &world.paths).unwrap();
    let hidden = format!("x/snapshots/{}", world.snapshot);
    world.server.inject(Rule::new(Fault::List(ListFault::Without(vec![hidden]))).on(ListObjectsV2).for_ever());
    assert!(matches!(lost(&world.open()), Err(Error::ListIncomplete { .. })));
    world.server.clear_faults();
    assert!(lost(&world.open()).unwrap().is_empty());
}
