//! Where snapshots stand in a view: folders by id, time, host, tag and series, made from templates in restic's form.
//! It must never give two snapshots one name, put a name where it climbs or hides another, or give one name to two series.

use crate::catalog::Snapshot;
use crate::error::{Error, Result};
use crate::format::wire::Time;
use crate::id::{SnapshotId, hex};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where snapshots stand if nobody says otherwise: each folder that ends in `%T` has a link `latest` too.
pub const PATH_TEMPLATES: [&str; 5] = ["ids/%i", "snapshots/%T", "hosts/%h/%T", "tags/%t/%T", "series/%s/%T"];
/// How times are written if nobody says otherwise.
pub const TIME_TEMPLATE: &str = "%Y-%m-%dT%H:%M:%S";
/// The link to the newest snapshot beside it.
const LATEST: &str = "latest";
/// Names in all folders together, some 300 MiB: of what is more, the oldest snapshots' are left out.
const NAMES_MAX: usize = 1 << 20;
/// Tags by which one snapshot stands: a manifest may have any number of them, and other snapshots need names too.
const TAGS_MAX: usize = 256;
/// Places of one snapshot by one template, which may name the tag more than once.
const PLACES_MAX: usize = TAGS_MAX * TAGS_MAX;
/// Longest name that is not shortened, bytes: a number behind it must fit too.
const PLAIN_BYTES_MAX: usize = 200;
/// What is left of a longer one, before its hash.
const SHORT_BYTES: usize = 160;

/// Templates, and the time zone in which times are written.
#[derive(Clone, Debug)]
pub struct Layout {
    paths: Vec<String>,
    time: String,
    zone: TimeZone,
}

impl Default for Layout {
    /// [`PATH_TEMPLATES`] and [`TIME_TEMPLATE`], times in UTC.
    fn default() -> Self {
        Layout { paths: PATH_TEMPLATES.map(str::to_owned).to_vec(), time: TIME_TEMPLATE.to_owned(), zone: TimeZone::UTC }
    }
}

impl Layout {
    /// `paths` may hold `%i` (short id), `%I` (id), `%u` (user), `%h` (host), `%t` (each tag), `%s` (series), `%T` (time) and `%%`; empty for
    /// [`PATH_TEMPLATES`]. `time` is in the form of strftime, or in Go's, by which scripts for restic write it.
    pub fn new(paths: &[String], time: &str, zone: TimeZone) -> Result<Self> {
        let bad = |what: String| Error::Option { what };
        let paths = if paths.is_empty() { PATH_TEMPLATES.map(str::to_owned).to_vec() } else { paths.to_vec() };
        for path in &paths {
            if path.split('/').any(|part| part == "..") || !path.split('/').any(|part| !part.is_empty() && part != ".") {
                return Err(bad(format!("`{path}` is no path of a snapshot")));
            }
            let mut letters = path.chars();
            while let Some(c) = letters.next() {
                if c == '%' && !letters.next().is_some_and(|c| "iIuhtsT%".contains(c)) {
                    return Err(bad(format!("`{path}` holds a % that stands for nothing: %i %I %u %h %t %s %T and %% are known")));
                }
            }
        }
        let layout = Layout { paths, time: strftime(time), zone };
        match layout.format(&Time::default()) {
            Some(text) if text.split('/').any(|part| part.is_empty() || part == "." || part == "..") => {
                Err(bad(format!("`{time}` makes no name of a time")))
            }
            Some(_) => Ok(layout),
            None => Err(bad(format!("`{time}` is no form of a time"))),
        }
    }

    fn format(&self, time: &Time) -> Option<String> {
        let at = Timestamp::new(time.secs, i32::try_from(time.nanos).ok()?).ok()?;
        jiff::fmt::strtime::format(&self.time, &at.to_zoned(self.zone.clone())).ok()
    }

