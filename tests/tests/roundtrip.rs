//! What is backed up comes back: random trees, random edits, a backup after each, and any of the snapshots restored anywhere.
//! The trees are real, the comparison knows nothing of the engine, and a failing sequence is shrunk and kept in a file.
//! SEABED_TEST_SEQUENCES says how many sequences run, 500 where it is not set.

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use seabed_engine::backup::ParentChoice;
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::format::entry::{EntryKind, join};
use seabed_engine::format::manifest::ROOT_PATHS;
use seabed_engine::id::SnapshotId;
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::restore::target::{Overwrite, TargetOptions};
use seabed_engine::restore::{RestoreOptions, restore};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options, restore_to, select};
use seabed_tests::trees::{Edit, Tree, additions, apply, capture, differences, edits, noise, settle};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// One backup and what happens before it.
#[derive(Clone, Debug)]
struct Round {
    edits: Vec<Edit>,
    force: bool,
    stream: Option<u32>,
    /// A cache that nobody has used before.
    fresh_cache: bool,
    reopen: bool,
    /// Wait until file times can be trusted, so that unchanged files are not read.
    settle: bool,
}

#[derive(Clone, Debug)]
struct Sequence {
    first: Vec<Edit>,
    rounds: Vec<Round>,
    /// Which snapshot is restored,
    which: u8,
    /// onto what,
    onto: Option<Vec<Edit>>,
    /// and which directory of it alone.
    sub: u16,
}

fn round() -> impl Strategy<Value = Round> {
    let stream = proptest::option::weighted(0.2, 0u32..300_000);
    (edits(6), prop::bool::weighted(0.2), stream, prop::bool::weighted(0.2), prop::bool::weighted(0.3), prop::bool::weighted(0.4))
        .prop_map(|(edits, force, stream, fresh_cache, reopen, settle)| Round { edits, force, stream, fresh_cache, reopen, settle })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let rounds = proptest::collection::vec(round(), 1..4);
    (additions(14), rounds, any::<u8>(), proptest::option::of(additions(8)), any::<u16>())
        .prop_map(|(first, rounds, which, onto, sub)| Sequence { first, rounds, which, onto, sub })
}

fn stored(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes()[1..].to_vec()
}

/// The sources of one sequence, its store and its caches.
struct Bench {
    place: TempDir,
    store: Arc<dyn Store>,
    caches: u32,
}

impl Bench {
    fn new(store: Arc<dyn Store>) -> Self {
        let place = tempfile::tempdir_in(scratch()).unwrap();
        for dir in ["src/a", "src/b", "caches"] {
            fs::create_dir_all(place.path().join(dir)).unwrap();
        }
        Bench { place, store, caches: 0 }
    }

    fn top(&self) -> PathBuf {
        self.place.path().join("src")
    }

    fn roots(&self) -> Vec<PathBuf> {
        vec![self.top().join("a"), self.top().join("b")]
    }

    fn cache(&self) -> PathBuf {
        self.place.path().join(format!("caches/{}", self.caches))
    }

    fn open(&self) -> Repository {
        open(self.store.clone(), Some(&self.cache())).unwrap()
    }

    fn target(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

/// Memory where there is some: thousands of small files a second are made and removed here.
pub fn scratch() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() }
}

fn equal(what: &str, want: &Tree, have: &Tree) -> Result<(), TestCaseError> {
    let found = differences(want, have);
    prop_assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
    Ok(())
}

