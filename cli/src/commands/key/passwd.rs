//! `key passwd`: another secret for the slot in use.

use super::secrets::NewSecret;
use super::slots::{leftovers, short};
use crate::args::Global;
use crate::exit::{Run, help};
use crate::open;
use crate::output::Output;
use seabed_engine::keys::passwd;
use serde_json::json;

const EXAMPLES: &str = "  seabed key passwd
  seabed key passwd --password-file old --new-password-file new
  seabed key passwd --new-key-file /root/seabed.key";

/// Replace the passphrase or key file that opens the repository for this run
///
/// The new one is asked for twice, or given by one of the options below. A new epoch begins, as with
/// `key remove`: the old secret opens nothing that is written from now on. The label stays.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    new: NewSecret,
}

/// Replaces it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    args.new.check()?;
    let opened = open::open(global, out)?;
    let new = args.new.choose(out)?;
    let old = opened.repository.slot().map(|slot| slot.id);
    let rotated = passwd(&opened.repository, &new.secret, new.kdf)?;
    let code = leftovers(&rotated, out);
    if out.json {
        out.json_result(&json!({
            "message_type": "secret_replaced",
            "id": rotated.new_slot.map(|id| id.to_string()),
            "old": old.map(|id| id.to_string()),
            "kind": new.kind(),
            "epoch": rotated.epoch,
            "refused": rotated.refused.len(),
            "key_file": new.key_file.as_ref().map(|path| path.to_string_lossy()),
        }))?;
        return Ok(code);
    }
    let slot = rotated.new_slot.map(|id| short(&id)).unwrap_or_default();
    out.say(&format!("the {} of slot {slot} opens the repository from now on, the old secret does not", new.kind()));
    new.remind(out);
    Ok(code)
}
