//! `ls --ncdu`: a snapshot in the form that ncdu exports and reads (`ncdu -f FILE`), format 1.2. What it takes grows with the
//! subdirectories of the directories that are open, not with entries. It must never write what is no JSON, whatever names are.
//! It obeys https://dev.yorhel.nl/ncdu/jsonfmt.

use crate::exit::Fail;
use crate::output::Bulk;
use seabed_engine::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, compare_dirs};
use seabed_engine::format::wire::{Bytes, Time};
use serde_json::{Map, Value, json};

/// What files are stored in on most file systems, at least.
const BLOCK_BYTES: u64 = 512;

/// A subdirectory whose turn has not come yet, as short as can be: there may be a million of them.
struct Waiting {
    bytes: Vec<u8>,
    from: usize,
}

/// Mode, owner, group, time, inode, device, status, length of the name.
const HEAD_BYTES: usize = 4 + 4 + 4 + 8 + 8 + 8 + 1 + 2;

impl Waiting {
    fn push(&mut self, entry: &Entry) {
        let length = u16::try_from(entry.name.0.len()).unwrap_or(0);
        let out = &mut self.bytes;
        out.extend(entry.mode.to_le_bytes());
        out.extend(entry.uid.to_le_bytes());
        out.extend(entry.gid.to_le_bytes());
        out.extend(entry.mtime.secs.to_le_bytes());
        out.extend(entry.inode.to_le_bytes());
        out.extend(entry.device.to_le_bytes());
        out.push(entry.status);
        out.extend(length.to_le_bytes());
        out.extend_from_slice(&entry.name.0[..usize::from(length)]);
    }

    fn pop(&mut self) -> Option<Entry> {
        let mut at = self.from;
        let mut take = |n: usize| {
            let taken = self.bytes.get(at..at + n);
            at += n;
            taken
        };
        let word = |bytes: &[u8]| bytes.first_chunk().map(|b| u32::from_le_bytes(*b));
        let long = |bytes: &[u8]| bytes.first_chunk().map(|b| u64::from_le_bytes(*b));
        let mut entry = Entry::new(b"", EntryKind::Directory);
        entry.mode = word(take(4)?)?;
        entry.uid = word(take(4)?)?;
        entry.gid = word(take(4)?)?;
        entry.mtime = Time { secs: long(take(8)?)?.cast_signed(), nanos: 0 };
        entry.inode = long(take(8)?)?;
        entry.device = long(take(8)?)?;
        entry.status = *take(1)?.first()?;
        let length = take(2)?.first_chunk().map(|b| u16::from_le_bytes(*b))?;
        entry.name = Bytes(take(usize::from(length))?.to_vec());
        self.from = at;
        Some(entry)
    }

    fn first_name(&self) -> Option<&[u8]> {
        let name = self.bytes.get(self.from + HEAD_BYTES..)?;
        let length = self.bytes.get(self.from + HEAD_BYTES - 2..)?.first_chunk().map(|b| u16::from_le_bytes(*b))?;
        name.get(..usize::from(length))
    }
}

/// A directory that is open, by how long its path is.
struct Open {
    path_bytes: usize,
    waiting: Waiting,
}

/// Writes the export.
pub struct Export<'e> {
    lines: &'e mut Bulk,
    /// The path of the innermost open directory.
    path: Vec<u8>,
    open: Vec<Open>,
}

/// What ncdu knows of an entry.
fn info(entry: &Entry, name: &str) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("name", name.into());
    if entry.kind == EntryKind::File {
        put("asize", entry.size.into());
        put("dsize", entry.size.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES).into());
    } else if entry.kind == EntryKind::Symlink {
        put("asize", entry.target.0.len().into());
    }
    put("dev", entry.device.into());
    put("ino", entry.inode.into());
    if entry.links > 1 {
        put("hlnkc", true.into());
        put("nlink", entry.links.into());
    }
    if entry.status == STATUS_UNREADABLE {
        put("read_error", true.into());
    }
    if !matches!(entry.kind, EntryKind::File | EntryKind::Directory) {
        put("notreg", true.into());
    }
    put("uid", entry.uid.into());
    put("gid", entry.gid.into());
    let kind: u32 = match entry.kind {
        EntryKind::Directory => 0o040_000,
        EntryKind::File => 0o100_000,
        EntryKind::Symlink => 0o120_000,
        EntryKind::Fifo => 0o010_000,
        EntryKind::Socket => 0o140_000,
        EntryKind::CharDevice => 0o020_000,
        EntryKind::BlockDevice => 0o060_000,
    };
    put("mode", (kind | entry.mode & 0o7777).into());
    // It knows no time before 1970.
    put("mtime", entry.mtime.secs.max(0).into());
    Value::Object(map)
}

