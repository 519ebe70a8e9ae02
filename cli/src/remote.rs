//! Stores over a network: what the command line and the environment say of them, as the engine takes it.
//! It must never take a key from the command line, nor print one. It obeys what README.md says of S3.

use crate::args::{Global, Side};
use crate::exit::Fail;
use crate::output::Output;
use crate::{signals, size};
use seabed_engine::error::Error;
use seabed_engine::store::s3::{Pace, S3Credentials, S3Options, S3Place, S3Store, Sse};
use std::path::PathBuf;
use std::time::Duration;

/// Where environment or profile name an endpoint, as AWS' own tools let them, `s3://` means a bucket there.
pub fn at_endpoint(place: S3Place) -> Result<S3Place, Fail> {
    place.configured().map_err(|error| Fail::from(error).hint("correct it, or write the endpoint: --repo s3:https://HOST/BUCKET/PREFIX"))
}

/// A file of certificates that the environment names: our own variable, else that of AWS' tools.
fn ca_file() -> Option<PathBuf> {
    ["SEABED_CA_FILE", "AWS_CA_BUNDLE"].iter().find_map(|name| std::env::var_os(name).filter(|path| !path.is_empty())).map(PathBuf::from)
}

/// The region that the command line or the environment names.
pub fn region(global: &Global) -> Option<String> {
    let named = |name: &&str| std::env::var(name).ok().filter(|region| !region.is_empty());
    global.remote.s3_region.clone().or_else(|| ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(named))
}

/// What encryption the store is to do.
pub fn sse(global: &Global) -> Result<Option<Sse>, Fail> {
    Ok(match global.remote.sse.as_deref() {
        None => None,
        Some("AES256") => Some(Sse::Aes256),
        Some("aws:kms") => Some(Sse::Kms(None)),
        Some(text) => match text.strip_prefix("aws:kms:").filter(|key| !key.is_empty()) {
            Some(key) => Some(Sse::Kms(Some(key.to_owned()))),
            None => return Err(Fail::config(format!("`{text}` is no encryption")).hint("write AES256, aws:kms or aws:kms:KEY")),
        },
    })
}

/// Keys for a store that is not that of the own repository, where variables name them: `SEABED_FROM_AWS_ACCESS_KEY_ID` and the like. Else the
/// two share what AWS' tools know.
fn credentials(global: &Global) -> Result<Option<S3Credentials>, Fail> {
    if global.credentials.is_some() || global.side == Side::Own {
        return Ok(global.credentials.clone());
    }
    let named = |name: &str| std::env::var(global.side.variable(name)).ok().filter(|value| !value.is_empty());
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    match (named(id), named(secret)) {
        (None, None) => Ok(None),
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Some(S3Credentials { access_key_id, secret_access_key, session_token: named("AWS_SESSION_TOKEN") }))
        }
        _ => {
            let (id, secret) = (global.side.variable(id), global.side.variable(secret));
            Err(Fail::config(format!("only one of {id} and {secret} is set")).hint("set both, or none"))
        }
    }
}

/// The store at a place, as the options say.
pub fn store(global: &Global, out: &Output, place: S3Place) -> Result<S3Store, Fail> {
    let asked = &global.remote;
    let rate = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => size::parse(text).map(Some).map_err(|why| Fail::config(why).hint("write it like 500K or 10M")),
    };
    let options = S3Options {
        region: asked.s3_region.clone(),
        path_style: match asked.s3_path_style.as_deref() {
            Some("always") => Some(true),
            Some("never") => Some(false),
            _ => None,
        },
        ca_file: asked.ca_file.clone().or_else(ca_file),
        allow_http: asked.allow_http,
        storage_class: asked.storage_class.clone(),
        sse: sse(global)?,
        connections: asked.connections.map(usize::from),
        limit_upload: rate(&asked.limit_upload)?,
        limit_download: rate(&asked.limit_download)?,
        pace: Pace { budget: Duration::from_secs(asked.retry_minutes.saturating_mul(60)), ..Pace::default() },
        credentials: credentials(global)?,
        stop: Some(signals::flag()),
        say: Some(out.teller()),
    };
    let in_the_clear = place.is_in_the_clear() && !asked.allow_http;
    S3Store::open(place, options).map_err(|error| match error {
        Error::Option { .. } if in_the_clear => Fail::from(error).hint("use https://, or --allow-http if you are sure of the network"),
        other => Fail::from(other),
    })
}
