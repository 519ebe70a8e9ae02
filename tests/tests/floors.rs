//! The house rules that a compiler does not know, read from the sources: which floor may import which, where the clock is read,
//! how long files are (DESIGN section 3). A rule that is in the way is changed there and here, never worked around.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module of the engine and its floor. `clock` answers in times of the format, so it stands above F1.
const FLOORS: [(&str, u8); 45] = [
    ("buffers", 0),
    ("error", 0),
    ("faults", 0),
    ("id", 0),
    ("limits", 0),
    ("observe", 0),
    ("chunk", 1),
    ("format", 1),
    ("retention", 1),
    ("seal", 1),
    ("tar", 1),
    ("clock", 2),
    ("source", 2),
    ("store", 2),
    ("catalog", 3),
    ("index", 3),
    ("paths", 3),
    ("pack", 3),
    ("commit", 4),
    ("replant", 4),
    ("repository", 4),
    ("archive", VERBS),
    ("backup", VERBS),
    ("cat", VERBS),
    ("check", VERBS),
    ("copy", VERBS),
    ("diff", VERBS),
    ("dump", VERBS),
    ("find", VERBS),
    ("forget", VERBS),
    ("gc", VERBS),
    ("into_bucket", VERBS),
    ("keys", VERBS),
    ("list", VERBS),
    ("rebuild", VERBS),
    ("repair", VERBS),
    ("reseal", VERBS),
    ("restore", VERBS),
    ("rewrite", VERBS),
    ("snapshots", VERBS),
    ("stats", VERBS),
    ("tag", VERBS),
    ("undelete", VERBS),
    ("usage", VERBS),
    ("view", VERBS),
];
/// Where free functions over a repository are: none knows another.
const VERBS: u8 = 5;
const LINES_MAX: usize = 650;

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Rust files below a folder, by path relative to it, with their text.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let base = top().join(folder);
    let (mut found, mut todo) = (BTreeMap::new(), vec![base.clone()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&base).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no Rust file");
    found
}

/// Whether a file holds unit tests and nothing else.
fn is_test_file(path: &str) -> bool {
    path.ends_with("_tests.rs") || path.ends_with("tests.rs")
}

/// The code of a file without comments and without what is only compiled for tests. It relies on rustfmt's indentation.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..indent]);
            for line in lines.by_ref() {
                if line.ends_with(';') && line.len() - line.trim_start().len() == indent || line == end {
                    break;
                }
            }
            continue;
        }
        out.push_str(line.split("//").next().unwrap());
        out.push('\n');
    }
    out
}

/// The top-level module that a file belongs to, and how deep in the tree of modules the file is.
fn place(path: &str) -> (&str, usize) {
    let path = path.strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    (path.split('/').next().unwrap(), path.split('/').count())
}

/// What a file imports from the crate: the first name after `crate::`, those of a braced list too; `super` where it climbs to the root.
fn imports(path: &str, text: &str) -> BTreeSet<String> {
    let text = code(text);
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            found.insert(word(after));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => drop(found.insert(word(std::mem::take(&mut item).trim()))),
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.insert(word(item.trim()));
    }
    found.remove("");
    if text.contains(&"super::".repeat(place(path).1)) {
        found.insert("super".to_owned());
    }
    found
}

/// What is wrong with the imports of these files.
fn offences(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut beside: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| *path != "lib.rs" && !is_test_file(path)) {
        let (module, _) = place(path);
        let Some(own) = floor(module) else {
            wrong.push(format!("{path}: give `{module}` a floor"));
            continue;
        };
        for import in imports(path, text).into_iter().filter(|import| import != module) {
            match floor(&import) {
                None => wrong.push(format!("{path}: `{import}` is no module with a floor: only those outside use the facade")),
                Some(other) if other > own => wrong.push(format!("{path}: F{own} imports `{import}` of F{other}")),
                Some(other) if other == own && own == VERBS => wrong.push(format!("{path}: verbs do not import each other: `{import}`")),
                Some(other) if other == own => drop(beside.entry(module).or_default().insert(import)),
                Some(_) => {}
            }
        }
    }
    // Neighbours may lean on each other in one direction. Take away what leans on nothing until nothing changes.
    loop {
        let free: Vec<&str> =
            beside.iter().filter(|(_, on)| !on.iter().any(|m| beside.contains_key(m.as_str()))).map(|(module, _)| *module).collect();
        if free.is_empty() {
            break;
        }
        beside.retain(|module, _| !free.contains(module));
    }
    if !beside.is_empty() {
        wrong.push(format!("modules of one floor in a cycle: {beside:?}"));
    }
    wrong
}

