//! Repositories written with the right keys and the worst intent: names that climb, links that lead out, trees without end, lengths
//! that lie. A restore writes nothing outside its target, every refusal is a typed error, and time and memory stay bounded.
//! It obeys the threat model (spec chapter 3): whoever holds a key may still be an attacker of who restores.

use crate::attacker::*;
use seabed_engine::catalog::Snapshot;
use seabed_engine::dump::dump;
use seabed_engine::error::{Damage, Error, Kind};
use seabed_engine::format::entry::{EntryKind, STATUS_UNREADABLE};
use seabed_engine::format::lists::{Content, Item, ListNode, ListRoot};
use seabed_engine::format::manifest::{IndexRoot, NamesRoot, ROOT_PATHS};
use seabed_engine::format::object::ObjectType;
use seabed_engine::format::pack::{CODEC_RAW, CODEC_ZSTD};
use seabed_engine::format::tree::TreeRoot;
use seabed_engine::format::wire::{Bytes, Time, to_bytes};
use seabed_engine::id::{Class, ObjectId, ObjectName};
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::repository::selector::Selected;
use seabed_engine::repository::{OpenOptions, Repository};
use seabed_engine::restore::RestoreReport;
use seabed_engine::seal::Key;
use seabed_engine::seal::key::{Keys, Secret, new_keyring, new_slot};
use seabed_engine::seal::object::{open_manifest, open_manifest_index, seal_manifest};
use seabed_engine::store::Store;
use seabed_tests::repo::{open, select};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

fn refused(result: Result<RestoreReport, Error>) {
    match result {
        Err(error) => assert_eq!(error.kind(), Kind::Damage, "{error}"),
        Ok(report) => assert!(report.error_count > 0 && report.files_restored == 0, "{report:?}"),
    }
}

#[test]
fn names_that_climb_or_confuse_are_refused() {
    let long = vec![b'x'; 256];
    let names: [&[u8]; 9] = [b"..", b".", b"", b"a/b", b"../outside/canary", b"/etc/passwd", b"a\0b", b"/", &long];
    for name in names {
        for kind in [EntryKind::File, EntryKind::Directory, EntryKind::Symlink, EntryKind::Fifo] {
            let (attacker, victim) = (Attacker::new(), Victim::new());
            let item = match kind {
                EntryKind::File => attacker.file(name, b"evil"),
                EntryKind::Symlink => link(name, b"/etc"),
                _ => (entry(name, kind), None),
            };
            refused(victim.restore(&attacker, &attacker.tree(0, attacker.leaf(&[(b"", vec![item])]))));
            assert_eq!(fs::read_dir(victim.target()).unwrap().count(), 0);
        }
    }
    for dir in [&b".."[..], b"../outside", b"/", b"/etc", b"a/../..", b"a//b", b".", b"a\0", b"a/"] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let leaf = attacker.leaf(&[(dir, vec![attacker.file(b"canary", b"evil")])]);
        refused(victim.restore(&attacker, &attacker.tree(0, leaf)));
    }
}

#[test]
fn names_twice_or_out_of_order_are_refused() {
    for names in [[&b"a"[..], b"a"], [b"b", b"a"]] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let leaf = attacker.leaf(&[(b"", names.map(|n| attacker.file(n, n)).to_vec())]);
        refused(victim.restore(&attacker, &attacker.tree(0, leaf)));
    }
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let leaf = attacker.leaf(&[(b"b", vec![attacker.file(b"x", b"1")]), (b"a", vec![attacker.file(b"x", b"2")])]);
    refused(victim.restore(&attacker, &attacker.tree(0, leaf)));
}

#[test]
fn nothing_is_written_through_a_symlink_of_the_snapshot() {
    for target in [&b"../outside"[..], b"/", b"../outside/sub", b"."] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let below = vec![attacker.file(b"canary", b"evil"), attacker.file(b"f", b"evil")];
        let mut dir = entry(b"own", EntryKind::Directory);
        dir.mode = 0o700;
        let leaf = attacker.leaf(&[(b"", vec![link(b"d", target), (dir, None)]), (b"d", below.clone()), (b"d/sub", below)]);
        victim.restore(&attacker, &attacker.tree(0, leaf)).unwrap_or_default();
    }
}

