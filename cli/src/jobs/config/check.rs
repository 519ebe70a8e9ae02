//! What the parser cannot see: names that lead nowhere, values that exclude each other, words that nobody knows.
//! Nothing is opened or asked here: a configuration is right or wrong by itself, on any machine.

use super::job::Job;
use super::secret::Given;
use super::source::{Kind, Source};
use super::{Config, advice};
use crate::exit::Fail;
use crate::jobs::schedule::when::Schedule;
use jiff::tz::TimeZone;

/// The first mistake.
pub fn check(config: &Config) -> Result<(), Fail> {
    if config.version != super::VERSION {
        let fail = Fail::config(format!("{} is of version {}", config.path.display(), config.version));
        return Err(fail.hint(format!("this program reads version {}: update seabed, or correct it", super::VERSION)));
    }
    zone("tz", &config.tz)?;
    for (name, repo) in &config.repos {
        let place = format!("repo.{name}");
        valid_name("repo", name)?;
        if repo.url.trim().is_empty() {
            return Err(
                Fail::config(format!("{place}: the url is empty")).hint("write dir:/path or s3://BUCKET/PREFIX; a variable may be unset")
            );
        }
        let ways = repo.key.password().ways() + usize::from(repo.key.key_file.is_some());
        one_way(ways, &format!("{place}.key"), "password, password_file, password_command and key_file")?;
        secret(&repo.s3.secret(), &format!("{place}.s3"), "secret_access_key")?;
        if repo.s3.access_key_id.is_some() != (repo.s3.secret().ways() == 1) {
            let fail = Fail::config(format!("{place}.s3 has one half of a key"));
            return Err(fail.hint("give access_key_id and one of secret_access_key, …_file, …_command, or none of them"));
        }
        if let Some(policy) = &repo.retention {
            config.policy(policy).map_err(|fail| at(&place, fail))?;
        }
    }
    for (name, retention) in &config.retention {
        valid_name("retention", name)?;
        retention.policy(name, &config.tz)?;
    }
    for (name, source) in &config.sources {
        valid_name("source", name)?;
        check_source(name, source)?;
    }
    for (name, job) in &config.jobs {
        valid_name("job", name)?;
        check_job(config, name, job)?;
    }
    Ok(())
}

fn at(place: &str, fail: Fail) -> Fail {
    Fail { message: format!("{place}: {}", fail.message), ..fail }
}

/// Names become parts of series, file names and units.
fn valid_name(section: &str, name: &str) -> Result<(), Fail> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Fail::config(format!("[{section}.{name}]: such a name cannot be used"))
        .hint("letters, digits, `-`, `_` and `.` make a name, 64 at most, a letter or digit first"))
}

fn zone(place: &str, name: &str) -> Result<(), Fail> {
    TimeZone::get(name)
        .map(drop)
        .map_err(|_| Fail::config(format!("{place}: there is no time zone `{name}`")).hint("write UTC or a name such as Europe/Berlin"))
}

fn one_way(ways: usize, place: &str, names: &str) -> Result<(), Fail> {
    if ways <= 1 {
        return Ok(());
    }
    Err(Fail::config(format!("{place}: the secret is given in {ways} ways")).hint(format!("keep one of {names}")))
}

fn secret(given: &Given<'_>, place: &str, key: &str) -> Result<(), Fail> {
    one_way(given.ways(), place, &format!("{key}, {key}_file and {key}_command"))
}

