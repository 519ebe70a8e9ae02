//! The contract suite on the stores that need no server, and what only a directory can suffer: debris, strangers, full and
//! read-only disks. It must never leave a mount behind. It obeys DESIGN section 7 and the local rows of the fault list.

use seabed_engine::error::{Error, Kind};
use seabed_engine::store::Store;
use seabed_engine::store::local::LocalStore;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::mount::Mount;
use seabed_tests::store_contract::{bytes, check, io_kind, name, names};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

fn local() -> (TempDir, LocalStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::create(dir.path().join("repo")).unwrap();
    (dir, store)
}

fn temps(repo: &Path) -> usize {
    fs::read_dir(repo.join("tmp")).map_or(0, Iterator::count)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn memory_keeps_the_contract() {
    check(MemoryStore::new);
}

#[test]
fn local_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let count = AtomicU32::new(0);
    let fresh = || LocalStore::create(dir.path().join(format!("repo-{}", count.fetch_add(1, Relaxed)))).unwrap();
    check(fresh);
    for n in 0..count.into_inner() {
        assert_eq!(temps(&dir.path().join(format!("repo-{n}"))), 0, "no temp file is left");
    }
}

#[test]
fn memory_helpers_reach_past_the_contract() {
    let store = MemoryStore::new();
    let clone = store.clone();
    let a = name("index/a");
    store.put(&a, b"abc").unwrap();
    let before = clone.objects();
    assert!(clone.corrupt(&a, |bytes| bytes[1] = b'x'));
    assert_eq!(store.get(&a, 3).unwrap(), b"axc");
    assert_eq!(before[&a].as_slice(), b"abc", "what was taken before is not touched");
    assert!(!store.corrupt(&name("index/b"), |_| ()) && !store.remove(&name("index/b")));
    assert!(store.remove(&a));
    assert!(clone.get(&a, 3).unwrap_err().is_missing());
    store.set_now(77);
    assert_eq!(clone.now().unwrap(), 77);
}

