//! `dump` of directories, `restore --archive`, `backup --tar`: by the real binary, in an empty HOME, with pipes, files and a terminal.
//! It must never look inside the engine. It obeys README.md and DESIGN section 2 (exit codes).

use crate::cli::{Home, ended, lines};
use seabed_tests::tools;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Stdio;

fn members(archive: &[u8]) -> Vec<String> {
    let listed = tools::ok("tar", &["t"], std::path::Path::new("/"), archive);
    String::from_utf8(listed).unwrap().lines().map(str::to_owned).collect()
}

/// A home with a snapshot of `src`, and where that is in a target.
fn stored() -> (Home, String) {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let top = home.path("src").to_str().unwrap().to_owned();
    (home, top)
}

#[test]
fn a_directory_is_dumped_as_a_tar() {
    let (home, top) = stored();
    let relative = top.trim_start_matches('/').to_owned();
    let dumped = |args: &[&str]| {
        let output = home.run(args);
        ended(0, &output, args);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        members(&output.stdout)
    };
    let full = [format!("{relative}/"), format!("{relative}/a.txt"), format!("{relative}/sub/"), format!("{relative}/sub/b.txt")];
    assert_eq!(dumped(&["dump", "latest", &top]), full);
    assert_eq!(dumped(&["dump", "latest", &top, "--json"]), full, "nothing is said among data");
    assert_eq!(dumped(&["dump", &format!("latest:{top}")]), ["a.txt", "sub/", "sub/b.txt"]);
    assert_eq!(dumped(&["dump", &format!("latest:{top}"), "sub"]), ["sub/", "sub/b.txt"]);
    assert_eq!(dumped(&["dump", "latest", "/"]).len(), 4 + relative.matches('/').count());
    assert_eq!(dumped(&["dump", "latest", "--archive", "tar"]).len(), 4 + relative.matches('/').count());
    assert_eq!(dumped(&["dump", "-a", "tar", &format!("latest:{top}/a.txt")]), ["a.txt"]);
    assert_eq!(home.ends(0, &["dump", &format!("latest:{top}"), "/sub/b.txt"]), "beta\n");
    home.ends(20, &["dump", "latest"]);
    home.ends(1, &["dump", "latest", "/nowhere"]);
    home.ends(1, &["dump", "latest", "/nowhere", "--archive", "zip"]);
    // What was named goes to standard error: standard output is the archive's.
    let args = ["dump", "latest", &top, "-v"];
    let output = home.run(&args);
    ended(0, &output, &args);
    assert_eq!(members(&output.stdout), full);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{top}/sub/b.txt")));
}

