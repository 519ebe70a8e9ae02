//! The reader that judges schedules, judged itself: it reads the vectors of the spec, and says of each loss what is lost.

use seabed_tests::golden::{KEY_FILE, SNAPSHOT, stream_text};
use seabed_tests::reader::View;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn vectors() -> BTreeMap<String, Arc<Vec<u8>>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../format-spec/vectors/repository");
    let (mut objects, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(top.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            match top.join(&path).is_dir() {
                true => todo.push(path),
                false => drop(objects.insert(path.to_str().unwrap().to_owned(), Arc::new(fs::read(top.join(&path)).unwrap()))),
            }
        }
    }
    objects
}

#[test]
fn it_reads_the_vectors() {
    let view = View::new(&vectors(), &KEY_FILE).unwrap();
    let manifest = view.snapshot(SNAPSHOT.as_bytes()).unwrap();
    assert_eq!(view.why_not(manifest), None);
    let contents = view.contents(manifest).unwrap();
    assert_eq!(contents[&b"shop.sql"[..]], stream_text());
    assert_eq!(contents[&b"srv/sparse"[..]].len(), 5 + (1 << 20) + 3 + 4096);
    assert_eq!(contents[&b"srv/docs/big"[..]].len(), 120_000, "it has a list tree of two levels");
    assert_eq!(contents.len(), 8);
}

#[test]
fn what_is_taken_away_is_missed() {
    let objects = vectors();
    let taken = |folder: &str| {
        let mut view = View::new(&objects, &KEY_FILE).unwrap();
        view.delete(objects.keys().find(|name| name.starts_with(folder)).unwrap());
        let manifest = view.snapshot(SNAPSHOT.as_bytes()).cloned().unwrap();
        view.why_not(&manifest).unwrap_or_default()
    };
    for folder in ["data/", "names/", "lists/"] {
        assert!(taken(folder).contains(&format!("{}chunk", folder.replace('/', " "))), "{}", taken(folder));
        assert!(taken(folder).contains("in no pack that is there"), "{}", taken(folder));
    }
    assert!(taken("index/").contains("in no segment"), "{}", taken("index/"));
}

#[test]
fn what_was_changed_is_refused() {
    let objects = vectors();
    let folders = ["seabed", "data/", "names/", "lists/", "index/", "snapshots/", "pending/", "forgotten/", "records/"];
    for (name, bytes) in objects.iter().filter(|(name, _)| folders.iter().any(|folder| name.starts_with(folder))) {
        let mut objects = objects.clone();
        let mut changed = bytes.to_vec();
        let at = changed.len() / 2;
        changed[at] ^= 1;
        objects.insert(name.clone(), Arc::new(changed));
        // The descriptor's MAC is not this reader's business: what it says is bound into everything else.
        assert!(name == "seabed" || View::new(&objects, &KEY_FILE).is_err(), "{name}");
    }
}
