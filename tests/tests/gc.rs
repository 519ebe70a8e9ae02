//! Collection over a store in memory: what goes, what stays, what is written anew. That no interleaving loses anything is proved in the
//! `protocol` tests; here each step is looked at alone.

use seabed_engine::backup::{BackupReport, backup};
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::{Error, Result, StoreOp};
use seabed_engine::forget::forget;
use seabed_engine::format::object::Purpose;
use seabed_engine::gc::{GcOptions, GcReport, MaxUnused, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::pack::OpenPack;
use seabed_engine::repository::Repository;
use seabed_engine::repository::grounds::Grounds;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::undelete::undelete;
use seabed_tests::fault_store::FaultStore;
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const DAY: i64 = 86_400 * 1_000_000_000;

/// Bytes that do not compress, the same for the same number.
fn noise(n: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A snapshot of streams, each of some blocks.
fn store_blocks(repository: &Repository, blocks: &[u64]) -> SnapshotId {
    let mut options = options(&[]);
    options.streams = blocks.iter().map(|n| bytes_stream(&format!("s{n}"), noise(*n, 40_000))).collect();
    let report: BackupReport = backup(repository, options, &Silent).unwrap();
    report.snapshot.unwrap()
}

fn holds(repository: &Repository, id: &SnapshotId, blocks: &[u64]) {
    for n in blocks {
        assert!(dump_path(repository, id, format!("s{n}").as_bytes()).unwrap() == noise(*n, 40_000), "block {n}");
    }
}

/// A collection without grace that leaves nothing unused.
fn thorough() -> GcOptions {
    GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), threads: 1, ..GcOptions::default() }
}

fn gc(repository: &Repository, options: &GcOptions) -> Result<GcReport> {
    repository.refresh()?;
    collect(repository, plan(repository, options, &Silent)?, &Silent)
}

fn is_clean(repository: &Repository) {
    let report = check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

fn bytes_of(store: &MemoryStore, folder: &str) -> u64 {
    store.list(folder).unwrap().iter().map(|object| object.bytes).sum()
}

#[test]
fn what_only_forgotten_snapshots_need_goes() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &[1, 2, 3, 4]);
    let second = store_blocks(&repository, &[3, 4, 5]);
    let before = bytes_of(&store, "data");
    forget(&repository, &[first]).unwrap();
    let report = gc(&repository, &thorough()).unwrap();
    assert_eq!((report.condemned, report.deleted_packs), (1, 1), "{report:?}");
    assert_eq!(report.deleted_manifests, 1);
    holds(&repository, &second, &[3, 4, 5]);
    // Two of five blocks are gone, and nothing else.
    let after = bytes_of(&store, "data");
    assert!(after < before * 65 / 100, "{after} of {before}");
    is_clean(&open(Arc::new(store.clone()), None).unwrap());
    let again = gc(&repository, &thorough()).unwrap();
    assert_eq!((again.condemned, again.deleted_packs, again.figures.repack_packs), (0, 0, 0), "{again:?}");
    assert_eq!(bytes_of(&store, "data"), after);
}

#[test]
fn what_is_planned_to_be_freed_is_freed() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &(0..40).collect::<Vec<_>>());
    let second = store_blocks(&repository, &(30..60).collect::<Vec<_>>());
    forget(&repository, &[first]).unwrap();
    repository.refresh().unwrap();
    let sizes = || ["data", "names", "lists"].iter().map(|folder| bytes_of(&store, folder)).sum::<u64>();
    let before = sizes();
    let plan = plan(&repository, &thorough(), &Silent).unwrap();
    let said = plan.figures.freed_bytes() as f64;
    assert_eq!(sizes(), before, "a plan changes nothing");
    collect(&repository, plan, &Silent).unwrap();
    let freed = before as f64 - sizes() as f64;
    assert!((said / freed - 1.0).abs() < 0.05, "said {said}, freed {freed}");
    holds(&repository, &second, &(30..60).collect::<Vec<_>>());
}

