//! Each fault of the test server does what it says, to the requests that its rule says, and to no other.
//! No test here may wait for time to pass.

use seabed_tests::s3_client::{Answer, Ask, S3Client};
use seabed_tests::s3_server::behaviour::Etags;
use seabed_tests::s3_server::fault::{Refusal, Stored};
use seabed_tests::s3_server::{BUCKET, Fault, ListFault, Operation, Outcome, Rule, S3Server, content_md5, xml};
use std::io::{self, ErrorKind};
use std::time::Duration;

fn object(method: &str, key: &str) -> Ask {
    Ask::new(method, &format!("/{BUCKET}/{key}"))
}

fn try_send(server: &S3Server, ask: Ask) -> io::Result<Answer> {
    S3Client::new(server.address()).send(ask)
}

fn send(server: &S3Server, ask: Ask) -> Answer {
    try_send(server, ask).unwrap()
}

fn put(server: &S3Server, bytes: &[u8]) -> io::Result<Answer> {
    try_send(server, object("PUT", "k").body(bytes))
}

fn get(server: &S3Server) -> Answer {
    send(server, object("GET", "k"))
}

fn keys(server: &S3Server, token: Option<&str>) -> (Vec<String>, String) {
    let ask = Ask::new("GET", "/bucket").query("list-type", "2");
    let answer = send(server, token.into_iter().fold(ask, |ask, token| ask.query("continuation-token", token)));
    assert_eq!(answer.status, 200);
    (xml::texts(&answer.text(), "Key"), answer.text())
}

/// A server with an object of 1000 bytes under "k" and one fault.
fn faulty(fault: Fault) -> S3Server {
    let server = S3Server::start();
    server.put_object("k", vec![7; 1000]);
    server.inject(Rule::new(fault));
    server
}

#[track_caller]
fn spent(server: &S3Server) {
    assert_eq!((server.waiting_rules(), server.fired()), (vec![], 1));
}

#[test]
fn rules_choose_their_requests() {
    let server = S3Server::start();
    server.inject(Rule::new(Fault::slow_down(Some(7))).on(Operation::GetObject).key("k").skip(1).times(2));
    server.inject(Rule::new(Fault::LostPut).key("late"));
    server.put_object("k", "x");
    server.put_object("other", "x");
    let status = |key: &str| send(&server, object("GET", key)).status;
    assert_eq!([status("k"), status("other"), status("k"), status("k"), status("k")], [200, 200, 503, 503, 200]);
    assert_eq!((server.fired(), server.waiting_rules().len()), (2, 1));
    // A rule whose fault means nothing for a request waits for one for which it does.
    assert_eq!((send(&server, object("GET", "late")).status, send(&server, object("PUT", "late")).status), (404, 200));
    assert_eq!((server.object("late"), server.waiting_rules()), (None, vec![]));
    let faults: Vec<_> = server.log().into_iter().map(|logged| logged.fault).collect();
    let slow = Some(Fault::slow_down(Some(7)));
    assert_eq!(faults, [None, None, slow.clone(), slow, None, None, Some(Fault::LostPut)]);
    server.inject(Rule::new(Fault::not_found()).for_ever());
    assert_eq!([status("k"), status("k"), status("k")], [404; 3]);
    server.clear_faults();
    assert_eq!(status("k"), 200);
}

#[test]
fn seeds_depend_on_requests_and_not_on_their_order() {
    let run = |seed: u64, order: &[&str]| {
        let server = S3Server::start();
        server.inject_seeded(seed, 0.3, &[Fault::slow_down(None), Fault::ResetBefore, Fault::LostPut]);
        for key in order {
            // A reset is one of the faults.
            drop(try_send(&server, object("PUT", key)));
        }
        let mut faults: Vec<_> = server.log().into_iter().map(|logged| (logged.key, logged.fault)).collect();
        faults.sort_by_key(|(key, _)| key.clone());
        (faults, server.fired())
    };
    let forth: Vec<String> = (0..40).map(|n| format!("k{}", n % 20)).collect();
    let forth: Vec<&str> = forth.iter().map(String::as_str).collect();
    let back: Vec<&str> = forth.iter().rev().copied().collect();
    let (faults, fired) = run(1, &forth);
    assert_eq!((faults.clone(), fired), run(1, &back));
    assert_ne!(faults, run(2, &forth).0);
    assert!(fired > 3 && fired < 25, "{fired} of 40 at 30 %");
}

