//! Frames and packs, read side and codec (spec chapter 4): compressing, verifying, opening, decoding.
//! Every compressed frame is decoded and compared before it leaves memory, every frame read is authenticated before it is decoded.

pub mod bits;
pub mod frames;
pub mod lru;
mod naming;
pub mod reader;
pub mod repack;
pub mod sink;
pub mod weigh;
pub mod writer;

use crate::buffers::copied;
use crate::error::{Damage, Error, Result};
use crate::format::object::{ObjectType, PART_HEAD_BYTES, PartHead, Purpose, SUITE_SYMMETRIC, open_body};
use crate::format::pack::{CODEC_RAW, CODEC_ZSTD, Footer, FrameInfo, PackTable, TRAILER_BYTES, open_trailer};
use crate::id::{ChunkId, Class, ObjectName, PackId};
use crate::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET, PACK_BYTES_MAX};
use crate::seal::key::Keys;
use crate::seal::{Binding, FrameCipher, open_part, unwrap_pack_key};
use crate::store::{Store, reread};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// How new frames are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    Off,
    /// As suits the [`Origin`], where a probe shows that it helps.
    #[default]
    Auto,
    /// At this zstd level where a probe shows that it helps.
    Level(i32),
}

/// Where the content of a frame comes from, which tells how to search it for repetitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Files, and what describes them.
    #[default]
    Files,
    /// Dumps and other streams: rows of short fields, many of them digits.
    Streams,
}

/// The knee of size against time on source trees.
const AUTO_LEVEL: i32 = 3;
/// What [`Origin::Streams`] changes of level 3. In rows a match of five bytes is a chance meeting of digits that costs more to say than
/// it saves. Against the level's own (16, 17, 5) a dump's frames are 1 to 2 % smaller, made 10 % and decoded 15 % faster; with
/// these, source trees would be 1.5 % larger. Powers of two, powers of two, bytes.
const STREAM_CHAIN_LOG: u32 = 17;
const STREAM_HASH_LOG: u32 = 17;
const STREAM_MATCH_BYTES_MIN: u32 = 6;

/// The most that a block of zstd decodes to, and the least of a frame that says how its header goes on (RFC 8878).
const BLOCK_BYTES_MAX: usize = 128 << 10;
const ZSTD_HEADER_BYTES_MIN: usize = 5;

/// Samples that a probe takes, and their length: 32 KiB of a 1 MiB frame.
const PROBE_SAMPLES: usize = 8;
const PROBE_SAMPLE_BYTES: usize = 4096;

/// Tells whether content is worth compressing, from samples of it.
pub struct Probe {
    zstd: CCtx<'static>,
    sample: Vec<u8>,
    out: Vec<u8>,
}

impl Probe {
    /// A probe; one per thread.
    pub fn new() -> Result<Self> {
        let mut zstd = CCtx::create();
        zstd.set_parameter(CParameter::CompressionLevel(1)).map_err(|_| Error::SelfCheck { what: "zstd's parameters" })?;
        Ok(Probe { zstd, sample: Vec::new(), out: Vec::new() })
    }

    /// Whether `sample` shrinks by more than 3 %: what saves less is not worth decoding for ever.
    pub fn shrinks(&mut self, sample: &[u8]) -> bool {
        self.out.clear();
        self.out.reserve(zstd_safe::compress_bound(sample.len()));
        self.zstd.compress2(&mut self.out, sample).map_or(true, |bytes| bytes * 100 < sample.len() * 97)
    }

    /// Whether samples spread over `plain` shrink; short content is always worth a try.
    pub fn seems_compressible(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= PROBE_SAMPLES * PROBE_SAMPLE_BYTES {
            return true;
        }
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        for part in plain.chunks_exact(plain.len() / PROBE_SAMPLES).take(PROBE_SAMPLES) {
            sample.extend_from_slice(&part[..PROBE_SAMPLE_BYTES]);
        }
        let shrinks = self.shrinks(&sample);
        self.sample = sample;
        shrinks
    }
}

fn compressor(parameters: &[CParameter]) -> Result<CCtx<'static>> {
    let mut zstd = CCtx::create();
    // Frames say their length and are at most FRAME_BYTES_MAX long, so that a window never helps a decoder to more memory than that.
    for parameter in parameters.iter().chain(&[CParameter::ContentSizeFlag(true)]) {
        zstd.set_parameter(*parameter).map_err(|_| Error::SelfCheck { what: "zstd's parameters" })?;
    }
    Ok(zstd)
}

