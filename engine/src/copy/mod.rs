//! Copy (spec chapter 7): snapshots of one repository into another. Of the same key family packs go as they are, and what is wanted only of
//! some of their chunks frame by frame, under the seals that they have. A snapshot is committed as soon as all of it is there.
//! It must never send a pack that the target cannot open with its own keys, nor one whose name a collection there has condemned.

mod broken;
mod carry;
mod foreign;
mod plan;
mod raw;
mod wanted;

pub use plan::{CopyPlan, plan};

use crate::copy::broken::Broken;
use crate::copy::carry::carry;
use crate::copy::plan::{Work, prepare};
use crate::error::{Error, Result};
use crate::id::{PackId, SnapshotId};
use crate::limits::{PACK_BYTES_DATA, PACK_BYTES_META};
use crate::observe::Observer;
use crate::pack::repack::Repacked;
use crate::repository::Repository;
use std::collections::{HashMap, HashSet};

/// How often a copy begins anew with what is left: each time something was found damaged, was taken away by a collection of the source, or
/// was condemned by one of the target.
const ROUNDS_MAX: u32 = 100;
/// How often that may be for a collection of the target alone: it would have to condemn each time what was just looked at.
const OVERTAKEN_MAX: u32 = 4;

/// How to copy.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Only plan: nothing is written to the target.
    pub dry_run: bool,
    /// Target of data packs that are put together anew, bytes.
    pub data_pack_bytes: u64,
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
}

impl Default for CopyOptions {
    fn default() -> Self {
        CopyOptions { dry_run: false, data_pack_bytes: PACK_BYTES_DATA, threads: 0 }
    }
}

impl CopyOptions {
    fn meta_pack_bytes(&self) -> u64 {
        PACK_BYTES_META.min(self.data_pack_bytes)
    }

    fn threads(&self) -> usize {
        match self.threads {
            0 => rayon::current_num_threads(),
            n => n.min(256),
        }
    }
}

/// What a copy did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// What was copied, oldest first: its id in the source, and in the target.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// What the target had already, by its ids in the source.
    pub present: Vec<SnapshotId>,
    /// What could not be copied because the source has lost some of it, and what that was.
    pub failed: Vec<(SnapshotId, Error)>,
    /// What somebody has forgotten in the source, and a collection has taken away there, before it was copied.
    pub forgotten: Vec<SnapshotId>,
    /// Why it ended before all was done. What was copied until then stays.
    pub stopped: Option<Error>,
    /// Packs that were sent as they are,
    pub packs_sent: u64,
    /// and their bytes.
    pub bytes_sent: u64,
    /// What was taken out of packs.
    pub repacked: Repacked,
    /// Packs that were put together of that,
    pub packs_written: u64,
    /// and their bytes.
    pub bytes_written: u64,
}

/// What is not taken from the source as it would be.
#[derive(Default)]
struct Avoid {
    /// These packs are damaged or gone.
    broken: HashMap<PackId, Broken>,
    /// These not as they are: the target's keys do not open them, or some of them is damaged.
    sealed: HashSet<PackId>,
}

/// Carries a plan out. What fails behind its first write is in the report.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::copy::{CopyOptions, copy, plan};
/// use seabed_engine::{InitOptions, Key, MemoryStore, OpenOptions, Repository, Secret, Silent};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// // A second place of the same key family, with a secret of its own.
/// let secret = Secret::KeyFile(Key::random()?);
/// let store = Arc::new(MemoryStore::new());
/// let second = Repository::init_sibling(store, &repository, &secret, &InitOptions::default(), &OpenOptions::default())?;
///
/// let options = CopyOptions::default();
/// let snapshots = repository.catalog().snapshots()?;
/// let planned = plan(&repository, &second, &snapshots, &options, &Silent)?;
/// assert_eq!(planned.new, [id]);
/// let report = copy(&repository, &second, planned, &options, &Silent)?;
/// assert_eq!(report.copied.len(), 1);
///
/// // It says of what it is a copy, so that it is not copied again.
/// let planned = plan(&repository, &second, &snapshots, &options, &Silent)?;
/// assert_eq!((planned.new.len(), planned.present), (0, vec![id]));
/// # Ok(())
/// # }
/// ```
pub fn copy(from: &Repository, to: &Repository, plan: CopyPlan, options: &CopyOptions, observer: &dyn Observer) -> Result<CopyReport> {
    let CopyPlan { present, failed, forgotten, work, foreign, re_encrypted, .. } = plan;
    let mut report = CopyReport { present, failed, forgotten, ..CopyReport::default() };
    if re_encrypted {
        if let Err(error) = foreign::copy_all(from, to, &foreign, &mut report, options, observer) {
            report.stopped = Some(error);
        }
        return Ok(report);
    }
    // What killed runs left half-written takes room that this one may need.
    to.store().sweep().map(|_| ()).unwrap_or(());
    if let Err(error) = rounds(from, to, work, &mut report, options, observer) {
        report.stopped = Some(error);
    }
    Ok(report)
}

fn rounds(
    from: &Repository,
    to: &Repository,
    mut work: Work,
    report: &mut CopyReport,
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<()> {
    let (mut avoid, mut overtaken) = (Avoid::default(), 0);
    for _ in 0..ROUNDS_MAX {
        report.failed.append(&mut work.failed);
        report.forgotten.append(&mut work.forgotten);
        if work.snapshots.is_empty() {
            return Ok(());
        }
        let round = carry(from, to, work, (&mut avoid, &mut *report), options, observer)?;
        if round.rest.is_empty() {
            return Ok(());
        }
        overtaken += u32::from(round.overtaken);
        if overtaken > OVERTAKEN_MAX {
            break;
        }
        // A collection may have moved what is left, here or there: both are looked at anew.
        from.drop_index();
        work = prepare(from, to, round.rest, &avoid, false, observer)?;
    }
    Err(Error::Overtaken)
}
