//! `status`: each job and repository, one by one: what is there, how old it is, whether that is as it should be. A repository that cannot be
//! reached hides none of the others. It must never call a job well of which a snapshot is missing or too old.

use crate::args::{Global, Remote};
use crate::commands::runs::{moment, result};
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::open::of;
use crate::jobs::run::retention::UNVERIFIED;
use crate::jobs::state::State;
use crate::open;
use crate::output::{Output, Table, terminal_width};
use crate::{signals, size, time};
use seabed_engine::catalog::Snapshot;
use seabed_engine::clock;
use seabed_engine::format::wire::Time;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EXAMPLES: &str = "  seabed status
  seabed status nightly
  seabed status --quiet || echo 'look at the backups'
  seabed status --json";

/// Say of each job what is stored where, how old it is, and how the last run ended
///
/// Each repository is asked by itself. Exit status 0 says that every source of every job has a
/// snapshot in every repository that is not older than monitor.max_age, 3 that something is
/// missing, too old, unverified or failed last, 22 that a repository cannot be reached.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
}

/// The newest snapshot of a source in a repository, if there is one.
struct Row {
    job: String,
    source: String,
    repo: String,
    newest: Option<Snapshot>,
    state: &'static str,
}

/// Says it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let config = Config::load(global.config.as_deref())?;
    for job in &args.jobs {
        config.job(job)?;
    }
    let state = State::open(&config)?;
    let chosen = || config.jobs.iter().filter(|(name, _)| args.jobs.is_empty() || args.jobs.contains(name));
    let mut repos: BTreeMap<&str, Result<Vec<Snapshot>, Fail>> = BTreeMap::new();
    for (_, job) in chosen() {
        for repo in config.repos_of(job) {
            repos.entry(repo).or_insert_with(|| snapshots(global, &config, repo, out));
        }
    }
    let (now, host) = (clock::now(), config.host());
    let mut rows = Vec::new();
    for (name, job) in chosen() {
        for source in &job.sources {
            for repo in config.repos_of(job) {
                let Some(Ok(snapshots)) = repos.get(repo) else { continue };
                let series = Config::series(name, source);
                let own = snapshots.iter().filter(|s| s.names.series == series && s.names.host == host && !s.index.incomplete);
                let newest = own.max_by_key(|snapshot| (snapshot.index.time, snapshot.index.sequence)).cloned();
                let state = match &newest {
                    None => "missing",
                    Some(s) if s.names.tags.iter().any(|tag| tag == UNVERIFIED) => "unverified",
                    Some(s) if job.monitor.max_age.is_some_and(|age| time::between(&s.index.time, &now) > age.0) => "too old",
                    Some(s) if s.names.summary.errors > 0 => "in part",
                    Some(_) => "good",
                };
                rows.push(Row { job: name.clone(), source: source.clone(), repo: repo.to_owned(), newest, state });
            }
        }
    }
    let mut good = rows.iter().all(|row| row.state == "good");
    let mut lasts = Vec::new();
    for (name, _) in chosen() {
        let last = state.recent(Some(name), 1).unwrap_or_default().pop();
        good &= last.as_ref().is_none_or(|run| matches!(run.code, Some(0)) || (run.code.is_none() && state.is_running(name)));
        lasts.push((name.as_str(), last));
    }
    if out.json {
        let repositories: Vec<Value> = repos
            .iter()
            .map(|(name, found)| match found {
                Ok(snapshots) => json!({"repo": name, "reachable": true, "snapshots": snapshots.len()}),
                Err(fail) => {
                    json!({"repo": name, "reachable": false, "code": fail.code.number(), "message": fail.message, "hint": fail.hint})
                }
            })
            .collect();
        let jobs: Vec<Value> = lasts
            .iter()
            .map(|(name, last)| {
                let last = last.as_ref().map(|run| json!({"id": run.id, "code": run.code, "began": time::rfc3339(&moment(run.began)), "result": result(run, &state)}));
                json!({"job": name, "last_run": last, "running": state.is_running(name), "next_run": next(&config, name).map(|at| time::rfc3339(&at))})
            })
            .collect();
        let sources: Vec<Value> = rows.iter().map(|row| row_json(row, &now)).collect();
        out.json_result(
            &json!({"message_type": "status_of_jobs", "repositories": repositories, "jobs": jobs, "sources": sources, "good": good}),
        )?;
    } else if out.level >= 0 {
        text(&rows, &lasts, (&config, &state), &now, out)?;
    }
    let mut worst = if good { Code::Done } else { Code::Incomplete };
    for (name, found) in &repos {
        if let Err(fail) = found {
            let hint = fail.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            let what = if fail.code == Code::Unreachable { "unreachable: " } else { "" };
            out.failed_item(&format!("repo {name}: {what}{}{hint}", fail.message), "status", name);
            // One that cannot be reached hides what is in it: that outweighs what is known of others.
            worst = if worst == Code::Unreachable { worst } else { fail.code };
        }
    }
    Ok(worst)
}

