//! `kind = "sqlite"`: each database is copied by SQLite's own backup, looked at, and stored as a stream that is called like its file.
//! It must never copy the file itself: beside a writer that is half of two states. Nor may it hold a writer up for long, or wait for ever for
//! one that never pauses.

use super::whole::{Demands, Whole};
use super::{Asked, Prepared};
use crate::commands::sources::stream_name;
use crate::exit::{Code, Fail};
use crate::jobs::clients::secret_file::private_directory;
use crate::jobs::config::source::Sqlite;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use seabed_engine::{ReaderStream, Stream, StreamFailure, StreamSource};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the manifest says.
pub const FORMAT: &str = "sqlite";
/// How long a lock is waited for.
const BUSY: Duration = Duration::from_secs(30);
/// A database without a write-ahead log is copied in one go up to this size: its writers wait as long, well below a second.
const AT_ONCE_BYTES: u64 = 256 << 20;
/// Above it a step of so many pages at a time, between which writers come to write.
const STEP_PAGES: i32 = 4096;
/// Each write starts the copy anew. After so many of these it is made in one go, while writers wait.
const RESTARTS_MAX: u32 = 3;
/// A pause between two steps.
const PAUSE: Duration = Duration::from_millis(2);

/// As the engine takes it.
pub fn sqlite(asked: &Asked<'_>, config: &Sqlite) -> Result<Prepared, Fail> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in &config.paths {
        let path = asked.config.beside(path);
        let found = expanded(&path);
        if found.is_empty() {
            return Err(Fail::new(Code::NoSource, format!("source {}: there is no database {}", asked.name, path.display()))
                .hint("look whether it is there and this user may read it; a pattern matches files"));
        }
        for found in found {
            if !paths.contains(&found) {
                paths.push(found);
            }
        }
    }
    let mut prepared = Prepared::default();
    for (at, path) in paths.iter().enumerate() {
        let mut name = asked.name.as_bytes().to_vec();
        name.push(b'/');
        name.extend_from_slice(path.as_os_str().as_bytes());
        let demands = Demands {
            name: stream_name(&name)?,
            format: FORMAT,
            markers: Vec::new(),
            after: &[],
            bounds: asked.bounds.clone(),
            last: at + 1 == paths.len(),
            packed: Arc::default(),
        };
        let (name, from) = (demands.name.clone(), path.clone());
        let open = move || {
            let failed = |source| StreamFailure::Read { name: from.display().to_string(), source };
            Ok(Box::new(Whole::new(ReaderStream(copied(&from).map_err(failed)?), demands)) as Box<dyn Stream>)
        };
        // A new database is a file of no bytes until its first table.
        let allow_empty = std::fs::metadata(path).is_ok_and(|there| there.len() == 0);
        prepared.streams.push(StreamSource { name, argv: Vec::new(), open: Mutex::new(Some(Box::new(open))), allow_empty });
    }
    Ok(prepared)
}

/// The files that a path or pattern means.
fn expanded(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let Some(found) = path.to_str().and_then(|text| glob::glob_with(text, options).ok()) else { return Vec::new() };
    // Journals of a database are a part of it: its name is what counts.
    let is_beside = |path: &Path| ["-wal", "-shm", "-journal"].iter().any(|end| path.as_os_str().as_bytes().ends_with(end.as_bytes()));
    let mut found: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file() && !is_beside(path)).collect();
    found.sort();
    found
}

fn said(error: rusqlite::Error) -> io::Error {
    let hint = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => ": it is no SQLite database, or an encrypted one; kind = \"files\" stores it as it is",
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ": another program keeps it locked",
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
            ": with a write-ahead log it can only be read where the directory can be written, too"
        }
        Some(rusqlite::ErrorCode::DiskFull) => ": there is no room for the copy; TMPDIR names another place for it",
        _ => "",
    };
    io::Error::other(format!("{error}{hint}"))
}

