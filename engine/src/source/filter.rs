//! What a backup leaves out: patterns, tag files, sizes, and `.seabedignore` files.
//! It must never leave out what no rule names, so a rule that cannot be understood is an error and not a guess.
//! It obeys no spec chapter; patterns mean what they mean to restic, ignore files what they mean to git.

use crate::error::{Error, Result};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Name of the per-directory ignore file.
pub const IGNORE_FILE: &[u8] = b".seabedignore";
/// Largest ignore or tag file that is looked at.
pub(super) const IGNORE_BYTES_MAX: u64 = 1 << 20;
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// One component of a pattern.
#[derive(Clone, Debug)]
enum Part {
    /// `**`: any number of components, none included.
    Any,
    Literal(Vec<u8>),
    Glob(Vec<u8>),
}

impl Part {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Part::Any => true,
            Part::Literal(text) => text == name,
            Part::Glob(glob) => glob_match(glob, name),
        }
    }
}

/// One exclude pattern. It matches a run of whole components anywhere in a path, or at its start when it begins with `/`.
#[derive(Clone, Debug)]
struct Pattern {
    negated: bool,
    anchored: bool,
    parts: Vec<Part>,
}

impl Pattern {
    fn new(text: &[u8], fold_case: bool) -> Result<Self> {
        let bad = || Error::Option { what: format!("invalid exclude pattern `{}`", String::from_utf8_lossy(text)) };
        let (negated, body) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if body.is_empty() {
            return Err(bad());
        }
        let folded = if fold_case { fold(body) } else { body.to_vec() };
        let mut parts = Vec::new();
        for part in folded.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                // `..` in a pattern is cleaned away by text, as restic does.
                b".." => {
                    parts.pop();
                }
                b"**" => parts.push(Part::Any),
                _ if !part.iter().any(|b| b"\\[]*?".contains(b)) => parts.push(Part::Literal(part.to_vec())),
                _ if glob_is_valid(part) => parts.push(Part::Glob(part.to_vec())),
                _ => return Err(bad()),
            }
        }
        if parts.is_empty() {
            return Err(bad());
        }
        Ok(Pattern { negated, anchored: folded.first() == Some(&b'/'), parts })
    }

    /// Whether the pattern matches components `path[from..]`, ending anywhere, or only at the end.
    fn run(parts: &[Part], path: &[&[u8]], to_end: bool) -> bool {
        match parts {
            [] => !to_end || path.is_empty(),
            [Part::Any, rest @ ..] => (0..=path.len()).any(|skip| Self::run(rest, &path[skip..], to_end)),
            [part, rest @ ..] => path.first().is_some_and(|name| part.matches(name)) && Self::run(rest, &path[1..], to_end),
        }
    }

    fn matches(&self, path: &[&[u8]], to_end: bool) -> bool {
        if let ([part], false, true, Some(name)) = (&self.parts[..], self.anchored, to_end, path.last()) {
            return part.matches(name);
        }
        let starts = if self.anchored { 1 } else { path.len() };
        (0..starts).any(|from| Self::run(&self.parts, &path[from..], to_end))
    }
}

/// A list of patterns of which the last that matches decides.
#[derive(Clone, Debug, Default)]
struct Patterns {
    list: Vec<Pattern>,
    negations: bool,
    fold_case: bool,
}

impl Patterns {
    fn add(&mut self, text: &[u8]) -> Result<()> {
        let pattern = Pattern::new(text, self.fold_case)?;
        self.negations |= pattern.negated;
        self.list.push(pattern);
        Ok(())
    }

    fn reject(&self, path: &[u8], name_only: bool) -> bool {
        if self.list.is_empty() {
            return false;
        }
        let folded;
        let path = if self.fold_case {
            folded = fold(path);
            &folded[..]
        } else {
            path
        };
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        // Below a root, a run that ends before the last component would have stopped the walk further up, unless something was taken back.
        let to_end = name_only && !self.negations;
        self.list.iter().fold(false, |out, p| if p.negated { out && !p.matches(&parts, false) } else { out || p.matches(&parts, to_end) })
    }
}

/// All rules of one backup that leave something out.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    exact: Patterns,
    folded: Patterns,
    tags: Vec<(Vec<u8>, Vec<u8>)>,
    larger_than: Option<u64>,
    ignore_files: bool,
}

