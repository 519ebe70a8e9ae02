//! Restore into a bucket: everything comes back under its key with what it was put with, what is there is not sent again, what is not the
//! snapshot's is left alone, and every object is held against its digest. Tests are called `s3_source_into_*`. It obeys spec chapter 6 (buckets).

use crate::s3::quick;
use crate::s3_source::{bucket, repository, save, source};
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::into_bucket::{Amount, BucketOptions, BucketReport, Change, into_bucket, unsaved};
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::s3::{Bucket, Fact, Moment, Pace, S3Options, S3Place};
use seabed_engine::{Error, SnapshotId};
use seabed_tests::repo::{bytes_stream, options, select};
use seabed_tests::s3_server::behaviour::{Canned, Etags};
use seabed_tests::s3_server::fault::{Refusal, Stored};
use seabed_tests::s3_server::{Fault, Operation, Rule, S3Server};
use seabed_tests::servers::{Rclone, rclone_is_wanted};
use seabed_tests::trees::noise;
use std::collections::BTreeMap;

const OPTIONS: BucketOptions =
    BucketOptions { include: Vec::new(), exclude: Vec::new(), force: false, dry_run: false, keep_going: false, threads: 0 };

fn restored(
    repository: &Repository,
    id: &SnapshotId,
    path: &[u8],
    bucket: &Bucket,
    options: &BucketOptions,
) -> Result<(BucketReport, BTreeMap<String, Change>), Error> {
    let selected = select(repository, id, path)?;
    let mut changes = BTreeMap::new();
    let report = into_bucket(repository, &selected, bucket, options, &Silent, &mut |key, change, _| {
        assert!(changes.insert(key.to_owned(), change).is_none(), "{key} twice");
        Ok(())
    })?;
    Ok((report, changes))
}

/// What lies below a prefix: key, content, content type and metadata.
fn held(server: &S3Server, prefix: &str) -> BTreeMap<String, (Vec<u8>, Vec<(String, String)>)> {
    let below = format!("{prefix}/");
    let objects = server.objects().into_iter().filter_map(|(key, bytes)| Some((key.strip_prefix(&below)?.to_owned(), key.clone(), bytes)));
    objects
        .map(|(own, key, bytes)| {
            let mut headers = server.object_headers(&key).unwrap().1;
            headers.sort();
            (own, (bytes.to_vec(), headers))
        })
        .collect()
}

fn filled(server: &S3Server) {
    let headers = [
        ("content-type", "image/png"),
        ("cache-control", "no-store"),
        ("x-amz-meta-owner", "ann"),
        ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ];
    server.put_with("photos/a", "alpha", &headers);
    for (key, bytes) in
        [("a/b", vec![1; 100]), ("", vec![]), ("//x", vec![2]), ("..", vec![3]), ("mark/", vec![]), ("long", noise(5, 21 << 20))]
    {
        server.put_with(&format!("photos/{key}"), bytes, &[("content-type", "text/plain")]);
    }
}

fn amount(objects: u64, bytes: u64) -> Amount {
    Amount { objects, bytes }
}

#[test]
fn s3_source_into_a_bucket_comes_what_was_in_one() {
    let server = S3Server::start();
    let repository = repository();
    filled(&server);
    let id = save(&repository, source(&server, "photos")).unwrap().snapshot.unwrap();
    let back = bucket(&server, "back/here");
    let bytes = 5 + 100 + 1 + 1 + (21 << 20);
    let dry = BucketOptions { dry_run: true, ..OPTIONS };
    let (plan, changes) = restored(&repository, &id, b"", &back, &dry).unwrap();
    assert_eq!((plan.new, plan.sent), (amount(7, bytes), amount(0, 0)));
    assert!(changes.values().all(|change| *change == Change::New) && changes.contains_key("a/b"));
    assert!(held(&server, "back/here").is_empty());
    let (report, _) = restored(&repository, &id, b"", &back, &OPTIONS).unwrap();
    assert_eq!(report.sent, amount(7, bytes));
    assert!(report.is_complete());
    assert_eq!(held(&server, "back/here"), held(&server, "photos"));
    assert_eq!(server.uploads(), 0);
    // Again: nothing is sent, and nothing has to be forced.
    server.clear_log();
    let (again, changes) = restored(&repository, &id, b"photos", &back, &OPTIONS).unwrap();
    assert_eq!((again.same, again.sent), (amount(7, bytes), amount(0, 0)));
    assert!(changes.values().all(|change| *change == Change::Same));
    assert!(server.log().iter().all(|logged| logged.operation == Operation::ListObjectsV2));
    // Saved from there it is the same tree but for times.
    let copy = save(&repository, source(&server, "back/here")).unwrap();
    assert_eq!((copy.summary.data_chunks, copy.summary.files_total), (0, 5));
}

