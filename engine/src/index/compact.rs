//! The index as those need it who look at all of it: where each chunk is, and whether it is needed, in 16 bytes a chunk.
//! Ten million chunks take 160 MB here; the index that a backup looks up in takes half as much more, and cannot be written on.

use crate::format::segment::{ENTRY_BYTES, Segment, position};
use crate::id::{ChunkId, Class, PackId};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of an id that tell chunks apart: at 10^8 of them two share these with a chance of 10^-13. (A segment holds 16.)
const KEY_BYTES: usize = 12;
/// Of these so many are said by where a row stands.
const BUCKET_BYTES: usize = 2;
const BUCKETS: usize = 1 << (8 * BUCKET_BYTES);
/// Pack number (24 bits), chunk number (20 bits), flags (4 bits).
const PLACE_BYTES: usize = 6;
/// A row with all of its key, on its way into a run; and without the bucket.
const WIDE_BYTES: usize = KEY_BYTES + PLACE_BYTES;
const ROW_BYTES: usize = WIDE_BYTES - BUCKET_BYTES;
const _: () = assert!(WIDE_BYTES == size_of::<u128>() + size_of::<u16>());
const REST_BYTES: usize = KEY_BYTES - BUCKET_BYTES;
const CHUNK_SHIFT: u32 = 4;
const PACK_SHIFT: u32 = CHUNK_SHIFT + 20;
/// Packs that rows can tell apart: half a petabyte in packs of the usual size.
const PACKS_MAX: usize = 1 << 24;

/// Chunks that one thread looks up at a time: their rows fit into its cache.
const LOOKED_UP: usize = 1024;

/// Something needs the chunk. Stands on one of its rows.
const NEEDED: u64 = 1;
/// This copy is the one to stay.
const KEPT: u64 = 2;
/// All that hangs below the node is needed too, and was found. Stands beside [`NEEDED`].
const WALKED: u64 = 4;

/// What a row says of a key, as a number: to compare bytes one after the other takes longer than to fetch them.
type Rest = u128;

/// A chunk: its bucket, and the rest of what tells it from others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    bucket: usize,
    rest: Rest,
}

impl Key {
    fn of(id: &ChunkId) -> Self {
        let mut row = [0; ROW_BYTES];
        row[..REST_BYTES].copy_from_slice(&id.as_bytes()[BUCKET_BYTES..KEY_BYTES]);
        Key { bucket: bucket(id.as_bytes()), rest: rest(&row) }
    }
}

fn bucket(id: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([id[0], id[1]]))
}

fn wide(id: &[u8], pack: u32, chunk: u32) -> [u8; WIDE_BYTES] {
    let mut row = [0; WIDE_BYTES];
    row[..KEY_BYTES].copy_from_slice(&id[..KEY_BYTES]);
    let place = u64::from(pack) << PACK_SHIFT | u64::from(chunk) << CHUNK_SHIFT;
    row[KEY_BYTES..].copy_from_slice(&place.to_be_bytes()[2..]);
    row
}

type Row = [u8; ROW_BYTES];
const _: () = assert!(ROW_BYTES == size_of::<Rest>());

/// The most significant bytes of a row.
fn rest(row: &Row) -> Rest {
    Rest::from_be_bytes(*row) >> (8 * PLACE_BYTES)
}

/// The least significant ones.
fn place(row: &Row) -> u64 {
    Rest::from_be_bytes(*row) as u64 & ((1 << (8 * PLACE_BYTES)) - 1)
}

fn set(row: &mut Row, flag: u64) {
    let place = place(row) | flag;
    row[REST_BYTES..].copy_from_slice(&place.to_be_bytes()[2..]);
}

fn is(row: &Row, flag: u64) -> bool {
    place(row) & flag != 0
}

fn copy(row: &Row) -> Copy {
    let place = place(row);
    Copy { pack: (place >> PACK_SHIFT) as u32, chunk: (place >> CHUNK_SHIFT) as u32 & ((1 << 20) - 1), kept: place & KEPT != 0 }
}

/// Rows in order, and where each bucket begins.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    buckets: Vec<u32>,
}