impl Excludes {
    /// No rules.
    pub fn new() -> Self {
        Excludes { folded: Patterns { fold_case: true, ..Patterns::default() }, ..Excludes::default() }
    }

    /// Adds one pattern; `fold_case` for `--iexclude`. Later patterns may take back earlier ones with `!`.
    pub fn pattern(&mut self, text: &[u8], fold_case: bool) -> Result<()> {
        if fold_case { self.folded.add(text) } else { self.exact.add(text) }
    }

    /// Adds the patterns of an exclude file: one per line, `#` comments, `$NAME` and `${NAME}` from the environment, `$$` for `$`.
    pub fn file(&mut self, path: &Path, fold_case: bool) -> Result<()> {
        let text = std::fs::read(path).map_err(|e| Error::Option { what: format!("cannot read exclude file {}: {e}", path.display()) })?;
        for line in text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty() && l[0] != b'#') {
            self.pattern(&expand(line), fold_case)?;
        }
        Ok(())
    }

    /// `--exclude-if-present NAME[:HEADER]`: of a directory that holds such a file, only that file is stored.
    pub fn if_present(&mut self, spec: &[u8]) -> Result<()> {
        let (name, header) = match spec.iter().position(|b| *b == b':') {
            Some(at) => (&spec[..at], &spec[at + 1..]),
            None => (spec, &b""[..]),
        };
        if !crate::format::entry::name_is_valid(name) {
            return Err(Error::Option { what: format!("`{}` names no tag file", String::from_utf8_lossy(spec)) });
        }
        self.tags.push((name.to_vec(), header.to_vec()));
        Ok(())
    }

    /// `--exclude-caches`: directories with a valid CACHEDIR.TAG.
    pub fn caches(&mut self) {
        self.tags.push((CACHE_TAG.to_vec(), CACHE_SIGNATURE.to_vec()));
    }

    /// `--exclude-larger-than`, in bytes.
    pub fn larger_than(&mut self, bytes: u64) {
        self.larger_than = Some(bytes);
    }

    /// Whether `.seabedignore` files are obeyed.
    pub fn ignore_files(&mut self, on: bool) {
        self.ignore_files = on;
    }

    pub(super) fn wants_ignore_files(&self) -> bool {
        self.ignore_files
    }

    /// Tag files and the bytes that they must begin with.
    pub(super) fn tags(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.tags
    }

    /// Whether there are no patterns at all.
    pub fn is_empty(&self) -> bool {
        !self.has_patterns()
    }

    pub(super) fn has_patterns(&self) -> bool {
        !self.exact.list.is_empty() || !self.folded.list.is_empty()
    }

    /// Whether patterns leave out the stored path. `name_only`: everything above it is already known to stay.
    pub fn rejects(&self, path: &[u8], name_only: bool) -> bool {
        !path.is_empty() && (self.exact.reject(path, name_only) || self.folded.reject(path, name_only))
    }

    /// Whether a file of this size is left out.
    pub fn too_large(&self, size: u64) -> bool {
        self.larger_than.is_some_and(|max| size > max)
    }
}

/// The ignore files that apply in one directory: its own, then those above it.
pub(super) struct Ignores {
    rules: Gitignore,
    above: Option<Arc<Ignores>>,
}

impl Ignores {
    /// Rules of the ignore file in `dir` (stored path) on top of those above, and what is wrong with them.
    pub fn new(dir: &[u8], text: &[u8], above: Option<Arc<Ignores>>) -> (Arc<Ignores>, Vec<String>) {
        let mut wrong = Vec::new();
        let mut builder = GitignoreBuilder::new(super::roots::display(dir));
        for line in text.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match std::str::from_utf8(line) {
                Ok(line) => {
                    if let Err(e) = builder.add_line(None, line) {
                        wrong.push(e.to_string());
                    }
                }
                Err(_) => wrong.push(format!("`{}` is not UTF-8", String::from_utf8_lossy(line))),
            }
        }
        let rules = builder.build().unwrap_or_else(|e| {
            wrong.push(e.to_string());
            Gitignore::empty()
        });
        (Arc::new(Ignores { rules, above }), wrong)
    }

    /// Whether the absolute path is left out: the deepest file that has a rule for it decides.
    pub fn rejects(&self, path: &[u8], is_dir: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let mut at = Some(self);
        while let Some(level) = at {
            match level.rules.matched(path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => at = level.above.as_deref(),
            }
        }
        false
    }
}

