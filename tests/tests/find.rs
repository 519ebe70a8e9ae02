//! Finding paths and telling their history: the path index against what the trees themselves say, snapshots dated back, forgotten, of
//! several hosts, filled in any rhythm; and the commands as a stranger uses them.
//! It must never trust the index to check the index: the truth comes from listing every snapshot.

use crate::cli::{Home, lines};
use proptest::collection::vec;
use proptest::prelude::*;
use seabed_engine::backup::backup;
use seabed_engine::find::{Chosen, Pattern, Syntax, Wanted, What, Which, fill, find, history};
use seabed_engine::forget::forget;
use seabed_engine::format::entry::{EntryKind, join};
use seabed_engine::format::wire::Time;
use seabed_engine::list::list;
use seabed_engine::observe::Silent;
use seabed_engine::paths::PathIndex;
use seabed_engine::repository::Repository;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::{bytes_stream, init, options};
use seabed_tests::trees::{Edit, additions, apply, edits};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What a snapshot says of a path, as far as the index should know it.
type Said = (EntryKind, u32, u64, Option<i64>);

pub fn everything() -> Wanted {
    Wanted { pattern: Pattern::new(&[], Syntax::Glob, false).unwrap(), kinds: Vec::new(), size: None, mtime: None }
}

/// The truth: every path of every snapshot, by listing it.
pub fn listed(repository: &Repository) -> Vec<BTreeMap<Vec<u8>, Said>> {
    let snapshots = repository.catalog().snapshots().unwrap();
    let one = |snapshot| {
        let mut all = BTreeMap::new();
        list(repository, snapshot, b"", true, |dir, entry| {
            let stream = dir.is_empty() && entry.name.0.starts_with(b"stream");
            // The time of a directory follows from what is in it, that of a stream from the run.
            let mtime = (entry.kind != EntryKind::Directory && !stream).then(|| entry.mtime.as_nanos().unwrap());
            all.insert([b"/", &join(dir, &entry.name.0)[..]].concat(), (entry.kind, entry.mode, entry.size, mtime));
            Ok(true)
        })
        .unwrap();
        all
    };
    snapshots.iter().map(one).collect()
}

/// What the index says.
pub fn indexed(repository: &Repository, paths: &PathIndex) -> Vec<BTreeMap<Vec<u8>, Said>> {
    let snapshots = repository.catalog().snapshots().unwrap();
    let chosen = Chosen::new(paths, &snapshots).unwrap();
    assert!(chosen.missing.is_empty(), "{:?}", chosen.missing);
    let mut all = vec![BTreeMap::new(); snapshots.len()];
    find(paths, &chosen, &everything(), &mut |hits| {
        for hit in hits {
            for found in &hit.matches {
                let v = &found.version;
                let stream = hit.path.starts_with(b"/stream");
                let mtime = (v.kind != EntryKind::Directory && !stream).then_some(v.mtime);
                for number in &found.snapshots {
                    let twice = all[*number].insert(hit.path.clone(), (v.kind, v.mode, v.size, mtime));
                    assert!(twice.is_none(), "told twice: {}", String::from_utf8_lossy(&hit.path));
                }
            }
        }
        Ok(true)
    })
    .unwrap();
    all
}

/// Brings the index up to date: it says what listings of every snapshot say, which is the answer.
pub fn agrees(repository: &Repository, paths: &mut PathIndex) -> Vec<BTreeMap<Vec<u8>, Said>> {
    repository.refresh().unwrap();
    fill(repository, paths, Which::All, &Silent).unwrap();
    let truth = listed(repository);
    assert_eq!(indexed(repository, paths), truth);
    histories_agree(repository, paths, &truth);
    truth
}

