//! Packs: header, frames, padding, sealed footer, trailer (spec chapter 4).
//! Offsets are never stored: frames follow each other from the header on, chunks follow each other in their frame.

use crate::error::{Damage, Error, Result};
use crate::format::object::SUITE_SYMMETRIC;
use crate::format::object::{HEADER_BYTES, ObjectType, PART_OVERHEAD_BYTES, open_header};
use crate::format::wire::{Bytes, map_struct};
use crate::id::{Birth, ChunkId, Class, ObjectName, SnapshotId, WriterId};
use crate::limits::WRAPPED_BYTES_MAX;
use crate::limits::{
    FOOTER_BYTES_MAX, FRAME_BYTES_MAX, FRAME_STORED_BYTES_MAX, PACK_BYTES_MAX, PACK_CHUNKS_MAX, PACK_FRAMES_MAX, PACK_KEYS_MAX, TAG_BYTES,
};
use std::ops::Range;

/// Length of a pack's header: object header, birth.
pub const PACK_HEADER_BYTES: usize = HEADER_BYTES + 16;
/// Length of a pack's trailer: footer length, four zero bytes, birth, object header again.
pub const TRAILER_BYTES: usize = 32;
/// Length of a wrapped pack key: nonce, key, tag.
pub const WRAPPED_BYTES: usize = 24 + 32 + 16;

/// Frame stored as it is.
pub const CODEC_RAW: u8 = 0;
/// Frame compressed with zstd.
pub const CODEC_ZSTD: u8 = 1;
/// Frame compressed with zstd and a prefix made of older chunks; reserved.
pub const CODEC_DELTA: u8 = 2;

map_struct! {
    /// The key of one pack, wrapped by the epoch key of the class.
    pub struct PackKey {
        /// Epoch of the wrapping key.
        0 => epoch: u32,
        /// Suite of wrapping and frames.
        2 => suite: u8,
        /// The pack that this key was made for; frames stay bound to it when they are copied.
        4 => birth: Birth,
        /// Nonce and wrapped key, [`WRAPPED_BYTES`].
        6 => wrapped: Bytes,
    }
}

map_struct! {
    /// One frame.
    pub struct FrameInfo {
        /// Which of the footer's keys seals it.
        0 ? key: u32,
        /// Its ordinal in the pack it was born in: the nonce.
        2 => ordinal: u32,
        /// Length as stored, tag included.
        4 => stored: u32,
        /// Length of its plaintext.
        6 => plain: u32,
        /// [`CODEC_RAW`], [`CODEC_ZSTD`] or [`CODEC_DELTA`].
        8 => codec: u8,
        /// How many chunks it holds.
        10 => chunks: u32,
        /// Chunks that make the prefix of a delta frame, in order.
        12 ? bases: Vec<ChunkId>,
    }
}

map_struct! {
    /// The footer of a pack: all that an index repeats, and the keys.
    pub struct Footer {
        /// The pack's own key first, where it has one, then those of packs that frames were copied from.
        0 => keys: Vec<PackKey>,
        /// The frames, in the order in which they stand.
        2 => frames: Vec<FrameInfo>,
        /// Chunk ids, 32 bytes each, in the order of frames and offsets.
        4 => ids: Bytes,
        /// Chunk lengths in the same order.
        6 => lengths: Vec<u32>,
        /// Who wrote it.
        8 => writer: WriterId,
        /// The run that wrote it: the snapshot id chosen at its start.
        10 => session: SnapshotId,
        /// Deduplication domain; 0 is the whole repository.
        12 ? domain: u64,
        /// Room for the writer's signature.
        14 ? signature: Bytes,
    }
}

/// Where a frame stands and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Offset in the pack.
    pub offset: u64,
    /// Number of its first chunk in the pack.
    pub first_chunk: u32,
    /// Its row in the footer.
    pub info: FrameInfo,
}

