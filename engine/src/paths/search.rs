//! Reading the path index: all paths past a matcher, and what was known of those that match.
//! Names are searched in blocks of 4096, made once and kept: a row for each costs more to fetch than to match.

use crate::error::Result;
use crate::format::entry::EntryKind;
use crate::paths::{BUSY_TIMEOUT, Needles, PathIndex, Version};
use rayon::prelude::*;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Paths in a block.
pub(super) const BLOCK_PATHS: i64 = 4096;
/// Stands in a block for the directory of an id that nobody has. Those of directories begin with 1.
const NOBODY: u32 = 0;
/// Blocks that are matched at a time: the first hits are told long before the last name was read.
const BLOCKS_AT_ONCE: i64 = 16;
/// Hits of one block from which its versions are read in one go, and not path by path.
const MANY_HITS: usize = 256;

/// What a path was for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The line: a series on a host.
    pub line: i64,
    /// Place of the first snapshot that has it so.
    pub since: i64,
    /// Place of the first that has it otherwise or no more; `i64::MAX` where none has.
    pub until: i64,
    /// What it was; `None`: it was gone.
    pub version: Option<Version>,
}

/// A path that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// With leading slash.
    pub path: Vec<u8>,
    /// What it was, by line, in order.
    pub spans: Vec<Span>,
}

/// Some paths one after the other, each with leading slash.
#[derive(Default)]
struct Names {
    ids: Vec<i64>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, id: i64, dir: &[u8], name: &[u8]) {
        if !dir.is_empty() {
            self.text.push(b'/');
            self.text.extend_from_slice(dir);
        }
        self.text.push(b'/');
        self.text.extend_from_slice(name);
        self.ids.push(id);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        self.ids.iter().zip(begins.zip(&self.ends)).map(|(id, (begin, end))| (*id, &self.text[begin..*end]))
    }
}

/// Which versions are looked for. The ranges are only a beginning, which the database sees to: what lies outside of them is not accepted.
pub struct Accept<'a> {
    /// Bytes.
    pub size: Option<RangeInclusive<i64>>,
    /// Last change, nanoseconds since 1970.
    pub mtime: Option<RangeInclusive<i64>>,
    /// All that is asked.
    pub version: &'a dyn Fn(&Version) -> bool,
}

impl Accept<'_> {
    /// Every version.
    pub const ALL: Accept<'static> = Accept { size: None, mtime: None, version: &|_| true };
}

/// Takes what was found; `false` to stop.
pub type Each<'e> = dyn FnMut(Vec<Found>) -> Result<bool> + 'e;

/// Every directory, by its id.
struct Dirs {
    /// Their paths, each followed by a slash.
    text: Vec<u8>,
    /// Where each lies, by its id.
    places: Vec<(u32, u32)>,
    /// Ids by where they end.
    ends: Vec<(u32, u32)>,
}

/// What is looked for before paths are matched, and in which directories it is.
struct Sieve<'n> {
    needles: &'n Needles,
    dirs: Vec<bool>,
}

impl<'n> Sieve<'n> {
    fn new(needles: &'n Needles, all: &Dirs) -> Self {
        let mut dirs = vec![false; all.places.len()];
        needles.each(&all.text, |at| {
            let (end, id) = all.ends[all.ends.partition_point(|(end, _)| (*end as usize) <= at)];
            dirs[id as usize] = true;
            end as usize
        });
        Sieve { needles, dirs }
    }

    fn takes(&self, dir: u32, name: &[u8]) -> bool {
        self.dirs.get(dir as usize).is_some_and(|is| *is) || self.needles.are_in(name)
    }

    fn takes_any(&self, dirs: &[u8], names: &[u8]) -> bool {
        let is_in = |dir: &[u8; 4]| self.dirs.get(u32::from_le_bytes(*dir) as usize).is_some_and(|is| *is);
        self.needles.are_in(names) || dirs.as_chunks::<4>().0.iter().any(is_in)
    }
}

impl Dirs {
    fn get(&self, id: i64) -> Option<&[u8]> {
        let (begin, end) = *self.places.get(usize::try_from(id).ok()?)?;
        self.text.get(begin as usize..end as usize)
    }
}

