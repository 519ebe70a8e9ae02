//! What every policy has in common, in small. The vectors and the comparisons with other programs are in `tests/`.

use super::*;

const DAY: i64 = 86_400;

/// A complete snapshot of `group`, with the time as its size and its id from it.
fn item(secs: i64, group: &str) -> Item {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&secs.to_le_bytes());
    id[8..8 + group.len()].copy_from_slice(group.as_bytes());
    let time = Time { secs, nanos: 0 };
    Item { id: SnapshotId::new(id), time, group: group.to_owned(), tags: vec![], complete: true, held: false, bytes: 1, order: 0 }
}

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn last(n: u32) -> Policy {
    Policy::default().rule(Period::Each, Keep::Count(n))
}

/// Seconds of what stays, in the order of the items.
fn kept(policy: &Policy, items: &[Item], now: i64) -> Vec<i64> {
    let decisions = decide(policy, items, at(now));
    items.iter().zip(decisions).filter(|(_, d)| d.keeps()).map(|(item, _)| item.time.secs).collect()
}

fn reasons(policy: &Policy, items: &[Item], now: i64, which: usize) -> Vec<String> {
    match &decide(policy, items, at(now))[which].verdict {
        Verdict::Keep(reasons) => reasons.iter().map(Reason::to_string).collect(),
        Verdict::Remove(cause) => vec![format!("removed: {cause}")],
    }
}

#[test]
fn groups_are_judged_by_themselves() {
    let items = [item(1, "a"), item(2, "b"), item(3, "a"), item(4, "b")];
    assert_eq!(kept(&last(1), &items, 9), [3, 4]);
}

#[test]
fn reasons_name_rule_and_period() {
    let days = |n: i64| n * DAY + 3600;
    let items: Vec<Item> = (20_478..20_481).map(|n| item(days(n), "a")).collect();
    let policy = Policy::default().rule(Period::Day, Keep::Count(1)).rule(Period::Month, Keep::All);
    assert_eq!(reasons(&policy, &items, days(20_481), 2), ["daily 1: 2026-01-27", "monthly all: 2026-01", "newest complete snapshot"]);
    assert_eq!(reasons(&policy, &items, days(20_481), 1), ["removed: no rule keeps it"]);
    assert_eq!(reasons(&policy, &items, days(20_481), 0), ["monthly all, oldest: 2026-01"]);
}

#[test]
fn an_incomplete_snapshot_satisfies_no_rule() {
    let mut items = vec![item(1, "a"), item(2, "a"), item(3, "a"), item(4, "a")];
    items[1].complete = false;
    items[3].complete = false;
    assert_eq!(kept(&last(2), &items, 9), [1, 3, 4]);
    assert_eq!(reasons(&last(2), &items, 9, 1), ["removed: it is incomplete, and a complete one is newer"]);
    assert_eq!(reasons(&last(2), &items, 9, 3), ["incomplete, but no complete one is newer"]);
    // Without a complete one nothing goes, and a rule that keeps everything keeps it too.
    for item in &mut items {
        item.complete = false;
    }
    assert_eq!(kept(&last(2), &items, 9), [1, 2, 3, 4]);
    items[3].complete = true;
    assert_eq!(kept(&last(2), &items, 9), [4]);
    let within = Policy::default().within(Period::Each, Interval::hours(1));
    assert_eq!(kept(&within, &items, 9), [1, 2, 3, 4]);
}

#[test]
fn held_and_tagged_ones_stay() {
    let mut items = vec![item(1, "a"), item(2, "a"), item(3, "a"), item(4, "a")];
    items[0].held = true;
    items[1].tags = vec!["x".to_owned(), "y".to_owned()];
    items[2].tags = vec!["x".to_owned()];
    let tags = vec![vec![], vec!["y".to_owned(), "x".to_owned()]];
    let policy = Policy { keep_tags: tags, ..last(1) };
    assert_eq!(kept(&policy, &items, 9), [1, 2, 4]);
    assert_eq!(reasons(&policy, &items, 9, 0), ["held"]);
    assert_eq!(reasons(&policy, &items, 9, 1), ["tag y,x"]);
}

