//! OnCalendar, systemd's syntax of calendar events, and [`Spec`], the set of local times that every schedule is made of.
//! It must never know of a zone or of a clock: what it yields are local times, as if every day had 24 hours. It obeys systemd.time(7).

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use std::fmt::{self, Display};

/// As systemd has it: nothing is planned for later, and a date that never comes is looked for no further.
const YEARS: Field = Field { name: "year", least: 1970, most: 2199 };
const MONTHS: Field = Field { name: "month", least: 1, most: 12 };
const DAYS: Field = Field { name: "day", least: 1, most: 31 };
/// Counted from the end of the month; every month has so many.
const LAST_DAYS: Field = Field { name: "day from the end", least: 1, most: 28 };
const HOURS: Field = Field { name: "hour", least: 0, most: 23 };
const MINUTES: Field = Field { name: "minute", least: 0, most: 59 };
const SECONDS: Field = Field { name: "second", least: 0, most: 59 };

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const WEEKDAYS_LONG: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Of [`Spec::weekdays`]: every one.
pub const ALL_WEEKDAYS: u8 = 0x7f;

/// Words for what is often wanted, and what they mean.
const SHORT: [(&str, &str); 11] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

struct Field {
    name: &'static str,
    least: i16,
    most: i16,
}

/// `start`, and from there every `step` up to `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: i16,
    stop: i16,
    step: i16,
}

/// A set of local times: all that match every one of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Bit 0 is Monday.
    pub weekdays: u8,
    /// Empty: every year.
    pub years: Vec<Range>,
    /// Bits 1 to 12.
    pub months: u64,
    /// Bits 1 to 31.
    pub days: u64,
    /// Days are counted from the end of the month: bit 1 is its last one.
    pub from_end: bool,
    /// Bits 0 to 23.
    pub hours: u64,
    /// Bits 0 to 59.
    pub minutes: u64,
    /// Bits 0 to 59.
    pub seconds: u64,
}

/// Bits from `least` to `most`.
pub const fn bits(least: u32, most: u32) -> u64 {
    (u64::MAX >> (63 - most)) & (u64::MAX << least)
}

/// The lowest bit that is set at `from` or above.
fn next_bit(set: u64, from: i8) -> Option<i8> {
    let left = if (0..64).contains(&from) { set & (u64::MAX << from) } else { 0 };
    (left != 0).then(|| i8::try_from(left.trailing_zeros()).unwrap_or(0))
}

impl Spec {
    /// Every second of all days.
    pub const EVERY: Spec = Spec {
        weekdays: ALL_WEEKDAYS,
        years: Vec::new(),
        months: bits(1, 12),
        days: bits(1, 31),
        from_end: false,
        hours: bits(0, 23),
        minutes: bits(0, 59),
        seconds: bits(0, 59),
    };

