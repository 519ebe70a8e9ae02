//! The walker: all entries of all roots as one sorted stream, read from held directory descriptors, one `statx` each.
//! It must never build a path for the kernel, follow a symlink below a root, or drop the siblings of something that fails.
//! It obeys spec chapter 6: by directory, component by component, then by name; what only leads to a root is implied.

use super::filter::{Excludes, IGNORE_FILE, Ignores};
use super::meta::Attributes;
use super::names::Names;
use super::open::{
    LIST_BUFFER_BYTES, MARK_FOLLOW, MARK_IMPLIED, absolute, entry_of, kind_of, list, open_dir, raise_file_limit, read_small,
};
use super::roots::{Root, Tree, display};
use crate::error::SourceError;
use crate::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, join};
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Ancestors whose descriptors are kept. A deeper tree re-opens them on the way back, going down from `/`.
const ANCESTORS_OPEN_MAX: usize = 512;

/// How to walk.
#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Stay on the file system of each root; mount points are stored as empty directories.
    pub one_file_system: bool,
    /// Record the time of last access.
    pub with_atime: bool,
    /// Which other attributes are recorded.
    pub attributes: Attributes,
    /// What is left out.
    pub excludes: Excludes,
}

/// An entry as the walk met it. Each item keeps its directory open: hold a bounded number of them.
pub struct WalkEntry {
    /// Stored path of the directory, no leading `/`.
    pub dir: Arc<[u8]>,
    /// What `statx` says. User and group names, attributes, flags and symlink target are [`super::Completer`]'s.
    pub entry: Entry,
    /// The directory. Of an implied one it may be open as a path only (`O_PATH`): good for `openat`, not for listing.
    pub dirfd: Arc<OwnedFd>,
    /// Number of hard links, directories included.
    pub nlink: u32,
    /// Blocks of 512 bytes, for [`super::data_ranges`].
    pub blocks: u64,
    /// The root was a symlink that the user meant to be followed, so opening this name has to follow it too.
    pub follow: bool,
    /// The name in `dirfd`, where the entry is stored under another.
    pub real_name: Option<Box<[u8]>>,
}

impl WalkEntry {
    /// The name by which the directory knows it.
    pub fn name(&self) -> &[u8] {
        self.real_name.as_deref().unwrap_or(&self.entry.name.0)
    }

    /// Reads the attributes that the walk left out; `opened` is the entry itself, where it is open for reading.
    pub fn complete(&mut self, completer: &mut super::Completer, opened: Option<std::os::fd::BorrowedFd<'_>>) -> Vec<SourceError> {
        let stored = self.real_name.as_ref().map(|real| std::mem::replace(&mut self.entry.name.0, real.to_vec()));
        let errors = completer.complete(&self.dir, self.dirfd.as_fd(), &mut self.entry, opened);
        if let Some(stored) = stored {
            self.entry.name.0 = stored;
        }
        errors
    }
}

/// What a walk yields.
#[allow(clippy::large_enum_variant, reason = "nearly all items are entries, and boxing them would cost an allocation per file")]
pub enum WalkItem {
    /// The next entry in order.
    Entry(WalkEntry),
    /// Something could not be read; the walk goes on.
    Error(SourceError),
}

/// A directory whose children are being yielded, or whose subdirectories are still to be walked.
struct Frame {
    dir: Arc<[u8]>,
    fd: Option<Arc<OwnedFd>>,
    inode: u64,
    depth: usize,
    node: Option<usize>,
    /// It lies in a root: everything in it is meant, not only what leads to other roots.
    full: bool,
    /// The only file system that is walked, under `-x`.
    device: Option<(u32, u32)>,
    ignores: Option<Arc<Ignores>>,
    names: Names,
    at: usize,
    subs: Names,
    sub_at: usize,
    open: VecDeque<(usize, OwnedFd)>,
}

