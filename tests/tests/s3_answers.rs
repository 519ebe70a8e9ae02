//! Answers of S3 stores that are not what they seem, beyond those of `s3_faults`: pages of something else, digests that were refused and
//! kept, old versions, archives, clocks, and stores that ask to be left alone for a while.

use crate::s3::{quick, store};
use crate::s3_faults::{LONG, World, failed, get_survives, kind, put};
use seabed_engine::backup::backup;
use seabed_engine::error::{Error, Kind};
use seabed_engine::id::{Class, ObjectName, PackId};
use seabed_engine::observe::Silent;
use seabed_engine::store::Store;
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store};
use seabed_tests::repo::{backup_paths, open, options, restored};
use seabed_tests::s3_server::behaviour::{Conditional, Credential, Versioning};
use seabed_tests::s3_server::fault::Stored;
use seabed_tests::s3_server::{ACCESS_KEY, Fault, Operation, Rule, S3Server, SECRET_KEY};
use seabed_tests::store_contract::{bytes, name};
use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use Operation::{DeleteObject, GetObject, HeadObject, ListObjectsV2, PutObject};

/// A store on `server` whose remarks to the user are kept.
fn heard(server: &S3Server, options: S3Options) -> (S3Store, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let of_store = said.clone();
    let say = Arc::new(move |text: &str| of_store.lock().unwrap().push(text.to_owned()));
    let place = S3Place::parse(&server.url("x")).unwrap();
    (S3Store::open(place, S3Options { say: Some(say), ..options }).unwrap(), said)
}

// Row: captive-portal HTML 200, for every question that can be asked.
#[test]
fn a_page_of_something_else_is_no_answer() {
    for fault in [Fault::Portal, Fault::EmptyOk, Fault::ErrorInOk("InternalError".into())] {
        get_survives(std::slice::from_ref(&fault), 2);
        let server = S3Server::start();
        server.put_object("x/index/00", bytes(1, 5000));
        let store = store(&server, "x");
        server.inject(Rule::new(fault.clone()).on(HeadObject).times(1));
        assert_eq!(store.size(&name("index/00")).unwrap(), Some(5000), "{fault:?}");
        server.inject(Rule::new(fault.clone()).on(HeadObject).times(1));
        assert_eq!(store.size(&name("index/01")).unwrap(), None, "{fault:?}");
        server.inject(Rule::new(fault.clone()).on(ListObjectsV2).times(1));
        assert_eq!(store.list("index").unwrap().len(), 1, "{fault:?}");
        assert_eq!((server.waiting_rules(), server.fired()), (vec![], 3), "{fault:?}");
    }
}

// Row: captive portal: a whole run behind one.
#[test]
fn behind_a_portal_nothing_is_a_repository_and_nothing_is_damage() {
    let world = World::new();
    let id = world.backup().unwrap();
    let pace = Pace { budget: Duration::from_millis(200), ..quick().pace };
    for fault in [Fault::Portal, Fault::EmptyOk] {
        world.server.inject(Rule::new(fault.clone()).for_ever());
        let store = S3Store::open(S3Place::parse(&world.server.url("x")).unwrap(), S3Options { pace: pace.clone(), ..quick() }).unwrap();
        let error = open(Arc::new(store), None).err().unwrap();
        assert_eq!(error.kind(), Kind::Unreachable, "{fault:?}: {error}");
        world.server.clear_faults();
    }
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
}