#[test]
fn errors_instead_of_answers() {
    let cases = [
        (Fault::slow_down(None), 503, "SlowDown"),
        (Fault::too_many_requests(Some(2)), 429, "TooManyRequests"),
        (Fault::refuse(500, "InternalError"), 500, "InternalError"),
        (Fault::refuse(502, "BadGateway"), 502, "BadGateway"),
        (Fault::refuse(504, "GatewayTimeout"), 504, "GatewayTimeout"),
        (Fault::refuse(403, "AccessDenied"), 403, "AccessDenied"),
        (Fault::refuse(400, "InvalidToken"), 400, "InvalidToken"),
        (Fault::refuse(403, "QuotaExceeded"), 403, "QuotaExceeded"),
        (Fault::refuse(507, "InsufficientStorage"), 507, "InsufficientStorage"),
        (Fault::refuse(501, "NotImplemented"), 501, "NotImplemented"),
        (Fault::refuse(409, "ConditionalRequestConflict"), 409, "ConditionalRequestConflict"),
        (Fault::refuse(412, "PreconditionFailed"), 412, "PreconditionFailed"),
        (Fault::refuse(304, ""), 304, ""),
        (Fault::not_found(), 404, "NoSuchKey"),
        (Fault::ErrorInOk("InternalError".to_owned()), 200, "InternalError"),
    ];
    for (fault, status, code) in cases {
        let server = faulty(fault.clone());
        let answer = put(&server, b"new").unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{fault:?}");
        let secs = if status == 429 { Some("2") } else { None };
        assert_eq!(answer.header("retry-after"), secs);
        assert_eq!(server.object("k").unwrap().len(), 1000, "{fault:?}");
        spent(&server);
        assert_eq!(put(&server, b"new").unwrap().status, 200);
        assert_eq!(server.object("k").unwrap(), "new");
    }
    let head = send(&faulty(Fault::slow_down(None)), object("HEAD", "k"));
    assert_eq!(head.status, 503);
}

#[test]
fn answers_that_are_none() {
    let empty = put(&faulty(Fault::EmptyOk), b"new").unwrap();
    assert_eq!((empty.status, empty.body.len(), empty.header("etag")), (200, 0, None));
    let portal = get(&faulty(Fault::Portal));
    assert_eq!((portal.status, portal.header("content-type")), (200, Some("text/html")));
    assert!(portal.text().starts_with("<!DOCTYPE html>"));
    let region = get(&faulty(Fault::wrong_region("eu-central-1")));
    assert_eq!((region.status, region.code().as_str(), region.header("location")), (301, "PermanentRedirect", None));
    assert_eq!(region.header("x-amz-bucket-region"), Some("eu-central-1"));
    let redirect = get(&faulty(Fault::redirect("http://elsewhere.invalid/bucket/k")));
    assert_eq!((redirect.status, redirect.header("location")), (307, Some("http://elsewhere.invalid/bucket/k")));
}

#[test]
fn ambiguous_puts() {
    let server = faulty(Fault::refuse_applied(500, "InternalError"));
    assert_eq!(put(&server, b"new").unwrap().status, 500);
    assert_eq!(server.object("k").unwrap(), "new");

    let server = faulty(Fault::ResetAfter);
    assert_eq!(put(&server, b"new").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.object("k").unwrap(), "new");
    assert_eq!(server.log()[0].outcome, Outcome::Reset);

    let server = faulty(Fault::ResetBefore);
    assert_eq!(put(&server, b"new").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.object("k").unwrap().len(), 1000);
    spent(&server);
}

