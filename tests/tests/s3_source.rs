//! Buckets as a source: what becomes of keys, headers and contents, what a second run reads, and what happens to objects that are archived,
//! change or go while they are read. On a server that behaves like AWS, and on one of another maker's. It obeys spec chapter 6 (buckets).

use crate::s3::quick;
use proptest::prelude::*;
use seabed_engine::backup::{BackupOptions, BackupReport, Failure, ObjectSource, Pattern, backup};
use seabed_engine::list;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::source::objects::attributes::{etag_of, to_headers};
use seabed_engine::source::objects::{Listed, Object, Objects, Part, Unread, keys};
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::store::s3::{Bucket, S3Options, S3Place};
use seabed_engine::{Entry, EntryKind, Error, SnapshotId};
use seabed_tests::repo::{dump_path, init, open, options, select};
use seabed_tests::s3_server::fault::Refusal;
use seabed_tests::s3_server::{Fault, Operation, Rule, S3Server};
use seabed_tests::servers::{Rclone, rclone_is_wanted};
use seabed_tests::trees::noise;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub fn repository() -> Repository {
    init(Arc::new(MemoryStore::new()), None).unwrap()
}

pub fn bucket(server: &S3Server, prefix: &str) -> Bucket {
    Bucket::open(S3Place::parse(&server.url(prefix)).unwrap(), quick()).unwrap()
}

pub fn source(server: &S3Server, prefix: &str) -> ObjectSource {
    ObjectSource::new("photos", "s3://bucket/photos", Arc::new(bucket(server, prefix)))
}

pub fn save(repository: &Repository, source: ObjectSource) -> Result<BackupReport, Failure> {
    backup(repository, BackupOptions { objects: vec![source], ..options(&[]) }, &Silent)
}

/// A backup in which nothing fails.
fn saved(repository: &Repository, source: ObjectSource) -> BackupReport {
    let report = save(repository, source).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}

/// The entries of a snapshot by their paths.
pub fn entries(repository: &Repository, id: &SnapshotId) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    let selected = select(repository, id, b"").unwrap();
    list(repository, &selected.snapshot, b"", true, |dir, entry| {
        let path = if dir.is_empty() { String::new() } else { String::from_utf8_lossy(dir).into_owned() + "/" };
        found.insert(path + &String::from_utf8_lossy(&entry.name.0), entry.clone());
        Ok(true)
    })
    .unwrap();
    found
}

/// What each key of a snapshot of a bucket holds.
fn contents(repository: &Repository, id: &SnapshotId) -> BTreeMap<String, Vec<u8>> {
    let all = entries(repository, id);
    let files = all.iter().filter(|(_, entry)| entry.has_content());
    files
        .map(|(path, _)| {
            let key = keys::to_key(path.strip_prefix("photos/").unwrap().as_bytes()).unwrap();
            (String::from_utf8(key).unwrap(), dump_path(repository, id, path.as_bytes()).unwrap())
        })
        .collect()
}

fn gets(server: &S3Server) -> Vec<String> {
    server.log_of(Operation::GetObject).into_iter().map(|logged| logged.key).collect()
}

