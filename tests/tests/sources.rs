//! Sources that misbehave: files that change, vanish or cannot be read, commands that fail, roots that overlap. A source that fails
//! costs its own entry, is said, and never takes a sibling with it; a stream that fails costs the snapshot.
//! It obeys DESIGN section 2 (exit codes 3 and 21) by the errors that these are made from.

use seabed_engine::backup::{BackupOptions, Failure, StreamSource, backup};
use seabed_engine::error::{Error, SourceError};
use seabed_engine::observe::{Action, Observer, Silent};
use seabed_engine::repository::Repository;
use seabed_engine::source::stream::{ReaderStream, Stream, StreamFailure};
use seabed_engine::source::{Excludes, WalkOptions};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{backup_paths, bytes_stream, command_stream, dump_path, init, options, restore_to, select};
use seabed_tests::trees::{capture, differences, noise};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    store: Arc<MemoryStore>,
    repository: Repository,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        Bench { dir: tempfile::tempdir().unwrap(), store, repository }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Restores `latest` and returns where the source directory went.
    fn restored(&self) -> (TempDir, PathBuf) {
        self.repository.refresh().unwrap();
        let id = self.repository.select("latest", &Default::default()).unwrap().snapshot.id;
        let target = tempfile::tempdir().unwrap();
        restore_to(&self.repository, &id, b"", target.path()).unwrap();
        let place = target.path().join(self.dir.path().strip_prefix("/").unwrap());
        (target, place)
    }

    fn committed(&self) -> usize {
        self.store.list("snapshots").unwrap().len() + self.store.list("pending").unwrap().len()
    }
}

fn stored(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes()[1..].to_vec()
}

