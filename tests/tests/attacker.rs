//! Someone who holds the keys of a repository and means harm, or only differs from what our writer makes; and a target that must not be hurt.
//! It must never use a check that an honest writer has.

use seabed_engine::error::Error;
use seabed_engine::format::entry::{Entry, EntryKind};
use seabed_engine::format::lists::{Content, Item, ListNode, ListRoot, ListsChild, put_lists_leaf, put_lists_node};
use seabed_engine::format::manifest::{Failure, IndexPart, IndexRoot, NamesPart, NamesRoot, ROOT_PATHS, ROOT_STREAM, Stream};
use seabed_engine::format::pack::CODEC_RAW;
use seabed_engine::format::tree::TreeRoot;
use seabed_engine::format::wire::{Bytes, Time, to_bytes};
use seabed_engine::id::{ChunkId, Class, ObjectName, SnapshotId};
use seabed_engine::index::build_segment;
use seabed_engine::observe::Silent;
use seabed_engine::pack::writer::{EncodedFrame, NewFrame, PackWriter};
use seabed_engine::repository::Repository;
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{RestoreOptions, RestoreReport, restore};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{init, open, select};
use seabed_tests::trees::{Tree, capture};
use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No attack here needs more than this to be refused.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Someone who holds the keys.
pub struct Attacker {
    pub store: Arc<MemoryStore>,
    pub repository: Repository,
    snapshots: RefCell<u8>,
}

impl Attacker {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let repository = init(store.clone(), None).unwrap();
        Attacker { store, repository, snapshots: RefCell::new(0) }
    }

    /// Publishes a frame of chunks in a pack of its own.
    pub fn frame(&self, class: Class, codec: u8, bytes: Vec<u8>, plain: u32, chunks: Vec<(ChunkId, u32)>) {
        let (keys, session) = (self.repository.keys(), SnapshotId::new([9; 32]));
        let (mut pack, mut object) = PackWriter::begin(keys, class, self.repository.writer(), session).unwrap();
        object.extend(pack.add(NewFrame::Fresh(EncodedFrame { codec, bytes, plain, chunks })).unwrap());
        let (pack, last) = pack.finish(keys).unwrap();
        object.extend(last);
        self.store.put(&ObjectName::pack(class, &pack.id), &object).unwrap();
        self.repository.put_segment(&build_segment(&[pack])).unwrap();
    }

    pub fn chunk(&self, class: Class, bytes: &[u8]) -> ChunkId {
        let id = self.repository.ids().id(class, bytes);
        self.frame(class, CODEC_RAW, bytes.to_vec(), bytes.len() as u32, vec![(id, bytes.len() as u32)]);
        id
    }

    /// A leaf with these groups, encoded without any of the checks that an honest writer has.
    pub fn leaf(&self, groups: &[(&[u8], Vec<(Entry, Option<Content>)>)]) -> (ChunkId, ChunkId) {
        let mut names = vec![0x82, 0x00];
        head(&mut names, 4, groups.len() as u64);
        let (mut lists, mut records) = (Vec::new(), 0);
        for (dir, entries) in groups {
            names.push(0x82);
            head(&mut names, 2, dir.len() as u64);
            names.extend_from_slice(dir);
            head(&mut names, 4, entries.len() as u64);
            for (entry, content) in entries {
                names.extend_from_slice(&to_bytes(entry));
                if let Some(content) = content {
                    lists.extend_from_slice(&to_bytes(content));
                    records += 1;
                }
            }
        }
        (self.chunk(Class::Names, &names), self.chunk(Class::Lists, &put_lists_leaf(records, &lists)))
    }

    /// A node of these children: directory, name and ids of each.
    pub fn node(&self, level: u8, children: &[(&[u8], Vec<u8>, (ChunkId, ChunkId))]) -> (ChunkId, ChunkId) {
        let mut names = vec![0x83, 0x01, level];
        head(&mut names, 4, children.len() as u64);
        for (dir, name, (id, _)) in children {
            names.push(0x85);
            for part in [dir, &name[..], id.as_bytes()] {
                head(&mut names, 2, part.len() as u64);
                names.extend_from_slice(part);
            }
            names.extend_from_slice(&[0x01, 0x01]);
        }
        let twins: Vec<ListsChild> = children.iter().map(|(_, _, (names, lists))| ListsChild { lists: *lists, names: *names }).collect();
        (self.chunk(Class::Names, &names), self.chunk(Class::Lists, &put_lists_node(level, &twins)))
    }

    /// A snapshot of one file `f` of so many bytes a thousand times on each of six levels: its list names one node over and over.
    pub fn repeating_list(&self, bytes: u64) -> SnapshotId {
        let mut below = self.chunk(Class::Lists, &to_bytes(&ListNode::Items(vec![])));
        let mut total = bytes;
        for level in 1..=6 {
            let children = vec![(below, total); 1000];
            total *= 1000;
            below = self.chunk(Class::Lists, &to_bytes(&ListNode::Children { level, children }));
        }
        let mut file = entry(b"f", EntryKind::File);
        file.size = total;
        let content = Content::Tree(ListRoot { level: 6, id: below, bytes: total, extra: vec![] });
        self.tree(0, self.leaf(&[(b"", vec![(file, Some(content))])]))
    }

    pub fn manifest(&self, index: Vec<IndexRoot>, names: Vec<NamesRoot>) -> (SnapshotId, IndexPart, NamesPart) {
        *self.snapshots.borrow_mut() += 1;
        let id = SnapshotId::new([*self.snapshots.borrow(); 32]);
        let now = Time { secs: 1_700_000_000, nanos: 0 };
        let index = IndexPart { roots: index, ..IndexPart::new(id, (self.repository.writer(), u64::from(*self.snapshots.borrow())), now) };
        let names = NamesPart { paths: vec![Bytes(b"/".to_vec())], program: "not seabed".into(), roots: names, ..NamesPart::new("s", "h") };
        (id, index, names)
    }

    /// A tree in which something could not be read.
    pub fn tree_with_failure(&self, (names, lists): (ChunkId, ChunkId), path: &[u8]) -> SnapshotId {
        let root = IndexRoot::tree(ROOT_PATHS, &TreeRoot { level: 0, names, lists, entries: 1, bytes: 1 });
        let name = NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: vec![] };
        let (id, index, mut names) = self.manifest(vec![root], vec![name]);
        names.summary.errors = 1;
        names.failures.push(Failure { path: Bytes(path.to_vec()), during: "stat".into(), message: "no".into(), extra: vec![] });
        self.repository.put_manifest(&ObjectName::snapshot(&id), &index, &names).unwrap();
        id
    }

    pub fn snapshot(&self, index: Vec<IndexRoot>, names: Vec<NamesRoot>) -> SnapshotId {
        let (id, index, names) = self.manifest(index, names);
        self.repository.put_manifest(&ObjectName::snapshot(&id), &index, &names).unwrap();
        id
    }

    pub fn tree(&self, level: u8, (names, lists): (ChunkId, ChunkId)) -> SnapshotId {
        self.tree_and(level, (names, lists), vec![])
    }

    pub fn tree_and(&self, level: u8, (names, lists): (ChunkId, ChunkId), streams: Vec<(&[u8], Content, u64)>) -> SnapshotId {
        let mut index = vec![IndexRoot::tree(ROOT_PATHS, &TreeRoot { level, names, lists, entries: 1, bytes: 1 })];
        let mut roots = vec![NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: vec![] }];
        for (name, content, bytes) in streams {
            index.push(IndexRoot::stream(content, bytes));
            roots.push(stream_root(name));
        }
        self.snapshot(index, roots)
    }

    pub fn file(&self, name: &[u8], bytes: &[u8]) -> (Entry, Option<Content>) {
        let id = self.chunk(Class::Data, bytes);
        let mut entry = entry(name, EntryKind::File);
        entry.size = bytes.len() as u64;
        (entry, Some(Content::Inline(vec![Item::Chunk(id)])))
    }
}

