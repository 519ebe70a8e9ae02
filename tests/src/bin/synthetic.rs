//! Makes a large repository out of nothing: many small chunks in many packs, two snapshots of them.
//!
//!     synthetic DIR CHUNKS
//!
//! The first snapshot is a stream of all chunks, the second one of three quarters of each frame. `.ci/nightly` forgets the first and
//! collects, to see what memory that takes. The secret is the key file `DIR.key`.

use seabed_engine::format::lists::{Item, ListWriter};
use seabed_engine::format::manifest::{IndexPart, IndexRoot, NamesPart, NamesRoot, ROOT_STREAM, Stream, Summary};
use seabed_engine::format::pack::CODEC_RAW;
use seabed_engine::format::wire::{Bytes, Time};
use seabed_engine::id::{ChunkId, Class, ObjectName, SnapshotId};
use seabed_engine::index::{NewPack, build_segment};
use seabed_engine::limits::SEGMENT_CHUNKS_TARGET;
use seabed_engine::pack::writer::{EncodedFrame, NewFrame, PackWriter};
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::random;
use seabed_engine::store::local::LocalStore;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a chunk: small, so that ten million of them fit on a disk.
const CHUNK_BYTES: usize = 256;
const FRAME_CHUNKS: usize = 1024;
/// Chunks in a pack, as in one of 32 MiB with chunks of 8 KiB.
const PACK_CHUNKS: usize = 4096;
/// Bytes of lists in a frame, and in a pack.
const LISTS_FRAME_BYTES: usize = 512 << 10;
const LISTS_PACK_FRAMES: usize = 16;

type Made<T> = Result<T, Box<dyn std::error::Error>>;

/// Writes packs and names them in segments of the usual size.
struct Writer<'a> {
    repository: &'a Repository,
    session: SnapshotId,
    unnamed: Vec<NewPack>,
}

impl Writer<'_> {
    fn put(&mut self, class: Class, frames: Vec<EncodedFrame>) -> Made<()> {
        let (mut pack, first) = PackWriter::begin(self.repository.keys(), class, self.repository.writer(), self.session)?;
        let mut upload = self.repository.store().begin()?;
        upload.write(&first)?;
        for frame in frames {
            upload.write(&pack.add(NewFrame::Fresh(frame))?)?;
        }
        let (pack, last) = pack.finish(self.repository.keys())?;
        upload.write(&last)?;
        upload.finish(&ObjectName::pack(class, &pack.id))?;
        self.unnamed.push(pack);
        let chunks: usize = self.unnamed.iter().map(|pack| pack.chunks()).sum();
        if chunks >= SEGMENT_CHUNKS_TARGET { self.name() } else { Ok(()) }
    }

    fn name(&mut self) -> Made<()> {
        if !self.unnamed.is_empty() {
            self.repository.put_segment(&build_segment(&std::mem::take(&mut self.unnamed)))?;
        }
        Ok(())
    }
}

