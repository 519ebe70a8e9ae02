//! `snapshots`: what there is, from the catalog. It must never read a manifest that the catalog knows.
//! It obeys what README.md says of it, and restic's JSON shape.

use crate::args::{FilterArgs, Global};
use crate::commands::backup::counts_json;
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, Table, terminal_width};
use crate::{size, time};
use seabed_engine::catalog::Snapshot;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EXAMPLES: &str = "  seabed snapshots
  seabed snapshots --host web1 --tag nightly --latest 3
  seabed snapshots --group-by host,series --json";

/// List snapshots
///
/// Size is what the snapshot holds, Added what it brought into the repository, compressed.
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Host,
    Series,
    Paths,
    Tags,
}

fn keys(list: &str) -> Result<Vec<Key>, Fail> {
    let key = |word: &str| match word {
        "host" | "hosts" => Ok(Key::Host),
        "series" => Ok(Key::Series),
        "path" | "paths" => Ok(Key::Paths),
        "tag" | "tags" => Ok(Key::Tags),
        _ => Err(Fail::config(format!("--group-by knows no `{word}`")).hint("it knows host, series, paths, tags")),
    };
    list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(key).collect()
}

fn paths(snapshot: &Snapshot) -> Vec<String> {
    snapshot.names.paths.iter().map(|p| String::from_utf8_lossy(&p.0).into_owned()).collect()
}

/// What a snapshot has for each key; equal for snapshots of one group.
fn group_of(snapshot: &Snapshot, keys: &[Key]) -> Vec<Vec<String>> {
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    keys.iter()
        .map(|key| match key {
            Key::Host => vec![snapshot.names.host.clone()],
            Key::Series => vec![snapshot.names.series.clone()],
            Key::Paths => sorted(paths(snapshot)),
            Key::Tags => sorted(snapshot.names.tags.clone()),
        })
        .collect()
}

/// Lists them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let keys_given = args.group_by.as_deref().map(keys).transpose()?;
    let opened = open::open(global, out)?;
    let unreadable = refresh(&opened.repository, out)?;
    let filter = args.filter.filter();
    let all = opened.repository.catalog().snapshots()?;
    let mut groups: BTreeMap<Vec<Vec<String>>, Vec<Snapshot>> = BTreeMap::new();
    let of = keys_given.clone().unwrap_or_default();
    for snapshot in all.into_iter().filter(|s| filter.matches(s)) {
        groups.entry(group_of(&snapshot, &of)).or_default().push(snapshot);
    }
    if let Some(latest) = args.latest {
        let by = if of.is_empty() { vec![Key::Host, Key::Series] } else { of.clone() };
        for group in groups.values_mut() {
            newest(group, latest, &by);
        }
    }
    open::remark(&opened, out);
    if args.ids {
        for snapshot in groups.values().flatten() {
            out.result(snapshot.id.to_string().as_bytes())?;
        }
    } else if out.json {
        json(out, &groups, keys_given.as_deref())?;
    } else {
        text(out, &groups, &of)?;
    }
    Ok(if unreadable > 0 { Code::Damage } else { Code::Done })
}

/// Keeps the newest of each host and series, in their order.
fn newest(snapshots: &mut Vec<Snapshot>, n: usize, by: &[Key]) {
    let mut seen: BTreeMap<Vec<Vec<String>>, usize> = BTreeMap::new();
    let mut keep: Vec<bool> = snapshots
        .iter()
        .rev()
        .map(|s| {
            let count = seen.entry(group_of(s, by)).or_default();
            *count += 1;
            *count <= n
        })
        .collect();
    snapshots.retain(|_| keep.pop().unwrap_or(false));
}

/// What is said of a snapshot besides figures.
fn remark(s: &Snapshot) -> String {
    let mark = if s.index.incomplete { "(incomplete) " } else { "" };
    format!("{mark}{}", s.names.description).trim_end().to_owned()
}

fn table(snapshots: &[Snapshot], remarks: bool) -> Table {
    let mut table = Table::new(&[
        ("ID", false, false),
        ("Time", false, false),
        ("Host", false, true),
        ("Series", false, true),
        ("Tags", false, true),
        ("Size", true, false),
        ("Added", true, false),
        ("Description", false, false),
    ]);
    for s in snapshots {
        let names = &s.names;
        table.row(vec![
            s.id.short(),
            time::local(&s.index.time),
            names.host.clone(),
            names.series.clone(),
            names.tags.join(","),
            size::human(names.summary.bytes_total),
            size::human(names.summary.bytes_stored),
            if remarks { remark(s) } else { String::new() },
        ]);
    }
    table
}

fn text(out: &Output, groups: &BTreeMap<Vec<Vec<String>>, Vec<Snapshot>>, keys: &[Key]) -> Result<(), Fail> {
    let mut total = 0;
    for (group, snapshots) in groups.iter().filter(|(_, s)| !s.is_empty()) {
        if !keys.is_empty() {
            let words: Vec<String> =
                keys.iter().zip(group).map(|(key, values)| format!("{} {}", name_of(*key), values.join(", "))).collect();
            out.result(crate::output::clean(&format!("\n{}", words.join(", "))).as_bytes())?;
        }
        let width = terminal_width();
        let mut lines = table(snapshots, true).lines(None);
        // Where it does not fit, what a person wrote is not cut short: it gets lines of its own.
        if width.is_some_and(|max| lines.iter().any(|l| l.chars().count() > max)) {
            lines = table(snapshots, false).lines(width);
            for (at, s) in snapshots.iter().enumerate().rev().filter(|(_, s)| !remark(s).is_empty()) {
                lines.insert(at + 3, format!("          {}", crate::output::clean(&remark(s)).replace('\n', " ")));
            }
        }
        for line in lines {
            out.result(line.as_bytes())?;
        }
        total += snapshots.len();
    }
    out.say(&size::of(total as u64, "snapshot"));
    Ok(())
}

const fn name_of(key: Key) -> &'static str {
    match key {
        Key::Host => "host",
        Key::Series => "series",
        Key::Paths => "paths",
        Key::Tags => "tags",
    }
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

fn json(out: &Output, groups: &BTreeMap<Vec<Vec<String>>, Vec<Snapshot>>, keys: Option<&[Key]>) -> Result<(), Fail> {
    let list = |snapshots: &[Snapshot]| Value::Array(snapshots.iter().map(snapshot_json).collect());
    let value = match keys {
        Some(keys) if !keys.is_empty() => Value::Array(
            groups
                .iter()
                .map(|(group, snapshots)| {
                    let of = |key: Key| keys.iter().position(|k| *k == key).and_then(|at| group.get(at)).cloned();
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