    /// Reads it, without a zone.
    pub fn parse(text: &str) -> Result<Spec, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [word] = words[..]
            && let Some((_, long)) = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(word))
        {
            return Spec::parse(long);
        }
        let mut spec = Spec { hours: 1, minutes: 1, seconds: 1, ..Spec::EVERY };
        let mut rest = &words[..];
        if let [word, more @ ..] = rest
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            spec.weekdays = weekdays(word)?;
            rest = more;
        }
        if let [word, more @ ..] = rest
            && !word.contains(':')
        {
            spec.date(word)?;
            rest = more;
        }
        if let [word, more @ ..] = rest {
            spec.time(word)?;
            rest = more;
        }
        match rest {
            _ if words.is_empty() => Err("it is empty".to_owned()),
            [] => Ok(spec),
            [word, ..] => Err(format!("`{word}` follows where it should end")),
        }
    }

    fn date(&mut self, word: &str) -> Result<(), String> {
        let bad = || format!("`{word}` is neither a date such as *-*-01 nor a time such as 02:00");
        let (left, day) = match word.rsplit_once('~') {
            Some((left, day)) => {
                self.from_end = true;
                (left, day)
            }
            None => word.rsplit_once('-').ok_or_else(bad)?,
        };
        let (year, month) = left.split_once('-').map_or((None, left), |(year, month)| (Some(year), month));
        if month.contains(['-', '~']) || year.is_some_and(|year| year.contains('~')) {
            return Err(bad());
        }
        self.years = year.map_or(Ok(Vec::new()), years)?;
        self.months = set(month, &MONTHS)?;
        // Every day is every day, from whichever end.
        self.from_end &= day != "*";
        self.days = if self.from_end { ranges(day, &LAST_DAYS, true).map(collected)? } else { set(day, &DAYS)? };
        Ok(())
    }

    fn time(&mut self, word: &str) -> Result<(), String> {
        let parts: Vec<&str> = word.split(':').collect();
        let (hour, minute, second) = match parts[..] {
            [hour, minute] => (hour, minute, "0"),
            [hour, minute, second] => (hour, minute, second),
            _ => return Err(format!("`{word}` is no time such as 02:00")),
        };
        (self.hours, self.minutes, self.seconds) = (set(hour, &HOURS)?, set(minute, &MINUTES)?, set(second, &SECONDS)?);
        Ok(())
    }

    /// The first of its times after `after`.
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        let from = after.checked_add(1.second()).ok()?.with().subsec_nanosecond(0).build().ok()?;
        let mut date = self.day_from(from.date())?;
        if date == from.date() {
            if let Some(time) = self.time_from(from.time()) {
                return Some(date.to_datetime(time));
            }
            date = self.day_from(date.tomorrow().ok()?)?;
        }
        Some(date.to_datetime(self.time_from(Time::midnight())?))
    }

    /// The first of its days from `date` on.
    fn day_from(&self, mut date: Date) -> Option<Date> {
        while date.year() <= YEARS.most {
            if !self.has_year(date.year()) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
            } else if self.months >> date.month() & 1 == 0 {
                date = date.first_of_month().checked_add(1.month()).ok()?;
            } else if !self.has_day(date) {
                date = date.tomorrow().ok()?;
            } else {
                return Some(date);
            }
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        let within = |range: &Range| (range.start..=range.stop).contains(&year) && (year - range.start) % range.step == 0;
        self.years.is_empty() || self.years.iter().any(within)
    }

    fn has_day(&self, date: Date) -> bool {
        let day = if self.from_end { date.days_in_month() - date.day() + 1 } else { date.day() };
        self.days >> day & 1 == 1 && self.weekdays >> date.weekday().to_monday_zero_offset() & 1 == 1
    }

    /// The first of its times of a day from `time` on.
    fn time_from(&self, time: Time) -> Option<Time> {
        let mut hour = next_bit(self.hours, time.hour())?;
        let (mut minute, mut second) = if hour == time.hour() { (time.minute(), time.second()) } else { (0, 0) };
        loop {
            if let Some(at) = next_bit(self.minutes, minute) {
                if at != minute {
                    second = 0;
                }
                if let Some(second) = next_bit(self.seconds, second) {
                    return Time::new(hour, at, second, 0).ok();
                }
                (minute, second) = (at + 1, 0);
            } else {
                hour = next_bit(self.hours, hour + 1)?;
                (minute, second) = (0, 0);
            }
        }
    }
}

/// As systemd writes it, which reads it in turn: `Mon..Fri *-*-* 02:00:00`.
impl Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != ALL_WEEKDAYS {
            let names = runs(u64::from(self.weekdays), 0, 6).into_iter().map(|(start, stop)| match stop - start {
                0 => WEEKDAYS[start as usize].to_owned(),
                1 => format!("{},{}", WEEKDAYS[start as usize], WEEKDAYS[stop as usize]),
                _ => format!("{}..{}", WEEKDAYS[start as usize], WEEKDAYS[stop as usize]),
            });
            write!(f, "{} ", names.collect::<Vec<_>>().join(","))?;
        }
        let years: Vec<String> = self.years.iter().map(Range::to_string).collect();
        let years = if years.is_empty() { "*".to_owned() } else { years.join(",") };
        let days = if self.from_end { listed(self.days, 1, 31) } else { written(self.days, &DAYS) };
        let (months, mark) = (written(self.months, &MONTHS), if self.from_end { '~' } else { '-' });
        let (hours, minutes, seconds) = (written(self.hours, &HOURS), written(self.minutes, &MINUTES), written(self.seconds, &SECONDS));
        write!(f, "{years}-{months}{mark}{days} {hours}:{minutes}:{seconds}")
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start)?;
        if self.stop > self.start {
            write!(f, "..{}", self.stop)?;
            if self.step > 1 {
                write!(f, "/{}", self.step)?;
            }
        }
        Ok(())
    }
}

/// Neighbours among the bits that are set, from the first of them to the last.
fn runs(set: u64, least: u32, most: u32) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for bit in (least..=most).filter(|bit| set >> bit & 1 == 1) {
        match out.last_mut() {
            Some((_, stop)) if *stop + 1 == bit => *stop = bit,
            _ => out.push((bit, bit)),
        }
    }
    out
}

