//! Sealing anew after a rotation: who was removed and kept all he had reads nothing any more, who stays loses nothing, and a budget, an
//! interruption or a failing store only make it take longer.

use seabed_engine::backup::backup;
use seabed_engine::check::{CheckOptions, ReadData, check};
use seabed_engine::error::Result;
use seabed_engine::forget::hold;
use seabed_engine::format::object::{ObjectType, Purpose};
use seabed_engine::format::protocol::Note;
use seabed_engine::format::segment::Segment;
use seabed_engine::gc::{Figures, GcOptions, MaxUnused, collect, plan};
use seabed_engine::id::SnapshotId;
use seabed_engine::keys;
use seabed_engine::observe::Silent;
use seabed_engine::pack::OpenPack;
use seabed_engine::repository::{OpenOptions, Repository};
use seabed_engine::reseal::reseal;
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::object::{open_manifest, open_object};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::{TagEdit, tag};
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options};
use std::sync::Arc;
use std::time::Duration;

/// What a passphrase costs here.
const CHEAP: (u32, u32, u32) = (8, 1, 1);
const BLOCK: usize = 300_000;

pub fn removed() -> Secret {
    Secret::KeyFile(Key::new([9; 32]))
}

fn noise(n: u64) -> Vec<u8> {
    let mut out = vec![0; BLOCK];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn store_blocks(repository: &Repository, blocks: &[u64]) -> SnapshotId {
    let mut options = options(&[]);
    // Small packs, so that there are some.
    options.data_pack_bytes = 4 << 20;
    options.streams = blocks.iter().map(|n| bytes_stream(&format!("s{n}"), noise(*n))).collect();
    backup(repository, options, &Silent).unwrap().snapshot.unwrap()
}

pub fn holds(repository: &Repository, id: &SnapshotId, blocks: &[u64]) {
    for n in blocks {
        assert!(dump_path(repository, id, format!("s{n}").as_bytes()).unwrap() == noise(*n), "block {n}");
    }
}

pub fn is_clean(repository: &Repository) {
    let report = check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

fn renewing(budget: u64) -> GcOptions {
    GcOptions { grace: Duration::ZERO, max_unused: MaxUnused::Unlimited, renew: Some(budget), threads: 1, ..GcOptions::default() }
}

/// All of it, or as much as a budget allows.
pub fn rewrite(repository: &Repository, budget: u64) -> Result<Figures> {
    repository.refresh()?;
    reseal(repository, &Silent)?;
    let plan = plan(repository, &renewing(budget), &Silent)?;
    let figures = plan.figures.clone();
    collect(repository, plan, &Silent)?;
    Ok(figures)
}

/// A repository with two snapshots and a slot that is removed, and what its holder kept.
pub struct Scene {
    pub store: MemoryStore,
    kept: MemoryStore,
    pub old: [SnapshotId; 2],
}

pub const OLD: [&[u64]; 2] = [&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], &[5, 6, 7, 21, 22]];

pub fn scene() -> Scene {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let added = keys::add(&repository, &removed(), "laptop", CHEAP).unwrap();
    let old = OLD.map(|blocks| store_blocks(&repository, blocks));
    hold(&repository, &old[0], "for the auditors", None).unwrap();
    repository.refresh().unwrap();
    tag(&repository, &[old[1]], &TagEdit { add: vec!["kept".to_owned()], ..TagEdit::default() }).unwrap();
    let kept = MemoryStore::new();
    for (name, bytes) in store.objects() {
        kept.put(&name, &bytes).unwrap();
    }
    keys::rotate(&repository, &[added.id]).unwrap();
    Scene { store, kept, old }
}

/// Everything that the removed one ever had, beside everything that there is now.
fn of_the_removed(scene: &Scene) -> Repository {
    let both = MemoryStore::new();
    let entrance = |folder: &str| ["slots", "keyring"].contains(&folder);
    for (name, bytes) in scene.kept.objects().into_iter().filter(|(name, _)| entrance(name.folder())) {
        both.put(&name, &bytes).unwrap();
    }
    for (name, bytes) in scene.store.objects().into_iter().filter(|(name, _)| !entrance(name.folder())) {
        both.put(&name, &bytes).unwrap();
    }
    Repository::open(Arc::new(both), &removed(), &OpenOptions::default()).unwrap()
}

/// What of the repository the keys of before open, by folder.
fn opened_by(thief: &Repository) -> Vec<String> {
    let (keys, id, store) = (thief.keys(), thief.id(), thief.store());
    let mut opened = Vec::new();
    for listed in store.list("").unwrap() {
        let (name, bytes) = (&listed.name, store.get(&listed.name, u64::MAX).unwrap());
        let opens = match name.folder() {
            "snapshots" | "pending" => open_manifest(keys, &id, name, &bytes).is_ok(),
            "index" => open_object::<Segment>(keys, &id, name, ObjectType::Segment, &bytes).is_ok(),
            "notes" => open_object::<Note>(keys, &id, name, ObjectType::Note, &bytes).is_ok(),
            "data" | "names" | "lists" => {
                let (class, pack) = name.as_pack().unwrap();
                // Not even a frame: one that was copied might have brought its key.
                OpenPack::open(store, keys, class, &pack).is_ok()
            }
            _ => continue,
        };
        if opens {
            opened.push(name.as_str().to_owned());
        }
    }
    opened
}

pub fn owner(scene: &Scene) -> Repository {
    open(Arc::new(scene.store.clone()), None).unwrap()
}

#[test]
fn after_a_rewrite_the_old_keyring_opens_nothing_and_nobody_else_misses_anything() {
    let scene = scene();
    let repository = owner(&scene);
    let new = store_blocks(&repository, &[5, 23]);
    // Before it he reads what was written before, and nothing since.
    let thief = of_the_removed(&scene);
    holds(&thief, &scene.old[0], OLD[0]);
    assert!(dump_path(&thief, &new, b"s23").is_err());
    assert!(opened_by(&thief).len() > 6);

    let figures = rewrite(&repository, u64::MAX).unwrap();
    assert!(figures.renew_packs > 3 && figures.renew_left_packs == 0, "{figures:?}");
    assert_eq!(opened_by(&of_the_removed(&scene)), [""; 0]);

    let repository = owner(&scene);
    repository.refresh().unwrap();
    let snapshots = repository.catalog().snapshots().unwrap();
    assert_eq!(snapshots.len(), 3);
    for (old, blocks) in scene.old.iter().zip(OLD) {
        let again = snapshots.iter().find(|s| s.identity(&repository.id()) == (repository.id(), *old)).unwrap();
        assert_ne!(again.id, *old);
        holds(&repository, &again.id, blocks);
        let held = repository.holds(seabed_engine::now()).unwrap();
        assert_eq!(held.contains_key(&again.id), *old == scene.old[0], "holds go along");
        assert!(!held.contains_key(old));
        assert_eq!(again.names.tags == ["kept"], *old == scene.old[1], "and so do tags");
    }
    holds(&repository, &new, &[5, 23]);
    is_clean(&repository);
    // There is nothing left to do.
    let report = reseal(&repository, &Silent).unwrap();
    assert_eq!((report.replaced.len(), report.current), (0, 3));
    let figures = rewrite(&repository, u64::MAX).unwrap();
    assert_eq!((figures.renew_packs, figures.renew_left_packs), (0, 0));
    // What was copied out of packs of before is sealed by a key of its own pack.
    for listed in repository.store().list("data").unwrap() {
        let (class, pack) = listed.name.as_pack().unwrap();
        let pack = OpenPack::open(repository.store(), repository.keys(), class, &pack).unwrap();
        assert!(pack.table.footer.keys.iter().all(|key| key.epoch == repository.keys().epoch));
        assert!(repository.keys().get(Purpose::Data, pack.epoch).is_some());
    }
}

#[test]
fn a_budget_goes_through_it_piece_by_piece() {
    let scene = scene();
    let mut left = Vec::new();
    for round in 0.. {
        let repository = owner(&scene);
        let figures = rewrite(&repository, 5 << 20).unwrap();
        assert!(figures.renew_bytes <= 5 << 20, "{figures:?}");
        let repository = owner(&scene);
        repository.refresh().unwrap();
        let snapshots = repository.catalog().snapshots().unwrap();
        for snapshot in snapshots {
            let (_, first) = snapshot.identity(&repository.id());
            let at = scene.old.iter().position(|old| *old == first).unwrap();
            holds(&repository, &snapshot.id, OLD[at]);
        }
        left.push(figures.renew_left_packs);
        if figures.renew_left_packs == 0 {
            break;
        }
        assert!(round < 20, "{left:?}");
    }
    assert!(left.len() > 1 && left.is_sorted_by(|a, b| a > b), "{left:?}");
    assert_eq!(opened_by(&of_the_removed(&scene)), [""; 0]);
    is_clean(&owner(&scene));
}

/// Whatever fails, and wherever it stops: every snapshot is there, once, and the next run comes to its end.
#[test]
fn a_failure_anywhere_costs_a_further_run() {
    let mut failed = 0;
    // Each step takes a scene of its own: every seventh is some sixty places over all of its stages.
    for at in (0..).step_by(7) {
        let scene = scene();
        let store = FaultStore::new(Arc::new(scene.store.clone()));
        store.schedule(Some(Schedule { at, fault: Fault::Before, for_ever: true }));
        let result = Repository::open(Arc::new(store), &seabed_tests::repo::secret(), &OpenOptions::default())
            .and_then(|repository| rewrite(&repository, u64::MAX));
        let repository = owner(&scene);
        repository.refresh().unwrap();
        for (old, blocks) in scene.old.iter().zip(OLD) {
            let same: Vec<_> =
                repository.catalog().snapshots().unwrap().into_iter().filter(|s| s.identity(&repository.id()).1 == *old).collect();
            assert!(!same.is_empty(), "at {at}");
            same.iter().for_each(|snapshot| holds(&repository, &snapshot.id, blocks));
        }
        let done = result.is_ok();
        failed += u64::from(!done);
        rewrite(&repository, u64::MAX).unwrap();
        assert_eq!(opened_by(&of_the_removed(&scene)), [""; 0], "at {at}");
        is_clean(&owner(&scene));
        if done {
            break;
        }
    }
    assert!(failed > 10, "{failed}");
}
