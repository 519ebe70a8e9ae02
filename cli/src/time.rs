//! Times as people and scripts read them: local time in tables, RFC 3339 in JSON.
//! It must never decide anything: a time that cannot be shown is shown as a number. It obeys the CLI conventions.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use seabed_engine::format::wire::Time;
use std::time::Duration;

fn stamp(time: &Time) -> Option<Timestamp> {
    Timestamp::new(time.secs, i32::try_from(time.nanos).ok()?).ok()
}

/// `2026-01-31 23:59:59`, local.
pub fn local(time: &Time) -> String {
    match stamp(time) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => time.secs.to_string(),
    }
}

/// As wide as [`local`], where there is no time to speak of.
pub fn unknown() -> String {
    format!("{:<19}", "-")
}

/// `2026-01-31 23:59`, local.
pub fn minute(time: &Time) -> String {
    let text = local(time);
    text.rsplit_once(':').map_or(text.clone(), |(minute, _)| minute.to_owned())
}

/// `2026-01-31`, local.
pub fn day(time: &Time) -> String {
    dated(time, |date| date.to_string())
}

/// `2026-W05`, local; weeks are those of ISO 8601.
pub fn week(time: &Time) -> String {
    dated(time, |date| {
        let week = date.iso_week_date();
        format!("{:04}-W{:02}", week.year(), week.week())
    })
}

/// `2026-01`, local.
pub fn month(time: &Time) -> String {
    dated(time, |date| format!("{:04}-{:02}", date.year(), date.month()))
}

fn dated(time: &Time, show: impl Fn(Date) -> String) -> String {
    stamp(time).map_or_else(|| time.secs.to_string(), |at| show(at.to_zoned(TimeZone::system()).date()))
}

/// RFC 3339 with the local offset, all nine digits.
pub fn rfc3339(time: &Time) -> String {
    match stamp(time) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
        None => time.secs.to_string(),
    }
}

/// `Sat, 31 Jan 2026 23:59:59 GMT`, as HTTP has it; a time that it cannot have is the beginning of 1970.
pub fn http(time: &Time) -> String {
    let at = stamp(time).filter(|at| at.as_second() >= 0).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `2026-01-31T23:59:59Z`.
pub fn utc(time: &Time) -> String {
    stamp(time).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `--time`: `now`, RFC 3339, or a local date and time. `None` means now.
pub fn parse(text: &str) -> Result<Option<Time>, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(None);
    }
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let bad = || format!("`{text}` is no time: write `now`, `2026-01-31 23:59:59` or RFC 3339");
            let local: DateTime = text.parse().map_err(|_| bad())?;
            local.to_zoned(TimeZone::system()).map_err(|_| bad())?.timestamp()
        }
    };
    let nanos = at.as_nanosecond();
    let secs = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
    Ok(Some(Time { secs, nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0) }))
}

/// A moment that is looked back to: as [`parse`] reads it, a date alone, or an age such as `7d`.
pub fn moment(text: &str) -> Result<Time, String> {
    let text = text.trim();
    if let Ok(age) = duration(text) {
        let then = Timestamp::now().checked_sub(jiff::SignedDuration::try_from(age).map_err(|_| format!("`{text}` is too long ago"))?);
        let then = then.map_err(|_| format!("`{text}` is too long ago"))?;
        return parse(&then.to_string()).map(Option::unwrap_or_default);
    }
    // A date is read out of a whole time, too: midnight is meant only where nothing else was written.
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && !text.contains(':')
    {
        return parse(&date.at(0, 0, 0, 0).to_string()).map(Option::unwrap_or_default);
    }
    match parse(text) {
        Ok(Some(time)) => Ok(time),
        Ok(None) => parse(&Timestamp::now().to_string()).map(Option::unwrap_or_default),
        Err(_) => Err(format!("`{text}` is no time: write 2026-01-31, `2026-01-31 23:59:59`, RFC 3339, or an age such as 7d")),
    }
}

