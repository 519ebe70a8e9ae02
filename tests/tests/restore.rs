//! What a restore says and does where the target, the snapshot or the rights do not fit: by the real binary, in an empty HOME.
//! It must never look inside the engine. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, ended, lines};
use serde_json::Value;
use std::fs;

/// What a command said on standard error, as JSON.
fn complaints(home: &Home, code: i32, args: &[&str]) -> Vec<Value> {
    let output = home.run(args);
    ended(code, &output, args);
    lines(&String::from_utf8_lossy(&output.stderr))
}

/// A home with a snapshot of `src`, and where that is in a target.
fn stored() -> (Home, String) {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    (home, top)
}

/// A restore of damaged data named the pack and not one of the files that were lost with it, and said each error twice.
#[test]
fn what_damage_cost_is_named_once() {
    let (home, top) = stored();
    let data = home.repository().join("data");
    let pack = fs::read_dir(&data).unwrap().flatten().flat_map(|d| fs::read_dir(d.path()).unwrap()).next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[40] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &bytes).unwrap();
    let mut said = complaints(&home, 23, &["restore", "latest", "--target", "back", "--keep-going", "--verify", "--json"]);
    said.sort_by_key(|line| line["item"].to_string());
    let items: Vec<_> = said.iter().map(|line| line["item"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(items, [format!("{top}/a.txt"), format!("{top}/sub/b.txt")], "{said:?}");
    for (line, item) in said.iter().zip(&items) {
        let message = line["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("cannot restore {item}: data/")), "{message}");
    }
    let output = home.run(&["restore", "latest", "--target", "plain"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("cannot restore {top}/")) && error.contains("--keep-going"), "{error}");
}
