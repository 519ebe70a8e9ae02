//! What is kept of a file and what comes back: a test for each row of the table in README.md, and the table is no more than these rows.
//! By the real binary, as root and as somebody who is not. It must never take the engine's word for what a restored file has.
//! It obeys README.md ("What is kept of a file") and spec chapter 6 (entry metadata).

mod attributes;
mod bench;
mod contents;
mod rights;

use std::fs;
use std::path::Path;

/// A row: what, whether it is stored, whether it comes back, how to leave it out; and the test that says so, which runs by itself.
type Row = (&'static str, &'static str, &'static str, &'static str, fn());

const ROWS: [Row; 19] = [
    ("names, in any bytes", "yes", "yes", "", contents::names),
    ("directories, files, symlinks", "yes", "yes", "", contents::kinds),
    ("fifos, sockets", "yes", "yes", "", contents::fifos_and_sockets),
    ("device nodes", "yes", "with `--privileged`", "", contents::device_nodes),
    ("modes: rwx, sticky, setgid of directories", "yes", "yes", "`--no-permissions`", rights::modes),
    ("setuid and setgid of files", "yes", "with `--privileged`, and only with their owner", "`--no-permissions`", rights::setuid),
    ("owner and group, by number", "yes", "yes, as far as this user may", "`--no-owner`", rights::owners_by_number),
    (
        "owner and group, by name",
        "yes; not with `backup --numeric-owner`",
        "where the name is known here, else by number",
        "`--numeric-owner`",
        rights::owners_by_name,
    ),
    ("time of change (mtime), nanoseconds; of symlinks and directories too", "yes", "yes", "`--no-times`", contents::times_of_change),
    ("time of access (atime)", "with `backup --with-atime`", "where stored", "`--no-times`", contents::times_of_access),
    (
        "times of attribute change and of birth (ctime, btime)",
        "yes",
        "no: Linux lets nobody set them",
        "",
        contents::times_that_nobody_sets,
    ),
    ("hard links, also from one path of a backup to another", "yes", "yes", "", contents::hard_links),
    ("holes of sparse files", "yes", "yes", "", contents::holes),
    (
        "extended attributes `user.*`",
        "yes; not with `backup --no-xattrs`",
        "yes",
        "`--no-xattrs`, `--exclude-xattr`",
        attributes::user_attributes,
    ),
    (
        "extended attributes `trusted.*` (only root sees them)",
        "as above",
        "with `--privileged`",
        "as above",
        attributes::trusted_attributes,
    ),
    (
        "extended attributes `security.*`: capabilities, SELinux labels",
        "as above",
        "with `--privileged`",
        "as above",
        attributes::security_attributes,
    ),
    ("POSIX ACLs, access and default", "yes; not with `backup --no-acls`", "yes", "`--no-permissions`, `--no-xattrs`", attributes::acls),
    (
        "attributes of `chattr`",
        "yes; not with `backup --no-flags`",
        "as far as the file system knows them",
        "`--no-flags`",
        attributes::flags,
    ),
    (
        "immutable and append-only (`chattr +i`, `+a`)",
        "as above",
        "with `--privileged`, when all else is done",
        "`--no-flags`",
        attributes::locks,
    ),
];

/// The rows of the README's table and of this file are the same, word for word.
#[test]
fn the_table_is_what_is_proven() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let at = readme.find("| of a file | stored | restored |").expect("the table is in README.md");
    let have: Vec<&str> = readme[at..].lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let want = ROWS.map(|(what, stored, back, without, _)| format!("| {what} | {stored} | {back} | {without} |").replace("|  |", "| |"));
    assert_eq!(have, want);
}

/// What the README says is not kept, the format has no place for: its entries hold what the rows name, and what the engine itself needs.
#[test]
fn nothing_else_is_kept() {
    let chapter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../format-spec/6-trees-and-manifests.md");
    let text = fs::read_to_string(chapter).unwrap();
    let rows = text[text.find("### `Entry`").unwrap()..].lines().skip(4).take_while(|line| line.starts_with('|'));
    let have: Vec<&str> = rows.map(|row| row.split('|').nth(2).unwrap().trim()).collect();
    let of_files = [
        "name",
        "kind",
        "mode",
        "uid",
        "gid",
        "user",
        "group",
        "mtime",
        "ctime",
        "btime",
        "atime",
        "size",
        "inode",
        "device",
        "links",
        "target",
        "rdev_major",
        "rdev_minor",
        "xattrs",
        "flags",
    ];
    assert_eq!(have, [&of_files[..], &["profile", "status", "implied"]].concat());
}
