//! `restore`: a snapshot, or a part of it, into a directory.
//! It must never delete without a plain order, nor below `/` without a filter. It obeys what README.md says of it.

mod guided;

use crate::args::{FilterArgs, Global};
use crate::commands::restore_plan::{self, ThawArgs};
use crate::commands::{archive, refresh};
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::config::source::Kind;
use crate::jobs::into::{self, IntoOptions, Target};
use crate::jobs::restore::{self as jobs, JobArgs, Restoring};
use crate::jobs::sources::bucket::BucketAsked;
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use clap::ValueEnum;
use seabed_engine::archive::ArchiveOptions;
use seabed_engine::repository::selector::Selected;
use seabed_engine::restore::shortfalls::{DEVICES, LOCKING, SETUID};
use seabed_engine::restore::{Overwrite, Pattern, RestoreOptions, RestoreReport, Shortfall, TargetOptions, restore};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "  seabed restore latest --target /tmp/back
  seabed restore latest:/home/user/documents --target ~/documents --overwrite if-changed
  seabed restore 40dc1520 --target / --include /etc/nginx --delete --dry-run -v
  seabed restore latest --series shop --target . --include dump.sql
  seabed restore latest --target /mnt/new --privileged      # a whole machine, as root
  seabed restore latest --target letters.tar --archive tar --include /home/ann/letters
  seabed restore latest --target /tmp/back --plan --thaw    # out of an archive class: orders it
  seabed restore nightly@latest --source app --target /srv  # a job of seabed.toml
  seabed restore --guided";

/// Bring a snapshot, or a part of it, into a directory or an archive
///
/// The full stored path is made again below the target: /home/user/x becomes DIR/home/user/x.
/// With SNAPSHOT:/sub/path what is in there goes right into the target. Content is verified
/// before a name appears. Patterns match paths as -v prints them: with SNAPSHOT:/sub/path they
/// begin there. With --archive the target is a file, which gets its name when all is there, or
/// standard output (`-`).
///
/// What can lend rights comes back with --privileged only: whoever can write into the repository
/// could have put a setuid shell there. Root who does not say whether is told what was left out (3).
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An id, `latest`, `latest~N`; each also with `:/sub/path`; or of a job of the configuration: JOB@latest
    #[arg(value_name = "SNAPSHOT", required_unless_present = "guided")]
    selector: Option<String>,
    /// Where to
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["into", "guided"])]
    target: Option<PathBuf>,
    /// Into a server, a bucket or a file instead: postgres://…, mysql://…, s3://…, FILE
    #[arg(long, value_name = "URL", conflicts_with_all = ["target", "archive", "delete", "overwrite", "plan", "thaw", "dry_run", "verify"])]
    #[arg(conflicts_with_all = ["include", "iinclude", "exclude", "iexclude", "keep_going"])]
    into: Option<String>,
    /// Write an archive instead of files
    #[arg(long, value_name = "KIND", value_enum)]
    #[arg(conflicts_with_all = ["overwrite", "delete", "dry_run", "verify", "ownership_by_name", "no_owner", "plan", "thaw", "threads"])]
    #[arg(conflicts_with_all = ["no_permissions", "no_times", "no_flags", "include_xattr", "exclude_xattr", "privileged", "no_privileged"])]
    archive: Option<archive::Kind>,
    /// Only what matches PATTERN (repeatable)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What is restored")]
    include: Vec<OsString>,
    /// The same, letters of either case
    #[arg(long, value_name = "PATTERN", help_heading = "What is restored")]
    iinclude: Vec<OsString>,
    /// Not what matches PATTERN (repeatable)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What is restored")]
    exclude: Vec<OsString>,
    /// The same, letters of either case
    #[arg(long, value_name = "PATTERN", help_heading = "What is restored")]
    iexclude: Vec<OsString>,
    /// What happens to files that are there
    #[arg(long, value_name = "WHEN", value_enum, default_value = "always")]
    overwrite: When,
    /// Remove what the snapshot does not have; --dry-run and -v name each path
    #[arg(long)]
    delete: bool,
    /// Change nothing, only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Read everything back afterwards and compare
    #[arg(long)]
    verify: bool,
    /// After damage, restore all that is left
    #[arg(long)]
    keep_going: bool,
    /// Owners by number
    #[arg(long, aliases = ["numeric-ids", "numeric-id"], help_heading = "Attributes", conflicts_with = "ownership_by_name")]
    numeric_owner: bool,
    /// Owners by name where this system knows it, else by number (the default)
    #[arg(long, help_heading = "Attributes")]
    ownership_by_name: bool,
    /// Leave owners as they come
    #[arg(long, aliases = ["no-ownership", "skip-owners"], help_heading = "Attributes")]
    no_owner: bool,
    /// Leave modes and ACLs as new files get them here (umask); what was executable stays so
    #[arg(long, alias = "skip-permissions", help_heading = "Attributes")]
    no_permissions: bool,
    /// Leave times of change as they come
    #[arg(long, alias = "skip-times", help_heading = "Attributes")]
    no_times: bool,
    /// Leave attributes of chattr away
    #[arg(long, alias = "noflags", help_heading = "Attributes")]
    no_flags: bool,
    /// Leave extended attributes and ACLs away
    #[arg(long, alias = "noxattrs", help_heading = "Attributes")]
    no_xattrs: bool,
    /// Only extended attributes whose name matches PATTERN, such as `user.*` (repeatable)
    #[arg(long, value_name = "PATTERN", help_heading = "Attributes")]
    include_xattr: Vec<OsString>,
    /// Not those whose name matches PATTERN (repeatable)
    #[arg(long, value_name = "PATTERN", help_heading = "Attributes")]
    exclude_xattr: Vec<OsString>,
    /// Also what can lend rights: device nodes, setuid bits, security.* and more (README)
    #[arg(long, help_heading = "Attributes", conflicts_with = "no_privileged")]
    privileged: bool,
    /// Leave these out, and do not count that as incomplete
    #[arg(long, help_heading = "Attributes")]
    no_privileged: bool,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    #[command(flatten)]
    thaw: ThawArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    into_options: IntoOptions,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    /// Replace them
    Always,
    /// Replace those whose size or time differ
    IfChanged,
    /// Replace those that are older
    IfNewer,
    /// Keep them
    Never,
}

