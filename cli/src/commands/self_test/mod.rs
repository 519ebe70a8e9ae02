//! `self-test`: whether this installation works, tried out on a repository of its own that is gone afterwards.
//! It must never touch a repository that is there, nor leave anything behind. It obeys what README.md says of it.

mod machine;
mod tree;
mod trial;

use crate::args::Global;
use crate::commands::findings::{Finding, failures, rows, tell};
use crate::exit::{Code, Fail, Run, help, plain};
use crate::output::Output;
use crate::{open, signals, size};
use seabed_engine::id::hex;
use seabed_engine::seal::random;
use serde_json::json;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Check that this installation works, in less than a minute
///
/// Makes a repository in a temporary directory, backs up a tree of files and a stream, restores them and
/// compares every byte, checks the repository, damages a copy of it on purpose and sees whether that is
/// found. Looks at the machine, too: clock, processor, limits, directories. Needs some 300 MB for that
/// time, and no repository. Exit status 1 if something does not work.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed self-test\n  seabed self-test --dir /mnt/disk --json"))]
pub struct Args {
    /// Try it there, on the disk that backups are to go to [default: TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// A directory that goes when this does.
struct Temporary(PathBuf);

impl Temporary {
    fn new(base: &Path) -> std::io::Result<Self> {
        let name: [u8; 8] = random().map_err(std::io::Error::other)?;
        let path = base.join(format!("seabed-self-test-{}", hex(&name)));
        DirBuilder::new().mode(0o700).create(&path)?;
        // Absolute and without symlinks: what is restored is named by the path that was backed up.
        Ok(Temporary(path.canonicalize()?))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

/// Tests.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let began = Instant::now();
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let place = Temporary::new(&base).map_err(|e| {
        Fail::new(Code::Failed, format!("cannot make a directory in {}: {}", base.display(), plain(&e)))
            .hint("name a directory that this user may write: --dir DIR, or TMPDIR")
    })?;
    out.say(&format!("seabed {}, {}/{}, in {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH, base.display()));
    let mut findings: Vec<Finding> = Vec::new();
    let mut found = |found: Vec<Finding>| {
        if !out.json {
            tell(&found, out);
        }
        findings.extend(found);
    };
    found(machine::look(&place.0, open::cache(global).as_deref()));
    let tried = trial::run(&place.0, out, &mut |one| found(vec![one]));
    drop(place);
    if signals::interrupted() {
        return Err(Fail::new(Code::Interrupted, "interrupted, and cleaned up"));
    }
    tried?;
    let failures = failures(&findings);
    let took = began.elapsed();
    if out.json {
        out.json_result(&json!({
            "message_type": "summary",
            "version": env!("CARGO_PKG_VERSION"),
            "format_version": 1,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "directory": base.to_string_lossy(),
            "findings": rows(&findings),
            "failures": failures,
            "total_duration": took.as_secs_f64(),
        }))?;
    }
    if failures > 0 {
        let what = size::of(failures, "finding");
        return Err(Fail::new(Code::Failed, format!("{what}: this installation is not to be trusted with backups"))
            .hint("what to do stands below each of them"));
    }
    if !out.json {
        out.say(&format!("all of it works, in {:.1} s", took.as_secs_f64()));
    }
    Ok(Code::Done)
}
