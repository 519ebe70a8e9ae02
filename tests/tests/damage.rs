//! Damage: every byte of every object of a small repository is flipped, cut, lost, swapped, and `check` must see it (spec: "what damage does").
//! What it does not see must not matter: then every snapshot still gives back the bytes that were stored. Nothing may panic.

use rayon::prelude::*;
use seabed_engine::backup::{BackupOptions, BackupReport, ParentChoice, StreamSource, backup};
use seabed_engine::check::{CheckOptions, CheckReport, ReadData, Warning, check};
use seabed_engine::error::{Damage, Error, Kind};
use seabed_engine::format::lists::Item;
use seabed_engine::format::notes::Tags;
use seabed_engine::format::object::ObjectType;
use seabed_engine::format::protocol::{Hold, Note, Record, Release, Tombstone};
use seabed_engine::format::wire::{Bytes, Time, to_bytes};
use seabed_engine::id::{Class, ObjectId, ObjectName, SnapshotId, WriterId};
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::pack::reader::ReadBuffers;
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::entries::find_content;
use seabed_engine::repository::tree::ContentCursor;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::object::seal_object;
use seabed_engine::source::stream::ReaderStream;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Objects = BTreeMap<ObjectName, Arc<Vec<u8>>>;
/// Path to bytes, of everything that a snapshot gives back.
/// A change to a store.
type Spoil = Box<dyn Fn(&MemoryStore) + Sync + Send>;
type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

const SECRET: [u8; 32] = [7; 32];

fn secret() -> Secret {
    Secret::KeyFile(Key::new(SECRET))
}

fn init(store: &MemoryStore) -> Repository {
    let init = InitOptions { kdf: (64, 1, 1), ..InitOptions::default() };
    Repository::init(Arc::new(store.clone()), &secret(), &init, &OpenOptions::default()).unwrap()
}

fn open(store: &MemoryStore) -> Result<Repository, Error> {
    Repository::open(Arc::new(store.clone()), &secret(), &OpenOptions::default())
}

fn noise(label: &str, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut out);
    out
}

fn stream(name: &str, bytes: Vec<u8>) -> StreamSource {
    StreamSource {
        name: name.as_bytes().to_vec(),
        argv: Vec::new(),
        open: Mutex::new(Some(Box::new(move || Ok(Box::new(ReaderStream(Cursor::new(bytes))))))),
        allow_empty: true,
    }
}

fn run(repository: &Repository, tree: &Path, dump: &[u8]) -> BackupReport {
    let options = BackupOptions {
        paths: vec![tree.to_owned()],
        streams: vec![stream("dump.sql", dump.to_vec())],
        host: "host".to_owned(),
        threads: 1,
        ..BackupOptions::default()
    };
    backup(repository, options, &Silent).unwrap()
}

fn all() -> CheckOptions {
    CheckOptions { read_data: ReadData::All, ..Default::default() }
}

fn check_all(repository: &Repository) -> CheckReport {
    check(repository, &all(), &Silent).unwrap()
}

fn fork(objects: &Objects) -> MemoryStore {
    let store = MemoryStore::new();
    for (name, bytes) in objects {
        store.put(name, bytes).unwrap();
    }
    store
}

/// Everything that every snapshot gives back.
fn contents(repository: &Repository) -> Result<BTreeMap<SnapshotId, Contents>, Error> {
    let unreadable = repository.refresh()?.unreadable;
    if let Some(first) = unreadable.into_iter().next() {
        return Err(first.error);
    }
    let reader = repository.reader()?;
    let mut out = BTreeMap::new();
    for snapshot in repository.catalog().snapshots()? {
        let mut paths = Vec::new();
        list(repository, &snapshot, b"", true, |dir, entry| {
            paths.push((if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() }, entry.clone()));
            Ok(true)
        })?;
        let mut contents = Contents::new();
        for (dir, entry) in paths {
            let path = [&dir[..], &entry.name.0].concat();
            // Attributes count too.
            let mut bytes = format!("{entry:?}").into_bytes();
            let (_, content) = find_content(&reader, &snapshot, &path)?.expect("what is listed is found");
            if let Some(content) = content {
                let mut cursor = ContentCursor::new(&content);
                let mut buffers = ReadBuffers::default();
                while let Some(items) = cursor.next_items(&reader, &mut buffers)? {
                    for item in items.items {
                        match item {
                            Item::Chunk(id) => reader.read(Class::Data, &id, &mut buffers, &mut bytes)?,
                            Item::Hole(hole) => bytes.resize(bytes.len() + hole as usize, 0),
                        }
                    }
                }
            }
            contents.insert(path, bytes);
        }
        out.insert(snapshot.id, contents);
    }
    Ok(out)
}

