//! `rebuild`: index and catalog anew from packs and manifests. It must never delete a pack, nor hide one that does not open.
//! It obeys DESIGN section 1, promise 2.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help, without_number};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size};
use seabed_engine::rebuild::rebuild;
use serde_json::json;

/// Make index and catalog anew from packs and manifests
///
/// Both only repeat what packs and manifests say, so nothing is lost by it. It is needed when `check`
/// says that the index is damaged; a lost cache heals by itself.
/// Packs in an archive class cannot be read: what the old index says of them is kept. Those that it
/// does not name are listed, exit status 3: thaw them and run this again. What does not open is listed
/// too, exit status 23.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed rebuild && seabed check"))]
pub struct Args {}

/// Rebuilds.
pub fn run(global: &Global, _args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    let listener = Listener::new(out, "rebuild");
    let result = rebuild(&opened.repository, &listener);
    listener.finish();
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => {
            return Err(Fail::new(Code::Interrupted, "interrupted, the old index is still there").hint("run it again: it begins anew"));
        }
        Err(error) => return Err(error.into()),
    };
    for error in &report.damaged {
        out.failed_item(&without_number(&error.to_string()), "rebuild", "");
    }
    for name in &report.unread {
        out.failed_item(&format!("{name} lies in an archive and no index segment names it: thaw it and run this again"), "rebuild", "");
    }
    for bad in &report.unreadable {
        out.failed_item(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error), "rebuild", &bad.id.to_string());
    }
    if out.json {
        out.json_result(&json!({
            "message_type": "summary",
            "packs": report.packs,
            "chunks": report.chunks,
            "segments": report.segments,
            "segments_removed": report.removed,
            "snapshots": report.snapshots,
            "damaged_packs": report.damaged.len(),
            "archived_packs": report.archived,
            "unread_packs": report.unread.len(),
            "unreadable_snapshots": report.unreadable.len(),
        }))?;
    } else {
        out.say(&format!("index: {}, {}", size::of(report.packs, "pack"), size::of(report.chunks, "chunk")));
        out.say(&format!("catalog: {}", size::of(report.snapshots, "snapshot")));
    }
    Ok(match report.damaged.is_empty() && report.unreadable.is_empty() {
        false => Code::Damage,
        true if report.unread.is_empty() => Code::Done,
        true => Code::Incomplete,
    })
}
