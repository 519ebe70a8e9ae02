//! `SEABED_<SECTION>__<NAME>__<KEY>` in the environment: single values of a configuration, for containers that share one file.
//! Two underscores stand between names: `SEABED_REPO__S3__URL`, `SEABED_JOB__NIGHTLY__RUN__TRIES`.

use super::Config;
use super::secret::{is_secret_name, remember};
use crate::exit::Fail;

/// One value.
pub struct Override {
    variable: String,
    value: String,
}

/// Those of the environment.
pub fn from_environment() -> Vec<Override> {
    let mut found: Vec<Override> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.strip_prefix("SEABED_").is_some_and(|rest| rest.contains("__")))
        .map(|(variable, value)| Override { variable, value })
        .collect();
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    found
}

/// Applies them to a text. Returns what it is then, and as text.
pub fn apply(text: &str, overrides: &[Override]) -> Result<(Config, String), Fail> {
    let wrong = |over: &Override, why: String| {
        Fail::config(format!("{}: {why}", over.variable)).hint("it overrides the configuration; correct it, or unset it")
    };
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| Fail::config(error.message().to_owned()))?;
    for over in overrides {
        if is_secret_name(&over.variable) {
            remember(&over.value);
        }
        let path: Vec<String> = over.variable.trim_start_matches("SEABED_").split("__").map(|part| part.to_ascii_lowercase()).collect();
        let mut next = table.clone();
        set(&mut next, &path, &over.value).map_err(|why| wrong(over, why))?;
        // One by one: whichever makes the file unreadable is named.
        if let Err(error) = Config::deserialize_table(next.clone()) {
            return Err(wrong(over, error.message().trim_end().replace('\n', ", ")));
        }
        table = next;
    }
    let config = Config::deserialize_table(table.clone()).map_err(|error| Fail::config(error.message().to_owned()))?;
    Ok((config, table.to_string()))
}

fn set(table: &mut toml::Table, path: &[String], value: &str) -> Result<(), String> {
    let [first, rest @ ..] = path else { return Err("it names no key".to_owned()) };
    // A variable's name has neither small letters nor hyphens.
    let same = |key: &String| key.to_ascii_lowercase().replace('-', "_") == *first;
    let key = table.keys().find(|key| same(key)).cloned().unwrap_or_else(|| first.clone());
    if rest.is_empty() {
        // What is no text in TOML keeps its kind: numbers, booleans, lists.
        let parsed: Option<toml::Value> = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
        let value = match (table.get(&key), parsed) {
            (Some(toml::Value::String(_)), _) | (_, None) => toml::Value::String(value.to_owned()),
            (_, Some(parsed)) => parsed,
        };
        table.insert(key, value);
        return Ok(());
    }
    match table.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new())) {
        toml::Value::Table(inner) => set(inner, rest, value),
        _ => Err(format!("`{key}` has no keys below it")),
    }
}

impl Config {
    fn deserialize_table(table: toml::Table) -> Result<Config, toml::de::Error> {
        table.try_into()
    }
}
