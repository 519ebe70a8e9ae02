//! `retain`: the policies of the configuration, by hand: to look what they would do, or to do it all the same where a guard refuses.
//! It obeys what README.md says of retention; `run` does the same after each run.

use crate::args::Global;
use crate::commands::forget::show;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::open::of;
use crate::jobs::run::retention::Verdict;
use crate::output::Output;
use crate::{open, signals};

const EXAMPLES: &str = "  seabed retain --dry-run --explain
  seabed retain nightly --repo-name local
  seabed retain nightly --force";

/// Forget what the policies of the configuration do not keep
///
/// `seabed run` does this after each run that stored everything. A run whose guard refuses (too
/// much at once, a clock that jumped, no fresh snapshot) says so: look with --dry-run --explain.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Only in this repository of the configuration (repeatable)
    #[arg(long, value_name = "REPO")]
    repo_name: Vec<String>,
    /// Only say what would be forgotten
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Say of every snapshot which rule keeps it
    #[arg(long)]
    explain: bool,
    /// Do it though a guard refuses
    #[arg(long)]
    force: bool,
}

/// Retains.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let config = Config::load(global.config.as_deref())?;
    for job in &args.jobs {
        config.job(job)?;
    }
    for repo in &args.repo_name {
        config.repo(repo)?;
    }
    let (mut refused, mut any) = (None, false);
    for (name, job) in config.jobs.iter().filter(|(name, _)| args.jobs.is_empty() || args.jobs.contains(name)) {
        for repo in config.repos_of(job) {
            let policy = job.retention.as_ref().or_else(|| config.repos.get(repo)?.retention.as_ref());
            let Some(policy) = policy.filter(|_| args.repo_name.is_empty() || args.repo_name.iter().any(|one| one == repo)) else {
                continue;
            };
            any = true;
            if !out.json {
                out.say(&format!("job {name} in {repo}, by {policy}:"));
            }
            let series: Vec<String> = job.sources.iter().map(|source| Config::series(name, source)).collect();
            match one(global, args, &config, (repo, policy), series, out) {
                Ok(()) => {}
                // The others are asked all the same.
                Err(fail) if fail.code == Code::Refused => {
                    out.warn(&format!("job {name} in {repo}: {}", fail.message));
                    refused = Some(fail);
                }
                Err(fail) => return Err(fail),
            }
        }
    }
    if !any {
        return Err(Fail::config("no job that was chosen has a policy")
            .hint("write retention = \"NAME\" into its repository, and a [retention.NAME]"));
    }
    refused.map_or(Ok(Code::Done), Err)
}

fn one(global: &Global, args: &Args, config: &Config, (repo, name): (&str, &str), series: Vec<String>, out: &Output) -> Result<(), Fail> {
    let mut opened = open::open(&of(config, repo, global)?, out)?;
    open::settle(&mut opened, args.dry_run, out)?;
    let verdict = Verdict::read(&opened, config, name, (&config.host(), series), args.force, out)?;
    let (judged, refusals) = (&verdict.judged, &verdict.refusals);
    let gone = judged.gone();
    let freed = if args.dry_run && !gone.is_empty() { Some(judged.freed(&opened, out)?) } else { None };
    show::decisions(judged, refusals, args.explain, (args.dry_run, freed), out)?;
    if let Some(words) = verdict.refused().filter(|_| !args.force) {
        if args.dry_run {
            out.warn(&format!("without --force this is refused: {words}"));
            return Ok(());
        }
        return Err(Fail::new(Code::Refused, words).hint("look at it with --dry-run --explain; --force does it all the same"));
    }
    if !args.dry_run && !gone.is_empty() {
        show::done(&verdict.carry_out(&opened, out)?, false, out);
    }
    Ok(())
}
