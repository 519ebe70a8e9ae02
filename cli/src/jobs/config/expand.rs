//! `${NAME}` and `${NAME:-default}` in the texts of a configuration. Only inside of strings, and what a variable holds is text and nothing
//! else: it can neither end the string nor add a key. `$${` stands for `${`.

use super::File;
use super::secret::{is_secret_name, remember};
use crate::exit::{Fail, plain};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text in which every variable has its value.
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Where it differs: place in the text that is new, and in the one that was read.
    moved: Vec<(Range<usize>, Range<usize>)>,
    /// What was read.
    original: String,
}

impl Expanded {
    /// A text as it is.
    pub fn as_is(text: String) -> Self {
        Expanded { original: text.clone(), text, moved: Vec::new() }
    }

    /// Line and column, from 1 on, in what was read, of a place in the new text.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let mut offset = at;
        for (new, old) in &self.moved {
            if at >= new.end {
                offset = at - new.end + old.end;
            } else if at >= new.start {
                offset = old.start;
                break;
            } else {
                break;
            }
        }
        let before = self.original.get(..offset.min(self.original.len())).unwrap_or(&self.original);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |part| part.chars().count()) + 1;
        (line, column)
    }
}

/// Puts variables into their places.
pub fn expand(file: &File<'_>) -> Result<Expanded, Fail> {
    let as_is = Expanded::as_is(file.text.to_owned());
    let table = DeTable::parse(file.text).map_err(|error| super::advice::fail(file.path, &as_is, &error))?;
    let variables = Variables::read(file, table.get_ref())?;
    let mut found: Vec<(Range<usize>, String)> = Vec::new();
    for (_, value) in table.get_ref() {
        strings(value, &mut |text, span| {
            if text.contains("${") {
                found.push((span, text.to_owned()));
            }
        });
    }
    found.sort_by_key(|(span, _)| span.start);
    let (mut text, mut moved, mut done) = (String::with_capacity(file.text.len()), Vec::new(), 0);
    for (span, raw) in found {
        let value = variables.fill(&raw).map_err(|why| {
            let (line, _) = as_is.place(span.start);
            Fail::config(format!("{}:{line}: {why}", file.path.display()))
                .hint("set the variable, or give it a default: ${NAME:-default}; `$${` stands for `${` itself")
        })?;
        text.push_str(&file.text[done..span.start]);
        let start = text.len();
        text.push_str(&toml::Value::String(value).to_string());
        moved.push((start..text.len(), span.clone()));
        done = span.end;
    }
    text.push_str(&file.text[done..]);
    Ok(Expanded { text, moved, original: file.text.to_owned() })
}

fn strings(value: &Spanned<DeValue<'_>>, each: &mut dyn FnMut(&str, Range<usize>)) {
    match value.get_ref() {
        DeValue::String(text) => each(text, value.span()),
        DeValue::Array(items) => items.iter().for_each(|item| strings(item, each)),
        DeValue::Table(table) => table.iter().for_each(|(_, item)| strings(item, each)),
        _ => {}
    }
}

/// Where variables are looked up: `env_file` first, then the environment.
struct Variables(HashMap<String, String>);

impl Variables {
    fn read(file: &File<'_>, table: &DeTable<'_>) -> Result<Self, Fail> {
        let named = table.get("env_file").and_then(|value| match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        });
        let Some(named) = named else { return Ok(Variables(HashMap::new())) };
        let named = Variables(HashMap::new()).fill(&named).map_err(Fail::config)?;
        let path = file.path.parent().unwrap_or(Path::new("/")).join(named);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Fail::config(format!("cannot read the env_file {}: {}", path.display(), plain(&e)))
                .hint("look whether it is there and this user may read it")
        })?;
        Ok(Variables(env_file(&text)))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned().or_else(|| std::env::var(name).ok())
    }

    fn fill(&self, raw: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::with_capacity(raw.len()), raw);
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let end = inner.find('}').ok_or_else(|| format!("`{}` is not closed", &rest[at..]))?;
            let (name, default) = match inner[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&inner[..end], None),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("`${{{}}}` is no variable", &inner[..end]));
            }
            // As in a shell, `:-` stands in for an empty one too.
            let value = self.get(name).filter(|value| default.is_none() || !value.is_empty());
            let value = value.or_else(|| default.map(str::to_owned)).ok_or_else(|| format!("the variable {name} is not set"))?;
            if is_secret_name(name) {
                remember(&value);
            }
            out.push_str(&value);
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Lines of `NAME=value`, as Docker and systemd read them: comments, `export`, one pair of quotes.
pub fn env_file(text: &str) -> HashMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
    let unquoted = |value: &str| {
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        quoted.unwrap_or(value).to_owned()
    };
    pairs.map(|(name, value)| (name.trim().to_owned(), unquoted(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let text = "# a comment\nexport A=one\nB=\"two words\"\nEMPTY=\nDB_PASSWORD='it''s'\nINJECT=x\"\\nkey = 1\n";
        Variables(env_file(text))
    }

    #[test]
    fn variables_are_put_into_strings() {
        let variables = variables();
        for (raw, value) in [
            ("${A}", "one"),
            ("a ${A} b ${B}!", "a one b two words!"),
            ("${NOT_THERE_1:-dflt}", "dflt"),
            ("${NOT_THERE_1:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("$${A} $A {A}", "${A} $A {A}"),
        ] {
            assert_eq!(variables.fill(raw).unwrap(), value, "{raw}");
        }
        for wrong in ["${NOT_THERE_1}", "${A", "${}", "${A B}", "${1}"] {
            assert!(variables.fill(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_variable_is_text_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("seabed-expand-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("env"), "INJECT=x\"\\nkey = 1 # '''\n").unwrap();
        let text = "env_file = \"env\"\nhost = '''${INJECT}'''\ntz = \"${NOT_THERE_2:-UTC}\" # ${NOT_THERE_3}\nwrong = 1\n";
        let expanded = expand(&File { path: &dir.join("seabed.toml"), text }).unwrap();
        let table: toml::Table = expanded.text.parse().unwrap();
        assert_eq!(table["host"].as_str(), Some("x\"\\nkey = 1 # '''"));
        assert_eq!(table.len(), 4);
        let at = expanded.text.find("wrong").unwrap();
        assert_eq!(expanded.place(at), (4, 1));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
