//! Copies between repositories of one key family: packs go as they are, what was interrupted goes on, what was damaged is said, and a target
//! opens everything with its own keys. What the command line makes of it is in `copy_cli`.

use crate::s3::store as bucket;
use seabed_engine::backup::{BackupOptions, StreamSource, backup, backup_also};
use seabed_engine::catalog::Snapshot;
use seabed_engine::copy::{CopyOptions, CopyReport, copy, plan};
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::forget::forget;
use seabed_engine::format::repo::{Descriptor, KeySet};
use seabed_engine::gc::{GcOptions, MaxUnused, collect, plan as plan_gc};
use seabed_engine::id::{ObjectId, ObjectName, PackId, RepositoryId, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::key::{Keys, new_keyring, new_slot};
use seabed_engine::seal::object::encode_descriptor;
use seabed_engine::source::stream::{ReaderStream, Stream};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{backup_paths, bytes_stream, dump_path, init, open, options, restored, secret};
use seabed_tests::s3_server::{Operation, S3Server};
use seabed_tests::trees::{capture, differences, noise};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const BLOCK: usize = 40_000;

pub fn source() -> (MemoryStore, Repository) {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    (store, repository)
}

fn sibling(of: &Repository, store: Arc<dyn Store>) -> Repository {
    let init = InitOptions { kdf: (8, 1, 1), ..InitOptions::default() };
    Repository::init_sibling(store, of, &secret(), &init, &OpenOptions::default()).unwrap()
}

/// A second place in memory.
pub fn second(of: &Repository) -> (MemoryStore, Repository) {
    let store = MemoryStore::new();
    let repository = sibling(of, Arc::new(store.clone()));
    (store, repository)
}

/// A snapshot of streams of noise, each of which has its number as its name.
pub fn snapshot(repository: &Repository, blocks: &[u64]) -> SnapshotId {
    let streams = blocks.iter().map(|n| bytes_stream(&format!("s{n}"), noise(*n, BLOCK))).collect();
    backup(repository, BackupOptions { streams, ..options(&[]) }, &Silent).unwrap().snapshot.unwrap()
}

/// Whether a snapshot holds these, all of them, whoever opens its store with nothing but the secret.
pub fn holds(store: Arc<dyn Store>, id: &SnapshotId, blocks: &[u64]) {
    let repository = open(store, None).unwrap();
    for n in blocks {
        assert!(dump_path(&repository, id, format!("s{n}").as_bytes()).unwrap() == noise(*n, BLOCK), "block {n}");
    }
}

pub fn all(repository: &Repository) -> Vec<Snapshot> {
    repository.refresh().unwrap();
    repository.catalog().snapshots().unwrap()
}

/// Copies some; whatever becomes of it.
pub fn try_some(from: &Repository, to: &Repository, snapshots: &[Snapshot]) -> Result<CopyReport, Error> {
    to.refresh()?;
    let options = CopyOptions { threads: 2, ..CopyOptions::default() };
    copy(from, to, plan(from, to, snapshots, &options, &Silent)?, &options, &Silent)
}

/// Copies all, which must do.
pub fn bring(from: &Repository, to: &Repository) -> CopyReport {
    let report = try_some(from, to, &all(from)).unwrap();
    assert!(report.stopped.is_none() && report.failed.is_empty(), "{report:?}");
    report
}

fn packs(store: &MemoryStore) -> BTreeMap<ObjectName, Arc<Vec<u8>>> {
    store.objects().into_iter().filter(|(name, _)| name.as_pack().is_some()).collect()
}

pub fn pack_ids(store: &MemoryStore) -> BTreeSet<PackId> {
    packs(store).keys().filter_map(|name| name.as_pack()).map(|(_, id)| id).collect()
}

/// The data pack that has come since.
pub fn new_data_pack(store: &MemoryStore, before: &BTreeSet<PackId>) -> ObjectName {
    let is_new = |name: &&ObjectName| name.folder() == "data" && name.as_pack().is_some_and(|(_, id)| !before.contains(&id));
    let objects = packs(store);
    let new: Vec<&ObjectName> = objects.keys().filter(is_new).collect();
    assert_eq!(new.len(), 1);
    new[0].clone()
}

pub fn gc(repository: &Repository) {
    let options = GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), ..GcOptions::default() };
    repository.refresh().unwrap();
    collect(repository, plan_gc(repository, &options, &Silent).unwrap(), &Silent).unwrap();
}

