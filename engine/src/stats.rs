//! Counting what snapshots hold, in restic's ways: what a restore would write, each content once, chunks file by file. Leaves that several
//! snapshots share are read once. Nothing of a content is read.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, join};
use crate::format::lists::{Content, Item};
use crate::format::tree::{Group, TreeRoot};
use crate::format::wire::to_bytes;
use crate::id::{ChunkId, Class};
use crate::index::numbers::Numbers;
use crate::index::session::IdHasher;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::entries::stream_entry;
use crate::repository::lengths::lengths;
use crate::repository::tree::{ContentCursor, TreeCursor, Twins};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

/// Hard links that leaves which were read are remembered with: 96 MiB. Leaves with more are read again for each snapshot.
const LINKS_KEPT_MAX: usize = 4 << 20;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What restoring each of the snapshots writes; names of one file are written once.
    RestoreSize,
    /// Each content once, wherever it is.
    FilesByContents,
    /// Each content once, by its chunks; a chunk counts once for each path.
    BlobsPerFile,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Entries of any kind in [`Mode::RestoreSize`], contents in [`Mode::FilesByContents`], paths in [`Mode::BlobsPerFile`].
    pub files: u64,
    /// Chunks, each once for each path; only in [`Mode::BlobsPerFile`].
    pub blobs: u64,
    /// Bytes.
    pub bytes: u64,
    /// Chunks whose length nobody could tell, for their packs are archived, damaged or gone: they are not in the bytes.
    pub unmeasured: u64,
}

/// Hashes of what was met; 16 bytes of them tell as much as anybody needs.
type Met = HashSet<[u8; 16], BuildHasherDefault<IdHasher>>;

fn short(hash: blake3::Hash) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash.as_bytes()[..16]);
    out
}

/// What a leaf has for [`Mode::RestoreSize`].
struct Leaf {
    entries: u64,
    /// Of files with one name.
    bytes: u64,
    /// Files with several: file system, inode, length.
    links: Vec<(u64, u64, u64)>,
}

/// Counts what `snapshots` hold.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::Silent;
/// use seabed_engine::stats::{Mode, count};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// # example::snapshot(&repository)?;
/// let snapshots = repository.catalog().snapshots()?;
/// assert_eq!(count(&repository, &snapshots, Mode::RestoreSize, &Silent)?.bytes, 20, "a letter in each of two");
/// assert_eq!(count(&repository, &snapshots, Mode::FilesByContents, &Silent)?.bytes, 10, "which is the same one");
/// # Ok(())
/// # }
/// ```
pub fn count(repository: &Repository, snapshots: &[Snapshot], mode: Mode, observer: &dyn Observer) -> Result<Totals> {
    let reader = repository.reader()?;
    let mut counting = Counting {
        reader: &reader,
        observer,
        mode,
        buffers: ReadBuffers::default(),
        totals: Totals::default(),
        leaves: HashMap::default(),
        links_kept: 0,
        seen: HashSet::default(),
        contents: Met::default(),
        paths: Met::default(),
        references: Met::default(),
        looked_at: 0,
        numbers: None,
        times: Vec::new(),
    };
    for snapshot in snapshots {
        counting.snapshot(snapshot).map_err(|error| repository.unless_forgotten(&snapshot.id, error))?;
    }
    counting.lengths(repository)?;
    Ok(counting.totals)
}

struct Counting<'c> {
    reader: &'c ChunkReader,
    observer: &'c dyn Observer,
    mode: Mode,
    buffers: ReadBuffers,
    totals: Totals,
    /// By the names side.
    leaves: HashMap<ChunkId, Leaf, BuildHasherDefault<IdHasher>>,
    links_kept: usize,
    /// Leaves of which every content was met: by the lists side, and by the names side too where paths count. Two archives of files that
    /// differ in content alone have one names side.
    seen: HashSet<(Option<ChunkId>, ChunkId), BuildHasherDefault<IdHasher>>,
    contents: Met,
    paths: Met,
    references: Met,
    looked_at: u64,
    /// For each chunk how often it counts.
    numbers: Option<Numbers>,
    times: Vec<u32>,
}

