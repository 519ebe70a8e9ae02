//! What the server holds: buckets, keys, versions, each visible from some request on.
//! It must never know about requests beyond their number.

use hyper::body::Bytes;
use jiff::Timestamp;
use sha2::Digest;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The version id of what was stored while versioning was not enabled.
pub(super) const NULL: &str = "null";

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    /// Deleted, and said so by a marker that is a version.
    Marker,
    /// Deleted without a trace.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    pub kind: Kind,
    pub id: String,
    pub bytes: Bytes,
    /// In hexadecimal digits.
    pub md5: String,
    pub modified: Timestamp,
    pub class: String,
    /// Headers that come back with the object.
    pub headers: Vec<(String, String)>,
    /// The first request that sees it.
    pub visible_from: u64,
    /// Of a cold object: the first request that can read it, once somebody asked for it.
    pub thawed_from: Option<u64>,
}

impl Version {
    pub fn object(bytes: Bytes, modified: Timestamp) -> Version {
        let md5 = super::sigv4::hex(&md5::Md5::digest(&bytes));
        let class = "STANDARD".to_owned();
        Version { md5, bytes, class, ..Version::absent(Kind::Object, modified) }
    }

    pub fn absent(kind: Kind, modified: Timestamp) -> Version {
        Version {
            kind,
            id: NULL.to_owned(),
            bytes: Bytes::new(),
            md5: String::new(),
            modified,
            class: String::new(),
            headers: Vec::new(),
            visible_from: 0,
            thawed_from: None,
        }
    }
}

/// All buckets. The versions of a key are in the order in which they came.
#[derive(Default)]
pub(super) struct Objects {
    buckets: BTreeMap<String, BTreeMap<String, Vec<Version>>>,
    versions: u64,
}

impl Objects {
    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.buckets.contains_key(bucket)
    }

    /// False when it exists already.
    pub fn make_bucket(&mut self, bucket: &str) -> bool {
        !self.has_bucket(bucket) && self.buckets.insert(bucket.to_owned(), BTreeMap::new()).is_none()
    }

    /// An id that no version has yet.
    pub fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("v{:016}", self.versions)
    }

    /// The newest version, which may be a marker or nothing.
    pub fn newest(&self, bucket: &str, key: &str, request: u64) -> Option<&Version> {
        self.versions_of(bucket, key).iter().rev().find(|version| version.visible_from <= request)
    }

    /// The newest version if it is an object.
    pub fn object(&self, bucket: &str, key: &str, request: u64) -> Option<&Version> {
        self.newest(bucket, key, request).filter(|version| version.kind == Kind::Object)
    }

    pub fn object_mut(&mut self, bucket: &str, key: &str) -> Option<&mut Version> {
        self.buckets.get_mut(bucket)?.get_mut(key)?.last_mut().filter(|version| version.kind == Kind::Object)
    }

    /// What was there before the newest version.
    pub fn before(&self, bucket: &str, key: &str) -> Option<&Version> {
        self.versions_of(bucket, key).iter().rev().nth(1).filter(|version| version.kind == Kind::Object)
    }

    /// A version by its id.
    pub fn version(&self, bucket: &str, key: &str, id: &str) -> Option<&Version> {
        self.versions_of(bucket, key).iter().rev().find(|version| version.id == id && version.kind != Kind::Gone)
    }

    pub fn put(&mut self, bucket: &str, key: &str, version: Version) {
        let versions = self.buckets.entry(bucket.to_owned()).or_default().entry(key.to_owned()).or_default();
        versions.push(version);
        // Of versions that replaced each other the one before the last is kept, for answers that are out of date.
        let mut nulls = versions.iter().filter(|version| version.id == NULL).count();
        versions.retain(|version| {
            let old = version.id == NULL && nulls > 2;
            nulls -= usize::from(version.id == NULL);
            !old
        });
    }

    /// Removes one version for good.
    pub fn erase(&mut self, bucket: &str, key: &str, id: &str) -> Option<Version> {
        let keys = self.buckets.get_mut(bucket)?;
        let versions = keys.get_mut(key)?;
        let at = versions.iter().rposition(|version| version.id == id && version.kind != Kind::Gone)?;
        let erased = versions.remove(at);
        versions.retain(|version| version.id != id);
        if versions.is_empty() {
            keys.remove(key);
        }
        Some(erased)
    }

    /// The objects of a bucket whose keys are past `after`, in the order of their bytes.
    pub fn past<'a>(&'a self, bucket: &str, after: &str, request: u64) -> impl Iterator<Item = (&'a str, &'a Version)> {
        let bounds = (Bound::Excluded(after.to_owned()), Bound::<String>::Unbounded);
        let keys = self.buckets.get(bucket).into_iter().flat_map(move |keys| keys.range(bounds.clone()));
        keys.filter_map(move |(key, versions)| {
            let newest = versions.iter().rev().find(|version| version.visible_from <= request)?;
            (newest.kind == Kind::Object).then_some((key.as_str(), newest))
        })
    }

    /// All versions of a bucket that a listing of versions shows, newest first for each key, and whether it is the newest.
    pub fn history<'a>(&'a self, bucket: &str) -> impl Iterator<Item = (&'a str, &'a Version, bool)> {
        self.buckets.get(bucket).into_iter().flatten().flat_map(|(key, versions)| {
            let last_null = versions.iter().rposition(|version| version.id == NULL);
            let shown = move |at: usize, version: &Version| version.kind != Kind::Gone && (version.id != NULL || last_null == Some(at));
            let all = versions.iter().enumerate().rev().filter(move |(at, version)| shown(*at, version));
            all.map(move |(at, version)| (key.as_str(), version, at + 1 == versions.len()))
        })
    }

    fn versions_of(&self, bucket: &str, key: &str) -> &[Version] {
        self.buckets.get(bucket).and_then(|keys| keys.get(key)).map_or(&[], Vec::as_slice)
    }
}
