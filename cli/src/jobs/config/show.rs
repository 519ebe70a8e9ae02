//! A configuration as it is understood, without its secrets.

use super::Config;
use crate::exit::Fail;

/// As TOML, with every default that a job has, and with stars for what is secret.
pub fn show(config: &Config) -> Result<String, Fail> {
    let text = toml::to_string(config).map_err(|error| Fail::config(format!("the configuration cannot be shown: {error}")))?;
    // What a variable brought into a command or URL.
    Ok(super::secret::redacted(&text))
}
