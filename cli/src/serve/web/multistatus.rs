//! Answers to PROPFIND (RFC 4918, 14.16): what is known of each name. It must never put a name into a document that would not be one any more.

use crate::serve::web::asked::{Asked, DAV, Property};
use crate::serve::web::body::Text;
use crate::time;
use seabed_engine::format::entry::EntryKind;
use seabed_engine::view::node::{Attributes, Node};
use std::io::Result;

/// The properties that there are.
const KNOWN: [&str; 9] = [
    "resourcetype",
    "displayname",
    "getcontentlength",
    "getcontenttype",
    "getlastmodified",
    "creationdate",
    "getetag",
    "supportedlock",
    "lockdiscovery",
];

/// Something that is told of.
pub struct Item<'i> {
    /// Its address.
    pub address: String,
    /// Its name.
    pub name: &'i [u8],
    /// What it is.
    pub node: &'i Node,
    /// What is known of it.
    pub attributes: &'i Attributes,
}

/// The tag of a file: with another content it has another one.
pub fn tag(node: &Node, attributes: &Attributes) -> String {
    format!("\"{:016x}-{:x}\"", node.number(), attributes.size)
}

/// Text as it may stand in a document: what XML and HTML take for signs is written out, and what XML forbids is replaced.
pub fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            // They would turn the text around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The kind of content that a name promises. What a browser would run is only text; what it does not know it saves.
pub fn content_type(name: &[u8]) -> &'static str {
    let end = name.rsplit(|b| *b == b'.').next().unwrap_or_default().to_ascii_lowercase();
    match &end[..] {
        _ if !name.contains(&b'.') => "application/octet-stream",
        b"txt" | b"md" | b"log" | b"conf" | b"cfg" | b"ini" | b"toml" | b"yaml" | b"yml" | b"json" | b"csv" | b"sql" | b"sh" | b"py"
        | b"rs" | b"c" | b"h" | b"html" | b"htm" | b"xml" | b"js" | b"css" | b"php" => "text/plain; charset=utf-8",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"pdf" => "application/pdf",
        b"mp4" => "video/mp4",
        b"mp3" => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

/// The value of a property, as it stands in a document; `None` where it has none.
fn value(item: &Item<'_>, name: &str) -> Option<String> {
    let is_file = item.attributes.kind == EntryKind::File;
    Some(match name {
        "resourcetype" => if is_file { "" } else { "<D:collection/>" }.to_owned(),
        "displayname" => escape(item.name),
        "getcontentlength" if is_file => item.attributes.size.to_string(),
        "getcontenttype" if is_file => content_type(item.name).to_owned(),
        "getlastmodified" => time::http(&item.attributes.mtime),
        "creationdate" => time::utc(&item.attributes.btime.unwrap_or(item.attributes.mtime)),
        "getetag" if is_file => escape(tag(item.node, item.attributes).as_bytes()),
        "supportedlock" | "lockdiscovery" => String::new(),
        _ => return None,
    })
}

fn with_value(name: &str, value: &str) -> String {
    format!("<D:{name}>{value}</D:{name}>")
}

/// The beginning.
pub fn begin(text: &mut Text<'_>) -> Result<()> {
    text.push("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">")
}

/// The end.
pub fn end(text: &mut Text<'_>) -> Result<()> {
    text.push("\n</D:multistatus>\n")
}

/// What is asked of one item.
pub fn push(text: &mut Text<'_>, item: &Item<'_>, asked: &Asked) -> Result<()> {
    let (mut found, mut missing) = (String::new(), String::new());
    let has = || KNOWN.iter().filter_map(move |name| value(item, name).map(|value| (name, value)));
    match asked {
        Asked::All => has().for_each(|(name, value)| found.push_str(&with_value(name, &value))),
        Asked::Names => has().for_each(|(name, _)| found.push_str(&format!("<D:{name}/>"))),
        Asked::These(these) => {
            for Property { space, name } in these {
                if let Some(value) = value(item, name).filter(|_| space == DAV) {
                    found.push_str(&with_value(name, &value));
                } else {
                    let space = escape(space.as_bytes());
                    // A prefix for no name space at all is no XML.
                    let element =
                        if space.is_empty() { format!("<{name} xmlns=\"\"/>") } else { format!("<x:{name} xmlns:x=\"{space}\"/>") };
                    missing.push_str(&element);
                }
            }
        }
    }
    text.push(&format!("\n<D:response><D:href>{}</D:href>", escape(item.address.as_bytes())))?;
    if !found.is_empty() || missing.is_empty() {
        text.push(&format!("<D:propstat><D:prop>{found}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"))?;
    }
    if !missing.is_empty() {
        text.push(&format!("<D:propstat><D:prop>{missing}</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"))?;
    }
    text.push("</D:response>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_place_in_a_document() {
        assert_eq!(escape(b"<a href='x'>&\"\x01\xff\x1b"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(escape("é\u{202e}x\n".as_bytes()), "é\u{fffd}x\u{fffd}");
    }

    #[test]
    fn what_a_browser_would_run_is_text() {
        assert_eq!(content_type(b"x.HTML"), "text/plain; charset=utf-8");
        for other in [&b"x.svg"[..], b"html", b"x", b"", b".svgz", b"x.swf"] {
            assert_eq!(content_type(other), "application/octet-stream");
        }
    }
}
