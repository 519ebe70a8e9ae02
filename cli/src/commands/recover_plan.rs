//! `recover-plan`: what to do when this machine is gone, made from the configuration as it is now. It holds no secret, and says where each of
//! them was: it is meant to be printed, and to lie where the recovery sheet lies.

use crate::args::Global;
use crate::exit::{Code, Run, help};
use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use crate::jobs::config::repo::Repo;
use crate::jobs::config::source::{Kind, Source};
use crate::jobs::state::State;
use crate::output::Output;
use crate::time;
use seabed_engine::clock;
use serde_json::json;

const EXAMPLES: &str = "  seabed recover-plan > runbook.md
  seabed recover-plan --json";

/// Print the runbook for a bare machine: what to install, what opens the repositories, what to restore in which order
///
/// It is made from the configuration, so print it again when that changes. It holds no secrets,
/// but says where they were.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {}

/// Prints it.
pub fn run(global: &Global, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    let text = plan(&config);
    if out.json {
        out.json_result(&json!({"message_type": "recover_plan", "path": config.path.display().to_string(), "markdown": text}))?;
    } else {
        out.result(text.trim_end().as_bytes())?;
    }
    Ok(Code::Done)
}

fn plan(config: &Config) -> String {
    let now = time::local(&clock::now());
    let mut lines = vec![
        format!("# Recovery of {}", config.host()),
        String::new(),
        format!("Made on {now} from {}, by seabed {}.", config.path.display(), env!("CARGO_PKG_VERSION")),
    ];
    if !config.contacts.is_empty() {
        lines.push(String::new());
        lines.push(format!("Call: {}.", config.contacts.join("; ")));
    }
    let mut step = 0;
    let mut head = |lines: &mut Vec<String>, title: &str| {
        step += 1;
        lines.extend([String::new(), format!("## {step}. {title}"), String::new()]);
    };
    head(&mut lines, "A machine");
    lines.push("Install seabed of the version above or a newer one (one file), and the client programs of what is restored:".to_owned());
    lines.push(String::new());
    lines.extend(programs(config).into_iter().map(|program| format!("- {program}")));
    head(&mut lines, "The keys");
    for (name, repo) in &config.repos {
        lines.push(format!("- repository `{name}`, {}: {}", repo.url, opens(repo)));
    }
    lines.push(String::new());
    lines.push("A recovery sheet (`seabed key export`) opens a repository where its passphrase or key file is lost:".to_owned());
    lines.push("`seabed key import SHEET.txt --repo PLACE --new-key-file /root/seabed.key`.".to_owned());
    head(&mut lines, "The configuration");
    lines.push(format!(
        "Put `seabed.toml` back to {}; where it is gone with the machine, write one with the repositories above, then look:",
        config.path.display()
    ));
    lines.extend(code(&["seabed config check".to_owned(), "seabed status".to_owned()]));
    lines.push(format!("Snapshots are of host `{}`: on a machine of another name set `host = \"{}\"`.", config.host(), config.host()));
    for (name, job) in &config.jobs {
        head(&mut lines, &format!("Job `{name}`"));
        lines.extend(of_job(config, name, job));
    }
    head(&mut lines, "Afterwards");
    lines.push("Look at the application before anybody else does, then let backups run again:".to_owned());
    lines.extend(code(&[
        "seabed run --dry-run".to_owned(),
        "seabed schedule install --systemd".to_owned(),
        "seabed check --read-data".to_owned(),
    ]));
    lines.join("\n") + "\n"
}

fn code(commands: &[String]) -> Vec<String> {
    let own = commands.iter().map(|command| format!("    {command}"));
    [String::new()].into_iter().chain(own).chain([String::new()]).collect()
}

fn programs(config: &Config) -> Vec<String> {
    let mut programs: Vec<String> = config
        .sources
        .values()
        .filter_map(|source| match source.kind {
            Kind::Postgres(_) => Some("PostgreSQL, server and client (Debian: postgresql), of the version that was dumped or a newer one"),
            Kind::Mysql(ref mysql) if mysql.mariadb => Some("MariaDB, server and client (Debian: mariadb-server)"),
            Kind::Mysql(_) => Some("MySQL or MariaDB, server and client"),
            Kind::Redis(_) => Some("Redis (Debian: redis-server)"),
            Kind::Sqlite(_) | Kind::Files(_) | Kind::Command(_) | Kind::S3(_) | Kind::DockerVolume(_) => None,
        })
        .map(str::to_owned)
        .collect();
    programs.sort();
    programs.dedup();
    if programs.is_empty() {
        programs.push("none".to_owned());
    }
    programs
}

