//! `lifecycle`: what the rules of source buckets do to what is to be backed up. It reads rules, listings and snapshots, and changes nothing.
//! It must never take rules that it may not read for none. It obeys what README.md says of buckets.

mod gap;
mod judge;

use crate::args::Global;
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::jobs::config::Config;
use crate::jobs::config::source::{Bucket as Configured, Kind};
use crate::jobs::open::of;
use crate::jobs::sources::bucket::BucketAsked;
use crate::open::{self, Opened};
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use gap::Gap;
use judge::{Judged, Risk};
use seabed_engine::clock;
use seabed_engine::into_bucket::unsaved;
use seabed_engine::repository::selector::{Filter, Selected};
use seabed_engine::store::s3::{Bucket, Fact, Moment, Rule};
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "  seabed lifecycle check
  seabed lifecycle check uploads --gap 2d";
const CHECK: &str = "  seabed lifecycle check
  seabed lifecycle check uploads --gap 2d      # as if runs were up to two days apart
  seabed lifecycle check --json";

/// Look at the lifecycle rules of buckets that are backed up
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES), arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    #[allow(missing_docs)]
    Check(CheckArgs),
}

/// Tell what rules delete or archive before it was ever backed up
///
/// For each source of kind s3: its bucket's rules, and whether an object can go before a run sees it,
/// or is going to: it is in no snapshot as it is, and a rule deletes or archives it before the next
/// run. Ends with 3 where there is something, or where the rules may not be read.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(CHECK))]
pub struct CheckArgs {
    /// Sources of the configuration [default: all of kind s3]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Runs are up to so far apart (12h, 2d) [default: as the schedule of the job says, without one as its snapshots were]
    #[arg(long, value_name = "TIME", value_parser = time::duration)]
    gap: Option<Duration>,
}

/// Looks.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let What::Check(args) = &args.what;
    check(global, args, out)
}

/// A source, what its bucket says, and what that means.
struct Looked {
    source: String,
    place: String,
    /// The job that backs it up, and its newest snapshot there.
    job: Option<String>,
    snapshot: Option<(String, String)>,
    gap: Option<Gap>,
    rules: Fact<Vec<Judged>>,
}

impl Looked {
    fn is_fine(&self) -> bool {
        match &self.rules {
            Fact::Known(rules) => rules.iter().all(|judged| judged.risks.is_empty()),
            Fact::Unknown(_) => false,
        }
    }
}

fn check(global: &Global, args: &CheckArgs, out: &Output) -> Run {
    signals::catch();
    let config = Config::load(global.config.as_deref())?;
    let mut all: Vec<(&str, &Configured)> = Vec::new();
    for name in &args.sources {
        let source = config.source(name)?;
        let Kind::S3(bucket) = &source.kind else {
            return Err(Fail::config(format!("source.{name} is of kind {}: only buckets have such rules", source.kind.word()))
                .hint("name sources of kind s3, or none for all of them"));
        };
        all.push((name, bucket));
    }
    if args.sources.is_empty() {
        let buckets = config
            .sources
            .iter()
            .filter_map(|(name, source)| if let Kind::S3(bucket) = &source.kind { Some((&**name, bucket)) } else { None });
        all.extend(buckets);
    }
    if all.is_empty() {
        return Err(Fail::config("the configuration has no source of kind s3").hint("there is nothing to look at"));
    }
    let mut fine = true;
    for (name, bucket) in all {
        let asked = BucketAsked::of(&config, name, bucket)?;
        let jobs: Vec<&String> =
            config.jobs.iter().filter(|(_, job)| job.sources.iter().any(|source| source == name)).map(|(job, _)| job).collect();
        let bucket = asked.open(&format!("source.{name}"), Some(out.teller()))?;
        let jobs = if jobs.is_empty() { vec![None] } else { jobs.into_iter().map(Some).collect() };
        for job in jobs {
            let looked = look(global, &config, (name, &asked, &bucket), job.map(String::as_str), args, out)?;
            fine &= looked.is_fine();
            tell(&looked, out)?;
        }
    }
    Ok(if fine { Code::Done } else { Code::Incomplete })
}