/// Trees of two days and a dump; few bytes, but small and inline files, a file with a list tree and one of a leaf alone.
struct Fixture {
    tree: tempfile::TempDir,
    store: MemoryStore,
    snapshots: Vec<SnapshotId>,
}

impl Fixture {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("sub")).unwrap();
        std::fs::write(tree.path().join("a"), noise("a", 900)).unwrap();
        std::fs::write(tree.path().join("sub/b"), b"text ".repeat(100)).unwrap();
        std::fs::write(tree.path().join("sub/empty"), b"").unwrap();
        std::os::unix::fs::symlink("a", tree.path().join("link")).unwrap();
        let store = MemoryStore::new();
        let repository = init(&store);
        let mut snapshots = Vec::new();
        snapshots.extend(run(&repository, tree.path(), b"-- dump of the first day").snapshot);
        std::fs::write(tree.path().join("sub/b"), b"changed ".repeat(60)).unwrap();
        snapshots.extend(run(&repository, tree.path(), b"-- dump of the second day").snapshot);
        Fixture { tree, store, snapshots }
    }

    /// With an object of every type that later issues write.
    fn with_every_type() -> Self {
        let fixture = Self::new();
        let repository = open(&fixture.store).unwrap();
        let (snapshot, id) = (fixture.snapshots[0], ObjectId::new([9; 16]));
        let time = Time::from_nanos(1);
        let put = |name: ObjectName, object: Result<Vec<u8>, Error>| fixture.store.put(&name, &object.unwrap()).unwrap();
        let (keys, repo) = (repository.keys(), repository.id());
        let name = ObjectName::hold(&snapshot, &id);
        let hold = Hold { snapshot, reason: "audit".into(), until: None, time, extra: vec![] };
        put(name.clone(), seal_object(keys, &repo, &name, ObjectType::Hold, &hold));
        let name = ObjectName::release(&snapshot, &id);
        let release = Release { snapshot, holds: vec![id], time, extra: vec![] };
        put(name.clone(), seal_object(keys, &repo, &name, ObjectType::Release, &release));
        let name = ObjectName::note(snapshot.as_bytes(), &id);
        let tags = Tags { tags: vec!["kept".into()], extra: vec![] };
        let note =
            Note { kind: "tags".into(), about: Bytes(snapshot.as_bytes().to_vec()), time, body: Bytes(to_bytes(&tags)), extra: vec![] };
        put(name.clone(), seal_object(keys, &repo, &name, ObjectType::Note, &note));
        let name = ObjectName::record(1, &id);
        let record = Record { sequence: 1, packs: vec![], seen: vec![], folds: vec![], time, extra: vec![] };
        put(name.clone(), seal_object(keys, &repo, &name, ObjectType::Record, &record));
        let gone = SnapshotId::new([5; 32]);
        let name = ObjectName::tombstone(&gone, &id);
        let writer = WriterId::new([6; 16]);
        let tombstone =
            Tombstone { snapshot: gone, writer, sequence: 1, previous: None, heads: vec![], time, reason: "forget".into(), extra: vec![] };
        put(name.clone(), seal_object(keys, &repo, &name, ObjectType::Tombstone, &tombstone));
        let (mut index, names) = repository.read_manifest(&ObjectName::snapshot(&snapshot)).unwrap();
        index.snapshot = SnapshotId::new([8; 32]);
        repository.put_manifest(&ObjectName::pending(&index.snapshot, 0), &index, &names).unwrap();
        fixture
    }

    fn objects(&self) -> Objects {
        self.store.objects()
    }

    fn one(&self, folder: &str) -> ObjectName {
        self.store.list(folder).unwrap().remove(0).name
    }
}

