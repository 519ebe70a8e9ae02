//! The self-test of the schedules: each rule of the protocol is taken away from the engine, one at a time, and the schedules have to find
//! out. A rule whose absence goes unnoticed is not tested, and one that nobody misses is no rule. Run with the feature `faults`:
//! `cargo test -p seabed-tests --features faults --test seeded -- --nocapture`; SEABED_TEST_FAULT tries one of them, and shows what it does.

use seabed_engine::faults::seed;
use seabed_tests::schedule::explore::explore;
use seabed_tests::schedule::pins::PINS;
use seabed_tests::schedule::scenes::Scenes;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Schedules of a scenario after which it counts as one that does not find a fault. On two processors they take less than a minute.
const SCHEDULES_MAX: u64 = 5000;
/// Schedules of each scenario in which nothing may be found while all rules stand.
const SCHEDULES_CONTROL: u64 = 60;

/// Each rule by the name of its absence in the protocol's model, and scenarios or pinned schedules one of which finds it.
const FAULTS: &[(&str, &[&str])] = &[
    // Success is reported right after the PUT of the manifest. The pending is a root, unless it counts as one of a dead run.
    ("no-final-check", &["stale-f-b-g"]),
    ("no-check", &["b-g"]),
    ("check-before-put", &["b-g"]),
    ("no-remark", &["b-g"]),
    ("remark-before-record", &["b-g"]),
    // G4 does not heed what other collections condemned.
    ("own-only", &["a-copy-that-another-one-condemned"]),
    ("late-record-deleted", &["a-record-that-comes-after-the-roots"]),
    ("reuse-kept", &["a-copy-that-another-one-condemned"]),
    ("drop-records", &["b-g"]),
    ("kept-no-copy", &["b-g"]),
    ("unindexed-witness", &["a-copy-that-is-not-indexed"]),
    ("ghost-witness", &["lost-dup-g-g"]),
    ("orphan-unread", &["lost-index-g-g"]),
    ("merge-drops-absent", &["merge-b-g-g"]),
    ("merge-deletes-first", &["merge-b-g-g"]),
    ("merge-deletes-all", &["merge-b-g-g"]),
    ("leaf-unchecked", &["f-b-g-files", "b-g-files", "f-same-g-g"]),
    ("undelete-by-removal", &["u-g"]),
    ("undelete-no-check", &["u-g"]),
    ("same-id", &["resume-f-b-b-g"]),
    ("skip-unreadable", &["short-f-b-g-files"]),
    ("seg-before-pack", &["a-segment-before-its-pack"]),
    ("rescue-unindexed", &["b-g", "f-b-g"]),
    ("record-unconfirmed", &["late-f-b-g"]),
    ("no-pending", &["b-g", "f-b-g"]),
    ("resumer-deletes", &["a-run-that-is-not-dead"]),
    ("giveup-deletes-pending", &["late-f-b-g", "late2-f-b-g"]),
    ("pending-aborts", &["a-pending-that-lacks-something"]),
    ("own-records-only-deleted", &["late-g-g"]),
    ("records-before-index", &["a-copy-that-was-condemned-meanwhile"]),
    ("fold-page-order", &["a-record-that-is-folded-meanwhile"]),
    ("short-records-trusted", &["a-hole-among-the-records"]),
    ("short-roots-trusted", &["a-snapshot-that-was-stolen"]),
    // A CHECK of a part of a snapshot vouches for the whole.
    ("mid-base-forward", &["a-part-vouches-for-no-whole"]),
];

/// One test: the rules are taken away from the whole process.
#[test]
fn every_rule_is_missed() {
    let scenes = Scenes::new();
    let only = std::env::var("SEABED_TEST_FAULT").ok();
    let mut unnoticed = Vec::new();
    let mut control = BTreeSet::new();
    for (fault, names) in FAULTS.iter().filter(|(fault, _)| only.as_ref().is_none_or(|only| only == fault)) {
        let began = Instant::now();
        let mut schedules = 0;
        let found = names.iter().find_map(|name| {
            // What was there before was made with all rules in place.
            let Some(pin) = PINS.iter().find(|pin| pin.name == *name) else {
                let scene = scenes.get(name);
                seed(Some(fault));
                let found = explore(&scene, SCHEDULES_MAX);
                seed(None);
                schedules += found.schedules;
                control.insert(*name);
                return found.failure;
            };
            let scenario = pin.scenario(&scenes);
            seed(Some(fault));
            let failure = pin.fails(&scenario);
            if failure.is_none() && only.is_some() {
                let played = pin.play(&scenario);
                println!("{}", played.trace.text(&played.world));
            }
            seed(None);
            schedules += 1;
            failure
        });
        let seconds = began.elapsed().as_secs_f64();
        match found {
            Some(failure) => {
                let (scene, steps, why) = (&failure.scenario, failure.script.len(), failure.why.lines().next().unwrap_or_default());
                println!("{fault}: {scene}, schedule {schedules}, {seconds:.1} s, {steps} interventions: {why}");
                if only.is_some() {
                    println!("{failure}");
                }
            }
            None => {
                println!("{fault}: NOT FOUND in {schedules} schedules, {seconds:.1} s");
                unnoticed.push(fault);
            }
        }
    }
    // Scenarios that find something whatever the engine does would pass all of the above.
    for name in control {
        let found = explore(&scenes.get(name), SCHEDULES_CONTROL);
        assert!(found.failure.is_none(), "with all rules in place: {}", found.failure.unwrap());
    }
    assert!(unnoticed.is_empty(), "nobody misses {unnoticed:?}");
}

/// The engine and the table name the same rules.
#[test]
fn every_rule_is_tried() {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src")];
    let mut found = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("seeded(\"").skip(1).filter_map(|rest| rest.split_once('"'));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    let tried: BTreeSet<String> = FAULTS.iter().map(|(fault, _)| (*fault).to_owned()).collect();
    assert_eq!(found, tried);
    assert_eq!(tried.len(), FAULTS.len());
}
