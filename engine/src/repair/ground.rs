//! What there is to stand on: the index, the packs that can be relied on and those that cannot, and every root with what it needs and what of
//! that is missed. Roots are read first, then the index, then the records, as in a collection: what a root needs was indexed before it.

use crate::catalog::Snapshot;
use crate::commit::usable_index;
use crate::error::{Error, Result};
use crate::format::manifest::IndexRoot;
use crate::id::{ChunkId, Class, PackId, SnapshotId};
use crate::index::{Index, Location};
use crate::observe::{Observer, Progress, Stage};
use crate::repair::mend::Wanted;
use crate::repository::reach::{Visit, walk};
use crate::repository::{Records, Repository};
use std::collections::HashSet;
use std::sync::Arc;

/// Where chunks are, and which packs count.
pub struct Ground {
    /// All that segments say.
    pub index: Arc<Index>,
    /// Packs that are gone, short, or in which a check found damage, and that no record names.
    pub lost: HashSet<PackId>,
    /// Packs that turned out to be broken while nodes were read.
    pub broken: HashSet<PackId>,
    /// What is condemned.
    pub records: Records,
    /// Packs that no segment named before.
    pub indexed: u64,
}

impl Ground {
    /// Looks. Packs that no segment names get one, and with them what a damaged segment said is said again.
    pub fn look(repository: &Repository, dry_run: bool, broken: HashSet<PackId>, observer: &dyn Observer) -> Result<Self> {
        let usable = usable_index(repository, dry_run, observer)?;
        // Behind the index: of a collection that condemns in between, the copies are seen first and the record last.
        let records = repository.records(&usable.records)?;
        Ok(Ground { index: usable.index, lost: usable.lost, broken, records, indexed: usable.indexed })
    }

    fn counts(&self, at: &Location) -> bool {
        let sound = |id: &PackId| !self.broken.contains(id) && !self.records.name(id);
        self.index.packs().get(at.pack as usize).is_some_and(|pack| pack.usable && sound(&pack.id))
    }

    /// Whether a chunk has a copy that counts: in an indexed pack that is whole and that no record names.
    pub fn has(&self, class: Class, id: &ChunkId) -> bool {
        self.index.find(class, id).any(|at| self.counts(&at))
    }

    /// Packs that nobody should rely on, and of which not everybody knows that.
    pub fn bad(&self) -> HashSet<PackId> {
        self.lost.iter().chain(&self.broken).filter(|id| !self.records.name(id)).copied().collect()
    }
}

/// Something that says what is needed.
pub struct Root {
    /// Whose; of a pending that of its run.
    pub id: SnapshotId,
    /// The snapshot, where it is one that everybody sees.
    pub snapshot: Option<Snapshot>,
    /// What it needs.
    pub roots: Vec<IndexRoot>,
}

/// What roots need and nothing has that counts.
#[derive(Default)]
pub struct Need {
    /// The chunks, in the order of the walk.
    pub missing: Vec<Wanted>,
    /// The roots that miss any.
    pub hurt: HashSet<SnapshotId>,
    /// A node or leaf is missed: nobody knows what hangs below it.
    pub torn: bool,
}

/// Walks everything that `roots` need. Packs that turn out to be broken on the way are taken down in `ground`.
pub fn need(repository: &Repository, ground: &mut Ground, roots: &[Root], observer: &dyn Observer) -> Result<Need> {
    observer.progress(&Progress { stage: Stage::Verifying, ..Progress::default() });
    loop {
        let reader = repository.origin_reader_over(ground.index.clone());
        let mut visit = Misses {
            ground,
            observer,
            walked: HashSet::new(),
            known: HashSet::new(),
            hurt: HashSet::new(),
            above: Vec::new(),
            last: None,
            missed: 0,
            need: Need::default(),
        };
        let mut unread: Vec<ChunkId> = Vec::new();
        for root in roots {
            let before = visit.missed;
            match walk(&reader, &root.roots, &mut visit) {
                Ok(()) => {}
                Err(error) if error.is_damage() => {
                    visit.above.clear();
                    unread.extend(visit.last.filter(|_| is_of_a_pack(&error)));
                    visit.missed += 1;
                    visit.need.torn = true;
                }
                Err(error) => return Err(error),
            }
            if visit.missed != before {
                visit.need.hurt.insert(root.id);
            }
        }
        let need = visit.need;
        // No copy of it reads, though some pack was believed: then that pack is no better than one which a check has found.
        let places = unread.iter().flat_map(|id| ground.index.find(Class::Lists, id));
        let packs = places.filter_map(|at| ground.index.packs().get(at.pack as usize)).map(|pack| pack.id);
        let found: Vec<PackId> = packs.filter(|id| !ground.broken.contains(id)).collect();
        if found.is_empty() {
            return Ok(need);
        }
        ground.broken.extend(found);
    }
}

/// Whether it says that a pack is not what it was, and not that somebody stored what makes no sense.
fn is_of_a_pack(error: &Error) -> bool {
    match error {
        Error::Damaged { object, .. } => object.as_pack().is_some(),
        Error::PackMissing { .. } | Error::ChunkMissing { .. } => true,
        _ => false,
    }
}

struct Misses<'a> {
    ground: &'a Ground,
    observer: &'a dyn Observer,
    walked: HashSet<ChunkId>,
    known: HashSet<Wanted>,
    /// Nodes below which something is missed: whoever comes by again misses it too.
    hurt: HashSet<ChunkId>,
    /// How much was missed when each of the nodes above was reached.
    above: Vec<u64>,
    /// The node that is being read.
    last: Option<ChunkId>,
    missed: u64,
    need: Need,
}

impl Visit for Misses<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        if !self.ground.has(class, id) {
            self.missed += 1;
            if self.known.insert((class, *id)) {
                self.need.missing.push((class, *id));
                self.need.torn |= class == Class::Lists;
            }
            return Ok(false);
        }
        if class != Class::Lists {
            return Ok(false);
        }
        if !self.walked.insert(*id) {
            self.missed += u64::from(self.hurt.contains(id));
            return Ok(false);
        }
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        self.last = Some(*id);
        self.above.push(self.missed);
        Ok(true)
    }

    fn below(&mut self, id: &ChunkId) {
        if self.above.pop().is_some_and(|before| before != self.missed) {
            self.hurt.insert(*id);
        }
    }
}
