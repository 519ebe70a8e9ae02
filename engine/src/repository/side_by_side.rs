//! Two ordered sides walked side by side, what both have passed over unread: where leaves and nodes begin depends on paths alone, so that what
//! did not change is the same chunk in both. It must never take an entry while anything unread may stand before it, or under its name.

use crate::repository::merged::{Head, Merged, compare_least};
use std::cmp::Ordering;

/// One of the two.
pub trait Heads {
    /// What comes first, and in which run.
    fn head(&mut self) -> Option<(usize, Head<'_>)>;
    /// Whether all entries of what stands unread in `run` come before those of any other run.
    fn is_alone(&mut self, run: usize) -> bool;
}

impl Heads for Merged<'_> {
    fn head(&mut self) -> Option<(usize, Head<'_>)> {
        self.head()
    }

    fn is_alone(&mut self, run: usize) -> bool {
        self.is_alone(run)
    }
}

/// What is to be done next.
pub enum Turn {
    /// Nothing: both are at their end.
    End,
    /// To pass over what stands unread in these runs: it is the same.
    Pass(usize, usize),
    /// To read what stands unread in these runs.
    Open(Option<usize>, Option<usize>),
    /// To take the entry of the first side, of the second, or of both, where they are of one path.
    Take(bool, bool),
}

/// What is to be done next. Equal nodes are passed over where they hold the same part of what is compared, `same_place`.
pub fn turn(a: &mut impl Heads, b: &mut impl Heads, same_place: bool) -> Turn {
    let (Some((in_a, head_a)), Some((in_b, head_b))) = (a.head(), b.head()) else {
        return match (a.head(), b.head()) {
            (None, None) => Turn::End,
            (Some((run, Head::Unread { .. })), _) => Turn::Open(Some(run), None),
            (_, Some((run, Head::Unread { .. }))) => Turn::Open(None, Some(run)),
            (before, after) => Turn::Take(before.is_some(), after.is_some()),
        };
    };
    let order = compare_least(head_a.least(), head_b.least());
    let opened = |a: bool, b: bool| Turn::Open(a.then_some(in_a), b.then_some(in_b));
    match (head_a, head_b) {
        (Head::Entry { .. }, Head::Entry { .. }) => Turn::Take(order != Ordering::Greater, order != Ordering::Less),
        // What is not read is read only where it may come first.
        (Head::Unread { .. }, Head::Entry { .. }) if order != Ordering::Greater => opened(true, false),
        (Head::Unread { .. }, Head::Entry { .. }) => Turn::Take(false, true),
        (Head::Entry { .. }, Head::Unread { .. }) if order != Ordering::Less => opened(false, true),
        (Head::Entry { .. }, Head::Unread { .. }) => Turn::Take(true, false),
        (Head::Unread { level: level_a, twins: twins_a, .. }, Head::Unread { level: level_b, twins: twins_b, .. }) => {
            let same = same_place && (level_a, twins_a) == (level_b, twins_b);
            if same && a.is_alone(in_a) && b.is_alone(in_b) {
                return Turn::Pass(in_a, in_b);
            }
            match order.then(level_b.cmp(&level_a)) {
                Ordering::Less => opened(true, false),
                Ordering::Greater => opened(false, true),
                Ordering::Equal => opened(true, true),
            }
        }
    }
}
