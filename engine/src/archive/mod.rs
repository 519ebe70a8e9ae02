//! A tree of a snapshot as one archive, tar or zip, written to an output that is never turned back: a pipe will do.
//! One thread walks the tree, workers fetch, verify and (for zip) compress, this one writes in order. Nothing of a file is written before it
//! is known that all of it can be had, or the archive is left without its end: one that is not whole never looks whole.

mod plan;
mod tar;
mod zip;

use crate::archive::plan::{Member, Plan, Word};
use crate::archive::tar::TarWriter;
use crate::archive::zip::{Packed, Packer, ZipWriter};
use crate::error::{Damage, Error, Result};
use crate::format::entry::EntryKind;
use crate::format::manifest::ROOT_STREAM;
use crate::id::ObjectName;
use crate::observe::{Action, Observer, Progress, Stage};
use crate::repository::Repository;
use crate::repository::entries::is_below;
use crate::repository::ordered::{Got, Part, Planner, in_order, write_zeros};
use crate::repository::selection::{Pattern, Selection};
use crate::repository::selector::Selected;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

/// Bytes that are written at a time, where they come in smaller pieces.
const WRITE_BYTES: usize = 128 << 10;
/// Zeros that are written without a look at whether the user wants to stop.
const ZEROS_BYTES: u64 = 64 << 20;
/// Errors that are kept word for word.
const ERRORS_KEPT: usize = 1000;

/// The kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// POSIX tar with extended headers (pax), as GNU tar, bsdtar and Python read it.
    Tar,
    /// Zip with 64-bit sizes where they are needed.
    Zip,
}

impl Format {
    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Format::Tar => "tar",
            Format::Zip => "zip",
        }
    }
}

/// What goes into an archive, and how.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// The kind.
    pub format: Format,
    /// Only what is at or below this path of what is selected; empty for all of it. Names in the archive begin where the selection does.
    pub below: Vec<u8>,
    /// Only what matches one of these, if there are any. Paths are those in the archive, here and in `exclude`.
    pub include: Vec<Pattern>,
    /// Nothing that matches one of these.
    pub exclude: Vec<Pattern>,
    /// Owners by number alone.
    pub numeric_owner: bool,
    /// Extended attributes and ACLs; tar only.
    pub xattrs: bool,
    /// After damage, go on with all that is left.
    pub keep_going: bool,
}

impl ArchiveOptions {
    /// All of what is selected, with all that is known of it.
    pub fn new(format: Format) -> Self {
        let (below, include, exclude) = Default::default();
        ArchiveOptions { format, below, include, exclude, numeric_owner: false, xattrs: true, keep_going: false }
    }
}

/// What was written.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// Files, links and nodes in the archive.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Content of the files in it, holes included.
    pub bytes: u64,
    /// Length of the archive.
    pub bytes_written: u64,
    /// Files that the snapshot itself does not hold: they could not be read when it was made.
    pub files_not_stored: u64,
    /// What an archive of this kind cannot hold: word, how many, the first of them. Sockets are none of these.
    pub left_out: Vec<(&'static str, u64, Vec<u8>)>,
    /// Sockets, which no archive holds: they are made by who listens on them.
    pub sockets: u64,
    /// The first errors.
    pub errors: Vec<Error>,
    /// How many there were.
    pub error_count: u64,
}

/// What planner and writer both report into.
struct Shared<'a> {
    observer: &'a dyn Observer,
    keep_going: bool,
    report: Mutex<ArchiveReport>,
}

impl Shared<'_> {
    fn report(&self) -> std::sync::MutexGuard<'_, ArchiveReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an error. The result is an error itself where the archive is to end with it.
    fn error(&self, place: &[u8], error: Error) -> Result<()> {
        if error.ends_run() && !self.keep_going || matches!(error, Error::Interrupted) {
            return Err(error);
        }
        let nth = {
            let mut report = self.report();
            report.error_count += 1;
            report.error_count
        };
        if nth <= ERRORS_KEPT as u64 {
            self.observer.item_error(place, &error);
            self.report().errors.push(error);
        }
        Ok(())
    }

    /// Records what kept an entry from being written.
    fn lost(&self, place: &[u8], error: Error) -> Result<()> {
        let shown = [b"/", place].concat();
        self.error(
            place,
            match error {
                error @ (Error::Lost { .. } | Error::Interrupted) => error,
                other => Error::Lost { path: OsStr::from_bytes(&shown).into(), source: other.into() },
            },
        )
    }
}