/// A frame of text and noise, of which the one or the other stays, takes far from its share of it; and whatever is written anew is padded. A
/// dry run was a seventh off.
#[test]
fn a_dry_run_weighs_what_it_would_write() {
    let text = |n: u64| (0..2500).map(|line| format!("{line} row {} of {n}\n", line * n % 97)).collect::<String>().into_bytes();
    for stays in ["text", "noise"] {
        let store = MemoryStore::new();
        let repository = init(Arc::new(store.clone()), None).unwrap();
        let snapshot = |which: &dyn Fn(&str) -> bool| {
            let mut options = options(&[]);
            for n in 0..40 {
                let both = [("text", text(n)), ("noise", noise(n, 40_000))];
                let both = both.into_iter().filter(|(kind, _)| which(kind));
                options.streams.extend(both.map(|(kind, bytes)| bytes_stream(&format!("{kind}{n}"), bytes)));
            }
            backup(&repository, options, &Silent).unwrap().snapshot.unwrap()
        };
        let all = snapshot(&|_| true);
        snapshot(&|kind| kind == stays);
        forget(&repository, &[all]).unwrap();
        repository.refresh().unwrap();
        let sizes = || ["data", "names", "lists"].iter().map(|folder| bytes_of(&store, folder)).sum::<u64>();
        let before = sizes();
        let plan = plan(&repository, &GcOptions { weigh: true, ..thorough() }, &Silent).unwrap();
        let said = plan.figures.freed_bytes() as f64;
        collect(&repository, plan, &Silent).unwrap();
        let freed = before as f64 - sizes() as f64;
        assert!((said / freed - 1.0).abs() < 0.05, "{stays} stays: said {said}, freed {freed}");
    }
}

#[test]
fn grace_is_by_the_clock_of_the_store() {
    let store = MemoryStore::new();
    store.set_now(100 * DAY);
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &[1, 2]);
    let second = store_blocks(&repository, &[2, 3]);
    forget(&repository, &[first]).unwrap();
    let options = GcOptions { grace: Duration::from_secs(86_400), max_unused: MaxUnused::Part(0.0), ..GcOptions::default() };
    let young = gc(&repository, &options).unwrap();
    assert_eq!((young.condemned, young.deleted_packs, young.deleted_manifests), (0, 0, 0), "{young:?}");
    assert!(young.figures.young_packs > 0);
    store.set_now(101 * DAY + 1);
    let told = gc(&repository, &options).unwrap();
    assert!(told.condemned > 0 && told.deleted_packs == 0, "{told:?}");
    assert_eq!(told.deleted_manifests, 1);
    // An hour later: it still waits, and says so.
    store.set_now(101 * DAY + DAY / 24);
    let waits = gc(&repository, &options).unwrap();
    assert!(waits.deleted_packs == 0 && waits.figures.waiting_packs == told.condemned, "{waits:?}");
    store.set_now(102 * DAY + 2);
    let done = gc(&repository, &options).unwrap();
    assert_eq!(done.deleted_packs, told.condemned);
    holds(&repository, &second, &[2, 3]);
    is_clean(&open(Arc::new(store), None).unwrap());
}

#[test]
fn a_forgotten_snapshot_comes_back_until_it_is_collected() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &[1, 2]);
    forget(&repository, &[first]).unwrap();
    repository.refresh().unwrap();
    let back = undelete(&repository, &first, &Silent).unwrap();
    holds(&repository, &back, &[1, 2]);
    gc(&repository, &thorough()).unwrap();
    holds(&repository, &back, &[1, 2]);
    forget(&repository, &[back]).unwrap();
    gc(&repository, &thorough()).unwrap();
    assert!(matches!(undelete(&repository, &back, &Silent), Err(Error::NoSnapshot { .. })));
    assert_eq!(bytes_of(&store, "data"), 0);
    assert_eq!(bytes_of(&store, "pending") + bytes_of(&store, "snapshots"), 0);
}

#[test]
fn small_packs_and_segments_are_gathered() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let ids: Vec<SnapshotId> = (0..20).map(|n| store_blocks(&repository, &[n, n + 1])).collect();
    let packs = store.list("data").unwrap().len();
    assert!(packs >= 20);
    let report = gc(&repository, &thorough()).unwrap();
    assert!(report.figures.gather_packs >= 20, "{report:?}");
    assert_eq!(store.list("data").unwrap().len(), 1);
    assert_eq!(store.list("index").unwrap().len(), 1);
    for (n, id) in ids.iter().enumerate() {
        holds(&repository, id, &[n as u64, n as u64 + 1]);
    }
    is_clean(&open(Arc::new(store), None).unwrap());
}