#[test]
fn s3_source_objects_come_back_byte_for_byte_with_what_they_were_put_with() {
    let server = S3Server::start();
    server.behave(|b| b.page_keys = 3);
    let repository = repository();
    let long = noise(1, 9 << 20);
    let all = [
        ("a.txt", b"alpha".to_vec()),
        ("deep/er/b", vec![7; 1 << 20]),
        ("deep/er/c", noise(2, (1 << 20) + 1)),
        ("empty", vec![]),
        ("long", long),
    ];
    for (key, bytes) in &all {
        server.put_object(&format!("photos/{key}"), bytes.clone());
    }
    server.put_object("photosOther/x", "no");
    server.put_with("photos/with", "headers", &[("content-type", "image/png"), ("cache-control", "no-store"), ("x-amz-meta-owner", "ann")]);
    let id = saved(&repository, source(&server, "photos")).snapshot.unwrap();
    let mut want: BTreeMap<String, Vec<u8>> = all.into_iter().map(|(key, bytes)| (key.to_owned(), bytes)).collect();
    want.insert("with".to_owned(), b"headers".to_vec());
    assert_eq!(contents(&repository, &id), want);
    let entries = entries(&repository, &id);
    let with = &entries["photos/with"];
    let headers = [("cache-control", "no-store"), ("content-type", "image/png"), ("meta.owner", "ann")];
    assert_eq!(to_headers(&with.xattrs), headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(etag_of(&with.xattrs).len(), 32);
    assert!(with.mtime.secs > 1_700_000_000 && with.size == 7);
    assert!(entries["photos/deep"].implied && entries["photos/deep"].kind == EntryKind::Directory);
}

#[test]
fn s3_source_a_second_run_reads_what_changed_and_nothing_else() {
    let server = S3Server::start();
    let repository = repository();
    for n in 0..300 {
        server.put_object(&format!("p/{}/{n}", n % 7), format!("content {n}"));
    }
    server.put_object("p/long", noise(3, 5 << 20));
    server.put_object("p/dir/", "");
    let first = saved(&repository, source(&server, "p"));
    assert_eq!((first.summary.files_new, first.summary.files_total), (301, 301));
    server.clear_log();
    let again = saved(&repository, source(&server, "p"));
    assert!(gets(&server).is_empty(), "{:?}", gets(&server));
    assert_eq!((again.summary.files_unmodified, again.summary.bytes_read, again.summary.data_chunks), (301, 0, 0));
    assert_eq!(server.log().len(), 1, "one page of a listing");

    server.put_object("p/0/0", "other content");
    server.put_object("p/new", "new");
    server.remove_object("p/6/6");
    server.clear_log();
    let third = saved(&repository, source(&server, "p"));
    let mut read = gets(&server);
    read.sort();
    assert_eq!(read, ["p/0/0", "p/new"]);
    let s = &third.summary;
    assert_eq!((s.files_new, s.files_changed, s.files_unmodified, s.files_total), (1, 1, 299, 301));
    let contents = contents(&repository, &third.snapshot.unwrap());
    assert_eq!(contents["0/0"], b"other content");
    assert!(!contents.contains_key("6/6") && contents.contains_key("6/13"));
    // Nothing new: the same tree.
    let same = backup(&repository, BackupOptions { objects: vec![source(&server, "p")], skip_if_unchanged: true, ..options(&[]) }, &Silent);
    assert!(same.unwrap().snapshot.is_none());
}

/// What no path can be is one all the same, and what is a key and the beginning of others is not lost.
#[test]
fn s3_source_hostile_keys_are_kept() {
    let server = S3Server::start();
    let repository = repository();
    let long = "l".repeat(700);
    let all = [
        "/",
        "//",
        "//x",
        "/abs",
        ".",
        "..",
        "../up",
        "a",
        "a/",
        "a//",
        "a/b",
        "a/b/c",
        "a/../../b",
        "%s3:",
        "%s3=",
        "x/%s3=",
        "tab\tnew\nline",
        "bell\u{7}",
        "ü/日本",
        "a+b c%20d",
        &long,
    ];
    for key in all {
        server.put_object(key, format!("of {key}"));
    }
    server.put_object("mark/", "");
    server.put_object("mark/er/", "");
    let report = saved(&repository, source(&server, ""));
    let id = report.snapshot.unwrap();
    let contents = contents(&repository, &id);
    assert_eq!(contents.len(), all.len());
    for key in all {
        assert_eq!(contents[key], format!("of {key}").as_bytes(), "{key:?}");
    }
    let entries = entries(&repository, &id);
    assert!(entries["photos/mark/er"].kind == EntryKind::Directory && !entries["photos/mark"].implied);
    server.clear_log();
    saved(&repository, source(&server, ""));
    assert!(gets(&server).is_empty(), "{:?}", gets(&server));
    // Restored as files it is a tree like any other.
    let dir = tempfile::tempdir().unwrap();
    let restored = seabed_tests::repo::restore_to(&repository, &id, b"photos", dir.path()).unwrap();
    assert!(restored.errors.is_empty());
    assert_eq!(std::fs::read(dir.path().join("a/%s3=")).unwrap(), b"of a");
}

#[test]
fn s3_source_archived_objects_are_left_out_unless_they_are_known() {
    let server = S3Server::start();
    let repository = repository();
    for key in ["p/cold", "p/known", "p/warm"] {
        server.put_object(key, key);
    }
    server.set_storage_class("p/cold", "DEEP_ARCHIVE");
    let first = saved(&repository, source(&server, "p"));
    assert_eq!(first.archived, 1);
    assert_eq!(contents(&repository, &first.snapshot.unwrap()).into_keys().collect::<Vec<_>>(), ["known", "warm"]);
    // What was backed up before a rule archived it stays, and nobody reads it.
    server.set_storage_class("p/known", "GLACIER");
    let second = saved(&repository, source(&server, "p"));
    assert_eq!((second.archived, second.summary.files_unmodified), (1, 2));
    assert_eq!(contents(&repository, &second.snapshot.unwrap())["known"], b"p/known");
}

#[test]
fn s3_source_an_object_that_goes_costs_itself() {
    let server = S3Server::start();
    let repository = repository();
    for key in ["p/a", "p/b", "p/c", "p/d"] {
        server.put_object(key, key);
    }
    let gone = Fault::Refuse(Refusal { status: 404, code: "NoSuchKey".into(), retry_after_secs: None });
    let denied = Fault::Refuse(Refusal { status: 403, code: "AccessDenied".into(), retry_after_secs: None });
    server.inject(Rule::new(gone).on(Operation::GetObject).key("p/b").for_ever());
    server.inject(Rule::new(denied).on(Operation::GetObject).key("p/c").for_ever());
    let report = save(&repository, source(&server, "p")).unwrap();
    assert_eq!(report.error_count, 2, "{:?}", report.errors);
    let entries = entries(&repository, &report.snapshot.unwrap());
    assert!(!entries.contains_key("photos/b") && !entries["photos/c"].has_content());
    assert_eq!(contents(&repository, &report.snapshot.unwrap()).into_keys().collect::<Vec<_>>(), ["a", "d"]);
    server.clear_faults();
    let again = saved(&repository, source(&server, "p"));
    assert_eq!((again.summary.files_new, again.summary.files_changed, again.summary.files_unmodified), (1, 1, 2));
}

/// A bucket that does what a test says between a listing and a read.
struct Fake {
    objects: Mutex<BTreeMap<String, (Vec<u8>, u32)>>,
    /// Called before each read, with the key and how often it was read.
    before: Box<dyn Fn(&Fake, &str, u32) + Send + Sync>,
    reads: Mutex<BTreeMap<String, u32>>,
    /// Has ETags.
    tells: bool,
}

impl Fake {
    fn new(objects: &[(&str, Vec<u8>)], tells: bool, before: impl Fn(&Fake, &str, u32) + Send + Sync + 'static) -> Arc<Self> {
        let objects = objects.iter().map(|(key, bytes)| ((*key).to_owned(), (bytes.clone(), 0))).collect();
        Arc::new(Fake { objects: Mutex::new(objects), before: Box::new(before), reads: Mutex::default(), tells })
    }

    fn put(&self, key: &str, bytes: Vec<u8>) {
        let mut objects = self.objects.lock().unwrap();
        let version = objects.get(key).map_or(0, |(_, version)| version + 1);
        objects.insert(key.to_owned(), (bytes, version));
    }

    fn object(&self, key: &str) -> Option<Object> {
        let objects = self.objects.lock().unwrap();
        let (bytes, version) = objects.get(key)?;
        let etag = if self.tells { format!("v{version}") } else { String::new() };
        let mtime = seabed_engine::Time { secs: 1_767_225_600 + i64::from(*version), nanos: 0 };
        Some(Object { key: key.to_owned(), size: bytes.len() as u64, mtime, etag, archived: false })
    }
}

impl Objects for Fake {
    fn list(&self, take: &mut dyn FnMut(Listed) -> Result<(), Error>) -> Result<(), Error> {
        let keys: Vec<String> = self.objects.lock().unwrap().keys().cloned().collect();
        // A listing that was no good, and comes again.
        take(Listed::Object(Object { key: "ghost".into(), size: 1, ..Object::default() }))?;
        take(Listed::Again)?;
        keys.into_iter().filter_map(|key| self.object(&key)).try_for_each(|object| take(Listed::Object(object)))
    }

    fn look(&self, key: &str) -> Result<Object, Unread> {
        self.object(key).ok_or(Unread::Gone)
    }

    fn read(&self, object: &Object, range: std::ops::Range<u64>) -> Result<Part, Unread> {
        let times = {
            let mut reads = self.reads.lock().unwrap();
            let times = reads.entry(object.key.clone()).or_default();
            *times += 1;
            *times
        };
        (self.before)(self, &object.key, times);
        let now = self.object(&object.key).ok_or(Unread::Gone)?;
        if now != *object {
            return Err(Unread::Changed);
        }
        let bytes = self.objects.lock().unwrap()[&object.key].0[range.start as usize..range.end as usize].to_vec();
        Ok(Part { bytes, headers: Default::default() })
    }
}

fn faked(fake: &Arc<Fake>) -> ObjectSource {
    ObjectSource::new("photos", "s3://fake", fake.clone())
}

/// One that is another object than was listed is read once more; of what was read before nothing is left, in no length.
#[test]
fn s3_source_what_changes_while_it_is_read_is_read_again_once() {
    let repository = repository();
    let long = |seed, bytes| noise(seed, bytes);
    let objects = [("a", b"one".to_vec()), ("b", long(1, 30 << 20)), ("c", long(2, 9 << 20)), ("d", b"four".to_vec()), ("e", vec![1])];
    let fake = Fake::new(&objects, true, move |fake, key, times| match (key, times) {
        ("a", 1) => fake.put("a", b"another one".to_vec()),
        // In its middle.
        ("b", 4) => fake.put("b", noise(3, 20 << 20)),
        ("c", 2) => fake.put("c", b"short now".to_vec()),
        // Whenever anybody looks.
        ("d", _) => fake.put("d", format!("{times} times").into_bytes()),
        ("e", 1) => drop(fake.objects.lock().unwrap().remove("e")),
        _ => {}
    });
    let report = save(&repository, faked(&fake)).unwrap();
    let failed: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[0].contains("/photos/d") && failed[0].contains("twice"), "{failed:?}");
    assert!(failed[1].contains("/photos/e") && failed[1].contains("deleted"), "{failed:?}");
    let contents = contents(&repository, &report.snapshot.unwrap());
    assert_eq!(contents.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(contents["a"], b"another one");
    assert!(contents["b"] == noise(3, 20 << 20) && contents["c"] == b"short now");
    let entries = entries(&repository, &report.snapshot.unwrap());
    assert_eq!(etag_of(&entries["photos/a"].xattrs), b"v1", "what is kept is of the object that was read");
    // The next run finds them as they are.
    let again = save(&repository, faked(&fake)).unwrap();
    assert_eq!((again.summary.files_unmodified, again.summary.bytes_read), (3, 0));
}

/// Without an ETag length and time have to tell, and they do once the second of the put is over.
#[test]
fn s3_source_without_etags_times_tell() {
    let repository = repository();
    let fake = Fake::new(&[("a", b"one".to_vec()), ("b", b"two".to_vec())], false, |_, _, _| ());
    saved(&repository, faked(&fake));
    fake.put("b", b"six".to_vec());
    let again = saved(&repository, faked(&fake));
    assert_eq!((again.summary.files_unmodified, again.summary.files_changed), (1, 1));
    assert_eq!(contents(&repository, &again.snapshot.unwrap())["b"], b"six");
}

#[test]
fn s3_source_a_bucket_that_cannot_be_listed_gives_no_snapshot() {
    let server = S3Server::start();
    let repository = repository();
    assert!(matches!(save(&repository, source(&server, "none")), Err(Failure::Stream(error)) if error.to_string().contains("empty")));
    let empty = ObjectSource { allow_empty: true, ..source(&server, "none") };
    assert!(save(&repository, empty).unwrap().snapshot.is_some());
    server.put_object("p/a", "a");
    let denied = Fault::Refuse(Refusal { status: 403, code: "AccessDenied".into(), retry_after_secs: None });
    server.inject(Rule::new(denied).on(Operation::ListObjectsV2).for_ever());
    let failed = save(&repository, source(&server, "p"));
    assert!(
        matches!(&failed, Err(Failure::Stream(error)) if error.to_string().contains("cannot read the bucket of `photos`")),
        "{failed:?}"
    );
    // A bucket that nobody has.
    let place = S3Place::parse(&server.url("").replace("/bucket/", "/nobody/")).unwrap();
    let nobody = ObjectSource::new("photos", "s3://nobody", Arc::new(Bucket::open(place, quick()).unwrap()));
    assert!(matches!(save(&repository, nobody), Err(Failure::Stream(_))));
}

#[test]
fn s3_source_includes_and_excludes_choose() {
    let server = S3Server::start();
    let repository = repository();
    for key in ["p/a/1.jpg", "p/a/2.png", "p/b/1.jpg", "p/b/tmp/3.jpg", "p/c.jpg"] {
        server.put_object(key, key);
    }
    let pattern = |text: &str| Pattern { text: text.into(), fold_case: false };
    let chosen = ObjectSource { include: vec![pattern("*.jpg")], exclude: vec![pattern("tmp"), pattern("/c.jpg")], ..source(&server, "p") };
    let report = saved(&repository, chosen);
    assert_eq!(report.excluded, 3);
    assert_eq!(contents(&repository, &report.snapshot.unwrap()).into_keys().collect::<Vec<_>>(), ["a/1.jpg", "b/1.jpg"]);
}

/// Requests overlap: a store that answers late does not make a run as long as all its answers.
#[test]
fn s3_source_several_requests_are_under_way() {
    let server = S3Server::start();
    let repository = repository();
    for n in 0..64 {
        server.put_object(&format!("p/{n}"), noise(n, 1000));
    }
    server.most_under_way();
    server.hold_answers();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| saved(&repository, source(&server, "p")));
        server.wait_until_under_way(1);
        // The listing.
        server.let_go(1);
        server.wait_until_under_way(8);
        server.let_all_go();
        run.join().unwrap();
    });
    assert!(server.most_under_way() >= 8);
}

