//! What can happen next, and what may happen in all: the alphabet of schedules.

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// The request of this process is done, and answered.
    Run(usize),
    /// The answer does not come; the request may be done later, or never.
    Lose(usize),
    /// It is done and answered, and may be done once more later.
    Twice(usize),
    /// It is not done, and the process is told so.
    Refuse(usize),
    /// A listing lacks one object, counted by age.
    Lack(usize, usize),
    /// The process never does anything again: killed, or suspended for ever.
    Stop(usize),
    /// A request under way arrives.
    Late(usize),
    /// Those under way never arrive.
    End,
}

impl Choice {
    /// The process whose request it is about.
    pub fn process(self) -> Option<usize> {
        match self {
            Choice::Run(p) | Choice::Lose(p) | Choice::Twice(p) | Choice::Refuse(p) | Choice::Lack(p, _) | Choice::Stop(p) => Some(p),
            Choice::Late(_) | Choice::End => None,
        }
    }

    /// Whether nothing goes wrong in it.
    pub fn is_plain(self) -> bool {
        matches!(self, Choice::Run(_) | Choice::End)
    }

    /// A number of its own.
    pub fn number(self) -> u32 {
        let (kind, one, other) = match self {
            Choice::Run(p) => (1, p, 0),
            Choice::Lose(p) => (2, p, 0),
            Choice::Twice(p) => (3, p, 0),
            Choice::Refuse(p) => (4, p, 0),
            Choice::Lack(p, at) => (5, p, at),
            Choice::Stop(p) => (6, p, 0),
            Choice::Late(at) => (7, 0, at),
            Choice::End => (8, 0, 0),
        };
        kind << 16 | (one as u32) << 8 | other as u32
    }
}

/// How much of each may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Processes that could run on and have to wait.
    pub switches: u32,
    /// Requests without an answer, and such that are done twice.
    pub late: u32,
    /// Requests that fail.
    pub refusals: u32,
    /// Listings that lack an object.
    pub lacks: u32,
    /// Processes that stop for ever.
    pub stops: u32,
}

impl Budgets {
    /// Nothing interferes.
    pub const NONE: Budgets = Budgets { switches: 0, late: 0, refusals: 0, lacks: 0, stops: 0 };

    /// Others come between, and nothing else.
    pub const fn switches(switches: u32) -> Budgets {
        Budgets { switches, ..Budgets::NONE }
    }

    pub(super) fn spend(&mut self, choice: Choice, current: Option<usize>) {
        if choice.process().is_some_and(|process| current.is_some_and(|current| current != process)) {
            self.switches = self.switches.saturating_sub(1);
        }
        match choice {
            Choice::Lose(_) | Choice::Twice(_) => self.late -= 1,
            Choice::Refuse(_) => self.refusals -= 1,
            Choice::Lack(..) => self.lacks -= 1,
            Choice::Stop(_) => self.stops -= 1,
            Choice::Run(_) | Choice::Late(_) | Choice::End => {}
        }
    }
}

/// Where a schedule is, in terms that stay when something else is left out of it: before which request of the process that could run on,
/// or after how many have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The process; none where whoever ran last cannot run on.
    pub process: Option<usize>,
    /// How many requests it has made, or how many processes have ended.
    pub turn: u32,
}

/// A point at which there is something to choose.
pub struct Point<'a> {
    /// What can happen; the first is what would if nobody interfered.
    pub choices: &'a [Choice],
    /// What each amounts to, the same in every replay.
    pub signatures: &'a [u32],
    /// Who ran last and could run on.
    pub current: Option<usize>,
    /// Where this is.
    pub place: Place,
    /// What the one who could run on is about to do, and in which folder.
    pub next: Option<(&'static str, String)>,
    /// How many points came before.
    pub step: usize,
}

/// What was chosen at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which of the choices.
    pub chosen: u16,
    /// Of how many.
    pub count: u16,
    /// Signature of what was chosen.
    pub signature: u32,
    /// What it was.
    pub choice: Choice,
    /// Where.
    pub place: Place,
}

impl Point<'_> {
    /// Chooses.
    pub fn take(&self, chosen: usize) -> Taken {
        let chosen = chosen.min(self.choices.len() - 1);
        let (choice, signature) = (self.choices[chosen], self.signatures[chosen]);
        Taken { chosen: chosen as u16, count: self.choices.len() as u16, signature, choice, place: self.place }
    }

    /// Chooses what was chosen in another run, if it can be.
    pub fn again(&self, choice: Choice) -> Option<Taken> {
        self.choices.iter().position(|have| *have == choice).map(|at| self.take(at))
    }
}

/// Who decides what happens next.
pub trait Chooser: Send {
    /// Decides.
    fn choose(&mut self, point: &Point) -> Taken;

    /// How often what was to be replayed turned out otherwise.
    fn diverged(&self) -> u32 {
        0
    }
}
