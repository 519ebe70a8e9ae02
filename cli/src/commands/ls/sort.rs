//! `ls --sort`: lines in another order than that of the format. Up to a bound they are sorted in memory; what is more goes in sorted runs
//! to a file that has no name, and comes back merged. It must never hold all lines of a snapshot, nor leave names behind on a disk.

use crate::exit::{Code, Fail, plain};
use rustix::fs::{Mode, OFlags};
use seabed_engine::format::entry::Entry;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Lines and their keys that are sorted in memory.
const MEMORY_BYTES_MAX: usize = 48 << 20;
/// What is read of a run at a time.
const RUN_BUFFER_BYTES: usize = 128 << 10;
/// How often another name is tried, where a file without a name cannot be had.
const NAMES_TRIED: u32 = 100;

/// By what lines are sorted; those that are equal in it, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The path, component by component
    Name,
    /// Length of files
    Size,
    /// Last change of the content
    #[value(alias = "mtime")]
    Time,
    /// What stands behind the last dot
    Extension,
}

impl By {
    /// What an entry is sorted by, so that it can be compared byte by byte.
    pub fn key(self, path: &[u8], entry: &Entry) -> Vec<u8> {
        let mut key = match self {
            By::Name => Vec::new(),
            By::Size => entry.size.to_be_bytes().to_vec(),
            By::Time => {
                let secs = entry.mtime.secs.cast_unsigned() ^ (1 << 63);
                [&secs.to_be_bytes()[..], &entry.mtime.nanos.to_be_bytes()].concat()
            }
            By::Extension => {
                let name = &entry.name.0;
                let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0);
                let mut extension = dot.map_or(&b""[..], |at| &name[at + 1..]).to_ascii_lowercase();
                extension.push(0);
                extension
            }
        };
        // No name holds a zero: so what is in a directory comes right behind it.
        key.extend(path.iter().map(|b| if *b == b'/' { 0 } else { *b }));
        key
    }
}

/// Where one record lies.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    key: u32,
    line: u32,
}

/// A run of records in the file.
struct Run {
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    from: usize,
    key: Vec<u8>,
    line: Vec<u8>,
}

impl Run {
    fn take(&mut self, file: &File, bytes: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.from < bytes {
            self.buffer.drain(..self.from);
            self.from = 0;
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let want = RUN_BUFFER_BYTES.max(bytes).min(left);
            if want == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + want, 0);
            file.read_exact_at(&mut self.buffer[filled..], self.at)?;
            self.at += want as u64;
        }
        let taken = self.buffer[self.from..self.from + bytes].to_vec();
        self.from += bytes;
        Ok(taken)
    }

    /// Makes the next record the current one. `false` at the end.
    fn advance(&mut self, file: &File) -> io::Result<bool> {
        if self.at == self.end && self.from == self.buffer.len() {
            return Ok(false);
        }
        let head = self.take(file, 8)?;
        let length = |at: usize| head.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b) as usize);
        self.key = self.take(file, length(0))?;
        self.line = self.take(file, length(4))?;
        Ok(true)
    }
}

/// A run on the heap: the one whose record comes first on top.
struct Top {
    key: Vec<u8>,
    run: usize,
    reverse: bool,
}

impl Ord for Top {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.key.cmp(&other.key);
        let order = if self.reverse { order } else { order.reverse() };
        // Of equal ones, the run that was written first.
        order.then(other.run.cmp(&self.run))
    }
}

impl PartialOrd for Top {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Top {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Top {}

/// Takes lines in any order and gives them back sorted.
pub struct Sorter {
    reverse: bool,
    memory: usize,
    /// Where a file may be made, the best place first.
    places: Vec<PathBuf>,
    bytes: Vec<u8>,
    records: Vec<Place>,
    spilled: Option<BufWriter<File>>,
    runs: Vec<(u64, u64)>,
    written: u64,
}

impl Sorter {
    /// Sorts upwards, or in `reverse`. What does not fit into memory goes to a file in one of `places`.
    pub fn new(reverse: bool, places: Vec<PathBuf>) -> Self {
        Self::with_memory(reverse, places, MEMORY_BYTES_MAX)
    }