    /// The folders with these snapshots, which are in the order of their times, and whether there was room for all their names.
    pub fn arrange<'s>(&self, snapshots: impl IntoIterator<Item = &'s Snapshot>) -> (Folder, bool) {
        let snapshots: Vec<&Snapshot> = snapshots.into_iter().collect();
        self.arrange_within(NAMES_MAX, &snapshots)
    }

    fn arrange_within(&self, max: usize, snapshots: &[&Snapshot]) -> (Folder, bool) {
        let mut top = Building::default();
        // Folders that every template names are there before any snapshot is.
        for template in &self.paths {
            let parts: Vec<&str> = template.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            let fixed = parts.iter().take(parts.len().saturating_sub(1)).take_while(|part| !part.contains('%'));
            fixed.fold(&mut top, |folder, part| folder.folder(part).1);
        }
        // The newest get room first. Names that are taken are numbered from the oldest on, though: so what each gets is counted before.
        let (mut left, mut is_whole) = (max, true);
        let mut rooms: Vec<usize> = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots.iter().rev() {
            let wanted = self.places(snapshot).take(left + 1).count();
            is_whole &= wanted <= left;
            rooms.push(wanted.min(left));
            left -= wanted.min(left);
        }
        for (snapshot, room) in snapshots.iter().zip(rooms.into_iter().rev()) {
            for path in self.places(snapshot).take(room) {
                top.put(&path.parts, path.time.as_ref().map(|(depth, begin)| (*depth, begin.as_str())), snapshot);
            }
        }
        (top.done(Time::default()), is_whole)
    }

    /// Where one snapshot stands, by all templates.
    fn places(&self, snapshot: &Snapshot) -> impl Iterator<Item = Path> {
        self.paths.iter().flat_map(move |template| self.expand(template, snapshot))
    }

    /// The paths of one snapshot by one template: none where it wants a tag and there is none.
    fn expand(&self, template: &str, snapshot: &Snapshot) -> Vec<Path> {
        let names = &snapshot.names;
        let time = self.format(&snapshot.index.time).unwrap_or_else(|| snapshot.index.time.secs.to_string());
        let mut paths = vec![Path::default()];
        let mut letters = template.chars().peekable();
        while let Some(c) = letters.next() {
            let with = match c {
                '/' => {
                    paths.iter_mut().for_each(Path::next_part);
                    continue;
                }
                '%' => match letters.next() {
                    Some('i') => snapshot.id.short(),
                    Some('I') => snapshot.id.to_string(),
                    Some('u') => escape(&names.user),
                    Some('h') => escape(&names.host),
                    Some('s') => escape(&names.series),
                    Some('T') => {
                        let is_last = letters.peek().is_none();
                        paths.iter_mut().for_each(|path| path.push_time(&time, is_last));
                        continue;
                    }
                    Some('t') => {
                        let mut tags: Vec<String> = names.tags.iter().take(TAGS_MAX).map(|tag| escape(tag)).collect();
                        tags.sort();
                        tags.dedup();
                        let with = |tag: &String| paths.iter().map(|path| path.with(tag)).collect::<Vec<_>>();
                        paths = tags.iter().flat_map(with).take(PLACES_MAX).collect();
                        continue;
                    }
                    Some(other) => other.to_string(),
                    None => String::new(),
                },
                other => other.to_string(),
            };
            paths.iter_mut().for_each(|path| path.push(&with));
        }
        paths.into_iter().map(Path::finish).filter(|path| !path.parts.is_empty()).collect()
    }
}

/// A path that is made from a template.
#[derive(Clone, Default)]
struct Path {
    parts: Vec<String>,
    open: String,
    /// Where it ends in a time: how many parts are before the one in which that begins, and how this begins.
    time: Option<(usize, String)>,
}

impl Path {
    fn push(&mut self, text: &str) {
        self.open.push_str(text);
    }

    fn with(&self, text: &str) -> Path {
        let mut path = self.clone();
        path.push(text);
        path
    }

    fn next_part(&mut self) {
        let part = std::mem::take(&mut self.open);
        if !part.is_empty() && part != "." {
            self.parts.push(part);
        }
    }

    /// A time may be a path itself: `%Y/%m`.
    fn push_time(&mut self, time: &str, is_last: bool) {
        if is_last {
            self.time = Some((self.parts.len(), self.open.clone()));
        }
        for (at, part) in time.split('/').enumerate() {
            if at > 0 {
                self.next_part();
            }
            self.push(part);
        }
    }

    fn finish(mut self) -> Path {
        self.next_part();
        self
    }
}

/// What stands under a name.
#[derive(Clone, Debug)]
pub enum Above {
    /// More names.
    Folder(Arc<Folder>),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A symlink.
    Link(Vec<u8>),
}

/// Names above the snapshots.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// By name.
    pub names: BTreeMap<Vec<u8>, Above>,
    /// Time of the newest snapshot below.
    pub newest: Time,
}

impl Folder {
    /// The folder at a path of names joined by `/`; empty for this one.
    pub fn at(self: &Arc<Self>, path: &[u8]) -> Option<Arc<Folder>> {
        let mut folder = self.clone();
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            folder = match folder.names.get(name) {
                Some(Above::Folder(below)) => below.clone(),
                _ => return None,
            };
        }
        Some(folder)
    }
}

#[derive(Default)]
struct Building {
    names: BTreeMap<Vec<u8>, Part>,
    /// The number to try next for a name that is taken: thousands of snapshots may have one time.
    next: HashMap<Vec<u8>, u64>,
    newest: Time,
}

