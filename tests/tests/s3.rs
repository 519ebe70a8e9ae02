//! S3 as a store: the contract, and a repository's whole life in a bucket, on a server that behaves like AWS and on ones that do not.
//! What is counted is counted by the server's own log. It obeys DESIGN section 7.

use seabed_engine::backup::backup;
use seabed_engine::check::{CheckOptions, ReadData, Warning, check};
use seabed_engine::observe::Silent;
use seabed_engine::repository::OpenOptions;
use seabed_engine::store::Store;
use seabed_engine::store::s3::{ClassFound, Listing, Pace, S3Credentials, S3Options, S3Place, S3Store, Treatment};
use seabed_tests::repo::{backup_paths, bytes_stream, dump_path, init, open, options, restored, secret};
use seabed_tests::s3_server::behaviour::{Checksums, Conditional};
use seabed_tests::s3_server::{ACCESS_KEY, Behaviour, Fault, ListFault, Operation, Rule, S3Server, SECRET_KEY};
use seabed_tests::store_contract;
use seabed_tests::trees::{capture, differences, noise, settle};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Options that lose no time: a test's server answers at once or never.
pub fn quick() -> S3Options {
    let pace = Pace {
        budget: Duration::from_secs(20),
        wait_min: Duration::from_millis(1),
        wait_max: Duration::from_millis(20),
        idle: Duration::from_secs(1),
        missing: Duration::from_millis(400),
    };
    let keys = S3Credentials { access_key_id: ACCESS_KEY.into(), secret_access_key: SECRET_KEY.into(), session_token: None };
    S3Options { pace, credentials: Some(keys), region: Some("us-east-1".into()), ..S3Options::default() }
}

/// A store below `prefix` on `server`.
pub fn store(server: &S3Server, prefix: &str) -> S3Store {
    S3Store::open(S3Place::parse(&server.url(prefix)).unwrap(), quick()).unwrap()
}

fn keeps_the_contract(behave: impl FnOnce(&mut Behaviour)) {
    let server = S3Server::start();
    server.behave(behave);
    let count = AtomicU32::new(0);
    store_contract::check(|| {
        let store = store(&server, &format!("p{}", count.fetch_add(1, Relaxed)));
        store.probe().unwrap();
        store
    });
}

#[test]
fn s3_keeps_the_contract() {
    keeps_the_contract(|_| ());
}

#[test]
fn s3_keeps_the_contract_in_pages_of_three() {
    keeps_the_contract(|b| b.page_keys = 3);
}

#[test]
fn s3_without_conditional_puts_keeps_the_rest_of_the_contract() {
    keeps_the_contract(|b| (b.conditional_put, b.checksums) = (Conditional::Ignored, Checksums::Ignored));
}

#[test]
fn s3_that_refuses_what_it_does_not_know_keeps_the_rest_of_the_contract() {
    keeps_the_contract(|b| (b.conditional_put, b.checksums) = (Conditional::NotImplemented, Checksums::Refused(400)));
}

#[test]
fn a_probe_tells_what_a_store_does() {
    for (conditional, checksums, want) in [
        (Conditional::Honoured, Checksums::Verified, (Treatment::Honoured, Treatment::Honoured)),
        (Conditional::Ignored, Checksums::Ignored, (Treatment::Ignored, Treatment::Ignored)),
        (Conditional::NotImplemented, Checksums::Refused(501), (Treatment::Refused, Treatment::Refused)),
        (Conditional::NotModified, Checksums::Refused(400), (Treatment::Honoured, Treatment::Refused)),
    ] {
        let server = S3Server::start();
        server.behave(|b| (b.conditional_put, b.checksums) = (conditional, checksums));
        let store = store(&server, "x");
        let found = store.probe().unwrap();
        assert_eq!((found.conditional_put, found.checksum), want, "{conditional:?} {checksums:?}");
        assert!(found.listing == Listing::InPages && found.signed_body == Treatment::Honoured);
        assert_eq!(found.storage_class, None);
        assert_eq!(server.objects().len(), 0, "a probe leaves nothing");
        assert!(server.log().len() <= 16, "{} requests", server.log().len());
    }
}

