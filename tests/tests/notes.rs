//! Tags and descriptions that are edited later: what one host edits every host sees, whatever its cache knows, and no note can do more than that.

use crate::cli::{Home, lines};
use crate::s3::store as bucket;
use seabed_engine::Snapshot;
use seabed_engine::check::{CheckOptions, check};
use seabed_engine::error::Error;
use seabed_engine::forget::forget;
use seabed_engine::format::notes::{TAGS, WHOLE, tags_body};
use seabed_engine::format::wire::{Bytes, Time};
use seabed_engine::gc::{GcOptions, collect, plan};
use seabed_engine::id::{ObjectId, ObjectName, SnapshotId};
use seabed_engine::observe::Silent;
use seabed_engine::rebuild::rebuild;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Filter;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::tag::{TagEdit, describe, tag};
use seabed_engine::undelete::undelete;
use seabed_tests::repo::{backup_paths, init, open, options};
use seabed_tests::s3_server::{Operation, S3Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A repository, and directories for what is in it and for caches.
struct World {
    store: MemoryStore,
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        let world = World { store: MemoryStore::new(), dir: TempDir::new().unwrap() };
        fs::create_dir(world.path("src")).unwrap();
        // Beyond 1970, so that its times do not stand for none.
        world.store.set_now(1_700_000_000_000_000_000);
        init(Arc::new(world.store.clone()), None).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A host with a cache of its own, or without.
    fn host(&self, cache: Option<&str>) -> Repository {
        open(Arc::new(self.store.clone()), cache.map(|name| self.path(name)).as_deref()).unwrap()
    }

    /// Backs up something new.
    fn snapshot(&self, n: u32) -> SnapshotId {
        fs::write(self.path("src/n"), n.to_string()).unwrap();
        let mut options = options(&[self.path("src")]);
        options.tags = vec!["nightly".to_owned()];
        seabed_engine::backup::backup(&self.host(Some("backups")), options, &Silent).unwrap().snapshot.unwrap()
    }
}

fn seen(repository: &Repository) -> Vec<Snapshot> {
    let refresh = repository.refresh().unwrap();
    assert!(refresh.unreadable.is_empty() && refresh.unreadable_notes.is_empty(), "{refresh:?}");
    repository.catalog().snapshots().unwrap()
}

fn tags_of(repository: &Repository, id: &SnapshotId) -> Vec<String> {
    seen(repository).into_iter().find(|snapshot| snapshot.id == *id).unwrap().names.tags
}

fn add(tags: &[&str]) -> TagEdit {
    TagEdit { add: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..TagEdit::default() }
}

fn set(tags: &[&str]) -> TagEdit {
    TagEdit { set: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()), ..TagEdit::default() }
}

