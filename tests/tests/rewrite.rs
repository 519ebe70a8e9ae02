//! Rewritten snapshots: what a backup with these patterns would have made, beside the old one or in its place, and nothing else changes.

use crate::cli::{Home, lines};
use crate::find::agrees;
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::catalog::Snapshot;
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::{Error, Kind, StoreOp};
use seabed_engine::find::{Which, fill};
use seabed_engine::forget::{forget, hold};
use seabed_engine::format::wire::Time;
use seabed_engine::gc::{GcOptions, MaxUnused, collect, plan};
use seabed_engine::id::{Class, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::paths::PathIndex;
use seabed_engine::repository::Repository;
use seabed_engine::rewrite::{REWRITE, RewriteOptions, RewriteReport, rewrite};
use seabed_engine::source::{Excludes, WalkOptions};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::{TagEdit, describe, tag};
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, command_stream, dump_path, init, open, options, restored};
use seabed_tests::trees::{a_day_later, capture, differences, full, noise};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

fn excludes(patterns: &[&str]) -> Excludes {
    let mut excludes = Excludes::new();
    patterns.iter().for_each(|pattern| excludes.pattern(pattern.as_bytes(), false).unwrap());
    excludes
}

fn without(patterns: &[&str]) -> RewriteOptions {
    let texts = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    RewriteOptions { excludes: excludes(patterns), patterns: texts, ..RewriteOptions::default() }
}

fn run(repository: &Repository, ids: &[SnapshotId], options: &RewriteOptions) -> RewriteReport {
    let mut told = 0;
    let report = rewrite(repository, ids, options, &Silent, &mut |_| told += 1).unwrap();
    assert_eq!(told, report.changed.len());
    report
}

fn snapshot(repository: &Repository, id: &SnapshotId) -> Snapshot {
    repository.refresh().unwrap();
    repository.catalog().snapshots().unwrap().into_iter().find(|snapshot| snapshot.id == *id).unwrap()
}

fn ids(repository: &Repository) -> Vec<SnapshotId> {
    repository.refresh().unwrap();
    repository.catalog().snapshots().unwrap().iter().map(|snapshot| snapshot.id).collect()
}

fn is_clean(repository: &Repository) {
    let report = check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

fn of(top: &Path, patterns: &[&str]) -> BackupOptions {
    let walk = WalkOptions { excludes: excludes(patterns), ..WalkOptions::default() };
    BackupOptions { walk, ..options(&[top.to_path_buf()]) }
}

/// Many leaves, most of which no pattern touches.
fn many(top: &Path) {
    for n in 0..6000_u64 {
        let sub = top.join(format!("d{:02}", n % 23));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("{n}.txt")), noise(n, (n % 40) as usize)).unwrap();
    }
    fs::create_dir_all(top.join("cache/deep/er")).unwrap();
    fs::write(top.join("cache/deep/er/x"), b"x").unwrap();
}

/// The trees are those of a backup with the same patterns, to the id.
#[test]
fn what_comes_of_it_is_what_a_backup_would_have_made() {
    let dir = tempfile::tempdir().unwrap();
    for (name, make) in [("many", many as fn(&Path)), ("full", full)] {
        let top = dir.path().join(name);
        fs::create_dir(&top).unwrap();
        make(&top);
        let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
        let id = backup(&repository, of(&top, &[]), &Silent).unwrap().snapshot.unwrap();
        let all = [
            &["cache"][..],
            &["*7.txt"],
            &["d03/*", "!d03/1*"],
            &["d??", "!d05"],
            &["/nowhere"],
            &["er", "big", "many/1*"],
            &["many/0*", "deep/to", "!many/007"],
        ];
        for patterns in all {
            let fresh = backup(&repository, of(&top, patterns), &Silent).unwrap();
            let want = snapshot(&repository, &fresh.snapshot.unwrap());
            let report = run(&repository, &[id], &without(patterns));
            let old = snapshot(&repository, &id);
            if want.index.roots == old.index.roots {
                assert_eq!((report.changed.len(), report.unchanged), (0, 1), "{patterns:?}");
                continue;
            }
            let rewritten = report.changed[0];
            let have = snapshot(&repository, &rewritten.new.unwrap());
            assert_eq!(have.index.roots, want.index.roots, "{patterns:?} of {name}");
            let (h, w) = (&have.names.summary, &want.names.summary);
            assert_eq!((h.files_total, h.bytes_total), (w.files_total, w.bytes_total), "{patterns:?}");
            assert_eq!(rewritten.bytes_removed, old.names.summary.bytes_total - w.bytes_total);
            assert_eq!(rewritten.entries_removed, old.index.roots[0].entries - want.index.roots[0].entries);
            assert_eq!(have.names.excludes, patterns);
            assert_eq!((&have.names.paths, have.index.started, have.index.time), (&old.names.paths, old.index.started, old.index.time));
            let origin = have.names.origin.unwrap();
            assert_eq!((origin.snapshot, origin.how.as_str()), (id, REWRITE));
        }
        is_clean(&repository);
    }
}

