//! Listings: complete, or an error that says so. Every page is held against the ones before it.
//! What is not an object of the format is passed over; what a listing does not show may still be there.

use crate::error::{Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::Listed;
use crate::store::s3::Inner;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::request::Try;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::sync::PoisonError;

/// How often a listing is begun anew before it is called incomplete.
const LISTINGS: u32 = 5;

/// Why a page cannot be part of a complete listing.
type Flaw = &'static str;

impl Inner {
    /// Every object below `folder`.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let prefix = self.folder_prefix(folder)?;
        let mut flaw = "";
        let mut wait = self.budget.pace().wait_min;
        for _ in 0..LISTINGS {
            match self.list_once(folder, &prefix).await? {
                Ok(mut listed) => {
                    listed.sort();
                    self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned(), listed.len());
                    return Ok(listed);
                }
                Err(found) => flaw = found,
            }
            self.rest(wait).await.map_err(|refusal| self.error(StoreOp::List, folder, refusal))?;
            wait = (wait * 4).min(self.budget.pace().wait_max);
        }
        Err(Error::ListIncomplete { folder: folder.to_owned(), why: flaw })
    }

    async fn list_once(&self, folder: &str, prefix: &str) -> Result<Result<Vec<Listed>, Flaw>> {
        let (mut listed, mut last, mut token) = (Vec::new(), String::new(), None::<String>);
        let mut tokens = HashSet::new();
        loop {
            let page = self.page(prefix, token.as_deref(), None).await.map_err(|refusal| self.error(StoreOp::List, folder, refusal))?;
            if let Err(flaw) = self.take_page(&page, &mut last, &mut listed) {
                return Ok(Err(flaw));
            }
            if !page.is_truncated().unwrap_or(false) {
                return Ok(Ok(listed));
            }
            let Some(next) = page.next_continuation_token().filter(|token| !token.is_empty()) else {
                return Ok(Err("a page says that more follows, and not how to ask for it"));
            };
            if !tokens.insert(next.to_owned()) {
                return Ok(Err("it goes round in circles"));
            }
            token = Some(next.to_owned());
        }
    }

    async fn page(&self, prefix: &str, token: Option<&str>, max: Option<i32>) -> Result<ListObjectsV2Output, Refusal> {
        self.request(|Try { client, .. }| async move {
            let asked = client.list_objects_v2().bucket(&self.place.bucket).prefix(prefix);
            let asked = asked.set_continuation_token(token.map(str::to_owned)).set_max_keys(max);
            let page = asked.send().await.map_err(judge)?;
            // The document of another program parses too: it is an empty listing then. A listing names its bucket, or at least says
            // that it is whole.
            if page.name().is_none() && page.is_truncated().is_none() && page.key_count().is_none() && page.contents().is_empty() {
                return Err(Refusal::new(Verdict::Passing, "the answer is no listing"));
            }
            Ok(page)
        })
        .await
    }

    fn take_page(&self, page: &ListObjectsV2Output, last: &mut String, listed: &mut Vec<Listed>) -> Result<(), Flaw> {
        let shown = page.contents().len() + page.common_prefixes().len();
        if page.key_count().is_some_and(|count| usize::try_from(count).ok() != Some(shown)) {
            return Err("a page does not hold as many keys as it says");
        }
        let encoded = page.encoding_type().is_some_and(|kind| kind.as_str() == "url");
        for object in page.contents() {
            let key = object.key().ok_or("an object has no key")?;
            let key = if encoded { decoded(key).ok_or("a key is badly encoded")? } else { key.to_owned() };
            let bytes = object.size().and_then(|n| u64::try_from(n).ok()).ok_or("an object has no length")?;
            if key <= *last && !last.is_empty() {
                // rclone shows an object twice that is put twice at the same time; that leaves nothing out.
                let twice =
                    key == *last && listed.last().is_some_and(|known| self.place.key(known.name.as_str()) == key && known.bytes == bytes);
                if twice {
                    continue;
                }
                return Err("its keys do not increase");
            }
            *last = key;
            // What is not ours is nobody's business.
            let Some(name) = self.place.name_in(last).and_then(ObjectName::parse) else { continue };
            listed.push(Listed { name, bytes });
        }
        Ok(())
    }

    /// Whether anything of ours lies below `folder`.
    pub(super) async fn holds_any(&self, folder: &str) -> Result<bool> {
        let prefix = self.folder_prefix(folder)?;
        let page = self.page(&prefix, None, Some(1)).await.map_err(|refusal| self.error(StoreOp::List, folder, refusal))?;
        Ok(!page.contents().is_empty())
    }

    /// How many objects the last listing of a folder showed.
    pub(super) fn objects_in(&self, folder: &str) -> usize {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).get(folder).copied().unwrap_or(0)
    }

    fn folder_prefix(&self, folder: &str) -> Result<String> {
        if !folder.is_empty() && ObjectName::parse(folder).is_none() {
            let source = io::Error::new(ErrorKind::InvalidInput, "this is not the name of a folder");
            return Err(Error::Store { op: StoreOp::List, object: folder.to_owned(), source });
        }
        Ok(match (folder, self.place.prefix.as_str()) {
            ("", "") => String::new(),
            ("", prefix) => format!("{prefix}/"),
            (folder, _) => format!("{}/", self.place.key(folder)),
        })
    }
}

/// Undoes `%2F` and `+`.
fn decoded(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    let digit = |c: Option<u8>| char::from(c?).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (digit(rest.next())? << 4 | digit(rest.next())?) as u8,
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn encoded_keys() {
        assert_eq!(decoded("a%2Fb+c").as_deref(), Some("a/b c"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }
}
