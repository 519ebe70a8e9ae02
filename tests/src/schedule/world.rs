//! What all processes share: the store, what an independent reader makes of it, what users were promised, requests still under way.
//! Every change goes through here, and is judged before anything else happens.

use crate::reader::{Id, Manifest, View, hex};
use crate::schedule::op::{Answer, Op, Page};
use seabed_engine::error::Result;
use seabed_engine::id::ObjectName;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Files and streams by path.
pub type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Nothing, or what must not be.
pub type Judged = Result<(), String>;

/// A snapshot that a process has reported as made.
#[derive(Clone)]
pub struct Promise {
    /// Its manifest at that moment.
    pub manifest: Arc<Manifest>,
    /// What was backed up.
    pub contents: Arc<Contents>,
}

/// The clock of the store as one process meets it: no two gateways agree, and none only goes forwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Nanoseconds that it is ahead.
    pub skew: i64,
    /// Nanoseconds that it moves on with each question; less than 0 where it runs backwards.
    pub step: i64,
}

/// Where the clock of the store stands when a scenario begins, nanoseconds since 1970.
pub const BEGINNING: i64 = 1_750_000_000_000_000_000;

/// See the module's text. A clone is another world with the same past, but for the store: that has to be made anew.
pub struct World {
    /// The objects.
    pub store: MemoryStore,
    /// What they say.
    pub view: View,
    /// Requests that their processes gave up and the store has not seen yet, with who sent them.
    pub late: Vec<(usize, Op)>,
    /// What was acknowledged, by snapshot.
    pub promises: BTreeMap<Id, Promise>,
    /// What users have asked to forget.
    pub forgotten: HashSet<Id>,
    /// Processes whose tombstones are users' wishes. (Those of others are for what they never acknowledged.)
    pub forgetters: HashSet<usize>,
    /// Whether what was never acknowledged, and is visible all the same, must be whole too.
    pub strict: bool,
    /// Folders whose listings, and no others, may lack anything at all: more than the protocol assumes of a store.
    pub hidden: &'static [&'static str],
    /// Objects by when they were first put: replays compare by that, for names are drawn anew.
    births: HashMap<ObjectName, u32>,
    counts: HashMap<String, u32>,
    /// What was there in the beginning, by folder.
    old: HashMap<String, u32>,
    asked: i64,
}

impl World {
    /// Of these objects, in the order in which they were put.
    pub fn new(objects: &[(ObjectName, Arc<Vec<u8>>)], view: View) -> Self {
        let mut world = World {
            store: MemoryStore::new(),
            view,
            late: Vec::new(),
            promises: BTreeMap::new(),
            forgotten: HashSet::new(),
            forgetters: HashSet::new(),
            strict: false,
            hidden: &[],
            births: HashMap::new(),
            counts: HashMap::new(),
            old: HashMap::new(),
            asked: 0,
        };
        world.store.set_now(BEGINNING);
        for (name, bytes) in objects {
            world.born(name);
            world.store.put(name, bytes).expect("names never recur");
        }
        world.old = world.counts.clone();
        world
    }

    fn born(&mut self, name: &ObjectName) {
        if self.births.contains_key(name) {
            return;
        }
        let folder = name.as_str().split('/').next().unwrap_or_default();
        let count = self.counts.entry(folder.to_owned()).or_default();
        self.births.insert(name.clone(), *count);
        *count += 1;
    }

    /// What an object is called in traces: its folder, and as which it was put there.
    pub fn label(&self, name: &ObjectName) -> String {
        let folder = name.as_str().split('/').next().unwrap_or_default();
        match self.births.get(name) {
            Some(birth) => format!("{folder}/#{birth}"),
            None => name.as_str().to_owned(),
        }
    }

    /// The objects that a listing of this folder may lack, by age: none where the protocol relies on listings. Of records those that others
    /// have seen: the newest ones have to be listed.
    pub fn may_lack(&self, folder: &str) -> Vec<ObjectName> {
        let may = |name: &ObjectName| match folder {
            folder if !self.hidden.is_empty() => self.hidden.contains(&folder),
            "data" | "names" | "lists" | "index" | "snapshots" => true,
            "records" => self.view.is_seen(name.as_str()),
            _ => false,
        };
        let listed = self.store.list(folder).unwrap_or_default().into_iter().map(|listed| listed.name);
        let mut names: Vec<ObjectName> = listed.filter(may).collect();
        names.sort_by_key(|name| self.births.get(name).copied());
        names
    }

