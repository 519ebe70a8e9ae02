//! A view of snapshots as a tree of directories and files, read lazily: what a file system or a server shows of a repository.
//! Names, attributes, targets and attributes of the system come from leaves that are kept for a while; content is read by offset, and every
//! byte is verified before it is handed out. It must never hold more than its bounds, write anything, or keep the old list of snapshots from
//! whoever asks because a store does not answer.

mod ahead;
mod content;
pub mod inodes;
pub mod layout;
mod leaves;
pub mod node;
mod opened;
mod reading;
mod snapshots;

use crate::error::{Error, Result};
use crate::format::entry::{EntryKind, STATUS_UNREADABLE, Xattr, split};
use crate::format::wire::Time;
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::pack::lru::lock;
use crate::repository::Repository;
use crate::repository::selector::{Filter, Selected};
use crate::view::ahead::{Ahead, Pace};
use crate::view::content::{FileContent, Lists};
use crate::view::layout::{Above, Folder, Layout};
use crate::view::leaves::Leaves;
use crate::view::node::{Attributes, Inside, Node, Place};
use crate::view::opened::{Opened, Thing};
use crate::view::reading::Reading;
use crate::view::snapshots::Snapshots;
use std::collections::HashSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Threads that read ahead, where nothing waits for a network.
const AHEAD_THREADS: usize = 2;
/// Paths of which damage is said. What is damaged is looked at again and again by who walks a tree.
const SAID_MAX: usize = 1000;

/// How to show all snapshots.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Which.
    pub filter: Filter,
    /// Where each stands.
    pub layout: Layout,
    /// How long a list of them is good for whoever looks at the folders above them.
    pub refresh: Duration,
}

impl Default for ViewOptions {
    /// All of them, where they stand if nobody says otherwise; the list is good for a minute.
    fn default() -> Self {
        ViewOptions { filter: Filter::default(), layout: Layout::default(), refresh: Duration::from_secs(60) }
    }
}

/// What is read, and what is kept of it.
struct Shared {
    reading: Reading,
    leaves: Leaves,
    lists: Lists,
}

/// A view. Its methods may be called by many threads at a time.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::Silent;
/// use seabed_engine::view::View;
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// let selected = repository.select("latest:/home/ann", &Default::default())?;
/// let view = View::one(Arc::new(repository), &selected, Arc::new(Silent))?;
/// let (letter, attributes) = view.find(b"mail/letter.txt")?.ok_or("no letter")?;
/// assert_eq!(attributes.size, 10);
/// let file = view.open(&letter)?.ok_or("no file")?;
/// assert_eq!(view.read(&file, 5, 3)?, b"Ann");
/// # Ok(())
/// # }
/// ```
pub struct View {
    shared: Arc<Shared>,
    top: Top,
    ahead: Ahead,
    observer: Arc<dyn Observer + Send + Sync>,
    /// Paths of which damage was said.
    said: Mutex<HashSet<Vec<u8>>>,
}

/// What stands at the top.
enum Top {
    All(Arc<Snapshots>),
    One(Node, Arc<Opened>),
}

/// One name in a directory.
#[non_exhaustive]
pub struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// What is there.
    pub node: Node,
    /// What `stat` says of it.
    pub attributes: Attributes,
}

/// Some names of a directory, in order.
#[derive(Default)]
#[non_exhaustive]
pub struct Page {
    /// The names.
    pub names: Vec<Listed>,
    /// No more follow.
    pub is_last: bool,
    /// Some are missing, because they could not be read: now, or when the snapshot was made.
    pub is_torn: bool,
}

/// An open file.
pub struct File {
    content: Arc<FileContent>,
    pace: Pace,
    path: Vec<u8>,
}

impl File {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.content.bytes
    }
}

impl View {
    /// Of all snapshots that the catalog has, which the caller has refreshed.
    pub fn all(repository: Arc<Repository>, options: ViewOptions, observer: Arc<dyn Observer + Send + Sync>) -> Result<Self> {
        let ViewOptions { filter, layout, refresh } = options;
        let snapshots = Snapshots::new(repository.clone(), observer.clone(), filter, (layout, refresh))?;
        Ok(Self::new(repository, Top::All(snapshots), observer))
    }

