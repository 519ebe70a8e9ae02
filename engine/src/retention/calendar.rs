//! Days, weeks, months and years in a time zone, and going back in them. Times outside of the calendar that `jiff` knows
//! (years -9999 to 9999) stand at its ends, so that a hostile manifest's time is old or young but never an error.

use super::policy::{Interval, MonthSub, Period, Week};
use crate::format::wire::Time;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};
use std::fmt;

/// A period that snapshots lie in. Shown as people write it: `2026-01-25`, `2026-W04`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Bucket {
    /// The offset keeps the two hours apart that a zone calls the same when its summer ends.
    Hour {
        date: Date,
        hour: i8,
        offset: Offset,
    },
    Day(Date),
    Week {
        year: i16,
        week: i8,
    },
    Month {
        year: i16,
        month: i8,
    },
    Quarter {
        year: i16,
        quarter: i8,
    },
    Year(i16),
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bucket::Hour { date, hour, offset } if offset.is_zero() => write!(f, "{date}T{hour:02}"),
            Bucket::Hour { date, hour, offset } => write!(f, "{date}T{hour:02}{offset}"),
            Bucket::Day(date) => write!(f, "{date}"),
            Bucket::Week { year, week } => write!(f, "{year:04}-W{week:02}"),
            Bucket::Month { year, month } => write!(f, "{year:04}-{month:02}"),
            Bucket::Quarter { year, quarter } => write!(f, "{year:04}-Q{quarter}"),
            Bucket::Year(year) => write!(f, "{year:04}"),
        }
    }
}

/// A time as a zone's clocks show it.
#[derive(Clone, Copy)]
pub(super) struct Local {
    clock: DateTime,
    offset: Offset,
}

impl Local {
    pub(super) fn new(time: Time, tz: &TimeZone) -> Self {
        let at = timestamp(time);
        let offset = tz.to_offset(at);
        Local { clock: offset.to_datetime(at), offset }
    }

    /// The period that this lies in; `None` for [`Period::Each`].
    pub(super) fn bucket(&self, period: Period, week: Week) -> Option<Bucket> {
        let date = self.clock.date();
        Some(match period {
            Period::Each => return None,
            Period::Hour => Bucket::Hour { date, hour: self.clock.hour(), offset: self.offset },
            Period::Day => Bucket::Day(date),
            Period::Week => {
                let iso = date.iso_week_date();
                let year = match week {
                    Week::Iso => iso.year(),
                    Week::PhpYw => date.year(),
                };
                Bucket::Week { year, week: iso.week() }
            }
            Period::Month => Bucket::Month { year: date.year(), month: date.month() },
            Period::Quarter => Bucket::Quarter { year: date.year(), quarter: (date.month() + 2) / 3 },
            Period::Year => Bucket::Year(date.year()),
        })
    }
}

fn timestamp(time: Time) -> Timestamp {
    let end = if time.secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    i32::try_from(time.nanos).ok().and_then(|nanos| Timestamp::new(time.secs, nanos).ok()).unwrap_or(end)
}

