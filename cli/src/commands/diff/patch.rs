//! `diff --patch`: the lines that changed, in the unified form that `patch -p1` takes. What is no text, or too long, is said to differ.
//! It must never pass control characters of a file to a terminal; into a pipe everything goes as it is.

use crate::commands::diff::show::full_path;
use crate::exit::Fail;
use crate::output::{Bulk, clean};
use seabed_engine::diff::{Body, Change};
use seabed_engine::format::entry::EntryKind;
use serde_json::{Map, Value};
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};
use std::time::{Duration, Instant};

/// Lines around what changed.
const CONTEXT_LINES: usize = 3;
/// Two texts that have little in common are compared more coarsely after so long. What is shown is right all the same.
const DEADLINE: Duration = Duration::from_secs(2);

/// What there is to be shown of a change.
enum Shown<'c> {
    /// Nothing: there are no bytes, or the same.
    Nothing,
    /// That it differs, and why not how.
    Differs(&'static str),
    /// Both texts; `None` where there is no file.
    Texts(Option<&'c [u8]>, Option<&'c [u8]>),
}

fn shown<'c>(change: &'c Change<'_>) -> Shown<'c> {
    let bodies = &change.bodies;
    let bytes = |body: &'c Option<Body>| match body {
        Some(Body::Bytes(bytes)) => Some(&bytes[..]),
        _ => None,
    };
    if bodies.iter().all(Option::is_none) {
        return Shown::Nothing;
    }
    if bodies.iter().flatten().any(|body| *body == Body::Unreadable) {
        return Shown::Differs("cannot be read");
    }
    if bodies.iter().flatten().any(|body| *body == Body::Long) {
        return Shown::Differs("over 1 MiB");
    }
    let (before, after) = (bytes(&bodies[0]), bytes(&bodies[1]));
    // A byte of zero stands in no text; that is how git tells them too.
    if [before, after].into_iter().flatten().any(|bytes| bytes.contains(&0)) {
        return Shown::Differs("binary");
    }
    if before == after { Shown::Nothing } else { Shown::Texts(before, after) }
}

