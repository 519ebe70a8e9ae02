//! `forget`: snapshots go by policy or by name. It must never forget what is held, nor by a clock that jumped, nor more than was shown.
//! It obeys what README.md says of retention; what a policy means stands in the engine.

pub mod judged;
mod lost;
pub mod show;

use crate::args::{FilterArgs, Global, tags};
use crate::commands::gc::{How, collect_in};
use crate::commands::groups::Groups;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::which::whole;
use crate::{signals, size, time};
use jiff::tz::TimeZone;
use judged::Judged;
use seabed_engine::clock;
use seabed_engine::forget::forget;
use seabed_engine::id::SnapshotId;
use seabed_engine::retention::{Anchor, Interval, Keep, Mode, Period, Policy, Refusal, guards, simulate};

const EXAMPLES: &str = "  seabed forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
  seabed forget --keep-within 30d --keep-yearly all --gc
  seabed forget --keep-last 10 --simulate 90d
  seabed forget --compat spatie --max-total-size 5000M
  seabed forget 40dc1520 --dry-run
  seabed forget --lost                    (those that `seabed check` misses)";

/// Forget snapshots, by name or by policy
///
/// A policy is applied to each host and series by itself (--group-by), and keeps what any of its
/// rules keeps. Rules take a count (7), an interval (30d, 2y5m7d3h) or `all`. Days are those of UTC
/// unless --tz says otherwise. The newest complete snapshot of a series stays whatever the policy
/// says; held snapshots do, too. Nothing is deleted yet: `seabed gc` gives the space back, and until
/// then `seabed undelete` brings a snapshot back.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Snapshots to forget, instead of a policy
    #[arg(value_name = "ID", conflicts_with_all = RULES, conflicts_with_all = ["max_total_size", "compat"])]
    ids: Vec<String>,
    /// Snapshots that are gone though nobody has forgotten them, instead: accept that, so that `gc` goes on
    ///
    /// Somebody deleted their manifests, the store lost them, or an older copy of the repository was put back. `check` and
    /// `gc` speak of it at every run, for it may also be a listing that is not complete.
    #[arg(long, conflicts_with = "ids", conflicts_with_all = RULES, conflicts_with_all = ["max_total_size", "compat", "simulate", "require_fresh"])]
    lost: bool,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    filter: FilterArgs,
    /// What makes a group: host, series, paths, tags (a list; empty for all in one)
    #[arg(short, long, value_name = "LIST", default_value = "host,series")]
    group_by: String,
    /// Only say what would be forgotten, and what space it holds
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Say of every snapshot which rule keeps it, as the newest of which period
    #[arg(long)]
    explain: bool,
    /// Show what would be there after so long, if runs go on as they did (90d)
    #[arg(long, value_name = "TIME", value_parser = time::duration, conflicts_with = "ids")]
    simulate: Option<std::time::Duration>,
    /// Refuse where the newest snapshot of a group is older than this
    #[arg(long, value_name = "INTERVAL")]
    require_fresh: Option<Interval>,
    /// Do it though a guard refuses
    #[arg(long)]
    force: bool,
    /// Collect garbage afterwards, as `seabed gc` does
    #[arg(long, visible_alias = "prune")]
    gc: bool,
    #[command(flatten)]
    how: How,
}

/// Names of the arguments that make a policy, but for those that give or bound the one of another program.
const RULES: [&str; 18] = [
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_quarterly",
    "keep_yearly",
    "keep_within",
    "keep_within_hourly",
    "keep_within_daily",
    "keep_within_weekly",
    "keep_within_monthly",
    "keep_within_quarterly",
    "keep_within_yearly",
    "keep_tag",
    "keep_size",
    "mode",
    "anchor",
];