    fn with_memory(reverse: bool, places: Vec<PathBuf>, memory: usize) -> Self {
        let (bytes, records, runs) = (Vec::new(), Vec::new(), Vec::new());
        Sorter { reverse, memory, places, bytes, records, spilled: None, runs, written: 0 }
    }

    /// Takes a line.
    pub fn push(&mut self, key: &[u8], line: &[u8]) -> Result<(), Fail> {
        let taken = self.bytes.len() + self.records.len() * size_of::<Place>();
        if taken + key.len() + line.len() > self.memory && !self.records.is_empty() {
            self.spill().map_err(failed)?;
        }
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.records.push(Place { start: self.bytes.len(), key: length(key), line: length(line) });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(line);
        Ok(())
    }

    fn parts(&self, at: &Place) -> (&[u8], &[u8]) {
        self.bytes[at.start..at.start + at.key as usize + at.line as usize].split_at(at.key as usize)
    }

    fn sort(&mut self) {
        let mut records = std::mem::take(&mut self.records);
        records.sort_by(|a, b| {
            let order = self.parts(a).0.cmp(self.parts(b).0);
            if self.reverse { order.reverse() } else { order }
        });
        self.records = records;
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut file = match self.spilled.take() {
            Some(file) => file,
            None => BufWriter::with_capacity(RUN_BUFFER_BYTES, nameless(&self.places)?),
        };
        let start = self.written;
        let mut end = start;
        for record in &self.records {
            let (key, line) = self.parts(record);
            for part in [&record.key.to_le_bytes()[..], &record.line.to_le_bytes(), key, line] {
                file.write_all(part)?;
                end += part.len() as u64;
            }
        }
        self.written = end;
        self.runs.push((start, end));
        self.spilled = Some(file);
        self.records.clear();
        self.bytes.clear();
        Ok(())
    }

