//! Slots, epochs and recovery sheets: who opens what, whatever is done at the same time, killed or lost. What is said of it at the command
//! line is tested in `keys_cli`.

use seabed_engine::error::{Damage, Error, Kind, StoreOp};
use seabed_engine::format::object::Purpose;
use seabed_engine::format::repo::Sheet;
use seabed_engine::id::{ObjectId, ObjectName, SnapshotId};
use seabed_engine::keys::{self, SlotKind, SlotObject};
use seabed_engine::observe::Silent;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::sheet;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::{Fault, FaultStore, Schedule};
use seabed_tests::reader::View;
use seabed_tests::repo::{self, bytes_stream, dump_path};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const CHEAP: (u32, u32, u32) = (8, 1, 1);

fn key(byte: u8) -> Secret {
    Secret::KeyFile(Key::new([byte; 32]))
}

fn pass(text: &str) -> Secret {
    Secret::Passphrase(text.as_bytes().to_vec().into())
}

fn open(store: &MemoryStore, secret: &Secret) -> Result<Repository, Error> {
    Repository::open(Arc::new(store.clone()), secret, &OpenOptions::default())
}

fn over(store: &FaultStore, secret: &Secret) -> Result<Repository, Error> {
    Repository::open(Arc::new(store.clone()), secret, &OpenOptions::default())
}

/// A repository whose first slot is that of `repo::secret()`, with another one, `key(1)`.
fn two() -> (MemoryStore, ObjectId) {
    let store = MemoryStore::new();
    let repository = repo::init(Arc::new(store.clone()), None).unwrap();
    store.set_now(1_000_000_000);
    let other = keys::add(&repository, &key(1), "other", CHEAP).unwrap();
    (store, other.id)
}

/// The same objects in a store of their own.
fn copy(store: &MemoryStore) -> MemoryStore {
    let other = MemoryStore::new();
    store.objects().iter().for_each(|(name, bytes)| other.put(name, bytes).unwrap());
    other
}

fn remove_all(store: &MemoryStore, folder: &str) {
    store.objects().keys().filter(|name| name.folder() == folder).for_each(|name| assert!(store.remove(name)));
}

fn try_backup(repository: &Repository, text: &str) -> Result<SnapshotId, seabed_engine::Failure> {
    let mut options = repo::options(&[]);
    options.streams = vec![bytes_stream("text", text.as_bytes().to_vec())];
    seabed_engine::backup(repository, options, &Silent).map(|report| report.snapshot.unwrap())
}

fn backup(repository: &Repository, text: &str) -> SnapshotId {
    try_backup(repository, text).unwrap()
}