#[test]
fn what_is_lost_stops_a_collection() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &[1, 2]);
    store_blocks(&repository, &[3]);
    repository.refresh().unwrap();
    // A manifest that somebody took away.
    let name = seabed_engine::id::ObjectName::snapshot(&first);
    let manifest = store.get(&name, 1 << 20).unwrap();
    assert!(store.remove(&name));
    assert!(matches!(plan(&repository, &thorough(), &Silent), Err(Error::SnapshotLost { .. })));
    store.put(&name, &manifest).unwrap();
    plan(&repository, &thorough(), &Silent).unwrap();
    // A pack that is needed.
    let pack = store.list("data").unwrap().remove(0).name;
    assert!(store.remove(&pack));
    assert!(plan(&repository, &thorough(), &Silent).is_err_and(|error| error.is_damage()));
}

/// The roots were read, one of them was forgotten and collected, and its rows had left the index: that was called damage. Found by a soak.
#[test]
fn what_is_forgotten_and_collected_meanwhile_is_no_damage() {
    let store = MemoryStore::new();
    let other = init(Arc::new(store.clone()), None).unwrap();
    let (gone, stays) = (store_blocks(&other, &[1, 2]), store_blocks(&other, &[3]));
    let watched = FaultStore::new(Arc::new(store));
    let repository = open(Arc::new(watched.clone()), None).unwrap();
    repository.refresh().unwrap();
    watched.before(StoreOp::List, "index", move || {
        forget(&other, &[gone]).unwrap();
        assert!(gc(&other, &thorough()).unwrap().merged_segments > 0);
    });
    let planned = plan(&repository, &thorough(), &Silent).unwrap();
    assert_eq!(planned.figures.snapshots, 1);
    collect(&repository, planned, &Silent).unwrap();
    holds(&repository, &stays, &[3]);
    is_clean(&repository);
}

/// A restore that had read the index when a collection without grace wrote its packs anew and deleted them ended with damage that was none.
#[test]
fn who_reads_finds_what_was_written_anew_meanwhile() {
    let store = MemoryStore::new();
    let other = init(Arc::new(store.clone()), None).unwrap();
    let (gone, stays) = (store_blocks(&other, &[1, 2, 3]), store_blocks(&other, &[3, 4]));
    forget(&other, &[gone]).unwrap();
    let watched = FaultStore::new(Arc::new(store));
    let repository = open(Arc::new(watched.clone()), None).unwrap();
    repository.refresh().unwrap();
    watched.before(StoreOp::Get, "data/", move || {
        assert!(gc(&other, &thorough()).unwrap().deleted_packs > 0);
    });
    holds(&repository, &stays, &[3, 4]);
}

/// Who forgot what another one had forgotten, and a collection taken, was told that there is no such snapshot, and the rest of a policy was
/// not carried out. Who restored it meanwhile was told of damage.
#[test]
fn what_is_gone_by_somebody_s_wish_is_neither_unknown_nor_damage() {
    let store = MemoryStore::new();
    let other = init(Arc::new(store.clone()), None).unwrap();
    let (gone, goes, stays) = (store_blocks(&other, &[1, 2]), store_blocks(&other, &[3]), store_blocks(&other, &[4]));
    let repository = open(Arc::new(store), None).unwrap();
    repository.refresh().unwrap();
    let selected = seabed_tests::repo::select(&repository, &gone, b"s1").unwrap();
    forget(&other, &[gone]).unwrap();
    gc(&other, &thorough()).unwrap();
    forget(&repository, &[gone, goes]).unwrap();
    let error = seabed_engine::dump::dump(&repository, &selected, &mut Vec::new(), &Silent).unwrap_err();
    assert!(matches!(error, Error::WasForgotten { snapshot } if snapshot == gone), "{error}");
    gc(&repository, &thorough()).unwrap();
    holds(&repository, &stays, &[4]);
    let unknown = SnapshotId::new([7; 32]);
    assert!(matches!(forget(&repository, &[unknown]), Err(Error::NoSnapshot { .. })));
}

