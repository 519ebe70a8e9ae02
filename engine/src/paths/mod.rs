//! The path index: which paths the snapshots hold, and what each was from when to when, in an SQLite file beside the catalog. A row per
//! change, not per snapshot. It must never be the only place where something is known: a file that is damaged or foreign is made anew.

mod compact;
mod needles;
mod search;

pub use needles::Needles;
pub use search::{Accept, Found, Span};

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::format::lists::Content;
use crate::format::wire::{Time, to_bytes};
use crate::id::{RepositoryId, SnapshotId};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Raised with every change of `paths.sql`: an older or newer file is dropped, not migrated.
const SCHEMA_VERSION: i64 = 2;
/// How long a process waits for another one that is filling the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pages that one connection keeps, KiB.
const CACHE_KIB: i64 = 16 << 10;
/// Between the places of two snapshots that follow each other: so often one that was dated back can come between.
pub const PLACE_STEP: i64 = 64;

/// Name of the file.
const FILE: &str = "paths.sqlite";
/// Held by whoever makes the file.
const LOCK: &str = "paths.lock";
/// The most that the file may take, bytes: some twenty-five million paths. What is older than fits is left out.
const BYTES_MAX: u64 = 4 << 30;

/// An open path index.
pub struct PathIndex {
    path: PathBuf,
    db: Connection,
    /// What it may take on disk.
    bytes_max: u64,
}

/// What became of a snapshot in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its paths are in it.
    Indexed,
    /// Its tree could not be read.
    Unreadable,
    /// It is older than what the index has room for.
    LeftOut,
}

/// A snapshot that the index knows.
#[derive(Clone, Debug)]
pub struct Known {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its line: a series on a host.
    pub line: i64,
    /// Where in the line, ascending by time.
    pub place: i64,
    /// Its time, nanoseconds since 1970.
    pub time: i64,
    /// What became of it.
    pub state: State,
    /// When it was entered, nanoseconds since 1970.
    pub tried: i64,
}

/// What a path was from some snapshot on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it was.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime: i64,
    /// Digest of what is in it: of its list of chunks, of the target of a link.
    pub content: i64,
    /// Digest of the rest: names of owners, attributes, flags, device numbers, status.
    pub rest: i64,
}

