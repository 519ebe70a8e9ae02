//! Sealing anew beside others: who forgets, holds, edits, or seals anew at the same time gets what he asked for, and each snapshot stays once.
//! And what is said to be left under older epochs, is.

use crate::renew::{OLD, Scene, holds, is_clean, owner, removed, rewrite, scene, store_blocks};
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::StoreOp;
use seabed_engine::forget::{forget, hold};
use seabed_engine::format::notes::WHOLE;
use seabed_engine::gc::{GcOptions, LeftBehind, left_behind, plan};
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::keys;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::reseal::reseal;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::{TagEdit, describe, tag};
use seabed_tests::fault_store::FaultStore;
use seabed_tests::repo::{init, open};
use std::sync::Arc;
use std::time::Duration;

fn snapshots(scene: &Scene) -> Vec<Snapshot> {
    let repository = owner(scene);
    repository.refresh().unwrap();
    repository.catalog().snapshots().unwrap()
}

/// What there is of one of the scene's snapshots.
fn of(scene: &Scene, old: usize) -> Vec<Snapshot> {
    let id = owner(scene).id();
    snapshots(scene).into_iter().filter(|snapshot| snapshot.identity(&id).1 == scene.old[old]).collect()
}

/// Its owner's repository, over a store to which things may happen.
fn watched(scene: &Scene) -> (FaultStore, Repository) {
    let store = FaultStore::new(Arc::new(scene.store.clone()));
    let repository = open(Arc::new(store.clone()), None).unwrap();
    repository.refresh().unwrap();
    (store, repository)
}

/// The list of snapshots was taken once, at the beginning of hours: what others forgot since was committed again.
#[test]
fn what_somebody_forgets_meanwhile_does_not_come_back() {
    for point in ["pending", "snapshots", "holds", "forgotten"] {
        let scene = scene();
        let (store, repository) = watched(&scene);
        let (other, id) = (owner(&scene), scene.old[1]);
        store.before(StoreOp::Put, point, move || forget(&other, &[id]).unwrap());
        reseal(&repository, &Silent).unwrap();
        assert!(of(&scene, 1).is_empty(), "{point}");
        let left = of(&scene, 0);
        assert_eq!(left.len(), 1, "{point}");
        holds(&owner(&scene), &left[0].id, OLD[0]);
        rewrite(&owner(&scene), u64::MAX).unwrap();
        is_clean(&owner(&scene));
    }
}

/// Two runs at once committed a successor of each snapshot, and both stayed. Wherever the other one comes in between: one of each, held and
/// tagged as it was.
#[test]
fn two_runs_at_once_leave_each_snapshot_once() {
    for point in ["pending", "snapshots", "holds", "releases", "forgotten"] {
        for op in [StoreOp::Put, StoreOp::List] {
            let scene = scene();
            let (store, repository) = watched(&scene);
            let other = owner(&scene);
            other.refresh().unwrap();
            store.before(op, point, move || drop(reseal(&other, &Silent).unwrap()));
            reseal(&repository, &Silent).unwrap();
            let once_more = owner(&scene);
            once_more.refresh().unwrap();
            reseal(&once_more, &Silent).unwrap();
            for (old, blocks) in OLD.iter().enumerate() {
                let left = of(&scene, old);
                assert_eq!(left.len(), 1, "{point} {op:?}");
                assert_ne!(left[0].id, scene.old[old]);
                holds(&owner(&scene), &left[0].id, blocks);
                let held = owner(&scene).holds(seabed_engine::now()).unwrap();
                assert_eq!(held.contains_key(&left[0].id), old == 0, "{point} {op:?}");
                assert_eq!(left[0].names.tags == ["kept"], old == 1, "{point} {op:?}");
            }
            rewrite(&owner(&scene), u64::MAX).unwrap();
            is_clean(&owner(&scene));
        }
    }
}

/// What was held or edited between the beginning of a run and the tombstone was lost with the old snapshot.
#[test]
fn holds_and_edits_of_meanwhile_go_along() {
    for point in ["pending", "snapshots", "holds", "releases", "forgotten"] {
        let scene = scene();
        let (store, repository) = watched(&scene);
        let (other, id) = (owner(&scene), scene.old[1]);
        store.before(StoreOp::Put, point, move || {
            other.refresh().unwrap();
            hold(&other, &id, "evidence", None).unwrap();
            tag(&other, &[id], &TagEdit { add: vec!["golden".to_owned()], ..TagEdit::default() }).unwrap();
            assert!(describe(&other, &id, "before the fire").unwrap());
        });
        reseal(&repository, &Silent).unwrap();
        let new = of(&scene, 1);
        assert_eq!(new.len(), 1, "{point}");
        assert_eq!((&new[0].names.tags[..], new[0].names.description.as_str()), (&["kept".into(), "golden".into()][..], "before the fire"));
        let held = owner(&scene).holds(seabed_engine::now()).unwrap();
        assert!(held.get(&new[0].id).is_some_and(|holds| holds.iter().any(|(_, hold)| hold.reason == "evidence")), "{point}");
        // A second time nothing is to do, and nothing is put.
        let before = scene.store.list("notes").unwrap().len();
        let repository = owner(&scene);
        repository.refresh().unwrap();
        assert!(reseal(&repository, &Silent).unwrap().replaced.is_empty());
        assert_eq!(scene.store.list("notes").unwrap().len(), before);
    }
}

