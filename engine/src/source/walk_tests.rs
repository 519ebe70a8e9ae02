//! Tests of the walker, on real trees.

use super::*;
use crate::format::entry::{compare, split};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;

struct Walked {
    entries: Vec<(Vec<u8>, Entry)>,
    errors: Vec<SourceError>,
    excluded: u64,
}

impl Walked {
    /// Paths below `top`, those that only lead there left out.
    fn below(&self, top: &Path) -> Vec<String> {
        let top = &top.as_os_str().as_bytes()[1..];
        let strip = |p: &Vec<u8>| p.strip_prefix(top).and_then(|r| r.strip_prefix(b"/")).map(|r| r.escape_ascii().to_string());
        self.entries.iter().filter_map(|(p, _)| strip(p)).collect()
    }
    fn get(&self, path: &Path) -> &Entry {
        let path = &path.as_os_str().as_bytes()[1..];
        &self.entries.iter().find(|(p, _)| p == path).unwrap_or_else(|| panic!("no {}", path.escape_ascii())).1
    }
}

fn walk_with<P: AsRef<Path>>(roots: &[P], options: WalkOptions) -> Walked {
    let roots: Vec<PathBuf> = roots.iter().map(|p| p.as_ref().to_path_buf()).collect();
    let mut walker = Walker::new(&roots, options);
    let mut out = Walked { entries: Vec::new(), errors: Vec::new(), excluded: 0 };
    while let Some(item) = walker.next() {
        match item {
            WalkItem::Entry(e) => out.entries.push((join(&e.dir, &e.entry.name.0), e.entry)),
            WalkItem::Error(e) => out.errors.push(e),
        }
    }
    assert_eq!(walker.pending_open, 0);
    out.excluded = walker.excluded();
    for pair in out.entries.windows(2) {
        let (a, b) = (split(&pair[0].0), split(&pair[1].0));
        assert!(compare(a, b).is_lt(), "{:?} then {:?}", pair[0].0.escape_ascii().to_string(), pair[1].0.escape_ascii().to_string());
    }
    out
}

fn walk<P: AsRef<Path>>(roots: &[P]) -> Walked {
    walk_with(roots, WalkOptions::default())
}

fn tree(dir: &Path, files: &[&str]) {
    for f in files {
        let path = dir.join(f);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if f.ends_with('/') { fs::create_dir_all(path).unwrap() } else { fs::write(path, f).unwrap() }
    }
}

#[test]
fn many_roots_are_one_sorted_stream() {
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    tree(t, &["a/x/1", "a/x/2/deep", "a.b/q", "a-b", "b/z", "b/y/", "c/only/me", "c/not", "d/n1/n2/f", "d/o"]);
    let got =
        walk(&[t.join("b"), t.join("a"), t.join("a/x"), t.join("a"), t.join("a.b"), t.join("c/only/me"), t.join("a-b"), t.join("nope/x")]);
    assert_eq!(
        got.below(t),
        ["a", "a-b", "a.b", "b", "c", "a/x", "a/x/1", "a/x/2", "a/x/2/deep", "a.b/q", "b/y", "b/z", "c/only", "c/only/me"]
    );
    let implied: Vec<_> = got.entries.iter().filter(|(_, e)| e.implied).map(|(p, _)| p.clone()).collect();
    assert!(implied.contains(&t.join("c").as_os_str().as_bytes()[1..].to_vec()) && !got.get(&t.join("a")).implied && got.get(t).implied);
    assert!(got.get(&t.join("c/only")).implied && !got.get(&t.join("c/only/me")).implied && !got.get(&t.join("a/x")).implied);
    assert_eq!(got.errors.len(), 1);
    assert_eq!(got.errors[0].path, t.join("nope/x"));

    let one = walk(&[t]);
    assert_eq!(one.below(t).len(), 20);
    assert!(!one.get(t).implied);
}

