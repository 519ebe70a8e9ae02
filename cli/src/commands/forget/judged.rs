//! The snapshots that `forget` judges, as retention looks at them, and what the repository says of the bytes that go with them.
//! It must not decide anything: that is the engine's.

use crate::args::FilterArgs;
use crate::commands::groups::Groups;
use crate::exit::Fail;
use crate::open::Opened;
use crate::output::Output;
use crate::progress::Listener;
use seabed_engine::catalog::Snapshot;
use seabed_engine::clock;
use seabed_engine::format::wire::Time;
use seabed_engine::id::{SnapshotId, WriterId};
use seabed_engine::retention::{Cause, Decision, Item, Policy, Verdict, charge_order, decide, fit};
use seabed_engine::usage::{freed, usage};
use std::collections::{HashMap, HashSet};

/// The snapshots that come into question, as retention looks at them, and what is decided of each.
pub struct Judged {
    pub snapshots: Vec<Snapshot>,
    pub items: Vec<Item>,
    pub decisions: Vec<Decision>,
}

impl Judged {
    /// Everything that the filter lets pass; without one everything, as where snapshots are named: the guards look at their groups.
    pub fn read(opened: &Opened, groups: &Groups, filter: Option<&FilterArgs>) -> Result<Self, Fail> {
        let held = opened.repository.holds(clock::now())?;
        let mut snapshots = opened.repository.catalog().snapshots()?;
        let counters = Counters::new(groups, &snapshots);
        if let Some(filter) = filter.map(FilterArgs::filter) {
            snapshots.retain(|snapshot| filter.matches(snapshot));
        }
        let item = |snapshot: &Snapshot| {
            let group = groups.name(snapshot);
            Item {
                id: snapshot.id,
                time: snapshot.index.time,
                order: counters.order(&group, snapshot),
                group,
                tags: snapshot.names.tags.clone(),
                complete: !snapshot.index.incomplete,
                held: held.contains_key(&snapshot.id),
                bytes: snapshot.names.summary.bytes_total,
            }
        };
        let items = snapshots.iter().map(item).collect();
        Ok(Judged { snapshots, items, decisions: Vec::new() })
    }

    /// Snapshots with this tag count like incomplete ones: nothing is kept or removed for their sake.
    pub fn discount(&mut self, tag: &str) {
        for item in self.items.iter_mut().filter(|item| item.tags.iter().any(|own| own == tag)) {
            item.complete = false;
        }
    }

    /// Those that were named go, and nothing else.
    pub fn name(&mut self, named: &[SnapshotId]) {
        let stays = || Verdict::Keep(Vec::new());
        let asked = |item: &Item| if named.contains(&item.id) { Verdict::Remove(Cause::Asked) } else { stays() };
        self.decisions = self.items.iter().map(|item| Decision { id: item.id, verdict: asked(item) }).collect();
    }

    /// Those go that the policy does not keep.
    pub fn decide(&mut self, opened: &Opened, policy: &Policy, now: Time, out: &Output) -> Result<(), Fail> {
        self.decisions = decide(policy, &self.items, now);
        if policy.max_stored.is_none() {
            return Ok(());
        }
        let by_id: HashMap<SnapshotId, &Snapshot> = self.snapshots.iter().map(|snapshot| (snapshot.id, snapshot)).collect();
        let order = charge_order(policy, &self.items, &self.decisions, now);
        let order: Vec<Snapshot> = order.iter().filter_map(|id| by_id.get(id).copied().cloned()).collect();
        let listener = Listener::beside_result(out, "forget");
        let usage = usage(&opened.repository, (&order, false), &[], &listener);
        listener.finish();
        fit(policy, &self.items, &mut self.decisions, now, &usage?.further);
        Ok(())
    }

    /// Those that go.
    pub fn gone(&self) -> Vec<SnapshotId> {
        self.decisions.iter().filter(|decision| !decision.keeps()).map(|decision| decision.id).collect()
    }

    /// The bytes that only what goes holds.
    pub fn freed(&self, opened: &Opened, out: &Output) -> Result<u64, Fail> {
        let gone: HashSet<SnapshotId> = self.gone().into_iter().collect();
        // Others that were filtered out hold what they need, too.
        let all = opened.repository.catalog().snapshots()?;
        let committed = all.iter().map(|snapshot| snapshot.id).collect();
        let pending = opened.repository.pendings(&committed)?;
        let (gone, kept): (Vec<Snapshot>, Vec<Snapshot>) = all.into_iter().partition(|snapshot| gone.contains(&snapshot.id));
        let listener = Listener::beside_result(out, "forget");
        let bytes = freed(&opened.repository, &kept, &pending, &gone, &listener);
        listener.finish();
        Ok(bytes?)
    }
}

/// A counter of runs: a writer's own, in groups that one writer has written alone. Those of two writers say nothing of each other.
struct Counters(HashMap<String, Option<WriterId>>);

impl Counters {
    fn new(groups: &Groups, snapshots: &[Snapshot]) -> Self {
        let mut writers: HashMap<String, Option<WriterId>> = HashMap::new();
        for snapshot in snapshots {
            let writer = writers.entry(groups.name(snapshot)).or_insert(Some(snapshot.index.writer));
            *writer = writer.filter(|writer| *writer == snapshot.index.writer);
        }
        Counters(writers)
    }

    fn order(&self, group: &str, snapshot: &Snapshot) -> u64 {
        if self.0.get(group).is_some_and(Option::is_some) { snapshot.index.sequence } else { 0 }
    }
}
