//! `[repo.NAME]`: a repository, how it is opened, and how its store is talked to.

use super::secret::{Given, Hidden};
use super::units::{Share, Size};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Where: `dir:/path` or a path, `s3://BUCKET/PREFIX`, `s3:https://HOST/BUCKET/PREFIX`.
    pub url: String,
    /// What opens it.
    #[serde(default)]
    pub key: KeyGiven,
    /// How its bucket is talked to.
    #[serde(default, skip_serializing_if = "S3::is_default")]
    pub s3: S3,
    /// The policy by which its snapshots go, unless a job names another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// A run does not begin to write where less of the file system is free: `10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_free: Option<Share>,
    /// Target size of packs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack_size: Option<Size>,
}

/// What opens a repository; at most one of these. Without any: the key file that this program made for it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGiven {
    /// The passphrase itself: write `"${NAME}"` and keep it in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden>,
    /// A file with the passphrase, or `credential:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A command that prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
    /// A key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl KeyGiven {
    /// The passphrase, as far as it is one.
    pub fn password(&self) -> Given<'_> {
        Given { value: self.password.as_ref(), file: self.password_file.as_deref(), command: self.password_command.as_deref() }
    }
}

/// How a bucket is talked to. Keys that are not here come from the environment, a profile or the machine, as AWS' tools find them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `https://HOST` of a store that is not AWS'; empty is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name the bucket in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Class of data packs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The store encrypts too: AES256, aws:kms, aws:kms:KEY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<String>,
    /// Certificates that are trusted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Talk without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<std::num::NonZeroUsize>,
    /// Bytes a second that are sent at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_upload: Option<Size>,
    /// Bytes a second that are received at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_download: Option<Size>,
    /// Minutes for which a store that does not answer is tried [default: 15].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_minutes: Option<u64>,
    /// Id of a key of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The key's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Hidden>,
    /// A file with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// A command that prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_command: Option<String>,
    /// A token that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Hidden>,
}

impl S3 {
    fn is_default(&self) -> bool {
        *self == S3::default()
    }

    /// The secret of the key.
    pub fn secret(&self) -> Given<'_> {
        Given {
            value: self.secret_access_key.as_ref(),
            file: self.secret_access_key_file.as_deref(),
            command: self.secret_access_key_command.as_deref(),
        }
    }

    /// The endpoint, where one is named: an empty one is what `${S3_ENDPOINT:-}` gives.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty())
    }
}
