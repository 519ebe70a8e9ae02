//! The catalog: what the manifests say, in SQLite, so that listing ten thousand snapshots reads no object (DESIGN section 6).
//! Never the only copy of anything but the rollback watermark, what checks found, when retention ran and what snapshots were that are lost; a file
//! that is damaged or foreign is made anew.

use crate::error::{Error, Result};
use crate::format::manifest::{Head, IndexPart, NamesPart, Origin};
use crate::format::notes::{DESCRIPTION, Fact, TAGS, Tags, tags_body};
use crate::format::protocol::Note;
use crate::format::wire::{Time, Wire, from_bytes, to_bytes};
use crate::id::{ObjectId, PackId, RepositoryId, SnapshotId, WriterId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Raised with every change of `catalog.sql`: an older or newer file is dropped, not migrated.
const SCHEMA_VERSION: i64 = 2;
/// Raised with every change of `snapshots.sql`: what an older or newer program made of the manifests is dropped, and made anew.
const SNAPSHOTS_VERSION: i64 = 4;
/// Lost snapshots that it remembers, the newest ones: as many as a repair looks for.
const LOST_MAX: i64 = 10_000;
/// Makes those that it has lost ones, until their manifests are read again.
const LOSE_ALL: &str = "INSERT OR REPLACE INTO lost SELECT id, time, writer, sequence, index_part, names_part FROM snapshots";
/// Every transaction here writes, and begins as one: of two that read first, and then both want to write, SQLite refuses one at once, however long
/// it would have waited.
fn waits(db: &mut Connection) -> rusqlite::Result<()> {
    db.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
    db.busy_timeout(BUSY_TIMEOUT)
}

/// How long a process waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Every column, in the order of `snapshots.sql`.
const INSERT: &str = "INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
                      ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)";

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn json(texts: impl Iterator<Item = impl Into<String>>) -> String {
    serde_json::Value::from(texts.map(Into::into).collect::<Vec<String>>()).to_string()
}

fn snapshots_version(db: &Connection) -> rusqlite::Result<i64> {
    let found = db.query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'snapshots'", [], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(1))
}

fn make_snapshots(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(include_str!("snapshots.sql"))?;
    let version = SNAPSHOTS_VERSION.to_string();
    db.execute("INSERT OR REPLACE INTO meta VALUES ('snapshots', ?1)", [version.as_bytes()]).map(|_| ())
}

/// Makes that part anew, empty: the next refresh fills it. Unless another process has done so while this one waited.
fn renew_snapshots(db: &Connection) -> rusqlite::Result<()> {
    let tx = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate)?;
    if snapshots_version(&tx)? != SNAPSHOTS_VERSION {
        // What cannot be read again is kept, as far as the other version had it in the same form.
        tx.execute(LOSE_ALL, []).unwrap_or(0);
        tx.execute_batch(
            "DROP VIEW IF EXISTS seabed_snapshots; DROP VIEW IF EXISTS seabed_series; DROP TABLE IF EXISTS snapshots; \
             DROP TABLE IF EXISTS notes; DROP TABLE IF EXISTS vouched;",
        )?;
        make_snapshots(&tx)?;
    }
    tx.commit()
}

/// What a note says of a snapshot, as a row.
pub struct NoteRow {
    id: ObjectId,
    about: SnapshotId,
    /// Empty for what changes nothing that is shown: the row says that it was read.
    kind: &'static str,
    time: i64,
    body: Vec<u8>,
}

impl NoteRow {
    /// Of the note `id` about `about`, which says `fact`.
    pub fn new(id: ObjectId, about: SnapshotId, note: &Note, fact: Fact) -> Self {
        let (kind, body) = match fact {
            // In the form that is written here: what a later version says besides is not shown.
            Fact::Tags(tags) => (TAGS, tags_body(&tags).map(|body| body.0)),
            Fact::Description(text) => (DESCRIPTION, Some(text.into_bytes())),
            Fact::Verified(_) | Fact::Other => ("", None),
        };
        let (kind, time, body) = match (note.time.as_nanos(), body) {
            (Some(time), Some(body)) => (kind, time, body),
            // At a time that nobody can compare: it is none.
            _ => ("", 0, Vec::new()),
        };
        NoteRow { id, about, kind, time, body }
    }
}

