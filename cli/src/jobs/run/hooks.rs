//! Commands around a run and around a restore. Each is run by `sh -c` in the directory of the configuration, with what it may want to know in
//! its environment. What it writes is kept in the journal.

use super::child::{Ended, Limits, supervise};
use super::journal::Journal;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long one command may take, where nobody says.
pub const TIMEOUT: Duration = Duration::from_secs(3600);

/// What hooks are told.
pub struct Around<'a> {
    /// Where they run.
    pub directory: &'a Path,
    /// How long each may take.
    pub timeout: Duration,
    /// Variables: `SEABED_JOB`, `SEABED_RUN_ID` …
    pub variables: Vec<(&'static str, String)>,
    /// Where they are heard.
    pub journal: &'a Journal<'a>,
}

impl Around<'_> {
    /// Runs them in order, up to the first that fails. `interruptible`: not those that put something in order.
    pub fn run(&self, phase: &'static str, commands: &[String], interruptible: bool) -> Result<(), String> {
        for command in commands {
            self.one(phase, command, interruptible)?;
        }
        Ok(())
    }

    /// Runs all of them, whatever one of them does: what has to be put in order is not less so for the failure of another one. The failures.
    pub fn run_all(&self, phase: &'static str, commands: &[String]) -> Vec<String> {
        commands.iter().filter_map(|command| self.one(phase, command, false).err()).collect()
    }

    fn one(&self, phase: &'static str, command: &str, interruptible: bool) -> Result<(), String> {
        self.journal.info(phase, command);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(self.directory).env("SEABED_HOOK", phase);
        shell.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        let limits = Limits { timeout: Some(self.timeout), stall: None, interruptible };
        let ended = supervise(shell, None, limits, |_, line| {
            self.journal.output(phase, &line);
            true
        });
        let why = match ended {
            Ok(Ended::Code(0)) => return Ok(()),
            Ok(Ended::Code(code)) => format!("ended with exit status {code}"),
            Ok(Ended::Signal(signal)) => format!("was killed by signal {signal}"),
            Ok(Ended::TimedOut | Ended::Stalled) => format!("took longer than {}", crate::time::span(self.timeout)),
            Ok(Ended::Interrupted) => "was interrupted".to_owned(),
            Err(error) => format!("cannot be started: {}", crate::exit::plain(&error)),
        };
        Err(format!("the {phase} hook `{command}` {why}"))
    }
}
