//! Objects that come in parts: nobody sees them before all are there and named in order, with an ETag that is no MD5 of the whole.
//! It must never make an object of parts that were not named, or not as they are.

use super::objects::Version;
use super::operations::{Job, is_kept};
use super::payload::Payload;
use super::reply::Reply;
use super::request::Operation;
use super::{State, clock, xml};
use hyper::body::Bytes;
use sha2::Digest;
use std::collections::BTreeMap;

/// Parts but the last have at least so many bytes.
const PART_BYTES_MIN: usize = 5 << 20;

/// One that has begun.
#[derive(Default)]
pub(super) struct Upload {
    bucket: String,
    key: String,
    headers: Vec<(String, String)>,
    parts: BTreeMap<u32, Bytes>,
}

/// Those under way, by their ids.
pub(super) type Uploads = BTreeMap<String, Upload>;

fn md5(bytes: &[u8]) -> Vec<u8> {
    md5::Md5::digest(bytes).to_vec()
}

/// Carries out what is asked for.
pub(super) fn run(state: &mut State, job: &Job<'_>, payload: Payload) -> Reply {
    let call = job.call;
    if call.operation == Operation::CreateMultipartUpload {
        let id = format!("upload-{}", job.request);
        let headers = call.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        let upload = Upload { bucket: call.bucket.clone(), key: call.key.clone(), headers, parts: BTreeMap::new() };
        state.uploads.insert(id.clone(), upload);
        let (bucket, key) = (xml::escape(&call.bucket), xml::escape(&call.key));
        return Reply::xml(&format!(
            "<InitiateMultipartUploadResult xmlns=\"{}\"><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>",
            xml::NAMESPACE
        ));
    }
    let id = call.asked("uploadId").unwrap_or("").to_owned();
    let missing = || Reply::error(404, "NoSuchUpload", "The specified upload does not exist.");
    let Some(upload) = state.uploads.get_mut(&id).filter(|upload| (&upload.bucket, &upload.key) == (&call.bucket, &call.key)) else {
        return missing();
    };
    match call.operation {
        Operation::UploadPart => {
            let Some(number) = call.asked("partNumber").and_then(|n| n.parse().ok()).filter(|n| (1..=10_000).contains(n)) else {
                return Reply::error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive");
            };
            let etag = format!("\"{}\"", super::sigv4::hex(&md5(&payload.bytes)));
            upload.parts.insert(number, payload.bytes);
            Reply::empty(200).header("etag", &etag)
        }
        Operation::AbortMultipartUpload => {
            state.uploads.remove(&id);
            Reply::empty(204)
        }
        _ => complete(state, job, &id, &payload),
    }
}

fn complete(state: &mut State, job: &Job<'_>, id: &str, payload: &Payload) -> Reply {
    let call = job.call;
    let document = String::from_utf8_lossy(&payload.bytes);
    let numbers: Vec<u32> = xml::texts(&document, "PartNumber").iter().filter_map(|n| n.parse().ok()).collect();
    let etags = xml::texts(&document, "ETag");
    let upload = &state.uploads[id];
    let invalid = || Reply::error(400, "InvalidPart", "One or more of the specified parts could not be found.");
    if numbers.is_empty() || numbers.len() != etags.len() || !numbers.is_sorted_by(|a, b| a < b) {
        return Reply::error(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    }
    let (mut bytes, mut digests) = (Vec::new(), Vec::new());
    for (at, (number, etag)) in numbers.iter().zip(&etags).enumerate() {
        let Some(part) = upload.parts.get(number) else { return invalid() };
        let digest = md5(part);
        if etag.trim_matches('"') != super::sigv4::hex(&digest) {
            return invalid();
        }
        if at + 1 < numbers.len() && part.len() < PART_BYTES_MIN {
            return Reply::error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
        }
        bytes.extend_from_slice(part);
        digests.extend(digest);
    }
    let mut version = Version::object(Bytes::from(bytes), clock::now(&state.behaviour));
    version.headers = upload.headers.clone();
    version.md5 = format!("{}-{}", super::sigv4::hex(&md5(&digests)), numbers.len());
    let etag = format!("&quot;{}&quot;", version.md5);
    state.uploads.remove(id);
    state.objects.put(&call.bucket, &call.key, version);
    let (bucket, key) = (xml::escape(&call.bucket), xml::escape(&call.key));
    Reply::xml(&format!(
        "<CompleteMultipartUploadResult xmlns=\"{}\"><Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag}</ETag></CompleteMultipartUploadResult>",
        xml::NAMESPACE
    ))
}
