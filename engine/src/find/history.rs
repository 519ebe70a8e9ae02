//! What became of one path: when it appeared, changed and vanished, in each series on each host.

use crate::error::Result;
use crate::find::Chosen;
use crate::format::entry::split;
use crate::paths::{PathIndex, Version};

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was there from the first of the snapshots on.
    First,
    /// It had not been there.
    Appeared,
    /// It is another one than before.
    Changed {
        /// What it was.
        from: Version,
    },
    /// It is there no more.
    Vanished,
}

/// Something that happened between two snapshots, or in the first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// What.
    pub what: What,
    /// What the path is now; `None` where it vanished.
    pub version: Option<Version>,
    /// The first snapshot after it happened, by its number among the chosen ones.
    pub first: usize,
    /// The last one before the next event: the newest that holds this version.
    pub last: usize,
    /// Snapshots from the first to the last.
    pub count: usize,
}

/// The events of one series on one host, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct History {
    /// What happened; never empty.
    pub events: Vec<Event>,
}

/// What became of a path, which has no leading slash. One per line in which it was ever there.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::find::{Chosen, What, Which, fill, history};
/// use seabed_engine::{Silent, paths::PathIndex};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// let mut paths = PathIndex::open(repository.cache_directory(), &repository.id())?;
/// fill(&repository, &mut paths, Which::All, &Silent)?;
/// let snapshots = repository.catalog().snapshots()?;
/// let told = history(&paths, &Chosen::new(&paths, &snapshots)?, b"home/ann/mail/letter.txt")?;
/// let [event] = &told[0].events[..] else { panic!("it never changed") };
/// assert_eq!((&event.what, event.version.as_ref().map(|version| version.size)), (&What::First, Some(10)));
/// # Ok(())
/// # }
/// ```
pub fn history(paths: &PathIndex, chosen: &Chosen, path: &[u8]) -> Result<Vec<History>> {
    let (dir, name) = split(path);
    let spans = paths.path(dir, name)?;
    let mut all = Vec::new();
    for spans in spans.chunk_by(|a, b| a.line == b.line) {
        let mut events: Vec<Event> = Vec::new();
        let mut now: Option<Version> = None;
        let Some(begin) = spans.first().and_then(|span| chosen.lines.get(&span.line)).and_then(|places| places.first()) else { continue };
        for span in spans {
            let within = chosen.within(span);
            let (Some((place, first)), Some((_, last))) = (within.first(), within.last()) else { continue };
            let what = match (now.take(), &span.version) {
                // Between two versions that are equal there was one in snapshots that are gone.
                (Some(before), Some(version)) if before == *version => {
                    if let Some(event) = events.last_mut() {
                        (event.last, event.count) = (*last, event.count + within.len());
                    }
                    now = Some(before);
                    continue;
                }
                (None, None) => continue,
                (None, Some(_)) if place == &begin.0 => What::First,
                (None, Some(_)) => What::Appeared,
                (Some(from), Some(_)) => What::Changed { from },
                (Some(_), None) => What::Vanished,
            };
            now = span.version.clone();
            events.push(Event { what, version: span.version.clone(), first: *first, last: *last, count: within.len() });
        }
        if !events.is_empty() {
            all.push(History { events });
        }
    }
    Ok(all)
}
