//! `completions`: what a shell needs to complete this command line, made from the same source as the parser.
//! It must never open a repository: a key that is pressed may not ask for a passphrase.

use crate::args::Cli;
use crate::exit::{Code, Run, help};
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use serde_json::json;

const EXAMPLES: &str = "  seabed completions bash > /usr/share/bash-completion/completions/seabed
  seabed completions zsh > /usr/share/zsh/vendor-completions/_seabed
  seabed completions fish > ~/.config/fish/completions/seabed.fish
  eval (seabed completions elvish | slurp)          (in ~/.config/elvish/rc.elv)
  seabed completions powershell >> $PROFILE";

/// Print what completes commands and options in a shell
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The script for one shell.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "seabed", &mut script);
    script
}

/// Prints it.
pub fn run(args: &Args, out: &Output) -> Run {
    let script = script(args.shell);
    if out.json {
        let text = String::from_utf8_lossy(&script);
        out.json_result(&json!({"message_type": "completions", "shell": args.shell.to_string(), "script": text}))?;
    } else {
        out.result(script.trim_ascii_end())?;
    }
    Ok(Code::Done)
}