fn check_source(name: &str, source: &Source) -> Result<(), Fail> {
    let place = format!("source.{name}");
    let bad = |why: &str| Fail::config(format!("{place}: {why}"));
    match &source.kind {
        Kind::Files(files) => {
            if files.paths.is_empty() {
                return Err(bad("it has no paths").hint("write paths = [\"/srv/app\"]"));
            }
            if files.as_path.is_some() && files.paths.len() != 1 {
                return Err(bad("as_path needs exactly one path").hint("make a source for each"));
            }
            presets(&place, &files.exclude.preset)?;
        }
        Kind::DockerVolume(volume) => {
            if volume.volume.is_empty() || volume.volume.contains('/') || volume.volume.starts_with('.') {
                return Err(bad("this is no name of a volume").hint("`docker volume ls` has them"));
            }
            presets(&place, &volume.exclude.preset)?;
        }
        Kind::Command(command) if command.command.trim().is_empty() => {
            return Err(bad("the command is empty").hint("write command = \"…\""));
        }
        Kind::Command(command) if command.tar && command.end_marker.is_some() => {
            return Err(bad("an archive has an end of its own").hint("take end_marker out"));
        }
        Kind::Postgres(postgres) => {
            secret(&postgres.secret(), &place, "password")?;
            if let Some(format) = postgres.format.as_deref().filter(|format| !["plain", "custom"].contains(format)) {
                return Err(bad(&advice::unknown_word("format", format, &["plain", "custom"])));
            }
        }
        Kind::Mysql(mysql) => secret(&mysql.secret(), &place, "password")?,
        Kind::Redis(redis) => secret(&redis.secret(), &place, "password")?,
        Kind::Sqlite(sqlite) if sqlite.paths.is_empty() => {
            return Err(bad("it has no paths").hint("write paths = [\"/srv/app/app.db\"]"));
        }
        Kind::S3(bucket) => {
            secret(&bucket.s3.secret(), &place, "secret_access_key")?;
            if !bucket.url.starts_with("s3:") {
                return Err(bad(&format!("`{}` is no bucket", bucket.url)).hint("write url = \"s3://BUCKET/PREFIX\""));
            }
            if bucket.endpoint.is_some() && bucket.s3.endpoint.is_some() {
                return Err(bad("endpoint and s3.endpoint are the same").hint("keep one of them"));
            }
        }
        Kind::Command(_) | Kind::Sqlite(_) => {}
    }
    Ok(())
}

fn presets(place: &str, names: &[String]) -> Result<(), Fail> {
    match names.iter().find(|name| super::PRESETS.iter().all(|(known, _)| known != name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = super::PRESETS.iter().map(|(name, _)| *name).collect();
            Err(Fail::config(format!("{place}: {}", advice::unknown_word("preset", name, &known))))
        }
    }
}

fn check_job(config: &Config, name: &str, job: &Job) -> Result<(), Fail> {
    let place = format!("job.{name}");
    let bad = |why: String| Fail::config(format!("{place}: {why}"));
    if job.sources.is_empty() {
        return Err(bad("it has no sources".to_owned()).hint("write sources = [\"NAME\", …]"));
    }
    for source in &job.sources {
        config.source(source).map_err(|fail| at(&place, fail))?;
    }
    for repo in &job.repos {
        config.repo(repo).map_err(|fail| at(&place, fail))?;
    }
    for (what, names) in [("source", &job.sources), ("repository", &job.repos)] {
        if let Some(twice) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
            return Err(bad(format!("the {what} `{}` is named twice", twice.1)).hint("name it once"));
        }
    }
    if job.repos.is_empty() && config.repos.len() != 1 {
        let why = if config.repos.is_empty() { "there is no repository" } else { "it does not say which of the repositories" };
        return Err(bad(why.to_owned()).hint("write repos = [\"NAME\", …], and a [repo.NAME] for each"));
    }
    if let Some(policy) = &job.retention {
        config.policy(policy).map_err(|fail| at(&place, fail))?;
    }
    if let Some(tz) = &job.tz {
        zone(&place, tz)?;
    }
    for text in &job.schedule {
        Schedule::parse(text).map_err(|why| bad(why).hint("write OnCalendar such as `*-*-* 02:00`, or cron such as `0 2 * * *`"))?;
    }
    if job.run.nice > 19 {
        return Err(bad(format!("nice is {}", job.run.nice)).hint("0 to 19, 19 is the nicest"));
    }
    if job.run.tries.get() > 100 {
        return Err(bad(format!("{} tries", job.run.tries)).hint("100 at most"));
    }
    if let Some(ping) = &job.ping {
        let url = ping.reveal();
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|start| url.starts_with(start));
        if !url.starts_with("https://") && !local {
            return Err(bad("the ping is no https:// URL".to_owned()).hint("what is sent to others is sent over TLS"));
        }
    }
    Ok(())
}
