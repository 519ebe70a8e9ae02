//! Putting objects whose keys are any: in one PUT, or in parts where they are long. Every one is held against its digest afterwards: what the
//! store says of it, or what it hands out again.
//! It must never leave parts behind that nobody sees and everybody pays for.

use super::{Bucket, plain};
use crate::error::{Error, Result, StoreOp};
use crate::id::hex;
use crate::source::objects::attributes::{Headers, META};
use crate::source::objects::{Objects, Unread};
use crate::store::s3::Inner;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::meter::Outgoing;
use crate::store::s3::put::Signed;
use crate::store::s3::request::Try;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use md5::{Digest, Md5};
use sha2::Sha256;
use std::io::{self, ErrorKind};

/// Digests of parts as one, in the way of S3: what the ETag of such an object is where it is one.
pub fn etag_of_parts(digests: &[[u8; 16]]) -> String {
    format!("{}-{}", hex(&Md5::digest(digests.concat())), digests.len())
}

/// Whether an ETag may be the MD5 of something, whole or in parts.
pub fn is_digest(etag: &str) -> bool {
    let (digits, parts) = etag.split_once('-').map_or((etag, None), |(digits, parts)| (digits, Some(parts)));
    let hex = digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    hex && parts.is_none_or(|parts| parts.parse::<u32>().is_ok())
}

/// An object that comes in parts. Dropped before its end, it is given up in the store, too.
pub struct Uploading {
    inner: std::sync::Arc<Inner>,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
    digests: Vec<[u8; 16]>,
    /// Of all of them so far.
    whole: Md5,
    bytes: u64,
    done: bool,
}

macro_rules! with_headers {
    ($put:expr, $headers:expr) => {{
        let mut put = $put;
        for (name, value) in $headers {
            put = match name.as_str() {
                "cache-control" => put.cache_control(value),
                "content-disposition" => put.content_disposition(value),
                "content-encoding" => put.content_encoding(value),
                "content-language" => put.content_language(value),
                "content-type" => put.content_type(value),
                "website-redirect-location" => put.website_redirect_location(value),
                name => match name.strip_prefix(META) {
                    Some(name) => put.metadata(name, value),
                    None => put,
                },
            };
        }
        let expires = $headers
            .get("expires")
            .and_then(|text| aws_sdk_s3::primitives::DateTime::from_str(text, aws_sdk_s3::primitives::DateTimeFormat::HttpDate).ok());
        put.set_expires(expires)
    }};
}

impl Bucket {
    /// Puts an object in one piece, in the place of one that has its key.
    pub fn put(&self, key: &str, bytes: Vec<u8>, headers: &Headers) -> Result<()> {
        let bytes = Bytes::from(bytes);
        let full = self.inner.place.key(key);
        let digest = hex(&Md5::digest(&bytes));
        let etag = self.inner.runtime.block_on(self.inner.put_plain(&full, &bytes, headers))?;
        match etag == digest {
            true => Ok(()),
            // It is a digest, and of something else.
            false if is_digest(&etag) && !etag.contains('-') => Err(wrong(&full, "the store has other bytes than were sent")),
            // The store says nothing of the content: it has to hand it out again.
            false => self.read_back(key, &bytes),
        }
    }

    fn read_back(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let full = self.inner.place.key(key);
        let there = self.look(key).and_then(|object| match object.size == bytes.len() as u64 {
            true => self.read(&object, 0..object.size).map(|part| part.bytes == bytes),
            false => Ok(false),
        });
        match there {
            Ok(true) => Ok(()),
            Ok(false) => Err(wrong(&full, "the store has other bytes than were sent")),
            Err(Unread::Store(error)) => Err(error),
            Err(Unread::Refused(why)) => Err(wrong(&full, &format!("what was put cannot be read back: {why}"))),
            Err(_) => Err(wrong(&full, "the store took it and does not have it")),
        }
    }

    /// Begins an object that comes in parts.
    pub fn begin(&self, key: &str, headers: &Headers) -> Result<Uploading> {
        let inner = self.inner.clone();
        let key = inner.place.key(key);
        let begun = inner.runtime.block_on(inner.request(|Try { client, .. }| {
            let key = &key;
            let inner = &inner;
            async move {
                let asked = client.create_multipart_upload().bucket(&inner.place.bucket).key(key);
                match with_headers!(asked, headers).send().await {
                    Ok(answer) => {
                        answer.upload_id().map(str::to_owned).ok_or_else(|| Refusal::new(Verdict::Passing, "the answer names no upload"))
                    }
                    // rclone's document has another name than S3's, and the SDK takes it for none.
                    Err(SdkError::ServiceError(error)) if error.raw().status().is_success() => {
                        upload_id_in(error.raw()).ok_or_else(|| Refusal::new(Verdict::Passing, "something answers 200 that is no S3 store"))
                    }
                    Err(error) => Err(judge(error)),
                }
            }
        }));
        let id = begun.map_err(|refusal| inner.error(StoreOp::Put, &key, refusal))?;
        Ok(Uploading { inner, key, id, parts: Vec::new(), digests: Vec::new(), whole: Md5::new(), bytes: 0, done: false })
    }
}

/// What an answer names an upload: of what characters it is made is the store's affair, as long as it can stand in a query.
fn upload_id_in(answer: &HttpResponse) -> Option<String> {
    let text = std::str::from_utf8(answer.body().bytes()?).ok()?;
    let id = text.split_once("<UploadId>")?.1.split_once("</UploadId>")?.0.trim();
    let sane = !id.is_empty() && id.len() <= 1024 && id.bytes().all(|c| c.is_ascii_graphic() && c != b'<' && c != b'&');
    sane.then(|| id.to_owned())
}

