//! `dump`: one file or stream as it is, or a directory as an archive, to standard output or into a file.
//! It must never write a byte that was not verified, nor anything else there. It obeys what README.md says of it.

use crate::args::{FilterArgs, Global};
use crate::commands::{archive, below, cleaned, refresh};
use crate::exit::{Code, Fail, Run, help};
use crate::newfile::NewFile;
use crate::open;
use crate::output::Output;
use crate::{signals, size, time};
use seabed_engine::archive::{ArchiveOptions, Format, has_streams};
use seabed_engine::dump::{DIRECTORY, dump};
use seabed_engine::error::Error;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "  seabed dump latest dump.sql | psql shop
  seabed dump --series shop latest dump.sql --target dump.sql
  seabed dump 40dc1520:/etc/fstab
  seabed dump latest /home/ann/letters | ssh elsewhere tar x
  seabed dump latest:/home/ann --archive zip --target ann.zip";

/// Write a file, stream or directory of a snapshot to standard output
///
/// A file comes as it is, a directory as an archive: tar, unless --archive says otherwise. `/` is all of
/// the snapshot. Names in an archive are full paths (home/ann/letters/a.txt); with SNAPSHOT:/sub/path they
/// begin there. GNU tar brings everything back with --xattrs --xattrs-include='*' --acls.
///
/// Every byte is verified before it is written. A reader that leaves early (`| head`) is no error. An
/// archive of which something cannot be had ends in the middle, so that nobody takes it for a whole one.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: String,
    /// The file, stream or directory
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Write an archive, of a single file too
    #[arg(short, long, value_name = "KIND", value_enum)]
    archive: Option<archive::Kind>,
    /// Write to FILE, which gets its name when all is there; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// After damage, archive all that is left
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Writes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    refresh(repository, out)?;
    let selected = repository.select(&args.selector, &args.filter.filter())?;
    let path = args.path.as_ref().map(|path| cleaned(path.as_bytes()));
    if path.is_none() && selected.path.is_empty() && args.archive.is_none() && !args.selector.contains(':') {
        return Err(
            Fail::config("nothing is named that could be dumped").hint("`seabed ls SNAPSHOT` lists what there is; `/` is all of it")
        );
    }
    let options = ArchiveOptions {
        below: path.unwrap_or_default(),
        keep_going: args.keep_going,
        ..ArchiveOptions::new(args.archive.map_or(Format::Tar, Format::from))
    };
    let target = archive::file_of(args.target.as_deref());
    if args.archive.is_none()
        && let Some(code) = single(repository, &selected, &options.below, target, out)?
    {
        return Ok(code);
    }
    archive::write(repository, &selected, &options, target, out)
}

/// Writes one file; `None` where it is a directory, and nothing was written.
fn single(repository: &Repository, selected: &Selected, path: &[u8], target: Option<&Path>, out: &Output) -> Result<Option<Code>, Fail> {
    let path = below(&selected.path, path);
    if path.is_empty() {
        return Ok(None);
    }
    let selected = Selected { snapshot: selected.snapshot.clone(), path };
    let listener = archive::listener(out, "dump", target);
    let result = match target {
        None => out.data(|to| dump(repository, &selected, to, &listener)),
        Some(path) => {
            let mut new = NewFile::begin(path)?;
            let written = dump(repository, &selected, new.file(), &listener);
            if written.is_ok() {
                new.keep()?;
            }
            written
        }
    };
    let took = listener.elapsed();
    listener.finish();
    match result {
        Ok(bytes) => {
            if let Some(target) = target {
                said(target, bytes, took, out);
            }
            Ok(Some(Code::Done))
        }
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted")),
        Err(Error::NotAFile { what, .. }) if what == DIRECTORY => Ok(None),
        // Only streams lie there: it has no entry of its own.
        Err(Error::NoSuchPath { .. }) if has_streams(&selected) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What went into a file.
fn said(target: &Path, bytes: u64, took: Duration, out: &Output) {
    if out.json {
        let target = target.to_string_lossy();
        out.message(&json!({"message_type": "summary", "seconds_elapsed": took.as_secs(), "target": target, "total_bytes": bytes}));
    } else {
        out.say(&format!("{} in {}, in {}", size::human(bytes), target.display(), time::clock(took)));
    }
}
