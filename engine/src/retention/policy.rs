//! What a user asks to be kept, as plain data, and how its words are read. Zones and sizes in words are the caller's to read.
//! Nothing here decides: it must not look at snapshots.

use super::calendar;
use crate::format::wire::Time;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a rule keeps one snapshot of. In the order of coarseness, which is the order of rules in [`Mode::Sequential`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Period {
    /// No period: every snapshot counts.
    Each,
    Hour,
    Day,
    Week,
    Month,
    /// Three months, from January on.
    Quarter,
    Year,
}

impl Period {
    /// Every period, finest first.
    pub const ALL: [Period; 7] = [Period::Each, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

    /// The name of a rule of this period: what follows `keep-` in options and configuration.
    pub const fn rule(self) -> &'static str {
        match self {
            Period::Each => "last",
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Quarter => "quarterly",
            Period::Year => "yearly",
        }
    }

    /// The name of a rule within an interval: `within`, `within-daily` …
    pub const fn within(self) -> &'static str {
        match self {
            Period::Each => "within",
            Period::Hour => "within-hourly",
            Period::Day => "within-daily",
            Period::Week => "within-weekly",
            Period::Month => "within-monthly",
            Period::Quarter => "within-quarterly",
            Period::Year => "within-yearly",
        }
    }
}

/// A span of the calendar. Years, months, weeks and days are taken off the date on the clock of the policy's zone, then hours
/// of 3600 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Interval {
    pub years: u32,
    pub months: u32,
    pub weeks: u32,
    pub days: u32,
    pub hours: u32,
}

impl Interval {
    /// So many years.
    pub const fn years(years: u32) -> Self {
        Interval { years, months: 0, weeks: 0, days: 0, hours: 0 }
    }

    /// So many months.
    pub const fn months(months: u32) -> Self {
        Interval { years: 0, months, weeks: 0, days: 0, hours: 0 }
    }

    /// So many weeks.
    pub const fn weeks(weeks: u32) -> Self {
        Interval { years: 0, months: 0, weeks, days: 0, hours: 0 }
    }

    /// So many days.
    pub const fn days(days: u32) -> Self {
        Interval { years: 0, months: 0, weeks: 0, days, hours: 0 }
    }

    /// So many hours.
    pub const fn hours(hours: u32) -> Self {
        Interval { years: 0, months: 0, weeks: 0, days: 0, hours }
    }

    /// Whether it has no length.
    pub fn is_zero(&self) -> bool {
        *self == Interval::default()
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0d");
        }
        for (n, unit) in [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')] {
            if n > 0 {
                write!(f, "{n}{unit}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Interval {
    type Err = String;

    /// Reads numbers with units, each unit once, in any order: `30d`, `2y5m7d3h`, `8w`. A month is `m`; there are no minutes.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut interval = Interval::default();
        let mut seen = [false; 5];
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("an interval is missing, such as 30d or 2y5m7d3h".to_owned());
        }
        while let Some(unit) = rest.chars().find(|c| !c.is_ascii_digit()) {
            let (number, tail) = rest.split_once(unit).unwrap_or((rest, ""));
            let (i, field) = match unit {
                'y' => (0, &mut interval.years),
                'm' => (1, &mut interval.months),
                'w' => (2, &mut interval.weeks),
                'd' => (3, &mut interval.days),
                'h' => (4, &mut interval.hours),
                _ => return Err(format!("`{text}` is no interval: the units are y, m (months), w, d and h")),
            };
            if std::mem::replace(&mut seen[i], true) {
                return Err(format!("`{text}` names the unit {unit} twice"));
            }
            *field = match number.parse() {
                Ok(n) => n,
                Err(_) if number.is_empty() => return Err(format!("`{text}` is no interval: a number is missing before {unit}")),
                Err(_) => return Err(format!("`{text}`: {number} is too large")),
            };
            rest = tail;
        }
        if rest.is_empty() { Ok(interval) } else { Err(format!("`{text}` is no interval: a unit (y, m, w, d, h) is missing after {rest}")) }
    }
}

/// How much one rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest snapshot of each of so many periods that have one; none for 0.
    Count(u32),
    /// Of every period.
    All,
    /// Of every period in an interval.
    Interval(Interval),
}

impl Keep {
    /// Whether it can keep anything.
    pub fn is_active(&self) -> bool {
        match self {
            Keep::Count(n) => *n > 0,
            Keep::All => true,
            Keep::Interval(interval) => !interval.is_zero(),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::Count(n) => write!(f, "{n}"),
            Keep::All => f.write_str("all"),
            Keep::Interval(interval) => write!(f, "{interval}"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    /// Reads a count, an interval, or `all` (also `unlimited` and `-1`, as restic and borg have it). No length at all is a count of 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if ["all", "unlimited", "-1"].contains(&text) {
            return Ok(Keep::All);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Keep::Count).map_err(|_| format!("`{text}` is too large, write `all` for no limit"));
        }
        match text.parse::<Interval>() {
            Ok(interval) if interval.is_zero() => Ok(Keep::Count(0)),
            Ok(interval) => Ok(Keep::Interval(interval)),
            Err(_) if !text.starts_with(|c: char| c.is_ascii_digit()) => {
                Err(format!("`{text}` is neither a count, nor an interval such as 30d or 2y5m7d3h, nor `all`"))
            }
            Err(why) => Err(why),
        }
    }
}

