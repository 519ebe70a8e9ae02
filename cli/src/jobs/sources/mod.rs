//! What a configured source is to the engine: paths, streams, archives, objects, with the checks that make a dump count.
//! It must never let a dump pass that is not whole. It opens no repository. It obeys what README.md says of sources.

pub mod bounds;
pub mod bucket;
mod command;
mod files;
pub mod mysql;
pub mod postgres;
mod rdb;
mod redis;
pub mod sqlite;
pub mod whole;

use crate::commands::excludes::ExcludeArgs;
use crate::exit::Fail;
use crate::jobs::config::Config;
use crate::jobs::config::source::{Kind, Source};
use crate::jobs::sources::bounds::Bounds;
use seabed_engine::{ObjectSource, StreamSource};
use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// A source that is to be read.
pub struct Asked<'a> {
    /// The job.
    pub job: &'a str,
    /// The source's name: streams lie below it, or are called so.
    pub name: &'a str,
    /// What the configuration says of it.
    pub source: &'a Source,
    /// The whole configuration.
    pub config: &'a Config,
    /// What is suspiciously small.
    pub bounds: Arc<Bounds>,
}

/// What a source is to the engine.
#[derive(Default)]
pub struct Prepared {
    /// Paths, absolute.
    pub paths: Vec<PathBuf>,
    /// Where the one path is stored.
    pub as_path: Option<PathBuf>,
    /// What is left out of them.
    pub excludes: ExcludeArgs,
    /// Do not compare inode numbers.
    pub ignore_inode: bool,
    /// Streams.
    pub streams: Vec<StreamSource>,
    /// Tar archives.
    pub tars: Vec<StreamSource>,
    /// Buckets.
    pub objects: Vec<ObjectSource>,
    /// For each stream, what it turned out to be compressed with: known when it was read.
    pub packed: Vec<Arc<Mutex<Option<&'static str>>>>,
    /// What must live until the source is read: files with passwords, connections.
    pub keeps: Vec<Box<dyn Any + Send>>,
    /// What the user should know of it.
    pub warnings: Vec<String>,
}

/// What is said where a stream turned out to be compressed: what that costs, and what to do instead.
pub fn packed_advice(kind: &Kind, packed: &str) -> String {
    let instead = match kind {
        Kind::Postgres(_) => "leave format = \"plain\", and take -Z and --compress out of its options",
        Kind::Mysql(_) => "take --compress out of its options",
        _ => "let the command print what it has as it is",
    };
    format!(
        "what came is compressed already ({packed}): one changed row makes all that follows new, so that each day costs nearly a whole dump; {instead}: \
         it is compressed here, after deduplication"
    )
}

/// Makes it ready. What can be wrong without reading it is found here.
pub fn prepare(asked: &Asked<'_>) -> Result<Prepared, Fail> {
    match &asked.source.kind {
        Kind::Files(files) => files::files(asked, files),
        Kind::DockerVolume(volume) => files::docker_volume(asked, volume),
        Kind::Command(command) => command::command(asked, command),
        Kind::Postgres(config) => postgres::postgres(asked, config),
        Kind::Sqlite(config) => sqlite::sqlite(asked, config),
        Kind::Redis(config) => redis::redis(asked, config),
        Kind::Mysql(config) => mysql::mysql(asked, config),
        Kind::S3(bucket) => bucket::bucket(asked, bucket),
    }
}