impl Run {
    /// Of wide rows, in the memory that these are in. Those for which `known` holds are left out, and of equal ones all but one.
    fn new(mut bytes: Vec<u8>, known: impl Fn(Key, Copy) -> bool) -> Self {
        // By numbers: they are compared faster than bytes.
        let number = |row: &[u8; WIDE_BYTES]| {
            let mut high = [0; size_of::<u128>()];
            high.copy_from_slice(&row[..size_of::<u128>()]);
            (u128::from_be_bytes(high), row[size_of::<u128>()..].first_chunk().copied().map(u16::from_be_bytes))
        };
        bytes.as_chunks_mut::<WIDE_BYTES>().0.par_sort_unstable_by_key(number);
        let mut buckets = vec![0u32; BUCKETS + 1];
        let (mut kept, mut last) = (0, None);
        for at in 0..bytes.len() / WIDE_BYTES {
            let mut row = [0; WIDE_BYTES];
            row.copy_from_slice(&bytes[at * WIDE_BYTES..(at + 1) * WIDE_BYTES]);
            let mut narrow = [0; ROW_BYTES];
            narrow.copy_from_slice(&row[BUCKET_BYTES..]);
            let key = Key { bucket: bucket(&row), rest: rest(&narrow) };
            if last == Some(row) || known(key, copy(&narrow)) {
                continue;
            }
            last = Some(row);
            // Never ahead of what is still to be read: a row only becomes shorter.
            bytes[kept * ROW_BYTES..(kept + 1) * ROW_BYTES].copy_from_slice(&narrow);
            buckets[key.bucket + 1] += 1;
            kept += 1;
        }
        bytes.truncate(kept * ROW_BYTES);
        bytes.shrink_to_fit();
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        Run { bytes, buckets }
    }

    fn rows(&self) -> &[Row] {
        self.bytes.as_chunks().0
    }

    fn rows_mut(&mut self) -> &mut [Row] {
        self.bytes.as_chunks_mut().0
    }

    fn len(&self) -> usize {
        self.bytes.len() / ROW_BYTES
    }

    fn bucket(&self, bucket: usize) -> Range<usize> {
        self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize
    }

    /// Where the rows of a chunk are.
    fn find(&self, key: Key) -> Range<usize> {
        let range = self.bucket(key.bucket);
        let rows = &self.rows()[range.clone()];
        let from = rows.partition_point(|row| rest(row) < key.rest);
        let count = rows[from..].iter().take_while(|row| rest(row) == key.rest).count();
        range.start + from..range.start + from + count
    }

    /// Fetches the rows of chunks from memory, so that those who look them up need not wait for one after the other: these reads do not
    /// depend on each other, and a processor has many of them under way.
    fn touch(&self, ids: &[ChunkId]) {
        let middle = |id: &ChunkId| {
            let range = self.bucket(bucket(id.as_bytes()));
            self.rows().get(usize::midpoint(range.start, range.end)).map_or(0, |row| row[0])
        };
        std::hint::black_box(ids.iter().map(middle).fold(0, |all, byte| all ^ byte));
    }

    /// As wide rows again.
    fn widen(&self, into: &mut Vec<u8>) {
        for bucket in 0..BUCKETS {
            for row in &self.rows()[self.bucket(bucket)] {
                into.extend_from_slice(&(bucket as u16).to_be_bytes());
                into.extend_from_slice(row);
            }
        }
    }
}

/// A copy of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Number of its pack.
    pub pack: u32,
    /// Its number there.
    pub chunk: u32,
    /// Whether it was chosen to stay.
    pub kept: bool,
}

/// A pack that rows speak of.
#[derive(Clone, Copy, Debug)]
pub struct PackRow {
    /// Its class.
    pub class: Class,
    /// Its id.
    pub id: PackId,
    /// Its length.
    pub bytes: u64,
    /// Chunks in it, as the index or its footer says.
    pub chunks: u32,
}

/// What [`Rows::need`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody had asked for it before.
    First,
    /// It was needed before.
    Again,
    /// It was needed before, and all that hangs below it too.
    Walked,
    /// It is nowhere.
    Missing,
}

