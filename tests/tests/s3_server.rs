//! The test server does what AWS does: operations, conditions, ranges, digests, signatures, listings, versions.
//! No test here may know how it does it.

use seabed_tests::s3_client::{Answer, Ask, S3Client};
use seabed_tests::s3_server::behaviour::{Canned, Checksums, Conditional, Credential, Etags, Versioning};
use seabed_tests::s3_server::sigv4::{Signing, sha256_hex};
use seabed_tests::s3_server::{BUCKET, Operation, Outcome, S3Server, checksum, content_md5, xml};

fn send(server: &S3Server, ask: Ask) -> Answer {
    S3Client::new(server.address()).send(ask).unwrap()
}

fn object(method: &str, key: &str) -> Ask {
    Ask::new(method, &format!("/{BUCKET}/{key}"))
}

fn put(server: &S3Server, key: &str, bytes: &[u8]) -> Answer {
    send(server, object("PUT", key).body(bytes))
}

fn get(server: &S3Server, key: &str) -> Answer {
    send(server, object("GET", key))
}

fn list(server: &S3Server, query: &[(&str, &str)]) -> Answer {
    let mut ask = Ask::new("GET", &format!("/{BUCKET}")).query("list-type", "2");
    for (name, value) in query {
        ask = ask.query(name, value);
    }
    send(server, ask)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

#[test]
fn an_object_is_put_read_and_deleted() {
    let server = S3Server::start();
    let ask = object("PUT", "a/b c+d%é").body(b"bytes").header("x-amz-storage-class", "STANDARD_IA");
    let ask = ask.header("x-amz-server-side-encryption", "AES256").header("x-amz-meta-x", "y").header("content-type", "text/plain");
    let answer = send(&server, ask);
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"4b3a6218bb3e3a7303e8a171a60fcf92\"")));
    assert_eq!(answer.header("x-amz-server-side-encryption"), Some("AES256"));
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")));

    let (got, head) = (get(&server, "a/b c+d%é"), send(&server, object("HEAD", "a/b c+d%é")));
    assert_eq!((got.status, head.status, got.body.as_slice(), head.body.len()), (200, 200, &b"bytes"[..], 0));
    for name in ["content-length", "etag", "content-type", "x-amz-meta-x", "x-amz-storage-class", "last-modified", "accept-ranges"] {
        assert_eq!(got.header(name), head.header(name), "{name}");
        assert!(got.header(name).is_some(), "{name}");
    }
    assert_eq!(got.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(server.objects().keys().collect::<Vec<_>>(), ["a/b c+d%é"]);
    assert_eq!(server.object_headers("a/b c+d%é").unwrap().0, "STANDARD_IA");

    assert_eq!(send(&server, object("DELETE", "a/b c+d%é")).status, 204);
    assert_eq!(send(&server, object("DELETE", "a/b c+d%é")).status, 204);
    refused(&get(&server, "a/b c+d%é"), 404, "NoSuchKey");
    assert_eq!(send(&server, object("HEAD", "a/b c+d%é")).status, 404);
    assert!(server.objects().is_empty());
}

#[test]
fn the_log_has_every_request() {
    let server = S3Server::start();
    put(&server, "k", b"12345");
    send(&server, object("GET", "k").header("range", "bytes=1-2"));
    list(&server, &[("prefix", "k")]);
    get(&server, "none");
    let log = server.log();
    let seen: Vec<_> = log.iter().map(|l| (l.number, l.method.as_str(), l.operation, l.key.as_str(), l.status().unwrap())).collect();
    use Operation::{GetObject, ListObjectsV2, PutObject};
    let expected = [
        (1, "PUT", PutObject, "k", 200),
        (2, "GET", GetObject, "k", 206),
        (3, "GET", ListObjectsV2, "k", 200),
        (4, "GET", GetObject, "none", 404),
    ];
    assert_eq!(seen, expected);
    assert_eq!((log[0].bytes_in, log[0].bytes_out, log[1].bytes_in, log[1].bytes_out), (5, 0, 0, 2));
    assert_eq!((log[1].range.as_deref(), log[2].query.len()), (Some("bytes=1-2"), 2));
    assert_eq!(log[0].header("x-amz-content-sha256"), Some(sha256_hex(b"12345").as_str()));
    server.clear_log();
    assert!(server.log().is_empty());
    get(&server, "k");
    assert_eq!(server.log_of(GetObject)[0].number, 5);
}

