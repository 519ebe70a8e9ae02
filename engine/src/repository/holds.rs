//! Holds (spec chapter 7): a snapshot that has one without release, whose end lies ahead, must not be forgotten.

use crate::error::Result;
use crate::format::object::ObjectType;
use crate::format::protocol::{Hold, Release};
use crate::format::wire::{Time, Wire};
use crate::id::{ObjectId, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::open_object;
use crate::store::{each, reread};
use std::collections::{HashMap, HashSet};

/// Holds by snapshot, each with the random part of its name.
pub type Holds = HashMap<SnapshotId, Vec<(ObjectId, Hold)>>;

impl Repository {
    /// The holds that count at `now`.
    pub fn holds(&self, now: Time) -> Result<Holds> {
        // Holds first: one that is released between the two listings is held, or released, and never both unseen.
        let holds = self.small::<Hold>(ObjectType::Hold, "holds")?;
        let mut released = HashSet::new();
        if !holds.is_empty() {
            released.extend(self.small::<Release>(ObjectType::Release, "releases")?.into_iter().flat_map(|(_, release)| release.holds));
        }
        let mut found = Holds::new();
        for (id, hold) in holds {
            if !released.contains(&id) && hold.until.is_none_or(|until| until > now) {
                found.entry(hold.snapshot).or_default().push((id, hold));
            }
        }
        Ok(found)
    }

    /// The objects of a type whose names end with their id.
    fn small<T: Wire + Send>(&self, kind: ObjectType, folder: &str) -> Result<Vec<(ObjectId, T)>> {
        let listed = self.listed(kind, folder)?;
        let read = each(self.store(), &listed, |listed| {
            reread(self.store(), &listed.name, || {
                let bytes = self.store().get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
                open_object::<T>(self.keys(), &self.id(), &listed.name, kind, &bytes)
            })
        });
        let id = |name: &str| name.rsplit('-').next().and_then(ObjectId::from_hex);
        let named = listed.iter().zip(read).filter_map(|(listed, read)| Some((id(listed.name.last())?, read)));
        named.map(|(id, read)| Ok((id, read?))).collect()
    }
}