/// What a repository has; it is asked once, without long patience.
fn snapshots(global: &Global, config: &Config, name: &str, out: &Output) -> Result<Vec<Snapshot>, Fail> {
    let mut own = of(config, name, global)?;
    if own.remote.retry_minutes == Remote::RETRY_MINUTES {
        own.remote.retry_minutes = 0;
    }
    let opened = open::open(&own, out)?;
    crate::commands::refresh(&opened.repository, out)?;
    Ok(opened.repository.catalog().snapshots()?)
}

/// How old a snapshot is: what would be lost if all else were lost now.
fn age(snapshot: &Snapshot, now: &Time) -> std::time::Duration {
    time::between(&snapshot.index.time, now)
}

fn text(
    rows: &[Row],
    lasts: &[(&str, Option<crate::jobs::state::RunRow>)],
    (config, state): (&Config, &State),
    now: &Time,
    out: &Output,
) -> Result<(), Fail> {
    let mut table = Table::new(&[
        ("Job", false, false),
        ("Source", false, false),
        ("Repo", false, false),
        ("Newest", false, false),
        ("Age", true, false),
        ("Size", true, false),
        ("State", false, false),
    ]);
    for row in rows {
        let (newest, age, bytes) = match &row.newest {
            Some(s) => (s.id.short(), time::span(rounded(age(s, now))), size::human(s.names.summary.bytes_total)),
            None => Default::default(),
        };
        table.row(vec![row.job.clone(), row.source.clone(), row.repo.clone(), newest, age, bytes, row.state.to_owned()]);
    }
    // Where no repository could be asked there is nothing to head.
    for line in table.lines(terminal_width()).iter().filter(|_| !rows.is_empty()) {
        out.result(line.as_bytes())?;
    }
    for (name, last) in lasts {
        let words = match last {
            Some(run) => format!("{} at {}", result(run, state), time::local(&moment(run.began))),
            None => "none on this machine yet".to_owned(),
        };
        let next = next(config, name).map(|at| format!("; the next one is due at {}", time::local(&at))).unwrap_or_default();
        out.result(format!("last run of {name}: {words}{next}").as_bytes())?;
    }
    Ok(())
}

/// When a job is due next by its schedule, whoever starts it.
fn next(config: &Config, name: &str) -> Option<Time> {
    let job = config.jobs.get(name)?;
    let (schedules, tz) = crate::jobs::schedule::plan::schedules(config, name, job).ok()?;
    let now = jiff::Timestamp::now();
    let at = schedules.iter().filter_map(|schedule| schedule.next(now, &tz)).min()?;
    Some(Time { secs: at.as_second(), nanos: 0 })
}

/// Nobody reads seconds of what is hours old.
fn rounded(age: std::time::Duration) -> std::time::Duration {
    let unit = match age.as_secs() {
        0..120 => 1,
        120..7200 => 60,
        7200..172_800 => 3600,
        _ => 86_400,
    };
    std::time::Duration::from_secs(age.as_secs() / unit * unit)
}

fn row_json(row: &Row, now: &Time) -> Value {
    json!({
        "job": row.job,
        "source": row.source,
        "repo": row.repo,
        "state": row.state,
        "snapshot": row.newest.as_ref().map(|s| s.id.to_string()),
        "time": row.newest.as_ref().map(|s| time::rfc3339(&s.index.time)),
        "age_seconds": row.newest.as_ref().map(|s| age(s, now).as_secs()),
        "bytes": row.newest.as_ref().map(|s| s.names.summary.bytes_total),
    })
}
