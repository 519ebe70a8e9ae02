//! What two snapshots have and have not in common, chunk by chunk: a bit for each chunk of the index and each side.
//! What hangs below shared nodes is looked at only where something outside of them may be there too.

use crate::diff::content::{Found, Which, differing};
use crate::error::{Error, Result};
use crate::format::lists::{Content, Item, ListRoot};
use crate::format::manifest::{IndexRoot, ROOT_PATHS};
use crate::format::tree::TreeRoot;
use crate::id::{ChunkId, Class};
use crate::index::Index;
use crate::index::numbers::Numbers;
use crate::observe::Observer;
use crate::pack::bits::Bits;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::lengths::lengths;
use crate::repository::reach::{Visit, walk};
use crate::repository::tree::Twins;
use std::sync::Arc;

/// What only one side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    numbers: Numbers,
    sides: [Bits; 2],
    /// Chunks that are in no pack.
    missing: u64,
    shared: Vec<IndexRoot>,
}

impl Tally {
    /// Over the chunks that `index` knows.
    pub fn new(index: Arc<Index>) -> Self {
        let numbers = Numbers::new(index);
        let bits = || Bits::none(numbers.count());
        Tally { sides: [bits(), bits()], numbers, missing: 0, shared: Vec::new() }
    }

    /// One side has a chunk.
    pub fn chunk(&mut self, which: Which, class: Class, id: &ChunkId) {
        match self.numbers.find(class, id) {
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

    fn differs(&self, number: usize) -> bool {
        self.sides[0].has(number) != self.sides[1].has(number)
    }

    /// Chunks of `class` that one side has and the other has not.
    fn only(&self, which: Which, class: Class) -> u64 {
        let own = &self.sides[which as usize];
        let of_class = self.numbers.packs().filter(|(pack, _)| pack.class == class);
        of_class.flat_map(|(_, numbers)| numbers.clone()).filter(|n| self.differs(*n) && own.has(*n)).count() as u64
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
        let mut unknown = self.missing;
        lengths(repository, &self.numbers, observer, &|number| self.differs(number), &mut |number, bytes| match bytes {
            Some(bytes) => counts[usize::from(self.sides[1].has(number))].bytes += bytes,
            None => unknown += 1,
        })?;
        Ok((counts, unknown))
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
        if let Some(number) = self.tally.numbers.find(class, id) {
            self.tally.sides.iter_mut().for_each(|side| side.set(number));
        }
        Ok(true)
    }
}
