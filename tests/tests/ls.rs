//! `ls` in other orders, in columns, and as ncdu reads it: with the real ncdu, and with a million entries in 256 MiB.

use crate::cli::{Home, lines};
use seabed_engine::format::entry::{Entry, EntryKind};
use seabed_engine::format::lists::Content;
use seabed_engine::format::wire::Time;
use seabed_engine::store::local::LocalStore;
use seabed_tests::forge::Forge;
use seabed_tests::repo::init;
use seabed_tests::trees::set_mtime;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// What a listing of a million entries may take.
const MEMORY_KIB: &str = "262144";

#[test]
fn lines_are_sorted_by_what_is_asked() {
    let home = Home::new();
    for (name, bytes, time) in [("b/z.txt", 30, 300), ("b/a.PNG", 10, 100), ("b-c", 20, 200), ("a", 20, -5)] {
        home.write(&format!("s/{name}"), &"x".repeat(bytes));
        set_mtime(&home.path(&format!("s/{name}")), time, 0);
    }
    set_mtime(&home.path("s/b"), 1_000_000, 0);
    home.ends(0, &["backup", "--init", "s"]);
    let top = format!("latest:{}", home.path("s").to_str().unwrap());
    let names = |args: &[&str]| {
        let text = home.ends(0, &[&["ls", &top], args].concat());
        let prefix = home.path("s").to_str().unwrap().to_owned();
        text.lines().map(|line| line.rsplit_once(&prefix).unwrap().1.trim_start_matches('/').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["--sort", "name"]), ["", "a", "b", "b/a.PNG", "b/z.txt", "b-c"]);
    assert_eq!(names(&["--reverse"]), ["b-c", "b/z.txt", "b/a.PNG", "b", "a", ""]);
    let files = |names: Vec<String>| names.into_iter().filter(|name| !["", "b"].contains(&name.as_str())).collect::<Vec<_>>();
    assert_eq!(files(names(&["--sort", "size"])), ["b/a.PNG", "a", "b-c", "b/z.txt"]);
    assert_eq!(files(names(&["--sort", "size", "--reverse", "-l"])), ["b/z.txt", "b-c", "a", "b/a.PNG"]);
    assert_eq!(files(names(&["--sort", "time"])), ["a", "b/a.PNG", "b-c", "b/z.txt"]);
    assert_eq!(files(names(&["--sort", "mtime", "--reverse"])), ["b/z.txt", "b-c", "b/a.PNG", "a"]);
    assert_eq!(files(names(&["--sort", "extension"])), ["a", "b-c", "b/a.PNG", "b/z.txt"]);
    let json = lines(&home.ends(0, &["ls", &top, "--sort", "size", "--json"]));
    assert_eq!(json[0]["message_type"], "snapshot");
    let sizes: Vec<u64> = json.iter().filter_map(|m| m["size"].as_u64()).collect();
    assert_eq!(sizes, [10, 20, 20, 30]);
    // One level, as before.
    assert_eq!(names(&["--no-recursive"]).len(), 4);
    assert_eq!(names(&["--no-recursive", "--recursive"]).len(), 6);
    home.ends(20, &["ls", "latest", "--sort", "colour"]);
    home.ends(20, &["ls", "latest", "--ncdu", "--json"]);
}

#[test]
fn columns_stand_below_each_other() {
    let home = Home::new();
    home.write("s/small", "x");
    home.write("s/large", &"x".repeat(1_234_567));
    fs::File::options().write(true).open(home.path("s/small")).unwrap();
    std::os::unix::fs::chown(home.path("s/small"), Some(123_456_789), Some(7)).unwrap();
    home.ends(0, &["backup", "--init", "s"]);
    for more in [&[][..], &["--sort", "size"], &["--human-readable"]] {
        let text = home.ends(0, &[&["ls", "latest", "-l"], more].concat());
        let starts: Vec<usize> = text.lines().map(|line| line.find(" /").unwrap()).collect();
        assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    }
}

/// A directory of an export: what is known of it, and what is in it by name.
type Dir = BTreeMap<String, Value>;

