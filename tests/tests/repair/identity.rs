//! A snapshot that comes back is the one that it was: held as it was, with the tags that it had, known to its copies, and remembered until then.

use super::{BREAKS, Fixture, checked, collected, opened, readable, repaired, whole};
use crate::faults::copy as fork;
use seabed_engine::copy::{CopyOptions, copy, plan};
use seabed_engine::error::Error;
use seabed_engine::forget::{forget, forget_lost, hold, lost, unhold};
use seabed_engine::format::manifest::REPAIR;
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::tag::{TagEdit, describe, tag};
use seabed_tests::repo::{open, secret};
use std::sync::Arc;

/// The manifest rotted of a snapshot that was held. It came back under another id, which nobody held, and the next policy forgot it; tags that
/// it had been given since the copy was made were gone too.
#[test]
fn what_was_held_and_tagged_is_so_when_it_is_back() {
    let fixture = Fixture::new();
    let (old, twin) = (fixture.snapshots[1], fixture.fork());
    let repository = opened(&fixture.store);
    repository.refresh().unwrap();
    hold(&repository, &old, "audit", None).unwrap();
    tag(&repository, &[old], &TagEdit { add: vec!["golden".into()], ..TagEdit::default() }).unwrap();
    describe(&repository, &old, "before the migration").unwrap();
    for damage in BREAKS {
        // The notes and the hold may be hurt as well: a copy has these.
        for hurt in [None, Some("notes"), Some("holds")] {
            let (store, later) = (fixture.fork(), fixture.fork());
            for listed in hurt.map(|folder| store.list(folder).unwrap()).unwrap_or_default() {
                BREAKS[2](&store, &listed.name);
            }
            damage(&store, &ObjectName::snapshot(&old));
            assert!(later.remove(&ObjectName::snapshot(&old)));
            let report = repaired(&opened(&store), &[&opened(&later), &opened(&twin)], None);
            let (was, new) = report.snapshots_back[0];
            assert!(was == old && report.is_whole(), "{hurt:?} {report:?}");
            let repository = opened(&store);
            repository.refresh().unwrap();
            let holds = repository.holds(seabed_engine::now()).unwrap();
            assert!(holds.contains_key(&new) && !holds.contains_key(&old), "{hurt:?} {holds:?}");
            let names = repository.select(&new.to_string(), &Default::default()).unwrap().snapshot.names;
            assert_eq!((&names.tags[..], &*names.description), (&["golden".to_owned()][..], "before the migration"), "{hurt:?}");
            assert!(matches!(forget(&repository, &[new]), Err(Error::Refused { .. })));
            assert_eq!(unhold(&repository, &new).unwrap(), 1);
            forget(&repository, &[new]).unwrap();
            assert!(checked(&opened(&store)).is_clean());
        }
    }
}

/// The fixture and a place to which it was copied.
fn two_places(fixture: &Fixture) -> Arc<MemoryStore> {
    let there = Arc::new(MemoryStore::new());
    let (from, init) = (opened(&fixture.store), InitOptions { kdf: (8, 1, 1), ..InitOptions::default() });
    let to = Repository::init_sibling(there.clone(), &from, &secret(), &init, &OpenOptions::default()).unwrap();
    let planned = planned(&from, &to);
    assert_eq!(copy(&from, &to, planned, &CopyOptions::default(), &Silent).unwrap().copied.len(), 2);
    there
}

fn planned(from: &Repository, to: &Repository) -> seabed_engine::copy::CopyPlan {
    from.refresh().unwrap();
    to.refresh().unwrap();
    let snapshots = from.catalog().snapshots().unwrap();
    plan(from, to, &snapshots, &CopyOptions::default(), &Silent).unwrap()
}

/// The copy of a snapshot.
fn copy_of(repository: &Repository, first: &SnapshotId) -> SnapshotId {
    repository.refresh().unwrap();
    let snapshots = repository.catalog().snapshots().unwrap();
    snapshots.iter().find(|snapshot| snapshot.names.origin.as_ref().is_some_and(|origin| origin.snapshot == *first)).unwrap().id
}