#[test]
fn nothing_is_written_through_a_symlink_of_the_target() {
    let attacker = Attacker::new();
    let dirs = vec![(entry(b"d", EntryKind::Directory), None)];
    let leaf = attacker.leaf(&[(b"", dirs), (b"d", vec![attacker.file(b"canary", b"evil"), attacker.file(b"sub", b"evil")])]);
    let content = attacker.file(b"x", b"stream").1.unwrap();
    let id = attacker.tree_and(0, leaf, vec![(b"s/canary", content.clone(), 6), (b"s/sub/f", content, 6)]);
    let victim = Victim::new();
    for name in ["d", "s"] {
        symlink("../outside", victim.target().join(name)).unwrap();
    }
    let report = victim.restore(&attacker, &id).unwrap();
    assert_eq!((report.error_count, report.files_restored), (2, 0), "{report:?}");
    for name in ["d", "s"] {
        assert!(victim.target().join(name).is_symlink(), "the link is the user's");
        fs::remove_file(victim.target().join(name)).unwrap();
    }
    victim.restore(&attacker, &id).unwrap();
    assert_eq!(fs::read(victim.target().join("d/canary")).unwrap(), b"evil");
    assert_eq!(fs::read(victim.target().join("s/sub/f")).unwrap(), b"stream");
}

/// Names of streams come from the manifest, which nobody checked: `list` printed them as they were, and only the last door held.
#[test]
fn streams_that_climb_make_the_manifest_damaged() {
    for name in [&b"../../x"[..], b"/etc/x", b"", b"a/../b", b"..", b"a\0b", b"a//b", b"./x"] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let content = attacker.file(b"x", b"evil").1.unwrap();
        let id = attacker.snapshot(vec![IndexRoot::stream(content, 4)], vec![stream_root(name)]);
        match victim.restore(&attacker, &id) {
            Err(Error::Damaged { damage: Damage::Malformed("roots"), .. }) => {}
            other => panic!("{}: {other:?}", name.escape_ascii()),
        }
    }
}

