//! Sealing manifests anew after a rotation: snapshots of older epochs are committed once more under the keys of the newest, and the old
//! ones are forgotten. What packs hold is `gc`'s business. It must never forget a snapshot before its successor is acknowledged.

use crate::catalog::Snapshot;
use crate::commit::{Commit, Known, ledger, put_tombstone, vouch};
use crate::error::{Error, Result};
use crate::format::manifest::REKEY;
use crate::id::{ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::observe::{Observer, Progress, Stage};
use crate::repository::{Access, Repository};
use crate::seal::object::manifest_epoch;
use crate::seal::random;
use crate::store::each;

/// The reason that tombstones of replaced snapshots give.
const REASON: &str = "sealed anew";
/// Manifests that are looked at together.
const BATCH: usize = 64;

/// What was done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResealReport {
    /// Snapshots by their old ids, and the new ones.
    pub replaced: Vec<(SnapshotId, SnapshotId)>,
    /// Snapshots that were of the newest epoch already.
    pub current: u64,
}

/// Commits every snapshot whose manifest an older epoch sealed once more, and forgets the old one. Times, series, hosts, tags and holds stay;
/// ids are new, and `origin` names the old ones. The catalog was refreshed by the caller.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, reseal};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// // No key was rotated since: there is nothing to do.
/// let report = reseal(&repository, &Silent)?;
/// assert_eq!((report.replaced.len(), report.current), (0, 1));
/// # Ok(())
/// # }
/// ```
pub fn reseal(repository: &Repository, observer: &dyn Observer) -> Result<ResealReport> {
    repository.require_features(Access::Write)?;
    let mut report = ResealReport::default();
    let snapshots = repository.catalog().snapshots()?;
    let total = snapshots.len() as u64;
    // What a run that was killed had committed, and not forgotten the old one for.
    let is_anew = |snapshot: &&Snapshot| snapshot.names.origin.as_ref().is_some_and(|origin| origin.how == REKEY);
    let anew: Vec<&Snapshot> = snapshots.iter().filter(is_anew).collect();
    for (batch, done) in snapshots.chunks(BATCH).zip((0..).step_by(BATCH)) {
        let epochs = each(repository.store(), batch, |snapshot| epoch_of(repository, &snapshot.id));
        for (snapshot, epoch) in batch.iter().zip(epochs) {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            match epoch {
                Ok(epoch) if epoch < repository.keys().epoch => {
                    let identity = snapshot.identity(&repository.id());
                    let is_it =
                        |other: &Snapshot| other.identity(&repository.id()) == identity && other.index.roots == snapshot.index.roots;
                    let mut same = anew.iter().filter(|other| other.id != snapshot.id && is_it(other));
                    let made = same.find_map(|other| match epoch_of(repository, &other.id) {
                        Ok(epoch) => (epoch == repository.keys().epoch).then_some(Ok(*other)),
                        Err(error) => Some(Err(error)),
                    });
                    let new = replace(repository, snapshot, made.transpose()?, observer)?;
                    report.replaced.push((snapshot.id, new));
                }
                Ok(_) => report.current += 1,
                // Forgotten and collected since the catalog was brought up to date.
                Err(error) if error.is_missing() && repository.is_forgotten(&snapshot.id)? => {}
                Err(error) => return Err(error),
            }
        }
        let files_done = total.min(done + BATCH as u64);
        observer.progress(&Progress { stage: Stage::Working, files_done, files_total: total, ..Progress::default() });
    }
    Ok(report)
}

fn epoch_of(repository: &Repository, id: &SnapshotId) -> Result<u32> {
    let name = ObjectName::snapshot(id);
    manifest_epoch(&name, &repository.store().get(&name, SMALL_OBJECT_BYTES_MAX)?)
}

/// Commits a snapshot once more, unless that is `made` already, holds the new one as the old one is held, and forgets that.
fn replace(repository: &Repository, old: &Snapshot, made: Option<&Snapshot>, observer: &dyn Observer) -> Result<SnapshotId> {
    let session = match made {
        Some(made) => {
            // Nobody knows whether the run that put it lived to make sure of it.
            vouch(repository, &made.index, Known::default(), observer)?;
            made.id
        }
        None => again(repository, old, observer)?,
    };
    // Before anything is forgotten: at no time is what is held without a hold.
    repository.pass_holds(&old.id, &session)?;
    put_tombstone(repository, &old.index, REASON)?;
    // The catalog may lag: what is forgotten is what the store says.
    repository.catalog().apply(&[], &[old.id]).unwrap_or(());
    Ok(session)
}

fn again(repository: &Repository, old: &Snapshot, observer: &dyn Observer) -> Result<SnapshotId> {
    let (mut index, mut names) = (old.index.clone(), old.names.clone());
    let session = SnapshotId::new(random()?);
    let own = ledger(repository)?;
    (index.writer, index.sequence, index.previous, index.heads) = (own.writer, own.sequence, own.previous, own.heads);
    index.snapshot = session;
    // Whoever has a copy of it knows it by what it was first.
    names.origin = Some(old.origin_for(&repository.id(), REKEY));
    Commit::new(repository, session, Known::default(), observer).publish(index, names)?;
    Ok(session)
}
