//! The commands, one file each: what is typed, what it means to the engine, what is said afterwards.
//! A command must never print or choose an exit code by itself; `output.rs` and `exit.rs` do. They obey DESIGN section 3.

mod archive;
pub mod backup;
pub mod cache;
pub mod cat;
pub mod check;
pub mod completions;
pub mod config;
pub mod copy;
pub mod describe;
pub mod diff;
pub mod doctor;
pub mod dump;
pub mod excludes;
pub mod find;
mod findings;
pub mod forget;
pub mod gc;
pub mod groups;
pub mod history;
pub mod hold;
pub mod iam_policy;
pub mod init;
pub mod key;
pub mod ls;
pub mod man;
pub mod mount;
pub mod rebuild;
pub mod recover_plan;
pub mod repair;
pub mod restore;
mod restore_plan;
pub mod retain;
pub mod rewrite;
pub mod run;
pub mod runs;
pub mod schema;
pub mod self_test;
pub mod serve;
pub mod setup;
mod several;
pub mod snapshots;
pub mod sources;
pub mod stats;
pub mod status;
pub mod tag;
pub mod undelete;
pub mod unlock;
pub mod version;
pub mod worker;

use crate::args::{Cli, Command};
use crate::exit::{Fail, Run};
use crate::output::Output;
use crate::size;
use seabed_engine::format::entry::join;
use seabed_engine::limits::{PACK_BYTES_DATA, PACK_BYTES_TARGET_MAX, PACK_BYTES_TARGET_MIN};
use seabed_engine::repository::Repository;

/// Runs the command.
pub fn run(cli: &Cli, out: &Output) -> Run {
    let global = &crate::jobs::open::resolved(&cli.global)?;
    match &cli.command {
        Command::Init(args) => init::run(global, args, out),
        Command::Backup(args) => backup::run(global, args, out),
        Command::Restore(args) => restore::run(global, args, out),
        Command::Snapshots(args) => snapshots::run(global, args, out),
        Command::Ls(args) => ls::run(global, args, out),
        Command::Diff(args) => diff::run(global, args, out),
        Command::Dump(args) => dump::run(global, args, out),
        Command::Find(args) => find::run(global, args, out),
        Command::History(args) => history::run(global, args, out),
        Command::Mount(args) => mount::run(global, args, out),
        Command::Serve(args) => serve::run(global, args, out),
        Command::Forget(args) => forget::run(global, args, out),
        Command::Copy(args) => copy::run(global, args, out),
        Command::Undelete(args) => undelete::run(global, args, out),
        Command::Rewrite(args) => rewrite::run(global, args, out),
        Command::Hold(args) => hold::hold(global, args, out),
        Command::Unhold(args) => hold::unhold(global, args, out),
        Command::Tag(args) => tag::run(global, args, out),
        Command::Describe(args) => describe::run(global, args, out),
        Command::Gc(args) => gc::run(global, args, out),
        Command::Key(args) => key::run(global, args, out),
        Command::Stats(args) => stats::run(global, args, out),
        Command::Check(args) => check::run(global, args, out),
        Command::Rebuild(args) => rebuild::run(global, args, out),
        Command::Repair(args) => repair::run(global, args, out),
        Command::Cat(args) => cat::run(global, args, out),
        Command::Cache(args) => cache::run(global, args, out),
        Command::Doctor(args) => doctor::run(global, args, out),
        Command::IamPolicy(args) => iam_policy::run(global, args, out),
        Command::Unlock(_) => unlock::run(out),
        Command::SelfTest(args) => self_test::run(global, args, out),
        Command::Completions(args) => completions::run(args, out),
        Command::Man(args) => man::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Run(args) => run::run(global, args, out),
        Command::Config(args) => config::run(global, args, out),
        Command::Status(args) => status::run(global, args, out),
        Command::Runs(args) => runs::runs(global, args, out),
        Command::Logs(args) => runs::logs(global, args, out),
        Command::Retain(args) => retain::run(global, args, out),
        Command::Setup(args) => setup::run(global, args, out),
        Command::RecoverPlan(_) => recover_plan::run(global, out),
        Command::Worker(_) => worker::run(global, out),
        Command::Version(_) => version::run(out),
    }
}

/// `--pack-size`, in MiB.
pub fn pack_bytes(mib: Option<u64>) -> Result<u64, Fail> {
    let Some(mib) = mib else { return Ok(PACK_BYTES_DATA) };
    mib.checked_mul(1 << 20).filter(|b| (PACK_BYTES_TARGET_MIN..=PACK_BYTES_TARGET_MAX).contains(b)).ok_or_else(|| {
        let (least, most) = (PACK_BYTES_TARGET_MIN >> 20, PACK_BYTES_TARGET_MAX >> 20);
        Fail::config(format!("--pack-size {mib} is not between {least} and {most} MiB"))
            .hint("leave it out: the default suits disks and buckets")
    })
}

/// A path as it is stored: nothing of what is only how it was typed.
fn cleaned(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

/// What a path means behind SNAPSHOT or SNAPSHOT:PATH: one below that. Both are cleaned, and either may be empty.
fn below(selected: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { selected.to_vec() } else { join(selected, path) }
}

/// Brings the catalog up to date and says which manifests do not open. Returns how many.
pub fn refresh(repository: &Repository, out: &Output) -> Result<usize, Fail> {
    let refresh = repository.refresh()?;
    for bad in &refresh.unreadable {
        out.warn(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error));
    }
    for bad in &refresh.unreadable_notes {
        out.warn(&format!("a note about a snapshot cannot be read, its tags or description may be older ones: {bad}"));
    }
    if let Some(error) = &refresh.uncached {
        out.warn(&format!("{}; going on without a cache", crate::exit::without_number(&error.to_string())));
    }
    if refresh.unlisted > 0 {
        let left_out = size::of(refresh.unlisted, "snapshot");
        out.warn(&format!("the store has {left_out} that its listing leaves out: do not trust it, and look at what stands before it"));
    }
    if refresh.lost > 0 {
        let lost = size::of(refresh.lost, "snapshot");
        out.warn(&format!("{lost} that this machine has seen are gone, and nobody has forgotten them: `seabed check` says more"));
    }
    Ok(refresh.unreadable.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_as_they_are_typed() {
        let joined =
            |selected: &str, path: &str| String::from_utf8(below(&cleaned(selected.as_bytes()), &cleaned(path.as_bytes()))).unwrap();
        assert_eq!(joined("/tmp/", "/a//./b/"), "tmp/a/b");
        assert_eq!((joined("", "/a"), joined("/tmp", "/"), joined("", "")), ("a".into(), "tmp".into(), String::new()));
    }
}