fn names(errors: &[SourceError]) -> BTreeSet<String> {
    errors.iter().map(|e| e.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Calls a hook when an entry was dealt with: that is when a test may change the source.
struct Hook<F: Fn(&[u8]) + Sync>(F);

impl<F: Fn(&[u8]) + Sync> Observer for Hook<F> {
    fn item(&self, path: &[u8], _action: Action, _bytes: u64) {
        self.0(path);
    }
    fn wants_items(&self) -> bool {
        true
    }
}

/// An entry that could not be read took the rest of its directory with it elsewhere, and the run still ended with success (kopia #5045).
#[test]
fn what_cannot_be_read_costs_itself_and_no_sibling() {
    let bench = Bench::new();
    for n in 0..50 {
        bench.file(&format!("src/f{n:02}"), &noise(n, 1000));
    }
    // Even for root these cannot be read: memory of this process at address 0, and a kernel file that cannot be read for anyone.
    let roots = vec![bench.path("src"), PathBuf::from("/proc/self/mem"), PathBuf::from("/proc/self/clear_refs")];
    let report = backup_paths(&bench.repository, &roots).unwrap();
    assert_eq!(names(&report.errors), BTreeSet::from(["mem".to_owned(), "clear_refs".to_owned()]), "{:?}", report.errors);
    assert_eq!(report.error_count, 2);
    let selected = select(&bench.repository, &report.snapshot.unwrap(), b"").unwrap();
    assert_eq!(selected.snapshot.names.failures.len(), 2, "the manifest records what failed");
    assert_eq!(selected.snapshot.names.summary.errors, 2);
    let (_target, place) = bench.restored();
    let (want, have) = (capture(&bench.path("src"), false), capture(&place.join("src"), false));
    assert_eq!(want, have);
}

#[test]
fn a_root_that_is_not_there_is_said_and_the_others_are_stored() {
    let bench = Bench::new();
    bench.file("src/f", b"content");
    let report = backup_paths(&bench.repository, &[bench.path("src"), bench.path("nowhere")]).unwrap();
    assert_eq!(names(&report.errors), BTreeSet::from(["nowhere".to_owned()]));
    let (_target, place) = bench.restored();
    assert_eq!(fs::read(place.join("src/f")).unwrap(), b"content");
    let before = bench.committed();
    match backup_paths(&bench.repository, &[bench.path("nowhere")]) {
        Err(Failure::NoSource { errors }) => assert_eq!(errors.len(), 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.committed(), before, "nothing was committed");
}

#[test]
fn files_that_vanish_or_change_while_others_are_read_are_said() {
    let bench = Bench::new();
    bench.file("src/a", b"first");
    for n in 0..2000 {
        bench.file(&format!("src/b/{n:04}"), &noise(n, 600));
    }
    bench.file("src/z/gone", b"gone");
    bench.file("src/z/stays", b"stays");
    let (gone, once) = (bench.path("src/z/gone"), AtomicBool::new(false));
    // The first entry is dealt with long before the last directory is listed or after it was: both must do.
    let hook = Hook(|_: &[u8]| {
        if !once.swap(true, SeqCst) {
            fs::remove_file(&gone).unwrap();
        }
    });
    let report = backup(&bench.repository, options(&[bench.path("src")]), &hook).unwrap();
    assert!(names(&report.errors).is_subset(&BTreeSet::from(["gone".to_owned()])), "{:?}", report.errors);
    let (_target, place) = bench.restored();
    let (mut want, mut have) = (capture(&bench.path("src"), false), capture(&place.join("src"), false));
    // It may have been read just before; and its directory may have been looked at before.
    have.remove(&b"z/gone"[..]);
    want.remove(&b"z"[..]);
    have.remove(&b"z"[..]);
    assert!(differences(&want, &have).is_empty(), "{:?}", differences(&want, &have));
}

#[test]
fn directories_removed_while_they_are_walked_leave_their_siblings() {
    for round in 0..10 {
        let bench = Bench::new();
        for dir in 0..60 {
            for n in 0..5 {
                bench.file(&format!("src/{dir:02}/{n}"), &noise(dir * 10 + n, 300));
            }
        }
        let src = bench.path("src");
        let report = std::thread::scope(|scope| {
            let started = Arc::new(std::sync::Barrier::new(2));
            let (src, at_start) = (src.clone(), started.clone());
            scope.spawn(move || {
                at_start.wait();
                for dir in (0..60).filter(|d| d % 2 == round % 2) {
                    fs::remove_dir_all(src.join(format!("{dir:02}"))).unwrap();
                }
            });
            started.wait();
            backup_paths(&bench.repository, &[bench.path("src")]).unwrap()
        });
        let removed = |e: &SourceError| {
            e.path.components().any(|c| c.as_os_str().to_str().and_then(|s| s.parse().ok()).is_some_and(|d: u64| d % 2 == round % 2))
        };
        assert!(report.errors.iter().all(removed), "{:?}", report.errors);
        let (_target, place) = bench.restored();
        let (want, have) = (capture(&src, false), capture(&place.join("src"), false));
        for (path, node) in want.iter().filter(|(_, n)| n.is_file()) {
            assert_eq!(have.get(path).map(|n| &n.content), Some(&node.content), "{}", path.escape_ascii());
        }
    }
}

/// A short file whose list of chunks and holes is long enough to be a tree lost the hole at its end: 427,680 bytes came back as 315,392,
/// and nothing was said.
#[test]
fn a_hole_at_the_end_comes_back() {
    use std::os::unix::fs::FileExt;
    let bench = Bench::new();
    for pieces in [1u64, 3, 20, 60, 300] {
        let path = bench.file("src/sparse", b"");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(pieces * 16384 + 100_000).unwrap();
        for piece in 0..pieces {
            file.write_all_at(&noise(piece, 4096), piece * 16384).unwrap();
        }
        drop(file);
        backup_paths(&bench.repository, &[bench.path("src")]).unwrap();
        let (_target, place) = bench.restored();
        assert!(fs::read(place.join("src/sparse")).unwrap() == fs::read(&path).unwrap(), "{pieces} pieces");
    }
}

/// With --ignore-ctime a change of attributes does not show: an attribute added to a directory and to a file in it was stored for the
/// file and lost for the directory.
#[test]
fn without_ctime_attributes_are_read_again() {
    let bench = Bench::new();
    let file = bench.file("src/dir/file", b"content");
    let mut again = options(&[bench.path("src")]);
    again.ignore_ctime = true;
    backup_paths(&bench.repository, &[bench.path("src")]).unwrap();
    for path in [file.parent().unwrap(), &file] {
        rustix::fs::setxattr(path, c"user.seabed", b"new", rustix::fs::XattrFlags::empty()).unwrap();
    }
    backup(&bench.repository, again, &Silent).unwrap();
    let (_target, place) = bench.restored();
    for path in ["src/dir", "src/dir/file"] {
        let mut value = [0; 8];
        let have = rustix::fs::getxattr(place.join(path), c"user.seabed", &mut value).map(|bytes| &value[..bytes] == b"new");
        assert_eq!(have, Ok(true), "{path}");
    }
}

/// Files of procfs say a size of 0: they were stored empty and called changed.
#[test]
fn a_file_without_a_size_is_stored_with_its_content() {
    let bench = Bench::new();
    for name in ["/proc/version", "/proc/cpuinfo", "/proc/filesystems"] {
        let path = Path::new(name);
        let report = backup_paths(&bench.repository, &[path.to_path_buf()]).unwrap();
        assert!(report.errors.is_empty(), "{name}: {:?}", report.errors);
        let want = fs::read(path).unwrap();
        let have = dump_path(&bench.repository, &report.snapshot.unwrap(), &stored(path)).unwrap();
        // Clock rates differ from one look to the next.
        assert!(!have.is_empty() && (have == want || name == "/proc/cpuinfo"), "{name}");
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_stored_as_it_was_at_some_length_and_said() {
    let bench = Bench::new();
    for size in [10_000, 3 << 20] {
        let path = bench.file("src/log", &vec![b'x'; size]);
        bench.file("src/other", b"other");
        let (stop, appended) = (AtomicBool::new(false), AtomicU64::new(0));
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                while !stop.load(SeqCst) {
                    file.write_all(b"x").unwrap();
                    appended.fetch_add(1, SeqCst);
                }
            });
            while appended.load(SeqCst) == 0 {
                std::thread::yield_now();
            }
            let report = backup_paths(&bench.repository, &[bench.path("src")]);
            stop.store(true, SeqCst);
            report.unwrap()
        });
        let id = report.snapshot.unwrap();
        let bytes = dump_path(&bench.repository, &id, &stored(&path)).unwrap();
        assert!(bytes.len() >= size && bytes.iter().all(|b| *b == b'x'), "{} of at least {size}", bytes.len());
        assert!(names(&report.errors).is_subset(&BTreeSet::from(["log".to_owned()])));
        assert_eq!(dump_path(&bench.repository, &id, &stored(&bench.path("src/other"))).unwrap(), b"other");
        // The next run does not take the mixture for the file.
        let quiet = backup_paths(&bench.repository, &[bench.path("src")]).unwrap();
        assert!(quiet.errors.is_empty());
        assert_eq!(dump_path(&bench.repository, &quiet.snapshot.unwrap(), &stored(&path)).unwrap(), fs::read(&path).unwrap());
    }
}

fn stream_backup(bench: &Bench, streams: Vec<StreamSource>) -> Result<seabed_engine::backup::BackupReport, Failure> {
    backup(&bench.repository, BackupOptions { streams, ..options(&[]) }, &Silent)
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let bench = Bench::new();
    let cases: [(&str, fn(&StreamFailure) -> bool); 6] = [
        (
            "echo half; echo 'disk on fire' >&2; exit 7",
            |f| matches!(f, StreamFailure::Exit { status: 7, stderr, .. } if stderr.ends_with(b"disk on fire\n")),
        ),
        ("head -c 3000000 /dev/zero; exit 1", |f| matches!(f, StreamFailure::Exit { status: 1, .. })),
        ("echo half; kill -9 $$", |f| matches!(f, StreamFailure::Killed { signal: 9, .. })),
        ("no-such-program-here", |f| matches!(f, StreamFailure::Exit { status: 127, .. })),
        ("true", |f| matches!(f, StreamFailure::Empty { .. })),
        (
            "head -c 100000 /dev/zero | tr '\\\\0' x >&2; exit 3",
            |f| matches!(f, StreamFailure::Exit { stderr, .. } if stderr.len() == 4096),
        ),
    ];
    for (command, fits) in cases {
        match stream_backup(&bench, vec![bytes_stream("good", noise(1, 5000)), command_stream("bad", command)]) {
            Err(Failure::Stream(failure)) => assert!(fits(&failure), "{command}: {failure:?}"),
            other => panic!("{command}: {other:?}"),
        }
        assert_eq!(bench.committed(), 0, "{command}: nothing was committed");
    }
    // What the failed runs stored hurts nobody.
    stream_backup(&bench, vec![bytes_stream("good", noise(1, 5000))]).unwrap();
}

#[test]
fn a_stream_whose_reader_fails_makes_no_snapshot() {
    struct Broken(u32);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 < 50 { Ok(buffer.len().min(10_000)) } else { Err(io::Error::other("the line went dead")) }
        }
    }
    let bench = Bench::new();
    let open = || Ok(Box::new(ReaderStream(Broken(0))) as Box<dyn Stream>);
    let stream = StreamSource { name: b"s".to_vec(), argv: vec![], open: Mutex::new(Some(Box::new(open))), allow_empty: false };
    match stream_backup(&bench, vec![stream]) {
        Err(Failure::Stream(StreamFailure::Read { source, .. })) => assert_eq!(source.to_string(), "the line went dead"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.committed(), 0);
}

