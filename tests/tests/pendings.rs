//! Pending manifests: what a run that does not end leaves behind, who goes on from there, and what a collection in between may cost.

use seabed_engine::backup::{BackupOptions, Failure, backup};
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::forget::forget;
use seabed_engine::gc::{GcOptions, MaxUnused, Plan, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options, restored};
use seabed_tests::trees::{capture, differences, noise};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pending after every few kilobytes.
fn often(top: &Path) -> BackupOptions {
    BackupOptions { pending_bytes: 1, threads: 1, ..options(&[top.to_path_buf()]) }
}

fn source(files: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..files {
        fs::create_dir_all(dir.path().join(format!("d{}", n / 10))).unwrap();
        fs::write(dir.path().join(format!("d{}/f{n:03}", n / 10)), noise(n, 200_000)).unwrap();
    }
    dir
}

/// A run that dies when it would commit.
fn dies_at_the_commit(store: &MemoryStore, top: &Path) {
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let repository = open(Arc::new(faulty.clone()), None).unwrap();
    let state = faulty.clone();
    faulty.before(StoreOp::Put, "snapshots/", move || {
        state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
    });
    assert!(backup(&repository, often(top), &Silent).is_err());
}

#[test]
fn the_next_run_goes_on_where_a_dead_one_stopped() {
    let store = MemoryStore::new();
    init(Arc::new(store.clone()), None).unwrap();
    let dir = source(40);
    std::thread::sleep(Duration::from_millis(50));
    dies_at_the_commit(&store, dir.path());
    let left = store.list("pending").unwrap().len();
    assert!(left >= 2, "{left} pendings");
    // What it had done can be restored by whoever has nothing better.
    let repository = open(Arc::new(store.clone()), None).unwrap();
    let pending = repository.pendings(&Default::default()).unwrap().pop().unwrap();
    let report = backup(&repository, often(dir.path()), &Silent).unwrap();
    assert_eq!(report.resumed, Some(pending.id));
    assert_eq!((report.summary.files_new, report.summary.files_unmodified), (0, 40), "{:?}", report.summary);
    assert_eq!(report.summary.bytes_added, 0);
    // It deleted its own, and nothing of the other's: that one may be alive.
    assert!(store.list("pending").unwrap().iter().all(|object| object.name.as_pending().unwrap().0 == pending.id));
    let want = capture(dir.path(), false);
    assert!(differences(&want, &restored(&repository, &report.snapshot.unwrap(), dir.path()).unwrap()).is_empty());
    // A run whose snapshot is newer than what is left does not go back to it.
    assert_eq!(backup(&repository, often(dir.path()), &Silent).unwrap().resumed, None);
}

#[test]
fn files_behind_the_stop_are_compared_with_the_snapshot_before() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let dir = source(40);
    std::thread::sleep(Duration::from_millis(50));
    backup(&repository, often(dir.path()), &Silent).unwrap();
    // Something new in front, and the run dies on its way.
    for n in 0..10 {
        fs::write(dir.path().join(format!("d0/a{n}")), noise(1000 + n, 200_000)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let other = open(Arc::new(faulty.clone()), None).unwrap();
    let state = faulty.clone();
    faulty.before(StoreOp::Put, "pending/", || ());
    faulty.before(StoreOp::Put, "pending/", move || {
        state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
    });
    assert!(backup(&other, often(dir.path()), &Silent).is_err());
    let report = backup(&repository, often(dir.path()), &Silent).unwrap();
    assert!(report.resumed.is_some());
    let s = &report.summary;
    assert!(s.files_unmodified >= 40 && s.files_changed == 0 && s.files_unmodified + s.files_new == 50, "{s:?}");
}

/// A snapshot of streams with these blocks.
fn blocks(of: &[u64]) -> BackupOptions {
    let streams = of.iter().map(|n| bytes_stream(&format!("s{n}"), noise(*n, 40_000))).collect();
    BackupOptions { streams, ..options(&[]) }
}

/// A repository with one snapshot of blocks 1 and 2, which is forgotten, and a client of it whose operations can be waited for.
fn forgotten() -> (MemoryStore, FaultStore, Repository) {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = backup(&repository, blocks(&[1, 2]), &Silent).unwrap().snapshot.unwrap();
    let slow = FaultStore::new(Arc::new(store.clone()));
    let client = open(Arc::new(slow.clone()), None).unwrap();
    // Its listing still shows the snapshot's packs as good ones.
    forget(&repository, &[first]).unwrap();
    (store, slow, client)
}

fn without_grace() -> GcOptions {
    GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), threads: 1, ..GcOptions::default() }
}

