//! What a restore could not bring back, and what it left out because it was not told to trust the snapshot so far: kinds, not entries.
//! A tree of a million files with foreign owners is one line of it. It must never leave out a kind because another was said.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Device nodes: they cost whole entries, not only attributes.
pub const DEVICES: &str = "device nodes";
/// Setuid and setgid bits of files.
pub const SETUID: &str = "setuid and setgid bits";
/// Immutable and append-only files and directories.
pub const LOCKING: &str = "immutable and append-only flags";

/// A kind of thing that some entries lack.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortfall {
    /// What, in words: `owners`, `security.* attributes`.
    pub what: String,
    /// How many entries lack it.
    pub count: u64,
    /// The first of them.
    pub first: PathBuf,
    /// Not the system refused it but the options: the caller did not ask for what is
    /// [privileged](super::options::TargetOptions::privileged).
    pub withheld: bool,
}

impl Shortfall {
    /// One of `count` entries.
    pub fn new(what: &str, count: u64, first: PathBuf, withheld: bool) -> Self {
        Shortfall { what: what.to_owned(), count, first, withheld }
    }

    /// Whether the entries themselves are missing, not only something about them.
    pub fn is_missing(&self) -> bool {
        self.what == DEVICES
    }
}

/// All of a restore.
#[derive(Debug, Default)]
pub(super) struct Shortfalls {
    kinds: BTreeMap<(String, bool), (u64, PathBuf)>,
    news: Vec<Shortfall>,
}

impl Shortfalls {
    /// Counts one more; whether it is the first of its kind.
    pub fn add(&mut self, what: &str, withheld: bool, path: impl FnOnce() -> PathBuf) -> bool {
        let key = (what.to_owned(), withheld);
        if let Some((n, _)) = self.kinds.get_mut(&key) {
            *n += 1;
            return false;
        }
        let path = path();
        self.kinds.insert(key, (1, path.clone()));
        if withheld {
            self.news.push(Shortfall::new(what, 1, path, true));
        }
        true
    }

    /// All kinds, by name.
    pub fn all(&self) -> Vec<Shortfall> {
        let kinds = self.kinds.iter();
        kinds.map(|((what, withheld), (count, first))| Shortfall::new(what, *count, first.clone(), *withheld)).collect()
    }

    /// What was withheld for the first time since the last call.
    pub fn take_news(&mut self) -> Vec<Shortfall> {
        std::mem::take(&mut self.news)
    }
}