#[test]
fn open_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let error = LocalStore::open(dir.path().join("absent")).err().unwrap();
    assert_eq!(error.kind(), Kind::NoRepository);
    assert!(!dir.path().join("absent").exists());
    fs::write(dir.path().join("file"), b"").unwrap();
    assert_eq!(io_kind(LocalStore::open(dir.path().join("file")).err().unwrap()), ErrorKind::NotADirectory);
    assert_eq!(io_kind(LocalStore::create(dir.path().join("file")).err().unwrap()), ErrorKind::NotADirectory);
    assert_eq!(io_kind(LocalStore::create(dir.path().join("file/below")).err().unwrap()), ErrorKind::NotADirectory);
    // Reading leaves no trace either: an empty mount point stays empty.
    let store = LocalStore::open(dir.path()).unwrap();
    assert_eq!(store.sweep_temps().unwrap(), 0);
    assert!(store.get(&name("seabed"), 9).unwrap_err().is_missing());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn create_is_for_the_owner_only_and_takes_no_strangers_directory() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("a/b/repo");
    let store = LocalStore::create(&repo).unwrap();
    store.put(&name("data/ab/cd"), b"x").unwrap();
    store.put(&name("seabed"), b"x").unwrap();
    for folder in [dir.path().join("a"), dir.path().join("a/b"), repo.clone(), repo.join("tmp"), repo.join("data"), repo.join("data/ab")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    assert_eq!(mode(repo.join("seabed")), 0o400);
    assert_eq!(mode(repo.join("data/ab/cd")), 0o400);
    // Ours, so that an interrupted creation can be repeated.
    let again = LocalStore::create(&repo).unwrap();
    assert_eq!(again.get(&name("seabed"), 1).unwrap(), b"x");
    for strange in ["thesis.tex", ".git", "data2"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(strange), b"mine").unwrap();
        let error = LocalStore::create(dir.path()).err().unwrap();
        assert!(matches!(error, Error::PlaceNotEmpty { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn debris_of_the_dead_goes_and_the_living_stay() {
    let (dir, store) = local();
    let repo = dir.path().join("repo");
    // What a killed process leaves, made by a real one.
    let child = Command::new(env!("CARGO_BIN_EXE_store-crash-child")).arg(&repo).output().unwrap();
    assert!(child.status.success(), "{child:?}");
    assert_eq!(temps(&repo), 1, "the child left its temp file");
    // Finished and not yet named: read-only already.
    let sealed = repo.join("tmp").join("0123456789abcdef0123456789abcdef");
    fs::write(&sealed, b"sealed").unwrap();
    // Another machine's, or from before a restart: it goes by its age alone. Some network file systems give each host its own locks,
    // and a backup's upload was swept away by the other host's.
    let foreign = repo.join("tmp").join("fedcba9876543210fedcba9876543210");
    fs::write(&foreign, b"under way").unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    File::options().write(true).open(&sealed).unwrap().set_modified(old).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o400)).unwrap();
    fs::write(repo.join("tmp/strange.txt"), b"not ours").unwrap();
    symlink(dir.path(), repo.join("tmp/00000000000000000000000000000000")).unwrap();
    fs::create_dir(repo.join("tmp/11111111111111111111111111111111")).unwrap();
    let mut living = store.begin().unwrap();
    living.write(b"whole").unwrap();
    assert_eq!(temps(&repo), 7);
    assert_eq!(store.list("").unwrap(), []);
    let other = LocalStore::open(&repo).unwrap();
    assert_eq!(other.sweep_temps().unwrap(), 2);
    assert_eq!(other.sweep_temps().unwrap(), 0);
    assert_eq!(store.sweep_temps().unwrap(), 0, "nor one's own");
    living.finish(&name("notes/01")).unwrap();
    assert_eq!(other.get(&name("notes/01"), 9).unwrap(), b"whole");
    assert!(foreign.exists());
    assert_eq!(temps(&repo), 4, "only what is not ours");
    let dropped = store.begin().unwrap();
    drop(dropped);
    assert_eq!(temps(&repo), 4);
}

/// A sweep that takes a file between its creation and its lock must cost nothing.
#[test]
fn uploads_survive_sweeps_that_never_stop() {
    let (dir, store) = local();
    let other = LocalStore::open(dir.path().join("repo")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                other.sweep_temps().unwrap();
            }
        });
        let result = (0..400).try_for_each(|n| store.begin()?.finish(&name(&format!("notes/{n}"))));
        // Before anything can panic: the scope waits for the sweeper.
        done.store(true, Relaxed);
        result.unwrap();
    });
    assert_eq!(store.list("notes").unwrap().len(), 400);
}

#[test]
fn two_processes_may_put_into_one_fresh_directory() {
    let (dir, first) = local();
    let second = LocalStore::open(dir.path().join("repo")).unwrap();
    let stores = [Arc::new(first), Arc::new(second)];
    std::thread::scope(|scope| {
        for store in stores.clone() {
            scope.spawn(move || {
                for n in 0..40u64 {
                    store.put(&name(&format!("data/{n:02x}/{n:04x}")), &bytes(n, 100)).unwrap();
                }
            });
        }
    });
    assert_eq!(stores[0].list("").unwrap().len(), 40);
}

#[test]
fn strange_files_are_no_objects() {
    let (dir, store) = local();
    let repo = dir.path().join("repo");
    store.put(&name("data/ab/cd"), b"x").unwrap();
    for strange in [".DS_Store", "README.TXT", "data/.nfs0001", "data/ab/cd.bak", "tmp/0123", "data/ab/caf\u{e9}"] {
        fs::write(repo.join(strange), b"strange").unwrap();
    }
    fs::create_dir(repo.join("lost+found")).unwrap();
    fs::write(repo.join("lost+found/a"), b"strange").unwrap();
    symlink("/etc", repo.join("Link")).unwrap();
    assert_eq!(names(&store, ""), ["data/ab/cd"]);
    assert_eq!(names(&store, "data"), ["data/ab/cd"]);
    assert_eq!(names(&store, "tmp"), [""; 0]);
    assert_eq!(io_kind(store.put(&name("tmp/0456"), b"hidden").unwrap_err()), ErrorKind::InvalidInput);
}

