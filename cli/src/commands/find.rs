//! `find`: paths in all snapshots, from the path index. It must never read content, nor show what was forgotten.
//! It obeys restic's JSON shape; patterns are those of `engine/src/find/pattern.rs`.

use crate::args::{FilterArgs, Global};
use crate::commands::ls::permissions;
use crate::exit::{Code, Fail, Run, Stopped, help};
use crate::looking::{OfflineArgs, look, missing};
use crate::output::{Bulk, Output, path_bytes, path_hex, terminal_width};
use crate::{signals, size, time};
use clap::ValueEnum;
use seabed_engine::catalog::Snapshot;
use seabed_engine::error::Error;
use seabed_engine::find::{Chosen, Hit, Match, Pattern, Syntax, Wanted, find};
use seabed_engine::format::entry::EntryKind;
use seabed_engine::format::wire::Time;
use seabed_engine::repository::selector::pick;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const EXAMPLES: &str = "  seabed find '*.kdbx'
  seabed find -i 'invoice*' '/srv/**/*.pdf' --newer 2026-01-01
  seabed find --larger 1G --type f -l
  seabed find --regex '/cache/.*\\.tmp$' --snapshot latest --json
  seabed find passwords.txt --offline        # the repository is away: ask the catalog here";

/// Find paths in all snapshots
///
/// Patterns are globs: `*.txt` is for the last part of a path, `/etc/**` for the whole of it, `nginx/*.conf`
/// for its end; `*` never means a slash, `**` any number of directories, a `/` at the end only directories.
/// Each path is listed once, with the newest snapshot that has it; with --long each of its versions.
/// The answer comes from the catalog; `seabed history PATH` tells what became of one path.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// What to find (any of them); all paths without
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Patterns are regular expressions, found anywhere in the path
    #[arg(short = 'E', long)]
    regex: bool,
    /// Letters of either case
    #[arg(short, long)]
    ignore_case: bool,
    /// Each version of each path: mode, owner, size, time, snapshots
    #[arg(short, long)]
    long: bool,
    /// Only in this snapshot (repeatable): an id, `latest`, `latest~N`
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT", help_heading = "Which snapshots")]
    snapshots: Vec<String>,
    /// Only these kinds
    #[arg(short = 't', long = "type", value_name = "KIND", value_enum, value_delimiter = ',', help_heading = "Which paths")]
    kinds: Vec<Kind>,
    /// Only files of SIZE or more, such as 10M
    #[arg(long, value_name = "SIZE", help_heading = "Which paths")]
    larger: Option<String>,
    /// Only files of SIZE or less
    #[arg(long, value_name = "SIZE", help_heading = "Which paths")]
    smaller: Option<String>,
    /// Only what was last changed at TIME or later: a date, a time, RFC 3339, or an age such as 7d
    #[arg(short = 'O', long, alias = "oldest", value_name = "TIME", help_heading = "Which paths")]
    newer: Option<String>,
    /// Only what was last changed at TIME or before
    #[arg(short = 'N', long, alias = "newest", value_name = "TIME", help_heading = "Which paths")]
    older: Option<String>,
    /// At most N paths
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// As without: for scripts that were written for restic
    #[arg(long, hide = true)]
    human_readable: bool,
    #[command(flatten)]
    offline: OfflineArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Files
    #[value(alias = "f")]
    File,
    /// Directories
    #[value(alias = "d")]
    Dir,
    /// Symbolic links
    #[value(alias = "l")]
    Symlink,
    /// Named pipes
    #[value(alias = "p")]
    Fifo,
    /// Sockets
    #[value(alias = "s")]
    Socket,
    /// Character devices
    #[value(alias = "c")]
    Chardev,
    /// Block devices
    #[value(alias = "b")]
    Dev,
}

impl Kind {
    fn entry(self) -> EntryKind {
        match self {
            Kind::File => EntryKind::File,
            Kind::Dir => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink,
            Kind::Fifo => EntryKind::Fifo,
            Kind::Socket => EntryKind::Socket,
            Kind::Chardev => EntryKind::CharDevice,
            Kind::Dev => EntryKind::BlockDevice,
        }
    }
}

/// Hits up to this many are sorted by path before they are shown; more come as they are found.
const SORTED_MAX: usize = 10_000;

fn wanted(args: &Args) -> Result<Wanted, Fail> {
    let bytes = |text: &Option<String>| text.as_ref().map(|text| size::parse(text).map_err(Fail::config)).transpose();
    let (larger, smaller) = (bytes(&args.larger)?, bytes(&args.smaller)?);
    let moment = |text: &Option<String>| text.as_ref().map(|text| time::moment(text).map_err(Fail::config)).transpose();
    let nanos = |time: Time, bound: i64| time.as_nanos().unwrap_or(bound);
    let (newer, older) = (moment(&args.newer)?, moment(&args.older)?);
    let syntax = if args.regex { Syntax::Regex } else { Syntax::Glob };
    Ok(Wanted {
        pattern: Pattern::new(&args.patterns, syntax, args.ignore_case).map_err(|error| {
            let hint = if args.regex {
                "a backslash takes the meaning of a letter: `\\(`; without --regex patterns are globs"
            } else {
                "a backslash takes the meaning of a letter: `\\[`; quote it for the shell"
            };
            Fail::from(error).hint(hint)
        })?,
        kinds: args.kinds.iter().map(|kind| kind.entry()).collect(),
        size: (larger.is_some() || smaller.is_some()).then(|| larger.unwrap_or(0)..=smaller.unwrap_or(u64::MAX)),
        mtime: (newer.is_some() || older.is_some())
            .then(|| newer.map_or(i64::MIN, |time| nanos(time, i64::MIN))..=older.map_or(i64::MAX, |time| nanos(time, i64::MAX))),
    })
}

