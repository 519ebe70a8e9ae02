//! What snapshots take, and what goes with them: figures of a dry run against what the store has afterwards.

use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::StoreOp;
use seabed_engine::forget::forget;
use seabed_engine::gc::{GcOptions, MaxUnused, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::undelete::undelete;
use seabed_engine::usage::{freed, usage};
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, init, open, options};
use seabed_tests::trees::noise;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Lines that compress about four times, the same for the same number.
fn rows(n: u64, bytes: usize) -> Vec<u8> {
    let line =
        |i: u64| format!("{n}\tcustomer {}\tpaid\t2026-11-{:02}\n", blake3::hash(&(n << 32 | i).to_le_bytes()).as_bytes()[0], i % 28);
    (0..).flat_map(|i| line(i).into_bytes()).take(bytes).collect()
}

/// A snapshot of streams: those with an even number do not compress, the others do.
fn store_blocks(repository: &Repository, blocks: impl IntoIterator<Item = u64>) -> SnapshotId {
    let mut options = options(&[]);
    let block = |n: u64| if n.is_multiple_of(2) { noise(n, 120_000) } else { rows(n, 200_000) };
    options.streams = blocks.into_iter().map(|n| bytes_stream(&format!("s{n}"), block(n))).collect();
    backup(repository, options, &Silent).unwrap().snapshot.unwrap()
}

fn bytes_in_packs(store: &MemoryStore) -> u64 {
    ["data", "names", "lists"].iter().flat_map(|folder| store.list(folder).unwrap()).map(|object| object.bytes).sum()
}

/// What is said to go, and what goes with a thorough collection.
fn said_and_freed(store: &MemoryStore, repository: &Repository, gone: &[SnapshotId]) -> (u64, u64) {
    repository.refresh().unwrap();
    let all = repository.catalog().snapshots().unwrap();
    let pending = repository.pendings(&all.iter().map(|s| s.id).collect()).unwrap();
    let (going, kept): (Vec<Snapshot>, Vec<Snapshot>) = all.into_iter().partition(|s| gone.contains(&s.id));
    let before = bytes_in_packs(store);
    let said = freed(repository, &kept, &pending, &going, &Silent).unwrap();
    assert_eq!(bytes_in_packs(store), before, "looking changes nothing");
    forget(repository, gone).unwrap();
    repository.refresh().unwrap();
    let options = GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), threads: 1, ..GcOptions::default() };
    collect(repository, plan(repository, &options, &Silent).unwrap(), &Silent).unwrap();
    (said, before - bytes_in_packs(store))
}

/// A dry run said 17 % less than what went: of a frame that held text beside noise, each chunk was given the part that its plaintext was of
/// the whole, and of headers, footers and padding nothing.
#[test]
fn what_a_dry_run_says_goes() {
    for (first, kept) in [(0..200, 150..200), (0..200, 40..200), (0..60, 30..90)] {
        let store = MemoryStore::new();
        let repository = init(Arc::new(store.clone()), None).unwrap();
        let gone = store_blocks(&repository, first.clone());
        // What stays is scattered over the frames of what goes: nearly all have to be made anew.
        let scattered: BTreeSet<u64> = kept.clone().chain(first.clone().filter(|n| n % 5 == 0)).collect();
        store_blocks(&repository, scattered);
        let (said, freed) = said_and_freed(&store, &repository, &[gone]);
        assert!((said as f64 / freed as f64 - 1.0).abs() < 0.05, "{first:?}, {kept:?}: said {said}, freed {freed}");
    }
}

