//! Backup: sources to chunks, chunks to packs, and one manifest at the end (spec chapter 7, steps B1 to B5).
//! One thread walks and reads long files, workers read small files, hash and compress, this thread deduplicates in order and
//! builds the trees, one thread packs and one waits for the disk. A failing source costs its entry; a failing repository ends the run.

mod also;
mod as_path;
mod assemble;
mod commit;
mod flow;
mod listing;
mod marks;
mod members;
mod options;
mod parent;
mod reads;
mod totals;
mod work;

pub use crate::repository::selection::Pattern;
pub use options::{BackupOptions, BackupReport, Failure, ObjectSource, ParentChoice, StreamSource};

use crate::backup::also::Also;
use crate::backup::assemble::{Assembler, Compared};
use crate::backup::flow::{Credits, Flow};
use crate::backup::marks::Marks;
use crate::backup::parent::Parents;
use crate::backup::totals::Totals;
use crate::buffers::Buffers;
use crate::clock;
use crate::commit::{Commit, Known, usable_index};
use crate::error::Error;
use crate::faults;
use crate::format::entry::split;
use crate::format::manifest::stream_name_is_valid;
use crate::format::segment::Segment;
use crate::id::{Class, SnapshotId};
use crate::observe::Observer;
use crate::pack::sink::{FRAMES_QUEUED, PanicGuard, Sink, SinkOptions, Trouble, job_channel};
use crate::repository::{Access, Repository};
use crate::seal::random;
use crate::source::Completer;
use crate::store::Store;
use crossbeam_channel::{bounded, unbounded};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes a snapshot.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{BackupOptions, Silent, StreamSource, backup};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let home = example::home()?;
/// // A tree, and beside it what a command prints. If the command fails there is no snapshot: half a dump is none.
/// let options = BackupOptions {
///     paths: vec![home.path().to_path_buf()],
///     streams: vec![StreamSource::command("shop.sql", "echo 'CREATE TABLE book;'")],
///     series: Some("shop".to_owned()),
///     tags: vec!["nightly".to_owned()],
///     ..BackupOptions::default()
/// };
/// let report = backup(&repository, options, &Silent)?;
/// // Files that could not be read cost themselves, not the snapshot.
/// assert!(report.errors.is_empty());
/// assert_eq!(report.summary.files_new, 2);
/// # Ok(())
/// # }
/// ```
pub fn backup(repository: &Repository, options: BackupOptions, observer: &dyn Observer) -> Result<BackupReport, Failure> {
    backup_also(repository, &[], options, observer)
}

