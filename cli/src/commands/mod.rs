//! The commands, one file each: what is typed, what it means to the engine, what is said afterwards.
//! A command must never print or choose an exit code by itself; `output.rs` and `exit.rs` do. They obey DESIGN section 3.

pub mod backup;
pub mod cache;
pub mod cat;
pub mod check;
pub mod doctor;
pub mod dump;
pub mod iam_policy;
pub mod init;
pub mod ls;
pub mod rebuild;
pub mod restore;
mod restore_plan;
pub mod snapshots;
mod sources;
pub mod unlock;
pub mod version;

use crate::args::{Cli, Command};
use crate::exit::{Fail, Run};
use crate::output::Output;
use crate::size;
use seabed_engine::repository::Repository;

/// Runs the command.
pub fn run(cli: &Cli, out: &Output) -> Run {
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => init::run(global, args, out),
        Command::Backup(args) => backup::run(global, args, out),
        Command::Restore(args) => restore::run(global, args, out),
        Command::Snapshots(args) => snapshots::run(global, args, out),
        Command::Ls(args) => ls::run(global, args, out),
        Command::Dump(args) => dump::run(global, args, out),
        Command::Check(args) => check::run(global, args, out),
        Command::Rebuild(args) => rebuild::run(global, args, out),
        Command::Cat(args) => cat::run(global, args, out),
        Command::Cache(args) => cache::run(global, args, out),
        Command::Doctor(args) => doctor::run(global, args, out),
        Command::IamPolicy(args) => iam_policy::run(global, args, out),
        Command::Unlock(_) => unlock::run(out),
        Command::Version(_) => version::run(out),
    }
}

/// Brings the catalog up to date and says which manifests do not open. Returns how many.
fn refresh(repository: &Repository, out: &Output) -> Result<usize, Fail> {
    let refresh = repository.refresh()?;
    for bad in &refresh.unreadable {
        out.warn(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error));
    }
    if let Some(error) = &refresh.uncached {
        out.warn(&format!("{}; going on without a cache", crate::exit::without_number(&error.to_string())));
    }
    if refresh.unlisted > 0 {
        let left_out = size::of(refresh.unlisted, "snapshot");
        out.warn(&format!("the store has {left_out} that its listing leaves out: do not trust it, and look at what stands before it"));
    }
    Ok(refresh.unreadable.len())
}