/// A copy whose manifest was brought back was one of nothing any more: each side brought the other one what it had already. And the original
/// did not know the copy whose manifest had to be healed.
#[test]
fn a_copy_stays_one_and_its_original_heals_it() {
    let fixture = Fixture::new();
    let there = two_places(&fixture);
    let first = fixture.snapshots[0];
    let home = opened(&fixture.store).id();
    let nothing_to_copy = |a: &Arc<MemoryStore>, b: &Arc<MemoryStore>| {
        let (a, b) = (opened(a), opened(b));
        assert!(planned(&a, &b).new.is_empty() && planned(&b, &a).new.is_empty());
    };
    let is_back = |store: &Arc<MemoryStore>, new: &SnapshotId| {
        let repository = opened(store);
        repository.refresh().unwrap();
        let origin = repository.select(&new.to_string(), &Default::default()).unwrap().snapshot.names.origin.unwrap();
        assert_eq!((origin.repository, origin.snapshot, &*origin.how), (home, first, REPAIR));
        assert!(checked(&repository).is_clean());
        collected(store).unwrap();
    };
    // Who remembers it.
    let store = fork(&there);
    let cache = tempfile::tempdir().unwrap();
    let old = copy_of(&open(store.clone(), Some(cache.path())).unwrap(), &first);
    assert!(store.remove(&ObjectName::snapshot(&old)));
    let report = repaired(&open(store.clone(), Some(cache.path())).unwrap(), &[], None);
    is_back(&store, &report.snapshots_back[0].1);
    nothing_to_copy(&fixture.store, &store);
    // The original, by what still opens of the copy: its names come last.
    let store = fork(&there);
    assert!(store.corrupt(&ObjectName::snapshot(&old), |bytes| *bytes.last_mut().unwrap() ^= 1));
    let report = repaired(&opened(&store), &[&opened(&fixture.store)], None);
    assert!(report.is_whole() && report.snapshots_back[0].0 == old, "{report:?}");
    is_back(&store, &report.snapshots_back[0].1);
    nothing_to_copy(&fixture.store, &store);
    // And the copy heals the original, twice: what came back once has another id than the copy says.
    let store = fork(&fixture.store);
    assert!(store.remove(&ObjectName::snapshot(&first)));
    let report = repaired(&opened(&store), &[&opened(&there)], None);
    let (was, back) = report.snapshots_back[0];
    assert_eq!(was, first);
    assert!(store.corrupt(&ObjectName::snapshot(&back), |bytes| *bytes.last_mut().unwrap() ^= 1));
    let report = repaired(&opened(&store), &[&opened(&there)], None);
    assert!(report.is_whole() && report.snapshots_back[0].0 == back, "{report:?}");
    is_back(&store, &report.snapshots_back[0].1);
    nothing_to_copy(&store, &there);
    // What a copy has brought back before anybody repaired is not brought back once more.
    let store = fork(&fixture.store);
    assert!(store.remove(&ObjectName::snapshot(&first)));
    {
        let (from, to) = (opened(&there), opened(&store));
        let planned = planned(&from, &to);
        assert_eq!(copy(&from, &to, planned, &CopyOptions::default(), &Silent).unwrap().copied.len(), 1);
    }
    assert!(repaired(&opened(&store), &[&opened(&there)], None).is_whole());
    whole("copied back", &store, &fixture);
}

/// The manifest of a snapshot was gone. The nightly backup said so and took it out of the catalog, and the repair of the morning had nothing to
/// bring it back from.
#[test]
fn what_is_lost_is_remembered_until_it_is_back_or_given_up() {
    let fixture = Fixture::new();
    let want: Vec<_> = fixture.snapshots.iter().map(|id| readable(&opened(&fixture.store), id)).collect();
    let [first, second] = fixture.snapshots[..] else { panic!() };
    for gone in [vec![first], vec![second], vec![first, second]] {
        for remade in [false, true] {
            let what = format!("{} gone, rebuilt: {remade}", gone.len());
            let (store, cache) = (fixture.fork(), tempfile::tempdir().unwrap());
            let at = || open(store.clone(), Some(cache.path())).unwrap();
            at().refresh().unwrap();
            gone.iter().for_each(|id| assert!(store.remove(&ObjectName::snapshot(id))));
            assert_eq!(at().refresh().unwrap().lost, gone.len() as u64, "{what}");
            // It is said once, and not shown.
            let night = at();
            assert_eq!(night.refresh().unwrap().lost, 0, "{what}");
            assert!(gone.iter().all(|id| !night.catalog().ids().unwrap().contains(id)), "{what}");
            if remade {
                rebuild(&night, &Silent).unwrap();
            }
            let report = repaired(&at(), &[], None);
            assert_eq!(report.snapshots_back.len(), gone.len(), "{what}: {report:?}");
            assert!(report.is_whole(), "{what}: {report:?}");
            whole(&what, &store, &fixture);
            assert!(at().catalog().lost_ids().unwrap().is_empty(), "{what}");
        }
    }
    // One that does not open is in the catalog until that is made anew.
    let (store, cache) = (fixture.fork(), tempfile::tempdir().unwrap());
    let at = || open(store.clone(), Some(cache.path())).unwrap();
    at().refresh().unwrap();
    BREAKS[1](&store, &ObjectName::snapshot(&second));
    assert_eq!(rebuild(&at(), &Silent).unwrap().unreadable.len(), 1);
    let report = repaired(&at(), &[], None);
    assert_eq!(readable(&opened(&store), &report.snapshots_back[0].1), want[1]);
    whole("rotten", &store, &fixture);
    // Whoever accepts the loss is not reminded of it.
    let (store, cache) = (fixture.fork(), tempfile::tempdir().unwrap());
    let at = || open(store.clone(), Some(cache.path())).unwrap();
    at().refresh().unwrap();
    assert!(store.remove(&ObjectName::snapshot(&second)));
    at().refresh().unwrap();
    assert_eq!(at().catalog().lost_ids().unwrap().into_iter().collect::<Vec<_>>(), [second]);
    forget_lost(&at(), &lost(&at()).unwrap()).unwrap();
    at().refresh().unwrap();
    assert!(at().catalog().lost_ids().unwrap().is_empty() && checked(&at()).is_clean());
    assert!(repaired(&at(), &[], None).snapshots_back.is_empty());
}
