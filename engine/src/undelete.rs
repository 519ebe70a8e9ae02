//! Undelete (spec chapter 7): a new commit of the roots of a forgotten snapshot. No tombstone is ever removed.

use crate::clock;
use crate::commit::{Commit, Known, ledger};
use crate::error::{Error, Result};
use crate::faults;
use crate::format::manifest::Origin;
use crate::id::{ObjectName, SnapshotId};
use crate::observe::Observer;
use crate::repository::{Access, Repository};
use crate::seal::random;

/// Brings a forgotten snapshot back under a new id, which is returned. The catalog was refreshed by the caller.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, forget, undelete};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// forget(&repository, &[id])?;
/// let back = undelete(&repository, &id, &Silent)?;
/// repository.refresh()?;
/// let snapshot = repository.select("latest", &Default::default())?.snapshot;
/// assert_eq!(snapshot.id, back);
/// assert_eq!(snapshot.names.origin.ok_or("it says where it comes from")?.snapshot, id);
/// # Ok(())
/// # }
/// ```
pub fn undelete(repository: &Repository, id: &SnapshotId, observer: &dyn Observer) -> Result<SnapshotId> {
    repository.require_features(Access::Write)?;
    let (mut index, mut names) = match repository.read_manifest(&ObjectName::snapshot(id)) {
        // A collection has been there.
        Err(error) if error.is_missing() => return Err(Error::NoSnapshot { selector: id.to_string() }),
        read => read?,
    };
    let session = SnapshotId::new(random()?);
    let mut known = Known::default();
    if faults::seeded("undelete-no-check") {
        known.records = Some(repository.records(&Default::default())?);
    }
    if faults::seeded("undelete-by-removal") {
        return by_removal(repository, id).map(|()| *id);
    }
    let own = ledger(repository)?;
    (index.writer, index.sequence, index.previous, index.heads) = (own.writer, own.sequence, own.previous, own.heads);
    index.snapshot = session;
    index.finished = clock::now();
    // Notes about the old one are none about the new one.
    repository.catalog().edit(id, &mut names)?;
    names.origin = Some(Origin { repository: repository.id(), snapshot: *id, how: "undelete".to_owned(), extra: Vec::new() });
    Commit::new(repository, session, known, observer).publish(index, names)?;
    Ok(session)
}

/// What the protocol forbids, for the test that sees why.
fn by_removal(repository: &Repository, id: &SnapshotId) -> Result<()> {
    for listed in repository.store().list("forgotten")?.iter().filter(|listed| listed.name.as_tombstone() == Some(*id)) {
        repository.store().delete(&listed.name)?;
    }
    Ok(())
}
