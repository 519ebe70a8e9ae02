use seabed_engine::faults::seed;
use seabed_tests::schedule::explore::explore;
use seabed_tests::schedule::scenes::{SCENES, Scenes};
use std::time::Instant;

const FAULTS: [&str; 33] = [
    "no-final-check",
    "no-check",
    "check-before-put",
    "no-remark",
    "remark-before-record",
    "own-only",
    "late-record-deleted",
    "reuse-kept",
    "drop-records",
    "kept-no-copy",
    "unindexed-witness",
    "ghost-witness",
    "orphan-unread",
    "merge-drops-absent",
    "merge-deletes-first",
    "merge-deletes-all",
    "leaf-unchecked",
    "undelete-by-removal",
    "undelete-no-check",
    "same-id",
    "skip-unreadable",
    "seg-before-pack",
    "rescue-unindexed",
    "record-unconfirmed",
    "no-pending",
    "resumer-deletes",
    "giveup-deletes-pending",
    "pending-aborts",
    "own-records-only-deleted",
    "records-before-index",
    "fold-page-order",
    "short-records-trusted",
    "short-roots-trusted",
];

#[test]
fn search() {
    let scenes = Scenes::new();
    let only = std::env::var("FAULT").ok();
    let scene = std::env::var("ONLY").ok();
    let limit = std::env::var("LIMIT").map_or(400, |n| n.parse().unwrap());
    for fault in FAULTS.into_iter().filter(|f| only.as_ref().is_none_or(|o| o.split(',').any(|o| o == *f))) {
        let mut caught = false;
        let began = Instant::now();
        let mut all = 0;
        for (name, _) in SCENES.iter().filter(|(n, _)| scene.as_ref().is_none_or(|s| s == n)) {
            seed(None);
            let s = scenes.get(name);
            seed(Some(fault));
            let found = explore(&s, limit);
            all += found.schedules;
            if let Some(failure) = found.failure {
                let why: String = failure.why.chars().take(150).collect();
                println!(
                    "{fault}: {name} after {} ({all} in all, {:?}): {} interventions: {why}",
                    found.schedules,
                    began.elapsed(),
                    failure.script.len()
                );
                if only.is_some() {
                    println!("{failure}");
                }
                caught = true;
                if std::env::var("ALL").is_err() {
                    break;
                }
            }
        }
        if !caught {
            println!("{fault}: NOT CAUGHT in {all} ({:?})", began.elapsed());
        }
    }
    seed(None);
}
