//! An opened repository: store, keys, index, catalog, cache directory. It names no operation; verbs are free functions over it.
//! Opening reads the descriptor, a slot and a keyring; index and catalog are read when first asked for.

mod cache;
#[doc(hidden)]
pub mod entries;
mod forgotten;
#[doc(hidden)]
pub mod grounds;
mod holds;
#[doc(hidden)]
pub mod ledger;
#[doc(hidden)]
pub mod lengths;
#[doc(hidden)]
pub mod locks;
mod manifests;
mod mark;
pub mod merged;
mod notes;
mod open;
#[doc(hidden)]
pub mod ordered;
mod orphans;
mod pendings;
#[doc(hidden)]
pub mod reach;
mod records;
#[doc(hidden)]
pub mod selection;
pub mod selector;
#[doc(hidden)]
pub mod side_by_side;
#[doc(hidden)]
pub mod tree;

pub use holds::Holds;
pub use manifests::{Refresh, Unreadable};
pub use open::{Found, InitOptions, OpenOptions};
#[doc(hidden)]
pub use {
    cache::Cache,
    holds::HoldsRead,
    notes::note_fits,
    open::{Access, COPIES},
    orphans::Trust,
    records::Records,
};

use crate::catalog::Catalog;
use crate::chunk::{ChunkIds, Chunker};
use crate::error::{Damage, Error, Result};
use crate::format::object::{ObjectType, Purpose};
use crate::format::repo::Descriptor;
use crate::format::segment::Segment;
use crate::format::tree::TreeCutter;
use crate::id::{ObjectId, ObjectName, PackId, RepositoryId, WriterId};
use crate::index::{Index, build_segment};
use crate::limits::{SEGMENT_BYTES_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::pack::reader::ChunkReader;
use crate::repository::manifests::Listings;
use crate::seal::key::{Keys, OpenSlot};
use crate::seal::object::{decode_descriptor, open_object_in_place, seal_object};
use crate::seal::random;
use crate::store::near::NearStore;
use crate::store::{Listed, Store, each, reread};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that read from a remote store.
const READERS_REMOTE: usize = 8;

/// How often segments are listed where some are listed and not there.
#[doc(hidden)]
pub const SEGMENT_LISTINGS: u32 = 4;

/// What the index segments of a repository say.
#[doc(hidden)]
#[derive(Default)]
pub struct Segments {
    /// Those that open.
    pub good: Vec<Segment>,
    /// What is wrong with the others.
    pub damaged: Vec<Error>,
}

/// An opened repository.
///
/// ```
/// use seabed_engine::{Error, InitOptions, Key, LocalStore, OpenOptions, Repository, Secret};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let place = tempfile::tempdir()?;
/// let store = Arc::new(LocalStore::create(place.path().join("repo"))?);
/// let secret = Secret::KeyFile(Key::random()?);
/// Repository::init(store.clone(), &secret, &InitOptions::default(), &OpenOptions::default())?;
///
/// // With a cache, what was learnt of it is there the next time.
/// let open = OpenOptions { cache: Some(place.path().join("cache")), ..OpenOptions::default() };
/// let repository = Repository::open(store.clone(), &secret, &open)?;
/// repository.refresh()?;
/// assert!(repository.catalog().snapshots()?.is_empty());
///
/// // Another key opens nothing.
/// let other = Secret::KeyFile(Key::random()?);
/// assert!(matches!(Repository::open(store, &other, &open), Err(Error::WrongKey)));
/// # Ok(())
/// # }
/// ```
pub struct Repository {
    store: Arc<dyn Store>,
    origin: Arc<dyn Store>,
    features: Vec<Listed>,
    descriptor: Descriptor,
    keys: Arc<Keys>,
    /// The slot that opened it; none where keys came from a recovery sheet.
    slot: Option<Arc<OpenSlot>>,
    /// There is a newer epoch whose keys this run does not have.
    behind: bool,
    ids: ChunkIds,
    chunker: Chunker,
    cutter: TreeCutter,
    cache: Cache,
    catalog: Mutex<Catalog>,
    index: Mutex<Option<Arc<Index>>>,
    /// For the first refresh.
    listings: Mutex<Option<Listings>>,
    /// The packs that are named by the segments which this run put.
    put: Mutex<HashMap<ObjectName, Vec<PackId>>>,
}

impl Repository {
    /// The store, through copies of what never changes.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The same, for who keeps it.
    #[doc(hidden)]
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The store itself: for who must not take a copy's word for what it holds.
    #[doc(hidden)]
    pub fn origin(&self) -> &dyn Store {
        &*self.origin
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        self.descriptor.repository
    }

    /// The descriptor.
    #[doc(hidden)]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The keys that this run holds.
    #[doc(hidden)]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The slot that opened it; `None` where keys came from a recovery sheet.
    #[doc(hidden)]
    pub fn slot(&self) -> Option<&OpenSlot> {
        self.slot.as_deref()
    }

    /// Whether there is a newer epoch whose keys this run does not have: then it reads what was written before, and writes nothing.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Goes on with other keys of the same family: those of a newer epoch, which this machine takes no older one for from now on.
    #[doc(hidden)]
    pub fn adopt_keys(&mut self, keys: Keys) -> Result<()> {
        if keys.family != self.keys.family || keys.epoch < self.keys.epoch {
            return Err(Error::SelfCheck { what: "the keys of a newer epoch" });
        }
        self.catalog().note_epoch(keys.epoch)?;
        self.keys = Arc::new(keys.renewed_as(&self.keys));
        Ok(())
    }

    /// Gives up the keys of some purposes for the rest of this run: a collector needs none of data and names.
    #[doc(hidden)]
    pub fn give_up_keys(&mut self, purposes: &[Purpose]) {
        self.keys = Arc::new(self.keys.without(purposes));
    }

    /// Makes chunk ids.
    #[doc(hidden)]
    pub fn ids(&self) -> &ChunkIds {
        &self.ids
    }

    /// Cuts content.
    #[doc(hidden)]
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Cuts entry trees.
    #[doc(hidden)]
    pub fn cutter(&self) -> &TreeCutter {
        &self.cutter
    }

    /// Who writes when this run writes.
    pub fn writer(&self) -> WriterId {
        self.cache.writer()
    }

    /// The directory in which this repository's caches are, where there is one.
    pub fn cache_directory(&self) -> Option<&std::path::Path> {
        self.cache.directory()
    }

    /// The catalog, as of the last [`Repository::refresh`].
    pub fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index, read when first asked for.
    #[doc(hidden)]
    pub fn index(&self) -> Result<Arc<Index>> {
        let mut slot = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*slot {
            return Ok(index.clone());
        }
        let index = Arc::new(self.load_index()?);
        *slot = Some(index.clone());
        Ok(index)
    }

    /// Forgets the index, so that the next question reads it anew.
    #[doc(hidden)]
    pub fn drop_index(&self) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn load_index(&self) -> Result<Index> {
        let Segments { good, damaged } = self.read_segments()?;
        let mut index = Index::new(good);
        // Segments only repeat what footers say: what a damaged one said can still be read there.
        if !damaged.is_empty() {
            // Who reads verifies each chunk anyhow.
            let orphans = self.orphans(&index, Trust::Footer)?;
            index.add(orphans.iter().map(|pack| build_segment(std::slice::from_ref(pack))).collect());
        }
        Ok(index)
    }

    /// The objects of one type below `folder`; files that are not of the format are passed over.
    #[doc(hidden)]
    pub fn listed(&self, kind: ObjectType, folder: &str) -> Result<Vec<Listed>> {
        listed(&*self.store, kind, folder)
    }

    /// Reads every index segment. A damaged one does not stop the others; one of a newer format does.
    #[doc(hidden)]
    pub fn read_segments(&self) -> Result<Segments> {
        self.read_segments_but(&[])
    }

    fn read_segments_but(&self, left_out: &[ObjectName]) -> Result<Segments> {
        read_all_segments(self.store(), &self.keys, &self.id(), left_out)
    }

    /// Makes sure that the descriptor by which this repository is opened is the store's still. On a store that overwrites, another init may
    /// have put its own in its place; under that nobody would open what this run stored.
    #[doc(hidden)]
    pub fn still_stands(&self) -> Result<()> {
        let name = ObjectName::descriptor();
        let bytes = self.origin.get(&name, SMALL_OBJECT_BYTES_MAX)?;
        if decode_descriptor(&name, &bytes)?.0 == self.descriptor {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("another repository was made at {} meanwhile: this one cannot be opened any more", self.origin.place()),
        })
    }

    /// Reads one index segment.
    #[doc(hidden)]
    pub fn read_segment(&self, name: &ObjectName) -> Result<Segment> {
        segment_of(self.store(), &self.keys, &self.id(), name)
    }

    /// Reads one index segment from the repository's store itself.
    #[doc(hidden)]
    pub fn read_origin_segment(&self, name: &ObjectName) -> Result<Segment> {
        segment_of(self.origin(), &self.keys, &self.id(), name)
    }

    /// Writes an index segment; every pack that it names is durable already. Returns its length.
    #[doc(hidden)]
    pub fn put_segment(&self, segment: &Segment) -> Result<u64> {
        let name = ObjectName::segment(&ObjectId::new(random()?));
        let object = seal_object(&self.keys, &self.id(), &name, ObjectType::Segment, segment)?;
        self.store.put(&name, &object)?;
        let packs = segment.packs.iter().map(|pack| pack.id).collect();
        self.put.lock().unwrap_or_else(PoisonError::into_inner).insert(name, packs);
        Ok(object.len() as u64)
    }

    /// Makes sure that the store has what this run put, but for what others took away by the protocol: for whoever relied on that, CHECK
    /// sees to it. Segments that are `going`, because what was put says the same, do not stand in for it.
    #[doc(hidden)]
    pub fn confirm(&self, going: &[ObjectName]) -> Result<()> {
        self.store.confirm(&|unseen| self.taken(unseen, going))
    }

    /// Which of these others took away: packs that a record names, and segments of whose packs the same holds, or that another segment
    /// names. The index is read first, as in CHECK: whoever merges leaves out what is named already.
    fn taken(&self, unseen: &[ObjectName], going: &[ObjectName]) -> Result<HashSet<ObjectName>> {
        let has_segments = unseen.iter().any(|name| name.as_pack().is_none());
        let segments = if has_segments { self.read_segments_but(going)?.good } else { Vec::new() };
        let indexed: HashSet<PackId> = segments.iter().flat_map(|segment| &segment.packs).map(|pack| pack.id).collect();
        let records = self.records(&Records::default())?;
        let put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = |name: &&ObjectName| match name.as_pack() {
            Some((_, id)) => records.name(&id),
            None => put.get(*name).is_some_and(|packs| packs.iter().all(|id| records.name(id) || indexed.contains(id))),
        };
        Ok(unseen.iter().filter(is_taken).cloned().collect())
    }

    /// How many threads should read: those that compute, and where reading is waiting for a network, some more.
    #[doc(hidden)]
    pub fn reading_threads(&self, threads: usize) -> usize {
        threads.max(self.store.connections().min(READERS_REMOTE))
    }

    /// A reader of chunks over the index as it is now.
    #[doc(hidden)]
    pub fn reader(&self) -> Result<ChunkReader> {
        Ok(self.reader_from(self.index()?))
    }

    /// The same, beginning with an index that may lack what came since.
    #[doc(hidden)]
    pub fn reader_from(&self, index: Arc<Index>) -> ChunkReader {
        let (store, keys, id) = (self.store.clone(), self.keys.clone(), self.id());
        let renew = move || Ok(Index::new(read_all_segments(&*store, &keys, &id, &[])?.good));
        self.reader_over(index).renewed_by(Arc::new(renew))
    }

    /// A reader of chunks over `index` that trusts no copies.
    #[doc(hidden)]
    pub fn origin_reader_over(&self, index: Arc<Index>) -> ChunkReader {
        let store: Arc<dyn Store> = match self.origin.traffic() {
            None => self.origin.clone(),
            Some(_) => Arc::new(NearStore::new(self.origin.clone(), None, 0)),
        };
        ChunkReader::new(store, self.keys.clone(), self.ids.clone(), index)
    }

    /// A reader of chunks over `index`.
    #[doc(hidden)]
    pub fn reader_over(&self, index: Arc<Index>) -> ChunkReader {
        ChunkReader::new(self.store.clone(), self.keys.clone(), self.ids.clone(), index)
    }
}

