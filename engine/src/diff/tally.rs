//! What two snapshots have and have not in common, chunk by chunk: a bit for each chunk of the index and each side.
//! What hangs below shared nodes is looked at only where something outside of them may be there too.

use crate::diff::content::{Found, Which, differing};
use crate::error::{Error, Result};
use crate::format::lists::{Content, Item, ListRoot};
use crate::format::manifest::{IndexRoot, ROOT_PATHS};
use crate::format::tree::TreeRoot;
use crate::id::{ChunkId, Class};
use crate::index::{Index, IndexPack, Location};
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::reach::{Visit, walk};
use crate::repository::tree::Twins;
use crate::store::each;
use std::ops::Range;
use std::sync::Arc;

/// Footers that are read at a time.
const FOOTERS_BATCH: usize = 64;

/// What only one side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that the other side does not have at all.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Everything else.
    pub others: u64,
    /// Chunks of content.
    pub data_blobs: u64,
    /// Chunks of names and lists.
    pub tree_blobs: u64,
    /// Plaintext of these chunks.
    pub bytes: u64,
}

/// Chunks of both sides.
pub struct Tally {
    index: Arc<Index>,
    /// The numbers of the chunks of each pack.
    numbers: Vec<Range<u64>>,
    sides: [Bits; 2],
    /// Chunks that are in no pack.
    missing: u64,
    shared: Vec<IndexRoot>,
}

impl Tally {
    /// Over the chunks that `index` knows.
    pub fn new(index: Arc<Index>) -> Self {
        let mut next = 0;
        let mut numbers = Vec::with_capacity(index.packs().len());
        for rows in index.rows_per_pack() {
            numbers.push(next..next + rows);
            next += rows;
        }
        let bits = || Bits::none(usize::try_from(next).unwrap_or(0));
        Tally { index, numbers, sides: [bits(), bits()], missing: 0, shared: Vec::new() }
    }

    fn number(&self, at: Location) -> usize {
        let first = self.numbers.get(at.pack as usize).map_or(0, |numbers| numbers.start);
        usize::try_from(first + u64::from(at.chunk)).unwrap_or(0)
    }

    /// The number of a chunk: of its copies the first one's.
    fn find(&self, class: Class, id: &ChunkId) -> Option<usize> {
        self.index.find(class, id).next().map(|at| self.number(at))
    }

    /// One side has a chunk.
    pub fn chunk(&mut self, which: Which, class: Class, id: &ChunkId) {
        match self.find(class, id) {
            Some(number) => self.sides[which as usize].set(number),
            None => self.missing += 1,
        }
    }

    /// One side has a node or leaf.
    pub fn twins(&mut self, which: Which, twins: Twins) {
        self.chunk(which, Class::Names, &twins.names);
        self.chunk(which, Class::Lists, &twins.lists);
    }

    /// Both sides have a node or leaf, and all below it.
    pub fn shared(&mut self, level: u8, twins: Twins) {
        let Twins { names, lists } = twins;
        self.shared.push(IndexRoot::tree(ROOT_PATHS, &TreeRoot { level, names, lists, entries: 0, bytes: 0 }));
    }

    fn items(&mut self, which: Which, items: &[Item]) {
        for item in items {
            if let Item::Chunk(id) = item {
                self.chunk(which, Class::Data, id);
            }
        }
    }

    /// Takes in what [`differing`] found.
    pub fn found(&mut self, found: &Found<'_>) {
        match found {
            Found::Node(which, id) => self.chunk(*which, Class::Lists, id),
            Found::Items(which, items, _) => self.items(*which, items),
            Found::Shared { level, id, bytes } => {
                let root = ListRoot { level: *level, id: *id, bytes: *bytes, extra: Vec::new() };
                self.shared.push(IndexRoot::stream(Content::Tree(root), *bytes));
            }
        }
    }

