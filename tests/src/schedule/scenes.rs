//! The scenarios by name: those of the protocol's model that have a counterpart in the engine. A letter is a chunk that a snapshot holds;
//! b backs up, f forgets, u undeletes, g collects, in the order in which they stand in a name.

use crate::schedule::choice::Budgets;
use crate::schedule::op::Pages;
use crate::schedule::play::Actor;
use crate::schedule::scenario::{Failing, Scenario};
use crate::schedule::source::{Ground, Source};
use crate::schedule::start::{Maker, Start};
use crate::schedule::verbs::{Gc, Verb};
use crate::schedule::world::Clock;
use seabed_engine::gc::MaxUnused;
use seabed_engine::store::Store;
use std::sync::Arc;

/// All of them, and of every thousand schedules how many each may take: small ones are played to their end by fewer.
pub const SCENES: &[(&str, u64)] = &[
    // Those that the protocol has to bear in any case.
    ("b-g", 60),
    ("b-g-files", 60),
    ("g-g", 60),
    ("u-g", 60),
    ("b-b-g", 60),
    ("b-b-same-g", 60),
    ("f-b-g", 60),
    ("f-b-g-files", 60),
    // More of them, and with nothing that could be stored anew.
    ("f-b-g-g", 40),
    ("f-same-g-g", 40),
    ("f-b-b-g", 40),
    ("b-g-g-files", 40),
    ("g-g-dead-only", 20),
    ("dead-only-b-g-g", 20),
    // Copies in several packs.
    ("dup-g-g-g", 40),
    ("dup-b-g-g", 40),
    ("dup-f-b-g-g", 40),
    ("dup-f-g-g", 40),
    // What dead runs left, and who goes on from there.
    ("orphan-b-g", 40),
    ("resume-b-g", 40),
    ("resume-f-b-b-g", 40),
    ("stale-f-b-g", 40),
    ("stale-resume-b-g-g", 40),
    // Undeletes.
    ("f-u-g", 40),
    ("f-u-g-g", 40),
    ("b-f-u-g", 40),
    // Segments merged, small packs gathered, records folded.
    ("merge-b-g-g", 20),
    ("gather-b-g-g", 20),
    ("fold-b-g-g", 20),
    ("torn-f-b-g-g", 20),
    ("torn-fold-b-g-g", 20),
    // Answers that do not come, requests that come late or twice.
    ("late-f-b-g", 40),
    ("late-f-u-g", 40),
    ("late-g-g", 40),
    ("late2-f-b-g", 40),
    // Stores that lose packs, or list too little.
    ("lost-b-g", 20),
    ("lost-dup-g-g", 20),
    ("lost-index-g-g", 20),
    ("short-f-b-g", 40),
    ("short-f-b-g-files", 40),
    ("short-g-g", 40),
    ("short-records-b-g-g", 20),
    // More than the protocol assumes: pendings that a listing does not show.
    ("hidden-pending-f-b-g", 40),
];

/// Weeks ahead: every pending counts as one that nobody has touched for long.
const LATER: Clock = Clock { skew: 15 * 86_400 * 1_000_000_000, step: 0 };

/// Makes scenarios; what they back up is there as long as they are.
pub struct Scenes {
    ground: Arc<Ground>,
}

impl Default for Scenes {
    fn default() -> Self {
        Scenes::new()
    }
}

fn streams(letters: &str) -> Source {
    Source::streams(letters)
}

/// A backup.
pub fn backup(source: Source) -> Actor {
    Actor::new(Verb::Backup(source))
}

/// A collection without courtesies.
pub fn collect() -> Actor {
    Actor::new(Verb::Collect(Gc::default()))
}

fn collect_with(gc: Gc) -> Actor {
    Actor::new(Verb::Collect(gc))
}

/// a and b of one snapshot, which is forgotten, and c of another.
fn one_forgotten() -> Arc<Start> {
    Maker::new().backup(&streams("ab")).backup(&streams("c")).forget(0).done()
}

