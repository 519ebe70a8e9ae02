//! Objects in archive classes: whether one can be read at once, and the order to bring one back. Which classes those are is known here.
//! It must never take silence for readiness where the class says otherwise: a restore that waited for nothing would fail in its middle.

use crate::error::{Damage, Error, Result, StoreOp};
use crate::id::ObjectName;
use crate::store::s3::Inner;
use crate::store::s3::answer::{Refusal, Verdict, judge};
use crate::store::s3::request::Try;
use crate::store::{Readiness, ThawOrder, ThawTier};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{GlacierJobParameters, RestoreRequest, Tier};
use std::io;

/// Classes whose objects have to be brought back. `GLACIER_IR` is read like any other.
pub(super) const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// What an answer to HEAD says of it.
fn readiness(answer: &HeadObjectOutput) -> Readiness {
    let class = answer.storage_class().map_or("", |class| class.as_str());
    // Intelligent-Tiering keeps its class and tells the tier beside it.
    if !ARCHIVES.contains(&class) && answer.archive_status().is_none() {
        return Readiness::Ready;
    }
    match answer.restore() {
        None => Readiness::Frozen,
        Some(restore) if restore.contains("ongoing-request=\"true\"") => Readiness::Thawing,
        Some(_) => Readiness::Ready,
    }
}

impl Inner {
    async fn stored(&self, name: &ObjectName) -> Result<HeadObjectOutput> {
        self.look(name).await?.ok_or_else(|| Error::damaged(name, Damage::Missing))
    }

    pub(super) async fn readiness(&self, name: &ObjectName) -> Result<Readiness> {
        self.stored(name).await.map(|answer| readiness(&answer))
    }

    pub(super) async fn thaw(&self, name: &ObjectName, order: ThawOrder) -> Result<()> {
        let key = self.place.key(name.as_str());
        // A copy for some days is made of what lies in an archive class; in Intelligent-Tiering the object itself comes back, to stay.
        let copied = ARCHIVES.contains(&self.stored(name).await?.storage_class().map_or("", |class| class.as_str()));
        let tier = match order.tier {
            ThawTier::Expedited => Tier::Expedited,
            ThawTier::Standard => Tier::Standard,
            ThawTier::Bulk => Tier::Bulk,
        };
        let ordered = self
            .request(|Try { client, .. }| {
                let (key, tier) = (&key, tier.clone());
                async move {
                    let job = GlacierJobParameters::builder().tier(tier).build();
                    let job = job.map_err(|error| Refusal::new(Verdict::Final(io::ErrorKind::InvalidInput), error.to_string()))?;
                    let days = copied.then(|| i32::try_from(order.days).unwrap_or(i32::MAX));
                    let asked = RestoreRequest::builder().set_days(days).glacier_job_parameters(job).build();
                    let answer = client.restore_object().bucket(&self.place.bucket).key(key).restore_request(asked).send().await;
                    match answer {
                        Ok(_) => Ok(()),
                        // By an earlier run, or by an earlier try whose answer was lost.
                        Err(error) if error.code() == Some("RestoreAlreadyInProgress") => Ok(()),
                        Err(error) => Err(judge(error)),
                    }
                }
            })
            .await;
        match ordered {
            Ok(()) => Ok(()),
            Err(refusal) if refusal.verdict == Verdict::Missing => Err(Error::damaged(name, Damage::Missing)),
            Err(refusal) if refusal.verdict == Verdict::Final(io::ErrorKind::ResourceBusy) => {
                let text = format!("the store has no room for expedited orders now, order it as standard or bulk ({})", refusal.text);
                Err(self.error(StoreOp::Thaw, name.as_str(), Refusal { text, ..refusal }))
            }
            // What this says here is that nothing of it is archived.
            Err(refusal) if refusal.verdict == Verdict::Archived => Ok(()),
            Err(refusal) => Err(self.error(StoreOp::Thaw, name.as_str(), refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{ArchiveStatus, StorageClass};

    #[test]
    fn only_what_is_archived_and_not_brought_back_is_frozen() {
        let head = |class: Option<&str>, restore: Option<&str>, tier: Option<ArchiveStatus>| {
            let answer = HeadObjectOutput::builder().set_storage_class(class.map(StorageClass::from));
            readiness(&answer.set_restore(restore.map(str::to_owned)).set_archive_status(tier).build())
        };
        let (ongoing, done) = ("ongoing-request=\"true\"", "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"");
        assert_eq!(head(None, None, None), Readiness::Ready);
        assert_eq!(head(Some("GLACIER_IR"), None, None), Readiness::Ready);
        assert_eq!(head(Some("INTELLIGENT_TIERING"), None, None), Readiness::Ready);
        for class in ARCHIVES {
            assert_eq!(head(Some(class), None, None), Readiness::Frozen);
            assert_eq!(head(Some(class), Some(ongoing), None), Readiness::Thawing);
            assert_eq!(head(Some(class), Some(done), None), Readiness::Ready);
        }
        let deep = Some(ArchiveStatus::DeepArchiveAccess);
        assert_eq!(head(Some("INTELLIGENT_TIERING"), None, deep.clone()), Readiness::Frozen);
        assert_eq!(head(Some("INTELLIGENT_TIERING"), Some(ongoing), deep), Readiness::Thawing);
    }
}
