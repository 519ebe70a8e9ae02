//! The commit (spec chapter 7, B4 and B5): pending manifest, CHECK, manifest, CHECK, and only then success.
//! The order is the promise: the root is written before the records are read, so that of a commit and a collection one sees the other.

use crate::backup::assemble::Assembled;
use crate::backup::options::{BackupOptions, BackupReport, Failure};
use crate::backup::reads::{ERRORS_KEPT, SourceEnds};
use crate::catalog::Snapshot;
use crate::clock;
use crate::error::{Error, Result, SourceError};
use crate::format::manifest::{
    FAILURES_MAX, Failure as RecordedFailure, IndexPart, IndexRoot, NamesPart, NamesRoot, ROOT_PATHS, ROOT_STREAM,
};
use crate::format::object::ObjectType;
use crate::format::protocol::Tombstone;
use crate::format::wire::{Bytes, Time};
use crate::id::{ObjectId, ObjectName, PackId, SnapshotId};
use crate::observe::Observer;
use crate::pack::sink::Written;
use crate::repository::Repository;
use crate::seal::object::seal_object;
use crate::seal::random;
use crate::store::beside;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

/// When a run began and when its content was complete.
pub struct Times {
    /// Beginning.
    pub started: Time,
    /// End of the content.
    pub finished: Time,
}

/// What the threads made.
pub struct Made {
    /// The snapshot id.
    pub session: SnapshotId,
    /// The packs that records named when the run began.
    pub condemned: HashSet<PackId>,
    /// The series.
    pub series: String,
    /// What was compared with.
    pub parent: Option<Snapshot>,
    /// When.
    pub times: Times,
    /// Of the reading thread.
    pub ends: SourceEnds,
    /// Of the assembler.
    pub assembled: Assembled,
    /// Of packer and finisher.
    pub written: Written,
}

/// Commits what was made, or says why there is nothing to commit.
pub fn commit(repository: &Repository, options: &BackupOptions, made: Made, observer: &dyn Observer) -> Result<BackupReport, Failure> {
    let Made { session, condemned, series, parent, times, ends, assembled, written } = made;
    let Assembled { tree, streams, mut summary, mut errors, error_count } = assembled;
    let error_count = error_count + ends.error_count;
    errors.splice(0..0, ends.errors);
    errors.truncate(ERRORS_KEPT);
    // Ancestors of a path that is not there are no snapshot of it.
    if ends.entries == 0 && streams.is_empty() {
        return Err(Failure::NoSource { errors });
    }
    summary.errors = error_count;
    summary.bytes_stored = written.bytes;
    let spoke = ends.streams.iter().filter(|end| !end.stream.stderr.0.is_empty());
    let remarks: Vec<_> = spoke.map(|end| (end.name.clone(), end.stream.stderr.0.clone())).collect();
    let (index_roots, names_roots) = roots(tree.as_ref().filter(|_| ends.entries > 0), streams, ends.streams);
    let parent_id = parent.as_ref().map(|p| p.id);
    let unchanged = parent.as_ref().is_some_and(|p| p.index.roots == index_roots);
    let report = |snapshot, summary, finished, errors| BackupReport {
        snapshot,
        parent: parent_id,
        series: series.clone(),
        summary,
        errors,
        error_count,
        excluded: ends.excluded,
        remarks: remarks.clone(),
        started: times.started,
        finished,
    };
    if options.dry_run || options.skip_if_unchanged && unchanged && error_count == 0 {
        return Ok(report(None, summary, times.finished, errors));
    }
    let own = repository.catalog().newest_of(&repository.writer())?;
    let index = IndexPart {
        snapshot: session,
        roots: index_roots,
        writer: repository.writer(),
        sequence: own.as_ref().map_or(1, |s| s.index.sequence + 1),
        previous: own.map(|s| s.id),
        heads: repository.catalog().frontier(&repository.writer())?,
        time: options.time.unwrap_or(times.started),
        started: times.started,
        finished: times.finished,
        group: None,
        incomplete: false,
        extra: Vec::new(),
    };
    let names = NamesPart {
        series: series.clone(),
        host: options.host.clone(),
        user: options.user.clone(),
        uid: options.uid_gid.0,
        gid: options.uid_gid.1,
        paths: asked_for(options),
        excludes: options.excludes.clone(),
        tags: options.tags.clone(),
        description: options.description.clone(),
        program: options.program.clone(),
        parent: parent_id,
        roots: names_roots,
        summary: summary.clone(),
        failures: errors.iter().take(FAILURES_MAX).map(record).collect(),
        origin: None,
        extra: Vec::new(),
    };
    publish(repository, index, names, &condemned, observer)?;
    Ok(report(Some(session), summary, clock::now(), errors))
}

