//! `diff`: what differs between two snapshots, or between a snapshot and this machine.
//! It must never call equal what nobody compared. It obeys restic's letters and JSON shapes.

mod patch;
mod show;
mod stat;

use crate::args::{FilterArgs, Global};
use crate::commands::excludes::ExcludeArgs;
use crate::commands::{refresh, sources};
use crate::exit::{Code, Fail, Run, Stopped, help};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size};
use clap::ValueEnum;
use seabed_engine::diff::{Against, DiffOptions, DiffReport, Live, Reading, diff};
use seabed_engine::format::manifest::ROOT_PATHS;
use seabed_engine::repository::selector::{Selected, split_path};
use seabed_engine::source::roots::display;
use seabed_engine::source::{Attributes, WalkOptions};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "  seabed diff latest~1 latest
  seabed diff 40dc1520:/etc latest:/etc --metadata
  seabed diff latest ~/documents                 # what was changed there since
  seabed diff latest --live --content            # reads every file and compares it
  seabed diff latest~1:/etc latest:/etc --patch | less
  seabed diff latest~7 latest --stat=dir";

/// Show what differs between two snapshots, or between a snapshot and this machine
///
///   M  content changed (or where a link leads, or which device it is)  +  added
///   T  became something else: a file a link, a directory a file        -  removed
///   U  only attributes  ?  content changed, though nobody has written to the file: bit rot
///
/// U only with --metadata. A part of a snapshot is named as SNAPSHOT:/sub/path; where two different
/// paths are compared, what differs is named from there on. Renamed is removed and added.
///
/// A file or directory of this machine is compared with what the snapshot has under the same path,
/// or under the one that is named behind the snapshot. What looks as it was by size and time is not
/// read; --content reads and cuts it all, and compares it by the ids of its chunks: of what is stored
/// nothing is fetched. Excludes apply as in a backup, and those that the snapshot was made with.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/sub/path`
    #[arg(value_name = "SNAPSHOT")]
    before: String,
    /// Another one; or a file or directory of this machine: `.`, `/srv`, `./name`
    #[arg(value_name = "SNAPSHOT|PATH", required_unless_present = "live")]
    after: Option<OsString>,
    /// Compare with the paths that the snapshot was made of, as they are now
    #[arg(long, conflicts_with = "after")]
    live: bool,
    /// Attributes too, and which: size, mode, owner, group, mtime, target, rdev, links, xattrs, flags, status
    #[arg(long)]
    metadata: bool,
    /// Read every file of this machine and compare its content
    #[arg(long)]
    content: bool,
    /// For each file, or each directory, how many bytes came and went
    #[arg(long, value_name = "BY", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "file", help_heading = "What is shown")]
    stat: Option<By>,
    /// Only paths
    #[arg(long, conflicts_with = "stat", help_heading = "What is shown")]
    name_only: bool,
    /// The lines that changed, of texts up to 1 MiB, as `patch -p1` takes them
    #[arg(long, visible_alias = "text", conflicts_with_all = ["stat", "name_only"], help_heading = "What is shown")]
    patch: bool,
    /// Do not leave out what the snapshot's own excludes name: see what it does not have
    #[arg(long, help_heading = "What is left out")]
    no_excludes: bool,
    #[command(flatten)]
    excludes: ExcludeArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What a line of `--stat` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Files and everything else
    File,
    /// Directories
    Dir,
}

/// Texts above this are not compared line by line.
const PATCH_BYTES_MAX: u64 = 1 << 20;

/// Shows it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if is_path(OsStr::new(&args.before)) {
        return Err(Fail::config(format!("`{}` names no snapshot", args.before)).hint("write the snapshot first: seabed diff latest PATH"));
    }
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    refresh(repository, out)?;
    let filter = args.filter.filter();
    let mut before = repository.select(&args.before, &filter)?;
    let other = args.after.as_deref();
    let (after, target) = match other.filter(|after| !is_path(after)).and_then(OsStr::to_str) {
        Some(text) => {
            let selected = repository.select(text, &filter)?;
            let target = show::End::stored(&selected);
            (Against::Snapshot(Box::new(selected)), target)
        }
        None => {
            let live = live(args, other, &mut before, &opened, out)?;
            let target = show::End::live(&live);
            (Against::Live(live), target)
        }
    };
    open::remark(&opened, out);
    let live = matches!(after, Against::Live(_));
    let looks_at_files = args.stat.is_some() || args.patch;
    let options = DiffOptions {
        metadata: args.metadata,
        reading: match (live, args.content, looks_at_files) {
            (true, true, _) => Reading::All,
            (true, false, true) => Reading::Suspects,
            _ => Reading::None,
        },
        statistics: !(args.name_only || args.stat.is_some() || args.patch) || out.json,
        deltas: args.stat.is_some(),
        bodies: args.patch.then_some(PATCH_BYTES_MAX),
    };
    let ends = (show::End::stored(&before), target);
    let mut shown = show::Shown::new(out, args, &ends);
    shown.begin()?;
    let listener = Listener::beside_lines(out, "comparing");
    let mut stopped = Stopped::default();
    let result =
        diff(repository, &before, &after, &options, &listener, &mut |change| Ok(stopped.goes_on(shown.change(change).map(|()| true))));
    listener.finish();
    stopped.check()?;
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => return Err(Fail::new(Code::Interrupted, "interrupted")),
        Err(error) => {
            // What was found until then is no secret.
            shown.flush()?;
            return Err(error.into());
        }
    };
    shown.end(&report, live)?;
    remarks(&report, out);
    Ok(if report.error_count > 0 { Code::Incomplete } else { Code::Done })
}

