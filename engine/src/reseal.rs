//! Sealing manifests anew after a rotation: snapshots of older epochs are committed once more under the keys of the newest, and the old
//! ones are forgotten. What packs hold is `gc`'s business. It must never forget a snapshot before its successor is acknowledged, nor bring
//! back what somebody forgets meanwhile: a run may take hours, and others forget, hold, tag, and seal anew beside it.

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, Sure, ledger, put_tombstone, vouch};
use crate::error::{Error, Result};
use crate::format::manifest::{IndexPart, NamesPart, REKEY};
use crate::format::object::{HEADER_BYTES, ObjectType, PartHead};
use crate::format::protocol::{Note, Tombstone};
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::observe::{Observer, Progress, Stage};
use crate::repository::{Access, Holds, HoldsRead, Repository};
use crate::seal::object::{manifest_epoch, open_object, seal_object};
use crate::seal::random;
use crate::store::{Listed, each, reread};
use std::collections::HashMap;
use std::io::ErrorKind;

/// The reason that tombstones of replaced snapshots give.
const REASON: &str = "sealed anew";
/// Snapshots that are replaced together: for all of them what others did meanwhile is asked for at once.
const BATCH: usize = 64;

/// What was done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResealReport {
    /// Snapshots by their old ids, and the new ones.
    pub replaced: Vec<(SnapshotId, SnapshotId)>,
    /// Snapshots that were of the newest epoch already.
    pub current: u64,
    /// Snapshots that stay under an older epoch for now: another run is at them, or has died at them. The next one goes on.
    pub left: u64,
}

/// Commits every snapshot whose manifest an older epoch sealed once more, and forgets the old one. Times, series, hosts, tags and holds stay;
/// ids are new, and `origin` names the old ones. The catalog was refreshed by the caller.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, reseal};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// // No key was rotated since: there is nothing to do.
/// let report = reseal(&repository, &Silent)?;
/// assert_eq!((report.replaced.len(), report.current), (0, 1));
/// # Ok(())
/// # }
/// ```
pub fn reseal(repository: &Repository, observer: &dyn Observer) -> Result<ResealReport> {
    repository.require_features(Access::Write)?;
    let snapshots = repository.catalog().snapshots()?;
    let mut run = Run { repository, observer, sure: None, holds: HoldsRead::default(), look: None, report: ResealReport::default() };
    let total = snapshots.len() as u64;
    for (batch, done) in snapshots.chunks(BATCH).zip((0..).step_by(BATCH)) {
        let mut pairs = Vec::new();
        let made = run.make(batch, &mut pairs);
        // Also where something stopped the rest: what is committed would stand beside the old ones until the next run.
        let settled = run.settle(pairs);
        made.and(settled)?;
        let files_done = total.min(done + batch.len() as u64);
        observer.progress(&Progress { stage: Stage::Working, files_done, files_total: total, ..Progress::default() });
    }
    notes_anew(repository)?;
    Ok(run.report)
}

/// Puts notes that an older epoch sealed anew, under other names, and deletes the old ones: above all those about the repository as a whole,
/// which go with no snapshot. Two that say the same say nothing else than one.
fn notes_anew(repository: &Repository) -> Result<()> {
    let mut old = Vec::new();
    for listed in repository.notes_that_stay()? {
        let Some((about, _)) = listed.name.as_note() else { continue };
        let read = reread(repository.store(), &listed.name, || {
            let bytes = repository.store().get(&listed.name, SMALL_OBJECT_BYTES_MAX)?;
            let note: Note = open_object(repository.keys(), &repository.id(), &listed.name, ObjectType::Note, &bytes)?;
            Ok((PartHead::decode(&listed.name, &bytes[HEADER_BYTES..])?.epoch, note))
        });
        match read {
            Ok((epoch, note)) if epoch < repository.keys().epoch => {
                let name = ObjectName::note(&about, &ObjectId::new(random()?));
                let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Note, &note)?;
                repository.store().put(&name, &object)?;
                old.push(listed.name);
            }
            Ok(_) => {}
            // Gathered meanwhile; or damaged, and then it is a repair's business.
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    // Before the old ones go: a store that says yes and keeps nothing has been seen.
    repository.confirm(&[])?;
    for deleted in each(repository.store(), &old, |name| repository.store().delete(name)) {
        match deleted {
            // Who may not delete leaves them; whoever may the next time does.
            Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
            deleted => deleted?,
        }
    }
    Ok(())
}

fn epoch_of(repository: &Repository, id: &SnapshotId) -> Result<u32> {
    let name = ObjectName::snapshot(id);
    manifest_epoch(&name, &repository.store().get(&name, SMALL_OBJECT_BYTES_MAX)?)
}

/// What the store showed at one moment of what others do.
struct Look {
    /// Tombstones by snapshot.
    tombstones: HashMap<SnapshotId, Vec<ObjectName>>,
    /// What was sealed anew, by anybody, and is not forgotten.
    anew: Vec<Snapshot>,
    holds: Holds,
    notes: Vec<Listed>,
}

/// A snapshot and the one that takes its place, which is acknowledged.
struct Pair<'s> {
    old: &'s Snapshot,
    new: IndexPart,
    /// What the new one says of itself.
    names: NamesPart,
    /// It is another run's.
    adopted: bool,
}