#[test]
fn s3_source_into_a_bucket_that_holds_something_else_nothing_goes_unless_forced() {
    let server = S3Server::start();
    let repository = repository();
    for key in ["p/a", "p/b", "p/c/d"] {
        server.put_object(key, key);
    }
    let id = save(&repository, source(&server, "p")).unwrap().snapshot.unwrap();
    for (key, bytes) in [("t/a", "p/a"), ("t/b", "p-b"), ("t/x", "other")] {
        server.put_object(key, bytes);
    }
    let target = bucket(&server, "t");
    let before = held(&server, "t");
    let refused = restored(&repository, &id, b"", &target, &OPTIONS).unwrap_err();
    assert!(matches!(&refused, Error::Refused { what } if what.contains("1 object that differ") || what.contains("1 object")), "{refused}");
    assert_eq!(held(&server, "t"), before);
    let (report, changes) = restored(&repository, &id, b"", &target, &BucketOptions { force: true, ..OPTIONS }).unwrap();
    let want = [("a", Change::Same), ("b", Change::Differs), ("c/d", Change::New), ("x", Change::Extra)];
    assert_eq!(changes, want.map(|(key, change)| (key.to_owned(), change)).into());
    assert_eq!(report.sent.objects, 2);
    let after = held(&server, "t");
    assert_eq!((&after["b"].0[..], &after["x"].0[..]), (&b"p/b"[..], &b"other"[..]), "what the snapshot does not have stays");
    // A part of it, and a single object.
    let (report, changes) = restored(&repository, &id, b"photos/c", &bucket(&server, "part"), &OPTIONS).unwrap();
    assert_eq!((report.sent.objects, changes.into_keys().collect::<Vec<_>>()), (1, vec!["d".to_owned()]));
    restored(&repository, &id, b"photos/b", &bucket(&server, "one"), &OPTIONS).unwrap();
    assert_eq!(held(&server, "one").into_keys().collect::<Vec<_>>(), ["b"]);
}

/// ETags that tell nothing: what is there is read and compared.
#[test]
fn s3_source_into_a_bucket_without_digests_contents_are_compared() {
    let server = S3Server::start();
    let repository = repository();
    for (key, bytes) in [("p/a", noise(1, 100)), ("p/b", noise(2, 1000))] {
        server.put_object(key, bytes);
    }
    let id = save(&repository, source(&server, "p")).unwrap().snapshot.unwrap();
    server.behave(|b| b.etags = Etags::Absent);
    let target = bucket(&server, "t");
    assert_eq!(restored(&repository, &id, b"", &target, &OPTIONS).unwrap().0.sent.objects, 2);
    let (again, _) = restored(&repository, &id, b"", &target, &OPTIONS).unwrap();
    assert_eq!((again.same.objects, again.sent.objects), (2, 0));
    server.flip_bit("t/a", 5);
    let dry = BucketOptions { dry_run: true, ..OPTIONS };
    assert_eq!(restored(&repository, &id, b"", &target, &dry).unwrap().1["a"], Change::Differs);
}