#[test]
fn an_upload_is_reset_midway() {
    let server = faulty(Fault::ResetUpload(100_000));
    put(&server, &vec![1; 20 << 20]).unwrap_err();
    assert_eq!(server.object("k").unwrap().len(), 1000);
    let log = server.log();
    assert_eq!(log[0].outcome, Outcome::Reset);
    assert!(log[0].bytes_in >= 100_000 && log[0].bytes_in < 20 << 20, "{}", log[0].bytes_in);
}

#[test]
fn stalls_last_until_they_are_released() {
    let cases = [(Fault::StallBefore, 1000), (Fault::StallAfter, 3), (Fault::StallUpload(0), 1000)];
    for (fault, bytes) in cases {
        let server = faulty(fault);
        std::thread::scope(|scope| {
            let stalled = scope.spawn(|| put(&server, b"new"));
            server.wait_until(|log| log.iter().any(|logged| logged.outcome == Outcome::Stalled));
            assert!(!stalled.is_finished());
            // Others are served meanwhile.
            assert_eq!(get(&server).body.len(), bytes);
            server.release_stalls();
            assert_eq!(stalled.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        });
    }
    let server = faulty(Fault::StallDownload(10));
    std::thread::scope(|scope| {
        let stalled = scope.spawn(|| get(&server));
        server.wait_until(|log| log.iter().any(|logged| logged.outcome == Outcome::Stalled));
        assert!(!stalled.is_finished());
        server.release_stalls();
        let answer = stalled.join().unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.broken), (200, 10, Some(ErrorKind::ConnectionReset)));
    });
    // And none outlives its server.
    let server = faulty(Fault::StallBefore);
    let mut session = S3Client::new(server.address()).connect().unwrap();
    let stalled = std::thread::spawn(move || session.send(object("GET", "k")));
    server.wait_until(|log| log.iter().any(|logged| logged.outcome == Outcome::Stalled));
    drop(server);
    stalled.join().unwrap().unwrap_err();
}

#[test]
fn downloads_that_end_early() {
    let cut = get(&faulty(Fault::CutWithLength(10)));
    assert_eq!((cut.header("content-length"), cut.body.len(), cut.broken), (Some("1000"), 10, Some(ErrorKind::UnexpectedEof)));
    let nothing = get(&faulty(Fault::CutWithLength(0)));
    assert_eq!((nothing.status, nothing.body.len(), nothing.broken), (200, 0, Some(ErrorKind::UnexpectedEof)));
    let last = get(&faulty(Fault::CutWithLength(5000)));
    assert_eq!((last.body.len(), last.broken), (999, Some(ErrorKind::UnexpectedEof)));
    let chunked = get(&faulty(Fault::CutChunked(10)));
    assert_eq!((chunked.header("content-length"), chunked.body.len(), chunked.broken), (None, 10, None));
    let server = faulty(Fault::ResetDownload(10));
    let reset = get(&server);
    assert_eq!((reset.body.len(), reset.broken), (10, Some(ErrorKind::ConnectionReset)));
    assert_eq!((server.log()[0].bytes_out, server.log()[0].outcome), (10, Outcome::Reset));
    spent(&server);

    let server = S3Server::start();
    let big: Vec<u8> = (0..30 << 20).map(|n: u32| (n / 7) as u8).collect();
    server.put_object("k", big.clone());
    server.inject(Rule::new(Fault::CutWithLength(25_000_001)));
    assert!(get(&server).body == big[..25_000_001], "all that was to come before the cut has come");
    assert!(get(&server).body == big);
}