#[test]
fn a_collector_without_keys_of_content_moves_whole_frames() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    // Frames of a megabyte: of some all is needed, of others half, of others nothing.
    let first = store_blocks(&repository, &(0..120).collect::<Vec<_>>());
    let kept: Vec<u64> = (0..40).chain((40..80).step_by(2)).collect();
    let second = store_blocks(&repository, &kept);
    forget(&repository, &[first]).unwrap();
    let mut collector = open(Arc::new(store.clone()), None).unwrap();
    collector.give_up_keys(&[Purpose::Data, Purpose::Names]);
    let before = bytes_of(&store, "data");
    let report = collect(&collector, plan(&collector, &thorough(), &Silent).unwrap(), &Silent).unwrap();
    assert!(report.repacked.frames_copied > 0 && report.repacked.frames_opened == 0, "{report:?}");
    assert!(report.repacked.bytes_stuck > 400_000 && report.figures.stuck_bytes > 400_000, "{report:?}");
    let middle = bytes_of(&store, "data");
    assert!(middle < before * 90 / 100, "{middle} of {before}");
    let owner = open(Arc::new(store.clone()), None).unwrap();
    holds(&owner, &second, &kept);
    is_clean(&owner);
    // Who holds the keys takes out the rest.
    let report = gc(&owner, &thorough()).unwrap();
    assert!(report.repacked.frames_opened > 0 && report.repacked.bytes_stuck == 0, "{report:?}");
    let after = bytes_of(&store, "data");
    assert!(after < middle * 85 / 100 && after < 60 * 40_000 * 11 / 10, "{after} of {middle}");
    holds(&owner, &second, &kept);
    is_clean(&open(Arc::new(store), None).unwrap());
}

#[test]
fn rot_is_not_carried_into_a_new_pack() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &[1, 2]);
    store_blocks(&repository, &[2, 3]);
    forget(&repository, &[first]).unwrap();
    let rotten: Vec<_> = store.list("data").unwrap().into_iter().map(|object| object.name).collect();
    for name in &rotten {
        assert!(store.corrupt(name, |bytes| bytes[5000] ^= 1));
    }
    for (keyless, threads) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
        let mut collector = open(Arc::new(store.clone()), None).unwrap();
        if keyless {
            collector.give_up_keys(&[Purpose::Data, Purpose::Names]);
        }
        let result = plan(&collector, &GcOptions { threads, ..thorough() }, &Silent).and_then(|plan| collect(&collector, plan, &Silent));
        assert!(result.is_err_and(|error| error.is_damage()), "{keyless}");
        assert!(rotten.iter().all(|name| store.size(name).unwrap().is_some()), "what cannot be copied stays");
        assert!(store.list("records").unwrap().is_empty());
    }
}

#[test]
fn records_are_folded_and_none_is_forgotten() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let mut named = 0;
    for n in 0..70 {
        let id = store_blocks(&repository, &[1000 + n]);
        forget(&repository, &[id]).unwrap();
        named += gc(&repository, &thorough()).unwrap().condemned;
        let listed = store.list("records").unwrap().len();
        assert!(listed < 70, "{listed}");
        let records = repository.records(&Default::default()).unwrap();
        assert_eq!(records.packs().len() as u64, named, "after {n}");
    }
    let listed = store.list("records").unwrap().len();
    assert!(listed < 40, "{listed}");
    is_clean(&open(Arc::new(store), None).unwrap());
}

/// Another store with the same objects.
fn copied(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    store.objects().iter().for_each(|(name, bytes)| copy.put(name, bytes).unwrap());
    copy
}

/// The chunks of every frame of contents, in the order in which they lie. (Which frame comes first into a pack is left to who encodes it.)
fn layout(repository: &Repository) -> BTreeSet<Vec<u8>> {
    let mut frames = BTreeSet::new();
    for object in repository.store().list("data").unwrap() {
        let (class, id) = object.name.as_pack().unwrap();
        let table = OpenPack::open(repository.store(), repository.keys(), class, &id).unwrap().table;
        frames.extend(table.frames.iter().map(|span| {
            let chunks = span.chunks();
            chunks.flat_map(|number| *table.id(number).unwrap().as_bytes()).collect()
        }));
    }
    frames
}

/// Two hundred blocks, of which the next night keeps those for which `stays` holds, and one more; the first night is forgotten.
fn nights(store: &MemoryStore, stays: impl Fn(u64) -> bool) -> (Repository, SnapshotId, Vec<u64>) {
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let first = store_blocks(&repository, &(0..200).collect::<Vec<_>>());
    let kept: Vec<u64> = (0..200).filter(|n| stays(*n)).chain([1000]).collect();
    let last = store_blocks(&repository, &kept);
    forget(&repository, &[first]).unwrap();
    (repository, last, kept)
}

/// What is read first is taken first, whichever thread opens it: a dump stays together, and a repository does not depend on a race.
#[test]
fn a_collection_writes_the_same_with_any_number_of_threads() {
    let store = MemoryStore::new();
    let (repository, last, kept) = nights(&store, |n| n % 7 == 3 || n > 150);
    drop(repository);
    let mut layouts = Vec::new();
    for threads in [1, 2, 8] {
        let copy = copied(&store);
        let repository = open(Arc::new(copy), None).unwrap();
        let report = gc(&repository, &GcOptions { threads, ..thorough() }).unwrap();
        assert!(report.repacked.frames_opened > 2 && report.repacked.frames_copied > 0, "{:?}", report.repacked);
        is_clean(&repository);
        holds(&repository, &last, &kept);
        layouts.push((layout(&repository), report.repacked.bytes_read));
    }
    assert!(layouts.iter().all(|layout| *layout == layouts[0]));
}