/// Whether streams lie below the path that is selected: then it is a directory, though it has no entry of its own.
pub fn has_streams(selected: &Selected) -> bool {
    let streams = selected.snapshot.names.roots.iter().filter(|root| root.kind == ROOT_STREAM);
    streams.into_iter().any(|root| root.name.0.len() > selected.path.len() && is_below(&selected.path, &root.name.0))
}

/// Writes what is selected to `out`. After an error what was written is no archive, and no reader takes it for one.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::archive::{ArchiveOptions, Format, archive};
/// use seabed_engine::Silent;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// let selected = repository.select("latest:/home/ann/mail", &Default::default())?;
/// let mut tar = Vec::new();
/// let report = archive(&repository, &selected, &ArchiveOptions::new(Format::Tar), &mut tar, &Silent)?;
/// assert_eq!((report.files, report.bytes_written), (1, tar.len() as u64));
/// assert!(tar.windows(10).any(|bytes| bytes == b"letter.txt"));
/// # Ok(())
/// # }
/// ```
pub fn archive(
    repository: &Repository,
    selected: &Selected,
    options: &ArchiveOptions,
    out: &mut (dyn Write + Send),
    observer: &dyn Observer,
) -> Result<ArchiveReport> {
    archive_as_it_is(repository, selected, options, out, observer)
        .map_err(|error| repository.unless_forgotten(&selected.snapshot.id, error))
}

fn archive_as_it_is(
    repository: &Repository,
    selected: &Selected,
    options: &ArchiveOptions,
    out: &mut (dyn Write + Send),
    observer: &dyn Observer,
) -> Result<ArchiveReport> {
    let selection = Selection::new(&options.include, &options.exclude)?;
    let reader = repository.reader()?;
    let shared = Shared { observer, keep_going: options.keep_going, report: Mutex::default() };
    let out = Counted { out: BufWriter::with_capacity(WRITE_BYTES, out), written: 0 };
    let to = match options.format {
        Format::Tar => To::Tar(TarWriter::new(out, (options.numeric_owner, options.xattrs))),
        Format::Zip => To::Zip(ZipWriter::new(out)),
    };
    let snapshot = ObjectName::snapshot(&selected.snapshot.id);
    let mut writing = Writing { to, shared: &shared, long: None, left_out: HashSet::new(), snapshot };
    let plan = |planner: &mut Planner<'_, Word>| {
        let mut plan = Plan::new(planner, selected, options, &selection, &shared);
        match plan.all() {
            Err(plan::Stopped::Error(error)) => Err(error),
            Ok(()) | Err(plan::Stopped::GaveUp) => Ok(()),
        }
    };
    let format = options.format;
    let maker = || {
        let mut packer = (format == Format::Zip).then(Packer::default);
        move |slices: &mut dyn Iterator<Item = &[u8]>| packer.as_mut().map(|packer| packer.pack(slices))
    };
    let written = in_order(repository, &reader, plan, maker, |part| writing.take(part));
    // A planner that has its last word has sent all of the last file.
    let written = match (written, &writing.long) {
        (Ok(()), Some(_)) => Err(Error::SelfCheck { what: "the end of a file in an archive" }),
        (written, _) => written,
    };
    if let Err(error) = written {
        writing.to.tear();
        return Err(error);
    }
    let bytes_written = writing.to.finish().map_err(|source| Error::Output { source })?;
    let mut report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.bytes_written = bytes_written;
    Ok(report)
}

/// An output that knows how much went into it.
struct Counted<'o> {
    out: BufWriter<&'o mut (dyn Write + Send)>,
    written: u64,
}

