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
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Connections at a time. Who comes later waits for one to end.
const CONNECTIONS_MAX: usize = 64;
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

async fn accept(listener: tokio::net::TcpListener, view: Arc<View>, gate: Arc<Gate>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // It is never closed.
    while let Ok(place) = room.clone().acquire_owned().await {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (view, gate) = (view.clone(), gate.clone());
        tokio::spawn(async move {
            connection(stream, client, view, gate).await;
            drop(place);
        });
    }
}

async fn connection(stream: tokio::net::TcpStream, _client: SocketAddr, view: Arc<View>, gate: Arc<Gate>) {
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
