//! `backup --to`: one backup into several repositories. What is read is cut and sealed once; the snapshot is committed in the first one that
//! can take it, and copied to the others, to which its packs have gone meanwhile.
//! It must never lose a backup to one of several places, nor call it whole while one of them lacks it.

use crate::args::Global;
use crate::commands::backup::{self, Args, Asked};
use crate::commands::copy;
use crate::exit::{Code, Fail, Run};
use crate::open::Opened;
use crate::output::Output;
use crate::{signals, size};
use seabed_engine::backup::{BackupReport, Failure};
use seabed_engine::error::Kind;
use seabed_engine::id::ObjectId;
use seabed_engine::repository::Repository;
use seabed_engine::seal::random;
use std::path::Path;

/// Makes the snapshot everywhere.
pub fn run(global: &Global, args: &Args, asked: &Asked, out: &Output) -> Run {
    let (mut open, mut failed): (Vec<Opened>, Vec<Fail>) = (Vec::new(), Vec::new());
    let own = std::iter::once_with(|| backup::open_own(global, args, out));
    for opened in own.chain(args.to.to.iter().map(|to| args.to.open(to, global, out))) {
        match opened {
            _ if signals::interrupted() => return Err(Fail::new(Code::Interrupted, "interrupted, no snapshot was made")),
            Ok(opened) => match open.iter().find(|other| other.repository.id() == opened.repository.id()) {
                Some(other) => {
                    let fail = Fail::config(format!("{} and {} are the same repository", other.place.text(), opened.place.text()));
                    return Err(fail.hint("name each of them once"));
                }
                None => open.push(opened),
            },
            Err(fail) => failed.push(fail),
        }
    }
    if open.is_empty() {
        return Err(last_of(failed, out));
    }
    failed.iter().for_each(|fail| copy::say(fail, out));
    let group = ObjectId::new(random().map_err(Fail::from)?);
    let mut rest = &open[..];
    let (base, others, report) = loop {
        let Some((base, others)) = rest.split_first() else { return Err(last_of(failed, out)) };
        let mut options = backup::options(args, asked, &open.iter().collect::<Vec<_>>())?;
        options.group = Some(group);
        let repositories: Vec<&Repository> = others.iter().map(|other| &other.repository).collect();
        match backup::attempt(args, base, &repositories, options, out) {
            Ok(report) => break (base, others, report),
            Err(Failure::Repository(error)) if !others.is_empty() && another_may_do(args, error.kind()) => {
                let fail = Fail::from(error);
                out.warn(&format!("no snapshot was made in {}: the next one is tried", base.place.text()));
                copy::say(&fail, out);
                failed.push(fail);
                rest = others;
            }
            Err(failure) => return Err(backup::failed(failure)),
        }
    };
    let code = backup::conclude(args, base, asked, &report, out)?;
    for other in others.iter().filter(|_| !args.dry_run) {
        if let Err(fail) = bring(base, other, &report, out) {
            if fail.code == Code::Interrupted {
                return Err(fail.hint(format!("the snapshot is in {}; `seabed copy` brings it to the others", base.place.text())));
            }
            copy::say(&fail, out);
            failed.push(fail);
        }
    }
    if failed.is_empty() {
        return Ok(code);
    }
    let places = size::of(failed.len() as u64, "place");
    out.warn(&format!("the snapshot is not in {places} of those that were named: `seabed copy` brings it there"));
    Ok(Code::Incomplete)
}

/// Whether it is worth while to try the next repository after such a failure: it must be this one's own, and the sources must be readable
/// a second time.
fn another_may_do(args: &Args, kind: Kind) -> bool {
    let once = args.stdin || args.tar.as_deref() == Some(Path::new("-"));
    !once && !signals::interrupted() && kind != Kind::Configuration
}

/// Copies the snapshot, or where nothing had changed the one that is as good.
fn bring(base: &Opened, other: &Opened, report: &BackupReport, out: &Output) -> Result<(), Fail> {
    let Some(id) = report.snapshot.or(report.parent) else { return Ok(()) };
    let snapshot = copy::just_made(base, &id, out)?;
    let done = copy::into(base, other, &[snapshot], false, out)?;
    for (from, to) in &done.copied {
        if out.json {
            out.message(&copy::copied_json(from, to, other));
        } else {
            let sent = size::human(done.bytes);
            out.say(&format!("snapshot {} saved in {}, {sent} more sent", to.short(), other.place.text()));
        }
    }
    match done.failed {
        0 => Ok(()),
        _ => Err(Fail::new(Code::Damage, format!("the snapshot could not be copied to {}", other.place.text()))),
    }
}

/// The last failure, and the others said.
fn last_of(mut failed: Vec<Fail>, out: &Output) -> Fail {
    let last = failed.pop();
    failed.iter().for_each(|fail| copy::say(fail, out));
    last.unwrap_or_else(|| Fail::new(Code::Failed, "there is no repository to back up to"))
}
