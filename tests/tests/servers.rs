//! The servers of other makers: they start, answer and go; the store's contract and a repository's life hold on them.
//! Without SEABED_TEST_SERVERS (and SEABED_TEST_GARAGE=1) these tests hold nothing; with it they fail when a server does not start.

use crate::s3::quick;
use seabed_engine::store::s3::{S3Credentials, S3Options, S3Place, S3Store};
use seabed_tests::servers::{Access, Garage, Rclone, garage_is_wanted, rclone_is_wanted};
use seabed_tests::store_contract;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

/// The store below `prefix` on a server of another maker.
fn store(access: &Access, prefix: &str) -> S3Store {
    let keys = S3Credentials { access_key_id: access.key_id.clone(), secret_access_key: access.secret.clone(), session_token: None };
    let options = S3Options { credentials: Some(keys), region: Some(access.region.clone()), ..quick() };
    S3Store::open(S3Place::parse(&format!("{}/{prefix}", access.url)).unwrap(), options).unwrap()
}

/// Random sequences on a server: each is some thousand requests.
const SEQUENCES: u32 = 4;

/// The contract as far as a server keeps it that overwrites, and all of a repository's life in its bucket.
fn holds_on(access: &Access) {
    let count = AtomicU32::new(0);
    store_contract::check(|| {
        let store = store(access, &format!("contract-{}", count.fetch_add(1, Relaxed)));
        store.probe().unwrap();
        store
    });
    crate::life::holds(&|name| Arc::new(store(access, name)), SEQUENCES);
}

#[test]
fn the_contract_holds_on_rclone() {
    if rclone_is_wanted() {
        holds_on(Rclone::start().access());
    }
}

#[test]
fn the_contract_holds_on_garage() {
    if garage_is_wanted() {
        holds_on(Garage::start().access());
    }
}
