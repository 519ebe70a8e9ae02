//! `check`: whether everything that a restore needs is there and whole. It must never change the repository but for the notes of what
//! was verified, nor call clean what it could not look at. It obeys DESIGN section 1.

use crate::args::Global;
use crate::exit::{Code, Fail, LOST, Run, help, without_number};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::check::{Budget, CheckOptions, CheckReport, Finding, PATHS_MAX, ReadData, Warning, check};
use seabed_engine::error::{Damage, Error};
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "  seabed check
  seabed check --read-data
  seabed check --read-data-subset 3/7     (the third of seven parts: one a day reads all in a week)
  seabed check --read-data-subset 5%
  seabed check --budget 1h --max-age 30d   (each night an hour of it: what was verified longest ago, nothing twice in a month)
  seabed check --read-data --paths all --json";

/// Check that a repository is whole
///
/// Reads every object but the content of packs, follows every snapshot down to its chunks, and compares
/// what is there with what was known to be there. --read-data reads and verifies all content too.
/// Nothing is changed but that the repository notes which packs were verified when, so that the next
/// check with a --budget goes on from there, on whatever host. Damage is listed with the snapshots and
/// paths that it hurts, exit status 23. That data was not verified for long changes no exit status.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Read and verify all content
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,
    /// Read and verify a part of it: n/t, x%, or a size (k, M, G, T)
    #[arg(long, value_name = "PART")]
    read_data_subset: Option<String>,
    /// Read no more than this: a size (k, M, G, T) or a time (30m, 1h). What nobody has verified is first,
    /// then what was verified longest ago. As much again may be read of packs that are known to be damaged
    #[arg(long, value_name = "SIZE|TIME", value_parser = budget, conflicts_with = "read_data_subset", verbatim_doc_comment)]
    budget: Option<Budget>,
    /// Do not read again what was verified within this time (30d)
    #[arg(long, value_name = "TIME", value_parser = time::duration, conflicts_with = "read_data_subset")]
    max_age: Option<Duration>,
    /// Name so many paths of each damage: a number, or `all`
    #[arg(long, value_name = "N", value_parser = paths, default_value_t)]
    paths: Paths,
}

/// How many paths are named of each damage.
#[derive(Clone, Copy, Debug)]
pub struct Paths(pub usize);

impl Default for Paths {
    fn default() -> Self {
        Paths(PATHS_MAX)
    }
}

impl std::fmt::Display for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == usize::MAX { f.write_str("all") } else { write!(f, "{}", self.0) }
    }
}

/// Reads how many.
pub fn paths(text: &str) -> Result<Paths, String> {
    match text.trim() {
        "all" => Ok(Paths(usize::MAX)),
        number => number.parse().map(Paths).map_err(|_| format!("`{text}` is no number of paths: write 16, or all")),
    }
}

/// Small letters are those of times where both would do: `30m` is half an hour, `30M` a size.
fn budget(text: &str) -> Result<Budget, String> {
    if text.trim() == "0" {
        return Err("nothing can be read with a budget of 0".to_owned());
    }
    let sized = || size::parse(text).map(Budget::Bytes);
    time::duration(text).map(Budget::Time).or_else(|_| sized()).map_err(|_| format!("`{text}` is no budget: write 20G, 30m or 1h"))
}

fn subset(text: &str) -> Result<ReadData, Fail> {
    let bad = || Fail::config(format!("`{text}` is no part of the data")).hint("write 1/7, 5% or 10G");
    if let Some((n, of)) = text.split_once('/') {
        return Ok(ReadData::Part { n: n.trim().parse().map_err(|_| bad())?, of: of.trim().parse().map_err(|_| bad())? });
    }
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse().map(ReadData::Percent).map_err(|_| bad());
    }
    size::parse(text).map(ReadData::Bytes).map_err(|_| bad())
}