/// A probe looked whether an object is listed, and never at the order of a listing or at its pages.
#[test]
fn a_probe_tells_how_a_store_lists() {
    use ListFault::{EmptyPage, NoToken, NotIncreasing, Restart, SameToken, Short, Without};
    // The first listing is a whole one, the two after it are of one object each.
    for (skip, times, fault, flaw) in [
        (0, 1, Without(vec!["probe/".into()]), Some("just written")),
        (1, 1, NoToken, Some("how to ask")),
        (1, 1, Short(1), Some("last one")),
        (1, 9, SameToken, Some("do not increase")),
        (2, 1, Restart, Some("do not increase")),
        (1, 9, EmptyPage, Some("does not end")),
        (1, 1, EmptyPage, None),
        (0, 99, NotIncreasing, Some("do not increase")),
    ] {
        let server = S3Server::start();
        let what = format!("{fault:?}");
        server.inject(Rule::new(Fault::List(fault)).on(Operation::ListObjectsV2).key("probe/").skip(skip).times(times));
        let found = store(&server, "x").probe().unwrap().listing;
        match flaw {
            None => assert_eq!(found, Listing::InPages, "{what}"),
            Some(flaw) => assert!(found.flaw().is_some_and(|why| why.contains(flaw)), "{what}: {found:?}"),
        }
        assert_eq!(server.objects().len(), 0, "{what}");
    }
}

/// Whether a store takes a storage class was learnt in the middle of the first backup.
#[test]
fn a_probe_tells_what_becomes_of_a_storage_class() {
    for (class, want) in [("STANDARD_IA", 0), ("STANDARD", 0), ("DEEP_ARCHIVE", 0), ("STANDARD_AI", 2), ("GLACIER", 2)] {
        let server = S3Server::start();
        server.behave(|b| b.classes_refused = vec!["GLACIER".into()]);
        let options = S3Options { storage_class: Some(class.into()), ..quick() };
        let found = S3Store::open(S3Place::parse(&server.url("x")).unwrap(), options).unwrap().probe().unwrap();
        let (asked, became) = found.storage_class.unwrap();
        assert_eq!(asked, class);
        match became {
            ClassFound::Kept => assert_eq!(want, 0, "{class}"),
            ClassFound::Other(other) => panic!("{class}: {other}"),
            ClassFound::Refused(why) => assert!(want == 2 && why.contains("InvalidStorageClass"), "{class}: {why}"),
        }
        assert_eq!(server.objects().len(), 0, "a probe leaves nothing");
    }
}

