//! Whose a file is, and what its mode lets others do.

use super::bench::*;
use crate::cli::ended;
use rustix::fs::{FileType, makedev};
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

#[test]
pub(super) fn modes() {
    let bench = Bench::new();
    for (name, mode) in [("all", 0o777), ("none", 0), ("read", 0o400), ("odd", 0o1632)] {
        fs::set_permissions(bench.file(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(bench.source("handed down")).unwrap();
    fs::set_permissions(bench.source("handed down"), fs::Permissions::from_mode(0o3770)).unwrap();
    bench.back_up(&[]);
    let place = bench.restored("back", 0, &[]);
    assert_eq!(bench.differences(&place), [""; 0]);
    // Somebody else gets their own files' modes, of directories the setgid bit too.
    ended(0, &bench.run_as_nobody("own", &["--no-owner"]), &[]);
    assert_eq!(mode(&bench.place("own").join("handed down")), 0o3770);
    assert_eq!(mode(&bench.place("own").join("odd")), 0o1632);
    let place = bench.restored("without", 0, &["--no-permissions"]);
    let umask = 0o777
        & !mode(&{
            fs::create_dir(bench.home.path("probe")).unwrap();
            bench.home.path("probe")
        });
    for (name, open) in [("all", 0o777), ("none", 0o666), ("read", 0o666), ("odd", 0o777), ("handed down", 0o777)] {
        assert_eq!(mode(&place.join(name)), open & !umask, "{name}");
    }
}

#[test]
pub(super) fn setuid() {
    let bench = Bench::new();
    for (name, uid, gid, mode) in [("sudo", 0, 0, 0o4755), ("theirs", 1234, 1234, 0o6755), ("mine", NOBODY, NOBODY, 0o4755)] {
        let path = bench.file(name);
        lchown(&path, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    bench.back_up(&[]);
    let modes = |place: &Path| ["sudo", "theirs", "mine"].map(|name| mode(&place.join(name)));
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!(bench.differences(&place), [""; 0]);
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert_eq!(modes(&bench.place("not")), [0o755; 3]);
    assert!(
        complaints(&run).contains("setuid and setgid bits were not restored for 3 entries (needs --privileged)"),
        "{}",
        complaints(&run)
    );
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(bench.differences(&bench.place("not")), [""; 0]);
    // Of another owner they would lend the rights of whoever restores.
    let run = bench.run("own", &["--privileged", "--no-owner"]);
    ended(0, &run, &[]);
    assert_eq!(modes(&bench.place("own")), [0o4755, 0o755, 0o755]);
    assert!(complaints(&run).contains("setuid and setgid bits were not restored for 2 entries"), "{}", complaints(&run));
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert_eq!(modes(&bench.place("nobody")), [0o755, 0o755, 0o4755]);
    assert!(complaints(&run).contains("setuid and setgid bits were not restored for 2 entries (needs root)"), "{}", complaints(&run));
    ended(0, &bench.run_as_nobody("nobody-default", &[]), &[]);
    assert_eq!(modes(&bench.place("nobody-default")), [0o755; 3]);
}

#[test]
pub(super) fn owners_by_number() {
    let bench = Bench::new();
    for (name, uid, gid) in [("a", 4_000_000_000, 3_999_999_999), ("b", 0, 1234), ("dir", 1234, 0)] {
        if name == "dir" {
            fs::create_dir(bench.source(name)).unwrap()
        } else {
            drop(bench.file(name))
        }
        lchown(bench.source(name), Some(uid), Some(gid)).unwrap();
    }
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    let place = bench.restored("without", 0, &["--no-owner"]);
    assert_eq!(["a", "b", "dir"].map(|name| owner(&place.join(name))), [(0, 0); 3]);
    let run = bench.run_as_nobody("nobody", &[]);
    ended(0, &run, &[]);
    assert_eq!(owner(&bench.place("nobody").join("b")), (NOBODY, NOBODY));
    // Said once for all, not for each.
    let said = complaints(&run);
    assert!(said.contains("owners were not restored for 6 entries (needs root)"), "three and what they lie in: {said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
pub(super) fn owners_by_name() {
    let bench = Bench::new();
    lchown(bench.file("named"), Some(1), Some(1)).unwrap();
    bench.back_up(&[]);
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let name =
        users.lines().find(|line| line.split(':').nth(2) == Some("1")).expect("a user 1, as Debian has it").split(':').next().unwrap();
    assert_eq!(bench.listed("named")["user"], name);
    assert_eq!(owner(&bench.restored("back", 0, &[]).join("named")), (1, 1));
    // On a machine where that name has another number: another passwd file in a mount namespace of its own.
    let elsewhere = |target: &str, more: &str| {
        let passwd = format!("sed 's/^{name}:x:1:/{name}:x:4711:/' /etc/passwd > passwd && mount --bind passwd /etc/passwd");
        let script = format!("{passwd} && exec \"$0\" restore latest --target {target} {more}");
        let seabed = bench.home.command(&[]);
        let mut command = std::process::Command::new("unshare");
        command
            .args(["-m", "sh", "-c", &script])
            .arg(seabed.get_program())
            .env("HOME", bench.home.path(""))
            .current_dir(bench.home.path(""));
        ended(0, &command.output().unwrap(), &[target]);
        owner(&bench.place(target).join("named")).0
    };
    assert_eq!(elsewhere("by-name", ""), 4711);
    assert_eq!(elsewhere("by-number", "--numeric-owner"), 1);
    bench.back_up(&["--numeric-owner"]);
    assert_ne!(bench.listed("named")["user"], name);
    assert_eq!(elsewhere("never-named", ""), 1);
}

/// Root of a container is root and may not make devices: that is said as what it is, and `--privileged` is no promise.
#[test]
pub(super) fn root_without_rights_is_told_so() {
    let bench = Bench::new();
    node(&bench.source("null"), FileType::CharacterDevice, makedev(1, 3));
    fs::set_permissions(bench.file("su"), fs::Permissions::from_mode(0o4755)).unwrap();
    bench.back_up(&[]);
    let seabed = bench.home.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.arg("-r").arg(seabed.get_program()).args(["restore", "latest", "--target", "back", "--privileged"]);
    let run = command.env("HOME", bench.home.path("")).current_dir(bench.home.path("")).output().unwrap();
    ended(3, &run, &[]);
    assert!(complaints(&run).contains("device nodes were not restored: 1 (not possible here)"), "{}", complaints(&run));
    assert_eq!(mode(&bench.place("back").join("su")), 0o4755);
}
