//! `version`: which program this is. It must never open a repository. It obeys restic's JSON shape.

use crate::exit::{Code, Run, help};
use crate::output::Output;

/// Print the version
#[derive(clap::Args, Debug)]
#[command(after_long_help = help("  seabed version --json"))]
pub struct Args {}

/// Prints it.
pub fn run(out: &Output) -> Run {
    let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    if out.json {
        let value = serde_json::json!({
            "message_type": "version", "version": version, "format_version": 1, "os": os, "arch": arch,
        });
        out.json_result(&value)?;
    } else {
        out.result(format!("seabed {version}, repository format 1, {os}/{arch}").as_bytes())?;
    }
    Ok(Code::Done)
}
