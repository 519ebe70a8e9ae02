//! What a plan will write, weighed: for those who only want to know, and wait for it. Frames that are copied are known to the byte; of those
//! that are made anew some are made and thrown away.

use crate::error::{Error, Result};
use crate::format::object::padme;
use crate::gc::GcOptions;
use crate::id::Class;
use crate::index::compact::PackRow;
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::pack::repack::stays;
use crate::pack::weigh::Scale;
use crate::repository::Repository;

/// Frames that are made anew to weigh them; what is more is judged by these. Some 40 MiB.
const WEIGHED_FRAMES_MAX: usize = 128;
/// Rows of a footer: a chunk takes 37 bytes, a frame 40.
pub const CHUNK_ROW_BYTES: u64 = 37;
pub const FRAME_ROW_BYTES: u64 = 40;

/// A frame of which a part is wanted.
struct Part {
    take: usize,
    frame: u32,
    share: u64,
}

/// The bytes of all packs into which `takes` go, padding included.
pub fn written(
    repository: &Repository,
    packs: &[PackRow],
    (takes, spare): (&[(u32, Bits)], f64),
    options: &GcOptions,
    observer: &dyn Observer,
) -> Result<u64> {
    let open = |take: usize| {
        let row = &packs[takes[take].0 as usize];
        OpenPack::open(repository.store(), repository.keys(), row.class, &row.id)
    };
    let mut sure = [0u64; Class::ALL.len()];
    let mut shares = [0u64; Class::ALL.len()];
    let mut parts = Vec::new();
    for (take, (_, wanted)) in takes.iter().enumerate() {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        let pack = open(take)?;
        let class = usize::from(pack.class.code());
        for (number, span) in pack.table.frames.iter().enumerate() {
            let chunks = span.chunks();
            let kept: Vec<usize> = chunks.clone().filter(|chunk| wanted.has(*chunk)).collect();
            if kept.is_empty() {
                continue;
            }
            if stays(&pack, number as u32, wanted, spare) {
                sure[class] += u64::from(span.info.stored) + FRAME_ROW_BYTES + CHUNK_ROW_BYTES * chunks.len() as u64;
                continue;
            }
            let plain: u64 = kept.iter().filter_map(|chunk| pack.table.chunks.get(*chunk)).map(|place| u64::from(place.bytes)).sum();
            let share = u64::from(span.info.stored) * plain / u64::from(span.info.plain).max(1);
            sure[class] += CHUNK_ROW_BYTES * kept.len() as u64;
            shares[class] += share;
            parts.push(Part { take, frame: number as u32, share });
        }
    }
    // Evenly over all of them, in the order in which they lie.
    let step = parts.len().div_ceil(WEIGHED_FRAMES_MAX).max(1);
    let mut scale = Scale::new()?;
    let mut weighed = 0;
    let mut last: Option<(usize, OpenPack)> = None;
    for part in parts.iter().step_by(step) {
        if observer.interrupted() {
            return Err(Error::Interrupted);
        }
        if last.as_ref().is_none_or(|(take, _)| *take != part.take) {
            last = Some((part.take, open(part.take)?));
        }
        if let Some((take, pack)) = &last {
            scale.put(repository.store(), pack, part.frame, &takes[*take].1)?;
            weighed += part.share;
        }
    }
    let factor = if weighed == 0 { 1.0 } else { scale.weigh()? as f64 / weighed as f64 };
    let bytes = Class::ALL.iter().map(|class| {
        let at = usize::from(class.code());
        let target = if *class == Class::Data { options.data_pack_bytes } else { options.meta_pack_bytes() };
        let bytes = sure[at] + (shares[at] as f64 * factor) as u64;
        bytes / target.max(1) * padme(target) + padme(bytes % target.max(1))
    });
    Ok(bytes.sum())
}