/// Streams and the entries of archives go by their paths, too; names of one file that are left each have all of it.
#[test]
fn streams_archives_and_hard_links() {
    let dir = tempfile::tempdir().unwrap();
    full(dir.path());
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut options = options(&[dir.path().to_path_buf()]);
    options.streams = vec![bytes_stream("secret.sql", noise(1, 100_000)), bytes_stream("kept.sql", noise(2, 100_000))];
    options.tars = vec![command_stream("image", &format!("tar -C {} -cf - .", dir.path().display()))];
    let id = backup(&repository, options, &Silent).unwrap().snapshot.unwrap();
    let report = run(&repository, &[id], &without(&["secret.sql", "big", "image/many"]));
    let new = report.changed[0].new.unwrap();
    let top = dir.path().strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    for gone in ["secret.sql".to_owned(), format!("{top}/big"), "image/big".to_owned(), "image/many/007".to_owned()] {
        assert!(dump_path(&repository, &new, gone.as_bytes()).is_err(), "{gone}");
        dump_path(&repository, &id, gone.as_bytes()).unwrap();
    }
    for left in ["kept.sql".to_owned(), format!("{top}/deep/hard"), "image/deep/hard".to_owned(), format!("{top}/many/007")] {
        let want = dump_path(&repository, &id, left.as_bytes()).unwrap();
        assert!(dump_path(&repository, &new, left.as_bytes()).unwrap() == want, "{left}");
    }
    is_clean(&repository);
    // All of it: then there is nothing to make a snapshot of.
    let report = run(&repository, &[id, new], &without(&["*"]));
    assert!(report.changed.is_empty() && report.failed.iter().all(|(_, error)| error.kind() == Kind::Refused), "{report:?}");
    assert_eq!(report.failed.len(), 2);
}