#[test]
fn packs_go_as_they_are_and_once() {
    let (store, from) = source();
    let ids = [snapshot(&from, &[1, 2]), snapshot(&from, &[1, 2, 3]), snapshot(&from, &[4])];
    let (there, to) = second(&from);
    let report = bring(&from, &to);
    let order: Vec<SnapshotId> = report.copied.iter().map(|(from, _)| *from).collect();
    assert_eq!(order, ids, "oldest first");
    assert_eq!((report.packs_sent, report.packs_written), (packs(&store).len() as u64, 0));
    assert!(packs(&there) == packs(&store), "they differ");
    for ((_, copied), blocks) in report.copied.iter().zip([&[1, 2][..], &[1, 2, 3], &[4]]) {
        holds(Arc::new(there.clone()), copied, blocks);
    }
    // What a snapshot says of itself stays; what it is a copy of is said.
    for (old, new) in all(&from).iter().zip(all(&to)) {
        assert_eq!((&old.names.series, old.index.time, &old.index.roots), (&new.names.series, new.index.time, &new.index.roots));
        assert_eq!(new.identity(&to.id()), (from.id(), old.id));
        assert!(old.id != new.id && new.index.writer == to.writer());
    }
    // A second time there is nothing to do, and nothing is done.
    let before = there.objects();
    let report = bring(&from, &to);
    assert_eq!((report.copied.len(), report.present.len(), report.packs_sent), (0, 3, 0));
    assert!(there.objects() == before);
    let checked = seabed_engine::check::check(&to, &Default::default(), &Silent).unwrap();
    assert!(checked.findings.is_empty(), "{:?}", checked.findings);
}

#[test]
fn a_copy_is_known_wherever_it_comes_from() {
    let (_, a) = source();
    let first = snapshot(&a, &[1]);
    let (_, b) = second(&a);
    let (there, c) = second(&a);
    bring(&a, &b);
    let report = bring(&b, &c);
    assert_eq!(report.copied.len(), 1);
    // In the third place it is a copy of the first one, not of the second.
    assert_eq!(all(&c)[0].identity(&c.id()), (a.id(), first));
    assert_eq!(bring(&a, &c).present, [first]);
    assert_eq!((bring(&b, &a).copied.len(), bring(&c, &a).copied.len(), bring(&c, &b).copied.len()), (0, 0, 0));
    // What was lost comes back from there, under a name of its own, and still is the same.
    forget(&a, &[first]).unwrap();
    let back = bring(&c, &a);
    assert_eq!(back.copied.len(), 1);
    assert_eq!((bring(&b, &a).copied.len(), bring(&a, &b).copied.len()), (0, 0));
    holds(Arc::new(there), &all(&c)[0].id, &[1]);
}

#[test]
fn only_what_is_wanted_of_a_pack_is_taken_where_that_is_little() {
    let (store, from) = source();
    snapshot(&from, &(1..30).collect::<Vec<_>>());
    let few = snapshot(&from, &[7]);
    let (there, to) = second(&from);
    let chosen: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| snapshot.id == few).collect();
    let report = try_some(&from, &to, &chosen).unwrap();
    assert_eq!(report.copied.len(), 1);
    holds(Arc::new(there.clone()), &report.copied[0].1, &[7]);
    let bytes = |store: &MemoryStore| packs(store).values().map(|pack| pack.len()).sum::<usize>();
    assert!(report.packs_written > 0 && bytes(&there) * 4 < bytes(&store), "{} of {}", bytes(&there), bytes(&store));
    // The rest comes later, and what is there already is not sent again.
    bring(&from, &to);
    all(&to).iter().for_each(|snapshot| holds(Arc::new(there.clone()), &snapshot.id, &[7]));
}