#[test]
fn s3_source_into_every_put_is_verified() {
    let server = S3Server::start();
    let repository = repository();
    for key in ["p/a", "p/b", "p/c"] {
        server.put_object(key, key);
    }
    let id = save(&repository, source(&server, "p")).unwrap().snapshot.unwrap();
    // A store that keeps nothing, and says nothing of it but an ETag that is right; one that keeps something else.
    server.inject(Rule::new(Fault::Etag(Etags::Absent)).on(Operation::PutObject).key("t/a").for_ever());
    let denied = Fault::Refuse(Refusal { status: 403, code: "AccessDenied".into(), retry_after_secs: None });
    server.inject(Rule::new(denied).on(Operation::PutObject).key("t/b").for_ever());
    server.inject(Rule::new(Fault::BadDigest(Stored::Damaged)).on(Operation::PutObject).key("t/c"));
    let (report, _) = restored(&repository, &id, b"", &bucket(&server, "t"), &OPTIONS).unwrap();
    assert_eq!((report.sent.objects, report.error_count), (2, 1), "{:?}", report.errors);
    assert_eq!(report.errors[0].path.to_str(), Some("b"));
    assert!(!report.is_complete());
    assert_eq!(server.object("t/c").unwrap(), "p/c");
}

/// A part that fails for good leaves no parts behind.
#[test]
fn s3_source_into_what_breaks_off_leaves_no_parts() {
    let server = S3Server::start();
    let repository = repository();
    server.put_object("p/long", noise(1, 40 << 20));
    let id = save(&repository, source(&server, "p")).unwrap().snapshot.unwrap();
    let denied = Fault::Refuse(Refusal { status: 403, code: "AccessDenied".into(), retry_after_secs: None });
    server.inject(Rule::new(denied).on(Operation::UploadPart).skip(1).for_ever());
    let (report, _) = restored(&repository, &id, b"", &bucket(&server, "t"), &OPTIONS).unwrap();
    assert_eq!((report.error_count, server.uploads()), (1, 0));
    server.clear_faults();
    // The answer to the end is lost: it ended all the same.
    server.inject(Rule::new(Fault::ResetAfter).on(Operation::CompleteMultipartUpload));
    let (report, _) = restored(&repository, &id, b"", &bucket(&server, "t"), &OPTIONS).unwrap();
    assert!(report.is_complete() && server.object("t/long").unwrap() == noise(1, 40 << 20));
    let (again, _) = restored(&repository, &id, b"", &bucket(&server, "t"), &OPTIONS).unwrap();
    assert_eq!(again.same.objects, 1, "what came in parts is known by the digests of these");
}

