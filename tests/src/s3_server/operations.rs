//! The operations on objects, as AWS carries them out, and the faults that only the operation itself can have.
//! It must never touch a connection.

use super::State;
use super::behaviour::{Conditional, Etags, Versioning};
use super::fault::{Fault, Stored};
use super::objects::{Kind, NULL, Version};
use super::payload::{Payload, is_checksum};
use super::reply::Reply;
use super::request::{Call, Operation};
use super::{bucket, clock, list, multipart, xml};
use hyper::body::Bytes;
use jiff::SignedDuration;

const CLASSES: &[&str] = &[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "SNOW",
    "EXPRESS_ONEZONE",
];

/// What a key has at most, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// One request that may do what it asks for.
pub(super) struct Job<'a> {
    pub call: &'a Call,
    /// Its number.
    pub request: u64,
    pub fault: Option<&'a Fault>,
}

/// Carries out what is asked for.
pub(super) fn run(state: &mut State, job: &Job<'_>, payload: Payload) -> Reply {
    let call = job.call;
    if !matches!(call.operation, Operation::CreateBucket | Operation::Other) && !state.objects.has_bucket(&call.bucket) {
        return Reply::error(404, "NoSuchBucket", "The specified bucket does not exist");
    }
    match call.operation {
        Operation::PutObject => put(state, job, payload),
        Operation::GetObject | Operation::HeadObject => get(state, job),
        Operation::DeleteObject => delete(state, call),
        Operation::DeleteObjects => delete_many(state, job, &payload),
        Operation::CreateMultipartUpload | Operation::UploadPart | Operation::CompleteMultipartUpload | Operation::AbortMultipartUpload => {
            multipart::run(state, job, payload)
        }
        Operation::RestoreObject => restore(state, job),
        Operation::ListObjectsV2 => list::list(state, job),
        Operation::ListObjectVersions => list::versions(state, call),
        _ => bucket::run(state, call),
    }
}

fn no_such_key(key: &str) -> Reply {
    let more = format!("<Key>{}</Key>", xml::escape(key));
    Reply::error_with(404, "NoSuchKey", "The specified key does not exist.", &more)
}

/// The ETag of a version as it is sent now.
pub(super) fn etag(state: &State, fault: Option<&Fault>, version: &Version) -> Option<String> {
    let etags = if let Some(Fault::Etag(etags)) = fault { *etags } else { state.behaviour.etags };
    match etags {
        Etags::Md5 => Some(format!("\"{}\"", version.md5)),
        // As those of multipart uploads: a digest of something else, and a count.
        Etags::Opaque => Some(format!("\"{}-2\"", version.md5.chars().rev().collect::<String>())),
        Etags::Absent => None,
    }
}

