//! `rebuild`: index and catalog anew from packs and manifests. It must never delete a pack. It obeys DESIGN section 1, promise 2.

use crate::args::Global;
use crate::exit::{Fail, Run, help};
use crate::output::Output;

/// Make index and catalog anew from packs and manifests
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed rebuild"))]
pub struct Args {}

/// Rebuilds.
pub fn run(_global: &Global, _args: &Args, _out: &Output) -> Run {
    Err(Fail::config("rebuild is not in this version yet"))
}
