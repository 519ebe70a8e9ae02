//! What a scheduler has to know of a job: plain data, from which units, crontabs and compose files are made.
//! It must never be read from anywhere here: whoever has the configuration fills it in.

use super::when::Schedule;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A job as its scheduler sees it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub job: String,
    /// When it runs.
    pub schedules: Vec<Schedule>,
    /// In which zone.
    pub tz: TimeZone,
    /// Starts are put off by up to so much, always the same for one job and host.
    pub jitter: Duration,
    /// It is ended after so long.
    pub timeout: Option<Duration>,
    /// Directories that it writes: repositories.
    pub writable: Vec<PathBuf>,
    /// What it backs up.
    pub readable: Vec<PathBuf>,
    /// It talks to other machines.
    pub network: bool,
    /// It runs commands of its configuration, and nobody knows what these need.
    pub commands: bool,
    /// Where it keeps its cache.
    pub cache: PathBuf,
    /// Where runs are remembered.
    pub state: PathBuf,
    /// This program.
    pub seabed: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// A file with variables that the configuration refers to.
    pub env_file: Option<PathBuf>,
    /// Secrets that systemd reads for it: name and file.
    pub credentials: Vec<(String, PathBuf)>,
    /// It is a user's own, and not the system's.
    pub user: bool,
}

impl Planned {
    /// Whether it has to do with something at `place`, below it or above it.
    pub fn touches(&self, place: &str) -> bool {
        let place = Path::new(place);
        self.readable
            .iter()
            .chain(&self.writable)
            .chain([&self.cache, &self.state])
            .any(|path| path.starts_with(place) || place.starts_with(path))
    }
}

/// A few of them, as tests need them.
#[cfg(test)]
pub mod examples {
    use super::*;

    /// Local directories, nothing else.
    pub fn local() -> Planned {
        Planned {
            job: "files".to_owned(),
            schedules: vec![Schedule::parse("*-*-* 02:00").unwrap_or_else(|e| panic!("{e}"))],
            tz: TimeZone::UTC,
            jitter: Duration::ZERO,
            timeout: None,
            writable: vec!["/backup/seabed".into()],
            readable: vec!["/srv/app".into()],
            network: false,
            commands: false,
            cache: "/root/.cache/seabed".into(),
            state: "/var/lib/seabed".into(),
            seabed: "/usr/local/bin/seabed".into(),
            config: "/etc/seabed/seabed.toml".into(),
            env_file: None,
            credentials: Vec::new(),
            user: false,
        }
    }

    /// A database and a bucket, and much else.
    pub fn everything() -> Planned {
        Planned {
            job: "nightly".to_owned(),
            schedules: ["0 2 1 * 1", "14:00"].map(|text| Schedule::parse(text).unwrap_or_else(|e| panic!("{e}"))).to_vec(),
            tz: TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC),
            jitter: Duration::from_secs(900),
            timeout: Some(Duration::from_secs(7200)),
            readable: vec!["/tmp/a b".into(), "/dev/sda1".into()],
            network: true,
            commands: true,
            env_file: Some("/etc/seabed/env".into()),
            credentials: vec![("repo".to_owned(), "/etc/seabed/100%.key".into())],
            config: "/etc/sea bed/$HOME.toml".into(),
            ..local()
        }
    }
}
