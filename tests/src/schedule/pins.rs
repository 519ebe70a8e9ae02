//! Schedules that once did harm, or would if a rule of the protocol were missing, each with what it does. They are played in every run; those
//! that take too many interventions to be found by search are what shows that their rule is missed.

use crate::schedule::choice::{Budgets, Choice};
use crate::schedule::crew::Crew;
use crate::schedule::cues::{Cue, Cues};
use crate::schedule::explore::PROCESSES_MAX;
use crate::schedule::scenario::Scenario;
use crate::schedule::scenes::Scenes;
use crate::schedule::script::Failure;
use crate::schedule::stage::{End, Played};

/// A schedule by cue.
pub struct Pin {
    /// Its name.
    pub name: &'static str,
    /// The scenario that it is one of.
    pub scene: &'static str,
    /// Listings in it that lack something.
    pub lacks: u32,
    /// What has to happen.
    pub cues: &'static [Cue],
    /// Of each process, whether it succeeds.
    pub succeed: &'static [bool],
}

impl Pin {
    /// What it is a schedule of.
    pub fn scenario(&self, scenes: &Scenes) -> Scenario {
        Scenario { budgets: Budgets { lacks: self.lacks, ..Budgets::switches(u32::MAX) }, ..scenes.get(self.scene) }
    }

    /// Plays it.
    pub fn play(&self, scenario: &Scenario) -> Played {
        scenario.play(&Crew::new(PROCESSES_MAX), Box::new(Cues::new(self.cues)))
    }

    /// Plays it, and says what is not as it should be, if anything.
    pub fn fails(&self, scenario: &Scenario) -> Option<Failure> {
        let mut played = self.play(scenario);
        let (diverged, ends) = (played.chooser.diverged(), &played.ends);
        let ends: Vec<bool> = ends.iter().map(|end| matches!(end, End::Done)).collect();
        if played.violation.is_none() && diverged > 0 {
            played.violation = Some(format!("{diverged} cues never came: the engine does something else by now, and this tests nothing"));
        } else if played.violation.is_none() && ends != self.succeed {
            played.violation = Some(format!("who succeeds is {ends:?}, and should be {:?}", self.succeed));
        }
        Failure::of(scenario, &played)
    }
}

