//! The cache directory of one repository: the writer's id, the catalog. All of it can be deleted at any time.
//! Private (0700): the catalog holds names in the clear.

use crate::error::{Error, Result};
use crate::id::{RepositoryId, WriterId};
use crate::seal::random;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The cache directory of one repository, or none for this run.
pub struct Cache {
    directory: Option<PathBuf>,
    writer: WriterId,
}

impl Cache {
    /// Opens or makes the directory of `repository` below `base`. One that cannot be used is `Err`: the caller goes on without.
    pub fn open(base: &Path, repository: &RepositoryId) -> Result<Self> {
        let directory = base.join(repository.to_string());
        let failed = |source| Error::Cache { path: directory.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        Ok(Cache { writer: writer_id(&directory)?, directory: Some(directory) })
    }

    /// No directory: the writer is new in every run.
    pub fn none() -> Result<Self> {
        Ok(Cache { directory: None, writer: WriterId::new(random()?) })
    }

    /// The directory.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Who writes.
    pub fn writer(&self) -> WriterId {
        self.writer
    }
}

/// The id in `writer`, made on first use. Two first uses at once: the file that came first counts.
fn writer_id(directory: &Path) -> Result<WriterId> {
    let path = directory.join("writer");
    let failed = |source| Error::Cache { path: path.clone(), source };
    for _ in 0..2 {
        match fs::read_to_string(&path) {
            Ok(text) => match WriterId::from_hex(text.trim_end()) {
                Some(id) => return Ok(id),
                // Torn by a power cut: whoever it was, it is a new writer now.
                None => fs::remove_file(&path).map_err(failed)?,
            },
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        let id = WriterId::new(random()?);
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(format!("{id}\n").as_bytes()).map_err(failed)?;
                return Ok(id);
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(WriterId::new(random()?))
}
