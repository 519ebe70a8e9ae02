//! `kind = "redis"`: the dump that a server sends to a new replica, over a connection of our own; over TLS through `redis-cli`.
//! `redis-cli` would need the password in its environment, and has come to different ends with exit status 0 in its versions.
//! It must never take what a server says about a dump for the dump, nor a dump for whole whose checksum is not right.

use super::rdb::Rdb;
use super::whole::{Demands, Whole};
use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::{Fail, plain};
use crate::jobs::clients::need;
use crate::jobs::config::secret::redacted;
use crate::jobs::config::source::Redis;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use seabed_engine::source::stream::StreamEnd;
use seabed_engine::{CommandStream, Stream, StreamFailure, StreamSource};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zeroize::Zeroizing;

/// What the manifest says.
pub const FORMAT: &str = "redis";
const PORT: u16 = 6379;
/// How long connecting, and each answer before the dump, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long bytes are waited for between two looks at whether the run is to stop.
const READY_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Longest line of an answer.
const LINE_BYTES_MAX: usize = 1024;
/// Bytes of the mark that ends a dump of unknown length.
const MARK_BYTES: usize = 40;

/// As the engine takes it.
pub fn redis(asked: &Asked<'_>, config: &Redis) -> Result<Prepared, Fail> {
    let password = config.secret().read(&format!("the password of source {}", asked.name))?;
    let demands = Demands {
        name: stream_name(format!("{}/dump.rdb", asked.name).as_bytes())?,
        format: FORMAT,
        markers: Vec::new(),
        after: &[],
        bounds: asked.bounds.clone(),
        last: true,
        packed: Arc::default(),
    };
    let name = demands.name.clone();
    let host = config.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = config.port.unwrap_or(PORT);
    if config.tls {
        return through_client(config, (&host, port), password, demands);
    }
    let place = match &config.socket {
        Some(socket) => Place::Socket(asked.config.beside(socket)),
        None => Place::Network(host, port),
    };
    let user = config.user.clone();
    let open = move || {
        let failed = |source| StreamFailure::Read { name: place.text(), source };
        let connection = place.connect().and_then(|to| Replica::begin(to, user.as_deref(), password.as_ref())).map_err(failed)?;
        Ok(Box::new(Checked { inner: Whole::new(connection, demands), name: place.text(), rdb: Rdb::default() }) as Box<dyn Stream>)
    };
    let source = StreamSource { name, argv: Vec::new(), open: Mutex::new(Some(Box::new(open))), allow_empty: false };
    Ok(Prepared { streams: vec![source], ..Prepared::default() })
}

/// Over TLS. The password is in the client's environment, which only this user and root may read; an argument everybody could.
fn through_client(
    config: &Redis,
    (host, port): (&str, u16),
    password: Option<Zeroizing<String>>,
    demands: Demands,
) -> Result<Prepared, Fail> {
    let mut client = Command::new(need(None, &["redis-cli"], "redis-tools")?);
    client.args(["--tls", "-h", host, "-p", &port.to_string()]);
    if let Some(user) = &config.user {
        client.args(["--user", user]);
    }
    client.args(["--no-auth-warning", "--rdb", "-"]);
    if let Some(password) = &password {
        client.env("REDISCLI_AUTH", password.as_str());
    }
    let (name, argv) = (demands.name.clone(), crate::jobs::clients::words(&client));
    let open = move || {
        let started = CommandStream::spawn(client, "redis-cli")?;
        let name = String::from_utf8_lossy(&demands.name).into_owned();
        Ok(Box::new(Checked { inner: Whole::new(started, demands), name, rdb: Rdb::default() }) as Box<dyn Stream>)
    };
    let source = StreamSource { name, argv, open: Mutex::new(Some(Box::new(open))), allow_empty: false };
    Ok(Prepared { streams: vec![source], ..Prepared::default() })
}

/// A dump whose checksum counts.
struct Checked<S> {
    inner: S,
    name: String,
    rdb: Rdb,
}

impl<S: Read> Read for Checked<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.rdb.update(&buffer[..got]);
        Ok(got)
    }
}

impl<S: Stream> Stream for Checked<S> {
    fn ready(&self) -> io::Result<bool> {
        self.inner.ready()
    }

    fn format(&self) -> &str {
        self.inner.format()
    }

    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        let Checked { inner, name, rdb } = *self;
        let end = Box::new(inner).finish()?;
        rdb.end().map(|()| end).map_err(|what| StreamFailure::NotWhole { name, what })
    }
}

/// Where the server listens.
enum Place {
    Network(String, u16),
    Socket(PathBuf),
}

enum Connection {
    Network(TcpStream),
    Socket(UnixStream),
}