fn put(state: &mut State, job: &Job<'_>, payload: Payload) -> Reply {
    let call = job.call;
    if call.key.len() > KEY_BYTES_MAX {
        return Reply::error(400, "KeyTooLongError", "Your key is too long");
    }
    if call.header("content-length").is_none() && call.header("x-amz-decoded-content-length").is_none() {
        return Reply::error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
    }
    let class = call.header("x-amz-storage-class").unwrap_or("STANDARD").to_owned();
    if !CLASSES.contains(&class.as_str()) || state.behaviour.classes_refused.contains(&class) {
        return Reply::error(400, "InvalidStorageClass", "The storage class you specified is not valid");
    }
    if let Some(refused) = precondition(state, job) {
        return refused;
    }
    let mut version = Version::object(payload.bytes, clock::now(&state.behaviour));
    version.class = class;
    let echoed = |name: &str| name.starts_with("x-amz-server-side-encryption") || is_checksum(name);
    let locks = |name: &str| name.starts_with("x-amz-object-lock-");
    let of_object = |name: &str| (is_kept(name) || echoed(name) || locks(name)) && !is_checksum(name);
    version.headers = call.headers.iter().filter(|(name, _)| of_object(name)).cloned().chain(payload.checksums).collect();
    if state.behaviour.versioning == Versioning::Enabled {
        version.id = state.objects.next_version();
    }
    if let Some(Fault::BadDigest(stored)) = job.fault {
        match stored {
            Stored::Nothing => {}
            Stored::AsSent => state.objects.put(&call.bucket, &call.key, version),
            Stored::Damaged => {
                version = Version { headers: version.headers, ..Version::object(flip(&version.bytes, 0), version.modified) };
                state.objects.put(&call.bucket, &call.key, version);
            }
        }
        return Reply::error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
    let mut reply = Reply::empty(200);
    if let Some(etag) = etag(state, job.fault, &version) {
        reply = reply.header("etag", &etag);
    }
    reply.headers.extend(version.headers.iter().filter(|(name, _)| echoed(name)).cloned());
    if version.id != NULL {
        reply = reply.header("x-amz-version-id", &version.id);
    }
    if let Some(Fault::LatePut(requests)) = job.fault {
        version.visible_from = job.request + requests + 1;
    }
    if job.fault != Some(&Fault::LostPut) {
        state.objects.put(&call.bucket, &call.key, version);
    }
    reply
}

/// Whether a header of a PUT comes back with the object.
pub(super) fn is_kept(name: &str) -> bool {
    let kept = ["content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"];
    kept.contains(&name) || name == "x-amz-website-redirect-location" || name.starts_with("x-amz-meta-")
}

/// `If-None-Match: *` and `If-Match` on a PUT.
fn precondition(state: &State, job: &Job<'_>) -> Option<Reply> {
    let call = job.call;
    let existing = state.objects.object(&call.bucket, &call.key, job.request);
    let failed = || Reply::error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
    if let Some(given) = call.header("if-match") {
        return match existing {
            None => Some(no_such_key(&call.key)),
            Some(version) => (etag(state, None, version).as_deref() != Some(given)).then(failed),
        };
    }
    let given = call.header("if-none-match")?;
    match state.behaviour.conditional_put {
        Conditional::Ignored => None,
        Conditional::NotImplemented => {
            Some(Reply::error(501, "NotImplemented", "A header you provided implies functionality that is not implemented"))
        }
        _ if given != "*" => Some(Reply::error(501, "NotImplemented", "If-None-Match takes only an asterisk")),
        _ if existing.is_none() => None,
        Conditional::Honoured => Some(failed()),
        Conditional::Conflict => {
            let message = "The conditional request cannot succeed due to a conflicting operation against this resource.";
            Some(Reply::error(409, "ConditionalRequestConflict", message))
        }
        Conditional::NotModified => Some(Reply::empty(304)),
    }
}

fn get(state: &State, job: &Job<'_>) -> Reply {
    let (call, fault) = (job.call, job.fault);
    let missing = || match state.behaviour.missing_is_denied {
        true => Reply::error(403, "AccessDenied", "Access Denied"),
        false => no_such_key(&call.key),
    };
    let version = match (call.asked("versionId"), fault) {
        (_, Some(Fault::Stale)) => state.objects.before(&call.bucket, &call.key),
        (_, Some(Fault::OtherObject(key))) => state.objects.object(&call.bucket, key, job.request),
        (Some(id), _) => match state.objects.version(&call.bucket, &call.key, id) {
            None => return Reply::error(404, "NoSuchVersion", "The specified version does not exist."),
            version => version,
        },
        (None, _) => state.objects.newest(&call.bucket, &call.key, job.request),
    };
    let Some(version) = version else { return missing() };
    match version.kind {
        Kind::Object => {}
        Kind::Marker if call.asked("versionId").is_some() => {
            let message = "The specified method is not allowed against this resource.";
            return Reply::error(405, "MethodNotAllowed", message).header("x-amz-delete-marker", "true");
        }
        Kind::Marker => return missing().header("x-amz-delete-marker", "true").header("x-amz-version-id", &version.id),
        Kind::Gone => return missing(),
    }
    let etag = etag(state, fault, version);
    if call.header("if-match").is_some_and(|given| given != "*" && Some(given) != etag.as_deref()) {
        return Reply::error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
    }
    if call.header("if-none-match").is_some_and(|given| given == "*" || Some(given) == etag.as_deref()) {
        return Reply::empty(304);
    }
    let cold = state.behaviour.classes_cold.contains(&version.class);
    if cold && call.operation == Operation::GetObject && version.thawed_from.is_none_or(|from| job.request < from) {
        let more = format!("<StorageClass>{}</StorageClass>", xml::escape(&version.class));
        let message = "The operation is not valid for the object's storage class";
        return Reply::error_with(403, "InvalidObjectState", message, &more);
    }
    let reply = ranged(call, fault, &version.bytes);
    if reply.status >= 300 {
        return reply;
    }
    with_headers(job, reply, version, etag)
}

fn with_headers(job: &Job<'_>, mut reply: Reply, version: &Version, etag: Option<String>) -> Reply {
    reply = reply.header("last-modified", &clock::http(version.modified)).header("accept-ranges", "bytes");
    if let Some(etag) = etag {
        reply = reply.header("etag", &etag);
    }
    if version.class != "STANDARD" {
        reply = reply.header("x-amz-storage-class", &version.class);
    }
    if version.id != NULL {
        reply = reply.header("x-amz-version-id", &version.id);
    }
    if let Some(from) = version.thawed_from {
        let until = clock::http(version.modified + SignedDuration::from_hours(24));
        let done = format!("ongoing-request=\"false\", expiry-date=\"{until}\"");
        reply = reply.header("x-amz-restore", if job.request < from { "ongoing-request=\"true\"" } else { &done });
    }
    // Digests of the whole object, so not with a part of it.
    let digests = reply.status == 200 && job.call.header("x-amz-checksum-mode") == Some("ENABLED");
    let kept = version.headers.iter().filter(|(name, _)| digests || !is_checksum(name));
    reply.headers.extend(kept.cloned());
    if !reply.headers.iter().any(|(name, _)| name == "content-type") {
        reply = reply.header("content-type", "binary/octet-stream");
    }
    reply
}

/// All of it or the range that is asked for.
fn ranged(call: &Call, fault: Option<&Fault>, bytes: &Bytes) -> Reply {
    let len = bytes.len() as u64;
    let asked = call.header("range").filter(|_| fault != Some(&Fault::IgnoreRange)).and_then(|text| parse_range(text, len));
    let mut reply = match asked {
        None => Reply { body: bytes.clone(), ..Reply::empty(200) },
        Some(None) => {
            let more = format!("<ActualObjectSize>{len}</ActualObjectSize>");
            let refused = Reply::error_with(416, "InvalidRange", "The requested range is not satisfiable", &more);
            return refused.header("content-range", &format!("bytes */{len}"));
        }
        Some(Some((from, to))) => {
            let (mut said, mut sent) = ((from, to), (from, to));
            let moved = |by: i64| (from.saturating_add_signed(by), to.saturating_add_signed(by));
            match fault {
                Some(Fault::ContentRange(by)) => said = moved(*by),
                Some(Fault::ShiftedRange(by)) => sent = moved(*by),
                _ => {}
            }
            let body = bytes.slice(sent.0.min(len) as usize..(sent.1 + 1).min(len) as usize);
            Reply { body, ..Reply::empty(206) }.header("content-range", &format!("bytes {}-{}/{len}", said.0, said.1))
        }
    };
    if let Some(Fault::FlipBit(bit)) = fault {
        reply.body = flip(&reply.body, *bit);
    }
    reply
}

/// First and last byte; `Some(None)` when it cannot be satisfied, `None` for what is no range and is passed over.
#[allow(clippy::option_option, reason = "no range, a bad one and a good one are three things")]
fn parse_range(text: &str, len: u64) -> Option<Option<(u64, u64)>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    if from.is_empty() {
        let suffix: u64 = to.parse().ok()?;
        return Some((suffix > 0 && len > 0).then(|| (len.saturating_sub(suffix), len - 1)));
    }
    let from: u64 = from.parse().ok()?;
    let to: u64 = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    if to < from {
        return None;
    }
    Some((from < len).then(|| (from, to.min(len - 1))))
}

