//! The parent snapshot, merge-joined with the walk: both are sorted the same way, so one leaf at a time is enough.
//! A parent that cannot be read costs re-reading the source, never the run.

use crate::backup::options::{BackupOptions, ParentChoice};
use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, STATUS_OK, compare};
use crate::format::lists::{Content, Item};
use crate::format::manifest::{ROOT_PATHS, ROOT_TAR};
use crate::format::wire::Time;
use crate::id::{Class, SnapshotId};
use crate::observe::Action;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::tree::{ContentCursor, TreeCursor};
use crate::source::objects::attributes::etag_of;
use crate::store::Listed;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::vec::IntoIter;

/// Slack for clocks that tick coarsely: a file changed within the tick in which the last scan began may carry an older time.
pub const TICK_NANOS: u64 = 20_000_000;
/// The same for file systems that keep whole seconds (two for FAT).
const COARSE_TICK_NANOS: u64 = 2_000_000_000;

/// Leaves of a parent that may be lost before all of it is given up.
const LOST_MAX: u32 = 64;

/// Entries of one directory that are not yet passed.
type Rest = IntoIter<(Entry, Option<Content>)>;

/// What a run is compared with.
pub struct Parents {
    /// The snapshot.
    pub snapshot: Option<Snapshot>,
    /// What a run of the same series had done that did not end, where that is newer.
    pub pending: Option<Snapshot>,
}

impl Parents {
    /// Both, the one that is asked first first.
    pub fn all(&self) -> impl Iterator<Item = &Snapshot> {
        self.pending.iter().chain(&self.snapshot)
    }

    /// As `options` say. A dead run's pending is only a parent: nothing of it is deleted, for it may not be dead.
    pub fn choose(
        repository: &Repository,
        options: &BackupOptions,
        series: &str,
        (committed, pendings): (&HashSet<SnapshotId>, Vec<Listed>),
    ) -> Result<Self> {
        let snapshot = match &options.parent {
            ParentChoice::None => return Ok(Parents { snapshot: None, pending: None }),
            ParentChoice::Snapshot(selector) => {
                let selected = repository.select(selector, &Default::default())?;
                return Ok(Parents { snapshot: Some(selected.snapshot), pending: None });
            }
            ParentChoice::Newest => repository.catalog().newest(series, &options.host)?,
        };
        let since = snapshot.as_ref().map(|s| s.index.started);
        let ours = |p: &Snapshot| p.names.series == series && p.names.host == options.host && since.is_none_or(|at| p.index.finished > at);
        let pending = repository.read_pendings(pendings, committed)?.into_iter().rev().find(ours);
        Ok(Parents { snapshot, pending })
    }
}

/// Which tree of a parent a source is compared with.
#[derive(Clone, Copy)]
pub enum Tree<'n> {
    /// That of the paths.
    Paths,
    /// That of the tar archive or bucket with this name.
    Named(&'n [u8]),
}

/// A tree that is walked beside the source.
struct Side<'r> {
    cursor: Option<TreeCursor<'r>>,
    groups: IntoIter<crate::format::tree::Group>,
    group: Option<(Arc<[u8]>, Rest)>,
    ahead: Option<(Arc<[u8]>, Entry, Option<Content>)>,
    /// Leaves and nodes that could not be read.
    lost: u32,
    /// When the run that made it began.
    scanned: Time,
    /// What it did not record.
    without: u8,
}

/// Walks the parent beside the source; what a run had done that did not end comes first, for it is newer.
pub struct ParentJoin<'r> {
    reader: &'r ChunkReader,
    sides: Vec<Side<'r>>,
    buffers: ReadBuffers,
    ignore_inode: bool,
    ignore_ctime: bool,
    /// What this run does not record.
    without: u8,
    /// Why a parent was given up.
    pub failure: Option<Error>,
}

/// What the parent says about an entry.
pub struct Prior {
    /// The entry there.
    pub entry: Entry,
    /// Its content there.
    pub content: Option<Content>,
    /// When the run that saw it so began.
    scanned: Time,
    /// What that run did not record.
    without: u8,
}

impl<'r> Side<'r> {
    fn new(reader: &'r ChunkReader, parent: &Snapshot, tree: Tree<'_>) -> Option<Self> {
        let roots = parent.index.roots.iter().zip(&parent.names.roots);
        let is_meant = |kind, name: &[u8]| match tree {
            Tree::Paths => kind == ROOT_PATHS,
            Tree::Named(meant) => kind == ROOT_TAR && name == meant,
        };
        let root = roots.into_iter().find(|(index, names)| is_meant(index.kind, &names.name.0)).and_then(|(index, _)| index.as_tree())?;
        let cursor = Some(TreeCursor::new(reader, &root));
        let (scanned, without) = (parent.index.started, parent.names.without);
        Some(Side { cursor, groups: Vec::new().into_iter(), group: None, ahead: None, lost: 0, scanned, without })
    }

    fn advance(&mut self) -> Result<Option<(Arc<[u8]>, Entry, Option<Content>)>> {
        loop {
            if let Some((dir, entries)) = &mut self.group {
                if let Some((entry, content)) = entries.next() {
                    return Ok(Some((dir.clone(), entry, content)));
                }
                self.group = None;
            }
            if let Some(group) = self.groups.next() {
                self.group = Some((group.dir.into(), group.entries.into_iter()));
                continue;
            }
            let Some(cursor) = &mut self.cursor else { return Ok(None) };
            match cursor.next_leaf() {
                Ok(Some(groups)) => self.groups = groups.into_iter(),
                Ok(None) => self.cursor = None,
                Err(error) => {
                    // A leaf or node that is lost costs the files in it; behind it the parent goes on. Where a whole pack is gone, or the
                    // store away, it is not asked for leaf by leaf.
                    self.lost += 1;
                    if !error.is_damage() || self.lost > LOST_MAX {
                        self.cursor = None;
                    }
                    return Err(error);
                }
            }
        }
    }