    /// Of one snapshot, or a directory in it.
    pub fn one(repository: Arc<Repository>, selected: &Selected, observer: Arc<dyn Observer + Send + Sync>) -> Result<Self> {
        let opened = Arc::new(Opened::new(&selected.snapshot));
        let place = Arc::new(Place::new(opened.clone(), b""));
        let top = Node::Inside(Arc::new(Inside::top(place.clone())));
        let mut view = Self::new(repository, Top::One(top, opened.clone()), observer);
        if !selected.path.is_empty() {
            let (dir, name) = split(&selected.path);
            let path = || String::from_utf8_lossy(&selected.path).into_owned();
            let found = opened.find(&view.shared.leaves, &view.shared.reading, dir, name)?;
            let found = found.ok_or_else(|| Error::NoSuchPath { snapshot: selected.snapshot.id, path: path() })?;
            if found.kind() != EntryKind::Directory {
                return Err(Error::Option {
                    what: format!("`{}` is a {}, and only a directory can be shown", path(), found.kind().word()),
                });
            }
            view.top = Top::One(Node::Inside(Arc::new(Inside::new(&place, &dir.into(), name, &found))), opened);
        }
        Ok(view)
    }

    fn new(repository: Arc<Repository>, top: Top, observer: Arc<dyn Observer + Send + Sync>) -> Self {
        let threads = repository.reading_threads(AHEAD_THREADS);
        let shared = Arc::new(Shared { reading: Reading::new(repository), leaves: Leaves::default(), lists: Lists::default() });
        View { ahead: Ahead::new(&shared, threads), shared, top, observer, said: Mutex::default() }
    }

    /// The directory at the top.
    pub fn top(&self) -> Node {
        match &self.top {
            Top::All(_) => Node::Folder(Arc::from(&b""[..])),
            Top::One(node, _) => node.clone(),
        }
    }

    /// How many snapshots it shows.
    pub fn snapshots(&self) -> usize {
        if let Top::All(snapshots) = &self.top { snapshots.len() } else { 1 }
    }

    /// Bytes of content and number of entries of all that it shows.
    pub fn totals(&self) -> (u64, u64) {
        match &self.top {
            Top::All(snapshots) => snapshots.totals(),
            Top::One(_, opened) => (opened.bytes, opened.entries),
        }
    }

    /// How many frames were decoded so far, of content and of what describes it.
    pub fn frames_decoded(&self) -> u64 {
        self.shared.reading.frames_decoded()
    }

    /// The folder above snapshots at a path, as of a look that is not too long ago.
    fn folder(&self, path: &[u8]) -> Option<(Arc<Folder>, &Arc<Snapshots>)> {
        let Top::All(snapshots) = &self.top else { return None };
        let shared = self.shared.clone();
        snapshots.look(move || shared.reading.forget_index());
        Some((snapshots.folder().at(path)?, snapshots))
    }

    fn above(&self, snapshots: &Arc<Snapshots>, path: Vec<u8>, above: &Above) -> Option<(Node, Attributes)> {
        Some(match above {
            Above::Folder(folder) => (Node::Folder(path.into()), Attributes::folder(folder.newest)),
            Above::Link(target) => (Node::Link(path.into(), target.as_slice().into()), Attributes::link(target, Time::default())),
            Above::Snapshot(id) => {
                // One that is taken out of the list right now is not there any more.
                let opened = snapshots.open(id).ok()?;
                let attributes = Attributes::folder(opened.time);
                (Node::Inside(Arc::new(Inside::top(Arc::new(Place::new(opened, &path))))), attributes)
            }
        })
    }

    /// What is under `name` in a directory, and what `stat` says of it.
    pub fn child(&self, dir: &Node, name: &[u8]) -> Result<Option<(Node, Attributes)>> {
        match dir {
            Node::Folder(path) => {
                let Some((folder, snapshots)) = self.folder(path) else { return Ok(None) };
                let above = folder.names.get(name);
                let named = above.and_then(|above| self.above(snapshots, below(path, name), above));
                Ok(named.map(|(node, attributes)| (node, with_time(attributes, folder.newest))))
            }
            Node::Link(..) => Ok(None),
            Node::Inside(inside) if inside.kind != EntryKind::Directory => Ok(None),
            Node::Inside(inside) => {
                let (path, opened) = (inside.path(), &inside.place.opened);
                let found = opened.find(&self.shared.leaves, &self.shared.reading, &path, name);
                let shown = || [&inside.shown()[..], b"/", name].concat();
                let Some(thing) = found.map_err(|error| self.damaged(opened, &shown(), error))? else { return Ok(None) };
                let attributes = Attributes::of(&thing, opened.time);
                Ok(Some((Node::Inside(Arc::new(Inside::new(&inside.place, &path.into(), name, &thing))), attributes)))
            }
        }
    }