fn wrong(key: &str, why: &str) -> Error {
    Error::Store { op: StoreOp::Put, object: key.to_owned(), source: io::Error::new(ErrorKind::InvalidData, why.to_owned()) }
}

impl Inner {
    async fn put_plain(&self, key: &str, bytes: &Bytes, headers: &Headers) -> Result<String> {
        let put = self
            .request(|Try { client, moved }| async move {
                let body = Outgoing::body(bytes.clone(), self.meter.clone(), self.up.clone(), moved);
                let put = client.put_object().bucket(&self.place.bucket).key(key).body(ByteStream::new(body));
                let put = self.encrypted(with_headers!(put.content_length(bytes.len() as i64), headers));
                // Anew for each try: see `put.rs`.
                let signed = Signed(hex(&Sha256::digest(bytes)));
                let answer = put.customize().interceptor(signed).send().await.map_err(judge)?;
                Ok(plain(answer.e_tag()))
            })
            .await;
        put.map_err(|refusal| self.error(StoreOp::Put, key, refusal))
    }
}

impl Uploading {
    /// Sends the next part.
    pub fn part(&mut self, bytes: Vec<u8>) -> Result<()> {
        let (inner, key, id) = (&self.inner, &self.key, &self.id);
        let bytes = Bytes::from(bytes);
        let number = i32::try_from(self.parts.len() + 1).map_err(|_| wrong(key, "it has too many parts"))?;
        let sent = inner.runtime.block_on(inner.request(|Try { client, moved }| {
            let bytes = &bytes;
            async move {
                let body = Outgoing::body(bytes.clone(), inner.meter.clone(), inner.up.clone(), moved);
                let put = client.upload_part().bucket(&inner.place.bucket).key(key).upload_id(id).part_number(number);
                let put = put.body(ByteStream::new(body)).content_length(bytes.len() as i64);
                let answer = put.customize().interceptor(Signed(hex(&Sha256::digest(bytes)))).send().await.map_err(judge)?;
                answer.e_tag().map(str::to_owned).ok_or_else(|| Refusal::new(Verdict::Passing, "the answer to a PUT is not a store's"))
            }
        }));
        let etag = sent.map_err(|refusal| inner.error(StoreOp::Put, key, refusal))?;
        let digest: [u8; 16] = Md5::digest(&bytes).into();
        let said = plain(Some(&etag));
        if is_digest(&said) && said != hex(&digest) {
            return Err(wrong(key, "the store has other bytes than were sent"));
        }
        self.parts.push(CompletedPart::builder().e_tag(etag).part_number(number).build());
        self.digests.push(digest);
        self.whole.update(&bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes one object of the parts, and looks whether it is there.
    pub fn finish(mut self) -> Result<()> {
        let (inner, key, id) = (&self.inner, &self.key, &self.id);
        let (in_parts, whole) = (etag_of_parts(&self.digests), hex(&self.whole.clone().finalize()));
        let bytes = i64::try_from(self.bytes).ok();
        let told = |etag: &str| etag == in_parts || etag == whole;
        let all = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let ended = inner.runtime.block_on(inner.request(|Try { client, .. }| {
            let (all, told) = (all.clone(), &told);
            async move {
                let asked = client.complete_multipart_upload().bucket(&inner.place.bucket).key(key).upload_id(id);
                let asked = asked.multipart_upload(all).send().await.map_err(judge);
                // Whatever the answer is, one that is lost or that nobody can read included: what is there
                // decides. Only where its ETag tells nothing the answer counts.
                let head = client.head_object().bucket(&inner.place.bucket).key(key).send().await.ok();
                let there = head.filter(|head| head.content_length() == bytes).map(|head| plain(head.e_tag()));
                match (there, asked) {
                    (Some(etag), _) if told(&etag) => Ok(()),
                    (Some(etag), Ok(_)) if !is_digest(&etag) => Ok(()),
                    (_, Ok(_)) => {
                        Err(Refusal::new(Verdict::Final(ErrorKind::InvalidData), "the store has made something else of its parts"))
                    }
                    (_, Err(refusal)) => Err(refusal),
                }
            }
        }));
        ended.map_err(|refusal| inner.error(StoreOp::Put, key, refusal))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (inner, key, id) = (&self.inner, &self.key, &self.id);
        // What cannot be taken away here a rule of the bucket may clear some day.
        inner
            .runtime
            .block_on(inner.request(|Try { client, .. }| async move {
                client.abort_multipart_upload().bucket(&inner.place.bucket).key(key).upload_id(id).send().await.map(|_| ()).map_err(judge)
            }))
            .unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_that_tell_the_content() {
        for (etag, tells) in [
            ("d41d8cd98f00b204e9800998ecf8427e", true),
            ("d41d8cd98f00b204e9800998ecf8427e-12", true),
            ("d41d8cd98f00b204e9800998ecf8427e-", false),
            ("d41d8cd98f00b204e9800998ecf8427", false),
            ("something", false),
            ("", false),
        ] {
            assert_eq!(is_digest(etag), tells, "{etag}");
        }
        // As `aws s3 cp` made it of two parts of 5 MiB of zeros.
        let part: [u8; 16] = Md5::digest(vec![0; 5 << 20]).into();
        assert_eq!(etag_of_parts(&[part, part]).split_once('-').map(|(_, n)| n), Some("2"));
    }
}
