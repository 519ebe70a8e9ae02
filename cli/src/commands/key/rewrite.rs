//! `key rewrite`: what older epochs sealed is sealed anew, so that who was removed reads nothing of it any more, whatever he kept.
//! It must never call done what is only condemned. It obeys spec chapter 3.

use crate::args::Global;
use crate::commands::{gc, refresh};
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time, turn};
use seabed_engine::gc::{GRACE, GcOptions, GcReport, LeftBehind, MaxUnused, left_behind};
use seabed_engine::reseal::reseal;
use serde_json::json;
use std::time::Duration;

const EXAMPLES: &str = "  seabed key rewrite
  seabed key rewrite --budget 20G         (a part of the work, night by night)
  seabed key rewrite --grace 0";

/// Seal anew what older epochs sealed
///
/// After a rotation, so that who was removed and kept the old keyring reads nothing at all. Packs are
/// written anew under the newest keys, the longest-standing epochs first; snapshots are committed once
/// more, under new ids, and the old ones forgotten. As in every collection the old packs and
/// manifests are deleted by the first run (of this, or of `seabed gc`) after the grace period, and
/// packs younger than that are left for later. It can be interrupted and goes on the next time.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// How it goes about it.
    #[command(flatten)]
    how: How,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Options of everything that rewrites.
#[derive(clap::Args, Debug)]
pub struct How {
    /// Read at most this much of packs
    #[arg(long, value_name = "SIZE", value_parser = size::parse, help_heading = "Rewriting")]
    budget: Option<u64>,
    /// How long condemned packs stay, and how old packs must be to be rewritten (24h, 30m, 7d) [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = time::duration, help_heading = "Rewriting")]
    grace: Option<Duration>,
    /// Rewrite packs in colder storage classes, too: they cost to read, and are charged for a time after they go
    #[arg(long, help_heading = "Rewriting")]
    repack_cold: bool,
}

impl How {
    /// Whether any of them is given.
    pub fn is_given(&self) -> bool {
        self.budget.is_some() || self.grace.is_some() || self.repack_cold
    }

    fn options(&self, dry_run: bool) -> GcOptions {
        GcOptions {
            grace: self.grace.unwrap_or(GRACE),
            // Nothing is moved for space's sake: that is what `gc` is for.
            max_unused: MaxUnused::Unlimited,
            repack_cold: self.repack_cold,
            renew: Some(self.budget.unwrap_or(u64::MAX)),
            weigh: dry_run,
            ..GcOptions::default()
        }
    }
}

/// Rewrites.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    rewrite(&opened, &args.how, args.dry_run, out)
}

/// Rewrites what a repository holds, which is open under its newest keys.
pub fn rewrite(opened: &Opened, how: &How, dry_run: bool, out: &Output) -> Run {
    let repository = &opened.repository;
    // Two would make each snapshot anew, and one of the two would have to take it back.
    let _turn = if dry_run { None } else { Some(turn::take(opened, turn::Work::Rewrite, out)?) };
    if refresh(repository, out)? > 0 {
        let fail = Fail::new(Code::Failed, "not all snapshots can be read: what they need cannot be written anew");
        return Err(fail.hint("`seabed check` says more, `seabed repair` heals what can be healed"));
    }
    let mut snapshots = 0;
    if !dry_run {
        let listener = Listener::new(out, "sealing");
        let resealed = reseal(repository, &listener);
        listener.finish();
        let report = match resealed {
            Ok(report) => report,
            Err(_) if signals::interrupted() => {
                return Err(
                    Fail::new(Code::Interrupted, "interrupted, some snapshots are still under older epochs").hint("the next run goes on")
                );
            }
            Err(error) => return Err(error.into()),
        };
        snapshots = report.left;
        if out.json {
            let pair =
                |(old, new): &(_, _)| json!({"old_snapshot_id": ToString::to_string(old), "new_snapshot_id": ToString::to_string(new)});
            let replaced: Vec<_> = report.replaced.iter().map(|(old, new)| pair(&(old, new))).collect();
            out.message(&json!({"message_type": "resealed", "replaced": replaced, "current": report.current}));
        } else if !report.replaced.is_empty() {
            out.say(&format!("{} sealed anew, under new ids", size::of(report.replaced.len() as u64, "snapshot")));
        }
    }
    let options = how.options(dry_run);
    let (code, report) = gc::carry_out(opened, &options, dry_run, out)?;
    if dry_run {
        left_packs(&report, out);
        return Ok(code);
    }
    tell_left(&report, snapshots, left_behind(repository)?, &options, out);
    Ok(code)
}

/// Says which packs stay under older epochs. Returns whether any do.
fn left_packs(report: &GcReport, out: &Output) -> bool {
    let figures = &report.figures;
    if figures.renew_left_packs == 0 || out.json {
        return figures.renew_left_packs > 0;
    }
    let left = format!("{} ({})", size::of(figures.renew_left_packs, "pack"), size::human(figures.renew_left_bytes));
    out.say(&format!("still under older epochs: {left}"));
    let (young, cold) = (figures.renew_left_young_packs, figures.renew_left_cold_packs);
    for (count, why) in [
        (young, "younger than the grace period: run it again when that is over, or now with --grace 0"),
        (cold, "in colder storage: --repack-cold reads them"),
        (figures.renew_left_packs.saturating_sub(young + cold), "beyond the budget: run it again"),
    ] {
        if count > 0 {
            out.say(&format!("  {}: {why}", size::of(count, "pack")));
        }
    }
    true
}

/// Says what stays under older epochs, or that nothing does.
fn tell_left(report: &GcReport, snapshots: u64, left: LeftBehind, options: &GcOptions, out: &Output) {
    let LeftBehind { pendings, notes, segments, .. } = left;
    if out.json {
        return out.message(&json!({
            "message_type": "left",
            "packs": report.figures.renew_left_packs,
            "packs_spared": report.spared_packs,
            "snapshots": snapshots,
            "pendings": pendings,
            "notes": notes,
            "segments": segments,
        }));
    }
    let mut any = left_packs(report, out);
    let again = "run it again";
    for (count, what, why) in [
        (report.spared_packs, "condemned pack", "something needed is only there; run it again"),
        (snapshots, "snapshot", "another rewrite is at them, or has died at them; run it again"),
        (
            pendings,
            "pending manifest",
            "of runs that have not ended, or died; the first `seabed gc` after fourteen days deletes the last of them",
        ),
        (notes, "note", again),
        (segments, "index segment", again),
    ] {
        if count > 0 {
            any = true;
            out.say(&format!("still under older epochs: {}: {why}", size::of(count, what)));
        }
    }
    if any {
        return;
    }
    if options.grace.is_zero() {
        out.say("nothing is under an older epoch any more");
    } else {
        let grace = time::span(options.grace);
        out.say(&format!("nothing that stays is under an older epoch; what was is deleted by the first `seabed gc` after {grace}"));
    }
}