/// Makes a snapshot, and sends what is new to `others` of the same key family too, while it is made: what is read is cut, compressed and
/// sealed once for all of them. The snapshot is not committed there: [`copy`](crate::copy::copy) does that, and finds the packs. One that
/// fails drops out with a warning.
pub fn backup_also(
    repository: &Repository,
    others: &[&Repository],
    options: BackupOptions,
    observer: &dyn Observer,
) -> Result<BackupReport, Failure> {
    let started = clock::now();
    repository.require_features(Access::Write)?;
    check_names(&options)?;
    // Killed runs leave up to a pack each. What cannot be removed is no reason not to back up.
    if !options.dry_run {
        repository.store().sweep().map(|_| ()).unwrap_or(());
    }
    let usable = usable_index(repository, options.dry_run, observer)?;
    let (base, records) = (usable.index, usable.records);
    // Without notes: who runs every hour pays for no edited tags.
    let refresh = repository.refresh_manifests()?;
    for bad in &refresh.unreadable {
        observer.warning(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error));
    }
    if let Some(error) = &refresh.uncached {
        observer.warning(&format!("{error}; going on without a cache"));
    }
    if refresh.unlisted > 0 {
        observer.warning(&format!("the store's listing leaves out {} snapshots that are there", refresh.unlisted));
    }
    let series = options.series_name();
    let committed = repository.catalog().ids()?;
    let parents = Parents::choose(repository, &options, &series, (&committed, usable.pendings))?;
    if let Some(pending) = &parents.pending {
        observer.remark(&format!("going on where run {} stopped, which did not end", pending.id.short()));
    }
    let reader = repository.reader_over(base.clone());
    let session = match &parents.pending {
        Some(pending) if faults::seeded("same-id") => pending.id,
        _ => SnapshotId::new(random()?),
    };

    let trouble = Trouble::default();
    let commit = Mutex::new(Commit::new(repository, session, Known { records: Some(records), lost: usable.lost }, observer));
    let times = commit::Times { started, finished: started };
    let marks = Marks::new(&options, commit::parts(repository, &options, (session, &series), &parents, &times)?);
    let own: Mutex<Vec<Segment>> = Mutex::default();
    let also = Also::new(repository, if options.dry_run { &[] } else { others }, observer);
    let fan = also.fan(repository.store());
    let put_segment = |segment: &Segment| {
        let bytes = repository.put_segment(segment)?;
        also.put_segment(segment);
        own.lock().unwrap_or_else(PoisonError::into_inner).extend(segment.only(|pack| pack.class != Class::Data));
        Ok(bytes)
    };
    let reached = |number| match marks.take(number) {
        Some((index, names)) => commit.lock().unwrap_or_else(PoisonError::into_inner).pending(&index, &names),
        None => Ok(()),
    };
    let targets = SinkOptions {
        compression: options.compression,
        data_pack_bytes: options.data_pack_bytes,
        meta_pack_bytes: options.meta_pack_bytes(),
    };
    // For one repository alone all is as it was.
    let store: &dyn Store = if also.is_empty() { repository.store() } else { &fan };
    let sink = Sink::new(store, repository.keys(), targets, (repository.writer(), session), (&put_segment, &reached), &trouble);
    let threads = options.threads();
    let (jobs_in, jobs_out) = job_channel(FRAMES_QUEUED);
    let (todo_in, todo_out) = bounded(threads * 2);
    let (done_in, done_out) = unbounded();
    let credits = Credits::new(&trouble);
    let segments = Buffers::default();
    let totals = Totals::default();
    // Of a series that has a snapshot that tells about how much there is. How long a stream or an archive is nobody can count.
    let counts = observer.wants_totals() && parents.snapshot.is_none() && options.names().next().is_none();

    let run: Result<_, Failure> = std::thread::scope(|scope| {
        let _stop = StopOnPanic(&trouble);
        let frames = sink.start(scope, FRAMES_QUEUED);
        for _ in 0..threads {
            let (jobs, todo, frames, done) = (jobs_out.clone(), todo_out.clone(), frames.clone(), done_in.clone());
            let (sink, completer) = (&sink, Completer::only(options.walk.attributes));
            scope.spawn(move || work::run((repository, completer), sink, &jobs, todo, &frames, done));
        }
        drop((jobs_out, todo_out, frames));
        let compared = Compared { reader: &reader, parents: &parents, options: &options };
        let mut assembler = Assembler::new(repository, (&sink, &segments, &marks, &totals), jobs_in, base.clone(), compared, observer);
        let flow = Flow { todo: todo_in, done: done_in, credits: &credits, trouble: &trouble, segments: &segments };
        let options = &options;
        if counts {
            let (totals, trouble) = (&totals, &trouble);
            scope.spawn(move || totals.count(options, trouble, observer));
        }
        let source = scope.spawn(move || reads::run(repository, compared, flow, observer));
        let _guard = PanicGuard(&trouble);
        let assembled = assembler.run(&done_out, &credits, &trouble);
        totals.stop();
        if assembled.is_err() {
            // The other threads stop when they see it; what they say then is only an echo.
            trouble.stop();
        }
        // A thread that panics is a bug, and it must not pass for a finished backup.
        let source = source.join().map_err(|_| Failure::from(Error::SelfCheck { what: "the reading thread" }))?;
        let assembled = assembled.map(|()| assembler.finish());
        Ok((source, assembled))
    });
    // Packer and finisher ended with the scope: their failures count too, before anything is acknowledged. What is said is the
    // first real failure: a thread that was told to stop says `Interrupted`, which is only an echo of it.
    let real = |error: &Error| !matches!(error, Error::Interrupted);
    let run = match (run, trouble.take()) {
        (_, Some(error)) if real(&error) => Err(error.into()),
        (Err(failure), _) => Err(failure),
        (Ok((_, Err(error))), _) if real(&error) => Err(error.into()),
        (Ok((Err(failure), _)), _) => Err(failure),
        (Ok((_, Err(error))), _) | (_, Some(error)) => Err(error.into()),
        (Ok((Ok(ends), Ok(assembled))), None) => Ok((ends, assembled)),
    };
    let (ends, assembled) = run?;
    // Every pack is durable now; the last segment names those that none names yet.
    sink.finish()?;
    also.tell(observer);
    let written = sink.written();
    let times = commit::Times { started, finished: clock::now() };
    let commit = commit.into_inner().unwrap_or_else(PoisonError::into_inner);
    let resumed = parents.pending.as_ref().map(|pending| pending.id).filter(|_| faults::seeded("resumer-deletes"));
    let mut report =
        commit::commit(repository, &options, commit::Made { session, commit, series, parents, times, ends, assembled, written })?;
    if let Some(resumed) = resumed {
        let pendings = repository.store().list("pending")?.into_iter().map(|listed| listed.name);
        pendings
            .filter(|name| name.as_pending().is_some_and(|(id, _)| id == resumed))
            .try_for_each(|name| repository.store().delete(&name))?;
    }
    if report.snapshot.is_some() {
        drop(reader);
        // Nobody else has it any more: to add to it costs what is added.
        report.trees = Arc::into_inner(base).map(|mut index| {
            index.add(own.into_inner().unwrap_or_else(PoisonError::into_inner));
            Arc::new(index)
        });
    }
    Ok(report)
}