/// Every snapshot that a target shows is whole, and a copy that goes on brings the rest.
fn goes_on(from: &Repository, there: &MemoryStore, want: &[&[u64]], what: &str) {
    let to = open(Arc::new(there.clone()), None).unwrap();
    let sources = all(from);
    let blocks = |snapshot: &Snapshot| {
        let (_, original) = snapshot.identity(&to.id());
        want[sources.iter().position(|source| source.id == original).unwrap()]
    };
    all(&to).iter().for_each(|snapshot| holds(Arc::new(there.clone()), &snapshot.id, blocks(snapshot)));
    bring(from, &to);
    let copies = all(&to);
    let identities: BTreeSet<_> = copies.iter().map(|snapshot| snapshot.identity(&to.id())).collect();
    assert_eq!((copies.len(), identities.len()), (want.len(), want.len()), "{what}");
    copies.iter().for_each(|snapshot| holds(Arc::new(there.clone()), &snapshot.id, blocks(snapshot)));
}

#[test]
fn interrupted_anywhere_it_goes_on_with_nothing_lost() {
    let (_, from) = source();
    let want: [&[u64]; 3] = [&[1, 2, 3], &[2, 3], &[4]];
    for blocks in want {
        snapshot(&from, blocks);
    }
    let (at_first, _) = second(&from);
    let empty = at_first.objects();
    let begin = || {
        let store = MemoryStore::new();
        empty.iter().for_each(|(name, bytes)| store.put(name, bytes).unwrap());
        let faulty = FaultStore::new(Arc::new(store.clone()));
        let to = open(Arc::new(faulty.clone()), None).unwrap();
        faulty.schedule(None);
        (store, faulty, to)
    };
    let (_, faulty, to) = begin();
    bring(&from, &to);
    let operations = faulty.operations();
    assert!(operations > 30, "{operations}");
    for at in 0..operations {
        for fault in [Fault::Before, Fault::After, Fault::Torn] {
            let (store, faulty, to) = begin();
            faulty.schedule(Some(Schedule { at, fault, for_ever: true }));
            let ended = try_some(&from, &to, &all(&from));
            let failed = !matches!(&ended, Ok(report) if report.stopped.is_none());
            // Threads race: a run may do with fewer operations than the one that was counted.
            assert!(failed || faulty.fired() == 0 || faulty.log().iter().all(|line| line.contains("delete pending")), "{:?}", faulty.log());
            faulty.schedule(None);
            goes_on(&from, &store, &want, &format!("{at} {fault:?}"));
        }
    }
}

#[test]
fn a_pack_that_is_there_is_not_sent_again() {
    let (store, from) = source();
    snapshot(&from, &[1, 2]);
    let (there, to) = second(&from);
    // What a killed run left: packs, and no segment.
    packs(&store).iter().for_each(|(name, bytes)| there.put(name, bytes).unwrap());
    let report = bring(&from, &to);
    assert_eq!((report.copied.len(), report.packs_sent, report.packs_written), (1, 0, 0));
    holds(Arc::new(there), &report.copied[0].1, &[1, 2]);
}

#[test]
fn damage_costs_the_snapshots_that_need_it_and_no_others() {
    let (store, from) = source();
    let whole = snapshot(&from, &[1]);
    let before = pack_ids(&store);
    let hurt = snapshot(&from, &[1, 2]);
    let pack = new_data_pack(&store, &before);
    let later = snapshot(&from, &[1, 3]);
    assert!(store.corrupt(&pack, |bytes| bytes[60] ^= 1));
    let (there, to) = second(&from);
    let report = try_some(&from, &to, &all(&from)).unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    assert_eq!(report.copied.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [whole, later]);
    assert!(matches!(&report.failed[..], [(id, error)] if *id == hurt && error.is_damage()), "{report:?}");
    holds(Arc::new(there.clone()), &report.copied[1].1, &[1, 3]);
    // A check marks the pack, the next backup stores its content again: then there is another copy to take.
    let (_, id) = pack.as_pack().unwrap();
    from.catalog().judge(&[(id, true)]).unwrap();
    snapshot(&from, &[2]);
    let report = bring(&from, &to);
    assert_eq!(report.copied.len(), 2);
    all(&to).iter().filter(|snapshot| snapshot.identity(&to.id()).1 == hurt).for_each(|snapshot| {
        holds(Arc::new(there.clone()), &snapshot.id, &[1, 2]);
    });
    // Of frames that are taken one by one, too.
    let (store, from) = source();
    snapshot(&from, &(1..30).collect::<Vec<_>>());
    let pack = new_data_pack(&store, &BTreeSet::new());
    let few = snapshot(&from, &[7]);
    assert!(store.corrupt(&pack, |bytes| bytes[200..].iter_mut().step_by(1000).for_each(|byte| *byte ^= 1)));
    let chosen: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| snapshot.id == few).collect();
    let report = try_some(&from, &second(&from).1, &chosen).unwrap();
    assert!(report.copied.is_empty() && report.failed.len() == 1 && report.stopped.is_none(), "{report:?}");
}

