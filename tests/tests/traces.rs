//! What runs and collections leave behind, and what others take away: `check` says each by its name and what to do, and afterwards it is quiet.

use crate::cli::{Home, lines};
use seabed_engine::backup::{ParentChoice, backup};
use seabed_engine::check::{CheckOptions, CheckReport, Warning, check};
use seabed_engine::clock;
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::forget::{forget, forget_lost, lost};
use seabed_engine::gc::{GcOptions, GcReport, MaxUnused, collect, plan};
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, init, open, options};
use seabed_tests::trees::noise;
use serde_json::Value;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

const DAY: i64 = 86_400 * 1_000_000_000;

/// A store whose clock is right.
fn store() -> (MemoryStore, i64) {
    let (store, now) = (MemoryStore::new(), clock::now().as_nanos().unwrap());
    store.set_now(now);
    (store, now)
}

fn stored(repository: &Repository, n: u64) -> SnapshotId {
    let mut options = options(&[]);
    options.streams = vec![bytes_stream("s", noise(n, 40_000))];
    options.parent = ParentChoice::None;
    backup(repository, options, &Silent).unwrap().snapshot.unwrap()
}

fn looked(repository: &Repository) -> CheckReport {
    check(repository, &CheckOptions::default(), &Silent).unwrap()
}

/// The only warning of a report without findings.
fn warned(repository: &Repository) -> Option<String> {
    let report = looked(repository);
    assert!(report.is_clean() && report.warnings.len() < 2, "{report:?}");
    report.warnings.first().map(ToString::to_string)
}

fn gc(repository: &Repository, grace_days: u64) -> Result<GcReport, Error> {
    repository.refresh()?;
    let grace = Duration::from_secs(grace_days * 86_400);
    let options = GcOptions { grace, max_unused: MaxUnused::Part(0.0), ..GcOptions::default() };
    collect(repository, plan(repository, &options, &Silent)?, &Silent)
}

#[test]
fn a_run_that_died_long_ago_is_told_of() {
    let (store, now) = store();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    stored(&repository, 1);
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let state = faulty.clone();
    faulty.before(StoreOp::Put, "snapshots/", move || {
        state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
    });
    let mut dying = options(&[]);
    dying.streams = vec![bytes_stream("s", noise(2, 40_000))];
    assert!(backup(&open(Arc::new(faulty), None).unwrap(), dying, &Silent).is_err());
    assert_eq!(store.list("pending").unwrap().len(), 1);
    // As long as somebody may go on from it, it is nothing to speak of.
    store.set_now(now + 13 * DAY);
    assert_eq!(warned(&repository), None);
    store.set_now(now + 15 * DAY);
    let text = warned(&repository).unwrap();
    assert!(text.starts_with("pending/") && text.contains("a run that died 14 days ago: `gc` removes it"), "{text}");
    gc(&repository, 1).unwrap();
    assert_eq!(warned(&repository), None);
}

#[test]
fn what_was_condemned_and_is_still_there_is_told_of() {
    let (store, now) = store();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = stored(&repository, 1);
    stored(&repository, 2);
    forget(&repository, &[first]).unwrap();
    store.set_now(now + 2 * DAY);
    let condemned = gc(&repository, 1).unwrap().condemned;
    assert!(condemned > 0);
    store.set_now(now + 9 * DAY);
    assert_eq!(warned(&repository), None);
    store.set_now(now + 11 * DAY);
    let report = looked(&repository);
    assert!(report.is_clean(), "{report:?}");
    assert!(matches!(&report.warnings[..], [Warning::RecordOpen { packs, days: 9, .. }] if *packs == condemned), "{report:?}");
    assert!(report.warnings[0].to_string().ends_with("they are still there: `gc` deletes them"), "{report:?}");
    gc(&repository, 1).unwrap();
    assert_eq!(warned(&repository), None);
}

/// A manifest that was lost ended all collections for ever: nothing could say that it is known to be lost.
#[test]
fn a_loss_can_be_accepted() {
    let (store, _) = store();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let ids: Vec<SnapshotId> = (0..5).map(|n| stored(&repository, n)).collect();
    assert!(lost(&repository).unwrap().is_empty());
    // Of two in a row only the second is vouched for by one that is there: the first is a number.
    let name = ObjectName::snapshot;
    let taken: Vec<_> = [1, 2].map(|n| (name(&ids[n]), store.get(&name(&ids[n]), 1 << 20).unwrap())).into();
    taken.iter().for_each(|(name, _)| assert!(store.remove(name)));
    let stranger = open(Arc::new(store.clone()), None).unwrap();
    let report = looked(&stranger);
    let texts: Vec<String> = report.findings.iter().map(|finding| finding.error.to_string()).collect();
    assert!(
        texts.len() == 2 && texts[0].starts_with(&format!("snapshot {} was lost", ids[2])) && texts[1].starts_with("snapshot 2 of writer")
    );
    assert!(report.is_damaged() && !report.rolled_back);
    assert!(gc(&stranger, 0).is_err_and(|error| matches!(error, Error::SnapshotLost { .. })));
    let missed = lost(&stranger).unwrap();
    assert_eq!(missed.iter().map(|lost| (lost.snapshot, lost.sequence)).collect::<Vec<_>>(), [(Some(ids[2]), 3), (None, 2)]);
    forget_lost(&stranger, &missed).unwrap();
    assert!(lost(&stranger).unwrap().is_empty());
    assert!(looked(&open(Arc::new(store.clone()), None).unwrap()).is_clean());
    gc(&stranger, 0).unwrap();
    assert!(looked(&open(Arc::new(store.clone()), None).unwrap()).is_clean());
    // One that turns up again is forgotten, and missed by nobody.
    taken.iter().for_each(|(name, manifest)| store.put(name, manifest).unwrap());
    let late = open(Arc::new(store), None).unwrap();
    late.refresh().unwrap();
    assert!(!late.catalog().ids().unwrap().contains(&ids[2]));
}

