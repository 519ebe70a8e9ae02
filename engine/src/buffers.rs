//! Memory that goes round: a buffer that was grown and faulted in once is used again. And memory that goes back to the system.

use std::sync::{Mutex, PoisonError};

/// Blocks above this get an area of their own, see [`reserve`].
const COMMON_BYTES_MAX: usize = 1 << 20;
/// What is reserved for them: more than the 32 MiB of glibc's `DEFAULT_MMAP_THRESHOLD_MAX`.
const AREA_BYTES: usize = 33 << 20;

/// Makes room for `more` bytes behind those in `vec`, as [`Vec::reserve`] does, for what is some MiB long and soon gone: a segment, a footer.
///
/// Where a block of up to 32 MiB that came from the system is freed, glibc takes it that such blocks come and go, and from then on each of its
/// arenas (there is one for every thread) keeps up to twice as much that nobody uses: in a collection of 10^7 chunks 80 MB. A larger one goes
/// back without that. Of what is reserved here only what is written to takes memory.
pub fn reserve(vec: &mut Vec<u8>, more: usize) {
    let (len, wanted) = (vec.len(), vec.len().saturating_add(more));
    if wanted <= vec.capacity() {
        return;
    }
    // Where the system gives out no more than it has, it may have less than an area.
    let area = (COMMON_BYTES_MAX + 1..AREA_BYTES).contains(&wanted) && vec.try_reserve_exact(AREA_BYTES - len).is_ok();
    if !area {
        vec.reserve(more);
    }
}

/// An empty buffer with room for so many bytes, see [`reserve`].
pub fn room(bytes: usize) -> Vec<u8> {
    let mut vec = Vec::new();
    reserve(&mut vec, bytes);
    vec
}

/// A copy, see [`reserve`].
pub fn copied(bytes: &[u8]) -> Vec<u8> {
    let mut vec = room(bytes.len());
    vec.extend_from_slice(bytes);
    vec
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A collection of 10^7 chunks took 340 MB where 221 were in use: blocks of some MiB, freed, had taught the allocator to keep such.
    #[test]
    fn what_is_some_mebibytes_long_gets_an_area_of_its_own() {
        assert!((1000..=COMMON_BYTES_MAX).contains(&room(1000).capacity()));
        assert_eq!(room(COMMON_BYTES_MAX).capacity(), COMMON_BYTES_MAX);
        assert_eq!(room(COMMON_BYTES_MAX + 1).capacity(), AREA_BYTES);
        assert_eq!(room(AREA_BYTES + 1).capacity(), AREA_BYTES + 1);
        let mut grown = b"abc".to_vec();
        for _ in 0..3 {
            reserve(&mut grown, COMMON_BYTES_MAX);
            assert_eq!((grown.capacity(), &grown[..3]), (AREA_BYTES, &b"abc"[..]));
            grown.extend_from_slice(&[0; 100]);
        }
        assert_eq!(copied(&grown), grown);
    }
}
