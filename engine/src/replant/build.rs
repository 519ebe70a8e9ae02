//! The thread that builds: it takes all steps in order, stores each chunk that the target lacks, and writes trees as a backup would.
//! Its order makes of one snapshot the same trees each time, whatever the threads before it did.

use crate::buffers::Buffers;
use crate::error::{Damage, Error, Result};
use crate::format::entry::Entry;
use crate::format::lists::{Content, Item, ListWriter};
use crate::format::manifest::{IndexRoot, NamesRoot, Roots};
use crate::format::tree::{Group, NamesChild, TreeWriter};
use crate::format::wire::Malformed;
use crate::id::{ChunkId, Class};
use crate::index::session::SessionIndex;
use crate::limits::SEGMENT_CHUNKS_TARGET;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::frames::FrameBuilder;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::replant::memo::Memo;
use crate::replant::translate::Answer;
use crate::replant::walk::{Has, Part, Step};
use crate::repository::Repository;
use crate::repository::tree::{Twins, chunk_damaged, decoded, read_leaf};
use crossbeam_channel::Receiver;

/// What was stored, in plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Chunks of content.
    pub data_chunks: u64,
    /// Chunks of names and lists.
    pub tree_chunks: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// Where new chunks go.
pub struct ChunkStore<'s, 'a> {
    /// The target.
    pub to: &'a Repository,
    /// What it has and what it gets.
    pub session: &'s mut SessionIndex,
    /// To the encoders.
    pub frames: FrameBuilder<'s, 'a>,
    /// Nothing is stored.
    pub dry_run: bool,
    /// What is stored so far.
    pub stored: Stored,
}

impl ChunkStore<'_, '_> {
    fn add(&mut self, class: Class, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if !self.session.insert(class, &id) {
            return Ok(());
        }
        *(if class == Class::Data { &mut self.stored.data_chunks } else { &mut self.stored.tree_chunks }) += 1;
        self.stored.bytes += bytes.len() as u64;
        self.session.compact(SEGMENT_CHUNKS_TARGET);
        if self.dry_run { Ok(()) } else { self.frames.push(class, id, bytes) }
    }

    fn add_tree(&mut self, class: Class, plain: &[u8]) -> Result<ChunkId> {
        let id = self.to.ids().id(class, plain);
        self.add(class, id, plain).map(|()| id)
    }
}

/// A leaf that may stay as it is, if what comes next lets it end where it ends.
type Held = (NamesChild, Twins);

/// See the module's text.
pub struct Builder<'s, 'a> {
    store: ChunkStore<'s, 'a>,
    /// The source.
    reader: &'s ChunkReader,
    buffers: ReadBuffers,
    memo: &'s Memo,
    /// Memory that goes round.
    data: &'s Buffers,
    tree: TreeWriter,
    list: ListWriter,
    held: Option<Held>,
    roots: Roots,
    observer: &'s dyn Observer,
    progress: Progress,
}

