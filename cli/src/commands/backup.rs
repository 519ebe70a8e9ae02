//! `backup`: trees and streams into one snapshot.
//! It must never report success without a snapshot, nor call a partial one whole. It obeys what README.md says of it.

use crate::args::{Global, tags};
use crate::commands::excludes::ExcludeArgs;
use crate::commands::{several, sources};
use crate::exit::{Code, Fail, Run, help};
use crate::looking::after_backup;
use crate::open::{self, Opened};
use crate::other::ToArgs;
use crate::output::Output;
use crate::progress::estimate::History;
use crate::progress::{Listener, Ways};
use crate::{signals, size, time};
use seabed_engine::backup::{BackupOptions, BackupReport, Failure, ParentChoice, backup_also};
use seabed_engine::catalog::Snapshot;
use seabed_engine::format::manifest::{ROOT_STREAM, Summary};
use seabed_engine::format::wire::Time;
use seabed_engine::pack::Compression;
use seabed_engine::repository::Repository;
use seabed_engine::source::{Attributes, WalkOptions};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed backup --init ~/documents
  seabed backup /etc /home --exclude-caches --tag nightly
  seabed backup --series shop --exec dump.sql='pg_dump shop' --exec globals.sql='pg_dumpall -g'
  pg_dump shop | seabed backup --stdin --stdin-filename shop.sql
  seabed backup /home --to /mnt/usb/repo --to s3://second/repo
  seabed backup --series web --exec-tar image='docker save web:latest'
  seabed backup --tar site-2026-01.tar.gz --series site
  seabed backup /srv --exclude '*.tmp' --skip-if-unchanged --json";