#[test]
fn ranges() {
    let server = S3Server::start();
    server.put_object("k", "0123456789");
    server.put_object("empty", "");
    let cases = [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-30", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=8-100", 206, "89", "bytes 8-9/10"),
        ("bytes=4-2", 200, "0123456789", ""),
        ("pages=1-2", 200, "0123456789", ""),
    ];
    for (range, status, body, said) in cases {
        let answer = send(&server, object("GET", "k").header("range", range));
        assert_eq!((answer.status, answer.text().as_str(), answer.header("content-range").unwrap_or("")), (status, body, said), "{range}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        let answer = send(&server, object("GET", "k").header("range", range));
        refused(&answer, 416, "InvalidRange");
        assert_eq!(answer.header("content-range"), Some("bytes */10"));
    }
    refused(&send(&server, object("GET", "empty").header("range", "bytes=-5")), 416, "InvalidRange");
}

#[test]
fn reads_with_conditions_and_etags() {
    let server = S3Server::start();
    let etag = put(&server, "k", b"x").header("etag").unwrap().to_owned();
    assert_eq!(send(&server, object("GET", "k").header("if-match", &etag)).status, 200);
    refused(&send(&server, object("GET", "k").header("if-match", "\"other\"")), 412, "PreconditionFailed");
    assert_eq!(send(&server, object("GET", "k").header("if-none-match", &etag)).status, 304);
    server.behave(|b| b.etags = Etags::Opaque);
    assert_ne!(get(&server, "k").header("etag"), Some(etag.as_str()));
    server.behave(|b| b.etags = Etags::Absent);
    assert_eq!(get(&server, "k").header("etag"), None);
    assert!(!list(&server, &[]).text().contains("ETag"));
}

#[test]
fn conditional_puts() {
    let server = S3Server::start();
    let create = || send(&server, object("PUT", "k").header("if-none-match", "*").body(b"new"));
    assert_eq!(create().status, 200);
    let cases = [
        (Conditional::Honoured, 412, "PreconditionFailed"),
        (Conditional::NotImplemented, 501, "NotImplemented"),
        (Conditional::Conflict, 409, "ConditionalRequestConflict"),
        (Conditional::NotModified, 304, ""),
    ];
    for (conditional, status, code) in cases {
        server.put_object("k", "old");
        server.behave(|b| b.conditional_put = conditional);
        refused(&create(), status, code);
        assert_eq!(server.object("k").unwrap(), "old");
    }
    server.behave(|b| b.conditional_put = Conditional::Ignored);
    assert_eq!(create().status, 200);
    assert_eq!(server.object("k").unwrap(), "new");

    let etag = get(&server, "k").header("etag").unwrap().to_owned();
    assert_eq!(send(&server, object("PUT", "k").header("if-match", &etag).body(b"newer")).status, 200);
    refused(&send(&server, object("PUT", "k").header("if-match", &etag).body(b"newest")), 412, "PreconditionFailed");
    refused(&send(&server, object("PUT", "none").header("if-match", &etag)), 404, "NoSuchKey");
}