fn look(
    global: &Global,
    config: &Config,
    (name, asked, bucket): (&str, &BucketAsked, &Bucket),
    job: Option<&str>,
    args: &CheckArgs,
    out: &Output,
) -> Result<Looked, Fail> {
    let mut looked = Looked {
        source: name.to_owned(),
        place: bucket.place().text(),
        job: job.map(str::to_owned),
        snapshot: None,
        gap: args.gap.map(Gap::Given),
        rules: Fact::Known(Vec::new()),
    };
    let rules: Vec<Rule> = match bucket.lifecycle()? {
        Fact::Known(rules) => rules,
        Fact::Unknown(why) => {
            looked.rules = Fact::Unknown(why);
            return Ok(looked);
        }
    };
    // Where nothing goes nothing has to be compared.
    if rules.is_empty() {
        return Ok(looked);
    }
    let opened = job.map(|job| first_repository(global, config, job, out)).transpose()?;
    let mut selected = None;
    if let (Some(job), Some(opened)) = (job, &opened) {
        let series = Config::series(job, name);
        let all = opened.repository.catalog().snapshots()?;
        let own: Vec<_> = all.iter().filter(|snapshot| snapshot.names.series == series && !snapshot.index.incomplete).collect();
        if looked.gap.is_none() {
            looked.gap = gap::of(config, config.job(job)?, own.iter().map(|snapshot| snapshot.index.time));
        }
        if let Some(newest) = own.iter().max_by_key(|snapshot| snapshot.index.time) {
            looked.snapshot = Some((newest.id.to_string(), time::rfc3339(&newest.index.time)));
            let filter = Filter { series: vec![series], ..Filter::default() };
            selected = Some(opened.repository.select(&newest.id.to_string(), &filter)?);
        }
    }
    let mut judging = judge::Judging::new(rules, clock::now(), looked.gap.as_ref());
    if judging.needs_objects() {
        objects(opened.as_ref(), selected.as_ref(), (asked, bucket), &mut judging, out)?;
    }
    looked.rules = Fact::Known(judging.finish());
    Ok(looked)
}

/// The first of a job's repositories that can be opened.
fn first_repository(global: &Global, config: &Config, name: &str, out: &Output) -> Result<Opened, Fail> {
    let job = config.job(name)?;
    let all: Vec<&String> = if job.repos.is_empty() { config.repos.keys().collect() } else { job.repos.iter().collect() };
    let mut failed = None;
    for repo in all {
        let opened = of(config, repo, global).and_then(|global| open::open(&global, out)).and_then(|opened| {
            refresh(&opened.repository, out)?;
            Ok(opened)
        });
        match opened {
            Ok(opened) => return Ok(opened),
            Err(fail) if signals::interrupted() => return Err(fail),
            Err(fail) => failed = Some(fail),
        }
    }
    Err(failed.unwrap_or_else(|| Fail::config(format!("job.{name} has no repository"))))
}

fn objects(
    opened: Option<&Opened>,
    selected: Option<&Selected>,
    (asked, bucket): (&BucketAsked, &Bucket),
    judging: &mut judge::Judging,
    out: &Output,
) -> Result<(), Fail> {
    let listener = Listener::beside_result(out, "comparing");
    let chosen = judge::Chosen::new(&asked.include, &asked.exclude)?;
    let mut each = |object: &seabed_engine::source::objects::Object| {
        if chosen.takes(&object.key) {
            judging.unsaved(object);
        }
        Ok(())
    };
    let snapshot = opened.map(|opened| &opened.repository).zip(selected);
    let compared = unsaved(snapshot, bucket, &listener, &mut each);
    listener.finish();
    match compared {
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted")),
        other => Ok(other?),
    }
}

/// When a rule acts, in words.
fn moment(at: &Moment) -> String {
    match at {
        Moment::Days(days) => format!("{} after it was put", size::of(u64::from(*days), "day")),
        Moment::Date(date) => format!("on {}", time::local(date)),
    }
}