#[test]
fn attributes_are_those_of_lstat() {
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    let name = std::ffi::OsStr::from_bytes(b"\xff\xfe\n");
    fs::write(t.join(name), b"12345").unwrap();
    fs::hard_link(t.join(name), t.join("hard")).unwrap();
    fs::set_permissions(t.join("hard"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("nowhere", t.join("link")).unwrap();
    rustix::fs::mknodat(CWD, t.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(CWD, t.join("sock"), FileType::Socket, Mode::RUSR, 0).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        rustix::fs::mknodat(CWD, t.join("dev"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 300)).unwrap();
    }
    let got = walk_with(&[t], WalkOptions { with_atime: true, ..WalkOptions::default() });
    let kinds: BTreeMap<String, EntryKind> =
        got.below(t).into_iter().zip(got.entries.iter().skip(got.entries.len() - got.below(t).len()).map(|(_, e)| e.kind)).collect();
    assert_eq!(kinds["fifo"], EntryKind::Fifo);
    assert_eq!(kinds["sock"], EntryKind::Socket);
    assert_eq!(kinds["link"], EntryKind::Symlink);
    if root {
        let dev = got.get(&t.join("dev"));
        assert_eq!((dev.kind, dev.rdev_major, dev.rdev_minor), (EntryKind::CharDevice, 1, 300));
    }
    let (e, m) = (got.get(&t.join(name)), fs::metadata(t.join("hard")).unwrap());
    assert_eq!((e.mode, e.size, e.inode, e.links), (0o4711, 5, m.ino(), 2));
    assert_eq!((e.mtime.secs, e.mtime.nanos as i64), (m.mtime(), m.mtime_nsec()));
    assert_eq!((e.ctime.secs, e.ctime.nanos as i64), (m.ctime(), m.ctime_nsec()));
    assert!(e.atime.is_some() && got.get(t).links == 0);
}

#[test]
fn symlinks_are_followed_only_where_typed() {
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    tree(t, &["real/sub/f", "real/g"]);
    symlink("real", t.join("link")).unwrap();
    symlink("real", t.join("to")).unwrap();
    assert_eq!(walk(&[t.join("link")]).below(t), ["link"]);
    let slash = walk(&[PathBuf::from(format!("{}/link/", t.display()))]);
    assert_eq!(slash.below(t), ["link", "link/g", "link/sub", "link/sub/f"]);
    assert!(slash.get(&t.join("link")).kind == EntryKind::Directory && !slash.get(&t.join("link")).implied);
    let through = walk(&[t.join("link/sub")]);
    assert_eq!(through.below(t), ["link", "link/sub", "link/sub/f"]);
    assert!(through.get(&t.join("link")).implied && through.get(&t.join("link")).kind == EntryKind::Directory);
    assert_eq!(walk(&[t]).below(t), ["link", "real", "to", "real/g", "real/sub", "real/sub/f"]);
    assert_eq!(walk(&[t.join("real/g/x")]).errors.len(), 1);
}

#[test]
fn the_whole_machine_from_the_top_down() {
    let mut options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
    for pattern in ["/work", "/usr", "/root", "/home", "/var", "/opt", "/tmp"] {
        options.excludes.pattern(pattern.as_bytes(), false).unwrap();
    }
    let got = walk_with(&["/"], options);
    assert!(got.entries.iter().any(|(p, _)| p == b"etc/passwd") && got.entries.iter().any(|(p, _)| p == b"proc"));
    assert!(!got.entries.iter().any(|(p, e)| p.starts_with(b"proc/") || p.starts_with(b"usr") || e.implied || p.is_empty()));
    assert_eq!(got.entries[0].1.device, 0);
    // A root on another file system is walked, with its own boundary.
    let options = WalkOptions { one_file_system: true, ..WalkOptions::default() };
    let both = walk_with(&["/etc", "/proc/self/task"], options);
    assert!(both.entries.iter().any(|(p, e)| p.ends_with(b"/stat") && e.device != 0));
}

#[test]
fn deeper_than_any_path() {
    let tmp = tempfile::tempdir().unwrap();
    let name = "n".repeat(100);
    let mut fd = std::fs::File::open(tmp.path()).unwrap();
    for _ in 0..700 {
        rustix::fs::mkdirat(&fd, name.as_str(), Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&fd, "z", Mode::RWXU).unwrap();
        drop(rustix::fs::openat(&fd, "z/f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap());
        fd = rustix::fs::openat(&fd, name.as_str(), OFlags::DIRECTORY, Mode::empty()).unwrap().into();
    }
    let got = walk(&[tmp.path()]);
    assert!(got.errors.is_empty(), "{:?}", got.errors);
    assert_eq!(got.below(tmp.path()).len(), 2100);
    // So that dropping the directory works: `remove_dir_all` of std goes down by descriptors too.
}

#[test]
fn filters_leave_out_what_they_say() {
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    tree(
        t,
        &[
            "keep/a.o",
            "keep/b.c",
            "cache/CACHEDIR.TAG",
            "cache/x",
            "fake/CACHEDIR.TAG",
            "tag/.nobackup",
            "tag/d/e",
            "big",
            "sub/a.log",
            "sub/k.log",
            "sub/t/a.log",
        ],
    );
    fs::write(t.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    fs::write(t.join("big"), vec![0; 5000]).unwrap();
    fs::write(t.join(".seabedignore"), "*.log\n/keep/b.c\nt/\n").unwrap();
    fs::write(t.join("sub/.seabedignore"), "!k.log\n").unwrap();
    let mut options = WalkOptions::default();
    let ex = &mut options.excludes;
    ex.pattern(b"*.o", false).unwrap();
    ex.if_present(b".nobackup").unwrap();
    ex.caches();
    ex.larger_than(4999);
    ex.ignore_files(true);
    let got = walk_with(&[t], options.clone());
    assert_eq!(
        got.below(t),
        [
            ".seabedignore",
            "cache",
            "fake",
            "keep",
            "sub",
            "tag",
            "cache/CACHEDIR.TAG",
            "fake/CACHEDIR.TAG",
            "sub/.seabedignore",
            "sub/k.log",
            "tag/.nobackup"
        ]
    );
    assert_eq!(got.excluded, 7);
    // A root below something left out is still stored, and the way there is implied; a root that patterns name is not.
    let nested = walk_with(&[t.to_path_buf(), t.join("sub/t"), t.join("keep/a.o"), t.join("tag/d")], options);
    assert!(nested.get(&t.join("tag/d/e")).kind == EntryKind::File && nested.errors.is_empty());
    assert!(!nested.get(&t.join("sub/t")).implied && nested.entries.iter().all(|(p, _)| !p.ends_with(b".o")));
}

#[test]
fn bad_ignore_lines_are_reported_not_guessed() {
    let tmp = tempfile::tempdir().unwrap();
    tree(tmp.path(), &["a{b", "x"]);
    fs::write(tmp.path().join(".seabedignore"), "a{b\nx\n").unwrap();
    let mut options = WalkOptions::default();
    options.excludes.ignore_files(true);
    let got = walk_with(&[tmp.path()], options);
    assert_eq!(got.errors.len(), 1);
    assert_eq!(got.below(tmp.path()), [".seabedignore", "a{b"]);
}

#[test]
fn names_that_vanish_are_reported() {
    let tmp = tempfile::tempdir().unwrap();
    tree(tmp.path(), &["d/a", "d/b", "d/c/x", "d/e/y"]);
    let mut walker = Walker::new(&[tmp.path().join("d")], WalkOptions::default());
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    while let Some(item) = walker.next() {
        match item {
            WalkItem::Entry(e) => {
                if &e.entry.name.0[..] == b"a" {
                    fs::remove_file(tmp.path().join("d/b")).unwrap();
                }
                seen.push(e.entry.name.0);
            }
            WalkItem::Error(e) => errors.push(e),
        }
    }
    assert_eq!(seen[seen.len() - 5..], [&b"a"[..], b"c", b"e", b"x", b"y"]);
    assert_eq!((errors.len(), errors[0].during), (1, "stat"));
}

#[test]
fn descriptors_given_up_are_found_again() {
    let tmp = tempfile::tempdir().unwrap();
    let files: Vec<String> = (0..20).flat_map(|a| (0..20).map(move |b| format!("{a:02}/{b:02}/f"))).collect();
    tree(tmp.path(), &files.iter().map(String::as_str).collect::<Vec<_>>());
    let mut walker = Walker::new(&[tmp.path().to_path_buf()], WalkOptions::default());
    walker.pending_max = 3;
    let mut n = 0;
    while let Some(item) = walker.next() {
        // As if the tree were deeper than the ancestors that are kept.
        let top = walker.stack.len().saturating_sub(1);
        for frame in &mut walker.stack[..top] {
            frame.fd = None;
        }
        match item {
            WalkItem::Entry(_) => n += 1,
            WalkItem::Error(e) => panic!("{e}"),
        }
    }
    assert_eq!(n, 820 + tmp.path().components().count() - 1);
}

#[test]
fn entries_open_without_following_or_waiting() {
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    tree(t, &["real/f"]);
    symlink("real", t.join("link")).unwrap();
    rustix::fs::mknodat(CWD, t.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let top: OwnedFd = fs::File::open(t).unwrap().into();
    let mut e = Entry::new(b"link", EntryKind::Directory);
    assert!(super::super::open_entry(top.as_fd(), &e, false).is_err());
    let real = super::super::open_entry(top.as_fd(), &e, true).unwrap();
    e.name.0 = b"fifo".to_vec();
    assert!(super::super::open_entry(top.as_fd(), &e, false).is_err());
    e.kind = EntryKind::File;
    super::super::open_entry(top.as_fd(), &e, false).unwrap();
    e.name.0 = b"f".to_vec();
    let mut text = String::new();
    io::Read::read_to_string(&mut fs::File::from(super::super::open_entry(real.as_fd(), &e, false).unwrap()), &mut text).unwrap();
    assert_eq!(text, "real/f");
}

/// Runs the test named as another user, since root may read everything.
fn as_nobody(test: &str, dir: &Path) {
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("source::walk::tests::{test}"), "--nocapture"])
        .env("SEABED_TEST_DIR", dir)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(out.status.success() && out.stdout.windows(8).any(|w| w == b"1 passed"), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn what_cannot_be_read_never_takes_its_siblings() {
    // Root may read everything: as root this test makes the tree and runs itself once more as somebody else.
    if let Some(t) = std::env::var_os("SEABED_TEST_DIR") {
        return unreadable(&PathBuf::from(t));
    }
    let root = rustix::process::geteuid().is_root();
    let tmp = tempfile::tempdir().unwrap();
    let t = tmp.path();
    fs::set_permissions(t, fs::Permissions::from_mode(0o755)).unwrap();
    tree(t, &["a/1", "closed/x", "search/in/y", "search/z", "z/2"]);
    let modes = if root { [0o700, 0o711] } else { [0o000, 0o111] };
    fs::set_permissions(t.join("closed"), fs::Permissions::from_mode(modes[0])).unwrap();
    fs::set_permissions(t.join("search"), fs::Permissions::from_mode(modes[1])).unwrap();
    if root {
        as_nobody("what_cannot_be_read_never_takes_its_siblings", t)
    } else {
        unreadable(t)
    }
    for dir in ["closed", "search"] {
        fs::set_permissions(t.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn unreadable(t: &Path) {
    let got = walk(&[t.to_path_buf(), t.join("search/in"), t.join("closed/x")]);
    assert_eq!(got.below(t), ["a", "closed", "search", "z", "a/1", "search/in", "search/in/y", "z/2"]);
    assert_eq!(got.get(&t.join("closed")).status, STATUS_UNREADABLE);
    assert_eq!(got.get(&t.join("search")).status, STATUS_UNREADABLE);
    let errors: Vec<_> = got.errors.iter().map(|e| (e.path.strip_prefix(t).unwrap().to_str().unwrap(), e.during)).collect();
    assert_eq!(errors, [("closed", "open"), ("search", "open"), ("closed/x", "find")]);
    // To pass through needs no right to list.
    let only = walk(&[t.join("search/in")]);
    assert!(only.errors.is_empty() && only.below(t) == ["search", "search/in", "search/in/y"]);
}
