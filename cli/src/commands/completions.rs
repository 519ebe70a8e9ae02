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
    if shell == Shell::Fish {
        script.extend(fish_words().into_bytes());
    }
    script
}

/// What `generate` has for other shells and not for fish: words that stand by themselves (`seabed completions zsh`).
fn fish_words() -> String {
    let mut text = String::new();
    for command in Cli::command().get_subcommands() {
        for values in command.get_positionals().map(clap::Arg::get_possible_values).filter(|values| !values.is_empty()) {
            let words: Vec<&str> = values.iter().filter(|value| !value.is_hide_set()).map(clap::builder::PossibleValue::get_name).collect();
            for name in command.get_name_and_visible_aliases() {
                text.push_str(&format!("complete -c seabed -n \"__fish_seabed_using_subcommand {name}\" -f -a \"{}\"\n", words.join(" ")));
            }
        }
    }
    text
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
