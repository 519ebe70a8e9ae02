//! The live source: files at the paths of hurt snapshots are read and cut as a backup would, and of what comes of that only what is missed is
//! stored. Whether a file is still what it was does not matter: a chunk is what its id says.
//! Nothing here follows a symlink, waits for a pipe, or writes to a file.

use crate::catalog::Snapshot;
use crate::chunk::Profile;
use crate::error::Result;
use crate::format::entry::{Entry, EntryKind, join};
use crate::format::lists::{Content, Item};
use crate::id::Class;
use crate::pack::reader::ReadBuffers;
use crate::repair::Healer;
use crate::repair::ground::Ground;
use crate::repair::mend::Mender;
use crate::repository::Repository;
use crate::repository::tree::{ContentCursor, TreeCursor};
use crate::source::data_ranges;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;

/// How much of a file is read at a time, beyond the longest chunk.
const STEP_BYTES: usize = 1 << 20;

/// Reads files of hurt snapshots.
pub struct Source<'a> {
    pub repository: &'a Repository,
    pub ground: &'a Ground,
    /// Files that were read: days share most of theirs.
    tried: HashSet<(Vec<u8>, u8)>,
}

impl<'a> Source<'a> {
    pub fn new(repository: &'a Repository, ground: &'a Ground) -> Self {
        Source { repository, ground, tried: HashSet::new() }
    }

    /// Gives the mender what it wants and files of this snapshot's paths still hold.
    pub fn take(&mut self, mender: &mut Mender<'_, '_>, snapshot: &Snapshot) -> Result<()> {
        let reader = self.repository.origin_reader_over(self.ground.index.clone());
        let mut buffers = ReadBuffers::default();
        for tree in snapshot.index.roots.iter().filter_map(|root| root.as_tree()) {
            let mut cursor = TreeCursor::new(&reader, &tree);
            loop {
                mender.go_on()?;
                let groups = match cursor.next_leaf() {
                    Ok(Some(groups)) => groups,
                    Ok(None) => break,
                    // What is below it has no name any more; the cursor stands behind it.
                    Err(error) if error.is_damage() => continue,
                    Err(error) => return Err(error),
                };
                for group in &groups {
                    for (entry, content) in &group.entries {
                        let Some(content) = content.as_ref().filter(|_| entry.kind == EntryKind::File) else { continue };
                        if self.misses(mender, content, &reader, &mut buffers)? {
                            self.file(mender, &group.dir, entry)?;
                        }
                    }
                }
                if mender.is_done() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether some of this content is missed.
    fn misses(
        &self,
        mender: &Mender<'_, '_>,
        content: &Content,
        reader: &crate::pack::reader::ChunkReader,
        buffers: &mut ReadBuffers,
    ) -> Result<bool> {
        let wanted = |items: &[Item]| items.iter().any(|item| matches!(item, Item::Chunk(id) if mender.wants(Class::Data, id)));
        let mut cursor = ContentCursor::new(content);
        loop {
            match cursor.next_items(reader, buffers) {
                Ok(Some(found)) if wanted(&found.items) => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(false),
                // Nobody knows what that part held: the file may.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn file(&mut self, mender: &mut Mender<'_, '_>, dir: &[u8], entry: &Entry) -> Result<()> {
        let path = [b"/", &join(dir, &entry.name.0)[..]].concat();
        if !self.tried.insert((path.clone(), entry.profile)) {
            return Ok(());
        }
        match self.cut(mender, &path, Profile::from_code(entry.profile).unwrap_or(Profile::Normal)) {
            Ok(read) => read,
            // It is gone, or may not be read: then it heals nothing.
            Err(_) => Ok(()),
        }
    }

    /// Reads a file as a backup does. The outer error is the file's, the inner one the repository's.
    fn cut(&self, mender: &mut Mender<'_, '_>, path: &[u8], profile: Profile) -> Result<Result<()>, Errno> {
        let file = open(path)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let (size, blocks) = (stat.st_size.cast_unsigned(), stat.st_blocks.cast_unsigned());
        let chunker = self.repository.chunker();
        let (max, ids) = (chunker.max(profile), self.repository.ids());
        let mut data = Vec::new();
        // A hole is none of its chunks, and what lies behind one begins anew.
        for range in data_ranges(file.as_fd(), size, blocks) {
            let (start, bytes) = range.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let (mut at, end) = (start, start.saturating_add(bytes));
            data.clear();
            let mut ended = false;
            while !(ended && data.is_empty()) {
                if let Err(error) = mender.go_on() {
                    return Ok(Err(error));
                }
                while !ended && data.len() < STEP_BYTES + max {
                    let before = data.len();
                    data.resize(before + STEP_BYTES, 0);
                    let room = usize::try_from(end - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
                    let read = match data.get_mut(before..before + room).map(|into| rustix::io::pread(&file, into, at)) {
                        Some(Err(Errno::INTR)) => {
                            data.truncate(before);
                            continue;
                        }
                        Some(read) => read?,
                        None => 0,
                    };
                    data.truncate(before + read);
                    at += read as u64;
                    ended = read == 0 || at >= end;
                }
                let mut from = 0;
                // A chunk's end is known once there is enough behind its beginning, or nothing more.
                while from < data.len() && (ended || data.len() - from >= max) {
                    let Some(rest) = data.get(from..) else { break };
                    let Some(chunk) = rest.get(..chunker.cut(profile, rest)) else { break };
                    let id = ids.id(Class::Data, chunk);
                    if mender.wants(Class::Data, &id)
                        && let Err(error) = mender.give(Class::Data, &id, chunk, Healer::Source)
                    {
                        return Ok(Err(error));
                    }
                    from += chunk.len();
                }
                data.drain(..from);
                if mender.is_done() {
                    return Ok(Ok(()));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Opens a file through no symlink at its end, without a trace where the kernel allows, and never waiting.
fn open(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    }
}
