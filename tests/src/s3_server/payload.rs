//! The body of a request once it was read: taken out of its chunks, and held against every digest that came with it.
//! It must never accept bytes that one of the digests does not know.

use super::auth::Signed;
use super::behaviour::{Behaviour, Checksums};
use super::reply::Reply;
use super::request::Call;
use super::sigv4::{UNSIGNED, sha256_hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Bytes;
use sha2::Digest;

const CHECKSUM: &str = "x-amz-checksum-";

/// A body that is what its sender meant.
pub(super) struct Payload {
    pub bytes: Bytes,
    /// The `x-amz-checksum-*` headers or trailers that were verified.
    pub checksums: Vec<(String, String)>,
}

/// Unpacks and verifies.
pub(super) fn verify(call: &Call, signed: &Signed, behaviour: &Behaviour, raw: Bytes) -> Result<Payload, Reply> {
    let mut named: Vec<(String, String)> = call.headers.iter().filter(|(name, _)| is_checksum(name)).cloned().collect();
    let streamed = signed.payload.starts_with("STREAMING-");
    if let Checksums::Refused(status) = behaviour.checksums {
        let more = ["x-amz-sdk-checksum-algorithm", "x-amz-trailer"];
        if streamed || !named.is_empty() || more.iter().any(|name| call.header(name).is_some()) {
            let code = if status == 501 { "NotImplemented" } else { "InvalidArgument" };
            return Err(Reply::error(status, code, "A header you provided implies functionality that is not implemented."));
        }
    }
    let bytes = if streamed {
        let (bytes, trailers) = unchunk(call, signed, &raw)?;
        named.extend(trailers.into_iter().filter(|(name, _)| is_checksum(name)));
        Bytes::from(bytes)
    } else {
        if signed.payload != UNSIGNED && signed.payload != sha256_hex(&raw) {
            let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return Err(Reply::error(400, "XAmzContentSHA256Mismatch", message));
        }
        raw
    };
    if let Some(given) = call.header("content-md5") {
        match BASE64.decode(given) {
            Ok(digest) if digest.len() == 16 => {
                if digest != md5::Md5::digest(&bytes).as_slice() {
                    return Err(Reply::error(400, "BadDigest", "The Content-MD5 you specified did not match what we received."));
                }
            }
            _ => return Err(Reply::error(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")),
        }
    }
    if behaviour.checksums == Checksums::Ignored {
        named.clear();
    }
    for (name, given) in &named {
        let right = checksum(name.trim_start_matches(CHECKSUM), &bytes);
        if right.as_ref().is_none_or(|right| right != given) {
            let message = format!("The {name} you specified did not match the calculated checksum.");
            return Err(Reply::error(400, "BadDigest", &message));
        }
    }
    Ok(Payload { bytes, checksums: named })
}

/// The text of a checksum header; `None` for an algorithm that S3 does not have.
pub fn checksum(algorithm: &str, bytes: &[u8]) -> Option<String> {
    let crc = |polynomial, width: usize| crc(polynomial, width, bytes).to_be_bytes()[8 - width..].to_vec();
    let digest = match algorithm {
        "crc32" => crc(0xedb8_8320, 4),
        "crc32c" => crc(0x82f6_3b78, 4),
        "crc64nvme" => crc(0x9a6c_9329_ac4b_c9b5, 8),
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "sha256" => sha2::Sha256::digest(bytes).to_vec(),
        _ => return None,
    };
    Some(BASE64.encode(digest))
}

/// A reflected CRC of `width` bytes that begins and ends inverted, as all of S3's do; the polynomial is reflected too.
fn crc(polynomial: u64, width: usize, bytes: &[u8]) -> u64 {
    let table: Vec<u64> =
        (0..256).map(|byte| (0..8).fold(byte, |crc, _| (crc >> 1) ^ (if crc & 1 == 1 { polynomial } else { 0 }))).collect();
    let ones = u64::MAX >> (64 - 8 * width);
    bytes.iter().fold(ones, |crc, byte| (crc >> 8) ^ table[(crc as u8 ^ byte) as usize]) ^ ones
}

/// The MD5 in base64, as `Content-MD5` has it.
pub fn content_md5(bytes: &[u8]) -> String {
    BASE64.encode(md5::Md5::digest(bytes))
}

/// Whether the header holds a checksum: the mode of a GET and the type of a multipart upload do not.
pub(super) fn is_checksum(name: &str) -> bool {
    name.strip_prefix(CHECKSUM).is_some_and(|rest| !matches!(rest, "mode" | "type" | "algorithm"))
}

type Trailers = Vec<(String, String)>;

/// `size;chunk-signature=...\r\n` bytes `\r\n`, until one is empty; then trailers. Their own signature is not verified.
fn unchunk(call: &Call, signed: &Signed, raw: &[u8]) -> Result<(Vec<u8>, Trailers), Reply> {
    let incomplete = || Reply::error(400, "IncompleteBody", "The request body terminated unexpectedly");
    let chunks_signed = signed.payload.starts_with("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let mut previous = signed.signature.clone();
    let (mut out, mut rest) = (Vec::with_capacity(raw.len()), raw);
    loop {
        let head = line(&mut rest).ok_or_else(incomplete)?;
        let (size, signature) = head.split_once(";chunk-signature=").unwrap_or((&head, ""));
        let size = usize::from_str_radix(size, 16).map_err(|_| incomplete())?;
        let (chunk, after) = rest.split_at_checked(size).ok_or_else(incomplete)?;
        if chunks_signed {
            let right = signed.chunk_signature(call, &previous, chunk);
            if right != signature {
                return Err(Reply::error(403, "SignatureDoesNotMatch", "The signature of a chunk does not match."));
            }
            previous = right;
        }
        if size == 0 {
            break;
        }
        out.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n").ok_or_else(incomplete)?;
    }
    let mut trailers = Vec::new();
    while let Some(trailer) = line(&mut rest).filter(|trailer| !trailer.is_empty()) {
        let (name, value) = trailer.split_once(':').ok_or_else(incomplete)?;
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let announced = call.header("x-amz-trailer").unwrap_or("").split(',').map(|name| name.trim().to_ascii_lowercase());
    if announced.filter(|name| !name.is_empty()).any(|name| !trailers.iter().any(|(n, _)| *n == name)) {
        return Err(Reply::error(400, "MalformedTrailerError", "A trailer that was announced is missing."));
    }
    if call.header("x-amz-decoded-content-length") != Some(out.len().to_string().as_str()) {
        return Err(incomplete());
    }
    Ok((out, trailers))
}

fn line(rest: &mut &[u8]) -> Option<String> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
    *rest = &rest[end + 2..];
    Some(line)
}