#[test]
fn bodies_that_drip() {
    let server = faulty(Fault::Drip(400, Duration::from_millis(1)));
    assert_eq!((get(&server).body, get(&server).body.len()), (vec![7; 1000], 1000));
    let server = faulty(Fault::DripUpload(1 << 20, Duration::from_millis(1)));
    assert_eq!(put(&server, &[1; 5000]).unwrap().status, 200);
    assert_eq!(server.object("k").unwrap().len(), 5000);
    spent(&server);
}

#[test]
fn reads_that_are_wrong() {
    let wrong = |fault: Fault| {
        let server = S3Server::start();
        server.put_object("k", "older");
        server.put_object("k", "0123456789");
        server.put_object("other", "abcdefghij");
        server.inject(Rule::new(fault));
        let answer = send(&server, object("GET", "k").header("range", "bytes=2-4"));
        spent(&server);
        assert_eq!(send(&server, object("GET", "k").header("range", "bytes=2-4")).text(), "234");
        (answer.status, answer.text(), answer.header("content-range").unwrap_or("").to_owned())
    };
    let answer = |status: u16, text: &str, range: &str| (status, text.to_owned(), range.to_owned());
    assert_eq!(wrong(Fault::IgnoreRange), answer(200, "0123456789", ""));
    assert_eq!(wrong(Fault::ContentRange(1)), answer(206, "234", "bytes 3-5/10"));
    assert_eq!(wrong(Fault::ShiftedRange(-1)), answer(206, "123", "bytes 2-4/10"));
    assert_eq!(wrong(Fault::OtherObject("other".to_owned())), answer(206, "cde", "bytes 2-4/10"));
    assert_eq!(wrong(Fault::Stale), answer(206, "der", "bytes 2-4/5"));
    assert_eq!(wrong(Fault::FlipBit(8)), answer(206, "224", "bytes 2-4/10"));
    assert_eq!(get(&faulty(Fault::Etag(Etags::Absent))).header("etag"), None);
    let server = faulty(Fault::Etag(Etags::Opaque));
    assert_ne!(get(&server).header("etag"), get(&server).header("etag"));
    // A version before the first one.
    assert_eq!(get(&faulty(Fault::Stale)).status, 404);
    let server = faulty(Fault::not_found());
    server.flip_bit("k", 0);
    assert_eq!((get(&server).status, get(&server).body[0]), (404, 6));
}

#[test]
fn puts_that_are_not_what_they_seem() {
    for (stored, found) in [(Stored::Nothing, vec![7; 1000]), (Stored::AsSent, b"new".to_vec()), (Stored::Damaged, b"oew".to_vec())] {
        let server = faulty(Fault::BadDigest(stored));
        let answer = put(&server, b"new").unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "BadDigest"));
        assert_eq!(server.object("k").unwrap(), found);
    }
    let server = faulty(Fault::LostPut);
    let answer = put(&server, b"new").unwrap();
    assert!(answer.status == 200 && answer.header("etag").is_some());
    assert_eq!(get(&server).body.len(), 1000);

    let server = S3Server::start();
    server.inject(Rule::new(Fault::LatePut(3)));
    assert_eq!(put(&server, b"new").unwrap().status, 200);
    assert_eq!(get(&server).status, 404);
    assert_eq!(send(&server, object("HEAD", "k")).status, 404);
    assert_eq!(keys(&server, None).0, [""; 0]);
    assert_eq!((get(&server).status, keys(&server, None).0), (200, vec!["k".to_owned()]));
}

