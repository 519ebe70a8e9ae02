//! What becomes of a schedule where a zone changes its clocks: times that are skipped, times that come twice, and how long nothing runs.
//! It must never change when something runs; it only tells. It obeys operations.md, row 0.4.

use super::{Schedule, Skipped};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// What is done to local times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The clocks are put forward: they do not come.
    Skipped,
    /// The clocks are put back: they come twice.
    Repeated,
}

/// A change of the clocks that a schedule notices.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When the clocks are changed.
    pub at: Timestamp,
    /// What it does.
    pub kind: Kind,
    /// The first local time of the schedule that is skipped or repeated.
    pub local: DateTime,
    /// How many there are.
    pub times: usize,
    /// When the daemon runs the first of them.
    pub runs: Timestamp,
    /// How long nothing runs around it, where that is much longer than it should be.
    pub pause: Option<Pause>,
    /// The same, if a timer of systemd runs it.
    pub pause_of_timer: Option<Pause>,
}

/// A time without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// How long it is.
    pub real: SignedDuration,
    /// How long it is by the clock on the wall.
    pub planned: SignedDuration,
}

/// Local times of one change that are counted at most: a schedule of every second has as many.
const TIMES_MAX: usize = 86_400;

/// The changes of the clocks from one instant to another that the schedule notices.
pub fn changes(schedule: &Schedule, tz: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Change> {
    let zone = schedule.zone(tz);
    let times = zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < until);
    times.filter_map(|at| change(schedule, zone, at)).collect()
}

/// What happens when the clocks are changed at `at`.
fn change(schedule: &Schedule, zone: &TimeZone, at: Timestamp) -> Option<Change> {
    let just_before = at.checked_sub(1.nanosecond()).ok()?;
    let (before, after) = (zone.to_offset(just_before).to_datetime(at), zone.to_datetime(at));
    // Local times from the one to the other do not come, or come twice.
    let (kind, first, end) = match before < after {
        true => (Kind::Skipped, before, after),
        false => (Kind::Repeated, after, before),
    };
    let start = first.checked_sub(1.nanosecond()).ok()?;
    let inside = std::iter::successors(schedule.next_local(start), |local| schedule.next_local(*local));
    let inside: Vec<DateTime> = inside.take_while(|local| *local < end).take(TIMES_MAX).collect();
    let local = *inside.first()?;
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let runs = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => at,
        _ => ambiguous.earlier().ok()?,
    };
    Some(Change {
        at,
        kind,
        local,
        times: inside.len(),
        runs,
        pause: pause(schedule, zone, at, Skipped::Late),
        pause_of_timer: pause(schedule, zone, at, Skipped::Never),
    })
}

/// The time without a run around `at`, if it is too long.
fn pause(schedule: &Schedule, zone: &TimeZone, at: Timestamp, skipped: Skipped) -> Option<Pause> {
    let last = last_before(schedule, zone, at, skipped)?;
    let next = schedule.next_if(last, zone, skipped)?;
    let local = zone.to_datetime(last);
    let planned = schedule.next_local(local)?.duration_since(local);
    let real = next.duration_since(last);
    // Clocks that are changed by an hour make an hour of what is not worth a word for a run a day.
    (real.as_millis() * 2 > planned.as_millis() * 3).then_some(Pause { real, planned })
}

/// The last run before `at`.
fn last_before(schedule: &Schedule, zone: &TimeZone, at: Timestamp, skipped: Skipped) -> Option<Timestamp> {
    // From further and further back: of what runs often few are counted, and what runs once a year is found.
    let mut hours: i64 = 1;
    while hours < 8 * 366 * 24 {
        let from = at.checked_sub(SignedDuration::from_hours(hours)).ok()?;
        if let Some(last) = schedule.after_if(from, zone, skipped).take_while(|run| *run < at).last() {
            return Some(last);
        }
        hours *= 4;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five_years(text: &str, zone: &str) -> Vec<Change> {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let until = "2031-01-01T00:00:00Z".parse().unwrap();
        changes(&Schedule::parse(text).unwrap(), &TimeZone::get(zone).unwrap(), from, until)
    }

    fn hours(pause: Option<Pause>) -> Option<(i64, i64)> {
        pause.map(|pause| (pause.real.as_hours(), pause.planned.as_hours()))
    }

    #[test]
    fn half_past_one_is_in_london_no_safe_time() {
        let all = five_years("01:30", "Europe/London");
        assert_eq!(all.len(), 10);
        assert_eq!((all[0].kind, all[0].times, all[0].local.to_string()), (Kind::Skipped, 1, "2026-03-29T01:30:00".to_owned()));
        assert_eq!(all[0].runs.to_string(), "2026-03-29T01:00:00Z");
        assert_eq!((hours(all[0].pause), hours(all[0].pause_of_timer)), (None, Some((47, 24))));
        assert_eq!((all[1].kind, all[1].runs.to_string()), (Kind::Repeated, "2026-10-25T00:30:00Z".to_owned()));
        assert_eq!((hours(all[1].pause), hours(all[1].pause_of_timer)), (None, None));
    }

    #[test]
    fn two_is_the_hole_of_new_york() {
        let skipped: Vec<Change> = five_years("Sun 02:00", "America/New_York");
        assert!(skipped.iter().all(|change| change.kind == Kind::Skipped), "01:00 comes twice in autumn, 02:00 once: {skipped:?}");
        assert_eq!((skipped.len(), hours(skipped[0].pause_of_timer)), (5, Some((14 * 24 - 1, 7 * 24))));
        assert!(five_years("0 2 * * *", "UTC").is_empty() && five_years("03:00", "America/New_York").is_empty());
        assert!(five_years("02:30 UTC", "America/New_York").is_empty(), "its own zone counts");
    }

    #[test]
    fn what_runs_often_rests_when_an_hour_comes_again() {
        let all = five_years("*:0/20", "Australia/Lord_Howe");
        // Half an hour, from 01:30 on, has one of them or two.
        let repeated = all.iter().find(|change| change.kind == Kind::Repeated).unwrap();
        assert_eq!((repeated.times, repeated.local.time().to_string()), (1, "01:40:00".to_owned()));
        assert_eq!(repeated.pause.map(|pause| pause.real.as_mins()), Some(50));
        assert_eq!(five_years("*:*:*", "Europe/London")[0].times, 3600);
    }
}
