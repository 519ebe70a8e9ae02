//! When each job was started last by the daemon or by `tick`: one small file below the state directory, replaced whole.
//! It must never make a job wait for a time that a wrong clock wrote down, nor start one twice for two who ask at once.

use crate::exit::{Code, Fail, plain, where_to_write};
use crate::newfile::NewFile;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file.
const NAME: &str = "schedule.json";
/// Whoever decides holds this; the file itself is replaced.
const LOCK: &str = "schedule.lock";

/// The last start of each job. Nobody else decides until it is dropped.
pub struct LastStarts {
    path: PathBuf,
    jobs: BTreeMap<String, Timestamp>,
    changed: bool,
    /// What was there could not be read: it counts as nothing.
    pub damaged: bool,
    _lock: File,
}

impl LastStarts {
    /// Waits until nobody else decides, and reads.
    pub fn hold(directory: &Path) -> Result<Self, Fail> {
        let failed = |what: &str, path: &Path, error: &std::io::Error| {
            let hint = where_to_write(error).map(str::to_owned);
            Fail { hint, ..Fail::new(Code::Failed, format!("cannot {what} {}: {}", path.display(), plain(error))) }
        };
        std::fs::create_dir_all(directory).map_err(|e| failed("make the state directory", directory, &e))?;
        let name = directory.join(LOCK);
        let lock = File::create(&name).map_err(|e| failed("write", &name, &e))?;
        lock.lock().map_err(|e| failed("lock", &name, &e))?;
        let path = directory.join(NAME);
        let (jobs, damaged) = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (BTreeMap::new(), false),
            Err(e) if e.kind() != std::io::ErrorKind::InvalidData => return Err(failed("read", &path, &e)),
            text => text.ok().and_then(|text| read(&text)).map_or((BTreeMap::new(), true), |jobs| (jobs, false)),
        };
        Ok(LastStarts { path, jobs, changed: damaged, damaged, _lock: lock })
    }

    /// From when on starts of a job are due. One that is new here is looked at from now on; so is one that was started in the future, by a
    /// clock that was wrong.
    pub fn since(&mut self, job: &str, now: Timestamp) -> Timestamp {
        match self.jobs.get(job) {
            Some(last) if *last <= now => *last,
            _ => {
                self.started(job, now);
                now
            }
        }
    }

    /// It was started.
    pub fn started(&mut self, job: &str, at: Timestamp) {
        self.jobs.insert(job.to_owned(), at);
        self.changed = true;
    }

    /// The last start of a job, if there was one.
    pub fn last(&self, job: &str) -> Option<Timestamp> {
        self.jobs.get(job).copied()
    }

    /// Writes what changed.
    pub fn save(&mut self) -> Result<(), Fail> {
        if !self.changed {
            return Ok(());
        }
        let jobs: serde_json::Map<String, Value> =
            self.jobs.iter().map(|(job, at)| (job.clone(), json!({"last": at.to_string()}))).collect();
        let mut new = NewFile::begin(&self.path)?;
        let text = format!("{}\n", json!({"version": 1, "jobs": jobs}));
        new.file().write_all(text.as_bytes()).map_err(|e| {
            let hint = where_to_write(&e).map(str::to_owned);
            Fail { hint, ..Fail::new(Code::Failed, format!("cannot write {}: {}", self.path.display(), plain(&e))) }
        })?;
        new.keep()?;
        self.changed = false;
        Ok(())
    }
}

fn read(text: &str) -> Option<BTreeMap<String, Timestamp>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let jobs = value["jobs"].as_object().filter(|_| value["version"] == 1)?;
    jobs.iter().map(|(job, about)| Some((job.clone(), about["last"].as_str()?.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or(());
        }
    }

    #[test]
    fn starts_are_kept_and_a_wrong_clock_is_forgotten() {
        let dir = Dir(std::env::temp_dir().join(format!("seabed-starts-{}", std::process::id())));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (may, june) = (at("2026-05-01T00:00:00Z"), at("2026-06-01T00:00:00Z"));
        let mut starts = LastStarts::hold(&dir.0).unwrap();
        assert_eq!((starts.damaged, starts.since("a", may)), (false, may));
        starts.save().unwrap();
        drop(starts);
        let mut starts = LastStarts::hold(&dir.0).unwrap();
        assert_eq!((starts.since("a", june), starts.since("b", june)), (may, june));
        // 400 days ahead by mistake.
        starts.started("a", at("2027-07-06T00:00:00Z"));
        starts.save().unwrap();
        drop(starts);
        let mut starts = LastStarts::hold(&dir.0).unwrap();
        assert_eq!(starts.since("a", june), june);
        starts.save().unwrap();
        drop(starts);
        let starts = LastStarts::hold(&dir.0).unwrap();
        assert_eq!(starts.last("a"), Some(june));
        drop(starts);
        std::fs::write(dir.0.join(NAME), "{\"version\":1,\"jobs\":{\"a\":").unwrap();
        let mut starts = LastStarts::hold(&dir.0).unwrap();
        assert!(starts.damaged && starts.since("a", june) == june);
    }
}
