//! `daemon` and `tick`: start what is due, as children that run `seabed run JOB`. They must never back up anything in their own process: a run
//! that dies must not take the next ones along. They obey operations.md, rows 3.9 and 3.11.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help, plain};
use crate::jobs::config::Config;
use crate::jobs::schedule::due::Watched;
use crate::jobs::schedule::plan;
use crate::jobs::schedule::runner::{Runner, Wake, as_time, rfc3339};
use crate::jobs::schedule::starts::LastStarts;
use crate::jobs::state::directory_of;
use crate::output::Output;
use crate::{size, time};
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Longest time without a look at the clock: it may be set, and machines sleep.
const LOOKS_EVERY: Duration = Duration::from_secs(30);

const DAEMON: &str = "  seabed daemon --config /etc/seabed/seabed.toml
  docker run -v ./seabed.toml:/etc/seabed/seabed.toml:ro … seabed daemon";

/// Start jobs when they are due, in the foreground: for containers
///
/// Of starts that were missed while it did not run one is made up for. Local times that daylight saving
/// skips run at the first valid time, those that come twice run once. SIGHUP has it read the
/// configuration again; SIGTERM and SIGINT end it, when the jobs that run have ended too.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(DAEMON))]
pub struct Args {}

const TICK: &str = "  seabed tick
  */5 * * * * root seabed tick --quiet --config /etc/seabed/seabed.toml";

/// Start the jobs that are due now, and wait for them: for cron
///
/// Due is what should have been started since it was the last time, once. A job that is new is looked
/// at from now on. Only one of several that are called at once decides.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(TICK))]
pub struct TickArgs {}

/// What is watched, as the configuration says now.
struct Plan {
    jobs: Vec<Watched>,
    state: PathBuf,
    config: PathBuf,
}

fn plan(global: &Global) -> Result<Plan, Fail> {
    let config = Config::load(global.config.as_deref())?;
    Ok(Plan { jobs: plan::watched(&config)?, state: directory_of(&config), config: config.path })
}

fn awake() -> Result<Wake, Fail> {
    Wake::hang().map_err(|e| Fail::new(Code::Failed, format!("cannot listen to signals: {}", plain(&e))))
}

/// Runs until it is asked to stop.
pub fn daemon(global: &Global, _: &Args, out: &Output) -> Run {
    let mut wake = awake()?;
    let mut plan = plan(global)?;
    if plan.jobs.is_empty() {
        return Err(
            Fail::config(format!("no job of {} has a schedule", plan.config.display())).hint("give one: schedule = \"*-*-* 02:00\"")
        );
    }
    let mut runner = Runner::new(&plan.config, out);
    let (mut stopping, mut first) = (false, true);
    loop {
        if wake.stops() {
            stopping = true;
            runner.stop();
        }
        runner.reap(out);
        if stopping {
            if runner.running() == 0 {
                return Ok(Code::Done);
            }
            wake.wait(LOOKS_EVERY);
            continue;
        }
        if wake.reloads() {
            reload(global, &mut plan, out);
            first = true;
        }
        let now = Timestamp::now();
        if let Err(fail) = runner.start_due(&plan.jobs, &plan.state, now, out) {
            // The first time it is a mistake in the set-up; later a full disk, over which no backup is left out.
            if first && runner.running() == 0 {
                return Err(fail);
            }
            out.warn(&fail.message);
        }
        let next = match next(&plan, now) {
            Err(fail) if first => return Err(fail),
            next => next.unwrap_or_default(),
        };
        let left = next.as_ref().and_then(|(at, _)| Duration::try_from(at.duration_since(Timestamp::now())).ok());
        if std::mem::take(&mut first) {
            tell(&plan, next, out);
        }
        // What is due and could not be started is not tried in a loop.
        wake.wait(left.filter(|left| !left.is_zero()).map_or(LOOKS_EVERY, |left| left.min(LOOKS_EVERY)));
    }
}

/// The next start of any job.
fn next(plan: &Plan, now: Timestamp) -> Result<Option<(Timestamp, String)>, Fail> {
    let starts = LastStarts::hold(&plan.state)?;
    let next = plan.jobs.iter().filter_map(|job| {
        let since = starts.last(&job.job).filter(|last| *last <= now).unwrap_or(now);
        Some((job.next(since)?, job.job.clone()))
    });
    Ok(next.min())
}

fn reload(global: &Global, plan: &mut Plan, out: &Output) {
    match self::plan(global) {
        Ok(new) => *plan = new,
        // With the old one the backups go on.
        Err(fail) => out.warn(&format!("the configuration is not taken over, the old one stays in force: {}", fail.message)),
    }
}

fn tell(plan: &Plan, next: Option<(Timestamp, String)>, out: &Output) {
    let count = plan.jobs.len();
    if out.json {
        let next = next.as_ref().map(|(at, job)| json!({"job": job, "time": rfc3339(*at)}));
        return out.message(&json!({"message_type": "watching", "config": plan.config.to_string_lossy(), "jobs": count, "next": next}));
    }
    let next =
        next.map_or("none of them starts any more".to_owned(), |(at, job)| format!("next is {job} at {}", time::local(&as_time(at))));
    out.say(&format!("watching {} of {}; {next}", size::of(count as u64, "job"), plan.config.display()));
}

/// Looks once.
pub fn tick(global: &Global, _: &TickArgs, out: &Output) -> Run {
    let mut wake = awake()?;
    let plan = plan(global)?;
    let mut runner = Runner::new(&plan.config, out);
    let mut late = None;
    let started = match runner.start_due(&plan.jobs, &plan.state, Timestamp::now(), out) {
        Ok(started) => started,
        // What was started is waited for all the same.
        Err(fail) if runner.running() > 0 => {
            late = Some(fail);
            runner.running()
        }
        Err(fail) => return Err(fail),
    };
    while runner.running() > 0 {
        wake.wait(LOOKS_EVERY);
        if wake.stops() {
            runner.stop();
        }
        runner.reap(out);
    }
    if out.json {
        out.json_result(&json!({"message_type": "summary", "jobs": plan.jobs.len(), "started": started}))?;
    } else if started == 0 {
        out.say("no job is due");
    }
    match (late, runner.failed) {
        (Some(fail), _) => Err(fail),
        // Which one, and how, was said.
        (None, Some(_)) => Err(Fail::new(Code::Failed, "")),
        (None, None) => Ok(Code::Done),
    }
}