#[test]
fn digests_are_verified() {
    // The check values of the catalogue of CRCs, for "123456789".
    for (algorithm, right) in [("crc32", "y/Q5Jg=="), ("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg=")] {
        assert_eq!(checksum(algorithm, b"123456789").unwrap(), right);
    }
    let server = S3Server::start();
    for algorithm in ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] {
        let name = format!("x-amz-checksum-{algorithm}");
        let (right, wrong) = (checksum(algorithm, b"bytes").unwrap(), checksum(algorithm, b"other").unwrap());
        refused(&send(&server, object("PUT", algorithm).header(&name, &wrong).body(b"bytes")), 400, "BadDigest");
        assert_eq!(server.object(algorithm), None);
        assert_eq!(send(&server, object("PUT", algorithm).header(&name, &right).body(b"bytes")).header(&name), Some(right.as_str()));
        let with = |range| send(&server, object("GET", algorithm).header("x-amz-checksum-mode", "ENABLED").header("range", range));
        assert_eq!((with("").header(&name), with("bytes=0-1").header(&name)), (Some(right.as_str()), None));
        assert_eq!(get(&server, algorithm).header(&name), None);
    }
    assert_eq!(send(&server, object("PUT", "k").header("content-md5", &content_md5(b"bytes")).body(b"bytes")).status, 200);
    refused(&send(&server, object("PUT", "k").header("content-md5", &content_md5(b"other")).body(b"bytes")), 400, "BadDigest");
    refused(&send(&server, object("PUT", "k").header("content-md5", "?").body(b"bytes")), 400, "InvalidDigest");
    let wrong = object("PUT", "k").header("x-amz-content-sha256", &sha256_hex(b"other")).body(b"bytes");
    refused(&send(&server, wrong), 400, "XAmzContentSHA256Mismatch");
    assert_eq!(send(&server, object("PUT", "k").unsigned().body(b"unsigned")).status, 200);
    assert_eq!(server.object("k").unwrap(), "unsigned");
}

#[test]
fn checksums_may_be_refused_or_ignored() {
    let server = S3Server::start();
    let ask = || object("PUT", "k").header("x-amz-checksum-crc32", "AAAAAA==").body(b"bytes");
    for (status, code) in [(400, "InvalidArgument"), (501, "NotImplemented")] {
        server.behave(|b| b.checksums = Checksums::Refused(status));
        refused(&send(&server, ask()), status, code);
        refused(&send(&server, object("PUT", "k").header("x-amz-sdk-checksum-algorithm", "CRC32")), status, code);
        assert_eq!(put(&server, "plain", b"bytes").status, 200);
    }
    server.behave(|b| b.checksums = Checksums::Ignored);
    assert_eq!(send(&server, ask()).status, 200);
}

#[test]
fn chunked_bodies_are_unpacked() {
    let server = S3Server::start();
    let client = S3Client::new(server.address());
    let ask = object("PUT", "k").header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let ask = ask.header("content-encoding", "aws-chunked").header("x-amz-decoded-content-length", "9");
    let (seed, mut ask) = client.sign(ask);
    ask.body = client.chunked_body(&ask, &seed, &[b"12345", b"6789"]);
    assert_eq!(client.send(ask.clone()).unwrap().status, 200);
    assert_eq!(server.object("k").unwrap(), "123456789");
    let at = ask.body.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    ask.body[at] ^= 1;
    refused(&client.send(ask).unwrap(), 403, "SignatureDoesNotMatch");

    let trailing = |checksum: &str, length: &str| {
        let ask = object("PUT", "t").header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let ask = ask.header("x-amz-trailer", "x-amz-checksum-crc32").header("x-amz-decoded-content-length", length);
        client.send(ask.body(format!("9\r\n123456789\r\n0\r\n{checksum}\r\n").as_bytes())).unwrap()
    };
    assert_eq!(trailing("x-amz-checksum-crc32:y/Q5Jg==\r\n", "9").status, 200);
    assert_eq!(server.object("t").unwrap(), "123456789");
    refused(&trailing("x-amz-checksum-crc32:y/Q5Jw==\r\n", "9"), 400, "BadDigest");
    refused(&trailing("", "9"), 400, "MalformedTrailerError");
    refused(&trailing("x-amz-checksum-crc32:y/Q5Jg==\r\n", "8"), 400, "IncompleteBody");
}

fn pages(server: &S3Server, query: &[(&str, &str)]) -> (Vec<String>, usize) {
    let (mut keys, mut pages, mut token) = (Vec::new(), 0, None::<String>);
    loop {
        let mut query = query.to_vec();
        if let Some(token) = &token {
            query.push(("continuation-token", token));
        }
        let answer = list(server, &query);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let (found, prefixes) = (xml::texts(&text, "Key"), xml::texts(&text, "CommonPrefixes").len());
        assert_eq!(xml::text(&text, "KeyCount").unwrap(), (found.len() + prefixes).to_string());
        keys.extend(found);
        keys.extend(text.split("<CommonPrefixes>").skip(1).map(|rest| xml::text(rest, "Prefix").unwrap()));
        pages += 1;
        token = xml::text(&text, "NextContinuationToken");
        assert_eq!(token.is_some(), text.contains("<IsTruncated>true</IsTruncated>"));
        if token.is_none() {
            return (keys, pages);
        }
    }
}

