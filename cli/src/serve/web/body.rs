//! The body of an answer: nothing, a few bytes, or what a thread makes piece by piece. It must never hold more than a few pieces, however slow
//! its reader is, nor end as if it were whole where making it failed.

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::io::{Error, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces that wait for the client.
const PIECES: usize = 4;
/// Text is gathered up to here before it is sent.
const TEXT_BYTES: usize = 64 << 10;

/// See the module's text.
pub enum Body {
    /// These bytes.
    Whole(Option<Bytes>),
    /// What a thread makes.
    Made(Receiver<Result<Bytes>>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body::Whole(None)
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Body::Whole(Some(Bytes::from(text.into())))
    }

    /// What `make` sends; it runs on a thread on which it may wait.
    pub fn made(make: impl FnOnce(&Pieces) -> Result<()> + Send + 'static) -> Self {
        let (to, from) = channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let pieces = Pieces(to);
            if let Err(error) = make(&pieces) {
                // The client sees that it is cut off. One that left already sees nothing.
                pieces.0.blocking_send(Err(error)).unwrap_or(());
            }
        });
        Body::Made(from)
    }
}

/// Where pieces go.
pub struct Pieces(Sender<Result<Bytes>>);

impl Pieces {
    /// Sends one; waits for room. An error means that nobody wants any more.
    pub fn send(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.0.blocking_send(Ok(bytes.into())).map_err(|_| Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

/// Text on its way out, in pieces of some size.
pub struct Text<'p> {
    pieces: &'p Pieces,
    text: String,
}

impl<'p> Text<'p> {
    /// Nothing yet.
    pub fn new(pieces: &'p Pieces) -> Self {
        Text { pieces, text: String::new() }
    }

    /// Appends.
    pub fn push(&mut self, text: &str) -> Result<()> {
        self.text.push_str(text);
        if self.text.len() >= TEXT_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.pieces.send(std::mem::take(&mut self.text))
    }

    /// The end.
    pub fn finish(mut self) -> Result<()> {
        if self.text.is_empty() { Ok(()) } else { self.flush() }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut *self {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Made(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Made(_) => SizeHint::default(),
        }
    }
}