fn planned(store: &MemoryStore) -> (Repository, Plan) {
    let other = open(Arc::new(store.clone()), None).unwrap();
    other.refresh().unwrap();
    let plan = plan(&other, &without_grace(), &Silent).unwrap();
    (other, plan)
}

fn holds(store: &MemoryStore, id: &SnapshotId, blocks: &[u64]) {
    let fresh = open(Arc::new(store.clone()), None).unwrap();
    for n in blocks {
        assert!(dump_path(&fresh, id, format!("s{n}").as_bytes()).unwrap() == noise(*n, 40_000), "block {n}");
    }
}

#[test]
fn what_a_collection_condemned_meanwhile_is_rescued() {
    let (store, slow, client) = forgotten();
    // The collection plans before this run's root is there, and acts behind it.
    let plan: Arc<Mutex<Option<(Repository, Plan)>>> = Arc::default();
    let (at, kept) = (store.clone(), plan.clone());
    slow.before(StoreOp::Put, "pending/", move || *kept.lock().unwrap() = Some(planned(&at)));
    slow.before(StoreOp::List, "records", move || {
        let (other, plan) = plan.lock().unwrap().take().unwrap();
        let report = collect(&other, plan, &Silent).unwrap();
        assert!(report.condemned > 0 && report.spared_packs > 0, "{report:?}");
    });
    let report = backup(&client, blocks(&[2, 3]), &Silent).unwrap();
    let id = report.snapshot.unwrap();
    holds(&store, &id, &[2, 3]);
    // The pack that was named is never used again, and goes with the next collection.
    let (other, plan) = planned(&store);
    let report = collect(&other, plan, &Silent).unwrap();
    assert!(report.deleted_packs > 0 && report.spared_packs == 0, "{report:?}");
    holds(&store, &id, &[2, 3]);
}

#[test]
fn what_is_gone_meanwhile_fails_the_run_and_is_stored_by_the_next() {
    let (store, slow, client) = forgotten();
    let at = store.clone();
    slow.before(StoreOp::Put, "pending/", move || {
        let (other, plan) = planned(&at);
        assert!(collect(&other, plan, &Silent).unwrap().deleted_packs > 0);
    });
    let failed = backup(&client, blocks(&[2, 3]), &Silent);
    assert!(matches!(failed, Err(Failure::Repository(Error::Overtaken))), "{failed:?}");
    assert!(store.list("snapshots").unwrap().is_empty());
    let report = backup(&client, blocks(&[2, 3]), &Silent).unwrap();
    holds(&store, &report.snapshot.unwrap(), &[2, 3]);
}

/// The model lost a snapshot so: a pending on the way was CHECKed behind a new record, and the CHECK of the whole then took that record for
/// known, though what came behind the pending relied on a pack that it condemned.
#[test]
fn a_check_on_the_way_vouches_only_for_what_was_done_by_then() {
    let (store, slow, client) = forgotten();
    let plan: Arc<Mutex<Option<(Repository, Plan)>>> = Arc::default();
    let (at, kept) = (store.clone(), plan.clone());
    slow.before(StoreOp::Put, "pending/", move || *kept.lock().unwrap() = Some(planned(&at)));
    slow.before(StoreOp::List, "records", move || {
        let (other, plan) = plan.lock().unwrap().take().unwrap();
        assert!(collect(&other, plan, &Silent).unwrap().deleted_packs > 0);
    });
    // Block 9 makes the mark; block 2 comes behind it and is known.
    let failed = backup(&client, BackupOptions { pending_bytes: 1, ..blocks(&[9, 2]) }, &Silent);
    assert!(matches!(failed, Err(Failure::Repository(Error::Overtaken))), "{failed:?}");
    let report = backup(&client, blocks(&[9, 2]), &Silent).unwrap();
    holds(&store, &report.snapshot.unwrap(), &[9, 2]);
}
