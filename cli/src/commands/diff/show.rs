//! How differences are said: a line each, as text or JSON, and a summary. It must never print a control character of a name to a terminal.
//! It obeys restic's letters and its JSON messages `change` and `statistics`.

use crate::commands::diff::stat::Stat;
use crate::commands::diff::{Args, By, patch};
use crate::exit::Fail;
use crate::output::{Bulk, Output, path_bytes, path_hex};
use crate::{size, time};
use seabed_engine::diff::{Attribute, Change, Counts, DiffReport, Live};
use seabed_engine::format::entry::{Entry, EntryKind, STATUS_CHANGED, STATUS_UNREADABLE};
use seabed_engine::repository::selector::Selected;
use serde_json::{Map, Value, json};

/// One of the two that are compared.
pub struct End {
    /// For people.
    words: String,
    /// Snapshot, or nothing for this machine.
    snapshot: Option<String>,
    /// The path that is compared, where it is not all.
    path: Vec<u8>,
}

impl End {
    /// A snapshot, or a part of one.
    pub fn stored(selected: &Selected) -> Self {
        let id = &selected.snapshot.id;
        let place = if selected.path.is_empty() { String::new() } else { format!(":/{}", String::from_utf8_lossy(&selected.path)) };
        End { words: format!("snapshot {}{place}", id.short()), snapshot: Some(id.to_string()), path: selected.path.clone() }
    }

    /// This machine.
    pub fn live(live: &Live) -> Self {
        let words = match &live.roots[..] {
            [root] => root.display().to_string(),
            roots => format!("{} as they are now", size::of(roots.len() as u64, "path")),
        };
        End { words, snapshot: None, path: live.path.clone() }
    }
}

/// Says what differs.
pub struct Shown<'s> {
    out: &'s Output,
    args: &'s Args,
    ends: &'s (End, End),
    lines: Bulk,
    terminal: bool,
    stat: Option<Stat>,
    /// Changes that were said.
    changes: u64,
}

impl<'s> Shown<'s> {
    /// As the options say.
    pub fn new(out: &'s Output, args: &'s Args, ends: &'s (End, End)) -> Self {
        let terminal = out.on_terminal();
        Shown { out, args, ends, lines: out.bulk(), terminal, stat: args.stat.map(Stat::new), changes: 0 }
    }

    /// Whether a story is told around the lines.
    fn tells(&self) -> bool {
        !self.out.json && self.out.level >= 0 && !self.args.name_only && !self.args.patch
    }

    /// What is compared.
    pub fn begin(&mut self) -> Result<(), Fail> {
        if self.tells() {
            let text = format!("comparing {} with {}:\n", self.ends.0.words, self.ends.1.words);
            self.lines.line(crate::output::clean(&text).as_bytes())?;
        }
        Ok(())
    }

    /// What was said so far goes out.
    pub fn flush(&mut self) -> Result<(), Fail> {
        self.lines.flush()
    }

    /// One path that differs.
    pub fn change(&mut self, change: &Change<'_>) -> Result<(), Fail> {
        self.changes += 1;
        self.write(change)?;
        // Whoever looks on wants to see it now.
        if self.terminal { self.lines.flush() } else { Ok(()) }
    }

    fn write(&mut self, change: &Change<'_>) -> Result<(), Fail> {
        if let Some(stat) = &mut self.stat {
            let Some(row) = stat.add(change) else { return Ok(()) };
            let line = if self.out.json { row.json().to_string().into_bytes() } else { row.text(self.terminal) };
            return self.lines.line(&line);
        }
        if self.out.json {
            let mut value = change_json(change);
            if let (Some(map), true) = (value.as_object_mut(), self.args.patch) {
                patch::json(change, map);
            }
            return self.lines.line(value.to_string().as_bytes());
        }
        if self.args.patch {
            return patch::text(change, self.terminal, &mut self.lines);
        }
        let path = path_bytes(&full_path(change), self.terminal);
        if self.args.name_only {
            return self.lines.line(&path);
        }
        let mut line = format!("{:<5}", modifier(change)).into_bytes();
        line.extend(path);
        if !change.attributes.is_empty() {
            let words: Vec<String> = change.attributes.iter().map(|attribute| attribute_words(*attribute, change)).collect();
            line.extend(crate::output::clean(&format!("  ({})", words.join(", "))).replace('\n', "\\n").into_bytes());
        }
        self.lines.line(&line)
    }

