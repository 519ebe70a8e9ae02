//! A repository as it is after each step: kept up to date object by object, so that questions about it are cheap.

use crate::reader::keys::Keys;
use crate::reader::objects::{CLASSES, Manifest, Object, Pack, Record, Segment};
use crate::reader::tree::Needs;
use crate::reader::{Id, Read, hex, unhex};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// See the module's text. A clone shares what was read.
#[derive(Clone)]
pub struct View {
    keys: Arc<Keys>,
    packs: BTreeMap<Id, Arc<Pack>>,
    segments: BTreeMap<String, Arc<Segment>>,
    snapshots: BTreeMap<Id, Arc<Manifest>>,
    pendings: BTreeMap<String, Arc<Manifest>>,
    tombstones: BTreeMap<String, Id>,
    records: BTreeMap<String, Arc<Record>>,
    /// Where the plaintext of each chunk that ever was can be found: what a snapshot needs does not change when a pack goes.
    known: HashMap<Id, (Arc<Pack>, usize)>,
}

impl View {
    /// Of these objects, opened with this key file.
    pub fn new(objects: &BTreeMap<String, Arc<Vec<u8>>>, key_file: &[u8; 32]) -> Read<Self> {
        let mut view = View {
            keys: Arc::new(Keys::open(objects, key_file)?),
            packs: BTreeMap::new(),
            segments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            pendings: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            records: BTreeMap::new(),
            known: HashMap::new(),
        };
        objects.iter().try_for_each(|(name, bytes)| view.put(name, bytes))?;
        Ok(view)
    }

