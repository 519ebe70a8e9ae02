//! The index as those need it who look at all of it: where each chunk is, and whether it is needed, in 18 bytes a chunk.
//! Ten million chunks take 180 MB here; the index that a backup looks up in takes a third more, and cannot be written on.

use crate::format::segment::{ENTRY_BYTES, Segment, position};
use crate::id::{ChunkId, Class, PackId};
use rayon::slice::ParallelSliceMut;
use std::collections::HashMap;

/// Bytes of an id that a row holds: at 10^8 chunks two of them share these with a chance of 10^-13. (A segment holds 16.)
const KEY_BYTES: usize = 12;
/// Pack number (24 bits), chunk number (20 bits), flags (4 bits).
const PLACE_BYTES: usize = 6;
const ROW_BYTES: usize = KEY_BYTES + PLACE_BYTES;
const CHUNK_SHIFT: u32 = 4;
const PACK_SHIFT: u32 = CHUNK_SHIFT + 20;
/// Packs that rows can tell apart: half a petabyte in packs of the usual size.
const PACKS_MAX: usize = 1 << 24;

/// Something needs the chunk. Stands on one of its rows.
const NEEDED: u64 = 1;
/// This copy is the one to stay.
const KEPT: u64 = 2;

type Key = [u8; KEY_BYTES];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row([u8; ROW_BYTES]);

impl Row {
    fn new(id: &[u8], pack: u32, chunk: u32) -> Self {
        let mut row = [0; ROW_BYTES];
        row[..KEY_BYTES].copy_from_slice(&id[..KEY_BYTES]);
        let mut row = Row(row);
        row.set_place(u64::from(pack) << PACK_SHIFT | u64::from(chunk) << CHUNK_SHIFT);
        row
    }

    fn key(&self) -> Key {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&self.0[..KEY_BYTES]);
        key
    }

    fn place(&self) -> u64 {
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(&self.0[KEY_BYTES..]);
        u64::from_be_bytes(wide)
    }

    fn set_place(&mut self, place: u64) {
        self.0[KEY_BYTES..].copy_from_slice(&place.to_be_bytes()[2..]);
    }

    fn pack(&self) -> u32 {
        (self.place() >> PACK_SHIFT) as u32
    }

    fn chunk(&self) -> u32 {
        (self.place() >> CHUNK_SHIFT) as u32 & ((1 << 20) - 1)
    }

    fn is(&self, flag: u64) -> bool {
        self.place() & flag != 0
    }

    fn set(&mut self, flag: u64) {
        self.set_place(self.place() | flag);
    }
}

/// A copy of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Number of its pack.
    pub pack: u32,
    /// Its number there.
    pub chunk: u32,
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
    /// It is nowhere.
    Missing,
}

/// All rows, in sorted runs: one of what was there at first, and small ones of what came later.
#[derive(Default)]
pub struct Rows {
    packs: Vec<PackRow>,
    numbers: HashMap<PackId, u32>,
    runs: Vec<Vec<Row>>,
    open: Vec<Row>,
}