    /// Gives the lines back, sorted.
    pub fn finish(mut self, mut each: impl FnMut(&[u8]) -> Result<(), Fail>) -> Result<(), Fail> {
        if self.spilled.is_none() {
            self.sort();
            return self.records.iter().try_for_each(|record| each(self.parts(record).1));
        }
        if !self.records.is_empty() {
            self.spill().map_err(failed)?;
        }
        (self.bytes, self.records) = (Vec::new(), Vec::new());
        let Some(file) = self.spilled.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        let run = |(at, end): &(u64, u64)| Run { at: *at, end: *end, buffer: Vec::new(), from: 0, key: Vec::new(), line: Vec::new() };
        let mut runs: Vec<Run> = self.runs.iter().map(run).collect();
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            if run.advance(&file).map_err(failed)? {
                heap.push(Top { key: std::mem::take(&mut run.key), run: number, reverse: self.reverse });
            }
        }
        while let Some(Top { run: number, .. }) = heap.pop() {
            let run = &mut runs[number];
            each(&run.line)?;
            if run.advance(&file).map_err(failed)? {
                heap.push(Top { key: std::mem::take(&mut run.key), run: number, reverse: self.reverse });
            }
        }
        Ok(())
    }
}

fn failed(error: io::Error) -> Fail {
    let fail = Fail::new(Code::Failed, format!("cannot sort: {}", plain(&error)));
    fail.hint("lines are put aside in the cache or TMPDIR: make room there, name another place (--cache-dir, TMPDIR), or leave --sort out")
}

/// A file that nobody else can open, and that is gone when it is closed, whatever ends this process.
fn nameless(places: &[PathBuf]) -> io::Result<File> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for place in places {
        // Not every file system has files without names: then it has one for a moment.
        let opened = rustix::fs::open(place, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match opened.map_or_else(|_| unlinked(place), |file| Ok(file.into())) {
            Ok(file) => return Ok(file),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn unlinked(place: &Path) -> io::Result<File> {
    for n in 0..NAMES_TRIED {
        let path = place.join(format!(".seabed-sort-{}-{n}", std::process::id()));
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::entry::EntryKind;
    use seabed_engine::format::wire::Time;

    fn sorted(reverse: bool, memory: usize, keys: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
        let mut sorter = Sorter::with_memory(reverse, vec![PathBuf::from("/nowhere"), std::env::temp_dir()], memory);
        for key in keys {
            sorter.push(key, &[b"line of ", &key[..]].concat()).unwrap();
        }
        let runs = sorter.runs.len();
        let mut out = Vec::new();
        sorter
            .finish(|line| {
                out.push(line.to_vec());
                Ok(())
            })
            .unwrap();
        (out, runs)
    }

    #[test]
    fn what_does_not_fit_into_memory_is_sorted_all_the_same() {
        let keys: Vec<Vec<u8>> = (0..20_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
        let mut want: Vec<Vec<u8>> = keys.iter().map(|key| [b"line of ", &key[..]].concat()).collect();
        want.sort();
        for reverse in [false, true] {
            for (memory, spills) in [(usize::MAX, false), (50_000, true), (1, true)] {
                let some = if memory == 1 { &keys[..300] } else { &keys[..] };
                let mut want: Vec<Vec<u8>> =
                    if memory == 1 { some.iter().map(|k| [b"line of ", &k[..]].concat()).collect() } else { want.clone() };
                want.sort();
                if reverse {
                    want.reverse();
                }
                let (have, runs) = sorted(reverse, memory, some);
                assert_eq!(runs > 0, spills);
                assert!(have == want, "{reverse} {memory}");
            }
        }
        assert_eq!(sorted(false, 10, &[]).0.len(), 0);
    }

    #[test]
    fn a_file_has_no_name() {
        let dir = std::env::temp_dir().join(format!("seabed-sort-test-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        for file in [nameless(std::slice::from_ref(&dir)).unwrap(), unlinked(&dir).unwrap()] {
            file.write_all_at(b"names", 0).unwrap();
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        }
        std::fs::remove_dir(&dir).unwrap();
        assert!(nameless(&[dir]).is_err() && nameless(&[]).is_err());
    }

    #[test]
    fn keys_sort_as_they_are_called() {
        let entry = |name: &str, size: u64, secs: i64| {
            let mut entry = Entry::new(name.as_bytes(), EntryKind::File);
            (entry.size, entry.mtime) = (size, Time { secs, nanos: 5 });
            entry
        };
        let order = |by: By, entries: &[(&'static str, Entry)]| {
            let mut keys: Vec<_> = entries.iter().map(|(path, entry)| (by.key(path.as_bytes(), entry), *path)).collect();
            keys.sort();
            keys.into_iter().map(|(_, path)| path).collect::<Vec<_>>()
        };
        let all = [
            ("/a/x.tar", entry("x.tar", 9, -5)),
            ("/a-b", entry("a-b", 300, 7)),
            ("/a", entry("a", 0, 0)),
            ("/a/.hidden", entry(".hidden", 300, 1 << 40)),
            ("/b.PNG", entry("b.PNG", 1, -6)),
        ];
        assert_eq!(order(By::Name, &all), ["/a", "/a/.hidden", "/a/x.tar", "/a-b", "/b.PNG"]);
        assert_eq!(order(By::Size, &all), ["/a", "/b.PNG", "/a/x.tar", "/a/.hidden", "/a-b"]);
        assert_eq!(order(By::Time, &all), ["/b.PNG", "/a/x.tar", "/a", "/a-b", "/a/.hidden"]);
        assert_eq!(order(By::Extension, &all), ["/a", "/a/.hidden", "/a-b", "/b.PNG", "/a/x.tar"]);
    }
}
