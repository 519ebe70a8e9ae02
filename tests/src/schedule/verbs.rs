//! The engine's operations as processes do them: the one place that knows how they are called.

use crate::repo::open;
use crate::schedule::source::Source;
use crate::schedule::world::{BEGINNING, Clock, Contents};
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::format::wire::Time;
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::store::Store;
use std::sync::Arc;

/// What a process does.
#[derive(Clone)]
pub enum Verb {
    /// Backs this up.
    Backup(Source),
    /// What no engine does: for tests of the scheduler itself.
    Other(fn(Arc<dyn Store>) -> Result<(), String>),
}

/// What it reports.
pub enum Report {
    /// A snapshot, and what is in it.
    Snapshot(SnapshotId, Arc<Contents>),
    /// That it is done.
    Done,
}

/// Does it, all of it as a process of its own: from opening the repository on.
pub fn perform(verb: &Verb, store: Arc<dyn Store>, clock: Clock) -> Result<Report, String> {
    match verb {
        Verb::Backup(source) => {
            let repository = open(store, None).map_err(|error| error.to_string())?;
            let options = BackupOptions { time: Some(Time::from_nanos(BEGINNING + clock.skew)), ..source.options() };
            let report = backup(&repository, options, &Silent).map_err(|error| error.to_string())?;
            if let Some(error) = report.errors.first() {
                return Err(error.to_string());
            }
            let snapshot = report.snapshot.ok_or("no snapshot")?;
            Ok(Report::Snapshot(snapshot, source.contents()))
        }
        Verb::Other(act) => act(store).map(|()| Report::Done),
    }
}
