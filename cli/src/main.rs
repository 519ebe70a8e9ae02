//! Seabed's command line: parse, run, exit code.
//! It must never hold logic of its own: what a value means stands in `commands/`, how a run ends in `exit.rs`.
//! It obeys DESIGN section 2 (exit codes) and section 3 (the house).

mod args;
mod ask;
mod commands;
mod exit;
mod habits;
mod jobs;
mod looking;
mod newfile;
mod open;
mod other;
mod output;
mod progress;
mod remote;
mod secret;
mod serve;
mod signals;
mod size;
mod time;
mod turn;
mod which;

use crate::args::Cli;
use crate::exit::Code;
use crate::output::Output;
use crate::progress::reporter::Bell;
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

/// No core is written of this process, nor of what it starts: it would hold keys and passwords, in a directory that nobody thinks of.
fn no_core() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    // One that cannot be set was lower already.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum }).unwrap_or(());
    // A program that collects cores need not ask for the limit, and another one of the same user could attach itself. What is started
    // loses this as it begins, and has the limit.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or(());
}

fn main() -> ExitCode {
    no_core();
    // Before anything else: whoever asks how far it is must not end it, however early.
    let bell = Bell::hang();
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let command = matches.subcommand_name().unwrap_or_default().to_owned();
        Ok((Cli::from_arg_matches(&matches)?, command))
    });
    let (cli, command) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let json = std::env::args_os().any(|arg| arg == "--json");
            Output::new(json, false, 0).parser(&error);
            // The parser's own code, 2, is nobody's; a command line is configuration.
            let code = if error.use_stderr() { Code::Configuration } else { Code::Done };
            return ExitCode::from(code.number());
        }
    };
    let mut out = Output::new(cli.global.json, cli.global.quiet, cli.global.verbose);
    let run = progress::mode(cli.global.json, cli.global.quiet).and_then(|mode| {
        if let Ok(bell) = bell {
            out.report(&command, mode, bell);
        }
        commands::run(&cli, &out)
    });
    out.finish();
    match run {
        Ok(code) => ExitCode::from(code.number()),
        Err(fail) => {
            out.failed(&fail);
            ExitCode::from(fail.code.number())
        }
    }
}