fn segment_of(store: &dyn Store, keys: &Keys, id: &RepositoryId, name: &ObjectName) -> Result<Segment> {
    reread(store, name, || {
        let mut bytes = store.get(name, SEGMENT_BYTES_MAX)?;
        let segment: Segment = open_object_in_place(keys, id, name, ObjectType::Segment, &mut bytes)?;
        segment.checked().ok_or_else(|| Error::damaged(name, Damage::Malformed("entries")))?;
        Ok(segment)
    })
}

/// Reads every index segment of a store but those `left_out`.
fn read_all_segments(store: &dyn Store, keys: &Keys, id: &RepositoryId, left_out: &[ObjectName]) -> Result<Segments> {
    let mut round = 0;
    loop {
        round += 1;
        let mut segments = Segments::default();
        let mut segments_listed = listed(store, ObjectType::Segment, "index")?;
        segments_listed.retain(|object| !left_out.contains(&object.name));
        let read = each(store, &segments_listed, |listed| segment_of(store, keys, id, &listed.name));
        // Merged away between the listing and the read: the merged segment came before, a new listing shows it.
        if round < SEGMENT_LISTINGS && read.iter().any(|read| matches!(read, Err(error) if error.is_missing())) {
            continue;
        }
        for read in read {
            match read {
                Ok(segment) => segments.good.push(segment),
                // One that is listed and not there for good is damage too: a listing that is behind, or a segment that was lost.
                Err(error @ Error::Damaged { .. }) => segments.damaged.push(error),
                // Of an epoch that began since this run opened, or that took its slot away: what it names is under keys that are not here.
                // A run that began before a rotation goes on without; whoever collects reads segments by another way, and stops.
                Err(Error::EpochUnknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        return Ok(segments);
    }
}

/// The objects of one type below `folder` of a store.
fn listed(store: &dyn Store, kind: ObjectType, folder: &str) -> Result<Vec<Listed>> {
    let mut objects = store.list(folder)?;
    objects.retain(|object| ObjectType::of(&object.name) == Some(kind));
    Ok(objects)
}