/// What is not in the result and should be known.
fn remarks(report: &DiffReport, out: &Output) {
    if report.unmeasured > 0 {
        let chunks = size::of(report.unmeasured, "chunk");
        out.warn(&format!("the length of {chunks} is not known: their packs cannot be read now; they are not in the bytes"));
    }
    if report.streams_left_out > 0 {
        out.remark(&format!("{} of the snapshot left out: there is nothing to compare with", size::of(report.streams_left_out, "stream")));
    }
    if report.error_count > 0 {
        let what = size::of(report.error_count, "source");
        out.warn(&format!("{what} could not be read: what became of it is not known"));
    }
}

/// Whether an argument names something of this machine: snapshots are named by hexadecimal digits or `latest`. Whatever could be either is
/// a snapshot.
fn is_path(argument: &OsStr) -> bool {
    let Some(text) = argument.to_str() else { return true };
    let (id, _) = split_path(text);
    let named = id.strip_prefix("latest").is_some_and(|rest| rest.is_empty() || rest.starts_with('~'));
    let numbered = !id.is_empty() && id.bytes().all(|c| c.is_ascii_hexdigit());
    !(named || numbered)
}

/// What of this machine is compared.
fn live(args: &Args, path: Option<&OsStr>, before: &mut Selected, opened: &Opened, out: &Output) -> Result<Live, Fail> {
    let names = &before.snapshot.names;
    let recorded: Vec<String> = if args.no_excludes { Vec::new() } else { names.excludes.clone() };
    let (files, patterns): (Vec<String>, Vec<String>) = recorded.into_iter().partition(|text| text.starts_with("(file "));
    if !files.is_empty() {
        out.warn("the snapshot was made with --exclude-file; what its patterns left out counts as added unless it is given here too");
    }
    let (excludes, _) = args.excludes.rules_after(&patterns, opened)?;
    let walk = WalkOptions {
        one_file_system: args.excludes.one_file_system,
        with_atime: false,
        attributes: Attributes::but(names.without),
        excludes,
    };
    let root = match path {
        Some(path) => Some(sources::root(Path::new(path), &sources::current_directory()?)?),
        None if !before.path.is_empty() => Some((display(&before.path), before.path.clone())),
        None => None,
    };
    if let Some((root, stored)) = root {
        if std::fs::symlink_metadata(&root).is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory)) {
            return Err(Fail::new(Code::Failed, format!("there is no {}, and no snapshot of that name", root.display()))
                .hint("`seabed snapshots` lists snapshots; write ./NAME for a directory that is called like one"));
        }
        // Without a path of its own, the snapshot is asked for the same one.
        if before.path.is_empty() {
            before.path.clone_from(&stored);
        }
        return Ok(Live { roots: vec![root], path: stored, walk });
    }
    let stream = |path: &[u8]| {
        let roots = before.snapshot.names.roots.iter();
        roots.filter(|root| root.kind != ROOT_PATHS).any(|root| path.strip_prefix(b"/") == Some(&root.name.0[..]))
    };
    let roots: Vec<PathBuf> =
        names.paths.iter().filter(|path| !stream(&path.0)).map(|path| PathBuf::from(OsStr::from_bytes(&path.0))).collect();
    if roots.is_empty() || !before.snapshot.index.roots.iter().any(|root| root.kind == ROOT_PATHS) {
        let fail = Fail::config(format!("snapshot {} was made of no files of a machine", before.snapshot.id.short()));
        return Err(fail.hint("name what to compare it with: seabed diff SNAPSHOT PATH"));
    }
    Ok(Live { roots, path: Vec::new(), walk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_and_paths_are_told_apart() {
        for snapshot in ["latest", "latest~2", "latest:/etc", "40dc1520", "40DC", "ab:/x", "latest~x"] {
            assert!(!is_path(OsStr::new(snapshot)), "{snapshot}");
        }
        for path in [".", "..", "/", "/srv", "./ab", "ab/", "src", "~", "latest.txt", "40dc1520.bak", ":/etc", ""] {
            assert!(is_path(OsStr::new(path)), "{path}");
        }
        assert!(is_path(OsStr::from_bytes(b"\xff")));
    }
}
