//! Data packs in an archive class: backups never read them, a restore says what it needs before it begins, has it brought back and waits.

use crate::s3::quick;
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::Error;
use seabed_engine::id::{Class, ObjectName, PackId, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::restore::needs::{Looks, Needs, await_thawed, needs, thaw};
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{Pattern, RestoreOptions, restore};
use seabed_engine::store::s3::{S3Options, S3Place, S3Store};
use seabed_engine::store::{Readiness, Store, ThawOrder, ThawTier};
use seabed_tests::repo::{backup_paths, init, open, options, restored, select};
use seabed_tests::s3_server::{Fault, Operation, Rule, S3Server};
use seabed_tests::trees::noise;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const ORDER: ThawOrder = ThawOrder { tier: ThawTier::Bulk, days: 3 };

/// A bucket whose data packs lie in an archive, and what they were made of.
struct World {
    server: S3Server,
    source: TempDir,
    paths: [PathBuf; 1],
    snapshot: SnapshotId,
}

/// Files of one backup: with the smallest packs, each is in packs of its own.
const FILES: u64 = 3;
const FILE_BYTES: usize = 5 << 20;

impl World {
    fn new() -> World {
        let (server, source) = (S3Server::start(), tempfile::tempdir().unwrap());
        server.behave(|b| b.classes_cold = vec!["DEEP_ARCHIVE".into()]);
        for n in 0..FILES {
            fs::write(source.path().join(format!("f{n}")), noise(n, FILE_BYTES)).unwrap();
        }
        let paths = [source.path().to_owned()];
        let repository = init(store(&server), None).unwrap();
        let snapshot = backup(&repository, &paths);
        World { server, source, paths, snapshot }
    }

    fn ordered(&self) -> usize {
        self.server.log_of(Operation::RestoreObject).len()
    }
}

fn store(server: &S3Server) -> Arc<dyn Store> {
    let place = S3Place::parse(&server.url("x")).unwrap();
    Arc::new(S3Store::open(place, S3Options { storage_class: Some("DEEP_ARCHIVE".into()), ..quick() }).unwrap())
}

fn backup(repository: &seabed_engine::repository::Repository, paths: &[PathBuf]) -> SnapshotId {
    let options = seabed_engine::backup::BackupOptions { data_pack_bytes: 4 << 20, ..options(paths) };
    seabed_engine::backup::backup(repository, options, &Silent).unwrap().snapshot.unwrap()
}

fn into(target: &Path) -> RestoreOptions {
    RestoreOptions {
        target: target.to_path_buf(),
        options: TargetOptions { numeric_owner: true, ..TargetOptions::default() },
        ..RestoreOptions::default()
    }
}

fn count(needs: &Needs, state: Readiness) -> u64 {
    needs.in_state(state).0
}

#[test]
fn a_restore_plans_orders_waits_and_goes_on_after_it_was_stopped() {
    let world = World::new();
    let repository = open(store(&world.server), None).unwrap();
    let selected = select(&repository, &world.snapshot, b"").unwrap();
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("new");

    // Without an order it fails at the first pack and says why; it does not fail file by file.
    let error = restore(&repository, &selected, &into(&target), &Silent).unwrap_err();
    assert!(matches!(error.cause(), Error::Archived { .. }), "{error}");
    fs::remove_dir_all(&target).unwrap();

    let mut planned = needs(&repository, &selected, &into(&target), &Silent).unwrap();
    assert!(!target.exists(), "a plan makes nothing");
    assert_eq!((planned.files, planned.bytes, planned.chunks_lost), (FILES, FILES * FILE_BYTES as u64, 0));
    let packs = planned.packs.len() as u64;
    assert!(packs >= FILES, "{packs}");
    assert_eq!(count(&planned, Readiness::Frozen), packs);
    assert_eq!(world.ordered(), 0, "a plan orders nothing");

    world.server.behave(|b| b.thaw_requests = 40);
    assert_eq!(thaw(&repository, &mut planned, ORDER, &Silent).unwrap(), packs);
    assert_eq!(world.ordered() as u64, packs);
    assert_eq!(count(&planned, Readiness::Thawing), packs);

    // Another process, later: what is under way is seen, and not ordered a second time.
    let repository = open(store(&world.server), None).unwrap();
    let mut again = needs(&repository, &selected, &into(&target), &Silent).unwrap();
    assert_eq!(thaw(&repository, &mut again, ORDER, &Silent).unwrap(), 0);
    let looks = Looks { first: Duration::from_millis(1), last: Duration::from_millis(1) };
    let told = Cell::new(0);
    await_thawed(&repository, &mut again, (ORDER, looks), &Silent, &|_| told.set(told.get() + 1)).unwrap();
    assert_eq!(count(&again, Readiness::Ready), packs);
    assert!(told.get() > 1, "it was not there at the first look");
    assert_eq!(world.ordered() as u64, packs);

    restore(&repository, &selected, &into(&target), &Silent).unwrap();
    let below = target.join(world.source.path().strip_prefix("/").unwrap());
    for n in 0..FILES {
        assert!(fs::read(below.join(format!("f{n}"))).unwrap() == noise(n, FILE_BYTES));
    }

    // What the target has already needs nothing.
    let kept = RestoreOptions {
        options: TargetOptions { overwrite: seabed_engine::restore::target::Overwrite::IfChanged, ..into(&target).options },
        ..into(&target)
    };
    let none = needs(&repository, &selected, &kept, &Silent).unwrap();
    assert_eq!((none.files, none.packs.len()), (0, 0));
}

#[test]
fn a_part_needs_its_own_packs_only() {
    let world = World::new();
    let repository = open(store(&world.server), None).unwrap();
    let selected = select(&repository, &world.snapshot, b"").unwrap();
    let (whole, part) = (into(Path::new("/nowhere-at-all")), into(Path::new("/nowhere-at-all")));
    let include = vec![Pattern { text: b"f1".to_vec(), fold_case: false }];
    let whole = needs(&repository, &selected, &whole, &Silent).unwrap();
    let part = needs(&repository, &selected, &RestoreOptions { include, ..part }, &Silent).unwrap();
    assert_eq!((part.files, part.bytes), (1, FILE_BYTES as u64));
    assert!(!part.packs.is_empty() && part.packs.len() < whole.packs.len());
}

#[test]
fn backups_and_checks_do_without_what_is_archived() {
    let world = World::new();
    // A host that knows nothing but place and key.
    let repository = open(store(&world.server), None).unwrap();
    fs::write(world.source.path().join("new"), noise(9, 100_000)).unwrap();
    backup(&repository, &world.paths);
    let report = check(&open(store(&world.server), None).unwrap(), &CheckOptions::default(), &Silent).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.packs_archived > FILES && report.packs_unread == 0, "{report:?}");
    let all = CheckOptions { read_data: ReadData::All, ..Default::default() };
    let report = check(&open(store(&world.server), None).unwrap(), &all, &Silent).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.packs_unread, report.packs_archived);
    let gets = world.server.log_of(Operation::GetObject);
    let refused = gets.iter().filter(|get| get.key.starts_with("x/data/") && get.status() == Some(403)).count() as u64;
    assert_eq!(refused, 2 * report.packs_archived, "only the checks tried, each pack once");
}

