//! Archives that come compressed: gzip and zstd are unpacked on the way, others are named, so that the user can have them unpacked.
//! What is cut short or damaged is an error, never an end.

use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, Read};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// How much compressed input is held.
const READ_BYTES: usize = 128 << 10;
/// Largest window of zstd that is taken, as its own program does: 128 MiB.
const WINDOW_LOG_MAX: u32 = 27;
/// How much of the beginning is looked at: a block of a tar archive.
const HEAD_BYTES: usize = 512;

/// What other programs compress to, by how it begins, and the program that unpacks it.
const OTHERS: [(&[u8], &str); 5] =
    [(b"\xfd7zXZ\0", "xzcat"), (b"BZh", "bzcat"), (b"\x04\x22\x4d\x18", "lz4cat"), (b"LZIP", "lzip -dc"), (b"\x1f\x9d", "zcat")];

/// The input, unpacked where it is compressed. The inner error is the program that would unpack it.
pub fn unpacked<'a>(mut input: impl Read + 'a) -> io::Result<Result<Box<dyn Read + 'a>, &'static str>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    // A name may begin with anything: what is an archive is one.
    let tar = head.first_chunk().is_some_and(|block| !matches!(crate::tar::read(block), crate::tar::Read::Other));
    let begins = |magic: &[u8]| !tar && head.starts_with(magic);
    if let Some((_, program)) = OTHERS.iter().find(|(magic, _)| begins(magic)) {
        return Ok(Err(program));
    }
    let (gzip, zstd) = (begins(b"\x1f\x8b"), begins(b"\x28\xb5\x2f\xfd"));
    let all = Cursor::new(head).chain(input);
    Ok(Ok(match (gzip, zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(all)),
        (_, true) => Box::new(Zstd::new(all)?),
        _ => Box::new(all),
    }))
}

struct Zstd<R> {
    input: R,
    decoder: DCtx<'static>,
    buffer: Box<[u8]>,
    from: usize,
    filled: usize,
    /// A frame has begun and not ended.
    within: bool,
    /// There was no room for all that the decoder has already.
    full: bool,
}

impl<R: Read> Zstd<R> {
    fn new(input: R) -> io::Result<Self> {
        let mut decoder = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(failed)?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Zstd { input, decoder, buffer, from: 0, filled: 0, within: false, full: false })
    }
}

fn failed(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.from == self.filled && !self.full {
                (self.from, self.filled) = (0, self.input.read(&mut self.buffer)?);
                if self.filled == 0 {
                    return if self.within { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(0) };
                }
            }
            let mut from = InBuffer::around(&self.buffer[self.from..self.filled]);
            let mut to = OutBuffer::around(&mut *out);
            let more = self.decoder.decompress_stream(&mut to, &mut from).map_err(failed)?;
            self.within = more > 0;
            self.from += from.pos();
            let got = to.pos();
            self.full = self.within && got == out.len();
            if got > 0 || out.is_empty() {
                return Ok(got);
            }
        }
    }
}
