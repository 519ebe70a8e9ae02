//! What is searched for: globs and regular expressions over whole paths, as one expression.
//! Paths are bytes; a pattern that is not UTF-8 cannot be one of these, but matches them (`(?-u:\xff)`).

use crate::error::{Error, Result};
use crate::paths::Needles;
use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};
use std::sync::Arc;

/// What a compiled expression may take, bytes: a pattern of a person takes a few thousand.
const COMPILED_BYTES_MAX: usize = 64 << 20;

/// How patterns are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// `*`, `?`, `[a-z]`, `{a,b}`, and `**` for any number of directories. One without `/` is for the last component, one that begins with
    /// `/` for the whole path, any other for the end of it.
    #[default]
    Glob,
    /// A regular expression, to be found anywhere in the path, which begins with `/`.
    Regex,
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// What all paths that match hold.
    needles: Option<Arc<Needles>>,
    directories: bool,
}

fn invalid(text: &str, why: &dyn std::fmt::Display) -> Error {
    // Of the parsers' many lines the last says what is wrong.
    let why = why.to_string();
    let last = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Error::Option { what: format!("invalid pattern `{text}`: {}", last.trim().trim_start_matches("error: ")) }
}

impl Pattern {
    /// Any of `texts`; none of them is everything.
    pub fn new(texts: &[String], syntax: Syntax, ignore_case: bool) -> Result<Self> {
        let (mut all, mut required) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        let mut directories = syntax == Syntax::Glob && !texts.is_empty();
        for text in texts {
            if text.is_empty() {
                return Err(Error::Option { what: "an empty pattern finds nothing".to_owned() });
            }
            let source = match syntax {
                Syntax::Regex => {
                    // By itself first: an error is told of what was typed, and a `)` too many cannot close our group.
                    Regex::new(text).map_err(|error| invalid(text, &error))?;
                    text.clone()
                }
                Syntax::Glob => {
                    directories &= text.ends_with('/');
                    glob(text)?
                }
            };
            required.push(required_by(&source));
            all.push(format!("(?:{source})"));
        }
        let joined = all.join("|");
        let built = RegexBuilder::new(&joined).case_insensitive(ignore_case).size_limit(COMPILED_BYTES_MAX).build();
        let needles = Needles::new(&required, ignore_case).map(Arc::new);
        Ok(Pattern { regex: built.map_err(|error| invalid(&texts.join(" "), &error))?, needles, directories })
    }

    /// Whether the path, which begins with `/`, is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }

    /// What all paths that match hold.
    pub fn needles(&self) -> Option<&Needles> {
        self.needles.as_deref()
    }

    /// Whether only directories are meant: every pattern ends with `/`.
    pub fn only_directories(&self) -> bool {
        self.directories
    }
}

/// Texts that an expression cannot do without.
fn required_by(source: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    // What does not parse here has no such text: it was compiled, or is refused, elsewhere.
    if let Ok(hir) = ParserBuilder::new().utf8(false).build().parse(source) {
        collect(&hir, &mut texts);
    }
    texts
}

fn collect(hir: &Hir, texts: &mut Vec<Vec<u8>>) {
    match hir.kind() {
        HirKind::Literal(text) => texts.push(text.0.to_vec()),
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect(part, texts)),
        HirKind::Capture(group) => collect(&group.sub, texts),
        HirKind::Repetition(repeated) if repeated.min > 0 => collect(&repeated.sub, texts),
        _ => {}
    }
}

