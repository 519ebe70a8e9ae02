//! Copies into one repository take turns on a machine: of two that plan at the same time each would bring every snapshot, under an id of its
//! own. Machines do not wait for each other; what they both bring is there twice, of the same chunks.

use crate::exit::{Code, Fail};
use crate::open::Opened;
use crate::output::Output;
use crate::signals;
use std::fs::{File, TryLockError};
use std::time::Duration;

/// How often is looked whether the other one has ended.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// Until this is dropped no other copy of this machine goes into the same repository. The system gives it back for a process that was killed.
pub struct Turn(#[expect(dead_code, reason = "it is closed at the end")] Option<File>);

/// Waits for it. Without a cache, or where a file system knows no locks, nobody waits.
pub fn take(target: &Opened, out: &Output) -> Result<Turn, Fail> {
    let Some(cache) = target.repository.cache_directory() else { return Ok(Turn(None)) };
    let Ok(file) = File::create(cache.join("copy.lock")) else { return Ok(Turn(None)) };
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Turn(Some(file))),
            Err(TryLockError::Error(_)) => return Ok(Turn(None)),
            Err(TryLockError::WouldBlock) if signals::interrupted() => {
                return Err(Fail::new(Code::Interrupted, "interrupted, 0 snapshots copied"));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !waits {
            out.warn(&format!("another copy into {} is under way on this machine: waiting for its end", target.place.text()));
            waits = true;
        }
        std::thread::sleep(LOOKS_EVERY);
    }
}
