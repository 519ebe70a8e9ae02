//! A second place as a stranger sets it up: `init --sibling-of`, `copy` either way round, `backup --to`, and what each says when a place is
//! away. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, lines};
use seabed_tests::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn snapshots(home: &Home, repo: &str) -> Vec<Value> {
    lines(&home.ends(0, &["snapshots", "--json", "--repo", repo])).remove(0).as_array().unwrap().clone()
}

/// A home with two snapshots, and a second place that is empty.
fn home() -> Home {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--repo", "first", "--series", "docs", "--host", "a", "src"]);
    home.write("src/new.txt", "gamma\n");
    home.ends(0, &["backup", "--repo", "first", "--series", "docs", "--host", "b", "src"]);
    home.ends(0, &["init", "--repo", "second", "--sibling-of", "first"]);
    home
}

fn message<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    lines.iter().find(|line| line["message_type"] == kind).unwrap_or_else(|| panic!("no {kind}: {lines:?}"))
}

#[test]
fn copies_go_there_and_come_back() {
    let home = home();
    let out = home.ends(0, &["copy", "--repo", "first", "--to", "second", "--dry-run"]);
    assert!(out.contains("would copy 2 snapshots, 0 already there") && snapshots(&home, "second").is_empty(), "{out}");
    home.ends(0, &["copy", "--repo", "first", "--to", "second", "--host", "a"]);
    assert_eq!(snapshots(&home, "second").len(), 1);
    let out = lines(&home.ends(0, &["copy", "--repo", "first", "--to", "second", "--json"]));
    let summary = message(&out, "summary");
    assert_eq!((summary["snapshots_copied"].as_u64(), summary["snapshots_present"].as_u64()), (Some(1), Some(1)), "{summary}");
    home.ends(0, &["check", "--read-data", "--repo", "second"]);
    home.ends(0, &["restore", "latest", "--repo", "second", "--target", "back"]);
    let back = home.path("back").join(home.path("src").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back.join("new.txt")).unwrap(), "gamma\n");
    // The other way round, as restic has it; all of it is there.
    let out = home.ends(0, &["copy", "--from-repo", "second", "--repo", "first"]);
    assert!(out.contains("0 snapshots copied, 2 already there"), "{out}");
    // Into a place that has lost everything.
    home.ends(0, &["init", "--repo", "third", "--sibling-of", "second"]);
    home.ends(0, &["copy", "--from-repo", "second", "--repo", "third", "latest"]);
    assert_eq!(snapshots(&home, "third").len(), 1);
}

#[test]
fn one_place_that_fails_keeps_no_other_from_its_copy() {
    let home = home();
    home.ends(3, &["copy", "--repo", "first", "--to", "nowhere", "--to", "second"]);
    assert_eq!(snapshots(&home, "second").len(), 2);
    home.ends(10, &["copy", "--repo", "first", "--to", "nowhere"]);
    home.ends(20, &["copy", "--repo", "first"]);
    home.ends(20, &["copy", "--repo", "first", "--to", "second", "--from-repo", "second"]);
    home.ends(20, &["copy", "--repo", "first", "--to", "first"]);
    home.ends(1, &["copy", "--repo", "first", "--to", "second", "ffffffff"]);
    home.ends(20, &["copy", "--repo", "first", "--to", "second", "latest:/src"]);
}

#[test]
fn a_backup_goes_to_several_places() {
    let home = home();
    home.write("src/third.txt", "delta\n");
    let out = home
        .ends(0, &["backup", "--repo", "first", "--to", "second", "--series", "docs", "--exec", "dump=echo once >>runs; cat runs", "src"]);
    assert!(out.contains("saved in"), "{out}");
    assert_eq!(fs::read_to_string(home.path("runs")).unwrap(), "once\n");
    assert_eq!((snapshots(&home, "first").len(), snapshots(&home, "second").len()), (3, 1));
    assert_eq!(home.ends(0, &["dump", "latest", "dump", "--repo", "second"]), "once\n");
    // One that is away is said; the others have it.
    home.ends(3, &["backup", "--repo", "first", "--to", "nowhere", "--to", "second", "src"]);
    assert_eq!((snapshots(&home, "first").len(), snapshots(&home, "second").len()), (4, 2));
    // The first one is away: the next one takes it.
    home.ends(3, &["backup", "--repo", "nowhere", "--to", "second", "src"]);
    assert_eq!((snapshots(&home, "first").len(), snapshots(&home, "second").len()), (4, 3));
    home.ends(10, &["backup", "--repo", "nowhere", "--to", "gone", "src"]);
    home.ends(20, &["backup", "--repo", "first", "--to", "first", "src"]);
    home.ends(0, &["backup", "--repo", "first", "--to", "second", "--dry-run", "src"]);
    assert_eq!((snapshots(&home, "first").len(), snapshots(&home, "second").len()), (4, 3));
    home.ends(0, &["check", "--read-data", "--repo", "second"]);
}

