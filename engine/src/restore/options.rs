//! What a caller asks of a restore and what it is told: plain data.

use crate::error::Error;
use crate::repository::selection::Pattern;
use crate::restore::shortfalls::Shortfall;
use std::path::PathBuf;

/// What happens to something that stands where an entry belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced.
    #[default]
    Always,
    /// It is replaced when kind, size, time of change or target differ.
    IfChanged,
    /// It is replaced when the entry changed later.
    IfNewer,
    /// It stays.
    Never,
}

impl Overwrite {
    /// Whether a file goes where a directory belongs. What to compare with a directory's time or size there is not.
    pub fn replaces_for_directory(self) -> bool {
        matches!(self, Overwrite::Always | Overwrite::IfChanged)
    }
}

/// What may happen in a target, and what of each entry is brought back.
#[derive(Clone, Debug)]
pub struct TargetOptions {
    /// Policy about what stands there already.
    pub overwrite: Overwrite,
    /// What is not in the snapshot may go; so may full directories where a file belongs.
    pub delete: bool,
    /// Look, but change nothing.
    pub dry_run: bool,
    /// Owners by number, though their names are known here.
    pub numeric_owner: bool,
    /// Restore owners, as far as this user may give files away.
    pub owners: bool,
    /// Restore modes and ACLs. Without, everything gets the mode that new files get here (umask); what was executable stays so.
    pub permissions: bool,
    /// Restore extended attributes.
    pub xattrs: bool,
    /// Only attributes whose names match one of these, if there are any: patterns of restic's form.
    pub include_xattrs: Vec<Vec<u8>>,
    /// No attributes whose names match one of these.
    pub exclude_xattrs: Vec<Vec<u8>>,
    /// Restore times.
    pub times: bool,
    /// Restore attributes of `chattr`.
    pub flags: bool,
    /// Restore what can lend rights or take them away: device nodes, setuid and setgid bits of files, the attributes `security.*` and
    /// `trusted.*`, and the flags that lock a file. Whoever holds the keys of a repository may have put them there, and root can make all
    /// of them true: in a directory that others can reach, one setuid shell is enough. So the caller has to say that the snapshot is to be
    /// trusted so far; what is left out otherwise is in the report ([`Shortfall::withheld`](super::shortfalls::Shortfall::withheld)).
    pub privileged: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        TargetOptions {
            overwrite: Overwrite::Always,
            delete: false,
            dry_run: false,
            numeric_owner: false,
            owners: true,
            permissions: true,
            xattrs: true,
            include_xattrs: Vec::new(),
            exclude_xattrs: Vec::new(),
            times: true,
            flags: true,
            privileged: false,
        }
    }
}

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Where to.
    pub target: PathBuf,
    /// What may happen there.
    pub options: TargetOptions,
    /// Only what matches one of these, if there are any. Paths are those below the target, here and in `exclude`.
    pub include: Vec<Pattern>,
    /// Nothing that matches one of these.
    pub exclude: Vec<Pattern>,
    /// Read everything back afterwards and compare.
    pub verify: bool,
    /// Go on after damage and restore all that is left.
    pub keep_going: bool,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
}

impl RestoreOptions {
    /// How many workers to start.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64),
            n => n.min(256),
        }
    }
}

/// What a restore did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Files that were asked for, links and nodes included.
    pub files_total: u64,
    /// Files that were created.
    pub files_restored: u64,
    /// Files that took the place of others.
    pub files_updated: u64,
    /// Files that were there as in the snapshot.
    pub files_unchanged: u64,
    /// Files that the policy kept, or that failed.
    pub files_skipped: u64,
    /// Files and directories removed because the snapshot does not have them.
    pub files_deleted: u64,
    /// Directories.
    pub directories: u64,
    /// Content that was asked for.
    pub bytes_total: u64,
    /// Content written.
    pub bytes_restored: u64,
    /// Content not written because it was there.
    pub bytes_skipped: u64,
    /// Files read back and found equal.
    pub files_verified: u64,
    /// Files that the snapshot itself does not hold: they could not be read when it was made.
    pub files_not_stored: u64,
    /// The first errors.
    pub errors: Vec<Error>,
    /// How many there were.
    pub error_count: u64,
    /// What the user, the platform or the options do not let come back.
    pub shortfalls: Vec<Shortfall>,
}
