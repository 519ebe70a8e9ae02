//! What those look at who look at all of a repository: where every chunk is, which packs the store has, and which of them records name.
//! Segments are read a few at a time, so that the memory of these is all that comes on top of the rows.

use crate::error::{Error, Result};
use crate::faults;
use crate::format::object::ObjectType;
use crate::format::segment::Segment;
use crate::id::{ChunkId, Class, ObjectName, PackId};
use crate::index::Index;
use crate::index::compact::{PackRow, Rows};
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::reader::ChunkReader;
use crate::repository::{Records, Repository, SEGMENT_LISTINGS};
use crate::store::{Listed, each, each_busy, there};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Segments that are read at a time; of these a few may have to be held in memory.
pub const SEGMENTS_BATCH: usize = 4;
/// Footers of packs without a segment that are read at a time.
const FOOTERS_BATCH: usize = 64;
/// What a row takes in a segment, for a guess of how many there are.
const ENTRY_BYTES: u64 = crate::format::segment::ENTRY_BYTES as u64;

/// What can be relied on of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, a segment names it, and no record does.
    Good,
    /// It is there, and no segment names it: a run has died, or has not come so far.
    Orphan,
    /// It is there, and a record names it: it will be deleted.
    Named,
    /// It is not there, or not whole.
    Gone,
}

/// What a segment names, as far as anybody asks again.
pub struct SegmentFacts {
    /// Its packs.
    pub packs: Vec<PackId>,
    /// How many entries it has.
    pub entries: u64,
}

/// Everything but the roots.
pub struct Grounds {
    /// Where chunks are.
    pub rows: Rows,
    /// The segments that were read.
    pub segments: BTreeMap<ObjectName, SegmentFacts>,
    /// What the store has.
    pub packs: HashMap<PackId, Listed>,
    /// What collections condemned.
    pub records: Records,
    /// Where nodes and leaves are.
    lists: Arc<Index>,
    /// Nodes and leaves below which all is marked.
    pub(super) walked: HashSet<ChunkId>,
    /// Packs whose rows are not taken in: copies of what rows speak of already, made by who asks.
    pub own: HashSet<PackId>,
    /// Footers that do not open: nobody can use these packs, and nobody can tell what was in them.
    pub unreadable: Vec<ObjectName>,
}

impl Grounds {
    /// Reads them. The roots were listed before: whatever one of them needs was indexed by then.
    pub fn read(repository: &Repository, observer: &dyn Observer) -> Result<Self> {
        let mut grounds = Grounds {
            rows: Rows::default(),
            segments: BTreeMap::new(),
            packs: HashMap::new(),
            records: Records::default(),
            lists: Arc::default(),
            walked: HashSet::new(),
            own: HashSet::new(),
            unreadable: Vec::new(),
        };
        grounds.refresh(repository, observer)?;
        Ok(grounds)
    }

    /// Looks again: index, then packs, then records, in this order. A copy that counts was seen before the records are.
    pub fn refresh(&mut self, repository: &Repository, observer: &dyn Observer) -> Result<()> {
        let first = if faults::seeded("records-before-index") { Some(repository.records(&self.records)?) } else { None };
        self.read_segments(repository, observer)?;
        self.list_packs(repository)?;
        self.records = match first {
            Some(records) => records,
            None => repository.records(&self.records)?,
        };
        Ok(())
    }

    fn read_segments(&mut self, repository: &Repository, observer: &dyn Observer) -> Result<()> {
        let mut round = 0;
        loop {
            round += 1;
            let listed = repository.listed(ObjectType::Segment, "index")?;
            if self.segments.is_empty() {
                let bytes: u64 = listed.iter().map(|object| object.bytes).sum();
                self.rows = Rows::with_room(usize::try_from(bytes / ENTRY_BYTES).unwrap_or(0));
            }
            let names: HashSet<&ObjectName> = listed.iter().map(|object| &object.name).collect();
            // Merged away: the merged one is listed instead.
            self.segments.retain(|name, _| names.contains(name));
            let mut gone = false;
            let mut lists = Vec::new();
            let unread: Vec<&Listed> = listed.iter().filter(|object| !self.segments.contains_key(&object.name)).collect();
            for batch in unread.chunks(SEGMENTS_BATCH) {
                if observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                let read = |object: &&Listed| -> Result<_> {
                    let segment = repository.read_segment(&object.name)?;
                    let lists = segment.only(|pack| pack.class == Class::Lists);
                    Ok((segment, lists))
                };
                for (object, read) in batch.iter().zip(each_busy(repository.store(), batch, read)) {
                    match read {
                        Ok((segment, of_lists)) => {
                            self.enter(&object.name, &segment)?;
                            lists.extend(of_lists);
                        }
                        Err(error) if error.is_missing() => gone = true,
                        Err(error) => return Err(error),
                    }
                }
            }
            self.rows.settle();
            // Readers of an earlier mark are gone by now.
            Arc::get_mut(&mut self.lists).ok_or(Error::SelfCheck { what: "the index of lists" })?.add(lists);
            // One that stays in the listing and is not there: what it named alone is read from the footers.
            if !gone || round >= SEGMENT_LISTINGS {
                return Ok(());
            }
        }
    }

