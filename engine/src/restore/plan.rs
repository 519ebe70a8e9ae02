//! The walking thread of a restore: which entries, where to, in which batches; and what comes after all files: hard links,
//! directories from the deepest up. Holds no content, and of each directory only its encoded entry.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, compare_dirs, join, split};
use crate::format::lists::{Content, Item};
use crate::format::wire::{from_bytes, to_bytes};
use crate::id::Class;
use crate::pack::reader::{Expected, ReadBuffers};
use crate::repository::entries::{holds, is_below, place_of, stream_entry};
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::repository::tree::{ContentCursor, Items, TreeCursor};
use crate::restore::ends_restore;
use crate::restore::target::Standing;
use crate::restore::work::{FileJob, Job, LongFile, Pass, Shared, wrong_length};
use crossbeam_channel::Sender;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::sync::Arc;

/// Content in one batch of files: several frames, so that two workers seldom wait for the same one.
const BATCH_BYTES: u64 = 4 << 20;
/// Files in one batch.
const BATCH_FILES: usize = 1024;
/// Files from this size on are written piece by piece, by several workers where they have a list tree.
const LONG_FILE_BYTES: u64 = 2 << 20;

/// A later member of a hard-linked file.
struct Link {
    dir: Arc<[u8]>,
    entry: Box<[u8]>,
    content: Option<Content>,
}

/// See the module's text.
pub struct Plan<'a> {
    shared: &'a Shared<'a>,
    selected: &'a Selected,
    selection: &'a Selection,
    pass: Pass,
    jobs: Option<Sender<Job>>,
    batch: Vec<FileJob>,
    batch_bytes: u64,
    /// Directories in the order of the tree: target path, encoded entry.
    /// No entry: its attributes are not the restore's.
    directories: Vec<(Box<[u8]>, Option<Box<[u8]>>)>,
    /// With includes: directories that are not meant, but may have to be made for what is in them.
    ancestors: HashMap<Vec<u8>, Box<[u8]>>,
    links: Vec<Link>,
    /// First members by device and inode, with what they hold.
    linked: HashMap<(u64, u64), [u8; 16]>,
    buffers: ReadBuffers,
    /// Where the workers' reading is expected, if that is worth while: they wait for a store that is far away, and all content comes from it.
    expected: Option<Expected>,
    found: bool,
    /// Whether anything was meant.
    pub matched: bool,
    /// Whether part of the tree could not be read.
    pub torn: bool,
    /// The target directory to which the way was looked at last, and all below which nothing is restored.
    way: Vec<u8>,
    blocked: HashSet<Vec<u8>>,
}

impl<'a> Plan<'a> {
    /// A plan that hands its work to `jobs`.
    pub fn new(shared: &'a Shared<'a>, selected: &'a Selected, selection: &'a Selection, pass: Pass, jobs: Sender<Job>) -> Self {
        Plan {
            shared,
            selected,
            selection,
            pass,
            jobs: Some(jobs),
            batch: Vec::new(),
            batch_bytes: 0,
            directories: Vec::new(),
            ancestors: HashMap::new(),
            links: Vec::new(),
            linked: HashMap::new(),
            buffers: ReadBuffers::default(),
            expected: (pass == Pass::Write && shared.reader.is_far() && shared.target.was_empty() && !shared.target.options().dry_run)
                .then(Expected::default),
            found: selected.path.is_empty(),
            matched: false,
            torn: false,
            way: Vec::new(),
            blocked: HashSet::new(),
        }
    }

    /// Lets the workers end.
    pub fn close(&mut self) {
        self.jobs = None;
    }

    fn check(&self) -> Result<()> {
        if self.shared.stopped() || self.shared.observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn send(&self, job: Job) -> Result<()> {
        self.check()?;
        self.jobs.as_ref().ok_or(Error::Interrupted)?.send(job).map_err(|_| Error::Interrupted)
    }

    /// Says what will be read, some batches before a worker comes to it.
    fn expect<'i>(&mut self, items: impl IntoIterator<Item = &'i Item>) {
        if let Some(expected) = &mut self.expected {
            let id = |item: &'i Item| if let Item::Chunk(id) = item { Some(id) } else { None };
            self.shared.reader.expect(Class::Data, items.into_iter().filter_map(id), expected);
        }
    }

