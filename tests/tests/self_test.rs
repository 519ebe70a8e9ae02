//! `self-test` as somebody meets it who has just installed the program: what it says, what it leaves (nothing), and that it can fail.

use crate::cli::{Home, ended, lines};
use rustix::process::{Pid, Signal, kill_process};
use seabed_tests::mount::Mount;
use std::fs;
use std::path::Path;
use std::process::Stdio;

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

#[test]
fn an_installation_that_works_says_so_and_leaves_nothing() {
    let home = Home::new();
    fs::create_dir(home.path("tmp")).unwrap();
    let output = home.command(&["self-test"]).env("TMPDIR", home.path("tmp")).output().unwrap();
    let text = ended(0, &output, &["self-test"]);
    for part in [
        "opens with its passphrase",
        "are backed up",
        "unchanged",
        "equal, byte by byte",
        "finds nothing wrong",
        "flipped bit",
        "all of it works",
    ] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    assert!(is_empty(&home.path("tmp")) && !home.path(".local").exists() && !home.path(".config").exists(), "something was left");
    let quiet = home.run(&["self-test", "--quiet", "--dir", "tmp"]);
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet:?}");
    assert!(is_empty(&home.path("tmp")));
}

#[test]
fn an_interrupted_one_cleans_up() {
    let home = Home::new();
    fs::create_dir(home.path("tmp")).unwrap();
    let mut child = home.command(&["self-test", "--dir", "tmp"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = std::time::Instant::now();
    // In the middle of it: the tree is being made, or backed up.
    while !fs::read_dir(home.path("tmp")).unwrap().flatten().any(|dir| dir.path().join("tree").exists()) {
        assert!(patience.elapsed().as_secs() < 60, "it never began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_empty(&home.path("tmp")), "something was left");
}

/// A disk that fills up in the middle.
#[test]
fn what_does_not_work_is_said_with_what_to_do() {
    let home = Home::new();
    let small = Mount::new("size=40m");
    let output = home.run(&["self-test", "--dir", small.path().to_str().unwrap()]);
    let text = ended(1, &output, &["self-test"]);
    assert!(text.contains("FAIL") && text.contains("make room"), "{text}");
    assert!(is_empty(small.path()), "something was left");
    let output = home.run(&["self-test", "--json", "--dir", small.path().to_str().unwrap()]);
    let summary = lines(&ended(1, &output, &["self-test"])).pop().unwrap();
    assert_eq!(summary["failures"], 1, "{summary}");
    let quiet = home.run(&["self-test", "--quiet", "--dir", small.path().to_str().unwrap()]);
    assert!(quiet.stdout.is_empty() && String::from_utf8_lossy(&quiet.stderr).contains("make room"), "{quiet:?}");
    ended(1, &home.run(&["self-test", "--dir", "nowhere"]), &["nowhere"]);
}