/// An export by path; the info of each.
fn flat(export: &str) -> Dir {
    fn walk(item: &Value, path: &str, out: &mut Dir) {
        let (info, children) = match item {
            Value::Array(items) => (&items[0], &items[1..]),
            info => (info, &[][..]),
        };
        let name = info["name"].as_str().unwrap();
        let path = if path.is_empty() { "/".to_owned() } else { format!("{}/{name}", path.trim_end_matches('/')) };
        for child in children {
            walk(child, &path, out);
        }
        assert!(out.insert(path.clone(), info.clone()).is_none(), "{path} twice");
    }
    let value: Value = serde_json::from_str(export).unwrap_or_else(|e| panic!("{e}: {:.300}", export));
    assert_eq!((&value[0], &value[1]), (&1.into(), &2.into()), "format 1.2");
    let mut out = Dir::new();
    walk(&value[3], "", &mut out);
    out
}

fn ncdu(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new("ncdu")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs the package `ncdu`");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin).unwrap();
    child.wait_with_output().unwrap()
}

/// What we export of a snapshot is what ncdu exports of the files, and ncdu reads it.
#[test]
fn an_export_is_what_ncdu_makes() {
    let home = Home::new();
    let top = home.path("src");
    home.write("src/deep/er/still/file", &"x".repeat(70_000));
    for dir in ["src/empty", "src/zz", "src/deep/a-b", "src/deep/er.d", "src/odd \"name\"\\\u{e9}"] {
        fs::create_dir_all(home.path(dir)).unwrap();
    }
    fs::hard_link(top.join("a.txt"), top.join("deep/hard")).unwrap();
    symlink("nowhere", top.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(top.join("fifo")).status().unwrap().success());
    set_mtime(&top.join("sub"), -5, 0);
    home.ends(0, &["backup", "--init", "src", "--exec", "deep/made/dump.sql=echo x"]);
    let stored = top.to_str().unwrap();
    let ours = home.ends(0, &["ls", &format!("latest:{stored}"), "--ncdu"]);
    let theirs = ncdu(&["-0", "-x", "-e", "-o", "-", stored], b"");
    assert!(theirs.status.success(), "{theirs:?}");
    let (ours, theirs) = (flat(&ours), flat(&String::from_utf8_lossy(&theirs.stdout)));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, info) in &theirs {
        let have = &ours[path];
        let file = !path.ends_with('/') && fs::symlink_metadata(top.join(&path[1..])).unwrap().is_file();
        let keys: &[&str] = if file { &["asize", "uid", "gid", "mode", "hlnkc", "nlink"] } else { &["uid", "gid", "mode", "notreg"] };
        for key in keys.iter().filter(|_| path != "/") {
            assert_eq!(have[key], info[key], "{key} of {path}");
        }
        if path != "/" && path != "/sub" {
            assert_eq!(have["mtime"], info["mtime"], "{path}");
        }
    }
    assert_eq!(ours["/a.txt"]["ino"], fs::metadata(top.join("a.txt")).unwrap().ino());
    assert_eq!(ours["/sub"]["mtime"], 0, "it knows nothing before 1970");

    // The whole snapshot, with a stream in a directory that is nowhere else; ncdu reads all of it and gives it back.
    let whole = home.ends(0, &["ls", "latest", "--ncdu"]);
    let all = flat(&whole);
    assert_eq!(all["/deep/made/dump.sql"]["asize"], 2);
    let back = ncdu(&["-0", "-e", "-f", "-", "-o", "-"], whole.as_bytes());
    assert!(back.status.success(), "{back:?}");
    let back = flat(&String::from_utf8_lossy(&back.stdout));
    assert_eq!(back.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
    for (path, info) in back {
        assert_eq!(info["asize"].as_u64().unwrap_or(0), all[&path]["asize"].as_u64().unwrap_or(0), "{path}");
    }
    // A file alone, and nothing at all.
    let one = flat(&home.ends(0, &["ls", &format!("latest:{stored}/a.txt"), "--ncdu"]));
    assert_eq!(one.keys().collect::<Vec<_>>(), ["/", "/a.txt"]);
    home.ends(1, &["ls", "latest:/nowhere", "--ncdu"]);
}

