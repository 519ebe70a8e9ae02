//! Addresses and what they name. Links are followed here, for the protocol knows none; within the snapshot that they are in.
//! It must never follow one out of its snapshot, nor in circles; a name is any bytes, and comes back as it was.

use seabed_engine::error::Result;
use seabed_engine::format::entry::{EntryKind, name_is_valid};
use seabed_engine::view::View;
use seabed_engine::view::node::{Attributes, Node};
use std::collections::VecDeque;

/// Links that are followed for one address, as Linux does.
const LINKS_MAX: usize = 40;
/// Names that an address may lead through, links included.
const STEPS_MAX: usize = 8192;

/// The names in the path of an address. `None` for one that cannot be a path here.
pub fn names(path: &str) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for part in path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()) {
        names.push(decode(part).filter(|name| name_is_valid(name))?);
    }
    (names.len() <= STEPS_MAX).then_some(names)
}

fn decode(part: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digits = more.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &more[2..];
    }
    Some(out)
}

/// A name as part of an address.
pub fn encode(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The address of the names, absolute; that of a directory ends in `/`.
pub fn address(names: &[Vec<u8>], is_dir: bool) -> String {
    let mut out = String::from("/");
    out.push_str(&names.iter().map(|name| encode(name)).collect::<Vec<_>>().join("/"));
    if is_dir && !out.ends_with('/') {
        out.push('/');
    }
    out
}

/// The place in the way below which nothing is left by `..` or `/`: the snapshot itself, or the top.
fn floor(way: &[Node]) -> usize {
    way.iter().position(|node| matches!(node, Node::Inside(_))).unwrap_or(0)
}

/// Finds what the names lead to. `None` where there is nothing, or a link leads nowhere.
pub fn find(view: &View, names: &[Vec<u8>]) -> Result<Option<(Node, Attributes)>> {
    let mut way = vec![view.top()];
    let mut todo: VecDeque<Vec<u8>> = names.iter().cloned().collect();
    let (mut links, mut steps) = (0, 0);
    let mut found = None;
    while let Some(name) = todo.pop_front() {
        steps += 1;
        if steps > STEPS_MAX * 2 {
            return Ok(None);
        }
        match &name[..] {
            b"" | b"." => continue,
            // Only a link says so.
            b".." => {
                if way.len() > floor(&way) + 1 {
                    way.pop();
                }
                found = None;
                continue;
            }
            _ => {}
        }
        let Some(dir) = way.last() else { return Ok(None) };
        let Some((node, attributes)) = view.child(dir, &name)? else { return Ok(None) };
        if node.kind() != EntryKind::Symlink {
            way.push(node.clone());
            found = Some((node, attributes));
            continue;
        }
        links += 1;
        let Some(target) = view.target(&node)?.filter(|_| links <= LINKS_MAX) else { return Ok(None) };
        let mut relative = &target[..];
        if target.starts_with(b"/") {
            let floor = floor(&way);
            // Where only a directory of a snapshot is shown, most of what absolute links name is not.
            let base = if let Node::Inside(inside) = &way[floor] { inside.path() } else { Vec::new() };
            let path = target.iter().position(|b| *b != b'/').map_or(&b""[..], |at| &target[at..]);
            match path.strip_prefix(&base[..]) {
                Some(rest) if base.is_empty() || rest.is_empty() || rest.starts_with(b"/") => relative = rest,
                _ => return Ok(None),
            }
            way.truncate(floor + 1);
            found = None;
        }
        for part in relative.split(|b| *b == b'/').rev() {
            todo.push_front(part.to_vec());
        }
    }
    match (found, way.pop()) {
        (Some(found), _) => Ok(Some(found)),
        (None, Some(node)) => Ok(view.attributes(&node)?.map(|attributes| (node, attributes))),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_bytes_and_come_back() {
        let all: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
        for name in [&all[..100], &all[100..], b"a b", b"%41", b"...", b"\xff", "é".as_bytes()] {
            assert_eq!(names(&format!("/{}", encode(name))), Some(vec![name.to_vec()]));
        }
        assert_eq!(names("/a//b/"), Some(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(names("/"), Some(vec![]));
        for bad in ["", "a", "*", "/..", "/%2e%2E", "/.", "/a/../b", "/%", "/%4", "/%zz", "/%00", "/a%2Fb", "/%+1"] {
            assert_eq!(names(bad), None, "{bad}");
        }
        assert_eq!(address(&[b"a b".to_vec(), b"c".to_vec()], true), "/a%20b/c/");
        assert_eq!((address(&[], true), address(&[b"x".to_vec()], false)), ("/".into(), "/x".into()));
    }
}
