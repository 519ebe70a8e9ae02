//! The entries of an archive while it is read: they come in any order, and a tree wants them in one. Kept in a database of SQLite's own
//! temporary kind: a few pages in memory, the rest in a file without a name that goes away with the run.
//! Here an archive becomes what `tar x` would make of it: of entries with one name the last one stays, hard links are names of one file,
//! and what would lie below something that is no directory is refused. A name whose last entry excludes leave out has none.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind, split};
use crate::format::lists::Content;
use crate::format::wire::{Bytes, from_bytes, to_bytes};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// Pages that are kept in memory: 16 MiB.
const CACHE_KIB: i64 = 16 << 10;

/// `times`: how often something with several names was replaced here. A row without an entry was left out again, and counts as none.
const SCHEMA: &str = "
PRAGMA temp_store = FILE;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE members(
    dir BLOB, name BLOB, directory INTEGER, linked INTEGER, entry BLOB, content BLOB, times INTEGER, PRIMARY KEY(dir, name)
) WITHOUT ROWID;
BEGIN;";

/// See the module's text.
pub struct Members {
    db: Connection,
    /// File system number of the archive's hard-linked files: none that a walk gives.
    device: u64,
    /// Some file has several names.
    links: bool,
    /// The directory that was made sure of last.
    dir: Option<Vec<u8>>,
}

fn failed(source: rusqlite::Error) -> Error {
    Error::Aside { source }
}

/// What an entry cannot be, in words.
pub type Refusal = &'static str;

/// A directory as a key: byte strings are then ordered as directories are, component by component.
pub(super) fn key(dir: &[u8]) -> Vec<u8> {
    dir.iter().map(|b| if *b == b'/' { 0 } else { *b }).collect()
}

pub(super) fn dir_of(mut key: Vec<u8>) -> Vec<u8> {
    key.iter_mut().filter(|b| **b == 0).for_each(|b| *b = b'/');
    key
}

/// What a database gives back was put there by this run: where it does not decode, memory or disk changed it.
fn whole<T>(decoded: crate::format::wire::Decoded<T>) -> Result<T> {
    decoded.map_err(|_| Error::SelfCheck { what: "an entry of a tar archive that was kept aside" })
}

impl Members {
    /// None yet, of the archive with this number, which lies in the directory `name`.
    pub fn new(number: usize, name: &[u8]) -> Result<Self> {
        let db = Connection::open("").map_err(failed)?;
        db.execute_batch(SCHEMA).map_err(failed)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        let mut members = Members { db, device: u64::MAX - number as u64, links: false, dir: None };
        // There even where nothing is in it. What the archive calls `.` says more of it.
        members.make_sure_of(name)?.map_err(|_| Error::SelfCheck { what: "the name of a tar archive" })?;
        Ok(members)
    }

    /// Takes in an entry of directory `dir`.
    pub fn take(&mut self, dir: &[u8], entry: &Entry, content: Option<&Content>) -> Result<Result<(), Refusal>> {
        if let Err(refusal) = self.make_sure_of(dir)? {
            return Ok(Err(refusal));
        }
        self.put(dir, entry, content, None)
    }

    /// Excludes leave out an entry: what there is under its name is not what the archive has there any more. A directory with something in
    /// it stays, as it would if the entry came.
    pub fn leave_out(&mut self, dir: &[u8], name: &[u8]) -> Result<()> {
        let dir = key(dir);
        if self.is_inhabited(&dir, name)? {
            return Ok(());
        }
        let left_out = "UPDATE members SET times = times + (linked NOTNULL), directory = 0, linked = NULL, entry = NULL, content = NULL \
                        WHERE dir = ?1 AND name = ?2";
        let rows = self.db.prepare_cached(left_out).and_then(|mut update| update.execute(params![dir, name])).map_err(failed)?;
        if rows > 0 {
            // It may have been an empty directory.
            self.dir = None;
        }
        Ok(())
    }