/// Compresses frames; one per thread.
pub struct FrameEncoder {
    compression: Compression,
    files: CCtx<'static>,
    streams: CCtx<'static>,
    probe: Probe,
    decoder: FrameDecoder,
    scratch: Vec<u8>,
}

impl FrameEncoder {
    /// An encoder for `compression`.
    pub fn new(compression: Compression) -> Result<Self> {
        let level = if let Compression::Level(level) = compression { level } else { AUTO_LEVEL };
        let mut streams = vec![CParameter::CompressionLevel(level)];
        if compression == Compression::Auto {
            let changed = [
                CParameter::ChainLog(STREAM_CHAIN_LOG),
                CParameter::HashLog(STREAM_HASH_LOG),
                CParameter::MinMatch(STREAM_MATCH_BYTES_MIN),
            ];
            streams.extend(changed);
        }
        Ok(FrameEncoder {
            compression,
            files: compressor(&[CParameter::CompressionLevel(level)])?,
            streams: compressor(&streams)?,
            probe: Probe::new()?,
            decoder: FrameDecoder::default(),
            scratch: Vec::new(),
        })
    }

    /// Compresses a frame into `out` (cleared first) where that helps; with [`CODEC_RAW`] the plaintext itself is the frame and
    /// `out` stays empty. Leaves room for the tag.
    pub fn encode(&mut self, origin: Origin, plain: &[u8], out: &mut Vec<u8>) -> Result<u8> {
        out.clear();
        if self.compression != Compression::Off && self.probe.seems_compressible(plain) {
            out.reserve(zstd_safe::compress_bound(plain.len()) + crate::limits::TAG_BYTES);
            let zstd = if origin == Origin::Streams { &mut self.streams } else { &mut self.files };
            if zstd.compress2(out, plain).is_ok() && out.len() * 100 < plain.len() * 98 {
                // A compressor bug or a flipped bit must not become the only copy (restic #4523, #5086).
                self.decoder
                    .decode(CODEC_ZSTD, out, plain.len(), &mut self.scratch)
                    .then_some(())
                    .ok_or(Error::SelfCheck { what: "a compressed frame" })?;
                if self.scratch != plain {
                    return Err(Error::SelfCheck { what: "a compressed frame" });
                }
                return Ok(CODEC_ZSTD);
            }
            out.clear();
        }
        Ok(CODEC_RAW)
    }
}

/// Decodes frames; one per thread.
pub struct FrameDecoder {
    zstd: DCtx<'static>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        FrameDecoder { zstd: DCtx::create() }
    }
}

impl FrameDecoder {
    /// Decodes into `plain` (cleared first); `false` where the bytes are not a frame of exactly `plain_bytes`.
    pub fn decode(&mut self, codec: u8, frame: &[u8], plain_bytes: usize, plain: &mut Vec<u8>) -> bool {
        plain.clear();
        match codec {
            CODEC_RAW => {
                plain.extend_from_slice(frame);
                frame.len() == plain_bytes
            }
            CODEC_ZSTD if plain_bytes <= FRAME_BYTES_MAX => {
                // One call into a buffer of the declared size: no window is allocated and a bomb stops at its end.
                // Full ones all in one length, so that the memory of one fits the next.
                let full = plain_bytes > FRAME_BYTES_TARGET / 2;
                plain.reserve_exact(if full { plain_bytes.max(FRAME_BYTES_TARGET) } else { plain_bytes });
                self.zstd.decompress(plain, frame).is_ok_and(|n| n == plain_bytes)
            }
            _ => false,
        }
    }

    /// As [`FrameDecoder::decode`], and stops at the end of the block that `need` bytes reach into: what lies behind is not looked at.
    pub fn decode_to(&mut self, need: usize, (codec, frame): (u8, &[u8]), plain_bytes: usize, plain: &mut Vec<u8>) -> bool {
        if codec != CODEC_ZSTD || plain_bytes.saturating_sub(need) < BLOCK_BYTES_MAX || plain_bytes > FRAME_BYTES_MAX {
            return self.decode(codec, frame, plain_bytes, plain);
        }
        plain.clear();
        plain.reserve_exact(plain_bytes.max(FRAME_BYTES_TARGET));
        // Stable: blocks are decoded where they are to lie, and not into a window first.
        let ready = self.zstd.reset(ResetDirective::SessionOnly).and(self.zstd.set_parameter(DParameter::StableOutBuffer(true)));
        if ready.is_err() {
            return false;
        }
        // What the decoder asks for next is a header and then a block each time; it is given no more than that.
        let (mut fed, mut wants) = (0, ZSTD_HEADER_BYTES_MIN);
        let mut out = OutBuffer::around(plain);
        while out.pos() < need {
            let end = frame.len().min(fed + wants);
            let mut input = InBuffer::around(&frame[fed..end]);
            match self.zstd.decompress_stream(&mut out, &mut input) {
                Ok(more) if more > 0 && input.pos() > 0 => (fed, wants) = (fed + input.pos(), more),
                _ => break,
            }
        }
        out.pos() >= need
    }
}

