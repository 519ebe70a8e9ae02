//! TLS before a server that speaks none: certificates that are right, out of date, or signed by somebody whom nobody knows.
//! It must never change a byte that it passes on. The key in `tests/tls` is no secret: it opens nothing but tests.
//!
//! The files there were made once, by `openssl ca`: an authority whose key is gone, and two certificates of one key for 127.0.0.1 that
//! it signed. `valid.pem` and `ca.pem` hold from 2020 to 2120, `expired.pem` held on one day of 2020.

use crate::background::Background;
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
        let shown = file(if certificate == Certificate::Valid { "valid.pem" } else { "expired.pem" });
        let chain = vec![CertificateDer::from_pem_file(shown).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let config = config.expect("protocol versions").with_no_client_auth().with_single_cert(chain, key).expect("a key that fits");
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

    /// `s3:https://127.0.0.1:PORT/bucket/prefix`.
    pub fn url(&self, prefix: &str) -> String {
        crate::s3_server::url(self.address, prefix).replace("http://", "https://")
    }
}

async fn connection(acceptor: TlsAcceptor, client: TcpStream, upstream: SocketAddr) {
    // A client that does not trust the certificate goes away here; how a connection ends is nobody's business afterwards.
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    copy_bidirectional(&mut client, &mut server).await.map(|_| ()).unwrap_or(());
}
