//! A snapshot is copied to a repository of another key family: all of it is read, verified, and stored under the ids and keys of the target
//! (spec chapter 7). It is a snapshot of its own there, which says where it comes from.

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, ledger};
use crate::error::{Error, Result};
use crate::format::manifest::COPY;
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::pack::sink::Written;
use crate::replant::{Planted, Session, Stored};
use crate::repository::Repository;
use crate::repository::ledger::LedgerRow;
use crate::seal::random;

/// A snapshot that was copied.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Its id in the target; `None` for a dry run.
    pub id: Option<SnapshotId>,
    /// What was new there.
    pub stored: Stored,
    /// What that became.
    pub written: Written,
}

/// Copies `snapshot` of `from` into the target of `session`, and commits it there. That it is there already nobody looks here.
pub fn copy(session: &mut Session<'_>, from: &Repository, snapshot: &Snapshot, observer: &dyn Observer) -> Result<Copied> {
    let to = session.target();
    if std::ptr::eq(from, to) || from.id() == to.id() {
        return Err(Error::Refused { what: "a repository is not copied into itself".to_owned() });
    }
    let id = SnapshotId::new(random()?);
    let Planted { roots, stored, written, .. } = session.plant(from, snapshot, id, observer)?;
    if session.options.dry_run {
        return Ok(Copied { id: None, stored, written });
    }
    let (mut index, mut names) = (snapshot.index.clone(), snapshot.names.clone());
    let LedgerRow { writer, sequence, previous, heads } = ledger(to)?;
    (index.writer, index.sequence, index.previous, index.heads) = (writer, sequence, previous, heads);
    (index.snapshot, index.roots, index.finished) = (id, roots.index, clock::now());
    names.roots = roots.names;
    names.origin = Some(snapshot.origin_for(&from.id(), COPY));
    // One of another repository.
    names.parent = None;
    // What this repository took for it, and not what the other one did.
    names.summary.data_chunks = stored.data_chunks;
    names.summary.tree_chunks = stored.tree_chunks;
    names.summary.bytes_added = stored.bytes;
    names.summary.bytes_stored = written.bytes;
    Commit::new(to, id, session.known(), observer).publish(index, names)?;
    Ok(Copied { id: Some(id), stored, written })
}