fn patterns(exact: &[OsString], folded: &[OsString]) -> Vec<Pattern> {
    let make = |fold_case: bool| move |text: &OsString| Pattern { text: text.as_bytes().to_vec(), fold_case };
    exact.iter().map(make(false)).chain(folded.iter().map(make(true))).collect()
}

/// Restores it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if args.job.guided {
        return guided::run(global, args, out);
    }
    let selector = args.selector.as_deref().unwrap_or_default();
    if let Some(target) = &args.target {
        look_at(args, target)?;
    }
    // A mistake in it is found before a repository is opened.
    args.into.as_deref().map(Target::parse).transpose()?;
    if let Some(meant) = jobs::meant(selector) {
        return of_job(global, args, &args.target, &args.job, &meant, out);
    }
    if !args.job.source.is_empty() || args.job.at.is_some() || args.job.safety_snapshot {
        return Err(
            Fail::config("--source, --at and --safety-snapshot are for jobs").hint("write JOB@latest; `seabed config show` has the jobs")
        );
    }
    let opened = open::open(global, out)?;
    refresh(&opened.repository, out)?;
    let selected = opened.repository.select(selector, &args.filter.filter())?;
    let bucket = BucketAsked { allow_http: global.remote.allow_http, region: crate::remote::region(global), ..BucketAsked::default() };
    one(&opened, &selected, (args, &args.target), Some(&bucket), out)
}

/// What can be wrong with a target by itself.
fn look_at(args: &Args, target: &Path) -> Result<(), Fail> {
    if target.as_os_str().is_empty() {
        return Err(Fail::config("the name of the target is empty").hint("write --target DIR; a variable in it may be unset"));
    }
    if args.delete && args.include.is_empty() && args.iinclude.is_empty() && is_root(target) {
        let fail = Fail::new(Code::Refused, "--delete with the target / would remove everything that the snapshot does not have");
        return Err(fail.hint("say with --include what is meant"));
    }
    Ok(())
}

