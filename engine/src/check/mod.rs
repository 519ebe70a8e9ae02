//! Check: reads every object and says what is damaged, and which snapshots and paths that hurts (DESIGN sections 1 and 5).
//! Goes on after every damage, changes nothing in the repository but that it notes what it has verified, and never takes a cache's word for what the store holds.
//! What is broken but needed by nobody is a warning: the next backup stored it anew, and an alarm that never ends is not read.

mod data;
mod findings;
mod ledger;
mod memory;
mod packs;
mod structure;
mod trees;

pub use findings::{Finding, PATHS_MAX, Warning};

use crate::check::findings::Findings;
use crate::error::{Error, Kind, Result};
use crate::id::PackId;
use crate::observe::{Observer, Progress, Stage};
use crate::repository::Repository;
use crate::repository::ledger::Watermark;
use std::time::Duration;

/// How much of the packs is read besides their footers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ReadData {
    /// Nothing.
    #[default]
    None,
    /// Everything.
    All,
    /// Part `n` of `of` equal parts, from 1: the packs whose first byte modulo `of` is `n - 1`. All parts together are everything.
    Part {
        /// Which.
        n: u32,
        /// Of how many; at most 256.
        of: u32,
    },
    /// So many per cent of the packs, at least one.
    Percent(f64),
    /// Packs until so many bytes are read, at least one.
    Bytes(u64),
    /// Packs that nobody has ever verified, those that lie there for longest first, then those whose last verification is longest ago:
    /// as far as the budget goes, on whatever host, each check going on where the last one stopped. Behind them what this machine knows to be
    /// damaged, whenever it was verified, and condemned packs.
    Oldest {
        /// How much; `None` for all.
        budget: Option<Budget>,
        /// Packs that were verified within this time are left out.
        max_age: Option<Duration>,
    },
}

/// How much may be read. Of packs that are known to be damaged as much again may be: they are looked at in every check until they are healed,
/// and keep it from no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many bytes: once they are read no pack is begun any more. At least one is.
    Bytes(u64),
    /// So long, by the store's clock, from the first pack on.
    Time(Duration),
}

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// How much of the packs is read.
    pub read_data: ReadData,
    /// Paths that are kept of each finding, the first ones in order.
    pub paths_max: usize,
    /// Change nothing in the repository: do not note what was verified.
    pub dry_run: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { read_data: ReadData::None, paths_max: PATHS_MAX, dry_run: false }
    }
}

/// The pack that nobody has verified for longest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldestPack {
    /// Its id.
    pub pack: PackId,
    /// Seconds since it was last verified, or since it was put where it never was, by the store's clock.
    pub age_secs: u64,
    /// Whether it ever was.
    pub is_verified: bool,
}

/// What a check saw.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Committed snapshots that are not forgotten.
    pub snapshots: u64,
    /// Index segments.
    pub segments: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Chunks that their footers list; a chunk in two packs counts twice.
    pub chunks: u64,
    /// Packs that were read whole.
    pub packs_read: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Packs that lie in an archive: they are there, in their full length, and what they hold is what the index says.
    pub packs_archived: u64,
    /// Their bytes.
    pub bytes_archived: u64,
    /// Packs that were to be read, and could not be because they lie in an archive.
    pub packs_unread: u64,
    /// Packs that no check has ever read whole and found sound, as far as the repository's notes say.
    pub packs_never_verified: u64,
    /// Their bytes.
    pub bytes_never_verified: u64,
    /// The oldest unverified data; `None` where there is no pack.
    pub oldest_unverified: Option<OldestPack>,
    /// Packs that were not verified for longer than the `max_age` of [`ReadData::Oldest`], or that lie there unverified for longer. 0 without it.
    pub packs_overdue: u64,
    /// Their bytes.
    pub bytes_overdue: u64,
    /// Snapshots are lost of which only this machine's cache knows: the repository looks as if an older copy had been put back.
    pub rolled_back: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    pub findings_left_out: u64,
    /// What someone should know, and nothing is lost by.
    pub warnings: Vec<Warning>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.findings_left_out == 0
    }

    /// Whether something is damaged, and not only of a newer version or out of reach.
    pub fn is_damaged(&self) -> bool {
        self.findings_left_out > 0 || self.findings.iter().any(|f| f.error.kind() == Kind::Damage)
    }
}

/// Checks a repository. An error is a failure of the check itself: a listing that fails, an interruption.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Budget, CheckOptions, ReadData, Silent, check};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// let report = check(&repository, &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() }, &Silent)?;
/// assert!(report.is_clean());
/// assert_eq!((report.snapshots, report.packs_read), (1, report.packs));
/// // That they were verified is noted in the repository. A check like this one, an hour each night, goes on where the last one stopped.
/// assert_eq!(report.packs_never_verified, 0);
/// let month = Duration::from_secs(30 * 86_400);
/// let oldest = ReadData::Oldest { budget: Some(Budget::Time(Duration::from_secs(3600))), max_age: Some(month) };
/// let report = check(&repository, &CheckOptions { read_data: oldest, ..CheckOptions::default() }, &Silent)?;
/// assert_eq!((report.packs_read, report.bytes_overdue), (0, 0));
/// # Ok(())
/// # }
/// ```
pub fn check(repository: &Repository, options: &CheckOptions, observer: &dyn Observer) -> Result<CheckReport> {
    data::validate(options.read_data)?;
    let findings = Findings::new(options.paths_max);
    let mut report = CheckReport::default();
    // Before any listing: a snapshot that is committed meanwhile must not look like one that was lost.
    let watermark = Watermark::read(repository)?;
    let mut structure = structure::read(repository, &watermark, &findings)?;
    let packs = packs::read(repository, &mut structure, options, &findings, observer, &mut report)?;
    structure.memory.report(repository, &structure.packs, options.read_data, &mut report)?;
    // How many nodes and leaves there are nobody has counted.
    observer.progress(&Progress { stage: Stage::Verifying, ..Progress::default() });
    trees::walk(repository, &structure, &packs, &findings, observer)?;
    report.rolled_back = ledger::check(&structure, &watermark, &findings);
    report.snapshots = structure.snapshots.len() as u64;
    report.segments = structure.segments;
    findings.into_report(&mut report, structure.foreign);
    Ok(report)
}

/// Whether an error says that one object cannot be used, so that the check goes on with the others.
fn is_about_an_object(error: &Error) -> bool {
    use crate::error::StoreOp;
    matches!(error.kind(), Kind::Damage)
        || matches!(
            error,
            Error::NewerFormat { .. } | Error::UnknownFeature { .. } | Error::EpochUnknown { .. } | Error::Store { op: StoreOp::Get, .. }
        )
}