/// How rules share the snapshots out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every rule looks at all snapshots and knows nothing of the others: what several keep is kept once (restic).
    /// An interval ends at the anchor; what lies exactly at its far end is outside.
    #[default]
    Overlap,
    /// Rules run from fine to coarse.
    /// A count (borg): the newest snapshot of each period, newest period first; those that a finer rule keeps do not count.
    /// An interval (spatie): a window that begins where the one before it ended, the first one at the anchor. After a count, it
    /// begins at the oldest snapshot that the count kept. Both ends belong to a window, so one instant is in two of them; a
    /// snapshot there must be the newest of its period in each, or the windows do not keep it.
    Sequential,
}

/// From when intervals are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// From the newest complete snapshot that is not dated in the future: when backups stop, history stays as it is.
    #[default]
    Newest,
    /// From now: when backups stop, history goes on melting.
    Now,
}

/// What a week is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Week {
    /// ISO 8601: the year is that of the week's Thursday.
    #[default]
    Iso,
    /// PHP's `YW`: the number of the ISO week after the year of the calendar, so that the last days of December may be
    /// called by the first week of the year that ends.
    PhpYw,
}

/// What a month before the 31st is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonthSub {
    /// The last day of a shorter month.
    #[default]
    Clamp,
    /// As many days into the month that follows as are missing, as PHP and Go count.
    Overflow,
}

/// What is kept of a group of snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Rules in the sense of `mode`, one per period.
    pub rules: BTreeMap<Period, Keep>,
    /// Intervals in which one snapshot of every period is kept, whatever the rules say; they overlap in both modes, end at the
    /// anchor, and leave out their far end (restic's `--keep-within-…`).
    pub within: BTreeMap<Period, Interval>,
    /// Snapshots that have all tags of one of these lists are kept, incomplete ones too. An empty list matches nothing.
    pub keep_tags: Vec<Vec<String>>,
    /// How rules share the snapshots out.
    pub mode: Mode,
    /// From when intervals are measured.
    pub anchor: Anchor,
    /// The zone of days, weeks, months and years. A job at 23:30 in Berlin belongs to that day there and, in winter, to the
    /// same one in UTC; one at 00:30 belongs to the day before in UTC.
    pub tz: TimeZone,
    /// What a week is called.
    pub week: Week,
    /// What a month before the 31st is.
    pub month_sub: MonthSub,
    /// The oldest snapshot is kept by a rule that has room left: by every rule in [`Mode::Overlap`] (restic), by the coarsest
    /// one in [`Mode::Sequential`] (borg).
    pub keep_oldest: bool,
    /// The newest complete snapshot is kept beside the rules and takes part in none of them (spatie).
    pub newest_apart: bool,
    /// So many of the newest complete snapshots of a group stay, whatever rules and `max_bytes` say. 1 at least.
    pub min_count: u32,
    /// When complete snapshots that stay have more bytes than this, the oldest of a group go until they have not, tagged ones
    /// included: never the newest, never held ones. Without any rule nothing but this removes anything.
    pub max_bytes: Option<u64>,
    /// When what stays takes more bytes than this in the repository, all groups together, the oldest go until it does not. `decide` knows
    /// nothing of these bytes: [`super::fit`] does, and what it never removes is the same. Without any rule nothing but this removes anything.
    pub max_stored: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            rules: BTreeMap::new(),
            within: BTreeMap::new(),
            keep_tags: Vec::new(),
            mode: Mode::default(),
            anchor: Anchor::default(),
            tz: TimeZone::UTC,
            week: Week::default(),
            month_sub: MonthSub::default(),
            keep_oldest: true,
            newest_apart: false,
            min_count: 1,
            max_bytes: None,
            max_stored: None,
        }
    }
}

impl Policy {
    /// `--compat spatie`: the default strategy of spatie/laravel-backup with its five numbers (keep all, then daily backups, for
    /// days; weekly ones for weeks; monthly for months; yearly for years) and its cap. `tz` is the application's zone.
    pub fn spatie(days_all: u32, days_daily: u32, weeks: u32, months: u32, years: u32, max_bytes: Option<u64>, tz: TimeZone) -> Self {
        // Zero lengths stand here, not in the parsers: an absent window is still an instant that must be won.
        let rules = [
            (Period::Each, Interval::days(days_all)),
            (Period::Day, Interval::days(days_daily)),
            (Period::Week, Interval::weeks(weeks)),
            (Period::Month, Interval::months(months)),
            (Period::Year, Interval::years(years)),
        ];
        Policy {
            rules: rules.into_iter().map(|(period, interval)| (period, Keep::Interval(interval))).collect(),
            mode: Mode::Sequential,
            anchor: Anchor::Now,
            tz,
            week: Week::PhpYw,
            month_sub: MonthSub::Overflow,
            keep_oldest: false,
            newest_apart: true,
            max_bytes,
            ..Policy::default()
        }
    }

