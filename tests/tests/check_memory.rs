//! Checks that remember: what was verified longest ago is read first, on whatever host, as far as a budget goes; and nothing is called verified
//! that was not read whole and found sound.

use crate::cli::{Home, lines};
use seabed_engine::check::{Budget, CheckOptions, CheckReport, ReadData, check};
use seabed_engine::error::{Error, Result, StoreOp};
use seabed_engine::format::notes::{Fact, PackPrefix, VERIFIED, WHOLE, prefix};
use seabed_engine::format::wire::{Bytes, Time};
use seabed_engine::id::{ObjectName, PackId};
use seabed_engine::observe::{Observer, Progress, Silent};
use seabed_engine::repository::Repository;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::store::{Listed, Store, Upload};
use seabed_tests::repo::{backup_paths, init, open};
use seabed_tests::trees::noise;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DAY: i64 = 86_400 * 1_000_000_000;
const DAY_SECS: u64 = 86_400;

/// A repository of a backup a day, `days` of them: each day's packs are as old as that.
fn daily(days: i64) -> (MemoryStore, usize) {
    let store = MemoryStore::new();
    // Beyond 1970, so that no time of the store stands for none.
    store.set_now(1000 * DAY);
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let source = tempfile::tempdir().unwrap();
    for day in 1..=days {
        store.set_now((1000 + day) * DAY);
        fs::write(source.path().join(format!("f{day}")), noise(day as u64, 20_000)).unwrap();
        backup_paths(&repository, &[source.path().to_owned()]).unwrap();
    }
    let packs = packs(&store).len();
    (store, packs)
}

/// All packs, the oldest first.
fn packs(store: &MemoryStore) -> Vec<Listed> {
    let folders = ["data", "names", "lists"];
    let mut packs: Vec<Listed> = folders.iter().flat_map(|folder| store.list(folder).unwrap()).collect();
    packs.sort_by_key(|pack| (pack.modified, pack_of(pack)));
    packs
}

fn pack_of(listed: &Listed) -> PackId {
    listed.name.as_pack().unwrap().1
}

fn oldest(budget: Option<Budget>, max_age_days: Option<u64>) -> CheckOptions {
    let max_age = max_age_days.map(|days| Duration::from_secs(days * DAY_SECS));
    CheckOptions { read_data: ReadData::Oldest { budget, max_age }, ..CheckOptions::default() }
}

/// A check by a host that has never been here.
fn look(store: &MemoryStore, day: i64, options: CheckOptions) -> CheckReport {
    store.set_now((1000 + day) * DAY);
    check(&open(Arc::new(store.clone()), None).unwrap(), &options, &Silent).unwrap()
}

/// What each note says is verified, oldest note first.
fn noted(repository: &Repository) -> Vec<BTreeSet<PackPrefix>> {
    let notes = repository.notes_about(&WHOLE).unwrap();
    let prefixes = |fact| match fact {
        Fact::Verified(verified) => verified.runs.0.iter().flat_map(|run| run.prefixes()).collect(),
        _ => BTreeSet::new(),
    };
    notes.iter().filter(|(_, note)| note.kind == VERIFIED).map(|(_, note)| prefixes(note.fact().unwrap())).collect()
}

fn fresh(store: &MemoryStore) -> Repository {
    open(Arc::new(store.clone()), None).unwrap()
}