/// `0:07`, `12:34`, `1:02:03`.
pub fn clock(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// What is left: as [`clock`], and days where there are some.
pub fn left(time: Duration) -> String {
    match time.as_secs() / 86_400 {
        0 => clock(time),
        days => format!("{days}d{}h", time.as_secs() / 3600 % 24),
    }
}

/// Reads `24h`, `30m`, `7d`, `90s`, and sums of them such as `1d12h`; `0` too.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no span of time: write 24h, 30m or 7d");
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text.trim(), Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let mut chars = rest[digits..].chars();
        let secs = match chars.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(bad()),
        };
        sum = number.checked_mul(secs).and_then(|secs| sum.checked_add(Duration::from_secs(secs))).ok_or_else(bad)?;
        rest = chars.as_str();
    }
    if sum.is_zero() { Err(bad()) } else { Ok(sum) }
}

/// As [`duration`] reads it: `24h`, `1d12h`, `90s`.
pub fn span(time: Duration) -> String {
    let mut secs = time.as_secs();
    if secs == 24 * 3600 {
        return "24h".to_owned();
    }
    let mut text = String::new();
    for (unit, of) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if secs >= of {
            text.push_str(&format!("{}{unit}", secs / of));
            secs %= of;
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// From one time to a later one.
pub fn between(from: &Time, to: &Time) -> Duration {
    let nanos = to.as_nanos().unwrap_or(0).saturating_sub(from.as_nanos().unwrap_or(0));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_not_the_midnight_before_it() {
        // `restore --at` with the very time that `snapshots --json` prints found nothing: it was read as a date, and the time thrown away.
        for text in ["2026-11-30T20:55:35.968147841+00:00", "2026-11-30T20:55:35Z"] {
            assert_eq!(moment(text), parse(text).map(Option::unwrap));
        }
        assert_eq!(moment("2026-11-30 20:55"), parse("2026-11-30T20:55").map(Option::unwrap));
        assert_eq!(moment("2026-11-30"), parse("2026-11-30T00:00").map(Option::unwrap));
    }

    #[test]
    fn times_are_read_in_three_ways() {
        assert_eq!(parse("now"), Ok(None));
        assert_eq!(parse("2026-01-31T12:00:00.5Z"), Ok(Some(Time { secs: 1_769_860_800, nanos: 500_000_000 })));
        assert_eq!(parse("2026-01-31T12:00:00+01:00"), Ok(Some(Time { secs: 1_769_857_200, nanos: 0 })));
        assert!(parse("2026-01-31 12:00:00").unwrap().is_some());
        assert!(parse("1960-01-01T00:00:00.25Z").unwrap().is_some_and(|t| t.secs < 0 && t.nanos == 250_000_000));
        assert!(parse("yesterday").is_err());
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, secs) in [("0", 0), ("24h", 86_400), ("1d12h", 129_600), ("90s", 90), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(secs)));
        }
        for secs in [0, 86_400, 129_600, 604_800, 3661] {
            assert_eq!(duration(&span(Duration::from_secs(secs))), Ok(Duration::from_secs(secs)));
        }
        for bad in ["", "h", "24", "1y", "-1h", "1h 2", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_of_protocols_are_utc() {
        let time = Time { secs: 1_769_860_800, nanos: 5 };
        assert_eq!((http(&time), utc(&time)), ("Sat, 31 Jan 2026 12:00:00 GMT".into(), "2026-01-31T12:00:00Z".into()));
        for secs in [i64::MIN, -1, i64::MAX] {
            assert_eq!(http(&Time { secs, nanos: 0 }), "Thu, 01 Jan 1970 00:00:00 GMT");
        }
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
        assert_eq!((left(Duration::from_secs(3723)), left(Duration::from_secs(100_000))), ("1:02:03".into(), "1d3h".into()));
    }
}
