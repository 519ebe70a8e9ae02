//! `gc`: what no snapshot needs goes. It must show what it is going to do before it does it, and never delete by the word of a clock
//! of this machine. It obeys DESIGN section 5.

use crate::args::Global;
use crate::exit::{Code, Fail, LOST, Run, help};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::gc::{Charge, Figures, GRACE, GcOptions, GcReport, MaxUnused, collect, plan};
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "  seabed gc --dry-run
  seabed gc
  seabed gc --grace 0 --max-unused 0
  seabed gc --max-repack 10G              (a slice of the work, night by night)";

/// Collect garbage: delete what no snapshot needs
///
/// Packs of which nothing is needed go, packs with much unused space are written anew without it,
/// small packs and index segments are gathered. Backups run on meanwhile, on any host; nothing is
/// locked. What is condemned now is deleted by the first run after the grace period, by the clock of
/// the store: two runs a day apart give space back, and forgotten snapshots can be undeleted until then.
/// --grace 0 deletes at once; it is as safe, and makes backups that are under way do some work again.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// How it goes about it.
    #[command(flatten)]
    pub how: How,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Options of everything that collects.
#[derive(clap::Args, Debug, Clone)]
pub struct How {
    /// How long condemned packs stay, and how old packs must be to be condemned (24h, 30m, 7d)
    #[arg(long, value_name = "TIME", help_heading = "Collection", value_parser = time::duration, default_value = "24h")]
    grace: Duration,
    /// Unused space that may stay in packs: a part of what is used (5%), a size, or `unlimited`
    #[arg(long, value_name = "LIMIT", help_heading = "Collection", value_parser = max_unused, default_value = "5%")]
    max_unused: MaxUnused,
    /// Read at most this much of packs to write them anew
    #[arg(long, value_name = "SIZE", help_heading = "Collection", value_parser = size::parse)]
    max_repack: Option<u64>,
    /// Write packs in colder storage classes anew, too: they cost to read, and are charged for a time after they go
    #[arg(long, value_name = "WHEN", help_heading = "Collection", value_parser = ["yes", "no"], default_value = "no")]
    repack_cold: String,
    /// Target size in MiB of the packs that are written, 4 to 128 [default: 32]
    #[arg(long, value_name = "MIB", help_heading = "Collection")]
    pack_size: Option<u64>,
}

impl Default for How {
    fn default() -> Self {
        let GcOptions { grace, max_unused, .. } = GcOptions::default();
        How { grace, max_unused, max_repack: None, repack_cold: "no".to_owned(), pack_size: None }
    }
}

impl How {
    /// As the engine takes it.
    pub fn options(&self) -> Result<GcOptions, Fail> {
        Ok(GcOptions {
            grace: self.grace,
            max_unused: self.max_unused,
            max_repack: self.max_repack,
            repack_cold: self.repack_cold == "yes",
            data_pack_bytes: super::pack_bytes(self.pack_size)?,
            ..GcOptions::default()
        })
    }
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let limit = match text.strip_suffix('%') {
        Some(percent) => {
            percent.trim().parse().ok().filter(|part: &f64| part.is_finite() && *part >= 0.0).map(|part| MaxUnused::Part(part / 100.0))
        }
        None => size::parse(text).ok().map(MaxUnused::Bytes),
    };
    limit.ok_or_else(|| format!("`{text}` is no limit: write 5%, a size such as 10G, or unlimited"))
}

/// Collects.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let mut opened = open::open(global, out)?;
    open::settle(&mut opened, args.dry_run, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    collect_in(&opened, &args.how, args.dry_run, out)
}

/// Collects in a repository that is open: also at the end of `forget --gc`.
pub fn collect_in(opened: &Opened, how: &How, dry_run: bool, out: &Output) -> Run {
    crate::commands::refresh(&opened.repository, out)?;
    carry_out(opened, &GcOptions { weigh: dry_run, ..how.options()? }, dry_run, out).map(|(code, _)| code)
}

