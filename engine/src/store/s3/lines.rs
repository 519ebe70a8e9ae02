//! Connections: none serves two requests at a time, and none that fell silent serves another one.
//! Whoever answers may speak HTTP/2, by which the SDK has all requests share one connection: one lost packet then holds up all of them,
//! and one that died in silence is used for every further try until the kernel gives it up, later than a run does. So each request under
//! way has a connector of its own, with whatever connection that has; it goes on to the next request once its answer has come whole.
//! Who is on this machine, or as near as the metadata of an instance, must never be asked through a proxy.

use crate::store::s3::place::is_loopback;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Makes a connector; `direct`: without any proxy.
type Make = dyn Fn(&HttpConnectorSettings, &RuntimeComponents, bool) -> Connector + Send + Sync;

/// What the SDK asks for connectors.
struct Lines {
    make: Arc<Make>,
    /// The SDK asks anew with each request; what differs are two timeouts.
    pools: Mutex<HashMap<[Option<Duration>; 2], SharedHttpConnector>>,
}

/// A client whose connectors `make` makes.
pub fn client(make: impl Fn(&HttpConnectorSettings, &RuntimeComponents, bool) -> Connector + Send + Sync + 'static) -> SharedHttpClient {
    SharedHttpClient::new(Lines { make: Arc::new(make), pools: Mutex::default() })
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl HttpClient for Lines {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry([settings.connect_timeout(), settings.read_timeout()]).or_insert_with(|| {
            let (make, settings, components) = (self.make.clone(), settings.clone(), components.clone());
            SharedHttpConnector::new(Pool(Arc::new(Idle {
                make: Box::new(move |direct| make(&settings, &components, direct)),
                idle: Mutex::default(),
            })))
        });
        pool.clone()
    }
}

/// Connectors that no request uses: those that go by a proxy, if there is one, and those that never do.
struct Idle {
    make: Box<dyn Fn(bool) -> Connector + Send + Sync>,
    idle: Mutex<[Vec<Connector>; 2]>,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, [Vec<Connector>; 2]> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Pool(Arc<Idle>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl HttpConnector for Pool {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let direct = is_near(request.uri());
        let idle = self.0.lock()[usize::from(direct)].pop();
        let connector = idle.unwrap_or_else(|| (self.0.make)(direct));
        let asked = connector.call(request);
        let line = Line { connector: Some(connector), direct, idle: self.0.clone() };
        HttpConnectorFuture::new(async move {
            let mut answer = asked.await?;
            let body = answer.body_mut();
            let inner = std::mem::replace(body, SdkBody::taken());
            *body = SdkBody::from_body_1_x(Answer { inner, line });
            Ok(answer)
        })
    }
}

/// A connector in use. Dropped before its answer has come whole, it is gone, and all that idle with it: what silenced one connection, a
/// router that forgot it or another network, silenced those as well, and each would take a minute to be found out.
struct Line {
    connector: Option<Connector>,
    direct: bool,
    idle: Arc<Idle>,
}

impl Line {
    fn is_free(&mut self) {
        if let Some(connector) = self.connector.take() {
            self.idle.lock()[usize::from(self.direct)].push(connector);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.connector.is_some() {
            let gone = std::mem::take(&mut self.idle.lock()[usize::from(self.direct)]);
            // Not while the lock is held: what else may go with a connector is the SDK's.
            drop(gone);
        }
    }
}

/// The body of an answer, and the connector by which it comes.
struct Answer {
    inner: SdkBody,
    line: Line,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = <SdkBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if polled.is_none() {
            self.line.is_free();
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Of an answer without a body nobody waits for the end.
        if self.inner.is_end_stream() {
            self.line.is_free();
        }
    }
}

/// Whether who is asked is this machine, or gives an instance its credentials: a proxy would be told them, most often in the clear.
fn is_near(uri: &str) -> bool {
    let host = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    is_loopback(host)
        || host.to_ascii_lowercase().ends_with(".localhost")
        || match host.parse() {
            Ok(IpAddr::V4(address)) => address.is_link_local(),
            // fd00:ec2::/32 is what AWS uses for the same within a machine.
            Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2],
            Err(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store on this machine was talked to by HTTP_PROXY, in the clear, and so was who gives an instance its keys.
    #[test]
    fn what_is_near_is_told_by_its_address() {
        for near in [
            "http://127.0.0.1:9000/bucket",
            "http://127.8.0.1/",
            "http://[::1]:9000/bucket?x=1",
            "http://localhost:9000/bucket/@x",
            "http://LOCALHOST",
            "http://bucket.localhost:9000/x",
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/latest",
            "http://[fe80::1]/latest",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in
            ["https://s3.amazonaws.com/b", "http://127.0.0.1.example.org/b", "http://10.0.0.1/b", "http://h/127.0.0.1", "http://[fd00::1]/"]
        {
            assert!(!is_near(far), "{far}");
        }
    }
}
