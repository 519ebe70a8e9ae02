//! The roots of one backup: command-line paths made absolute, and the tree of their components that the walker follows down.
//! It never looks at the file system, so that a root is judged by descriptors while walking and not by a path beforehand.
//! It obeys spec chapter 6: several roots merge into one stream, and what only leads to a root is an implied directory.

use crate::format::entry::name_is_valid;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path from the command line, made absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The path as stored: no leading `/`, empty for `/` itself.
    pub path: Vec<u8>,
    /// It ended in `/` or `/.`: where it is a symlink, what it points to is meant.
    pub follow: bool,
}

impl Root {
    /// Makes `path` absolute against `cwd` and removes `.` and `..` by text alone, as a shell's `cd` does.
    /// `None` when it is empty or a component cannot be a name.
    pub fn new(path: &Path, cwd: &Path) -> Option<Self> {
        let given = path.as_os_str().as_bytes();
        if given.is_empty() {
            return None;
        }
        let from_cwd: &[u8] = if given[0] == b'/' { b"" } else { cwd.as_os_str().as_bytes() };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in from_cwd.split(|b| *b == b'/').chain(given.split(|b| *b == b'/')) {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                name if name_is_valid(name) => parts.push(name),
                _ => return None,
            }
        }
        Some(Root { path: parts.join(&b'/'), follow: given.ends_with(b"/") || given.ends_with(b"/.") || given == b"." })
    }
}

/// A stored path as the user knows it.
pub fn display(path: &[u8]) -> PathBuf {
    let mut full = Vec::with_capacity(path.len() + 1);
    full.push(b'/');
    full.extend_from_slice(path);
    PathBuf::from(OsStr::from_bytes(&full))
}

/// One component of one or more roots.
#[derive(Default)]
pub(super) struct Node {
    pub children: BTreeMap<Vec<u8>, usize>,
    /// The stored path, where a root ends here.
    pub root: Option<Vec<u8>>,
    pub follow: bool,
}

/// The components of all roots. Node 0 is `/`.
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub fn new(roots: &[Root]) -> Self {
        let mut nodes = vec![Node::default()];
        for root in roots {
            let mut at = 0;
            for name in root.path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
                let next = nodes.len();
                at = *nodes[at].children.entry(name.to_vec()).or_insert(next);
                if at == next {
                    nodes.push(Node::default());
                }
            }
            nodes[at].root = Some(root.path.clone());
            nodes[at].follow |= root.follow;
        }
        Tree { nodes }
    }

    pub fn get(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    pub fn child(&self, node: Option<usize>, name: &[u8]) -> Option<usize> {
        self.nodes[node?].children.get(name).copied()
    }

    /// The roots at and below `node`, for the errors when it is not there.
    pub fn roots_below(&self, node: usize) -> Vec<&[u8]> {
        let mut found = Vec::new();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            let node = &self.nodes[at];
            found.extend(node.root.as_deref());
            open.extend(node.children.values().rev());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_made_absolute_by_text() {
        let root = |p: &str| Root::new(Path::new(p), Path::new("/home/u")).map(|r| (String::from_utf8(r.path).unwrap(), r.follow));
        assert_eq!(root("/a/b"), Some(("a/b".into(), false)));
        assert_eq!(root("/a/b/"), Some(("a/b".into(), true)));
        assert_eq!(root("/a/b/."), Some(("a/b".into(), true)));
        assert_eq!(root("x/../y"), Some(("home/u/y".into(), false)));
        assert_eq!(root("../../../.."), Some(("".into(), false)));
        assert_eq!(root("/"), Some(("".into(), true)));
        assert_eq!(root("."), Some(("home/u".into(), true)));
        assert_eq!(root("//a//b"), Some(("a/b".into(), false)));
        assert_eq!(root(""), None);
        assert_eq!(root(&"x".repeat(256)), None);
    }
}
