//! What a caller asks of a backup, and what it is told afterwards: plain data.

use crate::error::{Error, SourceError};
use crate::format::manifest::Summary;
use crate::format::wire::Time;
use crate::id::{ObjectId, SnapshotId};
use crate::index::Index;
use crate::limits::{PACK_BYTES_DATA, PACK_BYTES_META};
use crate::pack::Compression;
use crate::repository::selection::Pattern;
use crate::source::WalkOptions;
use crate::source::objects::Objects;
use crate::source::stream::{CommandStream, Stream, StreamFailure};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Which snapshot the sources are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest complete one of the same series and host.
    #[default]
    Newest,
    /// This one.
    Snapshot(String),
    /// None: everything is read.
    None,
}

/// A stream to be stored beside the tree.
pub struct StreamSource {
    /// Its stored path, without leading `/`.
    pub name: Vec<u8>,
    /// Program and arguments, for a command.
    pub argv: Vec<Vec<u8>>,
    /// Opens it: called when its turn has come, so that commands run one after the other.
    #[allow(clippy::type_complexity)]
    pub open: Mutex<Option<Box<dyn FnOnce() -> Result<Box<dyn Stream>, StreamFailure> + Send>>>,
    /// Whether it may be empty.
    pub allow_empty: bool,
}

impl StreamSource {
    /// What `open` opens when its turn has come, stored under `name`; it must not be empty.
    pub fn new(name: impl Into<Vec<u8>>, open: impl FnOnce() -> Result<Box<dyn Stream>, StreamFailure> + Send + 'static) -> Self {
        StreamSource { name: name.into(), argv: Vec::new(), open: Mutex::new(Some(Box::new(open))), allow_empty: false }
    }

    /// What a command prints, run by `sh -c`; its exit status must be 0.
    pub fn command(name: impl Into<Vec<u8>>, command: impl Into<String>) -> Self {
        let command = command.into();
        let argv = vec![b"/bin/sh".to_vec(), b"-c".to_vec(), command.clone().into_bytes()];
        let open = move || Ok(Box::new(CommandStream::start(&command)?) as Box<dyn Stream>);
        StreamSource { argv, ..StreamSource::new(name, open) }
    }
}

/// Objects of a bucket, to become files below a name.
pub struct ObjectSource {
    /// The directory in which they lie, without leading `/`. Without a name it must be the only source.
    pub name: Vec<u8>,
    /// Where they come from, for people: `s3://bucket/prefix`. Holds no secret.
    pub place: String,
    /// The bucket.
    pub objects: Arc<dyn Objects>,
    /// Only those that match one of these, if there are any. Patterns match paths below the name.
    pub include: Vec<Pattern>,
    /// Without those that match one of these.
    pub exclude: Vec<Pattern>,
    /// Whether there may be none.
    pub allow_empty: bool,
}

impl ObjectSource {
    /// All of them; there must be some.
    pub fn new(name: impl Into<Vec<u8>>, place: impl Into<String>, objects: Arc<dyn Objects>) -> Self {
        let (include, exclude) = (Vec::new(), Vec::new());
        ObjectSource { name: name.into(), place: place.into(), objects, include, exclude, allow_empty: false }
    }
}

/// What to back up, and how.
pub struct BackupOptions {
    /// Files and directories, absolute.
    pub paths: Vec<PathBuf>,
    /// Where the one path is stored instead of under its own: for snapshots of volumes that are mounted anywhere.
    pub as_path: Option<PathBuf>,
    /// How to walk them.
    pub walk: WalkOptions,
    /// Streams.
    pub streams: Vec<StreamSource>,
    /// Tar archives, whose entries become files below the archive's name. One without a name, whose entries lie at the top of the
    /// snapshot, must be the only source.
    pub tars: Vec<StreamSource>,
    /// Objects of buckets, which become files below the source's name. What is as the parent has it (length, time, ETag) is not read.
    pub objects: Vec<ObjectSource>,
    /// The series; else the first path or stream names it.
    pub series: Option<String>,
    /// The host.
    pub host: String,
    /// Who runs it.
    pub user: String,
    /// Their number and group's.
    pub uid_gid: (u32, u32),
    /// Tags.
    pub tags: Vec<String>,
    /// A line for people.
    pub description: String,
    /// What was left out, as text for the manifest.
    pub excludes: Vec<String>,
    /// Program and version, for the manifest.
    pub program: String,
    /// The time that the snapshot stands for, if not now.
    pub time: Option<Time>,
    /// What to compare with.
    pub parent: ParentChoice,
    /// Do not compare inode numbers: they change with every mount of some network file systems.
    pub ignore_inode: bool,
    /// Do not compare the time of attribute changes.
    pub ignore_ctime: bool,
    /// Read and count, write nothing.
    pub dry_run: bool,
    /// Make no snapshot where it would equal its parent.
    pub skip_if_unchanged: bool,
    /// How frames are compressed.
    pub compression: Compression,
    /// Target of data packs, bytes.
    pub data_pack_bytes: u64,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// What was done so far is put down as a pending manifest after so long,
    pub pending_after: Duration,
    /// or after so many bytes of new content.
    pub pending_bytes: u64,
    /// What the snapshots of one run into several repositories share.
    pub group: Option<ObjectId>,
}

