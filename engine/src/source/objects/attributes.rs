//! What an object was put with, and the extended attributes that keep it. Both ways, and nothing is made up on either.
//! It must never take an attribute for a header that no store would take as one.

use crate::format::entry::Xattr;
use crate::format::wire::Bytes;
use crate::limits::{NAME_BYTES_MAX, XATTR_BYTES_MAX};
use std::collections::BTreeMap;

/// Content type and the like by the names of their headers, and metadata of the user as `meta.NAME`.
pub type Headers = BTreeMap<String, String>;

/// The attribute that holds an ETag.
pub const ETAG: &[u8] = b"user.s3.etag";
/// The attribute that holds the content type: that of the desktops, which know it.
const CONTENT_TYPE: &[u8] = b"user.mime_type";
/// What the names of all others begin with.
const OTHERS: &[u8] = b"user.s3.";
/// What the name of metadata of the user begins with behind that.
pub const META: &str = "meta.";

/// The headers that are kept, besides metadata.
pub const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "website-redirect-location",
];

/// What an entry keeps of an object, ascending by name, and what could not be kept.
pub fn to_xattrs(etag: &str, headers: &Headers) -> (Vec<Xattr>, Vec<String>) {
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    let mut keep = |name: Vec<u8>, value: &str| {
        let fits = name.len() <= NAME_BYTES_MAX && !name.contains(&0) && value.len() <= XATTR_BYTES_MAX;
        match fits {
            true => kept.push(Xattr { name: Bytes(name), value: Bytes(value.as_bytes().to_vec()), extra: Vec::new() }),
            false => lost.push(String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into_owned()),
        }
    };
    if !etag.is_empty() {
        keep(ETAG.to_vec(), etag);
    }
    for (name, value) in headers {
        let name = if name == "content-type" { CONTENT_TYPE.to_vec() } else { [OTHERS, name.as_bytes()].concat() };
        keep(name, value);
    }
    kept.sort_by(|a, b| a.name.0.cmp(&b.name.0));
    (kept, lost)
}

/// The ETag that an entry keeps; empty where it keeps none.
pub fn etag_of(xattrs: &[Xattr]) -> &[u8] {
    xattrs.iter().find(|xattr| xattr.name.0 == ETAG).map_or(&[], |xattr| &xattr.value.0)
}

/// The headers that an entry keeps. Attributes that are none are passed over: an entry may be a file's.
pub fn to_headers(xattrs: &[Xattr]) -> Headers {
    let mut headers = Headers::new();
    for Xattr { name, value, .. } in xattrs {
        let own = if name.0 == CONTENT_TYPE { Some(&b"content-type"[..]) } else { name.0.strip_prefix(OTHERS) };
        let (Some(Ok(own)), Ok(value)) = (own.map(std::str::from_utf8), std::str::from_utf8(&value.0)) else { continue };
        let known = KEPT.contains(&own) && (own != "content-type" || name.0 == CONTENT_TYPE);
        let token = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&c));
        let meta = own.strip_prefix(META).is_some_and(token);
        if (known || meta) && value.bytes().all(|c| c == b'\t' || !c.is_ascii_control()) {
            headers.insert(own.to_owned(), value.to_owned());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let mut headers: Headers = KEPT.iter().map(|name| ((*name).to_owned(), format!("of {name}"))).collect();
        headers.insert("meta.mtime".to_owned(), "1234.5".to_owned());
        headers.insert("meta.emp ty".to_owned(), String::new());
        let (xattrs, lost) = to_xattrs("abc-2", &headers);
        assert!(lost.is_empty() && xattrs.is_sorted_by(|a, b| a.name.0 < b.name.0));
        assert_eq!(etag_of(&xattrs), b"abc-2");
        headers.remove("meta.emp ty");
        assert_eq!(to_headers(&xattrs), headers, "what is no header is passed over");
        assert!(xattrs.iter().any(|xattr| xattr.name.0 == b"user.mime_type"));
    }

    #[test]
    fn what_is_no_header_is_none() {
        let xattr = |name: &str, value: &[u8]| Xattr { name: Bytes(name.into()), value: Bytes(value.to_vec()), extra: Vec::new() };
        let xattrs = [
            xattr("user.s3.etag", b"x"),
            xattr("user.s3.content-type", b"twice"),
            xattr("user.s3.host", b"example.org"),
            xattr("user.s3.meta.a", b"x\r\nhost: y"),
            xattr("user.s3.meta.b", b"\xff"),
            xattr("user.s3.meta.", b"x"),
            xattr("security.capability", b"x"),
            xattr("user.s3.meta.c", "ü".as_bytes()),
        ];
        assert_eq!(to_headers(&xattrs), Headers::from([("meta.c".to_owned(), "ü".to_owned())]));
    }

    #[test]
    fn what_no_attribute_can_hold_is_named() {
        let headers = Headers::from([(format!("meta.{}", "x".repeat(300)), "y".to_owned()), ("meta.z".to_owned(), "v".repeat(70_000))]);
        let (kept, lost) = to_xattrs("", &headers);
        assert!(kept.is_empty() && lost.len() == 2 && lost[0].len() == NAME_BYTES_MAX);
    }
}
