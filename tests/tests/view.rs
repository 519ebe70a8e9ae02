//! A view of snapshots through the engine: every byte and name of what was stored, in bounded work. What a file system and a server make of it
//! is tested where they are: `mount`, `webdav`.
//! It obeys spec chapter 6 (trees, lists) and what DESIGN says of `mount`: large files seek fast.

use crate::attacker::{Attacker, PATIENCE, entry, link};
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::error::Error;
use seabed_engine::format::entry::EntryKind;
use seabed_engine::format::lists::{Content, Item, ListNode, ListRoot};
use seabed_engine::format::wire::{Time, to_bytes};
use seabed_engine::id::{Class, SnapshotId};
use seabed_engine::observe::{Observer, Silent};
use seabed_engine::pack::OpenPack;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_engine::view::inodes::Inodes;
use seabed_engine::view::layout::{Layout, TIME_TEMPLATE};
use seabed_engine::view::node::Node;
use seabed_engine::view::{File, View, ViewOptions};
use seabed_tests::repo::{backup_paths, bytes_stream, init, open, options, select};
use seabed_tests::trees::{capture, full, noise};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, max: u64) -> u64 {
        self.0 += 1;
        let hash = blake3::hash(&self.0.to_le_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % max
    }
}

/// The same objects in a store of its own.
fn copy(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for (name, bytes) in store.objects() {
        copy.put(&name, &bytes).unwrap();
    }
    copy
}

/// Hears warnings.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn warning(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn view_of(store: &MemoryStore, id: &SnapshotId, path: &[u8]) -> (View, Arc<Heard>) {
    let repository = open(Arc::new(store.clone()), None).unwrap();
    let selected = select(&repository, id, path).unwrap();
    let heard = Arc::new(Heard::default());
    (View::one(Arc::new(repository), &selected, heard.clone()).unwrap(), heard)
}

fn view_all(repository: Repository, refresh: Duration) -> View {
    repository.refresh().unwrap();
    let layout = Layout::new(&[], TIME_TEMPLATE, jiff::tz::TimeZone::UTC).unwrap();
    View::all(Arc::new(repository), ViewOptions { filter: Default::default(), layout, refresh }, Arc::new(Silent)).unwrap()
}

fn opened(view: &View, path: &[u8]) -> File {
    let (node, _) = view.find(path).unwrap().unwrap_or_else(|| panic!("no {}", path.escape_ascii()));
    view.open(&node).unwrap().unwrap()
}

fn stored(path: &Path) -> Vec<u8> {
    path.strip_prefix("/").unwrap().as_os_str().as_bytes().to_vec()
}

fn names(view: &View, path: &[u8]) -> Vec<String> {
    let (node, _) = view.find(path).unwrap().unwrap();
    let page = view.list(&node, None, usize::MAX);
    assert!(page.is_last && !page.is_torn);
    page.names.iter().map(|listed| String::from_utf8_lossy(&listed.name).into_owned()).collect()
}

/// Frames in all packs of these classes.
fn frames(repository: &Repository, classes: &[Class]) -> u64 {
    let index = repository.index().unwrap();
    let packs = index.packs().iter().filter(|pack| classes.contains(&pack.class));
    packs.map(|pack| OpenPack::open(repository.store(), repository.keys(), pack.class, &pack.id).unwrap().table.frames.len() as u64).sum()
}

