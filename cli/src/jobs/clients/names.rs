//! Names of databases as names of streams. A database may be called anything; a stream is a path.
//! The encoding is that of URLs and can be undone: `/`, `%`, control characters and a dot at the beginning become `%` and two digits.

use std::fmt::Write as _;

/// The stream of a database, without what it ends with.
pub fn encoded(database: &str) -> String {
    let mut out = String::with_capacity(database.len());
    for (at, c) in database.char_indices() {
        if c == '/' || c == '%' || c.is_ascii_control() || (at == 0 && c == '.') {
            write!(out, "%{:02X}", u32::from(c)).unwrap_or(());
        } else {
            out.push(c);
        }
    }
    // What a source writes beside its databases has these names.
    match out.as_str() {
        "globals" | "databases" => format!("%{:02X}{}", out.as_bytes()[0], &out[1..]),
        _ => out,
    }
}

/// The database of a stream; `None` for what [`encoded`] did not make.
pub fn decoded(name: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_stream_and_comes_back() {
        for name in ["shop", "a/b", "..", ".", "%2F", "-x", "a b'\"`\\", "\n\u{7f}", "größe", "globals", "databases", "x.sql"] {
            let stream = encoded(name);
            assert!(!stream.contains('/') && !stream.starts_with('.') && stream != "globals" && stream != "databases", "{stream}");
            assert_eq!(decoded(stream.as_bytes()).as_deref(), Some(name));
        }
        assert_eq!(encoded("globals"), "%67lobals");
        assert_eq!(decoded(b"%zz"), None);
        assert_eq!(decoded(b"%4"), None);
    }
}
