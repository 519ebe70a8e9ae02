//! Repositories at the beginning of schedules, made by real runs: once, and cloned for each schedule.

use crate::fault_store::{Fault, FaultStore, Schedule};
use crate::reader::{Id, View};
use crate::repo::{init, secret};
use crate::schedule::source::Source;
use crate::schedule::verbs::{Gc, Report, Verb, perform};
use crate::schedule::world::{Clock, Contents, Promise, World};
use seabed_engine::error::StoreOp;
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::seal::key::Secret;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A repository at the beginning of schedules.
pub struct Start {
    /// Its objects, in the order in which they were put.
    objects: Vec<(ObjectName, Arc<Vec<u8>>)>,
    view: View,
    promises: BTreeMap<Id, Promise>,
    forgotten: HashSet<Id>,
    snapshots: Vec<(Id, Arc<Contents>)>,
}

impl Start {
    /// A world that begins with it.
    pub fn world(&self) -> World {
        let mut world = World::new(&self.objects, self.view.clone());
        world.promises = self.promises.clone();
        world.forgotten = self.forgotten.clone();
        world
    }

    /// To forget a snapshot, counted in the order in which they were made.
    pub fn forget(&self, snapshot: usize) -> Verb {
        Verb::Forget(self.snapshots[snapshot].0)
    }

    /// To bring it back.
    pub fn undelete(&self, snapshot: usize) -> Verb {
        let (id, contents) = &self.snapshots[snapshot];
        Verb::Undelete(*id, contents.clone())
    }
}

/// Makes a [`Start`].
pub struct Maker {
    store: MemoryStore,
    seen: HashSet<ObjectName>,
    objects: Vec<ObjectName>,
    snapshots: Vec<(Id, Source)>,
    forgotten: HashSet<Id>,
    unpromised: HashSet<Id>,
    lost: bool,
}

impl Default for Maker {
    fn default() -> Self {
        Maker::new()
    }
}

/// Backs up; the snapshot.
fn make(store: &MemoryStore, source: &Source) -> Id {
    match perform(&Verb::Backup(source.clone()), Arc::new(store.clone()), Clock::default()).unwrap() {
        Report::Snapshot(id, _) => *id.as_bytes(),
        Report::Done => panic!("a backup makes a snapshot"),
    }
}

impl Maker {
    /// With an empty repository.
    pub fn new() -> Self {
        let store = MemoryStore::new();
        init(Arc::new(store.clone()), None).unwrap();
        let (seen, forgotten, unpromised) = Default::default();
        let mut maker = Maker { store, seen, objects: Vec::new(), snapshots: Vec::new(), forgotten, unpromised, lost: false };
        maker.look();
        maker
    }

    /// What is new, in an order that does not depend on names that are drawn anew in every run.
    fn look(&mut self) {
        let objects = self.store.objects();
        let mut new: Vec<_> = objects.into_iter().filter(|(name, _)| !self.seen.contains(name)).collect();
        new.sort_by_key(|(name, bytes)| (name.as_str().split('/').next().unwrap_or_default().to_owned(), bytes.len()));
        self.seen.extend(new.iter().map(|(name, _)| name.clone()));
        self.objects.extend(new.into_iter().map(|(name, _)| name));
    }

    /// A snapshot.
    pub fn backup(mut self, source: &Source) -> Self {
        let id = make(&self.store, source);
        self.look();
        self.snapshots.push((id, source.clone()));
        self
    }

    /// A snapshot that may be lost.
    pub fn unpromised(mut self, source: &Source) -> Self {
        self = self.backup(source);
        self.unpromised.extend(self.snapshots.last().map(|(id, _)| *id));
        self
    }

    /// A snapshot whose run knew of nothing that there is: so what it shares with others is there twice.
    pub fn apart(mut self, source: &Source) -> Self {
        let elsewhere = MemoryStore::new();
        let all = self.store.objects();
        let keys = all.iter().filter(|(name, _)| ["seabed", "slots", "keyring"].contains(&name.as_str().split('/').next().unwrap_or("")));
        keys.for_each(|(name, bytes)| elsewhere.put(name, bytes).unwrap());
        let id = make(&elsewhere, source);
        let new = elsewhere.objects();
        new.iter().filter(|(name, _)| !all.contains_key(name)).for_each(|(name, bytes)| self.store.put(name, bytes).unwrap());
        self.look();
        self.snapshots.push((id, source.clone()));
        self
    }