/// What is to become of a pair.
enum Fate {
    /// The new one stays. These go: the old one, and what other runs have made of it.
    Replaced(Vec<IndexPart>),
    /// The new one goes.
    TakenBack,
    /// Others see to it.
    Left,
}

struct Run<'r> {
    repository: &'r Repository,
    observer: &'r dyn Observer,
    sure: Option<Sure>,
    holds: HoldsRead,
    /// The last one.
    look: Option<Look>,
    report: ResealReport,
}

impl Run<'_> {
    fn look(&mut self) -> Result<Look> {
        // Of what a note says that does not open nothing would go along.
        if let Some(error) = self.repository.refresh()?.unreadable_notes.into_iter().next() {
            return Err(error);
        }
        let mut tombstones: HashMap<SnapshotId, Vec<ObjectName>> = HashMap::new();
        for listed in self.repository.listed(ObjectType::Tombstone, "forgotten")? {
            if let Some(id) = listed.name.as_tombstone() {
                tombstones.entry(id).or_default().push(listed.name);
            }
        }
        let mut anew = self.repository.catalog().snapshots()?;
        let is_anew = |snapshot: &Snapshot| snapshot.names.origin.as_ref().is_some_and(|origin| origin.how == REKEY);
        anew.retain(|snapshot| is_anew(snapshot) && !tombstones.contains_key(&snapshot.id));
        let holds = self.repository.holds_again(&mut self.holds, clock::now())?;
        Ok(Look { tombstones, anew, holds, notes: self.repository.listed(ObjectType::Note, "notes")? })
    }

    /// Commits those of a batch once more that are of an older epoch.
    fn make<'s>(&mut self, batch: &'s [Snapshot], pairs: &mut Vec<Pair<'s>>) -> Result<()> {
        let repository = self.repository;
        let epochs = each(repository.store(), batch, |snapshot| epoch_of(repository, &snapshot.id));
        for (snapshot, epoch) in batch.iter().zip(epochs) {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            match epoch {
                Ok(epoch) if epoch < repository.keys().epoch => pairs.extend(self.succeed(snapshot)?),
                Ok(_) => self.report.current += 1,
                // Forgotten and collected since the catalog was brought up to date.
                Err(error) if error.is_missing() && repository.is_forgotten(&snapshot.id)? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sees to it that a snapshot has a successor, unless it was forgotten meanwhile.
    fn succeed<'s>(&mut self, old: &'s Snapshot) -> Result<Option<Pair<'s>>> {
        let look = match self.look.take() {
            Some(look) => look,
            None => self.look()?,
        };
        let made = self.twins(old, &look);
        let is_forgotten = look.tombstones.contains_key(&old.id);
        self.look = Some(look);
        // What a run that was killed had committed, and not forgotten the old one for; or one that is at it now. Of several the one that stays.
        let made = made?.into_iter().min_by_key(|twin| twin.id);
        if is_forgotten {
            return Ok(None);
        }
        match &self.sure {
            Some(sure) if !sure.is_overtaken(self.repository)? => {}
            _ => self.sure = Some(Sure::read(self.repository, self.observer)?),
        }
        let sure = self.sure.as_mut().ok_or(Error::SelfCheck { what: "what a run has made sure of" })?;
        if let Some(made) = made {
            // Nobody knows whether the run that put it lived to make sure of it.
            vouch(self.repository, &made.index, sure.known(&made.index.roots)?, self.observer)?;
            return Ok(Some(Pair { old, new: made.index, names: made.names, adopted: true }));
        }
        let (mut index, mut names) = (old.index.clone(), old.names.clone());
        let session = SnapshotId::new(random()?);
        let own = ledger(self.repository)?;
        (index.writer, index.sequence, index.previous, index.heads) = (own.writer, own.sequence, own.previous, own.heads);
        index.snapshot = session;
        // Whoever has a copy of it knows it by what it was first.
        names.origin = Some(old.origin_for(&self.repository.id(), REKEY));
        let known = sure.known(&index.roots)?;
        Commit::new(self.repository, session, known, self.observer).publish(index.clone(), names.clone())?;
        Ok(Some(Pair { old, new: index, names, adopted: false }))
    }

    /// What is there of a snapshot under the newest epoch.
    fn twins(&self, old: &Snapshot, look: &Look) -> Result<Vec<Snapshot>> {
        let repository = self.repository;
        let identity = old.identity(&repository.id());
        let is_it = |other: &&Snapshot| other.identity(&repository.id()) == identity && other.index.roots == old.index.roots;
        let mut twins = Vec::new();
        for other in look.anew.iter().filter(|other| other.id != old.id).filter(is_it) {
            match epoch_of(repository, &other.id) {
                Ok(epoch) if epoch == repository.keys().epoch => twins.push(other.clone()),
                Ok(_) => {}
                // Forgotten and collected since.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(twins)
    }

    /// Forgets the old ones, as far as nobody has done something meanwhile that speaks against it. Behind the commits: of two runs that
    /// commit the same at the same time one at least sees the other's.
    fn settle(&mut self, pairs: Vec<Pair<'_>>) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let look = self.look()?;
        let mut replaced = Vec::new();
        for pair in pairs {
            let fate = self.fate(&pair, &look)?;
            let stays = !matches!(fate, Fate::Replaced(_)) && !look.tombstones.contains_key(&pair.old.id);
            self.report.left += u64::from(stays);
            match fate {
                Fate::Replaced(going) => {
                    for old in &going {
                        self.carry(&old.snapshot, (&pair.new.snapshot, &pair.names), &look)?;
                        put_tombstone(self.repository, old, REASON)?;
                        // The catalog may lag: what is forgotten is what the store says.
                        self.repository.catalog().apply(&[], &[old.snapshot]).unwrap_or(());
                    }
                    replaced.push((pair, going));
                }
                Fate::TakenBack => self.take_back(&pair)?,
                Fate::Left => {}
            }
        }
        // Once more behind the tombstones: what was held, edited or forgotten before they were there was seen before, or is seen now.
        let look = self.look()?;
        for (pair, mut going) in replaced {
            let Pair { old, new, names, adopted } = &pair;
            let count = look.tombstones.get(&old.id).map_or(0, Vec::len);
            if !adopted && count > 1 && self.is_unwanted(&old.id, &look)? {
                self.take_back(&pair)?;
                continue;
            }
            // Another run's successor has taken the place of this one: with what was given to this one until then.
            let is_gone = look.tombstones.contains_key(&new.snapshot);
            let other = if is_gone { self.twins(old, &look)?.into_iter().min_by_key(|twin| twin.id) } else { None };
            let to = other.as_ref().map_or((&new.snapshot, names), |other| (&other.id, &other.names));
            if other.is_some() {
                going.push(new.clone());
            }
            for from in &going {
                self.carry(&from.snapshot, to, &look)?;
            }
            self.report.replaced.push((old.id, *to.0));
        }
        self.look = Some(look);
        Ok(())
    }

    fn fate(&self, pair: &Pair<'_>, look: &Look) -> Result<Fate> {
        let Pair { old, new, adopted, .. } = pair;
        if look.tombstones.contains_key(&new.snapshot) {
            return Ok(Fate::Left);
        }
        let mut twins = self.twins(old, look)?;
        twins.retain(|twin| twin.id != new.snapshot);
        // Of two runs that make one snapshot anew the smaller id stays: a rule that both see. Whoever gives way leaves the old one alone, for
        // nobody knows whether the other one is acknowledged yet.
        let gives_way = twins.iter().any(|twin| twin.id < new.snapshot);
        if gives_way || self.is_unwanted(&old.id, look)? {
            // What another run has made is its own to take back.
            return Ok(if *adopted { Fate::Left } else { Fate::TakenBack });
        }
        let mut going: Vec<IndexPart> = twins.into_iter().map(|twin| twin.index).collect();
        // Last, as long as anything else may fail.
        going.push(old.index.clone());
        Ok(Fate::Replaced(going))
    }

    /// Whether somebody has forgotten a snapshot for its own sake, and not because another one takes its place.
    fn is_unwanted(&self, id: &SnapshotId, look: &Look) -> Result<bool> {
        let repository = self.repository;
        for name in look.tombstones.get(id).into_iter().flatten() {
            let tombstone: Tombstone = reread(repository.store(), name, || {
                let bytes = repository.store().get(name, SMALL_OBJECT_BYTES_MAX)?;
                open_object(repository.keys(), &repository.id(), name, ObjectType::Tombstone, &bytes)
            })?;
            if tombstone.reason != REASON {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The successor goes: what it should take the place of is not wanted any more, or has another one.
    fn take_back(&self, pair: &Pair<'_>) -> Result<()> {
        put_tombstone(self.repository, &pair.new, REASON)?;
        self.repository.catalog().apply(&[], &[pair.new.snapshot]).unwrap_or(());
        Ok(())
    }

    /// Holds a new one as `old` is held, and gives it what was edited of that.
    fn carry(&self, old: &SnapshotId, (new, names): (&SnapshotId, &NamesPart), look: &Look) -> Result<()> {
        let repository = self.repository;
        repository.carry_notes(&look.notes, old, (new, names))?;
        let Some(holds) = look.holds.get(old) else { return Ok(()) };
        // Before anything is forgotten: at no time is what is held without a hold.
        repository.pass_holds(holds, old, new)
    }
}
