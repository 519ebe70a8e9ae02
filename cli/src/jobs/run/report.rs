//! What a run came to: of each source and repository, and all together as an exit code.

use super::job::fail_of;
use crate::exit::{Code, Fail};
use crate::{size, time};
use serde_json::{Value, json};
use std::time::Duration;

/// A snapshot that was made, as the worker told it.
#[derive(Clone, Debug)]
pub struct Stored(pub Value);

/// A repository's name, for comparing.
impl Stored {
    /// The repository.
    pub fn repo(&self) -> &str {
        self.0["repo"].as_str().unwrap_or_default()
    }

    /// The snapshot; `None` of a dry run.
    pub fn snapshot(&self) -> Option<&str> {
        self.0["snapshot"].as_str()
    }

    /// In a line.
    pub fn words(&self, dry_run: bool) -> String {
        let number = |key: &str| self.0[key].as_u64().unwrap_or(0);
        let bytes = size::human(number("bytes"));
        let stored = size::human(number("bytes_stored"));
        if dry_run {
            return format!("{bytes}, {} read; would add about {}", size::human(number("bytes_read")), size::human(number("bytes_added")));
        }
        let id = self.snapshot().and_then(|id| id.get(..8)).unwrap_or("none");
        match self.0["copied"].as_bool() {
            Some(true) => format!("snapshot {id} in {}, {stored} more sent", self.repo()),
            _ => {
                let excluded = number("excluded");
                let left = if excluded > 0 { format!(", {} left out", size::count(excluded)) } else { String::new() };
                format!("snapshot {id} in {}: {bytes}, {} read, {stored} stored{left}", self.repo(), size::human(number("bytes_read")))
            }
        }
    }
}

/// How one source ended.
#[derive(Debug)]
pub struct SourceEnd {
    /// Its name.
    pub name: String,
    /// Where it is stored.
    pub stored: Vec<Stored>,
    /// Which repositories do not have it, and why.
    pub repos_failed: Vec<(String, Fail)>,
    /// Why it is not stored, or not all of it.
    pub fail: Option<Fail>,
    /// Files that could not be read.
    pub unreadable: u64,
    /// How often it was tried.
    pub tries: u32,
    /// How long it took.
    pub took: Duration,
    /// What followed, of a worker for that.
    pub followed: Vec<Value>,
}

impl SourceEnd {
    /// Nothing is known yet.
    pub fn new(name: &str) -> Self {
        let (stored, repos_failed, followed) = Default::default();
        SourceEnd { name: name.to_owned(), stored, repos_failed, fail: None, unreadable: 0, tries: 0, took: Duration::ZERO, followed }
    }

    /// A repository dropped out.
    pub fn repo_failed(&mut self, value: &Value) {
        let repo = value["repo"].as_str().unwrap_or_default().to_owned();
        self.repos_failed.push((repo, fail_of(value)));
    }

    /// A further try: what it stored is stored, and what failed now is what failed.
    pub fn take(&mut self, end: SourceEnd, attempt: u32) {
        self.stored.extend(end.stored);
        self.repos_failed = end.repos_failed;
        (self.fail, self.unreadable, self.tries) = (end.fail, end.unreadable, attempt);
    }

    /// Whether another try could change anything: not for what is wrong in the same way each time.
    pub fn worth_another_try(&self) -> bool {
        let may_pass = |fail: &Fail| matches!(fail.code, Code::Failed | Code::NoSource | Code::Unreachable | Code::TimedOut | Code::Damage);
        match &self.fail {
            Some(fail) => may_pass(fail) && self.stored.is_empty(),
            None => !self.repos_failed.is_empty() && self.repos_failed.iter().any(|(_, fail)| may_pass(fail)),
        }
    }

    /// Whether a repository has all of it.
    pub fn is_whole_in(&self, repo: &str) -> bool {
        self.fail.is_none() && self.unreadable == 0 && self.stored.iter().any(|stored| stored.repo() == repo && stored.snapshot().is_some())
    }

    /// How it ended, alone.
    pub fn code(&self) -> Code {
        match (&self.fail, self.stored.is_empty(), self.repos_failed.is_empty() && self.unreadable == 0) {
            (Some(fail), true, _) => fail.code,
            (Some(fail), false, _) if fail.code == Code::Interrupted => Code::Interrupted,
            (None, _, true) => Code::Done,
            _ => Code::Incomplete,
        }
    }