/// Runs, checks the exit code and that all of these words are said, and returns what was.
fn says(home: &Home, code: i32, args: &[&str], words: &[&str]) -> String {
    let output = home.run(args);
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{args:?}: {text}");
    text
}

/// A collection beside a snapshot whose source is gone too told of `check` and of a backup that heals, and of no way out.
#[test]
fn a_snapshot_that_nothing_heals_is_out_of_the_way_when_it_is_forgotten() {
    let home = Home::new();
    let packs = || -> std::collections::BTreeSet<_> {
        let folders = fs::read_dir(home.repository().join("data")).unwrap().map(|folder| folder.unwrap().path());
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|pack| pack.unwrap().path())).collect()
    };
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let before = packs();
    home.write("src/a.txt", "what only this one holds");
    home.ends(0, &["backup", "--quiet", "src"]);
    packs().difference(&before).for_each(|pack| fs::remove_file(pack).unwrap());
    home.write("src/a.txt", "gamma");
    home.ends(0, &["backup", "--quiet", "src"]);
    let ids = home.ends(0, &["snapshots", "--ids"]);
    let second = &ids.lines().nth(1).unwrap()[..8];
    says(&home, 23, &["gc", "--grace", "0"], &["nothing was deleted", "`seabed check`", "`seabed forget ID`"]);
    says(&home, 23, &["check"], &[&format!("hurts snapshot {second}")]);
    says(&home, 0, &["forget", second], &["forgot 1 snapshot"]);
    says(&home, 0, &["gc", "--grace", "0"], &[]);
    says(&home, 0, &["check", "--read-data"], &["no damage found"]);
}

/// A backup whose parent's metadata was gone said that its parent "cannot be read to its end", and left open whether it was whole itself.
#[test]
fn a_backup_that_cannot_read_its_parent_says_that_it_lacks_nothing() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    ["names", "lists"].iter().for_each(|class| fs::remove_dir_all(home.repository().join(class)).unwrap());
    home.write("src/a.txt", "changed");
    says(&home, 0, &["backup", "src"], &["so files were read again", "this backup lacks nothing because of it"]);
    says(&home, 0, &["restore", "latest", "--target", "out"], &[]);
}

#[test]
fn what_somebody_took_away_is_said_with_the_next_step() {
    let home = Home::new();
    for n in 0..4 {
        home.write("src/a.txt", &format!("{n}"));
        home.ends(0, &["backup", "--init", "--quiet", "src"]);
    }
    let ids = home.ends(0, &["snapshots", "--ids"]);
    let second = ids.lines().nth(1).unwrap();
    fs::remove_file(home.repository().join("snapshots").join(second)).unwrap();
    let says = |code: i32, args: &[&str], words: &[&str]| says(&home, code, args, words);
    // Who saw it says so once; the rest of the world by who vouches for it.
    says(23, &["check"], &[second, "was lost or taken away", "`seabed forget --lost`"]);
    says(0, &["snapshots"], &["1 snapshot that this machine has seen", "`seabed check` says more"]);
    says(23, &["--no-cache", "check"], &[second, "`seabed forget --lost`"]);
    let text = says(23, &["gc"], &[second, "`seabed forget --lost`", "nothing is collected"]);
    assert!(!text.contains("heals"), "{text}");
    let told = lines(&says(0, &["forget", "--lost", "--dry-run", "--json"], &[])).remove(0);
    assert_eq!(told["lost"][0]["id"], second, "{told}");
    says(23, &["check"], &[]);
    says(0, &["forget", "--lost"], &[&second[..8], "forgot 1 lost snapshot"]);
    says(0, &["check"], &["no damage found"]);
    says(0, &["gc", "--grace", "0"], &[]);
    says(0, &["check", "--read-data"], &["no damage found"]);
}

#[test]
fn an_older_copy_is_told_from_a_loss() {
    let home = Home::new();
    let stored = |n: u32| {
        home.write("src/a.txt", &format!("{n}"));
        home.ends(0, &["backup", "--init", "--quiet", "src"]);
    };
    (0..3).for_each(stored);
    let (repository, older) = (home.repository(), home.path("older"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    copy(&repository, &older);
    (3..5).for_each(stored);
    fs::rename(&repository, home.path("newer")).unwrap();
    copy(&older, &repository);
    let output = home.run(&["check"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(23), "{text}");
    assert!(text.contains("an older copy of it was put back") && text.contains("2 problems found"), "{text}");
    let summary: Value = lines(&home.ends(23, &["check", "--json"])).into_iter().find(|l| l["message_type"] == "summary").unwrap();
    assert_eq!(summary["num_errors"], 2, "{summary}");
    assert_eq!(summary["rolled_back"], true, "{summary}");
    // Another machine has seen nothing else.
    home.ends(0, &["--no-cache", "check"]);
    home.ends(20, &["forget", "--lost", "--keep-last", "1"]);
    home.ends(20, &["forget", "--lost", "latest"]);
    home.ends(0, &["forget", "--lost"]);
    assert!(home.ends(0, &["forget", "--lost"]).contains("nothing is lost"));
    home.ends(0, &["check"]);
    stored(5);
    home.ends(0, &["gc", "--grace", "0"]);
    home.ends(0, &["check", "--read-data"]);
    home.ends(0, &["--no-cache", "check"]);
}