/// Histories against the truth: a path is there from an event to the next, and nowhere else.
fn histories_agree(repository: &Repository, paths: &PathIndex, truth: &[BTreeMap<Vec<u8>, Said>]) {
    let snapshots = repository.catalog().snapshots().unwrap();
    let chosen = Chosen::new(paths, &snapshots).unwrap();
    let all: std::collections::BTreeSet<&Vec<u8>> = truth.iter().flat_map(BTreeMap::keys).collect();
    for path in all {
        let mut told: BTreeMap<usize, (EntryKind, u64)> = BTreeMap::new();
        for line in history(paths, &chosen, &path[1..]).unwrap() {
            let host = &snapshots[line.events[0].first].names.host;
            let of_host: Vec<usize> = (0..snapshots.len()).filter(|number| snapshots[*number].names.host == *host).collect();
            assert!(!matches!(line.events[0].what, What::Vanished | What::Changed { .. }), "{line:?}");
            assert_eq!(matches!(line.events[0].what, What::First), line.events[0].first == of_host[0], "{line:?}");
            for event in &line.events {
                let within: Vec<usize> = of_host.iter().copied().filter(|n| (event.first..=event.last).contains(n)).collect();
                assert_eq!(within.len(), event.count, "{event:?}");
                if let Some(version) = &event.version {
                    told.extend(within.into_iter().map(|number| (number, (version.kind, version.size))));
                }
            }
        }
        let want: BTreeMap<usize, (EntryKind, u64)> =
            truth.iter().enumerate().filter_map(|(at, said)| said.get(path).map(|said| (at, (said.0, said.2)))).collect();
        assert_eq!(told, want, "{}", String::from_utf8_lossy(path));
    }
}

#[derive(Clone, Debug)]
struct Day {
    edits: Vec<Edit>,
    time: i64,
    host: bool,
    stream: u8,
    filled: bool,
    forgets: Option<u8>,
}

fn day() -> impl Strategy<Value = Day> {
    let day = (edits(6), 0i64..12, any::<bool>(), 0u8..4, any::<bool>(), proptest::option::of(any::<u8>()));
    day.prop_map(|(edits, time, host, stream, filled, forgets)| Day { edits, time, host, stream, filled, forgets })
}

fn lives_through(start: &[Edit], days: &[Day]) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    apply(&top, start);
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut paths = PathIndex::open(Some(dir.path()), &repository.id()).unwrap();
    for day in days {
        apply(&top, &day.edits);
        let mut options = options(std::slice::from_ref(&top));
        options.host = if day.host { "a" } else { "b" }.to_owned();
        options.time = Some(Time { secs: 1_000_000 + day.time, nanos: 0 });
        if day.stream > 0 {
            options.streams = vec![bytes_stream(&format!("stream{}", day.stream % 2), vec![day.stream; 10])];
        }
        let made = backup(&repository, options, &Silent).unwrap().snapshot.unwrap();
        repository.refresh().unwrap();
        if let Some(which) = day.forgets {
            let all: Vec<_> = repository.catalog().snapshots().unwrap().iter().map(|s| s.id).filter(|id| *id != made).collect();
            if !all.is_empty() {
                forget(&repository, &[all[usize::from(which) % all.len()]]).unwrap();
                repository.refresh().unwrap();
            }
        }
        if day.filled {
            let filled = fill(&repository, &mut paths, Which::All, &Silent).unwrap();
            assert!(filled.unreadable.is_empty(), "{filled:?}");
        }
    }
    let truth = agrees(&repository, &mut paths);
    // Nothing is left to do, and another process that opens it sees the same.
    assert_eq!(fill(&repository, &mut paths, Which::All, &Silent).unwrap().indexed, 0);
    drop(paths);
    let paths = PathIndex::open_existing(dir.path(), &repository.id()).unwrap().unwrap();
    assert_eq!(indexed(&repository, &paths), truth);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_index_says_what_the_trees_say(start in additions(30), days in vec(day(), 1..9)) {
        lives_through(&start, &days);
    }
}

