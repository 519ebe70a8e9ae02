//! Listings: ListObjectsV2 with all its parameters and lies, and the list of versions.
//! It must never be sorted by anything but the bytes of the keys.

use super::State;
use super::fault::{Fault, ListFault};
use super::objects::{Kind, Version};
use super::operations::{Job, etag};
use super::reply::Reply;
use super::request::Call;
use super::{clock, xml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What every token begins with before it is encoded: others are refused.
const TOKEN: &str = "seabed:";

#[derive(Clone)]
enum Item {
    /// A key, and its element without the name.
    Key(String, String),
    /// A common prefix.
    Prefix(String),
}

impl Item {
    fn name(&self) -> &str {
        match self {
            Item::Key(name, _) | Item::Prefix(name) => name,
        }
    }
}

/// A page of ListObjectsV2.
pub(super) fn list(state: &State, job: &Job<'_>) -> Reply {
    let call = job.call;
    let fault = if let Some(Fault::List(fault)) = job.fault { Some(fault) } else { None };
    let invalid = |message: &str| Reply::error(400, "InvalidArgument", message);
    let asked = call.asked("max-keys").map_or(Ok(1000), str::parse::<usize>);
    let Ok(asked) = asked else { return invalid("Provided max-keys not an integer or within integer range") };
    let max = asked.min(1000).min(state.behaviour.page_keys);
    let (prefix, delimiter) = (call.asked("prefix").unwrap_or(""), call.asked("delimiter").unwrap_or(""));
    let mut after = call.asked("start-after").unwrap_or("").to_owned();
    if let Some(token) = call.asked("continuation-token") {
        let Some(marker) = unpack(token) else { return invalid("The continuation token provided is incorrect") };
        let gone = !marker.is_empty() && state.objects.object(&call.bucket, &marker, job.request).is_none();
        let from_top = fault == Some(&ListFault::Restart) || (gone && state.behaviour.restart_when_marker_gone);
        after = if from_top { String::new() } else { marker };
    }
    let began = after.clone();

    let mut items = Vec::new();
    // `max-keys=0` is an empty page that is not truncated.
    let mut truncated = false;
    for item in items_past(state, job, prefix, delimiter, &after, fault) {
        if items.len() == max {
            truncated = max > 0;
            break;
        }
        items.push(item);
    }
    let mut token = items.last().map(|item| pack(item.name())).filter(|_| truncated);
    let mut counted = 0;
    match fault {
        Some(ListFault::NoToken) => (truncated, token) = (true, None),
        Some(ListFault::SameToken) => (truncated, token) = (true, Some(pack(&began))),
        Some(ListFault::EmptyPage) => (items, truncated, token) = (Vec::new(), true, Some(pack(&began))),
        Some(ListFault::NotIncreasing) if items.len() == 1 => items.push(items[0].clone()),
        Some(ListFault::NotIncreasing) => items.reverse(),
        Some(ListFault::KeyCount(by)) => counted = *by,
        Some(ListFault::Short(keys)) => {
            items.truncate(*keys);
            (truncated, token) = (false, None);
        }
        Some(ListFault::Unknown(keys)) => {
            items.extend(keys.iter().map(|key| Item::Key(key.clone(), element(state, job, &strange(state)))));
            items.sort_by(|a, b| a.name().cmp(b.name()));
        }
        _ => {}
    }
    let page = Page { call, asked, items, counted, truncated, token, broken: fault == Some(&ListFault::BadEncoding) };
    page.reply()
}

/// All that follows, common prefixes once each.
fn items_past<'a>(
    state: &'a State,
    job: &'a Job<'_>,
    prefix: &'a str,
    delimiter: &'a str,
    after: &'a str,
    fault: Option<&'a ListFault>,
) -> impl Iterator<Item = Item> + 'a {
    let hidden = move |key: &str| matches!(fault, Some(ListFault::Without(parts)) if parts.iter().any(|part| key.contains(part.as_str())));
    let mut last = after.to_owned();
    let keys = state.objects.past(&job.call.bucket, after, job.request);
    keys.filter(move |(key, _)| key.starts_with(prefix) && !hidden(key)).filter_map(move |(key, version)| {
        let rest = &key[prefix.len()..];
        if let Some(at) = rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            let common = &key[..prefix.len() + at + delimiter.len()];
            if last.starts_with(common) {
                return None;
            }
            last = common.to_owned();
            return Some(Item::Prefix(common.to_owned()));
        }
        Some(Item::Key(key.to_owned(), element(state, job, version)))
    })
}

fn element(state: &State, job: &Job<'_>, version: &Version) -> String {
    let etag = etag(state, job.fault, version).map_or_else(String::new, |etag| format!("<ETag>{}</ETag>", xml::escape(&etag)));
    let (modified, bytes, class) = (clock::iso(version.modified), version.bytes.len(), xml::escape(&version.class));
    format!("<LastModified>{modified}</LastModified>{etag}<Size>{bytes}</Size><StorageClass>{class}</StorageClass>")
}