/// Make a snapshot of files, directories, standard input, tar archives and the output of commands
///
/// All sources of one run go into one snapshot. The newest snapshot of the same series and host
/// is its parent: files that did not change since are not read again. `.seabedignore` files (git's
/// rules) are obeyed. A file that cannot be read costs that file and exit status 3; a command that
/// fails costs the snapshot. The repository itself and its cache are left out.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Files and directories
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Make the repository where there is none yet
    #[arg(long)]
    pub init: bool,
    /// Only read and count
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, whatever the parent says
    #[arg(short, long, conflicts_with = "parent")]
    pub force: bool,
    /// Make no snapshot where it would equal its parent
    #[arg(long)]
    pub skip_if_unchanged: bool,

    /// Store standard input
    #[arg(long, help_heading = "Streams")]
    pub stdin: bool,
    /// Its name in the snapshot [default: stdin]
    #[arg(long, value_name = "NAME", help_heading = "Streams", requires = "stdin")]
    pub stdin_filename: Option<OsString>,
    /// Store what a shell command prints, as NAME (repeatable)
    ///
    /// The command runs under `sh -c`. Of a pipeline the shell only tells the exit status of its
    /// last part: say NAME='bash -o pipefail -c "first | last"', or leave compression to seabed.
    #[arg(long, value_name = "NAME=COMMAND", help_heading = "Streams")]
    pub exec: Vec<OsString>,
    /// Store the entries of a tar archive as files; `-` reads standard input
    ///
    /// They lie below --tar-name, or at the top of the snapshot where that is not given. Archives that
    /// come compressed by gzip or zstd are unpacked. Each file is cut as one on a disk would be, so that
    /// what two archives have in common is stored once, in whichever order they have it. Patterns and
    /// --exclude-larger-than leave out entries too.
    #[arg(long, value_name = "FILE", help_heading = "Streams")]
    pub tar: Option<PathBuf>,
    /// Directory for the entries of --tar
    #[arg(long, value_name = "NAME", help_heading = "Streams", requires = "tar")]
    pub tar_name: Option<OsString>,
    /// Store the entries of the tar archive that a shell command prints, below NAME (repeatable)
    #[arg(long, value_name = "NAME=COMMAND", help_heading = "Streams")]
    pub exec_tar: Vec<OsString>,
    /// Streams and archives may be empty
    #[arg(long, help_heading = "Streams")]
    pub allow_empty: bool,

    #[command(flatten)]
    pub excludes: ExcludeArgs,

    /// Read paths from FILE, one pattern per line (repeatable; `-` is standard input)
    #[arg(long, value_name = "FILE", help_heading = "Lists of paths")]
    pub files_from: Vec<PathBuf>,
    /// The same, each line as it stands
    #[arg(long, value_name = "FILE", help_heading = "Lists of paths")]
    pub files_from_verbatim: Vec<PathBuf>,
    /// The same, paths end with a zero byte
    #[arg(long, value_name = "FILE", help_heading = "Lists of paths")]
    pub files_from_raw: Vec<PathBuf>,

    /// Tags (repeatable)
    #[arg(long, value_name = "TAG[,TAG…]", help_heading = "The snapshot")]
    pub tag: Vec<String>,
    /// The host it is of [env: SEABED_HOST]
    #[arg(long, value_name = "HOST", help_heading = "The snapshot")]
    pub host: Option<String>,
    /// The series it belongs to [default: the first path or stream]
    #[arg(long, value_name = "NAME", help_heading = "The snapshot")]
    pub series: Option<String>,
    /// The time it stands for: now, `2026-01-31 23:59:59` or RFC 3339
    #[arg(long, value_name = "TIME", default_value = "now", help_heading = "The snapshot")]
    pub time: String,
    /// Store the one PATH under this path instead: for volumes that are mounted anywhere
    #[arg(long, value_name = "NEW", help_heading = "The snapshot")]
    pub as_path: Option<PathBuf>,
    /// A line for people
    #[arg(long, value_name = "TEXT", help_heading = "The snapshot")]
    pub description: Option<String>,

    /// Compare with this snapshot
    #[arg(long, value_name = "ID", help_heading = "How files are compared and stored")]
    pub parent: Option<String>,
    /// Do not compare inode numbers
    #[arg(long, help_heading = "How files are compared and stored")]
    pub ignore_inode: bool,
    /// Do not compare the times of attribute changes
    #[arg(long, help_heading = "How files are compared and stored")]
    pub ignore_ctime: bool,
    /// Store times of last access
    #[arg(long, help_heading = "How files are compared and stored")]
    pub with_atime: bool,
    /// Store no extended attributes, ACLs and capabilities among them
    #[arg(long, alias = "noxattrs", help_heading = "How files are compared and stored")]
    pub no_xattrs: bool,
    /// Store no ACLs
    #[arg(long, alias = "noacls", help_heading = "How files are compared and stored")]
    pub no_acls: bool,
    /// Store no attributes of chattr
    #[arg(long, alias = "noflags", help_heading = "How files are compared and stored")]
    pub no_flags: bool,
    /// Store owners by number only
    #[arg(long, aliases = ["numeric-ids", "numeric-id"], help_heading = "How files are compared and stored")]
    pub numeric_owner: bool,
    /// off, auto, max, or a zstd level from 1 to 22
    #[arg(long, value_name = "LEVEL", default_value = "auto", help_heading = "How files are compared and stored")]
    #[arg(value_parser = compression)]
    pub compression: Compression,
    /// Target size of packs in MiB, 4 to 128 [default: 32]
    #[arg(long, value_name = "MIB", help_heading = "How files are compared and stored")]
    pub pack_size: Option<u64>,
    /// Do not count, beside a first backup that somebody watches, how much there is
    #[arg(long, help_heading = "How files are compared and stored")]
    pub no_scan: bool,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", help_heading = "How files are compared and stored")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub to: ToArgs,
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "off" => Ok(Compression::Off),
        "auto" => Ok(Compression::default()),
        "max" => Ok(Compression::Level(19)),
        _ => match text.parse() {
            Ok(level @ 1..=22) => Ok(Compression::Level(level)),
            _ => Err("say off, auto, max, or a level from 1 to 22".to_owned()),
        },
    }
}

/// What is asked for, as far as no repository has to do with it. What can be wrong on the command line is found before one is touched or made.
pub struct Asked {
    paths: Vec<PathBuf>,
    as_path: Option<PathBuf>,
    time: Option<Time>,
    host: String,
    data_pack_bytes: u64,
}