#[test]
fn trees_come_over_and_a_damaged_list_costs_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    let write = |from: u64, to: u64| {
        (from..to).for_each(|n| std::fs::write(top.join(format!("f{n}")), noise(n, 3000 + n as usize * 10)).unwrap());
    };
    std::fs::create_dir(&top).unwrap();
    let (store, from) = source();
    let run = || backup_paths(&from, std::slice::from_ref(&top)).unwrap().snapshot.unwrap();
    write(0, 60);
    let first = run();
    write(60, 70);
    let second_one = run();
    let want = capture(&top, false);
    let before = pack_ids(&store);
    write(70, 80);
    let hurt = run();
    let is_new_list = |name: &&ObjectName| name.folder() == "lists" && name.as_pack().is_some_and(|(_, id)| !before.contains(&id));
    let lists: Vec<ObjectName> = packs(&store).keys().filter(is_new_list).cloned().collect();
    assert!(!lists.is_empty());
    lists.iter().for_each(|name| assert!(store.corrupt(name, |bytes| bytes[40] ^= 1)));
    let (there, to) = second(&from);
    let report = try_some(&from, &to, &all(&from)).unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    assert_eq!(report.copied.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [first, second_one]);
    assert!(matches!(&report.failed[..], [(id, error)] if *id == hurt && error.is_damage()), "{report:?}");
    let have = restored(&open(Arc::new(there), None).unwrap(), &report.copied[1].1, &top).unwrap();
    let differences = differences(&want, &have);
    assert!(differences.is_empty(), "{differences:?}");
}

/// What a collection of the target has condemned comes again under another name: its own may be deleted at any time.
#[test]
fn a_name_that_was_condemned_is_not_used_again() {
    let (_, from) = source();
    snapshot(&from, &[1, 2]);
    let (there, to) = second(&from);
    bring(&from, &to);
    let condemned = pack_ids(&there);
    let ids: Vec<SnapshotId> = all(&to).iter().map(|snapshot| snapshot.id).collect();
    forget(&to, &ids).unwrap();
    gc(&to);
    assert!(pack_ids(&there).is_empty());
    let report = bring(&from, &to);
    assert_eq!((report.copied.len(), report.packs_sent), (1, 0));
    assert!(pack_ids(&there).is_disjoint(&condemned) && !pack_ids(&there).is_empty());
    gc(&to);
    holds(Arc::new(there), &report.copied[0].1, &[1, 2]);
}

/// Between plan and commit the target forgets and collects what the copy relies on.
pub fn overtaken_between_plan_and_commit(target: impl Fn(&Repository) -> (MemoryStore, Repository)) {
    let (_, from) = source();
    snapshot(&from, &[1, 2]);
    let (there, _) = target(&from);
    let faulty = FaultStore::new(Arc::new(there.clone()));
    let to = open(Arc::new(faulty.clone()), None).unwrap();
    bring(&from, &to);
    let relies = snapshot(&from, &[1, 2, 3]);
    let own = there.clone();
    faulty.before(StoreOp::Put, "pending", move || {
        let collector = open(Arc::new(own), None).unwrap();
        let ids: Vec<SnapshotId> = all(&collector).iter().map(|snapshot| snapshot.id).collect();
        forget(&collector, &ids).unwrap();
        gc(&collector);
    });
    let chosen: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| snapshot.id == relies).collect();
    let report = try_some(&from, &to, &chosen).unwrap();
    assert!(report.stopped.is_none() && report.copied.len() == 1, "{report:?}");
    gc(&open(Arc::new(there.clone()), None).unwrap());
    holds(Arc::new(there), &report.copied[0].1, &[1, 2, 3]);
}

