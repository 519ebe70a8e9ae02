//! Copies into another key family: everything is opened and sealed anew, under other chunk ids.

use crate::catalog::Snapshot;
use crate::copy::{CopyOptions, CopyReport, OVERTAKEN_MAX};
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::replant::{ReplantOptions, Session, foreign};
use crate::repository::Repository;

/// Copies snapshots, oldest first. One of which the source has lost something, or that was forgotten there and collected meanwhile, is said,
/// and the others are copied.
pub fn copy_all(
    from: &Repository,
    to: &Repository,
    snapshots: &[Snapshot],
    report: &mut CopyReport,
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<()> {
    let replant = ReplantOptions {
        data_pack_bytes: options.data_pack_bytes,
        threads: options.threads,
        dry_run: options.dry_run,
        ..Default::default()
    };
    // One for all: what the first snapshot has brought the next need not.
    let mut session = Session::new(to, replant.clone(), observer)?;
    let (mut left, mut overtaken) = (snapshots.iter().peekable(), 0);
    while let Some(snapshot) = left.peek().copied() {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        match foreign::copy(&mut session, from, snapshot, observer) {
            Ok(copied) => {
                report.packs_written += copied.written.packs;
                report.bytes_written += copied.written.pack_bytes;
                report.copied.extend(copied.id.map(|id| (snapshot.id, id)));
            }
            // What a collection there has condemned, and deleted, is brought again: by a session that looks at everything anew.
            Err(Error::Overtaken) if overtaken < OVERTAKEN_MAX => {
                overtaken += 1;
                session = Session::new(to, replant.clone(), observer)?;
                continue;
            }
            Err(Error::WasForgotten { snapshot }) => report.forgotten.push(snapshot),
            Err(error) if error.is_damage() && !session.is_spoilt() => report.failed.push((snapshot.id, error)),
            Err(error) => return Err(error),
        }
        left.next();
    }
    Ok(())
}
