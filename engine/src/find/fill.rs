//! Fills the path index from the trees of snapshots: of each only what differs from the one before it in its line.
//! It runs when a snapshot is acknowledged already: whatever goes wrong here costs an answer, never a backup.

use crate::catalog::Snapshot;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::format::entry::EntryKind;
use crate::id::SnapshotId;
use crate::index::Index;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::ChunkReader;
use crate::paths::{Filling, Known, PLACE_STEP, PathIndex, State, Version};
use crate::repository::Repository;
use crate::repository::merged::{Item, Merged};
use crate::repository::side_by_side::{Turn, turn};
use crossbeam_channel::{Sender, bounded};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Changes that are handed from the thread that reads trees to the one that writes the index.
const BATCH: usize = 512;
/// Batches under way.
const BATCHES: usize = 8;

/// A tree that could not be read is tried again after a day: somebody may have repaired it.
const TRY_AGAIN_NANOS: i64 = 86_400 * 1_000_000_000;
/// Snapshots of one line that a backup takes in behind its own: those of a run or two before it that were killed too early.
const CATCH_UP_MAX: usize = 4;

/// Which snapshots are taken in.
#[derive(Clone, Copy, Debug)]
pub enum Which<'w> {
    /// All.
    All,
    /// Those of one series on one host, where that is cheap: what a backup does for whoever looks for something later. With a cache that is
    /// new (a container's) it would read all that other runs have stored.
    Cheap {
        /// The host.
        host: &'w str,
        /// The series.
        series: &'w str,
        /// Where the backup knows trees to be: with it the store need not be asked again.
        trees: Option<&'w Arc<Index>>,
    },
}

/// What a run of [`fill`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Filled {
    /// Snapshots that the index knows now and did not before.
    pub indexed: u64,
    /// Snapshots, the oldest, that it knows no more for want of room.
    pub left_out: u64,
    /// Snapshots whose trees could not be read, and why.
    pub unreadable: Vec<(SnapshotId, Error)>,
}

/// A path of a snapshot that is not what it was in the snapshot before.
type Row = (Arc<[u8]>, Vec<u8>, Option<Version>);

/// A series on a host: snapshots that are compared with each other.
fn line_of(snapshot: &Snapshot) -> (&str, &str) {
    (&snapshot.names.host, &snapshot.names.series)
}

fn now() -> i64 {
    clock::now().as_nanos().unwrap_or(i64::MAX)
}

/// Order of snapshots in a line.
fn order(snapshot: &Snapshot) -> (i64, SnapshotId) {
    (snapshot.index.time.as_nanos().unwrap_or(i64::MAX), snapshot.id)
}

/// Brings the index up to date with the snapshots of the catalog, which was refreshed by the caller. Each snapshot is taken in as a whole
/// or not at all, so that a run that is interrupted goes on where it stopped.
pub fn fill(repository: &Repository, paths: &mut PathIndex, which: Which<'_>, observer: &dyn Observer) -> Result<Filled> {
    let all = repository.catalog().snapshots()?;
    let mut filled = Filled::default();
    let living: HashMap<SnapshotId, &Snapshot> = all.iter().map(|snapshot| (snapshot.id, snapshot)).collect();
    let given = if let Which::Cheap { trees, .. } = which { trees } else { None };
    let trees = Trees { repository, given, reader: OnceCell::new() };
    // A line that was given up for want of room is filled anew, in order: in that order there is room.
    while !round(&trees, paths, which, (&all, &living), observer, &mut filled)? {}
    paths.compact(&|id| living.contains_key(id))?;
    Ok(filled)
}

