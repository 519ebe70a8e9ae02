//! A view over HTTP: WebDAV for programs, plain pages for browsers. Read-only.
//! It must never let a client take more than its share of connections, memory or time, nor answer one that it was not opened for.

mod answer;
mod asked;
mod body;
pub mod gate;
mod multistatus;
mod page;
mod paths;
mod ranges;
mod wire;

use crate::serve::web::answer::answer;
use crate::serve::web::body::Body;
use crate::serve::web::gate::Gate;
use crate::serve::web::wire::Wire;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use seabed_engine::view::View;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections at a time. Who comes later waits for one to end.
const CONNECTIONS_MAX: usize = 64;
/// Those of one client. Whoever opens all of them and asks for nothing, or reads nothing of what it asked for, needs no password for
/// that, and would keep everybody else out. As many as any browser or copying program opens.
const CLIENT_MAX: usize = 16;
/// Those of this machine: behind a proxy on it everybody comes from here. A few are left for who comes from elsewhere.
const LOCAL_MAX: usize = CONNECTIONS_MAX - 4;
/// Connections that wait for others of their client to end. Who comes later is turned away, or a client would take descriptors without end.
const WAITING_MAX: usize = 64;
/// What may read files and trees at a time: for each connection the answer, and what fills its body.
const BLOCKING_MAX: usize = CONNECTIONS_MAX * 2;
/// How long a client may take for the head of a request, and a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(20);
/// Longest head of a request, and how many lines it may have.
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEAD_LINES_MAX: usize = 100;
/// What is kept of a connection's bytes, both ways.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// Between two looks whether somebody wants an end.
const LOOK: Duration = Duration::from_millis(100);
/// After an error of `accept` that is not the client's: no descriptors are left, say.
const BREATH: Duration = Duration::from_millis(200);

/// Serves until `stop` says so.
pub fn serve(view: Arc<View>, gate: Gate, listener: TcpListener, stop: impl Fn() -> bool) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(BLOCKING_MAX).enable_all().build()?;
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting = accept(listener, view, Arc::new(gate));
        let stopped = async {
            while !stop() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stopped => {}
        }
        Ok(())
    });
    // Whoever waits for a store must not keep this process.
    runtime.shutdown_background();
    served
}

/// How many more connections each client may have.
#[derive(Default)]
struct Shares(HashMap<IpAddr, Arc<Semaphore>>);

impl Shares {
    fn of(&mut self, client: IpAddr) -> Arc<Semaphore> {
        // Whoever holds nothing of a share, and waits for nothing, is forgotten.
        self.0.retain(|_, share| Arc::strong_count(share) > 1);
        let client = whose(client);
        let max = if client.is_loopback() { LOCAL_MAX } else { CLIENT_MAX };
        self.0.entry(client).or_insert_with(|| Arc::new(Semaphore::new(max))).clone()
    }
}

/// The client behind an address: this machine has many, and who has one of IPv6 has all of a network.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

async fn accept(listener: tokio::net::TcpListener, view: Arc<View>, gate: Arc<Gate>) {
    let (room, queue) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(WAITING_MAX)));
    let mut shares = Shares::default();
    // It is never closed.
    while let Ok(place) = room.clone().acquire_owned().await {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (view, gate, share) = (view.clone(), gate.clone(), shares.of(client.ip()));
        if let Ok(share) = share.clone().try_acquire_owned() {
            tokio::spawn(async move {
                connection(stream, view, gate).await;
                drop((share, place));
            });
        } else if let Ok(waiting) = queue.clone().try_acquire_owned() {
            // Until then the place is for others.
            drop(place);
            let room = room.clone();
            tokio::spawn(async move {
                if let (Ok(share), Ok(place)) = (share.acquire_owned().await, room.acquire_owned().await) {
                    drop(waiting);
                    connection(stream, view, gate).await;
                    drop((share, place));
                }
            });
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, view: Arc<View>, gate: Arc<Gate>) {
    // Answers are written whole: small ones must not wait for more.
    stream.set_nodelay(true).unwrap_or(());
    let service = service_fn(move |request: Request<Incoming>| {
        let (view, gate) = (view.clone(), gate.clone());
        async move { Ok::<Response<Body>, Infallible>(answer(request, view, gate).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(HEAD_LINES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Wire::new(stream)), service)
        .await;
    // A client that went away, or spoke nonsense and was told so.
    served.unwrap_or(());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One client that opened connections and said nothing had every place, and nobody else was answered: the address was not looked at.
    #[test]
    fn no_client_takes_every_connection() {
        let mut shares = Shares::default();
        let mut held = Vec::new();
        let mut take = |address: &str| {
            let share = shares.of(address.parse().unwrap());
            let first = held.len();
            while let Ok(permit) = share.clone().try_acquire_owned() {
                held.push(permit);
            }
            held.len() - first
        };
        assert_eq!((take("192.0.2.1"), take("192.0.2.1"), take("192.0.2.2")), (CLIENT_MAX, 0, CLIENT_MAX));
        // Addresses that are one client's.
        assert_eq!((take("::ffff:192.0.2.1"), take("2001:db8::1"), take("2001:db8::ffff:2"), take("2001:db8:0:1::1")), (0, 16, 0, 16));
        assert_eq!((take("127.0.0.1"), take("127.0.0.9"), take("::1"), take("::ffff:127.0.0.1")), (LOCAL_MAX, 0, 0, 0));
        const { assert!(LOCAL_MAX < CONNECTIONS_MAX) };
        assert_eq!(shares.0.len(), 5);
        // Once all of them have gone their shares are as they were, and take no memory.
        held.clear();
        assert_eq!(shares.of(Ipv4Addr::new(192, 0, 2, 1).into()).available_permits(), CLIENT_MAX);
        assert_eq!(shares.0.len(), 1);
    }
}