impl Rows {
    /// With room for about so many rows, so that memory is taken once.
    pub fn with_room(rows: usize) -> Self {
        Rows { open: Vec::with_capacity(rows), ..Rows::default() }
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
                self.open.push(Row::new(&entry[..], *number, chunk));
            }
        }
        true
    }

    /// Takes in what the footer of a pack says that no segment names. `ids` are whole chunk ids.
    pub fn add_footer(&mut self, class: Class, id: PackId, bytes: u64, ids: &[u8]) -> bool {
        let Some(number) = self.enter(class, id, bytes) else { return false };
        for (chunk, id) in ids.as_chunks::<{ ChunkId::BYTES }>().0.iter().enumerate() {
            self.open.push(Row::new(id, number, chunk as u32));
        }
        true
    }

    /// Sorts what was taken in since the last time. Two segments that say the same of a pack count once.
    pub fn settle(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut run = std::mem::take(&mut self.open);
        run.par_sort_unstable();
        run.dedup();
        run.retain(|row| {
            !self
                .runs
                .iter()
                .any(|older| find(older, row.key()).iter().any(|known| known.pack() == row.pack() && known.chunk() == row.chunk()))
        });
        for row in &run {
            self.packs[row.pack() as usize].chunks += 1;
        }
        // Few small runs: every question asks all of them.
        if self.runs.len() > 2
            && let Some(last) = self.runs.pop()
        {
            run.extend(last);
            run.par_sort_unstable();
        }
        self.runs.push(run);
    }

    /// How many rows there are.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.len() as u64).sum()
    }

    /// The number of the first row of a chunk: the same one for whoever asks, until something more is taken in.
    pub fn first(&self, class: Class, id: &ChunkId) -> Option<usize> {
        let key = Row::new(id.as_bytes(), 0, 0).key();
        let mut before = 0;
        for run in &self.runs {
            let from = lower_bound(run, key);
            let of = |row: &Row| self.packs[row.pack() as usize].class == class;
            if let Some(at) = run[from..].iter().take_while(|row| row.key() == key).position(of) {
                return Some(before + from + at);
            }
            before += run.len();
        }
        None
    }

    /// The copy that a row is.
    pub fn at(&self, number: usize) -> Option<Copy> {
        let mut number = number;
        for run in &self.runs {
            match run.get(number) {
                Some(row) => return Some(Copy { pack: row.pack(), chunk: row.chunk() }),
                None => number -= run.len(),
            }
        }
        None
    }

    /// Whether a chunk has a copy like this.
    pub fn any(&self, class: Class, id: &ChunkId, like: impl Fn(Copy) -> bool) -> bool {
        let key = Row::new(id.as_bytes(), 0, 0).key();
        let mut rows = self.runs.iter().flat_map(|run| find(run, key)).filter(|row| self.packs[row.pack() as usize].class == class);
        rows.any(|row| like(Copy { pack: row.pack(), chunk: row.chunk() }))
    }

    /// A chunk is needed.
    pub fn need(&mut self, class: Class, id: &ChunkId) -> Need {
        let key = Row::new(id.as_bytes(), 0, 0).key();
        let mut first = None;
        for (number, run) in self.runs.iter().enumerate() {
            let from = lower_bound(run, key);
            for (at, row) in run.iter().enumerate().skip(from).take_while(|(_, row)| row.key() == key) {
                if self.packs[row.pack() as usize].class != class {
                    continue;
                }
                if row.is(NEEDED) {
                    return Need::Again;
                }
                first = first.or(Some((number, at)));
            }
        }
        let Some((run, at)) = first else { return Need::Missing };
        self.runs[run][at].set(NEEDED);
        Need::First
    }

    /// Calls `each` for every chunk that is needed, with all of its copies. It returns which one is to stay.
    pub fn choose(&mut self, mut each: impl FnMut(&[PackRow], &[Copy]) -> Option<usize>) {
        let mut copies: Vec<(usize, usize)> = Vec::new();
        let mut places: Vec<Copy> = Vec::new();
        for number in 0..self.runs.len() {
            for at in 0..self.runs[number].len() {
                let row = self.runs[number][at];
                if !row.is(NEEDED) {
                    continue;
                }
                let (key, class) = (row.key(), self.packs[row.pack() as usize].class);
                copies.clear();
                places.clear();
                for (n, run) in self.runs.iter().enumerate() {
                    let from = if n == number { first_of(run, at, key) } else { lower_bound(run, key) };
                    for (i, row) in run.iter().enumerate().skip(from).take_while(|(_, row)| row.key() == key) {
                        if self.packs[row.pack() as usize].class == class {
                            copies.push((n, i));
                            places.push(Copy { pack: row.pack(), chunk: row.chunk() });
                        }
                    }
                }
                if let Some((n, i)) = each(&self.packs, &places).and_then(|kept| copies.get(kept)) {
                    self.runs[*n][*i].set(KEPT);
                }
            }
        }
    }

    /// Every copy that is to stay.
    pub fn kept(&self) -> impl Iterator<Item = Copy> + '_ {
        self.runs.iter().flatten().filter(|row| row.is(KEPT)).map(|row| Copy { pack: row.pack(), chunk: row.chunk() })
    }
}

/// The first row of `key` before or at `at`.
fn first_of(run: &[Row], at: usize, key: Key) -> usize {
    (0..at).rev().take_while(|i| run[*i].key() == key).last().unwrap_or(at)
}

/// Ids are as good as random: where one would stand is a good guess of where it stands.
fn lower_bound(run: &[Row], key: Key) -> usize {
    let head = |key: &Key| u64::from_be_bytes([key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7]]);
    let guess = ((u128::from(head(&key)) * run.len() as u128) >> 64) as usize;
    let mut step = 16;
    let (mut low, mut high) = (guess.saturating_sub(step), (guess + step).min(run.len()));
    while low > 0 && run[low - 1].key() >= key {
        step *= 4;
        low = low.saturating_sub(step);
    }
    while high < run.len() && run[high].key() < key {
        step *= 4;
        high = (high + step).min(run.len());
    }
    low + run[low..high].partition_point(|row| row.key() < key)
}

fn find(run: &[Row], key: Key) -> &[Row] {
    let from = lower_bound(run, key);
    let count = run[from..].iter().take_while(|row| row.key() == key).count();
    &run[from..from + count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{NewPack, build_segment};

    fn id(n: u64) -> ChunkId {
        ChunkId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn pack(n: u8, class: Class, ids: std::ops::Range<u64>) -> NewPack {
        let ids = ids.flat_map(|i| *id(i).as_bytes()).collect();
        NewPack { class, id: PackId::new([n; 32]), bytes: 1000, ids }
    }

    fn rows() -> Rows {
        let mut rows = Rows::with_room(0);
        assert!(rows.add_segment(&build_segment(&[pack(1, Class::Data, 0..5000), pack(2, Class::Lists, 5000..5100)])));
        // The same pack once more, as while segments are merged.
        assert!(rows.add_segment(&build_segment(&[pack(2, Class::Lists, 5000..5100)])));
        rows.settle();
        let late = pack(3, Class::Data, 4990..5010);
        assert!(rows.add_footer(Class::Data, late.id, late.bytes, &late.ids));
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
        let mut seen = Vec::new();
        rows.choose(|packs, copies| {
            seen.push(copies.len());
            copies.iter().position(|copy| packs[copy.pack as usize].id == PackId::new([3; 32]))
        });
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        let kept: Vec<Copy> = rows.kept().collect();
        assert!(kept.len() == 2 && kept.iter().all(|copy| copy.pack == 2), "{kept:?}");
    }
}
