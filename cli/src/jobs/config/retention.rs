//! `[retention.NAME]`: which snapshots stay, as the engine's policies take it.

use super::units::Size;
use crate::exit::Fail;
use jiff::tz::TimeZone;
use seabed_engine::retention::{Anchor, Interval, Keep, Mode, MonthSub, Period, Policy, Week};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// A policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The strategy of another program, word for word: `spatie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<String>,
    /// What is kept: `{ all = "7d", daily = 30, weekly = "8w", monthly = "12m", yearly = "all" }`.
    #[serde(default)]
    pub keep: Keeps,
    /// `overlap` (each rule looks at all) or `sequential` (from fine to coarse).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Intervals are measured from the `newest` complete snapshot, or from `now`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// Time zone of days and weeks [default: that of the file].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// `iso` (weeks from Monday on), or `php-yw`, as spatie numbers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub week: Option<String>,
    /// A month back from the 31st: `clamp` to the last day, or `overflow` into the next month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_sub: Option<String>,
    /// At least so many of the newest stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_count: Option<u32>,
    /// Snapshots with all of these tags stay (lists, separated by commas).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<String>,
    /// The newest that together take at most this much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// What `max_bytes` counts: `exclusive` (bytes in the repository) or `logical` (what each restores).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_of: Option<String>,
    /// Nothing goes while the newest snapshot of the series is older: `36h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_fresh: Option<IntervalText>,
}

/// What is kept of which period.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Keeps {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<KeepText>,
    /// Everything of an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<IntervalText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<KeepText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<KeepText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<KeepText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<KeepText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarterly: Option<KeepText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<KeepText>,
}

/// A count, an interval, or `all`.
#[derive(Clone, Copy, Debug)]
pub struct KeepText(pub Keep);

impl<'de> Deserialize<'de> for KeepText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Count(u32),
            Text(String),
        }
        let wrong = "write a number, an interval such as \"30d\", or \"all\"";
        match Given::deserialize(from).map_err(|_| D::Error::custom(wrong))? {
            Given::Count(count) => count.to_string(),
            Given::Text(text) => text,
        }
        .parse()
        .map(KeepText)
        .map_err(D::Error::custom)
    }
}

impl Serialize for KeepText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// An interval of the calendar.
#[derive(Clone, Copy, Debug)]
pub struct IntervalText(pub Interval);

impl<'de> Deserialize<'de> for IntervalText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(IntervalText).map_err(D::Error::custom)
    }
}

impl Serialize for IntervalText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// spatie's own numbers, where the file says none: days of all, of dailies, weeks, months, years.
const SPATIE: [u32; 5] = [7, 16, 8, 4, 2];

impl Retention {
    /// As the engine takes it. `name` and `tz` are the policy's and the file's.
    pub fn policy(&self, name: &str, tz: &str) -> Result<Policy, Fail> {
        let fail = |why: String| Fail::config(format!("retention.{name}: {why}"));
        let zone = self.tz.as_deref().unwrap_or(tz);
        let tz = TimeZone::get(zone)
            .map_err(|_| fail(format!("there is no time zone `{zone}`")).hint("write UTC or a name such as Europe/Berlin"))?;
        let logical = match self.size_of.as_deref() {
            None => self.compat.is_some(),
            Some("exclusive") => false,
            Some("logical") => true,
            Some(other) => return Err(fail(format!("`{other}` is no size")).hint("write exclusive or logical")),
        };
        if let Some(compat) = self.compat.as_deref() {
            return self.spatie(compat, tz, fail);
        }
        let word = |given: &Option<String>, what: &str, words: [&str; 2]| match given.as_deref() {
            None => Ok(false),
            Some(text) if text == words[0] => Ok(false),
            Some(text) if text == words[1] => Ok(true),
            Some(text) => Err(fail(format!("`{text}` is no {what}")).hint(format!("write {} or {}", words[0], words[1]))),
        };
        let rules: BTreeMap<Period, Keep> = self.rules().into_iter().filter_map(|(period, keep)| Some((period, keep?.0))).collect();
        let within = self.keep.all.map(|all| (Period::Each, all.0)).into_iter().collect();
        let mut policy = Policy { rules, within, tz, ..Policy::default() };
        policy.mode = if word(&self.mode, "mode", ["overlap", "sequential"])? { Mode::Sequential } else { Mode::Overlap };
        policy.anchor = if word(&self.anchor, "anchor", ["newest", "now"])? { Anchor::Now } else { Anchor::Newest };
        policy.week = if word(&self.week, "week", ["iso", "php-yw"])? { Week::PhpYw } else { Week::Iso };
        policy.month_sub = if word(&self.month_sub, "month_sub", ["clamp", "overflow"])? { MonthSub::Overflow } else { MonthSub::Clamp };
        policy.keep_tags = self.keep_tags.iter().map(|list| crate::args::tags([list])).collect();
        if let Some(min) = self.min_count {
            policy.min_count = min;
        }
        match (self.max_bytes, logical) {
            (Some(size), true) => policy.max_bytes = Some(size.0),
            (Some(size), false) => policy.max_stored = Some(size.0),
            (None, _) => {}
        }
        if policy.is_empty() {
            return Err(fail("it keeps nothing".to_owned()).hint("say what stays: keep = { daily = 7, weekly = 4, monthly = 12 }"));
        }
        Ok(policy)
    }

