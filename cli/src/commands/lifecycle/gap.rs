//! How far apart the runs of a job are: as somebody says, or as its snapshots were.

use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use seabed_engine::{Time, clock};
use std::time::Duration;

/// How far apart runs are at most, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Somebody said it.
    Given(Duration),
    /// So far apart were the last snapshots.
    Seen(Duration),
}

/// Snapshots that are looked at: a month of daily ones.
const SEEN: usize = 31;

impl Gap {
    /// The time.
    pub fn span(&self) -> Duration {
        match self {
            Gap::Given(span) | Gap::Seen(span) => *span,
        }
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Gap::Given(_) => "given",
            Gap::Seen(_) => "snapshots",
        }
    }

    /// How it is known.
    pub fn words(&self) -> &'static str {
        match self {
            Gap::Given(_) => "--gap",
            Gap::Seen(_) => "as its snapshots were",
        }
    }
}

/// Of a job, with the times of its snapshots.
pub fn of(_config: &Config, _job: &Job, times: impl Iterator<Item = Time>) -> Option<Gap> {
    seen(times.collect(), clock::now())
}

/// The longest time between two snapshots of the last ones, the time since the newest included.
fn seen(mut times: Vec<Time>, now: Time) -> Option<Gap> {
    times.sort_unstable();
    let last: Vec<i64> = times.iter().rev().take(SEEN).map(|time| time.secs).collect();
    let since = now.secs.saturating_sub(*last.first()?);
    let between = last.windows(2).map(|pair| pair[0].saturating_sub(pair[1]));
    // One says nothing of how far apart two are.
    let longest = between.max()?.max(since);
    u64::try_from(longest).ok().map(|secs| Gap::Seen(Duration::from_secs(secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_between_two_snapshots_counts() {
        let at = |secs| Time { secs, nanos: 0 };
        assert_eq!(seen(vec![], at(100)), None);
        assert_eq!(seen(vec![at(10)], at(100)), None);
        assert_eq!(seen(vec![at(50), at(10), at(60)], at(65)), Some(Gap::Seen(Duration::from_secs(40))));
        assert_eq!(seen(vec![at(50), at(60)], at(165)), Some(Gap::Seen(Duration::from_secs(105))));
    }
}
