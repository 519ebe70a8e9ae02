//! Packs that go as they are: streamed, hashed on the way, and published only under the name that is their hash, and only where the target
//! opens all of them with its own keys. It obeys spec chapter 7.

use crate::copy::plan::{RawPack, all_open};
use crate::error::{Damage, Error, Result};
use crate::index::NewPack;
use crate::pack::OpenPack;
use crate::repository::Repository;

/// What is read of a pack at a time.
const STEP_BYTES: u64 = 4 << 20;
/// What is kept of its end: the footers of most packs.
const TAIL_BYTES: usize = 1 << 20;

/// What became of a pack.
pub enum Sent {
    /// It is durable in the target.
    Done(NewPack),
    /// The target's keys do not open it: its frames must be taken one by one.
    Sealed,
    /// The source has lost it, or some of it.
    Broken(Damage),
}

/// Sends a pack. `go_on` is told of bytes as they have been read and written, and says whether to go on.
pub fn send(from: &Repository, to: &Repository, pack: &RawPack, go_on: &dyn Fn(u64) -> bool) -> Result<Sent> {
    match try_to_send(from, to, pack, go_on)? {
        // It may have gone wrong on the way, or in a copy.
        Sent::Broken(_) if from.store().distrust(&pack.name()) => try_to_send(from, to, pack, go_on),
        sent => Ok(sent),
    }
}

fn try_to_send(from: &Repository, to: &Repository, pack: &RawPack, go_on: &dyn Fn(u64) -> bool) -> Result<Sent> {
    let name = pack.name();
    // Dropped where it does not come to its end: then nothing of it is ever seen.
    let mut upload = to.store().begin()?;
    let mut hasher = blake3::Hasher::new();
    let (mut step, mut tail, mut at) = (Vec::new(), Vec::new(), 0);
    while at < pack.bytes {
        let end = pack.bytes.min(at + STEP_BYTES);
        match from.store().get_range(&name, at..end, &mut step) {
            Err(Error::Damaged { damage, .. }) => return Ok(Sent::Broken(damage)),
            read => read?,
        }
        hasher.update(&step);
        upload.write(&step)?;
        keep_tail(&mut tail, &step);
        if !go_on(end - at) {
            return Err(Error::Interrupted);
        }
        at = end;
    }
    if hasher.finalize().as_bytes() != pack.id.as_bytes() {
        return Ok(Sent::Broken(Damage::Name));
    }
    // With the target's keys: who has only these has to open it, for ever. A footer that is longer than what was kept is read again.
    let opened = OpenPack::from_suffix(to.keys(), name.clone(), pack.class, &tail, pack.bytes)
        .or_else(|_| OpenPack::open(from.store(), to.keys(), pack.class, &pack.id));
    match opened {
        Ok(opened) if all_open(&opened) => {
            upload.finish(&name)?;
            Ok(Sent::Done(NewPack::new(pack.class, pack.id, pack.bytes, &opened.table.footer.ids.0)))
        }
        Ok(_) => Ok(Sent::Sealed),
        // It is what its name says, so that what does not open is not damage on the way.
        Err(Error::Damaged { .. } | Error::UnknownFeature { .. }) => Ok(Sent::Sealed),
        Err(error) => Err(error),
    }
}

fn keep_tail(tail: &mut Vec<u8>, step: &[u8]) {
    let room = TAIL_BYTES.saturating_sub(step.len());
    tail.drain(..tail.len().saturating_sub(room));
    tail.extend_from_slice(step.get(step.len().saturating_sub(TAIL_BYTES)..).unwrap_or(step));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_went_by_is_kept() {
        let all: Vec<u8> = (0..5u32 << 20).map(|n| (n % 251) as u8).collect();
        for steps in [100_000, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 1, all.len()] {
            let mut tail = Vec::new();
            all.chunks(steps).for_each(|step| keep_tail(&mut tail, step));
            assert!(tail == all[all.len() - TAIL_BYTES..], "{steps}");
        }
        let mut short = Vec::new();
        keep_tail(&mut short, b"ab");
        keep_tail(&mut short, b"c");
        assert_eq!(short, b"abc");
    }
}
