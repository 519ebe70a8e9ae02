//! `kind = "s3"`: objects of another bucket, read by its API. How a bucket that is no repository is opened, for sources and for restores.
//! It must never print a key of it, nor take one from a command line.

use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::Fail;
use crate::jobs::config::Config;
use crate::jobs::config::source::Bucket as Configured;
use crate::jobs::open::{at_endpoint, credentials};
use crate::{remote, signals};
use seabed_engine::backup::{ObjectSource, Pattern};
use seabed_engine::store::s3::{Bucket, Pace, S3Credentials, S3Options, S3Place, Say};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A bucket, and how it is talked to: plain data. What is not said here is found as AWS' tools find it.
#[derive(Clone, Debug, Default)]
pub struct BucketAsked {
    /// `s3://bucket/prefix` or `s3:https://host/bucket/prefix`.
    pub url: String,
    /// `https://host` of a store that is not AWS'; empty is none.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The bucket in the path, not in the host's name.
    pub path_style: Option<bool>,
    /// Talk to other machines without TLS.
    pub allow_http: bool,
    /// Certificates that are trusted too.
    pub ca_file: Option<PathBuf>,
    /// Requests at a time.
    pub connections: Option<usize>,
    /// Bytes a second that are sent at most.
    pub limit_upload: Option<u64>,
    /// Bytes a second that are received at most.
    pub limit_download: Option<u64>,
    /// Minutes for which a store that does not answer is tried [default: 15].
    pub retry_minutes: Option<u64>,
    /// A key of its own.
    pub credentials: Option<S3Credentials>,
    /// Only keys that match one of these patterns, if there are any.
    pub include: Vec<String>,
    /// Not keys that match one of these.
    pub exclude: Vec<String>,
}

impl BucketAsked {
    /// What a configuration says of the source `name`.
    pub fn of(config: &Config, name: &str, bucket: &Configured) -> Result<Self, Fail> {
        let s3 = &bucket.s3;
        let endpoint = bucket.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()).or(s3.endpoint());
        Ok(BucketAsked {
            url: bucket.url.clone(),
            endpoint: endpoint.map(str::to_owned),
            region: s3.region.clone(),
            path_style: s3.path_style,
            allow_http: s3.allow_http,
            ca_file: s3.ca_file.as_deref().map(|file| config.beside(file)),
            connections: s3.connections.map(usize::from),
            limit_upload: s3.limit_upload.map(|size| size.0),
            limit_download: s3.limit_download.map(|size| size.0),
            retry_minutes: s3.retry_minutes,
            credentials: credentials(s3, &format!("source.{name}"))?,
            include: bucket.include.clone(),
            exclude: bucket.exclude.clone(),
        })
    }

    /// Opens it; asks it nothing yet. `what` it is called in errors: `source.NAME`, `--into`.
    pub fn open(&self, what: &str, say: Option<Say>) -> Result<Bucket, Fail> {
        let url = at_endpoint(&self.url, self.endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()));
        // The name itself is not repeated: it may hold a secret.
        let place = S3Place::parse(&url).map_err(|why| {
            Fail::config(format!("{what}: the name of the bucket makes no sense: {why}"))
                .hint("write s3://BUCKET/PREFIX, or s3:https://HOST/BUCKET/PREFIX")
        })?;
        let pace = Pace::default();
        let options = S3Options {
            region: self.region.clone(),
            path_style: self.path_style,
            ca_file: self.ca_file.clone().or_else(remote::ca_file),
            allow_http: self.allow_http,
            connections: self.connections,
            limit_upload: self.limit_upload,
            limit_download: self.limit_download,
            pace: Pace {
                budget: self.retry_minutes.map_or(pace.budget, |minutes| Duration::from_secs(minutes.saturating_mul(60))),
                ..pace
            },
            credentials: self.credentials.clone(),
            stop: Some(signals::flag()),
            say,
            ..S3Options::default()
        };
        let in_the_clear = place.is_in_the_clear() && !self.allow_http;
        Bucket::open(place, options).map_err(|error| match in_the_clear {
            true => Fail::from(error).hint("use https://, or allow_http (--allow-http) if you are sure of the network"),
            false => Fail::from(error),
        })
    }

    /// The patterns as the engine takes them.
    pub fn patterns(texts: &[String]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern { text: text.as_bytes().to_vec(), fold_case: false }).collect()
    }

    /// The source of a backup: its objects become files below `name`.
    pub fn source(&self, name: &str, say: Option<Say>) -> Result<ObjectSource, Fail> {
        let bucket = self.open(&format!("source.{name}"), say)?;
        let place = bucket.place().text();
        Ok(ObjectSource {
            include: Self::patterns(&self.include),
            exclude: Self::patterns(&self.exclude),
            ..ObjectSource::new(stream_name(name.as_bytes())?, place, Arc::new(bucket))
        })
    }
}

/// As the engine takes it.
pub fn bucket(asked: &Asked<'_>, bucket: &Configured) -> Result<Prepared, Fail> {
    let source = BucketAsked::of(asked.config, asked.name, bucket)?.source(asked.name, None)?;
    Ok(Prepared { objects: vec![source], ..Prepared::default() })
}
