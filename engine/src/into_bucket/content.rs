//! The content of a file, piece by piece out of the repository, and what its digests are as those that a store tells.
//! Every chunk is checked by whoever reads it; here the sum is: a file that is longer or shorter than its entry says is damage.

use crate::error::{Damage, Error, Result};
use crate::format::entry::Entry;
use crate::format::lists::{Content, Item};
use crate::id::{Class, ObjectName};
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::tree::ContentCursor;
use crate::source::objects::{Object, Objects, Unread};
use crate::store::s3::{Bucket, etag_of_parts};
use md5::{Digest, Md5};

/// Up to this length an object is put in one piece.
pub const WHOLE_BYTES: u64 = 16 << 20;
/// How long parts of longer ones are by default, and at most: as long as an object of the greatest length needs.
const PART_BYTES: u64 = 16 << 20;
const PARTS_MAX: u64 = 9_000;
/// Lengths of parts that other programs make.
const OTHERS_MIB: [u64; 9] = [8, 16, 5, 10, 32, 64, 15, 100, 128];
/// Zeros that a hole is made of at a time.
const ZEROS_BYTES: u64 = 64 << 10;

/// How long the parts of an object are: as those it was made of, where its ETag tells, so that it gets the same one again.
pub fn part_bytes(size: u64, etag: &[u8]) -> u64 {
    let least = size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20);
    let parts = std::str::from_utf8(etag).ok().and_then(|etag| etag.split_once('-')).and_then(|(_, parts)| parts.parse::<u64>().ok());
    let known = parts.and_then(|parts| OTHERS_MIB.iter().map(|mib| mib << 20).find(|bytes| size.div_ceil(*bytes) == parts));
    known.unwrap_or(PART_BYTES).max(least)
}

/// Hands out a content in order, in pieces of any length.
pub fn pieces(reader: &ChunkReader, content: &Content, entry: &Entry, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let wrong = || match ObjectName::parse("lists/content") {
        Some(name) => Error::damaged(&name, Damage::Malformed("length of a file")),
        None => Error::SelfCheck { what: "the length of a file" },
    };
    if !content.can_be(entry.size) {
        return Err(wrong());
    }
    let (mut cursor, mut buffers, mut total) = (ContentCursor::new(content), ReadBuffers::default(), 0u64);
    let mut items_of = ReadBuffers::default();
    while let Some(items) = cursor.next_items(reader, &mut items_of)? {
        for item in items.items {
            match item {
                Item::Chunk(id) => {
                    let piece = reader.piece(Class::Data, &id, &mut buffers)?;
                    total += piece.len() as u64;
                    each(&piece)?;
                }
                Item::Hole(bytes) => {
                    let mut left = bytes;
                    while left > 0 {
                        let step = left.min(ZEROS_BYTES);
                        each(&[0; ZEROS_BYTES as usize][..step as usize])?;
                        left -= step;
                    }
                    total += bytes;
                }
            }
        }
    }
    if total == entry.size { Ok(()) } else { Err(wrong()) }
}

/// Hands out a content in parts of `bytes`, the last one shorter. An empty one has no part.
pub fn parts(
    reader: &ChunkReader,
    content: &Content,
    entry: &Entry,
    bytes: u64,
    mut each: impl FnMut(Vec<u8>) -> Result<()>,
) -> Result<()> {
    let room = bytes.min(entry.size) as usize;
    let mut part = Vec::with_capacity(room);
    pieces(reader, content, entry, |mut piece| {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(room - part.len()));
            part.extend_from_slice(now);
            piece = later;
            if part.len() == room {
                each(std::mem::replace(&mut part, Vec::with_capacity(room)))?;
            }
        }
        Ok(())
    })?;
    if part.is_empty() { Ok(()) } else { each(part) }
}

/// What ETag a store would tell of a content, put whole or in parts.
pub struct Digests {
    whole: String,
    in_parts: String,
}

impl Digests {
    /// Reads it.
    pub fn of(reader: &ChunkReader, content: &Content, entry: &Entry) -> Result<Self> {
        let (mut whole, mut digests) = (Md5::new(), Vec::new());
        let bytes = part_bytes(entry.size, crate::source::objects::attributes::etag_of(&entry.xattrs));
        parts(reader, content, entry, bytes, |part| {
            whole.update(&part);
            digests.push(Md5::digest(&part).into());
            Ok(())
        })?;
        Ok(Digests { whole: crate::id::hex(&whole.finalize()), in_parts: etag_of_parts(&digests) })
    }

    /// Whether this is what a store tells of it.
    pub fn is(&self, etag: &str) -> bool {
        etag.eq_ignore_ascii_case(&self.whole) || etag.eq_ignore_ascii_case(&self.in_parts)
    }
}

/// Whether an object holds a content, byte for byte.
pub fn equals(reader: &ChunkReader, content: &Content, entry: &Entry, bucket: &Bucket, object: &Object) -> Result<bool> {
    let (mut at, mut same) = (0, true);
    parts(reader, content, entry, PART_BYTES, |part| {
        let end = at + part.len() as u64;
        if same {
            match bucket.read(object, at..end) {
                Ok(there) => same = there.bytes == part,
                Err(Unread::Store(error)) => return Err(error),
                // What cannot be read is not what is wanted.
                Err(_) => same = false,
            }
        }
        at = end;
        Ok(())
    })?;
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_long_as_they_were() {
        let mib = 1 << 20;
        let etag = |parts: u64| format!("d41d8cd98f00b204e9800998ecf8427e-{parts}").into_bytes();
        assert_eq!(part_bytes(100 * mib, &etag(13)), 8 * mib);
        assert_eq!(part_bytes(100 * mib, &etag(20)), 5 * mib);
        assert_eq!(part_bytes(100 * mib, &etag(99)), PART_BYTES, "nobody's");
        assert_eq!(part_bytes(100 * mib, b""), PART_BYTES);
        let most = 5 << 40;
        assert!(most / part_bytes(most, b"") <= PARTS_MAX && most / part_bytes(most, &etag(10_000)) <= PARTS_MAX);
    }
}
