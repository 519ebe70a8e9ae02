//! `schedule`: who starts jobs, and when. It must never write or delete a file that somebody else made, nor start a job by itself.
//! It obeys operations.md, rows 0.4, 0.12, 0.13 and 3.9 to 3.13.

mod check;
mod drift;
mod install;
mod list;
mod places;
mod remove;

use crate::args::Global;
use crate::exit::{Fail, Run, help};
use crate::jobs::config::Config;
use crate::output::Output;
use crate::time;
use jiff::Timestamp;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed schedule install --systemd
  seabed schedule list --next 5
  seabed schedule check
  seabed schedule remove";

/// Have jobs started when they are due, and see when that is
///
/// Times are OnCalendar's (`*-*-* 02:00`, `Mon..Fri 22:30`, `daily`) or cron's (`0 2 * * *`), in
/// UTC unless the configuration names a zone: in UTC no hour is skipped or comes twice.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES), arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    #[allow(missing_docs)]
    Install(install::Args),
    #[allow(missing_docs)]
    List(list::Args),
    #[allow(missing_docs)]
    Check(check::Args),
    #[allow(missing_docs)]
    Remove(remove::Args),
}

/// Does it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    match &args.what {
        What::Install(args) => install::run(global, args, out),
        What::List(args) => list::run(global, args, out),
        What::Check(args) => check::run(global, args, out),
        What::Remove(args) => remove::run(global, args, out),
    }
}

/// `--from`.
fn moment(text: &str) -> Result<Timestamp, String> {
    match time::parse(text)? {
        Some(at) => Timestamp::new(at.secs, i32::try_from(at.nanos).unwrap_or(0)).map_err(|e| e.to_string()),
        None => Ok(Timestamp::now()),
    }
}

/// Where caches are kept.
fn cache(global: &Global, config: &Config) -> Result<PathBuf, Fail> {
    let named = config.cache_dir.as_deref().map(|dir| config.beside(dir));
    let cache = global.cache_dir.clone().or(named).or_else(|| crate::open::cache(global));
    let cache = cache
        .ok_or_else(|| Fail::config("there is no place for a cache").hint("name one: cache_dir in the configuration, or --cache-dir"))?;
    std::path::absolute(&cache).map_err(|e| Fail::config(format!("cannot use {}: {}", cache.display(), crate::exit::plain(&e))))
}