#[test]
fn nothing_but_a_regular_file_is_an_object() {
    let (dir, store) = local();
    let repo = dir.path().join("repo");
    store.put(&name("data/ab/00"), b"x").unwrap();
    fs::write(dir.path().join("secret"), b"secret").unwrap();
    symlink(dir.path().join("secret"), repo.join("data/ab/link")).unwrap();
    symlink(dir.path().join("nothing"), repo.join("data/ab/dangling")).unwrap();
    fs::create_dir(repo.join("data/ab/folder")).unwrap();
    let pipe = Command::new("mkfifo").arg(repo.join("data/ab/pipe")).status().unwrap();
    assert!(pipe.success());
    let _socket = std::os::unix::net::UnixListener::bind(repo.join("data/ab/socket")).unwrap();
    for what in ["link", "dangling", "folder", "pipe", "socket"] {
        let object = name(&format!("data/ab/{what}"));
        assert_eq!(io_kind(store.get(&object, 100).unwrap_err()), ErrorKind::InvalidData, "{what}");
        assert_eq!(io_kind(store.get_range(&object, 0..1, &mut Vec::new()).unwrap_err()), ErrorKind::InvalidData, "{what}");
        assert_eq!(io_kind(store.get_suffix(&object, 1).unwrap_err()), ErrorKind::InvalidData, "{what}");
        assert_eq!(io_kind(store.size(&object).unwrap_err()), ErrorKind::InvalidData, "{what}");
        assert_eq!(io_kind(store.put(&object, b"secret too").unwrap_err()), ErrorKind::InvalidData, "{what}");
    }
    assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
    assert!(!dir.path().join("nothing").exists());
    assert_eq!(io_kind(store.list("").unwrap_err()), ErrorKind::InvalidData, "a listing is complete or an error");

    // Nor is anything reached through a folder that is a symlink.
    let away = dir.path().join("away");
    fs::create_dir(&away).unwrap();
    symlink(&away, repo.join("index")).unwrap();
    assert_eq!(io_kind(store.put(&name("index/a"), b"x").unwrap_err()), ErrorKind::NotADirectory);
    assert_eq!(io_kind(store.list("index").unwrap_err()), ErrorKind::NotADirectory);
    assert_eq!(fs::read_dir(&away).unwrap().count(), 0);
    assert_eq!(temps(&repo), 0);
}

#[test]
fn what_a_power_loss_cut_short_is_replaced_and_read_anew() {
    let (dir, store) = local();
    let reader = LocalStore::open(dir.path().join("repo")).unwrap();
    let (object, content) = (name("data/ab/cd"), bytes(1, 200_000));
    for cut in [0, 1, 65_536, 199_999] {
        fs::create_dir_all(dir.path().join("repo/data/ab")).unwrap();
        fs::write(dir.path().join("repo/data/ab/cd"), &content[..cut]).unwrap();
        let mut into = Vec::new();
        // The reader holds the short file open from here on.
        assert_eq!(reader.get_range(&object, 0..200_000, &mut into).unwrap_err().kind(), Kind::Damage);
        store.put(&object, &content).unwrap();
        reader.get_range(&object, 0..200_000, &mut into).unwrap();
        assert!(into == content);
        reader.delete(&object).unwrap();
        assert!(store.get_range(&object, 0..1, &mut into).unwrap_err().is_missing(), "deleted by another");
    }
    // Zeros of the right length are other bytes.
    fs::write(dir.path().join("repo/data/ab/cd"), vec![0; 200_000]).unwrap();
    assert_eq!(io_kind(store.put(&object, &content).unwrap_err()), ErrorKind::AlreadyExists);
}

#[test]
fn an_object_cut_while_it_is_open_is_short() {
    let (dir, store) = local();
    let object = name("data/ab/cd");
    store.put(&object, &bytes(1, 1000)).unwrap();
    let mut into = Vec::new();
    store.get_range(&object, 0..1000, &mut into).unwrap();
    fs::OpenOptions::new().write(true).open(dir.path().join("repo/data/ab/cd")).unwrap().set_len(500).unwrap();
    store.get_range(&object, 0..500, &mut into).unwrap();
    assert_eq!(store.get_range(&object, 0..501, &mut into).unwrap_err().kind(), Kind::Damage);
    assert_eq!(into, b"");
}

