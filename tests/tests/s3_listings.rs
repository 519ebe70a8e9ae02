//! Listings that end at a page's edge, and listings that are short and do not say so: nothing that one of them leaves out is gone for the
//! next run. What the ledger says is what a later collection has to go by.

use crate::s3::store;
use crate::s3_faults::{World, all};
use seabed_engine::check::{CheckReport, Warning, check};
use seabed_engine::error::{Error, Kind};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::store::Store;
use seabed_tests::repo::{backup_paths, open, restored};
use seabed_tests::s3_server::{Fault, ListFault, Operation, Rule, S3Server};
use seabed_tests::trees::{capture, differences, noise};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use Operation::ListObjectsV2;

/// Leaves out all keys that contain one of these, without a word.
fn hide(world: &World, parts: &[&str]) {
    let parts = parts.iter().map(|part| (*part).to_owned()).collect();
    world.server.inject(Rule::new(Fault::List(ListFault::Without(parts))).on(ListObjectsV2).for_ever());
}

fn change(world: &World, n: u64) {
    fs::write(world.source.path().join("f1"), noise(100 + n, 150_000)).unwrap();
}

fn report(world: &World, cache: Option<&Path>) -> CheckReport {
    check(&open(world.store(), cache).unwrap(), &all(), &Silent).unwrap()
}

/// The snapshots that a check misses by name, and whether it sees a gap.
fn missed(report: &CheckReport) -> (BTreeSet<SnapshotId>, bool) {
    let ids = report.findings.iter().filter_map(|f| if let Error::SnapshotLost { snapshot } = f.error { Some(snapshot) } else { None });
    (ids.collect(), report.findings.iter().any(|f| matches!(f.error, Error::LedgerGap { .. })))
}

/// How many objects of a folder a check found that the listing leaves out.
fn left_out(report: &CheckReport, folder: &str) -> u64 {
    assert!(report.is_clean(), "{report:?}");
    let counts = report.warnings.iter().map(|w| if let Warning::ListingShort { folder: f, count } = w { (*f, *count) } else { ("", 0) });
    counts.filter(|(f, _)| *f == folder).map(|(_, count)| count).sum()
}

#[test]
fn listings_end_where_they_end() {
    for objects in [0usize, 1, 999, 1000, 1001, 2000, 2001] {
        let server = S3Server::start();
        for n in 0..objects {
            server.put_object(&format!("x/index/{n:04x}"), "x");
        }
        let listed = store(&server, "x").list("index").unwrap();
        assert_eq!(listed.len(), objects);
        assert!(listed.iter().enumerate().all(|(n, object)| object.name.as_str() == format!("index/{n:04x}")));
        assert_eq!(server.log().len(), objects.div_ceil(1000).max(1), "{objects}");
    }
}

// Row: delete while listing: a pager that has lost its place begins from the top, and the listing is made anew.
#[test]
fn an_object_deleted_while_it_marks_the_page_costs_a_new_listing() {
    let server = S3Server::start();
    server.behave(|b| (b.page_keys, b.restart_when_marker_gone) = (4, true));
    for n in 0..10 {
        server.put_object(&format!("x/index/{n:02}"), "x");
    }
    // The second page waits, and its marker goes meanwhile.
    server.inject(Rule::new(Fault::StallBefore).on(ListObjectsV2).skip(1).times(1));
    let store = store(&server, "x");
    let listed = std::thread::scope(|scope| {
        let listing = scope.spawn(|| store.list("index").unwrap());
        server.wait_until(|log| log.len() == 2 && log[1].fault.is_some());
        assert!(server.remove_object("x/index/03"));
        server.release_stalls();
        listing.join().unwrap()
    });
    let names: Vec<String> = listed.iter().map(|object| object.name.to_string()).collect();
    let want: Vec<String> = (0..10).filter(|n| *n != 3).map(|n| format!("index/{n:02}")).collect();
    assert_eq!(names, want);
}

