//! `restore --guided`: what, of when, where to, asked one after the other. What it does at the end it shows as a command first.

use super::{Args, Config, JobArgs, Restoring, jobs};
use crate::args::Global;
use crate::exit::{Code, Run};
use crate::output::Output;
use crate::{ask, size, time};
use std::path::PathBuf;

/// How many snapshots are offered.
const OFFERED: usize = 20;

/// Asks, and restores.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    ask::needs_terminal("say it in one: seabed restore JOB@latest --source SOURCE --target DIR")?;
    let config = Config::load(global.config.as_deref())?;
    let names: Vec<String> = config.jobs.keys().cloned().collect();
    let name = match args.selector.as_deref().and_then(jobs::meant) {
        Some(meant) => meant.name.to_owned(),
        None => names[ask::choose("Which job?", &names, out)?].clone(),
    };
    let job = config.job(&name)?;
    let source = match args.job.source.as_slice() {
        [one] => one.clone(),
        _ => job.sources[ask::choose("Which source?", &job.sources, out)?].clone(),
    };
    let options = JobArgs { source: vec![source.clone()], guided: false, ..args.job.clone() };
    let latest = jobs::Meant { name: &name, selector: "latest" };
    let restoring = Restoring::open(global, &config, &latest, &options, out)?;
    let mut plan = restoring.plan(true)?;
    let mut candidates = plan.sources.remove(0).1;
    // The same snapshot in another repository is no other choice.
    candidates.dedup_by_key(|candidate| candidate.selected.snapshot.index.time);
    candidates.truncate(OFFERED);
    let words: Vec<String> = candidates
        .iter()
        .map(|candidate| {
            let snapshot = &candidate.selected.snapshot;
            let bytes = size::human(snapshot.names.summary.bytes_total);
            format!("{}  {}  {bytes}  in {}", time::local(&snapshot.index.time), snapshot.id.short(), restoring.opened(candidate).0)
        })
        .collect();
    let chosen = &candidates[ask::choose("Which snapshot?", &words, out)?];
    let id = chosen.selected.snapshot.id.to_string();
    let path = ask::line("Which path of it (empty: all)?", "")?;
    let target = match (&args.target, &args.into) {
        (None, None) => Some(PathBuf::from(ask::line("Into which directory?", &format!("restored-{source}"))?)),
        (target, _) => target.clone(),
    };
    let below = if path.is_empty() { String::new() } else { format!(":{path}") };
    let selector = format!("{name}@{id}{below}");
    let to = match (&target, &args.into) {
        (_, Some(into)) => format!("--into {into}"),
        (target, None) => format!("--target {}", target.clone().unwrap_or_default().display()),
    };
    out.say(&format!("seabed restore '{name}@{}{below}' --source {source} {to}", &id[..8]));
    if !ask::yes("Do it?", true, out)? {
        return Ok(Code::Done);
    }
    let meant = jobs::Meant { name: &name, selector: &selector[name.len() + 1..] };
    super::of_job(global, args, &target, &options, &meant, out)
}
