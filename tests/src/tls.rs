//! TLS before a server that speaks none: certificates that are right, out of date, or signed by somebody whom nobody knows; and HTTP/2, as
//! proxies before stores have it, which the server does not speak either.
//! It must never change a byte that it passes on, but for the heads of what comes by HTTP/2. The key in `tests/tls` is no secret: it opens nothing but tests.
//!
//! The files there were made once, by `openssl ca`: an authority whose key is gone, and two certificates of one key for 127.0.0.1 that
//! it signed. `valid.pem` and `ca.pem` hold from 2020 to 2120, `expired.pem` held on one day of 2020.

use crate::background::Background;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// What TLS calls it.
const HTTP2: &[u8] = b"h2";

/// Which certificate is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by the authority in [`authority`], and valid.
    Valid,
    /// The same, out of date.
    Expired,
}

/// The certificate of the authority, PEM.
pub fn authority() -> PathBuf {
    file("ca.pem")
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tls").join(name)
}

/// See the module's text. Dropped, it and its connections are gone.
pub struct TlsFront {
    address: SocketAddr,
    _background: Background,
}

impl TlsFront {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start(upstream: SocketAddr, certificate: Certificate) -> TlsFront {
        TlsFront::speaking(upstream, certificate, &[])
    }

    /// Starts one that prefers HTTP/2.
    pub fn start_http2(upstream: SocketAddr) -> TlsFront {
        TlsFront::speaking(upstream, Certificate::Valid, &[HTTP2, b"http/1.1"])
    }

    fn speaking(upstream: SocketAddr, certificate: Certificate, protocols: &[&[u8]]) -> TlsFront {
        let shown = file(if certificate == Certificate::Valid { "valid.pem" } else { "expired.pem" });
        let chain = vec![CertificateDer::from_pem_file(shown).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let mut config = config.expect("protocol versions").with_no_client_auth().with_single_cert(chain, key).expect("a key that fits");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let any = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        any.set_nonblocking(true).expect("a socket option");
        let address = any.local_addr().expect("an address");
        let background = Background::run("the TLS front", move || async move {
            let (listener, acceptor) = (TcpListener::from_std(any).expect("a listener"), TlsAcceptor::from(Arc::new(config)));
            loop {
                // An error here is the client's: it went away before it was accepted.
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(connection(acceptor.clone(), client, upstream));
                }
            }
        });
        TlsFront { address, _background: background }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `s3:https://127.0.0.1:PORT/bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        crate::s3_server::url(self.address, prefix).replace("http://", "https://")
    }
}

async fn connection(acceptor: TlsAcceptor, client: TcpStream, upstream: SocketAddr) {
    // A client that does not trust the certificate goes away here; how a connection ends is nobody's business afterwards.
    let Ok(mut client) = acceptor.accept(client).await else { return };
    if client.get_ref().1.alpn_protocol() == Some(HTTP2) {
        return http2(client, upstream).await;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    copy_bidirectional(&mut client, &mut server).await.map(|_| ()).unwrap_or(());
}

async fn http2(client: TlsStream<TcpStream>, upstream: SocketAddr) {
    let service = service_fn(move |request| passed_on(request, upstream));
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(client), service);
    // How a connection ends is nobody's business here either.
    serving.await.unwrap_or(());
}

/// One request, by a connection of its own.
async fn passed_on(
    mut request: Request<Incoming>,
    upstream: SocketAddr,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    // The signature covers the host, which HTTP/2 has in another place.
    let host = request.uri().authority().map(|host| host.as_str().parse()).transpose()?;
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse::<Uri>()?;
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
