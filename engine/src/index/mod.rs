//! The index: in which pack a chunk is (spec chapter 5). Loaded from segments, which only repeat what pack footers say.
//! Holds sorted runs of 24-byte rows; a pack that a record names or the store does not list never answers "known".

pub mod compact;
pub mod numbers;
pub mod session;

use crate::buffers::room;
use crate::format::segment::{ENTRY_BYTES, PREFIX_BYTES, Prefix, Segment, SegmentPack, entry, position, prefix};
use crate::format::wire::Bytes;
use crate::id::{ChunkId, Class, PackId};
use std::collections::HashMap;

/// A pack that was written: what a segment says of it.
pub struct NewPack {
    /// Its class.
    pub class: Class,
    /// Its id.
    pub id: PackId,
    /// Its length.
    pub bytes: u64,
    /// The prefixes of its chunks, in order: half of what their ids take, and some of these wait for a segment.
    prefixes: Vec<u8>,
}

impl NewPack {
    /// `ids` are whole chunk ids.
    pub fn new(class: Class, id: PackId, bytes: u64, ids: &[u8]) -> Self {
        let mut prefixes = room(ids.len() / ChunkId::BYTES * PREFIX_BYTES);
        for id in ids.as_chunks::<{ ChunkId::BYTES }>().0 {
            prefixes.extend_from_slice(&id[..PREFIX_BYTES]);
        }
        NewPack { class, id, bytes, prefixes }
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> usize {
        self.prefixes.len() / PREFIX_BYTES
    }
}

/// A pack that the index speaks of.
#[derive(Clone, Debug)]
pub struct IndexPack {
    /// Its class.
    pub class: Class,
    /// Its id.
    pub id: PackId,
    /// Its length.
    pub bytes: u64,
    /// Whether new snapshots may rely on it.
    pub usable: bool,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Number of the pack in this index.
    pub pack: u32,
    /// Number of the chunk in the pack.
    pub chunk: u32,
}

#[derive(Clone, Copy)]
struct Row {
    prefix: Prefix,
    at: Location,
}

/// Rows in order, with the places where each pair of leading bytes begins.
struct Run {
    rows: Vec<Row>,
    buckets: Vec<u32>,
}

fn bucket(prefix: &Prefix) -> usize {
    usize::from(u16::from_be_bytes([prefix[0], prefix[1]]))
}

impl Run {
    fn new(mut rows: Vec<Row>) -> Self {
        // A stable sort merges runs that are sorted already, as segments are.
        rows.sort_by_key(|row| row.prefix);
        let mut buckets = vec![0u32; (1 << 16) + 1];
        for row in &rows {
            buckets[bucket(&row.prefix) + 1] += 1;
        }
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        Run { rows, buckets }
    }

    fn find(&self, prefix: Prefix) -> impl Iterator<Item = Location> + use<'_> {
        let b = bucket(&prefix);
        let rows = &self.rows[self.buckets[b] as usize..self.buckets[b + 1] as usize];
        let at = rows.partition_point(|row| row.prefix < prefix);
        rows[at..].iter().take_while(move |row| row.prefix == prefix).map(|row| row.at)
    }
}

/// All that is known of where chunks are.
#[derive(Default)]
pub struct Index {
    packs: Vec<IndexPack>,
    numbers: HashMap<PackId, u32>,
    runs: Vec<Run>,
}

impl std::fmt::Debug for Index {
    /// How much it knows: all of it is nothing to read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("packs", &self.packs.len()).field("chunks", &self.chunk_count()).finish()
    }
}

impl Index {
    /// From segments; each was checked with [`Segment::checked`] by whoever read it.
    pub fn new(segments: Vec<Segment>) -> Self {
        let mut index = Index::default();
        index.add(segments);
        index
    }

    /// Adds what further segments say.
    pub fn add(&mut self, segments: Vec<Segment>) {
        let mut rows = Vec::new();
        for segment in segments {
            let numbers: Vec<u32> = segment.packs.iter().map(|p| self.number(p)).collect();
            for e in segment.entries.0.as_chunks::<ENTRY_BYTES>().0 {
                let (pack, chunk) = position(e);
                let Some(pack) = numbers.get(pack as usize) else { continue };
                let mut prefix = [0; PREFIX_BYTES];
                prefix.copy_from_slice(&e[..PREFIX_BYTES]);
                rows.push(Row { prefix, at: Location { pack: *pack, chunk } });
            }
        }
        if rows.is_empty() {
            return;
        }
        // Few runs, so that a lookup stays one or two probes: a run smaller than half of the rows to come joins them.
        while self.runs.last().is_some_and(|last| last.rows.len() < rows.len() * 2) {
            if let Some(last) = self.runs.pop() {
                rows.extend(last.rows);
            }
        }
        self.runs.push(Run::new(rows));
    }