/// All rows, in sorted runs: one of what was there at first, and small ones of what came later.
#[derive(Default)]
pub struct Rows {
    packs: Vec<PackRow>,
    numbers: HashMap<PackId, u32>,
    runs: Vec<Run>,
    /// Wide rows that are in no run yet.
    open: Vec<u8>,
}

impl Rows {
    /// With room for about so many rows, so that memory is taken once.
    pub fn with_room(rows: usize) -> Self {
        Rows { open: Vec::with_capacity(rows.saturating_mul(WIDE_BYTES)), ..Rows::default() }
    }

    /// The packs, by number.
    pub fn packs(&self) -> &[PackRow] {
        &self.packs
    }

    /// The number of a pack.
    pub fn number(&self, id: &PackId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    fn enter(&mut self, class: Class, id: PackId, bytes: u64) -> Option<u32> {
        if let Some(number) = self.number(&id) {
            return Some(number);
        }
        let number = u32::try_from(self.packs.len()).ok().filter(|n| (*n as usize) < PACKS_MAX)?;
        self.numbers.insert(id, number);
        self.packs.push(PackRow { class, id, bytes, chunks: 0 });
        Some(number)
    }

    /// Takes in what a segment says; it was checked by whoever read it. `false` where there are more packs than rows can tell apart.
    pub fn add_segment(&mut self, segment: &Segment) -> bool {
        let mut numbers = Vec::with_capacity(segment.packs.len());
        for pack in &segment.packs {
            let Some(number) = self.enter(pack.class, pack.id, pack.bytes) else { return false };
            numbers.push(number);
        }
        for entry in segment.entries.0.as_chunks::<ENTRY_BYTES>().0 {
            let (pack, chunk) = position(entry);
            if let Some(number) = numbers.get(pack as usize) {
                self.open.extend_from_slice(&wide(entry, *number, chunk));
            }
        }
        true
    }

    /// Takes in what the footer of a pack says that no segment names. `ids` are whole chunk ids.
    pub fn add_footer(&mut self, class: Class, id: PackId, bytes: u64, ids: &[u8]) -> bool {
        let Some(number) = self.enter(class, id, bytes) else { return false };
        for (chunk, id) in ids.as_chunks::<{ ChunkId::BYTES }>().0.iter().enumerate() {
            self.open.extend_from_slice(&wide(id, number, chunk as u32));
        }
        true
    }

    /// Sorts what was taken in since the last time. Two segments that say the same of a pack count once.
    pub fn settle(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut open = std::mem::take(&mut self.open);
        // Few small runs: every question asks all of them.
        if self.runs.len() > 2
            && let Some(last) = self.runs.pop()
        {
            last.rows().iter().for_each(|row| self.packs[copy(row).pack as usize].chunks -= 1);
            last.widen(&mut open);
        }
        let runs = &self.runs;
        let run = Run::new(open, |key, new| {
            let same = |row: &Row| (copy(row).pack, copy(row).chunk) == (new.pack, new.chunk);
            runs.iter().any(|run| run.rows()[run.find(key)].iter().any(same))
        });
        run.rows().iter().for_each(|row| self.packs[copy(row).pack as usize].chunks += 1);
        self.runs.push(run);
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.len() as u64).sum()
    }

    fn of_class(&self, row: &Row, class: Class) -> bool {
        self.packs[copy(row).pack as usize].class == class
    }

    /// The number of the first row of a chunk: the same one for whoever asks, until something more is taken in.
    pub fn first(&self, class: Class, id: &ChunkId) -> Option<usize> {
        let key = Key::of(id);
        let mut before = 0;
        for run in &self.runs {
            let found = run.find(key);
            if let Some(at) = run.rows()[found.clone()].iter().position(|row| self.of_class(row, class)) {
                return Some(before + found.start + at);
            }
            before += run.len();
        }
        None
    }

    /// The copy that a row is.
    pub fn at(&self, number: usize) -> Option<Copy> {
        let mut number = number;
        for run in &self.runs {
            match run.rows().get(number) {
                Some(row) => return Some(copy(row)),
                None => number -= run.len(),
            }
        }
        None
    }

