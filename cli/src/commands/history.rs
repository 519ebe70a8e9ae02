//! `history`: what became of one path, and the command that brings each version back. It must never read content.
//! It obeys the words of the format: what a path was lies in snapshots, and what was forgotten is not there.

use crate::args::{FilterArgs, Global};
use crate::exit::{Code, Fail, Run, help};
use crate::looking::{OfflineArgs, look, missing};
use crate::output::{Output, clean, path_hex, terminal_width};
use crate::{size, time};
use seabed_engine::catalog::Snapshot;
use seabed_engine::find::{Chosen, Event, What, history};
use seabed_engine::format::entry::EntryKind;
use seabed_engine::paths::Version;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "  seabed history /etc/nginx/nginx.conf
  seabed history ~/budget.ods --host laptop
  seabed history shop.sql --offline --json";

/// Tell what became of a path: when it appeared, changed and vanished
///
/// For each series and host in which it ever was: every version, when it came and went, what changed, and the
/// command that brings it back. A relative path is one below the current directory, or the name of a stream.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// The path, as it was backed up
    #[arg(value_name = "PATH")]
    path: OsString,
    #[command(flatten)]
    offline: OfflineArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

fn parts(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        match part {
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The paths that may be meant: below the current directory first.
fn candidates(path: &OsString) -> Vec<Vec<u8>> {
    let typed = parts(path.as_bytes());
    let mut all = Vec::new();
    if path.as_bytes().first() != Some(&b'/')
        && let Ok(here) = std::env::current_dir()
    {
        all.push(parts(here.join(path).as_os_str().as_bytes()));
    }
    all.push(typed);
    all
}

/// Tells it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let looked = look(global, &args.offline, out)?;
    out.works();
    let filter = args.filter.filter();
    let snapshots: Vec<Snapshot> = looked.snapshots.into_iter().filter(|snapshot| filter.matches(snapshot)).collect();
    let chosen = Chosen::new(&looked.paths, &snapshots)?;
    missing(chosen.missing.len(), out);
    for path in candidates(&args.path) {
        let lines = history(&looked.paths, &chosen, &path)?;
        if lines.is_empty() {
            continue;
        }
        let full = [b"/", &path[..]].concat();
        let text = String::from_utf8_lossy(&full).into_owned();
        if out.json {
            let lines: Vec<Value> = lines.iter().map(|line| line_json(&line.events, &snapshots, &text)).collect();
            let mut value = json!({"message_type": "history", "path": text, "series": lines});
            if let Some(map) = value.as_object_mut() {
                path_hex(map, &full);
            }
            out.json_result(&value)?;
            return Ok(Code::Done);
        }
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                out.result(b"")?;
            }
            tell(&line.events, &snapshots, &text, out)?;
        }
        return Ok(Code::Done);
    }
    let fail = Fail::new(Code::Failed, format!("none of the snapshots has `{}`", args.path.to_string_lossy()));
    Err(fail.hint("`seabed find PATTERN` looks for it anywhere; what was forgotten is not known any more"))
}

fn of(snapshots: &[Snapshot], number: usize) -> Option<&Snapshot> {
    snapshots.get(number)
}

/// What is different.
fn differences(from: &Version, to: &Version) -> Vec<&'static str> {
    let mut words = Vec::new();
    let mut note = |differs: bool, word| {
        if differs {
            words.push(word);
        }
    };
    note(from.kind != to.kind, "type");
    note(from.content != to.content, if to.kind == EntryKind::Symlink { "target" } else { "content" });
    note(from.mode != to.mode, "mode");
    note((from.uid, from.gid) != (to.uid, to.gid), "owner");
    note(from.content == to.content && from.mtime != to.mtime, "time");
    note(from.rest != to.rest, "attributes");
    words
}

fn word(event: &Event) -> String {
    match &event.what {
        What::First => "first".to_owned(),
        What::Appeared => "appeared".to_owned(),
        What::Vanished => "vanished".to_owned(),
        What::Changed { .. } => "changed".to_owned(),
    }
}

/// A path as a shell takes it.
fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), |quoted| quoted.into_owned())
}

