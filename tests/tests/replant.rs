//! Snapshots that are planted into another repository: under other keys, or under the same where the content is not there yet. What comes
//! of it is what it was; a second time nothing is stored and little is read; what cannot be read costs its snapshot and no other.

use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::catalog::Snapshot;
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::format::entry::Entry;
use seabed_engine::format::manifest::COPY;
use seabed_engine::id::{Class, SnapshotId};
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::replant::foreign::copy;
use seabed_engine::replant::{ReplantOptions, Session};
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, command_stream, dump_path, init, open, options, restored};
use seabed_tests::trees::{a_day_later, capture, differences, full, noise};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn memory() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    (store.clone(), init(store, None).unwrap())
}

/// A snapshot of `top`, of streams short and long, and of an archive of `top`.
fn everything(repository: &Repository, top: &Path) -> SnapshotId {
    let mut options = options(&[top.to_path_buf()]);
    options.streams = vec![bytes_stream("long.sql", noise(77, 6_000_000)), bytes_stream("short.sql", b"one\n".to_vec())];
    options.tars = vec![command_stream("image", &format!("tar -C {} --xattrs -cf - .", top.display()))];
    let report = backup(repository, options, &Silent).unwrap();
    repository.refresh().unwrap();
    report.snapshot.unwrap()
}

fn snapshot(repository: &Repository, id: &SnapshotId) -> Snapshot {
    repository.refresh().unwrap();
    repository.catalog().snapshots().unwrap().into_iter().find(|snapshot| snapshot.id == *id).unwrap()
}

fn entries(repository: &Repository, id: &SnapshotId) -> Vec<(Vec<u8>, Entry)> {
    let mut all = Vec::new();
    list(repository, &snapshot(repository, id), b"", true, |dir, entry| {
        all.push((dir.to_vec(), entry.clone()));
        Ok(true)
    })
    .unwrap();
    all
}

fn session(to: &Repository) -> Session<'_> {
    Session::new(to, ReplantOptions { threads: 2, ..ReplantOptions::default() }, &Silent).unwrap()
}

fn is_clean(repository: &Repository) {
    let report = check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// The snapshot of `to` that is the same as one of `from`.
fn copy_in(to: &Repository, from: &Repository, snapshot: &Snapshot) -> Option<SnapshotId> {
    let identity = snapshot.identity(&from.id());
    to.catalog().snapshots().unwrap().iter().find(|known| known.identity(&to.id()) == identity).map(|known| known.id)
}

#[test]
fn all_of_a_snapshot_comes_to_another_family() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    full(&top);
    let (_, from) = memory();
    let (_, to) = memory();
    let mut ids = vec![everything(&from, &top)];
    let before = capture(&top, false);
    a_day_later(&top);
    ids.push(everything(&from, &top));
    let after = capture(&top, false);

    let mut session = session(&to);
    let mut made = Vec::new();
    for (id, want) in ids.iter().zip([&before, &after]) {
        let source = snapshot(&from, id);
        assert_eq!(copy_in(&to, &from, &source), None);
        let copied = copy(&mut session, &from, &source, &Silent).unwrap();
        let new = copied.id.unwrap();
        made.push(copied);
        assert_eq!(copy_in(&to, &from, &source), Some(new));
        assert_eq!(entries(&to, &new), entries(&from, id));
        let have = restored(&to, &new, &top).unwrap();
        assert!(differences(want, &have).is_empty(), "{:?}", differences(want, &have));
        for path in [&b"long.sql"[..], b"short.sql", b"image/big", b"image/twin"] {
            assert!(dump_path(&to, &new, path).unwrap() == dump_path(&from, id, path).unwrap());
        }
        let (old, new) = (source, snapshot(&to, &new));
        assert_eq!(
            (new.names.summary.files_total, new.names.summary.bytes_total),
            (old.names.summary.files_total, old.names.summary.bytes_total)
        );
        assert_eq!((&new.names.paths, new.index.time, new.index.started), (&old.names.paths, old.index.time, old.index.started));
        let origin = new.names.origin.unwrap();
        assert_eq!((origin.repository, origin.snapshot, origin.how.as_str()), (from.id(), old.id, COPY));
        // Under keys of its own: no chunk has the id that it had.
        assert!(new.index.roots.iter().zip(&old.index.roots).all(|(new, old)| new.names != old.names || new.names.is_none()));
    }
    assert!(made[1].stored.bytes < made[0].stored.bytes / 2, "{made:?}");
    is_clean(&to);

    // The same once more stores nothing, whoever does it.
    for session in [&mut session, &mut self::session(&to)] {
        let again = session.plant(&from, &snapshot(&from, &ids[1]), SnapshotId::new([1; 32]), &Silent).unwrap();
        assert_eq!((again.stored.bytes, again.written.bytes), (0, 0));
        assert_eq!(again.roots.index, snapshot(&to, &made[1].id.unwrap()).index.roots);
    }
    // A copy of a copy is known for what it is.
    let (_, third) = memory();
    let mut onwards = self::session(&third);
    let id = copy(&mut onwards, &to, &snapshot(&to, &made[0].id.unwrap()), &Silent).unwrap().id.unwrap();
    assert_eq!(snapshot(&third, &id).names.origin.unwrap().snapshot, ids[0]);
    assert_eq!(copy_in(&third, &from, &snapshot(&from, &ids[0])), Some(id));
    assert_eq!(copy_in(&from, &third, &snapshot(&third, &id)), Some(ids[0]), "where it comes from");
    // And the trees are those that anybody makes of it.
    let direct = self::session(&third).plant(&from, &snapshot(&from, &ids[0]), SnapshotId::new([2; 32]), &Silent).unwrap();
    assert_eq!((direct.roots.index, direct.stored.bytes), (snapshot(&third, &id).index.roots, 0));
    assert!(matches!(copy(&mut session, &to, &snapshot(&to, &made[0].id.unwrap()), &Silent), Err(Error::Refused { .. })));
}

