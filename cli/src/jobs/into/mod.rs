//! Restores into servers and buckets: streams out of the repository straight into a client of the database, with no file on the way; files into
//! objects.
//! It must never let a client commit what did not come whole, touch a database that holds something unless told, or call one restored whose
//! client said otherwise. It obeys what README.md says of `restore --into`.

pub mod bucket;
mod clear;
mod feed;
mod file;
mod mysql;
mod postgres;
mod properties;
mod scan;
mod script;
mod table;
mod url;

pub use url::Target;

use crate::exit::{Code, Fail, Run};
use crate::jobs::clients::names::decoded;
use crate::jobs::sources::bucket::BucketAsked;
use crate::open::Opened;
use crate::output::Output;
use crate::{signals, size, time};
use seabed_engine::catalog::Snapshot;
use seabed_engine::into_bucket::BucketOptions;
use seabed_engine::repository::selector::Selected;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// How a restore into a server is done.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct IntoOptions {
    /// The database of the snapshot, where it has several and --into names another
    #[arg(long, value_name = "NAME", requires = "into", help_heading = "Restoring into a server (--into)", allow_hyphen_values = true)]
    pub database: Option<String>,
    /// Only this table, with its data, indexes, constraints and sequences; a pattern such as `sales.*` too (repeatable)
    #[arg(id = "table", long = "table", value_name = "TABLE", requires = "into", help_heading = "Restoring into a server (--into)")]
    pub tables: Vec<String>,
    /// Roles, users and grants first
    #[arg(long, requires = "into", help_heading = "Restoring into a server (--into)")]
    pub globals: bool,
    /// Into a database that is not empty, too: what it holds goes
    #[arg(long, requires = "into", help_heading = "Restoring into a server (--into)")]
    pub force: bool,
    /// Directory of the client programs
    #[arg(long, value_name = "DIR", requires = "into", help_heading = "Restoring into a server (--into)")]
    pub programs: Option<PathBuf>,
    /// Into a bucket: only compare, and list what would change
    #[arg(long, requires = "into", help_heading = "Restoring into a server (--into)")]
    pub diff: bool,
    /// A file with the server's password: one in the URL can be read in the list of processes
    #[arg(long, value_name = "FILE", requires = "into", help_heading = "Restoring into a server (--into)")]
    pub into_password_file: Option<PathBuf>,
}

/// A stream of the snapshot.
#[derive(Clone, Debug)]
struct Dump {
    /// Its path.
    name: Vec<u8>,
    /// What the manifest says is in it.
    format: String,
    /// Its length.
    bytes: u64,
    /// BLAKE3 of all of it.
    hash: [u8; 32],
    /// The command that made it.
    argv: Vec<Vec<u8>>,
}

impl Dump {
    /// For people.
    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// The database it is of, by its name.
    fn database(&self) -> String {
        let last = self.name.rsplit(|b| *b == b'/').next().unwrap_or(&self.name);
        let stem = [&b".sql"[..], b".dump"].iter().find_map(|end| last.strip_suffix(*end)).unwrap_or(last);
        decoded(stem).unwrap_or_else(|| String::from_utf8_lossy(stem).into_owned())
    }
}

/// What a restore has at hand.
struct Restore<'a> {
    opened: &'a Opened,
    snapshot: &'a Snapshot,
    dumps: Vec<Dump>,
    options: &'a IntoOptions,
    out: &'a Output,
}

/// Restores the streams that `selected` names.
///
/// `bucket` is how a bucket is talked to, where the configuration says so.
pub fn run(opened: &Opened, selected: &Selected, into: (&Target, Option<&BucketAsked>), options: &IntoOptions, out: &Output) -> Run {
    signals::catch();
    let (into, bucket) = into;
    if options.diff && !matches!(into, Target::Bucket(_)) {
        return Err(Fail::config("--diff compares with a bucket").hint("leave it out: a database that is not empty is refused anyway"));
    }
    let restore = || Ok::<_, Fail>(Restore { opened, snapshot: &selected.snapshot, dumps: dumps(selected)?, options, out });
    match into {
        Target::Postgres(url) => postgres::run(&restore()?, url),
        Target::Mysql(url) => mysql::run(&restore()?, url),
        Target::File(path) => file::run(&restore()?, path),
        Target::Bucket(url) => {
            let asked = BucketAsked { url: url.clone(), ..bucket.cloned().unwrap_or_default() };
            let bucket = asked.open("--into", Some(out.teller()))?;
            let force = BucketOptions { force: options.force, ..BucketOptions::default() };
            bucket::run(&opened.repository, selected, &bucket, &bucket::Asked { options: force, diff: options.diff }, out)
        }
        Target::Redis => Err(Fail::config("Redis takes no dump over the network: it reads one when it starts").hint(
            "`seabed dump SNAPSHOT NAME.rdb --target dump.rdb` writes it; stop the server, put the file where `CONFIG GET dir` and dbfilename say, \
             turn appendonly off, and start it",
        )),
    }
}