/// Checks it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let read_data = match (&args.read_data_subset, args.read_data) {
        (Some(text), _) => subset(text)?,
        (None, _) if args.budget.is_some() || args.max_age.is_some() => ReadData::Oldest { budget: args.budget, max_age: args.max_age },
        (None, true) => ReadData::All,
        (None, false) => ReadData::None,
    };
    let opened = open::open(global, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    let listener = Listener::new(out, "check");
    let result = check(&opened.repository, &CheckOptions { read_data, paths_max: args.paths.0, dry_run: false }, &listener);
    let took = listener.elapsed();
    listener.finish();
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => {
            return Err(Fail::new(Code::Interrupted, "interrupted, the check is not complete")
                .hint("what was verified is noted: `seabed check --budget 1h` goes on with what was verified longest ago"));
        }
        Err(error) => return Err(error.into()),
    };
    for finding in &report.findings {
        tell(finding, out);
    }
    for warning in &report.warnings {
        out.warn(&warning.to_string());
    }
    if out.json {
        out.json_result(&summary(&report, args.max_age.is_some(), took.as_secs_f64()))?;
    } else {
        out.say(&format!(
            "checked {}, {} ({}), {} in {}",
            size::of(report.snapshots, "snapshot"),
            size::of(report.packs, "pack"),
            size::human(report.pack_bytes),
            size::of(report.chunks, "chunk"),
            time::clock(took)
        ));
        if read_data == ReadData::None {
            out.say("the content of packs was not read; --read-data does that");
        } else {
            out.say(&format!("{} read and verified ({})", size::of(report.packs_read, "pack"), size::human(report.bytes_read)));
        }
        tell_age(&report, args.max_age, out);
    }
    if report.packs_archived > 0 {
        out.warn(&format!(
            "an archive holds {} ({}), seen to be there but not looked into",
            size::of(report.packs_archived, "pack"),
            size::human(report.bytes_archived)
        ));
    }
    let found = report.findings.len() as u64 + report.findings_left_out;
    if report.is_clean() {
        if !out.json {
            out.say("no damage found");
        }
        return Ok(if report.packs_unread > 0 { Code::Incomplete } else { Code::Done });
    }
    let code = if report.is_damaged() { Code::Damage } else { Code::Failed };
    let fail = Fail::new(code, format!("{} found", size::of(found, "problem")));
    let lost = report.findings.iter().any(|f| matches!(f.error, Error::SnapshotLost { .. } | Error::LedgerGap { .. }));
    Err(if report.rolled_back {
        fail.hint(
            "this machine has seen snapshots of which nothing in the repository speaks: an older copy of it was put back, or this is another \
             copy. If the newer one is gone for good, `seabed forget --lost` accepts it; another copy needs a --cache-dir of its own",
        )
    } else if lost {
        fail.hint(LOST)
    } else if suggest_rebuild(&report) {
        fail.hint("`seabed repair` makes the index anew, and heals what other copies and the sources still have")
    } else {
        fail.hint(
            "`seabed repair` heals what other copies (--from-repo) and the sources still have, as does a backup of the same sources; \
             `seabed restore --keep-going` brings back what is whole",
        )
    })
}

fn snapshots_of(finding: &Finding) -> Vec<String> {
    finding.snapshots.iter().map(|id| id.short()).collect()
}

fn paths_of(finding: &Finding) -> Vec<String> {
    finding.paths.iter().map(|path| format!("/{}", String::from_utf8_lossy(path))).collect()
}

/// Says a finding to people, or as an error in JSON.
pub fn tell(finding: &Finding, out: &Output) {
    let message = without_number(&finding.error.to_string());
    let (snapshots, paths) = (snapshots_of(finding), paths_of(finding));
    if out.json {
        out.failed_item(&message, "check", paths.first().map_or("", String::as_str));
        return;
    }
    out.failed_item(&message, "check", "");
    if !snapshots.is_empty() {
        out.detail(&format!("hurts {} {}", if snapshots.len() == 1 { "snapshot" } else { "snapshots" }, snapshots.join(", ")));
    }
    for path in paths {
        out.detail(&format!("  {path}"));
    }
    if finding.more_paths {
        out.detail("  and more: --paths all names them, and `seabed restore --keep-going` names every file that it cannot bring back");
    }
}

