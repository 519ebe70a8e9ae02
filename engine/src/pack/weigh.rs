//! Weighs chunks that are to be framed anew. What they will take is only known once they are compressed: beside others in a frame, one chunk
//! may be all of its bytes, and another next to nothing.

use crate::error::Result;
use crate::limits::{FRAME_BYTES_TARGET, TAG_BYTES};
use crate::pack::bits::Bits;
use crate::pack::repack::REFRAMED;
use crate::pack::{FrameDecoder, FrameEncoder, OpenPack, Origin};
use crate::store::Store;

/// Puts chunks into frames as a collection does, and throws them away.
pub struct Scale {
    encoder: FrameEncoder,
    decoder: FrameDecoder,
    open: Vec<u8>,
    stored: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
    bytes: u64,
}

impl Scale {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let encoder = FrameEncoder::new(REFRAMED)?;
        let (decoder, bytes) = (FrameDecoder::default(), 0);
        Ok(Scale { encoder, decoder, open: Vec::new(), stored: Vec::new(), plain: Vec::new(), out: Vec::new(), bytes })
    }

    /// Takes those chunks of a frame that are `wanted`, by their numbers in the pack. The frame is read.
    pub fn put(&mut self, store: &dyn Store, pack: &OpenPack, frame: u32, wanted: &Bits) -> Result<()> {
        let mut plain = std::mem::take(&mut self.plain);
        pack.frame(store, frame, &mut self.stored, &mut self.decoder, &mut plain)?;
        if let Some(span) = pack.table.frames.get(frame as usize) {
            let numbers = span.chunks();
            for place in numbers.filter(|number| wanted.has(*number)).filter_map(|number| pack.table.chunks.get(number)) {
                if let Some(chunk) = plain.get(place.offset as usize..(place.offset + place.bytes) as usize) {
                    self.push(chunk)?;
                }
            }
        }
        self.plain = plain;
        Ok(())
    }

    fn push(&mut self, chunk: &[u8]) -> Result<()> {
        if !self.open.is_empty() && self.open.len() + chunk.len() > FRAME_BYTES_TARGET {
            self.close()?;
        }
        self.open.extend_from_slice(chunk);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if !self.open.is_empty() {
            self.encoder.encode(Origin::Files, &self.open, &mut self.out)?;
            let stored = if self.out.is_empty() { self.open.len() } else { self.out.len() };
            self.bytes += (stored + TAG_BYTES) as u64;
            self.open.clear();
        }
        Ok(())
    }

    /// What the frames of all that was put take together.
    pub fn weigh(mut self) -> Result<u64> {
        self.close().map(|()| self.bytes)
    }
}
