//! When to refuse, unless forced: removals that look like a mistake of a person or of a clock. A guard that finds nothing
//! removed has nothing to refuse, but an empty policy is refused whatever it does today.

use super::calendar::{before, show, show_secs};
use super::policy::{Interval, MonthSub, Policy};
use super::{Decision, Item, groups};
use crate::format::wire::Time;
use crate::id::SnapshotId;
use crate::limits::{CLOCK_IDLE_SECS_MAX, CLOCK_SKEW_SECS_MAX};
use jiff::tz::TimeZone;
use std::collections::HashSet;

/// Why removals are refused. Times are UTC; a group is named as the caller named it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the policy keeps nothing")]
    EmptyPolicy,
    #[error("snapshot {} of `{group}` is held", .id.short())]
    Held { group: String, id: SnapshotId },
    #[error("`{group}` would lose its last complete snapshot, of {} that it has", .of)]
    LastComplete { group: String, of: usize },
    #[error("`{group}` would lose {removed} of its {of} complete snapshots at once, more than half")]
    MoreThanHalf { group: String, removed: usize, of: usize },
    #[error("the clock went back: it is {}, and the last run was at {}", show(*.now), show(*.last))]
    ClockBack { now: Time, last: Time },
    #[error("the clock went back, or that of the last run of `{group}` was ahead: it is {}, and that run says {}", show(*.now), show(*.last))]
    GroupAhead { group: String, now: Time, last: Time },
    #[error("the clock jumped, or nothing ran for {}: it is {}, and the last run was at {}", show_secs(.now.secs.saturating_sub(.last.secs)), show(*.now), show(*.last))]
    ClockAhead { now: Time, last: Time },
    #[error("the newest snapshot of `{group}` is {} old, of {}, and {limit} is the limit", show_secs(.now.secs.saturating_sub(.newest.secs)), show(*.newest))]
    Stale { group: String, newest: Time, now: Time, limit: Interval },
    #[error("`{group}` has no complete snapshot that is not dated in the future, and one must be younger than {limit}")]
    NeverFresh { group: String, limit: Interval },
}

/// What speaks against removing what `decisions` remove of `items`; items without a decision stay. There is no `policy` where
/// snapshots were named one by one: then no clock had a say. `last_run` is when retention or a backup last ran here, where
/// that is recorded.
pub fn guards(
    policy: Option<&Policy>,
    items: &[Item],
    decisions: &[Decision],
    now: Time,
    last_run: Option<Time>,
    require_fresh: Option<&Interval>,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if policy.is_some_and(Policy::is_empty) {
        refusals.push(Refusal::EmptyPolicy);
    }
    let removed: HashSet<SnapshotId> = decisions.iter().filter(|decision| !decision.keeps()).map(|decision| decision.id).collect();
    if !items.iter().any(|item| removed.contains(&item.id)) {
        return refusals;
    }

    if policy.is_some() {
        refusals.extend(clock(items, now, last_run));
    }
    for (group, all) in groups(items) {
        let all: Vec<&Item> = all.into_iter().map(|i| &items[i]).collect();
        if !all.iter().any(|item| removed.contains(&item.id)) {
            continue;
        }
        if policy.is_some() {
            refusals.extend(group_clock(group, &all, now));
        }
        let held = all.iter().filter(|item| item.held && removed.contains(&item.id));
        refusals.extend(held.map(|item| Refusal::Held { group: group.to_owned(), id: item.id }));
        refusals.extend(losses(group, &all, &removed, policy.map(|_| now)));
        refusals.extend(require_fresh.and_then(|limit| stale(group, &all, now, *limit)));
    }
    refusals
}

/// What speaks against trusting the clock, whichever group it is about.
fn clock(items: &[Item], now: Time, last_run: Option<Time>) -> Option<Refusal> {
    if let Some(last) = last_run.filter(|last| is_ahead(*last, now)) {
        return Some(Refusal::ClockBack { now, last });
    }
    let newest = items.iter().map(|item| item.time).filter(|time| !is_ahead(*time, now)).max();
    let last = newest.max(last_run)?;
    (now.secs.saturating_sub(last.secs) > CLOCK_IDLE_SECS_MAX).then_some(Refusal::ClockAhead { now, last })
}

/// Whether a time is so far in the future that a clock must be wrong, and not merely another host's.
fn is_ahead(time: Time, now: Time) -> bool {
    time.secs.saturating_sub(now.secs) > CLOCK_SKEW_SECS_MAX
}

/// What speaks against trusting the clock of the last run of a group, or ours.
fn group_clock(group: &str, all: &[&Item], now: Time) -> Option<Refusal> {
    // By the counter: a snapshot from the future that was followed by one of today is an accident that is over.
    let last = all.iter().max_by_key(|item| (item.order, item.time))?.time;
    is_ahead(last, now).then(|| Refusal::GroupAhead { group: group.to_owned(), now, last })
}

/// What speaks against so many removals from a group. What is dated in the future stands for nothing as long as something else is there:
/// neither for the history that is left, nor for a part of what there was. Where snapshots were named, no clock has a say.
fn losses(group: &str, all: &[&Item], removed: &HashSet<SnapshotId>, now: Option<Time>) -> Option<Refusal> {
    let group = group.to_owned();
    let mut complete: Vec<&&Item> = all.iter().filter(|item| item.complete).collect();
    let has_been = |item: &Item| now.is_none_or(|now| item.time <= now);
    if complete.iter().any(|item| has_been(item)) {
        complete.retain(|item| has_been(item));
    }
    let of = complete.len();
    let gone = complete.iter().filter(|item| removed.contains(&item.id)).count();
    if of > 0 && gone == of {
        return Some(Refusal::LastComplete { group, of });
    }
    (gone > of / 2).then_some(Refusal::MoreThanHalf { group, removed: gone, of })
}

/// What speaks against removing anything from a group whose backups may have stopped.
fn stale(group: &str, all: &[&Item], now: Time, limit: Interval) -> Option<Refusal> {
    let group = group.to_owned();
    let Some(newest) = all.iter().filter(|item| item.complete).map(|item| item.time).filter(|time| *time <= now).max() else {
        return Some(Refusal::NeverFresh { group, limit });
    };
    (newest < before(now, &limit, &TimeZone::UTC, MonthSub::Clamp)).then_some(Refusal::Stale { group, newest, now, limit })
}