    /// Takes in another name of what is under `target` by now.
    pub fn link(&mut self, dir: &[u8], name: &[u8], target: &[u8]) -> Result<Result<(), Refusal>> {
        if let Err(refusal) = self.make_sure_of(dir)? {
            return Ok(Err(refusal));
        }
        let (target_dir, target_name) = split(target);
        let target_key = key(target_dir);
        let found = self
            .db
            .prepare_cached("SELECT directory, linked, times, content, entry FROM members WHERE dir = ?1 AND name = ?2 AND entry NOTNULL")
            .and_then(|mut find| {
                find.query_row(params![target_key, target_name], |row| {
                    Ok((
                        row.get::<_, bool>(0)?,
                        row.get::<_, Option<i64>>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, Option<Vec<u8>>>(3)?,
                        row.get::<_, Vec<u8>>(4)?,
                    ))
                })
                .optional()
            })
            .map_err(failed)?;
        let Some((directory, linked, times, content, entry)) = found else {
            return Ok(Err("it is a link to something that the archive does not have before it, or that excludes leave out"));
        };
        if directory {
            return Ok(Err("it is a link to a directory"));
        }
        if (target_dir, target_name) == (dir, name) {
            return Ok(Ok(()));
        }
        let group = match linked {
            Some(group) => group,
            None => {
                let group = group_of(target, times);
                self.db
                    .prepare_cached("UPDATE members SET linked = ?3 WHERE dir = ?1 AND name = ?2")
                    .and_then(|mut update| update.execute(params![target_key, target_name, group]))
                    .map_err(failed)?;
                group
            }
        };
        self.links = true;
        let mut entry: Entry = whole(from_bytes(&entry, "entry"))?;
        entry.name = Bytes(name.to_vec());
        let content = content.map(|content| whole(from_bytes::<Content>(&content, "content"))).transpose()?;
        self.put(dir, &entry, content.as_ref(), Some(group))
    }

    fn put(&mut self, dir: &[u8], entry: &Entry, content: Option<&Content>, linked: Option<i64>) -> Result<Result<(), Refusal>> {
        let (dir, name) = (key(dir), &entry.name.0);
        let is_dir = entry.kind == EntryKind::Directory;
        let values = params![dir, name, is_dir, linked, to_bytes(entry), content.map(to_bytes)];
        let insert = "INSERT INTO members VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT DO NOTHING";
        if self.db.prepare_cached(insert).and_then(|mut insert| insert.execute(values)).map_err(failed)? == 1 {
            return Ok(Ok(()));
        }
        if !is_dir {
            if self.is_inhabited(&dir, name)? {
                return Ok(Err("it would take the place of a directory that is not empty"));
            }
            // Where it was an empty directory, that is one no more.
            self.dir = None;
        }
        let replace = "UPDATE members SET times = times + (linked NOTNULL), directory = ?3, linked = ?4, entry = ?5, content = ?6 \
                       WHERE dir = ?1 AND name = ?2";
        self.db.prepare_cached(replace).and_then(|mut replace| replace.execute(values)).map_err(failed)?;
        Ok(Ok(()))
    }

    /// Whether something lies below what has this name in the directory with this key.
    fn is_inhabited(&self, dir: &[u8], name: &[u8]) -> Result<bool> {
        let mut below = if dir.is_empty() { Vec::new() } else { [dir, b"\0"].concat() };
        below.extend_from_slice(name);
        self.db
            .prepare_cached("SELECT 1 FROM members WHERE dir = ?1 AND entry NOTNULL LIMIT 1")
            .and_then(|mut find| find.exists(params![below]))
            .map_err(failed)
    }

    /// Makes sure that there is a directory, and all above it.
    fn make_sure_of(&mut self, dir: &[u8]) -> Result<Result<(), Refusal>> {
        if dir.is_empty() || self.dir.as_deref() == Some(dir) {
            return Ok(Ok(()));
        }
        // From below: where there is a directory, all above it are.
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.is_empty() {
            let (above, name) = split(at);
            let found: Option<bool> = self
                .db
                .prepare_cached("SELECT directory FROM members WHERE dir = ?1 AND name = ?2 AND entry NOTNULL")
                .and_then(|mut find| find.query_row(params![key(above), name], |row| row.get(0)).optional())
                .map_err(failed)?;
            match found {
                Some(true) => break,
                Some(false) => return Ok(Err("it lies below something that is no directory in the archive")),
                None => missing.push((above, name)),
            }
            at = above;
        }
        for (above, name) in missing.into_iter().rev() {
            let mut entry = Entry::new(name, EntryKind::Directory);
            entry.mode = 0o755;
            entry.implied = true;
            if let Err(refusal) = self.put(above, &entry, None, None)? {
                return Ok(Err(refusal));
            }
        }
        self.dir = Some(dir.to_vec());
        Ok(Ok(()))
    }

    /// Calls `each` for all that there is by now, in the order of a tree.
    pub fn each(&self, mut each: impl FnMut(&[u8], Entry, Option<Content>) -> Result<()>) -> Result<()> {
        let names = if self.links { self.names()? } else { HashMap::new() };
        let all = "SELECT dir, name, linked, entry, content FROM members WHERE entry NOTNULL ORDER BY dir, name";
        let mut all = self.db.prepare(all).map_err(failed)?;
        let mut rows = all.query([]).map_err(failed)?;
        let mut last: (Vec<u8>, Vec<u8>) = Default::default();
        while let Some(row) = rows.next().map_err(failed)? {
            let dir: Vec<u8> = row.get(0).map_err(failed)?;
            if dir != last.0 {
                last = (dir.clone(), dir_of(dir));
            }
            let bytes = |at| row.get_ref(at).map(|value| value.as_blob_or_null().ok().flatten());
            let entry = bytes(3).map_err(failed)?.unwrap_or_default();
            let mut entry: Entry = whole(from_bytes(entry, "entry"))?;
            if let Some(group) = row.get::<_, Option<i64>>(2).map_err(failed)?
                && let Some(count @ 2..) = names.get(&group)
            {
                (entry.device, entry.inode, entry.links) = (self.device, group.cast_unsigned(), *count);
            }
            let content = bytes(4).map_err(failed)?.map(|content| whole(from_bytes(content, "content"))).transpose()?;
            each(&last.1, entry, content)?;
        }
        Ok(())
    }

