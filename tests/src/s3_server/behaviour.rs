//! What kind of S3 the server is, as long as nobody changes it: AWS by default, and every known way of being something else.
//! It must never hold what happens once or n times: that is a fault with a rule.

use super::{ACCESS_KEY, REGION, SECRET_KEY};

/// A credential that the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The access key id; one that is in no credential is answered with 403 `InvalidAccessKeyId`.
    pub access: String,
    /// The secret key.
    pub secret: String,
    /// A session token that requests must carry then; any other one is answered with 400 `InvalidToken`.
    pub token: Option<String>,
    /// Requests with it are answered with 400 `ExpiredToken`.
    pub expired: bool,
}

/// What becomes of `If-None-Match: *` on a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// 412 when the key exists, as AWS does.
    Honoured,
    /// The object is overwritten: Garage, gofakes3, s3s-fs.
    Ignored,
    /// 501 `NotImplemented`, whether the key exists or not.
    NotImplemented,
    /// 409 `ConditionalRequestConflict` when the key exists.
    Conflict,
    /// 304 when the key exists (minio#19442).
    NotModified,
}

/// What becomes of `x-amz-checksum-*`, `x-amz-sdk-checksum-algorithm`, `x-amz-trailer` and aws-chunked bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Verified and kept, as AWS does.
    Verified,
    /// Taken for text that means nothing.
    Ignored,
    /// Refused with this status: 400 `InvalidArgument` or 501 `NotImplemented` (R2, Ceph and OVH when SDKs began to send them).
    Refused(u16),
}

/// How the ETag of an object looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etags {
    /// The MD5 of the bytes.
    Md5,
    /// Something that has the form of none: server-side encryption, multipart uploads.
    Opaque,
    /// There is none.
    Absent,
}

/// Whether the bucket keeps old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// Overwriting keeps the old version, deleting makes a marker.
    Enabled,
    /// New versions replace the one without an id, older ones stay.
    Suspended,
}

/// The answer to a question about the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canned {
    /// What AWS says of a bucket that nobody configured.
    Usual,
    /// 200 with this document.
    Xml(String),
    /// An error: status and code, such as 403 `AccessDenied` or 501 `NotImplemented`.
    Error(u16, String),
}

/// See the module's text. Changes hold from the next request on.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Who may do anything; everybody else is refused.
    pub credentials: Vec<Credential>,
    /// Seconds that the server's clock is ahead of this machine's: in `Date`, in modification times, in judging signatures.
    pub clock_offset_secs: i64,
    /// The region signatures must name; without one any is taken.
    pub region: Option<String>,
    /// Keys and common prefixes in a page of a listing, at most, whatever `max-keys` says.
    pub page_keys: usize,
    /// See [`Conditional`].
    pub conditional_put: Conditional,
    /// See [`Checksums`].
    pub checksums: Checksums,
    /// See [`Etags`].
    pub etags: Etags,
    /// See [`Versioning`].
    pub versioning: Versioning,
    /// The answer to GetBucketLocation.
    pub location: Canned,
    /// The answer to GetBucketVersioning; usually what [`Behaviour::versioning`] says.
    pub versioning_answer: Canned,
    /// The answer to GetBucketLifecycleConfiguration; usually 404 `NoSuchLifecycleConfiguration`.
    pub lifecycle: Canned,
    /// The answer to GetObjectLockConfiguration; usually 404 `ObjectLockConfigurationNotFoundError`.
    pub object_lock: Canned,
    /// Storage classes that are refused with 400 `InvalidStorageClass`, besides those that nobody knows.
    pub classes_refused: Vec<String>,
    /// Storage classes that must be thawed before they can be read.
    pub classes_cold: Vec<String>,
    /// Requests of any kind after RestoreObject until the object can be read.
    pub thaw_requests: u64,
    /// Keys that contain one of these cannot be deleted: 403 `AccessDenied`, as under object lock.
    pub locked: Vec<String>,
    /// GET and HEAD of what is not there are answered with 403 `AccessDenied`: who may list only below a prefix learns no more, from
    /// AWS and from Ceph.
    pub missing_is_denied: bool,
    /// No answer has a `Date`.
    pub dateless: bool,
    /// A listing whose continuation token names a key that is gone begins from the top again: rclone's pager.
    pub restart_when_marker_gone: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let credential = Credential { access: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), token: None, expired: false };
        Behaviour {
            credentials: vec![credential],
            clock_offset_secs: 0,
            region: Some(REGION.to_owned()),
            page_keys: 1000,
            conditional_put: Conditional::Honoured,
            checksums: Checksums::Verified,
            etags: Etags::Md5,
            versioning: Versioning::Off,
            location: Canned::Usual,
            versioning_answer: Canned::Usual,
            lifecycle: Canned::Usual,
            object_lock: Canned::Usual,
            classes_refused: Vec::new(),
            classes_cold: vec!["GLACIER".to_owned(), "DEEP_ARCHIVE".to_owned()],
            thaw_requests: 3,
            locked: Vec::new(),
            missing_is_denied: false,
            dateless: false,
            restart_when_marker_gone: false,
        }
    }
}
