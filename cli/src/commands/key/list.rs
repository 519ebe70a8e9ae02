//! `key list`: the slots of a repository.

use super::slots::{kind, remark, short};
use crate::args::Global;
use crate::exit::{Code, Run, help};
use crate::output::{Output, Table, terminal_width};
use crate::{open, time};
use seabed_engine::keys::{SlotKind, SlotObject, list};
use serde_json::json;

/// List what opens the repository
///
/// With its label, its kind and what a try of it costs. What lies among the slots and is in no
/// keyring opens nothing: an `add` that was interrupted, or what somebody else put there.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed key list\n  seabed key list --json"))]
pub struct Args {}

/// Lists them.
pub fn run(global: &Global, _: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    let slots = list(&opened.repository)?;
    let heads = [("Slot", false, false), ("Kind", false, false), ("Label", false, true), ("Added", false, false), ("Cost", false, false)];
    let mut table = Table::new(&[&heads[..], &[("", false, false)]].concat()).spare(&["Cost"]);
    for slot in &slots {
        let kdf = if let Some(SlotKind::Passphrase(kib, passes, lanes)) = slot.kind { Some((kib, passes, lanes)) } else { None };
        if out.json {
            let object = match slot.object {
                SlotObject::Whole => "whole",
                SlotObject::Missing => "missing",
                SlotObject::Damaged => "damaged",
                SlotObject::Swapped => "swapped",
            };
            out.json_result(&json!({
                "message_type": "slot",
                "id": slot.id.to_string(),
                "kind": kind(slot),
                "label": slot.label,
                "created": slot.created.map(|t| time::rfc3339(&t)),
                "kdf": kdf.map(|(kib, passes, lanes)| json!({"memory_kib": kib, "passes": passes, "lanes": lanes})),
                "own": slot.own,
                "member": slot.member,
                "object": object,
            }))?;
        }
        let cost = kdf.map(|(kib, passes, _)| format!("{} MiB, {passes}×", kib >> 10)).unwrap_or_default();
        let added = slot.created.map(|t| time::minute(&t)).unwrap_or_default();
        table.row(vec![short(&slot.id), kind(slot).to_owned(), slot.label.clone(), added, cost, remark(slot).to_owned()]);
    }
    if !out.json {
        for line in table.lines(terminal_width()) {
            out.result(line.as_bytes())?;
        }
    }
    Ok(Code::Done)
}
