//! A client for the test server that sends what it is told, right or wrong, over a plain socket, and shows all that came back.
//! It must never retry, follow or repair anything.

use crate::s3_server::sigv4::{Signing, UNSIGNED, sha256_hex, uri_encode};
use crate::s3_server::{ACCESS_KEY, REGION, SECRET_KEY, xml};
use jiff::{SignedDuration, Timestamp};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No test waits longer for bytes: a server that forgot to answer fails it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who asks, and whom.
#[derive(Clone, Debug)]
pub struct S3Client {
    /// The server or a proxy.
    pub address: SocketAddr,
    /// The access key id.
    pub access: String,
    /// Its secret.
    pub secret: String,
    /// A session token.
    pub token: Option<String>,
    /// The region that is signed for.
    pub region: String,
    /// Seconds that the client's clock is ahead.
    pub clock_offset_secs: i64,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The HTTP method.
    pub method: String,
    /// `/bucket/key`, decoded.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Further headers, names in lower case, those without a value left out; those that AWS wants are added, unless they are here.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All bytes of the body that came.
    pub body: Vec<u8>,
    /// How the body broke off, if it did.
    pub broken: Option<io::ErrorKind>,
}

impl Ask {
    /// Without query, headers and body.
    pub fn new(method: &str, path: &str) -> Ask {
        Ask { method: method.to_owned(), path: path.to_owned(), query: Vec::new(), headers: Vec::new(), body: Vec::new() }
    }

    /// With a parameter.
    pub fn query(mut self, name: &str, value: &str) -> Ask {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, bytes: &[u8]) -> Ask {
        self.body = bytes.to_vec();
        self
    }

    /// With a body that is not signed.
    pub fn unsigned(self) -> Ask {
        self.header("x-amz-content-sha256", UNSIGNED)
    }

    /// Adds what AWS wants, all but the signature; returns the time.
    fn complete(&mut self, client: &S3Client) -> String {
        let now = Timestamp::now() + SignedDuration::from_secs(client.clock_offset_secs);
        self.default("host", &client.address.to_string());
        self.default("x-amz-date", &now.strftime("%Y%m%dT%H%M%SZ").to_string());
        self.default("x-amz-content-sha256", &sha256_hex(&self.body));
        if let Some(token) = &client.token {
            self.default("x-amz-security-token", token);
        }
        self.value("x-amz-date")
    }

    fn default(&mut self, name: &str, value: &str) {
        if !self.headers.iter().any(|(n, _)| n == name) {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    fn value(&self, name: &str) -> String {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

impl Answer {
    /// A header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The S3 error code, empty when there is none.
    pub fn code(&self) -> String {
        xml::text(&self.text(), "Code").unwrap_or_default()
    }
}

impl S3Client {
    /// With the credential that the server knows.
    pub fn new(address: SocketAddr) -> S3Client {
        S3Client {
            address,
            access: ACCESS_KEY.to_owned(),
            secret: SECRET_KEY.to_owned(),
            token: None,
            region: REGION.to_owned(),
            clock_offset_secs: 0,
        }
    }

    /// Signs and sends a request on a connection of its own. An error is a connection that ended before there was an answer.
    pub fn send(&self, ask: Ask) -> io::Result<Answer> {
        self.connect()?.send(ask)
    }

    /// Opens a connection.
    pub fn connect(&self) -> io::Result<Session> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Session { client: self.clone(), stream: BufReader::new(stream) })
    }

    /// The signature of a request as it would be sent, and the request with all that is signed.
    pub fn sign(&self, mut ask: Ask) -> (String, Ask) {
        let time = ask.complete(self);
        let payload = ask.value("x-amz-content-sha256");
        let signature = self.signing(&ask, &payload, &time).signature(&self.secret);
        (signature, ask)
    }

    /// An aws-chunked body of these chunks, each signed after the one before.
    pub fn chunked_body(&self, ask: &Ask, seed: &str, chunks: &[&[u8]]) -> Vec<u8> {
        let (time, payload) = (ask.value("x-amz-date"), ask.value("x-amz-content-sha256"));
        let signing = self.signing(ask, &payload, &time);
        let (mut body, mut previous) = (Vec::new(), seed.to_owned());
        for chunk in chunks.iter().chain([&&b""[..]]) {
            previous = signing.chunk_signature(&self.secret, &previous, chunk);
            body.extend(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).into_bytes());
            body.extend_from_slice(chunk);
            body.extend(b"\r\n");
        }
        body
    }

    fn signing<'a>(&'a self, ask: &'a Ask, payload: &'a str, time: &'a str) -> Signing<'a> {
        let (method, path, query, headers) = (&ask.method, &ask.path, &ask.query, &ask.headers);
        Signing { method, path, query, headers, payload, time, region: &self.region }
    }
}

/// A connection that stays open for further requests.
pub struct Session {
    client: S3Client,
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Signs and sends a request, unless it brings its own `authorization` (an empty one is left out).
    pub fn send(&mut self, mut ask: Ask) -> io::Result<Answer> {
        ask.headers.retain(|(name, value)| !value.is_empty() || name == "authorization");
        let time = ask.complete(&self.client);
        if !ask.headers.iter().any(|(name, _)| name == "authorization") {
            let payload = ask.value("x-amz-content-sha256");
            let signing = self.client.signing(&ask, &payload, &time);
            let header = signing.authorization(&self.client.access, &self.client.secret);
            ask.headers.push(("authorization".to_owned(), header));
        }
        let query: Vec<String> =
            ask.query.iter().map(|(name, value)| format!("{}={}", uri_encode(name, false), uri_encode(value, false))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let mut head = format!("{} {}{query} HTTP/1.1\r\ncontent-length: {}\r\n", ask.method, uri_encode(&ask.path, true), ask.body.len());
        for (name, value) in ask.headers.iter().filter(|(_, value)| !value.is_empty()) {
            head += &format!("{name}: {value}\r\n");
        }
        let stream = self.stream.get_mut();
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&ask.body)?;
        self.receive(ask.method == "HEAD")
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn receive(&mut self, head: bool) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new(), broken: None };
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if head || matches!(status, 204 | 304) {
            return Ok(answer);
        }
        let read = match answer.header("content-length").map(str::parse::<u64>) {
            Some(Ok(bytes)) => self.exactly(bytes, &mut answer.body),
            _ => self.chunks(&mut answer.body),
        };
        answer.broken = read.err().map(|e| e.kind());
        Ok(answer)
    }

    fn exactly(&mut self, bytes: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let read = self.stream.by_ref().take(bytes).read_to_end(into)?;
        if read as u64 == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn chunks(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let bytes = u64::from_str_radix(&self.line()?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            self.exactly(bytes, into)?;
            self.line()?;
            if bytes == 0 {
                return Ok(());
            }
        }
    }
}
