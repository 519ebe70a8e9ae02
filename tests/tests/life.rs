//! A repository's whole life, the same on every kind of store: memory, a directory, the S3 server of this process, and, where `servers`
//! is asked for them, Garage and rclone. What is damaged here is damaged through the store, as any program could.

use crate::roundtrip::{scratch, sequences_come_back};
use seabed_engine::backup::{BackupReport, backup};
use seabed_engine::check::{CheckOptions, CheckReport, ReadData, check};
use seabed_engine::error::{Error, Kind};
use seabed_engine::id::{ObjectName, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::Repository;
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{RestoreOptions, RestoreReport, restore};
use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{bytes_stream, dump_path, init, open, options, restore_to, select};
use seabed_tests::s3_server::S3Server;
use seabed_tests::trees::{Tree, a_day_later, capture, differences, full, noise, settle};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A new handle of the store of this name; what it holds stays from handle to handle.
pub type At<'a> = &'a dyn Fn(&str) -> Arc<dyn Store>;

/// Everything that a repository goes through, and `sequences` random ones.
pub fn holds(at: At, sequences: u32) {
    crate::s3::lives_in(&|| at("hosts"));
    Life::begin(at).goes_on();
    let count = AtomicU32::new(0);
    sequences_come_back(sequences, &|| at(&format!("random-{}", count.fetch_add(1, Relaxed))));
}

/// The sources of two days, and the snapshots of them in the store.
struct Life<'a> {
    at: At<'a>,
    place: TempDir,
    cache: TempDir,
    days: Vec<(SnapshotId, Tree, Vec<u8>)>,
}

impl<'a> Life<'a> {
    fn begin(at: At<'a>) -> Self {
        let life = Life { at, place: tempfile::tempdir_in(scratch()).unwrap(), cache: tempfile::tempdir().unwrap(), days: Vec::new() };
        std::fs::create_dir(life.top()).unwrap();
        full(&life.top());
        settle(life.place.path());
        init(life.store(), Some(life.cache.path())).unwrap();
        life
    }

    fn store(&self) -> Arc<dyn Store> {
        (self.at)("life")
    }

    fn top(&self) -> PathBuf {
        self.place.path().join("src")
    }

    /// As the host that made it, or as one that has only the place and the key.
    fn open(&self, cached: bool) -> Repository {
        open(self.store(), cached.then(|| self.cache.path())).unwrap()
    }

    fn backup(&self, stream: &[u8]) -> BackupReport {
        let mut asked = options(&[self.top()]);
        asked.streams.push(bytes_stream("dumps/day.sql", stream.to_vec()));
        let report = backup(&self.open(true), asked, &Silent).unwrap();
        assert!(report.errors.is_empty(), "{report:?}");
        report
    }

    fn goes_on(&mut self) {
        let streams = [noise(1, 700_000), [noise(1, 650_000), noise(2, 50_000)].concat()];
        let first = self.backup(&streams[0]);
        self.days.push((first.snapshot.unwrap(), capture(&self.top(), false), streams[0].clone()));
        let same = self.backup(&streams[0]);
        // A stream is read anew every day, and so counts as new; what it holds is not stored again.
        assert_eq!((same.summary.data_chunks, same.summary.files_new, same.summary.files_changed), (0, 1, 0));
        self.days.push((same.snapshot.unwrap(), capture(&self.top(), false), streams[0].clone()));
        a_day_later(&self.top());
        let next = self.backup(&streams[1]);
        self.days.push((next.snapshot.unwrap(), capture(&self.top(), false), streams[1].clone()));
        let (before, added) = (first.summary.bytes_added, next.summary.bytes_added);
        assert!(added > 100_000 && added < before / 10, "{added} after {before}: what changed, and some of what lies beside it");
        assert!(differences(&self.days[0].1, &self.days[2].1).len() > 7, "the days differ");
        for cached in [true, false] {
            self.all_comes_back(cached);
        }
        self.survives_a_damaged_pack();
        self.survives_a_lost_index();
    }

    /// Every day, byte for byte, as a tree and by path; and the check has nothing to say.
    fn all_comes_back(&self, cached: bool) {
        let repository = self.open(cached);
        for (snapshot, want, stream) in &self.days {
            let (have, report) = self.restored(&repository, snapshot);
            assert!(report.errors.is_empty() && report.shortfalls.is_empty(), "{report:?}");
            assert_eq!(differences(want, &have), [""; 0]);
            assert!(dump_path(&repository, snapshot, b"dumps/day.sql").unwrap() == *stream);
            let big = self.top().join("big");
            assert!(dump_path(&repository, snapshot, &big.as_os_str().as_bytes()[1..]).unwrap() == want[&b"big"[..]].content);
        }
        let report = checked(&repository);
        assert!(report.is_clean() && report.warnings.is_empty(), "{report:?}");
        assert_eq!((report.snapshots, report.packs_read), (self.days.len() as u64, report.packs));
    }

