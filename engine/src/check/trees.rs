//! Walks what snapshots need: trees, leaves, lists, and whether every chunk that they name has a good copy of the right length.
//! Each distinct node is looked at once, however many snapshots share it; it keeps what is wrong below it for all of them.

use crate::check::findings::{FindingId, Findings, NOWHERE, Warning};
use crate::check::is_about_an_object;
use crate::check::packs::Packs;
use crate::check::structure::{Manifest, Structure};
use crate::error::{Damage, Error, Result};
use crate::format::entry::{Entry, compare, join};
use crate::format::lists::{Content, Item, ListNode, ListsChild, get_lists_leaf, get_lists_node};
use crate::format::manifest::IndexRoot;
use crate::format::tree::{NamesChild, get_leaf, get_names_node};
use crate::format::wire::from_bytes;
use crate::id::{ChunkId, Class};
use crate::observe::Observer;
use crate::pack::reader::{ChunkReader, ReadBuffers};
use crate::repository::Repository;
use crate::repository::tree::{Twins, chunk_damaged, decoded};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A directory and a name in it.
type Key = (Vec<u8>, Vec<u8>);

/// What a leaf or node holds.
#[derive(Clone, Debug, PartialEq)]
struct Extent {
    entries: u64,
    bytes: u64,
    first: Key,
    last: Key,
}

/// What was seen of a leaf or node and all below it.
struct Seen {
    /// `None` where the names side cannot be read.
    extent: Option<Extent>,
    hurt: Vec<FindingId>,
}

/// What was seen of a list node and all below it.
struct SeenList {
    bytes: Option<u64>,
    hurt: Vec<FindingId>,
}

/// Findings of one place, without repetitions.
type Hurt = BTreeSet<FindingId>;

struct Walker<'a> {
    packs: &'a Packs,
    findings: &'a Findings,
    reader: ChunkReader,
    observer: &'a dyn Observer,
    nodes: HashMap<(u8, Twins), Arc<Seen>>,
    lists: Mutex<HashMap<(u8, ChunkId), Arc<SeenList>>>,
    /// Pendings are walked without blame: what they lack is no damage.
    blame: bool,
}

/// Walks every snapshot, then the manifests of runs that did not end.
pub fn walk(repository: &Repository, structure: &Structure, packs: &Packs, findings: &Findings, observer: &dyn Observer) -> Result<()> {
    let mut walker = Walker {
        packs,
        findings,
        reader: repository.origin_reader_over(packs.index.clone()),
        observer,
        nodes: HashMap::new(),
        lists: Mutex::default(),
        blame: true,
    };
    for snapshot in &structure.snapshots {
        for at in walker.manifest(snapshot)? {
            findings.hurts(at, snapshot.id);
        }
    }
    walker.blame = false;
    for pending in &structure.pendings {
        if !walker.manifest(pending)?.is_empty() {
            findings.warn(Warning::PendingIncomplete { pending: pending.name.clone() });
        }
    }
    Ok(())
}

