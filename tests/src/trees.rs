//! Trees for tests: what to make and how to change it, as plain data that proptest shrinks; and a reading of a real tree that two
//! trees are compared by. It must never use the engine's walker: a fault that both sides share would hide itself.
//! It obeys spec chapter 6 (entry metadata) and what `lstat`, `listxattr` and `lseek` say.

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Sizes where something may be off by one: chunk bounds, pages, what is read whole.
const SIZES: [usize; 17] =
    [0, 1, 2047, 2048, 2049, 4096, 4097, 8191, 8192, 8193, 65_535, 65_536, 65_537, 200_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1];

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// All zero, and allocated.
    Zeros,
    /// One of few contents, so that files share chunks.
    Shared(u8),
    /// Its own.
    Own(u32),
}

/// Something to be made.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Make {
    Dir,
    File(usize, Fill),
    /// Data at these pages, holes between them, and bytes of hole at the end.
    Sparse(Vec<(u8, u8)>, usize),
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Char(u8),
    /// One more name for an existing file.
    Link(u16),
}

/// One change of a tree. Places are numbers, taken modulo what there is.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Edit {
    Add(u16, Vec<u8>, Make),
    ChangeSameSize(u16, u32),
    Append(u16, u16),
    Truncate(u16, u8),
    Delete(u16),
    Rename(u16, u16, Vec<u8>),
    /// A file becomes a directory, a directory a file.
    Swap(u16),
    Chmod(u16, u16),
    Chown(u16, u8, u8),
    /// Other bytes, same size, and the old time put back.
    ChangeUnseen(u16, u32),
    ReplaceByRename(u16, u32),
    Xattr(u16, u8, Vec<u8>),
    Time(u16, i64, u32),
}

/// Bytes that no compressor shrinks, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

impl Fill {
    fn bytes(self, len: usize) -> Vec<u8> {
        match self {
            Fill::Zeros => vec![0; len],
            Fill::Shared(n) => noise(u64::from(n), len),
            Fill::Own(n) => noise(1 << 40 | u64::from(n), len),
        }
    }
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd: Vec<&[u8]> = vec![
        b"-rf",
        b"new\nline",
        b"...",
        b" ",
        b"\xff\xfe",
        b"a b",
        b"*",
        b".seabedignore-not",
        b"\x01",
        b"\\",
        "\u{e9}".as_bytes(),
        b"a.b",
        b"a-b",
    ];
    prop_oneof![
        6 => vec(b'a'..=b'e', 1..3),
        3 => proptest::sample::select(odd).prop_map(<[u8]>::to_vec),
        2 => vec(any::<u8>(), 1..8).prop_map(|name| name.into_iter().map(|b| if b == 0 || b == b'/' { b'x' } else { b }).collect()),
        1 => any::<u8>().prop_map(|b| vec![if b == 0 || b == b'/' { b'y' } else { b }; 255]),
    ]
    .prop_map(|name| if name == b"." || name == b".." { b"dot".to_vec() } else { name })
}

fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![1 => Just(Fill::Zeros), 2 => (0u8..3).prop_map(Fill::Shared), 3 => any::<u32>().prop_map(Fill::Own)]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..6000, 4 => proptest::sample::select(SIZES[..13].to_vec()), 1 => proptest::sample::select(SIZES[13..].to_vec())]
}

fn make() -> impl Strategy<Value = Make> {
    let target = proptest::sample::select(vec![&b"nowhere"[..], b"/", b"/etc/passwd", b"..", b"a", b"\xff\n", b"a/../b"]);
    prop_oneof![
        4 => Just(Make::Dir),
        8 => (size(), fill()).prop_map(|(n, f)| Make::File(n, f)),
        2 => (vec((0u8..40, 1u8..5), 0..4), 0usize..20_000).prop_map(|(data, tail)| Make::Sparse(data, tail)),
        2 => target.prop_map(|t| Make::Symlink(t.to_vec())),
        1 => Just(Make::Fifo),
        1 => Just(Make::Socket),
        1 => any::<u8>().prop_map(Make::Char),
        3 => any::<u16>().prop_map(Make::Link),
    ]
}

