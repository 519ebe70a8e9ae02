//! `config`: looking at a configuration without running anything. It must never show a secret.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::repo::Repo;
use crate::jobs::config::secret::{Given, path_of, redacted};
use crate::jobs::config::source::Kind;
use crate::jobs::config::{Config, find, show};
use crate::output::Output;
use crate::size;
use serde_json::json;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "  seabed config check
  seabed config check --config /etc/seabed/seabed.toml
  seabed config show
  seabed config show --json";

/// Look at the configuration of jobs
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Say whether it can be read, every name leads somewhere, and every file with a secret is there
    ///
    /// Nothing is run and no repository is opened: commands that print secrets are not tried.
    #[command(after_long_help = help("  seabed config check"))]
    Check,
    /// Print it as it is understood: variables in their places, defaults, and stars for what is secret
    #[command(after_long_help = help("  seabed config show"))]
    Show,
}

/// Looks.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    match args.what {
        What::Check => check(&config, out),
        What::Show => {
            if out.json {
                let broken = |error: serde_json::Error| Fail::config(format!("it cannot be shown: {error}"));
                let value: serde_json::Value =
                    serde_json::from_str(&redacted(&serde_json::to_string(&config).map_err(broken)?)).map_err(broken)?;
                out.json_result(&json!({"message_type": "config", "path": config.path.display().to_string(), "config": value}))?;
            } else {
                out.result(format!("# {}\n{}", config.path.display(), show(&config)?.trim_end()).as_bytes())?;
            }
            Ok(Code::Done)
        }
    }
}

fn check(config: &Config, out: &Output) -> Run {
    let problems: Vec<String> = files(config).into_iter().filter_map(|(what, path)| missing(&what, &path)).collect();
    for problem in &problems {
        out.failed_item(problem, "check", "");
    }
    let unscheduled: Vec<&str> = config.jobs.iter().filter(|(_, job)| job.schedule.is_empty()).map(|(name, _)| name.as_str()).collect();
    for name in &unscheduled {
        out.warn(&format!("job {name} has no schedule: it runs when somebody says so"));
    }
    for (name, _) in config.sources.iter().filter(|(name, _)| config.jobs.values().all(|job| !job.sources.contains(name))) {
        out.warn(&format!("source {name} is in no job"));
    }
    if !problems.is_empty() {
        let what = size::of(problems.len() as u64, "file");
        return Err(Fail::config(format!("{what} that {} names cannot be read", config.path.display()))
            .hint("put them there, or correct the configuration; as which user do jobs run?"));
    }
    if out.json {
        out.json_result(&json!({
            "message_type": "checked",
            "path": config.path.display().to_string(),
            "repos": config.repos.keys().collect::<Vec<_>>(),
            "sources": config.sources.keys().collect::<Vec<_>>(),
            "jobs": config.jobs.keys().collect::<Vec<_>>(),
        }))?;
    } else {
        let count = |n: usize, what: &str| size::of(n as u64, what);
        out.say(&format!(
            "{}: {}, {}, {}: all right",
            config.path.display(),
            count(config.repos.len(), "repository"),
            count(config.sources.len(), "source"),
            count(config.jobs.len(), "job")
        ));
    }
    Ok(Code::Done)
}

/// Every file that the configuration names and that has to be there.
fn files(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut add = |what: String, path: Option<&Path>| files.extend(path.map(|path| (what, config.beside(path))));
    let secret = |given: Given<'_>| given.file.map(Path::to_owned);
    for (name, Repo { key, s3, .. }) in &config.repos {
        add(format!("the passphrase file of repo.{name}"), secret(key.password()).as_deref());
        add(format!("the key file of repo.{name}"), key.key_file.as_deref());
        add(format!("the secret key of repo.{name}"), secret(s3.secret()).as_deref());
        add(format!("the ca_file of repo.{name}"), s3.ca_file.as_deref());
    }
    for (name, source) in &config.sources {
        let what = format!("the password file of source.{name}");
        match &source.kind {
            Kind::Postgres(postgres) => add(what, secret(postgres.secret()).as_deref()),
            Kind::Mysql(mysql) => {
                add(what, secret(mysql.secret()).as_deref());
                add(format!("the defaults_file of source.{name}"), mysql.defaults_file.as_deref());
            }
            Kind::Redis(redis) => add(what, secret(redis.secret()).as_deref()),
            Kind::S3(bucket) => add(format!("the secret key of source.{name}"), secret(bucket.s3.secret()).as_deref()),
            Kind::Files(files) => files.exclude.files.iter().for_each(|file| add(format!("a list of source.{name}"), Some(file))),
            _ => {}
        }
    }
    files
}

fn missing(what: &str, path: &Path) -> Option<String> {
    let path = match path_of(path, what) {
        Ok(path) => path,
        // It is there when a service runs.
        Err(_) => return None,
    };
    let error = std::fs::File::open(&path).err()?;
    Some(format!("{what} cannot be read: {}: {}", path.display(), crate::exit::plain(&error)))
}

/// Where a new configuration goes, where none is named.
pub fn new_place(global: &Global) -> Result<PathBuf, Fail> {
    if global.config.is_some() || std::env::var_os("SEABED_CONFIG").is_some_and(|path| !path.is_empty()) {
        return find(global.config.as_deref());
    }
    crate::open::directory("XDG_CONFIG_HOME", ".config").map(|base| base.join("seabed/seabed.toml")).ok_or_else(|| {
        Fail::config("without HOME there is no place for a configuration").hint("name one: --config /etc/seabed/seabed.toml")
    })
}
