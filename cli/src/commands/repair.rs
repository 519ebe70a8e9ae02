//! `repair`: heals what other copies still have, and says what is lost. It must never drop what can be read, nor call whole what is not:
//! what it says at the end is what a check saw behind it. It obeys spec chapter 7.

use super::check;
use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Opened};
use crate::other::FromArgs;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::check::{CheckOptions, CheckReport, ReadData, check as look};
use seabed_engine::repair::{Healed, RepairOptions, RepairReport, reopen, repair};
use serde_json::{Value, json};

const EXAMPLES: &str = "  seabed repair
  seabed repair --dry-run
  seabed repair --from-repo /mnt/second-disk/repo --from-password-file FILE
  seabed repair --no-source --no-read-data";

/// Heal damage from what other copies still have
///
/// Reads everything first, as `check --read-data` does. What is damaged or gone is then taken from where
/// it still is: readable parts of damaged packs, a copy or sibling of this repository (--from-repo), and
/// the files themselves where hurt snapshots are of this host. Nothing readable is dropped. Lists of names
/// are healed by another repository or an ordinary backup only.
/// What stays lost is listed with its snapshots and paths, exit status 23; 3 where nothing that a
/// snapshot needs is lost, but something else is, such as a tag.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    #[allow(missing_docs)]
    #[command(flatten)]
    from: FromArgs,
    /// Read no files of this host
    #[arg(long)]
    no_source: bool,
    /// Believe packs whose end can be read, but for what the last check found
    #[arg(long)]
    no_read_data: bool,
    /// Change nothing, say what could be healed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Name so many paths of each damage that is left: a number, or `all`
    #[arg(long, value_name = "N", value_parser = check::paths, default_value_t)]
    paths: check::Paths,
    /// What restic's command of this name is told
    #[arg(hide = true, value_parser = ["index", "packs", "snapshots"])]
    part: Option<String>,
}

/// Opens the repository; where that fails for damage, or opens what it was before a rotation, once what opens it was brought back from a copy.
fn open_both(global: &Global, args: &Args, out: &Output) -> Result<(Opened, Option<Opened>, Vec<String>), Fail> {
    let other = || -> Result<Option<Opened>, Fail> {
        // A copy has the id of this one: a cache of its own would be this one's.
        let global = Global { no_cache: true, cache_dir: None, ..global.clone() };
        args.from.is_named().then(|| args.from.open(&global, out)).transpose()
    };
    // The same once more, behind what a copy has brought back. Nothing, where all is there and whole.
    let again = |other: &Opened| -> Result<Option<(Opened, Vec<String>)>, Fail> {
        let store = open::store_at(global, out, &open::place(global)?)?;
        let back = reopen(&*store, &other.repository)?;
        if back.is_empty() {
            return Ok(None);
        }
        Ok(Some((open::open(global, out)?, back.iter().map(ToString::to_string).collect())))
    };
    match open::open(global, out) {
        Ok(opened) => {
            let other = other()?;
            let (here, may_write) = (&opened.repository, !args.dry_run);
            // A rotation of which the keyring was lost: who was removed by it could read what is written now.
            let is_newer = |there: &Opened| there.repository.id() == here.id() && there.repository.keys().epoch > here.keys().epoch;
            let back = match &other {
                Some(other) if may_write && is_newer(other) => again(other)?,
                _ => None,
            };
            let (opened, back) = back.unwrap_or((opened, Vec::new()));
            Ok((opened, other, back))
        }
        // Without its slots, or with a damaged one, it is as if the key were wrong; with an older keyring, as if it had been rolled back.
        Err(fail) if [Code::Damage, Code::WrongKey, Code::Refused].contains(&fail.code) && args.from.is_named() && !args.dry_run => {
            let other = match other() {
                // With a secret that is mistyped neither opens: it is this one that was to be opened.
                Err(_) if fail.code == Code::WrongKey => return Err(fail),
                other => other?,
            };
            let Some(other) = other else { return Err(fail) };
            match again(&other)? {
                Some((opened, back)) => Ok((opened, Some(other), back)),
                None => Err(fail),
            }
        }
        Err(fail) if fail.code == Code::Damage => Err(fail.hint("`seabed repair --from-repo COPY` brings back what opens it from a copy")),
        Err(fail) => Err(fail),
    }
}