#[test]
fn a_collection_of_the_target_overtakes_nothing() {
    overtaken_between_plan_and_commit(second);
}

/// While packs are on their way the source moves what is wanted into others, and deletes them.
#[test]
fn a_collection_of_the_source_is_followed() {
    let (store, maker) = source();
    let goes = snapshot(&maker, &[1, 2, 3]);
    let stays = snapshot(&maker, &[3, 4]);
    let faulty = FaultStore::new(Arc::new(store.clone()));
    let from = open(Arc::new(faulty.clone()), None).unwrap();
    let chosen: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| snapshot.id == stays).collect();
    faulty.before(StoreOp::Get, "data", move || {
        forget(&maker, &[goes]).unwrap();
        gc(&maker);
    });
    let (there, to) = second(&from);
    let report = try_some(&from, &to, &chosen).unwrap();
    assert!(report.stopped.is_none() && report.failed.is_empty() && report.copied.len() == 1, "{report:?}");
    holds(Arc::new(there), &report.copied[0].1, &[3, 4]);
}

/// A key set whose rotating keys of these epochs are new ones, and which has none of the others.
fn epochs(set: &KeySet, keep: &[u32], fresh: &[u32]) -> KeySet {
    let mut keys: Vec<_> = set.keys.iter().filter(|key| key.purpose < 8 || keep.contains(&key.epoch)).cloned().collect();
    for purpose in 8..12 {
        for epoch in fresh {
            let mut key = set.keys.iter().find(|key| key.purpose == purpose).unwrap().clone();
            (key.epoch, key.key) = (*epoch, rand(u64::from(purpose) << 32 | u64::from(*epoch)));
            keys.push(key);
        }
    }
    keys.sort_by_key(|key| (key.purpose, key.epoch));
    KeySet { keys, ..set.clone() }
}

fn rand(seed: u64) -> [u8; 32] {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    *blake3::hash(&[seed.to_le_bytes(), CALLS.fetch_add(1, Relaxed).to_le_bytes()].concat()).as_bytes()
}

/// A sibling that has rotated: its keyring has these keys.
fn rotated_sibling(of: &Repository, keep: &[u32], fresh: &[u32]) -> (MemoryStore, Repository) {
    let store = MemoryStore::new();
    let id = RepositoryId::new(rand(1)[..16].try_into().unwrap());
    let (slot_name, slot, opened) = new_slot(&id, &secret(), (8, 1, 1), "", Default::default()).unwrap();
    let mut set = epochs(&of.keys().to_set(), keep, fresh);
    set.members = vec![opened.member()];
    let epoch = *keep.iter().chain(fresh).max().unwrap();
    let keys = Keys::from_set(&slot_name, &set, epoch).unwrap();
    let (keyring_name, keyring) = new_keyring(&id, &keys).unwrap();
    let gear = keys.get(seabed_engine::format::object::Purpose::Gear, 0).unwrap();
    let descriptor = encode_descriptor(&Descriptor { repository: id, ..of.descriptor().clone() }, gear);
    for (name, bytes) in [(slot_name, slot), (keyring_name, keyring), (ObjectName::descriptor(), descriptor)] {
        store.put(&name, &bytes).unwrap();
    }
    let repository = open(Arc::new(store.clone()), None).unwrap();
    (store, repository)
}

/// The same repository after a rotation.
fn rotate(store: &MemoryStore, repository: &Repository, epoch: u32) -> Repository {
    let old: Vec<u32> = (1..epoch).collect();
    let set = epochs(&repository.keys().to_set(), &old, &[epoch]);
    let keys = Keys::from_set(&ObjectName::descriptor(), &set, epoch).unwrap();
    let (name, keyring) = new_keyring(&repository.id(), &keys).unwrap();
    store.put(&name, &keyring).unwrap();
    open(Arc::new(store.clone()), None).unwrap()
}

