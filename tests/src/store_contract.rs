//! The contract suite of stores: what `seabed_engine::store` promises, checked the same way on every implementation.
//! It must never know which store it talks to. It obeys DESIGN section 7.

use seabed_engine::error::{Damage, Error};
use seabed_engine::id::{Class, ObjectName, PackId};
use seabed_engine::store::Store;
use std::io::ErrorKind;

type Case = (&'static str, fn(&dyn Store));

const CASES: &[Case] = &[
    ("what was put is read", put_and_get),
    ("an empty object is an object", empty_object),
    ("five MiB, in pieces", large_object),
    ("ranges", ranges),
    ("a range past the end is an error and hands nothing out", range_past_the_end),
    ("suffixes", suffixes),
    ("limits", limits),
    ("what is missing", missing),
    ("the same bytes again", same_bytes_again),
    ("other bytes are refused", other_bytes_refused),
    ("a beginning of the same bytes is replaced", beginning_replaced),
    ("listings by folder, sorted", listings),
    ("hostile folder names", hostile_folders),
    ("delete", delete),
    ("an upload is invisible until it is finished", invisible_until_finished),
    ("many small objects", many_small),
    ("list after write from eight threads", eight_threads),
    ("eight threads put the same object", eight_threads_one_name),
    ("eight threads put other bytes under one name", eight_threads_one_winner),
    ("the clock", clock),
];

/// Runs the whole contract, each case on a store of its own that `fresh` gives.
pub fn check<S: Store>(fresh: impl Fn() -> S) {
    for (what, case) in CASES {
        // Shown only when the test fails.
        println!("case: {what}");
        let store = fresh();
        assert_eq!(store.list("").unwrap(), [], "a fresh store is empty");
        case(&store);
    }
}

/// A name in the form of the format.
pub fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

/// Bytes that do not repeat, different for each seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// The names in a listing.
pub fn names(store: &dyn Store, folder: &str) -> Vec<String> {
    store.list(folder).unwrap().into_iter().map(|listed| listed.name.to_string()).collect()
}

/// The kind of the system error in a store error; panics for any other error.
pub fn io_kind(error: Error) -> ErrorKind {
    match error {
        Error::Store { source, .. } => source.kind(),
        other => panic!("a store error is expected, not: {other}"),
    }
}

fn damage(error: Error, of: &ObjectName) -> Damage {
    match error {
        Error::Damaged { object, damage } if object == *of => damage,
        other => panic!("damage of {of} is expected, not: {other}"),
    }
}

fn put_and_get(store: &dyn Store) {
    let pack = ObjectName::pack(Class::Data, &PackId::new([0xab; 32]));
    for (at, name) in [ObjectName::descriptor(), pack, name("keyring/00000001-00ff")].iter().enumerate() {
        let content = bytes(at as u64, 1000 + at);
        store.put(name, &content).unwrap();
        assert_eq!(store.get(name, 2000).unwrap(), content);
        assert_eq!(store.get(name, content.len() as u64).unwrap(), content);
        assert_eq!(store.size(name).unwrap(), Some(content.len() as u64));
    }
    assert_eq!(store.list("").unwrap().len(), 3);
}

fn empty_object(store: &dyn Store) {
    let name = name("notes/00");
    store.put(&name, b"").unwrap();
    store.put(&name, b"").unwrap();
    assert_eq!(store.get(&name, 0).unwrap(), b"");
    assert_eq!(store.size(&name).unwrap(), Some(0));
    assert_eq!(store.get_suffix(&name, 10).unwrap(), (vec![], 0));
    let mut into = vec![1];
    store.get_range(&name, 0..0, &mut into).unwrap();
    assert_eq!(into, b"");
    let listed = store.list("notes").unwrap();
    assert_eq!(listed.iter().map(|l| (&l.name, l.bytes)).collect::<Vec<_>>(), [(&name, 0)]);
}

fn large_object(store: &dyn Store) {
    let name = name("data/5e/5e");
    let content = bytes(5, 5 << 20);
    let mut upload = store.begin().unwrap();
    for piece in content.chunks(77_777) {
        upload.write(piece).unwrap();
    }
    upload.write(b"").unwrap();
    upload.finish(&name).unwrap();
    assert!(store.get(&name, 5 << 20).unwrap() == content);
    let mut into = Vec::new();
    for from in (0..5 << 20).step_by(300_001) {
        let to = (from + 65_536).min(5 << 20);
        store.get_range(&name, from as u64..to as u64, &mut into).unwrap();
        assert!(into == content[from..to], "at {from}");
    }
    store.put(&name, &content).unwrap();
    if !store.refuses_other_bytes() {
        return;
    }
    let mut other = content;
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(io_kind(store.put(&name, &other).unwrap_err()), ErrorKind::AlreadyExists);
}

fn ranges(store: &dyn Store) {
    let name = name("index/0a");
    let content = bytes(1, 100);
    store.put(&name, &content).unwrap();
    // One buffer for all: earlier content, longer or shorter, must not shine through.
    let mut into = vec![0xee; 500];
    for (from, to) in [(0, 100), (0, 1), (99, 100), (10, 20), (5, 5), (100, 100), (0, 0), (1, 99)] {
        store.get_range(&name, from as u64..to as u64, &mut into).unwrap();
        assert_eq!(into, content[from..to]);
    }
}

fn range_past_the_end(store: &dyn Store) {
    let name = name("index/0b");
    store.put(&name, &bytes(1, 100)).unwrap();
    for range in [0..101, 99..101, 100..101, 101..101, 200..300, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
        let mut into = vec![1, 2, 3];
        let want = range.end;
        let error = store.get_range(&name, range, &mut into).unwrap_err();
        assert_eq!(damage(error, &name), Damage::Short { have: 100, want });
        assert_eq!(into, b"", "nothing is handed out");
    }
    let (backwards, mut into) = (std::ops::Range { start: 20, end: 10 }, vec![1]);
    assert_eq!(io_kind(store.get_range(&name, backwards, &mut into).unwrap_err()), ErrorKind::InvalidInput);
    assert_eq!(into, b"");
}

fn suffixes(store: &dyn Store) {
    let name = name("lists/0c/0c");
    let content = bytes(2, 100);
    store.put(&name, &content).unwrap();
    for (asked, given) in [(0, 0), (1, 1), (40, 40), (100, 100), (101, 100), (u64::MAX, 100)] {
        assert_eq!(store.get_suffix(&name, asked).unwrap(), (content[100 - given..].to_vec(), 100));
    }
}

fn limits(store: &dyn Store) {
    let name = name("slots/0d");
    store.put(&name, &bytes(3, 100)).unwrap();
    for max in [0, 99] {
        assert_eq!(damage(store.get(&name, max).unwrap_err(), &name), Damage::TooLarge { have: 100, max });
    }
    for max in [100, u64::MAX] {
        assert_eq!(store.get(&name, max).unwrap().len(), 100);
    }
}

fn missing(store: &dyn Store) {
    store.put(&name("data/aa/aa"), b"a").unwrap();
    for absent in ["data/aa/ab", "data/ab/ab", "snapshots/00", "seabed"] {
        let absent = name(absent);
        let mut into = vec![1];
        assert!(store.get(&absent, 10).unwrap_err().is_missing());
        assert!(store.get_range(&absent, 0..1, &mut into).unwrap_err().is_missing());
        assert_eq!(into, b"");
        assert!(store.get_suffix(&absent, 10).unwrap_err().is_missing());
        assert_eq!(damage(store.get(&absent, 10).unwrap_err(), &absent), Damage::Missing);
        assert_eq!(store.size(&absent).unwrap(), None);
        store.delete(&absent).unwrap();
    }
    assert_eq!(store.list("snapshots").unwrap(), []);
    assert_eq!(store.list("data/ab").unwrap(), []);
}

fn same_bytes_again(store: &dyn Store) {
    let name = name("records/01");
    let content = bytes(4, 70_000);
    for _ in 0..3 {
        store.put(&name, &content).unwrap();
        assert_eq!(store.get(&name, 70_000).unwrap(), content);
    }
    assert_eq!(names(store, ""), ["records/01"]);
}

fn other_bytes_refused(store: &dyn Store) {
    // An S3 store that knows no conditional put has nothing to refuse with.
    if !store.refuses_other_bytes() {
        return;
    }
    let name = name("snapshots/0e");
    let content = bytes(6, 70_000);
    store.put(&name, &content).unwrap();
    let mut changed_late = content.clone();
    changed_late[69_999] ^= 1;
    // The third is a beginning of what is there: shorter, and still not the same object.
    for other in [&bytes(7, 70_000), &changed_late, &content[..69_999].to_vec(), &bytes(8, 90_000), &vec![]] {
        assert_eq!(io_kind(store.put(&name, other).unwrap_err()), ErrorKind::AlreadyExists);
        assert!(store.get(&name, 100_000).unwrap() == content, "the original is intact");
    }
    assert_eq!(names(store, ""), ["snapshots/0e"]);
}

fn beginning_replaced(store: &dyn Store) {
    let name = name("pending/0f");
    let content = bytes(9, 70_000);
    let mut into = Vec::new();
    for len in [0, 1, 69_999, 70_000] {
        store.put(&name, &content[..len]).unwrap();
        // Through the call that may keep the object open.
        store.get_range(&name, 0..len as u64, &mut into).unwrap();
        assert!(into == content[..len]);
    }
}

fn listings(store: &dyn Store) {
    let all = ["data/00/00a", "data/00/00b", "data/ff/ff0", "features", "index/0", "index/00", "index/a", "index-old/a", "seabed"];
    for (at, text) in all.iter().enumerate().rev() {
        store.put(&name(text), &bytes(1, at)).unwrap();
    }
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    assert_eq!(names(store, ""), sorted);
    assert_eq!(names(store, "index"), ["index/0", "index/00", "index/a"]);
    assert_eq!(names(store, "data"), ["data/00/00a", "data/00/00b", "data/ff/ff0"]);
    assert_eq!(names(store, "data/00"), ["data/00/00a", "data/00/00b"]);
    // A folder is not a prefix.
    for none in ["dat", "inde", "data/0", "snapshots"] {
        assert_eq!(names(store, none), [""; 0]);
    }
    for listed in store.list("").unwrap() {
        assert_eq!(Some(listed.bytes), store.size(&listed.name).unwrap());
        assert_eq!(all[listed.bytes as usize], listed.name.as_str());
    }
}

fn hostile_folders(store: &dyn Store) {
    store.put(&name("data/00/00a"), b"a").unwrap();
    for folder in ["/", "..", "../..", "data/", "/data", "data/../data", ".", "DATA"] {
        assert_eq!(io_kind(store.list(folder).unwrap_err()), ErrorKind::InvalidInput, "{folder}");
    }
}

fn delete(store: &dyn Store) {
    let (gone, kept) = (name("data/10/10"), name("data/10/11"));
    let mut into = Vec::new();
    for object in [&gone, &kept] {
        store.put(object, b"abc").unwrap();
        store.get_range(object, 0..1, &mut into).unwrap();
    }
    store.delete(&gone).unwrap();
    store.delete(&gone).unwrap();
    assert!(store.get(&gone, 10).unwrap_err().is_missing());
    assert!(store.get_range(&gone, 0..1, &mut into).unwrap_err().is_missing(), "also after it was open");
    assert_eq!(store.size(&gone).unwrap(), None);
    assert_eq!(names(store, "data"), ["data/10/11"]);
    assert_eq!(store.get(&kept, 10).unwrap(), b"abc");
    store.put(&gone, b"abc").unwrap();
    assert_eq!(store.get(&gone, 10).unwrap(), b"abc");
}

fn invisible_until_finished(store: &dyn Store) {
    let mut dropped = store.begin().unwrap();
    let mut finished = store.begin().unwrap();
    let mut open = store.begin().unwrap();
    for upload in [&mut dropped, &mut finished, &mut open] {
        upload.write(b"abc").unwrap();
    }
    assert_eq!(store.list("").unwrap(), []);
    drop(dropped);
    finished.finish(&name("notes/01")).unwrap();
    assert_eq!(names(store, ""), ["notes/01"]);
    open.write(b"def").unwrap();
    assert_eq!(names(store, ""), ["notes/01"]);
    open.finish(&name("notes/02")).unwrap();
    assert_eq!(store.get(&name("notes/02"), 10).unwrap(), b"abcdef");
    // An upload never written to is an empty object.
    store.begin().unwrap().finish(&name("notes/03")).unwrap();
    assert_eq!(store.size(&name("notes/03")).unwrap(), Some(0));
}

fn many_small(store: &dyn Store) {
    let names: Vec<_> = (0..300u64).map(|n| name(&format!("data/{:02x}/{n:04x}", n % 7))).collect();
    for (at, name) in names.iter().enumerate() {
        store.put(name, &bytes(at as u64, at)).unwrap();
    }
    let mut sorted = names.clone();
    sorted.sort();
    let listed: Vec<_> = store.list("data").unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(listed, sorted);
    // Twice and in turn: more objects than any store keeps open.
    let mut into = Vec::new();
    for _ in 0..2 {
        for (at, name) in names.iter().enumerate() {
            store.get_range(name, at as u64 / 2..at as u64, &mut into).unwrap();
            assert_eq!(into, bytes(at as u64, at)[at / 2..]);
        }
    }
}

fn eight_threads(store: &dyn Store) {
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            scope.spawn(move || {
                for n in 0..12u64 {
                    let name = name(&format!("names/{:02x}/{thread}-{n}", n % 3));
                    store.put(&name, &bytes(thread * 100 + n, 5000)).unwrap();
                    let listed = store.list("names").unwrap();
                    assert!(listed.iter().any(|l| (&l.name, l.bytes) == (&name, 5000)), "listed as soon as put returns");
                    assert!(listed.is_sorted());
                    assert_eq!(store.get(&name, 5000).unwrap(), bytes(thread * 100 + n, 5000));
                }
            });
        }
    });
    assert_eq!(store.list("").unwrap().len(), 96);
}