impl FrameSpan {
    /// The numbers of its chunks in the pack. (A footer that was read holds no more of them than fit.)
    pub fn chunks(&self) -> Range<usize> {
        self.first_chunk as usize..self.first_chunk as usize + self.info.chunks as usize
    }
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSpan {
    /// Its frame.
    pub frame: u32,
    /// Offset in the frame's plaintext.
    pub offset: u32,
    /// Length.
    pub bytes: u32,
}

/// A footer whose tables were checked against each other and against the size of the pack.
#[derive(Clone, Debug)]
pub struct PackTable {
    /// The footer as it stands in the pack.
    pub footer: Footer,
    /// The frames with their offsets.
    pub frames: Vec<FrameSpan>,
    /// The chunks with their places.
    pub chunks: Vec<ChunkSpan>,
}

impl PackTable {
    /// Checks a footer of a pack of `pack_bytes` whose footer is `footer_bytes` long.
    pub fn new(name: &ObjectName, footer: Footer, pack_bytes: u64, footer_bytes: u64) -> Result<Self> {
        let bad = |field| Error::damaged(name, Damage::Malformed(field));
        let count = footer.lengths.len();
        if footer.ids.0.len() != count * ChunkId::BYTES || count > PACK_CHUNKS_MAX {
            return Err(bad("ids"));
        }
        if footer.frames.len() > PACK_FRAMES_MAX {
            return Err(bad("frames"));
        }
        // A collector copies frames without their keys: a suite that it does not know is no reason to refuse the pack.
        let fits = |key: &PackKey| match key.suite {
            SUITE_SYMMETRIC => key.wrapped.0.len() == WRAPPED_BYTES,
            _ => key.wrapped.0.len() <= WRAPPED_BYTES_MAX,
        };
        if footer.keys.len() > PACK_KEYS_MAX || !footer.keys.iter().all(fits) {
            return Err(bad("keys"));
        }
        let mut frames = Vec::with_capacity(footer.frames.len());
        let mut chunks = Vec::with_capacity(count);
        let mut offset = PACK_HEADER_BYTES as u64;
        for (number, info) in footer.frames.iter().enumerate() {
            if info.key as usize >= footer.keys.len() {
                return Err(bad("key"));
            }
            if info.plain as usize > FRAME_BYTES_MAX || info.stored as usize > FRAME_STORED_BYTES_MAX || (info.stored as usize) < TAG_BYTES
            {
                return Err(bad("frames"));
            }
            if info.codec == CODEC_RAW && info.stored as usize != info.plain as usize + TAG_BYTES {
                return Err(bad("stored"));
            }
            frames.push(FrameSpan { offset, first_chunk: chunks.len() as u32, info: info.clone() });
            offset += u64::from(info.stored);
            let mut at = 0u32;
            let lengths = footer.lengths.get(chunks.len()..).and_then(|l| l.get(..info.chunks as usize)).ok_or(bad("chunks"))?;
            for bytes in lengths {
                // No chunk is empty: an empty file has none.
                if *bytes == 0 {
                    return Err(bad("lengths"));
                }
                chunks.push(ChunkSpan { frame: number as u32, offset: at, bytes: *bytes });
                at = at.checked_add(*bytes).ok_or(bad("lengths"))?;
            }
            if at != info.plain {
                return Err(bad("lengths"));
            }
        }
        if chunks.len() != count || offset + footer_bytes + TRAILER_BYTES as u64 > pack_bytes {
            return Err(bad("frames"));
        }
        Ok(Self { footer, frames, chunks })
    }

