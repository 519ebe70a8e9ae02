//! How many schedules of what: each test has its share of the number that was asked for, and says what it played.

use crate::schedule::choice::{Budgets, Chooser};
use crate::schedule::crew::Crew;
use crate::schedule::explore::{Explored, PROCESSES_MAX, explore, roam};
use crate::schedule::scenario::Scenario;
use crate::schedule::script::{Failure, Script};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// What the shares of all tests are parts of. They are 2300 thousandths, of which scenarios that are soon played to their end take less.
const COUNT: &str = "SEABED_TEST_SCHEDULES";
/// More than ten thousand schedules.
const COUNT_DEFAULT: u64 = 6_000;
/// Where chance begins.
const SEED: &str = "SEABED_TEST_SEED";
/// A schedule to play again: the name of a scenario, and what has to happen in it.
const REPLAY: &str = "SEABED_TEST_REPLAY";

static PLAYED: AtomicU64 = AtomicU64::new(0);

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    }
}

/// The schedule to play again, if one was asked for: then nothing else is played.
fn replay() -> Option<(String, Script)> {
    let text = std::env::var(REPLAY).ok()?;
    let (name, script) = text.split_once(' ').unwrap_or((&text, ""));
    let script = Script::parse(script).unwrap_or_else(|| panic!("{REPLAY}={text} says no schedule"));
    Some((name.to_owned(), script))
}

fn play_again(scenario: &Scenario, chooser: Box<dyn Chooser>) {
    let run = scenario.play(&Crew::new(PROCESSES_MAX), chooser);
    println!("{}:\n{}", scenario.name, run.trace.text(&run.world));
    assert!(run.violation.is_none(), "{}", run.violation.unwrap());
}

fn say(name: &str, found: &Explored, began: Instant) {
    let all = PLAYED.fetch_add(found.schedules, Relaxed) + found.schedules;
    let each = began.elapsed().as_secs_f64() * 1000.0 / found.schedules.max(1) as f64;
    let complete = if found.complete { "all within its bounds" } else { "some" };
    let Explored { schedules, diverged, .. } = found;
    // Past the harness, which keeps what a test prints: whoever reads the log of a run wants to know how much was done.
    let said =
        writeln!(std::io::stderr(), "{name}: {schedules} schedules, {complete}, {each:.1} ms each, {diverged} diverged; {all} so far");
    said.unwrap_or(());
}

/// Whether a scenario is to be played: all are, unless one was asked for.
pub fn is_asked_for(name: &str) -> bool {
    replay().is_none_or(|(wanted, _)| wanted == name)
}

/// Plays all schedules of a scenario within its bounds, or as many as `thousandths` of the number that was asked for, the simplest first.
/// Returns what must not be.
pub fn search(scenario: &Scenario, thousandths: u64) -> Option<Failure> {
    if let Some((name, script)) = replay() {
        if name == scenario.name {
            // Whoever has written a schedule may switch as often as it takes.
            let budgets = Budgets { switches: u32::MAX, ..scenario.budgets };
            play_again(&Scenario { budgets, ..scenario.clone() }, script.chooser());
        }
        return None;
    }
    let began = Instant::now();
    let found = explore(scenario, number(COUNT, COUNT_DEFAULT) * thousandths / 1000);
    say(&scenario.name, &found, began);
    found.failure
}

/// The same, and fails where something must not be.
pub fn exhaust(scenario: &Scenario, thousandths: u64) {
    let failure = search(scenario, thousandths);
    assert!(failure.is_none(), "{}", failure.unwrap());
}

/// Plays schedules by chance, `thousandths` of the number that was asked for: `make` says for each seed what is played, and who chooses.
pub fn wander(name: &str, thousandths: u64, make: impl Fn(u64) -> (Scenario, Box<dyn Chooser>) + Sync) {
    let named = |seed: u64| {
        let (scenario, chooser) = make(seed);
        (Scenario { name: format!("{name}-{seed}"), ..scenario }, chooser)
    };
    if let Some((wanted, script)) = replay() {
        if let Some(seed) = wanted.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.parse().ok()) {
            let (scenario, chooser) = named(seed);
            play_again(&scenario, if script.is_empty() { chooser } else { script.chooser() });
        }
        return;
    }
    let (began, seed) = (Instant::now(), number(SEED, 0));
    let found = roam(seed..seed + number(COUNT, COUNT_DEFAULT) * thousandths / 1000, named);
    say(name, &found, began);
    assert!(found.failure.is_none(), "{}", found.failure.unwrap());
}