#[test]
fn after_a_rotation_on_either_side_the_target_opens_all_with_its_own_keys() {
    // The target has none of the source's epochs, or another key by the same number.
    for (keep, fresh) in [(&[][..], &[2][..]), (&[], &[1]), (&[1], &[2])] {
        let (store, from) = source();
        snapshot(&from, &[1, 2]);
        let old = pack_ids(&store);
        let from = rotate(&store, &from, 2);
        assert_eq!(from.keys().epoch, 2);
        snapshot(&from, &[1, 2, 3]);
        let (there, to) = rotated_sibling(&from, keep, fresh);
        let report = bring(&from, &to);
        let went: BTreeSet<PackId> = pack_ids(&there).intersection(&pack_ids(&store)).copied().collect();
        let may_go = if keep.is_empty() { BTreeSet::new() } else { old };
        assert_eq!(went, may_go, "{keep:?} {fresh:?}");
        // Nothing was compressed anew for it.
        assert!(report.repacked.frames_copied > 0 && report.repacked.frames_opened == 0, "{report:?}");
        for ((_, id), blocks) in report.copied.iter().zip([&[1, 2][..], &[1, 2, 3]]) {
            holds(Arc::new(there.clone()), id, blocks);
        }
        assert_eq!(bring(&from, &to).copied.len(), 0);
    }
}

#[test]
fn into_another_family_all_goes_under_its_own_ids_and_comes_back() {
    let (_, from) = source();
    let want: [&[u64]; 3] = [&[1, 2], &[2, 3, 4], &[5]];
    for blocks in want {
        snapshot(&from, blocks);
    }
    let (there, to) = source();
    let options = CopyOptions::default();
    let planned = plan(&from, &to, &all(&from), &options, &Silent).unwrap();
    assert!(planned.re_encrypted && planned.new.len() == 3);
    let report = copy(&from, &to, planned, &options, &Silent).unwrap();
    assert!(report.stopped.is_none() && report.failed.is_empty() && report.packs_sent == 0 && report.packs_written > 0, "{report:?}");
    for ((_, id), blocks) in report.copied.iter().zip(want) {
        holds(Arc::new(there.clone()), id, blocks);
    }
    // The second time there is nothing to do, and back in the first family each is known for what it is.
    to.refresh().unwrap();
    let before = there.objects();
    for (from, to) in [(&from, &to), (&to, &from)] {
        let planned = plan(from, to, &all(from), &options, &Silent).unwrap();
        assert_eq!((planned.new.len(), planned.present.len()), (0, 3));
        assert!(copy(from, to, planned, &options, &Silent).unwrap().copied.is_empty());
    }
    assert!(there.objects() == before);
    assert!(matches!(plan(&from, &from, &all(&from), &options, &Silent), Err(Error::Option { .. })));
}

#[test]
fn to_a_bucket_packs_go_as_they_are_and_the_second_time_nothing_goes() {
    let (store, from) = source();
    let want: [&[u64]; 2] = [&[1, 2], &[2, 3, 4]];
    for blocks in want {
        snapshot(&from, blocks);
    }
    let server = S3Server::start();
    let to = sibling(&from, Arc::new(bucket(&server, "x")));
    let report = bring(&from, &to);
    assert_eq!(report.packs_written, 0);
    for (name, bytes) in packs(&store) {
        assert!(server.object(&format!("x/{}", name.as_str())).is_some_and(|there| there == bytes[..]), "{}", name.as_str());
    }
    for ((_, id), blocks) in report.copied.iter().zip(want) {
        holds(Arc::new(bucket(&server, "x")), id, blocks);
    }
    server.clear_log();
    assert_eq!(bring(&from, &to).copied.len(), 0);
    assert!(server.log_of(Operation::PutObject).is_empty());
    // And back, into a new place.
    let (there, third) = second(&from);
    let back = open(Arc::new(bucket(&server, "x")), None).unwrap();
    let report = bring(&back, &third);
    assert_eq!((report.copied.len(), report.packs_written), (2, 0));
    assert!(packs(&there) == packs(&store));
}