/// A backup of the same files into the other repository makes the same chunks of names and lists as far as both cut content in one place:
/// small files are one chunk each in both.
#[test]
fn the_trees_are_those_of_a_backup_there() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3000_u64 {
        let sub = dir.path().join(format!("d{}", n % 17));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("{n}")), noise(n, 10)).unwrap();
    }
    let (_, from) = memory();
    let (_, to) = memory();
    let id = backup(&from, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap();
    let there = backup(&to, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap();
    let planted = session(&to).plant(&from, &snapshot(&from, &id), SnapshotId::new([1; 32]), &Silent).unwrap();
    assert_eq!((planted.roots.index, planted.stored.bytes), (snapshot(&to, &there).index.roots, 0));
}

/// Of the same family: another place of one repository that lacks what is new here.
#[test]
fn among_kin_only_what_lacks_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (top, one, two) = (dir.path().join("top"), dir.path().join("one"), dir.path().join("two"));
    fs::create_dir(&top).unwrap();
    fs::write(top.join("old"), noise(1, 5_000_000)).unwrap();
    let from = init(Arc::new(LocalStore::create(&one).unwrap()), None).unwrap();
    backup(&from, options(std::slice::from_ref(&top)), &Silent).unwrap();
    assert!(std::process::Command::new("cp").arg("-r").args([&one, &two]).status().unwrap().success());
    fs::write(top.join("new"), noise(2, 3_000_000)).unwrap();
    let report = backup(&from, options(std::slice::from_ref(&top)), &Silent).unwrap();
    let source = snapshot(&from, &report.snapshot.unwrap());
    let to = open(Arc::new(LocalStore::open(&two).unwrap()), None).unwrap();
    let planted = session(&to).plant(&from, &source, SnapshotId::new([1; 32]), &Silent).unwrap();
    assert_eq!(planted.roots.index, source.index.roots, "one family, one tree");
    assert_eq!((planted.stored.data_chunks, planted.stored.tree_chunks), (report.summary.data_chunks, report.summary.tree_chunks));
}

fn operations(store: &FaultStore, run: impl FnOnce()) -> u64 {
    store.schedule(None);
    run();
    store.operations()
}

/// What one snapshot has brought the next one does not read.
#[test]
fn twenty_snapshots_cost_little_more_than_one() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..40_u64 {
        fs::write(dir.path().join(format!("{n:02}")), noise(n, 900_000)).unwrap();
    }
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let from = init(Arc::new(store.clone()), None).unwrap();
    let mut ids = Vec::new();
    for day in 0..20 {
        fs::write(dir.path().join("day"), format!("{day}")).unwrap();
        ids.push(backup(&from, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap());
    }
    let (_, to) = memory();
    let mut session = session(&to);
    let sources: Vec<Snapshot> = ids.iter().map(|id| snapshot(&from, id)).collect();
    let mut plant = |source: &Snapshot| {
        copy(&mut session, &from, source, &Silent).unwrap();
    };
    let first = operations(&store, || plant(&sources[0]));
    let others = operations(&store, || sources[1..].iter().for_each(&mut plant));
    assert!(first > 30 && others < 12 * 19, "{first} for the first, {others} for the others");
    is_clean(&to);
}

