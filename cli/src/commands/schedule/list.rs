//! `schedule list`: when jobs run next.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::schedule::plan::{schedules, watched};
use crate::jobs::schedule::runner::{as_time, rfc3339};
use crate::jobs::schedule::starts::LastStarts;
use crate::jobs::schedule::when::zone_name;
use crate::jobs::state::directory_of;
use crate::output::{Output, Table, terminal_width};
use crate::time;
use jiff::Timestamp;
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Duration;

const EXAMPLES: &str = "  seabed schedule list
  seabed schedule list --next 5";

/// When jobs run next
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// So many runs of each job
    #[arg(short = 'n', long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    next: NonZeroUsize,
    /// From this time on (`now`, a date and time, RFC 3339)
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = super::moment)]
    from: Timestamp,
}

/// Prints a line for each of the next runs.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    let watched = watched(&config)?;
    let mut table = Table::new(&[
        ("Job", false, false),
        ("Schedule", false, true),
        ("Next", false, false),
        ("In its zone", false, false),
        ("In", true, false),
    ]);
    let mut rows: Vec<(Timestamp, &str, String, String, String)> = Vec::new();
    for job in &watched {
        for schedule in &job.schedules {
            let zone = schedule.zone(&job.tz);
            let runs = schedule.after(args.from.saturating_sub(job.delay).unwrap_or(args.from), &job.tz);
            for at in runs.filter_map(|at| at.saturating_add(job.delay).ok()).take(args.next.get()) {
                let local = at.to_zoned(zone.clone());
                rows.push((
                    at,
                    &job.job,
                    schedule.to_string(),
                    local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                    zone_name(zone).to_owned(),
                ));
            }
        }
    }
    rows.sort();
    // Two schedules of a job that meet are one run.
    rows.dedup_by(|b, a| (a.0, a.1) == (b.0, b.1));
    let mut counts = std::collections::BTreeMap::new();
    for (at, job, schedule, local, zone) in rows {
        let count = counts.entry(job).or_insert(0);
        *count += 1;
        if *count > args.next.get() {
            continue;
        }
        if out.json {
            out.json_result(&json!({
                "message_type": "run", "job": job, "schedule": schedule, "time": rfc3339(at), "local": local.replace(' ', "T"), "zone": zone,
            }))?;
            continue;
        }
        let left = Duration::try_from(at.duration_since(Timestamp::now())).map(time::left).unwrap_or_default();
        table.row(vec![job.to_owned(), schedule, time::local(&as_time(at)), format!("{local} {zone}"), left]);
    }
    if !out.json {
        for line in table.spare(&["In its zone", "In"]).lines(terminal_width()) {
            out.result(line.as_bytes())?;
        }
    }
    without(&config, out)?;
    Ok(Code::Done)
}

/// Says which jobs nobody starts.
fn without(config: &Config, out: &Output) -> Result<(), Fail> {
    for (name, job) in &config.jobs {
        if schedules(config, name, job)?.0.is_empty() {
            match out.json {
                true => out.json_result(&json!({"message_type": "unscheduled", "job": name}))?,
                false => out.remark(&format!("job {name} has no schedule")),
            }
        }
    }
    // What the daemon or `tick` missed they make up for before all that.
    let now = Timestamp::now();
    let directory = directory_of(config);
    if directory.join("schedule.json").exists()
        && let Ok(starts) = LastStarts::hold(&directory)
    {
        for job in watched(config)? {
            if let Some(at) = starts.last(&job.job).and_then(|last| job.due(last, now)) {
                out.remark(&format!(
                    "job {} is due since {}: the daemon or `seabed tick` makes up for it",
                    job.job,
                    time::local(&as_time(at))
                ));
            }
        }
    }
    Ok(())
}