/// Three hosts that have never heard of each other read a third each, none of them what another one has read, and the oldest first.
#[test]
fn hosts_go_on_where_others_stopped() {
    let (store, count) = daily(6);
    let all = packs(&store);
    let third = all.iter().map(|pack| pack.bytes).sum::<u64>().div_ceil(3);
    let before = look(&store, 99, CheckOptions::default());
    let never = (before.packs_never_verified, before.bytes_never_verified);
    assert_eq!(never, (count as u64, all.iter().map(|pack| pack.bytes).sum()));
    let (age, is_verified) = before.oldest_unverified.map(|oldest| (oldest.age_secs, oldest.is_verified)).unwrap();
    assert_eq!((age, is_verified), (98 * DAY_SECS, false));
    let (mut read, mut first) = (0, BTreeSet::new());
    for day in 100..103 {
        let report = look(&store, day, oldest(Some(Budget::Bytes(third)), Some(30)));
        assert!(report.is_clean(), "{report:?}");
        let from = read;
        read += report.packs_read as usize;
        assert!(report.packs_read > 0 && report.packs_never_verified == (count - read) as u64, "{report:?}");
        let newest = noted(&fresh(&store)).pop().unwrap();
        assert_eq!(newest, all[from..read].iter().map(|pack| prefix(&pack_of(pack))).collect(), "day {day}");
        if first.is_empty() {
            first = newest;
        }
        if let Some(next) = all.get(read) {
            let found = report.oldest_unverified.unwrap();
            assert_eq!(
                (found.age_secs as i64, found.is_verified),
                (day * DAY_SECS as i64 - (next.modified - 1000 * DAY) / 1_000_000_000, false)
            );
        }
    }
    assert_eq!(read, count, "all of it, and nothing twice");
    let report = look(&store, 104, oldest(None, Some(30)));
    assert_eq!((report.packs_read, report.packs_overdue, report.packs_never_verified), (0, 0, 0));
    assert_eq!(report.oldest_unverified.map(|oldest| (oldest.age_secs, oldest.is_verified)), Some((4 * DAY_SECS, true)));
    // Without an age what was verified first is read again.
    let report = look(&store, 105, oldest(Some(Budget::Bytes(1)), None));
    assert_eq!(report.packs_read, 1);
    assert!(noted(&fresh(&store)).pop().unwrap().is_subset(&first));
    // Nothing but a budget: what is too old is said, and fails nothing.
    let report = look(&store, 140, oldest(Some(Budget::Bytes(1)), Some(30)));
    assert!(report.is_clean() && report.packs_overdue == count as u64 - 1, "{report:?}");
    assert!(report.bytes_overdue > 0);
}

#[test]
fn what_is_damaged_is_never_dated() {
    let (store, count) = daily(3);
    assert_eq!(look(&store, 10, oldest(None, None)).packs_read as usize, count);
    let hurt = packs(&store).into_iter().find(|pack| pack.name.folder() == "data").unwrap();
    assert!(store.corrupt(&hurt.name, |bytes| bytes[60] ^= 1));
    for day in [50, 60] {
        let report = look(&store, day, oldest(None, Some(30)));
        assert!(report.is_damaged(), "{report:?}");
        assert_eq!(report.packs_read as usize, if day == 50 { count } else { 1 });
        let left = report.oldest_unverified.unwrap();
        assert_eq!((left.pack, left.age_secs, left.is_verified), (pack_of(&hurt), (day as u64 - 10) * DAY_SECS, true));
        assert_eq!((report.packs_overdue, report.bytes_overdue), (1, hurt.bytes));
    }
    // Half of a pack is not all of it: a truncated one neither.
    let short = packs(&store).into_iter().find(|pack| pack.name.folder() == "names").unwrap();
    assert!(store.corrupt(&short.name, |bytes| bytes.truncate(bytes.len() / 2)));
    look(&store, 100, CheckOptions { read_data: ReadData::All, ..CheckOptions::default() });
    let last = noted(&fresh(&store)).pop().unwrap();
    assert!(last.len() == count - 2 && !last.contains(&prefix(&pack_of(&short))) && !last.contains(&prefix(&pack_of(&hurt))));
}

