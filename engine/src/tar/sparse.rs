//! Maps of sparse files: which stretches of a file an archive holds. GNU tar has four forms of them (old, pax 0.0, 0.1 and 1.0).
//! A map that overlaps, runs backwards or past the end is refused before any of it is used.

use super::{BLOCK, Block, number, padding, pax};

/// Stretches that a map may have: 16 MiB of them.
pub const STRETCHES_MAX: usize = 1 << 20;

/// Offset and length of each stretch of data.
pub type Map = Vec<(u64, u64)>;

/// The pairs of a header or block of the old form, up to the first that is empty.
pub fn old_pairs(field: &[u8]) -> Option<Map> {
    let mut pairs = Map::new();
    for pair in field.chunks_exact(24) {
        // A pair that was never filled in ends the map.
        if pair[0] == 0 {
            break;
        }
        let part = |field: &[u8]| u64::try_from(number(field)?).ok();
        pairs.push((part(&pair[..12])?, part(&pair[12..])?));
    }
    Some(pairs)
}

/// A block of the old form that goes on with a map: its pairs, and whether another one follows.
pub fn old_block(block: &Block) -> Option<(Map, bool)> {
    Some((old_pairs(&block[..504])?, block[504] != 0))
}

/// The map of form 0.1: numbers between commas.
pub fn from_list(text: &[u8]) -> Option<Map> {
    if text.is_empty() {
        return Some(Map::new());
    }
    if text.iter().filter(|b| **b == b',').count() > 2 * STRETCHES_MAX {
        return None;
    }
    let numbers = text.split(|b| *b == b',').map(pax::decimal).collect::<Option<Vec<u64>>>()?;
    let (pairs, []) = numbers.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[offset, bytes]| (*offset, *bytes)).collect())
}

/// Whether a map makes sense for a file of `size` bytes of which `stored` are in the archive.
pub fn fits(map: &[(u64, u64)], size: u64, stored: u64) -> bool {
    let mut end = 0;
    let mut sum = 0u64;
    for (offset, bytes) in map {
        if *offset < end {
            return false;
        }
        let Some(next) = offset.checked_add(*bytes) else { return false };
        (end, sum) = (next, sum.saturating_add(*bytes));
    }
    end <= size && sum == stored
}

/// A map without empty stretches, and with those joined that touch: what is one piece of a file is one, however an archive counts it.
pub fn joined(map: Map) -> Map {
    let mut out = Map::with_capacity(map.len());
    for (offset, bytes) in map.into_iter().filter(|(_, bytes)| *bytes > 0) {
        match out.last_mut() {
            Some(last) if last.0 + last.1 == offset => last.1 += bytes,
            _ => out.push((offset, bytes)),
        }
    }
    out
}

/// The map of form 1.0 as it stands before the data: a number to a line, filled up to a block.
pub fn to_lines(map: &[(u64, u64)]) -> Vec<u8> {
    let mut out = format!("{}\n", map.len()).into_bytes();
    for (offset, bytes) in map {
        out.extend_from_slice(format!("{offset}\n{bytes}\n").as_bytes());
    }
    out.resize(out.len() + padding(out.len() as u64), 0);
    out
}

/// Text that is no map.
#[derive(Debug, PartialEq, Eq)]
pub struct BadMap;

/// Reads a map of form 1.0 block by block.
#[derive(Default)]
pub struct Lines {
    map: Map,
    count: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
}

impl Lines {
    /// Takes the next block. `Some` with the map where it is complete; an error where it is none, or has too many stretches.
    pub fn take(&mut self, block: &Block) -> Result<Option<Map>, BadMap> {
        for byte in block {
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > BLOCK {
                    return Err(BadMap);
                }
                continue;
            }
            let number = pax::decimal(&self.digits).ok_or(BadMap)?;
            self.digits.clear();
            match (self.count, self.offset.take()) {
                (None, _) if number > STRETCHES_MAX as u64 => return Err(BadMap),
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.map.push((offset, number)),
            }
            if self.count == Some(self.map.len() as u64) {
                return Ok(Some(std::mem::take(&mut self.map)));
            }
        }
        Ok(None)
    }
}

/// Collects the stretches of a file that is written. Where they become too many, those with the shortest holes between them are joined:
/// the holes are written as zeros.
pub struct Stretches {
    map: Map,
    least_hole: u64,
    max: usize,
}

impl Stretches {
    /// None yet; at most `max` of them, and one for the end.
    pub fn new(max: usize) -> Self {
        Stretches { map: Map::new(), least_hole: BLOCK as u64, max }
    }