// Row: 400 BadDigest: the object that was refused may be stored all the same (s3s-fs renames before it checks).
#[test]
fn a_refused_digest_leaves_nothing_that_is_believed() {
    let content = bytes(1, LONG);
    let pack = ObjectName::pack(Class::Data, &PackId::new([7; 32]));
    for kept in [Stored::Nothing, Stored::AsSent, Stored::Damaged] {
        for conditional in [Conditional::Honoured, Conditional::Ignored] {
            let server = S3Server::start();
            server.behave(|b| b.conditional_put = conditional);
            server.inject(Rule::new(Fault::BadDigest(kept)).on(PutObject).times(2));
            store(&server, "x").put(&pack, &content).unwrap_or_else(|error| panic!("{kept:?} {conditional:?}: {error}"));
            assert!(server.fired() == 2 && server.object(&format!("x/{pack}")).unwrap() == content, "{kept:?} {conditional:?}");
        }
    }
    // Somebody else's object is not overwritten for that.
    let server = S3Server::start();
    server.put_object("x/index/00", "other");
    server.inject(Rule::new(Fault::BadDigest(Stored::Nothing)).on(PutObject).times(1));
    assert_eq!(kind(&store(&server, "x").put(&name("index/00"), b"ours!").unwrap_err()), ErrorKind::AlreadyExists);
}

// Row: 400 BadDigest: the same in a run: what is acknowledged restores.
#[test]
fn what_was_stored_damaged_and_refused_is_not_built_upon() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::BadDigest(Stored::Damaged)).on(PutObject).key("data/").for_ever());
    assert_eq!(kind(&failed(world.backup().unwrap_err())), ErrorKind::InvalidData);
    assert!(world.keys("snapshots").is_empty());
    world.server.clear_faults();
    let id = world.backup().unwrap();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
    world.is_sound();
}

// Row: other object's bytes, stale version: a store that shows the bucket as it was before the last put.
#[test]
fn a_stale_answer_is_asked_again() {
    let world = World::new();
    world.server.behave(|b| b.versioning = Versioning::Enabled);
    let id = world.backup().unwrap();
    for folder in ["data/", "names/", "lists/", "index/"] {
        world.server.inject(Rule::new(Fault::Stale).on(GetObject).key(folder).times(1));
        restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_or_else(|e| panic!("{folder}: {e}"));
        world.server.clear_faults();
    }
}

// Row: object lock, versioned bucket: deleting leaves a marker, and what it hides is gone for everybody.
#[test]
fn t16_a_versioned_bucket_is_as_good_as_another() {
    let world = World::new();
    world.server.behave(|b| b.versioning = Versioning::Enabled);
    let first = world.backup().unwrap();
    fs::write(world.source.path().join("f0"), bytes(9, 100_000)).unwrap();
    let second = world.backup().unwrap();
    assert!(world.keys("pending").is_empty(), "markers hide the pending manifests");
    let repository = open(world.store(), None).unwrap();
    restored(&repository, &first, world.source.path()).unwrap();
    restored(&repository, &second, world.source.path()).unwrap();
    world.is_sound();
    // Under a marker a name is free.
    let (store, object) = (store(&world.server, "y"), name("notes/00"));
    for n in 0..3 {
        store.put(&object, &bytes(n, 100)).unwrap();
        assert_eq!(store.get(&object, 100).unwrap(), bytes(n, 100));
        store.delete(&object).unwrap();
        assert!(store.get(&object, 100).unwrap_err().is_missing());
        assert_eq!((store.size(&object).unwrap(), store.list("notes").unwrap()), (None, vec![]));
    }
}

// Row: multipart uploads, DeleteObjects: a repository's life needs neither, nor anything else that gateways do half.
#[test]
fn only_five_operations_are_asked_for() {
    let world = World::new();
    fs::write(world.source.path().join("long"), bytes(1, 10 << 20)).unwrap();
    let mut small_packs = options(&world.paths);
    small_packs.data_pack_bytes = 4 << 20;
    let id = backup(&open(world.store(), None).unwrap(), small_packs, &Silent).unwrap().snapshot.unwrap();
    world.backup().unwrap();
    restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap();
    world.is_sound();
    for request in world.server.log() {
        let known = matches!(request.operation, PutObject | GetObject | HeadObject | ListObjectsV2 | DeleteObject);
        assert!(known && !request.query.iter().any(|(name, _)| name == "uploadId" || name == "partNumber"), "{request:?}");
    }
    assert!(world.keys("data").len() > 1, "more than one pack, each by one PUT");
}

