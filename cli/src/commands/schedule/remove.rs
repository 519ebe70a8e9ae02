//! `schedule remove`: takes away what `install` made, and nothing else.

use super::install::{name, tell};
use super::places::{Scheduler, delete, installed, is_live, systemctl};
use crate::args::Global;
use crate::exit::{Code, Run, help};
use crate::jobs::config::find;
use crate::output::Output;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed schedule remove
  seabed schedule remove --dir /etc/systemd/system --dry-run";

/// Take away what `install` wrote for this configuration
///
/// A file that was edited since goes too; one that was made by somebody else stays.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Look there [default: the directories of systemd and cron]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only say what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Does it. The configuration itself may be gone already.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let config = find(global.config.as_deref())?;
    let found = installed(&config, args.dir.as_deref())?;
    let mut live = Vec::new();
    for have in &found {
        let timer = have.scheduler == Scheduler::Systemd && have.path.extension().is_some_and(|kind| kind == "timer");
        let is_live = have.path.parent().is_some_and(|place| is_live(place, have.user));
        if !args.dry_run {
            if is_live && timer {
                systemctl(have.user, &["disable", "--now", &name(&have.path)])?;
            }
            delete(&have.path)?;
        }
        if is_live && have.scheduler == Scheduler::Systemd && !live.contains(&have.user) {
            live.push(have.user);
        }
        tell(if args.dry_run { "would_remove" } else { "removed" }, have.scheduler, &have.path, have.made.origin.job.as_deref(), out)?;
    }
    for user in live.into_iter().filter(|_| !args.dry_run) {
        systemctl(user, &["daemon-reload"])?;
    }
    if found.is_empty() {
        out.say(&format!("nothing is installed for {}", config.display()));
    }
    Ok(Code::Done)
}
