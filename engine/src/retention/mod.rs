//! Retention: which snapshots of a group stay, by which rule, and when to refuse. Pure: the caller brings snapshots, groups,
//! the time and what a snapshot's size is, and does the forgetting. Nothing here may rest on a snapshot that is incomplete or
//! dated in the future, and nothing here ever lets the newest complete snapshot of a group go.

mod calendar;
mod guards;
mod policy;
mod rules;
mod simulate;
mod size;

pub use calendar::Bucket;
pub use guards::{Refusal, guards};
pub use policy::{Anchor, Interval, Keep, Mode, MonthSub, Period, Policy, Week};
pub use simulate::{Forecast, Step, simulate};
pub use size::{charge_order, fit};

use crate::format::wire::Time;
use crate::id::SnapshotId;
use rules::Candidate;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// A snapshot, as far as retention looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The snapshot.
    pub id: SnapshotId,
    /// The time that it stands for.
    pub time: Time,
    /// What it is judged with: the series, or whatever the caller groups by.
    pub group: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it has all that was asked for.
    pub complete: bool,
    /// Whether someone holds it.
    pub held: bool,
    /// What it counts towards [`Policy::max_bytes`].
    pub bytes: u64,
    /// A counter of runs that can be compared within the group; the same for all, such as 0, where there is none. It orders
    /// snapshots of the same time and shows where a clock went back.
    pub order: u64,
}

impl Item {
    /// What snapshots of a group are ordered by.
    fn age(&self) -> (Time, u64, SnapshotId) {
        (self.time, self.order, self.id)
    }
}

/// What keeps snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One of [`Policy::rules`].
    Keep(Period, Keep),
    /// One of [`Policy::within`].
    Within(Period, Interval),
    /// One of [`Policy::keep_tags`].
    Tags(Vec<String>),
    /// A size is all that was asked for, and it is not reached.
    NoOther,
    /// [`Policy::min_count`].
    MinCount(u32),
    /// The newest complete snapshot of a group always stays.
    Newest,
    /// What the last run stored stays too, where its clock says that it is older: its clock may have gone back.
    LastRun,
    /// Someone holds it.
    Held,
    /// It is dated in the future: no rule looks at it, nothing is removed because of it.
    Future,
    /// It is incomplete, but no complete one is newer.
    Incomplete,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Keep(period, keep) => write!(f, "{} {keep}", period.rule()),
            Rule::Within(period, interval) => write!(f, "{} {interval}", period.within()),
            Rule::Tags(tags) => write!(f, "tag {}", tags.join(",")),
            Rule::NoOther => f.write_str("no rule but a size"),
            Rule::MinCount(n) => write!(f, "one of the newest {n}"),
            Rule::Newest => f.write_str("newest complete snapshot"),
            Rule::LastRun => f.write_str("last run"),
            Rule::Held => f.write_str("held"),
            Rule::Future => f.write_str("dated in the future"),
            Rule::Incomplete => f.write_str("incomplete, but no complete one is newer"),
        }
    }
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What keeps it,
    pub rule: Rule,
    /// as the newest of which period, where the rule knows periods,
    pub bucket: Option<Bucket>,
    /// or as the oldest of all, for which the rule had room.
    pub oldest: bool,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if self.oldest {
            f.write_str(", oldest")?;
        }
        self.bucket.map_or(Ok(()), |bucket| write!(f, ": {bucket}"))
    }
}

/// Why a snapshot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Cause {
    #[error("no rule keeps it")]
    NoRule,
    #[error("it is incomplete, and a complete one is newer")]
    Incomplete,
    #[error("the oldest of {total_bytes} bytes, {max_bytes} are allowed")]
    Size { total_bytes: u64, max_bytes: u64 },
    #[error("asked for")]
    Asked,
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for at least one reason.
    Keep(Vec<Reason>),
    /// It goes.
    Remove(Cause),
}

/// What becomes of which snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Decision {
    /// Whether it stays.
    pub fn keeps(&self) -> bool {
        matches!(self.verdict, Verdict::Keep(_))
    }
}

/// What a policy makes of snapshots at a time, one decision per item and in their order; each group by itself.
///
/// Only complete snapshots that are not dated in the future count for rules and sizes. Whatever the policy: the newest of these stays
/// in every group, and so does what the last run stored, what is held, what is dated in the future, and what is incomplete
/// without a newer complete one. An incomplete one that is older stays only where a rule keeps everything back to some time,
/// or its tags.
///
/// Deciding again at the same time on what stays removes nothing more, in every mode.
pub fn decide(policy: &Policy, items: &[Item], now: Time) -> Vec<Decision> {
    let mut verdicts: Vec<Verdict> = vec![Verdict::Remove(Cause::NoRule); items.len()];
    for mut group in groups(items).into_values() {
        group.sort_by_key(|i| Reverse(items[*i].age()));
        decide_group(policy, items, &group, now, &mut verdicts);
    }
    items.iter().zip(verdicts).map(|(item, verdict)| Decision { id: item.id, verdict }).collect()
}