/// Tags and descriptions that could not be read at that moment were gone for good with the snapshot that they were about.
#[test]
fn a_note_that_cannot_be_read_stops_it() {
    let scene = scene();
    let note = scene.store.list("notes").unwrap().into_iter().map(|listed| listed.name).next().unwrap();
    assert!(scene.store.corrupt(&note, |bytes| *bytes.last_mut().unwrap() ^= 1));
    let (_, repository) = watched(&scene);
    assert!(reseal(&repository, &Silent).unwrap_err().is_damage());
    let ids: Vec<SnapshotId> = snapshots(&scene).iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(ids, scene.old);
}

/// Each snapshot had the whole index read for it, and all that it needs walked: what one of them has made sure of, the next need not.
#[test]
fn many_snapshots_cost_each_what_one_costs() {
    let operations = |count: u64| {
        let memory = MemoryStore::new();
        let repository = init(Arc::new(memory.clone()), None).unwrap();
        for n in 0..count {
            let id = store_blocks(&repository, &[1, 100 + n]);
            hold(&repository, &id, "all of them", None).unwrap();
        }
        keys::rotate(&repository, &[]).unwrap();
        let store = FaultStore::new(Arc::new(memory));
        let repository = open(Arc::new(store.clone()), None).unwrap();
        repository.refresh().unwrap();
        store.schedule(None);
        assert_eq!(reseal(&repository, &Silent).unwrap().replaced.len() as u64, count);
        store.operations()
    };
    let (few, many) = (operations(4), operations(16));
    assert!(many < 5 * few, "{few} for four, {many} for sixteen");
}

/// "Nothing is under an older epoch any more", it said, while a manifest of a run under way was, notes of checks, and young packs that
/// nobody needs: all of it lay there for whoever had kept the old keyring.
#[test]
fn what_is_left_under_older_epochs_is_counted() {
    let store = MemoryStore::new();
    // One that tells how old things are.
    store.set_now(100 * 86_400 * 1_000_000_000);
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let added = keys::add(&repository, &removed(), "laptop", (8, 1, 1)).unwrap();
    let goes = store_blocks(&repository, &[1, 2]);
    store_blocks(&repository, &[3]);
    // A check leaves a note about the repository as a whole.
    is_clean(&repository);
    assert_eq!(repository.notes_about(&WHOLE).unwrap().len(), 1);
    forget(&repository, &[goes]).unwrap();
    keys::rotate(&repository, &[added.id]).unwrap();
    // A backup that began before it goes on under the old keys.
    repository.refresh().unwrap();
    let Snapshot { mut index, names, .. } = repository.catalog().snapshots().unwrap().remove(0);
    index.snapshot = SnapshotId::new([5; 32]);
    repository.put_manifest(&ObjectName::pending(&index.snapshot, 0), &index, &names).unwrap();
    drop(repository);

    let repository = open(Arc::new(store.clone()), None).unwrap();
    let packs = ["data", "names", "lists"].iter().map(|folder| store.list(folder).unwrap().len() as u64).sum::<u64>();
    let options = GcOptions { grace: Duration::from_secs(3600), renew: Some(u64::MAX), ..GcOptions::default() };
    repository.refresh().unwrap();
    assert_eq!(plan(&repository, &options, &Silent).unwrap().figures.renew_left_packs, packs, "needed or not");
    rewrite(&repository, u64::MAX).unwrap();
    let left = left_behind(&repository).unwrap();
    assert_eq!((left.pendings, left.notes, left.segments), (1, 0, 0));
    assert_eq!(repository.notes_about(&WHOLE).unwrap().len(), 1, "what was verified is known still");
    // Once the run has ended there is nothing.
    store.delete(&ObjectName::pending(&index.snapshot, 0)).unwrap();
    assert_eq!(left_behind(&repository).unwrap(), LeftBehind::default());
}

/// A collection that dies between a manifest and the notes about it leaves these, and the next one had no manifest to delete: a tag of a
/// snapshot that was gone could be read with the old keys for ever.
#[test]
fn notes_that_a_dead_collection_left_are_sealed_anew() {
    let scene = scene();
    rewrite(&owner(&scene), u64::MAX).unwrap();
    let old = owner(&scene);
    old.refresh().unwrap();
    let id = of(&scene, 1)[0].id;
    tag(&old, &[id], &TagEdit { add: vec!["late".to_owned()], ..TagEdit::default() }).unwrap();
    forget(&old, &[id]).unwrap();
    keys::rotate(&old, &[]).unwrap();
    scene.store.delete(&ObjectName::snapshot(&id)).unwrap();
    let repository = owner(&scene);
    assert_eq!(left_behind(&repository).unwrap().notes, 1);
    rewrite(&repository, u64::MAX).unwrap();
    assert_eq!(left_behind(&repository).unwrap(), LeftBehind::default());
}
