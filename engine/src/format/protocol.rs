//! The small objects of commit and collection (spec chapter 7): tombstones, holds, releases, records, notes.
//! They are laid down in version 1 so that every program can read what later ones write.

use crate::format::manifest::Head;
use crate::format::wire::{Bytes, Time, map_struct};
use crate::id::{Class, ObjectId, PackId, SnapshotId, WriterId};

map_struct! {
    /// `forgotten/<snapshot>-<id>`: the snapshot is forgotten. It carries the ledger entry, so that no gap is left.
    pub struct Tombstone {
        /// The snapshot.
        0 => snapshot: SnapshotId,
        /// Its writer.
        2 => writer: WriterId,
        /// Its sequence number.
        4 => sequence: u64,
        /// The one before it.
        6 ? previous: Option<SnapshotId>,
        /// What it vouched for.
        8 ? heads: Vec<Head>,
        /// When, by the clock of who did it.
        10 => time: Time,
        /// Why: `forget`, `gave up`, `lost`, `rewrite`.
        12 ? reason: String,
    }
}

map_struct! {
    /// `holds/<snapshot>-<id>`: the snapshot must not be forgotten.
    pub struct Hold {
        /// The snapshot.
        0 => snapshot: SnapshotId,
        /// Why.
        2 ? reason: String,
        /// Until when.
        4 ? until: Option<Time>,
        /// Since when.
        6 => time: Time,
    }
}

map_struct! {
    /// `releases/<snapshot>-<id>`: holds that no longer count.
    pub struct Release {
        /// The snapshot.
        0 => snapshot: SnapshotId,
        /// The holds, by the random part of their names.
        2 => holds: Vec<ObjectId>,
        /// When.
        4 => time: Time,
    }
}

map_struct! {
    /// A pack that a record condemns.
    pub struct Condemned {
        /// Its class.
        0 => class: Class,
        /// Its id.
        2 => id: PackId,
    }
}

map_struct! {
    /// `records/<sequence>-<id>`: packs that nobody may use from now on, and the records its writer saw.
    pub struct Record {
        /// Its number.
        0 => sequence: u64,
        /// The packs.
        2 => packs: Vec<Condemned>,
        /// The records that existed, by the random part of their names: one that is named and not listed is a short listing.
        4 => seen: Vec<ObjectId>,
        /// Records that this one takes the place of.
        6 ? folds: Vec<ObjectId>,
        /// When, by the store's clock.
        8 => time: Time,
    }
}

map_struct! {
    /// `notes/<about>-<n>`: a fact that packs do not say.
    pub struct Note {
        /// Its kind: `tags`, `description`, `verified`, `run`, `drill`.
        0 => kind: String,
        /// The snapshot or pack it is about.
        2 ? about: Bytes,
        /// When.
        4 => time: Time,
        /// The fact, as its kind defines.
        6 ? body: Bytes,
    }
}
