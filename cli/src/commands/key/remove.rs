//! `key remove` and `key rotate`: new epochs.

use super::slots::{find, leftovers, words};
use crate::args::Global;
use crate::exit::{Run, help};
use crate::open;
use crate::output::Output;
use crate::size;
use seabed_engine::id::ObjectId;
use seabed_engine::keys::{list, rotate as start_epoch};
use serde_json::json;

/// Remove passphrases and key files
///
/// A new epoch begins: what is written from now on is under new keys, which only those get that
/// stay. That is what revokes; who was removed and kept a copy of the old keyring still reads what was
/// written before. Backups that run now go on under the old keys until they end.
///
/// The slot that opens the repository for this run cannot be removed: use another one, or `key passwd`.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed key remove laptop\n  seabed key remove 40dc1520 'the safe'"))]
pub struct RemoveArgs {
    /// Slots: labels, or beginnings of ids
    #[arg(value_name = "SLOT", required = true)]
    slots: Vec<String>,
}

/// Begin a new epoch: new keys for what is written from now on
///
/// Everybody who opens the repository gets them, but those that --remove names. What is stored stays
/// as it is. Backups that run now go on under the old keys until they end.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed key rotate\n  seabed key rotate --remove laptop"))]
pub struct RotateArgs {
    /// Leave SLOT out, as `key remove` does (repeatable)
    #[arg(long, value_name = "SLOT")]
    remove: Vec<String>,
}

/// Removes them.
pub fn remove(global: &Global, args: &RemoveArgs, out: &Output) -> Run {
    run(global, &args.slots, out)
}

/// Begins it.
pub fn rotate(global: &Global, args: &RotateArgs, out: &Output) -> Run {
    run(global, &args.remove, out)
}

fn run(global: &Global, names: &[String], out: &Output) -> Run {
    let opened = open::open(global, out)?;
    let slots = if names.is_empty() { Vec::new() } else { list(&opened.repository)? };
    let mut gone = Vec::new();
    for name in names {
        let slot = find(&slots, name)?;
        if !gone.iter().any(|(id, _): &(ObjectId, String)| *id == slot.id) {
            gone.push((slot.id, words(slot)));
        }
    }
    let ids: Vec<ObjectId> = gone.iter().map(|(id, _)| *id).collect();
    let rotated = start_epoch(&opened.repository, &ids)?;
    let code = leftovers(&rotated, out);
    if out.json {
        let removed: Vec<String> = ids.iter().map(ToString::to_string).collect();
        out.json_result(&json!({
            "message_type": "rotated",
            "epoch": rotated.epoch,
            "slots": rotated.slots,
            "removed": removed,
            "refused": rotated.refused.len(),
        }))?;
        return Ok(code);
    }
    for (_, words) in &gone {
        out.say(&format!("removed slot {words}"));
    }
    out.say(&format!(
        "epoch {} has begun: {} what is written from now on",
        rotated.epoch,
        match rotated.slots {
            1 => "one slot opens".to_owned(),
            n => format!("{} open", size::of(n as u64, "slot")),
        }
    ));
    if !gone.is_empty() {
        out.say("who kept a copy of the old keyring still reads what was written before");
    }
    Ok(code)
}