#[test]
fn a_view_of_a_tree_is_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    full(&top);
    let want = capture(&top, false);
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let id = backup_paths(&repository, std::slice::from_ref(&top)).unwrap().snapshot.unwrap();
    let (view, heard) = view_of(&store, &id, &stored(&top));
    let inodes = Inodes::new(view.top());
    let (mut found, mut numbers) = (BTreeSet::new(), BTreeMap::<u64, Vec<Vec<u8>>>::new());
    let mut todo = vec![(Vec::new(), view.top())];
    while let Some((path, dir)) = todo.pop() {
        // In small pieces: as if the reader's buffer were small.
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = view.list(&dir, after.as_deref(), 7);
            assert!(!page.is_torn && (page.is_last || page.names.len() == 7));
            for listed in &page.names {
                let path = if path.is_empty() { listed.name.clone() } else { [&path[..], b"/", &listed.name].concat() };
                let node = want.get(&path).unwrap_or_else(|| panic!("{} was not there", path.escape_ascii()));
                let (a, name) = (&listed.attributes, path.escape_ascii().to_string());
                let kind = EntryKind::from_mode(node.mode).unwrap();
                assert_eq!((a.kind, a.mode, a.owner), (kind, node.mode & 0o7777, Some((node.uid, node.gid))), "{name}");
                assert_eq!((a.mtime.secs, i64::from(a.mtime.nanos)), node.mtime, "{name}");
                assert_eq!(rustix::fs::makedev(a.device.0, a.device.1), node.device, "{name}");
                let xattrs: BTreeMap<_, _> = view.xattrs(&listed.node).unwrap().into_iter().map(|x| (x.name.0, x.value.0)).collect();
                assert_eq!(xattrs, node.xattrs, "{name}");
                let content = match kind {
                    EntryKind::File => view.read(&view.open(&listed.node).unwrap().unwrap(), 0, usize::MAX).unwrap(),
                    EntryKind::Symlink => view.target(&listed.node).unwrap().unwrap(),
                    _ => Vec::new(),
                };
                assert!(content == node.content && (kind == EntryKind::Directory || a.size == content.len() as u64), "{name}");
                // The same by name, and by number.
                let (child, attributes) = view.child(&dir, &listed.name).unwrap().unwrap();
                assert_eq!((child.identity(), &attributes), (listed.node.identity(), a), "{name}");
                let number = inodes.remember(&child);
                assert!(inodes.get(number).is_some_and(|known| known.identity() == child.identity()), "{name}");
                assert!(a.links as usize >= node.links.len(), "{name}");
                numbers.entry(number).or_default().push(path.clone());
                if kind == EntryKind::Directory {
                    todo.push((path.clone(), listed.node.clone()));
                }
                assert!(found.insert(path), "{name} twice");
            }
            match page.names.last() {
                Some(last) if !page.is_last => after = Some(last.name.clone()),
                _ => break,
            }
        }
    }
    assert_eq!(found.len(), want.len());
    // One number for all links of a file, and for nothing else.
    for paths in numbers.values_mut() {
        paths.sort();
        let links = &want[&paths[0]].links;
        assert!(links == paths || links.is_empty() && paths.len() == 1, "{paths:?}");
    }
    assert!(view.child(&view.top(), b"nothing").unwrap().is_none());
    assert!(heard.0.lock().unwrap().is_empty());
}

#[test]
fn any_part_of_a_long_file_is_read_with_the_frames_that_it_lies_in() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = (dir.path().join("long"), 48 << 20);
    // Text and noise, holes between, and a part that is there before.
    let mut content = noise(1, bytes);
    for at in (0..bytes).step_by(5 << 20) {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| format!("row {n} of {at}\n").into_bytes()).collect();
        let end = bytes.min(at + text.len());
        content[at..end].copy_from_slice(&text[..end - at]);
    }
    let again = content[1_000_000..3_000_000].to_vec();
    content[20_000_000..22_000_000].copy_from_slice(&again);
    content[30_000_000..34_000_000].fill(0);
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(&content[..30_000_000], 0).unwrap();
    file.write_all_at(&content[34_000_000..], 34_000_000).unwrap();
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let id = backup_paths(&repository, &[dir.path().to_path_buf()]).unwrap().snapshot.unwrap();
    let all = frames(&repository, &Class::ALL);

    let (view, heard) = view_of(&store, &id, &stored(dir.path()));
    let long = opened(&view, b"long");
    let before = view.frames_decoded();
    let mut numbers = Numbers(5);
    for n in 1..=200u64 {
        let (at, len) = (numbers.below(bytes as u64), 1 + numbers.below(8192) as usize);
        let end = bytes.min(at as usize + len);
        assert!(view.read(&long, at, len).unwrap() == content[at as usize..end], "{len} bytes at {at}");
        // Two of content at most, and a few of lists for all reads together.
        assert!(view.frames_decoded() - before <= 2 * n + 4, "{n} reads: {} frames", view.frames_decoded() - before);
    }
    // All fits into what is kept: however often it is read, no frame is decoded twice.
    for _ in 0..600 {
        let at = numbers.below(bytes as u64) as usize;
        assert!(view.read(&long, at as u64, 4096).unwrap() == content[at..bytes.min(at + 4096)]);
    }
    assert!(view.frames_decoded() <= all, "{} frames of {all}", view.frames_decoded());
    assert_eq!(view.read(&long, bytes as u64, 10).unwrap(), b"");
    assert_eq!(view.read(&long, u64::MAX, 10).unwrap(), b"");
    // Holes are where the file system had them, as far as pages go.
    let (hole, data) = (view.seek(&long, 0, true).unwrap().unwrap(), view.seek(&long, 31_000_000, false).unwrap().unwrap());
    assert!((30_000_000..30_010_000).contains(&hole) && (33_990_000..=34_000_000).contains(&data), "{hole} {data}");
    assert_eq!(view.seek(&long, 31_000_000, true).unwrap(), Some(31_000_000));
    assert_eq!(view.seek(&long, 40_000_000, true).unwrap(), Some(bytes as u64));
    assert_eq!((view.seek(&long, 7, false).unwrap(), view.seek(&long, bytes as u64, true).unwrap()), (Some(7), None));

    // From front to back, by several at a time, with what is read ahead: each frame once.
    let (view, _) = view_of(&store, &id, &stored(dir.path()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let long = opened(&view, b"long");
                for at in (0..bytes).step_by(128 << 10) {
                    let piece = view.read(&long, at as u64, 128 << 10).unwrap();
                    assert!(piece == content[at..bytes.min(at + (128 << 10))], "at {at}");
                }
            });
        }
    });
    assert!(view.frames_decoded() <= all, "{} frames of {all}", view.frames_decoded());
    assert!(heard.0.lock().unwrap().is_empty());
}

