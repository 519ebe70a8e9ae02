//! AWS Signature Version 4 for S3: what is signed, and the signature. The server judges with it, the test client signs with it.
//! It must never be all that vouches for a client: the published examples of AWS are tested beside it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// `x-amz-content-sha256` of a body that is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request as it is signed.
#[derive(Clone, Debug)]
pub struct Signing<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path, decoded.
    pub path: &'a str,
    /// The query, decoded, in any order.
    pub query: &'a [(String, String)],
    /// The headers that are signed, names in lower case, in any order.
    pub headers: &'a [(String, String)],
    /// What stands in `x-amz-content-sha256`.
    pub payload: &'a str,
    /// What stands in `x-amz-date`: `20130524T000000Z`.
    pub time: &'a str,
    /// The region.
    pub region: &'a str,
}

impl Signing<'_> {
    /// `20130524/us-east-1/s3/aws4_request`.
    pub fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", date(self.time), self.region)
    }

    /// The names of the signed headers, as they stand in `Authorization`.
    pub fn signed_headers(&self) -> String {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.join(";")
    }

    /// The canonical request.
    pub fn canonical(&self) -> String {
        let mut query: Vec<(String, String)> =
            self.query.iter().map(|(name, value)| (uri_encode(name, false), uri_encode(value, false))).collect();
        query.sort_unstable();
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let signed = self.signed_headers();
        let mut headers = String::new();
        for name in signed.split(';') {
            let values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| squeeze(value));
            headers += &format!("{name}:{}\n", values.collect::<Vec<String>>().join(","));
        }
        let path = uri_encode(self.path, true);
        format!("{}\n{path}\n{}\n{headers}\n{signed}\n{}", self.method, query.join("&"), self.payload)
    }

    /// The string to sign.
    pub fn to_sign(&self) -> String {
        format!("AWS4-HMAC-SHA256\n{}\n{}\n{}", self.time, self.scope(), sha256_hex(self.canonical().as_bytes()))
    }

    /// The signature.
    pub fn signature(&self, secret: &str) -> String {
        hex(&hmac(&signing_key(secret, self.time, self.region), self.to_sign().as_bytes()))
    }

    /// The `Authorization` header.
    pub fn authorization(&self, access: &str, secret: &str) -> String {
        let (scope, signed, signature) = (self.scope(), self.signed_headers(), self.signature(secret));
        format!("AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={signature}")
    }

    /// The signature of a chunk of an aws-chunked body, after the `previous` one; of the first, after the request's.
    pub fn chunk_signature(&self, secret: &str, previous: &str, chunk: &[u8]) -> String {
        let (scope, empty, hash) = (self.scope(), sha256_hex(b""), sha256_hex(chunk));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{scope}\n{previous}\n{empty}\n{hash}", self.time);
        hex(&hmac(&signing_key(secret, self.time, self.region), text.as_bytes()))
    }
}

/// SHA-256 in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Percent-encoded as S3 signs it; in paths slashes stay.
pub fn uri_encode(text: &str, slashes_stay: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if slashes_stay => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn date(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

fn squeeze(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<&str>>().join(" ")
}

fn signing_key(secret: &str, time: &str, region: &str) -> Vec<u8> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date(time), region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    key
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}
