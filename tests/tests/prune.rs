//! `restore --delete` takes away what the snapshot does not have, and nothing of which nobody knows that.
//! Each test is a way in which it once destroyed files.

use crate::attacker::{Attacker, Victim, entry};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use seabed_engine::error::{Error, Kind};
use seabed_engine::format::entry::{EntryKind, STATUS_UNREADABLE};
use seabed_engine::id::{ChunkId, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{Pattern, RestoreOptions, RestoreReport, restore};

use seabed_tests::repo::select;
use std::fs;

fn prune(attacker: &Attacker, victim: &Victim, id: &SnapshotId, path: &[u8]) -> Result<RestoreReport, Error> {
    let options = TargetOptions { delete: true, ..Default::default() };
    let options = RestoreOptions { target: victim.target(), options, keep_going: true, threads: 2, ..Default::default() };
    restore(&attacker.repository, &select(&attacker.repository, id, path)?, &options, &Silent)
}

#[test]
fn surplus_goes_at_every_level() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let top = vec![attacker.file(b"a", b"a"), (entry(b"dir", EntryKind::Directory), None), (entry(b"none", EntryKind::Directory), None)];
    let id = attacker.tree(0, attacker.leaf(&[(b"", top), (b"dir", vec![attacker.file(b"b", b"b")])]));
    for name in ["x", "dir/y", "none/z", "dir/deep/w"] {
        let path = victim.target().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"surplus").unwrap();
    }
    let report = prune(&attacker, &victim, &id, b"").unwrap();
    assert_eq!(report.files_deleted, 5);
    let mut left: Vec<_> = fs::read_dir(victim.target()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a", "dir", "none"]);
    assert!(fs::read_dir(victim.target().join("none")).unwrap().next().is_none());
    assert_eq!(fs::read(victim.target().join("dir/b")).unwrap(), b"b");
    assert_eq!(fs::read_dir(victim.target().join("dir")).unwrap().count(), 1);
}

/// `restore ID:/etc/passwd --target /etc --delete` kept `passwd` and removed the rest of `/etc`.
#[test]
fn a_single_file_is_no_reason_to_empty_its_directory() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let id = attacker.tree(0, attacker.leaf(&[(b"", vec![attacker.file(b"a", b"new")])]));
    fs::write(victim.target().join("neighbour"), b"mine").unwrap();
    assert_eq!(prune(&attacker, &victim, &id, b"a").unwrap_err().kind(), Kind::Refused);
    assert_eq!(fs::read(victim.target().join("neighbour")).unwrap(), b"mine");
    assert!(!victim.target().join("a").exists(), "refused before anything was written");
}

/// A directory that could not be listed has no children in its snapshot: a restore over a good copy emptied it.
#[test]
fn what_the_backup_could_not_list_stays() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let mut dir = entry(b"private", EntryKind::Directory);
    dir.status = STATUS_UNREADABLE;
    let id = attacker.tree(0, attacker.leaf(&[(b"", vec![attacker.file(b"a", b"a"), (dir, None)])]));
    fs::create_dir(victim.target().join("private")).unwrap();
    fs::write(victim.target().join("private/only copy"), b"mine").unwrap();
    prune(&attacker, &victim, &id, b"").unwrap();
    assert_eq!(fs::read(victim.target().join("private/only copy")).unwrap(), b"mine");
}

/// With `--keep-going` the names of a damaged leaf looked surplus: 448 good files that are in the snapshot were removed.
#[test]
fn nothing_goes_while_names_cannot_be_read() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let good = attacker.leaf(&[(b"", vec![attacker.file(b"a", b"a")])]);
    let gone = (ChunkId::new([1; 32]), ChunkId::new([2; 32]));
    let node = attacker.node(1, &[(b"", b"a".to_vec(), good), (b"", b"m".to_vec(), gone)]);
    let id = attacker.tree(1, node);
    fs::write(victim.target().join("n"), b"in the leaf that is lost").unwrap();
    let report = prune(&attacker, &victim, &id, b"").unwrap();
    assert!(report.error_count > 0 && report.files_deleted == 0, "{report:?}");
    assert_eq!(fs::read(victim.target().join("n")).unwrap(), b"in the leaf that is lost");
    assert_eq!(fs::read(victim.target().join("a")).unwrap(), b"a");
}

