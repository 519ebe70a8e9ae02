//! What is remembered of runs on this machine: when they began and ended, what they stored, what they said. One SQLite file and the locks of
//! jobs. Nothing that a restore needs: the snapshots say all that again. A state that cannot be written costs a warning, never a backup.

use crate::exit::{Code, Fail, plain};
use crate::jobs::config::Config;
use crate::jobs::config::secret::redacted;
use crate::open::directory;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Runs that are kept of each job: more than a year of nightly ones.
const RUNS_KEPT: i64 = 500;
/// Lines that are kept of one run: a client that repeats one error for hours must not fill the disk.
const LINES_MAX: u64 = 20_000;
/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS runs (
        id TEXT PRIMARY KEY, job TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, code INTEGER, cause TEXT NOT NULL,
        pid INTEGER NOT NULL, report TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS runs_of_job ON runs (job, began);
    CREATE TABLE IF NOT EXISTS lines (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, n INTEGER NOT NULL, at INTEGER NOT NULL, level TEXT NOT NULL,
        who TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (run, n)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
";

/// A run, as it is remembered.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id, which is the group of its snapshots.
    pub id: String,
    /// The job.
    pub job: String,
    /// When it began, seconds since 1970.
    pub began: i64,
    /// When it ended; `None` while it goes on, or where it was killed.
    pub ended: Option<i64>,
    /// How it ended.
    pub code: Option<u8>,
    /// What started it: `manual`, `schedule`.
    pub cause: String,
    /// What it reported at its end.
    pub report: Value,
}

/// A line of what a run said.
#[derive(Clone, Debug)]
pub struct LineRow {
    /// When, seconds since 1970.
    pub at: i64,
    /// `info`, `warning`, `error`, `output`.
    pub level: String,
    /// Who: the source, hook or repository; empty for the run itself.
    pub who: String,
    /// What.
    pub text: String,
}

/// The directory of the state.
pub fn directory_of(config: &Config) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd's StateDirectory= may name several, separated by colons: the first is ours.
    let systemd = || {
        let text = std::env::var("STATE_DIRECTORY").ok()?;
        text.split(':').next().filter(|path| path.starts_with('/')).map(PathBuf::from)
    };
    variable("SEABED_STATE_DIR")
        .or_else(|| config.state_dir.as_deref().map(|dir| config.beside(dir)))
        .or_else(systemd)
        .or_else(|| directory("XDG_STATE_HOME", ".local/state").map(|base| base.join("seabed")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/seabed"))
}

/// What is remembered.
pub struct State {
    directory: PathBuf,
    runs: Mutex<Connection>,
}

impl State {
    /// Opens it, or makes it.
    pub fn open(config: &Config) -> Result<Self, Fail> {
        Self::open_at(&directory_of(config))
    }

    /// The one in a directory.
    pub fn open_at(directory: &Path) -> Result<Self, Fail> {
        let failed = |why: String| {
            Fail::new(Code::Failed, format!("cannot keep the state of runs in {}: {why}", directory.display()))
                .hint("name another place with state_dir in the configuration, or SEABED_STATE_DIR")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory.join("locks")).map_err(|e| failed(plain(&e)))?;
        let connect = || {
            let runs = Connection::open(directory.join("runs.db"))?;
            runs.busy_timeout(BUSY)?;
            runs.execute_batch(SCHEMA)?;
            runs.pragma_update(None, "foreign_keys", true)?;
            Ok(runs)
        };
        let runs = match connect() {
            // It only remembers: one that is broken is put aside, for whoever wants to look, and a new one begun.
            Err(error) if is_damage(&error) => {
                std::fs::rename(directory.join("runs.db"), directory.join("runs.db.broken")).map_err(|e| failed(plain(&e)))?;
                for rest in ["runs.db-wal", "runs.db-shm"] {
                    std::fs::remove_file(directory.join(rest)).unwrap_or(());
                }
                connect()
            }
            other => other,
        };
        let runs = runs.map_err(|e| failed(e.to_string()))?;
        Ok(State { directory: directory.to_owned(), runs: Mutex::new(runs) })
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins. What the oldest ones said is forgotten.
    pub fn begin(&self, id: &str, job: &str, cause: &str, began: i64) -> rusqlite::Result<()> {
        let runs = self.runs();
        runs.execute(
            "INSERT INTO runs (id, job, began, cause, pid) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, job, began, cause, std::process::id()],
        )?;
        let old =
            "DELETE FROM runs WHERE job = ?1 AND id NOT IN (SELECT id FROM runs WHERE job = ?1 ORDER BY began DESC, rowid DESC LIMIT ?2)";
        runs.execute(old, params![job, RUNS_KEPT]).map(|_| ())
    }

    /// It ended.
    pub fn end(&self, id: &str, code: u8, report: &Value, ended: i64) -> rusqlite::Result<()> {
        let report = redacted(&report.to_string());
        let runs = self.runs();
        runs.execute("UPDATE runs SET ended = ?2, code = ?3, report = ?4 WHERE id = ?1", params![id, ended, code, report]).map(|_| ())
    }

    /// It said something.
    pub fn say(&self, id: &str, n: u64, line: &LineRow) -> rusqlite::Result<()> {
        if n > LINES_MAX {
            return Ok(());
        }
        let text = if n == LINES_MAX { "(further lines are not kept)".to_owned() } else { redacted(&line.text) };
        let runs = self.runs();
        let mut insert = runs.prepare_cached("INSERT INTO lines (run, n, at, level, who, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        insert.execute(params![id, n.cast_signed(), line.at, line.level, line.who, text]).map(|_| ())
    }

    /// The newest runs, of one job or of all; newest first.
    pub fn recent(&self, job: Option<&str>, limit: u32) -> rusqlite::Result<Vec<RunRow>> {
        let runs = self.runs();
        let mut select = runs.prepare(
            "SELECT id, job, began, ended, code, cause, report FROM runs WHERE ?1 IS NULL OR job = ?1 ORDER BY began DESC, rowid DESC LIMIT ?2",
        )?;
        select.query_map(params![job, limit], row)?.collect()
    }

    /// The run whose id begins so; `None` where there is none, or more than one.
    pub fn find(&self, start: &str) -> rusqlite::Result<Option<RunRow>> {
        let runs = self.runs();
        let mut select =
            runs.prepare("SELECT id, job, began, ended, code, cause, report FROM runs WHERE substr(id, 1, ?2) = ?1 LIMIT 2")?;
        let mut found: Vec<RunRow> = select.query_map(params![start, start.len() as i64], row)?.collect::<Result<_, _>>()?;
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// The newest run of a job that ended with 0.
    pub fn last_good(&self, job: &str) -> rusqlite::Result<Option<RunRow>> {
        let runs = self.runs();
        let select = "SELECT id, job, began, ended, code, cause, report FROM runs WHERE job = ?1 AND code = 0 ORDER BY began DESC LIMIT 1";
        runs.query_row(select, params![job], row).optional()
    }

    /// What a run said, from some line on.
    pub fn lines(&self, id: &str, from: u64) -> rusqlite::Result<Vec<LineRow>> {
        let runs = self.runs();
        let mut select = runs.prepare("SELECT at, level, who, text FROM lines WHERE run = ?1 AND n >= ?2 ORDER BY n")?;
        let line = |row: &rusqlite::Row<'_>| Ok(LineRow { at: row.get(0)?, level: row.get(1)?, who: row.get(2)?, text: row.get(3)? });
        select.query_map(params![id, from.cast_signed()], line)?.collect()
    }
}

impl State {
    /// Remembers that something of this name happened.
    pub fn mark(&self, name: &str, at: i64) -> rusqlite::Result<()> {
        let insert = "INSERT INTO marks (name, at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET at = excluded.at";
        self.runs().execute(insert, params![name, at]).map(|_| ())
    }

    /// When it happened last.
    pub fn marked(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.runs().query_row("SELECT at FROM marks WHERE name = ?1", params![name], |row| row.get(0)).optional()
    }

    /// It is over, or never was.
    pub fn unmark(&self, name: &str) -> rusqlite::Result<()> {
        self.runs().execute("DELETE FROM marks WHERE name = ?1", params![name]).map(|_| ())
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRow> {
    let report: Option<String> = row.get(6)?;
    Ok(RunRow {
        id: row.get(0)?,
        job: row.get(1)?,
        began: row.get(2)?,
        ended: row.get(3)?,
        code: row.get(4)?,
        cause: row.get(5)?,
        report: report.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null),
    })
}

/// The lock of a job: given back by the system when the process ends, however that happens.
pub struct JobLock(#[expect(dead_code, reason = "it is closed at the end")] File);

/// How often is looked whether the other run has ended.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

impl State {
    /// Takes the lock of a job; waits at most `wait` for a run that has it. `None`: it still goes on.
    pub fn lock(&self, job: &str, wait: Duration, stop: &dyn Fn() -> bool) -> Result<Option<JobLock>, Fail> {
        let path = self.directory.join("locks").join(job);
        let failed = |e: &std::io::Error| {
            Fail::new(Code::Failed, format!("cannot lock job.{job} by {}: {}", path.display(), plain(e)))
                .hint("name a local directory with state_dir in the configuration: without a lock two runs would meet")
        };
        let file = File::options().create(true).append(true).open(&path).map_err(|e| failed(&e))?;
        let began = std::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(JobLock(file))),
                Err(TryLockError::Error(e)) => return Err(failed(&e)),
                Err(TryLockError::WouldBlock) if began.elapsed() >= wait || stop() => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOKS_EVERY.min(wait)),
            }
        }
    }

    /// Whether a run of the job goes on.
    pub fn is_running(&self, job: &str) -> bool {
        // Shared, and only for a moment: two who ask do not take each other for a run.
        let Ok(file) = File::open(self.directory.join("locks").join(job)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(name: &str) -> (State, PathBuf) {
        let dir = std::env::temp_dir().join(format!("seabed-state-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&dir).unwrap_or(());
        (State::open_at(&dir).unwrap(), dir)
    }

    #[test]
    fn runs_are_remembered_and_the_oldest_forgotten() {
        let (state, dir) = state("runs");
        for n in 0..RUNS_KEPT + 3 {
            state.begin(&format!("run{n:04}"), "nightly", "manual", n).unwrap();
        }
        let line = LineRow { at: 1, level: "info".to_owned(), who: String::new(), text: "hello".to_owned() };
        state.say("run0500", 0, &line).unwrap();
        state.end("run0500", 3, &json!({"sources": []}), 9).unwrap();
        assert_eq!(state.recent(Some("nightly"), 1000).unwrap().len() as i64, RUNS_KEPT);
        assert!(state.find("run0000").unwrap().is_none() && state.find("run").unwrap().is_none());
        assert_eq!(state.find("run0500").unwrap().unwrap().code, Some(3));
        assert_eq!(state.lines("run0500", 0).unwrap()[0].text, "hello");
        assert!(state.last_good("nightly").unwrap().is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_broken_memory_is_put_aside() {
        let (_, dir) = state("broken");
        std::fs::write(dir.join("runs.db"), vec![7; 8192]).unwrap();
        let state = State::open_at(&dir).unwrap();
        state.begin("a", "nightly", "manual", 1).unwrap();
        assert!(dir.join("runs.db.broken").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn one_run_of_a_job_at_a_time() {
        let (state, dir) = state("locks");
        assert!(!state.is_running("nightly"));
        let lock = state.lock("nightly", Duration::ZERO, &|| false).unwrap();
        assert!(lock.is_some() && state.is_running("nightly"));
        assert!(state.lock("nightly", Duration::from_millis(300), &|| false).unwrap().is_none());
        drop(lock);
        assert!(!state.is_running("nightly") && state.lock("nightly", Duration::ZERO, &|| false).unwrap().is_some());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
