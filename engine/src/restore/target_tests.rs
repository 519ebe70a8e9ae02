//! Tests of the restore target. Those about owners and devices need root and say nothing without.

use super::*;
use crate::format::entry::{EntryKind, Xattr};
use crate::format::wire::{Bytes, Time};
use crate::observe::Action;
use crate::restore::attrs::AttributeNames;
use crate::restore::file::Decision;
use crate::restore::shortfalls::{DEVICES, LOCKING, SETUID};
use crate::source::Completer;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn entry(name: &str, kind: EntryKind) -> Entry {
    let mut e = Entry::new(name.as_bytes(), kind);
    e.mode = 0o644;
    (e.uid, e.gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    e.mtime = Time { secs: 1_600_000_000, nanos: 123_456_789 };
    e
}

fn options() -> TargetOptions {
    TargetOptions { numeric_owner: true, privileged: is_root(), ..TargetOptions::default() }
}

fn with(overwrite: Overwrite, delete: bool) -> TargetOptions {
    TargetOptions { overwrite, delete, ..options() }
}

fn put(t: &Target, dir: &[u8], e: &Entry, bytes: &[u8]) -> Result<Action> {
    let dir = t.directory(dir)?;
    let file = t.begin_file(&dir, e)?;
    file.write_at(bytes, 0).unwrap();
    let placed = t.publish(file, e)?;
    assert!(placed.problems.is_empty(), "{:?}", placed.problems);
    Ok(placed.action)
}

/// Targets of every way of doing things: with and without files that have no name, links by descriptor, `openat2`; empty or not.
fn every_way(check: impl Fn(&Path, &Target)) {
    for way in 0..16 {
        let tmp = tempfile::tempdir().unwrap();
        if way & 8 != 0 {
            fs::write(tmp.path().join("something"), "x").unwrap();
        }
        let t = Target::open(tmp.path(), options()).unwrap();
        assert_eq!(t.plain, way & 8 == 0);
        t.tmpfile.store(way & 1 == 0, Ordering::Relaxed);
        t.link_empty.store(way & 2 == 0, Ordering::Relaxed);
        t.openat2.store(way & 4 == 0, Ordering::Relaxed);
        check(tmp.path(), &t);
        assert_eq!(t.tmpfile.load(Ordering::Relaxed), way & 1 == 0);
        let left: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|d| d.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| !n.as_bytes().starts_with(b".seabed-")), "{left:?}");
    }
}

#[test]
fn files_have_all_their_attributes() {
    every_way(|path, t| {
        for (name, mode, secs) in
            [("a", 0o644, 1), ("b", 0o400, -5), ("c", if is_root() { 0o4755 } else { 0o755 }, 0), ("d", 0o666, -2_000_000_000)]
        {
            let mut e = entry(name, EntryKind::File);
            (e.mode, e.mtime.secs) = (mode, secs);
            if is_root() {
                (e.uid, e.gid) = (1234, 5678);
            }
            e.atime = Some(Time { secs: 7, nanos: 1 });
            e.xattrs = vec![Xattr { name: Bytes(b"user.x".to_vec()), value: Bytes(b"\0\xff".to_vec()), extra: Vec::new() }];
            assert_eq!(put(t, b"p/q", &e, name.as_bytes()).unwrap(), Action::Restored);
            let file = path.join("p/q").join(name);
            let m = fs::symlink_metadata(&file).unwrap();
            assert_eq!((m.mode() & 0o7777, m.uid(), m.gid(), m.nlink()), (mode, e.uid, e.gid, 1));
            assert_eq!((m.mtime(), m.mtime_nsec(), m.atime(), m.atime_nsec()), (secs, 123_456_789, 7, 1));
            assert_eq!(fs::read(&file).unwrap(), name.as_bytes());
            let mut value = [0; 8];
            assert_eq!(rustix::fs::getxattr(&file, c"user.x", &mut value[..]).unwrap(), 2);
        }
        let plain = entry("plain", EntryKind::File);
        put(t, b"", &plain, b"").unwrap();
        assert_eq!(fs::metadata(path.join("plain")).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(path.join("p")).unwrap().mode() & 0o7777, 0o700);
        let mut d = entry("q", EntryKind::Directory);
        d.mode = 0o1555;
        assert!(t.finish_directory(b"p/q", &d).unwrap().is_empty());
        let m = fs::metadata(path.join("p/q")).unwrap();
        assert_eq!((m.mode() & 0o7777, m.mtime(), m.mtime_nsec()), (0o1555, 1_600_000_000, 123_456_789));
        assert!(t.finish().is_empty());
    });
}

