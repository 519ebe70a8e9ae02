//! The snapshots that a view shows, looked up again from time to time. It must never make whoever looks at a folder wait for a store that does
//! not answer: then the old list stands.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::pack::lru::lock;
use crate::repository::Repository;
use crate::repository::selector::Filter;
use crate::view::layout::{Folder, Layout};
use crate::view::opened::Opened;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a new list is waited for; a store that takes longer gives it to who asks next.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module's text.
pub struct Snapshots {
    repository: Arc<Repository>,
    observer: Arc<dyn Observer + Send + Sync>,
    filter: Filter,
    layout: Layout,
    every: Duration,
    state: Mutex<State>,
    looked: Condvar,
}

#[derive(Default)]
struct State {
    folder: Arc<Folder>,
    /// All that the catalog had at the last look, also what is not shown.
    known: HashSet<SnapshotId>,
    /// How many notes it had: more of them may have changed tags.
    notes: i64,
    by_id: HashMap<SnapshotId, Arc<Snapshot>>,
    /// Those that somebody looks into, or did not long ago.
    opened: HashMap<SnapshotId, Weak<Opened>>,
    checked: Option<Instant>,
    is_looking: bool,
    /// The last look failed, and that was said.
    failed: bool,
    /// Not all names had room, and that was said.
    is_crowded: bool,
}

impl Snapshots {
    /// Those that the catalog has now, which the caller has refreshed. Looks again when it is asked and the last look was longer ago than `every`.
    pub fn new(
        repository: Arc<Repository>,
        observer: Arc<dyn Observer + Send + Sync>,
        filter: Filter,
        (layout, every): (Layout, Duration),
    ) -> Result<Arc<Self>> {
        let snapshots = Snapshots { repository, observer, filter, layout, every, state: Mutex::default(), looked: Condvar::new() };
        if let Some(all) = snapshots.changed()? {
            snapshots.take(all);
        }
        lock(&snapshots.state).checked = Some(Instant::now());
        Ok(Arc::new(snapshots))
    }

    /// All that the catalog has, where that is not what it had.
    fn changed(&self) -> Result<Option<Vec<Snapshot>>> {
        let catalog = self.repository.catalog();
        let (ids, notes) = (catalog.ids()?, catalog.notes_count()?);
        let mut state = lock(&self.state);
        let same_notes = std::mem::replace(&mut state.notes, notes) == notes;
        if same_notes && ids == state.known && !ids.is_empty() {
            return Ok(None);
        }
        drop(state);
        catalog.snapshots().map(Some)
    }

    /// Takes over what is there. What a view does not show of a manifest is let go.
    fn take(&self, all: Vec<Snapshot>) {
        // All of this beside the lock, which every look at a folder needs: a million names take a while.
        let known = all.iter().map(|snapshot| snapshot.id).collect();
        let before = lock(&self.state).by_id.clone();
        let shown: Vec<Arc<Snapshot>> = all
            .into_iter()
            .filter(|snapshot| self.filter.matches(snapshot))
            .map(|mut snapshot| {
                snapshot.index.heads = Vec::new();
                (snapshot.names.failures, snapshot.names.excludes, snapshot.names.paths) = Default::default();
                let same = before.get(&snapshot.id).filter(|before| before.names == snapshot.names);
                same.cloned().unwrap_or_else(|| Arc::new(snapshot))
            })
            .collect();
        let (folder, is_whole) = self.layout.arrange(shown.iter().map(|snapshot| &**snapshot));
        let by_id = shown.into_iter().map(|snapshot| (snapshot.id, snapshot)).collect();
        let mut state = lock(&self.state);
        state.known = known;
        let old = (std::mem::replace(&mut state.folder, Arc::new(folder)), std::mem::replace(&mut state.by_id, by_id));
        state.opened.retain(|_, opened| opened.strong_count() > 0);
        let crowded_before = std::mem::replace(&mut state.is_crowded, !is_whole);
        drop(state);
        // So does letting go of the old ones.
        drop(old);
        if !is_whole && !crowded_before {
            self.observer.warning("snapshots and their tags make more names than are shown: those of the oldest snapshots are left out");
        }
    }

    /// Looks at the store, and calls `before` before anything that is new is shown.
    fn look_now(&self, before: impl FnOnce()) -> Result<()> {
        self.repository.refresh()?;
        let Some(all) = self.changed()? else { return Ok(()) };
        let is_new = {
            let state = lock(&self.state);
            all.iter().any(|snapshot| !state.known.contains(&snapshot.id))
        };
        if is_new {
            before();
        }
        self.take(all);
        Ok(())
    }

    /// Looks again where that is due, and calls `before` before anything that is new is shown.
    pub fn look(self: &Arc<Self>, before: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        if state.is_looking || state.checked.is_some_and(|at| at.elapsed() < self.every) {
            return;
        }
        state.is_looking = true;
        let looking = self.clone();
        std::thread::spawn(move || {
            let looked = looking.look_now(before);
            let mut state = lock(&looking.state);
            // After a failure too: not before the next one is due.
            (state.checked, state.is_looking) = (Some(Instant::now()), false);
            let failed_before = std::mem::replace(&mut state.failed, looked.is_err());
            drop(state);
            looking.looked.notify_all();
            if let (Err(error), false) = (looked, failed_before) {
                looking.observer.warning(&format!("cannot look for new snapshots, the list is as it was: {error}"));
            }
        });
        let waited = self.looked.wait_timeout_while(state, PATIENCE, |state| state.is_looking);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The folders as of the last look.
    pub fn folder(&self) -> Arc<Folder> {
        lock(&self.state).folder.clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.state).by_id.len()
    }

    /// Opens one that is shown.
    pub fn open(&self, id: &SnapshotId) -> Result<Arc<Opened>> {
        let mut state = lock(&self.state);
        if let Some(opened) = state.opened.get(id).and_then(Weak::upgrade) {
            return Ok(opened);
        }
        let snapshot = state.by_id.get(id).ok_or(Error::WasForgotten { snapshot: *id })?;
        let opened = Arc::new(Opened::new(snapshot));
        state.opened.insert(*id, Arc::downgrade(&opened));
        Ok(opened)
    }

    /// Content and entries of all that are shown.
    pub fn totals(&self) -> (u64, u64) {
        let state = lock(&self.state);
        let roots = state.by_id.values().flat_map(|snapshot| &snapshot.index.roots);
        roots.fold((0, 0), |(bytes, entries), root| (root.bytes.saturating_add(bytes), root.entries.saturating_add(entries)))
    }
}
