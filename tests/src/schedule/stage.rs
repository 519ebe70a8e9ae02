//! The scheduler: processes wait at its gates, and one request at a time is granted, chosen by whoever explores.
//! It never lets two of them run at once. A process that is not cut off runs on when its request was answered, until its next one.

use crate::schedule::choice::{Budgets, Choice, Chooser, Place, Point};
use crate::schedule::op::{Answer, Op, Page, no_answer};
use crate::schedule::trace::{Event, Trace};
use crate::schedule::verbs::Refusal;
use crate::schedule::world::{Clock, Judged, World};
use seabed_engine::error::Result;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Requests of one schedule after which it counts as one that does not end.
const STEPS_MAX: usize = 20_000;
/// For how long nobody may ask for anything: then processes wait for each other and not for the scheduler.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which reads others may come between. (Lists and writes always are.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// None.
    Free,
    /// The first of several in a row: what is deleted before the later ones may as well be deleted before the first.
    #[default]
    First,
    /// All.
    Each,
}

/// How a process came to its end.
#[derive(Debug)]
pub enum End {
    /// Its thread still runs, or was cut off.
    None,
    /// As it should.
    Done,
    /// With this error.
    Failed(Refusal),
}

#[derive(PartialEq, Eq)]
enum Phase {
    Running,
    Waiting,
    Stopped,
    Ended,
}

struct Process {
    after: Vec<usize>,
    clock: Clock,
    phase: Phase,
    waiting: VecDeque<(u64, Op)>,
    answers: Vec<(u64, Result<Answer>)>,
    /// Its last request was a read.
    reading: bool,
    /// Requests that were chosen.
    turns: u32,
    end: End,
}

struct State {
    world: World,
    processes: Vec<Process>,
    chooser: Box<dyn Chooser>,
    budgets: Budgets,
    reads: Reads,
    tickets: u64,
    last: Option<usize>,
    alive: usize,
    closed: bool,
    trace: Trace,
    violation: Option<String>,
}

/// What came of a schedule.
pub struct Played {
    /// The world as it is now.
    pub world: World,
    /// What was chosen, and what was done.
    pub trace: Trace,
    /// What must not be, if anything.
    pub violation: Option<String>,
    /// How each process ended.
    pub ends: Vec<End>,
    /// Who chose.
    pub chooser: Box<dyn Chooser>,
}

/// See the module's text.
pub struct Stage {
    /// `None` when it was taken apart; a straggler (a thread that nobody waits for) finds the gate closed then.
    state: Mutex<Option<State>>,
    turns: Vec<Condvar>,
    over: Condvar,
}

impl Stage {
    /// For processes of which each begins `after` others have ended, with their clocks.
    pub fn new(world: World, processes: Vec<(Vec<usize>, Clock)>, chooser: Box<dyn Chooser>, budgets: Budgets, reads: Reads) -> Self {
        let turns = processes.iter().map(|_| Condvar::new()).collect();
        let process = |(after, clock)| Process {
            after,
            clock,
            phase: Phase::Running,
            waiting: VecDeque::new(),
            answers: Vec::new(),
            reading: false,
            turns: 0,
            end: End::None,
        };
        let alive = processes.len();
        let processes = processes.into_iter().map(process).collect();
        let state = State {
            world,
            processes,
            chooser,
            budgets,
            reads,
            tickets: 0,
            last: None,
            alive,
            closed: false,
            trace: Trace::default(),
            violation: None,
        };
        Stage { state: Mutex::new(Some(state)), turns, over: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic in here is a mistake of the harness; the test fails by it, and the others may see what there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of a process: returns when the scheduler has granted it.
    pub fn call(&self, process: usize, op: Op) -> Result<Answer> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return Err(no_answer()) };
        let this = &mut state.processes[process];
        // Whoever still asks when its process has ended (it read ahead) has died with it.
        if matches!(this.phase, Phase::Stopped | Phase::Ended) {
            return Err(no_answer());
        }
        let again = std::mem::replace(&mut this.reading, op.reads());
        let free = op.is_still() || op.reads() && (state.reads == Reads::Free || again && state.reads == Reads::First);
        if free && state.processes[process].waiting.is_empty() {
            return state.grant(process, &op, None, None);
        }
        state.tickets += 1;
        let ticket = state.tickets;
        let this = &mut state.processes[process];
        this.waiting.push_back((ticket, op));
        this.phase = Phase::Waiting;
        self.settle(state);
        loop {
            let Some(state) = guard.as_mut() else { return Err(no_answer()) };
            let answers = &mut state.processes[process].answers;
            if let Some(at) = answers.iter().position(|(have, _)| *have == ticket) {
                return answers.swap_remove(at).1;
            }
            guard = self.turns[process].wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The thread of a process ends. What it reports counts only if it was not cut off.
    pub fn ended(&self, process: usize, judge: impl FnOnce(&mut World) -> (End, Judged)) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return };
        state.alive -= 1;
        if state.processes[process].phase != Phase::Stopped {
            let (end, judged) = judge(&mut state.world);
            state.trace.events.push(Event::ended(process, &end));
            let this = &mut state.processes[process];
            this.end = end;
            self.stop(state, process);
            state.processes[process].phase = Phase::Ended;
            state.saw(judged);
            self.settle(state);
        }
        if state.alive == 0 {
            self.over.notify_all();
        }
    }