#[test]
fn deletes_that_fail() {
    let server = faulty(Fault::DeleteErrors { key: "k".to_owned(), code: "InternalError".to_owned() });
    server.put_object("other", "x");
    let text = "<Delete><Object><Key>k</Key></Object><Object><Key>other</Key></Object></Delete>";
    let ask = Ask::new("POST", "/bucket").query("delete", "").header("content-md5", &content_md5(text.as_bytes()));
    let answer = send(&server, ask.body(text.as_bytes()));
    assert_eq!((answer.status, answer.code().as_str()), (200, "InternalError"));
    assert_eq!(server.objects().keys().collect::<Vec<_>>(), ["k"]);
    let refusal = Refusal { status: 403, code: "AccessDenied".to_owned(), retry_after_secs: None };
    server.inject(Rule::new(Fault::Refuse(refusal)).on(Operation::DeleteObject));
    assert_eq!(send(&server, object("DELETE", "k")).code(), "AccessDenied");
    assert_eq!(send(&server, object("DELETE", "k")).status, 204);
}

#[test]
fn listings_that_lie() {
    let start = |page: usize, fault: ListFault, skip: u32| {
        let server = S3Server::start();
        for key in ["1", "2", "3", "4", "5"] {
            server.put_object(key, "x");
        }
        server.behave(|b| b.page_keys = page);
        server.inject(Rule::new(Fault::List(fault)).skip(skip));
        server
    };
    let field = |text: &str, name: &str| xml::text(text, name).unwrap_or_default();
    let first = |page: usize, fault: ListFault| {
        let (keys, text) = keys(&start(page, fault, 0), None);
        (keys.concat(), field(&text, "IsTruncated") == "true", !field(&text, "NextContinuationToken").is_empty(), text)
    };
    let seen = |(keys, truncated, token, _): (String, bool, bool, String)| (keys, truncated, token);
    assert_eq!(seen(first(2, ListFault::NoToken)), ("12".to_owned(), true, false));
    assert_eq!(seen(first(1000, ListFault::NoToken)), ("12345".to_owned(), true, false));
    assert_eq!(seen(first(2, ListFault::NotIncreasing)), ("21".to_owned(), true, true));
    assert_eq!(seen(first(1, ListFault::NotIncreasing)), ("11".to_owned(), true, true));
    assert_eq!(seen(first(2, ListFault::Without(vec!["2".to_owned(), "4".to_owned()]))), ("13".to_owned(), true, true));
    assert_eq!(seen(first(1000, ListFault::Without(vec!["2".to_owned()]))), ("1345".to_owned(), false, false));
    assert_eq!(seen(first(1000, ListFault::Short(3))), ("123".to_owned(), false, false));
    assert_eq!(seen(first(2, ListFault::Unknown(vec!["11".to_owned()]))), ("1112".to_owned(), true, true));
    assert_eq!(seen(first(2, ListFault::EmptyPage)), (String::new(), true, true));
    assert_eq!(field(&first(1000, ListFault::KeyCount(-2)).3, "KeyCount"), "3");
    let broken = first(1000, ListFault::BadEncoding).3;
    assert_eq!((field(&broken, "EncodingType"), field(&broken, "Key")), ("url".to_owned(), "1%zz".to_owned()));

    for (fault, third) in [(ListFault::SameToken, "34"), (ListFault::Restart, "34"), (ListFault::EmptyPage, "34")] {
        let server = start(2, fault.clone(), 1);
        let token = field(&keys(&server, None).1, "NextContinuationToken");
        let (second, text) = keys(&server, Some(&token));
        let next = field(&text, "NextContinuationToken");
        match fault {
            ListFault::Restart => assert_eq!((second.concat(), next == token), ("12".to_owned(), true)),
            ListFault::SameToken => assert_eq!((second.concat(), next == token), ("34".to_owned(), true)),
            _ => assert_eq!((second.len(), next == token), (0, true)),
        }
        assert_eq!(keys(&server, Some(&next)).0.concat(), third);
    }
    let server = start(1000, ListFault::NoToken, 1);
    server.inject(Rule::new(Fault::CutWithLength(100)).on(Operation::ListObjectsV2));
    let cut = send(&server, Ask::new("GET", "/bucket").query("list-type", "2"));
    assert_eq!((cut.body.len(), cut.broken), (100, Some(ErrorKind::UnexpectedEof)));
}
