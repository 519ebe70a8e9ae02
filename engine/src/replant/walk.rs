//! The thread that reads a snapshot's trees, leaf by leaf, and says in order what is to be built of them. Content that has to be read it
//! hands to others, in batches, and goes on: what becomes of a batch is taken when its turn has come.
//! It must never pass over what it cannot read.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::format::lists::{Content, Item};
use crate::format::manifest::{IndexRoot, NamesRoot, ROOT_STREAM};
use crate::format::tree::{Group, NamesChild, TreeRoot, get_names_leaf};
use crate::format::wire::Malformed;
use crate::id::{ChunkId, Class};
use crate::index::Index;
use crate::observe::Observer;
use crate::pack::Origin;
use crate::pack::reader::{ChunkReader, Measured, ReadBuffers};
use crate::pack::sink::Trouble;
use crate::replant::memo::Memo;
use crate::replant::sieve::Sieve;
use crate::replant::translate::{Answer, Work};
use crate::repository::tree::{Ahead, ContentCursor, Node, Twins, decoded, read_leaf};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;

/// A batch is closed when it is worth so many bytes that have to be read,
const BATCH_BYTES: u64 = 1 << 20;
/// or has so many chunks,
const BATCH_CHUNKS: usize = 1024;
/// or so many parts.
const BATCH_PARTS: usize = 2048;

/// Where content is, seen from the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Source and target are one: all of it is there already, under its ids.
    Same,
    /// The ids are the same ones: what the target has is not read.
    Kin,
    /// The ids are others.
    Foreign,
}

/// What an entry holds.
pub enum Has {
    /// It has no content.
    Nothing,
    /// What was met since the last entry; where that was a list tree of the source, its root.
    Gathered(Option<ChunkId>),
    /// This, in the target.
    Known(Content, u64),
}

/// A piece of a batch.
pub enum Part {
    /// The next chunk that the answer tells of; its id in the source.
    Chunk(ChunkId),
    /// A hole.
    Hole(u64),
    /// An entry of a tree.
    Entry {
        /// Its directory.
        dir: Arc<[u8]>,
        /// The entry.
        entry: Box<Entry>,
        /// Its content.
        has: Has,
        /// The leaf that said so.
        leaf: ChunkId,
    },
    /// The end of the stream that is the root of this number.
    Stream(usize, Has),
}

/// What is to be done next.
pub enum Step {
    /// The root of this number stays as it is.
    Taken(usize),
    /// What follows is content of this origin.
    Origin(Origin),
    /// Entries whose content stays what it is.
    Groups(Vec<Group>),
    /// A leaf of which nothing goes and whose content stays what it is.
    Whole(Box<NamesChild>, Twins),
    /// Parts, and what tells of their chunks.
    Batch(Vec<Part>, Option<Receiver<Result<Answer>>>),
    /// The end of the tree that is the root of this number; whether something is left of what was asked for.
    Tree(usize, bool),
    /// That was all.
    End,
}

/// What the filter took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Entries of any kind, and streams.
    pub entries: u64,
    /// Files and streams among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// See the module's text.
pub struct Walker<'w> {
    /// The source.
    pub reader: &'w ChunkReader,
    /// What the target has.
    pub base: &'w Index,
    /// What goes.
    pub sieve: &'w Sieve<'w>,
    /// What is known.
    pub memo: &'w Memo,
    /// How the two stand to each other.
    pub mode: Mode,
    /// To the thread that builds.
    pub steps: Sender<Step>,
    /// To those that read content.
    pub work: Sender<Work>,
    /// Whom to ask whether to stop.
    pub observer: &'w dyn Observer,
    /// The first failure of any thread.
    pub trouble: &'w Trouble,
}

/// A walk under way.
struct Walk<'w> {
    on: Walker<'w>,
    buffers: ReadBuffers,
    measured: Measured,
    parts: Vec<Part>,
    chunks: Vec<ChunkId>,
    bytes: u64,
    gone: Gone,
    /// Something was left, in the tree that is being walked, that is not only there because of what lay below it.
    is_left: bool,
}

