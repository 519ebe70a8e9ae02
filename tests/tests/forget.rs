//! Forgetting and collecting as a stranger does it: policies, guards, holds, what comes back and what gives space back.
//! What a policy means is tested in `retention`, what a collection deletes in `gc`; here it is what the command line makes of it.

use crate::cli::{Home, lines};
use seabed_engine::catalog::Catalog;
use seabed_engine::format::wire::Time;
use seabed_engine::id::RepositoryId;
use serde_json::Value;

/// A home with a repository of one snapshot a day, `days` of them, the last one today.
fn daily(days: i64) -> Home {
    let home = Home::new();
    let now = jiff::Timestamp::now();
    for back in (0..days).rev() {
        home.write("src/day.txt", &format!("{back}\n").repeat(2000));
        let at = (now - jiff::SignedDuration::from_hours(24 * back)).to_string();
        home.ends(0, &["backup", "--init", "--quiet", "--series", "daily", "--time", &at, "src"]);
    }
    home
}

fn count(home: &Home) -> usize {
    snapshots(home, &[]).len()
}

fn snapshots(home: &Home, more: &[&str]) -> Vec<Value> {
    let args = [&["snapshots", "--json"], more].concat();
    lines(&home.ends(0, &args)).remove(0).as_array().unwrap().clone()
}