fn name(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.name.0).into_owned()
}

impl<'e> Export<'e> {
    /// Begins with a directory called `top`; `about` is what the export is of.
    pub fn begin(lines: &'e mut Bulk, mut about: Map<String, Value>, top: &str, time: &Time) -> Result<Self, Fail> {
        about.insert("progname".to_owned(), "seabed".into());
        about.insert("progver".to_owned(), env!("CARGO_PKG_VERSION").into());
        about.insert("timestamp".to_owned(), time.secs.max(0).into());
        lines.part(format!("[1,2,{},\n[{}", Value::Object(about), json!({"name": top})).as_bytes())?;
        let open = vec![Open { path_bytes: 0, waiting: Waiting { bytes: Vec::new(), from: 0 } }];
        Ok(Export { lines, path: Vec::new(), open })
    }

    /// Takes an entry of directory `dir`. They come in the order of the format.
    pub fn entry(&mut self, dir: &[u8], entry: &Entry) -> Result<(), Fail> {
        self.go_to(dir)?;
        match (entry.kind, self.open.last_mut()) {
            (EntryKind::Directory, Some(open)) => {
                open.waiting.push(entry);
                Ok(())
            }
            _ => self.lines.part(format!(",\n{}", info(entry, &name(entry))).as_bytes()),
        }
    }

    /// Makes `dir` the innermost open directory.
    fn go_to(&mut self, dir: &[u8]) -> Result<(), Fail> {
        if dir == self.path {
            return Ok(());
        }
        let holds = |path: &[u8]| path.is_empty() || dir.strip_prefix(path).is_some_and(|rest| rest.first().is_none_or(|b| *b == b'/'));
        while !holds(&self.path) {
            self.close()?;
        }
        let below = if self.path.is_empty() { 0 } else { self.path.len() + 1 };
        for name in dir.get(below..).unwrap_or_default().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            self.enter(name)?;
        }
        Ok(())
    }

    /// Opens a subdirectory. Those before it that are still waiting have nothing in them.
    fn enter(&mut self, name: &[u8]) -> Result<(), Fail> {
        let mut entry = None;
        while let Some(open) = self.open.last_mut() {
            let before = open.waiting.first_name().is_some_and(|first| compare_dirs(first, name).is_le());
            let Some(waiting) = before.then(|| open.waiting.pop()).flatten() else { break };
            if waiting.name.0 == name {
                entry = Some(waiting);
                break;
            }
            self.empty(&waiting)?;
        }
        // What only leads to a stream has no entry.
        let text = String::from_utf8_lossy(name);
        let head = entry.map_or_else(|| json!({"name": text}), |entry| info(&entry, &text));
        self.lines.part(format!(",\n[{head}").as_bytes())?;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.open.push(Open { path_bytes: self.path.len(), waiting: Waiting { bytes: Vec::new(), from: 0 } });
        Ok(())
    }

    fn empty(&mut self, entry: &Entry) -> Result<(), Fail> {
        self.lines.part(format!(",\n[{}]", info(entry, &name(entry))).as_bytes())
    }

    /// Closes the innermost open directory.
    fn close(&mut self) -> Result<(), Fail> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        while let Some(waiting) = open.waiting.pop() {
            self.empty(&waiting)?;
        }
        self.lines.part(b"]")?;
        self.path.truncate(self.open.last().map_or(0, |outer| outer.path_bytes));
        Ok(())
    }

    /// The end.
    pub fn finish(mut self) -> Result<(), Fail> {
        while !self.open.is_empty() {
            self.close()?;
        }
        self.lines.line(b"]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_back_as_it_was() {
        let mut waiting = Waiting { bytes: Vec::new(), from: 0 };
        let names: [&[u8]; 3] = [b"a", &[b'x'; 255], b"\xff"];
        for (n, name) in names.into_iter().enumerate() {
            let mut entry = Entry::new(name, EntryKind::Directory);
            (entry.mode, entry.uid, entry.gid, entry.inode, entry.device) = (0o1777, 1, 2, 1 << 60, n as u64);
            entry.mtime = Time { secs: -5, nanos: 0 };
            entry.status = STATUS_UNREADABLE;
            waiting.push(&entry);
        }
        for (n, name) in names.into_iter().enumerate() {
            assert_eq!(waiting.first_name(), Some(name));
            let entry = waiting.pop().unwrap();
            assert_eq!((&entry.name.0[..], entry.mode, entry.device, entry.mtime.secs), (name, 0o1777, n as u64, -5));
        }
        assert!(waiting.pop().is_none() && waiting.first_name().is_none());
    }
}