/// Restores what a job stored.
fn of_job(global: &Global, args: &Args, target: &Option<PathBuf>, asked: &JobArgs, meant: &jobs::Meant<'_>, out: &Output) -> Run {
    let config = Config::load(global.config.as_deref())?;
    let named = !asked.source.is_empty();
    // Of several sources those are meant that the target takes.
    let mut asked = asked.clone();
    if let Some(into) = args.into.as_deref().filter(|_| asked.source.is_empty()) {
        let (job, into) = (config.job(meant.name)?, Target::parse(into)?);
        let fits = |name: &&String| config.sources.get(*name).is_some_and(|source| into.takes(&source.kind));
        asked.source = job.sources.iter().filter(fits).cloned().collect();
        if asked.source.is_empty() {
            return Err(Fail::config(format!("job {} has no source that goes into such a target", meant.name))
                .hint(format!("it has {}; --target DIR brings files", job.sources.join(", "))));
        }
    }
    let asked = &asked;
    let restoring = Restoring::open(global, &config, meant, asked, out)?;
    let plan = restoring.plan(named)?;
    if args.delete && plan.sources.len() > 1 {
        return Err(Fail::config("--delete with several sources: each would remove what the other brought").hint("name one with --source"));
    }
    if asked.safety_snapshot && !args.dry_run {
        let sources: Vec<String> = plan.sources.iter().map(|(source, _)| source.clone()).collect();
        jobs::safety(global, &config, meant.name, &sources, out)?;
    }
    let mut all = || {
        let mut codes = Vec::new();
        for (source, candidates) in &plan.sources {
            // An s3 source's own keys and endpoint, and its objects without the name of the source before them.
            let bucket = match &config.source(source)?.kind {
                Kind::S3(bucket) => Some(BucketAsked::of(&config, source, bucket)?),
                _ => None,
            };
            let below = bucket.as_ref().filter(|_| args.into.is_some()).map(|_| source.as_bytes().to_vec());
            codes.push(restoring.restore((source, candidates), &mut |opened, selected| {
                let whole = selected.path.is_empty();
                let path = below.clone().filter(|_| whole).unwrap_or_else(|| selected.path.clone());
                one(opened, &Selected { path, snapshot: selected.snapshot.clone() }, (args, target), bucket.as_ref(), out)
            })?);
        }
        let worst = codes.into_iter().find(|code| *code != Code::Done).unwrap_or(Code::Done);
        Ok(if plan.complete { worst } else { Code::Incomplete })
    };
    if args.dry_run { all() } else { restoring.around(asked, &mut all) }
}