/// Looks at everything.
fn checked(opened: &Opened, args: &Args, out: &Output) -> Result<CheckReport, Fail> {
    let listener = Listener::new(out, "check");
    let read_data = if args.no_read_data { ReadData::None } else { ReadData::All };
    let options = CheckOptions { read_data, paths_max: args.paths.0, dry_run: args.dry_run };
    let result = look(&opened.repository, &options, &listener);
    listener.finish();
    Ok(result?)
}

/// Repairs it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if let Some(part) = &args.part {
        let fail = Fail::config(format!("`repair` does not stop at `{part}`"));
        return Err(fail.hint("`seabed repair` heals index, packs and snapshots together; `seabed rebuild` makes only the index anew"));
    }
    match repaired(global, args, out) {
        Err(fail) if signals::interrupted() && fail.code == Code::Interrupted => {
            Err(Fail::new(Code::Interrupted, "interrupted; what was healed by then stays so").hint("run it again: it goes on"))
        }
        ended => ended,
    }
}

fn repaired(global: &Global, args: &Args, out: &Output) -> Run {
    let (opened, other, entrance) = open_both(global, args, out)?;
    if !out.json {
        open::introduce(&opened, out);
        entrance.iter().for_each(|name| out.say(&format!("{name} is back from the copy")));
    }
    let began = std::time::Instant::now();
    let before = checked(&opened, args, out)?;
    let host = std::env::var("SEABED_HOST").ok().filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let options = RepairOptions {
        others: other.iter().map(|other| &other.repository).collect(),
        host: (!args.no_source).then_some(host),
        dry_run: args.dry_run,
    };
    let listener = Listener::new(out, "repair");
    let result = repair(&opened.repository, &options, &listener);
    listener.finish();
    let report = result?;
    // What a repair thinks of itself counts for nothing; where it changed nothing and nothing was wrong, what was seen before is still so.
    let looks_again = !args.dry_run && (report.changes() || !before.is_clean());
    let after = if looks_again { checked(&opened, args, out)? } else { before };
    if !args.dry_run {
        after.findings.iter().for_each(|finding| check::tell(finding, out));
    }
    report.objects_lost.iter().for_each(|(name, why)| out.warn(&format!("{name}: what it said is lost ({why})")));
    if out.json {
        out.json_result(&summary(&report, &after, (args.dry_run, &entrance, began.elapsed().as_secs_f64())))?;
    } else {
        tell(&report, args.dry_run, out);
        out.say(&format!("done in {}", time::clock(began.elapsed())));
    }
    end(args, &report, &after, out)
}

fn tell(report: &RepairReport, dry_run: bool, out: &Output) {
    let done = if dry_run { "could be healed" } else { "healed" };
    let healed = |healed: &Healed, from: &str| {
        if healed.chunks > 0 {
            let bytes = if healed.bytes > 0 { format!(" ({})", size::human(healed.bytes)) } else { String::new() };
            out.say(&format!("{done} from {from}: {}{bytes}", size::of(healed.chunks, "chunk")));
        }
    };
    healed(&report.own, "this repository");
    healed(&report.other, "the other repository");
    healed(&report.source, "files of this host");
    if report.bytes_fetched > 0 {
        out.say(&format!("{} read of the other repository", size::human(report.bytes_fetched)));
    }
    let counts = [
        (report.segments_replaced, "index segment"),
        (report.packs_indexed, "pack without a segment"),
        (report.objects_healed.len() as u64, "other object"),
    ];
    for (count, what) in counts {
        if count > 0 {
            out.say(&format!("{done}: {}", size::of(count, what)));
        }
    }
    for (old, new) in &report.snapshots_back {
        match dry_run {
            true => out.say(&format!("snapshot {} could come back", old.short())),
            false => out.say(&format!("snapshot {} is back as {}", old.short(), new.short())),
        }
    }
    if !report.packs_condemned.is_empty() {
        let packs = size::of(report.packs_condemned.len() as u64, "broken pack");
        out.say(&match dry_run {
            true => format!("{packs} could be given up"),
            false => format!("{packs} given up: `seabed gc` deletes what is there of them"),
        });
    }
    if !report.changes() {
        out.say(if report.is_whole() { "nothing to repair" } else { "nothing could be healed" });
    }
}

