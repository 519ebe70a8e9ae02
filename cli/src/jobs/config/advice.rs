//! What is said of a configuration that cannot be read: the line, and what was most likely meant.

use super::expand::Expanded;
use crate::exit::Fail;
use std::path::Path;

/// A mistake that the parser found.
pub fn fail(path: &Path, text: &Expanded, error: &toml::de::Error) -> Fail {
    let message = error.message();
    let unknown = quoted_after(message, "unknown field ");
    // Of a table that was taken apart by hand only the table's place is known: the key is looked for in it.
    let at = error.span().map(|span| match unknown {
        Some(key) => key_in(&text.text, span.start, key).unwrap_or(span.start),
        None => span.start,
    });
    let place = match at.map(|at| text.place(at)) {
        Some((line, _)) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    };
    if let Some(key) = unknown {
        let known: Vec<&str> = message.split("unknown field ").nth(1).unwrap_or("").split('`').skip(3).step_by(2).collect();
        let fail = Fail::config(format!("{place}: the key `{key}` is not known here"));
        return fail.hint(match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        });
    }
    if let Some(key) = quoted_after(message, "missing field ") {
        return Fail::config(format!("{place}: the key `{key}` is missing")).hint("add it; README.md has an example of each kind");
    }
    let message = message.trim_end().replace('\n', ", ");
    Fail::config(format!("{place}: {message}")).hint("correct it, then look with `seabed config check`")
}

/// What stands in backquotes behind some words.
fn quoted_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.split_once(words)?.1.strip_prefix('`')?.split('`').next()
}

/// Where a key stands, from some place on: at the beginning of a line, or in an inline table.
fn key_in(text: &str, from: usize, key: &str) -> Option<usize> {
    let tail = text.get(from..)?;
    let is_key = |at: &usize| {
        let before = tail[..*at].trim_end_matches([' ', '\t', '"', '\'']);
        let after = tail[at + key.len()..].trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let begins = before.is_empty() || before.ends_with(['\n', '{', ',', '.', '[']);
        begins && after.starts_with(['=', '.', ']'])
    };
    tail.match_indices(key).map(|(at, _)| at).find(is_key).map(|at| from + at)
}

/// The known word that is most like what was written, where one is like it at all.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let similar = known.map(|near| (strsim::jaro_winkler(&word.to_lowercase(), near), near));
    similar.filter(|(likeness, _)| *likeness > 0.78).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, near)| near)
}

/// A word that is none of those that may stand there.
pub fn unknown_word(what: &str, word: &str, known: &[&str]) -> String {
    let near = nearest(word, known.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{word}` is no {what}: one of {}{near}", known.join(", "))
}

/// A name to which there is no section.
pub fn no_such<'a>(section: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Fail {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let fail = Fail::config(format!("there is no [{section}.{name}] in the configuration"));
    match (nearest(name, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => fail.hint(format!("did you mean `{near}`?")),
        (None, true) => fail.hint(format!("there is no [{section}.…] at all")),
        (None, false) => fail.hint(format!("there are {}", known.join(", "))),
    }
}
