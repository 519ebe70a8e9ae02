//! Restore into a bucket: a snapshot, or a part of it, as objects (spec chapter 6, buckets). First the target is listed and compared; what is
//! there as the snapshot has it is not sent again, and where anything else is there nothing is sent unless that was ordered.
//! It must never delete an object. Every object is held against its digest once it is put; one that fails costs that object.

mod content;
mod keys;
mod send;
mod there;

pub use crate::repository::selection::Pattern;
pub use keys::Meant;
pub use there::unsaved;

use crate::error::{Error, Kind, Result, SourceError};
use crate::format::entry::{Entry, EntryKind, STATUS_UNREADABLE};
use crate::format::lists::Content;
use crate::into_bucket::content::Digests;
use crate::into_bucket::keys::{Key, Lacks};
use crate::into_bucket::there::There;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::ChunkReader;
use crate::repository::Repository;
use crate::repository::merged::Merged;
use crate::repository::selection::Selection;
use crate::repository::selector::Selected;
use crate::source::objects::Object;
use crate::store::s3::{Bucket, is_digest};
use std::io;
use std::path::PathBuf;

/// Errors that are kept word for word.
const ERRORS_KEPT: usize = 1000;

/// What to restore, and how.
#[derive(Clone, Debug, Default)]
pub struct BucketOptions {
    /// Only what matches one of these, if there are any. Patterns match paths below what is selected.
    pub include: Vec<Pattern>,
    /// Without what matches one of these.
    pub exclude: Vec<Pattern>,
    /// Also where the target holds something else; what has a key of the snapshot is replaced then.
    pub force: bool,
    /// Only compare.
    pub dry_run: bool,
    /// After damage, restore all that is left.
    pub keep_going: bool,
    /// Objects at a time; 0 for the default.
    pub threads: usize,
}

/// How an object of the target compares with the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the snapshot has it.
    New,
    /// Both have it, and not the same.
    Differs,
    /// Both have the same.
    Same,
    /// Only the target has it.
    Extra,
}

impl Change {
    /// The word for it, in all outputs.
    pub const fn word(self) -> &'static str {
        match self {
            Change::New => "new",
            Change::Differs => "differs",
            Change::Same => "same",
            Change::Extra => "extra",
        }
    }
}

/// So many objects, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What was found, and what was done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BucketReport {
    /// Only in the snapshot.
    pub new: Amount,
    /// Other ones in the target.
    pub differs: Amount,
    /// As the target has them.
    pub same: Amount,
    /// Only in the target; never touched.
    pub extra: Amount,
    /// What was put, and verified.
    pub sent: Amount,
    /// Files whose content could not be read when the snapshot was made.
    pub not_stored: u64,
    /// Entries that no object can be: links, devices, names that no key holds.
    pub left_out: u64,
    /// The first of them.
    pub first_left_out: Option<PathBuf>,
    /// The first that failed.
    pub errors: Vec<SourceError>,
    /// How many failed in all.
    pub error_count: u64,
}

impl BucketReport {
    fn error(&mut self, error: SourceError, observer: &dyn Observer) {
        observer.source_error(&error);
        self.error_count += 1;
        if self.errors.len() < ERRORS_KEPT {
            self.errors.push(error);
        }
    }

    /// Whether all that was selected is in the target now, as far as it was to be brought there.
    pub fn is_complete(&self) -> bool {
        self.error_count == 0 && self.not_stored == 0 && self.left_out == 0
    }
}

/// An entry that becomes an object.
struct Wanted {
    key: String,
    entry: Entry,
    content: Option<Content>,
}

/// What several steps need.
struct Run<'r> {
    reader: &'r ChunkReader,
    meant: &'r Meant<'r>,
    selection: Selection,
    options: &'r BucketOptions,
    observer: &'r dyn Observer,
}

/// Restores what `selected` names into `bucket`. `each` hears of every object, first of those of the snapshot, in its order, then of what else
/// the target holds, by key; with its length. Nothing is sent before all of that.
pub fn into_bucket(
    repository: &Repository,
    selected: &Selected,
    bucket: &Bucket,
    options: &BucketOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&str, Change, u64) -> Result<()>,
) -> Result<BucketReport> {
    as_it_is(repository, selected, bucket, options, observer, each)
        .map_err(|error| repository.unless_forgotten(&selected.snapshot.id, error))
}