fn text(repository: &Repository, id: &SnapshotId) -> Result<String, Error> {
    dump_path(repository, id, b"text").map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The epoch under which a secret writes; `None` where it opens nothing, or only what was before.
fn writes(store: &MemoryStore, secret: &Secret) -> Option<u32> {
    match open(store, secret) {
        Ok(repository) => (!repository.is_behind()).then(|| repository.keys().epoch),
        Err(Error::WrongKey) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn several_secrets_open_a_repository_and_are_listed() {
    let (store, other) = two();
    let first = open(&store, &repo::secret()).unwrap();
    let id = backup(&first, "before");
    store.set_now(2_000_000_000);
    let added = keys::add(&open(&store, &key(1)).unwrap(), &pass("a b"), "the safe", CHEAP).unwrap();
    for secret in [repo::secret(), key(1), pass("a b")] {
        assert_eq!(text(&open(&store, &secret).unwrap(), &id).unwrap(), "before");
    }
    assert!(matches!(open(&store, &pass("a  b")).map(drop), Err(Error::WrongKey)));
    // One that only lies there.
    let stray = ObjectId::new([9; 16]);
    let object = store.get(&ObjectName::slot(&other), 1 << 20).unwrap();
    store.put(&ObjectName::slot(&stray), &object).unwrap();
    let slots = keys::list(&open(&store, &pass("a b")).unwrap()).unwrap();
    let told: Vec<_> = slots.iter().map(|slot| (slot.label.as_str(), slot.own, slot.member)).collect();
    assert_eq!(told, [("test", false, true), ("other", false, true), ("the safe", true, true), ("", false, false)]);
    assert_eq!((slots[2].id, slots[2].kind), (added.id, Some(SlotKind::Passphrase(8, 1, 1))));
    assert_eq!((slots[3].id, slots[3].kind), (stray, Some(SlotKind::KeyFile)));
    assert!(slots[..3].iter().all(|slot| slot.created.is_some() && slot.object == SlotObject::Whole));
    // Of a slot that is gone, or another one, what the keyring knows.
    assert!(store.remove(&ObjectName::slot(&other)));
    let object = store.get(&ObjectName::slot(&added.id), 1 << 20).unwrap();
    let first_slot = slots[0].id;
    assert!(store.remove(&ObjectName::slot(&first_slot)));
    store.put(&ObjectName::slot(&first_slot), &object).unwrap();
    let slots = keys::list(&open(&store, &pass("a b")).unwrap()).unwrap();
    assert_eq!((slots[0].object, slots[1].object), (SlotObject::Swapped, SlotObject::Missing));
    assert_eq!(slots[1].label, "other");
}

/// Whoever was removed and kept everything he had reads what was written until then, and nothing after.
#[test]
fn a_removed_slot_reads_nothing_that_is_written_later() {
    let (store, other) = two();
    let old = backup(&open(&store, &key(1)).unwrap(), "before");
    let kept: Vec<_> = store.objects().into_iter().filter(|(name, _)| ["slots", "keyring"].contains(&name.folder())).collect();
    let rotated = keys::rotate(&open(&store, &repo::secret()).unwrap(), &[other]).unwrap();
    assert!(rotated.refused.is_empty() && rotated.slots == 1);
    let repository = open(&store, &repo::secret()).unwrap();
    assert_eq!(repository.keys().epoch, rotated.epoch);
    let new = backup(&repository, "after");
    assert!(matches!(open(&store, &key(1)).map(drop), Err(Error::WrongKey)));
    assert!(!store.objects().contains_key(&ObjectName::slot(&other)));

    let victim = copy(&store);
    kept.iter().filter(|(name, _)| victim.size(name).unwrap().is_none()).for_each(|(name, bytes)| victim.put(name, bytes).unwrap());
    let removed = open(&victim, &key(1)).unwrap();
    assert!(removed.is_behind());
    assert_eq!(text(&removed, &old).unwrap(), "before");
    let error = text(&removed, &new).unwrap_err();
    assert!(matches!(error, Error::EpochUnknown { .. }), "{error}");
    // Nothing of the new epoch opens: neither manifests nor segments nor packs.
    assert!(
        [Purpose::Data, Purpose::Names, Purpose::Lists, Purpose::Admin].iter().all(|p| removed.keys().get(*p, rotated.epoch).is_none())
    );
    // And he writes nothing.
    let refused = try_backup(&removed, "more").unwrap_err();
    assert!(refused.to_string().contains("its slot was removed"), "{refused}");
    assert_eq!(keys::add(&removed, &key(5), "", CHEAP).map(drop).unwrap_err().kind(), Kind::Refused);
    assert_eq!(keys::rotate(&removed, &[]).map(drop).unwrap_err().kind(), Kind::Refused);
    // Who remains reads all, beside what was put back too.
    for store in [&store, &victim] {
        let repository = open(store, &repo::secret()).unwrap();
        assert_eq!((text(&repository, &old).unwrap(), text(&repository, &new).unwrap()), ("before".into(), "after".into()));
    }
}

#[test]
fn the_slot_in_use_stays_and_what_was_rolled_back_is_refused() {
    let (store, other) = two();
    let cache = tempfile::tempdir().unwrap();
    let options = OpenOptions { cache: Some(cache.path().to_owned()), ..Default::default() };
    let with_cache = |store: &MemoryStore, secret: &Secret| Repository::open(Arc::new(store.clone()), secret, &options);
    let repository = with_cache(&store, &key(1)).unwrap();
    assert_eq!(keys::rotate(&repository, &[other]).map(drop).unwrap_err().kind(), Kind::Refused);
    let before = copy(&store);
    keys::rotate(&repository, &[]).unwrap();
    drop(repository);
    // This machine knows of the new epoch already, and takes the old one no more.
    let error = with_cache(&before, &key(1)).map(drop).unwrap_err();
    assert!(matches!(&error, Error::RolledBack { removed: false, .. }) && error.to_string().contains("rolled back"), "{error}");
    with_cache(&store, &key(1)).unwrap();
}

/// A passphrase was asked for, and while it was typed the keys were rotated on the same machine: the run was told that the repository had
/// been rolled back.
#[test]
fn a_rotation_while_the_passphrase_is_typed_is_no_rollback() {
    let (store, _) = two();
    let cache = tempfile::tempdir().unwrap();
    let options = OpenOptions { cache: Some(cache.path().to_owned()), ..Default::default() };
    let store: Arc<dyn Store> = Arc::new(store);
    let found = Repository::find(store.clone(), &options).unwrap();
    let rotated = keys::rotate(&Repository::open(store, &key(1), &options).unwrap(), &[]).unwrap();
    assert_eq!(found.open(&repo::secret(), &options).unwrap().keys().epoch, rotated.epoch);
}

/// Somebody removed a slot while another one rotated, and that one was killed between his keyring and the one that would have brought the
/// two together: where his epoch was the higher one, every host wrote under it, and the removed slot read what it wrote.
#[test]
fn a_removal_outlives_a_rotation_that_was_killed_beside_it() {
    let (mut higher, mut lower) = (0, 0);
    while higher == 0 || lower == 0 {
        let (begin, other) = two();
        keys::add(&open(&begin, &repo::secret()).unwrap(), &key(2), "second", CHEAP).unwrap();
        let store = FaultStore::new(Arc::new(begin.clone()));
        let killed = over(&store, &key(2)).unwrap();
        let (inner, others, dies) = (begin.clone(), begin.clone(), store.clone());
        store.before(StoreOp::Put, "keyring", move || {
            keys::rotate(&open(&others, &repo::secret()).unwrap(), &[other]).unwrap();
            // The keyring is there, and that is the last thing that happens.
            dies.schedule(Some(Schedule { at: 0, fault: Fault::After, for_ever: true }));
        });
        keys::rotate(&killed, &[]).map(drop).unwrap_err();
        let mut repository = open(&inner, &repo::secret()).unwrap();
        let newest = repository.keys().epoch;
        *(if repository.keys().has_member(&other) { &mut higher } else { &mut lower }) += 1;
        // Nothing is written before the two are one, and whoever comes first can make them one.
        let refused = try_backup(&repository, "text").unwrap_err();
        assert!(matches!(&refused, seabed_engine::Failure::Repository(error) if error.kind() == Kind::Refused), "{refused}");
        let settled = keys::settle(&mut repository).unwrap().unwrap();
        assert!(settled.epoch > newest && settled.disputed == [(other, "other".to_owned())], "{settled:?}");
        let id = backup(&repository, "text");
        assert_eq!(text(&open(&inner, &key(2)).unwrap(), &id).unwrap(), "text");
        assert_eq!(writes(&inner, &key(1)), None);
        let theirs = inner.objects().into_iter().filter(|(name, _)| name.folder() == "keyring");
        for (name, bytes) in theirs.filter(|(name, _)| name.as_keyring() > Some(1)) {
            let keyring = seabed_engine::seal::key::decode_keyring(&name, &bytes).unwrap();
            assert!(keyring.recipients.iter().all(|copy| copy.slot != other), "{name} is sealed to who was removed");
        }
        assert!(keys::settle(&mut open(&inner, &key(2)).unwrap()).unwrap().is_none());
    }
}

/// The slot in use was damaged in the store and opened from a copy in the cache: to remove the other one would leave none that works.
#[test]
fn who_removes_others_has_a_slot_that_is_there() {
    let (store, other) = two();
    let repository = open(&store, &repo::secret()).unwrap();
    let own = ObjectName::slot(&repository.slot().unwrap().id);
    assert!(store.corrupt(&own, |bytes| bytes.truncate(20)));
    assert_eq!(keys::rotate(&repository, &[other]).map(drop).unwrap_err().kind(), Kind::Damage);
    assert_eq!(writes(&store, &key(1)), Some(1));
}

/// A long backup was under way when others rotated and collected: the records and segments of the new epoch did not open, and the night's
/// backup failed, as with a wrong secret.
#[test]
fn a_backup_outlives_a_rotation_and_a_collection_of_others() {
    let (store, other) = two();
    let old = backup(&open(&store, &repo::secret()).unwrap(), "old");
    let running = open(&store, &repo::secret()).unwrap();
    let epoch = running.keys().epoch;
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[other]).unwrap();
    let others = open(&store, &repo::secret()).unwrap();
    let theirs = backup(&others, "theirs");
    seabed_engine::forget(&others, &[old]).unwrap();
    let options = seabed_engine::gc::GcOptions { grace: std::time::Duration::ZERO, ..Default::default() };
    let plan = seabed_engine::gc::plan(&others, &options, &Silent).unwrap();
    seabed_engine::gc::collect(&others, plan, &Silent).unwrap();
    assert!(store.objects().keys().any(|name| name.folder() == "records"));
    let late = backup(&running, "late");
    assert_eq!(running.keys().epoch, epoch, "it writes on under its own");
    for (id, should) in [(theirs, "theirs"), (late, "late")] {
        assert_eq!(text(&running, &id).unwrap(), should);
        assert_eq!(text(&open(&store, &repo::secret()).unwrap(), &id).unwrap(), should);
    }
    // It collects nothing: what it would keep of the new epoch it would seal under the old one.
    assert_eq!(seabed_engine::gc::plan(&running, &options, &Silent).map(drop).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn a_replaced_secret_opens_no_more() {
    let (store, other) = two();
    let id = backup(&open(&store, &key(1)).unwrap(), "text");
    let done = keys::passwd(&open(&store, &key(1)).unwrap(), &pass("new"), CHEAP).unwrap();
    assert!(matches!(open(&store, &key(1)).map(drop), Err(Error::WrongKey)));
    let repository = open(&store, &pass("new")).unwrap();
    assert_eq!((repository.slot().unwrap().id, repository.slot().unwrap().label.as_str()), (done.new_slot.unwrap(), "other"));
    assert_eq!(text(&repository, &id).unwrap(), "text");
    assert_eq!(writes(&store, &repo::secret()), Some(done.epoch));
    assert!(keys::list(&repository).unwrap().iter().all(|slot| slot.id != other && slot.member));
}

/// What is done by another process at a point of a run: the points are the calls of each kind on slots and keyrings.
fn meanwhile(run: impl Fn(&FaultStore), act: fn(&MemoryStore), begin: &MemoryStore, judge: impl Fn(&MemoryStore, &str)) {
    let mut points = 0;
    for (op, folder) in [(StoreOp::Put, "slots"), (StoreOp::Put, "keyring"), (StoreOp::List, "keyring"), (StoreOp::Get, "keyring")] {
        for nth in 0.. {
            let inner = copy(begin);
            let (store, done) = (FaultStore::new(Arc::new(inner.clone())), Arc::new(AtomicBool::new(false)));
            (0..nth).for_each(|_| store.before(op, folder, || {}));
            let (others, told) = (inner.clone(), done.clone());
            store.before(op, folder, move || {
                act(&others);
                told.store(true, SeqCst);
            });
            run(&store);
            if !done.load(SeqCst) {
                break;
            }
            points += 1;
            judge(&inner, &format!("before {op} {folder} number {nth}"));
        }
    }
    assert!(points >= 6, "{points} points");
}

#[test]
fn a_slot_that_is_added_while_others_rotate_opens_the_new_epoch() {
    let (begin, other) = two();
    let judge = |store: &MemoryStore, what: &str| {
        let epoch = writes(store, &repo::secret());
        assert!(epoch > Some(1), "{what}");
        assert_eq!(writes(store, &key(2)), epoch, "{what}");
        assert_eq!(writes(store, &key(1)), None, "{what}");
        let members = keys::list(&open(store, &key(2)).unwrap()).unwrap();
        assert_eq!(members.iter().filter(|slot| slot.member).count(), 2, "{what}");
        assert!(members.iter().all(|slot| slot.id != other || !slot.member), "{what}");
    };
    let add = |store: &FaultStore| _ = keys::add(&over(store, &repo::secret()).unwrap(), &key(2), "new", CHEAP).unwrap();
    fn rotate(store: &MemoryStore) {
        let repository = open(store, &repo::secret()).unwrap();
        let other = keys::list(&repository).unwrap().into_iter().find(|slot| slot.label == "other").unwrap().id;
        keys::rotate(&repository, &[other]).unwrap();
    }
    meanwhile(add, rotate, &begin, judge);
    let rotating = |store: &FaultStore| drop(keys::rotate(&over(store, &repo::secret()).unwrap(), &[other]).unwrap());
    fn adding(store: &MemoryStore) {
        keys::add(&open(store, &repo::secret()).unwrap(), &key(2), "new", CHEAP).unwrap();
    }
    meanwhile(rotating, adding, &begin, judge);
    // Two that add see nothing of each other.
    let both = |store: &MemoryStore, what: &str| {
        keys::rotate(&open(store, &repo::secret()).unwrap(), &[]).unwrap();
        let epoch = writes(store, &repo::secret());
        for secret in [key(1), key(2), key(3)] {
            assert_eq!(writes(store, &secret), epoch, "{what}");
        }
    };
    let adding_too = |store: &FaultStore| _ = keys::add(&over(store, &repo::secret()).unwrap(), &key(3), "third", CHEAP).unwrap();
    meanwhile(adding_too, adding, &begin, both);
}

/// Each takes somebody else away, and something is written under the keys of the one that is overtaken.
#[test]
fn of_two_rotations_at_the_same_time_neither_is_lost() {
    let (begin, other) = two();
    let third = keys::add(&open(&begin, &repo::secret()).unwrap(), &key(3), "third", CHEAP).unwrap().id;
    keys::add(&open(&begin, &repo::secret()).unwrap(), &key(4), "fourth", CHEAP).unwrap();
    let one = |store: &FaultStore| drop(keys::rotate(&over(store, &repo::secret()).unwrap(), &[other]).unwrap());
    fn second(store: &MemoryStore) {
        let repository = open(store, &key(4)).unwrap();
        let third = keys::list(&repository).unwrap().into_iter().find(|slot| slot.label == "third").unwrap().id;
        keys::rotate(&repository, &[third]).unwrap();
        backup(&open(store, &key(4)).unwrap(), "between");
    }
    meanwhile(one, second, &begin, |store, what| {
        let repository = open(store, &repo::secret()).unwrap();
        assert_eq!(writes(store, &key(4)), Some(repository.keys().epoch), "{what}");
        for removed in [key(1), key(3)] {
            assert_eq!(writes(store, &removed), None, "{what}");
        }
        assert!(![other, third].iter().any(|slot| repository.keys().has_member(slot)), "{what}");
        repository.refresh().unwrap();
        let id = repository.select("latest", &Default::default()).unwrap().snapshot.id;
        for secret in [repo::secret(), key(4)] {
            assert_eq!(text(&open(store, &secret).unwrap(), &id).unwrap(), "between", "{what}");
        }
    });
}

/// Who was removed while he did something to the keys is told so.
#[test]
fn who_is_removed_meanwhile_changes_nothing() {
    let (begin, _) = two();
    fn remove(store: &MemoryStore) {
        let repository = open(store, &repo::secret()).unwrap();
        let other = keys::list(&repository).unwrap().into_iter().find(|slot| slot.label == "other").unwrap().id;
        keys::rotate(&repository, &[other]).unwrap();
    }
    for passwd in [false, true] {
        let store = copy(&begin);
        let repository = open(&store, &key(1)).unwrap();
        remove(&store);
        let done = match passwd {
            true => keys::passwd(&repository, &key(8), CHEAP).map(drop),
            false => keys::add(&repository, &key(8), "mine", CHEAP).map(drop),
        };
        assert_eq!(done.unwrap_err().kind(), Kind::Refused);
        assert_eq!(writes(&store, &key(8)), None);
        assert!(writes(&store, &repo::secret()).is_some());
    }
}

/// Every operation of a run fails in turn, with its answer lost or before it happened, once or for ever: whatever is left opens with the
/// old secret or with the new one, and all that was stored is read.
fn sweep(begin: &MemoryStore, id: &SnapshotId, secrets: [&Secret; 2], run: impl Fn(&FaultStore) -> Result<(), Error>) {
    let count = {
        let store = FaultStore::new(Arc::new(copy(begin)));
        store.schedule(None);
        run(&store).unwrap();
        store.operations()
    };
    assert!(count > 8, "{count} operations");
    for at in 0..count {
        for (fault, for_ever) in [(Fault::Before, true), (Fault::After, true), (Fault::Torn, false), (Fault::After, false)] {
            let inner = copy(begin);
            let store = FaultStore::new(Arc::new(inner.clone()));
            store.schedule(Some(Schedule { at, fault, for_ever }));
            let done = run(&store);
            let what = format!("{:?} {done:?}", store.log());
            if done.is_ok() {
                assert!(writes(&inner, secrets[1]).is_some(), "acknowledged and not there: {what}");
            }
            let opens = secrets.iter().find_map(|secret| writes(&inner, secret).map(|_| *secret));
            let repository = open(&inner, opens.unwrap_or_else(|| panic!("nobody opens it: {what}"))).unwrap();
            assert_eq!(text(&repository, id).unwrap_or_else(|e| panic!("{e}: {what}")), "text");
            // And the next run goes through.
            store.schedule(None);
            keys::rotate(&repository, &[]).unwrap_or_else(|e| panic!("{e}: {what}"));
        }
    }
}

#[test]
fn a_run_that_is_killed_at_any_operation_locks_nobody_out() {
    let (begin, other) = two();
    let id = backup(&open(&begin, &repo::secret()).unwrap(), "text");
    let (first, new) = (repo::secret(), key(17));
    sweep(&begin, &id, [&first, &new], |store| keys::add(&over(store, &repo::secret())?, &key(17), "new", CHEAP).map(drop));
    sweep(&begin, &id, [&first, &first], |store| keys::rotate(&over(store, &repo::secret())?, &[other]).map(drop));
    sweep(&begin, &id, [&first, &new], |store| keys::passwd(&over(store, &repo::secret())?, &key(17), CHEAP).map(drop));
    let made = keys::export(&open(&begin, &repo::secret()).unwrap(), None).unwrap();
    let import = |store: &FaultStore, made: &Sheet| {
        let store: Arc<dyn Store> = Arc::new(store.clone());
        keys::import(store, made, &key(17), ("new", CHEAP), &OpenOptions::default()).map(drop)
    };
    sweep(&begin, &id, [&first, &new], |store| import(store, &made));
}

/// A store that lets nothing go: what is left of a removed slot is said, and opens nothing new.
#[test]
fn deletions_that_are_refused_are_said() {
    let (begin, other) = two();
    let store = FaultStore::new(Arc::new(begin.clone()));
    let repository = over(&store, &repo::secret()).unwrap();
    // Operations until the first deletion, on a copy.
    let counted = FaultStore::new(Arc::new(copy(&begin)));
    let twin = over(&counted, &repo::secret()).unwrap();
    counted.schedule(None);
    keys::rotate(&twin, &[other]).unwrap();
    let all = counted.operations();
    store.schedule(Some(Schedule { at: all - 1, fault: Fault::Before, for_ever: true }));
    let rotated = keys::rotate(&repository, &[other]).unwrap();
    assert_eq!(rotated.refused.len(), 1);
    assert!(begin.objects().contains_key(&ObjectName::slot(&other)));
    assert_eq!(writes(&begin, &key(1)), None);
}

fn lost(store: &MemoryStore, folders: &[&str]) -> MemoryStore {
    let store = copy(store);
    folders.iter().for_each(|folder| remove_all(&store, folder));
    store
}

#[test]
fn a_sheet_opens_what_has_lost_slots_keyrings_and_descriptor() {
    let (store, other) = two();
    let repository = open(&store, &repo::secret()).unwrap();
    let id = backup(&repository, "text");
    let with = keys::export(&repository, Some("paper")).unwrap();
    let without = keys::export(&repository, None).unwrap();
    let import =
        |store: &MemoryStore, made: &Sheet| keys::import(Arc::new(store.clone()), made, &key(17), ("new", CHEAP), &OpenOptions::default());
    for made in [&with, &without] {
        // As it comes back from paper.
        let typed: Vec<String> = sheet::lines(made).unwrap().iter().map(|line| sheet::spaced(line).to_lowercase()).collect();
        let made = sheet::parse(&typed.join("\n")).unwrap();
        for folders in [&[][..], &["keyring"], &["slots", "keyring"], &["slots"], &["seabed"], &["seabed", "slots", "keyring"]] {
            let store = lost(&store, &folders.iter().filter(|f| **f != "seabed").copied().collect::<Vec<_>>());
            if folders.contains(&"seabed") {
                assert!(store.remove(&ObjectName::descriptor()));
            }
            let done = import(&store, &made).unwrap_or_else(|e| panic!("{folders:?}: {e}"));
            assert_eq!(done.descriptor_restored, folders.contains(&"seabed"), "{folders:?}");
            let repository = open(&store, &key(17)).unwrap();
            assert_eq!(text(&repository, &id).unwrap(), "text");
            let new = backup(&repository, "more");
            // Whose slot was there opens it again.
            if !folders.contains(&"slots") {
                assert_eq!(text(&open(&store, &key(1)).unwrap(), &new).unwrap(), "more", "{folders:?}");
            }
        }
    }
    // After a rotation the slot of one opens all, the keys of the other what was before.
    let old = copy(&store);
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[other]).unwrap();
    let later = backup(&open(&store, &repo::secret()).unwrap(), "later");
    let done = import(&copy(&store), &with).unwrap();
    assert!(!done.by_keys && !done.repository.is_behind());
    assert_eq!(text(&done.repository, &later).unwrap(), "later");
    let done = import(&copy(&store), &without).unwrap();
    assert!(done.by_keys && done.repository.is_behind());
    assert_eq!(text(&done.repository, &id).unwrap(), "text");
    assert!(text(&done.repository, &later).is_err());
    // The descriptor is lost, and everything was sealed anew since the sheet was made: nothing opens with its keys but through its slot.
    let anew = copy(&store);
    for name in old.objects().keys().filter(|name| ["index", "snapshots"].contains(&name.folder())) {
        assert!(anew.remove(name));
    }
    assert!(anew.remove(&ObjectName::descriptor()));
    assert!(import(&anew, &with).unwrap().descriptor_restored);
    // Damaged it is as good as lost.
    for damage in [|bytes: &mut Vec<u8>| bytes.truncate(30), |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1] {
        let store = copy(&store);
        assert!(store.corrupt(&ObjectName::descriptor(), damage));
        assert!(import(&store, &with).unwrap().descriptor_restored);
        open(&store, &repo::secret()).unwrap();
    }
    // Keyrings are lost: nobody can tell whether there was a later epoch, and whom it removed.
    let done = import(&lost(&store, &["keyring"]), &without).unwrap();
    assert!(done.by_keys && done.repository.keys().epoch > 1);
    let copied = copy(&store);
    // Revoked, it opens what was before.
    let slot = with.slot.as_ref().unwrap().slot;
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[slot]).unwrap();
    assert!(import(&store, &with).unwrap().repository.is_behind());
    // Where keyrings are left that its slot opens, what was written after the sheet was made is read too.
    let all = copy(&store);
    let gone = copied.objects().into_iter().filter(|(name, _)| all.size(name).unwrap().is_none() && name.folder() != "seabed");
    gone.for_each(|(name, bytes)| all.put(&name, &bytes).unwrap());
    let done = import(&all, &with).unwrap();
    assert!(done.repository.is_behind());
    assert_eq!((text(&done.repository, &id).unwrap(), text(&done.repository, &later).unwrap()), ("text".into(), "later".into()));
    // It is put back nowhere else.
    let other_place = MemoryStore::new();
    let elsewhere = repo::init(Arc::new(other_place.clone()), None).unwrap();
    backup(&elsewhere, "else");
    assert_eq!(import(&other_place, &with).map(drop).unwrap_err().kind(), Kind::Refused);
    assert!(other_place.remove(&ObjectName::descriptor()));
    assert!(matches!(import(&other_place, &with).map(drop).unwrap_err(), Error::DescriptorLost { .. }));
    assert!(matches!(import(&MemoryStore::new(), &with).map(drop).unwrap_err(), Error::NoRepository { .. }));
}

/// One keyring of several of an epoch was damaged, and nobody could open the repository.
#[test]
fn a_damaged_keyring_stops_nobody_beside_another_of_its_epoch() {
    let (store, _) = two();
    let names: Vec<ObjectName> = store.objects().into_keys().filter(|name| name.folder() == "keyring").collect();
    assert_eq!(names.len(), 2);
    for name in &names {
        for at in [0, 6, 9, 60] {
            let store = copy(&store);
            assert!(store.corrupt(name, |bytes| {
                let at = if at == 60 { bytes.len() - 20 } else { at };
                bytes[at] ^= 1;
            }));
            let repository = open(&store, &repo::secret()).unwrap_or_else(|e| panic!("{name} at {at}: {e}"));
            if at != 60 {
                let report = seabed_engine::check(&repository, &Default::default(), &Silent).unwrap();
                assert!(!report.findings.is_empty(), "check says so");
            }
        }
    }
    // Alone in its epoch, and newer than what opens: said, not passed over.
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[]).unwrap();
    let newest = store.objects().into_keys().filter(|name| name.folder() == "keyring").max().unwrap();
    let damaged = copy(&store);
    assert!(damaged.corrupt(&newest, |bytes| bytes.truncate(20)));
    assert_eq!(open(&damaged, &repo::secret()).map(drop).unwrap_err().kind(), Kind::Damage);
    // A slot of somebody else is his matter.
    let own = open(&store, &repo::secret()).unwrap().slot().unwrap().id;
    for name in store.objects().into_keys().filter(|name| name.folder() == "slots" && *name != ObjectName::slot(&own)) {
        assert!(store.corrupt(&name, |bytes| bytes.truncate(9)));
    }
    open(&store, &repo::secret()).unwrap();
    assert!(matches!(open(&store, &key(1)).map(drop), Err(Error::Damaged { damage: Damage::Malformed(_), .. })));
}

#[test]
fn a_sibling_has_the_keys_and_slots_of_its_own() {
    let (store, _) = two();
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[]).unwrap();
    let first = open(&store, &repo::secret()).unwrap();
    let other = MemoryStore::new();
    let init = InitOptions { kdf: CHEAP, label: "sibling".to_owned(), ..Default::default() };
    let made = Repository::init_sibling(Arc::new(other.clone()), &first, &key(6), &init, &OpenOptions::default()).unwrap();
    assert!(made.id() != first.id() && made.descriptor().family == first.descriptor().family);
    assert_eq!(made.descriptor().profiles, first.descriptor().profiles);
    assert_eq!(made.keys().epoch, first.keys().epoch);
    let opened = open(&other, &key(6)).unwrap();
    assert_eq!(opened.keys().to_set().keys, first.keys().to_set().keys);
    assert_eq!(opened.keys().members.len(), 1);
    assert!(matches!(open(&other, &repo::secret()).map(drop), Err(Error::WrongKey)));
    // The same content has the same chunks.
    assert_eq!(opened.ids().id(seabed_engine::id::Class::Data, b"x"), first.ids().id(seabed_engine::id::Class::Data, b"x"));
    let id = backup(&opened, "text");
    assert_eq!(text(&opened, &id).unwrap(), "text");
}

