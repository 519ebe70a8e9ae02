//! `ls`: what a snapshot holds, in the order of the format or in another one. It must never read content.
//! It obeys restic's JSON shape: the snapshot first, then a node per line.

mod long;
mod ncdu;
mod sort;

use crate::args::{FilterArgs, Global};
use crate::commands::snapshots::snapshot_json;
use crate::commands::{below, cleaned, refresh};
use crate::exit::{Code, Fail, Run, Stopped, help};
use crate::open;
use crate::output::{Bulk, Output, path_bytes, path_hex};
use crate::time;
pub use long::permissions;
use long::{Cells, Widths};
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::Error;
use seabed_engine::format::entry::{Entry, EntryKind, join};
use seabed_engine::list::{list, list_in_order};
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use serde_json::{Map, Value, json};
use sort::{By, Sorter};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "  seabed ls latest
  seabed ls -l latest:/home/user
  seabed ls 40dc1520 /etc --no-recursive --human-readable -l
  seabed ls latest -l --sort size --reverse | head -20
  seabed ls latest --ncdu | ncdu -e -f -";

/// List what a snapshot holds
///
/// Everything at and below PATH, or all of the snapshot. On a terminal, control characters
/// of names are shown escaped; into a pipe every name goes as it is.
///
/// Without --sort the entries of a directory come one after the other, then those of its
/// subdirectories. Sorted, what is more than 48 MiB goes through a temporary file.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/sub/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: String,
    /// Only this path and what is below it; with SNAPSHOT:/sub/path it begins there
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Modes, owners, sizes and times too
    #[arg(short, long)]
    long: bool,
    /// Sizes with units
    #[arg(long)]
    human_readable: bool,
    /// Only the first level
    #[arg(long, overrides_with = "recursive")]
    no_recursive: bool,
    /// All levels, as without
    #[arg(long, overrides_with = "no_recursive")]
    recursive: bool,
    /// Sort by this, and by name what is equal in it
    #[arg(long, value_name = "BY", value_enum)]
    sort: Option<By>,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// As ncdu exports a directory: `ncdu -e -f FILE` shows what takes the space
    #[arg(long, conflicts_with_all = ["json", "long", "human_readable", "sort", "reverse", "no_recursive"])]
    ncdu: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Lines that are written together, so that their columns can stand below each other.
const BLOCK_LINES: usize = 512;

/// Lists it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    refresh(repository, out)?;
    let mut selected = repository.select(&args.selector, &args.filter.filter())?;
    if let Some(path) = &args.path {
        selected.path = below(&selected.path, &cleaned(path.as_bytes()));
    }
    open::remark(&opened, out);
    out.works();
    if args.ncdu {
        return export(repository, &selected, out);
    }
    let snapshot = &selected.snapshot;
    if out.json {
        let mut value = json!({"message_type": "snapshot", "struct_type": "snapshot"});
        if let (Some(map), Value::Object(fields)) = (value.as_object_mut(), snapshot_json(snapshot)) {
            map.extend(fields);
        }
        out.json_result(&value)?;
    }
    // Without --sort, what is asked for in reverse is sorted by name.
    let by = args.sort.or(args.reverse.then_some(By::Name));
    let places = opened.cache.iter().cloned().chain([std::env::temp_dir()]).collect();
    let sorter = by.map(|by| (by, Sorter::new(args.reverse, places)));
    let mut listing = Listing {
        form: match (out.json, args.long) {
            (true, _) => Form::Json,
            (false, true) => Form::Long(args.human_readable),
            (false, false) => Form::Short,
        },
        terminal: out.on_terminal(),
        sorter,
        widths: Widths::default(),
        block: Vec::new(),
        lines: out.bulk(),
    };
    each(repository, snapshot, |each| list(repository, snapshot, &selected.path, !args.no_recursive, each), &mut |dir, entry| {
        listing.entry(&[b"/", &join(dir, &entry.name.0)[..]].concat(), entry)
    })?;
    listing.finish().map(|()| Code::Done)
}

/// Lists with a receiver that may fail in ways of its own.
fn each(
    repository: &Repository,
    snapshot: &Snapshot,
    list: impl FnOnce(&mut dyn FnMut(&[u8], &Entry) -> Result<bool, Error>) -> Result<(), Error>,
    receive: &mut dyn FnMut(&[u8], &Entry) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let mut stopped = Stopped::default();
    let listed = list(&mut |dir, entry| Ok(stopped.goes_on(receive(dir, entry).map(|()| true))));
    stopped.check()?;
    listed.map_err(|error| repository.unless_forgotten(&snapshot.id, error).into())
}

fn export(repository: &Repository, selected: &Selected, out: &Output) -> Run {
    let snapshot = &selected.snapshot;
    let about = match snapshot_json(snapshot) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let mut lines = out.bulk();
    let top = format!("/{}", String::from_utf8_lossy(&selected.path));
    let mut export = ncdu::Export::begin(&mut lines, about, &top, &snapshot.index.time)?;
    let in_order = |each: &mut dyn FnMut(&[u8], &Entry) -> Result<bool, Error>| {
        list_in_order(repository, snapshot, &selected.path, |item| {
            // The directory itself is the top; a file itself is all that is in it.
            if item.own && item.entry.kind == EntryKind::Directory { Ok(true) } else { each(&item.dir, &item.entry) }
        })
    };
    each(repository, snapshot, in_order, &mut |dir, entry| export.entry(dir, entry))?;
    export.finish()?;
    lines.finish().map(|()| Code::Done)
}

/// What a line looks like.
enum Form {
    Json,
    /// With units, or without.
    Long(bool),
    Short,
}

/// Lines on their way.
struct Listing {
    form: Form,
    terminal: bool,
    sorter: Option<(By, Sorter)>,
    widths: Widths,
    block: Vec<Cells>,
    lines: Bulk,
}

impl Listing {
    fn entry(&mut self, path: &[u8], entry: &Entry) -> Result<(), Fail> {
        let line = match self.form {
            Form::Json => node_json(path, entry).to_string().into_bytes(),
            Form::Short => path_bytes(path, self.terminal),
            Form::Long(human) => {
                let cells = Cells::new(path, entry, human, self.terminal);
                self.widths.fit(&cells);
                if self.sorter.is_none() {
                    self.block.push(cells);
                    return if self.block.len() >= BLOCK_LINES { self.write_block() } else { Ok(()) };
                }
                cells.pack()
            }
        };
        match &mut self.sorter {
            Some((by, sorter)) => sorter.push(&by.key(path, entry), &line),
            None => self.lines.line(&line),
        }
    }

    fn write_block(&mut self) -> Result<(), Fail> {
        for cells in self.block.drain(..) {
            self.lines.line(&cells.line(&self.widths))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Fail> {
        self.write_block()?;
        let Listing { form, sorter, widths, mut lines, .. } = self;
        if let Some((_, sorter)) = sorter {
            sorter.finish(|line| match form {
                Form::Long(_) => lines.line(&Cells::unpack(line).line(&widths)),
                _ => lines.line(line),
            })?;
        }
        lines.finish()
    }
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
        path_hex(map, path);
    }
    value
}