    /// What a run leaves that was killed when its packs and segment were put.
    pub fn killed(mut self, source: &Source) -> Self {
        let id = make(&self.store, source);
        self.look();
        assert!(self.store.remove(&ObjectName::snapshot(&SnapshotId::new(id))));
        self
    }

    /// What a run leaves that was killed when its packs were put, and no segment.
    pub fn orphaned(mut self, source: &Source) -> Self {
        let before = self.store.objects();
        self = self.killed(source);
        let new = self.store.list("index").unwrap().into_iter().filter(|listed| !before.contains_key(&listed.name));
        assert!(new.map(|listed| self.store.remove(&listed.name)).eq([true]), "it puts one segment");
        self
    }

    /// What a run leaves that died when it would commit: a pending manifest.
    pub fn died(mut self, source: &Source) -> Self {
        let faulty = FaultStore::new(Arc::new(self.store.clone()));
        let state = faulty.clone();
        let dies = move || state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
        faulty.before(StoreOp::Put, "snapshots/", dies);
        assert!(perform(&Verb::Backup(source.clone()), Arc::new(faulty), Clock::default()).is_err());
        self.look();
        self
    }

    /// A snapshot, counted in the order in which they were made, is forgotten.
    pub fn forget(mut self, snapshot: usize) -> Self {
        let id = self.snapshots[snapshot].0;
        perform(&Verb::Forget(id), Arc::new(self.store.clone()), Clock::default()).map(drop).unwrap();
        self.look();
        self.forgotten.insert(id);
        self
    }

    /// A collection was there.
    pub fn collect(mut self) -> Self {
        perform(&Verb::Collect(Gc::default()), Arc::new(self.store.clone()), Clock::default()).map(drop).unwrap();
        self.look();
        self
    }

    /// A collection was there that died when it had condemned, and before it deleted a pack of data.
    pub fn condemned(mut self) -> Self {
        let faulty = FaultStore::new(Arc::new(self.store.clone()));
        let state = faulty.clone();
        let dies = move || state.schedule(Some(Schedule { at: 0, fault: Fault::Before, for_ever: true }));
        faulty.before(StoreOp::Delete, "data/", dies);
        assert!(perform(&Verb::Collect(Gc::default()), Arc::new(faulty), Clock::default()).is_err());
        self.look();
        self
    }

    /// The store loses the newest pack of a class, and what needs it.
    pub fn lose(mut self, folder: &str) -> Self {
        let newest = self.objects.iter().rev().find(|name| name.as_str().starts_with(folder)).expect("a pack");
        assert!(self.store.remove(newest));
        self.lost = true;
        self
    }

    /// That is it.
    pub fn done(self) -> Arc<Start> {
        let all = self.store.objects();
        let objects: Vec<_> = self.objects.into_iter().filter_map(|name| all.get(&name).cloned().map(|bytes| (name, bytes))).collect();
        let named = all.iter().map(|(name, bytes)| (name.as_str().to_owned(), bytes.clone())).collect();
        let Secret::KeyFile(key) = secret() else { panic!("tests open with a key file") };
        let view = View::new(&named, key.as_bytes()).unwrap();
        let promise = |(id, source): &(Id, Source)| {
            let manifest = view.snapshot(id).cloned().expect("a backup has a manifest");
            (*id, Promise { manifest, contents: source.contents() })
        };
        let mut promises: BTreeMap<Id, Promise> =
            self.snapshots.iter().filter(|(id, _)| !self.forgotten.contains(id) && !self.unpromised.contains(id)).map(promise).collect();
        // What the store has lost nobody can be blamed for, until another run has stored it again.
        promises.retain(|_, promise| !self.lost || view.why_not(&promise.manifest).is_none());
        let snapshots = self.snapshots.iter().map(|(id, source)| (*id, source.contents())).collect();
        Arc::new(Start { objects, view, promises, forgotten: self.forgotten, snapshots })
    }
}
