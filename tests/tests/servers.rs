//! The servers of other makers start, answer and go. It must never test Seabed: that is for the store's contract.
//! Without SEABED_TEST_SERVERS (and SEABED_TEST_GARAGE=1) these tests hold nothing; with it they fail when a server does not start.

use seabed_tests::servers::{Access, Garage, Rclone, garage_is_wanted, rclone_is_wanted};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The first bytes of an answer to a request without a signature.
fn answer(access: &Access) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(access.address())?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {}\r\n\r\n", access.address())?;
    let mut answer = String::new();
    stream.take(64).read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn rclone_starts_and_goes() {
    if !rclone_is_wanted() {
        return;
    }
    let server = Rclone::start();
    let access = server.access().clone();
    assert!(answer(&access).unwrap().starts_with("HTTP/1."));
    drop(server);
    assert!(TcpStream::connect(access.address()).is_err(), "it still listens");
}

#[test]
fn garage_starts_and_goes() {
    if !garage_is_wanted() {
        return;
    }
    let server = Garage::start();
    let access = server.access().clone();
    assert!(answer(&access).unwrap().starts_with("HTTP/1."));
    drop(server);
    assert!(TcpStream::connect(access.address()).is_err(), "it still listens");
}