/// Damages a copy of the repository and looks whether that is noticed, or does not matter.
fn survives(objects: &Objects, want: &BTreeMap<SnapshotId, Contents>, what: &str, damage: impl FnOnce(&MemoryStore)) -> Result<(), String> {
    let store = fork(objects);
    damage(&store);
    let Ok(repository) = open(&store) else { return Ok(()) };
    match check(&repository, &all(), &Silent) {
        Err(_) => return Ok(()),
        Ok(report) if !report.is_clean() => return Ok(()),
        Ok(_) => {}
    }
    match contents(&repository) {
        // More may be there than before (a tombstone that is lost), nothing less and nothing else.
        Ok(have) if want.iter().all(|(id, contents)| have.get(id) == Some(contents)) => Ok(()),
        Ok(_) => Err(format!("{what}: check is clean, but other bytes come back")),
        Err(error) => Err(format!("{what}: check is clean, but reading fails: {error}")),
    }
}

fn none_unseen(missed: Vec<String>) {
    assert!(missed.is_empty(), "{} unseen, first of them:\n{}", missed.len(), missed[..missed.len().min(20)].join("\n"));
}

/// Promise of the issue: every change of every byte is detected by `check --read-data` or changes nothing that is read.
#[test]
fn every_flipped_byte_is_seen_or_harmless() {
    let fixture = Fixture::with_every_type();
    let objects = fixture.objects();
    let repository = open(&fixture.store).unwrap();
    let clean = check_all(&repository);
    assert!(clean.is_clean() && clean.warnings.is_empty(), "{clean:?}");
    let want = contents(&repository).unwrap();
    let total: usize = objects.values().map(|o| o.len()).sum();
    assert!(total < 60_000, "{total} bytes: too many to flip each");
    let flips: Vec<(&ObjectName, usize)> = objects.iter().flat_map(|(name, o)| (0..o.len()).map(move |at| (name, at))).collect();
    let missed = flips.par_iter().filter_map(|(name, at)| {
        // One bit, another one for each byte, so that all eight have their turn; small fields get all bits flipped below.
        let mask = 1u8 << (at % 8);
        let what = format!("{name}, byte {at} ^ {mask}");
        let flip = |mask: u8| survives(&objects, &want, &what, |s| assert!(s.corrupt(name, |o| o[*at] ^= mask)));
        let first = flip(mask).err();
        // Headers, part heads, lengths and trailers: where a single other bit could mean something else.
        let ends = *at < 64 || objects[*name].len() - at <= 40;
        first.or_else(|| if ends { flip(0xff).err() } else { None })
    });
    none_unseen(missed.collect());
}

