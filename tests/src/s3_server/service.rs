//! One request from its head to its answer: read, judged, carried out, sent, with its fault where it belongs.
//! It must never answer before the log knows what it answers.

use super::fault::Fault;
use super::log::{Logged, Outcome};
use super::operations::{self, Job};
use super::reply::Reply;
use super::request::{Call, Operation};
use super::wire::{End, Line, Played, Script, Wire};
use super::{Shared, auth, clock, payload};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// What a Content-Length makes the server reserve, at most.
const READ_AHEAD_BYTES_MAX: u64 = 256 << 20;

/// Accepts for ever.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        // An error here is the client's: it went away before it was accepted.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(shared.clone(), stream));
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket option");
    let line = Arc::new(Line::default());
    shared.join(&line);
    let io = TokioIo::new(Wire { stream, line: line.clone() });
    let of_line = line.clone();
    let service = service_fn(move |request| handle(shared.clone(), of_line.clone(), request));
    // How a connection ends is in the log where it matters.
    tokio::select! {
        // An end that was ordered goes before requests that came after the order.
        biased;
        () = line.ended.notified() => {}
        // It would add one where there is none.
        _ = http1::Builder::new().auto_date_header(false).serve_connection(io, service) => {}
    }
}

/// A request under way.
#[derive(Clone)]
struct Ticket {
    shared: Arc<Shared>,
    line: Arc<Line>,
    number: u64,
    fault: Option<Fault>,
}

impl Ticket {
    fn note(&self, change: impl FnOnce(&mut Logged)) {
        self.shared.note(self.number, change);
    }

    /// Ends the connection and this request with it.
    async fn cut(&self, reset: bool) -> Infallible {
        self.note(|logged| logged.outcome = Outcome::Reset);
        self.line.end(reset);
        pending().await
    }

    async fn stall(&self) -> Infallible {
        // Before the log says it: who waits for the log may release at once.
        let released = self.shared.release.notified();
        self.note(|logged| logged.outcome = Outcome::Stalled);
        released.await;
        self.line.end(true);
        pending().await
    }

    /// All of the body, unless it is not to be read to its end.
    async fn read(&self, mut body: Incoming) -> Bytes {
        // All at once where the length is known: objects keep what was reserved for them.
        let mut bytes = Vec::with_capacity(body.size_hint().lower().min(READ_AHEAD_BYTES_MAX) as usize);
        let at = match self.fault {
            Some(Fault::ResetUpload(at) | Fault::StallUpload(at)) => Some(at),
            _ => None,
        };
        while at.is_none_or(|at| (bytes.len() as u64) < at) {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { break };
            let Ok(frame) = frame else {
                // The client is gone; hyper would wait for an answer all the same.
                self.line.end(false);
                return pending().await;
            };
            let Ok(data) = frame.into_data() else { continue };
            bytes.extend_from_slice(&data);
            self.note(|logged| logged.bytes_in = bytes.len() as u64);
            if let Some(Fault::DripUpload(per_interval, every)) = self.fault {
                tokio::time::sleep(every.mul_f64(data.len() as f64 / per_interval.max(1) as f64)).await;
            }
        }
        match self.fault {
            Some(Fault::ResetUpload(_)) => match self.cut(true).await {},
            Some(Fault::StallUpload(_)) => match self.stall().await {},
            _ => Bytes::from(bytes),
        }
    }

    /// Waits while answers are held.
    async fn turn(&self) {
        let held = self.shared.state().held.clone();
        if let Some(held) = held {
            // Closed when all may go.
            if let Ok(turn) = held.acquire().await {
                turn.forget();
            }
        }
    }

    fn carry_out(&self, call: &Call, raw: Bytes) -> Reply {
        // Digests are computed without the lock.
        let behaviour = self.shared.state().behaviour.clone();
        let verified =
            auth::verify(call, &behaviour, clock::now(&behaviour)).and_then(|signed| payload::verify(call, &signed, &behaviour, raw));
        match verified {
            Err(refused) => refused,
            Ok(payload) => {
                let job = Job { call, request: self.number, fault: self.fault.as_ref() };
                operations::run(&mut self.shared.state(), &job, payload)
            }
        }
    }

