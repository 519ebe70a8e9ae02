//! The upkeep of the path index: what is forgotten leaves it, what has no room is left out, what is damaged costs itself and no other, and
//! any number of processes may make it.

use crate::find::{agrees, everything, indexed, listed};
use seabed_engine::backup::backup;
use seabed_engine::find::{Chosen, Which, fill, find};
use seabed_engine::forget::forget;
use seabed_engine::format::wire::Time;
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::paths::PathIndex;
use seabed_engine::repository::Repository;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{bytes_stream, init, open, options};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

fn rows(dir: &Path, table: &str) -> i64 {
    let db = rusqlite::Connection::open(dir.join("paths.sqlite")).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Years of daily snapshots, each with files of its own, of which a policy keeps a few: the index holds what those few have, and says of them
/// what their trees say. Names leave blocks, and others come where they were.
#[test]
fn what_is_forgotten_leaves_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    for n in 0..9000 {
        fs::write(top.join(format!("stays-{n:04}")), "").unwrap();
    }
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut paths = PathIndex::open(Some(dir.path()), &repository.id()).unwrap();
    let mut made = Vec::new();
    for day in 0..40 {
        let of_day = top.join(format!("day-{day}"));
        fs::create_dir(&of_day).unwrap();
        for n in 0..300 {
            fs::write(of_day.join(format!("{n}")), "x").unwrap();
        }
        if day > 0 {
            fs::remove_dir_all(top.join(format!("day-{}", day - 1))).unwrap();
            fs::write(top.join("stays-0007"), format!("{}", day / 10)).unwrap();
        }
        let mut options = options(std::slice::from_ref(&top));
        options.time = Some(Time { secs: 1_000_000 + day * 86_400, nanos: 0 });
        made.push(backup(&repository, options, &Silent).unwrap().snapshot.unwrap());
        repository.refresh().unwrap();
        fill(&repository, &mut paths, Which::All, &Silent).unwrap();
        if day % 7 == 0 {
            // Blocks are made by who searches.
            assert_eq!(indexed(&repository, &paths).len(), made.len());
        }
    }
    let before = (rows(dir.path(), "paths"), rows(dir.path(), "versions"));
    assert!(before.0 > 9000 + 40 * 300, "{before:?}");
    let kept = [3, 17, 38];
    let gone: Vec<_> = made.iter().enumerate().filter(|(day, _)| !kept.contains(day)).map(|(_, id)| *id).collect();
    forget(&repository, &gone).unwrap();
    let bytes = paths.bytes().unwrap();
    let truth = agrees(&repository, &mut paths);
    let all: BTreeSet<&Vec<u8>> = truth.iter().flat_map(BTreeMap::keys).collect();
    assert_eq!(rows(dir.path(), "paths"), all.len() as i64);
    assert_eq!(rows(dir.path(), "snapshots"), 3);
    assert!(rows(dir.path(), "versions") < 9000 + 3 * 2 * 301 + 50, "{}", rows(dir.path(), "versions"));
    assert!(paths.bytes().unwrap() < bytes * 3 / 4, "{bytes} and then {}", paths.bytes().unwrap());
    // What comes after is told from what is left.
    fs::write(top.join("later"), "").unwrap();
    backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap();
    agrees(&repository, &mut paths);
}

