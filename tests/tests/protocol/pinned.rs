//! Schedules that once did harm, and those that no protocol could bear.

use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::observe::Silent;
use seabed_tests::repo::open;
use seabed_tests::schedule::choice::{Budgets, Choice};
use seabed_tests::schedule::crew::Crew;
use seabed_tests::schedule::cues::{Cue, Cues};
use seabed_tests::schedule::explore::PROCESSES_MAX;
use seabed_tests::schedule::pins::PINS;
use seabed_tests::schedule::scenario::Scenario;
use seabed_tests::schedule::scenes::Scenes;
use seabed_tests::schedule::source::Source;
use seabed_tests::schedule::verbs::{Verb, perform};
use seabed_tests::schedule::world::Clock;
use std::sync::Arc;

#[test]
fn all_pins_hold() {
    let scenes = Scenes::new();
    let failures = PINS.iter().filter_map(|pin| Some(format!("{}: {}", pin.name, pin.fails(&pin.scenario(&scenes))?)));
    let failures: Vec<String> = failures.collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Plays a schedule of "f-b-g" in which two listings of a folder lack something, so that a snapshot is acknowledged and loses data. That is
/// damage like any other: a check says so, and the next backup of the same source heals it.
fn costs_data_until_the_next_backup(hidden: &'static [&'static str], cues: &'static [Cue]) {
    let scene = Scenes::new().get("f-b-g");
    let scenario = Scenario { budgets: Budgets { lacks: 2, ..Budgets::switches(u32::MAX) }, hidden, ..scene };
    let played = scenario.play(&Crew::new(PROCESSES_MAX), Box::new(Cues::new(cues)));
    let lost = played.violation.unwrap_or_default();
    assert!(lost.starts_with("LOST"), "{lost}\n{}", played.trace.text(&played.world));

    let store = Arc::new(played.world.store.clone());
    let looked =
        || check(&open(store.clone(), None).unwrap(), &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(!looked().is_clean());
    perform(&Verb::Backup(Source::streams("ad")), store.clone(), Clock::default()).map(drop).unwrap();
    assert!(looked().is_clean(), "{:?}", looked().findings);
}

/// More than the protocol assumes: the newest record is not listed to a backup, which then acknowledges a snapshot whose data a collection
/// deletes.
#[test]
fn a_hidden_record_costs_data_until_the_next_backup() {
    costs_data_until_the_next_backup(
        &["records"],
        &[
            (1, "PUT", "pending", Choice::Run(0)),
            // The collection looks at the roots for the last time, and none of them needs what the backup relies on.
            (2, "PUT", "records", Choice::Run(2)),
            (2, "LIST", "forgotten", Choice::Run(1)),
            (1, "LIST", "records", Choice::Lack(1, 0)),
            (1, "LIST", "records", Choice::Lack(1, 0)),
        ],
    );
}

/// More than the protocol assumes: a snapshot that is committed while a collection plans is known to nobody else, and both listings of a
/// collection lack it. One of 26,000 schedules of hidden pendings did this, and said so.
#[test]
fn a_new_snapshot_that_two_listings_lack_costs_data_until_the_next_backup() {
    costs_data_until_the_next_backup(
        &["snapshots"],
        &[
            (0, "PUT", "forgotten", Choice::Run(0)),
            (2, "LIST", "lists", Choice::Run(1)),
            (2, "LIST", "snapshots", Choice::Lack(2, 2)),
            (2, "LIST", "snapshots", Choice::Lack(2, 2)),
        ],
    );
}