fn run(store: Arc<dyn Store>, sequence: &Sequence) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(store);
    let mut repository = init(bench.store.clone(), Some(&bench.cache())).unwrap();
    apply(&bench.top(), &sequence.first);
    let mut kept: Vec<(SnapshotId, Tree, Option<Vec<u8>>)> = Vec::new();
    for round in &sequence.rounds {
        apply(&bench.top(), &round.edits);
        if round.fresh_cache {
            bench.caches += 1;
        }
        if round.fresh_cache || round.reopen {
            repository = bench.open();
        }
        if round.settle {
            settle(bench.place.path());
        }
        let want = capture(&bench.top(), false);
        let stream = round.stream.map(|n| noise(u64::from(n / 1000), n as usize));
        let parent = if round.force { ParentChoice::None } else { ParentChoice::Newest };
        let streams = stream.iter().map(|bytes| bytes_stream("dumps/day.sql", bytes.clone())).collect();
        let report = backup(&repository, BackupOptions { parent, streams, ..options(&bench.roots()) }, &Silent);
        let report = report.map_err(|e| TestCaseError::fail(format!("backup: {e}")))?;
        prop_assert!(report.errors.is_empty(), "backup reported {:?}", report.errors);
        kept.push((report.snapshot.unwrap(), want, stream));
    }
    nothing_new_is_stored(&mut bench, &repository)?;
    for (id, want, stream) in &kept {
        listing_is(&repository, id, &bench, want, stream.as_ref())?;
    }
    let (id, want, stream) = &kept[usize::from(sequence.which) % kept.len()];
    let prefix = stored(&bench.top());
    for (path, node) in want.iter().filter(|(_, n)| n.is_file()) {
        let bytes = dump_path(&repository, id, &join(&prefix, path)).map_err(|e| TestCaseError::fail(format!("dump: {e}")))?;
        prop_assert!(bytes == node.content, "dump of {} differs", path.escape_ascii());
    }
    if let Some(bytes) = stream {
        prop_assert!(dump_path(&repository, id, b"dumps/day.sql").unwrap() == *bytes, "the stream differs");
    }
    let target = bench.target("target");
    let place = target.join(bench.top().strip_prefix("/").unwrap());
    if let Some(onto) = &sequence.onto {
        fs::create_dir_all(place.join("a/surplus")).unwrap();
        apply(&place, onto);
        fs::create_dir(place.join("beside")).unwrap();
        // A symlink where the snapshot has a directory is an error of its own: tests/restore.rs.
        for (path, _) in want.iter().filter(|(_, node)| node.is_dir()) {
            let there = place.join(std::ffi::OsStr::from_bytes(path));
            if there.is_symlink() {
                fs::remove_file(there).unwrap();
            }
        }
    }
    let report = restore_to(&repository, id, b"", &target).map_err(|e| TestCaseError::fail(format!("restore: {e}")))?;
    prop_assert!(report.errors.is_empty() && report.shortfalls.is_empty(), "restore reported {report:?}");
    if sequence.onto.is_some() {
        fs::remove_dir(place.join("beside")).expect("what lies beside the sources stays");
    }
    equal("restored", want, &capture(&place, false))?;
    let dirs: Vec<&Vec<u8>> = want.iter().filter(|(_, n)| n.is_dir()).map(|(p, _)| p).collect();
    let sub = dirs[usize::from(sequence.sub) % dirs.len()];
    // Not there yet: of a directory that is there the attributes stay.
    let target = bench.place.path().join("sub");
    restore_to(&repository, id, &join(&prefix, sub), &target).map_err(|e| TestCaseError::fail(format!("restore of a part: {e}")))?;
    equal("restored alone", &below(want, sub), &capture(&target, true))
}

/// The part of a tree at and below `sub`, by paths from there.
fn below(tree: &Tree, sub: &[u8]) -> Tree {
    let inside = |path: &[u8]| -> Option<Vec<u8>> {
        let rest = path.strip_prefix(sub)?;
        if rest.is_empty() { Some(Vec::new()) } else { rest.strip_prefix(b"/").map(<[u8]>::to_vec) }
    };
    let mut part = Tree::new();
    for (path, node) in tree {
        let Some(path) = inside(path) else { continue };
        let mut node = node.clone();
        node.links = node.links.iter().filter_map(|p| inside(p)).collect();
        // A file with one name left in the part is no group any more.
        if node.links.len() == 1 {
            node.links.clear();
        }
        part.insert(path, node);
    }
    part
}

/// A second backup of the same adds no chunk and is the same tree; one with a lost cache sends no data again.
fn nothing_new_is_stored(bench: &mut Bench, repository: &Repository) -> Result<(), TestCaseError> {
    let root = |id: Option<SnapshotId>| {
        let selected = select(repository, &id.unwrap(), b"").unwrap();
        selected.snapshot.index.roots.into_iter().find(|r| r.kind == ROOT_PATHS).unwrap()
    };
    // Directories above the roots are stored too, and other tests make theirs beside ours: then one leaf may differ.
    let above = |bench: &Bench| -> Vec<_> {
        bench.top().ancestors().map(|dir| fs::metadata(dir).map(|m| (m.ctime(), m.ctime_nsec())).unwrap()).collect()
    };
    let before = above(bench);
    let first = backup(repository, options(&bench.roots()), &Silent).unwrap();
    let second = backup(repository, options(&bench.roots()), &Silent).unwrap();
    bench.caches += 1;
    let lost = bench.open();
    let third = backup(&lost, options(&bench.roots()), &Silent).unwrap();
    prop_assert_eq!((second.summary.data_chunks, third.summary.data_chunks), (0, 0));
    prop_assert_eq!(third.parent, second.snapshot, "the parent is found without a cache");
    if above(bench) == before {
        prop_assert_eq!((second.summary.tree_chunks, second.summary.bytes_added), (0, 0));
        prop_assert_eq!((third.summary.tree_chunks, third.summary.bytes_added), (0, 0), "after the cache was lost");
        prop_assert_eq!(root(first.snapshot), root(second.snapshot));
        prop_assert_eq!(root(first.snapshot), root(third.snapshot));
    }
    Ok(())
}