    /// An object is there from now on.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Read<()> {
        match Object::read(&self.keys, name, bytes)? {
            Object::Pack(pack) => {
                let pack = Arc::new(pack);
                for (at, (id, _)) in pack.chunks.iter().enumerate() {
                    self.known.entry(*id).or_insert_with(|| (pack.clone(), at));
                }
                self.packs.insert(pack.id, pack);
            }
            Object::Segment(segment) => drop(self.segments.insert(name.to_owned(), Arc::new(segment))),
            Object::Snapshot(manifest) => drop(self.snapshots.insert(manifest.snapshot, Arc::new(manifest))),
            Object::Pending(manifest) => drop(self.pendings.insert(name.to_owned(), Arc::new(manifest))),
            Object::Tombstone(snapshot) => drop(self.tombstones.insert(name.to_owned(), snapshot)),
            Object::Record(record) => drop(self.records.insert(name.to_owned(), Arc::new(record))),
            Object::Other => {}
        }
        Ok(())
    }

    /// An object is gone.
    pub fn delete(&mut self, name: &str) {
        let id = || unhex::<32>(name.rsplit('/').next()?);
        match name.split('/').next().unwrap_or_default() {
            "data" | "names" | "lists" => drop(id().and_then(|id| self.packs.remove(&id))),
            "snapshots" => drop(id().and_then(|id| self.snapshots.remove(&id))),
            "index" => drop(self.segments.remove(name)),
            "pending" => drop(self.pendings.remove(name)),
            "forgotten" => drop(self.tombstones.remove(name)),
            "records" => drop(self.records.remove(name)),
            _ => {}
        }
    }

    /// The manifest of a snapshot, forgotten or not.
    pub fn snapshot(&self, id: &Id) -> Option<&Arc<Manifest>> {
        self.snapshots.get(id)
    }

    /// Whether there is a tombstone of it.
    pub fn is_forgotten(&self, id: &Id) -> bool {
        self.tombstones.values().any(|snapshot| snapshot == id)
    }

    /// The snapshots that anybody sees: committed, and not forgotten.
    pub fn visible(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.snapshots.values().filter(|manifest| !self.is_forgotten(&manifest.snapshot))
    }

    /// Names of the pendings that there are.
    pub fn pendings(&self) -> impl Iterator<Item = &str> {
        self.pendings.keys().map(String::as_str)
    }

    /// Whether another record has seen this one, so that its absence is noticed.
    pub fn is_seen(&self, record: &str) -> bool {
        let id = record.rsplit('-').next().and_then(unhex::<16>);
        self.records.iter().any(|(name, other)| name != record && id.is_some_and(|id| other.seen.contains(&id)))
    }

    fn plain(&self, id: &Id) -> Option<&[u8]> {
        self.known.get(id).map(|(pack, at)| &pack.chunks[*at].1[..])
    }

    /// Every chunk that a snapshot needs: data, leaves, nodes.
    pub fn needs<'m>(&self, manifest: &'m Manifest) -> Read<&'m [Id]> {
        if manifest.needs.get().is_none() {
            let mut ids = Needs::new(|id: &Id| self.plain(id)).of(manifest)?;
            ids.sort_unstable();
            ids.dedup();
            // Somebody else may have been first, with the same answer.
            manifest.needs.get_or_init(|| ids);
        }
        Ok(manifest.needs.get().map_or(&[], Vec::as_slice))
    }

    /// What the files and streams of a snapshot hold, by path.
    pub fn contents(&self, manifest: &Manifest) -> Read<BTreeMap<Vec<u8>, Vec<u8>>> {
        Needs::new(|id: &Id| self.plain(id)).contents(manifest)
    }

    /// Whether a segment leads to a pack that is there and holds this chunk.
    pub fn finds(&self, id: &Id) -> bool {
        self.segments.values().any(|segment| {
            let from = segment.entries.partition_point(|(prefix, ..)| prefix[..] < id[..16]);
            let same = segment.entries[from..].iter().take_while(|(prefix, ..)| prefix[..] == id[..16]);
            let holds =
                |pack: usize, chunk: usize| self.packs.get(&segment.packs[pack].0)?.chunks.get(chunk).filter(|(have, _)| have == id);
            same.into_iter().any(|(_, pack, chunk)| holds(*pack, *chunk).is_some())
        })
    }

    /// What keeps a snapshot from being restored; `None` where nothing does.
    pub fn why_not(&self, manifest: &Manifest) -> Option<String> {
        let needs = match self.needs(manifest) {
            Ok(needs) => needs,
            Err(why) => return Some(why),
        };
        let lacks: Vec<_> = needs.iter().filter(|id| !self.finds(id)).collect();
        let id = lacks.first()?;
        let holders: Vec<_> = self.packs.values().filter(|pack| pack.chunks.iter().any(|(have, _)| have == *id)).collect();
        let where_ = match holders.first() {
            None => "no pack that is there".to_owned(),
            Some(pack) => format!("no segment, though in pack {}", hex(&pack.id[..4])),
        };
        let class = self.known.get(*id).map_or("unknown", |(pack, _)| CLASSES[usize::from(pack.class)]);
        Some(format!("it lacks {} of {} chunks; {class} chunk {} is in {where_}", lacks.len(), needs.len(), hex(&id[..4])))
    }

    fn live(&self) -> Read<HashSet<Id>> {
        let mut live = HashSet::new();
        for manifest in self.visible() {
            live.extend(self.needs(manifest)?.iter().copied());
        }
        Ok(live)
    }

    /// The packs in which no chunk is that a visible snapshot needs, by name.
    pub fn dead_packs(&self) -> Read<Vec<String>> {
        let live = self.live()?;
        let dead = self.packs.values().filter(|pack| !pack.chunks.iter().any(|(id, _)| live.contains(id)));
        let name = |pack: &Arc<Pack>| {
            let id = hex(&pack.id);
            format!("{}/{}/{id}", CLASSES[usize::from(pack.class)], &id[..2])
        };
        Ok(dead.map(name).collect())
    }

    /// What two collections should have removed: packs that hold what nobody needs, or what others hold too, or that nobody finds,
    /// or that records name; pendings; manifests of the forgotten.
    pub fn garbage(&self) -> Read<Vec<String>> {
        let live = self.live()?;
        let named: HashSet<Id> = self.segments.values().flat_map(|segment| segment.packs.iter().map(|(id, _)| *id)).collect();
        let condemned: HashSet<Id> = self.records.values().flat_map(|record| record.packs.iter().copied()).collect();
        let mut holders: HashMap<Id, u32> = HashMap::new();
        for (id, _) in self.packs.values().flat_map(|pack| &pack.chunks) {
            *holders.entry(*id).or_default() += 1;
        }
        let mut garbage: Vec<String> = self.pendings.keys().map(|name| format!("{name} is still there")).collect();
        for pack in self.packs.values() {
            let dead = pack.chunks.iter().filter(|(id, _)| !live.contains(id)).count();
            let why = if condemned.contains(&pack.id) {
                "is named by a record".to_owned()
            } else if !named.contains(&pack.id) {
                "is named by no segment".to_owned()
            } else if dead > 0 {
                format!("holds {dead} dead chunks of {}", pack.chunks.len())
            } else if pack.chunks.iter().all(|(id, _)| holders[id] > 1) {
                "holds only what others hold too".to_owned()
            } else {
                continue;
            };
            garbage.push(format!("pack {} {why}", hex(&pack.id[..4])));
        }
        garbage.extend(self.snapshots.values().filter(|m| self.is_forgotten(&m.snapshot)).map(|m| {
            let id = hex(&m.snapshot[..4]);
            format!("the manifest of forgotten {id} is still there")
        }));
        Ok(garbage)
    }
}