/// Walks roots. Pull with [`Walker::next`]; there are no threads inside.
pub struct Walker {
    tree: Tree,
    options: WalkOptions,
    stack: Vec<Frame>,
    queue: VecDeque<SourceError>,
    devices: Vec<(u32, u32)>,
    buffer: Vec<u8>,
    path: Vec<u8>,
    mask: StatxFlags,
    pending_open: u64,
    pending_max: u64,
    excluded: u64,
    /// `O_NOATIME`, while the kernel grants it.
    noatime: OFlags,
}

impl Walker {
    /// Prepares to walk `roots`. Roots that are no paths at all, or that patterns leave out, are settled here.
    pub fn new(roots: &[PathBuf], options: WalkOptions) -> Walker {
        let pending_max = raise_file_limit();
        let mut walker = Walker {
            tree: Tree::new(&[]),
            options,
            stack: Vec::new(),
            queue: VecDeque::new(),
            devices: Vec::new(),
            buffer: Vec::with_capacity(LIST_BUFFER_BYTES),
            path: Vec::new(),
            mask: StatxFlags::BASIC_STATS | StatxFlags::BTIME,
            pending_open: 0,
            pending_max,
            excluded: 0,
            noatime: OFlags::NOATIME,
        };
        let cwd = std::env::current_dir();
        let mut kept = Vec::new();
        for given in roots {
            let root = match &cwd {
                Ok(cwd) => Root::new(given, cwd).ok_or_else(|| Errno::NOENT.into()),
                Err(_) if given.is_absolute() => Root::new(given, given).ok_or_else(|| Errno::NOENT.into()),
                Err(e) => Err(io::Error::from(e.kind())),
            };
            match root {
                Ok(root) if walker.options.excludes.rejects(&root.path, false) => walker.excluded += 1,
                Ok(root) => kept.push(root),
                Err(source) => walker.queue.push_back(SourceError { path: given.clone(), during: "find", source }),
            }
        }
        walker.tree = Tree::new(&kept);
        if !kept.is_empty() {
            let full = walker.tree.get(0).root.is_some();
            let flags = if full { OFlags::RDONLY } else { OFlags::PATH };
            let top = rustix::fs::openat(CWD, c"/", flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            match top.and_then(|fd| Ok((rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, walker.mask)?, fd))) {
                Ok((st, fd)) => {
                    let device = (full && walker.options.one_file_system).then_some((st.stx_dev_major, st.stx_dev_minor));
                    walker.enter(Arc::from(&b""[..]), fd, st.stx_ino, 0, Some(0), full, device, None);
                }
                Err(e) => walker.fail(PathBuf::from("/"), "open", e),
            }
        }
        walker
    }

    /// Entries that rules left out so far; what lies below a directory left out is not counted.
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    /// The file systems met so far, (major, minor), by their ordinal.
    pub fn devices(&self) -> &[(u32, u32)] {
        &self.devices
    }

    /// The next entry or error; `None` at the end.
    #[allow(clippy::should_implement_trait, reason = "an iterator's adapters would hide that each item holds a directory open")]
    pub fn next(&mut self) -> Option<WalkItem> {
        loop {
            if let Some(error) = self.queue.pop_front() {
                return Some(WalkItem::Error(error));
            }
            let frame = self.stack.last()?;
            if frame.at < frame.names.len() {
                if let Some(entry) = self.step() {
                    return Some(WalkItem::Entry(entry));
                }
            } else if frame.sub_at < frame.subs.len() {
                self.descend();
            } else {
                self.stack.pop();
            }
        }
    }

    fn fail(&mut self, path: PathBuf, during: &'static str, source: Errno) {
        self.queue.push_back(SourceError { path, during, source: source.into() });
    }