impl Walker<'_> {
    /// Walks all roots. Returns what the filter took.
    pub fn run(self, index: &[IndexRoot], names: &[NamesRoot]) -> Result<Gone> {
        let (buffers, measured, parts, chunks) = Default::default();
        let mut walk = Walk { on: self, buffers, measured, parts, chunks, bytes: 0, gone: Gone::default(), is_left: false };
        for (at, (root, name)) in index.iter().zip(names).enumerate() {
            walk.root(at, root, name)?;
        }
        walk.send(Step::End)?;
        Ok(walk.gone)
    }
}

impl Walk<'_> {
    fn send(&mut self, step: Step) -> Result<()> {
        if self.on.observer.interrupted() || self.on.trouble.is_set() {
            return Err(Error::Interrupted);
        }
        // Nobody takes steps any more only when the thread that builds has failed; that failure is the one to report.
        self.on.steps.send(step).map_err(|_| Error::Interrupted)
    }

    fn root(&mut self, at: usize, root: &IndexRoot, name: &NamesRoot) -> Result<()> {
        let same = self.on.mode == Mode::Same;
        if root.kind == ROOT_STREAM {
            if self.on.sieve.takes_dir(&name.name.0) {
                self.gone.entries += 1;
                self.gone.files += 1;
                self.gone.bytes = self.gone.bytes.saturating_add(root.bytes);
                return Ok(());
            }
            let Some(content) = root.content.as_ref().filter(|_| !same) else { return self.send(Step::Taken(at)) };
            self.send(Step::Origin(Origin::Streams))?;
            let has = self.content(content)?;
            self.part(Part::Stream(at, has))?;
            return self.flush();
        }
        if same && self.on.sieve.is_open() {
            return self.send(Step::Taken(at));
        }
        let tree =
            root.as_tree().ok_or_else(|| Error::Refused { what: "it has a root of a kind that this program does not know".to_owned() })?;
        self.send(Step::Origin(Origin::Files))?;
        let gone = self.gone.entries;
        self.is_left = false;
        self.tree(&tree)?;
        self.flush()?;
        let stays = self.is_left || self.gone.entries == gone;
        self.send(Step::Tree(at, stays))
    }

    fn tree(&mut self, root: &TreeRoot) -> Result<()> {
        let mut ahead = vec![(root.level, Ahead::top(root), None)];
        while let Some((level, at, child)) = ahead.pop() {
            if level == 0 {
                self.leaf(&at, child)?;
                continue;
            }
            let node = Node::read(self.on.reader, &mut self.buffers, level, at.twins)?;
            at.check_node(&node)?;
            // The last one first: they are taken from the end.
            let below = node.children.iter().enumerate().rev();
            ahead.extend(below.filter_map(|(number, child)| Some((level - 1, at.child(&node, number)?, Some(child.clone())))));
        }
        Ok(())
    }

    fn leaf(&mut self, at: &Ahead, child: Option<NamesChild>) -> Result<()> {
        if self.on.mode != Mode::Same {
            let mut groups = read_leaf(self.on.reader, &mut self.buffers, at.twins)?;
            at.check_leaf(&groups)?;
            self.sift(&mut groups);
            return groups.into_iter().try_for_each(|group| self.group(group, at.twins.names));
        }
        if let Some(child) = child.as_ref().filter(|_| self.on.memo.is_whole(&at.twins.names)) {
            self.is_left = true;
            return self.send(Step::Whole(Box::new(child.clone()), at.twins));
        }
        // The names alone tell whether the lists are needed.
        let names = self.on.reader.chunk(Class::Names, &at.twins.names, &mut self.buffers)?;
        let mut groups = decoded(Class::Names, &at.twins.names, get_names_leaf(&names))?;
        at.check_leaf(&groups)?;
        let before = self.gone.entries;
        let has_asked = groups.iter().flat_map(|group| &group.entries).any(|(entry, _)| !entry.implied);
        self.sift(&mut groups);
        if self.gone.entries == before {
            if let Some(child) = child {
                // One with nothing that was asked for has to be looked at each time: it tells nothing of what is left.
                if has_asked {
                    self.on.memo.keep_whole(at.twins.names);
                }
                return self.send(Step::Whole(Box::new(child), at.twins));
            }
        } else if groups.is_empty() {
            return Ok(());
        }
        // What goes was counted.
        let mut groups = read_leaf(self.on.reader, &mut self.buffers, at.twins)?;
        let gone = self.gone;
        self.sift(&mut groups);
        self.gone = gone;
        self.send(Step::Groups(groups))
    }

    /// Takes out what goes.
    fn sift(&mut self, groups: &mut Vec<Group>) {
        let sieve = self.on.sieve;
        for group in groups.iter_mut() {
            let all = sieve.takes_dir(&group.dir);
            let Group { dir, entries } = group;
            entries.retain(|(entry, _)| {
                let goes = all || sieve.takes_entry(dir, &entry.name.0);
                if goes {
                    self.gone.entries += 1;
                    if entry.kind == EntryKind::File {
                        self.gone.files += 1;
                        self.gone.bytes = self.gone.bytes.saturating_add(entry.size);
                    }
                }
                self.is_left |= !goes && !entry.implied;
                !goes
            });
        }
        groups.retain(|group| !group.entries.is_empty());
    }

    /// Entries whose content is to be found or made in the target.
    fn group(&mut self, group: Group, leaf: ChunkId) -> Result<()> {
        let dir: Arc<[u8]> = group.dir.into();
        for (entry, content) in group.entries {
            let has = match &content {
                Some(content) if content.can_be(entry.size) => self.content(content)?,
                Some(_) => return decoded(Class::Names, &leaf, Err(Malformed::Field("size"))),
                None => Has::Nothing,
            };
            self.part(Part::Entry { dir: dir.clone(), entry: Box::new(entry), has, leaf })?;
        }
        Ok(())
    }

    fn content(&mut self, content: &Content) -> Result<Has> {
        let list = match content {
            Content::Tree(root) => Some(root.id),
            Content::Inline(_) => None,
        };
        if let Some((content, bytes)) = list.and_then(|root| self.on.memo.list(&root)) {
            return Ok(Has::Known(content, bytes));
        }
        let mut cursor = ContentCursor::new(content);
        while let Some(found) = cursor.next_items(self.on.reader, &mut self.buffers)? {
            for item in found.items {
                match item {
                    Item::Hole(bytes) => self.part(Part::Hole(bytes))?,
                    Item::Chunk(id) => {
                        self.bytes += self.weight(&id);
                        self.chunks.push(id);
                        self.part(Part::Chunk(id))?;
                    }
                }
            }
        }
        Ok(Has::Gathered(list))
    }

    /// Bytes that have to be read for a chunk.
    fn weight(&mut self, id: &ChunkId) -> u64 {
        let known = self.on.memo.chunk(id).is_some() || self.on.mode == Mode::Kin && self.on.base.has(Class::Data, id);
        if known {
            return 0;
        }
        // What has no length cannot be read; whoever tries says why.
        self.on.reader.chunk_bytes(Class::Data, id, &mut self.measured).unwrap_or(BATCH_BYTES)
    }

    fn part(&mut self, part: Part) -> Result<()> {
        self.parts.push(part);
        let full = self.bytes >= BATCH_BYTES || self.chunks.len() >= BATCH_CHUNKS || self.parts.len() >= BATCH_PARTS;
        if full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let (parts, chunks) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.chunks));
        self.bytes = 0;
        if chunks.is_empty() {
            return self.send(Step::Batch(parts, None));
        }
        let (answer_in, answer) = bounded(1);
        self.send(Step::Batch(parts, Some(answer)))?;
        self.on.work.send(Work { chunks, answer: answer_in }).map_err(|_| Error::Interrupted)
    }
}