fn about(rule: &Rule) -> String {
    let mut words = vec![if rule.prefix.is_empty() { "everything".to_owned() } else { format!("{}…", rule.prefix) }];
    words.extend(rule.tags.iter().map(|(name, value)| format!("with the tag {name}={value}")));
    words.extend(rule.larger_than.map(|bytes| format!("larger than {}", size::human(bytes))));
    words.extend(rule.smaller_than.map(|bytes| format!("smaller than {}", size::human(bytes))));
    words.join(", ")
}

fn tell(looked: &Looked, out: &Output) -> Result<(), Fail> {
    if out.json {
        return out.json_result(&as_json(looked));
    }
    let mut lines = vec![format!("source {}: {}", looked.source, looked.place)];
    match (&looked.job, &looked.gap) {
        (None, _) => lines.push("  no job backs it up".to_owned()),
        (Some(job), None) => lines.push(format!("  job {job}: how far apart its runs are is not known (--gap says it)")),
        (Some(job), Some(gap)) => lines.push(format!("  job {job}: runs are up to {} apart ({})", time::clock(gap.span()), gap.words())),
    }
    match &looked.rules {
        Fact::Unknown(why) => lines.push(format!("  its rules cannot be read: {why}")),
        Fact::Known(rules) if rules.is_empty() => lines.push("  no rule deletes or moves any of it".to_owned()),
        Fact::Known(rules) => {
            for Judged { rule, risks } in rules {
                let name = if rule.name.is_empty() { "without a name" } else { &rule.name };
                lines.push(format!("  rule {name}: {}", about(rule)));
                lines.extend(rule.deletes.iter().map(|at| format!("    deleted {}", moment(at))));
                lines.extend(rule.moves.iter().map(|(at, class)| format!("    moved to {class} {}", moment(at))));
                lines.extend(risks.iter().map(|risk| format!("    ! {}", risk.words())));
            }
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| crate::output::clean(line)).collect();
    out.result(lines.join("\n").as_bytes())
}

fn as_json(looked: &Looked) -> Value {
    let moment = |at: &Moment| match at {
        Moment::Days(days) => json!({"days": days}),
        Moment::Date(date) => json!({"date": time::rfc3339(date)}),
    };
    let risk = |risk: &Risk| {
        let mut value = json!({"risk": risk.word(), "message": risk.words()});
        if let (Some(map), Some(amount)) = (value.as_object_mut(), risk.objects()) {
            map.insert("objects".to_owned(), amount.objects.into());
            map.insert("bytes".to_owned(), amount.bytes.into());
            map.insert("first".to_owned(), amount.first.clone().into());
        }
        value
    };
    let rule = |Judged { rule, risks }: &Judged| {
        json!({
            "name": rule.name,
            "prefix": rule.prefix,
            "tags": rule.tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "larger_than": rule.larger_than,
            "smaller_than": rule.smaller_than,
            "deletes": rule.deletes.as_ref().map(moment),
            "moves": rule.moves.iter().map(|(at, class)| json!({"class": class, "when": moment(at)})).collect::<Vec<_>>(),
            "risks": risks.iter().map(risk).collect::<Vec<_>>(),
        })
    };
    let (rules, unknown) = match &looked.rules {
        Fact::Known(rules) => (Some(rules.iter().map(rule).collect::<Vec<_>>()), None),
        Fact::Unknown(why) => (None, Some(why)),
    };
    json!({
        "message_type": "lifecycle",
        "source": looked.source,
        "bucket": looked.place,
        "job": looked.job,
        "gap_seconds": looked.gap.as_ref().map(|gap| gap.span().as_secs()),
        "gap_from": looked.gap.as_ref().map(Gap::word),
        "snapshot": looked.snapshot.as_ref().map(|(id, _)| id),
        "snapshot_time": looked.snapshot.as_ref().map(|(_, time)| time),
        "rules": rules,
        "unknown": unknown,
    })
}