    /// Looks at the next name of the innermost directory.
    fn step(&mut self) -> Option<WalkEntry> {
        let frame = self.stack.last_mut()?;
        let Some(dirfd) = frame.fd.clone() else {
            frame.at = frame.names.len();
            return None;
        };
        let i = frame.at;
        frame.at += 1;
        let (name, _) = frame.names.get(i);
        let bytes = name.to_bytes();
        let node = self.tree.child(frame.node, bytes);
        let is_root = node.is_some_and(|n| self.tree.get(n).root.is_some());
        let leads = node.is_some_and(|n| !self.tree.get(n).children.is_empty());

        // Patterns need no attributes, so what they leave out costs no system call. Roots were judged at the start.
        let mut meant = frame.full || is_root;
        if frame.full && !is_root && self.options.excludes.has_patterns() {
            self.path.clear();
            self.path.extend_from_slice(&frame.dir);
            if !frame.dir.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(bytes);
            if self.options.excludes.rejects(&self.path, true) {
                self.excluded += 1;
                meant = false;
            }
        }
        if !meant && !leads {
            return None;
        }

        let mut st = match rustix::fs::statx(&*dirfd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, self.mask) {
            Ok(st) => st,
            Err(e) => {
                let path = join(&frame.dir, bytes);
                match node {
                    Some(node) => self.fail_roots(node, "find", e),
                    None => self.fail(display(&path), "stat", e),
                }
                return None;
            }
        };
        // A symlink on the way to a root was typed by the user and is followed, and so is a root with a slash behind it. Nothing else is.
        let mut follow = false;
        if kind_of(&st) == EntryKind::Symlink
            && let Some(n) = node
            && (leads || self.tree.get(n).follow)
        {
            follow = true;
            meant &= self.tree.get(n).follow && is_root;
            match rustix::fs::statx(&*dirfd, name, AtFlags::empty(), self.mask) {
                Ok(target) => st = target,
                Err(e) => {
                    self.fail_roots(n, "find", e);
                    return None;
                }
            }
        }
        let kind = kind_of(&st);
        if leads && kind != EntryKind::Directory {
            let node = self.tree.get(node?);
            let lost: Vec<usize> = node.children.values().copied().collect();
            lost.into_iter().for_each(|n| self.fail_roots(n, "find", Errno::NOTDIR));
            if !meant {
                return None;
            }
        }
        let frame = self.stack.last_mut()?;
        let (name, _) = frame.names.get(i);
        let bytes = name.to_bytes();
        let device = (st.stx_dev_major, st.stx_dev_minor);
        let foreign = !is_root && frame.device.is_some_and(|only| only != device);
        let out = !is_root && frame.ignores.as_ref().is_some_and(|rules| rules.rejects(absolute(&mut self.path, &frame.dir, bytes), kind == EntryKind::Directory))
            || kind == EntryKind::File && self.options.excludes.too_large(st.stx_size)
            // As with restic: of another file system only the mount point is kept, which a file mounted over a file is not.
            || foreign && kind != EntryKind::Directory;
        if meant && out {
            self.excluded += 1;
            meant = false;
            if !leads {
                return None;
            }
        }

        let mut entry = entry_of(bytes, kind, &st, self.options.with_atime);
        entry.device = self.devices.iter().position(|d| *d == device).unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        }) as u64;
        entry.implied = !meant;
        if kind == EntryKind::Directory {
            let enter = if meant && !foreign { Some(!follow || is_root) } else { leads.then_some(false) };
            if let Some(full) = enter {
                // Opened now and not when its turn comes, so that its entry can say whether it is readable.
                let mark = if full { 0 } else { MARK_IMPLIED } | if follow { MARK_FOLLOW } else { 0 };
                let too_deep = frame.depth + 1 >= PATH_DEPTH_MAX || frame.dir.len() + bytes.len() + 2 + NAME_BYTES_MAX > PATH_BYTES_MAX;
                let opened = if too_deep { Err(Errno::NAMETOOLONG) } else { open_dir(&dirfd, name, mark, &mut self.noatime) };
                let path = opened.is_err().then(|| display(&join(&frame.dir, bytes)));
                match opened {
                    Ok(fd) => {
                        if self.pending_open < self.pending_max {
                            self.pending_open += 1;
                            frame.open.push_back((frame.subs.len(), fd));
                        }
                        frame.subs.push(bytes, mark);
                    }
                    Err(e) => {
                        if full {
                            entry.status = STATUS_UNREADABLE;
                            self.queue.push_back(SourceError { path: path.unwrap_or_default(), during: "open", source: e.into() });
                        }
                        // What may not be listed may still be passed through, to a root below it.
                        match node.filter(|_| leads && !too_deep) {
                            Some(_) if full => {
                                frame.subs.push(bytes, mark | MARK_IMPLIED);
                            }
                            Some(n) => self.fail_roots(n, "open", e),
                            None => {}
                        }
                    }
                }
            }
        }
        let dir = self.stack.last()?.dir.clone();
        Some(WalkEntry { dir, entry, dirfd, nlink: st.stx_nlink, blocks: st.stx_blocks, follow, real_name: None })
    }

    /// One error for each root at and below `node`: the user knows these paths.
    fn fail_roots(&mut self, node: usize, during: &'static str, e: Errno) {
        for root in self.tree.roots_below(node) {
            self.queue.push_back(SourceError { path: display(root), during, source: e.into() });
        }
    }

    /// Goes into the next subdirectory of the innermost directory.
    fn descend(&mut self) {
        let Some(frame) = self.stack.last_mut() else { return };
        let i = frame.sub_at;
        frame.sub_at += 1;
        // The names are done with; in a wide directory they are most of the memory.
        frame.names = Names::default();
        frame.at = 0;
        let (name, mark) = frame.subs.get(i);
        let bytes = name.to_bytes().to_vec();
        let name = name.to_owned();
        let ready = match frame.open.front() {
            Some((at, _)) if *at == i => frame.open.pop_front(),
            _ => None,
        };
        let node = self.tree.child(frame.node, &bytes);
        let is_root = node.is_some_and(|n| self.tree.get(n).root.is_some());
        let full = mark & MARK_IMPLIED == 0;
        let dir: Arc<[u8]> = join(&frame.dir, &bytes).into();
        let (depth, outer_device, ignores) = (frame.depth + 1, frame.device, frame.ignores.clone());
        let last = frame.sub_at >= frame.subs.len();
        let fd = match ready {
            Some((_, fd)) => {
                self.pending_open -= 1;
                Ok(fd)
            }
            None => self.reopen_top().and_then(|parent| open_dir(&parent, &name, mark, &mut self.noatime)),
        };
        // Nothing more to open from here: on a straight way down, neither descriptors nor frames pile up.
        if last {
            self.stack.pop();
        }
        let opened = fd.and_then(|fd| Ok((rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)?, fd)));
        match opened {
            Ok((st, fd)) => {
                let device = match (is_root, self.options.one_file_system && full) {
                    (true, true) => Some((st.stx_dev_major, st.stx_dev_minor)),
                    _ => outer_device,
                };
                let ignores = if full { ignores } else { None };
                self.enter(dir, fd, st.stx_ino, depth, node, full, device, ignores);
            }
            Err(e) => {
                self.fail(display(&dir), "open", e);
                if let (Some(node), false) = (node, full) {
                    let below: Vec<usize> = self.tree.get(node).children.values().copied().collect();
                    below.into_iter().for_each(|n| self.fail_roots(n, "find", e));
                }
            }
        }
    }

    /// Lists a directory and makes it the innermost one.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of the frame that it makes")]
    fn enter(
        &mut self,
        dir: Arc<[u8]>,
        fd: OwnedFd,
        inode: u64,
        depth: usize,
        node: Option<usize>,
        full: bool,
        device: Option<(u32, u32)>,
        mut ignores: Option<Arc<Ignores>>,
    ) {
        let mut names = Names::default();
        if full {
            list(&dir, fd.as_fd(), &mut names, &mut self.buffer, &mut self.queue);
            names.sort();
            names = self.tagged(names, &dir, fd.as_fd());
            if self.options.excludes.wants_ignore_files() && names.contains(IGNORE_FILE) {
                match read_small(fd.as_fd(), IGNORE_FILE) {
                    Ok(text) => {
                        let (rules, wrong) = Ignores::new(&dir, &text, ignores.take());
                        ignores = Some(rules);
                        for what in wrong {
                            let path = display(&join(&dir, IGNORE_FILE));
                            self.queue.push_back(SourceError { path, during: "understand", source: io::Error::other(what) });
                        }
                    }
                    Err(e) => self.fail(display(&join(&dir, IGNORE_FILE)), "read", e),
                }
            }
        }
        if let Some(node) = node {
            // Roots below that the listing lacks are looked up all the same, so that each is found or reported.
            let more: Vec<&Vec<u8>> = self.tree.get(node).children.keys().filter(|name| !full || !names.contains(name)).collect();
            for name in &more {
                names.push(name, 0);
            }
            if !more.is_empty() {
                names.sort();
            }
        }
        if names.len() == 0 {
            return;
        }
        names.shrink();
        if let Some(far) = self.stack.len().checked_sub(ANCESTORS_OPEN_MAX) {
            let far = &mut self.stack[far];
            far.fd = None;
            self.pending_open -= far.open.len() as u64;
            far.open.clear();
        }
        let fd = Some(Arc::new(fd));
        let (subs, open) = (Names::default(), VecDeque::new());
        self.stack.push(Frame { dir, fd, inode, depth, node, full, device, ignores, names, at: 0, subs, sub_at: 0, open });
    }

    /// Where a tag file says that a directory is not to be stored, only the tag is left of it.
    fn tagged(&mut self, names: Names, dir: &[u8], fd: BorrowedFd<'_>) -> Names {
        let mut left: Option<Names> = None;
        for (tag, header) in self.options.excludes.tags() {
            let valid = names.contains(tag)
                && (header.is_empty()
                    || match read_small(fd, tag) {
                        Ok(text) => text.starts_with(header),
                        Err(source) => {
                            self.queue.push_back(SourceError { path: display(&join(dir, tag)), during: "read", source: source.into() });
                            false
                        }
                    });
            if valid {
                left.get_or_insert_default().push(tag, 0);
            }
        }
        match left {
            Some(mut left) => {
                left.sort();
                self.excluded += (names.len() - left.len()) as u64;
                left
            }
            None => names,
        }
    }

    /// The descriptor of the innermost directory, opened again from `/` downwards where it was given up.
    /// `..` would be shorter, but leads elsewhere once somebody has moved the directory below.
    fn reopen_top(&mut self) -> Result<Arc<OwnedFd>, Errno> {
        let top = self.stack.last().ok_or(Errno::NOENT)?;
        if let Some(fd) = &top.fd {
            return Ok(fd.clone());
        }
        let (dir, inode) = (top.dir.clone(), top.inode);
        let keep = self.stack.len().saturating_sub(ANCESTORS_OPEN_MAX / 2);
        let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut fd = Arc::new(rustix::fs::openat(CWD, c"/", path, Mode::empty())?);
        let mut frame = self.stack.partition_point(|f| f.dir.is_empty());
        let mut node = Some(0);
        let mut end = 0;
        for name in dir.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            end += name.len() + usize::from(end > 0);
            node = self.tree.child(node, name);
            // The way to a root may lead over symlinks that the user typed; nothing else may.
            let typed = node.is_some_and(|n| !self.tree.get(n).children.is_empty() || self.tree.get(n).follow);
            let nofollow = if typed { OFlags::empty() } else { OFlags::NOFOLLOW };
            fd = Arc::new(rustix::fs::openat(&*fd, name, path | nofollow, Mode::empty())?);
            if let Some(passed) = self.stack.get_mut(frame).filter(|f| f.dir.len() == end) {
                if frame >= keep && passed.fd.is_none() {
                    passed.fd = Some(fd.clone());
                }
                frame += 1;
            }
        }
        let st = rustix::fs::statx(&*fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        if st.stx_ino != inode {
            return Err(Errno::STALE);
        }
        Ok(fd)
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
