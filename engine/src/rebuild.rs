//! Rebuild: the index from the footers of packs, the catalog from the manifests (DESIGN section 1, promise 2).
//! Works when the old index is gone or damaged. Where it is whole two things are taken from it: the names of packs, to ask for those that
//! the listing leaves out, and what is in packs that lie in an archive, which only it can tell. Loses no pack to a running backup.

use crate::error::{Damage, Error, Kind, Result};
use crate::format::object::ObjectType;
use crate::format::segment::ENTRY_BYTES;
use crate::id::{Class, ObjectName};
use crate::index::build_segment;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::OpenPack;
use crate::pack::writer::NewPack;
use crate::paths::PathIndex;
use crate::repository::{Access, Repository, Unreadable};
use crate::store::{Listed, each_busy, there};
use std::collections::{BTreeSet, HashSet};

/// Chunks of one new segment: bounds the memory of building it to some 40 MiB.
const SEGMENT_CHUNKS: usize = 1 << 19;
/// Footers that are read at once.
const PACKS_BATCH: usize = 64;

/// What a rebuild did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RebuildReport {
    /// Packs that the index names now.
    pub packs: u64,
    /// Their chunks; one in two packs counts twice.
    pub chunks: u64,
    /// Segments that were written.
    pub segments: u64,
    /// Old segments that were removed.
    pub removed: u64,
    /// Packs that are damaged or gone, and not in the index any more: the next backup stores anew what was only there.
    pub damaged: Vec<Error>,
    /// Packs that lie in an archive: what old segments say of them was taken over.
    pub archived: u64,
    /// Those of them that no old segment names: to be thawed, and the index to be made once more.
    pub unread: Vec<ObjectName>,
    /// Snapshots in the catalog.
    pub snapshots: u64,
    /// Manifests that do not open.
    pub unreadable: Vec<Unreadable>,
}

