//! What is kept of a file and what comes back: a test for each row of the table in README.md, and the table is no more than these rows.
//! By the real binary, as root and as somebody who is not. It must never take the engine's word for what a restored file has.
//! It obeys README.md ("What is kept of a file") and spec chapter 6 (entry metadata).

use crate::cli::{Home, ended, lines};
use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, XattrFlags, makedev};
use seabed_engine::list::list;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{backup_paths, init, select};
use seabed_tests::trees::{capture, differences, noise, set_mtime};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

/// A row: what, whether it is stored, whether it comes back, how to leave it out; and the test that says so, which runs by itself.
type Row = (&'static str, &'static str, &'static str, &'static str, fn());

const ROWS: [Row; 19] = [
    ("names, in any bytes", "yes", "yes", "", names),
    ("directories, files, symlinks", "yes", "yes", "", kinds),
    ("fifos, sockets", "yes", "yes", "", fifos_and_sockets),
    ("device nodes", "yes", "with `--privileged`", "", device_nodes),
    ("modes: rwx, sticky, setgid of directories", "yes", "yes", "`--no-permissions`", modes),
    ("setuid and setgid of files", "yes", "with `--privileged`, and only with their owner", "`--no-permissions`", setuid),
    ("owner and group, by number", "yes", "yes, as far as this user may", "`--no-owner`", owners_by_number),
    (
        "owner and group, by name",
        "yes; not with `backup --numeric-owner`",
        "where the name is known here, else by number",
        "`--numeric-owner`",
        owners_by_name,
    ),
    ("time of change (mtime), nanoseconds; of symlinks and directories too", "yes", "yes", "`--no-times`", times_of_change),
    ("time of access (atime)", "with `backup --with-atime`", "where stored", "`--no-times`", times_of_access),
    ("times of attribute change and of birth (ctime, btime)", "yes", "no: Linux lets nobody set them", "", times_that_nobody_sets),
    ("hard links, also from one path of a backup to another", "yes", "yes", "", hard_links),
    ("holes of sparse files", "yes", "yes", "", holes),
    ("extended attributes `user.*`", "yes; not with `backup --no-xattrs`", "yes", "`--no-xattrs`, `--exclude-xattr`", user_attributes),
    ("extended attributes `trusted.*` (only root sees them)", "as above", "with `--privileged`", "as above", trusted_attributes),
    ("extended attributes `security.*`: capabilities, SELinux labels", "as above", "with `--privileged`", "as above", security_attributes),
    ("POSIX ACLs, access and default", "yes; not with `backup --no-acls`", "yes", "`--no-permissions`, `--no-xattrs`", acls),
    ("attributes of `chattr`", "yes; not with `backup --no-flags`", "as far as the file system knows them", "`--no-flags`", flags),
    ("immutable and append-only (`chattr +i`, `+a`)", "as above", "with `--privileged`, when all else is done", "`--no-flags`", locks),
];

/// The rows of the README's table and of this file are the same, word for word.
#[test]
fn the_table_is_what_is_proven() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let at = readme.find("| of a file | stored | restored |").expect("the table is in README.md");
    let have: Vec<&str> = readme[at..].lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let want = ROWS.map(|(what, stored, back, without, _)| format!("| {what} | {stored} | {back} | {without} |").replace("|  |", "| |"));
    assert_eq!(have, want);
}

/// What the README says is not kept, the format has no place for: its entries hold what the rows name, and what the engine itself needs.
#[test]
fn nothing_else_is_kept() {
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../format-spec/6-trees-and-manifests.md");
    let text = fs::read_to_string(chapter).unwrap();
    let rows = text[text.find("### `Entry`").unwrap()..].lines().skip(4).take_while(|line| line.starts_with('|'));
    let have: Vec<&str> = rows.map(|row| row.split('|').nth(2).unwrap().trim()).collect();
    let of_files = [
        "name",
        "kind",
        "mode",
        "uid",
        "gid",
        "user",
        "group",
        "mtime",
        "ctime",
        "btime",
        "atime",
        "size",
        "inode",
        "device",
        "links",
        "target",
        "rdev_major",
        "rdev_minor",
        "xattrs",
        "flags",
    ];
    assert_eq!(have, [&of_files[..], &["profile", "status", "implied"]].concat());
}

