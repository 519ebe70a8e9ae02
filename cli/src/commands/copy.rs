//! `copy`: snapshots of one repository into others. It must never say that a snapshot is in a place before it is committed there, nor let one
//! place that fails keep the others from theirs. It obeys what README.md says of a second place.

use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help, without_number};
use crate::open::{self, Opened};
use crate::other::{FromArgs, ToArgs};
use crate::output::Output;
use crate::progress::Listener;
use crate::which::WhichArgs;
use crate::{signals, size, time, turn};
use seabed_engine::catalog::Snapshot;
use seabed_engine::copy::{CopyOptions, CopyPlan, CopyReport, copy, plan};
use seabed_engine::error::Error;
use seabed_engine::id::SnapshotId;
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "  seabed copy --to /mnt/usb/repo
  seabed copy latest --host db1 --to s3://second/repo --to /mnt/usb/repo
  seabed copy --from-repo /mnt/usb/repo --repo ~/repo 40dc1520
  seabed copy --to s3://second/repo --limit-upload 2M --dry-run";

/// Copy snapshots into other repositories
///
/// Without IDs all that the filters let pass. What a target has already, also under another id, is
/// not copied again, and a copy that was interrupted goes on where it was. Between repositories that
/// share their key family (`init --sibling-of`) packs go as they are, without decryption. With --to
/// the snapshots of --repo go to one or several others; with --from-repo those of another one come
/// into --repo.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    which: WhichArgs,
    /// Only say what would be copied, and how much that is
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    to: ToArgs,
    #[command(flatten)]
    from: FromArgs,
}

/// What one target got.
pub struct Done {
    /// Snapshots, by their ids in the source and in the target.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// How many it had already.
    pub present: u64,
    /// How many could not be copied: the source has lost some of them.
    pub failed: u64,
    /// How many a dry run would have copied.
    would: usize,
    /// Bytes of packs that went to it,
    pub bytes: u64,
    /// and how many packs.
    pub packs: u64,
    took: Duration,
    re_encrypted: bool,
}

impl Done {
    fn code(&self) -> Code {
        match self.failed {
            0 => Code::Done,
            _ if self.copied.is_empty() && self.would == 0 && self.present == 0 => Code::Damage,
            _ => Code::Incomplete,
        }
    }
}

/// Copies.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if !args.to.to.is_empty() && args.from.from_repo.is_some() {
        let fail = Fail::config("--to and --from-repo are two ways to say where snapshots go");
        return Err(
            fail.hint("name the source with --repo and the targets with --to, or the source with --from-repo and the target with --repo")
        );
    }
    if args.to.to.is_empty() && !args.from.is_named() {
        return Err(
            Fail::config("no other repository is named").hint("name those to copy to with --to, or the one to copy from with --from-repo")
        );
    }
    if args.to.to.is_empty() {
        let source = args.from.open(global, out)?;
        let chosen = args.which.chosen(&source.repository, out)?;
        let target = open::open(global, out)?;
        return one(&source, &target, &chosen.snapshots, args.dry_run, out).map(|done| chosen.code(done.code()));
    }
    let source = open::open(global, out)?;
    if !out.json {
        open::introduce(&source, out);
    }
    let chosen = args.which.chosen(&source.repository, out)?;
    let mut ends: Vec<Result<Code, Fail>> = Vec::new();
    for (to, left) in args.to.to.iter().zip((0..args.to.to.len()).rev()) {
        let end = args.to.open(to, global, out).and_then(|target| one(&source, &target, &chosen.snapshots, args.dry_run, out));
        ends.push(end.map(|done| done.code()));
        if signals::interrupted() && (left > 0 || ends.last().is_some_and(Result::is_err)) {
            return Err(cut_short(ends, left, out));
        }
    }
    together(ends, out).map(|code| chosen.code(code))
}