    fn find(&mut self, dir: &[u8], name: &[u8]) -> Result<Option<Prior>> {
        loop {
            let next = match self.ahead.take() {
                Some(ahead) => Some(ahead),
                None => self.advance()?,
            };
            let Some((at, entry, content)) = next else { return Ok(None) };
            match compare((&at, &entry.name.0), (dir, name)) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(Prior { entry, content, scanned: self.scanned, without: self.without })),
                Ordering::Greater => {
                    self.ahead = Some((at, entry, content));
                    return Ok(None);
                }
            }
        }
    }
}

impl<'r> ParentJoin<'r> {
    /// At the start of the trees of `parents`, the one that is asked first first.
    pub fn new<'s>(
        reader: &'r ChunkReader,
        parents: impl IntoIterator<Item = &'s Snapshot>,
        tree: Tree<'_>,
        options: &BackupOptions,
    ) -> Self {
        ParentJoin {
            reader,
            sides: parents.into_iter().filter_map(|parent| Side::new(reader, parent, tree)).collect(),
            buffers: ReadBuffers::default(),
            ignore_inode: options.ignore_inode,
            ignore_ctime: options.ignore_ctime,
            without: options.walk.attributes.left_out(),
            failure: None,
        }
    }

    /// What the parents hold under (dir, name). Questions come in order.
    pub fn find(&mut self, dir: &[u8], name: &[u8]) -> Option<Prior> {
        for side in &mut self.sides {
            match side.find(dir, name) {
                Ok(Some(prior)) => return Some(prior),
                Ok(None) => {}
                Err(error) => self.failure = Some(error),
            }
        }
        None
    }

    /// Whether `now` is what `prior` was: as far as attributes can tell, and they can tell once the clock has ticked on.
    pub fn unchanged(&self, now: &Entry, prior: &Prior) -> bool {
        let Prior { entry: prior, scanned, .. } = prior;
        if now.kind != prior.kind || prior.status != STATUS_OK {
            return false;
        }
        let same_ctime = self.ignore_ctime || now.ctime == prior.ctime;
        let same_inode = self.ignore_inode || now.inode == prior.inode;
        let same_size = now.kind != EntryKind::File || now.size == prior.size;
        let deciding = if self.ignore_ctime { prior.mtime } else { prior.ctime };
        // A time of whole seconds is what coarse file systems give; a fine one gives it once in 10^9.
        let tick = if deciding.nanos == 0 { COARSE_TICK_NANOS } else { TICK_NANOS };
        let settled = match (deciding.as_nanos(), scanned.as_nanos()) {
            (Some(deciding), Some(scanned)) => deciding.saturating_add_unsigned(tick) < scanned,
            _ => false,
        };
        now.mtime == prior.mtime && same_ctime && same_inode && same_size && settled
    }

    /// Whether an object of a bucket is what `prior` was: what its ETag tells, and where there is none its time, once the clock has ticked on.
    pub fn same_object(&self, now: &Entry, etag: &str, prior: &Prior) -> bool {
        let Prior { entry: prior, scanned, .. } = prior;
        let same = now.kind == prior.kind && prior.status == STATUS_OK && now.size == prior.size && now.mtime == prior.mtime;
        let settled = || match (prior.mtime.as_nanos(), scanned.as_nanos()) {
            (Some(put), Some(scanned)) => put.saturating_add_unsigned(COARSE_TICK_NANOS) < scanned,
            _ => false,
        };
        same && etag_of(&prior.xattrs) == etag.as_bytes() && (!etag.is_empty() || settled())
    }

    /// Whether the attributes of an unchanged entry must be read all the same: without ctime nobody can tell whether they changed, and a
    /// run that records others than this one does not have them.
    pub fn must_read_attributes(&self, prior: &Prior) -> bool {
        self.ignore_ctime || self.without != prior.without
    }

    /// Whether all chunks of `content`, and the nodes above them, are in packs that can be relied on.
    pub fn is_stored(&mut self, content: &Content) -> bool {
        let index = self.reader.index();
        if let Content::Inline(items) = content {
            return items.iter().all(|item| !matches!(item, Item::Chunk(id) if !index.has(Class::Data, id)));
        }
        let mut cursor = ContentCursor::new(content);
        loop {
            match cursor.next_items(self.reader, &mut self.buffers) {
                Ok(Some(found)) => {
                    if found.items.iter().any(|item| matches!(item, Item::Chunk(id) if !index.has(Class::Data, id))) {
                        return false;
                    }
                }
                Ok(None) => return cursor.nodes_seen().iter().all(|id| index.has(Class::Lists, id)),
                Err(_) => return false,
            }
        }
    }
}

/// Takes what only a change of `ctime` could have changed from the parent's entry.
pub fn inherit(now: &mut Entry, prior: Entry) {
    now.user = prior.user;
    now.group = prior.group;
    now.xattrs = prior.xattrs;
    now.flags = prior.flags;
    now.target = prior.target;
    now.profile = prior.profile;
    now.extra = prior.extra;
}

/// How an entry without content compares with the parent's.
pub fn action(prior: Option<&Entry>, unchanged: bool) -> Action {
    match (prior, unchanged) {
        (None, _) => Action::New,
        (Some(_), true) => Action::Unchanged,
        (Some(_), false) => Action::Changed,
    }
}
