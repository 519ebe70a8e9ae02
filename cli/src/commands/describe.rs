//! `describe`: another description for a snapshot that is there. It never changes a manifest; it obeys spec chapter 7.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::exit::{Code, Run, help};
use crate::open;
use crate::output::Output;
use crate::which::whole;
use seabed_engine::tag::describe;
use serde_json::json;

const EXAMPLES: &str = "  seabed describe 40dc1520 'the last one before the migration'
  seabed describe latest ''                     (no description)";

/// Give a snapshot another description
///
/// It keeps its id, and every host sees the new text. Several words need quotes.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// The snapshot
    #[arg(value_name = "ID")]
    id: String,
    /// What is said of it from now on
    #[arg(value_name = "TEXT")]
    text: String,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Describes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    let id = whole(&opened.repository, &args.id, &args.filter.filter())?.id;
    let changed = describe(&opened.repository, &id, &args.text)?;
    if out.json {
        if changed {
            out.json_result(&json!({"message_type": "changed", "snapshot_id": id.to_string(), "description": args.text}))?;
        }
        out.json_result(&json!({"message_type": "summary", "changed_snapshots": u8::from(changed)}))?;
    } else if changed {
        out.say(&format!("snapshot {} has a new description", id.short()));
    } else {
        out.say(&format!("snapshot {} has that description already", id.short()));
    }
    Ok(Code::Done)
}
