//! A snapshot into a bucket: what would change, then doing it. The command line opens the repository and chooses what is meant.
//! It obeys what README.md says of buckets.

use crate::exit::{Code, Fail, Run};
use crate::output::{Output, path_bytes};
use crate::progress::Listener;
use crate::{signals, size, time};
use seabed_engine::error::Error;
use seabed_engine::into_bucket::{BucketOptions, BucketReport, Change, into_bucket};
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use seabed_engine::store::s3::Bucket;
use serde_json::{Value, json};
use std::io;

/// What is to be done.
pub struct Asked {
    /// As the engine takes it. `dry_run` is `diff`.
    pub options: BucketOptions,
    /// Only say what would change.
    pub diff: bool,
}

/// The mark before a key.
fn mark(change: Change) -> &'static str {
    match change {
        Change::New => "+",
        Change::Differs => "M",
        Change::Same => "=",
        Change::Extra => "?",
    }
}

/// Compares, and unless only that was asked for restores.
pub fn run(repository: &Repository, selected: &Selected, bucket: &Bucket, asked: &Asked, out: &Output) -> Run {
    let place = bucket.place().text();
    let names = &selected.snapshot.names;
    let verb = if asked.diff { "comparing" } else { "restoring" };
    out.say(&format!("{verb} snapshot {} of {} and {place}", selected.snapshot.id.short(), time::local(&selected.snapshot.index.time)));
    out.say(&format!("  series {}, host {}", names.series, names.host));
    // What is the same only somebody wants to know who asks for more.
    let named = |change| match asked.diff {
        true => change != Change::Same || out.level > 1,
        false => out.level > 1 || out.level > 0 && matches!(change, Change::New | Change::Differs),
    };
    let options = BucketOptions { dry_run: asked.diff, ..asked.options.clone() };
    let listener = if asked.diff { Listener::beside_lines(out, "comparing") } else { Listener::new(out, "restore") };
    let mut lines = out.bulk();
    let mut left = None;
    let result = into_bucket(repository, selected, bucket, &options, &listener, &mut |key, change, bytes| {
        if !named(change) {
            return Ok(());
        }
        let line = match out.json {
            true => json!({"message_type": "change", "change": change.word(), "key": key, "bytes": bytes}).to_string().into_bytes(),
            false => [mark(change).as_bytes(), b" ", &path_bytes(key.as_bytes(), out.on_terminal())].concat(),
        };
        lines.line(&line).map_err(|fail| {
            left = Some(fail);
            Error::Output { source: io::ErrorKind::BrokenPipe.into() }
        })
    });
    let took = listener.elapsed();
    listener.finish();
    if let Some(fail) = left {
        return Err(fail);
    }
    lines.finish()?;
    let report = match result {
        Ok(report) => report,
        Err(_) if signals::interrupted() => {
            return Err(
                Fail::new(Code::Interrupted, "interrupted, the bucket holds what was restored so far").hint("run it again to go on")
            );
        }
        Err(Error::Refused { what }) => {
            let hint =
                "--diff says which; --force replaces what differs, and leaves what the snapshot does not have; or name an empty prefix";
            return Err(Fail::new(Code::Refused, what).hint(hint));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(finished(asked, &place, &report, took, out))
}

fn finished(asked: &Asked, place: &str, report: &BucketReport, took: std::time::Duration, out: &Output) -> Code {
    let unsaid = report.error_count.saturating_sub(report.errors.len() as u64);
    if unsaid > 0 {
        out.warn(&size::of(unsaid, "further error"));
    }
    if report.not_stored > 0 {
        out.warn(&format!("the snapshot lacks {} that could not be read when it was made", size::of(report.not_stored, "object")));
    }
    if report.left_out > 0 {
        let first = report.first_left_out.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        out.warn(&format!("left out, for no object can be what they are: {}, first {first}", size::count(report.left_out)));
    }
    if out.json {
        let amount = |amount: seabed_engine::into_bucket::Amount| json!({"objects": amount.objects, "bytes": amount.bytes});
        let value: Value = json!({
            "message_type": "summary",
            "seconds_elapsed": took.as_secs(),
            "dry_run": asked.diff,
            "target": place,
            "new": amount(report.new),
            "differs": amount(report.differs),
            "same": amount(report.same),
            "extra": amount(report.extra),
            "sent": amount(report.sent),
            "not_stored": report.not_stored,
            "left_out": report.left_out,
            "error_count": report.error_count,
        });
        out.message(&value);
    } else {
        out.say(&format!(
            "Objects: {} new, {} differ, {} the same, {} only there",
            size::count(report.new.objects),
            size::count(report.differs.objects),
            size::count(report.same.objects),
            size::count(report.extra.objects)
        ));
        let (verb, amount) = match asked.diff {
            true => ("would restore", (report.new.objects + report.differs.objects, report.new.bytes + report.differs.bytes)),
            false => ("restored and verified", (report.sent.objects, report.sent.bytes)),
        };
        out.say(&format!("{verb} {}, {}, in {}", size::of(amount.0, "object"), size::human(amount.1), time::clock(took)));
    }
    // That something differs is what was asked.
    if asked.diff || report.is_complete() { Code::Done } else { Code::Incomplete }
}
