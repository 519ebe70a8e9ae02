//! `ls`: what a snapshot holds, in the order of the format. It must never read content.
//! It obeys restic's JSON shape: the snapshot first, then a node per line.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::commands::snapshots::snapshot_json;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, path_bytes};
use crate::{size, time};
use seabed_engine::error::Error;
use seabed_engine::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, join};
use seabed_engine::list::list;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "  seabed ls latest
  seabed ls -l latest:/home/user
  seabed ls 40dc1520 /etc --no-recursive --human-readable -l";

/// List what a snapshot holds
///
/// Everything at and below PATH, or all of the snapshot. On a terminal, control characters
/// of names are shown escaped; into a pipe every name goes as it is.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/sub/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: String,
    /// Only this path and what is below it
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Modes, owners, sizes and times too
    #[arg(short, long)]
    long: bool,
    /// Sizes with units
    #[arg(long)]
    human_readable: bool,
    /// Only the first level
    #[arg(long)]
    no_recursive: bool,
    /// As without: for scripts that were written for restic
    #[arg(long, hide = true)]
    recursive: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Lists it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    refresh(repository, out)?;
    let mut selected = repository.select(&args.selector, &args.filter.filter())?;
    if let Some(path) = &args.path {
        if !selected.path.is_empty() {
            return Err(Fail::config("a path is given twice").hint("write it behind the snapshot, or as SNAPSHOT:PATH, not both"));
        }
        let parts: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
        selected.path = parts.join(&b'/');
    }
    open::remark(&opened, out);
    let snapshot = &selected.snapshot;
    if out.json {
        let mut value = json!({"message_type": "snapshot", "struct_type": "snapshot"});
        if let (Some(map), Value::Object(fields)) = (value.as_object_mut(), snapshot_json(snapshot)) {
            map.extend(fields);
        }
        out.json_result(&value)?;
    }
    let terminal = out.on_terminal();
    let mut stopped: Option<Fail> = None;
    let mut lines = out.bulk();
    list(repository, snapshot, &selected.path, !args.no_recursive, |dir, entry| {
        let path = [b"/", &join(dir, &entry.name.0)[..]].concat();
        let line = match out.json {
            true => node_json(&path, entry).to_string().into_bytes(),
            false if args.long => long_line(&path, entry, args.human_readable, terminal),
            false => path_bytes(&path, terminal),
        };
        if let Err(fail) = lines.line(&line) {
            stopped = Some(fail);
            return Ok(false);
        }
        Ok::<bool, Error>(true)
    })?;
    match stopped {
        Some(fail) => Err(fail),
        None => lines.finish().map(|()| Code::Done),
    }
}

/// `drwxr-xr-x`, as `ls` writes it.
pub fn permissions(kind: EntryKind, mode: u32) -> String {
    let kind = match kind {
        EntryKind::Directory => 'd',
        EntryKind::File => '-',
        EntryKind::Symlink => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
    };
    let bit = |bit: u32, letter: char| if mode & bit != 0 { letter } else { '-' };
    let special = |set: u32, exec: u32, both: char, alone: char| match (mode & set != 0, mode & exec != 0) {
        (true, true) => both,
        (true, false) => alone,
        (false, true) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o4000, 0o100, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o2000, 0o010, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o1000, 0o001, 't', 'T'),
    ]
    .into_iter()
    .collect()
}

fn owner(name: &[u8], number: u32) -> String {
    if name.is_empty() { number.to_string() } else { String::from_utf8_lossy(name).into_owned() }
}

fn long_line(path: &[u8], entry: &Entry, human: bool, terminal: bool) -> Vec<u8> {
    let bytes = if human { size::human(entry.size) } else { entry.size.to_string() };
    let (user, group) = (owner(&entry.user.0, entry.uid), owner(&entry.group.0, entry.gid));
    let mut line = format!("{} {user:<8} {group:<8} {bytes:>10} {} ", permissions(entry.kind, entry.mode), time::local(&entry.mtime)).into_bytes();
    line.extend(path_bytes(path, terminal));
    if entry.kind == EntryKind::Symlink {
        line.extend_from_slice(b" -> ");
        line.extend(path_bytes(&entry.target.0, terminal));
    }
    if entry.status == STATUS_UNREADABLE {
        line.extend_from_slice(b" (could not be read)");
    }
    line
}

fn node_json(path: &[u8], entry: &Entry) -> Value {
    let mut value = json!({
        "message_type": "node",
        "struct_type": "node",
        "name": String::from_utf8_lossy(&entry.name.0),
        "type": entry.kind.word(),
        "path": String::from_utf8_lossy(path),
        "uid": entry.uid,
        "gid": entry.gid,
        "mode": entry.mode,
        "permissions": permissions(entry.kind, entry.mode),
        "mtime": time::rfc3339(&entry.mtime),
        "ctime": time::rfc3339(&entry.ctime),
        "inode": entry.inode,
    });
    if let Some(map) = value.as_object_mut() {
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if entry.kind == EntryKind::File {
            put("size", entry.size.into());
        }
        if let Some(atime) = &entry.atime {
            put("atime", time::rfc3339(atime).into());
        }
        if !entry.user.0.is_empty() {
            put("user", String::from_utf8_lossy(&entry.user.0).into());
        }
        if !entry.group.0.is_empty() {
            put("group", String::from_utf8_lossy(&entry.group.0).into());
        }
        if entry.links > 0 {
            put("links", entry.links.into());
        }
        if entry.kind == EntryKind::Symlink {
            put("linktarget", String::from_utf8_lossy(&entry.target.0).into());
        }
        if entry.status != 0 {
            put("incomplete", true.into());
        }
        // JSON is text: names that are none are given in full beside it.
        if std::str::from_utf8(path).is_err() {
            put("path_hex", seabed_engine::id::hex(path).into());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        let mode = |kind, mode| {
            let mut entry = Entry::new(b"x", kind);
            entry.mode = mode;
            permissions(entry.kind, entry.mode)
        };
        assert_eq!(mode(EntryKind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode(EntryKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode(EntryKind::Symlink, 0o777), "lrwxrwxrwx");
        assert_eq!(mode(EntryKind::File, 0o2644), "-rw-r-Sr--");
    }
}