#[test]
fn every_cut_lengthened_zeroed_lost_or_swapped_object_is_seen_or_harmless() {
    let fixture = Fixture::with_every_type();
    let objects = fixture.objects();
    let want = contents(&open(&fixture.store).unwrap()).unwrap();
    let mut cases: Vec<(String, Spoil)> = Vec::new();
    for (name, bytes) in &objects {
        let dense = bytes.len() <= 400;
        for length in (0..bytes.len()).filter(|l| dense || l % 7 == 0 || *l < 64 || bytes.len() - l <= 64) {
            let name = name.clone();
            cases.push((format!("{name} cut to {length}"), Box::new(move |s| assert!(s.corrupt(&name, |o| o.truncate(length))))));
        }
        for byte in [0, 0xff] {
            let name = name.clone();
            cases.push((format!("{name} and a byte {byte}"), Box::new(move |s| assert!(s.corrupt(&name, |o| o.push(byte))))));
        }
        let zeroed = name.clone();
        cases.push((format!("{name} zeroed"), Box::new(move |s| assert!(s.corrupt(&zeroed, |o| o.fill(0))))));
        let lost = name.clone();
        // A manifest that is gone from the end of a ledger can only be missed by who saw it: the next test.
        if ObjectType::of(name) != Some(ObjectType::Snapshot) {
            cases.push((format!("{name} lost"), Box::new(move |s| assert!(s.remove(&lost)))));
        }
    }
    for (a, left) in &objects {
        for (b, right) in objects.range(a.clone()..).skip(1) {
            let (an, bn, left, right) = (a.clone(), b.clone(), left.clone(), right.clone());
            let swap = move |s: &MemoryStore| {
                assert!(s.corrupt(&an, |o| *o = right.to_vec()) && s.corrupt(&bn, |o| *o = left.to_vec()));
            };
            cases.push((format!("{a} and {b} swapped"), Box::new(swap)));
        }
    }
    none_unseen(cases.par_iter().filter_map(|(what, damage)| survives(&objects, &want, what, damage).err()).collect());
}

#[test]
fn a_lost_snapshot_is_missed_by_its_successor_and_by_who_saw_it() {
    let tree = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    init(&store);
    let options = OpenOptions { cache: Some(cache.path().to_owned()), ..Default::default() };
    let remembering = || Repository::open(Arc::new(store.clone()), &secret(), &options).unwrap();
    std::fs::write(tree.path().join("a"), b"one").unwrap();
    let first = run(&remembering(), tree.path(), b"1").snapshot.unwrap();
    let second = run(&remembering(), tree.path(), b"2").snapshot.unwrap();
    let third = run(&remembering(), tree.path(), b"3").snapshot.unwrap();
    let all = store.objects();
    let lost = |repository: &Repository| -> Vec<SnapshotId> {
        let report = check_all(repository);
        assert!(report.is_damaged() != report.is_clean());
        assert!(report.findings.iter().all(|f| matches!(f.error, Error::SnapshotLost { .. } | Error::LedgerGap { .. })), "{report:?}");
        let lost = |f: &seabed_engine::check::Finding| if let Error::SnapshotLost { snapshot } = f.error { Some(snapshot) } else { None };
        report.findings.iter().filter_map(lost).collect()
    };
    assert!(lost(&remembering()).is_empty());
    for (gone, stranger_sees) in [(second, true), (third, false)] {
        assert!(store.remove(&ObjectName::snapshot(&gone)));
        assert_eq!(lost(&remembering()), [gone]);
        assert_eq!(
            lost(&open(&store).unwrap()),
            if stranger_sees { vec![gone] } else { vec![] },
            "a first-time client knows what is there"
        );
        store.put(&ObjectName::snapshot(&gone), &all[&ObjectName::snapshot(&gone)]).unwrap();
    }
    // The first two of three: a gap in the numbers, of which the third names the end.
    assert!(store.remove(&ObjectName::snapshot(&first)) && store.remove(&ObjectName::snapshot(&second)));
    let report = check_all(&open(&store).unwrap());
    assert!(report.findings.iter().any(|f| matches!(f.error, Error::LedgerGap { first: 1, last: 1, .. })), "{report:?}");
}