fn asked(args: &Args) -> Result<Asked, Fail> {
    let paths = sources::paths(args)?;
    let streams = sources::streams(args)?;
    let tars = sources::tars(args)?;
    if paths.is_empty() && streams.is_empty() && tars.is_empty() {
        return Err(Fail::config("nothing to back up is named")
            .hint("name paths, or use --stdin, --exec or --tar; `seabed backup --help` has examples"));
    }
    let as_path = sources::as_path(args, &paths)?;
    sources::no_collisions(as_path.as_ref().map_or(&paths[..], std::slice::from_ref), &streams, &tars)?;
    let time = time::parse(&args.time).map_err(Fail::config)?;
    let host = match args.host.clone().or_else(|| std::env::var("SEABED_HOST").ok()).filter(|h| !h.is_empty()) {
        Some(host) => host,
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    Ok(Asked { paths, as_path, time, host, data_pack_bytes: super::pack_bytes(args.pack_size)? })
}

/// As the engine takes it. None of the repositories goes into the snapshot.
pub fn options(args: &Args, asked: &Asked, repositories: &[&Opened]) -> Result<BackupOptions, Fail> {
    let (excludes, exclude_texts) = args.excludes.rules_of(&[], repositories)?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let attributes = Attributes { xattrs: !args.no_xattrs, acls: !args.no_acls, flags: !args.no_flags, owner_names: !args.numeric_owner };
    Ok(BackupOptions {
        // A trailing `/` says how to read a path, not which series it is.
        series: args
            .series
            .clone()
            .or_else(|| asked.as_path.as_ref().or(asked.paths.first()).map(|p| trimmed(&p.to_string_lossy())))
            .or_else(|| sources::series_of_tar(args)),
        paths: asked.paths.clone(),
        as_path: asked.as_path.clone(),
        walk: WalkOptions { one_file_system: args.excludes.one_file_system, with_atime: args.with_atime, attributes, excludes },
        streams: sources::streams(args)?,
        tars: sources::tars(args)?,
        host: asked.host.clone(),
        user: uzers::get_user_by_uid(uid).map_or_else(|| uid.to_string(), |u| u.name().to_string_lossy().into_owned()),
        uid_gid: (uid, gid),
        tags: tags(&args.tag),
        description: args.description.clone().unwrap_or_default(),
        excludes: exclude_texts,
        time: asked.time,
        parent: match (&args.parent, args.force) {
            (Some(id), _) => ParentChoice::Snapshot(id.clone()),
            (None, true) => ParentChoice::None,
            (None, false) => ParentChoice::Newest,
        },
        ignore_inode: args.ignore_inode,
        ignore_ctime: args.ignore_ctime,
        dry_run: args.dry_run,
        skip_if_unchanged: args.skip_if_unchanged,
        compression: args.compression,
        data_pack_bytes: asked.data_pack_bytes,
        threads: usize::from(args.threads.unwrap_or(0)),
        ..BackupOptions::default()
    })
}

/// Makes the snapshot.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let asked = asked(args)?;
    if !args.to.to.is_empty() {
        return several::run(global, args, &asked, out);
    }
    let opened = open_own(global, args, out)?;
    let options = options(args, &asked, &[&opened])?;
    match attempt(args, &opened, &[], options, out) {
        Ok(report) => conclude(args, &opened, &asked, &report, out),
        Err(failure) => Err(failed(failure)),
    }
}

/// Opens the repository that every command has, or makes it.
pub fn open_own(global: &Global, args: &Args, out: &Output) -> Result<Opened, Fail> {
    let mut opened = if args.init && !args.dry_run { open::open_or_init(global, out)? } else { open::open(global, out)? };
    open::settle(&mut opened, args.dry_run, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    Ok(opened)
}

/// Makes the snapshot in one repository. What is new goes to others, too.
pub fn attempt(
    args: &Args,
    opened: &Opened,
    others: &[&Repository],
    options: BackupOptions,
    out: &Output,
) -> Result<BackupReport, Failure> {
    // Only a guess, so only from what the cache knows: a listing for its sake would cost every run.
    let last = opened.repository.catalog().newest(&options.series_name(), &options.host).ok().flatten();
    let history = last.map(|last| history(&last, args.force));
    let listener = Listener::with(out, "backup", Ways { history, totals: !args.no_scan, ..Ways::default() });
    let result = backup_also(&opened.repository, others, options, &listener);
    listener.finish();
    result
}

/// Says what was made.
pub fn conclude(args: &Args, opened: &Opened, asked: &Asked, report: &BackupReport, out: &Output) -> Run {
    let code = finished(args, opened, report, out)?;
    if report.snapshot.is_some() {
        // Acknowledged: from here on nothing can go wrong with it.
        after_backup(opened, &asked.host, report, out);
    }
    Ok(code)
}

/// Why nothing was made.
pub fn failed(failure: Failure) -> Fail {
    // Whatever gave way first: what stopped the run was the user.
    if signals::interrupted() {
        return Fail::new(Code::Interrupted, "interrupted, no snapshot was made").hint("the next run takes over what was stored");
    }
    failure.into()
}

/// What the last run tells of this one.
fn history(last: &Snapshot, force: bool) -> History {
    let summary = &last.names.summary;
    let streams = last.index.roots.iter().filter(|root| root.kind == ROOT_STREAM).map(|root| root.bytes);
    let stream_bytes = streams.fold(0, u64::saturating_add).min(summary.bytes_total);
    // A first run had to read all: that says nothing of what changes from day to day.
    let compared = summary.files_unmodified + summary.dirs_unmodified > 0;
    let read = match force {
        true => Some(summary.bytes_total),
        false => (compared || stream_bytes == summary.bytes_total).then_some(summary.bytes_read.max(stream_bytes)),
    };
    History { files: summary.files_total, bytes: summary.bytes_total, stream_bytes, read }
}

fn trimmed(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        text => text.to_owned(),
    }
}

