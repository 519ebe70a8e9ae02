//! `check`: whether everything that a restore needs is there and whole. It must never change the repository. It obeys DESIGN section 1.

use crate::args::Global;
use crate::exit::{Fail, Run, help};
use crate::output::Output;

/// Check that a repository is whole
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed check"))]
pub struct Args {}

/// Checks.
pub fn run(_global: &Global, _args: &Args, _out: &Output) -> Run {
    Err(Fail::config("check is not in this version yet"))
}