/// An index that is full leaves the oldest snapshots out, and says so; of the others it tells the truth.
#[test]
fn an_index_without_room_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut paths = PathIndex::open(Some(dir.path()), &repository.id()).unwrap();
    paths.limit(400_000);
    let mut left_out = 0;
    for day in 0..12 {
        fs::remove_dir_all(&top).unwrap();
        fs::create_dir(&top).unwrap();
        for n in 0..500 {
            fs::write(top.join(format!("a rather long name for day {day}, and its number is {n}")), "x").unwrap();
        }
        let mut options = options(std::slice::from_ref(&top));
        options.time = Some(Time { secs: 1_000_000 + day * 86_400, nanos: 0 });
        backup(&repository, options, &Silent).unwrap();
        repository.refresh().unwrap();
        left_out += fill(&repository, &mut paths, Which::All, &Silent).unwrap().left_out;
        assert!(paths.bytes().unwrap() < 600_000, "{}", paths.bytes().unwrap());
    }
    let snapshots = repository.catalog().snapshots().unwrap();
    let chosen = Chosen::new(&paths, &snapshots).unwrap();
    assert_eq!(chosen.missing.len() as u64, left_out);
    assert!((2..12).contains(&chosen.missing.len()) && !chosen.missing.contains(&11), "{:?}", chosen.missing);
    let truth = listed(&repository);
    let mut told = vec![0; snapshots.len()];
    find(&paths, &chosen, &everything(), &mut |hits| {
        for number in hits.iter().flat_map(|hit| &hit.matches).flat_map(|found| &found.snapshots) {
            told[*number] += 1;
        }
        Ok(true)
    })
    .unwrap();
    for (number, told) in told.into_iter().enumerate() {
        assert_eq!(told, if chosen.missing.contains(&number) { 0 } else { truth[number].len() }, "snapshot {number}");
    }
}

/// A tree that could not be read once was never tried again, though somebody had mended it.
#[test]
fn what_could_not_be_read_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("a"), "x").unwrap();
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap();
    repository.refresh().unwrap();
    let turn_over = || {
        let names: Vec<_> = store.objects().into_keys().filter(|name| name.to_string().starts_with("names/")).collect();
        assert!(!names.is_empty());
        for name in names {
            assert!(store.corrupt(&name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55)));
        }
    };
    turn_over();
    let fresh = || {
        let repository = open(Arc::new(store.clone()), None).unwrap();
        repository.refresh().unwrap();
        repository
    };
    let mut paths = PathIndex::open(Some(dir.path()), &repository.id()).unwrap();
    let filled = fill(&fresh(), &mut paths, Which::All, &Silent).unwrap();
    assert_eq!((filled.indexed, filled.unreadable.len()), (0, 1));
    turn_over();
    // Not with every question: to read a large tree up to where it is damaged takes its time.
    assert_eq!(fill(&fresh(), &mut paths, Which::All, &Silent).unwrap().indexed, 0);
    rusqlite::Connection::open(dir.path().join("paths.sqlite")).unwrap().execute("UPDATE snapshots SET tried = 0", []).unwrap();
    let repository = fresh();
    assert_eq!(fill(&repository, &mut paths, Which::All, &Silent).unwrap().indexed, 1);
    assert_eq!(indexed(&repository, &paths), listed(&repository));
}

/// A repository in memory, of one directory.
struct Bench {
    dir: tempfile::TempDir,
    store: MemoryStore,
    days: AtomicI64,
}

impl Bench {
    fn new() -> Self {
        let bench = Bench { dir: tempfile::tempdir().unwrap(), store: MemoryStore::new(), days: AtomicI64::new(0) };
        fs::create_dir(bench.dir.path().join("top")).unwrap();
        init(Arc::new(bench.store.clone()), None).unwrap();
        bench
    }

    /// Opened as another process would, with nothing kept.
    fn repository(&self) -> Repository {
        let repository = open(Arc::new(self.store.clone()), None).unwrap();
        repository.refresh().unwrap();
        repository
    }

    fn paths(&self) -> PathIndex {
        PathIndex::open(Some(self.dir.path()), &self.repository().id()).unwrap()
    }

    /// A snapshot a day after the last one, with a file more, or of a stream.
    fn snapshot(&self, file: Option<&str>, stream: Option<&str>) -> SnapshotId {
        let mut options = options(&[]);
        if let Some(file) = file {
            fs::write(self.dir.path().join("top").join(file), file).unwrap();
            options.paths = vec![self.dir.path().join("top")];
        }
        options.streams = stream.map(|name| bytes_stream(name, b"the same each day".to_vec())).into_iter().collect();
        options.series = Some("one".to_owned());
        options.time = Some(Time { secs: 1_000_000 + 86_400 * self.days.fetch_add(1, Relaxed), nanos: 0 });
        backup(&self.repository(), options, &Silent).unwrap().snapshot.unwrap()
    }

    fn names_packs(&self) -> BTreeSet<ObjectName> {
        self.store.objects().into_keys().filter(|name| name.to_string().starts_with("names/")).collect()
    }
}