/// The newest of a kind about a snapshot: its time and what it says.
fn newest_note(db: &Connection, about: &SnapshotId, kind: &str) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    let sql = "SELECT time, body FROM notes WHERE about = ?1 AND kind = ?2 ORDER BY time DESC, id DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row(params![about.as_bytes(), kind], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Puts what notes say of a snapshot in place of what its manifest says.
fn edit(db: &Connection, id: &SnapshotId, names: &mut NamesPart) -> rusqlite::Result<()> {
    if let Some((_, body)) = newest_note(db, id, TAGS)?
        && let Ok(tags) = from_bytes::<Tags>(&body, "catalog")
    {
        names.tags = tags.tags;
    }
    if let Some((_, body)) = newest_note(db, id, DESCRIPTION)? {
        names.description = String::from_utf8_lossy(&body).into_owned();
    }
    Ok(())
}

/// A committed snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The part that a collector reads.
    pub index: IndexPart,
    /// The part with names. Of those in the catalog its tags and description are those that notes have given it since.
    pub names: NamesPart,
}

impl Snapshot {
    /// What it is, whatever it is called: where it was made first, and as which snapshot there. A copy is the same as what it is a copy of,
    /// and so is what was sealed anew or brought back. `repository` is the one that it is in.
    pub fn identity(&self, repository: &RepositoryId) -> (RepositoryId, SnapshotId) {
        match &self.names.origin {
            Some(origin) if origin.is_the_same() => (origin.repository, origin.snapshot),
            _ => (*repository, self.id),
        }
    }

    /// The origin of one that is the same as this one, which is in `repository`, and became so by `how`.
    pub fn origin_for(&self, repository: &RepositoryId, how: &str) -> Origin {
        let (repository, snapshot) = self.identity(repository);
        Origin { repository, snapshot, how: how.to_owned(), extra: Vec::new() }
    }
}

/// An open catalog.
pub struct Catalog {
    path: PathBuf,
    db: Connection,
}