// Row: InvalidObjectState: packs of data in an archive hinder no backup, and a restore says which object it cannot read.
#[test]
fn archived_data_hinders_no_backup() {
    let world = World::new();
    let id = world.backup().unwrap();
    for pack in world.keys("data") {
        world.server.set_storage_class(&pack, "DEEP_ARCHIVE");
    }
    let packs = world.keys("data").len();
    world.server.clear_log();
    fs::write(world.source.path().join("f0"), bytes(9, 1000)).unwrap();
    let later = world.backup().unwrap();
    assert_eq!(world.keys("data").len(), packs + 1, "only what is new");
    assert!(world.server.log_of(GetObject).iter().all(|request| !request.key.starts_with("x/data/")), "no archived pack is read");
    for id in [id, later] {
        let error = restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_err();
        assert!(matches!(error.cause(), Error::Archived { object } if object.starts_with("data/")), "{error}");
    }
}

// Row: 301/307: no status, no question and no header makes a request follow to another host.
#[test]
fn no_redirect_of_any_kind_is_followed() {
    let (server, elsewhere) = (S3Server::start(), S3Server::start());
    server.put_object("x/index/00", bytes(1, 1000));
    let location = Some(format!("{}/bucket/x/index/00", elsewhere.endpoint()));
    for status in [301, 302, 303, 307, 308] {
        for region in [None, Some("eu-west-1".to_owned()), Some("evil.example/?x=".to_owned())] {
            server.inject(Rule::new(Fault::Redirect { status, location: location.clone(), region }).for_ever());
            let (pace, object) = (Pace { budget: Duration::from_millis(50), ..quick().pace }, name("index/00"));
            let place = S3Place::parse(&server.url("x")).unwrap();
            let store = S3Store::open(place, S3Options { pace, region: None, ..quick() }).unwrap();
            store.get(&object, 1000).unwrap_err();
            store.size(&object).unwrap_err();
            store.list("index").unwrap_err();
            store.put(&object, &bytes(1, 1000)).unwrap_err();
            store.delete(&object).unwrap_err();
            server.clear_faults();
        }
    }
    assert_eq!(elsewhere.log().len(), 0, "nothing went to another host");
    assert!(server.object("x/index/00").is_some());
}

// Row: 403 RequestTimeTooSkewed: a difference that is not refused yet is said too, once.
#[test]
fn t16_clocks_that_differ_by_minutes_are_said() {
    for (offset, remarks) in [(0, 0), (200, 0), (-200, 0), (400, 1), (-400, 1), (3600, 1), (-3600, 1)] {
        let server = S3Server::start();
        server.behave(|b| b.clock_offset_secs = offset);
        let (store, said) = heard(&server, quick());
        for n in 0..3 {
            store.put(&name(&format!("index/{n}")), b"x").unwrap();
            store.list("index").unwrap();
        }
        let said = said.lock().unwrap();
        assert_eq!(said.iter().filter(|text| text.contains("clock")).count(), remarks, "{offset}: {said:?}");
    }
}

/// Where no answer had a Date, our own clock was taken for the store's without a word.
// Row: 403 RequestTimeTooSkewed: a store that does not tell the time.
#[test]
fn a_store_without_a_clock_is_said_to_have_none() {
    let server = S3Server::start();
    server.behave(|b| b.dateless = true);
    let (store, said) = heard(&server, quick());
    store.now().unwrap();
    store.now().unwrap();
    let said = said.lock().unwrap();
    assert!(matches!(&said[..], [one] if one.contains("does not tell the time")), "{said:?}");
}

