//! Starts what is due, waits for it, and passes on that it is to stop. It must never start a job that it knows to run, nor end one by force.

use super::due::Watched;
use super::starts::LastStarts;
use crate::exit::Fail;
use crate::output::Output;
use crate::time;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use seabed_engine::format::wire::Time;
use serde_json::json;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// This very program, also where its file was replaced or has no name in a container.
const SELF: &str = "/proc/self/exe";

/// What wakes who waits: a signal to stop or to read the configuration anew, or the end of a child.
pub struct Wake {
    woken: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Wake {
    /// From here on these signals end nothing by themselves.
    pub fn hang() -> io::Result<Self> {
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reload)] {
            signal_hook::flag::register(signal, flag.clone())?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
        Ok(Wake { woken, stop, reload })
    }

    /// Waits so long at most.
    pub fn wait(&mut self, time: Duration) {
        let timeout = Timespec::try_from(time).ok();
        let mut fds = [PollFd::new(&self.woken, PollFlags::IN)];
        // Interrupted by the very signal: then the flags say it.
        poll(&mut fds, timeout.as_ref()).map(|_| ()).unwrap_or(());
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|count| count > 0) {}
    }

    /// Whether somebody asked to stop since this was asked last.
    pub fn stops(&self) -> bool {
        self.stop.swap(false, Ordering::Relaxed)
    }

    /// Whether the configuration is to be read anew.
    pub fn reloads(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}

/// Jobs that were started.
pub struct Runner {
    config: PathBuf,
    flags: Vec<&'static str>,
    children: BTreeMap<String, Child>,
    /// Starts that could not be written down.
    memory: BTreeMap<String, Timestamp>,
    /// The first code of a job that did not end well.
    pub failed: Option<u8>,
}

/// As messages have it.
pub fn rfc3339(at: Timestamp) -> String {
    time::rfc3339(&as_time(at))
}

/// As the engine has it.
pub fn as_time(at: Timestamp) -> Time {
    let nanos = at.as_nanosecond();
    let secs = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
    Time { secs, nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0) }
}

impl Runner {
    /// Nothing runs yet.
    pub fn new(config: &Path, out: &Output) -> Self {
        let mut flags = Vec::new();
        if out.json {
            flags.push("--json");
        }
        if out.level < 0 {
            flags.push("--quiet");
        }
        Runner { config: config.to_owned(), flags, children: BTreeMap::new(), memory: BTreeMap::new(), failed: None }
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.children.len()
    }

    /// Starts what is due and writes that down. Returns how many were started.
    pub fn start_due(&mut self, jobs: &[Watched], state: &Path, now: Timestamp, out: &Output) -> Result<usize, Fail> {
        let mut starts = LastStarts::hold(state)?;
        if starts.damaged {
            out.warn("the last starts of jobs cannot be read: what was missed until now is not made up for");
        }
        let mut count = 0;
        for job in jobs {
            let mut since = starts.since(&job.job, now);
            if let Some(known) = self.memory.get(&job.job).filter(|known| **known <= now) {
                since = since.max(*known);
            }
            let Some(planned) = job.due(since, now) else { continue };
            if self.children.contains_key(&job.job) {
                out.warn(&format!("job {} is due again while it still runs: this start is left out", job.job));
            } else {
                match self.start(&job.job) {
                    Ok(child) => {
                        self.children.insert(job.job.clone(), child);
                        count += 1;
                        tell_start(&job.job, planned, now, out);
                    }
                    Err(error) => {
                        // Not written down: it is tried again when somebody looks next.
                        out.failed_item(&format!("job {} cannot be started: {}", job.job, crate::exit::plain(&error)), "start", &job.job);
                        self.failed.get_or_insert(1);
                        continue;
                    }
                }
            }
            starts.started(&job.job, now);
            self.memory.insert(job.job.clone(), now);
        }
        // What was started runs, whether or not that can be written down.
        starts.save().map(|()| count)
    }

    fn start(&self, job: &str) -> io::Result<Child> {
        let mut command = Command::new(SELF);
        command.arg0("seabed").args(["run", job, "--cause", "schedule", "--config"]).arg(&self.config).args(&self.flags);
        // In a group of its own: what a terminal sends to ours is passed on by us, once.
        command.stdin(Stdio::null()).process_group(0).spawn()
    }

    /// Asks all of them to stop.
    pub fn stop(&self) {
        for child in self.children.values() {
            // One that has just ended is no failure.
            kill_process(Pid::from_child(child), Signal::TERM).unwrap_or(());
        }
    }

    /// Looks which have ended.
    pub fn reap(&mut self, out: &Output) {
        let mut ended: Vec<(String, Option<ExitStatus>)> = Vec::new();
        for (job, child) in &mut self.children {
            match child.try_wait() {
                Ok(None) => {}
                Ok(status) => ended.push((job.clone(), status)),
                // Somebody else waited for it.
                Err(_) => ended.push((job.clone(), None)),
            }
        }
        for (job, status) in ended {
            self.children.remove(&job);
            // As shells have it: 128 and the signal.
            let code = status.and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal)));
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            if code != 0 {
                self.failed.get_or_insert(code);
            }
            if out.json {
                out.message(&json!({"message_type": "job_ended", "job": job, "code": code}));
            } else if code == 0 {
                out.say(&format!("job {job} has ended"));
            } else {
                out.warn(&format!("job {job} has ended with exit code {code}"));
            }
        }
    }
}

fn tell_start(job: &str, planned: Timestamp, now: Timestamp, out: &Output) {
    if out.json {
        out.message(&json!({"message_type": "job_started", "job": job, "planned": rfc3339(planned), "time": rfc3339(now)}));
        return;
    }
    let late = Duration::try_from(now.duration_since(planned)).unwrap_or_default();
    // Cron looks every five minutes.
    let missed = if late > Duration::from_secs(600) { format!(", missed at {}", time::minute(&as_time(planned))) } else { String::new() };
    out.say(&format!("job {job} is started{missed}"));
}
