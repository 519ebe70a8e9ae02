//! What disks do to repositories in directories, by the real binary: reads, writes and fsyncs that fail, network file systems that go
//! stale, disks that are not there. It obeys the local rows of the fault list and DESIGN section 2 (exit codes).

use crate::cli::Home;
use seabed_tests::mount::Mount;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A library that goes before the C library and lets calls fail: see `failing.c`.
fn failing() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (library, source) = (folder.join("failing.so"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/failing.c"));
        // Under a name of its own first: another run of these tests may be using the old one.
        let fresh = folder.join(format!("failing.{}.so", std::process::id()));
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source).output();
        let compiled = compiled.unwrap_or_else(|e| panic!("this test needs a C compiler, cc: {e}"));
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        fs::rename(fresh, &library).unwrap();
        library
    })
}

/// Calls that fail.
#[derive(Clone, Copy)]
struct Fail<'a> {
    /// `read`, `write` or `fsync`.
    call: &'a str,
    /// A part of the path of the file.
    path: &'a str,
    /// The error's number.
    errno: i32,
    /// How many such calls pass first.
    skip: u32,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const ENOTCONN: i32 = 107;
const ESTALE: i32 = 116;
const EDQUOT: i32 = 122;

fn run_with(home: &Home, fail: Fail<'_>, args: &[&str]) -> Output {
    let text = format!("{}:{}:{}:{}", fail.call, fail.errno, fail.skip, fail.path);
    home.command(args).env("LD_PRELOAD", failing()).env("SEABED_TEST_FAIL", text).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stored() -> Home {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    home
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() { todo.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

// Row: EIO on read: damage report: what cannot be read is named, the rest comes back.
#[test]
fn a_pack_that_cannot_be_read_is_named_and_the_rest_is_restored() {
    let home = stored();
    let first = files(&home.repository().join("data"));
    home.write("src/later.txt", &"later ".repeat(3000));
    home.ends(0, &["backup", "src"]);
    let bad = fs::canonicalize(&first[0]).unwrap();
    let fail = Fail { call: "read", path: bad.to_str().unwrap(), errno: EIO, skip: 0 };
    let hash = bad.file_name().unwrap().to_str().unwrap();
    let output = run_with(&home, fail, &["check", "--read-data"]);
    assert!(!output.status.success() && errors(&output).contains(hash), "{}", errors(&output));
    let output = run_with(&home, fail, &["restore", "latest", "--target", "back", "--keep-going"]);
    assert!(!output.status.success(), "{}", errors(&output));
    let top = home.path("src");
    let back = home.path("back").join(top.strip_prefix("/").unwrap());
    for lost in ["a.txt", "sub/b.txt"] {
        assert!(errors(&output).contains(&format!("{}/{lost}", top.display())) && !back.join(lost).exists(), "{}", errors(&output));
    }
    assert_eq!(fs::read(back.join("later.txt")).unwrap(), fs::read(top.join("later.txt")).unwrap());
    home.ends(0, &["check", "--read-data"]);
}

// Rows: ENOSPC/EDQUOT at any local write; EIO write; ESTALE/ENOTCONN midway; fsync failure. No acknowledgement, temp files removed,
// what was there before is read, and the next run succeeds.
#[test]
fn a_write_that_fails_ends_the_run_and_nothing_else() {
    let home = stored();
    let repository = fs::canonicalize(home.repository()).unwrap();
    let path = repository.to_str().unwrap();
    let snapshots = || files(&repository.join("snapshots")).len();
    let mut failed = 0;
    let cases = [
        ("write", ENOSPC, &[0, 2, 8][..]),
        ("write", EDQUOT, &[0, 4]),
        ("write", EIO, &[0, 5]),
        ("write", ESTALE, &[1, 6]),
        ("fsync", EIO, &[0, 1, 2, 4, 6, 8, 10, 12]),
        ("fsync", ENOTCONN, &[3, 9]),
        ("fsync", ENOSPC, &[5]),
    ];
    for (call, errno, skips) in cases {
        for skip in skips.iter().copied() {
            home.write("src/new.txt", &format!("{call} {errno} {skip} ").repeat(500));
            let before = snapshots();
            let output = run_with(&home, Fail { call, path, errno, skip }, &["backup", "src"]);
            let what = format!("{call} {errno} {skip}: {}", errors(&output));
            match output.status.code() {
                // Past the last such call.
                Some(0) => assert_eq!(snapshots(), before + 1, "{what}"),
                Some(1) => {
                    failed += 1;
                    assert_eq!(snapshots(), before, "{what}");
                    let full = matches!(errno, ENOSPC | EDQUOT);
                    assert!(!full || errors(&output).contains("make room"), "{what}");
                }
                _ => panic!("{what}"),
            }
            assert_eq!(files(&repository.join("tmp")).len(), 0, "{what}");
        }
    }
    assert!(failed > 12, "{failed}");
    home.ends(0, &["backup", "src"]);
    home.ends(0, &["check", "--read-data"]);
    home.ends(0, &["restore", "latest", "--target", "back"]);
}

// Row: unmount: the empty mount point of a disk that is not there is no repository, and stays empty.
#[test]
fn an_empty_mount_point_is_no_repository() {
    let home = Home::new();
    let mount = Mount::new("size=16m");
    let at = mount.path().to_str().unwrap();
    home.ends(0, &["init", "--repo", at]);
    home.ends(0, &["backup", "src", "--repo", at]);
    mount.take_away();
    for args in [&["backup", "src", "--repo", at][..], &["snapshots", "--repo", at], &["check", "--repo", at], &["rebuild", "--repo", at]] {
        home.ends(10, args);
    }
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}