/// A tree of some files, among them one that fills several frames.
fn tree(top: &Path) {
    for (name, bytes) in [("a", noise(1, 10)), ("d/b", noise(2, 100_000)), ("d/e/c", noise(3, 5_000_000)), ("empty", Vec::new())] {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    settle(top);
}

/// The whole suite of a repository's life: backups by two hosts, restores, a check that reads everything, a lost cache.
#[test]
fn a_repository_lives_in_a_bucket() {
    let server = S3Server::start();
    lives_in(&|| -> Arc<dyn Store> { Arc::new(store(&server, "x/y")) });
    assert!(server.log().iter().all(|request| request.key.starts_with("x/y")), "nothing but our prefix is asked for");
}

/// A repository's life where `at` is.
pub fn lives_in(at: &dyn Fn() -> Arc<dyn Store>) {
    let (source, caches) = (tempfile::tempdir().unwrap(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    tree(source.path());
    let paths = [source.path().to_owned()];
    let first = backup_paths(&init(at(), Some(caches[0].path())).unwrap(), &paths).unwrap().snapshot.unwrap();
    // Another host, which needs only the place and the key, and stores no content again.
    let other = open(at(), Some(caches[1].path())).unwrap();
    let mut asked = options(&paths);
    asked.host = "there".to_owned();
    let report = backup(&other, asked, &Silent).unwrap();
    assert_eq!(report.summary.bytes_added, 0, "the first host's chunks are seen");
    fs::write(source.path().join("new"), noise(9, 50_000)).unwrap();
    let mut asked = options(&paths);
    asked.streams.push(bytes_stream("s.sql", noise(4, 300_000)));
    let third = backup(&open(at(), Some(caches[0].path())).unwrap(), asked, &Silent).unwrap().snapshot.unwrap();
    let want = capture(source.path(), false);
    for cache in [Some(caches[0].path()), Some(caches[1].path()), None] {
        let repository = open(at(), cache).unwrap();
        assert_eq!(differences(&want, &restored(&repository, &third, source.path()).unwrap()), [""; 0]);
        assert_eq!(dump_path(&repository, &third, b"s.sql").unwrap(), noise(4, 300_000));
        assert!(restored(&repository, &first, source.path()).is_ok());
        let report = check(&repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
        assert!(report.findings.is_empty() && report.warnings.is_empty(), "{report:?}");
    }
}

/// What a run costs, by the server's own count; and the count that we print is the same.
#[test]
fn an_unchanged_run_makes_few_requests_and_they_are_counted() {
    let server = S3Server::start();
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(source.path());
    let paths = [source.path().to_owned()];
    let first: Arc<dyn Store> = Arc::new(store(&server, "x"));
    backup_paths(&init(first, Some(cache.path())).unwrap(), &paths).unwrap();
    for _ in 0..2 {
        server.clear_log();
        let store: Arc<dyn Store> = Arc::new(store(&server, "x"));
        let report = backup_paths(&open(store.clone(), Some(cache.path())).unwrap(), &paths).unwrap();
        assert_eq!((report.summary.bytes_added, report.summary.files_new), (0, 0));
        let (log, traffic) = (server.log(), store.traffic().unwrap());
        let asked: Vec<_> = log.iter().map(|request| format!("{:?} {}", request.operation, request.key)).collect();
        assert!(log.len() <= 20, "{} requests: {asked:#?}", log.len());
        assert_eq!(traffic.requests, log.len() as u64);
        assert_eq!(traffic.up, log.iter().map(|request| request.bytes_in).sum::<u64>());
        assert_eq!(traffic.down, log.iter().map(|request| request.bytes_out).sum::<u64>());
    }
}

/// A cache is never believed over the store: with every copy in it damaged, or all of it gone, everything still works.
#[test]
fn damaged_copies_are_fetched_anew() {
    let server = S3Server::start();
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(source.path());
    let at = || -> Arc<dyn Store> { Arc::new(store(&server, "")) };
    let id = backup_paths(&init(at(), Some(cache.path())).unwrap(), &[source.path().to_owned()]).unwrap().snapshot.unwrap();
    let want = capture(source.path(), false);
    assert_eq!(differences(&want, &restored(&open(at(), Some(cache.path())).unwrap(), &id, source.path()).unwrap()), [""; 0]);
    let mut copies = 0;
    let mut folders = vec![cache.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_str().unwrap().contains("/objects/") {
                let mut bytes = fs::read(&entry).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                fs::write(&entry, bytes).unwrap();
                copies += 1;
            }
        }
    }
    assert!(copies >= 4, "slots, keyring, segments, packs of metadata: {copies}");
    assert_eq!(differences(&want, &restored(&open(at(), Some(cache.path())).unwrap(), &id, source.path()).unwrap()), [""; 0]);
}

/// Only data may lie where it must be thawed; only what names it may be encrypted by a key of the bucket's.
#[test]
fn only_data_packs_get_a_storage_class() {
    let server = S3Server::start();
    let place = S3Place::parse(&server.url("x")).unwrap();
    let asked = S3Options { storage_class: Some("STANDARD_IA".into()), sse: Some(seabed_engine::store::s3::Sse::Aes256), ..quick() };
    let store: Arc<dyn Store> = Arc::new(S3Store::open(place, asked).unwrap());
    let source = tempfile::tempdir().unwrap();
    tree(source.path());
    backup_paths(&init(store, None).unwrap(), &[source.path().to_owned()]).unwrap();
    for request in server.log_of(Operation::PutObject) {
        let class = request.header("x-amz-storage-class");
        assert_eq!(class, request.key.starts_with("x/data/").then_some("STANDARD_IA"), "{}", request.key);
        assert_eq!(request.header("x-amz-server-side-encryption"), Some("AES256"));
    }
}

/// Two programs make a repository in one place at once, on a store that overwrites: one of them has to notice.
#[test]
fn a_second_init_is_refused() {
    for conditional in [Conditional::Honoured, Conditional::Ignored] {
        let server = S3Server::start();
        server.behave(|b| b.conditional_put = conditional);
        init(Arc::new(store(&server, "x")), None).unwrap();
        assert!(init(Arc::new(store(&server, "x")), None).is_err());
        let open = seabed_engine::repository::Repository::open(Arc::new(store(&server, "x")), &secret(), &OpenOptions::default());
        assert!(open.is_ok());
    }
}

/// `doctor` and `init` failed for a key that may not delete, and what they tried with would have been damage to `check`.
#[test]
fn a_probe_without_the_right_to_delete_is_in_nobody_s_way() {
    let server = S3Server::start();
    server.inject(Rule::new(Fault::refuse(403, "AccessDenied")).on(Operation::DeleteObject).for_ever());
    let found = store(&server, "x").probe().unwrap();
    assert!(!found.deletes && found.left.is_some(), "{found:?}");
    // In no folder of the format: there every reader would have to refuse it (spec chapter 2).
    let left = server.objects();
    assert!(left.len() == 2 && left.keys().all(|key| key.starts_with("x/probe/")), "{left:?}");
    let repository = init(Arc::new(store(&server, "x")), None).unwrap();
    let source = tempfile::tempdir().unwrap();
    tree(source.path());
    for _ in 0..2 {
        backup_paths(&repository, &[source.path().to_owned()]).unwrap();
    }
    let report = check(&repository, &CheckOptions::default(), &Silent).unwrap();
    // Not one for each run, for years.
    assert!(report.is_clean() && report.warnings.len() == 1, "{report:?}");
    assert!(report.warnings.iter().any(|w| matches!(w, Warning::PendingCommitted { count: 2 })), "{report:?}");
}
