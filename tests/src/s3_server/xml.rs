//! As much XML as S3 needs: escaping, and finding the text of an element in a small document.
//! It must never be used for what the engine reads: it is the other side.

/// What every document begins with.
pub(super) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The namespace of answers.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Text as it stands in an element. Control characters that XML 1.0 cannot hold become references all the same, as AWS has it:
/// whoever lists such keys must ask for url-encoding.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_ascii_control() => out.push_str(&format!("&#x{:X};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').unwrap_or((after, ""));
        let number = name.strip_prefix("#x").map(|hex| u32::from_str_radix(hex, 16)).or_else(|| name.strip_prefix('#').map(str::parse));
        match (name, number) {
            ("amp", _) => out.push('&'),
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            (_, Some(Ok(number))) => out.push(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
        rest = after;
    }
    out + rest
}

/// The texts of all elements of this name, in order. Elements of one name must not lie in each other.
pub fn texts(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let found = document.split(open.as_str()).skip(1).filter_map(|rest| rest.split_once(close.as_str()));
    found.map(|(text, _)| unescape(text)).collect()
}

/// The text of the first element of this name.
pub fn text(document: &str, name: &str) -> Option<String> {
    texts(document, name).into_iter().next()
}