#[test]
fn every_host_sees_what_one_edits() {
    let world = World::new();
    let (first, second) = (world.snapshot(1), world.snapshot(2));
    let (a, b) = (world.host(Some("a")), world.host(Some("b")));
    seen(&a);
    seen(&b);
    let changed = tag(&a, &[first, second, first], &add(&["golden", "nightly"])).unwrap();
    assert_eq!(changed.iter().map(|tagged| tagged.snapshot).collect::<Vec<_>>(), [first, second]);
    assert_eq!(world.store.list("notes").unwrap().len(), 2);
    assert!(tag(&a, &[first], &add(&["golden"])).unwrap().is_empty());
    assert_eq!(world.store.list("notes").unwrap().len(), 2, "nothing is put for what does not change");
    tag(&a, &[second], &TagEdit { remove: vec!["nightly".to_owned()], ..TagEdit::default() }).unwrap();
    assert!(describe(&a, &second, "the second").unwrap() && !describe(&a, &second, "the second").unwrap());
    let look = |host: &Repository| {
        assert_eq!(tags_of(host, &first), ["nightly", "golden"]);
        assert_eq!(tags_of(host, &second), ["golden"]);
        let filter = Filter { tags: vec![vec!["nightly".to_owned()]], ..Filter::default() };
        assert_eq!(host.select("latest", &filter).unwrap().snapshot.id, first);
        assert_eq!(host.select("latest", &Filter::default()).unwrap().snapshot.names.description, "the second");
    };
    for host in [&a, &b, &world.host(None), &world.host(Some("new"))] {
        look(host);
    }
    // The views are what other programs read.
    let directory = b.cache_directory().unwrap().to_owned();
    let db = rusqlite::Connection::open(directory.join("catalog.sqlite")).unwrap();
    let row = |sql: &str| db.query_row(sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    assert_eq!(row("SELECT tags, description FROM seabed_snapshots WHERE description <> ''"), ("[\"golden\"]".into(), "the second".into()));
    // A cache that is gone, one that is made anew, a repository that is.
    drop((b, db));
    fs::remove_dir_all(&directory).unwrap();
    look(&world.host(Some("b")));
    rebuild(&a, &Silent).unwrap();
    look(&a);
    // A backup asks for no notes, and loses none.
    let third = world.snapshot(3);
    look_after(&world, &third);
    assert_eq!(tags_of(&world.host(Some("backups")), &first), ["nightly", "golden"]);
    assert!(check(&a, &CheckOptions::default(), &Silent).unwrap().is_clean());
}

fn look_after(world: &World, id: &SnapshotId) {
    assert_eq!(tags_of(&world.host(None), id), ["nightly"]);
}

/// A listing of manifests may be behind that of notes.
#[test]
fn a_note_may_come_before_its_manifest() {
    let world = World::new();
    let id = world.snapshot(1);
    let a = world.host(None);
    seen(&a);
    tag(&a, &[id], &set(&["x", "y"])).unwrap();
    let late = World { store: MemoryStore::new(), dir: TempDir::new().unwrap() };
    let manifest = ObjectName::snapshot(&id);
    for (name, bytes) in world.store.objects() {
        if name != manifest {
            late.store.put(&name, &bytes).unwrap();
        }
    }
    let host = late.host(Some("a"));
    assert!(seen(&host).is_empty());
    late.store.put(&manifest, &world.store.objects()[&manifest]).unwrap();
    assert_eq!(tags_of(&host, &id), ["x", "y"]);
    assert_eq!(tags_of(&late.host(Some("a")), &id), ["x", "y"]);
}

#[test]
fn of_edits_that_conflict_the_later_one_counts_everywhere() {
    let world = World::new();
    let id = world.snapshot(1);
    let (a, b) = (world.host(Some("a")), world.host(Some("b")));
    seen(&a);
    seen(&b);
    // Neither has seen the other's.
    tag(&a, &[id], &set(&["of a"])).unwrap();
    tag(&b, &[id], &set(&["of b"])).unwrap();
    for host in [&a, &b, &world.host(None)] {
        assert_eq!(tags_of(host, &id), ["of b"]);
    }
    // A host whose clock is ahead: whoever has seen its edit edits after it.
    let ahead = Time { secs: seabed_engine::now().secs + 5000, nanos: 0 };
    let body = |tags: &[&str]| tags_body(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>()).unwrap();
    a.put_note(TAGS, id.as_bytes(), ahead, body(&["ahead"])).unwrap();
    assert_eq!(tags_of(&b, &id), ["ahead"]);
    tag(&b, &[id], &add(&["behind"])).unwrap();
    for host in [&a, &b, &world.host(None)] {
        assert_eq!(tags_of(host, &id), ["ahead", "behind"]);
    }
    // At the same time: by their names, whoever came first.
    let same = Time { secs: ahead.secs + 5000, nanos: 0 };
    let mut names = Vec::new();
    for tag in ["one", "two", "three"] {
        names.push((a.put_note(TAGS, id.as_bytes(), same, body(&[tag])).unwrap().0, tag));
        seen(&b);
    }
    names.sort();
    for host in [&a, &b, &world.host(None)] {
        assert_eq!(tags_of(host, &id), [names[2].1]);
    }
}

#[test]
fn a_note_that_is_gone_counts_no_more() {
    let world = World::new();
    let id = world.snapshot(1);
    let (a, b) = (world.host(Some("a")), world.host(Some("b")));
    seen(&a);
    tag(&a, &[id], &set(&["x"])).unwrap();
    tag(&a, &[id], &set(&["y"])).unwrap();
    assert_eq!((tags_of(&a, &id), tags_of(&b, &id)), (vec!["y".to_owned()], vec!["y".to_owned()]));
    let notes = a.notes_about(id.as_bytes()).unwrap();
    assert!(world.store.remove(&notes[1].0));
    assert_eq!((tags_of(&a, &id), tags_of(&b, &id)), (vec!["x".to_owned()], vec!["x".to_owned()]));
    assert!(world.store.remove(&notes[0].0));
    assert_eq!((tags_of(&a, &id), tags_of(&b, &id)), (vec!["nightly".to_owned()], vec!["nightly".to_owned()]));
}

#[test]
fn what_comes_back_has_what_was_edited() {
    let world = World::new();
    let id = world.snapshot(1);
    world.snapshot(2);
    let a = world.host(Some("a"));
    seen(&a);
    tag(&a, &[id], &set(&["kept"])).unwrap();
    describe(&a, &id, "once more").unwrap();
    forget(&a, &[id]).unwrap();
    let b = world.host(None);
    seen(&b);
    let forgotten = b.forgotten().unwrap().remove(0);
    assert_eq!((&forgotten.names.tags[..], &forgotten.names.description[..]), (&["kept".to_owned()][..], "once more"));
    let back = undelete(&b, &id, &Silent).unwrap();
    for host in [&a, &b, &world.host(None)] {
        let snapshot = seen(host).into_iter().find(|snapshot| snapshot.id == back).unwrap();
        assert_eq!((&snapshot.names.tags[..], &snapshot.names.description[..]), (&["kept".to_owned()][..], "once more"));
    }
    assert!(matches!(tag(&a, &[id], &set(&[])), Err(Error::NoSnapshot { .. })), "it is forgotten");
}

#[test]
fn a_collection_takes_the_notes_of_what_it_deletes_and_no_others() {
    let world = World::new();
    let (going, staying) = (world.snapshot(1), world.snapshot(2));
    let a = world.host(Some("a"));
    seen(&a);
    tag(&a, &[going, staying], &add(&["x"])).unwrap();
    describe(&a, &going, "goes").unwrap();
    // Its manifest may come yet.
    a.put_note(TAGS, &[9; 32], Time::default(), tags_body(&[]).unwrap()).unwrap();
    a.put_note("verified", &WHOLE, Time::default(), Bytes(vec![0xa1, 0x00, 0x80])).unwrap();
    forget(&a, &[going]).unwrap();
    let before = world.store.list("notes").unwrap();
    // Within the grace period it can come back, and with it what was edited.
    let options = GcOptions { threads: 1, ..GcOptions::default() };
    collect(&a, plan(&a, &options, &Silent).unwrap(), &Silent).unwrap();
    let options = GcOptions { grace: Duration::ZERO, ..options };
    let report = collect(&a, plan(&a, &options, &Silent).unwrap(), &Silent).unwrap();
    assert_eq!((report.deleted_manifests, report.deleted_notes), (1, 2), "{report:?}");
    let gone: Vec<_> = before.iter().filter(|note| !world.store.objects().contains_key(&note.name)).collect();
    assert!(gone.len() == 2 && gone.iter().all(|note| note.name.as_note().unwrap().0 == *going.as_bytes()), "{gone:?}");
    assert_eq!(tags_of(&a, &staying), ["nightly", "x"]);
    assert!(check(&a, &CheckOptions::default(), &Silent).unwrap().is_clean());
    let report = collect(&a, plan(&a, &options, &Silent).unwrap(), &Silent).unwrap();
    assert_eq!(report.deleted_notes, 0);
}

#[test]
fn hostile_notes_change_nothing_else() {
    let world = World::new();
    let id = world.snapshot(1);
    let a = world.host(Some("a"));
    // Sealed with the right key, and wrong inside.
    let bomb = Bytes(vec![0xa1, 0x00, 0x9b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x60]);
    for (kind, body) in [(TAGS, bomb), (TAGS, Bytes(vec![0; (1 << 20) + 1])), (TAGS, Bytes::default()), ("description", Bytes(vec![0xff]))]
    {
        a.put_note(kind, id.as_bytes(), Time::default(), body).unwrap();
    }
    // About another one than its name says, and not sealed at all.
    let (name, _) = a.put_note(TAGS, id.as_bytes(), Time::default(), tags_body(&["stolen".to_owned()]).unwrap()).unwrap();
    let moved = ObjectName::note(&[7; 32], &name.as_note().unwrap().1);
    world.store.put(&moved, &world.store.objects()[&name]).unwrap();
    assert!(world.store.remove(&name));
    world.store.put(&ObjectName::note(id.as_bytes(), &ObjectId::new([5; 16])), b"SEABED").unwrap();
    // Of a later version: no damage.
    a.put_note("colour", id.as_bytes(), Time::default(), Bytes(vec![0xff; 300])).unwrap();
    for host in [&a, &world.host(None)] {
        for _ in 0..2 {
            let refresh = host.refresh().unwrap();
            assert_eq!((refresh.unreadable.len(), refresh.unreadable_notes.len()), (0, 6), "{refresh:?}");
        }
        assert_eq!(host.catalog().snapshots().unwrap()[0].names.tags, ["nightly"]);
    }
    let report = check(&a, &CheckOptions::default(), &Silent).unwrap();
    assert_eq!(report.findings.len(), 6, "{report:?}");
    // And it can be edited all the same.
    tag(&a, &[id], &add(&["mine"])).unwrap();
    a.refresh().unwrap();
    assert_eq!(a.catalog().snapshots().unwrap()[0].names.tags, ["nightly", "mine"]);
}

/// The requests of a backup are its price: it lists no notes. Who lists snapshots asks once, beside the other folders, and reads what is new.
#[test]
fn a_backup_does_not_ask_for_notes() {
    let server = S3Server::start();
    let (source, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(source.path().join("f"), "x").unwrap();
    let at = || -> Arc<dyn Store> { Arc::new(bucket(&server, "x")) };
    let cached = |cache: &Path| open(at(), Some(cache)).unwrap();
    let id = backup_paths(&init(at(), Some(cache.path())).unwrap(), &[source.path().to_owned()]).unwrap().snapshot.unwrap();
    let a = cached(cache.path());
    seen(&a);
    tag(&a, &[id], &add(&["x"])).unwrap();
    let asked = || {
        let log = server.log();
        let of = |operation| log.iter().filter(|r| r.operation == operation && r.key.contains("notes")).count();
        (of(Operation::ListObjectsV2), of(Operation::GetObject))
    };
    server.clear_log();
    backup_paths(&cached(cache.path()), &[source.path().to_owned()]).unwrap();
    assert_eq!(asked(), (0, 0));
    let other = TempDir::new().unwrap();
    for read in [1, 0] {
        server.clear_log();
        assert_eq!(tags_of(&cached(other.path()), &id), ["x"]);
        assert_eq!(asked(), (1, read));
    }
}

#[test]
fn the_commands_do_what_they_say() {
    let home = Home::new();
    for host in ["web1", "web2", "web3"] {
        home.ends(0, &["backup", "--init", "--quiet", "--host", host, "--series", "docs", "--tag", "nightly", "src"]);
    }
    let listed = |more: &[&str]| {
        let all = lines(&home.ends(0, &[&["snapshots", "--json"], more].concat())).remove(0).as_array().unwrap().clone();
        let mut hosts: Vec<String> = all.iter().map(|snapshot| snapshot["hostname"].as_str().unwrap().to_owned()).collect();
        hosts.sort();
        hosts
    };
    assert!(home.ends(0, &["tag", "--add", "golden", "--host", "web2"]).contains("has the tags nightly, golden"));
    assert_eq!(listed(&["--tag", "golden"]), ["web2"]);
    assert!(home.ends(0, &["tag", "--remove", "nightly", "latest", "--host", "web3"]).contains("has no tags"));
    assert_eq!(listed(&["--tag", "nightly"]), ["web1", "web2"]);
    assert!(home.ends(0, &["tag", "--add", "nightly", "--tag", "golden"]).contains("nothing to change in 1 snapshot"));
    home.ends(20, &["tag", "latest"]);
    home.ends(20, &["tag", "--set", "x", "--add", "y"]);
    home.ends(1, &["tag", "--add", "x", "ffffffff"]);
    home.ends(0, &["describe", "latest", "before the move"]);
    assert!(home.ends(0, &["snapshots"]).contains("before the move"));
    // Retention goes by what was edited.
    home.ends(0, &["forget", "--keep-tag", "golden", "--force", "--group-by", "series"]);
    // The newest one of a group always stays.
    assert_eq!(listed(&[]), ["web2", "web3"]);
}

/// `forget latest:/etc` forgot the whole snapshot; `tag`, `describe` and `hold` took one for the other too.
#[test]
fn who_names_a_part_of_a_snapshot_does_not_mean_all_of_it() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let part = "latest:/src";
    for command in [
        &["forget", part][..],
        &["tag", "--add", "x", part],
        &["describe", part, "text"],
        &["hold", part],
        &["unhold", part],
        &["copy", part, "--to", "other"],
        &["rewrite", part, "--exclude", "a.txt"],
        &["stats", part],
    ] {
        home.ends(20, command);
    }
    let snapshots = lines(&home.ends(0, &["snapshots", "--json"])).remove(0);
    assert_eq!(snapshots.as_array().unwrap().len(), 1);
    assert!(lines(&home.ends(0, &["hold", "--list", "--json"])).is_empty());
}

/// `rewrite --exclude secret --forget` and `copy` ended with 0 beside a snapshot whose manifest could not be read: the secret was still in
/// there, and no copy of it anywhere.
#[test]
fn all_snapshots_are_not_all_where_one_cannot_be_read() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    home.write("src/secret", "a password");
    home.ends(0, &["backup", "--quiet", "src"]);
    let copied = home.path(".config/seabed/key");
    let copied = copied.to_str().unwrap();
    home.ends(0, &["init", "--repo", "twin", "--sibling-of", home.repository().to_str().unwrap(), "--quiet", "--key-file", copied]);
    let newest = lines(&home.ends(0, &["snapshots", "--json"])).remove(0)[1]["id"].as_str().unwrap().to_owned();
    let manifest = home.repository().join("snapshots").join(&newest);
    let mut bytes = std::fs::read(&manifest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, bytes).unwrap();
    std::fs::remove_dir_all(home.path(".cache")).unwrap();
    for command in
        [&["tag", "--add", "x"][..], &["rewrite", "--exclude", "secret", "--forget"], &["copy", "--to", "twin", "--to-key-file", copied]]
    {
        home.ends(3, command);
    }
    let readable = lines(&home.ends(23, &["snapshots", "--json"])).remove(0)[0]["id"].as_str().unwrap().to_owned();
    home.ends(0, &["tag", "--add", "y", &readable]);
}