#[test]
fn a_size_removes_the_oldest_but_never_what_must_stay() {
    let mut items: Vec<Item> = (1..=6).map(|n| item(n, "a")).collect();
    items[1].held = true;
    let cap = |max_bytes, min_count| Policy { max_bytes: Some(max_bytes), min_count, ..Policy::default() };
    assert_eq!(kept(&cap(4, 1), &items, 9), [2, 4, 5, 6]);
    assert_eq!(kept(&cap(0, 1), &items, 9), [2, 6]);
    assert_eq!(kept(&cap(0, 3), &items, 9), [2, 4, 5, 6]);
    assert_eq!(reasons(&cap(4, 1), &items, 9, 0), ["removed: the oldest of 6 bytes, 4 are allowed"]);
    assert_eq!(reasons(&cap(4, 1), &items, 9, 4), ["no rule but a size"]);
    // What is incomplete neither counts nor goes for its size.
    items.push(Item { complete: false, bytes: 100, ..item(7, "a") });
    assert_eq!(kept(&cap(4, 1), &items, 9), [2, 4, 5, 6, 7]);
}

/// `--keep-size` took what is dated in the future for the newest complete snapshot, and let the true one go; it let go what was incomplete
/// and newer than anything complete, too.
#[test]
fn what_snapshots_take_together_removes_the_oldest_but_never_what_must_stay() {
    let mut items: Vec<Item> = (1..=5).map(|n| item(n, "db")).chain([item(9, "db"), item(2, "etc")]).collect();
    items[4].complete = false;
    let policy = |max| Policy { max_stored: Some(max), ..Policy::default() };
    let left = |policy: &Policy, items: &[Item]| -> Vec<i64> {
        let mut decisions = decide(policy, items, at(6));
        let order = charge_order(policy, items, &decisions, at(6));
        fit(policy, items, &mut decisions, at(6), &order.iter().map(|id| (*id, 10)).collect::<Vec<_>>());
        items.iter().zip(decisions).filter(|(_, d)| d.keeps()).map(|(item, _)| item.time.secs).collect()
    };
    // 4 is the newest complete one, 5 all that there is since then, and 9 stands for nothing.
    assert_eq!(left(&policy(60), &items), [1, 2, 3, 4, 5, 9, 2]);
    assert_eq!(left(&policy(59), &items), [2, 3, 4, 5, 9, 2]);
    assert_eq!(left(&policy(0), &items), [4, 5, 9, 2]);
    items[0].held = true;
    assert_eq!(left(&policy(40), &items), [1, 4, 5, 9, 2]);
    // What rules remove is charged to nobody.
    assert_eq!(left(&policy(30).rule(Period::Each, Keep::Count(2)), &items), [1, 4, 5, 9, 2]);
    assert_eq!(left(&policy(50).rule(Period::Each, Keep::Count(2)), &items), [1, 3, 4, 5, 9, 2]);
    // A count that keeps nothing was asked for: a size is then no reason to keep all.
    assert_eq!(left(&policy(100).rule(Period::Each, Keep::Count(0)), &items), [1, 4, 5, 9, 2]);
}

#[test]
fn the_last_run_stays_though_its_clock_went_back() {
    let mut items: Vec<Item> = (1..=4).map(|n| Item { order: n as u64, ..item(n, "a") }).collect();
    items.push(Item { order: 5, ..item(0, "a") });
    assert_eq!(kept(&last(1), &items, 9), [4, 0]);
    assert_eq!(reasons(&last(1), &items, 9, 4), ["last run"]);
    // The next run ends that.
    items.push(Item { order: 6, ..item(5, "a") });
    assert_eq!(kept(&last(1), &items, 9), [5]);
}

#[test]
fn one_time_is_ordered_by_the_counter() {
    let items = [Item { order: 2, ..item(1, "a") }, Item { order: 3, id: SnapshotId::new([0; 32]), ..item(1, "a") }];
    let decisions = decide(&last(1), &items, at(9));
    assert!(!decisions[0].keeps() && decisions[1].keeps());
}

#[test]
fn sequential_windows_follow_counts_and_each_other() {
    // Two snapshots a day for 40 days; the last is at the end of day 39.
    let items: Vec<Item> = (0..80).map(|n| item(n * DAY / 2, "a")).collect();
    let sequential = Policy { mode: Mode::Sequential, keep_oldest: false, ..Policy::default() };
    let days = |policy: &Policy| kept(policy, &items, 50 * DAY).iter().rev().map(|secs| *secs as f64 / DAY as f64).collect::<Vec<_>>();
    let policy = sequential.clone().rule(Period::Each, Keep::Count(3)).rule(Period::Day, Keep::Interval(Interval::days(2)));
    assert_eq!(days(&policy), [39.5, 39.0, 38.5, 37.5, 36.5]);
    let policy = sequential.clone().rule(Period::Each, Keep::Interval(Interval::days(1))).rule(Period::Day, Keep::Count(2));
    assert_eq!(days(&policy), [39.5, 39.0, 38.5, 37.5, 36.5]);
    let overlap = Policy { mode: Mode::Overlap, ..policy };
    assert_eq!(days(&overlap), [39.5, 39.0, 38.5]);
    // The oldest: of the coarsest rule in sequence, of each one that overlaps.
    let oldest = Policy { keep_oldest: true, ..sequential }.rule(Period::Day, Keep::Count(2)).rule(Period::Week, Keep::Count(9));
    assert_eq!(days(&oldest).last(), Some(&0.0));
    let full = oldest.rule(Period::Week, Keep::Count(1));
    assert!(days(&full).last() > Some(&30.0));
}

