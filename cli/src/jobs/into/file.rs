//! A restore into a file: one stream under its own name, which it gets when all of it is there.

use super::{Dump, Restore};
use crate::exit::{Code, Fail, Run};
use crate::jobs::sources::sqlite;
use crate::newfile::NewFile;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Writes it.
pub fn run(restore: &Restore<'_>, path: &Path) -> Run {
    let dump = one(restore)?;
    let path = if path.is_dir() { path.join(own_name(dump)) } else { path.to_owned() };
    if !restore.options.tables.is_empty() {
        return Err(Fail::config("--table filters a dump on its way into a server").hint("name one with --into postgres://… or mysql://…"));
    }
    if path.symlink_metadata().is_ok_and(|there| there.is_file() || there.is_symlink()) && !restore.options.force {
        return Err(
            Fail::new(Code::Refused, format!("{} is there already", path.display())).hint("name a new file, or --force replaces it")
        );
    }
    if let Some(log) = sqlite::leftover(&path).filter(|_| dump.format == sqlite::FORMAT) {
        // SQLite would play it into the database that takes the old one's place.
        return Err(Fail::new(Code::Refused, format!("{} belongs to the database that is there now", log.display()))
            .hint("stop what uses it, and move both files away; or restore to another path"));
    }
    let began = Instant::now();
    let mut new = NewFile::begin(&path)?;
    let failed = || Fail::new(Code::Failed, format!("cannot write {}", path.display())).hint("make room there, or name another place");
    let bytes = restore.pour(dump, new.file(), "restore").map_err(|trouble| trouble.or(failed))?;
    new.keep()?;
    restore.said(dump, &path.display().to_string(), bytes, began.elapsed());
    Ok(Code::Done)
}

fn one<'r>(restore: &'r Restore<'_>) -> Result<&'r Dump, Fail> {
    let wanted = restore.options.database.as_deref();
    let fitting: Vec<&Dump> = restore.dumps.iter().filter(|dump| wanted.is_none_or(|name| dump.database() == name)).collect();
    let names = || restore.dumps.iter().map(Dump::shown).collect::<Vec<_>>().join(", ");
    match fitting[..] {
        [dump] => Ok(dump),
        [] => Err(Fail::config("the snapshot has no such database").hint(format!("it has {}", names()))),
        _ => Err(Fail::config("the snapshot has several streams, and a file holds one")
            .hint(format!("name one with --database NAME or SNAPSHOT:PATH: {}", names()))),
    }
}

/// The last part of its path.
fn own_name(dump: &Dump) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(dump.name.rsplit(|b| *b == b'/').next().unwrap_or(&dump.name)))
}
