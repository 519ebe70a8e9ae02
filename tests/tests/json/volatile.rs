//! What varies from run to run, and what is kept in its place: `<id 1>` for the first id that turns up, `<n>` for a size that hangs on keys.
//! It must never take out what a command is to get right: counts of files, names, states, words.

use serde_json::Value;
use std::collections::BTreeMap;

/// Numbers that hang on the machine, on keys (which place the cuts) or on the clock.
const NUMBERS: &[&str] = &[
    "total_duration",
    "seconds_elapsed",
    "data_added",
    "data_added_packed",
    "data_blobs",
    "tree_blobs",
    "requests",
    "bytes_up",
    "bytes_down",
    "pack_bytes",
    "unique_bytes",
    "freed_bytes",
    "drop_bytes",
    "repack_bytes",
    "read_bytes",
    "write_bytes",
    "unused_bytes",
    "young_bytes",
    "renew_bytes",
    "renew_left_bytes",
    "due_bytes",
    "waiting_bytes",
    "bytes_read_packs",
    "bytes_written",
    "deleted_bytes",
    "chunks",
    "chunks_needed",
    "total_size",
    "total_uncompressed_size",
    "total_blob_count",
    "compression_ratio",
    "deduplication_ratio",
    "bytes_ready",
    "frames_copied",
    "frames_opened",
    "packs",
    "packs_ready",
    "drop_packs",
    "repack_packs",
    "gather_packs",
    "young_packs",
    "condemned_packs",
    "packs_written",
    "deleted_packs",
    "merged_segments",
    "spared_packs",
    "packs_read",
    "segments",
    "segments_removed",
    "inode",
    "uid",
    "gid",
    "ordinal",
    "stored",
    "offset",
    "interval_seconds",
    "packs_never_verified",
    "bytes_never_verified",
    "oldest_unverified_seconds",
];
/// Numbers that do so in some messages only.
const NUMBERS_OF: &[(&str, &[&str])] = &[
    ("run", &["seconds", "bytes_stored", "bytes_added"]),
    ("setup", &["seconds", "bytes_stored", "bytes_added"]),
    ("runs", &["seconds", "bytes_stored", "bytes_added"]),
    ("status", &["age_seconds"]),
    ("gc", &["bytes_read"]),
    ("copy", &["bytes_raw", "bytes_opened", "bytes_sent"]),
    ("forget", &["bytes_read"]),
    ("mount", &["frames_decoded"]),
    ("serve", &["frames_decoded"]),
    ("check", &["bytes_read"]),
    // Where a tree of a few entries is cut hangs on its family's key.
    ("cat", &["bytes", "plain", "level"]),
    ("cache", &["bytes", "objects"]),
    ("restore", &["bytes"]),
    // A new epoch is the last one plus something random.
    ("key", &["epoch", "lines", "bytes_read"]),
    ("diff", &["bytes", "data_blobs", "tree_blobs"]),
    (
        "stats",
        &["data_added_sum", "data_added_packed_sum", "compression_space_saving", "deduplication_space_saving", "compression_progress"],
    ),
];
/// Texts that hang on the machine or the run.
const TEXTS: &[&str] = &["username", "public", "os", "arch", "script"];
const TEXTS_OF: &[(&str, &[&str])] = &[
    ("ls", &["user", "group"]),
    ("cat", &["user"]),
    ("serve", &["url"]),
    ("check", &["oldest_unverified_pack"]),
    ("key", &["text"]),
    ("schedule", &["text"]),
    ("run", &["duration"]),
    ("setup", &["duration"]),
    ("runs", &["duration"]),
    ("logs", &["text"]),
    ("recover-plan", &["markdown"]),
];
/// Whole values of which only that they are there is kept.
const WHOLE: &[(&str, &[&str])] = &[
    ("self-test", &["findings"]),
    ("cat", &["frames", "keys", "packs", "heads"]),
    ("man", &["files"]),
    ("restore", &["objects"]),
    ("schema", &["$defs", "anyOf"]),
];

/// What was seen so far, so that the same id is the same in all lines of a case.
#[derive(Default)]
pub struct Names {
    ids: BTreeMap<String, usize>,
    /// Parts of texts that are replaced as they stand: paths, addresses, versions.
    pub texts: Vec<(String, String)>,
    /// What is counted hangs on files alone.
    exact: bool,
    /// All ids are one: where they are listed in their own order, which is another one each time.
    pub one: bool,
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a text is a time that is not one of those that the cases give.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':' && bytes[19] == b'.';
    shape && !text.starts_with("2026-01-0")
}

impl Names {
    /// What is kept of a line of `command`.
    pub fn kept(&mut self, command: &str, value: &Value) -> Value {
        self.one = command == "cat";
        self.exact = ["restore-size", "files-by-contents", "blobs-per-file"].iter().any(|mode| value["mode"] == *mode);
        self.value(command, "", value)
    }

    /// Gives an id the next number.
    pub fn know(&mut self, id: &str) {
        self.word(id);
    }

    fn value(&mut self, command: &str, key: &str, value: &Value) -> Value {
        let listed = |table: &[(&str, &[&str])]| table.iter().any(|(of, keys)| *of == command && keys.contains(&key));
        match value {
            _ if listed(WHOLE) => match value.as_array().map(Vec::len) {
                Some(0) => value.clone(),
                _ => "<…>".into(),
            },
            Value::Number(_) if NUMBERS.contains(&key) && !self.exact || listed(NUMBERS_OF) => "<n>".into(),
            Value::String(_) if TEXTS.contains(&key) || listed(TEXTS_OF) => "<text>".into(),
            Value::String(text) => self.text(text).into(),
            Value::Array(values) => values.iter().map(|value| self.value(command, key, value)).collect(),
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), self.value(command, key, value))).collect(),
            other => other.clone(),
        }
    }

    /// A text, without what varies in it.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.texts {
            text = text.replace(from, to);
        }
        if is_time(&text) {
            return "<time>".to_owned();
        }
        // Runs of hexadecimal digits: whole ids, the short ones of snapshots and repositories, and those in names of objects.
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
                word.push(c);
                continue;
            }
            out.push_str(&self.word(&word));
            word.clear();
            if c != '\0' {
                out.push(c);
            }
        }
        // The folder of a pack is the beginning of its name.
        let mut parts: Vec<String> = out.split('/').map(str::to_owned).collect();
        for at in 1..parts.len() {
            if parts[at].starts_with("<id") && parts[at - 1].len() == 2 && is_hex(&parts[at - 1]) {
                parts[at - 1] = "<xx>".to_owned();
            }
        }
        parts.join("/")
    }

    fn word(&mut self, word: &str) -> String {
        let length = word.len();
        if !is_hex(word) || ![8, 16, 32, 64].contains(&length) {
            return word.to_owned();
        }
        // The short form of one that is known is that one.
        let known = self.ids.iter().find(|(id, _)| id.starts_with(word) || word.starts_with(id.as_str())).map(|(_, number)| *number);
        // A short form of one in forty has digits alone, as numbers have: that one has to be known.
        if known.is_none() && length < 32 && word.bytes().all(|b| b.is_ascii_digit()) {
            return word.to_owned();
        }
        let number = known.unwrap_or(self.ids.values().max().map_or(1, |max| max + 1));
        self.ids.insert(word.to_owned(), number);
        if self.one {
            return "<id>".to_owned();
        }
        if length == 8 { format!("<id {number} short>") } else { format!("<id {number}>") }
    }
}
