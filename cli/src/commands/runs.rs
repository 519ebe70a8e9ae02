//! `runs` and `logs`: what the runs of this machine came to, and what they said. Other machines remember theirs.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::state::{RunRow, State};
use crate::output::{Output, Table, terminal_width};
use crate::{size, time};
use seabed_engine::format::wire::Time;
use serde_json::{Value, json};
use std::time::Duration;

const RUNS: &str = "  seabed runs
  seabed runs nightly --last 5
  seabed runs --json";

const LOGS: &str = "  seabed logs
  seabed logs nightly
  seabed logs --run 1a2b3c4d";

/// List the runs of jobs, newest first
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(RUNS))]
pub struct RunsArgs {
    /// Only runs of this job
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// So many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
}

/// Print what a run said: the newest one, of a job or of all
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(LOGS))]
pub struct LogsArgs {
    /// The newest run of this job
    #[arg(value_name = "JOB", conflicts_with = "run")]
    job: Option<String>,
    /// The run with this id, or the beginning of it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

/// That the memory of runs failed.
fn failed(error: rusqlite::Error) -> Fail {
    Fail::new(Code::Failed, format!("the runs cannot be read: {error}")).hint("they are in the state directory of the configuration")
}

/// Lists them.
pub fn runs(global: &Global, args: &RunsArgs, out: &Output) -> Run {
    let (_, state) = open(global, args.job.as_deref())?;
    let runs = state.recent(args.job.as_deref(), args.last).map_err(failed)?;
    if out.json {
        let runs: Vec<Value> = runs.iter().map(|run| row_json(run, &state)).collect();
        out.json_result(&Value::Array(runs))?;
        return Ok(Code::Done);
    }
    let mut table = Table::new(&[
        ("Run", false, false),
        ("Job", false, true),
        ("Began", false, false),
        ("Took", true, false),
        ("Result", false, false),
        ("Stored", true, false),
        ("By", false, true),
    ]);
    for run in &runs {
        let took = run.ended.map(|ended| time::clock(seconds(ended - run.began))).unwrap_or_default();
        let id = run.id.get(..8).unwrap_or(&run.id).to_owned();
        let stored = if run.report.is_null() { String::new() } else { size::human(stored(run)) };
        table.row(vec![id, run.job.clone(), time::local(&moment(run.began)), took, result(run, &state), stored, run.cause.clone()]);
    }
    for line in table.lines(terminal_width()) {
        out.result(line.as_bytes())?;
    }
    out.remark(&size::of(runs.len() as u64, "run"));
    Ok(Code::Done)
}

/// Prints it.
pub fn logs(global: &Global, args: &LogsArgs, out: &Output) -> Run {
    let (_, state) = open(global, args.job.as_deref())?;
    let run = match &args.run {
        Some(id) => state
            .find(id)
            .map_err(failed)?
            .ok_or_else(|| Fail::new(Code::Failed, format!("there is no run `{id}`, or more than one")).hint("`seabed runs` lists them"))?,
        None => state
            .recent(args.job.as_deref(), 1)
            .map_err(failed)?
            .pop()
            .ok_or_else(|| Fail::new(Code::Failed, "nothing has run yet").hint("`seabed run` runs the jobs of the configuration"))?,
    };
    for line in state.lines(&run.id, 0).map_err(failed)? {
        if out.json {
            let at = time::rfc3339(&moment(line.at));
            out.json_result(
                &json!({"message_type": "line", "run": run.id, "time": at, "level": line.level, "who": line.who, "text": line.text}),
            )?;
            continue;
        }
        let who = if line.who.is_empty() { String::new() } else { format!("{}: ", line.who) };
        let level = match line.level.as_str() {
            "warning" | "error" => format!("{}: ", line.level),
            "output" => "| ".to_owned(),
            _ => String::new(),
        };
        out.result(crate::output::clean(&format!("{} {who}{level}{}", time::local(&moment(line.at)), line.text)).as_bytes())?;
    }
    if !out.json && run.ended.is_none() {
        out.remark(if state.is_running(&run.job) { "it goes on" } else { "it was killed before its end" });
    }
    Ok(Code::Done)
}

fn open(global: &Global, job: Option<&str>) -> Result<(Config, State), Fail> {
    let config = Config::load(global.config.as_deref())?;
    if let Some(job) = job {
        config.job(job)?;
    }
    let state = State::open(&config)?;
    Ok((config, state))
}

/// A moment of the state.
pub fn moment(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

/// A time between two of them; a clock that went back counts as none.
fn seconds(secs: i64) -> Duration {
    Duration::from_secs(u64::try_from(secs).unwrap_or(0))
}

/// How a run ended, in a word.
pub fn result(run: &RunRow, state: &State) -> String {
    match run.code {
        Some(0) => "done".to_owned(),
        Some(3) => "in part".to_owned(),
        Some(130) => "interrupted".to_owned(),
        Some(code) => format!("failed ({code})"),
        None if state.is_running(&run.job) => "runs".to_owned(),
        None => "killed".to_owned(),
    }
}

fn stored(run: &RunRow) -> u64 {
    let sources = run.report["sources"].as_array().map_or(&[][..], Vec::as_slice);
    let snapshots = sources.iter().filter_map(|source| source["snapshots"].as_array()).flatten();
    snapshots.filter_map(|snapshot| snapshot["bytes_stored"].as_u64()).sum()
}

fn row_json(run: &RunRow, state: &State) -> Value {
    json!({
        "id": run.id,
        "job": run.job,
        "began": time::rfc3339(&moment(run.began)),
        "ended": run.ended.map(|ended| time::rfc3339(&moment(ended))),
        "code": run.code,
        "running": run.ended.is_none() && state.is_running(&run.job),
        "cause": run.cause,
        "bytes_stored": stored(run),
        "report": run.report,
    })
}
