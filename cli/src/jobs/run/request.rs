//! What a run asks of a worker, which is a process of its own: one source into its repositories, or what follows in one repository.
//! It goes through standard input, for the configuration in it may hold secrets.

use crate::exit::Fail;
use crate::signals;
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::path::PathBuf;

/// A request: one line of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Request {
    /// Where the configuration was read from.
    pub config_path: PathBuf,
    /// The configuration, with all variables in their places.
    pub config: String,
    /// The job.
    pub job: String,
    /// The id of the run, which becomes the group of its snapshots.
    pub run: String,
    /// The host that snapshots are of.
    pub host: String,
    /// What is to be done.
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Task {
    /// A source is stored.
    Backup {
        /// Which.
        source: String,
        /// In which repositories, the first that can take it first.
        repos: Vec<String>,
        /// It is only read and counted.
        dry_run: bool,
        /// What was stored is read back.
        verify: bool,
        /// Files that usually hold secrets are stored, whatever the configuration says.
        include_secrets: bool,
    },
    /// A snapshot is brought where a first try could not put it.
    Bring {
        /// Where it is.
        from: String,
        /// Where it is to be.
        to: String,
        /// Which.
        snapshot: String,
    },
    /// Snapshots are marked, for what the `validate` hook said.
    Mark {
        /// Where.
        repo: String,
        /// Which.
        snapshots: Vec<String>,
    },
    /// What a policy does not keep is forgotten, and a slice of a collection may follow.
    Retain {
        /// Where.
        repo: String,
        /// The policy.
        policy: Option<String>,
        /// The sources whose series are judged.
        sources: Vec<String>,
        /// A collection follows.
        collect: bool,
    },
}

/// Longest request that is read.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

impl Request {
    /// Reads it from standard input. From then on the worker stops when that ends: whoever asked is gone.
    pub fn read() -> Result<Self, Fail> {
        let bad = || Fail::config("this command is what `seabed run` starts for each of its sources").hint("use `seabed run JOB`");
        let mut line = String::new();
        let mut stdin = std::io::stdin().lock();
        std::io::Read::take(&mut stdin, REQUEST_BYTES_MAX).read_line(&mut line).map_err(|_| bad())?;
        let request = serde_json::from_str(&line).map_err(|_| bad())?;
        drop(stdin);
        std::thread::spawn(|| {
            std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).map(|_| ()).unwrap_or(());
            signals::flag().store(true, std::sync::atomic::Ordering::Relaxed);
        });
        Ok(request)
    }
}