#[test]
fn an_empty_stream_needs_leave() {
    let bench = Bench::new();
    let empty = |allow_empty| {
        let open = || Ok(Box::new(ReaderStream(Cursor::new(vec![]))) as Box<dyn Stream>);
        StreamSource { name: b"stdin".to_vec(), argv: vec![], open: Mutex::new(Some(Box::new(open))), allow_empty }
    };
    assert!(matches!(stream_backup(&bench, vec![empty(false)]), Err(Failure::Stream(StreamFailure::Empty { .. }))));
    assert_eq!(bench.committed(), 0);
    let id = stream_backup(&bench, vec![empty(true)]).unwrap().snapshot.unwrap();
    assert_eq!(dump_path(&bench.repository, &id, b"stdin").unwrap(), b"");
    let target = tempfile::tempdir().unwrap();
    let report = restore_to(&bench.repository, &id, b"", target.path()).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(fs::read(target.path().join("stdin")).unwrap(), b"");
}

#[test]
fn streams_and_a_tree_are_one_snapshot() {
    let bench = Bench::new();
    bench.file("src/f", b"content");
    let long = noise(3, 5_000_000);
    let command = "seq 1 200000; echo 'note: 3 tables' >&2";
    let streams = vec![bytes_stream("dumps/a.sql", long.clone()), command_stream("dumps/b.sql", command)];
    let report = backup(&bench.repository, BackupOptions { streams, ..options(&[bench.path("src")]) }, &Silent).unwrap();
    let id = report.snapshot.unwrap();
    let selected = select(&bench.repository, &id, b"").unwrap();
    let known: Vec<_> = selected.snapshot.names.roots.iter().filter_map(|r| r.stream.as_ref()).collect();
    assert_eq!((known[1].exit, &known[1].stderr.0[..]), (Some(0), &b"note: 3 tables\n"[..]));
    assert_eq!(known[0].hash, *blake3::hash(&long).as_bytes());
    let target = tempfile::tempdir().unwrap();
    let report = restore_to(&bench.repository, &id, b"", target.path()).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert!(fs::read(target.path().join("dumps/a.sql")).unwrap() == long);
    let numbers: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(fs::read(target.path().join("dumps/b.sql")).unwrap() == numbers.as_bytes());
    assert_eq!(fs::read(target.path().join(bench.path("src/f").strip_prefix("/").unwrap())).unwrap(), b"content");
}

