//! Reading a tar archive: its entries in the order in which they come. Small files go to the workers in batches, long and sparse ones are cut
//! here, with the profiles that files of trees have, so that they deduplicate against those.
//! An archive that is not whole fails the run, whatever there was of it; an entry that cannot be stored costs that entry.

use crate::backup::flow::{Done, DoneContent, DoneItem, Todo};
use crate::backup::options::{Failure, StreamSource};
use crate::backup::reads::{BATCH_BYTES, BATCH_ENTRIES, COARSE_FILE_BYTES, ENTRY_COST, Reads, SMALL_FILE_BYTES, StreamEnd, facts, read_on};
use crate::chunk::Profile;
use crate::error::{Error, SourceError};
use crate::format::entry::{EntryKind, join, path_is_valid, split};
use crate::format::wire::Bytes;
use crate::observe::{Action, Observer};
use crate::pack::sink::Trouble;
use crate::source::WalkOptions;
use crate::source::roots::display;
use crate::source::stream::{Stream, StreamFailure};
use crate::source::tar::{Member, Next, TarError, TarReader, display_name};
use crate::source::unpacked;
use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

/// How much of the beginning of a large file is held while its profile is chosen. More of it cannot be seen beforehand.
const SAMPLED_BYTES: usize = 4 << 20;

/// The bytes of a stream, as long as the run is to go on, and their hash.
struct Input<'a> {
    stream: &'a mut dyn Stream,
    hasher: &'a mut blake3::Hasher,
    trouble: &'a Trouble,
    observer: &'a dyn Observer,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = read_on(self.stream, buffer, self.trouble, self.observer)?;
        self.hasher.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// What is told of an archive in messages: its own name, or that it has none.
fn named(source: &StreamSource) -> String {
    if source.name.is_empty() { "tar".to_owned() } else { display_name(&source.name) }
}

fn failure(name: &str, error: TarError) -> Failure {
    let name = name.to_owned();
    Failure::Stream(match error {
        TarError::Read(source) => StreamFailure::Read { name, source },
        TarError::Torn { at } => StreamFailure::Torn { name, at },
        TarError::Bad { at, what } => StreamFailure::NotTar { name, what, at },
    })
}

/// Entries that wait to be sent.
#[derive(Default)]
pub(super) struct Batch {
    pub items: Vec<(DoneItem, usize)>,
    pub data: Vec<u8>,
    /// The directory of the last entry: most often that of the next one too.
    dir: Option<Arc<[u8]>>,
}