// Row: LIST short with IsTruncated=false, for every folder: the run commits or says why not, and a full listing shows everything.
#[test]
fn what_a_short_listing_leaves_out_is_there_again() {
    for folder in ["snapshots", "index", "data", "names", "lists", "pending", "forgotten", "records", "slots", "keyring", "features"] {
        // Without a cache there is less to remember, and nothing else to go wrong: for those that matter most.
        for cached in [false, true].into_iter().filter(|cached| *cached || matches!(folder, "snapshots" | "index" | "data")) {
            let what = format!("{folder}, {}", if cached { "with a cache" } else { "without" });
            let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
            let cache = cached.then_some(cache.path());
            let mut made = Vec::new();
            for n in 0..2 {
                change(&world, n);
                let id = backup_paths(&open(world.store(), cache).unwrap(), &world.paths).unwrap().snapshot.unwrap();
                made.push((id, capture(world.source.path(), false)));
            }
            let objects = world.server.objects();
            hide(&world, &[&format!("x/{folder}/")]);
            change(&world, 2);
            match open(world.store(), cache) {
                Ok(repository) => {
                    let run = backup_paths(&repository, &world.paths).unwrap_or_else(|e| panic!("{what}: {e}"));
                    made.push((run.snapshot.unwrap(), capture(world.source.path(), false)));
                }
                Err(error) => {
                    assert!(matches!(folder, "slots" | "keyring"), "{what}: {error}");
                    assert!(matches!(error.kind(), Kind::WrongKey | Kind::Damage), "{what}: {error}");
                }
            }
            world.server.clear_faults();
            let now = world.server.objects();
            assert!(objects.iter().all(|(key, bytes)| now.get(key) == Some(bytes)), "{what}: nothing was removed or changed");
            let repository = open(world.store(), cache).unwrap();
            assert!(repository.refresh().unwrap().unreadable.is_empty());
            let ids: BTreeSet<SnapshotId> = repository.catalog().ids().unwrap().into_iter().collect();
            assert_eq!(ids, made.iter().map(|(id, _)| *id).collect(), "{what}");
            for (id, want) in &made {
                let have = restored(&repository, id, world.source.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(differences(want, &have), [""; 0], "{what}");
            }
            let report = report(&world, cache);
            assert!(report.is_clean(), "{what}: {report:?}");
        }
    }
}

// Row: LIST short with IsTruncated=false: the ledger tells, by a successor and by who remembers.
#[test]
fn check_misses_what_a_listing_leaves_out() {
    let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
    let remembering = Some(cache.path());
    let mut ids = Vec::new();
    for n in 0..3 {
        change(&world, n);
        ids.push(backup_paths(&open(world.store(), remembering).unwrap(), &world.paths).unwrap().snapshot.unwrap());
    }
    let nothing = (BTreeSet::new(), false);
    assert_eq!(left_out(&report(&world, remembering), "snapshots"), 0);
    // One in the middle: its successor names it.
    hide(&world, &[&ids[1].to_string()]);
    assert_eq!(left_out(&report(&world, None), "snapshots"), 1);
    world.server.clear_faults();
    // The last one: only who has seen it can know.
    hide(&world, &[&ids[2].to_string()]);
    assert_eq!(left_out(&report(&world, None), "snapshots"), 0);
    assert_eq!(left_out(&report(&world, remembering), "snapshots"), 1);
    world.server.clear_faults();
    hide(&world, &["x/snapshots/"]);
    assert_eq!(left_out(&report(&world, remembering), "snapshots"), 3);
    world.server.clear_faults();
    let pack = world.keys("data").remove(0);
    hide(&world, &[&pack]);
    assert_eq!(left_out(&report(&world, None), "data"), 1);
    world.server.clear_faults();
    assert_eq!(missed(&report(&world, remembering)), nothing);
    // What is not there when it is asked for by name is lost.
    world.server.remove_object(&format!("x/snapshots/{}", ids[1]));
    assert_eq!(missed(&report(&world, None)).0, BTreeSet::from([ids[1]]));
    world.server.remove_object(&format!("x/snapshots/{}", ids[2]));
    assert_eq!(missed(&report(&world, remembering)).0, BTreeSet::from([ids[1], ids[2]]));
    for pack in world.keys("data") {
        world.server.remove_object(&pack);
    }
    assert!(report(&world, None).is_damaged());
}

/// Number, predecessor and heads of a new manifest were taken from what the listing showed: the numbers forked, and a later collection under the
/// same short listing would have seen no gap.
// Row: LIST short: a run that remembers more than the listing shows vouches for it, so that a later collection sees the gap.
#[test]
fn a_run_under_a_short_listing_vouches_for_what_it_remembers() {
    let (world, caches) = (World::new(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let run = |cache: &tempfile::TempDir, n| {
        change(&world, n);
        backup_paths(&open(world.store(), Some(cache.path())).unwrap(), &world.paths).unwrap().snapshot.unwrap()
    };
    let own = [run(&caches[0], 0), run(&caches[0], 1)];
    let other = run(&caches[1], 2);
    open(world.store(), Some(caches[0].path())).unwrap().refresh().unwrap();
    hide(&world, &[&own[1].to_string(), &other.to_string()]);
    run(&caches[0], 3);
    // The same listing again, to somebody who has seen nothing else: the new manifest is all that can tell.
    assert_eq!(left_out(&report(&world, None), "snapshots"), 2, "its own predecessor, another writer's newest");
}
