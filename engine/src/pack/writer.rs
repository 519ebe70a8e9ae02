//! Writes packs (spec chapter 4): header, sealed frames, random padding, sealed footer, trailer; named by the hash of it all.
//! A pack's key is made with it and used for nothing else, so that a frame's ordinal can be its nonce.

use crate::buffers::{reserve, room};
use crate::error::{Error, Result};
use crate::format::object::{ObjectType, PART_OVERHEAD_BYTES, PartHead, Purpose, SUITE_SYMMETRIC, padded_body, padme};
use crate::format::pack::{Footer, FrameInfo, PackKey, TRAILER_BYTES, header, trailer};
use crate::format::wire::Bytes;
use crate::id::{Birth, ChunkId, Class, ObjectName, PackId, SnapshotId, WriterId};
use crate::limits::{PACK_CHUNKS_MAX, PACK_FRAMES_MAX, PACK_KEYS_MAX};
use crate::seal::key::Keys;
use crate::seal::{Binding, FrameSealer, Key, random, seal_part, wrap_pack_key};
use crate::store::Upload;
use std::collections::HashMap;

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

/// A frame that is taken from another pack as it is sealed there.
pub struct CopiedFrame {
    /// Its bytes, tag included.
    pub bytes: Vec<u8>,
    /// Its row in the footer that it comes from.
    pub info: FrameInfo,
    /// The key that it is sealed with, still wrapped.
    pub key: PackKey,
    /// Its chunks with their lengths, in order.
    pub chunks: Vec<(ChunkId, u32)>,
}

/// What goes into a pack.
pub enum NewFrame {
    /// A frame that this pack seals.
    Fresh(EncodedFrame),
    /// A frame that another pack sealed.
    Copied(CopiedFrame),
}

impl NewFrame {
    /// Its length in the pack, and how many chunks it holds.
    fn size(&self) -> (usize, usize) {
        match self {
            NewFrame::Fresh(frame) => (frame.bytes.len() + crate::limits::TAG_BYTES, frame.chunks.len()),
            NewFrame::Copied(frame) => (frame.bytes.len(), frame.chunks.len()),
        }
    }
}

/// A pack that is complete but not yet durable.
pub struct PackUpload {
    /// Which of its run's packs this is, counted from 0.
    pub number: u64,
    /// Where its bytes are.
    pub upload: Box<dyn Upload>,
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

/// A pack under construction. It says which bytes come next; where they go is the caller's.
pub struct PackWriter {
    class: Class,
    birth: Birth,
    epoch: u32,
    /// `None` where the keyring cannot wrap a key for this class: then only frames of other packs go in.
    sealer: Option<FrameSealer>,
    /// Numbers of the footer's keys, by the pack that each was made for.
    numbers: HashMap<Birth, u32>,
    hasher: blake3::Hasher,
    bytes: u64,
    footer: Footer,
}

impl PackWriter {
    /// Begins a pack. Returns its first bytes with it.
    pub fn begin(keys: &Keys, class: Class, writer: WriterId, session: SnapshotId) -> Result<(Self, Vec<u8>)> {
        let birth = Birth::new(random()?);
        // A collector may hold no such key: it copies what others sealed.
        let own = match keys.get(Purpose::wraps(class), keys.epoch) {
            None => None,
            Some(wrapping) => {
                let key = Key::random()?;
                let wrapped = wrap_pack_key(wrapping, keys.epoch, &keys.family, class, &birth, &key)?;
                Some((wrapped, FrameSealer::new(&keys.family, class, &birth, &key)))
            }
        };
        let (own, sealer) = own.unzip();
        let footer = Footer {
            keys: own.into_iter().collect(),
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
            sealer,
            numbers: HashMap::new(),
            hasher: blake3::Hasher::new(),
            bytes: 0,
            footer,
        };
        let first = header(class, &birth).to_vec();
        pack.count(&first);
        Ok((pack, first))
    }

