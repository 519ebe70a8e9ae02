//! Reading a bucket: first all of its listing, then in the order of the tree what is not as the parent has it. Several requests are under way
//! ahead of what is taken in: a store answers late, and one after the other a million small objects would take days.
//! An object that cannot be read costs itself, a bucket that cannot be listed fails the run: what is not listed would count as deleted.

use crate::backup::flow::{Done, DoneContent, DoneItem};
use crate::backup::listing::{Found, Listing, place};
use crate::backup::options::{BackupOptions, Failure, ObjectSource};
use crate::backup::parent::{ParentJoin, Tree, action, inherit};
use crate::backup::reads::tar::{Batch, sample};
use crate::backup::reads::{COARSE_FILE_BYTES, ENTRY_COST, Reads, SMALL_FILE_BYTES, StreamEnd};
use crate::chunk::Profile;
use crate::error::{Error, SourceError};
use crate::format::entry::{Entry, EntryKind, STATUS_UNREADABLE, join};
use crate::format::manifest::Stream;
use crate::observe::{Action, Observer};
use crate::pack::sink::Trouble;
use crate::repository::selection::Selection;
use crate::source::objects::attributes::to_xattrs;
use crate::source::objects::{Headers, Listed, Object, Objects, Part, Unread};
use crate::source::roots::display;
use crate::source::stream::StreamFailure;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How much of a long object one request reads, and of how much of its beginning its profile is chosen. With parts of 4 MiB a run took 50 MB
/// more, for every thread that fetches keeps what it once had, and was no faster 20 ms away.
const PART_BYTES: u64 = 1 << 20;
/// What is asked for ahead of what is taken in, bytes and requests.
const AHEAD_BYTES: u64 = 8 << 20;
const AHEAD_REQUESTS: usize = 32;
/// Entries that wait for one before them.
const AHEAD_ENTRIES: usize = 4096;
/// Who found nothing to wait for looks again whether the run goes on.
const LOOK: Duration = Duration::from_millis(100);
/// Permission bits of directories: as those of streams, nobody else's.
const DIRECTORY_MODE: u32 = 0o700;

type Answer = Result<Part, Unread>;

/// A request to be made.
struct Job {
    object: Arc<Object>,
    range: Range<u64>,
    to: Sender<Answer>,
}

/// An entry whose turn comes.
struct Next {
    dir: Arc<[u8]>,
    entry: Entry,
    action: Action,
    what: What,
}

enum What {
    /// It is complete.
    Known(DoneContent),
    /// It is being read.
    Read(Reading),
}

/// An object that is being read.
struct Reading {
    object: Arc<Object>,
    /// How it was cut before.
    profile: Option<u8>,
    parts: VecDeque<(u64, Receiver<Answer>)>,
    /// So much of it was asked for.
    asked: u64,
}

/// What is under way.
struct Ahead {
    queue: VecDeque<Next>,
    jobs: Sender<Job>,
    bytes: u64,
    requests: usize,
}

impl Reading {
    fn is_asked(&self) -> bool {
        self.asked >= self.object.size && (self.asked > 0 || !self.parts.is_empty())
    }
}

impl Ahead {
    fn is_full(&self) -> bool {
        self.bytes >= AHEAD_BYTES || self.requests >= AHEAD_REQUESTS || self.queue.len() >= AHEAD_ENTRIES
    }

    /// Asks for the next part of an object.
    fn ask(jobs: &Sender<Job>, reading: &mut Reading) -> u64 {
        let end = reading.object.size.min(reading.asked + PART_BYTES);
        let (to, from) = bounded(1);
        let range = reading.asked..end;
        let bytes = end - reading.asked;
        // Where nobody takes it any more there is no answer either, which says the same.
        jobs.send(Job { object: reading.object.clone(), range, to }).unwrap_or(());
        reading.parts.push_back((bytes, from));
        reading.asked = end;
        bytes
    }

