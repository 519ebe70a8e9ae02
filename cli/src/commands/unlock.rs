//! `unlock`: for those who come from tools that lock. It must never touch a repository. It obeys DESIGN section 1.

use crate::exit::{Code, Run, help};
use crate::output::Output;

/// Explain why there is nothing to unlock
///
/// Seabed takes no locks. Any number of backups, checks and restores run at the same time,
/// and a run that was killed leaves nothing behind that stops the next one.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed unlock"))]
pub struct Args {}

/// Says so.
pub fn run(out: &Output) -> Run {
    if out.json {
        out.json_result(&serde_json::json!({"message_type": "unlocked", "locks": 0}))?;
    } else {
        out.say("There are no locks: backups, checks and restores run side by side, and a killed run blocks nobody. Nothing to do.");
    }
    Ok(Code::Done)
}
