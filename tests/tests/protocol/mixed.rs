//! Three to six hosts by chance, and everything that they may do: clocks that are days apart, answers lost, listings short, hosts that die.

use crate::backups::{chance, clock};
use seabed_engine::gc::MaxUnused;
use seabed_tests::schedule::campaign::wander;
use seabed_tests::schedule::choice::Budgets;
use seabed_tests::schedule::op::Pages;
use seabed_tests::schedule::play::Actor;
use seabed_tests::schedule::random::Random;
use seabed_tests::schedule::scenario::{Failing, Scenario};
use seabed_tests::schedule::source::{Ground, Source};
use seabed_tests::schedule::stage::Reads;
use seabed_tests::schedule::start::{Maker, Start};
use seabed_tests::schedule::verbs::{Gc, Verb};
use std::sync::Arc;
use std::time::Duration;

const HOUR: i64 = 3600 * 1_000_000_000;

/// Repositories with at least two snapshots, of which the first is forgotten.
fn starts(ground: &Arc<Ground>) -> Vec<Arc<Start>> {
    let files = |letters| Source::files(ground, letters);
    let streams = Source::streams;
    vec![
        Maker::new().backup(&streams("ab")).backup(&streams("bc")).forget(0).done(),
        Maker::new().backup(&files("ab")).backup(&files("bcd")).forget(0).done(),
        Maker::new().killed(&streams("xa")).backup(&files("ab")).apart(&files("ab")).orphaned(&streams("yb")).forget(0).done(),
        Maker::new().backup(&streams("ab")).died(&files("abc")).backup(&streams("ad")).forget(0).collect().backup(&files("abd")).done(),
        (0..8).fold(Maker::new(), |maker, n| maker.apart(&streams(["ab", "bc", "cd", "de"][n % 4]))).forget(0).done(),
    ]
}

fn letters(random: &mut Random) -> String {
    let letters: String = "abcde".chars().filter(|_| random.once_in(2)).collect();
    if letters.is_empty() { "a".to_owned() } else { letters }
}

fn gc(random: &mut Random) -> Gc {
    Gc {
        grace: Duration::from_secs(*random.pick(&[0, 0, 0, 3600, 24 * 3600])),
        max_unused: *random.pick(&[MaxUnused::Part(0.0), MaxUnused::Part(0.0), MaxUnused::Unlimited]),
        pack_bytes: *random.pick(&[400, 8000, 1 << 25]),
    }
}

#[test]
fn everything_by_chance() {
    let ground = Ground::new();
    let starts = starts(&ground);
    wander("mixed", 400, |seed| {
        let mut random = Random::new(seed);
        let start = random.pick(&starts).clone();
        let hosts = 3 + random.below(4);
        let host = |at: u64| {
            let verb = match random.below(10) {
                0..4 => {
                    let letters = letters(&mut random);
                    let source = if random.once_in(2) { Source::streams(&letters) } else { Source::files(&ground, &letters) };
                    Verb::Backup(if random.once_in(3) { source.often() } else { source })
                }
                4..8 => Verb::Collect(gc(&mut random)),
                8 => start.forget(random.below(2) as usize),
                _ => start.undelete(0),
            };
            let after = if at > 0 && random.once_in(4) { vec![random.below(at) as usize] } else { Vec::new() };
            Actor { after, clock: clock(&mut random), far: random.once_in(3), ..Actor::new(verb) }
        };
        let mut actors: Vec<Actor> = (0..hosts).map(host).collect();
        // Now and then days pass between two requests, and pendings of runs that are alive count as dead.
        let ages = random.once_in(5);
        for actor in actors.iter_mut().filter(|_| ages) {
            actor.clock.step = *random.pick(&[0, 6 * HOUR, -6 * HOUR]);
        }
        let budgets = Budgets {
            switches: u32::MAX,
            late: random.below(4) as u32,
            refusals: random.below(2) as u32,
            lacks: if random.once_in(4) { 1 } else { 0 },
            stops: random.below(3) as u32,
        };
        let strict = !ages && budgets.lacks == 0;
        let scenario = Scenario {
            budgets,
            reads: Reads::Each,
            pages: *random.pick(&[Pages::One, Pages::One, Pages::OldFirst, Pages::NewFirst]),
            strict,
            failing: if strict { Failing::Overtaken } else { Failing::Anybody },
            ..Scenario::new("", &start, actors)
        };
        let chooser = chance(&mut random, hosts * 40);
        (scenario, chooser)
    });
}
