//! Where a path is in all snapshots, and what became of it: answers from the path index, without reading the repository.
//! Only filling the index reads trees. What was forgotten is not found, though the index may know it still.

mod fill;
mod history;
mod pattern;

pub use fill::{Filled, Which, fill};
pub use history::{Event, History, What, history};
pub use pattern::{Pattern, Syntax};

use crate::catalog::Snapshot;
use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::id::SnapshotId;
use crate::paths::{Accept, Found, PathIndex, Span, State, Version};
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The path.
    pub pattern: Pattern,
    /// Any of these kinds; empty for all.
    pub kinds: Vec<EntryKind>,
    /// Length of a file in bytes. Other kinds are not found where this is given.
    pub size: Option<RangeInclusive<u64>>,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime: Option<RangeInclusive<i64>>,
}

impl Match {
    /// Whether it is a directory that only leads to something: the backup did not look at it.
    pub fn only_leads(&self) -> bool {
        has_no_time(&self.version)
    }
}

impl Wanted {
    /// All that matches.
    pub fn new(pattern: Pattern) -> Self {
        Wanted { pattern, kinds: Vec::new(), size: None, mtime: None }
    }

    fn takes(&self, version: &Version) -> bool {
        let kind = version.kind;
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (!self.pattern.only_directories() || kind == EntryKind::Directory)
            && self.size.as_ref().is_none_or(|sizes| kind == EntryKind::File && sizes.contains(&version.size))
            && self.mtime.as_ref().is_none_or(|times| !has_no_time(version) && times.contains(&version.mtime))
    }
}

/// Directories that only lead to something were not looked at.
fn has_no_time(version: &Version) -> bool {
    version.kind == EntryKind::Directory && version.mtime == 0
}

/// A path as it was in some snapshots in a row.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Match {
    /// What it was.
    pub version: Version,
    /// The snapshots that have it so, oldest first, by their number among those that were searched.
    pub snapshots: Vec<usize>,
}

/// A path that was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hit {
    /// With leading slash, any bytes.
    pub path: Vec<u8>,
    /// By series and host, in order.
    pub matches: Vec<Match>,
}

/// Where the searched snapshots stand in the index.
pub struct Chosen {
    /// Per line: place, and number among the searched ones, ascending.
    lines: BTreeMap<i64, Vec<(i64, usize)>>,
    /// Those of the searched ones that the index does not know, by number.
    pub missing: Vec<usize>,
}

impl Chosen {
    /// Of `snapshots`.
    pub fn new(paths: &PathIndex, snapshots: &[Snapshot]) -> Result<Self> {
        let numbers: HashMap<SnapshotId, usize> = snapshots.iter().enumerate().map(|(at, snapshot)| (snapshot.id, at)).collect();
        let mut chosen = Chosen { lines: BTreeMap::new(), missing: Vec::new() };
        let mut seen = vec![false; snapshots.len()];
        for known in paths.known()?.into_iter().filter(|known| known.state == State::Indexed) {
            if let Some(number) = numbers.get(&known.id) {
                seen[*number] = true;
                chosen.lines.entry(known.line).or_default().push((known.place, *number));
            }
        }
        chosen.missing = (0..snapshots.len()).filter(|number| !seen[*number]).collect();
        Ok(chosen)
    }

    /// The snapshots in which a path was so.
    fn within(&self, span: &Span) -> &[(i64, usize)] {
        let places = self.lines.get(&span.line).map_or(&[][..], |places| places);
        let begin = places.partition_point(|(place, _)| *place < span.since);
        let end = places.partition_point(|(place, _)| *place < span.until);
        &places[begin..end]
    }

    fn hit(&self, found: Found, wanted: &Wanted) -> Option<Hit> {
        let matches = found.spans.iter().filter_map(|span| {
            let version = span.version.as_ref().filter(|version| wanted.takes(version))?;
            let snapshots: Vec<usize> = self.within(span).iter().map(|(_, number)| *number).collect();
            (!snapshots.is_empty()).then(|| Match { version: version.clone(), snapshots })
        });
        let matches: Vec<Match> = matches.collect();
        (!matches.is_empty()).then_some(Hit { path: found.path, matches })
    }
}

/// Calls `each` with what is found in the chosen snapshots, some paths at a time, in the order in which paths were first backed up. `each`
/// returns `false` to stop.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::find::{Chosen, Pattern, Syntax, Wanted, Which, fill, find};
/// use seabed_engine::{Silent, paths::PathIndex};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// // A file in the cache directory, where there is one; it is filled from the trees, of each only what changed.
/// let mut paths = PathIndex::open(repository.cache_directory(), &repository.id())?;
/// fill(&repository, &mut paths, Which::All, &Silent)?;
/// let snapshots = repository.catalog().snapshots()?;
/// let pattern = Pattern::new(&["*.txt".to_owned()], Syntax::Glob, false)?;
/// let mut found = Vec::new();
/// find(&paths, &Chosen::new(&paths, &snapshots)?, &Wanted::new(pattern), &mut |hits| {
///     found.extend(hits.into_iter().map(|hit| hit.path));
///     Ok(true)
/// })?;
/// assert_eq!(found, [b"/home/ann/mail/letter.txt"]);
/// # Ok(())
/// # }
/// ```
pub fn find(paths: &PathIndex, chosen: &Chosen, wanted: &Wanted, each: &mut dyn FnMut(Vec<Hit>) -> Result<bool>) -> Result<()> {
    let within = |bytes: &u64| i64::try_from(*bytes).unwrap_or(i64::MAX);
    let accept = Accept {
        size: wanted.size.as_ref().map(|sizes| within(sizes.start())..=within(sizes.end())),
        mtime: wanted.mtime.clone(),
        version: &|version| wanted.takes(version),
    };
    paths.search((wanted.pattern.needles(), &|path| wanted.pattern.matches(path)), &accept, &mut |found| {
        let hits: Vec<Hit> = found.into_iter().filter_map(|found| chosen.hit(found, wanted)).collect();
        if hits.is_empty() { Ok(true) } else { each(hits) }
    })
}