#[test]
fn what_goes_over_the_wire_to_both_is_counted() {
    let home = home();
    let server = S3Server::start();
    let run = |code: i32, args: &[&str]| {
        let mut command = home.command(args);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_REGION", "us-east-1");
        crate::cli::ended(code, &command.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap(), args)
    };
    let (a, b) = (server.url("a"), server.url("b"));
    run(0, &["init", "--repo", &a, "--sibling-of", "first"]);
    run(0, &["init", "--repo", &b, "--sibling-of", "first"]);
    run(0, &["copy", "--repo", "first", "--to", &a]);
    server.clear_log();
    let out = lines(&run(0, &["copy", "--repo", &a, "--to", &b, "--json"]));
    let requests = message(&out, "summary")["requests"].as_u64().unwrap();
    assert!(requests > server.log().len() as u64 / 2 && requests <= server.log().len() as u64, "{requests} of {}", server.log().len());
    run(0, &["restore", "latest", "--repo", &b, "--target", "back"]);
}

/// Somebody holds the turn at every repository that the cache knows.
fn turns_held(home: &Home, lock: &str) -> Vec<fs::File> {
    let caches = fs::read_dir(home.path(".cache/seabed")).unwrap();
    let held: Vec<_> = caches.map(|entry| fs::File::create(entry.unwrap().path().join(lock)).unwrap()).collect();
    held.iter().for_each(|file| file.lock().unwrap());
    held
}

/// Two runs of a command wait, and say for what, while somebody holds the turn; then both go through.
pub fn two_take_turns(home: &Home, lock: &str, says: &str, args: &[&str]) {
    let held = turns_held(home, lock);
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let mut command = home.command(args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            while !line.contains(says) {
                line.clear();
                assert!(said.read_line(&mut line).unwrap() > 0, "it waits for nobody");
            }
            (child, said)
        })
        .collect();
    drop(held);
    for (mut child, mut said) in runs {
        std::io::copy(&mut said, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// Two copies that planned at the same time each brought every snapshot: the target had all of them twice, under two ids.
#[test]
fn two_copies_of_a_machine_take_turns() {
    let home = home();
    home.ends(0, &["snapshots", "--repo", "second"]);
    two_take_turns(&home, "copy.lock", "another copy into", &["copy", "--repo", "first", "--to", "second"]);
    assert_eq!(snapshots(&home, "second").len(), 2);
    // Whoever only asks what there would be waits for nobody.
    let _held = turns_held(&home, "copy.lock");
    home.ends(0, &["copy", "--repo", "first", "--to", "second", "--dry-run"]);
}

/// Interrupted while the first of two places was handled, which had everything, it ended with 0 and the second one had nothing; what had
/// failed before was not said.
#[test]
fn interrupted_before_the_last_place_it_is_not_done() {
    let home = home();
    home.ends(0, &["init", "--repo", "third", "--sibling-of", "first"]);
    home.ends(0, &["copy", "--repo", "first", "--to", "second"]);
    let add = ["key", "add", "--repo", "second", "--new-password-command", "echo a long passphrase", "--kdf-memory", "19"];
    home.ends(0, &add);
    // Opening the second place, it is interrupted.
    home.write("pass.sh", "kill -INT $PPID; echo a long passphrase");
    let places = ["--to", "nowhere", "--to", "second", "--to", "third"];
    let args = [&["copy", "--repo", "first", "--to-password-command", "sh pass.sh"][..], &places].concat();
    let output = home.run(&args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("nowhere"), "{said}");
    assert!(snapshots(&home, "third").is_empty());
}

/// A dry run over a source that has lost something ended with 23, damage, where the copy itself ends with 3: it copies the others.
#[test]
fn a_dry_run_ends_as_the_copy_does() {
    let home = Home::new();
    let lists = || -> Vec<_> {
        let folders = fs::read_dir(home.path("first/lists")).unwrap().map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
    };
    home.ends(0, &["backup", "--init", "--repo", "first", "--series", "docs", "src"]);
    let before = lists();
    home.write("other/new.txt", "gamma\n");
    home.ends(0, &["backup", "--repo", "first", "--series", "more", "other"]);
    home.ends(0, &["init", "--repo", "second", "--sibling-of", "first"]);
    lists().iter().filter(|path| !before.contains(path)).for_each(|path| fs::remove_file(path).unwrap());
    home.ends(3, &["copy", "--repo", "first", "--to", "second", "--dry-run"]);
    home.ends(3, &["copy", "--repo", "first", "--to", "second"]);
    assert_eq!(snapshots(&home, "second").len(), 1);
    home.ends(23, &["copy", "--repo", "first", "--to", "second", "--series", "more", "--dry-run"]);
    home.ends(23, &["copy", "--repo", "first", "--to", "second", "--series", "more"]);
}