/// A name in the head of a patch: quoted as git does where it would be read as something else.
fn quoted(side: &str, path: &[u8]) -> Vec<u8> {
    let name = [side.as_bytes(), path].concat();
    if !name.iter().any(|b| b.is_ascii_control() || b"\"\\".contains(b)) {
        return name;
    }
    let mut out = vec![b'"'];
    for byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\t' => out.extend(b"\\t"),
            b if b.is_ascii_control() => out.extend(format!("\\{b:03o}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

/// Writes one change as a patch.
pub fn text(change: &Change<'_>, terminal: bool, lines: &mut Bulk) -> Result<(), Fail> {
    for line in patch(change) {
        if terminal {
            lines.line(clean(&String::from_utf8_lossy(&line)).as_bytes())?;
        } else {
            lines.line(&line)?;
        }
    }
    Ok(())
}

/// The same in a JSON message.
pub fn json(change: &Change<'_>, map: &mut Map<String, Value>) {
    match shown(change) {
        Shown::Nothing => {}
        Shown::Differs(why) => drop(map.insert("not_shown".to_owned(), why.into())),
        Shown::Texts(..) => {
            let text = patch(change).join(&b'\n');
            map.insert("patch".to_owned(), (String::from_utf8_lossy(&text) + "\n").into());
        }
    }
}

/// The lines of the patch of one change, without their ends.
fn patch(change: &Change<'_>) -> Vec<Vec<u8>> {
    let path = full_path(change);
    // A link's text is where it leads, which no patch can change.
    let is_file = |kind: Option<EntryKind>| kind.is_none_or(|kind| kind == EntryKind::File);
    let plain = is_file(change.before.map(|entry| entry.kind)) && is_file(change.after.map(|entry| entry.kind));
    let head = |exists: bool, side: &str| if exists { quoted(side, &path) } else { b"/dev/null".to_vec() };
    let names = [head(change.before.is_some(), "a"), head(change.after.is_some(), "b")];
    let (before, after) = match shown(change) {
        Shown::Nothing => return Vec::new(),
        Shown::Differs(why) => {
            let [a, b] = &names;
            let kind = if why == "binary" { "Binary files" } else { "Files" };
            let why = if why == "binary" { String::new() } else { format!(" ({why})") };
            return vec![[kind.as_bytes(), b" ", a, b" and ", b, b" differ", why.as_bytes()].concat()];
        }
        Shown::Texts(before, after) => (before.unwrap_or_default(), after.unwrap_or_default()),
    };
    if !plain {
        let kind = |entry: Option<&seabed_engine::format::entry::Entry>| entry.map_or("nothing", |entry| entry.kind.word());
        let mut out = vec![[&b"Only said, not to be applied: "[..], &quoted("", &path)].concat()];
        let end = |text: &[u8]| text.strip_suffix(b"\n").unwrap_or(text).to_vec();
        for (sign, entry, text) in [("-", change.before, before), ("+", change.after, after)] {
            if entry.is_some_and(|entry| entry.kind == EntryKind::Symlink) {
                out.push([sign.as_bytes(), b"link to ", &end(text)].concat());
            } else if entry.is_some() {
                out.push(format!("{sign}{}", kind(entry)).into_bytes());
            }
        }
        return out;
    }
    let old: Vec<&[u8]> = before.split_inclusive(|b| *b == b'\n').collect();
    let new: Vec<&[u8]> = after.split_inclusive(|b| *b == b'\n').collect();
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Instant::now().checked_add(DEADLINE));
    let [a, b] = &names;
    // As git does it: without the tab, `patch` takes a name to end at its first blank.
    let end = |name: &[u8]| if name.contains(&b' ') && !name.starts_with(b"\"") { &b"\t"[..] } else { b"" };
    let mut out = vec![[b"--- ", &a[..], end(a)].concat(), [b"+++ ", &b[..], end(b)].concat()];
    let groups = group_diff_ops(ops, CONTEXT_LINES);
    // An empty file that came or went has no line to show.
    if groups.is_empty() {
        return Vec::new();
    }
    for group in groups {
        hunk(&group, &old, &new, &mut out);
    }
    out
}

fn hunk(ops: &[DiffOp], old: &[&[u8]], new: &[&[u8]], out: &mut Vec<Vec<u8>>) {
    let (Some(first), Some(last)) = (ops.first(), ops.last()) else { return };
    let range = |from: usize, to: usize| match to - from {
        // Behind which line, where there is none.
        0 => format!("{from},0"),
        1 => format!("{}", from + 1),
        n => format!("{},{n}", from + 1),
    };
    let (of, to) = (first.old_range().start, last.old_range().end);
    let (nf, nt) = (first.new_range().start, last.new_range().end);
    out.push(format!("@@ -{} +{} @@", range(of, to), range(nf, nt)).into_bytes());
    let mut put = |sign: u8, lines: &[&[u8]]| {
        for line in lines {
            let (text, ended) = match line.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (*line, false),
            };
            out.push([&[sign], text].concat());
            if !ended {
                out.push(b"\\ No newline at end of file".to_vec());
            }
        }
    };
    for op in ops {
        match op.tag() {
            DiffTag::Equal => put(b' ', &old[op.old_range()]),
            _ => {
                put(b'-', &old[op.old_range()]);
                put(b'+', &new[op.new_range()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::entry::Entry;

    fn lines(before: Option<&[u8]>, after: Option<&[u8]>) -> String {
        let file = Entry::new(b"f", EntryKind::File);
        let body = |bytes: Option<&[u8]>| bytes.map(|bytes| Body::Bytes(bytes.to_vec()));
        let change = Change {
            path: b"d/f",
            before: before.map(|_| &file),
            after: after.map(|_| &file),
            content: true,
            rot: false,
            attributes: Vec::new(),
            delta: None,
            bodies: [body(before), body(after)],
        };
        String::from_utf8(patch(&change).join(&b'\n')).unwrap()
    }

    #[test]
    fn a_patch_is_what_diff_writes() {
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        let edited = long.replace("10\n", "ten\n");
        let want = "--- a/d/f\n+++ b/d/f\n@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13";
        assert_eq!(lines(Some(long.as_bytes()), Some(edited.as_bytes())), want);
        assert_eq!(lines(None, Some(b"one\n")), "--- /dev/null\n+++ b/d/f\n@@ -0,0 +1 @@\n+one");
        assert_eq!(lines(Some(b"one\ntwo"), None), "--- a/d/f\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-one\n-two\n\\ No newline at end of file");
        assert_eq!(lines(Some(b"a"), Some(b"a\n")), "--- a/d/f\n+++ b/d/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a");
        assert_eq!(lines(Some(b"a\0"), Some(b"b")), "Binary files a/d/f and b/d/f differ");
        assert_eq!(lines(None, Some(b"")), "");
    }

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(quoted("a", b"/plain name"), b"a/plain name");
        assert_eq!(quoted("a", b"/new\nline\"\x1b\xff"), b"\"a/new\\nline\\\"\\033\xff\"");
    }
}
