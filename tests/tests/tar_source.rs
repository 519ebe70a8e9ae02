//! Tar archives as sources: what any tar writes is stored as the files that it is, deduplicates by file, and comes back; what is no whole
//! archive makes no snapshot; what an archive claims hurts nobody.
//! It obeys spec chapter 6 (roots of kind 2) and DESIGN section 2 (exit codes 3 and 21) by the errors that these are made from.

use proptest::prelude::*;
use seabed_engine::backup::{BackupOptions, BackupReport, Failure, StreamSource, backup};
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::format::entry::{EntryKind, join};
use seabed_engine::format::manifest::ROOT_TAR;
use seabed_engine::id::SnapshotId;
use seabed_engine::list::list;
use seabed_engine::observe::{Observer, Silent};
use seabed_engine::repository::Repository;
use seabed_engine::source::stream::StreamFailure;
use seabed_engine::source::{Excludes, WalkOptions};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{backup_paths, bytes_stream, command_stream, dump_path, init, open, options, restore_to, select};
use seabed_tests::tools::{ALL, END, file, header, ok, pax, sealed, untar};
use seabed_tests::trees::{Tree, additions, apply, capture, differences, full, noise, paths};
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A repository in memory, and a directory to make archives of.
pub struct Bench {
    dir: TempDir,
    store: Arc<MemoryStore>,
    pub repository: Repository,
}

impl Bench {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        let dir = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        Bench { dir, store, repository }
    }

    fn src(&self) -> std::path::PathBuf {
        self.dir.path().join("src")
    }

    pub fn run(&self, tar: StreamSource) -> Result<BackupReport, Failure> {
        backup(&self.repository, BackupOptions { tars: vec![tar], ..options(&[]) }, &Silent)
    }

    /// Stores an archive under a name. Nothing may go wrong.
    pub fn stored(&self, name: &str, archive: &[u8]) -> SnapshotId {
        let report = self.run(bytes_stream(name, archive.to_vec())).unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        report.snapshot.unwrap()
    }

    /// Restores what is at a path, and reads it.
    fn restored(&self, id: &SnapshotId, path: &str) -> Tree {
        let target = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
        let report = restore_to(&self.repository, id, path.as_bytes(), target.path()).unwrap();
        assert!(report.errors.is_empty() && report.shortfalls.is_empty(), "{:?} {:?}", report.errors, report.shortfalls);
        capture(target.path(), false)
    }

    pub fn names(&self, id: &SnapshotId) -> Vec<String> {
        let snapshot = select(&self.repository, id, b"").unwrap().snapshot;
        let mut names = Vec::new();
        list(&self.repository, &snapshot, b"", true, |dir, entry| {
            names.push(join(dir, &entry.name.0).escape_ascii().to_string());
            Ok(true)
        })
        .unwrap();
        names
    }

    pub fn committed(&self) -> usize {
        self.store.list("snapshots").unwrap().len() + self.store.list("pending").unwrap().len()
    }
}

/// What no tar holds, or only some.
fn without_sockets(mut tree: Tree) -> Tree {
    tree.retain(|_, node| node.kind() != 0o140_000);
    tree
}

/// What is left of a tree in formats that know whole seconds and no attributes.
fn coarse(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        node.mtime.1 = 0;
        node.xattrs.clear();
    }
    tree
}