/// Takes in what the index does not know. `false`: it knows less than before, because a line had to be given up.
fn round(
    trees: &Trees<'_>,
    paths: &mut PathIndex,
    which: Which<'_>,
    (all, living): (&[Snapshot], &HashMap<SnapshotId, &Snapshot>),
    observer: &dyn Observer,
    filled: &mut Filled,
) -> Result<bool> {
    let again = |known: &Known| {
        matches!(which, Which::All) && known.state == State::Unreadable && now().saturating_sub(known.tried) > TRY_AGAIN_NANOS
    };
    let known: HashSet<SnapshotId> = paths.known()?.into_iter().filter(|known| !again(known)).map(|known| known.id).collect();
    let mut todo: Vec<&Snapshot> = all.iter().filter(|snapshot| !known.contains(&snapshot.id)).collect();
    if let Which::Cheap { host, series, .. } = which {
        todo.retain(|snapshot| line_of(snapshot) == (host, series));
        let has_begun = || all.iter().any(|snapshot| line_of(snapshot) == (host, series) && known.contains(&snapshot.id));
        if todo.len() > CATCH_UP_MAX || todo.len() > 1 && !has_begun() {
            return Ok(true);
        }
    }
    todo.sort_by_key(|snapshot| order(snapshot));
    let total = todo.len() as u64;
    for (at, snapshot) in todo.into_iter().enumerate() {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        observer.progress(&Progress { stage: Stage::Working, files_done: at as u64, files_total: total, ..Progress::default() });
        match take_in(trees, paths, snapshot, living, observer) {
            Ok(Taken::In) => {
                filled.indexed += 1;
                while paths.is_too_large()? {
                    filled.left_out += paths.make_room(&|id| living.contains_key(id))? as u64;
                    if paths.known()?.iter().filter(|known| known.state == State::Indexed).count() < 2 {
                        break;
                    }
                }
            }
            Ok(Taken::ByAnother) => {}
            Ok(Taken::NoRoom) => return Ok(false),
            Err(Stop::Damaged(id, error)) => {
                let damaged = living.get(&id).copied().unwrap_or(snapshot);
                let was_indexed = give_up(paths, damaged)?;
                filled.unreadable.push((id, error));
                if was_indexed {
                    return Ok(false);
                }
            }
            Err(Stop::Other(error)) => return Err(error),
        }
    }
    Ok(true)
}

/// Takes note that the tree of a snapshot cannot be read. Whether it was indexed when it could be: then all that came behind it in its line
/// is told as the difference to it, and is to be compared with others now.
fn give_up(paths: &mut PathIndex, snapshot: &Snapshot) -> Result<bool> {
    let filling = paths.fill()?;
    let (host, series) = line_of(snapshot);
    let line = filling.line(host, series)?;
    let of_line: Vec<Known> = filling.known()?.into_iter().filter(|known| known.line == line).collect();
    let own = of_line.iter().find(|known| known.id == snapshot.id && known.state == State::Indexed).map(|known| known.place);
    if let (Some(place), Some(last)) = (own, of_line.last()) {
        filling.drop_places(line, place - 1, last.place)?;
    }
    // Before all others: nothing is compared with it.
    let first = of_line.first().map_or(0, |known| known.place);
    enter(&filling, snapshot, (line, first.min(0) - 1), State::Unreadable)?;
    filling.commit()?;
    Ok(own.is_some())
}

/// Why a snapshot was not taken in.
enum Stop {
    /// The tree of this one cannot be read: its own, or that of a neighbour with which it is compared.
    Damaged(SnapshotId, Error),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Other(error)
    }
}

/// What became of a snapshot that was to be taken in.
enum Taken {
    /// It is.
    In,
    /// Another process has done so meanwhile.
    ByAnother,
    /// Its line was given up.
    NoRoom,
}

/// Reads trees. The index is read when the first is: a run in which nothing changed asks the store for nothing more.
struct Trees<'r> {
    repository: &'r Repository,
    given: Option<&'r Arc<Index>>,
    reader: OnceCell<ChunkReader>,
}

impl Trees<'_> {
    fn reader(&self) -> Result<&ChunkReader> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader = match self.given {
            Some(index) => self.repository.reader_from(index.clone()),
            None => self.repository.reader()?,
        };
        Ok(self.reader.get_or_init(|| reader))
    }
}

/// Where in its line a snapshot belongs.
struct Spot<'s> {
    line: i64,
    /// The nearest ones before and behind it whose trees can be compared with its own.
    before: Option<(&'s Snapshot, i64)>,
    after: Option<(&'s Snapshot, i64)>,
    place: i64,
}

impl Spot<'_> {
    fn place(&self) -> (i64, i64) {
        (self.line, self.place)
    }
}

