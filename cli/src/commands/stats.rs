//! `stats`: what the repository's bytes are for. Figures are those of `snapshots --sizes` and `gc`, added up.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size};
use seabed_engine::usage::usage;
use serde_json::json;

/// Show what the repository's bytes are for
///
/// Restored: what all snapshots together restore. Distinct: each chunk of it once. Needed: the same as it
/// is stored. What is in packs beyond that goes with `seabed gc`. Reads what snapshots are made of and
/// the footers of all packs.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed stats\n  seabed stats --host web1 --json"))]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
}

/// Shows them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    let filter = args.filter.filter();
    let mut snapshots = opened.repository.catalog().snapshots()?;
    snapshots.retain(|snapshot| filter.matches(snapshot));
    let listener = Listener::beside_result(out, "stats");
    let usage = usage(&opened.repository, (&snapshots, false), &[], &listener);
    listener.finish();
    let usage = match usage {
        Ok(usage) => usage,
        Err(_) if signals::interrupted() => return Err(Fail::new(Code::Interrupted, "interrupted")),
        Err(error) => return Err(error.into()),
    };
    let restored: u64 = snapshots.iter().map(|snapshot| snapshot.names.summary.bytes_total).sum();
    let ratio = |more: u64, less: u64| more as f64 / less.max(1) as f64;
    if out.json {
        out.json_result(&json!({
            "message_type": "stats",
            "snapshots_count": snapshots.len(),
            "total_restore_size": restored,
            "total_uncompressed_size": usage.needed_plain,
            "total_size": usage.needed,
            "total_blob_count": usage.chunks,
            "compression_ratio": ratio(usage.needed_plain, usage.needed),
            "deduplication_ratio": ratio(restored, usage.needed_plain),
            "packs": usage.packs,
            "pack_bytes": usage.pack_bytes,
        }))?;
        return Ok(Code::Done);
    }
    // Of next to nothing, what describes it is more than it is.
    let less = |ratio: f64| if ratio < 1.05 { String::new() } else { format!(" ({ratio:.1} times less)") };
    let rows = [
        ("Snapshots", size::count(snapshots.len() as u64)),
        ("Restored", size::human(restored)),
        ("Distinct", size::human(usage.needed_plain) + &less(ratio(restored, usage.needed_plain))),
        ("Needed", size::human(usage.needed) + &less(ratio(usage.needed_plain, usage.needed))),
        ("Chunks", size::count(usage.chunks)),
        ("In packs", format!("{} in {}", size::human(usage.pack_bytes), size::of(usage.packs, "pack"))),
    ];
    for (what, figure) in rows {
        out.result(format!("{what:<10} {figure}").as_bytes())?;
    }
    Ok(Code::Done)
}