    /// The id of chunk `number`.
    pub fn id(&self, number: usize) -> Option<ChunkId> {
        self.footer.ids.0.chunks_exact(ChunkId::BYTES).nth(number)?.try_into().ok().map(ChunkId::new)
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.footer.ids.0.as_chunks::<{ ChunkId::BYTES }>().0.iter().map(|id| ChunkId::new(*id))
    }
}

/// The bytes with which a pack begins.
pub fn header(class: Class, birth: &Birth) -> [u8; PACK_HEADER_BYTES] {
    let mut out = [0; PACK_HEADER_BYTES];
    out[..HEADER_BYTES].copy_from_slice(&ObjectType::pack(class).header());
    out[HEADER_BYTES..].copy_from_slice(birth.as_bytes());
    out
}

/// The bytes with which a pack ends.
pub fn trailer(class: Class, birth: &Birth, footer_bytes: u32) -> [u8; TRAILER_BYTES] {
    let mut out = [0; TRAILER_BYTES];
    out[..4].copy_from_slice(&footer_bytes.to_le_bytes());
    out[8..24].copy_from_slice(birth.as_bytes());
    out[24..].copy_from_slice(&ObjectType::pack(class).header());
    out
}

/// Reads the trailer from the end of a pack: its birth and the length of its footer.
pub fn open_trailer(name: &ObjectName, class: Class, suffix: &[u8], pack_bytes: u64) -> Result<(Birth, usize)> {
    if pack_bytes > PACK_BYTES_MAX {
        return Err(Error::damaged(name, Damage::TooLarge { have: pack_bytes, max: PACK_BYTES_MAX }));
    }
    let least = (PACK_HEADER_BYTES + PART_OVERHEAD_BYTES + TRAILER_BYTES) as u64;
    let trailer: &[u8; TRAILER_BYTES] =
        suffix.last_chunk().filter(|_| pack_bytes >= least).ok_or(Error::damaged(name, Damage::Short { have: pack_bytes, want: least }))?;
    open_header(name, ObjectType::pack(class), &trailer[24..])?;
    let (Some(bytes), Some(zero), Some(birth)) = (trailer.first_chunk::<4>(), trailer.get(4..8), trailer[8..].first_chunk::<16>()) else {
        return Err(Error::damaged(name, Damage::Trailer));
    };
    let footer_bytes = u32::from_le_bytes(*bytes) as usize;
    let fits = (PART_OVERHEAD_BYTES..=FOOTER_BYTES_MAX).contains(&footer_bytes)
        && (PACK_HEADER_BYTES + footer_bytes + TRAILER_BYTES) as u64 <= pack_bytes;
    if zero != [0; 4] || !fits {
        return Err(Error::damaged(name, Damage::Trailer));
    }
    Ok((Birth::new(*birth), footer_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let key = |suite, bytes| PackKey { epoch: 1, suite, birth: Birth::new([1; 16]), wrapped: Bytes(vec![0; bytes]), extra: vec![] };
        let frame = |plain, chunks| FrameInfo {
            key: 0,
            ordinal: 0,
            stored: plain + TAG_BYTES as u32,
            plain,
            codec: CODEC_RAW,
            chunks,
            bases: vec![],
            extra: vec![],
        };
        Footer {
            keys: vec![key(SUITE_SYMMETRIC, WRAPPED_BYTES), key(crate::format::object::SUITE_X25519, 104)],
            frames: vec![frame(30, 2), frame(5, 1)],
            ids: Bytes(vec![7; 96]),
            lengths: vec![10, 20, 5],
            writer: WriterId::new([0; 16]),
            session: SnapshotId::new([0; 32]),
            domain: 0,
            signature: Bytes::default(),
            extra: vec![],
        }
    }

    #[test]
    fn tables_that_disagree_are_refused() {
        let name = ObjectName::parse("data/00/00").unwrap();
        let opens = |change: fn(&mut Footer)| {
            let mut footer = footer();
            change(&mut footer);
            PackTable::new(&name, footer, 1000, 500).is_ok()
        };
        assert!(opens(|_| ()), "a key of a suite of later versions does not hide the tables");
        assert!(!opens(|f| f.keys[0].wrapped.0.truncate(71)));
        assert!(!opens(|f| f.keys[1].wrapped.0.resize(WRAPPED_BYTES_MAX + 1, 0)));
        assert!(!opens(|f| f.frames[0].key = 2));
        assert!(!opens(|f| f.frames[0].stored += 1));
        assert!(!opens(|f| f.frames[1].chunks = u32::MAX));
        assert!(!opens(|f| f.lengths = vec![30, 0, 5]));
        assert!(!opens(|f| f.lengths = vec![10, u32::MAX, 5]));
        assert!(!opens(|f| f.ids.0.truncate(95)));
        assert!(!opens(|f| f.frames.truncate(1)));
    }
}
