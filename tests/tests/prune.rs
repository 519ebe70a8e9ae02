//! `restore --delete` takes away what the snapshot does not have, and nothing of which nobody knows that.
//! Each test is a way in which it once destroyed files.

use crate::attacker::{Attacker, Victim, entry};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use seabed_engine::error::{Error, Kind};
use seabed_engine::format::entry::{EntryKind, STATUS_UNREADABLE};
use seabed_engine::id::{ChunkId, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{RestoreOptions, RestoreReport, restore};
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
