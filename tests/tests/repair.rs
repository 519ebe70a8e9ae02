//! Repair (spec chapter 7): what is broken comes back from wherever it still is, nothing that can be read is dropped, and what is lost is told.
//! What is hurt is compared with what the independent reader cannot read.

mod entrance;
mod family;
mod identity;
mod objects;

use crate::faults::copy;
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::check::{CheckOptions, CheckReport, ReadData, check};
use seabed_engine::dump::dump;
use seabed_engine::error::{Error, StoreOp};
use seabed_engine::format::pack::CODEC_RAW;
use seabed_engine::gc::{GcOptions, collect, plan};
use seabed_engine::id::{ChunkId, Class, ObjectName, SnapshotId};
use seabed_engine::index::build_segment;
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::pack::OpenPack;
use seabed_engine::pack::writer::{EncodedFrame, NewFrame, PackWriter};
use seabed_engine::repair::{RepairOptions, RepairReport, repair};
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::reader::View;
use seabed_tests::repo::{bytes_stream, init, open};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;
type Break = fn(&MemoryStore, &ObjectName);

/// Gone, cut short, and rotten inside with the right length.
const BREAKS: [Break; 3] = [
    |store, name| assert!(store.remove(name)),
    |store, name| assert!(store.corrupt(name, |bytes| bytes.truncate(bytes.len() / 2))),
    |store, name| {
        assert!(store.corrupt(name, |bytes| {
            let at = bytes.len() / 3;
            bytes[at] ^= 1;
        }));
    },
];

fn noise(label: &str, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A tree of two days, a dump beside it, and what every snapshot gives back.
struct Fixture {
    tree: tempfile::TempDir,
    store: Arc<MemoryStore>,
    snapshots: Vec<SnapshotId>,
    want: BTreeMap<SnapshotId, Contents>,
}

impl Fixture {
    fn new() -> Self {
        Self::sized(2_600_000)
    }

    fn sized(big: usize) -> Self {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("sub")).unwrap();
        // Several frames, a list tree, small files, and a hole.
        std::fs::write(tree.path().join("big"), noise("big", big)).unwrap();
        for n in 0..40 {
            std::fs::write(tree.path().join(format!("sub/{n:02}")), noise(&format!("file {n}"), 3000 + n * 40)).unwrap();
        }
        let sparse = std::fs::File::create(tree.path().join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, &noise("behind a hole", 9000), 300_000).unwrap();
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        let mut fixture = Fixture { tree, store, snapshots: Vec::new(), want: BTreeMap::new() };
        fixture.snapshots.push(fixture.backup(&repository, b"-- dump of the first day"));
        std::fs::write(fixture.tree.path().join("sub/07"), noise("changed", 5000)).unwrap();
        fixture.snapshots.push(fixture.backup(&repository, b"-- dump of the second day"));
        fixture.want = contents(&repository);
        fixture
    }

    fn backup(&self, repository: &Repository, dump: &[u8]) -> SnapshotId {
        let options = BackupOptions {
            paths: vec![self.tree.path().to_owned()],
            streams: vec![bytes_stream("dump.sql", dump.to_vec())],
            series: Some("test".to_owned()),
            host: "here".to_owned(),
            threads: 2,
            ..BackupOptions::default()
        };
        backup(repository, options, &Silent).unwrap().snapshot.unwrap()
    }

    /// Another store with the same objects.
    fn fork(&self) -> Arc<MemoryStore> {
        copy(&self.store)
    }

    fn packs(&self, class: Class) -> Vec<ObjectName> {
        self.store.list(class.folder()).unwrap().into_iter().map(|listed| listed.name).collect()
    }
}

fn opened(store: &Arc<MemoryStore>) -> Repository {
    open(store.clone(), None).unwrap()
}

