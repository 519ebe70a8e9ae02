//! The verdict on one path: whether its two entries differ, in what, and by how much. What of this machine cannot be read costs its file.

use crate::diff::compare::{Attribute, Known, attributes, content_differs, is_untouched, looks_changed, special_differs};
use crate::diff::content::{Delta, Found, Gather, Which, differing};
use crate::diff::read::{Body, compare, live_body, stored_body};
use crate::diff::side::Item;
use crate::diff::tally::Tally;
use crate::diff::{DiffOptions, Reading};
use crate::error::{Error, Result, SourceError};
use crate::format::entry::{EntryKind, STATUS_OK};
use crate::format::lists::Content;
use crate::id::Class;
use crate::observe::Observer;
use crate::pack::reader::{ChunkReader, Measured, ReadBuffers};
use crate::repository::Repository;
use crate::source::Completer;

/// Two entries of one path, one of which may be missing.
pub struct Pair {
    /// What was there.
    pub before: Option<Item>,
    /// What is there.
    pub after: Option<Item>,
}

/// What came of a pair.
#[derive(Default)]
pub struct Verdict {
    /// Something does.
    pub differs: bool,
    /// See [`crate::diff::Change`].
    pub content: bool,
    /// See [`crate::diff::Change`].
    pub rot: bool,
    /// See [`crate::diff::Change`].
    pub attributes: Vec<Attribute>,
    /// See [`crate::diff::Change`].
    pub delta: Option<Delta>,
    /// See [`crate::diff::Change`].
    pub bodies: [Option<Body>; 2],
    /// What could not be read of this machine.
    pub errors: Vec<SourceError>,
}

/// What one thread keeps from pair to pair.
#[derive(Default)]
pub struct Worker {
    completer: Completer,
    buffers: ReadBuffers,
    measured: Measured,
}

fn stored(item: Option<&Item>) -> Option<&Content> {
    item?.at.content.as_ref()
}

/// Compares pairs; many threads at a time.
#[derive(Clone, Copy)]
pub struct Judge<'j> {
    /// Cuts and names chunks.
    pub repository: &'j Repository,
    /// Reads lists, and contents that are shown.
    pub reader: &'j ChunkReader,
    /// What is asked.
    pub options: &'j DiffOptions,
    /// Who wants to know.
    pub observer: &'j dyn Observer,
}

