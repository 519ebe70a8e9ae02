//! The engine's operations as processes do them: the one place that knows how they are called.

use crate::reader::Id;
use crate::repo::open;
use crate::schedule::source::Source;
use crate::schedule::world::{BEGINNING, Clock, Contents};
use seabed_engine::backup::{BackupOptions, Failure, backup};
use seabed_engine::error::Error;
use seabed_engine::forget::forget;
use seabed_engine::format::wire::Time;
use seabed_engine::gc::{GcOptions, MaxUnused, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::repository::Repository;
use seabed_engine::store::Store;
use seabed_engine::undelete::undelete;
use std::sync::Arc;
use std::time::Duration;

/// What a process does.
#[derive(Clone)]
pub enum Verb {
    /// Backs this up.
    Backup(Source),
    /// Forgets a snapshot.
    Forget(Id),
    /// Brings a forgotten snapshot back, in which this is.
    Undelete(Id, Arc<Contents>),
    /// Collects.
    Collect(Gc),
    /// What no engine does: for tests of the scheduler itself.
    Other(fn(Arc<dyn Store>) -> Result<(), String>),
}

/// How a collection goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Gc {
    /// The grace period: a courtesy, upon which nothing may rest.
    pub grace: Duration,
    /// What may stay unused.
    pub max_unused: MaxUnused,
    /// Target of data packs: what is far smaller is gathered.
    pub pack_bytes: u64,
}

impl Default for Gc {
    /// Without courtesies, and with nothing unused that is tolerated.
    fn default() -> Self {
        Gc { grace: Duration::ZERO, max_unused: MaxUnused::Part(0.0), pack_bytes: GcOptions::default().data_pack_bytes }
    }
}

/// What it reports.
pub enum Report {
    /// A snapshot, and what is in it.
    Snapshot(SnapshotId, Arc<Contents>),
    /// That it is done.
    Done,
}

/// Why a process failed.
#[derive(Debug)]
pub struct Refusal {
    /// In words.
    pub why: String,
    /// Somebody else's work came between, and this is what the protocol says of it: fail clearly, the next run succeeds.
    pub is_overtaken: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { why: error.to_string(), is_overtaken: matches!(error, Error::Overtaken) }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Repository(error) => error.into(),
            other => Refusal::from(other.to_string()),
        }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal { why, is_overtaken: false }
    }
}

/// Does it, all of it as a process of its own: from opening the repository on.
pub fn perform(verb: &Verb, store: Arc<dyn Store>, clock: Clock) -> Result<Report, Refusal> {
    if let Verb::Other(act) = verb {
        return act(store).map(|()| Report::Done).map_err(Refusal::from);
    }
    let repository = open(store, None)?;
    match verb {
        Verb::Backup(source) => {
            let options = BackupOptions { time: Some(Time::from_nanos(BEGINNING + clock.skew)), ..source.options() };
            let report = backup(&repository, options, &Silent)?;
            if let Some(error) = report.errors.first() {
                return Err(Refusal::from(error.to_string()));
            }
            let snapshot = report.snapshot.ok_or_else(|| "no snapshot".to_owned())?;
            Ok(Report::Snapshot(snapshot, source.contents()))
        }
        Verb::Forget(id) => {
            repository.refresh()?;
            forget(&repository, &[SnapshotId::new(*id)])?;
            Ok(Report::Done)
        }
        Verb::Undelete(id, contents) => {
            repository.refresh()?;
            match undelete(&repository, &SnapshotId::new(*id), &Silent) {
                Ok(new) => Ok(Report::Snapshot(new, contents.clone())),
                // A collection was there first.
                Err(error @ Error::NoSnapshot { .. }) => Err(Refusal { is_overtaken: true, ..error.into() }),
                Err(error) => Err(error.into()),
            }
        }
        Verb::Collect(gc) => collect_garbage(&repository, *gc),
        Verb::Other(_) => Ok(Report::Done),
    }
}

fn collect_garbage(repository: &Repository, gc: Gc) -> Result<Report, Refusal> {
    let Gc { grace, max_unused, pack_bytes } = gc;
    let options = GcOptions { grace, max_unused, threads: 1, data_pack_bytes: pack_bytes, ..GcOptions::default() };
    repository.refresh()?;
    let plan = plan(repository, &options, &Silent)?;
    // Nothing but the protocol keeps a pack that a backup has just put.
    if grace.is_zero() && plan.figures.young_packs > 0 {
        return Err(Refusal::from("a collection without grace spares what is young".to_owned()));
    }
    collect(repository, plan, &Silent)?;
    Ok(Report::Done)
}
