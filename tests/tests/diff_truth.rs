//! What differs, against the truth: random trees and edits whose outcome is read without the engine, chunks counted one by one, and how much
//! is read where nothing or little differs. It must never take the engine's word for what there was.

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use seabed_engine::backup::{BackupOptions, ParentChoice, backup};
use seabed_engine::diff::{Against, Attribute, Change, Delta, DiffOptions, DiffReport, Live, Reading, diff};
use seabed_engine::error::{Error, Kind, Result};
use seabed_engine::format::entry::{Entry, EntryKind};
use seabed_engine::format::lists::{Content, Item};
use seabed_engine::format::manifest::ROOT_TAR;
use seabed_engine::format::wire::Time;
use seabed_engine::id::{ChunkId, Class, SnapshotId};
use seabed_engine::observe::{Observer, Silent};
use seabed_engine::pack::reader::Measured;
use seabed_engine::repository::Repository;
use seabed_engine::repository::reach::{Visit, walk};
use seabed_engine::repository::selector::Selected;
use seabed_engine::source::{Excludes, WalkOptions};
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::fault_store::FaultStore;
use seabed_tests::forge::Forge;
use seabed_tests::repo::{bytes_stream, init, options, select};
use seabed_tests::trees::{Edit, Node, Tree, additions, apply, capture, edits, full, noise, set_mtime, settle};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// By path: restic's letters, and attributes.
type Found = BTreeMap<Vec<u8>, (String, BTreeSet<&'static str>)>;

fn letters(change: &Change<'_>) -> String {
    match (change.before, change.after) {
        (Some(_), None) => "-".to_owned(),
        (None, _) => "+".to_owned(),
        _ => {
            let set = [
                (change.is_retyped(), 'T'),
                (change.content, 'M'),
                (change.rot, '?'),
                (!change.content && !change.attributes.is_empty(), 'U'),
            ];
            set.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect()
        }
    }
}

/// All that differs, each path once and in the order of the format.
fn found(repository: &Repository, before: &Selected, after: &Against, options: &DiffOptions) -> Result<(Found, DiffReport)> {
    let mut found = Found::new();
    let mut last: Option<Vec<u8>> = None;
    let report = diff(repository, before, after, options, &Silent, &mut |change| {
        let split = |path: &[u8]| {
            let (dir, name) = seabed_engine::format::entry::split(path);
            (dir.to_vec(), name.to_vec())
        };
        if let Some(last) = &last {
            let ((a, x), (b, y)) = (split(last), split(change.path));
            assert!(
                seabed_engine::format::entry::compare((&a, &x), (&b, &y)).is_lt(),
                "{} twice or out of order",
                change.path.escape_ascii()
            );
        }
        last = Some(change.path.to_vec());
        let attributes = change.attributes.iter().map(|attribute| attribute.word()).collect();
        found.insert(change.path.to_vec(), (letters(change), attributes));
        Ok(true)
    })?;
    Ok((found, report))
}

fn against(selected: Selected) -> Against {
    Against::Snapshot(Box::new(selected))
}

fn all() -> DiffOptions {
    DiffOptions { metadata: true, reading: Reading::All, statistics: true, ..DiffOptions::default() }
}

/// What became of one path, by what was read of it without the engine.
fn judged(before: &Node, after: &Node) -> Option<(String, BTreeSet<&'static str>)> {
    let same_kind = before.kind() == after.kind();
    let link = before.kind() == 0o120_000;
    let names = |node: &Node| if node.is_file() { node.links.len().max(1) } else { 1 };
    let attributes = [
        ("size", same_kind && before.is_file() && before.content.len() != after.content.len()),
        ("mode", before.mode & 0o7777 != after.mode & 0o7777),
        ("owner", before.uid != after.uid),
        ("group", before.gid != after.gid),
        ("mtime", before.mtime != after.mtime),
        ("target", same_kind && link && before.content != after.content),
        ("rdev", same_kind && before.device != after.device),
        ("links", same_kind && names(before) != names(after)),
        ("xattrs", before.xattrs != after.xattrs),
    ];
    let attributes: BTreeSet<&'static str> = attributes.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    let content = same_kind && (before.content != after.content || before.device != after.device);
    let letters = match (same_kind, content, attributes.is_empty()) {
        (true, true, _) => "M",
        (true, false, false) => "U",
        (true, false, true) => return None,
        (false, _, false) => "TU",
        (false, _, true) => "T",
    };
    Some((letters.to_owned(), attributes))
}

fn expected(top: &[u8], before: &Tree, after: &Tree) -> Found {
    let full = |path: &[u8]| if path.is_empty() { top.to_vec() } else { [top, b"/", path].concat() };
    let mut found = Found::new();
    for (path, node) in before {
        match after.get(path) {
            None => drop(found.insert(full(path), ("-".to_owned(), BTreeSet::new()))),
            Some(other) => drop(judged(node, other).map(|verdict| found.insert(full(path), verdict))),
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        found.insert(full(path), ("+".to_owned(), BTreeSet::new()));
    }
    found
}

fn show(found: &Found) -> String {
    found.iter().map(|(path, (letters, attributes))| format!("{letters} {} {attributes:?}\n", path.escape_ascii())).collect()
}

fn same(what: &str, want: &Found, have: &Found) {
    assert!(want == have, "{what}: wanted\n{}and got\n{}", show(want), show(have));
}

/// Every chunk that a snapshot needs.
struct Chunks(BTreeSet<(u8, ChunkId)>);

impl Visit for Chunks {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        Ok(self.0.insert((class.code(), *id)))
    }
}

fn chunks(repository: &Repository, selected: &Selected) -> BTreeSet<(u8, ChunkId)> {
    let mut chunks = Chunks(BTreeSet::new());
    walk(&repository.reader().unwrap(), &selected.snapshot.index.roots, &mut chunks).unwrap();
    chunks.0
}

/// Counts by hand what only `a` has and `b` has not.
fn only(repository: &Repository, a: &Selected, b: &Selected) -> (u64, u64, u64) {
    let reader = repository.reader().unwrap();
    let (a, b) = (chunks(repository, a), chunks(repository, b));
    let (mut data, mut tree, mut bytes, mut last) = (0, 0, 0, Measured::default());
    for (class, id) in a.difference(&b) {
        let class = Class::ALL.into_iter().find(|known| known.code() == *class).unwrap();
        *(if class == Class::Data { &mut data } else { &mut tree }) += 1;
        bytes += reader.chunk_bytes(class, id, &mut last).unwrap();
    }
    (data, tree, bytes)
}

fn counted(counts: &seabed_engine::diff::Counts) -> (u64, u64, u64) {
    (counts.data_blobs, counts.tree_blobs, counts.bytes)
}

fn stored(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes()[1..].to_vec()
}

fn live(top: &Path) -> Against {
    Against::Live(Live { roots: vec![top.to_path_buf()], path: stored(top), walk: WalkOptions::default() })
}

fn flipped(found: &Found) -> Found {
    let flip = |letters: &str| match letters {
        "+" => "-".to_owned(),
        "-" => "+".to_owned(),
        other => other.to_owned(),
    };
    found.iter().map(|(path, (letters, attributes))| (path.clone(), (flip(letters), attributes.clone()))).collect()
}

fn one_sequence(first: &[Edit], then: &[Edit], forced: bool) {
    let place = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    let top = place.path().join("top");
    fs::create_dir_all(top.join("a")).unwrap();
    fs::create_dir_all(top.join("b")).unwrap();
    apply(&top, first);
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let take = || {
        let parent = if forced { ParentChoice::None } else { ParentChoice::Newest };
        let options = BackupOptions { parent, ..options(std::slice::from_ref(&top)) };
        (backup(&repository, options, &Silent).unwrap().snapshot.unwrap(), capture(&top, true))
    };
    let (a, before) = take();
    apply(&top, then);
    let (b, after) = take();
    let want = expected(&stored(&top), &before, &after);
    let at = |id: &SnapshotId, path: &[u8]| select(&repository, id, path).unwrap();
    let (whole_a, whole_b) = (at(&a, b""), at(&b, b""));

    let (have, report) = found(&repository, &whole_a, &against(at(&b, b"")), &all()).unwrap();
    same("two snapshots", &want, &have);
    assert_eq!(counted(&report.added), only(&repository, &whole_b, &whole_a), "what only the second has");
    assert_eq!(counted(&report.removed), only(&repository, &whole_a, &whole_b), "what only the first has");
    let of = |letters: &str, kind: fn(&Node) -> bool, tree: &Tree, other: &Tree| {
        let new = tree.iter().filter(|(path, node)| !other.contains_key(*path) && kind(node)).count() as u64;
        assert!(new <= want.values().filter(|(have, _)| have == letters).count() as u64);
        new
    };
    assert_eq!(report.added.files, of("+", Node::is_file, &after, &before));
    assert_eq!(report.removed.dirs, of("-", Node::is_dir, &before, &after));

    let part = |id: &SnapshotId| at(id, &stored(&top));
    same("parts of two snapshots", &want, &found(&repository, &part(&a), &against(part(&b)), &all()).unwrap().0);
    same("the other way round", &flipped(&want), &found(&repository, &whole_b, &against(at(&a, b"")), &all()).unwrap().0);
    same("a snapshot and this machine", &want, &found(&repository, &part(&a), &live(&top), &all()).unwrap().0);
    let nothing = Found::new();
    same("a snapshot and what it was made of", &nothing, &found(&repository, &part(&b), &live(&top), &all()).unwrap().0);
    same("one snapshot", &nothing, &found(&repository, &whole_b, &against(at(&b, b"")), &all()).unwrap().0);

    // Without attributes, what has no letter but U is no difference.
    let plain = |reading| DiffOptions { reading, ..DiffOptions::default() };
    let strip = |found: &Found, keep: &dyn Fn(&str) -> bool| -> Found {
        let kept = found.iter().filter(|(_, (letters, _))| keep(letters));
        kept.map(|(path, (letters, _))| (path.clone(), (letters.replace('U', ""), BTreeSet::new()))).collect()
    };
    let content = strip(&want, &|letters| letters != "U");
    same("content", &content, &found(&repository, &whole_a, &against(at(&b, b"")), &plain(Reading::None)).unwrap().0);
    same("content, all read", &content, &found(&repository, &part(&a), &live(&top), &plain(Reading::All)).unwrap().0);
    // By size and time nobody sees a file that was written to and whose time was put back, and one that was touched looks written to.
    let by_looks = found(&repository, &part(&a), &live(&top), &plain(Reading::None)).unwrap().0;
    for (path, (letters, attributes)) in &want {
        let seen = by_looks.get(path).map_or("", |(letters, _)| letters);
        let node = path.get(stored(&top).len() + 1..).and_then(|path| after.get(path));
        let file = node.is_some_and(Node::is_file);
        let touched = attributes.contains("mtime") || attributes.contains("size");
        let wanted = match letters.as_str() {
            "M" | "U" if file && touched => "M",
            "M" if file => "",
            "U" => "",
            other => other.trim_end_matches('U'),
        };
        assert_eq!(seen, wanted, "{} {letters} {attributes:?}", path.escape_ascii());
    }
    // Read where they look changed, touched files are told from those that were written to.
    let suspects = found(&repository, &part(&a), &live(&top), &plain(Reading::Suspects)).unwrap().0;
    for (path, (letters, _)) in &suspects {
        assert_eq!(Some(letters), content.get(path).map(|(letters, _)| letters), "{}", path.escape_ascii());
    }
    deltas(&repository, (&whole_a, &before), (&at(&b, b""), &after), &stored(&top), &top);
}

/// Bytes that came and went of each file: they add up to how much longer it is.
fn deltas(repository: &Repository, (a, before): (&Selected, &Tree), (b, after): (&Selected, &Tree), top_stored: &[u8], top: &Path) {
    let options = DiffOptions { deltas: true, reading: Reading::Suspects, ..DiffOptions::default() };
    let part = |selected: &Selected| Selected { snapshot: selected.snapshot.clone(), path: top_stored.to_vec() };
    let mut seen: Vec<BTreeMap<Vec<u8>, Delta>> = Vec::new();
    for other in [against(part(b)), live(top)] {
        let mut of = BTreeMap::new();
        diff(repository, &part(a), &other, &options, &Silent, &mut |change| {
            of.insert(change.path.to_vec(), change.delta.unwrap());
            Ok(true)
        })
        .unwrap();
        for (path, delta) in &of {
            let path = path.get(top_stored.len() + 1..).unwrap_or_default();
            // A chunk that a file has many times counts once: of 200,000 zeros that became fewer only the last chunk is another one.
            let repeats = |node: &Node| {
                let mut met = BTreeSet::new();
                node.content.len() > 4096 && !node.content.chunks_exact(1024).all(|part| met.insert(part))
            };
            let whole = |node: &Node| node.content.len() <= 4096 || node.data == [(0, node.content.len() as u64)];
            let dense = |node: &Node| whole(node) && !repeats(node);
            let (old, new) = (before.get(path).filter(|n| n.is_file()), after.get(path).filter(|n| n.is_file()));
            if old.is_some_and(|node| !dense(node)) || new.is_some_and(|node| !dense(node)) {
                continue;
            }
            let size = |node: Option<&Node>| node.map_or(0, |node| node.content.len() as i64);
            assert_eq!(delta.added as i64 - delta.removed as i64, size(new) - size(old), "{}", path.escape_ascii());
            assert!(delta.added as i64 <= size(new) && delta.removed as i64 <= size(old));
        }
        seen.push(of);
    }
    // What this machine's files are cut into is what a backup would cut them into.
    for (path, delta) in &seen[1] {
        assert_eq!(seen[0].get(path), Some(delta), "{}", path.escape_ascii());
    }
}

#[test]
fn random_edits_are_all_seen_and_nothing_else() {
    let strategy = (additions(20), edits(12), proptest::bool::ANY);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |(first, then, forced)| {
            one_sequence(&first, &then, forced);
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}

/// One of everything, and a day's changes to it.
#[test]
fn a_day_is_seen() {
    let place = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    let top = place.path().join("top");
    fs::create_dir(&top).unwrap();
    full(&top);
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let a = backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let before = capture(&top, true);
    seabed_tests::trees::a_day_later(&top);
    let want = expected(&stored(&top), &before, &capture(&top, true));
    let part = select(&repository, &a, &stored(&top)).unwrap();
    same("this machine", &want, &found(&repository, &part, &live(&top), &all()).unwrap().0);
    let b = backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    let (have, report) = found(&repository, &whole(&a), &against(whole(&b)), &all()).unwrap();
    same("snapshots", &want, &have);
    assert_eq!(counted(&report.added), only(&repository, &whole(&b), &whole(&a)));
    assert_eq!(report.unmeasured, 0);
}

fn files(n: usize, change: impl Fn(usize, &mut Entry)) -> impl Iterator<Item = (Vec<u8>, Entry, Option<Content>)> {
    let dirs = n.div_ceil(1000);
    let top = (0..dirs).map(|d| (Vec::new(), Entry::new(format!("d{d:05}").as_bytes(), EntryKind::Directory), None));
    let below = (0..n).map(move |i| {
        let mut entry = Entry::new(format!("f{i:07}").as_bytes(), EntryKind::File);
        (entry.mode, entry.size, entry.inode) = (0o644, 10, i as u64 + 1);
        (entry.mtime, entry.ctime) = (Time { secs: 1_700_000_000, nanos: 0 }, Time { secs: 1_700_000_000, nanos: 0 });
        change(i, &mut entry);
        let content = Content::Inline(vec![Item::Chunk(ChunkId::new([(entry.size % 251) as u8; 32]))]);
        (format!("d{:05}", i / 1000).into_bytes(), entry, Some(content))
    });
    top.chain(below)
}

/// A million files that did not change cost the same as one; a few that did cost the leaves in which they are.
#[test]
fn what_is_shared_is_not_read() {
    const FILES: usize = 1_000_000;
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let mut forge = Forge::new(&repository);
    let tree = forge.tree(files(FILES, |_, _| {}));
    assert!(tree.level >= 2, "nodes above nodes above leaves");
    let a = forge.snapshot(&tree, &[]);
    let b = forge.snapshot(&tree, &[]);
    let edited = forge.tree(files(FILES, |i, entry| {
        if [5, 500_000, 999_999].contains(&i) {
            entry.size = 77
        }
    }));
    let c = forge.snapshot(&edited, &[]);
    // A stream in the middle of what is shared.
    let d = forge.snapshot(&tree, &[("d00500/f0500500-and", Content::default(), 0)]);
    drop(forge);
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    let (at_a, at_b, at_c, at_d) = (whole(&a), against(whole(&b)), against(whole(&c)), against(whole(&d)));
    repository.index().unwrap();

    store.schedule(None);
    let options = DiffOptions { metadata: true, statistics: true, ..DiffOptions::default() };
    let (have, report) = found(&repository, &at_a, &at_b, &options).unwrap();
    assert!(have.is_empty() && report.nodes_read == 0, "{report:?}");
    assert_eq!(store.operations(), 0, "nothing is asked of the store");

    // One node or leaf of each level and file on each side, two sides each; nothing else.
    let plain = DiffOptions::default();
    let (have, report) = found(&repository, &at_a, &at_c, &plain).unwrap();
    assert_eq!(
        have.keys().map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>(),
        ["d00000/f0000005", "d00500/f0500000", "d00999/f0999999"]
    );
    assert!(report.nodes_read <= 2 * 3 * (u64::from(tree.level) + 1), "{report:?}");
    assert!(store.operations() < 60, "{}", store.operations());

    let (have, report) = found(&repository, &at_a, &at_d, &plain).unwrap();
    assert_eq!(
        have.into_iter().map(|(path, (letters, _))| (path, letters)).collect::<Vec<_>>(),
        [(b"d00500/f0500500-and".to_vec(), "+".to_owned())]
    );
    assert!(report.nodes_read <= 2 * (u64::from(tree.level) + 1), "{report:?}");

    // A part of both: as little, wherever it lies.
    let part = |id: &SnapshotId| select(&repository, id, b"d00700").unwrap();
    let (have, report) = found(&repository, &part(&a), &against(part(&c)), &plain).unwrap();
    assert!(have.is_empty() && report.nodes_read <= 4, "{report:?}");
    let part = |id: &SnapshotId| select(&repository, id, b"d00500/f0500000").unwrap();
    assert_eq!(found(&repository, &part(&a), &against(part(&c)), &plain).unwrap().0.len(), 1);
    // Parts that are not of one path share nothing, also where they stand in one leaf.
    let (one, other) = (select(&repository, &a, b"d00001").unwrap(), select(&repository, &a, b"d00002").unwrap());
    assert_eq!(found(&repository, &one, &against(other), &plain).unwrap().0.len(), 2000);
}

#[test]
fn parts_under_different_paths_are_compared_from_there_on() {
    let place = tempfile::tempdir().unwrap();
    let top = place.path().join("top");
    for dir in ["x/sub", "y/sub"] {
        fs::create_dir_all(top.join(dir)).unwrap();
        fs::write(top.join(dir).join("same"), "same").unwrap();
        set_mtime(&top.join(dir).join("same"), 5, 5);
    }
    fs::write(top.join("x/gone"), "x").unwrap();
    fs::write(top.join("y/sub/new"), "y").unwrap();
    fs::write(top.join("x/f"), "file").unwrap();
    fs::create_dir(top.join("y/f")).unwrap();
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let id = backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let part = |path: &str| select(&repository, &id, &stored(&top.join(path))).unwrap();
    let paths = |found: Found| found.into_iter().map(|(path, (l, _))| format!("{l}{}", path.escape_ascii())).collect::<BTreeSet<_>>();
    let want: BTreeSet<String> = ["-gone", "+sub/new", "Tf"].map(str::to_owned).into();
    assert_eq!(paths(found(&repository, &part("x"), &against(part("y")), &DiffOptions::default()).unwrap().0), want);
    // The same for a directory of this machine.
    let moved = place.path().join("moved");
    fs::rename(top.join("y"), &moved).unwrap();
    assert_eq!(paths(found(&repository, &part("x"), &live(&moved), &DiffOptions::default()).unwrap().0), want);
    // One file beside one file, whatever they are called: by the later name, for they have no path in common.
    assert!(found(&repository, &part("x/sub/same"), &against(part("y/sub/same")), &all()).unwrap().0.is_empty());
    assert_eq!(
        paths(found(&repository, &part("x/gone"), &against(part("y/sub/new")), &DiffOptions::default()).unwrap().0),
        ["Mnew".to_owned()].into()
    );
    for missing in ["nowhere", "x/sub/same/below"] {
        let selected = part(missing);
        assert!(matches!(found(&repository, &selected, &against(part("y")), &all()), Err(Error::NoSuchPath { .. })), "{missing}");
    }
}

/// A dump that was a file and is a stream now is the same dump.
#[test]
fn streams_and_files_are_one_order() {
    let place = tempfile::tempdir().unwrap();
    let top = place.path().join("top");
    fs::create_dir_all(top.join("b")).unwrap();
    let rows = noise(3, 300_000);
    for name in ["a", "b/dump.sql", "c"] {
        fs::write(top.join(name), if name == "b/dump.sql" { &rows[..] } else { b"text" }).unwrap();
    }
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let take = |left_out: &str, streams: &[(&str, Vec<u8>)]| {
        let mut options = options(std::slice::from_ref(&top));
        let mut excludes = Excludes::new();
        if !left_out.is_empty() {
            excludes.pattern(left_out.as_bytes(), false).unwrap();
        }
        options.walk.excludes = excludes;
        let name = |name: &str| String::from_utf8(stored(&top.join(name))).unwrap();
        options.streams = streams.iter().map(|(at, bytes)| bytes_stream(&name(at), bytes.clone())).collect();
        backup(&repository, options, &Silent).unwrap().snapshot.unwrap()
    };
    let a = take("", &[]);
    let b = take("dump.sql", &[("b/dump.sql", rows.clone())]);
    let mut other = rows.clone();
    other[150_000] ^= 1;
    let c = take("dump.sql", &[("b/dump.sql", other), ("b/later.sql", b"x".to_vec())]);
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    assert!(found(&repository, &whole(&a), &against(whole(&b)), &DiffOptions::default()).unwrap().0.is_empty());
    let path = |name: &str| stored(&top.join(name));
    let (have, report) = found(&repository, &whole(&b), &against(whole(&c)), &all()).unwrap();
    let letters: Vec<_> = have.iter().map(|(path, (letters, _))| (path.clone(), letters.as_str())).collect();
    assert_eq!(letters, [(path("b/dump.sql"), "M"), (path("b/later.sql"), "+")]);
    assert_eq!(counted(&report.added), only(&repository, &whole(&c), &whole(&b)));
    // From this machine's side a stream is a file where one is named, and nothing where all paths are compared.
    let part = Selected { path: stored(&top), ..whole(&c) };
    let have = found(&repository, &part, &live(&top), &DiffOptions { reading: Reading::All, ..DiffOptions::default() }).unwrap().0;
    let letters: Vec<_> = have.iter().map(|(path, (letters, _))| (path.clone(), letters.as_str())).collect();
    assert_eq!(letters, [(path("b/dump.sql"), "M"), (path("b/later.sql"), "-")]);
    let paths = Against::Live(Live { roots: vec![top.clone()], path: Vec::new(), walk: WalkOptions::default() });
    let (have, report) = found(&repository, &whole(&c), &paths, &DiffOptions::default()).unwrap();
    assert_eq!(have.into_keys().collect::<Vec<_>>(), [path("b/dump.sql")], "it is there as a file, and the snapshot has none");
    assert_eq!(report.streams_left_out, 2);
}

/// Roots that are trees, of whatever kind, lie over each other as in a restore.
#[test]
fn roots_of_several_kinds_are_one_tree() {
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut forge = Forge::new(&repository);
    let file = |dir: &[u8], name: &[u8], n: u8| {
        let mut entry = Entry::new(name, EntryKind::File);
        entry.size = 1;
        (dir.to_vec(), entry, Some(Content::Inline(vec![Item::Chunk(ChunkId::new([n; 32]))])))
    };
    let dir = |name: &[u8], implied: bool| {
        let mut entry = Entry::new(name, EntryKind::Directory);
        entry.implied = implied;
        (Vec::new(), entry, None)
    };
    let whole = forge.tree([dir(b"d", false), file(b"", b"e", 2), file(b"d", b"x", 3), file(b"d", b"y", 4)].into_iter());
    let left = forge.tree([dir(b"d", true), file(b"d", b"y", 4)].into_iter());
    let right = forge.tree([dir(b"d", false), file(b"", b"e", 2), file(b"d", b"x", 3)].into_iter());
    let a = forge.snapshot(&whole, &[]);
    let b = forge.snapshot_of(&[(left, seabed_engine::format::manifest::ROOT_PATHS), (right, ROOT_TAR)], &[]);
    let at = |id: &SnapshotId, path: &[u8]| select(&repository, id, path).unwrap();
    for (path, metadata) in [(&b""[..], false), (b"", true), (b"d", true), (b"d/y", true)] {
        let options = DiffOptions { metadata, ..DiffOptions::default() };
        for (from, to) in [(&a, &b), (&b, &a)] {
            let have = found(&repository, &at(from, path), &against(at(to, path)), &options).unwrap().0;
            assert!(have.is_empty(), "{}: {}", path.escape_ascii(), show(&have));
        }
    }
}

/// Content that changed though nobody has written to the file. One that was written to, and whose time was put back, is none of these.
#[test]
fn rot_is_told_from_edits() {
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut forge = Forge::new(&repository);
    let tree = |forge: &mut Forge<'_>, chunk: u8, ctime: i64| {
        let mut entry = Entry::new(b"f", EntryKind::File);
        (entry.size, entry.inode, entry.mtime) = (10, 7, Time { secs: 5, nanos: 5 });
        entry.ctime = Time { secs: ctime, nanos: 5 };
        forge.tree([(Vec::new(), entry, Some(Content::Inline(vec![Item::Chunk(ChunkId::new([chunk; 32]))])))].into_iter())
    };
    let trees = [(1, 6), (2, 6), (1, 7)].map(|(chunk, ctime)| tree(&mut forge, chunk, ctime));
    let ids = trees.map(|tree| forge.snapshot(&tree, &[]));
    let letters = |a: usize, b: usize| {
        let at = |n: usize| select(&repository, &ids[n], b"").unwrap();
        let have = found(&repository, &at(a), &against(at(b)), &DiffOptions { metadata: true, ..DiffOptions::default() }).unwrap().0;
        have.into_values().map(|(letters, _)| letters).collect::<Vec<_>>()
    };
    assert_eq!(letters(0, 1), ["M?"]);
    assert_eq!(letters(1, 2), ["M"]);
    assert!(letters(0, 2).is_empty(), "a time of attribute changes alone is nothing");
}

/// A long file of which a little changed: the rest of its list is passed over, and what came and went is what was written.
#[test]
fn of_long_files_only_the_difference_is_looked_at() {
    let place = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    let (top, path) = (place.path().join("top"), place.path().join("top/image"));
    fs::create_dir(&top).unwrap();
    fs::write(&path, noise(1, 12 << 20)).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    // Behind a hole, so that there are holes to compare too.
    file.write_all_at(&noise(2, 3 << 20), 40 << 20).unwrap();
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let repository = init(Arc::new(store.clone()), None).unwrap();
    let take = || backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let a = take();
    settle(&top);
    file.write_all_at(&noise(3, 5000), 6 << 20).unwrap();
    let b = take();
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    let part = |id: &SnapshotId| select(&repository, id, &stored(&top)).unwrap();
    let options = DiffOptions { deltas: true, statistics: true, reading: Reading::All, ..DiffOptions::default() };
    let mut deltas = Vec::new();
    for other in [against(part(&b)), live(&top)] {
        diff(&repository, &part(&a), &other, &options, &Silent, &mut |change| {
            deltas.push(change.delta.unwrap());
            Ok(true)
        })
        .unwrap();
    }
    assert_eq!(deltas[0], deltas[1]);
    assert!((5000..200_000).contains(&deltas[0].added), "{deltas:?}");
    let (_, report) = found(&repository, &whole(&a), &against(whole(&b)), &all()).unwrap();
    assert_eq!(counted(&report.added), only(&repository, &whole(&b), &whole(&a)));
    assert_eq!(counted(&report.removed), only(&repository, &whole(&a), &whole(&b)));
    assert!(report.added.tree_blobs < 12, "the list is not written anew: {report:?}");
    assert!(found(&repository, &part(&b), &live(&top), &all()).unwrap().0.is_empty());
}

/// A file that was copied brings nothing that is not there already.
#[test]
fn what_is_elsewhere_too_is_not_new() {
    let place = tempfile::tempdir_in(crate::roundtrip::scratch()).unwrap();
    let top = place.path().join("top");
    fs::create_dir_all(top.join("many")).unwrap();
    for n in 0..3000u64 {
        fs::write(top.join(format!("many/{n}")), noise(n, 100)).unwrap();
    }
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let take = || backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let a = take();
    fs::copy(top.join("many/7"), top.join("copy")).unwrap();
    let b = take();
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    let (have, report) = found(&repository, &whole(&a), &against(whole(&b)), &all()).unwrap();
    assert_eq!(have.iter().filter(|(_, (letters, _))| letters == "+").count(), 1);
    assert_eq!(report.added.data_blobs, 0, "{report:?}");
    assert_eq!(counted(&report.added), only(&repository, &whole(&b), &whole(&a)));
}

#[test]
fn damage_is_said_and_content_is_not_missed() {
    let place = tempfile::tempdir().unwrap();
    let top = place.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("f"), noise(1, 50_000)).unwrap();
    let store = Arc::new(MemoryStore::new());
    let repository = init(store.clone(), None).unwrap();
    let take = || backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap().snapshot.unwrap();
    let a = take();
    fs::write(top.join("f"), noise(2, 50_000)).unwrap();
    let b = take();
    let whole = |id: &SnapshotId| select(&repository, id, b"").unwrap();
    let remove = |folder: &str| {
        for object in store.list(folder).unwrap() {
            assert!(store.remove(&object.name));
        }
    };
    // No content is read, so none is missed; only how long its chunks were nobody can tell.
    remove("data");
    let (have, report) = found(&repository, &whole(&a), &against(whole(&b)), &all()).unwrap();
    assert!(have.values().any(|(letters, _)| letters == "M"));
    assert_eq!(report.unmeasured, report.added.data_blobs + report.removed.data_blobs);
    // Asked to show it, it says that it cannot.
    let options = DiffOptions { bodies: Some(1 << 20), ..DiffOptions::default() };
    diff(&repository, &whole(&a), &against(whole(&b)), &options, &Silent, &mut |change| {
        assert!(change.bodies.iter().all(|body| *body == Some(seabed_engine::diff::Body::Unreadable)), "{change:?}");
        Ok(true)
    })
    .unwrap();
    remove("names");
    let error = found(&repository, &whole(&a), &against(whole(&b)), &all()).unwrap_err();
    assert_eq!(error.kind(), Kind::Damage, "{error}");
}

struct Impatient;

impl Observer for Impatient {
    fn interrupted(&self) -> bool {
        true
    }
}

#[test]
fn it_stops_when_it_is_asked_to() {
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut forge = Forge::new(&repository);
    let trees = [0u64, 1].map(|n| forge.tree(files(5000, |_, entry| entry.size = 10 + n)));
    let ids = trees.map(|tree| forge.snapshot(&tree, &[]));
    let at = |n: usize| select(&repository, &ids[n], b"").unwrap();
    let stopped = diff(&repository, &at(0), &against(at(1)), &all(), &Impatient, &mut |_| Ok(true));
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    let mut seen = 0;
    diff(&repository, &at(0), &against(at(1)), &all(), &Silent, &mut |change| {
        seen += 1;
        assert_eq!(change.attributes, [Attribute::Size]);
        Ok(seen < 3)
    })
    .unwrap();
    assert_eq!(seen, 3);
}