fn listed(set: u64, least: u32, most: u32) -> String {
    let parts = runs(set, least, most).into_iter().map(|(start, stop)| match stop - start {
        0 => format!("{start:02}"),
        1 => format!("{start:02},{stop:02}"),
        _ => format!("{start:02}..{stop:02}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// `*`, `00..45/15`, or a list. A step always has its end: over one that is open systemd 252 runs into the next day, and finds no further time
/// at all where that begins with an hour that the clocks skip.
fn written(set: u64, field: &Field) -> String {
    let (least, most) = (field.least.unsigned_abs().into(), field.most.unsigned_abs().into());
    if set == bits(least, most) {
        return "*".to_owned();
    }
    let all: Vec<u32> = (least..=most).filter(|bit| set >> bit & 1 == 1).collect();
    if let [first, second, .., last] = all[..] {
        let step = second - first;
        if step > 1 && all.windows(2).all(|pair| pair[1] - pair[0] == step) {
            return format!("{first:02}..{last:02}/{step}");
        }
    }
    listed(set, least, most)
}

fn weekdays(word: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let find = |names: &[&str]| names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let at = find(&WEEKDAYS).or_else(|| find(&WEEKDAYS_LONG));
        at.ok_or_else(|| format!("`{name}` is no day of the week such as Mon"))
    };
    let mut set = 0;
    for part in word.split(',') {
        let (start, stop) = match part.split_once("..").or_else(|| part.split_once('-')) {
            Some((start, stop)) => (day(start)?, day(stop)?),
            None => (day(part)?, day(part)?),
        };
        if start > stop {
            return Err(format!("`{part}` goes backwards: a week begins on Monday, write Mon,Sat..Sun"));
        }
        (start..=stop).for_each(|at| set |= 1 << at);
    }
    Ok(set)
}

fn number(text: &str, field: &Field) -> Result<i16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let fraction = text.contains('.') && field.name == SECONDS.name;
        if fraction { format!("`{text}`: whole seconds are enough") } else { format!("`{text}` is no {}", field.name) }
    })?;
    // As of old, and systemd: 26 is 2026, 70 is 1970.
    Ok(match number {
        0..70 if field.name == YEARS.name => number + 2000,
        70..100 if field.name == YEARS.name => number + 1900,
        _ => number,
    })
}

/// One part of a list. What systemd would refuse is refused: a step that leads out of the range at once is a mistake.
fn range(part: &str, field: &Field, from_end: bool) -> Result<Range, String> {
    let (span, step) = part.split_once('/').map_or((part, None), |(span, step)| (span, Some(step)));
    // A step is no year, even where it steps over years.
    let step = step.map(|step| number(step, &Field { name: "step", ..*field })).transpose()?;
    let (start, stop) = span.split_once("..").map_or((span, None), |(start, stop)| (start, Some(stop)));
    let (start, stop) = (number(start, field)?, stop.map(|stop| number(stop, field)).transpose()?);
    let (least, most) = (field.least, field.most);
    if let Some(value) = [Some(start), stop].into_iter().flatten().find(|value| !(least..=most).contains(value)) {
        return Err(format!("{value} is no {}: it goes from {least} to {most}", field.name));
    }
    let beyond = || Err(format!("`{part}`: the step leads beyond the end"));
    match (stop, step) {
        (_, Some(0)) => Err(format!("`{part}`: a step of 0 leads nowhere")),
        (None, None) => Ok(Range { start, stop: start, step: 1 }),
        (Some(stop), _) if stop == start => Ok(Range { start, stop, step: 1 }),
        (Some(stop), _) if stop < start => Err(format!("`{part}` goes backwards")),
        (Some(stop), step) => {
            let step = step.unwrap_or(1);
            if step > stop - start { beyond() } else { Ok(Range { start, stop: stop - (stop - start) % step, step }) }
        }
        // Towards the end of the month, which is day 1 from there.
        (None, Some(step)) if from_end => {
            if step > start - least {
                beyond()
            } else {
                Ok(Range { start: (start - least) % step + least, stop: start, step })
            }
        }
        (None, Some(step)) => {
            if step > most - start {
                beyond()
            } else {
                Ok(Range { start, stop: most - (most - start) % step, step })
            }
        }
    }
}

fn ranges(text: &str, field: &Field, from_end: bool) -> Result<Vec<Range>, String> {
    if text == "*" {
        return Ok(vec![Range { start: field.least, stop: field.most, step: 1 }]);
    }
    if text.starts_with("*/") {
        return Err(format!("`{text}`: write {:02}{}", field.least, &text[1..]));
    }
    text.split(',').map(|part| range(part, field, from_end)).collect()
}

