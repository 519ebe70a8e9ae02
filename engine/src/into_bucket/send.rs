//! Sending objects: one thread walks, several read, put and verify. An object that fails costs itself; a store or a repository that cannot be
//! reached ends the run.

use crate::error::{Error, Kind, Result, SourceError};
use crate::into_bucket::content::{WHOLE_BYTES, part_bytes, parts};
use crate::into_bucket::there::There;
use crate::into_bucket::{BucketReport, Run, Wanted};
use crate::observe::{Progress, Stage};
use crate::source::objects::attributes::{etag_of, to_headers};
use crate::store::s3::Bucket;
use crossbeam_channel::{Receiver, bounded, unbounded};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What became of an object.
struct Sent {
    key: String,
    bytes: u64,
    result: Result<()>,
}

/// Sends what the target does not have.
pub fn send(
    run: &Run<'_>,
    bucket: &Bucket,
    there: &There,
    (files_total, bytes_total): (u64, u64),
    threads: usize,
    report: &mut BucketReport,
) -> Result<()> {
    let (jobs_in, jobs_out) = bounded::<Wanted>(threads * 2);
    let (sent_in, sent_out) = unbounded::<Sent>();
    let stop = AtomicBool::new(false);
    let mut ended = Ok(());
    let walked = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, sent, stop) = (jobs_out.clone(), sent_in.clone(), &stop);
            scope.spawn(move || {
                for wanted in jobs {
                    let result =
                        if stop.load(Relaxed) || run.observer.interrupted() { Err(Error::Interrupted) } else { put(run, bucket, &wanted) };
                    let gone = sent.send(Sent { key: wanted.key, bytes: wanted.entry.size, result }).is_err();
                    if gone {
                        return;
                    }
                }
            });
        }
        drop((jobs_out, sent_in));
        let progress = |report: &BucketReport| Progress {
            stage: Stage::Working,
            files_done: report.sent.objects,
            bytes_done: report.sent.bytes,
            files_total,
            bytes_total,
            errors: report.error_count,
            ..Progress::default()
        };
        let mut take = |report: &mut BucketReport, wait: bool| loop {
            let Some(sent) = next(&sent_out, wait) else { return };
            if let Err(error) = one(run, report, sent) {
                stop.store(true, Relaxed);
                // The first counts: others are told to stop because of it.
                if ended.is_ok() {
                    ended = Err(error);
                }
            }
            run.observer.progress(&progress(report));
        };
        let walked = run.walk(report, false, |report, wanted| {
            take(report, false);
            if stop.load(Relaxed) {
                return Err(Error::Interrupted);
            }
            match there.is_same(&wanted.key)? {
                true => Ok(()),
                false => jobs_in.send(wanted).map_err(|_| Error::SelfCheck { what: "a sending thread" }),
            }
        });
        if walked.is_err() {
            stop.store(true, Relaxed);
        }
        drop(jobs_in);
        take(report, true);
        walked
    });
    // What ended the run is what a thread met, where one did; that the walk stopped is an echo of it.
    ended.and(walked)
}

fn next(sent: &Receiver<Sent>, wait: bool) -> Option<Sent> {
    if wait { sent.recv().ok() } else { sent.try_recv().ok() }
}

fn one(run: &Run<'_>, report: &mut BucketReport, Sent { key, bytes, result }: Sent) -> Result<()> {
    let error = match result {
        Ok(()) => {
            report.sent.objects += 1;
            report.sent.bytes += bytes;
            return Ok(());
        }
        Err(error) => error,
    };
    let own = error.kind() == Kind::Failed && !matches!(error, Error::SelfCheck { .. });
    let damage = error.kind() == Kind::Damage && run.options.keep_going;
    if !(own || damage) {
        return Err(error);
    }
    report.error(SourceError { path: PathBuf::from(key), during: "restore", source: io::Error::other(error.to_string()) }, run.observer);
    Ok(())
}

fn put(run: &Run<'_>, bucket: &Bucket, wanted: &Wanted) -> Result<()> {
    let Wanted { key, entry, content } = wanted;
    let headers = to_headers(&entry.xattrs);
    let Some(content) = content.as_ref().filter(|_| entry.size > 0) else { return bucket.put(key, Vec::new(), &headers) };
    if entry.size <= WHOLE_BYTES {
        let mut whole = Vec::new();
        parts(run.reader, content, entry, WHOLE_BYTES, |part| {
            whole = part;
            Ok(())
        })?;
        return bucket.put(key, whole, &headers);
    }
    let mut uploading = bucket.begin(key, &headers)?;
    parts(run.reader, content, entry, part_bytes(entry.size, etag_of(&entry.xattrs)), |part| {
        if run.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        uploading.part(part)
    })?;
    uploading.finish()
}