/// user::rw-, user:1234:r--, group::r--, mask::r--, other::---, as `setfacl` would store it.
fn acl() -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

#[test]
fn acls_and_capabilities_come_back() {
    if !is_root() {
        return;
    }
    let acl = acl();
    let mut cap = vec![0; 20];
    (cap[3], cap[0], cap[5]) = (2, 1, 4);
    let attrs = [("security.capability", cap), ("system.posix_acl_access", acl.clone()), ("trusted.t", b"1".to_vec())];
    every_way(|path, t| {
        let mut e = entry("f", EntryKind::File);
        e.mode = 0o640;
        (e.uid, e.gid) = (1000, 1000);
        e.xattrs =
            attrs.iter().map(|(n, v)| Xattr { name: Bytes(n.as_bytes().to_vec()), value: Bytes(v.clone()), extra: Vec::new() }).collect();
        put(t, b"", &e, b"x").unwrap();
        let mut d = entry("d", EntryKind::Directory);
        d.mode = 0o750;
        d.xattrs = vec![Xattr { name: Bytes(b"system.posix_acl_default".to_vec()), value: Bytes(acl.clone()), extra: Vec::new() }];
        t.directory(b"d").unwrap();
        assert!(t.finish_directory(b"d", &d).unwrap().is_empty());
        assert!(t.finish().is_empty(), "{:?}", t.finish());
        // Read back by the module that reads sources.
        let top = fs::File::open(path).unwrap();
        for want in [&e, &d] {
            let mut got = Entry::new(&want.name.0, want.kind);
            assert!(Completer::new().complete(b"", top.as_fd(), &mut got, None).is_empty());
            assert_eq!(got.xattrs, want.xattrs);
        }
        assert_eq!(fs::metadata(path.join("f")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(path.join("d")).unwrap().mode() & 0o7777, 0o750);
        // A second time, without: the directory must not keep its old list.
        let again = Target::open(path, options()).unwrap();
        d.xattrs.clear();
        again.finish_directory(b"d", &d).unwrap();
        let mut got = Entry::new(b"d", EntryKind::Directory);
        Completer::new().complete(b"", top.as_fd(), &mut got, None);
        assert!(got.xattrs.is_empty());
    });
}

#[test]
fn links_nodes_and_hard_links() {
    every_way(|path, t| {
        let top = t.directory(b"").unwrap();
        let mut l = entry("l", EntryKind::Symlink);
        l.target = Bytes(b"../\xff/x".to_vec());
        let mut fifo = entry("fifo", EntryKind::Fifo);
        fifo.mode = 0o622;
        let sock = entry("sock", EntryKind::Socket);
        let mut dev = entry("dev", EntryKind::CharDevice);
        (dev.rdev_major, dev.rdev_minor, dev.mode) = (1, 300, 0o620);
        for e in [&mut l, &mut fifo, &mut dev] {
            if is_root() {
                (e.uid, e.gid) = (42, 43);
            }
        }
        for round in [Action::Restored, Action::Updated] {
            for e in [&l, &fifo, &sock, &dev] {
                let placed = t.special(&top, e).unwrap();
                assert!(placed.problems.is_empty());
                if e.kind == EntryKind::CharDevice && !is_root() {
                    assert_eq!(placed.action, Action::Skipped);
                    continue;
                }
                assert_eq!(placed.action, round);
                let m = fs::symlink_metadata(path.join(OsStr::from_bytes(&e.name.0))).unwrap();
                assert_eq!((m.uid(), m.gid(), m.mtime(), m.mtime_nsec()), (e.uid, e.gid, 1_600_000_000, 123_456_789));
                assert!(e.kind == EntryKind::Symlink || m.mode() & 0o7777 == e.mode);
            }
        }
        assert_eq!(fs::read_link(path.join("l")).unwrap().as_os_str().as_bytes(), b"../\xff/x");
        assert!(fs::metadata(path.join("fifo")).unwrap().file_type().is_fifo());
        assert_eq!(t.finish().len(), usize::from(!is_root()));

        let mut f = entry("one", EntryKind::File);
        f.links = 3;
        let file = t.begin_file(&top, &f).unwrap();
        let id = t.publish(file, &f).unwrap().id.unwrap();
        f.name = Bytes(b"two".to_vec());
        let sub = t.directory(b"sub").unwrap();
        assert_eq!(t.hard_link((&top, b"one"), id, &sub, &f).unwrap().action, Action::Restored);
        assert_eq!(t.hard_link((&top, b"one"), id, &sub, &f).unwrap().action, Action::Unchanged);
        fs::write(path.join("sub/three"), "old").unwrap();
        f.name = Bytes(b"three".to_vec());
        assert_eq!(t.hard_link((&top, b"one"), id, &sub, &f).unwrap().action, Action::Updated);
        assert_eq!(fs::metadata(path.join("one")).unwrap().nlink(), 3);
        assert_eq!(fs::read_dir(path.join("sub")).unwrap().count(), 2);
        assert!(t.hard_link((&top, b"fifo"), id, &sub, &f).is_err());
        // A symlink can have several names too.
        l.links = 2;
        l.name = Bytes(b"l1".to_vec());
        let id = t.special(&top, &l).unwrap().id.unwrap();
        l.name = Bytes(b"l2".to_vec());
        t.hard_link((&top, b"l1"), id, &top, &l).unwrap();
        assert_eq!(fs::symlink_metadata(path.join("l2")).unwrap().nlink(), 2);
    });
}

#[test]
fn flags_come_last_and_do_not_hinder_links() {
    if !is_root() {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let t = Target::open(tmp.path(), options()).unwrap();
    let top = t.directory(b"").unwrap();
    let mut e = entry("f", EntryKind::File);
    (e.flags, e.links) = (0x10 | 0x40, 2);
    let file = t.begin_file(&top, &e).unwrap();
    let id = t.publish(file, &e).unwrap().id.unwrap();
    e.name = Bytes(b"g".to_vec());
    t.hard_link((&top, b"f"), id, &top, &e).unwrap();
    if t.finish().is_empty() {
        let f = fs::File::open(tmp.path().join("g")).unwrap();
        assert_eq!(rustix::fs::ioctl_getflags(&f).unwrap().bits() & crate::source::meta::SETTABLE_FLAGS, 0x50);
        rustix::fs::ioctl_setflags(&f, rustix::fs::IFlags::from_bits_retain(rustix::fs::ioctl_getflags(&f).unwrap().bits() & !0x50))
            .unwrap();
    }
}

#[test]
fn sparse_files_stay_sparse() {
    every_way(|path, t| {
        let top = t.directory(b"").unwrap();
        let mut e = entry("s", EntryKind::File);
        e.size = 64 << 20;
        let file = t.begin_file(&top, &e).unwrap();
        file.write_at(&[1; 4096], 32 << 20).unwrap();
        file.set_len(64 << 20).unwrap();
        t.publish(file, &e).unwrap();
        let m = fs::metadata(path.join("s")).unwrap();
        assert!(m.len() == 64 << 20 && m.blocks() < 64, "{} blocks", m.blocks());
    });
}

#[test]
fn an_abandoned_file_leaves_nothing() {
    every_way(|path, t| {
        let top = t.directory(b"").unwrap();
        t.begin_file(&top, &entry("x", EntryKind::File)).unwrap().write_at(b"half", 0).unwrap();
        assert!(!path.join("x").exists());
    });
}

#[test]
fn what_stands_there_goes_or_stays_by_policy() {
    let tmp = tempfile::tempdir().unwrap();
    let p = tmp.path();
    let e = entry("f", EntryKind::File);
    let set = |secs: i64, text: &str| {
        fs::write(p.join("f"), text).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(secs as u64, 123_456_789);
        fs::File::options().write(true).open(p.join("f")).unwrap().set_modified(time).unwrap();
    };
    let mut sized = e.clone();
    sized.size = 3;
    for (policy, secs, text, want) in [
        (Overwrite::Always, 1_600_000_000, "abc", Decision::Replace),
        (Overwrite::Never, 1, "abc", Decision::Skip),
        (Overwrite::IfChanged, 1_600_000_000, "abc", Decision::Unchanged),
        (Overwrite::IfChanged, 1_600_000_000, "abcd", Decision::Replace),
        (Overwrite::IfChanged, 1_600_000_001, "abc", Decision::Replace),
        (Overwrite::IfNewer, 1_599_999_999, "abc", Decision::Replace),
        (Overwrite::IfNewer, 1_600_000_000, "abc", Decision::Skip),
    ] {
        set(secs, text);
        let t = Target::open(p, with(policy, false)).unwrap();
        assert_eq!(t.decide(&t.directory(b"").unwrap(), &sized).unwrap(), want, "{policy:?}");
        if want == Decision::Replace {
            assert_eq!(put(&t, b"", &e, b"new").unwrap(), Action::Updated);
            assert_eq!(fs::read(p.join("f")).unwrap(), b"new");
        }
    }
    let never = Target::open(p, with(Overwrite::Never, true)).unwrap();
    assert_eq!(put(&never, b"", &e, b"zzz").unwrap(), Action::Skipped);
    never.tmpfile.store(false, Ordering::Relaxed);
    assert_eq!(put(&never, b"", &e, b"zzz").unwrap(), Action::Skipped);
    assert_eq!(fs::read(p.join("f")).unwrap(), b"abc");
    assert!(never.directory(b"f").is_err() && never.directory(b"f/g").is_err());
    assert_eq!(never.decide(&never.directory(b"").unwrap(), &entry("no", EntryKind::File)).unwrap(), Decision::Create);

    // A file where a directory belongs, an empty and a full directory where a file belongs.
    let always = Target::open(p, with(Overwrite::Always, false)).unwrap();
    assert!(always.existing(b"f").unwrap().is_none());
    always.directory(b"f/deep").unwrap();
    assert!(put(&always, b"", &e, b"").is_err() && p.join("f/deep").is_dir());
    fs::remove_dir(p.join("f/deep")).unwrap();
    assert_eq!(put(&always, b"", &e, b"").unwrap(), Action::Updated);
    fs::remove_file(p.join("f")).unwrap();
    fs::create_dir_all(p.join("f/deep/er")).unwrap();
    let delete = Target::open(p, with(Overwrite::Always, true)).unwrap();
    assert_eq!(put(&delete, b"", &e, b"").unwrap(), Action::Updated);
    assert!(p.join("f").is_file());
    let names: Vec<_> = fs::read_dir(p).unwrap().map(|d| d.unwrap().file_name()).collect();
    assert_eq!(names, ["f"]);
}

#[test]
fn a_target_is_made_or_refused_and_a_dry_run_makes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let p = tmp.path();
    let t = Target::open(&p.join("a/b/c"), options()).unwrap();
    assert!(t.was_empty() && p.join("a/b/c").is_dir());
    fs::write(p.join("file"), "").unwrap();
    assert!(matches!(Target::open(&p.join("file"), options()), Err(Error::Target { .. })));
    let dry = Target::open(&p.join("new"), TargetOptions { dry_run: true, ..options() }).unwrap();
    assert!(dry.existing(b"x").unwrap().is_none() && dry.directory(b"x").is_err() && !p.join("new").exists());
    let dry = Target::open(p, TargetOptions { dry_run: true, ..options() }).unwrap();
    let top = dry.directory(b"").unwrap();
    assert!(dry.begin_file(&top, &entry("q", EntryKind::File)).is_err() && dry.special(&top, &entry("q", EntryKind::Fifo)).is_err());
    assert_eq!(dry.remove_extra::<&[u8]>(&top, &[b"a"]).unwrap().files, 1);
    assert!(p.join("file").exists());
}

#[test]
fn nothing_climbs_out() {
    let tmp = tempfile::tempdir().unwrap();
    let (out, p) = (tmp.path().join("out"), tmp.path().join("in"));
    fs::create_dir_all(&out).unwrap();
    fs::create_dir_all(&p).unwrap();
    fs::write(out.join("canary"), "alive").unwrap();
    let before = fs::metadata(&out).unwrap().mtime_nsec();
    for way in [true, false] {
        symlink("../out", p.join("evil")).unwrap();
        symlink("../out/canary", p.join("file")).unwrap();
        let kept = Target::open(&p, with(Overwrite::IfChanged, false)).unwrap();
        kept.openat2.store(way, Ordering::Relaxed);
        assert!(kept.directory(b"evil").is_err() && kept.directory(b"evil/x").is_err() && kept.existing(b"evil").unwrap().is_none());
        for bad in [&b".."[..], b"../out", b"/etc", b"a/../../out", b"a//b", b"./a", b"a/"] {
            assert!(kept.directory(bad).is_err(), "{}", bad.escape_ascii());
        }
        let top = kept.directory(b"").unwrap();
        for bad in ["..", ".", "", "a/b", "../out/x", "a\0b"] {
            assert!(kept.begin_file(&top, &entry(bad, EntryKind::File)).is_err());
            assert!(kept.special(&top, &entry(bad, EntryKind::Fifo)).is_err());
            assert!(kept.decide(&top, &entry(bad, EntryKind::File)).is_err());
        }
        let t = Target::open(&p, with(Overwrite::Always, true)).unwrap();
        t.openat2.store(way, Ordering::Relaxed);
        assert!(put(&t, b"evil/sub", &entry("x", EntryKind::File), b"x").is_err() && t.standing(b"evil").is_err());
        assert!(p.join("evil").is_symlink());
        fs::remove_file(p.join("evil")).unwrap();
        put(&t, b"evil/sub", &entry("x", EntryKind::File), b"x").unwrap();
        put(&t, b"", &entry("file", EntryKind::File), b"mine").unwrap();
        assert!(fs::symlink_metadata(p.join("evil")).unwrap().is_dir());
        // Removal takes the link and not what it points to.
        symlink("../../out", p.join("evil/link")).unwrap();
        let removed = t.remove_extra::<&[u8]>(&t.directory(b"").unwrap(), &[b"file"]).unwrap();
        assert_eq!((removed.files, removed.directories, removed.errors.len()), (2, 2, 0));
        // A directory that was removed is made again, not written into as a ghost.
        put(&t, b"evil/sub", &entry("x", EntryKind::File), b"x").unwrap();
        assert!(p.join("evil/sub/x").is_file());
        t.remove_extra::<&[u8]>(&t.directory(b"").unwrap(), &[]).unwrap();
        assert_eq!(fs::read_dir(&p).unwrap().count(), 0);
    }
    assert_eq!(fs::read(out.join("canary")).unwrap(), b"alive");
    assert_eq!((fs::read_dir(&out).unwrap().count(), fs::metadata(&out).unwrap().mtime_nsec()), (1, before));
}

#[test]
fn a_racing_swap_changes_nothing_outside() {
    let tmp = tempfile::tempdir().unwrap();
    let (out, p) = (tmp.path().join("out"), tmp.path().join("in"));
    fs::create_dir_all(out.join("sub")).unwrap();
    fs::create_dir_all(p.join("d/sub")).unwrap();
    fs::write(out.join("sub/canary"), "alive").unwrap();
    let look = || {
        let m = |p: &Path| fs::metadata(p).map(|m| (m.mtime_nsec(), m.ctime_nsec(), m.mode(), m.uid())).unwrap();
        (m(&out), m(&out.join("sub")), m(&out.join("sub/canary")))
    };
    let before = look();
    let stop = AtomicBool::new(false);
    let made = std::thread::scope(|s| {
        s.spawn(|| {
            // Every step may fail, since the restore makes a directory where none is.
            while !stop.load(Ordering::Relaxed) {
                fs::rename(p.join("d"), p.join("aside")).unwrap_or_default();
                symlink(&out, p.join("d")).unwrap_or_default();
                std::thread::yield_now();
                fs::remove_file(p.join("d")).unwrap_or_default();
                fs::rename(p.join("aside"), p.join("d")).unwrap_or_default();
            }
        });
        let start = std::time::Instant::now();
        let mut made = 0;
        for i in 0u64.. {
            if start.elapsed().as_millis() > 3000 {
                break;
            }
            // A new target every time, so that no descriptor is remembered.
            let t = Target::open(&p, with(Overwrite::Always, true)).unwrap();
            t.tmpfile.store(i % 2 == 0, Ordering::Relaxed);
            t.openat2.store(i % 4 < 2, Ordering::Relaxed);
            let mut e = entry("canary", EntryKind::File);
            e.mode = 0o777;
            made += u64::from(put(&t, b"d/sub", &e, b"dead").is_ok());
            e.kind = EntryKind::Symlink;
            e.target = Bytes(b"dead".to_vec());
            if let Ok(dir) = t.directory(b"d/sub") {
                made += u64::from(t.special(&dir, &e).is_ok());
            }
            t.finish_directory(b"d", &e).map(|_| ()).unwrap_or_default();
            if i % 16 == 0 {
                t.remove_extra::<&[u8]>(&t.directory(b"").unwrap(), &[]).map(|_| ()).unwrap_or_default();
            }
        }
        stop.store(true, Ordering::Relaxed);
        made
    });
    assert!(made > 100, "{made}");
    assert_eq!(look(), before);
    assert_eq!(fs::read(out.join("sub/canary")).unwrap(), b"alive");
    assert_eq!((fs::read_dir(&out).unwrap().count(), fs::read_dir(out.join("sub")).unwrap().count()), (1, 1));
}

/// Root's restore made every setuid file and device node true that whoever wrote into the repository had put there.
#[test]
fn what_nobody_asked_for_is_withheld_and_said_once() {
    let tmp = tempfile::tempdir().unwrap();
    let t = Target::open(tmp.path(), TargetOptions { privileged: false, ..options() }).unwrap();
    let top = t.directory(b"").unwrap();
    for i in 0..3 {
        let mut e = entry(&format!("f{i}"), EntryKind::File);
        (e.mode, e.flags) = (0o4755, 0x10 | 0x40);
        e.xattrs = vec![Xattr { name: Bytes(b"security.capability".to_vec()), value: Bytes(vec![1]), extra: Vec::new() }];
        put(&t, b"", &e, b"").unwrap();
        e.kind = EntryKind::BlockDevice;
        e.name = Bytes(format!("dev{i}").into_bytes());
        assert_eq!(t.special(&top, &e).unwrap().action, Action::Skipped);
        // Said when the first comes, and with the count at the end.
        assert_eq!(t.take_news().len(), if i == 0 { 4 } else { 0 });
    }
    assert_eq!(fs::metadata(tmp.path().join("f0")).unwrap().permissions().mode() & 0o7777, 0o755);
    let report = t.finish();
    assert!(report.iter().all(|s| s.withheld));
    let kinds: Vec<_> = report.iter().map(|s| (&s.what[..], s.count, s.first.file_name().unwrap().to_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            ("device nodes", 3, "dev0"),
            ("immutable and append-only flags", 3, "f0"),
            ("security.* attributes", 3, "f0"),
            ("setuid and setgid bits", 3, "f0")
        ]
    );
    // A dry run foresees the same.
    let dry = Target::open(tmp.path(), TargetOptions { dry_run: true, privileged: false, ..options() }).unwrap();
    let mut e = entry("f0", EntryKind::File);
    (e.mode, e.flags) = (0o2755, 0x20);
    dry.foresee(b"sub", b"f0", &e);
    e.kind = EntryKind::CharDevice;
    dry.foresee(b"", b"tty", &e);
    let kinds: Vec<_> = dry.finish().into_iter().map(|s| (s.what, s.first)).collect();
    let at = |what: &str, path: &str| (what.to_owned(), tmp.path().join(path));
    assert_eq!(kinds, [at(DEVICES, "tty"), at(LOCKING, "sub/f0"), at(SETUID, "sub/f0")]);
    // Directories hand their group down by that bit: it lends nothing.
    let mut d = entry("d", EntryKind::Directory);
    d.mode = 0o2755;
    t.directory(b"d").unwrap();
    t.finish_directory(b"d", &d).unwrap();
    assert_eq!(fs::metadata(tmp.path().join("d")).unwrap().mode() & 0o7777, 0o2755);
}

/// With `--no-owner`, somebody's setuid file came back as one of root's; so it did where the owner could not be set.
#[test]
fn a_setuid_bit_comes_back_with_its_owner_or_not_at_all() {
    for owners in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let t = Target::open(tmp.path(), TargetOptions { owners, privileged: true, ..options() }).unwrap();
        let mut e = entry("foreign", EntryKind::File);
        (e.uid, e.mode) = (e.uid + 4242, 0o6755);
        put(&t, b"", &e, b"").unwrap();
        let mut own = entry("own", EntryKind::File);
        own.mode = 0o6755;
        put(&t, b"", &own, b"").unwrap();
        let mode = |name: &str| fs::metadata(tmp.path().join(name)).unwrap().mode() & 0o7777;
        let given = owners && is_root();
        assert_eq!((mode("foreign"), mode("own")), (if given { 0o6755 } else { 0o755 }, 0o6755));
        assert_eq!(t.finish().iter().any(|s| s.what == SETUID && !s.withheld && s.count == 1), !given);
    }
}