#[test]
fn where_windows_meet_a_later_count_may_still_keep() {
    // A week before the last one, at the end of the window of weeks: 2024-12-31 is not the newest of its week there, though it
    // is that of its quarter in the next window, and of its year.
    let items = [20_095, 20_091, 20_088].map(|day| item(day * DAY, "a"));
    let windows = Policy { mode: Mode::Sequential, keep_oldest: false, ..Policy::default() }
        .rule(Period::Week, Keep::Interval(Interval::weeks(1)))
        .rule(Period::Quarter, Keep::Interval(Interval::months(3)));
    assert_eq!(reasons(&windows, &items, 20_095 * DAY, 2), ["removed: no rule keeps it"]);
    assert_eq!(reasons(&windows.rule(Period::Year, Keep::Count(1)), &items, 20_095 * DAY, 2), ["yearly 1: 2024"]);
}

#[test]
fn the_ends_of_intervals_belong_to_windows_alone() {
    let half = DAY / 2;
    let mut items: Vec<Item> = (0..5).map(|n| item(n * half, "a")).collect();
    let overlap = Policy { keep_oldest: false, ..Policy::default() }.rule(Period::Each, Keep::Interval(Interval::days(1)));
    let sequential = Policy { mode: Mode::Sequential, ..overlap.clone() };
    assert_eq!(kept(&overlap, &items, 9 * DAY), [3 * half, 4 * half]);
    assert_eq!(kept(&sequential, &items, 9 * DAY), [2 * half, 3 * half, 4 * half]);
    // The same where they keep what is incomplete,
    for item in &mut items[..4] {
        item.complete = false;
    }
    assert_eq!(kept(&overlap, &items, 9 * DAY), [3 * half, 4 * half]);
    assert_eq!(kept(&sequential, &items, 9 * DAY), [2 * half, 3 * half, 4 * half]);
    // and the oldest that is in a window is kept beside the one that is newer that day.
    let items: Vec<Item> = (0..5).map(|n| item(n * half, "a")).collect();
    let daily = |days| {
        let policy = Policy { mode: Mode::Sequential, ..Policy::default() };
        reasons(&policy.rule(Period::Day, Keep::Interval(Interval::days(days))), &items, 9 * DAY, 0)
    };
    assert_eq!(daily(2), ["daily 2d, oldest: 1970-01-01"]);
    assert_eq!(daily(1), ["removed: no rule keeps it"]);
}

fn asked_of(items: &[Item], which: &[usize]) -> Vec<Decision> {
    which.iter().map(|i| Decision { id: items[*i].id, verdict: Verdict::Remove(Cause::Asked) }).collect()
}

