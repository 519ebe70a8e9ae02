//! The errors of the engine: what failed, on which object. Hints and exit codes are the caller's, chosen by [`Kind`].
//! A failure of the repository ([`Error`]) and a failure to read a source ([`SourceError`]) are different types, because a
//! full repository disk once passed for an unreadable file elsewhere, and the backup was acknowledged (borg #9853).

use crate::id::{ChunkId, ObjectId, ObjectName, PackId, SnapshotId, WriterId};
use std::io;
use std::path::PathBuf;

/// Result of anything that touches the repository.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a store was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum StoreOp {
    Open,
    Put,
    Get,
    List,
    Delete,
    Thaw,
}

impl std::fmt::Display for StoreOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StoreOp::Open => "open",
            StoreOp::Put => "write",
            StoreOp::Get => "read",
            StoreOp::List => "list",
            StoreOp::Delete => "delete",
            StoreOp::Thaw => "thaw",
        })
    }
}

/// What is wrong with bytes that came from a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Damage {
    #[error("it is missing")]
    Missing,
    #[error("the store serves other objects and not this one: {0}")]
    Unreadable(String),
    #[error("it is cut short: {have} bytes where {want} are needed")]
    Short { have: u64, want: u64 },
    #[error("it is too large: {have} bytes, limit {max}")]
    TooLarge { have: u64, max: u64 },
    #[error("its magic bytes are wrong")]
    Magic,
    #[error("it does not authenticate")]
    Seal,
    #[error("its bytes do not match its name")]
    Name,
    #[error("field {0} is malformed")]
    Malformed(&'static str),
    #[error("frame {frame} does not decode")]
    Frame { frame: u32 },
    #[error("chunk {0} has other content than its id says")]
    Content(ChunkId),
    #[error("header and trailer differ")]
    Trailer,
    #[error("no index segment names it")]
    Unindexed,
    #[error("the index says otherwise than its footer")]
    Index,
    #[error("its counts or sizes do not add up")]
    Sum,
    #[error("its entries are out of order")]
    Order,
    #[error("its names side and its lists side differ")]
    Twins,
}

/// Why a recovery sheet cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum SheetFlaw {
    #[error("it has no numbered lines")]
    NotOne,
    #[error("line {0} is mistyped")]
    Line(u16),
    #[error("line {0} is missing")]
    Missing(u16),
    #[error("its lines do not belong together")]
    Sum,
    #[error("it was made by a newer version of seabed (sheet {0})")]
    Newer(u8),
    #[error("field {0} is malformed")]
    Malformed(&'static str),
}