    /// Whether an object is on a page of a listing of this folder.
    fn is_on(&self, page: Page, folder: &str, name: &ObjectName, last_old: Option<&ObjectName>) -> bool {
        let is_old = match folder {
            "records" => last_old.is_some_and(|last| name <= last),
            _ => self.births.get(name) < self.old.get(folder),
        };
        is_old == (page == Page::Old)
    }

    /// Does what a process asks for; `lacking` is the object, counted by age, that a listing does not show.
    pub fn apply(&mut self, op: &Op, clock: Clock, lacking: Option<usize>) -> (Result<Answer>, Judged) {
        self.asked += 1;
        let now = BEGINNING + clock.skew + clock.step.saturating_mul(self.asked);
        if op.writes() || matches!(op, Op::Now) {
            self.store.set_now(now);
        }
        let mut answer = op.apply(&self.store);
        if let (Ok(Answer::Listed(listed)), Op::List(folder, page)) = (&mut answer, op) {
            if let Some(lacking) = lacking.and_then(|lacking| self.may_lack(folder).into_iter().nth(lacking)) {
                listed.retain(|object| object.name != lacking);
            }
            if *page != Page::All {
                let old = |name: &&ObjectName| self.births.get(*name) < self.old.get(folder);
                let last_old = self.births.keys().filter(|name| name.as_record().is_some()).filter(old).max();
                listed.retain(|object| self.is_on(*page, folder, &object.name, last_old));
            }
        }
        let seen = if answer.is_ok() { self.see(op) } else { Ok(()) };
        (answer, seen)
    }

    /// A request leaves its process, whatever becomes of it.
    pub fn sent(&mut self, process: usize, op: &Op) {
        if let Op::Put(name, _) = op
            && self.forgetters.contains(&process)
        {
            self.forgotten.extend(name.as_tombstone().map(|id| *id.as_bytes()));
        }
        if let Op::Put(name, _) = op {
            self.born(name);
        }
    }

    /// Takes in what a request changed, and judges.
    fn see(&mut self, op: &Op) -> Judged {
        match op {
            Op::Put(name, bytes) => {
                self.view.put(name.as_str(), bytes)?;
                // More packs and segments break nothing.
                if matches!(op.folder(), "snapshots" | "forgotten") { self.judge() } else { Ok(()) }
            }
            Op::Delete(name) => {
                self.view.delete(name.as_str());
                self.judge()
            }
            _ => Ok(()),
        }
    }

    /// Takes in what was done past the scheduler, and judges.
    pub fn look(&mut self, before: &BTreeMap<ObjectName, Arc<Vec<u8>>>) -> Judged {
        let after = self.store.objects();
        for (name, bytes) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            self.view.put(name.as_str(), bytes)?;
        }
        before.keys().filter(|name| !after.contains_key(*name)).for_each(|name| self.view.delete(name.as_str()));
        self.judge()
    }

    /// What was promised, and whether it still holds.
    pub fn judge(&self) -> Judged {
        for (id, promise) in self.promises.iter().filter(|(id, _)| !self.forgotten.contains(*id)) {
            let short = hex(&id[..4]);
            let Some(manifest) = self.view.snapshot(id) else { return Err(format!("LOST: the manifest of snapshot {short} is gone")) };
            if manifest.bytes != promise.manifest.bytes {
                return Err(format!("LOST: the manifest of snapshot {short} is another"));
            }
            if self.view.is_forgotten(id) {
                return Err(format!("LOST: snapshot {short} has a tombstone that nobody asked for"));
            }
            if let Some(why) = self.view.why_not(manifest) {
                return Err(format!("LOST: acknowledged snapshot {short} does not restore: {why}"));
            }
        }
        if self.strict {
            for manifest in self.view.visible() {
                if let Some(why) = self.view.why_not(manifest) {
                    return Err(format!("VISIBLE AND BROKEN: snapshot {} does not restore: {why}", hex(&manifest.snapshot[..4])));
                }
            }
        }
        Ok(())
    }

    /// A process has reported this snapshot as made.
    pub fn acknowledge(&mut self, id: &Id, contents: Arc<Contents>) -> Judged {
        let short = hex(&id[..4]);
        let Some(manifest) = self.view.snapshot(id).cloned() else {
            return Err(format!("LOST: snapshot {short} was acknowledged and has no manifest"));
        };
        if self.forgotten.remove(id) && self.view.is_forgotten(id) {
            return Err(format!("LOST: snapshot {short} was brought back and has a tombstone"));
        }
        let have = self.view.contents(&manifest).map_err(|why| format!("LOST: snapshot {short} was acknowledged: {why}"))?;
        if have != *contents {
            return Err(format!("LOST: snapshot {short} was acknowledged and holds something else"));
        }
        self.promises.insert(*id, Promise { manifest, contents });
        self.judge()
    }
}
