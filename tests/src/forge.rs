//! Snapshots out of nothing: trees of as many entries as a test needs, written straight into packs, without files and a walk of them.
//! It must never write what a backup could not have written.

use seabed_engine::format::entry::Entry;
use seabed_engine::format::lists::Content;
use seabed_engine::format::manifest::{IndexPart, IndexRoot, NamesPart, NamesRoot, ROOT_PATHS, ROOT_STREAM, Stream, Summary};
use seabed_engine::format::pack::CODEC_RAW;
use seabed_engine::format::tree::{TreeRoot, TreeWriter};
use seabed_engine::format::wire::{Bytes, Time};
use seabed_engine::id::{ChunkId, Class, ObjectName, SnapshotId};
use seabed_engine::index::{NewPack, build_segment};
use seabed_engine::pack::writer::{EncodedFrame, NewFrame, PackWriter};
use seabed_engine::repository::Repository;
use std::collections::HashSet;
use std::convert::Infallible;

/// Plaintext of a frame, and frames of a pack: as large as real ones.
const FRAME_BYTES: usize = 1 << 20;
const PACK_FRAMES: usize = 8;

/// Chunks of one class that are in no pack yet.
#[derive(Default)]
struct Open {
    chunks: Vec<(ChunkId, u32)>,
    bytes: Vec<u8>,
    frames: Vec<EncodedFrame>,
}

/// Writes chunks and snapshots.
pub struct Forge<'r> {
    repository: &'r Repository,
    known: HashSet<(u8, ChunkId)>,
    open: [Open; 3],
    packs: Vec<NewPack>,
    made: u8,
}

impl<'r> Forge<'r> {
    /// For an empty repository.
    pub fn new(repository: &'r Repository) -> Self {
        Forge { repository, known: HashSet::new(), open: Default::default(), packs: Vec::new(), made: 0 }
    }

    /// Stores a chunk, where it is new.
    pub fn chunk(&mut self, class: Class, plain: &[u8]) -> ChunkId {
        let id = self.repository.ids().id(class, plain);
        if self.known.insert((class.code(), id)) {
            let open = &mut self.open[usize::from(class.code())];
            open.chunks.push((id, plain.len() as u32));
            open.bytes.extend_from_slice(plain);
            if open.bytes.len() >= FRAME_BYTES {
                self.close_frame(class);
            }
            if self.open[usize::from(class.code())].frames.len() >= PACK_FRAMES {
                self.close_pack(class);
            }
        }
        id
    }

    fn close_frame(&mut self, class: Class) {
        let open = &mut self.open[usize::from(class.code())];
        let (chunks, bytes) = (std::mem::take(&mut open.chunks), std::mem::take(&mut open.bytes));
        if !chunks.is_empty() {
            open.frames.push(EncodedFrame { codec: CODEC_RAW, plain: bytes.len() as u32, bytes, chunks });
        }
    }

    fn close_pack(&mut self, class: Class) {
        let frames = std::mem::take(&mut self.open[usize::from(class.code())].frames);
        if frames.is_empty() {
            return;
        }
        let (keys, session) = (self.repository.keys(), SnapshotId::new([9; 32]));
        let (mut pack, mut object) = PackWriter::begin(keys, class, self.repository.writer(), session).unwrap();
        for frame in frames {
            object.extend(pack.add(NewFrame::Fresh(frame)).unwrap());
        }
        let (pack, last) = pack.finish(keys).unwrap();
        object.extend(last);
        self.repository.store().put(&ObjectName::pack(class, &pack.id), &object).unwrap();
        self.packs.push(pack);
    }

    /// Writes a tree; entries come in the order of the format.
    pub fn tree(&mut self, entries: impl Iterator<Item = (Vec<u8>, Entry, Option<Content>)>) -> TreeRoot {
        let mut tree = TreeWriter::new(self.repository.cutter().clone());
        let mut store = |class: Class, plain: &[u8]| Ok::<_, Infallible>(self.chunk(class, plain));
        for (dir, entry, content) in entries {
            tree.push(&dir, &entry, content.as_ref(), &mut store).unwrap();
        }
        tree.finish(&mut store).unwrap().unwrap()
    }

    /// Publishes a snapshot of a tree, and of streams beside it.
    pub fn snapshot(&mut self, tree: &TreeRoot, streams: &[(&str, Content, u64)]) -> SnapshotId {
        self.snapshot_of(&[(*tree, ROOT_PATHS)], streams)
    }

    /// Publishes a snapshot of several trees, each with its kind, and of streams beside them.
    pub fn snapshot_of(&mut self, trees: &[(TreeRoot, u8)], streams: &[(&str, Content, u64)]) -> SnapshotId {
        for class in Class::ALL {
            self.close_frame(class);
            self.close_pack(class);
        }
        let packs = std::mem::take(&mut self.packs);
        if !packs.is_empty() {
            self.repository.put_segment(&build_segment(&packs)).unwrap();
        }
        self.made += 1;
        let id = SnapshotId::new([self.made; 32]);
        let time = Time { secs: 1_767_225_600 + i64::from(self.made) * 86_400, nanos: 0 };
        let mut index: Vec<IndexRoot> = trees.iter().map(|(tree, kind)| IndexRoot::tree(*kind, tree)).collect();
        let name = |kind: u8| NamesRoot { kind, name: Bytes::default(), stream: None, extra: vec![] };
        let mut roots: Vec<NamesRoot> = trees.iter().map(|(_, kind)| name(*kind)).collect();
        for (name, content, bytes) in streams {
            let stream = Stream::new("", (0, 0), time);
            index.push(IndexRoot::stream(content.clone(), *bytes));
            roots.push(NamesRoot { kind: ROOT_STREAM, name: Bytes(name.as_bytes().to_vec()), stream: Some(stream), extra: vec![] });
        }
        let index = IndexPart {
            roots: index,
            previous: (self.made > 1).then(|| SnapshotId::new([self.made - 1; 32])),
            ..IndexPart::new(id, (self.repository.writer(), u64::from(self.made)), time)
        };
        let names = NamesPart {
            paths: vec![Bytes(b"/".to_vec())],
            program: "forge".into(),
            roots,
            summary: Summary {
                bytes_total: trees.iter().map(|(tree, _)| tree.bytes).sum(),
                files_total: trees.iter().map(|(tree, _)| tree.entries).sum(),
                ..Summary::default()
            },
            ..NamesPart::new("forged", "here")
        };
        self.repository.put_manifest(&ObjectName::snapshot(&id), &index, &names).unwrap();
        id
    }
}