    fn rules(&self) -> [(Period, Option<KeepText>); 7] {
        let keep = &self.keep;
        [
            (Period::Each, keep.last),
            (Period::Hour, keep.hourly),
            (Period::Day, keep.daily),
            (Period::Week, keep.weekly),
            (Period::Month, keep.monthly),
            (Period::Quarter, keep.quarterly),
            (Period::Year, keep.yearly),
        ]
    }

    fn spatie(&self, compat: &str, tz: TimeZone, fail: impl Fn(String) -> Fail) -> Result<Policy, Fail> {
        if compat != "spatie" {
            return Err(fail(format!("the strategy of `{compat}` is not known")).hint("write compat = \"spatie\""));
        }
        let others = [self.keep.last.is_some(), self.keep.hourly.is_some(), self.keep.quarterly.is_some()];
        if others.contains(&true) || self.mode.is_some() || self.anchor.is_some() || self.week.is_some() || self.month_sub.is_some() {
            let hint = "its numbers are keep = { all, daily, weekly, monthly, yearly } and max_bytes; all else is as spatie does it";
            return Err(fail("spatie's strategy has no such rule".to_owned()).hint(hint));
        }
        // Each number has its unit: days, days, weeks, months, years.
        let number = |keep: Option<Keep>, unit: fn(&Interval) -> u32, whole: fn(u32) -> Interval, default: u32| match keep {
            None => Ok(default),
            Some(Keep::Count(n)) => Ok(n),
            Some(Keep::Interval(interval)) if interval == whole(unit(&interval)) => Ok(unit(&interval)),
            Some(other) => Err(fail(format!("`{other}` is not in the unit that spatie counts this rule in"))
                .hint("all = \"7d\", daily = \"16d\", weekly = \"8w\", monthly = \"4m\", yearly = \"2y\"")),
        };
        let keep = &self.keep;
        let text = |keep: Option<KeepText>| keep.map(|keep| keep.0);
        let all = number(keep.all.map(|all| Keep::Interval(all.0)), |i| i.days, Interval::days, SPATIE[0])?;
        let daily = number(text(keep.daily), |i| i.days, Interval::days, SPATIE[1])?;
        let weekly = number(text(keep.weekly), |i| i.weeks, Interval::weeks, SPATIE[2])?;
        let monthly = number(text(keep.monthly), |i| i.months, Interval::months, SPATIE[3])?;
        let yearly = number(text(keep.yearly), |i| i.years, Interval::years, SPATIE[4])?;
        // Without a cap in the file there is none: it is spatie's default that surprises, not its absence.
        Ok(Policy::spatie(all, daily, weekly, monthly, yearly, self.max_bytes.map(|size| size.0), tz))
    }
}