/// Finds them.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let wanted = wanted(args)?;
    let looked = look(global, &args.offline, out)?;
    out.works();
    let filter = args.filter.filter();
    let mut snapshots: Vec<Snapshot> = looked.snapshots.iter().filter(|snapshot| filter.matches(snapshot)).cloned().collect();
    if !args.snapshots.is_empty() {
        let named = args.snapshots.iter().map(|selector| pick(&looked.snapshots, selector, &filter).map(|selected| selected.snapshot.id));
        let named: Vec<_> = named.collect::<Result<_, _>>()?;
        snapshots.retain(|snapshot| named.contains(&snapshot.id));
    }
    let chosen = Chosen::new(&looked.paths, &snapshots)?;
    missing(chosen.missing.len(), out);
    let mut shown = Shown { args, out, snapshots: &snapshots, lines: out.bulk(), held: Some(Vec::new()), all: Vec::new(), paths: 0 };
    let mut stopped = Stopped::default();
    find(&looked.paths, &chosen, &wanted, &mut |hits| {
        if signals::interrupted() {
            return Err(Error::Interrupted);
        }
        Ok(stopped.goes_on(shown.take(hits)))
    })?;
    stopped.check()?;
    shown.finish()?;
    Ok(Code::Done)
}

/// What was found, on its way to the output.
struct Shown<'s> {
    args: &'s Args,
    out: &'s Output,
    snapshots: &'s [Snapshot],
    lines: Bulk,
    /// While there are few.
    held: Option<Vec<Hit>>,
    /// For restic's shape, which is by snapshot.
    all: Vec<Hit>,
    paths: u64,
}

