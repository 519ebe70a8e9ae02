//! Another repository whose keys are others: none of its chunks has the id that is missed here. What it has of a hurt snapshot is read as
//! files and streams are, and planted again, which gives the ids of this repository.

use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::repair::ground::{Ground, Root};
use crate::repair::mend::{Mended, Wanted};
use crate::repository::Repository;

/// Plants what `other`, of another family, has of the snapshots of `hurt` (copies of them, or their originals), and returns how much of
/// `wanted` is stored by it.
pub fn replant(
    _repository: &Repository,
    other: &Repository,
    (_ground, _hurt, _wanted): (&Ground, &[&Root], &[Wanted]),
    _observer: &dyn Observer,
) -> Result<Mended> {
    let place = other.origin().place();
    Err(Error::Refused { what: format!("{place} is of another key family: nothing is taken from such a repository yet") })
}