/// CHECK, in its plainest form: where a record is new since the run began, one of its packs may hold what this snapshot relies
/// on. The run then gives up; the next one avoids those packs and stores again what was only there.
fn check(repository: &Repository, condemned: &HashSet<PackId>) -> Result<()> {
    if repository.condemned()? == *condemned { Ok(()) } else { Err(Error::Overtaken) }
}

fn publish(
    repository: &Repository,
    index: IndexPart,
    names: NamesPart,
    condemned: &HashSet<PackId>,
    observer: &dyn Observer,
) -> Result<()> {
    let session = index.snapshot;
    let (pending, committed) = (ObjectName::pending(&session, 0), ObjectName::snapshot(&session));
    // B4: a root for collectors before anything is asked of them, and a restorable whole if this run dies now.
    repository.put_manifest(&pending, &index, &names)?;
    // Before the commit relies on the packs: a store that says yes and stores nothing has been seen. Like the CHECK it only asks, so that
    // both can be under way together.
    let look = || beside(repository.store(), || check(repository, condemned), || repository.store().confirm());
    let (checked, confirmed) = look();
    checked.and(confirmed)?;
    if observer.interrupted() {
        return Err(Error::Interrupted);
    }
    // B5: this put is the commit. From here on it either stands or is taken back.
    repository.store().insist();
    let put = repository.put_manifest(&committed, &index, &names);
    let looked = put.and_then(|_| {
        let ((checked, confirmed), stands) = beside(repository.store(), look, || repository.still_stands());
        checked.and(confirmed).and(stands)
    });
    if let Err(error) = looked {
        // Nobody may take for a snapshot what this run does not vouch for; the pending stays, a root and a resume point.
        if let Err(untold) = take_back(repository, &index) {
            let short = session.short();
            observer.warning(&format!(
                "snapshot {short} may be listed all the same: this run does not vouch that all of it is there ({untold})"
            ));
        }
        return Err(error);
    }
    // A backup never needs DELETE: a pending that stays is cleared by a later collection. A key that may not delete is meant to be one.
    match repository.store().delete(&pending) {
        Err(Error::Store { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => observer.warning(&format!("the pending manifest stays for the next collection: {error}")),
        Ok(()) => {}
    }
    // An index read before this run knows nothing of its packs; the catalog will, so that no refresh would notice.
    repository.drop_index();
    // The catalog may lag: the snapshot is acknowledged by what the store holds, not by what a cache says.
    if let Err(error) = repository.catalog().apply(&[Snapshot { id: session, index, names }], &[]) {
        observer.warning(&format!("the catalog will be brought up to date by the next run: {error}"));
    }
    Ok(())
}

/// Says that a snapshot is none: its run gave up behind the put that would have been its commit.
fn take_back(repository: &Repository, index: &IndexPart) -> Result<()> {
    let id = ObjectId::new(random()?);
    let name = ObjectName::tombstone(&index.snapshot, &id);
    let tombstone = Tombstone {
        snapshot: index.snapshot,
        writer: index.writer,
        sequence: index.sequence,
        previous: index.previous,
        heads: index.heads.clone(),
        time: clock::now(),
        reason: "gave up".to_owned(),
        extra: Vec::new(),
    };
    let object = seal_object(repository.keys(), &repository.id(), &name, ObjectType::Tombstone, &tombstone)?;
    repository.store().put(&name, &object)
}

fn roots(
    tree: Option<&crate::format::tree::TreeRoot>,
    streams: Vec<(crate::format::lists::Content, u64)>,
    ends: Vec<crate::backup::reads::StreamEnd>,
) -> (Vec<IndexRoot>, Vec<NamesRoot>) {
    let mut index = Vec::new();
    let mut names = Vec::new();
    if let Some(tree) = tree {
        index.push(IndexRoot::tree(ROOT_PATHS, tree));
        names.push(NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: Vec::new() });
    }
    for ((content, bytes), end) in streams.into_iter().zip(ends) {
        index.push(IndexRoot::stream(content, bytes));
        names.push(NamesRoot { kind: ROOT_STREAM, name: Bytes(end.name), stream: Some(end.stream), extra: Vec::new() });
    }
    (index, names)
}

fn asked_for(options: &BackupOptions) -> Vec<Bytes> {
    let paths = options.as_path.iter().chain(options.paths.iter().filter(|_| options.as_path.is_none()));
    let paths = paths.map(|p| Bytes(p.as_os_str().as_bytes().to_vec()));
    let streams = options.streams.iter().map(|s| Bytes([b"/", &s.name[..]].concat()));
    paths.chain(streams).collect()
}

fn record(error: &SourceError) -> RecordedFailure {
    let path = Bytes(error.path.as_os_str().as_bytes().to_vec());
    RecordedFailure { path, during: error.during.to_owned(), message: error.source.to_string(), extra: Vec::new() }
}