pub fn stream_root(name: &[u8]) -> NamesRoot {
    let mtime = Time::default();
    let stream = Stream {
        argv: vec![],
        exit: None,
        stderr: Bytes::default(),
        format: String::new(),
        hash: [0; 32],
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime,
        place: String::new(),
        extra: vec![],
    };
    NamesRoot { kind: ROOT_STREAM, name: Bytes(name.to_vec()), stream: Some(stream), extra: vec![] }
}

pub fn entry(name: &[u8], kind: EntryKind) -> Entry {
    let mut entry = Entry::new(name, kind);
    entry.mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    entry
}

pub fn link(name: &[u8], target: &[u8]) -> (Entry, Option<Content>) {
    let mut entry = entry(name, EntryKind::Symlink);
    entry.target = Bytes(target.to_vec());
    (entry, None)
}

/// Head of a CBOR item.
pub fn head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    match n {
        0..=23 => out.push(major | n as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        _ => {
            out.push(major | 26);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
}

/// A target with a neighbour that must stay as it is.
pub struct Victim {
    pub dir: TempDir,
    canary: Tree,
}

impl Victim {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("outside/sub")).unwrap();
        fs::write(dir.path().join("outside/canary"), b"sings").unwrap();
        fs::write(dir.path().join("outside/sub/f"), b"safe").unwrap();
        fs::create_dir(dir.path().join("target")).unwrap();
        let canary = outside(&dir);
        Victim { dir, canary }
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    /// Restores, with and without `delete` and `keep_going`, and looks after the neighbour each time. The last result.
    pub fn restore(&self, attacker: &Attacker, id: &SnapshotId) -> Result<RestoreReport, Error> {
        let mut last = None;
        for (delete, keep_going) in [(false, false), (true, false), (false, true), (true, true)] {
            let started = Instant::now();
            let result = select(&open(attacker.store.clone(), None).unwrap(), id, b"").and_then(|selected| {
                let options = TargetOptions { delete, privileged: keep_going, ..Default::default() };
                let options = RestoreOptions { target: self.target(), options, keep_going, verify: true, threads: 2, ..Default::default() };
                restore(&open(attacker.store.clone(), None).unwrap(), &selected, &options, &Silent)
            });
            assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
            assert!(outside(&self.dir) == self.canary, "something outside the target changed");
            assert!(!matches!(result, Err(Error::SelfCheck { .. })), "{result:?}");
            last = Some(result);
        }
        last.unwrap()
    }
}

/// All but the target, that the directory holds nothing new included.
pub fn outside(dir: &TempDir) -> Tree {
    let mut tree = capture(dir.path(), false);
    tree.retain(|path, _| !path.starts_with(b"target"));
    tree
}