#[test]
fn roots_without_what_their_kind_needs_are_damage() {
    let attacker = Attacker::new();
    let content = attacker.file(b"x", b"evil").1.unwrap();
    let leaf = attacker.leaf(&[(b"", vec![attacker.file(b"f", b"1")])]);
    let tree = IndexRoot::tree(ROOT_PATHS, &TreeRoot { level: 0, names: leaf.0, lists: leaf.1, entries: 1, bytes: 1 });
    let paths = NamesRoot { kind: ROOT_PATHS, name: Bytes::default(), stream: None, extra: vec![] };
    let (mut deep, mut half, mut empty, mut strange) = (tree.clone(), tree.clone(), IndexRoot::stream(content.clone(), 4), tree.clone());
    (deep.level, half.lists, empty.content, strange.kind) = (9, None, None, 77);
    let stream = || IndexRoot::stream(content.clone(), 4);
    let mut odd = paths.clone();
    odd.kind = 77;
    let cases = vec![
        (vec![deep], vec![paths.clone()]),
        (vec![half], vec![paths.clone()]),
        (vec![empty], vec![stream_root(b"s")]),
        (vec![stream()], vec![NamesRoot { stream: None, ..stream_root(b"s") }]),
        (vec![stream(), stream()], vec![stream_root(b"s"), stream_root(b"s")]),
        (vec![tree.clone()], vec![]),
        (vec![tree], vec![stream_root(b"s")]),
        (vec![strange], vec![odd]),
    ];
    for (index, names) in cases {
        let id = attacker.snapshot(index, names);
        assert!(matches!(Victim::new().restore(&attacker, &id), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_stream_and_a_file_of_one_path_stay_inside() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let leaf = attacker.leaf(&[(b"", vec![link(b"s", b"../outside")]), (b"s", vec![attacker.file(b"canary", b"evil")])]);
    let content = attacker.file(b"x", b"stream").1.unwrap();
    let id = attacker.tree_and(0, leaf, vec![(b"s/canary", content.clone(), 6), (b"s/sub", content, 6)]);
    victim.restore(&attacker, &id).unwrap_or_default();
}

#[test]
fn hard_links_lead_nowhere_but_to_what_was_restored() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let linked = |name: &[u8], bytes: &[u8], inode: u64| {
        let (mut entry, content) = attacker.file(name, bytes);
        (entry.links, entry.inode, entry.device) = (2, inode, 0);
        (entry, content)
    };
    let mut symbolic = link(b"b", b"../outside/canary");
    (symbolic.0.links, symbolic.0.inode) = (2, 7);
    let items = vec![linked(b"a", b"one", 5), symbolic, linked(b"c", b"three", 7), linked(b"d", b"four", 5), linked(b"e", b"lone", 99)];
    victim.restore(&attacker, &attacker.tree(0, attacker.leaf(&[(b"", items)]))).unwrap();
    assert_eq!(fs::read(victim.target().join("e")).unwrap(), b"lone");
}

#[test]
fn lengths_that_lie_are_found_before_they_cost_anything() {
    let huge = [1 << 30, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX];
    for claimed in huge {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let data = attacker.chunk(Class::Data, b"few bytes");
        let items = |items: Vec<Item>| {
            let id = attacker.chunk(Class::Lists, &to_bytes(&ListNode::Items(items)));
            Content::Tree(ListRoot { level: 0, id, bytes: claimed, extra: vec![] })
        };
        let contents = vec![
            Content::Inline(vec![Item::Chunk(data)]),
            Content::Inline(vec![]),
            Content::Inline(vec![Item::Hole(u64::MAX), Item::Chunk(data), Item::Hole(u64::MAX)]),
            Content::Inline(vec![Item::Chunk(data), Item::Hole(claimed)]),
            items(vec![Item::Chunk(data)]),
            items(vec![Item::Hole(u64::MAX), Item::Chunk(data), Item::Hole(u64::MAX), Item::Chunk(data)]),
        ];
        for content in contents {
            let mut file = entry(b"f", EntryKind::File);
            file.size = claimed;
            let good = attacker.file(b"g", b"good");
            let id = attacker.tree(0, attacker.leaf(&[(b"", vec![(file, Some(content)), good])]));
            let report = victim.restore(&attacker, &id).unwrap();
            assert!(report.error_count > 0, "{report:?}");
            assert!(!victim.target().join("f").exists());
            assert_eq!(fs::read(victim.target().join("g")).unwrap(), b"good", "a sibling survives");
            let selected = Selected { path: b"f".to_vec(), ..select(&open(attacker.store.clone(), None).unwrap(), &id, b"").unwrap() };
            let repository = open(attacker.store.clone(), None).unwrap();
            let mut sink = Short(1 << 20);
            dump(&repository, &selected, &mut sink, &Silent).unwrap_err();
        }
    }
}

/// Takes so many bytes and no more: a dump of a hole of 2^40 bytes is legal, and endless.
struct Short(usize);

impl std::io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One leaf under a node that names it 2000 times, that node under another, eight levels up: forty kilobytes that took for ever to list.
#[test]
fn trees_that_repeat_themselves_end() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let mut below = attacker.leaf(&[(b"", vec![attacker.file(b"f0000", b"content")])]);
    for level in 1..=8 {
        let children: Vec<_> = (0..2000).map(|n| (&b""[..], format!("f{n:04}").into_bytes(), below)).collect();
        below = attacker.node(level, &children);
    }
    let id = attacker.tree(8, below);
    let started = Instant::now();
    let repository = open(attacker.store.clone(), None).unwrap();
    let snapshot: Snapshot = select(&repository, &id, b"").unwrap().snapshot;
    let error = list(&repository, &snapshot, b"", true, |_, _| Ok(true)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    victim.restore(&attacker, &id).unwrap_or_default();
    assert!(started.elapsed() < PATIENCE * 2, "{:?}", started.elapsed());
}

/// The same with the nodes of one file: children of no bytes could be repeated on eight levels, 1024 each.
#[test]
fn lists_that_repeat_themselves_end() {
    for bytes in [0, 1] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let id = attacker.repeating_list(bytes);
        let result = victim.restore(&attacker, &id);
        assert!(result.as_ref().map_or_else(|e| e.kind() == Kind::Damage, |r| r.error_count > 0), "{result:?}");
        assert!(!victim.target().join("f").exists());
    }
}

#[test]
fn levels_and_twins_that_lie_are_damage() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let leaf = attacker.leaf(&[(b"", vec![attacker.file(b"f", b"1")])]);
    let other = attacker.leaf(&[(b"", vec![attacker.file(b"g", b"2"), attacker.file(b"h", b"2")])]);
    let node = attacker.node(1, &[(b"", b"f".to_vec(), leaf)]);
    for (level, at) in [(1, leaf), (0, node), (2, node), (0, (leaf.0, other.1)), (1, (node.0, other.1)), (0, (leaf.1, leaf.0))] {
        refused(victim.restore(&attacker, &attacker.tree(level, at)));
    }
    // A first name that is not the first, and an entry that belongs behind the next leaf.
    for names in [["e", "g"], ["f", "e"]] {
        let node = attacker.node(1, &[(b"", names[0].into(), leaf), (b"", names[1].into(), other)]);
        let result = victim.restore(&attacker, &attacker.tree(1, node));
        assert!(result.as_ref().map_or_else(|e| e.kind() == Kind::Damage, |r| r.error_count > 0), "{result:?}");
    }
}