/// The bytes with one bit changed.
pub(super) fn flip(bytes: &[u8], bit: u64) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let bit = bit % (bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
    Bytes::from(bytes)
}

fn delete(state: &mut State, call: &Call) -> Reply {
    match remove(state, call, &call.key, call.asked("versionId")) {
        Err((code, message)) => Reply::error(403, code, message),
        Ok((marker, id)) => {
            let mut reply = Reply::empty(204);
            if marker {
                reply = reply.header("x-amz-delete-marker", "true");
            }
            if id != NULL {
                reply = reply.header("x-amz-version-id", &id);
            }
            reply
        }
    }
}

/// Whether a marker was made or removed, and the id of the version it concerns; or the error's code and message.
fn remove(state: &mut State, call: &Call, key: &str, id: Option<&str>) -> Result<(bool, String), (&'static str, &'static str)> {
    if state.behaviour.locked.iter().any(|part| key.contains(part.as_str())) {
        return Err(("AccessDenied", "Access Denied because object protected by object lock."));
    }
    if let Some(id) = id {
        let erased = state.objects.erase(&call.bucket, key, id);
        return Ok((erased.is_some_and(|version| version.kind == Kind::Marker), id.to_owned()));
    }
    let now = clock::now(&state.behaviour);
    let mut marker = Version::absent(Kind::Marker, now);
    match state.behaviour.versioning {
        Versioning::Off => {
            if state.objects.newest(&call.bucket, key, u64::MAX).is_some() {
                state.objects.put(&call.bucket, key, Version::absent(Kind::Gone, now));
            }
            return Ok((false, NULL.to_owned()));
        }
        Versioning::Enabled => marker.id = state.objects.next_version(),
        Versioning::Suspended => {}
    }
    let id = marker.id.clone();
    state.objects.put(&call.bucket, key, marker);
    Ok((true, id))
}

