//! Notes (spec chapter 7): facts that came after what they are about. Here they are put and read, and those about snapshots are entered in the
//! catalog, which shows what they say in place of what the manifest said. A backup never asks for them: they may wait for whoever looks.

use crate::catalog::{NoteRow, Snapshot};
use crate::error::{Damage, Error, Kind, Result};
use crate::format::manifest::NamesPart;
use crate::format::notes::{DESCRIPTION, Fact, TAGS, WHOLE};
use crate::format::object::ObjectType;
use crate::format::protocol::Note;
use crate::format::wire::{Bytes, Time};
use crate::id::{ObjectId, ObjectName, SnapshotId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::repository::Repository;
use crate::seal::object::{open_object, seal_object};
use crate::seal::random;
use crate::store::{Listed, each, reread, there};
use std::collections::{BTreeSet, HashSet};

/// Notes that are in memory at a time: each may be as long as its bound.
const NOTES_BATCH: usize = 64;

/// Whether the body of a note agrees with its name.
#[doc(hidden)]
pub fn note_fits(name: &ObjectName, note: &Note) -> bool {
    name.as_note().is_some_and(|(about, _)| if note.about.0.is_empty() { about == WHOLE } else { note.about.0 == about })
}

impl Repository {
    /// Puts a note about a snapshot or pack, or with [`WHOLE`] about the repository.
    #[doc(hidden)]
    pub fn put_note(&self, kind: &str, about: &[u8; 32], time: Time, body: Bytes) -> Result<(ObjectName, Note)> {
        let name = ObjectName::note(about, &ObjectId::new(random()?));
        let named = if *about == WHOLE { Bytes::default() } else { Bytes(about.to_vec()) };
        let note = Note { kind: kind.to_owned(), about: named, time, body, extra: Vec::new() };
        let object = seal_object(self.keys(), &self.id(), &name, ObjectType::Note, &note)?;
        self.store().put(&name, &object)?;
        Ok((name, note))
    }

    /// Reads a note.
    fn note(&self, name: &ObjectName) -> Result<Note> {
        reread(self.store(), name, || {
            let bytes = self.store().get(name, SMALL_OBJECT_BYTES_MAX)?;
            let note: Note = open_object(self.keys(), &self.id(), name, ObjectType::Note, &bytes)?;
            if note_fits(name, &note) { Ok(note) } else { Err(Error::damaged(name, Damage::Name)) }
        })
    }

    /// The notes that there are about a snapshot or pack, or with [`WHOLE`] about the repository, oldest first. One that does not open is
    /// an error.
    #[doc(hidden)]
    pub fn notes_about(&self, about: &[u8; 32]) -> Result<Vec<(ObjectName, Note)>> {
        self.notes_in(&self.listed(ObjectType::Note, "notes")?, about)
    }

    /// Those of a listing that are about something.
    fn notes_in(&self, listed: &[Listed], about: &[u8; 32]) -> Result<Vec<(ObjectName, Note)>> {
        let mut notes = Vec::new();
        let listed: Vec<&ObjectName> =
            listed.iter().map(|object| &object.name).filter(|name| name.as_note().is_some_and(|(of, _)| of == *about)).collect();
        for (name, read) in listed.iter().zip(each(self.store(), &listed, |name| self.note(name))) {
            match read {
                Ok(note) => notes.push(((*name).clone(), note)),
                // Gathered into another one, or collected, since it was listed.
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        notes.sort_by(|(a, one), (b, other)| (one.time, a).cmp(&(other.time, b)));
        Ok(notes)
    }

    /// All notes but those about forgotten snapshots whose manifests are still there: a collection deletes these together. Where one died
    /// between the two the notes stay until another one has manifests to delete.
    #[doc(hidden)]
    pub fn notes_that_stay(&self) -> Result<Vec<Listed>> {
        let tombstones = self.listed(ObjectType::Tombstone, "forgotten")?;
        let forgotten: HashSet<SnapshotId> = tombstones.iter().filter_map(|listed| listed.name.as_tombstone()).collect();
        let snapshots = self.listed(ObjectType::Snapshot, "snapshots")?;
        let going: HashSet<SnapshotId> =
            snapshots.iter().filter_map(|listed| listed.name.as_snapshot()).filter(|id| forgotten.contains(id)).collect();
        let mut notes = self.listed(ObjectType::Note, "notes")?;
        notes.retain(|note| note.name.as_note().is_some_and(|(about, _)| !going.contains(&SnapshotId::new(about))));
        Ok(notes)
    }

    /// Gives the snapshot `new`, which takes the place of `old` and says `names` of itself, the tags and the description that somebody has
    /// given `old` since it was made, as a listing of `notes/` shows. What was edited last counts, whichever of the two it is about. A note
    /// that does not open is an error: what it says would be gone with `old`.
    #[doc(hidden)]
    pub fn carry_notes(&self, listed: &[Listed], old: &SnapshotId, (new, names): (&SnapshotId, &NamesPart)) -> Result<()> {
        let of_old = self.notes_in(listed, old.as_bytes())?;
        if of_old.is_empty() {
            return Ok(());
        }
        let of_new = self.notes_in(listed, new.as_bytes())?;
        for kind in [TAGS, DESCRIPTION] {
            let newest = |notes: &[(ObjectName, Note)]| notes.iter().rfind(|(_, note)| note.kind == kind).cloned();
            let Some((name, edit)) = newest(&of_old) else { continue };
            let fact = edit.fact().map_err(|_| Error::damaged(&name, Damage::Malformed("note")))?;
            let is_said = match newest(&of_new) {
                Some((_, later)) => later.time >= edit.time,
                None => match &fact {
                    Fact::Tags(tags) => *tags == names.tags,
                    Fact::Description(text) => *text == names.description,
                    Fact::Verified(_) | Fact::Other => true,
                },
            };
            if !is_said {
                // At the time of the edit: one that is made of the new one meanwhile stays the later one.
                let (name, note) = self.put_note(kind, new.as_bytes(), edit.time, edit.body)?;
                if let Some((_, id)) = name.as_note() {
                    // The catalog may lag: what counts is what the store says.
                    self.catalog().note(&[NoteRow::new(id, *new, &note, fact)]).unwrap_or(());
                }
            }
        }
        Ok(())
    }

    /// Enters in the catalog what a listing of `notes/` shows that is new, and takes out of it what is gone, `known` being the notes that
    /// it had before that listing. Notes about the repository as a whole are not asked for. Returns what is wrong with those that do not open.
    pub(super) fn learn_notes(&self, known: &HashSet<(ObjectId, SnapshotId)>, listed: Vec<Listed>) -> Result<Vec<Error>> {
        let named = listed.into_iter().filter_map(|object| Some((object.name.as_note()?, object.name)));
        let named: Vec<((SnapshotId, ObjectId), ObjectName)> =
            named.filter(|((about, _), _)| *about != WHOLE).map(|((about, id), name)| ((SnapshotId::new(about), id), name)).collect();
        let shown: HashSet<(ObjectId, SnapshotId)> = named.iter().map(|((about, id), _)| (*id, *about)).collect();
        self.unlearn_notes(known.iter().filter(|note| !shown.contains(note)).copied().collect())?;
        let new: Vec<_> = named.into_iter().filter(|((about, id), _)| !known.contains(&(*id, *about))).collect();
        let mut unreadable = Vec::new();
        for batch in new.chunks(NOTES_BATCH) {
            let mut rows = Vec::with_capacity(batch.len());
            for (((about, id), name), read) in batch.iter().zip(each(self.store(), batch, |(_, name)| self.note(name))) {
                match read {
                    Ok(note) => match note.fact() {
                        Ok(fact) => rows.push(NoteRow::new(*id, *about, &note, fact)),
                        Err(_) => unreadable.push(Error::damaged(name, Damage::Malformed("note"))),
                    },
                    // Collected with its snapshot since the listing.
                    Err(error) if error.is_missing() => {}
                    // It says nothing of the note: going on would show what was edited as if it had not been.
                    Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Interrupted | Kind::Configuration) => return Err(error),
                    Err(error) => unreadable.push(error),
                }
            }
            self.catalog().note(&rows)?;
        }
        Ok(unreadable)
    }

    /// Takes notes out of the catalog that are not listed, unless they are there when they are asked for by name. Of their snapshots counts
    /// again what the manifests and the other notes say.
    fn unlearn_notes(&self, unlisted: Vec<(ObjectId, SnapshotId)>) -> Result<()> {
        if unlisted.is_empty() {
            return Ok(());
        }
        let snapshots = self.catalog().ids()?;
        // Those of forgotten snapshots are collected with them: nobody has to ask.
        let (asked, mut gone): (Vec<_>, Vec<_>) = unlisted.into_iter().partition(|(_, about)| snapshots.contains(about));
        let names = asked.iter().map(|(id, about)| ObjectName::note(about.as_bytes(), id)).collect();
        let found: HashSet<ObjectId> = there(self.store(), names)?.iter().filter_map(|l| l.name.as_note()).map(|(_, id)| id).collect();
        let lost: Vec<_> = asked.into_iter().filter(|(id, _)| !found.contains(id)).collect();
        let edited: BTreeSet<SnapshotId> = lost.iter().map(|(_, about)| *about).collect();
        // Manifests first: where one cannot be had now, all stays as it is, and the next refresh finds the notes missing again.
        let mut anew = Vec::with_capacity(edited.len());
        for id in edited {
            match self.read_manifest(&ObjectName::snapshot(&id)) {
                Ok((index, names)) => anew.push(Snapshot { id, index, names }),
                Err(error) if matches!(error.kind(), Kind::Unreachable | Kind::Interrupted | Kind::Configuration) => return Err(error),
                Err(_) => {}
            }
        }
        let read: HashSet<SnapshotId> = anew.iter().map(|snapshot| snapshot.id).collect();
        gone.extend(lost.into_iter().filter(|(_, about)| read.contains(about)));
        let mut catalog = self.catalog();
        catalog.unnote(&gone.iter().map(|(id, _)| *id).collect::<Vec<_>>())?;
        catalog.apply(&anew, &[])
    }
}
