//! Forgotten snapshots whose manifests are still there: what an undelete can bring back.

use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::object::ObjectType;
use crate::id::{ObjectName, SnapshotId};
use crate::repository::Repository;
use crate::store::each_busy;
use std::collections::HashSet;

impl Repository {
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
        found.sort_by_key(|snapshot| (snapshot.index.time, snapshot.id));
        Ok(found)
    }
}
