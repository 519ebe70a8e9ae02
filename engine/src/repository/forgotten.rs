//! Forgotten snapshots whose manifests are still there: what an undelete can bring back.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::object::ObjectType;
use crate::id::{ObjectName, SnapshotId};
use crate::repository::Repository;
use crate::store::each_busy;
use std::collections::HashSet;

impl Repository {
    /// Whether a snapshot has a tombstone by now.
    pub fn is_forgotten(&self, id: &SnapshotId) -> Result<bool> {
        let tombstones = self.origin().list("forgotten")?;
        Ok(tombstones.iter().any(|listed| listed.name.as_tombstone() == Some(*id)))
    }

    /// What a reader of a snapshot found damaged, unless somebody has forgotten it meanwhile: then a collection was there, and nothing is.
    #[doc(hidden)]
    pub fn unless_forgotten(&self, id: &SnapshotId, error: Error) -> Error {
        let forgotten = error.is_damage() && self.is_forgotten(id).unwrap_or(false);
        if forgotten { Error::WasForgotten { snapshot: *id } } else { error }
    }

    /// Snapshots that have a tombstone and a manifest that can be read, oldest first.
    pub fn forgotten(&self) -> Result<Vec<Snapshot>> {
        let tombstones = self.listed(ObjectType::Tombstone, "forgotten")?;
        let ids: HashSet<SnapshotId> = tombstones.iter().filter_map(|listed| listed.name.as_tombstone()).collect();
        let listed = self.listed(ObjectType::Snapshot, "snapshots")?;
        let ids: Vec<SnapshotId> = listed.iter().filter_map(|l| l.name.as_snapshot()).filter(|id| ids.contains(id)).collect();
        let mut found = Vec::new();
        for (id, read) in ids.iter().zip(each_busy(self.store(), &ids, |id| self.read_manifest(&ObjectName::snapshot(id)))) {
            match read {
                Ok((index, names)) => found.push(Snapshot { id: *id, index, names }),
                // Collected meanwhile, or damaged: it cannot come back.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        // They may have been edited before they were forgotten. The catalog was refreshed by the caller.
        let catalog = self.catalog();
        for snapshot in &mut found {
            catalog.edit(&snapshot.id, &mut snapshot.names)?;
        }
        drop(catalog);
        found.sort_by_key(|snapshot| (snapshot.index.time, snapshot.id));
        Ok(found)
    }
}