#[test]
fn a_damage_names_the_snapshots_and_paths_that_it_hurts() {
    let fixture = Fixture::new();
    let repository = open(&fixture.store).unwrap();
    // The data pack of the second day: only the second snapshot needs it.
    let first_packs: Vec<ObjectName> = fixture.store.list("data").unwrap().into_iter().map(|l| l.name).collect();
    let mut hurt = Vec::new();
    for pack in &first_packs {
        let store = fork(&fixture.objects());
        assert!(store.corrupt(pack, |o| o[30] ^= 1));
        let report = check_all(&open(&store).unwrap());
        let quick = check(&open(&store).unwrap(), &CheckOptions::default(), &Silent).unwrap();
        assert!(quick.is_clean(), "a frame of content is only read when that is asked for");
        for finding in &report.findings {
            assert_eq!(finding.error.kind(), Kind::Damage);
            assert!(matches!(&finding.error, Error::Damaged { object, .. } if object == pack), "{finding:?}");
            assert!(!finding.paths.is_empty() && !finding.snapshots.is_empty(), "{finding:?}");
        }
        hurt.extend(report.findings.into_iter().flat_map(|f| f.snapshots));
    }
    assert!(fixture.snapshots.iter().all(|s| hurt.contains(s)), "{hurt:?}");
    // A names pack is read without being asked to.
    let store = fork(&fixture.objects());
    assert!(store.corrupt(&fixture.one("names"), |o| o[30] ^= 1));
    let quick = check(&open(&store).unwrap(), &CheckOptions::default(), &Silent).unwrap();
    assert!(quick.is_damaged() && quick.findings.iter().any(|f| !f.snapshots.is_empty()), "{quick:?}");
    drop(repository);
}

#[test]
fn parts_together_are_the_whole() {
    let fixture = Fixture::new();
    let repository = open(&fixture.store).unwrap();
    let whole = check_all(&repository);
    assert_eq!((whole.packs_read, whole.bytes_read), (whole.packs, whole.pack_bytes));
    for of in [1, 2, 7, 256] {
        let part = |n| {
            check(&repository, &CheckOptions { read_data: ReadData::Part { n, of }, ..Default::default() }, &Silent).unwrap().packs_read
        };
        assert_eq!((1..=of).map(part).sum::<u64>(), whole.packs);
    }
    for (read_data, packs) in [(ReadData::Percent(0.1), 1), (ReadData::Percent(100.0), whole.packs), (ReadData::Bytes(1), 1)] {
        assert_eq!(check(&repository, &CheckOptions { read_data, ..Default::default() }, &Silent).unwrap().packs_read, packs);
    }
    for read_data in [ReadData::Part { n: 0, of: 3 }, ReadData::Part { n: 1, of: 257 }, ReadData::Percent(0.0), ReadData::Percent(f64::NAN)]
    {
        assert!(check(&repository, &CheckOptions { read_data, ..Default::default() }, &Silent).is_err());
    }
}

#[test]
fn an_index_that_is_gone_or_broken_is_rebuilt_from_the_packs() {
    type Break = fn(&MemoryStore, &ObjectName);
    let breaks: [Break; 3] = [
        |store, name| assert!(store.remove(name)),
        |store, name| assert!(store.corrupt(name, |o| o.truncate(50))),
        |store, name| assert!(store.corrupt(name, |o| o[90] ^= 4)),
    ];
    for damage in breaks {
        let fixture = Fixture::new();
        let want = contents(&open(&fixture.store).unwrap()).unwrap();
        let before = fixture.store.list("index").unwrap();
        for segment in &before {
            damage(&fixture.store, &segment.name);
        }
        let repository = open(&fixture.store).unwrap();
        assert!(check_all(&repository).is_damaged());
        let report = rebuild(&repository, &Silent).unwrap();
        assert!(report.damaged.is_empty() && report.unreadable.is_empty(), "{report:?}");
        assert_eq!((report.segments, report.snapshots), (1, 2));
        assert_eq!(fixture.store.list("index").unwrap().len(), 1, "the old segments are gone");
        assert_eq!(contents(&repository).unwrap(), want);
        let clean = check_all(&repository);
        assert!(clean.is_clean() && clean.warnings.is_empty(), "{clean:?}");
        let again = run(&open(&fixture.store).unwrap(), fixture.tree.path(), b"-- dump of the second day");
        assert_eq!(again.summary.data_chunks, 0, "nothing is stored twice");
    }
}

