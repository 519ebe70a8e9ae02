//! Diff: what differs between two snapshots, or between a snapshot and this machine, from path to path in the order of the format.
//! What both snapshots share is passed over unread, node by node, so that the work is that of what differs. Nothing of a stored content
//! is read but where its bytes are asked for.

mod compare;
mod content;
mod judge;
mod live;
mod read;
mod side;
mod tally;

pub use compare::Attribute;
pub use content::Delta;
pub use live::Live;
pub use read::Body;
pub use tally::Counts;

use crate::diff::content::Which;
use crate::diff::judge::{Judge, Pair, Verdict, Worker};
use crate::diff::live::LiveRun;
use crate::diff::side::{Item, Side};
use crate::diff::tally::Tally;
use crate::error::{Error, Result, SourceError};
use crate::format::entry::{Entry, EntryKind, join};
use crate::format::manifest::{IndexRoot, ROOT_PATHS};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::ChunkReader;
use crate::repository::Repository;
use crate::repository::merged::{Head, Merged};
use crate::repository::selector::Selected;
use crate::repository::side_by_side::{Heads, Turn, turn};
use rayon::prelude::*;

/// Pairs that are read at the same time, and what they may be together. Each holds a directory open.
const BATCH_PAIRS: usize = 256;
const BATCH_BYTES: u64 = 64 << 20;
/// Pairs between two looks whether somebody wants to stop.
const LOOK_PAIRS: u64 = 256;

/// What a snapshot is compared with.
pub enum Against {
    /// Another snapshot, or a part of one.
    Snapshot(Box<Selected>),
    /// Files of this machine.
    Live(Live),
}

/// Which files of this machine are read and compared by their chunks. The others are compared by size and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// None.
    #[default]
    None,
    /// Those that look changed: what was only touched is told from what was written to.
    Suspects,
    /// All.
    All,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Attributes count too.
    pub metadata: bool,
    /// Which files of this machine are read.
    pub reading: Reading,
    /// Chunks that only one snapshot has are counted at the end.
    pub statistics: bool,
    /// For each file, how many bytes only one version has.
    pub deltas: bool,
    /// The bytes of both versions, up to so many.
    pub bodies: Option<u64>,
}

/// A path that differs.
#[derive(Debug)]
pub struct Change<'c> {
    /// The path, without leading `/`: as stored where both sides are compared under one path, else from the paths that are compared on.
    pub path: &'c [u8],
    /// What was there.
    pub before: Option<&'c Entry>,
    /// What is there.
    pub after: Option<&'c Entry>,
    /// Both are of one kind, and what they hold differs: content of files, targets of links, numbers of devices.
    pub content: bool,
    /// And by all that the system says nobody has written to it.
    pub rot: bool,
    /// Attributes that differ, where these count.
    pub attributes: Vec<Attribute>,
    /// What only one version has of a file, where that was asked for.
    pub delta: Option<Delta>,
    /// The bytes of each version that has some, where they were asked for and differ.
    pub bodies: [Option<Body>; 2],
}