/// What a snapshot gives back, by path; what cannot be read is not in it.
fn readable(repository: &Repository, id: &SnapshotId) -> Contents {
    let Ok(refresh) = repository.refresh() else { return Contents::new() };
    if refresh.unreadable.iter().any(|bad| bad.id == *id) {
        return Contents::new();
    }
    let Ok(snapshot) = repository.select(&id.to_string(), &Default::default()) else { return Contents::new() };
    let mut paths: Vec<Vec<u8>> = Vec::new();
    // What was listed before a leaf that cannot be read counts.
    list(repository, &snapshot.snapshot, b"", true, |dir, entry| {
        if entry.has_content() {
            paths.push(if dir.is_empty() { entry.name.0.clone() } else { [dir, b"/", &entry.name.0[..]].concat() });
        }
        Ok(true)
    })
    .unwrap_or_default();
    let mut found = Contents::new();
    for path in paths {
        let mut bytes = Vec::new();
        let selected = Selected { snapshot: snapshot.snapshot.clone(), path: path.clone() };
        if dump(repository, &selected, &mut bytes, &Silent).is_ok() {
            found.insert(path, bytes);
        }
    }
    found
}

fn contents(repository: &Repository) -> BTreeMap<SnapshotId, Contents> {
    repository.refresh().unwrap();
    let ids = repository.catalog().ids().unwrap();
    ids.iter().map(|id| (*id, readable(repository, id))).collect()
}

fn checked(repository: &Repository) -> CheckReport {
    check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap()
}

/// A check that reads everything, and a repair with what it found.
fn repaired(repository: &Repository, others: &[&Repository], host: Option<&str>) -> RepairReport {
    checked(repository);
    let options = RepairOptions { others: others.to_vec(), host: host.map(str::to_owned), dry_run: false };
    repair(repository, &options, &Silent).unwrap()
}

/// Everything is there again, for whoever comes with nothing in his hands.
fn whole(what: &str, store: &Arc<MemoryStore>, fixture: &Fixture) {
    let repository = opened(store);
    let report = checked(&repository);
    assert!(report.is_clean(), "{what}: {report:?}");
    let have = contents(&repository);
    for (id, want) in &fixture.want {
        assert!(have.values().any(|have| have == want), "{what}: nothing gives back what {} did", id.short());
    }
    assert_eq!(have.len(), fixture.want.len(), "{what}");
}

fn collected(store: &Arc<MemoryStore>) -> Result<(), Error> {
    let repository = opened(store);
    let options = GcOptions { grace: Duration::ZERO, ..GcOptions::default() };
    collect(&repository, plan(&repository, &options, &Silent)?, &Silent).map(|_| ())
}

#[test]
fn an_undamaged_repository_is_left_as_it_is() {
    let fixture = Fixture::new();
    // A check notes what it has verified; a repair has nothing to note.
    let objects = || -> BTreeMap<_, _> { fixture.store.objects().into_iter().filter(|(name, _)| name.folder() != "notes").collect() };
    let before = objects();
    let twin = opened(&fixture.fork());
    let report = repaired(&opened(&fixture.store), &[&twin], Some("here"));
    assert!(!report.changes() && report.is_whole(), "{report:?}");
    assert!(objects() == before, "not one put, not one deletion");
}