fn time(at: Timestamp) -> Time {
    let nanos = at.as_nanosecond();
    // 1.9 * 10^11 seconds of nanoseconds at most, by the range of `Timestamp`.
    Time { secs: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}

/// The time an interval before `from`. Before the calendar begins, it is before every time.
pub(super) fn before(from: Time, interval: &Interval, tz: &TimeZone, month_sub: MonthSub) -> Time {
    go_back(timestamp(from), interval, tz, month_sub).map_or(Time { secs: i64::MIN, nanos: 0 }, time)
}

fn go_back(from: Timestamp, interval: &Interval, tz: &TimeZone, month_sub: MonthSub) -> Option<Timestamp> {
    let months = i64::from(interval.years) * 12 + i64::from(interval.months);
    let days = i64::from(interval.weeks) * 7 + i64::from(interval.days);
    let mut at = from;
    // Only where a date moves: on a clock that shows an hour twice, back to the date means the first of the two.
    if months > 0 || days > 0 {
        let clock = tz.to_datetime(from);
        let date = months_before(clock.date(), months, month_sub)?.checked_sub(Span::new().try_days(days).ok()?).ok()?;
        at = tz.to_ambiguous_timestamp(date.to_datetime(clock.time())).compatible().ok()?;
    }
    at.checked_sub(SignedDuration::from_hours(i64::from(interval.hours))).ok()
}

fn months_before(date: Date, months: i64, month_sub: MonthSub) -> Option<Date> {
    if months == 0 {
        return Some(date);
    }
    let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1 - months;
    let first = Date::new(i16::try_from(month.div_euclid(12)).ok()?, month.rem_euclid(12) as i8 + 1, 1).ok()?;
    let days = match month_sub {
        MonthSub::Clamp => date.day().min(first.days_in_month()) - 1,
        MonthSub::Overflow => date.day() - 1,
    };
    first.checked_add(Span::new().days(days)).ok()
}

/// A time for people, to the second, in UTC.
pub(super) fn show(time: Time) -> String {
    timestamp(Time { nanos: 0, ..time }).to_string()
}

/// A length of time for people, of two units at most.
pub(super) fn show_secs(secs: i64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = secs.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, name) in units {
        let n = left / unit;
        left %= unit;
        if n > 0 {
            parts.push(format!("{n} {name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        time(text.parse().unwrap())
    }

    fn back(from: &str, interval: &str, tz: &str, month_sub: MonthSub) -> String {
        show(before(at(from), &interval.parse().unwrap(), &TimeZone::get(tz).unwrap(), month_sub))
    }

    #[test]
    fn months_are_clamped_or_run_over() {
        assert_eq!(back("2025-03-31T01:00:00Z", "1m", "UTC", MonthSub::Clamp), "2025-02-28T01:00:00Z");
        assert_eq!(back("2025-03-31T01:00:00Z", "1m", "UTC", MonthSub::Overflow), "2025-03-03T01:00:00Z");
        assert_eq!(back("2024-02-29T01:00:00Z", "1y", "UTC", MonthSub::Clamp), "2023-02-28T01:00:00Z");
        assert_eq!(back("2024-02-29T01:00:00Z", "1y", "UTC", MonthSub::Overflow), "2023-03-01T01:00:00Z");
        assert_eq!(back("2025-03-31T12:00:00Z", "1y2m1w1d1h", "UTC", MonthSub::Clamp), "2024-01-23T11:00:00Z");
    }

    #[test]
    fn days_are_those_of_the_zone_and_hours_are_true() {
        // The clocks of New York went back on 2026-11-01 at 06:00Z, and forward on 2026-03-08 at 07:00Z.
        let ny = "America/New_York";
        assert_eq!(back("2026-11-02T06:30:00Z", "1d", ny, MonthSub::Clamp), "2026-11-01T05:30:00Z");
        assert_eq!(back("2026-11-02T06:30:00Z", "24h", ny, MonthSub::Clamp), "2026-11-01T06:30:00Z");
        assert_eq!(back("2026-03-09T06:30:00Z", "1d", ny, MonthSub::Clamp), "2026-03-08T07:30:00Z");
        assert_eq!(back("2026-11-01T06:30:00Z", "1h", ny, MonthSub::Clamp), "2026-11-01T05:30:00Z");
    }

    #[test]
    fn periods_have_names() {
        let bucket = |when: &str, period, week, tz: &str| {
            Local::new(at(when), &TimeZone::get(tz).unwrap()).bucket(period, week).unwrap().to_string()
        };
        let utc = |when: &str, period| bucket(when, period, Week::Iso, "UTC");
        assert_eq!(utc("2026-01-25T13:59:59Z", Period::Hour), "2026-01-25T13");
        assert_eq!(utc("2026-01-25T13:00:00Z", Period::Day), "2026-01-25");
        assert_eq!(utc("2026-01-25T13:00:00Z", Period::Week), "2026-W04");
        assert_eq!(utc("2024-12-31T13:00:00Z", Period::Week), "2025-W01");
        assert_eq!(bucket("2024-12-31T13:00:00Z", Period::Week, Week::PhpYw, "UTC"), "2024-W01");
        assert_eq!(utc("2026-01-25T13:00:00Z", Period::Month), "2026-01");
        assert_eq!(utc("2026-03-31T13:00:00Z", Period::Quarter), "2026-Q1");
        assert_eq!(utc("2026-04-01T13:00:00Z", Period::Quarter), "2026-Q2");
        assert_eq!(utc("2026-01-25T13:00:00Z", Period::Year), "2026");
        // A zone that calls two hours the same, and a day that has begun there and not here.
        assert_eq!(bucket("2026-11-01T05:30:00Z", Period::Hour, Week::Iso, "America/New_York"), "2026-11-01T01-04");
        assert_eq!(bucket("2026-11-01T06:30:00Z", Period::Hour, Week::Iso, "America/New_York"), "2026-11-01T01-05");
        assert_eq!(bucket("2026-01-25T23:30:00Z", Period::Day, Week::Iso, "Europe/Berlin"), "2026-01-26");
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_error() {
        let (first, last) = (Time { secs: i64::MIN, nanos: 0 }, Time { secs: i64::MAX, nanos: 999_999_999 });
        let long = Interval { years: u32::MAX, months: u32::MAX, weeks: u32::MAX, days: u32::MAX, hours: u32::MAX };
        for tz in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            let tz = TimeZone::get(tz).unwrap();
            for time in [first, last, Time::default()] {
                for interval in [long, Interval::years(u32::MAX), Interval::days(u32::MAX), Interval::hours(u32::MAX)] {
                    assert!(before(time, &interval, &tz, MonthSub::Overflow) <= Time::default());
                }
                for period in Period::ALL {
                    assert_eq!(Local::new(time, &tz).bucket(period, Week::Iso).is_some(), period != Period::Each);
                }
                assert!(!show(time).is_empty());
            }
        }
    }

    #[test]
    fn lengths_of_time_are_short() {
        let texts = [0, 59, 3600, 90_061, 86_400 * 35 + 59].map(show_secs);
        assert_eq!(texts, ["0 s", "59 s", "1 h", "1 d 1 h", "35 d"]);
    }
}