#[test]
fn a_series_is_rewritten_once_and_forgotten_behind() {
    let dir = tempfile::tempdir().unwrap();
    full(dir.path());
    let memory = Arc::new(MemoryStore::new());
    let store = FaultStore::new(memory.clone());
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let mut old = Vec::new();
    for day in 0..3 {
        if day == 1 {
            a_day_later(dir.path());
        }
        let time = Some(Time { secs: 1_700_000_000 + day * 86_400, nanos: 0 });
        old.push(backup(&repository, BackupOptions { time, ..of(dir.path(), &[]) }, &Silent).unwrap().snapshot.unwrap());
    }
    hold(&repository, &old[1], "evidence", None).unwrap();
    // A dry run says it all and does nothing.
    let told = run(&repository, &old, &RewriteOptions { dry_run: true, forget: true, ..without(&["many"]) });
    assert!(told.changed.iter().all(|one| one.new.is_none() && !one.forgotten && one.entries_removed >= 100), "{told:?}");
    assert_eq!(told.changed.iter().map(|one| one.held).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(ids(&repository), old);

    let plain = run(&repository, &old, &without(&["many"]));
    assert_eq!((plain.changed.len(), ids(&repository).len()), (3, 6));
    let objects = || memory.list("").unwrap().len();
    let before = objects();
    // Once more: all is there. With the old ones forgotten, too.
    let again = run(&repository, &old, &without(&["many"]));
    assert!(again.changed.iter().zip(&plain.changed).all(|(a, b)| a.again && a.new == b.new), "{again:?}");
    assert_eq!(objects(), before);
    let behind = run(&repository, &old, &RewriteOptions { forget: true, ..without(&["many"]) });
    assert_eq!(
        behind.changed.iter().map(|one| (one.forgotten, one.held)).collect::<Vec<_>>(),
        [(true, false), (false, true), (true, false)]
    );
    let left = ids(&repository);
    assert!(left.len() == 4 && left.contains(&old[1]), "{left:?}");
    // The new ones have nothing of it: they are left alone.
    let news: Vec<SnapshotId> = plain.changed.iter().filter_map(|one| one.new).collect();
    let none = run(&repository, &news, &without(&["many"]));
    assert_eq!((none.changed.len(), none.unchanged), (0, 3));
    // A tombstone comes behind what takes the old one's place.
    let seen = Arc::new(AtomicUsize::new(0));
    let (there, counted) = (memory.clone(), seen.clone());
    store.before(StoreOp::Put, "forgotten", move || counted.store(there.list("snapshots").unwrap().len(), SeqCst));
    let snapshots = memory.list("snapshots").unwrap().len();
    run(&repository, &news[..1], &RewriteOptions { forget: true, ..without(&["twin"]) });
    assert_eq!(seen.load(SeqCst), snapshots + 1);
    is_clean(&repository);
    let last = *ids(&repository).last().unwrap();
    let mut want = capture(dir.path(), false);
    want.retain(|path, _| !path.starts_with(b"many"));
    let differ = differences(&want, &restored(&repository, &last, dir.path()).unwrap());
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn a_new_name_costs_no_tree_and_is_the_next_parent() {
    let dir = tempfile::tempdir().unwrap();
    many(dir.path());
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let id = backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap();
    let time = Time { secs: 1_700_000_000, nanos: 5 };
    let renamed = RewriteOptions {
        new_host: Some("there".to_owned()),
        new_series: Some("other".to_owned()),
        new_time: Some(time),
        forget: true,
        ..RewriteOptions::default()
    };
    let report = run(&repository, &[id], &renamed);
    let new = snapshot(&repository, &report.changed[0].new.unwrap());
    assert_eq!((new.names.host.as_str(), new.names.series.as_str(), new.index.time), ("there", "other", time));
    assert_eq!(ids(&repository), [new.id]);
    let mut next = of(dir.path(), &[]);
    (next.host, next.series) = ("there".to_owned(), Some("other".to_owned()));
    let report = backup(&repository, next, &Silent).unwrap();
    // Files as young as the first run are read again, and are what they were.
    let summary = &report.summary;
    assert_eq!((report.parent, summary.files_new, summary.files_total, summary.tree_chunks), (Some(new.id), 0, 6001, 0));
    // What it is called already is no change.
    assert_eq!(run(&repository, &[new.id], &renamed).unchanged, 1);
}

#[test]
fn damage_costs_its_snapshot_and_no_other() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    many(dir.path());
    fs::write(other.path().join("a"), "a").unwrap();
    fs::write(other.path().join("b"), "b").unwrap();
    let store = Arc::new(MemoryStore::new());
    let repository = init(store.clone(), None).unwrap();
    let hurt = backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap();
    let names = store.list(Class::Names.folder()).unwrap();
    let mut second = of(other.path(), &[]);
    second.series = Some("second".to_owned());
    let whole = backup(&repository, second, &Silent).unwrap().snapshot.unwrap();
    names.iter().for_each(|pack| store.delete(&pack.name).unwrap());
    drop(repository);
    let repository = open(store, None).unwrap();
    let report = run(&repository, &[hurt, whole], &RewriteOptions { forget: true, ..without(&["*7.txt", "b"]) });
    assert_eq!(report.changed.iter().map(|one| one.old).collect::<Vec<_>>(), [whole]);
    assert!(matches!(&report.failed[..], [(id, error)] if *id == hurt && error.is_damage()), "{report:?}");
    let left = ids(&repository);
    assert!(left.contains(&hurt) && !left.contains(&whole), "what failed is as it was");
}

/// Wherever a run dies, the old snapshot is there or a whole new one is, and the next run ends it.
#[test]
fn it_goes_on_after_any_failure() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keep"), noise(1, 100_000)).unwrap();
    fs::write(dir.path().join("drop"), noise(2, 100_000)).unwrap();
    let options = RewriteOptions { forget: true, ..without(&["drop"]) };
    let mut at = 0;
    for fault in [Fault::Before, Fault::After, Fault::Torn].iter().cycle() {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultStore::new(memory.clone());
        let repository = init(Arc::new(store.clone()), None).unwrap();
        let id = backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap();
        store.schedule(Some(Schedule { at, fault: *fault, for_ever: true }));
        let tried = rewrite(&repository, &[id], &options, &Silent, &mut |_| ());
        let fired = store.fired();
        store.schedule(None);
        drop(repository);
        let repository = open(memory.clone(), None).unwrap();
        let left = ids(&repository);
        assert!(!left.is_empty(), "{at}: {:?}", tried.err());
        assert!(left.iter().all(|id| restored(&repository, id, dir.path()).is_ok()), "{at}");
        let old: Vec<SnapshotId> = left.iter().copied().filter(|left| *left == id).collect();
        let report = run(&repository, &old, &options);
        assert!(report.failed.is_empty(), "{at}: {report:?}");
        let left = ids(&repository);
        assert_eq!(left.len(), 1, "{at}");
        let have = restored(&repository, &left[0], dir.path()).unwrap();
        assert!(have.len() == 1 && have.contains_key(&b"keep"[..]), "{at}");
        is_clean(&repository);
        if fired == 0 {
            break;
        }
        at += 1;
    }
    assert!(at > 10, "{at} operations");
}

