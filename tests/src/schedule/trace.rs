//! What happened in a schedule, for people.

use crate::schedule::choice::{Choice, Taken};
use crate::schedule::op::Op;
use crate::schedule::stage::End;
use crate::schedule::world::World;
use seabed_engine::id::ObjectName;

/// One thing that happened.
#[derive(Debug)]
pub struct Event {
    process: usize,
    verb: &'static str,
    object: Object,
    choice: Option<Choice>,
}

#[derive(Debug)]
enum Object {
    None,
    Name(ObjectName),
    Text(String),
}

impl Event {
    /// A request; without a choice it was one that cannot be chosen.
    pub fn new(process: usize, op: &Op, choice: Option<Choice>) -> Self {
        let object = match (op, op.name()) {
            (Op::List(folder, _), _) => Object::Text(folder.clone()),
            (_, Some(name)) => Object::Name(name.clone()),
            _ => Object::None,
        };
        Event { process, verb: op.verb(), object, choice }
    }

    /// A process stops for ever before this request.
    pub fn stopped(process: usize, op: Option<&Op>) -> Self {
        let event = op.map(|op| Event::new(process, op, Some(Choice::Stop(process))));
        event.unwrap_or(Event { process, verb: "", object: Object::None, choice: Some(Choice::Stop(process)) })
    }

    /// A process comes to its end.
    pub fn ended(process: usize, end: &End) -> Self {
        let (verb, object) = match end {
            End::None => ("ends", Object::None),
            End::Done => ("REPORTS SUCCESS", Object::None),
            End::Failed(refusal) => ("FAILS:", Object::Text(refusal.why.clone())),
        };
        Event { process, verb, object, choice: None }
    }

    fn text(&self, world: &World) -> String {
        let object = match &self.object {
            Object::None => String::new(),
            Object::Name(name) => world.label(name),
            Object::Text(text) => text.clone(),
        };
        let note = match self.choice {
            None | Some(Choice::Run(_) | Choice::End) => String::new(),
            Some(Choice::Lose(_)) => " — no answer; still under way".to_owned(),
            Some(Choice::Twice(_)) => " — and once more under way".to_owned(),
            Some(Choice::Refuse(_)) => " — fails".to_owned(),
            Some(Choice::Lack(_, at)) => format!(" — comes without its #{at}"),
            Some(Choice::Stop(_)) => " — not done: it STOPS HERE FOR EVER".to_owned(),
            Some(Choice::Late(_)) => " — arrives LATE".to_owned(),
        };
        format!("{} {object}{note}", self.verb)
    }
}

/// A schedule as it was played.
#[derive(Debug, Default)]
pub struct Trace {
    /// What was chosen where there was a choice.
    pub taken: Vec<Taken>,
    /// What happened.
    pub events: Vec<Event>,
}

impl Trace {
    /// All of it, a line for each event; who does it is said where it is another than before.
    pub fn text(&self, world: &World) -> String {
        let mut out = String::new();
        let mut last = None;
        for event in &self.events {
            let who = if last == Some(event.process) { "    ".to_owned() } else { format!("P{}: ", event.process) };
            last = Some(event.process);
            out.push_str(&format!("  {who}{}\n", event.text(world)));
        }
        out
    }

    /// How often a process that could have run on had to wait, or something went wrong.
    pub fn interventions(&self) -> usize {
        self.taken.iter().filter(|taken| taken.chosen > 0).count()
    }
}
