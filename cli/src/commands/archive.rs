//! Writing an archive, for `dump` and `restore`: where it goes, and what is said of it.
//! It must never fill a terminal with one, nor let one that is not whole pass for one. It obeys what README.md says of it.

use crate::exit::{Code, Fail, Run};
use crate::newfile::NewFile;
use crate::output::Output;
use crate::progress::Listener;
use crate::{signals, size, time};
use clap::ValueEnum;
use seabed_engine::archive::{ArchiveOptions, ArchiveReport, Format, archive};
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Selected;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The kinds of archives, as they are typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// With all that is known of each file
    Tar,
    /// For systems without tar; no devices, hard links or attributes
    Zip,
}

impl From<Kind> for Format {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Tar => Format::Tar,
            Kind::Zip => Format::Zip,
        }
    }
}

/// The file that is meant; `None` for standard output.
pub fn file_of(target: Option<&Path>) -> Option<&Path> {
    target.filter(|target| *target != Path::new("-"))
}

/// Listens to what is written. Where it goes to standard output, nothing else does.
pub fn listener<'a>(out: &'a Output, what: &'static str, target: Option<&Path>) -> Listener<'a> {
    if target.is_some() { Listener::new(out, what) } else { Listener::beside_lines(out, what) }
}

/// Writes it.
pub fn write(repository: &Repository, selected: &Selected, options: &ArchiveOptions, target: Option<&Path>, out: &Output) -> Run {
    let target = file_of(target);
    if target.is_none() && out.on_terminal() {
        let fail = Fail::new(Code::Refused, format!("a {} archive is nothing for a terminal", options.format.word()));
        return Err(fail.hint("name a file with --target FILE, or pipe it to a program"));
    }
    let listener = listener(out, "archive", target);
    let result = match target {
        None => out.data(|to| archive(repository, selected, options, to, &listener)).map_err(Fail::from),
        Some(path) => NewFile::begin(path).and_then(|mut new| {
            let report = archive(repository, selected, options, new.file(), &listener)?;
            new.keep().map(|()| report)
        }),
    };
    let took = listener.elapsed();
    listener.finish();
    match result {
        Ok(report) => Ok(finished(options.format, &report, target, took, out)),
        Err(_) if signals::interrupted() => Err(Fail::new(Code::Interrupted, "interrupted, the archive is not whole")),
        Err(fail) => Err(fail),
    }
}

fn finished(format: Format, report: &ArchiveReport, target: Option<&Path>, took: Duration, out: &Output) -> Code {
    // The errors themselves were said when they happened.
    let unsaid = report.error_count.saturating_sub(report.errors.len() as u64);
    if unsaid > 0 {
        out.warn(&size::of(unsaid, "further error"));
    }
    if report.sockets > 0 {
        out.warn(&format!("{} left out: archives hold none", size::of(report.sockets, "socket")));
    }
    let mut left_out = 0;
    for (what, count, first) in &report.left_out {
        left_out += count;
        let first = String::from_utf8_lossy(first);
        out.warn(&format!("{what} left out, which a {} archive cannot hold: {}, first /{first}", format.word(), size::count(*count)));
    }
    if report.files_not_stored > 0 {
        out.warn(&format!("the snapshot lacks {} that could not be read when it was made", size::of(report.files_not_stored, "file")));
    }
    if let Some(target) = target {
        if out.json {
            out.message(&json!({
                "message_type": "summary",
                "seconds_elapsed": took.as_secs(),
                "archive": format.word(),
                "target": target.to_string_lossy(),
                "total_files": report.files,
                "directories": report.directories,
                "total_bytes": report.bytes,
                "bytes_written": report.bytes_written,
                "files_left_out": left_out,
                "sockets_left_out": report.sockets,
                "files_not_stored": report.files_not_stored,
                "error_count": report.error_count,
            }));
        } else {
            let (files, dirs) = (size::of(report.files, "file"), size::of(report.directories, "directory"));
            let (bytes, written) = (size::human(report.bytes), size::human(report.bytes_written));
            out.say(&format!("{files}, {dirs}, {bytes} in {}, {written}, in {}", target.display(), time::clock(took)));
        }
    }
    if report.error_count + left_out > 0 { Code::Incomplete } else { Code::Done }
}