#[test]
fn a_frame_never_becomes_more_than_it_says() {
    // Sixteen megabytes of zeros in a few hundred bytes, called a frame of a hundred.
    let mut bomb = Vec::with_capacity(1 << 20);
    zstd_safe::CCtx::create().compress2(&mut bomb, &vec![0; 16 << 20]).unwrap();
    for (codec, plain) in [(CODEC_ZSTD, 100), (CODEC_ZSTD, 16 << 20), (CODEC_ZSTD, u32::MAX), (CODEC_RAW, 100), (99, 100)] {
        let (attacker, victim) = (Attacker::new(), Victim::new());
        let id = attacker.repository.ids().id(Class::Data, &[1; 100]);
        attacker.frame(Class::Data, codec, bomb.clone(), plain, vec![(id, 100)]);
        let mut file = entry(b"f", EntryKind::File);
        file.size = 100;
        let leaf = attacker.leaf(&[(b"", vec![(file, Some(Content::Inline(vec![Item::Chunk(id)])))])]);
        refused(victim.restore(&attacker, &attacker.tree(0, leaf)));
        assert!(!victim.target().join("f").exists());
    }
}

#[test]
fn odd_entries_are_errors_of_their_own() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let mut device = entry(b"dev", EntryKind::BlockDevice);
    (device.rdev_major, device.rdev_minor) = (u32::MAX, u32::MAX);
    let mut owner = attacker.file(b"owner", b"o");
    (owner.0.uid, owner.0.gid, owner.0.mode) = (u32::MAX, u32::MAX, u32::MAX);
    let mut time = attacker.file(b"time", b"t");
    time.0.mtime = Time { secs: i64::MAX, nanos: 999_999_999 };
    let mut unread = entry(b"unread", EntryKind::File);
    unread.status = STATUS_UNREADABLE;
    let mut long = link(b"long", &vec![b'x'; 5000]);
    long.0.mode = 0o777;
    let empty = link(b"none", b"");
    let good = attacker.file(b"zz", b"good");
    let leaf = attacker.leaf(&[(b"", vec![(device, None), long, empty, owner, time, (unread, None), good])]);
    let result = victim.restore(&attacker, &attacker.tree(0, leaf));
    match result {
        // Refused as a whole by a bound of the format, or entry by entry: both are answers.
        Err(error) => assert_eq!(error.kind(), Kind::Damage, "{error}"),
        Ok(_) => assert_eq!(fs::read(victim.target().join("zz")).unwrap(), b"good"),
    }
}

