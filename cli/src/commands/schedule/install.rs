//! `schedule install`: writes units, a crontab or a compose file. It must never replace a file that it did not make.

use super::cache;
use super::places::{Installed, SYSTEM_UNITS, Scheduler, delete, installed, is_live, systemctl, user_units};
use crate::args::Global;
use crate::exit::{Code, Fail, Run, help, plain, where_to_write};
use crate::jobs::config::Config;
use crate::jobs::schedule::made::{Options, Origin, file, read};
use crate::jobs::schedule::plan::planned;
use crate::jobs::schedule::planned::Planned;
use crate::jobs::schedule::{compose, crontab, unit};
use crate::jobs::state::directory_of;
use crate::newfile::NewFile;
use crate::output::Output;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "  seabed schedule install --systemd
  seabed schedule install --systemd --read-write /srv/app --credential key=/etc/seabed/key
  seabed schedule install --cron
  seabed schedule install --compose --dir .";

/// Have a scheduler start the jobs
///
/// --systemd writes a service and a timer for each job, and enables them. What a service may do follows from
/// what its job does; where its hooks or commands write, --read-write says. --cron writes one
/// line that asks every five minutes what is due. --compose prints a service with the daemon.
///
/// What is there already is written anew; what belongs to jobs that are gone is removed.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
#[command(group(clap::ArgGroup::new("for").args(["systemd", "cron", "compose"]).required(true)))]
pub struct Args {
    /// Timers and services of systemd
    #[arg(long)]
    systemd: bool,
    /// A file in /etc/cron.d
    #[arg(long)]
    cron: bool,
    /// A service of Compose
    #[arg(long)]
    compose: bool,
    /// For this user alone, without root
    #[arg(long, requires = "systemd")]
    user: bool,
    /// Write the files there instead
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only print them
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Let the jobs write there too (repeatable)
    #[arg(long, value_name = "DIR", conflicts_with = "cron")]
    read_write: Vec<PathBuf>,
    /// Take variables of the configuration from FILE
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Give the jobs the secret in FILE as `credential:NAME` (repeatable)
    #[arg(long, value_name = "NAME=FILE", requires = "systemd", value_parser = credential)]
    credential: Vec<(String, PathBuf)>,
    /// The image of the container
    #[arg(long, requires = "compose", default_value = "seabed", value_name = "IMAGE")]
    image: String,
}

fn credential(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty()).ok_or("write NAME=FILE")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(plain) || file.contains('\n') {
        return Err(format!("`{name}` cannot be the name of a credential"));
    }
    Ok((name.to_owned(), std::path::absolute(file).map_err(|e| e.to_string())?))
}

/// A file that is to be there: its name, and what it says without saying who made it.
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// From what it is made.
    pub origin: Origin,
    /// What it says.
    pub body: String,
}

/// All files that a scheduler needs for the jobs.
pub fn wanted(scheduler: Scheduler, config: &Config, jobs: &[Planned], options: &Options) -> Result<Vec<Wanted>, Fail> {
    let origin = |job: Option<&str>| Origin { config: config.path.clone(), job: job.map(str::to_owned), options: options.clone() };
    let text = |path: &Path| Fail::config(format!("{}: a path with such characters cannot be written there", path.display()));
    match scheduler {
        Scheduler::Systemd => {
            let two = jobs.iter().flat_map(|job| [("service", unit::service(job), job), ("timer", unit::timer(job), job)]);
            Ok(two
                .map(|(kind, body, job)| Wanted { name: format!("{}.{kind}", unit::name(&job.job)), origin: origin(Some(&job.job)), body })
                .collect())
        }
        Scheduler::Cron => {
            let Some(first) = jobs.first() else { return Ok(Vec::new()) };
            let body = crontab::file(&first.seabed, &config.path, options.env_file.as_deref()).ok_or_else(|| text(&config.path))?;
            Ok(vec![Wanted { name: crontab::NAME.to_owned(), origin: origin(None), body }])
        }
        Scheduler::Compose => {
            let image = options.image.as_deref().unwrap_or("seabed");
            Ok(vec![Wanted { name: compose::NAME.to_owned(), origin: origin(None), body: compose::file(image, &config.path, jobs) }])
        }
    }
}

/// Does it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    let scheduler = match (args.systemd, args.cron) {
        (true, _) => Scheduler::Systemd,
        (_, true) => Scheduler::Cron,
        _ => Scheduler::Compose,
    };
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map_err(|e| Fail::config(format!("cannot use {}: {}", path.display(), plain(&e))));
    let options = Options {
        read_write: args.read_write.iter().map(absolute).collect::<Result<_, _>>()?,
        env_file: args.env_file.as_ref().map(absolute).transpose()?,
        credentials: args.credential.clone(),
        image: args.compose.then(|| args.image.clone()),
    };
    let jobs = planned(&config, [&cache(global, &config)?, &directory_of(&config)], &options, args.user)?;
    if jobs.is_empty() {
        return Err(
            Fail::config(format!("no job of {} has a schedule", config.path.display())).hint("give one: schedule = \"*-*-* 02:00\"")
        );
    }
    for job in jobs.iter().filter(|job| job.commands && scheduler == Scheduler::Systemd && !args.user && options.read_write.is_empty()) {
        out.warn(&format!(
            "job {} runs commands; the unit lets them write only what the job itself needs: name more with --read-write",
            job.job
        ));
    }
    let wanted = wanted(scheduler, &config, &jobs, &options)?;
    let usual = || match (scheduler, args.user) {
        (Scheduler::Systemd, true) => user_units(),
        (Scheduler::Systemd, false) => Some(PathBuf::from(SYSTEM_UNITS)),
        (Scheduler::Cron, _) => Some(PathBuf::from(crontab::DIRECTORY)),
        (Scheduler::Compose, _) => None,
    };
    let place = args.dir.as_ref().map(absolute).transpose()?.or_else(usual);
    let Some(place) = place.filter(|_| !args.dry_run) else { return print(scheduler, &wanted, out) };
    write(scheduler, &place, &wanted, &config, out)?;
    if scheduler == Scheduler::Systemd {
        prepare(&jobs, out);
        activate(&place, args.user, &jobs, out)?;
    }
    Ok(Code::Done)
}