/// Somebody forgets the old snapshot and collects it, at once, at any point of the run: the new one is whole, or there is none.
#[test]
fn collections_meanwhile_cost_no_content() {
    let dir = tempfile::tempdir().unwrap();
    many(dir.path());
    for point in ["names", "index", "pending", "snapshots"] {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultStore::new(memory.clone());
        let repository = init(Arc::new(store.clone()), None).unwrap();
        let id = backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap();
        let inner = memory.clone();
        let passed = Arc::new(AtomicUsize::new(0));
        let counted = passed.clone();
        store.before(StoreOp::Put, point, move || {
            let other = open(inner, None).unwrap();
            forget(&other, &[id]).unwrap();
            other.refresh().unwrap();
            let options = GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), threads: 1, ..GcOptions::default() };
            collect(&other, plan(&other, &options, &Silent).unwrap(), &Silent).unwrap();
            counted.fetch_add(1, SeqCst);
        });
        let done = rewrite(&repository, &[id], &without(&["*7.txt"]), &Silent, &mut |_| ());
        assert!(passed.load(SeqCst) == 1 || point == "names", "{point}");
        match done {
            Ok(report) => report.changed.iter().filter_map(|one| one.new).for_each(|new| {
                restored(&repository, &new, dir.path()).unwrap();
            }),
            Err(error) => assert!(matches!(error, Error::Overtaken), "{point}: {error}"),
        }
        is_clean(&open(memory, None).unwrap());
    }
}

/// Monday a rewrite, beside the old one; Tuesday somebody tags that; Wednesday the same rewrite with `--forget`: it found Monday's new one and
/// forgot the old one with its tag, so that a policy that keeps by tags let the new one go.
#[test]
fn what_was_edited_since_goes_to_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    full(dir.path());
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let [one, two] = [0, 1].map(|_| backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap());
    let monday = run(&repository, &[one, two], &without(&["many"]));
    let [new_one, new_two] = [0, 1].map(|at| monday.changed[at].new.unwrap());
    repository.refresh().unwrap();
    let edit = |id: &SnapshotId, name: &str| {
        tag(&repository, &[*id], &TagEdit { set: Some(vec![name.to_owned()]), ..TagEdit::default() }).unwrap();
        describe(&repository, id, &format!("the {name} one")).unwrap();
    };
    edit(&one, "golden");
    // Of two edits the later one counts.
    edit(&two, "early");
    edit(&new_two, "late");
    let wednesday = run(&repository, &[one, two], &RewriteOptions { forget: true, ..without(&["many"]) });
    assert!(wednesday.changed.iter().all(|one| one.again && one.forgotten), "{wednesday:?}");
    for (new, name) in [(new_one, "golden"), (new_two, "late")] {
        let names = snapshot(&repository, &new).names;
        assert_eq!((&names.tags[..], names.description), (&[name.to_owned()][..], format!("the {name} one")));
    }
}