impl Walker<'_> {
    fn manifest(&mut self, manifest: &Manifest) -> Result<Hurt> {
        let mut hurt = Hurt::new();
        for (root, path) in &manifest.roots {
            let wrong = |damage| Error::damaged(&manifest.name, damage);
            match (&root.content, root.as_tree()) {
                (Some(content), _) => self.stream(content, root, path, &mut hurt, wrong)?,
                (None, Some(tree)) => {
                    let seen = self.node(tree.level, Twins { names: tree.names, lists: tree.lists }, None)?;
                    hurt.extend(&seen.hurt);
                    if seen.extent.as_ref().is_some_and(|e| (e.entries, e.bytes) != (root.entries, root.bytes)) {
                        hurt.insert(self.wrong(wrong(Damage::Sum)));
                    }
                }
                (None, None) => {}
            }
        }
        Ok(hurt)
    }

    fn stream(&self, content: &Content, root: &IndexRoot, path: &[u8], hurt: &mut Hurt, wrong: impl Fn(Damage) -> Error) -> Result<()> {
        let mut own = Hurt::new();
        let bytes = self.content(content, &mut ReadBuffers::default(), &mut own)?;
        if bytes.is_some_and(|bytes| bytes != root.bytes) {
            own.insert(self.wrong(wrong(Damage::Sum)));
        }
        self.paths(&own, path);
        hurt.extend(own);
        Ok(())
    }

    fn wrong(&self, error: Error) -> FindingId {
        if self.blame { self.findings.add(error) } else { NOWHERE }
    }

    fn paths(&self, hurt: &Hurt, path: &[u8]) {
        for at in hurt.iter().filter(|_| self.blame) {
            self.findings.hurts_path(*at, path);
        }
    }

    /// Reads a chunk of a tree and decodes it. `None`: it cannot be, and who is to blame is in `hurt`.
    fn read<T>(
        &self,
        class: Class,
        id: &ChunkId,
        buffers: &mut ReadBuffers,
        hurt: &mut Hurt,
        decode: impl FnOnce(&[u8]) -> crate::format::wire::Decoded<T>,
    ) -> Result<Option<T>> {
        let error = match self.reader.chunk(class, id, buffers).and_then(|plain| decoded(class, id, decode(&plain))) {
            Ok(value) => return Ok(Some(value)),
            Err(error) if is_about_an_object(&error) => error,
            Err(error) => return Err(error),
        };
        let known = self.packs.blame(class, id);
        if known.is_empty() {
            hurt.insert(self.wrong(error));
        }
        hurt.extend(known);
        if self.blame {
            self.findings.tear();
        }
        Ok(None)
    }

    /// The length of a chunk of content. `None`: it has no good copy, and who is to blame is in `hurt`; or it lies in an archive.
    fn length(&self, id: &ChunkId, hurt: &mut Hurt) -> Option<u64> {
        let length = self.packs.length(Class::Data, id);
        if length.is_none() {
            let known = self.packs.blame(Class::Data, id);
            if known.is_empty() {
                hurt.insert(self.wrong(Error::ChunkMissing { id: *id }));
            }
            hurt.extend(known);
        }
        length.flatten().map(u64::from)
    }

    /// A tree chunk that can be read is still hurt where a restore would not find it: in a pack that no segment names.
    fn found(&self, class: Class, id: &ChunkId, hurt: &mut Hurt) {
        if self.packs.length(class, id).is_none() {
            hurt.extend(self.packs.blame(class, id));
        }
    }

    /// A leaf or node and all below it. `at` is its first entry, as its parent says.
    fn node(&mut self, level: u8, twins: Twins, at: Option<&NamesChild>) -> Result<Arc<Seen>> {
        if let Some(seen) = self.nodes.get(&(level, twins)) {
            return Ok(seen.clone());
        }
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let seen = Arc::new(match level {
            0 => self.leaf(twins, at, &mut ReadBuffers::default())?,
            _ => self.inner(level, twins, at)?,
        });
        self.nodes.insert((level, twins), seen.clone());
        Ok(seen)
    }

    fn inner(&mut self, level: u8, twins: Twins, at: Option<&NamesChild>) -> Result<Seen> {
        let mut hurt = Hurt::new();
        let mut buffers = ReadBuffers::default();
        self.found(Class::Names, &twins.names, &mut hurt);
        self.found(Class::Lists, &twins.lists, &mut hurt);
        let names = self.read(Class::Names, &twins.names, &mut buffers, &mut hurt, |plain| get_names_node(plain, level))?;
        let lists = self.read(Class::Lists, &twins.lists, &mut buffers, &mut hurt, |plain| get_lists_node(plain, level))?;
        if let Some(at) = at {
            self.paths(&hurt, &join(&at.dir.0, &at.name.0));
        }
        // Without the lists side nothing below can be reached; without the names side its twin still leads there.
        let Some(lists) = lists else { return Ok(Seen { extent: None, hurt: hurt.into_iter().collect() }) };
        let fits = |n: &Vec<NamesChild>| n.len() == lists.len() && n.iter().zip(&lists).all(|(n, l)| n.id == l.names);
        if names.as_ref().is_some_and(|n| !fits(n)) {
            hurt.insert(self.wrong(chunk_damaged(Class::Lists, &twins.lists, Damage::Twins)));
        }
        let children = self.children(level - 1, &lists, names.as_deref())?;
        let mut extent: Option<Extent> = None;
        let mut known = names.is_some();
        for (number, child) in children.iter().enumerate() {
            hurt.extend(&child.hurt);
            let (Some(below), Some(said)) = (&child.extent, names.as_ref().and_then(|n| n.get(number))) else {
                known = false;
                continue;
            };
            if (said.entries, said.bytes) != (below.entries, below.bytes) {
                hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Sum)));
            }
            if (&said.dir.0, &said.name.0) != (&below.first.0, &below.first.1) {
                hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Order)));
            }
            extent = match extent {
                None => Some(below.clone()),
                Some(before) => {
                    if compare((&before.last.0, &before.last.1), (&below.first.0, &below.first.1)) != Ordering::Less {
                        hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Order)));
                    }
                    let sums = before.entries.checked_add(below.entries).zip(before.bytes.checked_add(below.bytes));
                    if sums.is_none() {
                        hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Sum)));
                    }
                    let (entries, bytes) = sums.unwrap_or_default();
                    Some(Extent { entries, bytes, first: before.first, last: below.last.clone() })
                }
            };
        }
        Ok(Seen { extent: extent.filter(|_| known), hurt: hurt.into_iter().collect() })
    }

    /// The children of a node; leaves, which are most of a tree, by all cores.
    fn children(&mut self, level: u8, lists: &[ListsChild], names: Option<&[NamesChild]>) -> Result<Vec<Arc<Seen>>> {
        let twins = |child: &ListsChild| Twins { names: child.names, lists: child.lists };
        if level == 0 {
            let new: Vec<(usize, Twins)> =
                lists.iter().map(twins).enumerate().filter(|(_, twins)| !self.nodes.contains_key(&(0, *twins))).collect();
            let this = &*self;
            let leaf = |buffers: &mut ReadBuffers, (number, twins): &(usize, Twins)| {
                this.leaf(*twins, names.and_then(|n| n.get(*number)), buffers).map(|seen| ((0, *twins), Arc::new(seen)))
            };
            let seen: Vec<_> = new.par_iter().map_init(ReadBuffers::default, leaf).collect::<Result<_>>()?;
            self.nodes.extend(seen);
        }
        let child = |(number, child): (usize, &ListsChild)| self.node(level, twins(child), names.and_then(|n| n.get(number)));
        lists.iter().enumerate().map(child).collect()
    }

    fn leaf(&self, twins: Twins, at: Option<&NamesChild>, buffers: &mut ReadBuffers) -> Result<Seen> {
        let mut hurt = Hurt::new();
        self.found(Class::Names, &twins.names, &mut hurt);
        self.found(Class::Lists, &twins.lists, &mut hurt);
        let names = self.read(Class::Names, &twins.names, buffers, &mut hurt, |plain| Ok(plain.to_vec()))?;
        let lists = self.read(Class::Lists, &twins.lists, buffers, &mut hurt, |plain| Ok(plain.to_vec()))?;
        if let Some(at) = at {
            self.paths(&hurt, &join(&at.dir.0, &at.name.0));
        }
        let unknown = |hurt: Hurt| Seen { extent: None, hurt: hurt.into_iter().collect() };
        let Some(lists) = lists else { return Ok(unknown(hurt)) };
        let Some(names) = names else {
            // Nobody knows the names any more, but what the contents lack is damage of its own.
            if let Ok(contents) = get_lists_leaf(&lists) {
                for content in &contents {
                    self.content(content, buffers, &mut hurt)?;
                }
            }
            return Ok(unknown(hurt));
        };
        let groups = match decoded(Class::Names, &twins.names, get_leaf(&names, &lists)) {
            Ok(groups) => groups,
            Err(error) => {
                hurt.insert(self.wrong(error));
                return Ok(unknown(hurt));
            }
        };
        let (mut entries, mut bytes) = (0u64, Some(0u64));
        for group in &groups {
            for (entry, content) in &group.entries {
                entries += 1;
                bytes = bytes.and_then(|sum| sum.checked_add(entry.size));
                if let Some(content) = content {
                    self.file(&twins, &group.dir, entry, content, buffers, &mut hurt)?;
                }
            }
        }
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
            hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Malformed("names leaf"))));
            return Ok(unknown(hurt));
        };
        if bytes.is_none() {
            hurt.insert(self.wrong(chunk_damaged(Class::Names, &twins.names, Damage::Sum)));
        }
        let key =
            |dir: &[u8], entry: Option<&(Entry, Option<Content>)>| (dir.to_vec(), entry.map(|(e, _)| e.name.0.clone()).unwrap_or_default());
        let (first, last) = (key(&first.dir, first.entries.first()), key(&last.dir, last.entries.last()));
        let extent = bytes.map(|bytes| Extent { entries, bytes, first, last });
        Ok(Seen { extent, hurt: hurt.into_iter().collect() })
    }

    fn file(&self, leaf: &Twins, dir: &[u8], entry: &Entry, content: &Content, buffers: &mut ReadBuffers, hurt: &mut Hurt) -> Result<()> {
        let mut own = Hurt::new();
        let bytes = self.content(content, buffers, &mut own)?;
        if bytes.is_some_and(|bytes| bytes != entry.size) {
            own.insert(self.wrong(chunk_damaged(Class::Names, &leaf.names, Damage::Sum)));
        }
        if !own.is_empty() {
            self.paths(&own, &join(dir, &entry.name.0));
            hurt.extend(own);
        }
        Ok(())
    }

    /// The length of a content; `None` where that is not known, and why is in `hurt`.
    fn content(&self, content: &Content, buffers: &mut ReadBuffers, hurt: &mut Hurt) -> Result<Option<u64>> {
        match content {
            Content::Inline(items) => Ok(self.items(items, hurt)),
            Content::Tree(root) => {
                let seen = self.list(root.level, &root.id, buffers)?;
                hurt.extend(&seen.hurt);
                if seen.bytes.is_some_and(|bytes| bytes != root.bytes) {
                    hurt.insert(self.wrong(chunk_damaged(Class::Lists, &root.id, Damage::Sum)));
                }
                Ok(seen.bytes)
            }
        }
    }

    fn items(&self, items: &[Item], hurt: &mut Hurt) -> Option<u64> {
        let mut sum = Some(0u64);
        for item in items {
            let bytes = match item {
                Item::Chunk(id) => self.length(id, hurt),
                Item::Hole(bytes) => Some(*bytes),
            };
            sum = sum.zip(bytes).and_then(|(sum, bytes)| sum.checked_add(bytes));
        }
        sum
    }

    fn list(&self, level: u8, id: &ChunkId, buffers: &mut ReadBuffers) -> Result<Arc<SeenList>> {
        let lock = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = lock().get(&(level, *id)) {
            return Ok(seen.clone());
        }
        let mut hurt = Hurt::new();
        self.found(Class::Lists, id, &mut hurt);
        let mut bytes = None;
        match self.read(Class::Lists, id, buffers, &mut hurt, |plain| from_bytes::<ListNode>(plain, "list node"))? {
            None => {}
            Some(ListNode::Items(items)) if level == 0 => bytes = self.items(&items, &mut hurt),
            Some(ListNode::Children { level: own, children }) if own == level && level > 0 => {
                bytes = Some(0);
                for (child, said) in &children {
                    let below = self.list(level - 1, child, buffers)?;
                    hurt.extend(&below.hurt);
                    if below.bytes.is_some_and(|below| below != *said) {
                        hurt.insert(self.wrong(chunk_damaged(Class::Lists, id, Damage::Sum)));
                    }
                    bytes = bytes.zip(below.bytes).and_then(|(sum, below)| sum.checked_add(below));
                }
            }
            Some(_) => {
                hurt.insert(self.wrong(chunk_damaged(Class::Lists, id, Damage::Malformed("list level"))));
            }
        }
        let seen = Arc::new(SeenList { bytes, hurt: hurt.into_iter().collect() });
        lock().insert((level, *id), seen.clone());
        Ok(seen)
    }
}