fn opens(repo: &Repo) -> String {
    let key = &repo.key;
    let mut words = match (&key.password_file, &key.password_command, &key.key_file, &key.password) {
        (Some(file), ..) => format!("the passphrase that was in {}", file.display()),
        (_, Some(command), ..) => format!("the passphrase that `{}` prints", command.split_whitespace().next().unwrap_or_default()),
        (_, _, Some(file), _) => format!("the key file {}", file.display()),
        (.., Some(_)) => "the passphrase that the environment gave".to_owned(),
        _ => "the key file that `init` made (~/.config/seabed), or SEABED_PASSWORD".to_owned(),
    };
    if repo.url.starts_with("s3:") {
        let endpoint = repo.s3.endpoint().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        words.push_str(&format!("; the keys of the bucket{endpoint}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    }
    words
}

fn of_job(config: &Config, name: &str, job: &Job) -> Vec<String> {
    let mut lines = Vec::new();
    let last = State::open(config).ok().and_then(|state| state.last_good(name).ok().flatten());
    if let Some(run) = last {
        let took = run.ended.map_or(0, |ended| u64::try_from(ended - run.began).unwrap_or(0));
        lines.push(format!(
            "Its last whole run began at {} and took {}.",
            time::local(&crate::commands::runs::moment(run.began)),
            time::clock(std::time::Duration::from_secs(took))
        ));
    }
    if !job.hooks.quiesce.is_empty() || !job.hooks.resume.is_empty() || !job.restore.post.is_empty() {
        let shown = |what: &str, commands: &[String]| {
            (!commands.is_empty()).then(|| format!("{what} {}", commands.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")))
        };
        let words = [shown("before it", &job.hooks.quiesce), shown("after it", &job.hooks.resume), shown("at the end", &job.restore.post)];
        lines.push(format!("A restore runs {}.", words.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    for source in &job.sources {
        if let Some(found) = config.sources.get(source) {
            lines.push(String::new());
            lines.push(format!("Source `{source}` ({}):", found.kind.word()));
            lines.extend(code(&commands(name, source, found)));
        }
    }
    lines
}

/// What brings roles and users back, where they are stored.
fn globals(are_stored: bool) -> &'static str {
    if are_stored { " --globals" } else { "" }
}

/// What brings a source back.
fn commands(job: &str, name: &str, source: &Source) -> Vec<String> {
    let restore = format!("seabed restore {job}@latest --source {name}");
    match &source.kind {
        Kind::Files(files) => {
            let paths: Vec<String> = files.paths.iter().map(|path| path.display().to_string()).collect();
            vec![
                format!("{restore} --target / --privileged --dry-run    # {}", paths.join(", ")),
                format!("{restore} --target / --privileged"),
            ]
        }
        Kind::DockerVolume(volume) => {
            let root = volume.root.clone().unwrap_or_else(|| "/var/lib/docker/volumes".into());
            let target = root.join(&volume.volume).join("_data");
            vec![
                format!("docker volume create {}", volume.volume),
                format!("seabed restore {job}@latest:/{} --source {name} --target {} --privileged", volume.volume, target.display()),
            ]
        }
        // Databases that are not there are made, under the names that they had.
        Kind::Postgres(postgres) => vec![format!("{restore} --into postgres://postgres@HOST{}", globals(postgres.globals))],
        Kind::Mysql(mysql) => vec![format!("{restore} --into {}://root@HOST/{}", source.kind.word(), globals(mysql.globals))],
        Kind::Sqlite(sqlite) => {
            sqlite.paths.iter().map(|path| format!("{restore} --target DIR    # then put it in the place of {}", path.display())).collect()
        }
        Kind::Redis(_) => {
            vec![format!("{restore} --into dump.rdb    # stop redis, put it into its directory, start it without appendonly")]
        }
        Kind::S3(bucket) => vec![format!("{restore} --into {}", bucket.url)],
        Kind::Command(command) => {
            let first = command.command.split_whitespace().next().unwrap_or_default();
            vec![format!("{restore} --target DIR    # what `{first}` had printed")]
        }
    }
}
