//! Trees as archives: what GNU tar, bsdtar, unzip and Python make of them is what was backed up; what cannot be had is left out and said, or
//! the archive is none that anybody takes for whole.
//! It obeys README.md and, for what a tar or zip is, the programs that read it.

use proptest::prelude::*;
use seabed_engine::archive::{ArchiveOptions, ArchiveReport, Format, archive};
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::error::{Error, Kind};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::{Observer, Silent};
use seabed_engine::repository::Repository;
use seabed_engine::restore::Pattern;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::store::s3::{S3Place, S3Store};
use seabed_tests::repo::{backup_paths, bytes_stream, init, open, options, select};
use seabed_tests::s3_server::{Fault, Operation, Rule, S3Server};
use seabed_tests::tools::{END, file, header, ok, pax, run, untar};
use seabed_tests::trees::{Tree, additions, apply, capture, differences, full, noise};
use sha2::Digest as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    store: Arc<MemoryStore>,
    repository: Repository,
}

/// An output that is only a pipe.
struct Pipe(Vec<u8>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        let dir = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        Bench { dir, store, repository }
    }

    fn src(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    /// The source as it is stored.
    fn stored(&self) -> Vec<u8> {
        self.src().as_os_str().as_bytes()[1..].to_vec()
    }

    fn backup(&self) -> SnapshotId {
        let report = backup_paths(&self.repository, &[self.src()]).unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        report.snapshot.unwrap()
    }

    fn write(&self, id: &SnapshotId, path: &[u8], options: &ArchiveOptions) -> (Result<ArchiveReport, Error>, Vec<u8>) {
        let mut out = Pipe(Vec::new());
        let selected = select(&self.repository, id, path).unwrap();
        let report = archive(&self.repository, &selected, options, &mut out, &Silent);
        (report, out.0)
    }

    /// The source as an archive, names beginning in it. Nothing may go wrong.
    fn archive(&self, id: &SnapshotId, format: Format) -> Vec<u8> {
        let (report, bytes) = self.write(id, &self.stored(), &ArchiveOptions::new(format));
        let report = report.unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        assert_eq!(report.bytes_written, bytes.len() as u64);
        bytes
    }

    fn scratch(&self) -> TempDir {
        tempfile::tempdir_in(self.dir.path()).unwrap()
    }
}