    /// Whether a chunk has a copy like this.
    pub fn any(&self, class: Class, id: &ChunkId, like: impl Fn(Copy) -> bool) -> bool {
        let key = Key::of(id);
        let mut rows = self.runs.iter().flat_map(|run| &run.rows()[run.find(key)]).filter(|row| self.of_class(row, class));
        rows.any(|row| like(copy(row)))
    }

    /// A chunk is needed.
    pub fn need(&mut self, class: Class, id: &ChunkId) -> Need {
        match self.look(class, id) {
            Ok((run, at)) => {
                set(&mut self.runs[run].rows_mut()[at], NEEDED);
                Need::First
            }
            Err(need) => need,
        }
    }

    /// The row on which it is to stand that a chunk is needed, or what is known of that.
    fn look(&self, class: Class, id: &ChunkId) -> Result<(usize, usize), Need> {
        let key = Key::of(id);
        let mut first = Err(Need::Missing);
        for (number, run) in self.runs.iter().enumerate() {
            let found = run.find(key);
            for (at, row) in run.rows()[found.clone()].iter().enumerate().filter(|(_, row)| self.of_class(row, class)) {
                if is(row, NEEDED) {
                    return Err(if is(row, WALKED) { Need::Walked } else { Need::Again });
                }
                first = first.or(Ok((number, found.start + at)));
            }
        }
        first
    }

    /// Chunks are needed. Returns one that is nowhere.
    pub fn need_all(&mut self, class: Class, ids: &[ChunkId]) -> Option<ChunkId> {
        let look = |ids: &[ChunkId]| -> Vec<_> {
            self.runs.iter().for_each(|run| run.touch(ids));
            ids.iter().map(|id| self.look(class, id)).collect()
        };
        let few = ids.len() <= LOOKED_UP;
        let found: Vec<_> = if few { look(ids) } else { ids.par_chunks(LOOKED_UP).flat_map_iter(look).collect() };
        let mut missing = None;
        for (found, id) in found.into_iter().zip(ids) {
            match found {
                Ok((run, at)) => set(&mut self.runs[run].rows_mut()[at], NEEDED),
                Err(Need::Missing) => missing = missing.or(Some(*id)),
                Err(_) => {}
            }
        }
        missing
    }

    /// All that hangs below a node that is needed was found.
    pub fn walked(&mut self, class: Class, id: &ChunkId) {
        let key = Key::of(id);
        for at in 0..self.runs.len() {
            for row in self.runs[at].find(key) {
                let found = self.runs[at].rows()[row];
                if is(&found, NEEDED) && self.of_class(&found, class) {
                    set(&mut self.runs[at].rows_mut()[row], WALKED);
                }
            }
        }
    }

    /// Calls `each` for every chunk that is needed, with all of its copies. It returns which one is to stay.
    pub fn choose(&mut self, mut each: impl FnMut(&[PackRow], &[Copy]) -> Option<usize>) {
        let mut rows: Vec<(usize, usize)> = Vec::new();
        let mut copies: Vec<Copy> = Vec::new();
        for number in 0..self.runs.len() {
            for bucket in 0..BUCKETS {
                for at in self.runs[number].bucket(bucket) {
                    let row = self.runs[number].rows()[at];
                    if !is(&row, NEEDED) {
                        continue;
                    }
                    let class = self.packs[copy(&row).pack as usize].class;
                    let key = Key { bucket, rest: rest(&row) };
                    rows.clear();
                    copies.clear();
                    for (n, run) in self.runs.iter().enumerate() {
                        let found = if n == number { around(run, bucket, at) } else { run.find(key) };
                        for i in found.filter(|i| self.of_class(&run.rows()[*i], class)) {
                            rows.push((n, i));
                            copies.push(copy(&run.rows()[i]));
                        }
                    }
                    if let Some((n, i)) = each(&self.packs, &copies).and_then(|kept| rows.get(kept)) {
                        set(&mut self.runs[*n].rows_mut()[*i], KEPT);
                    }
                }
            }
        }
    }