fn finished(args: &Args, opened: &Opened, report: &BackupReport, out: &Output) -> Run {
    // What a dump warns of is worth reading, but no reason for a mail every night.
    for (name, text) in report.remarks.iter().filter(|_| out.level >= 0) {
        let said = String::from_utf8_lossy(text).trim_end().to_owned();
        let words = format!("the command of `{}` succeeded and said:", String::from_utf8_lossy(name));
        // A line of it that is no JSON broke whoever read them.
        if out.json {
            out.warn(&format!("{words} {said}"));
        } else {
            out.warn(&words);
            said.lines().for_each(|line| out.detail(line));
        }
    }
    if out.json {
        out.message(&summary_json(args, opened, report));
    } else {
        for line in summary_text(args, report) {
            out.say(&line);
        }
    }
    if report.error_count == 0 {
        return Ok(Code::Done);
    }
    let what = size::of(report.error_count, "source");
    out.warn(&format!("{what} could not be read whole; the rest is in the snapshot"));
    Ok(Code::Incomplete)
}

fn summary_text(args: &Args, report: &BackupReport) -> Vec<String> {
    let s = &report.summary;
    let row = |what: &str, new: u64, changed: u64, same: u64| {
        format!("{what:<6} {} new, {} changed, {} unmodified", size::count(new), size::count(changed), size::count(same))
    };
    let mut lines =
        vec![row("Files:", s.files_new, s.files_changed, s.files_unmodified), row("Dirs:", s.dirs_new, s.dirs_changed, s.dirs_unmodified)];
    let verb = if args.dry_run { "Would add" } else { "Added" };
    lines.push(format!("{verb} to the repository: {} ({} stored)", size::human(s.bytes_added), size::human(s.bytes_stored)));
    if report.excluded > 0 {
        lines.push(format!("{} left out by excludes", size::of(report.excluded, "entry")));
    }
    let took = time::clock(time::between(&report.started, &report.finished));
    lines.push(format!("processed {}, {} in {took}", size::of(s.files_total, "file"), size::human(s.bytes_total)));
    lines.push(match &report.snapshot {
        Some(id) => format!("snapshot {} saved", id.short()),
        None if args.dry_run => "dry run: nothing was stored".to_owned(),
        None => "nothing changed since the parent: no snapshot was made".to_owned(),
    });
    lines
}

/// restic's names for what was counted.
pub fn counts_json(s: &Summary) -> Value {
    json!({
        "files_new": s.files_new, "files_changed": s.files_changed, "files_unmodified": s.files_unmodified,
        "dirs_new": s.dirs_new, "dirs_changed": s.dirs_changed, "dirs_unmodified": s.dirs_unmodified,
        "data_blobs": s.data_chunks, "tree_blobs": s.tree_chunks,
        "data_added": s.bytes_added, "data_added_packed": s.bytes_stored,
        "total_files_processed": s.files_total, "total_bytes_processed": s.bytes_total, "bytes_read": s.bytes_read,
    })
}

fn summary_json(args: &Args, opened: &Opened, report: &BackupReport) -> Value {
    let mut value = json!({"message_type": "summary", "dry_run": args.dry_run});
    if let (Some(map), Value::Object(counts)) = (value.as_object_mut(), counts_json(&report.summary)) {
        map.extend(counts);
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("error_count", report.error_count.into());
        put("excluded", report.excluded.into());
        put("backup_start", time::rfc3339(&report.started).into());
        put("backup_end", time::rfc3339(&report.finished).into());
        put("total_duration", time::between(&report.started, &report.finished).as_secs_f64().into());
        put("series", report.series.clone().into());
        put("repository", opened.place.text().into());
        if let Some(key) = &opened.new_key {
            put("key_file", key.to_string_lossy().into());
        }
        if let Some(parent) = &report.parent {
            put("parent", parent.to_string().into());
        }
        if let Some(resumed) = &report.resumed {
            put("resumed", resumed.to_string().into());
        }
        if let Some(id) = &report.snapshot {
            put("snapshot_id", id.to_string().into());
        }
    }
    value
}
