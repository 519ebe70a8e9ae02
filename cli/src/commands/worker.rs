//! `worker`: what `run` starts for each source. Hidden: it reads what it is to do from standard input.

use crate::args::Global;
use crate::exit::{Run, help};
use crate::jobs::run::worker;
use crate::output::Output;

/// Do one part of a run (started by `seabed run`)
#[derive(clap::Args, Debug)]
#[command(hide = true, verbatim_doc_comment, after_long_help = help("  seabed worker < request"))]
pub struct Args {}

/// Does it.
pub fn run(global: &Global, out: &Output) -> Run {
    worker::run(global, out)
}
