//! Stores that fail, die, fill up or refuse, at every operation of every verb: what was acknowledged before still restores, what failed
//! is absent or complete, a success is a snapshot that restores, and the next run succeeds.
//! The sweeps take each operation in turn, so that no place between two operations goes untried.

use seabed_engine::backup::{BackupOptions, BackupReport, Failure, backup};
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::{Error, Kind};
use seabed_engine::forget::forget;
use seabed_engine::gc::{GcOptions, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::{Observer, Silent};
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::mount::Mount;
use seabed_tests::repo::{backup_paths, bytes_stream, dump_path, init, open, options, restored};
use seabed_tests::trees::{Tree, capture, differences, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const FAULTS: [Fault; 3] = [Fault::Before, Fault::After, Fault::Torn];

/// A source of a few files: some content for each class of packs, a list tree among it.
struct Source {
    dir: TempDir,
}

impl Source {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("top/sub")).unwrap();
        fs::write(dir.path().join("top/small"), noise(1, 5000)).unwrap();
        fs::write(dir.path().join("top/sub/long"), noise(2, 900_000)).unwrap();
        fs::hard_link(dir.path().join("top/small"), dir.path().join("top/sub/same")).unwrap();
        Source { dir }
    }

    fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    fn roots(&self) -> Vec<PathBuf> {
        vec![self.top()]
    }

    fn tree(&self) -> Tree {
        capture(&self.top(), false)
    }

    fn change(&self, n: u64) {
        fs::write(self.top().join("sub/new"), noise(100 + n, 40_000)).unwrap();
        fs::write(self.top().join("small"), noise(200 + n, 5000)).unwrap();
    }
}

/// A store filled with what `from` holds: each case starts from the same point.
/// Another store with the same objects.
pub fn copy(from: &MemoryStore) -> Arc<MemoryStore> {
    let to = MemoryStore::new();
    for (name, bytes) in from.objects() {
        to.put(&name, &bytes).unwrap();
    }
    Arc::new(to)
}

fn same(what: &str, repository: &Repository, id: &SnapshotId, top: &Path, want: &Tree) {
    let have = restored(repository, id, top).unwrap_or_else(|e| panic!("{what}: restore of {}: {e}", id.short()));
    let found = differences(want, &have);
    assert!(found.is_empty(), "{what}: {}", found.join("\n"));
}

/// All snapshots that a fresh client sees.
fn snapshots(repository: &Repository) -> Vec<SnapshotId> {
    let refresh = repository.refresh().unwrap();
    assert!(refresh.unreadable.is_empty(), "unreadable: {:?}", refresh.unreadable);
    repository.catalog().snapshots().unwrap().iter().map(|s| s.id).collect()
}

/// What must hold after a run under faults, whatever came of it.
fn aftermath(what: &str, store: Arc<dyn Store>, source: &Source, before: &[(SnapshotId, Tree)], run: Result<BackupReport, Failure>) {
    let repository = open(store.clone(), None).unwrap_or_else(|e| panic!("{what}: open: {e}"));
    let (now, ids) = (source.tree(), snapshots(&repository));
    for (id, tree) in before {
        same(what, &repository, id, &source.top(), tree);
    }
    if let Ok(report) = &run {
        let id = report.snapshot.unwrap();
        assert!(ids.contains(&id), "{what}: success without a snapshot");
    }
    for id in ids.iter().filter(|id| before.iter().all(|(b, _)| b != *id)) {
        same(&format!("{what}: of the run that failed"), &repository, id, &source.top(), &now);
    }
    let again = backup_paths(&repository, &source.roots()).unwrap_or_else(|e| panic!("{what}: the next run: {e}"));
    same(&format!("{what}: of the next run"), &open(store.clone(), None).unwrap(), &again.snapshot.unwrap(), &source.top(), &now);
    clean(what, store);
}

