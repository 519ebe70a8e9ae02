//! Restoring what a job stored: `JOB@latest`. It picks the snapshots, one for each source and of one run where there is one, goes on to the
//! next repository and to older snapshots where something is damaged, and puts the application to rest and back to work around it.
//! It must never pass an older snapshot for the one that was asked for without saying so.

use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Fail};
use crate::jobs::config::Config;
use crate::jobs::config::job::Job;
use crate::jobs::open::of;
use crate::jobs::run::hooks::{Around, TIMEOUT};
use crate::jobs::run::journal::Journal;
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::archive::{ArchiveOptions, Format, archive};
use seabed_engine::catalog::Snapshot;
use seabed_engine::format::wire::Time;
use seabed_engine::repository::selector::{Selected, split_path};
use std::path::Path;

/// Options of a restore that has to do with jobs.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct JobArgs {
    /// Only this source of the job (repeatable)
    #[arg(long, value_name = "SOURCE", help_heading = "Restoring jobs (JOB@latest)")]
    pub source: Vec<String>,
    /// The newest snapshot that is not younger: `2026-01-31 02:00`, RFC 3339
    #[arg(long, value_name = "TIME", help_heading = "Restoring jobs (JOB@latest)")]
    pub at: Option<String>,
    /// Ask what is to be restored, and where to
    #[arg(long, help_heading = "Restoring jobs (JOB@latest)")]
    pub guided: bool,
    /// Store what is there now first: the job's source is run once more
    #[arg(long, help_heading = "Restoring jobs (JOB@latest)")]
    pub safety_snapshot: bool,
    /// A command that follows a restore that went well, behind those of the job (repeatable)
    #[arg(long, value_name = "COMMAND", help_heading = "Restoring jobs (JOB@latest)")]
    pub post: Vec<String>,
    /// Run neither the quiesce, resume and post commands of the job nor those of its restore
    #[arg(long, help_heading = "Restoring jobs (JOB@latest)")]
    pub no_hooks: bool,
}

/// What is meant by `JOB@SELECTOR`.
pub struct Meant<'a> {
    /// The job's name.
    pub name: &'a str,
    /// The rest: `latest`, `latest~2`, an id, each with `:/path`.
    pub selector: &'a str,
}

/// Whether a selector means a job: nothing else has an `@` before the first `:`.
pub fn meant(selector: &str) -> Option<Meant<'_>> {
    let (before, _) = selector.split_once(':').unwrap_or((selector, ""));
    let (name, rest) = before.split_once('@')?;
    Some(Meant { name, selector: if rest.is_empty() { "latest" } else { &selector[name.len() + 1..] } })
}

/// A snapshot that comes into question for a source.
pub struct Candidate {
    /// In which of the open repositories.
    pub repo: usize,
    /// The snapshot, and the path below it.
    pub selected: Selected,
    /// It is not the one that was asked for, but an older one.
    pub older: bool,
}

/// What a restore of a job comes to.
pub struct Plan {
    /// The sources, each with what comes into question for it: one at least.
    pub sources: Vec<(String, Vec<Candidate>)>,
    /// Nothing that was asked for is missing.
    pub complete: bool,
}

/// How many older snapshots are tried where one is damaged: each is read whole before it is taken.
const OLDER_MAX: usize = 10;

/// A job that is to be restored, its repositories open.
pub struct Restoring<'a> {
    config: &'a Config,
    /// The job's name.
    pub name: String,
    job: &'a Job,
    selector: String,
    at: Option<Time>,
    sources: Vec<String>,
    repos: Vec<(String, Opened)>,
    snapshots: Vec<Vec<Snapshot>>,
    host: String,
    out: &'a Output,
}

