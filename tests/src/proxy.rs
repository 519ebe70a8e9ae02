//! A TCP proxy that is a bad network: late, cut, stalled, dripping, down. What it does to whom is counted, and nothing is random.
//! It must never understand or change a byte that it passes on, and lateness must never cost bandwidth.

use crate::background::Background;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Read at once, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces on their way in one direction: 64 MiB, more than a fast loopback carries within any latency that is tested.
const PIECES_MAX: usize = 1024;
/// How long [`Proxy::wait_until`] waits: a test that needs longer would never end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both ends see a reset.
    Reset,
    /// Both ends see the other one close: bytes that came before arrive.
    Close,
    /// Nothing more passes this way; the other way stays open.
    Stall,
    /// From here on so many bytes pass per interval.
    Drip(usize, Duration),
}

/// What becomes of which connections, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose bytes count.
    pub direction: Direction,
    /// Bytes of a connection that pass first.
    pub after: u64,
    /// What happens then.
    pub how: How,
    /// Connections that are left alone first.
    pub skip: u32,
    /// Connections that meet it then; `u32::MAX` for no end.
    pub times: u32,
}

impl Cut {
    /// The next connection, after so many bytes one way.
    pub fn new(direction: Direction, after: u64, how: How) -> Cut {
        Cut { direction, after, how, skip: 0, times: 1 }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Those that are open.
    pub open: u64,
    /// Those that reached the place of their cut.
    pub cut: u64,
    /// Bytes passed on to the server.
    pub bytes_up: u64,
    /// Bytes passed on to the client.
    pub bytes_down: u64,
}

#[derive(Clone, Copy, Default)]
struct Settings {
    latency: Duration,
    frozen: bool,
    down: bool,
}

#[derive(Default)]
struct State {
    counts: Counts,
    cuts: Vec<Cut>,
    listening: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends all open connections.
    reset: Notify,
}

impl Shared {
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn wait(&self, holds: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, late) = self.changed.wait_timeout_while(state, PATIENCE, |state| !holds(state)).unwrap();
        assert!(!late.timed_out(), "the proxy never came to where it should: {:?}", state.counts);
    }
}

/// See the module's text. Dropped, it and its connections are gone.
pub struct Proxy {
    shared: Arc<Shared>,
    settings: watch::Sender<Settings>,
    address: SocketAddr,
    _background: Background,
}

impl Proxy {
    /// Starts one on a free port of 127.0.0.1. It passes everything on to `upstream` until it is told otherwise.
    pub fn start(upstream: SocketAddr) -> Proxy {
        let any = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        any.set_nonblocking(true).expect("a socket option");
        let address = any.local_addr().expect("an address");
        let (shared, settings) = (Arc::new(Shared::default()), watch::Sender::new(Settings::default()));
        shared.update(|state| state.listening = true);
        let (of_thread, seen) = (shared.clone(), settings.subscribe());
        let background = Background::run("the proxy", move || async move {
            let first = TcpListener::from_std(any).expect("a listener");
            serve(of_thread, seen, first, upstream).await;
        });
        Proxy { shared, settings, address, _background: background }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every byte arrives so much later than it was sent, each way: a request and its answer take twice that longer.
    /// Any number of bytes can be on their way, so bandwidth stays; connecting costs nothing more, it happens in the kernel.
    pub fn set_latency(&self, each_way: Duration) {
        self.settings.send_modify(|settings| settings.latency = each_way);
    }

    /// Nothing passes, either way, until it is told to go on; connections are accepted and kept.
    pub fn set_frozen(&self, frozen: bool) {
        self.settings.send_modify(|settings| settings.frozen = frozen);
    }

    /// New connections are refused, as by a host on which nobody listens. Open ones stay, see [`Proxy::reset_connections`].
    pub fn set_down(&self, down: bool) {
        self.settings.send_modify(|settings| settings.down = down);
        self.shared.wait(|state| state.listening != down);
    }

    /// Resets all open connections.
    pub fn reset_connections(&self) {
        self.shared.reset.notify_waiters();
    }

    /// Adds a cut for connections that come from now on; each meets the first that is left for it.
    pub fn cut(&self, cut: Cut) {
        self.shared.update(|state| state.cuts.push(cut));
    }

    /// Forgets the cuts that no connection has taken yet.
    pub fn clear_cuts(&self) {
        self.shared.update(|state| state.cuts.clear());
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().unwrap().counts
    }

    /// Waits until it has: instead of sleeping. Panics after two minutes.
    pub fn wait_until(&self, holds: impl Fn(&Counts) -> bool) {
        self.shared.wait(|state| holds(&state.counts));
    }
}

fn take_cut(cuts: &mut [Cut]) -> Option<Cut> {
    for cut in cuts.iter_mut().filter(|cut| cut.times > 0) {
        if cut.skip > 0 {
            cut.skip -= 1;
            continue;
        }
        if cut.times != u32::MAX {
            cut.times -= 1;
        }
        return Some(*cut);
    }
    None
}

async fn serve(shared: Arc<Shared>, seen: watch::Receiver<Settings>, first: TcpListener, upstream: SocketAddr) {
    let address = first.local_addr().expect("an address");
    let (mut listener, mut told) = (first, seen.clone());
    loop {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((client, _)) = accepted {
                        let cut = shared.update(|state| {
                            state.counts.connections += 1;
                            state.counts.open += 1;
                            take_cut(&mut state.cuts)
                        });
                        tokio::spawn(connection(shared.clone(), seen.clone(), client, upstream, cut));
                    }
                }
                _ = told.wait_for(|settings| settings.down) => break,
            }
        }
        drop(listener);
        // Bound but not listening: connections are refused, and nobody else gets the port meanwhile.
        let placeholder = TcpSocket::new_v4().expect("a socket");
        placeholder.set_reuseaddr(true).expect("a socket option");
        placeholder.bind(address).expect("the same port again");
        shared.update(|state| state.listening = false);
        if told.wait_for(|settings| !settings.down).await.is_err() {
            return;
        }
        listener = placeholder.listen(BACKLOG).expect("the same port again");
        shared.update(|state| state.listening = true);
    }
}

