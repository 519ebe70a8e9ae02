//! The threads that read content: each chunk is verified under the id that the source has for it, and gets the one that the target would
//! give it. What the target has already is not read where that is known.

use crate::buffers::Buffers;
use crate::chunk::ChunkIds;
use crate::error::Result;
use crate::id::{ChunkId, Class};
use crate::index::Index;
use crate::pack::reader::{ChunkReader, Measured, ReadBuffers};
use crate::replant::memo::Memo;
use crate::replant::walk::Mode;
use crossbeam_channel::{Receiver, Sender};

/// Chunks of the source of which somebody wants to know what they are in the target.
pub struct Work {
    /// Their ids.
    pub chunks: Vec<ChunkId>,
    /// Who wants to know.
    pub answer: Sender<Result<Answer>>,
}

/// What a chunk is in the target.
#[derive(Clone, Copy)]
pub struct Translated {
    /// Its id there.
    pub id: ChunkId,
    /// Its length, bytes.
    pub bytes: u32,
    /// Its content lies in the answer, behind that of those before it; else the target has it, or it is on its way there.
    pub read: bool,
}

/// What chunks are in the target.
pub struct Answer {
    /// In the order of the question.
    pub chunks: Vec<Translated>,
    /// Content of those that were read.
    pub data: Vec<u8>,
}

/// What such a thread works with.
#[derive(Clone, Copy)]
pub struct Translator<'t> {
    /// The source.
    pub reader: &'t ChunkReader,
    /// Makes ids of the target.
    pub ids: &'t ChunkIds,
    /// What the target has.
    pub base: &'t Index,
    /// What is known.
    pub memo: &'t Memo,
    /// How the two stand to each other.
    pub mode: Mode,
    /// Memory that goes round.
    pub buffers: &'t Buffers,
}

impl Translator<'_> {
    /// Works until nobody asks any more.
    pub fn run(self, work: &Receiver<Work>) {
        let (mut buffers, mut measured) = (ReadBuffers::default(), Measured::default());
        for Work { chunks, answer } in work {
            // Nobody listens any more where something else has failed before.
            answer.send(self.answer(&chunks, &mut buffers, &mut measured)).ok();
        }
    }

    fn answer(&self, chunks: &[ChunkId], buffers: &mut ReadBuffers, measured: &mut Measured) -> Result<Answer> {
        let mut answer = Answer { chunks: Vec::with_capacity(chunks.len()), data: self.buffers.take() };
        for id in chunks {
            let known = match self.memo.chunk(id) {
                None if self.mode == Mode::Kin && self.base.has(Class::Data, id) => {
                    Some((*id, self.reader.chunk_bytes(Class::Data, id, measured)? as u32))
                }
                known => known,
            };
            answer.chunks.push(match known {
                Some((id, bytes)) => Translated { id, bytes, read: false },
                None => {
                    let start = answer.data.len();
                    self.reader.read(Class::Data, id, buffers, &mut answer.data)?;
                    let plain = answer.data.get(start..).unwrap_or_default();
                    let target = if self.mode == Mode::Foreign { self.ids.id(Class::Data, plain) } else { *id };
                    let bytes = plain.len() as u32;
                    // Whoever builds may have none of it to store, by now.
                    if self.base.has(Class::Data, &target) {
                        answer.data.truncate(start);
                        Translated { id: target, bytes, read: false }
                    } else {
                        Translated { id: target, bytes, read: true }
                    }
                }
            });
        }
        Ok(answer)
    }
}