#[test]
fn guards_name_group_and_figures() {
    let items: Vec<Item> = (0..4).map(|n| item(n * DAY, "db")).chain([item(3 * DAY, "etc")]).collect();
    let asked = |which: &[usize]| asked_of(&items, which);
    let refused = |decisions: &[Decision], now: i64, last_run: Option<i64>, fresh: Option<Interval>| -> Vec<String> {
        let refusals = guards(Some(&last(1)), &items, decisions, at(now), last_run.map(at), fresh.as_ref());
        refusals.iter().map(Refusal::to_string).collect()
    };
    let now = 4 * DAY;
    assert!(refused(&asked(&[0, 1]), now, None, None).is_empty());
    assert_eq!(refused(&asked(&[0, 1, 2]), now, None, None), ["`db` would lose 3 of its 4 complete snapshots at once, more than half"]);
    assert_eq!(refused(&asked(&[4]), now, None, None), ["`etc` would lose its last complete snapshot, of 1 that it has"]);
    let day = Some(Interval::days(1));
    assert!(refused(&asked(&[0]), now, None, day).is_empty());
    assert_eq!(
        refused(&asked(&[0]), now + 1, None, day),
        ["the newest snapshot of `db` is 1 d old, of 1970-01-04T00:00:00Z, and 1d is the limit"]
    );
    assert_eq!(
        refused(&asked(&[0]), now, Some(now + DAY), None),
        ["the clock went back: it is 1970-01-05T00:00:00Z, and the last run was at 1970-01-06T00:00:00Z"]
    );
    assert_eq!(
        refused(&asked(&[0]), now - 2 * DAY, None, None),
        [
            "the clock went back, or that of the last run of `db` was ahead: it is 1970-01-03T00:00:00Z, and that run says 1970-01-04T00:00:00Z"
        ]
    );
    assert_eq!(
        refused(&asked(&[0]), now + 40 * DAY, Some(5 * DAY), None),
        ["the clock jumped, or nothing ran for 39 d: it is 1970-02-14T00:00:00Z, and the last run was at 1970-01-06T00:00:00Z"]
    );
    assert!(refused(&asked(&[0]), now + 40 * DAY, Some(9 * DAY), None).is_empty());
    // Snapshots named one by one do not go by a clock, but it can be too many of them.
    assert!(guards(None, &items, &asked(&[0]), at(0), Some(at(now)), None).is_empty());
    assert_eq!(guards(None, &items, &asked(&[4]), at(0), None, None).len(), 1);
    let mut held = items.clone();
    held[1].held = true;
    assert_eq!(guards(None, &held, &asked(&[1]), at(0), None, None)[0].to_string(), "snapshot 80510100 of `db` is held");
    // Snapshots of a clock that was ahead made a group look larger than it is, and its last one not the last.
    let mut ahead: Vec<Item> = (0..3).chain(20..23).map(|n| item(n * DAY, "db")).collect();
    let by_policy = |items: &[Item], which: &[usize]| -> Vec<String> {
        let refusals = guards(Some(&last(1)), items, &asked_of(items, which), at(now), None, None);
        refusals.iter().map(Refusal::to_string).collect()
    };
    assert_eq!(by_policy(&ahead, &[0]).len(), 1);
    // Where the counter tells that a later run had the right time, that clock is no reason to refuse any more.
    ahead.iter_mut().zip([1, 2, 6, 3, 4, 5]).for_each(|(item, order)| item.order = order);
    assert!(by_policy(&ahead, &[0]).is_empty());
    assert_eq!(by_policy(&ahead, &[0, 1]), ["`db` would lose 2 of its 3 complete snapshots at once, more than half"]);
    assert_eq!(by_policy(&ahead, &[0, 1, 2]), ["`db` would lose its last complete snapshot, of 3 that it has"]);
    // Whoever removes nothing is refused nothing, but an empty policy always is.
    assert!(refused(&[], 0, Some(now), day).is_empty());
    assert_eq!(guards(Some(&Policy::default()), &items, &[], at(now), None, None), [Refusal::EmptyPolicy]);
}

#[test]
fn a_simulation_goes_on_as_the_history_did() {
    let mut items: Vec<Item> = (0..10).map(|n| item(n * DAY + 3600, "a")).collect();
    items.push(item(9 * DAY, "b"));
    let forecasts = simulate(&last(5), &items, at(10 * DAY), 10);
    assert_eq!(forecasts.iter().map(|f| (f.group.as_str(), f.interval_secs)).collect::<Vec<_>>(), [("a", DAY), ("b", DAY)]);
    let a = &forecasts[0];
    let steps: Vec<(u32, usize, i64)> = a.steps.iter().map(|s| (s.day, s.kept.len(), s.kept[0].secs)).collect();
    assert_eq!(steps, [(0, 5, 9 * DAY + 3600), (7, 5, 16 * DAY + 3600), (10, 5, 19 * DAY + 3600)]);
    assert_eq!((a.end.len(), a.steps[2].bytes), (5, 5));
    assert!(a.end.iter().all(|(item, decision)| item.id == decision.id && decision.keeps()));
    assert_eq!(forecasts[1].steps.last().map(|s| s.kept.len()), Some(5));
    // What is dated in the future stays in front; a time at the end of time ends.
    items.push(item(15 * DAY, "a"));
    let a = simulate(&last(5), &items, at(10 * DAY), 3).remove(0);
    assert_eq!(a.steps[1].kept.iter().map(|time| time.secs / DAY).collect::<Vec<_>>(), [15, 12, 11, 10, 9, 8]);
    assert_eq!(simulate(&last(5), &items, at(i64::MAX), u32::MAX)[0].steps.len(), 523);
    assert!(simulate(&last(5), &[item(i64::MIN, "a"), item(i64::MIN + 1, "a")], at(i64::MAX), 1)[0].end.len() > 1);
    // Nothing there, and no time at all.
    assert!(simulate(&last(5), &[], at(0), 90).is_empty());
    assert_eq!(simulate(&last(5), &items, at(10 * DAY), 0)[0].steps.len(), 1);
}
