//! Nodes by number, for as long as a file system may ask for them. It must never forget one that is still counted, nor give one number to two.

use crate::pack::lru::lock;
use crate::view::node::{Identity, Node, number};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

/// The top of a file system.
pub const TOP: u64 = 1;

struct Known {
    node: Node,
    identity: Identity,
    /// How often it was handed out and not yet given back.
    count: u64,
}

/// See the module's text. As large as what the kernel remembers, which takes ten times as much there.
pub struct Inodes {
    top: Node,
    /// That of the top.
    identity: Identity,
    known: Mutex<HashMap<u64, Known>>,
}

impl Inodes {
    /// Only the top, for good.
    pub fn new(top: Node) -> Self {
        Inodes { identity: top.identity(), top, known: Mutex::default() }
    }

    /// The node with this number.
    pub fn get(&self, inode: u64) -> Option<Node> {
        if inode == TOP {
            return Some(self.top.clone());
        }
        lock(&self.known).get(&inode).map(|known| known.node.clone())
    }

    /// The number of a node that nobody counts: what a listing says of it.
    pub fn number(&self, node: &Node) -> u64 {
        let identity = node.identity();
        if identity == self.identity { TOP } else { number(&identity, 0) }
    }

    /// Counts a node that is handed out; its number.
    pub fn remember(&self, node: &Node) -> u64 {
        let identity = node.identity();
        if identity == self.identity {
            return TOP;
        }
        let mut known = lock(&self.known);
        for rank in 0.. {
            let inode = number(&identity, rank);
            match known.entry(inode) {
                Entry::Vacant(slot) => {
                    slot.insert(Known { node: node.clone(), identity, count: 1 });
                    return inode;
                }
                Entry::Occupied(mut slot) if slot.get().identity == identity => {
                    slot.get_mut().count += 1;
                    return inode;
                }
                Entry::Occupied(_) => {}
            }
        }
        TOP
    }

    /// Gives back what was handed out `count` times.
    pub fn forget(&self, inode: u64, count: u64) {
        if let Entry::Occupied(mut slot) = lock(&self.known).entry(inode) {
            let left = slot.get().count.saturating_sub(count);
            slot.get_mut().count = left;
            if left == 0 {
                slot.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &[u8]) -> Node {
        Node::Folder(path.into())
    }

    #[test]
    fn a_node_is_known_for_as_long_as_it_is_counted() {
        let inodes = Inodes::new(folder(b""));
        assert_eq!(inodes.remember(&folder(b"")), TOP);
        let a = inodes.remember(&folder(b"a"));
        assert_eq!((inodes.remember(&folder(b"a")), lock(&inodes.known).len()), (a, 1));
        assert!(inodes.remember(&folder(b"b")) != a && a > TOP);
        inodes.forget(a, 1);
        assert!(inodes.get(a).is_some());
        inodes.forget(a, 1);
        assert!(inodes.get(a).is_none() && lock(&inodes.known).len() == 1);
        // What was never handed out, and the top, cannot be given back.
        inodes.forget(a, 7);
        inodes.forget(TOP, 7);
        assert!(inodes.get(TOP).is_some());
        assert_eq!(inodes.remember(&folder(b"a")), a, "it has the number that it had");
    }

    #[test]
    fn two_that_ask_for_one_number_get_two() {
        let inodes = Inodes::new(folder(b""));
        let (a, b) = (folder(b"a"), folder(b"b"));
        // Somebody else has the number of `a`.
        let taken = a.number();
        lock(&inodes.known).insert(taken, Known { node: b.clone(), identity: b.identity(), count: 1 });
        let other = inodes.remember(&a);
        assert_eq!(other, taken + 1);
        assert!(matches!(inodes.get(other), Some(Node::Folder(path)) if *path == *b"a"));
        assert_eq!(inodes.remember(&a), other);
    }
}
