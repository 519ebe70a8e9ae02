//! Memory that goes round: a buffer that was grown and faulted in once is used again.

use std::sync::{Mutex, PoisonError};

/// Buffers that went through the pipeline and are used again: the peak stays flat, and no page is faulted in twice.
#[derive(Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

/// Memory that waiting buffers of one kind may take.
const BUFFERS_BYTES_MAX: usize = 16 << 20;

impl Buffers {
    /// A buffer with the capacity of its former life, as it was given.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back. What is more than a burst needs is dropped: it would stay for the whole run.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.give_filled(buffer);
    }

    /// As [`Buffers::give`], with what the buffer holds: what is to be read into it need not be zeroed before.
    pub fn give_filled(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = kept.iter().map(Vec::capacity).sum();
        if buffer.capacity() > 0 && waiting + buffer.capacity() <= BUFFERS_BYTES_MAX {
            kept.push(buffer);
        }
    }
}