    /// Data at `offset`, behind all so far.
    pub fn data(&mut self, offset: u64, bytes: u64) {
        self.push(offset, bytes);
        while self.map.len() > self.max {
            self.least_hole *= 2;
            let map = std::mem::take(&mut self.map);
            map.into_iter().for_each(|(offset, bytes)| self.push(offset, bytes));
        }
    }

    fn push(&mut self, offset: u64, bytes: u64) {
        match self.map.last_mut() {
            Some(last) if offset - (last.0 + last.1) < self.least_hole => last.1 = offset + bytes - last.0,
            _ => self.map.push((offset, bytes)),
        }
    }

    /// The map of a file that is `size` long.
    pub fn finish(mut self, size: u64) -> Map {
        // A hole at the end has to be told from a shorter file.
        if self.map.last().is_none_or(|(offset, bytes)| offset + bytes < size) {
            self.map.push((size, 0));
        }
        self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from_lines(text: &[u8]) -> Result<Option<(Map, usize)>, BadMap> {
        let mut lines = Lines::default();
        for (at, block) in text.as_chunks::<BLOCK>().0.iter().enumerate() {
            if let Some(map) = lines.take(block)? {
                return Ok(Some((map, at + 1)));
            }
        }
        Ok(None)
    }

    #[test]
    fn maps_of_any_length_come_back() {
        for n in [0u64, 1, 2, 30, 60, 5000] {
            let map: Map = (0..n).map(|i| (i * 1_000_000, 4096)).collect();
            let text = to_lines(&map);
            assert_eq!(from_lines(&text), Ok(Some((map.clone(), text.len() / BLOCK))));
            assert!(fits(&map, n * 1_000_000, n * 4096));
        }
    }

    #[test]
    fn maps_that_lie_are_refused() {
        assert!(!fits(&[(0, 10), (5, 10)], 100, 20));
        assert!(!fits(&[(10, 10), (0, 10)], 100, 20));
        assert!(!fits(&[(95, 10)], 100, 10));
        assert!(!fits(&[(0, 10)], 100, 11));
        assert!(!fits(&[(u64::MAX, 2)], u64::MAX, 2));
        assert!(fits(&[(0, 10), (100, 0)], 100, 10));
        let block = |text: &[u8]| [text, &vec![0; BLOCK - text.len()]].concat();
        assert_eq!(from_lines(&block(b"9999999999\n")), Err(BadMap));
        assert_eq!(from_lines(&block(b"-1\n")), Err(BadMap));
        assert_eq!(from_lines(&block(b"\n")), Err(BadMap));
        assert_eq!(from_lines(&[b'1'; 2 * BLOCK]), Err(BadMap));
        assert_eq!(from_list(b"1,2,3"), None);
        assert_eq!(from_list(b"0,5,10,5"), Some(vec![(0, 5), (10, 5)]));
    }

    #[test]
    fn stretches_that_touch_are_one() {
        assert_eq!(joined(vec![(0, 5), (5, 0), (5, 5), (20, 1), (21, 9), (40, 0)]), [(0, 10), (20, 10)]);
    }

    #[test]
    fn too_many_stretches_are_joined_over_their_shortest_holes() {
        let mut stretches = Stretches::new(3);
        // Holes of 600, 5000, 700, 9000 bytes.
        for (offset, bytes) in [(0, 100), (700, 100), (5800, 100), (6600, 100), (15_700, 100)] {
            stretches.data(offset, bytes);
        }
        assert_eq!(stretches.finish(20_000), [(0, 800), (5800, 900), (15_700, 100), (20_000, 0)]);
        assert_eq!(Stretches::new(3).finish(7), [(7, 0)]);
    }

    proptest! {
        #[test]
        fn stretches_hold_all_data_in_order(pieces in proptest::collection::vec((1u64..2000, 1u64..2000), 0..200), max in 1usize..50) {
            let (mut at, mut stretches, mut data) = (0, Stretches::new(max), Vec::new());
            for (hole, bytes) in pieces {
                at += hole;
                stretches.data(at, bytes);
                data.push((at, bytes));
                at += bytes;
            }
            let map = stretches.finish(at + 1);
            prop_assert!(map.len() <= max + 1);
            let stored = map.iter().map(|(_, bytes)| bytes).sum();
            prop_assert!(fits(&map, at + 1, stored));
            for (offset, bytes) in data {
                prop_assert!(map.iter().any(|(o, b)| *o <= offset && offset + bytes <= o + b));
            }
        }

        #[test]
        fn any_block_is_a_map_or_not(block in proptest::collection::vec(any::<u8>(), BLOCK)) {
            let block: Block = block.try_into().unwrap();
            drop((Lines::default().take(&block), old_block(&block), from_list(&block)));
        }
    }
}
