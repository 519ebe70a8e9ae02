//! What cannot be had of a damaged pack of the source: a byte that changed costs the frame that it lies in, and nothing else of the pack.

use crate::error::{Damage, Error, Result};
use crate::id::{Class, PackId};
use crate::pack::bits::Bits;
use crate::pack::{FrameDecoder, OpenPack};
use crate::repository::Repository;
use crate::store::reread;

/// A damaged pack.
pub struct Broken {
    /// What was found first.
    damage: Damage,
    /// The chunks that lie in frames which are not what they were; `None`: nothing of it can be had.
    chunks: Option<Bits>,
}

impl Broken {
    /// Nothing of it can be had.
    pub fn whole(damage: Damage) -> Self {
        Broken { damage, chunks: None }
    }

    /// Why a chunk of it cannot be had; `None` where it can.
    pub fn why_not(&self, chunk: usize) -> Option<&Damage> {
        self.chunks.as_ref().is_none_or(|chunks| chunks.has(chunk)).then_some(&self.damage)
    }

    /// What is known of a pack that was looked at before and out of which something could not be taken all the same: that nobody can tell.
    pub fn again(self) -> Self {
        Broken::whole(self.damage)
    }
}

/// Reads a pack in which `damage` was found, frame by frame. `go_on` says between two of them whether to.
pub fn examine(from: &Repository, class: Class, id: &PackId, damage: Damage, go_on: &dyn Fn() -> bool) -> Result<Broken> {
    let store = from.store();
    let pack = match OpenPack::open(store, from.keys(), class, id) {
        Ok(pack) => pack,
        // Without its footer nobody finds a frame in it.
        Err(error) if is_closed(&error) => return Ok(Broken::whole(damage)),
        Err(error) => return Err(error),
    };
    let (mut stored, mut plain, mut decoder, mut chunks) = (Vec::new(), Vec::new(), FrameDecoder::default(), Bits::default());
    for (number, span) in (0..).zip(&pack.table.frames) {
        if !go_on() {
            return Err(Error::Interrupted);
        }
        let read = reread(store, &pack.name, || {
            pack.frame(store, number, &mut stored, &mut decoder, &mut plain)?;
            pack.verify(number, &plain, from.ids())
        });
        match read {
            Ok(()) => {}
            // A collection took it away meanwhile, or its key is not here: then only the whole pack could be verified, by its name.
            Err(error) if error.is_missing() || matches!(error, Error::UnknownFeature { .. }) => return Ok(Broken::whole(damage)),
            Err(error) if error.is_damage() => span.chunks().for_each(|chunk| chunks.set(chunk)),
            Err(error) => return Err(error),
        }
    }
    Ok(Broken { damage, chunks: Some(chunks) })
}

fn is_closed(error: &Error) -> bool {
    error.is_damage() || matches!(error, Error::UnknownFeature { .. } | Error::EpochUnknown { .. })
}