#[test]
fn listings() {
    let server = S3Server::start();
    let mut keys = ["a", "a&<>\"'", "a b", "b/1", "b/2", "b/c/3", "c", "é", "\u{ffff}", "😀", "a%b+c"].map(str::to_owned);
    for key in &keys {
        server.put_object(key, "x");
    }
    keys.sort();
    assert_eq!(pages(&server, &[]), (keys.to_vec(), 1));
    for (page, count) in [(1, 11), (2, 6), (5, 3), (10, 2), (11, 1), (12, 1)] {
        server.behave(|b| b.page_keys = page);
        assert_eq!(pages(&server, &[]), (keys.to_vec(), count), "{page} keys in a page");
    }
    server.behave(|b| b.page_keys = 1000);
    assert_eq!(pages(&server, &[("max-keys", "4")]).1, 3);
    assert_eq!(pages(&server, &[("prefix", "b/")]).0, ["b/1", "b/2", "b/c/3"]);
    assert_eq!(pages(&server, &[("prefix", "b/"), ("delimiter", "/")]).0, ["b/1", "b/2", "b/c/"]);
    for page in [1, 2, 3] {
        server.behave(|b| b.page_keys = page);
        let mut found = pages(&server, &[("delimiter", "/")]).0;
        found.sort();
        assert_eq!(found, ["a", "a b", "a%b+c", "a&<>\"'", "b/", "c", "é", "\u{ffff}", "😀"], "{page} in a page");
    }
    server.behave(|b| b.page_keys = 1000);
    assert_eq!(pages(&server, &[("start-after", "b/2")]).0[0], "b/c/3");
    let encoded = list(&server, &[("encoding-type", "url"), ("prefix", "a")]).text();
    assert_eq!(xml::texts(&encoded, "Key"), ["a", "a+b", "a%25b%2Bc", "a%26%3C%3E%22%27"]);
    assert_eq!(xml::text(&encoded, "EncodingType").unwrap(), "url");
    let none = list(&server, &[("max-keys", "0")]).text();
    assert_eq!((xml::text(&none, "KeyCount").unwrap(), xml::text(&none, "IsTruncated").unwrap()), ("0".to_owned(), "false".to_owned()));
    assert_eq!(pages(&server, &[("prefix", "nothing")]).0, [""; 0]);
    let contents = list(&server, &[("prefix", "c")]).text();
    assert_eq!(xml::text(&contents, "Size").unwrap(), "1");
    assert!(xml::text(&contents, "LastModified").unwrap().ends_with('Z'));
    refused(&list(&server, &[("continuation-token", "?")]), 400, "InvalidArgument");
    refused(&list(&server, &[("max-keys", "x")]), 400, "InvalidArgument");
}

#[test]
fn a_pager_that_loses_its_marker_begins_again() {
    let server = S3Server::start();
    server.behave(|b| (b.page_keys, b.restart_when_marker_gone) = (2, true));
    for key in ["1", "2", "3", "4"] {
        server.put_object(key, "x");
    }
    let first = list(&server, &[]).text();
    let token = xml::text(&first, "NextContinuationToken").unwrap();
    assert!(server.remove_object("2"));
    assert_eq!(xml::texts(&list(&server, &[("continuation-token", &token)]).text(), "Key"), ["1", "3"]);
    server.behave(|b| b.restart_when_marker_gone = false);
    assert_eq!(xml::texts(&list(&server, &[("continuation-token", &token)]).text(), "Key"), ["3", "4"]);
}

