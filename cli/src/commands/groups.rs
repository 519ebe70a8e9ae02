//! Groups of snapshots: by host, series, paths, tags. Several commands speak of them.
//! It must never put together what retention would judge apart.

use crate::exit::Fail;
use seabed_engine::catalog::Snapshot;
use std::collections::BTreeMap;

/// By what snapshots are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The host.
    Host,
    /// The series.
    Series,
    /// What was asked for.
    Paths,
    /// The tags.
    Tags,
}

impl Key {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Key::Host => "host",
            Key::Series => "series",
            Key::Paths => "paths",
            Key::Tags => "tags",
        }
    }
}

/// What a snapshot has for each key; equal for snapshots of one group.
pub type Values = Vec<Vec<String>>;

/// A way to tell snapshots apart.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// The keys, in the order in which they were named.
    pub keys: Vec<Key>,
}

impl Groups {
    /// By host and series: what a snapshot is one of.
    pub fn of_series() -> Self {
        Groups { keys: vec![Key::Host, Key::Series] }
    }

    /// Reads a list such as `host,series`; an empty one puts all into one group.
    pub fn parse(list: &str) -> Result<Self, Fail> {
        let key = |word: &str| match word {
            "host" | "hosts" => Ok(Key::Host),
            "series" => Ok(Key::Series),
            "path" | "paths" => Ok(Key::Paths),
            "tag" | "tags" => Ok(Key::Tags),
            _ => Err(Fail::config(format!("--group-by knows no `{word}`")).hint("it knows host, series, paths, tags")),
        };
        let keys = list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(key).collect::<Result<_, _>>()?;
        Ok(Groups { keys })
    }

    /// What a snapshot has for each key.
    pub fn of(&self, snapshot: &Snapshot) -> Values {
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let value = |key: &Key| match key {
            Key::Host => vec![snapshot.names.host.clone()],
            Key::Series => vec![snapshot.names.series.clone()],
            Key::Paths => sorted(paths(snapshot)),
            Key::Tags => sorted(snapshot.names.tags.clone()),
        };
        self.keys.iter().map(value).collect()
    }

    /// The group as people read it: `host web1, series /srv`.
    pub fn words(&self, values: &Values) -> String {
        let words: Vec<String> =
            self.keys.iter().zip(values).map(|(key, values)| format!("{} {}", key.name(), values.join(", "))).collect();
        if words.is_empty() { "all snapshots".to_owned() } else { words.join(", ") }
    }

    /// The name of a snapshot's group.
    pub fn name(&self, snapshot: &Snapshot) -> String {
        self.words(&self.of(snapshot))
    }

    /// Keeps the newest `n` of each group, in their order.
    pub fn newest(&self, snapshots: &mut Vec<Snapshot>, n: usize) {
        let mut seen: BTreeMap<Values, usize> = BTreeMap::new();
        let mut keep: Vec<bool> = snapshots
            .iter()
            .rev()
            .map(|s| {
                let count = seen.entry(self.of(s)).or_default();
                *count += 1;
                *count <= n
            })
            .collect();
        snapshots.retain(|_| keep.pop().unwrap_or(false));
    }
}

/// What was asked for, as text.
pub fn paths(snapshot: &Snapshot) -> Vec<String> {
    snapshot.names.paths.iter().map(|p| String::from_utf8_lossy(&p.0).into_owned()).collect()
}