fn as_it_is(
    repository: &Repository,
    selected: &Selected,
    bucket: &Bucket,
    options: &BucketOptions,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&str, Change, u64) -> Result<()>,
) -> Result<BucketReport> {
    let meant = Meant::of(selected)?;
    let reader = repository.reader()?;
    let selection = Selection::new(&options.include, &options.exclude)?;
    let run = Run { reader: &reader, meant: &meant, selection, options, observer };
    let mut report = BucketReport::default();
    observer.progress(&Progress { stage: Stage::Preparing, ..Progress::default() });
    let mut there = There::list(bucket, observer)?;
    run.walk(&mut report, true, |report, wanted| {
        let change = match there.find(&wanted.key)? {
            None => Change::New,
            Some(object) => {
                let same = run.is_same(bucket, &object, &wanted)?;
                there.judge(&wanted.key, same)?;
                if same { Change::Same } else { Change::Differs }
            }
        };
        let amount = match change {
            Change::New => &mut report.new,
            Change::Same => &mut report.same,
            _ => &mut report.differs,
        };
        amount.add(wanted.entry.size);
        each(&wanted.key, change, wanted.entry.size)
    })?;
    there.extra(|key, bytes| {
        report.extra.add(bytes);
        each(key, Change::Extra, bytes)
    })?;
    let others = report.differs.objects + report.extra.objects;
    if options.dry_run {
        return Ok(report);
    }
    if others > 0 && !options.force {
        let place = bucket.place().text();
        let what = format!(
            "{place} holds {} that differ from the snapshot's and {} that it does not have",
            objects(report.differs.objects),
            objects(report.extra.objects)
        );
        return Err(Error::Refused { what });
    }
    let totals = (report.new.objects + report.differs.objects, report.new.bytes + report.differs.bytes);
    send::send(&run, bucket, &there, totals, repository.reading_threads(options.threads()), &mut report)?;
    Ok(report)
}

fn objects(count: u64) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

impl BucketOptions {
    fn threads(&self) -> usize {
        if self.threads == 0 { 8 } else { self.threads.min(64) }
    }
}

impl Run<'_> {
    /// Walks what is meant. `counts`: what no object can be is counted.
    fn walk(&self, report: &mut BucketReport, counts: bool, mut each: impl FnMut(&mut BucketReport, Wanted) -> Result<()>) -> Result<()> {
        let mut merged = Merged::new(self.reader, self.meant.snapshot(), self.meant.path(), false, |_| true)?;
        loop {
            if self.observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let item = match merged.next_item() {
                Ok(Some(item)) => item,
                Ok(None) => return Ok(()),
                Err(error) if error.is_damage() && self.options.keep_going => {
                    if counts {
                        let source = io::Error::other(error.to_string());
                        report.error(SourceError { path: PathBuf::from("/"), during: "read the names in", source }, self.observer);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let path = item.path();
            if !path.is_empty() && !self.selection.wants(&path) {
                continue;
            }
            match self.meant.key(&item) {
                Ok(Key(key)) => {
                    let unread = item.entry.status == STATUS_UNREADABLE || item.content.is_none() && item.entry.kind == EntryKind::File;
                    if unread {
                        report.not_stored += u64::from(counts);
                    } else {
                        each(report, Wanted { key, entry: item.entry, content: item.content })?;
                    }
                }
                Err(Lacks::Nothing) => {}
                Err(Lacks::Key) if counts => {
                    report.left_out += 1;
                    report.first_left_out.get_or_insert_with(|| crate::source::roots::display(&path));
                }
                Err(Lacks::Key) => {}
            }
        }
    }

    /// Whether the target has the very content: by what ETags tell, and where they tell nothing by reading it.
    fn is_same(&self, bucket: &Bucket, object: &Object, wanted: &Wanted) -> Result<bool> {
        if object.size != wanted.entry.size {
            return Ok(false);
        }
        let own = crate::source::objects::attributes::etag_of(&wanted.entry.xattrs);
        if is_digest(&object.etag) && own == object.etag.as_bytes() || object.size == 0 {
            return Ok(true);
        }
        let Some(content) = &wanted.content else { return Ok(true) };
        let compared = match is_digest(&object.etag) {
            true => Digests::of(self.reader, content, &wanted.entry).map(|digests| digests.is(&object.etag)),
            false => content::equals(self.reader, content, &wanted.entry, bucket, object),
        };
        match compared {
            // Said again, and for what it is, when it is to be sent.
            Err(error) if error.kind() == Kind::Damage => Ok(false),
            other => other,
        }
    }
}