/// Restores one snapshot, or a part of it.
fn one(opened: &Opened, selected: &Selected, (args, target): (&Args, &Option<PathBuf>), bucket: Option<&BucketAsked>, out: &Output) -> Run {
    if let Some(into) = &args.into {
        return into::run(opened, selected, (&Target::parse(into)?, bucket), &args.into_options, out);
    }
    let repository = &opened.repository;
    let include = patterns(&args.include, &args.iinclude);
    let exclude = patterns(&args.exclude, &args.iexclude);
    let target = target.clone().unwrap_or_default();
    if let Some(kind) = args.archive {
        let options = ArchiveOptions {
            include,
            exclude,
            numeric_owner: args.numeric_owner,
            xattrs: !args.no_xattrs,
            keep_going: args.keep_going,
            ..ArchiveOptions::new(kind.into())
        };
        return archive::write(repository, selected, &options, Some(&target), out);
    }
    if !out.json {
        open::introduce(opened, out);
    }
    let names = &selected.snapshot.names;
    let verb = match (args.thaw.plan, args.dry_run) {
        (true, _) => "planning to restore",
        (false, true) => "would restore",
        (false, false) => "restoring",
    };
    let when = time::local(&selected.snapshot.index.time);
    out.say(&format!("{verb} snapshot {} of {when} to {}", selected.snapshot.id.short(), target.display()));
    out.say(&format!("  series {}, host {}", names.series, names.host));
    let options = RestoreOptions {
        target: target.clone(),
        options: TargetOptions {
            overwrite: match args.overwrite {
                When::Always => Overwrite::Always,
                When::IfChanged => Overwrite::IfChanged,
                When::IfNewer => Overwrite::IfNewer,
                When::Never => Overwrite::Never,
            },
            delete: args.delete,
            dry_run: args.dry_run,
            numeric_owner: args.numeric_owner,
            owners: !args.no_owner,
            permissions: !args.no_permissions,
            xattrs: !args.no_xattrs,
            include_xattrs: args.include_xattr.iter().map(|p| p.as_bytes().to_vec()).collect(),
            exclude_xattrs: args.exclude_xattr.iter().map(|p| p.as_bytes().to_vec()).collect(),
            times: !args.no_times,
            flags: !args.no_flags,
            privileged: args.privileged,
        },
        include,
        exclude,
        verify: args.verify,
        keep_going: args.keep_going,
        threads: usize::from(args.threads.unwrap_or(0)),
    };
    if args.thaw.plan || args.thaw.thaw {
        let watching = Listener::new(out, "planning");
        let ended = restore_plan::before(&args.thaw, (repository, selected), &options, &watching, out);
        watching.finish();
        if let Some(code) = ended? {
            return Ok(code);
        }
    }
    let who = Who::new(args);
    let listener = Listener::new(out, "restore").naming_deletions(out.json || args.dry_run).naming_withheld(who.root && !who.without);
    let result = restore(repository, selected, &options, &listener);
    let took = listener.elapsed();
    listener.finish();
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => {
            let fail = Fail::new(Code::Interrupted, "interrupted, the target holds what was restored so far");
            return Err(fail.hint("run it again with --overwrite if-changed to go on"));
        }
        Err(error) => return Err(error.into()),
    };
    finished(args, &report, took, out)
}

/// Whether a path is `/`, however it is spelt.
fn is_root(path: &Path) -> bool {
    let full = path.canonicalize().or_else(|_| std::path::absolute(path));
    full.is_ok_and(|p| p == Path::new("/"))
}

/// Who restores, as far as it decides what is said of what is missing.
#[derive(Clone, Copy)]
struct Who {
    root: bool,
    /// It was said that nothing privileged is wanted.
    without: bool,
}

impl Who {
    fn new(args: &Args) -> Self {
        Who { root: rustix::process::geteuid().is_root(), without: args.no_privileged }
    }

    /// Whether what is missing makes the restore incomplete. What a user may not have at all costs the exit status only where whole entries
    /// are missing; root may have everything, and so was not asked.
    fn lacks(self, shortfall: &Shortfall) -> bool {
        match shortfall.withheld {
            true => !self.without && (self.root || shortfall.is_missing()),
            false => shortfall.is_missing(),
        }
    }

    /// What is missing, in words.
    fn words(self, shortfall: &Shortfall) -> String {
        let Shortfall { what, count, first, withheld, .. } = shortfall;
        let rights = [SETUID, DEVICES, "owners", "groups", "security.* attributes", "trusted.* attributes", LOCKING];
        let why = match (withheld, self.root) {
            (true, true) => "needs --privileged",
            (true, false) => "needs root and --privileged",
            (false, false) if rights.contains(&what.as_str()) => "needs root",
            (false, _) => "not possible here",
        };
        let first = first.display();
        match shortfall.is_missing() {
            true => format!("{what} were not restored: {} ({why}), first {first}", size::count(*count)),
            false => format!("{what} were not restored for {} ({why}), first {first}", size::of(*count, "entry")),
        }
    }
}

fn shortfall_json(shortfall: &Shortfall) -> Value {
    let first = shortfall.first.to_string_lossy();
    json!({"what": shortfall.what, "count": shortfall.count, "first_item": first, "withheld": shortfall.withheld})
}

