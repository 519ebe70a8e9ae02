//! One run of one job: hooks, sources side by side, what follows in each repository, and how all of that ended.
//! The order is the promise: nothing old goes before what is new is stored, verified and validated; the application is put back to work as
//! soon as its sources are read, whatever became of them.

use super::child::{Ended, Limits, supervise};
use super::hooks::{Around, TIMEOUT};
use super::journal::Journal;
use super::ping::{Ping, Signal};
use super::report::{Report, SourceEnd, Stored};
use super::request::{Request, Task};
use super::watch::Watch;
use crate::args::Global;
use crate::exit::{Code, Fail};
use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use crate::jobs::state::State;
use crate::output::Output;
use crate::{signals, size, time};
use seabed_engine::clock;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait between two tries.
const DELAY_MAX: Duration = Duration::from_secs(3600);

/// How a job is run.
pub struct Asked<'a> {
    /// Options of the command line.
    pub global: &'a Global,
    /// The configuration.
    pub config: &'a Config,
    /// The job's name.
    pub name: &'a str,
    /// The job.
    pub job: &'a Job,
    /// Its sources, as far as they are asked for.
    pub sources: Vec<&'a str>,
    /// Its repositories, as far as they are asked for.
    pub repos: Vec<&'a str>,
    /// The host.
    pub host: String,
    /// What was stored is read back.
    pub verify: bool,
    /// Files that usually hold secrets are stored, whatever the configuration says.
    pub include_secrets: bool,
    /// Only read and count.
    pub dry_run: bool,
    /// What started it.
    pub cause: &'a str,
}

/// What a run works with.
pub struct Run<'a> {
    asked: &'a Asked<'a>,
    state: &'a State,
    id: String,
    journal: Journal<'a>,
    watch: Watch<'a>,
    directory: &'a Path,
}

impl<'a> Run<'a> {
    /// A run that is to begin, under an id of its own.
    pub fn new(asked: &'a Asked<'a>, state: &'a State, id: &str, out: &'a Output) -> Self {
        let journal = Journal::new(Some(state).filter(|_| !asked.dry_run), id, out);
        let directory = asked.config.path.parent().unwrap_or(Path::new("/"));
        Run { asked, state, id: id.to_owned(), journal, watch: Watch::new(out), directory }
    }

    /// Does it all. What it returns was said already.
    pub fn go(&self) -> Report {
        let began = Instant::now();
        let (name, job) = (self.asked.name, self.asked.job);
        let verb = if self.asked.dry_run { "would run" } else { "run" };
        let what = format!("{} into {}", list(&self.asked.sources), list(&self.asked.repos));
        self.journal.info("", &format!("{verb} {} of job {name}: {what}", self.id.get(..8).unwrap_or(&self.id)));
        let ping = Ping::new(job.ping.as_ref(), &self.id);
        if !self.asked.dry_run {
            ping.tell(Signal::Start, "", &self.journal);
        }
        let mut report = Report::new(name, &self.id);
        let stored = self.stored(&mut report);
        report.took = began.elapsed();
        if signals::interrupted() && stored.is_ok() {
            report.failed(Fail::new(Code::Interrupted, "interrupted"));
        }
        if let Err(fail) = stored {
            report.failed(fail);
        }
        self.afterwards(&mut report);
        report.took = began.elapsed();
        if let Some(limit) = job.monitor.max_duration.filter(|limit| report.took > limit.0) {
            self.journal.warning("", &format!("it took {}, longer than {limit} (max_duration)", time::clock(report.took)));
        }
        self.close(&report);
        if !self.asked.dry_run {
            let signal = if report.code() == Code::Done { Signal::Success } else { Signal::Failure };
            ping.tell(signal, &self.journal.tail(40), &self.journal);
        }
        report
    }