/// A block as stored: directory ids, names.
type Block = (i64, Vec<u8>, Vec<u8>);

fn names_of((block, dirs, text): &Block, all: &Dirs, sieve: Option<&Sieve<'_>>) -> Option<Names> {
    let mut names = Names::default();
    if sieve.is_none() {
        names.text.reserve(text.len() * 4);
    }
    let mut rest = &text[..];
    for (at, dir) in dirs.as_chunks::<4>().0.iter().enumerate() {
        let end = memchr::memchr(b'/', rest)?;
        let dir = u32::from_le_bytes(*dir);
        if dir != NOBODY && sieve.is_none_or(|sieve| sieve.takes(dir, &rest[..end])) {
            names.push(block * BLOCK_PATHS + at as i64 + 1, all.get(i64::from(dir))?, &rest[..end]);
        }
        rest = &rest[end + 1..];
    }
    Some(names)
}

impl PathIndex {
    /// Calls `each` with the paths that `matches` and of which some version is accepted, in batches, in the order in which they were first
    /// seen, with all that is known of each. `each` returns `false` to stop. All that matches holds one of the needles, where there are any.
    pub fn search(
        &self,
        (needles, matches): (Option<&Needles>, &(dyn Fn(&[u8]) -> bool + Sync)),
        accept: &Accept<'_>,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let sql = |e| self.failed(e);
        self.make_blocks();
        // One state of the file: paths that go meanwhile are still there, with their directories.
        let tx = self.db.unchecked_transaction().map_err(sql)?;
        let dirs = self.dirs().map_err(sql)?;
        let sieve = needles.map(|needles| Sieve::new(needles, &dirs));
        let sieve = sieve.as_ref();
        let last: i64 = self.db.query_row("SELECT coalesce(max(path), 0) FROM paths", [], |row| row.get(0)).map_err(sql)?;
        let mut block = 0;
        while block * BLOCK_PATHS < last {
            let end = block + BLOCKS_AT_ONCE;
            let blocks = self.blocks((block, end), sieve).map_err(sql)?;
            let of_block = |block: &Block| names_of(block, &dirs, sieve).map(|names| (block.0, filtered(&names, matches)));
            let names: Option<HashMap<i64, Names>> = blocks.par_iter().map(of_block).collect();
            // A block that does not decode is a damaged cache; the trees are not in doubt.
            let mut names = names.ok_or_else(|| sql(rusqlite::Error::InvalidQuery))?;
            for block in block..end {
                let names = match names.remove(&block) {
                    Some(names) => names,
                    None => filtered(&self.rows(block, &dirs).map_err(sql)?, matches),
                };
                if !self.tell(&names, accept, each)? {
                    return Ok(());
                }
            }
            block = end;
        }
        drop(tx);
        Ok(())
    }

