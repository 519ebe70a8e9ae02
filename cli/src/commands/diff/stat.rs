//! `diff --stat`: how many bytes came and went, for each file or directory. What it takes does not grow with what differs: entries of one
//! directory come one after the other.

use crate::commands::diff::By;
use crate::commands::diff::show::{full_path, modifier};
use crate::output::{path_bytes, path_hex};
use crate::size;
use seabed_engine::diff::{Change, Delta};
use seabed_engine::format::entry::split;
use serde_json::{Value, json};

/// One line.
pub struct Row {
    path: Vec<u8>,
    /// What happened to a file; of a directory, how many entries differ.
    what: What,
    delta: Delta,
}

enum What {
    Modifier(String),
    Entries(u64),
}

impl Row {
    /// For people.
    pub fn text(&self, terminal: bool) -> Vec<u8> {
        let signed = |sign: char, bytes: u64| if bytes == 0 { String::new() } else { format!("{sign}{}", size::human(bytes)) };
        let what = match &self.what {
            What::Modifier(letters) => format!("{letters:<2}"),
            What::Entries(count) => format!("{:>7}", size::count(*count)),
        };
        let mut line = format!("{:>11} {:>11}  {what}  ", signed('+', self.delta.added), signed('-', self.delta.removed)).into_bytes();
        line.extend(path_bytes(&self.path, terminal));
        line
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let mut value = json!({"message_type": "stat", "path": String::from_utf8_lossy(&self.path)});
        if let Some(map) = value.as_object_mut() {
            match &self.what {
                What::Modifier(letters) => map.insert("modifier".to_owned(), letters.clone().into()),
                What::Entries(count) => map.insert("entries".to_owned(), (*count).into()),
            };
            map.insert("bytes_added".to_owned(), self.delta.added.into());
            map.insert("bytes_removed".to_owned(), self.delta.removed.into());
            path_hex(map, &self.path);
        }
        value
    }
}

/// Adds up.
pub struct Stat {
    by: By,
    open: Option<Row>,
    entries: u64,
    total: Delta,
}

fn add(to: &mut Delta, delta: Delta) {
    to.added = to.added.saturating_add(delta.added);
    to.removed = to.removed.saturating_add(delta.removed);
}

impl Stat {
    /// Nothing yet.
    pub fn new(by: By) -> Self {
        Stat { by, open: None, entries: 0, total: Delta::default() }
    }

    /// Takes a change in. Returns a line that is complete.
    pub fn add(&mut self, change: &Change<'_>) -> Option<Row> {
        let delta = change.delta.unwrap_or_default();
        self.entries += 1;
        add(&mut self.total, delta);
        if !self.by.is_dir() {
            return Some(Row { path: full_path(change), what: What::Modifier(modifier(change)), delta });
        }
        let dir = split(change.path).0;
        let path = if dir.is_empty() { b"/".to_vec() } else { [b"/", dir, b"/"].concat() };
        if let Some(Row { path: open, what: What::Entries(count), delta: sum }) = &mut self.open
            && *open == path
        {
            *count += 1;
            add(sum, delta);
            return None;
        }
        self.open.replace(Row { path, what: What::Entries(1), delta })
    }

    /// The last line.
    pub fn rest(&mut self) -> Option<Row> {
        self.open.take()
    }

    /// ` 3 entries differ: 1.2 MiB added, 300 B removed`.
    pub fn total(&self) -> String {
        let verb = if self.entries == 1 { "differs" } else { "differ" };
        let (added, removed) = (size::human(self.total.added), size::human(self.total.removed));
        format!("{} {verb}: {added} added, {removed} removed", size::of(self.entries, "entry"))
    }
}
