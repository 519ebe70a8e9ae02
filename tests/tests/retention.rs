//! Retention, as far as it is arithmetic: the vectors V1 to V12 of the reference, spatie's strategy against a port of it, restic's and
//! borg's rules where ours claim to equal them, and what holds for every policy. Forgetting is tested where commands are.

mod others;
mod spatie;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use others::{Duration, ExpirePolicy};
use proptest::prelude::*;
use proptest::sample::select;
use seabed_engine::format::wire::Time;
use seabed_engine::id::SnapshotId;
use seabed_engine::retention::{Anchor, Interval, Keep, Mode, MonthSub, Period, Policy, Refusal, Week};
use seabed_engine::retention::{Decision, Item, charge_order, decide, fit, guards, simulate};
use spatie::{Backup, Carbon, Config};
use std::rc::Rc;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const MB: u64 = 1024 * 1024;

/// Seconds of `2026-01-25` or `2026-01-25T13`, by UTC.
fn secs(text: &str) -> i64 {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { format!("{text}:00:00Z") };
    text.parse::<Timestamp>().unwrap().as_second()
}

fn time(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn text(secs: i64, format: &str) -> String {
    Timestamp::from_second(secs).unwrap().strftime(format).to_string()
}

/// Complete snapshots of one group at these times; the counter is the order of the times, and among equals that of the list from its end.
fn items(times: &[i64]) -> Vec<Item> {
    let mut by_age: Vec<usize> = (0..times.len()).rev().collect();
    by_age.sort_by_key(|i| times[*i]);
    let mut items: Vec<Item> = times.iter().enumerate().map(|(i, secs)| item(i, *secs)).collect();
    by_age.iter().zip(1..).for_each(|(i, order)| items[*i].order = order);
    items
}

fn item(number: usize, secs: i64) -> Item {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let group = "db".to_owned();
    Item { id: SnapshotId::new(id), time: time(secs), group, tags: vec![], complete: true, held: false, bytes: 0, order: 0 }
}

/// Times that are `step` seconds apart, oldest first.
fn every(step: i64, first: i64, last: i64) -> Vec<i64> {
    (0..).map(|n| first + n * step).take_while(|at| *at <= last).collect()
}

fn keeps(policy: &Policy, items: &[Item], now: Time) -> Vec<bool> {
    decide(policy, items, now).iter().map(Decision::keeps).collect()
}

/// The times that stay, newest first.
fn left(policy: &Policy, times: &[i64], now: i64) -> Vec<i64> {
    let mut left: Vec<i64> =
        times.iter().zip(keeps(policy, &items(times), time(now))).filter(|(_, keep)| *keep).map(|(at, _)| *at).collect();
    left.sort_unstable_by(|a, b| b.cmp(a));
    left
}

/// What spatie leaves of these times, newest first.
fn spatie_leaves(config: &Config, times: &[i64], now: i64) -> Vec<i64> {
    let backups: Vec<Rc<Backup>> = times.iter().map(|at| Backup::new(*at, 0, &TimeZone::UTC)).collect();
    spatie::delete_old_backups(&backups, config, &Carbon::new(now * 1_000_000, &TimeZone::UTC));
    let mut left: Vec<i64> = times.iter().zip(&backups).filter(|(_, backup)| backup.exists()).map(|(at, _)| *at).collect();
    left.sort_unstable_by(|a, b| b.cmp(a));
    left
}

/// The same numbers for both.
fn spatie(numbers: [u32; 5], cap: Option<u64>) -> (Policy, Config) {
    zoned_spatie(numbers, cap, &TimeZone::UTC)
}

fn zoned_spatie(numbers: [u32; 5], cap: Option<u64>, tz: &TimeZone) -> (Policy, Config) {
    let [all, daily, weekly, monthly, yearly] = numbers;
    let policy = Policy::spatie(all, daily, weekly, monthly, yearly, cap.map(|mb| mb * MB), tz.clone());
    let config = Config {
        keep_all_backups_for_days: all,
        keep_daily_backups_for_days: daily,
        keep_weekly_backups_for_weeks: weekly,
        keep_monthly_backups_for_months: monthly,
        keep_yearly_backups_for_years: yearly,
        delete_oldest_backups_when_using_more_megabytes_than: cap,
    };
    (policy, config)
}

fn counts(mode: Mode, rules: &[(Period, u32)]) -> Policy {
    rules.iter().fold(Policy { mode, ..Policy::default() }, |policy, (period, n)| policy.rule(*period, Keep::Count(*n)))
}

#[test]
fn t10_v1_spatie_day_by_day() {
    let (policy, config) = spatie([7, 30, 8, 4, 2], None);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for midnight in every(DAY, secs("2021-01-01"), secs("2026-01-25")) {
        ours = left(&policy, &ours, midnight + HOUR);
        theirs = spatie_leaves(&config, &theirs, midnight + HOUR);
        assert_eq!(ours, theirs);
        ours.push(midnight + HOUR + HOUR / 2);
        theirs.push(midnight + HOUR + HOUR / 2);
    }
    ours.sort_unstable_by(|a, b| b.cmp(a));
    let mut expected: Vec<String> =
        every(DAY, secs("2025-12-19"), secs("2026-01-25")).iter().rev().map(|at| text(*at, "%Y-%m-%d")).collect();
    let weekly = ["12-18", "12-14", "12-07", "11-30", "11-23", "11-16", "11-09", "11-02", "10-26"];
    let monthly = ["10-19", "09-28", "08-31", "07-27", "06-29"];
    expected.extend(weekly.iter().chain(&monthly).map(|day| format!("2025-{day}")));
    // The second of the three lives by its week being called 01 of the year that ends.
    expected.extend(["2025-05-25", "2024-12-31", "2023-12-31"].map(str::to_owned));
    assert_eq!(ours.iter().map(|at| text(*at, "%Y-%m-%d")).collect::<Vec<_>>(), expected);
    assert_eq!(ours.len(), 55);
}

#[test]
fn t10_v2_the_same_numbers_in_restic_and_borg() {
    let rules = [(Period::Each, 7), (Period::Day, 30), (Period::Week, 8), (Period::Month, 4), (Period::Year, 2)];
    let mut times = every(DAY, secs("2021-01-01") + HOUR * 3 / 2, secs("2026-01-25T02"));
    times.reverse();
    let now = secs("2026-01-25T02");
    let ours = left(&counts(Mode::Overlap, &rules), &times, now);
    assert_eq!((ours.len(), text(ours[34], "%Y-%m-%d").as_str()), (35, "2025-10-31"));
    let theirs = others::restic(&times, &ExpirePolicy { counts: [7, 0, 30, 8, 4, 2], within: [None; 6] });
    assert_eq!(keeps(&counts(Mode::Overlap, &rules), &items(&times), time(now)), theirs);

    let ours = left(&counts(Mode::Sequential, &rules), &times, now);
    assert_eq!((ours.len(), text(ours[50], "%Y-%m-%d").as_str()), (51, "2023-12-31"));
    let theirs = others::borg(&times, &[Some(7), None, Some(30), Some(8), Some(4), None, Some(2)]);
    assert_eq!(keeps(&counts(Mode::Sequential, &rules), &items(&times), time(now)), theirs);
}

fn day_and_hour(times: &[i64]) -> String {
    times.iter().map(|at| text(*at, "%d.%H")).collect::<Vec<_>>().join(" ")
}

#[test]
fn t10_v3_and_v4_six_hourly() {
    let times = every(6 * HOUR, secs("2026-01-01"), secs("2026-01-25T12"));
    let now = secs("2026-01-25T13");
    let (policy, config) = spatie([2, 3, 2, 1, 1], None);
    let ours = left(&policy, &times, now);
    let expected = "25.12 25.06 25.00 24.18 24.12 24.06 24.00 23.18 23.12 22.18 21.18 20.18 20.12 18.18 11.18 06.12";
    assert_eq!(day_and_hour(&ours), expected);
    assert_eq!(spatie_leaves(&config, &times, now), ours);

    let rules = [(Period::Day, 3), (Period::Week, 2), (Period::Month, 1), (Period::Year, 1)];
    assert_eq!(day_and_hour(&left(&counts(Mode::Overlap, &rules), &times, now)), "25.12 24.18 23.18 18.18");
    assert_eq!(day_and_hour(&left(&counts(Mode::Sequential, &rules), &times, now)), "25.12 24.18 23.18 18.18 11.18 01.00");
}

#[test]
fn t10_v5_weeks_by_php_and_by_iso() {
    let now = secs("2025-02-20T01");
    let times = every(DAY, secs("2024-12-01") + HOUR * 3 / 2, now);
    let (policy, config) = spatie([7, 16, 8, 4, 2], None);
    let weekly = |policy: &Policy| -> Vec<String> {
        let window = secs("2024-12-03T01")..=secs("2025-01-28T01");
        left(policy, &times, now).into_iter().filter(|at| window.contains(at)).map(|at| text(at, "%m-%d")).collect()
    };
    assert_eq!(weekly(&policy).join(" "), "01-27 01-26 01-19 01-12 01-05 12-31 12-29 12-22 12-15 12-08");
    assert_eq!(left(&policy, &times, now), spatie_leaves(&config, &times, now));
    let iso = Policy { week: Week::Iso, ..policy };
    assert_eq!(weekly(&iso).join(" "), "01-27 01-26 01-19 01-12 01-05 12-29 12-22 12-15 12-08");
}

#[test]
fn t10_v6_windows_of_the_calendar() {
    let (policy, config) = spatie([7, 16, 8, 4, 2], None);
    let lengths = [Interval::days(7), Interval::days(16), Interval::weeks(8), Interval::months(4), Interval::years(2)];
    let edges = |policy: &Policy, now: &str| -> Vec<String> {
        let mut at = time(secs(now));
        lengths
            .iter()
            .map(|length| {
                at = policy.before(at, length);
                text(at.secs, "%Y-%m-%dT%H")
            })
            .collect()
    };
    let expected = ["2025-09-10T01", "2025-08-25T01", "2025-06-30T01", "2025-03-02T01", "2023-03-02T01"];
    assert_eq!(edges(&policy, "2025-09-17T01"), expected);
    let theirs = spatie::edges(&config, &Carbon::new(secs("2025-09-17T01") * 1_000_000, &TimeZone::UTC));
    assert_eq!(theirs.map(|edge| text(edge.micros / 1_000_000, "%Y-%m-%dT%H")), expected);
    // A day later the window of months ends a day earlier.
    assert_eq!(edges(&policy, "2025-09-18T01")[3], "2025-03-01T01");
    let clamped = Policy { month_sub: MonthSub::Clamp, ..policy };
    assert_eq!(edges(&clamped, "2025-09-17T01")[3], "2025-02-28T01");
}

#[test]
fn t10_v7_the_cap() {
    let (policy, _) = spatie([7, 16, 8, 4, 2], Some(5000));
    let mut dailies = items(&every(DAY, secs("2026-01-20T01"), secs("2026-01-25T01")));
    dailies.iter_mut().for_each(|item| item.bytes = 900 * MB);
    assert_eq!(keeps(&policy, &dailies, time(secs("2026-01-25T02"))), [false, true, true, true, true, true]);
    dailies[5].bytes = 6000 * MB;
    assert_eq!(keeps(&policy, &dailies, time(secs("2026-01-25T02"))), [false, false, false, false, false, true]);
}

#[test]
fn t10_v8_when_backups_stop() {
    let times = every(DAY, secs("2023-03-01T01") - 59 * DAY, secs("2023-03-01T01"));
    let (policy, config) = spatie([7, 30, 8, 4, 2], None);
    let newest = Policy { anchor: Anchor::Newest, ..policy.clone() };
    let at_once = left(&newest, &times, secs("2023-03-01T02"));
    assert!(at_once.len() > 30);
    for (now, count) in [("2023-09-01", 4), ("2024-03-01", 2), ("2026-01-25", 1)] {
        assert_eq!(left(&policy, &times, secs(now)).len(), count);
        assert_eq!(left(&policy, &times, secs(now)), spatie_leaves(&config, &times, secs(now)));
        assert_eq!(left(&newest, &times, secs(now)), at_once);
        // And nobody lets it melt without being asked.
        let list = items(&times);
        let refusals =
            guards(Some(&policy), &list, &decide(&policy, &list, time(secs(now))), time(secs(now)), None, Some(&Interval::days(2)));
        assert!(refusals.iter().any(|refusal| matches!(refusal, Refusal::Stale { .. })));
        assert!(refusals.iter().any(|refusal| matches!(refusal, Refusal::ClockAhead { .. })));
        assert!(refusals.iter().any(|refusal| matches!(refusal, Refusal::MoreThanHalf { removed, of: 60, .. } if *removed == 60 - count)));
    }
}

#[test]
fn t10_v9_true_times_not_those_of_a_copy() {
    let now = secs("2026-01-25T13");
    let copied = every(60, now - 8 * DAY - 100 * 60, now - 8 * DAY - 60);
    assert_eq!(copied.len(), 100);
    let (policy, config) = spatie([7, 16, 8, 4, 2], None);
    assert_eq!(spatie_leaves(&config, &copied, now).len(), 2);
    let made = every(DAY, now - 100 * DAY, now - DAY);
    assert_eq!(left(&policy, &made, now), spatie_leaves(&config, &made, now));
    assert_eq!(left(&policy, &made, now).len(), 33);
}

#[test]
fn t10_v10_the_hour_that_new_york_has_twice() {
    let tz = TimeZone::get("America/New_York").unwrap();
    let half = HOUR / 2;
    let runs = [secs("2026-11-01T05") + half, secs("2026-11-01T06") + half, secs("2026-11-02T06") + half];
    let now = secs("2026-11-02T07");
    let day = |tz: &TimeZone, period| Policy { tz: tz.clone(), keep_oldest: false, ..Policy::default() }.rule(period, Keep::Count(9));
    assert_eq!(left(&day(&tz, Period::Day), &runs, now), [runs[2], runs[1]]);
    // Both began at 01:30, an hour apart.
    assert_eq!(left(&day(&tz, Period::Hour), &runs, now), [runs[2], runs[1], runs[0]]);
    let (policy, _) = zoned_spatie([0, 16, 8, 4, 2], None, &tz);
    assert_eq!(left(&policy, &runs, now), [runs[2], runs[1]]);
}

#[test]
fn t10_v11_a_snapshot_of_a_bad_clock() {
    let now = secs("2026-01-25T13");
    let mut times = every(DAY, secs("2026-01-01T01"), secs("2026-01-25T01"));
    let right = times.clone();
    times.push(secs("2027-06-01"));
    let (nothing, config) = spatie([0, 0, 0, 0, 0], None);
    assert_eq!(spatie_leaves(&config, &times, now), [secs("2027-06-01")]);
    assert_eq!(left(&nothing, &times, now), [secs("2027-06-01"), secs("2026-01-25T01")]);
    let list = items(&times);
    assert_eq!(guards(Some(&nothing), &list, &decide(&nothing, &list, time(now)), time(now), None, None)[0], Refusal::EmptyPolicy);

    let daily = Policy::default().rule(Period::Day, Keep::Count(20));
    let cap = Policy { max_bytes: Some(0), ..Policy::default() };
    let within = Policy::default().within(Period::Each, Interval::days(3));
    for policy in [daily, cap, within, spatie([2, 3, 2, 1, 1], None).0, counts(Mode::Sequential, &[(Period::Day, 3)])] {
        let without = left(&policy, &right, now);
        assert_eq!(left(&policy, &times, now)[1..], without);
        let reason = decide(&policy, &list, time(now)).pop().unwrap();
        assert!(format!("{:?}", reason.verdict).contains("Future"));
    }
    // Who removes by such a clock is asked; not any more when a later run had the right time.
    let daily = Policy::default().rule(Period::Day, Keep::Count(20));
    let refusals = |list: &[Item]| guards(Some(&daily), list, &decide(&daily, list, time(now)), time(now), None, None);
    assert!(matches!(refusals(&list)[..], [Refusal::GroupAhead { .. }]));
    let mut over = list.clone();
    over.iter_mut().rev().zip([10, 99]).for_each(|(item, order)| item.order = order);
    assert_eq!(refusals(&over), []);
}

#[test]
fn t10_v12_two_of_the_day_on_which_windows_meet() {
    let times = every(6 * HOUR, secs("2026-01-01"), secs("2026-01-25T12"));
    let (policy, _) = spatie([7, 16, 8, 4, 2], None);
    let left = left(&policy, &times, secs("2026-01-25T13"));
    let day: Vec<i64> = left.into_iter().filter(|at| text(*at, "%d") == "18").collect();
    assert_eq!(day_and_hour(&day), "18.18 18.12");
    let reasons = decide(&policy, &items(&times), time(secs("2026-01-25T13")));
    let reason = |at: i64| format!("{:?}", reasons[times.iter().position(|time| *time == at).unwrap()].verdict);
    assert!(reason(day[0]).contains("Each") && reason(day[1]).contains("Day"));
}

#[test]
fn a_simulation_shows_what_spatie_leaves() {
    let (policy, config) = spatie([7, 16, 8, 4, 2], None);
    let mut times = every(DAY, secs("2025-01-01T01"), secs("2026-01-25T01"));
    let now = secs("2026-01-25T02");
    let forecast = simulate(&policy, &items(&times), time(now), 90).remove(0);
    assert_eq!(forecast.steps.iter().map(|step| step.day).collect::<Vec<_>>(), [0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 77, 84, 90]);
    times = spatie_leaves(&config, &times, now);
    for day in 1..=90 {
        let run = secs("2026-01-25T01") + day * DAY;
        times.push(run);
        times = spatie_leaves(&config, &times, run);
        if let Some(step) = forecast.steps.iter().find(|step| i64::from(step.day) == day) {
            assert_eq!(step.kept.iter().map(|at| at.secs).collect::<Vec<_>>(), times);
        }
    }
}

const ZONES: [&str; 6] = ["UTC", "America/New_York", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"];

/// Gaps between successive runs, seconds: regular ones, irregular ones, long ones, none.
fn gaps() -> impl Strategy<Value = Vec<i64>> {
    let gap = prop_oneof![
        3 => select(vec![HOUR, 6 * HOUR, DAY, 7 * DAY]).prop_map(|gap| (gap, 0)),
        3 => (select(vec![HOUR, 6 * HOUR, DAY]), 1..HOUR),
        2 => (Just(0), 0..3 * DAY),
        1 => (Just(0), 0..60 * DAY),
    ];
    gap.prop_flat_map(|(gap, jitter)| {
        proptest::collection::vec(
            (prop_oneof![9 => Just(1), 1 => 0..4i64], 0..=jitter).prop_map(move |(n, jitter)| gap * n + jitter),
            0..150,
        )
    })
}

/// A history, newest first, and a time after it.
#[derive(Clone, Debug)]
struct History {
    now: i64,
    times: Vec<i64>,
}

fn history() -> impl Strategy<Value = History> {
    // 2010 to 2030, sometimes at full hours.
    let now = prop_oneof![1_262_304_000..1_893_456_000i64, (350_640..525_960i64).prop_map(|hour| hour * HOUR)];
    (now, prop_oneof![0..2 * DAY, 0..90 * DAY], gaps()).prop_map(|(now, idle, gaps)| {
        let mut at = now - idle;
        let mut back = |gap| {
            at -= gap;
            at + gap
        };
        let times = gaps.into_iter().map(&mut back).collect();
        History { now, times }
    })
}

fn numbers() -> impl Strategy<Value = [u32; 5]> {
    prop_oneof![Just([7, 16, 8, 4, 2]), Just([7, 30, 8, 4, 2]), [0..10u32, 0..35, 0..60, 0..20, 0..5]]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The strategy is spatie's to the second, in any zone, at the edges of its windows too; but what is dated in the future, which
    /// there is the newest, is here as if it were not there.
    #[test]
    fn spatie_is_spatie(
        history in history(),
        numbers in numbers(),
        zone in select(&ZONES[..]),
        cap in proptest::option::weighted(0.3, 0..3000u64),
        at_edges in proptest::collection::vec((0..5usize, -1..=1i64), 0..4),
        future in proptest::collection::vec(1..400 * DAY, 0..2),
        micros in prop_oneof![Just(0), 0..1_000_000i64],
        sizes in 1..200u64,
    ) {
        let tz = TimeZone::get(zone).unwrap();
        let (policy, config) = zoned_spatie(numbers, cap, &tz);
        let now = Carbon::new(history.now * 1_000_000 + micros, &tz);
        let edges = spatie::edges(&config, &now);
        let mut times = history.times;
        times.extend(at_edges.iter().map(|(edge, off)| edges[*edge].micros.div_euclid(1_000_000) + off));
        times.retain(|at| *at <= history.now);
        times.sort_unstable_by(|a, b| b.cmp(a));
        let size = |i: usize| (i as u64 * 7919 % sizes) * MB;

        let backups: Vec<Rc<Backup>> = times.iter().enumerate().map(|(i, at)| Backup::new(*at, size(i), &tz)).collect();
        spatie::delete_old_backups(&backups, &config, &now);
        let theirs: Vec<bool> = backups.iter().map(|backup| backup.exists()).chain(future.iter().map(|_| true)).collect();

        let mut ours = items(&[&times[..], &future.iter().map(|off| history.now + off).collect::<Vec<_>>()].concat());
        ours.iter_mut().enumerate().for_each(|(i, item)| item.bytes = size(i));
        let now = Time { secs: history.now, nanos: micros as u32 * 1000 };
        prop_assert_eq!(keeps(&policy, &ours, now), theirs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Counts and intervals that overlap are restic's, month ends included where these overflow, in a group whose clock is right.
    #[test]
    fn overlapping_rules_are_those_of_restic(
        history in history(),
        counts in prop::array::uniform6(prop_oneof![3 => Just(0), 1 => Just(-1), 3 => 1..12i64]),
        within in prop::array::uniform6(proptest::option::weighted(0.3, lengths())),
    ) {
        // Where it keeps nothing, restic refuses; here the newest stays.
        prop_assume!(counts.iter().any(|n| *n != 0));
        let periods = [Period::Each, Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
        let mut policy = Policy { month_sub: MonthSub::Overflow, ..Policy::default() };
        for (i, period) in periods.into_iter().enumerate() {
            let keep = u32::try_from(counts[i]).map_or(Keep::All, Keep::Count);
            policy = policy.rule(period, keep);
            if let Some([years, months, days, hours]) = within[i] {
                policy = policy.within(period, Interval { years, months, weeks: 0, days, hours });
            }
        }
        let within = within.map(|within| within.filter(|lengths| *lengths != [0; 4]).map(|lengths| Duration(lengths.map(|n| n as i16))));
        let theirs = ExpirePolicy { counts, within };
        prop_assert_eq!(keeps(&policy, &items(&history.times), time(history.now)), others::restic(&history.times, &theirs));
    }

    /// Counts in sequence are borg's.
    #[test]
    fn counts_in_sequence_are_those_of_borg(
        history in history(),
        counts in prop::array::uniform7(prop_oneof![4 => Just(None), 1 => Just(Some(-1)), 4 => (1..12i64).prop_map(Some)]),
    ) {
        prop_assume!(counts.iter().any(Option::is_some));
        let mut policy = Policy { mode: Mode::Sequential, ..Policy::default() };
        for (period, n) in Period::ALL.into_iter().zip(counts).filter_map(|(period, n)| n.map(|n| (period, n))) {
            policy = policy.rule(period, u32::try_from(n).map_or(Keep::All, Keep::Count));
        }
        prop_assert_eq!(keeps(&policy, &items(&history.times), time(history.now)), others::borg(&history.times, &counts));
    }

    /// What no policy may do, in any group: remove the newest complete snapshot, what is held, what is dated in the future, what is
    /// incomplete with nothing complete after it; or remove more when it is asked again.
    #[test]
    fn every_policy_leaves_what_must_stay(
        policy in policy(),
        history in history(),
        ahead in 0..20 * DAY,
        kinds in proptest::collection::vec((prop::bool::weighted(0.8), prop::bool::weighted(0.1), 0..3u8, 0..300u64), 150),
        counter in 0..3u8,
    ) {
        let mut items = items(&history.times);
        for item in &mut items {
            item.order = match counter {
                0 => 0,
                1 => item.order,
                // Clocks went back now and then.
                _ => item.order * 13 % 17,
            };
        }
        for (item, (complete, held, group, bytes)) in items.iter_mut().zip(kinds) {
            (item.complete, item.held, item.bytes, item.group) = (complete, held, bytes, format!("group {group}"));
            if bytes % 10 == 0 {
                item.tags.push("tag".to_owned());
            }
        }
        // A clock that went back: the newest of them have not been yet.
        let now = time(history.now - ahead);
        let judge = |items: &[Item]| {
            let mut decisions = decide(&policy, items, now);
            let bytes = |id: SnapshotId| items.iter().find(|item| item.id == id).map_or(0, |item| item.bytes);
            let charged: Vec<_> = charge_order(&policy, items, &decisions, now).into_iter().map(|id| (id, bytes(id))).collect();
            fit(&policy, items, &mut decisions, now, &charged);
            decisions
        };
        let first = judge(&items);
        prop_assert_eq!(first.iter().map(|d| d.id).collect::<Vec<_>>(), items.iter().map(|item| item.id).collect::<Vec<_>>());
        for (item, decision) in items.iter().zip(&first) {
            // Ids are in the order of the list: of equals the last is the newest, and an incomplete one is not older.
            let age = |item: &Item| (item.time, item.order, item.complete.then_some(item.id));
            let complete = items.iter().filter(|other| other.group == item.group && other.complete && other.time <= now);
            let newest = complete.map(|other| (other.time, other.order, item.complete.then_some(other.id))).max();
            let must = newest.is_none_or(|newest| age(item) >= newest) || item.held || item.time > now;
            prop_assert!(decision.keeps() || !must, "{:?}", item);
        }
        let left: Vec<Item> = items.iter().zip(&first).filter(|(_, d)| d.keeps()).map(|(item, _)| item.clone()).collect();
        prop_assert!(judge(&left).iter().all(Decision::keeps));
        // By that, the guards find that no group loses its last.
        let refusals = guards(Some(&policy), &items, &first, now, None, None);
        prop_assert!(!refusals.iter().any(|refusal| matches!(refusal, Refusal::LastComplete { .. })), "{:?}", refusals);
    }
}

/// Years, months, days and hours: mostly as short as histories are.
fn lengths() -> impl Strategy<Value = [u32; 4]> {
    let rare = |n: std::ops::Range<u32>| prop_oneof![4 => Just(0), 1 => n];
    (rare(0..3), rare(0..14), 0..40u32, rare(0..50)).prop_map(|(years, months, days, hours)| [years, months, days, hours])
}

fn interval() -> impl Strategy<Value = Interval> {
    (lengths(), prop_oneof![4 => Just(0), 1 => 0..5u32]).prop_map(|([years, months, days, hours], weeks)| Interval {
        years,
        months,
        weeks,
        days,
        hours,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let keep = prop_oneof![4 => (0..12u32).prop_map(Keep::Count), 1 => Just(Keep::All), 3 => interval().prop_map(Keep::Interval)];
    let rules = proptest::collection::btree_map(select(&Period::ALL[..]), keep, 0..6);
    let within = proptest::collection::btree_map(select(&Period::ALL[..]), interval(), 0..3);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (rules, within, switches, select(&ZONES[..]), 0..4u32, proptest::option::weighted(0.3, 0..5000u64)).prop_map(
        |(rules, within, (sequential, now, php, overflow, keep_oldest, newest_apart, tags), zone, min_count, max_bytes)| Policy {
            rules,
            within,
            keep_tags: if tags { vec![vec!["tag".to_owned()]] } else { vec![] },
            mode: if sequential { Mode::Sequential } else { Mode::Overlap },
            anchor: if now { Anchor::Now } else { Anchor::Newest },
            tz: TimeZone::get(zone).unwrap(),
            week: if php { Week::PhpYw } else { Week::Iso },
            month_sub: if overflow { MonthSub::Overflow } else { MonthSub::Clamp },
            keep_oldest,
            newest_apart,
            min_count,
            max_bytes,
            max_stored: max_bytes,
        },
    )
}