impl Batch {
    pub fn dir(&mut self, dir: &[u8]) -> Arc<[u8]> {
        match &self.dir {
            Some(last) if **last == *dir => last.clone(),
            _ => self.dir.insert(dir.into()).clone(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ENTRIES || self.data.len() as u64 >= BATCH_BYTES
    }
}

/// Where an entry with this name would be: without `.` and double `/`, and with `..` followed as far as that does not climb.
fn place(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match (part, parts.last().copied()) {
            (b"" | b".", _) => {}
            (b"..", Some(last)) if last != b".." => {
                parts.pop();
            }
            (part, _) => parts.push(part),
        }
    }
    parts.join(&b'/')
}

impl Reads<'_> {
    /// Reads an archive to its end.
    pub(super) fn tar(&mut self, source: &StreamSource, (uid, gid): (u32, u32), walk: &WalkOptions) -> Result<StreamEnd, Failure> {
        let name = named(source);
        let open = source.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return Err(StreamFailure::Empty { name }.into()) };
        let mut stream = open()?;
        let mut hasher = blake3::Hasher::new();
        self.send_done(ENTRY_COST, Done::BeginTar)?;
        let (trouble, observer) = (self.flow.trouble, self.observer);
        let input = Input { stream: &mut *stream, hasher: &mut hasher, trouble, observer };
        let read = self.archive(source, &name, input, walk);
        // Given up, not failed: the stream is dropped, which ends its command.
        if read.is_err() {
            self.check()?;
        }
        // How the command ended says more than how its output did: a dump that died is why the archive is torn.
        let entries = match read {
            Ok(entries) => entries,
            // Where nothing came, nothing was torn off. That nothing was unpacked of what came says the opposite.
            Err(Failure::Stream(StreamFailure::Torn { .. })) if hasher.count() == 0 => 0,
            Err(failure @ Failure::Stream(StreamFailure::Torn { .. })) => {
                stream.finish()?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        let end = stream.finish()?;
        if entries == 0 && !source.allow_empty {
            return Err(StreamFailure::Empty { name }.into());
        }
        let stream = facts(source, "tar", (uid, gid), end, &hasher);
        self.send_done(ENTRY_COST, Done::EndTar(Box::new(stream.clone())))?;
        Ok(StreamEnd { name: source.name.clone(), stream })
    }

    /// Returns how many entries there were.
    fn archive(&mut self, source: &StreamSource, name: &str, input: Input<'_>, walk: &WalkOptions) -> Result<u64, Failure> {
        let failed = |error| failure(name, error);
        let input = unpacked(input).map_err(|error| failed(TarError::Read(error)))?;
        let input = input.map_err(|program| StreamFailure::Packed { name: name.to_owned(), program })?;
        let mut reader = TarReader::new(input);
        let mut batch = Batch { data: self.flow.segments.take(), ..Batch::default() };
        let mut entries = 0;
        loop {
            self.check()?;
            let member = match reader.next_entry().map_err(failed)? {
                Next::Member(member) => *member,
                Next::Refused { name: entry, why } => {
                    entries += 1;
                    self.refused(source, &entry, why);
                    continue;
                }
                Next::End => break,
            };
            entries += 1;
            self.member(source, member, &mut reader, &mut batch, walk).map_err(|error| match error {
                Stopped::Run(error) => error.into(),
                Stopped::Archive(error) => failed(error),
            })?;
            if batch.is_full() {
                self.flush_members(&mut batch)?;
            }
        }
        self.flush_members(&mut batch)?;
        self.flow.segments.give(batch.data);
        if reader.drain().map_err(failed)? {
            let what = "something lies behind the end of the archive, as where two are joined: it was left out (`tar -A` joins archives)";
            self.error(SourceError { path: display(&source.name), during: "read all of", source: io::Error::other(what) });
        }
        Ok(entries)
    }

    /// Records an entry that cannot be stored where it would be, whatever way its name goes there: a restore that deletes spares what is
    /// in that directory. One without a name counts for the archive itself.
    fn refused(&mut self, source: &StreamSource, entry: &[u8], why: &str) {
        let place = place(entry);
        let path = display(&if place.is_empty() { source.name.clone() } else { join(&source.name, &place) });
        self.error(SourceError { path, during: "store", source: io::Error::other(why.to_owned()) });
    }

    pub(super) fn flush_members(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let items = std::mem::take(&mut batch.items);
        if items.is_empty() {
            return Ok(());
        }
        let cost = batch.data.len() + items.len() * ENTRY_COST;
        let data = std::mem::replace(&mut batch.data, self.flow.segments.take());
        self.send_todo(cost, Todo::Members { items, data })
    }

    fn member(
        &mut self,
        source: &StreamSource,
        member: Member,
        reader: &mut TarReader<Box<dyn Read + '_>>,
        batch: &mut Batch,
        walk: &WalkOptions,
    ) -> Result<(), Stopped> {
        let Member { path, mut entry, link, map, lost } = member;
        // What the archive calls `.` is the directory that bears its name; without one it is the top, which is no entry.
        let path = match (&source.name[..], &path[..]) {
            (b"", b"") => return Ok(()),
            (name, b"") => name.to_vec(),
            (name, path) => join(name, path),
        };
        if !path_is_valid(&path) {
            self.refused(source, &path[source.name.len()..], "its path cannot be stored");
            return Ok(());
        }
        if walk.excludes.rejects(&path, false) {
            self.ends.excluded += 1;
            return Ok(());
        }
        let (dir, own) = split(&path);
        let dir = batch.dir(dir);
        entry.name = Bytes(own.to_vec());
        let item = |entry, content| DoneItem { dir: dir.clone(), entry, content, action: Action::New };
        if entry.kind == EntryKind::File && link.is_none() && walk.excludes.too_large(entry.size) {
            self.ends.excluded += 1;
            // One of that name that came before and was small enough is out of date. Patterns leave out all of a name.
            batch.items.push((item(entry, DoneContent::LeftOut), 0));
            return Ok(());
        }
        for what in lost {
            self.error(SourceError { path: display(&path), during: "store all of", source: io::Error::other(what) });
        }
        if !walk.with_atime {
            entry.atime = None;
        }
        if let Some(link) = link {
            batch.items.push((item(entry, DoneContent::SameAs(join(&source.name, &link))), 0));
            return Ok(());
        }
        if entry.kind != EntryKind::File {
            batch.items.push((item(entry, DoneContent::None), 0));
            return Ok(());
        }
        if entry.size <= SMALL_FILE_BYTES && map.is_none() {
            let before = batch.data.len();
            while reader.append(&mut batch.data, usize::MAX)? > 0 {}
            batch.items.push((item(entry, DoneContent::Chunks(Vec::new())), batch.data.len() - before));
            return Ok(());
        }
        self.flush_members(batch)?;
        let profile = self.long_member(entry.size, map.as_deref(), reader)?;
        entry.profile = profile.code();
        self.send_done(ENTRY_COST, Done::Items { items: vec![item(entry, DoneContent::Gathered)], data: Vec::new() })?;
        Ok(())
    }

    /// Sends content piece by piece. Returns how it was cut.
    fn long_member(
        &mut self,
        size: u64,
        map: Option<&[(u64, u64)]>,
        reader: &mut TarReader<Box<dyn Read + '_>>,
    ) -> Result<Profile, Stopped> {
        let mut ahead = Vec::new();
        if size >= COARSE_FILE_BYTES {
            let mut room = SAMPLED_BYTES;
            while room > 0 {
                match reader.append(&mut ahead, room)? {
                    0 => break,
                    bytes => room -= bytes,
                }
            }
        }
        let coarse = size >= COARSE_FILE_BYTES && !self.probe.shrinks(&sample(&ahead, size, map));
        let profile = if coarse { Profile::Coarse } else { Profile::Normal };
        let mut from_ahead = 0;
        let mut at = 0;
        for (offset, bytes) in map.unwrap_or(&[(0, size)]) {
            if *offset > at {
                self.send_done(64, Done::Hole(offset - at))?;
            }
            at = offset + bytes;
            let mut left = *bytes;
            let read = self.cut_all(profile, |data| {
                let room = ((data.capacity() - data.len()) as u64).min(left) as usize;
                let held = &ahead[from_ahead..];
                let got = if held.is_empty() {
                    reader.append(data, room)?
                } else {
                    let bytes = held.len().min(room);
                    data.extend_from_slice(&held[..bytes]);
                    from_ahead += bytes;
                    bytes
                };
                left -= got as u64;
                Ok::<_, TarError>(got)
            })?;
            read?;
        }
        if size > at {
            self.send_done(64, Done::Hole(size - at))?;
        }
        Ok(profile)
    }
}

/// Eight places of a file, as of one of a tree: holes where there are holes, and of what has not come yet, what has.
pub(super) fn sample(ahead: &[u8], size: u64, map: Option<&[(u64, u64)]>) -> Vec<u8> {
    const PLACES: u64 = 8;
    const PLACE_BYTES: usize = 8 << 10;
    let mut sample = Vec::with_capacity(PLACES as usize * PLACE_BYTES);
    for place in 0..PLACES {
        let at = size / PLACES * place;
        if map.is_some_and(|map| !map.iter().any(|(offset, bytes)| (*offset..offset + bytes).contains(&at))) {
            sample.resize(sample.len() + PLACE_BYTES, 0);
            continue;
        }
        let from = ahead.len() / PLACES as usize * place as usize;
        sample.extend_from_slice(&ahead[from..ahead.len().min(from + PLACE_BYTES)]);
    }
    sample
}

/// Why an archive is not read on.
enum Stopped {
    Run(Error),
    Archive(TarError),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Run(error)
    }
}

impl From<TarError> for Stopped {
    fn from(error: TarError) -> Self {
        Stopped::Archive(error)
    }
}