/// A backup that began before a rotation ends under the keys it began with, whatever others have written since; all of it is read.
#[test]
fn a_run_that_began_before_a_rotation_goes_on() {
    let (store, other) = two();
    let running = open(&store, &repo::secret()).unwrap();
    let first = backup(&running, "first");
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[other]).unwrap();
    let new = backup(&open(&store, &repo::secret()).unwrap(), "new");
    let late = backup(&running, "late");
    let repository = open(&store, &repo::secret()).unwrap();
    for (id, should) in [(first, "first"), (new, "new"), (late, "late")] {
        assert_eq!(text(&repository, &id).unwrap(), should);
    }
    // It collects nothing: what is in use it cannot see.
    let plan = seabed_engine::gc::plan(&running, &Default::default(), &Silent);
    assert!(plan.is_err(), "a collection by keys of before");
}

/// A second program reads what was written before and after a rotation, written from the specification alone.
#[test]
fn the_independent_reader_reads_both_epochs() {
    let (store, other) = two();
    let before = backup(&open(&store, &repo::secret()).unwrap(), "before");
    keys::rotate(&open(&store, &repo::secret()).unwrap(), &[other]).unwrap();
    let after = backup(&open(&store, &repo::secret()).unwrap(), "after");
    let objects: BTreeMap<String, Arc<Vec<u8>>> = store.objects().into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect();
    let view = View::new(&objects, &[7; 32]).unwrap();
    for (id, text) in [(before, "before"), (after, "after")] {
        let files = view.contents(view.snapshot(id.as_bytes()).unwrap()).unwrap();
        assert_eq!(files.values().collect::<Vec<_>>(), [text.as_bytes()]);
    }
    assert!(View::new(&objects, &[1; 32]).is_err(), "the removed slot");
}
