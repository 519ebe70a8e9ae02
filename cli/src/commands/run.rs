//! `run`: jobs of the configuration, one after the other. It must never report success for a job of which something is not stored.
//! It obeys what README.md says of jobs.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use crate::jobs::run::{Asked, Run as JobRun};
use crate::jobs::state::State;
use crate::output::Output;
use crate::signals;
use seabed_engine::clock;
use seabed_engine::id::hex;
use seabed_engine::seal::random;

const EXAMPLES: &str = "  seabed run
  seabed run nightly
  seabed run nightly --source pg --repo-name local
  seabed run --tag db --verify
  seabed run nightly --dry-run";

/// Run jobs of the configuration (seabed.toml): all of them, or those that are named
///
/// A job's sources are read, each into a snapshot of its own, and stored in all of its repositories;
/// hooks run around that, old snapshots go by the policy of each repository, and a slice of a
/// collection follows. What fails costs itself: exit status 3 says that some source or repository
/// has no snapshot of this run, 21 that none has. A dump that is not whole is never a snapshot.
/// A job runs once at a time: 27 says that it runs already.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Only jobs with this tag (repeatable: any of them)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only this source (repeatable)
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Only into this repository of the configuration (repeatable)
    #[arg(long, value_name = "REPO")]
    repo_name: Vec<String>,
    /// Read back and verify what was stored
    #[arg(long)]
    verify: bool,
    /// Store files that usually hold secrets (.env, private keys …), too
    #[arg(long)]
    include_secrets: bool,
    /// Only read and count: nothing is stored, no hook runs
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// What starts it, for `seabed runs`
    #[arg(long, value_name = "WHAT", default_value = "manual", hide = true)]
    cause: String,
}

impl Args {
    /// For one job, with all that is usual.
    pub fn of(job: &str) -> Self {
        let (tag, source, repo_name) = Default::default();
        Args {
            jobs: vec![job.to_owned()],
            tag,
            source,
            repo_name,
            verify: false,
            include_secrets: false,
            dry_run: false,
            cause: "setup".to_owned(),
        }
    }
}

/// Runs them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if global.repo.is_some() {
        return Err(Fail::config("--repo has no meaning for `run`: a job says where it is stored")
            .hint("--repo-name NAME takes one of the configuration's repositories"));
    }
    let config = Config::load(global.config.as_deref())?;
    let chosen = chosen(&config, args)?;
    let state = State::open(&config)?;
    let mut codes: Vec<Code> = Vec::new();
    for (name, job) in chosen {
        if signals::interrupted() {
            codes.push(Code::Interrupted);
            break;
        }
        codes.push(one(global, args, (&config, &state), (name, job), out)?);
    }
    let (first, rest) = codes.split_first().unwrap_or((&Code::Done, &[]));
    if codes.contains(&Code::Interrupted) {
        return Ok(Code::Interrupted);
    }
    // All the same, or done in part.
    Ok(if rest.iter().all(|code| code == first) { *first } else { Code::Incomplete })
}

fn chosen<'a>(config: &'a Config, args: &Args) -> Result<Vec<(&'a str, &'a Job)>, Fail> {
    let tagged = |job: &Job| args.tag.is_empty() || job.tags.iter().any(|tag| args.tag.contains(tag));
    let mut chosen = Vec::new();
    if args.jobs.is_empty() {
        chosen.extend(config.jobs.iter().map(|(name, job)| (name.as_str(), job)));
    }
    for name in &args.jobs {
        let job = config.job(name)?;
        let name = config.jobs.get_key_value(name).map_or("", |(name, _)| name);
        if !chosen.iter().any(|(other, _)| *other == name) {
            chosen.push((name, job));
        }
    }
    chosen.retain(|(_, job)| tagged(job));
    if chosen.is_empty() {
        return Err(Fail::config("there is no such job").hint("`seabed config show` has all of them"));
    }
    for name in &args.source {
        config.source(name)?;
        if !chosen.iter().any(|(_, job)| job.sources.contains(name)) {
            return Err(
                Fail::config(format!("no job that was chosen has the source `{name}`")).hint("`seabed config show` has all of them")
            );
        }
    }
    for name in &args.repo_name {
        config.repo(name)?;
    }
    Ok(chosen)
}

fn one(global: &Global, args: &Args, (config, state): (&Config, &State), (name, job): (&str, &Job), out: &Output) -> Run {
    let among = |asked: &[String], name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    let sources: Vec<&str> = job.sources.iter().map(String::as_str).filter(|source| among(&args.source, source)).collect();
    let repos: Vec<&str> = config.repos_of(job).into_iter().filter(|repo| among(&args.repo_name, repo)).collect();
    if sources.is_empty() || repos.is_empty() {
        return Err(
            Fail::config(format!("of job {name} nothing is left to do")).hint("it has other sources or repositories: `seabed config show`")
        );
    }
    let Some(_lock) = state.lock(name, job.run.lock_wait.0, &signals::interrupted)? else {
        if signals::interrupted() {
            return Ok(Code::Interrupted);
        }
        let fail = Fail::new(Code::Running, format!("job {name} already runs"));
        out.failed(&fail.hint("`seabed status` says since when; run.lock_wait lets a run wait for the one before it"));
        return Ok(Code::Running);
    };
    let asked = Asked {
        global,
        config,
        name,
        job,
        sources,
        repos,
        host: config.host(),
        verify: args.verify,
        include_secrets: args.include_secrets,
        dry_run: args.dry_run,
        cause: &args.cause,
    };
    let id = hex(&random::<16>()?);
    // What cannot be remembered is stored all the same.
    let told = |result: rusqlite::Result<()>| result.unwrap_or_else(|e| out.warn(&format!("this run cannot be remembered: {e}")));
    if !args.dry_run {
        told(state.begin(&id, name, asked.cause, clock::now().secs));
    }
    let report = JobRun::new(&asked, state, &id, out).go();
    if !args.dry_run {
        told(state.end(&id, report.code().number(), &report.json(), clock::now().secs));
    }
    if out.json {
        out.json_result(&report.json())?;
    } else if let Some(fail) = report.fail.as_ref().filter(|fail| fail.code != Code::Interrupted) {
        out.failed(fail);
    }
    Ok(report.code())
}