/// What is kept.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "What is kept (N: a count, an interval such as 30d, or all)")]
struct Rules {
    /// The last N
    #[arg(short = 'l', long, value_name = "N", allow_hyphen_values = true)]
    keep_last: Option<Keep>,
    /// One of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", allow_hyphen_values = true)]
    keep_hourly: Option<Keep>,
    /// Of days
    #[arg(short = 'd', long, value_name = "N", allow_hyphen_values = true)]
    keep_daily: Option<Keep>,
    /// Of weeks (Monday to Sunday)
    #[arg(short = 'w', long, value_name = "N", allow_hyphen_values = true)]
    keep_weekly: Option<Keep>,
    /// Of months
    #[arg(short = 'm', long, value_name = "N", allow_hyphen_values = true)]
    keep_monthly: Option<Keep>,
    /// Of quarters
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    keep_quarterly: Option<Keep>,
    /// Of years
    #[arg(short = 'y', long, value_name = "N", allow_hyphen_values = true)]
    keep_yearly: Option<Keep>,
    /// All of an interval before the newest
    #[arg(long, value_name = "INTERVAL")]
    keep_within: Option<Interval>,
    /// One per hour of an interval
    #[arg(long, value_name = "INTERVAL")]
    keep_within_hourly: Option<Interval>,
    /// Per day
    #[arg(long, value_name = "INTERVAL")]
    keep_within_daily: Option<Interval>,
    /// Per week
    #[arg(long, value_name = "INTERVAL")]
    keep_within_weekly: Option<Interval>,
    /// Per month
    #[arg(long, value_name = "INTERVAL")]
    keep_within_monthly: Option<Interval>,
    /// Per quarter
    #[arg(long, value_name = "INTERVAL")]
    keep_within_quarterly: Option<Interval>,
    /// Per year
    #[arg(long, value_name = "INTERVAL")]
    keep_within_yearly: Option<Interval>,
    /// Those with all of these tags (repeatable: any of the lists)
    #[arg(long, value_name = "TAG[,TAG…]")]
    keep_tag: Vec<String>,
    /// The newest that together take at most this much in the repository
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with_all = ["max_total_size", "simulate"])]
    keep_size: Option<u64>,
    /// Of each group the newest that together hold at most this much, each counted with all that it restores
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_total_size: Option<u64>,
    /// How rules share snapshots: `overlap` (each looks at all), or `sequential` (from fine to coarse)
    #[arg(long, value_name = "MODE", value_parser = ["overlap", "sequential"], default_value = "overlap")]
    mode: String,
    /// From when intervals are measured: from the `newest` complete snapshot, or from `now`
    #[arg(long, value_name = "WHEN", value_parser = ["newest", "now"], default_value = "newest")]
    anchor: String,
    /// Time zone of days, weeks, months and years, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = zone, default_value = "UTC")]
    tz: TimeZone,
    /// The exact strategy of another program: spatie (laravel-backup), with its numbers, `spatie=7/16/8/4/2` by default
    #[arg(long, value_name = "PROGRAM", value_parser = compat, conflicts_with_all = RULES)]
    compat: Option<[u32; 5]>,
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| format!("there is no time zone `{text}`: write UTC or a name such as Europe/Berlin"))
}

/// What spatie/laravel-backup does by itself: all for days, daily for days, weekly for weeks, monthly for months, yearly for years.
const SPATIE: [u32; 5] = [7, 16, 8, 4, 2];
/// Its cap, in its megabytes.
const SPATIE_BYTES_MAX: u64 = 5000 << 20;

fn compat(text: &str) -> Result<[u32; 5], String> {
    let bad = || format!("`{text}` is not known: write spatie, or spatie=7/16/8/4/2");
    match text.strip_prefix("spatie").ok_or_else(bad)? {
        "" => Ok(SPATIE),
        rest => {
            let numbers: Option<Vec<u32>> = rest.strip_prefix('=').ok_or_else(bad)?.split('/').map(|n| n.trim().parse().ok()).collect();
            numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(bad)
        }
    }
}

impl Rules {
    fn policy(&self) -> Policy {
        if let Some([all, daily, weeks, months, years]) = self.compat {
            let cap = self.max_total_size.unwrap_or(SPATIE_BYTES_MAX);
            return Policy::spatie(all, daily, weeks, months, years, Some(cap), self.tz.clone());
        }
        let rules = [
            (Period::Each, self.keep_last),
            (Period::Hour, self.keep_hourly),
            (Period::Day, self.keep_daily),
            (Period::Week, self.keep_weekly),
            (Period::Month, self.keep_monthly),
            (Period::Quarter, self.keep_quarterly),
            (Period::Year, self.keep_yearly),
        ];
        let within = [
            (Period::Each, self.keep_within),
            (Period::Hour, self.keep_within_hourly),
            (Period::Day, self.keep_within_daily),
            (Period::Week, self.keep_within_weekly),
            (Period::Month, self.keep_within_monthly),
            (Period::Quarter, self.keep_within_quarterly),
            (Period::Year, self.keep_within_yearly),
        ];
        Policy {
            rules: rules.into_iter().filter_map(|(period, keep)| Some((period, keep?))).collect(),
            within: within.into_iter().filter_map(|(period, interval)| Some((period, interval?))).collect(),
            keep_tags: self.keep_tag.iter().map(|list| tags([list])).collect(),
            mode: if self.mode == "sequential" { Mode::Sequential } else { Mode::Overlap },
            anchor: if self.anchor == "now" { Anchor::Now } else { Anchor::Newest },
            tz: self.tz.clone(),
            max_bytes: self.max_total_size,
            max_stored: self.keep_size,
            ..Policy::default()
        }
    }
}

