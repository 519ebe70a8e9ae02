//! The walking thread of an archive: which entries, under which names, in which order; small files many to a part, long ones part by part.
//! A directory comes directly before what is in it, its files before its directories, so that whoever unpacks is done with one when the
//! next begins. Holds no content, and of directories only those that are still to come.

use crate::archive::{ArchiveOptions, Format, Shared};
use crate::error::{Damage, Error, Result};
use crate::format::entry::{Entry, EntryKind, compare_dirs, join, split};
use crate::format::lists::{Content, Item};
use crate::format::manifest::ROOT_STREAM;
use crate::format::wire::{Time, from_bytes, to_bytes};
use crate::id::{Class, ObjectName};
use crate::pack::reader::{ChunkReader, Measured, ReadBuffers};
use crate::repository::entries::{find_content, holds, is_below, place_of, stream_entry};
use crate::repository::ordered::{Ask, GaveUp, PART_BYTES, Planner, asks_of};
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::repository::tree::{ContentCursor, TreeCursor};
use crate::tar::sparse::{Map, Stretches};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Files up to this size are fetched whole, many to a part, before anything of them is written.
const WHOLE_BYTES: u64 = 1 << 20;
/// Members of one part.
const PART_MEMBERS: usize = 1024;
/// Stretches that the map of a sparse file may have: two numbers each.
const STRETCHES_MAX: usize = 1 << 18;
/// Holes of a short file that are not worth a map: they are written as zeros.
const HOLES_BYTES_MIN: u64 = 32 << 10;
/// What is said of names that a zip has no room for.
const TOO_LONG: &str = "paths of more than 65,535 bytes";

/// A member of an archive.
#[derive(Debug)]
pub struct Member {
    /// Its path in the archive, without `/` at the end.
    pub place: Vec<u8>,
    /// The entry.
    pub entry: Entry,
    /// Place of the member of which it is another name.
    pub link: Option<Vec<u8>>,
    /// For a sparse file in a tar: the stretches of its content that follow.
    pub map: Option<Map>,
}

impl Member {
    /// Content that follows, bytes.
    pub fn stored(&self) -> u64 {
        match (&self.map, &self.link, self.entry.kind) {
            (Some(map), ..) => map.iter().map(|(_, bytes)| bytes).sum(),
            (None, None, EntryKind::File) => self.entry.size,
            _ => 0,
        }
    }
}

/// What the writer is told between the bytes.
pub enum Word {
    /// A member; its content, if any, is in the same part, up to the next word.
    Whole(Box<Member>),
    /// A member whose content comes in parts of its own.
    Begin(Box<Member>),
    /// Its content is complete.
    End,
}

/// Why no more is planned.
pub enum Stopped {
    /// The repository failed, or part of it is damaged.
    Error(Error),
    /// The writer has given up.
    GaveUp,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Error(error)
    }
}

impl From<GaveUp> for Stopped {
    fn from(_: GaveUp) -> Self {
        Stopped::GaveUp
    }
}

/// A directory as a key: ordered as directories are, component by component.
fn key(dir: &[u8]) -> Vec<u8> {
    dir.iter().map(|b| if *b == b'/' { 0 } else { *b }).collect()
}

/// A directory that is still to come.
struct Ahead {
    place: Vec<u8>,
    entry: Box<[u8]>,
    /// Whether it is meant itself, or only leads to what is.
    wanted: bool,
}

/// See the module's text.
pub struct Plan<'a, 'p, 'q> {
    planner: &'a mut Planner<'q, Word>,
    selected: &'a Selected,
    options: &'a ArchiveOptions,
    selection: &'a Selection,
    shared: &'a Shared<'p>,
    /// At or below this everything is meant.
    below: Vec<u8>,
    asks: Vec<Ask<Word>>,
    members: usize,
    bytes: u64,
    buffers: ReadBuffers,
    measured: Measured,
    /// Directories whose content is still to come.
    ahead: BTreeMap<Vec<u8>, Ahead>,
    /// Those above the present one that are only written if something in them is.
    above: Vec<Ahead>,
    /// First members of hard-linked files: what they hold, and their places.
    linked: HashMap<(u64, u64), ([u8; 16], Vec<u8>)>,
    found: bool,
    matched: bool,
}

impl<'a, 'p, 'q> Plan<'a, 'p, 'q> {
    /// Nothing walked yet.
    pub fn new(
        planner: &'a mut Planner<'q, Word>,
        selected: &'a Selected,
        options: &'a ArchiveOptions,
        selection: &'a Selection,
        shared: &'a Shared<'p>,
    ) -> Self {
        let below = match (&selected.path[..], &options.below[..]) {
            (path, b"") => path.to_vec(),
            (path, below) => join(path, below),
        };
        Plan {
            planner,
            selected,
            options,
            selection,
            shared,
            found: below.is_empty(),
            below,
            asks: Vec::new(),
            members: 0,
            bytes: 0,
            buffers: ReadBuffers::default(),
            measured: Measured::default(),
            ahead: BTreeMap::new(),
            above: Vec::new(),
            linked: HashMap::new(),
            matched: false,
        }
    }

