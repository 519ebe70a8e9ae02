//! `rewrite`: snapshots become others without some paths, of another host, series or time. It must never forget an old one before the new
//! one is there, nor one that is held. It obeys spec chapter 7; restic's words win.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::which::WhichArgs;
use crate::{signals, size, time};
use seabed_engine::clock;
use seabed_engine::id::SnapshotId;
use seabed_engine::rewrite::{RewriteOptions, RewriteReport, Rewritten, rewrite};
use seabed_engine::source::Excludes;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed rewrite --exclude '*.iso' --dry-run
  seabed rewrite --exclude /home/ann/secret --forget && seabed gc
  seabed rewrite 40dc1520 latest --exclude-file not-these
  seabed rewrite --host web1 --new-host www1 --forget
  seabed rewrite 40dc1520 --new-time '2026-01-31 23:59:59' --forget";

/// Leave paths out of snapshots, or give them another host, series or time
///
/// Of each snapshot that changes a new one is made, with an id of its own; the old one stays, unless
/// --forget says otherwise. Snapshots that the patterns take nothing of are left alone. Without IDs all
/// snapshots that pass the filters are looked at. What is left out is not gone yet: `seabed gc` gives
/// the space back, once no snapshot has it any more.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    which: WhichArgs,
    /// Leave out what matches PATTERN (repeatable)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What changes")]
    exclude: Vec<OsString>,
    /// The same, letters of either case
    #[arg(long, value_name = "PATTERN", help_heading = "What changes")]
    iexclude: Vec<OsString>,
    /// Read patterns from FILE (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "What changes")]
    exclude_file: Vec<PathBuf>,
    /// The same, letters of either case
    #[arg(long, value_name = "FILE", help_heading = "What changes")]
    iexclude_file: Vec<PathBuf>,
    /// The host that they are of
    #[arg(long, value_name = "HOST", help_heading = "What changes")]
    new_host: Option<String>,
    /// The series that they belong to
    #[arg(long, value_name = "SERIES", help_heading = "What changes")]
    new_series: Option<String>,
    /// The time that they stand for: now, `2026-01-31 23:59:59` or RFC 3339
    #[arg(long, value_name = "TIME", help_heading = "What changes")]
    new_time: Option<String>,
    /// Forget each old snapshot once the new one is there
    #[arg(long)]
    forget: bool,
    /// Say what would change, change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Args {
    fn options(&self) -> Result<RewriteOptions, Fail> {
        let (mut excludes, mut patterns) = (Excludes::new(), Vec::new());
        for (list, fold_case) in [(&self.exclude, false), (&self.iexclude, true)] {
            for pattern in list {
                excludes.pattern(pattern.as_bytes(), fold_case)?;
                patterns.push(pattern.to_string_lossy().into_owned());
            }
        }
        for (files, fold_case) in [(&self.exclude_file, false), (&self.iexclude_file, true)] {
            for file in files {
                excludes.file(file, fold_case)?;
                patterns.push(format!("(file {})", file.display()));
            }
        }
        let new_time = match &self.new_time {
            Some(text) => Some(time::parse(text).map_err(Fail::config)?.unwrap_or_else(clock::now)),
            None => None,
        };
        if excludes.is_empty() && self.new_host.is_none() && self.new_series.is_none() && new_time.is_none() {
            return Err(
                Fail::config("nothing is to change").hint("--exclude leaves paths out, --new-host, --new-series and --new-time rename")
            );
        }
        let (new_host, new_series) = (self.new_host.clone(), self.new_series.clone());
        Ok(RewriteOptions { excludes, patterns, new_host, new_series, new_time, forget: self.forget, dry_run: self.dry_run })
    }
}

