//! `stats`: what the repository's bytes are for, what snapshots hold, and how all of it grew. Figures are those of `snapshots --sizes` and
//! `gc`, added up. It must never call an estimate what was not counted. It obeys restic's modes and their JSON fields.

mod growth;

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::which::WhichArgs;
use crate::{signals, size};
use clap::ValueEnum;
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::Error;
use seabed_engine::repository::Repository;
use seabed_engine::stats::{Mode, Totals, count};
use seabed_engine::usage::{Usage, usage};
use serde_json::{Value, json};

const EXAMPLES: &str = "  seabed stats
  seabed stats --host web1 --json
  seabed stats latest latest~1 --mode restore-size
  seabed stats --growth --by month";

/// Show what the repository's bytes are for
///
/// Restored: what all snapshots together restore. Distinct: each chunk of it once. Needed: the same as it
/// is stored. What is in packs beyond that goes with `seabed gc`. Reads what snapshots are made of and
/// the footers of all packs.
///
/// --growth shows what each snapshot, day, week or month added, from the catalog alone. Of what was
/// forgotten nothing is shown, so that the sum is not what the repository takes.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    which: WhichArgs,
    /// Count in one of restic's ways instead
    #[arg(long, value_name = "MODE", value_enum)]
    mode: Option<Counted>,
    /// What was added when
    #[arg(long, conflicts_with = "mode")]
    growth: bool,
    /// A row for each
    #[arg(long, value_name = "PERIOD", value_enum, default_value = "snapshot", requires = "growth")]
    by: growth::By,
}

/// restic's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Counted {
    /// What restoring each snapshot writes; hard links once
    RestoreSize,
    /// Each content once, whatever files have it
    FilesByContents,
    /// What snapshots take in the repository, each chunk once
    RawData,
    /// Each content once, by its chunks; a chunk counts once for each path
    BlobsPerFile,
}

impl Counted {
    const fn name(self) -> &'static str {
        match self {
            Counted::RestoreSize => "restore-size",
            Counted::FilesByContents => "files-by-contents",
            Counted::RawData => "raw-data",
            Counted::BlobsPerFile => "blobs-per-file",
        }
    }
}

/// Shows them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    let snapshots = args.which.chosen(repository, out)?.snapshots;
    open::remark(&opened, out);
    if args.growth {
        return growth::run(&snapshots, args.by, out);
    }
    match args.mode {
        None => whole(repository, &snapshots, out),
        Some(Counted::RawData) => raw(&used(repository, &snapshots, out)?, &snapshots, out),
        Some(counted) => {
            let mode = match counted {
                Counted::RestoreSize => Mode::RestoreSize,
                Counted::FilesByContents => Mode::FilesByContents,
                _ => Mode::BlobsPerFile,
            };
            let listener = Listener::beside_result(out, "counting");
            let totals = count(repository, &snapshots, mode, &listener);
            listener.finish();
            totals_said(&heard(totals)?, counted, &snapshots, out)
        }
    }
}

fn heard<T>(result: Result<T, Error>) -> Result<T, Fail> {
    match result {
        Ok(value) => Ok(value),
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted")),
        Err(error) => Err(error.into()),
    }
}

fn used(repository: &Repository, snapshots: &[Snapshot], out: &Output) -> Result<Usage, Fail> {
    let listener = Listener::beside_result(out, "looking");
    let usage = usage(repository, (snapshots, false), &[], &listener);
    listener.finish();
    heard(usage)
}

fn ratio(more: u64, less: u64) -> f64 {
    more as f64 / less.max(1) as f64
}

/// How much less, in percent.
fn saving(more: u64, less: u64) -> f64 {
    if more == 0 { 0.0 } else { (1.0 - less as f64 / more as f64) * 100.0 }
}

