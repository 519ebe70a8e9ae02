//! The proxy passes on every byte, and fails only where it is told.
//! Of time only a lower bound may be asserted here: it holds on every machine.

use seabed_tests::proxy::{Cut, Direction, How, Proxy};
use seabed_tests::s3_client::{Answer, Ask, S3Client};
use seabed_tests::s3_server::{Outcome, S3Server};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

fn both() -> (S3Server, Proxy) {
    let server = S3Server::start();
    let proxy = Proxy::start(server.address());
    (server, proxy)
}

fn put(proxy: &Proxy, bytes: &[u8]) -> io::Result<Answer> {
    S3Client::new(proxy.address()).send(Ask::new("PUT", "/bucket/k").body(bytes))
}

fn get(proxy: &Proxy) -> io::Result<Answer> {
    S3Client::new(proxy.address()).send(Ask::new("GET", "/bucket/k"))
}

#[test]
fn bytes_pass_in_both_directions() {
    let (server, proxy) = both();
    let bytes: Vec<u8> = (0..9_000_000u32).map(|n| (n / 5) as u8).collect();
    assert_eq!(put(&proxy, &bytes).unwrap().status, 200);
    assert!(get(&proxy).unwrap().body == bytes);
    proxy.wait_until(|counts| counts.open == 0);
    let counts = proxy.counts();
    assert_eq!((counts.connections, counts.cut, server.log().len()), (2, 0, 2));
    assert!(counts.bytes_up > 9_000_000 && counts.bytes_down > 9_000_000, "{counts:?}");
}

#[test]
fn latency_is_paid_each_way() {
    let (server, proxy) = both();
    server.put_object("k", vec![1; 3 << 20]);
    let each_way = Duration::from_millis(30);
    proxy.set_latency(each_way);
    let began = Instant::now();
    assert_eq!(get(&proxy).unwrap().body.len(), 3 << 20);
    assert!(began.elapsed() >= each_way * 2);
}

#[test]
fn connections_are_cut_after_so_many_bytes() {
    let (server, proxy) = both();
    server.put_object("k", vec![1; 1 << 20]);
    // Counted from a connection's first byte, so with the heads.
    proxy.cut(Cut { skip: 1, ..Cut::new(Direction::Down, 1000, How::Close) });
    proxy.cut(Cut::new(Direction::Down, 2000, How::Reset));
    // The second rule takes the first connection: the first one lets it pass.
    let reset = get(&proxy).unwrap();
    assert_eq!(reset.broken, Some(ErrorKind::ConnectionReset));
    assert!(reset.body.len() > 1000 && reset.body.len() < 2000);
    let closed = get(&proxy).unwrap();
    assert_eq!(closed.broken, Some(ErrorKind::UnexpectedEof));
    assert!(closed.body.len() < 1000);
    assert_eq!((get(&proxy).unwrap().body.len(), proxy.counts().cut), (1 << 20, 2));

    server.clear_log();
    proxy.cut(Cut::new(Direction::Up, 100_000, How::Reset));
    put(&proxy, &vec![2; 20 << 20]).unwrap_err();
    server.wait_until(|log| log.iter().any(|logged| logged.outcome == Outcome::Gone));
    assert_eq!(server.object("k").unwrap().len(), 1 << 20);
    proxy.cut(Cut::new(Direction::Down, 0, How::Close));
    assert_eq!(get(&proxy).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    proxy.cut(Cut { times: u32::MAX, ..Cut::new(Direction::Down, 0, How::Reset) });
    for _ in 0..3 {
        assert_eq!(get(&proxy).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    proxy.clear_cuts();
    assert_eq!(get(&proxy).unwrap().status, 200);
}

#[test]
fn connections_stall() {
    let (server, proxy) = both();
    server.put_object("k", vec![1; 1 << 20]);
    proxy.cut(Cut::new(Direction::Down, 500_000, How::Stall));
    std::thread::scope(|scope| {
        let stalled = scope.spawn(|| get(&proxy));
        proxy.wait_until(|counts| counts.cut == 1);
        assert!(!stalled.is_finished());
        assert_eq!(get(&proxy).unwrap().body.len(), 1 << 20);
        proxy.reset_connections();
        assert_eq!(stalled.join().unwrap().unwrap().broken, Some(ErrorKind::ConnectionReset));
    });
    proxy.wait_until(|counts| counts.open == 0);
    proxy.set_frozen(true);
    let before = proxy.counts();
    std::thread::scope(|scope| {
        let frozen = scope.spawn(|| get(&proxy));
        proxy.wait_until(|counts| counts.open == 1);
        assert!(!frozen.is_finished());
        assert_eq!(proxy.counts().bytes_up, before.bytes_up);
        proxy.set_frozen(false);
        assert_eq!(frozen.join().unwrap().unwrap().body.len(), 1 << 20);
    });
}

#[test]
fn connections_drip() {
    let (server, proxy) = both();
    server.put_object("k", vec![1; 3000]);
    proxy.cut(Cut::new(Direction::Down, 1000, How::Drip(500, Duration::from_millis(1))));
    assert_eq!(get(&proxy).unwrap().body, vec![1; 3000]);
    proxy.cut(Cut::new(Direction::Up, 200, How::Drip(500, Duration::from_millis(1))));
    assert_eq!(put(&proxy, &[2; 3000]).unwrap().status, 200);
    assert_eq!((server.object("k").unwrap().len(), proxy.counts().cut), (3000, 2));
}

#[test]
fn a_proxy_that_is_down_refuses_and_comes_back() {
    let (server, proxy) = both();
    server.put_object("k", "x");
    let mut open = S3Client::new(proxy.address()).connect().unwrap();
    assert_eq!(open.send(Ask::new("GET", "/bucket/k")).unwrap().status, 200);
    for _ in 0..3 {
        proxy.set_down(true);
        assert_eq!(get(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // What is open stays open.
        assert_eq!(open.send(Ask::new("GET", "/bucket/k")).unwrap().status, 200);
        proxy.set_down(false);
        assert_eq!(get(&proxy).unwrap().text(), "x");
    }
    proxy.reset_connections();
    open.send(Ask::new("GET", "/bucket/k")).unwrap_err();
    drop(server);
    get(&proxy).unwrap_err();
}
