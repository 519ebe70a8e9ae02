//! Backup: sources to chunks, chunks to packs, and one manifest at the end (spec chapter 7, steps B1 to B5).
//! One thread walks and reads long files, workers read small files, hash and compress, this thread deduplicates in order and
//! builds the trees, one thread packs and one waits for the disk. A failing source costs its entry; a failing repository ends the run.

mod assemble;
mod commit;
mod flow;
mod options;
mod parent;
mod reads;
mod work;

pub use options::{BackupOptions, BackupReport, Failure, ParentChoice, StreamSource};

use crate::backup::assemble::Assembler;
use crate::backup::flow::{Credits, Flow};
use crate::backup::parent::ParentJoin;
use crate::catalog::Snapshot;
use crate::clock;
use crate::error::Error;
use crate::id::SnapshotId;
use crate::index::Index;
use crate::observe::Observer;
use crate::pack::sink::{Sink, SinkOptions, Trouble, frame_channel, job_channel};
use crate::repository::{Access, Repository};
use crate::seal::random;
use crossbeam_channel::{bounded, unbounded};
use std::collections::HashMap;
use std::sync::Arc;

/// Packs that are complete and wait for the finisher.
const UPLOADS_QUEUED: usize = 2;

/// Makes a snapshot.
pub fn backup(repository: &Repository, options: BackupOptions, observer: &dyn Observer) -> Result<BackupReport, Failure> {
    let started = clock::now();
    repository.require_features(Access::Write)?;
    let base = usable_index(repository)?;
    let refresh = repository.refresh()?;
    for bad in &refresh.unreadable {
        observer.warning(&format!("snapshot {} cannot be read: {}", bad.id.short(), bad.error));
    }
    let series = options.series_name();
    let parent = choose_parent(repository, &options, &series)?;
    let reader = repository.reader_over(base.clone());
    let session = SnapshotId::new(random().map_err(Error::from)?);

    let trouble = Trouble::default();
    let put_segment = |segment: &_| repository.put_segment(segment);
    let targets =
        SinkOptions { compression: options.compression, data_pack_bytes: options.data_pack_bytes, meta_pack_bytes: options.meta_pack_bytes() };
    let sink = Sink::new(repository.store(), repository.keys(), targets, (repository.writer(), session), &put_segment, &trouble);
    let threads = options.threads();
    let (jobs_in, jobs_out) = job_channel();
    let (frames_in, frames_out) = frame_channel();
    let (uploads_in, uploads_out) = bounded(UPLOADS_QUEUED);
    let (todo_in, todo_out) = bounded(threads * 2);
    let (done_in, done_out) = unbounded();
    let credits = Credits::new(&trouble);

    let run = std::thread::scope(|scope| {
        scope.spawn(|| sink.finish_packs(&uploads_out));
        let packer = &sink;
        scope.spawn(move || packer.pack(&frames_out, uploads_in));
        for _ in 0..threads {
            let (jobs, todo, frames, done) = (jobs_out.clone(), todo_out.clone(), frames_in.clone(), done_in.clone());
            let sink = &sink;
            scope.spawn(move || work::run(repository, sink, &jobs, todo, &frames, &done));
        }
        drop((jobs_out, todo_out, frames_in));
        let mut assembler = Assembler::new(repository, &sink, jobs_in, base.clone(), &options, observer);
        let flow = Flow { todo: todo_in, done: done_in, credits: &credits, trouble: &trouble };
        let join = ParentJoin::new(&reader, parent.as_ref(), &options);
        let options = &options;
        let source = scope.spawn(move || reads::run(repository, options, join, flow, observer));
        let assembled = assembler.run(&done_out, &credits, &trouble);
        if assembled.is_err() {
            // The other threads stop when they see it; what they say then is only an echo.
            trouble.stop();
        }
        // A thread that panics is a bug, and it must not pass for a finished backup.
        let source = source.join().map_err(|_| Failure::from(Error::SelfCheck { what: "the reading thread" }))?;
        let assembled = assembled.map(|()| assembler.finish());
        match (source, trouble.take(), assembled) {
            (Err(failure), _, _) => Err(failure),
            (_, Some(error), _) | (_, _, Err(error) | Ok(Err(error))) => Err(error.into()),
            (Ok(ends), None, Ok(Ok(assembled))) => Ok((ends, assembled)),
        }
    });
    // Packer and finisher ended with the scope: their failures count too, before anything is acknowledged.
    if let Some(error) = trouble.take() {
        return Err(error.into());
    }
    let (ends, assembled) = run?;
    let times = commit::Times { started, finished: clock::now() };
    commit::commit(repository, &options, commit::Made { session, series, parent, times, ends, assembled, written: sink.written() }, observer)
}

/// The index, with the packs marked that a new snapshot may rely on: those that the store lists at their full length and
/// that no record names (B1). Packs that no segment names yet (a killed run's) are taken in by their footers.
fn usable_index(repository: &Repository) -> Result<Arc<Index>, Error> {
    let condemned = repository.condemned()?;
    let mut index = Index::default();
    index.add(repository.read_segments()?);
    let mut listed: HashMap<_, u64> = HashMap::new();
    for class in crate::id::Class::ALL {
        for object in repository.store().list(class.folder())? {
            if let Some((class, id)) = object.name.as_pack() {
                if !index.knows_pack(&id) && !condemned.contains(&id) {
                    repository.adopt_pack(&mut index, class, &id, object.bytes);
                }
                listed.insert(id, object.bytes);
            }
        }
    }
    index.set_usable(|pack| listed.get(&pack.id) == Some(&pack.bytes) && !condemned.contains(&pack.id));
    Ok(Arc::new(index))
}

fn choose_parent(repository: &Repository, options: &BackupOptions, series: &str) -> Result<Option<Snapshot>, Error> {
    match &options.parent {
        ParentChoice::None => Ok(None),
        ParentChoice::Newest => repository.catalog().newest(series, &options.host),
        ParentChoice::Snapshot(selector) => Ok(Some(repository.select(selector, &Default::default())?.snapshot)),
    }
}
