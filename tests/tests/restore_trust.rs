//! Restores over what is there already, by root, on a machine with other users: what looks right may be somebody else's, what is kept stays
//! as it is, and nothing is deleted of which the snapshot cannot know. It obeys README.md ("What is kept of a file", `--delete`).

use crate::cli::{Home, ended};
use rustix::fs::XattrFlags;
use seabed_tests::trees::set_mtime;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const OLD: i64 = 1_600_000_000;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A restore target, and in it what is stored as `src` of this home.
fn target(home: &Home) -> (String, PathBuf) {
    let out = home.path("out");
    let below = out.join(home.path("src").strip_prefix("/").unwrap());
    (out.to_str().unwrap().to_owned(), below)
}

/// A first restore leaves setuid bits out, and a second one brings them, as the README says. Between them whoever could write there had put
/// a program of the same length and time in the place of `tool`: the second made it root's.
#[test]
fn rights_come_only_to_verified_content() {
    assert!(rustix::process::geteuid().is_root(), "run as root, or under unshare -rm");
    let home = Home::new();
    home.write("src/tool", "good tool\n");
    let tool = home.path("src/tool");
    set_mtime(&tool, OLD, 0);
    set_mode(&tool, 0o4755);
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let (out, below) = target(&home);
    home.ends(3, &["restore", "latest", "--target", &out, "--quiet"]);
    fs::write(below.join("tool"), "EVIL tool\n").unwrap();
    set_mtime(&below.join("tool"), OLD, 0);
    home.ends(0, &["restore", "latest", "--target", &out, "--quiet", "--privileged", "--overwrite", "if-changed"]);
    assert_eq!((fs::read_to_string(below.join("tool")).unwrap().as_str(), mode(&below.join("tool"))), ("good tool\n", 0o4755));
}

/// What stays because its content is right kept the attributes that others had given it: an ACL that the snapshot does not know.
#[test]
fn what_stays_has_the_attributes_of_the_snapshot() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let (out, below) = target(&home);
    home.ends(0, &["restore", "latest", "--target", &out, "--quiet"]);
    let file = below.join("a.txt");
    // user::rw, user:1234:rw, group::r, mask::rw, other::r
    let acl: Vec<u8> = [(1, 6, u32::MAX), (2, 6, 1234), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)].iter().fold(
        2u32.to_le_bytes().to_vec(),
        |mut acl, (tag, perm, id)| {
            acl.extend_from_slice(&u16::to_le_bytes(*tag));
            acl.extend_from_slice(&u16::to_le_bytes(*perm));
            acl.extend_from_slice(&u32::to_le_bytes(*id));
            acl
        },
    );
    for (name, value) in [("system.posix_acl_access", &acl[..]), ("user.foreign", b"x")] {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    home.ends(0, &["restore", "latest", "--target", &out, "--quiet", "--overwrite", "if-changed"]);
    for name in ["system.posix_acl_access", "user.foreign"] {
        assert!(rustix::fs::getxattr(&file, name, &mut [0u8; 256][..]).is_err(), "{name} is still there");
    }
}

/// `--overwrite never` kept files, and gave the directories that were there modes and owners of the snapshot.
#[test]
fn what_is_never_overwritten_keeps_its_attributes_too() {
    let home = Home::new();
    home.write("src/new/c.txt", "gamma\n");
    set_mode(&home.path("src/new"), 0o750);
    home.ends(0, &["backup", "--init", "--quiet", "src"]);
    let (out, below) = target(&home);
    fs::create_dir_all(below.join("sub")).unwrap();
    set_mode(&below, 0o700);
    set_mode(&below.join("sub"), 0o711);
    home.ends(0, &["restore", "latest", "--target", &out, "--quiet", "--overwrite", "never"]);
    assert_eq!((mode(&below), mode(&below.join("sub")), mode(&below.join("new"))), (0o700, 0o711, 0o750));
    assert_eq!(fs::read_to_string(below.join("new/c.txt")).unwrap(), "gamma\n");
}

/// Two archives one behind the other: of the second nothing is stored, which is said. `restore --delete` took away what that one would have
/// brought, in all directories that both have.
#[test]
fn nothing_is_deleted_that_an_archive_may_have_held() {
    let home = Home::new();
    for name in ["data/sub/one", "more/data/sub/two"] {
        home.write(name, name);
    }
    let shell = |script: &str| {
        let done = std::process::Command::new("sh").args(["-c", script]).current_dir(home.path(".")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    shell("tar cf a.tar data && tar cf b.tar -C more data && cat a.tar b.tar > both.tar");
    let (out, _) = target(&home);
    for name in [&[][..], &["--tar-name", "export"]] {
        let args = [&["backup", "--init", "--quiet", "--tar", "both.tar"], name].concat();
        ended(3, &home.run(&args), &args);
        let below = Path::new(&out).join(if name.is_empty() { "" } else { "export" });
        fs::create_dir_all(below.join("data/sub")).unwrap();
        fs::write(below.join("data/sub/two"), "the only copy").unwrap();
        let args = ["restore", "latest", "--target", &out, "--delete", "--quiet"];
        let output = home.run(&args);
        assert!(below.join("data/sub/two").exists() && below.join("data/sub/one").exists(), "{output:?}");
        fs::remove_dir_all(&out).unwrap();
    }
}
