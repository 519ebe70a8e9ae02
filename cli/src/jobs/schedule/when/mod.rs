//! When a job runs: schedules in cron's or systemd's syntax, and the instants that they come to in a zone.
//! It must never ask for the time by itself, nor run anything: whoever calls says what is now. It obeys operations.md, rows 0.4, 3.10
//! to 3.13.

pub mod calendar;
pub mod cron;
pub mod dst;
pub mod overlap;

use calendar::Spec;
use jiff::Timestamp;
use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::fmt::{self, Display};

/// When something is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    specs: Vec<Spec>,
    zone: Option<TimeZone>,
}

/// What becomes of a local time that a zone does not have, since its clocks are put forward over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It runs as soon as there is a valid time again: the daemon, `tick`.
    Late,
    /// It does not run: a timer of systemd.
    Never,
}

impl Schedule {
    /// Reads cron's five fields, a word such as `@daily`, or OnCalendar.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let bad = |why: String| format!("`{text}` is no schedule: {why}");
        if cron::looks_like(&text) {
            let specs = cron::parse(&text).map_err(bad)?;
            return Ok(Schedule { text, specs, zone: None });
        }
        let (times, zone) = match text.rsplit_once(' ').map(|(times, last)| (times, zone(last))) {
            Some((times, Some(zone))) => (times, Some(zone)),
            _ => (text.as_str(), None),
        };
        let specs = vec![Spec::parse(times).map_err(bad)?];
        Ok(Schedule { text, specs, zone })
    }

    /// Its own zone, else that of the job.
    pub fn zone<'a>(&'a self, tz: &'a TimeZone) -> &'a TimeZone {
        self.zone.as_ref().unwrap_or(tz)
    }

    /// The first instant after `after` at which it is to run.
    pub fn next(&self, after: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        self.next_if(after, tz, Skipped::Late)
    }

    /// The same, where what becomes of a skipped time is said. A time that comes twice is the first of the two.
    pub fn next_if(&self, after: Timestamp, tz: &TimeZone, skipped: Skipped) -> Option<Timestamp> {
        let tz = self.zone(tz);
        self.specs.iter().filter_map(|spec| next(spec, after, tz, skipped)).min()
    }

    /// All instants after `after`.
    pub fn after<'a>(&'a self, after: Timestamp, tz: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        self.after_if(after, tz, Skipped::Late)
    }

    /// The same, where what becomes of a skipped time is said.
    pub fn after_if<'a>(&'a self, after: Timestamp, tz: &'a TimeZone, skipped: Skipped) -> impl Iterator<Item = Timestamp> + 'a {
        std::iter::successors(self.next_if(after, tz, skipped), move |at| self.next_if(*at, tz, skipped))
    }

    /// The first local time after `after`, as if no day had fewer or more hours.
    pub fn next_local(&self, after: DateTime) -> Option<DateTime> {
        self.specs.iter().filter_map(|spec| spec.next(after)).min()
    }

    /// What goes into `OnCalendar=` of a timer, a line each. One of cron's lines may take two of these.
    pub fn on_calendar(&self, tz: &TimeZone) -> Vec<String> {
        let zone = zone_name(self.zone(tz));
        let mut lines: Vec<String> = self.specs.iter().map(|spec| format!("{spec} {zone}")).collect();
        lines.dedup();
        lines
    }
}

/// As it was given.
impl Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name of a zone, as `OnCalendar=` takes it.
pub fn zone_name(tz: &TimeZone) -> &str {
    tz.iana_name().unwrap_or("UTC")
}

/// A zone by its name; the days of the week are none.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") {
        return Some(TimeZone::UTC);
    }
    // Names have letters, and what has none need not be looked for.
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| TimeZone::get(name).ok()).flatten()
}

fn next(spec: &Spec, after: Timestamp, tz: &TimeZone, skipped: Skipped) -> Option<Timestamp> {
    // Instants never go backwards while local times go forward: what lies before this local time lies before `after`.
    let mut local = tz.to_datetime(after);
    loop {
        local = spec.next(local)?;
        // Where an hour comes twice `after` may lie in the second, and the first is over.
        if let Some(at) = instant(local, tz, skipped).filter(|at| *at > after) {
            return Some(at);
        }
    }
}

