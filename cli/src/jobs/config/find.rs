//! Where the configuration lies: what is named, else the first of the usual places that has one.

use crate::exit::Fail;
use crate::open::directory;
use std::path::{Path, PathBuf};

/// Its usual name.
pub const NAME: &str = "seabed.toml";
/// The variable that names it.
const VARIABLE: &str = "SEABED_CONFIG";
/// The system's own.
const SYSTEM: &str = "/etc/seabed/seabed.toml";

/// The usual places, in the order in which they are looked at.
pub fn places() -> Vec<PathBuf> {
    let here = std::env::current_dir().ok().map(|dir| dir.join(NAME));
    let user = directory("XDG_CONFIG_HOME", ".config").map(|base| base.join("seabed").join(NAME));
    here.into_iter().chain(user).chain([PathBuf::from(SYSTEM)]).collect()
}

/// The file that is meant: `--config`, SEABED_CONFIG, ./seabed.toml, the user's, the system's.
pub fn find(named: Option<&Path>) -> Result<PathBuf, Fail> {
    let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = named.map(Path::to_owned).or_else(variable) {
        let path = std::path::absolute(&path)
            .map_err(|e| Fail::config(format!("cannot use {}: {}", path.display(), crate::exit::plain(&e))).hint("write the whole path"))?;
        return Ok(path);
    }
    let places = places();
    let Some(path) = places.iter().find(|path| path.exists()) else {
        let list: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        return Err(Fail::config(format!("there is no configuration: {} were looked at", list.join(", ")))
            .hint("`seabed setup` writes one, and --config names one elsewhere"));
    };
    Ok(path.clone())
}
