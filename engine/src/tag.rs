//! Tags and descriptions, edited after the fact (spec chapter 7): a note takes the place of what the manifest says. No manifest is written
//! anew, so that a snapshot keeps its id, and nobody who may not write packs is needed for it.

use crate::catalog::NoteRow;
use crate::clock;
use crate::error::{Error, Result};
use crate::format::notes::{DESCRIPTION, Fact, TAGS, description_body, tags_body};
use crate::format::wire::{Bytes, Time};
use crate::id::SnapshotId;
use crate::limits::{DESCRIPTION_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX};
use crate::repository::{Access, Repository};
use crate::store::each;
use std::collections::HashMap;

/// What to do with the tags of a snapshot: first `set`, then `add`, then `remove`.
#[derive(Clone, Debug, Default)]
pub struct TagEdit {
    /// These take the place of all that it has.
    pub set: Option<Vec<String>>,
    /// These come to it, where it does not have them.
    pub add: Vec<String>,
    /// These go.
    pub remove: Vec<String>,
}

impl TagEdit {
    /// What becomes of these tags.
    pub fn apply(&self, tags: &[String]) -> Vec<String> {
        let mut edited: Vec<String> = Vec::new();
        let all = self.set.as_deref().unwrap_or(tags).iter().chain(&self.add);
        for tag in all.filter(|tag| !self.remove.contains(tag)) {
            if !edited.contains(tag) {
                edited.push(tag.clone());
            }
        }
        edited
    }
}

/// A snapshot that got other tags.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tagged {
    /// Which.
    pub snapshot: SnapshotId,
    /// All that it has now.
    pub tags: Vec<String>,
}

/// Edits the tags of snapshots, and returns those that it made a difference to; of the others nothing is put. All are looked at first, so
/// that a mistake in one edits none. The catalog was refreshed by the caller, and shows the new tags afterwards.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{TagEdit, tag};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// let edit = TagEdit { add: vec!["golden".to_owned()], ..TagEdit::default() };
/// let changed = tag(&repository, &[id], &edit)?;
/// assert_eq!(changed[0].tags, ["golden"]);
/// // It has it now.
/// assert!(tag(&repository, &[id], &edit)?.is_empty());
/// // A filter, a policy, a view sees what was edited, here and, behind a refresh, everywhere.
/// assert_eq!(repository.select("latest", &Default::default())?.snapshot.names.tags, ["golden"]);
/// # Ok(())
/// # }
/// ```
pub fn tag(repository: &Repository, snapshots: &[SnapshotId], edit: &TagEdit) -> Result<Vec<Tagged>> {
    repository.require_features(Access::Write)?;
    let known: HashMap<SnapshotId, Vec<String>> =
        repository.catalog().snapshots()?.into_iter().map(|snapshot| (snapshot.id, snapshot.names.tags)).collect();
    let mut changes = Vec::new();
    for id in snapshots {
        let before = known.get(id).ok_or_else(|| Error::NoSnapshot { selector: id.to_string() })?;
        let tags = edit.apply(before);
        if tags != *before && !changes.iter().any(|(other, _, _)| other == id) {
            let body = tags_body(&tags).ok_or_else(|| Error::Option {
                what: format!("snapshot {} would have more tags than {TAGS_MAX}, or longer ones than {TAGS_BYTES_MAX} bytes", id.short()),
            })?;
            changes.push((*id, tags, body));
        }
    }
    let put = each(repository.store(), &changes, |(id, tags, body)| note(repository, id, body, Fact::Tags(tags.clone())));
    for put in put {
        // What was put before that counts; who tries again puts the rest.
        put?;
    }
    Ok(changes.into_iter().map(|(snapshot, tags, _)| Tagged { snapshot, tags }).collect())
}

/// Gives a snapshot another description. Returns whether that is another one than it had. The catalog was refreshed by the caller, and shows
/// the new one afterwards.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// assert!(seabed_engine::describe(&repository, &id, "before the migration")?);
/// assert_eq!(repository.select("latest", &Default::default())?.snapshot.names.description, "before the migration");
/// # Ok(())
/// # }
/// ```
pub fn describe(repository: &Repository, snapshot: &SnapshotId, text: &str) -> Result<bool> {
    repository.require_features(Access::Write)?;
    let known = repository.catalog().snapshots()?.into_iter().find(|known| known.id == *snapshot);
    let known = known.ok_or_else(|| Error::NoSnapshot { selector: snapshot.to_string() })?;
    if known.names.description == text {
        return Ok(false);
    }
    let body =
        description_body(text).ok_or_else(|| Error::Option { what: format!("a description has {DESCRIPTION_BYTES_MAX} bytes at most") })?;
    note(repository, snapshot, &body, Fact::Description(text.to_owned()))?;
    Ok(true)
}

/// Puts a note and shows at once what it says.
fn note(repository: &Repository, snapshot: &SnapshotId, body: &Bytes, fact: Fact) -> Result<()> {
    let kind = if matches!(fact, Fact::Tags(_)) { TAGS } else { DESCRIPTION };
    // Later than what it edits, whatever the clocks of two hosts say: who edits has seen that.
    let edited = repository.catalog().noted_at(snapshot, kind)?.and_then(|time| time.as_nanos());
    let now = clock::now();
    let time = edited.map_or(now, |edited| now.max(Time::from_nanos(edited.saturating_add(1))));
    let (name, note) = repository.put_note(kind, snapshot.as_bytes(), time, body.clone())?;
    if let Some((_, id)) = name.as_note() {
        // The catalog may lag: what counts is what the store says.
        repository.catalog().note(&[NoteRow::new(id, *snapshot, &note, fact)]).unwrap_or(());
    }
    Ok(())
}
