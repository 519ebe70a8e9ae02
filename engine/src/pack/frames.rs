//! Collects new chunks into frames, in the order in which they come: the unit of compression and encryption (DESIGN section 4).

use crate::error::{Error, Result};
use crate::id::{ChunkId, Class};
use crate::limits::{FRAME_BYTES_TARGET, TAG_BYTES};
use crate::pack::Origin;
use crate::pack::sink::{FrameJob, Job, Sink};
use crossbeam_channel::Sender;

/// Collects new chunks into frames, one open frame per class.
pub struct FrameBuilder<'s, 'a> {
    sink: &'s Sink<'a>,
    open: [FrameJob; 3],
    sent: u64,
    jobs: Sender<Job>,
}

impl<'s, 'a> FrameBuilder<'s, 'a> {
    /// A builder that feeds the encoders behind `jobs`.
    pub fn new(sink: &'s Sink<'a>, jobs: Sender<Job>) -> Self {
        let empty = |class| FrameJob { number: 0, class, origin: Origin::Files, plain: Vec::new(), chunks: Vec::new() };
        FrameBuilder { sink, open: Class::ALL.map(empty), sent: 0, jobs }
    }

    /// Says where data chunks come from by now. A frame has one origin.
    pub fn set_origin(&mut self, origin: Origin) -> Result<()> {
        let at = usize::from(Class::Data.code());
        if self.open[at].origin != origin {
            self.flush_class(at)?;
            self.open[at].origin = origin;
        }
        Ok(())
    }

    /// Appends a new chunk.
    pub fn push(&mut self, class: Class, id: ChunkId, bytes: &[u8]) -> Result<()> {
        let at = usize::from(class.code());
        if !self.open[at].plain.is_empty() && self.open[at].plain.len() + bytes.len() > FRAME_BYTES_TARGET {
            self.flush_class(at)?;
        }
        let frame = &mut self.open[at];
        if frame.plain.capacity() == 0 {
            frame.plain = self.sink.buffers.take();
            // Room for the tag too: a raw frame is sealed in this very buffer.
            frame.plain.reserve(FRAME_BYTES_TARGET + TAG_BYTES);
        }
        frame.plain.extend_from_slice(bytes);
        frame.chunks.push((id, bytes.len() as u32));
        Ok(())
    }

    fn flush_class(&mut self, at: usize) -> Result<()> {
        let frame = &mut self.open[at];
        let (plain, chunks) = (std::mem::take(&mut frame.plain), std::mem::take(&mut frame.chunks));
        let job = FrameJob { number: self.sent, class: frame.class, origin: frame.origin, plain, chunks };
        if job.chunks.is_empty() {
            return Ok(());
        }
        // Nobody takes jobs any more only when a thread failed; that failure is the one to report.
        self.jobs.send(Job::Frame(job)).map_err(|_| Error::Interrupted)?;
        self.sent += 1;
        Ok(())
    }

    /// Sends what is left, and a mark behind it.
    pub fn mark(&mut self, number: u64) -> Result<()> {
        self.flush()?;
        self.jobs.send(Job::Mark { number, frames: self.sent }).map_err(|_| Error::Interrupted)
    }

    /// Sends what is left.
    pub fn flush(&mut self) -> Result<()> {
        (0..3).try_for_each(|at| self.flush_class(at))
    }
}
