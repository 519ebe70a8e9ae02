//! Schedules by chance: a walk, and PCT (Burckhardt et al. 2010), which finds a bug of depth d with a known probability.

use crate::schedule::choice::{Choice, Chooser, Point, Taken};

/// Points after which a walk draws anew who is quick.
const MOOD: usize = 12;

/// Pseudo-random numbers (SplitMix64): the same for a seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// One below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Something that goes wrong, once in so many points; `None` mostly, and where nothing can.
fn mishap(random: &mut Random, point: &Point, once_in: u64) -> Option<Taken> {
    let kind = |choice: Choice| choice.number() >> 16;
    let mut kinds: Vec<u32> = point.choices.iter().filter(|choice| !choice.is_plain()).map(|choice| kind(*choice)).collect();
    kinds.dedup();
    if kinds.is_empty() || !random.once_in(once_in) {
        return None;
    }
    let wanted = *random.pick(&kinds);
    let able: Vec<usize> = (0..point.choices.len()).filter(|at| kind(point.choices[*at]) == wanted).collect();
    Some(point.take(*random.pick(&able)))
}

/// Chooses by weights that are drawn anew every now and then: so now one process is far quicker than the others, now another.
pub struct Walk {
    random: Random,
    mishaps: u64,
    weights: Vec<u64>,
    points: usize,
}

impl Walk {
    /// With something going wrong once in `mishaps` points.
    pub fn new(random: Random, mishaps: u64) -> Self {
        Walk { random, mishaps, weights: Vec::new(), points: 0 }
    }
}

impl Chooser for Walk {
    fn choose(&mut self, point: &Point) -> Taken {
        if let Some(taken) = mishap(&mut self.random, point, self.mishaps) {
            return taken;
        }
        if self.points.is_multiple_of(MOOD) {
            self.weights = (0..super::explore::PROCESSES_MAX).map(|_| 1 << self.random.below(8)).collect();
        }
        self.points += 1;
        let weight =
            |choice: &Choice| if let Choice::Run(process) = choice { self.weights[*process] } else { u64::from(*choice == Choice::End) };
        let mut left = self.random.below(point.choices.iter().map(weight).sum());
        for (at, choice) in point.choices.iter().enumerate() {
            match left.checked_sub(weight(choice)) {
                None => return point.take(at),
                Some(rest) => left = rest,
            }
        }
        point.take(0)
    }
}

/// The process of the highest priority runs; at a few points, drawn beforehand, whoever runs falls behind all others.
pub struct Priorities {
    random: Random,
    mishaps: u64,
    priorities: Vec<u64>,
    changes: Vec<u64>,
    points: u64,
}

impl Priorities {
    /// With `depth` - 1 changes in the first `length` points, and something going wrong once in `mishaps` points.
    pub fn new(mut random: Random, depth: u64, length: u64, mishaps: u64) -> Self {
        let priorities = (0..super::explore::PROCESSES_MAX).map(|_| random.draw() | 1 << 63).collect();
        let changes = (1..depth).map(|_| random.below(length)).collect();
        Priorities { random, mishaps, priorities, changes, points: 0 }
    }
}

impl Chooser for Priorities {
    fn choose(&mut self, point: &Point) -> Taken {
        if let Some(taken) = mishap(&mut self.random, point, self.mishaps) {
            return taken;
        }
        self.points += 1;
        if let (Some(at), Some(current)) = (self.changes.iter().position(|change| *change == self.points), point.current) {
            self.priorities[current] = at as u64;
        }
        let priority = |(at, choice)| if let Choice::Run(process) = choice { Some((self.priorities[process], at)) } else { None };
        let best = point.choices.iter().copied().enumerate().filter_map(priority).max();
        point.take(best.map_or(0, |(_, at)| at))
    }
}