#[test]
fn a_floor_imports_only_what_is_below() {
    let files = sources("engine/src");
    assert!(files.len() > 50, "the engine has more files than {}", files.len());
    let wrong = offences(&files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_floor_test_sees_offences() {
    let wrong = |path: &str, text: &str| offences(&BTreeMap::from([(path.to_owned(), text.to_owned())])).len();
    assert_eq!(wrong("pack/mod.rs", "use crate::error::Error;\nuse crate::{id::{PackId, Class}, store};"), 0);
    assert_eq!(wrong("pack/mod.rs", "// crate::backup\n#[cfg(test)]\nmod tests {\n    use crate::backup;\n}\n"), 0);
    assert_eq!(wrong("pack/mod.rs", "#[cfg(test)]\nmod tests;\nuse crate::backup::x;"), 1);
    assert_eq!(wrong("pack/mod.rs", "use crate::{id::{PackId, Class}, repository};"), 1);
    assert_eq!(wrong("pack/mod.rs", "fn f(r: &crate::repository::Repository) {}"), 1);
    assert_eq!(wrong("pack/reader.rs", "use super::super::backup;"), 1);
    assert_eq!(wrong("pack/reader.rs", "use super::writer;"), 0);
    assert_eq!(wrong("restore/mod.rs", "use crate::list::list;"), 1);
    assert_eq!(wrong("restore/mod.rs", "use crate::Repository;"), 1);
    assert_eq!(wrong("new.rs", ""), 1);
    let two =
        |a: &str, b: &str| offences(&BTreeMap::from([("pack/mod.rs".to_owned(), a.to_owned()), ("index.rs".to_owned(), b.to_owned())]));
    assert!(two("use crate::index;", "use crate::catalog;").is_empty());
    assert_eq!(two("use crate::index;", "use crate::pack;").len(), 1);
}

#[test]
fn no_file_is_too_long() {
    for folder in ["engine/src", "cli/src", "tests/src", "tests/tests"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX, "{folder}/{path} has {lines} lines, {LINES_MAX} are allowed: it owns more than one thing");
        }
    }
}

#[test]
fn the_engine_prints_nothing() {
    for (path, text) in sources("engine/src") {
        let text = code(&text);
        for print in ["print!(", "println!("] {
            assert!(is_test_file(&path) || !text.contains(print), "{path} prints: tell the Observer instead");
        }
    }
}

#[test]
fn the_clock_is_read_in_two_places() {
    // clock.rs: what manifests say. store/local.rs: the store's own time, where the store is this machine.
    let allowed = ["clock.rs", "store/local.rs"];
    for (path, text) in sources("engine/src").into_iter().filter(|(path, _)| !is_test_file(path)) {
        assert!(allowed.contains(&path.as_str()) || !code(&text).contains("SystemTime::now"), "{path} reads the clock: see clock.rs");
    }
}

#[test]
fn no_test_is_forgotten() {
    let files = sources("tests/tests");
    let manifest = fs::read_to_string(top().join("tests/Cargo.toml")).unwrap();
    for path in files.keys() {
        // A folder with a main.rs is a binary of its own; files in other folders belong to the module of that folder.
        let own =
            path.split_once('/').map(|(folder, rest)| (format!("{folder}/main.rs"), rest)).filter(|(main, _)| files.contains_key(main));
        let (main, rest) = own.unwrap_or(("main.rs".to_owned(), path));
        let module = rest.split('/').next().unwrap().trim_end_matches(".rs");
        assert!(
            module == "main" || files[&main].contains(&format!("mod {module};")),
            "tests/tests/{path} is not declared in {main}: it never runs"
        );
        assert!(manifest.contains(&format!("path = \"tests/{main}\"")), "tests/tests/{main} is no test of tests/Cargo.toml: it never runs");
    }
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    // In two parts, so that this file does not find itself.
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ign", "ore")];
    for folder in ["engine/src", "cli/src", "tests/src", "tests/tests", "benches"] {
        for (path, text) in sources(folder) {
            for mark in marks {
                assert!(!text.contains(mark), "{folder}/{path}: {mark}");
            }
        }
    }
}
