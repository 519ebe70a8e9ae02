//! Holds (spec chapter 7): a snapshot that has one without release, whose end lies ahead, must not be forgotten.

use crate::clock;
use crate::error::Result;
use crate::format::object::ObjectType;
use crate::format::protocol::{Hold, Release};
use crate::format::wire::{Time, Wire};
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::{open_object, seal_object};
use crate::seal::random;
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

    /// Holds the snapshot `new`, which takes the place of `old`, as that is held, and then releases that: what is to be forgotten is held no
    /// more, and what is held is at no time without a hold. Who is killed in between, and does it again, holds `new` twice: that is released
    /// as once is.
    #[doc(hidden)]
    pub fn pass_holds(&self, old: &SnapshotId, new: &SnapshotId) -> Result<()> {
        let now = clock::now();
        let holds = self.holds(now)?.remove(old).unwrap_or_default();
        for (_, hold) in &holds {
            let name = ObjectName::hold(new, &ObjectId::new(random()?));
            let object = seal_object(self.keys(), &self.id(), &name, ObjectType::Hold, &Hold { snapshot: *new, ..hold.clone() })?;
            self.store().put(&name, &object)?;
        }
        if !holds.is_empty() {
            let name = ObjectName::release(old, &ObjectId::new(random()?));
            let release = Release { snapshot: *old, holds: holds.iter().map(|(id, _)| *id).collect(), time: now, extra: Vec::new() };
            self.store().put(&name, &seal_object(self.keys(), &self.id(), &name, ObjectType::Release, &release)?)?;
        }
        Ok(())
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