fn years(text: &str) -> Result<Vec<Range>, String> {
    if text == "*" { Ok(Vec::new()) } else { ranges(text, &YEARS, false) }
}

fn collected(ranges: Vec<Range>) -> u64 {
    let all = ranges.into_iter().flat_map(|range| (range.start..=range.stop).step_by(usize::try_from(range.step).unwrap_or(1)));
    all.fold(0, |set, bit| set | 1 << bit)
}

fn set(text: &str, field: &Field) -> Result<u64, String> {
    ranges(text, field, false).map(collected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, after: &str, count: usize) -> Vec<String> {
        let spec = Spec::parse(text).unwrap();
        let first = after.parse().unwrap();
        std::iter::successors(Some(first), |at| spec.next(*at)).skip(1).take(count).map(|at| at.to_string()).collect()
    }

    #[test]
    fn it_is_written_as_systemd_writes_it() {
        let cases = [
            ("daily", "*-*-* 00:00:00"),
            ("Weekly", "Mon *-*-* 00:00:00"),
            ("quarterly", "*-01..10/3-01 00:00:00"),
            ("02:00", "*-*-* 02:00:00"),
            ("*:0/15", "*-*-* *:00..45/15:00"),
            ("Mon,Tue,Wed,sunday 4:05:06", "Mon..Wed,Sun *-*-* 04:05:06"),
            ("Mon-Fri", "Mon..Fri *-*-* 00:00:00"),
            ("Sat,Sun 1,13:30", "Sat,Sun *-*-* 01,13:30:00"),
            ("12-24 18:00", "*-12-24 18:00:00"),
            ("26-1..3-1", "2026-01..03-01 00:00:00"),
            ("*-*~3", "*-*~03 00:00:00"),
            ("Mon *-05~07/1", "Mon *-05~01..07 00:00:00"),
            ("5..5:00", "*-*-* 05:00:00"),
            ("*-*~*", "*-*-* 00:00:00"),
            ("2026..2030/2-*-* 3:00", "2026..2030/2-*-* 03:00:00"),
            ("*-*-* 22..23:*:*", "*-*-* 22,23:*:*"),
        ];
        for (text, written) in cases {
            let spec = Spec::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(spec.to_string(), written, "{text}");
            assert_eq!(Spec::parse(written), Ok(spec), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        let cases = [
            ("", "empty"),
            ("12", "neither a date"),
            ("Mon,Foo 1:00", "`Foo` is no day"),
            ("Sat..Mon", "backwards"),
            ("25:00", "25 is no hour: it goes from 0 to 23"),
            ("*/2:00", "write 00/2"),
            ("23/2:00", "beyond"),
            ("0/0:00", "nowhere"),
            ("5..3:00", "backwards"),
            ("*-*~29", "29 is no day from the end: it goes from 1 to 28"),
            ("1:00:00.5", "whole seconds"),
            ("1:00 2:00", "`2:00` follows"),
            ("*-13-01", "13 is no month"),
            ("*-*-*-*", "neither"),
            ("*~*~01", "neither"),
            ("-1:00", "`-1` is no hour"),
            ("+1:00", "is no hour"),
            ("1:2:3:4", "no time"),
            ("@1700000000", "neither"),
        ];
        for (text, why) in cases {
            let error = Spec::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn times_follow_each_other() {
        assert_eq!(times("*-02-29", "2026-01-01T00:00:00", 2), ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]);
        assert_eq!(times("*-*-31 23:59:59", "2026-01-31T23:59:59", 2), ["2026-03-31T23:59:59", "2026-05-31T23:59:59"]);
        assert_eq!(times("Mon *-05~07/1", "2026-01-01T00:00:00", 2), ["2026-05-25T00:00:00", "2027-05-31T00:00:00"]);
        assert_eq!(times("*-02~01 12:00", "2027-02-28T12:00:00", 1), ["2028-02-29T12:00:00"]);
        assert_eq!(times("1,3:20/20:30", "2026-01-01T01:40:30", 2), ["2026-01-01T03:20:30", "2026-01-01T03:40:30"]);
        assert_eq!(times("*:*:*", "2026-12-31T23:59:58.5", 2), ["2026-12-31T23:59:59", "2027-01-01T00:00:00"]);
        assert!(times("*-02-30", "2026-01-01T00:00:00", 1).is_empty());
        assert!(times("2025-*-*", "2026-01-01T00:00:00", 1).is_empty());
    }
}
