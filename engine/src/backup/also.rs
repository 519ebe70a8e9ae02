//! Other repositories that the new packs of a backup go to while they are made, so that what is read is chunked, compressed and sealed once.
//! Only packs and segments go there: the snapshot is committed here, and a copy brings it there. It must never fail the backup.

use crate::format::segment::Segment;
use crate::id::ObjectName;
use crate::observe::Observer;
use crate::repository::{Access, Repository};
use crate::store::Store;
use crate::store::fan::{Branch, Fan};
use std::sync::Arc;

/// The others, each with what became of it.
pub struct Also<'a> {
    others: Vec<(&'a Repository, Arc<Branch>)>,
}

impl<'a> Also<'a> {
    /// Those of `others` that open what `repository` writes: the rest gets its copy later, as any other.
    pub fn new(repository: &Repository, others: &[&'a Repository], observer: &dyn Observer) -> Self {
        let keys = repository.keys();
        let fits = |other: &&&Repository| other.id() != repository.id() && other.keys().open_packs_of(keys, keys.epoch);
        let mut also = Also { others: Vec::new() };
        for other in others.iter().filter(fits) {
            match other.require_features(Access::Write) {
                Ok(()) => also.others.push((*other, Arc::new(Branch::new(other.shared_store())))),
                Err(error) => observer.warning(&format!("{}: {error}", other.store().place())),
            }
        }
        also
    }

    /// Whether there are none: then nothing is different.
    pub fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Where packs go.
    pub fn fan<'s>(&self, store: &'s dyn Store) -> Fan<'s> {
        Fan::new(store, self.others.iter().map(|(_, branch)| branch.clone()).collect())
    }

    /// Names there what a segment here names, as far as it arrived. Behind the packs, as everywhere.
    pub fn put_segment(&self, segment: &Segment) {
        for (other, branch) in self.others.iter().filter(|(_, branch)| !branch.is_out()) {
            let Some(arrived) = segment.only(|pack| branch.has(&ObjectName::pack(pack.class, &pack.id))) else { continue };
            if let Err(error) = other.put_segment(&arrived) {
                branch.fail(error);
            }
        }
    }

    /// Says which of them dropped out.
    pub fn tell(&self, observer: &dyn Observer) {
        for (other, branch) in &self.others {
            if let Some(error) = branch.take_failure() {
                observer.warning(&format!("{} gets its copy later: {error}", other.store().place()));
            }
        }
    }
}
