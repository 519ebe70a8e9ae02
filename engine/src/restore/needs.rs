//! What a restore would read: which data packs, and whether each can be read at once. Has archived ones brought back, and waits for them.
//! It reads names and lists, which never lie in an archive, and changes nothing in the target.

use crate::error::{Damage, Error, Result};
use crate::format::lists::Item;
use crate::id::{Class, ObjectName};
use crate::index::Index;
use crate::observe::Observer;
use crate::pack::reader::ReadBuffers;
use crate::repository::Repository;
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::repository::tree::ContentCursor;
use crate::restore::plan::Plan;
use crate::restore::target::{Target, TargetOptions};
use crate::restore::work::{self, FileJob, Job, Pass, Shared};
use crate::restore::{Closing, RestoreOptions};
use crate::store::{Readiness, ThawOrder, each};
use crossbeam_channel::{bounded, never};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A pack that a restore would read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NeededPack {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub bytes: u64,
    /// Whether it can be read at once.
    pub readiness: Readiness,
}

/// What a restore would read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Needs {
    /// Files that would be written, links and nodes included.
    pub files: u64,
    /// Their content.
    pub bytes: u64,
    /// Packs, in the order of their names.
    pub packs: Vec<NeededPack>,
    /// Chunks that are in no pack: `check` says more.
    pub chunks_lost: u64,
}

impl Needs {
    /// How many packs are in a state, and their bytes.
    pub fn in_state(&self, readiness: Readiness) -> (u64, u64) {
        let packs = self.packs.iter().filter(|pack| pack.readiness == readiness);
        packs.fold((0, 0), |(count, bytes), pack| (count + 1, bytes + pack.bytes))
    }
}

#[derive(Default)]
struct Gathered {
    files: u64,
    bytes: u64,
    packs: HashSet<u32>,
    /// Packs that hold the same chunk, the one that the reader takes first at the beginning; each set of them once.
    copies: HashSet<Vec<u32>>,
    chunks_lost: u64,
}

/// Finds out what a restore with `options` would read. What the target has already, and would keep, is not counted.
pub fn needs(repository: &Repository, selected: &Selected, options: &RestoreOptions, observer: &dyn Observer) -> Result<Needs> {
    let selection = Selection::new(&options.include, &options.exclude)?;
    let reader = repository.reader()?;
    let target = Target::open(&options.target, TargetOptions { dry_run: true, delete: false, ..options.options.clone() })?;
    let shared = Shared::new(&reader, &target, observer, (options.keep_going, false));
    let threads = repository.reading_threads(options.threads());
    let (jobs_in, jobs_out) = bounded(threads * 2);
    // As when everything is read back: nothing is made, nothing counted as restored.
    let mut plan = Plan::new(&shared, selected, &selection, Pass::Verify, jobs_in);
    let gathered = Mutex::new(Gathered::default());
    let planned = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, shared, gathered) = (jobs_out.clone(), &shared, &gathered);
            scope.spawn(move || {
                let mut buffers = ReadBuffers::default();
                for job in jobs {
                    if let Job::Files(files) = job {
                        // `error` has stored why; the others are counted all the same.
                        files.iter().try_for_each(|file| gather(shared, file, &mut buffers, gathered)).unwrap_or(());
                    }
                }
            });
        }
        drop(jobs_out);
        let closing = Closing(&mut plan);
        closing.0.all()
    });
    if let Some(error) = shared.take_stop() {
        return Err(error);
    }
    planned?;
    let gathered = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut needs = Needs { files: gathered.files, bytes: gathered.bytes, packs: Vec::new(), chunks_lost: gathered.chunks_lost };
    let mut packs = Inquiry { repository, observer, index: reader.index(), states: HashMap::new() };
    packs.ask(gathered.packs.iter().copied())?;
    packs.ask(gathered.copies.iter().flatten().copied())?;
    // Those in which a check has found damage.
    let suspects = repository.catalog().suspects()?;
    let mut wanted = gathered.packs;
    for copies in &gathered.copies {
        // Of several copies one that can be read at once will do. Where there is none, all are to come: which of them is sound is seen when
        // they are there.
        let there: Vec<u32> = copies.iter().copied().filter(|copy| packs.state(*copy).is_some()).collect();
        let sound = |copy: &u32| packs.index.packs().get(*copy as usize).is_some_and(|pack| !suspects.contains(&pack.id));
        match there.iter().find(|copy| packs.state(**copy) == Some(Readiness::Ready) && sound(copy)) {
            Some(copy) => drop(wanted.insert(*copy)),
            None if there.is_empty() => wanted.extend(copies.first()),
            None => wanted.extend(there),
        }
    }
    for number in wanted {
        let Some((name, bytes)) = packs.named(number) else { continue };
        match packs.state(number) {
            Some(readiness) => needs.packs.push(NeededPack { name, bytes, readiness }),
            // The restore will say which files hang on it.
            None => observer.warning(&Error::damaged(&name, Damage::Missing).to_string()),
        }
    }
    needs.packs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(needs)
}

/// What the store says of packs, each asked for once; `None` for one that is missing.
struct Inquiry<'a> {
    repository: &'a Repository,
    observer: &'a dyn Observer,
    index: &'a Index,
    states: HashMap<u32, Option<Readiness>>,
}