    /// Takes in what a segment says.
    fn enter(&mut self, name: &ObjectName, segment: &Segment) -> Result<()> {
        let own = segment.packs.iter().any(|pack| self.own.contains(&pack.id));
        let fits = if own {
            let others = segment.only(|pack| !self.own.contains(&pack.id));
            others.is_none_or(|others| self.rows.add_segment(&others))
        } else {
            self.rows.add_segment(segment)
        };
        if !fits {
            return Err(Error::Refused { what: "the index names more packs than a collection can tell apart".to_owned() });
        }
        let packs = segment.packs.iter().map(|pack| pack.id).collect();
        let entries = (segment.entries.0.len() as u64) / ENTRY_BYTES;
        self.segments.insert(name.clone(), SegmentFacts { packs, entries });
        Ok(())
    }

    fn list_packs(&mut self, repository: &Repository) -> Result<()> {
        self.packs.clear();
        for class in Class::ALL {
            for object in repository.origin().list(class.folder())? {
                if let Some((of, id)) = object.name.as_pack().filter(|(of, _)| *of == class) {
                    debug_assert_eq!(of, class);
                    self.packs.insert(id, object);
                }
            }
        }
        // A listing that leaves a pack out does not make it lost.
        let unseen = self.rows.packs().iter().filter(|pack| !self.packs.contains_key(&pack.id) && !self.records.name(&pack.id));
        let unseen = unseen.map(|pack| ObjectName::pack(pack.class, &pack.id)).collect();
        for object in there(repository.origin(), unseen)? {
            if let Some((_, id)) = object.name.as_pack() {
                self.packs.insert(id, object);
            }
        }
        self.read_footers(repository)
    }

    /// Packs that no segment names are judged by their footers.
    fn read_footers(&mut self, repository: &Repository) -> Result<()> {
        let indexed = self.indexed();
        let unknown: Vec<(Class, PackId, u64)> = self
            .packs
            .values()
            .filter_map(|object| Some((object.name.as_pack()?, object.bytes)))
            .filter(|((_, id), _)| !indexed.contains(id) && self.rows.number(id).is_none() && !self.own.contains(id))
            .map(|((class, id), bytes)| (class, id, bytes))
            .collect();
        let read = |(class, id, _): &(Class, PackId, u64)| OpenPack::open(repository.store(), repository.keys(), *class, id);
        for batch in unknown.chunks(FOOTERS_BATCH) {
            for ((class, id, bytes), pack) in batch.iter().zip(each(repository.store(), batch, read)) {
                match pack {
                    Ok(pack) => {
                        let ids = if faults::seeded("orphan-unread") { &[][..] } else { &pack.table.footer.ids.0[..] };
                        self.rows.add_footer(*class, *id, *bytes, ids);
                    }
                    // Deleted since it was listed.
                    Err(error) if error.is_missing() => {
                        self.packs.remove(id);
                    }
                    Err(error) if error.is_damage() => self.unreadable.push(ObjectName::pack(*class, id)),
                    Err(error) => return Err(error),
                }
            }
        }
        self.rows.settle();
        Ok(())
    }

    /// The packs that a listed segment names.
    pub fn indexed(&self) -> HashSet<PackId> {
        self.segments.values().flat_map(|segment| segment.packs.iter().copied()).collect()
    }

    /// Whether every pack of `own` is there, named by a segment and by no record: then what was copied into them has a copy that counts.
    pub fn own_count(&self) -> bool {
        let indexed = self.indexed();
        self.own.iter().all(|id| self.packs.contains_key(id) && indexed.contains(id) && !self.records.name(id))
    }

    /// The state of every pack that rows speak of, by its number.
    pub fn states(&self) -> Vec<State> {
        let indexed = self.indexed();
        let state = |pack: &PackRow| {
            let whole = self.packs.get(&pack.id).is_some_and(|object| object.bytes == pack.bytes);
            match (whole || faults::seeded("ghost-witness"), self.records.name(&pack.id)) {
                (false, _) => State::Gone,
                (true, true) => State::Named,
                (true, false) if indexed.contains(&pack.id) || faults::seeded("unindexed-witness") => State::Good,
                (true, false) => State::Orphan,
            }
        };
        self.rows.packs().iter().map(state).collect()
    }

    /// Reads nodes and leaves.
    pub fn reader(&self, repository: &Repository) -> ChunkReader {
        repository.reader_over(self.lists.clone()).with_small_caches()
    }
}
