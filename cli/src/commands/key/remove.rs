//! `key remove` and `key rotate`: new epochs.

use super::rewrite;
use super::slots::{find, leftovers, words};
use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::{signals, size};
use seabed_engine::id::ObjectId;
use seabed_engine::keys::{list, renew, rotate as start_epoch};
use serde_json::json;

/// Remove passphrases and key files
///
/// A new epoch begins: what is written from now on is under new keys, which only those get that
/// stay. That is what revokes; who was removed and kept a copy of the old keyring still reads what was
/// written before, until `seabed key rewrite` has sealed it anew. Backups that run now go on under the old keys until they end.
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
/// as it is, unless --rewrite seals it anew: then see `seabed key rewrite --help`. Backups that run now
/// go on under the old keys until they end.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(ROTATE))]
pub struct RotateArgs {
    /// Leave SLOT out, as `key remove` does (repeatable)
    #[arg(long, value_name = "SLOT")]
    remove: Vec<String>,
    /// Seal anew what older epochs sealed, as `key rewrite` does
    #[arg(long)]
    rewrite: bool,
    /// How it goes about that.
    #[command(flatten)]
    how: rewrite::How,
}

const ROTATE: &str = "  seabed key rotate
  seabed key rotate --remove laptop
  seabed key rotate --remove laptop --rewrite --budget 20G";

/// Removes them.
pub fn remove(global: &Global, args: &RemoveArgs, out: &Output) -> Run {
    run(global, &args.slots, out).map(|(code, _)| code)
}

/// Begins it.
pub fn rotate(global: &Global, args: &RotateArgs, out: &Output) -> Run {
    if !args.rewrite && args.how.is_given() {
        return Err(Fail::config("--budget, --grace and --repack-cold are about --rewrite").hint("add --rewrite, or leave them out"));
    }
    signals::catch();
    let (code, mut opened) = run(global, &args.remove, out)?;
    if !args.rewrite {
        return Ok(code);
    }
    renew(&mut opened.repository)?;
    rewrite::rewrite(&opened, &args.how, false, out).map(|rewritten| if rewritten == Code::Done { code } else { rewritten })
}

fn run(global: &Global, names: &[String], out: &Output) -> Result<(Code, Opened), Fail> {
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
        return Ok((code, opened));
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
        out.say("who kept a copy of the old keyring still reads what was written before; `seabed key rewrite` seals that anew");
    }
    Ok((code, opened))
}
