//! A second reader of repositories, written from `format-spec/`: what snapshots there are, what they need, where it is.
//! It must never share code with the engine, whose mistakes it is there to see. An object is read once, when it is first met: names never recur.

mod cbor;
mod keys;
mod objects;
mod tree;
mod view;

pub use keys::Keys;
pub use objects::{Manifest, Object, Pack, Record, Segment};
pub use tree::Needs;
pub use view::View;

/// What was read, or why it cannot be.
pub type Read<T> = Result<T, String>;

/// An id of 32 bytes: of a chunk, a pack, a snapshot.
pub type Id = [u8; 32];

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut out = [0; N];
    for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}
