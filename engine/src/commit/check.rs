//! CHECK (spec chapter 7): every chunk that a snapshot needs has a copy in an indexed pack that no record names.
//! The index is refreshed before the records are listed: of a collection that condemns in between, the copies are seen first and the
//! record last, and never the other way round.

use crate::commit::rescue::rescue;
use crate::error::{Error, Result};
use crate::faults;
use crate::format::manifest::{IndexPart, IndexRoot};
use crate::id::{ChunkId, Class, PackId, SnapshotId};
use crate::index::Index;
use crate::observe::Observer;
use crate::repository::reach::{Visit, walk};
use crate::repository::{Records, Repository, Segments, Trust};
use crate::store::beside;
use std::collections::HashSet;
use std::sync::Arc;

/// How often chunks are rescued before a run gives up: a collection would have to condemn anew what was just copied, each time.
const RESCUES_MAX: u32 = 4;

/// What a run knows when it begins to commit.
#[derive(Default)]
pub struct Known {
    /// All that it needs had a copy in an indexed pack that none of these named. `None`: nobody has looked yet.
    pub records: Option<Records>,
    /// Packs that the index names and the store does not have, or has damaged: no copy in them counts.
    pub lost: HashSet<PackId>,
}

/// Runs CHECKs for one snapshot, and remembers what the last one saw.
pub struct Checker<'a> {
    repository: &'a Repository,
    session: SnapshotId,
    known: Known,
    observer: &'a dyn Observer,
}

impl<'a> Checker<'a> {
    pub fn new(repository: &'a Repository, session: SnapshotId, known: Known, observer: &'a dyn Observer) -> Self {
        Checker { repository, session, known, observer }
    }

    /// CHECK, and something else at the same time where that saves a round trip.
    pub fn beside<T: Send>(&mut self, manifest: &IndexPart, other: impl FnOnce() -> T + Send) -> (Result<()>, T) {
        let store = self.repository.store();
        let (other, checked) = beside(store, other, || self.check(manifest));
        (checked, other)
    }

    /// CHECK. What has no copy any more that counts is rescued; an error where that cannot be.
    pub fn check(&mut self, manifest: &IndexPart) -> Result<()> {
        if faults::seeded("no-check") {
            return Ok(());
        }
        // Named is for ever and an index entry goes only with its pack: where no record is new, what had a copy still has it.
        if let Some(records) = &self.known.records
            && self.repository.no_record_is_new(records)?
        {
            return Ok(());
        }
        // What a part of the snapshot needs was looked at by then, and no more: the rest goes on relying on what B1 saw, so that the CHECK
        // of the whole has to look at every record since. (The model found the snapshot that was lost by it.)
        let whole = !manifest.incomplete || faults::seeded("mid-base-forward");
        for _ in 0..=RESCUES_MAX {
            let (index, records) = self.read()?;
            let missing = match missing(self.repository, &index, &manifest.roots) {
                Ok(missing) => missing,
                // A node or leaf of what is needed is gone with the pack that held it: nobody can tell what hung below.
                Err(error) if error.is_damage() => return Err(Error::Overtaken),
                Err(error) => return Err(error),
            };
            if missing.is_empty() {
                if whole {
                    self.known.records = Some(records);
                }
                return Ok(());
            }
            let count = missing.len();
            rescue(self.repository, self.session, &index, &missing, &|| !self.observer.interrupted())?;
            self.observer.warning(&format!(
                "a collection overtook this run: {count} chunks that it relies on were copied out of packs that are to go"
            ));
            if faults::seeded("rescue-unindexed") {
                self.known.records = Some(records);
                return Ok(());
            }
        }
        Err(Error::Overtaken)
    }

    /// The index, and then the records.
    fn read(&self) -> Result<(Arc<Index>, Records)> {
        let repository = self.repository;
        let old = self.known.records.clone().unwrap_or_default();
        let first = if faults::seeded("records-before-index") { Some(repository.records(&old)?) } else { None };
        let Segments { good, damaged } = repository.read_segments()?;
        let mut index = Index::new(good);
        if !damaged.is_empty() {
            // What they said can be read in the footers; whether others will find it there, a rebuild or the next backup sees to.
            for orphan in repository.orphans(&index, Trust::Footer)? {
                index.add(vec![crate::index::build_segment(std::slice::from_ref(&orphan))]);
            }
        }
        let records = match first {
            Some(records) => records,
            None => repository.records(&old)?,
        };
        let lost = &self.known.lost;
        index.set_usable(|pack| !records.name(&pack.id) && !lost.contains(&pack.id));
        Ok((Arc::new(index), records))
    }
}

/// What `roots` need and no usable pack holds, each once, in the order of the walk.
fn missing(repository: &Repository, index: &Arc<Index>, roots: &[IndexRoot]) -> Result<Vec<(Class, ChunkId)>> {
    // The reader finds what is in packs that are named, too: those may still be there.
    let reader = repository.reader_over(index.clone());
    let mut need = Needed { index, walked: HashSet::new(), missing: Vec::new(), known: HashSet::new() };
    walk(&reader, roots, &mut need)?;
    Ok(need.missing)
}

struct Needed<'a> {
    index: &'a Index,
    walked: HashSet<ChunkId>,
    missing: Vec<(Class, ChunkId)>,
    known: HashSet<(Class, ChunkId)>,
}

impl Visit for Needed<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        if !self.index.has(class, id) && self.known.insert((class, *id)) {
            self.missing.push((class, *id));
        }
        Ok(class == Class::Lists && self.walked.insert(*id) && !faults::seeded("leaf-unchecked"))
    }
}