// Row: 503 SlowDown / 429: `Retry-After` is obeyed, unless it asks for more than the run may wait.
#[test]
fn retry_after_is_obeyed() {
    for fault in [Fault::slow_down(Some(1)), Fault::too_many_requests(Some(1))] {
        let server = S3Server::start();
        server.inject(Rule::new(fault).times(1));
        let began = Instant::now();
        put(&server).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "by itself it would have waited 20 ms at most");
    }
    let server = S3Server::start();
    server.inject(Rule::new(Fault::slow_down(Some(86_400))).for_ever());
    let error = put(&server).unwrap_err();
    assert!(error.kind() == Kind::Unreachable && error.to_string().contains("SlowDown"), "{error}");
    // The one more try that each request has, and not as late as it was asked for.
    assert_eq!(server.log().len(), 2);
}

// Row: ExpiredToken / InvalidToken: many requests that find out at the same time load credentials once, and all go on.
#[test]
fn t16_a_token_that_expires_under_many_requests_ends_none_of_them() {
    let world = World::new();
    world.server.inject(Rule::new(Fault::refuse(400, "ExpiredToken")).skip(4).times(2));
    world.server.inject(Rule::new(Fault::refuse(403, "InvalidToken")).skip(12).times(2));
    world.backup().unwrap();
    assert_eq!(world.server.waiting_rules(), []);
    world.server.clear_faults();
    world.is_sound();
    // What is refused for good is said as what it is, before anything is stored.
    let wrong = Credential { access: ACCESS_KEY.into(), secret: SECRET_KEY.into(), token: None, expired: true };
    world.server.behave(|b| b.credentials = vec![wrong]);
    let error = failed(world.backup().unwrap_err());
    assert!(error.kind() == Kind::Configuration && error.to_string().contains("ExpiredToken"), "{error}");
    world.server.behave(|b| b.credentials.clear());
    let error = failed(world.backup().unwrap_err());
    assert!(error.kind() == Kind::Configuration && error.to_string().contains("InvalidAccessKeyId"), "{error}");
    assert_eq!(world.keys("snapshots").len(), 1);
}

/// A token that had expired when the first question was a HEAD ended the run with "the store answers 400": an answer without a body cannot
/// say more, and nobody asked again.
// Row: ExpiredToken / InvalidToken, 403 RequestTimeTooSkewed: where the answer does not say which it is.
#[test]
fn an_answer_without_a_body_is_asked_what_it_means() {
    for refused in [Fault::refuse(400, "ExpiredToken"), Fault::refuse(400, "InvalidToken"), Fault::refuse(403, "RequestTimeTooSkewed")] {
        let server = S3Server::start();
        server.put_object("x/index/00", "x");
        server.inject(Rule::new(refused.clone()).times(2));
        assert_eq!(store(&server, "x").size(&name("index/00")).unwrap_or_else(|e| panic!("{refused:?}: {e}")), Some(1));
        assert_eq!(server.waiting_rules(), []);
    }
    let server = S3Server::start();
    server.inject(Rule::new(Fault::refuse(400, "ExpiredToken")).for_ever());
    let error = store(&server, "x").size(&name("index/00")).unwrap_err();
    assert!(error.kind() == Kind::Configuration && error.to_string().contains("not taken"), "{error}");
}

/// A segment that was acknowledged and not stored left a snapshot that nobody could read: its chunks were in no pack that the index knew.
// Row: 404 after 200 PUT: every kind of object that a snapshot needs, the index as well as packs.
#[test]
fn no_lost_put_is_acknowledged() {
    for folder in ["data/", "names/", "lists/", "index/", "pending/", "snapshots/"] {
        let world = World::new();
        world.server.inject(Rule::new(Fault::LostPut).on(PutObject).key(folder).times(1));
        let pace = Pace { missing: Duration::from_millis(40), ..quick().pace };
        let store = S3Store::open(S3Place::parse(&world.server.url("x")).unwrap(), S3Options { pace, ..quick() }).unwrap();
        let run = backup_paths(&open(Arc::new(store), None).unwrap(), &world.paths);
        assert_eq!(world.server.fired(), 1, "{folder}");
        // Only a pending manifest may get lost: nobody needs it once the run is through.
        assert_eq!(run.is_ok(), folder == "pending/", "{folder}: {run:?}");
        assert_eq!(world.keys("snapshots").len(), usize::from(run.is_ok()), "{folder}");
        let id = world.backup().unwrap();
        restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_or_else(|e| panic!("{folder}: {e}"));
        world.is_sound();
    }
}

