//! What every path that matches must hold somewhere: to look for that in a block of names is a hundred times faster than to match each of
//! them. It must never rule out a path that matches: it is asked first, and what it lets through is matched.

use memchr::memmem::Finder;

/// Shorter ones are in most names.
const NEEDLE_BYTES_MIN: usize = 3;

/// Texts of which a path that matches holds one, within one component.
#[derive(Debug)]
pub struct Needles {
    finders: Vec<Finder<'static>>,
    /// Upper and lower case are the same.
    ignore_case: bool,
}

impl Needles {
    /// For each of several patterns, the texts that all its paths hold. `None` where some pattern has none that is worth it.
    pub fn new(required: &[Vec<Vec<u8>>], ignore_case: bool) -> Option<Self> {
        let finders: Option<Vec<_>> =
            required.iter().map(|texts| best(texts, ignore_case).map(|text| Finder::new(&text).into_owned())).collect();
        finders.filter(|finders| !finders.is_empty()).map(|finders| Needles { finders, ignore_case })
    }

    /// Whether `text`, which may be many components with `/` between them, holds one.
    pub fn are_in(&self, text: &[u8]) -> bool {
        if self.ignore_case {
            let lower = text.to_ascii_lowercase();
            return self.finders.iter().any(|finder| finder.find(&lower).is_some());
        }
        self.finders.iter().any(|finder| finder.find(text).is_some())
    }

    /// Calls `found` with where each of them is, one after the other; it returns from where on to go on.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize) -> usize) {
        let lower = if self.ignore_case { text.to_ascii_lowercase() } else { Vec::new() };
        let text = if self.ignore_case { &lower } else { text };
        for finder in &self.finders {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| finder.find(rest)) {
                from = found(from + at).max(from + at + 1);
            }
        }
    }
}

/// The longest part of any of the texts that lies in one component. Where case does not count, of what has no other case than ASCII knows:
/// `k` and `s` have relatives elsewhere.
fn best(texts: &[Vec<u8>], ignore_case: bool) -> Option<Vec<u8>> {
    let lower = |byte: &u8| if ignore_case { byte.to_ascii_lowercase() } else { *byte };
    let ends = |byte: &u8| *byte == b'/' || ignore_case && (!byte.is_ascii() || matches!(byte.to_ascii_lowercase(), b'k' | b's'));
    let parts = texts.iter().flat_map(|text| text.split(ends));
    parts.max_by_key(|part| part.len()).filter(|part| part.len() >= NEEDLE_BYTES_MIN).map(|part| part.iter().map(lower).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(texts: &[&str], ignore_case: bool) -> Option<Needles> {
        Needles::new(&[texts.iter().map(|text| text.as_bytes().to_vec()).collect()], ignore_case)
    }

    #[test]
    fn the_longest_component_is_looked_for() {
        let one = needles(&["ab/cdef/g", "xy"], false).unwrap();
        assert!(one.are_in(b"zzcdefzz") && !one.are_in(b"ab/cdeg") && !one.are_in(b"CDEF"));
        assert!(needles(&["ab/c", "xy"], false).is_none());
        assert!(Needles::new(&[], false).is_none());
        assert!(Needles::new(&[vec![b"long".to_vec()], vec![]], false).is_none(), "one pattern may match anything");
    }

    #[test]
    fn letters_with_relatives_are_not_relied_on() {
        let one = needles(&["Disk-REPORT"], true).unwrap();
        assert!(one.are_in(b"dis\xe2\x84\xaa-report"), "KELVIN SIGN is a k");
        assert!(needles(&["sks", "\u{e9}t\u{e9}"], true).is_none());
    }

    #[test]
    fn every_place_is_found() {
        let mut places = Vec::new();
        needles(&["aaa"], false).unwrap().each(b"aaaa/baaa/caa/aaa", |at| {
            places.push(at);
            at + 4
        });
        assert_eq!(places, [0, 6, 14]);
    }
}