impl Place {
    fn text(&self) -> String {
        match self {
            Place::Network(host, port) => format!("redis://{host}:{port}"),
            Place::Socket(path) => path.display().to_string(),
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        match self {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Connection::Socket(stream))
            }
            Place::Network(host, port) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_read_timeout(Some(PATIENCE))?;
                            return Ok(Connection::Network(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Network(stream) => stream.read(buffer),
            Connection::Socket(stream) => stream.read(buffer),
        }
    }
}

impl Connection {
    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        let mut text = Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            text.extend_from_slice(word.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        match self {
            Connection::Network(stream) => stream.write_all(&text),
            Connection::Socket(stream) => stream.write_all(&text),
        }
    }

    /// One line, without its end. Byte by byte: what follows it is the dump's.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            match byte {
                [b'\n'] => return Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned()),
                _ if line.len() == LINE_BYTES_MAX => return Err(io::Error::other("it does not talk like Redis")),
                [byte] => line.push(byte),
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Connection::Network(stream) => stream.as_fd(),
            Connection::Socket(stream) => stream.as_fd(),
        }
    }
}

/// How the dump ends.
enum Length {
    /// Not said yet.
    Unknown,
    /// So many bytes are left.
    Left(u64),
    /// Behind this mark.
    Mark([u8; MARK_BYTES]),
    /// All is read.
    Ended,
}

/// A connection over which a dump comes.
struct Replica {
    from: Connection,
    length: Length,
    /// Bytes that may be the mark.
    held: Vec<u8>,
}

impl Replica {
    fn begin(mut to: Connection, user: Option<&str>, password: Option<&Zeroizing<String>>) -> io::Result<Self> {
        let mut ask = |words: &[&str]| -> io::Result<Result<String, String>> {
            to.send(words)?;
            let line = to.line()?;
            Ok(match line.strip_prefix('-') {
                Some(error) => Err(redacted(error)),
                None => Ok(line),
            })
        };
        let refused = |error: String| io::Error::other(format!("the server says: {error}"));
        if let Some(password) = password {
            let answer = match user {
                Some(user) => ask(&["AUTH", user, password])?,
                None => ask(&["AUTH", password])?,
            };
            answer.map_err(refused)?;
        }
        // Old servers know neither: then more would come behind the dump, which is not read.
        ask(&["REPLCONF", "rdb-only", "1"])?.map(|_| ()).unwrap_or(());
        ask(&["REPLCONF", "capa", "eof"])?.map(|_| ()).unwrap_or(());
        let answer = ask(&["PSYNC", "?", "-1"])?.map_err(refused)?;
        if !answer.starts_with("+FULLRESYNC") {
            return Err(io::Error::other(format!("the server does not send a dump: {answer}")));
        }
        Ok(Replica { from: to, length: Length::Unknown, held: Vec::new() })
    }

    /// `$123`, or `$EOF:` and a mark. Before that the server sends empty lines, so that nobody thinks it dead.
    fn announced(&mut self) -> io::Result<()> {
        let line = self.from.line()?;
        let wrong = || io::Error::other(format!("the server announced no dump: {}", redacted(&line)));
        match line.strip_prefix('$') {
            None if line.is_empty() => {}
            None => return Err(wrong()),
            Some(text) => {
                self.length = match text.strip_prefix("EOF:") {
                    Some(mark) => Length::Mark(mark.as_bytes().try_into().map_err(|_| wrong())?),
                    None => Length::Left(text.parse().map_err(|_| wrong())?),
                };
            }
        }
        Ok(())
    }

    fn cut() -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended the connection in the middle of its dump")
    }
}

impl Read for Replica {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while matches!(self.length, Length::Unknown) {
            self.announced()?;
        }
        loop {
            match &mut self.length {
                Length::Unknown | Length::Ended => return Ok(0),
                Length::Left(0) => self.length = Length::Ended,
                Length::Left(left) => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    let got = self.from.read(&mut buffer[..most])?;
                    *left -= got as u64;
                    return if got == 0 && most > 0 { Err(Self::cut()) } else { Ok(got) };
                }
                Length::Mark(mark) => {
                    let mut part = vec![0; buffer.len().max(1)];
                    let got = self.from.read(&mut part)?;
                    if got == 0 {
                        return Err(Self::cut());
                    }
                    self.held.extend_from_slice(&part[..got]);
                    let is_end = self.held.ends_with(mark);
                    // The buffer takes what is surely no mark: at most as much as was just read.
                    let out = self.held.len().saturating_sub(MARK_BYTES);
                    buffer[..out].copy_from_slice(&self.held[..out]);
                    self.held.drain(..out);
                    if is_end {
                        self.length = Length::Ended;
                    }
                    if out > 0 || is_end {
                        return Ok(out);
                    }
                }
            }
        }
    }
}

impl Stream for Replica {
    fn ready(&self) -> io::Result<bool> {
        match poll(&mut [PollFd::from_borrowed_fd(self.from.fd(), PollFlags::IN)], Some(&READY_WAIT)) {
            Ok(ready) => Ok(ready > 0 || matches!(self.length, Length::Ended | Length::Left(0))),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::other(plain(&error.into()))),
        }
    }

    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        Ok(StreamEnd::default())
    }
}