#[test]
fn without_permissions_everything_is_as_new_files_are_here() {
    let tmp = tempfile::tempdir().unwrap();
    let t = Target::open(tmp.path(), TargetOptions { permissions: false, ..options() }).unwrap();
    for way in [true, false] {
        t.tmpfile.store(way, Ordering::Relaxed);
        for (name, mode) in [("secret", 0o600), ("nothing", 0), ("program", 0o6700), ("open", 0o666)] {
            let mut e = entry(&format!("{name}{way}"), EntryKind::File);
            (e.mode, e.xattrs) =
                (mode, vec![Xattr { name: Bytes(b"system.posix_acl_access".to_vec()), value: Bytes(acl()), extra: vec![] }]);
            put(&t, b"sub", &e, b"x").unwrap();
        }
    }
    let mut d = entry("sub", EntryKind::Directory);
    d.mode = 0o700;
    t.finish_directory(b"sub", &d).unwrap();
    let fifo = entry("fifo", EntryKind::Fifo);
    t.special(&t.directory(b"").unwrap(), &fifo).unwrap();
    assert!(t.finish().is_empty());
    let umask = t.umask;
    let mode = |name: &str| fs::metadata(tmp.path().join(name)).unwrap().mode() & 0o7777;
    for way in [true, false] {
        let names = ["secret", "nothing", "program", "open"].map(|name| mode(&format!("sub/{name}{way}")));
        assert_eq!(names, [0o666, 0o666, 0o777, 0o666].map(|mode| mode & !umask));
    }
    assert_eq!((mode("sub"), mode("fifo")), (0o777 & !umask, 0o666 & !umask));
    // What was there keeps what it had.
    fs::set_permissions(tmp.path().join("sub"), fs::Permissions::from_mode(0o1751)).unwrap();
    let again = Target::open(tmp.path(), TargetOptions { permissions: false, ..options() }).unwrap();
    again.directory(b"sub").unwrap();
    again.finish_directory(b"sub", &d).unwrap();
    assert_eq!(mode("sub"), 0o1751);
}

