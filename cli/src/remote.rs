//! Stores over a network: what the command line and the environment say of them, as the engine takes it.
//! It must never take a key from the command line, nor print one. It obeys what README.md says of S3.

use crate::args::Global;
use crate::exit::Fail;
use crate::output::Output;
use crate::{signals, size};
use seabed_engine::store::s3::{Pace, S3Options, S3Place, S3Store, Sse};
use std::path::PathBuf;
use std::time::Duration;

/// Where the environment names an endpoint, as AWS' own tools let it, `s3://` means a bucket there.
pub fn at_endpoint(place: S3Place) -> Result<S3Place, Fail> {
    let named = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let Some(endpoint) = named.filter(|_| place.endpoint.is_none()) else { return Ok(place) };
    let text = format!("s3:{}/{}/{}", endpoint.trim_end_matches('/'), place.bucket, place.prefix);
    S3Place::parse(&text).map_err(|why| Fail::config(format!("AWS_ENDPOINT_URL makes no sense: {why}")))
}

/// The store at a place, as the options say.
pub fn store(global: &Global, out: &Output, place: S3Place) -> Result<S3Store, Fail> {
    let asked = &global.remote;
    let rate = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => size::parse(text).map(Some).map_err(|why| Fail::config(why).hint("write it like 500K or 10M")),
    };
    let sse = match asked.sse.as_deref() {
        None => None,
        Some("AES256") => Some(Sse::Aes256),
        Some("aws:kms") => Some(Sse::Kms(None)),
        Some(text) => match text.strip_prefix("aws:kms:").filter(|key| !key.is_empty()) {
            Some(key) => Some(Sse::Kms(Some(key.to_owned()))),
            None => return Err(Fail::config(format!("`{text}` is no encryption")).hint("write AES256, aws:kms or aws:kms:KEY")),
        },
    };
    let options = S3Options {
        region: asked.s3_region.clone(),
        path_style: match asked.s3_path_style.as_deref() {
            Some("always") => Some(true),
            Some("never") => Some(false),
            _ => None,
        },
        ca_file: asked.ca_file.clone().or_else(|| std::env::var_os("SEABED_CA_FILE").map(PathBuf::from)),
        allow_http: asked.allow_http,
        storage_class: asked.storage_class.clone(),
        sse,
        connections: asked.connections.map(usize::from),
        limit_upload: rate(&asked.limit_upload)?,
        limit_download: rate(&asked.limit_download)?,
        pace: Pace { budget: Duration::from_secs(asked.retry_minutes.saturating_mul(60)), ..Pace::default() },
        credentials: None,
        stop: Some(signals::flag()),
        say: Some(out.teller()),
    };
    S3Store::open(place, options).map_err(|error| match error {
        seabed_engine::error::Error::Option { .. } => {
            Fail::from(error).hint("use https://, or --allow-http if you are sure of the network")
        }
        other => Fail::from(other),
    })
}