#[test]
fn a_pack_with_one_bad_frame_loses_only_that_frame() {
    let fixture = Fixture::new();
    let repository = opened(&fixture.store);
    let largest = fixture.store.list("data").unwrap().into_iter().max_by_key(|listed| listed.bytes).unwrap().name;
    let pack = OpenPack::open(repository.store(), repository.keys(), Class::Data, &largest.as_pack().unwrap().1).unwrap();
    assert!(pack.table.frames.len() >= 3, "{} frames", pack.table.frames.len());
    let bad = &pack.table.frames[1];
    assert!(fixture.store.corrupt(&largest, |bytes| bytes[bad.offset as usize + 5] ^= 1));
    let all = repository.index().unwrap().chunk_count();
    let readable_before: Vec<Contents> = fixture.snapshots.iter().map(|id| readable(&opened(&fixture.store), id)).collect();

    // Nobody else has it: the rest is taken out, and the pack stays, for it may be read again.
    let report = repaired(&opened(&fixture.store), &[], None);
    let lost = u64::from(bad.info.chunks);
    assert_eq!((report.chunks_lost, report.packs_condemned.len(), report.packs_kept), (lost, 0, 1), "{report:?}");
    assert!(report.own.chunks > 0 && report.own.chunks < all && !report.is_whole());
    assert_eq!(report.snapshots_hurt.len(), 2);
    let after: Vec<Contents> = fixture.snapshots.iter().map(|id| readable(&opened(&fixture.store), id)).collect();
    assert_eq!(after, readable_before, "nothing readable was dropped");

    // The second time there is nothing more to take out.
    let again = repaired(&opened(&fixture.store), &[], None);
    assert_eq!((again.own.chunks, again.chunks_lost), (0, lost), "{again:?}");

    // A copy from before the damage has the rest; then nobody uses the pack any more, and it goes.
    let twin =
        Fixture { store: Arc::new(MemoryStore::new()), tree: tempfile::tempdir().unwrap(), snapshots: vec![], want: BTreeMap::new() };
    for (name, bytes) in fixture.store.objects() {
        let mut bytes = bytes.to_vec();
        if name == largest {
            bytes[bad.offset as usize + 5] ^= 1;
        }
        twin.store.put(&name, &bytes).unwrap();
    }
    let report = repaired(&opened(&fixture.store), &[&opened(&twin.store)], None);
    assert_eq!((report.other.chunks, report.chunks_lost), (lost, 0), "{report:?}");
    assert!(report.bytes_fetched < 2 * u64::from(bad.info.stored), "more was fetched than what was missed");
    assert_eq!(report.packs_condemned, std::slice::from_ref(&largest));
    whole("healed", &fixture.store, &fixture);
    collected(&fixture.store).unwrap();
    assert!(!fixture.store.objects().contains_key(&largest), "it was condemned");
    whole("collected", &fixture.store, &fixture);
}

/// Packs of every class, in every way, and all of them at once; without a check of this host's cache, for it is the same run's.
#[test]
fn another_copy_brings_back_every_pack() {
    let fixture = Fixture::new();
    let twin_store = fixture.fork();
    for class in Class::ALL {
        for (way, damage) in BREAKS.iter().enumerate() {
            let store = fixture.fork();
            for pack in fixture.packs(class) {
                damage(&store, &pack);
            }
            let what = format!("{class:?}, way {way}");
            let dry = {
                let repository = opened(&store);
                checked(&repository);
                let before = store.objects();
                let twin = opened(&twin_store);
                let options = RepairOptions { others: vec![&twin], host: None, dry_run: true };
                let report = repair(&repository, &options, &Silent).unwrap();
                assert_eq!(store.objects(), before, "{what}: a dry run changed something");
                report
            };
            assert!(dry.other.chunks > 0, "{what}: {dry:?}");
            let report = repaired(&opened(&store), &[&opened(&twin_store)], None);
            assert!(report.is_whole() && report.other.chunks >= dry.other.chunks && report.bytes_fetched > 0, "{what}: {report:?}");
            assert_eq!(report.packs_condemned.len(), fixture.packs(class).len(), "{what}");
            whole(&what, &store, &fixture);
            collected(&store).unwrap();
            whole(&what, &store, &fixture);
        }
    }
    let store = fixture.fork();
    for class in Class::ALL {
        fixture.packs(class).iter().for_each(|pack| assert!(store.remove(pack)));
    }
    for segment in store.list("index").unwrap() {
        assert!(store.remove(&segment.name));
    }
    let report = repaired(&opened(&store), &[&opened(&twin_store)], None);
    assert!(report.is_whole(), "{report:?}");
    whole("all packs and all segments", &store, &fixture);
}

#[test]
fn segments_are_made_anew_from_footers() {
    for damage in BREAKS {
        let fixture = Fixture::new();
        let old: Vec<ObjectName> = fixture.store.list("index").unwrap().into_iter().map(|listed| listed.name).collect();
        old.iter().for_each(|segment| damage(&fixture.store, segment));
        let report = repaired(&opened(&fixture.store), &[], None);
        assert!(report.is_whole() && report.chunks_lost == 0 && report.other.chunks == 0, "{report:?}");
        let left = fixture.store.list("index").unwrap();
        assert!(!left.is_empty() && left.iter().all(|listed| !old.contains(&listed.name)), "{left:?}");
        whole("segments", &fixture.store, &fixture);
    }
}

