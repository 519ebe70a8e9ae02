//! The one thread that decides: it takes everything in order, stores each chunk that is new and builds the trees.
//! Its order makes a backup of the same source the same tree, whatever the threads before it did.

use crate::backup::flow::{self, Credits, DoneContent, DoneItem, Numbered};
use crate::backup::marks::{Done, Marks};
use crate::backup::members::{Members, Refusal};
use crate::backup::options::BackupOptions;
use crate::backup::parent::{ParentJoin, Parents, Tree, action};
use crate::backup::reads::ERRORS_KEPT;
use crate::backup::totals::Totals;
use crate::buffers::Buffers;
use crate::error::{Error, Result, SourceError};
use crate::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, join};
use crate::format::lists::{Content, Item, ListWriter};
use crate::format::manifest::{Stream, Summary};
use crate::format::tree::{TreeRoot, TreeWriter};
use crate::id::{ChunkId, Class};
use crate::index::Index;
use crate::index::session::SessionIndex;
use crate::limits::SEGMENT_CHUNKS_TARGET;
use crate::observe::{Action, Observer, Progress, Stage};
use crate::pack::Origin;
use crate::pack::frames::FrameBuilder;
use crate::pack::reader::ChunkReader;
use crate::pack::sink::{Job, Sink, Trouble};
use crate::repository::Repository;
use crate::source::roots::display;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where new chunks go, and what is counted on the way.
struct ChunkStore<'s, 'a> {
    repository: &'a Repository,
    session: SessionIndex,
    frames: FrameBuilder<'s, 'a>,
    dry_run: bool,
    data_chunks: u64,
    tree_chunks: u64,
    bytes_added: u64,
}

impl ChunkStore<'_, '_> {
    fn add(&mut self, class: Class, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if !self.session.insert(class, &id) {
            return Ok(());
        }
        *(if class == Class::Data { &mut self.data_chunks } else { &mut self.tree_chunks }) += 1;
        self.bytes_added += bytes.len() as u64;
        self.session.compact(SEGMENT_CHUNKS_TARGET);
        if self.dry_run { Ok(()) } else { self.frames.push(class, id, bytes) }
    }

    fn add_tree(&mut self, class: Class, plain: &[u8]) -> Result<ChunkId> {
        let id = self.repository.ids().id(class, plain);
        self.add(class, id, plain)?;
        Ok(id)
    }
}

/// Everything that the manifest needs of the content.
pub struct Assembled {
    /// The tree; `None` where there were no entries.
    pub tree: Option<TreeRoot>,
    /// The trees of tar archives, in order; `None` for one without entries.
    pub tars: Vec<Option<TreeRoot>>,
    /// Those of buckets.
    pub objects: Vec<Option<TreeRoot>>,
    /// The streams, in order.
    pub streams: Vec<(Content, u64)>,
    /// What was counted.
    pub summary: Summary,
    /// The first sources that failed in workers.
    pub errors: Vec<SourceError>,
    /// How many failed there.
    pub error_count: u64,
}

/// What is asked for, and what it is compared with.
#[derive(Clone, Copy)]
pub struct Compared<'s> {
    /// Chunks of the parents.
    pub reader: &'s ChunkReader,
    /// The parents.
    pub parents: &'s Parents,
    /// What is asked for.
    pub options: &'s BackupOptions,
}

/// See the module's text.
pub struct Assembler<'s, 'a> {
    store: ChunkStore<'s, 'a>,
    sink: &'s Sink<'a>,
    segments: &'s Buffers,
    observer: &'s dyn Observer,
    tree: TreeWriter,
    list: ListWriter,
    made: Assembled,
    root: Option<TreeRoot>,
    progress: Progress,
    /// What there is to read, once somebody has counted it.
    totals: &'s Totals,
    compared: Compared<'s>,
    /// What is known of the streams that ended.
    ended: Vec<Stream>,
    /// And of the tar archives.
    tars_ended: Vec<Stream>,
    /// The entries of the archive that is being read.
    members: Option<Members>,
    /// What is known of the buckets that ended, and of the one that is being read, whose tree grows where that of the paths will.
    objects_ended: Vec<Stream>,
    objects: Option<Stream>,
    marks: &'s Marks<'s>,
}