/// How a command ends that was interrupted before all of its targets had what they should have, `left` of them anything.
fn cut_short(mut ends: Vec<Result<Code, Fail>>, left: usize, out: &Output) -> Fail {
    let last = ends.pop().and_then(Result::err);
    ends.into_iter().filter_map(Result::err).for_each(|fail| say(&fail, out));
    match last {
        Some(fail) if fail.code == Code::Interrupted => fail,
        last => {
            last.iter().for_each(|fail| say(fail, out));
            let none = size::of(left as u64, "target");
            Fail::new(Code::Interrupted, format!("interrupted, nothing copied to {none}"))
                .hint("the next run goes on where this one stopped")
        }
    }
}

/// How a command ends that had several targets.
fn together(ends: Vec<Result<Code, Fail>>, out: &Output) -> Run {
    let (good, mut bad): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    let mut codes = good.into_iter().flatten();
    let last = bad.pop().and_then(Result::err);
    bad.into_iter().filter_map(Result::err).for_each(|fail| say(&fail, out));
    match (codes.next(), last) {
        (None, Some(last)) => Err(last),
        (None, None) => Ok(Code::Done),
        (Some(first), None) => Ok(codes.fold(first, |all, code| if code == all { all } else { Code::Incomplete })),
        (Some(_), Some(last)) => {
            say(&last, out);
            Ok(Code::Incomplete)
        }
    }
}

/// Says why one of several targets failed: the others go on.
pub fn say(fail: &Fail, out: &Output) {
    let hint = fail.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    out.warn(&format!("{}{hint}", fail.message));
}

/// Copies to one target, and says what it got.
fn one(source: &Opened, target: &Opened, snapshots: &[Snapshot], dry_run: bool, out: &Output) -> Result<Done, Fail> {
    let done = into_saying(source, target, snapshots, dry_run, true, out)?;
    let place = target.place.text();
    if out.json {
        if !dry_run {
            out.json_result(&summary_json(&done, source, target))?;
        }
        return Ok(done);
    }
    if !dry_run {
        let also = if done.failed > 0 { format!(", {} could not be copied", done.failed) } else { String::new() };
        let how = if done.re_encrypted { ", re-encrypted" } else { "" };
        let sent = format!("{} in {} sent{how}", size::human(done.bytes), size::of(done.packs, "pack"));
        let copied = size::of(done.copied.len() as u64, "snapshot");
        out.say(&format!("to {place}: {copied} copied, {} already there{also}; {sent}, {}", done.present, time::clock(done.took)));
    }
    Ok(done)
}

/// A snapshot that this process has just committed. The catalog may not know it: where another process held it, writing that down was left to the
/// next run (a job's sources, side by side in one cache, met so: the snapshot was there, and said to be none).
pub fn just_made(source: &Opened, id: &SnapshotId, out: &Output) -> Result<Snapshot, Fail> {
    let select = || source.repository.select(&id.to_string(), &Default::default()).map(|selected| selected.snapshot);
    match select() {
        Ok(snapshot) => Ok(snapshot),
        Err(_) => {
            refresh(&source.repository, out)?;
            Ok(select()?)
        }
    }
}

/// Copies to one target without a word about what it got.
pub fn into(source: &Opened, target: &Opened, snapshots: &[Snapshot], dry_run: bool, out: &Output) -> Result<Done, Fail> {
    into_saying(source, target, snapshots, dry_run, false, out)
}