/// The page that a proxy shows while the store behind it starts was taken for "there is no such object": a restore called snapshots
/// damaged, and `rebuild` left out packs that were there.
// Row: 404 on a referenced pack in a read; captive portal: a 404 that no store says.
#[test]
fn a_proxy_that_finds_nobody_behind_it_says_nothing_of_objects() {
    let page = || Fault::Page(404);
    for operation in [GetObject, HeadObject, ListObjectsV2, PutObject] {
        let server = S3Server::start();
        server.put_object("x/index/00", bytes(1, 5000));
        let (store, object) = (store(&server, "x"), name("index/00"));
        let shown = || {
            server.inject(Rule::new(page()).on(operation).times(if operation == HeadObject { 1 } else { 3 }));
        };
        shown();
        assert_eq!(store.get(&object, 5000).unwrap(), bytes(1, 5000), "{operation:?}");
        assert_eq!(store.size(&object).unwrap(), Some(5000), "{operation:?}");
        assert_eq!(store.list("index").unwrap().len(), 1, "{operation:?}");
        assert!(matches!(store.readiness(&object), Ok(seabed_engine::store::Readiness::Ready)), "{operation:?}");
        store.put(&name("index/01"), b"x").unwrap();
        assert_eq!(server.waiting_rules(), [], "{operation:?}");
        shown();
        assert_eq!(store.size(&name("index/02")).unwrap(), None, "{operation:?}");
    }
    // All of it is away for a while, in the middle of a run.
    let world = World::new();
    let id = world.backup().unwrap();
    for skip in 0..8 {
        world.server.inject(Rule::new(page()).skip(skip).times(4));
        restored(&open(world.store(), None).unwrap(), &id, world.source.path()).unwrap_or_else(|e| panic!("{skip}: {e}"));
        fs::write(world.source.path().join("f0"), bytes(skip.into(), 1000)).unwrap();
        world.backup().unwrap_or_else(|e| panic!("{skip}: {e:?}"));
        world.server.clear_faults();
    }
    world.is_sound();
    // And for good: that is no damage.
    world.server.inject(Rule::new(page()).for_ever());
    let pace = Pace { budget: Duration::from_millis(200), ..quick().pace };
    let store = S3Store::open(S3Place::parse(&world.server.url("x")).unwrap(), S3Options { pace, ..quick() }).unwrap();
    for error in
        [store.get(&name("index/00"), 1).unwrap_err(), store.size(&name("index/00")).unwrap_err(), store.list("index").unwrap_err()]
    {
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
}

/// A class that a store does not know was taken for a header that it does not: the pack was sent three times more, without its checksum
/// in the end, and the run failed with words about an unsupported PUT.
// Row: 400 InvalidStorageClass.
#[test]
fn a_storage_class_that_is_not_known_is_said_at_once() {
    let server = S3Server::start();
    let place = S3Place::parse(&server.url("x")).unwrap();
    let store = S3Store::open(place, S3Options { storage_class: Some("ARCTIC".into()), ..quick() }).unwrap();
    let error = store.put(&ObjectName::pack(Class::Data, &PackId::new([7; 32])), b"x").unwrap_err();
    assert!(error.kind() == Kind::Configuration && error.to_string().contains("ARCTIC"), "{error}");
    assert_eq!(server.log_of(PutObject).len(), 1);
}