/// A run that dies after a pending manifest goes on where it stopped.
#[test]
fn s3_source_a_run_that_died_goes_on() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let objects: Vec<(String, Vec<u8>)> = (0..40u64).map(|n| (format!("{n:02}"), noise(n, 1 << 20))).collect();
    let objects: Vec<(&str, Vec<u8>)> = objects.iter().map(|(key, bytes)| (key.as_str(), bytes.clone())).collect();
    let fails = Arc::new(AtomicU32::new(1));
    let asked = fails.clone();
    let fake = Fake::new(&objects, true, move |fake, key, _| {
        if key == "35" && asked.load(Relaxed) == 1 {
            // As if the store had gone: the object is there and another one at each look.
            fake.put("35", vec![1]);
        }
    });
    struct Dies(Arc<Fake>);
    impl Objects for Dies {
        fn list(&self, take: &mut dyn FnMut(Listed) -> Result<(), Error>) -> Result<(), Error> {
            self.0.list(take)
        }
        fn look(&self, _: &str) -> Result<Object, Unread> {
            Err(Unread::Store(Error::Unreachable { place: "s3://fake".into(), what: "gone".into() }))
        }
        fn read(&self, object: &Object, range: std::ops::Range<u64>) -> Result<Part, Unread> {
            self.0.read(object, range)
        }
    }
    let source = ObjectSource::new("photos", "s3://fake", Arc::new(Dies(fake.clone())));
    let every = BackupOptions { objects: vec![source], pending_bytes: 4 << 20, data_pack_bytes: 4 << 20, ..options(&[]) };
    assert!(matches!(backup(&repository, every, &Silent), Err(Failure::Stream(_))));
    fails.store(0, Relaxed);
    let repository = open(Arc::new(store), None).unwrap();
    fake.reads.lock().unwrap().clear();
    let report = saved(&repository, faked(&fake));
    assert!(report.resumed.is_some());
    let read = fake.reads.lock().unwrap().len();
    assert!(read < 30, "{read} of 40 were read again");
    assert_eq!(contents(&repository, &report.snapshot.unwrap()).len(), 40);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever the keys of a bucket are, all of them are in the snapshot, with what they hold, and a second run reads nothing.
    #[test]
    fn s3_source_any_keys_come_back(all in prop::collection::btree_map("(/|\\.|%s3[:=+]?|a|b|[ -~]|\\PC){1,9}", 0..3u8, 1..25)) {
        let repository = repository();
        let objects: Vec<(&str, Vec<u8>)> = all.iter().map(|(key, n)| (key.as_str(), vec![b'x'; usize::from(*n)])).collect();
        let fake = Fake::new(&objects, true, |_, _, _| ());
        let report = saved(&repository, faked(&fake));
        let id = report.snapshot.unwrap();
        let mut found = contents(&repository, &id);
        for (path, entry) in entries(&repository, &id) {
            if entry.kind == EntryKind::Directory && !entry.implied {
                let path = path.strip_prefix("photos").unwrap().trim_start_matches('/');
                let key = if path.is_empty() { String::new() } else { String::from_utf8(keys::to_key(path.as_bytes()).unwrap()).unwrap() + "/" };
                // The top is marked by the key that is empty, or by one slash.
                found.insert(key, Vec::new());
            }
        }
        let want: BTreeMap<String, Vec<u8>> = objects.iter().map(|(key, bytes)| ((*key).to_owned(), bytes.clone())).collect();
        prop_assert_eq!(found, want);
        fake.reads.lock().unwrap().clear();
        saved(&repository, faked(&fake));
        prop_assert!(fake.reads.lock().unwrap().is_empty());
    }
}