    /// The end of it.
    pub fn end(&mut self, report: &DiffReport, live: bool) -> Result<(), Fail> {
        if let Some(row) = self.stat.as_mut().and_then(Stat::rest) {
            let line = if self.out.json { row.json().to_string().into_bytes() } else { row.text(self.terminal) };
            self.lines.line(&line)?;
        }
        if self.out.json {
            let value = self.statistics(report, live);
            self.lines.line(value.to_string().as_bytes())?;
        } else if self.tells() {
            for line in self.summary(report, live) {
                self.lines.line(line.as_bytes())?;
            }
        }
        self.lines.flush()
    }

    fn summary(&self, report: &DiffReport, live: bool) -> Vec<String> {
        if self.changes == 0 {
            return vec![match (self.args.metadata, live && !self.args.content) {
                (true, false) => "nothing differs".to_owned(),
                (false, false) => "nothing differs but attributes, if any (--metadata)".to_owned(),
                (_, true) => "nothing differs by size and time (--content reads all)".to_owned(),
            }];
        }
        let (added, removed) = (&report.added, &report.removed);
        if let Some(stat) = &self.stat {
            return vec![String::new(), stat.total()];
        }
        let all = [added.files, added.data_blobs, added.tree_blobs, removed.files, removed.data_blobs, removed.tree_blobs];
        let wide = all.into_iter().chain([added.dirs, removed.dirs, added.others, removed.others, report.changed_files]);
        let wide = wide.map(|count| size::count(count).len()).max().unwrap_or(0);
        let row =
            |what: &str, new: u64, gone: u64| format!("{what:<12} {:>wide$} new, {:>wide$} removed", size::count(new), size::count(gone));
        let changed = format!(", {:>wide$} changed", size::count(report.changed_files));
        let mut lines = vec![
            String::new(),
            row("Files:", added.files, removed.files) + &changed,
            row("Dirs:", added.dirs, removed.dirs),
            row("Others:", added.others, removed.others),
        ];
        if !live {
            lines.push(row("Data chunks:", added.data_blobs, removed.data_blobs));
            lines.push(row("Tree chunks:", added.tree_blobs, removed.tree_blobs));
        }
        lines.push(format!("  Added:   {}", size::human(added.bytes)));
        lines.push(format!("  Removed: {}", size::human(removed.bytes)));
        lines
    }

    fn statistics(&self, report: &DiffReport, live: bool) -> Value {
        let (before, after) = self.ends;
        let mut value = json!({
            "message_type": "statistics",
            "source_snapshot": before.snapshot,
            "target_snapshot": after.snapshot,
            "changed_files": report.changed_files,
            "added": counts(&report.added, live),
            "removed": counts(&report.removed, live),
        });
        if let Some(map) = value.as_object_mut() {
            for (key, end) in [("source_path", before), ("target_path", after)] {
                if !end.path.is_empty() {
                    map.insert(key.to_owned(), format!("/{}", String::from_utf8_lossy(&end.path)).into());
                }
            }
            if live {
                map.insert("error_count".to_owned(), report.error_count.into());
            }
            if report.unmeasured > 0 {
                map.insert("unmeasured_blobs".to_owned(), report.unmeasured.into());
            }
        }
        value
    }
}

/// restic's names. Of this machine nobody knows chunks.
fn counts(counts: &Counts, live: bool) -> Value {
    let mut value = json!({"files": counts.files, "dirs": counts.dirs, "others": counts.others});
    if let Some(map) = value.as_object_mut() {
        if !live {
            map.insert("data_blobs".to_owned(), counts.data_blobs.into());
            map.insert("tree_blobs".to_owned(), counts.tree_blobs.into());
        }
        map.insert("bytes".to_owned(), counts.bytes.into());
    }
    value
}

