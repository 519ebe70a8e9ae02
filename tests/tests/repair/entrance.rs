//! What opens a repository, and a copy of it: what is good stays, what is damaged or lost comes back, and what a rotation took away does not.

use super::{Fixture, opened, repaired};
use crate::faults::copy;
use seabed_engine::error::{Error, Result};
use seabed_engine::format::object::ObjectType;
use seabed_engine::format::repo::Feature;
use seabed_engine::id::{ObjectId, ObjectName};
use seabed_engine::keys;
use seabed_engine::repair::reopen;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::object::seal_object;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::repo::{init, open, secret};
use std::sync::Arc;

const CHEAP: (u32, u32, u32) = (8, 1, 1);

fn laptop() -> Secret {
    Secret::KeyFile(Key::new([1; 32]))
}

/// A repository with two slots, and so with two keyrings: its first one names the first slot alone.
fn two() -> (Arc<MemoryStore>, ObjectId) {
    let store = Arc::new(MemoryStore::new());
    let added = keys::add(&init(store.clone(), None).unwrap(), &laptop(), "laptop", CHEAP).unwrap();
    (store, added.id)
}

fn opens(store: &Arc<MemoryStore>, secret: &Secret) -> Result<Repository> {
    Repository::open(store.clone(), secret, &OpenOptions::default())
}

fn keyrings(store: &MemoryStore) -> Vec<ObjectName> {
    store.list("keyring").unwrap().into_iter().map(|listed| listed.name).collect()
}

/// Everything that lay under the same name in both and was not the same was deleted and put as the copy had it. So a mistyped passphrase was
/// enough to lose another one's slot, where that was rotten in the copy.
#[test]
fn what_is_good_stays_whatever_the_copy_has() {
    let (store, other) = two();
    let twin = copy(&store);
    // One of two keyrings of one epoch, a slot that cannot be read, and one in which nobody sees it.
    let names_both = |name: &&ObjectName| twin.objects()[*name].len();
    let first = keyrings(&twin).iter().min_by_key(names_both).unwrap().clone();
    assert!(twin.corrupt(&first, |bytes| bytes.truncate(20)));
    for damage in [3, 60] {
        assert!(twin.corrupt(&ObjectName::slot(&other), |bytes| bytes[damage] ^= 1));
        let before = store.objects();
        assert_eq!(reopen(&*store, &opened(&twin)).unwrap(), []);
        assert!(store.objects() == before, "byte {damage}");
    }
    // Nor is what is rotten here replaced by what is rotten there.
    assert!(store.corrupt(&first, |bytes| bytes.truncate(30)));
    assert_eq!(reopen(&*store, &opened(&twin)).unwrap(), []);
    opens(&store, &laptop()).unwrap();
}

/// Of nearly all that can go wrong in a slot nothing is seen but that no secret fits any more.
#[test]
fn a_slot_that_opened_the_copy_comes_back_whatever_is_wrong_with_it() {
    let (store, _) = two();
    let twin = opened(&copy(&store));
    let own = ObjectName::slot(&twin.slot().unwrap().id);
    for at in 8..store.objects()[&own].len() {
        let store = copy(&store);
        assert!(store.corrupt(&own, |bytes| bytes[at] ^= 1));
        assert_eq!(reopen(&*store, &twin).unwrap(), std::slice::from_ref(&own), "byte {at}");
        opens(&store, &secret()).unwrap();
    }
}

