//! What those look at who look at all of a repository: where every chunk is, which packs the store has, and which of them records name.
//! Segments are read one after the other, so that the memory of one is all that comes on top of the rows.

use crate::error::{Error, Result};
use crate::faults;
use crate::format::manifest::IndexRoot;
use crate::format::object::ObjectType;
use crate::id::{ChunkId, Class, ObjectName, PackId};
use crate::index::Index;
use crate::index::compact::{Need, PackRow, Rows};
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::repository::reach::{Visit, walk};
use crate::repository::{Records, Repository, SEGMENT_LISTINGS};
use crate::store::{Listed, each, there};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

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
    /// Footers that do not open: nobody can use these packs, and nobody can tell what was in them.
    pub unreadable: Vec<ObjectName>,
    /// A walk has ended within a pending: below nodes that were marked then, not all is marked.
    torn: bool,
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
            unreadable: Vec::new(),
            torn: false,
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
            for object in &listed {
                if self.segments.contains_key(&object.name) {
                    continue;
                }
                if observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                let segment = match repository.read_segment(&object.name) {
                    Ok(segment) => segment,
                    Err(error) if error.is_missing() => {
                        gone = true;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if !self.rows.add_segment(&segment) {
                    return Err(Error::Refused { what: "the index names more packs than a collection can tell apart".to_owned() });
                }
                let packs = segment.packs.iter().map(|pack| pack.id).collect();
                let entries = (segment.entries.0.len() as u64) / ENTRY_BYTES;
                lists.extend(segment.only(|pack| pack.class == Class::Lists));
                self.segments.insert(object.name.clone(), SegmentFacts { packs, entries });
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
            .filter(|((_, id), _)| !indexed.contains(id) && self.rows.number(id).is_none())
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

    /// Where nodes and leaves are.
    pub fn lists(&self) -> Arc<Index> {
        self.lists.clone()
    }

    /// Marks everything that a snapshot needs. An error where a node or leaf cannot be read, or a chunk is nowhere.
    pub fn mark(&mut self, repository: &Repository, roots: &[IndexRoot], observer: &dyn Observer) -> Result<()> {
        self.walk(repository, roots, observer, None).map(drop)
    }

    /// Marks what is there of what a pending needs. What is not is for its owner's CHECK to find out: an index that still speaks of a pack
    /// which is gone must not make a loss of it that nobody has. Returns whether all of it is there.
    pub fn mark_what_is_there(&mut self, repository: &Repository, roots: &[IndexRoot], observer: &dyn Observer) -> Result<bool> {
        let there = self.states().into_iter().map(|state| state != State::Gone).collect();
        match self.walk(repository, roots, observer, Some(there)) {
            Err(error) if error.is_damage() => Ok(false),
            other => other,
        }
    }

    fn walk(&mut self, repository: &Repository, roots: &[IndexRoot], observer: &dyn Observer, there: Option<Vec<bool>>) -> Result<bool> {
        let reader = repository.reader_over(self.lists.clone());
        let walked = self.torn.then(HashSet::new);
        let mut mark = Mark { rows: &mut self.rows, observer, steps: 0, there, whole: true, walked };
        let end = walk(&reader, roots, &mut mark);
        let whole = mark.whole;
        self.torn |= end.is_err() || !whole;
        end.map(|()| whole)
    }
}

struct Mark<'a> {
    rows: &'a mut Rows,
    observer: &'a dyn Observer,
    steps: u32,
    /// Which packs are there, by their numbers, where what is not there is passed over.
    there: Option<Vec<bool>>,
    whole: bool,
    /// Nodes that this walk has come by, where those that an earlier one has marked must be walked once more.
    walked: Option<HashSet<ChunkId>>,
}

impl Visit for Mark<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(1 << 16) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        if let Some(there) = &self.there
            && !self.rows.any(class, id, |copy| there[copy.pack as usize])
        {
            self.whole = false;
            return Ok(false);
        }
        let first = match self.rows.need(class, id) {
            Need::First => true,
            Need::Again => false,
            Need::Missing => return Err(Error::ChunkMissing { id: *id }),
        };
        Ok(match &mut self.walked {
            Some(walked) => class == Class::Lists && walked.insert(*id),
            None => first,
        })
    }
}
