//! What a file is: its name and kind, its times, its other names, its holes.

use super::bench::*;
use crate::cli::{ended, lines};
use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, makedev};
use seabed_engine::list::list;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{backup_paths, init, select};
use seabed_tests::trees::{noise, set_mtime};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, lchown, symlink};
use std::path::PathBuf;
use std::sync::Arc;

#[test]
pub(super) fn names() {
    let bench = Bench::new();
    let odd: [&[u8]; 6] = [b"\xff\xfe", b"new\nline", b"-rf", b" ", &[b'x'; 255], "\u{e9}".as_bytes()];
    for name in odd {
        fs::create_dir(bench.source("").join(OsStr::from_bytes(name))).unwrap();
        fs::write(bench.source("").join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), name).unwrap();
    }
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    for name in odd {
        assert_eq!(fs::read(place.join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name))).unwrap(), name);
    }
}

#[test]
pub(super) fn kinds() {
    let bench = Bench::new();
    bench.file("dir/file");
    fs::create_dir(bench.source("empty")).unwrap();
    fs::write(bench.source("empty file"), b"").unwrap();
    for (name, target) in [("to", "dir/file"), ("dangling", "nowhere"), ("out", "/etc/passwd")] {
        symlink(target, bench.source(name)).unwrap();
    }
    lchown(bench.source("dangling"), Some(1234), Some(4321)).unwrap();
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    assert!(place.join("out").is_symlink() && place.join("empty").is_dir() && place.join("dir/file").is_file());
}

