//! Collections among backups, forgetting and each other.

use crate::backups::backup;
use seabed_tests::schedule::campaign::exhaust;
use seabed_tests::schedule::play::Actor;
use seabed_tests::schedule::scenario::{Failing, Scenario};
use seabed_tests::schedule::source::{Ground, Source};
use seabed_tests::schedule::start::Maker;
use seabed_tests::schedule::verbs::Verb;

fn collect() -> Actor {
    Actor::new(Verb::collect())
}

#[test]
fn one_beside_a_backup() {
    let start = Maker::new().backup(&Source::streams("ab")).backup(&Source::streams("c")).forget(0).done();
    let actors = vec![backup(&Source::streams("ad")), collect()];
    exhaust(&Scenario { failing: Failing::Overtaken, ..Scenario::new("backup-gc", &start, actors) }, 500);
}

#[test]
fn one_beside_a_backup_of_files() {
    let ground = Ground::new();
    let files = |letters| Source::files(&ground, letters);
    let start = Maker::new().backup(&files("ab")).backup(&files("c")).forget(0).done();
    let actors = vec![backup(&files("ad")), collect()];
    exhaust(&Scenario { failing: Failing::Overtaken, ..Scenario::new("backup-gc-files", &start, actors) }, 500);
}

#[test]
fn two_at_once() {
    let start = Maker::new().backup(&Source::streams("ab")).backup(&Source::streams("c")).forget(0).done();
    let actors = vec![collect(), collect()];
    exhaust(&Scenario { failing: Failing::Overtaken, ..Scenario::new("gc-gc", &start, actors) }, 500);
}