/// A damaged pack never gets a date. It stayed the first in every check with a budget, and where it was as long as that, nothing else was ever
/// read again.
#[test]
fn a_damaged_pack_keeps_a_small_budget_from_no_other() {
    let (store, count) = daily(3);
    let all = packs(&store);
    assert!(store.corrupt(&all[0].name, |bytes| bytes[60] ^= 1));
    let cache = tempfile::tempdir().unwrap();
    let night = |day: i64| {
        store.set_now((1000 + day) * DAY);
        check(&open(Arc::new(store.clone()), Some(cache.path())).unwrap(), &oldest(Some(Budget::Bytes(1)), None), &Silent).unwrap()
    };
    assert_eq!(night(10).packs_read, 1, "nobody knew of it");
    for day in 11..10 + count as i64 {
        let report = night(day);
        // One of the others, and that one beside it, for as long as it is as it is.
        assert!(report.is_damaged() && report.packs_read == 2, "day {day}: {report:?}");
        assert_eq!(report.packs_never_verified, count as u64 - (day as u64 - 10), "day {day}");
    }
    // The end of a pack is looked at in any check; of one whose end is damaged nothing else is read, and nothing is spent.
    let (store, _) = daily(1);
    let all = packs(&store);
    assert!(store.corrupt(&all[0].name, |bytes| *bytes.last_mut().unwrap() ^= 1));
    let report = look(&store, 10, oldest(Some(Budget::Bytes(1)), None));
    assert!(report.is_damaged() && report.packs_read == 1, "{report:?}");
    assert_eq!(noted(&fresh(&store)), [BTreeSet::from([prefix(&pack_of(&all[1]))])]);
    // What is condemned goes anyhow: it waits for all others.
    let (store, count) = daily(1);
    let all = packs(&store);
    let repository = fresh(&store);
    let (class, id) = all[0].name.as_pack().unwrap();
    repository.condemn(&repository.records(&Default::default()).unwrap(), [(class, id)].into_iter()).unwrap();
    for _ in 1..count {
        look(&store, 10, oldest(Some(Budget::Bytes(1)), None));
    }
    let dated: BTreeSet<PackPrefix> = noted(&repository).into_iter().flatten().collect();
    assert_eq!(dated, all[1..].iter().map(|pack| prefix(&pack_of(pack))).collect());
}

/// A pack was verified, and five days later a check found it rotten, exit 23. The check of the night after left it out as young, and said that
/// no damage was found.
#[test]
fn what_is_known_to_be_damaged_is_never_too_young() {
    let (store, count) = daily(1);
    let cache = tempfile::tempdir().unwrap();
    let night = |day: i64, options: CheckOptions| {
        store.set_now((1000 + day) * DAY);
        check(&open(Arc::new(store.clone()), Some(cache.path())).unwrap(), &options, &Silent).unwrap()
    };
    let hour = oldest(Some(Budget::Time(Duration::from_secs(3600))), Some(30));
    assert_eq!(night(10, hour).packs_read as usize, count);
    let hurt = packs(&store).into_iter().find(|pack| pack.name.folder() == "data").unwrap();
    assert!(store.corrupt(&hurt.name, |bytes| bytes[60] ^= 1));
    assert!(night(15, CheckOptions { read_data: ReadData::All, ..CheckOptions::default() }).is_damaged());
    for day in 16..18 {
        let report = night(day, hour);
        assert!(report.is_damaged() && report.packs_read == 1, "day {day}: {report:?}");
    }
    // Healed: it is read once more, and then it is as young as the others.
    assert!(store.corrupt(&hurt.name, |bytes| bytes[60] ^= 1));
    assert_eq!([18, 19].map(|day| night(day, hour)).map(|report| (report.is_clean(), report.packs_read)), [(true, 1), (true, 0)]);
}

/// Who only asks what could be done changes nothing in the repository, and be it a date.
#[test]
fn a_dry_run_notes_nothing() {
    let (store, count) = daily(1);
    let report = look(&store, 10, CheckOptions { read_data: ReadData::All, dry_run: true, ..CheckOptions::default() });
    assert!(report.packs_read as usize == count && noted(&fresh(&store)).is_empty(), "{report:?}");
}

/// A store whose clock goes on by a minute with each pack that is opened, and that takes nothing where that is wished.
struct Slow {
    inner: MemoryStore,
    now: AtomicI64,
    is_locked: AtomicBool,
}

impl Slow {
    fn new(inner: MemoryStore, day: i64) -> Arc<Self> {
        Arc::new(Slow { inner, now: AtomicI64::new((1000 + day) * DAY), is_locked: AtomicBool::new(false) })
    }
}

