//! Writes one file or stream of a snapshot to an output, in order, with several threads fetching ahead.
//! Every chunk is checked before a byte of it is written; what was written before an error is right, and the error is returned.

use crate::error::{Damage, Error, Result};
use crate::format::entry::EntryKind;
use crate::id::ObjectName;
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::ReadBuffers;
use crate::repository::Repository;
use crate::repository::entries::find_content;
use crate::repository::ordered::{GaveUp, Got, Part, Planner, in_order, write_zeros};
use crate::repository::selector::Selected;
use crate::repository::tree::ContentCursor;
use std::io::Write;

/// Zeros that are written without a look at whether the user wants to stop.
const ZEROS_BYTES: u64 = 64 << 20;

/// Writes what `selected` names, whose path is that of a file or stream. Returns its length.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, dump};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// let selected = repository.select("latest:/home/ann/mail/letter.txt", &Default::default())?;
/// let mut text = Vec::new();
/// assert_eq!(dump(&repository, &selected, &mut text, &Silent)?, 10);
/// assert_eq!(text, b"Dear Ann,\n");
/// # Ok(())
/// # }
/// ```
pub fn dump(repository: &Repository, selected: &Selected, out: &mut (dyn Write + Send), observer: &dyn Observer) -> Result<u64> {
    dump_as_it_is(repository, selected, out, observer).map_err(|error| repository.unless_forgotten(&selected.snapshot.id, error))
}

/// What [`Error::NotAFile`] calls a directory.
pub const DIRECTORY: &str = "directory";

/// Nothing is said between the parts of one file.
enum Silence {}

fn dump_as_it_is(repository: &Repository, selected: &Selected, out: &mut (dyn Write + Send), observer: &dyn Observer) -> Result<u64> {
    let reader = repository.reader()?;
    let (snapshot, path) = (&selected.snapshot, || String::from_utf8_lossy(&selected.path).into_owned());
    let missing = || Error::NoSuchPath { snapshot: snapshot.id, path: path() };
    let (entry, content) = find_content(&reader, snapshot, &selected.path)?.ok_or_else(missing)?;
    let Some(content) = content else {
        let what = if entry.kind == EntryKind::File {
            "file whose content could not be read when the snapshot was made"
        } else if entry.kind == EntryKind::Directory {
            DIRECTORY
        } else {
            entry.kind.word()
        };
        return Err(Error::NotAFile { path: path(), what });
    };
    let wrong = || Error::damaged(&ObjectName::snapshot(&snapshot.id), Damage::Malformed("length of a file"));
    if !content.can_be(entry.size) {
        return Err(wrong());
    }
    let plan = |planner: &mut Planner<'_, Silence>| {
        let (mut cursor, mut buffers) = (ContentCursor::new(&content), ReadBuffers::default());
        while let Some(found) = cursor.next_items(planner.reader, &mut buffers)? {
            if let Err(GaveUp) = planner.send_items(&found.items, found.bytes.unwrap_or(entry.size)) {
                break;
            }
        }
        Ok(())
    };
    let mut written = 0;
    let failed = |source| Error::Output { source };
    let take = |part: Part<Silence, ()>| {
        for got in &part.got {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            match got {
                Got::Bytes { at, bytes, .. } => {
                    part.slices(at).try_for_each(|slice| out.write_all(slice)).map_err(failed)?;
                    written += bytes;
                }
                Got::Zeros(bytes) => {
                    let mut left = *bytes;
                    while left > 0 {
                        if observer.interrupted() {
                            return Err(Error::Interrupted);
                        }
                        let step = left.min(ZEROS_BYTES);
                        write_zeros(step, out).map_err(failed)?;
                        left -= step;
                    }
                    written += bytes;
                }
                Got::Say(never) => match *never {},
                Got::Lost(_) => {}
            }
        }
        observer.progress(&Progress { stage: Stage::Working, bytes_done: written, bytes_total: entry.size, ..Progress::default() });
        // The last that a part can hold of a file that is lost.
        part.got.into_iter().find_map(|got| if let Got::Lost(error) = got { Some(Err(error)) } else { None }).unwrap_or(Ok(()))
    };
    in_order(repository, &reader, plan, || |_: &mut dyn Iterator<Item = &[u8]>| (), take)?;
    out.flush().map_err(failed)?;
    if written == entry.size { Ok(written) } else { Err(wrong()) }
}