/// Rewrites them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let options = args.options()?;
    let opened = open::open(global, out)?;
    let chosen = args.which.chosen(&opened.repository, out)?;
    let ids: Vec<SnapshotId> = chosen.snapshots.iter().map(|snapshot| snapshot.id).collect();
    let listener = Listener::new(out, "rewriting");
    let mut told = Ok(());
    let result = rewrite(&opened.repository, &ids, &options, &listener, &mut |rewritten| {
        let tells = tell(rewritten, &options, out);
        if told.is_ok() {
            told = tells;
        }
    });
    listener.finish();
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => {
            return Err(Fail::new(
                Code::Interrupted,
                "interrupted: what was said to be done is done, the other snapshots are as they were",
            )
            .hint("run it again: it goes on where it stopped"));
        }
        Err(error) => return Err(error.into()),
    };
    told?;
    end(report, &options, out).map(|code| chosen.code(code))
}

/// Says what became of one.
fn tell(rewritten: &Rewritten, options: &RewriteOptions, out: &Output) -> Result<(), Fail> {
    let Rewritten { old, new, entries_removed, bytes_removed, forgotten, held, .. } = *rewritten;
    if held {
        let fate = if options.dry_run { "would stay" } else { "stays" };
        out.warn(&format!("snapshot {} {fate}: it is held (`seabed unhold {}`)", old.short(), old.short()));
    }
    if out.json {
        return out.json_result(&json!({
            "message_type": "changed",
            "old_snapshot_id": old.to_string(),
            "new_snapshot_id": new.map(|id| id.to_string()),
            "removed_entries": entries_removed,
            "removed_bytes": bytes_removed,
            "forgotten": forgotten,
            "held": held,
        }));
    }
    let removed = match entries_removed {
        0 => String::new(),
        n => format!(", without {} ({})", size::of(n, "entry"), size::human(bytes_removed)),
    };
    let text = match new {
        Some(new) if rewritten.again => format!("snapshot {} was rewritten before, as {}", old.short(), new.short()),
        Some(new) => format!("snapshot {} is now {}{removed}", old.short(), new.short()),
        None => format!("snapshot {} would change{removed}", old.short()),
    };
    let end = if forgotten { "; the old one is forgotten" } else { "" };
    out.say(&format!("{text}{end}"));
    Ok(())
}

/// Says what became of all of them.
fn end(report: RewriteReport, options: &RewriteOptions, out: &Output) -> Run {
    let RewriteReport { changed, unchanged, mut failed, .. } = report;
    for (id, error) in &failed {
        out.failed_item(&error.to_string(), "rewrite", &id.short());
    }
    let sum = |of: fn(&Rewritten) -> u64| changed.iter().map(of).fold(0, u64::saturating_add);
    let entries = sum(|rewritten| rewritten.entries_removed);
    let forgotten = sum(|rewritten| u64::from(rewritten.forgotten));
    if out.json {
        out.json_result(&json!({
            "message_type": "summary",
            "dry_run": options.dry_run,
            "changed": changed.len(),
            "unchanged": unchanged,
            "failed": failed.len(),
            "forgotten": forgotten,
            "removed_entries": entries,
            "removed_bytes": sum(|rewritten| rewritten.bytes_removed),
        }))?;
    } else if changed.is_empty() && failed.is_empty() {
        out.say(&format!("nothing to change in {}", size::of(unchanged, "snapshot")));
    } else if options.dry_run {
        out.say(&format!("{} would change, {unchanged} would not; nothing was changed", size::of(changed.len() as u64, "snapshot")));
    } else if entries > 0 && forgotten == changed.len() as u64 {
        out.say("`seabed gc` gives the space back of what no snapshot has any more; until then `seabed undelete` brings an old one back");
    } else if entries > 0 {
        out.say("the old snapshots still have what was left out: `seabed forget` and `seabed gc` remove it");
    }
    if failed.is_empty() {
        return Ok(Code::Done);
    }
    let count = failed.len() as u64;
    let Some((id, first)) = failed.drain(..).next() else { return Ok(Code::Done) };
    let (message, fail) = (first.to_string(), Fail::from(first));
    if count == 1 {
        return Err(Fail { message: format!("snapshot {} could not be rewritten: {message}", id.short()), ..fail });
    }
    Err(Fail {
        message: format!("{} could not be rewritten, the first, {}, because {message}", size::of(count, "snapshot"), id.short()),
        ..fail
    })
}
