//! Whether what is installed is what would be installed today.

use super::cache;
use super::install::{Wanted, wanted};
use super::places::{Installed, Scheduler, installed};
use crate::args::Global;
use crate::exit::Fail;
use crate::jobs::config::Config;
use crate::jobs::schedule::made::{file, read};
use crate::jobs::schedule::plan::planned;
use crate::jobs::state::directory_of;
use std::path::{Path, PathBuf};

/// A file that is not as it should be.
#[derive(Debug)]
pub struct Drift {
    /// `edited`, `outdated`, `missing`, `left over`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its job.
    pub job: Option<String>,
}

/// What differs, and how many files were looked at.
pub fn drift(global: &Global, config: &Config, dir: Option<&Path>) -> Result<(Vec<Drift>, usize), Fail> {
    let found = installed(&config.path, dir)?;
    let mut out = Vec::new();
    // Those that were installed together, with the same options.
    let mut groups: Vec<(&Installed, PathBuf)> = Vec::new();
    for have in &found {
        let place = have.path.parent().unwrap_or(Path::new("/")).to_owned();
        if !groups.iter().any(|(first, at)| first.scheduler == have.scheduler && *at == place) {
            groups.push((have, place));
        }
    }
    for (first, place) in groups {
        // Units of a user say nothing of what they may write, wherever they were put.
        let text = std::fs::read_to_string(&first.path).unwrap_or_default();
        let user =
            first.user || first.scheduler == Scheduler::Systemd && is_of_a_user(&found, &place) && !text.contains("\nProtectSystem=");
        let jobs = planned(config, [&cache(global, config)?, &directory_of(config)], &first.made.origin.options, user)?;
        let should = if jobs.is_empty() { Vec::new() } else { wanted(first.scheduler, config, &jobs, &first.made.origin.options)? };
        compare(first.scheduler, &place, &should, &found, &mut out);
    }
    Ok((out, found.len()))
}

fn is_of_a_user(found: &[Installed], place: &Path) -> bool {
    let services = found.iter().filter(|have| have.path.starts_with(place) && have.path.extension().is_some_and(|kind| kind == "service"));
    services.filter_map(|have| std::fs::read_to_string(&have.path).ok()).all(|text| !text.contains("\nProtectSystem="))
}

fn compare(scheduler: Scheduler, place: &Path, should: &[Wanted], found: &[Installed], out: &mut Vec<Drift>) {
    for one in should {
        let path = place.join(&one.name);
        let now = read(&file(&one.origin, &one.body)).map(|made| made.hash);
        let what = match found.iter().find(|have| have.path == path) {
            None => "missing",
            Some(have) if have.made.hash != have.made.found => "edited",
            Some(have) if Some(&have.made.hash) != now.as_ref() => "outdated",
            Some(_) => continue,
        };
        out.push(Drift { what, path, job: one.origin.job.clone() });
    }
    let there = |have: &&Installed| have.scheduler == scheduler && have.path.starts_with(place);
    for have in found.iter().filter(there).filter(|have| !should.iter().any(|one| have.path == place.join(&one.name))) {
        out.push(Drift { what: "left over", path: have.path.clone(), job: have.made.origin.job.clone() });
    }
}
