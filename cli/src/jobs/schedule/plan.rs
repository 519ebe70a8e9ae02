//! From the configuration to what schedulers have to know. It must never open a repository or ask a source: it reads words.

use super::due::{Watched, delay};
use super::made::Options;
use super::planned::Planned;
use super::when::{Schedule, zone};
use crate::exit::Fail;
use crate::jobs::config::Config;
use crate::jobs::config::job::{Hooks, Job};
use crate::jobs::config::source::{Kind, Source};
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// Where Docker keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";

/// When a job runs, and in which zone.
pub fn schedules(config: &Config, name: &str, job: &Job) -> Result<(Vec<Schedule>, TimeZone), Fail> {
    let at = |why: String| {
        Fail::config(format!("job.{name}: {why}")).hint("write OnCalendar such as `*-*-* 02:00`, or cron such as `0 2 * * *`")
    };
    let all: Result<Vec<Schedule>, String> = job.schedule.iter().map(|text| Schedule::parse(text)).collect();
    let tz = job.tz.as_ref().unwrap_or(&config.tz);
    let tz = zone(tz).ok_or_else(|| at(format!("there is no time zone `{tz}`")))?;
    Ok((all.map_err(at)?, tz))
}

/// What the daemon and `tick` watch: jobs that have a schedule.
pub fn watched(config: &Config) -> Result<Vec<Watched>, Fail> {
    let host = host();
    let mut all = Vec::new();
    for (name, job) in &config.jobs {
        let (schedules, tz) = schedules(config, name, job)?;
        if !schedules.is_empty() {
            all.push(Watched { job: name.clone(), schedules, tz, delay: delay(name, &host, job.run.jitter.0) });
        }
    }
    Ok(all)
}

/// What makes this machine another one than its neighbour, which runs the same jobs.
fn host() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if id.trim().is_empty() { rustix::system::uname().nodename().to_string_lossy().into_owned() } else { id.trim().to_owned() }
}

/// The jobs that have a schedule, as units and containers have to know them.
pub fn planned(config: &Config, [cache, state]: [&Path; 2], options: &Options, user: bool) -> Result<Vec<Planned>, Fail> {
    let seabed = std::env::current_exe()
        .map_err(|e| Fail::config(format!("this program does not find itself: {e}")).hint("look whether /proc is mounted"))?;
    let mut all = Vec::new();
    for (name, job) in &config.jobs {
        let (schedules, tz) = schedules(config, name, job)?;
        if schedules.is_empty() {
            continue;
        }
        let mut planned = Planned {
            job: name.clone(),
            schedules,
            tz,
            jitter: job.run.jitter.0,
            // That of the configuration is a source's: the run takes care of it.
            timeout: None,
            writable: Vec::new(),
            readable: Vec::new(),
            network: job.ping.is_some(),
            commands: has_commands(&job.hooks),
            cache: cache.to_owned(),
            state: state.to_owned(),
            seabed: seabed.clone(),
            config: config.path.clone(),
            env_file: options.env_file.clone(),
            credentials: options.credentials.clone(),
            user,
        };
        let repos: Vec<&String> = if job.repos.is_empty() { config.repos.keys().collect() } else { job.repos.iter().collect() };
        for repo in repos {
            let repo = config.repo(repo)?;
            match local(&repo.url) {
                Some(path) => planned.writable.push(config.beside(Path::new(path))),
                None => planned.network = true,
            }
            planned.commands |= repo.key.password_command.is_some() || repo.s3.secret().command.is_some();
        }
        for source in &job.sources {
            look_at(config, config.source(source)?, &mut planned);
        }
        planned.writable.extend(options.read_write.iter().cloned());
        // Who knows whom a command talks to.
        planned.network |= planned.commands;
        all.push(planned);
    }
    Ok(all)
}

/// The path of a repository in a directory.
fn local(url: &str) -> Option<&str> {
    match url.strip_prefix("dir:") {
        Some(path) => Some(path),
        None => (!url.contains("://") && !url.starts_with("s3:")).then_some(url),
    }
}

fn has_commands(hooks: &Hooks) -> bool {
    [&hooks.pre, &hooks.quiesce, &hooks.resume, &hooks.validate, &hooks.post, &hooks.fail, &hooks.finally]
        .iter()
        .any(|list| !list.is_empty())
}

fn look_at(config: &Config, source: &Source, planned: &mut Planned) {
    match &source.kind {
        Kind::Files(files) => planned.readable.extend(files.paths.iter().map(|path| config.beside(path))),
        Kind::DockerVolume(volume) => {
            let root = volume.root.clone().unwrap_or_else(|| PathBuf::from(VOLUMES));
            planned.readable.push(root.join(&volume.volume));
        }
        // To read one that is in use SQLite writes beside it.
        Kind::Sqlite(sqlite) => planned.writable.extend(sqlite.paths.iter().map(|path| above_patterns(&config.beside(path)))),
        Kind::Command(_) => planned.commands = true,
        Kind::Postgres(postgres) => {
            planned.network = true;
            planned.commands |= postgres.password_command.is_some();
            // Where a socket lies in a directory for temporary files it must be seen there.
            planned.readable.extend(postgres.dsn.iter().flat_map(|dsn| sockets(dsn.reveal())));
        }
        Kind::Mysql(mysql) => {
            planned.network = true;
            planned.commands |= mysql.password_command.is_some();
            planned.readable.extend(mysql.socket.iter().cloned());
        }
        Kind::Redis(redis) => {
            planned.network = true;
            planned.commands |= redis.password_command.is_some();
            planned.readable.extend(redis.socket.iter().cloned());
        }
        Kind::S3(bucket) => {
            planned.network = true;
            planned.commands |= bucket.s3.secret().command.is_some();
        }
    }
}

/// The directory of databases that are named by a pattern, or of one that is named.
fn above_patterns(path: &Path) -> PathBuf {
    let plain = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let parts: PathBuf = path.components().take_while(plain).collect();
    if parts == path { path.parent().unwrap_or(Path::new("/")).to_owned() } else { parts }
}

/// Directories of sockets that a connection string of PostgreSQL names.
fn sockets(dsn: &str) -> impl Iterator<Item = PathBuf> {
    dsn.split([' ', '&', '?']).filter_map(|word| word.strip_prefix("host=").filter(|host| host.starts_with('/')).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_words() {
        assert_eq!(
            (local("dir:/b"), local("/b"), local("b"), local("s3://x/y"), local("s3:https://h/x")),
            (Some("/b"), Some("/b"), Some("b"), None, None)
        );
        assert_eq!(above_patterns(Path::new("/srv/*/app.db")), Path::new("/srv"));
        assert_eq!(above_patterns(Path::new("/srv/app/app.db")), Path::new("/srv/app"));
        assert_eq!(sockets("host=/tmp user=x").collect::<Vec<_>>(), [Path::new("/tmp")]);
        assert_eq!(sockets("host=db user=x").count(), 0);
    }
}