    /// Something that only a thread of a process can find out, and that ends the schedule: a panic.
    pub fn accuse(&self, why: String) {
        if let Some(state) = self.lock().as_mut() {
            state.violation.get_or_insert(why);
        }
    }

    /// Waits until all threads have ended, and says what came of it.
    pub fn played(&self) -> Played {
        let mut guard = self.lock();
        let mut events = 0;
        while let Some(state) = guard.as_ref().filter(|state| state.alive > 0) {
            let before = std::mem::replace(&mut events, state.trace.events.len());
            let (after, timeout) = self.over.wait_timeout(guard, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            guard = after;
            if let Some(state) = guard.as_ref().filter(|state| timeout.timed_out() && state.trace.events.len() == before) {
                panic!("processes wait for each other, and not at the gate:\n{}", state.trace.text(&state.world));
            }
        }
        let Some(State { world, processes, chooser, trace, violation, .. }) = guard.take() else { panic!("played twice") };
        Played { world, trace, violation, chooser, ends: processes.into_iter().map(|process| process.end).collect() }
    }

    /// Grants requests until somebody runs, or nobody ever will.
    fn settle(&self, state: &mut State) {
        loop {
            if state.processes.iter().any(|process| process.phase == Phase::Running) || state.closed {
                return;
            }
            if state.trace.events.len() > STEPS_MAX {
                state.violation.get_or_insert(format!("ENDLESS: {STEPS_MAX} requests, and no end"));
            }
            let choices = if state.violation.is_some() { Vec::new() } else { state.choices() };
            let choice = match choices[..] {
                [] => {
                    state.closed = true;
                    for process in 0..self.turns.len() {
                        self.stop(state, process);
                    }
                    return;
                }
                [only] => only,
                _ => {
                    let signatures: Vec<u32> = choices.iter().map(|choice| state.signature(*choice)).collect();
                    let point = Point {
                        choices: &choices,
                        signatures: &signatures,
                        current: state.current(),
                        place: state.place(),
                        next: state.current().and_then(|process| state.front(process)).map(|op| (op.verb(), op.folder().to_owned())),
                        step: state.trace.taken.len(),
                    };
                    let taken = state.chooser.choose(&point);
                    state.trace.taken.push(taken);
                    taken.choice
                }
            };
            if choice == Choice::End {
                state.world.late.clear();
                continue;
            }
            self.take(state, choice);
        }
    }

    fn stop(&self, state: &mut State, process: usize) {
        let this = &mut state.processes[process];
        if this.phase == Phase::Ended {
            return;
        }
        this.phase = Phase::Stopped;
        for (ticket, _) in this.waiting.drain(..) {
            this.answers.push((ticket, Err(no_answer())));
        }
        self.turns[process].notify_all();
    }

    fn take(&self, state: &mut State, choice: Choice) {
        state.budgets.spend(choice, state.current());
        match choice {
            Choice::End => {}
            Choice::Late(at) => {
                let (process, op) = state.world.late.remove(at);
                state.trace.events.push(Event::new(process, &op, Some(choice)));
                // Nobody hears what became of it.
                let (_, seen) = state.world.apply(&op, Clock::default(), None);
                state.saw(seen);
            }
            Choice::Stop(process) => {
                let event = Event::stopped(process, state.front(process));
                state.trace.events.push(event);
                self.stop(state, process);
            }
            Choice::Run(process) | Choice::Lose(process) | Choice::Twice(process) | Choice::Refuse(process) | Choice::Lack(process, _) => {
                let Some((ticket, op)) = state.processes[process].waiting.pop_front() else { return };
                let lacking = if let Choice::Lack(_, at) = choice { Some(at) } else { None };
                if !matches!(choice, Choice::Refuse(_)) {
                    state.world.sent(process, &op);
                }
                let answer = match choice {
                    Choice::Lose(_) | Choice::Refuse(_) => {
                        state.trace.events.push(Event::new(process, &op, Some(choice)));
                        Err(no_answer())
                    }
                    _ => state.grant(process, &op, lacking, Some(choice)),
                };
                if matches!(choice, Choice::Lose(_) | Choice::Twice(_)) {
                    state.world.late.push((process, op));
                }
                state.last = Some(process);
                let this = &mut state.processes[process];
                this.answers.push((ticket, answer));
                this.turns += 1;
                this.phase = if this.waiting.is_empty() { Phase::Running } else { Phase::Waiting };
                self.turns[process].notify_all();
            }
        }
    }
}

impl State {
    fn front(&self, process: usize) -> Option<&Op> {
        self.processes[process].waiting.front().map(|(_, op)| op)
    }