/// Finds the place. What lies between the two neighbours is of snapshots that are gone, and goes too. `None`: no place is left between
/// them, after hundreds of snapshots that were dated back, and nothing of the line is left either.
fn spot<'s>(filling: &mut Filling<'_>, snapshot: &Snapshot, living: &HashMap<SnapshotId, &'s Snapshot>) -> Result<Option<Spot<'s>>> {
    let (host, series) = line_of(snapshot);
    let line = filling.line(host, series)?;
    let own = order(snapshot);
    let usable = |known: &Known| living.get(&known.id).map(|snapshot| (*snapshot, known.place));
    let (mut before, mut after, mut last) = (None, None, None);
    let mut taken: Vec<i64> = Vec::new();
    // From the end on, where most belong: a first fill of a long line would else read all of it for each of its snapshots.
    filling.back(line, &mut |known| {
        // Those that were left out have places too, and keep them.
        if known.state != State::Indexed {
            taken.push(known.place);
            return true;
        }
        last = last.or(Some(known.place));
        if (known.time, known.id) < own {
            before = usable(&known);
            return before.is_none();
        }
        after = usable(&known).or(after);
        true
    })?;
    let floor = before.map_or(0, |(_, place)| place);
    let ceiling = after.map(|(_, place)| place);
    // What the index says of them is the difference to what came before them, and that is to change.
    let last = last.unwrap_or(floor);
    if last > floor {
        filling.drop_places(line, floor, ceiling.unwrap_or(last))?;
    }
    let mut place = match ceiling {
        Some(ceiling) => floor + (ceiling - floor) / 2,
        None => taken.iter().copied().fold(floor, i64::max) + PLACE_STEP,
    };
    while taken.contains(&place) {
        place += 1;
    }
    if ceiling.is_some_and(|ceiling| place <= floor || place >= ceiling) {
        filling.drop_places(line, 0, last)?;
        return Ok(None);
    }
    Ok(Some(Spot { line, before, after, place }))
}

fn enter(filling: &Filling<'_>, snapshot: &Snapshot, (line, place): (i64, i64), state: State) -> Result<()> {
    filling.enter(&Known { id: snapshot.id, line, place, time: order(snapshot).0, state, tried: now() })
}

/// Takes one snapshot in.
fn take_in(
    trees: &Trees<'_>,
    paths: &mut PathIndex,
    snapshot: &Snapshot,
    living: &HashMap<SnapshotId, &Snapshot>,
    observer: &dyn Observer,
) -> Result<Taken, Stop> {
    let mut filling = paths.fill()?;
    if filling.state(&snapshot.id)?.is_some_and(|state| state != State::Unreadable) {
        return Ok(Taken::ByAnother);
    }
    let Some(spot) = spot(&mut filling, snapshot, living)? else {
        filling.commit()?;
        return Ok(Taken::NoRoom);
    };
    put_changes(&mut filling, trees, spot.before.map(|(before, _)| before), snapshot, spot.place(), observer)?;
    enter(&filling, snapshot, spot.place(), State::Indexed)?;
    if let Some((after, place)) = spot.after {
        put_changes(&mut filling, trees, Some(snapshot), after, (spot.line, place), observer)?;
        enter(&filling, after, (spot.line, place), State::Indexed)?;
    }
    filling.commit()?;
    Ok(Taken::In)
}