/// Collects as `options` say; with the code comes what was done, of a dry run only the figures of the plan.
pub fn carry_out(opened: &Opened, options: &GcOptions, dry_run: bool, out: &Output) -> Result<(Code, GcReport), Fail> {
    let repository = &opened.repository;
    let interrupted = |what: &str| Fail::new(Code::Interrupted, format!("interrupted, {what}"));
    let listener = Listener::new(out, "planning");
    let planned = plan(repository, options, &listener);
    listener.finish();
    let plan = match planned {
        Ok(plan) => plan,
        // Not that nothing was changed: of `forget --gc` the first half is done.
        Err(_) if signals::interrupted() => return Err(interrupted("nothing was collected")),
        Err(error) => return Err(stopped(error.into())),
    };
    if out.json {
        out.message(&plan_json(&plan.figures, options));
    } else {
        plan_text(&plan.figures, options, dry_run).iter().for_each(|line| out.say(line));
    }
    if dry_run {
        let mut report = GcReport::default();
        report.figures = plan.figures;
        return Ok((Code::Done, report));
    }
    let listener = Listener::new(out, "collecting");
    let collected = collect(repository, plan, &listener);
    let took = listener.elapsed();
    listener.finish();
    let report = match collected {
        Ok(report) => report,
        Err(_) if signals::interrupted() => return Err(interrupted("the next run goes on").hint("nothing that is needed was deleted")),
        Err(error) => return Err(stopped(error.into())),
    };
    if out.json {
        out.json_result(&summary_json(&report, took.as_secs_f64()))?;
    } else {
        summary_text(&report, options, took).iter().for_each(|line| out.say(line));
    }
    if report.refused_deletions > 0 {
        let what = size::of(report.refused_deletions, "object");
        let fail = Fail::new(Code::Incomplete, format!("the store does not let {what} go"));
        return Err(
            fail.hint("the key may lack the right to delete (`seabed iam-policy`), or an object lock holds them; a later run tries again")
        );
    }
    Ok((Code::Done, report))
}

/// A collection that stops says what keeps it from going on.
fn stopped(fail: Fail) -> Fail {
    // Where the next step is another one, it was said.
    if fail.code == Code::Damage && fail.hint.as_deref() != Some(LOST) {
        return fail.hint(
            "nothing was deleted by this; `seabed check` names what is hurt, and a backup of the same sources heals what can be healed; a snapshot \
             that nothing heals is out of the way with `seabed forget ID`",
        );
    }
    fail
}

fn plan_text(f: &Figures, options: &GcOptions, dry_run: bool) -> Vec<String> {
    let packs = |n: u64, bytes: u64| format!("{} ({})", size::of(n, "pack"), size::human(bytes));
    let mut lines = vec![format!(
        "{} and {} of {} needed in {}",
        size::of(f.snapshots, "snapshot"),
        size::count(f.chunks_needed),
        size::of(f.chunks, "chunk"),
        packs(f.packs, f.pack_bytes)
    )];
    let mut line = |count: u64, text: String| {
        if count > 0 {
            lines.push(text);
        }
    };
    line(f.drop_packs, format!("unused: {}", packs(f.drop_packs, f.drop_bytes)));
    let gathered = if f.gather_packs > 0 { format!(", {} of them only small", size::count(f.gather_packs)) } else { String::new() };
    line(
        f.repack_packs,
        format!(
            "to be written anew: {}{gathered}: reads {}, writes about {}",
            packs(f.repack_packs, f.repack_bytes),
            size::human(f.read_bytes),
            size::human(f.write_bytes)
        ),
    );
    line(f.renew_packs, format!("under older epochs, to be sealed anew: {}", packs(f.renew_packs, f.renew_bytes)));
    line(f.due_packs, format!("condemned earlier, to be deleted now: {}", packs(f.due_packs, f.due_bytes)));
    let grace = time::span(options.grace);
    line(f.waiting_packs, format!("condemned earlier, less than {grace} ago: {}", packs(f.waiting_packs, f.waiting_bytes)));
    line(f.young_packs, format!("with unused space, but younger than {grace}: {}", packs(f.young_packs, f.young_bytes)));
    line(f.cold_packs, format!("with unused space, but in cold storage: {}", packs(f.cold_packs, f.cold_bytes)));
    line(f.unused_bytes, format!("unused space that stays in packs: {}", size::human(f.unused_bytes)));
    line(f.stuck_bytes, format!("of that in frames that this key cannot open: {}", size::human(f.stuck_bytes)));
    line(f.unreadable_packs, format!("without a segment and not readable, left alone: {}", size::of(f.unreadable_packs, "pack")));
    for Charge { class, days, packs, bytes, byte_days, .. } in &f.charges {
        lines.push(format!(
            "{class} is charged for {days} days at least: {} ({}) go before, {:.1} GiB-months are paid for nothing",
            size::of(*packs, "pack"),
            size::human(*bytes),
            *byte_days as f64 / f64::from(1u32 << 30) / 30.0
        ));
    }
    if dry_run {
        let freed = u64::try_from(f.freed_bytes().max(0)).unwrap_or(u64::MAX);
        lines.push(format!("would free {} with about {}", size::human(freed), size::of(f.requests, "request")));
    }
    lines
}

