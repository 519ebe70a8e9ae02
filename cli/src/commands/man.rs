//! `man`: manual pages, made from the same source as the parser and the help, so that none of them says what the others do not.
//! It must never write anything but pages, and only where it was told to.

use crate::args::Cli;
use crate::exit::{Code, EXIT_STATUS, Fail, Run, help, plain};
use crate::output::Output;
use crate::size;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write manual pages into a directory
///
/// seabed.1 and one page for each command, such as seabed-backup.1. Pages that are there are written
/// anew. For packagers: nothing in them depends on where or when they are made.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed man /usr/local/share/man/man1\n  seabed man . && man ./seabed-backup.1"))]
pub struct Args {
    /// Where to, made if it is missing
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
}

/// What the environment says, for the page of the program itself.
const ENVIRONMENT: [(&str, &str); 22] = [
    ("SEABED_REPOSITORY", "The repository, as --repo names it."),
    ("SEABED_PASSWORD", "The passphrase."),
    ("SEABED_PASSWORD_FILE", "A file that holds the passphrase."),
    ("SEABED_PASSWORD_COMMAND", "A command that prints the passphrase; split like a shell does, not run by one."),
    ("SEABED_KEY_FILE", "A key file. Of these four only one may be set."),
    (
        "SEABED_FROM_REPOSITORY, SEABED_FROM_PASSWORD, SEABED_FROM_PASSWORD_FILE, SEABED_FROM_PASSWORD_COMMAND, SEABED_FROM_KEY_FILE, \
         SEABED_FROM_AWS_ACCESS_KEY_ID, SEABED_FROM_AWS_SECRET_ACCESS_KEY, SEABED_FROM_AWS_SESSION_TOKEN",
        "The same of the other repository that something is taken from, and keys of its bucket where they are others.",
    ),
    (
        "SEABED_TO_PASSWORD, SEABED_TO_PASSWORD_FILE, SEABED_TO_PASSWORD_COMMAND, SEABED_TO_KEY_FILE, SEABED_TO_AWS_ACCESS_KEY_ID, \
         SEABED_TO_AWS_SECRET_ACCESS_KEY, SEABED_TO_AWS_SESSION_TOKEN",
        "The same of other repositories that something goes to.",
    ),
    ("SEABED_CACHE_DIR", "Where caches are kept."),
    ("SEABED_CONFIG", "The configuration of jobs, as --config names it."),
    ("SEABED_STATE_DIR", "Where runs of jobs are recorded and their locks lie."),
    (
        "SEABED_<SECTION>__<NAME>__<KEY>",
        "A single value of the configuration: SEABED_JOB__NIGHTLY__RUN__TRIES=5, SEABED_REPO__S3__URL, SEABED_SOURCE__PG__DSN.",
    ),
    (
        "SEABED_JOB, SEABED_RUN_ID, SEABED_HOOK, SEABED_HOST, SEABED_CONFIG, SEABED_SNAPSHOTS, SEABED_EXIT_CODE, SEABED_ERROR, SEABED_RESTORE",
        "What hooks of jobs are told.",
    ),
    ("SEABED_HOST", "The host that new snapshots are of."),
    ("SEABED_WEBDAV_PASSWORD", "The password that `seabed serve webdav --user` asks for."),
    ("SEABED_CA_FILE", "Certificates (PEM) to trust besides those of the system."),
    (
        "SEABED_PROGRESS_FPS",
        "How often a second progress is told, such as 0.1; 0 for never. Where standard error is no terminal lines are written, and only if this is set.",
    ),
    ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE", "Keys of a bucket, as AWS' own tools take them."),
    ("AWS_REGION, AWS_ENDPOINT_URL, AWS_CA_BUNDLE", "Where a bucket is."),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "Proxies."),
    ("XDG_DATA_HOME, XDG_CONFIG_HOME, XDG_CACHE_HOME", "Where the default repository, key files and caches are."),
    ("NO_COLOR", "No colours and no bold letters in help and errors of the command line. There are none anywhere else."),
    ("TERM", "With `dumb` no bar is drawn."),
];

/// Text that troff takes for itself.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let guarded = text.lines().map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() });
    guarded.collect::<Vec<_>>().join("\n")
}

fn section(page: &mut String, title: &str) {
    page.push_str(&format!(".SH \"{title}\"\n"));
}

/// Lines as they stand.
fn literal(page: &mut String, text: &str) {
    page.push_str(&format!(".nf\n{}\n.fi\n", escaped(text)));
}

/// What stands below the options in the help: examples, and what follows them.
fn examples(command: &Command) -> Option<String> {
    let text = command.get_after_long_help()?.to_string();
    let text = text.strip_prefix("EXAMPLES\n")?.to_owned();
    Some(text.split("\n\nEXIT STATUS").next().unwrap_or_default().to_owned())
}

