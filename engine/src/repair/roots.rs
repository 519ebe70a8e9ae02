//! Manifests: which snapshots there are, which do not open, which are gone though nobody has forgotten them, and who still knows what those
//! were: the catalog of this machine, a copy of this repository, a repository to which they were copied.
//! What came back is a new commit with its own pending and CHECKs; the old id is given up only behind that.

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, Known, ledger, put_tombstone, vouch};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::{IndexPart, IndexRoot, Origin, REPAIR};
use crate::format::object::ObjectType;
use crate::format::protocol::Tombstone;
use crate::id::{ObjectName, RepositoryId, SnapshotId, WriterId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::observe::Observer;
use crate::repair::ground::{Ground, Root};
use crate::repair::{LOST, RepairReport};
use crate::repository::Repository;
use crate::repository::ledger::{Ledger, LedgerRow, Lost, Watermark};
use crate::seal::object::{open_manifest_index, open_object};
use crate::seal::random;
use crate::store::{each, each_busy, reread, there};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Manifests that are read at once.
const BATCH: usize = 256;
/// Lost snapshots that are looked for.
const LOST_MAX: usize = 10_000;

/// Every root, and what is wrong with roots.
#[derive(Default)]
pub struct Roots {
    /// Snapshots that everybody sees.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
    /// Manifests that are listed and do not open.
    pub unreadable: BTreeMap<SnapshotId, Error>,
    /// Of those the part that a collector reads, where that opens.
    halves: BTreeMap<SnapshotId, IndexPart>,
    /// What runs that did not end had done.
    pendings: Vec<(SnapshotId, Vec<IndexRoot>)>,
    /// Snapshots that are gone, and nobody has forgotten them.
    pub lost: Vec<Lost>,
    /// Manifests of forgotten snapshots that do not open: nobody can bring these back.
    pub debris: Vec<SnapshotId>,
    listed: HashSet<SnapshotId>,
    forgotten: HashSet<SnapshotId>,
    rows: Vec<LedgerRow>,
    is_torn: bool,
}

/// Whether an object is damaged and not merely away: only then something may take its place.
pub fn for_good(error: &Error) -> bool {
    matches!(error, Error::Damaged { damage, .. } if !matches!(damage, Damage::Missing | Damage::Unreadable(_)))
}

impl Roots {
    /// Reads them: pendings before snapshots, for that is the way that a commit takes, and tombstones behind both. What `before` had read
    /// is not read again: no manifest ever changes.
    pub fn read(repository: &Repository, watermark: &Watermark, before: Option<Roots>) -> Result<Self> {
        let mut known = before.map(|before| before.snapshots).unwrap_or_default();
        let mut roots = Roots::default();
        let pendings = repository.listed(ObjectType::Pending, "pending")?;
        roots.listed =
            repository.listed(ObjectType::Snapshot, "snapshots")?.iter().filter_map(|listed| listed.name.as_snapshot()).collect();
        let tombstones = repository.listed(ObjectType::Tombstone, "forgotten")?;
        roots.forgotten = tombstones.iter().filter_map(|listed| listed.name.as_tombstone()).collect();
        let read = |listed: &crate::store::Listed| {
            reread(repository.origin(), &listed.name, || {
                let bytes = repository.origin().get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
                open_object::<Tombstone>(repository.keys(), &repository.id(), &listed.name, ObjectType::Tombstone, &bytes)
            })
        };
        let mut told = HashSet::new();
        for tombstone in each(repository.origin(), &tombstones, read) {
            match tombstone {
                Ok(tombstone) => {
                    told.insert(tombstone.snapshot);
                    roots.rows.push(LedgerRow::from(tombstone));
                }
                Err(error) if error.is_damage() => roots.is_torn = true,
                Err(error) => return Err(error),
            }
        }
        let gone: Vec<SnapshotId> = roots.listed.iter().filter(|id| told.contains(id)).copied().collect();
        let look = |id: &SnapshotId| repository.read_manifest(&ObjectName::snapshot(id)).is_err_and(|error| for_good(&error));
        for (id, is_debris) in gone.iter().zip(each_busy(repository.origin(), &gone, look)) {
            roots.debris.extend(Some(*id).filter(|_| is_debris));
        }
        let mut vouched: BTreeSet<SnapshotId> = watermark.snapshots().collect();
        vouched.extend(roots.rows.iter().flat_map(LedgerRow::vouches));
        let mut todo: Vec<SnapshotId> = roots.listed.iter().filter(|id| !roots.forgotten.contains(id)).copied().collect();
        let mut asked = HashSet::new();
        while !todo.is_empty() || !vouched.is_empty() {
            for batch in todo.chunks(BATCH) {
                let read = |id: &SnapshotId| match known.get(id) {
                    Some(snapshot) => Ok((snapshot.index.clone(), snapshot.names.clone())),
                    None => repository.read_manifest(&ObjectName::snapshot(id)),
                };
                for (id, read) in batch.iter().zip(each_busy(repository.origin(), batch, read)) {
                    match read {
                        Ok((index, names)) => {
                            let row = LedgerRow::from(&index);
                            vouched.extend(row.vouches());
                            roots.rows.push(row);
                            roots.snapshots.insert(*id, Snapshot { id: *id, index, names });
                        }
                        // Forgotten and collected meanwhile, or lost: the ledger says which.
                        Err(error) if error.is_missing() => drop(roots.listed.remove(id)),
                        Err(error) if error.is_damage() => roots.unreadable(repository, *id, error),
                        Err(error) => return Err(error),
                    }
                }
            }
            // Whom somebody vouches for is asked for by name where the listing does not show it.
            vouched.retain(|id| !roots.listed.contains(id) && !roots.forgotten.contains(id) && asked.insert(*id));
            let found = there(repository.origin(), std::mem::take(&mut vouched).iter().map(ObjectName::snapshot).collect())?;
            todo = found.iter().filter_map(|object| object.name.as_snapshot()).collect();
            roots.listed.extend(&todo);
        }
        known.clear();
        let pendings: Vec<(SnapshotId, ObjectName)> =
            pendings.into_iter().filter_map(|listed| Some((listed.name.as_pending()?.0, listed.name))).collect();
        for ((id, _), read) in pendings.iter().zip(each_busy(repository.origin(), &pendings, |(_, name)| repository.read_manifest(name))) {
            match read {
                // Its run is committed: then that is the root.
                Ok((index, _)) if !roots.listed.contains(id) => roots.pendings.push((*id, index.roots)),
                Ok(_) => {}
                // Its owner's CHECK fails, and nobody else can use it.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        roots.lost = roots.ledger().lost(watermark, LOST_MAX);
        Ok(roots)
    }

    fn unreadable(&mut self, repository: &Repository, id: SnapshotId, error: Error) {
        let name = ObjectName::snapshot(&id);
        let bytes = repository.origin().get(&name, SMALL_OBJECT_BYTES_MAX);
        if let Ok(half) = bytes.and_then(|bytes| open_manifest_index(repository.keys(), &repository.id(), &name, &bytes)) {
            self.rows.push(LedgerRow::from(&half));
            self.halves.insert(id, half);
        } else {
            self.is_torn = true;
        }
        self.unreadable.insert(id, error);
    }

    fn ledger(&self) -> Ledger<'_> {
        Ledger { rows: &self.rows, listed: &self.listed, forgotten: &self.forgotten, is_torn: self.is_torn }
    }

    /// Those of `hurt` that a user would miss.
    pub fn seen_of(&self, hurt: &HashSet<SnapshotId>) -> Vec<SnapshotId> {
        self.snapshots.keys().chain(self.halves.keys()).filter(|id| hurt.contains(id)).copied().collect()
    }

    /// Whether every root is known: else nobody can say what is needed by none.
    pub fn are_all_known(&self) -> bool {
        self.lost.is_empty() && self.unreadable.keys().all(|id| self.halves.contains_key(id))
    }

    /// What needs something, `back` first: what those need is about to be.
    pub fn all(&self, back: &[Back]) -> Vec<Root> {
        let back = back.iter().map(|back| Root { id: back.old, snapshot: None, roots: back.snapshot.index.roots.clone() });
        let whole = self.snapshots.values().map(|s| Root { id: s.id, snapshot: Some(s.clone()), roots: s.index.roots.clone() });
        let halves = self.halves.iter().map(|(id, half)| Root { id: *id, snapshot: None, roots: half.roots.clone() });
        let pendings = self.pendings.iter().map(|(id, roots)| Root { id: *id, snapshot: None, roots: roots.clone() });
        back.chain(whole).chain(halves).chain(pendings).collect()
    }

    /// What can come back: of every snapshot that is gone or does not open, what somebody still knows of it.
    pub fn back(&self, repository: &Repository, remembered: Vec<Snapshot>, others: &[&Repository]) -> Result<Vec<Back>> {
        let here = repository.id();
        let mut found: BTreeMap<SnapshotId, Back> = BTreeMap::new();
        let named: HashSet<SnapshotId> = self.lost.iter().filter_map(|lost| lost.snapshot).collect();
        for snapshot in remembered.into_iter().filter(|s| named.contains(&s.id) || self.is_broken(&s.id)) {
            let (old, identity) = (snapshot.id, snapshot.identity(&here));
            found.insert(old, Back { old, identity, snapshot, own: true });
        }
        let there: HashSet<Identity> = self.snapshots.values().map(|snapshot| snapshot.identity(&here)).collect();
        let mut alike: BTreeMap<SnapshotId, Vec<Back>> = BTreeMap::new();
        for other in others {
            other.refresh()?;
            let same_family = other.keys().family == repository.keys().family;
            for snapshot in other.catalog().snapshots()?.into_iter().filter(|_| same_family) {
                let own = other.id() == here;
                let identity = snapshot.identity(&other.id());
                let named = if own { Some(snapshot.id) } else { Some(identity.1).filter(|_| identity.0 == here) };
                if let Some(old) = named.filter(|old| self.is_missed(old)) {
                    found.entry(old).or_insert(Back { old, identity, snapshot, own });
                } else if let Some(old) = self.half_of(&snapshot).filter(|_| !there.contains(&identity)) {
                    alike.entry(old).or_default().push(Back { old, identity, snapshot, own });
                }
            }
        }
        for (old, mut alike) in alike {
            // Of two that differ in their names nobody can tell which it was.
            let first = alike.swap_remove(0);
            if alike.iter().all(|other| other.identity == first.identity) {
                found.entry(old).or_insert(first);
            }
        }
        Ok(found.into_values().collect())
    }

    fn is_broken(&self, id: &SnapshotId) -> bool {
        self.unreadable.get(id).is_some_and(for_good)
    }

    /// No tombstone is ever removed: what is not listed and has none was lost, whoever may miss it.
    fn is_missed(&self, id: &SnapshotId) -> bool {
        !self.forgotten.contains(id) && (!self.listed.contains(id) || self.is_broken(id))
    }

    /// The broken manifest of which what still opens is as in `snapshot`: a copy of what this is a copy of, or that was copied from here.
    fn half_of(&self, snapshot: &Snapshot) -> Option<SnapshotId> {
        let (there, missed) = (&snapshot.index, self.halves.iter().filter(|(id, _)| self.is_missed(id)));
        let is_it = |half: &IndexPart| half.roots == there.roots && (half.time, half.started) == (there.time, there.started);
        missed.filter(|(_, half)| is_it(half)).map(|(id, _)| *id).next()
    }

    /// The place of a snapshot in the ledger, where anybody has noted it.
    pub fn place_of(&self, id: &SnapshotId, watermark: &Watermark) -> Option<(WriterId, u64)> {
        let after = |row: &LedgerRow| (row.previous == Some(*id)).then(|| (row.writer, row.sequence.saturating_sub(1)));
        let heads = self.rows.iter().flat_map(|row| &row.heads).find(|head| head.snapshot == *id).map(|head| (head.writer, head.sequence));
        self.rows.iter().find_map(after).or(heads).or_else(|| watermark.place_of(id))
    }
}

/// What a snapshot is, whatever it is called: where it was made first, and as which there.
type Identity = (RepositoryId, SnapshotId);

/// A snapshot that can come back.
pub struct Back {
    /// Its id.
    pub old: SnapshotId,
    /// What it is in every repository that has it.
    identity: Identity,
    /// What it was.
    pub snapshot: Snapshot,
    /// Its ledger entry is its own, and not that of a copy.
    own: bool,
}

/// Commits those of `back` that miss nothing, and gives up their old ids.
pub fn commit(
    repository: &Repository,
    roots: &Roots,
    (back, hurt): (&[Back], &HashSet<SnapshotId>),
    (ground, watermark): (&Ground, &Watermark),
    report: &mut RepairReport,
    observer: &dyn Observer,
) -> Result<()> {
    let mut unnamed: Vec<(WriterId, u64)> = Vec::new();
    if back.iter().any(|back| !back.own) {
        let whole = Ledger { is_torn: false, ..roots.ledger() };
        unnamed
            .extend(whole.lost(watermark, LOST_MAX).iter().filter(|lost| lost.snapshot.is_none()).map(|lost| (lost.writer, lost.sequence)));
    }
    // A repair that was killed had committed it, and not given up the old one; or a copy has brought it since.
    let made: Vec<(Identity, &Snapshot)> = roots.snapshots.values().map(|s| (s.identity(&repository.id()), s)).collect();
    for back in back.iter().filter(|back| !hurt.contains(&back.old)) {
        let Back { old, identity, snapshot, own } = back;
        let is_it = |(what, made): &&(Identity, &Snapshot)| what == identity && made.index.roots == snapshot.index.roots;
        let session = match made.iter().find(is_it) {
            Some((_, made)) => {
                // Nobody knows whether the run that put it lived to make sure of it.
                vouch(repository, &made.index, Known { records: None, lost: ground.bad() }, observer)?;
                made.id
            }
            None => bring_back(repository, back, ground, observer)?,
        };
        // Before the old one is given up: at no time is what is held without a hold.
        let holds = repository.holds(clock::now())?.remove(old).unwrap_or_default();
        repository.pass_holds(&holds, old, &session)?;
        // Only now: until here the old one is missed, and whoever collects stops.
        let half = roots.halves.get(old);
        let mut was = half.unwrap_or(&snapshot.index).clone();
        was.snapshot = *old;
        if !own && half.is_none() {
            // A number that is missed has to be given up, whosever it was; of one that nobody misses any will do.
            let fresh = || random().map(|id| (WriterId::new(id), 1));
            let place = roots.place_of(old, watermark).or_else(|| unnamed.pop());
            (was.writer, was.sequence) = place.map_or_else(fresh, Ok)?;
            (was.previous, was.heads) = (None, Vec::new());
        }
        put_tombstone(repository, &was, LOST)?;
        repository.catalog().apply(&[], &[*old]).or(Ok::<_, Error>(()))?;
        if roots.unreadable.contains_key(old) {
            // It is forgotten, and nobody can read it: it would be called damage for ever.
            repository.store().delete(&ObjectName::snapshot(old))?;
        }
        report.snapshots_back.push((*old, session));
    }
    Ok(())
}

/// Commits a snapshot under a new id, which is returned.
fn bring_back(repository: &Repository, back: &Back, ground: &Ground, observer: &dyn Observer) -> Result<SnapshotId> {
    let session = SnapshotId::new(random()?);
    let (mut index, mut names) = (back.snapshot.index.clone(), back.snapshot.names.clone());
    let row = ledger(repository)?;
    (index.writer, index.sequence, index.previous, index.heads) = (row.writer, row.sequence, row.previous, row.heads);
    (index.snapshot, index.finished) = (session, clock::now());
    // Notes about the old one are none about the new one, and whoever still has it may know nothing of them.
    repository.catalog().edit(&back.old, &mut names)?;
    // Whoever has a copy of it, or what it is a copy of, knows it by what it was first.
    let (home, first) = back.identity;
    names.origin = Some(Origin { repository: home, snapshot: first, how: REPAIR.to_owned(), extra: Vec::new() });
    let known = Known { records: None, lost: ground.bad() };
    Commit::new(repository, session, known, observer).publish(index, names)?;
    Ok(session)
}
