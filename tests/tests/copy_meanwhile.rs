//! What happens to copies while they are made, and in packs that they come from: one bad byte, a collection of either side, other writers.

use crate::copy::{all, bring, gc, holds, new_data_pack, overtaken_between_plan_and_commit, second, snapshot, source, try_some};
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::StoreOp;
use seabed_engine::forget::forget;
use seabed_engine::format::manifest::Head;
use seabed_engine::id::{SnapshotId, WriterId};
use seabed_engine::repository::Repository;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::FaultStore;
use seabed_tests::repo::open;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// One byte turned over in a pack of some frames, and no snapshot that shared any chunk of it was copied: of a pack that was not what its name
/// says all was taken for lost.
#[test]
fn a_bad_byte_costs_those_that_need_its_frame() {
    let (store, from) = source();
    // Blocks of 40 kB, frames of a MiB: three of them in one pack.
    let blocks: Vec<u64> = (1..=60).collect();
    let whole = snapshot(&from, &blocks);
    let pack = new_data_pack(&store, &BTreeSet::new());
    let [begins, middle, end] = [&[2][..], &[30, 31], &[59]].map(|blocks| snapshot(&from, blocks));
    assert!(store.corrupt(&pack, |bytes| bytes[100] ^= 1));
    let (there, to) = second(&from);
    let report = try_some(&from, &to, &all(&from)).unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    let failed: BTreeSet<SnapshotId> = report.failed.iter().map(|(id, _)| *id).collect();
    assert_eq!(failed, [whole, begins].into());
    assert!(report.failed.iter().all(|(_, error)| error.is_damage() && error.to_string().contains(pack.as_str())), "{report:?}");
    let copied: BTreeMap<SnapshotId, SnapshotId> = report.copied.into_iter().collect();
    assert_eq!(copied.len(), 2);
    holds(Arc::new(there.clone()), &copied[&middle], &[30, 31]);
    holds(Arc::new(there), &copied[&end], &[59]);
    // The same where frames were to be taken one by one from the start.
    let (there, to) = second(&from);
    let few: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| [begins, middle].contains(&snapshot.id)).collect();
    let report = try_some(&from, &to, &few).unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    assert_eq!(report.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [begins]);
    holds(Arc::new(there), &report.copied[0].1, &[30, 31]);
}

/// A copy into another family ended with the first snapshot that somebody forgot and collected in the source, "failed, nothing stored" after
/// hundreds of commits; among kin such a one counted as damage.
#[test]
fn what_is_forgotten_in_the_source_meanwhile_is_said_and_no_more() {
    for is_kin in [true, false] {
        let (store, maker) = source();
        let goes = snapshot(&maker, &[1, 2]);
        let stays = snapshot(&maker, &[3]);
        let faulty = FaultStore::new(Arc::new(store.clone()));
        let from = open(Arc::new(faulty.clone()), None).unwrap();
        let chosen = all(&from);
        let (there, to) = if is_kin { second(&from) } else { source() };
        faulty.before(StoreOp::Get, "data", move || {
            forget(&maker, &[goes]).unwrap();
            gc(&maker);
        });
        let report = try_some(&from, &to, &chosen).unwrap();
        assert!(report.stopped.is_none() && report.failed.is_empty(), "{is_kin}: {report:?}");
        assert_eq!(report.forgotten, [goes], "{is_kin}");
        assert_eq!(report.copied.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [stays], "{is_kin}");
        holds(Arc::new(there), &report.copied[0].1, &[3]);
    }
}

/// Between plan and commit the target, of another family, forgets and collects what the copy relies on: that ended it at once.
#[test]
fn a_collection_of_a_target_of_another_family_overtakes_nothing() {
    overtaken_between_plan_and_commit(|_| source());
}

/// A copy said that it was written when its original was: a check beside a running copy of an old snapshot took its pending for what a run
/// had left that died months ago. Its parent was one that the target does not have.
#[test]
fn a_copy_is_as_old_as_it_is() {
    let (_, from) = source();
    snapshot(&from, &[1]);
    snapshot(&from, &[1, 2]);
    let (_, to) = second(&from);
    let before = seabed_engine::now();
    bring(&from, &to);
    assert!(all(&from)[1].names.parent.is_some());
    for (old, new) in all(&from).iter().zip(all(&to)) {
        assert!(old.index.finished < before && new.index.finished >= before);
        assert_eq!((new.names.parent, new.index.started, new.index.time), (None, old.index.started, old.index.time));
    }
}

/// What every manifest of `own` should list, from all that the manifests say.
fn heads(repository: &Repository, own: &WriterId) -> Vec<Head> {
    let snapshots = all(repository);
    let vouched: HashSet<SnapshotId> =
        snapshots.iter().flat_map(|s| s.index.heads.iter().map(|head| head.snapshot).chain(s.index.previous)).collect();
    let mut newest: BTreeMap<WriterId, Head> = BTreeMap::new();
    for Snapshot { id, index, .. } in &snapshots {
        let head = Head { writer: index.writer, sequence: index.sequence, snapshot: *id, extra: Vec::new() };
        if newest.get(&index.writer).is_none_or(|old| old.sequence < head.sequence) {
            newest.insert(index.writer, head);
        }
    }
    newest.into_values().filter(|head| head.writer != *own && !vouched.contains(&head.snapshot)).collect()
}

/// Every commit decoded every manifest of the catalog to learn which heads to list: ten thousand snapshots were copied with fifty million
/// of that. Now columns tell, and they must tell the same.
#[test]
fn the_heads_that_a_manifest_lists_are_those_that_nobody_vouches_for() {
    let store = MemoryStore::new();
    let first = seabed_tests::repo::init(Arc::new(store.clone()), None).unwrap();
    snapshot(&first, &[1]);
    // Each has a writer of its own, and sees what the others do only when it makes something itself; one only looks.
    let hosts: Vec<Repository> = (0..5).map(|_| open(Arc::new(store.clone()), None).unwrap()).collect();
    let looks = open(Arc::new(store.clone()), None).unwrap();
    let agree = || {
        for writer in hosts.iter().map(Repository::writer).chain([first.writer(), looks.writer()]) {
            let heads = heads(&looks, &writer);
            assert_eq!(looks.catalog().frontier(&writer).unwrap(), heads);
        }
    };
    let mut made = Vec::new();
    for (n, at) in (10..).zip([0, 1, 2, 2, 0, 3, 4, 1]) {
        made.push(snapshot(&hosts[at], &[1, n]));
        agree();
    }
    // What vouched for others may go, and then they stand for themselves again.
    for id in made {
        forget(&first, &[id]).unwrap();
        agree();
    }
}
