//! Writes packs (spec chapter 4): header, sealed frames, random padding, sealed footer, trailer; named by the hash of it all.
//! A pack's key is made with it and used for nothing else, so that a frame's ordinal can be its nonce.

use crate::error::Result;
use crate::format::object::{ObjectType, PART_OVERHEAD_BYTES, PartHead, Purpose, SUITE_SYMMETRIC, padded_body, padme};
use crate::format::pack::{Footer, FrameInfo, TRAILER_BYTES, header, trailer};
use crate::format::wire::Bytes;
use crate::id::{Birth, ChunkId, Class, ObjectName, PackId, SnapshotId, WriterId};
use crate::limits::{PACK_CHUNKS_MAX, PACK_FRAMES_MAX};
use crate::seal::key::Keys;
use crate::seal::{Binding, FrameSealer, Key, random, seal_part, wrap_pack_key};
use crate::store::{Store, Upload};

pub use crate::index::NewPack;

/// A frame that was compressed and verified, not yet sealed.
pub struct EncodedFrame {
    /// Codec of `bytes`.
    pub codec: u8,
    /// The frame as encoded.
    pub bytes: Vec<u8>,
    /// Length of its plaintext.
    pub plain: u32,
    /// Its chunks with their lengths, in order.
    pub chunks: Vec<(ChunkId, u32)>,
}

/// A pack that is complete but not yet durable.
pub struct PackUpload {
    upload: Box<dyn Upload>,
    /// What it will be.
    pub pack: NewPack,
}

impl PackUpload {
    /// Makes the pack durable and visible.
    pub fn finish(self) -> Result<NewPack> {
        self.upload.finish(&ObjectName::pack(self.pack.class, &self.pack.id))?;
        Ok(self.pack)
    }
}

/// A pack under construction.
pub struct PackWriter {
    class: Class,
    birth: Birth,
    epoch: u32,
    sealer: FrameSealer,
    upload: Box<dyn Upload>,
    hasher: blake3::Hasher,
    bytes: u64,
    footer: Footer,
}

impl PackWriter {
    /// Begins a pack.
    pub fn begin(store: &dyn Store, keys: &Keys, class: Class, writer: WriterId, session: SnapshotId) -> Result<Self> {
        let birth = Birth::new(random()?);
        let key = Key::random()?;
        let name = ObjectName::pack(class, &PackId::new([0; 32]));
        let wrapping = keys.require(&name, Purpose::wraps(class), keys.epoch)?;
        let wrapped = wrap_pack_key(wrapping, keys.epoch, &keys.family, class, &birth, &key)?;
        let footer = Footer {
            keys: vec![wrapped],
            frames: Vec::new(),
            ids: Bytes::default(),
            lengths: Vec::new(),
            writer,
            session,
            domain: 0,
            signature: Bytes::default(),
            extra: Vec::new(),
        };
        let mut pack = PackWriter {
            class,
            birth,
            epoch: keys.epoch,
            sealer: FrameSealer::new(&keys.family, class, &birth, &key),
            upload: store.begin()?,
            hasher: blake3::Hasher::new(),
            bytes: 0,
            footer,
        };
        pack.write(&header(class, &birth))?;
        Ok(pack)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        // Hashed while it is in the cache: the name costs no second pass.
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.upload.write(bytes)
    }

    /// Length of the pack if it ended with a frame of `frame_bytes` more, footer included, before padding.
    fn bytes_with(&self, frame_bytes: usize, chunks: usize) -> u64 {
        let table = 256 + 40 * (self.footer.frames.len() + 1) + 37 * (self.footer.lengths.len() + chunks);
        self.bytes + frame_bytes as u64 + padme(table as u64) + (PART_OVERHEAD_BYTES + TRAILER_BYTES) as u64
    }

    /// Whether a further frame would take the pack over `target` bytes or over a bound of the format.
    pub fn is_full_for(&self, frame: &EncodedFrame, target: u64) -> bool {
        !self.footer.frames.is_empty()
            && (self.bytes_with(frame.bytes.len() + crate::limits::TAG_BYTES, frame.chunks.len()) > target
                || self.footer.frames.len() >= PACK_FRAMES_MAX
                || self.footer.lengths.len() + frame.chunks.len() > PACK_CHUNKS_MAX)
    }

    /// Seals a frame and appends it. Returns its buffer for reuse.
    pub fn add(&mut self, mut frame: EncodedFrame) -> Result<Vec<u8>> {
        let ordinal = self.sealer.seal(frame.codec, &mut frame.bytes)?;
        self.write(&frame.bytes)?;
        self.footer.frames.push(FrameInfo {
            key: 0,
            ordinal,
            stored: frame.bytes.len() as u32,
            plain: frame.plain,
            codec: frame.codec,
            chunks: frame.chunks.len() as u32,
            bases: Vec::new(),
            extra: Vec::new(),
        });
        for (id, bytes) in &frame.chunks {
            self.footer.ids.0.extend_from_slice(id.as_bytes());
            self.footer.lengths.push(*bytes);
        }
        Ok(frame.bytes)
    }

    /// Ends the pack: padding, footer, trailer, name. What comes back is all written, but not durable yet.
    pub fn finish(mut self, keys: &Keys) -> Result<PackUpload> {
        let body = padded_body(&self.footer);
        let tail = (body.len() + PART_OVERHEAD_BYTES + TRAILER_BYTES) as u64;
        let padding = padme(self.bytes + tail) - self.bytes - tail;
        // Random, so that nobody can see where the frames end. From a seed, not from the system: it can be a megabyte.
        let mut noise = blake3::Hasher::new_keyed(&random()?).finalize_xof();
        let mut block = vec![0; padding.min(1 << 16) as usize];
        let mut left = padding as usize;
        while left > 0 {
            let n = left.min(block.len());
            noise.fill(&mut block[..n]);
            self.write(&block[..n])?;
            left -= n;
        }
        let head = PartHead { suite: SUITE_SYMMETRIC, purpose: Purpose::Lists, epoch: self.epoch };
        let scope = keys.family;
        let birth = self.birth;
        let binding = Binding { scope: scope.as_bytes(), header: ObjectType::pack(self.class).header(), part: 0, name: birth.as_bytes() };
        let name = ObjectName::pack(self.class, &PackId::new([0; 32]));
        let footer = seal_part(keys.require(&name, Purpose::Lists, self.epoch)?, head, &binding, &body)?;
        self.write(&footer)?;
        self.write(&trailer(self.class, &birth, footer.len() as u32))?;
        let id = PackId::new(*self.hasher.finalize().as_bytes());
        let pack = NewPack { class: self.class, id, bytes: self.bytes, ids: self.footer.ids.0 };
        Ok(PackUpload { upload: self.upload, pack })
    }
}
