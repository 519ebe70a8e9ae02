//! `restore --plan` and `--thaw`: which packs a restore would read, and having the archived ones brought back before it begins.
//! It must never order anything that costs money without --thaw.

use crate::exit::{Code, Fail, Run};
use crate::output::Output;
use crate::{signals, size};
use clap::ValueEnum;
use seabed_engine::error::Error;
use seabed_engine::observe::Observer;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use seabed_engine::restore::RestoreOptions;
use seabed_engine::restore::needs::{self, Looks, NeededPack, Needs};
use seabed_engine::store::{Readiness, ThawOrder, ThawTier};
use serde_json::json;

/// Flags of both.
#[derive(clap::Args, Debug)]
pub struct ThawArgs {
    /// Only say which packs would be read, and whether they lie in an archive; -v names each
    #[arg(long, help_heading = "Archives", conflicts_with_all = ["dry_run", "delete", "verify"])]
    pub plan: bool,
    /// Have the store bring archived packs back, wait for it, then restore; with --plan order only
    #[arg(long, help_heading = "Archives", conflicts_with = "dry_run")]
    pub thaw: bool,
    /// Days for which they can be read then
    #[arg(long, value_name = "N", default_value_t = 7, help_heading = "Archives", value_parser = clap::value_parser!(u32).range(1..=365))]
    pub thaw_days: u32,
    /// How urgently: the store's prices and times differ
    #[arg(long, value_name = "TIER", value_enum, default_value = "standard", help_heading = "Archives")]
    pub thaw_tier: Tier,
}

/// As the stores call them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Tier {
    /// Minutes; not out of deep archives
    Expedited,
    /// Hours
    Standard,
    /// Up to two days, for the least money
    Bulk,
}

impl ThawArgs {
    fn order(&self) -> ThawOrder {
        let tier = match self.thaw_tier {
            Tier::Expedited => ThawTier::Expedited,
            Tier::Standard => ThawTier::Standard,
            Tier::Bulk => ThawTier::Bulk,
        };
        ThawOrder { tier, days: self.thaw_days }
    }
}

/// Does what the flags say. `Some` ends the command: there is nothing to restore now.
pub fn before(
    args: &ThawArgs,
    (repository, selected): (&Repository, &Selected),
    options: &RestoreOptions,
    observer: &dyn Observer,
    out: &Output,
) -> Result<Option<Code>, Fail> {
    let mut needs = needs::needs(repository, selected, options, observer).map_err(failed)?;
    if needs.chunks_lost > 0 {
        let lost = size::of(needs.chunks_lost, "chunk");
        out.warn(&format!("no pack holds {lost}: not all can be restored, `seabed check` says more"));
    }
    if args.thaw {
        let ordered = needs::thaw(repository, &mut needs, args.order(), observer).map_err(failed)?;
        if ordered > 0 {
            let days = size::of(args.thaw_days.into(), "day");
            out.say(&format!("ordered {} back from the archive, to be read for {days}", size::of(ordered, "pack")));
        }
    }
    if args.plan {
        return show(&needs, out).map(Some);
    }
    if needs.packs.iter().any(|pack| pack.readiness != Readiness::Ready) {
        out.say("waiting for the archive; after Ctrl-C the same command goes on where this one was");
        let told = |needs: &Needs| tell(needs, out);
        needs::await_thawed(repository, &mut needs, (args.order(), Looks::default()), observer, &told).map_err(failed)?;
    }
    Ok(None)
}

fn failed(error: Error) -> Fail {
    if signals::interrupted() {
        let fail = Fail::new(Code::Interrupted, "interrupted, nothing was restored");
        return fail.hint("what was ordered from the archive comes all the same: run it again to go on");
    }
    error.into()
}

fn tell(needs: &Needs, out: &Output) {
    let (ready, _) = needs.in_state(Readiness::Ready);
    let all = needs.packs.len() as u64;
    if out.json {
        out.message(&json!({"message_type": "status", "packs_ready": ready, "packs_total": all}));
    } else {
        out.say(&format!("{} of {} can be read", size::count(ready), size::of(all, "pack")));
    }
}

const fn word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "ready",
        Readiness::Frozen => "archived",
        Readiness::Thawing => "thawing",
    }
}

const STATES: [Readiness; 3] = [Readiness::Ready, Readiness::Frozen, Readiness::Thawing];

fn show(needs: &Needs, out: &Output) -> Run {
    let all = needs.packs.iter().map(|pack| pack.bytes).sum::<u64>();
    if out.json {
        let objects: Vec<_> = needs
            .packs
            .iter()
            .map(|pack| json!({"object": pack.name.as_str(), "bytes": pack.bytes, "state": word(pack.readiness)}))
            .collect();
        let mut value = json!({
            "message_type": "plan",
            "files": needs.files,
            "bytes": needs.bytes,
            "packs": needs.packs.len(),
            "pack_bytes": all,
            "chunks_lost": needs.chunks_lost,
            "objects": objects,
        });
        for state in STATES {
            let (packs, bytes) = needs.in_state(state);
            value[format!("packs_{}", word(state))] = packs.into();
            value[format!("bytes_{}", word(state))] = bytes.into();
        }
        out.json_result(&value)?;
        return Ok(Code::Done);
    }
    let mut lines = Vec::new();
    if out.level > 0 {
        let line = |pack: &NeededPack| format!("{:<8}  {:>10}  {}", word(pack.readiness), size::human(pack.bytes), pack.name);
        lines.extend(needs.packs.iter().map(line));
    }
    let (files, packs) = (size::of(needs.files, "file"), size::of(needs.packs.len() as u64, "pack"));
    lines.push(format!("would restore {files}, {}, out of {packs}, {}", size::human(needs.bytes), size::human(all)));
    for state in [Readiness::Frozen, Readiness::Thawing] {
        let (packs, bytes) = needs.in_state(state);
        if packs > 0 {
            lines.push(format!("{}: {}, {}", word(state), size::of(packs, "pack"), size::human(bytes)));
        }
    }
    if needs.packs.iter().all(|pack| pack.readiness == Readiness::Ready) {
        lines.push("all of them can be read at once".to_owned());
    }
    out.result(lines.join("\n").as_bytes())?;
    Ok(Code::Done)
}