    /// Asks for as much as may be under way: first of `front`, whose turn it is.
    fn fill(&mut self, front: Option<&mut Reading>) {
        let rest = self.queue.iter_mut().filter_map(|next| if let What::Read(reading) = &mut next.what { Some(reading) } else { None });
        for reading in front.into_iter().chain(rest) {
            while !reading.is_asked() {
                // Something is always under way for whoever is waited for.
                let full = self.bytes >= AHEAD_BYTES || self.requests >= AHEAD_REQUESTS;
                if full && self.requests > 0 {
                    return;
                }
                self.bytes += Self::ask(&self.jobs, reading);
                self.requests += 1;
            }
        }
    }

    /// The next part of the object whose turn it is; `None` at its end.
    fn part(&mut self, reading: &mut Reading, (trouble, observer): (&Trouble, &dyn Observer)) -> Result<Option<Part>, Unread> {
        self.fill(Some(reading));
        if reading.parts.is_empty() && !reading.is_asked() {
            // All that may be under way is of objects behind it.
            self.bytes += Self::ask(&self.jobs, reading);
            self.requests += 1;
        }
        let Some((bytes, from)) = reading.parts.pop_front() else { return Ok(None) };
        let answer = loop {
            match from.recv_timeout(LOOK) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if !(trouble.is_set() || observer.interrupted()) => {}
                Err(_) => break Err(Unread::Store(Error::Interrupted)),
            }
        };
        self.took(bytes);
        answer.map(Some)
    }

    /// Nobody wants what else was asked for of an object.
    fn leave(&mut self, reading: &mut Reading) {
        for (bytes, _) in std::mem::take(&mut reading.parts) {
            self.took(bytes);
        }
    }

    fn took(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.requests -= 1;
    }
}

/// Answers one request after the other.
fn fetch(objects: &dyn Objects, jobs: &Receiver<Job>) {
    for Job { object, range, to } in jobs {
        // What was asked for ahead of an object that failed nobody waits for.
        to.send(objects.read(&object, range)).unwrap_or(());
    }
}

/// What a bucket's listing is to be left with.
struct Choice<'a> {
    selection: Selection,
    source: &'a ObjectSource,
    options: &'a BackupOptions,
}

impl Choice<'_> {
    fn takes(&self, path: &[u8], object: &Object) -> bool {
        let excludes = &self.options.walk.excludes;
        let stored = if self.source.name.is_empty() { path.to_vec() } else { join(&self.source.name, path) };
        self.selection.wants(path) && !excludes.rejects(&stored, false) && !excludes.too_large(object.size)
    }
}

fn failure(source: &ObjectSource, error: Error) -> Failure {
    match error {
        Error::Interrupted | Error::Aside { .. } => error.into(),
        source_error => StreamFailure::Bucket { name: name_of(source), source: source_error }.into(),
    }
}

fn name_of(source: &ObjectSource) -> String {
    if source.name.is_empty() { source.place.clone() } else { String::from_utf8_lossy(&source.name).into_owned() }
}