fn end(args: &Args, report: &RepairReport, after: &CheckReport, out: &Output) -> Run {
    let whole = report.is_whole() && (args.dry_run || after.is_clean());
    if whole {
        if !report.objects_lost.is_empty() {
            return Ok(Code::Incomplete);
        }
        if !out.json && !args.dry_run {
            out.say("no damage is left");
        }
        return Ok(Code::Done);
    }
    let lost = size::of(report.chunks_lost, "chunk");
    let hurt = size::of(report.snapshots_hurt.len() as u64, "snapshot");
    let gone = size::of(report.snapshots_lost.len() as u64, "snapshot");
    let said = match (report.chunks_lost, report.snapshots_lost.len()) {
        (0, 0) => "not all damage could be healed".to_owned(),
        (0, _) => format!("{gone} lost"),
        (_, 0) => format!("{lost} of {hurt} lost"),
        (..) => format!("{lost} of {hurt} and {gone} lost"),
    };
    let fail = Fail::new(if report.is_whole() && !after.is_damaged() { Code::Failed } else { Code::Damage }, said);
    Err(match (report.trees_lost, report.snapshots_lost.is_empty(), args.from.is_named()) {
        (true, ..) => fail.hint(
            "lists of names are among it: an ordinary `seabed backup` of the same sources makes them anew, and heals what it still finds; then run \
             this again",
        ),
        (_, true, false) => fail.hint("`seabed repair --from-repo COPY` takes it from a copy or sibling; run this on the hosts that were backed up, too"),
        (_, true, true) => fail.hint("a backup of the same sources stores anew what is still there; `seabed restore --keep-going` brings back the rest"),
        (_, false, false) => fail.hint("`seabed repair --from-repo COPY` brings it back from a copy; `seabed forget --lost` accepts the loss"),
        (_, false, true) => fail.hint("`seabed forget --lost` accepts the loss; until then nothing is collected"),
    })
}

fn summary(report: &RepairReport, after: &CheckReport, (dry_run, entrance, took): (bool, &[String], f64)) -> Value {
    let healed = |healed: &Healed| json!({"chunks": healed.chunks, "bytes": healed.bytes});
    let names = |names: &[seabed_engine::id::ObjectName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let lost: Vec<String> = report.snapshots_lost.iter().flatten().map(ToString::to_string).collect();
    json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "healed_own": healed(&report.own),
        "healed_other": healed(&report.other),
        "healed_source": healed(&report.source),
        "bytes_fetched": report.bytes_fetched,
        "segments_replaced": report.segments_replaced,
        "packs_indexed": report.packs_indexed,
        "objects_healed": names(&report.objects_healed).into_iter().chain(entrance.iter().cloned()).collect::<Vec<_>>(),
        "objects_dropped": names(&report.objects_dropped),
        "objects_lost": report.objects_lost.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
        "packs_condemned": names(&report.packs_condemned),
        "packs_kept": report.packs_kept,
        "snapshots_back": report.snapshots_back.iter()
            .map(|(old, new)| json!({"origin": old.to_string(), "id": (!dry_run).then(|| new.to_string())})).collect::<Vec<_>>(),
        "chunks_lost": report.chunks_lost,
        "trees_lost": report.trees_lost,
        "snapshots_hurt": report.snapshots_hurt.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "snapshots_lost": lost,
        "num_errors": after.findings.len() as u64 + after.findings_left_out,
        "findings": check::findings(after),
        "total_duration": took,
    })
}