/// `--exec dump-$(date +%F).sql=...` whose output stays the same: its root is the same in each snapshot but for the name, and `find` said that
/// the first name was in all of them.
#[test]
fn a_stream_of_another_name_is_another_path() {
    let bench = Bench::new();
    for day in ["stream-monday", "stream-tuesday", "stream-wednesday"] {
        bench.snapshot(None, Some(day));
        fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    }
    assert_eq!(indexed(&bench.repository(), &bench.paths()), listed(&bench.repository()));
}

/// One damaged snapshot in the middle kept every later one of its line out of the index: each was compared with it, and blamed.
#[test]
fn a_damaged_snapshot_costs_none_that_is_compared_with_it() {
    let bench = Bench::new();
    bench.snapshot(Some("a"), None);
    let before = bench.names_packs();
    let damaged = bench.snapshot(Some("b"), None);
    fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    let own: Vec<ObjectName> = bench.names_packs().difference(&before).cloned().collect();
    assert!(!own.is_empty());
    for name in own {
        assert!(bench.store.remove(&name));
    }
    let later = [bench.snapshot(Some("c"), None), bench.snapshot(Some("d"), None)];
    let filled = fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    assert_eq!(filled.unreadable.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [damaged]);
    let snapshots = bench.repository().catalog().snapshots().unwrap();
    let chosen = Chosen::new(&bench.paths(), &snapshots).unwrap();
    assert_eq!(chosen.missing.iter().map(|number| snapshots[*number].id).collect::<Vec<_>>(), [damaged]);
    let mut told: BTreeMap<String, Vec<SnapshotId>> = BTreeMap::new();
    find(&bench.paths(), &chosen, &everything(), &mut |hits| {
        for hit in hits {
            let name = String::from_utf8_lossy(hit.path.rsplit(|b| *b == b'/').next().unwrap()).into_owned();
            told.entry(name).or_default().extend(hit.matches.iter().flat_map(|found| &found.snapshots).map(|number| snapshots[*number].id));
        }
        Ok(true)
    })
    .unwrap();
    assert_eq!((&told["a"].len(), &told["b"][..], &told["c"][..], &told["d"][..]), (&3, &later[..], &later[..], &later[1..]));
    assert_eq!(fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap().indexed, 0, "nothing is left to do");
}

/// The newest snapshot of a line, forgotten before the next one came: its versions went, and its names stayed for good.
#[test]
fn names_of_a_forgotten_snapshot_go_with_it() {
    let bench = Bench::new();
    bench.snapshot(Some("stays"), None);
    fs::create_dir(bench.dir.path().join("top/secret")).unwrap();
    for n in 0..500 {
        fs::write(bench.dir.path().join(format!("top/secret/{n}")), "").unwrap();
    }
    let forgotten = bench.snapshot(Some("b"), None);
    fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    forget(&bench.repository(), &[forgotten]).unwrap();
    fs::remove_dir_all(bench.dir.path().join("top/secret")).unwrap();
    let again = bench.snapshot(Some("c"), None);
    fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    // Another one that goes has it cleared up.
    forget(&bench.repository(), &[again]).unwrap();
    fill(&bench.repository(), &mut bench.paths(), Which::All, &Silent).unwrap();
    let truth = listed(&bench.repository());
    assert_eq!(rows(bench.dir.path(), "paths"), truth[0].len() as i64);
    assert_eq!(indexed(&bench.repository(), &bench.paths()), truth);
}

/// Two jobs that began with a new cache took each other's half-made index away: disk I/O errors, and rows in a file that was gone.
#[test]
fn one_process_makes_the_index_and_the_others_wait() {
    let bench = Bench::new();
    bench.snapshot(Some("a"), None);
    let id = bench.repository().id();
    for _ in 0..20 {
        PathIndex::remove(bench.dir.path()).unwrap();
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            let open = || {
                barrier.wait();
                let mut paths = PathIndex::open(Some(bench.dir.path()), &id)?;
                fill(&bench.repository(), &mut paths, Which::All, &Silent).map(|_| ())
            };
            let all: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            all.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(rows(bench.dir.path(), "snapshots"), 1);
    }
}