#[test]
fn a_directory_that_is_gone_is_not_an_empty_one() {
    let (dir, store) = local();
    store.put(&name("snapshots/a"), b"x").unwrap();
    fs::remove_dir_all(dir.path().join("repo")).unwrap();
    for folder in ["", "snapshots", "index"] {
        assert_eq!(io_kind(store.list(folder).unwrap_err()), ErrorKind::NotFound);
    }
    store.put(&name("snapshots/b"), b"x").unwrap_err();
}

#[test]
fn a_full_disk_fails_the_put_and_nothing_else() {
    let mount = Mount::new("size=1m,mode=700");
    let store = LocalStore::create(mount.repo()).unwrap();
    let (early, filler, late) = (name("data/ab/00"), name("data/ab/01"), name("data/cd/02"));
    store.put(&early, &bytes(1, 50_000)).unwrap();
    store.put(&filler, &bytes(2, 600_000)).unwrap();
    let full = |error: Error| match error {
        Error::Store { source, .. } => assert_eq!(source.raw_os_error(), Some(rustix::io::Errno::NOSPC.raw_os_error())),
        other => panic!("{other}"),
    };
    for size in [500_000, 1 << 20, 5 << 20] {
        full(store.put(&late, &bytes(3, size)).unwrap_err());
        assert_eq!(names(&store, ""), ["data/ab/00", "data/ab/01"]);
        assert_eq!(temps(&mount.repo()), 0, "its space is free again");
        assert_eq!(store.get(&early, 50_000).unwrap(), bytes(1, 50_000));
    }
    // A caller that goes on after the failed write gets no torn object.
    let mut upload = store.begin().unwrap();
    full(upload.write(&bytes(3, 2 << 20)).unwrap_err());
    upload.finish(&late).unwrap_err();
    assert_eq!(store.size(&late).unwrap(), None);
    // Held open by a reader, and its space free at once all the same.
    store.get_range(&filler, 0..10, &mut Vec::new()).unwrap();
    store.delete(&filler).unwrap();
    store.put(&late, &bytes(3, 500_000)).unwrap();
    assert_eq!(store.get(&late, 500_000).unwrap(), bytes(3, 500_000));
    assert_eq!(names(&store, ""), ["data/ab/00", "data/cd/02"]);
}

#[test]
fn a_disk_without_inodes_fails_the_put_too() {
    let mount = Mount::new("size=1m,nr_inodes=8,mode=700");
    let store = LocalStore::create(mount.repo()).unwrap();
    let mut stored = Vec::new();
    let error = loop {
        let object = format!("notes/{}", stored.len());
        match store.put(&name(&object), b"x") {
            Ok(()) => stored.push(object),
            Err(e) => break e,
        }
    };
    assert_eq!(io_kind(error), ErrorKind::StorageFull);
    assert!(!stored.is_empty() && stored.len() < 8);
    assert_eq!(names(&store, ""), stored);
    store.delete(&name(&stored[0])).unwrap();
    store.put(&name("notes/again"), b"x").unwrap();
}

#[test]
fn a_read_only_disk_is_read_and_not_written() {
    let mount = Mount::new("size=4m,mode=700");
    let object = name("data/ab/cd");
    LocalStore::create(mount.repo()).unwrap().put(&object, b"abc").unwrap();
    mount.set_read_only();
    let store = LocalStore::open(mount.repo()).unwrap();
    assert_eq!(store.get(&object, 3).unwrap(), b"abc");
    assert_eq!(store.get_suffix(&object, 2).unwrap(), (b"bc".to_vec(), 3));
    assert_eq!(names(&store, ""), ["data/ab/cd"]);
    assert_eq!(store.sweep_temps().unwrap(), 0);
    assert_eq!(io_kind(store.put(&name("data/ab/ce"), b"x").unwrap_err()), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(io_kind(store.delete(&object).unwrap_err()), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(store.get(&object, 3).unwrap(), b"abc");
}