#[test]
fn what_cannot_be_read_costs_its_snapshot_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (bad, good) = (place("bad"), place("good"));
    fs::write(bad.join("x"), noise(1, 3_000_000)).unwrap();
    fs::write(good.join("y"), noise(2, 3_000_000)).unwrap();
    let (store, from) = memory();
    let hurt = backup(&from, options(std::slice::from_ref(&bad)), &Silent).unwrap().snapshot.unwrap();
    let packs = store.list("data").unwrap();
    let whole = backup(&from, options(std::slice::from_ref(&good)), &Silent).unwrap().snapshot.unwrap();
    let pack = &packs[0];
    let mut bytes = store.get(&pack.name, u64::MAX).unwrap();
    bytes[600_000] ^= 1;
    store.delete(&pack.name).unwrap();
    store.put(&pack.name, &bytes).unwrap();

    let (_, to) = memory();
    let mut session = session(&to);
    let error = copy(&mut session, &from, &snapshot(&from, &hurt), &Silent).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(pack.name.as_str()), "{error}");
    assert!(to.catalog().snapshots().unwrap().is_empty());
    let id = copy(&mut session, &from, &snapshot(&from, &whole), &Silent).unwrap().id.unwrap();
    assert!(differences(&capture(&good, false), &restored(&to, &id, &good).unwrap()).is_empty());
    is_clean(&to);

    // The same of names.
    let names = store.list(Class::Names.folder()).unwrap();
    names.iter().for_each(|pack| store.delete(&pack.name).unwrap());
    let error = copy(&mut self::session(&to), &from, &snapshot(&from, &whole), &Silent).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

/// Whatever fails while a snapshot is copied: the target has what it had, and the next run ends it.
#[test]
fn a_copy_goes_on_after_any_failure() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), noise(1, 2_000_000)).unwrap();
    let (_, from) = memory();
    let first = backup(&from, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap();
    fs::write(dir.path().join("y"), noise(2, 2_000_000)).unwrap();
    let second = backup(&from, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap();
    let want = capture(dir.path(), false);
    let mut at = 0;
    for fault in [Fault::Before, Fault::After, Fault::Torn].iter().cycle() {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultStore::new(memory.clone());
        let to = init(Arc::new(store.clone()), None).unwrap();
        let mut session = session(&to);
        copy(&mut session, &from, &snapshot(&from, &first), &Silent).unwrap();
        drop(session);
        store.schedule(Some(Schedule { at, fault: *fault, for_ever: true }));
        let source = snapshot(&from, &second);
        let tried =
            Session::new(&to, ReplantOptions::default(), &Silent).and_then(|mut session| copy(&mut session, &from, &source, &Silent));
        let fired = store.fired();
        store.schedule(None);
        drop(to);
        let to = open(memory.clone(), None).unwrap();
        to.refresh().unwrap();
        // Acknowledged means there; what was not may be there, whole.
        let there = copy_in(&to, &from, &source);
        assert!(there.is_some() || tried.is_err(), "{at}");
        let id = there.unwrap_or_else(|| copy(&mut self::session(&to), &from, &source, &Silent).unwrap().id.unwrap());
        assert!(differences(&want, &restored(&to, &id, dir.path()).unwrap()).is_empty(), "{at}");
        is_clean(&to);
        if fired == 0 {
            break;
        }
        at += 1;
    }
    assert!(at > 20, "{at} operations");
}

/// A collection of the source that takes a forgotten snapshot away while it is copied is said for what it is.
#[test]
fn a_source_that_is_collected_meanwhile_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), noise(1, 3_000_000)).unwrap();
    let memory_store = Arc::new(MemoryStore::new());
    let store = FaultStore::new(memory_store.clone());
    let from = init(Arc::new(store.clone()), None).unwrap();
    let id = backup(&from, options(&[dir.path().to_path_buf()]), &Silent).unwrap().snapshot.unwrap();
    let other = BackupOptions { series: Some("other".to_owned()), streams: vec![bytes_stream("s", b"s".to_vec())], ..options(&[]) };
    backup(&from, other, &Silent).unwrap();
    let source = snapshot(&from, &id);
    let (_, to) = memory();
    let inner = memory_store.clone();
    store.before(StoreOp::Get, "data", move || {
        let there = open(inner.clone(), None).unwrap();
        there.refresh().unwrap();
        seabed_engine::forget(&there, &[id]).unwrap();
        inner.list("data").unwrap().iter().for_each(|pack| inner.delete(&pack.name).unwrap());
    });
    let error = copy(&mut session(&to), &from, &source, &Silent).unwrap_err();
    assert!(matches!(error, Error::WasForgotten { .. }), "{error}");
}