fn glob(text: &str) -> Result<String> {
    let body = text.trim_end_matches('/');
    let full = match body.strip_prefix('/') {
        _ if body.is_empty() => "/".to_owned(),
        Some(_) => body.to_owned(),
        None => format!("/**/{body}"),
    };
    let glob = GlobBuilder::new(&full).literal_separator(true).backslash_escape(true).build();
    Ok(glob.map_err(|error| invalid(text, &error.kind()))?.regex().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, syntax: Syntax, ignore_case: bool, paths: &[&str]) -> Vec<String> {
        let pattern = Pattern::new(&[text.to_owned()], syntax, ignore_case).unwrap();
        paths.iter().filter(|path| pattern.matches(path.as_bytes())).map(|path| path.to_string()).collect()
    }

    #[test]
    fn globs_are_of_names_unless_they_hold_a_slash() {
        let paths = ["/etc/nginx/nginx.conf", "/etc/nginx", "/srv/etc/nginx/sites/a.conf", "/home/a/NGINX.CONF", "/x.conf"];
        assert_eq!(found("*.conf", Syntax::Glob, false, &paths), ["/etc/nginx/nginx.conf", "/srv/etc/nginx/sites/a.conf", "/x.conf"]);
        assert_eq!(found("nginx", Syntax::Glob, false, &paths), ["/etc/nginx"]);
        assert_eq!(found("*.conf", Syntax::Glob, true, &paths).len(), 4);
        assert_eq!(found("nginx/*.conf", Syntax::Glob, false, &paths), ["/etc/nginx/nginx.conf"]);
        assert_eq!(found("/etc/nginx/**", Syntax::Glob, false, &paths), ["/etc/nginx/nginx.conf"]);
        assert_eq!(found("/etc/*", Syntax::Glob, false, &paths), ["/etc/nginx"]);
        assert_eq!(found("nginx/**/*.conf", Syntax::Glob, false, &paths), ["/etc/nginx/nginx.conf", "/srv/etc/nginx/sites/a.conf"]);
        assert_eq!(found("{nginx,x}.conf", Syntax::Glob, false, &paths), ["/etc/nginx/nginx.conf", "/x.conf"]);
        assert_eq!(found("[!x].conf", Syntax::Glob, false, &paths), ["/srv/etc/nginx/sites/a.conf"]);
        assert_eq!(found("nginx/", Syntax::Glob, false, &paths), ["/etc/nginx"]);
    }

    #[test]
    fn expressions_are_of_whole_paths() {
        let paths = ["/a/b1", "/a1/b"];
        assert_eq!(found("[0-9]$", Syntax::Regex, false, &paths), ["/a/b1"]);
        assert_eq!(found("^/A", Syntax::Regex, true, &paths).len(), 2);
        assert!(Pattern::new(&["a)(".to_owned()], Syntax::Regex, false).is_err());
        assert!(Pattern::new(&["[".to_owned()], Syntax::Glob, false).is_err());
        assert!(Pattern::new(&[String::new()], Syntax::Glob, false).is_err());
    }

    #[test]
    fn names_that_are_no_text_are_found() {
        let pattern = Pattern::new(&["*.dat".to_owned()], Syntax::Glob, false).unwrap();
        assert!(pattern.matches(b"/a/\xff\xfe\n.dat") && !pattern.matches(b"/a/\xff.da"));
        let pattern = Pattern::new(&["?x".to_owned()], Syntax::Glob, false).unwrap();
        assert!(pattern.matches(b"/\xffx"));
    }

    #[test]
    fn what_a_pattern_cannot_do_without_is_known() {
        let required = |text: &str, syntax| {
            let source = if syntax == Syntax::Glob { glob(text).unwrap() } else { text.to_owned() };
            required_by(&source).into_iter().map(|text| String::from_utf8_lossy(&text).into_owned()).collect::<Vec<_>>()
        };
        let has = |texts: Vec<String>, want: &str| assert!(texts.iter().any(|text| text.contains(want)), "{texts:?}");
        has(required("file-0123-*", Syntax::Glob), "file-0123-");
        has(required("/**/d01234/*", Syntax::Glob), "d01234");
        has(required("*.{conf,ini}", Syntax::Glob), ".");
        has(required("(ab)+c(?:def)$", Syntax::Regex), "cdef");
        assert!(required("(?i)abcd", Syntax::Regex).is_empty());
        assert!(required("a?(bcd|efg)*|xyz", Syntax::Regex).is_empty());
        assert_eq!(required("\\xffabc", Syntax::Regex), ["\u{ff}abc"]);
    }

    #[test]
    fn no_pattern_is_everything() {
        let pattern = Pattern::new(&[], Syntax::Glob, false).unwrap();
        assert!(pattern.matches(b"/a") && !pattern.only_directories());
    }
}
