//! Writes one file or stream of a snapshot to an output, in order, with several threads fetching ahead.
//! Every chunk is checked before a byte of it is written; what was written before an error is right, and the error is returned.

use crate::buffers::Buffers;
use crate::error::{Damage, Error, Result};
use crate::format::entry::EntryKind;
use crate::format::lists::Item;
use crate::id::{ChunkId, Class, ObjectName};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::reader::{ChunkReader, Piece, ReadBuffers};
use crate::repository::Repository;
use crate::repository::entries::find_content;
use crate::repository::selector::Selected;
use crate::repository::tree::ContentCursor;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

/// Bytes that one worker fetches at a time, about two frames' worth: with less, two workers wait for the same frame.
const PART_BYTES: u64 = 2 << 20;
/// Items of one part at most; files of few long chunks have fewer.
const ITEMS_PER_PART: u64 = 256;
/// Zeros that are written at a time for a hole.
const HOLE_STEP: usize = 64 << 10;

/// A run of chunks at least this long is written from where it was decoded; shorter ones are gathered first.
const SHARED_BYTES_MIN: usize = 32 << 10;
/// Frames that one part keeps alive: what is under way stays below 24 MiB with two threads.
const SHARED_FRAMES_MAX: usize = 4;
/// Runs that a part looks up behind one that is not to be had yet. Each keeps its frame alive until then: 16 MiB more with two threads.
const HELD_MAX: usize = 8;

enum Part {
    Bytes(Gathered),
    Hole(u64),
}

/// Bytes in order: some of them copied to `copied`, some still where they were decoded.
#[derive(Default)]
struct Gathered {
    copied: Vec<u8>,
    /// Each with the length that `copied` had before it.
    shared: Vec<(usize, Piece)>,
    frames: usize,
}

impl Gathered {
    fn push(&mut self, piece: Piece) {
        let known = self.shared.iter().rev().any(|(_, other)| other.shares_frame(&piece));
        if piece.len() < SHARED_BYTES_MIN || !known && self.frames == SHARED_FRAMES_MAX {
            self.copied.extend_from_slice(&piece);
        } else {
            self.frames += usize::from(!known);
            self.shared.push((self.copied.len(), piece));
        }
    }

    fn write(&self, out: &mut (dyn Write + Send)) -> std::io::Result<u64> {
        let (mut at, mut written) = (0, 0);
        for (copied, piece) in &self.shared {
            out.write_all(&self.copied[at..*copied])?;
            out.write_all(piece)?;
            (at, written) = (*copied, written + piece.len());
        }
        out.write_all(&self.copied[at..])?;
        Ok((written + self.copied.len()) as u64)
    }
}

type Numbered<T> = (u64, T);

/// Writes what `selected` names, whose path is that of a file or stream. Returns its length.
pub fn dump(repository: &Repository, selected: &Selected, out: &mut (dyn Write + Send), observer: &dyn Observer) -> Result<u64> {
    dump_as_it_is(repository, selected, out, observer).map_err(|error| repository.unless_forgotten(&selected.snapshot.id, error))
}

fn dump_as_it_is(repository: &Repository, selected: &Selected, out: &mut (dyn Write + Send), observer: &dyn Observer) -> Result<u64> {
    let reader = repository.reader()?;
    let (snapshot, path) = (&selected.snapshot, || String::from_utf8_lossy(&selected.path).into_owned());
    let missing = || Error::NoSuchPath { snapshot: snapshot.id, path: path() };
    let (entry, content) = find_content(&reader, snapshot, &selected.path)?.ok_or_else(missing)?;
    let Some(content) = content else {
        let what = if entry.kind == EntryKind::File {
            "file whose content could not be read when the snapshot was made"
        } else if entry.kind == EntryKind::Directory {
            "directory"
        } else {
            entry.kind.word()
        };
        return Err(Error::NotAFile { path: path(), what });
    };
    let wrong = || Error::damaged(&ObjectName::snapshot(&snapshot.id), Damage::Malformed("length of a file"));
    if !content.can_be(entry.size) {
        return Err(wrong());
    }
    let threads = repository.reading_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16));
    let (jobs_in, jobs_out) = unbounded::<Numbered<Vec<Item>>>();
    let (parts_in, parts_out) = unbounded::<Result<Numbered<Part>>>();
    // One token per part that is under way: memory is bounded however slow the output is.
    let (tokens_in, tokens_out) = bounded::<()>(threads * 3);
    // Parts go round in the same memory: grown and faulted in anew, each was paid for three times.
    let buffers = Buffers::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (jobs, parts, reader) = (jobs_out.clone(), parts_in.clone(), &reader);
            let buffers = &buffers;
            scope.spawn(move || fetch(reader, &jobs, &parts, buffers));
        }
        let planner = &reader;
        scope.spawn(move || {
            let mut cursor = ContentCursor::new(&content);
            let result = plan(planner, (&mut cursor, entry.size), &jobs_in, &parts_in, &tokens_in);
            if let Err(error) = result {
                parts_in.send(Err(error)).unwrap_or(());
            }
        });
        drop(jobs_out);
        let written = write(&parts_out, (&tokens_out, &buffers), out, (entry.size, observer));
        // Closed here, so that nobody waits for room that will never come.
        drop((parts_out, tokens_out));
        let written = written?;
        if written == entry.size { Ok(written) } else { Err(wrong()) }
    })
}

