//! The cleanup of spatie/laravel-backup, `DefaultStrategy` and what it leans on in `BackupCollection`, Laravel and Carbon, line by line
//! (commit 23701cf, May 2026; the algorithm is that of 2018). Written from the PHP, not from our rules; dates are reckoned here,
//! only the offsets of zones come from a library. PHP is kept where it is odd: that is what the port is for.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Days since 1970 of a date; days beyond the month run over.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year + day - 1 - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A `Carbon`: an instant in microseconds and a zone.
#[derive(Clone, Debug)]
pub struct Carbon {
    pub micros: i64,
    zone: TimeZone,
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Carbon {
    pub fn new(micros: i64, zone: &TimeZone) -> Self {
        Carbon { micros, zone: zone.clone() }
    }

    fn offset_at(&self, micros: i64) -> i64 {
        i64::from(self.zone.to_offset(Timestamp::from_microsecond(micros).unwrap()).seconds()) * SECOND
    }

    /// What the clocks of the zone show, in microseconds since they showed 1970.
    fn local(&self) -> i64 {
        self.micros + self.offset_at(self.micros)
    }

    /// `$date->modify('-n months')` and the like: on the clock; a day that its month lacks runs over into the next month.
    fn modify(&self, years: i64, months: i64, days: i64) -> Self {
        if (years, months, days) == (0, 0, 0) {
            return self.clone(); // Carbon's addUnit answers with the same date.
        }
        let local = self.local();
        let (year, month, day) = civil_from_days(local.div_euclid(DAY));
        let month = (year + years) * 12 + month - 1 + months;
        let date = days_from_civil(month.div_euclid(12), month.rem_euclid(12) + 1, day) + days;
        let local = date * DAY + local.rem_euclid(DAY);
        // Which offset such a clock has: that of before, where the clock shows the time twice or never.
        let (before, after) = (self.offset_at(local - DAY), self.offset_at(local + DAY));
        let fits = |offset: i64| self.offset_at(local - offset) == offset;
        let offset = if fits(before) || !fits(after) { before } else { after };
        Carbon::new(local - offset, &self.zone)
    }

    pub fn sub_days(&self, n: u32) -> Self {
        self.modify(0, 0, -i64::from(n))
    }

    pub fn sub_weeks(&self, n: u32) -> Self {
        self.modify(0, 0, -7 * i64::from(n))
    }

    pub fn sub_months(&self, n: u32) -> Self {
        self.modify(0, -i64::from(n), 0)
    }

    pub fn sub_years(&self, n: u32) -> Self {
        self.modify(-i64::from(n), 0, 0)
    }

    /// `DateTime::format` for the four formats in use.
    fn format(&self, format: &str) -> String {
        let days = self.local().div_euclid(DAY);
        let (year, month, day) = civil_from_days(days);
        format
            .chars()
            .map(|c| match c {
                'Y' => format!("{year:04}"),
                'm' => format!("{month:02}"),
                'd' => format!("{day:02}"),
                'W' => {
                    // The week of the year that its Thursday is in; 1970 began on a Thursday.
                    let thursday = days - (days + 3).rem_euclid(7) + 3;
                    let (year, _, _) = civil_from_days(thursday);
                    format!("{:02}", (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
                }
                _ => unreachable!("not in use"),
            })
            .collect()
    }

    fn between(&self, one: &Carbon, other: &Carbon) -> bool {
        let (first, last) = if one.micros > other.micros { (other, one) } else { (one, other) };
        self.micros >= first.micros && self.micros <= last.micros
    }

    fn lt(&self, other: &Carbon) -> bool {
        self.micros < other.micros
    }
}

/// A `Backup`: its name says its date, to the second.
#[derive(Debug)]
pub struct Backup {
    pub date: Carbon,
    size: u64,
    exists: Cell<bool>,
}

impl Backup {
    pub fn new(secs: i64, size: u64, zone: &TimeZone) -> Rc<Self> {
        Rc::new(Backup { date: Carbon::new(secs * SECOND, zone), size, exists: Cell::new(true) })
    }

    pub fn exists(&self) -> bool {
        self.exists.get()
    }

    fn size_in_bytes(&self) -> f64 {
        if self.exists() { self.size as f64 } else { 0.0 }
    }

    fn delete(&self) {
        self.exists.set(false);
    }
}

type BackupCollection = Vec<Rc<Backup>>;

/// The five numbers of the configuration, and the cap.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub keep_all_backups_for_days: u32,
    pub keep_daily_backups_for_days: u32,
    pub keep_weekly_backups_for_weeks: u32,
    pub keep_monthly_backups_for_months: u32,
    pub keep_yearly_backups_for_years: u32,
    pub delete_oldest_backups_when_using_more_megabytes_than: Option<u64>,
}

struct Period {
    start_date: Carbon,
    end_date: Carbon,
}

/// What `createFromFiles` answers: newest first, in the order of the listing where the second is the same.
fn create_from_files(files: &[Rc<Backup>]) -> BackupCollection {
    let mut backups = files.to_vec();
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.date.micros / SECOND));
    backups
}