/// A copy of the database as of one moment, checked, without a name any more.
fn copied(path: &Path) -> io::Result<File> {
    let directory = private_directory(None)?;
    let copy = directory.path().join("copy");
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
    let from = opened(path).map_err(said)?;
    from.busy_timeout(BUSY).map_err(said)?;
    let mut to = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(said)?;
    // It is read once and thrown away.
    to.pragma_update(None, "synchronous", "OFF").map_err(said)?;
    let mode: String = from.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(said)?;
    let large = std::fs::metadata(path)?.len() > AT_ONCE_BYTES;
    copy_pages(&from, &mut to, large && !mode.eq_ignore_ascii_case("wal")).map_err(said)?;
    to.close().map_err(|(_, error)| said(error))?;
    check(&copy)?;
    // The open file outlives its name: nothing of it stays, whatever becomes of this process.
    File::open(&copy)
}

fn opened(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reads = |connection: Connection| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map(|()| connection);
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(reads).or_else(|error| {
        match error.sqlite_error_code() {
            // What a crash left must be rolled back or forward first, as the next program to open it would.
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(reads)
            }
            _ => Err(error),
        }
    })
}

/// In one go, or where that would hold writers up in steps first.
fn copy_pages(from: &Connection, to: &mut Connection, in_steps: bool) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    let until = Instant::now() + BUSY;
    let (mut restarts, mut left) = (0, i32::MAX);
    loop {
        let pages = if in_steps && restarts <= RESTARTS_MAX { STEP_PAGES } else { -1 };
        match backup.step(pages)? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked if Instant::now() > until => {
                return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None));
            }
            _ => {}
        }
        let remaining = backup.progress().remaining;
        if remaining > left {
            restarts += 1;
        }
        left = remaining;
        #[allow(clippy::disallowed_methods, reason = "writers come in between")]
        std::thread::sleep(PAUSE);
    }
}

/// Whether the copy is a whole database.
fn check(copy: &Path) -> io::Result<()> {
    let uri = format!("file:{}?immutable=1", copy.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(&uri, flags).map_err(said)?;
    let one = |pragma: &str| database.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(said);
    let (pages, size) = (one("page_count")?, one("page_size")?);
    let length = std::fs::metadata(copy)?.len();
    if length != 0 && u64::try_from(pages.saturating_mul(size)).ok() != Some(length) {
        return Err(io::Error::other(format!("the copy has {length} bytes, and should have {pages} pages of {size}")));
    }
    let found: String = database.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(said)?;
    match found.as_str() {
        "ok" => Ok(()),
        what => Err(io::Error::other(format!("the database is damaged: {}", what.lines().next().unwrap_or_default()))),
    }
}

/// For whoever restores over one: a log of the old one would be played into the new one.
pub fn leftover(path: &Path) -> Option<PathBuf> {
    ["-wal", "-journal"].iter().find_map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let beside = PathBuf::from(name);
        std::fs::metadata(&beside).is_ok_and(|there| there.len() > 0).then_some(beside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn read(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_copy_holds_what_the_log_has_and_stays_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
        app.execute_batch("BEGIN; INSERT INTO t VALUES (2);").unwrap();
        let bytes = read(copied(&path).unwrap());
        app.execute_batch("COMMIT").unwrap();
        assert!(bytes.starts_with(b"SQLite format 3\0"));
        let back = dir.path().join("back.db");
        std::fs::write(&back, &bytes).unwrap();
        let count: i64 = Connection::open(&back).unwrap().query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 1);
        assert_eq!(read(copied(&path).unwrap()).len(), read(copied(&path).unwrap()).len());
        assert!(leftover(&path).is_some() && leftover(&back).is_none());
    }

    #[test]
    fn what_is_none_or_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, "no database at all, however long it is").unwrap();
        assert!(copied(&path).unwrap_err().to_string().contains("no SQLite database"));
        std::fs::remove_file(&path).unwrap();
        let app = Connection::open(&path).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO t SELECT i, hex(randomblob(200)) FROM n";
        app.execute_batch(&format!("CREATE TABLE t (a, b); CREATE INDEX i ON t (b); {fill}")).unwrap();
        drop(app);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 200].fill(0xee);
        std::fs::write(&path, bytes).unwrap();
        let error = copied(&path).unwrap_err().to_string();
        assert!(error.contains("damaged") || error.contains("malformed"), "{error}");
    }
}
