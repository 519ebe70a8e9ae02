//! The command line as it is typed: global options, the list of commands, and option groups that several commands share.
//! It must never decide what a value means for the engine; commands do. It obeys the CLI conventions (restic's names win).

use crate::commands;
use clap::{ArgAction, Args, Parser, Subcommand};
use seabed_engine::repository::selector::Filter;
use seabed_engine::store::s3::S3Credentials;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Back up trees and dump streams into one deduplicated, encrypted repository.
///
/// Without --repo and SEABED_REPOSITORY the repository is $XDG_DATA_HOME/seabed/repo
/// (~/.local/share/seabed/repo). Nothing creates one without `init` or `backup --init`.
#[derive(Parser, Debug)]
#[command(name = "seabed", version, verbatim_doc_comment, max_term_width = 100, arg_required_else_help = true)]
#[command(after_long_help = crate::exit::help("  seabed backup --init ~/documents\n  seabed snapshots\n  seabed restore latest --target /tmp/back"))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// The repository: a directory, s3://BUCKET/PREFIX, s3:https://HOST/BUCKET/PREFIX, or @NAME of the configuration [env: SEABED_REPOSITORY]
    #[arg(short, long, global = true, value_name = "PLACE", help_heading = "Global options")]
    pub repo: Option<PathBuf>,
    /// Read the passphrase from FILE [env: SEABED_PASSWORD, SEABED_PASSWORD_FILE]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Global options")]
    #[arg(conflicts_with_all = ["password_command", "key_file"])]
    pub password_file: Option<PathBuf>,
    /// Take the passphrase from what COMMAND prints; split like a shell does, not run by one [env: SEABED_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Global options", conflicts_with = "key_file")]
    pub password_command: Option<String>,
    /// Use the key file FILE [env: SEABED_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub key_file: Option<PathBuf>,
    /// Where caches are kept [env: SEABED_CACHE_DIR] [default: $XDG_CACHE_HOME/seabed]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub cache_dir: Option<PathBuf>,
    /// Use no cache
    #[arg(long, global = true, help_heading = "Global options", conflicts_with = "cache_dir")]
    pub no_cache: bool,
    /// The configuration of jobs [env: SEABED_CONFIG] [default: ./seabed.toml, ~/.config/seabed/seabed.toml, /etc/seabed/seabed.toml]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// How to talk to a store over a network.
    #[command(flatten)]
    pub remote: Remote,
    /// Write JSON lines instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Say nothing but errors and warnings
    #[arg(short, long, global = true, help_heading = "Global options", conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice: also what did not change
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Whose environment variables are looked at.
    #[arg(skip)]
    pub side: Side,
    /// Whose variables say the secret: of another repository that has none of its own those of this one.
    #[arg(skip)]
    pub secrets_of: Side,
    /// It is a copy or a sibling of another one: that one's key file may open it.
    #[arg(skip)]
    pub related: bool,
    /// The passphrase that a configuration gives; before all that flags and variables say.
    #[arg(skip)]
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// Keys of its bucket that a configuration gives.
    #[arg(skip)]
    pub credentials: Option<S3Credentials>,
}

/// Which of two repositories is meant where a command has to do with two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// The one that every command has.
    #[default]
    Own,
    /// Another one, that is read.
    From,
    /// Another one, that is written.
    To,
}

impl Side {
    /// An environment variable of this side: `SEABED_` and the like, and `name`.
    pub fn variable(self, name: &str) -> String {
        match self {
            Side::Own => format!("SEABED_{name}"),
            Side::From => format!("SEABED_FROM_{name}"),
            Side::To => format!("SEABED_TO_{name}"),
        }
    }

    /// An option of this side.
    pub fn flag(self, name: &str) -> String {
        match (self, name) {
            (Side::Own, _) => format!("--{name}"),
            (Side::From, _) => format!("--from-{name}"),
            (Side::To, "repo") => "--to".to_owned(),
            (Side::To, _) => format!("--to-{name}"),
        }
    }
}