/// A pack whose footer was read: its tables and the ciphers of its frames.
pub struct OpenPack {
    /// Its name.
    pub name: ObjectName,
    /// Its class.
    pub class: Class,
    /// Its length.
    pub bytes: u64,
    /// What it holds.
    pub table: PackTable,
    /// The epoch of the key that its footer is sealed under.
    pub epoch: u32,
    ciphers: Vec<Option<FrameCipher>>,
}

/// Bytes of a pack that are asked for to find its footer: holds that of most packs, so that one request is enough.
fn suffix_guess(class: Class) -> u64 {
    match class {
        Class::Data => 256 << 10,
        Class::Names | Class::Lists => 64 << 10,
    }
}

/// What is read at a time of a pack that is read whole: long requests, little memory.
const WHOLE_STEP_BYTES: u64 = 4 << 20;

impl OpenPack {
    /// Reads the footer of a pack.
    pub fn open(store: &dyn Store, keys: &Keys, class: Class, id: &PackId) -> Result<Self> {
        Self::open_keeping_suffix(store, keys, class, id).map(|(pack, _)| pack)
    }

    /// As [`OpenPack::open`], with the last bytes of the pack that were read for it: who reads on needs not read them again.
    pub fn open_keeping_suffix(store: &dyn Store, keys: &Keys, class: Class, id: &PackId) -> Result<(Self, Vec<u8>)> {
        let name = ObjectName::pack(class, id);
        // Here, so that nobody takes for damage what went wrong on the way, or in a copy.
        reread(store, &name, || Self::read_footer(store, keys, class, name.clone()))
    }

    fn read_footer(store: &dyn Store, keys: &Keys, class: Class, name: ObjectName) -> Result<(Self, Vec<u8>)> {
        let (mut suffix, bytes) = store.get_suffix(&name, suffix_guess(class))?;
        let (_, footer_bytes) = open_trailer(&name, class, &suffix, bytes)?;
        let need = footer_bytes + TRAILER_BYTES;
        if suffix.len() < need {
            store.get_range(&name, bytes - need as u64..bytes, &mut suffix)?;
        }
        let pack = Self::from_suffix(keys, name, class, &suffix, bytes)?;
        Ok((pack, suffix))
    }

    /// Whether all bytes of the pack together are those that its id is the hash of. Reads it whole, in steps.
    pub fn is_what_its_name_says(&self, store: &dyn Store, id: &PackId) -> Result<bool> {
        let hash = || -> Result<bool> {
            let (mut hasher, mut bytes, mut at) = (blake3::Hasher::new(), Vec::new(), 0);
            while at < self.bytes {
                let end = self.bytes.min(at + WHOLE_STEP_BYTES);
                store.get_range(&self.name, at..end, &mut bytes)?;
                hasher.update(&bytes);
                at = end;
            }
            Ok(hasher.finalize().as_bytes() == id.as_bytes())
        };
        // Once more where it is not: it may have gone wrong on the way.
        Ok(hash()? || store.distrust(&self.name) && hash()?)
    }

    /// From the last bytes of a pack, footer included.
    pub fn from_suffix(keys: &Keys, name: ObjectName, class: Class, suffix: &[u8], bytes: u64) -> Result<Self> {
        let (birth, footer_bytes) = open_trailer(&name, class, suffix, bytes)?;
        let short = || Error::damaged(&name, Damage::Trailer);
        let body = suffix.len().checked_sub(TRAILER_BYTES).ok_or_else(short)?;
        let part = suffix.get(body.checked_sub(footer_bytes).ok_or_else(short)?..body).ok_or_else(short)?;
        let head = PartHead::decode(&name, part.get(..PART_HEAD_BYTES).ok_or_else(short)?)?;
        if head.purpose != Purpose::Lists {
            return Err(Error::damaged(&name, Damage::Malformed("purpose")));
        }
        let binding = Binding { scope: keys.family.as_bytes(), header: ObjectType::pack(class).header(), part: 0, name: birth.as_bytes() };
        let mut part = copied(part);
        let plain = open_part(&name, keys.require(&name, Purpose::Lists, head.epoch)?, &binding, &mut part)?;
        let footer: Footer = open_body(&name, "footer", &part[plain])?;
        let table = PackTable::new(&name, footer, bytes, footer_bytes as u64)?;
        let mut ciphers = Vec::new();
        for key in &table.footer.keys {
            // A collector holds no data key, and a key of another suite is for a later version: the tables can be read, the frames not.
            let cipher = match keys.get(Purpose::wraps(class), key.epoch).filter(|_| key.suite == SUITE_SYMMETRIC) {
                None => None,
                Some(wrapping) => {
                    let opened = unwrap_pack_key(wrapping, &keys.family, class, key).ok_or(Error::damaged(&name, Damage::Seal))?;
                    Some(FrameCipher::new(&keys.family, class, &key.birth, &opened))
                }
            };
            ciphers.push(cipher);
        }
        Ok(OpenPack { name, class, bytes, table, epoch: head.epoch, ciphers })
    }