/// The streams of the snapshot, below the path that was named.
fn dumps(selected: &Selected) -> Result<Vec<Dump>, Fail> {
    let snapshot = &selected.snapshot;
    let is_below = |name: &[u8]| {
        name.strip_prefix(&selected.path[..]).is_some_and(|rest| selected.path.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
    };
    let roots = snapshot.index.roots.iter().zip(&snapshot.names.roots);
    let found: Vec<Dump> = roots
        .filter(|(_, names)| is_below(&names.name.0))
        .filter_map(|(index, names)| {
            let stream = names.stream.as_ref().filter(|stream| stream.format != "tar")?;
            let argv = stream.argv.iter().map(|word| word.0.clone()).collect();
            Some(Dump { name: names.name.0.clone(), format: stream.format.clone(), bytes: index.bytes, hash: stream.hash, argv })
        })
        .collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Fail::config(format!("snapshot {} has no dump there", snapshot.id.short()))
            .hint("`seabed ls SNAPSHOT` lists what it has; files are restored with --target")),
    }
}

impl Restore<'_> {
    /// The dumps that are meant, each with the database that it goes to. `is_one` says of a dump whether this server takes it.
    fn chosen(&self, target: Option<&str>, is_one: impl Fn(&Dump) -> bool) -> Result<Vec<(Dump, String)>, Fail> {
        let ours: Vec<&Dump> = self.dumps.iter().filter(|dump| is_one(dump)).collect();
        let names = || ours.iter().map(|dump| dump.database()).collect::<Vec<_>>().join(", ");
        if ours.is_empty() {
            let kinds = self.dumps.iter().map(|dump| format!("{} ({})", dump.shown(), kind_of(dump))).collect::<Vec<_>>().join(", ");
            return Err(Fail::config(format!("the snapshot has no dump that this server takes: {kinds}"))
                .hint("name another snapshot or source, or a server of that kind"));
        }
        if let Some(wanted) = &self.options.database {
            let dump = ours
                .iter()
                .find(|dump| dump.database() == *wanted)
                .ok_or_else(|| Fail::config(format!("the snapshot has no database `{wanted}`")).hint(format!("it has {}", names())))?;
            return Ok(vec![((*dump).clone(), target.unwrap_or(wanted).to_owned())]);
        }
        let Some(target) = target else {
            return Ok(ours.iter().map(|dump| ((*dump).clone(), dump.database())).collect());
        };
        let dump = match (ours.iter().find(|dump| dump.database() == target), &ours[..]) {
            (Some(dump), _) | (None, [dump]) => *dump,
            _ => {
                return Err(Fail::config(format!("the snapshot has several databases, and none is called `{target}`"))
                    .hint(format!("say which with --database NAME: {}", names())));
            }
        };
        Ok(vec![(dump.clone(), target.to_owned())])
    }

    /// Says that one is there.
    fn said(&self, dump: &Dump, to: &str, bytes: u64, took: Duration) {
        if self.out.json {
            self.out.message(&json!({
                "message_type": "restored",
                "stream": dump.shown(),
                "into": to,
                "bytes": bytes,
                "seconds_elapsed": took.as_secs(),
            }));
        } else {
            self.out.say(&format!("{} is in {to}: {} in {}", dump.shown(), size::human(bytes), time::clock(took)));
        }
    }
}

/// The format for people.
fn kind_of(dump: &Dump) -> &str {
    if dump.format.is_empty() { "unknown format" } else { &dump.format }
}

/// A database that is not empty.
fn refuse_full(name: &str, holds: &str, force: &str) -> Fail {
    Fail::new(Code::Refused, format!("the database `{name}` is not empty: it has {holds}"))
        .hint(format!("restore into a new one; or --force, {force}: make a backup of it first"))
}