#[test]
fn many_are_deleted_at_once() {
    let server = S3Server::start();
    let document = |keys: &[&str], more: &str| {
        let keys: Vec<String> = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
        format!("<Delete>{more}{}</Delete>", keys.join(""))
    };
    let ask = |text: &str| Ask::new("POST", &format!("/{BUCKET}")).query("delete", "").body(text.as_bytes());
    let with_md5 = |text: &str| send(&server, ask(text).header("content-md5", &content_md5(text.as_bytes())));
    for key in ["a&b", "b", "locked/c"] {
        server.put_object(key, "x");
    }
    server.behave(|b| b.locked = vec!["locked".to_owned()]);
    refused(&send(&server, ask(&document(&["b"], ""))), 400, "InvalidRequest");
    let answer = with_md5(&document(&["a&amp;b", "none", "locked/c"], ""));
    assert_eq!((answer.status, answer.code().as_str()), (200, "AccessDenied"));
    assert_eq!(xml::texts(&answer.text(), "Key"), ["a&b", "none", "locked/c"]);
    assert_eq!(answer.text().matches("<Deleted>").count(), 2);
    assert_eq!(with_md5(&document(&["b"], "<Quiet>true</Quiet>")).text().matches("<Deleted>").count(), 0);
    assert_eq!(server.objects().keys().collect::<Vec<_>>(), ["locked/c"]);
    refused(&with_md5("<Delete/>"), 400, "MalformedXML");
    refused(&send(&server, object("DELETE", "locked/c")), 403, "AccessDenied");
}

#[test]
fn buckets_and_what_they_say_of_themselves() {
    let server = S3Server::start();
    let ask = |question: &str| send(&server, Ask::new("GET", &format!("/{BUCKET}")).query(question, ""));
    assert_eq!(send(&server, Ask::new("HEAD", "/bucket")).header("x-amz-bucket-region"), Some("us-east-1"));
    assert_eq!(send(&server, Ask::new("HEAD", "/other")).status, 404);
    refused(&send(&server, Ask::new("PUT", "/other/k")), 404, "NoSuchBucket");
    assert_eq!(send(&server, Ask::new("PUT", "/other")).status, 200);
    refused(&send(&server, Ask::new("PUT", "/other")), 409, "BucketAlreadyOwnedByYou");
    assert_eq!(send(&server, Ask::new("PUT", "/other/k")).status, 200);
    assert_eq!(xml::text(&ask("versioning").text(), "Status"), None);
    assert!(ask("location").text().contains("<LocationConstraint"));
    refused(&ask("lifecycle"), 404, "NoSuchLifecycleConfiguration");
    refused(&ask("object-lock"), 404, "ObjectLockConfigurationNotFoundError");
    refused(&ask("acl"), 501, "NotImplemented");
    server.behave(|b| {
        b.versioning = Versioning::Enabled;
        b.lifecycle = Canned::Xml("<LifecycleConfiguration><Rule/></LifecycleConfiguration>".to_owned());
        b.object_lock = Canned::Error(403, "AccessDenied".to_owned());
        b.location = Canned::Error(501, "NotImplemented".to_owned());
    });
    assert_eq!(xml::text(&ask("versioning").text(), "Status").unwrap(), "Enabled");
    assert!(ask("lifecycle").text().ends_with("<Rule/></LifecycleConfiguration>"));
    refused(&ask("object-lock"), 403, "AccessDenied");
    refused(&ask("location"), 501, "NotImplemented");
}

#[test]
fn cold_objects_are_thawed() {
    let server = S3Server::start();
    let thaw = || send(&server, object("POST", "k").query("restore", "").body(b"<RestoreRequest><Days>1</Days></RestoreRequest>"));
    let head = || send(&server, object("HEAD", "k"));
    put(&server, "k", b"cold");
    refused(&thaw(), 403, "InvalidObjectState");
    server.set_storage_class("k", "GLACIER");
    refused(&get(&server, "k"), 403, "InvalidObjectState");
    assert_eq!((head().status, head().header("x-amz-restore")), (200, None));
    server.behave(|b| b.thaw_requests = 3);
    assert_eq!(thaw().status, 202);
    assert_eq!(head().header("x-amz-restore"), Some("ongoing-request=\"true\""));
    refused(&thaw(), 409, "RestoreAlreadyInProgress");
    refused(&get(&server, "k"), 403, "InvalidObjectState");
    assert_eq!(get(&server, "k").text(), "cold");
    assert!(head().header("x-amz-restore").unwrap().starts_with("ongoing-request=\"false\", expiry-date="));
    assert_eq!(thaw().status, 200);
    let classed = |class: &str| send(&server, object("PUT", "k").header("x-amz-storage-class", class));
    refused(&classed("NOTHING"), 400, "InvalidStorageClass");
    assert_eq!(classed("GLACIER_IR").status, 200);
    assert_eq!(get(&server, "k").status, 200);
    server.behave(|b| b.classes_refused = vec!["GLACIER_IR".to_owned()]);
    refused(&classed("GLACIER_IR"), 400, "InvalidStorageClass");
}