/// The same on a server of another maker, whose directory the objects are put into by its own API.
#[test]
fn s3_source_rclone_gives_what_was_put() {
    if !rclone_is_wanted() {
        return;
    }
    let server = Rclone::start();
    let access = server.access();
    let keys = seabed_engine::store::s3::S3Credentials {
        access_key_id: access.key_id.clone(),
        secret_access_key: access.secret.clone(),
        session_token: None,
    };
    let options = S3Options { credentials: Some(keys), region: Some(access.region.clone()), ..quick() };
    let bucket = Bucket::open(S3Place::parse(&format!("{}/photos", access.url)).unwrap(), options).unwrap();
    let repository = repository();
    let mut want = BTreeMap::new();
    for (n, key) in ["a", "b c/ü+%20", "b c/e", "empty", "long"].into_iter().enumerate() {
        let bytes = if key == "empty" { vec![] } else { noise(n as u64, if key == "long" { 10 << 20 } else { 1000 }) };
        let headers = [("content-type".to_owned(), "image/png".to_owned())].into();
        bucket.put(key, bytes.clone(), &headers).unwrap();
        want.insert(key.to_owned(), bytes);
    }
    let source = || ObjectSource::new("photos", "s3://rclone", Arc::new(bucket.clone()));
    let id = saved(&repository, source()).snapshot.unwrap();
    assert_eq!(contents(&repository, &id), want);
    let before = bucket.traffic();
    let again = saved(&repository, source());
    assert_eq!((again.summary.files_unmodified, again.summary.bytes_read), (5, 0));
    assert_eq!(bucket.traffic().requests - before.requests, 1);
    bucket.put("a", b"changed".to_vec(), &Default::default()).unwrap();
    let third = saved(&repository, source());
    assert_eq!((third.summary.files_changed, third.summary.files_unmodified), (1, 4));
}