fn content(n: u64) -> [u8; CHUNK_BYTES] {
    let mut out = [0; CHUNK_BYTES];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn frame(chunks: Vec<(ChunkId, Vec<u8>)>) -> EncodedFrame {
    let lengths = chunks.iter().map(|(id, bytes)| (*id, bytes.len() as u32)).collect();
    let bytes: Vec<u8> = chunks.into_iter().flat_map(|(_, bytes)| bytes).collect();
    EncodedFrame { codec: CODEC_RAW, plain: bytes.len() as u32, bytes, chunks: lengths }
}

/// A stream of the chunks that `wanted` lets pass.
fn snapshot(
    writer: &mut Writer<'_>,
    ids: &[ChunkId],
    (number, previous): (u64, Option<SnapshotId>),
    wanted: impl Fn(usize) -> bool,
) -> Made<SnapshotId> {
    let repository = writer.repository;
    let mut list = ListWriter::default();
    let mut open: Vec<(ChunkId, Vec<u8>)> = Vec::new();
    let mut frames: Vec<EncodedFrame> = Vec::new();
    let mut packs: Vec<Vec<EncodedFrame>> = Vec::new();
    let mut store = |class: Class, plain: &[u8]| -> Result<ChunkId, std::convert::Infallible> {
        let id = repository.ids().id(class, plain);
        open.push((id, plain.to_vec()));
        if open.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() >= LISTS_FRAME_BYTES {
            frames.push(frame(std::mem::take(&mut open)));
            if frames.len() == LISTS_PACK_FRAMES {
                packs.push(std::mem::take(&mut frames));
            }
        }
        Ok(id)
    };
    for (_, id) in ids.iter().enumerate().filter(|(n, _)| wanted(*n)) {
        list.push(Item::Chunk(*id), CHUNK_BYTES as u64, &mut store)?;
    }
    let (content, bytes) = list.finish(&mut store)?;
    if !open.is_empty() {
        frames.push(frame(open));
    }
    packs.push(frames);
    packs.into_iter().filter(|frames| !frames.is_empty()).try_for_each(|frames| writer.put(Class::Lists, frames))?;
    writer.name()?;
    let time = Time { secs: 1_750_000_000 + number as i64 * 86_400, nanos: 0 };
    let id = SnapshotId::new(random()?);
    let index =
        IndexPart { roots: vec![IndexRoot::stream(content, bytes)], previous, ..IndexPart::new(id, (repository.writer(), number), time) };
    let stream = Stream {
        argv: Vec::new(),
        exit: None,
        stderr: Bytes::default(),
        format: String::new(),
        hash: [0; 32],
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: time,
        place: String::new(),
        extra: Vec::new(),
    };
    let names = NamesPart {
        paths: vec![Bytes(b"/stream".to_vec())],
        program: "synthetic".to_owned(),
        roots: vec![NamesRoot { kind: ROOT_STREAM, name: Bytes(b"stream".to_vec()), stream: Some(stream), extra: Vec::new() }],
        summary: Summary { bytes_total: bytes, ..Summary::default() },
        ..NamesPart::new("synthetic", "nowhere")
    };
    repository.put_manifest(&ObjectName::snapshot(&id), &index, &names)?;
    Ok(id)
}

fn main() -> Made<()> {
    let usage = "usage: synthetic DIR CHUNKS";
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or(usage)?;
    let count: u64 = args.next().ok_or(usage)?.parse()?;
    let key: [u8; 32] = random()?;
    let secret = Secret::KeyFile(Key::new(key));
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(format!("{dir}.key"), format!("{text}\n"))?;
    let store = Arc::new(LocalStore::create(Path::new(&dir))?);
    let repository = Repository::init(store, &secret, &InitOptions::default(), &OpenOptions::default())?;
    let mut writer = Writer { repository: &repository, session: SnapshotId::new(random()?), unnamed: Vec::new() };
    let mut ids = Vec::with_capacity(usize::try_from(count)?);
    let numbers: Vec<u64> = (0..count).collect();
    for pack in numbers.chunks(PACK_CHUNKS) {
        let mut frames = Vec::new();
        for part in pack.chunks(FRAME_CHUNKS) {
            let chunks: Vec<(ChunkId, Vec<u8>)> =
                part.iter().map(|n| content(*n)).map(|bytes| (repository.ids().id(Class::Data, &bytes), bytes.to_vec())).collect();
            ids.extend(chunks.iter().map(|(id, _)| *id));
            frames.push(frame(chunks));
        }
        writer.put(Class::Data, frames)?;
    }
    writer.name()?;
    let first = snapshot(&mut writer, &ids, (1, None), |_| true)?;
    let second = snapshot(&mut writer, &ids, (2, Some(first)), |n| n % 4 != 0)?;
    println!("{first}\n{second}");
    Ok(())
}
