//! `key add`: one more passphrase or key file.

use super::secrets::NamedSecret;
use super::slots::short;
use crate::args::Global;
use crate::exit::{Code, Run, help};
use crate::open;
use crate::output::Output;
use seabed_engine::keys::add;
use serde_json::json;

const EXAMPLES: &str = "  seabed key add
  seabed key add --label laptop --new-key-file ~/laptop.key
  seabed key add --label 'the safe' --new-password-file /run/safe --kdf-memory 256";

/// Add a passphrase or a key file
///
/// Open the repository with one that it has; the new one is asked for twice, or given by one of the
/// options below. Before this ends the new one has opened the repository.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    slot: NamedSecret,
}

/// Adds it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    args.slot.new.check()?;
    let opened = open::open(global, out)?;
    let new = args.slot.new.choose(out)?;
    let added = add(&opened.repository, &new.secret, &args.slot.label, new.kdf)?;
    if out.json {
        out.json_result(&json!({
            "message_type": "slot_added",
            "id": added.id.to_string(),
            "kind": new.kind(),
            "label": args.slot.label,
            "epoch": added.epoch,
            "key_file": new.key_file.as_ref().map(|path| path.to_string_lossy()),
        }))?;
    } else {
        out.say(&format!("added the {} as slot {}", new.kind(), short(&added.id)));
        new.remind(out);
    }
    Ok(Code::Done)
}
