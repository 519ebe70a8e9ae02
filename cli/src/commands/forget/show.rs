//! What `forget` shows: what stays and why, what goes, and what would be there in some weeks.

use super::judged::Judged;
use crate::exit::Fail;
use crate::output::{Output, Table, terminal_width};
use crate::{size, time};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use seabed_engine::catalog::Snapshot;
use seabed_engine::format::wire::Time;
use seabed_engine::id::SnapshotId;
use seabed_engine::retention::{Cause, Decision, Forecast, Reason, Refusal, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What becomes of the snapshots, group by group.
pub fn decisions(
    judged: &Judged,
    refusals: &[Refusal],
    explain: bool,
    (dry_run, freed): (bool, Option<u64>),
    out: &Output,
) -> Result<(), Fail> {
    let mut groups: BTreeMap<&str, Vec<(&Snapshot, &Decision)>> = BTreeMap::new();
    for ((snapshot, item), decision) in judged.snapshots.iter().zip(&judged.items).zip(&judged.decisions) {
        groups.entry(&item.group).or_default().push((snapshot, decision));
    }
    if out.json {
        return out.json_result(&json!({
            "message_type": "forget",
            "dry_run": dry_run,
            "freed_bytes": freed,
            "refusals": refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "groups": groups.iter().map(|(group, of)| json!({
                "group": group,
                "keep": of.iter().filter(|(_, d)| d.keeps()).map(row_json).collect::<Vec<_>>(),
                "remove": of.iter().filter(|(_, d)| !d.keeps()).map(row_json).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }));
    }
    // What was asked for is shown whatever `--quiet` says; what is merely done is not.
    if out.level < 0 && !explain && !dry_run {
        return Ok(());
    }
    for (group, of) in &groups {
        let gone = of.iter().filter(|(_, decision)| !decision.keeps()).count();
        if gone == 0 && !explain {
            continue;
        }
        out.result(crate::output::clean(&format!("\n{group}: {} stay, {gone} go", of.len() - gone)).as_bytes())?;
        let mut table =
            Table::new(&[("", false, false), ("ID", false, false), ("Time", false, false), ("Tags", false, true), ("Why", false, true)]);
        for (snapshot, decision) in of.iter().filter(|(_, decision)| explain || !decision.keeps()) {
            table.row(vec![
                if decision.keeps() { "keep" } else { "forget" }.to_owned(),
                snapshot.id.short(),
                time::local(&snapshot.index.time),
                snapshot.names.tags.join(","),
                why(decision),
            ]);
        }
        for line in table.lines(terminal_width()) {
            out.result(line.as_bytes())?;
        }
    }
    let gone = judged.gone().len() as u64;
    if dry_run {
        let space = freed
            .map(|bytes| format!(", which alone {} {}", if gone == 1 { "holds" } else { "hold" }, size::human(bytes)))
            .unwrap_or_default();
        out.say(&format!("would forget {}{space}; nothing was changed", size::of(gone, "snapshot")));
    }
    Ok(())
}

fn words(reasons: &[Reason]) -> String {
    list(reasons).join(", ")
}

/// Where snapshots are named, no rule keeps the others.
fn list(reasons: &[Reason]) -> Vec<String> {
    if reasons.is_empty() { vec!["not asked for".to_owned()] } else { reasons.iter().map(ToString::to_string).collect() }
}

fn why(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Keep(reasons) => words(reasons),
        Verdict::Remove(Cause::Size { total_bytes, max_bytes }) => {
            format!("the oldest of {}, {} are allowed", size::human(*total_bytes), size::human(*max_bytes))
        }
        Verdict::Remove(cause) => cause.to_string(),
    }
}

fn row_json((snapshot, decision): &(&Snapshot, &Decision)) -> Value {
    let reasons: Vec<String> = match &decision.verdict {
        Verdict::Keep(reasons) => list(reasons),
        Verdict::Remove(cause) => vec![cause.to_string()],
    };
    json!({
        "id": snapshot.id.to_string(),
        "short_id": snapshot.id.short(),
        "time": time::rfc3339(&snapshot.index.time),
        "hostname": snapshot.names.host,
        "series": snapshot.names.series,
        "tags": snapshot.names.tags,
        "reasons": reasons,
    })
}

/// What was done.
pub fn done(gone: &[SnapshotId], collects: bool, out: &Output) {
    if out.json {
        return;
    }
    if gone.is_empty() {
        return out.say("nothing to forget");
    }
    let next = if collects { "" } else { "; `seabed gc` gives the space back, and until then `seabed undelete` undoes it" };
    out.say(&format!("forgot {}{next}", size::of(gone.len() as u64, "snapshot")));
}

/// The day of a time in a zone.
fn day(time: &Time, zone: &TimeZone) -> String {
    let at = Timestamp::new(time.secs, 0).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// What would be there, week by week.
pub fn forecast(forecasts: &[Forecast], zone: &TimeZone, out: &Output) -> Result<(), Fail> {
    if out.json {
        let step = |forecast: &Forecast| -> Vec<Value> {
            let steps = forecast.steps.iter();
            steps.map(|s| json!({"day": s.day, "time": time::rfc3339(&s.time), "kept": s.kept.len(), "bytes": s.bytes})).collect()
        };
        let end = |forecast: &Forecast| -> Vec<Value> {
            let end = forecast.end.iter();
            end.map(|(item, decision)| json!({"time": time::rfc3339(&item.time), "why": why(decision)})).collect()
        };
        return out.json_result(&json!({
            "message_type": "simulation",
            "groups": forecasts.iter().map(|f| json!({
                "group": f.group, "interval_seconds": f.interval_secs, "steps": step(f), "end": end(f),
            })).collect::<Vec<_>>(),
        }));
    }
    for forecast in forecasts {
        let every = time::span(std::time::Duration::from_secs(forecast.interval_secs.unsigned_abs()));
        out.result(crate::output::clean(&format!("\n{}: one every {every}", forecast.group)).as_bytes())?;
        let mut table = Table::new(&[
            ("Day", true, false),
            ("Date", false, false),
            ("Snapshots", true, false),
            ("Oldest", false, false),
            ("Size", true, false),
        ]);
        for step in &forecast.steps {
            table.row(vec![
                step.day.to_string(),
                day(&step.time, zone),
                step.kept.len().to_string(),
                step.kept.last().map(|oldest| day(oldest, zone)).unwrap_or_default(),
                size::human(step.bytes),
            ]);
        }
        table.lines(terminal_width()).iter().try_for_each(|line| out.result(line.as_bytes()))?;
        out.result(b"\nat the end:")?;
        let mut table = Table::new(&[("Time", false, false), ("Why", false, true)]);
        forecast.end.iter().filter(|(_, decision)| decision.keeps()).for_each(|(item, decision)| {
            table.row(vec![day(&item.time, zone), why(decision)]);
        });
        table.lines(terminal_width()).iter().try_for_each(|line| out.result(line.as_bytes()))?;
    }
    out.say("a guess from the history; nothing was changed");
    Ok(())
}
