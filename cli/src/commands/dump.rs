//! `dump`: one file or stream to standard output. It must never write a byte that was not verified, nor anything else there.
//! It obeys what README.md says of it.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::progress::{Listener, Ways};
use crate::signals;
use seabed_engine::dump::dump;
use seabed_engine::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed dump latest dump.sql | psql shop
  seabed dump --series shop latest dump.sql --target dump.sql
  seabed dump 40dc1520:/etc/fstab";

/// Write a file or stream of a snapshot to standard output
///
/// Every byte is verified before it is written. A reader that leaves early (`| head`) is no error.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: String,
    /// The file or stream
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Write to a new file instead
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Writes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let opened = open::open(global, out)?;
    let repository = &opened.repository;
    refresh(repository, out)?;
    let mut selected = repository.select(&args.selector, &args.filter.filter())?;
    match (&args.path, selected.path.is_empty()) {
        (Some(path), true) => {
            let parts: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
            selected.path = parts.join(&b'/');
        }
        (None, false) => {}
        (Some(_), false) => {
            return Err(Fail::config("a path is given twice").hint("write it behind the snapshot, or as SNAPSHOT:PATH, not both"));
        }
        (None, true) => return Err(Fail::config("no file or stream is named").hint("`seabed ls SNAPSHOT` lists them")),
    }
    // On a terminal that shows the file itself a bar would be in its midst.
    let bar = args.target.is_some() || !out.on_terminal();
    let listener = Listener::with(out, "dump", Ways { bar, status: false, ..Ways::default() });
    let result = match &args.target {
        None => out.data(|to| dump(repository, &selected, to, &listener)),
        Some(path) => {
            let failed = |e: std::io::Error| {
                let mut fail = Fail::output(e);
                fail.message = fail.message.replace("the output", &path.display().to_string());
                fail
            };
            let mut file = std::fs::File::create_new(path).map_err(failed)?;
            let result = dump(repository, &selected, &mut file, &listener).and_then(|bytes| {
                file.sync_all().map_err(|source| Error::Output { source })?;
                Ok(bytes)
            });
            // What is there would pass for the file, and stand in the way of the next try.
            if result.is_err() {
                std::fs::remove_file(path).unwrap_or(());
            }
            result
        }
    };
    listener.finish();
    match result {
        Ok(_) => Ok(Code::Done),
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted")),
        Err(error) => Err(error.into()),
    }
}