fn id(snapshot: &Value) -> String {
    snapshot["short_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_policy_keeps_what_its_rules_keep_and_says_why() {
    let home = daily(10);
    let out = home.ends(0, &["forget", "--keep-last", "7", "--dry-run"]);
    assert!(out.contains("7 stay, 3 go") && out.contains("would forget 3 snapshots, which alone hold"), "{out}");
    assert_eq!(count(&home), 10);
    let out = home.ends(0, &["forget", "--keep-daily", "3", "--keep-weekly", "all", "--dry-run", "--explain", "--json"]);
    let told = lines(&out).remove(0);
    let group = &told["groups"][0];
    let kept = group["keep"].as_array().unwrap();
    assert!(kept.iter().all(|row| !row["reasons"].as_array().unwrap().is_empty()), "{group}");
    assert_eq!(kept.len() + group["remove"].as_array().unwrap().len(), 10);
    assert!(told["freed_bytes"].as_u64().unwrap() > 0);
    home.ends(0, &["forget", "--keep-last", "7"]);
    assert_eq!(count(&home), 7);
    assert!(home.ends(0, &["forget", "--keep-last", "7"]).contains("nothing to forget"));
    home.ends(0, &["check"]);
}

#[test]
fn guards_refuse_what_looks_like_a_mistake() {
    let home = daily(6);
    let all: Vec<String> = snapshots(&home, &[]).iter().map(id).collect();
    home.ends(25, &["forget"]);
    home.ends(25, &["forget", "--keep-last", "0"]);
    // More than half at once, the last one of a series.
    home.ends(25, &["forget", "--keep-last", "1"]);
    let named: Vec<&str> = ["forget"].into_iter().chain(all.iter().map(String::as_str)).collect();
    home.ends(25, &named);
    assert_eq!(count(&home), 6);
    home.ends(0, &["forget", "--keep-last", "1", "--force"]);
    assert_eq!(count(&home), 1);
    home.ends(25, &["forget", &all[5]]);
    // Backups may have stopped.
    let home = daily(3);
    home.ends(0, &["forget", "--keep-last", "2", "--require-fresh", "2d"]);
    let stale = Home::new();
    for month in ["01", "02", "03"] {
        stale.ends(0, &["backup", "--init", "--quiet", "--time", &format!("2024-{month}-01 00:00:00"), "src"]);
    }
    stale.ends(25, &["forget", "--keep-last", "2", "--require-fresh", "2d"]);
    // Who has seen no run since then cannot tell that from a clock that jumped.
    stale.ends(25, &["--no-cache", "forget", "--keep-last", "2"]);
    stale.ends(0, &["forget", "--keep-last", "2", "--force"]);
}

/// A dry run of what a guard would refuse ended as if all were well.
#[test]
fn a_dry_run_says_what_would_be_refused() {
    let home = daily(6);
    let output = home.run(&["forget", "--keep-last", "1", "--dry-run"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("without --force this is refused: `host"));
    let told = lines(&home.ends(0, &["forget", "--keep-last", "1", "--dry-run", "--json"])).remove(0);
    assert!(told["refusals"][0].as_str().unwrap().contains("would lose 5 of its 6"), "{told}");
    let told = lines(&home.ends(0, &["forget", "--keep-last", "4", "--dry-run", "--json"])).remove(0);
    assert_eq!(told["refusals"].as_array().unwrap().len(), 0);
    let forced = home.run(&["forget", "--keep-last", "1", "--dry-run", "--force"]);
    assert!(forced.status.success() && forced.stderr.is_empty());
}

/// Rules beside `--compat` were dropped without a word, and so was a size that `--simulate` cannot know.
#[test]
fn what_does_not_go_together_is_refused() {
    let home = daily(2);
    for also in [&["--keep-daily", "3"][..], &["--mode", "overlap"], &["--anchor", "newest"], &["--keep-size", "1G"]] {
        home.ends(20, &[&["forget", "--compat", "spatie"], also].concat());
    }
    home.ends(0, &["forget", "--compat", "spatie", "--max-total-size", "1G", "--tz", "Europe/Berlin"]);
    home.ends(20, &["forget", "--keep-size", "1G", "--simulate", "30d"]);
}

/// From a crontab, `--quiet` wrote a mail each night.
#[test]
fn quiet_is_quiet() {
    let home = daily(6);
    assert_eq!(home.ends(0, &["forget", "--keep-last", "4", "--quiet"]), "");
    assert_eq!(count(&home), 4);
    assert!(home.ends(0, &["forget", "--keep-last", "3", "--quiet", "--dry-run"]).contains("no rule keeps it"));
}

/// A snapshot of a clock that was ahead stopped retention of its series for as long as it was in the future, though later runs had the right
/// time again; and a clock that was wrong between two runs was only noticed if a snapshot said so.
#[test]
fn a_clock_is_held_against_the_last_run() {
    let home = daily(5);
    let now = jiff::Timestamp::now();
    let ahead = (now + jiff::SignedDuration::from_hours(48)).to_string();
    home.ends(0, &["backup", "--quiet", "--series", "daily", "--time", &ahead, "src"]);
    home.ends(25, &["forget", "--keep-last", "4"]);
    home.ends(0, &["backup", "--quiet", "--series", "daily", "src"]);
    home.ends(0, &["forget", "--keep-last", "4"]);
    // Four and the one that is dated in the future.
    assert_eq!(count(&home), 5);
    let cache = std::fs::read_dir(home.path(".cache/seabed")).unwrap().next().unwrap().unwrap().path();
    let repository = RepositoryId::from_hex(cache.file_name().unwrap().to_str().unwrap()).unwrap();
    let catalog = Catalog::open(Some(&cache), &repository).unwrap();
    catalog.note_retention(Time { secs: now.as_second() + 2 * 86_400, nanos: 0 }).unwrap();
    let output = home.run(&["forget", "--keep-last", "3"]);
    assert_eq!(output.status.code(), Some(25));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the clock went back"));
    // Whoever knows better says so once.
    home.ends(0, &["forget", "--keep-last", "3", "--force"]);
    home.ends(0, &["forget", "--keep-last", "2"]);
    assert_eq!(count(&home), 3);
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    let home = daily(4);
    let oldest = id(&snapshots(&home, &[])[0]);
    home.ends(0, &["hold", &oldest, "--reason", "before the move"]);
    let list = home.ends(0, &["hold", "--list"]);
    assert!(list.contains(&oldest) && list.contains("before the move"), "{list}");
    home.ends(25, &["forget", &oldest]);
    home.ends(25, &["forget", &oldest, "--force"]);
    home.ends(0, &["forget", "--keep-last", "2"]);
    let left: Vec<String> = snapshots(&home, &[]).iter().map(id).collect();
    assert!(left.len() == 3 && left.contains(&oldest), "{left:?}");
    home.ends(0, &["unhold", &oldest]);
    home.ends(1, &["unhold", &oldest]);
    home.ends(0, &["forget", &oldest]);
    assert_eq!(count(&home), 2);
    // One that ends by itself.
    let newest = id(&snapshots(&home, &[])[1]);
    home.ends(0, &["hold", &newest, "--for", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(home.ends(0, &["hold", "--list"]), "");
}

#[test]
fn what_was_forgotten_comes_back_until_it_is_collected() {
    let home = daily(4);
    let oldest = id(&snapshots(&home, &[])[0]);
    home.ends(0, &["forget", &oldest]);
    let gone = snapshots(&home, &["--forgotten"]);
    assert_eq!(gone.iter().map(id).collect::<Vec<_>>(), std::slice::from_ref(&oldest));
    // Within its grace a collection takes nothing that could come back.
    home.ends(0, &["gc"]);
    let out = home.ends(0, &["undelete", &oldest, "--json"]);
    let back = lines(&out).remove(0)["id"].as_str().unwrap().to_owned();
    assert_eq!(count(&home), 4);
    // It came back once more at every call, and was still listed as forgotten.
    home.ends(1, &["undelete", &oldest]);
    assert!(snapshots(&home, &["--forgotten"]).is_empty());
    home.ends(0, &["restore", &back, "--target", "out"]);
    let text = std::fs::read_to_string(home.path("out").join(home.path("src/day.txt").strip_prefix("/").unwrap())).unwrap();
    assert_eq!(text, "3\n".repeat(2000));
    home.ends(0, &["forget", &back, "--gc", "--grace", "0"]);
    home.ends(1, &["undelete", &back]);
    home.ends(0, &["check", "--read-data"]);
}

#[test]
fn a_collection_says_what_it_will_do_and_does_it() {
    let home = daily(8);
    let bytes = |home: &Home| {
        let out = home.ends(0, &["stats", "--json"]);
        lines(&out).remove(0)["pack_bytes"].as_u64().unwrap()
    };
    home.ends(0, &["forget", "--keep-last", "4"]);
    let before = bytes(&home);
    let planned = lines(&home.ends(0, &["gc", "--grace", "0", "--max-unused", "0", "--dry-run", "--json"])).remove(0);
    assert_eq!(planned["message_type"], "plan");
    assert_eq!(bytes(&home), before);
    let done = lines(&home.ends(0, &["gc", "--grace", "0", "--max-unused", "0", "--json"]));
    assert_eq!(done[0]["message_type"], "plan");
    let summary = &done[1];
    assert_eq!(summary["message_type"], "summary");
    let after = bytes(&home);
    assert!(after < before, "{after} of {before}");
    assert_eq!(summary["pack_bytes"].as_u64().unwrap(), after);
    // Packs are padded; what is said is what goes, to a twentieth of what was there.
    let said = planned["freed_bytes"].as_i64().unwrap();
    assert!((said - (before - after) as i64).unsigned_abs() < before / 20, "said {said}, {before} became {after}");
    home.ends(0, &["check", "--read-data"]);
    let out = home.ends(0, &["prune", "--grace", "0"]);
    assert!(out.contains("nothing to do"), "{out}");
    home.ends(20, &["gc", "--grace", "soon"]);
    home.ends(20, &["gc", "--max-unused", "much"]);
}

#[test]
fn sizes_tell_what_a_snapshot_alone_holds() {
    let home = Home::new();
    home.write("src/same", &"same ".repeat(50_000));
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    // Text that no compression makes small.
    let noise: String = (0..200_000u64).map(|n| char::from(33 + (blake3::hash(&n.to_le_bytes()).as_bytes()[0] % 90))).collect();
    home.write("src/new", &noise);
    home.ends(0, &["backup", "--quiet", "src"]);
    let sizes: Vec<u64> = snapshots(&home, &["--sizes"]).iter().map(|s| s["unique_bytes"].as_u64().unwrap()).collect();
    assert!(sizes[0] < 5000 && sizes[1] > 100_000, "{sizes:?}");
    let stats = lines(&home.ends(0, &["stats", "--json"])).remove(0);
    assert_eq!(stats["snapshots_count"], 2);
    assert!(stats["total_restore_size"].as_u64().unwrap() > stats["total_uncompressed_size"].as_u64().unwrap());
    // What fits: the newest one always.
    home.ends(0, &["forget", "--keep-size", "1", "--force"]);
    assert_eq!(count(&home), 1);
}

#[test]
fn the_future_of_a_policy_can_be_seen() {
    let home = daily(5);
    let out = home.ends(0, &["forget", "--keep-daily", "7", "--keep-weekly", "4", "--simulate", "60d"]);
    assert!(out.contains("one every 24h") && out.contains("at the end:"), "{out}");
    let told = lines(&home.ends(0, &["forget", "--keep-daily", "7", "--simulate", "30d", "--json"])).remove(0);
    let steps = told["groups"][0]["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["kept"], 7, "{told}");
    assert_eq!(count(&home), 5);
}

#[test]
fn spatie_users_get_what_they_had() {
    let home = daily(20);
    home.ends(0, &["forget", "--compat", "spatie=3/4/1/1/1", "--force"]);
    let left = count(&home);
    assert!((7..=11).contains(&left), "{left}");
    home.ends(20, &["forget", "--compat", "restic"]);
}