/// A thread that panics (an observer's bug is enough) gives no credit back: the reading thread would wait for it for ever.
struct StopOnPanic<'a>(&'a Trouble);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Refuses names of streams, tar archives and buckets that no reader would take back, or that would lie in each other: a manifest with one
/// would not open, or not restore.
fn check_names(options: &BackupOptions) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::Option { what });
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut seen = HashSet::new();
    let named = || options.trees().filter(|name| !name.is_empty());
    let all = || options.streams.iter().map(|stream| &stream.name[..]).chain(named());
    for name in all() {
        if !stream_name_is_valid(name) {
            return wrong(format!("`{}` cannot be the name of a stream: it must be a path without `..` and leading `/`", shown(name)));
        }
        if !seen.insert(name) {
            return wrong(format!("two streams are called `{}`", shown(name)));
        }
    }
    for name in all() {
        let mut above = split(name).0;
        while !above.is_empty() {
            if seen.contains(above) {
                return wrong(format!("the stream `{}` would have to lie in the stream `{}`", shown(name), shown(above)));
            }
            above = split(above).0;
        }
    }
    // Each tree has the directory at its top to itself.
    let top = |name: &[u8]| name.split(|b| *b == b'/').next().unwrap_or_default().to_vec();
    let mut tops = HashSet::new();
    if let Some(twice) = named().map(top).find(|top| !tops.insert(top.clone())) {
        let what = if options.objects.is_empty() { "two tar archives" } else { "two of the tar archives and buckets" };
        return wrong(format!("{what} would lie in `{}`: give them names that begin otherwise", shown(&twice)));
    }
    let sources = options.names().count() + options.paths.len();
    if sources > 1 && options.trees().any(<[u8]>::is_empty) {
        return wrong("a tar archive or a bucket beside other sources needs a name".to_owned());
    }
    Ok(())
}
