//! The entry tree of a snapshot: one sorted stream of entries, cut into leaves by a keyed hash of the path, nodes above (spec chapter 6).
//! Names side and lists side have the same shape; where they are cut depends on paths alone, never on attributes.

use crate::format::entry::{Entry, compare, compare_dirs, join, name_is_valid, path_is_valid};
use crate::format::lists::{Content, ListsChild, StoreChunk, TAG_LEAF, TAG_NODE, get_lists_leaf, put_lists_leaf, put_lists_node};
use crate::format::wire::{Bytes, Decoded, Enc, Malformed, Wire, array, at_most, done, to_bytes, tuple};
use crate::id::{ChunkId, Class};
use crate::limits::{LEAF_BYTES_SOFT_MAX, LEAF_ENTRIES_MAX, NODE_ITEMS_MAX, TREE_BITS_PER_LEVEL, TREE_LEVELS_MAX};
use minicbor::Decoder;
use std::cmp::Ordering;

/// Decides where leaves and nodes begin. Its key is derived from the gear key and never rotates.
#[derive(Clone)]
pub struct TreeCutter([u8; 32]);

impl TreeCutter {
    /// From the gear key.
    pub fn new(gear: &[u8; 32]) -> Self {
        TreeCutter(blake3::derive_key("seabed v1 tree cut", gear))
    }

    /// How many levels begin anew at this path: 0 none, 1 a leaf, 2 a leaf and the node above it, …
    pub fn level(&self, path: &[u8]) -> u8 {
        let hash = blake3::keyed_hash(&self.0, path);
        let mut low = [0; 8];
        low.copy_from_slice(&hash.as_bytes()[..8]);
        ((u64::from_le_bytes(low).trailing_zeros() / TREE_BITS_PER_LEVEL) as u8).min(TREE_LEVELS_MAX)
    }
}

/// Root of an entry tree, both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRoot {
    /// 0 where the root is a leaf.
    pub level: u8,
    /// Names side.
    pub names: ChunkId,
    /// Lists side.
    pub lists: ChunkId,
    /// Entries below.
    pub entries: u64,
    /// Bytes of content below.
    pub bytes: u64,
}

/// One child in a node of the names side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesChild {
    /// Directory of the first entry below.
    pub dir: Bytes,
    /// Name of the first entry below.
    pub name: Bytes,
    /// The child.
    pub id: ChunkId,
    /// Entries below.
    pub entries: u64,
    /// Bytes of content below.
    pub bytes: u64,
}

impl Wire for NamesChild {
    fn put(&self, e: &mut Enc) {
        done(e.array(5).map(|_| ()));
        self.dir.put(e);
        self.name.put(e);
        self.id.put(e);
        self.entries.put(e);
        self.bytes.put(e);
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        tuple(d, 5, field)?;
        Ok(NamesChild {
            dir: Wire::get(d, field)?,
            name: Wire::get(d, field)?,
            id: Wire::get(d, field)?,
            entries: Wire::get(d, field)?,
            bytes: Wire::get(d, field)?,
        })
    }
}

/// Reads a node of the names side, which must be of `level`; its children are in order.
pub fn get_names_node(bytes: &[u8], level: u8) -> Decoded<Vec<NamesChild>> {
    let bad = || Malformed::Field("names node");
    let mut d = Decoder::new(bytes);
    tuple(&mut d, 3, "names node")?;
    let head = (u8::get(&mut d, "names node")?, u8::get(&mut d, "names node")?);
    let children = at_most::<NamesChild>(&mut d, NODE_ITEMS_MAX, "names node")?;
    let ordered = children.windows(2).all(|w| compare((&w[0].dir.0, &w[0].name.0), (&w[1].dir.0, &w[1].name.0)) == Ordering::Less);
    if head != (TAG_NODE, level) || children.is_empty() || !ordered || d.position() != bytes.len() {
        return Err(bad());
    }
    Ok(children)
}