fn listing_is(repository: &Repository, id: &SnapshotId, bench: &Bench, want: &Tree, stream: Option<&Vec<u8>>) -> Result<(), TestCaseError> {
    let snapshot = select(repository, id, b"").unwrap().snapshot;
    let mut have = BTreeMap::new();
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut ordered = true;
    let listed = list(repository, &snapshot, b"", true, |dir, entry| {
        if dir == b"dumps" && entry.name.0 == b"day.sql" {
            have.insert(b"stream".to_vec(), (0o100_600, entry.size, entry.kind, (0, 0)));
            return Ok(true);
        }
        let key = (dir.to_vec(), entry.name.0.clone());
        ordered &= last.as_ref().is_none_or(|l| seabed_engine::format::entry::compare((&l.0, &l.1), (dir, &key.1)).is_lt());
        last = Some(key);
        if !entry.implied {
            let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
            let path = join(dir, &entry.name.0);
            let path = path.strip_prefix(&stored(&bench.top())[..]).unwrap()[1..].to_vec();
            have.insert(path, (entry.mode, size, entry.kind, (entry.mtime.secs, i64::from(entry.mtime.nanos))));
        }
        Ok(true)
    });
    listed.map_err(|e| TestCaseError::fail(format!("list: {e}")))?;
    prop_assert!(ordered, "entries are listed out of order");
    let kind = |mode: u32| match mode >> 12 {
        1 => EntryKind::Fifo,
        2 => EntryKind::CharDevice,
        4 => EntryKind::Directory,
        8 => EntryKind::File,
        10 => EntryKind::Symlink,
        12 => EntryKind::Socket,
        _ => EntryKind::BlockDevice,
    };
    let size = |node: &seabed_tests::trees::Node| if node.is_file() { node.content.len() as u64 } else { 0 };
    let mut wanted: BTreeMap<_, _> =
        want.iter().map(|(path, n)| (path.clone(), (n.mode & 0o7777, size(n), kind(n.mode), n.mtime))).collect();
    if let Some(bytes) = stream {
        wanted.insert(b"stream".to_vec(), (0o100_600, bytes.len() as u64, EntryKind::File, (0, 0)));
    }
    for (path, want) in &wanted {
        prop_assert_eq!(have.get(path), Some(want), "{} in the listing", path.escape_ascii());
    }
    prop_assert_eq!(have.len(), wanted.len(), "entries in the listing");
    Ok(())
}

fn sequences() -> u32 {
    std::env::var("SEABED_TEST_SEQUENCES").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
}

/// So many random sequences, each in a store that `fresh` makes for it.
pub fn sequences_come_back(cases: u32, fresh: &dyn Fn() -> Arc<dyn Store>) {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/roundtrip.regressions");
    let config = Config {
        cases,
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(&sequence(), |sequence| run(fresh(), &sequence)) {
        panic!("{failure}");
    }
}

/// Two halves, so that both cores of a small machine have one.
fn half() {
    sequences_come_back(sequences().div_ceil(2), &|| Arc::new(MemoryStore::new()));
}

#[test]
fn random_sequences_come_back_one() {
    half();
}

#[test]
fn random_sequences_come_back_two() {
    half();
}

/// With `if-changed` the first name of a hard-linked file was there and left alone, and the names that were missing came back as
/// copies of it: a restore over an older one took the links apart.
#[test]
fn links_that_are_missing_come_back_as_links() {
    let bench = Bench::new(Arc::new(MemoryStore::new()));
    let a = bench.top().join("a");
    // Long files go another way than short ones.
    for (dir, len) in [("long", 3 << 20), ("short", 7)] {
        fs::create_dir(a.join(dir)).unwrap();
        fs::write(a.join(dir).join("one"), noise(1, len)).unwrap();
        for name in ["three", "two"] {
            fs::hard_link(a.join(dir).join("one"), a.join(dir).join(name)).unwrap();
        }
    }
    let repository = init(bench.store.clone(), None).unwrap();
    let id = backup(&repository, options(&bench.roots()), &Silent).unwrap().snapshot.unwrap();
    let target = bench.target("target");
    restore_to(&repository, &id, b"", &target).unwrap();
    let place = target.join(a.strip_prefix("/").unwrap());
    for dir in ["long", "short"] {
        fs::remove_file(place.join(dir).join("two")).unwrap();
    }
    let selected = select(&repository, &id, b"").unwrap();
    let unchanged = TargetOptions { overwrite: Overwrite::IfChanged, ..Default::default() };
    restore(&repository, &selected, &RestoreOptions { target, options: unchanged, ..Default::default() }, &Silent).unwrap();
    equal("restored over", &capture(&a, false), &capture(&place, false)).unwrap();
}