/// Snapshots that are dated back between the same two, until there is no place left between them.
#[test]
fn a_line_that_has_no_room_is_made_anew() {
    let days: Vec<Day> = (0..12)
        .map(|n| Day {
            edits: vec![Edit::Append(n, 10 + n)],
            time: if n == 0 { 0 } else { 100 - i64::from(n) },
            host: true,
            stream: 0,
            filled: true,
            forgets: None,
        })
        .collect();
    let start: Vec<Edit> = (0..6)
        .map(|n| Edit::Add(0, vec![b'a' + n], seabed_tests::trees::Make::File(100, seabed_tests::trees::Fill::Own(u32::from(n)))))
        .collect();
    lives_through(&start, &days);
}

/// A directory of many thousand names fills blocks; what comes later lies behind them.
#[test]
fn blocks_and_rows_are_searched_alike() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    fs::create_dir(&top).unwrap();
    for n in 0..9000 {
        fs::write(top.join(format!("file-{n:05}")), if n % 1000 == 0 { "long text" } else { "" }).unwrap();
    }
    let repository = init(Arc::new(MemoryStore::new()), None).unwrap();
    let mut paths = PathIndex::open(Some(dir.path()), &repository.id()).unwrap();
    for _ in 0..2 {
        backup(&repository, options(std::slice::from_ref(&top)), &Silent).unwrap();
        repository.refresh().unwrap();
        fill(&repository, &mut paths, Which::All, &Silent).unwrap();
        assert_eq!(indexed(&repository, &paths), listed(&repository));
        for n in 9000..9100 {
            fs::write(top.join(format!("file-{n:05}")), "").unwrap();
        }
        fs::remove_file(top.join("file-01000")).unwrap_or(());
    }
    let snapshots = repository.catalog().snapshots().unwrap();
    let chosen = Chosen::new(&paths, &snapshots).unwrap();
    let count = |wanted: &Wanted| {
        let mut count = 0;
        find(&paths, &chosen, wanted, &mut |hits| {
            count += hits.len();
            Ok(true)
        })
        .unwrap();
        count
    };
    let with = |text: &str, syntax| Wanted { pattern: Pattern::new(&[text.to_owned()], syntax, false).unwrap(), ..everything() };
    assert_eq!(count(&with("file-?9999", Syntax::Glob)), 0);
    assert_eq!(count(&with("file-*9*", Syntax::Glob)), (0..9100).filter(|n| format!("{n:05}").contains('9')).count());
    assert_eq!(count(&with("-0(1|9)0[0-9]{2}$", Syntax::Regex)), 200);
    assert_eq!(count(&Wanted { size: Some(1..=u64::MAX), ..everything() }), 9);
    assert_eq!(count(&Wanted { kinds: vec![EntryKind::Directory], ..everything() }), top.components().count() - 1);
}