/// As many small ones as are worth gathering; of each second one something is forgotten.
fn many(count: usize) -> Maker {
    let letters = |n: usize| ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi", "ij", "jk"][n % 10];
    (0..count).fold(Maker::new(), |maker, n| maker.apart(&streams(letters(n))))
}

/// As many records as there can be.
fn records(count: usize) -> Maker {
    (0..count).fold(Maker::new(), |maker, _| maker.killed(&streams("x")).collect())
}

/// Somebody deletes all snapshots, and tells nobody.
fn steal(store: Arc<dyn Store>) -> Result<(), String> {
    let stolen = store.list("snapshots").map_err(|error| error.to_string())?;
    stolen.iter().try_for_each(|object| store.delete(&object.name)).map_err(|error| error.to_string())
}

impl Scenes {
    /// With sources of their own.
    pub fn new() -> Self {
        Scenes { ground: Ground::new() }
    }

    fn files(&self, letters: &str) -> Source {
        Source::files(&self.ground, letters)
    }

    /// A scenario.
    pub fn get(&self, name: &str) -> Scenario {
        let files = |letters: &str| self.files(letters);
        let plain = |start: &Arc<Start>, actors: Vec<Actor>| Scenario { failing: Failing::Overtaken, ..Scenario::new(name, start, actors) };
        let late = |late: u32| Budgets { late, ..Budgets::switches(2) };
        let lacks = |lacks: u32| Budgets { lacks, ..Budgets::switches(1) };
        match name {
            "b-g" => plain(&one_forgotten(), vec![backup(streams("ad")), collect()]),
            "b-g-files" => {
                let start = Maker::new().backup(&files("ab")).backup(&files("c")).forget(0).done();
                plain(&start, vec![backup(files("ab")), collect()])
            }
            "g-g" => plain(&one_forgotten(), vec![collect(), collect()]),
            "g-g-dead-only" => {
                let start = Maker::new().backup(&streams("ab")).backup(&streams("bc")).apart(&streams("d")).forget(0).forget(2).done();
                let dead_only = Gc { max_unused: MaxUnused::Unlimited, ..Gc::default() };
                plain(&start, vec![collect_with(dead_only), collect()])
            }
            "dead-only-b-g-g" => {
                // Only the second collection condemns what the backup relies on.
                let start = Maker::new().killed(&streams("x")).backup(&streams("ab")).backup(&streams("bc")).forget(0).done();
                let dead_only = Gc { max_unused: MaxUnused::Unlimited, ..Gc::default() };
                plain(&start, vec![backup(streams("ad")), collect_with(dead_only), collect()])
            }
            "u-g" => {
                let start = one_forgotten();
                plain(&start, vec![Actor::new(start.undelete(0)), collect()])
            }
            "b-b-g" => plain(&one_forgotten(), vec![backup(streams("ad")), backup(streams("bd")), collect()]),
            // The second may store anew what the first one relies on.
            "b-b-same-g" => plain(&one_forgotten(), vec![backup(streams("ad")), backup(streams("ae")), collect()]),
            "f-b-g" | "f-b-g-g" | "late-f-b-g" | "late2-f-b-g" | "stale-f-b-g" | "short-f-b-g" | "hidden-pending-f-b-g" => {
                let start = Maker::new().backup(&streams("ab")).backup(&streams("bc")).done();
                let mut actors = vec![Actor::new(start.forget(0)), backup(streams("ad")), collect()];
                match name {
                    "f-b-g-g" => actors.push(collect()),
                    "stale-f-b-g" => actors[2].clock = LATER,
                    _ => {}
                }
                let scenario = plain(&start, actors);
                match name {
                    "late-f-b-g" => Scenario { budgets: late(1), ..scenario },
                    "late2-f-b-g" => Scenario { budgets: late(2), ..scenario },
                    "stale-f-b-g" => Scenario { strict: false, failing: Failing::Anybody, ..scenario },
                    "short-f-b-g" => Scenario { budgets: lacks(1), ..scenario },
                    // A collection lists them twice: both times it is not there. The backup may fail then, and nothing more.
                    "hidden-pending-f-b-g" => {
                        Scenario { budgets: lacks(2), hidden: &["pending"], strict: false, failing: Failing::Anybody, ..scenario }
                    }
                    _ => scenario,
                }
            }
            "f-b-g-files" | "short-f-b-g-files" => {
                let start = Maker::new().backup(&files("ab")).backup(&files("bc")).done();
                let scenario = plain(&start, vec![Actor::new(start.forget(0)), backup(files("ab")), collect()]);
                if name == "f-b-g-files" { scenario } else { Scenario { budgets: lacks(1), ..scenario } }
            }
            "f-same-g-g" => {
                let start = Maker::new().backup(&files("ab")).backup(&files("c")).done();
                plain(&start, vec![Actor::new(start.forget(0)), backup(files("ab")), collect(), collect()])
            }
            "b-g-g-files" => {
                let start = Maker::new().backup(&files("c")).done();
                plain(&start, vec![backup(files("ab")), collect(), collect()])
            }
            "f-b-b-g" => {
                let start = Maker::new().backup(&streams("ab")).backup(&streams("c")).done();
                plain(&start, vec![Actor::new(start.forget(0)), backup(streams("ad")), backup(streams("bd")), collect()])
            }
            "dup-g-g-g" | "dup-b-g-g" | "dup-f-b-g-g" | "short-g-g" => {
                let start = Maker::new().backup(&streams("ab")).apart(&streams("bc")).apart(&streams("a")).done();
                match name {
                    "dup-g-g-g" => plain(&start, vec![collect(), collect(), collect()]),
                    "dup-b-g-g" => plain(&start, vec![backup(streams("bd")), collect(), collect()]),
                    "short-g-g" => Scenario { budgets: lacks(2), ..plain(&start, vec![collect(), collect()]) },
                    _ => plain(&start, vec![Actor::new(start.forget(0)), backup(streams("ab")), collect(), collect()]),
                }
            }
            "dup-f-g-g" => {
                // Of b the one who comes before the forgetting keeps the copy beside c and d, the other one that beside a.
                let start = Maker::new().backup(&streams("ab")).apart(&streams("bcd")).done();
                plain(&start, vec![Actor::new(start.forget(1)), collect(), collect()])
            }
            "orphan-b-g" => {
                let start = Maker::new().killed(&streams("ax")).orphaned(&streams("by")).backup(&streams("c")).done();
                plain(&start, vec![backup(streams("ab")), collect()])
            }
            "resume-b-g" => {
                let start = Maker::new().backup(&files("c")).died(&files("ab")).done();
                plain(&start, vec![backup(files("abc")), collect()])
            }
            "resume-f-b-b-g" => {
                let start = Maker::new().backup(&files("ab")).done();
                let actors =
                    vec![Actor::new(start.forget(0)), backup(files("abx").often()), backup(files("abxy").often()).after(1), collect()];
                Scenario { budgets: Budgets { stops: 1, ..Budgets::switches(2) }, ..plain(&start, actors) }
            }
            "stale-resume-b-g-g" => {
                let start = Maker::new().backup(&files("c")).died(&files("ab")).done();
                let actors = vec![backup(files("abc")), Actor { clock: LATER, ..collect() }, Actor { clock: LATER, ..collect() }];
                // Between the put of the manifest and its tombstone a snapshot is listed that nobody vouches for.
                Scenario { strict: false, failing: Failing::Anybody, ..plain(&start, actors) }
            }
            "f-u-g" | "f-u-g-g" | "late-f-u-g" | "b-f-u-g" => {
                let start = Maker::new().backup(&streams("ab")).backup(&streams("c")).done();
                let mut actors = vec![Actor::new(start.forget(0)), Actor::new(start.undelete(0)).after(0), collect()];
                match name {
                    "f-u-g-g" => actors.push(collect()),
                    "b-f-u-g" => actors.push(backup(streams("ad"))),
                    _ => {}
                }
                let scenario = plain(&start, actors);
                if name == "late-f-u-g" { Scenario { budgets: late(1), ..scenario } } else { scenario }
            }
            "merge-b-g-g" => {
                // Targets so small that no pack is worth gathering: only segments are.
                let gc = Gc { pack_bytes: 400, ..Gc::default() };
                let start = many(9).forget(0).forget(3).done();
                plain(&start, vec![backup(streams("ax")), collect_with(gc), collect_with(gc)])
            }
            "gather-b-g-g" => plain(&many(9).forget(0).done(), vec![backup(streams("ax")), collect(), collect()]),
            "fold-b-g-g" | "torn-fold-b-g-g" => {
                let start = records(63).backup(&streams("ab")).backup(&streams("bc")).forget(0).done();
                let scenario = plain(&start, vec![backup(streams("ad")), collect(), collect()]);
                if name == "fold-b-g-g" { scenario } else { Scenario { pages: Pages::OldFirst, ..scenario } }
            }
            "torn-f-b-g-g" => {
                let start = many(9).done();
                let actors = vec![Actor::new(start.forget(0)), backup(streams("ad")), collect(), collect()];
                Scenario { pages: Pages::NewFirst, ..plain(&start, actors) }
            }
            "late-g-g" => Scenario { budgets: late(1), ..plain(&one_forgotten(), vec![collect(), collect()]) },
            "lost-b-g" => {
                let start = Maker::new().backup(&streams("ab")).lose("data").done();
                Scenario { failing: Failing::Anybody, strict: false, ..plain(&start, vec![backup(streams("ab")), collect()]) }
            }
            "lost-dup-g-g" => {
                // The lost pack would be the better one to keep.
                let start = Maker::new().backup(&streams("ab")).lose("data").apart(&streams("a")).apart(&streams("b")).done();
                plain(&start, vec![collect(), collect()])
            }
            "lost-index-g-g" => {
                // What no segment names any more is found in the footers of packs.
                let start = Maker::new().backup(&streams("ab")).lose("index").done();
                plain(&start, vec![collect(), collect()])
            }
            "short-records-b-g-g" => {
                let start = records(2).backup(&streams("ab")).backup(&streams("bc")).forget(0).done();
                Scenario { budgets: lacks(2), ..plain(&start, vec![backup(streams("ad")), collect(), collect()]) }
            }
            // Those of pinned schedules, which take too many interventions to be searched for.
            "mid-f-b-g" => {
                // What is new comes first, and is a part by itself.
                let start = Maker::new().backup(&streams("ab")).done();
                plain(&start, vec![Actor::new(start.forget(0)), backup(streams("da").often()), collect()])
            }
            "live-resume-f-b-b-g" => {
                let start = Maker::new().backup(&files("ab")).done();
                plain(&start, vec![Actor::new(start.forget(0)), backup(files("abx").often()), backup(files("xy").often()), collect()])
            }
            "stale-copies-f-b-g-g" => {
                // The first collection takes a out of its pack, for the snapshot that is forgotten; for the second one no pending counts.
                let start = Maker::new().backup(&streams("ax")).backup(&streams("a")).forget(0).done();
                let stale = Actor { clock: LATER, ..collect() };
                plain(&start, vec![Actor::new(start.forget(1)), backup(streams("ad")), collect(), stale])
            }
            // The first needs nothing new, the second stores anew what the first one relies on.
            "reuse-b-b-g" => plain(&one_forgotten(), vec![backup(streams("a")), backup(streams("ae")), collect()]),
            "torn-fold-b-g" => {
                let start = records(63).backup(&streams("ab")).backup(&streams("bc")).forget(0).done();
                Scenario { pages: Pages::OldFirst, ..plain(&start, vec![backup(streams("ad")), collect()]) }
            }
            "unfinished-b-g" => {
                // Two collections have condemned something and deleted nothing; the second one has seen the record of the first.
                let start = Maker::new().backup(&streams("ab")).backup(&streams("c")).forget(0).condemned();
                let start = start.killed(&streams("x")).condemned().done();
                plain(&start, vec![backup(streams("a")), collect()])
            }
            "g-thief" => {
                let start = Maker::new().killed(&streams("x")).unpromised(&streams("ab")).done();
                Scenario { failing: Failing::Anybody, ..plain(&start, vec![collect(), Actor::new(Verb::Other(steal))]) }
            }
            other => unreachable!("there is no scenario {other}"),
        }
    }
}