/// `seabed-serve-webdav`.
fn name_of(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// A command and those in it.
fn with_inner(command: &Command, all: &mut Vec<Command>) {
    all.push(command.clone());
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help").for_each(|sub| with_inner(sub, all));
}

fn page(command: &Command, all: &[String]) -> std::io::Result<Vec<u8>> {
    let name = name_of(command);
    let program = concat!("seabed ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone());
    // No date: that of a build would make two builds of the same two different ones.
    let mut page = format!(".TH \"{}\" \"1\" \"\" \"{program}\" \"Seabed\"\n", escaped(&name.to_uppercase())).into_bytes();
    man.render_name_section(&mut page)?;
    let mut text = String::new();
    section(&mut text, "SYNOPSIS");
    let usage = command.clone().render_usage().to_string();
    text.push_str(&format!("{}\n", escaped(usage.trim_start_matches("Usage:").trim())));
    page.extend(text.into_bytes());
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut text = String::from_utf8_lossy(&page).into_owned();
    // Headings as they stand in the help: in capitals `30d` is another thing.
    for heading in command.get_arguments().filter_map(clap::Arg::get_help_heading) {
        text = text.replace(&heading.to_uppercase(), heading);
    }
    if command.get_subcommands().any(|sub| sub.get_name() != "help") {
        section(&mut text, "COMMANDS");
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!(".TP\n\\fB{}\\fR(1)\n{}\n", escaped(&name_of(sub)), escaped(&about)));
        }
    }
    if command.get_name() == name {
        section(&mut text, "ENVIRONMENT");
        for (names, meaning) in ENVIRONMENT {
            text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(names), escaped(meaning)));
        }
        section(&mut text, "SIGNALS");
        text.push_str(&format!(
            ".TP\n\\fBSIGUSR1\\fR\n{}\n.TP\n\\fBSIGINT, SIGTERM, SIGHUP\\fR\n{}\n",
            escaped("Every command writes one line on standard error that says how far it is, also with --quiet."),
            escaped("What runs stops within a second and leaves nothing that hurts; what was stored is used by the next run.")
        ));
    }
    if let Some(examples) = examples(command) {
        section(&mut text, "EXAMPLES");
        literal(&mut text, &examples);
    }
    section(&mut text, "EXIT STATUS");
    for line in EXIT_STATUS.lines() {
        let (code, meaning) = line.trim().split_once(' ').unwrap_or((line, ""));
        text.push_str(&format!(".TP\n\\fB{code}\\fR\n{}\n", escaped(meaning.trim())));
    }
    section(&mut text, "SEE ALSO");
    let others = all.iter().filter(|other| **other != name);
    text.push_str(&others.map(|other| format!("\\fB{}\\fR(1)", escaped(other))).collect::<Vec<_>>().join(",\n"));
    text.push('\n');
    Ok(ascii(&text).into_bytes())
}

/// What is no ASCII by the name that troff has for it: without a locale it takes bytes for letters.
fn ascii(text: &str) -> String {
    let letter = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(letter).collect()
}

/// All pages: name of the file, and what is in it.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut commands = Vec::new();
    with_inner(&program, &mut commands);
    let all: Vec<String> = commands.iter().map(name_of).collect();
    commands.iter().map(|command| Ok((format!("{}.1", name_of(command)), page(command, &all)?))).collect()
}

fn write(directory: &Path) -> std::io::Result<Vec<String>> {
    std::fs::create_dir_all(directory)?;
    let mut files = Vec::new();
    for (name, page) in pages()? {
        std::fs::write(directory.join(&name), page)?;
        files.push(name);
    }
    Ok(files)
}

/// Writes them.
pub fn run(args: &Args, out: &Output) -> Run {
    let files = write(&args.directory).map_err(|e| {
        Fail::new(Code::Failed, format!("cannot write manual pages to {}: {}", args.directory.display(), plain(&e)))
            .hint("name a directory that this user may write, or that can be made")
    })?;
    if out.json {
        out.json_result(&json!({"message_type": "man", "directory": args.directory.to_string_lossy(), "files": files}))?;
    } else {
        out.say(&format!("wrote {} to {}", size::of(files.len() as u64, "page"), args.directory.display()));
    }
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_text_are_no_requests() {
        assert_eq!(escaped(".seabedignore\n'x' \\ --y"), "\\&.seabedignore\n\\&'x' \\e \\-\\-y");
    }

    #[test]
    fn every_page_has_its_sections() {
        for (name, page) in pages().unwrap() {
            let text = String::from_utf8(page).unwrap();
            for part in [".TH ", ".SH NAME", ".SH \"SYNOPSIS\"", ".SH DESCRIPTION", ".SH \"EXAMPLES\"", ".SH \"EXIT STATUS\"", "SEE ALSO"] {
                assert!(text.contains(part), "{name} has no {part}");
            }
        }
    }
}
