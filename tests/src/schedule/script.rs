//! A schedule that failed, in as few words as will do: what has to happen where, so that it can be played again and made shorter.

use crate::schedule::choice::{Choice, Chooser, Place, Point, Taken};
use crate::schedule::crew::Crew;
use crate::schedule::scenario::Scenario;
use crate::schedule::stage::Played;
use crate::schedule::trace::Trace;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Schedules that are tried to make one shorter.
const TRIALS_MAX: u32 = 300;
/// Times that a schedule is tried before it counts as one that holds: names are drawn anew, and order depends on them.
const TRIALS_EACH: u32 = 2;

/// Interventions, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(Vec<(Place, Choice)>);

/// A schedule that must not be.
#[derive(Debug)]
pub struct Failure {
    /// Of which scenario.
    pub scenario: String,
    /// What must not be.
    pub why: String,
    /// How to get there.
    pub script: Script,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { scenario, why, script, text } = self;
        write!(f, "{scenario}: {why}\nreplay: SEABED_TEST_REPLAY='{scenario} {script}'\n{text}  {why}")
    }
}

impl Script {
    /// What was not left to itself in a run.
    pub fn of(trace: &Trace) -> Self {
        Script(trace.taken.iter().filter(|taken| taken.chosen > 0).map(|taken| (taken.place, taken.choice)).collect())
    }

    /// Reads what was printed.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().map(parse).collect::<Option<_>>().map(Script)
    }

    /// How many interventions there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody interferes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whoever plays it.
    pub fn chooser(&self) -> Box<dyn Chooser> {
        let mut rules: BTreeMap<Place, VecDeque<Choice>> = BTreeMap::new();
        for (place, choice) in &self.0 {
            rules.entry(*place).or_default().push_back(*choice);
        }
        Box::new(Player { rules, diverged: 0 })
    }

    fn fails(&self, scenario: &Scenario, crew: &Crew) -> Option<Failure> {
        Failure::of(scenario, &scenario.play(crew, self.chooser()))
    }
}

fn parse(word: &str) -> Option<(Place, Choice)> {
    let (place, choice) = word.split_once(':')?;
    let (process, turn) = place.split_once('.')?;
    let process = if process == "-" { None } else { Some(process.parse().ok()?) };
    let (kind, rest) = choice.split_at_checked(1)?;
    let (first, second) = rest.split_once('.').unwrap_or((rest, "0"));
    let (at, other) = (first.parse().unwrap_or_default(), second.parse().ok()?);
    let choice = match kind {
        "r" => Choice::Run(at),
        "l" => Choice::Lose(at),
        "t" => Choice::Twice(at),
        "x" => Choice::Refuse(at),
        "k" => Choice::Lack(at, other),
        "s" => Choice::Stop(at),
        "a" => Choice::Late(at),
        "e" => Choice::End,
        _ => return None,
    };
    Some((Place { process, turn: turn.parse().ok()? }, choice))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, choice)) in self.0.iter().enumerate() {
            let process = place.process.map_or("-".to_owned(), |process| process.to_string());
            let choice = match choice {
                Choice::Run(p) => format!("r{p}"),
                Choice::Lose(p) => format!("l{p}"),
                Choice::Twice(p) => format!("t{p}"),
                Choice::Refuse(p) => format!("x{p}"),
                Choice::Lack(p, at) => format!("k{p}.{at}"),
                Choice::Stop(p) => format!("s{p}"),
                Choice::Late(at) => format!("a{at}"),
                Choice::End => "e".to_owned(),
            };
            write!(f, "{}{process}.{}:{choice}", if at > 0 { " " } else { "" }, place.turn)?;
        }
        Ok(())
    }
}

struct Player {
    rules: BTreeMap<Place, VecDeque<Choice>>,
    diverged: u32,
}

impl Chooser for Player {
    fn choose(&mut self, point: &Point) -> Taken {
        let Some(choice) = self.rules.get_mut(&point.place).and_then(VecDeque::pop_front) else { return point.take(0) };
        point.again(choice).unwrap_or_else(|| {
            self.diverged += 1;
            point.take(0)
        })
    }

    fn diverged(&self) -> u32 {
        self.diverged
    }
}

impl Failure {
    /// What was wrong with a run, if anything.
    pub fn of(scenario: &Scenario, run: &Played) -> Option<Failure> {
        let why = run.violation.clone()?;
        Some(Failure { scenario: scenario.name.clone(), why, script: Script::of(&run.trace), text: run.trace.text(&run.world) })
    }

    /// The same with fewer interventions, as far as some trials show; and whether it happens again at all.
    pub fn shorter(self, scenario: &Scenario, crew: &Crew) -> Failure {
        let mut best = self;
        let mut trials = 0;
        let mut at = best.script.len();
        while at > 0 && trials < TRIALS_MAX {
            at -= 1;
            let mut script = best.script.clone();
            script.0.remove(at);
            for _ in 0..TRIALS_EACH {
                trials += 1;
                if let Some(found) = script.fails(scenario, crew) {
                    best = found;
                    break;
                }
            }
            at = at.min(best.script.len());
        }
        best
    }
}