impl Counted<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Where a member goes.
enum To<'o> {
    Tar(TarWriter<'o>),
    Zip(ZipWriter<'o>),
}

/// A part as it comes here.
type Fetched = Part<Word, Option<Packed>>;

/// A stretch of a member's content.
enum Bytes<'p> {
    /// Bytes that are in a part, and for a zip what became of them.
    Some { part: &'p Fetched, at: &'p Range<usize>, bytes: u64, made: Option<&'p Packed> },
    /// So many zeros.
    Zeros(u64),
}

impl<'p> Bytes<'p> {
    /// Of what was got; `None` where that is no content.
    fn of(part: &'p Fetched, got: &'p Got<Word, Option<Packed>>) -> Option<Self> {
        match got {
            Got::Bytes { at, bytes, made } => Some(Bytes::Some { part, at, bytes: *bytes, made: made.as_ref() }),
            Got::Zeros(bytes) => Some(Bytes::Zeros(*bytes)),
            Got::Say(_) | Got::Lost(_) => None,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Bytes::Some { bytes, .. } | Bytes::Zeros(bytes) => *bytes,
        }
    }

    /// Puts the bytes themselves.
    fn put(&self, out: &mut Counted<'_>) -> io::Result<()> {
        match self {
            Bytes::Some { part, at, .. } => part.slices(at).try_for_each(|slice| out.put(slice)),
            Bytes::Zeros(bytes) => {
                out.written += bytes;
                write_zeros(*bytes, &mut out.out)
            }
        }
    }
}

impl To<'_> {
    /// Begins a member whose content comes piece by piece.
    fn begin(&mut self, member: &Member) -> io::Result<()> {
        match self {
            To::Tar(tar) => tar.begin(member),
            To::Zip(zip) => zip.begin(member),
        }
    }

    fn bytes(&mut self, bytes: &Bytes<'_>) -> io::Result<()> {
        match self {
            To::Tar(tar) => tar.bytes(bytes),
            To::Zip(zip) => zip.bytes(bytes),
        }
    }

    /// Ends the member.
    fn end(&mut self) -> io::Result<()> {
        match self {
            To::Tar(tar) => tar.end(),
            To::Zip(zip) => zip.end(),
        }
    }

    /// Writes a member whose content is all there.
    fn whole(&mut self, member: &Member, content: &[Bytes<'_>]) -> io::Result<()> {
        match self {
            To::Tar(tar) => {
                tar.begin(member)?;
                content.iter().try_for_each(|bytes| tar.bytes(bytes))?;
                tar.end()
            }
            To::Zip(zip) => zip.whole(member, content),
        }
    }

    /// Ends the archive. Returns its length.
    fn finish(&mut self) -> io::Result<u64> {
        match self {
            To::Tar(tar) => tar.finish(),
            To::Zip(zip) => zip.finish(),
        }
    }

    /// Leaves what was written as something that no reader takes for an archive.
    fn tear(&mut self) {
        match self {
            // The reason was said; that this cannot be written either says nothing new.
            To::Tar(tar) => tar.tear().unwrap_or(()),
            // Without its end a zip archive is none.
            To::Zip(zip) => zip.flush().unwrap_or(()),
        }
    }
}

/// A file that is longer than a part.
struct Long {
    member: Box<Member>,
    stored: u64,
    written: u64,
}

/// What takes parts and writes them.
struct Writing<'a, 'o> {
    to: To<'o>,
    shared: &'a Shared<'a>,
    long: Option<Long>,
    /// Places of files of which other entries would be links, and that are not there.
    left_out: HashSet<Vec<u8>>,
    snapshot: ObjectName,
}

impl Writing<'_, '_> {
    fn take(&mut self, mut part: Fetched) -> Result<()> {
        if self.shared.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let mut got = std::mem::take(&mut part.got).into_iter().peekable();
        while let Some(next) = got.next() {
            match next {
                Got::Say(Word::Whole(member)) => {
                    let mut content = Vec::new();
                    while let Some(next) = got.next_if(|got| !matches!(got, Got::Say(_))) {
                        content.push(next);
                    }
                    self.whole(&part, &member, content)?;
                }
                Got::Say(Word::Begin(member)) => {
                    self.to.begin(&member).map_err(output)?;
                    self.long = Some(Long { stored: member.stored(), member, written: 0 });
                }
                Got::Say(Word::End) => self.end_long()?,
                Got::Lost(error) => return Err(self.torn(error)),
                got @ (Got::Bytes { .. } | Got::Zeros(_)) => self.piece(&part, &got)?,
            }
        }
        let report = self.shared.report();
        let (files_done, bytes, errors) = (report.files, report.bytes, report.error_count);
        drop(report);
        let bytes_done = bytes.saturating_add(self.long.as_ref().map_or(0, |long| long.written));
        self.shared.observer.progress(&Progress { stage: Stage::Working, files_done, bytes_done, errors, ..Progress::default() });
        Ok(())
    }

    fn wrong_length(&self) -> Error {
        Error::damaged(&self.snapshot, Damage::Malformed("length of a file"))
    }

    /// The archive holds the beginning of a file already: there is no going on.
    fn torn(&self, error: Error) -> Error {
        let path = self.long.as_ref().map(|long| [b"/", &long.member.place[..]].concat()).unwrap_or_default();
        Error::Lost { path: OsStr::from_bytes(&path).into(), source: error.into() }
    }

    /// A piece of a long file.
    fn piece(&mut self, part: &Fetched, got: &Got<Word, Option<Packed>>) -> Result<()> {
        let (Some(long), Some(bytes)) = (&mut self.long, Bytes::of(part, got)) else {
            return Err(Error::SelfCheck { what: "the content of an archive" });
        };
        long.written = long.written.saturating_add(bytes.len());
        // More than it said would make something else of what follows in the archive.
        if long.written > long.stored {
            return Err(self.torn(self.wrong_length()));
        }
        let Bytes::Zeros(mut left) = bytes else { return self.to.bytes(&bytes).map_err(output) };
        while left > 0 {
            if self.shared.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let step = left.min(ZEROS_BYTES);
            self.to.bytes(&Bytes::Zeros(step)).map_err(output)?;
            left -= step;
        }
        Ok(())
    }

    fn end_long(&mut self) -> Result<()> {
        match &self.long {
            Some(long) if long.written == long.stored => self.to.end().map_err(output)?,
            Some(_) => return Err(self.torn(self.wrong_length())),
            None => return Err(Error::SelfCheck { what: "the end of a file in an archive" }),
        }
        if let Some(long) = self.long.take() {
            self.written(&long.member);
        }
        Ok(())
    }

    /// A member that is all in one part.
    fn whole(&mut self, part: &Fetched, member: &Member, mut content: Vec<Got<Word, Option<Packed>>>) -> Result<()> {
        let lost = content.iter().position(|got| matches!(got, Got::Lost(_))).map(|at| content.swap_remove(at));
        let pieces: Vec<Bytes<'_>> = content.iter().filter_map(|got| Bytes::of(part, got)).collect();
        let bytes = pieces.iter().map(Bytes::len).fold(0, u64::saturating_add);
        let gone = member.link.as_ref().is_some_and(|link| self.left_out.contains(link));
        let error = match lost {
            Some(Got::Lost(error)) => error,
            _ if gone || bytes != member.stored() => self.wrong_length(),
            _ => {
                self.to.whole(member, &pieces).map_err(output)?;
                self.written(member);
                return Ok(());
            }
        };
        if member.entry.links > 1 {
            self.left_out.insert(member.place.clone());
        }
        self.shared.lost(&member.place, error)
    }

    fn written(&self, member: &Member) {
        let mut report = self.shared.report();
        if member.entry.kind == EntryKind::Directory {
            report.directories += 1;
        } else {
            report.files += 1;
            report.bytes = report.bytes.saturating_add(if member.link.is_none() { member.entry.size } else { 0 });
        }
        drop(report);
        if self.shared.observer.wants_items() {
            self.shared.observer.item(&member.place, Action::Restored, member.entry.size);
        }
    }
}

fn output(source: io::Error) -> Error {
    Error::Output { source }
}