/// The first 8 bytes of a BLAKE3: enough to tell two versions of one path apart.
fn digest(hasher: &blake3::Hasher) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Version {
    /// Of an entry and its content.
    pub fn new(entry: &Entry, content: Option<&Content>) -> Self {
        let mut of_content = blake3::Hasher::new();
        match content {
            Some(content) => of_content.update(&to_bytes(content)),
            None => of_content.update(&entry.target.0),
        };
        let mut of_rest = blake3::Hasher::new();
        for text in [&entry.user.0, &entry.group.0] {
            of_rest.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        for number in [entry.rdev_major, entry.rdev_minor, entry.flags, u32::from(entry.status)] {
            of_rest.update(&number.to_le_bytes());
        }
        if !entry.xattrs.is_empty() {
            of_rest.update(&to_bytes(&entry.xattrs));
        }
        Version {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            mtime: entry.mtime.as_nanos().unwrap_or(if entry.mtime.secs < 0 { i64::MIN } else { i64::MAX }),
            content: digest(&of_content),
            rest: digest(&of_rest),
        }
    }

    /// When its content was last changed.
    pub fn mtime(&self) -> Time {
        Time::from_nanos(self.mtime)
    }
}

impl PathIndex {
    /// Opens the index of `repository` in `directory`, or makes it. `None` puts it into a temporary file for this run.
    pub fn open(directory: Option<&Path>, repository: &RepositoryId) -> Result<Self> {
        let Some(directory) = directory else {
            // An empty name is SQLite's word for a private file that is removed when it is closed: not memory, for it may be large.
            let path = PathBuf::from("");
            let db = Connection::open(&path).map_err(|source| Error::Catalog { path: path.clone(), source })?;
            return Self::create(path, db, repository);
        };
        let path = directory.join(FILE);
        if let Some(index) = Self::open_sound(&path, repository)? {
            return Ok(index);
        }
        // One process makes it, and others wait for that: what is half made looks like another version to them, and would be taken away.
        let lock = directory.join(LOCK);
        let locked = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let _held = locked.map_err(|source| Error::Cache { path: lock, source })?;
        if let Some(index) = Self::open_sound(&path, repository)? {
            return Ok(index);
        }
        Self::remove(directory)?;
        // Created by us before SQLite sees it, so that it is never readable for others, whatever the umask.
        let made = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|source| Error::Cache { path: path.clone(), source })?;
        let db = Connection::open(&path).map_err(|source| Error::Catalog { path: path.clone(), source })?;
        Self::create(path, db, repository)
    }

    fn open_sound(path: &Path, repository: &RepositoryId) -> Result<Option<Self>> {
        match Self::open_file(path, repository) {
            // A busy file is somebody's work in progress, not damage.
            Err(Error::Catalog { source, path }) if source.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                Err(Error::Catalog { source, path })
            }
            Ok(found) => Ok(found),
            Err(_) => Ok(None),
        }
    }

    /// Whether an error says that the file is damaged: then it is to be removed, and made anew.
    pub fn is_damaged(error: &Error) -> bool {
        let codes = [Some(ErrorCode::DatabaseCorrupt), Some(ErrorCode::NotADatabase)];
        matches!(error, Error::Catalog { source, .. } if codes.contains(&source.sqlite_error_code()))
    }

    /// Deletes the index in `directory`, where there is one: the next one is made from the trees.
    pub fn remove(directory: &Path) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let name = directory.join(format!("{FILE}{suffix}"));
            match fs::remove_file(&name) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Cache { path: name, source }),
            }
        }
        Ok(())
    }

    /// Opens the index of `repository` in `directory` where it is there and sound.
    pub fn open_existing(directory: &Path, repository: &RepositoryId) -> Result<Option<Self>> {
        Self::open_file(&directory.join(FILE), repository)
    }

    fn open_file(path: &Path, repository: &RepositoryId) -> Result<Option<Self>> {
        if !fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 == 0) {
            return Ok(None);
        }
        let failed = |source| Error::Catalog { path: path.to_owned(), source };
        let db = Connection::open(path).map_err(failed)?;
        Self::tune(&db).map_err(failed)?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
        if version != SCHEMA_VERSION {
            return Ok(None);
        }
        let id: Option<Vec<u8>> =
            db.query_row("SELECT value FROM meta WHERE key = 'repository'", [], |r| r.get(0)).optional().map_err(failed)?;
        if id.as_deref() != Some(&repository.as_bytes()[..]) {
            return Ok(None);
        }
        Ok(Some(PathIndex { path: path.to_owned(), db, bytes_max: BYTES_MAX }))
    }

    fn tune(db: &Connection) -> rusqlite::Result<()> {
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.set_prepared_statement_cache_capacity(32);
        // A cache that a power cut rolls back costs a refill.
        db.pragma_update(None, "synchronous", "NORMAL")
    }

    fn create(path: PathBuf, db: Connection, repository: &RepositoryId) -> Result<Self> {
        let make = || {
            // Names that are gone give their room back: only asked for before the first table.
            db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            Self::tune(&db)?;
            db.execute_batch("BEGIN IMMEDIATE")?;
            db.execute_batch(include_str!("paths.sql"))?;
            db.execute("INSERT INTO meta VALUES ('repository', ?1)", [&repository.as_bytes()[..]])?;
            db.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            db.execute_batch("COMMIT")
        };
        make().map_err(|source| Error::Catalog { path: path.clone(), source })?;
        Ok(PathIndex { path, db, bytes_max: BYTES_MAX })
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::Catalog { path: self.path.clone(), source }
    }

    /// Every snapshot that it knows, by line and place.
    pub fn known(&self) -> Result<Vec<Known>> {
        known(&self.db).map_err(|e| self.failed(e))
    }

    /// Sets what it may take on disk, bytes.
    #[doc(hidden)]
    pub fn limit(&mut self, bytes: u64) {
        self.bytes_max = bytes;
    }

    /// Whether it takes more than it may.
    pub fn is_too_large(&self) -> Result<bool> {
        Ok(self.bytes()? > self.bytes_max)
    }

    /// Bytes that it takes on disk, without what is free in it.
    pub fn bytes(&self) -> Result<u64> {
        let pragma = |name: &str| self.db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let bytes = || Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?);
        bytes().map(i64::unsigned_abs).map_err(|e| self.failed(e))
    }

    /// Begins to change it; whoever else does waits, or gives up after half a minute.
    pub fn fill(&mut self) -> Result<Filling<'_>> {
        let path = self.path.clone();
        let begin = |db| {
            let tx = Transaction::new(db, TransactionBehavior::Immediate)?;
            let next: i64 = tx.query_row("SELECT coalesce(max(path), 0) + 1 FROM paths", [], |row| row.get(0))?;
            Ok((tx, next))
        };
        let (tx, next) = begin(&mut self.db).map_err(|source| Error::Catalog { path: path.clone(), source })?;
        Ok(Filling { file: path, tx, next_path: next, dir: None })
    }
}