/// Nothing that a fault left behind is damage.
fn clean(what: &str, store: Arc<dyn Store>) {
    let report = check(&open(store, None).unwrap(), &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(!report.is_damaged(), "{what}: {:?}", report.findings);
}

/// Runs `case` for each operation, each fault, once and for ever, until an operation number is past the end.
fn sweep(mut case: impl FnMut(&str, Schedule) -> bool) -> u64 {
    let mut cases = 0;
    for fault in FAULTS {
        for for_ever in [false, true] {
            for at in 0.. {
                let schedule = Schedule { at, fault, for_ever };
                cases += 1;
                if !case(&format!("{schedule:?}"), schedule) {
                    break;
                }
            }
        }
    }
    cases
}

#[test]
fn every_operation_of_init_may_fail() {
    let source = Source::new();
    let cases = sweep(|what, schedule| {
        let memory = Arc::new(MemoryStore::new());
        let faulty = FaultStore::new(memory.clone());
        faulty.schedule(Some(schedule));
        let made = init(Arc::new(faulty.clone()), None).is_ok();
        let repository = match open(memory.clone(), None) {
            Ok(repository) => repository,
            Err(Error::NoRepository { .. }) if !made => init(memory, None).unwrap_or_else(|e| panic!("{what}: second init: {e}")),
            Err(e) => panic!("{what}: {e}"),
        };
        backup_paths(&repository, &source.roots()).unwrap_or_else(|e| panic!("{what}: {e}"));
        faulty.fired() > 0
    });
    assert!(cases > 30, "{cases}");
}

#[test]
fn every_operation_of_a_first_backup_may_fail() {
    let source = Source::new();
    let empty = Arc::new(MemoryStore::new());
    init(empty.clone(), None).unwrap();
    sweep(|what, schedule| {
        let memory = copy(&empty);
        let faulty = FaultStore::new(memory.clone());
        let repository = open(Arc::new(faulty.clone()), None).unwrap();
        faulty.schedule(Some(schedule));
        let run = backup_paths(&repository, &source.roots());
        aftermath(&format!("{what} {:?}", faulty.log()), memory, &source, &[], run);
        faulty.fired() > 0
    });
}

#[test]
fn every_operation_of_a_second_backup_may_fail() {
    let source = Source::new();
    let first = Arc::new(MemoryStore::new());
    let repository = init(first.clone(), None).unwrap();
    let id = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let before = [(id, source.tree())];
    source.change(1);
    sweep(|what, schedule| {
        let memory = copy(&first);
        let faulty = FaultStore::new(memory.clone());
        let repository = open(Arc::new(faulty.clone()), None).unwrap();
        faulty.schedule(Some(schedule));
        let streams = vec![bytes_stream("dump", noise(9, 20_000))];
        let run = backup(&repository, BackupOptions { streams, ..options(&source.roots()) }, &Silent);
        aftermath(&format!("{what} {:?}", faulty.log()), memory, &source, &before, run);
        faulty.fired() > 0
    });
}

#[test]
fn every_operation_of_a_restore_may_fail() {
    let source = Source::new();
    let memory = Arc::new(MemoryStore::new());
    let repository = init(memory.clone(), None).unwrap();
    let id = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let want = source.tree();
    sweep(|what, schedule| {
        let faulty = FaultStore::new(memory.clone());
        let repository = open(Arc::new(faulty.clone()), None).unwrap();
        faulty.schedule(Some(schedule));
        // A failure is said; what is called a success is whole.
        match restored(&repository, &id, &source.top()) {
            Ok(have) => assert!(differences(&want, &have).is_empty(), "{what}: {:?}", differences(&want, &have)),
            Err(error) => assert!(faulty.fired() > 0, "{what}: {error}"),
        }
        let fired = faulty.fired() > 0;
        faulty.schedule(None);
        same(what, &open(Arc::new(faulty), None).unwrap(), &id, &source.top(), &want);
        fired
    });
}

#[test]
fn every_operation_of_a_rebuild_may_fail() {
    let source = Source::new();
    let built = Arc::new(MemoryStore::new());
    let repository = init(built.clone(), None).unwrap();
    let first = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let before = [(first, source.tree())];
    source.change(1);
    backup_paths(&repository, &source.roots()).unwrap();
    for lost in [false, true] {
        let start = copy(&built);
        if lost {
            for segment in start.list("index").unwrap() {
                assert!(start.remove(&segment.name));
            }
        }
        sweep(|what, schedule| {
            let memory = copy(&start);
            let faulty = FaultStore::new(memory.clone());
            let repository = open(Arc::new(faulty.clone()), None).unwrap();
            faulty.schedule(Some(schedule));
            rebuild(&repository, &Silent).map(|_| ()).unwrap_or_default();
            let what = format!("{what} {:?}", faulty.log());
            let again = rebuild(&open(memory.clone(), None).unwrap(), &Silent).unwrap_or_else(|e| panic!("{what}: the next rebuild: {e}"));
            assert!(again.damaged.is_empty() && again.unreadable.is_empty(), "{what}: {again:?}");
            let run = backup_paths(&open(memory.clone(), None).unwrap(), &source.roots());
            aftermath(&what, memory, &source, &before, run);
            faulty.fired() > 0
        });
    }
}

/// A panic in a listener left the reading thread waiting for room that nobody gave back, and the backup stood still for ever.
#[test]
fn a_listener_that_panics_ends_the_run() {
    struct Panics;
    impl Observer for Panics {
        fn progress(&self, _: &seabed_engine::observe::Progress) {
            panic!("a bug of the listener");
        }
    }
    let source = Source::new();
    fs::write(source.top().join("very long"), noise(5, 40 << 20)).unwrap();
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let run = std::panic::AssertUnwindSafe(|| backup(&repository, options(&source.roots()), &Panics).is_ok());
    assert!(!std::panic::catch_unwind(run).unwrap_or(false));
    assert!(snapshots(&repository).is_empty());
}

/// Counts polls, and says stop at one of them.
struct StopAt {
    poll: u64,
    polls: AtomicU64,
}

impl Observer for StopAt {
    fn interrupted(&self) -> bool {
        self.polls.fetch_add(1, SeqCst) >= self.poll
    }
}

#[test]
fn an_interrupt_at_any_poll_leaves_nothing_that_hurts() {
    let source = Source::new();
    // Long enough to be read in several pieces, in directories that make several batches.
    fs::write(source.top().join("very long"), noise(5, 6 << 20)).unwrap();
    for n in 0..100 {
        fs::create_dir(source.top().join(format!("dir{n}"))).unwrap();
        fs::write(source.top().join(format!("dir{n}/file")), noise(n, 100)).unwrap();
    }
    let memory = Arc::new(MemoryStore::new());
    let repository = init(memory.clone(), None).unwrap();
    let first = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let before = source.tree();
    source.change(1);
    fs::write(source.top().join("very long"), noise(6, 6 << 20)).unwrap();
    for poll in 0.. {
        let memory = copy(&memory);
        let repository = open(memory.clone(), None).unwrap();
        let observer = StopAt { poll, polls: AtomicU64::new(0) };
        let started = Instant::now();
        let run = backup(&repository, options(&source.roots()), &observer);
        assert!(started.elapsed() < Duration::from_secs(5), "poll {poll}: it took {:?}", started.elapsed());
        match &run {
            Ok(_) => assert!(observer.polls.load(SeqCst) <= poll, "poll {poll} was ignored"),
            Err(Failure::Repository(Error::Interrupted)) => {
                let ids = snapshots(&open(memory.clone(), None).unwrap());
                assert_eq!(ids, [first], "poll {poll}: an interrupted run is no snapshot");
            }
            Err(error) => panic!("poll {poll}: {error}"),
        }
        let done = run.is_ok();
        aftermath(&format!("poll {poll}"), memory, &source, &[(first, before.clone())], run);
        if done {
            assert!(poll > 5, "a backup polls");
            return;
        }
    }
}

#[test]
fn two_backups_at_once_both_succeed() {
    let (one, two) = (Source::new(), Source::new());
    for round in 0..10 {
        one.change(round);
        two.change(round + 1000);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        init(store.clone(), None).unwrap();
        let (a, b) = std::thread::scope(|scope| {
            let run = |source: &Source| backup_paths(&open(store.clone(), None).unwrap(), &source.roots()).unwrap().snapshot.unwrap();
            let (run_one, run_two) = (&one, &two);
            let a = scope.spawn(move || run(run_one));
            let run = |source: &Source| backup_paths(&open(store.clone(), None).unwrap(), &source.roots()).unwrap().snapshot.unwrap();
            (run(run_two), a.join().unwrap())
        });
        let repository = open(store, None).unwrap();
        assert_eq!(snapshots(&repository).len(), 2);
        same("one", &repository, &b, &one.top(), &one.tree());
        same("two", &repository, &a, &two.top(), &two.tree());
    }
}

/// A handle that has restored once knew only the packs of that day: every later snapshot failed with "is in no pack", though the
/// store held all of it, until the process was started anew.
#[test]
fn a_handle_reads_what_came_after_its_first_read() {
    let source = Source::new();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (repository, other) = (init(store.clone(), None).unwrap(), open(store, None).unwrap());
    let first = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let before = source.tree();
    for handle in [&repository, &other] {
        same("first", handle, &first, &source.top(), &before);
    }
    source.change(1);
    let second = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    for handle in [&repository, &other] {
        same("second", handle, &second, &source.top(), &source.tree());
    }
}

#[test]
fn a_disk_may_fill_up_at_any_byte() {
    let source = Source::new();
    let (mut failed, mut succeeded) = (0, 0);
    let mut filled_at = std::collections::BTreeSet::new();
    // One repository for all sizes: what it can still take shrinks by a page from run to run, and is given back after each.
    let mount = Mount::new("size=6m");
    let place = mount.repo();
    let repository = init(Arc::new(LocalStore::create(&place).unwrap()), None).unwrap();
    let first = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    let before = source.tree();
    for pages in 0..80u64 {
        source.change(pages);
        let ballast = mount.path().join("ballast");
        let fs_now = rustix::fs::statvfs(mount.path()).unwrap();
        let fill = fs_now.f_bavail.saturating_sub(pages / 2 + 1);
        fs::write(&ballast, vec![1; (fill * fs_now.f_bsize) as usize]).unwrap();
        let store = Arc::new(LocalStore::open(&place).unwrap());
        let there: std::collections::HashSet<_> = store.list("").unwrap().into_iter().map(|l| l.name).collect();
        let repository = open(store.clone(), None).unwrap();
        let run = backup_paths(&repository, &source.roots());
        let ids = snapshots(&open(Arc::new(LocalStore::open(&place).unwrap()), None).unwrap());
        match &run {
            Ok(report) => {
                succeeded += 1;
                same("full disk", &repository, &report.snapshot.unwrap(), &source.top(), &source.tree());
            }
            Err(error) => {
                failed += 1;
                let text = error.to_string();
                assert!(text.contains("No space left"), "{text}");
                assert_eq!(Kind::Failed, if let Failure::Repository(e) = error { e.kind() } else { Kind::Damage });
                // How far it came: the folders in which it left something.
                let new = store.list("").unwrap().into_iter().map(|l| l.name).filter(|name| !there.contains(name));
                let folders: std::collections::BTreeSet<_> = new.map(|name| name.as_str().split('/').next().unwrap().to_owned()).collect();
                filled_at.insert(folders.into_iter().collect::<Vec<_>>().join(" "));
                assert!(!ids.is_empty());
            }
        }
        let reader = open(Arc::new(LocalStore::open(&place).unwrap()), None).unwrap();
        same("full disk, the old one", &reader, &first, &source.top(), &before);
        fs::remove_file(&ballast).unwrap();
        if succeeded >= 3 {
            break;
        }
    }
    assert!(failed > 10 && succeeded > 0, "{failed} failed, {succeeded} succeeded");
    assert!(filled_at.len() >= 4, "it filled up in too few places: {filled_at:?}");
    let repository = open(Arc::new(LocalStore::open(&place).unwrap()), None).unwrap();
    let last = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    same("afterwards", &repository, &last, &source.top(), &source.tree());
}

#[test]
fn a_read_only_repository_is_read_and_not_written() {
    let source = Source::new();
    let mount = Mount::new("size=32m");
    let place = mount.repo();
    let repository = init(Arc::new(LocalStore::create(&place).unwrap()), None).unwrap();
    let id = backup_paths(&repository, &source.roots()).unwrap().snapshot.unwrap();
    drop(repository);
    mount.set_read_only();
    let repository = open(Arc::new(LocalStore::open(&place).unwrap()), None).unwrap();
    assert_eq!(snapshots(&repository), [id]);
    same("read-only", &repository, &id, &source.top(), &source.tree());
    clean("read-only", Arc::new(LocalStore::open(&place).unwrap()));
    let before = source.tree();
    source.change(1);
    let error = backup_paths(&repository, &source.roots()).unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    assert_eq!(snapshots(&repository), [id]);
    same("read-only, after the refusal", &repository, &id, &source.top(), &before);
}

/// A pack that could not be made durable hung the backup for ever: the packer waited for room in a queue that nobody emptied any
/// more, and not even SIGTERM ended it.
#[test]
fn a_pack_that_fails_while_others_wait_ends_the_run() {
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let repository = init(Arc::new(store.clone()), None).unwrap();
    store.stall_and_fail();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut backup_options = options(&[]);
        backup_options.streams = vec![bytes_stream("random", noise(1, 60 << 20))];
        backup_options.data_pack_bytes = 4 << 20;
        done.send(backup(&repository, backup_options, &Silent).map(drop)).unwrap();
    });
    let result = ended.recv_timeout(Duration::from_secs(60)).expect("a backup that ends");
    assert!(result.unwrap_err().to_string().contains("injected"));
    assert!(store.list("snapshots").unwrap().is_empty());
}