#[test]
fn a_pending_manifest_cannot_be_passed_off_as_a_commit() {
    let attacker = Attacker::new();
    let (id, index, names) = attacker.manifest(vec![], vec![]);
    let (keys, repository) = (attacker.repository.keys(), attacker.repository.id());
    let (pending, snapshot) = (ObjectName::pending(&id, 1), ObjectName::snapshot(&id));
    let object = seal_manifest(keys, &repository, &pending, &index, &names).unwrap();
    assert_eq!(open_manifest(keys, &repository, &pending, &object).unwrap(), (index, names));
    let mut renamed = object.clone();
    renamed[6] = ObjectType::Snapshot as u8;
    assert!(open_manifest_index(keys, &repository, &snapshot, &object).is_err());
    assert!(open_manifest_index(keys, &repository, &snapshot, &renamed).is_err());
    assert!(open_manifest_index(keys, &repository, &ObjectName::pending(&id, 2), &object).is_err());
}

/// Two hosts added a slot at the same time, each in a keyring of its own with the same epoch: whoever read one of them only would
/// drop the other's slot from the next.
#[test]
fn keyrings_of_one_epoch_are_united() {
    let attacker = Attacker::new();
    let repository = attacker.repository.id();
    let add = |text: &str, key: u8| {
        let secret = Secret::KeyFile(Key::new([key; 32]));
        let (name, object, slot) = new_slot(&repository, &secret, (8, 1, 1), text, Time::default()).unwrap();
        let mut keys = Keys::from_set(&name, &attacker.repository.keys().to_set(), attacker.repository.keys().epoch).unwrap();
        keys.members.push(slot.member());
        let (ring, sealed) = new_keyring(&repository, &keys).unwrap();
        attacker.store.put(&name, &object).unwrap();
        attacker.store.put(&ring, &sealed).unwrap();
        secret
    };
    let added = [add("laptop", 1), add("server", 2)];
    let members = |secret: &Secret| {
        let opened = Repository::open(attacker.store.clone(), secret, &OpenOptions::default()).unwrap();
        opened.keys().members.len()
    };
    assert_eq!(members(&seabed_tests::repo::secret()), 3, "the first slot is in all keyrings");
    assert_eq!(added.each_ref().map(members), [2, 2], "each of the others is in its own");

    // Two keys for one purpose and epoch: whatever was written under one of them, some holder could not read.
    let mut other = Keys::generate().unwrap().to_set();
    other.family = attacker.repository.keys().family;
    other.members = attacker.repository.keys().members.clone();
    let name = ObjectName::keyring(1, &ObjectId::new([1; 16]));
    let (ring, sealed) = new_keyring(&repository, &Keys::from_set(&name, &other, 1).unwrap()).unwrap();
    attacker.store.put(&ring, &sealed).unwrap();
    let refused = open(attacker.store.clone(), None).map(drop).unwrap_err();
    assert_eq!(refused.kind(), Kind::Damage, "{refused}");
}

/// A file was read, removed, and its inode given to another one before the walk met that: the second was restored as a link to the
/// first, with the first one's content.
#[test]
fn files_that_only_share_an_inode_are_not_linked() {
    let (attacker, victim) = (Attacker::new(), Victim::new());
    let linked = |name: &[u8], bytes: &[u8]| {
        let (mut entry, content) = attacker.file(name, bytes);
        (entry.device, entry.inode, entry.links) = (7, 7, 2);
        (entry, content)
    };
    let entries = vec![linked(b"a", b"one"), linked(b"b", b"two"), linked(b"c", b"one"), linked(b"d", b"two")];
    let leaf = attacker.leaf(&[(b"", entries)]);
    victim.restore(&attacker, &attacker.tree(0, leaf)).unwrap();
    for (name, bytes) in [("a", b"one"), ("b", b"two"), ("c", b"one"), ("d", b"two")] {
        assert_eq!(fs::read(victim.target().join(name)).unwrap(), bytes, "{name}");
    }
    let inode = |name| std::os::unix::fs::MetadataExt::ino(&fs::metadata(victim.target().join(name)).unwrap());
    assert!(inode("a") == inode("c") && inode("a") != inode("b"));
}