/// What a run that dies may have to do once more. Each pending ends the open packs, and stays until the run ends.
const PENDING_AFTER: Duration = Duration::from_secs(5 * 60);
const PENDING_BYTES: u64 = 8 << 30;

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions {
            paths: Vec::new(),
            as_path: None,
            walk: WalkOptions::default(),
            streams: Vec::new(),
            tars: Vec::new(),
            objects: Vec::new(),
            series: None,
            host: String::new(),
            user: String::new(),
            uid_gid: (0, 0),
            tags: Vec::new(),
            description: String::new(),
            excludes: Vec::new(),
            program: concat!("seabed ", env!("CARGO_PKG_VERSION")).to_owned(),
            time: None,
            parent: ParentChoice::default(),
            ignore_inode: false,
            ignore_ctime: false,
            dry_run: false,
            skip_if_unchanged: false,
            compression: Compression::default(),
            data_pack_bytes: PACK_BYTES_DATA,
            threads: 0,
            pending_after: PENDING_AFTER,
            pending_bytes: PENDING_BYTES,
            group: None,
        }
    }
}

impl BackupOptions {
    /// The series this run belongs to.
    pub fn series_name(&self) -> String {
        let first = || self.as_path.as_ref().or(self.paths.first()).map(|p| p.to_string_lossy().into_owned());
        let stream = || self.names().next().map(|name| String::from_utf8_lossy(name).into_owned());
        self.series.clone().or_else(first).or_else(stream).unwrap_or_default()
    }

    /// The names of streams, archives and buckets, in the order in which they are read.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.streams.iter().map(|stream| &stream.name[..]).chain(self.trees())
    }

    /// The names of those that become trees of their own.
    pub fn trees(&self) -> impl Iterator<Item = &[u8]> {
        self.tars.iter().map(|tar| &tar.name[..]).chain(self.objects.iter().map(|source| &source.name[..]))
    }

    /// Target of names and lists packs, bytes.
    pub fn meta_pack_bytes(&self) -> u64 {
        PACK_BYTES_META.min(self.data_pack_bytes)
    }

    /// How many workers to start.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64),
            n => n.min(256),
        }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] Error),
    /// A stream failed: a dump that is not whole is not stored.
    #[error(transparent)]
    Stream(#[from] StreamFailure),
    /// None of the sources could be read.
    #[error("nothing to back up: none of the sources could be read")]
    NoSource {
        /// What failed.
        errors: Vec<SourceError>,
    },
}

/// What a backup did.
#[derive(Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// The snapshot; `None` for a dry run, or where nothing had changed and that was asked for.
    pub snapshot: Option<SnapshotId>,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// The run that had not ended, and from whose pending manifest this one went on.
    pub resumed: Option<SnapshotId>,
    /// The series.
    pub series: String,
    /// What it counted.
    pub summary: Summary,
    /// The first sources that failed.
    pub errors: Vec<SourceError>,
    /// How many failed in all.
    pub error_count: u64,
    /// Entries that excludes left out.
    pub excluded: u64,
    /// Objects of buckets that were left out because they are archived.
    pub archived: u64,
    /// Streams whose commands succeeded and wrote to standard error all the same: name, and the end of what they wrote.
    pub remarks: Vec<(Vec<u8>, Vec<u8>)>,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub finished: Time,
    /// Where whoever looks at the new snapshot's tree next finds it and its parent's: what was indexed when the run began, and the packs of
    /// names and lists that it wrote. Only for a snapshot.
    #[doc(hidden)]
    pub trees: Option<Arc<Index>>,
}
