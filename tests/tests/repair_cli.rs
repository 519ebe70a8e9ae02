//! `repair` as a stranger meets it: what it leaves as it is, and what it says. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, ended};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a directory.
fn files(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => drop(found.insert(path.strip_prefix(top).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn copied(home: &Home, from: &str, to: &str) {
    for (name, bytes) in files(&home.path(from)) {
        let path = home.path(to).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// `repair --dry-run` noted in the repository what it had verified, and gathered, which is to delete, what others had noted.
#[test]
fn a_dry_run_leaves_every_object_as_it_is() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--repo", "r", "src"]);
    // As many notes as a check gathers.
    for _ in 0..16 {
        home.ends(0, &["check", "--read-data", "--repo", "r", "--quiet"]);
    }
    let before = files(&home.path("r"));
    assert_eq!(before.keys().filter(|path| path.starts_with("notes")).count(), 16);
    let out = home.ends(0, &["repair", "--dry-run", "--repo", "r"]);
    assert!(out.contains("nothing to repair"), "{out}");
    assert!(files(&home.path("r")) == before, "an object was put or deleted");
    home.ends(0, &["repair", "--repo", "r"]);
    assert!(files(&home.path("r")) != before, "a repair notes what it has verified");
}

/// A passphrase that was mistyped sent a repair to the copy, and whatever differed there took the place of what was good.
#[test]
fn a_wrong_secret_is_no_damage() {
    let home = Home::new();
    home.write("right", "secret\n");
    home.write("wrong", "sceret\n");
    home.ends(0, &["backup", "--init", "--repo", "r", "--password-file", "right", "src"]);
    let first: Vec<PathBuf> = files(&home.path("r/keyring")).into_keys().collect();
    home.ends(0, &["key", "add", "--repo", "r", "--password-file", "right", "--new-key-file", "laptop"]);
    copied(&home, "r", "copy");
    change(&home.path("copy/keyring").join(&first[0]), |bytes| bytes.truncate(30));
    let before = files(&home.path("r"));
    for secret in ["right", "wrong"] {
        let args = ["repair", "--repo", "r", "--password-file", "wrong", "--from-repo", "copy", "--from-password-file", secret];
        let output = home.run(&args);
        ended(12, &output, &args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("no key slot of") && said.contains(home.path("r").to_str().unwrap()), "{said}");
        assert!(files(&home.path("r")) == before, "something was changed");
    }
}

/// The keyring of a rotation was gone, and what is left opens as before it: a repair wrote on under keys that somebody had been denied.
#[test]
fn a_lost_rotation_comes_back_before_anything_is_written() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--repo", "r", "--no-cache", "src"]);
    home.ends(0, &["key", "rotate", "--repo", "r", "--no-cache"]);
    copied(&home, "r", "copy");
    let newest = files(&home.path("r/keyring")).into_keys().max().unwrap();
    fs::remove_file(home.path("r/keyring").join(&newest)).unwrap();
    let args = ["repair", "--repo", "r", "--no-cache", "--from-repo", "copy"];
    let out = home.ends(0, &args);
    assert!(out.contains(newest.to_str().unwrap()) && out.contains("back from the copy"), "{out}");
    assert!(home.path("r/keyring").join(&newest).exists());
    // A machine that has seen the new epoch takes no older one, and has it brought back all the same.
    home.ends(0, &["snapshots", "--repo", "r"]);
    fs::remove_file(home.path("r/keyring").join(&newest)).unwrap();
    home.ends(25, &["repair", "--repo", "r"]);
    let out = home.ends(0, &["repair", "--repo", "r", "--from-repo", "copy"]);
    assert!(out.contains("back from the copy"), "{out}");
    home.ends(0, &["check", "--repo", "r"]);
}

/// All paths of all damage were kept in memory, of whatever size the repository was.
#[test]
fn so_many_paths_are_named_as_is_asked_for() {
    let home = Home::new();
    for n in 0..40 {
        home.write(&format!("many/{n:02}"), &format!("file {n}\n"));
    }
    home.ends(0, &["backup", "--init", "--repo", "r", "many"]);
    let pack = files(&home.path("r/data")).into_keys().next().unwrap();
    change(&home.path("r/data").join(pack), |bytes| bytes[60] ^= 1);
    let named = |more: &[&str]| {
        let args = [&["repair", "--repo", "r", "--no-source"], more].concat();
        let output = home.run(&args);
        ended(23, &output, &args);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        ((0..40).filter(|n| said.contains(&format!("many/{n:02}"))).count(), said.contains("and more: --paths all"))
    };
    assert_eq!((named(&[]), named(&["--paths", "all"]), named(&["--paths", "3"])), ((16, true), (40, false), (3, true)));
}
