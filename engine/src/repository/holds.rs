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
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Holds by snapshot, each with the random part of its name.
pub type Holds = HashMap<SnapshotId, Vec<(ObjectId, Hold)>>;

/// Holds and releases that were read, by their names: none ever changes, so that who asks again reads only what is new.
#[derive(Default)]
pub struct HoldsRead {
    holds: BTreeMap<ObjectName, Hold>,
    releases: BTreeMap<ObjectName, Release>,
}

impl Repository {
    /// The holds that count at `now`.
    pub fn holds(&self, now: Time) -> Result<Holds> {
        self.holds_again(&mut HoldsRead::default(), now)
    }

    /// The same, for who has asked before.
    #[doc(hidden)]
    pub fn holds_again(&self, read: &mut HoldsRead, now: Time) -> Result<Holds> {
        // Holds first: one that is released between the two listings is held, or released, and never both unseen.
        self.read_small(ObjectType::Hold, "holds", &mut read.holds)?;
        let mut released: HashSet<ObjectId> = HashSet::new();
        if !read.holds.is_empty() {
            self.read_small(ObjectType::Release, "releases", &mut read.releases)?;
            released.extend(read.releases.values().flat_map(|release| &release.holds).copied());
        }
        let mut found = Holds::new();
        let id = |name: &ObjectName| name.last().rsplit('-').next().and_then(ObjectId::from_hex);
        for (id, hold) in read.holds.iter().filter_map(|(name, hold)| Some((id(name)?, hold))) {
            if !released.contains(&id) && hold.until.is_none_or(|until| until > now) {
                found.entry(hold.snapshot).or_default().push((id, hold.clone()));
            }
        }
        Ok(found)
    }

    /// Holds the snapshot `new`, which takes the place of `old`, as that is held, and then releases that: what is to be forgotten is held no
    /// more, and what is held is at no time without a hold. Who is killed in between, and does it again, holds `new` twice: that is released
    /// as once is.
    #[doc(hidden)]
    pub fn pass_holds(&self, holds: &[(ObjectId, Hold)], old: &SnapshotId, new: &SnapshotId) -> Result<()> {
        for (_, hold) in holds {
            let name = ObjectName::hold(new, &ObjectId::new(random()?));
            let object = seal_object(self.keys(), &self.id(), &name, ObjectType::Hold, &Hold { snapshot: *new, ..hold.clone() })?;
            self.store().put(&name, &object)?;
        }
        if !holds.is_empty() {
            let name = ObjectName::release(old, &ObjectId::new(random()?));
            let ids = holds.iter().map(|(id, _)| *id).collect();
            let release = Release { snapshot: *old, holds: ids, time: clock::now(), extra: Vec::new() };
            self.store().put(&name, &seal_object(self.keys(), &self.id(), &name, ObjectType::Release, &release)?)?;
        }
        Ok(())
    }

    /// Brings `known` up to date with the objects of a type.
    fn read_small<T: Wire + Send>(&self, kind: ObjectType, folder: &str, known: &mut BTreeMap<ObjectName, T>) -> Result<()> {
        let listed: BTreeSet<ObjectName> = self.listed(kind, folder)?.into_iter().map(|listed| listed.name).collect();
        known.retain(|name, _| listed.contains(name));
        let new: Vec<ObjectName> = listed.into_iter().filter(|name| !known.contains_key(name)).collect();
        let read = each(self.store(), &new, |name| {
            reread(self.store(), name, || {
                let bytes = self.store().get(name, SMALL_OBJECT_BYTES_MAX)?;
                open_object::<T>(self.keys(), &self.id(), name, kind, &bytes)
            })
        });
        for (name, read) in new.into_iter().zip(read) {
            known.insert(name, read?);
        }
        Ok(())
    }
}
