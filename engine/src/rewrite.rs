//! Rewriting (spec chapter 7): snapshots become others without some of their entries, of another host or series, or of another time. A new
//! one is committed before the old one is forgotten, and only where that was asked for; nothing that is held is. No space comes back before
//! a collection: what was left out is still there, for whoever has the repository, until then.

use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, ledger, put_tombstone, vouch};
use crate::error::{Error, Result};
use crate::format::manifest::{IndexPart, NamesPart, Origin};
use crate::format::object::ObjectType;
use crate::format::wire::Time;
use crate::id::SnapshotId;
use crate::observe::Observer;
use crate::replant::{Gone, Planted, ReplantOptions, Session};
use crate::repository::ledger::LedgerRow;
use crate::repository::{HoldsRead, Repository};
use crate::seal::random;
use crate::source::Excludes;

/// What an origin says of a snapshot that was made of another one, and the reason that the tombstone of that one gives.
pub const REWRITE: &str = "rewrite";

/// What to change.
#[derive(Clone, Debug, Default)]
pub struct RewriteOptions {
    /// What is left out. Only patterns count: no tag files, ignore files or sizes.
    pub excludes: Excludes,
    /// The patterns as text, for the manifest.
    pub patterns: Vec<String>,
    /// The host.
    pub new_host: Option<String>,
    /// The series.
    pub new_series: Option<String>,
    /// The time that the snapshots stand for.
    pub new_time: Option<Time>,
    /// Forget the old ones, each once the new one is acknowledged.
    pub forget: bool,
    /// Find out what would change, write nothing.
    pub dry_run: bool,
}

/// A snapshot that changes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Rewritten {
    /// The old one.
    pub old: SnapshotId,
    /// The new one; `None` for a dry run.
    pub new: Option<SnapshotId>,
    /// The new one was there already, of an earlier run.
    pub again: bool,
    /// Entries that are left out, of any kind, streams among them.
    pub entries_removed: u64,
    /// Content of these, bytes. It is stored until a collection finds that nothing else needs it.
    pub bytes_removed: u64,
    /// The old one is forgotten now.
    pub forgotten: bool,
    /// It would be, but is held.
    pub held: bool,
}

/// What a rewrite did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RewriteReport {
    /// The snapshots that changed.
    pub changed: Vec<Rewritten>,
    /// Snapshots of which nothing was to change.
    pub unchanged: u64,
    /// Snapshots that could not be rewritten, and why: something of their trees cannot be read, or nothing would be left of them. They are as
    /// they were.
    pub failed: Vec<(SnapshotId, Error)>,
}

