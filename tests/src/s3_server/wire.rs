//! A connection that can be reset, and bodies that stop, drip or end too early.
//! It must never cut off bytes that an answer was to send before its fault: what was sent is flushed first.

use super::fault::Fault;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// What the server holds of a connection.
#[derive(Default)]
pub(super) struct Line {
    reset: AtomicBool,
    /// The connection is dropped when it is told.
    pub ended: Notify,
    flushes: AtomicU64,
    flushed: Mutex<Option<Waker>>,
}

impl Line {
    /// Ends the connection: with a reset, or in order, as far as TCP knows.
    pub fn end(&self, reset: bool) {
        self.reset.store(reset, SeqCst);
        self.ended.notify_one();
    }
}

/// The socket under hyper.
pub(super) struct Wire {
    pub stream: TcpStream,
    pub line: std::sync::Arc<Line>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.line.reset.load(SeqCst) {
            // Without lingering, close sends RST instead of FIN.
            self.stream.set_zero_linger().expect("a socket option");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once its own buffers are empty: then all that a body handed out is with the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.line.flushes.fetch_add(1, SeqCst);
            if let Some(waker) = self.line.flushed.lock().unwrap().take() {
                waker.wake();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How a body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It does not, or only seems to: what follows is left out.
    Clean,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more happens.
    Stall,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// Bytes to send; `None` for all.
    pub stop: Option<u64>,
    /// Bytes per piece, and the time before each.
    pub pieces: Option<(usize, Duration)>,
    /// Without a Content-Length.
    pub chunked: bool,
    pub end: End,
}

impl Script {
    pub fn of(fault: Option<&Fault>) -> Script {
        let plain = Script { stop: None, pieces: None, chunked: false, end: End::Clean };
        match fault {
            Some(Fault::CutWithLength(after)) => Script { stop: Some(*after), end: End::Close, ..plain },
            Some(Fault::CutChunked(after)) => Script { stop: Some(*after), chunked: true, ..plain },
            Some(Fault::ResetDownload(after)) => Script { stop: Some(*after), end: End::Reset, ..plain },
            Some(Fault::StallDownload(after)) => Script { stop: Some(*after), end: End::Stall, ..plain },
            Some(Fault::CutAtEnd) => Script { chunked: true, end: End::Close, ..plain },
            Some(Fault::Drip(bytes, every)) => Script { pieces: Some(((*bytes).max(1), *every)), ..plain },
            _ => plain,
        }
    }
}

type Ending = Pin<Box<dyn Future<Output = Infallible> + Send>>;

/// A body on its way.
pub(super) struct Played {
    bytes: Bytes,
    /// Bytes that are still to be sent before the end.
    left: usize,
    script: Script,
    nap: Option<Pin<Box<Sleep>>>,
    line: std::sync::Arc<Line>,
    /// Flushes of the connection when the last byte was handed out.
    flushes: Option<u64>,
    /// What ends the connection, or never does.
    ending: Option<Ending>,
    sent: Box<dyn Fn(u64) + Send>,
}

impl Played {
    /// `sent` is told of all bytes before they are handed out; `ending` runs once they all are flushed, unless the end is clean.
    pub fn new(bytes: Bytes, script: Script, line: std::sync::Arc<Line>, sent: Box<dyn Fn(u64) + Send>, ending: Option<Ending>) -> Played {
        // A fault must show: of a body that is shorter, the last byte is missing.
        let stop = script.stop.map_or(bytes.len(), |stop| (stop as usize).min(bytes.len().saturating_sub(1)));
        Played { bytes, left: stop, script, nap: None, line, flushes: None, ending, sent }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before it is looked at, or the flush between both would be missed.
        *self.line.flushed.lock().unwrap() = Some(cx.waker().clone());
        let now = self.line.flushes.load(SeqCst);
        match self.flushes {
            Some(before) if now > before => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                self.flushes = Some(now);
                Poll::Pending
            }
        }
    }
}

impl Body for Played {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            let Some(mut ending) = self.ending.take() else { return Poll::Ready(None) };
            let polled = match self.poll_flushed(cx) {
                Poll::Ready(()) => ending.as_mut().poll(cx),
                Poll::Pending => Poll::Pending,
            };
            self.ending = Some(ending);
            return polled.map(|never| match never {});
        }
        let mut piece = self.left;
        if let Some((bytes, every)) = self.script.pieces {
            let nap = self.nap.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
            ready!(nap.as_mut().poll(cx));
            self.nap = None;
            piece = piece.min(bytes);
        }
        self.left -= piece;
        (self.sent)(piece as u64);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.ending.is_none() && !self.script.chunked
    }

    fn size_hint(&self) -> SizeHint {
        // Unknown: the Content-Length stands in the headers, where it may lie.
        SizeHint::default()
    }
}
