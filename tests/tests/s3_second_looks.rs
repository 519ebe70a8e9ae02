//! What was read once and is wrong: on the way, in a copy, or in the store. Who acts on it looks a second time first.

use crate::s3_faults::{World, all};
use seabed_engine::check::check;
use seabed_engine::id::ObjectName;
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_tests::repo::{backup_paths, open, restored};
use seabed_tests::s3_server::{Fault, Operation, Rule};

use Operation::GetObject;

fn garbled(world: &World, folder: &str) -> Vec<Fault> {
    let other = world.keys(if folder == "snapshots/" { "data" } else { "snapshots" }).remove(0);
    vec![Fault::FlipBit(300), Fault::OtherObject(other)]
}

fn data_packs(world: &World) -> usize {
    world.keys("data").len()
}

/// A store refused a body and kept it, and the run was killed before it could take it away. The footer opened: the next run gave the pack a
/// segment and built its snapshot upon it, which nobody could restore.
// Row: 400 BadDigest; bit flips.
#[test]
fn a_pack_that_no_run_vouches_for_is_read_before_it_is_built_upon() {
    let world = World::new();
    world.backup().unwrap();
    let (pack, packs) = (world.keys("data").remove(0), data_packs(&world));
    for folder in ["index", "snapshots"] {
        assert!(world.keys(folder).iter().all(|key| world.server.remove_object(key)));
    }
    world.server.flip_bit(&pack, 8 * 5000);
    let id = world.backup().unwrap();
    assert_eq!(data_packs(&world), packs + 1, "what was garbled is stored anew");
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
}

/// One garbled answer to a `rebuild` took a sound pack out of everybody's index, and the garbled copy in the cache kept it out.
// Rows: other object's bytes; bit flips, once.
#[test]
fn a_rebuild_drops_no_pack_for_one_bad_answer() {
    let world = World::new();
    let id = world.backup().unwrap();
    for folder in ["data/", "names/", "lists/", "index/"] {
        for fault in garbled(&world, folder) {
            let cache = tempfile::tempdir().unwrap();
            world.server.clear_faults();
            let before = world.server.fired();
            world.server.inject(Rule::new(fault.clone()).on(GetObject).key(folder).times(1));
            let report = rebuild(&open(world.store(), Some(cache.path())).unwrap(), &Silent).unwrap();
            assert!(report.damaged.is_empty() && report.unreadable.is_empty(), "{folder} {fault:?}: {report:?}");
            assert_eq!(world.server.fired(), before + 1);
            restored(&open(world.store(), Some(cache.path())).unwrap(), &id, world.source.path()).unwrap();
        }
    }
}

/// A slot that came garbled once was kept in the cache: from then on the right passphrase was a wrong one on this machine.
// Rows: other object's bytes; bit flips, once.
#[test]
fn slots_and_keyrings_that_do_not_open_are_fetched_once_more() {
    let world = World::new();
    world.backup().unwrap();
    for folder in ["slots/", "keyring/"] {
        // Lengths, salts, sealed keys: everything in them matters.
        for bit in (64..1200).step_by(103) {
            let cache = tempfile::tempdir().unwrap();
            world.server.clear_faults();
            world.server.inject(Rule::new(Fault::FlipBit(bit)).on(GetObject).key(folder).times(1));
            open(world.store(), Some(cache.path())).unwrap_or_else(|error| panic!("{folder} bit {bit}: {error}"));
            open(world.store(), Some(cache.path())).unwrap_or_else(|error| panic!("{folder} bit {bit}, from the cache: {error}"));
        }
    }
}

/// An init gave way to another and took its keyring back; the store listed it for minutes. Whoever opened the repository then heard that it
/// was damaged.
// Row: LIST stale: shows what was deleted.
#[test]
fn a_keyring_or_slot_that_is_listed_and_gone_stops_nobody() {
    let world = World::new();
    let id = world.backup().unwrap();
    for folder in ["slots", "keyring"] {
        let key = world.keys(folder).remove(0);
        let gone = [&key[..key.len() - 4], "0000"].concat();
        assert!(gone != key && ObjectName::parse(gone.strip_prefix("x/").unwrap()).is_some());
        world.server.put_object(&gone, b"gone".to_vec());
        world.server.inject(Rule::new(Fault::refuse(404, "NoSuchKey")).on(GetObject).key(gone.as_str()).for_ever());
    }
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
}

/// A bucket policy denied reading for an hour in which a `check` ran: it took every pack for damaged, and the next backup stored
/// everything a second time.
// Row: 403 AccessDenied midway.
#[test]
fn what_may_not_be_read_is_not_taken_for_damaged() {
    let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
    world.backup().unwrap();
    let packs = data_packs(&world);
    world.server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(GetObject).key("data/").for_ever());
    let report = check(&open(world.store(), Some(cache.path())).unwrap(), &all(), &Silent).unwrap();
    assert!(!report.is_clean() && !report.is_damaged(), "{report:?}");
    world.server.clear_faults();
    backup_paths(&open(world.store(), Some(cache.path())).unwrap(), &world.paths).unwrap();
    assert_eq!(data_packs(&world), packs);
}

/// One bit that turned over on the way was a finding, exit code 23 in the middle of the night, and a pack that was stored anew.
// Rows: other object's bytes; bit flips, once.
#[test]
fn a_check_reads_twice_before_it_calls_anything_damaged() {
    let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
    world.backup().unwrap();
    let packs = data_packs(&world);
    for folder in ["seabed", "slots/", "keyring/", "index/", "snapshots/", "data/", "names/", "lists/"] {
        for fault in garbled(&world, folder) {
            // The footer is asked for first, the frames then.
            for skip in 0..2 {
                let repository = open(world.store(), Some(cache.path())).unwrap();
                world.server.inject(Rule::new(fault.clone()).on(GetObject).key(folder).skip(skip).times(1));
                let report = check(&repository, &all(), &Silent).unwrap();
                assert!(report.is_clean(), "{folder} {fault:?}: {report:?}");
                world.server.clear_faults();
            }
        }
    }
    backup_paths(&open(world.store(), Some(cache.path())).unwrap(), &world.paths).unwrap();
    assert_eq!(data_packs(&world), packs, "no pack is under suspicion");
}

/// `snapshots` while a backup of the same machine ended: the snapshot was in the catalog and not in the listing, which had been asked for a
/// moment before, and the store was accused of hiding it.
#[test]
fn a_listing_is_not_short_because_it_is_older_than_the_catalog() {
    let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
    let early = open(world.store(), Some(cache.path())).unwrap();
    backup_paths(&open(world.store(), Some(cache.path())).unwrap(), &world.paths).unwrap();
    let refresh = early.refresh().unwrap();
    assert_eq!((refresh.unlisted, early.catalog().ids().unwrap().len()), (0, 1));
}
