//! The commit of a snapshot (spec chapter 7, B3 to B5): pending manifests, CHECK, manifest, CHECK, and only then success.
//! The order is the promise: the root is written before the records are read, so that of a commit and a collection one sees the other.
//! Whoever makes a snapshot goes through here: a backup, an undelete.

mod check;
mod rescue;
mod sure;
mod usable;

pub use check::Known;
pub use sure::Sure;
pub use usable::{Usable, usable_index};

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::check::Checker;
use crate::error::{Error, Result};
use crate::faults;
use crate::format::manifest::{IndexPart, NamesPart};
use crate::format::object::ObjectType;
use crate::format::protocol::Tombstone;
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::observe::Observer;
use crate::repository::Repository;
use crate::repository::ledger::LedgerRow;
use crate::seal::object::seal_object;
use crate::seal::random;
use crate::store::beside;
use std::io::ErrorKind;

/// What a tombstone of a run gives as its reason, when it takes back what it put: its pending stays a resume point.
pub const GAVE_UP: &str = "gave up";

/// A snapshot on its way into a repository.
pub struct Commit<'a> {
    repository: &'a Repository,
    observer: &'a dyn Observer,
    session: SnapshotId,
    checker: Checker<'a>,
    pendings: Vec<ObjectName>,
}

impl<'a> Commit<'a> {
    /// Of the snapshot `session`. `known` is what the run has made sure of already.
    pub fn new(repository: &'a Repository, session: SnapshotId, known: Known, observer: &'a dyn Observer) -> Self {
        Commit { repository, observer, session, checker: Checker::new(repository, session, known, observer), pendings: Vec::new() }
    }

    /// B3 and B4: puts a manifest of what is done so far, everything of which is durable and indexed, and sees to it that all that it needs
    /// stays. A root for collectors before anything is asked of them, and a resume point if this run dies now.
    pub fn pending(&mut self, index: &IndexPart, names: &NamesPart) -> Result<()> {
        if faults::seeded("check-before-put") {
            self.checker.check(index)?;
        }
        if !faults::seeded("no-pending") || index.incomplete {
            let name = ObjectName::pending(&self.session, self.pendings.len() as u32);
            self.repository.put_manifest(&name, index, names)?;
            self.pendings.push(name);
        }
        if faults::seeded("check-before-put") {
            return Ok(());
        }
        // Before the commit relies on the packs: a store that says yes and stores nothing has been seen. Like the CHECK it only asks, so
        // that both can be under way together.
        let (checked, confirmed) = self.checker.beside(index, || self.repository.confirm(&[]));
        checked.and(confirmed)
    }

    /// B4 and B5: pending, CHECK, manifest, CHECK.
    pub fn publish(mut self, index: IndexPart, names: NamesPart) -> Result<()> {
        let committed = ObjectName::snapshot(&self.session);
        self.pending(&index, &names)?;
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        // This put is the commit. From here on it either stands or is taken back.
        let store = self.repository.store();
        store.insist();
        let put = self.repository.put_manifest(&committed, &index, &names);
        let looked = put.and_then(|_| {
            let repository = self.repository;
            let asked = || beside(store, || repository.confirm(&[]), || repository.still_stands());
            if faults::seeded("no-final-check") || faults::seeded("check-before-put") {
                return Ok(());
            }
            let (checked, (confirmed, stands)) = self.checker.beside(&index, asked);
            checked.and(confirmed).and(stands)
        });
        if let Err(error) = looked {
            self.give_up(&index);
            return Err(error);
        }
        self.clear();
        // An index read before this run knows nothing of its packs; the catalog will, so that no refresh would notice.
        self.repository.drop_index();
        // The catalog may lag: the snapshot is acknowledged by what the store holds, not by what a cache says.
        if let Err(error) = self.repository.catalog().apply(&[Snapshot { id: self.session, index, names }], &[]) {
            self.observer.warning(&format!("the catalog will be brought up to date by the next run: {error}"));
        }
        Ok(())
    }

    /// Nobody may take for a snapshot what this run does not vouch for; the pending stays, a root and a resume point.
    fn give_up(&self, index: &IndexPart) {
        if faults::seeded("giveup-deletes-pending") {
            return self.clear();
        }
        if let Err(untold) = take_back(self.repository, index) {
            let short = self.session.short();
            self.observer.warning(&format!(
                "snapshot {short} may be listed all the same: this run does not vouch that all of it is there ({untold})"
            ));
        }
    }

    /// A backup never needs DELETE: a pending that stays is cleared by a later collection. A key that may not delete is meant to be one.
    fn clear(&self) {
        for pending in &self.pendings {
            match self.repository.store().delete(pending) {
                Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => return,
                Err(error) => {
                    return self.observer.warning(&format!("the pending manifest stays for the next collection: {error}"));
                }
                Ok(()) => {}
            }
        }
    }
}

/// CHECK of a snapshot that another run committed, before anything is given up for it: nobody knows whether that run lived to acknowledge it.
pub fn vouch(repository: &Repository, manifest: &IndexPart, known: Known, observer: &dyn Observer) -> Result<()> {
    Checker::new(repository, manifest.snapshot, known, observer).check(manifest)
}

/// What the next manifest of this machine says of the ledger. The catalog was refreshed by the caller.
pub fn ledger(repository: &Repository) -> Result<LedgerRow> {
    let catalog = repository.catalog();
    let writer = repository.writer();
    let own = catalog.newest_of(&writer)?;
    let sequence = own.as_ref().map_or(1, |s| s.index.sequence + 1);
    Ok(LedgerRow { writer, sequence, previous: own.map(|s| s.id), heads: catalog.frontier(&writer)? })
}

/// Says that a snapshot is none: its run gave up behind the put that would have been its commit.
fn take_back(repository: &Repository, index: &IndexPart) -> Result<()> {
    put_tombstone(repository, index, GAVE_UP)
}

/// Puts a tombstone for a snapshot. It carries what the manifest said of the ledger, so that no gap is left when that goes.
pub fn put_tombstone(repository: &Repository, index: &IndexPart, reason: &str) -> Result<()> {
    let id = ObjectId::new(random()?);
    let name = ObjectName::tombstone(&index.snapshot, &id);
    let tombstone = Tombstone {
        snapshot: index.snapshot,
        writer: index.writer,
        sequence: index.sequence,
        previous: index.previous,
        heads: index.heads.clone(),
        time: clock::now(),
        reason: reason.to_owned(),
        extra: Vec::new(),
    };
    let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Tombstone, &tombstone)?;
    repository.store().put(&name, &object)
}
