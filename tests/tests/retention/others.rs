//! The rules of restic and borg, line by line from their sources: `ApplyPolicy` in `internal/data/snapshot_policy.go` (restic a80be14,
//! August 2026), `prune` in `archiver/prune_cmd.py` (borg fc74d5f, August 2026). Times are seconds, newest first; the zone is UTC.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

fn utc(secs: i64) -> DateTime {
    TimeZone::UTC.to_datetime(Timestamp::from_second(secs).unwrap())
}

/// restic's `ymdh`, `ymd`, `yw`, `ym`, `y`, and `always` for 0.
fn bucker(kind: usize, secs: i64, nr: usize) -> i64 {
    let d = utc(secs);
    let (year, month, day) = (i64::from(d.year()), i64::from(d.month()), i64::from(d.day()));
    match kind {
        0 => nr as i64,
        1 => year * 1_000_000 + month * 10_000 + day * 100 + i64::from(d.hour()),
        2 => year * 10_000 + month * 100 + day,
        3 => {
            let iso = d.date().iso_week_date();
            i64::from(iso.year()) * 100 + i64::from(iso.week())
        }
        4 => year * 100 + month,
        _ => year,
    }
}

/// restic's `Duration`: years, months, days, hours.
#[derive(Clone, Copy, Debug)]
pub struct Duration(pub [i16; 4]);

impl Duration {
    /// `latest.AddDate(-y, -m, -d).Add(-h)`: Go normalizes a day that its month lacks by running over.
    fn before(&self, latest: i64) -> i64 {
        let Duration([years, months, days, hours]) = *self;
        let d = utc(latest);
        let month = i32::from(d.year()) * 12 + i32::from(d.month()) - 1 - i32::from(years) * 12 - i32::from(months);
        let first = jiff::civil::date(month.div_euclid(12) as i16, month.rem_euclid(12) as i8 + 1, 1);
        let days = i64::from(d.day()) - 1 - i64::from(days);
        let midnight = first.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() + days * 86_400;
        midnight + latest.rem_euclid(86_400) - i64::from(hours) * 3600
    }
}

/// Counts for last, hourly, daily, weekly, monthly, yearly (-1: all, 0: not given), and durations for within and the five that follow.
#[derive(Clone, Debug)]
pub struct ExpirePolicy {
    pub counts: [i64; 6],
    pub within: [Option<Duration>; 6],
}

/// restic's `ApplyPolicy`: which of `list`, sorted newest first, are kept. No snapshot is from the future here.
pub fn restic(list: &[i64], p: &ExpirePolicy) -> Vec<bool> {
    let mut counts = p.counts;
    let mut last = [-1; 6];
    let mut last_within = [-1; 6];
    let latest = list.first().copied().unwrap_or(0);
    let mut keep = Vec::new();
    for (nr, &cur) in list.iter().enumerate() {
        let mut keep_snap = p.within[0].is_some_and(|within| cur > within.before(latest));
        for i in 0..6 {
            if counts[i] > 0 || counts[i] == -1 {
                let val = bucker(i, cur, nr);
                if val != last[i] || nr == list.len() - 1 {
                    keep_snap = true;
                    last[i] = val;
                    if counts[i] > 0 {
                        counts[i] -= 1;
                    }
                }
            }
        }
        for (i, last) in last_within.iter_mut().enumerate().skip(1) {
            if let Some(within) = p.within[i]
                && cur > within.before(latest)
            {
                let val = bucker(i, cur, nr);
                if val != *last || nr == list.len() - 1 {
                    keep_snap = true;
                    *last = val;
                }
            }
        }
        keep.push(keep_snap);
    }
    keep
}

/// borg's `period_func`: keep, hourly, daily, weekly, monthly, 3monthly, yearly.
fn period_func(rule: usize, secs: i64, nr: usize) -> String {
    let d = utc(secs);
    match rule {
        0 => nr.to_string(),
        1 => d.strftime("%Y-%m-%d %H").to_string(),
        2 => d.strftime("%Y-%m-%d").to_string(),
        3 => d.strftime("%G-%V").to_string(),
        4 => d.strftime("%Y-%m").to_string(),
        5 => format!("{}-{:02}", d.year(), (d.month() - 1) / 3),
        _ => d.strftime("%Y").to_string(),
    }
}

/// borg's `prune` with counts (-1: all), for each of its rules that was given: which of `archives`, newest first, are kept.
pub fn borg(archives: &[i64], rules: &[Option<i64>; 7]) -> Vec<bool> {
    let mut kept = vec![false; archives.len()];
    let largest = rules.iter().rposition(Option::is_some);
    for (rule, n) in rules.iter().enumerate().filter_map(|(rule, n)| n.map(|n| (rule, n))) {
        if archives.is_empty() || n == 0 {
            continue;
        }
        let mut keep: Vec<usize> = Vec::new();
        let mut prev_period = None;
        for (nr, &archive) in archives.iter().enumerate() {
            if n != -1 && keep.len() as i64 >= n {
                break;
            }
            let period = Some(period_func(rule, archive, nr));
            if period != prev_period {
                prev_period = period;
                if !kept[nr] {
                    keep.push(nr);
                }
            }
        }
        let oldest = archives.len() - 1;
        if largest == Some(rule) && !keep.contains(&oldest) && !kept[oldest] && (n == -1 || (keep.len() as i64) < n) {
            keep.push(oldest);
        }
        keep.into_iter().for_each(|nr| kept[nr] = true);
    }
    kept
}