/// Streams, trees and the directories that are only there for streams are one tree; where names meet, a directory is both.
#[test]
fn streams_lie_among_the_names_of_trees() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["m/b", "m/d", "z"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let base = String::from_utf8(stored(dir.path())).unwrap();
    let streams = [format!("{base}/m/c"), format!("{base}/m/x/y"), "a.sql".to_owned(), "dumps/deep/b.sql".to_owned()];
    let streams = streams.iter().map(|name| bytes_stream(name, format!("stream {name}").into_bytes())).collect();
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let options = BackupOptions { streams, ..options(&[dir.path().to_path_buf()]) };
    let id = backup(&repository, options, &Silent).unwrap().snapshot.unwrap();
    let (view, _) = view_of(&store, &id, b"");
    let first = base.split('/').next().unwrap();
    assert_eq!(names(&view, b""), ["a.sql", "dumps", first]);
    assert_eq!(names(&view, b"dumps"), ["deep"]);
    assert_eq!(names(&view, format!("{base}/m").as_bytes()), ["b", "c", "d", "x"]);
    let read = |path: &str| String::from_utf8(view.read(&opened(&view, path.as_bytes()), 0, 1000).unwrap()).unwrap();
    assert_eq!(read("dumps/deep/b.sql"), "stream dumps/deep/b.sql");
    assert_eq!(read(&format!("{base}/m/x/y")), format!("stream {base}/m/x/y"));
    assert_eq!(read(&format!("{base}/m/d")), "m/d");
    // A directory of the tree has its own mode, one of a stream has none.
    let mode = |path: &str| view.find(path.as_bytes()).unwrap().unwrap().1.mode;
    assert!(mode(&format!("{base}/m")) != 0o555 && mode("dumps/deep") == 0o555);
    let (dir, _) = view.find(format!("{base}/m").as_bytes()).unwrap().unwrap();
    for (after, want) in [("b", vec!["c", "d"]), ("bb", vec!["c", "d"]), ("c", vec!["d", "x"]), ("x", vec![])] {
        let page = view.list(&dir, Some(after.as_bytes()), 2);
        let have: Vec<&[u8]> = page.names.iter().map(|listed| listed.name.as_slice()).collect();
        assert_eq!(have, want.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(), "after {after}");
        assert_eq!(page.is_last, after != "b" && after != "bb", "after {after}");
    }
    let file = Selected { path: b"a.sql".to_vec(), ..select(&repository, &id, b"").unwrap() };
    let shown = View::one(Arc::new(open(Arc::new(store.clone()), None).unwrap()), &file, Arc::new(Silent));
    assert!(matches!(shown, Err(Error::Option { .. })), "a file is no directory");
}

