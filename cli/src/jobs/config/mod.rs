//! `seabed.toml`: what it says, in words. Found, expanded, read and checked here; what a value means to the engine stands elsewhere.
//! It must never touch a repository or a database, nor let a key that it does not know pass for one that it obeys.
//! It obeys what README.md says of the configuration.

mod advice;
mod check;
mod expand;
mod find;
pub mod job;
mod overrides;
mod presets;
pub mod repo;
pub mod retention;
pub mod secret;
mod show;
pub mod source;
pub mod units;

pub use expand::env_file;
pub use find::find;
pub use presets::{PRESETS, SECRETS};
pub use show::show;

use crate::exit::{Fail, plain};
use crate::jobs::config::job::Job;
use crate::jobs::config::repo::Repo;
use crate::jobs::config::retention::Retention;
use crate::jobs::config::source::Source;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The version of the file that this program reads.
pub const VERSION: u32 = 1;
/// More than any hand or generator writes: what is larger is another file.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// A whole configuration, checked: every name that something refers to is there.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the format: 1.
    #[serde(default = "version")]
    pub version: u32,
    /// Time zone of schedules and of retention, where these name none.
    #[serde(default = "utc")]
    pub tz: String,
    /// The host that snapshots are of [default: SEABED_HOST, else the machine's name].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A file of `NAME=value` lines that variables are looked up in before the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_file: Option<PathBuf>,
    /// Where runs are recorded and locks lie [default: $XDG_STATE_HOME/seabed, as root /var/lib/seabed].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Where caches are kept, as `--cache-dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
    /// Whom to call, for runbooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// Repositories, by name.
    #[serde(default, rename = "repo")]
    pub repos: BTreeMap<String, Repo>,
    /// Policies, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retention: BTreeMap<String, Retention>,
    /// Sources, by name.
    #[serde(default, rename = "source")]
    pub sources: BTreeMap<String, Source>,
    /// Jobs, by name.
    #[serde(default, rename = "job")]
    pub jobs: BTreeMap<String, Job>,
    /// Where it was read from.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its text, with all variables in their places: what a worker of a run is given. It may hold secrets.
    #[serde(skip)]
    pub text: secret::Hidden,
}

fn version() -> u32 {
    VERSION
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Config {
    /// Reads and checks the file that is meant.
    pub fn load(named: Option<&Path>) -> Result<Self, Fail> {
        let path = find(named)?;
        let text = read(&path)?;
        let file = File::new(&path, &text);
        let text = expand::expand(&file)?;
        Self::parse(&path, text, &overrides::from_environment())
    }

    /// Reads one from a text in which every variable has its value already, as a run hands it to its workers.
    pub fn expanded(path: &Path, text: String) -> Result<Self, Fail> {
        Self::parse(path, expand::Expanded::as_is(text), &[])
    }

    fn parse(path: &Path, text: expand::Expanded, overrides: &[overrides::Override]) -> Result<Self, Fail> {
        let mut config: Config = toml::from_str(&text.text).map_err(|error| advice::fail(path, &text, &error))?;
        let mut whole = text.text;
        if !overrides.is_empty() {
            // Only now: a mistake in the file is told with its line, one in a variable with the variable.
            (config, whole) = overrides::apply(&whole, overrides)?;
        }
        config.path = path.to_owned();
        config.text = secret::Hidden::new(whole);
        check::check(&config)?;
        Ok(config)
    }

    /// A job by its name.
    pub fn job(&self, name: &str) -> Result<&Job, Fail> {
        self.jobs.get(name).ok_or_else(|| advice::no_such("job", name, self.jobs.keys()))
    }

    /// A source by its name.
    pub fn source(&self, name: &str) -> Result<&Source, Fail> {
        self.sources.get(name).ok_or_else(|| advice::no_such("source", name, self.sources.keys()))
    }

    /// A repository by its name.
    pub fn repo(&self, name: &str) -> Result<&Repo, Fail> {
        self.repos.get(name).ok_or_else(|| advice::no_such("repo", name, self.repos.keys()))
    }

    /// A policy by its name.
    pub fn policy(&self, name: &str) -> Result<&Retention, Fail> {
        self.retention.get(name).ok_or_else(|| advice::no_such("retention", name, self.retention.keys()))
    }

    /// A path of the file: relative ones begin where the file lies, whatever directory a scheduler starts in.
    pub fn beside(&self, path: &Path) -> PathBuf {
        if path.is_absolute() {
            return path.to_owned();
        }
        let base = self.path.parent().unwrap_or(Path::new("/"));
        // `..` is what it seems to be only where no symlink is on the way.
        let mut whole = base.canonicalize().unwrap_or_else(|_| base.to_owned());
        for part in path.components() {
            match part {
                Component::ParentDir => drop(whole.pop()),
                Component::CurDir => {}
                part => whole.push(part),
            }
        }
        whole
    }

    /// The repositories of a job, in order: those that it names, else the only one.
    pub fn repos_of<'a>(&'a self, job: &'a Job) -> Vec<&'a str> {
        let named = || job.repos.iter().map(String::as_str);
        if job.repos.is_empty() { self.repos.keys().map(String::as_str).collect() } else { named().collect() }
    }

    /// The host that snapshots are of.
    pub fn host(&self) -> String {
        let named = self.host.clone().or_else(|| std::env::var("SEABED_HOST").ok()).filter(|host| !host.is_empty());
        named.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    /// Names of the series of a job's source: what its snapshots line up under.
    pub fn series(job: &str, source: &str) -> String {
        format!("{job}/{source}")
    }
}

/// A configuration file, as errors speak of it.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> File<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        File { path, text }
    }
}

fn read(path: &Path) -> Result<String, Fail> {
    let failed = |e: &std::io::Error| {
        Fail::config(format!("cannot read the configuration {}: {}", path.display(), plain(e)))
            .hint("name another one with --config, or let `seabed setup` write one")
    };
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(Fail::config(format!("{} has {size} bytes: that is no configuration", path.display()))
            .hint("name the right file with --config"));
    }
    std::fs::read_to_string(path).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests;