#[test]
fn rebuild_leaves_alone_what_a_running_backup_puts_meanwhile() {
    /// Puts a segment as soon as packs are listed, as a backup beside it would.
    struct Meanwhile(MemoryStore, Mutex<Option<(ObjectName, Vec<u8>)>>);
    impl Store for Meanwhile {
        fn place(&self) -> String {
            self.0.place()
        }
        fn begin(&self) -> Result<Box<dyn seabed_engine::store::Upload>, Error> {
            self.0.begin()
        }
        fn get(&self, name: &ObjectName, max: u64) -> Result<Vec<u8>, Error> {
            self.0.get(name, max)
        }
        fn get_range(&self, name: &ObjectName, range: std::ops::Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
            self.0.get_range(name, range, into)
        }
        fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64), Error> {
            self.0.get_suffix(name, bytes)
        }
        fn size(&self, name: &ObjectName) -> Result<Option<u64>, Error> {
            self.0.size(name)
        }
        fn list(&self, folder: &str) -> Result<Vec<seabed_engine::store::Listed>, Error> {
            let listed = self.0.list(folder);
            if folder == "lists"
                && let Some((name, bytes)) = self.1.lock().unwrap().take()
            {
                self.0.put(&name, &bytes)?;
            }
            listed
        }
        fn delete(&self, name: &ObjectName) -> Result<(), Error> {
            self.0.delete(name)
        }
        fn now(&self) -> Result<i64, Error> {
            self.0.now()
        }
    }
    let fixture = Fixture::new();
    let segment = fixture.one("index");
    let bytes = fixture.objects()[&segment].to_vec();
    assert!(fixture.store.remove(&segment));
    let store = Meanwhile(fixture.store.clone(), Mutex::new(Some((segment.clone(), bytes))));
    let repository = Repository::open(Arc::new(store), &secret(), &OpenOptions::default()).unwrap();
    let report = rebuild(&repository, &Silent).unwrap();
    assert_eq!(report.removed, 1);
    assert!(fixture.store.size(&segment).unwrap().is_some());
    assert!(check_all(&repository).is_clean(), "two segments that say the same are right");
}

/// A store that lost a pack, or the end of one, is damage; the next backup of the same source stores anew what was there, and then
/// nothing is wrong any more. A check that went on crying about what nobody needs would soon not be read.
#[test]
fn the_next_backup_heals_lost_and_cut_packs() {
    type Break = fn(&MemoryStore, &ObjectName);
    let breaks: [Break; 3] = [
        |store, name| assert!(store.remove(name)),
        |store, name| assert!(store.corrupt(name, |o| o.truncate(o.len() / 2))),
        |store, name| assert!(store.corrupt(name, |o| o.push(0))),
    ];
    for class in Class::ALL {
        for damage in breaks {
            let tree = tempfile::tempdir().unwrap();
            std::fs::write(tree.path().join("a"), noise("a", 3000)).unwrap();
            let store = MemoryStore::new();
            let repository = init(&store);
            run(&repository, tree.path(), b"-- dump");
            let want = contents(&repository).unwrap();
            let pack = store.list(class.folder()).unwrap().remove(0).name;
            damage(&store, &pack);
            let report = check_all(&open(&store).unwrap());
            assert!(report.is_damaged() && report.findings.iter().all(|f| f.snapshots.len() == 1), "{pack}: {report:?}");
            let repository = open(&store).unwrap();
            run(&repository, tree.path(), b"-- dump");
            repository.drop_index();
            let healed = check_all(&repository);
            assert!(healed.is_clean(), "{pack}: {healed:?}");
            assert!(matches!(&healed.warnings[..], [Warning::Unneeded { .. }]), "{pack}: {healed:?}");
            let have = contents(&repository).unwrap();
            assert!(want.iter().all(|(id, contents)| have.get(id) == Some(contents)));
            let rebuilt = rebuild(&repository, &Silent).unwrap();
            assert!(rebuilt.damaged.len() <= 1);
            assert!(check_all(&repository).is_clean());
        }
    }
}