/// A frame of which most is needed is copied as it is, as long as that stays far below what may be unused; where nothing may, it is not.
#[test]
fn frames_that_are_mostly_needed_are_copied_within_what_may_stay_unused() {
    let store = MemoryStore::new();
    // One block of each of the first frames, and all but one of the rest.
    let (repository, last, kept) = nights(&store, |n| if n < 175 { n % 25 == 0 } else { n != 190 });
    drop(repository);
    let run = |max_unused| {
        let copy = copied(&store);
        let repository = open(Arc::new(copy.clone()), None).unwrap();
        let report = gc(&repository, &GcOptions { max_unused, threads: 2, ..thorough() }).unwrap();
        is_clean(&repository);
        holds(&repository, &last, &kept);
        (report, bytes_of(&copy, "data"))
    };
    let (exact, exact_bytes) = run(MaxUnused::Part(0.0));
    let (usual, usual_bytes) = run(MaxUnused::Bytes(400_000));
    let (tight, tight_bytes) = run(MaxUnused::Bytes(100_000));
    assert_eq!((exact.repacked, exact_bytes), (tight.repacked, tight_bytes));
    assert_eq!(usual.repacked.frames_opened + 1, exact.repacked.frames_opened, "{:?} {:?}", usual.repacked, exact.repacked);
    assert_eq!(usual.repacked.frames_copied, exact.repacked.frames_copied + 1);
    // One block more, in packs that are padded, and it is spoken of.
    assert!((20_000..90_000).contains(&(usual_bytes - exact_bytes)), "{usual_bytes} {exact_bytes}");
    assert!((35_000..60_000).contains(&usual.figures.unused_bytes), "{:?}", usual.figures);
    // Nor is it forgotten where nothing is taken out: the figure was short of what such frames hold.
    let (idle, _) = run(MaxUnused::Bytes(1 << 40));
    let unused = exact.figures.repack_bytes - exact.figures.write_bytes;
    assert_eq!(idle.figures.repack_packs, 0);
    assert!(idle.figures.unused_bytes.abs_diff(unused) < 2000, "{} {unused}", idle.figures.unused_bytes);
    assert_eq!((exact.figures.unused_bytes, exact.repacked.bytes_stuck, usual.repacked.bytes_stuck), (0, 0, 0));
}

/// What was needed at G1 counted as walked at G4: below the node of a pending that was not whole at first, everything was taken for garbage
/// once the pending was whole.
#[test]
fn what_was_not_there_at_first_is_marked_when_it_is() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let long = |bytes: usize| {
        let mut options = options(&[]);
        options.streams = vec![bytes_stream("s", noise(1, bytes))];
        backup(&repository, options, &Silent).unwrap();
    };
    long(1_000_000);
    let first: Vec<_> = store.list("data").unwrap().into_iter().map(|object| object.name).collect();
    long(2_000_000);
    let late = store.list("data").unwrap().into_iter().map(|object| object.name).find(|name| !first.contains(name)).unwrap();
    let bytes = store.get(&late, 1 << 30).unwrap();
    repository.refresh().unwrap();
    let roots = repository.catalog().snapshots().unwrap().pop().unwrap().index.roots;
    let marked = |grounds: &mut Grounds| {
        let mut count = 0;
        grounds.rows.choose(|_, _| {
            count += 1;
            None
        });
        count
    };
    let mut whole = Grounds::read(&repository, &Silent).unwrap();
    whole.mark(&whole.reader(&repository), &roots, &Silent).unwrap();
    assert!(store.remove(&late));
    let mut grounds = Grounds::read(&repository, &Silent).unwrap();
    assert!(!grounds.mark_what_is_there(&grounds.reader(&repository), &roots, &Silent).unwrap());
    assert!(marked(&mut grounds) < marked(&mut whole));
    store.put(&late, &bytes).unwrap();
    grounds.refresh(&repository, &Silent).unwrap();
    assert!(grounds.mark_what_is_there(&grounds.reader(&repository), &roots, &Silent).unwrap());
    assert_eq!(marked(&mut grounds), marked(&mut whole));
}