    /// Up to the last snapshot.
    fn stored(&self, report: &mut Report) -> Result<(), Fail> {
        let hooks = &self.asked.job.hooks;
        let failed = |why: String| match signals::interrupted() {
            true => Fail::new(Code::Interrupted, "interrupted, no snapshot was made"),
            false => Fail::new(Code::NoSource, format!("no snapshot was made: {why}")).hint("its output is in `seabed logs`"),
        };
        if self.asked.dry_run {
            report.sources = self.sources();
            return Ok(());
        }
        self.left_quiet();
        self.around(report, Vec::new()).run("pre", &hooks.pre, true).map_err(failed)?;
        let quiet = format!("quiet:{}", self.asked.name);
        if !hooks.resume.is_empty() {
            // Before it: a machine that dies in the middle finds it at the next run.
            self.state.mark(&quiet, clock::now().secs).unwrap_or_else(|e| self.journal.warning("", &e.to_string()));
        }
        let quiesced = self.around(report, Vec::new()).run("quiesce", &hooks.quiesce, true);
        if quiesced.is_ok() {
            report.sources = self.sources();
        }
        // In any case, and before anything that could take long: the application has waited for nothing but its sources.
        let unresumed = self.around(report, Vec::new()).run_all("resume", &hooks.resume);
        if unresumed.is_empty() {
            self.state.unmark(&quiet).unwrap_or(());
        }
        for why in unresumed {
            self.journal.error("resume", &why);
            report.remarks(Code::Incomplete);
        }
        quiesced.map_err(failed)
    }

    /// A run that was killed between its `quiesce` and its `resume` has left the application down.
    fn left_quiet(&self) {
        let quiet = format!("quiet:{}", self.asked.name);
        if !matches!(self.state.marked(&quiet), Ok(Some(_))) {
            return;
        }
        self.journal.warning("", "the last run was killed before its resume hooks: they run now");
        let report = Report::new(self.asked.name, &self.id);
        for why in self.around(&report, Vec::new()).run_all("resume", &self.asked.job.hooks.resume) {
            self.journal.error("resume", &why);
        }
        self.state.unmark(&quiet).unwrap_or(());
    }

