//! Extended attributes, ACLs and the attributes of `chattr`.

use super::bench::*;
use crate::cli::ended;
use rustix::fs::IFlags;
use seabed_tests::trees::noise;
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::{Path, PathBuf};

#[test]
pub(super) fn user_attributes() {
    let bench = Bench::new();
    bench.file("dir/file");
    for name in ["dir/file", "dir"] {
        set_attribute(&bench.source(name), "user.mime_type", b"text/plain");
        set_attribute(&bench.source(name), "user.\u{e9}", &noise(3, 900));
        set_attribute(&bench.source(name), "user.empty", b"");
    }
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(attribute(&bench.place("nobody").join("dir"), "user.mime_type").as_deref(), Some(&b"text/plain"[..]));
    let kept = |place: PathBuf| {
        let names = ["user.mime_type", "user.\u{e9}", "user.empty"];
        ["dir/file", "dir"].map(|path| names.map(|name| attribute(&place.join(path), name).is_some()))
    };
    assert_eq!(kept(bench.restored("without", 0, &["--no-xattrs"])), [[false; 3]; 2]);
    assert_eq!(kept(bench.restored("some", 0, &["--exclude-xattr", "user.m*"])), [[false, true, true]; 2]);
    assert_eq!(
        kept(bench.restored("others", 0, &["--include-xattr", "*.mime_type", "--include-xattr", "user.empty"])),
        [[true, false, true]; 2]
    );
    ended(20, &bench.run("wrong", &["--include-xattr", "user.["]), &[]);
    // What an earlier run did not store is read when it is wanted again, though the files are as they were; and the other way round.
    bench.back_up(&["--no-xattrs"]);
    assert_eq!(kept(bench.restored("never", 0, &[])), [[false; 3]; 2]);
    bench.back_up(&[]);
    assert_eq!(kept(bench.restored("again", 0, &[])), [[true; 3]; 2]);
}

#[test]
pub(super) fn trusted_attributes() {
    let bench = Bench::new();
    set_attribute(&bench.file("file"), "trusted.overlay.opaque", b"y");
    symlink("x", bench.source("link")).unwrap();
    set_attribute(&bench.source("link"), "trusted.of.link", b"1");
    bench.back_up(&[]);
    assert_eq!(bench.differences(&bench.restored("asked", 0, &["--privileged"])), [""; 0]);
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert!(complaints(&run).contains("trusted.* attributes were not restored for 2 entries (needs --privileged)"), "{}", complaints(&run));
    assert_eq!(attribute(&bench.place("not").join("file"), "trusted.overlay.opaque"), None);
    for more in [&["--no-xattrs"][..], &["--exclude-xattr", "trusted.*"]] {
        let run = bench.run("without", more);
        ended(0, &run, more);
        assert_eq!(complaints(&run), "", "what was left out by name is not missing");
    }
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert!(complaints(&run).contains("trusted.* attributes were not restored for 2 entries (needs root)"), "{}", complaints(&run));
}

/// `cap_net_raw=ep`, as `setcap` writes it: without it `ping` needs root again.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const LABEL: &[u8] = b"system_u:object_r:etc_t:s0\0";

#[test]
pub(super) fn security_attributes() {
    let bench = Bench::new();
    // Not root's: to give a file to somebody takes its capabilities away, so their order on restore is not free.
    lchown(bench.file("ping"), Some(1234), Some(1234)).unwrap();
    set_attribute(&bench.source("ping"), "security.capability", &CAPABILITY);
    set_attribute(&bench.file("labelled"), "security.selinux", LABEL);
    bench.back_up(&[]);
    let has =
        |place: &Path| (attribute(&place.join("ping"), "security.capability"), attribute(&place.join("labelled"), "security.selinux"));
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!(bench.differences(&place), [""; 0]);
    assert_eq!(has(&place), (Some(CAPABILITY.to_vec()), Some(LABEL.to_vec())));
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    assert!(
        complaints(&run).contains("security.* attributes were not restored for 2 entries (needs --privileged)"),
        "{}",
        complaints(&run)
    );
    assert_eq!(has(&bench.place("not")).0, None);
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(bench.differences(&bench.place("not")), [""; 0]);
    let place = bench.restored("labels", 0, &["--privileged", "--include-xattr", "security.selinux"]);
    assert_eq!(has(&place), (None, Some(LABEL.to_vec())));
    for more in [&[][..], &["--privileged"]] {
        let run = bench.run_as_nobody("nobody", more);
        ended(0, &run, more);
        assert_eq!(has(&bench.place("nobody")).0, None);
        // Who may set a label is the security module's affair, and where there is none, the kernel's.
        let lacks = if more.is_empty() { "for 2 entries (needs root and --privileged)" } else { "" };
        assert!(complaints(&run).contains(&format!("security.* attributes were not restored {lacks}")), "{}", complaints(&run));
    }
}