    /// Walks everything that is selected.
    pub fn all(&mut self) -> Result<(), Stopped> {
        let snapshot = &self.selected.snapshot;
        for (index, names) in snapshot.index.roots.iter().zip(&snapshot.names.roots) {
            if names.kind == ROOT_STREAM
                && let Some((dir, entry)) = stream_entry(names, index.bytes)
            {
                self.entry(&dir, entry, index.content.clone())?;
            }
        }
        let reader = self.planner.reader;
        // The entry itself, then what is in it: two places of a tree, the second perhaps far behind the first.
        if !self.found {
            match find_content(reader, snapshot, &self.below) {
                Err(error) => self.shared.error(b"", error)?,
                Ok(None) => {}
                Ok(Some((entry, content))) => {
                    let dir = split(&self.below).0.to_vec();
                    self.entry(&dir, entry, content)?;
                }
            }
        }
        for root in snapshot.index.roots.iter().filter_map(|root| root.as_tree()) {
            let mut cursor = TreeCursor::new(reader, &root);
            match cursor.seek(&self.below, b"") {
                Err(error) => self.shared.error(b"", error)?,
                Ok(()) => self.tree(&mut cursor)?,
            }
        }
        self.pass(None)?;
        self.flush()?;
        if !self.found {
            let path = String::from_utf8_lossy(&self.below).into_owned();
            return Err(Error::NoSuchPath { snapshot: snapshot.id, path }.into());
        }
        if !self.matched && self.selection.has_includes() {
            self.shared.observer.warning("nothing in what was chosen of the snapshot matches what is to be included");
        }
        Ok(())
    }

    fn tree(&mut self, cursor: &mut TreeCursor<'_>) -> Result<(), Stopped> {
        loop {
            if self.shared.observer.interrupted() {
                return Err(Error::Interrupted.into());
            }
            let groups = match cursor.next_leaf() {
                Ok(Some(groups)) => groups,
                Ok(None) => return Ok(()),
                // What cannot be read of the tree is lost; the leaves behind it are not.
                Err(error) => {
                    self.shared.error(b"", error)?;
                    continue;
                }
            };
            for group in groups {
                if !is_below(&self.below, &group.dir) {
                    // Behind everything below the path: done.
                    if compare_dirs(&group.dir, &self.below) == Ordering::Greater {
                        return Ok(());
                    }
                    continue;
                }
                if let Some(place) = place_of(&self.selected.path, &group.dir, true) {
                    self.pass(Some(&place))?;
                }
                for (entry, content) in group.entries {
                    self.entry(&group.dir, entry, content)?;
                }
            }
        }
    }

    /// Comes to directory `dir`, or with `None` to the end: what comes before that is written if it is meant.
    fn pass(&mut self, dir: Option<&[u8]>) -> Result<(), Stopped> {
        let end = dir.map(key);
        while let Some(first) = self.ahead.first_entry() {
            if end.as_ref().is_some_and(|end| first.key() > end) {
                break;
            }
            let ahead = first.remove();
            self.leave_for(&ahead.place);
            self.above.push(ahead);
            if self.above.last().is_some_and(|ahead| ahead.wanted) {
                self.directories()?;
            }
        }
        match dir {
            Some(dir) => self.leave_for(dir),
            None => self.above.clear(),
        }
        Ok(())
    }

    /// Forgets the directories in which `dir` does not lie.
    fn leave_for(&mut self, dir: &[u8]) {
        while self.above.last().is_some_and(|above| !is_below(&above.place, dir)) {
            self.above.pop();
        }
    }

