//! `tag`: other tags for snapshots that are there. It never changes a manifest, and an id never changes; it obeys spec chapter 7.

use crate::args::{Global, tags};
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, clean};
use crate::size;
use crate::which::WhichArgs;
use seabed_engine::id::SnapshotId;
use seabed_engine::tag::{TagEdit, tag};
use serde_json::json;

const EXAMPLES: &str = "  seabed tag --add golden 40dc1520
  seabed tag --remove nightly --host db1
  seabed tag --set weekly,kept latest
  seabed tag --set '' 40dc1520                  (no tags at all)";

/// Change the tags of snapshots
///
/// Of the snapshots that are named; of all that --host, --series, --tag and --path let through where none
/// is. A snapshot keeps its id. Every host sees the new tags, policies (--keep-tag) and filters too.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    which: WhichArgs,
    /// Give them these tags (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]")]
    add: Vec<String>,
    /// Take these tags from them (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]")]
    remove: Vec<String>,
    /// Give them exactly these tags; '' for none (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
}

/// Changes them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let set = (!args.set.is_empty()).then(|| tags(&args.set));
    let edit = TagEdit { set, add: tags(&args.add), remove: tags(&args.remove) };
    if edit.set.is_none() && edit.add.is_empty() && edit.remove.is_empty() {
        return Err(
            Fail::config("nothing says which tags are to change").hint("give --add, --remove or --set; `seabed tag --help` has examples")
        );
    }
    let opened = open::open(global, out)?;
    let chosen = args.which.chosen(&opened.repository, out)?;
    let ids: Vec<SnapshotId> = chosen.snapshots.iter().map(|snapshot| snapshot.id).collect();
    let changed = tag(&opened.repository, &ids, &edit)?;
    for tagged in &changed {
        if out.json {
            out.json_result(&json!({"message_type": "changed", "snapshot_id": tagged.snapshot.to_string(), "tags": tagged.tags}))?;
        } else {
            let now = if tagged.tags.is_empty() { "no tags".to_owned() } else { format!("the tags {}", tagged.tags.join(", ")) };
            out.say(&clean(&format!("snapshot {} has {now}", tagged.snapshot.short())));
        }
    }
    if out.json {
        out.json_result(&json!({"message_type": "summary", "snapshots": ids.len(), "changed_snapshots": changed.len()}))?;
    } else if changed.is_empty() {
        out.say(&format!("nothing to change in {}", size::of(ids.len() as u64, "snapshot")));
    }
    Ok(chosen.code(Code::Done))
}
