//! How far apart the runs of a job are: as somebody says, as its schedule has it, or as its snapshots were.

use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use crate::jobs::schedule::when::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use seabed_engine::{Time, clock};
use std::time::Duration;

/// How far apart runs are at most, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Somebody said it.
    Given(Duration),
    /// So far apart are the runs of the schedule.
    Scheduled(Duration),
    /// So far apart were the last snapshots.
    Seen(Duration),
}

/// How far a schedule is looked ahead, and runs at most: a year has all that a calendar knows, and whoever runs hourly or more often shows
/// in a month how far apart runs are, nights and weekends included.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);
const RUNS: usize = 1000;

/// Snapshots that are looked at: a month of daily ones.
const SEEN: usize = 31;

impl Gap {
    /// The time.
    pub fn span(&self) -> Duration {
        match self {
            Gap::Given(span) | Gap::Scheduled(span) | Gap::Seen(span) => *span,
        }
    }

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Gap::Given(_) => "given",
            Gap::Scheduled(_) => "schedule",
            Gap::Seen(_) => "snapshots",
        }
    }

    /// How it is known.
    pub fn words(&self) -> &'static str {
        match self {
            Gap::Given(_) => "--gap",
            Gap::Scheduled(_) => "as its schedule has it",
            Gap::Seen(_) => "as its snapshots were",
        }
    }
}

/// Of a job, with the times of its snapshots.
pub fn of(config: &Config, job: &Job, times: impl Iterator<Item = Time>) -> Option<Gap> {
    let now = clock::now();
    let zone = TimeZone::get(job.tz.as_deref().unwrap_or(&config.tz)).unwrap_or(TimeZone::UTC);
    // What cannot be read was refused with the configuration.
    let schedules: Vec<Schedule> = job.schedule.iter().filter_map(|text| Schedule::parse(text).ok()).collect();
    let from = Timestamp::from_second(now.secs).ok();
    from.and_then(|from| scheduled(&schedules, &zone, from)).or_else(|| seen(times.collect(), now))
}

/// The longest time between two runs from now on. All of them are put off by the same jitter.
fn scheduled(schedules: &[Schedule], zone: &TimeZone, from: Timestamp) -> Option<Gap> {
    let until = from.checked_add(AHEAD).ok()?;
    let (mut at, mut last, mut longest) = (from, None, None);
    for _ in 0..RUNS {
        let Some(next) = schedules.iter().filter_map(|schedule| schedule.next(at, zone)).min().filter(|next| *next <= until) else { break };
        longest = longest.max(last.map(|last| next.duration_since(last)));
        (at, last) = (next, Some(next));
    }
    longest.and_then(|longest| Duration::try_from(longest).ok()).map(Gap::Scheduled)
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
    fn a_schedule_tells_how_far_apart_its_runs_are() {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let of = |texts: &[&str], zone| {
            let schedules: Vec<Schedule> = texts.iter().map(|text| Schedule::parse(text).unwrap()).collect();
            scheduled(&schedules, &TimeZone::get(zone).unwrap(), from)
        };
        let hours = |hours: u64| Some(Gap::Scheduled(Duration::from_secs(hours * 3600)));
        assert_eq!(of(&["0 2 * * *"], "UTC"), hours(24));
        // The day on which the clocks are put back is longer.
        assert_eq!(of(&["0 2 * * *"], "Europe/Berlin"), hours(25));
        assert_eq!(of(&["0 2 * * 1-5"], "UTC"), hours(72));
        assert_eq!(of(&["0 2 * * *", "*-*-* 14:00"], "UTC"), hours(12));
        assert_eq!(of(&[], "UTC"), None);
    }

    #[test]
    fn the_longest_time_between_two_snapshots_counts() {
        let at = |secs| Time { secs, nanos: 0 };
        assert_eq!(seen(vec![], at(100)), None);
        assert_eq!(seen(vec![at(10)], at(100)), None);
        assert_eq!(seen(vec![at(50), at(10), at(60)], at(65)), Some(Gap::Seen(Duration::from_secs(40))));
        assert_eq!(seen(vec![at(50), at(60)], at(165)), Some(Gap::Seen(Duration::from_secs(105))));
    }
}