    /// Writes the directories above what comes.
    fn directories(&mut self) -> Result<(), Stopped> {
        for Ahead { place, entry, .. } in std::mem::take(&mut self.above) {
            let Ok(mut entry) = from_bytes::<Entry>(&entry, "entry") else { continue };
            // It has no times of its own.
            if entry.implied && entry.mtime == Time::default() {
                entry.mtime = self.selected.snapshot.index.time;
            }
            self.say(Member { place, entry, link: None, map: None }, Vec::new(), 0)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &[u8], entry: Entry, content: Option<Content>) -> Result<(), Stopped> {
        let path = join(dir, &entry.name.0);
        let is_dir = entry.kind == EntryKind::Directory;
        if !is_below(&self.below, &path) {
            return Ok(());
        }
        let Some(place) = place_of(&self.selected.path, &path, is_dir) else { return Ok(()) };
        self.found = true;
        let wanted = self.selection.wants(&place);
        self.matched |= wanted;
        // What becomes the top of the archive has no name in it.
        let inside = is_dir && self.selection.has_includes();
        if place.is_empty() || !(wanted || inside) {
            return Ok(());
        }
        if is_dir {
            if !self.is_too_long(&place, true) {
                self.ahead.insert(key(&place), Ahead { entry: to_bytes(&entry).into(), place, wanted });
            } else if wanted {
                self.leave_out(TOO_LONG, place);
            }
            return Ok(());
        }
        self.file(place, entry, content)
    }

    /// Whether a zip has no room for a name: its length has 16 bits, and that of a directory ends in `/`.
    fn is_too_long(&self, place: &[u8], is_dir: bool) -> bool {
        self.options.format == Format::Zip && place.len() + usize::from(is_dir) > usize::from(u16::MAX)
    }

    fn file(&mut self, place: Vec<u8>, entry: Entry, content: Option<Content>) -> Result<(), Stopped> {
        match (entry.kind, self.options.format) {
            (EntryKind::Socket, _) => {
                self.shared.report().sockets += 1;
                return Ok(());
            }
            (EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice, Format::Zip) => {
                let what = if entry.kind == EntryKind::Fifo { "fifos" } else { "device nodes" };
                self.leave_out(what, place);
                return Ok(());
            }
            _ if self.is_too_long(&place, false) => {
                self.leave_out(TOO_LONG, place);
                return Ok(());
            }
            (EntryKind::File, _) if content.is_none() => return self.not_stored(&place),
            _ => {}
        }
        self.directories()?;
        if content.as_ref().is_some_and(|content| !content.can_be(entry.size)) {
            let wrong = wrong_length(self.selected);
            return self.say(Member { place, entry, link: None, map: None }, vec![Ask::Lost(wrong)], 0);
        }
        if entry.links > 1 && self.options.format == Format::Tar {
            let holds = holds(&entry, content.as_ref());
            match self.linked.get(&(entry.device, entry.inode)) {
                None => drop(self.linked.insert((entry.device, entry.inode), (holds, place.clone()))),
                Some((first, link)) if *first == holds => {
                    let link = Some(link.clone());
                    return self.say(Member { place, entry, link, map: None }, Vec::new(), 0);
                }
                // Its inode belonged to another file when that was read.
                Some(_) => {}
            }
        }
        match content {
            Some(content) => self.content(Member { place, entry, link: None, map: None }, &content),
            None => self.say(Member { place, entry, link: None, map: None }, Vec::new(), 0),
        }
    }

    fn leave_out(&self, what: &'static str, place: Vec<u8>) {
        let mut report = self.shared.report();
        match report.left_out.iter_mut().find(|(have, ..)| *have == what) {
            Some((_, count, _)) => *count += 1,
            None => report.left_out.push((what, 1, place)),
        }
    }

    fn not_stored(&self, place: &[u8]) -> Result<(), Stopped> {
        self.shared.report().files_not_stored += 1;
        let source = std::io::Error::other("its content is not in the snapshot: it could not be read when that was made");
        let shown = [b"/", place].concat();
        Ok(self.shared.error(place, Error::Target { op: "write", path: OsStr::from_bytes(&shown).into(), source })?)
    }

    /// Adds a member that is all in one part.
    fn say(&mut self, member: Member, content: Vec<Ask<Word>>, bytes: u64) -> Result<(), Stopped> {
        self.asks.push(Ask::Say(Word::Whole(Box::new(member))));
        self.asks.extend(content);
        self.members += 1;
        self.bytes += bytes;
        if self.members >= PART_MEMBERS || self.bytes >= PART_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        (self.members, self.bytes) = (0, 0);
        Ok(self.planner.send(std::mem::take(&mut self.asks))?)
    }

    fn content(&mut self, mut member: Member, content: &Content) -> Result<(), Stopped> {
        let size = member.entry.size;
        if self.options.format == Format::Tar {
            match self.map(content, size) {
                Ok(map) => member.map = map,
                Err(error) => return self.say(member, vec![Ask::Lost(error)], 0),
            }
        }
        if size <= WHOLE_BYTES && member.map.is_none() {
            let asks = match content {
                Content::Inline(items) => asks_of(items),
                Content::Tree(_) => self.items(content).map_or_else(|error| vec![Ask::Lost(error)], |items| asks_of(&items)),
            };
            return self.say(member, asks, size);
        }
        // What is written of a long file cannot be taken back: where damage is to be got over, all of it is looked at beforehand.
        if self.options.keep_going
            && let Err(error) = self.look_through(content, size)
        {
            return self.say(member, vec![Ask::Lost(error)], 0);
        }
        self.flush()?;
        let mut beside = member.map.clone().map(|map| Beside { map, at: 0 });
        self.planner.send(vec![Ask::Say(Word::Begin(Box::new(member)))])?;
        let Plan { planner, buffers, measured, .. } = self;
        let reader = planner.reader;
        each_node::<Stopped>((reader, buffers), content, &mut |items, bytes| {
            let bytes = bytes.unwrap_or(size);
            let Some(beside) = &mut beside else { return Ok(planner.send_items(items, bytes)?) };
            // Holes that the map tells of are not written.
            let mut written = Vec::with_capacity(items.len());
            for item in items {
                let bytes = match item {
                    Item::Hole(bytes) => *bytes,
                    Item::Chunk(id) => reader.chunk_bytes(Class::Data, id, measured)?,
                };
                if beside.is_written(item, bytes) {
                    written.push(*item);
                }
            }
            Ok(planner.send_items(&written, bytes)?)
        })?;
        Ok(planner.send(vec![Ask::Say(Word::End)])?)
    }

    /// All items of a short file.
    fn items(&mut self, content: &Content) -> Result<Vec<Item>> {
        let (mut cursor, mut items) = (ContentCursor::new(content), Vec::new());
        while let Some(found) = cursor.next_items(self.planner.reader, &mut self.buffers)? {
            items.extend(found.items);
        }
        Ok(items)
    }

    /// The stretches of data of a file that is worth a map; lengths of chunks stand in the footers of packs.
    fn map(&mut self, content: &Content, size: u64) -> Result<Option<Map>> {
        let (reader, selected) = (self.planner.reader, self.selected);
        let Plan { buffers, measured, .. } = self;
        let mut holes = 0u64;
        each_node::<Error>((reader, buffers), content, &mut |items, _| {
            holes = items.iter().fold(holes, |sum, item| sum.saturating_add(if let Item::Hole(bytes) = item { *bytes } else { 0 }));
            Ok(())
        })?;
        if holes == 0 || holes < HOLES_BYTES_MIN && size <= WHOLE_BYTES {
            return Ok(None);
        }
        let (mut stretches, mut at) = (Stretches::new(STRETCHES_MAX), 0u64);
        each_node::<Error>((reader, buffers), content, &mut |items, _| {
            for item in items {
                let bytes = match item {
                    Item::Hole(bytes) => *bytes,
                    Item::Chunk(id) => {
                        let bytes = reader.chunk_bytes(Class::Data, id, measured)?;
                        stretches.data(at, bytes);
                        bytes
                    }
                };
                at = at.checked_add(bytes).filter(|at| *at <= size).ok_or_else(|| wrong_length(selected))?;
            }
            Ok(())
        })?;
        if at == size { Ok(Some(stretches.finish(size))) } else { Err(wrong_length(selected)) }
    }

    /// Reads all of a file, for the first error.
    fn look_through(&mut self, content: &Content, size: u64) -> Result<()> {
        let (mut cursor, mut at) = (ContentCursor::new(content), 0u64);
        let reader = self.planner.reader;
        while let Some(found) = cursor.next_items(reader, &mut self.buffers)? {
            for item in found.items {
                if self.shared.observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                at = at.saturating_add(match item {
                    Item::Hole(bytes) => bytes,
                    Item::Chunk(id) => reader.piece(Class::Data, &id, &mut self.buffers)?.len() as u64,
                });
            }
        }
        if at == size { Ok(()) } else { Err(wrong_length(self.selected)) }
    }
}

fn wrong_length(selected: &Selected) -> Error {
    Error::damaged(&ObjectName::snapshot(&selected.snapshot.id), Damage::Malformed("length of a file"))
}

/// Calls `each` with the items of every node of a list, and what these are together. An inline list is one, as it stands.
fn each_node<E: From<Error>>(
    (reader, buffers): (&ChunkReader, &mut ReadBuffers),
    content: &Content,
    each: &mut dyn FnMut(&[Item], Option<u64>) -> Result<(), E>,
) -> Result<(), E> {
    if let Content::Inline(items) = content {
        return each(items, None);
    }
    let mut cursor = ContentCursor::new(content);
    while let Some(found) = cursor.next_items(reader, buffers)? {
        each(&found.items, found.bytes)?;
    }
    Ok(())
}

/// Goes through a sparse file beside its map.
struct Beside {
    map: Map,
    at: u64,
}

impl Beside {
    /// Whether an item lies in a stretch of the map. A hole lies in one wholly or not at all.
    fn is_written(&mut self, item: &Item, bytes: u64) -> bool {
        let at = self.at;
        self.at += bytes;
        if matches!(item, Item::Chunk(_)) {
            return true;
        }
        let next = self.map.partition_point(|(offset, _)| *offset <= at);
        next > 0 && self.map[next - 1].0 + self.map[next - 1].1 > at
    }
}
