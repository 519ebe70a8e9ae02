//! What snapshots take: which bytes only one of them holds, and what goes with some of them. A pack's bytes belong to its chunks: to each
//! its share of its frame, and of header, padding and footer in proportion. So all chunks of a frame or of a pack together have all of its
//! bytes. What some chunks of a frame would take without the others is not their share of it, and where it matters it is weighed.

use crate::catalog::Snapshot;
use crate::error::{Error, Kind, Result};
use crate::format::pack::CODEC_RAW;
use crate::id::{ChunkId, Class, PackId, SnapshotId};
use crate::observe::{Observer, Progress, Stage};
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::pack::weigh::Scale;
use crate::repository::Repository;
use crate::repository::grounds::{Grounds, State};
use crate::repository::reach::{Visit, walk};
use crate::store::each;
use std::collections::HashMap;

/// Footers that are read at a time.
const FOOTERS_BATCH: usize = 64;
/// Nobody needs the chunk.
const NOBODY: u32 = 0;
/// Several snapshots need it.
const SEVERAL: u32 = u32::MAX;
/// What a chunk takes in the footer.
const ROW_BYTES: u64 = 37;
/// Frames that are read to weigh a part of them; more are judged by so many. Some 40 MiB.
const WEIGHED_FRAMES_MAX: u64 = 128;

/// What a repository's bytes are for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Stored bytes that only this snapshot holds.
    pub unique: HashMap<SnapshotId, u64>,
    /// Stored bytes that each snapshot needs and none before it in the order that was asked for.
    pub further: Vec<(SnapshotId, u64)>,
    /// Stored bytes that some snapshot needs.
    pub needed: u64,
    /// Their plaintext.
    pub needed_plain: u64,
    /// Of these, what lies in frames that are compressed: stored bytes,
    pub compressed: u64,
    /// and their plaintext.
    pub compressed_plain: u64,
    /// Chunks that some snapshot needs.
    pub chunks: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
}

/// Whose chunks are counted as whose.
struct Owners<'a> {
    grounds: &'a Grounds,
    owners: &'a mut [u32],
    number: u32,
    /// Whether to tell what only one has, or who has it first.
    only: bool,
    /// Whether what is nowhere is passed over.
    partial: bool,
    observer: &'a dyn Observer,
    steps: u32,
}

impl Visit for Owners<'_> {
    fn chunk(&mut self, class: Class, id: &ChunkId) -> Result<bool> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(1 << 16) && self.observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(row) = self.grounds.rows.first(class, id) else {
            return if self.partial { Ok(false) } else { Err(Error::ChunkMissing { id: *id }) };
        };
        let owner = &mut self.owners[row];
        match *owner {
            NOBODY => *owner = self.number,
            other if other == self.number || other == SEVERAL || !self.only => return Ok(false),
            // What hangs below a node that another one has too, the other one has too.
            _ => *owner = SEVERAL,
        }
        Ok(true)
    }
}

/// Looks at what a snapshot is made of. Where it may be `partial`, what cannot be read is passed over.
fn look(repository: &Repository, snapshot: &Snapshot, mut owners: Owners<'_>) -> Result<()> {
    let (reader, partial) = (owners.grounds.reader(repository), owners.partial);
    match walk(&reader, &snapshot.index.roots, &mut owners) {
        Err(error) if partial && error.kind() == Kind::Damage => Ok(()),
        walked => walked,
    }
}

