//! `hold` and `unhold`: snapshots that nobody may forget. They obey spec chapter 7.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::which::whole;
use crate::{size, time};
use seabed_engine::clock;
use seabed_engine::forget::{hold as put_hold, unhold as release};
use seabed_engine::format::wire::Time;
use serde_json::json;
use std::time::Duration;

const HOLD: &str = "  seabed hold 40dc1520 --reason 'before the migration'
  seabed hold latest --host db1 --for 90d
  seabed hold --list";

/// Hold snapshots: no `forget` takes them, by name or by policy
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(HOLD))]
pub struct HoldArgs {
    /// Snapshots
    #[arg(value_name = "ID", required_unless_present = "list")]
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// For so long (90d, 24h); else until `unhold`
    #[arg(long = "for", value_name = "TIME", value_parser = time::duration)]
    span: Option<Duration>,
    /// List what is held
    #[arg(long, conflicts_with_all = ["ids", "span"])]
    list: bool,
}

/// Release held snapshots
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed unhold 40dc1520"))]
pub struct UnholdArgs {
    /// Snapshots
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

fn after(now: Time, span: Duration) -> Time {
    let secs = now.secs.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
    Time { secs, ..now }
}

/// Holds them, or lists what is held.
pub fn hold(global: &Global, args: &HoldArgs, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    if args.list {
        return list(&opened, out);
    }
    let until = args.span.map(|span| after(clock::now(), span));
    for id in &args.ids {
        let snapshot = whole(&opened.repository, id, &args.filter.filter())?;
        put_hold(&opened.repository, &snapshot.id, &args.reason, until)?;
        if out.json {
            out.json_result(&json!({"message_type": "held", "id": snapshot.id.to_string(), "until": until.map(|t| time::rfc3339(&t))}))?;
        } else {
            let until = until.map(|t| format!("until {}", time::local(&t))).unwrap_or("until `seabed unhold`".to_owned());
            out.say(&format!("snapshot {} is held {until}", snapshot.id.short()));
        }
    }
    Ok(Code::Done)
}

fn list(opened: &open::Opened, out: &Output) -> Run {
    let mut holds: Vec<_> = opened.repository.holds(clock::now())?.into_values().flatten().collect();
    holds.sort_by_key(|(id, hold)| (hold.time, *id));
    for (_, hold) in holds {
        let until = hold.until.map(|t| time::rfc3339(&t));
        if out.json {
            let since = time::rfc3339(&hold.time);
            out.json_result(
                &json!({"message_type": "hold", "id": hold.snapshot.to_string(), "reason": hold.reason, "since": since, "until": until}),
            )?;
        } else {
            let until = hold.until.map(|t| format!("until {}", time::local(&t))).unwrap_or("for good".to_owned());
            let line = format!("{}  since {}  {until}  {}", hold.snapshot.short(), time::local(&hold.time), hold.reason);
            out.result(crate::output::clean(line.trim_end()).as_bytes())?;
        }
    }
    Ok(Code::Done)
}

/// Releases them.
pub fn unhold(global: &Global, args: &UnholdArgs, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    for id in &args.ids {
        let snapshot = whole(&opened.repository, id, &args.filter.filter())?;
        let count = release(&opened.repository, &snapshot.id)?;
        if count == 0 {
            return Err(
                Fail::new(Code::Failed, format!("snapshot {} is not held", snapshot.id.short())).hint("`seabed hold --list` lists holds")
            );
        }
        if out.json {
            out.json_result(&json!({"message_type": "released", "id": snapshot.id.to_string(), "holds": count}))?;
        } else {
            out.say(&format!("snapshot {} is released of {}", snapshot.id.short(), size::of(count as u64, "hold")));
        }
    }
    Ok(Code::Done)
}