/// A killed run leaves packs that no segment names. In an archive nobody can read what they hold: the next run stores it anew.
#[test]
fn an_archived_pack_without_a_segment_stops_nobody() {
    let world = World::new();
    for key in world.server.objects().into_keys().filter(|key| key.starts_with("x/index/") || key.starts_with("x/snapshots/")) {
        world.server.remove_object(&key);
    }
    let repository = open(store(&world.server), None).unwrap();
    let report = backup_paths(&repository, &world.paths).unwrap();
    world.server.behave(|b| b.classes_cold.clear());
    let top = world.source.path();
    let tree = restored(&repository, &report.snapshot.unwrap(), top).unwrap();
    assert_eq!(tree.len(), FILES as usize);
}

/// A pack in the archive was lost, and the next backup stored its content anew: the plan knew only of one copy, ordered that one for ever or
/// said that it was missing, and the restore spoke of damage.
#[test]
fn of_two_copies_the_one_that_is_there_is_ordered() {
    let world = World::new();
    for key in world.server.objects().into_keys().filter(|key| key.starts_with("x/data/")) {
        world.server.remove_object(&key);
    }
    let id = backup(&open(store(&world.server), None).unwrap(), &world.paths);
    let repository = open(store(&world.server), None).unwrap();
    let selected = select(&repository, &id, b"").unwrap();
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("new");
    let error = restore(&repository, &selected, &into(&target), &Silent).unwrap_err();
    assert!(matches!(error.cause(), Error::Archived { .. }), "{error}");
    let mut planned = needs(&repository, &selected, &into(&target), &Silent).unwrap();
    let there = world.server.objects().into_keys().filter(|key| key.starts_with("x/data/")).count() as u64;
    assert_eq!((planned.packs.len() as u64, count(&planned, Readiness::Frozen)), (there, there));
    world.server.behave(|b| b.thaw_requests = 0);
    assert_eq!(thaw(&repository, &mut planned, ORDER, &Silent).unwrap(), there);
    restore(&repository, &selected, &into(&target), &Silent).unwrap();
}