/// A flipped bit keeps a pack's length: check said "a backup of the same sources stores anew what is lost", and the backup added
/// nothing and pointed the new snapshot at the damage.
#[test]
fn a_backup_after_a_check_heals_flipped_bits() {
    for class in Class::ALL {
        // In a frame, in the header, in the footer.
        for place in [40, 10, 60] {
            let tree = tempfile::tempdir().unwrap();
            std::fs::write(tree.path().join("a"), noise("a", 3000)).unwrap();
            let (store, cache) = (MemoryStore::new(), tempfile::tempdir().unwrap());
            init(&store);
            let repository = || seabed_tests::repo::open(Arc::new(store.clone()), Some(cache.path())).unwrap();
            run(&repository(), tree.path(), b"-- dump");
            let want = contents(&repository()).unwrap();
            let pack = store.list(class.folder()).unwrap().remove(0).name;
            let flip = |o: &mut Vec<u8>| {
                let at = if place == 60 { o.len() - place } else { place };
                o[at] ^= 1;
            };
            assert!(store.corrupt(&pack, flip));
            assert!(check_all(&repository()).is_damaged(), "{pack}");
            run(&repository(), tree.path(), b"-- dump");
            let healed = check_all(&repository());
            assert!(healed.is_clean(), "{pack}: {healed:?}");
            assert!(matches!(&healed.warnings[..], [Warning::Unneeded { .. }]), "{pack}: {healed:?}");
            let have = contents(&repository()).unwrap();
            assert!(want.iter().all(|(id, contents)| have.get(id) == Some(contents)), "{pack}");
            // The disk gives the right bytes again: the pack counts as before.
            assert!(store.corrupt(&pack, flip));
            assert!(check_all(&repository()).warnings.is_empty());
            assert!(repository().catalog().suspects().unwrap().is_empty());
        }
    }
}

/// A footer that rots keeps its pack's length: a backup goes by the index and believes the pack. A rebuild leaves the pack out, and
/// the next backup stores anew what was there.
#[test]
fn a_broken_footer_is_healed_by_rebuild_and_backup() {
    for class in Class::ALL {
        let fixture = Fixture::new();
        let want = contents(&open(&fixture.store).unwrap()).unwrap();
        // The pack of the second day, whose source is still there.
        let newest = |pack: &&ObjectName| {
            let one = fork(&fixture.objects());
            assert!(one.remove(pack));
            let report = check_all(&open(&one).unwrap());
            report.findings.iter().all(|f| f.snapshots == [fixture.snapshots[1]])
        };
        let packs: Vec<ObjectName> = fixture.store.list(class.folder()).unwrap().into_iter().map(|l| l.name).collect();
        let pack = packs.iter().find(newest).unwrap();
        assert!(fixture.store.corrupt(pack, |o| {
            let at = o.len() - 60;
            o[at] ^= 1;
        }));
        let repository = open(&fixture.store).unwrap();
        let report = check(&repository, &CheckOptions::default(), &Silent).unwrap();
        assert!(report.is_damaged(), "footers are opened without reading data");
        assert_eq!(rebuild(&repository, &Silent).unwrap().damaged.len(), 1);
        run(&open(&fixture.store).unwrap(), fixture.tree.path(), b"-- dump of the second day");
        let repository = open(&fixture.store).unwrap();
        let healed = check_all(&repository);
        assert!(healed.is_clean() && matches!(&healed.warnings[..], [Warning::Unneeded { .. }]), "{healed:?}");
        let have = contents(&repository).unwrap();
        assert!(want.iter().all(|(id, contents)| have.get(id) == Some(contents)), "{class:?}");
    }
}

