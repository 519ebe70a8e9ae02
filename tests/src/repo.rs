//! Shorthands over the engine that several tests need: keys that cost nothing to open, backups of some roots, restores of a snapshot.
//! It must never hide a failure: what a test does not ask about is unwrapped here.

use crate::trees::{Tree, capture};
use seabed_engine::backup::{BackupOptions, BackupReport, Failure, StreamSource, backup};
use seabed_engine::dump::dump;
use seabed_engine::error::{Error, Result};
use seabed_engine::id::SnapshotId;
use seabed_engine::observe::Silent;
use seabed_engine::repository::selector::Selected;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::restore::target::TargetOptions;
use seabed_engine::restore::{RestoreOptions, RestoreReport, restore};
use seabed_engine::seal::Key;
use seabed_engine::seal::key::Secret;
use seabed_engine::source::stream::{CommandStream, ReaderStream, Stream};
use seabed_engine::store::Store;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A key file: opens without Argon2.
pub fn secret() -> Secret {
    Secret::KeyFile(Key::new([7; 32]))
}

/// Makes a repository.
pub fn init(store: Arc<dyn Store>, cache: Option<&Path>) -> Result<Repository> {
    let init = InitOptions { kdf: (8, 1, 1), label: "test".to_owned(), ..InitOptions::default() };
    Repository::init(store, &secret(), &init, &OpenOptions { cache: cache.map(Path::to_path_buf), ..Default::default() })
}

/// Opens a repository.
pub fn open(store: Arc<dyn Store>, cache: Option<&Path>) -> Result<Repository> {
    Repository::open(store, &secret(), &OpenOptions { cache: cache.map(Path::to_path_buf), ..Default::default() })
}

/// Options for a backup of `paths` in the series "test".
pub fn options(paths: &[PathBuf]) -> BackupOptions {
    BackupOptions { paths: paths.to_vec(), series: Some("test".to_owned()), host: "here".to_owned(), threads: 2, ..Default::default() }
}

/// Backs up `paths`, quietly.
pub fn backup_paths(repository: &Repository, paths: &[PathBuf]) -> Result<BackupReport, Failure> {
    backup(repository, options(paths), &Silent)
}

/// A stream of these bytes.
pub fn bytes_stream(name: &str, bytes: Vec<u8>) -> StreamSource {
    let open = move || Ok(Box::new(ReaderStream(Cursor::new(bytes))) as Box<dyn Stream>);
    StreamSource { name: name.as_bytes().to_vec(), argv: vec![], open: Mutex::new(Some(Box::new(open))), allow_empty: true }
}

/// A stream of what a shell command prints.
pub fn command_stream(name: &str, command: &str) -> StreamSource {
    let text = command.to_owned();
    let open = move || Ok(Box::new(CommandStream::start(&text)?) as Box<dyn Stream>);
    let argv = vec![command.as_bytes().to_vec()];
    StreamSource { name: name.as_bytes().to_vec(), argv, open: Mutex::new(Some(Box::new(open))), allow_empty: false }
}

/// The snapshot `id`, all of it or what is at `path`.
pub fn select(repository: &Repository, id: &SnapshotId, path: &[u8]) -> Result<Selected> {
    let refresh = repository.refresh()?;
    if let Some(bad) = refresh.unreadable.into_iter().find(|u| u.id == *id) {
        return Err(bad.error);
    }
    let mut selected = repository.select(&id.to_string(), &Default::default())?;
    selected.path = path.to_vec();
    Ok(selected)
}

/// Restores into `target`, which is made; with `delete`.
pub fn restore_to(repository: &Repository, id: &SnapshotId, path: &[u8], target: &Path) -> Result<RestoreReport> {
    let selected = select(repository, id, path)?;
    let privileged = rustix::process::geteuid().is_root();
    let target_options = TargetOptions { delete: true, numeric_owner: true, privileged, ..Default::default() };
    let options = RestoreOptions { target: target.to_path_buf(), options: target_options, threads: 2, ..Default::default() };
    restore(repository, &selected, &options, &Silent)
}

/// The bytes under a stored path.
pub fn dump_path(repository: &Repository, id: &SnapshotId, path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    dump(repository, &select(repository, id, path)?, &mut out, &Silent)?;
    Ok(out)
}

/// Restores a snapshot and reads what came of the directory that was at `top`. Any error of an entry counts.
pub fn restored(repository: &Repository, id: &SnapshotId, top: &Path) -> Result<Tree> {
    let dir = tempfile::tempdir().unwrap();
    let mut report = restore_to(repository, id, b"", dir.path())?;
    if let Some(error) = report.errors.pop() {
        return Err(error);
    }
    let place = dir.path().join(top.strip_prefix("/").unwrap());
    if !place.is_dir() {
        return Err(Error::Option { what: format!("{} was not restored", place.display()) });
    }
    Ok(capture(&place, false))
}