/// Makes index and catalog anew.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, rebuild};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// // All that an index knows is in the packs too, and all that the catalog knows in the manifests.
/// for segment in repository.store().list("index")? {
///     repository.store().delete(&segment.name)?;
/// }
/// let report = rebuild(&repository, &Silent)?;
/// assert_eq!((report.snapshots, report.damaged.len()), (1, 0));
/// assert!(report.packs > 0 && report.segments == 1);
/// # Ok(())
/// # }
/// ```
pub fn rebuild(repository: &Repository, observer: &dyn Observer) -> Result<RebuildReport> {
    repository.require_features(Access::Write)?;
    let mut report = RebuildReport::default();
    // Segments are listed before packs, and packs are written before the segment that names them: so every pack of a segment in
    // this list is in the next one, if it still exists. A segment that a running backup puts after this is none of ours.
    let old = repository.listed(ObjectType::Segment, "index")?;
    let mut named = BTreeSet::new();
    // Not from copies: what this run believes of an object, it takes others' index by.
    let mut damaged_segments = false;
    for segment in &old {
        match repository.read_origin_segment(&segment.name) {
            Ok(segment) => named.extend(segment.packs.iter().map(|pack| ObjectName::pack(pack.class, &pack.id))),
            Err(error) if error.kind() == Kind::Damage => damaged_segments = true,
            // One of a newer program may say what this one cannot: it must not be replaced.
            Err(error) => return Err(error),
        }
    }
    let mut packs = Vec::new();
    for class in Class::ALL {
        packs.extend(repository.listed(ObjectType::pack(class), class.folder())?);
    }
    // A listing that is short and says that it is whole would cost the index what it leaves out: the store is asked for each.
    let shown: BTreeSet<&ObjectName> = packs.iter().map(|pack| &pack.name).collect();
    let unseen: Vec<ObjectName> = named.iter().filter(|name| !shown.contains(name)).cloned().collect();
    let found = there(repository.store(), unseen.clone())?;
    let is_found: BTreeSet<&ObjectName> = found.iter().map(|found| &found.name).collect();
    let mut missing: Vec<ObjectName> = unseen.into_iter().filter(|name| !is_found.contains(name)).collect();
    drop((shown, is_found));
    packs.extend(found);
    let mut archived = BTreeSet::new();
    let mut batch = Vec::new();
    let mut batched = 0;
    for listed in packs.chunks(PACKS_BATCH) {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        // One that no segment names nobody may have acknowledged. Where segments are damaged nobody can tell which those are.
        let known = |name: &ObjectName| damaged_segments || named.contains(name);
        for (Listed { name, .. }, opened) in
            listed.iter().zip(each_busy(repository.store(), listed, |pack| footer(repository, &pack.name, known(&pack.name))))
        {
            match opened {
                Ok(pack) => {
                    let chunks = pack.chunks();
                    if batched + chunks > SEGMENT_CHUNKS && !batch.is_empty() {
                        publish(repository, &mut batch, &mut report)?;
                        batched = 0;
                    }
                    batched += chunks;
                    batch.push(pack);
                }
                Err(error) if error.is_missing() => missing.push(name.clone()),
                Err(Error::Archived { .. }) => drop(archived.insert(name.clone())),
                // What a store cannot read today it may read tomorrow, and then nothing but the old index says what is in it.
                Err(error @ Error::Damaged { damage: Damage::Unreadable(_), .. }) => return Err(error),
                Err(error) if error.kind() == Kind::Damage => report.damaged.push(error),
                // A store that fails for a moment, a pack of a newer program: nothing was removed yet, and nothing is.
                Err(error) => return Err(error),
            }
        }
        observer.progress(&Progress {
            stage: Stage::Working,
            packs_done: report.packs + batch.len() as u64,
            packs_total: packs.len() as u64,
            ..Progress::default()
        });
    }
    observer.progress(&Progress {
        stage: Stage::Finishing,
        packs_total: packs.len() as u64,
        packs_done: packs.len() as u64,
        ..Progress::default()
    });
    if !batch.is_empty() {
        publish(repository, &mut batch, &mut report)?;
    }
    // Collected, since the listing or long ago, or lost.
    let condemned = if missing.is_empty() { HashSet::new() } else { repository.records(&Default::default())?.packs().clone() };
    missing.retain(|name| name.as_pack().is_some_and(|(_, id)| !condemned.contains(&id)));
    report.damaged.extend(missing.iter().map(|name| Error::damaged(name, Damage::Missing)));
    report.archived = archived.len() as u64;
    report.unread = archived.iter().filter(|name| !named.contains(*name)).cloned().collect();
    if !archived.is_empty() {
        keep_rows(repository, &old, &archived, &mut report)?;
    }
    // Last: until here the old segments and the new ones say the same twice, which is always right. A rebuild that dies before
    // this line leaves a larger index, one that died after a removal before its put would leave packs that nobody finds.
    let going: Vec<ObjectName> = old.iter().map(|segment| segment.name.clone()).collect();
    repository.confirm(&going)?;
    for segment in &going {
        repository.store().delete(segment)?;
        report.removed += 1;
    }
    repository.drop_index();
    repository.catalog().clear()?;
    if let Some(directory) = repository.cache_directory() {
        PathIndex::remove(directory)?;
    }
    report.unreadable = repository.refresh()?.unreadable;
    report.snapshots = repository.catalog().ids()?.len() as u64;
    Ok(report)
}

/// What archived packs hold only their old segments can tell: what those say of them is said again in new ones.
fn keep_rows(repository: &Repository, old: &[Listed], archived: &BTreeSet<ObjectName>, report: &mut RebuildReport) -> Result<()> {
    for listed in old {
        let segment = match repository.read_origin_segment(&listed.name) {
            Ok(segment) => segment,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        if let Some(kept) = segment.only(|pack| archived.contains(&ObjectName::pack(pack.class, &pack.id))) {
            repository.put_segment(&kept)?;
            report.segments += 1;
            report.packs += kept.packs.len() as u64;
            report.chunks += (kept.entries.0.len() / ENTRY_BYTES) as u64;
        }
    }
    Ok(())
}

fn footer(repository: &Repository, name: &ObjectName, known: bool) -> Result<NewPack> {
    let (class, id) = name.as_pack().ok_or(Error::damaged(name, Damage::Name))?;
    let pack = OpenPack::open(repository.store(), repository.keys(), class, &id)?;
    if !known && repository.origin().traffic().is_some() && !pack.is_what_its_name_says(repository.origin(), &id)? {
        return Err(Error::damaged(name, Damage::Name));
    }
    Ok(NewPack::new(class, id, pack.bytes, &pack.table.footer.ids.0))
}

fn publish(repository: &Repository, batch: &mut Vec<NewPack>, report: &mut RebuildReport) -> Result<()> {
    let segment = build_segment(batch);
    repository.put_segment(&segment)?;
    report.segments += 1;
    report.packs += batch.len() as u64;
    report.chunks += (segment.entries.0.len() / ENTRY_BYTES) as u64;
    batch.clear();
    Ok(())
}
