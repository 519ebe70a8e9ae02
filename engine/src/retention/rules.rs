//! The rules of a policy over the snapshots that count: complete, not dated in the future, newest first. What is never
//! removed, and what goes for its size, is not decided here.

use super::calendar::{Bucket, Local};
use super::policy::{Interval, Keep, Mode, Period, Policy};
use super::{Reason, Rule};
use crate::format::wire::Time;
use std::collections::HashSet;

/// A snapshot that counts.
pub(super) struct Candidate {
    time: Time,
    local: Local,
}

impl Candidate {
    pub(super) fn new(time: Time, policy: &Policy) -> Self {
        Candidate { time, local: Local::new(time, &policy.tz) }
    }
}

/// Why each of `candidates`, newest first, is kept; those without a reason are not.
pub(super) fn apply(policy: &Policy, candidates: &[Candidate], anchor: Time) -> Vec<Vec<Reason>> {
    let mut reasons = match policy.mode {
        Mode::Overlap => overlap(policy, candidates, anchor),
        Mode::Sequential => sequential(policy, candidates, anchor),
    };
    for (&period, interval) in policy.within.iter().filter(|(_, interval)| !interval.is_zero()) {
        let since = policy.before(anchor, interval);
        pick(policy, candidates, period, &Rule::Within(period, *interval), None, Some(since), &mut reasons);
    }
    reasons
}

/// The rule that keeps whatever is as old as this, complete or not: one that keeps everything back to some time.
pub(super) fn everything(policy: &Policy, time: Time, anchor: Time) -> Option<Rule> {
    let rule = policy.rules.get(&Period::Each).filter(|keep| match keep {
        Keep::Count(_) => false,
        Keep::All => true,
        Keep::Interval(interval) if interval.is_zero() => false,
        Keep::Interval(interval) => match policy.mode {
            Mode::Overlap => time > policy.before(anchor, interval),
            Mode::Sequential => time >= policy.before(anchor, interval),
        },
    });
    if let Some(keep) = rule {
        return Some(Rule::Keep(Period::Each, *keep));
    }
    let within = policy.within.get(&Period::Each).filter(|interval| !interval.is_zero() && time > policy.before(anchor, interval));
    within.map(|interval| Rule::Within(Period::Each, *interval))
}

fn overlap(policy: &Policy, candidates: &[Candidate], anchor: Time) -> Vec<Vec<Reason>> {
    let mut reasons = vec![Vec::new(); candidates.len()];
    for (&period, keep) in policy.rules.iter().filter(|(_, keep)| keep.is_active()) {
        let (left, since) = match keep {
            Keep::Count(n) => (Some(*n), None),
            Keep::All => (None, None),
            Keep::Interval(interval) => (None, Some(policy.before(anchor, interval))),
        };
        pick(policy, candidates, period, &Rule::Keep(period, *keep), left, since, &mut reasons);
    }
    reasons
}

/// restic's rule: the newest of each period, `left` times or as long as they are younger than `since`, and the oldest of all
/// where that has not ended before.
fn pick(
    policy: &Policy,
    candidates: &[Candidate],
    period: Period,
    rule: &Rule,
    mut left: Option<u32>,
    since: Option<Time>,
    reasons: &mut [Vec<Reason>],
) {
    let mut seen = HashSet::new();
    for (i, candidate) in candidates.iter().enumerate() {
        if left == Some(0) || since.is_some_and(|since| candidate.time <= since) {
            return;
        }
        let bucket = candidate.local.bucket(period, policy.week);
        let first = bucket.is_none_or(|bucket| seen.insert(bucket));
        if first || policy.keep_oldest && i + 1 == candidates.len() {
            reasons[i].push(Reason { rule: rule.clone(), bucket, oldest: !first });
            left = left.map(|left| left - 1);
        }
    }
}

/// The state of [`Mode::Sequential`] between two rules.
struct Sequence<'a> {
    policy: &'a Policy,
    candidates: &'a [Candidate],
    /// What counts keep, and the oldest.
    counted: Vec<Vec<Reason>>,
    /// What windows keep,
    won: Vec<Vec<Reason>>,
    /// unless another window has a newer one of the same period: only at the instant that two windows share.
    lost: Vec<bool>,
    /// Where the next window begins.
    edge: Time,
}

fn sequential(policy: &Policy, candidates: &[Candidate], anchor: Time) -> Vec<Vec<Reason>> {
    let none = vec![Vec::new(); candidates.len()];
    let lost = vec![false; candidates.len()];
    let mut sequence = Sequence { policy, candidates, counted: none.clone(), won: none, lost, edge: anchor };
    let coarsest = policy.rules.iter().rev().find(|(_, keep)| keep.is_active()).map(|(period, _)| *period);
    for (&period, keep) in &policy.rules {
        let oldest = policy.keep_oldest && coarsest == Some(period);
        match keep {
            Keep::Count(n) => sequence.count(period, *keep, Some(*n), oldest),
            Keep::All => sequence.count(period, *keep, None, oldest),
            Keep::Interval(interval) => sequence.window(period, interval, oldest),
        }
    }
    let Sequence { mut counted, won, lost, .. } = sequence;
    for (i, won) in won.into_iter().enumerate().filter(|(i, _)| !lost[*i]) {
        counted[i].extend(won);
    }
    counted
}

impl Sequence<'_> {
    fn is_kept(&self, i: usize) -> bool {
        !self.counted[i].is_empty() || !self.won[i].is_empty() && !self.lost[i]
    }

    fn bucket(&self, i: usize, period: Period) -> Option<Bucket> {
        self.candidates[i].local.bucket(period, self.policy.week)
    }

    /// borg's rule: what finer rules keep stands for its period, but is not counted.
    fn count(&mut self, period: Period, keep: Keep, mut left: Option<u32>, oldest: bool) {
        let mut seen = HashSet::new();
        for i in 0..self.candidates.len() {
            if left == Some(0) {
                return;
            }
            let bucket = self.bucket(i, period);
            let first = bucket.is_none_or(|bucket| seen.insert(bucket));
            let last = oldest && i + 1 == self.candidates.len();
            if (first || last) && !self.is_kept(i) {
                self.counted[i].push(Reason { rule: Rule::Keep(period, keep), bucket, oldest: !first });
                self.edge = self.edge.min(self.candidates[i].time);
                left = left.map(|left| left - 1);
            }
        }
    }

    /// spatie's rule: the newest of each period between two times.
    fn window(&mut self, period: Period, interval: &Interval, oldest: bool) {
        let rule = Rule::Keep(period, Keep::Interval(*interval));
        let since = self.policy.before(self.edge, interval);
        let mut seen = HashSet::new();
        for i in 0..self.candidates.len() {
            let time = self.candidates[i].time;
            if time > self.edge {
                continue;
            }
            if time < since {
                break;
            }
            let bucket = self.bucket(i, period);
            let first = bucket.is_none_or(|bucket| seen.insert(bucket));
            if first {
                self.won[i].push(Reason { rule: rule.clone(), bucket, oldest: false });
            } else if oldest && i + 1 == self.candidates.len() {
                self.counted[i].push(Reason { rule: rule.clone(), bucket, oldest: true });
            } else {
                self.lost[i] = true;
            }
        }
        self.edge = since;
    }
}