    fn grant(&mut self, process: usize, op: &Op, lacking: Option<usize>, choice: Option<Choice>) -> Result<Answer> {
        let (answer, seen) = self.world.apply(op, self.processes[process].clock, lacking);
        self.trace.events.push(Event::new(process, op, choice));
        self.saw(seen);
        answer
    }

    fn saw(&mut self, seen: Judged) {
        if let Err(why) = seen {
            self.violation.get_or_insert(why);
        }
    }

    fn is_over(&self, process: usize) -> bool {
        matches!(self.processes[process].phase, Phase::Stopped | Phase::Ended)
    }

    fn is_enabled(&self, process: usize) -> bool {
        let this = &self.processes[process];
        this.phase == Phase::Waiting && (!matches!(self.front(process), Some(Op::Start)) || this.after.iter().all(|p| self.is_over(*p)))
    }

    /// Who ran last and could run on.
    fn current(&self) -> Option<usize> {
        self.last.filter(|process| self.is_enabled(*process))
    }

    fn place(&self) -> Place {
        match self.current() {
            Some(process) => Place { process: Some(process), turn: self.processes[process].turns },
            None => Place { process: None, turn: (0..self.processes.len()).filter(|process| self.is_over(*process)).count() as u32 },
        }
    }

    /// All that can happen next; the first is what would happen if nobody interfered.
    fn choices(&self) -> Vec<Choice> {
        let current = self.current();
        let others = (0..self.processes.len()).filter(|process| Some(*process) != current && self.is_enabled(*process));
        let others: Vec<usize> = if current.is_some() && self.budgets.switches == 0 { Vec::new() } else { others.collect() };
        let able: Vec<usize> = current.into_iter().chain(others).collect();
        let mut choices: Vec<Choice> = able.iter().map(|process| Choice::Run(*process)).collect();
        if choices.is_empty() && !self.world.late.is_empty() {
            choices.push(Choice::End);
        }
        for process in able {
            let Some(op) = self.front(process) else { continue };
            if matches!(op, Op::Start) {
                continue;
            }
            if op.writes() && self.budgets.late > 0 {
                choices.extend([Choice::Lose(process), Choice::Twice(process)]);
            }
            if self.budgets.refusals > 0 {
                choices.push(Choice::Refuse(process));
            }
            if let Op::List(folder, Page::All) = op
                && self.budgets.lacks > 0
            {
                choices.extend((0..self.world.may_lack(folder).len()).map(|at| Choice::Lack(process, at)));
            }
            // Who is not at it can as well be stopped when it is.
            if self.budgets.stops > 0 && current.is_none_or(|current| current == process) {
                choices.push(Choice::Stop(process));
            }
        }
        choices.extend((0..self.world.late.len()).map(Choice::Late));
        choices
    }

    /// What a choice amounts to, the same in every replay: not the names, which are drawn anew.
    fn signature(&self, choice: Choice) -> u32 {
        let op = match choice {
            Choice::Late(at) => self.world.late.get(at).map(|(_, op)| op),
            _ => choice.process().and_then(|process| self.front(process)),
        };
        let text = op.map_or(0, |op| crc(op.verb()) ^ crc(op.folder()).rotate_left(7));
        text ^ choice.number().wrapping_mul(0x9e37_79b9)
    }
}

fn crc(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