impl Judge<'_> {
    /// Says what differs. Chunks of stored content are counted in `tally`.
    pub fn pair(&self, pair: &mut Pair, worker: &mut Worker, tally: Option<&mut Tally>) -> Result<Verdict> {
        if self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let mut verdict = Verdict::default();
        let known = self.complete(pair.after.as_mut(), worker, &mut verdict.errors);
        match (&pair.before, &pair.after) {
            (Some(before), Some(after)) if before.at.entry.kind == after.at.entry.kind => {
                if after.live.is_some() {
                    self.live_content((before, after), worker, &mut verdict)?;
                } else {
                    let (a, b) = ((&before.at.entry, before.at.content.as_ref()), (&after.at.entry, after.at.content.as_ref()));
                    verdict.content = content_differs(a, b);
                }
                verdict.rot = verdict.content && is_untouched(&before.at.entry, &after.at.entry) && before.at.entry.kind == EntryKind::File;
                if self.options.metadata {
                    verdict.attributes = attributes(&before.at.entry, &after.at.entry, known);
                }
                verdict.differs = verdict.content || !verdict.attributes.is_empty();
            }
            (Some(before), Some(after)) => {
                verdict.differs = true;
                if self.options.metadata {
                    verdict.attributes = attributes(&before.at.entry, &after.at.entry, known);
                }
            }
            _ => verdict.differs = true,
        }
        self.contents(pair, worker, tally, &mut verdict)?;
        if let (Some(max), true) = (self.options.bodies, verdict.differs) {
            self.bodies(pair, worker, max, &mut verdict)?;
        }
        Ok(verdict)
    }

    /// Asks the system for what the walk left out, as far as it is compared.
    fn complete(&self, after: Option<&mut Item>, worker: &mut Worker, errors: &mut Vec<SourceError>) -> Known {
        let Some(Item { at, live: Some(handle) }) = after else { return Known::ALL };
        let entry = &mut at.entry;
        if !self.options.metadata && entry.kind != EntryKind::Symlink {
            return Known { completed: false, flags: false };
        }
        let file = (entry.kind == EntryKind::File).then(|| handle.open(entry).ok()).flatten();
        let flags = entry.kind != EntryKind::File && entry.status == STATUS_OK || file.is_some();
        let opened = file.as_ref().map(rustix::fd::AsFd::as_fd);
        errors.extend(worker.completer.complete(&handle.dir, handle.dirfd(), entry, opened));
        Known { completed: true, flags }
    }

    /// Whether a file of this machine has other content than was stored.
    fn live_content(&self, (before, after): (&Item, &Item), worker: &mut Worker, verdict: &mut Verdict) -> Result<()> {
        if after.at.entry.kind != EntryKind::File {
            verdict.content = special_differs(&before.at.entry, &after.at.entry);
            return Ok(());
        }
        let looks_changed = looks_changed(&before.at.entry, &after.at.entry);
        verdict.content = looks_changed;
        let wanted = match self.options.reading {
            Reading::None => false,
            Reading::Suspects => looks_changed,
            Reading::All => true,
        };
        // Of other lengths, nothing is to be read but to see how much of them is the same.
        let other_length = before.at.entry.size != after.at.entry.size;
        let (Some(content), Some(handle), true) = (&before.at.content, &after.live, wanted && (!other_length || self.options.deltas))
        else {
            return Ok(());
        };
        let reader = (self.reader, &mut worker.buffers);
        let stored = (&before.at.entry, content);
        match compare(self.repository, reader, (after, handle), stored, self.options.deltas, self.observer)? {
            Ok(compared) => (verdict.content, verdict.delta) = (!compared.same, compared.delta),
            Err(error) => verdict.errors.push(error),
        }
        Ok(())
    }

    /// Counts what stored content the two have and have not in common.
    fn contents(&self, pair: &Pair, worker: &mut Worker, mut tally: Option<&mut Tally>, verdict: &mut Verdict) -> Result<()> {
        let size =
            |item: &Option<Item>| item.as_ref().filter(|item| item.at.entry.kind == EntryKind::File).map_or(0, |item| item.at.entry.size);
        let (removed, added) = (size(&pair.before), size(&pair.after));
        let versions = [stored(pair.before.as_ref()), stored(pair.after.as_ref())];
        let wants_delta = self.options.deltas && verdict.differs && verdict.delta.is_none();
        // Only where there are two versions to be told apart.
        let told_apart = wants_delta && versions[0].is_some() && versions[1].is_some() && versions[0] != versions[1];
        if told_apart {
            let mut gather = Gather::default();
            differing(self.reader, &mut worker.buffers, versions, &mut |found| {
                if let Some(tally) = &mut tally {
                    tally.found(&found);
                }
                if let Found::Items(which, items, bytes) = &found {
                    let whole = if *which == Which::Before { removed } else { added };
                    gather.items(*which, items, bytes.unwrap_or(whole));
                }
                Ok(())
            })?;
            verdict.delta = Some(gather.delta(&mut |id| self.reader.chunk_bytes(Class::Data, id, &mut worker.measured).ok()));
            return Ok(());
        }
        if wants_delta {
            let same = pair.before.is_some() && pair.after.is_some() && !verdict.content && removed > 0 && added > 0;
            verdict.delta = Some(if same { Delta::default() } else { Delta { added, removed } });
        }
        match tally {
            Some(tally) => tally.content(self.reader, &mut worker.buffers, versions),
            None => Ok(()),
        }
    }

    fn bodies(&self, pair: &Pair, worker: &mut Worker, max: u64, verdict: &mut Verdict) -> Result<()> {
        let both = pair.before.is_some() && pair.after.is_some();
        let retyped = pair.before.as_ref().zip(pair.after.as_ref()).is_some_and(|(a, b)| a.at.entry.kind != b.at.entry.kind);
        if both && !verdict.content && !retyped {
            return Ok(());
        }
        for (at, item) in [&pair.before, &pair.after].into_iter().enumerate() {
            let Some(item) = item else { continue };
            verdict.bodies[at] = match &item.live {
                Some(handle) => live_body((item, handle), max).unwrap_or_else(|error| {
                    verdict.errors.push(error);
                    Some(Body::Unreadable)
                }),
                None => {
                    let reader = (self.reader, &mut worker.buffers);
                    stored_body(reader, (&item.at.entry, item.at.content.as_ref()), max, self.observer)?
                }
            };
        }
        Ok(())
    }
}
