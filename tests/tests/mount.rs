//! `mount` as its users meet it: the real binary, the kernel's FUSE, `diff`, `cp`, `grep` and `find`. Needs root and /dev/fuse.
//! It must never skip: without FUSE these tests fail and say so. No mount outlives its test.

use crate::cli::{Home, ended, lines};
use rustix::fs::XattrFlags;
use rustix::mount::UnmountFlags;
use seabed_tests::trees::{additions, apply, capture, differences, full, noise};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs until it is ended. Its first line of JSON was read.
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub ready: Value,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        if line.is_empty() {
            let output = child.wait_with_output().unwrap();
            panic!("it did not begin: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Running { child, out, ready: serde_json::from_str(&line).unwrap() }
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end; what it said since it was ready.
    pub fn end(mut self) -> Output {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.out.read_to_end(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap_or(());
            self.child.wait().map(|_| ()).unwrap_or(());
        }
    }
}

/// A mounted repository.
struct Mounted {
    running: Option<Running>,
    at: PathBuf,
}

impl Mounted {
    fn new(home: &Home, args: &[&str]) -> Self {
        assert!(Path::new("/dev/fuse").exists(), "these tests need /dev/fuse");
        let at = home.path("mnt");
        fs::create_dir_all(&at).unwrap();
        let at_text = at.to_str().unwrap().to_owned();
        let running = Running::start(home.command(&[&["mount", "--json", at_text.as_str()], args].concat()));
        assert_eq!(running.ready["message_type"], "mounted", "{}", running.ready);
        assert_eq!(running.ready["mountpoint"], at_text);
        Mounted { running: Some(running), at }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Where something of `home` is in the snapshot at `place`.
    fn of(&self, place: &str, path: &Path) -> PathBuf {
        self.at.join(place).join(path.strip_prefix("/").unwrap())
    }

    /// Ends it by a signal; it must end well and leave nothing. What it said.
    fn end(mut self, signal: &str) -> Output {
        let running = self.running.take().unwrap();
        running.signal(signal);
        let output = running.end();
        assert!(!is_mounted(&self.at), "the mount is still there");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if is_mounted(&self.at) {
            rustix::mount::unmount(&self.at, UnmountFlags::DETACH).unwrap_or(());
        }
    }
}

fn is_mounted(at: &Path) -> bool {
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
    list.lines().any(|line| line.split(' ').nth(4) == at.to_str())
}

fn run(program: &str, args: &[&std::ffi::OsStr]) -> Output {
    Command::new(program).env("LC_ALL", "C").args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a script with arguments `$1`, `$2`, …; its output.
fn shell(script: &str, args: &[&Path]) -> Output {
    let mut all = vec![std::ffi::OsStr::new("-c"), script.as_ref(), "sh".as_ref()];
    all.extend(args.iter().map(|arg| arg.as_os_str()));
    run("sh", &all)
}

fn succeeds(output: &Output, what: &str) -> Vec<u8> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out:.2000}\n{err:.2000}", output.status);
    output.stdout.clone()
}

/// The packs of a class.
fn packs(home: &Home, class: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(home.repository().join(class)).into_iter().flatten().map(|dir| dir.unwrap().path());
    folders.flat_map(|dir| fs::read_dir(dir).unwrap().map(|pack| pack.unwrap().path())).collect()
}

/// A home with a repository that holds one snapshot of a tree with everything in it.
fn with_everything() -> (Home, PathBuf) {
    let home = Home::new();
    let src = home.path("tree");
    fs::create_dir(&src).unwrap();
    full(&src);
    home.ends(0, &["backup", "--init", "--host", "here", "--tag", "a/b,nightly", "tree"]);
    (home, src)
}

#[test]
fn a_mounted_tree_is_the_tree_for_every_tool() {
    let (home, src) = with_everything();
    let mounted = Mounted::new(&home, &[]);
    let have = mounted.of("snapshots/latest", &src);
    let found = differences(&capture(&src, true), &capture(&have, true));
    assert!(found.is_empty(), "{}", found.join("\n"));
    // Of special files it says that they are some, and takes that for a difference.
    let script = r#"diff -r --no-dereference -x fifo -x socket -x device "$1" "$2""#;
    succeeds(&shell(script, &[&src, &have]), "diff");
    let grep = |at: &Path| succeeds(&shell(r#"cd "$1" && grep -rc . many deep twin big | sort"#, &[at]), "grep");
    assert_eq!(grep(&src), grep(&have));
    // All but the numbers of inodes, which are the mount's own; those of directories' links, which it does not count.
    let find = |at: &Path| {
        let script = r#"cd "$1" && find . ! -type d -printf '%p %y %m %n %U %G %s %T@ %l\n' -o -printf '%p %y %m %U %G %T@\n' | sort"#;
        succeeds(&shell(script, &[at]), "find")
    };
    assert!(find(&src) == find(&have));
    succeeds(&shell(r#"find "$1" -ls > "$2""#, &[&have, &home.path("list")]), "find -ls");
    let out = home.path("out");
    succeeds(&shell(r#"cp -a "$1" "$2""#, &[&have, &out]), "cp -a");
    let found = differences(&capture(&src, true), &capture(&out, true));
    assert!(found.is_empty(), "{}", found.join("\n"));
    succeeds(&shell(r#"tar cf - -C "$1" . | tar df - -C "$2""#, &[&have, &src]), "tar");
    let summary = lines(&String::from_utf8_lossy(&mounted.end("-INT").stdout)).pop().unwrap();
    assert!(summary["message_type"] == "summary" && summary["frames_decoded"].as_u64().unwrap() > 0, "{summary}");
}

#[test]
fn trees_of_chance_are_mounted_as_they_are() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for _ in 0..4 {
        let home = Home::new();
        let top = home.path("tree");
        fs::create_dir_all(top.join("first")).unwrap();
        apply(&top, &additions(120).new_tree(&mut runner).unwrap().current());
        home.ends(0, &["backup", "--init", "tree"]);
        let mounted = Mounted::new(&home, &["latest"]);
        let have = capture(&mounted.of("", &top), true);
        let found = differences(&capture(&top, true), &have);
        assert!(found.is_empty(), "{}", found.join("\n"));
        mounted.end("-TERM");
    }
}

#[test]
fn snapshots_stand_where_restic_has_them_and_new_ones_appear() {
    let (home, src) = with_everything();
    let mounted = Mounted::new(&home, &["--refresh", "1s"]);
    let list = |at: &str| {
        let mut names: Vec<String> =
            fs::read_dir(mounted.path(at)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(list(""), ["hosts", "ids", "series", "snapshots", "tags"]);
    let id = home.ends(0, &["snapshots", "--ids"]);
    assert_eq!(list("ids"), [&id[..8]]);
    assert_eq!((list("hosts"), list("tags")), (vec!["here".to_owned()], vec!["a+b".to_owned(), "nightly".to_owned()]));
    let series = list("series").pop().unwrap();
    assert_eq!(series, src.to_str().unwrap().replace('/', "+"));
    let time = list("snapshots").remove(0);
    let latest = |at: &str| fs::read_link(mounted.path(at).join("latest")).unwrap();
    let twin = fs::read(src.join("twin")).unwrap();
    for at in ["snapshots".to_owned(), "hosts/here".into(), "tags/a+b".into(), format!("series/{series}")] {
        assert_eq!(list(&at), [time.as_str(), "latest"], "{at}");
        assert_eq!(latest(&at), Path::new(&time));
        assert!(fs::read(mounted.of(&format!("{at}/latest"), &src.join("twin"))).unwrap() == twin);
    }
    assert!(fs::read_dir(mounted.path("nothing")).is_err() && fs::metadata(mounted.path("ids/ffffffff")).is_err());

    // A directory that stays open was listed from what was held for it, however often somebody rewound it.
    let mut held = rustix::fs::Dir::read_from(fs::File::open(mounted.path("ids")).unwrap()).unwrap();
    let rewound = |held: &mut rustix::fs::Dir| {
        held.rewind();
        held.by_ref().filter(|entry| !entry.as_ref().unwrap().file_name().to_bytes().starts_with(b".")).count()
    };
    assert_eq!(rewound(&mut held), 1);
    home.ends(0, &["backup", "src"]);
    let began = Instant::now();
    while list("ids").len() < 2 {
        assert!(began.elapsed() < PATIENCE, "the new snapshot does not appear");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rewound(&mut held), 2);
    drop(held);
    // A kernel that was told to keep targets of links went on with the first one for as long as it was mounted.
    while latest("snapshots") == Path::new(&time) {
        assert!(began.elapsed() < PATIENCE, "`latest` stays where it was");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fs::read_to_string(mounted.of("snapshots/latest", &home.path("src/a.txt"))).unwrap(), "alpha\n");
    let output = mounted.end("-HUP");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    // Filters, templates, a part of one snapshot.
    let series = home.path("src").to_str().unwrap().to_owned();
    let args = ["--series", &series, "--path-template", "%h/x-%T", "--path-template", "all/%I", "--time-template", "%Y"];
    let mounted = Mounted::new(&home, &args);
    assert_eq!(fs::read_dir(mounted.path("all")).unwrap().count(), 1);
    let host = fs::read_dir(&mounted.at).unwrap().map(|e| e.unwrap().file_name()).find(|name| name != "all").unwrap();
    assert!(fs::read_link(mounted.at.join(host).join("x-latest")).unwrap().to_str().unwrap().starts_with("x-20"));
    drop(mounted);
    let part = format!("latest:{}", src.join("deep").display());
    let mounted = Mounted::new(&home, &["--host", "here", &part]);
    assert_eq!(fs::read(mounted.path("er/still/one")).unwrap(), [1]);
    assert!(rustix::fs::statvfs(&mounted.at).unwrap().f_blocks > 0);
    mounted.end("-INT");
    for (code, args) in [
        (20, vec!["--path-template", "../%i"]),
        (20, vec!["--path-template", "%x"]),
        (20, vec!["--time-template", "%!"]),
        (1, vec!["ffffffff"]),
        (1, vec!["latest:/nowhere"]),
        (20, vec![part.as_str(), "--refresh", "soon"]),
    ] {
        home.ends(code, &[&["mount", "mnt"], &args[..]].concat());
    }
    let file = format!("latest:{}", home.path("src/a.txt").display());
    home.ends(20, &["mount", "mnt", "--series", &series, &file]);
    home.ends(20, &["mount", "nowhere"]);
    home.ends(20, &["mount", "src/a.txt"]);
}

#[test]
fn any_part_of_a_long_file_is_there_for_many_readers() {
    let home = Home::new();
    let content = noise(1, 40_000_003);
    fs::create_dir(home.path("tree")).unwrap();
    fs::write(home.path("tree/long"), &content).unwrap();
    home.ends(0, &["backup", "--init", "tree"]);
    let mounted = Mounted::new(&home, &["latest"]);
    let path = mounted.of("", &home.path("tree/long"));
    std::thread::scope(|scope| {
        for reader in 0..8u64 {
            let (path, content) = (&path, &content);
            scope.spawn(move || {
                let file = fs::File::open(path).unwrap();
                for n in 0..400u64 {
                    let hash = blake3::hash(&(reader << 32 | n).to_le_bytes());
                    let at = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % content.len() as u64;
                    let mut piece = vec![0; 4096];
                    let got = file.read_at(&mut piece, at).unwrap();
                    assert!(got == 4096.min(content.len() - at as usize) && piece[..got] == content[at as usize..][..got], "at {at}");
                }
            });
        }
        scope.spawn(|| assert!(fs::read(&path).unwrap() == content));
    });
    succeeds(&run("cmp", &[path.as_os_str(), home.path("tree/long").as_os_str()]), "cmp");
    mounted.end("-INT");
}

#[test]
fn a_large_directory_is_listed_whole() {
    let home = Home::new();
    fs::create_dir(home.path("tree")).unwrap();
    for n in 0..30_000 {
        fs::File::create(home.path("tree").join(format!("{n:05}-{}", "x".repeat(n % 60)))).unwrap();
    }
    home.ends(0, &["backup", "--init", "tree"]);
    let mounted = Mounted::new(&home, &["latest"]);
    let have = mounted.of("", &home.path("tree"));
    let list = |at: &Path| succeeds(&shell(r#"ls -f "$1" | sort"#, &[at]), "ls");
    assert!(list(&have) == list(&home.path("tree")));
    // Once more, and with attributes.
    assert!(list(&have) == list(&home.path("tree")));
    let find = |at: &Path| succeeds(&shell(r#"find "$1" -mindepth 1 -printf '%P %s %m %T@\n' | sort"#, &[at]), "find");
    assert!(find(&have) == find(&home.path("tree")));
    mounted.end("-INT");
}

/// One pack of names was away while a directory was listed, and came back. What lay behind the hole had moved up, and at those places the
/// kernel kept it; it put the rest of the next listing behind that, and from then on listed it so: a thousand names twice, a thousand
/// never, and all of it with success.
#[test]
fn a_directory_is_listed_whole_again_once_all_of_it_can_be_read() {
    let home = Home::new();
    let tree = home.path("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..6_000 {
        fs::File::create(tree.join(format!("{n:04}"))).unwrap();
    }
    home.ends(0, &["backup", "--init", "tree"]);
    let first = packs(&home, "names");
    // The second snapshot has packs of its own for the directory's entry, and for the end of its names.
    fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(tree.join("5999"), "more").unwrap();
    home.ends(0, &["backup", "tree"]);
    let mounted = Mounted::new(&home, &[&format!("latest:{}", tree.display())]);
    let list = || {
        let (mut names, mut errors) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&mounted.at).unwrap() {
            match entry {
                Ok(entry) => names.push(entry.file_name().into_string().unwrap()),
                Err(error) => errors.push(error),
            }
        }
        names.sort();
        (names, errors)
    };
    let away = |n: usize| home.path(&format!("away-{n}"));
    for (n, pack) in first.iter().enumerate() {
        fs::rename(pack, away(n)).unwrap();
    }
    let (names, errors) = list();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert!(names.len() < 6_000 && names.last().is_some_and(|last| last == "5999"), "{} names", names.len());
    for (n, pack) in first.iter().enumerate() {
        fs::rename(away(n), pack).unwrap();
    }
    let want: Vec<String> = (0..6_000).map(|n| format!("{n:04}")).collect();
    for time in 0..4 {
        let (names, errors) = list();
        assert!(errors.is_empty() && names == want, "{time}: {} names, {errors:?}", names.len());
    }
    mounted.end("-INT");
}

#[test]
fn nothing_can_be_written() {
    let (home, src) = with_everything();
    let mounted = Mounted::new(&home, &[]);
    let top = mounted.of("snapshots/latest", &src);
    let is_refused = |result: std::io::Result<()>, what: &str| {
        let error = result.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()), "{what}: {error}");
    };
    is_refused(fs::File::create(top.join("new")).map(drop), "create");
    is_refused(fs::OpenOptions::new().write(true).open(top.join("big")).map(drop), "open");
    is_refused(fs::remove_file(top.join("big")), "remove");
    is_refused(fs::create_dir(mounted.path("ids/new")), "mkdir");
    is_refused(fs::rename(top.join("big"), top.join("bigger")), "rename");
    is_refused(fs::hard_link(top.join("big"), top.join("bigger")), "link");
    is_refused(fs::set_permissions(top.join("big"), std::os::unix::fs::PermissionsExt::from_mode(0o777)), "chmod");
    is_refused(std::os::unix::fs::lchown(top.join("big"), Some(7), None), "chown");
    is_refused(rustix::fs::setxattr(top.join("big"), "user.x", b"y", XattrFlags::empty()).map_err(Into::into), "setxattr");
    // Neither setuid bits nor device nodes have an effect, unless root says so.
    let options = |at: &Path| {
        let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
        list.lines().find(|line| line.split(' ').nth(4) == at.to_str()).unwrap().to_owned()
    };
    for word in ["ro,", "nosuid", "nodev", " fuse seabed ", "default_permissions"] {
        assert!(options(&mounted.at).contains(word), "{word}: {}", options(&mounted.at));
    }
    assert_eq!(fs::File::open(top.join("device")).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    mounted.end("-INT");
    let mounted = Mounted::new(&home, &["--privileged", "--owner-root", "--no-default-permissions"]);
    let options = options(&mounted.at);
    assert!(!options.contains("nosuid") && !options.contains("nodev") && !options.contains("default_permissions"), "{options}");
    let meta = fs::symlink_metadata(mounted.of("snapshots/latest", &src).join("dangling")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (0, 0));
    mounted.end("-INT");
}

#[test]
fn other_users_may_do_what_modes_and_acls_say() {
    let (home, src) = with_everything();
    // As `trees::full` gives it: user 1234 may read it, nobody else but its owner and group.
    let listed = src.join("many/007");
    fs::set_permissions(&src, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    home.ends(0, &["backup", "tree"]);
    // The directories above belong to a test of root's.
    let at = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let place = format!("latest:{}", src.display());
    let read_by = |user: &str, name: &str| {
        let path = at.path().join(name);
        let output = shell(r#"exec setpriv --reuid "$1" --regid "$1" --clear-groups cat "$2""#, &[Path::new(user), &path]);
        output.status.success()
    };
    let start = |args: &[&str]| {
        let all = [&["mount", "--json", at.path().to_str().unwrap(), &place], args].concat();
        Mounted { running: Some(Running::start(home.command(&all))), at: at.path().to_owned() }
    };
    assert_eq!(fs::metadata(&listed).unwrap().mode() & 0o7777, 0o640);
    let mounted = start(&["--allow-other"]);
    assert!(read_by("1234", "many/007") && !read_by("1235", "many/007"));
    assert!(read_by("1235", "many/003") && !read_by("1235", "many/002"), "mode 0644, and mode 0");
    mounted.end("-INT");
    let mounted = start(&["--allow-other", "--no-default-permissions"]);
    assert!(read_by("1235", "many/007") && read_by("1235", "many/002"));
    mounted.end("-INT");
    let mounted = start(&[]);
    assert!(!read_by("1235", "many/003"), "whoever did not mount it may not look");
    mounted.end("-INT");
}

#[test]
fn however_it_ends_it_leaves_nothing() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mounted = Mounted::new(&home, &[]);
        // Somebody is in it.
        let mut busy = Command::new("sleep").arg("60").current_dir(mounted.path("ids")).spawn().unwrap();
        let held = fs::File::open(mounted.of("snapshots/latest", &home.path("src/a.txt"))).unwrap();
        let at = mounted.at.clone();
        mounted.end(signal);
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "the directory is as it was");
        drop(held);
        busy.kill().unwrap();
        busy.wait().unwrap();
    }
    // Two signals at once are one.
    let mut mounted = Mounted::new(&home, &[]);
    let running = mounted.running.take().unwrap();
    running.signal("-INT");
    running.signal("-INT");
    let output = running.end();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // By the system's own command.
    let mut mounted = Mounted::new(&home, &[]);
    succeeds(&run("umount", &[mounted.at.as_os_str()]), "umount");
    let output = mounted.running.take().unwrap().end();
    assert!(output.status.success() && !is_mounted(&mounted.at));
}

/// That the session was over was taken for an unmount, though it also ends where the kernel is told to cut it off, or where there is
/// no descriptor for one of its threads: `seabed mount` ended with 0 and left a mount that nobody answered.
#[test]
fn a_mount_that_breaks_off_is_taken_away_and_is_no_success() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let failed = |running: Running, at: &Path, why: &str| {
        let output = running.end();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!is_mounted(at), "the mount is still there: {said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("could not be shown any longer") && said.contains(why), "{said}");
    };
    // Cut off. In a name space of its own, so that this leaves no mount.
    let mut mounted = Mounted::new(&home, &[]);
    let number = rustix::fs::minor(fs::metadata(&mounted.at).unwrap().dev()).to_string();
    let control = home.path("control");
    fs::create_dir(&control).unwrap();
    let script = r#"exec unshare -m sh -c 'mount -t fusectl none "$1" && echo 1 > "$1/$2/abort"' sh "$1" "$2""#;
    succeeds(&shell(script, &[&control, Path::new(&number)]), "fusectl");
    failed(mounted.running.take().unwrap(), &mounted.at, "abort");

    // Too few descriptors, by one at a time: for the repository, then for the mount, then for its threads, then enough.
    let at = mounted.at.clone();
    let (mut is_enough, mut broken) = (false, 0);
    for limit in 8..100 {
        let inner = home.command(&["mount", "--json", at.to_str().unwrap()]);
        let mut command = Command::new("prlimit");
        command.env_clear().env("HOME", home.path(".")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(home.path(".")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.arg(format!("--nofile={limit}:{limit}")).arg(inner.get_program()).args(inner.get_args());
        let mut child = command.spawn().unwrap();
        let (mut out, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        out.read_line(&mut line).unwrap();
        if line.is_empty() {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && !is_mounted(&at), "{limit}: {}: {said}", output.status);
            continue;
        }
        let running = Running { child, out, ready: serde_json::from_str(&line).unwrap() };
        // It answers as soon as it has its threads; else this ends when the mount does.
        is_enough = fs::read_dir(&at).is_ok_and(|mut names| names.next().is_some_and(|name| name.is_ok()));
        if is_enough {
            let whole = Mounted { running: Some(running), at: at.clone() };
            whole.end("-INT");
            break;
        }
        failed(running, &at, "Too many open files");
        broken += 1;
    }
    assert!(is_enough && broken > 0, "{broken} broke off, and one did not: {is_enough}");
}

/// What fuser does when a session ends it does by the name of the place. After `umount DIR` that took away what lay below: somebody else's mount.
#[test]
fn what_else_is_mounted_in_its_place_stays() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let below = seabed_tests::mount::Mount::new("size=1m");
    fs::write(below.path().join("mine"), "mine").unwrap();
    let start = || {
        let running = Running::start(home.command(&["mount", "--json", below.path().to_str().unwrap()]));
        assert!(below.path().join("ids").exists());
        running
    };
    let running = start();
    succeeds(&run("umount", &[below.path().as_os_str()]), "umount");
    assert_eq!(running.end().status.code(), Some(0));
    assert_eq!(fs::read_to_string(below.path().join("mine")).unwrap(), "mine");
    // And what is mounted over it: then it cannot be taken away, and says so.
    let running = start();
    rustix::mount::mount("tmpfs", below.path(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::write(below.path().join("above"), "above").unwrap();
    running.signal("-INT");
    let output = running.end();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("something else is mounted"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(below.path().join("above")).unwrap(), "above");
    for _ in 0..2 {
        rustix::mount::unmount(below.path(), UnmountFlags::DETACH).unwrap();
    }
    assert!(below.path().join("mine").exists());
}

#[test]
fn damage_is_an_error_where_it_is_and_nowhere_else() {
    let home = Home::new();
    fs::create_dir(home.path("tree")).unwrap();
    fs::write(home.path("tree/a"), noise(1, 100_000)).unwrap();
    home.ends(0, &["backup", "--init", "tree"]);
    let first = packs(&home, "data");
    fs::write(home.path("tree/b"), noise(2, 100_000)).unwrap();
    home.ends(0, &["backup", "tree"]);
    let [pack] = &first[..] else { panic!("{first:?}") };
    let mut bytes = fs::read(pack).unwrap();
    bytes[5000] ^= 1;
    fs::remove_file(pack).unwrap();
    fs::write(pack, bytes).unwrap();
    let mounted = Mounted::new(&home, &["latest"]);
    let top = mounted.of("", &home.path("tree"));
    for _ in 0..3 {
        let error = fs::read(top.join("a")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()), "{error}");
        assert!(fs::read(top.join("b")).unwrap() == noise(2, 100_000));
    }
    // A backup of what is mounted says which file it could not read. Of that backup no program may take the file for an empty one.
    let other = home.path("other");
    let args = ["--repo", other.to_str().unwrap(), "backup", "--init", top.to_str().unwrap()];
    home.ends(3, &args);
    let warned = String::from_utf8(mounted.end("-INT").stderr).unwrap();
    assert_eq!(warned.lines().count(), 1, "said once: {warned}");
    assert!(warned.contains("tree/a") && warned.contains("damaged"), "{warned}");
    let copied = Mounted::new(&home, &["--repo", other.to_str().unwrap(), "latest"]);
    let top = copied.of("", &top);
    assert_eq!(fs::read(top.join("a")).unwrap_err().raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert!(fs::read(top.join("b")).unwrap() == noise(2, 100_000));
    assert!(String::from_utf8(copied.end("-INT").stderr).unwrap().contains("could not be read when the snapshot was made"));
}

#[test]
fn streams_and_empty_repositories_are_mounted_too() {
    let home = Home::new();
    home.ends(0, &["init"]);
    let mounted = Mounted::new(&home, &[]);
    assert_eq!(fs::read_dir(mounted.path("snapshots")).unwrap().count(), 0);
    assert_eq!(mounted.running.as_ref().unwrap().ready["snapshots"], 0);
    mounted.end("-INT");
    home.ends(0, &["backup", "src", "--series", "s", "--exec", "db/dump.sql=seq 200000", "--exec", "empty=true", "--allow-empty"]);
    let mounted = Mounted::new(&home, &["latest"]);
    let numbers: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(fs::read_to_string(mounted.path("db/dump.sql")).unwrap() == numbers);
    assert_eq!(fs::read(mounted.path("empty")).unwrap(), b"");
    assert_eq!(fs::read_to_string(mounted.of("", &home.path("src/a.txt"))).unwrap(), "alpha\n");
    mounted.end("-INT");
}

#[test]
fn what_is_missing_is_said_with_the_next_step() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    fs::create_dir(home.path("mnt")).unwrap();
    let command = |script: &str| {
        let seabed = home.command(&[]).get_program().to_owned();
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(seabed)
            .env("HOME", home.path("."))
            .current_dir(home.path("."))
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = command(r#"mount -t tmpfs none /dev && exec "$1" mount mnt"#);
    ended(20, &output, &["without /dev/fuse"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("has no /dev/fuse") && said.contains("seabed serve webdav"), "{said}");
    // Without the right to mount, and without the helper that has it.
    let output = command(r#"exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$1" mount mnt"#);
    ended(20, &output, &["without the right to mount"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("seabed serve webdav") && !said.contains("os error"), "{said}");
    assert!(!is_mounted(&home.path("mnt")));
}