impl<'a> Restoring<'a> {
    /// Opens what there is. A repository that cannot be opened is said, and the next one asked.
    pub fn open(global: &Global, config: &'a Config, meant: &Meant<'_>, args: &JobArgs, out: &'a Output) -> Result<Self, Fail> {
        let job = config.job(meant.name)?;
        for source in &args.source {
            if !job.sources.contains(source) {
                return Err(
                    Fail::config(format!("job {} has no source `{source}`", meant.name)).hint(format!("it has {}", job.sources.join(", ")))
                );
            }
        }
        let at = args.at.as_deref().map(time::moment).transpose().map_err(Fail::config)?;
        let (mut repos, mut snapshots, mut last) = (Vec::new(), Vec::new(), None);
        for name in config.repos_of(job) {
            let opened = of(config, name, global).and_then(|own| open::open(&own, out)).and_then(|opened| {
                refresh(&opened.repository, out)?;
                Ok(opened)
            });
            match opened {
                Ok(opened) => {
                    snapshots.push(opened.repository.catalog().snapshots()?);
                    repos.push((name.to_owned(), opened));
                }
                Err(fail) if signals::interrupted() => return Err(fail),
                Err(fail) => {
                    out.warn(&format!("repo {name}: {}; the next one is asked", fail.message));
                    last = Some(fail);
                }
            }
        }
        if repos.is_empty() {
            return Err(last.unwrap_or_else(|| Fail::config(format!("job {} has no repository", meant.name))));
        }
        let sources = if args.source.is_empty() { job.sources.clone() } else { args.source.clone() };
        let mut restoring = Restoring {
            config,
            name: meant.name.to_owned(),
            job,
            selector: meant.selector.to_owned(),
            at,
            sources,
            repos,
            snapshots,
            host: config.host(),
            out,
        };
        restoring.settle_host()?;
        Ok(restoring)
    }