#[test]
fn an_archive_gets_its_name_when_it_is_whole() {
    let (home, top) = stored();
    let selector = format!("latest:{top}");
    let said = home.ends(0, &["dump", &selector, "--target", "out.tar"]);
    assert!(said.contains("2 files, 1 directory") && said.contains("out.tar"), "{said}");
    assert_eq!(members(&fs::read(home.path("out.tar")).unwrap()), ["a.txt", "sub/", "sub/b.txt"]);
    let summary = lines(&home.ends(0, &["dump", &selector, "-a", "zip", "-t", "out.zip", "--json"])).pop().unwrap();
    assert_eq!((&summary["message_type"], &summary["archive"], &summary["target"]), (&"summary".into(), &"zip".into(), &"out.zip".into()));
    assert_eq!((&summary["total_files"], &summary["directories"], &summary["total_bytes"]), (&2.into(), &1.into(), &11.into()));
    assert_eq!(summary["bytes_written"], fs::metadata(home.path("out.zip")).unwrap().len());
    tools::ok("unzip", &["-tqq", home.path("out.zip").to_str().unwrap()], std::path::Path::new("/"), b"");
    // What stood there stays when there is nothing to take its place, and goes when there is.
    let before = fs::read(home.path("out.tar")).unwrap();
    let data = home.repository().join("data");
    home.ends(1, &["dump", &format!("latest:{top}/nothing"), "-a", "tar", "--target", "out.tar"]);
    assert_eq!(fs::read(home.path("out.tar")).unwrap(), before);
    fs::rename(&data, home.path("data")).unwrap();
    let gone = home.run(&["dump", &selector, "--target", "out.tar"]);
    assert_eq!(gone.status.code(), Some(23), "{gone:?}");
    assert_eq!(fs::read(home.path("out.tar")).unwrap(), before);
    let kept = home.run(&["dump", &selector, "--keep-going", "--target", "out.tar"]);
    assert_eq!(kept.status.code(), Some(3), "{kept:?}");
    assert_eq!(members(&fs::read(home.path("out.tar")).unwrap()), ["sub/"]);
    fs::remove_dir_all(&data).unwrap_or_default();
    fs::rename(home.path("data"), &data).unwrap();
    let left: Vec<_> =
        fs::read_dir(home.path(".")).unwrap().map(|e| e.unwrap().file_name()).filter(|n| n.to_string_lossy().contains(".seabed")).collect();
    assert!(left.is_empty(), "{left:?}");
    // A device is written, not replaced; a directory is neither.
    home.ends(0, &["dump", &selector, "--target", "/dev/null"]);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    home.ends(1, &["dump", &selector, "--target", "src"]);
    symlink("out.tar", home.path("link")).unwrap();
    fs::set_permissions(home.path("out.tar"), fs::Permissions::from_mode(0o600)).unwrap();
    home.ends(0, &["dump", &selector, "--target", "link"]);
    assert_eq!(members(&fs::read(home.path("out.tar")).unwrap()).len(), 3);
    assert_eq!(fs::metadata(home.path("out.tar")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_restore_may_go_straight_into_an_archive() {
    let (home, top) = stored();
    let output =
        home.run(&["restore", &format!("latest:{top}"), "--archive", "tar", "--target", "-", "--include", "*.txt", "--exclude", "a.*"]);
    ended(0, &output, &["restore"]);
    assert_eq!(members(&output.stdout), ["sub/", "sub/b.txt"]);
    home.ends(0, &["restore", "latest", "--archive", "zip", "--target", "out.zip", "--quiet"]);
    tools::ok("unzip", &["-tqq", home.path("out.zip").to_str().unwrap()], std::path::Path::new("/"), b"");
    for flag in ["--delete", "--dry-run", "--verify", "--no-owner", "--overwrite=never", "--plan"] {
        home.ends(20, &["restore", "latest", "--archive", "tar", "--target", "x.tar", flag]);
    }
    assert!(!home.path("x.tar").exists());
}

/// An archive in a terminal is noise, and may be commands to it.
#[test]
fn a_terminal_gets_no_archive() {
    let (home, top) = stored();
    // Python gives the command a terminal of its own, and prints what came of it.
    let script = "import os, pty, sys\npid, fd = pty.fork()\nif pid == 0: os.execv(sys.argv[1], sys.argv[1:])\n\
                  out = b''\nwhile True:\n    try: part = os.read(fd, 4096)\n    except OSError: break\n    if not part: break\n    out += part\n\
                  print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\nprint(out.decode())";
    let seabed = home.command(&[]).get_program().to_owned();
    for args in
        [&["dump", "latest", &top][..], &["dump", "latest", "/", "-a", "zip"], &["restore", "latest", "--archive", "tar", "--target", "-"]]
    {
        let mut python = std::process::Command::new("python3");
        python.env("HOME", home.path(".")).args(["-c", script]).arg(&seabed).args(args).stdin(Stdio::null());
        let output = python.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("25\n") && said.contains("--target FILE"), "{args:?}: {said}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let home = Home::new();
    for n in 0..50 {
        home.write(&format!("src/{n}"), &"text\n".repeat(20_000));
    }
    home.ends(0, &["backup", "--init", "src"]);
    let mut child = home.command(&["dump", "latest", "/"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[test]
fn tar_archives_are_backed_up_from_files_pipes_and_commands() {
    let home = Home::new();
    let src = home.path("src").to_str().unwrap().to_owned();
    let tar = tools::ok("tar", &["c", "-C", &src, "."], std::path::Path::new("/"), b"");
    fs::write(home.path("site.tar"), &tar).unwrap();
    let said = home.ends(0, &["backup", "--init", "--tar", "site.tar"]);
    assert!(said.contains("Files: 2 new"), "{said}");
    assert_eq!(home.ends(0, &["dump", "latest", "sub/b.txt"]), "beta\n");
    let snapshots: Value = serde_json::from_str(&home.ends(0, &["snapshots", "--json"])).unwrap();
    assert_eq!((&snapshots[0]["series"], &snapshots[0]["paths"][0]), (&"site.tar".into(), &"/".into()), "{snapshots}");
    let piped = |args: &[&str], input: &[u8], code: i32| {
        let mut child = home.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap_or_default();
        let output = child.wait_with_output().unwrap();
        ended(code, &output, args);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    piped(&["backup", "--tar", "-", "--tar-name", "export", "src"], &tar, 0);
    assert_eq!(home.ends(0, &["dump", "latest", "export/a.txt"]), "alpha\n");
    assert_eq!(home.ends(0, &["dump", "latest", &format!("{src}/a.txt")]), "alpha\n");
    // Cut short: the exit code is that of a dump that failed, and the hint is for who has no end.
    let said = piped(&["backup", "--tar", "-"], &tar[..1024], 21);
    assert!(said.contains("cut short") && said.contains("/dev/zero"), "{said}");
    let said = piped(&["backup", "--tar", "-"], b"", 21);
    assert!(said.contains("empty") && said.contains("--allow-empty"), "{said}");
    let said = piped(&["backup", "--tar", "-"], &[b'x'; 2000], 21);
    assert!(said.contains("no tar archive") && said.contains("--stdin"), "{said}");
    let said = piped(&["backup", "--tar", "-"], &[&b"\xfd7zXZ\0"[..], &[0; 2000]].concat(), 21);
    assert!(said.contains("xzcat"), "{said}");
    // Commands, several, beside other sources; one that fails costs the snapshot.
    let image = format!("image=tar c -C '{src}' .");
    home.ends(0, &["backup", "--exec-tar", &image, "--exec-tar", &format!("vol/one=tar c -C '{src}' sub"), "--exec", "d.sql=echo dump"]);
    assert_eq!(home.ends(0, &["dump", "latest", "vol/one/sub/b.txt"]), "beta\n");
    let output = home.run(&["backup", "--exec-tar", &format!("{image}; echo gone >&2; exit 4")]);
    assert_eq!(output.status.code(), Some(21));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("exit status 4") && said.contains("gone"), "{said}");
    // An entry that cannot be stored: the snapshot is made, and 3 says that something is not in it.
    let climbing = [tools::file(b"../up", b"x"), tools::file(b"good", b"y"), tools::END.to_vec()].concat();
    let said = piped(&["backup", "--tar", "-", "--series", "climbing"], &climbing, 3);
    assert!(said.contains("../up") && said.contains("climbs"), "{said}");
    assert_eq!(home.ends(0, &["ls", "latest", "--series", "climbing"]), "/good\n");
    for wrong in [
        &["backup", "--tar", "nowhere.tar"][..],
        &["backup", "--tar", "site.tar", "src"],
        &["backup", "--tar-name", "x", "src"],
        &["backup", "--exec-tar", "image", "src"],
        &["backup", "--exec-tar", "=true"],
        &["backup", "--exec-tar", "../x=true"],
        &["backup", "--tar", "-", "--stdin"],
        &["backup", "--tar", "-", "--files-from", "-"],
    ] {
        home.ends(20, wrong);
    }
}