/// `rebuild` ended with an error at the first pack in an archive: an index that was lost could not be made again until all of them were
/// thawed.
#[test]
fn a_rebuild_takes_over_what_is_known_of_archived_packs() {
    let world = World::new();
    let frozen = world.server.objects().into_keys().filter(|key| key.starts_with("x/data/")).count() as u64;
    let report = rebuild(&open(store(&world.server), None).unwrap(), &Silent).unwrap();
    assert!(report.damaged.is_empty() && report.unread.is_empty(), "{report:?}");
    assert_eq!(report.archived, frozen);
    let thawed = |world: &World| world.server.behave(|b| b.classes_cold.clear());
    thawed(&world);
    restored(&open(store(&world.server), None).unwrap(), &world.snapshot, world.source.path()).unwrap();
    // Nothing tells what they hold where the segments are gone: that is said, and goes on when they are thawed.
    world.server.behave(|b| b.classes_cold = vec!["DEEP_ARCHIVE".into()]);
    for key in world.server.objects().into_keys().filter(|key| key.starts_with("x/index/")) {
        world.server.remove_object(&key);
    }
    let report = rebuild(&open(store(&world.server), None).unwrap(), &Silent).unwrap();
    assert_eq!((report.archived, report.unread.len() as u64), (frozen, frozen));
    thawed(&world);
    rebuild(&open(store(&world.server), None).unwrap(), &Silent).unwrap();
    restored(&open(store(&world.server), None).unwrap(), &world.snapshot, world.source.path()).unwrap();
}

/// The answer to a PUT into an archive was lost: the next try was told that the object is there, which could not be read to see whether
/// it is ours, and the backup ended.
// Row: reset or timeout before the PUT's response (ambiguous), InvalidObjectState.
#[test]
fn a_pack_that_reached_the_archive_is_not_read_back() {
    let server = S3Server::start();
    server.behave(|b| b.classes_cold = vec!["DEEP_ARCHIVE".into()]);
    for (n, fault) in [Fault::ResetAfter, Fault::refuse_applied(500, "InternalError")].into_iter().enumerate() {
        let pack = ObjectName::pack(Class::Data, &PackId::new([n as u8; 32]));
        server.inject(Rule::new(fault).on(Operation::PutObject).times(1));
        store(&server).put(&pack, b"of some length").unwrap();
        assert_eq!(server.object(&format!("x/{pack}")).unwrap(), b"of some length"[..]);
    }
    assert_eq!(server.log_of(Operation::PutObject).len(), 4);
    // What is shorter is a beginning.
    let pack = ObjectName::pack(Class::Data, &PackId::new([9; 32]));
    server.put_object(&format!("x/{pack}"), b"of some".to_vec());
    server.set_storage_class(&format!("x/{pack}"), "DEEP_ARCHIVE");
    store(&server).put(&pack, b"of some length").unwrap();
    assert_eq!(server.object(&format!("x/{pack}")).unwrap(), b"of some length"[..]);
}