#[test]
fn files_of_this_host_heal_what_they_still_hold() {
    // Where packs are rotten inside, the frames beside the bad ones are taken out first.
    for (way, damage) in BREAKS.iter().enumerate() {
        let fixture = Fixture::new();
        for pack in fixture.packs(Class::Data) {
            damage(&fixture.store, &pack);
        }
        let other_host = repaired(&opened(&copy(&fixture.store)), &[], Some("elsewhere"));
        assert_eq!(other_host.source.chunks, 0, "{other_host:?}");
        let report = repaired(&opened(&fixture.store), &[], Some("here"));
        // Of the first day's there are a file and the dump that nobody has any more, of the second's the dump.
        assert!(report.source.chunks > 50 && report.other.chunks == 0 && (way == 2 || report.chunks_lost > 0), "{report:?}");
        let have = readable(&opened(&fixture.store), &fixture.snapshots[1]);
        let want = &fixture.want[&fixture.snapshots[1]];
        let lost: Vec<&Vec<u8>> = want.keys().filter(|path| have.get(*path) != Some(&want[*path])).collect();
        assert!(lost.iter().all(|path| path.ends_with(b"dump.sql")), "{lost:?}");
        // Only what was missed is stored: no file that came since.
        std::fs::write(fixture.tree.path().join("new"), noise("new", 50_000)).unwrap();
        let again = repaired(&opened(&fixture.store), &[], Some("here"));
        assert_eq!(again.source.chunks, 0, "{again:?}");
        // A pack that may still hold the dump is not given up.
        assert!(way == 2 || again.packs_condemned.is_empty() && again.packs_kept > 0, "{again:?}");
    }
}