/// restic's letters.
pub fn modifier(change: &Change<'_>) -> String {
    match (change.before, change.after) {
        (Some(_), None) => return "-".to_owned(),
        (None, _) => return "+".to_owned(),
        _ => {}
    }
    let mut letters = String::new();
    if change.is_retyped() {
        letters.push('T');
    }
    if change.content {
        letters.push('M');
    }
    if change.rot {
        letters.push('?');
    }
    if !change.content && !change.attributes.is_empty() {
        letters.push('U');
    }
    letters
}

/// The entry as it is, or as it was where it is gone.
fn newest<'c>(change: &Change<'c>) -> Option<&'c Entry> {
    change.after.or(change.before)
}

/// The whole path; of a directory with a slash behind it, as restic writes it.
pub fn full_path(change: &Change<'_>) -> Vec<u8> {
    let mut path = [b"/", change.path].concat();
    if newest(change).is_some_and(|entry| entry.kind == EntryKind::Directory) && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

fn change_json(change: &Change<'_>) -> Value {
    let path = full_path(change);
    let mut value = json!({"message_type": "change", "path": String::from_utf8_lossy(&path), "modifier": modifier(change)});
    if let Some(map) = value.as_object_mut() {
        path_hex(map, &path);
        if let Some(entry) = newest(change) {
            map.insert("type".to_owned(), entry.kind.word().into());
        }
        if change.is_retyped()
            && let Some(before) = change.before
        {
            map.insert("type_before".to_owned(), before.kind.word().into());
        }
        if !change.attributes.is_empty() {
            map.insert("attributes".to_owned(), change.attributes.iter().map(|attribute| attribute_json(*attribute, change)).collect());
        }
    }
    value
}

fn attribute_json(attribute: Attribute, change: &Change<'_>) -> Value {
    let mut map = Map::new();
    map.insert("name".to_owned(), attribute.word().into());
    if attribute == Attribute::Xattrs {
        let names: Vec<String> = changed_xattrs(change).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        map.insert("changed".to_owned(), names.into());
        return Value::Object(map);
    }
    for (key, entry) in [("before", change.before), ("after", change.after)] {
        if let Some(entry) = entry {
            map.insert(key.to_owned(), value_json(attribute, entry));
        }
    }
    Value::Object(map)
}

fn value_json(attribute: Attribute, entry: &Entry) -> Value {
    match attribute {
        Attribute::Size => entry.size.into(),
        Attribute::Mode => entry.mode.into(),
        Attribute::Owner => json!({"uid": entry.uid, "user": String::from_utf8_lossy(&entry.user.0)}),
        Attribute::Group => json!({"gid": entry.gid, "group": String::from_utf8_lossy(&entry.group.0)}),
        Attribute::Mtime => time::rfc3339(&entry.mtime).into(),
        Attribute::Links => entry.links.max(1).into(),
        Attribute::Flags => entry.flags.into(),
        Attribute::Target | Attribute::Device | Attribute::Status | Attribute::Xattrs => value_words(attribute, entry).into(),
    }
}

fn value_words(attribute: Attribute, entry: &Entry) -> String {
    let owner = |number: u32, name: &[u8]| if name.is_empty() { number.to_string() } else { String::from_utf8_lossy(name).into_owned() };
    match attribute {
        Attribute::Size => entry.size.to_string(),
        Attribute::Mode => format!("{:04o}", entry.mode),
        Attribute::Owner => owner(entry.uid, &entry.user.0),
        Attribute::Group => owner(entry.gid, &entry.group.0),
        Attribute::Mtime => time::local(&entry.mtime),
        Attribute::Target => String::from_utf8_lossy(&entry.target.0).into_owned(),
        Attribute::Device => format!("{}:{}", entry.rdev_major, entry.rdev_minor),
        Attribute::Links => entry.links.max(1).to_string(),
        Attribute::Flags => format!("{:#x}", entry.flags),
        Attribute::Xattrs => String::new(),
        Attribute::Status => match entry.status {
            STATUS_UNREADABLE => "unreadable".to_owned(),
            STATUS_CHANGED => "changed while it was read".to_owned(),
            _ => "whole".to_owned(),
        },
    }
}

/// `mode 0644 -> 0600`.
fn attribute_words(attribute: Attribute, change: &Change<'_>) -> String {
    let word = attribute.word();
    if attribute == Attribute::Xattrs {
        let names: Vec<String> = changed_xattrs(change).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        return format!("{word} {}", names.join(" "));
    }
    let (Some(before), Some(after)) = (change.before, change.after) else { return word.to_owned() };
    let (mut was, mut is) = (value_words(attribute, before), value_words(attribute, after));
    // Two numbers of one name, two times of one second: what tells them apart is said too.
    if was == is {
        let more = |entry: &Entry, text: &str| match attribute {
            Attribute::Owner => format!("{text}[{}]", entry.uid),
            Attribute::Group => format!("{text}[{}]", entry.gid),
            Attribute::Mtime => format!("{text}.{:09}", entry.mtime.nanos),
            _ => text.to_owned(),
        };
        (was, is) = (more(before, &was), more(after, &is));
    }
    format!("{word} {was} -> {is}")
}

fn changed_xattrs<'c>(change: &Change<'c>) -> Vec<&'c [u8]> {
    let (Some(before), Some(after)) = (change.before, change.after) else { return Vec::new() };
    let only = |a: &'c Entry, b: &'c Entry| a.xattrs.iter().filter(|x| !b.xattrs.contains(x)).map(|x| &x.name.0[..]);
    let mut names: Vec<&[u8]> = only(before, after).chain(only(after, before)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl By {
    /// Whether rows are of directories.
    pub fn is_dir(self) -> bool {
        self == By::Dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::wire::{Bytes, Time};

    fn change<'c>(before: Option<&'c Entry>, after: Option<&'c Entry>) -> Change<'c> {
        let (content, rot, attributes, delta) = (false, false, Vec::new(), None);
        Change { path: b"d/f", before, after, content, rot, attributes, delta, bodies: [None, None] }
    }

    #[test]
    fn letters_are_restics() {
        let (file, dir) = (Entry::new(b"f", EntryKind::File), Entry::new(b"f", EntryKind::Directory));
        assert_eq!(modifier(&change(Some(&file), None)), "-");
        assert_eq!(modifier(&change(None, Some(&file))), "+");
        assert_eq!(modifier(&change(Some(&file), Some(&dir))), "T");
        let changed = Change { content: true, ..change(Some(&file), Some(&file)) };
        assert_eq!(modifier(&changed), "M");
        assert_eq!(modifier(&Change { rot: true, content: true, ..change(Some(&file), Some(&file)) }), "M?");
        assert_eq!(modifier(&Change { attributes: vec![Attribute::Mode], ..change(Some(&file), Some(&file)) }), "U");
        assert_eq!(modifier(&Change { attributes: vec![Attribute::Mode], ..change(Some(&file), Some(&dir)) }), "TU");
        assert_eq!(modifier(&Change { attributes: vec![Attribute::Mode], ..changed }), "M");
        assert_eq!(full_path(&change(Some(&file), Some(&dir))), b"/d/f/");
        assert_eq!(full_path(&change(Some(&dir), Some(&file))), b"/d/f");
    }

    #[test]
    fn what_looks_the_same_is_told_apart() {
        let (mut a, mut b) = (Entry::new(b"f", EntryKind::File), Entry::new(b"f", EntryKind::File));
        (a.uid, b.uid) = (1, 2);
        (a.user, b.user) = (Bytes(b"ann".to_vec()), Bytes(b"ann".to_vec()));
        b.mtime = Time { secs: 0, nanos: 7 };
        let c = change(Some(&a), Some(&b));
        assert_eq!(attribute_words(Attribute::Owner, &c), "owner ann[1] -> ann[2]");
        let words = attribute_words(Attribute::Mtime, &c);
        assert!(words.contains(".000000000 -> ") && words.ends_with(".000000007"), "{words}");
        (a.mode, b.mode) = (0o644, 0o4755);
        assert_eq!(attribute_words(Attribute::Mode, &change(Some(&a), Some(&b))), "mode 0644 -> 4755");
    }
}