impl Catalog {
    /// Opens the catalog of `repository` in `directory`, or makes it; `None` keeps it in memory for this run.
    pub fn open(directory: Option<&Path>, repository: &RepositoryId) -> Result<Self> {
        let Some(directory) = directory else {
            let path = PathBuf::from(":memory:");
            let db = Connection::open_in_memory().map_err(|source| Error::Catalog { path: path.clone(), source })?;
            return Self::create(path, db, repository);
        };
        let path = directory.join("catalog.sqlite");
        match Self::open_file(&path, repository) {
            Ok(Some(catalog)) => return Ok(catalog),
            // A busy file is somebody's work in progress, not damage.
            Err(error @ Error::Catalog { .. }) if is_busy(&error) => return Err(error),
            Ok(None) | Err(_) => {}
        }
        // Damaged, foreign or of another version: nothing in it is missed but the watermark, which starts anew.
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            match fs::remove_file(&name) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Cache { path: name.into(), source }),
            }
        }
        // Created by us before SQLite sees it, so that it is never readable for others, whatever the umask.
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Error::Cache { path: path.clone(), source })?;
        let db = Connection::open(&path).map_err(|source| Error::Catalog { path: path.clone(), source })?;
        Self::create(path, db, repository)
    }

    /// Opens the catalog of `repository` in `directory` where it is there and sound.
    pub fn open_existing(directory: &Path, repository: &RepositoryId) -> Result<Option<Self>> {
        Self::open_file(&directory.join("catalog.sqlite"), repository)
    }

    fn open_file(path: &Path, repository: &RepositoryId) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let private = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 == 0);
        if !private {
            return Ok(None);
        }
        let failed = |source| Error::Catalog { path: path.to_owned(), source };
        let mut db = Connection::open(path).map_err(failed)?;
        waits(&mut db).map_err(failed)?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
        if version != SCHEMA_VERSION {
            return Ok(None);
        }
        let id: Option<Vec<u8>> =
            db.query_row("SELECT value FROM meta WHERE key = 'repository'", [], |r| r.get(0)).optional().map_err(failed)?;
        if id.as_deref() != Some(&repository.as_bytes()[..]) {
            return Ok(None);
        }
        db.execute_batch(include_str!("lost.sql")).map_err(failed)?;
        if snapshots_version(&db).map_err(failed)? != SNAPSHOTS_VERSION {
            renew_snapshots(&db).map_err(failed)?;
        }
        Ok(Some(Catalog { path: path.to_owned(), db }))
    }

    fn create(path: PathBuf, mut db: Connection, repository: &RepositoryId) -> Result<Self> {
        let failed = |source| Error::Catalog { path: path.clone(), source };
        waits(&mut db).map_err(failed)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A cache that a power cut rolls back costs a refresh; waiting for the disk at every run costs everybody.
        db.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        db.execute_batch(include_str!("catalog.sql")).map_err(failed)?;
        db.execute_batch(include_str!("lost.sql")).map_err(failed)?;
        make_snapshots(&db).map_err(failed)?;
        db.execute("INSERT INTO meta VALUES ('repository', ?1)", [&repository.as_bytes()[..]]).map_err(failed)?;
        db.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
        db.execute_batch("COMMIT").map_err(failed)?;
        Ok(Catalog { path, db })
    }

    fn failed(&self, source: rusqlite::Error) -> Error {
        Error::Catalog { path: self.path.clone(), source }
    }

    /// Ids of all snapshots that it holds.
    pub fn ids(&self) -> Result<HashSet<SnapshotId>> {
        self.id_column("SELECT id FROM snapshots")
    }

    /// Ids of those that are lost.
    pub fn lost_ids(&self) -> Result<HashSet<SnapshotId>> {
        self.id_column("SELECT id FROM lost")
    }

    fn id_column(&self, sql: &str) -> Result<HashSet<SnapshotId>> {
        let read = || {
            let mut query = self.db.prepare_cached(sql)?;
            let rows = query.query_map([], |row| row.get::<_, [u8; 32]>(0).map(SnapshotId::new))?;
            rows.collect::<rusqlite::Result<HashSet<_>>>()
        };
        read().map_err(|e| self.failed(e))
    }

    /// Takes over what a listing showed: new snapshots, and those that are forgotten.
    pub fn apply(&mut self, new: &[Snapshot], gone: &[SnapshotId]) -> Result<()> {
        let path = self.path.clone();
        let failed = |source| Error::Catalog { path: path.clone(), source };
        let run = |db: &mut Connection| {
            let tx = db.transaction()?;
            for snapshot in new {
                let index = &snapshot.index;
                let mut names = snapshot.names.clone();
                edit(&tx, &snapshot.id, &mut names)?;
                tx.prepare_cached(INSERT)?.execute(params![
                    snapshot.id.as_bytes(),
                    index.time.as_nanos().unwrap_or(i64::MAX),
                    names.series,
                    names.host,
                    index.writer.as_bytes(),
                    i64::try_from(index.sequence).unwrap_or(i64::MAX),
                    to_bytes(index),
                    to_bytes(&names),
                    index.started.as_nanos().unwrap_or(0),
                    index.finished.as_nanos().unwrap_or(0),
                    index.incomplete,
                    names.user,
                    json(names.paths.iter().map(|path| String::from_utf8_lossy(&path.0))),
                    json(names.tags.iter()),
                    names.description,
                    names.program,
                    names.parent.as_ref().map(|id| &id.as_bytes()[..]),
                    number(names.summary.files_new),
                    number(names.summary.files_changed),
                    number(names.summary.files_unmodified),
                    number(names.summary.files_total),
                    number(names.summary.bytes_total),
                    number(names.summary.bytes_added),
                    number(names.summary.bytes_stored),
                    number(names.summary.errors),
                ])?;
                tx.prepare_cached("DELETE FROM lost WHERE id = ?1")?.execute([snapshot.id.as_bytes()])?;
                tx.prepare_cached(
                    "INSERT INTO heads VALUES (?1, ?2, ?3) ON CONFLICT (writer) DO UPDATE SET sequence = excluded.sequence, \
                     snapshot = excluded.snapshot WHERE excluded.sequence > heads.sequence",
                )?
                .execute(params![
                    index.writer.as_bytes(),
                    i64::try_from(index.sequence).unwrap_or(i64::MAX),
                    snapshot.id.as_bytes()
                ])?;
                for vouched in index.heads.iter().map(|head| head.snapshot).chain(index.previous) {
                    let values = params![vouched.as_bytes(), snapshot.id.as_bytes()];
                    tx.prepare_cached("INSERT OR IGNORE INTO vouched VALUES (?1, ?2)")?.execute(values)?;
                }
            }
            for id in gone {
                tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([&id.as_bytes()[..]])?;
                tx.prepare_cached("DELETE FROM lost WHERE id = ?1")?.execute([&id.as_bytes()[..]])?;
                tx.prepare_cached("DELETE FROM vouched WHERE by = ?1")?.execute([&id.as_bytes()[..]])?;
            }
            tx.commit()
        };
        run(&mut self.db).map_err(failed)
    }

    /// Shows no more, and remembers, what was lost: snapshots that are gone and that nobody has forgotten.
    pub fn lose(&mut self, lost: &[SnapshotId]) -> Result<()> {
        let path = self.path.clone();
        let run = |db: &mut Connection| {
            let tx = db.transaction()?;
            for id in lost {
                tx.prepare_cached(&format!("{LOSE_ALL} WHERE id = ?1"))?.execute([&id.as_bytes()[..]])?;
                tx.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([&id.as_bytes()[..]])?;
                tx.prepare_cached("DELETE FROM vouched WHERE by = ?1")?.execute([&id.as_bytes()[..]])?;
            }
            tx.execute("DELETE FROM lost WHERE id NOT IN (SELECT id FROM lost ORDER BY time DESC, id DESC LIMIT ?1)", [LOST_MAX])?;
            tx.commit()
        };
        run(&mut self.db).map_err(|source| Error::Catalog { path, source })
    }

    /// Empties it for a refill. What no manifest says stays: the watermark, and what was in it until the refill has read it again.
    pub fn clear(&mut self) -> Result<()> {
        let sql = format!("BEGIN IMMEDIATE; {LOSE_ALL}; DELETE FROM snapshots; DELETE FROM vouched; DELETE FROM notes; COMMIT");
        self.db.execute_batch(&sql).map_err(|e| self.failed(e))
    }

    /// Takes down notes, and what they make of the snapshots that are here. Those of snapshots that come later wait for them.
    pub fn note(&mut self, rows: &[NoteRow]) -> Result<()> {
        let path = self.path.clone();
        let run =
            |db: &mut Connection| {
                let tx = db.transaction()?;
                for row in rows {
                    let values = params![row.id.as_bytes(), row.about.as_bytes(), row.kind, row.time, row.body];
                    tx.prepare_cached("INSERT OR IGNORE INTO notes VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(values)?;
                }
                let edited: BTreeSet<SnapshotId> = rows.iter().filter(|row| !row.kind.is_empty()).map(|row| row.about).collect();
                for id in edited {
                    let sql = "SELECT names_part FROM snapshots WHERE id = ?1";
                    let part: Option<Vec<u8>> = tx.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
                    let Some(mut names) = part.and_then(|part| from_bytes::<NamesPart>(&part, "catalog").ok()) else { continue };
                    edit(&tx, &id, &mut names)?;
                    tx.prepare_cached("UPDATE snapshots SET names_part = ?2, tags = ?3, description = ?4 WHERE id = ?1")?
                        .execute(params![id.as_bytes(), to_bytes(&names), json(names.tags.iter()), names.description])?;
                }
                tx.commit()
            };
        run(&mut self.db).map_err(|source| Error::Catalog { path, source })
    }

    /// Forgets notes. What they made of snapshots stays until those are entered anew.
    pub fn unnote(&mut self, ids: &[ObjectId]) -> Result<()> {
        let path = self.path.clone();
        let run = |db: &mut Connection| {
            let tx = db.transaction()?;
            for id in ids {
                tx.prepare_cached("DELETE FROM notes WHERE id = ?1")?.execute([&id.as_bytes()[..]])?;
            }
            tx.commit()
        };
        run(&mut self.db).map_err(|source| Error::Catalog { path, source })
    }

    /// The notes that it knows, each with what it is about.
    pub fn notes(&self) -> Result<HashSet<(ObjectId, SnapshotId)>> {
        let read = || {
            let mut query = self.db.prepare_cached("SELECT id, about FROM notes")?;
            let rows = query.query_map([], |row| Ok((ObjectId::new(row.get(0)?), SnapshotId::new(row.get(1)?))))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|e| self.failed(e))
    }

    /// How many notes it knows: where that is another number, snapshots may have other tags.
    pub fn notes_count(&self) -> Result<i64> {
        let mut query = self.db.prepare_cached("SELECT count(*) FROM notes").map_err(|e| self.failed(e))?;
        query.query_row([], |row| row.get(0)).map_err(|e| self.failed(e))
    }

    /// When the newest note of a kind about a snapshot was put.
    pub fn noted_at(&self, id: &SnapshotId, kind: &str) -> Result<Option<Time>> {
        let newest = newest_note(&self.db, id, kind).map_err(|e| self.failed(e))?;
        Ok(newest.map(|(nanos, _)| Time::from_nanos(nanos)))
    }

    /// Puts what notes say of a snapshot, whether it is here or not, in place of what its manifest says.
    pub fn edit(&self, id: &SnapshotId, names: &mut NamesPart) -> Result<()> {
        edit(&self.db, id, names).map_err(|e| self.failed(e))
    }

    fn decode(row: &Row<'_>) -> rusqlite::Result<Option<Snapshot>> {
        fn part<T: Wire>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
            Ok(from_bytes(row.get_ref(at)?.as_blob()?, "catalog").ok())
        }
        let id = SnapshotId::new(row.get(0)?);
        Ok(match (part(row, 1)?, part(row, 2)?) {
            (Some(index), Some(names)) => Some(Snapshot { id, index, names }),
            _ => None,
        })
    }

    fn query(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Snapshot>> {
        let read = || {
            let mut query = self.db.prepare_cached(&format!("SELECT id, index_part, names_part FROM snapshots {sql}"))?;
            query.query_map(values, Self::decode)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|e| self.failed(e))?;
        // A row that does not decode is a damaged cache; the manifests are not in doubt.
        rows.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| self.failed(rusqlite::Error::InvalidQuery))
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.query("ORDER BY time, id", [])
    }

    /// Snapshots that are lost, oldest first. A row that does not decode is passed over: nobody can tell any more what it said.
    pub fn lost(&self) -> Result<Vec<Snapshot>> {
        let read = || {
            let mut query = self.db.prepare_cached("SELECT id, index_part, names_part FROM lost ORDER BY time, id")?;
            query.query_map([], Self::decode)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(read().map_err(|e| self.failed(e))?.into_iter().flatten().collect())
    }

    /// The newest complete snapshot of a series on a host.
    pub fn newest(&self, series: &str, host: &str) -> Result<Option<Snapshot>> {
        let rows = self.query("WHERE series = ?1 AND host = ?2 ORDER BY time DESC, id DESC LIMIT 8", [series, host])?;
        Ok(rows.into_iter().find(|s| !s.index.incomplete))
    }

    /// The newest snapshot of a writer.
    pub fn newest_of(&self, writer: &WriterId) -> Result<Option<Snapshot>> {
        let rows = self.query("WHERE writer = ?1 ORDER BY sequence DESC LIMIT 1", [&writer.as_bytes()[..]])?;
        Ok(rows.into_iter().next())
    }

    /// Takes note of the newest key epoch and returns the newest ever seen: a store that shows an older one was rolled back.
    pub fn note_epoch(&self, epoch: u32) -> Result<u32> {
        let run = || {
            let old: Option<i64> =
                self.db.query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'", [], |r| r.get(0)).optional()?;
            let newest = old.and_then(|n| u32::try_from(n).ok()).unwrap_or(0).max(epoch);
            if old != Some(i64::from(newest)) {
                let digits = newest.to_string();
                self.db.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?1)", [digits.as_bytes()])?;
            }
            Ok(newest)
        };
        run().map_err(|e| self.failed(e))
    }

    /// Takes note that retention runs at `now`, by this machine's clock.
    pub fn note_retention(&self, now: Time) -> Result<()> {
        let secs = now.secs.to_string();
        let noted = self.db.execute("INSERT OR REPLACE INTO meta VALUES ('retention', ?1)", [secs.as_bytes()]);
        noted.map(|_| ()).map_err(|e| self.failed(e))
    }

    /// When retention or a backup of `writer` last ran here: the later one of the last of each. Not the latest ever seen, or a clock that
    /// was wrong once could never be right again.
    pub fn last_run(&self, writer: &WriterId) -> Result<Option<Time>> {
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'retention'";
        let retention: Option<i64> = self.db.query_row(sql, [], |r| r.get(0)).optional().map_err(|e| self.failed(e))?;
        let backup = self.newest_of(writer)?.map(|snapshot| snapshot.index.finished);
        Ok(backup.max(retention.map(|secs| Time { secs, nanos: 0 })))
    }

    /// Packs in which the last check that read them found damage.
    pub fn suspects(&self) -> Result<HashSet<PackId>> {
        let read = || {
            let mut query = self.db.prepare_cached("SELECT pack FROM suspects")?;
            query.query_map([], |row| row.get::<_, [u8; 32]>(0).map(PackId::new))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|e| self.failed(e))
    }

    /// Takes down which of the packs that were read are damaged; what was said of the others stays.
    pub fn judge(&mut self, verdicts: &[(PackId, bool)]) -> Result<()> {
        let path = self.path.clone();
        let run = |db: &mut Connection| {
            let tx = db.transaction()?;
            for (pack, damaged) in verdicts {
                let sql = if *damaged { "INSERT OR IGNORE INTO suspects VALUES (?1)" } else { "DELETE FROM suspects WHERE pack = ?1" };
                tx.prepare_cached(sql)?.execute([pack.as_bytes()])?;
            }
            tx.commit()
        };
        run(&mut self.db).map_err(|source| Error::Catalog { path, source })
    }

    /// Highest sequence number ever seen of each writer.
    pub fn heads(&self) -> Result<Vec<Head>> {
        self.numbered("SELECT writer, sequence, snapshot FROM heads ORDER BY writer", [])
    }

    /// Whose which each snapshot is, lost ones too.
    pub fn places(&self) -> Result<Vec<Head>> {
        self.numbered(
            "SELECT writer, sequence, id FROM snapshots UNION SELECT writer, sequence, id FROM lost ORDER BY writer, sequence, id",
            [],
        )
    }

    fn numbered(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Head>> {
        let read = || {
            let mut query = self.db.prepare_cached(sql)?;
            let head = |row: &Row<'_>| {
                let (writer, snapshot) = (WriterId::new(row.get(0)?), SnapshotId::new(row.get(2)?));
                Ok(Head { writer, sequence: row.get::<_, i64>(1)?.unsigned_abs(), snapshot, extra: Vec::new() })
            };
            query.query_map(values, head)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| self.failed(e))
    }

    /// The heads that a new manifest of `own` lists: the newest snapshot of every other writer, less those that a listed one
    /// already vouches for. Runs in throw-away containers each have a writer of their own; without this the list grew for ever. From columns:
    /// a copy of ten thousand snapshots asks ten thousand times.
    pub fn frontier(&self, own: &WriterId) -> Result<Vec<Head>> {
        // Of a maximum the other columns are those of the row that has it.
        let sql = "SELECT writer, max(sequence), id FROM snapshots WHERE writer <> ?1 GROUP BY writer HAVING NOT EXISTS \
                   (SELECT 1 FROM vouched WHERE vouched.snapshot = snapshots.id) ORDER BY writer";
        self.numbered(sql, [&own.as_bytes()[..]])
    }
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Catalog { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy))
}