    fn cipher(&self, number: u32) -> Option<(&FrameCipher, &FrameInfo)> {
        let info = &self.table.frames.get(number as usize)?.info;
        Some((self.ciphers.get(info.key as usize)?.as_ref()?, info))
    }

    /// Whether the keyring can open frame `number`.
    pub fn holds_key(&self, number: u32) -> bool {
        self.cipher(number).is_some()
    }

    /// Whether `stored` is frame `number` as it was sealed, and opens it where it lies. `false` too where the keyring cannot tell.
    pub fn authenticates(&self, number: u32, stored: &mut [u8]) -> bool {
        self.unseal(number, stored).is_some()
    }

    /// Opens the seal of frame `number` where it lies, in `stored`: what is left is compressed. `None` where it does not authenticate, or
    /// where the keyring lacks its key.
    pub fn unseal<'s>(&self, number: u32, stored: &'s mut [u8]) -> Option<&'s [u8]> {
        let (cipher, info) = self.cipher(number)?;
        (stored.len() == info.stored as usize).then_some(())?;
        cipher.open(info.ordinal, info.codec, stored)
    }

    /// Opens frame `number` where it lies, in `stored`, and decodes it into `plain`.
    pub fn decode(&self, number: u32, stored: &mut [u8], decoder: &mut FrameDecoder, plain: &mut Vec<u8>) -> Result<()> {
        self.decode_to(usize::MAX, number, stored, decoder, plain)
    }

    /// As [`OpenPack::decode`], and at least the first `need` bytes of it.
    pub fn decode_to(&self, need: usize, number: u32, stored: &mut [u8], decoder: &mut FrameDecoder, plain: &mut Vec<u8>) -> Result<()> {
        let damaged = || Error::damaged(&self.name, Damage::Frame { frame: number });
        let info = &self.table.frames.get(number as usize).ok_or_else(damaged)?.info;
        let unknown = |feature| Error::UnknownFeature { object: self.name.clone(), feature };
        if info.codec > CODEC_ZSTD {
            return Err(unknown(format!("frame codec {}", info.codec)));
        }
        let cipher = self
            .ciphers
            .get(info.key as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| unknown("a pack key that this keyring lacks".to_owned()))?;
        let stored = Some(stored).filter(|stored| stored.len() == info.stored as usize);
        let frame = stored.and_then(|stored| cipher.open(info.ordinal, info.codec, stored)).ok_or_else(damaged)?;
        if decoder.decode_to(need, (info.codec, frame), info.plain as usize, plain) { Ok(()) } else { Err(damaged()) }
    }

    /// Reads frame `number` from the store and decodes it into `plain`.
    pub fn frame(
        &self,
        store: &dyn Store,
        number: u32,
        stored: &mut Vec<u8>,
        decoder: &mut FrameDecoder,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let span = self.table.frames.get(number as usize).ok_or_else(|| Error::damaged(&self.name, Damage::Frame { frame: number }))?;
        store.get_range(&self.name, span.offset..span.offset + u64::from(span.info.stored), stored)?;
        self.decode(number, stored, decoder, plain)
    }

    /// Checks every chunk of frame `number` against its id.
    pub fn verify(&self, number: u32, plain: &[u8], ids: &crate::chunk::ChunkIds) -> Result<()> {
        let damaged = || Error::damaged(&self.name, Damage::Frame { frame: number });
        let span = self.table.frames.get(number as usize).ok_or_else(damaged)?;
        let first = span.first_chunk as usize;
        for chunk in first..first + span.info.chunks as usize {
            let (Some(place), Some(id)) = (self.table.chunks.get(chunk), self.table.id(chunk)) else { return Err(damaged()) };
            let bytes = plain.get(place.offset as usize..(place.offset + place.bytes) as usize).ok_or_else(damaged)?;
            check_chunk(&self.name, ids, self.class, &id, bytes)?;
        }
        Ok(())
    }
}

