//! Listings: complete, or an error that says so. Every page is held against the ones before it.
//! What is not an object of the format is passed over; what a listing does not show may still be there.

use crate::error::{Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::Listed;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::request::Try;
use crate::store::s3::{Inner, S3Place};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object, OptionalObjectAttributes};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError};

/// How often a listing is begun anew before it is called incomplete.
pub(super) const LISTINGS: u32 = 5;
/// Keys that a listing may show. Of the smallest packs so many hold 64 TiB, of those of the usual size a petabyte; in memory each takes
/// about a hundred bytes, and a store that never ends would take all there is.
const KEYS_MAX: usize = 1 << 24;
/// Pages of a listing: eight times what those keys take a thousand at a time, for stores that show fewer, or pages without any.
const PAGES_MAX: usize = 1 << 17;

/// Why a page cannot be part of a complete listing.
pub(super) type Flaw = &'static str;
pub(super) const ENDLESS: Flaw = "it shows more than any repository has, or does not end";

/// Whether there is anything.
const ONE: Asked = Asked { max: Some(1), encoded: false, restored: false };

/// A listing as far as it has come.
#[derive(Default)]
struct Listing {
    listed: Vec<Listed>,
    pages: Pages,
}

/// The pages of a listing as far as they have come.
#[derive(Default)]
pub(super) struct Pages {
    last: String,
    /// How long the last object is, where it was taken in.
    taken: Option<u64>,
    keys: usize,
    /// Hashes of the tokens: a token may be as long as a store likes.
    tokens: HashSet<[u8; 32]>,
}