/// How to talk to a store over a network. Keys come from AWS_* variables, profiles or the machine, never from the command line.
#[derive(Args, Debug, Clone, Default)]
pub struct Remote {
    /// Region of the bucket [default: that of AWS_REGION or the profile]
    #[arg(long, global = true, value_name = "REGION", help_heading = "S3 options", hide_short_help = true)]
    pub s3_region: Option<String>,
    /// Name the bucket in the path, not in the host's name [default: auto, in the path everywhere but at AWS]
    #[arg(long, global = true, value_name = "WHEN", help_heading = "S3 options", hide_short_help = true)]
    #[arg(value_parser = ["auto", "always", "never"])]
    pub s3_path_style: Option<String>,
    /// Trust the certificates in FILE (PEM) too [env: SEABED_CA_FILE]
    #[arg(long, alias = "cacert", global = true, value_name = "FILE", help_heading = "S3 options", hide_short_help = true)]
    pub ca_file: Option<PathBuf>,
    /// Talk to other machines without TLS
    #[arg(long, global = true, help_heading = "S3 options", hide_short_help = true)]
    pub allow_http: bool,
    /// Storage class of the data packs of this run (remembered nowhere: give it at every backup); all else stays in the bucket's own
    #[arg(long, global = true, value_name = "CLASS", help_heading = "S3 options", hide_short_help = true)]
    pub storage_class: Option<String>,
    /// Have the store encrypt what this run puts, too: AES256, aws:kms or aws:kms:KEY (give it at every backup)
    #[arg(long, global = true, value_name = "HOW", help_heading = "S3 options", hide_short_help = true)]
    pub sse: Option<String>,
    /// Requests at a time [default: as many as the store bears]
    #[arg(long, global = true, value_name = "N", help_heading = "S3 options", hide_short_help = true)]
    pub connections: Option<std::num::NonZeroUsize>,
    /// Send at most RATE bytes a second, such as 10M
    #[arg(long, global = true, value_name = "RATE", help_heading = "S3 options", hide_short_help = true)]
    pub limit_upload: Option<String>,
    /// Receive at most RATE bytes a second
    #[arg(long, global = true, value_name = "RATE", help_heading = "S3 options", hide_short_help = true)]
    pub limit_download: Option<String>,
    /// Go on trying for so many minutes when the store does not answer
    #[arg(long, global = true, value_name = "MINUTES", help_heading = "S3 options", hide_short_help = true)]
    #[arg(default_value_t = Remote::RETRY_MINUTES)]
    pub retry_minutes: u64,
}

impl Remote {
    /// How long a store that does not answer is tried, where nobody says, minutes.
    pub const RETRY_MINUTES: u64 = 15;
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    #[allow(missing_docs)]
    Setup(commands::setup::Args),
    #[allow(missing_docs)]
    Run(commands::run::Args),
    #[allow(missing_docs)]
    Status(commands::status::Args),
    #[allow(missing_docs)]
    Runs(commands::runs::RunsArgs),
    #[allow(missing_docs)]
    Logs(commands::runs::LogsArgs),
    #[allow(missing_docs)]
    Retain(commands::retain::Args),
    #[allow(missing_docs)]
    Config(commands::config::Args),
    #[allow(missing_docs)]
    RecoverPlan(commands::recover_plan::Args),
    #[allow(missing_docs)]
    Init(commands::init::Args),
    #[allow(missing_docs)]
    #[command(visible_alias = "snapshot", alias = "create")]
    Backup(Box<commands::backup::Args>),
    #[allow(missing_docs)]
    #[command(alias = "extract")]
    Restore(Box<commands::restore::Args>),
    #[allow(missing_docs)]
    #[command(alias = "list")]
    Snapshots(commands::snapshots::Args),
    #[allow(missing_docs)]
    Ls(commands::ls::Args),
    #[allow(missing_docs)]
    Find(Box<commands::find::Args>),
    #[allow(missing_docs)]
    History(commands::history::Args),
    #[allow(missing_docs)]
    Diff(Box<commands::diff::Args>),
    #[allow(missing_docs)]
    Dump(commands::dump::Args),
    #[allow(missing_docs)]
    Mount(Box<commands::mount::Args>),
    #[allow(missing_docs)]
    Serve(commands::serve::Args),
    #[allow(missing_docs)]
    #[command(alias = "delete")]
    Forget(Box<commands::forget::Args>),
    #[allow(missing_docs)]
    Copy(Box<commands::copy::Args>),
    #[allow(missing_docs)]
    Undelete(commands::undelete::Args),
    #[allow(missing_docs)]
    Rewrite(Box<commands::rewrite::Args>),
    #[allow(missing_docs)]
    Hold(commands::hold::HoldArgs),
    #[allow(missing_docs)]
    Unhold(commands::hold::UnholdArgs),
    #[allow(missing_docs)]
    Tag(commands::tag::Args),
    #[allow(missing_docs)]
    Describe(commands::describe::Args),
    #[allow(missing_docs)]
    #[command(visible_alias = "prune", alias = "compact")]
    Gc(commands::gc::Args),
    #[allow(missing_docs)]
    Key(Box<commands::key::Args>),
    #[allow(missing_docs)]
    #[command(aliases = ["info", "repo-info"])]
    Stats(commands::stats::Args),
    #[allow(missing_docs)]
    #[command(visible_alias = "verify")]
    Check(commands::check::Args),
    #[allow(missing_docs)]
    Rebuild(commands::rebuild::Args),
    #[allow(missing_docs)]
    Repair(commands::repair::Args),
    #[allow(missing_docs)]
    Cat(commands::cat::Args),
    #[allow(missing_docs)]
    Cache(commands::cache::Args),
    #[allow(missing_docs)]
    Doctor(commands::doctor::Args),
    #[allow(missing_docs)]
    IamPolicy(commands::iam_policy::Args),
    #[allow(missing_docs)]
    SelfTest(commands::self_test::Args),
    #[allow(missing_docs)]
    Completions(commands::completions::Args),
    #[allow(missing_docs)]
    Man(commands::man::Args),
    #[allow(missing_docs)]
    Schema(commands::schema::Args),
    #[allow(missing_docs)]
    #[command(alias = "break-lock")]
    Unlock(commands::unlock::Args),
    #[allow(missing_docs)]
    Worker(commands::worker::Args),
    #[allow(missing_docs)]
    Version(commands::version::Args),
}