impl Inquiry<'_> {
    fn named(&self, number: u32) -> Option<(ObjectName, u64)> {
        self.index.packs().get(number as usize).map(|pack| (ObjectName::pack(pack.class, &pack.id), pack.bytes))
    }

    fn state(&self, number: u32) -> Option<Readiness> {
        self.states.get(&number).copied().flatten()
    }

    fn ask(&mut self, numbers: impl Iterator<Item = u32>) -> Result<()> {
        let numbers: HashSet<u32> = numbers.filter(|number| !self.states.contains_key(number)).collect();
        let numbers: Vec<u32> = numbers.into_iter().collect();
        let store = self.repository.store();
        let states = each(store, &numbers, |number| {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            self.named(*number).map_or(Ok(None), |(name, _)| store.readiness(&name).map(Some))
        });
        for (number, state) in numbers.into_iter().zip(states) {
            let state = match state {
                Err(error) if error.is_missing() => None,
                state => state?,
            };
            self.states.insert(number, state);
        }
        Ok(())
    }
}

/// Adds what one file would have read.
fn gather(shared: &Shared<'_>, job: &FileJob, buffers: &mut ReadBuffers, gathered: &Mutex<Gathered>) -> Result<()> {
    let FileJob { dir, entry, content } = job;
    if !work::would_write(shared, dir, entry) {
        return Ok(());
    }
    let (mut packs, mut copies, mut chunks_lost) = (HashSet::new(), HashSet::new(), 0);
    if let Some(content) = content {
        let mut cursor = ContentCursor::new(content);
        loop {
            match cursor.next_items(shared.reader, buffers) {
                Ok(None) => break,
                Ok(Some(found)) => {
                    for item in &found.items {
                        let Item::Chunk(id) = item else { continue };
                        let mut found = shared.reader.index().find(Class::Data, id).map(|at| at.pack);
                        match (found.next(), found.next()) {
                            (None, _) => chunks_lost += 1,
                            (Some(only), None) => drop(packs.insert(only)),
                            (Some(one), Some(other)) => drop(copies.insert([one, other].into_iter().chain(found).collect())),
                        }
                    }
                }
                Err(error) => {
                    shared.lost(dir, entry, error)?;
                    break;
                }
            }
        }
    }
    let mut all = gathered.lock().unwrap_or_else(PoisonError::into_inner);
    all.files += 1;
    all.bytes = all.bytes.saturating_add(entry.size);
    all.packs.extend(packs);
    all.copies.extend(copies);
    all.chunks_lost += chunks_lost;
    Ok(())
}

/// Orders every frozen pack at once: what the store has to bring back it then brings back together. Returns how many were ordered.
pub fn thaw(repository: &Repository, needs: &mut Needs, order: ThawOrder, observer: &dyn Observer) -> Result<u64> {
    let frozen: Vec<&mut NeededPack> = needs.packs.iter_mut().filter(|pack| pack.readiness == Readiness::Frozen).collect();
    let names: Vec<ObjectName> = frozen.iter().map(|pack| pack.name.clone()).collect();
    let ordered = each(repository.store(), &names, |name| {
        if observer.interrupted() { Err(Error::Interrupted) } else { repository.store().thaw(name, order) }
    });
    let mut count = 0;
    for (pack, ordered) in frozen.into_iter().zip(ordered) {
        ordered?;
        pack.readiness = Readiness::Thawing;
        count += 1;
    }
    Ok(count)
}

/// How often to look whether archived packs are there, at first and at last.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// The first wait, doubled each time.
    pub first: Duration,
    /// The longest.
    pub last: Duration,
}

impl Default for Looks {
    /// Expedited orders take a minute or more, all others hours.
    fn default() -> Self {
        Looks { first: Duration::from_secs(15), last: Duration::from_secs(300) }
    }
}

/// How soon a wait ends that the user wants to end: within the second of every Ctrl-C.
const LOOK: Duration = Duration::from_millis(100);
/// Packs that are looked at before one of them has to be there for the others to be looked at too.
const SAMPLE: usize = 32;

/// Waits until all packs can be read. `told` hears of every look. A pack that is frozen again is ordered again.
pub fn await_thawed(
    repository: &Repository,
    needs: &mut Needs,
    (order, looks): (ThawOrder, Looks),
    observer: &dyn Observer,
    told: &dyn Fn(&Needs),
) -> Result<()> {
    let mut wait = looks.first;
    loop {
        let waiting: Vec<usize> = (0..needs.packs.len()).filter(|at| needs.packs[*at].readiness != Readiness::Ready).collect();
        for sample in waiting.chunks(SAMPLE) {
            let states = each(repository.store(), sample, |at| repository.store().readiness(&needs.packs[*at].name));
            let mut came = false;
            for (at, readiness) in sample.iter().zip(states) {
                needs.packs[*at].readiness = readiness?;
                came |= needs.packs[*at].readiness == Readiness::Ready;
            }
            // Thousands of packs are not asked for every few minutes of two days.
            if !came {
                break;
            }
        }
        thaw(repository, needs, order, observer)?;
        told(needs);
        if needs.packs.iter().all(|pack| pack.readiness == Readiness::Ready) {
            return Ok(());
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            // Nothing is sent on it: a wait, no more.
            never::<()>().recv_timeout(LOOK.min(wait)).unwrap_or(());
        }
        wait = (wait * 2).min(looks.last);
    }
}