/// How a page is asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    /// At most so many keys.
    pub max: Option<i32>,
    /// Keys may be any: encoded, for XML cannot hold all characters.
    pub encoded: bool,
    /// Whether what is archived was brought back.
    pub restored: bool,
}

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
        let (mut listing, mut token) = (Listing::default(), None::<String>);
        loop {
            let page = self
                .page(prefix, token.as_deref(), Asked::default())
                .await
                .map_err(|refusal| self.error(StoreOp::List, folder, refusal))?;
            match listing.take(&page, &self.place, (KEYS_MAX, PAGES_MAX)) {
                Ok(Some(next)) => token = Some(next),
                Ok(None) => return Ok(Ok(listing.listed)),
                Err(flaw) if flaw == ENDLESS => return Err(Error::ListIncomplete { folder: folder.to_owned(), why: flaw }),
                Err(flaw) => return Ok(Err(flaw)),
            }
        }
    }

    pub(super) async fn page(&self, prefix: &str, token: Option<&str>, how: Asked) -> Result<ListObjectsV2Output, Refusal> {
        self.request(|Try { client, .. }| async move {
            let asked = client.list_objects_v2().bucket(&self.place.bucket).prefix(prefix);
            let asked = asked.set_continuation_token(token.map(str::to_owned)).set_max_keys(how.max);
            let asked = asked.set_encoding_type(how.encoded.then_some(EncodingType::Url));
            let asked = asked.set_optional_object_attributes(how.restored.then(|| vec![OptionalObjectAttributes::RestoreStatus]));
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

    /// Whether the listing shows this one key; `None` where it does not say.
    pub(super) async fn shows(&self, key: &str) -> Result<Option<bool>, Refusal> {
        let page = self.page(key, None, ONE).await?;
        Ok(match page.contents().first().and_then(|object| object.key()) {
            None => (!page.is_truncated().unwrap_or(false)).then_some(false),
            // The shortest of all that begin with it comes first.
            Some(first) if page.encoding_type().is_some() => decoded(first).map(|first| first == key),
            Some(first) => Some(first == key),
        })
    }

    /// Whether anything of ours lies below `folder`.
    pub(super) async fn holds_any(&self, folder: &str) -> Result<bool> {
        let prefix = self.folder_prefix(folder)?;
        let page = self.page(&prefix, None, ONE).await.map_err(|refusal| self.error(StoreOp::List, folder, refusal))?;
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

impl Listing {
    /// Holds a page against those before it, and takes it in. Returns how to ask for the next one, where there is one.
    fn take(&mut self, page: &ListObjectsV2Output, place: &S3Place, bounds: (usize, usize)) -> Result<Option<String>, Flaw> {
        let Listing { listed, pages } = self;
        pages.take(page, bounds, &mut |key, bytes, object| {
            // What is not ours is nobody's business.
            let Some(name) = place.name_in(key).and_then(ObjectName::parse) else { return false };
            let modified = object.last_modified().and_then(|at| at.as_nanos().try_into().ok()).unwrap_or(0);
            let class = object.storage_class().map(|class| class.as_str()).filter(|class| *class != "STANDARD").map(Arc::from);
            listed.push(Listed { name, bytes, modified, class });
            true
        })
    }
}

impl Pages {
    /// Holds a page against those before it, and hands out what it shows: key, length and the rest; `each` says whether it took that in.
    /// Returns how to ask for the next page, where there is one.
    pub(super) fn take(
        &mut self,
        page: &ListObjectsV2Output,
        (keys_max, pages_max): (usize, usize),
        each: &mut dyn FnMut(&str, u64, &Object) -> bool,
    ) -> Result<Option<String>, Flaw> {
        let shown = page.contents().len() + page.common_prefixes().len();
        if page.key_count().is_some_and(|count| usize::try_from(count).ok() != Some(shown)) {
            return Err("a page does not hold as many keys as it says");
        }
        self.keys += shown;
        if self.keys > keys_max || self.tokens.len() >= pages_max {
            return Err(ENDLESS);
        }
        let encoded = page.encoding_type().is_some_and(|kind| kind.as_str() == "url");
        for object in page.contents() {
            let key = object.key().ok_or("an object has no key")?;
            let key = if encoded { decoded(key).ok_or("a key is badly encoded")? } else { key.to_owned() };
            let bytes = object.size().and_then(|n| u64::try_from(n).ok()).ok_or("an object has no length")?;
            if key <= self.last && !self.last.is_empty() {
                // rclone shows an object twice that is put twice at the same time; that leaves nothing out.
                if key == self.last && self.taken == Some(bytes) {
                    continue;
                }
                return Err(if key == self.last { "it shows a key twice" } else { "its keys do not increase" });
            }
            self.last = key;
            self.taken = each(&self.last, bytes, object).then_some(bytes);
        }
        let next = page.next_continuation_token().filter(|token| !token.is_empty());
        match (page.is_truncated().unwrap_or(false), next) {
            (false, None) => Ok(None),
            (false, Some(_)) => Err("a page says how to ask for more, and not that more follows"),
            (true, None) => Err("a page says that more follows, and not how to ask for it"),
            (true, Some(next)) if !self.tokens.insert(*blake3::hash(next.as_bytes()).as_bytes()) => Err("it goes round in circles"),
            (true, Some(next)) => Ok(Some(next.to_owned())),
        }
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
    use super::*;

    #[test]
    fn encoded_keys() {
        assert_eq!(decoded("a%2Fb+c").as_deref(), Some("a/b c"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    const BOUNDS: (usize, usize) = (10, 3);

    fn page(keys: &[&str], truncated: Option<bool>, token: Option<&str>) -> ListObjectsV2Output {
        let objects = keys.iter().map(|key| Object::builder().key(*key).size(1).build()).collect();
        let page = ListObjectsV2Output::builder().set_contents(Some(objects)).set_is_truncated(truncated);
        page.set_next_continuation_token(token.map(str::to_owned)).build()
    }

    fn place() -> S3Place {
        S3Place { endpoint: None, bucket: "b".into(), prefix: String::new() }
    }

    fn flaw(pages: &[ListObjectsV2Output]) -> Option<Flaw> {
        let mut listing = Listing::default();
        pages.iter().find_map(|page| listing.take(page, &place(), BOUNDS).err())
    }

    /// A store that always has a next page, with keys or without, filled the memory and never ended.
    #[test]
    fn a_listing_ends() {
        let more = |keys: &[&str], token: &str| page(keys, Some(true), Some(token));
        assert_eq!(flaw(&[more(&[], "1"), more(&[], "2"), page(&[], Some(false), None)]), None);
        assert_eq!(flaw(&[more(&[], "1"), more(&[], "2"), more(&[], "3"), more(&[], "4")]), Some(ENDLESS));
        let keys: Vec<String> = (0..12).map(|n| format!("index/{n:02}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(flaw(&[more(&keys[..5], "1"), page(&keys[5..10], None, None)]), None);
        assert_eq!(flaw(&[more(&keys[..5], "1"), more(&keys[5..11], "2")]), Some(ENDLESS));
    }

    /// A page that says how to go on, and not that it goes on, was taken for the last one.
    #[test]
    fn a_token_without_a_next_page_is_a_flaw() {
        for truncated in [None, Some(false)] {
            assert!(flaw(&[page(&["index/00"], truncated, Some("next"))]).is_some());
            assert_eq!(flaw(&[page(&["index/00"], truncated, Some(""))]), None);
        }
    }

    #[test]
    fn a_stranger_that_is_shown_twice_is_called_that() {
        assert_eq!(flaw(&[page(&["index/A.bak", "index/A.bak"], None, None)]), Some("it shows a key twice"));
        assert_eq!(flaw(&[page(&["index/01", "index/00"], None, None)]), Some("its keys do not increase"));
        assert_eq!(flaw(&[page(&["index/00", "index/00"], None, None)]), None);
    }
}