fn plan(
    reader: &ChunkReader,
    (cursor, inline_bytes): (&mut ContentCursor, u64),
    jobs: &Sender<Numbered<Vec<Item>>>,
    parts: &Sender<Result<Numbered<Part>>>,
    tokens: &Sender<()>,
) -> Result<()> {
    let mut buffers = ReadBuffers::default();
    let mut number = 0;
    while let Some(found) = cursor.next_items(reader, &mut buffers)? {
        // By the mean: single chunks differ by their bounds at most.
        let bytes = found.bytes.unwrap_or(inline_bytes).max(1);
        let per_part = (PART_BYTES.saturating_mul(found.items.len() as u64) / bytes).clamp(1, ITEMS_PER_PART) as usize;
        for run in found.items.chunk_by(|a, b| matches!((a, b), (Item::Chunk(_), Item::Chunk(_)))) {
            for some in run.chunks(per_part) {
                // A closed channel means that the writer has given up and says why.
                if tokens.send(()).is_err() {
                    return Ok(());
                }
                let sent = match some {
                    [Item::Hole(bytes)] => parts.send(Ok((number, Part::Hole(*bytes)))).is_ok(),
                    chunks => jobs.send((number, chunks.to_vec())).is_ok(),
                };
                if !sent {
                    return Ok(());
                }
                number += 1;
            }
        }
    }
    Ok(())
}

fn fetch(reader: &ChunkReader, jobs: &Receiver<Numbered<Vec<Item>>>, parts: &Sender<Result<Numbered<Part>>>, spare: &Buffers) {
    let mut buffers = ReadBuffers::default();
    for (number, items) in jobs {
        let gathered = gather(reader, &items, &mut buffers, spare.take());
        if parts.send(gathered.map(|gathered| (number, Part::Bytes(gathered)))).is_err() {
            return;
        }
    }
}

/// A part under construction. Neighbouring parts draw on the same frames, so that another thread may be decoding what comes next here:
/// then what comes after it is looked up first. Two threads that waited for each other's frames once were idle a sixth of the time.
struct Gathering<'r> {
    reader: &'r ChunkReader,
    gathered: Gathered,
    run: Option<Piece>,
    /// From the first piece on that was not to be had at once, in order.
    later: VecDeque<(ChunkId, Option<Piece>)>,
    /// Runs of pieces in `later`; each may keep a frame alive.
    held: usize,
}

impl Gathering<'_> {
    fn push(&mut self, piece: Piece) {
        let apart = match &mut self.run {
            Some(run) => run.join(piece),
            None => Some(piece),
        };
        if let Some(piece) = apart
            && let Some(before) = self.run.replace(piece)
        {
            self.gathered.push(before);
        }
    }

    fn add(&mut self, id: ChunkId, buffers: &mut ReadBuffers) -> Result<()> {
        let piece = self.reader.try_piece(Class::Data, &id, buffers)?;
        match piece {
            Some(piece) if self.later.is_empty() => self.push(piece),
            piece => {
                let known = self.later.back().and_then(|(_, last)| last.as_ref()).zip(piece.as_ref());
                self.held += usize::from(!known.is_some_and(|(last, piece)| last.shares_frame(piece)));
                self.later.push_back((id, piece));
            }
        }
        if self.held >= HELD_MAX { self.catch_up(buffers) } else { Ok(()) }
    }

    fn catch_up(&mut self, buffers: &mut ReadBuffers) -> Result<()> {
        self.held = 0;
        while let Some((id, piece)) = self.later.pop_front() {
            let piece = match piece {
                Some(piece) => piece,
                None => self.reader.piece(Class::Data, &id, buffers)?,
            };
            self.push(piece);
        }
        Ok(())
    }
}

fn gather(reader: &ChunkReader, items: &[Item], buffers: &mut ReadBuffers, copied: Vec<u8>) -> Result<Gathered> {
    let gathered = Gathered { copied, ..Gathered::default() };
    let mut part = Gathering { reader, gathered, run: None, later: VecDeque::new(), held: 0 };
    for item in items {
        let Item::Chunk(id) = item else { continue };
        part.add(*id, buffers)?;
    }
    part.catch_up(buffers)?;
    if let Some(last) = part.run.take() {
        part.gathered.push(last);
    }
    Ok(part.gathered)
}

fn write(
    parts: &Receiver<Result<Numbered<Part>>>,
    (tokens, spare): (&Receiver<()>, &Buffers),
    out: &mut (dyn Write + Send),
    (total, observer): (u64, &dyn Observer),
) -> Result<u64> {
    let mut waiting: BTreeMap<u64, Part> = BTreeMap::new();
    let (mut next, mut written) = (0, 0);
    for part in parts {
        let (number, part) = part?;
        waiting.insert(number, part);
        while let Some(part) = waiting.remove(&next) {
            next += 1;
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let failed = |source| Error::Output { source };
            match part {
                Part::Bytes(bytes) => {
                    written += bytes.write(out).map_err(failed)?;
                    spare.give(bytes.copied);
                }
                Part::Hole(bytes) => {
                    let mut left = bytes;
                    while left > 0 {
                        let step = HOLE_STEP.min(left as usize);
                        out.write_all(&[0; HOLE_STEP][..step]).map_err(failed)?;
                        left -= step as u64;
                    }
                    written += bytes;
                }
            }
            tokens.try_recv().unwrap_or(());
            observer.progress(&Progress { stage: Stage::Working, bytes_done: written, bytes_total: total, ..Progress::default() });
        }
    }
    // Parts that wait for one that never came: a fetching thread died.
    if !waiting.is_empty() {
        return Err(Error::SelfCheck { what: "a fetching thread" });
    }
    out.flush().map_err(|source| Error::Output { source })?;
    Ok(written)
}
