//! What a run that makes a snapshot may rely on (spec chapter 7, B1): the index, without packs that records name, that the store does not
//! show whole, or in which a check found damage. Whoever makes snapshots begins with it: a backup, a copy, a rewrite.

use crate::error::{Error, Result};
use crate::id::{Class, ObjectName, PackId};
use crate::index::{Index, IndexPack, build_segment};
use crate::observe::Observer;
use crate::repository::{Records, Repository, Segments, Trust};
use crate::store::{Listed, beside, each, there};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Packs that are asked for one by one when a listing does not show them.
const LOOKED_AT_MAX: usize = 1000;
/// Packs of killed runs that one segment takes: at most 2^20 chunks in most cases.
const ORPHANS_PER_SEGMENT: usize = 64;

/// What a run may rely on (B1).
pub struct Usable {
    /// The index, with the packs marked in which chunks count as stored.
    pub index: Arc<Index>,
    /// The records that were looked at.
    pub records: Records,
    /// Packs that the index names, no record names, and that are not there or damaged all the same.
    pub lost: HashSet<PackId>,
    /// What lies in the folder of pending manifests.
    pub pendings: Vec<Listed>,
    /// Packs that no segment named, and that one names now; a dry run would have put it.
    pub indexed: u64,
}

/// The index, with the packs marked that a new snapshot may rely on: those that the store lists at their full length and
/// that no record names (B1). Packs that no segment names yet (a killed run's) get one now, so that nothing is stored twice.
pub fn usable_index(repository: &Repository, dry_run: bool, observer: &dyn Observer) -> Result<Usable> {
    // In any order, so at once where that saves time: named is for ever, and a pack that a record names later than this is found by the
    // CHECK before the commit.
    let store = repository.store();
    let folders: Vec<&str> = Class::ALL.iter().map(|class| class.folder()).chain(["pending"]).collect();
    let (records, (segments, listings)) = beside(
        store,
        || repository.records(&Records::default()),
        || beside(store, || repository.read_segments(), || each(store, &folders, |folder| store.list(folder))),
    );
    let (records, Segments { good, damaged }) = (records?, segments?);
    for error in &damaged {
        // Its packs are taken for orphans below, so that the index heals by itself.
        observer.warning(&format!("{error}; its packs are indexed anew"));
    }
    let mut index = Index::new(good);
    let mut listed: HashMap<PackId, u64> = HashMap::new();
    let (mut unknown, mut pendings) = (Vec::new(), Vec::new());
    for listing in listings {
        let objects = match listing {
            Ok(objects) => objects,
            // What is not seen is stored again, at worst: that costs space, no backup.
            Err(error @ Error::ListIncomplete { .. }) => {
                observer.warning(&error.to_string());
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for object in objects {
            let Some((class, id)) = object.name.as_pack() else {
                pendings.push(object);
                continue;
            };
            if !index.knows_pack(&id) && !records.name(&id) {
                unknown.push((class, id, object.bytes));
            }
            listed.insert(id, object.bytes);
        }
    }
    // With a damaged segment nobody can tell which packs it named: to read all of them could mean to read all of the repository.
    let trust = if damaged.is_empty() { Trust::Bytes } else { Trust::Footer };
    let orphans = repository.orphan_packs(&unknown, trust)?;
    look_again(repository, &index, &records, &mut listed)?;
    for batch in orphans.chunks(ORPHANS_PER_SEGMENT) {
        let segment = build_segment(batch);
        // Published before anything relies on it: deduplication is only ever against indexed packs.
        if !dry_run {
            repository.put_segment(&segment)?;
        }
        index.add(vec![segment]);
    }
    // Bit-rot keeps a pack's length. What a check found is stored anew, from the source, by whoever still has it.
    let suspects = repository.catalog().suspects()?;
    let sound = |pack: &IndexPack| listed.get(&pack.id) == Some(&pack.bytes) && !suspects.contains(&pack.id);
    let lost = index.packs().iter().filter(|pack| !sound(pack) && !records.name(&pack.id)).map(|pack| pack.id).collect();
    index.set_usable(|pack| sound(pack) && !records.name(&pack.id));
    Ok(Usable { index: Arc::new(index), records, lost, pendings, indexed: orphans.len() as u64 })
}

/// Asks for the packs that segments name and a listing of a remote store did not show: listings have been short and said that they were
/// whole, and only an answer about the pack itself makes it lost. Where too many are missing they are stored again instead.
fn look_again(repository: &Repository, index: &Index, records: &Records, listed: &mut HashMap<PackId, u64>) -> Result<()> {
    if repository.store().traffic().is_none() {
        return Ok(());
    }
    let unseen: Vec<_> = index.packs().iter().filter(|pack| !listed.contains_key(&pack.id) && !records.name(&pack.id)).collect();
    if unseen.len() > LOOKED_AT_MAX {
        return Ok(());
    }
    let names = unseen.iter().map(|pack| ObjectName::pack(pack.class, &pack.id)).collect();
    listed.extend(there(repository.store(), names)?.into_iter().filter_map(|object| Some((object.name.as_pack()?.1, object.bytes))));
    Ok(())
}