    /// Some blocks, empty where nothing in them is taken.
    fn blocks(&self, (from, to): (i64, i64), sieve: Option<&Sieve<'_>>) -> rusqlite::Result<Vec<Block>> {
        let mut query = self.db.prepare_cached("SELECT block, dirs, names FROM blocks WHERE block >= ?1 AND block < ?2")?;
        let blocks = query.query_map([from, to], |row| {
            let (block, dirs, names) = (row.get(0)?, row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
            let taken = sieve.is_none_or(|sieve| sieve.takes_any(dirs, names));
            Ok(if taken { (block, dirs.to_vec(), names.to_vec()) } else { (block, Vec::new(), Vec::new()) })
        })?;
        blocks.collect()
    }

    /// The names of what would be a block: one that is not complete, or that could not be written.
    fn rows(&self, block: i64, dirs: &Dirs) -> rusqlite::Result<Names> {
        let mut names = Names::default();
        let mut query = self.db.prepare_cached("SELECT path, dir, name FROM paths WHERE path > ?1 AND path <= ?2 ORDER BY path")?;
        let mut rows = query.query([block * BLOCK_PATHS, (block + 1) * BLOCK_PATHS])?;
        while let Some(row) = rows.next()? {
            if let Some(dir) = dirs.get(row.get(1)?) {
                names.push(row.get(0)?, dir, row.get_ref(2)?.as_blob()?);
            }
        }
        Ok(names)
    }

    /// Everything known of one path, which has no leading slash.
    pub fn path(&self, dir: &[u8], name: &[u8]) -> Result<Vec<Span>> {
        let find = || {
            let sql = "SELECT p.path FROM paths p JOIN dirs d ON d.dir = p.dir WHERE d.path = ?1 AND p.name = ?2";
            let id: Option<i64> = self.db.prepare_cached(sql)?.query_row(params![dir, name], |row| row.get(0)).optional()?;
            let mut found = Vec::new();
            if let Some(id) = id {
                self.spans((id, id), &mut std::iter::once((id, name)), &Accept::ALL, &mut found)?;
            }
            Ok(found.pop().map(|found| found.spans).unwrap_or_default())
        };
        find().map_err(|e| self.failed(e))
    }

    fn dirs(&self) -> rusqlite::Result<Dirs> {
        let mut dirs = Dirs { text: Vec::new(), places: Vec::new(), ends: Vec::new() };
        let mut query = self.db.prepare_cached("SELECT dir, path FROM dirs ORDER BY dir")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (id, begin) = (row.get::<_, u32>(0)?, dirs.text.len() as u32);
            dirs.text.extend_from_slice(row.get_ref(1)?.as_blob()?);
            let end = dirs.text.len() as u32;
            dirs.text.push(b'/');
            dirs.places.resize((id as usize).max(dirs.places.len()), (0, 0));
            dirs.places.push((begin, end));
            dirs.ends.push((end, id));
        }
        Ok(dirs)
    }

    /// Makes the blocks that are complete and not there. Where that cannot be done (the file may be read-only, the disk full, or somebody
    /// writing) rows will do.
    fn make_blocks(&self) {
        // Nobody is waited for: a fill holds the file for as long as it takes to read a tree.
        self.db.busy_timeout(Duration::ZERO).and_then(|()| self.write_blocks()).unwrap_or(());
        self.db.busy_timeout(BUSY_TIMEOUT).unwrap_or(());
    }

    fn write_blocks(&self) -> rusqlite::Result<()> {
        let missing = || {
            let last: i64 = self.db.query_row("SELECT coalesce(max(path), 0) FROM paths", [], |row| row.get(0))?;
            let mut query = self.db.prepare_cached("SELECT block FROM blocks")?;
            let there = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<HashSet<i64>>>()?;
            Ok::<_, rusqlite::Error>((0..last / BLOCK_PATHS).filter(|block| !there.contains(block)).collect::<Vec<i64>>())
        };
        if missing()?.is_empty() {
            return Ok(());
        }
        let tx = rusqlite::Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        {
            let mut query = tx.prepare("SELECT path, dir, name FROM paths WHERE path > ?1 AND path <= ?2 ORDER BY path")?;
            let mut insert = tx.prepare("INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3)")?;
            for block in missing()? {
                let (mut dirs, mut names) = (Vec::with_capacity(4 * BLOCK_PATHS as usize), Vec::new());
                let mut put = |dir: u32, name: &[u8]| {
                    dirs.extend_from_slice(&dir.to_le_bytes());
                    names.extend_from_slice(name);
                    names.push(b'/');
                };
                let mut rows = query.query([block * BLOCK_PATHS, (block + 1) * BLOCK_PATHS])?;
                let mut next = block * BLOCK_PATHS + 1;
                while let Some(row) = rows.next()? {
                    let path: i64 = row.get(0)?;
                    (next..path).for_each(|_| put(NOBODY, b""));
                    put(row.get(1)?, row.get_ref(2)?.as_blob()?);
                    next = path + 1;
                }
                insert.execute(params![block, dirs, names])?;
            }
        }
        tx.commit()
    }