fn known(db: &Connection) -> rusqlite::Result<Vec<Known>> {
    let mut query = db.prepare_cached("SELECT id, line, place, time, state, tried FROM snapshots ORDER BY line, place")?;
    query.query_map([], known_in)?.collect()
}

fn known_in(row: &Row<'_>) -> rusqlite::Result<Known> {
    let state = state_of(row.get(4)?);
    Ok(Known { id: SnapshotId::new(row.get(0)?), line: row.get(1)?, place: row.get(2)?, time: row.get(3)?, state, tried: row.get(5)? })
}

fn state_of(number: i64) -> State {
    match number {
        0 => State::Indexed,
        1 => State::Unreadable,
        _ => State::LeftOut,
    }
}

/// What a path became: directory, name, version.
pub type PathRow<'r> = (&'r Arc<[u8]>, &'r [u8], Option<&'r Version>);

/// A change of the index: all of it, or nothing.
pub struct Filling<'p> {
    file: PathBuf,
    tx: Transaction<'p>,
    next_path: i64,
    /// The directory that was asked for last, its id, and whether it is new.
    dir: Option<(Arc<[u8]>, i64, bool)>,
}

impl Filling<'_> {
    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::Catalog { path: self.file.clone(), source }
    }

    /// Every snapshot that the index knows, by line and place.
    pub fn known(&self) -> Result<Vec<Known>> {
        known(&self.tx).map_err(|e| self.failed(e))
    }

    /// What became of a snapshot; `None` for one that the index does not know.
    pub fn state(&self, id: &SnapshotId) -> Result<Option<State>> {
        let find = || {
            let mut query = self.tx.prepare_cached("SELECT state FROM snapshots WHERE id = ?1")?;
            query.query_row([id.as_bytes()], |row| row.get(0)).optional()
        };
        find().map(|number| number.map(state_of)).map_err(|e| self.failed(e))
    }

    /// Calls `each` with the snapshots of a line, from the last place backwards, until it says `false`.
    pub fn back(&self, line: i64, each: &mut dyn FnMut(Known) -> bool) -> Result<()> {
        let mut read = || {
            let sql = "SELECT id, line, place, time, state, tried FROM snapshots WHERE line = ?1 ORDER BY place DESC";
            let mut query = self.tx.prepare_cached(sql)?;
            let mut rows = query.query([line])?;
            while let Some(row) = rows.next()? {
                if !each(known_in(row)?) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|e| self.failed(e))
    }

    /// The line of a series on a host.
    pub fn line(&self, host: &str, series: &str) -> Result<i64> {
        let find = || {
            self.tx.execute("INSERT OR IGNORE INTO lines (host, series) VALUES (?1, ?2)", [host, series])?;
            self.tx.query_row("SELECT line FROM lines WHERE host = ?1 AND series = ?2", [host, series], |row| row.get(0))
        };
        find().map_err(|e| self.failed(e))
    }

    /// Forgets what the index says of the snapshots of a line behind `after`, up to `last` and with it.
    pub fn drop_places(&self, line: i64, after: i64, last: i64) -> Result<()> {
        let drop = || {
            for sql in [
                "DELETE FROM versions WHERE line = ?1 AND since > ?2 AND since <= ?3",
                "DELETE FROM snapshots WHERE line = ?1 AND place > ?2 AND place <= ?3 AND state = 0",
            ] {
                self.tx.execute(sql, [line, after, last])?;
            }
            Ok(())
        };
        drop().map_err(|e| self.failed(e))
    }

    /// Takes note of a snapshot.
    pub fn enter(&self, snapshot: &Known) -> Result<()> {
        let state = match snapshot.state {
            State::Indexed => 0,
            State::Unreadable => 1,
            State::LeftOut => 2,
        };
        let sql = "INSERT OR REPLACE INTO snapshots (id, line, place, time, state, tried) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Known { id, line, place, time, tried, .. } = snapshot;
        let entered = self.tx.execute(sql, params![id.as_bytes(), line, place, time, state, tried]);
        entered.map(|_| ()).map_err(|e| self.failed(e))
    }

    /// What paths are from a place of a line on: directory, name, version; `None`: it is gone. What was said before of the same place is
    /// replaced. Names of one directory come one after the other.
    pub fn put<'r>(&mut self, (line, place): (i64, i64), rows: impl Iterator<Item = PathRow<'r>>) -> Result<()> {
        let Filling { file, tx, next_path, dir: last } = self;
        let put = || {
            // Once for all of them: to look up a statement takes half as long as to run it.
            let mut find_dir = tx.prepare_cached("SELECT dir FROM dirs WHERE path = ?1")?;
            let mut add_dir = tx.prepare_cached("INSERT INTO dirs (path) VALUES (?1)")?;
            let mut find_path = tx.prepare_cached("SELECT path FROM paths WHERE dir = ?1 AND name = ?2")?;
            let mut add_path = tx.prepare_cached("INSERT INTO paths VALUES (?1, ?2, ?3)")?;
            let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO versions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
            for (dir, name, version) in rows {
                let (dir, new) = match last {
                    Some((last, id, new)) if Arc::ptr_eq(last, dir) || last == dir => (*id, *new),
                    _ => {
                        let found: Option<i64> = find_dir.query_row([&dir[..]], |row| row.get(0)).optional()?;
                        let (id, new) =
                            found.map_or_else(|| Ok::<_, rusqlite::Error>((add_dir.insert([&dir[..]])?, true)), |id| Ok((id, false)))?;
                        *last = Some((dir.clone(), id, new));
                        (id, new)
                    }
                };
                // Of a directory that is new no name comes twice: what is told of it comes in order.
                let known: Option<i64> = if new { None } else { find_path.query_row(params![dir, name], |row| row.get(0)).optional()? };
                let path = match known {
                    Some(path) => path,
                    None => {
                        add_path.execute(params![*next_path, dir, name])?;
                        *next_path += 1;
                        *next_path - 1
                    }
                };
                let Some(v) = version else {
                    let none = None::<i64>;
                    insert.execute(params![path, line, place, none, none, none, none, none, none, none, none])?;
                    continue;
                };
                let size = i64::try_from(v.size).unwrap_or(i64::MAX);
                insert.execute(params![path, line, place, v.kind as u8, v.mode, v.uid, v.gid, size, v.mtime, v.content, v.rest])?;
            }
            Ok(())
        };
        put().map_err(|source| Error::Catalog { path: file.clone(), source })
    }

    /// Makes it so.
    pub fn commit(self) -> Result<()> {
        let file = self.file;
        self.tx.commit().map_err(|source| Error::Catalog { path: file, source })
    }
}