/// The next ordinary backup of unchanged data heals: data, names and lists packs, segments; gone, short, and rotten inside where a check of
/// this host has found it.
#[test]
fn the_next_backup_of_unchanged_data_heals_every_kind_of_loss() {
    let tree = tempfile::tempdir().unwrap();
    for n in 0..30 {
        std::fs::write(tree.path().join(format!("{n:02}")), noise(&format!("{n}"), 4000)).unwrap();
    }
    std::fs::write(tree.path().join("long"), noise("long", 1_900_000)).unwrap();
    // What has just been written is read again anyhow: nothing here may be young.
    let old = rustix::fs::Timespec { tv_sec: 1_700_000_000, tv_nsec: 5 };
    for entry in std::fs::read_dir(tree.path()).unwrap() {
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(rustix::fs::CWD, entry.unwrap().path(), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    let run = |repository: &Repository| {
        // The time of change is now, whatever was done above.
        let options = BackupOptions {
            paths: vec![tree.path().to_owned()],
            series: Some("t".into()),
            host: "here".into(),
            threads: 2,
            ignore_ctime: true,
            ..BackupOptions::default()
        };
        backup(repository, options, &Silent).unwrap()
    };
    let built = Arc::new(MemoryStore::new());
    let first = run(&init(built.clone(), None).unwrap()).snapshot.unwrap();
    let want = readable(&opened(&built), &first);
    let unchanged = run(&opened(&copy(&built)));
    assert_eq!((unchanged.summary.files_unmodified, unchanged.summary.data_chunks), (31, 0), "{unchanged:?}");
    for folder in ["data", "names", "lists", "index"] {
        for (way, damage) in BREAKS.iter().enumerate() {
            let store = copy(&built);
            let what = format!("{folder}, way {way}");
            for listed in store.list(folder).unwrap() {
                damage(&store, &listed.name);
            }
            let cache = tempfile::tempdir().unwrap();
            let at = || open(store.clone(), Some(cache.path())).unwrap();
            assert!(checked(&at()).is_damaged(), "{what}");
            run(&at());
            let repository = opened(&store);
            repository.refresh().unwrap();
            // The old snapshot too: it is made of the same chunks.
            for id in repository.catalog().ids().unwrap() {
                assert_eq!(readable(&opened(&store), &id), want, "{what}");
            }
            if folder == "index" && way > 0 {
                // What they said is said again; the debris itself is a repair's to remove.
                assert!(repaired(&at(), &[], None).segments_replaced > 0, "{what}");
            }
            let report = checked(&at());
            assert!(report.is_clean(), "{what}: {report:?}");
        }
    }
}

#[test]
fn snapshots_come_back_with_their_manifests() {
    let fixture = Fixture::new();
    let twin = fixture.fork();
    for (number, old) in fixture.snapshots.iter().enumerate() {
        for (way, damage) in BREAKS.iter().enumerate() {
            let (store, what) = (fixture.fork(), format!("snapshot {number}, way {way}"));
            damage(&store, &ObjectName::snapshot(old));
            let report = repaired(&opened(&store), &[&opened(&twin)], None);
            assert_eq!(report.snapshots_back.iter().map(|(old, _)| *old).collect::<Vec<_>>(), [*old], "{what}: {report:?}");
            assert!(report.is_whole(), "{what}: {report:?}");
            whole(&what, &store, &fixture);
            let repository = opened(&store);
            repository.refresh().unwrap();
            let back = repository.select(&report.snapshots_back[0].1.to_string(), &Default::default()).unwrap().snapshot;
            assert_eq!(back.names.origin.unwrap().snapshot, *old, "{what}");
            // The ledger is whole: collections go on.
            collected(&store).unwrap_or_else(|error| panic!("{what}: {error}"));
            whole(&what, &store, &fixture);
        }
    }
    // Without another copy the catalog of whoever has seen it is enough.
    let cache = tempfile::tempdir().unwrap();
    let store = fixture.fork();
    open(store.clone(), Some(cache.path())).unwrap().refresh().unwrap();
    assert!(store.remove(&ObjectName::snapshot(&fixture.snapshots[1])));
    let report = repaired(&open(store.clone(), Some(cache.path())).unwrap(), &[], None);
    assert_eq!(report.snapshots_back.len(), 1, "{report:?}");
    whole("remembered", &store, &fixture);
    // And where nobody knows it: it is told, and nothing is given up.
    let store = fixture.fork();
    assert!(store.remove(&ObjectName::snapshot(&fixture.snapshots[0])));
    let report = repaired(&opened(&store), &[], None);
    assert_eq!((report.snapshots_back.len(), report.snapshots_lost.len(), report.is_whole()), (0, 1, false), "{report:?}");
    // Manifest and data together: data first, or nothing comes back.
    let store = fixture.fork();
    assert!(store.remove(&ObjectName::snapshot(&fixture.snapshots[1])));
    for class in Class::ALL {
        fixture.packs(class).iter().for_each(|pack| assert!(store.remove(pack)));
    }
    let report = repaired(&opened(&store), &[&opened(&twin)], None);
    assert!(report.is_whole() && report.snapshots_back.len() == 1, "{report:?}");
    whole("manifest and data", &store, &fixture);
}

/// Another repository may be anybody's who has the key: whatever it says, a chunk is what its id says.
#[test]
fn a_wrong_chunk_under_an_id_is_refused() {
    let fixture = Fixture::new();
    let twin = Arc::new(MemoryStore::new());
    for (name, bytes) in
        fixture.store.objects().into_iter().filter(|(name, _)| !name.as_str().starts_with("index/") && !name.as_str().starts_with("data/"))
    {
        twin.put(&name, &bytes).unwrap();
    }
    // Packs with the same ids, and other bytes under each.
    let repository = opened(&fixture.store);
    let hostile = opened(&twin);
    let mut forged = Vec::new();
    for name in fixture.packs(Class::Data) {
        let pack = OpenPack::open(repository.store(), repository.keys(), Class::Data, &name.as_pack().unwrap().1).unwrap();
        let chunks: Vec<(ChunkId, u32)> = pack.table.ids().zip(pack.table.footer.lengths.iter().copied()).take(200).collect();
        let plain: u32 = chunks.iter().map(|(_, bytes)| *bytes).sum();
        let bytes = noise("evil", plain as usize);
        let (mut writer, mut object) = PackWriter::begin(hostile.keys(), Class::Data, hostile.writer(), SnapshotId::new([3; 32])).unwrap();
        object.extend(writer.add(NewFrame::Fresh(EncodedFrame { codec: CODEC_RAW, plain, bytes, chunks })).unwrap());
        let (new, last) = writer.finish(hostile.keys()).unwrap();
        object.extend(last);
        twin.put(&ObjectName::pack(Class::Data, &new.id), &object).unwrap();
        forged.push(new);
    }
    hostile.put_segment(&build_segment(&forged)).unwrap();
    let store = fixture.fork();
    fixture.packs(Class::Data).iter().for_each(|pack| assert!(store.remove(pack)));
    let report = repaired(&opened(&store), &[&opened(&twin)], None);
    assert!(report.other.chunks == 0 && report.chunks_lost > 0 && report.packs_condemned.is_empty(), "{report:?}");
    assert!(store.list("data").unwrap().is_empty());
}

/// Killed at any operation: what could be read still can, and the next repair goes on.
#[test]
fn every_operation_of_a_repair_may_be_the_last() {
    let fixture = Fixture::sized(400_000);
    let twin = fixture.fork();
    let start = fixture.fork();
    let largest = start.list("data").unwrap().into_iter().max_by_key(|listed| listed.bytes).unwrap().name;
    assert!(start.corrupt(&largest, |bytes| bytes[100] ^= 1));
    assert!(start.remove(&start.list("lists").unwrap()[0].name));
    assert!(start.corrupt(&start.list("index").unwrap()[0].name, |bytes| bytes[90] ^= 1));
    assert!(start.corrupt(&ObjectName::snapshot(&fixture.snapshots[1]), |bytes| bytes[300] ^= 1));
    let before: Vec<Contents> = fixture.snapshots.iter().map(|id| readable(&opened(&start), id)).collect();
    let mut runs = 0;
    // What was done and not heard of, or done by half, is as good as what was not done, nearly always: a third of these will do.
    for (fault, step) in [(Fault::Before, 1), (Fault::After, 3), (Fault::Torn, 3)] {
        for at in (0..).step_by(step) {
            let memory = copy(&start);
            let faulty = FaultStore::new(memory.clone());
            let repository = open(Arc::new(faulty.clone()), None).unwrap();
            let other = opened(&twin);
            checked(&repository);
            faulty.schedule(Some(Schedule { at, fault, for_ever: true }));
            let options = RepairOptions { others: vec![&other], host: None, dry_run: false };
            repair(&repository, &options, &Silent).map(|_| ()).unwrap_or_default();
            if faulty.fired() == 0 {
                break;
            }
            let what = format!("{fault:?} {at} {:?}", faulty.log().first());
            for (id, want) in fixture.snapshots.iter().zip(&before) {
                let have = readable(&opened(&memory), id);
                assert!(want.iter().all(|(path, bytes)| have.get(path) == Some(bytes)), "{what}: something can be read no more");
            }
            let again = repaired(&opened(&memory), &[&opened(&twin)], None);
            assert!(again.is_whole(), "{what}: {again:?}");
            whole(&what, &memory, &fixture);
            runs += 1;
        }
    }
    assert!(runs > 60, "{runs}");
}

/// A collection without grace that runs between any two steps of a repair, and another repair: nothing is lost by it.
#[test]
fn a_repair_beside_a_collection_and_another_repair_loses_nothing() {
    let fixture = Fixture::sized(400_000);
    let twin = fixture.fork();
    let points: [(StoreOp, &str); 6] = [
        (StoreOp::List, "pending"),
        (StoreOp::List, "index"),
        (StoreOp::Put, "data"),
        (StoreOp::Put, "index"),
        (StoreOp::List, "records"),
        (StoreOp::Put, "records"),
    ];
    for (op, below) in points {
        for with_repair in [false, true] {
            let memory = fixture.fork();
            let largest = memory.list("data").unwrap().into_iter().max_by_key(|listed| listed.bytes).unwrap().name;
            assert!(memory.corrupt(&largest, |bytes| bytes[100] ^= 1));
            let what = format!("{op} {below}, another repair: {with_repair}");
            let faulty = FaultStore::new(memory.clone());
            let repository = open(Arc::new(faulty.clone()), None).unwrap();
            let other = opened(&twin);
            checked(&repository);
            let (beside, twin) = (memory.clone(), twin.clone());
            faulty.before(op, below, move || {
                if with_repair {
                    repaired(&opened(&beside), &[&opened(&twin)], None);
                }
                // It may stop at the damage, and must delete nothing that is needed.
                collected(&beside).unwrap_or_default();
            });
            let options = RepairOptions { others: vec![&other], host: None, dry_run: false };
            let report = repair(&repository, &options, &Silent).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report.is_whole(), "{what}: {report:?}");
            whole(&what, &memory, &fixture);
            collected(&memory).unwrap_or_else(|error| panic!("{what}: {error}"));
            whole(&what, &memory, &fixture);
        }
    }
}

/// A few of the drills that run at night on a large repository: objects drawn by lot, what is hurt told exactly, and everything brought back.
#[test]
fn damage_by_lot_is_named_exactly_and_healed() {
    let fixture = Fixture::new();
    let twin = fixture.fork();
    let mut seed = blake3::Hasher::new().update(b"drills 1").finalize_xof();
    let mut draw = |below: usize| {
        let mut bytes = [0; 8];
        seed.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % below as u64).unwrap()
    };
    for folder in ["data", "names", "lists", "index", "snapshots"] {
        for count in [1, 2, 100] {
            for (way, damage) in BREAKS.iter().enumerate() {
                let store = fixture.fork();
                let mut names: Vec<ObjectName> = store.list(folder).unwrap().into_iter().map(|listed| listed.name).collect();
                let mut hurt = BTreeSet::new();
                for _ in 0..count.min(names.len()) {
                    hurt.insert(names.remove(draw(names.len())));
                }
                hurt.iter().for_each(|name| damage(&store, name));
                let what = format!("{} of {folder}, way {way}", hurt.len());
                let want = unreadable(&store, &fixture);
                let repository = opened(&store);
                let report = checked(&repository);
                let said: BTreeSet<SnapshotId> = report.findings.iter().flat_map(|finding| finding.snapshots.iter().copied()).collect();
                // The newest of a writer can only be missed by who saw it.
                let newest = fixture.snapshots[1];
                let unseen = folder == "snapshots" && !store.objects().contains_key(&ObjectName::snapshot(&newest));
                assert_eq!(
                    &said,
                    &want.into_iter().filter(|id| !unseen || *id != newest && !said.is_empty()).collect(),
                    "{what}: {report:?}"
                );
                let report = repaired(&repository, &[&opened(&twin)], None);
                assert!(report.is_whole(), "{what}: {report:?}");
                whole(&what, &store, &fixture);
            }
        }
    }
}

/// The snapshots that the independent reader cannot read whole, given what of the objects it can read at all.
fn unreadable(store: &Arc<MemoryStore>, fixture: &Fixture) -> BTreeSet<SnapshotId> {
    let objects: BTreeMap<String, Arc<Vec<u8>>> =
        store.objects().into_iter().map(|(name, bytes)| (name.as_str().to_owned(), bytes)).collect();
    let opens: BTreeMap<String, Arc<Vec<u8>>> = objects
        .iter()
        .filter(|(name, _)| ["seabed", "slots", "keyring"].contains(&name.split('/').next().unwrap()))
        .map(|(n, b)| (n.clone(), b.clone()))
        .collect();
    let mut view = View::new(&opens, &[7; 32]).unwrap();
    for (name, bytes) in objects.iter().filter(|(name, _)| !opens.contains_key(*name)) {
        // What it refuses is not there for it.
        view.put(name, bytes).unwrap_or_default();
    }
    let whole = |id: &SnapshotId| view.snapshot(id.as_bytes()).is_some_and(|manifest| view.why_not(manifest).is_none());
    fixture.snapshots.iter().filter(|id| !whole(id)).copied().collect()
}