fn summary_text(report: &GcReport, options: &GcOptions, took: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |count: u64, text: String| {
        if count > 0 {
            lines.push(text);
        }
    };
    say(report.written.packs, format!("wrote {} ({})", size::of(report.written.packs, "pack"), size::human(report.written.bytes)));
    let deleted = report.deleted_packs + report.deleted_manifests + report.deleted_pendings;
    say(
        deleted,
        format!(
            "deleted {} ({}), {}, {}",
            size::of(report.deleted_packs, "pack"),
            size::human(report.deleted_bytes),
            size::of(report.deleted_manifests, "manifest"),
            size::of(report.deleted_pendings, "pending manifest")
        ),
    );
    say(report.merged_segments, format!("merged {}", size::of(report.merged_segments, "index segment")));
    say(report.spared_packs, format!("{} needed again: kept until the next run", size::of(report.spared_packs, "condemned pack")));
    if report.condemned > 0 && !options.grace.is_zero() {
        lines.push(format!(
            "condemned {}: the first run after {} deletes them",
            size::of(report.condemned, "pack"),
            time::span(options.grace)
        ));
    }
    if lines.is_empty() {
        lines.push("nothing to do".to_owned());
    }
    lines.push(format!("{} in packs, {}", size::human(report.pack_bytes), time::clock(took)));
    lines
}

fn plan_json(f: &Figures, options: &GcOptions) -> Value {
    let charge = |c: &Charge| {
        let gib_months = c.byte_days as f64 / f64::from(1u32 << 30) / 30.0;
        json!({"storage_class": c.class, "least_days": c.days, "packs": c.packs, "bytes": c.bytes, "gib_months": gib_months})
    };
    let charges: Vec<Value> = f.charges.iter().map(charge).collect();
    json!({
        "message_type": "plan",
        "snapshots": f.snapshots,
        "pendings": f.pendings,
        "packs": f.packs,
        "pack_bytes": f.pack_bytes,
        "chunks": f.chunks,
        "chunks_needed": f.chunks_needed,
        "drop_packs": f.drop_packs,
        "drop_bytes": f.drop_bytes,
        "repack_packs": f.repack_packs,
        "repack_bytes": f.repack_bytes,
        "gather_packs": f.gather_packs,
        "read_bytes": f.read_bytes,
        "write_bytes": f.write_bytes,
        "unused_bytes": f.unused_bytes,
        "stuck_bytes": f.stuck_bytes,
        "young_packs": f.young_packs,
        "young_bytes": f.young_bytes,
        "cold_packs": f.cold_packs,
        "cold_bytes": f.cold_bytes,
        "renew_packs": f.renew_packs,
        "renew_bytes": f.renew_bytes,
        "renew_left_packs": f.renew_left_packs,
        "renew_left_young_packs": f.renew_left_young_packs,
        "renew_left_cold_packs": f.renew_left_cold_packs,
        "renew_left_bytes": f.renew_left_bytes,
        "due_packs": f.due_packs,
        "due_bytes": f.due_bytes,
        "waiting_packs": f.waiting_packs,
        "waiting_bytes": f.waiting_bytes,
        "manifests": f.manifests,
        "spent_pendings": f.pendings_spent,
        "unreadable_packs": f.unreadable_packs,
        "requests": f.requests,
        "freed_bytes": i64::try_from(f.freed_bytes()).unwrap_or(i64::MAX),
        "grace_seconds": options.grace.as_secs(),
        "charges": charges,
    })
}

fn summary_json(report: &GcReport, took: f64) -> Value {
    json!({
        "message_type": "summary",
        "condemned_packs": report.condemned,
        "packs_written": report.written.packs,
        "bytes_written": report.written.bytes,
        "bytes_read": report.repacked.bytes_read,
        "frames_copied": report.repacked.frames_copied,
        "frames_opened": report.repacked.frames_opened,
        "stuck_bytes": report.repacked.bytes_stuck,
        "deleted_packs": report.deleted_packs,
        "deleted_bytes": report.deleted_bytes,
        "spared_packs": report.spared_packs,
        "refused_deletions": report.refused_deletions,
        "deleted_manifests": report.deleted_manifests,
        "deleted_pendings": report.deleted_pendings,
        "merged_segments": report.merged_segments,
        "folded_records": report.folded_records,
        "pack_bytes": report.pack_bytes,
        "total_duration": took,
    })
}

const _: () = assert!(GRACE.as_secs() == 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_restic_users_write_them() {
        assert_eq!(max_unused("5%"), Ok(MaxUnused::Part(0.05)));
        assert_eq!(max_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(max_unused("1G"), Ok(MaxUnused::Bytes(1 << 30)));
        assert_eq!(max_unused("unlimited"), Ok(MaxUnused::Unlimited));
        // Of a word it was said that it is no size, and not what else there is.
        for wrong in ["-5%", "x", "lots%", "", "5 percent"] {
            assert!(max_unused(wrong).unwrap_err().contains("or unlimited"), "{wrong}");
        }
        assert_eq!(How::default().options().unwrap().grace, GcOptions::default().grace);
    }
}