impl Counting<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
            if let Some(root) = index.as_tree() {
                self.tree(&root)?;
            } else if let Some((dir, entry)) = stream_entry(names, index.bytes) {
                if self.mode == Mode::RestoreSize {
                    self.totals.files += 1;
                    self.add(entry.size);
                } else if let Some(content) = &index.content {
                    self.content(&dir, &entry, content)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, bytes: u64) {
        self.totals.bytes = self.totals.bytes.saturating_add(bytes);
    }

    fn tree(&mut self, root: &TreeRoot) -> Result<()> {
        let mut cursor = TreeCursor::new(self.reader, root);
        if self.mode == Mode::RestoreSize {
            cursor = cursor.names_only();
        }
        // Names of one file are one file within a snapshot.
        let mut met: HashSet<(u64, u64)> = HashSet::new();
        while let Some(ahead) = cursor.ahead() {
            let (level, Twins { names, lists }) = (ahead.level, ahead.twins);
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let leaf = ((self.mode == Mode::BlobsPerFile).then_some(names), lists);
            let is_known = level == 0
                && match self.mode {
                    Mode::RestoreSize => self.known_leaf(&names, &mut met),
                    Mode::FilesByContents | Mode::BlobsPerFile => self.seen.contains(&leaf),
                };
            if is_known {
                cursor.pass();
                continue;
            }
            let groups = cursor.open()?;
            if level > 0 {
                continue;
            }
            self.looked_at += groups.iter().map(|group| group.entries.len() as u64).sum::<u64>();
            let (files_done, bytes_done) = (self.looked_at, self.totals.bytes);
            self.observer.progress(&Progress { stage: Stage::Working, files_done, bytes_done, ..Progress::default() });
            if self.mode == Mode::RestoreSize {
                self.leaf(names, &groups, &mut met);
                continue;
            }
            for group in &groups {
                for (entry, content) in &group.entries {
                    if let Some(content) = content {
                        self.content(&group.dir, entry, content)?;
                    }
                }
            }
            self.seen.insert(leaf);
        }
        Ok(())
    }

    /// Counts a leaf that was read before.
    fn known_leaf(&mut self, id: &ChunkId, met: &mut HashSet<(u64, u64)>) -> bool {
        let Some(leaf) = self.leaves.get(id) else { return false };
        self.totals.files += leaf.entries;
        let linked = leaf.links.iter().filter(|(device, inode, _)| *inode == 0 || met.insert((*device, *inode)));
        let bytes = linked.map(|(_, _, bytes)| *bytes).fold(leaf.bytes, u64::saturating_add);
        self.add(bytes);
        true
    }

    /// Counts a leaf that was just read, and remembers it.
    fn leaf(&mut self, id: ChunkId, groups: &[Group], met: &mut HashSet<(u64, u64)>) {
        let mut leaf = Leaf { entries: 0, bytes: 0, links: Vec::new() };
        for (entry, _) in groups.iter().flat_map(|group| &group.entries) {
            leaf.entries += 1;
            match (entry.kind, entry.links) {
                (EntryKind::File, 2..) => leaf.links.push((entry.device, entry.inode, entry.size)),
                (EntryKind::File, _) => leaf.bytes = leaf.bytes.saturating_add(entry.size),
                _ => {}
            }
        }
        let links = leaf.links.len();
        self.leaves.insert(id, leaf);
        self.known_leaf(&id, met);
        if self.links_kept + links > LINKS_KEPT_MAX {
            self.leaves.remove(&id);
        } else {
            self.links_kept += links;
        }
    }

    /// A chunk counts once more; how long it is is asked for at the end, pack by pack.
    fn measure(&mut self, id: &ChunkId) -> Result<()> {
        let reader = self.reader;
        let numbers = self.numbers.get_or_insert_with(|| Numbers::new(reader.index().clone()));
        let number = numbers.find(Class::Data, id).ok_or(Error::ChunkMissing { id: *id })?;
        if self.times.len() <= number {
            self.times.resize((number + 1).max(numbers.count()), 0);
        }
        self.times[number] = self.times[number].saturating_add(1);
        Ok(())
    }

    fn lengths(&mut self, repository: &Repository) -> Result<()> {
        let Some(numbers) = &self.numbers else { return Ok(()) };
        let (times, mut bytes, mut unknown) = (&self.times, 0u64, 0u64);
        let wanted = |number: usize| times.get(number).is_some_and(|times| *times > 0);
        lengths(repository, numbers, self.observer, &wanted, &mut |number, length| match length {
            Some(length) => bytes = bytes.saturating_add(length.saturating_mul(u64::from(times[number]))),
            None => unknown += 1,
        })?;
        self.totals.unmeasured = unknown;
        self.add(bytes);
        Ok(())
    }

    fn content(&mut self, dir: &[u8], entry: &Entry, content: &Content) -> Result<()> {
        if !self.contents.insert(short(blake3::hash(&to_bytes(content)))) {
            return Ok(());
        }
        if self.mode == Mode::FilesByContents {
            self.totals.files += 1;
            self.add(entry.size);
            return Ok(());
        }
        let path = blake3::hash(&join(dir, &entry.name.0));
        let mut has_chunks = false;
        let mut cursor = ContentCursor::new(content);
        while let Some(found) = cursor.next_items(self.reader, &mut self.buffers)? {
            for item in found.items {
                let Item::Chunk(id) = item else { continue };
                has_chunks = true;
                let mut reference = blake3::Hasher::new();
                reference.update(id.as_bytes()).update(path.as_bytes());
                if self.references.insert(short(reference.finalize())) {
                    self.totals.blobs += 1;
                    self.measure(&id)?;
                }
            }
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
        }
        if has_chunks && self.paths.insert(short(path)) {
            self.totals.files += 1;
        }
        Ok(())
    }
}