impl Reads<'_> {
    /// Reads a bucket.
    pub(super) fn objects(&mut self, source: &ObjectSource, options: &BackupOptions) -> Result<StreamEnd, Failure> {
        let mut facts = Stream { place: source.place.clone(), ..Stream::new("s3", options.uid_gid, crate::clock::now()) };
        let selection = Selection::new(&source.include, &source.exclude)?;
        let listing = self.listed(&Choice { selection, source, options })?;
        self.send_done(ENTRY_COST, Done::BeginObjects(Box::new(facts.clone())))?;
        let (jobs, todo) = unbounded();
        let ahead = Ahead { queue: VecDeque::new(), jobs, bytes: 0, requests: 0 };
        let compared = self.compared;
        let mut join = ParentJoin::new(compared.reader, compared.parents.all(), Tree::Named(&source.name), options);
        let hash = std::thread::scope(|scope| {
            for _ in 0..AHEAD_REQUESTS {
                let todo = todo.clone();
                scope.spawn(move || fetch(&*source.objects, &todo));
            }
            let taken = Taking { reads: self, source, ahead, batch: Batch::default(), archived: (0, String::new()) }
                .all(&listing, &mut join, options);
            if taken.is_err() {
                source.objects.give_up();
            }
            taken
        })?;
        facts.hash = hash;
        self.parent_failed(join.failure.take());
        self.send_done(ENTRY_COST, Done::EndObjects(Box::new(facts.clone())))?;
        Ok(StreamEnd { name: source.name.clone(), stream: facts })
    }

    fn listed(&mut self, choice: &Choice<'_>) -> Result<Listing, Failure> {
        let source = choice.source;
        let mut listing = Listing::new(&source.name)?;
        let (mut count, mut excluded) = (0u64, 0);
        // Told once the listing is whole.
        let mut refused: Vec<String> = Vec::new();
        let listed = source.objects.list(&mut |listed| {
            self.check()?;
            let object = match listed {
                Listed::Object(object) => object,
                Listed::Again => {
                    (count, excluded) = (0, 0);
                    refused.clear();
                    return listing.clear();
                }
            };
            count += 1;
            let Some((path, marks)) = place(&object) else {
                refused.push(object.key);
                return Ok(());
            };
            if !choice.takes(&path, &object) {
                excluded += 1;
                return Ok(());
            }
            if !listing.take(&object, (&path, marks))? {
                refused.push(object.key);
            }
            Ok(())
        });
        if let Err(error) = listed {
            self.check()?;
            return Err(failure(source, error));
        }
        for key in refused {
            let path = display(&join(&source.name, key.as_bytes()));
            self.error(SourceError { path, during: "store", source: io::Error::other("its key is longer than any path") });
        }
        self.ends.excluded += excluded;
        if count == 0 && !source.allow_empty {
            return Err(StreamFailure::Empty { name: name_of(source) }.into());
        }
        Ok(listing)
    }
}

/// A bucket whose objects are taken in.
struct Taking<'r, 'a, 's> {
    reads: &'r mut Reads<'a>,
    source: &'s ObjectSource,
    ahead: Ahead,
    batch: Batch,
    /// How many objects are archived, and the first of them.
    archived: (u64, String),
}

