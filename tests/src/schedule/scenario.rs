//! What is explored: where it begins, who takes part, how much may go wrong, and what must hold in the end.

use crate::schedule::choice::{Budgets, Chooser};
use crate::schedule::crew::Crew;
use crate::schedule::op::Pages;
use crate::schedule::play::{Actor, play};
use crate::schedule::quiet::quiet;
use crate::schedule::stage::{End, Played, Reads};
use crate::schedule::start::Start;
use std::sync::Arc;

/// Who may fail where nothing goes wrong, and others only come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Nobody.
    Nobody,
    /// Whoever is overtaken by a collection, and says so.
    Overtaken,
    /// Anybody.
    Anybody,
}

/// What is explored: all schedules of some processes, within bounds.
#[derive(Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub start: Arc<Start>,
    /// The processes.
    pub actors: Vec<Actor>,
    /// What may go wrong.
    pub budgets: Budgets,
    /// Which reads others may come between.
    pub reads: Reads,
    /// Folders whose listings, and no others, may lack anything: more than the protocol assumes of a store.
    pub hidden: &'static [&'static str],
    /// In which pages listings come.
    pub pages: Pages,
    /// Whether what is visible must be whole, acknowledged or not.
    pub strict: bool,
    /// Who may fail though nothing goes wrong.
    pub failing: Failing,
    /// Whether no garbage is left for ever.
    pub tidy: bool,
}

impl Scenario {
    /// Of these processes, with nothing but others coming between.
    pub fn new(name: &str, start: &Arc<Start>, actors: Vec<Actor>) -> Self {
        Scenario {
            name: name.to_owned(),
            start: start.clone(),
            actors,
            budgets: Budgets::switches(2),
            reads: Reads::First,
            hidden: &[],
            pages: Pages::One,
            strict: true,
            failing: Failing::Nobody,
            tidy: true,
        }
    }

    /// Plays one schedule and judges its end.
    pub fn play(&self, crew: &Crew, chooser: Box<dyn Chooser>) -> Played {
        let mut world = self.start.world();
        world.strict = self.strict;
        world.hidden = self.hidden;
        let mut played = play(crew, world, &self.actors, chooser, self.budgets, (self.reads, self.pages));
        if played.violation.is_none() {
            played.violation = self.judge(&mut played).err();
        }
        played
    }

    fn judge(&self, played: &mut Played) -> Result<(), String> {
        played.world.judge()?;
        let plain = played.trace.taken.iter().all(|taken| taken.choice.is_plain());
        for (process, end) in played.ends.iter().enumerate().filter(|_| plain) {
            let End::Failed(refusal) = end else { continue };
            let fair = match self.failing {
                Failing::Nobody => false,
                Failing::Overtaken => refusal.is_overtaken,
                Failing::Anybody => true,
            };
            if !fair {
                return Err(format!("FAILED: nothing went wrong, and process {process} fails: {}", refusal.why));
            }
        }
        if self.tidy { quiet(&mut played.world) } else { Ok(()) }
    }
}
