//! What a rewrite has left under older epochs, besides packs and snapshots. Only what stands in the clear is read for it.

use crate::error::Result;
use crate::format::object::ObjectType;
use crate::gc::merge::sealed_before;
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::manifest_epoch;
use crate::store::each;

/// Objects under older epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// Manifests of runs that have not ended: nobody but these may take them for more, and collections let them go.
    pub pendings: u64,
    /// Notes, but for those that go with forgotten snapshots.
    pub notes: u64,
    /// Index segments.
    pub segments: u64,
}

/// Counts them.
pub fn left_behind(repository: &Repository) -> Result<LeftBehind> {
    let store = repository.store();
    let listed = repository.listed(ObjectType::Pending, "pending")?;
    let epochs = each(store, &listed, |object| manifest_epoch(&object.name, &store.get(&object.name, SMALL_OBJECT_BYTES_MAX)?));
    let mut left = LeftBehind::default();
    for epoch in epochs {
        match epoch {
            Ok(epoch) => left.pendings += u64::from(epoch < repository.keys().epoch),
            // Committed meanwhile; or damaged, and then nobody reads anything in it.
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    left.segments = sealed_before(repository, &repository.listed(ObjectType::Segment, "index")?)?.len() as u64;
    left.notes = sealed_before(repository, &repository.notes_that_stay()?)?.len() as u64;
    Ok(left)
}
