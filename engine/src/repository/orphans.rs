//! Packs that no segment names: a killed run's, or those of a segment that does not open. Their footers say what is in them.
//! A footer that opens must not vouch for the bytes before it where new snapshots will rely on them.

use crate::error::{Kind, Result};
use crate::id::{Class, PackId};
use crate::index::Index;
use crate::pack::OpenPack;
use crate::pack::writer::NewPack;
use crate::repository::Repository;
use crate::store::{Listed, each};

/// Packs of a remote store that are read whole at the same time: each holds a few MiB.
const WHOLE_AT_ONCE: usize = 4;

/// What is believed of a pack without a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// What its footer says: whoever reads a chunk verifies it, and a pack that a segment has named was acknowledged.
    Footer,
    /// Only that its bytes are those that its name is the hash of. No segment ever named it, so nobody may have heard that it arrived well: a
    /// store may refuse a body and keep it all the same, and the run that would have removed it was killed.
    Bytes,
}

/// A pack as a listing shows it: class, id, length.
pub type Shown = (Class, PackId, u64);

impl Repository {
    /// Reads packs that no segment names, for segments of their own. Those that do not open, or are not what `trust` asks for, are left out:
    /// `check` speaks of them.
    #[doc(hidden)]
    pub fn orphan_packs(&self, packs: &[Shown], trust: Trust) -> Result<Vec<NewPack>> {
        // A disk's packs have their names from who had them durable before.
        let whole = trust == Trust::Bytes && self.origin().traffic().is_some();
        let at_once = if whole { WHOLE_AT_ONCE } else { packs.len().max(1) };
        let mut orphans = Vec::new();
        for some in packs.chunks(at_once) {
            for orphan in each(self.store(), some, |pack| self.orphan_pack(*pack, whole)) {
                orphans.extend(orphan?);
            }
        }
        Ok(orphans)
    }

    fn orphan_pack(&self, (class, id, bytes): Shown, whole: bool) -> Result<Option<NewPack>> {
        let opened = OpenPack::open(self.store(), self.keys(), class, &id).and_then(|pack| {
            let sound = !whole || pack.is_what_its_name_says(self.origin(), &id)?;
            Ok(sound.then_some(pack))
        });
        let pack = match opened {
            Ok(Some(pack)) => pack,
            Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Interrupted | Kind::Configuration) => return Err(error),
            Ok(None) | Err(_) => return Ok(None),
        };
        // Before any segment names it: its run may have died between the name and the fsync of its folder.
        self.store().settle(&pack.name)?;
        Ok(Some(NewPack::new(class, id, bytes, &pack.table.footer.ids.0)))
    }

    /// The packs that the store lists and `index` does not know.
    #[doc(hidden)]
    pub fn orphans(&self, index: &Index, trust: Trust) -> Result<Vec<NewPack>> {
        let mut orphans = Vec::new();
        for class in Class::ALL {
            let listed = self.store().list(class.folder())?;
            let unknown = |object: &Listed| {
                let (class, id) = object.name.as_pack().filter(|(_, id)| !index.knows_pack(id))?;
                Some((class, id, object.bytes))
            };
            orphans.extend(self.orphan_packs(&listed.iter().filter_map(unknown).collect::<Vec<_>>(), trust)?);
        }
        Ok(orphans)
    }
}