/// A directory of a tree in which a stream lies too became a bare one, open to everybody, when the leaf with its entry could not be
/// read: what only its owner may enter was shown to all, and the error to nobody.
#[test]
fn a_directory_of_a_tree_is_not_bare_where_it_cannot_be_read() {
    let attacker = Attacker::new();
    let directory = |name: &[u8], mode: u32| {
        let mut entry = entry(name, EntryKind::Directory);
        entry.mode = mode;
        (entry, None)
    };
    let content = attacker.file(b"x", b"stream").1.unwrap();
    let streams = || [&b"b/one"[..], b"srv/dump.sql", b"zoo/two"].map(|name| (name, content.clone(), 6u64)).to_vec();
    let first = attacker.leaf(&[(b"", vec![directory(b"a", 0o755)])]);
    let private = attacker.leaf(&[(b"", vec![directory(b"m", 0o755), directory(b"srv", 0o700)])]);
    let last = attacker.leaf(&[(b"", vec![directory(b"y", 0o755), directory(b"z", 0o755)])]);
    let lost = (attacker.chunk(Class::Names, b"no leaf"), private.1);
    let snapshot = |middle| {
        let top = &b""[..];
        let children = [(top, b"a".to_vec(), first), (top, b"m".to_vec(), middle), (top, b"y".to_vec(), last)];
        attacker.tree_and(1, attacker.node(1, &children), streams())
    };
    let (view, _) = view_of(&attacker.store, &snapshot(private), b"");
    assert_eq!(names(&view, b""), ["a", "b", "m", "srv", "y", "z", "zoo"]);
    let mode = |view: &View, name: &[u8]| view.child(&view.top(), name).map(|found| found.unwrap().1.mode);
    assert_eq!(mode(&view, b"srv").unwrap(), 0o700);
    assert_eq!(view.read(&opened(&view, b"srv/dump.sql"), 0, 9).unwrap(), b"stream");

    let (view, heard) = view_of(&attacker.store, &snapshot(lost), b"");
    assert!(mode(&view, b"srv").is_err_and(|error| error.is_damage()));
    assert!(view.find(b"srv/dump.sql").is_err());
    // What no tree can have is there as before.
    assert_eq!((mode(&view, b"b").unwrap(), mode(&view, b"zoo").unwrap()), (0o555, 0o555));
    for max in [1, 2, 100] {
        let (mut have, mut is_torn) = (Vec::<Vec<u8>>::new(), false);
        loop {
            let page = view.list(&view.top(), have.last().map(Vec::as_slice), max);
            is_torn |= page.is_torn;
            have.extend(page.names.into_iter().map(|listed| listed.name));
            if page.is_last {
                break;
            }
        }
        assert_eq!(have, [&b"a"[..], b"b", b"y", b"z", b"zoo"], "{max} at a time");
        assert!(is_torn, "{max} at a time");
    }
    assert!(!heard.0.lock().unwrap().is_empty());
}

#[test]
fn snapshots_come_and_go_while_they_are_looked_at() {
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let clock = std::cell::Cell::new(1_700_000_000);
    let snapshot = |name: &str| {
        // A day apart: what shares a second with others is called otherwise once those are gone.
        let time = Time { secs: clock.replace(clock.get() + 86_400), nanos: 0 };
        let streams = vec![bytes_stream(name, name.as_bytes().to_vec())];
        let options = BackupOptions { streams, time: Some(time), ..options(&[]) };
        backup(&repository, options, &Silent).unwrap().snapshot.unwrap()
    };
    let first = snapshot("one");
    let view = view_all(open(Arc::new(store.clone()), None).unwrap(), Duration::ZERO);
    assert_eq!(names(&view, b""), ["hosts", "ids", "series", "snapshots", "tags"]);
    assert_eq!(names(&view, b"ids"), [first.short()]);
    let second = snapshot("two");
    let mut ids = vec![first.short(), second.short()];
    ids.sort();
    assert_eq!(names(&view, b"ids"), ids);
    let file = opened(&view, format!("ids/{}/two", second.short()).as_bytes());
    assert_eq!(view.read(&file, 0, 10).unwrap(), b"two");
    let latest = view.target(&view.find(b"snapshots/latest").unwrap().unwrap().0).unwrap().unwrap();
    let time = names(&view, b"snapshots").into_iter().filter(|name| name != "latest").max().unwrap();
    assert_eq!(String::from_utf8(latest).unwrap(), time);
    // Gone from the list, and still there for who looks into it.
    let inside = view.find(format!("ids/{}", first.short()).as_bytes()).unwrap().unwrap().0;
    seabed_engine::forget::forget(&repository, &[first]).unwrap();
    assert_eq!(names(&view, b"ids"), [second.short()]);
    assert!(view.find(format!("ids/{}", first.short()).as_bytes()).unwrap().is_none());
    assert!(view.child(&inside, b"one").unwrap().is_some());
    // Two places of one snapshot are two directories, each with its own number, the same in every view.
    let number = |view: &View, path: String| view.find(path.as_bytes()).unwrap().unwrap().0.number();
    let places = [format!("ids/{}/two", second.short()), format!("snapshots/{time}/two")];
    let other = view_all(open(Arc::new(store.clone()), None).unwrap(), Duration::from_secs(3600));
    let both = places.clone().map(|path| number(&view, path));
    assert!(both[0] != both[1]);
    assert_eq!(both, places.map(|path| number(&other, path)));
    // A list that is good for an hour.
    let third = snapshot("three");
    assert!(!names(&other, b"ids").contains(&third.short()) && names(&view, b"ids").contains(&third.short()));
    assert!(matches!(view.top(), Node::Folder(_)));
}