    /// Adds a rule; the last one given for a period holds.
    pub fn rule(mut self, period: Period, keep: Keep) -> Self {
        self.rules.insert(period, keep);
        self
    }

    /// Adds an interval in which one snapshot of every period is kept.
    pub fn within(mut self, period: Period, interval: Interval) -> Self {
        self.within.insert(period, interval);
        self
    }

    /// Whether it would keep nothing but what nothing may remove.
    pub fn is_empty(&self) -> bool {
        !self.has_rules() && !self.is_cap_only()
    }

    /// Whether a size is all that was asked for: then everything is kept up to it. Rules that were set to nothing were asked for.
    pub(super) fn is_cap_only(&self) -> bool {
        (self.max_bytes.is_some() || self.max_stored.is_some()) && !self.has_rules() && self.rules.is_empty()
    }

    fn has_rules(&self) -> bool {
        self.rules.values().any(Keep::is_active)
            || self.within.values().any(|interval| !interval.is_zero())
            || self.keep_tags.iter().any(|list| !list.is_empty())
    }

    /// The time an interval before another, by the zone and the calendar of this policy.
    pub fn before(&self, time: Time, interval: &Interval) -> Time {
        calendar::before(time, interval, &self.tz, self.month_sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_intervals_are_read() {
        let keep = |text: &str| text.parse::<Keep>();
        assert_eq!(keep("7"), Ok(Keep::Count(7)));
        assert_eq!(keep("0d"), Ok(Keep::Count(0)));
        for all in ["all", "unlimited", "-1", " all "] {
            assert_eq!(keep(all), Ok(Keep::All));
        }
        let interval = Interval { years: 2, months: 5, weeks: 0, days: 7, hours: 3 };
        assert_eq!(keep("2y5m7d3h"), Ok(Keep::Interval(interval)));
        assert_eq!(keep("3h7d5m2y"), Ok(Keep::Interval(interval)));
        assert_eq!(interval.to_string(), "2y5m7d3h");
        assert_eq!("8w".parse(), Ok(Interval::weeks(8)));
        assert_eq!(Interval::default().to_string(), "0d");
    }

    #[test]
    fn what_is_neither_says_why() {
        let why = |text: &str| text.parse::<Keep>().unwrap_err();
        assert_eq!(why("soon"), "`soon` is neither a count, nor an interval such as 30d or 2y5m7d3h, nor `all`");
        assert_eq!(why("-7"), "`-7` is neither a count, nor an interval such as 30d or 2y5m7d3h, nor `all`");
        assert_eq!(why("2d3"), "`2d3` is no interval: a unit (y, m, w, d, h) is missing after 3");
        assert_eq!(why("2d3d"), "`2d3d` names the unit d twice");
        assert_eq!(why("2dd"), "`2dd` names the unit d twice");
        assert_eq!(why("2dh"), "`2dh` is no interval: a number is missing before h");
        assert_eq!(why("5s"), "`5s` is no interval: the units are y, m (months), w, d and h");
        assert_eq!(why("5µ"), "`5µ` is no interval: the units are y, m (months), w, d and h");
        assert_eq!(why("4294967296"), "`4294967296` is too large, write `all` for no limit");
        assert_eq!(why("4294967296d"), "`4294967296d`: 4294967296 is too large");
        assert_eq!("".parse::<Interval>().unwrap_err(), "an interval is missing, such as 30d or 2y5m7d3h");
    }

    #[test]
    fn a_policy_is_empty_where_it_asks_for_nothing() {
        assert!(Policy::default().is_empty());
        assert!(Policy { min_count: 3, keep_tags: vec![vec![]], ..Policy::default() }.is_empty());
        assert!(Policy::default().rule(Period::Day, Keep::Count(0)).is_empty());
        assert!(Policy { max_bytes: Some(1), ..Policy::default() }.rule(Period::Day, Keep::Count(0)).is_empty());
        assert!(Policy::spatie(0, 0, 0, 0, 0, Some(1), TimeZone::UTC).is_empty());
        assert!(!Policy { max_bytes: Some(1), ..Policy::default() }.is_empty());
        assert!(!Policy { max_stored: Some(1), ..Policy::default() }.is_empty());
        assert!(!Policy::default().within(Period::Each, Interval::hours(1)).is_empty());
    }
}
