//! Collections on stores that refuse, hide and hold: what may not be deleted stays, what is not listed is not gone, and nothing is decided by
//! half of a listing.

use crate::s3::{quick, store};
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::error::{Error, Result};
use seabed_engine::forget::forget;
use seabed_engine::gc::{GcOptions, GcReport, MaxUnused, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::s3::{S3Options, S3Place, S3Store};
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options};
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule, S3Server};
use seabed_tests::trees::noise;
use std::sync::Arc;
use std::time::Duration;

use Operation::{DeleteObject, ListObjectsV2};

/// A bucket with two snapshots that share something, of which the first is forgotten.
struct World {
    server: S3Server,
    repository: Repository,
    stays: SnapshotId,
}

const STAYS: [u64; 2] = [3, 4];

fn snapshot(repository: &Repository, blocks: &[u64]) -> SnapshotId {
    let streams = blocks.iter().map(|n| bytes_stream(&format!("s{n}"), noise(*n, 40_000))).collect();
    backup(repository, BackupOptions { streams, ..options(&[]) }, &Silent).unwrap().snapshot.unwrap()
}

fn gc(repository: &Repository, repack_cold: bool) -> Result<GcReport> {
    let options = GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), repack_cold, ..GcOptions::default() };
    repository.refresh()?;
    collect(repository, plan(repository, &options, &Silent)?, &Silent)
}

impl World {
    fn new() -> World {
        World::with(quick())
    }

    fn with(asked: S3Options) -> World {
        let server = S3Server::start();
        let place = S3Place::parse(&server.url("x")).unwrap();
        let repository = init(Arc::new(S3Store::open(place, asked).unwrap()), None).unwrap();
        let goes = snapshot(&repository, &[1, 2, 3]);
        let stays = snapshot(&repository, &STAYS);
        forget(&repository, &[goes]).unwrap();
        World { server, repository, stays }
    }

    fn collect(&self) -> Result<GcReport> {
        gc(&self.repository, false)
    }

    fn count(&self, folder: &str) -> usize {
        let repository = open(Arc::new(store(&self.server, "x")), None).unwrap();
        repository.origin().list(folder).unwrap().len()
    }

    /// What stays is there, for whoever comes with nothing but the key; and a collection without faults ends as it should.
    fn is_sound(&self) {
        self.server.clear_faults();
        self.server.behave(|b| b.locked.clear());
        let repository = open(Arc::new(store(&self.server, "x")), None).unwrap();
        let holds = || STAYS.iter().all(|n| dump_path(&repository, &self.stays, format!("s{n}").as_bytes()).unwrap() == noise(*n, 40_000));
        assert!(holds());
        gc(&repository, true).unwrap();
        assert!(holds());
        // Two of four blocks are gone, and their manifest with them.
        let bytes: u64 = repository.origin().list("data").unwrap().iter().map(|object| object.bytes).sum();
        assert!(bytes < 100_000, "{bytes}");
        assert_eq!(self.count("snapshots"), 1);
    }
}

// Row: 403 AccessDenied on DELETE.
#[test]
fn t16_what_may_not_be_deleted_stays_and_the_rest_goes() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(DeleteObject).key("data/").for_ever());
    let report = world.collect().unwrap();
    assert!(report.refused_deletions > 0 && report.deleted_packs == 0, "{report:?}");
    assert_eq!(report.deleted_manifests, 1);
    world.server.clear_faults();
    let report = world.collect().unwrap();
    assert!(report.refused_deletions == 0 && report.deleted_packs > 0, "{report:?}");
    world.is_sound();
}

// Row: Object Lock.
#[test]
fn a_locked_bucket_keeps_everything_and_does_not_grow() {
    let world = World::new();
    world.server.behave(|b| b.locked = vec!["x/".into()]);
    for _ in 0..10 {
        snapshot(&world.repository, &STAYS);
    }
    let report = world.collect().unwrap();
    assert!(report.refused_deletions > 0 && report.deleted_packs + report.deleted_manifests == 0, "{report:?}");
    let objects = || ["data", "index", "records"].map(|folder| world.count(folder));
    let before = objects();
    world.collect().unwrap();
    assert_eq!(objects(), before, "what may not go must not be written anew each night");
    world.server.behave(|b| b.locked.clear());
    assert!(world.collect().unwrap().deleted_packs > 0);
}

// Row: LIST: KeyCount mismatch and the like: a collection refuses.
#[test]
fn no_collection_decides_by_half_of_a_listing() {
    for folder in ["pending", "snapshots", "forgotten", "index", "data", "names", "lists", "records"] {
        let world = World::new();
        world.server.clear_log();
        let listing = || Rule::new(Fault::List(ListFault::KeyCount(1))).on(ListObjectsV2).key(folder).for_ever();
        world.server.inject(listing());
        let error = world.collect().unwrap_err();
        assert!(matches!(error, Error::ListIncomplete { .. }), "{folder}: {error}");
        assert_eq!(world.server.log_of(DeleteObject).len(), 0, "{folder}");
        world.is_sound();
    }
}

// Row: LIST short with IsTruncated=false.
#[test]
fn a_silently_short_listing_costs_nothing() {
    for folder in ["pending", "snapshots", "forgotten", "index", "data", "records"] {
        let world = World::new();
        let short = ListFault::Without(vec![format!("x/{folder}/")]);
        world.server.inject(Rule::new(Fault::List(short)).on(ListObjectsV2).for_ever());
        // Whether it goes on or stops, and says what it misses, is its own affair.
        world.collect().map(drop).unwrap_or(());
        world.is_sound();
    }
}

// Row: Delete while listing: pages of two keys, and everything in several of them.
#[test]
fn listings_of_many_pages_are_read_to_their_end_before_anything_goes() {
    let world = World::new();
    for _ in 0..9 {
        snapshot(&world.repository, &STAYS);
    }
    world.server.behave(|b| b.page_keys = 2);
    let report = world.collect().unwrap();
    assert!(report.deleted_packs > 0, "{report:?}");
    let repository = open(Arc::new(store(&world.server, "x")), None).unwrap();
    assert_eq!(repository.catalog().snapshots().unwrap().len(), 0);
    assert_eq!(repository.refresh().map(|_| repository.catalog().snapshots().unwrap().len()).unwrap(), 10);
}

/// Packs in a class that costs to read, or that is charged for a time after its objects are gone, are left alone.
// Row: InvalidObjectState: cold packs are not repacked.
#[test]
fn cold_packs_are_written_anew_only_where_that_is_asked_for() {
    let world = World::with(S3Options { storage_class: Some("STANDARD_IA".into()), ..quick() });
    let report = world.collect().unwrap();
    assert_eq!((report.figures.cold_packs, report.figures.repack_packs, report.deleted_packs), (1, 0, 0), "{report:?}");
    assert!(report.figures.charges.is_empty());
    let report = gc(&world.repository, true).unwrap();
    assert_eq!((report.figures.cold_packs, report.figures.repack_packs), (0, 1), "{report:?}");
    let charge = &report.figures.charges[0];
    assert_eq!((charge.class.as_str(), charge.days, charge.packs), ("STANDARD_IA", 30, 1));
    world.is_sound();
}