/// A snapshot that was committed while a collection condemned what it relies on, and that is kept for now: a rewrite took for granted that
/// what it needs is in packs that count, its own CHECKs passed without a look, and the collection could delete what only the old one had kept.
#[test]
fn what_lies_in_condemned_packs_is_copied_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keep"), noise(1, 100_000)).unwrap();
    fs::write(dir.path().join("drop"), noise(2, 100_000)).unwrap();
    let renamed = RewriteOptions { new_host: Some("there".to_owned()), ..RewriteOptions::default() };
    for options in [renamed, without(&["drop"])] {
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        let id = backup(&repository, of(dir.path(), &[]), &Silent).unwrap().snapshot.unwrap();
        // G3 of a collection that had not seen the snapshot at G1.
        let condemned: Vec<_> = store.list("data").unwrap().into_iter().map(|listed| listed.name).collect();
        let packs = condemned.iter().filter_map(|name| name.as_pack());
        repository.condemn(&repository.records(&Default::default()).unwrap(), packs).unwrap();
        let report = run(&repository, &[id], &RewriteOptions { forget: true, ..options });
        let new = report.changed[0].new.unwrap();
        // Its G5: no root that it saw needs them any more.
        condemned.iter().for_each(|name| store.delete(name).unwrap());
        let repository = open(store, None).unwrap();
        let have = restored(&repository, &new, dir.path()).unwrap();
        assert!(have.contains_key(&b"keep"[..]));
    }
}

/// Rewritten snapshots stand where the old ones stood: also in an index that was full by then.
#[test]
fn finding_follows() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    full(dir.path());
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut paths = PathIndex::open(Some(cache.path()), &repository.id()).unwrap();
    let mut old = Vec::new();
    for day in 0..5 {
        if day == 2 {
            a_day_later(dir.path());
        }
        fs::write(dir.path().join("many/secret"), format!("{day}")).unwrap();
        let time = Some(Time { secs: 1_700_000_000 + day * 86_400, nanos: 0 });
        old.push(backup(&repository, BackupOptions { time, ..of(dir.path(), &[]) }, &Silent).unwrap().snapshot.unwrap());
    }
    repository.refresh().unwrap();
    fill(&repository, &mut paths, Which::All, &Silent).unwrap();
    for (some, patterns) in [(&old[1..3], &["secret"][..]), (&old[..], &["secret", "big"])] {
        let options = RewriteOptions { forget: true, ..without(patterns) };
        let alive = ids(&repository);
        let some: Vec<SnapshotId> = some.iter().copied().filter(|id| alive.contains(id)).collect();
        assert!(run(&repository, &some, &options).failed.is_empty());
        agrees(&repository, &mut paths);
    }
}

#[test]
fn on_the_command_line() {
    let home = Home::new();
    home.write("src/keep.txt", "kept");
    home.write("src/secret.txt", "a password");
    home.ends(0, &["backup", "--init", "--quiet", "--series", "docs", "src"]);
    home.write("src/keep.txt", "kept again");
    home.ends(0, &["backup", "--quiet", "--series", "docs", "src"]);
    home.ends(20, &["rewrite"]);
    home.ends(20, &["rewrite", "latest:/x", "--exclude", "y"]);
    let out = home.ends(0, &["rewrite", "--exclude", "secret.txt", "--dry-run"]);
    assert!(out.contains("would change, without 1 entry (10 B)") && out.contains("2 snapshots would change"), "{out}");
    assert!(home.ends(0, &["rewrite", "--exclude", "none", "--series", "docs"]).contains("nothing to change in 2 snapshots"));
    let out = home.ends(0, &["rewrite", "--exclude", "secret.txt", "--forget", "--json"]);
    let told = lines(&out);
    let changed: Vec<_> = told.iter().filter(|line| line["message_type"] == "changed").collect();
    assert!(changed.len() == 2 && changed.iter().all(|line| line["forgotten"] == true), "{out}");
    home.ends(0, &["gc", "--grace", "0", "--max-unused", "0", "--quiet"]);
    home.ends(0, &["check", "--read-data"]);
    assert!(!home.ends(0, &["find", "secret.txt"]).contains("secret.txt"));
    assert!(home.ends(0, &["history", home.path("src/keep.txt").to_str().unwrap()]).contains("keep.txt"));
    assert_eq!(home.ends(0, &["rewrite", "--exclude", "secret.txt", "--forget", "--quiet"]), "");
}