fn equal(what: &str, want: &Tree, have: &Tree) {
    let found = differences(want, have);
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

fn without(mut tree: Tree, kinds: &[u32]) -> Tree {
    tree.retain(|_, node| !kinds.contains(&node.kind()));
    tree
}

const SOCKET: u32 = 0o140_000;
const FIFO: u32 = 0o010_000;
const DEVICE: u32 = 0o020_000;

/// Members of a tar, as GNU tar lists them.
fn members(archive: &[u8]) -> Vec<String> {
    let listed = ok("tar", &["t", "--quoting-style=literal"], Path::new("/"), archive);
    String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect()
}

#[test]
fn a_tar_brings_everything_back() {
    let bench = Bench::new();
    full(&bench.src());
    fs::create_dir_all(bench.src().join(format!("{0}/{0}/{0}", "long".repeat(40)))).unwrap();
    fs::write(bench.src().join(format!("{0}/{0}/{0}/{0}", "long".repeat(40))), b"deep").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), bench.src().join("long target")).unwrap();
    for name in ["user.a=b%25", "user.\u{e9}"] {
        rustix::fs::setxattr(bench.src().join("empty"), name, b"x\0\ny", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let want = without(capture(&bench.src(), false), &[SOCKET]);
    let id = bench.backup();
    let (report, tar) = bench.write(&id, &bench.stored(), &ArchiveOptions::new(Format::Tar));
    let report = report.unwrap();
    assert_eq!((report.sockets, report.error_count, report.left_out.len()), (1, 0, 0));
    assert_eq!(report.files + report.directories, want.len() as u64);
    // GNU tar: directories have their times only if each comes before all that is in it, and nothing of it comes later.
    let out = bench.scratch();
    untar(&tar, out.path());
    equal("GNU tar", &want, &capture(out.path(), false));
    // bsdtar reads a negative time's fraction as one towards the future, and names of attributes as they stand.
    let out = bench.scratch();
    ok("bsdtar", &["-x", "-p", "--xattrs", "--acls", "-f", "-"], out.path(), &tar);
    let (mut want_bsd, mut have) = (want.clone(), capture(out.path(), false));
    for tree in [&mut want_bsd, &mut have] {
        tree.get_mut(&b"many/003"[..]).unwrap().mtime = (0, 0);
        tree.values_mut().for_each(|node| node.xattrs.retain(|name, _| !name.starts_with(b"user.a")));
    }
    equal("bsdtar", &want_bsd, &have);
    // Python: no attributes, times as floats have them, holes where its map says so.
    let out = bench.scratch();
    let script = "import sys, tarfile\nt = tarfile.open(fileobj=sys.stdin.buffer, mode='r|')\n\
                  trust = {'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}\n\
                  t.extractall('.', numeric_owner=True, **trust)";
    ok("python3", &["-c", script], out.path(), &tar);
    let (mut want_py, mut have) = (want.clone(), capture(out.path(), false));
    want_py.values_mut().chain(have.values_mut()).for_each(|node| {
        node.mtime = (0, 0);
        node.xattrs.clear();
    });
    equal("Python", &want_py, &have);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back_through_a_tar_and_a_zip(first in additions(25)) {
        let bench = Bench::new();
        fs::create_dir_all(bench.src().join("top")).unwrap();
        apply(&bench.src(), &first);
        let want = capture(&bench.src(), false);
        let id = bench.backup();
        let out = bench.scratch();
        untar(&bench.archive(&id, Format::Tar), out.path());
        let mut have = capture(out.path(), false);
        let mut want_tar = without(want.clone(), &[SOCKET]);
        // Small holes are not worth a map: they come as zeros.
        for node in want_tar.values_mut().chain(have.values_mut()) {
            let data: u64 = node.data.iter().map(|(from, to)| to - from).sum();
            if node.content.len() as u64 - data < 32 << 10 {
                node.data.clear();
            }
        }
        let found = differences(&want_tar, &have);
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
        // A zip: contents and modes, which stand in its directory: a reader that only goes forward does not see them. Names that are no
        // UTF-8 are read in its own way.
        let out = bench.scratch();
        let (report, zip) = bench.write(&id, &bench.stored(), &ArchiveOptions::new(Format::Zip));
        report.unwrap();
        let path = bench.dir.path().join("x.zip");
        fs::write(&path, &zip).unwrap();
        ok("bsdtar", &["-x", "-p", "-f", path.to_str().unwrap()], out.path(), b"");
        let plain = |tree: Tree| -> Vec<(Vec<u8>, u32, Vec<u8>)> {
            let kept = without(tree, &[SOCKET, FIFO, DEVICE]).into_iter().filter(|(path, _)| path.is_ascii());
            // A symlink has no mode of its own.
            kept.map(|(path, node)| (path, if node.kind() == 0o120_000 { node.kind() } else { node.mode }, node.content)).collect()
        };
        prop_assert_eq!(plain(want), plain(capture(out.path(), false)));
    }
}

#[test]
fn a_zip_is_read_by_everybody() {
    let bench = Bench::new();
    full(&bench.src());
    let want = capture(&bench.src(), false);
    let id = bench.backup();
    let (report, zip) = bench.write(&id, &bench.stored(), &ArchiveOptions::new(Format::Zip));
    let mut left_out: Vec<_> = report.unwrap().left_out.into_iter().map(|(what, count, _)| (what, count)).collect();
    left_out.sort();
    assert_eq!(left_out, [("device nodes", 1), ("fifos", 1)]);
    let path = bench.dir.path().join("x.zip");
    fs::write(&path, &zip).unwrap();
    ok("unzip", &["-tqq", "x.zip"], bench.dir.path(), b"");
    ok("bsdtar", &["-tf", "-"], bench.dir.path(), &zip);
    let script = "import hashlib, sys, zipfile\nz = zipfile.ZipFile('x.zip')\n\
                  for i in z.infolist():\n    print('%o' % (i.external_attr >> 16), hashlib.sha256(z.read(i)).hexdigest(), i.filename)";
    let listed = String::from_utf8(ok("python3", &["-c", script], bench.dir.path(), b"")).unwrap();
    let mut seen = 0;
    for (path, node) in without(want, &[SOCKET, FIFO, DEVICE]) {
        let Ok(mut name) = String::from_utf8(path) else { continue };
        if node.is_dir() {
            name.push('/');
        }
        let mode = if node.kind() == 0o120_000 { 0o120_777 } else { node.mode };
        let digest = seabed_engine::id::hex(&sha2::Sha256::digest(&node.content));
        let line = format!("{mode:o} {digest} {name}");
        assert!(listed.contains(&format!("{line}\n")), "{line} in {listed}");
        seen += 1;
    }
    assert!(seen > 300);
    // The same content in two members of a zip is twice there, and deflated where that helps.
    assert!(zip.len() < 9_000_001 * 2 + 2_000_000 + 1_000_000, "{}", zip.len());
}

/// The name of a directory has a `/` behind it, which nobody counted: one of 65,535 bytes was written as one of none, and no program could
/// read the zip.
#[test]
fn a_zip_leaves_out_a_directory_whose_name_it_has_no_room_for() {
    let bench = Bench::new();
    let long = vec![b"d".repeat(255); 256].join(&b'/');
    assert_eq!(long.len(), 65_535);
    let dir = |path: &[u8]| [pax(b'x', &[("path", path)]), header(b"d/", b'5', 0, b"")].concat();
    let tars = vec![bytes_stream("", [dir(&long), dir(&long[..65_534]), END.to_vec()].concat())];
    let id = backup(&bench.repository, BackupOptions { tars, ..options(&[]) }, &Silent).unwrap().snapshot.unwrap();
    let (report, zip) = bench.write(&id, b"", &ArchiveOptions::new(Format::Zip));
    assert_eq!(report.unwrap().left_out, [("paths of more than 65,535 bytes", 1, long)]);
    fs::write(bench.dir.path().join("x.zip"), zip).unwrap();
    let script = "import zipfile\nnames = zipfile.ZipFile('x.zip').namelist()\nprint(len(names), max(map(len, names)))";
    assert_eq!(ok("python3", &["-c", script], bench.dir.path(), b""), b"256 65535\n");
}

/// A terabyte of hole must not be a terabyte of archive, and five gigabytes must be read back by who reads it.
#[test]
fn a_sparse_file_of_five_gigabytes_is_a_short_tar_and_a_zip_of_64_bits() {
    let bench = Bench::new();
    let image = fs::File::create(bench.src().join("disk.img")).unwrap();
    image.set_len(5 << 30).unwrap();
    for (at, n) in [(0u64, 1), (1 << 20, 2), ((4 << 30) + 4096, 3), ((5 << 30) - 8192, 4)] {
        image.write_all_at(&noise(n, 8192), at).unwrap();
    }
    fs::File::create(bench.src().join("empty.img")).unwrap().set_len(1 << 40).unwrap();
    let id = bench.backup();
    let tar = bench.archive(&id, Format::Tar);
    assert!(tar.len() < 100_000, "{}", tar.len());
    let out = bench.scratch();
    untar(&tar, out.path());
    let meta = fs::metadata(out.path().join("disk.img")).unwrap();
    assert!((meta.len(), meta.blocks() < 1000) == (5 << 30, true), "{meta:?}");
    let restored = fs::File::open(out.path().join("disk.img")).unwrap();
    for (at, n) in [(0u64, 1), (1 << 20, 2), ((4 << 30) + 4096, 3), ((5 << 30) - 8192, 4)] {
        let mut found = vec![0; 8192];
        restored.read_exact_at(&mut found, at).unwrap();
        assert!(found == noise(n, 8192), "at {at}");
    }
    assert_eq!(fs::metadata(out.path().join("empty.img")).map(|m| (m.len(), m.blocks())).unwrap(), (1 << 40, 0));
    // The zip without the terabyte, which would take unzip an hour.
    let only = ArchiveOptions { below: b"disk.img".to_vec(), ..ArchiveOptions::new(Format::Zip) };
    let (report, zip) = bench.write(&id, &bench.stored(), &only);
    assert_eq!(report.unwrap().bytes, 5 << 30);
    assert!(zip.len() < 10_000_000, "{}", zip.len());
    fs::write(bench.dir.path().join("x.zip"), zip).unwrap();
    ok("unzip", &["-tqq", "x.zip"], bench.dir.path(), b"");
    let listed = ok("unzip", &["-l", "x.zip"], bench.dir.path(), b"");
    assert!(String::from_utf8_lossy(&listed).contains("5368709120"));
}

/// Names begin where the selection does, as in a restore; a single file is an archive of one.
#[test]
fn names_begin_where_the_selection_does() {
    let bench = Bench::new();
    for name in ["d/one", "d/e/two", "d.e/three", "f"] {
        let path = bench.src().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::hard_link(bench.src().join("f"), bench.src().join("d/link")).unwrap();
    let id = bench.backup();
    let top = String::from_utf8(bench.stored()).unwrap();
    let listed = |path: &str, below: &str| {
        let with = ArchiveOptions { below: below.as_bytes().to_vec(), ..ArchiveOptions::new(Format::Tar) };
        let (report, tar) = bench.write(&id, path.as_bytes(), &with);
        report.unwrap();
        members(&tar)
    };
    assert_eq!(listed(&top, ""), ["f", "d/", "d/link", "d/one", "d/e/", "d/e/two", "d.e/", "d.e/three"]);
    assert_eq!(listed(&top, "d"), ["d/", "d/link", "d/one", "d/e/", "d/e/two"]);
    assert_eq!(listed(&format!("{top}/d"), ""), ["link", "one", "e/", "e/two"]);
    assert_eq!(listed(&format!("{top}/d/one"), ""), ["one"]);
    assert_eq!(listed("", &format!("{top}/d/e")), [format!("{top}/d/e/"), format!("{top}/d/e/two")]);
    assert_eq!(listed("", &format!("{top}/f")), [format!("{top}/f")]);
    // All of it, with what leads there.
    let all = listed("", "");
    assert_eq!(all.last().unwrap(), &format!("{top}/d.e/three"));
    assert_eq!(all[0], format!("{}/", top.split('/').next().unwrap()));
    let missing = ArchiveOptions { below: b"nowhere".to_vec(), ..ArchiveOptions::new(Format::Tar) };
    assert!(matches!(bench.write(&id, top.as_bytes(), &missing).0, Err(Error::NoSuchPath { .. })));
    // A link whose first name is not in the archive is a file there.
    let (_, tar) = bench.write(&id, format!("{top}/d").as_bytes(), &ArchiveOptions::new(Format::Tar));
    let out = bench.scratch();
    untar(&tar, out.path());
    assert_eq!(fs::read(out.path().join("link")).unwrap(), b"f");
}

#[test]
fn patterns_choose_and_directories_lead_to_what_is_chosen() {
    let bench = Bench::new();
    for name in ["a/x.log", "a/b/y.log", "a/b/z.txt", "c/w.txt", "c/empty/.keep", "v.log"] {
        let path = bench.src().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fs::set_permissions(bench.src().join("a/b"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let id = bench.backup();
    let pattern = |text: &str| Pattern { text: text.as_bytes().to_vec(), fold_case: false };
    let listed = |include: &[&str], exclude: &[&str]| {
        let (include, exclude) = (include.iter().map(|t| pattern(t)).collect(), exclude.iter().map(|t| pattern(t)).collect());
        let (report, tar) = bench.write(&id, &bench.stored(), &ArchiveOptions { include, exclude, ..ArchiveOptions::new(Format::Tar) });
        report.unwrap();
        members(&tar)
    };
    assert_eq!(listed(&["*.log"], &[]), ["v.log", "a/", "a/x.log", "a/b/", "a/b/y.log"]);
    assert_eq!(listed(&["*.log"], &["b"]), ["v.log", "a/", "a/x.log"]);
    assert_eq!(listed(&["/a/b"], &[]), ["a/", "a/b/", "a/b/y.log", "a/b/z.txt"]);
    assert_eq!(listed(&["/c/empty"], &["*.keep"]), ["c/", "c/empty/"]);
    assert_eq!(listed(&[], &["a", "*.log"]), ["c/", "c/w.txt", "c/empty/", "c/empty/.keep"]);
    assert_eq!(listed(&["nothing"], &[]), [""; 0]);
}

#[test]
fn streams_and_archives_beside_the_tree_are_members_too() {
    let bench = Bench::new();
    fs::write(bench.src().join("f"), b"file").unwrap();
    let tars = vec![bytes_stream("vol", [file(b"sub/x", b"of the archive"), header(b"y", b'1', 0, b"sub/x"), END.to_vec()].concat())];
    let streams = vec![bytes_stream("dumps/a.sql", noise(1, 5_000_000)), bytes_stream("dumps/b.sql", Vec::new())];
    let report = backup(&bench.repository, BackupOptions { tars, streams, ..options(&[bench.src()]) }, &Silent).unwrap();
    let id = report.snapshot.unwrap();
    let (report, tar) = bench.write(&id, b"", &ArchiveOptions::new(Format::Tar));
    report.unwrap();
    let out = bench.scratch();
    untar(&tar, out.path());
    assert!(fs::read(out.path().join("dumps/a.sql")).unwrap() == noise(1, 5_000_000));
    assert_eq!(fs::read(out.path().join("vol/sub/x")).unwrap(), b"of the archive");
    assert_eq!(fs::metadata(out.path().join("vol/y")).unwrap().nlink(), 2);
    assert_eq!(fs::read(out.path().join(bench.src().strip_prefix("/").unwrap()).join("f")).unwrap(), b"file");
    // A directory that nobody asked for has no time of its own: it gets the snapshot's.
    assert!(fs::metadata(out.path().join("vol/sub")).unwrap().mtime() > 1_000_000_000);
    let (report, tar) = bench.write(&id, b"dumps", &ArchiveOptions::new(Format::Tar));
    report.unwrap();
    assert_eq!(members(&tar), ["a.sql", "b.sql"]);
}

/// Files that a pack of the repository held alone, where that is gone.
fn damaged() -> (Bench, SnapshotId) {
    let bench = Bench::new();
    for n in 0..40 {
        fs::write(bench.src().join(format!("a{n:02}")), noise(n, 3000)).unwrap();
    }
    bench.backup();
    let before: Vec<_> = bench.store.list("data").unwrap().into_iter().map(|object| object.name).collect();
    fs::write(bench.src().join("a05"), noise(1000, 20_000)).unwrap();
    fs::hard_link(bench.src().join("a05"), bench.src().join("z link")).unwrap();
    fs::write(bench.src().join("long"), noise(1001, 6_000_000)).unwrap();
    let id = bench.backup();
    for object in bench.store.list("data").unwrap().into_iter().filter(|object| !before.contains(&object.name)) {
        bench.store.delete(&object.name).unwrap();
    }
    (bench, id)
}

#[test]
fn an_archive_that_lacks_something_is_no_archive() {
    let (bench, id) = damaged();
    for format in [Format::Tar, Format::Zip] {
        let (report, bytes) = bench.write(&id, &bench.stored(), &ArchiveOptions::new(format));
        let error = report.unwrap_err();
        assert_eq!(error.kind(), Kind::Damage, "{error}");
        assert!(error.to_string().contains("/a05"), "{error}");
        let read = match format {
            Format::Tar => run("tar", &["t"], bench.dir.path(), &bytes),
            Format::Zip => {
                fs::write(bench.dir.path().join("x.zip"), &bytes).unwrap();
                run("unzip", &["-tqq", "x.zip"], bench.dir.path(), b"")
            }
        };
        // It ends at the end of a member, where GNU tar would ask for nothing more.
        assert!(!read.status.success(), "{format:?} of {} bytes passed for whole", bytes.len());
    }
    // In the middle of a long file.
    let only = ArchiveOptions { below: b"long".to_vec(), ..ArchiveOptions::new(Format::Tar) };
    let (report, bytes) = bench.write(&id, &bench.stored(), &only);
    assert!(report.unwrap_err().to_string().contains("/long"));
    assert!(!run("tar", &["t"], bench.dir.path(), &bytes).status.success());
}

#[test]
fn with_keep_going_what_is_lost_is_left_out_and_the_rest_is_whole() {
    let (bench, id) = damaged();
    for format in [Format::Tar, Format::Zip] {
        let (report, bytes) = bench.write(&id, &bench.stored(), &ArchiveOptions { keep_going: true, ..ArchiveOptions::new(format) });
        let report = report.unwrap();
        let mut lost: Vec<String> = report.errors.iter().map(|e| e.to_string().split(':').next().unwrap().to_owned()).collect();
        lost.sort();
        assert_eq!(lost, ["cannot restore /a05", "cannot restore /long", "cannot restore /z link"]);
        let out = bench.scratch();
        match format {
            Format::Tar => untar(&bytes, out.path()),
            Format::Zip => drop(ok("bsdtar", &["-x", "-f", "-"], out.path(), &bytes)),
        }
        let have = capture(out.path(), false);
        assert_eq!(have.len(), 39);
        for n in (0..40).filter(|n| *n != 5) {
            assert_eq!(have[format!("a{n:02}").as_bytes()].content, noise(n, 3000));
        }
    }
}

/// Ends when so much was written.
struct Until(AtomicU64);

impl Observer for Until {
    fn interrupted(&self) -> bool {
        self.0.fetch_add(1, SeqCst) > 20
    }
}

#[test]
fn an_archive_that_is_interrupted_ends_soon_and_is_none() {
    let bench = Bench::new();
    for n in 0..3000 {
        fs::write(bench.src().join(format!("{n}")), noise(n, 10_000)).unwrap();
    }
    let id = bench.backup();
    let selected = select(&bench.repository, &id, &bench.stored()).unwrap();
    let mut out = Pipe(Vec::new());
    let stopped = archive(&bench.repository, &selected, &ArchiveOptions::new(Format::Tar), &mut out, &Until(AtomicU64::new(0)));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(!run("tar", &["t"], bench.dir.path(), &out.0).status.success());
    /// A reader that leaves.
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Tar, Format::Zip] {
        let gone = archive(&bench.repository, &selected, &ArchiveOptions::new(format), &mut Full, &Silent);
        assert!(matches!(gone, Err(Error::Output { source }) if source.kind() == io::ErrorKind::BrokenPipe));
    }
}

/// What a file's first name holds says what its others hold, unless its inode became another file's.
#[test]
fn attributes_may_stay_behind() {
    let bench = Bench::new();
    full(&bench.src());
    let id = bench.backup();
    let plain = ArchiveOptions { numeric_owner: true, xattrs: false, ..ArchiveOptions::new(Format::Tar) };
    let (report, tar) = bench.write(&id, &bench.stored(), &plain);
    report.unwrap();
    let out = bench.scratch();
    untar(&tar, out.path());
    assert!(capture(out.path(), false).values().all(|node| node.xattrs.is_empty()));
    let listed = ok("tar", &["tv"], bench.dir.path(), &tar);
    assert!(!String::from_utf8_lossy(&listed).contains("root"), "owners by number alone");
}

/// From far away 3,000 small files were one request after the other.
#[test]
fn an_archive_asks_for_the_next_pack_before_it_has_the_first() {
    let (server, source) = (S3Server::start(), tempfile::tempdir().unwrap());
    let store = || Arc::new(S3Store::open(S3Place::parse(&server.url("x")).unwrap(), crate::s3::quick()).unwrap());
    let repository = init(store(), None).unwrap();
    let (mut packs, mut snapshot): (Vec<String>, _) = (Vec::new(), None);
    for (n, name) in ["a", "b"].iter().enumerate() {
        fs::write(source.path().join(name), noise(n as u64, 200_000)).unwrap();
        snapshot = backup_paths(&repository, &[source.path().to_owned()]).unwrap().snapshot;
        let keys = server.objects().into_keys().filter(|key| key.starts_with("x/data/"));
        packs.extend(keys.filter(|key| !packs.contains(key)).collect::<Vec<_>>());
    }
    let [first, second] = &packs[..] else { panic!("a pack for each backup: {packs:?}") };
    let repository = open(store(), None).unwrap();
    let selected = select(&repository, &snapshot.unwrap(), &source.path().as_os_str().as_bytes()[1..]).unwrap();
    server.clear_log();
    // The footer of the first comes, and nothing else of it.
    server.inject(Rule::new(Fault::StallBefore).on(Operation::GetObject).key(first).skip(1).for_ever());
    let tar = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut out = Pipe(Vec::new());
            archive(&repository, &selected, &ArchiveOptions::new(Format::Tar), &mut out, &Silent).unwrap();
            out.0
        });
        server.wait_until(|log| log.iter().any(|request| request.key == *second));
        server.clear_faults();
        server.release_stalls();
        writing.join().unwrap()
    });
    let out = tempfile::tempdir().unwrap();
    untar(&tar, out.path());
    assert_eq!(differences(&capture(source.path(), false), &capture(out.path(), false)), [""; 0]);
}