impl<'s, 'a> Assembler<'s, 'a> {
    /// Takes the way to the encoders; they end when this is finished.
    pub fn new(
        repository: &'a Repository,
        (sink, segments, marks, totals): (&'s Sink<'a>, &'s Buffers, &'s Marks<'s>, &'s Totals),
        jobs: Sender<Job>,
        index: Arc<Index>,
        compared: Compared<'s>,
        observer: &'s dyn Observer,
    ) -> Self {
        let dry_run = compared.options.dry_run;
        let frames = FrameBuilder::new(sink, jobs);
        let session = SessionIndex::new(index);
        Assembler {
            store: ChunkStore { repository, session, frames, dry_run, data_chunks: 0, tree_chunks: 0, bytes_added: 0 },
            sink,
            segments,
            observer,
            tree: TreeWriter::new(repository.cutter().clone()),
            list: ListWriter::default(),
            made: Assembled {
                tree: None,
                tars: Vec::new(),
                objects: Vec::new(),
                streams: Vec::new(),
                summary: Summary::default(),
                errors: Vec::new(),
                error_count: 0,
            },
            root: None,
            progress: Progress { stage: Stage::Working, ..Progress::default() },
            totals,
            compared,
            ended: Vec::new(),
            tars_ended: Vec::new(),
            members: None,
            objects_ended: Vec::new(),
            objects: None,
            marks,
        }
    }

    /// Streams come first.
    fn origin(&self) -> Origin {
        if self.made.streams.len() < self.compared.options.streams.len() { Origin::Streams } else { Origin::Files }
    }

