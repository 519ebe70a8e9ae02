//! One object after the other: what a name says that it is, and what is in it (chapters 4 to 7).

use crate::reader::cbor::Value;
use crate::reader::keys::{ADMIN, Keys, LISTS};
use crate::reader::{Id, Read, hex, unhex};
use std::sync::OnceLock;

/// The folders of packs, by the numbers of their classes.
pub const CLASSES: [&str; 3] = ["data", "names", "lists"];

/// A pack with the plaintext of its chunks.
#[derive(Debug)]
pub struct Pack {
    /// 0 data, 1 names, 2 lists.
    pub class: u8,
    /// Its id.
    pub id: Id,
    /// Its length.
    pub bytes: u64,
    /// Its chunks, in order.
    pub chunks: Vec<(Id, Vec<u8>)>,
}

/// An index segment.
#[derive(Debug)]
pub struct Segment {
    /// The packs that it names, with their lengths.
    pub packs: Vec<(Id, u64)>,
    /// Beginning of a chunk's id, number of its pack, number of the chunk there; ascending.
    pub entries: Vec<([u8; 16], usize, usize)>,
}

/// A manifest, committed or pending.
#[derive(Debug)]
pub struct Manifest {
    /// The snapshot.
    pub snapshot: Id,
    /// The object.
    pub bytes: Vec<u8>,
    pub(super) index: Value,
    pub(super) names: Value,
    /// What it needs, once that could be told.
    pub(super) needs: OnceLock<Vec<Id>>,
}

/// A record: packs that nobody uses any more.
#[derive(Debug)]
pub struct Record {
    /// The packs.
    pub packs: Vec<Id>,
    /// Records that there were, by the random part of their names.
    pub seen: Vec<[u8; 16]>,
}

/// An object of a repository.
#[derive(Debug)]
pub enum Object {
    /// Below `data/`, `names/`, `lists/`.
    Pack(Pack),
    /// Below `index/`.
    Segment(Segment),
    /// Below `snapshots/`.
    Snapshot(Manifest),
    /// Below `pending/`.
    Pending(Manifest),
    /// Below `forgotten/`: of which snapshot.
    Tombstone(Id),
    /// Below `records/`.
    Record(Record),
    /// What neither says nor needs anything here.
    Other,
}

impl Object {
    /// Reads an object.
    pub fn read(keys: &Keys, name: &str, bytes: &[u8]) -> Read<Object> {
        Self::read_as(keys, name, bytes).map_err(|why| format!("{name}: {why}"))
    }

    fn read_as(keys: &Keys, name: &str, bytes: &[u8]) -> Read<Object> {
        let parts: Vec<&str> = name.split('/').collect();
        let snapshot = |text: &str| unhex::<32>(text.split('-').next().unwrap_or_default()).ok_or("no such name".to_owned());
        Ok(match parts[..] {
            [folder @ ("data" | "names" | "lists"), begins, id] => {
                let class = CLASSES.iter().position(|have| *have == folder).unwrap_or_default() as u8;
                let id = unhex(id).filter(|id: &Id| hex(&id[..1]) == begins).ok_or("no such name")?;
                Object::Pack(Pack { class, id, bytes: bytes.len() as u64, chunks: keys.pack(class, &id, bytes)? })
            }
            ["index", _] => Object::Segment(segment(&keys.object(name, 8, LISTS, bytes)?)?),
            ["pending", id] => Object::Pending(manifest(keys, name, 9, snapshot(id)?, bytes)?),
            ["snapshots", id] => Object::Snapshot(manifest(keys, name, 10, snapshot(id)?, bytes)?),
            ["forgotten", id] => {
                let (id, body) = (snapshot(id)?, keys.object(name, 11, ADMIN, bytes)?);
                if body.field(0)?.fixed::<32>()? != id {
                    return Err("a tombstone of another snapshot".to_owned());
                }
                Object::Tombstone(id)
            }
            ["records", _] => {
                let body = keys.object(name, 14, LISTS, bytes)?;
                let packs = body.field(2)?.array()?.iter().map(|pack| pack.field(2)?.fixed());
                let seen = body.field(4)?.array()?.iter().map(|id| id.fixed());
                Object::Record(Record { packs: packs.collect::<Read<_>>()?, seen: seen.collect::<Read<_>>()? })
            }
            _ => Object::Other,
        })
    }
}

fn segment(body: &Value) -> Read<Segment> {
    let packs: Vec<(Id, u64)> =
        body.field(0)?.array()?.iter().map(|pack| Ok((pack.field(2)?.fixed()?, pack.field(4)?.uint()?))).collect::<Read<_>>()?;
    let (rows, rest) = body.field(2)?.bytes()?.as_chunks::<21>();
    if !rest.is_empty() {
        return Err("half an entry".to_owned());
    }
    let mut entries: Vec<([u8; 16], usize, usize)> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut position = [0; 8];
        position[..5].copy_from_slice(&row[16..]);
        let position = u64::from_le_bytes(position) as usize;
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&row[..16]);
        if position >> 20 >= packs.len() || entries.last().is_some_and(|(last, ..)| *last > prefix) {
            return Err("entries that are out of order or name no pack".to_owned());
        }
        entries.push((prefix, position >> 20, position & 0xf_ffff));
    }
    Ok(Segment { packs, entries })
}

fn manifest(keys: &Keys, name: &str, kind: u8, snapshot: Id, bytes: &[u8]) -> Read<Manifest> {
    let (index, names) = keys.manifest(name, kind, bytes)?;
    if index.field(0)?.fixed::<32>()? != snapshot {
        return Err("a manifest of another snapshot".to_owned());
    }
    Ok(Manifest { snapshot, bytes: bytes.to_vec(), index, names, needs: OnceLock::new() })
}
