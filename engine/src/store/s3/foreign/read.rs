//! Reading objects whose keys are any. A part is whole and of the object that was meant, or it is none: what the store ignores of the
//! conditions is looked at again here.

use super::{plain, time};
use crate::error::StoreOp;
use crate::source::objects::attributes::{Headers, META};
use crate::source::objects::{Object, Part, Unread};
use crate::store::s3::Inner;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::read::{Arrived, Expect, content_range, is_a_store_s};
use crate::store::s3::request::{Reading, Try};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What came of a GET.
enum Came {
    Part(Part),
    Changed,
}

/// What an object was put with.
fn headers(answer: &GetObjectOutput) -> Headers {
    let mut headers = Headers::new();
    let known = [
        ("cache-control", answer.cache_control()),
        ("content-disposition", answer.content_disposition()),
        ("content-encoding", answer.content_encoding()),
        ("content-language", answer.content_language()),
        ("content-type", answer.content_type()),
        ("expires", answer.expires_string()),
        ("website-redirect-location", answer.website_redirect_location()),
    ];
    for (name, value) in known {
        // What only tells how this answer came is nothing of the object.
        if let Some(value) = value.filter(|value| !(value.is_empty() || name == "content-encoding" && *value == "aws-chunked")) {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in answer.metadata().into_iter().flatten() {
        headers.insert(format!("{META}{name}"), value.clone());
    }
    headers
}

impl Inner {
    /// What a failed request for an object means.
    fn unread(&self, key: &str, refusal: Refusal) -> Unread {
        match refusal.verdict {
            Verdict::Missing => Unread::Gone,
            // 412 and 416: it is another one, or shorter.
            Verdict::Exists | Verdict::Range => Unread::Changed,
            Verdict::Archived => Unread::Archived,
            Verdict::Final(ErrorKind::NotFound) => Unread::Store(self.error(StoreOp::Get, key, refusal)),
            Verdict::Final(_) | Verdict::Garbled | Verdict::Unsupported | Verdict::Unreadable => Unread::Refused(refusal.text),
            _ => Unread::Store(self.error(StoreOp::Get, key, refusal)),
        }
    }

    pub(super) async fn look_at(&self, own: &str) -> Result<Object, Unread> {
        let key = self.place.key(own);
        let asked = self.head(&key).await;
        let answer = self.denied_or_missing(&key, asked).await.map_err(|refusal| self.unread(&key, refusal))?;
        Ok(Object {
            key: own.to_owned(),
            size: answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            mtime: time(answer.last_modified()),
            etag: plain(answer.e_tag()),
            archived: false,
        })
    }

    pub(super) async fn read_part(&self, object: &Object, range: Range<u64>) -> Result<Part, Unread> {
        let key = self.place.key(&object.key);
        let reading = Reading { name: &key, at: AtomicU64::new(0) };
        // All of it is asked for without a range: of an empty object there is none, and not every store knows them.
        let part = (range != (0..object.size)).then(|| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let condition = (!object.etag.is_empty()).then(|| format!("\"{}\"", object.etag));
        let came = self
            .request_for(Some(&reading), |Try { client, moved }| {
                let (key, at, part, condition, range) = (&key, &reading.at, &part, &condition, &range);
                async move {
                    let asked = client.get_object().bucket(&self.place.bucket).key(key);
                    let asked = asked.set_range(part.clone()).set_if_match(condition.clone());
                    let answer = asked.send().await.map_err(judge)?;
                    if answer.content_range().is_none() {
                        is_a_store_s(answer.e_tag(), answer.last_modified())?;
                    }
                    let whole = match answer.content_range() {
                        Some(text) => content_range(text).map(|(.., whole)| whole),
                        None => answer.content_length().and_then(|n| u64::try_from(n).ok()),
                    };
                    let other = match plain(answer.e_tag()) {
                        // By the time, in whole seconds as headers tell it.
                        etag if object.etag.is_empty() || etag.is_empty() => time(answer.last_modified()).secs != object.mtime.secs,
                        etag => etag != object.etag,
                    };
                    if other || whole.is_some_and(|whole| whole != object.size) {
                        return Ok(Came::Changed);
                    }
                    let place = Arrived::of(&answer, &Expect::Range(range.clone()), 0)?;
                    let (mut bytes, headers) = (Vec::new(), headers(&answer));
                    at.store(0, Relaxed);
                    self.take_in(answer, place.bytes, (&moved, at), &mut bytes).await?;
                    Ok(Came::Part(Part { bytes, headers }))
                }
            })
            .await;
        let came = self.denied_or_missing(&key, came).await;
        match came {
            Ok(Came::Part(part)) => {
                self.unreadable().remove(&key);
                Ok(part)
            }
            Ok(Came::Changed) => Err(Unread::Changed),
            Err(refusal) => Err(self.unread(&key, refusal)),
        }
    }
}