    /// Takes everything in order until the reading thread and the workers are done.
    pub fn run(
        &mut self,
        done: &Receiver<(Numbered<flow::Done>, Vec<SourceError>)>,
        credits: &Credits<'_>,
        trouble: &Trouble,
    ) -> Result<()> {
        let mut waiting: BTreeMap<u64, (Numbered<flow::Done>, Vec<SourceError>)> = BTreeMap::new();
        let mut next = 0;
        loop {
            match done.recv_timeout(Duration::from_millis(100)) {
                Ok(item) => {
                    waiting.insert(item.0.number, item);
                }
                Err(RecvTimeoutError::Timeout) if trouble.is_set() => return Err(Error::Interrupted),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Some((Numbered { cost, what, .. }, errors)) = waiting.remove(&next) {
                next += 1;
                for error in errors {
                    self.error(error);
                }
                self.take(what)?;
                credits.give(cost);
                self.tell();
            }
            if self.marks.is_due(self.store.bytes_added) {
                self.mark()?;
            }
        }
        // A number that never came means that a thread died: what is here is not all.
        if !waiting.is_empty() || trouble.is_set() {
            return Err(Error::Interrupted);
        }
        self.root = self.end_tree()?;
        self.progress.stage = Stage::Finishing;
        self.tell();
        self.store.frames.flush()
    }

    /// Ends the tree that grows, and begins another.
    fn end_tree(&mut self) -> Result<Option<TreeRoot>> {
        let store = &mut self.store;
        let tree = std::mem::replace(&mut self.tree, TreeWriter::new(store.repository.cutter().clone()));
        tree.finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    fn tell(&mut self) {
        (self.progress.files_total, self.progress.bytes_total) = self.totals.get().unwrap_or((0, 0));
        self.observer.progress(&self.progress);
    }

    /// Sets a mark, with what is done so far: once all of it is durable and named, a pending manifest says so (B3).
    fn mark(&mut self) -> Result<()> {
        let (tree, list) = (self.tree.clone(), self.list.clone());
        let mut trees = self.trees_so_far()?;
        let store = &mut self.store;
        let mut tree = tree.finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))?;
        let part = list.finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))?;
        let mut summary = self.made.summary.clone();
        summary.data_chunks = self.store.data_chunks;
        summary.tree_chunks = self.store.tree_chunks;
        summary.bytes_added = self.store.bytes_added;
        summary.bytes_read = self.progress.bytes_read;
        let mut streams: Vec<_> = self.made.streams.iter().cloned().zip(self.ended.iter().cloned().map(Some)).collect();
        if part.1 > 0 {
            streams.push((part, None));
        }
        if let Some(facts) = &self.objects {
            let name = self.compared.options.objects.get(self.made.objects.len()).map_or(&b""[..], |source| &source.name);
            trees.extend(tree.take().map(|tree| (tree, name.to_vec(), Some(facts.clone()))));
        }
        let number = self.marks.set(Done { tree, trees, streams, summary }, self.store.bytes_added);
        self.store.frames.mark(number)
    }

    fn error(&mut self, error: SourceError) {
        self.observer.source_error(&error);
        self.made.error_count += 1;
        self.progress.errors += 1;
        if self.made.errors.len() < ERRORS_KEPT {
            self.made.errors.push(error);
        }
    }

    fn take(&mut self, done: flow::Done) -> Result<()> {
        self.store.frames.set_origin(self.origin())?;
        match done {
            flow::Done::Items { items, data } => {
                let mut rest = &data[..];
                for item in items {
                    self.item(item, &mut rest)?;
                }
                // Where it came from: the batches of an archive or a bucket are as long as segments.
                if self.members.is_some() || self.objects.is_some() { self.segments.give(data) } else { self.sink.buffers.give(data) }
            }
            flow::Done::Segment { data, chunks } => {
                let mut rest = &data[..];
                for (id, bytes) in chunks {
                    let (chunk, after) = rest.split_at(bytes as usize);
                    self.store.add(Class::Data, id, chunk)?;
                    let store = &mut self.store;
                    self.list.push(Item::Chunk(id), u64::from(bytes), &mut |class, plain: &[u8]| store.add_tree(class, plain))?;
                    rest = after;
                }
                self.progress.bytes_done += data.len() as u64;
                self.progress.bytes_read += data.len() as u64;
                self.segments.give(data);
            }
            flow::Done::Hole(bytes) => {
                let store = &mut self.store;
                self.list.push(Item::Hole(bytes), bytes, &mut |class, plain: &[u8]| store.add_tree(class, plain))?;
                self.progress.bytes_done += bytes;
            }
            flow::Done::EndStream(stream) => {
                let end = self.end_list()?;
                self.ended.push(*stream);
                self.made.summary.files_new += 1;
                self.made.summary.files_total += 1;
                self.made.summary.bytes_total += end.1;
                self.progress.files_done += 1;
                self.made.streams.push(end);
            }
            flow::Done::BeginTar => self.members = Some(Members::new(self.made.tars.len(), self.tar_name())?),
            flow::Done::EndTar(stream) => self.end_tar(*stream)?,
            flow::Done::BeginObjects(stream) => self.objects = Some(*stream),
            flow::Done::EndObjects(stream) => {
                let root = self.end_tree()?;
                self.made.objects.push(root);
                self.objects_ended.push(*stream);
                self.objects = None;
            }
            flow::Done::Forget => drop(self.end_list()?),
        }
        Ok(())
    }

    fn end_list(&mut self) -> Result<(Content, u64)> {
        let store = &mut self.store;
        std::mem::take(&mut self.list).finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    fn item(&mut self, item: DoneItem, data: &mut &[u8]) -> Result<()> {
        let DoneItem { dir, entry, content, action } = item;
        if let DoneContent::SameAs(target) = content {
            self.progress.files_done += 1;
            let Some(members) = &mut self.members else { return Err(Error::SelfCheck { what: "a link of a tar archive" }) };
            let taken = members.link(&dir, &entry.name.0, &target)?;
            self.refusal(&dir, &entry, taken);
            return Ok(());
        }
        if matches!(content, DoneContent::LeftOut) {
            let Some(members) = &mut self.members else { return Err(Error::SelfCheck { what: "what is left out of a tar archive" }) };
            return members.leave_out(&dir, &entry.name.0);
        }
        let content = match content {
            DoneContent::None => None,
            DoneContent::Known(content) => {
                self.progress.bytes_done += entry.size;
                Some(content)
            }
            DoneContent::Chunks(chunks) => {
                for (id, bytes) in chunks {
                    let (chunk, rest) = data.split_at(bytes as usize);
                    self.store.add(Class::Data, id, chunk)?;
                    let store = &mut self.store;
                    self.list.push(Item::Chunk(id), u64::from(bytes), &mut |class, plain: &[u8]| store.add_tree(class, plain))?;
                    *data = rest;
                    self.progress.bytes_done += u64::from(bytes);
                    self.progress.bytes_read += u64::from(bytes);
                }
                Some(self.end_list()?.0)
            }
            DoneContent::Gathered => {
                let gathered = self.end_list()?.0;
                (entry.status != STATUS_UNREADABLE).then_some(gathered)
            }
            // Dealt with above.
            DoneContent::SameAs(_) | DoneContent::LeftOut => None,
        };
        self.progress.files_done += u64::from(entry.kind == EntryKind::File);
        if let Some(members) = &mut self.members {
            let taken = members.take(&dir, &entry, content.as_ref())?;
            self.refusal(&dir, &entry, taken);
            return Ok(());
        }
        self.count(&entry, action);
        if self.observer.wants_items() {
            self.observer.item(&join(&dir, &entry.name.0), action, entry.size);
        }
        let store = &mut self.store;
        self.tree.push(&dir, &entry, content.as_ref(), &mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    fn count(&mut self, entry: &Entry, action: Action) {
        let s = &mut self.made.summary;
        let by_action = |new, changed, same| match action {
            Action::New => new,
            Action::Unchanged => same,
            _ => changed,
        };
        match entry.kind {
            EntryKind::File => {
                *by_action(&mut s.files_new, &mut s.files_changed, &mut s.files_unmodified) += 1;
                s.files_total += 1;
                s.bytes_total += entry.size;
            }
            EntryKind::Directory => *by_action(&mut s.dirs_new, &mut s.dirs_changed, &mut s.dirs_unmodified) += 1,
            _ => s.others += 1,
        }
    }

    fn refusal(&mut self, dir: &[u8], entry: &Entry, taken: Result<(), Refusal>) {
        if let Err(why) = taken {
            let path = display(&join(dir, &entry.name.0));
            self.error(SourceError { path, during: "store", source: std::io::Error::other(why) });
        }
    }

    /// The name of the archive that is being read.
    fn tar_name(&self) -> &'s [u8] {
        self.compared.options.tars.get(self.made.tars.len()).map_or(&b""[..], |tar| &tar.name)
    }

    /// Builds the tree of the archive that was read, and counts how it compares with the one of that name in the parent.
    fn end_tar(&mut self, stream: Stream) -> Result<()> {
        let Some(members) = self.members.take() else { return Err(Error::SelfCheck { what: "the end of a tar archive" }) };
        let Compared { reader, parents, options } = self.compared;
        let name = self.tar_name();
        let mut compare = ParentJoin::new(reader, parents.all(), Tree::Named(name), options);
        let root = self.tree_of(&members, &mut |assembler, dir, entry, content| {
            let prior = compare.find(dir, &entry.name.0);
            let same = prior.as_ref().is_some_and(|prior| prior.entry == *entry && prior.content.as_ref() == content);
            let action = action(prior.as_ref().map(|prior| &prior.entry), same);
            assembler.count(entry, action);
            if assembler.observer.wants_items() {
                assembler.observer.item(&join(dir, &entry.name.0), action, entry.size);
            }
        })?;
        self.made.tars.push(root);
        self.tars_ended.push(stream);
        Ok(())
    }

    /// Builds the tree of the entries that an archive had so far.
    fn tree_of(&mut self, members: &Members, each: &mut dyn FnMut(&mut Self, &[u8], &Entry, Option<&Content>)) -> Result<Option<TreeRoot>> {
        let mut tree = TreeWriter::new(self.store.repository.cutter().clone());
        members.each(|dir, entry, content| {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            each(self, dir, &entry, content.as_ref());
            let store = &mut self.store;
            tree.push(dir, &entry, content.as_ref(), &mut |class, plain: &[u8]| store.add_tree(class, plain))
        })?;
        let store = &mut self.store;
        tree.finish(&mut |class, plain: &[u8]| store.add_tree(class, plain))
    }

    /// The trees of the archives and buckets that were read, and of the archive that is being read.
    fn trees_so_far(&mut self) -> Result<Vec<(TreeRoot, Vec<u8>, Option<Stream>)>> {
        let names: Vec<Vec<u8>> = self.compared.options.tars.iter().map(|tar| tar.name.clone()).collect();
        let mut trees: Vec<_> = self.made.tars.iter().copied().zip(self.tars_ended.iter().cloned().map(Some)).collect();
        if let Some(members) = self.members.take() {
            let tree = self.tree_of(&members, &mut |_, _, _, _| {});
            self.members = Some(members);
            trees.push((tree?, None));
        }
        let buckets = self.made.objects.iter().copied().zip(self.objects_ended.iter().cloned().map(Some));
        let buckets = buckets.zip(self.compared.options.objects.iter().map(|source| source.name.clone()));
        Ok(trees.into_iter().zip(names).chain(buckets).filter_map(|((tree, stream), name)| Some((tree?, name, stream))).collect())
    }

    /// What was made of it all.
    pub fn finish(self) -> Assembled {
        let mut made = self.made;
        made.tree = self.root;
        made.summary.data_chunks = self.store.data_chunks;
        made.summary.tree_chunks = self.store.tree_chunks;
        made.summary.bytes_added = self.store.bytes_added;
        made.summary.bytes_read = self.progress.bytes_read;
        made
    }
}