/// Rewrites snapshots, in the order given. `each` is told of every one that changed as soon as it is done.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Excludes, RewriteOptions, Silent, rewrite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// // A letter that nobody should have backed up.
/// let mut excludes = Excludes::new();
/// excludes.pattern(b"letter.txt", false)?;
/// let options = RewriteOptions { excludes, patterns: vec!["letter.txt".to_owned()], forget: true, ..RewriteOptions::default() };
/// let report = rewrite(&repository, &[id], &options, &Silent, &mut |_| ())?;
/// assert_eq!((report.changed[0].entries_removed, report.changed[0].bytes_removed), (1, 10));
///
/// let left = repository.catalog().snapshots()?;
/// assert_eq!((left.len(), left[0].names.summary.files_total), (1, 0));
/// assert_eq!(left[0].names.origin.as_ref().ok_or("it says where it comes from")?.snapshot, id);
/// # Ok(())
/// # }
/// ```
pub fn rewrite(
    repository: &Repository,
    snapshots: &[SnapshotId],
    options: &RewriteOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&Rewritten),
) -> Result<RewriteReport> {
    let replant = ReplantOptions { excludes: options.excludes.clone(), dry_run: options.dry_run, ..ReplantOptions::default() };
    let session = Session::new(repository, replant, observer)?;
    // As of after B1: what is forgotten since counts as that.
    let all = repository.catalog().snapshots()?;
    let find =
        |id: &SnapshotId| all.iter().find(|snapshot| snapshot.id == *id).ok_or_else(|| Error::NoSnapshot { selector: id.to_string() });
    let todo: Vec<&Snapshot> = snapshots.iter().map(find).collect::<Result<_>>()?;
    let mut run = Run { repository, options, session, all: &all, holds: HoldsRead::default(), observer };
    let mut report = RewriteReport::default();
    for snapshot in todo {
        match run.rewrite(snapshot) {
            Ok(Some(rewritten)) => {
                each(&rewritten);
                report.changed.push(rewritten);
            }
            Ok(None) => report.unchanged += 1,
            // Damage of one snapshot, or an answer that concerns it alone: the others are rewritten all the same. Not by a session that has
            // to begin anew: of what was forgotten since the first B1 nothing may be taken for granted after a second one.
            Err(error) if !run.session.is_spoilt() && concerns_one(&error) => report.failed.push((snapshot.id, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

fn concerns_one(error: &Error) -> bool {
    error.is_damage() || matches!(error, Error::Refused { .. } | Error::WasForgotten { .. })
}

struct Run<'r> {
    repository: &'r Repository,
    options: &'r RewriteOptions,
    session: Session<'r>,
    all: &'r [Snapshot],
    holds: HoldsRead,
    observer: &'r dyn Observer,
}

impl<'r> Run<'r> {
    /// Rewrites one. `None` where nothing is to change.
    fn rewrite(&mut self, old: &Snapshot) -> Result<Option<Rewritten>> {
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let id = SnapshotId::new(random()?);
        // Where no pattern is, no names are read.
        let Planted { roots, gone, .. } = self.session.plant(self.repository, old, id, self.observer)?;
        if roots.index.is_empty() && gone.entries > 0 {
            let short = old.id.short();
            return Err(Error::Refused { what: format!("nothing of snapshot {short} would be left: forget it instead") });
        }
        let (mut index, mut names) = (old.index.clone(), old.names.clone());
        (index.roots, names.roots) = (roots.index, roots.names);
        self.change(&mut index, &mut names, &gone);
        if gone.entries == 0 && !self.is_renamed(old) {
            return Ok(None);
        }
        let Gone { entries, bytes, .. } = gone;
        let mut rewritten = Rewritten {
            old: old.id,
            new: None,
            again: false,
            entries_removed: entries,
            bytes_removed: bytes,
            forgotten: false,
            held: false,
        };
        let known = self.made_before(old, &index, &names);
        rewritten.again = known.is_some();
        rewritten.new = match known {
            Some(known) => {
                if self.options.forget && !self.options.dry_run {
                    // Nobody knows whether the run that put it lived to make sure of it.
                    let looked_at = self.session.known_below(&known.index.roots)?;
                    vouch(self.repository, &known.index, looked_at, self.observer)?;
                }
                Some(known.id)
            }
            None if self.options.dry_run => None,
            None => Some(self.commit(id, old, index, names.clone())?),
        };
        if self.options.forget {
            // Asked for late: whoever holds it meanwhile is heard.
            rewritten.held = self.repository.holds_again(&mut self.holds, clock::now())?.contains_key(&old.id);
            if let Some(new) = rewritten.new.filter(|_| !rewritten.held && !self.options.dry_run) {
                // What was edited since the new one was made would go with the old one: a policy that keeps by tags would let it go.
                let notes = self.repository.listed(ObjectType::Note, "notes")?;
                self.repository.carry_notes(&notes, &old.id, (&new, known.map_or(&names, |known| &known.names)))?;
                put_tombstone(self.repository, &old.index, REWRITE)?;
                rewritten.forgotten = true;
                // The catalog may lag: what is forgotten is what the store says.
                self.repository.catalog().apply(&[], &[old.id]).or(Ok::<_, Error>(()))?;
            }
        }
        Ok(Some(rewritten))
    }

    fn is_renamed(&self, old: &Snapshot) -> bool {
        let RewriteOptions { new_host, new_series, new_time, .. } = self.options;
        new_host.as_ref().is_some_and(|host| *host != old.names.host)
            || new_series.as_ref().is_some_and(|series| *series != old.names.series)
            || new_time.is_some_and(|time| time != old.index.time)
    }

    /// Both parts as they are to be, but for ids and the ledger. When its source was read stays as it was: what changed while that run was
    /// under way a later one has to read again, and it learns that from here.
    fn change(&self, index: &mut IndexPart, names: &mut NamesPart, gone: &Gone) {
        let RewriteOptions { patterns, new_host, new_series, new_time, .. } = self.options;
        index.time = new_time.unwrap_or(index.time);
        names.host.clone_from(new_host.as_ref().unwrap_or(&names.host.clone()));
        names.series.clone_from(new_series.as_ref().unwrap_or(&names.series.clone()));
        if gone.entries > 0 {
            let known = names.excludes.clone();
            names.excludes.extend(patterns.iter().filter(|pattern| !known.contains(pattern)).cloned());
        }
        names.summary.files_total = names.summary.files_total.saturating_sub(gone.files);
        names.summary.bytes_total = names.summary.bytes_total.saturating_sub(gone.bytes);
    }

    /// What an earlier run has made of `old`, where that is just what would be made now: it did not forget, or was interrupted before.
    fn made_before(&self, old: &Snapshot, index: &IndexPart, names: &NamesPart) -> Option<&'r Snapshot> {
        let origin = |snapshot: &&Snapshot| {
            let origin = snapshot.names.origin.as_ref();
            origin.is_some_and(|o| (o.repository, o.snapshot) == (self.repository.id(), old.id) && o.how == REWRITE)
        };
        let same = |snapshot: &&Snapshot| {
            (&snapshot.index.roots, &snapshot.names.roots, snapshot.index.time) == (&index.roots, &names.roots, index.time)
                && (&snapshot.names.host, &snapshot.names.series) == (&names.host, &names.series)
        };
        self.all.iter().filter(origin).find(same)
    }

    fn commit(&mut self, id: SnapshotId, old: &Snapshot, mut index: IndexPart, mut names: NamesPart) -> Result<SnapshotId> {
        let LedgerRow { writer, sequence, previous, heads } = ledger(self.repository)?;
        (index.writer, index.sequence, index.previous, index.heads) = (writer, sequence, previous, heads);
        (index.snapshot, index.finished) = (id, clock::now());
        names.origin = Some(Origin { repository: self.repository.id(), snapshot: old.id, how: REWRITE.to_owned(), extra: Vec::new() });
        // What the old one needs, and what was put: nothing else is in the new one.
        let looked_at = self.session.known_below(&old.index.roots)?;
        Commit::new(self.repository, id, looked_at, self.observer).publish(index, names)?;
        Ok(id)
    }
}