    fn restored(&self, repository: &Repository, snapshot: &SnapshotId) -> (Tree, RestoreReport) {
        let target = tempfile::tempdir_in(self.place.path()).unwrap();
        let asked = RestoreOptions {
            target: target.path().to_owned(),
            options: TargetOptions { numeric_owner: true, privileged: true, ..TargetOptions::default() },
            keep_going: true,
            ..RestoreOptions::default()
        };
        let report = restore(repository, &select(repository, snapshot, b"").unwrap(), &asked, &Silent).unwrap();
        let top = self.top();
        let place = target.path().join(top.strip_prefix("/").unwrap());
        (if place.is_dir() { capture(&place, false) } else { Tree::new() }, report)
    }

    /// One bit of the longest pack: it is named, files that need it are, and all others come back.
    fn survives_a_damaged_pack(&self) {
        let store = self.store();
        let pack = store.list("data").unwrap().into_iter().max_by_key(|pack| pack.bytes).unwrap();
        let whole = store.get(&pack.name, pack.bytes).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        replace(&*store, &pack.name, &damaged);
        let (snapshot, want, _) = &self.days[0];
        for cached in [true, false] {
            let repository = self.open(cached);
            let report = checked(&repository);
            let named = |error: &Error| error.kind() == Kind::Damage && error.to_string().contains(pack.name.as_str());
            let finding = report.findings.iter().find(|finding| named(&finding.error)).unwrap_or_else(|| panic!("{report:?}"));
            assert!(finding.snapshots.contains(snapshot) && !finding.paths.is_empty(), "{report:?}");
            let error = restore_to(&repository, snapshot, b"", &self.place.path().join("none")).unwrap_err();
            assert_eq!(error.kind(), Kind::Damage, "{error}");
            let (have, report) = self.restored(&repository, snapshot);
            assert!(report.errors.iter().any(|error| error.kind() == Kind::Damage), "{report:?}");
            // What is damaged is not there, and never there with other bytes.
            let content = |path: &[u8]| have.get(path).map(|node| &node.content);
            let lost: Vec<_> = want.iter().filter(|(path, node)| node.is_file() && content(path) != Some(&node.content)).collect();
            assert!(!lost.is_empty() && lost.len() < want.len() / 2, "{} of {} entries", lost.len(), want.len());
            for (path, _) in lost {
                assert_eq!(content(path), None, "{:?} with other bytes", OsStr::from_bytes(path));
            }
        }
        replace(&*store, &pack.name, &whole);
        // By the host that saw the damage: until a check of its own finds the pack whole, it would store anew what lies there.
        self.all_comes_back(true);
    }

    /// The index is gone: it is missed, made anew from the packs, and nothing is stored twice afterwards.
    fn survives_a_lost_index(&self) {
        let store = self.store();
        let segments = store.list("index").unwrap();
        assert!(!segments.is_empty());
        segments.iter().for_each(|segment| store.delete(&segment.name).unwrap());
        assert!(checked(&self.open(false)).is_damaged());
        let report = rebuild(&self.open(true), &Silent).unwrap();
        assert!(report.damaged.is_empty() && report.unreadable.is_empty() && report.segments > 0, "{report:?}");
        assert_eq!(report.snapshots, self.days.len() as u64);
        self.all_comes_back(false);
        let again = self.backup(&self.days.last().unwrap().2);
        assert_eq!(again.summary.data_chunks, 0);
    }
}

fn checked(repository: &Repository) -> CheckReport {
    check(repository, &CheckOptions { read_data: ReadData::All, ..Default::default() }, &Silent).unwrap()
}

/// Other bytes under a name, which no put may do.
fn replace(store: &dyn Store, name: &ObjectName, bytes: &[u8]) {
    store.delete(name).unwrap();
    store.put(name, bytes).unwrap();
}

#[test]
fn a_repository_lives_in_memory() {
    let stores: Mutex<HashMap<String, MemoryStore>> = Mutex::default();
    holds(&|name| Arc::new(stores.lock().unwrap().entry(name.to_owned()).or_default().clone()), 0);
}

#[test]
fn a_repository_lives_in_a_directory() {
    let place = tempfile::tempdir_in(scratch()).unwrap();
    holds(&|name| Arc::new(directory(&place.path().join(name))), 8);
}

fn directory(path: &Path) -> LocalStore {
    if path.exists() { LocalStore::open(path).unwrap() } else { LocalStore::create(path).unwrap() }
}

#[test]
fn a_repository_lives_in_the_s3_server_of_this_process() {
    let server = S3Server::start();
    holds(&|name| Arc::new(crate::s3::store(&server, name)), 4);
}