fn whole(repository: &Repository, snapshots: &[Snapshot], out: &Output) -> Run {
    let usage = used(repository, snapshots, out)?;
    let restored = snapshots.iter().map(|snapshot| snapshot.names.summary.bytes_total).fold(0, u64::saturating_add);
    let files = snapshots.iter().map(|snapshot| snapshot.names.summary.files_total).fold(0, u64::saturating_add);
    if out.json {
        out.json_result(&json!({
            "message_type": "stats",
            "snapshots_count": snapshots.len(),
            "total_restore_size": restored,
            "total_file_count": files,
            "total_uncompressed_size": usage.needed_plain,
            "total_size": usage.needed,
            "total_blob_count": usage.chunks,
            "compression_ratio": ratio(usage.needed_plain, usage.needed),
            "compression_progress": percent(usage.compressed_plain, usage.needed_plain),
            "compression_space_saving": saving(usage.needed_plain, usage.needed),
            "deduplication_ratio": ratio(restored, usage.needed_plain),
            "deduplication_space_saving": saving(restored, usage.needed_plain),
            "packs": usage.packs,
            "pack_bytes": usage.pack_bytes,
        }))?;
        return Ok(Code::Done);
    }
    // Of next to nothing, what describes it is more than it is.
    let less = |ratio: f64| if ratio < 1.05 { String::new() } else { format!(" ({ratio:.1} times less)") };
    let saved = |more: u64, less: u64| match more.checked_sub(less).filter(|saved| *saved > 0) {
        Some(saved) => format!("{:.1} : 1, saves {} ({:.0} %)", ratio(more, less), size::human(saved), saving(more, less)),
        None => "saves nothing".to_owned(),
    };
    let rows = [
        ("Snapshots", size::count(snapshots.len() as u64)),
        ("Restored", format!("{} in {}", size::human(restored), size::of(files, "file"))),
        ("Distinct", size::human(usage.needed_plain) + &less(ratio(restored, usage.needed_plain))),
        ("Needed", size::human(usage.needed) + &less(ratio(usage.needed_plain, usage.needed))),
        ("Chunks", size::count(usage.chunks)),
        ("In packs", format!("{} in {}", size::human(usage.pack_bytes), size::of(usage.packs, "pack"))),
        ("Deduplication", saved(restored, usage.needed_plain)),
        ("Compression", saved(usage.needed_plain, usage.needed)),
    ];
    said(&rows, out)
}

/// Figures, each behind what it is of.
fn said(rows: &[(&str, String)], out: &Output) -> Run {
    for (what, figure) in rows {
        out.result(format!("{what:<14} {figure}").as_bytes())?;
    }
    Ok(Code::Done)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

fn raw(usage: &Usage, snapshots: &[Snapshot], out: &Output) -> Run {
    // Only of what is compressed, as restic has it.
    let compression = if usage.compressed == 0 { 0.0 } else { ratio(usage.compressed_plain, usage.compressed) };
    let progress = percent(usage.compressed_plain, usage.needed_plain);
    let saved = saving(usage.needed_plain, usage.needed);
    if out.json {
        out.json_result(&json!({
            "message_type": "stats",
            "mode": Counted::RawData.name(),
            "total_size": usage.needed,
            "total_uncompressed_size": usage.needed_plain,
            "compression_ratio": compression,
            "compression_progress": progress,
            "compression_space_saving": saved,
            "total_blob_count": usage.chunks,
            "snapshots_count": snapshots.len(),
        }))?;
        return Ok(Code::Done);
    }
    let rows = [
        ("Snapshots", size::count(snapshots.len() as u64)),
        ("Chunks", size::count(usage.chunks)),
        ("Uncompressed", size::human(usage.needed_plain)),
        ("Stored", size::human(usage.needed)),
        ("Compressed", format!("{progress:.1} % of it, {compression:.2} : 1")),
        ("Saved", format!("{saved:.1} %")),
    ];
    said(&rows, out)
}

fn totals_said(totals: &Totals, counted: Counted, snapshots: &[Snapshot], out: &Output) -> Run {
    if totals.unmeasured > 0 {
        let chunks = size::of(totals.unmeasured, "chunk");
        out.warn(&format!("the length of {chunks} is not known: their packs cannot be read now; they are not in the size"));
    }
    if out.json {
        let mut value = json!({
            "message_type": "stats",
            "mode": counted.name(),
            "total_size": totals.bytes,
            "total_file_count": totals.files,
            "snapshots_count": snapshots.len(),
        });
        if let (Some(map), Counted::BlobsPerFile) = (value.as_object_mut(), counted) {
            map.insert("total_blob_count".to_owned(), Value::from(totals.blobs));
        }
        out.json_result(&value)?;
        return Ok(Code::Done);
    }
    let what = match counted {
        Counted::RestoreSize => "Entries",
        Counted::FilesByContents => "Contents",
        _ => "Files",
    };
    let mut rows = vec![("Snapshots", size::count(snapshots.len() as u64)), (what, size::count(totals.files))];
    if counted == Counted::BlobsPerFile {
        rows.push(("Chunks", size::count(totals.blobs)));
    }
    rows.push(("Size", size::human(totals.bytes)));
    said(&rows, out)
}