#[test]
fn patterns_choose_attributes_by_name() {
    let choose = |include: &[&str], exclude: &[&str]| {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let options = TargetOptions { include_xattrs: patterns(include), exclude_xattrs: patterns(exclude), ..options() };
        AttributeNames::new(&options).map(|names| {
            let all = ["security.capability", "system.posix_acl_access", "user.mime_type", "user.x.y", "user.with/slash"];
            all.into_iter().filter(|name| names.want(name.as_bytes())).collect::<Vec<_>>()
        })
    };
    assert_eq!(choose(&[], &[]).unwrap().len(), 5);
    assert_eq!(choose(&["user.*"], &["user.x.*"]).unwrap(), ["user.mime_type", "user.with/slash"]);
    assert_eq!(choose(&[], &["user.*", "security.*"]).unwrap(), ["system.posix_acl_access"]);
    assert_eq!(choose(&["system.posix_acl_*", "security.capability"], &[]).unwrap().len(), 2);
    assert!(choose(&["user.["], &[]).is_err());
    let without = TargetOptions { permissions: false, ..options() };
    let names = AttributeNames::new(&without).unwrap();
    assert!(names.want(b"user.x") && !names.want(b"system.posix_acl_access") && !names.want(b"system.posix_acl_default"));
}

#[test]
fn owners_by_name_win_over_numbers() {
    let tmp = tempfile::tempdir().unwrap();
    let t = Target::open(tmp.path(), TargetOptions { numeric_owner: false, ..options() }).unwrap();
    let mut e = entry("f", EntryKind::File);
    (e.uid, e.gid, e.user, e.group) = (777, 888, Bytes(b"root".to_vec()), Bytes(b"no such group".to_vec()));
    assert_eq!(t.owner_of(&e), (0, 888));
    assert_eq!(t.owner_of(&e), (0, 888));
}

#[test]
fn many_directories_and_deep_ones() {
    let tmp = tempfile::tempdir().unwrap();
    let t = Target::open(tmp.path(), options()).unwrap();
    for i in 0..2 * OPEN_MAX {
        t.directory(format!("a/{i}").as_bytes()).unwrap();
    }
    assert!(t.cache.lock().unwrap().dirs.len() <= OPEN_MAX);
    let deep = vec!["n".repeat(200); 100].join("/");
    put(&t, deep.as_bytes(), &entry("f", EntryKind::File), b"x").unwrap();
    let removed = t.remove_extra::<&[u8]>(&t.directory(b"").unwrap(), &[b"a"]).unwrap();
    assert_eq!((removed.files, removed.directories, removed.errors.len()), (1, 100, 0));
}