/// Lower case: of text as Unicode says, of other bytes the ASCII letters.
fn fold(bytes: &[u8]) -> Vec<u8> {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.to_ascii_lowercase(), |s| s.to_lowercase().into_bytes())
}

/// Replaces `$NAME` and `${NAME}` by the environment; an unset name gives nothing.
fn expand(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.iter().position(|b| *b == b'$') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let word = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let close = rest.iter().position(|b| *b == b'}');
        let name = match (rest.first(), close) {
            (Some(b'$'), _) => {
                out.push(b'$');
                rest = &rest[1..];
                continue;
            }
            (Some(b'{'), Some(end)) => {
                let name = &rest[1..end];
                rest = &rest[end + 1..];
                name
            }
            _ if word > 0 => {
                let name = &rest[..word];
                rest = &rest[word..];
                name
            }
            _ => {
                out.push(b'$');
                continue;
            }
        };
        if !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) {
            out.extend_from_slice(std::env::var_os(OsStr::from_bytes(name)).unwrap_or_default().as_bytes());
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Splits off one character: a UTF-8 sequence, or one byte where there is none.
fn char_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let first = *bytes.first()?;
    let want = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match bytes.get(..want).and_then(|b| std::str::from_utf8(b).ok()).and_then(|s| s.chars().next()) {
        Some(c) => Some((u32::from(c), &bytes[want..])),
        // Bytes that are no text get numbers above every character, so that they equal only themselves.
        None => Some((0x11_0000 + u32::from(first), &bytes[1..])),
    }
}

/// One character of a glob or of a class, with `\` taken off.
fn literal_of(glob: &[u8]) -> Option<(u32, &[u8])> {
    char_of(glob.strip_prefix(b"\\").unwrap_or(glob))
}

/// Matches `c` with the class after `[`; gives the rest of the glob after `]`.
fn class_match(glob: &[u8], c: u32) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match glob.first()? {
        b'^' | b'!' => (true, &glob[1..]),
        _ => (false, glob),
    };
    let mut hit = false;
    let mut first = true;
    loop {
        if rest.first()? == &b']' && !first {
            return Some((hit != negated, &rest[1..]));
        }
        first = false;
        let (low, after) = literal_of(rest)?;
        rest = after;
        let mut high = low;
        if rest.first() == Some(&b'-') && rest.get(1).is_some_and(|b| *b != b']') {
            (high, rest) = literal_of(&rest[1..])?;
        }
        hit |= low <= c && c <= high;
    }
}

fn glob_is_valid(mut glob: &[u8]) -> bool {
    loop {
        glob = match glob.first() {
            None => return true,
            Some(b'[') => match class_match(&glob[1..], 0) {
                Some((_, rest)) => rest,
                None => return false,
            },
            Some(b'\\') => match glob.get(2..) {
                Some(rest) => rest,
                None => return false,
            },
            Some(_) => &glob[1..],
        };
    }
}