    /// A new machine has another name than the one that was lost: where only one host has such snapshots, it is meant.
    fn settle_host(&mut self) -> Result<(), Fail> {
        let series: Vec<String> = self.sources.iter().map(|source| Config::series(&self.name, source)).collect();
        let mut hosts: Vec<&str> =
            self.snapshots.iter().flatten().filter(|s| series.contains(&s.names.series)).map(|s| s.names.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        match hosts.as_slice() {
            _ if hosts.contains(&self.host.as_str()) => Ok(()),
            [] => Err(Fail::new(Code::Failed, format!("nothing is stored of {}", series.join(", ")))
                .hint("`seabed status` says what is stored where")),
            [one] => {
                self.out.warn(&format!("these snapshots are of host {one}, and this is {}", self.host));
                self.host = (*one).to_owned();
                Ok(())
            }
            many => Err(Fail::config(format!("{} have such snapshots, and this is {}", many.join(", "), self.host))
                .hint("say which one is meant: SEABED_HOST=NAME, or host in the configuration")),
        }
    }

    /// What comes into question for each source. It is looked up before anything is touched: of a job that cannot be restored as it was asked
    /// for, no part is. A source that has never been stored costs the others nothing, unless it was `named`.
    pub fn plan(&self, named: bool) -> Result<Plan, Fail> {
        let (mut sources, mut missing) = (Vec::new(), Vec::new());
        for source in &self.sources {
            let candidates = self.candidates(source)?;
            match candidates.is_empty() {
                true => missing.push(source.as_str()),
                false => sources.push((source.clone(), candidates)),
            }
        }
        let (id, _) = split_path(&self.selector);
        if sources.is_empty() || (named && !missing.is_empty()) {
            let of = missing.first().copied().unwrap_or_default();
            return Err(Fail::new(Code::Failed, format!("source {of} of job {} has no snapshot `{id}`", self.name))
                .hint("`seabed snapshots --repo @NAME` lists what there is"));
        }
        // Of a snapshot or a run that was named, that is all that was meant.
        let complete = missing.is_empty() || !id.starts_with("latest");
        if !complete {
            self.out.warn(&format!("nothing is stored of {}: the rest of job {} is restored", missing.join(", "), self.name));
        }
        let run = |candidates: &[Candidate]| candidates[0].selected.snapshot.index.group;
        if sources.iter().any(|(_, candidates)| run(candidates) != run(&sources[0].1)) {
            let words: Vec<String> = sources
                .iter()
                .map(|(source, candidates)| format!("{source} of {}", time::local(&candidates[0].selected.snapshot.index.time)))
                .collect();
            self.out.warn(&format!("these are of different runs: {}", words.join(", ")));
        }
        Ok(Plan { sources, complete })
    }

    /// A repository that is open.
    pub fn opened(&self, candidate: &Candidate) -> (&str, &Opened) {
        let (name, opened) = &self.repos[candidate.repo];
        (name, opened)
    }

    /// Snapshots of a source in a repository, newest first.
    fn of_source(&self, repo: usize, source: &str) -> Vec<&Snapshot> {
        let series = Config::series(&self.name, source);
        let mut own: Vec<&Snapshot> = self.snapshots[repo]
            .iter()
            .filter(|s| s.names.series == series && s.names.host == self.host && !s.index.incomplete)
            .filter(|s| self.at.is_none_or(|at| s.index.time <= at))
            .collect();
        own.sort_by_key(|s| std::cmp::Reverse((s.index.time, s.index.sequence)));
        own
    }

    /// What comes into question for a source, best first: the one that was asked for in each repository, then older ones. None, where
    /// nothing is what was asked for. An id is one of a snapshot or of a run.
    pub fn candidates(&self, source: &str) -> Result<Vec<Candidate>, Fail> {
        let (id, path) = split_path(&self.selector);
        let back =
            match id.strip_prefix("latest") {
                Some("") => Some(0),
                Some(rest) => Some(rest.strip_prefix('~').and_then(|n| n.parse::<usize>().ok()).ok_or_else(|| {
                    Fail::config(format!("`{id}` means nothing")).hint("write JOB@latest, JOB@latest~2, JOB@ID or JOB@RUN")
                })?),
                None => None,
            };
        let of_repos: Vec<Vec<&Snapshot>> = (0..self.repos.len()).map(|repo| self.of_source(repo, source)).collect();
        // A snapshot and its copies are of one time.
        let asked: Option<Time> = match back {
            Some(back) => {
                let mut times: Vec<Time> = of_repos.iter().flatten().map(|s| s.index.time).collect();
                times.sort_unstable();
                times.dedup();
                times.iter().rev().nth(back).copied()
            }
            None => {
                let id = id.to_ascii_lowercase();
                let is =
                    |s: &&&Snapshot| s.id.to_string().starts_with(&id) || s.index.group.is_some_and(|run| run.to_string().starts_with(&id));
                of_repos.iter().flatten().find(is).map(|s| s.index.time)
            }
        };
        let Some(asked) = asked else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (repo, snapshots) in of_repos.iter().enumerate() {
            let own = snapshots.iter().filter(|s| s.index.time == asked);
            found.extend(own.map(|s| Candidate { repo, selected: Selected { snapshot: (*s).clone(), path: path.clone() }, older: false }));
        }
        let mut older: Vec<Candidate> = Vec::new();
        for (repo, snapshots) in of_repos.iter().enumerate() {
            let before = snapshots.iter().filter(|s| s.index.time < asked).take(OLDER_MAX);
            older.extend(before.map(|s| Candidate {
                repo,
                selected: Selected { snapshot: (*s).clone(), path: path.clone() },
                older: true,
            }));
        }
        older.sort_by_key(|c| (std::cmp::Reverse(c.selected.snapshot.index.time), c.repo));
        found.extend(older);
        Ok(found)
    }

    /// Restores a source by `one`, from the first of the `candidates` with which that works. What was damaged is said.
    pub fn restore(
        &self,
        (source, candidates): (&str, &[Candidate]),
        one: &mut dyn FnMut(&Opened, &Selected) -> Result<Code, Fail>,
    ) -> Result<Code, Fail> {
        let mut last: Option<Fail> = None;
        for candidate in candidates {
            let (repo, opened) = self.opened(candidate);
            let snapshot = &candidate.selected.snapshot;
            let (id, when) = (snapshot.id.short(), time::local(&snapshot.index.time));
            if candidate.older {
                // Read whole first: half of an older state over half of a newer one would be worse than either.
                if let Err(fail) = self.verified(opened, &candidate.selected) {
                    self.out.warn(&format!("snapshot {id} of {when} in {repo} is no better: {}", fail.message));
                    continue;
                }
                self.out.warn(&format!(
                    "taking the older snapshot {id} of {when} in {repo}, which is whole: what came after it is not restored"
                ));
            } else if last.is_some() {
                self.out.warn(&format!("trying snapshot {id} in {repo}"));
            }
            match one(opened, &candidate.selected) {
                // What was asked for and what was got are two things.
                Ok(Code::Done) if candidate.older => return Ok(Code::Incomplete),
                Ok(code) => return Ok(code),
                Err(fail) if matches!(fail.code, Code::Damage | Code::Unreachable) && !signals::interrupted() => {
                    self.out.warn(&format!("snapshot {id} of {when} in {repo} cannot be restored: {}", fail.message));
                    last = Some(fail);
                }
                Err(fail) => return Err(fail),
            }
        }
        Err(last.unwrap_or_else(|| Fail::new(Code::Failed, format!("nothing of source {source} could be restored"))))
    }

    fn verified(&self, opened: &Opened, selected: &Selected) -> Result<(), Fail> {
        let listener = Listener::beside_result(self.out, "verifying");
        let read = archive(&opened.repository, selected, &ArchiveOptions::new(Format::Tar), &mut std::io::sink(), &listener);
        listener.finish();
        Ok(read.map(|_| ())?)
    }

    /// Does `what` with the application at rest, and what follows a restore.
    pub fn around(&self, args: &JobArgs, what: &mut dyn FnMut() -> Result<Code, Fail>) -> Result<Code, Fail> {
        let journal = Journal::new(None, "", self.out);
        let directory = self.config.path.parent().unwrap_or(Path::new("/"));
        let variables = vec![
            ("SEABED_JOB", self.name.clone()),
            ("SEABED_CONFIG", self.config.path.display().to_string()),
            ("SEABED_RESTORE", "1".to_owned()),
        ];
        let hooks = &self.job.hooks;
        let timeout = hooks.timeout.map_or(TIMEOUT, |span| span.0);
        let around = Around { directory, timeout, variables, journal: &journal };
        let failed = |why: String| Fail::new(Code::Failed, why).hint("--no-hooks leaves the commands of the configuration out");
        let quiesced = if args.no_hooks { Ok(()) } else { around.run("quiesce", &hooks.quiesce, true) };
        let done = match quiesced {
            Ok(()) => what(),
            Err(why) => Err(failed(format!("nothing was restored: {why}"))),
        };
        // Whatever came of it: an application that stays down is a second accident.
        let unresumed = if args.no_hooks { Vec::new() } else { around.run_all("resume", &hooks.resume) };
        unresumed.iter().for_each(|why| self.out.warn(why));
        let code = done?;
        let own: &[String] = if args.no_hooks { &[] } else { &self.job.restore.post };
        let post: Vec<String> = own.iter().chain(&args.post).cloned().collect();
        around.run("post", &post, true).map_err(|why| Fail::new(Code::Incomplete, format!("all was restored, but {why}")))?;
        Ok(if unresumed.is_empty() { code } else { Code::Incomplete })
    }
}

/// Runs a job's source once more before it is overwritten.
pub fn safety(global: &Global, config: &Config, name: &str, sources: &[String], out: &Output) -> Result<(), Fail> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg("--config").arg(&config.path).args(["run", name, "--cause", "safety", "--quiet"]);
    for source in sources {
        command.arg("--source").arg(source);
    }
    if let Some(cache) = &global.cache_dir {
        command.arg("--cache-dir").arg(cache);
    }
    out.say(&format!("storing what is there first: {}", size::of(sources.len() as u64, "source")));
    let failed = |why: String| {
        Fail::new(Code::Refused, format!("nothing was restored: the snapshot of what is there now failed: {why}"))
            .hint("`seabed logs` has the reason; without --safety-snapshot it is not asked for")
    };
    let status = command.stdin(std::process::Stdio::null()).status().map_err(|e| failed(crate::exit::plain(&e)))?;
    match status.code() {
        Some(0) => Ok(()),
        code => Err(failed(format!("exit status {}", code.map_or("none".to_owned(), |code| code.to_string())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_meant_by_an_at() {
        let of = |text| meant(text).map(|m| (m.name, m.selector));
        assert_eq!(of("db@latest"), Some(("db", "latest")));
        assert_eq!(of("db@"), Some(("db", "latest")));
        assert_eq!(of("db@latest~2:/pg/shop.sql"), Some(("db", "latest~2:/pg/shop.sql")));
        assert_eq!(of("latest:/home/a@b"), None);
        assert_eq!(of("40dc1520"), None);
    }
}