    /// How many names each file has that had several at some time.
    fn names(&self) -> Result<HashMap<i64, u64>> {
        let mut count = self.db.prepare("SELECT linked FROM members WHERE linked NOTNULL").map_err(failed)?;
        let mut rows = count.query([]).map_err(failed)?;
        let mut names = HashMap::new();
        while let Some(row) = rows.next().map_err(failed)? {
            *names.entry(row.get(0).map_err(failed)?).or_insert(0) += 1;
        }
        Ok(names)
    }
}

/// Inode number of a file with several names: from the first of them, so that it does not change with what else is in the archive. When
/// another file took that name its links keep the number, so links to that one need the next: `times` says how often that was.
fn group_of(path: &[u8], times: i64) -> i64 {
    let mut hasher = blake3::Hasher::new_derive_key("seabed tar inode");
    hasher.update(path);
    if times > 0 {
        // No path has a zero in it.
        hasher.update(b"\0").update(&times.to_le_bytes());
    }
    let mut low = [0; 8];
    hasher.finalize_xof().fill(&mut low);
    i64::from_le_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::lists::Item;
    use crate::id::ChunkId;

    fn file(name: &[u8], size: u64) -> Entry {
        Entry { size, mode: 0o640, ..Entry::new(name, EntryKind::File) }
    }

    fn holding(n: u8) -> Content {
        Content::Inline(vec![Item::Chunk(ChunkId::new([n; 32]))])
    }

    fn all(members: &Members) -> Vec<(String, Entry, Option<Content>)> {
        let mut found = Vec::new();
        members
            .each(|dir, entry, content| {
                let path = String::from_utf8(crate::format::entry::join(dir, &entry.name.0)).unwrap();
                found.push((path, entry, content));
                Ok(())
            })
            .unwrap();
        found
    }

    fn paths(members: &Members) -> Vec<String> {
        all(members).into_iter().map(|(path, ..)| path).collect()
    }

    #[test]
    fn entries_come_out_in_the_order_of_a_tree_with_the_directories_that_lack() {
        let mut members = Members::new(0, b"").unwrap();
        for path in ["b/z", "a/x/1", "a.b/q", "a-b", "a/x/1.5", "a/y", "a/x.y/2"] {
            let (dir, name) = split(path.as_bytes());
            members.take(dir, &file(name, 1), Some(&holding(1))).unwrap().unwrap();
        }
        let want = ["a", "a-b", "a.b", "b", "a/x", "a/x.y", "a/y", "a/x/1", "a/x/1.5", "a/x.y/2", "a.b/q", "b/z"];
        assert_eq!(paths(&members), want);
        assert!(all(&members).iter().all(|(_, entry, _)| entry.implied == (entry.kind == EntryKind::Directory)));
        members.take(b"", &Entry::new(b"a", EntryKind::Directory), None).unwrap().unwrap();
        assert!(!all(&members)[0].1.implied, "one that comes later than what is in it is asked for");
        assert_eq!(paths(&members), want);
    }

    #[test]
    fn of_two_with_one_name_the_last_stays_and_directories_are_not_lost_to_files() {
        let mut members = Members::new(0, b"").unwrap();
        members.take(b"d", &file(b"f", 1), Some(&holding(1))).unwrap().unwrap();
        members.take(b"d", &file(b"f", 2), Some(&holding(2))).unwrap().unwrap();
        assert_eq!(all(&members)[1].2, Some(holding(2)));
        assert!(members.take(b"", &file(b"d", 1), Some(&holding(3))).unwrap().is_err(), "a directory with something in it");
        assert!(members.take(b"d/f", &file(b"g", 1), Some(&holding(3))).unwrap().is_err(), "below a file");
        members.take(b"", &Entry::new(b"e", EntryKind::Directory), None).unwrap().unwrap();
        members.take(b"", &file(b"e", 1), Some(&holding(4))).unwrap().unwrap();
        assert!(members.take(b"e", &file(b"h", 1), Some(&holding(4))).unwrap().is_err(), "below what was a directory");
        assert_eq!(paths(&members), ["d", "e", "d/f"]);
    }

    #[test]
    fn names_of_one_file_are_counted_at_the_end() {
        let mut members = Members::new(3, b"").unwrap();
        members.take(b"", &file(b"a", 7), Some(&holding(1))).unwrap().unwrap();
        members.link(b"d", b"b", b"a").unwrap().unwrap();
        members.link(b"d", b"c", b"d/b").unwrap().unwrap();
        assert!(members.link(b"", b"x", b"nothing").unwrap().is_err());
        assert!(members.link(b"", b"x", b"d").unwrap().is_err());
        members.link(b"", b"a", b"a").unwrap().unwrap();
        let found = all(&members);
        let files: Vec<_> = found.iter().filter(|(_, entry, _)| entry.kind == EntryKind::File).collect();
        assert_eq!(files.iter().map(|(path, ..)| &path[..]).collect::<Vec<_>>(), ["a", "d/b", "d/c"]);
        assert!(files.iter().all(|(_, e, c)| (e.links, e.device, e.size, c) == (3, u64::MAX - 3, 7, &Some(holding(1)))));
        assert!(files.iter().all(|(_, e, _)| e.inode == files[0].1.inode && e.inode != 0));
        // One after the other becomes another file: the last that is left is no link.
        members.take(b"d", &file(b"b", 1), Some(&holding(2))).unwrap().unwrap();
        members.take(b"d", &file(b"c", 1), Some(&holding(2))).unwrap().unwrap();
        assert!(all(&members).iter().all(|(_, e, _)| (e.links, e.inode, e.device) == (0, 0, 0)));
    }

    /// An archive that was appended to has a link, then another file under the name that the link is made of, then a link to that. Both
    /// had one number, which was a hash of that name alone.
    #[test]
    fn links_to_what_took_a_name_are_names_of_another_file() {
        let mut members = Members::new(0, b"").unwrap();
        for (n, link) in [(1, b"one"), (2, b"two"), (3, b"six")] {
            members.take(b"", &file(b"f", 7), Some(&holding(n))).unwrap().unwrap();
            members.link(b"", link, b"f").unwrap().unwrap();
            members.link(b"d", link, b"f").unwrap().unwrap();
        }
        let found = all(&members);
        let mut numbers: HashMap<u64, Vec<(&str, u64, Content)>> = HashMap::new();
        for (path, entry, content) in found.iter().filter(|(_, entry, _)| entry.kind == EntryKind::File) {
            numbers.entry(entry.inode).or_default().push((&path[..], entry.links, content.clone().unwrap()));
        }
        let mut groups: Vec<_> = numbers.into_values().collect();
        groups.sort_by_key(|names| names.len());
        groups[..2].sort_by_key(|names| names[0].0);
        let name = |path: &'static str, links: u64, n: u8| (path, links, holding(n));
        assert_eq!(groups[0], [name("one", 2, 1), name("d/one", 2, 1)]);
        assert_eq!(groups[1], [name("two", 2, 2), name("d/two", 2, 2)]);
        assert_eq!(groups[2], [name("f", 3, 3), name("six", 3, 3), name("d/six", 3, 3)]);
    }

    /// Of two entries with one name the last was left out as too large, and the first, which is out of date, passed for current.
    #[test]
    fn what_is_left_out_leaves_nothing_under_its_name() {
        let mut members = Members::new(0, b"").unwrap();
        for name in [b"a", b"b", b"c"] {
            members.take(b"d", &file(name, 1), Some(&holding(1))).unwrap().unwrap();
        }
        members.link(b"", b"link", b"d/a").unwrap().unwrap();
        members.take(b"", &Entry::new(b"e", EntryKind::Directory), None).unwrap().unwrap();
        for (dir, name) in [(&b"d"[..], &b"a"[..]), (b"d", b"b"), (b"", b"d"), (b"", b"e"), (b"x", b"y")] {
            members.leave_out(dir, name).unwrap();
        }
        assert_eq!(paths(&members), ["d", "link", "d/c"], "a directory with something in it stays, nothing is made");
        assert_eq!(all(&members)[1].1.links, 0, "its other name is gone");
        assert!(members.link(b"", b"x", b"d/a").unwrap().is_err());
        // The name is free again, for anything.
        members.take(b"d", &file(b"a", 2), Some(&holding(2))).unwrap().unwrap();
        members.link(b"", b"second", b"d/a").unwrap().unwrap();
        members.take(b"d/b", &file(b"f", 1), Some(&holding(3))).unwrap().unwrap();
        members.take(b"e", &file(b"f", 1), Some(&holding(3))).unwrap().unwrap();
        assert_eq!(paths(&members), ["d", "e", "link", "second", "d/a", "d/b", "d/c", "d/b/f", "e/f"]);
        let found = all(&members);
        assert_eq!((found[2].1.links, found[3].1.links, &found[3].2), (0, 2, &Some(holding(2))));
    }
}
