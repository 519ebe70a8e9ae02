//! `snapshots`: what there is, from the catalog. It must never read a manifest that the catalog knows.
//! It obeys what README.md says of it, and restic's JSON shape.

use crate::args::{FilterArgs, Global};
use crate::commands::backup::counts_json;
use crate::commands::groups::{Groups, Key, Values, paths};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, Table, terminal_width};
use crate::progress::Listener;
use crate::progress::line::columns;
use crate::{size, time};
use seabed_engine::catalog::Snapshot;
use seabed_engine::id::SnapshotId;
use seabed_engine::repository::Repository;
use seabed_engine::usage::usage;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const EXAMPLES: &str = "  seabed snapshots
  seabed snapshots --host web1 --tag nightly --latest 3
  seabed snapshots --group-by host,series --json
  seabed snapshots --sizes
  seabed snapshots --incomplete";

/// List snapshots
///
/// Size is what the snapshot restores, Added what it brought into the repository, compressed, and Unique
/// (--sizes) what only it holds there: what would go with it.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only the newest N of each host and series (or of each group)
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// Group by host, series, paths, tags (a list)
    #[arg(short, long, value_name = "LIST")]
    group_by: Option<String>,
    /// Ids only
    #[arg(long)]
    ids: bool,
    /// Also say what each snapshot alone holds: what would go with it (reads the footers of all packs)
    #[arg(long)]
    sizes: bool,
    /// What runs had done that did not end, instead: they can be restored by their ids, as far as they came
    #[arg(long, conflicts_with = "forgotten")]
    incomplete: bool,
    /// Snapshots that were forgotten and not yet collected, instead: `seabed undelete` brings them back
    #[arg(long)]
    forgotten: bool,
}

/// Lists them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let groups_given = args.group_by.as_deref().map(Groups::parse).transpose()?;
    let opened = open::open(global, out)?;
    let unreadable = refresh(&opened.repository, out)?;
    let filter = args.filter.filter();
    let committed = opened.repository.catalog().snapshots()?;
    let pendings = || opened.repository.pendings(&committed.iter().map(|snapshot| snapshot.id).collect());
    // What is listed, and what else holds what it holds.
    let (all, others) = if args.incomplete {
        (pendings()?, committed)
    } else if args.forgotten {
        let pendings = if args.sizes { pendings()? } else { Vec::new() };
        let mut forgotten = opened.repository.forgotten()?;
        let back = super::undelete::back(&committed);
        forgotten.retain(|snapshot| !back.contains_key(&snapshot.id));
        (forgotten, [committed, pendings].concat())
    } else {
        let pendings = if args.sizes { pendings()? } else { Vec::new() };
        (committed, pendings)
    };
    let partial = args.incomplete || args.forgotten;
    let sizes = args.sizes.then(|| sizes(&opened.repository, (&all, partial), &others, out)).transpose()?;
    let mut groups: BTreeMap<Values, Vec<Snapshot>> = BTreeMap::new();
    let by = groups_given.clone().unwrap_or_default();
    for snapshot in all.into_iter().filter(|s| filter.matches(s)) {
        groups.entry(by.of(&snapshot)).or_default().push(snapshot);
    }
    if let Some(latest) = args.latest {
        let by = if by.keys.is_empty() { Groups::of_series() } else { by.clone() };
        groups.values_mut().for_each(|group| by.newest(group, latest));
    }
    open::remark(&opened, out);
    if args.ids {
        for snapshot in groups.values().flatten() {
            out.result(snapshot.id.to_string().as_bytes())?;
        }
    } else if out.json {
        json(out, &groups, groups_given.as_ref(), sizes.as_ref())?;
    } else {
        text(out, &groups, &by, sizes.as_ref())?;
    }
    Ok(match unreadable {
        0 => Code::Done,
        // Somebody has rotated since this secret was given, and left it out: what it does not open is not damaged.
        _ if opened.repository.is_behind() => Code::Incomplete,
        _ => Code::Damage,
    })
}

/// What each of the snapshots alone holds in the repository.
fn sizes(repository: &Repository, all: (&[Snapshot], bool), others: &[Snapshot], out: &Output) -> Result<Unique, Fail> {
    let listener = Listener::beside_result(out, "snapshots");
    let usage = usage(repository, all, others, &listener);
    listener.finish();
    Ok(usage?.unique)
}

/// Bytes that only one snapshot holds, by its id.
type Unique = HashMap<SnapshotId, u64>;

/// What is said of a snapshot besides figures.
fn remark(s: &Snapshot) -> String {
    let mark = if s.index.incomplete { "(incomplete) " } else { "" };
    format!("{mark}{}", s.names.description).trim_end().to_owned()
}