impl Change<'_> {
    /// Whether one kind of thing became another.
    pub fn is_retyped(&self) -> bool {
        self.before.zip(self.after).is_some_and(|(before, after)| before.kind != after.kind)
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiffReport {
    /// What only the side before has. Chunks are only counted of snapshots; of this machine, bytes are those of files.
    pub removed: Counts,
    /// What only the side after has.
    pub added: Counts,
    /// Files whose content differs.
    pub changed_files: u64,
    /// Chunks that nobody could tell the length of: their packs are archived, damaged or gone. They are not in the bytes.
    pub unmeasured: u64,
    /// Nodes and leaves of trees that were read.
    pub nodes_read: u64,
    /// Sources of this machine that could not be read.
    pub error_count: u64,
    /// Streams of the snapshot, which this machine has nothing to compare with.
    pub streams_left_out: u64,
}

/// Calls `each` with everything that differs, in order; it returns `false` to stop. Attributes that a backup only keeps for itself (inode,
/// time of attribute changes) are no difference.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::diff::{Against, DiffOptions, diff};
/// use seabed_engine::Silent;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// # example::snapshot(&repository)?;
/// let [before, after] = ["latest~1:/home/ann/mail", "latest:/home/ann/mail"].map(|text| repository.select(text, &Default::default()));
/// let mut changed = 0;
/// diff(&repository, &before?, &Against::Snapshot(Box::new(after?)), &DiffOptions::default(), &Silent, &mut |change| {
///     changed += u32::from(change.content);
///     Ok(true)
/// })?;
/// assert_eq!(changed, 0, "nobody has written to the letter");
/// # Ok(())
/// # }
/// ```
pub fn diff(
    repository: &Repository,
    before: &Selected,
    after: &Against,
    options: &DiffOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&Change<'_>) -> Result<bool>,
) -> Result<DiffReport> {
    as_it_is(repository, before, after, options, observer, each).map_err(|error| {
        // What is not there any more may be what somebody has forgotten meanwhile.
        let error = repository.unless_forgotten(&before.snapshot.id, error);
        match after {
            Against::Snapshot(other) => repository.unless_forgotten(&other.snapshot.id, error),
            Against::Live(_) => error,
        }
    })
}

fn as_it_is(
    repository: &Repository,
    before: &Selected,
    after: &Against,
    options: &DiffOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&Change<'_>) -> Result<bool>,
) -> Result<DiffReport> {
    if let Against::Snapshot(other) = after
        && is_the_same(before, other)
    {
        return Ok(DiffReport::default());
    }
    let reader = repository.reader()?;
    let whole_live = matches!(after, Against::Live(live) if live.path.is_empty() && before.path.is_empty());
    let stored = |selected: &Selected| {
        let wanted = |root: &IndexRoot| !whole_live || root.kind == ROOT_PATHS;
        Ok::<_, Error>(Side::Stored(Box::new(Merged::new(&reader, &selected.snapshot, &selected.path, false, wanted)?)))
    };
    let a = stored(before)?;
    let (b, other) = match after {
        Against::Snapshot(other) => (stored(other)?, &other.path),
        Against::Live(live) => (Side::Live(Box::new(LiveRun::new(live))), &live.path),
    };
    let is_stored = matches!(after, Against::Snapshot(_));
    let same_place = before.path == *other;
    let mut diff = Diff {
        repository,
        reader: &reader,
        options,
        observer,
        each,
        // Where two paths are compared, neither of them is that of what differs.
        base: if same_place { before.path.clone() } else { Vec::new() },
        same_place: same_place && is_stored,
        tally: (is_stored && options.statistics).then(|| Tally::new(reader.index().clone())),
        worker: Worker::default(),
        report: DiffReport::default(),
        pairs: 0,
        bytes: 0,
    };
    if whole_live {
        diff.report.streams_left_out = before.snapshot.index.roots.iter().filter(|root| root.kind != ROOT_PATHS).count() as u64;
    }
    diff.run(a, b)
}

/// Whether all of two snapshots is the same, by their manifests alone: then not even the index is read.
fn is_the_same(before: &Selected, after: &Selected) -> bool {
    let (a, b) = (&before.snapshot, &after.snapshot);
    before.path.is_empty() && after.path.is_empty() && a.index.roots == b.index.roots && a.names.roots == b.names.roots
}

struct Diff<'d, 'r> {
    repository: &'d Repository,
    reader: &'r ChunkReader,
    options: &'d DiffOptions,
    observer: &'d dyn Observer,
    each: &'d mut dyn FnMut(&Change<'_>) -> Result<bool>,
    base: Vec<u8>,
    /// Equal nodes of both sides hold the same part of what is compared.
    same_place: bool,
    tally: Option<Tally>,
    worker: Worker,
    report: DiffReport,
    pairs: u64,
    bytes: u64,
}