    fn json(&self) -> Value {
        let failed = |fail: &Fail| json!({"code": fail.code.number(), "message": fail.message, "hint": fail.hint});
        json!({
            "source": self.name,
            "code": self.code().number(),
            "snapshots": self.stored.iter().map(|stored| {
                let mut value = stored.0.clone();
                value.as_object_mut().map(|map| map.remove("message_type"));
                value
            }).collect::<Vec<_>>(),
            "failed_repos": self.repos_failed.iter().map(|(repo, fail)| {
                let mut value = failed(fail);
                value["repo"] = repo.as_str().into();
                value
            }).collect::<Vec<_>>(),
            "error": self.fail.as_ref().map(failed),
            "unreadable": self.unreadable,
            "tries": self.tries,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The job.
    pub job: String,
    /// The run.
    pub run: String,
    /// Its sources, in the order of the job.
    pub sources: Vec<SourceEnd>,
    /// Retention and collections.
    pub followed: Vec<Value>,
    /// Why nothing was read.
    pub fail: Option<Fail>,
    /// How long it took.
    pub took: Duration,
    remarks: Code,
}

impl Report {
    /// Of a run that begins.
    pub fn new(job: &str, run: &str) -> Self {
        let (sources, followed) = Default::default();
        Report { job: job.to_owned(), run: run.to_owned(), sources, followed, fail: None, took: Duration::ZERO, remarks: Code::Done }
    }

    /// It ended before its sources.
    pub fn failed(&mut self, fail: Fail) {
        self.fail.get_or_insert(fail);
    }

    /// Something beside the sources went wrong.
    pub fn remarks(&mut self, code: Code) {
        if self.remarks == Code::Done || code == Code::Interrupted {
            self.remarks = code;
        }
    }

    /// Snapshots, with the repository of each.
    pub fn snapshots(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().flat_map(|end| &end.stored).filter_map(|stored| Some((stored.repo(), stored.snapshot()?)))
    }

    /// How it ended: with what all of its sources have in common, or with 3 where some are stored. None stored is 21, unless there is one
    /// reason for all that is not the sources'.
    pub fn code(&self) -> Code {
        let codes: Vec<Code> = self.sources.iter().map(SourceEnd::code).collect();
        if codes.contains(&Code::Interrupted) || self.remarks == Code::Interrupted {
            return Code::Interrupted;
        }
        if let Some(fail) = &self.fail {
            let stored = self.snapshots().next().is_some();
            return if stored && fail.code != Code::Interrupted { Code::Incomplete } else { fail.code };
        }
        let stored = |code: &Code| matches!(code, Code::Done | Code::Incomplete);
        match codes.split_first() {
            None => self.remarks,
            Some((first, rest)) if rest.iter().all(|code| code == first) => match first {
                Code::Done => self.remarks,
                // The repository's or the configuration's, not the source's.
                Code::NoRepository | Code::WrongKey | Code::Configuration | Code::Unreachable | Code::Refused | Code::TimedOut => *first,
                Code::Incomplete => Code::Incomplete,
                _ => Code::NoSource,
            },
            Some(_) if codes.iter().any(stored) => Code::Incomplete,
            Some(_) => Code::NoSource,
        }
    }

    /// The first reason, for hooks.
    pub fn error(&self) -> String {
        let sources = self.sources.iter().flat_map(|end| {
            let whole = end.fail.iter().map(|fail| format!("{}: {}", end.name, fail.message));
            whole.chain(end.repos_failed.iter().map(|(repo, fail)| format!("{}: {repo}: {}", end.name, fail.message)))
        });
        let own = self.fail.iter().map(|fail| fail.message.clone());
        own.chain(sources).next().unwrap_or_default()
    }

    /// As it is remembered, and as `--json` prints it.
    pub fn json(&self) -> Value {
        json!({
            "message_type": "run",
            "job": self.job,
            "run": self.run,
            "code": self.code().number(),
            "seconds": self.took.as_secs_f64(),
            "duration": time::clock(self.took),
            "error": Some(self.error()).filter(|error| !error.is_empty()),
            "sources": self.sources.iter().map(SourceEnd::json).collect::<Vec<_>>(),
            "followed": self.followed,
        })
    }
}
