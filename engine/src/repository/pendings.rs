//! Pending manifests: what runs have done that did not end, or have not ended yet. Roots for collections, resume points for backups,
//! and for people something to restore where there is nothing better (spec chapter 7, B3).

use crate::catalog::Snapshot;
use crate::error::{Error, Kind, Result};
use crate::format::object::ObjectType;
use crate::id::{ObjectName, SnapshotId};
use crate::repository::Repository;
use crate::store::{Listed, each_busy};
use std::collections::{BTreeMap, HashSet};

impl Repository {
    /// The newest pending manifest of each run whose snapshot is not among `committed`, oldest run first. One that does not open is
    /// passed over: whatever it was, the next run does the work again.
    pub fn pendings(&self, committed: &HashSet<SnapshotId>) -> Result<Vec<Snapshot>> {
        self.read_pendings(self.listed(ObjectType::Pending, "pending")?, committed)
    }

    /// As [`Repository::pendings`], of what a listing of their folder has shown.
    #[doc(hidden)]
    pub fn read_pendings(&self, listed: Vec<Listed>, committed: &HashSet<SnapshotId>) -> Result<Vec<Snapshot>> {
        let mut newest: BTreeMap<SnapshotId, (u32, ObjectName)> = BTreeMap::new();
        for listed in listed {
            let Some((id, number)) = listed.name.as_pending().filter(|(id, _)| !committed.contains(id)) else { continue };
            let known = newest.entry(id).or_insert_with(|| (number, listed.name.clone()));
            if known.0 < number {
                *known = (number, listed.name);
            }
        }
        let names: Vec<(SnapshotId, ObjectName)> = newest.into_iter().map(|(id, (_, name))| (id, name)).collect();
        let mut pendings = Vec::new();
        for ((id, _), read) in names.iter().zip(each_busy(self.store(), &names, |(_, name)| self.read_manifest(name))) {
            match read {
                Ok((index, names)) => pendings.push(Snapshot { id: *id, index, names }),
                Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Interrupted | Kind::Configuration) => return Err(error),
                Err(Error::Store { op, object, source }) => return Err(Error::Store { op, object, source }),
                // Committed meanwhile, or damaged.
                Err(_) => {}
            }
        }
        pendings.sort_by_key(|pending| (pending.index.finished, pending.id));
        Ok(pendings)
    }
}