    fn response(&self, call: &Call, mut reply: Reply) -> Response<Played> {
        let head = call.method == "HEAD";
        let script = Script::of(self.fault.as_ref());
        if let Some(Fault::Padded(blanks)) = self.fault {
            reply.body = [&reply.body[..], &vec![b' '; blanks as usize]].concat().into();
        }
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        let behaviour = self.shared.state().behaviour.clone();
        if !behaviour.dateless {
            response = response.header("date", clock::http(clock::now(&behaviour)));
        }
        // What is not S3 does not say that it is.
        if !matches!(self.fault, Some(Fault::EmptyOk | Fault::Portal | Fault::Page(_))) {
            response = response.header("x-amz-request-id", format!("{:016X}", self.number));
        }
        // The answer to HEAD has the length of what GET sends, and an error there has no document.
        let unsized_by_nature = matches!(reply.status, 204 | 304) || (head && reply.status >= 300);
        if !(script.chunked || unsized_by_nature) {
            response = response.header("content-length", reply.body.len());
        }
        if head {
            reply.body = Bytes::new();
        }
        self.note(|logged| logged.outcome = Outcome::Status(reply.status));
        let (ticket, end) = (self.clone(), script.end);
        let sent = Box::new(move |bytes| ticket.note(|logged| logged.bytes_out += bytes));
        let ticket = self.clone();
        let ending = (end != End::Clean).then(|| {
            Box::pin(async move { if end == End::Stall { ticket.stall().await } else { ticket.cut(end == End::Reset).await } }) as _
        });
        let body = Played::new(reply.body, script, self.line.clone(), sent, ending);
        response.body(body).expect("headers that HTTP can hold")
    }
}

/// A request until it has an answer, or its future is dropped without one.
struct Open(Ticket);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.note(|logged| {
            if logged.outcome == Outcome::Pending {
                logged.outcome = Outcome::Gone;
            }
        });
        self.0.shared.end();
    }
}

async fn handle(shared: Arc<Shared>, line: Arc<Line>, request: Request<Incoming>) -> Result<Response<Played>, Infallible> {
    let (parts, body) = request.into_parts();
    let call = match Call::parse(&parts) {
        Ok(call) => call,
        Err(refused) => {
            let call = Call::unreadable(&parts);
            let number = shared.begin(&call).0;
            let open = Open(Ticket { shared, line, number, fault: None });
            return Ok(open.0.response(&call, refused));
        }
    };
    let (number, fault) = shared.begin(&call);
    let ticket = Ticket { shared, line, number, fault };
    let _open = Open(ticket.clone());
    let raw = ticket.read(body).await;
    ticket.turn().await;
    match &ticket.fault {
        Some(Fault::ResetBefore) => match ticket.cut(true).await {},
        Some(Fault::StallBefore) => match ticket.stall().await {},
        _ => {}
    }
    if let Some(reply) = ticket.fault.as_ref().and_then(Fault::instead) {
        return Ok(ticket.response(&call, reply));
    }
    let reply = ticket.carry_out(&call, raw);
    let reply = match &ticket.fault {
        Some(Fault::ResetAfter) => match ticket.cut(true).await {},
        Some(Fault::StallAfter) => match ticket.stall().await {},
        Some(Fault::RefuseApplied(refusal)) => refusal.reply(),
        _ => reply,
    };
    Ok(ticket.response(&call, reply))
}

impl Call {
    /// For the log: a request whose address means nothing.
    fn unreadable(parts: &hyper::http::request::Parts) -> Call {
        Call {
            method: parts.method.as_str().to_owned(),
            operation: Operation::Other,
            path: parts.uri.path().to_owned(),
            bucket: String::new(),
            key: String::new(),
            query: Vec::new(),
            headers: Vec::new(),
        }
    }
}