    /// Tells of those of `names` of which some version is accepted.
    fn tell(&self, names: &Names, accept: &Accept<'_>, each: &mut Each<'_>) -> Result<bool> {
        let (Some(first), Some(last)) = (names.ids.first(), names.ids.last()) else { return Ok(true) };
        let mut found = Vec::new();
        let mut read = || {
            if names.ids.len() >= MANY_HITS {
                return self.spans((*first, *last), &mut names.iter(), accept, &mut found);
            }
            names.iter().try_for_each(|one| self.spans((one.0, one.0), &mut std::iter::once(one), accept, &mut found))
        };
        read().map_err(|e| self.failed(e))?;
        if found.is_empty() { Ok(true) } else { each(found) }
    }

    /// What is known of the paths of `names`, whose ids ascend from `first` to `last`; other paths in between are passed over.
    fn spans(
        &self,
        (first, last): (i64, i64),
        names: &mut dyn Iterator<Item = (i64, &[u8])>,
        accept: &Accept<'_>,
        found: &mut Vec<Found>,
    ) -> rusqlite::Result<()> {
        let (mut query, mut ranged);
        let mut rows = if accept.size.is_none() && accept.mtime.is_none() {
            query = self.db.prepare_cached(
                "SELECT path, line, since, kind, mode, uid, gid, size, mtime, content, rest FROM versions \
                 WHERE path >= ?1 AND path <= ?2 ORDER BY path, line, since",
            )?;
            query.query([first, last])?
        } else {
            // Of a path with such a version all are wanted.
            ranged = self.db.prepare_cached(
                "SELECT v.path, v.line, v.since, v.kind, v.mode, v.uid, v.gid, v.size, v.mtime, v.content, v.rest \
                 FROM (SELECT DISTINCT path FROM versions WHERE path >= ?1 AND path <= ?2 \
                       AND size >= ?3 AND size <= ?4 AND mtime >= ?5 AND mtime <= ?6) AS p \
                 CROSS JOIN versions AS v ON v.path = p.path ORDER BY v.path, v.line, v.since",
            )?;
            let ends =
                |range: &Option<RangeInclusive<i64>>| range.as_ref().map_or((i64::MIN, i64::MAX), |range| (*range.start(), *range.end()));
            let (size, mtime) = (ends(&accept.size), ends(&accept.mtime));
            ranged.query([first, last, size.0, size.1, mtime.0, mtime.1])?
        };
        let (mut name, mut spans, mut accepted): (_, Vec<Span>, _) = (names.next(), Vec::new(), false);
        loop {
            let row = rows.next()?;
            let id = row.map_or(Ok(i64::MAX), |row| row.get(0))?;
            while let Some((at, path)) = name
                && at < id
            {
                if accepted {
                    found.push(Found { path: path.to_vec(), spans: std::mem::take(&mut spans) });
                }
                spans.clear();
                (name, accepted) = (names.next(), false);
            }
            let Some(row) = row else { return Ok(()) };
            if name.is_none_or(|(at, _)| at != id) {
                continue;
            }
            let (line, since, version) = (row.get(1)?, row.get(2)?, version(row)?);
            if let Some(before) = spans.last_mut().filter(|before| before.line == line) {
                before.until = since;
            }
            accepted |= version.as_ref().is_some_and(accept.version);
            spans.push(Span { line, since, until: i64::MAX, version });
        }
    }
}

fn filtered(names: &Names, matches: &(dyn Fn(&[u8]) -> bool + Sync)) -> Names {
    let mut hits = Names::default();
    for (id, path) in names.iter().filter(|(_, path)| matches(path)) {
        hits.text.extend_from_slice(path);
        hits.ids.push(id);
        hits.ends.push(hits.text.len());
    }
    hits
}

fn version(row: &Row<'_>) -> rusqlite::Result<Option<Version>> {
    let Some(kind) = row.get::<_, Option<u8>>(3)? else { return Ok(None) };
    use EntryKind::*;
    let kinds = [Directory, File, Symlink, Fifo, Socket, CharDevice, BlockDevice];
    let kind = kinds.get(usize::from(kind)).copied().ok_or(rusqlite::Error::InvalidQuery)?;
    Ok(Some(Version {
        kind,
        mode: row.get(4)?,
        uid: row.get(5)?,
        gid: row.get(6)?,
        size: row.get::<_, i64>(7)?.unsigned_abs(),
        mtime: row.get(8)?,
        content: row.get(9)?,
        rest: row.get(10)?,
    }))
}