/// The ends of the five periods: `d0`, `d1`, `w1`, `m1`, `y1` in the reference.
pub fn edges(config: &Config, now: &Carbon) -> [Carbon; 5] {
    let ranges = calculate_date_ranges(config, now);
    let [daily, weekly, monthly, yearly] = ranges.map(|range| (range.start_date, range.end_date));
    [daily.0, daily.1, weekly.1, monthly.1, yearly.1]
}

fn calculate_date_ranges(config: &Config, now: &Carbon) -> [Period; 4] {
    let daily = Period {
        start_date: now.sub_days(config.keep_all_backups_for_days),
        end_date: now.sub_days(config.keep_all_backups_for_days).sub_days(config.keep_daily_backups_for_days),
    };
    let weekly = Period { start_date: daily.end_date.clone(), end_date: daily.end_date.sub_weeks(config.keep_weekly_backups_for_weeks) };
    let monthly =
        Period { start_date: weekly.end_date.clone(), end_date: weekly.end_date.sub_months(config.keep_monthly_backups_for_months) };
    let yearly =
        Period { start_date: monthly.end_date.clone(), end_date: monthly.end_date.sub_years(config.keep_yearly_backups_for_years) };
    [daily, weekly, monthly, yearly]
}

/// `deleteOldBackups`, at `now`.
pub fn delete_old_backups(files: &[Rc<Backup>], config: &Config, now: &Carbon) {
    let mut backups = create_from_files(files);
    // Don't ever delete the newest backup.
    if backups.is_empty() {
        return;
    }
    let newest_backup = backups.remove(0);

    let date_ranges = calculate_date_ranges(config, now);
    for (period, format) in date_ranges.iter().zip(["Ymd", "YW", "Ym", "Y"]) {
        let in_period = backups.iter().filter(|backup| backup.date.between(&period.start_date, &period.end_date));
        // groupBy: every group in the order of the collection.
        let mut groups: BTreeMap<String, BackupCollection> = BTreeMap::new();
        for backup in in_period {
            groups.entry(backup.date.format(format)).or_default().push(backup.clone());
        }
        // removeBackupsForAllPeriodsExceptOne
        for group in groups.values() {
            group.iter().skip(1).for_each(|backup| backup.delete());
        }
    }

    // removeBackupsOlderThan
    let end_date = &date_ranges[3].end_date;
    backups.iter().filter(|backup| backup.exists() && backup.date.lt(end_date)).for_each(|backup| backup.delete());

    remove_old_backups_until_using_less_than_maximum_storage(backups, &newest_backup, config);
}

fn remove_old_backups_until_using_less_than_maximum_storage(mut backups: BackupCollection, newest_backup: &Backup, config: &Config) {
    let Some(maximum_size) = config.delete_oldest_backups_when_using_more_megabytes_than else { return };
    // shouldRemoveOldestBackup
    while let Some(oldest) = backups.iter().rfind(|backup| backup.exists()) {
        let size: f64 = backups.iter().map(|backup| backup.size_in_bytes()).sum();
        if size + newest_backup.size_in_bytes() <= (maximum_size * 1024 * 1024) as f64 {
            return;
        }
        oldest.delete();
        backups.retain(|backup| backup.exists());
    }
}
