//! A directory as a page for people. It must never be a page on which a name could run anything.

use crate::serve::web::body::Text;
use crate::serve::web::multistatus::escape;
use crate::serve::web::paths::encode;
use crate::{size, time};
use seabed_engine::format::entry::EntryKind;
use seabed_engine::view::Listed;
use std::io::Result;

const STYLE: &str = "body{font-family:sans-serif;margin:1.5em}table{border-collapse:collapse}td{padding:.1em 1.5em .1em 0}\
td.n{text-align:right;white-space:nowrap}td.t{white-space:nowrap;color:#555}";

/// What a page may load and run: nothing but its own style.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// The beginning, with the way up.
pub fn begin(text: &mut Text<'_>, names: &[Vec<u8>]) -> Result<()> {
    let path = escape(&[b"/", &names.join(&b'/')[..]].concat());
    text.push(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{path}</title><style>{STYLE}</style></head>\n\
         <body><h1>{path}</h1>\n<table>\n"
    ))?;
    if names.is_empty() { Ok(()) } else { text.push("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n") }
}

/// One name.
pub fn push(text: &mut Text<'_>, listed: &Listed) -> Result<()> {
    let kind = listed.attributes.kind;
    let (slash, size) = match kind {
        EntryKind::Directory => ("/", String::new()),
        EntryKind::File => ("", size::human(listed.attributes.size)),
        other => ("", other.word().to_owned()),
    };
    let shown = format!("{}{slash}", escape(&listed.name));
    let name = match kind {
        // By itself a name with a colon would be taken for the beginning of another kind of address.
        EntryKind::Directory | EntryKind::File | EntryKind::Symlink => {
            format!("<a href=\"./{}{slash}\">{shown}</a>", encode(&listed.name))
        }
        _ => shown,
    };
    let time = escape(time::local(&listed.attributes.mtime).as_bytes());
    text.push(&format!("<tr><td>{name}</td><td class=\"n\">{size}</td><td class=\"t\">{time}</td></tr>\n"))
}

/// The end; it says where some names are missing.
pub fn end(text: &mut Text<'_>, is_torn: bool) -> Result<()> {
    let torn = if is_torn { "<p><strong>Some names could not be read.</strong></p>\n" } else { "" };
    text.push(&format!("</table>\n{torn}</body></html>\n"))
}