fn put_names_node(level: u8, children: &Vec<NamesChild>) -> Vec<u8> {
    let mut e = Enc::new(Vec::new());
    done(e.array(3).map(|_| ()));
    TAG_NODE.put(&mut e);
    level.put(&mut e);
    children.put(&mut e);
    e.into_writer()
}

/// The entries of one directory in a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The directory, without leading `/`; empty for the root.
    pub dir: Vec<u8>,
    /// Its entries, ascending by name, each with its content where it has one.
    pub entries: Vec<(Entry, Option<Content>)>,
}

/// Reads both sides of a leaf. Names are checked here, once, for everyone who trusts a leaf.
pub fn get_leaf(names: &[u8], lists: &[u8]) -> Decoded<Vec<Group>> {
    let mut groups = get_names_leaf(names)?;
    let mut records = get_lists_leaf(lists)?.into_iter();
    for (entry, content) in groups.iter_mut().flat_map(|g| &mut g.entries) {
        if entry.has_content() {
            *content = Some(records.next().ok_or(Malformed::Field("lists leaf"))?);
        }
    }
    if records.next().is_some() { Err(Malformed::Field("lists leaf")) } else { Ok(groups) }
}

/// Reads the names side of a leaf alone: what `ls` and `find` need.
pub fn get_names_leaf(bytes: &[u8]) -> Decoded<Vec<Group>> {
    const FIELD: &str = "names leaf";
    let bad = Malformed::Field(FIELD);
    let mut d = Decoder::new(bytes);
    tuple(&mut d, 2, FIELD)?;
    if u8::get(&mut d, FIELD)? != TAG_LEAF {
        return Err(bad);
    }
    let mut groups: Vec<Group> = Vec::new();
    // One bound over all groups: an entry takes ten bytes here and half a thousand in memory.
    let mut left = LEAF_ENTRIES_MAX;
    for _ in 0..array(&mut d, FIELD)? {
        tuple(&mut d, 2, FIELD)?;
        let dir = Bytes::get(&mut d, FIELD)?.0;
        if !path_is_valid(&dir) || groups.last().is_some_and(|last| compare_dirs(&last.dir, &dir) != Ordering::Less) {
            return Err(bad);
        }
        let mut entries: Vec<(Entry, Option<Content>)> = Vec::new();
        let n = array(&mut d, FIELD)?;
        // A group without entries would be a second encoding of the same leaf.
        left = left.checked_sub(n).filter(|_| n > 0).ok_or(bad.clone())?;
        for _ in 0..n {
            let entry = Entry::get(&mut d, FIELD)?;
            if !name_is_valid(&entry.name.0) || entries.last().is_some_and(|(last, _)| last.name >= entry.name) {
                return Err(bad);
            }
            entries.push((entry, None));
        }
        groups.push(Group { dir, entries });
    }
    if d.position() == bytes.len() { Ok(groups) } else { Err(bad) }
}

/// A leaf under construction.
#[derive(Clone, Default)]
struct LeafBuilder {
    groups: Vec<(Vec<u8>, u64, Vec<u8>)>,
    first_name: Vec<u8>,
    lists: Vec<u8>,
    records: u32,
    entries: u64,
    bytes: u64,
    names_bytes: usize,
}

impl LeafBuilder {
    fn push(&mut self, dir: &[u8], encoded: &[u8], name: &[u8], content: Option<&Content>, bytes: u64) {
        if self.entries == 0 {
            self.first_name = name.to_vec();
        }
        match self.groups.last_mut() {
            Some((last, n, body)) if last == dir => {
                *n += 1;
                body.extend_from_slice(encoded);
            }
            _ => {
                self.groups.push((dir.to_vec(), 1, encoded.to_vec()));
                // A name that lies a thousand directories deep has each of their paths with it.
                self.names_bytes += dir.len();
            }
        }
        if let Some(content) = content {
            self.lists.extend_from_slice(&to_bytes(content));
            self.records += 1;
        }
        self.entries += 1;
        self.bytes += bytes;
        self.names_bytes += encoded.len();
    }

