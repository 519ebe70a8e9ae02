//! `diff` as a stranger meets it: letters, JSON, parts, this machine, patches that apply, names that mean harm, what cannot be read.
//! What differs in random trees is held against the truth in `diff_truth`.

use crate::cli::{Home, ended, lines};
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Somebody who may read only what everybody may.
const NOBODY: u32 = 65_534;

fn changes(text: &str) -> Vec<(String, String)> {
    let of = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    lines(text).iter().filter(|m| m["message_type"] == "change").map(|m| (of(m, "modifier"), of(m, "path"))).collect()
}

/// A home with two snapshots of `src`, and what is in it, as it is stored.
fn edited() -> (Home, String) {
    let home = Home::new();
    home.write("src/gone/deep", "x");
    home.write("src/text", "one\ntwo\nthree\n");
    home.write("src/mode", "same");
    home.write("src/kind", "a file");
    symlink("a.txt", home.path("src/link")).unwrap();
    home.ends(0, &["backup", "--init", "src", "--tag", "first"]);
    fs::remove_dir_all(home.path("src/gone")).unwrap();
    home.write("src/text", "one\n2\nthree\nfour\n");
    home.write("src/new/file", "new\n");
    fs::set_permissions(home.path("src/mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(home.path("src/kind")).unwrap();
    fs::create_dir(home.path("src/kind")).unwrap();
    fs::remove_file(home.path("src/link")).unwrap();
    symlink("sub", home.path("src/link")).unwrap();
    home.ends(0, &["backup", "src", "--tag", "second"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    (home, top)
}

#[test]
fn letters_and_messages_are_those_that_scripts_know() {
    let (home, top) = edited();
    let want = |names: &[(&str, &str)]| names.iter().map(|(l, p)| ((*l).to_owned(), format!("{top}/{p}"))).collect::<Vec<_>>();
    let content = [("-", "gone/"), ("T", "kind/"), ("M", "link"), ("+", "new/"), ("M", "text"), ("-", "gone/deep"), ("+", "new/file")];
    let text = home.ends(0, &["diff", "latest~1", "latest"]);
    let shown: Vec<_> = text.lines().filter(|l| l.contains(&top)).map(|l| (l[..5].trim().to_owned(), l[5..].to_owned())).collect();
    assert_eq!(shown, want(&content), "{text}");
    assert!(text.starts_with("comparing snapshot ") && text.contains("Files:") && text.contains("1 changed"), "{text}");
    let json = home.ends(0, &["diff", "latest~1", "latest", "--json"]);
    assert_eq!(changes(&json), want(&content));
    let messages = lines(&json);
    let statistics = messages.last().unwrap();
    assert_eq!(statistics["message_type"], "statistics");
    let ids = home.ends(0, &["snapshots", "--ids"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!((&statistics["source_snapshot"], &statistics["target_snapshot"]), (&ids[0].into(), &ids[1].into()));
    assert_eq!(statistics["changed_files"], 1);
    for (side, files, dirs, data) in [("added", 1, 1, 2), ("removed", 1, 1, 3)] {
        let counts = &statistics[side];
        assert_eq!((&counts["files"], &counts["dirs"], &counts["others"]), (&files.into(), &dirs.into(), &0.into()), "{statistics}");
        assert_eq!(counts["data_blobs"], data, "{statistics}");
        assert!(counts["tree_blobs"].as_u64().unwrap() >= 2 && counts["bytes"].as_u64().unwrap() > 100, "{statistics}");
    }

    let metadata = lines(&home.ends(0, &["diff", "latest~1", "latest", "--metadata", "--json"]));
    let of = |name: &str| metadata.iter().find(|m| m["path"] == format!("{top}/{name}")).unwrap_or_else(|| panic!("no {name}"));
    let mode = of("mode");
    assert_eq!((&mode["modifier"], &mode["type"]), (&"U".into(), &"file".into()));
    assert_eq!(mode["attributes"], serde_json::json!([{"name": "mode", "before": 0o644, "after": 0o600}]));
    assert_eq!((&of("kind/")["modifier"], &of("kind/")["type_before"]), (&"TU".into(), &"file".into()));
    assert!(
        of("link")["attributes"].as_array().unwrap().contains(&serde_json::json!({"name": "target", "before": "a.txt", "after": "sub"}))
    );
    let text = home.ends(0, &["diff", "latest~1", "latest", "--metadata"]);
    assert!(text.contains(&format!("U    {top}/mode  (mode 0644 -> 0600)")), "{text}");

    // Quiet: what differs, and no story.
    let quiet = home.ends(0, &["diff", "latest~1", "latest", "--quiet"]);
    assert_eq!(quiet.lines().count(), content.len());
    let names = home.ends(0, &["diff", "latest~1", "latest", "--name-only"]);
    assert_eq!(names.lines().collect::<Vec<_>>(), want(&content).iter().map(|(_, path)| &path[..]).collect::<Vec<_>>());
    assert!(home.ends(0, &["diff", "latest", "latest"]).contains("nothing differs"));
    assert_eq!(home.ends(0, &["diff", "latest", "latest", "--name-only"]), "");
    // Filters say which snapshot is the latest.
    assert!(home.ends(0, &["diff", "latest", ids[0], "--tag", "first"]).contains("nothing differs"));
}

#[test]
fn bytes_come_and_go_by_file_and_by_directory() {
    let (home, top) = edited();
    let rows = lines(&home.ends(0, &["diff", "latest~1", "latest", "--stat", "--json"]));
    let of = |name: &str| rows.iter().find(|row| row["path"] == format!("{top}/{name}")).unwrap();
    let bytes = |name: &str| (of(name)["bytes_added"].as_u64().unwrap(), of(name)["bytes_removed"].as_u64().unwrap());
    assert_eq!((bytes("text"), bytes("new/file"), bytes("gone/deep"), bytes("kind/")), ((17, 14), (4, 0), (0, 1), (0, 6)));
    assert_eq!(rows.last().unwrap()["message_type"], "statistics");
    let dirs = lines(&home.ends(0, &["diff", "latest~1", "latest", "--stat=dir", "--json"]));
    let of = |name: &str| dirs.iter().find(|row| row["path"] == format!("{top}/{name}")).unwrap();
    assert_eq!((&of("")["entries"], &of("")["bytes_added"], &of("")["bytes_removed"]), (&5.into(), &17.into(), &20.into()));
    assert_eq!(of("gone/")["bytes_removed"], 1);
    let text = home.ends(0, &["diff", "latest~1", "latest", "--stat"]);
    assert!(text.contains("+17 B") && text.contains("7 entries differ: 21 B added, 21 B removed"), "{text}");
    // Of this machine the same, by what a backup would cut.
    let rows = lines(&home.ends(0, &["diff", "latest~1", "--live", "--stat", "--json"]));
    let of = |name: &str| rows.iter().find(|row| row["path"] == format!("{top}/{name}")).unwrap();
    assert_eq!((&of("text")["bytes_added"], &of("text")["bytes_removed"]), (&17.into(), &14.into()));
}

/// What `diff` says of a text, `patch` makes of it.
#[test]
fn a_patch_applies() {
    let home = Home::new();
    let long: String = (0..500).map(|n| format!("line {n}\n")).collect();
    home.write("src/long", &long);
    home.write("src/no end", "no end of line");
    home.write("src/with \"quotes\"\tand\ttabs", "a\nb\n");
    home.write("src/gone", "gone\n");
    home.write("src/latin", "");
    fs::write(home.path("src/latin"), b"caf\xe9\nold\n").unwrap();
    fs::write(home.path("src/binary"), b"\x00\x01").unwrap();
    fs::write(home.path("src/huge"), vec![b'x'; 2 << 20]).unwrap();
    home.ends(0, &["backup", "--init", "src"]);
    let mut edited: Vec<&str> = long.lines().collect();
    edited.remove(400);
    edited.insert(100, "inserted");
    edited[7] = "replaced";
    home.write("src/long", &(edited.join("\n") + "\n"));
    home.write("src/no end", "no end of line\n");
    home.write("src/with \"quotes\"\tand\ttabs", "a\nb\nc\n");
    fs::remove_file(home.path("src/gone")).unwrap();
    home.write("src/new/deep", "new");
    fs::write(home.path("src/latin"), b"caf\xe9\nnew\n").unwrap();
    fs::write(home.path("src/binary"), b"\x00\x02").unwrap();
    fs::write(home.path("src/huge"), vec![b'y'; 2 << 20]).unwrap();
    home.ends(0, &["backup", "src"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    for other in ["latest", top.as_str()] {
        let before = format!("latest~1:{top}");
        let after = if other == "latest" { format!("latest:{top}") } else { top.clone() };
        let output = home.run(&["diff", &before, &after, "--patch"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("Binary files a{top}/binary and b{top}/binary differ")), "{text}");
        assert!(text.contains(&format!("Files a{top}/huge and b{top}/huge differ (over 1 MiB)")), "{text}");
        // Applied to what was there before, below a root of its own.
        let back = home.path(&format!("back-{}", other == "latest"));
        home.ends(0, &["restore", "latest~1", "--target", back.to_str().unwrap()]);
        let mut patch = Command::new("patch")
            .args(["-p1", "--quiet", "--no-backup-if-mismatch", "-d", back.to_str().unwrap()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("this test needs the package `patch`");
        std::io::Write::write_all(&mut patch.stdin.take().unwrap(), &output.stdout).unwrap();
        assert!(patch.wait().unwrap().success(), "{text}");
        let at = back.join(top.trim_start_matches('/'));
        for name in ["long", "no end", "with \"quotes\"\tand\ttabs", "new/deep", "latin"] {
            assert_eq!(fs::read(at.join(name)).unwrap(), fs::read(home.path("src").join(name)).unwrap(), "{name}");
        }
        assert!(!at.join("gone").exists());
    }
    let messages = lines(&home.ends(0, &["diff", "latest~1", "latest", "--patch", "--json"]));
    let of = |name: &str| messages.iter().find(|m| m["path"] == format!("{top}/{name}")).unwrap();
    assert!(of("long")["patch"].as_str().unwrap().contains("\n-line 7\n+replaced\n"));
    assert_eq!((&of("binary")["not_shown"], &of("huge")["not_shown"]), (&"binary".into(), &"over 1 MiB".into()));
}

#[test]
fn this_machine_is_compared_as_a_backup_would_see_it() {
    let home = Home::new();
    home.write("src/left.tmp", "left out");
    home.write("src/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55");
    home.write("src/cache/big", "cache");
    home.write("src/.seabedignore", "*.ignored\n");
    home.write("src/x.ignored", "x");
    home.ends(0, &["backup", "--init", "src", "--exclude", "*.tmp", "--exclude-caches"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    let paths = |args: &[&str]| changes(&home.ends(0, &[args, &["--json"]].concat())).into_iter().map(|(l, p)| l + &p).collect::<Vec<_>>();
    // Patterns are in the snapshot; what is no pattern has to be said again.
    let with = ["--exclude-caches"];
    assert!(paths(&[&["diff", "latest", "--live"][..], &with].concat()).is_empty());
    assert!(paths(&[&["diff", "latest", "src"][..], &with].concat()).is_empty());
    assert!(paths(&[&["diff", "latest", "."][..], &with].concat()).iter().all(|line| !line.contains("/src/")), "the home around it is new");
    assert_eq!(paths(&["diff", "latest", "--live"]), [format!("+{top}/cache/big")]);
    assert_eq!(paths(&["diff", "latest", "--live", "--exclude-caches", "--no-excludes"]), [format!("+{top}/left.tmp")]);
    assert_eq!(
        paths(&["diff", "latest", "--live", "--exclude-caches", "--no-ignore-files", "--exclude", "a.txt"]),
        [format!("-{top}/a.txt"), format!("+{top}/x.ignored")]
    );

    // By size and time, and by content.
    home.write("src/sub/b.txt", "gamma");
    let text = home.ends(0, &["diff", "latest", "src", "--exclude-caches"]);
    assert!(text.contains(&format!("M    {top}/sub/b.txt")), "{text}");
    home.write("src/sub/b.txt", "beta\n");
    let touched = |more: &[&str]| paths(&[&["diff", "latest", "src", "--exclude-caches"], more].concat());
    assert_eq!(touched(&[]), [format!("M{top}/sub/b.txt")], "it was written to, with what was there");
    assert!(touched(&["--content"]).is_empty());
    assert_eq!(touched(&["--content", "--metadata"]), [format!("U{top}/sub/b.txt")]);
    let statistics = lines(&home.ends(0, &["diff", "latest", "src", "--exclude-caches", "--json"])).pop().unwrap();
    assert_eq!((&statistics["target_snapshot"], &statistics["target_path"]), (&Value::Null, &top.clone().into()));
    assert!(statistics["added"].get("data_blobs").is_none(), "nobody knows chunks of this machine: {statistics}");
    // A restored tree is the same wherever it lies.
    home.ends(0, &["restore", &format!("latest:{top}"), "--target", "elsewhere"]);
    let moved = ["diff", &format!("latest:{top}"), "elsewhere", "--content", "--metadata", "--json"];
    assert!(changes(&home.ends(0, &moved)).iter().all(|(letters, path)| letters == "U" && path == "/"), "but for the directory itself");

    home.ends(1, &["diff", "latest", "nowhere"]);
    home.ends(1, &["diff", "latest", "/etc"]);
    home.ends(20, &["diff", "src", "latest"]);
    home.ends(20, &["diff", "latest"]);
    home.ends(20, &["diff", "latest", "src", "--live"]);
    home.ends(20, &["diff", "latest", "src", "--stat", "--patch"]);
    home.ends(1, &["diff", "latest", "ffffffff"]);
    home.ends(0, &["backup", "--exec", "d=echo x", "--series", "d"]);
    home.ends(20, &["diff", "latest", "--live", "--series", "d"]);
    let help = home.ends(0, &["diff", "--help"]);
    assert!(help.contains("EXAMPLES") && help.contains("EXIT STATUS") && help.contains("130   interrupted"), "{help}");
}

/// Paths of a snapshot that are not there any more are gone; of one that is away altogether that is all there is to say.
#[test]
fn a_path_that_vanished_is_removed() {
    let home = Home::new();
    home.write("other/f", "f");
    home.ends(0, &["backup", "--init", "src", "other"]);
    fs::remove_dir_all(home.path("other")).unwrap();
    let found = changes(&home.ends(0, &["diff", "latest", "--live", "--json"]));
    let other = home.path("other").to_str().unwrap().to_owned();
    assert_eq!(found, [("-".to_owned(), format!("{other}/")), ("-".to_owned(), format!("{other}/f"))]);
}

/// What somebody may not read is not gone, and it is said (3).
#[test]
fn what_may_not_be_read_is_not_removed() {
    let home = Home::new();
    home.write("src/locked/deep/f", "f");
    home.write("src/secret", "secret");
    let own = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    // A test's directory is its owner's alone.
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    home.ends(0, &["--repo", "repo", "backup", "--init", "src", "--key-file", "key"]);
    let owner = format!("{NOBODY}:{NOBODY}");
    assert!(Command::new("chown").args(["-R", &owner, "repo", "key", "src"]).current_dir(home.path("")).status().unwrap().success());
    own(&home.path(""));
    for locked in ["src/locked", "src/secret"] {
        chown(home.path(locked), Some(0), Some(0)).unwrap();
        fs::set_permissions(home.path(locked), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::remove_file(home.path("src/a.txt")).unwrap();
    let run = |more: &[&str]| {
        let args = [&["--repo", "repo", "--key-file", "key", "--no-cache", "diff", "latest", "src", "--json"], more].concat();
        let output = home.command(&args).uid(NOBODY).gid(NOBODY).output().unwrap();
        let found = changes(&ended(3, &output, &args));
        (found, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let top = home.path("src").to_str().unwrap().to_owned();
    for more in [&[][..], &["--content"]] {
        let (found, said) = run(more);
        assert_eq!(found, [("-".to_owned(), format!("{top}/a.txt"))], "{said}");
        assert!(said.contains("/src/locked"), "{said}");
        assert_eq!(said.contains("/src/secret"), !more.is_empty(), "only who reads it needs to: {said}");
    }
}

/// Names come from whoever made the snapshot: they drive no terminal, break no line of JSON, and go into a pipe as they are.
#[test]
fn hostile_names_stay_names() {
    let home = Home::new();
    let name = std::ffi::OsStr::from_bytes(b"new\nline \x1b[2J \xff");
    fs::write(home.path("src").join(name), "x\n").unwrap();
    home.ends(0, &["backup", "--init", "src/a.txt", "--series", "s"]);
    home.ends(0, &["backup", "src", "--series", "s"]);
    let json = lines(&home.ends(0, &["diff", "latest~1", "latest", "--json"]));
    let change = json.iter().find(|m| m.get("path_hex").is_some()).unwrap();
    assert!(change["path_hex"].as_str().unwrap().ends_with("ff"), "{change}");
    let names = home.run(&["diff", "latest~1", "latest", "--name-only"]).stdout;
    assert!(names.windows(name.len()).any(|part| part == name.as_bytes()));
    let patch = home.run(&["diff", "latest~1", "latest", "--patch"]).stdout;
    assert!(patch.windows(5).any(|part| part == b"\\033["), "quoted as git does");
    // A reader that leaves is no failure.
    for args in [&["diff", "latest~1", "latest"][..], &["diff", "latest", "--live", "--content"]] {
        let mut child = home.command(args).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

/// Two files under different names: what differed was called `/`. And a path that goes on behind a file was unreadable (3), not missing.
#[test]
fn single_files_are_named() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    home.write("other.txt", "something else\n");
    let stored = format!("latest:{}", home.path("src/a.txt").display());
    let out = home.ends(0, &["diff", &stored, "./other.txt"]);
    assert!(out.lines().any(|line| line.starts_with("M ") && line.ends_with("/other.txt")), "{out}");
    let args = ["diff", "latest", "./src/a.txt/x"];
    let output = home.run(&args);
    ended(1, &output, &args);
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no"), "{output:?}");
}
