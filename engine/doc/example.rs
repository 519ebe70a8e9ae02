// What the examples of the documentation begin with, included by them where nobody looks. Everything is in memory and opened by a key
// file: a passphrase is stretched for a tenth of a second each time.

use seabed_engine::{BackupOptions, InitOptions, Key, MemoryStore, OpenOptions, Repository, Secret, Silent, SnapshotId, backup};
use std::error::Error;
use std::sync::Arc;

/// A new repository.
pub fn repository() -> Result<Repository, Box<dyn Error>> {
    let secret = Secret::KeyFile(Key::random()?);
    Ok(Repository::init(Arc::new(MemoryStore::new()), &secret, &InitOptions::default(), &OpenOptions::default())?)
}

/// A directory with a file in it.
#[allow(dead_code)]
pub fn home() -> Result<tempfile::TempDir, Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join("mail"))?;
    std::fs::write(home.path().join("mail/letter.txt"), "Dear Ann,\n")?;
    Ok(home)
}

/// A snapshot of that, stored as `/home/ann`; the catalog knows it.
#[allow(dead_code)]
pub fn snapshot(repository: &Repository) -> Result<SnapshotId, Box<dyn Error>> {
    let home = home()?;
    let options = BackupOptions {
        paths: vec![home.path().to_path_buf()],
        as_path: Some("/home/ann".into()),
        series: Some("home".to_owned()),
        ..BackupOptions::default()
    };
    let id = backup(repository, options, &Silent)?.snapshot.ok_or("no snapshot")?;
    repository.refresh()?;
    Ok(id)
}