/// A backup with `-x` stores a mount point as an empty directory: a restore in place emptied what was mounted there.
#[test]
fn a_file_system_that_was_left_out_stays() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let id = attacker.tree(0, attacker.leaf(&[(b"", vec![(entry(b"media", EntryKind::Directory), None)])]));
    let media = victim.target().join("media");
    fs::create_dir(&media).unwrap();
    mount("tmpfs", &media, "tmpfs", MountFlags::empty(), None).expect("the right to mount a tmpfs (run as root, or under `unshare -rm`)");
    fs::write(media.join("film"), b"mine").unwrap();
    let result = prune(&attacker, &victim, &id, b"");
    let left = fs::read(media.join("film"));
    unmount(&media, UnmountFlags::DETACH).unwrap();
    assert_eq!(left.unwrap(), b"mine", "{result:?}");
}

/// `restore latest --target /mnt --delete` of a backup of /home/alice removed /mnt/etc and /mnt/home/bob: above its sources a backup has
/// not looked around.
#[test]
fn what_lies_beside_the_sources_stays() {
    let source = tempfile::tempdir().unwrap();
    let alice = source.path().join("alice");
    fs::create_dir(&alice).unwrap();
    fs::write(alice.join("letter"), b"dear").unwrap();
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let report = seabed_tests::repo::backup_paths(&attacker.repository, std::slice::from_ref(&alice)).unwrap();
    let place = victim.target().join(alice.strip_prefix("/").unwrap());
    let beside = [victim.target().join("etc"), place.parent().unwrap().join("bob")];
    for path in beside.iter().chain([&place.join("surplus")]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"mine").unwrap();
    }
    prune(&attacker, &victim, &report.snapshot.unwrap(), b"").unwrap();
    assert!(beside.iter().all(|path| path.exists()) && !place.join("surplus").exists());
}

/// Children that could not be looked at are not in the snapshot, and their directory said nothing of it.
#[test]
fn what_the_backup_could_not_look_at_stays() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let top = vec![attacker.file(b"a", b"a"), (entry(b"dir", EntryKind::Directory), None)];
    let leaf = attacker.leaf(&[(b"", top)]);
    let id = attacker.tree_with_failure(leaf, b"/dir/child");
    fs::create_dir(victim.target().join("dir")).unwrap();
    for name in ["dir/child", "dir/other", "beside"] {
        fs::write(victim.target().join(name), b"mine").unwrap();
    }
    prune(&attacker, &victim, &id, b"").unwrap();
    assert!(["dir/child", "dir/other", "beside"].iter().all(|name| victim.target().join(name).exists()));
}

/// A surplus directory went whole, with what `--exclude` was to protect in it.
#[test]
fn what_is_excluded_stays_in_surplus_directories() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let id = attacker.tree(0, attacker.leaf(&[(b"", vec![attacker.file(b"a", b"a")])]));
    fs::create_dir_all(victim.target().join("old/deep")).unwrap();
    for name in ["old/x", "old/deep/y.keep", "old/deep/z"] {
        fs::write(victim.target().join(name), b"mine").unwrap();
    }
    let mut options = RestoreOptions { target: victim.target(), threads: 2, ..Default::default() };
    options.exclude = vec![Pattern { text: b"*.keep".to_vec(), fold_case: false }];
    options.options.delete = true;
    for dry_run in [true, false] {
        options.options.dry_run = dry_run;
        let selected = select(&attacker.repository, &id, b"").unwrap();
        let report = restore(&attacker.repository, &selected, &options, &Silent).unwrap();
        assert!(report.errors.is_empty() && report.files_deleted == 2, "{report:?}");
    }
    assert!(victim.target().join("old/deep/y.keep").exists());
    assert!(!victim.target().join("old/x").exists() && !victim.target().join("old/deep/z").exists());
}

/// A directory that had to make way for a file went with everything in it, excluded or not.
#[test]
fn what_is_excluded_stays_where_a_file_replaces_its_directory() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let id = attacker.tree(0, attacker.leaf(&[(b"", vec![attacker.file(b"a", b"a"), attacker.file(b"b", b"b")])]));
    for name in ["a/x", "a/y.keep", "b/z"] {
        let path = victim.target().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"mine").unwrap();
    }
    let mut options = RestoreOptions { target: victim.target(), threads: 2, ..Default::default() };
    options.exclude = vec![Pattern { text: b"*.keep".to_vec(), fold_case: false }];
    options.options.delete = true;
    let selected = select(&attacker.repository, &id, b"").unwrap();
    let report = restore(&attacker.repository, &selected, &options, &Silent).unwrap();
    assert!(report.error_count == 1 && report.errors[0].to_string().contains("not empty"), "{report:?}");
    assert!(victim.target().join("a/y.keep").exists() && !victim.target().join("a/x").exists());
    assert_eq!(fs::read(victim.target().join("b")).unwrap(), b"b");
}
