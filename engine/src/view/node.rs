//! What a view shows under a name: a folder above the snapshots, a link to the newest one, or something in a snapshot; its number and its
//! attributes. It must never give one number to two things, nor two to the hard links of one file.

use crate::format::entry::{Entry, EntryKind, split};
use crate::format::lists::{Content, Item};
use crate::format::wire::Time;
use crate::repository::entries::holds;
use crate::view::opened::{Opened, Thing};
use std::sync::Arc;

/// What tells two things apart, and stays the same for as long as the view shows them.
pub type Identity = [u8; 32];

/// A snapshot at a place: it may stand in many folders, and a directory has only one place.
pub struct Place {
    /// The snapshot.
    pub opened: Arc<Opened>,
    /// The path of the place, for messages; empty where the snapshot is all of the view.
    pub path: Vec<u8>,
    tag: Identity,
}

impl Place {
    /// The snapshot at a path of the view.
    pub fn new(opened: Arc<Opened>, path: &[u8]) -> Self {
        let tag = identity(b"snapshot", &[opened.id.as_bytes(), path]);
        Place { opened, path: path.to_vec(), tag }
    }
}

/// Something in a snapshot.
pub struct Inside {
    /// Where the snapshot stands.
    pub place: Arc<Place>,
    /// Directory in the snapshot.
    pub dir: Arc<[u8]>,
    /// Name there; empty for the snapshot itself.
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: EntryKind,
    identity: Identity,
}

impl Inside {
    /// The snapshot itself.
    pub fn top(place: Arc<Place>) -> Self {
        let identity = identity(b"path", &[&place.tag, b""]);
        Inside { place, dir: Arc::from(&b""[..]), name: Box::default(), kind: EntryKind::Directory, identity }
    }

    /// What was found under a name. All links of a file are one.
    pub fn new(place: &Arc<Place>, dir: &Arc<[u8]>, name: &[u8], thing: &Thing) -> Self {
        let linked = match thing {
            Thing::Entry(tree, found) if found.entry().links > 1 && found.entry().kind != EntryKind::Directory => {
                Some(link_identity(&place.tag, *tree, found.entry(), found.content()))
            }
            _ => None,
        };
        let identity = linked.unwrap_or_else(|| identity(b"path", &[&place.tag, &Opened::path_of(dir, name)]));
        Inside { place: place.clone(), dir: dir.clone(), name: name.into(), kind: thing.kind(), identity }
    }

    /// Its path in the snapshot.
    pub fn path(&self) -> Vec<u8> {
        Opened::path_of(&self.dir, &self.name)
    }

    /// Its path in the view, for messages.
    pub fn shown(&self) -> Vec<u8> {
        let (above, path) = (&self.place.path[..], self.path());
        if path.is_empty() { above.to_vec() } else { [above, b"/", &path].concat() }
    }

    /// The directory that it is in.
    fn parent(&self) -> Node {
        if self.name.is_empty() {
            return Node::Folder(split(&self.place.path).0.into());
        }
        if self.dir.is_empty() {
            return Node::Inside(Arc::new(Inside::top(self.place.clone())));
        }
        let (dir, name) = split(&self.dir);
        let identity = identity(b"path", &[&self.place.tag, &self.dir]);
        let (place, kind) = (self.place.clone(), EntryKind::Directory);
        Node::Inside(Arc::new(Inside { place, dir: dir.into(), name: name.into(), kind, identity }))
    }
}

/// Links of one file have device and inode in common, and what they hold: the inode may have been another file's when that was read.
fn link_identity(tag: &Identity, tree: usize, entry: &Entry, content: Option<&Content>) -> Identity {
    let numbers = [tree as u64, entry.device, entry.inode].map(u64::to_le_bytes);
    identity(b"link", &[tag, numbers.as_flattened(), &holds(entry, content)])
}