/// Forgets.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    let policy = args.rules.policy();
    let groups = Groups::parse(&args.group_by)?;
    if args.lost {
        return lost::run(global, args, out);
    }
    if args.ids.is_empty() && policy.is_empty() {
        let fail = Fail::new(Code::Refused, "no rule says what is to be kept, and no snapshot is named");
        return Err(fail.hint("give a rule such as --keep-daily 7, or the ids of snapshots; `seabed forget --help` has examples"));
    }
    let mut opened = open::open(global, out)?;
    open::settle(&mut opened, args.dry_run, out)?;
    if !out.json {
        open::introduce(&opened, out);
    }
    let unreadable = crate::commands::refresh(&opened.repository, out)?;
    if unreadable > 0 && args.ids.is_empty() && !args.force {
        let fail =
            Fail::new(Code::Refused, format!("{} cannot be read: nobody knows what they are", size::of(unreadable as u64, "snapshot")));
        return Err(fail.hint("`seabed check` says more; --force applies the policy to the others"));
    }
    let now = clock::now();
    let named = args.ids.iter().map(|id| whole(&opened.repository, id, &args.filter.filter()).map(|snapshot| snapshot.id));
    let named: Vec<SnapshotId> = named.collect::<Result<_, _>>()?;
    let mut judged = Judged::read(&opened, &groups, named.is_empty().then_some(&args.filter))?;
    if let Some(simulated) = args.simulate {
        let days = u32::try_from(simulated.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX);
        show::forecast(&simulate(&policy, &judged.items, now, days), &args.rules.tz, out)?;
        return Ok(Code::Done);
    }
    if named.is_empty() {
        judged.decide(&opened, &policy, now, out)?;
    } else {
        judged.name(&named);
    }
    let by_policy = named.is_empty().then_some(&policy);
    let last_run = opened.repository.catalog().last_run(&opened.repository.writer())?;
    let refusals = guards(by_policy, &judged.items, &judged.decisions, now, last_run, args.require_fresh.as_ref());
    let gone = judged.gone();
    let freed = if args.dry_run && !gone.is_empty() { Some(judged.freed(&opened, out)?) } else { None };
    show::decisions(&judged, &refusals, args.explain, (args.dry_run, freed), out)?;
    refuse(&refusals, args, out)?;
    if args.dry_run {
        return Ok(Code::Done);
    }
    if !gone.is_empty() {
        if by_policy.is_some() {
            // A cache that cannot be written costs a guard, and not the work.
            opened.repository.catalog().note_retention(now).unwrap_or_else(|error| out.warn(&error.to_string()));
        }
        forget(&opened.repository, &gone)?;
    }
    show::done(&gone, args.gc, out);
    if args.gc { collect_in(&opened, &args.how, false, out) } else { Ok(Code::Done) }
}

/// A guard that refuses says so; `--force` answers for all of them but a hold. A dry run does no harm: it says what it would come to.
fn refuse(refusals: &[Refusal], args: &Args, out: &Output) -> Result<(), Fail> {
    let holds = |refusal: &&Refusal| matches!(refusal, Refusal::Held { .. });
    if let Some(held) = refusals.iter().find(holds) {
        return Err(Fail::new(Code::Refused, held.to_string()).hint("`seabed unhold` releases it"));
    }
    if refusals.is_empty() || args.force {
        return Ok(());
    }
    let words = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if args.dry_run {
        out.warn(&format!("without --force this is refused: {words}"));
        return Ok(());
    }
    Err(Fail::new(Code::Refused, words).hint("look at it with --dry-run --explain; --force does it all the same"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_of_others_are_read() {
        assert_eq!(compat("spatie"), Ok(SPATIE));
        assert_eq!(compat("spatie=1/2/3/4/5"), Ok([1, 2, 3, 4, 5]));
        assert!(compat("spatie=1/2").is_err() && compat("restic").is_err());
        assert!(zone("Europe/Berlin").is_ok() && zone("Mars/Base").is_err());
    }
}