/// All of them.
pub const PINS: &[Pin] = &[
    // A leaf that only a pending needs, and that another collection deletes before it is read, was marked all the same. When the snapshot was
    // there, nobody walked below it once more: what it alone needed was deleted. One backup and two collections, on a store without fault.
    Pin {
        name: "below-a-leaf-that-could-not-be-read",
        scene: "b-g-g-files",
        lacks: 0,
        cues: &[
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
        ],
        succeed: &[true, true, true],
    },
    // Of a pending whose pack was collected before its segment was put, the index speaks, and no pack is there. Collections took that for
    // damage for as long as the pending counted.
    Pin {
        name: "a-pending-that-lacks-something",
        scene: "f-b-g-g",
        lacks: 0,
        cues: &[(1, "PUT", "index", Choice::Run(2))],
        succeed: &[true, false, true, true],
    },
    // What another collection has deleted between a listing and a read was reported as damage.
    Pin {
        name: "a-collection-is-overtaken",
        scene: "g-g-dead-only",
        lacks: 0,
        cues: &[(0, "LIST", "records", Choice::Run(1))],
        succeed: &[true, true],
    },
    // A snapshot that is committed while a collection plans is known to nobody else: where one listing leaves it out, it was collected.
    Pin {
        name: "a-new-snapshot-that-one-listing-lacks",
        scene: "short-f-b-g",
        lacks: 1,
        cues: &[(2, "LIST", "data", Choice::Run(1)), (2, "PUT", "records", Choice::Run(2)), (2, "LIST", "snapshots", Choice::Lack(2, 2))],
        succeed: &[true, true, true],
    },
    // A pending whose leaves a short listing of the index hid at first, and that is whole when it counts.
    Pin {
        name: "a-pending-that-is-whole-the-second-time",
        scene: "b-g-files",
        lacks: 1,
        cues: &[(0, "PUT", "snapshots", Choice::Run(1)), (1, "LIST", "index", Choice::Lack(1, 0))],
        succeed: &[true, true],
    },
    // A collection sees a record for the first time when it has looked at the roots for the last time: a snapshot that was committed in
    // between needs what that record names, and nobody has looked at it since.
    Pin {
        name: "a-record-that-comes-after-the-roots",
        scene: "dead-only-b-g-g",
        lacks: 0,
        cues: &[
            (2, "PUT", "data", Choice::Run(1)),
            (1, "PUT", "records", Choice::Run(1)),
            (1, "LIST", "index", Choice::Run(2)),
            (2, "PUT", "records", Choice::Run(0)),
            (2, "LIST", "pending", Choice::Run(1)),
        ],
        succeed: &[true, true, true],
    },
    // A copy in a pack that no segment names yet is worth nothing: its run may die before it puts one.
    Pin {
        name: "a-copy-that-is-not-indexed",
        scene: "b-b-same-g",
        lacks: 0,
        cues: &[(2, "PUT", "records", Choice::Run(0)), (2, "LIST", "pending", Choice::Run(1)), (1, "PUT", "index", Choice::Run(2))],
        succeed: &[true, true, true],
    },
    // A segment that is put before its pack: who finds that it has no copy any more but that one takes it for a copy.
    Pin {
        name: "a-segment-before-its-pack",
        scene: "reuse-b-b-g",
        lacks: 0,
        cues: &[(0, "PUT", "pending", Choice::Run(2)), (1, "PUT", "data", Choice::Run(0))],
        succeed: &[false, true, true],
    },
    // A CHECK of a part of a snapshot says nothing of the rest, which may rely on what was condemned by then.
    Pin {
        name: "a-part-vouches-for-no-whole",
        scene: "mid-f-b-g",
        lacks: 0,
        cues: &[(1, "PUT", "data", Choice::Run(0)), (2, "PUT", "records", Choice::Run(2))],
        succeed: &[true, false, true],
    },
    // A run goes on from the pending of another one that is not dead, and that needs it as a root until it has committed.
    Pin {
        name: "a-run-that-is-not-dead",
        scene: "live-resume-f-b-b-g",
        lacks: 0,
        cues: &[(1, "PUT", "snapshots", Choice::Run(0)), (2, "DELETE", "pending", Choice::Run(2)), (3, "PUT", "records", Choice::Run(3))],
        succeed: &[true, true, true, true],
    },
    // A CHECK that reads the index behind the records believes a copy that was condemned in between.
    Pin {
        name: "a-copy-that-was-condemned-meanwhile",
        scene: "stale-copies-f-b-g-g",
        lacks: 0,
        cues: &[
            (1, "PUT", "pending", Choice::Run(1)),
            (1, "LIST", "records", Choice::Run(2)),
            (2, "PUT", "records", Choice::Run(2)),
            (0, "PUT", "forgotten", Choice::Run(0)),
            (1, "LIST", "index", Choice::Run(3)),
            (3, "PUT", "records", Choice::Run(3)),
            (3, "LIST", "index", Choice::Run(1)),
            (1, "PUT", "snapshots", Choice::Run(1)),
            (1, "LIST", "records", Choice::Run(3)),
        ],
        succeed: &[true, true, true, true],
    },
    // A record is folded between two pages of a listing: what it was folded into is on the second one.
    Pin {
        name: "a-record-that-is-folded-meanwhile",
        scene: "torn-fold-b-g",
        lacks: 0,
        cues: &[
            (0, "PUT", "pending", Choice::Run(1)),
            (1, "PUT", "records", Choice::Run(1)),
            (1, "LIST what is old in", "index", Choice::Run(0)),
            (0, "LIST what is new in", "records", Choice::Run(1)),
        ],
        succeed: &[false, true],
    },
    // A listing lacks a record that another one has seen.
    Pin {
        name: "a-hole-among-the-records",
        scene: "unfinished-b-g",
        lacks: 3,
        cues: &[
            (0, "LIST", "records", Choice::Lack(0, 0)),
            (0, "PUT", "pending", Choice::Run(1)),
            (0, "LIST", "records", Choice::Lack(0, 0)),
            (0, "LIST", "records", Choice::Lack(0, 0)),
        ],
        // It stores nothing for anybody, and says so.
        succeed: &[false, true],
    },
    // A snapshot that was there at first is gone, and nobody has forgotten it.
    Pin {
        name: "a-snapshot-that-was-stolen",
        scene: "g-thief",
        lacks: 0,
        cues: &[(0, "PUT", "records", Choice::Run(0)), (0, "LIST", "pending", Choice::Run(1))],
        succeed: &[false, true],
    },
    // Two collections that saw the snapshots before and behind a forgetting keep different copies of a chunk, and condemn each the other's.
    Pin {
        name: "a-copy-that-another-one-condemned",
        scene: "dup-f-g-g",
        lacks: 0,
        cues: &[(1, "PUT", "data", Choice::Run(0)), (2, "PUT", "records", Choice::Run(2)), (2, "DELETE", "data", Choice::Run(1))],
        succeed: &[true, true, true],
    },
];
