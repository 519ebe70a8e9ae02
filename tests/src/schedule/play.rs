//! One schedule: processes on threads of a crew, under a scheduler, until all have ended.

use crate::schedule::choice::{Budgets, Chooser};
use crate::schedule::crew::Crew;
use crate::schedule::gate::GatedStore;
use crate::schedule::op::{Op, Pages};
use crate::schedule::stage::{End, Played, Reads, Stage};
use crate::schedule::verbs::{Refusal, Report, Verb, perform};
use crate::schedule::world::{Clock, Judged, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A process of a scenario.
#[derive(Clone)]
pub struct Actor {
    /// What it does.
    pub verb: Verb,
    /// Who has to end, or to stop, before it begins.
    pub after: Vec<usize>,
    /// The store's clock as it sees it.
    pub clock: Clock,
    /// Whether the store is far away for it: then the engine asks earlier, and once more where a listing surprises it.
    pub far: bool,
}

impl Actor {
    /// One that may begin at any time.
    pub fn new(verb: Verb) -> Self {
        Actor { verb, after: Vec::new(), clock: Clock::default(), far: false }
    }

    /// One that begins when another has ended or stopped.
    pub fn after(self, other: usize) -> Self {
        Actor { after: vec![other], ..self }
    }
}

/// Plays a schedule.
pub fn play(crew: &Crew, mut world: World, actors: &[Actor], chooser: Box<dyn Chooser>, budgets: Budgets, how: (Reads, Pages)) -> Played {
    let (reads, pages) = how;
    let forgetters = actors.iter().enumerate().filter(|(_, actor)| matches!(actor.verb, Verb::Forget(_)));
    world.forgetters.extend(forgetters.map(|(process, _)| process));
    let processes = actors.iter().map(|actor| (actor.after.clone(), actor.clock)).collect();
    let stage = Arc::new(Stage::new(world, processes, chooser, budgets, reads));
    for (process, actor) in actors.iter().enumerate() {
        let (stage, actor) = (stage.clone(), actor.clone());
        crew.give(process, Box::new(move || run(&stage, process, &actor, pages)));
    }
    stage.played()
}

fn run(stage: &Arc<Stage>, process: usize, actor: &Actor, pages: Pages) {
    let store = GatedStore::new(stage.clone(), process, (actor.far, pages));
    let work = || {
        stage.call(process, Op::Start)?;
        perform(&actor.verb, Arc::new(store), actor.clock)
    };
    let report = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let why = format!("PANIC: {}", why.unwrap_or("without a word"));
        stage.accuse(why.clone());
        Err(Refusal::from(why))
    });
    stage.ended(process, |world| judge(world, report));
}

fn judge(world: &mut World, report: Result<Report, Refusal>) -> (End, Judged) {
    match report {
        Err(refusal) => (End::Failed(refusal), Ok(())),
        Ok(Report::Done) => (End::Done, Ok(())),
        Ok(Report::Snapshot(id, contents)) => (End::Done, world.acknowledge(id.as_bytes(), contents)),
    }
}
