//! Where files of schedulers lie, and which of them we made. What systemd does with them is asked of `systemctl`, where it runs.
//! It must never take a file for ours that does not say so.

use crate::exit::{Code, Fail, plain, where_to_write};
use crate::jobs::schedule::made::{Made, read};
use crate::jobs::schedule::{compose, crontab};
use crate::open::directory;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Units of the administrator.
pub const SYSTEM_UNITS: &str = "/etc/systemd/system";
/// It is there where systemd runs the machine.
const RUNS: &str = "/run/systemd/system";

/// Who starts jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// A timer and a service for each job.
    Systemd,
    /// One line for all of them.
    Cron,
    /// A container with the daemon.
    Compose,
}

impl Scheduler {
    /// Its word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Scheduler::Systemd => "systemd",
            Scheduler::Cron => "cron",
            Scheduler::Compose => "compose",
        }
    }

    /// Whose file this is, by its name.
    fn of(name: &str) -> Option<Scheduler> {
        if name.starts_with("seabed-") && (name.ends_with(".timer") || name.ends_with(".service")) {
            Some(Scheduler::Systemd)
        } else if name == crontab::NAME {
            Some(Scheduler::Cron)
        } else {
            (name == compose::NAME).then_some(Scheduler::Compose)
        }
    }
}

/// A file that `install` made.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Where it is.
    pub path: PathBuf,
    /// For whom.
    pub scheduler: Scheduler,
    /// It lies where a user's units do, and not the system's.
    pub user: bool,
    /// What it says of itself.
    pub made: Made,
}

/// Units of a user.
pub fn user_units() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config").map(|base| base.join("systemd/user"))
}

/// What `install` made from this configuration: in a directory that is named, else in the usual ones.
pub fn installed(config: &Path, named: Option<&Path>) -> Result<Vec<Installed>, Fail> {
    let usual = [Some(PathBuf::from(SYSTEM_UNITS)), user_units(), Some(PathBuf::from(crontab::DIRECTORY))];
    let places: Vec<PathBuf> = named.map_or_else(|| usual.into_iter().flatten().collect(), |named| vec![named.to_owned()]);
    let user = user_units();
    let mut found = Vec::new();
    for place in places {
        let entries = match std::fs::read_dir(&place) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => continue,
            entries => entries.map_err(|e| Fail::new(Code::Failed, format!("cannot read {}: {}", place.display(), plain(&e))))?,
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(scheduler) = path.file_name().and_then(|name| Scheduler::of(&name.to_string_lossy())) else { continue };
            // Whatever cannot be read was not made by us, for us.
            let Some(made) = std::fs::read_to_string(&path).ok().and_then(|text| read(&text)) else { continue };
            if made.origin.config == config {
                let user = user.as_deref().is_some_and(|user| path.starts_with(user));
                found.push(Installed { path, scheduler, user, made });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Whether the directory is one from which a systemd that runs here takes units.
pub fn is_live(place: &Path, user: bool) -> bool {
    match user {
        true => {
            user_units().is_some_and(|units| units == place)
                && std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|run| Path::new(&run).join("systemd").exists())
        }
        false => place == Path::new(SYSTEM_UNITS) && Path::new(RUNS).exists(),
    }
}

/// Asks systemd for something.
pub fn systemctl(user: bool, args: &[&str]) -> Result<(), Fail> {
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    let line = format!("systemctl {}{}", if user { "--user " } else { "" }, args.join(" "));
    let out = command.args(args).output().map_err(|e| Fail::new(Code::Failed, format!("cannot start `{line}`: {}", plain(&e))))?;
    if out.status.success() {
        return Ok(());
    }
    let mut fail = Fail::new(Code::Failed, format!("`{line}` failed"));
    fail.detail = Some(String::from_utf8_lossy(&out.stderr).trim_end().to_owned()).filter(|text| !text.is_empty());
    Err(fail)
}

/// Deletes a file that we made.
pub fn delete(path: &Path) -> Result<(), Fail> {
    std::fs::remove_file(path).map_err(|e| {
        let hint = where_to_write(&e).map(str::to_owned);
        Fail { hint, ..Fail::new(Code::Failed, format!("cannot delete {}: {}", path.display(), plain(&e))) }
    })
}