/// The command that brings a version back.
fn command(snapshot: &Snapshot, path: &str, version: &Version) -> String {
    let selector = quoted(&format!("{}:{path}", snapshot.id.short()));
    let name = path.rsplit('/').next().unwrap_or_default();
    match version.kind {
        EntryKind::File => format!("seabed dump {selector} > {}", quoted(name)),
        _ => format!("seabed restore {} --include {} --target DIR", snapshot.id.short(), quoted(path)),
    }
}

/// What happened, and what was there then.
fn words(event: &Event, version: &Version) -> (String, String) {
    let bytes = if version.kind == EntryKind::File { size::human(version.size) } else { version.kind.word().to_owned() };
    let what = match &event.what {
        What::Changed { from } => format!("changed ({})", differences(from, version).join(", ")),
        _ => word(event),
    };
    let times = if event.count > 1 { format!(", in {}", size::of(event.count as u64, "snapshot")) } else { String::new() };
    (what, format!("{bytes}, of {}{times}", time::minute(&version.mtime())))
}

fn tell(events: &[Event], snapshots: &[Snapshot], path: &str, out: &Output) -> Result<(), Fail> {
    let Some(newest) = events.last().and_then(|event| of(snapshots, event.last)) else { return Ok(()) };
    out.result(clean(&format!("{path}  (host {}, series {})", newest.names.host, newest.names.series)).as_bytes())?;
    // Line by line: when, what happened, what was there, how it comes back.
    let mut told: Vec<(String, Option<(String, String)>)> = Vec::new();
    for event in events {
        let (Some(first), Some(last)) = (of(snapshots, event.first), of(snapshots, event.last)) else { continue };
        let when = format!("  {}  {}  ", time::local(&first.index.time), first.id.short());
        let Some(version) = &event.version else {
            told.push((when + "vanished", None));
            continue;
        };
        let (what, then) = words(event, version);
        told.push((when + &what, Some((then, clean(&command(last, path, version))))));
    }
    // Where one is too long for the terminal, all are broken at the same place.
    let longest = told.iter().filter_map(|(what, rest)| Some(what.chars().count() + ": ".len() + rest.as_ref()?.0.chars().count())).max();
    let breaks = terminal_width().zip(longest).is_some_and(|(width, longest)| longest > width);
    for (what, rest) in told {
        let Some((then, command)) = rest else {
            out.result(what.as_bytes())?;
            continue;
        };
        out.result(format!("{what}:{}{then}", if breaks { "\n      " } else { " " }).as_bytes())?;
        out.result(format!("      {command}").as_bytes())?;
    }
    Ok(())
}

fn line_json(events: &[Event], snapshots: &[Snapshot], path: &str) -> Value {
    let newest = events.last().and_then(|event| of(snapshots, event.last));
    let events: Vec<Value> = events
        .iter()
        .map(|event| {
            let (first, last) = (of(snapshots, event.first), of(snapshots, event.last));
            let mut value = json!({
                "event": word(event),
                "first_snapshot": first.map(|s| s.id.to_string()),
                "first_time": first.map(|s| time::rfc3339(&s.index.time)),
                "last_snapshot": last.map(|s| s.id.to_string()),
                "last_time": last.map(|s| time::rfc3339(&s.index.time)),
                "snapshots": event.count,
            });
            if let (Some(map), Some(version), Some(last)) = (value.as_object_mut(), &event.version, last) {
                if let What::Changed { from } = &event.what {
                    map.insert("changed".to_owned(), differences(from, version).into());
                }
                map.insert("type".to_owned(), version.kind.word().into());
                if version.kind == EntryKind::File {
                    map.insert("size".to_owned(), version.size.into());
                }
                map.insert("mode".to_owned(), version.mode.into());
                map.insert("mtime".to_owned(), time::rfc3339(&version.mtime()).into());
                map.insert("restore".to_owned(), command(last, path, version).into());
            }
            value
        })
        .collect();
    json!({"hostname": newest.map(|s| s.names.host.clone()), "series": newest.map(|s| s.names.series.clone()), "events": events})
}
