//! What a request asks for: operation, bucket, key, query, headers.
//! It must never read a body, and never judge who asks.

use super::reply::Reply;
use hyper::http::request::Parts;

/// The operations by their names in the S3 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the API")]
pub enum Operation {
    PutObject,
    GetObject,
    HeadObject,
    DeleteObject,
    DeleteObjects,
    RestoreObject,
    ListObjectsV2,
    ListObjectVersions,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    CreateBucket,
    HeadBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketLifecycleConfiguration,
    GetObjectLockConfiguration,
    /// One that the server does not have; it answers 501.
    Other,
}

impl Operation {
    fn of(method: &str, key: &str, query: &[(String, String)]) -> Operation {
        let asks = |name: &str| query.iter().any(|(n, _)| n == name);
        // A multipart upload looks like the plain operations but for its query.
        if asks("uploads") || asks("uploadId") {
            return match (method, asks("uploadId")) {
                ("POST", false) => Operation::CreateMultipartUpload,
                ("PUT", true) => Operation::UploadPart,
                ("POST", true) => Operation::CompleteMultipartUpload,
                ("DELETE", true) => Operation::AbortMultipartUpload,
                _ => Operation::Other,
            };
        }
        match (method, key.is_empty()) {
            ("PUT", false) => Operation::PutObject,
            ("GET", false) => Operation::GetObject,
            ("HEAD", false) => Operation::HeadObject,
            ("DELETE", false) => Operation::DeleteObject,
            ("POST", false) if asks("restore") => Operation::RestoreObject,
            ("POST", true) if asks("delete") => Operation::DeleteObjects,
            ("HEAD", true) => Operation::HeadBucket,
            ("PUT", true) if query.is_empty() => Operation::CreateBucket,
            ("GET", true) if asks("location") => Operation::GetBucketLocation,
            ("GET", true) if asks("versioning") => Operation::GetBucketVersioning,
            ("GET", true) if asks("lifecycle") => Operation::GetBucketLifecycleConfiguration,
            ("GET", true) if asks("object-lock") => Operation::GetObjectLockConfiguration,
            ("GET", true) if asks("versions") => Operation::ListObjectVersions,
            ("GET", true) if query.iter().any(|(n, v)| n == "list-type" && v == "2") => Operation::ListObjectsV2,
            _ => Operation::Other,
        }
    }
}

/// A request without its body.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub method: String,
    pub operation: Operation,
    /// The whole path, decoded.
    pub path: String,
    pub bucket: String,
    /// The object's key; the prefix of a listing; empty for what concerns a bucket.
    pub key: String,
    /// Decoded, in the order of the request.
    pub query: Vec<(String, String)>,
    /// Names in lower case, in the order of the request.
    pub headers: Vec<(String, String)>,
}

impl Call {
    pub(super) fn parse(parts: &Parts) -> Result<Call, Reply> {
        let invalid = || Reply::error(400, "InvalidURI", "Couldn't parse the specified URI.");
        let path = percent_decode(parts.uri.path(), false).ok_or_else(invalid)?;
        let mut query = Vec::new();
        for pair in parts.uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            query.push((percent_decode(name, true).ok_or_else(invalid)?, percent_decode(value, true).ok_or_else(invalid)?));
        }
        let headers = parts.headers.iter().map(|(n, v)| (n.as_str().to_owned(), String::from_utf8_lossy(v.as_bytes()).into_owned()));
        let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
        let operation = Operation::of(parts.method.as_str(), key, &query);
        let mut call = Call {
            method: parts.method.as_str().to_owned(),
            operation,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            path,
            query,
            headers: headers.collect(),
        };
        if matches!(operation, Operation::ListObjectsV2 | Operation::ListObjectVersions) {
            call.key = call.asked("prefix").unwrap_or("").to_owned();
        }
        Ok(call)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' if plus_is_space => b' ',
            _ => byte,
        });
    }
    String::from_utf8(out).ok()
}