    /// What is at a path of names joined by `/` below the top; links are not followed.
    pub fn find(&self, path: &[u8]) -> Result<Option<(Node, Attributes)>> {
        let top = self.top();
        let Some(attributes) = self.attributes(&top)? else { return Ok(None) };
        let mut at = (top, attributes);
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            match self.child(&at.0, name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn thing(&self, inside: &Inside) -> Result<Option<Thing>> {
        if inside.name.is_empty() {
            return Ok(Some(Thing::Directory));
        }
        let found = inside.place.opened.find(&self.shared.leaves, &self.shared.reading, &inside.dir, &inside.name);
        found.map_err(|error| self.damaged(&inside.place.opened, &inside.shown(), error))
    }

    /// What `stat` says of a node; `None` where it is gone.
    pub fn attributes(&self, node: &Node) -> Result<Option<Attributes>> {
        match node {
            Node::Folder(path) => Ok(self.folder(path).map(|(folder, _)| Attributes::folder(folder.newest))),
            Node::Link(path, target) => Ok(self.folder(split(path).0).map(|(folder, _)| Attributes::link(target, folder.newest))),
            Node::Inside(inside) => {
                let time = inside.place.opened.time;
                Ok(self.thing(inside)?.map(|thing| Attributes::of(&thing, time)))
            }
        }
    }

    /// At most `max` names of a directory, those behind the name `after`, in the order of their bytes.
    pub fn list(&self, dir: &Node, after: Option<&[u8]>, max: usize) -> Page {
        match dir {
            Node::Folder(path) => self.list_folder(path, after, max),
            Node::Link(..) => Page { is_last: true, ..Page::default() },
            Node::Inside(inside) => self.list_inside(inside, after, max),
        }
    }

    fn list_folder(&self, path: &[u8], after: Option<&[u8]>, max: usize) -> Page {
        let mut page = Page { is_last: true, ..Page::default() };
        let Some((folder, snapshots)) = self.folder(path) else { return page };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (name, above) in folder.names.range::<[u8], _>((from, Bound::Unbounded)) {
            if page.names.len() == max {
                page.is_last = false;
                break;
            }
            if let Some((node, attributes)) = self.above(snapshots, below(path, name), above) {
                page.names.push(Listed { name: name.clone(), node, attributes: with_time(attributes, folder.newest) });
            }
        }
        page
    }

    fn list_inside(&self, inside: &Inside, after: Option<&[u8]>, max: usize) -> Page {
        let (path, opened) = (inside.path(), &inside.place.opened);
        let dir: Arc<[u8]> = path.clone().into();
        let mut page = Page { is_last: true, ..Page::default() };
        let mut is_torn = false;
        let each = |name: &[u8], thing: Thing| {
            if page.names.len() == max {
                page.is_last = false;
                return false;
            }
            let attributes = Attributes::of(&thing, opened.time);
            let node = Node::Inside(Arc::new(Inside::new(&inside.place, &dir, name, &thing)));
            page.names.push(Listed { name: name.to_vec(), node, attributes });
            true
        };
        let torn = |error| {
            is_torn = true;
            drop(self.damaged(opened, &inside.shown(), error));
        };
        opened.list((&self.shared.leaves, &self.shared.reading), &path, after, each, torn);
        // Whoever takes what is listed for all there is must be told once, at its end.
        if page.is_last
            && let Ok(Some(thing)) = self.thing(inside)
            && thing.entry().is_some_and(|entry| entry.status == STATUS_UNREADABLE)
        {
            is_torn = true;
            self.say(&inside.shown(), "its names could not be read when the snapshot was made");
        }
        page.is_torn = is_torn;
        page
    }

    /// The target of a symlink, as it was stored.
    pub fn target(&self, node: &Node) -> Result<Option<Vec<u8>>> {
        match node {
            Node::Folder(_) => Ok(None),
            Node::Link(_, target) => Ok(Some(target.to_vec())),
            Node::Inside(inside) => {
                let thing = self.thing(inside)?;
                let entry = thing.as_ref().and_then(Thing::entry).filter(|entry| entry.kind == EntryKind::Symlink);
                Ok(entry.map(|entry| entry.target.0.clone()))
            }
        }
    }

    /// Extended attributes.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>> {
        let Node::Inside(inside) = node else { return Ok(Vec::new()) };
        let thing = self.thing(inside)?;
        Ok(thing.as_ref().and_then(Thing::entry).map(|entry| entry.xattrs.clone()).unwrap_or_default())
    }

    /// Opens a file or stream. One whose content could not be read when the snapshot was made does not open: it would pass for an empty one.
    pub fn open(&self, node: &Node) -> Result<Option<File>> {
        let Node::Inside(inside) = node else { return Ok(None) };
        let Some(thing) = self.thing(inside)?.filter(|thing| thing.kind() == EntryKind::File) else { return Ok(None) };
        let path = inside.shown();
        let (Some(entry), Some(content)) = (thing.entry(), thing.content()) else {
            self.say(&path, "its content could not be read when the snapshot was made");
            // In a view of one snapshot it begins with a slash, and the error says that itself.
            let path = String::from_utf8_lossy(path.strip_prefix(b"/").unwrap_or(&path)).into_owned();
            return Err(Error::NotAFile { path, what: "file whose content could not be read when the snapshot was made" });
        };
        let opened = &inside.place.opened;
        let content = FileContent::new(opened.id, content, entry.size).map_err(|error| self.damaged(opened, &path, error))?;
        Ok(Some(File { content: Arc::new(content), pace: Pace::default(), path }))
    }

    /// At most `bytes` bytes of a file from `offset` on; fewer only at its end. Whoever reads from front to back finds what comes next decoded.
    pub fn read(&self, file: &File, offset: u64, bytes: usize) -> Result<Vec<u8>> {
        self.ahead.note(&file.content, &file.pace, offset, bytes as u64);
        let read = file.content.read((&self.shared.lists, &self.shared.reading), offset, bytes);
        read.map_err(|error| self.lost(file, error))
    }

    /// The first hole (or the first data) at or behind `offset`; `None` where there is none, which for data is so at the end.
    pub fn seek(&self, file: &File, offset: u64, hole: bool) -> Result<Option<u64>> {
        if offset >= file.content.bytes {
            return Ok(None);
        }
        let found = file.content.seek((&self.shared.lists, &self.shared.reading), offset, hole);
        found.map_err(|error| self.lost(file, error))
    }

    fn lost(&self, file: &File, error: Error) -> Error {
        self.told(&file.content.snapshot, &file.path, error)
    }

    fn damaged(&self, opened: &Opened, path: &[u8], error: Error) -> Error {
        self.told(&opened.id, path, error)
    }

    /// Says what cannot be read. Whether somebody has forgotten the snapshot is asked of the store, so only once for each path.
    fn told(&self, snapshot: &SnapshotId, path: &[u8], error: Error) -> Error {
        if lock(&self.said).contains(path) {
            return error;
        }
        let error = self.shared.reading.repository().unless_forgotten(snapshot, error);
        self.say(path, &error.to_string());
        error
    }

    /// Says once what is wrong with a path.
    fn say(&self, path: &[u8], what: &str) {
        let mut said = lock(&self.said);
        if said.len() > SAID_MAX || !said.insert(path.to_vec()) {
            return;
        }
        if said.len() > SAID_MAX {
            return self.observer.warning("more cannot be read; `seabed check --read-data` lists all damage");
        }
        self.observer.warning(&format!("cannot read {}: {what}", String::from_utf8_lossy(path)));
    }
}

fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    crate::format::entry::join(path, name)
}

/// A link has no time of its own: it has that of the folder in which it stands.
fn with_time(attributes: Attributes, time: Time) -> Attributes {
    match attributes.kind {
        EntryKind::Symlink => Attributes { mtime: time, ctime: time, atime: time, ..attributes },
        _ => attributes,
    }
}