/// Looks at `snapshots`, in their order, and at `others` only to see what is theirs too. Reads what they are made of and the footers of packs.
/// What is `partial`, as others always may be, is looked at as far as it is there: what was forgotten may be collected, a run may be dead.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::{Silent, usage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # example::snapshot(&repository)?;
/// # example::snapshot(&repository)?;
/// let snapshots = repository.catalog().snapshots()?;
/// let usage = usage(&repository, (&snapshots, false), &[], &Silent)?;
/// // Two snapshots of the same content: what goes with one of them alone is next to nothing.
/// let alone: u64 = usage.unique.values().sum();
/// assert!(alone < usage.needed && usage.needed <= usage.pack_bytes);
/// # Ok(())
/// # }
/// ```
pub fn usage(
    repository: &Repository,
    (snapshots, partial): (&[Snapshot], bool),
    others: &[Snapshot],
    observer: &dyn Observer,
) -> Result<Usage> {
    let grounds = Grounds::read(repository, observer)?;
    let rows = grounds.rows.count() as usize;
    let mut only = vec![NOBODY; rows];
    let mut first = vec![NOBODY; rows];
    for (at, snapshot) in snapshots.iter().enumerate() {
        let number = at as u32 + 1;
        for (owners, only) in [(&mut only, true), (&mut first, false)] {
            look(repository, snapshot, Owners { grounds: &grounds, owners, number, only, partial, observer, steps: 0 })?;
        }
    }
    for other in others {
        let number = snapshots.len() as u32 + 1;
        look(repository, other, Owners { grounds: &grounds, owners: &mut only, number, only: true, partial: true, observer, steps: 0 })?;
    }
    let mut usage = Usage { packs: grounds.packs.len() as u64, ..Usage::default() };
    usage.pack_bytes = grounds.packs.values().map(|object| object.bytes).sum();
    let mut unique = vec![0u64; snapshots.len() + 1];
    let mut further = vec![0u64; snapshots.len()];
    each_pack(repository, &grounds, observer, |pack, rows| {
        let shares = Shares::new(pack);
        for (chunk, row) in rows.iter().enumerate() {
            let Some(row) = row.filter(|row| first[*row] != NOBODY) else { continue };
            let stored = shares.of(chunk);
            let place = pack.table.chunks.get(chunk);
            let plain = place.map_or(0, |place| u64::from(place.bytes));
            usage.needed += stored;
            usage.needed_plain += plain;
            let frame = place.and_then(|place| pack.table.frames.get(place.frame as usize));
            if frame.is_some_and(|frame| frame.info.codec != CODEC_RAW) {
                usage.compressed += stored;
                usage.compressed_plain += plain;
            }
            usage.chunks += 1;
            further[first[row] as usize - 1] += stored;
            if only[row] != SEVERAL {
                unique[only[row] as usize - 1] += stored;
            }
        }
        Ok(())
    })?;
    usage.unique = snapshots.iter().map(|s| s.id).zip(unique).collect();
    usage.further = snapshots.iter().map(|s| s.id).zip(further).collect();
    Ok(usage)
}

/// Who needs a chunk, in [`freed`].
const KEPT: u32 = 1;
const GONE: u32 = 2;

/// What goes when of all snapshots only `kept` stay, and what is `pending`: the bytes of packs that some of `gone` need and nobody else.
/// Exact for whole packs and, but for the padding of what is written anew, for whole frames. Of frames of which a part stays, some are read
/// to see what that part takes, where the keyring can open them.
pub fn freed(repository: &Repository, kept: &[Snapshot], pending: &[Snapshot], gone: &[Snapshot], observer: &dyn Observer) -> Result<u64> {
    let grounds = Grounds::read(repository, observer)?;
    let mut owners = vec![NOBODY; grounds.rows.count() as usize];
    for (snapshots, number, partial) in [(kept, KEPT, false), (pending, KEPT, true), (gone, GONE, false)] {
        for snapshot in snapshots {
            let owners = Owners { grounds: &grounds, owners: &mut owners, number, only: false, partial, observer, steps: 0 };
            look(repository, snapshot, owners)?;
        }
    }
    let mut freed = 0;
    let (mut before, mut after) = (Parts::default(), Parts::default());
    each_pack(repository, &grounds, observer, |pack, rows| {
        let Some((class, id)) = pack.name.as_pack() else { return Ok(()) };
        let shares = Shares::new(pack);
        let owner = |chunk: usize| rows.get(chunk).copied().flatten().map_or(NOBODY, |row| owners[row]);
        for (number, span) in pack.table.frames.iter().enumerate() {
            let chunks = span.chunks();
            let goes: u64 = chunks.clone().filter(|chunk| owner(*chunk) == GONE).map(|chunk| shares.of(chunk)).sum();
            freed += goes;
            if goes == 0 || !pack.holds_key(number as u32) {
                continue;
            }
            let part = |parts: &mut Parts, wants: &dyn Fn(u32) -> bool| {
                let mut part = Part { class, pack: id, frame: number as u32, wanted: Bits::none(chunks.end), plain_share: 0, share: 0 };
                for chunk in chunks.clone().filter(|chunk| wants(owner(*chunk))) {
                    part.wanted.set(chunk);
                    part.share += shares.of(chunk);
                    part.plain_share += Shares::in_frame(pack, number, chunk);
                }
                if part.share > 0 {
                    parts.add(part);
                }
            };
            part(&mut after, &|owner| owner == KEPT);
            // What nobody needs as it is goes with the next collection in any case.
            if chunks.clone().any(|chunk| owner(chunk) == NOBODY) {
                part(&mut before, &|owner| owner != NOBODY);
            }
        }
        Ok(())
    })?;
    // What stays takes more or less than its share, and by that less or more goes.
    let more = before.beyond_shares(repository, observer)? - after.beyond_shares(repository, observer)?;
    Ok((freed as f64 + more).max(0.0) as u64)
}

/// A part of a frame that would be framed anew.
struct Part {
    class: Class,
    pack: PackId,
    frame: u32,
    wanted: Bits,
    /// Its share of the frame,
    plain_share: u64,
    /// and with what it has of the rest of the pack.
    share: u64,
}