fn eight_threads_one_name(store: &dyn Store) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..8 {
                    store.put(&name(&format!("index/{n}")), &bytes(n, 40_000)).unwrap();
                }
            });
        }
    });
    for n in 0..8 {
        assert_eq!(store.get(&name(&format!("index/{n}")), 40_000).unwrap(), bytes(n, 40_000));
    }
    assert_eq!(store.list("").unwrap().len(), 8);
}

fn eight_threads_one_winner(store: &dyn Store) {
    let name = name("keyring/02");
    let winners: Vec<u64> = std::thread::scope(|scope| {
        let put = |thread| (thread, store.put(&name, &bytes(thread, 40_000)));
        let threads: Vec<_> = (1..9).map(|thread| scope.spawn(move || put(thread))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results
            .filter_map(|(thread, result)| result.map_err(|e| assert_eq!(io_kind(e), ErrorKind::AlreadyExists)).ok().map(|()| thread))
            .collect()
    });
    if !store.refuses_other_bytes() {
        let kept = store.get(&name, 40_000).unwrap();
        assert!(winners.iter().any(|winner| kept == bytes(*winner, 40_000)), "one of them, whole");
        return;
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get(&name, 40_000).unwrap(), bytes(winners[0], 40_000));
}

fn clock(store: &dyn Store) {
    let before = store.now().unwrap();
    assert!(before >= 0);
    store.put(&name("notes/04"), b"").unwrap();
    assert!(store.now().unwrap() >= before);
    assert_eq!(names(store, ""), ["notes/04"], "asking for the time leaves nothing");
}