/// Counts what is read.
struct Counted(Cursor<Vec<u8>>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(into)?;
        self.1.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// A stream that can be read once.
fn counted(count: &Arc<AtomicU64>) -> StreamSource {
    let count = count.clone();
    StreamSource::new(b"s9".to_vec(), move || Ok(Box::new(ReaderStream(Counted(Cursor::new(noise(9, BLOCK)), count))) as Box<dyn Stream>))
}

#[test]
fn one_backup_into_several_repositories_reads_once() {
    let (store, from) = source();
    snapshot(&from, &[1]);
    let (there, to) = second(&from);
    let count = Arc::new(AtomicU64::new(0));
    let group = Some(ObjectId::new(rand(3)[..16].try_into().unwrap()));
    let options = BackupOptions { streams: vec![counted(&count)], group, ..options(&[]) };
    let id = backup_also(&from, &[&to], options, &Silent).unwrap().snapshot.unwrap();
    assert_eq!(count.load(Relaxed), BLOCK as u64);
    // Its packs are there, named; the copy sends nothing more.
    let chosen: Vec<Snapshot> = all(&from).into_iter().filter(|snapshot| snapshot.id == id).collect();
    let sent = packs(&there);
    assert!(!sent.is_empty() && sent.iter().all(|(name, bytes)| packs(&store).get(name) == Some(bytes)));
    let report = try_some(&from, &to, &chosen).unwrap();
    assert_eq!((report.copied.len(), report.packs_sent, report.packs_written), (1, 0, 0));
    holds(Arc::new(there), &report.copied[0].1, &[9]);
    assert!(all(&to).iter().chain(&chosen).all(|snapshot| snapshot.index.group == group) && group.is_some());
}

#[test]
fn a_place_that_dies_midway_costs_the_backup_nothing() {
    let (_, from) = source();
    let (there, _) = second(&from);
    let faulty = FaultStore::new(Arc::new(there.clone()));
    let to = open(Arc::new(faulty.clone()), None).unwrap();
    faulty.schedule(None);
    let blocks: Vec<u64> = (1..20).collect();
    let run = |base: u64| {
        let streams = blocks.iter().map(|n| bytes_stream(&format!("s{n}"), noise(base + n, BLOCK))).collect();
        let options = BackupOptions { streams, ..options(&[]) };
        backup_also(&from, &[&to], options, &Silent).unwrap().snapshot.unwrap()
    };
    run(100);
    let operations = faulty.operations();
    assert!(operations > 3, "{operations}");
    for at in [0, 1, operations / 2] {
        faulty.schedule(Some(Schedule { at, fault: Fault::Torn, for_ever: true }));
        let id = run(1000 * (at + 1));
        assert!(faulty.fired() > 0, "{at}");
        faulty.schedule(None);
        let report = bring(&from, &to);
        let (_, copied) = *report.copied.iter().find(|(from, _)| *from == id).unwrap();
        let reader = open(Arc::new(there.clone()), None).unwrap();
        for n in &blocks {
            assert!(dump_path(&reader, &copied, format!("s{n}").as_bytes()).unwrap() == noise(1000 * (at + 1) + n, BLOCK));
        }
    }
}

#[test]
fn packs_of_another_epoch_or_family_go_nowhere_beside_a_backup() {
    let (store, from) = source();
    let from = rotate(&store, &from, 2);
    let (stranger, other) = source();
    let (there, old) = rotated_sibling(&from, &[1], &[]);
    let before = (stranger.objects(), there.objects());
    let options = BackupOptions { streams: vec![bytes_stream("s1", noise(1, BLOCK))], ..options(&[]) };
    backup_also(&from, &[&other, &old], options, &Silent).unwrap();
    assert!((stranger.objects(), there.objects()) == before);
    let report = bring(&from, &old);
    holds(Arc::new(there), &report.copied[0].1, &[1]);
}