/// Where not one block is free, nothing can be condemned and nothing is lost; a few are enough for a collection to give the others back.
#[test]
fn a_collection_gives_space_back_on_a_full_disk() {
    let mount = Mount::new("size=8m");
    let repository = init(Arc::new(LocalStore::create(mount.repo()).unwrap()), None).unwrap();
    let block = |n: u64| noise(n, 1_500_000);
    let snapshot = |n: u64| {
        let options = BackupOptions { streams: vec![bytes_stream("block", block(n))], ..options(&[]) };
        backup(&repository, options, &Silent).unwrap().snapshot.unwrap()
    };
    let (goes, stays) = (snapshot(1), snapshot(2));
    forget(&repository, &[goes]).unwrap();
    let holds = || {
        let reader = open(Arc::new(LocalStore::open(mount.repo()).unwrap()), None).unwrap();
        dump_path(&reader, &stays, b"block").unwrap() == block(2)
    };
    let gc = || {
        let options = GcOptions { grace: Duration::ZERO, ..GcOptions::default() };
        repository.refresh()?;
        collect(&repository, plan(&repository, &options, &Silent)?, &Silent)
    };
    let ballast = mount.fill(0);
    let full = gc().unwrap_err().to_string();
    assert!(full.contains("No space left"), "{full}");
    assert!(holds());
    fs::remove_file(ballast).unwrap();
    mount.fill(32 << 10);
    let report = gc().unwrap();
    assert!(report.deleted_bytes > 1_500_000, "{report:?}");
    assert!(holds());
}
