//! Seabed's engine: repositories, and the operations on them. It prints nothing, and knows no command line.
//!
#![doc = include_str!("../README.md")]
// What unit tests may do and the engine may not. The replacements stand in `.clippy.toml`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::todo,
        clippy::unimplemented,
        clippy::unwrap_used
    )
)]

// The surface, one line per module: what is named here is what an embedder needs, and what the policy in README.md covers.
pub use backup::{BackupOptions, BackupReport, Failure, ObjectSource, ParentChoice, StreamSource, backup, backup_also};
pub use catalog::{Catalog, Snapshot};
pub use check::{Budget, CheckOptions, CheckReport, Finding, ReadData, Warning, check};
pub use clock::now;
pub use copy::{CopyOptions, CopyPlan, CopyReport};
pub use dump::dump;
pub use error::{Damage, Error, Kind, Result, SourceError};
pub use forget::{forget, forget_lost, hold, lost, unhold};
pub use format::entry::{Entry, EntryKind, Xattr};
pub use format::manifest::Summary;
pub use format::wire::Time;
pub use gc::{GcOptions, GcReport, MaxUnused};
pub use id::{RepositoryId, SnapshotId, WriterId};
pub use into_bucket::into_bucket;
pub use list::list;
pub use observe::{Action, Observer, Progress, Silent};
pub use pack::Compression;
pub use rebuild::{RebuildReport, rebuild};
pub use repair::{Healed, RepairOptions, RepairReport, repair};
pub use repository::ledger::Lost;
pub use repository::selector::{Filter, Selected};
pub use repository::{Found, InitOptions, OpenOptions, Refresh, Repository, Unreadable};
pub use reseal::{ResealReport, reseal};
pub use restore::{Overwrite, Pattern, RestoreOptions, RestoreReport, Shortfall, TargetOptions, restore};
pub use rewrite::{RewriteOptions, RewriteReport, Rewritten, rewrite};
pub use seal::Key;
pub use seal::key::Secret;
pub use source::stream::{CommandStream, FdStream, ReaderStream, Stream, StreamFailure};
pub use source::{Attributes, Excludes, WalkOptions};
pub use store::Store;
pub use store::local::LocalStore;
pub use store::memory::MemoryStore;
pub use store::s3::{Bucket, S3Credentials, S3Options, S3Place, S3Store};
pub use tag::{TagEdit, Tagged, describe, tag};
pub use undelete::undelete;
pub use usage::{Usage, freed, usage};

// Verbs: what is done with a repository, and nothing that two of them share.
pub mod archive;
pub mod backup;
pub mod check;
pub mod copy;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod gc;
pub mod into_bucket;
pub mod keys;
pub mod list;
pub mod rebuild;
pub mod repair;
pub mod reseal;
pub mod restore;
pub mod retention;
pub mod rewrite;
pub mod stats;
pub mod tag;
pub mod undelete;
pub mod usage;
pub mod view;

// What verbs are about: their words are in the signatures above.
pub mod catalog;
pub mod error;
pub mod id;
pub mod observe;
pub mod paths;
pub mod repository;
pub mod source;
pub mod store;

// The insides. Public for the command line and the tests beside this crate, which say the version that they fit to the digit: no promise
// of README.md covers them.
mod buffers;
#[doc(hidden)]
pub mod chunk;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod commit;
#[doc(hidden)]
pub mod faults;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod index;
#[doc(hidden)]
pub mod limits;
#[doc(hidden)]
pub mod pack;
#[doc(hidden)]
pub mod replant;
#[doc(hidden)]
pub mod seal;
#[doc(hidden)]
pub mod tar;