/// A tree that cannot be read costs its own answer, and no other.
#[test]
fn damage_is_said_and_costs_one_snapshot() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    fs::remove_dir_all(home.path(".cache")).unwrap();
    home.write("other/c.txt", "gamma\n");
    home.ends(0, &["backup", "--quiet", "other"]);
    // The names of the first snapshot: its packs are older than those of the second.
    let mut packs: Vec<_> = files(&home.repository().join("names"));
    packs.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    let mut bytes = fs::read(&packs[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().take(middle).skip(40).for_each(|b| *b ^= 0x55);
    fs::write(&packs[0], bytes).unwrap();
    fs::remove_dir_all(home.path(".cache")).unwrap();
    let output = home.run(&["find", "*.txt"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("/other/c.txt") && !out.contains("a.txt"), "{out}");
    assert!(err.contains("the paths of snapshot") && err.contains("the paths of 1 snapshot are not known"), "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { all.extend(files(&entry.path())) } else { all.push(entry.path()) }
    }
    all
}

#[test]
fn a_stranger_finds_what_was_there() {
    let home = Home::new();
    home.write("src/notes.md", "one\n");
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    fs::remove_file(home.path("src/notes.md")).unwrap();
    home.write("src/a.txt", "alpha, and more\n");
    home.ends(0, &["backup", "--quiet", "src"]);
    let ids: Vec<String> = lines(&home.ends(0, &["snapshots", "--json"]))
        .remove(0)
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["short_id"].as_str().unwrap().to_owned())
        .collect();
    let src = home.path("src");
    let src = src.to_str().unwrap();

    let out = home.ends(0, &["find", "*.md"]);
    assert!(out.starts_with(&ids[0]) && out.trim_end().ends_with(&format!("{src}/notes.md")), "{out}");
    let out = home.ends(0, &["find", "-l", "a.txt"]);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert_eq!(home.ends(0, &["find", "NOTES.*"]), "");
    assert_eq!(home.ends(0, &["find", "-i", "NOTES.*"]).lines().count(), 1);
    assert_eq!(home.ends(0, &["find", "--regex", "/sub/b[.]txt$"]).lines().count(), 1);
    assert_eq!(home.ends(0, &["find", "--snapshot", "latest", "*.md"]), "");
    assert_eq!(home.ends(0, &["find", "--larger", "10", "--type", "f"]).lines().count(), 1);
    assert_eq!(home.ends(0, &["find", "--older", "2000-01-01"]), "");
    assert_eq!(home.ends(0, &["find", "--newer", "1h", "--type", "file", "--limit", "2"]).lines().count(), 2);
    home.ends(20, &["find", "["]);
    home.ends(20, &["find", "--newer", "sometime"]);

    // restic's shape: by snapshot.
    let found = lines(&home.ends(0, &["find", "a.txt", "--json"])).remove(0);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!((found[0]["hits"].as_u64(), found[0]["matches"][0]["path"].as_str().unwrap()), (Some(1), &format!("{src}/a.txt")[..]));
    let versions = lines(&home.ends(0, &["find", "a.txt", "--json", "--long"]));
    assert_eq!((versions.len(), versions[0]["message_type"].as_str(), versions[0]["snapshots"].as_u64()), (2, Some("match"), Some(1)));

    let out = home.ends(0, &["history", "src/notes.md"]);
    assert!(out.contains("first: 4 B") && out.contains("vanished"), "{out}");
    let told = lines(&home.ends(0, &["history", &format!("{src}/a.txt"), "--json"])).remove(0);
    let events = told["series"][0]["events"].as_array().unwrap();
    assert_eq!((events.len(), events[1]["event"].as_str(), &events[1]["changed"]), (2, Some("changed"), &serde_json::json!(["content"])));
    // The command that it prints brings that version back.
    let command = events[0]["restore"].as_str().unwrap();
    assert!(command.starts_with(&format!("seabed dump {}:{src}/a.txt", ids[0])), "{command}");
    assert_eq!(home.ends(0, &["dump", &format!("{}:{src}/a.txt", ids[0])]), "alpha\n");
    let output = home.run(&["history", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("seabed find PATTERN"));
}

/// The disk with the repository is not plugged in: what it held is known all the same, and that this is an old answer is said.
#[test]
fn the_catalog_answers_when_the_repository_is_away() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    home.ends(1, &["find", "a.txt", "--offline", "--repo", "elsewhere"]);
    fs::rename(home.repository(), home.path("away")).unwrap();
    let output = home.run(&["find", "a.txt"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("there is no repository") && said.contains("that of the catalog here"), "{said}");
    // Asked for: no warning, and no key either.
    fs::remove_dir_all(home.path(".config")).unwrap();
    let output = home.run(&["history", "src/a.txt", "--offline"]);
    assert_eq!((output.status.code(), output.stderr.is_empty()), (Some(0), true), "{}", String::from_utf8_lossy(&output.stderr));
    // Without a cache there is nothing to answer from.
    fs::remove_dir_all(home.path(".cache")).unwrap();
    home.ends(10, &["find", "a.txt"]);
    home.ends(1, &["find", "a.txt", "--offline"]);
}

#[test]
fn a_damaged_index_is_made_anew_and_none_is_needed() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let index = files(&home.path(".cache")).into_iter().find(|path| path.ends_with("paths.sqlite")).unwrap();
    let whole = fs::read(&index).unwrap();
    // Of a file whose beginning is sound it is only found out while it is read.
    let torn = [&whole[..4096], &vec![0x5a; whole.len() - 4096]].concat();
    for damage in [&b"nonsense"[..], b"", &torn] {
        fs::write(&index, damage).unwrap();
        assert_eq!(home.ends(0, &["find", "a.txt"]).lines().count(), 1);
    }
    assert_eq!(home.ends(0, &["find", "a.txt", "--no-cache"]).lines().count(), 1);
    let answer: Value = lines(&home.ends(0, &["find", "*.none", "--json"])).remove(0);
    assert_eq!(answer, serde_json::json!([]));
}

/// The views that other programs read are those that `engine/CATALOG.md` names, column by column, and its examples run.
#[test]
fn the_documented_views_are_there() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src", "--tag", "nightly"]);
    home.ends(0, &["find", "a.txt"]);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/CATALOG.md")).unwrap();
    let mut db: Option<rusqlite::Connection> = None;
    let mut views = 0;
    for part in text.split("\n## ").skip(1) {
        let (file, part) = part.split_once('\n').unwrap();
        let path = files(&home.path(".cache")).into_iter().find(|path| path.ends_with(file)).unwrap();
        let file = rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut described = Vec::new();
        for view in part.split("\n### ").skip(1) {
            let (name, body) = view.split_once('\n').unwrap();
            let columns: Vec<String> = body
                .lines()
                .filter_map(|line| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned))
                .filter(|cell| cell != "column")
                .collect();
            let mut query = file.prepare(&format!("SELECT * FROM {name}")).unwrap();
            assert_eq!(query.column_names().map(str::to_owned).collect::<Vec<_>>(), columns, "{name}");
            assert!(query.query([]).unwrap().next().unwrap().is_some(), "{name} has no row");
            described.push(name.to_owned());
            views += 1;
        }
        let mut query = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY rowid").unwrap();
        let there: Vec<String> = query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(there, described);
        drop(query);
        db = Some(file);
    }
    assert_eq!(views, 4);
    // The last example, with the files of this test: every entry of the snapshot.
    let catalog = files(&home.path(".cache")).into_iter().find(|path| path.ends_with("catalog.sqlite")).unwrap();
    let example = text.split("Every file of one snapshot:").nth(1).unwrap();
    let example = example.replace("file:catalog.sqlite?mode=ro", catalog.to_str().unwrap());
    let (attach, select) = example.split_once(';').unwrap();
    let db = db.unwrap();
    db.execute_batch(attach).unwrap();
    let found: Vec<String> = db.prepare(select.trim()).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let listed = home.ends(0, &["ls", "latest"]);
    let (mut found, mut listed): (Vec<&str>, Vec<&str>) = (found.iter().map(String::as_str).collect(), listed.lines().collect());
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

/// A catalog of the version before: what only it knows stays, what it repeats is read again.
#[test]
fn an_older_catalog_keeps_what_only_it_knows() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let path = files(&home.path(".cache")).into_iter().find(|path| path.ends_with("catalog.sqlite")).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let old = "DROP VIEW seabed_snapshots; DROP VIEW seabed_series; DROP TABLE snapshots; DELETE FROM meta WHERE key = 'snapshots'; \
               CREATE TABLE snapshots (id BLOB PRIMARY KEY, time INTEGER NOT NULL, series TEXT NOT NULL, host TEXT NOT NULL, writer BLOB NOT NULL, \
               sequence INTEGER NOT NULL, index_part BLOB NOT NULL, names_part BLOB NOT NULL) STRICT, WITHOUT ROWID;";
    db.execute_batch(old).unwrap();
    let heads: i64 = db.query_row("SELECT count(*) FROM heads", [], |row| row.get(0)).unwrap();
    assert_eq!(heads, 1);
    drop(db);
    let listed: Value = lines(&home.ends(0, &["snapshots", "--json"])).remove(0);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let db = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM heads", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    assert_eq!(db.query_row("SELECT count(*) FROM seabed_snapshots", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}