/// What `setfacl -m u:1234:rw` makes.
pub(super) fn acl() -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 6, 1234), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

#[test]
pub(super) fn acls() {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    let bench = Bench::new();
    bench.file("dir/file");
    set_attribute(&bench.source("dir/file"), ACCESS, &acl());
    set_attribute(&bench.source("dir"), ACCESS, &acl());
    set_attribute(&bench.source("dir"), DEFAULT, &acl());
    bench.back_up(&[]);
    let has = |place: &Path| {
        [("dir/file", ACCESS), ("dir", ACCESS), ("dir", DEFAULT)].map(|(path, name)| attribute(&place.join(path), name) == Some(acl()))
    };
    assert_eq!(bench.differences(&bench.restored("back", 0, &[])), [""; 0]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(has(&bench.place("nobody")), [true; 3]);
    for more in ["--no-permissions", "--no-xattrs"] {
        assert_eq!(has(&bench.restored(more.trim_start_matches('-'), 0, &[more])), [false; 3], "{more}");
    }
    bench.back_up(&["--no-acls"]);
    assert_eq!(has(&bench.restored("never", 0, &[])), [false; 3]);
    bench.back_up(&[]);
    assert_eq!(has(&bench.restored("again", 0, &[])), [true; 3]);
}

#[test]
pub(super) fn flags() {
    let bench = Bench::new();
    bench.file("dir/file");
    set_flags(&bench.source("dir/file"), IFlags::NODUMP | IFlags::NOATIME);
    set_flags(&bench.source("dir"), IFlags::NODUMP);
    bench.back_up(&[]);
    let has = |place: &Path| ["dir/file", "dir"].map(|path| flags_of(&place.join(path)));
    let want = [(IFlags::NODUMP | IFlags::NOATIME).bits(), IFlags::NODUMP.bits()];
    let place = bench.restored("back", 0, &[]);
    assert_eq!((has(&place), bench.differences(&place)), (want, vec![]));
    assert_eq!(has(&bench.restored("without", 0, &["--no-flags"])), [0; 2]);
    ended(0, &bench.run_as_nobody("nobody", &[]), &[]);
    assert_eq!(has(&bench.place("nobody")), want);
    bench.back_up(&["--no-flags"]);
    assert_eq!(has(&bench.restored("never", 0, &[])), [0; 2]);
    bench.back_up(&[]);
    assert_eq!(has(&bench.restored("again", 0, &[])), want);
    // Without ctimes attributes are read every time. Those of chattr were lost: a file that is not read was not opened.
    bench.back_up(&["--ignore-ctime"]);
    assert_eq!(has(&bench.restored("unread", 0, &[])), want);
}

#[test]
pub(super) fn locks() {
    let bench = Bench::new();
    bench.file("dir/immutable");
    bench.file("log");
    fs::hard_link(bench.source("log"), bench.source("dir/log")).unwrap();
    set_flags(&bench.source("log"), IFlags::APPEND | IFlags::NODUMP);
    set_flags(&bench.source("dir/immutable"), IFlags::IMMUTABLE);
    set_flags(&bench.source("dir"), IFlags::IMMUTABLE);
    bench.back_up(&[]);
    let has = |place: &Path| ["dir/immutable", "log", "dir"].map(|path| flags_of(&place.join(path)));
    let want = [IFlags::IMMUTABLE.bits(), (IFlags::APPEND | IFlags::NODUMP).bits(), IFlags::IMMUTABLE.bits()];
    let place = bench.restored("asked", 0, &["--privileged"]);
    assert_eq!((has(&place), bench.differences(&place)), (want, vec![]));
    let run = bench.run("not", &[]);
    ended(3, &run, &[]);
    let said = complaints(&run);
    assert!(said.contains("immutable and append-only flags were not restored for 3 entries (needs --privileged)"), "{said}");
    // The others come all the same.
    assert_eq!(has(&bench.place("not")), [0, IFlags::NODUMP.bits(), 0]);
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!((has(&bench.place("not")), bench.differences(&bench.place("not"))), (want, vec![]));
    // Once more over what is locked already: it is what it should be.
    bench.restored("not", 0, &["--privileged", "--overwrite", "if-changed"]);
    assert_eq!(has(&bench.place("not")), want);
    bench.restored("without", 0, &["--no-flags", "--privileged"]);
    assert_eq!(has(&bench.place("without")), [0; 3]);
    let run = bench.run_as_nobody("nobody", &["--privileged"]);
    ended(0, &run, &[]);
    assert_eq!(has(&bench.place("nobody")), [0, IFlags::NODUMP.bits(), 0]);
    assert!(
        complaints(&run).contains("immutable and append-only flags were not restored for 3 entries (needs root)"),
        "{}",
        complaints(&run)
    );
}