    fn is_full(&self) -> bool {
        self.entries as usize >= LEAF_ENTRIES_MAX || self.names_bytes >= LEAF_BYTES_SOFT_MAX || self.lists.len() >= LEAF_BYTES_SOFT_MAX
    }

    fn names(&self) -> Vec<u8> {
        let mut e = Enc::new(Vec::with_capacity(self.names_bytes + 64 * self.groups.len() + 16));
        done(e.array(2).map(|_| ()));
        TAG_LEAF.put(&mut e);
        done(e.array(self.groups.len() as u64).map(|_| ()));
        for (dir, n, body) in &self.groups {
            done(e.array(2).map(|_| ()));
            done(e.bytes(dir).map(|_| ()));
            done(e.array(*n).map(|_| ()));
            e.writer_mut().extend_from_slice(body);
        }
        e.into_writer()
    }
}

/// Takes entries in order and writes leaves and nodes.
#[derive(Clone)]
pub struct TreeWriter {
    cutter: TreeCutter,
    leaf: LeafBuilder,
    levels: Vec<Vec<(NamesChild, ChunkId)>>,
    last: Option<(Vec<u8>, Vec<u8>)>,
    /// The last thing that came was a whole leaf.
    adopted: bool,
}

impl TreeWriter {
    /// A writer that cuts where `cutter` says.
    pub fn new(cutter: TreeCutter) -> Self {
        TreeWriter { cutter, leaf: LeafBuilder::default(), levels: Vec::new(), last: None, adopted: false }
    }

    /// Appends an entry of directory `dir`. Entries come in the order of [`compare`]; an entry out of order is a bug of the caller.
    pub fn push<E>(&mut self, dir: &[u8], entry: &Entry, content: Option<&Content>, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        if let Some((last_dir, last_name)) = &self.last {
            assert_eq!(compare((last_dir, last_name), (dir, &entry.name.0)), Ordering::Less, "entries must come in order");
        }
        assert_eq!(content.is_some(), entry.has_content(), "a file has content, nothing else has");
        let level = self.cutter.level(&join(dir, &entry.name.0));
        assert!(level > 0 || !self.adopted, "a leaf that was taken over ends where the next one begins by its path");
        if self.adopted || self.leaf.entries > 0 && (level > 0 || self.leaf.is_full()) {
            self.cut(level, store)?;
        }
        self.leaf.push(dir, &to_bytes(entry), &entry.name.0, content, entry.size);
        self.last = Some((dir.to_vec(), entry.name.0.clone()));
        Ok(())
    }