/// Additions only: what a first tree is made of.
pub fn additions(max: usize) -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<u16>(), name(), make()).prop_map(|(at, name, make)| Edit::Add(at, name, make)), 1..max)
}

/// Changes of any kind.
pub fn edits(max: usize) -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (any::<u16>(), name(), make()).prop_map(|(at, name, make)| Edit::Add(at, name, make)),
        2 => (any::<u16>(), any::<u32>()).prop_map(|(at, n)| Edit::ChangeSameSize(at, n)),
        2 => (any::<u16>(), 1u16..9000).prop_map(|(at, n)| Edit::Append(at, n)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, n)| Edit::Truncate(at, n)),
        2 => any::<u16>().prop_map(Edit::Delete),
        2 => (any::<u16>(), any::<u16>(), name()).prop_map(|(at, to, name)| Edit::Rename(at, to, name)),
        2 => any::<u16>().prop_map(Edit::Swap),
        1 => (any::<u16>(), 0u16..0o10000).prop_map(|(at, mode)| Edit::Chmod(at, mode)),
        1 => (any::<u16>(), any::<u8>(), any::<u8>()).prop_map(|(at, u, g)| Edit::Chown(at, u, g)),
        2 => (any::<u16>(), any::<u32>()).prop_map(|(at, n)| Edit::ChangeUnseen(at, n)),
        2 => (any::<u16>(), any::<u32>()).prop_map(|(at, n)| Edit::ReplaceByRename(at, n)),
        1 => (any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..200)).prop_map(|(at, n, value)| Edit::Xattr(at, n, value)),
        1 => (any::<u16>(), -2_000_000_000i64..4_000_000_000, 0u32..1_000_000_000).prop_map(|(at, s, n)| Edit::Time(at, s, n)),
    ];
    vec(edit, 0..max)
}

