//! What `find` and `history` look into: the catalog and the path index, brought up to date where the repository can be reached, and as they
//! were last seen where not. It must never pass an old answer for a new one. It obeys what README.md says of offline answers.

use crate::args::{Global, Remote};
use crate::commands::refresh;
use crate::exit::{Code, Fail, without_number};
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::backup::BackupReport;
use seabed_engine::catalog::{Catalog, Snapshot};
use seabed_engine::error::Error;
use seabed_engine::find::{Which, fill};
use seabed_engine::paths::PathIndex;

/// Options of who can do without the repository.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct OfflineArgs {
    /// Ask only the catalog of this machine; needs neither the repository nor its key
    #[arg(long, conflicts_with = "no_cache")]
    pub offline: bool,
}

/// What there is to look into.
pub struct Looked {
    /// All snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Their paths.
    pub paths: PathIndex,
}

/// How long a store that does not answer is asked again when the catalog can answer too, minutes.
const RETRY_MINUTES: u64 = 0;

/// Opens what there is.
pub fn look(global: &Global, offline: &OfflineArgs, out: &Output) -> Result<Looked, Fail> {
    signals::catch();
    if offline.offline {
        return cached(global)?.ok_or_else(|| {
            Fail::new(Code::Failed, "this machine has no catalog of that repository").hint("leave --offline out, once at least")
        });
    }
    let mut hasty = global.clone();
    if hasty.remote.retry_minutes == Remote::RETRY_MINUTES {
        hasty.remote.retry_minutes = RETRY_MINUTES;
    }
    let found = open::open(&hasty, out).and_then(|opened| up_to_date(opened, out));
    match found {
        Err(fail) if matches!(fail.code, Code::Unreachable | Code::NoRepository) => match cached(global) {
            Ok(Some(looked)) => {
                let newest = looked.snapshots.last().map(|snapshot| time::local(&snapshot.index.time));
                let until = newest.map_or("which knows no snapshot".to_owned(), |newest| format!("whose newest snapshot is of {newest}"));
                out.warn(&format!("{}; this answer is that of the catalog here, {until}", fail.message));
                Ok(looked)
            }
            _ => Err(fail),
        },
        other => other,
    }
}

fn cached(global: &Global) -> Result<Option<Looked>, Fail> {
    let place = open::place(global)?;
    let Some((id, directory)) = open::cache(global).and_then(|base| open::remembered(&base, &place)) else { return Ok(None) };
    // Opened as it is: one of another version, or none, is not to be made anew here.
    let Some(catalog) = Catalog::open_existing(&directory, &id)? else { return Ok(None) };
    let Some(paths) = PathIndex::open_existing(&directory, &id)? else { return Ok(None) };
    Ok(Some(Looked { snapshots: catalog.snapshots()?, paths }))
}

fn up_to_date(opened: Opened, out: &Output) -> Result<Looked, Fail> {
    let repository = &opened.repository;
    refresh(repository, out)?;
    open::remark(&opened, out);
    let open = |directory| PathIndex::open(directory, &repository.id());
    let mut paths = match open(repository.cache_directory()) {
        Err(error @ (Error::Cache { .. } | Error::Catalog { .. })) if repository.cache_directory().is_some() => {
            out.warn(&format!("{}; going on without a cache", without_number(&error.to_string())));
            open(None)?
        }
        other => other?,
    };
    let listener = Listener::beside_lines(out, "indexing");
    let mut filled = fill(repository, &mut paths, Which::All, &listener);
    if let (Err(error), Some(directory)) = (&filled, repository.cache_directory())
        && PathIndex::is_damaged(error)
    {
        out.warn(&format!("{}; it is made anew", without_number(&error.to_string())));
        drop(paths);
        PathIndex::remove(directory)?;
        paths = open(Some(directory))?;
        filled = fill(repository, &mut paths, Which::All, &listener);
    }
    listener.finish();
    match filled {
        Ok(filled) => {
            for (id, error) in &filled.unreadable {
                out.warn(&format!("the paths of snapshot {} cannot be read: {error}", id.short()));
            }
        }
        Err(_) if signals::interrupted() => return Err(Fail::new(Code::Interrupted, "interrupted; the next run goes on from here")),
        // What is indexed is an answer, and what is not is said by whoever looks.
        Err(error @ (Error::Cache { .. } | Error::Catalog { .. })) => out.warn(&without_number(&error.to_string())),
        Err(error) => return Err(error.into()),
    }
    let snapshots = repository.catalog().snapshots()?;
    Ok(Looked { snapshots, paths })
}

/// Says how many of the snapshots that were to be searched the path index does not know.
pub fn missing(count: usize, out: &Output) {
    if count > 0 {
        let snapshots = size::of(count as u64, "snapshot");
        out.warn(&format!("the paths of {snapshots} are not known here: the answer says nothing of them"));
    }
}

/// Takes the snapshot into the index that a backup has just acknowledged. Whatever goes wrong, the next `find` does it.
pub fn after_backup(opened: &Opened, host: &str, report: &BackupReport, out: &Output) {
    let repository = &opened.repository;
    let Some(directory) = repository.cache_directory() else { return };
    let index = || {
        let mut paths = PathIndex::open(Some(directory), &repository.id())?;
        let listener = Listener::beside_lines(out, "indexing");
        let cheap = Which::Cheap { host, series: &report.series, trees: report.trees.as_ref() };
        let filled = fill(repository, &mut paths, cheap, &listener);
        drop(paths);
        if filled.as_ref().is_err_and(PathIndex::is_damaged) {
            PathIndex::remove(directory)?;
        }
        filled.map(|_| ())
    };
    if let Err(error) = index()
        && !signals::interrupted()
        && out.level >= 1
    {
        out.say(&format!("the path index is not up to date: {}", without_number(&error.to_string())));
    }
}
