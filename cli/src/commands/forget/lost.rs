//! `forget --lost`: someone accepts that snapshots are gone. It must say which before anything is changed, and never take a listing that
//! is not complete for a loss: the engine asks for each by name.

use super::Args;
use crate::args::Global;
use crate::commands::gc::collect_in;
use crate::exit::{Code, Run};
use crate::output::Output;
use crate::{open, size};
use seabed_engine::forget::{forget_lost, lost};
use seabed_engine::repository::ledger::Lost;
use serde_json::{Value, json};

/// Accepts it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    let lost = lost(&opened.repository)?;
    if out.json {
        let all: Vec<Value> = lost.iter().map(lost_json).collect();
        out.json_result(&json!({"message_type": "forget_lost", "dry_run": args.dry_run, "lost": all}))?;
    } else {
        lost.iter().for_each(|lost| out.say(&words(lost)));
    }
    let count = size::of(lost.len() as u64, "lost snapshot");
    if lost.is_empty() {
        out.say("nothing is lost");
    } else if args.dry_run {
        out.say(&format!("would accept the loss of {count}; nothing was changed"));
    } else {
        forget_lost(&opened.repository, &lost)?;
        out.say(&format!("forgot {count}"));
    }
    if args.gc && !args.dry_run { collect_in(&opened, &args.how, false, out) } else { Ok(Code::Done) }
}

fn words(lost: &Lost) -> String {
    let seen = if lost.only_remembered { ", which this machine has seen" } else { "" };
    match lost.snapshot {
        Some(id) => format!("lost: snapshot {}, number {} of writer {}{seen}", id.short(), lost.sequence, lost.writer),
        None => format!("lost: a snapshot of unknown id, number {} of writer {}", lost.sequence, lost.writer),
    }
}

fn lost_json(lost: &Lost) -> Value {
    json!({
        "id": lost.snapshot.map(|id| id.to_string()),
        "writer": lost.writer.to_string(),
        "sequence": lost.sequence,
        "only_remembered": lost.only_remembered,
    })
}