fn finished(args: &Args, report: &RestoreReport, took: std::time::Duration, out: &Output) -> Run {
    // The errors themselves were said when they happened.
    let unsaid = report.error_count.saturating_sub(report.errors.len() as u64);
    if unsaid > 0 {
        out.warn(&size::of(unsaid, "further error"));
    }
    let who = Who::new(args);
    for shortfall in report.shortfalls.iter().filter(|s| !(s.withheld && who.without)) {
        out.warn(&who.words(shortfall));
    }
    if report.shortfalls.iter().any(|s| s.withheld && who.lacks(s)) {
        let again = "--privileged --overwrite if-changed brings it, without writing what is there again";
        out.warn(&format!("{again}; --no-privileged says that it is not wanted"));
    }
    if out.json {
        out.message(&json!({
            "message_type": "summary",
            "seconds_elapsed": took.as_secs(),
            "dry_run": args.dry_run,
            "total_files": report.files_total,
            "files_restored": report.files_restored + report.files_updated,
            "files_updated": report.files_updated,
            "files_unchanged": report.files_unchanged,
            "files_skipped": report.files_skipped + report.files_unchanged,
            "files_deleted": report.files_deleted,
            "files_verified": report.files_verified,
            "files_not_stored": report.files_not_stored,
            "directories": report.directories,
            "total_bytes": report.bytes_total,
            "bytes_restored": report.bytes_restored,
            "bytes_skipped": report.bytes_skipped,
            "error_count": report.error_count,
            "shortfalls": report.shortfalls.iter().map(shortfall_json).collect::<Vec<_>>(),
        }));
    } else {
        let mut line = format!(
            "Files: {} restored, {} replaced, {} unchanged, {} skipped",
            size::count(report.files_restored),
            size::count(report.files_updated),
            size::count(report.files_unchanged),
            size::count(report.files_skipped)
        );
        if report.files_deleted > 0 {
            line.push_str(&format!(", {} deleted", size::count(report.files_deleted)));
        }
        out.say(&line);
        if args.verify {
            out.say(&format!("{} read back and found equal", size::of(report.files_verified, "file")));
        }
        let verb = if args.dry_run { "would restore" } else { "restored" };
        out.say(&format!(
            "{verb} {}, {}, {} in {}",
            size::of(report.files_restored + report.files_updated, "file"),
            size::of(report.directories, "directory"),
            size::human(report.bytes_restored),
            time::clock(took)
        ));
    }
    if report.files_not_stored > 0 {
        out.warn(&format!("the snapshot lacks {} that could not be read when it was made", size::of(report.files_not_stored, "file")));
    }
    // Damage outranks what the target refused: it will be there on the next try too.
    let damaged = report.errors.iter().any(|e| e.kind() == seabed_engine::error::Kind::Damage);
    let missing: u64 = report.shortfalls.iter().filter(|s| who.lacks(s)).map(|s| s.count).sum();
    Ok(match report.error_count + report.files_not_stored + missing {
        0 => Code::Done,
        _ if damaged => Code::Damage,
        _ => Code::Incomplete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It said `owners: 12 times`, and a restore without its device nodes was a success.
    #[test]
    fn what_is_missing_is_said_in_words() {
        let said = |what: &str, withheld, root| {
            let who = Who { root, without: false };
            let shortfall = Shortfall::new(what, 2, "/back/x".into(), withheld);
            (who.words(&shortfall), who.lacks(&shortfall))
        };
        assert_eq!(said(DEVICES, false, false), ("device nodes were not restored: 2 (needs root), first /back/x".to_owned(), true));
        assert_eq!(said("owners", false, false), ("owners were not restored for 2 entries (needs root), first /back/x".to_owned(), false));
        assert_eq!(
            said(SETUID, true, true).0,
            "setuid and setgid bits were not restored for 2 entries (needs --privileged), first /back/x"
        );
        assert!(said(SETUID, true, true).1 && !said(SETUID, true, false).1 && said(DEVICES, true, false).1);
        assert!(said("chattr flags", false, true).0.contains("(not possible here)"));
    }
}