/// A stream called `../x`, or two of one name, went into a manifest that no restore could follow: the backup was a success and the
/// dump was lost. The same for a stream that a file of the tree would overwrite on restore.
#[test]
fn stream_names_that_could_not_be_restored_are_refused_before_anything_is_read() {
    let bench = Bench::new();
    for name in ["", "/etc/x", "../x", "a/../b", "a//b", "./a", "a/", "a\0b"] {
        match stream_backup(&bench, vec![bytes_stream(name, vec![1])]) {
            Err(Failure::Repository(Error::Option { .. })) => {}
            other => panic!("{name:?}: {other:?}"),
        }
    }
    for pair in [["a", "a"], ["a", "a/b"], ["a/b/c", "a"]] {
        let streams = pair.iter().map(|name| bytes_stream(name, vec![1])).collect();
        assert!(matches!(stream_backup(&bench, streams), Err(Failure::Repository(Error::Option { .. }))), "{pair:?}");
    }
    let file = bench.file("src/dump.sql", b"a file");
    let taken = String::from_utf8(stored(&file)).unwrap();
    for name in [taken.clone(), format!("{taken}/below"), taken.trim_end_matches("/dump.sql").to_owned()] {
        let with = BackupOptions { streams: vec![bytes_stream(&name, vec![1])], ..options(&[bench.path("src")]) };
        assert!(matches!(backup(&bench.repository, with, &Silent), Err(Failure::Repository(Error::Option { .. }))), "{name}");
    }
    assert_eq!(bench.committed(), 0);
    let beside = BackupOptions { streams: vec![bytes_stream(&format!("{taken}.2"), vec![1])], ..options(&[bench.path("src")]) };
    backup(&bench.repository, beside, &Silent).unwrap();
}