impl<'r> Diff<'_, 'r> {
    fn run(mut self, mut a: Side<'r>, mut b: Side<'r>) -> Result<DiffReport> {
        let batched = self.options.reading != Reading::None && b.live().is_some();
        let mut batch: Vec<Pair> = Vec::new();
        let mut batch_bytes = 0;
        loop {
            match turn(&mut a, &mut b, self.same_place) {
                Turn::End => break,
                Turn::Pass(in_a, in_b) => self.pass((&mut a, in_a), (&mut b, in_b)),
                Turn::Open(in_a, in_b) => {
                    for (side, run, which) in [(&mut a, in_a, Which::Before), (&mut b, in_b, Which::After)] {
                        if let Some(run) = run {
                            self.open(side, run, which)?;
                        }
                    }
                }
                Turn::Take(from_a, from_b) => {
                    let before = if from_a { a.take() } else { None };
                    let after = if from_b { b.take() } else { None };
                    self.look(after.as_ref().or(before.as_ref()))?;
                    let pair = Pair { before, after };
                    if is_nothing(&pair, &b) {
                        continue;
                    }
                    if !batched {
                        if !self.single(pair, &mut b)? {
                            return Ok(self.report);
                        }
                        continue;
                    }
                    batch_bytes += pair.after.as_ref().map_or(0, |item| item.at.entry.size);
                    batch.push(pair);
                    if batch.len() >= BATCH_PAIRS || batch_bytes >= BATCH_BYTES {
                        batch_bytes = 0;
                        if !self.batch(std::mem::take(&mut batch), &mut b)? {
                            return Ok(self.report);
                        }
                    }
                }
            }
        }
        if !self.batch(batch, &mut b)? {
            return Ok(self.report);
        }
        self.report.nodes_read = a.read() + b.read();
        self.failures(&mut b, Vec::new());
        if let Some(tally) = self.tally.take() {
            let ([removed, added], unmeasured) = tally.count(self.repository, self.reader, self.observer)?;
            for (report, counted) in [(&mut self.report.removed, removed), (&mut self.report.added, added)] {
                (report.data_blobs, report.tree_blobs, report.bytes) = (counted.data_blobs, counted.tree_blobs, counted.bytes);
            }
            self.report.unmeasured = unmeasured;
        }
        Ok(self.report)
    }

    fn pass(&mut self, (a, in_a): (&mut Side<'_>, usize), (b, in_b): (&mut Side<'_>, usize)) {
        if let (Some(tally), Some((_, Head::Unread { level, twins, .. }))) = (&mut self.tally, a.head()) {
            tally.shared(level, twins);
        }
        a.pass(in_a);
        b.pass(in_b);
    }

    fn open(&mut self, side: &mut Side<'_>, run: usize, which: Which) -> Result<()> {
        if let (Some(tally), Some((_, Head::Unread { twins, .. }))) = (&mut self.tally, side.head()) {
            tally.twins(which, twins);
        }
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        side.open(run)
    }

    fn look(&mut self, item: Option<&Item>) -> Result<()> {
        self.pairs += 1;
        self.bytes += item.map_or(0, |item| item.at.entry.size);
        if self.pairs.is_multiple_of(LOOK_PAIRS) {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let (files_done, bytes_done, errors) = (self.pairs, self.bytes, self.report.error_count);
            self.observer.progress(&Progress { stage: Stage::Working, files_done, bytes_done, errors, ..Progress::default() });
        }
        Ok(())
    }

    fn single(&mut self, mut pair: Pair, b: &mut Side<'_>) -> Result<bool> {
        let judge = Judge { repository: self.repository, reader: self.reader, options: self.options, observer: self.observer };
        let verdict = judge.pair(&mut pair, &mut self.worker, self.tally.as_mut())?;
        self.say(&pair, verdict, b)
    }

    fn batch(&mut self, mut batch: Vec<Pair>, b: &mut Side<'_>) -> Result<bool> {
        let judge = Judge { repository: self.repository, reader: self.reader, options: self.options, observer: self.observer };
        let verdicts: Vec<Result<Verdict>> =
            batch.par_iter_mut().map_init(Worker::default, |worker, pair| judge.pair(pair, worker, None)).collect();
        for (pair, verdict) in batch.iter().zip(verdicts) {
            if !self.say(pair, verdict?, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn failures(&mut self, b: &mut Side<'_>, errors: Vec<SourceError>) {
        if let Some(live) = b.live_mut() {
            errors.into_iter().for_each(|error| live.fail(error));
            live.report(self.observer);
            self.report.error_count = live.error_count;
        }
    }

    fn say(&mut self, pair: &Pair, verdict: Verdict, b: &mut Side<'_>) -> Result<bool> {
        let Verdict { differs, content, rot, attributes, delta, bodies, errors } = verdict;
        self.failures(b, errors);
        if !differs {
            return Ok(true);
        }
        let Some(item) = pair.after.as_ref().or(pair.before.as_ref()) else { return Ok(true) };
        let (before, after) = (pair.before.as_ref().map(|item| &item.at.entry), pair.after.as_ref().map(|item| &item.at.entry));
        let live = self.tally.is_none();
        match (before, after) {
            (Some(entry), None) => count(&mut self.report.removed, entry, live),
            (None, Some(entry)) => count(&mut self.report.added, entry, live),
            (Some(before), Some(after)) if content && after.kind == EntryKind::File => {
                self.report.changed_files += 1;
                if live {
                    self.report.removed.bytes += before.size;
                    self.report.added.bytes += after.size;
                }
            }
            _ => {}
        }
        let below = item.at.path();
        let path = match (below.is_empty(), self.base.is_empty() && item.at.entry.kind != EntryKind::Directory) {
            (false, _) => join(&self.base, &below),
            // Two files that lie in different places have no path in common but the name.
            (true, true) => item.at.entry.name.0.clone(),
            (true, false) => self.base.clone(),
        };
        (self.each)(&Change { path: &path, before, after, content, rot, attributes, delta, bodies })
    }
}

fn count(counts: &mut Counts, entry: &Entry, with_bytes: bool) {
    match entry.kind {
        EntryKind::File => counts.files += 1,
        EntryKind::Directory => counts.dirs += 1,
        _ => counts.others += 1,
    }
    if with_bytes && entry.kind == EntryKind::File {
        counts.bytes += entry.size;
    }
}

/// Whether a pair is no difference to anybody: the path that is compared where only one side has an entry for it, and what nobody could
/// look at.
fn is_nothing(pair: &Pair, b: &Side<'_>) -> bool {
    match (&pair.before, &pair.after) {
        (Some(before), None) => before.at.own || b.live().is_some_and(|live| live.is_unknown(&before.at.path())),
        (None, Some(after)) => after.at.own,
        _ => false,
    }
}