fn delete_many(state: &mut State, job: &Job<'_>, payload: &Payload) -> Reply {
    let call = job.call;
    if call.header("content-md5").is_none() && payload.checksums.is_empty() {
        return Reply::error(400, "InvalidRequest", "Missing required header for this request: Content-MD5");
    }
    let document = String::from_utf8_lossy(&payload.bytes);
    let keys = xml::texts(&document, "Key");
    if keys.is_empty() || keys.len() > 1000 {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        return Reply::error(400, "MalformedXML", message);
    }
    let quiet = xml::text(&document, "Quiet").as_deref() == Some("true");
    let mut out = format!("<DeleteResult xmlns=\"{}\">", xml::NAMESPACE);
    for key in keys {
        let escaped = xml::escape(&key);
        let removed = match job.fault {
            Some(Fault::DeleteErrors { key: part, code }) if key.contains(part.as_str()) => Err((code.as_str(), "Injected.")),
            _ => remove(state, call, &key, None),
        };
        match removed {
            Err((code, message)) => {
                out += &format!("<Error><Key>{escaped}</Key><Code>{code}</Code><Message>{message}</Message></Error>");
            }
            Ok((marker, id)) if !quiet => {
                let more = format!("<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{id}</DeleteMarkerVersionId>");
                out += &format!("<Deleted><Key>{escaped}</Key>{}</Deleted>", if marker { &more } else { "" });
            }
            Ok(_) => {}
        }
    }
    Reply::xml(&(out + "</DeleteResult>"))
}

fn restore(state: &mut State, job: &Job<'_>) -> Reply {
    let (cold, requests) = (state.behaviour.classes_cold.clone(), state.behaviour.thaw_requests);
    let Some(version) = state.objects.object_mut(&job.call.bucket, &job.call.key) else { return no_such_key(&job.call.key) };
    if !cold.contains(&version.class) {
        return Reply::error(403, "InvalidObjectState", "Restore is not allowed for the object's current storage class");
    }
    match version.thawed_from {
        None => {
            version.thawed_from = Some(job.request + requests + 1);
            Reply::empty(202)
        }
        Some(from) if job.request < from => Reply::error(409, "RestoreAlreadyInProgress", "Object restore is already in progress"),
        Some(_) => Reply::empty(200),
    }
}