/// A failure of the repository, its store or its keys.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Error {
    #[error("there is no repository at {place}")]
    NoRepository { place: String },
    #[error("a repository already exists at {place}")]
    RepositoryExists { place: String },
    #[error("{place} holds snapshots or packs, but the descriptor `seabed` of their repository is gone")]
    DescriptorLost { place: String },
    #[error("{place} is not empty and holds no repository")]
    PlaceNotEmpty { place: String },
    #[error("no key slot opens with this secret")]
    WrongKey,
    #[error("the recovery sheet cannot be used: {flaw}")]
    Sheet { flaw: SheetFlaw },
    #[error("cannot {op} {object}: {source}")]
    Store { op: StoreOp, object: String, source: io::Error },
    #[error("the bucket of {place} does not exist")]
    NoBucket { place: String },
    #[error("there are no keys for {place}: {why}")]
    NoKeys { place: String, why: String },
    #[error("{place} cannot be reached: {what}")]
    Unreachable { place: String, what: String },
    #[error("the store does not list `{folder}` completely: {why}")]
    ListIncomplete { folder: String, why: &'static str },
    #[error("{object} is archived by the store and cannot be read before it is thawed")]
    Archived { object: String },
    #[error("{object} is damaged: {damage}")]
    Damaged { object: ObjectName, damage: Damage },
    #[error("{object} was written by a newer version of seabed (format {found}, this program reads {known})")]
    NewerFormat { object: ObjectName, found: u32, known: u32 },
    #[error("{object} uses `{feature}`, which this program does not know")]
    UnknownFeature { object: ObjectName, feature: String },
    #[error("{object} is sealed under the keys of epoch {epoch}, which this secret does not open")]
    EpochUnknown { object: ObjectName, epoch: u32, held: u32 },
    #[error("chunk {id} is in no pack that the index knows")]
    ChunkMissing { id: ChunkId },
    #[error("pack {pack} is gone from the store, and chunk {id} was only there")]
    PackMissing { pack: PackId, id: ChunkId },
    #[error("snapshot {snapshot} was lost or taken away: it is neither listed nor forgotten")]
    SnapshotLost { snapshot: SnapshotId },
    #[error("{} of writer {writer} lost or taken away, neither listed nor forgotten", numbers(*first, *last))]
    LedgerGap { writer: WriterId, first: u64, last: u64 },
    #[error("record {record} was lost or taken away: {known_by} has seen it")]
    RecordLost { record: ObjectId, known_by: ObjectName },
    #[error("no snapshot matches `{selector}`")]
    NoSnapshot { selector: String },
    #[error("snapshot {} was forgotten and collected meanwhile", .snapshot.short())]
    WasForgotten { snapshot: SnapshotId },
    #[error("`{selector}` matches {count} snapshots")]
    AmbiguousSnapshot { selector: String, count: usize },
    #[error("snapshot {} holds no `/{path}`", .snapshot.short())]
    NoSuchPath { snapshot: SnapshotId, path: String },
    #[error("`/{path}` is a {what}, not a file or stream")]
    NotAFile { path: String, what: &'static str },
    #[error("the local cache at {path} fails: {source}")]
    Cache { path: PathBuf, source: io::Error },
    #[error("the list of a tar archive's entries cannot be kept aside: {source}")]
    Aside { source: rusqlite::Error },
    #[error("the catalog at {path} fails: {source}")]
    Catalog { path: PathBuf, source: rusqlite::Error },
    #[error("cannot {op} {path}: {source}")]
    Target { op: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot restore {path}: {source}")]
    Lost { path: PathBuf, source: Box<Error> },
    #[error("cannot write the output: {source}")]
    Output { source: io::Error },
    #[error("refused: the repository shows key epoch {epoch}, but epoch {seen} was seen before: {}", rolled_back(*removed))]
    RolledBack { epoch: u32, seen: u32, removed: bool },
    #[error("{what}")]
    Option { what: String },
    #[error("refused: {what}")]
    Refused { what: String },
    #[error("memory or processor damaged data before it was written: {what} did not verify")]
    SelfCheck { what: &'static str },
    #[error("the machine gives no randomness: {0}")]
    Random(#[from] getrandom::Error),
    #[error("a collection of the repository overtook this run; what it stored is kept, run it again")]
    Overtaken,
    #[error("interrupted")]
    Interrupted,
}

/// What a caller does about an [`Error`]; closed, so that exit codes are decided in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Failed,
    NoRepository,
    WrongKey,
    Configuration,
    Unreachable,
    Damage,
    Refused,
    Interrupted,
}

fn numbers(first: u64, last: u64) -> String {
    if first == last { format!("snapshot {first}") } else { format!("snapshots {first} to {last}") }
}

fn rolled_back(removed: bool) -> &'static str {
    if removed { "the slot of this secret was removed" } else { "it was rolled back" }
}

impl Error {
    /// The kind of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NoRepository { .. } | Error::NoBucket { .. } => Kind::NoRepository,
            Error::WrongKey | Error::EpochUnknown { .. } => Kind::WrongKey,
            Error::Damaged { .. } | Error::ChunkMissing { .. } | Error::PackMissing { .. } | Error::DescriptorLost { .. } => Kind::Damage,
            Error::SnapshotLost { .. } | Error::LedgerGap { .. } | Error::RecordLost { .. } => Kind::Damage,
            Error::Option { .. } | Error::Sheet { .. } | Error::NoKeys { .. } => Kind::Configuration,
            Error::Refused { .. } | Error::RolledBack { .. } => Kind::Refused,
            Error::Interrupted => Kind::Interrupted,
            Error::Unreachable { .. } => Kind::Unreachable,
            Error::Lost { source, .. } => source.kind(),
            _ => Kind::Failed,
        }
    }

    /// Damage found in `object`.
    pub fn damaged(object: &ObjectName, damage: Damage) -> Self {
        Error::Damaged { object: object.clone(), damage }
    }

    /// What is behind it, without the path that was lost to it.
    pub fn cause(&self) -> &Error {
        if let Error::Lost { source, .. } = self { source.cause() } else { self }
    }

    /// Whether this says that something is damaged or gone, and not that it cannot be read now.
    pub fn is_damage(&self) -> bool {
        self.kind() == Kind::Damage
    }

    /// Whether this is the repository's, so that a restore or an archive ends with it, unless all that is left is wanted.
    pub(crate) fn ends_run(&self) -> bool {
        // One archived pack is seldom the only one, and waiting for it helps all files.
        matches!(self.kind(), Kind::Damage | Kind::Unreachable | Kind::Interrupted) || matches!(self.cause(), Error::Archived { .. })
    }

    /// Whether this says that an object is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Damaged { damage: Damage::Missing, .. })
    }
}

/// A source that could not be read, whole or in part. It never stops the siblings of what failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {during} {}: {source}", path.display())]
pub struct SourceError {
    /// The file, directory or stream, as the user knows it.
    pub path: PathBuf,
    /// What was being done: `read`, `open`, `list` …
    pub during: &'static str,
    /// What the system said.
    pub source: io::Error,
}