    fn count(&mut self, bytes: &[u8]) {
        // Hashed while it is in the cache: the name costs no second pass.
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Length of the pack if it ended with a frame of `frame_bytes` more, footer included, before padding.
    fn bytes_with(&self, frame_bytes: usize, chunks: usize) -> u64 {
        let table = 256 + 112 * self.footer.keys.len() + 40 * (self.footer.frames.len() + 1) + 37 * (self.footer.lengths.len() + chunks);
        self.bytes + frame_bytes as u64 + padme(table as u64) + (PART_OVERHEAD_BYTES + TRAILER_BYTES) as u64
    }

    /// Whether a further frame would take the pack over `target` bytes or over a bound of the format.
    pub fn is_full_for(&self, frame: &NewFrame, target: u64) -> bool {
        let (bytes, chunks) = frame.size();
        !self.footer.frames.is_empty()
            && (self.bytes_with(bytes, chunks) > target
                || self.footer.frames.len() >= PACK_FRAMES_MAX
                || self.footer.lengths.len() + chunks > PACK_CHUNKS_MAX
                || self.footer.keys.len() >= PACK_KEYS_MAX)
    }

    /// Adds a frame. Returns the bytes that come next, in its buffer.
    pub fn add(&mut self, frame: NewFrame) -> Result<Vec<u8>> {
        match frame {
            NewFrame::Fresh(frame) => self.seal(frame),
            NewFrame::Copied(frame) => self.copy(frame),
        }
    }

    fn seal(&mut self, mut frame: EncodedFrame) -> Result<Vec<u8>> {
        let sealer = self.sealer.as_mut().ok_or(Error::SelfCheck { what: "the key of a new frame" })?;
        let ordinal = sealer.seal(frame.codec, &mut frame.bytes)?;
        let info = FrameInfo {
            key: 0,
            ordinal,
            stored: frame.bytes.len() as u32,
            plain: frame.plain,
            codec: frame.codec,
            chunks: frame.chunks.len() as u32,
            bases: Vec::new(),
            extra: Vec::new(),
        };
        self.enter(info, &frame.chunks);
        self.count(&frame.bytes);
        Ok(frame.bytes)
    }

    /// A copied frame keeps the ordinal that it was sealed under, and brings the key of the pack it was born in.
    fn copy(&mut self, frame: CopiedFrame) -> Result<Vec<u8>> {
        let birth = frame.key.birth;
        let key = match self.numbers.get(&birth) {
            Some(number) => *number,
            None => {
                self.footer.keys.push(frame.key);
                let number = self.footer.keys.len() as u32 - 1;
                self.numbers.insert(birth, number);
                number
            }
        };
        self.enter(FrameInfo { key, ..frame.info }, &frame.chunks);
        self.count(&frame.bytes);
        Ok(frame.bytes)
    }

    fn enter(&mut self, info: FrameInfo, chunks: &[(ChunkId, u32)]) {
        self.footer.frames.push(info);
        reserve(&mut self.footer.ids.0, chunks.len() * ChunkId::BYTES);
        for (id, bytes) in chunks {
            self.footer.ids.0.extend_from_slice(id.as_bytes());
            self.footer.lengths.push(*bytes);
        }
    }

    /// Ends the pack: padding, footer, trailer, name. Returns its last bytes.
    pub fn finish(mut self, keys: &Keys) -> Result<(NewPack, Vec<u8>)> {
        let body = padded_body(&self.footer);
        // The ids are in there now, and take as much once more.
        let mut pack = NewPack::new(self.class, PackId::new([0; 32]), 0, &std::mem::take(&mut self.footer.ids.0));
        let tail = (body.len() + PART_OVERHEAD_BYTES + TRAILER_BYTES) as u64;
        let padding = padme(self.bytes + tail) - self.bytes - tail;
        // Random, so that nobody can see where the frames end. From a seed, not from the system: it can be a megabyte.
        let mut last = room(padding as usize + tail as usize);
        last.resize(padding as usize, 0);
        blake3::Hasher::new_keyed(&random()?).finalize_xof().fill(&mut last);
        let head = PartHead { suite: SUITE_SYMMETRIC, purpose: Purpose::Lists, epoch: self.epoch };
        let scope = keys.family;
        let birth = self.birth;
        let binding = Binding { scope: scope.as_bytes(), header: ObjectType::pack(self.class).header(), part: 0, name: birth.as_bytes() };
        let name = ObjectName::pack(self.class, &PackId::new([0; 32]));
        let put = |mut out: Vec<u8>| {
            out.extend_from_slice(&body);
            out
        };
        let mut last = seal_part(keys.require(&name, Purpose::Lists, self.epoch)?, head, &binding, last, put)?;
        last.extend_from_slice(&trailer(self.class, &birth, (body.len() + PART_OVERHEAD_BYTES) as u32));
        self.count(&last);
        (pack.id, pack.bytes) = (PackId::new(*self.hasher.finalize().as_bytes()), self.bytes);
        Ok((pack, last))
    }
}
