//! What people type who know another program, or mistype: which command does that here, or that nothing does yet.
//! It must never stand before a command or option that is there: the parser asks here only for what it does not know.

use crate::exit::Fail;
use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands of restic, rustic, borg and kopia that have no counterpart of that name: what to do instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["untag"], "`seabed tag --remove TAG` takes tags from snapshots; `seabed hold` keeps a snapshot from being forgotten"),
    (
        &["keys", "passwd", "change-passphrase", "slot"],
        "`seabed key` lists, adds, replaces and removes passphrases and key files, and makes recovery sheets",
    ),
    (
        &["mirror", "sync", "sync-to", "transfer"],
        "`seabed copy --to PLACE` copies snapshots into another repository, `seabed backup --to PLACE` makes them in several",
    ),
    (
        &["recover", "fix", "heal"],
        "`seabed repair` brings back snapshots that other copies still have; `seabed undelete` those that were forgotten",
    ),
    (&["self-update", "update", "upgrade"], "seabed is updated the way it was installed: by your system's packages, or `cargo install`"),
    (&["migrate", "convert"], "there is one repository format so far, and nothing to migrate"),
    (&["recreate", "rename"], "`seabed rewrite` leaves paths out of snapshots and gives them another host, series or time"),
    (&["merge"], "snapshots are not merged: restore one over the other, or mount them side by side"),
    (&["generate"], "`seabed completions SHELL` and `seabed man DIR` make completions and manual pages"),
    (&["cleanup", "maintenance", "garbage-collect", "space"], "`seabed gc` collects garbage"),
    (
        &["show-config", "settings", "policy"],
        "`seabed config show` prints the configuration of jobs; options and SEABED_ variables say everything else",
    ),
    (&["benchmark"], "`seabed self-test` tries the installation; benches are in the source tree: `cargo bench`"),
    (&["selftest", "test"], "`seabed self-test` tries the installation"),
    (
        &["restore-to", "recall", "get"],
        "`seabed restore SNAPSHOT --target DIR` brings files back, `seabed dump SNAPSHOT PATH` writes one to standard output",
    ),
    (
        &["monitor", "health"],
        "`seabed snapshots` lists what there is, `seabed check` says whether it is whole, `seabed doctor` looks at the store",
    ),
    (&["cron", "timer"], "`seabed schedule install --cron` writes a line for cron, `--systemd` timers"),
    (&["lock", "locks"], "there are no locks: backups, checks and collections run side by side"),
    (&["mnt"], "`seabed mount DIR` shows snapshots as a file system"),
    (&["umount", "unmount"], "a mount ends with Ctrl-C where `seabed mount` runs, or with the system's `umount DIR`"),
    (&["webdav", "server", "http"], "`seabed serve webdav` shows snapshots to programs and browsers"),
    (&["log", "versions", "blame"], "`seabed history PATH` tells what became of a path, `seabed snapshots` lists snapshots"),
    (&["search", "locate", "grep"], "`seabed find PATTERN` finds paths in all snapshots; nothing looks into contents"),
    (&["compare", "cmp"], "`seabed diff` compares two snapshots, or a snapshot with this machine"),
    (
        &["du", "ncdu", "usage", "size"],
        "`seabed stats` says what takes the space; `seabed ls SNAPSHOT --ncdu | ncdu -e -f -` shows it by directory",
    ),
    (&["export", "export-tar", "tar", "zip", "archive"], "`seabed dump SNAPSHOT PATH --archive tar --target FILE` writes an archive"),
    (&["import", "import-tar"], "`seabed backup --tar FILE` takes in what a tar archive holds"),
    (&["remove", "rm", "purge"], "`seabed forget ID` removes a snapshot, `seabed gc` gives its space back"),
    (&["rebuild-index", "reindex"], "`seabed rebuild` makes index and catalog anew"),
    (&["rinfo", "show", "inspect", "debug"], "`seabed cat` shows objects, `seabed ls SNAPSHOT` paths, `seabed stats` the repository"),
    (&["rcreate", "repo-create", "new"], "`seabed init` makes a repository"),
    (&["rlist", "repo-list", "archives", "backups"], "`seabed snapshots` lists what there is"),
    (&["with-lock"], "there are no locks: copy a repository while no `gc` runs on it"),
    (
        &["login", "connect", "open", "repository"],
        "every command takes the repository by --repo or SEABED_REPOSITORY; `seabed init` makes one",
    ),
];