    /// All sources, so many at a time.
    fn sources(&self) -> Vec<SourceEnd> {
        let names = &self.asked.sources;
        let next = AtomicUsize::new(0);
        let ends: Mutex<Vec<(usize, SourceEnd)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.asked.job.run.parallel.get().min(names.len()) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(name) = names.get(n) else { return };
                        let end = self.source(name);
                        self.said(&end);
                        ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((n, end));
                    }
                });
            }
        });
        self.watch.finish();
        let mut ends = ends.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        ends.sort_by_key(|(n, _)| *n);
        ends.into_iter().map(|(_, end)| end).collect()
    }

    /// One source, tried as often as it may be.
    fn source(&self, name: &str) -> SourceEnd {
        let options = &self.asked.job.run;
        let began = Instant::now();
        let mut delay = options.delay.0;
        let mut all = SourceEnd::new(name);
        for attempt in 1..=options.tries.get() {
            if signals::interrupted() {
                all.fail = Some(Fail::new(Code::Interrupted, "interrupted, no snapshot was made"));
                break;
            }
            let end = self.attempt(name, &all);
            all.take(end, attempt);
            if attempt == options.tries.get() || !all.worth_another_try() {
                break;
            }
            let why = all.fail.iter().chain(all.repos_failed.iter().map(|(_, fail)| fail)).map(words).collect::<Vec<_>>().join("; ");
            let again = time::span(delay);
            self.journal.warning(name, &format!("try {attempt} of {} failed, again in {again}: {why}", options.tries));
            wait(delay);
            delay = delay.saturating_mul(2).min(DELAY_MAX);
        }
        all.took = began.elapsed();
        all
    }

    /// One try: the source is read, or, where an earlier try has stored it somewhere, brought from there to where it is missing.
    fn attempt(&self, name: &str, before: &SourceEnd) -> SourceEnd {
        let options = &self.asked.job.run;
        let Some(stored) = before.stored.first() else {
            let task = Task::Backup {
                source: name.to_owned(),
                repos: self.asked.repos.iter().map(|repo| (*repo).to_owned()).collect(),
                dry_run: self.asked.dry_run,
                verify: self.asked.verify || options.verify,
                include_secrets: self.asked.include_secrets,
            };
            return self.worker(name, task);
        };
        let (from, snapshot) = (stored.repo().to_owned(), stored.snapshot().unwrap_or_default().to_owned());
        let mut all = SourceEnd::new(name);
        for (to, _) in &before.repos_failed {
            let mut end = self.worker(name, Task::Bring { from: from.clone(), to: to.clone(), snapshot: snapshot.clone() });
            all.stored.append(&mut end.stored);
            if let Some(fail) = end.fail {
                all.repos_failed.push((to.clone(), fail));
            }
        }
        all.unreadable = before.unreadable;
        all
    }

    /// One worker, from its start to its end.
    fn worker(&self, who: &str, task: Task) -> SourceEnd {
        let mut end = SourceEnd::new(who);
        let limits = match &task {
            Task::Backup { .. } | Task::Bring { .. } => {
                let common = self.asked.config.sources.get(who).map(|source| source.common.clone()).unwrap_or_default();
                let run = &self.asked.job.run;
                let span =
                    |own: Option<crate::jobs::config::units::Span>, all| own.or(all).map(|span: crate::jobs::config::units::Span| span.0);
                Limits { timeout: span(common.timeout, run.timeout), stall: span(common.stall, run.stall), interruptible: true }
            }
            _ => Limits { interruptible: true, ..Limits::default() },
        };
        let request = Request {
            config_path: self.asked.config.path.clone(),
            config: self.asked.config.text.reveal().to_owned(),
            job: self.asked.name.to_owned(),
            run: self.id.clone(),
            host: self.asked.host.clone(),
            task,
        };
        let Ok(mut line) = serde_json::to_vec(&request) else {
            end.fail = Some(Fail::new(Code::Failed, "the request to a worker cannot be written"));
            return end;
        };
        line.push(b'\n');
        let mut command = Command::new("/proc/self/exe");
        command.args(["worker", "--json"]);
        if let Some(cache) = &self.asked.global.cache_dir {
            command.arg("--cache-dir").arg(cache);
        }
        if self.asked.global.no_cache {
            command.arg("--no-cache");
        }
        let ended = supervise(command, Some(&line), limits, |_, line| self.heard(who, &line, &mut end));
        self.watch.ended(who);
        let fail = match ended {
            Ok(Ended::Code(0 | 3)) => None,
            Ok(Ended::Code(code)) => match end.fail.take() {
                Some(fail) => Some(fail),
                None => Some(
                    Fail::new(Code::of(code).unwrap_or(Code::Failed), "it failed without a word").hint("`seabed logs` has what it wrote"),
                ),
            },
            Ok(Ended::Signal(signal)) => Some(
                Fail::new(Code::Failed, format!("its process was killed by signal {signal}"))
                    .hint("look for the kernel's out-of-memory killer: `dmesg`"),
            ),
            Ok(Ended::TimedOut) => {
                let limit = limits.timeout.map(time::span).unwrap_or_default();
                Some(
                    Fail::new(Code::TimedOut, format!("no snapshot was made: it took longer than {limit} (timeout)"))
                        .hint("raise run.timeout, or look what it waits for"),
                )
            }
            Ok(Ended::Stalled) => {
                let limit = limits.stall.map(time::span).unwrap_or_default();
                Some(
                    Fail::new(Code::TimedOut, format!("no snapshot was made: nothing moved for {limit} (stall)"))
                        .hint("look what it waits for: a lock in the database, a network, a disk"),
                )
            }
            Ok(Ended::Interrupted) => Some(Fail::new(Code::Interrupted, "interrupted, no snapshot was made")),
            Err(error) => Some(Fail::new(Code::Failed, format!("its process cannot be started: {}", crate::exit::plain(&error)))),
        };
        // What was acknowledged before stays: a snapshot is one when its manifest is there.
        end.fail = fail;
        end
    }

    /// A line of a worker's. Whether anything moved.
    fn heard(&self, who: &str, line: &str, end: &mut SourceEnd) -> bool {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            self.journal.output(who, line);
            return true;
        };
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        match value["message_type"].as_str().unwrap_or_default() {
            "status" => return self.watch.moved(who, &value),
            "stored" => {
                let stored = Stored(value);
                self.journal.info(who, &stored.words(self.asked.dry_run));
                end.stored.push(stored);
            }
            "repo_failed" => end.repo_failed(&value),
            "exit_error" => end.fail = Some(fail_of(&value)),
            "warning" => self.journal.warning(who, &text("message")),
            "error" => {
                end.unreadable += 1;
                self.journal.warning(who, value["error"]["message"].as_str().unwrap_or_default());
            }
            "said" => {
                let (stream, said) = (text("stream"), text("text"));
                said.lines().for_each(|line| self.journal.output(&format!("{who}: {stream}"), line));
            }
            "verified" => self.journal.info(who, &format!("read back and verified in {}", text("repo"))),
            "retained" | "collected" => end.followed.push(value),
            _ => {}
        }
        true
    }

    /// What became of a source, in a line or two.
    fn said(&self, end: &SourceEnd) {
        for (repo, fail) in &end.repos_failed {
            self.journal.error(&end.name, &format!("not stored in {repo}: {}", words(fail)));
        }
        // That of the last repository was said just now.
        let said = |fail: &Fail| end.repos_failed.last().is_some_and(|(_, other)| other.message == fail.message);
        if let Some(fail) = end.fail.as_ref().filter(|fail| !said(fail)) {
            self.journal.error(&end.name, &words(fail));
            for line in fail.detail.iter().flat_map(|detail| detail.lines()) {
                self.journal.quietly("output", &end.name, line);
                self.watch.detail(line);
            }
        }
    }

    /// What follows once all is stored that will be.
    fn afterwards(&self, report: &mut Report) {
        if self.asked.dry_run {
            return;
        }
        let hooks = &self.asked.job.hooks;
        let mut unverified = false;
        if report.snapshots().next().is_some() && !hooks.validate.is_empty() && !signals::interrupted() {
            let around = self.around(report, Vec::new());
            if let Err(why) = around.run("validate", &hooks.validate, true) {
                self.journal.error("validate", &format!("{why}: the snapshots are marked as unverified, and nothing old goes"));
                unverified = true;
                self.mark(report);
                report.remarks(Code::Incomplete);
            }
        }
        if !unverified && !signals::interrupted() {
            self.retain(report);
        }
        let code = report.code();
        let phase: (&'static str, &[String]) = if code == Code::Done { ("post", &hooks.post) } else { ("fail", &hooks.fail) };
        for (phase, commands) in [phase, ("finally", &hooks.finally[..])] {
            let told = vec![("SEABED_EXIT_CODE", code.number().to_string()), ("SEABED_ERROR", report.error())];
            for why in self.around(report, told).run_all(phase, commands) {
                self.journal.error(phase, &why);
                report.remarks(Code::Incomplete);
            }
        }
    }

    /// Marks what was stored for what the `validate` hook said of it.
    fn mark(&self, report: &Report) {
        for repo in &self.asked.repos {
            let snapshots: Vec<String> = report.snapshots().filter(|(stored, _)| stored == repo).map(|(_, id)| id.to_owned()).collect();
            if snapshots.is_empty() {
                continue;
            }
            let end = self.worker(repo, Task::Mark { repo: (*repo).to_owned(), snapshots });
            if let Some(fail) = end.fail {
                self.journal.error(repo, &words(&fail));
            }
        }
    }

    /// Lets old snapshots go where all of this run's sources were stored: what has only failed lately must not erode its history.
    fn retain(&self, report: &mut Report) {
        for repo in &self.asked.repos {
            let in_repo = |end: &SourceEnd| end.is_whole_in(repo);
            let sources: Vec<String> = report.sources.iter().filter(|end| in_repo(end)).map(|end| end.name.clone()).collect();
            if sources.is_empty() || signals::interrupted() {
                continue;
            }
            let policy = self.asked.job.retention.clone().or_else(|| self.asked.config.repos.get(*repo)?.retention.clone());
            let collect = self.collects(repo);
            if policy.is_none() && !collect {
                continue;
            }
            let task = Task::Retain { repo: (*repo).to_owned(), policy, sources, collect };
            let end = self.worker(repo, task);
            for value in &end.followed {
                if value["message_type"] == "retained" {
                    let gone = value["forgotten"].as_array().map_or(0, Vec::len) as u64;
                    let kept = size::of(value["kept"].as_u64().unwrap_or(0), "snapshot");
                    let policy = value["policy"].as_str().unwrap_or_default();
                    self.journal.info(repo, &format!("{kept} kept, {} forgotten ({policy})", size::count(gone)));
                } else {
                    self.state.mark(&format!("gc:{repo}"), clock::now().secs).unwrap_or(());
                    let freed = size::human(value["deleted_bytes"].as_u64().unwrap_or(0));
                    self.journal.info(repo, &format!("collected: {freed} deleted"));
                }
            }
            if let Some(fail) = end.fail {
                self.journal.error(repo, &words(&fail));
                report.remarks(if fail.code == Code::Interrupted { Code::Interrupted } else { Code::Incomplete });
            }
            report.followed.extend(end.followed);
        }
    }

    /// Whether it is time for a slice of a collection.
    fn collects(&self, repo: &str) -> bool {
        let gc = &self.asked.job.gc;
        let last = self.state.marked(&format!("gc:{repo}")).ok().flatten().unwrap_or(i64::MIN);
        let every = i64::try_from(gc.every.0.as_secs()).unwrap_or(i64::MAX);
        // A clock that went back must not put it off for ever.
        let (now, due) = (clock::now().secs, last.saturating_add(every));
        gc.enabled && (now >= due || now < last)
    }

    /// Hooks, with what they may want to know.
    fn around(&self, report: &Report, more: Vec<(&'static str, String)>) -> Around<'_> {
        let snapshots: Vec<String> = report.snapshots().map(|(repo, id)| format!("{repo}:{id}")).collect();
        let mut variables = vec![
            ("SEABED_JOB", self.asked.name.to_owned()),
            ("SEABED_RUN_ID", self.id.clone()),
            ("SEABED_CONFIG", self.asked.config.path.display().to_string()),
            ("SEABED_HOST", self.asked.host.clone()),
            ("SEABED_SNAPSHOTS", snapshots.join(" ")),
        ];
        variables.extend(more);
        let timeout = self.asked.job.hooks.timeout.map_or(TIMEOUT, |span| span.0);
        Around { directory: self.directory, timeout, variables, journal: &self.journal }
    }

    /// The last line.
    fn close(&self, report: &Report) {
        let code = report.code();
        let took = time::clock(report.took);
        let text = match code {
            Code::Done if self.asked.dry_run => format!("done in {took}, nothing was stored"),
            Code::Done => format!("done in {took}"),
            Code::Interrupted => format!("interrupted after {took}"),
            Code::Incomplete => format!("done in part, in {took}: exit {}", code.number()),
            _ => format!("failed after {took}: exit {}", code.number()),
        };
        self.journal.info("", &text);
    }
}

/// A failure in one line.
fn words(fail: &Fail) -> String {
    let hint = fail.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}{hint}", fail.message)
}

/// A failure that a worker told.
pub fn fail_of(value: &Value) -> Fail {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let code = value["code"].as_i64().and_then(|code| Code::of(i32::try_from(code).ok()?)).unwrap_or(Code::Failed);
    Fail { code, message: text("message").unwrap_or_default(), hint: text("hint"), detail: text("stderr") }
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

/// Waits, as long as nobody asks to stop.
fn wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && !signals::interrupted() {
        std::thread::sleep(Duration::from_millis(100).min(time));
    }
}