/// Why a connection ends before both sides have closed it.
enum Ended {
    Reset,
    Close,
}

impl From<io::Error> for Ended {
    /// One side is gone; the other one learns it the hard way.
    fn from(_: io::Error) -> Ended {
        Ended::Reset
    }
}

async fn connection(shared: Arc<Shared>, seen: watch::Receiver<Settings>, mut client: TcpStream, upstream: SocketAddr, cut: Option<Cut>) {
    let (ended, server) = match TcpStream::connect(upstream).await {
        Err(_) => (Err(Ended::Reset), None),
        Ok(mut server) => {
            let ended = tokio::select! {
                () = shared.reset.notified() => Err(Ended::Reset),
                ended = both_ways(&shared, &seen, &mut client, &mut server, cut) => ended,
            };
            (ended, Some(server))
        }
    };
    if let Err(Ended::Reset) = ended {
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            // A socket that the other side reset already takes no options.
            stream.set_zero_linger().unwrap_or_default();
        }
    }
    drop((client, server));
    shared.update(|state| state.counts.open -= 1);
}

async fn both_ways(
    shared: &Shared,
    seen: &watch::Receiver<Settings>,
    client: &mut TcpStream,
    server: &mut TcpStream,
    cut: Option<Cut>,
) -> Result<(), Ended> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let cut_of = |direction| cut.filter(|cut| cut.direction == direction);
    let up = one_way(shared, seen, from_client, to_server, Direction::Up, cut_of(Direction::Up));
    let down = one_way(shared, seen, from_server, to_client, Direction::Down, cut_of(Direction::Down));
    tokio::try_join!(up, down).map(|_| ())
}

async fn one_way(
    shared: &Shared,
    seen: &watch::Receiver<Settings>,
    mut from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    cut: Option<Cut>,
) -> Result<(), Ended> {
    let (pieces, due) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok::<(), Ended>(());
            }
            let at = Instant::now() + seen.borrow().latency;
            // Whoever passes on has stopped for good.
            if pieces.send((at, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let pass = Pass { shared, seen: seen.clone(), to, direction, passed: 0 };
    tokio::try_join!(read, pass.run(due, cut)).map(|_| ())
}

struct Pass<'a> {
    shared: &'a Shared,
    seen: watch::Receiver<Settings>,
    to: WriteHalf<'a>,
    direction: Direction,
    passed: u64,
}

impl Pass<'_> {
    async fn run(mut self, mut due: mpsc::Receiver<(Instant, Vec<u8>)>, cut: Option<Cut>) -> Result<(), Ended> {
        while let Some((at, piece)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if let Some(Cut { after, how, .. }) = cut.filter(|cut| self.passed + piece.len() as u64 >= cut.after) {
                let (before, rest) = piece.split_at((after - self.passed) as usize);
                self.write(before).await?;
                self.shared.update(|state| state.counts.cut += 1);
                match how {
                    How::Reset => return Err(Ended::Reset),
                    How::Close => return Err(Ended::Close),
                    How::Stall => std::future::pending().await,
                    How::Drip(bytes, every) => return self.drip(rest, due, bytes.max(1), every).await,
                }
            }
            self.write(&piece).await?;
        }
        self.to.shutdown().await.map_err(Ended::from)
    }

    async fn drip(
        &mut self,
        first: &[u8],
        mut due: mpsc::Receiver<(Instant, Vec<u8>)>,
        bytes: usize,
        every: Duration,
    ) -> Result<(), Ended> {
        let mut piece = first.to_vec();
        loop {
            for drop in piece.chunks(bytes) {
                tokio::time::sleep(every).await;
                self.write(drop).await?;
            }
            match due.recv().await {
                Some((_, next)) => piece = next,
                None => return self.to.shutdown().await.map_err(Ended::from),
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        // The sender is gone only when the proxy is.
        self.seen.wait_for(|settings| !settings.frozen).await.map_err(|_| Ended::Reset)?;
        self.passed += bytes.len() as u64;
        // Before they go: whoever has seen them finds them counted.
        self.shared.update(|state| match self.direction {
            Direction::Up => state.counts.bytes_up += bytes.len() as u64,
            Direction::Down => state.counts.bytes_down += bytes.len() as u64,
        });
        Ok(self.to.write_all(bytes).await?)
    }
}