/// Matches one name with `*`, `?`, `[…]` and `\`. Only the last star is ever taken back, so the time is at most the product of the lengths.
fn glob_match(mut glob: &[u8], mut name: &[u8]) -> bool {
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match glob.first() {
            Some(b'*') => {
                glob = &glob[1..];
                star = Some((glob, name));
                continue;
            }
            None if name.is_empty() => return true,
            None => None,
            Some(g) => char_of(name).and_then(|(c, after)| match g {
                b'?' => Some((&glob[1..], after)),
                b'[' => class_match(&glob[1..], c).filter(|(hit, _)| *hit).map(|(_, rest)| (rest, after)),
                _ => literal_of(glob).filter(|(want, _)| *want == c).map(|(_, rest)| (rest, after)),
            }),
        };
        if let Some((g, n)) = step {
            (glob, name) = (g, n);
            continue;
        }
        let Some((after_star, from)) = star else { return false };
        let Some((_, next)) = char_of(from) else { return false };
        (glob, name) = (after_star, next);
        star = Some((after_star, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejects(patterns: &[&str], path: &str) -> bool {
        let mut ex = Excludes::new();
        for p in patterns {
            ex.pattern(p.as_bytes(), false).unwrap();
        }
        ex.rejects(path.trim_start_matches('/').as_bytes(), false)
    }

    #[test]
    fn the_examples_of_restics_manual() {
        for path in ["/dir1/foo/dir2/file", "/dir/foo"] {
            assert!(rejects(&["foo"], path), "{path}");
        }
        for path in ["/dir/foobar", "/dir/barfoo"] {
            assert!(!rejects(&["foo"], path), "{path}");
        }
        assert!(rejects(&["/bin"], "/bin/bash") && !rejects(&["/bin"], "/usr/bin/restic"));
        assert!(rejects(&["b*ash"], "/bin/bash") && !rejects(&["b*ash"], "/bin/ash"));
        for path in ["/dir1/foo/dir2/bar/file", "/foo/bar/file", "/tmp/foo/bar"] {
            assert!(rejects(&["foo/**/bar"], path), "{path}");
        }
        assert!(!rejects(&["foo/**/bar"], "/foo/baz"));
        assert!(rejects(&["*.c"], "/x/y.c") && !rejects(&["*.c"], "/x/y.cc"));
        let home = ["/home/u/**/*", "!/home/u/Documents", "!/home/u/code"];
        assert!(rejects(&home, "/home/u/x") && !rejects(&home, "/home/u/Documents") && !rejects(&home, "/home/u/code/a/b"));
        assert!(
            rejects(&["foo/"], "/a/foo") && rejects(&["*.tmp", "!keep.tmp"], "/a.tmp") && !rejects(&["*.tmp", "!keep.tmp"], "/keep.tmp")
        );
        assert!(rejects(&["/a/*/c"], "/a/b/c") && !rejects(&["/a/*/c"], "/a/b/b/c"));
    }

    #[test]
    fn globs_of_one_name() {
        for (g, n, want) in [
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "aäc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("[]-a]", "]", true),
            ("[\\]]", "]", true),
        ] {
            assert_eq!(glob_match(g.as_bytes(), n.as_bytes()), want, "{g} {n}");
        }
        assert!(glob_match(b"a?c", b"a\xffc") && glob_match(b"*\xff", b"x\xff") && !glob_match(b"\xff", b"\xfe"));
        assert!(!glob_match(b"*a*a*a*a*a*a*a*a*b", &[b'a'; 255]));
    }

    #[test]
    fn invalid_patterns_are_named() {
        for bad in ["a[", "[a", "x\\", "", "!", "/"] {
            let err = Excludes::new().pattern(bad.as_bytes(), false).unwrap_err();
            assert!(err.to_string().contains(&format!("`{bad}`")), "{err}");
        }
        assert!(Excludes::new().if_present(b"").is_err() && Excludes::new().if_present(b"a/b").is_err());
    }

    #[test]
    fn case_is_folded_on_request() {
        let mut ex = Excludes::new();
        ex.pattern("*.ÄVI".as_bytes(), true).unwrap();
        assert!(ex.rejects("a/B.ävi".as_bytes(), true) && !ex.rejects(b"a/b.avi", true));
    }

    #[test]
    fn exclude_files_have_comments_blanks_and_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ex");
        std::fs::write(&file, "# none\n\n  *.o  \n$$x\n${CARGO_PKG_NAME}/y\n!keep.o").unwrap();
        let mut ex = Excludes::new();
        ex.file(&file, false).unwrap();
        assert!(
            ex.rejects(b"a/b.o", false) && !ex.rejects(b"a/keep.o", false) && ex.rejects(b"$x", false) && !ex.rejects(b"# none", false)
        );
        assert_eq!(expand(b"a$b_unset_zz/$/${nope"), b"a/$/${nope".to_vec());
        assert!(ex.file(Path::new("/nonexistent/x"), false).is_err());
    }

    #[test]
    fn deeper_ignore_files_decide() {
        let (top, wrong) = Ignores::new(b"r", b"*.log\n/only-top\nbuild/\n", None);
        assert!(wrong.is_empty());
        let (deep, _) = Ignores::new(b"r/d", b"!keep.log\n", Some(top.clone()));
        assert!(top.rejects(b"/r/a.log", false) && top.rejects(b"/r/only-top", false) && top.rejects(b"/r/x/build", true));
        assert!(!top.rejects(b"/r/x/build", false) && !top.rejects(b"/r/d/only-top", false));
        assert!(!deep.rejects(b"/r/d/keep.log", false) && deep.rejects(b"/r/d/other.log", false));
        assert_eq!(Ignores::new(b"r", b"a\n\xff\xfe\n", None).1.len(), 1);
    }
}