impl Store for Slow {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn begin(&self) -> Result<Box<dyn Upload>> {
        if self.is_locked.load(SeqCst) {
            let source = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(Error::Store { op: StoreOp::Put, object: "a note".to_owned(), source });
        }
        self.inner.begin()
    }

    fn get(&self, name: &ObjectName, bytes_max: u64) -> Result<Vec<u8>> {
        self.inner.get(name, bytes_max)
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        self.inner.get_range(name, range, into)
    }

    fn get_suffix(&self, name: &ObjectName, bytes: u64) -> Result<(Vec<u8>, u64)> {
        self.now.fetch_add(60_000_000_000, SeqCst);
        self.inner.get_suffix(name, bytes)
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        self.inner.size(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.inner.list(folder)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.inner.delete(name)
    }

    fn now(&self) -> Result<i64> {
        Ok(self.now.load(SeqCst))
    }
}

/// Takes down warnings, and asks to stop once so many packs are done.
#[derive(Default)]
struct Watcher {
    stop_after: Option<u64>,
    stopped: AtomicBool,
    warnings: Mutex<Vec<String>>,
}

impl Observer for Watcher {
    fn progress(&self, progress: &Progress) {
        if self.stop_after.is_some_and(|packs| progress.packs_done >= packs) {
            self.stopped.store(true, SeqCst);
        }
    }

    fn warning(&self, text: &str) {
        self.warnings.lock().unwrap().push(text.to_owned());
    }

    fn interrupted(&self) -> bool {
        self.stopped.load(SeqCst)
    }
}

#[test]
fn a_budget_of_time_ends_by_the_clock_of_the_store() {
    let (store, count) = daily(6);
    assert!(count > 12, "{count}");
    let slow = Slow::new(store.clone(), 50);
    let minutes = |minutes: u64| oldest(Some(Budget::Time(Duration::from_secs(60 * minutes))), Some(30));
    let read = |options| {
        let report = check(&open(slow.clone(), None).unwrap(), &options, &Silent).unwrap();
        assert!(report.is_clean() && report.packs as usize == count);
        report.packs_read as usize
    };
    assert_eq!(read(minutes(5)), 5);
    // At least one, however little time there is: else nothing would ever be read.
    assert_eq!(read(oldest(Some(Budget::Time(Duration::from_nanos(1))), Some(30))), 1);
    assert_eq!(read(minutes(4)), 4);
    assert_eq!(read(minutes(600)), count - 10);
    assert_eq!(read(minutes(600)), 0);
}

#[test]
fn an_interrupted_check_keeps_what_it_did() {
    let (store, count) = daily(4);
    store.set_now(1050 * DAY);
    let watcher = Watcher { stop_after: Some(5), ..Watcher::default() };
    let stopped = check(&fresh(&store), &CheckOptions { read_data: ReadData::All, ..CheckOptions::default() }, &watcher);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert!(watcher.warnings.lock().unwrap().is_empty());
    assert_eq!(noted(&fresh(&store)).iter().map(BTreeSet::len).collect::<Vec<_>>(), [5]);
    let report = look(&store, 51, oldest(None, Some(30)));
    assert_eq!((report.packs_read as usize, report.packs_never_verified), (count - 5, 0));
}

#[test]
fn a_store_that_takes_no_note_costs_a_warning() {
    let (store, count) = daily(2);
    let slow = Slow::new(store.clone(), 50);
    slow.is_locked.store(true, SeqCst);
    let watcher = Watcher::default();
    let report = check(&open(slow.clone(), None).unwrap(), &oldest(None, None), &watcher).unwrap();
    assert!(report.is_clean() && report.packs_read as usize == count);
    let warnings = watcher.warnings.lock().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("could not be noted"), "{warnings:?}");
    assert!(noted(&fresh(&store)).is_empty());
}

