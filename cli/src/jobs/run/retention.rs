//! What a policy of the configuration says of a job's snapshots in one repository: for the runs that obey it, and for `retain`, which shows it.
//! It must not decide anything: that is the engine's.

use crate::args::FilterArgs;
use crate::commands;
use crate::commands::forget::judged::Judged;
use crate::commands::groups::Groups;
use crate::exit::{Code, Fail};
use crate::jobs::config::Config;
use crate::open::Opened;
use crate::output::Output;
use crate::size;
use seabed_engine::clock;
use seabed_engine::forget::forget;
use seabed_engine::format::wire::Time;
use seabed_engine::id::SnapshotId;
use seabed_engine::retention::{Refusal, guards};

/// The tag of a snapshot that a `validate` hook did not let pass. Retention counts it like one that is incomplete.
pub const UNVERIFIED: &str = "unverified";

/// What is decided, and what speaks against doing it.
pub struct Verdict {
    pub judged: Judged,
    pub refusals: Vec<Refusal>,
    now: Time,
}

impl Verdict {
    /// Judges the series that one host has written. Snapshots that cannot be read are a refusal, unless they are to be let be (`--force`).
    pub fn read(
        opened: &Opened,
        config: &Config,
        policy: &str,
        (host, series): (&str, Vec<String>),
        forced: bool,
        out: &Output,
    ) -> Result<Self, Fail> {
        let unreadable = commands::refresh(&opened.repository, out)?;
        if unreadable > 0 && !forced {
            let what = size::of(unreadable as u64, "snapshot");
            let fail = Fail::new(Code::Refused, format!("retention was refused: {what} cannot be read, nobody knows what they are"));
            return Err(fail.hint("`seabed check` says more"));
        }
        let named = config.policy(policy)?;
        let policy = named.policy(policy, &config.tz)?;
        let filter = FilterArgs { host: vec![host.to_owned()], series, ..Default::default() };
        let now = clock::now();
        let mut judged = Judged::read(opened, &Groups::of_series(), Some(&filter))?;
        judged.discount(UNVERIFIED);
        judged.decide(opened, &policy, now, out)?;
        let last_run = opened.repository.catalog().last_run(&opened.repository.writer())?;
        let fresh = named.require_fresh.map(|fresh| fresh.0);
        let refusals = guards(Some(&policy), &judged.items, &judged.decisions, now, last_run, fresh.as_ref());
        Ok(Verdict { judged, refusals, now })
    }

    /// Why it should not be done.
    pub fn refused(&self) -> Option<String> {
        (!self.refusals.is_empty()).then(|| self.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Forgets what goes, whatever spoke against it, and tells what that was.
    pub fn carry_out(&self, opened: &Opened, out: &Output) -> Result<Vec<SnapshotId>, Fail> {
        let gone = self.judged.gone();
        if !gone.is_empty() {
            // Before it is done: a clock that jumps is found by what was noted last.
            opened.repository.catalog().note_retention(self.now).unwrap_or_else(|error| out.warn(&error.to_string()));
            forget(&opened.repository, &gone)?;
        }
        Ok(gone)
    }
}
