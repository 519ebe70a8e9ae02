//! Index segments: which chunk is in which pack (spec chapter 5). They only repeat what footers say.
//! An entry is 16 bytes of the chunk id and a packed position of 5 bytes; every byte here is paid once per chunk ever stored.

use crate::buffers::room;
use crate::format::wire::{Bytes, map_struct};
use crate::id::{ChunkId, Class, PackId};
use crate::limits::{SEGMENT_CHUNKS_MAX, SEGMENT_PACKS_MAX};

/// Length of the part of a chunk id that an entry holds.
pub const PREFIX_BYTES: usize = 16;
/// Length of one entry.
pub const ENTRY_BYTES: usize = PREFIX_BYTES + 5;
/// Bits of a position that number the chunk in its pack; the rest number the pack in its segment.
pub const CHUNK_BITS: u32 = 20;

map_struct! {
    /// A pack that a segment speaks of.
    pub struct SegmentPack {
        /// Its class.
        0 => class: Class,
        /// Its id.
        2 => id: PackId,
        /// Its length, compared with what the store lists.
        4 => bytes: u64,
    }
}

map_struct! {
    /// The body of an index segment.
    pub struct Segment {
        /// The packs, numbered from 0.
        0 => packs: Vec<SegmentPack>,
        /// The entries, [`ENTRY_BYTES`] each, ascending by prefix.
        2 => entries: Bytes,
    }
}

/// The first bytes of a chunk id, by which the index finds it.
pub type Prefix = [u8; PREFIX_BYTES];

/// The prefix of an id.
pub fn prefix(id: &ChunkId) -> Prefix {
    let mut out = [0; PREFIX_BYTES];
    out.copy_from_slice(&id.as_bytes()[..PREFIX_BYTES]);
    out
}

/// Builds one entry. `pack` and `chunk` are below their limits, which writers keep.
pub fn entry(prefix: &Prefix, pack: u32, chunk: u32) -> [u8; ENTRY_BYTES] {
    debug_assert!((pack as usize) < SEGMENT_PACKS_MAX && chunk < 1 << CHUNK_BITS);
    let mut out = [0; ENTRY_BYTES];
    out[..PREFIX_BYTES].copy_from_slice(prefix);
    let position = u64::from(pack) << CHUNK_BITS | u64::from(chunk);
    out[PREFIX_BYTES..].copy_from_slice(&position.to_le_bytes()[..5]);
    out
}

/// Pack and chunk number of one entry.
pub fn position(entry: &[u8; ENTRY_BYTES]) -> (u32, u32) {
    let mut wide = [0; 8];
    wide[..5].copy_from_slice(&entry[PREFIX_BYTES..]);
    let position = u64::from_le_bytes(wide);
    ((position >> CHUNK_BITS) as u32, (position & ((1 << CHUNK_BITS) - 1)) as u32)
}

impl Segment {
    /// The packs for which `keep` holds, with their entries; `None` where there is none, or this segment is malformed.
    pub fn only(&self, keep: impl Fn(&SegmentPack) -> bool) -> Option<Segment> {
        let mut packs = Vec::new();
        let mut number = |pack: &SegmentPack| {
            packs.push(pack.clone());
            packs.len() as u32 - 1
        };
        let numbers: Vec<Option<u32>> = self.packs.iter().map(|pack| keep(pack).then(|| number(pack))).collect();
        if packs.is_empty() {
            return None;
        }
        let kept = |old: &[u8; ENTRY_BYTES]| {
            let ((pack, chunk), mut prefix) = (position(old), [0; PREFIX_BYTES]);
            prefix.copy_from_slice(&old[..PREFIX_BYTES]);
            Some(entry(&prefix, (*numbers.get(pack as usize)?)?, chunk))
        };
        let mut entries: Vec<_> = self.checked()?.iter().filter_map(kept).collect();
        entries.sort_unstable();
        Some(Segment { packs, entries: Bytes(entries.concat()), extra: Vec::new() })
    }

    /// One segment that says what all of these say; no pack is in two of them. `None` where there is nothing to say.
    pub fn joined(parts: Vec<Segment>) -> Option<Segment> {
        let mut packs = Vec::new();
        let mut entries = room(parts.iter().map(|part| part.entries.0.len()).sum());
        for part in parts {
            let first = packs.len() as u32;
            packs.extend(part.packs);
            for old in part.entries.0.as_chunks::<ENTRY_BYTES>().0 {
                let ((pack, chunk), mut prefix) = (position(old), [0; PREFIX_BYTES]);
                prefix.copy_from_slice(&old[..PREFIX_BYTES]);
                entries.extend_from_slice(&entry(&prefix, first + pack, chunk));
            }
        }
        // Stable, for that finds the runs of which it is made.
        entries.as_chunks_mut::<ENTRY_BYTES>().0.sort();
        (!packs.is_empty()).then(|| Segment { packs, entries: Bytes(entries), extra: Vec::new() })
    }

    /// The entries, or `None` where their bytes do not divide, are out of order, or name a pack that is not there.
    pub fn checked(&self) -> Option<&[[u8; ENTRY_BYTES]]> {
        let (entries, []) = self.entries.0.as_chunks::<ENTRY_BYTES>() else { return None };
        let ordered = entries.windows(2).all(|w| w[0][..PREFIX_BYTES] <= w[1][..PREFIX_BYTES]);
        let known = entries.iter().all(|e| (position(e).0 as usize) < self.packs.len());
        (ordered && known && entries.len() <= SEGMENT_CHUNKS_MAX && self.packs.len() <= SEGMENT_PACKS_MAX).then_some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_segment_says_the_same_of_its_packs() {
        let packs: Vec<SegmentPack> =
            (1..=3).map(|n| SegmentPack { class: Class::Data, id: PackId::new([n; 32]), bytes: 7, extra: Vec::new() }).collect();
        let rows = [(1, 0, 4), (2, 2, 0), (3, 1, 9), (3, 2, 8)];
        let entries: Vec<_> = rows.map(|(id, pack, chunk)| entry(&[id; 16], pack, chunk)).concat();
        let whole = Segment { packs, entries: Bytes(entries), extra: Vec::new() };
        let part = whole.only(|pack| pack.id.as_bytes()[0] != 1).unwrap();
        assert_eq!(part.packs, whole.packs[1..]);
        let mut entries: Vec<_> = part.checked().unwrap().iter().map(|e| (e[0], position(e))).collect();
        entries.sort_unstable();
        assert_eq!(entries, [(2, (1, 0)), (3, (0, 9)), (3, (1, 8))]);
        assert!(whole.only(|_| false).is_none());
        let rest = whole.only(|pack| pack.id.as_bytes()[0] == 1).unwrap();
        let joined = Segment::joined(vec![part, rest]).unwrap();
        assert_eq!(joined.checked().map(<[_]>::len), Some(4));
        let at = |segment: &Segment| -> Vec<(u8, PackId, u32)> {
            let row = |e: &[u8; ENTRY_BYTES]| (e[0], segment.packs[position(e).0 as usize].id, position(e).1);
            let mut rows: Vec<_> = segment.checked().unwrap().iter().map(row).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(at(&joined), at(&whole));
        assert!(Segment::joined(vec![]).is_none());
    }

    #[test]
    fn positions_use_all_forty_bits() {
        for (pack, chunk) in [(0, 0), (1, 2), ((1 << 20) - 1, (1 << 20) - 1)] {
            assert_eq!(position(&entry(&[7; 16], pack, chunk)), (pack, chunk));
        }
    }
}