/// Every path below `top`, `top` itself not among them, directories before what is in them.
pub fn paths(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(dir) = open.pop() {
        let mut names: Vec<OsString> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let path = dir.join(name);
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pick(all: &[PathBuf], at: u16) -> Option<&PathBuf> {
    (!all.is_empty()).then(|| &all[usize::from(at) % all.len()])
}

/// Changes the tree below `top`. What makes no sense there (a directory into itself) changes nothing.
pub fn apply(top: &Path, edits: &[Edit]) {
    for edit in edits {
        apply_one(top, edit);
    }
}

fn apply_one(top: &Path, edit: &Edit) {
    let all = paths(top);
    let kind = |p: &&PathBuf| fs::symlink_metadata(p).unwrap().file_type();
    let dirs: Vec<PathBuf> = all.iter().filter(|p| kind(p).is_dir()).cloned().collect();
    let files: Vec<PathBuf> = all.iter().filter(|p| kind(p).is_file()).cloned().collect();
    // The first level are the roots: they stay, and stay directories.
    let inner: Vec<PathBuf> = all.iter().filter(|p| p.parent() != Some(top)).cloned().collect();
    match edit {
        Edit::Add(at, name, make) => {
            let Some(dir) = pick(&dirs, *at) else { return };
            let path = dir.join(OsStr::from_bytes(name));
            if fs::symlink_metadata(&path).is_err() && path.as_os_str().len() < 3000 {
                build(&path, make, &files);
            }
        }
        Edit::ChangeSameSize(at, n) | Edit::ChangeUnseen(at, n) => {
            let Some(path) = pick(&files, *at) else { return };
            let meta = fs::metadata(path).unwrap();
            if meta.len() > 0 {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                let bytes = noise(u64::from(*n), 1 + (*n as usize % 3000).min(meta.len() as usize - 1));
                file.write_all_at(&bytes, u64::from(*n) % (meta.len() - bytes.len() as u64 + 1)).unwrap();
            }
            if matches!(edit, Edit::ChangeUnseen(..)) {
                set_mtime(path, meta.mtime(), meta.mtime_nsec() as u32);
            }
        }
        Edit::Append(at, n) => {
            let Some(path) = pick(&files, *at) else { return };
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&noise(7, usize::from(*n)), file.metadata().unwrap().len()).unwrap();
        }
        Edit::Truncate(at, n) => {
            let Some(path) = pick(&files, *at) else { return };
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() * u64::from(*n) / 256).unwrap();
        }
        Edit::Delete(at) => {
            if let Some(path) = pick(&inner, *at) {
                remove(path);
            }
        }
        Edit::Rename(at, to, name) => {
            let (Some(path), Some(dir)) = (pick(&inner, *at), pick(&dirs, *to)) else { return };
            // Into itself, or over a directory that is not empty: the kernel refuses, nothing changes.
            fs::rename(path, dir.join(OsStr::from_bytes(name))).unwrap_or_default();
        }
        Edit::Swap(at) => {
            let Some(path) = pick(&inner, *at) else { return };
            let was_dir = fs::symlink_metadata(path).unwrap().is_dir();
            remove(path);
            if was_dir {
                fs::write(path, b"it was a directory").unwrap();
            } else {
                fs::create_dir(path).unwrap();
                fs::write(path.join("inside"), b"it was a file").unwrap();
            }
        }
        Edit::Chmod(at, mode) => {
            let Some(path) = pick(&all, *at) else { return };
            if !fs::symlink_metadata(path).unwrap().is_symlink() {
                fs::set_permissions(path, fs::Permissions::from_mode(u32::from(*mode))).unwrap();
            }
        }
        Edit::Chown(at, uid, gid) => {
            if let Some(path) = pick(&all, *at) {
                std::os::unix::fs::lchown(path, Some(u32::from(*uid) * 1000), Some(u32::from(*gid) * 1000)).unwrap();
            }
        }
        Edit::ReplaceByRename(at, n) => {
            let Some(path) = pick(&files, *at) else { return };
            let meta = fs::metadata(path).unwrap();
            let new = top.join("passing");
            fs::write(&new, noise(u64::from(*n), meta.len() as usize)).unwrap();
            set_mtime(&new, meta.mtime(), meta.mtime_nsec() as u32);
            fs::rename(&new, path).unwrap();
        }
        Edit::Xattr(at, n, value) => {
            let Some(path) = pick(&all, *at) else { return };
            let meta = fs::symlink_metadata(path).unwrap();
            let user = meta.is_file() || meta.is_dir();
            let (name, value) = match n % 4 {
                0 if user => ("user.one", value.clone()),
                1 if user => ("user.\u{e9}", value.clone()),
                2 if !meta.is_symlink() => ("system.posix_acl_access", acl()),
                _ => ("trusted.seabed", value.clone()),
            };
            rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty()).unwrap();
        }
        Edit::Time(at, secs, nanos) => {
            if let Some(path) = pick(&all, *at) {
                set_mtime(path, *secs, *nanos);
            }
        }
    }
}

/// An ACL that says more than a mode can: user 1234 may read.
fn acl() -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

