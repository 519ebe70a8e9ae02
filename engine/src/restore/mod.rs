//! Restore: a snapshot, or a part of it, into a directory (spec chapter 6). One thread walks the tree and hands out batches;
//! workers fetch, verify and write. A name appears only when its content was verified whole; directories are finished last.
//! One entry that fails costs that entry; damage of the repository ends the run unless the caller wants all that is left.

#[doc(hidden)]
pub mod attrs;
#[doc(hidden)]
pub mod file;
pub mod needs;
mod options;
mod plan;
mod prune;
pub mod shortfalls;
#[doc(hidden)]
pub mod target;
mod watch;
mod work;

pub use crate::repository::selection::Pattern;
pub use options::{Overwrite, RestoreOptions, RestoreReport, TargetOptions};
pub use shortfalls::Shortfall;

use crate::error::{Error, Kind, Result};
use crate::observe::{Observer, Stage};
use crate::repository::Repository;
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::restore::plan::Plan;
use crate::restore::target::Target;
use crate::restore::work::{Pass, Shared};
use crossbeam_channel::bounded;
use std::sync::Arc;

/// Restores what `selected` names.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Overwrite, RestoreOptions, Silent, TargetOptions, restore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// # let target = tempfile::tempdir()?;
/// // With a path, what is below it goes right into the target.
/// let selected = repository.select("latest:/home/ann", &Default::default())?;
/// let options = RestoreOptions {
///     target: target.path().to_path_buf(),
///     options: TargetOptions { overwrite: Overwrite::IfChanged, ..TargetOptions::default() },
///     verify: true,
///     ..RestoreOptions::default()
/// };
/// let report = restore(&repository, &selected, &options, &Silent)?;
/// assert_eq!((report.files_restored, report.files_verified, report.error_count), (1, 1, 0));
/// // What this user may not have, or was not asked for: owners, device nodes, setuid bits.
/// assert!(report.shortfalls.is_empty());
/// assert_eq!(std::fs::read_to_string(target.path().join("mail/letter.txt"))?, "Dear Ann,\n");
///
/// // Once more: everything is there.
/// assert_eq!(restore(&repository, &selected, &options, &Silent)?.files_unchanged, 1);
/// # Ok(())
/// # }
/// ```
pub fn restore(repository: &Repository, selected: &Selected, options: &RestoreOptions, observer: &dyn Observer) -> Result<RestoreReport> {
    restore_as_it_is(repository, selected, options, observer).map_err(|error| repository.unless_forgotten(&selected.snapshot.id, error))
}

fn restore_as_it_is(
    repository: &Repository,
    selected: &Selected,
    options: &RestoreOptions,
    observer: &dyn Observer,
) -> Result<RestoreReport> {
    let selection = Arc::new(Selection::new(&options.include, &options.exclude)?);
    let reader = repository.reader()?;
    let wanted = selection.clone();
    let target = Target::open(&options.target, options.options.clone())?.sparing(move |path| wanted.wants(path));
    let shared = Shared::new(&reader, &target, observer, (options.keep_going, options.verify));
    if options.options.delete {
        prune::refuse_single_file(&shared, selected)?;
    }
    let mut passes = vec![Pass::Write];
    if options.verify && !options.options.dry_run {
        passes.push(Pass::Verify);
    }
    let mut torn = false;
    let whole = selected.path.is_empty() && !selection.has_includes() && options.exclude.is_empty();
    if whole {
        shared.watch.believe(selected);
    }
    for pass in passes {
        let matched;
        shared.enter(if pass == Pass::Write { Stage::Working } else { Stage::Verifying });
        (matched, torn) = run(&shared, selected, &selection, (pass, torn), repository.reading_threads(options.threads()))?;
        if !matched && pass == Pass::Write && selection.has_includes() {
            observer.warning("nothing in what was chosen of the snapshot matches what is to be included");
        }
    }
    let shortfalls = target.finish();
    Ok(shared.report(shortfalls))
}

fn run(
    shared: &Shared<'_>,
    selected: &Selected,
    selection: &Selection,
    (pass, torn): (Pass, bool),
    threads: usize,
) -> Result<(bool, bool)> {
    let (jobs_in, jobs_out) = bounded(threads * 2);
    let mut plan = Plan::new(shared, selected, selection, pass, jobs_in);
    plan.torn = torn;
    let planned = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let jobs = jobs_out.clone();
                scope.spawn(move || work::run(shared, pass, &jobs))
            })
            .collect();
        drop(jobs_out);
        if pass == Pass::Write && shared.observer.wants_totals() && !shared.watch.knows() {
            scope.spawn(|| shared.watch.count(shared.reader, selected, selection));
        }
        // Closed on every way out: workers that wait for jobs of a planner that panicked would wait for ever.
        let closing = Closing(&mut plan);
        let planned = closing.0.all();
        drop(closing);
        let panicked = workers.into_iter().any(|w| w.join().is_err());
        shared.watch.stop();
        // A thread that panics is a bug, and it must not pass for a finished restore.
        if panicked { Err(Error::SelfCheck { what: "a restoring thread" }) } else { planned }
    });
    if let Some(error) = shared.take_stop() {
        return Err(error);
    }
    planned?;
    // After all files: hard links need the file that they link to, directories need their last child.
    plan.links()?;
    if pass == Pass::Write {
        shared.enter(Stage::Finishing);
    }
    let mut pruned = Ok(());
    if shared.target.options().delete && pass == Pass::Write {
        if plan.torn {
            shared.observer.warning(
                "nothing was deleted: the snapshot's list of names cannot be read whole, and what is not known to be surplus stays",
            );
        } else {
            pruned = prune::prune(shared, selected);
        }
    }
    // Whatever became of that: what was restored gets its attributes.
    plan.directories()?;
    if let Some(error) = shared.take_stop() {
        return Err(error);
    }
    pruned?;
    Ok((plan.matched, plan.torn))
}

/// Lets the workers end, also when the planner panics.
struct Closing<'p, 'a>(&'p mut Plan<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whether an error is the repository's, so that a restore without `keep_going` ends with it.
fn ends_restore(error: &Error) -> bool {
    // One archived pack is seldom the only one, and waiting for it helps all files.
    matches!(error.kind(), Kind::Damage | Kind::Unreachable | Kind::Interrupted) || matches!(error.cause(), Error::Archived { .. })
}
