//! `[job.NAME]`: which sources go into which repositories, when, and what happens around it.

use super::secret::Address;
use super::units::{Share, Size, Span, one_or_many};
use serde::{Deserialize, Serialize};

/// A job.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Names of sources; each makes a snapshot of its own, all of one run belong together.
    #[serde(deserialize_with = "one_or_many")]
    pub sources: Vec<String>,
    /// Names of repositories, in the order in which a restore asks them [default: the only one].
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// When: OnCalendar (`*-*-* 02:00`) or cron (`0 2 * * *`) syntax.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<String>,
    /// Time zone of the schedule [default: that of the file].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Tags of its snapshots.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Policy for all of its repositories [default: that of each repository].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// How it is run.
    #[serde(default)]
    pub run: RunOptions,
    /// Commands around it.
    #[serde(default)]
    pub hooks: Hooks,
    /// What is suspicious.
    #[serde(default)]
    pub monitor: Monitor,
    /// How much of a collection follows each run.
    #[serde(default)]
    pub gc: Gc,
    /// A URL that is told how runs go, as healthchecks.io has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<Address>,
    /// What belongs to a restore.
    #[serde(default)]
    pub restore: RestoreOptions,
}

/// `run = { … }`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunOptions {
    /// Scheduled starts are put off by up to so much, always the same for one job and host.
    pub jitter: Span,
    /// Sources at a time.
    pub parallel: std::num::NonZeroUsize,
    /// A source is given up after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// A source is given up when nothing moved for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall: Option<Span>,
    /// How often a source that failed is tried in all.
    pub tries: std::num::NonZeroU32,
    /// Wait before the next try; twice as long before the one after that.
    pub delay: Span,
    /// How long a run that still goes on is waited for.
    pub lock_wait: Span,
    /// Niceness of what is started, 0 to 19.
    pub nice: u8,
    /// What was stored is read back and verified before anything old goes.
    pub verify: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            jitter: Span::default(),
            parallel: std::num::NonZeroUsize::MIN,
            timeout: None,
            stall: None,
            tries: std::num::NonZeroU32::MIN,
            delay: Span::seconds(60),
            lock_wait: Span::default(),
            nice: 0,
            verify: false,
        }
    }
}

/// `hooks = { … }`: shell commands.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Before everything. One that fails ends the run.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub pre: Vec<String>,
    /// Before the sources are read; also before a restore. One that fails ends the run, after `resume`.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub quiesce: Vec<String>,
    /// When the sources have been read, however that ended; also after a restore.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<String>,
    /// Looks at what was stored. One that fails marks the snapshots `unverified`: nothing old goes.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub validate: Vec<String>,
    /// After a run that stored everything.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<String>,
    /// After a run that did not.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub fail: Vec<String>,
    /// At the very end, whatever happened.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub finally: Vec<String>,
    /// Each command is ended after so long [default: 1h].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// `monitor = { … }`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// The newest snapshot is not older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// A dump with fewer bytes makes no snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<Size>,
    /// A dump that is smaller than the median of the last seven by more than this makes no snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_shrink: Option<Share>,
    /// A run takes no longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Span>,
}

/// `gc = { … }`: the slice of a collection that follows retention.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gc {
    /// Whether there is one.
    pub enabled: bool,
    /// At most so much is written anew.
    pub max_repack: Size,
    /// The last collection is at least so long ago.
    pub every: Span,
}

impl Default for Gc {
    fn default() -> Self {
        // A quarter of an hour at 1 MB/s: a run that is meant to be short stays so.
        Gc { enabled: true, max_repack: Size(1 << 30), every: Span::seconds(86_400) }
    }
}

/// `restore = { … }`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreOptions {
    /// Commands that follow a restore: `php artisan cache:clear`.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub post: Vec<String>,
}