/// Somebody who is not root.
const NOBODY: u32 = 65_534;

/// A source, its repository, and restores of it.
struct Bench {
    home: Home,
    top: String,
}

impl Bench {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests give files away and make devices: run them as root");
        let home = Home::new();
        fs::remove_dir_all(home.path("src")).unwrap();
        fs::create_dir(home.path("src")).unwrap();
        let top = home.path("src").to_str().unwrap().to_owned();
        Bench { home, top }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.write(&format!("src/{name}"), name);
        self.source(name)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.home.path("src").join(name)
    }

    fn back_up(&self, more: &[&str]) {
        self.home.ends(0, &[&["backup", "--init", "src"], more].concat());
    }

    /// Restores into a directory of its own and returns where `src` is in there; the run ends with `code`.
    fn restored(&self, name: &str, code: i32, more: &[&str]) -> PathBuf {
        let run = self.run(name, more);
        ended(code, &run, more);
        self.place(name)
    }

    fn run(&self, name: &str, more: &[&str]) -> Output {
        self.home.run(&[&["restore", "latest", "--target", name], more].concat())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.home.path(&format!("{name}{}", self.top))
    }

    /// The same by somebody who is not root, but may read the repository.
    fn run_as_nobody(&self, name: &str, more: &[&str]) -> Output {
        self.open_to_nobody();
        let mut command = self.home.command(&[&["restore", "latest", "--target", name], more].concat());
        // The binary may lie where only root looks.
        let binary = self.home.path("seabed");
        if !binary.exists() {
            // By another process: while this one has it open for writing, one that another test starts has too, and nobody may run it.
            let copied = std::process::Command::new("cp").args([command.get_program(), binary.as_os_str()]).status().unwrap();
            assert!(copied.success());
            fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut own = std::process::Command::new(binary);
        own.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).args(command.get_args());
        own.current_dir(command.get_current_dir().unwrap()).uid(NOBODY).gid(NOBODY);
        command = own;
        command.output().unwrap()
    }

    /// Gives the home to nobody, with the repository, its key and its cache.
    fn open_to_nobody(&self) {
        lchown(self.home.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut todo = vec![self.home.path(".local"), self.home.path(".config"), self.home.path(".cache")];
        while let Some(path) = todo.pop() {
            lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            if path.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }

    /// The sources' and the restored tree's differences.
    fn differences(&self, place: &Path) -> Vec<String> {
        differences(&capture(Path::new(&self.top), true), &capture(place, true))
    }

    /// Entries of the snapshot as `ls` lists them, by name.
    fn listed(&self, name: &str) -> Value {
        let listing = lines(&self.home.ends(0, &["ls", "latest", "--recursive", "--json"]));
        listing.into_iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name} is not listed"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is locked cannot be removed.
        let mut todo = vec![self.home.path("")];
        while let Some(path) = todo.pop() {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if (meta.is_file() || meta.is_dir()) && flags_of(&path) & LOCKS != 0 {
                set_flags(&path, IFlags::empty());
            }
            if meta.is_dir() {
                todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            }
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    fs::symlink_metadata(path).map(|m| (m.uid(), m.gid())).unwrap()
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|e| panic!("{name} of {}: {e}", path.display()));
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let bytes = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(bytes);
    Some(value)
}

fn complaints(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

#[test]
fn names() {
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
fn kinds() {
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

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

#[test]
fn fifos_and_sockets() {
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
fn device_nodes() {
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
fn modes() {
    let bench = Bench::new();
    for (name, mode) in [("all", 0o777), ("none", 0), ("read", 0o400), ("odd", 0o1632)] {
        fs::set_permissions(bench.file(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(bench.source("handed down")).unwrap();
    fs::set_permissions(bench.source("handed down"), fs::Permissions::from_mode(0o3770)).unwrap();
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    // Somebody else gets their own files' modes, of directories the setgid bit too.
    ended(0, &bench.run_as_nobody("own", &["--no-owner"]), &[]);
    assert_eq!(mode(&bench.place("own").join("handed down")), 0o3770);
    assert_eq!(mode(&bench.place("own").join("odd")), 0o1632);
    let place = bench.restored("without", 0, &["--no-permissions"]);
    let umask = 0o777
        & !mode(&{
            fs::create_dir(bench.home.path("probe")).unwrap();
            bench.home.path("probe")
        });
    for (name, open) in [("all", 0o777), ("none", 0o666), ("read", 0o666), ("odd", 0o777), ("handed down", 0o777)] {
        assert_eq!(mode(&place.join(name)), open & !umask, "{name}");
    }
}

#[test]
fn setuid() {
    let bench = Bench::new();
    for (name, uid, gid, mode) in [("sudo", 0, 0, 0o4755), ("theirs", 1234, 1234, 0o6755), ("mine", NOBODY, NOBODY, 0o4755)] {
        let path = bench.file(name);
        lchown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    bench.back_up(&[]);
    let modes = |place: &Path| ["sudo", "theirs", "mine"].map(|name| mode(&place.join(name)));
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!(bench.differences(&place), [""; 0]);
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert_eq!(modes(&bench.place("not")), [0o755; 3]);
    assert!(
        complaints(&run).contains("setuid and setgid bits were not restored for 3 entries (needs --privileged)"),
        "{}",
        complaints(&run)
    );
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(bench.differences(&bench.place("not")), [""; 0]);
    // Of another owner they would lend the rights of whoever restores.
    let run = bench.run("own", &["--privileged", "--no-owner"]);
    ended(0, &run, &[]);
    assert_eq!(modes(&bench.place("own")), [0o4755, 0o755, 0o755]);
    assert!(complaints(&run).contains("setuid and setgid bits were not restored for 2 entries"), "{}", complaints(&run));
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert_eq!(modes(&bench.place("nobody")), [0o755, 0o755, 0o4755]);
    assert!(complaints(&run).contains("setuid and setgid bits were not restored for 2 entries (needs root)"), "{}", complaints(&run));
    ended(0, &bench.run_as_nobody("nobody-default", &[]), &[]);
    assert_eq!(modes(&bench.place("nobody-default")), [0o755; 3]);
}

#[test]
fn owners_by_number() {
    let bench = Bench::new();
    for (name, uid, gid) in [("a", 4_000_000_000, 3_999_999_999), ("b", 0, 1234), ("dir", 1234, 0)] {
        if name == "dir" {
            fs::create_dir(bench.source(name)).unwrap()
        } else {
            drop(bench.file(name))
        }
        lchown(bench.source(name), Some(uid), Some(gid)).unwrap();
    }
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    let place = bench.restored("without", 0, &["--no-owner"]);
    assert_eq!(["a", "b", "dir"].map(|name| owner(&place.join(name))), [(0, 0); 3]);
    let run = bench.run_as_nobody("nobody", &[]);
    ended(0, &run, &[]);
    assert_eq!(owner(&bench.place("nobody").join("b")), (NOBODY, NOBODY));
    // Said once for all, not for each.
    let said = complaints(&run);
    assert!(said.contains("owners were not restored for 6 entries (needs root)"), "three and what they lie in: {said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn owners_by_name() {
    let bench = Bench::new();
    lchown(bench.file("named"), Some(1), Some(1)).unwrap();
    bench.back_up(&[]);
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let name =
        users.lines().find(|line| line.split(':').nth(2) == Some("1")).expect("a user 1, as Debian has it").split(':').next().unwrap();
    assert_eq!(bench.listed("named")["user"], name);
    assert_eq!(owner(&bench.restored("back", 0, &[]).join("named")), (1, 1));
    // On a machine where that name has another number: another passwd file in a mount namespace of its own.
    let elsewhere = |target: &str, more: &str| {
        let passwd = format!("sed 's/^{name}:x:1:/{name}:x:4711:/' /etc/passwd > passwd && mount --bind passwd /etc/passwd");
        let script = format!("{passwd} && exec \"$0\" restore latest --target {target} {more}");
        let seabed = bench.home.command(&[]);
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-m", "sh", "-c", &script])
            .arg(seabed.get_program())
            .env("HOME", bench.home.path(""))
            .current_dir(bench.home.path(""));
        ended(0, &command.output().unwrap(), &[target]);
        owner(&bench.place(target).join("named")).0
    };
    assert_eq!(elsewhere("by-name", ""), 4711);
    assert_eq!(elsewhere("by-number", "--numeric-owner"), 1);
    bench.back_up(&["--numeric-owner"]);
    assert_ne!(bench.listed("named")["user"], name);
    assert_eq!(elsewhere("never-named", ""), 1);
}

#[test]
fn times_of_change() {
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
fn times_of_access() {
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
fn times_that_nobody_sets() {
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
fn hard_links() {
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
fn holes() {
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

#[test]
fn user_attributes() {
    let bench = Bench::new();
    bench.file("dir/file");
    for name in ["dir/file", "dir"] {
        set_attribute(&bench.source(name), "user.mime_type", b"text/plain");
        set_attribute(&bench.source(name), "user.\u{e9}", &noise(3, 900));
        set_attribute(&bench.source(name), "user.empty", b"");
    }
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(attribute(&bench.place("nobody").join("dir"), "user.mime_type").as_deref(), Some(&b"text/plain"[..]));
    let kept = |place: PathBuf| {
        let names = ["user.mime_type", "user.\u{e9}", "user.empty"];
        ["dir/file", "dir"].map(|path| names.map(|name| attribute(&place.join(path), name).is_some()))
    };
    assert_eq!(kept(bench.restored("without", 0, &["--no-xattrs"])), [[false; 3]; 2]);
    assert_eq!(kept(bench.restored("some", 0, &["--exclude-xattr", "user.m*"])), [[false, true, true]; 2]);
    assert_eq!(
        kept(bench.restored("others", 0, &["--include-xattr", "*.mime_type", "--include-xattr", "user.empty"])),
        [[true, false, true]; 2]
    );
    ended(20, &bench.run("wrong", &["--include-xattr", "user.["]), &[]);
    // What an earlier run did not store is read when it is wanted again, though the files are as they were; and the other way round.
    bench.back_up(&["--no-xattrs"]);
    assert_eq!(kept(bench.restored("never", 0, &[])), [[false; 3]; 2]);
    bench.back_up(&[]);
    assert_eq!(kept(bench.restored("again", 0, &[])), [[true; 3]; 2]);
}

#[test]
fn trusted_attributes() {
    let bench = Bench::new();
    set_attribute(&bench.file("file"), "trusted.overlay.opaque", b"y");
    symlink("x", bench.source("link")).unwrap();
    set_attribute(&bench.source("link"), "trusted.of.link", b"1");
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("asked", 0, &["--privileged"])), [""; 0]);
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert!(complaints(&run).contains("trusted.* attributes were not restored for 2 entries (needs --privileged)"), "{}", complaints(&run));
    assert_eq!(attribute(&bench.place("not").join("file"), "trusted.overlay.opaque"), None);
    for more in [&["--no-xattrs"][..], &["--exclude-xattr", "trusted.*"]] {
        let run = bench.run("without", more);
        ended(0, &run, more);
        assert_eq!(complaints(&run), "", "what was left out by name is not missing");
    }
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert!(complaints(&run).contains("trusted.* attributes were not restored for 2 entries (needs root)"), "{}", complaints(&run));
}

/// `cap_net_raw=ep`, as `setcap` writes it: without it `ping` needs root again.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const LABEL: &[u8] = b"system_u:object_r:etc_t:s0\0";

#[test]
fn security_attributes() {
    let bench = Bench::new();
    // Not root's: to give a file to somebody takes its capabilities away, so their order on restore is not free.
    lchown(bench.file("ping"), Some(1234), Some(1234)).unwrap();
    set_attribute(&bench.source("ping"), "security.capability", &CAPABILITY);
    set_attribute(&bench.file("labelled"), "security.selinux", LABEL);
    bench.back_up(&[]);
    let has =
        |place: &Path| (attribute(&place.join("ping"), "security.capability"), attribute(&place.join("labelled"), "security.selinux"));
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!(bench.differences(&place), [""; 0]);
    assert_eq!(has(&place), (Some(CAPABILITY.to_vec()), Some(LABEL.to_vec())));
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert!(
        complaints(&run).contains("security.* attributes were not restored for 2 entries (needs --privileged)"),
        "{}",
        complaints(&run)
    );
    assert_eq!(has(&bench.place("not")).0, None);
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(bench.differences(&bench.place("not")), [""; 0]);
    let place = bench.restored("labels", 0, &["--privileged", "--include-xattr", "security.selinux"]);
    assert_eq!(has(&place), (None, Some(LABEL.to_vec())));
    for more in [&[][..], &["--privileged"]] {
        let run = bench.run_as_nobody("nobody", more);
        ended(0, &run, more);
        assert_eq!(has(&bench.place("nobody")).0, None);
        // Who may set a label is the security module's affair, and where there is none, the kernel's.
        let lacks = if more.is_empty() { "for 2 entries (needs root and --privileged)" } else { "" };
        assert!(complaints(&run).contains(&format!("security.* attributes were not restored {lacks}")), "{}", complaints(&run));
    }
}

/// What `setfacl -m u:1234:rw` makes.
fn acl() -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 6, 1234), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

#[test]
fn acls() {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    let bench = Bench::new();
    bench.file("dir/file");
    set_attribute(&bench.source("dir/file"), ACCESS, &acl());
    set_attribute(&bench.source("dir"), ACCESS, &acl());
    set_attribute(&bench.source("dir"), DEFAULT, &acl());
    bench.back_up(&[]);
    let has = |place: &Path| {
        [("dir/file", ACCESS), ("dir", ACCESS), ("dir", DEFAULT)].map(|(path, name)| attribute(&place.join(path), name) == Some(acl()))
    };
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(has(&bench.place("nobody")), [true; 3]);
    for more in ["--no-permissions", "--no-xattrs"] {
        assert_eq!(has(&bench.restored(more.trim_start_matches('-'), 0, &[more])), [false; 3], "{more}");
    }
    bench.back_up(&["--no-acls"]);
    assert_eq!(has(&bench.restored("never", 0, &[])), [false; 3]);
    bench.back_up(&[]);
    assert_eq!(has(&bench.restored("again", 0, &[])), [true; 3]);
}

const LOCKS: u32 = IFlags::IMMUTABLE.bits() | IFlags::APPEND.bits();
/// What these tests set. The kernel's own bits, such as that a file has extents, must be handed back.
const SETTABLE: u32 = LOCKS | IFlags::NODUMP.bits() | IFlags::NOATIME.bits();

fn flags_of(path: &Path) -> u32 {
    rustix::fs::ioctl_getflags(fs::File::open(path).unwrap()).unwrap().bits() & SETTABLE
}

fn set_flags(path: &Path, flags: IFlags) {
    let file = fs::File::open(path).unwrap();
    let kept = rustix::fs::ioctl_getflags(&file).unwrap().bits() & !SETTABLE;
    let set = rustix::fs::ioctl_setflags(&file, IFlags::from_bits_retain(kept | flags.bits()));
    set.unwrap_or_else(|e| panic!("chattr of {}: {e}: the temporary directory must be on a file system that knows these", path.display()));
}

#[test]
fn flags() {
    let bench = Bench::new();
    bench.file("dir/file");
    set_flags(&bench.source("dir/file"), IFlags::NODUMP | IFlags::NOATIME);
    set_flags(&bench.source("dir"), IFlags::NODUMP);
    bench.back_up(&[]);
    let has = |place: &Path| ["dir/file", "dir"].map(|path| flags_of(&place.join(path)));
    let want = [(IFlags::NODUMP | IFlags::NOATIME).bits(), IFlags::NODUMP.bits()];
    let place = bench.restored("back", 0, &[]);
    assert_eq!((has(&place), bench.differences(&place)), (want, vec![]));
    assert_eq!(has(&bench.restored("without", 0, &["--no-flags"])), [0; 2]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(has(&bench.place("nobody")), want);
    bench.back_up(&["--no-flags"]);
    assert_eq!(has(&bench.restored("never", 0, &[])), [0; 2]);
    bench.back_up(&[]);
    assert_eq!(has(&bench.restored("again", 0, &[])), want);
    // Without ctimes attributes are read every time. Those of chattr were lost: a file that is not read was not opened.
    bench.back_up(&["--ignore-ctime"]);
    assert_eq!(has(&bench.restored("unread", 0, &[])), want);
}

#[test]
fn locks() {
    let bench = Bench::new();
    bench.file("dir/immutable");
    bench.file("log");
    fs::hard_link(bench.source("log"), bench.source("dir/log")).unwrap();
    set_flags(&bench.source("log"), IFlags::APPEND | IFlags::NODUMP);
    set_flags(&bench.source("dir/immutable"), IFlags::IMMUTABLE);
    set_flags(&bench.source("dir"), IFlags::IMMUTABLE);
    bench.back_up(&[]);
    let has = |place: &Path| ["dir/immutable", "log", "dir"].map(|path| flags_of(&place.join(path)));
    let want = [IFlags::IMMUTABLE.bits(), (IFlags::APPEND | IFlags::NODUMP).bits(), IFlags::IMMUTABLE.bits()];
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!((has(&place), bench.differences(&place)), (want, vec![]));
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    let said = complaints(&run);
    assert!(said.contains("immutable and append-only flags were not restored for 3 entries (needs --privileged)"), "{said}");
    // The others come all the same.
    assert_eq!(has(&bench.place("not")), [0, IFlags::NODUMP.bits(), 0]);
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!((has(&bench.place("not")), bench.differences(&bench.place("not"))), (want, vec![]));
    // Once more over what is locked already: it is what it should be.
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(has(&bench.place("not")), want);
    bench.restored("without", 0, &["--no-flags", "--privileged"]);
    assert_eq!(has(&bench.place("without")), [0; 3]);
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert_eq!(has(&bench.place("nobody")), [0, IFlags::NODUMP.bits(), 0]);
    assert!(
        complaints(&run).contains("immutable and append-only flags were not restored for 3 entries (needs root)"),
        "{}",
        complaints(&run)
    );
}

/// Root of a container is root and may not make devices: that is said as what it is, and `--privileged` is no promise.
#[test]
fn root_without_rights_is_told_so() {
    let bench = Bench::new();
    node(&bench.source("null"), FileType::CharacterDevice, makedev(1, 3));
    fs::set_permissions(bench.file("su"), fs::Permissions::from_mode(0o4755)).unwrap();
    bench.back_up(&[]);
    let seabed = bench.home.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.arg("-r").arg(seabed.get_program()).args(["restore", "latest", "--target", "back", "--privileged"]);
    let run = command.env("HOME", bench.home.path("")).current_dir(bench.home.path("")).output().unwrap();
    ended(3, &run, &[]);
    assert!(complaints(&run).contains("device nodes were not restored: 1 (not possible here)"), "{}", complaints(&run));
    assert_eq!(mode(&bench.place("back").join("su")), 0o4755);
}