/// A run that was killed between the deletion of a damaged keyring and the put of the good one left none. The next run passed it over, for it
/// was not listed; the repository opened under the epoch before it, and who was removed could read what was written.
#[test]
fn a_run_that_is_killed_leaves_nothing_that_the_next_one_does_not_bring_back() {
    let (store, other) = two();
    let before = copy(&store);
    let rotated = keys::rotate(&opened(&store), &[]).unwrap();
    let newest = keyrings(&store).into_iter().max_by_key(ObjectName::as_keyring).unwrap();
    let twin = opened(&copy(&store));
    let whole = |store: &Arc<MemoryStore>, what: &str| {
        for secret in [secret(), laptop()] {
            let repository = opens(store, &secret).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((repository.keys().epoch, repository.is_behind()), (rotated.epoch, false), "{what}");
        }
    };
    let hurt = || {
        let store = copy(&store);
        assert!(store.corrupt(&newest, |bytes| bytes.truncate(bytes.len() / 2)));
        assert!(store.corrupt(&ObjectName::slot(&other), |bytes| bytes[3] ^= 1));
        store
    };
    let mut runs = 0;
    for fault in [Fault::Before, Fault::After] {
        for at in 0.. {
            let store = hurt();
            let faulty = FaultStore::new(store.clone());
            faulty.schedule(Some(Schedule { at, fault, for_ever: true }));
            let done = reopen(&faulty, &twin);
            if faulty.fired() == 0 {
                assert_eq!(done.unwrap(), [newest.clone(), ObjectName::slot(&other)]);
                break;
            }
            let what = format!("{fault:?} {at} {:?}", faulty.log().first());
            reopen(&*store, &twin).unwrap_or_else(|error| panic!("{what}: {error}"));
            whole(&store, &what);
            // And nothing more is to do.
            assert_eq!(reopen(&*store, &twin).unwrap(), [], "{what}");
            runs += 1;
        }
    }
    assert!(runs > 10, "{runs}");
    // A repair of what still opens, as it was before the rotation, sees it too.
    let killed = copy(&store);
    assert!(killed.remove(&newest) && killed.remove(&ObjectName::slot(&other)));
    let report = repaired(&opened(&killed), &[&twin], None);
    assert_eq!(report.objects_healed, [newest, ObjectName::slot(&other)], "{report:?}");
    whole(&killed, "repair");
    // What the rotation took away stays away, though a copy of before it has it.
    let removed = copy(&before);
    keys::rotate(&opened(&removed), &[other]).unwrap();
    let after = removed.objects();
    assert_eq!(reopen(&*removed, &opened(&before)).unwrap(), []);
    assert!(!repaired(&opened(&removed), &[&opened(&before)], None).changes());
    assert!(removed.objects() == after && matches!(opens(&removed, &laptop()).map(drop), Err(Error::WrongKey)));
}

/// Features are never taken away: one that only the copy has was lost.
#[test]
fn a_feature_that_is_gone_comes_back() {
    let fixture = Fixture::new();
    let twin = opened(&fixture.fork());
    let name = ObjectName::parse("features/later").unwrap();
    let feature = Feature { name: "later".into(), read: false, write: false, gc: false, extra: vec![] };
    let object = seal_object(twin.keys(), &twin.id(), &name, ObjectType::Feature, &feature).unwrap();
    twin.store().put(&name, &object).unwrap();
    assert_eq!(repaired(&opened(&fixture.store), &[&twin], None).objects_healed, std::slice::from_ref(&name));
    assert!(fixture.store.objects()[&name][..] == object);
}

/// Siblings have packs of one name: what opens the one is put nowhere into the other.
#[test]
fn a_sibling_is_no_copy() {
    let fixture = Fixture::new();
    let first = opened(&fixture.store);
    let store = Arc::new(MemoryStore::new());
    let init = InitOptions { kdf: CHEAP, ..InitOptions::default() };
    Repository::init_sibling(store.clone(), &first, &secret(), &init, &OpenOptions::default()).unwrap();
    for folder in ["lists", "index"] {
        let shared = first.store().list(folder).unwrap().remove(0).name;
        store.put(&shared, &first.store().get(&shared, 1 << 20).unwrap()).unwrap();
    }
    assert!(matches!(reopen(&*store, &first), Err(Error::Refused { .. })));
    assert!(store.corrupt(&ObjectName::descriptor(), |bytes| bytes.truncate(20)));
    let before = store.objects();
    assert!(matches!(reopen(&*store, &first), Err(Error::Refused { .. })));
    assert!(store.objects() == before && open(store, None).is_err());
}
