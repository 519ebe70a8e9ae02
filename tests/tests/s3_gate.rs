//! How many requests are under way at a time, as the server counts them: fewer once it says that it is too much, and never more than
//! the user allows. The server holds its answers, so that what a client has under way stays so while it is counted.

use crate::s3::quick;
use seabed_engine::store::Store;
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store};
use seabed_tests::repo::{backup_paths, init, open, restored};
use seabed_tests::s3_server::{Fault, Operation, Rule, S3Server};
use seabed_tests::store_contract::name;
use seabed_tests::trees::{capture, differences, noise};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use Operation::GetObject;

/// Requests at the start of a run for which nobody set a number.
const AT_FIRST: usize = 8;
/// Time for requests that must not come. Where it is too short this tests less; it fails nothing that is right.
const FOR_MORE_TO_COME: Duration = Duration::from_millis(300);

fn store(server: &S3Server, connections: Option<usize>) -> S3Store {
    // What is held here must not be taken for a stall.
    let pace = Pace { idle: Duration::from_secs(60), wait_max: Duration::from_millis(1), ..quick().pace };
    S3Store::open(S3Place::parse(&server.url("x")).unwrap(), S3Options { connections, pace, ..quick() }).unwrap()
}

fn read(store: &S3Store) {
    assert_eq!(store.get(&name("index/00"), 1).unwrap(), [1]);
}

// Row: 503 SlowDown.
#[test]
fn after_slow_down_half_as_many_are_under_way() {
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    let store = store(&server, None);
    server.hold_answers();
    server.inject(Rule::new(Fault::slow_down(None)).on(GetObject).times(AT_FIRST as u32));
    std::thread::scope(|scope| {
        (0..AT_FIRST).for_each(|_| drop(scope.spawn(|| read(&store))));
        server.wait_until_under_way(AT_FIRST);
        server.let_go(AT_FIRST);
        server.wait_until(|log| log.iter().filter(|request| request.status() == Some(503)).count() == AT_FIRST);
        // All of them come again, each after it was told: from here on those count.
        assert_eq!(server.most_under_way(), AT_FIRST);
        server.wait_until_under_way(1);
        std::thread::sleep(FOR_MORE_TO_COME);
        let most = server.most_under_way();
        server.let_all_go();
        assert!((1..=AT_FIRST / 2).contains(&most), "{most} at a time after they were told that {AT_FIRST} are too many");
    });
    assert_eq!(server.log_of(GetObject).len(), 2 * AT_FIRST, "each asked twice");
}

#[test]
fn no_more_connections_are_used_than_the_user_allows() {
    const ALLOWED: usize = 2;
    let server = S3Server::start();
    server.put_object("x/index/00", vec![1]);
    let store = Arc::new(store(&server, Some(ALLOWED)));
    server.hold_answers();
    std::thread::scope(|scope| {
        (0..3 * ALLOWED).for_each(|_| drop(scope.spawn(|| read(&store))));
        server.wait_until_under_way(ALLOWED);
        std::thread::sleep(FOR_MORE_TO_COME);
        server.let_all_go();
    });
    assert_eq!(server.most_under_way(), ALLOWED);
    // In a run too: uploads, listings, reading ahead.
    server.remove_object("x/index/00");
    let source = tempfile::tempdir().unwrap();
    for n in 0..6 {
        fs::write(source.path().join(n.to_string()), noise(n, 2_000_000)).unwrap();
    }
    let repository = init(store, None).unwrap();
    let snapshot = backup_paths(&repository, &[source.path().to_owned()]).unwrap().snapshot.unwrap();
    restored(&repository, &snapshot, source.path()).unwrap();
    let most = server.most_under_way();
    assert!((1..=ALLOWED).contains(&most), "{most}");
}

/// From 50 ms away all workers of a restore waited for one pack after the other: small files, one batch of them, were read by one worker,
/// which asked for a pack when it came to it.
#[test]
fn a_restore_asks_for_the_next_pack_before_it_has_the_first() {
    let (server, source) = (S3Server::start(), tempfile::tempdir().unwrap());
    let paths = [source.path().to_owned()];
    let repository = init(Arc::new(store(&server, None)), None).unwrap();
    let mut packs: Vec<String> = Vec::new();
    let mut snapshot = None;
    for (n, file) in ["a", "b"].iter().enumerate() {
        fs::write(source.path().join(file), noise(n as u64, 200_000)).unwrap();
        snapshot = backup_paths(&repository, &paths).unwrap().snapshot;
        let keys = server.objects().into_keys().filter(|key| key.starts_with("x/data/"));
        packs.extend(keys.filter(|key| !packs.contains(key)).collect::<Vec<_>>());
    }
    let [first, second] = &packs[..] else { panic!("a pack for each backup: {packs:?}") };
    let repository = open(Arc::new(store(&server, None)), None).unwrap();
    repository.refresh().unwrap();
    server.clear_log();
    // The footer of the first comes, and nothing else of it.
    server.inject(Rule::new(Fault::StallBefore).on(GetObject).key(first).skip(1).for_ever());
    std::thread::scope(|scope| {
        let restoring = scope.spawn(|| restored(&repository, &snapshot.unwrap(), source.path()).unwrap());
        server.wait_until(|log| log.iter().any(|request| request.key == *second));
        server.clear_faults();
        server.release_stalls();
        assert_eq!(differences(&capture(source.path(), false), &restoring.join().unwrap()), [""; 0]);
    });
}