fn identity(kind: &[u8], parts: &[&[u8]]) -> Identity {
    let mut hasher = blake3::Hasher::new_derive_key("seabed view inode");
    for part in [kind].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// What a view shows under a name. Cheap to copy.
#[derive(Clone)]
pub enum Node {
    /// A folder above the snapshots, by its path.
    Folder(Arc<[u8]>),
    /// A link above the snapshots, by its path, and where it leads. Once it leads somewhere else it is another one: the kernel keeps the
    /// target of a link for as long as it knows its number.
    Link(Arc<[u8]>, Arc<[u8]>),
    /// Something in a snapshot.
    Inside(Arc<Inside>),
}

impl Node {
    /// What tells it apart from all else.
    pub fn identity(&self) -> Identity {
        match self {
            Node::Folder(path) => identity(b"folder", &[path]),
            Node::Link(path, target) => identity(b"link above", &[path, target]),
            Node::Inside(inside) => inside.identity,
        }
    }

    /// Its number, as a file system knows an inode: the same in every run. Of two that share one, of which there are none for all practical
    /// ends, [`crate::view::inodes::Inodes`] gives the second another.
    pub fn number(&self) -> u64 {
        number(&self.identity(), 0)
    }

    /// What it is.
    pub fn kind(&self) -> EntryKind {
        match self {
            Node::Folder(_) => EntryKind::Directory,
            Node::Link(..) => EntryKind::Symlink,
            Node::Inside(inside) => inside.kind,
        }
    }

    /// The directory that it is in. Of the view's top it is nothing that the view shows.
    pub fn parent(&self) -> Node {
        match self {
            Node::Folder(path) | Node::Link(path, _) => Node::Folder(split(path).0.into()),
            Node::Inside(inside) => inside.parent(),
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == EntryKind::Directory
    }

    /// Whether it never changes: what is above the snapshots does.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Node::Inside(_))
    }
}

/// The number with this rank that an identity asks for. 0 is no inode, and 1 is the top of a file system.
pub fn number(identity: &Identity, rank: u64) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&identity[..8]);
    u64::from_le_bytes(bytes).wrapping_add(rank).max(2)
}

/// What `stat` says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner and group; `None` for what is no snapshot's.
    pub owner: Option<(u32, u32)>,
    /// Length of a file, or of a link's target, in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that are not holes, as `stat` counts them.
    pub blocks: u64,
    /// Number of links; 1 for directories, as file systems say that do not count them.
    pub links: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
    /// Last access; that of the last change where the snapshot does not know.
    pub atime: Time,
    /// Birth, where the snapshot knows.
    pub btime: Option<Time>,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
}

impl Attributes {
    /// Of a directory that is in no snapshot, or only there for what lies in it.
    pub fn folder(time: Time) -> Self {
        Attributes {
            kind: EntryKind::Directory,
            mode: 0o555,
            owner: None,
            size: 0,
            blocks: 0,
            links: 1,
            mtime: time,
            ctime: time,
            atime: time,
            btime: None,
            device: (0, 0),
        }
    }

    /// Of a link above the snapshots.
    pub fn link(target: &[u8], time: Time) -> Self {
        Attributes { kind: EntryKind::Symlink, mode: 0o777, size: target.len() as u64, ..Attributes::folder(time) }
    }

    /// Of something in a snapshot of this time.
    pub fn of(thing: &Thing, time: Time) -> Self {
        let Some(entry) = thing.entry() else { return Attributes::folder(time) };
        let size = match entry.kind {
            EntryKind::File => entry.size,
            EntryKind::Symlink => entry.target.0.len() as u64,
            _ => 0,
        };
        // One that is only here for what was asked for below it has no times of its own.
        let mtime = if entry.implied { time } else { entry.mtime };
        let known = |time: Time| if time == Time::default() { mtime } else { time };
        Attributes {
            kind: entry.kind,
            mode: entry.mode & 0o7777,
            owner: Some((entry.uid, entry.gid)),
            size,
            blocks: thing.content().map_or(0, |content| blocks(content, size)),
            links: if entry.kind == EntryKind::Directory { 1 } else { entry.links.max(1) },
            mtime,
            ctime: known(entry.ctime),
            atime: entry.atime.unwrap_or(mtime),
            btime: entry.btime,
            device: (entry.rdev_major, entry.rdev_minor),
        }
    }
}

/// Blocks of 512 bytes that are not holes. Programs look for holes only where these are fewer than the size needs, and of a long file nobody
/// knows without reading all of its list: so there one block is left out, and they ask.
fn blocks(content: &Content, size: u64) -> u64 {
    match content {
        Content::Inline(items) => {
            let holes = items.iter().fold(0u64, |sum, item| if let Item::Hole(bytes) = item { sum.saturating_add(*bytes) } else { sum });
            let data = size.saturating_sub(holes);
            if holes == 0 { data.div_ceil(512) } else { data / 512 }
        }
        Content::Tree(_) => (size / 512).saturating_sub(1),
    }
}
