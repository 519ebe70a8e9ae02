//! `key`: the passphrases and key files that open a repository, epochs, and recovery sheets.
//! It must never print a secret but where one was asked for, nor say which slot a wrong secret was near. It obeys spec chapter 3.

mod add;
mod export;
mod import;
mod list;
mod page;
mod passwd;
mod remove;
mod rewrite;
mod secrets;
mod slots;

pub use secrets::slot_label;

use crate::args::Global;
use crate::exit::{Run, help};
use crate::output::Output;

const EXAMPLES: &str = "  seabed key list
  seabed key add --label laptop --new-key-file ~/laptop.key
  seabed key export --html sheet.html
  seabed key remove laptop
  seabed key passwd";

/// Manage the passphrases and key files that open a repository
///
/// Each has a slot. All of them open the same keys, so that any may be added or removed without the
/// others. What is removed reads nothing that is written from then on; what was written before
/// stays readable for whoever kept a copy of the repository's keyring, until `seabed key rewrite`.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES), arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    #[allow(missing_docs)]
    List(list::Args),
    #[allow(missing_docs)]
    Add(add::Args),
    #[allow(missing_docs)]
    Remove(remove::RemoveArgs),
    #[allow(missing_docs)]
    Passwd(passwd::Args),
    #[allow(missing_docs)]
    Rotate(remove::RotateArgs),
    #[allow(missing_docs)]
    Rewrite(rewrite::Args),
    #[allow(missing_docs)]
    Export(export::Args),
    #[allow(missing_docs)]
    Import(import::Args),
}

/// Does it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    match &args.what {
        What::List(args) => list::run(global, args, out),
        What::Add(args) => add::run(global, args, out),
        What::Remove(args) => remove::remove(global, args, out),
        What::Passwd(args) => passwd::run(global, args, out),
        What::Rotate(args) => remove::rotate(global, args, out),
        What::Rewrite(args) => rewrite::run(global, args, out),
        What::Export(args) => export::run(global, args, out),
        What::Import(args) => import::run(global, args, out),
    }
}
