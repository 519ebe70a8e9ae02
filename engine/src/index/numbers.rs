//! A number for each chunk of an index, without gaps to speak of: who looks at all that two snapshots need keeps a bit or a count for each.

use crate::id::{ChunkId, Class};
use crate::index::{Index, IndexPack};
use std::ops::Range;
use std::sync::Arc;

/// Numbers the chunks of an index, pack by pack.
pub struct Numbers {
    index: Arc<Index>,
    packs: Vec<Range<usize>>,
}

impl Numbers {
    /// Of the chunks that `index` knows.
    pub fn new(index: Arc<Index>) -> Self {
        let mut next = 0;
        let mut packs = Vec::with_capacity(index.packs().len());
        for rows in index.rows_per_pack() {
            let end = next + usize::try_from(rows).unwrap_or(0);
            packs.push(next..end);
            next = end;
        }
        Numbers { index, packs }
    }

    /// All numbers are below this, but those of rows that claim to stand where no row is.
    pub fn count(&self) -> usize {
        self.packs.last().map_or(0, |last| last.end)
    }

    /// The number of a chunk: that of its first copy. `None` where nobody has one.
    pub fn find(&self, class: Class, id: &ChunkId) -> Option<usize> {
        let at = self.index.find(class, id).next()?;
        Some(self.packs.get(at.pack as usize)?.start + at.chunk as usize)
    }

    /// The packs, with the numbers of their chunks in order.
    pub fn packs(&self) -> impl Iterator<Item = (&IndexPack, &Range<usize>)> {
        self.index.packs().iter().zip(&self.packs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PackId;
    use crate::index::{NewPack, build_segment};
    use std::collections::HashSet;

    #[test]
    fn each_chunk_has_a_number_and_its_copies_have_the_same() {
        let id = |n: u64| ChunkId::new(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let pack = |n: u8, class, ids: Range<u64>| {
            let ids: Vec<u8> = ids.flat_map(|i| *id(i).as_bytes()).collect();
            NewPack::new(class, PackId::new([n; 32]), 1000, &ids)
        };
        let segment = build_segment(&[pack(1, Class::Data, 0..100), pack(2, Class::Names, 0..10), pack(3, Class::Data, 90..120)]);
        let numbers = Numbers::new(Arc::new(Index::new(vec![segment])));
        assert_eq!(numbers.count(), 140);
        let all: HashSet<usize> = (0..120).map(|n| numbers.find(Class::Data, &id(n)).unwrap()).collect();
        assert_eq!(all.len(), 120);
        assert!(all.iter().all(|number| *number < 140));
        assert!(!all.contains(&numbers.find(Class::Names, &id(5)).unwrap()));
        assert_eq!((numbers.find(Class::Names, &id(50)), numbers.find(Class::Data, &id(500))), (None, None));
        for (pack, range) in numbers.packs() {
            assert_eq!(
                range.len(),
                if pack.id == PackId::new([1; 32]) {
                    100
                } else if pack.class == Class::Names {
                    10
                } else {
                    30
                }
            );
        }
    }
}