/// Checks a chunk's bytes against its id.
pub fn check_chunk(object: &ObjectName, ids: &crate::chunk::ChunkIds, class: Class, id: &ChunkId, bytes: &[u8]) -> Result<()> {
    if ids.id(class, bytes) == *id { Ok(()) } else { Err(Error::damaged(object, Damage::Content(*id))) }
}

const _: () = assert!(PACK_BYTES_MAX < u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of random digits, as a dump has them.
    fn rows(count: u32) -> Vec<u8> {
        let random = |n: u32| blake3::hash(&n.to_le_bytes()).to_hex();
        (0..count).flat_map(|n| format!("{n}\tuser{n}@example.org\t{}\tt\n", &random(n)[..40]).into_bytes()).collect()
    }

    #[test]
    fn frames_of_either_origin_come_back_and_rows_are_smaller_as_a_stream() {
        let mut encoder = FrameEncoder::new(Compression::Auto).unwrap();
        let plain = rows(6000);
        let mut sizes = Vec::new();
        // Each twice: an encoder is used for one after the other.
        for origin in [Origin::Files, Origin::Streams, Origin::Files, Origin::Streams] {
            let (mut frame, mut back) = (Vec::new(), Vec::new());
            let codec = encoder.encode(origin, &plain, &mut frame).unwrap();
            assert_eq!(codec, CODEC_ZSTD);
            assert!(FrameDecoder::default().decode(codec, &frame, plain.len(), &mut back));
            assert!(back == plain, "{origin:?}");
            sizes.push(frame.len());
        }
        assert_eq!((sizes[0], sizes[1]), (sizes[2], sizes[3]));
        assert!(sizes[1] < sizes[0], "{sizes:?}");
    }

    /// What is behind the last chunk that somebody wants is not decoded: it may be anything there, and nothing before it.
    #[test]
    fn a_frame_is_decoded_as_far_as_it_is_needed() {
        let plain: Vec<u8> = rows(14_000).into_iter().take(900_000).collect();
        let (mut frame, mut decoder) = (Vec::new(), FrameDecoder::default());
        let codec = FrameEncoder::new(Compression::Auto).unwrap().encode(Origin::Files, &plain, &mut frame).unwrap();
        assert_eq!(codec, CODEC_ZSTD);
        let mut broken = frame.clone();
        let end = broken.len();
        broken[end - 2000..].fill(0xee);
        let mut back = vec![7; 3];
        for need in [0, 1, BLOCK_BYTES_MAX - 1, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1, 400_000, 700_000, 772_000, 773_000, 899_999, 900_000]
        {
            assert!(decoder.decode_to(need, (codec, &frame), plain.len(), &mut back), "{need}");
            assert!(back.len() >= need && back.len() <= plain.len() && back == plain[..back.len()], "{need}");
            // What is not needed is left alone, but for what is in the same block.
            assert!(need > plain.len() - BLOCK_BYTES_MAX || back.len() < need + BLOCK_BYTES_MAX, "{need}: {}", back.len());
            assert_eq!(decoder.decode_to(need, (codec, &broken), plain.len(), &mut back), need <= 700_000, "{need}");
            for cut in [0, 1, 4, 9, 100] {
                assert!(need == 0 || !decoder.decode_to(need, (codec, &frame[..cut]), plain.len(), &mut back), "{need} of {cut}");
            }
        }
        // It says how long it is: neither more nor less fits.
        for bytes in [300_000, 899_999, FRAME_BYTES_MAX + 1] {
            assert!(!decoder.decode_to(bytes, (codec, &frame), bytes, &mut back), "{bytes}");
        }
        assert!(decoder.decode_to(10, (CODEC_RAW, &plain), plain.len(), &mut back) && back == plain);
        assert!(!decoder.decode_to(10, (CODEC_RAW, &plain), plain.len() - 1, &mut back));
    }

    #[test]
    fn a_level_that_was_asked_for_is_used_for_everything() {
        let mut encoder = FrameEncoder::new(Compression::Level(3)).unwrap();
        let plain = rows(6000);
        let mut size = |origin| {
            let mut frame = Vec::new();
            encoder.encode(origin, &plain, &mut frame).unwrap();
            frame.len()
        };
        assert_eq!(size(Origin::Files), size(Origin::Streams));
    }
}