/// Which snapshots come into question.
#[derive(Args, Debug, Clone, Default)]
pub struct FilterArgs {
    /// Only snapshots of this host (repeatable)
    #[arg(long, value_name = "HOST", help_heading = "Which snapshots")]
    pub host: Vec<String>,
    /// Only snapshots of this series (repeatable)
    #[arg(long, value_name = "SERIES", help_heading = "Which snapshots")]
    pub series: Vec<String>,
    /// Only snapshots with all of these tags (repeatable: any of the lists)
    #[arg(long, value_name = "TAG[,TAG…]", help_heading = "Which snapshots")]
    pub tag: Vec<String>,
    /// Only snapshots of this path (repeatable: all of them)
    #[arg(id = "filter_path", long = "path", value_name = "PATH", help_heading = "Which snapshots")]
    pub path: Vec<PathBuf>,
}

impl FilterArgs {
    /// As the engine takes it.
    pub fn filter(&self) -> Filter {
        let path = |p: &PathBuf| {
            let path = std::path::absolute(p).unwrap_or_else(|_| p.clone());
            let bytes = path.as_os_str().as_bytes();
            let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len().min(1), |at| at + 1);
            bytes[..end].to_vec()
        };
        Filter {
            hosts: self.host.clone(),
            series: self.series.clone(),
            tags: self.tag.iter().map(|list| tags([list])).collect(),
            paths: self.path.iter().map(path).collect(),
        }
    }
}

/// Lists of tags, separated by commas; blanks around them and empty ones are nothing.
pub fn tags<'a>(lists: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for tag in lists.into_iter().flat_map(|l| l.split(',')).map(str::trim).filter(|t| !t.is_empty()) {
        if !out.iter().any(|have| have == tag) {
            out.push(tag.to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples_and_exit_codes() {
        fn look(command: &clap::Command, name: &str) {
            let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(text.starts_with("EXAMPLES\n  ") && text.ends_with(crate::exit::EXIT_STATUS), "`{name} --help` lacks them");
            assert!(text.contains(name), "no example of `{name}` is one of it");
            let inner = command.get_subcommands().filter(|sub| sub.get_name() != "help");
            inner.for_each(|sub| look(sub, &format!("{name} {}", sub.get_name())));
        }
        look(&Cli::command(), "seabed");
    }

    #[test]
    fn tags_are_lists() {
        assert_eq!(tags([&"a, b".to_owned(), &"b,,c".to_owned()]), ["a", "b", "c"]);
    }
}
