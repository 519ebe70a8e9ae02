//! What a backup commits: both parts of its manifest, made of what its threads brought together.

use crate::backup::assemble::Assembled;
use crate::backup::options::{BackupOptions, BackupReport, Failure};
use crate::backup::parent::Parents;
use crate::backup::reads::{ERRORS_KEPT, SourceEnds, StreamEnd};
use crate::catalog::Snapshot;
use crate::clock;
use crate::commit::{Commit, ledger};
use crate::error::{Result, SourceError};
use crate::format::lists::Content;
use crate::format::manifest::{FAILURES_MAX, Failure as RecordedFailure, IndexPart, NamesPart, NamesRoot, Roots, Summary};
use crate::format::tree::TreeRoot;
use crate::format::wire::{Bytes, Time};
use crate::id::SnapshotId;
use crate::pack::sink::Written;
use crate::repository::Repository;
use crate::repository::ledger::LedgerRow;
use std::os::unix::ffi::OsStrExt;

/// When a run began and when its content was complete.
pub struct Times {
    /// Beginning.
    pub started: Time,
    /// End of the content.
    pub finished: Time,
}

/// What the threads made.
pub struct Made<'a> {
    /// The snapshot id.
    pub session: SnapshotId,
    /// The commit, with the pendings that were put on the way.
    pub commit: Commit<'a>,
    /// The series.
    pub series: String,
    /// What was compared with.
    pub parents: Parents,
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
pub fn commit(repository: &Repository, options: &BackupOptions, made: Made<'_>) -> Result<BackupReport, Failure> {
    let Made { session, commit, series, parents, times, ends, assembled, written } = made;
    let Assembled { tree, mut tars, objects, streams, mut summary, mut errors, error_count } = assembled;
    let error_count = error_count + ends.error_count;
    errors.splice(0..0, ends.errors);
    // Both are trees below a name.
    tars.extend(objects);
    let trees: Vec<StreamEnd> = ends.tars.into_iter().chain(ends.objects).collect();
    errors.truncate(ERRORS_KEPT);
    // Ancestors of a path that is not there are no snapshot of it.
    if ends.entries == 0 && streams.is_empty() && tars.iter().all(Option::is_none) {
        return Err(Failure::NoSource { errors });
    }
    summary.errors = error_count;
    summary.bytes_stored = written.bytes;
    let spoke = ends.streams.iter().chain(&trees).filter(|end| !end.stream.stderr.0.is_empty());
    let remarks: Vec<_> = spoke.map(|end| (end.name.clone(), end.stream.stderr.0.clone())).collect();
    let Roots { index: index_roots, names: names_roots } =
        roots(tree.as_ref().filter(|_| ends.entries > 0), (streams, ends.streams), (tars, trees));
    // A stream of the same content under another name is another path.
    let named = |roots: &[NamesRoot]| roots.iter().map(|root| (root.kind, root.name.clone())).collect::<Vec<_>>();
    let is_same = |parent: &Snapshot| parent.index.roots == index_roots && named(&parent.names.roots) == named(&names_roots);
    let unchanged = parents.snapshot.as_ref().is_some_and(is_same);
    let report = |snapshot, summary, finished, errors| BackupReport {
        snapshot,
        parent: parents.snapshot.as_ref().map(|p| p.id),
        resumed: parents.pending.as_ref().map(|p| p.id),
        series: series.clone(),
        summary,
        errors,
        error_count,
        excluded: ends.excluded,
        archived: ends.archived,
        remarks: remarks.clone(),
        started: times.started,
        finished,
        trees: None,
    };
    if options.dry_run || options.skip_if_unchanged && unchanged && error_count == 0 {
        return Ok(report(None, summary, times.finished, errors));
    }
    let (mut index, mut names) = parts(repository, options, (session, &series), &parents, &times)?;
    index.roots = index_roots;
    names.roots = names_roots;
    names.summary = summary.clone();
    let mut room = FAILURES_BYTES_MAX;
    let fits = |failure: &RecordedFailure| {
        let left = room.checked_sub(failure.path.0.len() + failure.message.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    names.failures = errors.iter().take(FAILURES_MAX).map(record).take_while(fits).collect();
    commit.publish(index, names)?;
    Ok(report(Some(session), summary, clock::now(), errors))
}

/// Both parts of the manifest, but for roots, counts and failures.
pub fn parts(
    repository: &Repository,
    options: &BackupOptions,
    (session, series): (SnapshotId, &str),
    parents: &Parents,
    times: &Times,
) -> Result<(IndexPart, NamesPart)> {
    let LedgerRow { writer, sequence, previous, heads } = ledger(repository)?;
    let left_out =
        options.objects.iter().flat_map(|source| &source.exclude).map(|pattern| String::from_utf8_lossy(&pattern.text).into_owned());
    let index = IndexPart {
        snapshot: session,
        roots: Vec::new(),
        writer,
        sequence,
        previous,
        heads,
        time: options.time.unwrap_or(times.started),
        started: times.started,
        finished: times.finished,
        group: options.group,
        incomplete: false,
        extra: Vec::new(),
    };
    let names = NamesPart {
        series: series.to_owned(),
        host: options.host.clone(),
        user: options.user.clone(),
        uid: options.uid_gid.0,
        gid: options.uid_gid.1,
        paths: asked_for(options),
        excludes: options.excludes.iter().cloned().chain(left_out).collect(),
        tags: options.tags.clone(),
        description: options.description.clone(),
        program: options.program.clone(),
        parent: parents.snapshot.as_ref().map(|p| p.id),
        roots: Vec::new(),
        summary: Summary::default(),
        failures: Vec::new(),
        origin: None,
        without: options.walk.attributes.left_out(),
        extra: Vec::new(),
    };
    Ok((index, names))
}

fn roots(
    tree: Option<&TreeRoot>,
    (streams, ends): (Vec<(Content, u64)>, Vec<StreamEnd>),
    (tars, tar_ends): (Vec<Option<TreeRoot>>, Vec<StreamEnd>),
) -> Roots {
    let mut roots = Roots::default();
    tree.into_iter().for_each(|tree| roots.paths(tree));
    for (content, end) in streams.into_iter().zip(ends) {
        roots.stream(content, end.name, end.stream);
    }
    // An archive without entries is no tree.
    for (tree, end) in tars.into_iter().zip(tar_ends) {
        tree.iter().for_each(|tree| roots.tar(tree, end.name.clone(), end.stream.clone()));
    }
    roots
}

fn asked_for(options: &BackupOptions) -> Vec<Bytes> {
    let paths = options.as_path.iter().chain(options.paths.iter().filter(|_| options.as_path.is_none()));
    let paths = paths.map(|p| Bytes(p.as_os_str().as_bytes().to_vec()));
    let streams = options.names().map(|name| Bytes([b"/", name].concat()));
    paths.chain(streams).collect()
}

/// What failures may take in a manifest, bytes: the names of a tar archive's entries, which may be of any length, are among them.
const FAILURES_BYTES_MAX: usize = 2 << 20;

fn record(error: &SourceError) -> RecordedFailure {
    let path = Bytes(error.path.as_os_str().as_bytes().to_vec());
    RecordedFailure { path, during: error.during.to_owned(), message: error.source.to_string(), extra: Vec::new() }
}