impl Shown<'_> {
    fn take(&mut self, mut hits: Vec<Hit>) -> Result<bool, Fail> {
        if let Some(limit) = self.args.limit {
            hits.truncate((limit - self.paths).try_into().unwrap_or(usize::MAX));
        }
        self.paths += hits.len() as u64;
        if self.out.json && !self.args.long {
            self.all.extend(hits);
        } else if let Some(held) = &mut self.held {
            held.extend(hits);
            if held.len() > SORTED_MAX {
                self.let_go()?;
            }
        } else {
            self.show(&hits)?;
        }
        Ok(self.args.limit.is_none_or(|limit| self.paths < limit))
    }

    fn let_go(&mut self) -> Result<(), Fail> {
        let mut held = self.held.take().unwrap_or_default();
        held.sort_by(|a, b| a.path.cmp(&b.path));
        self.show(&held)
    }

    fn show(&mut self, hits: &[Hit]) -> Result<(), Fail> {
        let terminal = self.out.on_terminal();
        if self.out.json {
            for (hit, found) in hits.iter().flat_map(|hit| hit.matches.iter().map(move |found| (hit, found))) {
                self.lines.line(self.version_json(&hit.path, found).to_string().as_bytes())?;
            }
            return Ok(());
        }
        if self.args.long {
            return self.show_long(hits, terminal);
        }
        for hit in hits {
            // The newest of all.
            if let Some(found) = hit.matches.iter().max_by_key(|found| found.snapshots.last()) {
                self.lines.line(&[self.words(found).as_bytes(), &path_bytes(&hit.path, terminal)].concat())?;
            }
        }
        Ok(())
    }

    fn id(&self, number: Option<&usize>) -> String {
        number.and_then(|number| self.snapshots.get(*number)).map(|snapshot| snapshot.id.short()).unwrap_or_default()
    }

    /// All of a line but the path.
    fn words(&self, found: &Match) -> String {
        let last = self.id(found.snapshots.last());
        format!("{last}  {}  {:>10}  ", when(found), bytes(found))
    }

    /// What is said of a version with --long.
    fn cells(&self, found: &Match) -> [String; CELLS] {
        let version = &found.version;
        let (first, last) = (self.id(found.snapshots.first()), self.id(found.snapshots.last()));
        let range = if first == last { first } else { format!("{first}..{last}") };
        let (mode, owner) = (permissions(version.kind, version.mode), format!("{}:{}", version.uid, version.gid));
        [mode, owner, bytes(found), when(found), range, format!("({})", found.snapshots.len())]
    }

    /// Versions with --long. In a pipe a line has its path at the end; on a terminal, where both would rarely have room, paths stand above
    /// their versions.
    fn show_long(&mut self, hits: &[Hit], terminal: bool) -> Result<(), Fail> {
        let cells: Vec<Vec<[String; CELLS]>> = hits.iter().map(|hit| hit.matches.iter().map(|found| self.cells(found)).collect()).collect();
        let widest = |n: usize| cells.iter().flatten().map(|cells| cells[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; CELLS] = std::array::from_fn(widest);
        // Where there is no room, modes and owners give way first.
        let indent = if terminal { 2 } else { 0 };
        let wide = |from: usize| indent + widths[from..].iter().map(|width| width + 2).sum::<usize>() - 2;
        let room = terminal_width().filter(|_| terminal).unwrap_or(usize::MAX);
        let from = [0, 2].into_iter().find(|from| wide(*from) <= room).unwrap_or(2);
        for (hit, versions) in hits.iter().zip(&cells) {
            let path = path_bytes(&hit.path, terminal);
            if terminal {
                self.lines.line(&path)?;
            }
            for cells in versions {
                let mut line = " ".repeat(indent);
                for (n, (cell, width)) in cells.iter().zip(widths).enumerate().skip(from) {
                    let cell = if [MODE, TIME, RANGE].contains(&n) { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
                    line.push_str(&cell);
                }
                let line = if terminal { line.trim_end().as_bytes().to_vec() } else { [line.as_bytes(), &path].concat() };
                self.lines.line(&line)?;
            }
        }
        Ok(())
    }

    fn version_json(&self, path: &[u8], found: &Match) -> Value {
        let of = |number: Option<&usize>| number.and_then(|number| self.snapshots.get(*number));
        let (first, last) = (of(found.snapshots.first()), of(found.snapshots.last()));
        let mut value = json!({"message_type": "match"});
        if let (Some(map), Value::Object(node)) = (value.as_object_mut(), node_json(path, found)) {
            map.extend(node);
            for (key, snapshot) in [("first", first), ("last", last)] {
                map.insert(format!("{key}_snapshot"), snapshot.map(|s| s.id.to_string()).into());
                map.insert(format!("{key}_time"), snapshot.map(|s| time::rfc3339(&s.index.time)).into());
            }
            map.insert("snapshots".to_owned(), found.snapshots.len().into());
            map.insert("hostname".to_owned(), last.map(|s| s.names.host.clone()).into());
            map.insert("series".to_owned(), last.map(|s| s.names.series.clone()).into());
        }
        value
    }

    fn finish(mut self) -> Result<(), Fail> {
        if self.out.json && !self.args.long {
            self.all.sort_by(|a, b| a.path.cmp(&b.path));
            let mut by_snapshot: BTreeMap<usize, Vec<(&Hit, &Match)>> = BTreeMap::new();
            for hit in &self.all {
                for found in &hit.matches {
                    found.snapshots.iter().for_each(|number| by_snapshot.entry(*number).or_default().push((hit, found)));
                }
            }
            // Snapshot by snapshot: a document of all of them at once could be larger than memory.
            self.lines.part(b"[")?;
            for (at, (number, hits)) in by_snapshot.into_iter().enumerate() {
                let matches: Vec<Value> = hits.iter().map(|(hit, found)| node_json(&hit.path, found)).collect();
                let id = self.snapshots.get(number).map(|snapshot| snapshot.id.to_string());
                let one = json!({"matches": matches, "hits": hits.len(), "snapshot": id});
                self.lines.part(format!("{}{one}", if at > 0 { "," } else { "" }).as_bytes())?;
            }
            self.lines.line(b"]")?;
            return self.lines.finish();
        }
        if self.held.is_some() {
            self.let_go()?;
        }
        self.lines.finish()?;
        match self.paths {
            0 => self.out.remark("nothing found"),
            1 => {}
            paths => self.out.remark(&size::of(paths, "path")),
        }
        Ok(())
    }
}

/// Cells of a line of --long: mode, owner, size, time, snapshots, how many of them.
const CELLS: usize = 6;
const MODE: usize = 0;
const TIME: usize = 3;
const RANGE: usize = 4;

/// When it was last changed.
fn when(found: &Match) -> String {
    if found.only_leads() { time::unknown() } else { time::local(&found.version.mtime()) }
}

/// The size, or what it is that has none.
fn bytes(found: &Match) -> String {
    let version = &found.version;
    if version.kind == EntryKind::File { size::human(version.size) } else { version.kind.word().to_owned() }
}

/// A path in restic's shape.
fn node_json(path: &[u8], found: &Match) -> Value {
    let version = &found.version;
    let mut value = json!({
        "path": String::from_utf8_lossy(path),
        "permissions": permissions(version.kind, version.mode),
        "type": version.kind.word(),
        "mode": version.mode,
        "mtime": time::rfc3339(&version.mtime()),
        "uid": version.uid,
        "gid": version.gid,
    });
    if let Some(map) = value.as_object_mut() {
        if version.kind == EntryKind::File {
            map.insert("size".to_owned(), version.size.into());
        }
        path_hex(map, path);
    }
    value
}
