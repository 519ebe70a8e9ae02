//! Schedules by cue: who waits before which request, and for whom. For those that were found once and must never come back: a script
//! counts requests, and means something else when the engine asks for one more.

use crate::schedule::choice::{Choice, Chooser, Point, Taken};
use std::collections::VecDeque;

/// When this process is about to do this in this folder, that is what happens.
pub type Cue = (usize, &'static str, &'static str, Choice);

/// Follows cues, one after the other. Where nobody could run on, it is the turn of whom the next cue is about.
pub struct Cues(VecDeque<Cue>);

impl Cues {
    /// These.
    pub fn new(cues: &[Cue]) -> Self {
        Cues(cues.iter().copied().collect())
    }
}

impl Chooser for Cues {
    fn choose(&mut self, point: &Point) -> Taken {
        let Some((process, verb, folder, choice)) = self.0.front().copied() else { return point.take(0) };
        let Some(current) = point.current else {
            return point.again(Choice::Run(process)).unwrap_or_else(|| point.take(0));
        };
        if current == process && point.next.as_ref().is_some_and(|next| next.0 == verb && next.1 == folder) {
            self.0.pop_front();
            return point.again(choice).unwrap_or_else(|| panic!("{choice:?} cannot be at {verb} {folder}"));
        }
        point.take(0)
    }

    /// Cues that never came.
    fn diverged(&self) -> u32 {
        self.0.len() as u32
    }
}