/// The instant of a local time.
fn instant(local: DateTime, tz: &TimeZone, skipped: Skipped) -> Option<Timestamp> {
    let ambiguous = tz.to_ambiguous_timestamp(local);
    match (ambiguous.offset(), skipped) {
        (AmbiguousOffset::Gap { .. }, Skipped::Never) => None,
        (AmbiguousOffset::Gap { .. }, Skipped::Late) => {
            // With the offset of before it lies at or behind the moment at which the clocks are changed.
            let behind = ambiguous.later().ok()?.checked_add(1.nanosecond()).ok()?;
            tz.preceding(behind).next().map(|change| change.timestamp())
        }
        _ => ambiguous.compatible().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str, zone: &str, after: &str, count: usize, skipped: Skipped) -> Vec<String> {
        let tz = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(text).unwrap();
        schedule.after_if(after.parse().unwrap(), &tz, skipped).take(count).map(|at| at.to_string()).collect()
    }

    #[test]
    fn either_syntax_is_read_and_shown_as_given() {
        for text in ["0 2 * * *", "@daily", "daily", "*-*-* 02:00 UTC", "Mon 03:00", "daily Europe/London"] {
            assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Schedule::parse(" 0  2 * * * ").unwrap().to_string(), "0 2 * * *");
        let error = Schedule::parse("02:00 Europe/Lodnon").unwrap_err();
        assert_eq!(error, "`02:00 Europe/Lodnon` is no schedule: `Europe/Lodnon` follows where it should end");
    }

    #[test]
    fn a_zone_of_its_own_wins() {
        let schedule = Schedule::parse("*-*-* 02:00 Asia/Tokyo").unwrap();
        assert_eq!(schedule.on_calendar(&TimeZone::UTC), ["*-*-* 02:00:00 Asia/Tokyo"]);
        assert_eq!(runs("02:00 Asia/Tokyo", "Europe/London", "2026-01-01T00:00:00Z", 1, Skipped::Late), ["2026-01-01T17:00:00Z"]);
        let cron = Schedule::parse("0 2 1 * 1").unwrap();
        assert_eq!(cron.on_calendar(&TimeZone::UTC), ["*-*-01 02:00:00 UTC", "Mon *-*-* 02:00:00 UTC"]);
    }

    #[test]
    fn a_skipped_time_runs_at_the_first_valid_one() {
        // London: 01:00 to 02:00 is not there.
        let runs_of = |skipped| runs("*-*-* 01:30", "Europe/London", "2026-03-28T00:00:00Z", 3, skipped);
        assert_eq!(runs_of(Skipped::Late), ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        assert_eq!(runs_of(Skipped::Never), ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
        // Several of them are one run, together with that which is there anyway.
        let often = runs("*:0/20", "Europe/London", "2026-03-29T00:30:00Z", 3, Skipped::Late);
        assert_eq!(often, ["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"]);
        // Lord Howe puts its clocks forward by half an hour, Santiago at midnight; Apia once skipped a whole day.
        let howe = runs("02:15", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2, Skipped::Late);
        assert_eq!(howe, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
        let santiago = runs("00:00", "America/Santiago", "2026-09-06T00:00:00Z", 2, Skipped::Late);
        assert_eq!(santiago, ["2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"]);
        let apia = runs("12:00", "Pacific/Apia", "2011-12-30T00:00:00Z", 2, Skipped::Late);
        assert_eq!(apia, ["2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]);
    }

    #[test]
    fn a_repeated_time_runs_once() {
        for skipped in [Skipped::Late, Skipped::Never] {
            let london = runs("01:30", "Europe/London", "2026-10-24T12:00:00Z", 2, skipped);
            assert_eq!(london, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
            // Asked in the second hour of that name.
            assert_eq!(runs("01:30", "Europe/London", "2026-10-25T01:10:00Z", 1, skipped), ["2026-10-26T01:30:00Z"]);
            assert_eq!(runs("*:*:*", "Europe/London", "2026-10-25T01:10:00Z", 1, skipped), ["2026-10-25T02:00:00Z"]);
            let york = runs("30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", 2, skipped);
            assert_eq!(york, ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
        }
    }
}