/// Says how long ago what was verified.
fn tell_age(report: &CheckReport, max_age: Option<Duration>, out: &Output) {
    let Some(oldest) = &report.oldest_unverified else { return };
    let pack = oldest.pack.to_string();
    let never = if oldest.is_verified { "" } else { ", never verified" };
    out.say(&format!("oldest unverified data: {} (pack {}{never})", age(oldest.age_secs), pack.get(..8).unwrap_or(&pack)));
    if report.packs_never_verified > 0 {
        let packs = size::of(report.packs_never_verified, "pack");
        out.say(&format!("never verified: {packs} ({})", size::human(report.bytes_never_verified)));
    }
    if let Some(max_age) = max_age.filter(|_| report.packs_overdue > 0) {
        let packs = size::of(report.packs_overdue, "pack");
        out.say(&format!("unverified for more than {}: {packs} ({})", time::span(max_age), size::human(report.bytes_overdue)));
    }
}

/// In the unit that says most.
fn age(secs: u64) -> String {
    match secs {
        0..3600 => size::of(secs / 60, "minute"),
        3600..172_800 => size::of(secs / 3600, "hour"),
        _ => size::of(secs / 86_400, "day"),
    }
}

/// Whether a collection ends it.
fn is_for_collection(warning: &Warning) -> bool {
    matches!(warning, Warning::PendingCommitted { .. } | Warning::PendingStale { .. } | Warning::RecordOpen { .. })
}

/// Whether the index says something that the packs do not.
fn suggest_rebuild(report: &CheckReport) -> bool {
    report.findings.iter().any(|f| match &f.error {
        Error::Damaged { damage: Damage::Unindexed | Damage::Index, .. } => true,
        Error::Damaged { object, .. } => object.as_str().starts_with("index/"),
        _ => false,
    })
}

/// The findings as JSON.
pub fn findings(report: &CheckReport) -> Vec<Value> {
    let finding = |f: &Finding| {
        json!({
            "message": f.error.to_string(),
            "snapshots": f.snapshots.iter().map(|id| id.to_string()).collect::<Vec<_>>(),
            "paths": paths_of(f),
            "more_paths": f.more_paths,
        })
    };
    report.findings.iter().map(finding).collect()
}

fn summary(report: &CheckReport, has_age: bool, took: f64) -> Value {
    let broken = |f: &Finding| match &f.error {
        Error::Damaged { object, .. } => object.as_pack().map(|(_, id)| id.to_string()),
        Error::PackMissing { pack, .. } => Some(pack.to_string()),
        _ => None,
    };
    let mut packs: Vec<String> = report.findings.iter().filter_map(broken).collect();
    packs.sort();
    packs.dedup();
    json!({
        "message_type": "summary",
        "num_errors": report.findings.len() as u64 + report.findings_left_out,
        "broken_packs": packs,
        "suggest_repair_index": suggest_rebuild(report),
        "suggest_prune": report.warnings.iter().any(is_for_collection),
        "rolled_back": report.rolled_back,
        "findings": findings(report),
        "warnings": report.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "snapshots": report.snapshots,
        "packs": report.packs,
        "pack_bytes": report.pack_bytes,
        "chunks": report.chunks,
        "packs_read": report.packs_read,
        "bytes_read": report.bytes_read,
        "packs_archived": report.packs_archived,
        "bytes_archived": report.bytes_archived,
        "packs_never_verified": report.packs_never_verified,
        "bytes_never_verified": report.bytes_never_verified,
        "oldest_unverified_pack": report.oldest_unverified.as_ref().map(|oldest| oldest.pack.to_string()),
        "oldest_unverified_seconds": report.oldest_unverified.as_ref().map(|oldest| oldest.age_secs),
        "packs_overdue": has_age.then_some(report.packs_overdue),
        "bytes_overdue": has_age.then_some(report.bytes_overdue),
        "total_duration": took,
    })
}