/// Names in any bytes make no export that is no JSON.
#[test]
fn hostile_names_are_exported_as_text() {
    let home = Home::new();
    let dir = home.path("src").join(std::ffi::OsStr::from_bytes(b"d\xff\"\n\x1b"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"\xfe\x01]")), "x").unwrap();
    home.ends(0, &["backup", "--init", "src"]);
    let export = home.ends(0, &["ls", "latest", "--ncdu"]);
    assert!(flat(&export).keys().any(|path| path.ends_with("/\u{fffd}\u{1}]")));
    let back = ncdu(&["-0", "-e", "-f", "-", "-o", "-"], export.as_bytes());
    assert!(back.status.success(), "{back:?}");
}

/// Runs with no more anonymous memory than is allowed.
fn bounded(home: &Home, args: &[&str]) -> Output {
    let whole = home.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -d \"$0\" && exec \"$@\"", MEMORY_KIB]).arg(whole.get_program()).args(whole.get_args());
    shell.env_clear().envs(whole.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(home.path("")).stdin(Stdio::null());
    shell.output().unwrap()
}

/// A million entries, half of them directories in one: in every order, and for ncdu.
#[test]
fn a_million_entries_need_little_memory() {
    const DIRS: usize = 500_000;
    let home = Home::new();
    let repository = init(Arc::new(LocalStore::create(home.path("repo")).unwrap()), None).unwrap();
    let mut forge = Forge::new(&repository);
    let entry = |name: String, kind: EntryKind, n: usize| {
        let mut entry = Entry::new(name.as_bytes(), kind);
        (entry.mode, entry.inode) = (0o755, n as u64);
        entry.mtime = Time { secs: (n as i64).wrapping_mul(2_654_435_761) % 1_000_000_007, nanos: 0 };
        if kind == EntryKind::File {
            entry.size = (n as u64).wrapping_mul(2_654_435_761) % 1_000_003;
        }
        entry
    };
    let dirs = (0..DIRS).map(|n| (Vec::new(), entry(format!("a-directory-{n:07}"), EntryKind::Directory, n), None));
    // Every second directory has two files, the others nothing.
    let files = (0..DIRS).map(|n| {
        let dir = format!("a-directory-{:07}", n / 2 * 2).into_bytes();
        (dir, entry(format!("{}.e{}", n % 2, n % 7), EntryKind::File, n), Some(Content::default()))
    });
    let tree = forge.tree(dirs.chain(files));
    forge.snapshot(&tree, &[]);
    let key: String = [7u8; 32].iter().map(|byte| format!("{byte:02x}")).collect();
    home.write("key", &key);
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["--repo", "repo", "--key-file", "key", "--quiet", "ls", "latest"], more].concat()
    }
    let text = |more: &[&str]| {
        let output = bounded(&home, &with(more));
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let by_size = text(&["--sort", "size", "--reverse", "-l"]);
    let sizes: Vec<u64> = by_size.lines().map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap()).collect();
    assert!(sizes.len() == 2 * DIRS && sizes.windows(2).all(|pair| pair[0] >= pair[1]));
    let by_name = text(&["--sort", "name"]);
    let paths: Vec<&str> = by_name.lines().collect();
    assert_eq!(&paths[..4], ["/a-directory-0000000", "/a-directory-0000000/0.e0", "/a-directory-0000000/1.e1", "/a-directory-0000001"]);
    assert!(paths.len() == 2 * DIRS && paths.windows(2).all(|pair| pair[0] < pair[1]));
    drop((by_name, by_size, sizes));
    let export = text(&["--ncdu"]);
    // By hand: as a tree of values it would take what the test has, not what is tested.
    assert_eq!(export.matches("{\"name\"").count(), 2 * DIRS + 1);
    assert_eq!(export.matches("\n[{\"name\"").count(), DIRS + 1, "each directory is one, empty or not");
    assert_eq!(export.matches('[').count(), export.matches(']').count());
}