/// Options of the same programs.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["--no-lock", "--retry-lock", "--lock-wait"], "there are no locks: leave it out"),
    (&["--insecure-no-password"], "without --password-file and the like a key file is made: a repository is always encrypted"),
    (&["--insecure-tls", "--tls-client-cert"], "name the certificate that is to be trusted: --ca-file FILE"),
    (&["--repository-file"], "write --repo \"$(cat FILE)\", or set SEABED_REPOSITORY"),
    (
        &["--copy-chunker-params"],
        "`seabed init --sibling-of PLACE` makes a repository that cuts as another one does, and takes its packs as they are",
    ),
    (&["--key-hint"], "the secret itself tells which key it opens: leave it out"),
    (&["--cleanup-cache"], "caches are bounded; `seabed cache --trim SIZE` makes them smaller"),
    (&["--option", "-o"], "what stores and mounts can be told has names of its own: the command's --help lists them"),
    (&["--name", "--iname"], "names are looked for without an option: `seabed find '*.txt'`, with -i for letters of either case"),
    (
        &["--blob", "--pack", "--show-pack-id"],
        "chunks are not looked for by their ids; `seabed cat pack ID` shows what a pack holds, `seabed check` what is damaged",
    ),
    (&["--size"], "`seabed find` takes --larger SIZE and --smaller SIZE, `seabed ls` --sort size, `seabed snapshots` --sizes"),
    (&["--foreground"], "a mount stays in the foreground: leave it out, or write & behind the command to go on"),
    (&["--address", "--port"], "`seabed serve webdav` takes --listen ADDRESS:PORT"),
    (&["--stdout"], "`seabed dump SNAPSHOT PATH` writes a file to standard output"),
    (&["--glob-archives", "--match-archives", "--prefix"], "--host, --series, --tag and --path say which snapshots are meant"),
    (&["--content-only"], "attributes are compared with --metadata only: leave it out"),
    (
        &["--http-user-agent", "--stuck-request-timeout"],
        "silent connections are given up by themselves; --retry-minutes says for how long to try",
    ),
    (&["--stdin-from-command", "--stdin-command", "--content-from-command"], "write --exec NAME='COMMAND ARGUMENTS'"),
    (&["--read-concurrency"], "--threads says how many files are read at a time"),
    (&["--no-extra-verify"], "what is written is always verified first: leave it out"),
    (&["--use-fs-snapshot", "--exclude-cloud-files"], "this is only of use on Windows, where seabed does not run yet"),
    (&["--sparse"], "holes are always restored as holes: leave it out"),
    (&["--strip-components"], "write SNAPSHOT:/sub/path: what is in there goes right into the target"),
    (&["--stats", "--progress", "--list"], "the summary is always printed, progress on a terminal; -v names what changed, -vv every file"),
    (&["--no-progress"], "set SEABED_PROGRESS_FPS=0, or use --quiet"),
    (
        &["--log-json", "--json-lines", "--json-progress", "--output-format"],
        "--json writes JSON, progress included; `seabed schema` describes it",
    ),
    (
        &["--repack-uncompressed", "--repack-cacheable-only", "--repack-smaller-than"],
        "`seabed gc` chooses the packs itself, within --max-unused and --max-repack",
    ),
    (&["--instant-delete"], "--grace 0 deletes at once"),
    (&["--keep-delete"], "--grace says how long condemned packs stay"),
    (&["--unsafe-allow-remove-all"], "--force overrules the guards; `seabed forget ID` removes a snapshot by name"),
];

fn known(table: &'static [(&[&str], &'static str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, what)| *what)
}

/// What is said of a command line that the parser refused, where this knows better than the parser.
pub fn advice(error: &Error) -> Option<Fail> {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand)?;
            if let Some(what) = known(COMMANDS, word) {
                return Some(Fail::config(format!("there is no command `{word}`")).hint(what));
            }
            let looks_like_a_path = word.contains('/') || word.starts_with('.') || word.starts_with('~');
            looks_like_a_path.then(|| {
                Fail::config(format!("`{word}` is no command"))
                    .hint("a path is backed up by `seabed backup PATH`; `seabed --help` lists the commands")
            })
        }
        ErrorKind::UnknownArgument => {
            let word = text(ContextKind::InvalidArg)?;
            let option = word.split('=').next().unwrap_or(word);
            known(OPTIONS, option).map(|what| Fail::config(format!("there is no option `{option}` here")).hint(what))
        }
        _ => None,
    }
}

/// What the parser suggests, as a hint.
pub fn tip(error: &Error) -> Option<String> {
    let tips: Vec<String> =
        error.render().to_string().lines().filter_map(|line| line.trim().strip_prefix("tip: ").map(str::to_owned)).collect();
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() && tips.is_empty() => {
            Some(format!("possible values: {}", values.join(", ")))
        }
        _ => None,
    };
    possible.or_else(|| (!tips.is_empty()).then(|| tips.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    /// A command that came to be made what was said of its name untrue.
    #[test]
    fn nothing_is_said_of_what_is_there() {
        let mut program = Cli::command();
        program.build();
        for word in COMMANDS.iter().flat_map(|(words, _)| *words) {
            assert!(program.find_subcommand(word).is_none(), "`{word}` is there");
        }
        for option in OPTIONS.iter().flat_map(|(words, _)| *words) {
            let long = option.trim_start_matches('-');
            let holders: Vec<&str> = program
                .get_subcommands()
                .filter(|sub| {
                    sub.get_arguments()
                        .any(|arg| arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long)))
                })
                .map(clap::Command::get_name)
                .collect();
            // Said only where it is not there; of one that another command has the text still has to be true.
            assert!(holders.is_empty() || ["--list", "--stats"].contains(option), "{option}: {holders:?}");
        }
    }

    #[test]
    fn what_others_call_it_is_answered() {
        let refused = |args: &[&str]| Cli::command().try_get_matches_from([&["seabed"], args].concat()).unwrap_err();
        let hint = |args: &[&str]| advice(&refused(args)).and_then(|fail| fail.hint);
        assert!(hint(&["untag", "x"]).is_some_and(|hint| hint.contains("seabed tag --remove")));
        assert!(hint(&["backup", "--no-lock", "/etc"]).is_some_and(|hint| hint.contains("no locks")));
        assert!(hint(&["find", "--size", "3", "x"]).is_some_and(|hint| hint.contains("--larger")));
        assert!(hint(&["/etc"]).is_some_and(|hint| hint.contains("seabed backup PATH")));
        assert!(hint(&["bakup"]).is_none());
        assert!(tip(&refused(&["bakup"])).is_some_and(|tip| tip.contains("backup")));
        assert!(tip(&refused(&["backup", "--exlude", "x"])).is_some_and(|tip| tip.contains("--exclude")));
        assert!(tip(&refused(&["restore", "x", "--target", "y", "--overwrite", "alwys"])).is_some_and(|tip| tip.contains("always")));
    }
}
