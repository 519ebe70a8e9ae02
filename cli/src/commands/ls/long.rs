//! Lines of `ls -l`: columns as wide as what stands in them, as far as that is known when a line is written.
//! It must never let a name of an owner drive a terminal. It obeys `ls -l`.

use crate::output::{clean, path_bytes};
use crate::{size, time};
use seabed_engine::format::entry::{Entry, EntryKind, STATUS_UNREADABLE};

/// `drwxr-xr-x`, as `ls` writes it.
pub fn permissions(kind: EntryKind, mode: u32) -> String {
    let kind = match kind {
        EntryKind::Directory => 'd',
        EntryKind::File => '-',
        EntryKind::Symlink => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::Socket => 's',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
    };
    let bit = |bit: u32, letter: char| if mode & bit != 0 { letter } else { '-' };
    let special = |set: u32, exec: u32, both: char, alone: char| match (mode & set != 0, mode & exec != 0) {
        (true, true) => both,
        (true, false) => alone,
        (false, true) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o4000, 0o100, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o2000, 0o010, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o1000, 0o001, 't', 'T'),
    ]
    .into_iter()
    .collect()
}

/// Cells whose width differs from line to line, and what stands before and behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    mode: String,
    user: String,
    group: String,
    size: String,
    time: String,
    tail: Vec<u8>,
}

/// How wide columns have been so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Widths {
    user: usize,
    group: usize,
    size: usize,
}

impl Widths {
    /// Makes room for a line.
    pub fn fit(&mut self, cells: &Cells) {
        let wide = |text: &str| text.chars().count();
        self.user = self.user.max(wide(&cells.user));
        self.group = self.group.max(wide(&cells.group));
        self.size = self.size.max(wide(&cells.size));
    }
}

/// Stands between cells where they are kept: no cell holds a control character.
const BETWEEN: u8 = 0x1f;

impl Cells {
    /// Of one entry.
    pub fn new(path: &[u8], entry: &Entry, human: bool, terminal: bool) -> Self {
        let owner = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { clean(&String::from_utf8_lossy(name)) };
        // What `clean` leaves as it is would break a line, or a column.
        let owner = |name: &[u8], number: u32| owner(name, number).replace(['\n', '\t'], "?");
        let size = match entry.kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => format!("{}, {}", entry.rdev_major, entry.rdev_minor),
            _ if human => size::human(entry.size),
            _ => entry.size.to_string(),
        };
        let mut tail = path_bytes(path, terminal);
        if entry.kind == EntryKind::Symlink {
            tail.extend_from_slice(b" -> ");
            tail.extend(path_bytes(&entry.target.0, terminal));
        }
        if entry.status == STATUS_UNREADABLE {
            tail.extend_from_slice(b" (could not be read)");
        }
        Cells {
            mode: permissions(entry.kind, entry.mode),
            user: owner(&entry.user.0, entry.uid),
            group: owner(&entry.group.0, entry.gid),
            size,
            // Directories that only lead to something were not looked at.
            time: if entry.implied { time::unknown() } else { time::local(&entry.mtime) },
            tail,
        }
    }

    /// The line.
    pub fn line(&self, widths: &Widths) -> Vec<u8> {
        let Cells { mode, user, group, size, time, tail } = self;
        let Widths { user: u, group: g, size: s } = *widths;
        let mut line = format!("{mode} {user:<u$} {group:<g$} {size:>s$} {time} ").into_bytes();
        line.extend_from_slice(tail);
        line
    }

    /// All of it in a row, until the widths of all are known.
    pub fn pack(&self) -> Vec<u8> {
        let cells = [&self.mode, &self.user, &self.group, &self.size, &self.time];
        let mut out = cells.map(|cell| cell.as_bytes()).join(&BETWEEN);
        out.push(BETWEEN);
        out.extend_from_slice(&self.tail);
        out
    }

    /// What [`Cells::pack`] made.
    pub fn unpack(packed: &[u8]) -> Self {
        let mut parts = packed.splitn(6, |byte| *byte == BETWEEN);
        let mut cell = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let (mode, user, group, size, time) = (cell(), cell(), cell(), cell(), cell());
        Cells { mode, user, group, size, time, tail: parts.next().unwrap_or_default().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::wire::Bytes;

    #[test]
    fn modes_are_written_as_ls_does() {
        let mode = |kind, mode| {
            let mut entry = Entry::new(b"x", kind);
            entry.mode = mode;
            permissions(entry.kind, entry.mode)
        };
        assert_eq!(mode(EntryKind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode(EntryKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode(EntryKind::Symlink, 0o777), "lrwxrwxrwx");
        assert_eq!(mode(EntryKind::File, 0o2644), "-rw-r-Sr--");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut entry = Entry::new(b"x", EntryKind::File);
        (entry.size, entry.user) = (5, Bytes(b"ann".to_vec()));
        let small = Cells::new(b"/x", &entry, false, false);
        (entry.size, entry.group) = (123_456, Bytes(b"a\x1b[2Jb\nc".to_vec()));
        let large = Cells::new(b"/y\x1f", &entry, false, false);
        let mut widths = Widths::default();
        widths.fit(&small);
        widths.fit(&large);
        let place = |cells: &Cells, end: &str| String::from_utf8(cells.line(&widths)).unwrap().find(end).unwrap();
        assert_eq!(place(&small, "/x"), place(&large, "/y"));
        assert!(!large.line(&widths).contains(&0x1b), "a name of a group drives nobody's terminal");
        for cells in [small, large] {
            assert_eq!(Cells::unpack(&cells.pack()), cells);
        }
    }
}
