//! Which jobs are due, by when they were started last. It must never ask for the time itself: tests play whole years.
//! It obeys operations.md, rows 3.9 and 3.11: however many starts were missed, one is made up for.

use super::when::Schedule;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A job whose starts are decided here.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name.
    pub job: String,
    /// When it runs.
    pub schedules: Vec<Schedule>,
    /// In which zone.
    pub tz: TimeZone,
    /// By how much all of its starts are put off on this host.
    pub delay: SignedDuration,
}

impl Watched {
    /// Its next start after a start at `since`, if it is never late.
    pub fn next(&self, since: Timestamp) -> Option<Timestamp> {
        // A start that was put off belongs to a time before it.
        let planned = since.saturating_sub(self.delay).ok()?;
        let next = self.schedules.iter().filter_map(|schedule| schedule.next(planned, &self.tz)).min()?;
        next.saturating_add(self.delay).ok()
    }

    /// The start that is due at `now`: the first of those that were missed since the last one.
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        self.next(since).filter(|at| *at <= now)
    }
}

/// Of up to `jitter`, always the same share for a job on a host.
pub fn delay(job: &str, host: &str, jitter: std::time::Duration) -> SignedDuration {
    let hash = blake3::hash(format!("{host}\0{job}").as_bytes());
    let share = hash.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let secs = u128::from(jitter.as_secs()) * u128::from(share) / u128::from(u32::MAX);
    SignedDuration::from_secs(i64::try_from(secs).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn watched(text: &str, zone: &str, delay: i64) -> Watched {
        let tz = TimeZone::get(zone).unwrap();
        Watched { job: "x".into(), schedules: vec![Schedule::parse(text).unwrap()], tz, delay: SignedDuration::from_secs(delay) }
    }

    /// Looks every `step` minutes, and starts what is due.
    fn played(job: &Watched, from: &str, until: &str, step: i64) -> Vec<String> {
        let (mut now, until): (Timestamp, Timestamp) = (from.parse().unwrap(), until.parse().unwrap());
        let (mut since, mut starts) = (now, Vec::new());
        while now < until {
            if job.due(since, now).is_some() {
                starts.push(now.to_string());
                since = now;
            }
            now = now.checked_add(step.minutes()).unwrap();
        }
        starts
    }

    #[test]
    fn of_many_missed_starts_one_is_made_up_for() {
        let job = watched("0 * * * *", "UTC", 0);
        let since: Timestamp = "2026-01-01T00:30:00Z".parse().unwrap();
        let now = "2026-01-09T12:10:00Z".parse().unwrap();
        assert_eq!(job.due(since, now).map(|at| at.to_string()), Some("2026-01-01T01:00:00Z".into()));
        assert_eq!((job.due(now, now), job.next(now).map(|at| at.to_string())), (None, Some("2026-01-09T13:00:00Z".into())));
    }

    #[test]
    fn a_start_that_is_put_off_is_one_start() {
        let job = watched("*:0/10", "UTC", 420);
        let starts = played(&job, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", 1);
        let expected = ["00:07", "00:17", "00:27", "00:37", "00:47", "00:57"].map(|time| format!("2026-01-01T{time}:00Z"));
        assert_eq!(starts[usize::from(starts[0].starts_with("2026-01-01T00:00"))..], expected);
    }

    #[test]
    fn every_day_has_one_start_for_five_years() {
        for (text, zone) in [
            ("01:30", "Europe/London"),
            ("30 1 * * *", "America/New_York"),
            ("02:15", "Australia/Lord_Howe"),
            ("00:00", "America/Santiago"),
        ] {
            let job = watched(text, zone, 0);
            let starts = played(&job, "2026-01-01T12:00:00Z", "2031-01-01T12:00:00Z", 15);
            assert_eq!(starts.len(), 1826, "{text} {zone}");
            let tz = TimeZone::get(zone).unwrap();
            let mut days: Vec<_> = starts.iter().map(|at| tz.to_datetime(at.parse().unwrap()).date()).collect();
            days.dedup();
            assert_eq!(days.len(), 1826, "{text} {zone}: two starts on one day");
        }
    }

    #[test]
    fn delays_are_a_share_of_the_jitter_that_stays() {
        let quarter = std::time::Duration::from_secs(900);
        let some: Vec<_> = ["a", "b", "c", "d"].iter().map(|job| delay(job, "host", quarter).as_secs()).collect();
        assert!(some.iter().all(|secs| (0..=900).contains(secs)) && some.windows(2).any(|pair| pair[0] != pair[1]), "{some:?}");
        assert_eq!(delay("a", "host", quarter).as_secs(), some[0]);
        assert_eq!(delay("a", "host", std::time::Duration::ZERO).as_secs(), 0);
    }
}
