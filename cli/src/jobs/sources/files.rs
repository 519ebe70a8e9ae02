//! `kind = "files"` and `kind = "docker-volume"`: trees, and what is left out of them.

use super::{Asked, Prepared};
use crate::commands::excludes::ExcludeArgs;
use crate::commands::sources::{current_directory, root};
use crate::exit::Fail;
use crate::jobs::config::source::{DockerVolume, Exclude, Files};
use crate::jobs::config::{PRESETS, SECRETS};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where Docker keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";

/// Files and directories.
pub fn files(asked: &Asked<'_>, files: &Files) -> Result<Prepared, Fail> {
    let mut paths = Vec::new();
    for path in &files.paths {
        let (full, _) = root(&asked.config.beside(path), &current_directory()?)?;
        paths.push(full);
    }
    let excludes = excludes(asked, &files.exclude, files.include_secrets, files.one_file_system);
    Ok(Prepared { paths, as_path: files.as_path.clone(), excludes, ignore_inode: files.ignore_inode, ..Prepared::default() })
}

/// A named volume: its files lie where Docker put them, and are stored under the volume's name, wherever that is.
pub fn docker_volume(asked: &Asked<'_>, volume: &DockerVolume) -> Result<Prepared, Fail> {
    let base = volume.root.as_deref().unwrap_or(Path::new(VOLUMES)).join(&volume.volume);
    // `_data` is Docker's; Podman's volumes have it too.
    let path = base.join("_data");
    if !path.is_dir() {
        let fail = Fail::config(format!("source.{}: there is no volume `{}` at {}", asked.name, volume.volume, path.display()));
        return Err(
            fail.hint("`docker volume ls` has the names, `docker volume inspect` the place: root = \"…\" says another one; it needs root")
        );
    }
    let as_path = Some(PathBuf::from("/").join(&volume.volume));
    let excludes = excludes(asked, &volume.exclude, volume.include_secrets, false);
    Ok(Prepared { paths: vec![path], as_path, excludes, ..Prepared::default() })
}

fn excludes(asked: &Asked<'_>, exclude: &Exclude, include_secrets: bool, one_file_system: bool) -> ExcludeArgs {
    let preset = exclude.preset.iter().filter_map(|name| PRESETS.iter().find(|(known, _)| known == name));
    let listed = preset.flat_map(|(_, patterns)| patterns.iter().copied());
    let secrets = if include_secrets { &[][..] } else { &SECRETS[..] };
    // The user's own patterns last: `!` in them takes back what a list left out.
    let own = exclude.globs.iter().map(String::as_str);
    let patterns: Vec<OsString> = listed.chain(secrets.iter().copied()).chain(own).map(OsString::from).collect();
    ExcludeArgs {
        exclude: patterns,
        iexclude: Vec::new(),
        exclude_file: exclude.files.iter().map(|file| asked.config.beside(file)).collect(),
        iexclude_file: Vec::new(),
        exclude_if_present: exclude.if_present.iter().map(OsString::from).collect(),
        exclude_caches: exclude.caches,
        exclude_larger_than: exclude.larger_than.map(|size| size.0.to_string()),
        no_ignore_files: false,
        one_file_system,
    }
}