#[test]
pub(super) fn fifos_and_sockets() {
    let bench = Bench::new();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        node(&bench.source(name), kind, 0);
        lchown(bench.source(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    assert!(fs::metadata(place.join("fifo")).unwrap().file_type().is_fifo());
    // Nobody needs rights for them.
    ended(0, &bench.run_as_nobody("own", &[]), &[]);
    assert!(fs::metadata(bench.place("own").join("socket")).unwrap().file_type().is_socket());
}

#[test]
pub(super) fn device_nodes() {
    let bench = Bench::new();
    node(&bench.source("null"), FileType::CharacterDevice, makedev(1, 3));
    node(&bench.source("disk"), FileType::BlockDevice, makedev(259, 70_000));
    bench.file("file");
    bench.back_up(&[]);
    let run = bench.run("asked", &["--privileged"]);
    ended(0, &run, &[]);
    assert_eq!((bench.differences(&bench.place("asked")), complaints(&run)), (vec![], String::new()));
    // Root that did not say whether: left out, said at once and at the end, and how to have it.
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    let said = complaints(&run);
    assert!(said.contains("device nodes and all else that can lend rights are left out without --privileged, first of "), "{said}");
    assert!(said.contains("device nodes were not restored: 2 (needs --privileged), first "), "{said}");
    assert!(said.contains("--privileged --overwrite if-changed brings it") && said.lines().count() == 3, "{said}");
    let names = |place: PathBuf| fs::read_dir(place).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(bench.place("not")), ["file"]);
    // And that has it.
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(bench.differences(&bench.place("not")), [""; 0]);
    // Who says that they are not wanted hears nothing.
    let run = bench.run("without", &["--no-privileged"]);
    ended(0, &run, &[]);
    assert_eq!((names(bench.place("without")), complaints(&run)), (vec!["file".into()], String::new()));
    // Nor does a dry run promise what will not come.
    let dry = bench.run("dry", &["--dry-run", "--json"]);
    let summary = lines(&ended(3, &dry, &[])).pop().unwrap();
    let left_out = &summary["shortfalls"][0];
    assert_eq!(
        (&left_out["what"], &left_out["count"], &left_out["withheld"]),
        (&"device nodes".into(), &2.into(), &true.into()),
        "{summary}"
    );
    // Somebody else may not make them, whatever they say.
    for (name, more, why) in [("n1", &[][..], "needs root and --privileged"), ("n2", &["--privileged"], "needs root")] {
        let run = bench.run_as_nobody(name, more);
        ended(3, &run, more);
        let said = complaints(&run);
        assert!(said.contains(&format!("device nodes were not restored: 2 ({why}), first ")), "{said}");
        assert!(!said.contains("can lend rights"), "{said}");
    }
}

#[test]
pub(super) fn times_of_change() {
    let bench = Bench::new();
    bench.file("dir/file");
    symlink("nowhere", bench.source("link")).unwrap();
    node(&bench.source("fifo"), FileType::Fifo, 0);
    for (name, secs, nanos) in
        [("dir/file", -86_400, 999_999_999), ("dir", 1_000_000_000, 1), ("link", 4_000_000_000, 123_456_789), ("fifo", 0, 7), ("", 5, 5)]
    {
        set_mtime(&bench.source(name), secs, nanos);
    }
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    let place = bench.restored("without", 0, &["--no-times"]);
    for name in ["dir/file", "dir", "link", "fifo", ""] {
        let (then, now) = (fs::symlink_metadata(bench.source(name)).unwrap(), fs::symlink_metadata(place.join(name)).unwrap());
        assert_ne!(then.mtime(), now.mtime(), "{name}");
    }
}

#[test]
pub(super) fn times_of_access() {
    let bench = Bench::new();
    let path = bench.file("file");
    let (accessed, changed) = (Timespec { tv_sec: 77, tv_nsec: 7 }, Timespec { tv_sec: 88, tv_nsec: 8 });
    let times = Timestamps { last_access: accessed, last_modification: changed };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let atime = |place: PathBuf| fs::metadata(place.join("file")).map(|m| (m.atime(), m.atime_nsec())).unwrap();
    bench.back_up(&[]);
    assert_ne!(atime(bench.restored("back", 0, &[])).0, 77);
    assert_eq!(atime(bench.home.path("src")), (77, 7), "to read a file for a backup is no access");
    bench.back_up(&["--with-atime"]);
    assert_eq!(atime(bench.restored("asked", 0, &[])), (77, 7));
    assert_ne!(atime(bench.restored("without", 0, &["--no-times"])).0, 77);
}

#[test]
pub(super) fn times_that_nobody_sets() {
    let bench = Bench::new();
    let meta = fs::metadata(bench.file("file")).unwrap();
    let born = meta.created().expect("a file system that knows births").duration_since(std::time::UNIX_EPOCH).unwrap();
    // Nothing shows the time of birth yet: the engine is asked.
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let id = backup_paths(&repository, &[bench.source("file")]).unwrap().snapshot.unwrap();
    let mut stored = None;
    let snapshot = select(&repository, &id, b"").unwrap().snapshot;
    list(&repository, &snapshot, b"", true, |_, entry| {
        stored = entry.btime.filter(|_| entry.name.0 == b"file").map(|btime| (entry.ctime, btime)).or(stored);
        Ok(true)
    })
    .unwrap();
    let (ctime, btime) = stored.unwrap();
    assert_eq!((ctime.secs, i64::from(ctime.nanos)), (meta.ctime(), meta.ctime_nsec()));
    assert_eq!((btime.secs, btime.nanos), (born.as_secs() as i64, born.subsec_nanos()));
    bench.back_up(&[]);
    let back = fs::metadata(bench.restored("back", 0, &[]).join("file")).unwrap();
    assert!((back.ctime(), back.ctime_nsec()) > (meta.ctime(), meta.ctime_nsec()) && back.created().unwrap() > meta.created().unwrap());
}

#[test]
pub(super) fn hard_links() {
    let bench = Bench::new();
    bench.file("one/a");
    fs::create_dir(bench.source("two")).unwrap();
    fs::hard_link(bench.source("one/a"), bench.source("one/b")).unwrap();
    fs::hard_link(bench.source("one/a"), bench.source("two/c")).unwrap();
    symlink("x", bench.source("l1")).unwrap();
    fs::hard_link(bench.source("l1"), bench.source("two/l2")).unwrap();
    bench.home.ends(0, &["backup", "--init", "src/one", "src/two", "src/l1"]);
    let place = bench.restored("back", 0, &[]);
    let inode = |name: &str| fs::symlink_metadata(place.join(name)).map(|m| (m.ino(), m.nlink())).unwrap();
    assert_eq!((inode("one/a"), inode("one/a")), (inode("one/b"), inode("two/c")));
    assert_eq!((inode("one/a").1, inode("l1")), (3, inode("two/l2")));
}

#[test]
pub(super) fn holes() {
    let bench = Bench::new();
    let path = bench.file("sparse");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&noise(1, 8192), 1 << 20).unwrap();
    file.write_all_at(&noise(2, 4096), 40 << 20).unwrap();
    drop(file);
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    let meta = fs::metadata(place.join("sparse")).unwrap();
    assert!(meta.len() == 64 << 20 && meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}
