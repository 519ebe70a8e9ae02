//! Copies into another key family: everything is opened and sealed anew, under other chunk ids.

use crate::catalog::Snapshot;
use crate::copy::CopyOptions;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::repository::Repository;

/// Copies one snapshot into a repository of another family, and returns its id there.
pub fn copy_one(
    from: &Repository,
    to: &Repository,
    snapshot: &Snapshot,
    _options: &CopyOptions,
    _observer: &dyn Observer,
) -> Result<SnapshotId> {
    let (short, from, to) = (snapshot.id.short(), from.store().place(), to.store().place());
    Err(Error::Option {
        what: format!(
            "snapshot {short} cannot be copied: {to} belongs to another key family than {from}, and this version re-encrypts nothing"
        ),
    })
}