    /// Whether a leaf begins at this entry, whatever comes before it.
    pub fn cuts(&self, dir: &[u8], name: &[u8]) -> bool {
        self.cutter.level(&join(dir, name)) > 0
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Appends a leaf that another writer with the same cutter made, unread: what pushing its entries one by one would come to. It has to
    /// begin where [`TreeWriter::cuts`] says so or be the first, and what comes behind it has to begin so; else it is not the leaf that this
    /// writer would make, and a bug of the caller.
    pub fn adopt<E>(&mut self, leaf: NamesChild, lists: ChunkId, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        let level = self.cutter.level(&join(&leaf.dir.0, &leaf.name.0));
        if let Some((last_dir, last_name)) = &self.last {
            assert_eq!(compare((last_dir, last_name), (&leaf.dir.0, &leaf.name.0)), Ordering::Less, "leaves must come in order");
            assert!(level > 0, "a leaf that is taken over begins by its path");
            self.cut(level, store)?;
        }
        self.last = Some((leaf.dir.0.clone(), leaf.name.0.clone()));
        self.adopted = true;
        self.push_child(0, leaf, lists, store)
    }

    /// Closes what ends before a path of this level.
    fn cut<E>(&mut self, level: u8, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        if self.leaf.entries > 0 {
            self.close_leaf(store)?;
        }
        self.adopted = false;
        for at in 0..usize::from(level).saturating_sub(1).min(self.levels.len()) {
            self.close_node(at, store)?;
        }
        Ok(())
    }

    fn close_leaf<E>(&mut self, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        let leaf = std::mem::take(&mut self.leaf);
        let id = store(Class::Names, &leaf.names())?;
        let lists = store(Class::Lists, &put_lists_leaf(leaf.records, &leaf.lists))?;
        let dir = leaf.groups.first().map(|g| g.0.clone()).unwrap_or_default();
        let child = NamesChild { dir: Bytes(dir), name: Bytes(leaf.first_name), id, entries: leaf.entries, bytes: leaf.bytes };
        self.push_child(0, child, lists, store)
    }

    fn push_child<E>(&mut self, at: usize, child: NamesChild, lists: ChunkId, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        if self.levels.len() == at {
            self.levels.push(Vec::new());
        }
        self.levels[at].push((child, lists));
        if self.levels[at].len() >= NODE_ITEMS_MAX {
            self.close_node(at, store)?;
        }
        Ok(())
    }

    fn close_node<E>(&mut self, at: usize, store: &mut StoreChunk<'_, E>) -> Result<(), E> {
        let children = std::mem::take(&mut self.levels[at]);
        let Some((first, _)) = children.first() else { return Ok(()) };
        let (dir, name) = (first.dir.clone(), first.name.clone());
        let (entries, bytes) = children.iter().fold((0, 0), |(e, b), (c, _)| (e + c.entries, b + c.bytes));
        let twins: Vec<ListsChild> = children.iter().map(|(c, lists)| ListsChild { lists: *lists, names: c.id }).collect();
        let level = at as u8 + 1;
        let id = store(Class::Names, &put_names_node(level, &children.into_iter().map(|(c, _)| c).collect()))?;
        let lists = store(Class::Lists, &put_lists_node(level, &twins))?;
        self.push_child(at + 1, NamesChild { dir, name, id, entries, bytes }, lists, store)
    }

    /// Ends the tree. `None` where no entry was pushed.
    pub fn finish<E>(mut self, store: &mut StoreChunk<'_, E>) -> Result<Option<TreeRoot>, E> {
        if self.leaf.entries > 0 {
            self.close_leaf(store)?;
        }
        let mut at = 0;
        while at < self.levels.len() {
            if at + 1 == self.levels.len()
                && let [(child, lists)] = self.levels[at].as_slice()
            {
                let root = TreeRoot { level: at as u8, names: child.id, lists: *lists, entries: child.entries, bytes: child.bytes };
                return Ok(Some(root));
            }
            self.close_node(at, store)?;
            at += 1;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::EntryKind;
    use crate::format::lists::{Item, get_lists_node};
    use std::collections::HashMap;
    use std::convert::Infallible;

    type Kept = HashMap<ChunkId, Vec<u8>>;

    fn sample(n: usize, mtime: i64) -> Vec<(Vec<u8>, Entry, Option<Content>)> {
        let mut all = Vec::new();
        for i in 0..n {
            let dir = format!("d{:03}", i / 100).into_bytes();
            let mut entry = Entry::new(format!("f{i:06}").as_bytes(), if i % 7 == 0 { EntryKind::Symlink } else { EntryKind::File });
            entry.mtime = crate::format::wire::Time::from_nanos(mtime);
            entry.size = 10;
            let content = entry.has_content().then(|| Content::Inline(vec![Item::Chunk(ChunkId::new([i as u8; 32]))]));
            all.push((dir, entry, content));
        }
        all
    }

    fn write(entries: &[(Vec<u8>, Entry, Option<Content>)]) -> (Option<TreeRoot>, Kept) {
        let mut kept = Kept::new();
        let mut store = |class: Class, plain: &[u8]| {
            let id = ChunkId::new(*blake3::keyed_hash(&[class.code(); 32], plain).as_bytes());
            kept.insert(id, plain.to_vec());
            Ok::<_, Infallible>(id)
        };
        let mut w = TreeWriter::new(TreeCutter::new(&[1; 32]));
        for (dir, entry, content) in entries {
            w.push(dir, entry, content.as_ref(), &mut store).unwrap();
        }
        (w.finish(&mut store).unwrap(), kept)
    }

    fn read(root: &TreeRoot, kept: &Kept) -> Vec<(Vec<u8>, Entry, Option<Content>)> {
        fn below(level: u8, names: &ChunkId, lists: &ChunkId, kept: &Kept, out: &mut Vec<(Vec<u8>, Entry, Option<Content>)>) {
            if level == 0 {
                for group in get_leaf(&kept[names], &kept[lists]).unwrap() {
                    out.extend(group.entries.into_iter().map(|(e, c)| (group.dir.clone(), e, c)));
                }
                return;
            }
            let children = get_names_node(&kept[names], level).unwrap();
            let twins = get_lists_node(&kept[lists], level).unwrap();
            assert_eq!(children.len(), twins.len());
            for (child, twin) in children.iter().zip(&twins) {
                assert_eq!(child.id, twin.names);
                below(level - 1, &child.id, &twin.lists, kept, out);
            }
        }
        let mut out = Vec::new();
        below(root.level, &root.names, &root.lists, kept, &mut out);
        out
    }

    #[test]
    fn trees_of_every_size_come_back() {
        assert!(write(&[]).0.is_none());
        for n in [1, 2, 300, 3000, 30_000] {
            let entries = sample(n, 5);
            let (root, kept) = write(&entries);
            let root = root.unwrap();
            assert_eq!((root.entries, root.bytes), (n as u64, 10 * n as u64));
            assert_eq!(read(&root, &kept), entries);
        }
    }

    #[test]
    fn leaves_that_are_taken_over_make_the_same_tree() {
        let entries = sample(30_000, 5);
        let (root, kept) = write(&entries);
        let mut leaves = Vec::new();
        fn below(level: u8, child: NamesChild, lists: ChunkId, kept: &Kept, out: &mut Vec<(NamesChild, ChunkId)>) {
            if level == 0 {
                return out.push((child, lists));
            }
            let children = get_names_node(&kept[&child.id], level).unwrap();
            let twins = get_lists_node(&kept[&lists], level).unwrap();
            children.into_iter().zip(twins).for_each(|(child, twin)| below(level - 1, child, twin.lists, kept, out));
        }
        let top = root.unwrap();
        let child = NamesChild { dir: Bytes::default(), name: Bytes::default(), id: top.names, entries: top.entries, bytes: top.bytes };
        below(top.level, child, top.lists, &kept, &mut leaves);
        let mut store =
            |class: Class, plain: &[u8]| Ok::<_, Infallible>(ChunkId::new(*blake3::keyed_hash(&[class.code(); 32], plain).as_bytes()));
        // Every third leaf entry by entry, the others whole where that may be.
        let mut w = TreeWriter::new(TreeCutter::new(&[1; 32]));
        let mut whole = 0;
        for (at, (child, lists)) in leaves.iter().enumerate() {
            let next = leaves.get(at + 1).is_none_or(|(next, _)| w.cuts(&next.dir.0, &next.name.0));
            if at % 3 > 0 && next && (w.is_empty() || w.cuts(&child.dir.0, &child.name.0)) {
                w.adopt(child.clone(), *lists, &mut store).unwrap();
                whole += 1;
                continue;
            }
            for group in get_leaf(&kept[&child.id], &kept[lists]).unwrap() {
                for (entry, content) in group.entries {
                    w.push(&group.dir, &entry, content.as_ref(), &mut store).unwrap();
                }
            }
        }
        assert!(whole > leaves.len() / 2);
        assert_eq!(w.finish(&mut store).unwrap(), root);
    }

    #[test]
    fn touching_every_file_keeps_the_lists_side_and_all_cuts() {
        let (a, kept_a) = write(&sample(20_000, 5));
        let (b, kept_b) = write(&sample(20_000, 6));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.lists == b.lists, a.level == 0, "a node's lists side names its twins");
        let leaves = |kept: &Kept| kept.values().filter(|p| get_lists_leaf(p).is_ok()).cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(leaves(&kept_a), leaves(&kept_b));
    }

    #[test]
    fn one_new_file_rewrites_one_leaf_per_side_and_the_path_to_the_root() {
        let entries = sample(20_000, 5);
        let (root, kept) = write(&entries);
        let mut edited = entries.clone();
        edited.insert(10_050, (entries[10_050].0.clone(), Entry::new(b"f010049x", EntryKind::Fifo), None));
        let (_, kept_edited) = write(&edited);
        let new = kept_edited.keys().filter(|k| !kept.contains_key(*k)).count();
        assert!(new <= 2 * (usize::from(root.unwrap().level) + 2), "{new}");
    }

    /// One entry of a tar archive may lie three thousand long names deep. Its directories came into one leaf, each with its whole path, and
    /// that was larger than any chunk may be.
    #[test]
    fn paths_of_deep_directories_cut_leaves() {
        let mut entries = Vec::new();
        let mut dir: Vec<u8> = Vec::new();
        for _ in 0..300 {
            let name = [b'n'; 200];
            entries.push((dir.clone(), Entry::new(&name, EntryKind::Directory), None));
            dir = crate::format::entry::join(&dir, &name);
        }
        let (_, kept) = write(&entries);
        let largest = kept.values().map(Vec::len).max().unwrap();
        assert!(largest < LEAF_BYTES_SOFT_MAX + crate::limits::ENTRY_BYTES_MAX, "{largest}");
        assert!(kept.values().map(Vec::len).sum::<usize>() > 300 * 300 * 100);
    }

    #[test]
    fn a_leaf_of_very_many_entries_is_refused_before_they_are_read() {
        let lists = |n: u32| get_lists_leaf(&put_lists_leaf(n, &vec![0x80; n as usize]));
        assert!(lists(LEAF_ENTRIES_MAX as u32).is_ok());
        assert!(lists(LEAF_ENTRIES_MAX as u32 + 1).is_err());
        let names = |n: usize| {
            let mut b = LeafBuilder::default();
            for i in 0..n {
                let name = format!("{i:08}").into_bytes();
                b.push(b"", &to_bytes(&Entry::new(&name, EntryKind::Fifo)), &name, None, 0);
            }
            get_names_leaf(&b.names())
        };
        assert!(names(LEAF_ENTRIES_MAX).is_ok());
        assert!(names(LEAF_ENTRIES_MAX + 1).is_err());
    }

    #[test]
    fn hostile_leaves_are_refused() {
        let leaf = |dir: &[u8], names: &[&[u8]]| {
            let mut b = LeafBuilder::default();
            b.groups.push((dir.to_vec(), 0, Vec::new()));
            for n in names {
                b.push(dir, &to_bytes(&Entry::new(n, EntryKind::Fifo)), n, None, 0);
            }
            b.names()
        };
        assert!(get_names_leaf(&leaf(b"a", &[b"x", b"y"])).is_ok());
        for (dir, names) in [
            (&b"../a"[..], &[&b"x"[..]][..]),
            (b"/a", &[b"x"]),
            (b"a", &[b".."]),
            (b"a", &[b"x/y"]),
            (b"a", &[b"x", b"x"]),
            (b"a", &[b"y", b"x"]),
            (b"a", &[]),
        ] {
            assert!(get_names_leaf(&leaf(dir, names)).is_err());
        }
    }
}