    /// Walks everything that is selected.
    pub fn all(&mut self) -> Result<()> {
        let snapshot = &self.selected.snapshot;
        for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
            if let Some((dir, entry)) = stream_entry(names, index.bytes) {
                self.entry(&dir.into(), entry, index.content.clone())?;
            }
        }
        for root in snapshot.index.roots.iter().filter_map(|r| r.as_tree()) {
            let mut cursor = TreeCursor::new(self.shared.reader, &root);
            let (dir, name) = split(&self.selected.path);
            match cursor.seek(dir, name) {
                Err(error) => {
                    self.torn = true;
                    self.shared.error(error)?;
                }
                Ok(()) => self.tree(&mut cursor)?,
            }
        }
        self.flush()?;
        if self.found {
            return Ok(());
        }
        let path = String::from_utf8_lossy(&self.selected.path).into_owned();
        Err(Error::NoSuchPath { snapshot: snapshot.id, path })
    }

    fn tree(&mut self, cursor: &mut TreeCursor<'_>) -> Result<()> {
        let sub = self.selected.path.clone();
        loop {
            let groups = match cursor.next_leaf() {
                Ok(Some(groups)) => groups,
                Ok(None) => return Ok(()),
                // What cannot be read of the tree is lost; the leaves behind it are not.
                Err(error) => {
                    // When what was written is read back, it was said already. What could be read then and cannot now was not.
                    if self.pass == Pass::Write || !self.torn {
                        self.torn |= self.pass == Pass::Write;
                        self.shared.error(error)?;
                    }
                    continue;
                }
            };
            for group in groups {
                let dir: Arc<[u8]> = group.dir.into();
                if !is_below(&sub, &dir) {
                    // Behind everything below the path: done.
                    if compare_dirs(&dir, &sub) == Ordering::Greater {
                        return Ok(());
                    }
                    if *dir != *split(&sub).0 {
                        continue;
                    }
                }
                for (entry, content) in group.entries {
                    self.entry(&dir, entry, content)?;
                }
            }
        }
    }

    fn entry(&mut self, dir: &Arc<[u8]>, mut entry: Entry, content: Option<Content>) -> Result<()> {
        let path = join(dir, &entry.name.0);
        let is_dir = entry.kind == EntryKind::Directory;
        let Some(place) = place_of(&self.selected.path, &path, is_dir) else { return Ok(()) };
        self.found = true;
        // As the paths are shown: with a part of a snapshot, from there on.
        if !self.selection.wants(&place) {
            if is_dir && self.selection.has_includes() && self.pass == Pass::Write {
                self.ancestors.insert(place, to_bytes(&entry).into());
            }
            return Ok(());
        }
        self.matched = true;
        let (target_dir, _) = split(&place);
        if is_dir {
            if self.pass == Pass::Write && self.way_is_free(&place)? {
                self.directory(place, entry)?;
            }
            return Ok(());
        }
        let first = self.pass == Pass::Write;
        if first {
            self.shared.count(&entry);
        }
        if !self.way_is_free(target_dir)? {
            if first {
                self.shared.kept(&place, entry.size);
            }
            return Ok(());
        }
        if entry.kind == EntryKind::File && content.is_none() {
            return if first { self.shared.not_stored(&place) } else { Ok(()) };
        }
        if content.as_ref().is_some_and(|content| !content.can_be(entry.size)) {
            let error = wrong_length(self.shared, target_dir, &entry);
            return if first { self.shared.lost(target_dir, &entry, error) } else { Ok(()) };
        }
        let dir: Arc<[u8]> = target_dir.into();
        if entry.links > 1 && self.pass == Pass::Write {
            let holds = holds(&entry, content.as_ref());
            match self.linked.entry((entry.device, entry.inode)) {
                Slot::Vacant(slot) => {
                    slot.insert(holds);
                }
                Slot::Occupied(first) if *first.get() == holds => {
                    self.links.push(Link { dir, entry: to_bytes(&entry).into(), content });
                    return Ok(());
                }
                // Its inode belonged to another file when that was read: spools make and remove links all the time.
                Slot::Occupied(_) => entry.links = 1,
            }
        }
        match content {
            Some(content) if entry.size >= LONG_FILE_BYTES && self.pass == Pass::Write => self.long_file(dir, entry, &content),
            content => {
                self.batch_bytes = self.batch_bytes.saturating_add(entry.size);
                self.batch.push(FileJob { dir, entry, content });
                if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
            }
        }
    }

    /// Whether a target directory can be restored into. What stands in the way is said once, not for each entry behind it.
    fn way_is_free(&mut self, dir: &[u8]) -> Result<bool> {
        // In a target that was empty there is only what this run made.
        let empty = self.shared.target.was_empty();
        if empty && self.ancestors.is_empty() {
            return Ok(true);
        }
        if self.shared.target.was_made() {
            self.will_make(b"");
        }
        let ends = dir.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([dir.len()]);
        for path in ends.map(|end| &dir[..end]).filter(|path| !path.is_empty()) {
            if self.blocked.contains(path) {
                return Ok(false);
            }
            if is_below(path, &self.way) {
                continue;
            }
            let standing = if empty { Ok(Standing::Nothing) } else { self.shared.target.standing(path) };
            match standing {
                Ok(Standing::Nothing) => {
                    self.will_make(path);
                    continue;
                }
                Ok(Standing::Other) if !self.shared.target.options().overwrite.replaces_for_directory() => {
                    if self.pass == Pass::Write {
                        self.shared.kept(path, 0);
                    }
                }
                Ok(_) => continue,
                Err(error) if self.pass == Pass::Write => self.shared.error(error)?,
                Err(_) => {}
            }
            self.blocked.insert(path.to_vec());
            return Ok(false);
        }
        self.way = dir.to_vec();
        Ok(true)
    }

    /// A directory that is made for what is in it gets its attributes like those that are meant.
    fn will_make(&mut self, path: &[u8]) {
        if let Some(entry) = self.ancestors.remove(path) {
            self.directories.push((path.into(), Some(entry)));
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        for job in &batch {
            if let Some(Content::Inline(items)) = &job.content {
                self.expect(items);
            }
        }
        if batch.is_empty() { Ok(()) } else { self.send(Job::Files(batch)) }
    }

    fn directory(&mut self, place: Vec<u8>, entry: Entry) -> Result<()> {
        self.shared.count_directory();
        if !self.shared.target.options().dry_run {
            // Made now, so that an empty one is there too; its attributes wait for its children.
            if let Err(error) = self.shared.target.directory(&place) {
                return self.shared.error(error);
            }
        }
        // A directory that the user chose as the target is the user's.
        let kept = place.is_empty() && !self.shared.target.was_made();
        self.directories.push((place.into(), (!kept).then(|| to_bytes(&entry).into())));
        Ok(())
    }

    fn long_file(&mut self, dir: Arc<[u8]>, entry: Entry, content: &Content) -> Result<()> {
        self.flush()?;
        let size = entry.size;
        let Some(file) = LongFile::begin(self.shared, dir, entry)? else { return Ok(()) };
        let file = Arc::new(file);
        let mut cursor = ContentCursor::new(content);
        let mut offset = 0;
        loop {
            match cursor.next_items(self.shared.reader, &mut self.buffers) {
                Ok(Some(Items { items, bytes })) => {
                    // An inline list says nothing of its length; being all of the content, it has that of the file.
                    let bytes = bytes.unwrap_or(size);
                    file.expect_segment();
                    self.expect(&items);
                    self.send(Job::Segment { file: file.clone(), offset, items, bytes })?;
                    offset += bytes;
                    // It will get no name: what more it claims to be is not worth reading.
                    if file.is_spoilt() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    file.fail(self.shared, error)?;
                    break;
                }
            }
        }
        if offset != size {
            file.wrong_length(self.shared)?;
        }
        // The plan holds one share of the file, so that it is not finished before its last segment was sent.
        file.segment_done(self.shared)
    }

    /// Links the later members of hard-linked files to the first, or restores them from their own content where there is none.
    pub fn links(&mut self) -> Result<()> {
        for link in std::mem::take(&mut self.links) {
            self.check()?;
            let Ok(entry) = from_bytes::<Entry>(&link.entry, "entry") else { continue };
            self.shared.link(FileJob { dir: link.dir, entry, content: link.content })?;
        }
        Ok(())
    }

    /// Gives directories their attributes, the deepest first: a child made later would change its parent's time.
    pub fn directories(&mut self) -> Result<()> {
        let directories = std::mem::take(&mut self.directories);
        if self.pass == Pass::Verify {
            return Ok(());
        }
        for (place, encoded) in directories.iter().rev() {
            self.check()?;
            let Some(encoded) = encoded else { continue };
            let Ok(entry) = from_bytes::<Entry>(encoded, "entry") else { continue };
            if self.shared.target.options().dry_run {
                self.shared.target.foresee(place, b"", &entry);
                continue;
            }
            match self.shared.target.finish_directory(place, &entry) {
                Ok(problems) => problems.into_iter().try_for_each(|problem| self.shared.error(problem))?,
                Err(error) if ends_restore(&error) => return Err(error),
                Err(error) => self.shared.error(error)?,
            }
        }
        Ok(())
    }
}
