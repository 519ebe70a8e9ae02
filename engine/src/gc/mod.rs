//! Collection (spec chapter 7, G1 to G5): what no snapshot needs goes, and no backup waits for it.
//! A plan comes first and changes nothing. What is deleted in the end is decided anew, after everybody has been told.

mod figures;
mod left;
mod merge;
mod plan;
mod renew;
mod roots;
mod sweep;
mod weigh;

pub use figures::{Charge, Figures};
pub use left::{LeftBehind, left_behind};
pub use plan::{Plan, plan};
pub use sweep::{GcReport, collect};

use crate::error::{Damage, Error};
use crate::repository::{Records, Repository};
use std::time::Duration;

/// How a collection goes about it.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// How old a pack must be before it is condemned, and how long it then stays before it is deleted; by the store's clock. A courtesy to
    /// runs that are under way: without it they have to do more work, and are as safe.
    pub grace: Duration,
    /// How much may be stored that nobody needs, before packs are written anew for it.
    pub max_unused: MaxUnused,
    /// At most so many bytes of packs are read to be written anew.
    pub max_repack: Option<u64>,
    /// Whether packs in colder storage classes are read and written anew too.
    pub repack_cold: bool,
    /// Target of data packs, bytes.
    pub data_pack_bytes: u64,
    /// Whether packs and segments that are sealed under keys of older epochs are sealed anew. Nothing else is written anew then but what has
    /// to be, and the needed part of at most so many bytes of packs is, those of the oldest epochs first.
    pub renew: Option<u64>,
    /// Whether the plan is to say what would be written to a few per cent: frames that would be made anew are read for it, some of them.
    pub weigh: bool,
    /// Threads; 0 for one per core.
    pub threads: usize,
}

/// How much may be stored that nobody needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxUnused {
    /// This part of what the packs hold that are needed.
    Part(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any amount: only packs go of which nothing is needed.
    Unlimited,
}

/// A day: longer than most backups run, and a hint to look again before it is too late.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);
/// What restic's users know: below this the space is not worth the reading and writing.
pub const MAX_UNUSED: MaxUnused = MaxUnused::Part(0.05);

/// Whether an error says that another collection was here meanwhile, and nothing is damaged: so it is where a pack is gone that a record
/// names by now.
fn is_overtaken(repository: &Repository, error: &Error) -> bool {
    let gone = match error {
        Error::Overtaken => return true,
        Error::Damaged { object, damage: Damage::Missing } => object.as_pack().map(|(_, id)| id),
        Error::PackMissing { pack, .. } => Some(*pack),
        _ => None,
    };
    gone.is_some_and(|id| repository.records(&Records::default()).is_ok_and(|records| records.name(&id)))
}

impl Default for GcOptions {
    fn default() -> Self {
        GcOptions {
            grace: GRACE,
            max_unused: MAX_UNUSED,
            max_repack: None,
            repack_cold: false,
            renew: None,
            data_pack_bytes: crate::limits::PACK_BYTES_DATA,
            weigh: false,
            threads: 0,
        }
    }
}

impl GcOptions {
    fn grace_nanos(&self) -> i64 {
        i64::try_from(self.grace.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Target of names and lists packs, bytes.
    fn meta_pack_bytes(&self) -> u64 {
        crate::limits::PACK_BYTES_META.min(self.data_pack_bytes)
    }

    fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64),
            n => n.min(256),
        }
    }
}