/// Enters what differs from `old` to `new`. One thread reads the trees, this one writes.
fn put_changes(
    filling: &mut Filling<'_>,
    trees: &Trees<'_>,
    old: Option<&Snapshot>,
    new: &Snapshot,
    at: (i64, i64),
    observer: &dyn Observer,
) -> Result<(), Stop> {
    if old.is_some_and(|old| old.index.roots == new.index.roots && old.names.roots == new.names.roots) {
        return Ok(());
    }
    let reader = trees.reader()?;
    let (batches_in, batches) = bounded::<Vec<Row>>(BATCHES);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut telling = Telling { rows: Vec::with_capacity(BATCH), to: batches_in };
            compare(reader, old, new, &mut telling)?;
            telling.flush();
            Ok::<_, Stop>(())
        });
        let mut write = || -> Result<()> {
            for batch in &batches {
                if observer.interrupted() {
                    return Err(Error::Interrupted);
                }
                filling.put(at, batch.iter().map(|(dir, name, version)| (dir, &name[..], version.as_ref())))?;
            }
            Ok(())
        };
        let written = write();
        // The reading thread gives up when nobody takes its batches.
        drop(batches);
        let read = reading.join().unwrap_or(Err(Stop::Other(Error::SelfCheck { what: "the thread that reads trees" })));
        written.map_err(Stop::Other).and(read)
    })
}

struct Telling {
    rows: Vec<Row>,
    to: Sender<Vec<Row>>,
}

impl Telling {
    /// `false` where nobody listens any more.
    fn row(&mut self, row: Row) -> bool {
        self.rows.push(row);
        self.rows.len() < BATCH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.to.send(std::mem::replace(&mut self.rows, Vec::with_capacity(BATCH))).is_ok()
    }
}

fn compare(reader: &ChunkReader, old: Option<&Snapshot>, new: &Snapshot, to: &mut Telling) -> Result<(), Stop> {
    let all = |snapshot: &Snapshot| Merged::new(reader, snapshot, b"", false, |_| true);
    // Damage is told of the snapshot whose tree it is in.
    let of = |id: SnapshotId| move |error: Error| if error.kind() == Kind::Damage { Stop::Damaged(id, error) } else { Stop::Other(error) };
    let (of_old, of_new) = (of(old.map_or(new.id, |old| old.id)), of(new.id));
    let mut before = old.map(all).transpose().map_err(&of_old)?.unwrap_or_default();
    let mut after = all(new).map_err(&of_new)?;
    loop {
        let (old, new) = match turn(&mut before, &mut after, true) {
            Turn::End => return Ok(()),
            Turn::Pass(in_before, in_after) => {
                before.pass(in_before);
                after.pass(in_after);
                continue;
            }
            Turn::Open(in_before, in_after) => {
                let mut old = || in_before.map_or(Ok(()), |run| before.open(run));
                let mut new = || in_after.map_or(Ok(()), |run| after.open(run));
                // Leaves that differ mostly stand side by side, and to decode them is most of the work.
                let (old, new) = if in_before.is_some() && in_after.is_some() { rayon::join(old, new) } else { (old(), new()) };
                old.map_err(&of_old)?;
                new.map_err(&of_new)?;
                continue;
            }
            Turn::Take(from_before, from_after) => {
                (if from_before { before.take() } else { None }, if from_after { after.take() } else { None })
            }
        };
        let row = match (old, new) {
            (Some(old), Some(new)) if is_same(&old, &new) => continue,
            (_, Some(new)) => {
                let version = Version::new(&new.entry, new.content.as_ref());
                (new.dir, new.entry.name.0, Some(version))
            }
            (Some(old), None) => (old.dir, old.entry.name.0, None),
            (None, None) => continue,
        };
        if !to.row(row) {
            return Ok(());
        }
    }
}

/// Whether an entry is what it was, as far as a person would tell: inodes, change and access times say nothing of it, nor does the time of a
/// directory, which follows from what happened in it, nor that of a stream, which is when it ran.
fn is_same(old: &Item, new: &Item) -> bool {
    let (own_time, old_content, new_content) = (new.entry.kind != EntryKind::Directory && !new.is_stream, &old.content, &new.content);
    let (old, new) = (&old.entry, &new.entry);
    old.kind == new.kind
        && old.mode == new.mode
        && (old.uid, old.gid) == (new.uid, new.gid)
        && (&old.user, &old.group) == (&new.user, &new.group)
        && (old.mtime == new.mtime || !own_time)
        && old.size == new.size
        && old.target == new.target
        && (old.rdev_major, old.rdev_minor) == (new.rdev_major, new.rdev_minor)
        && old.flags == new.flags
        && old.status == new.status
        && old.xattrs == new.xattrs
        && old_content == new_content
}