/// One pack of several goes: what lay in it gives errors, what lies before and behind it in the same file does not.
#[test]
fn what_is_lost_of_a_file_takes_nothing_else_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let content = noise(1, 12 << 20);
    fs::write(dir.path().join("long"), &content).unwrap();
    fs::write(dir.path().join("other"), noise(2, 100_000)).unwrap();
    let store = MemoryStore::new();
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let options = BackupOptions { data_pack_bytes: 4 << 20, ..options(&[dir.path().to_path_buf()]) };
    let id = backup(&repository, options, &Silent).unwrap().snapshot.unwrap();
    let packs = store.list("data").unwrap();
    assert!(packs.len() >= 3, "{packs:?}");
    for lost in &packs {
        let store = copy(&store);
        store.delete(&lost.name).unwrap();
        let (view, heard) = view_of(&store, &id, &stored(dir.path()));
        let long = opened(&view, b"long");
        let (mut good, mut bad) = (0u64, 0u64);
        for at in (0..content.len()).step_by(64 << 10) {
            match view.read(&long, at as u64, 64 << 10) {
                Ok(piece) => {
                    assert!(piece == content[at..content.len().min(at + (64 << 10))], "at {at}");
                    good += piece.len() as u64;
                }
                Err(error) => {
                    assert!(error.is_damage(), "{error}");
                    bad += 64 << 10;
                }
            }
        }
        assert!(bad <= lost.bytes + (6 << 20), "{bad} bytes are lost with a pack of {}", lost.bytes);
        assert!(good > 0);
        assert!(heard.0.lock().unwrap().len() <= 2, "{:?}", heard.0);
        assert_eq!(names(&view, b""), ["long", "other"]);
    }
}

/// Goes through all of a view and reads everything, a little of each file. How many names there are, and how many of them gave an error.
fn walk(view: &View) -> (usize, usize) {
    let (mut names, mut errors) = (0, 0);
    let mut todo = vec![view.top()];
    while let Some(dir) = todo.pop() {
        let page = view.list(&dir, None, 100_000);
        errors += usize::from(page.is_torn);
        for listed in page.names {
            names += 1;
            assert!(names < 200_000, "there is no end of names");
            view.xattrs(&listed.node).unwrap();
            view.target(&listed.node).unwrap();
            match listed.attributes.kind {
                EntryKind::Directory => todo.push(listed.node),
                EntryKind::File => {
                    let read = view.open(&listed.node).and_then(|file| {
                        let file = file.unwrap();
                        for at in [0, file.bytes() / 2, file.bytes().saturating_sub(1)] {
                            view.read(&file, at, 4096)?;
                            view.seek(&file, at, true)?;
                            view.seek(&file, at, false)?;
                        }
                        Ok(())
                    });
                    errors += usize::from(read.is_err());
                }
                _ => {}
            }
        }
    }
    (names, errors)
}

fn walked(attacker: &Attacker, id: &SnapshotId) -> (usize, usize) {
    let started = Instant::now();
    let found = walk(&view_of(&attacker.store, id, b"").0);
    assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
    found
}

