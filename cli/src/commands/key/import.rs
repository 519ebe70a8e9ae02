//! `key import`: a repository is opened with a recovery sheet, on a machine that has nothing else.

use super::secrets::NamedSecret;
use super::slots::short;
use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Run, help};
use crate::output::Output;
use crate::{open, secret};
use seabed_engine::keys::import;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed key import sheet.txt --repo s3://bucket/backups
  seabed key import sheet.txt --repo /mnt/disk/backups --new-key-file ~/seabed.key";

/// Open a repository with a recovery sheet, and add a new secret to it
///
/// SHEET holds the numbered lines of a sheet as they were typed, or what its QR codes gave, in any
/// order. What the store has lost of the descriptor, the slots and the keyrings is put back as far
/// as the sheet has it. A line with a typing error is named.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// A file with the sheet's lines
    #[arg(value_name = "SHEET")]
    sheet: PathBuf,
    #[command(flatten)]
    slot: NamedSecret,
}

/// Imports it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    args.slot.new.check()?;
    let sheet = secret::sheet_file(&args.sheet)?;
    sheet.open()?;
    let (place, store) = open::bare(global, out)?;
    let new = args.slot.new.choose(out)?;
    let done = import(store, &sheet, &new.secret, (&args.slot.label, new.kdf), &Default::default())?;
    let behind = done.repository.is_behind();
    if behind {
        out.warn(
            "the keys were changed since this sheet was made: it opens what was written before, not what came after, and writes nothing; \
             a secret that was not removed opens all",
        );
    } else if done.by_keys && sheet.slot.is_some() {
        out.warn("the sheet's own slot did not open, its keys did: `seabed check` says what of slots and keyrings is damaged");
    }
    let unreadable = refresh(&done.repository, out)?;
    if out.json {
        out.json_result(&json!({
            "message_type": "imported",
            "repository": done.repository.id().to_string(),
            "slot": done.slot.to_string(),
            "kind": new.kind(),
            "descriptor_restored": done.descriptor_restored,
            "by_keys": done.by_keys,
            "behind": behind,
            "unreadable": unreadable,
            "key_file": new.key_file.as_ref().map(|path| path.to_string_lossy()),
        }))?;
    } else {
        if done.descriptor_restored {
            out.say("the descriptor was lost and is back");
        }
        let (id, place) = (done.repository.id().short(), place.words());
        out.say(&format!("repository {id} at {place} opens with the {}, slot {}", new.kind(), short(&done.slot)));
        new.remind(out);
    }
    Ok(if behind || unreadable > 0 { Code::Incomplete } else { Code::Done })
}
