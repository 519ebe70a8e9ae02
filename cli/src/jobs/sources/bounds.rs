//! What makes a dump suspiciously small: an absolute bound, and the sizes of the last seven.

use crate::jobs::config::units::Share;
use crate::size;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many snapshots the median is of.
pub const HISTORY: usize = 7;
/// Fewer say nothing of what is usual.
const HISTORY_MIN: usize = 3;

/// Bounds of the streams of one source.
#[derive(Default)]
pub struct Bounds {
    /// All streams together have at least so many bytes.
    pub min_bytes: Option<u64>,
    /// Each has at most so much less than the median of the last ones.
    pub max_shrink: Option<Share>,
    /// Sizes of the last streams by name, at most [`HISTORY`] of each.
    pub history: HashMap<Vec<u8>, Vec<u64>>,
    /// Bytes of all streams that have ended.
    total: AtomicU64,
}

impl Bounds {
    /// As configured.
    pub fn new(min_bytes: Option<u64>, max_shrink: Option<Share>, history: HashMap<Vec<u8>, Vec<u64>>) -> Self {
        Bounds { min_bytes, max_shrink, history, total: AtomicU64::new(0) }
    }

    /// A stream ended with so many bytes; `last` of its source. What speaks against it.
    pub fn judge(&self, name: &[u8], bytes: u64, last: bool) -> Option<String> {
        let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let (Some(share), Some(median)) = (self.max_shrink, self.history.get(name).and_then(|sizes| median(sizes))) {
            let least = median.saturating_sub(share.of(median));
            if bytes < least {
                let (is, was) = (size::human(bytes), size::human(median));
                return Some(format!("it has {is}, and the median of the last ones is {was}: more than {share} less (max_shrink)"));
            }
        }
        let least = self.min_bytes.filter(|least| last && total < *least)?;
        Some(format!("it has {}, less than {} (min_bytes)", size::human(total), size::human(least)))
    }
}

/// The middle one; `None` of too few.
fn median(sizes: &[u64]) -> Option<u64> {
    let mut sizes: Vec<u64> = sizes.iter().copied().take(HISTORY).collect();
    if sizes.len() < HISTORY_MIN {
        return None;
    }
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: Option<u64>, shrink: Option<f64>, sizes: &[u64]) -> Bounds {
        Bounds::new(min, shrink.map(Share), HashMap::from([(b"d".to_vec(), sizes.to_vec())]))
    }

    #[test]
    fn small_dumps_are_suspicious() {
        let usual = [100, 101, 99, 102, 98, 100, 100, 5];
        assert!(bounds(None, Some(30.0), &usual).judge(b"d", 70, true).is_none());
        assert!(bounds(None, Some(30.0), &usual).judge(b"d", 69, true).unwrap().contains("max_shrink"));
        // One bad night does not make the next one usual, and two snapshots are no habit.
        assert!(bounds(None, Some(30.0), &[100, 20, 100, 100]).judge(b"d", 20, true).is_some());
        assert!(bounds(None, Some(30.0), &[100, 100]).judge(b"d", 1, true).is_none());
        assert!(bounds(None, Some(30.0), &usual).judge(b"other", 1, true).is_none());
    }

    #[test]
    fn the_least_is_of_all_streams_together() {
        let bounds = bounds(Some(100), None, &[]);
        assert!(bounds.judge(b"globals", 10, false).is_none());
        assert!(bounds.judge(b"d", 89, true).unwrap().contains("min_bytes"));
    }
}
