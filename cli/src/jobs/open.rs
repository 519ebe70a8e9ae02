//! Repositories of a configuration, as the rest of the program opens them: `[repo.NAME]` becomes the options that a command line would have.

use crate::args::{Global, Remote};
use crate::exit::{Code, Fail};
use crate::jobs::config::Config;
use crate::jobs::config::repo::{Repo, S3};
use crate::jobs::config::secret::path_of;
use crate::open::{Kind, Opened};
use seabed_engine::store::s3::S3Credentials;
use std::path::PathBuf;

/// Before a name on a command line it says that a repository of the configuration is meant.
const AT: char = '@';

/// The options of a command line, where `--repo @NAME` becomes what the configuration says of NAME.
pub fn resolved(global: &Global) -> Result<Global, Fail> {
    let variable = || std::env::var_os(global.side.variable("REPOSITORY")).map(PathBuf::from);
    let named = global.repo.clone().or_else(variable);
    let name = named.as_ref().and_then(|repo| repo.to_str()).and_then(|text| text.strip_prefix(AT)).map(str::to_owned);
    match name {
        Some(name) => of(&Config::load(global.config.as_deref())?, &name, global),
        None => Ok(global.clone()),
    }
}

/// The options with which a repository of the configuration is opened. What the command line says beside them stays.
pub fn of(config: &Config, name: &str, base: &Global) -> Result<Global, Fail> {
    let repo = config.repo(name)?;
    let mut global = Global { repo: Some(place(config, repo)), remote: remote(&repo.s3, &base.remote), ..base.clone() };
    let what = format!("the passphrase of repo.{name}");
    if let Some(password) = repo.key.password().read(&what)? {
        global.secret = Some(password.as_bytes().to_vec().into());
    } else if let Some(path) = &repo.key.key_file {
        global.key_file = Some(config.beside(&path_of(path, &what)?));
    }
    global.credentials = credentials(&repo.s3, &format!("repo.{name}"))?;
    if let Some(cache) = config.cache_dir.as_deref().filter(|_| base.cache_dir.is_none() && !base.no_cache) {
        global.cache_dir = Some(config.beside(cache));
    }
    Ok(global)
}

/// Keys of a bucket that the configuration names; else what AWS' tools find.
pub fn credentials(s3: &S3, place: &str) -> Result<Option<S3Credentials>, Fail> {
    let secret = s3.secret().read(&format!("the secret key of {place}"))?;
    let (Some(id), Some(secret)) = (&s3.access_key_id, secret) else { return Ok(None) };
    let session_token = s3.session_token.as_ref().map(|token| token.reveal().to_owned());
    Ok(Some(S3Credentials { access_key_id: id.clone(), secret_access_key: secret.to_string(), session_token }))
}

/// Where it is, as `--repo` takes it.
fn place(config: &Config, repo: &Repo) -> PathBuf {
    if repo.url.starts_with("s3:") {
        return at_endpoint(&repo.url, repo.s3.endpoint()).into();
    }
    let path = repo.url.strip_prefix("dir:").unwrap_or(&repo.url);
    config.beside(&PathBuf::from(path))
}

/// `s3://BUCKET/PREFIX` at another endpoint than AWS' own.
pub fn at_endpoint(url: &str, endpoint: Option<&str>) -> String {
    match (url.strip_prefix("s3://"), endpoint) {
        (Some(rest), Some(endpoint)) => format!("s3:{}/{rest}", endpoint.trim_end_matches('/')),
        _ => url.to_owned(),
    }
}

/// The options of a store over a network.
pub fn remote(s3: &S3, base: &Remote) -> Remote {
    let style = |path: bool| if path { "always" } else { "never" }.to_owned();
    let rate = |size: crate::jobs::config::units::Size| size.0.to_string();
    // What was typed now wins over what was written once.
    Remote {
        s3_region: base.s3_region.clone().or_else(|| s3.region.clone()),
        s3_path_style: base.s3_path_style.clone().or_else(|| s3.path_style.map(style)),
        ca_file: base.ca_file.clone().or_else(|| s3.ca_file.clone()),
        allow_http: base.allow_http || s3.allow_http,
        storage_class: base.storage_class.clone().or_else(|| s3.storage_class.clone()),
        sse: base.sse.clone().or_else(|| s3.sse.clone()),
        connections: base.connections.or(s3.connections),
        limit_upload: base.limit_upload.clone().or_else(|| s3.limit_upload.map(rate)),
        limit_download: base.limit_download.clone().or_else(|| s3.limit_download.map(rate)),
        retry_minutes: s3.retry_minutes.filter(|_| base.retry_minutes == Remote::RETRY_MINUTES).unwrap_or(base.retry_minutes),
    }
}

/// Refuses to begin where less of the file system is free than the configuration demands.
pub fn room(repo: &Repo, name: &str, opened: &Opened) -> Result<(), Fail> {
    let (Some(share), Kind::Directory(path)) = (repo.min_free, &opened.place.kind) else { return Ok(()) };
    let Ok(stat) = rustix::fs::statvfs(path) else { return Ok(()) };
    let (free, all) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize));
    if free >= share.of(all) {
        return Ok(());
    }
    let (free, all) = (crate::size::human(free), crate::size::human(all));
    Err(Fail::new(Code::Failed, format!("repo.{name}: {free} of {all} are free at {}, less than {share} (min_free)", path.display()))
        .hint("make room there: a retention that keeps less, `seabed gc`, or a larger disk"))
}
