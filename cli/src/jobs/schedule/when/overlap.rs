//! Runs that begin while another one may still be under way. It must never forbid anything: backups do not lock each other out; it only
//! tells. It obeys operations.md, row 0.4.

use super::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A job as far as it takes time.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// When it runs.
    pub schedules: &'a [Schedule],
    /// In which zone.
    pub tz: &'a TimeZone,
    /// From its time to its end at most: how late it may start, and how long it takes.
    pub takes: SignedDuration,
}

impl Load<'_> {
    /// Its first run after `after`.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedules.iter().filter_map(|schedule| schedule.next(after, self.tz)).min()
    }
}

/// Two jobs that meet, or one that meets itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Which of the jobs is under way.
    pub first: usize,
    /// Which of them begins then.
    pub second: usize,
    /// When it does for the first time.
    pub at: Timestamp,
    /// How often that happens in the time that was looked at.
    pub count: usize,
}

/// Runs that are looked at: five years of seven jobs that run every hour.
const RUNS_MAX: usize = 300_000;

/// All pairs that meet between two instants, and how far was looked: less far where there are very many runs.
pub fn overlaps(jobs: &[Load<'_>], from: Timestamp, until: Timestamp) -> (Vec<Overlap>, Timestamp) {
    let mut next: Vec<Option<Timestamp>> = jobs.iter().map(|job| job.next(from)).collect();
    let mut running: Vec<(usize, Timestamp)> = Vec::new();
    let mut found: BTreeMap<(usize, usize), Overlap> = BTreeMap::new();
    for _ in 0..RUNS_MAX {
        let soonest = next.iter().enumerate().filter_map(|(job, at)| Some(((*at)?, job))).min();
        let Some((at, job)) = soonest.filter(|(at, _)| *at < until) else { return (found.into_values().collect(), until) };
        running.retain(|(_, end)| *end > at);
        for (other, _) in &running {
            let pair = found.entry((*other, job)).or_insert(Overlap { first: *other, second: job, at, count: 0 });
            pair.count += 1;
        }
        // One that meets itself is no second one: it does not start.
        if !running.iter().any(|(other, _)| *other == job) {
            running.push((job, at.saturating_add(jobs[job].takes).unwrap_or(until)));
        }
        next[job] = jobs[job].next(at);
    }
    let looked = next.into_iter().flatten().min().unwrap_or(until);
    (found.into_values().collect(), looked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_meet_are_found_even_if_that_is_seldom() {
        let read = |text: &str| vec![Schedule::parse(text).unwrap()];
        let (nightly, monthly, summer, often) = (read("02:00"), read("*-*-01 02:30"), read("03:00 Europe/London"), read("*:0/10"));
        let utc = TimeZone::UTC;
        let load = |schedules, minutes| Load { schedules, tz: &utc, takes: SignedDuration::from_mins(minutes) };
        let from = "2026-01-01T12:00:00Z".parse().unwrap();
        let until: Timestamp = "2027-01-01T12:00:00Z".parse().unwrap();
        let (found, looked) = overlaps(&[load(&nightly, 31), load(&monthly, 10), load(&summer, 10)], from, until);
        assert_eq!(looked, until);
        let told: Vec<_> = found.iter().map(|o| (o.first, o.second, o.at.to_string(), o.count)).collect();
        // 03:00 in London is 02:00 UTC in summer: 210 days of it.
        let same = |first, second| (first, second, "2026-03-29T02:00:00Z".to_owned(), 210);
        assert_eq!(told, [(0, 1, "2026-02-01T02:30:00Z".to_owned(), 12), same(0, 2)]);
        assert!(overlaps(&[load(&nightly, 30), load(&monthly, 10)], from, until).0.is_empty());
        let (found, _) = overlaps(&[load(&often, 15)], from, until);
        assert_eq!((found.len(), found[0].first, found[0].second), (1, 0, 0));
    }
}
