//! The operations on a bucket: making it, and what it says of itself.
//! It must never change an object.

use super::State;
use super::behaviour::{Canned, Versioning};
use super::reply::Reply;
use super::request::{Call, Operation};
use super::xml::NAMESPACE;

/// Carries out what is asked for; 501 for what this server does not have.
pub(super) fn run(state: &mut State, call: &Call) -> Reply {
    let behaviour = &state.behaviour;
    match call.operation {
        Operation::CreateBucket => {
            if call.bucket.is_empty() {
                return Reply::error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.");
            }
            if !state.objects.make_bucket(&call.bucket) {
                return Reply::error(409, "BucketAlreadyOwnedByYou", "You already own a bucket of this name.");
            }
            Reply::empty(200).header("location", &format!("/{}", call.bucket))
        }
        Operation::HeadBucket => match &behaviour.region {
            Some(region) => Reply::empty(200).header("x-amz-bucket-region", region),
            None => Reply::empty(200),
        },
        Operation::GetBucketLocation => canned(&behaviour.location, || {
            // Of the first region AWS says nothing.
            let region = behaviour.region.as_deref().filter(|region| *region != "us-east-1").unwrap_or("");
            Reply::xml(&format!("<LocationConstraint xmlns=\"{NAMESPACE}\">{region}</LocationConstraint>"))
        }),
        Operation::GetBucketVersioning => canned(&behaviour.versioning_answer, || {
            let status = match behaviour.versioning {
                Versioning::Off => "",
                Versioning::Enabled => "<Status>Enabled</Status>",
                Versioning::Suspended => "<Status>Suspended</Status>",
            };
            Reply::xml(&format!("<VersioningConfiguration xmlns=\"{NAMESPACE}\">{status}</VersioningConfiguration>"))
        }),
        Operation::GetBucketLifecycleConfiguration => {
            canned(&behaviour.lifecycle, || Reply::error(404, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"))
        }
        Operation::GetObjectLockConfiguration => canned(&behaviour.object_lock, || {
            let message = "Object Lock configuration does not exist for this bucket";
            Reply::error(404, "ObjectLockConfigurationNotFoundError", message)
        }),
        _ => Reply::error(501, "NotImplemented", "A header or query you provided implies functionality that is not implemented"),
    }
}

fn canned(answer: &Canned, usual: impl FnOnce() -> Reply) -> Reply {
    match answer {
        Canned::Usual => usual(),
        Canned::Xml(text) => Reply::xml(text),
        Canned::Error(status, code) => Reply::error(*status, code, "Canned."),
    }
}
