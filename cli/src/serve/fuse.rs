//! A view as a file system of the kernel's, through /dev/fuse. Read-only: the kernel itself refuses what would write.
//! It must never let one that waits for a store keep others waiting, so every call may come on a thread of its own.

use crate::serve::directory::{Directory, End};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr,
    Request,
};
use seabed_engine::format::entry::{EntryKind, Xattr};
use seabed_engine::format::wire::Time;
use seabed_engine::view::inodes::{Inodes, TOP};
use seabed_engine::view::node::{Attributes, Node};
use seabed_engine::view::{File, View};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long the kernel may rely on what is in a snapshot. It never changes; the kernel lets go of it when it needs the memory.
const LASTING: Duration = Duration::from_secs(7 * 86_400);
/// For how long it may rely on what is above the snapshots.
const PASSING: Duration = Duration::from_secs(1);
/// Requests for reading ahead that the kernel may have under way.
const BACKGROUND: u16 = 64;
/// Blocks that sizes are told in.
const BLOCK_BYTES: u32 = 4096;
/// Longest list of names of extended attributes that Linux takes (XATTR_LIST_MAX).
const XATTR_LIST_BYTES_MAX: usize = 64 << 10;
/// Longest name of an extended attribute (XATTR_NAME_MAX).
const XATTR_NAME_BYTES_MAX: usize = 255;
/// Longest path of the kernel's, with the NUL at its end (PATH_MAX).
const PATH_BYTES: usize = 4096;
/// `whence` of `lseek`.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Whose the files are said to be.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// Who mounts: the owner of what no snapshot says anything of.
    pub mounter: (u32, u32),
    /// Everything belongs to root.
    pub all_root: bool,
    /// The kernel checks permissions, ACLs included.
    pub checked: bool,
}

/// See the module's text.
pub struct Mounted {
    view: Arc<View>,
    inodes: Inodes,
    ownership: Ownership,
    files: Handles<File>,
    directories: Handles<Directory>,
}

/// What is open, by number.
struct Handles<T> {
    open: Mutex<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Handles<T> {
    fn new() -> Self {
        Handles { open: Mutex::default(), next: AtomicU64::new(1) }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<T>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, what: T) -> FileHandle {
        let number = self.next.fetch_add(1, Relaxed);
        self.map().insert(number, Arc::new(what));
        FileHandle(number)
    }

    fn get(&self, handle: FileHandle) -> Result<Arc<T>, Errno> {
        self.map().get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn remove(&self, handle: FileHandle) {
        self.map().remove(&handle.0);
    }
}

/// What cannot be read is an I/O error; the view has said what it is.
fn failed(_: seabed_engine::error::Error) -> Errno {
    Errno::EIO
}

fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::Directory => FileType::Directory,
        EntryKind::File => FileType::RegularFile,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::NamedPipe,
        EntryKind::Socket => FileType::Socket,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
    }
}