/// Sets the time of last change of anything, symlinks included.
pub fn set_mtime(path: &Path, secs: i64, nanos: u32) {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    rustix::fs::utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn remove(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

fn build(path: &Path, make: &Make, files: &[PathBuf]) {
    match make {
        Make::Dir => fs::create_dir(path).unwrap(),
        Make::File(len, fill) => fs::write(path, fill.bytes(*len)).unwrap(),
        Make::Sparse(data, tail) => {
            let file = fs::File::create(path).unwrap();
            let mut end = 0;
            for (page, pages) in data {
                let bytes = noise(u64::from(*page), usize::from(*pages) * 4096);
                file.write_all_at(&bytes, u64::from(*page) * 4096).unwrap();
                end = end.max(u64::from(*page) * 4096 + bytes.len() as u64);
            }
            file.set_len(end + *tail as u64).unwrap();
        }
        Make::Symlink(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Make::Fifo => node(path, FileType::Fifo, 0),
        Make::Socket => node(path, FileType::Socket, 0),
        Make::Char(n) => node(path, FileType::CharacterDevice, rustix::fs::makedev(u32::from(*n), 3)),
        Make::Link(at) => {
            if let Some(file) = pick(files, *at) {
                fs::hard_link(file, path).unwrap();
            }
        }
    }
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// One of everything, for who needs no chance: every kind of entry, attributes, links, holes, one file of many frames, many of a few bytes.
/// Needs root, for owners and devices.
pub fn full(top: &Path) {
    for dir in ["many", "deep/er/still", "empty dir", "odd \u{e9}\n"] {
        fs::create_dir_all(top.join(dir)).unwrap();
    }
    for n in 0..300_u64 {
        fs::write(top.join(format!("many/{n:03}")), noise(n, (n * 37 % 3000) as usize)).unwrap();
    }
    let files = [
        ("big", noise(1000, 9_000_001)),
        ("twin", noise(1000, 2_000_000)),
        ("zeros", vec![0; 1 << 20]),
        ("empty", Vec::new()),
        ("deep/er/still/one", vec![1]),
    ];
    for (name, bytes) in files {
        fs::write(top.join(name), bytes).unwrap();
    }
    build(&top.join("sparse"), &Make::Sparse(vec![(3, 2), (200, 4)], 3_000_000), &[]);
    build(&top.join("hole"), &Make::Sparse(vec![], 100_000), &[]);
    build(&top.join("fifo"), &Make::Fifo, &[]);
    build(&top.join("socket"), &Make::Socket, &[]);
    build(&top.join("device"), &Make::Char(1), &[]);
    fs::write(top.join("odd \u{e9}\n").join(OsStr::from_bytes(b"\xff\xfe")), b"no text").unwrap();
    for (name, target) in [("dangling", "nowhere"), ("up", "../.."), ("deep/to", "er/still/one")] {
        symlink(target, top.join(name)).unwrap();
    }
    for (file, name) in [("big", "deep/hard"), ("empty", "hard too")] {
        fs::hard_link(top.join(file), top.join(name)).unwrap();
    }
    for (name, attribute, value) in
        [("twin", "user.one", b"value".to_vec()), ("deep", "user.\u{e9}", noise(5, 1500)), ("many/007", "system.posix_acl_access", acl())]
    {
        rustix::fs::lsetxattr(top.join(name), attribute, &value, XattrFlags::empty()).unwrap();
    }
    for (name, mode) in [("many/001", 0o4755), ("many/002", 0), ("empty dir", 0o1777)] {
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(top.join("dangling"), Some(1234), Some(4321)).unwrap();
    set_mtime(&top.join("many/003"), -86_400, 999_999_999);
    set_mtime(&top.join("dangling"), 4_000_000_000, 1);
    set_mtime(&top.join("deep"), 1_000_000_000, 7);
}

/// A day's changes to what [`full`] made: a few bytes within the long file, some files new, gone, moved, or with other attributes.
pub fn a_day_later(top: &Path) {
    fs::OpenOptions::new().write(true).open(top.join("big")).unwrap().write_all_at(b"changed", 5_000_000).unwrap();
    fs::write(top.join("deep/new"), noise(2000, 50_000)).unwrap();
    fs::remove_file(top.join("many/100")).unwrap();
    fs::remove_file(top.join("hard too")).unwrap();
    fs::rename(top.join("deep/er"), top.join("many/moved")).unwrap();
    fs::set_permissions(top.join("many/004"), fs::Permissions::from_mode(0o640)).unwrap();
    remove(&top.join("fifo"));
    fs::create_dir(top.join("fifo")).unwrap();
}

/// All that must survive of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Node {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, i64),
    pub device: u64,
    /// Content of a file, target of a symlink.
    pub content: Vec<u8>,
    /// Where a file has data; the rest are holes.
    pub data: Vec<(u64, u64)>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All names of this inode that were met, where there are several.
    pub links: Vec<Vec<u8>>,
}

impl Node {
    /// `S_IFMT` bits.
    pub fn kind(&self) -> u32 {
        self.mode & 0o170_000
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.kind() == 0o100_000
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == 0o040_000
    }
}

/// A tree as it was at some moment, by path below its top.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Reads the tree below `top`; with `own`, `top` itself too, under the empty path.
pub fn capture(top: &Path, own: bool) -> Tree {
    let mut tree = Tree::new();
    let mut groups: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    let mut all = paths(top);
    if own {
        all.push(top.to_path_buf());
    }
    let mut inodes = Vec::new();
    for path in all {
        let meta = fs::symlink_metadata(&path).unwrap();
        let key = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let (mut content, mut data) = (Vec::new(), Vec::new());
        if meta.is_file() {
            let mut file = fs::File::open(&path).unwrap();
            data = extents(&file, meta.len());
            file.read_to_end(&mut content).unwrap();
        } else if meta.is_symlink() {
            content = fs::read_link(&path).unwrap().into_os_string().into_vec();
        }
        if !meta.is_dir() && meta.nlink() > 1 {
            groups.entry((meta.dev(), meta.ino())).or_default().push(key.clone());
            inodes.push((key.clone(), (meta.dev(), meta.ino())));
        }
        let (mtime, device) = ((meta.mtime(), meta.mtime_nsec()), meta.rdev());
        let xattrs = xattrs(&path);
        tree.insert(key, Node { mode: meta.mode(), uid: meta.uid(), gid: meta.gid(), mtime, device, content, data, xattrs, links: vec![] });
    }
    for (key, inode) in inodes {
        if let (Some(node), Some(group)) = (tree.get_mut(&key), groups.get(&inode)) {
            node.links = group.clone();
            node.links.sort();
        }
    }
    tree
}

fn extents(file: &fs::File, len: u64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let Ok(start) = rustix::fs::seek(file, SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap();
        found.push((start, end));
        at = end;
    }
    rustix::fs::seek(file, SeekFrom::Start(0)).unwrap();
    found
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0u8; 65_536];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..n].split(|b| *b == 0).filter(|n| !n.is_empty());
    let mut value = vec![0u8; 65_536];
    names
        .map(|name| {
            let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..n].to_vec())
        })
        .collect()
}

