//! Copies into another key family: everything is opened and sealed anew, under other chunk ids.

use crate::catalog::Snapshot;
use crate::copy::{CopyOptions, CopyReport};
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::replant::{ReplantOptions, Session, foreign};
use crate::repository::Repository;

/// Copies snapshots, oldest first. One of which the source has lost something is said, and the others are copied.
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
    let mut session = Session::new(to, replant, observer)?;
    for snapshot in snapshots {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let copied = match foreign::copy(&mut session, from, snapshot, observer) {
            Err(error) if error.is_damage() && !session.is_spoilt() => {
                report.failed.push((snapshot.id, error));
                continue;
            }
            copied => copied?,
        };
        report.packs_written += copied.written.packs;
        report.bytes_written += copied.written.pack_bytes;
        if let Some(id) = copied.id {
            report.copied.push((snapshot.id, id));
        }
    }
    Ok(())
}
