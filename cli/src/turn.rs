//! Copies into one repository take turns on a machine, and so do rewrites of one: of two that plan at the same time each would bring every
//! snapshot, under an id of its own. Machines do not wait for each other; what they both bring is there twice, of the same chunks.

use crate::exit::{Code, Fail};
use crate::open::Opened;
use crate::output::Output;
use crate::signals;
use std::fs::{File, TryLockError};
use std::time::Duration;

/// How often is looked whether the other one has ended.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// What takes turns.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// A copy into the repository.
    Copy,
    /// Sealing it anew.
    Rewrite,
}

/// Until this is dropped nothing else of its kind on this machine is at the same repository. The system gives it back for a process that was killed.
pub struct Turn(#[expect(dead_code, reason = "it is closed at the end")] Option<File>);

/// Waits for it. Without a cache, or where a file system knows no locks, nobody waits.
pub fn take(target: &Opened, work: Work, out: &Output) -> Result<Turn, Fail> {
    let (file, other, stopped) = match work {
        Work::Copy => ("copy.lock", "another copy into", "interrupted, 0 snapshots copied"),
        Work::Rewrite => ("rewrite.lock", "another rewrite of", "interrupted, nothing was sealed anew"),
    };
    let Some(cache) = target.repository.cache_directory() else { return Ok(Turn(None)) };
    let Ok(file) = File::create(cache.join(file)) else { return Ok(Turn(None)) };
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Turn(Some(file))),
            Err(TryLockError::Error(_)) => return Ok(Turn(None)),
            Err(TryLockError::WouldBlock) if signals::interrupted() => {
                return Err(Fail::new(Code::Interrupted, stopped));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !waits {
            out.warn(&format!("{other} {} is under way on this machine: waiting for its end", target.place.text()));
            waits = true;
        }
        std::thread::sleep(LOOKS_EVERY);
    }
}
