//! What a policy will have made of the snapshots in some weeks, if their groups go on as they did. Nothing is looked at that
//! `decide` does not look at, and what it says of the future is a guess from the history.

use super::{Decision, Item, Policy, decide, groups};
use crate::format::wire::Time;
use crate::id::SnapshotId;
use crate::limits::{SIMULATED_DAYS_MAX, SIMULATED_RUNS_MAX};
use std::cmp::Reverse;

/// Gaps of the history from which the interval of a group is guessed: few, since retention has thinned older ones.
const GAPS: usize = 7;
const DAY_SECS: i64 = 86_400;

/// The future of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The group.
    pub group: String,
    /// How far apart new snapshots are taken to be: the median of the last gaps, a day where there are none.
    pub interval_secs: i64,
    /// What is there today, at the end of each week, and at the end.
    pub steps: Vec<Step>,
    /// What is there at the end, newest first, and by which rules.
    pub end: Vec<(Item, Decision)>,
}

/// What is there after some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Days from now.
    pub day: u32,
    /// That time.
    pub time: Time,
    /// The times of the snapshots, newest first.
    pub kept: Vec<Time>,
    /// What they count towards [`Policy::max_bytes`].
    pub bytes: u64,
}

/// Applies the policy now and after each of the snapshots that are expected in `days`, ten years at most, group by group. New snapshots are
/// complete, as large as the newest one, and have the tags that all the last ones have.
pub fn simulate(policy: &Policy, items: &[Item], now: Time, days: u32) -> Vec<Forecast> {
    let groups = groups(items).into_values();
    groups.map(|group| forecast(policy, group.into_iter().map(|i| items[i].clone()).collect(), now, days)).collect()
}

fn forecast(policy: &Policy, mut items: Vec<Item>, now: Time, days: u32) -> Forecast {
    let days = days.min(SIMULATED_DAYS_MAX);
    items.sort_by_key(|item| Reverse(item.age()));
    let past: Vec<&Item> = items.iter().filter(|item| item.complete && item.time <= now).take(GAPS + 1).collect();
    let interval_secs = interval(&past).max(i64::from(days) * DAY_SECS / SIMULATED_RUNS_MAX);
    let model = model(&items, &past);
    let last = past.first().map_or(now, |item| item.time);
    let mut next = Time { secs: following(last.secs, interval_secs, now.secs), ..last };

    let mut steps = Vec::new();
    let mut at = now;
    let mut decisions = apply(policy, &mut items, at);
    for day in (0..days).step_by(7).chain([days]) {
        let time = Time { secs: now.secs.saturating_add(i64::from(day) * DAY_SECS), ..now };
        // Time itself has an end, and a clock that broke may stand there.
        while next <= time && next.secs < i64::MAX {
            let order = items.iter().map(|item| item.order).max().unwrap_or(0).saturating_add(1);
            // Only what is dated in the future is newer.
            let place = items.partition_point(|item| item.time > next);
            items.insert(place, Item { id: simulated_id(order), time: next, order, ..model.clone() });
            at = next;
            decisions = apply(policy, &mut items, at);
            next.secs = next.secs.saturating_add(interval_secs);
        }
        let bytes = items.iter().fold(0, |sum: u64, item| sum.saturating_add(item.bytes));
        steps.push(Step { day, time, kept: items.iter().map(|item| item.time).collect(), bytes });
    }
    Forecast { group: model.group, interval_secs, steps, end: items.into_iter().zip(decisions).collect() }
}

/// The first of the times after `now` that go on from `last` at an interval; what came from outside may be further apart than
/// 64 bits.
fn following(last: i64, interval: i64, now: i64) -> i64 {
    let (last, interval) = (i128::from(last), i128::from(interval));
    let behind = (i128::from(now) - last).max(0) / interval;
    i64::try_from(last + (behind + 1) * interval).unwrap_or(i64::MAX)
}

/// Removes what the policy removes; answers why the rest stays.
fn apply(policy: &Policy, items: &mut Vec<Item>, now: Time) -> Vec<Decision> {
    let mut decisions = decide(policy, items, now);
    let mut keeps = decisions.iter().map(Decision::keeps);
    items.retain(|_| keeps.next().unwrap_or(true));
    decisions.retain(Decision::keeps);
    decisions
}

/// The median of the gaps between snapshots, newest first: of two in the middle the smaller.
fn interval(past: &[&Item]) -> i64 {
    let mut gaps: Vec<i64> = past.windows(2).map(|pair| pair[0].time.secs.saturating_sub(pair[1].time.secs)).collect();
    gaps.sort_unstable();
    let middle = gaps.len().saturating_sub(1) / 2;
    gaps.get(middle).map_or(DAY_SECS, |gap| (*gap).max(1))
}

/// What a new snapshot is like.
fn model(items: &[Item], past: &[&Item]) -> Item {
    let like = past.first().copied().or(items.first());
    let tags = like.map(|item| item.tags.clone()).unwrap_or_default();
    Item {
        id: simulated_id(0),
        time: Time::default(),
        group: like.map(|item| item.group.clone()).unwrap_or_default(),
        tags: tags.into_iter().filter(|tag| past.iter().all(|item| item.tags.contains(tag))).collect(),
        complete: true,
        held: false,
        bytes: like.map_or(0, |item| item.bytes),
        order: 0,
    }
}

/// An id that no snapshot has: those are 32 random bytes.
fn simulated_id(order: u64) -> SnapshotId {
    let mut bytes = [0; SnapshotId::BYTES];
    bytes[..8].copy_from_slice(&order.to_le_bytes());
    SnapshotId::new(bytes)
}