/// Ctrl-C while a dump waited for a lock did nothing until the dump went on: the run sat in a read from its pipe.
#[test]
fn a_run_that_waits_for_a_silent_command_can_be_stopped() {
    struct Soon(Instant);
    impl Observer for Soon {
        fn interrupted(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(200)
        }
    }
    let bench = Bench::new();
    for command in ["echo begun; exec sleep 60", "trap '' TERM; echo begun; while :; do sleep 60 & wait; done"] {
        let started = Instant::now();
        let run = backup(&bench.repository, BackupOptions { streams: vec![command_stream("s", command)], ..options(&[]) }, &Soon(started));
        assert!(matches!(run, Err(Failure::Repository(Error::Interrupted))), "{run:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{command}: it took {:?}", started.elapsed());
        assert_eq!(bench.committed(), 0);
    }
}

#[test]
fn roots_may_repeat_nest_be_files_and_share_links() {
    let bench = Bench::new();
    let f = bench.file("one/f", &noise(1, 3000));
    bench.file("one/sub/g", b"g");
    fs::create_dir(bench.path("two")).unwrap();
    fs::hard_link(&f, bench.path("two/same")).unwrap();
    bench.file("three/wanted", b"wanted");
    bench.file("three/unwanted", b"unwanted");
    symlink("f", bench.path("one/link")).unwrap();
    let roots = ["one", "one/sub", "two", "one", "one/sub/../sub", "three/wanted", "one/f", "one/link"].map(|name| bench.path(name));
    let report = backup_paths(&bench.repository, &roots).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let (_target, place) = bench.restored();
    for root in ["one", "two"] {
        let (mut want, mut have) = (capture(&bench.path(root), false), capture(&place.join(root), false));
        want.values_mut().chain(have.values_mut()).for_each(|n| n.links.clear());
        assert_eq!(want, have);
    }
    let inode = |name: &str| fs::metadata(place.join(name)).map(|m| (m.ino(), m.nlink())).unwrap();
    assert_eq!(inode("one/f"), inode("two/same"));
    assert_eq!(fs::read(place.join("three/wanted")).unwrap(), b"wanted");
    assert!(!place.join("three/unwanted").exists());
}

#[test]
fn excludes_leave_out_what_they_name_and_nothing_else() {
    let bench = Bench::new();
    for name in ["src/keep", "src/drop.tmp", "src/sub/drop.tmp", "src/sub/keep.tmpx", "src/cache/inside", "src/sub/cache/inside"] {
        bench.file(name, name.as_bytes());
    }
    let mut excludes = Excludes::new();
    excludes.pattern(b"*.tmp", false).unwrap();
    excludes.pattern(bench.path("src/cache").as_os_str().as_bytes(), false).unwrap();
    let walk = WalkOptions { excludes, ..Default::default() };
    backup(&bench.repository, BackupOptions { walk, ..options(&[bench.path("src")]) }, &Silent).unwrap();
    let (_target, place) = bench.restored();
    let have: Vec<String> = capture(&place.join("src"), false).into_keys().map(|p| String::from_utf8(p).unwrap()).collect();
    assert_eq!(have, ["keep", "sub", "sub/cache", "sub/cache/inside", "sub/keep.tmpx"]);
}