#[test]
fn a_newer_version_is_said_and_is_no_damage() {
    let fixture = Fixture::with_every_type();
    for (name, bytes) in fixture.objects() {
        let kind = ObjectType::of(&name).unwrap();
        let store = fork(&fixture.objects());
        // A pack says its version at both ends; what a newer program writes has the right name.
        let pack = name.as_pack();
        let mut newer = bytes.to_vec();
        newer[7] = 2;
        let mut place = name.clone();
        if let Some((class, _)) = pack {
            *newer.last_mut().unwrap() = 2;
            place = ObjectName::pack(class, &seabed_engine::id::PackId::new(*blake3::hash(&newer).as_bytes()));
        }
        assert!(store.remove(&name));
        store.put(&place, &newer).unwrap();
        let newer = |error: &Error| matches!(error, Error::NewerFormat { object, found: 2, .. } if *object == place);
        match open(&store) {
            Err(error) => assert!(newer(&error), "{name}: {error}"),
            Ok(repository) => {
                let report = check_all(&repository);
                // A pack that is another one now is missed under its old name; any other object is only newer.
                let warned = |w: &Warning| matches!(w, Warning::Unneeded { error } if newer(error));
                let said = report.findings.iter().any(|f| newer(&f.error)) || report.warnings.iter().any(warned);
                assert!(said, "{kind:?} {name}: {report:?}");
                assert!(pack.is_some() || !report.is_damaged(), "{kind:?} {name}: {report:?}");
            }
        }
    }
}

/// A README or an editor's backup file beside the segments once stopped every restore and backup: it was read as a segment.
#[test]
fn foreign_files_are_passed_over() {
    let fixture = Fixture::with_every_type();
    for folder in ["index", "records", "slots", "keyring", "snapshots", "pending", "data", "notes", "features"] {
        let name = if folder == "features" { "features/x/readme".to_owned() } else { format!("{folder}/readme") };
        fixture.store.put(&ObjectName::parse(&name).unwrap(), b"hello").unwrap();
    }
    let repository = open(&fixture.store).unwrap();
    let report = check_all(&repository);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.warnings.iter().filter(|w| matches!(w, Warning::Foreign { .. })).count(), 9, "{report:?}");
    contents(&repository).unwrap();
    run(&repository, fixture.tree.path(), b"-- dump");
    rebuild(&repository, &Silent).unwrap();
}

#[test]
fn packs_without_a_segment_are_told_and_taken_in() {
    let fixture = Fixture::new();
    // A pack of another repository of the same keys: nothing needs it.
    let repository = open(&fixture.store).unwrap();
    let before = fixture.store.objects();
    let options = BackupOptions {
        streams: vec![stream("other", noise("other", 5000))],
        parent: ParentChoice::None,
        threads: 1,
        ..BackupOptions::default()
    };
    backup(&repository, options, &Silent).unwrap();
    for name in fixture.store.objects().keys().filter(|name| !before.contains_key(name) && name.as_pack().is_none()) {
        assert!(fixture.store.remove(name));
    }
    let report = check_all(&open(&fixture.store).unwrap());
    assert!(report.is_clean() && matches!(&report.warnings[..], [Warning::Orphan { .. }]), "{report:?}");
    // It is read too.
    let pack = fixture.store.objects().into_keys().find(|name| !before.contains_key(name)).unwrap();
    let store = fork(&fixture.objects());
    assert!(store.corrupt(&pack, |o| o[200] ^= 1));
    let report = check_all(&open(&store).unwrap());
    let frame = |e: &Error| matches!(e, Error::Damaged { damage: Damage::Frame { .. }, .. });
    assert!(report.findings.iter().any(|f| frame(&f.error)), "{report:?}");
    // And taken in.
    let added = rebuild(&open(&fixture.store).unwrap(), &Silent).unwrap();
    assert_eq!(added.packs, report.packs);
    assert!(check_all(&open(&fixture.store).unwrap()).warnings.is_empty());
}

/// One flipped bit in one index segment used to stop every restore and every backup until somebody ran `rebuild`.
#[test]
fn a_damaged_segment_stops_neither_restore_nor_backup() {
    let fixture = Fixture::with_every_type();
    let want = contents(&open(&fixture.store).unwrap()).unwrap();
    let segments: Vec<ObjectName> = fixture.objects().into_keys().filter(|name| name.as_str().starts_with("index/")).collect();
    assert!(!segments.is_empty());
    for name in &segments {
        assert!(fixture.store.corrupt(name, |bytes| bytes[50] ^= 1));
    }
    assert_eq!(contents(&open(&fixture.store).unwrap()).unwrap(), want);
}