impl<'s, 'a> Builder<'s, 'a> {
    /// Has built nothing yet.
    pub fn new(
        store: ChunkStore<'s, 'a>,
        (reader, memo, data): (&'s ChunkReader, &'s Memo, &'s Buffers),
        observer: &'s dyn Observer,
    ) -> Self {
        let tree = TreeWriter::new(store.to.cutter().clone());
        let progress = Progress { stage: Stage::Working, ..Progress::default() };
        let (buffers, list, roots) = Default::default();
        Builder { store, reader, buffers, memo, data, tree, list, held: None, roots, observer, progress }
    }

    /// Takes all steps. An error where they end before their end: then the thread that walks says why.
    pub fn run(&mut self, steps: &Receiver<Step>, source: (&[IndexRoot], &[NamesRoot])) -> Result<()> {
        for step in steps {
            match step {
                Step::Taken(at) => {
                    let (index, names) = root(source, at)?;
                    self.push_root(index, names);
                }
                Step::Origin(origin) => self.store.frames.set_origin(origin)?,
                Step::Groups(groups) => self.groups(groups)?,
                Step::Whole(leaf, twins) => self.whole(*leaf, twins)?,
                Step::Batch(parts, answer) => self.batch(parts, answer, source)?,
                Step::Tree(at, stays) => self.end_tree(at, stays, source)?,
                Step::End => return Ok(()),
            }
            self.observer.progress(&self.progress);
        }
        Err(Error::Interrupted)
    }

    /// Sends what is left on its way to the packs.
    pub fn flush(&mut self) -> Result<()> {
        self.store.frames.flush()
    }

    /// The roots that were built, and what was stored for them.
    pub fn finish(self) -> (Roots, Stored) {
        (self.roots, self.store.stored)
    }

    fn push_root(&mut self, index: IndexRoot, names: NamesRoot) {
        self.roots.index.push(index);
        self.roots.names.push(names);
    }

    fn push(&mut self, dir: &[u8], entry: &Entry, content: Option<&Content>) -> Result<()> {
        if self.held.is_some() {
            self.settle(self.tree.cuts(dir, &entry.name.0))?;
        }
        self.progress.files_done += u64::from(content.is_some());
        self.push_settled(dir, entry, content)
    }

    fn push_settled(&mut self, dir: &[u8], entry: &Entry, content: Option<&Content>) -> Result<()> {
        let store = &mut self.store;
        self.tree.push(dir, entry, content, &mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    fn groups(&mut self, groups: Vec<Group>) -> Result<()> {
        for group in groups {
            for (entry, content) in group.entries {
                self.push(&group.dir, &entry, content.as_ref())?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, leaf: NamesChild, twins: Twins) -> Result<()> {
        let cuts = self.tree.cuts(&leaf.dir.0, &leaf.name.0);
        // The first of all begins where it begins, but not behind another one that is held.
        let begins = cuts || self.tree.is_empty() && self.held.is_none();
        self.settle(cuts)?;
        self.progress.files_done += leaf.entries;
        if begins {
            self.held = Some((leaf, twins));
            return Ok(());
        }
        self.expand(twins)
    }

    /// What becomes of the leaf that is held: it stays as it is where `cut` says that another begins now, or nothing comes any more.
    fn settle(&mut self, cut: bool) -> Result<()> {
        let Some((leaf, twins)) = self.held.take() else { return Ok(()) };
        if !cut {
            return self.expand(twins);
        }
        let store = &mut self.store;
        self.tree.adopt(leaf, twins.lists, &mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    /// Writes a leaf entry by entry.
    fn expand(&mut self, twins: Twins) -> Result<()> {
        for group in read_leaf(self.reader, &mut self.buffers, twins)? {
            for (entry, content) in group.entries {
                self.push_settled(&group.dir, &entry, content.as_ref())?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, parts: Vec<Part>, answer: Option<Receiver<Result<Answer>>>, source: (&[IndexRoot], &[NamesRoot])) -> Result<()> {
        let Answer { chunks, data } = match answer {
            // A thread that dies with a panic says nothing; it made that known.
            Some(answer) => answer.recv().map_err(|_| Error::Interrupted)??,
            None => Answer { chunks: Vec::new(), data: Vec::new() },
        };
        let (mut chunks, mut rest) = (chunks.into_iter(), &data[..]);
        for part in parts {
            match part {
                Part::Chunk(from) => {
                    let next = chunks.next().ok_or(Error::SelfCheck { what: "the number of chunks" })?;
                    if next.read {
                        let (chunk, behind) =
                            rest.split_at_checked(next.bytes as usize).ok_or(Error::SelfCheck { what: "the length of a chunk" })?;
                        self.store.add(Class::Data, next.id, chunk)?;
                        rest = behind;
                    }
                    self.memo.keep_chunk(from, (next.id, next.bytes));
                    self.progress.bytes_done += u64::from(next.bytes);
                    self.item(Item::Chunk(next.id), u64::from(next.bytes))?;
                }
                Part::Hole(bytes) => {
                    self.progress.bytes_done += bytes;
                    self.item(Item::Hole(bytes), bytes)?;
                }
                Part::Entry { dir, entry, has, leaf } => {
                    let content = self.content(has)?;
                    if content.as_ref().is_some_and(|(_, bytes)| *bytes != entry.size) {
                        return decoded(Class::Names, &leaf, Err(Malformed::Field("size")));
                    }
                    self.push(&dir, &entry, content.as_ref().map(|(content, _)| content))?;
                }
                Part::Stream(at, has) => {
                    let (mut index, names) = root(source, at)?;
                    let old = index.content.take();
                    let Some((content, bytes)) = self.content(has)? else {
                        return Err(Error::SelfCheck { what: "the content of a stream" });
                    };
                    if bytes != index.bytes {
                        return Err(match old {
                            Some(Content::Tree(root)) => chunk_damaged(Class::Lists, &root.id, Damage::Sum),
                            _ => Error::Refused { what: "the length of a stream is not that of its content".to_owned() },
                        });
                    }
                    index.content = Some(content);
                    self.progress.files_done += 1;
                    self.push_root(index, names);
                }
            }
        }
        if data.capacity() > 0 {
            self.data.give(data);
        }
        Ok(())
    }

    fn item(&mut self, item: Item, bytes: u64) -> Result<()> {
        let store = &mut self.store;
        self.list.push(item, bytes, &mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    fn content(&mut self, has: Has) -> Result<Option<(Content, u64)>> {
        match has {
            Has::Nothing => Ok(None),
            Has::Known(content, bytes) => {
                self.progress.bytes_done += bytes;
                Ok(Some((content, bytes)))
            }
            Has::Gathered(list) => {
                let store = &mut self.store;
                let made = std::mem::take(&mut self.list).finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))?;
                if let Some(list) = list {
                    self.memo.keep_list(list, made.clone());
                }
                Ok(Some(made))
            }
        }
    }

    fn end_tree(&mut self, at: usize, stays: bool, source: (&[IndexRoot], &[NamesRoot])) -> Result<()> {
        self.settle(true)?;
        let tree = std::mem::replace(&mut self.tree, TreeWriter::new(self.store.to.cutter().clone()));
        let store = &mut self.store;
        let made = tree.finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))?;
        if let Some(made) = made.filter(|_| stays) {
            let (old, names) = root(source, at)?;
            // What this program does not know of a root stays.
            self.push_root(IndexRoot { extra: old.extra, ..IndexRoot::tree(old.kind, &made) }, names);
        }
        Ok(())
    }
}

fn root((index, names): (&[IndexRoot], &[NamesRoot]), at: usize) -> Result<(IndexRoot, NamesRoot)> {
    index.get(at).cloned().zip(names.get(at).cloned()).ok_or(Error::SelfCheck { what: "the number of a root" })
}
