//! A bound on what snapshots take in the repository together: which go for it. Bytes that several hold belong to none of them, so that
//! the caller has to look at the repository once it is known in which order they are charged.
//! It must not touch what `decide` would let no size remove.

use super::{Cause, Decision, Item, Policy, Verdict, groups, safe};
use crate::format::wire::Time;
use crate::id::SnapshotId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

/// What is kept, in the order in which bytes are charged: first what stays in any case, then the newest first. What is dated in the
/// future does not count.
pub fn charge_order(policy: &Policy, items: &[Item], decisions: &[Decision], now: Time) -> Vec<SnapshotId> {
    let stays = stays(policy, items, now);
    let mut kept: Vec<usize> = (0..items.len().min(decisions.len())).filter(|i| decisions[*i].keeps() && items[*i].time <= now).collect();
    kept.sort_by_key(|i| (!stays.contains(i), Reverse(items[*i].age())));
    kept.into_iter().map(|i| items[i].id).collect()
}

/// Lets those go that do not fit into [`Policy::max_stored`]. `charged` says of [`charge_order`]'s snapshots, in that order, the bytes
/// that each needs and none before it. From the first that does not fit, all older ones go: history has no holes but those of rules.
pub fn fit(policy: &Policy, items: &[Item], decisions: &mut [Decision], now: Time, charged: &[(SnapshotId, u64)]) {
    let Some(max_bytes) = policy.max_stored else { return };
    let places: BTreeMap<SnapshotId, usize> = items.iter().enumerate().map(|(i, item)| (item.id, i)).collect();
    let stays = stays(policy, items, now);
    let total_bytes = charged.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
    let mut sum = 0u64;
    let mut over = false;
    for (id, bytes) in charged {
        sum = sum.saturating_add(*bytes);
        let Some(at) = places.get(id).copied().filter(|at| !stays.contains(at)) else { continue };
        over |= sum > max_bytes;
        if let Some(decision) = decisions.get_mut(at).filter(|_| over) {
            decision.verdict = Verdict::Remove(Cause::Size { total_bytes, max_bytes });
        }
    }
}

/// The items that no size removes.
fn stays(policy: &Policy, items: &[Item], now: Time) -> HashSet<usize> {
    let mut stays: HashSet<usize> = (0..items.len()).filter(|i| items[*i].held || items[*i].time > now).collect();
    for mut group in groups(items).into_values() {
        group.sort_by_key(|i| Reverse(items[*i].age()));
        let counts: Vec<usize> = group.iter().copied().filter(|i| items[*i].complete && items[*i].time <= now).collect();
        stays.extend(safe(policy, items, &counts).into_keys());
        // What is incomplete is all that there is of the time since the newest complete one.
        let since = counts.first().map(|i| (items[*i].time, items[*i].order));
        stays.extend(
            group.into_iter().filter(|i| !items[*i].complete && since.is_none_or(|since| since <= (items[*i].time, items[*i].order))),
        );
    }
    stays
}