/// A time as the system has it; one that it cannot have is the beginning of 1970.
fn system_time(time: &Time) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let at = if time.secs >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    at.and_then(|at| at.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// A device number as the kernel writes it for programs: 12 bits of the major number, 20 of the minor one.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

/// The names of extended attributes that can be told, as the kernel wants them: each with a NUL behind it.
fn xattr_names(xattrs: &[Xattr]) -> Vec<u8> {
    let mut list = Vec::new();
    for Xattr { name, .. } in xattrs {
        let fits = (1..=XATTR_NAME_BYTES_MAX).contains(&name.0.len()) && !name.0.contains(&0);
        if fits && list.len() + name.0.len() < XATTR_LIST_BYTES_MAX {
            list.extend_from_slice(&name.0);
            list.push(0);
        }
    }
    list
}

/// Answers with bytes whose length may be asked for first.
fn answer(reply: ReplyXattr, bytes: &[u8], room: u32) {
    match (u32::try_from(bytes.len()), room) {
        (Ok(size), 0) => reply.size(size),
        (Ok(size), room) if size <= room => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Mounted {
    /// The view, for one mount.
    pub fn new(view: Arc<View>, ownership: Ownership) -> Self {
        Mounted { inodes: Inodes::new(view.top()), view, ownership, files: Handles::new(), directories: Handles::new() }
    }

    fn node(&self, inode: INodeNo) -> Result<Node, Errno> {
        self.inodes.get(inode.0).ok_or(Errno::ESTALE)
    }

    fn attr(&self, inode: u64, attributes: &Attributes) -> FileAttr {
        let (uid, gid) = if self.ownership.all_root { (0, 0) } else { attributes.owner.unwrap_or(self.ownership.mounter) };
        FileAttr {
            ino: INodeNo(inode),
            size: attributes.size,
            blocks: attributes.blocks,
            atime: system_time(&attributes.atime),
            mtime: system_time(&attributes.mtime),
            ctime: system_time(&attributes.ctime),
            crtime: system_time(&attributes.btime.unwrap_or_default()),
            kind: file_type(attributes.kind),
            perm: (attributes.mode & 0o7777) as u16,
            nlink: u32::try_from(attributes.links).unwrap_or(u32::MAX),
            uid,
            gid,
            rdev: device(attributes.device),
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }

    /// For how long the name of something in `dir`, and its attributes, hold.
    fn lasts(dir: &Node, node: &Node) -> (Duration, Duration) {
        let lasting = |node: &Node| if node.is_lasting() { LASTING } else { PASSING };
        (lasting(dir), lasting(node))
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<(u64, Node, Node, Attributes), Errno> {
        let dir = self.node(parent)?;
        let (node, attributes) = self.view.child(&dir, name.as_bytes()).map_err(failed)?.ok_or(Errno::ENOENT)?;
        Ok((self.inodes.remember(&node), dir, node, attributes))
    }

    fn attributes(&self, inode: INodeNo) -> Result<(Node, Attributes), Errno> {
        let node = self.node(inode)?;
        let attributes = self.view.attributes(&node).map_err(failed)?.ok_or(Errno::ENOENT)?;
        Ok((node, attributes))
    }

    fn read_at(&self, handle: FileHandle, offset: u64, bytes: u32) -> Result<Vec<u8>, Errno> {
        let file = self.files.get(handle)?;
        self.view.read(&file, offset, bytes as usize).map_err(failed)
    }

    /// The directory that is being listed, from the beginning where that is asked for.
    fn listing(&self, handle: FileHandle, offset: u64) -> Result<Arc<Directory>, Errno> {
        let directory = self.directories.get(handle)?;
        if offset == 0 {
            directory.rewind();
        }
        Ok(directory)
    }

    /// What stands in every directory beside its names: itself and the one above.
    fn dots(&self, directory: &Directory) -> [(u64, &'static str); 2] {
        let own = self.inodes.number(&directory.node);
        let above = if own == TOP { TOP } else { self.inodes.number(&directory.node.parent()) };
        [(own, "."), (above, "..")]
    }
}

impl Filesystem for Mounted {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Attributes with every listing, for they lie beside the names: `find` asks for those of a large directory in the order of inodes,
        // which is none, and then each would be looked up in another leaf (100,000 files: 21 s).
        let wanted = [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
        ];
        // A group that an ACL gives less than its mask must not get what the mode alone would say. It means that the kernel checks.
        let checked = self.ownership.checked.then_some(InitFlags::FUSE_POSIX_ACL);
        for flag in wanted.into_iter().chain(checked) {
            // An older kernel does without.
            config.add_capabilities(flag).unwrap_or(());
        }
        config.set_max_background(BACKGROUND).map(|_| ()).unwrap_or(());
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok((inode, dir, node, attributes)) => {
                let (name_lasts, attributes_last) = Self::lasts(&dir, &node);
                reply.entry_with_ttls(&attributes_last, &name_lasts, &self.attr(inode, &attributes), Generation(0));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, inode: INodeNo, count: u64) {
        self.inodes.forget(inode.0, count);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Ok((node, attributes)) => reply.attr(&Self::lasts(&node, &node).1, &self.attr(inode.0, &attributes)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let target = self.node(inode).and_then(|node| self.view.target(&node).map_err(failed)?.ok_or(Errno::EINVAL));
        match target {
            // Longer than any path: the kernel would not take it.
            Ok(target) if target.len() >= PATH_BYTES => reply.error(Errno::ENAMETOOLONG),
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let file = self.node(inode).and_then(|node| self.view.open(&node).map_err(failed)?.ok_or(Errno::EISDIR));
        match file {
            Ok(file) => reply.opened(self.files.add(file), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_at(handle, offset, bytes) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let seek = || -> Result<i64, Errno> {
            let file = self.files.get(handle)?;
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let hole = match whence {
                SEEK_DATA => false,
                SEEK_HOLE => true,
                _ => return Err(Errno::EINVAL),
            };
            let found = self.view.seek(&file, offset, hole).map_err(failed)?.ok_or(Errno::ENXIO)?;
            i64::try_from(found).map_err(|_| Errno::EOVERFLOW)
        };
        match seek() {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        self.files.remove(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.node(inode).and_then(|node| if node.is_dir() { Ok(node) } else { Err(Errno::ENOTDIR) }) {
            // Without FOPEN_CACHE_DIR, though what is in a snapshot never changes: positions count the names that can be read. Where some
            // cannot, those behind them move up, and the kernel would put the end of the next listing, a whole one, behind what it has kept
            // of this one, and hold that for the directory.
            Ok(node) => reply.opened(self.directories.add(Directory::new(node)), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let directory = match self.listing(handle, offset) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno),
        };
        // Positions 0 and 1 are the dots; each name says where the next one is.
        let mut count = 0;
        for (at, (inode, name)) in (0..).zip(self.dots(&directory)).skip_while(|(at, _)| *at < offset) {
            if reply.add(INodeNo(inode), at + 1, FileType::Directory, name) {
                return reply.ok();
            }
            count += 1;
        }
        let end = directory.list(&self.view, offset.saturating_sub(2), |at, listed| {
            let inode = INodeNo(self.inodes.number(&listed.node));
            let is_full = reply.add(inode, at + 3, file_type(listed.attributes.kind), OsStr::from_bytes(&listed.name));
            count += usize::from(!is_full);
            !is_full
        });
        // What could be read comes first, then, once, that something could not.
        if count == 0 && end == End::Torn { reply.error(Errno::EIO) } else { reply.ok() }
    }

    fn readdirplus(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let directory = match self.listing(handle, offset) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno),
        };
        let mut count = 0;
        for (at, (inode, name)) in (0..).zip(self.dots(&directory)).skip_while(|(at, _)| *at < offset) {
            let attr = self.attr(inode, &Attributes::folder(Time::default()));
            // The kernel looks at nothing but the numbers of these.
            if reply.add(INodeNo(inode), at + 1, name, &Duration::ZERO, &attr, Generation(0)) {
                return reply.ok();
            }
            count += 1;
        }
        let end = directory.list(&self.view, offset.saturating_sub(2), |at, listed| {
            let inode = self.inodes.remember(&listed.node);
            let (name_lasts, attributes_last) = Self::lasts(&directory.node, &listed.node);
            let (lasts, attr) = (name_lasts.min(attributes_last), self.attr(inode, &listed.attributes));
            let is_full = reply.add(INodeNo(inode), at + 3, OsStr::from_bytes(&listed.name), &lasts, &attr, Generation(0));
            if is_full {
                // It was not handed out.
                self.inodes.forget(inode, 1);
            }
            count += usize::from(!is_full);
            !is_full
        });
        if count == 0 && end == End::Torn { reply.error(Errno::EIO) } else { reply.ok() }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.remove(handle);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (bytes, entries) = self.view.totals();
        reply.statfs(bytes.div_ceil(u64::from(BLOCK_BYTES)), 0, 0, entries, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        match self.node(inode).and_then(|node| self.view.xattrs(&node).map_err(failed)) {
            Ok(xattrs) => match xattrs.iter().find(|xattr| xattr.name.0 == name.as_bytes()) {
                Some(xattr) => answer(reply, &xattr.value.0, room),
                None => reply.error(Errno::NO_XATTR),
            },
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, room: u32, reply: ReplyXattr) {
        match self.node(inode).and_then(|node| self.view.xattrs(&node).map_err(failed)) {
            Ok(xattrs) => answer(reply, &xattr_names(&xattrs), room),
            Err(errno) => reply.error(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::wire::Bytes;

    #[test]
    fn times_that_no_clock_can_show_are_times_all_the_same() {
        for secs in [i64::MIN, i64::MAX, -1, 0, 1] {
            system_time(&Time { secs, nanos: 999_999_999 });
        }
        let before = system_time(&Time { secs: -2, nanos: 800_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(before).unwrap(), Duration::new(1, 200_000_000));
    }

    #[test]
    fn device_numbers_are_the_kernels() {
        assert_eq!(device((1, 3)), 0x103);
        // As the kernel reads it (new_decode_dev).
        let read = |dev: u32| ((dev & 0xf_ff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xf_ff00));
        for numbers in [(259, 300_000), (0xfff, 0xf_ffff), (8, 255), (8, 256)] {
            assert_eq!(read(device(numbers)), numbers);
        }
    }

    #[test]
    fn names_of_attributes_that_no_program_could_read_are_left_out() {
        let xattr = |name: &[u8]| Xattr { name: Bytes(name.to_vec()), value: Bytes::default(), extra: Vec::new() };
        let all = [xattr(b"user.a"), xattr(b""), xattr(b"user.\0b"), xattr(&[b'x'; 300]), xattr(b"user.c")];
        assert_eq!(xattr_names(&all), b"user.a\0user.c\0");
        let many: Vec<Xattr> = (0..300).map(|n| xattr(&[n as u8 % 250 + 1; 255])).collect();
        assert!(xattr_names(&many).len() <= XATTR_LIST_BYTES_MAX);
    }
}
