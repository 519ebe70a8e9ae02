//! Backups among themselves: at once, over a killed one's remains, with answers lost and requests that come late.

use seabed_tests::schedule::campaign::{exhaust, wander};
use seabed_tests::schedule::choice::{Budgets, Chooser};
use seabed_tests::schedule::play::Actor;
use seabed_tests::schedule::random::{Priorities, Random, Walk};
use seabed_tests::schedule::scenario::Scenario;
use seabed_tests::schedule::source::{Ground, Source};
use seabed_tests::schedule::stage::Reads;
use seabed_tests::schedule::start::{Maker, Start};
use seabed_tests::schedule::verbs::Verb;
use seabed_tests::schedule::world::Clock;
use std::sync::Arc;

const HOUR: i64 = 3600 * 1_000_000_000;

pub fn backup(source: &Source) -> Actor {
    Actor::new(Verb::Backup(source.clone()))
}

#[test]
fn two_at_once() {
    let start = Maker::new().backup(&Source::streams("ab")).done();
    let actors = vec![backup(&Source::streams("ac")), backup(&Source::streams("c"))];
    exhaust(&Scenario::new("backup-backup", &start, actors), 20);
}

#[test]
fn two_at_once_of_files() {
    let ground = Ground::new();
    let files = |letters| Source::files(&ground, letters);
    let start = Maker::new().backup(&files("ab")).done();
    let near = vec![backup(&files("abc")), backup(&files("abd"))];
    exhaust(&Scenario::new("backup-backup-files", &start, near.clone()), 20);
    let far = near.into_iter().map(|actor| Actor { far: true, ..actor }).collect();
    exhaust(&Scenario::new("backup-backup-far", &start, far), 20);
}

#[test]
fn one_dies_and_the_next_goes_on() {
    let ground = Ground::new();
    let files = |letters| Source::files(&ground, letters);
    let start = Maker::new().killed(&files("xy")).backup(&files("a")).done();
    let actors = vec![backup(&files("abx")), backup(&files("abx")).after(0)];
    let scenario = Scenario { budgets: Budgets { stops: 1, late: 1, ..Budgets::NONE }, ..Scenario::new("backup-resume", &start, actors) };
    exhaust(&scenario, 50);
}

#[test]
fn listings_may_be_short_and_answers_may_fail() {
    let ground = Ground::new();
    let files = |letters| Source::files(&ground, letters);
    let start = Maker::new().killed(&files("xy")).backup(&files("ab")).done();
    let budgets = Budgets { lacks: 1, refusals: 1, ..Budgets::NONE };
    let scenario =
        Scenario { budgets, ..Scenario::new("backup-short", &start, vec![backup(&files("bcx")), backup(&files("cxy")).after(0)]) };
    exhaust(&scenario, 50);
}

/// Repositories that schedules by chance begin with.
fn starts(ground: &Arc<Ground>) -> Vec<Arc<Start>> {
    let files = |letters| Source::files(ground, letters);
    vec![
        Maker::new().done(),
        Maker::new().killed(&files("ab")).backup(&files("bc")).done(),
        Maker::new().killed(&Source::streams("ab")).backup(&Source::streams("c")).backup(&files("abd")).done(),
    ]
}

fn letters(random: &mut Random) -> String {
    let letters: String = "abcde".chars().filter(|_| random.once_in(2)).collect();
    if letters.is_empty() { "a".to_owned() } else { letters }
}

/// Who chooses in a schedule by chance.
pub fn chance(random: &mut Random, length: u64) -> Box<dyn Chooser> {
    let mishaps = 4 << random.below(5);
    let own = Random::new(random.draw());
    if random.once_in(2) { Box::new(Walk::new(own, mishaps)) } else { Box::new(Priorities::new(own, 2 + random.below(4), length, mishaps)) }
}

/// A clock that is up to two days off and may run backwards.
pub fn clock(random: &mut Random) -> Clock {
    let skew = random.below(97) as i64 * HOUR - 48 * HOUR;
    Clock { skew, step: *random.pick(&[0, 0, 1, -1, -HOUR]) }
}

#[test]
fn hosts_by_chance() {
    let ground = Ground::new();
    let starts = starts(&ground);
    wander("hosts", 150, |seed| {
        let mut random = Random::new(seed);
        let hosts = 3 + random.below(4);
        let host = |at: u64| {
            let letters = letters(&mut random);
            let source = if random.once_in(4) { Source::streams(&letters[..1]) } else { Source::files(&ground, &letters) };
            let after = if at > 0 && random.once_in(4) { vec![random.below(at) as usize] } else { Vec::new() };
            Actor { after, clock: clock(&mut random), far: random.once_in(3), ..backup(&source) }
        };
        let actors = (0..hosts).map(host).collect();
        let budgets = Budgets {
            switches: u32::MAX,
            late: random.below(4) as u32,
            refusals: random.below(3) as u32,
            lacks: random.below(3) as u32,
            stops: random.below(3) as u32,
        };
        let scenario = Scenario { budgets, reads: Reads::Each, ..Scenario::new("", random.pick(&starts), actors) };
        let chooser = chance(&mut random, hosts * 30);
        (scenario, chooser)
    });
}
