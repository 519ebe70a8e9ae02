//! Times as people and scripts read them: local time in tables, RFC 3339 in JSON.
//! It must never decide anything: a time that cannot be shown is shown as a number. It obeys the CLI conventions.

use jiff::Timestamp;
use jiff::civil::DateTime;
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

/// RFC 3339 with the local offset, all nine digits.
pub fn rfc3339(time: &Time) -> String {
    match stamp(time) {
        Some(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
        None => time.secs.to_string(),
    }
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

/// `0:07`, `12:34`, `1:02:03`.
pub fn clock(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        h => format!("{h}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
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
    fn times_are_read_in_three_ways() {
        assert_eq!(parse("now"), Ok(None));
        assert_eq!(parse("2026-01-31T12:00:00.5Z"), Ok(Some(Time { secs: 1_769_860_800, nanos: 500_000_000 })));
        assert_eq!(parse("2026-01-31T12:00:00+01:00"), Ok(Some(Time { secs: 1_769_857_200, nanos: 0 })));
        assert!(parse("2026-01-31 12:00:00").unwrap().is_some());
        assert!(parse("1960-01-01T00:00:00.25Z").unwrap().is_some_and(|t| t.secs < 0 && t.nanos == 250_000_000));
        assert!(parse("yesterday").is_err());
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(clock(Duration::from_secs(7)), "0:07");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
