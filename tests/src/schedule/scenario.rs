//! Where schedules begin, and who takes part: a repository made by real backups, processes, and how much may go wrong.

use crate::reader::{Id, View};
use crate::repo::{init, secret};
use crate::schedule::choice::{Budgets, Chooser};
use crate::schedule::crew::Crew;
use crate::schedule::play::{Actor, play};
use crate::schedule::source::Source;
use crate::schedule::stage::{End, Played, Reads};
use crate::schedule::verbs::{Report, Verb, perform};
use crate::schedule::world::{Clock, Promise, World};
use seabed_engine::id::ObjectName;
use seabed_engine::seal::key::Secret;
use seabed_engine::store::memory::MemoryStore;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A repository at the beginning of schedules.
pub struct Start {
    /// Its objects, in the order in which they were put.
    objects: Vec<(ObjectName, Arc<Vec<u8>>)>,
    view: View,
    promises: BTreeMap<Id, Promise>,
    /// Its snapshots, in the order in which they were made.
    pub snapshots: Vec<Id>,
}

/// Makes a [`Start`].
pub struct Maker {
    store: MemoryStore,
    seen: HashSet<ObjectName>,
    objects: Vec<ObjectName>,
    snapshots: Vec<(Id, Source)>,
}

impl Default for Maker {
    fn default() -> Self {
        Maker::new()
    }
}

impl Maker {
    /// With an empty repository.
    pub fn new() -> Self {
        let store = MemoryStore::new();
        init(Arc::new(store.clone()), None).unwrap();
        let mut maker = Maker { store, seen: HashSet::new(), objects: Vec::new(), snapshots: Vec::new() };
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

    fn make(&mut self, source: &Source) -> Id {
        let made = perform(&Verb::Backup(source.clone()), Arc::new(self.store.clone()), Clock::default()).unwrap();
        self.look();
        let Report::Snapshot(id, _) = made else { panic!("a backup makes a snapshot") };
        *id.as_bytes()
    }

    /// A snapshot.
    pub fn backup(mut self, source: &Source) -> Self {
        let id = self.make(source);
        self.snapshots.push((id, source.clone()));
        self
    }

    /// What a run leaves that was killed when its packs and segment were put. Only before the first snapshot: later ones vouch for it.
    pub fn killed(mut self, source: &Source) -> Self {
        let id = self.make(source);
        assert!(self.snapshots.is_empty() && self.store.remove(&ObjectName::snapshot(&seabed_engine::id::SnapshotId::new(id))));
        self
    }

    /// That is it.
    pub fn done(self) -> Arc<Start> {
        let all = self.store.objects();
        let objects: Vec<_> = self.objects.into_iter().filter_map(|name| all.get(&name).cloned().map(|bytes| (name, bytes))).collect();
        let named = all.iter().map(|(name, bytes)| (name.as_str().to_owned(), bytes.clone())).collect();
        let Secret::KeyFile(key) = secret() else { panic!("tests open with a key file") };
        let view = View::new(&named, key.as_bytes()).unwrap();
        let snapshots = self.snapshots.iter().map(|(id, _)| *id).collect();
        let promise = |(id, source): (Id, Source)| {
            let manifest = view.snapshot(&id).cloned().expect("a backup has a manifest");
            (id, Promise { manifest, contents: source.contents() })
        };
        let promises = self.snapshots.into_iter().map(promise).collect();
        Arc::new(Start { objects, view, promises, snapshots })
    }
}

impl Start {
    fn world(&self) -> World {
        let mut world = World::new(&self.objects, self.view.clone());
        world.promises = self.promises.clone();
        world
    }
}

/// What is explored: all schedules of some processes, within bounds.
#[derive(Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub start: Arc<Start>,
    /// The processes.
    pub actors: Vec<Actor>,
    /// What may go wrong.
    pub budgets: Budgets,
    /// Which reads others may come between.
    pub reads: Reads,
    /// Whether what is visible must be whole, acknowledged or not.
    pub strict: bool,
    /// Whether everybody succeeds where nothing goes wrong, whatever the order.
    pub peaceful: bool,
}

impl Scenario {
    /// Of these processes, with nothing but others coming between.
    pub fn new(name: &str, start: &Arc<Start>, actors: Vec<Actor>) -> Self {
        Scenario {
            name: name.to_owned(),
            start: start.clone(),
            actors,
            budgets: Budgets::switches(2),
            reads: Reads::First,
            strict: true,
            peaceful: true,
        }
    }

    /// Plays one schedule and judges its end.
    pub fn play(&self, crew: &Crew, chooser: Box<dyn Chooser>) -> Played {
        let mut world = self.start.world();
        world.strict = self.strict;
        let mut played = play(crew, world, &self.actors, chooser, self.budgets, self.reads);
        if played.violation.is_none() {
            played.violation = self.judge(&played).err();
        }
        played
    }

    fn judge(&self, played: &Played) -> Result<(), String> {
        played.world.judge()?;
        let plain = played.trace.taken.iter().all(|taken| taken.choice.is_plain());
        for (process, end) in played.ends.iter().enumerate().filter(|_| self.peaceful && plain) {
            if let End::Failed(why) = end {
                return Err(format!("FAILED: nothing went wrong, and process {process} fails: {why}"));
            }
        }
        Ok(())
    }
}