impl Taking<'_, '_, '_> {
    /// Takes in all that was listed. Returns the hash of the listing.
    fn all(mut self, listing: &Listing, parent: &mut ParentJoin<'_>, options: &BackupOptions) -> Result<[u8; 32], Failure> {
        self.batch.data = self.reads.flow.segments.take();
        let mut hasher = blake3::Hasher::new();
        listing.each::<Failure>(|dir, found| {
            self.reads.check()?;
            if let Some(object) = &found.object {
                for part in [&join(dir, &found.name)[..], object.size.to_string().as_bytes(), object.etag.as_bytes()] {
                    hasher.update(part).update(b"\0");
                }
            }
            self.plan(dir, found, parent, options.uid_gid);
            self.ahead.fill(None);
            while self.ahead.is_full() || self.ahead.queue.front().is_some_and(|next| matches!(next.what, What::Known(_))) {
                self.first()?;
            }
            Ok(())
        })?;
        while !self.ahead.queue.is_empty() {
            self.first()?;
        }
        self.reads.flush_members(&mut self.batch)?;
        self.reads.flow.segments.give(self.batch.data);
        let (count, first) = self.archived;
        if count > 0 {
            let objects = if count == 1 { "object is" } else { "objects are" };
            self.reads.observer.warning(&format!(
                "{count} {objects} archived and were left out of `{}`, first {first}: what is to be backed up must be brought back before",
                name_of(self.source)
            ));
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Puts an entry in the queue.
    fn plan(&mut self, dir: &[u8], found: Found, parent: &mut ParentJoin<'_>, (uid, gid): (u32, u32)) {
        let kind = if found.directory { EntryKind::Directory } else { EntryKind::File };
        let mut entry = Entry { uid, gid, ..Entry::new(&found.name, kind) };
        entry.mode = if found.directory { DIRECTORY_MODE } else { 0o600 };
        let prior = parent.find(dir, &found.name);
        let dir = self.batch.dir(dir);
        let Some(object) = found.object else {
            entry.implied = true;
            let same = prior.as_ref().is_some_and(|prior| prior.entry == entry);
            let action = action(prior.as_ref().map(|prior| &prior.entry), same);
            return self.ahead.queue.push_back(Next { dir, entry, action, what: What::Known(DoneContent::None) });
        };
        (entry.mtime, entry.size) = (object.mtime, object.size);
        let same = prior.as_ref().is_some_and(|prior| parent.same_object(&entry, &object.etag, prior));
        let mut act = action(prior.as_ref().map(|prior| &prior.entry), same);
        let mut profile = None;
        if let Some(prior) = prior {
            profile = Some(prior.entry.profile);
            let known = match (same, prior.content) {
                (false, _) => None,
                (true, None) if found.directory => Some(DoneContent::None),
                // Its chunks may be gone: then it is read again, which heals.
                (true, content) => content.filter(|content| parent.is_stored(content)).map(DoneContent::Known),
            };
            if let Some(content) = known {
                inherit(&mut entry, prior.entry);
                return self.ahead.queue.push_back(Next { dir, entry, action: act, what: What::Known(content) });
            }
            act = Action::Changed;
        }
        if object.archived {
            return self.left_out(&dir, &entry);
        }
        let reading = Reading { object: Arc::new(object), profile, parts: VecDeque::new(), asked: 0 };
        self.ahead.queue.push_back(Next { dir, entry, action: act, what: What::Read(reading) });
    }

    fn left_out(&mut self, dir: &[u8], entry: &Entry) {
        if self.archived.0 == 0 {
            self.archived.1 = display(&join(dir, &entry.name.0)).display().to_string();
        }
        self.archived.0 += 1;
        self.reads.ends.archived += 1;
    }

    /// Takes in the first of the queue.
    fn first(&mut self) -> Result<(), Failure> {
        let Some(Next { dir, entry, action, what }) = self.ahead.queue.pop_front() else { return Ok(()) };
        match what {
            What::Known(content) => self.push(DoneItem { dir, entry, content, action }, 0)?,
            What::Read(mut reading) => {
                let mut next = Next { dir, entry, action, what: What::Known(DoneContent::None) };
                let watch = (self.reads.flow.trouble, self.reads.observer);
                let Taking { reads, ahead, batch, .. } = self;
                let profile = reading.profile;
                let taken = reads.take_in(batch, &mut next, profile, &mut || ahead.part(&mut reading, watch))?;
                self.ahead.leave(&mut reading);
                let taken = match taken {
                    Err(Unread::Changed) => self.once_more(&mut next, &reading)?,
                    taken => taken,
                };
                self.ended(next, &reading.object, taken)?;
            }
        }
        Ok(())
    }

    /// Reads an object that was another one than the listing says, as it is now.
    fn once_more(&mut self, next: &mut Next, reading: &Reading) -> Result<Result<Taken, Unread>, Failure> {
        let objects = &*self.source.objects;
        let object = match objects.look(&reading.object.key) {
            Ok(object) => object,
            Err(unread) => return Ok(Err(unread)),
        };
        // What marked a directory has content now: where it would go is not known before the next listing.
        if next.entry.kind == EntryKind::Directory && object.size > 0 {
            return Ok(Err(Unread::Changed));
        }
        (next.entry.mtime, next.entry.size) = (object.mtime, object.size);
        let mut at = 0;
        let mut part = || {
            if at >= object.size && at > 0 {
                return Ok(None);
            }
            let end = object.size.min(at + PART_BYTES);
            let part = objects.read(&object, at..end);
            at = end.max(1);
            part.map(Some)
        };
        let taken = self.reads.take_in(&mut self.batch, next, reading.profile, &mut part)?;
        Ok(taken.map(|taken| Taken { etag: Some(object.etag.clone()), ..taken }))
    }

    /// What became of an object that was to be read.
    fn ended(&mut self, next: Next, object: &Object, taken: Result<Taken, Unread>) -> Result<(), Failure> {
        let Next { dir, mut entry, action, .. } = next;
        let path = || display(&join(&dir, &entry.name.0));
        let unread = match taken {
            Ok(Taken { etag, headers, content, bytes }) => {
                let (xattrs, lost) = to_xattrs(etag.as_deref().unwrap_or(&object.etag), &headers);
                for name in lost {
                    let source = io::Error::other(format!("its attribute {name} is too long to be kept"));
                    self.reads.error(SourceError { path: path(), during: "store all of", source });
                }
                entry.xattrs = xattrs;
                let gathered = matches!(content, DoneContent::Gathered);
                let item = DoneItem { dir, entry, content, action };
                return match gathered {
                    // Its end travels behind its segments.
                    true => Ok(self.reads.send_done(ENTRY_COST, Done::Items { items: vec![item], data: Vec::new() })?),
                    false => Ok(self.push(item, bytes)?),
                };
            }
            Err(unread) => unread,
        };
        let error = match unread {
            Unread::Archived => {
                self.left_out(&dir, &entry);
                return Ok(());
            }
            Unread::Store(error) => {
                self.reads.check()?;
                return Err(failure(self.source, error));
            }
            Unread::Gone => {
                let source = io::Error::new(io::ErrorKind::NotFound, "it was deleted after it was listed");
                self.reads.error(SourceError { path: path(), during: "read", source });
                return Ok(());
            }
            Unread::Changed => io::Error::other("it changed while it was read, twice"),
            Unread::Refused(why) => io::Error::other(why),
        };
        self.reads.error(SourceError { path: path(), during: "read", source: error });
        entry.status = STATUS_UNREADABLE;
        Ok(self.push(DoneItem { dir, entry, content: DoneContent::None, action }, 0)?)
    }

    fn push(&mut self, item: DoneItem, bytes: usize) -> Result<(), Error> {
        self.batch.items.push((item, bytes));
        if self.batch.is_full() { self.reads.flush_members(&mut self.batch) } else { Ok(()) }
    }
}

/// An object that was read.
struct Taken {
    /// Its ETag, where it is another one than was listed.
    etag: Option<String>,
    headers: Headers,
    content: DoneContent,
    /// How much of it lies in the batch.
    bytes: usize,
}

impl Reads<'_> {
    /// Reads an object part by part: a short one into the batch, a long one in segments. Nothing of one that cannot be read is left.
    fn take_in(
        &mut self,
        batch: &mut Batch,
        next: &mut Next,
        profile: Option<u8>,
        part: &mut dyn FnMut() -> Result<Option<Part>, Unread>,
    ) -> Result<Result<Taken, Unread>, Failure> {
        let first = match part() {
            Ok(Some(first)) => first,
            Ok(None) => Part { bytes: Vec::new(), headers: Headers::new() },
            Err(unread) => return Ok(Err(unread)),
        };
        let Part { bytes, headers } = first;
        if next.entry.kind == EntryKind::Directory {
            return Ok(Ok(Taken { etag: None, headers, content: DoneContent::None, bytes: 0 }));
        }
        let size = next.entry.size;
        if size <= SMALL_FILE_BYTES {
            batch.data.extend_from_slice(&bytes);
            return Ok(Ok(Taken { etag: None, headers, content: DoneContent::Chunks(Vec::new()), bytes: bytes.len() }));
        }
        self.flush_members(batch)?;
        let mut coarse = || size >= COARSE_FILE_BYTES && !self.probe.shrinks(&sample(&bytes, size, None));
        let known = profile.and_then(Profile::from_code);
        let profile = known.unwrap_or_else(|| if coarse() { Profile::Coarse } else { Profile::Normal });
        next.entry.profile = profile.code();
        let (mut bytes, mut from) = (bytes, 0);
        let read = self.cut_all(profile, |data| {
            if from == bytes.len() {
                match part()? {
                    Some(next) => (bytes, from) = (next.bytes, 0),
                    None => return Ok(0),
                }
            }
            let room = (data.capacity() - data.len()).min(bytes.len() - from);
            data.extend_from_slice(&bytes[from..from + room]);
            from += room;
            Ok::<_, Unread>(room)
        })?;
        match read {
            Ok(_) => Ok(Ok(Taken { etag: None, headers, content: DoneContent::Gathered, bytes: 0 })),
            Err(unread) => {
                self.send_done(ENTRY_COST, Done::Forget)?;
                Ok(Err(unread))
            }
        }
    }
}