fn equal(what: &str, want: &Tree, have: &Tree) {
    let found = differences(want, have);
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn what_any_tar_writes_comes_back() {
    let bench = Bench::new();
    full(&bench.src());
    fs::create_dir_all(bench.src().join(format!("{0}/{0}/{0}", "long".repeat(40)))).unwrap();
    fs::write(bench.src().join(format!("{0}/{0}/{0}/{0}", "long".repeat(40))), b"deep").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), bench.src().join("long target")).unwrap();
    let want = without_sockets(capture(&bench.src(), false));
    // POSIX, with everything; each way of keeping holes.
    for version in ["0.0", "0.1", "1.0"] {
        let sparse = format!("--sparse-version={version}");
        let args = [&["c", "--format=posix", "--sparse", &sparse], &ALL[..], &["--exclude=./socket", "."]].concat();
        let id = bench.stored("", &ok("tar", &args, &bench.src(), b""));
        equal(&format!("posix, sparse {version}"), &want, &bench.restored(&id, ""));
    }
    // bsdtar has its own ideas of records; it writes times of birth and flags too, and no holes unless it finds them.
    let args = ["-c", "--format", "pax", "--xattrs", "--acls", "--numeric-owner", "--exclude", "./socket", "-f", "-", "."];
    let id = bench.stored("", &ok("bsdtar", &args, &bench.src(), b""));
    let (mut want_bsd, mut have) = (want.clone(), bench.restored(&id, ""));
    // It writes the fraction of a time before 1970 as one towards the future.
    for tree in [&mut want_bsd, &mut have] {
        tree.get_mut(&b"many/003"[..]).unwrap().mtime = (0, 0);
    }
    equal("bsdtar", &want_bsd, &have);
    // GNU's own forms: what they do not have is gone, nothing else.
    let coarse_want = coarse(want.clone());
    for format in ["gnu", "oldgnu"] {
        let kind = format!("--format={format}");
        let args = ["c", &kind, "--sparse", "--numeric-owner", "--exclude=./socket", "."];
        // Seconds are cut towards the past, as the file system says them.
        let id = bench.stored("", &ok("tar", &args, &bench.src(), b""));
        equal(format, &coarse_want, &coarse(bench.restored(&id, "")));
    }
    // Python: no holes, no attributes, all three of its formats.
    let script = "import os, sys, tarfile\n\
                  t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=getattr(tarfile, sys.argv[1] + '_FORMAT'))\n\
                  for name in sorted(os.listdir(b'.')):\n    name = os.fsdecode(name)\n    if name != 'socket': t.add(name)\n\
                  t.close()";
    for format in ["PAX", "GNU"] {
        let id = bench.stored("", &ok("python3", &["-c", script, format], &bench.src(), b""));
        let (mut want, mut have) = (coarse_want.clone(), coarse(bench.restored(&id, "")));
        want.values_mut().chain(have.values_mut()).for_each(|node| node.data.clear());
        if format == "PAX" {
            // It keeps fractions of seconds as what a float has of them.
            want.values_mut().chain(have.values_mut()).for_each(|node| node.mtime = (0, 0));
        }
        // And cuts those before 1970 towards it.
        for tree in [&mut want, &mut have] {
            tree.get_mut(&b"many/003"[..]).unwrap().mtime = (0, 0);
        }
        equal(format, &want, &have);
    }
    // The oldest, of what fits.
    for format in ["v7", "ustar"] {
        let kind = format!("--format={format}");
        let args = ["c", &kind, "--numeric-owner", "--exclude=many/003", "many", "deep/er", "big", "deep/hard", "up"];
        let id = bench.stored("", &ok("tar", &args, &bench.src(), b""));
        let meant = |path: &[u8]| {
            path.starts_with(b"many") && path != b"many/003"
                || path.starts_with(b"deep/er")
                || [&b"big"[..], b"deep/hard", b"up"].contains(&path)
        };
        let mut want = coarse_want.clone();
        want.retain(|path, _| meant(path));
        let mut have = coarse(bench.restored(&id, ""));
        // Nobody asked for what leads to it.
        assert!(have.remove(&b"deep"[..]).is_some_and(|node| node.is_dir()));
        equal(format, &want, &have);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back_through_a_tar(first in additions(25)) {
        let bench = Bench::new();
        fs::create_dir_all(bench.src().join("top")).unwrap();
        apply(&bench.src(), &first);
        let sockets: Vec<_> = paths(&bench.src()).into_iter().filter(|path| {
            use std::os::unix::fs::FileTypeExt;
            fs::symlink_metadata(path).unwrap().file_type().is_socket()
        }).collect();
        sockets.iter().for_each(|path| fs::remove_file(path).unwrap());
        let want = capture(&bench.src(), false);
        let args = [&["c", "--format=posix", "--sparse"], &ALL[..], &["."]].concat();
        let id = bench.stored("export/of a volume", &ok("tar", &args, &bench.src(), b""));
        let found = differences(&want, &bench.restored(&id, "export/of a volume"));
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// The point of it: two exports of one volume have their files in common, whatever else moved, and so have a volume and its export.
#[test]
fn an_archive_deduplicates_by_file() {
    let bench = Bench::new();
    full(&bench.src());
    fs::remove_file(bench.src().join("socket")).unwrap();
    let first = backup_paths(&bench.repository, &[bench.src()]).unwrap();
    let args = [&["c", "--format=posix", "--sparse"], &ALL[..], &["."]].concat();
    let archive = ok("tar", &args, &bench.src(), b"");
    let second = bench.run(bytes_stream("export", archive.clone())).unwrap();
    assert_eq!(second.summary.data_chunks, 0, "a disk's files are an archive's files: {:?}", second.summary);
    assert!(second.summary.bytes_added < 200_000, "{:?}", second.summary);
    assert!(first.summary.data_chunks > 100);
    // The same again, and in the opposite order: nothing is new, and nothing passes for new.
    let mut names: Vec<String> = fs::read_dir(bench.src()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for reversed in [false, true] {
        if reversed {
            names.reverse();
        }
        let names = names.iter().map(String::as_str);
        let args =
            [&["c", "--format=posix", "--sparse"], &ALL[..], &[".", "--no-recursion", "--recursion"], &names.collect::<Vec<_>>()].concat();
        let again = ok("tar", &args, &bench.src(), b"");
        let report = bench.run(bytes_stream("export", again)).unwrap();
        assert_eq!(report.summary.data_chunks, 0);
        let counted = (report.summary.files_new, report.summary.files_changed, report.summary.dirs_new, report.summary.dirs_changed);
        assert_eq!(counted, (0, 0, 0, 0), "reversed: {reversed}");
        assert_eq!(report.summary.files_unmodified, second.summary.files_total);
    }
    // A new repository, the other way round.
    let other = init(Arc::new(MemoryStore::new()), None).unwrap();
    backup(&other, BackupOptions { tars: vec![bytes_stream("export", archive)], ..options(&[]) }, &Silent).unwrap();
    assert_eq!(backup_paths(&other, &[bench.src()]).unwrap().summary.data_chunks, 0);
}

#[test]
fn what_changed_since_the_last_archive_is_counted() {
    let bench = Bench::new();
    let archive = |second: &[u8]| [file(b"a", b"one"), file(b"d/b", second), header(b"d/", b'5', 0, b""), END.to_vec()].concat();
    bench.stored("vol", &archive(b"two"));
    let report = bench.run(bytes_stream("vol", archive(b"TWO"))).unwrap();
    let s = report.summary;
    assert_eq!((s.files_new, s.files_changed, s.files_unmodified, s.dirs_unmodified), (0, 1, 1, 2), "the name's own directory counts");
    let unchanged = BackupOptions { tars: vec![bytes_stream("vol", archive(b"TWO"))], skip_if_unchanged: true, ..options(&[]) };
    assert_eq!(backup(&bench.repository, unchanged, &Silent).unwrap().snapshot, None);
    // Another archive is no version of this one.
    let report = bench.run(bytes_stream("other", archive(b"TWO"))).unwrap();
    assert_eq!((report.summary.files_new, report.summary.data_chunks), (2, 0));
}

#[test]
fn archives_streams_and_trees_are_one_snapshot() {
    let bench = Bench::new();
    fs::write(bench.src().join("f"), b"of the tree").unwrap();
    let tars = vec![
        command_stream("image/layers", "cd /; tar c etc/hostname; echo 'note' >&2"),
        bytes_stream("vol", [header(b"./", b'5', 0, b""), file(b"./x/y", b"of the archive"), END.to_vec()].concat()),
    ];
    let streams = vec![bytes_stream("dumps/a.sql", b"of the stream".to_vec())];
    let report = backup(&bench.repository, BackupOptions { tars, streams, ..options(&[bench.src()]) }, &Silent).unwrap();
    let id = report.snapshot.unwrap();
    assert_eq!(report.remarks, [(b"image/layers".to_vec(), b"note\n".to_vec())]);
    assert_eq!(dump_path(&bench.repository, &id, b"vol/x/y").unwrap(), b"of the archive");
    assert_eq!(dump_path(&bench.repository, &id, b"dumps/a.sql").unwrap(), b"of the stream");
    let own = bench.src().join("f").to_str().unwrap().trim_start_matches('/').to_owned();
    assert_eq!(dump_path(&bench.repository, &id, own.as_bytes()).unwrap(), b"of the tree");
    let names = bench.names(&id);
    for name in [&own[..], "vol", "vol/x", "vol/x/y", "image", "image/layers", "image/layers/etc/hostname", "dumps/a.sql"] {
        assert_eq!(names.iter().filter(|have| *have == name).count(), 1, "{name} in {names:?}");
    }
    let target = tempfile::tempdir().unwrap();
    restore_to(&bench.repository, &id, b"", target.path()).unwrap();
    assert_eq!(fs::read(target.path().join("vol/x/y")).unwrap(), b"of the archive");
    assert_eq!(fs::read(target.path().join("image/layers/etc/hostname")).unwrap(), fs::read("/etc/hostname").unwrap());
    let snapshot = select(&bench.repository, &id, b"").unwrap().snapshot;
    let facts: Vec<_> =
        snapshot.names.roots.iter().filter(|root| root.kind == ROOT_TAR).map(|root| root.stream.as_ref().unwrap()).collect();
    assert_eq!((facts[0].exit, &facts[0].format[..], &facts[0].stderr.0[..]), (Some(0), "tar", &b"note\n"[..]));
    assert!(!facts[0].argv.is_empty() && facts[1].argv.is_empty());
}

/// Two trees that both say what a directory is cannot both be right.
#[test]
fn names_of_archives_that_would_lie_in_each_other_are_refused_before_anything_is_read() {
    let bench = Bench::new();
    let empty = || END.to_vec();
    let refused = |with: BackupOptions| match backup(&bench.repository, with, &Silent) {
        Err(Failure::Repository(Error::Option { what })) => what,
        other => panic!("{other:?}"),
    };
    let tars =
        |names: &[&str]| names.iter().map(|name| StreamSource { allow_empty: true, ..bytes_stream(name, empty()) }).collect::<Vec<_>>();
    for names in [&["/abs"][..], &["a/../b"], &["a", "a"], &["a", "a/b"], &["a/b", "a/c"], &["", "a"], &["", ""]] {
        refused(BackupOptions { tars: tars(names), ..options(&[]) });
    }
    let streams = || vec![bytes_stream("s/x", vec![1])];
    for name in ["", "s", "s/x", "s/x/y"] {
        refused(BackupOptions { tars: tars(&[name]), streams: streams(), ..options(&[]) });
    }
    let top = bench.src().components().nth(1).unwrap().as_os_str().to_str().unwrap().to_owned();
    for name in ["", &top, &format!("{top}/beside")] {
        refused(BackupOptions { tars: tars(&[name]), ..options(&[bench.src()]) });
    }
    assert_eq!(bench.committed(), 0);
    let good = BackupOptions { tars: tars(&["t/x", "u"]), streams: streams(), ..options(&[bench.src()]) };
    backup(&bench.repository, good, &Silent).unwrap();
}

#[test]
fn an_archive_that_is_cut_short_makes_no_snapshot() {
    let bench = Bench::new();
    full(&bench.src());
    let args =
        [&["c", "--format=posix", "--sparse"], &ALL[..], &["--exclude=./socket", "many", "deep", "sparse", "empty dir", "twin"]].concat();
    let archive = ok("tar", &args, &bench.src(), b"");
    let content_end = archive.len() - archive.iter().rev().take_while(|b| **b == 0).count();
    let blocks = content_end.div_ceil(512);
    // Also where the last entry ends, and nothing of it is missing.
    let cuts = (1..40).chain((40..blocks).step_by(97)).chain([blocks]).map(|block| block * 512).chain([1, 511, 513, 5000, content_end - 1]);
    for cut in cuts {
        match bench.run(bytes_stream("vol", archive[..cut].to_vec())) {
            Err(Failure::Stream(StreamFailure::Torn { name, at })) => assert_eq!((&name[..], at <= cut as u64), ("vol", true)),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
    match bench.run(StreamSource { allow_empty: false, ..bytes_stream("vol", Vec::new()) }) {
        Err(Failure::Stream(StreamFailure::Empty { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.committed(), 0);
    // One block of zeros at the end of everything is how some end.
    bench.stored("vol", &archive[..blocks * 512 + 512]);
}

#[test]
fn how_a_command_ends_says_more_than_what_it_wrote() {
    let bench = Bench::new();
    fs::write(bench.src().join("f"), noise(1, 300_000)).unwrap();
    let src = bench.src().display().to_string();
    let exits = |command: String| match bench.run(command_stream("vol", &command)) {
        Err(Failure::Stream(StreamFailure::Exit { status, .. })) => status,
        other => panic!("{command}: {other:?}"),
    };
    assert_eq!(exits(format!("tar c -C '{src}' f; exit 3")), 3, "a whole archive of a command that failed");
    assert_eq!(exits(format!("tar c -C '{src}' f | head -c 100000; exit 7")), 7, "a torn one: why comes first");
    assert_eq!(exits("exit 9".to_owned()), 9, "nothing at all");
    match bench.run(command_stream("vol", &format!("tar c -C '{src}' f | head -c 102400"))) {
        Err(Failure::Stream(StreamFailure::Torn { .. })) => {}
        other => panic!("{other:?}"),
    }
    match bench.run(command_stream("vol", "echo this is no archive; cat /etc/passwd /etc/passwd; sleep 60")) {
        Err(Failure::Stream(StreamFailure::NotTar { at: 0, .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.committed(), 0);
    let report = bench.run(command_stream("vol", &format!("tar c -C '{src}' f"))).unwrap();
    assert_eq!(report.summary.files_total, 1);
}

/// Ctrl-C is heard while a command is silent, also in the middle of an entry, and ends the command.
#[test]
fn a_run_that_waits_for_a_silent_command_can_be_stopped() {
    struct Soon(Instant);
    impl Observer for Soon {
        fn interrupted(&self) -> bool {
            self.0.elapsed() > Duration::from_millis(200)
        }
    }
    let bench = Bench::new();
    for command in ["exec sleep 60", "tar c /etc/passwd | head -c 700; exec sleep 60", "tar c /etc/passwd; exec sleep 60"] {
        let started = Instant::now();
        let with = BackupOptions { tars: vec![command_stream("vol", command)], ..options(&[]) };
        let run = backup(&bench.repository, with, &Soon(started));
        assert!(matches!(run, Err(Failure::Repository(Error::Interrupted))), "{command}: {run:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{command}: the command was waited for");
        assert_eq!(bench.committed(), 0);
    }
}

#[test]
fn compressed_archives_are_unpacked_or_named() {
    let bench = Bench::new();
    for n in 0..50 {
        fs::write(bench.src().join(format!("{n}")), noise(n, 40_000)).unwrap();
    }
    let want = capture(&bench.src(), false);
    let tar = |how: &str| ok("tar", &["c", how, "--format=posix", "--numeric-owner", "."], &bench.src(), b"");
    for how in ["--gzip", "--zstd"] {
        let archive = tar(how);
        equal(how, &want, &bench.restored(&bench.stored("", &archive), ""));
        // Cut before it unpacks to anything, it was taken for nothing at all: with `--allow-empty` that was a snapshot, and exit 0.
        for cut in [2, 4, 12, archive.len() / 2, archive.len() - 1, archive.len() - 9] {
            match bench.run(bytes_stream("", archive[..cut].to_vec())) {
                Err(Failure::Stream(StreamFailure::Torn { .. })) => {}
                other => panic!("{how} cut at {cut}: {other:?}"),
            }
        }
        let mut rotten = archive.clone();
        rotten[archive.len() / 2] ^= 1;
        match bench.run(bytes_stream("", rotten)) {
            Err(Failure::Stream(_)) => {}
            other => panic!("{how}: {other:?}"),
        }
    }
    for (magic, program) in [(&b"\xfd7zXZ\0"[..], "xzcat"), (b"BZh91AY", "bzcat")] {
        match bench.run(bytes_stream("", [magic, &noise(1, 5000)].concat())) {
            Err(Failure::Stream(StreamFailure::Packed { program: named, .. })) => assert_eq!(named, program),
            other => panic!("{other:?}"),
        }
    }
    // A file may be called like a compressor's magic.
    bench.stored("", &[file(b"BZh9", b"x"), END.to_vec()].concat());
}

#[test]
fn of_one_name_the_last_stays_and_links_keep_what_they_were_made_of() {
    let bench = Bench::new();
    let archive = [
        file(b"f", b"first"),
        header(b"link", b'1', 0, b"./f"),
        file(b"/f", b"second"),
        header(b"to second", b'1', 0, b"f"),
        header(b"sym", b'2', 0, b"f"),
        header(b"symlink", b'1', 0, b"sym"),
        END.to_vec(),
    ];
    let id = bench.stored("vol", &archive.concat());
    for (path, content) in [("f", "second"), ("link", "first"), ("to second", "second")] {
        assert_eq!(dump_path(&bench.repository, &id, format!("vol/{path}").as_bytes()).unwrap(), content.as_bytes());
    }
    let tree = bench.restored(&id, "vol");
    assert_eq!(tree[&b"f"[..]].links, [b"f".to_vec(), b"to second".to_vec()]);
    assert!(tree[&b"link"[..]].links.is_empty(), "what it linked to is gone");
    assert_eq!(tree[&b"sym"[..]].links.len(), 2, "a symlink may have two names");
}

/// `tar --append` behind a day on which `cur` was made anew: links to the old one and to the new one had one number, and a restore, which
/// told symlinks apart by their times alone, made all of them lead to the first release. Files came back as copies.
#[test]
fn links_to_what_was_replaced_are_not_links_to_what_replaced_it() {
    let bench = Bench::new();
    let symlink = |target: &[u8]| header(b"cur", b'2', 0, target);
    let link = |name: &[u8], target: &[u8]| header(name, b'1', 0, target);
    let first = [symlink(b"release-1"), link(b"a-old", b"cur"), file(b"f", b"old"), link(b"a1", b"f"), link(b"a2", b"f")].concat();
    let second = [symlink(b"release-2"), link(b"z", b"cur"), file(b"f", b"new"), link(b"z2", b"f")].concat();
    let archive = [first, second, END.to_vec()].concat();
    let tree = bench.restored(&bench.stored("vol", &archive), "vol");
    let out = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    untar(&archive, out.path());
    equal("GNU tar", &capture(out.path(), false), &tree);
    assert_eq!(tree[&b"z"[..]].content, b"release-2");
    assert_eq!(tree[&b"a1"[..]].links, [b"a1".to_vec(), b"a2".to_vec()]);
}

#[test]
fn what_lies_behind_the_end_is_said() {
    let bench = Bench::new();
    let one = [file(b"a", b"one"), END.to_vec()].concat();
    for behind in [&file(b"b", b"two")[..], b"garbage", &[&[0; 5000][..], b"x"].concat()] {
        let report = bench.run(bytes_stream("vol", [&one[..], behind].concat())).unwrap();
        assert_eq!(report.error_count, 1, "{:?}", report.errors);
        assert_eq!(bench.names(&report.snapshot.unwrap()), ["vol", "vol/a"]);
    }
    // A lone block of zeros ends it too.
    let report = bench.run(bytes_stream("vol", [&file(b"a", b"one")[..], &[0; 512], &file(b"b", b"two"), &END].concat())).unwrap();
    assert_eq!((report.error_count, bench.names(&report.snapshot.unwrap()).len()), (1, 2));
    // What tapes are filled up with says nothing.
    bench.stored("vol", &[&one[..], &[0; 100_000]].concat());
}

#[test]
fn an_empty_archive_is_stored_only_where_it_may_be_empty() {
    let bench = Bench::new();
    match bench.run(StreamSource { allow_empty: false, ..bytes_stream("vol", END.to_vec()) }) {
        Err(Failure::Stream(StreamFailure::Empty { .. })) => {}
        other => panic!("{other:?}"),
    }
    for empty in [END.to_vec(), Vec::new()] {
        let id = bench.stored("vol/of nothing", &empty);
        assert_eq!(bench.names(&id), ["vol", "vol/of nothing"]);
    }
}

#[test]
fn what_the_archive_calls_dot_is_the_directory_of_its_name() {
    let bench = Bench::new();
    let mut dot = header(b"./", b'5', 0, b"");
    dot[100..108].copy_from_slice(b"0001750\0");
    let archive = [sealed(dot), file(b"./f", b"x"), END.to_vec()].concat();
    let snapshot = |id: &SnapshotId| select(&bench.repository, id, b"").unwrap().snapshot;
    let id = bench.stored("vol", &archive);
    let mut found = None;
    list(&bench.repository, &snapshot(&id), b"vol", false, |_, entry| {
        found = found.take().or(Some(entry.clone()));
        Ok(true)
    })
    .unwrap();
    let found = found.unwrap();
    assert_eq!((&found.name.0[..], found.kind, found.mode, found.implied), (&b"vol"[..], EntryKind::Directory, 0o1750, false));
    // At the top there is nothing that could bear it.
    assert_eq!(bench.names(&bench.stored("", &archive)), ["f"]);
}

#[test]
fn times_of_access_are_stored_only_when_asked_for() {
    let bench = Bench::new();
    let archive = |atime: &[u8]| [pax(b'x', &[("atime", atime), ("mtime", b"-1.25")]), file(b"f", b"x"), END.to_vec()].concat();
    let with = |archive: Vec<u8>, with_atime| {
        let walk = WalkOptions { with_atime, ..Default::default() };
        backup(&bench.repository, BackupOptions { walk, tars: vec![bytes_stream("vol", archive)], ..options(&[]) }, &Silent).unwrap()
    };
    with(archive(b"100"), false);
    assert_eq!(with(archive(b"200"), false).summary.files_unmodified, 1);
    assert_eq!(with(archive(b"200"), true).summary.files_changed, 1);
    let id = with(archive(b"300"), false).snapshot.unwrap();
    assert_eq!(bench.restored(&id, "vol")[&b"f"[..]].mtime, (-2, 750_000_000));
}

/// What is left out is not stored, and is no error; a link to it is one. Of two entries with one name the last was left out as too large,
/// and the first, which it replaces, passed for current.
#[test]
fn patterns_and_sizes_leave_out_entries() {
    let bench = Bench::new();
    let mut excludes = Excludes::new();
    excludes.pattern(b"*.log", false).unwrap();
    excludes.pattern(b"/vol/tmp", false).unwrap();
    excludes.larger_than(1000);
    let archive = [
        file(b"a.log", b"x"),
        file(b"tmp/b", b"x"),
        file(b"large", &[0; 1001]),
        file(b"tmp.keep", &[0; 1000]),
        header(b"link", b'1', 0, b"a.log"),
        file(b"grows", b"out of date"),
        file(b"grows", &[0; 1001]),
        file(b"shrinks", &[0; 1001]),
        file(b"shrinks", b"current"),
        END.to_vec(),
    ];
    let walk = WalkOptions { excludes, ..Default::default() };
    let with = BackupOptions { walk, tars: vec![bytes_stream("vol", archive.concat())], ..options(&[]) };
    let report = backup(&bench.repository, with, &Silent).unwrap();
    assert_eq!((report.excluded, report.error_count), (5, 1), "{:?}", report.errors);
    assert_eq!(bench.names(&report.snapshot.unwrap()), ["vol", "vol/shrinks", "vol/tmp.keep"]);
    assert_eq!(dump_path(&bench.repository, &report.snapshot.unwrap(), b"vol/shrinks").unwrap(), b"current");
}

/// A run that dies leaves what it stored: as a root for collections, and so that the next one stores nothing twice.
#[test]
fn a_run_that_dies_leaves_what_it_had_read() {
    let store = MemoryStore::new();
    init(Arc::new(store.clone()), None).unwrap();
    let entries: Vec<Vec<u8>> = (0..40).map(|n| file(format!("d{}/f{n:03}", n % 7).as_bytes(), &noise(n, 200_000))).collect();
    let archive = [entries.concat(), file(b"long", &noise(99, 5_000_000)), END.to_vec()].concat();
    let often = || BackupOptions { pending_bytes: 1, threads: 1, tars: vec![bytes_stream("vol", archive.clone())], ..options(&[]) };
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let state = faulty.clone();
    faulty.before(StoreOp::Put, "snapshots/", move || {
        state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
    });
    assert!(backup(&open(Arc::new(faulty), None).unwrap(), often(), &Silent).is_err());
    assert!(store.list("pending").unwrap().len() > 3);
    let repository = open(Arc::new(store.clone()), None).unwrap();
    // Each can be restored as far as it goes, some of them with the beginning of the long file.
    for pending in repository.pendings(&Default::default()).unwrap() {
        let target = tempfile::tempdir().unwrap();
        let report = restore_to(&repository, &pending.id, b"", target.path()).unwrap();
        assert!(report.errors.is_empty() && report.files_restored > 0, "{:?}", report.errors);
        for (path, node) in capture(&target.path().join("vol"), false).into_iter().filter(|(_, node)| node.is_file()) {
            let name = String::from_utf8(path).unwrap();
            let n = name.split('f').nth(1).map_or(99, |n| n.parse().unwrap());
            assert!(node.content == noise(n, node.content.len()), "{name}");
        }
    }
    let report = backup(&repository, often(), &Silent).unwrap();
    assert!(report.resumed.is_some());
    assert_eq!(report.summary.data_chunks, 0, "{:?}", report.summary);
    assert!(dump_path(&repository, &report.snapshot.unwrap(), b"vol/long").unwrap() == noise(99, 5_000_000));
}

/// 10,000 entries of one directory come in the wrong order, a link to each behind all of them.
#[test]
fn order_does_not_matter() {
    let bench = Bench::new();
    let n = 10_000u64;
    let name = |i: u64| format!("dir/{:05}", i * 7919 % n).into_bytes();
    let files = (0..n).flat_map(|i| file(&name(i), &(i * 7919 % n).to_le_bytes()));
    let links = (0..n).flat_map(|i| header(format!("links/{:02}/{i}", i % 100).as_bytes(), b'1', 0, &name(i)));
    let archive: Vec<u8> = files.chain(links).chain(END).collect();
    let report = bench.run(bytes_stream("", archive)).unwrap();
    assert_eq!((report.error_count, report.summary.files_new), (0, 2 * n));
    let snapshot = select(&bench.repository, &report.snapshot.unwrap(), b"").unwrap().snapshot;
    let mut last: Option<Vec<u8>> = None;
    let mut linked = 0;
    list(&bench.repository, &snapshot, b"dir", true, |_, entry| {
        linked += u64::from(entry.links == 2);
        assert!(last.as_ref().is_none_or(|last| *last < entry.name.0) || entry.kind == EntryKind::Directory);
        last = (entry.kind == EntryKind::File).then(|| entry.name.0.clone());
        Ok(true)
    })
    .unwrap();
    assert_eq!(linked, n);
    let path = b"links/42/142";
    assert_eq!(dump_path(&bench.repository, &report.snapshot.unwrap(), path).unwrap(), (142u64 * 7919 % n).to_le_bytes());
}

/// Five gigabytes of which almost nothing is there, in each of GNU tar's four ways.
#[test]
fn a_sparse_file_of_five_gigabytes_costs_what_is_in_it() {
    let bench = Bench::new();
    let sparse = fs::File::create(bench.src().join("disk.img")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    for (at, n) in [(0u64, 1), (1 << 20, 2), ((4 << 30) + 4096, 3), ((5 << 30) - 8192, 4)] {
        sparse.write_all_at(&noise(n, 8192), at).unwrap();
    }
    let mut digests = std::collections::BTreeSet::new();
    for format in [
        &["--format=oldgnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix"],
    ] {
        let archive = ok("tar", &[&["c", "--sparse"], format, &["disk.img"]].concat(), &bench.src(), b"");
        assert!(archive.len() < 100_000);
        let report = bench.run(bytes_stream("vol", archive)).unwrap();
        assert_eq!((report.error_count, report.summary.bytes_total), (0, 5 << 30));
        let snapshot = select(&bench.repository, &report.snapshot.unwrap(), b"").unwrap().snapshot;
        digests.insert(snapshot.index.roots[0].lists.unwrap().to_string());
        let target = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
        restore_to(&bench.repository, &report.snapshot.unwrap(), b"vol", target.path()).unwrap();
        let restored = fs::File::open(target.path().join("disk.img")).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&restored.metadata().unwrap());
        assert!(blocks < 1000, "{blocks} blocks");
        for (at, n) in [(0u64, 1), (1 << 20, 2), ((4 << 30) + 4096, 3), ((5 << 30) - 8192, 4)] {
            let mut found = vec![0; 8192];
            restored.read_exact_at(&mut found, at).unwrap();
            assert!(found == noise(n, 8192), "{format:?} at {at}");
        }
    }
    assert_eq!(digests.len(), 1, "one file, one list of chunks, whatever the archive calls its holes");
    // And the file on its disk has the same.
    assert_eq!(backup_paths(&bench.repository, &[bench.src()]).unwrap().summary.data_chunks, 0);
}
