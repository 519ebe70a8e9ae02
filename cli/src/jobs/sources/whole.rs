//! A stream that shows at its end whether it is whole: its end marker, its size, its first bytes.
//! It must never judge before the stream's own end was asked for: a client that died has its own words.

use crate::jobs::sources::bounds::Bounds;
use seabed_engine::source::stream::StreamEnd;
use seabed_engine::{Stream, StreamFailure};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// How much of the end is kept: markers stand in the last lines, and `pg_dump` has a line or two behind its own.
const TAIL_BYTES: usize = 4096;
/// How much of the beginning is looked at.
const HEAD_BYTES: usize = 64;

/// What is demanded of a stream.
pub struct Demands {
    /// Its name in the snapshot.
    pub name: Vec<u8>,
    /// What is in it, for the manifest.
    pub format: &'static str,
    /// One of these stands at the end, but for white space and what `after` lets pass. None: no marker.
    pub markers: Vec<Vec<u8>>,
    /// Lines that may follow a marker begin with one of these.
    pub after: &'static [&'static [u8]],
    /// What is too small.
    pub bounds: Arc<Bounds>,
    /// It is the last of its source.
    pub last: bool,
    /// Where it is put what the stream was compressed with, if it was.
    pub packed: Arc<Mutex<Option<&'static str>>>,
}

/// A stream under demands.
pub struct Whole<S> {
    inner: S,
    demands: Demands,
    bytes: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl<S> Whole<S> {
    /// Reads `inner`.
    pub fn new(inner: S, demands: Demands) -> Self {
        Whole { inner, demands, bytes: 0, head: Vec::with_capacity(HEAD_BYTES), tail: Vec::with_capacity(2 * TAIL_BYTES) }
    }
}

impl<S: Read> Read for Whole<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let new = &buffer[..got];
        self.bytes += got as u64;
        if self.head.len() < HEAD_BYTES {
            self.head.extend_from_slice(&new[..got.min(HEAD_BYTES - self.head.len())]);
        }
        self.tail.extend_from_slice(&new[got.saturating_sub(TAIL_BYTES)..]);
        if self.tail.len() > 2 * TAIL_BYTES {
            let over = self.tail.len() - TAIL_BYTES;
            self.tail.drain(..over);
        }
        Ok(got)
    }
}

impl<S: Stream> Stream for Whole<S> {
    fn ready(&self) -> std::io::Result<bool> {
        self.inner.ready()
    }

    fn format(&self) -> &str {
        self.demands.format
    }

    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        let Whole { inner, demands, bytes, head, tail } = *self;
        let end = Box::new(inner).finish()?;
        let name = String::from_utf8_lossy(&demands.name).into_owned();
        // An empty one is told in other words.
        if bytes > 0 && !has_marker(&tail, &demands.markers, demands.after) {
            let marker = demands.markers.first().map(|m| String::from_utf8_lossy(m).into_owned()).unwrap_or_default();
            return Err(StreamFailure::NotWhole { name, what: format!("its end marker `{marker}` is missing") });
        }
        if let Some(what) = demands.bounds.judge(&demands.name, bytes, demands.last).filter(|_| bytes > 0) {
            return Err(StreamFailure::NotWhole { name, what });
        }
        *demands.packed.lock().unwrap_or_else(PoisonError::into_inner) = packed(&head);
        Ok(end)
    }
}

/// Whether the last line that says something is a marker, or follows one and may.
fn has_marker(tail: &[u8], markers: &[Vec<u8>], after: &[&[u8]]) -> bool {
    if markers.is_empty() {
        return true;
    }
    // Binary formats end with theirs.
    let trimmed = tail.trim_ascii_end();
    if markers.iter().any(|marker| tail.ends_with(marker) || trimmed.ends_with(marker)) {
        return true;
    }
    let lines = tail.split(|b| *b == b'\n').rev().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty() && *line != b"--");
    for line in lines {
        if markers.iter().any(|marker| line.starts_with(marker)) {
            return true;
        }
        if !after.iter().any(|start| line.starts_with(start)) {
            return false;
        }
    }
    false
}

/// What a stream is compressed with, by its first bytes.
pub fn packed(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
        head if head.starts_with(b"PGDMP") => return pgdump_packed(head),
        _ => return None,
    })
}

/// `pg_dump -Fc` says in its header how its parts are compressed: magic, version (3 bytes), sizes of integers and offsets, format, and from
/// version 1.15 on an algorithm in one byte, before that a level as an integer with its sign in front.
fn pgdump_packed(head: &[u8]) -> Option<&'static str> {
    let (minor, rest) = (*head.get(6)?, head.get(11..)?);
    let is_packed = if minor >= 15 { *rest.first()? != 0 } else { rest.get(1..5)?.iter().any(|b| *b != 0) };
    is_packed.then_some("pg_dump -Fc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::ReaderStream;

    const PG: &[u8] = b"-- PostgreSQL database dump complete";

    fn end(text: &[u8], markers: &[&[u8]]) -> Result<StreamEnd, StreamFailure> {
        let demands = Demands {
            name: b"d.sql".to_vec(),
            format: "postgres",
            markers: markers.iter().map(|m| m.to_vec()).collect(),
            after: &[b"\\unrestrict "],
            bounds: Arc::default(),
            last: true,
            packed: Arc::default(),
        };
        let mut stream = Box::new(Whole::new(ReaderStream(text), demands));
        std::io::copy(&mut *stream, &mut std::io::sink()).unwrap();
        stream.finish()
    }

    #[test]
    fn a_dump_without_its_end_is_none() {
        let body = "x".repeat(100_000);
        let whole = format!("{body}\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n");
        assert!(end(whole.as_bytes(), &[PG]).is_ok());
        for cut in [whole.len() - 70, 50_000, 1] {
            assert!(matches!(end(&whole.as_bytes()[..cut], &[PG]), Err(StreamFailure::NotWhole { .. })), "{cut}");
        }
        // In the middle of the data it is data.
        let middle = format!("-- PostgreSQL database dump complete\n{body}");
        assert!(end(middle.as_bytes(), &[PG]).is_err());
        let near = "-- PostgreSQL database dump complete\nINSERT INTO x VALUES (1);\n";
        assert!(end(near.as_bytes(), &[PG]).is_err());
        assert!(end(b"-- Dump completed on 2026-11-30  1:00:00\n", &[b"-- Dump completed"]).is_ok());
        assert!(end(b"REDIS0010\xff12345678", &[]).is_ok());
    }

    #[test]
    fn compressed_dumps_are_known() {
        for (head, what) in [
            (&b"\x1f\x8b\x08"[..], Some("gzip")),
            (b"\x28\xb5\x2f\xfd", Some("zstd")),
            (b"PGDMP\x01\x0e\x00\x04\x08\x01\x01\xff\xff\xff\xff", Some("pg_dump -Fc")),
            (b"PGDMP\x01\x0e\x00\x04\x08\x01\x00\x00\x00\x00\x00", None),
            (b"--\n-- PostgreSQL", None),
            (b"", None),
        ] {
            assert_eq!(packed(head), what, "{head:?}");
        }
    }
}
