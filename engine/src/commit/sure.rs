//! What a run makes sure of once, for all the snapshots of its own repository that it commits anew, or vouches for: CHECK looks at the whole
//! index and walks a whole snapshot, and ten thousand of them share most of what hangs below them.
//! It must never take for looked at what was not: a snapshot may rely on packs that are condemned, and kept for now (spec chapter 7, G4).

use crate::commit::{Known, Usable, usable_index};
use crate::error::{Error, Result};
use crate::format::manifest::IndexRoot;
use crate::id::{ChunkId, Class, PackId};
use crate::index::Index;
use crate::observe::Observer;
use crate::pack::reader::ChunkReader;
use crate::repository::reach::{Visit, walk};
use crate::repository::{Records, Repository};
use std::collections::HashSet;
use std::sync::Arc;

/// See the module's text.
pub struct Sure {
    records: Records,
    lost: HashSet<PackId>,
    /// The index as of B1, with the packs marked that count, and a reader over it.
    index: Arc<Index>,
    reader: ChunkReader,
    /// Nodes and leaves below which everything has a copy that counts.
    walked: HashSet<ChunkId>,
}

impl Sure {
    /// Of what B1 saw.
    pub fn new(repository: &Repository, index: Arc<Index>, records: Records, lost: HashSet<PackId>) -> Self {
        // It finds what is in packs that are named, too: those may still be there.
        let reader = repository.reader_over(index.clone());
        Sure { records, lost, index, reader, walked: HashSet::new() }
    }

    /// Does B1.
    pub fn read(repository: &Repository, observer: &dyn Observer) -> Result<Self> {
        let Usable { index, records, lost, .. } = usable_index(repository, false, observer)?;
        Ok(Sure::new(repository, index, records, lost))
    }

    /// Whether records have come since: then nothing of what it knows saves a CHECK any work.
    pub fn is_overtaken(&self, repository: &Repository) -> Result<bool> {
        Ok(!repository.no_record_is_new(&self.records)?)
    }

    /// What a commit may take for looked at of a snapshot that needs nothing but what `roots` need, and what was put since B1. Where something
    /// of that has no copy that counts, that is nothing: its CHECK looks at all of it, and rescues what can be.
    pub fn known(&mut self, roots: &[IndexRoot]) -> Result<Known> {
        let records = match walk(&self.reader, roots, &mut Counted { index: &self.index, walked: &mut self.walked }) {
            Ok(()) => Some(self.records.clone()),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        };
        Ok(Known { records, lost: self.lost.clone() })
    }
}

struct Counted<'s> {
    index: &'s Index,
    walked: &'s mut HashSet<ChunkId>,
}

impl Visit for Counted<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        // The end of the walk: what hangs above it is not among what was walked then.
        if !self.index.has(class, id) {
            return Err(Error::ChunkMissing { id: *id });
        }
        Ok(class == Class::Lists && !self.walked.contains(id))
    }

    fn below(&mut self, id: &ChunkId) {
        self.walked.insert(*id);
    }
}