    /// Takes in the content of an entry on either side, where nobody wants to know more of it.
    pub fn content(&mut self, reader: &ChunkReader, buffers: &mut ReadBuffers, versions: [Option<&Content>; 2]) -> Result<()> {
        if let [Some(a), Some(b)] = versions
            && a == b
        {
            match a {
                Content::Inline(items) => [Which::Before, Which::After].into_iter().for_each(|which| self.items(which, items)),
                Content::Tree(root) => self.shared.push(IndexRoot::stream(Content::Tree(root.clone()), root.bytes)),
            }
            return Ok(());
        }
        differing(reader, buffers, versions, &mut |found| {
            self.found(&found);
            Ok(())
        })
    }

    fn differs(&self, number: u64) -> bool {
        self.sides[0].has(number as usize) != self.sides[1].has(number as usize)
    }

    /// Chunks of `class` that one side has and the other has not.
    fn only(&self, which: Which, class: Class) -> u64 {
        let own = &self.sides[which as usize];
        let of_class = self.index.packs().iter().zip(&self.numbers).filter(|(pack, _)| pack.class == class);
        of_class.flat_map(|(_, numbers)| numbers.clone()).filter(|n| self.differs(*n) && own.has(*n as usize)).count() as u64
    }

    /// What only the side before has, and what only the one after; and of how many chunks nobody could tell the length.
    pub fn count(mut self, repository: &Repository, reader: &ChunkReader, observer: &dyn Observer) -> Result<([Counts; 2], u64)> {
        let data = |tally: &Tally| tally.only(Which::Before, Class::Data) + tally.only(Which::After, Class::Data);
        if !self.shared.is_empty() && data(&self) > 0 {
            // What differs may be in what does not, too: a file that was copied.
            let shared = std::mem::take(&mut self.shared);
            walk(reader, &shared, &mut Both { tally: &mut self, observer, steps: 0 })?;
        }
        let mut counts = [Counts::default(), Counts::default()];
        for (which, counts) in [Which::Before, Which::After].into_iter().zip(&mut counts) {
            counts.data_blobs = self.only(which, Class::Data);
            counts.tree_blobs = self.only(which, Class::Names) + self.only(which, Class::Lists);
        }
        let unknown = self.bytes(repository, observer, &mut counts)?;
        Ok((counts, unknown + self.missing))
    }

    /// Adds up lengths, which footers tell. Returns of how many chunks nobody could.
    fn bytes(&self, repository: &Repository, observer: &dyn Observer, counts: &mut [Counts; 2]) -> Result<u64> {
        let packs = self.index.packs().iter().zip(&self.numbers);
        let packs: Vec<_> = packs.filter(|(_, numbers)| (*numbers).clone().any(|number| self.differs(number))).collect();
        let mut unknown = 0;
        for batch in packs.chunks(FOOTERS_BATCH) {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let open = |(pack, _): &(&IndexPack, _)| OpenPack::open(repository.store(), repository.keys(), pack.class, &pack.id);
            for ((_, numbers), opened) in batch.iter().zip(each(repository.store(), batch, open)) {
                let opened = match opened {
                    Ok(opened) => Some(opened),
                    // Archived, damaged, gone: it is asked for nothing but lengths.
                    Err(Error::Damaged { .. } | Error::Archived { .. }) => None,
                    Err(error) => return Err(error),
                };
                for (chunk, number) in (*numbers).clone().enumerate().filter(|(_, number)| self.differs(*number)) {
                    match opened.as_ref().and_then(|opened| opened.table.chunks.get(chunk)) {
                        Some(place) => counts[usize::from(self.sides[1].has(number as usize))].bytes += u64::from(place.bytes),
                        None => unknown += 1,
                    }
                }
            }
        }
        Ok(unknown)
    }
}

/// Takes what both sides have out of what differs.
struct Both<'t> {
    tally: &'t mut Tally,
    observer: &'t dyn Observer,
    steps: u32,
}

impl Visit for Both<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(1 << 16) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        if let Some(number) = self.tally.find(class, id) {
            self.tally.sides.iter_mut().for_each(|side| side.set(number));
        }
        Ok(true)
    }
}