fn table(snapshots: &[Snapshot], remarks: bool, minutes: bool, sizes: Option<&Unique>) -> Table {
    let mut table = Table::new(&[
        ("ID", false, false),
        ("Time", false, false),
        ("Host", false, true),
        ("Series", false, true),
        ("Tags", false, true),
        ("Size", true, false),
        ("Added", true, false),
        ("Unique", true, false),
        ("Description", false, false),
    ])
    .spare(&["Host", "Tags", "Added"]);
    for s in snapshots {
        let names = &s.names;
        table.row(vec![
            s.id.short(),
            if minutes { time::minute(&s.index.time) } else { time::local(&s.index.time) },
            names.host.clone(),
            names.series.clone(),
            names.tags.join(","),
            size::human(names.summary.bytes_total),
            size::human(names.summary.bytes_stored),
            sizes.and_then(|sizes| sizes.get(&s.id)).map(|bytes| size::human(*bytes)).unwrap_or_default(),
            if remarks { remark(s) } else { String::new() },
        ]);
    }
    table
}

fn text(out: &Output, groups: &BTreeMap<Values, Vec<Snapshot>>, by: &Groups, sizes: Option<&Unique>) -> Result<(), Fail> {
    let mut total = 0;
    for (group, snapshots) in groups.iter().filter(|(_, s)| !s.is_empty()) {
        if !by.keys.is_empty() {
            out.result(crate::output::clean(&format!("\n{}", by.words(group))).as_bytes())?;
        }
        let width = terminal_width();
        let mut lines = table(snapshots, true, false, sizes).lines(None);
        let too_wide = |lines: &[String]| width.is_some_and(|max| lines.iter().any(|line| columns(line) > max));
        // Where it does not fit, what a person wrote is not cut short: it gets lines of its own.
        if too_wide(&lines) {
            // Seconds go before columns do.
            let whole = table(snapshots, false, false, sizes).spare(&[]).lines(width);
            lines = if too_wide(&whole) { table(snapshots, false, true, sizes).lines(width) } else { whole };
            for (at, s) in snapshots.iter().enumerate().rev().filter(|(_, s)| !remark(s).is_empty()) {
                lines.insert(at + 3, format!("          {}", crate::output::clean(&remark(s)).replace('\n', " ")));
            }
        }
        for line in lines {
            out.result(line.as_bytes())?;
        }
        total += snapshots.len();
    }
    // Beside the table: who reads that in a pipe takes every line for one of it.
    out.remark(&size::of(total as u64, "snapshot"));
    Ok(())
}

/// One snapshot in restic's shape, and what it has beyond.
pub fn snapshot_json(s: &Snapshot) -> Value {
    let names = &s.names;
    let mut summary = counts_json(&names.summary);
    if let Some(map) = summary.as_object_mut() {
        map.insert("backup_start".to_owned(), time::rfc3339(&s.index.started).into());
        map.insert("backup_end".to_owned(), time::rfc3339(&s.index.finished).into());
        map.insert("errors".to_owned(), names.summary.errors.into());
    }
    let mut value = json!({
        "time": time::rfc3339(&s.index.time),
        // restic's word for the root of the tree: here the names side of it, and nothing for streams alone.
        "tree": s.index.roots.iter().find_map(|r| r.names.as_ref().map(|id| id.to_string())),
        "paths": paths(s),
        "hostname": names.host,
        "username": names.user,
        "uid": names.uid,
        "gid": names.gid,
        "excludes": names.excludes,
        "tags": names.tags,
        "program_version": names.program,
        "summary": summary,
        "series": names.series,
        "description": names.description,
        "incomplete": s.index.incomplete,
        "id": s.id.to_string(),
        "short_id": s.id.short(),
    });
    if let (Some(map), Some(parent)) = (value.as_object_mut(), &names.parent) {
        map.insert("parent".to_owned(), parent.to_string().into());
    }
    value
}

fn json(out: &Output, groups: &BTreeMap<Values, Vec<Snapshot>>, by: Option<&Groups>, sizes: Option<&Unique>) -> Result<(), Fail> {
    let one = |snapshot: &Snapshot| {
        let mut value = snapshot_json(snapshot);
        if let (Some(map), Some(bytes)) = (value.as_object_mut(), sizes.and_then(|sizes| sizes.get(&snapshot.id))) {
            map.insert("unique_bytes".to_owned(), (*bytes).into());
        }
        value
    };
    let list = |snapshots: &[Snapshot]| Value::Array(snapshots.iter().map(one).collect());
    let value = match by {
        Some(by) if !by.keys.is_empty() => Value::Array(
            groups
                .iter()
                .map(|(group, snapshots)| {
                    let of = |key: Key| by.keys.iter().position(|k| *k == key).and_then(|at| group.get(at)).cloned();
                    let one = |key: Key| of(key).and_then(|mut v| v.pop()).unwrap_or_default();
                    json!({
                        "group_key": {"hostname": one(Key::Host), "series": one(Key::Series), "paths": of(Key::Paths), "tags": of(Key::Tags)},
                        "snapshots": list(snapshots),
                    })
                })
                .collect(),
        ),
        _ => list(groups.values().next().map_or(&[], |s| &s[..])),
    };
    out.json_result(&value)
}