/// What a key that does not exist looks like.
fn strange(state: &State) -> Version {
    Version::object("?".into(), clock::now(&state.behaviour))
}

fn pack(marker: &str) -> String {
    BASE64.encode(format!("{TOKEN}{marker}"))
}

fn unpack(token: &str) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(token).ok()?).ok()?;
    text.strip_prefix(TOKEN).map(str::to_owned)
}

struct Page<'a> {
    call: &'a Call,
    asked: usize,
    items: Vec<Item>,
    /// What `KeyCount` is off by.
    counted: i64,
    truncated: bool,
    token: Option<String>,
    broken: bool,
}

impl Page<'_> {
    fn reply(&self) -> Reply {
        let encoded = self.broken || self.call.asked("encoding-type") == Some("url");
        let text = |text: &str| if encoded { url_encode(text) } else { xml::escape(text) };
        let mut out = format!("<ListBucketResult xmlns=\"{}\"><Name>{}</Name>", xml::NAMESPACE, xml::escape(&self.call.bucket));
        let plain = |name: &str, value: &str| format!("<{name}>{}</{name}>", xml::escape(value));
        out += &format!("<Prefix>{}</Prefix>", text(&self.call.key));
        if let Some(after) = self.call.asked("start-after") {
            out += &format!("<StartAfter>{}</StartAfter>", text(after));
        }
        if let Some(token) = self.call.asked("continuation-token") {
            out += &plain("ContinuationToken", token);
        }
        if let Some(token) = &self.token {
            out += &plain("NextContinuationToken", token);
        }
        out += &format!("<KeyCount>{}</KeyCount><MaxKeys>{}</MaxKeys>", self.items.len() as i64 + self.counted, self.asked);
        if let Some(delimiter) = self.call.asked("delimiter") {
            out += &format!("<Delimiter>{}</Delimiter>", text(delimiter));
        }
        if encoded {
            out += "<EncodingType>url</EncodingType>";
        }
        out += &format!("<IsTruncated>{}</IsTruncated>", self.truncated);
        for item in &self.items {
            match item {
                Item::Key(name, rest) => {
                    let name = text(name) + if self.broken { "%zz" } else { "" };
                    out += &format!("<Contents><Key>{name}</Key>{rest}</Contents>");
                }
                Item::Prefix(name) => out += &format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", text(name)),
            }
        }
        Reply::xml(&(out + "</ListBucketResult>"))
    }
}

/// As AWS encodes keys in listings: slashes stay, a space becomes a plus.
fn url_encode(text: &str) -> String {
    super::sigv4::uri_encode(text, true).replace("%20", "+")
}

/// A page of ListObjectVersions.
pub(super) fn versions(state: &State, call: &Call) -> Reply {
    let max = call.asked("max-keys").and_then(|max| max.parse().ok()).unwrap_or(1000).min(state.behaviour.page_keys);
    let (key_marker, version_marker) = (call.asked("key-marker").unwrap_or(""), call.asked("version-id-marker"));
    let mut passed = version_marker.is_none();
    let mut rest = state.objects.history(&call.bucket).filter(|(key, version, _)| {
        if !key.starts_with(&call.key) || *key < key_marker {
            return false;
        }
        if *key > key_marker {
            return true;
        }
        let shown = passed && version_marker.is_some();
        passed |= version_marker == Some(version.id.as_str());
        shown
    });
    let page: Vec<_> = rest.by_ref().take(max).collect();
    let truncated = rest.next().is_some();
    let mut out = format!("<ListVersionsResult xmlns=\"{}\"><Name>{}</Name>", xml::NAMESPACE, xml::escape(&call.bucket));
    out += &format!("<Prefix>{}</Prefix><MaxKeys>{max}</MaxKeys><IsTruncated>{truncated}</IsTruncated>", xml::escape(&call.key));
    if let Some((key, version, _)) = page.last().filter(|_| truncated) {
        let (key, id) = (xml::escape(key), &version.id);
        out += &format!("<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{id}</NextVersionIdMarker>");
    }
    for (key, version, newest) in page {
        let name = if version.kind == Kind::Marker { "DeleteMarker" } else { "Version" };
        let (key, modified) = (xml::escape(key), clock::iso(version.modified));
        let head = format!("<Key>{key}</Key><VersionId>{}</VersionId><IsLatest>{newest}</IsLatest>", version.id);
        let size = format!("<Size>{}</Size><StorageClass>{}</StorageClass>", version.bytes.len(), xml::escape(&version.class));
        let size = if version.kind == Kind::Marker { "" } else { &size };
        out += &format!("<{name}>{head}<LastModified>{modified}</LastModified>{size}</{name}>");
    }
    Reply::xml(&(out + "</ListVersionsResult>"))
}
