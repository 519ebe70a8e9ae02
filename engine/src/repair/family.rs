//! Another repository whose keys are others: none of its chunks has the id that is missed here. What it has of a hurt snapshot is read, and
//! planted again, which gives the ids of this repository: chunks keep their boundaries, and trees are cut by paths.

use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::repair::ground::{Ground, Root};
use crate::repair::mend::Mended;
use crate::repair::{Healed, Healer};
use crate::replant::{ReplantOptions, Session};
use crate::repository::Repository;
use crate::seal::random;

/// Plants what `other`, of another family, has of the snapshots of `hurt` (copies of them, or their originals), and returns what was stored
/// by it. Nothing is committed: the snapshots are there, and what they miss has the same ids.
pub fn replant(
    repository: &Repository,
    other: &Repository,
    (ground, hurt): (&Ground, &[&Root]),
    observer: &dyn Observer,
) -> Result<Mended> {
    // Packs that turned out to be broken while nodes were read: what is planted must not rely on them.
    let verdicts: Vec<_> = ground.broken.iter().map(|pack| (*pack, true)).collect();
    repository.catalog().judge(&verdicts)?;
    other.refresh()?;
    let known = other.catalog().snapshots()?;
    let mut session: Option<Session<'_>> = None;
    let mut mended = Mended::default();
    for snapshot in hurt.iter().filter_map(|root| root.snapshot.as_ref()) {
        let identity = snapshot.identity(&repository.id());
        let Some(theirs) = known.iter().find(|theirs| theirs.identity(&other.id()) == identity) else { continue };
        let session = match &mut session {
            Some(session) => session,
            none => none.insert(Session::new(repository, ReplantOptions::default(), observer)?),
        };
        match session.plant(other, theirs, SnapshotId::new(random()?), observer) {
            Ok(planted) => {
                let stored = Healed { chunks: planted.stored.data_chunks + planted.stored.tree_chunks, bytes: planted.stored.bytes };
                let healed = &mut mended.by[Healer::Other as usize];
                (healed.chunks, healed.bytes) = (healed.chunks + stored.chunks, healed.bytes + stored.bytes);
                mended.fetched += stored.bytes;
            }
            // It is hurt there, too.
            Err(error) if error.is_damage() && !session.is_spoilt() => {
                let (short, place) = (theirs.id.short(), other.origin().place());
                observer.warning(&format!("snapshot {short} at {place} is hurt itself: {error}"));
            }
            Err(Error::WasForgotten { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(mended)
}