enum Part {
    Folder(Building),
    Snapshot(SnapshotId),
    Link(Vec<u8>),
}

impl Building {
    /// `name`, or `name-1` and so on where that is taken.
    fn free(&mut self, name: &str) -> String {
        if !self.names.contains_key(name.as_bytes()) {
            return name.to_owned();
        }
        let next = self.next.entry(name.as_bytes().to_vec()).or_insert(1);
        loop {
            let numbered = format!("{name}-{next}");
            *next += 1;
            if !self.names.contains_key(numbered.as_bytes()) {
                return numbered;
            }
        }
    }

    /// The folder of this name; another one where something else has it.
    fn folder(&mut self, name: &str) -> (String, &mut Building) {
        let is_other = |part: Option<&Part>| part.is_some_and(|part| !matches!(part, Part::Folder(_)));
        let mut own = name.to_owned();
        let mut number = 0;
        while is_other(self.names.get(own.as_bytes())) {
            number += 1;
            own = format!("{name}-{number}");
        }
        match self.names.entry(own.clone().into_bytes()).or_insert_with(|| Part::Folder(Building::default())) {
            Part::Folder(folder) => (own, folder),
            Part::Snapshot(_) | Part::Link(_) => unreachable!("its kind was looked at just now"),
        }
    }

    /// Puts the snapshot at a path, or beside what is there already. `time` says in which folder of the path a time begins that ends it, and
    /// what is before it there: there the link to the newest snapshot stands. Returns the path that it got.
    fn put(&mut self, parts: &[String], time: Option<(usize, &str)>, snapshot: &Snapshot) -> Vec<String> {
        self.newest = self.newest.max(snapshot.index.time);
        let Some((first, rest)) = parts.split_first() else { return Vec::new() };
        let mut path = Vec::with_capacity(parts.len());
        if rest.is_empty() {
            let name = self.free(first);
            self.names.insert(name.clone().into_bytes(), Part::Snapshot(snapshot.id));
            path.push(name);
        } else {
            let below = time.and_then(|(depth, begin)| Some((depth.checked_sub(1)?, begin)));
            let (name, folder) = self.folder(first);
            path.push(name);
            path.extend(folder.put(rest, below, snapshot));
        }
        if let Some((0, begin)) = time {
            let link = self.names.entry(format!("{begin}{LATEST}").into_bytes()).or_insert_with(|| Part::Link(Vec::new()));
            // Oldest first: who comes last is the newest. What else has this name keeps it.
            if let Part::Link(target) = link {
                *target = path.join("/").into_bytes();
            }
        }
        path
    }

    /// A folder without a snapshot has the time of the one that it is in.
    fn done(self, above: Time) -> Folder {
        let newest = if self.newest == Time::default() { above } else { self.newest };
        let part = |part| match part {
            Part::Folder(folder) => Above::Folder(Arc::new(folder.done(newest))),
            Part::Snapshot(id) => Above::Snapshot(id),
            Part::Link(target) => Above::Link(target),
        };
        Folder { newest, names: self.names.into_iter().map(|(name, below)| (name, part(below))).collect() }
    }
}

/// A value as one name. `/` becomes `+`; what that would be mistaken for, and what no name can be, is written as `%2B` is in an address.
/// So two values have two names, but for very long ones, of which the end is a hash.
pub fn escape(value: &str) -> String {
    if value.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '/' => name.push('+'),
            '+' | '%' => name.push_str(&format!("%{:02X}", u32::from(c))),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => name.push_str(&format!("%{:02X}", u32::from(c))),
            c => name.push(c),
        }
    }
    if name.chars().all(|c| c == '.') && name.len() <= 2 {
        name = name.replace('.', "%2E");
    }
    if name.len() > PLAIN_BYTES_MAX {
        let hash = blake3::hash(value.as_bytes());
        let mut end = SHORT_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.push('%');
        name.push_str(&hex(&hash.as_bytes()[..8]));
    }
    name
}

/// Go writes the form of a time as an example of one; these are its parts, longer ones before those that begin them.
const GO: [(&str, &str); 19] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("Z07:00", "%:z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
];

/// A form of a time as strftime takes it; one in Go's form is translated.
fn strftime(form: &str) -> String {
    if form.contains('%') || !form.contains("06") {
        return form.to_owned();
    }
    let mut out = String::new();
    let mut rest = form;
    while let Some(c) = rest.chars().next() {
        match GO.iter().find(|(go, _)| rest.starts_with(go)) {
            Some((go, here)) => {
                out.push_str(here);
                rest = &rest[go.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