    fn number(&mut self, pack: &SegmentPack) -> u32 {
        *self.numbers.entry(pack.id).or_insert_with(|| {
            self.packs.push(IndexPack { class: pack.class, id: pack.id, bytes: pack.bytes, usable: true });
            (self.packs.len() - 1) as u32
        })
    }

    /// The packs, by number.
    pub fn packs(&self) -> &[IndexPack] {
        &self.packs
    }

    /// The number of a pack, where some segment speaks of it.
    pub fn pack_number(&self, id: &PackId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// How many rows speak of each pack, by its number.
    pub fn rows_per_pack(&self) -> Vec<u64> {
        let mut counts = vec![0; self.packs.len()];
        for row in self.runs.iter().flat_map(|run| &run.rows) {
            counts[row.at.pack as usize] += 1;
        }
        counts
    }

    /// Whether some segment speaks of this pack.
    pub fn knows_pack(&self, id: &PackId) -> bool {
        self.numbers.contains_key(id)
    }

    /// Decides anew which packs new snapshots may rely on.
    pub fn set_usable(&mut self, mut usable: impl FnMut(&IndexPack) -> bool) {
        for pack in &mut self.packs {
            pack.usable = usable(pack);
        }
    }

    /// Every place of a chunk of `class`.
    pub fn find(&self, class: Class, id: &ChunkId) -> impl Iterator<Item = Location> + '_ {
        let prefix = prefix(id);
        let of_class = move |at: &Location| self.packs.get(at.pack as usize).is_some_and(|p| p.class == class);
        self.runs.iter().flat_map(move |run| run.find(prefix)).filter(of_class)
    }

    /// Whether a chunk of `class` is in a pack that new snapshots may rely on.
    pub fn has(&self, class: Class, id: &ChunkId) -> bool {
        self.find(class, id).any(|at| self.packs[at.pack as usize].usable)
    }

    /// How many rows there are; a chunk in two packs counts twice.
    pub fn chunk_count(&self) -> u64 {
        self.runs.iter().map(|run| run.rows.len() as u64).sum()
    }
}

/// Builds the segment that names `packs`.
pub fn build_segment(packs: &[NewPack]) -> Segment {
    let mut entries = room(packs.iter().map(|pack| pack.chunks() * ENTRY_BYTES).sum());
    for (number, pack) in packs.iter().enumerate() {
        for (chunk, prefix) in pack.prefixes.as_chunks::<PREFIX_BYTES>().0.iter().enumerate() {
            entries.extend_from_slice(&entry(prefix, number as u32, chunk as u32));
        }
    }
    entries.as_chunks_mut::<ENTRY_BYTES>().0.sort_unstable();
    let row = |p: &NewPack| SegmentPack { class: p.class, id: p.id, bytes: p.bytes, extra: Vec::new() };
    Segment { packs: packs.iter().map(row).collect(), entries: Bytes(entries), extra: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ChunkId {
        ChunkId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn pack(n: u8, class: Class, ids: std::ops::Range<u64>) -> NewPack {
        let ids: Vec<u8> = ids.flat_map(|i| *id(i).as_bytes()).collect();
        NewPack::new(class, PackId::new([n; 32]), 1000, &ids)
    }

    #[test]
    fn every_chunk_is_found_in_its_class_and_no_other() {
        let mut index = Index::new(vec![build_segment(&[pack(1, Class::Data, 0..5000), pack(2, Class::Names, 5000..5100)])]);
        index.add(vec![build_segment(&[pack(3, Class::Data, 4990..5010)])]);
        for i in 0..5000 {
            let want = Location { pack: 0, chunk: i as u32 };
            assert!(index.find(Class::Data, &id(i)).any(|at| at == want));
            assert!(!index.has(Class::Names, &id(i)));
        }
        assert!(index.has(Class::Names, &id(5050)) && !index.has(Class::Data, &id(5050)) && !index.has(Class::Data, &id(9999)));
        assert_eq!(index.find(Class::Data, &id(4995)).count(), 2);
        index.set_usable(|p| p.id != PackId::new([1; 32]));
        assert!(!index.has(Class::Data, &id(7)) && index.has(Class::Data, &id(4995)));
    }

    #[test]
    fn a_segment_passes_its_own_check() {
        let segment = build_segment(&[pack(1, Class::Data, 0..100)]);
        assert_eq!(segment.checked().unwrap().len(), 100);
        let mut bad = segment.clone();
        bad.entries.0.pop();
        assert!(bad.checked().is_none());
    }
}