/// What a restore refuses, a view refuses where it is, and shows what is beside it.
#[test]
fn repositories_that_lie_are_looked_at_in_bounded_time() {
    for claimed in [1 << 30, i64::MAX as u64, u64::MAX] {
        let attacker = Attacker::new();
        let data = attacker.chunk(Class::Data, b"few bytes");
        let items = |items: Vec<Item>| {
            let id = attacker.chunk(Class::Lists, &to_bytes(&ListNode::Items(items)));
            Content::Tree(ListRoot { level: 0, id, bytes: claimed, extra: vec![] })
        };
        let contents = [
            Content::Inline(vec![Item::Chunk(data)]),
            Content::Inline(vec![]),
            Content::Inline(vec![Item::Hole(u64::MAX), Item::Chunk(data), Item::Hole(u64::MAX)]),
            items(vec![Item::Chunk(data)]),
            items(vec![Item::Hole(u64::MAX), Item::Chunk(data), Item::Hole(u64::MAX), Item::Chunk(data)]),
            Content::Tree(ListRoot { level: 8, id: data, bytes: claimed, extra: vec![] }),
        ];
        for content in contents {
            let mut file = entry(b"f", EntryKind::File);
            file.size = claimed;
            let id = attacker.tree(0, attacker.leaf(&[(b"", vec![(file, Some(content)), attacker.file(b"g", b"good")])]));
            assert_eq!(walked(&attacker, &id), (2, 1));
        }
    }
    // Nodes that name one leaf, or one node of a list, thousands of times on every level.
    let attacker = Attacker::new();
    let mut below = attacker.leaf(&[(b"", vec![attacker.file(b"f0000", b"content")])]);
    for level in 1..=8 {
        let children: Vec<_> = (0..2000).map(|n| (&b""[..], format!("f{n:04}").into_bytes(), below)).collect();
        below = attacker.node(level, &children);
    }
    let (names, errors) = walked(&attacker, &attacker.tree(8, below));
    // The first way down leads to a node that holds more than the one above it allows.
    assert!(names <= 1 && errors == 1, "{names} {errors}");
    for bytes in [0, 1] {
        let attacker = Attacker::new();
        let id = attacker.repeating_list(bytes);
        assert_eq!(walked(&attacker, &id), (1, usize::from(bytes > 0)), "a file of no bytes is empty, whatever its list says");
    }
    // Levels, twins, first names and owners that nobody has.
    let attacker = Attacker::new();
    let leaf = attacker.leaf(&[(b"", vec![attacker.file(b"f", b"1")])]);
    let node = attacker.node(1, &[(b"", b"f".to_vec(), leaf)]);
    for (level, at) in [(1, leaf), (0, node), (2, node), (0, (leaf.1, leaf.0))] {
        assert_eq!(walked(&attacker, &attacker.tree(level, at)), (0, 1));
    }
    let mut odd = attacker.file(b"odd", b"o");
    (odd.0.uid, odd.0.mode, odd.0.links, odd.0.mtime) = (u32::MAX, u32::MAX, u64::MAX, Time { secs: i64::MAX, nanos: 999_999_999 });
    let leaf = attacker.leaf(&[(b"", vec![link(b"long", &[b'x'; 5000]), link(b"none", b""), odd]), (b"nowhere", vec![link(b"x", b"y")])]);
    assert_eq!(walked(&attacker, &attacker.tree(0, leaf)), (3, 0), "a directory without a name of its own is not there");
}

#[test]
fn what_shares_an_inode_and_holds_something_else_is_another_file() {
    let attacker = Attacker::new();
    let linked = |name: &[u8], bytes: &[u8]| {
        let (mut entry, content) = attacker.file(name, bytes);
        (entry.links, entry.inode) = (2, 5);
        (entry, content)
    };
    let items = vec![linked(b"a", b"one"), linked(b"b", b"two"), linked(b"c", b"one")];
    let content = attacker.file(b"x", b"stream").1.unwrap();
    let leaf = attacker.leaf(&[(b"", items)]);
    let id = attacker.tree_and(0, leaf, vec![(b"c", content.clone(), 6), (b"b/below", content, 6)]);
    let (view, _) = view_of(&attacker.store, &id, b"");
    let number = |name: &[u8]| view.find(name).unwrap().unwrap().0.number();
    assert!(number(b"a") != number(b"b"));
    // A stream goes before a tree's file, and that before a directory for another stream.
    assert_eq!(names(&view, b""), ["a", "b", "c"]);
    assert_eq!(view.read(&opened(&view, b"c"), 0, 9).unwrap(), b"stream");
    assert_eq!(view.read(&opened(&view, b"b"), 0, 9).unwrap(), b"two");
    assert!(view.find(b"b/below").unwrap().is_none());
    let alone = attacker.tree(0, leaf);
    let (view, _) = view_of(&attacker.store, &alone, b"");
    let number = |name: &[u8]| view.find(name).unwrap().unwrap().0.number();
    assert!(number(b"a") == number(b"c") && number(b"a") != number(b"b"));
}