/// Where the items of each group are.
fn groups(items: &[Item]) -> BTreeMap<&str, Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        groups.entry(&item.group).or_default().push(i);
    }
    groups
}

/// A reason without a period.
fn because(rule: Rule) -> Reason {
    Reason { rule, bucket: None, oldest: false }
}

fn decide_group(policy: &Policy, items: &[Item], group: &[usize], now: Time, verdicts: &mut [Verdict]) {
    let counts: Vec<usize> = group.iter().copied().filter(|i| items[*i].complete && items[*i].time <= now).collect();
    let newest = counts.first().map(|i| &items[*i]);
    let anchor = match (policy.anchor, newest) {
        (Anchor::Newest, Some(newest)) => newest.time,
        _ => now,
    };

    let apart = usize::from(policy.newest_apart).min(counts.len());
    let candidates: Vec<Candidate> = counts[apart..].iter().map(|i| Candidate::new(items[*i].time, policy)).collect();
    let mut by_rules = vec![Vec::new(); apart];
    by_rules.extend(rules::apply(policy, &candidates, anchor));
    let mut by_rules: BTreeMap<usize, Vec<Reason>> = counts.iter().copied().zip(by_rules).collect();

    for &i in group {
        let item = &items[i];
        let mut reasons = by_rules.remove(&i).unwrap_or_default();
        let mut cause = Cause::NoRule;
        let tags = policy.keep_tags.iter().filter(|list| !list.is_empty() && list.iter().all(|tag| item.tags.contains(tag)));
        reasons.extend(tags.map(|list| because(Rule::Tags(list.clone()))));
        if item.held {
            reasons.push(because(Rule::Held));
        }
        if item.time > now {
            reasons.push(because(Rule::Future));
        } else if !item.complete {
            cause = Cause::Incomplete;
            if newest.is_none_or(|newest| (newest.time, newest.order) <= (item.time, item.order)) {
                reasons.push(because(Rule::Incomplete));
            }
            reasons.extend(rules::everything(policy, item.time, anchor).map(because));
        }
        if reasons.is_empty() && policy.is_cap_only() && item.time <= now {
            reasons.push(because(Rule::NoOther));
        }
        verdicts[i] = if reasons.is_empty() { Verdict::Remove(cause) } else { Verdict::Keep(reasons) };
    }

    let safe = safe(policy, items, &counts);
    for (i, rule) in &safe {
        match &mut verdicts[*i] {
            Verdict::Keep(reasons) => reasons.push(because(rule.clone())),
            gone => *gone = Verdict::Keep(vec![because(rule.clone())]),
        }
    }
    if let Some(max_bytes) = policy.max_bytes {
        shrink(max_bytes, items, &counts, &safe, verdicts);
    }
}

/// What of the snapshots that count, newest first, neither rules nor size may remove.
fn safe(policy: &Policy, items: &[Item], counts: &[usize]) -> BTreeMap<usize, Rule> {
    let mut safe: BTreeMap<usize, Rule> = BTreeMap::new();
    let min_count = usize::try_from(policy.min_count).unwrap_or(usize::MAX);
    safe.extend(counts.iter().take(min_count).map(|i| (*i, Rule::MinCount(policy.min_count))));
    // Of those that share the highest counter the newest, and `counts` begins with the newest: without a counter it is that one.
    if let Some(last) = counts.iter().copied().max_by_key(|i| (items[*i].order, items[*i].age())) {
        safe.insert(last, Rule::LastRun);
    }
    if let Some(newest) = counts.first() {
        safe.insert(*newest, Rule::Newest);
    }
    safe
}

/// Lets the oldest go until the rest is small enough, or is all that must stay.
fn shrink(max_bytes: u64, items: &[Item], counts: &[usize], safe: &BTreeMap<usize, Rule>, verdicts: &mut [Verdict]) {
    let stays = |verdict: &Verdict| matches!(verdict, Verdict::Keep(_));
    let bytes = counts.iter().filter(|i| stays(&verdicts[**i])).map(|i| u128::from(items[*i].bytes));
    let mut total: u128 = bytes.sum();
    for &i in counts.iter().rev() {
        if total <= u128::from(max_bytes) {
            return;
        }
        if stays(&verdicts[i]) && !safe.contains_key(&i) && !items[i].held {
            let total_bytes = u64::try_from(total).unwrap_or(u64::MAX);
            verdicts[i] = Verdict::Remove(Cause::Size { total_bytes, max_bytes });
            total -= u128::from(items[i].bytes);
        }
    }
}

#[cfg(test)]
mod tests;
