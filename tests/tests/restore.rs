//! What a restore says and does where the target, the snapshot or the rights do not fit: by the real binary, in an empty HOME.
//! It must never look inside the engine. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, ended, lines};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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

/// `--delete` removed files and named none of them; the dry run counted a directory as one, and what a link replaces not at all.
#[test]
fn what_goes_is_named_and_counted_alike() {
    let home = Home::new();
    symlink("a.txt", home.path("src/link")).unwrap();
    fs::create_dir(home.path("src/empty")).unwrap();
    home.ends(0, &["backup", "--init", "src"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    let place = format!("back{top}");
    for name in ["extra", "old/deep/x", "old/y", "sub/z", "empty/surplus", "link/below/w"] {
        home.write(&format!("{place}/{name}"), "surplus");
    }
    let mut want = ["extra", "old/deep/x", "old/deep", "old/y", "old", "sub/z", "empty/surplus", "link/below/w", "link/below"]
        .map(|name| format!("{top}/{name}"));
    want.sort();
    let restore = ["restore", "latest", "--target", "back", "--delete"];
    let dry = home.ends(0, &[&restore[..], &["--dry-run"]].concat());
    let mut said: Vec<_> = dry.lines().filter_map(|line| line.strip_prefix("deleted")).map(str::trim).collect();
    said.sort();
    assert_eq!(said, want, "{dry}");
    assert!(dry.contains(", 9 deleted") && home.path(&place).join("link/below/w").exists(), "{dry}");
    let mut real = lines(&home.ends(0, &[&restore[..], &["--json"]].concat()));
    assert_eq!(real.pop().unwrap()["files_deleted"], 9);
    let deleted = real.iter().filter(|line| line["message_type"] == "verbose_status" && line["action"] == "deleted");
    let mut said: Vec<_> = deleted.map(|line| line["item"].as_str().unwrap()).collect();
    said.sort();
    assert_eq!(said, want);
    assert!(!home.path(&place).join("old").exists() && home.path(&place).join("link").is_symlink());
}

/// A symlink to a disk with more room, where the snapshot has a directory, was replaced without a word, and its data seemed gone.
#[test]
fn a_link_in_the_place_of_a_directory_stays() {
    let (home, top) = stored();
    home.write("elsewhere/c.txt", "mine");
    home.write(&format!("back{top}/x"), "");
    let link = home.path(&format!("back{top}/sub"));
    symlink(home.path("elsewhere"), &link).unwrap();
    for more in [&["--dry-run"][..], &[], &["--verify"], &["--delete"]] {
        let args = [&["restore", "latest", "--target", "back", "--json"], more].concat();
        let said = complaints(&home, 3, &args);
        assert_eq!(said.len(), 1, "{more:?}: {said:?}");
        let message = said[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains("nothing is restored through a symbolic link; remove it"), "{message}");
        assert_eq!(said[0]["item"], format!("{top}/sub"));
        assert!(link.is_symlink() && !home.path("elsewhere/b.txt").exists() && home.path("elsewhere/c.txt").exists());
    }
    assert!(home.path(&format!("back{top}/a.txt")).exists());
}

/// With `--overwrite never` a file where the snapshot has a directory was an error for each entry below; it is what was asked for.
#[test]
fn a_file_in_the_place_of_a_directory_obeys_the_policy() {
    let (home, top) = stored();
    home.write(&format!("back{top}/sub"), "a file");
    let sub = home.path(&format!("back{top}/sub"));
    for policy in ["never", "if-newer"] {
        let out = home.run(&["restore", "latest", "--target", "back", "--overwrite", policy]);
        let text = ended(0, &out, &[policy]);
        assert!(sub.is_file() && out.stderr.is_empty() && text.contains("skipped"), "{text}");
    }
    home.ends(0, &["restore", "latest", "--target", "back", "--overwrite", "if-changed"]);
    assert_eq!(fs::read_to_string(sub.join("b.txt")).unwrap(), "beta\n");
}

/// `restore ID:/work --include /foo` restored nothing and said nothing: patterns were matched against the whole stored path.
#[test]
fn patterns_match_the_paths_that_are_shown() {
    let (home, top) = stored();
    let part = format!("latest:{top}");
    home.ends(0, &["restore", &part, "--target", "one", "--include", "/sub"]);
    assert!(home.path("one/sub/b.txt").exists() && !home.path("one/a.txt").exists());
    home.ends(0, &["restore", &part, "--target", "two", "--exclude", "/sub"]);
    assert!(home.path("two/a.txt").exists() && !home.path("two/sub").exists());
    home.ends(0, &["restore", "latest", "--target", "three", "--include", &format!("{top}/sub")]);
    assert!(home.path(&format!("three{top}/sub/b.txt")).exists());
    let said = complaints(&home, 0, &["restore", "latest", "--target", "four", "--include", "/sub", "--verify", "--json"]);
    assert_eq!((said.len(), &said[0]["message_type"]), (1, &"warning".into()), "{said:?}");
}

/// With `--include` the directories above stayed 0700 and of today: a service could not reach its own restored file. And a restore of
/// a part changed the mode of the directory that the user had chosen.
#[test]
fn directories_above_have_their_attributes_and_the_target_keeps_its_own() {
    let home = Home::new();
    let sub = home.path("src/sub");
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o751)).unwrap();
    home.ends(0, &["backup", "--init", "src"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    let attrs = |path: std::path::PathBuf| fs::metadata(path).map(|m| (m.mode() & 0o7777, m.uid(), m.mtime(), m.mtime_nsec())).unwrap();
    let want = (attrs(home.path("src")), attrs(sub));
    let file = format!("{top}/sub/b.txt");
    home.ends(0, &["restore", "latest", "--target", "back", "--include", &file]);
    assert_eq!((attrs(home.path(&format!("back{top}"))), attrs(home.path(&format!("back{top}/sub")))), want);
    // What was there is not touched, what is made is.
    fs::remove_dir_all(home.path(&format!("back{top}/sub"))).unwrap();
    fs::set_permissions(home.path(&format!("back{top}")), fs::Permissions::from_mode(0o700)).unwrap();
    home.ends(0, &["restore", "latest", "--target", "back", "--include", &file]);
    assert_eq!(attrs(home.path(&format!("back{top}"))).0, 0o700);
    assert_eq!(attrs(home.path(&format!("back{top}/sub"))), want.1);
    let part = format!("latest:{top}/sub");
    fs::create_dir(home.path("mine")).unwrap();
    fs::set_permissions(home.path("mine"), fs::Permissions::from_mode(0o700)).unwrap();
    home.ends(0, &["restore", &part, "--target", "mine"]);
    home.ends(0, &["restore", &part, "--target", "made"]);
    assert_eq!((attrs(home.path("mine")).0, attrs(home.path("made"))), (0o700, want.1));
}