#[test]
fn whole_packs_are_exact() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let ids: Vec<SnapshotId> = (0..3).map(|n| store_blocks(&repository, n * 100..n * 100 + 20)).collect();
    repository.refresh().unwrap();
    let all = repository.catalog().snapshots().unwrap();
    let usage = usage(&repository, (&all, false), &[], &Silent).unwrap();
    // Of a repository without garbage every byte belongs to some snapshot, and here to one alone.
    assert_eq!(usage.needed, bytes_in_packs(&store));
    assert_eq!(usage.unique.values().sum::<u64>(), bytes_in_packs(&store));
    assert_eq!(usage.further.iter().map(|(_, bytes)| bytes).sum::<u64>(), bytes_in_packs(&store));
    let said: u64 = ids[..2].iter().map(|id| usage.unique[id]).sum();
    let before = bytes_in_packs(&store);
    let kept: Vec<Snapshot> = all.iter().filter(|s| s.id == ids[2]).cloned().collect();
    let gone: Vec<Snapshot> = all.iter().filter(|s| s.id != ids[2]).cloned().collect();
    assert_eq!(freed(&repository, &kept, &[], &gone, &Silent).unwrap(), said);
    forget(&repository, &ids[..2]).unwrap();
    repository.refresh().unwrap();
    // Nothing is gathered: what is deleted is what only they held.
    let options = GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Unlimited, max_repack: Some(0), ..GcOptions::default() };
    collect(&repository, plan(&repository, &options, &Silent).unwrap(), &Silent).unwrap();
    assert_eq!(before - bytes_in_packs(&store), said);
}

/// What a run that died had put down is a root for collections, and was none for dry runs.
#[test]
fn what_a_pending_holds_does_not_go() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let gone = store_blocks(&repository, 0..30);
    store_blocks(&repository, 100..105);
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let dying = open(Arc::new(faulty.clone()), None).unwrap();
    let state = faulty.clone();
    faulty.before(StoreOp::Put, "snapshots/", move || {
        state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
    });
    let streams =
        (0..30).map(|n: u64| bytes_stream(&format!("s{n}"), if n.is_multiple_of(2) { noise(n, 120_000) } else { rows(n, 200_000) }));
    let options = BackupOptions { series: Some("other".to_owned()), streams: streams.collect(), ..options(&[]) };
    assert!(backup(&dying, options, &Silent).is_err());
    assert!(!store.list("pending").unwrap().is_empty());
    repository.refresh().unwrap();
    let all = repository.catalog().snapshots().unwrap();
    let pending = repository.pendings(&all.iter().map(|s| s.id).collect()).unwrap();
    assert_eq!(pending.len(), 1);
    let with = usage(&repository, (&all, false), &pending, &Silent).unwrap().unique[&gone];
    let without = usage(&repository, (&all, false), &[], &Silent).unwrap().unique[&gone];
    assert!(with < without / 20, "{with} of {without}");
    let (said, freed) = said_and_freed(&store, &repository, &[gone]);
    assert!(said < without / 20 && freed < without / 2, "said {said}, freed {freed}, of {without}");
}

/// `snapshots --forgotten --sizes` took forgotten snapshots for all that there is, and failed once one of them was collected in part.
#[test]
fn of_what_is_forgotten_only_the_rest_counts() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let gone = store_blocks(&repository, 0..10);
    store_blocks(&repository, 5..15);
    forget(&repository, &[gone]).unwrap();
    repository.refresh().unwrap();
    let (forgotten, committed) = (repository.forgotten().unwrap(), repository.catalog().snapshots().unwrap());
    let of = |others: &[Snapshot]| usage(&repository, (&forgotten, true), others, &Silent).unwrap().unique[&gone];
    let (alone, beside) = (of(&[]), of(&committed));
    assert!(beside < alone * 6 / 10 && beside > alone * 3 / 10, "{beside} of {alone}");
    let packs: BTreeSet<_> = store.list("data").unwrap().into_iter().map(|object| object.name).collect();
    undelete(&repository, &gone, &Silent).unwrap();
    assert_eq!(store.list("data").unwrap().len(), packs.len());
    assert!(store.remove(packs.first().unwrap()));
    let half = usage(&repository, (&forgotten, true), &committed, &Silent).unwrap().unique[&gone];
    assert!(half < alone, "{half} of {alone}");
}