#[test]
fn versions_are_kept() {
    let server = S3Server::start();
    server.behave(|b| b.versioning = Versioning::Enabled);
    let id = |answer: &Answer| answer.header("x-amz-version-id").unwrap().to_owned();
    let (one, two) = (id(&put(&server, "k", b"one")), id(&put(&server, "k", b"two")));
    let gone = send(&server, object("DELETE", "k"));
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    let missing = get(&server, "k");
    refused(&missing, 404, "NoSuchKey");
    assert_eq!(missing.header("x-amz-delete-marker"), Some("true"));
    let of = |method: &str, id: &str| send(&server, object(method, "k").query("versionId", id));
    assert_eq!((of("GET", &one).text(), of("GET", &two).text()), ("one".to_owned(), "two".to_owned()));
    refused(&of("GET", &id(&gone)), 405, "MethodNotAllowed");
    refused(&of("GET", "v0"), 404, "NoSuchVersion");

    let versions = |query: &[(&str, &str)]| {
        let ask = query.iter().fold(Ask::new("GET", "/bucket").query("versions", ""), |ask, (name, value)| ask.query(name, value));
        send(&server, ask).text()
    };
    assert_eq!(xml::texts(&versions(&[]), "VersionId"), [id(&gone), two.clone(), one.clone()]);
    assert_eq!(versions(&[]).matches("<DeleteMarker>").count(), 1);
    let page = versions(&[("max-keys", "2")]);
    let (key, version) = (xml::text(&page, "NextKeyMarker").unwrap(), xml::text(&page, "NextVersionIdMarker").unwrap());
    assert_eq!(xml::texts(&versions(&[("key-marker", &key), ("version-id-marker", &version)]), "VersionId"), std::slice::from_ref(&one));

    assert_eq!(of("DELETE", &id(&gone)).header("x-amz-delete-marker"), Some("true"));
    assert_eq!(get(&server, "k").text(), "two");
    assert_eq!(of("DELETE", &two).status, 204);
    assert_eq!(get(&server, "k").text(), "one");
    server.behave(|b| b.versioning = Versioning::Suspended);
    put(&server, "k", b"null");
    put(&server, "k", b"null again");
    assert_eq!(xml::texts(&versions(&[]), "VersionId"), ["null".to_owned(), one]);
}