/// Files go into a bucket as well; what no object can be is counted.
#[test]
fn s3_source_into_a_bucket_go_files_and_streams() {
    let server = S3Server::start();
    let repository = repository();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/f"), "of a file").unwrap();
    std::os::unix::fs::symlink("f", dir.path().join("sub/link")).unwrap();
    let sources = BackupOptions { streams: vec![bytes_stream("dump.sql", b"of a stream".to_vec())], ..options(&[dir.path().to_owned()]) };
    let id = backup(&repository, sources, &Silent).unwrap().snapshot.unwrap();
    let top = dir.path().to_str().unwrap().trim_start_matches('/').as_bytes().to_vec();
    let (report, _) = restored(&repository, &id, &top, &bucket(&server, "t"), &OPTIONS).unwrap();
    assert_eq!((report.sent.objects, report.left_out), (1, 1));
    assert_eq!(server.object("t/sub/f").unwrap(), "of a file");
    restored(&repository, &id, b"", &bucket(&server, "all"), &OPTIONS).unwrap();
    assert_eq!(server.object("all/dump.sql").unwrap(), "of a stream");
    // A bucket beside something else has to be chosen.
    server.put_object("p/a", "a");
    let sources = BackupOptions { streams: vec![bytes_stream("dump.sql", vec![1])], objects: vec![source(&server, "p")], ..options(&[]) };
    let id = backup(&repository, sources, &Silent).unwrap().snapshot.unwrap();
    let unclear = restored(&repository, &id, b"", &bucket(&server, "two"), &OPTIONS).unwrap_err();
    assert!(unclear.to_string().contains("choose one"), "{unclear}");
    restored(&repository, &id, b"photos", &bucket(&server, "two"), &OPTIONS).unwrap();
    assert_eq!(held(&server, "two").into_keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn s3_source_lifecycle_rules_and_what_is_not_saved() {
    let server = S3Server::start();
    let repository = repository();
    let rules = |text: &str| Canned::Xml(format!("<LifecycleConfiguration>{text}</LifecycleConfiguration>"));
    assert_eq!(bucket(&server, "p").lifecycle().unwrap(), Fact::Known(vec![]));
    let raw =
        "<Rule><ID>raw</ID><Status>Enabled</Status><Filter><Prefix>p/raw/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>";
    let cold = "<Rule><ID>cold</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>\
                <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>";
    let others =
        "<Rule><ID>other</ID><Status>Enabled</Status><Filter><Prefix>q/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>";
    server.behave(|b| b.lifecycle = rules(&[raw, cold, others].concat()));
    let Fact::Known(found) = bucket(&server, "p").lifecycle().unwrap() else { panic!() };
    let told: Vec<_> = found.iter().map(|rule| (&rule.name[..], &rule.prefix[..], rule.deletes, rule.moves.len())).collect();
    assert_eq!(told, [("raw", "raw/", Some(Moment::Days(1)), 0), ("cold", "", None, 1)]);
    server.behave(|b| b.lifecycle = Canned::Error(403, "AccessDenied".into()));
    assert!(matches!(bucket(&server, "p").lifecycle().unwrap(), Fact::Unknown(_)));

    let missing = |id: Option<&SnapshotId>| {
        let selected = id.map(|id| select(&repository, id, b"").unwrap());
        let mut keys = Vec::new();
        unsaved(selected.as_ref().map(|selected| (&repository, selected)), &bucket(&server, "p"), &Silent, |object| {
            keys.push(object.key.clone());
            Ok(())
        })
        .unwrap();
        keys
    };
    for key in ["p/a", "p/b", "p/mark/"] {
        server.put_object(key, if key.ends_with('/') { "" } else { key });
    }
    assert_eq!(missing(None), ["a", "b", "mark/"]);
    let id = save(&repository, source(&server, "p")).unwrap().snapshot.unwrap();
    assert!(missing(Some(&id)).is_empty());
    server.put_object("p/b", "changed");
    server.put_object("p/c", "new");
    assert_eq!(missing(Some(&id)), ["b", "c"]);
}

#[test]
fn s3_source_into_rclone_and_back() {
    if !rclone_is_wanted() {
        return;
    }
    let own = S3Server::start();
    let repository = repository();
    for (key, bytes) in [("p/a", noise(1, 100)), ("p/deep/b c", noise(2, 2 << 20)), ("p/long", noise(3, 40 << 20))] {
        own.put_with(key, bytes, &[("content-type", "image/png")]);
    }
    let id = save(&repository, source(&own, "p")).unwrap().snapshot.unwrap();
    let server = Rclone::start();
    let access = server.access();
    let keys = seabed_engine::store::s3::S3Credentials {
        access_key_id: access.key_id.clone(),
        secret_access_key: access.secret.clone(),
        session_token: None,
    };
    // Not as quick as others: it answers a part once all before it are on the disk.
    let options = S3Options { credentials: Some(keys), region: Some(access.region.clone()), pace: Pace::default(), ..quick() };
    let bucket = Bucket::open(S3Place::parse(&format!("{}/back", access.url)).unwrap(), options).unwrap();
    let (report, _) = restored(&repository, &id, b"", &bucket, &OPTIONS).unwrap();
    assert_eq!((report.sent.objects, report.error_count), (3, 0), "{:?}", report.errors);
    let (again, _) = restored(&repository, &id, b"", &bucket, &OPTIONS).unwrap();
    assert_eq!((again.same.objects, again.sent.objects), (3, 0));
}