/// On standard output, and nowhere else.
fn print(scheduler: Scheduler, wanted: &[Wanted], out: &Output) -> Run {
    for one in wanted {
        let text = file(&one.origin, &one.body);
        if out.json {
            out.json_result(
                &json!({"message_type": "file", "scheduler": scheduler.word(), "name": one.name, "job": one.origin.job, "text": text}),
            )?;
        } else {
            let head = if wanted.len() > 1 { format!("# {}\n", one.name) } else { String::new() };
            out.result(format!("{head}{}", text.trim_end()).as_bytes())?;
        }
    }
    Ok(Code::Done)
}

fn failed(path: &Path, error: &std::io::Error) -> Fail {
    let hint = where_to_write(error).map(str::to_owned);
    Fail { hint, ..Fail::new(Code::Failed, format!("cannot write {}: {}", path.display(), plain(error))) }
}

/// Writes them, and removes what was made for jobs that are gone.
fn write(scheduler: Scheduler, place: &Path, wanted: &[Wanted], config: &Config, out: &Output) -> Result<(), Fail> {
    std::fs::create_dir_all(place).map_err(|e| failed(place, &e))?;
    let old = installed(&config.path, Some(place))?;
    // All of them before the first is written.
    for path in wanted.iter().map(|one| place.join(&one.name)).filter(|path| path.symlink_metadata().is_ok()) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let other = match read(&text) {
            Some(made) if made.origin.config == config.path => continue,
            Some(made) => format!("was made from {}", made.origin.config.display()),
            None => "was not made by `seabed schedule install`".to_owned(),
        };
        return Err(
            Fail::new(Code::Refused, format!("{} {other}", path.display())).hint("move it away, or choose another place with --dir")
        );
    }
    for one in wanted {
        let path = place.join(&one.name);
        let mut new = NewFile::begin(&path)?;
        let written = new.file().write_all(file(&one.origin, &one.body).as_bytes());
        // Schedulers read it as root; it holds no secret.
        let written = written.and_then(|()| new.file().set_permissions(std::fs::Permissions::from_mode(0o644)));
        written.map_err(|e| failed(&path, &e))?;
        new.keep()?;
        tell("installed", scheduler, &path, one.origin.job.as_deref(), out)?;
    }
    let gone = |have: &&Installed| have.scheduler == scheduler && !wanted.iter().any(|one| have.path == place.join(&one.name));
    for have in old.iter().filter(gone) {
        if is_live(place, have.user) && have.path.extension().is_some_and(|kind| kind == "timer") {
            systemctl(have.user, &["disable", "--now", &name(&have.path)])?;
        }
        delete(&have.path)?;
        tell("removed", scheduler, &have.path, have.made.origin.job.as_deref(), out)?;
    }
    Ok(())
}

/// The name of a file.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Says what became of a file.
pub fn tell(what: &str, scheduler: Scheduler, path: &Path, job: Option<&str>, out: &Output) -> Result<(), Fail> {
    if out.json {
        return out.json_result(&json!({"message_type": what, "scheduler": scheduler.word(), "path": path.to_string_lossy(), "job": job}));
    }
    out.say(&format!("{what} {}", path.display()));
    Ok(())
}

/// Makes the directories that services may write: one that is not there when it starts stays read-only for it.
fn prepare(jobs: &[Planned], out: &Output) {
    for path in jobs.iter().flat_map(|job| [&job.cache, &job.state]) {
        if let Err(e) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            out.warn(&format!("cannot make {}, which jobs are to write: {}", path.display(), plain(&e)));
        }
    }
}

/// Has systemd take them up, or says how.
fn activate(place: &Path, user: bool, jobs: &[Planned], out: &Output) -> Result<(), Fail> {
    let timers: Vec<String> = jobs.iter().map(|job| format!("{}.timer", unit::name(&job.job))).collect();
    if !is_live(place, user) {
        let user = if user { "--user " } else { "" };
        out.say(&format!("systemd does not run here, or reads no units from {}; where it does:", place.display()));
        out.say(&format!("  systemctl {user}daemon-reload && systemctl {user}enable --now {}", timers.join(" ")));
        return Ok(());
    }
    systemctl(user, &["daemon-reload"])?;
    let mut args = vec!["enable", "--now"];
    args.extend(timers.iter().map(String::as_str));
    systemctl(user, &args)?;
    // A timer that ran already takes new times only so.
    let mut args = vec!["restart"];
    args.extend(timers.iter().map(String::as_str));
    systemctl(user, &args)
}