#[test]
fn signatures_are_those_of_the_published_examples() {
    let host = ("host".to_owned(), "examplebucket.s3.amazonaws.com".to_owned());
    let time = ("x-amz-date".to_owned(), "20130524T000000Z".to_owned());
    let signature = |method: &str, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)], body: &[u8]| {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let payload = sha256_hex(body);
        let mut headers = owned(headers);
        headers.extend([host.clone(), time.clone(), ("x-amz-content-sha256".to_owned(), payload.clone())]);
        let signing =
            Signing { method, path, query: &owned(query), headers: &headers, payload: &payload, time: &time.1, region: "us-east-1" };
        signing.signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    };
    assert_eq!(
        signature("GET", "/test.txt", &[], &[("range", "bytes=0-9")], b""),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    assert_eq!(
        signature("PUT", "/test$file.text", &[], &put, b"Welcome to Amazon S3."),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    );
    assert_eq!(signature("GET", "/", &[("lifecycle", "")], &[], b""), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    assert_eq!(
        signature("GET", "/", &[("prefix", "J"), ("max-keys", "2")], &[], b""),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    );
    let signing = Signing {
        method: "PUT",
        path: "/examplebucket/chunkObject.txt",
        query: &[],
        headers: &[],
        payload: "",
        time: "20130524T000000Z",
        region: "us-east-1",
    };
    let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let chunk = signing.chunk_signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", seed, &[b'a'; 65536]);
    assert_eq!(chunk, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
}

#[test]
fn who_may_not_is_refused() {
    let server = S3Server::start();
    server.put_object("k", "x");
    let client = S3Client::new(server.address());
    let get = |client: &S3Client| client.send(object("GET", "k")).unwrap();
    assert_eq!(get(&client).status, 200);
    refused(&get(&S3Client { secret: "other".to_owned(), ..client.clone() }), 403, "SignatureDoesNotMatch");
    refused(&get(&S3Client { access: "other".to_owned(), ..client.clone() }), 403, "InvalidAccessKeyId");
    let elsewhere = get(&S3Client { region: "eu-west-1".to_owned(), ..client.clone() });
    refused(&elsewhere, 400, "AuthorizationHeaderMalformed");
    assert_eq!(xml::text(&elsewhere.text(), "Region").unwrap(), "us-east-1");
    refused(&client.send(object("GET", "k").header("authorization", "")).unwrap(), 403, "AccessDenied");
    refused(&client.send(object("GET", "k").header("authorization", "Bearer x")).unwrap(), 400, "AuthorizationHeaderMalformed");
    // A header of Amazon's that is not signed.
    let (signature, ask) = client.sign(object("GET", "k"));
    let scope = format!("{}/us-east-1/s3/aws4_request", &ask.headers.iter().find(|(n, _)| n == "x-amz-date").unwrap().1[..8]);
    let names = "host;x-amz-content-sha256;x-amz-date";
    let header = format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", client.access);
    assert_eq!(client.send(ask.clone().header("authorization", &header)).unwrap().status, 200);
    let more = ask.header("x-amz-meta-y", "z").header("authorization", &header);
    refused(&client.send(more).unwrap(), 403, "AccessDenied");

    server.behave(|b| b.region = None);
    assert_eq!(get(&S3Client { region: "eu-west-1".to_owned(), ..client }).status, 200);
}

#[test]
fn clocks_and_tokens() {
    let server = S3Server::start();
    server.put_object("k", "x");
    let client = S3Client::new(server.address());
    let get = |client: &S3Client| client.send(object("GET", "k")).unwrap();
    server.behave(|b| b.clock_offset_secs = 3600);
    let skewed = get(&client);
    refused(&skewed, 403, "RequestTimeTooSkewed");
    // What the client needs to find its offset.
    assert!(skewed.header("date").is_some());
    assert_eq!(get(&S3Client { clock_offset_secs: 3600 - 800, ..client.clone() }).status, 200);
    refused(&get(&S3Client { clock_offset_secs: 3600 + 1000, ..client.clone() }), 403, "RequestTimeTooSkewed");
    server.behave(|b| {
        b.clock_offset_secs = 0;
        b.credentials[0].expired = true;
        b.credentials.push(Credential { access: "new".into(), secret: "secret".into(), token: Some("token".into()), expired: false });
    });
    refused(&get(&client), 400, "ExpiredToken");
    let new = S3Client { access: "new".to_owned(), secret: "secret".to_owned(), ..client };
    refused(&get(&new), 400, "InvalidToken");
    assert_eq!(get(&S3Client { token: Some("token".to_owned()), ..new }).status, 200);
}

#[test]
fn connections_stay_open_until_they_are_closed() {
    let server = S3Server::start();
    let mut session = S3Client::new(server.address()).connect().unwrap();
    assert_eq!(session.send(object("PUT", "k").body(b"x")).unwrap().status, 200);
    assert_eq!(session.send(object("GET", "k")).unwrap().text(), "x");
    assert_eq!(session.send(object("HEAD", "k")).unwrap().status, 200);
    assert_eq!(session.send(object("DELETE", "k")).unwrap().status, 204);
    refused(&session.send(object("GET", "k")).unwrap(), 404, "NoSuchKey");
    server.close_connections();
    assert!(session.send(object("GET", "k")).is_err());
    assert_eq!(server.log().iter().filter(|logged| matches!(logged.outcome, Outcome::Status(_))).count(), 5);
    let address = server.address();
    drop(server);
    assert!(S3Client::new(address).connect().is_err());
}
