//! `undelete`: a forgotten snapshot comes back, as long as no collection has been there. It obeys DESIGN section 5.

use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, time};
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::Error;
use seabed_engine::id::SnapshotId;
use seabed_engine::undelete::undelete;
use serde_json::json;
use std::collections::HashMap;

const EXAMPLES: &str = "  seabed snapshots --forgotten
  seabed undelete 40dc1520";

/// Bring forgotten snapshots back
///
/// As long as `seabed gc` has not deleted what they hold. A snapshot comes back under a new id: the
/// old one stays forgotten.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Ids of forgotten snapshots, or prefixes of them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// The forgotten snapshot that a prefix names.
fn find<'a>(forgotten: &'a [Snapshot], id: &str) -> Result<&'a Snapshot, Fail> {
    let id = id.to_ascii_lowercase();
    let mut found = forgotten.iter().filter(|snapshot| !id.is_empty() && snapshot.id.to_string().starts_with(&id));
    match (found.next(), found.count()) {
        (Some(snapshot), 0) => Ok(snapshot),
        (Some(_), more) => Err(Error::AmbiguousSnapshot { selector: id, count: more + 1 }.into()),
        (None, _) => {
            let fail = Fail::new(Code::Failed, format!("no forgotten snapshot is called `{id}`"));
            Err(fail.hint("`seabed snapshots --forgotten` lists those that can come back"))
        }
    }
}

/// What is back of what was forgotten: by the old ids, the new ones.
pub fn back(committed: &[Snapshot]) -> HashMap<SnapshotId, SnapshotId> {
    let origin =
        |snapshot: &Snapshot| snapshot.names.origin.as_ref().filter(|origin| origin.how == "undelete").map(|origin| origin.snapshot);
    committed.iter().filter_map(|snapshot| Some((origin(snapshot)?, snapshot.id))).collect()
}

/// Brings them back.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    let forgotten = opened.repository.forgotten()?;
    let found: Vec<&Snapshot> = args.ids.iter().map(|id| find(&forgotten, id)).collect::<Result<_, _>>()?;
    let back = back(&opened.repository.catalog().snapshots()?);
    for snapshot in found {
        if let Some(new) = back.get(&snapshot.id) {
            let fail = Fail::new(Code::Failed, format!("snapshot {} is back already, as {}", snapshot.id.short(), new.short()));
            return Err(fail.hint("`seabed snapshots` lists it"));
        }
        let listener = Listener::new(out, "checking");
        let undeleted = undelete(&opened.repository, &snapshot.id, &listener);
        listener.finish();
        let new = match undeleted {
            Ok(new) => new,
            Err(_) if signals::interrupted() => return Err(Fail::new(Code::Interrupted, "interrupted, nothing came back")),
            Err(Error::Overtaken) => {
                let fail = Fail::new(
                    Code::Failed,
                    format!("snapshot {} cannot come back: a collection has deleted some of it", snapshot.id.short()),
                );
                return Err(fail
                    .hint("a backup of the same sources is all that brings its files back; `seabed gc` waits a day, so undelete sooner"));
            }
            Err(error) => return Err(error.into()),
        };
        if out.json {
            out.json_result(&json!({"message_type": "undeleted", "id": new.to_string(), "origin": snapshot.id.to_string()}))?;
        } else {
            let (short, at) = (snapshot.id.short(), time::local(&snapshot.index.time));
            out.say(&format!("snapshot {short} of {at} is back as {}", new.short()));
        }
    }
    Ok(Code::Done)
}