/// A pack a day: the notes of many days are gathered into one, and no date is lost.
#[test]
fn notes_are_gathered() {
    let (store, count) = daily(7);
    assert!(count >= 21, "{count}");
    let mut most = 0;
    for day in 100..120 {
        let report = look(&store, day, oldest(Some(Budget::Bytes(1)), None));
        assert_eq!((report.packs_read, report.packs_never_verified), (1, count as u64 - (day as u64 - 99)), "day {day}");
        most = most.max(noted(&fresh(&store)).len());
    }
    assert_eq!((most, noted(&fresh(&store)).len()), (16, 4), "the seventeenth takes the place of the others");
    // Of the seventeen the dates are those of their days, and those of packs that are gone are let go.
    for _ in 20..count {
        look(&store, 120, oldest(Some(Budget::Bytes(1)), None));
    }
    let report = look(&store, 121, CheckOptions::default());
    assert_eq!(report.oldest_unverified.map(|oldest| oldest.age_secs), Some(21 * DAY_SECS));
    assert_eq!(look(&store, 121, oldest(None, Some(10))).packs_read, 11, "those of days 100 to 110");
}

#[test]
fn hostile_notes_of_verifications_are_damage_and_no_more() {
    let (store, count) = daily(2);
    let repository = fresh(&store);
    let put = |body: &[u8]| repository.put_note(VERIFIED, &WHOLE, Time::default(), Bytes(body.to_vec())).unwrap();
    put(&[]);
    put(&[0xa1, 0x00, 0x9a, 0xff, 0xff, 0xff, 0xff, 0xa0]);
    put(&[0xff; 5000]);
    repository.put_note("of a later version", &WHOLE, Time::default(), Bytes(vec![1, 2, 3])).unwrap();
    let report = look(&store, 10, oldest(None, None));
    assert_eq!((report.packs_read as usize, report.findings.len()), (count, 3), "{report:?}");
    assert!(report.findings.iter().all(|finding| finding.error.to_string().contains("notes/")));
    assert_eq!(look(&store, 11, oldest(None, Some(30))).packs_read, 0);
}

#[test]
fn all_paths_of_a_damage_are_named_where_that_is_wished() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let source = tempfile::tempdir().unwrap();
    for n in 0..40 {
        fs::write(source.path().join(format!("f{n:02}")), noise(n, 3000)).unwrap();
    }
    backup_paths(&repository, &[source.path().to_owned()]).unwrap();
    let pack = store.list("data").unwrap().remove(0);
    assert!(store.corrupt(&pack.name, |bytes| bytes[60] ^= 1));
    for (paths_max, named) in [(CheckOptions::default().paths_max, 16), (3, 3), (usize::MAX, 40)] {
        let report = check(&repository, &CheckOptions { read_data: ReadData::All, paths_max, ..CheckOptions::default() }, &Silent).unwrap();
        let finding = &report.findings[0];
        assert_eq!((report.findings.len(), finding.paths.len(), finding.more_paths), (1, named, named < 40));
    }
}

#[test]
fn the_command_says_how_old_what_is() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let out = home.ends(0, &["check"]);
    assert!(out.contains("oldest unverified data: 0 minutes (pack ") && out.contains("never verified: 3 packs ("), "{out}");
    let out = home.ends(0, &["check", "--budget", "1h", "--max-age", "30d"]);
    assert!(out.contains("3 packs read and verified") && !out.contains("never verified"), "{out}");
    let told = lines(&home.ends(0, &["check", "--budget", "1G", "--max-age", "30d", "--json"])).pop().unwrap();
    let of = |key: &str| told[key].as_u64().unwrap();
    assert_eq!((of("packs_read"), of("packs_never_verified"), of("packs_overdue"), of("bytes_overdue")), (0, 0, 0, 0));
    assert!(of("oldest_unverified_seconds") < 600 && told["oldest_unverified_pack"].as_str().unwrap().len() == 64);
    let told = lines(&home.ends(0, &["check", "--read-data", "--budget", "10k", "--json"])).pop().unwrap();
    assert!(told["packs_overdue"].is_null() && told["packs_read"] != 0, "{told}");
    home.ends(20, &["check", "--budget", "0"]);
    home.ends(20, &["check", "--budget", "1h", "--read-data-subset", "5%"]);
    home.ends(20, &["check", "--paths", "many"]);
    home.ends(0, &["check", "--paths", "all"]);
}
