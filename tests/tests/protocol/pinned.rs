//! Schedules that once did harm, each with what it did.

use seabed_tests::schedule::choice::{Budgets, Choice};
use seabed_tests::schedule::crew::Crew;
use seabed_tests::schedule::cues::{Cue, Cues};
use seabed_tests::schedule::explore::PROCESSES_MAX;
use seabed_tests::schedule::scenario::Scenario;
use seabed_tests::schedule::scenes::Scenes;
use seabed_tests::schedule::stage::End;

/// Plays it, and says of each process whether it succeeded.
fn play(scene: &str, lacks: u32, cues: &[Cue]) -> Vec<bool> {
    let scene = Scenes::new().get(scene);
    let scenario = Scenario { budgets: Budgets { lacks, ..Budgets::switches(u32::MAX) }, ..scene };
    let played = scenario.play(&Crew::new(PROCESSES_MAX), Box::new(Cues::new(cues)));
    let text = played.trace.text(&played.world);
    assert_eq!(played.chooser.diverged(), 0, "cues that never came: the engine does something else by now, and this tests nothing\n{text}");
    assert!(played.violation.is_none(), "{}\n{text}", played.violation.unwrap_or_default());
    played.ends.iter().map(|end| matches!(end, End::Done)).collect()
}

/// A leaf that only a pending needs, and that another collection deletes before it is read, was marked all the same. When the snapshot was
/// there, nobody walked below it once more: what it alone needed was deleted. One backup and two collections, on a store without fault.
#[test]
fn what_hangs_below_a_leaf_that_could_not_be_read() {
    let cues = [
        (0, "PUT", "data", Choice::Run(1)),
        // The first collection sees metadata of the backup, and no data: the one goes, the other stays.
        (1, "LIST", "names", Choice::Run(0)),
        (0, "PUT", "index", Choice::Run(1)),
        // It has listed the pendings for the last time.
        (1, "LIST", "index", Choice::Run(0)),
        (0, "LIST", "records", Choice::Run(2)),
        // The second collection knows the pending, and the segment without the packs that are rescued now.
        (2, "LIST", "data", Choice::Run(0)),
        (0, "PUT", "index", Choice::Run(2)),
        (2, "GET", "records", Choice::Run(1)),
    ];
    assert_eq!(play("b-g-g-files", 0, &cues), [true, true, true]);
}

/// Of a pending whose pack was collected before its segment was put, the index speaks, and no pack is there. Collections took that for damage
/// for as long as the pending counted.
#[test]
fn a_pending_that_lacks_something_stops_no_collection() {
    let cues = [(1, "PUT", "index", Choice::Run(2))];
    assert_eq!(play("f-b-g-g", 0, &cues), [true, false, true, true]);
}

/// What another collection has deleted between a listing and a read was reported as damage.
#[test]
fn a_collection_that_another_one_overtakes_finds_no_damage() {
    let cues = [(0, "LIST", "records", Choice::Run(1))];
    assert_eq!(play("g-g-dead-only", 0, &cues), [true, true]);
}

/// A snapshot that is committed while a collection plans is known to nobody else: where one listing leaves it out, it was collected.
#[test]
fn a_new_snapshot_that_one_listing_lacks() {
    let cues = [(2, "LIST", "data", Choice::Run(1)), (2, "PUT", "records", Choice::Run(2)), (2, "LIST", "snapshots", Choice::Lack(2, 2))];
    assert_eq!(play("short-f-b-g", 1, &cues), [true, true, true]);
}

/// A pending whose leaves a short listing of the index hid at first, and that is whole when it counts.
#[test]
fn a_pending_that_is_whole_the_second_time() {
    let cues = [(0, "PUT", "snapshots", Choice::Run(1)), (1, "LIST", "index", Choice::Lack(1, 0))];
    assert_eq!(play("b-g-files", 1, &cues), [true, true]);
}