fn into_saying(source: &Opened, target: &Opened, snapshots: &[Snapshot], dry_run: bool, says: bool, out: &Output) -> Result<Done, Fail> {
    // Before anything is looked at: what the other copy brings is there already then.
    let _turn = if dry_run { None } else { Some(turn::take(target, turn::Work::Copy, out)?) };
    refresh(&target.repository, out)?;
    let options = CopyOptions { dry_run, ..CopyOptions::default() };
    let listener = Listener::new(out, "copying");
    let planned = plan(&source.repository, &target.repository, snapshots, &options, &listener);
    let planned = planned.map_err(|error| stopped(error, 0))?;
    if says {
        listener.finish();
        tell_plan(&planned, source, target, dry_run, out);
    }
    let re_encrypted = planned.re_encrypted;
    let would = if dry_run { planned.new.len() } else { 0 };
    let report = if dry_run {
        let CopyPlan { present, failed, forgotten, .. } = planned;
        let mut report = CopyReport::default();
        (report.present, report.failed, report.forgotten) = (present, failed, forgotten);
        report
    } else {
        let listener = Listener::new(out, "copying");
        let copied = copy(&source.repository, &target.repository, planned, &options, &listener);
        listener.finish();
        copied.map_err(|error| stopped(error, 0))?
    };
    let took = listener.elapsed();
    listener.finish();
    for (id, error) in &report.failed {
        out.warn(&format!("snapshot {} cannot be copied: {}", id.short(), without_number(&error.to_string())));
    }
    for id in &report.forgotten {
        out.warn(&format!("snapshot {} was forgotten and collected meanwhile: it is not copied", id.short()));
    }
    for (from, to) in report.copied.iter().filter(|_| says) {
        if out.json {
            out.json_result(&copied_json(from, to, target))?;
        } else if out.level >= 1 {
            out.say(&format!("snapshot {} copied as {}", from.short(), to.short()));
        }
    }
    if let Some(error) = report.stopped {
        return Err(stopped(error, report.copied.len()));
    }
    Ok(Done {
        present: report.present.len() as u64,
        failed: report.failed.len() as u64,
        would,
        bytes: report.bytes_sent + report.bytes_written,
        packs: report.packs_sent + report.packs_written,
        copied: report.copied,
        took,
        re_encrypted,
    })
}

/// Why a copy ended before its end.
fn stopped(error: Error, copied: usize) -> Fail {
    let copied = size::of(copied as u64, "snapshot");
    if signals::interrupted() {
        return Fail::new(Code::Interrupted, format!("interrupted, {copied} copied")).hint("the next run goes on where this one stopped");
    }
    error.into()
}

fn tell_plan(plan: &CopyPlan, source: &Opened, target: &Opened, dry_run: bool, out: &Output) {
    let place = target.place.text();
    if out.json {
        return out.message(&json!({
            "message_type": "plan",
            "dry_run": dry_run,
            "source": source.place.text(),
            "repository": place,
            "snapshots_new": plan.new.len(),
            "snapshots_present": plan.present.len(),
            "snapshots_failed": plan.failed.len(),
            "re_encrypted": plan.re_encrypted,
            "packs_raw": plan.packs_raw,
            "bytes_raw": plan.bytes_raw,
            "packs_opened": plan.packs_opened,
            "bytes_opened": plan.bytes_opened,
        }));
    }
    let new = size::of(plan.new.len() as u64, "snapshot");
    let what = match plan.re_encrypted {
        true => "re-encrypted, for it is of another key family".to_owned(),
        false => {
            let opened = size::of(plan.packs_opened, "pack");
            let some =
                if plan.packs_opened > 0 { format!(", and {} out of {opened}", size::human(plan.bytes_opened)) } else { String::new() };
            format!("{} as they are ({}){some}", size::of(plan.packs_raw, "pack"), size::human(plan.bytes_raw))
        }
    };
    let verb = if dry_run { "would copy" } else { "copying" };
    let present = size::count(plan.present.len() as u64);
    out.say(&format!("to {place}: {verb} {new}, {present} already there: {what}"));
}

/// That a snapshot is in another repository.
pub fn copied_json(from: &SnapshotId, to: &SnapshotId, target: &Opened) -> Value {
    json!({"message_type": "copied", "id": to.to_string(), "origin": from.to_string(), "repository": target.place.text()})
}

fn summary_json(done: &Done, source: &Opened, target: &Opened) -> Value {
    json!({
        "message_type": "summary",
        "source": source.place.text(),
        "repository": target.place.text(),
        "snapshots_copied": done.copied.len(),
        "snapshots_present": done.present,
        "snapshots_failed": done.failed,
        "re_encrypted": done.re_encrypted,
        "packs_sent": done.packs,
        "bytes_sent": done.bytes,
        "total_duration": done.took.as_secs_f64(),
    })
}