    /// Every copy that is to stay.
    pub fn kept(&self) -> impl Iterator<Item = Copy> + '_ {
        self.runs.iter().flat_map(Run::rows).filter(|row| is(row, KEPT)).map(copy)
    }
}

/// The rows of one chunk, of which one is known.
fn around(run: &Run, bucket: usize, at: usize) -> Range<usize> {
    let (rows, range) = (run.rows(), run.bucket(bucket));
    let same = |i: &usize| rest(&rows[*i]) == rest(&rows[at]);
    let start = (range.start..at).rev().take_while(same).last().unwrap_or(at);
    start..at + 1 + (at + 1..range.end).take_while(same).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{NewPack, build_segment};

    fn id(n: u64) -> ChunkId {
        ChunkId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn whole(ids: std::ops::Range<u64>) -> Vec<u8> {
        ids.flat_map(|i| *id(i).as_bytes()).collect()
    }

    fn pack(n: u8, class: Class, ids: std::ops::Range<u64>) -> NewPack {
        NewPack::new(class, PackId::new([n; 32]), 1000, &whole(ids))
    }

    fn rows() -> Rows {
        let mut rows = Rows::with_room(0);
        assert!(rows.add_segment(&build_segment(&[pack(1, Class::Data, 0..5000), pack(2, Class::Lists, 5000..5100)])));
        // The same pack once more, as while segments are merged.
        assert!(rows.add_segment(&build_segment(&[pack(2, Class::Lists, 5000..5100)])));
        rows.settle();
        assert!(rows.add_footer(Class::Data, PackId::new([3; 32]), 1000, &whole(4990..5010)));
        rows.settle();
        rows
    }

    #[test]
    fn every_copy_is_found_in_its_class_once() {
        let mut rows = rows();
        assert_eq!(rows.count(), 5120);
        for n in 0..5000 {
            assert_eq!(rows.need(Class::Lists, &id(n)), Need::Missing);
            assert_eq!(rows.need(Class::Data, &id(n)), Need::First);
        }
        let mut seen = std::collections::BTreeSet::new();
        rows.choose(|_, copies| {
            seen.extend(copies.iter().map(|copy| (copy.pack, copy.chunk)));
            None
        });
        let want = (0..5000).map(|n| (0, n)).chain((0..10).map(|n| (2, n)));
        assert_eq!(seen, want.collect());
        assert_eq!(rows.packs().iter().map(|pack| pack.chunks).collect::<Vec<_>>(), [5000, 100, 20]);
    }

    #[test]
    fn of_what_is_needed_one_copy_stays() {
        let mut rows = rows();
        assert_eq!(rows.need(Class::Data, &id(4995)), Need::First);
        assert_eq!(rows.need(Class::Data, &id(4995)), Need::Again);
        assert_eq!(rows.need(Class::Data, &id(5007)), Need::First);
        assert_eq!(rows.need(Class::Names, &id(4995)), Need::Missing);
        assert_eq!(rows.need(Class::Data, &id(99_999)), Need::Missing);
        // Many at a time, of which some are known and one is asked for twice.
        assert_eq!(rows.need_all(Class::Lists, &[id(5001), id(5001), id(5002)]), None);
        assert_eq!(rows.need_all(Class::Lists, &[id(5003), id(99_999), id(5002)]), Some(id(99_999)));
        assert_eq!(rows.need(Class::Lists, &id(5001)), Need::Again);
        assert_eq!(rows.need(Class::Lists, &id(5003)), Need::Again);
        let mut seen = Vec::new();
        rows.choose(|packs, copies| {
            if copies.iter().all(|copy| packs[copy.pack as usize].class == Class::Lists) {
                return None;
            }
            seen.push(copies.len());
            copies.iter().position(|copy| packs[copy.pack as usize].id == PackId::new([3; 32]))
        });
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        let kept: Vec<Copy> = rows.kept().collect();
        assert!(kept.len() == 2 && kept.iter().all(|copy| copy.pack == 2), "{kept:?}");
    }
}
