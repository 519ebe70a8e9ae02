//! What the bucket says of itself: rules that would delete or freeze what a repository needs, old versions, locks. For `doctor`.
//! What may not be read is said to be unknown, never taken for fine.

use crate::error::Result;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::archive::ARCHIVES;
use crate::store::s3::request::Try;
use crate::store::s3::{Inner, S3Store};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule};
use std::io::ErrorKind;

/// An answer about the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// This.
    Known(T),
    /// It may not be asked, or the store knows no such thing: why.
    Unknown(String),
}

/// A lifecycle rule that touches the prefix of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threat {
    /// Its name.
    pub rule: String,
    /// It deletes objects.
    pub expires: bool,
    /// It moves them to this class, where what is needed at every run cannot be read at once, or costs by the read.
    pub moves_to: Option<String>,
}

/// What a bucket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFacts {
    /// Rules that would delete or move what is ours.
    pub threats: Fact<Vec<Threat>>,
    /// Whether old versions are kept.
    pub versioning: Fact<bool>,
    /// Whether deleted versions go by themselves some day; means something with versioning only.
    pub clears_versions: Fact<bool>,
    /// Whether objects can be locked.
    pub object_lock: Fact<bool>,
}

impl S3Store {
    /// Asks the bucket.
    pub fn bucket_facts(&self) -> Result<BucketFacts> {
        self.inner.runtime.block_on(self.inner.bucket_facts())
    }
}

/// Judges an answer about the bucket. Some stores (rclone's) do not know such questions and answer them with a listing: it is a store, as has
/// been seen, and asking again would change nothing.
fn about_bucket<E>(error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let something_else = matches!(&error, SdkError::ServiceError(service) if service.raw().status().is_success());
    let refusal = judge(error);
    match something_else {
        true if refusal.verdict == Verdict::Passing => Refusal::new(Verdict::Unsupported, "the store answers something else"),
        _ => refusal,
    }
}

/// Takes an answer that may be refused for what it is; `none` is the code for "nobody configured that".
pub(super) fn fact<T>(asked: Result<T, Refusal>, none: &str, nothing: T) -> Result<Fact<T>, Refusal> {
    match asked {
        Ok(known) => Ok(Fact::Known(known)),
        Err(refusal) if refusal.text.contains(none) => Ok(Fact::Known(nothing)),
        Err(refusal) => match refusal.verdict {
            Verdict::Final(ErrorKind::PermissionDenied | ErrorKind::Other) | Verdict::Unsupported | Verdict::Missing => {
                Ok(Fact::Unknown(refusal.text))
            }
            _ => Err(refusal),
        },
    }
}

impl Inner {
    /// The lifecycle rules of the bucket.
    pub(super) async fn rules(&self) -> Result<Fact<Vec<LifecycleRule>>, Refusal> {
        let bucket = &self.place.bucket;
        let rules = self
            .request(|Try { client, .. }| async move {
                let answer = client.get_bucket_lifecycle_configuration().bucket(bucket).send().await.map_err(about_bucket)?;
                Ok(answer.rules().to_vec())
            })
            .await;
        fact(rules, "NoSuchLifecycleConfiguration", Vec::new())
    }

    async fn bucket_facts(&self) -> Result<BucketFacts> {
        let failed = |refusal| self.error(crate::error::StoreOp::Open, &self.place.text(), refusal);
        let bucket = &self.place.bucket;
        let rules = self.rules().await.map_err(failed)?;
        let versioning = self
            .request(|Try { client, .. }| async move {
                let answer = client.get_bucket_versioning().bucket(bucket).send().await.map_err(about_bucket)?;
                Ok(answer.status() == Some(&BucketVersioningStatus::Enabled))
            })
            .await;
        let object_lock = self
            .request(|Try { client, .. }| async move {
                let answer = client.get_object_lock_configuration().bucket(bucket).send().await.map_err(about_bucket)?;
                Ok(answer.object_lock_configuration().is_some())
            })
            .await;
        let ours: Fact<Vec<LifecycleRule>> = match rules {
            Fact::Known(rules) => Fact::Known(rules.into_iter().filter(|rule| self.touches(rule)).collect()),
            Fact::Unknown(why) => Fact::Unknown(why),
        };
        let map = |ours: &Fact<Vec<LifecycleRule>>| match ours {
            Fact::Known(rules) => Fact::Known(rules.iter().filter_map(threat).collect()),
            Fact::Unknown(why) => Fact::Unknown(why.clone()),
        };
        let clears = match &ours {
            Fact::Known(rules) => Fact::Known(rules.iter().any(|rule| rule.noncurrent_version_expiration().is_some())),
            Fact::Unknown(why) => Fact::Unknown(why.clone()),
        };
        Ok(BucketFacts {
            threats: map(&ours),
            versioning: fact(versioning, "NoSuchVersioning", false).map_err(failed)?,
            clears_versions: clears,
            object_lock: fact(object_lock, "ObjectLockConfigurationNotFoundError", false).map_err(failed)?,
        })
    }

    /// Whether a rule is in force and its filter can match an object of ours. A filter by tags or sizes is taken to match.
    pub(super) fn touches(&self, rule: &LifecycleRule) -> bool {
        let (ours, theirs) = (self.place.key(""), prefix_of(rule));
        *rule.status() == ExpirationStatus::Enabled && (ours.starts_with(theirs) || theirs.starts_with(&ours))
    }
}

/// What the keys begin with that a rule is about.
pub(super) fn prefix_of(rule: &LifecycleRule) -> &str {
    #[allow(deprecated, reason = "rules of old buckets carry their prefix outside of the filter")]
    let own = rule.prefix();
    let filter = rule.filter();
    own.or(filter.and_then(|f| f.prefix())).or(filter.and_then(|f| f.and()).and_then(|and| and.prefix())).unwrap_or("")
}

fn threat(rule: &LifecycleRule) -> Option<Threat> {
    let expires = rule.expiration().is_some_and(|e| e.days().is_some() || e.date().is_some());
    // Of several, the one into an archive is what matters: it comes last, and need not stand last.
    let classes = || rule.transitions().iter().filter_map(|t| t.storage_class()).map(|class| class.as_str());
    let moves_to = classes().find(|class| ARCHIVES.contains(class)).or_else(|| classes().next()).map(str::to_owned);
    let name = rule.id().filter(|id| !id.is_empty()).unwrap_or("without a name").to_owned();
    (expires || moves_to.is_some()).then_some(Threat { rule: name, expires, moves_to })
}
