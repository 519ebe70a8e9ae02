//! `schedule check`: what will go otherwise than a schedule looks. It must never change anything.

use super::drift::drift;
use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::schedule::plan::schedules;
use crate::jobs::schedule::runner::{as_time, rfc3339};
use crate::jobs::schedule::when::dst::{Change, Kind, Pause, changes};
use crate::jobs::schedule::when::overlap::{Load, overlaps};
use crate::jobs::schedule::when::{Schedule, zone_name};
use crate::output::Output;
use crate::{size, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Five years, two of them leap years at most.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * (5 * 365 + 2));

const EXAMPLES: &str = "  seabed schedule check
  seabed schedule check --takes 2h";

/// Look five years ahead for times that are skipped or come twice, and for jobs that meet
///
/// Where daylight saving moves the clocks of a job's zone, it says what becomes of its runs; which jobs start
/// while another one may still run, if each takes as long as --takes says and starts as late as
/// its jitter lets it; and where what is installed differs from what the configuration says now.
///
/// Exit code 3: there is something to look at.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// How long a run takes, unless the job's max_duration says it
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time::duration)]
    takes: Duration,
    /// Look ahead from this time on (`now`, a date and time, RFC 3339)
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = super::moment)]
    from: Timestamp,
    /// Look for installed files there [default: the directories of systemd and cron]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Counts what is found.
struct Findings<'a> {
    out: &'a Output,
    count: u64,
}

impl Findings<'_> {
    fn tell(&mut self, kind: &str, job: Option<&str>, text: &str, more: Value) -> Result<(), Fail> {
        self.count += 1;
        if !self.out.json {
            return self.out.result(text.as_bytes());
        }
        let mut value = json!({"message_type": "finding", "kind": kind, "job": job, "message": text});
        if let (Some(map), Value::Object(more)) = (value.as_object_mut(), more) {
            map.extend(more);
        }
        self.out.json_result(&value)
    }
}

struct Checked<'a> {
    name: &'a str,
    schedules: Vec<Schedule>,
    tz: TimeZone,
    takes: SignedDuration,
}

/// Looks at everything.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    let from = args.from;
    let until = from.saturating_add(AHEAD).unwrap_or(from);
    let mut jobs = Vec::new();
    for (name, job) in &config.jobs {
        let (schedules, tz) = schedules(&config, name, job)?;
        let takes = job.monitor.max_duration.map_or(args.takes, |span| span.0).saturating_add(job.run.jitter.0);
        jobs.push(Checked { name, schedules, tz, takes: SignedDuration::try_from(takes).unwrap_or(SignedDuration::ZERO) });
    }
    let mut findings = Findings { out, count: 0 };
    for job in &jobs {
        for schedule in &job.schedules {
            local_times(job, schedule, from, until, &mut findings)?;
        }
    }
    let loads: Vec<Load<'_>> = jobs.iter().map(|job| Load { schedules: &job.schedules, tz: &job.tz, takes: job.takes }).collect();
    let (meet, looked) = overlaps(&loads, from, until);
    for pair in meet {
        let (first, second) = (jobs[pair.first].name, jobs[pair.second].name);
        let at = time::local(&as_time(pair.at));
        let often = size::of(pair.count as u64, "time");
        let text = match first == second {
            true => format!("job {first} is due while it may still run, {often} (first on {at}): a run that is due then is left out"),
            false => format!("job {second} starts while {first} may still run, {often} (first on {at})"),
        };
        let more = json!({"other": first, "time": rfc3339(pair.at), "count": pair.count});
        findings.tell("overlap", Some(second), &text, more)?;
    }
    let (drifts, files) = drift(global, &config, args.dir.as_deref())?;
    for drift in drifts {
        let path = drift.path.display();
        let text = match drift.what {
            "edited" => format!("{path} was edited: `seabed schedule install` would write it anew"),
            "outdated" => format!("{path} is not what the configuration says now: run `seabed schedule install` again"),
            "missing" => format!("{path} is missing, others of this configuration are installed: run `seabed schedule install` again"),
            _ => format!("{path} belongs to no job of the configuration any more: run `seabed schedule install` again"),
        };
        let more = json!({"path": drift.path.to_string_lossy(), "state": drift.what.replace(' ', "_")});
        findings.tell("drift", drift.job.as_deref(), &text, more)?;
    }
    let count = findings.count;
    if out.json {
        out.json_result(&json!({"message_type": "summary", "findings": count, "installed_files": files, "until": rfc3339(looked)}))?;
    } else {
        if files == 0 {
            out.say("nothing is installed for this configuration: `seabed schedule install`, or `seabed daemon` in a container");
        }
        let found = if count == 0 { "nothing to say".to_owned() } else { size::of(count, "finding") };
        out.say(&format!("{found}, looked ahead to {}", time::day(&as_time(looked))));
    }
    Ok(if count == 0 { Code::Done } else { Code::Incomplete })
}

/// What the clocks of its zone do to one schedule: a line for what is skipped and one for what comes twice, with all days of it.
fn local_times(job: &Checked<'_>, schedule: &Schedule, from: Timestamp, until: Timestamp, findings: &mut Findings<'_>) -> Result<(), Fail> {
    let all = changes(schedule, &job.tz, from, until);
    for kind in [Kind::Skipped, Kind::Repeated] {
        let some: Vec<&Change> = all.iter().filter(|change| change.kind == kind).collect();
        let Some(first) = some.first() else { continue };
        let days: Vec<String> = some.iter().map(|change| change.local.date().to_string()).collect();
        let zone = zone_name(schedule.zone(&job.tz));
        let clock = first.local.strftime("%H:%M").to_string();
        let word = if kind == Kind::Skipped { "skipped" } else { "repeated" };
        let mut text = format!("job {}: `{schedule}` in {zone}: {clock} ", job.name);
        text.push_str(match kind {
            Kind::Skipped => "does not come",
            Kind::Repeated => "comes twice",
        });
        text.push_str(&format!(" on {}: ", days.join(", ")));
        text.push_str(&match (kind, first.pause_of_timer) {
            (Kind::Skipped, Some(pause)) => {
                format!("the daemon runs it as soon as the clocks are changed, a timer of systemd does not: {}", words(pause))
            }
            (Kind::Skipped, None) => "the daemon runs it as soon as the clocks are changed, a timer of systemd does not".to_owned(),
            (Kind::Repeated, _) => match first.pause {
                Some(pause) => format!("it runs once: {}", words(pause)),
                None => "it runs once, the first time".to_owned(),
            },
        });
        text.push_str("; in UTC that does not happen");
        let pause = |pause: Option<Pause>| pause.map(|pause| pause.real.as_secs());
        let changes: Vec<Value> = some
            .iter()
            .map(|change| {
                json!({
                    "time": rfc3339(change.at), "local": change.local.to_string(), "times": change.times, "runs": rfc3339(change.runs),
                    "pause_seconds": pause(change.pause), "pause_of_timer_seconds": pause(change.pause_of_timer),
                })
            })
            .collect();
        findings.tell(word, Some(job.name), &text, json!({"schedule": schedule.to_string(), "zone": zone, "changes": changes}))?;
    }
    Ok(())
}

fn words(pause: Pause) -> String {
    // In hours: 47h beside 24h says more than 1d23h does.
    let span = |span: SignedDuration| match (span.as_hours(), span.as_mins()) {
        (hours @ 2..72, mins) if mins % 60 == 0 => format!("{hours}h"),
        _ => time::span(Duration::try_from(span).unwrap_or_default()),
    };
    format!("{} without a run instead of {}", span(pause.real), span(pause.planned))
}