/// Parts of frames, of which a fair sample is kept.
#[derive(Default)]
struct Parts {
    sample: Vec<Part>,
    count: u64,
    share: u64,
}

impl Parts {
    /// Takes a part in: of all that come, each is as likely to be kept.
    fn add(&mut self, part: Part) {
        self.count += 1;
        self.share += part.share;
        if self.count <= WEIGHED_FRAMES_MAX {
            return self.sample.push(part);
        }
        // By the pack's name, which is a hash: the same for whoever asks.
        let mut hasher = blake3::Hasher::new();
        hasher.update(part.pack.as_bytes()).update(&part.frame.to_le_bytes());
        let random = u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap_or(&[0; 8]));
        let place = usize::try_from(random % self.count).unwrap_or(usize::MAX);
        if let Some(old) = self.sample.get_mut(place) {
            *old = part;
        }
    }

    /// How many bytes these parts take beyond their shares, once they are framed anew.
    fn beyond_shares(&self, repository: &Repository, observer: &dyn Observer) -> Result<f64> {
        let mut scale = Scale::new()?;
        let mut plain_share = 0;
        for part in &self.sample {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let pack = OpenPack::open(repository.store(), repository.keys(), part.class, &part.pack)?;
            scale.put(repository.store(), &pack, part.frame, &part.wanted)?;
            plain_share += part.plain_share;
        }
        if plain_share == 0 {
            return Ok(0.0);
        }
        Ok(self.share as f64 * (scale.weigh()? as f64 / plain_share as f64 - 1.0))
    }
}

/// What each chunk of a pack has of its bytes; all together have all of them.
struct Shares {
    /// Where each chunk's bytes end, if they lay one behind the other.
    ends: Vec<u64>,
}

impl Shares {
    fn new(pack: &OpenPack) -> Self {
        let mut ends = Vec::with_capacity(pack.table.chunks.len());
        let mut sum = 0u64;
        for (number, span) in pack.table.frames.iter().enumerate() {
            for chunk in span.chunks() {
                sum += Self::in_frame(pack, number, chunk) + ROW_BYTES;
                ends.push(sum);
            }
        }
        for end in &mut ends {
            *end = u64::try_from(u128::from(*end) * u128::from(pack.bytes) / u128::from(sum.max(1))).unwrap_or(u64::MAX);
        }
        Shares { ends }
    }

    fn of(&self, chunk: usize) -> u64 {
        let end = |chunk: usize| self.ends.get(chunk).copied().unwrap_or(0);
        end(chunk).saturating_sub(chunk.checked_sub(1).map_or(0, end))
    }

    /// What a chunk has of its frame.
    fn in_frame(pack: &OpenPack, frame: usize, chunk: usize) -> u64 {
        let (Some(frame), Some(place)) = (pack.table.frames.get(frame), pack.table.chunks.get(chunk)) else { return 0 };
        u64::from(frame.info.stored) * u64::from(place.bytes) / u64::from(frame.info.plain).max(1)
    }
}

/// Calls `each_of` for every pack with, for each of its chunks, the number of the chunk's first row; `None` where another copy was counted,
/// or nobody knows the chunk. Of several copies the best one counts: one in a pack that is condemned is on its way out.
fn each_pack(
    repository: &Repository,
    grounds: &Grounds,
    observer: &dyn Observer,
    mut each_of: impl FnMut(&OpenPack, &[Option<usize>]) -> Result<()>,
) -> Result<()> {
    let states = grounds.states();
    let mut seen = Bits::none(grounds.rows.count() as usize);
    let mut packs: Vec<u32> = Vec::new();
    for state in [State::Good, State::Orphan, State::Named] {
        packs.extend((0..states.len() as u32).filter(|number| states[*number as usize] == state));
    }
    let packs_total = packs.len() as u64;
    for (number, batch) in packs.chunks(FOOTERS_BATCH).enumerate() {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let packs_done = (number * FOOTERS_BATCH) as u64;
        observer.progress(&Progress { stage: Stage::Working, packs_done, packs_total, ..Progress::default() });
        let open = |number: &u32| {
            let pack = &grounds.rows.packs()[*number as usize];
            OpenPack::open(repository.store(), repository.keys(), pack.class, &pack.id)
        };
        for opened in each(repository.store(), batch, open) {
            let opened = match opened {
                Ok(opened) => opened,
                // Collected meanwhile.
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            let row = |id: ChunkId| {
                let row = grounds.rows.first(opened.class, &id).filter(|row| !seen.has(*row))?;
                seen.set(row);
                Some(row)
            };
            let rows: Vec<Option<usize>> = opened.table.ids().map(row).collect();
            each_of(&opened, &rows)?;
        }
    }
    Ok(())
}
