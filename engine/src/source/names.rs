//! The names of one directory, in two allocations however many there are, sorted by their bytes.
//! It must never hold one allocation per name: a directory of a million files costs about 40 MB here, not 100.
//! It obeys spec chapter 6: names are any bytes, and their order is that of their bytes.

use std::ffi::CStr;

/// Place of one name, with its first bytes so that most comparisons stay out of the arena.
#[derive(Clone, Copy)]
struct Slot {
    head: u64,
    at: u32,
    len: u16,
    mark: u8,
}

/// A list of names, each followed by NUL in one arena so that the kernel can read it where it stands.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

impl Names {
    /// Adds a valid name. False when the arena is full (4 GiB).
    pub fn push(&mut self, name: &[u8], mark: u8) -> bool {
        let Ok(at) = u32::try_from(self.bytes.len()) else { return false };
        let mut head = [0; 8];
        let n = name.len().min(8);
        head[..n].copy_from_slice(&name[..n]);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.slots.push(Slot { head: u64::from_be_bytes(head), at, len: name.len() as u16, mark });
        true
    }

    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |s: &Slot| &bytes[s.at as usize..s.at as usize + usize::from(s.len)];
        let order = |a: &Slot, b: &Slot| a.head.cmp(&b.head).then_with(|| name(a).cmp(name(b)));
        self.slots.sort_unstable_by(order);
        // A file system that lists a name twice (seen on network mounts while they change) must not give two entries.
        self.slots.dedup_by(|a, b| order(a, b).is_eq());
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The name at `i` as the kernel takes it. Names hold no NUL, so the first one ends it.
    pub fn get(&self, i: usize) -> (&CStr, u8) {
        let slot = &self.slots[i];
        let at = slot.at as usize;
        (CStr::from_bytes_until_nul(&self.bytes[at..=at + usize::from(slot.len)]).unwrap_or_default(), slot.mark)
    }

    /// Whether the sorted list holds `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.slots.binary_search_by(|s| self.bytes[s.at as usize..s.at as usize + usize::from(s.len)].cmp(name)).is_ok()
    }

    /// Gives back what growing took too much, for a list that will stay for long.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.slots.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_bytes_without_repeats() {
        let mut names = Names::default();
        for n in [&b"b"[..], b"abcdefghij", b"abcdefghi", b"a", &[0xff], b"a.b", b"a", b"abcdefgh"] {
            assert!(names.push(n, 1));
        }
        names.sort();
        let got: Vec<&[u8]> = (0..names.len()).map(|i| names.get(i).0.to_bytes()).collect();
        assert_eq!(got, vec![&b"a"[..], b"a.b", b"abcdefgh", b"abcdefghi", b"abcdefghij", b"b", &[0xff]]);
        assert!(names.contains(b"abcdefghi") && !names.contains(b"abc"));
    }
}