/// What differs, a line per entry; empty where the trees are equal.
pub fn differences(want: &Tree, have: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, node) in want {
        let name = path.escape_ascii();
        let Some(other) = have.get(path) else {
            out.push(format!("{name}: missing"));
            continue;
        };
        let mut fields = Vec::new();
        let mut differ = |field: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
            let (a, b) = (format!("{a:?}"), format!("{b:?}"));
            if a != b {
                fields.push(format!("{field} {a:.200} became {b:.200}"));
            }
        };
        differ("mode", &format!("{:o}", node.mode), &format!("{:o}", other.mode));
        differ("owner", &(node.uid, node.gid), &(other.uid, other.gid));
        differ("mtime", &node.mtime, &other.mtime);
        differ("device", &node.device, &other.device);
        differ("length", &node.content.len(), &other.content.len());
        differ("content", &blake3::hash(&node.content), &blake3::hash(&other.content));
        // Up to a page a file may lie in its inode, without a block: no one can tell that from a hole.
        if node.content.len() > 4096 {
            differ("data at", &node.data, &other.data);
        }
        differ("xattrs", &node.xattrs, &other.xattrs);
        differ("links", &node.links, &other.links);
        if !fields.is_empty() {
            out.push(format!("{name}: {}", fields.join(", ")));
        }
    }
    out.extend(have.keys().filter(|p| !want.contains_key(*p)).map(|p| format!("{}: surplus", p.escape_ascii())));
    out
}

/// Waits until the clock of the file system that holds `dir` has moved on far enough that a change before now shows in a ctime.
pub fn settle(dir: &Path) {
    let probe = dir.join(".settle");
    let now = || {
        let file = rustix::fs::open(&probe, OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC, Mode::RUSR).unwrap();
        rustix::fs::futimens(&file, &Timestamps { last_access: omit(), last_modification: wall() }).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
    };
    let from = now();
    while now() < from + 30_000_000 {
        std::thread::yield_now();
    }
    fs::remove_file(&probe).unwrap();
}

fn omit() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }
}

fn wall() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW }
}

/// All files below a directory.
pub fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
