//! `tag`: other tags for snapshots that are there. It never changes a manifest, and an id never changes; it obeys spec chapter 7.

use crate::args::{FilterArgs, Global, tags};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, clean};
use crate::size;
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
    /// Snapshots; all that the filters let through where none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Give them these tags (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]")]
    add: Vec<String>,
    /// Take these tags from them (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]")]
    remove: Vec<String>,
    /// Give them exactly these tags; '' for none (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
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
    let unreadable = refresh(&opened.repository, out)?;
    let filter = args.filter.filter();
    let all = opened.repository.catalog().snapshots()?;
    let ids: Vec<SnapshotId> = if args.ids.is_empty() {
        all.iter().filter(|snapshot| filter.matches(snapshot)).map(|snapshot| snapshot.id).collect()
    } else {
        args.ids.iter().map(|id| opened.repository.select(id, &filter).map(|s| s.snapshot.id)).collect::<Result<_, _>>()?
    };
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
    // What cannot be read may be among those that were meant.
    Ok(if unreadable > 0 && args.ids.is_empty() { Code::Incomplete } else { Code::Done })
}
