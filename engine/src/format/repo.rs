//! Descriptor, features, slots and keyrings: what opens a repository (spec chapter 3).
//! Layout only; deriving, wrapping and sealing are in `seal/key.rs`.

use crate::format::wire::{Bytes, Time, map_struct};
use crate::id::{FamilyId, ObjectId, RepositoryId};

/// The chunker that this version knows: FastCDC 2020 over a secret gear table.
pub const CHUNKER_GEAR: u8 = 1;
/// Length of the MAC that ends the descriptor.
pub const MAC_BYTES: usize = 32;

map_struct! {
    /// Sizes of one chunking profile.
    pub struct ProfileSizes {
        /// 0 normal (files), 1 fine (streams), 2 coarse (large incompressible files).
        0 => profile: u8,
        /// Smallest chunk, bytes; even.
        2 => min: u32,
        /// Wanted average, bytes; even.
        4 => avg: u32,
        /// Largest chunk, bytes; even.
        6 => max: u32,
        /// FastCDC's normalization level.
        8 => normalization: u8,
    }
}

map_struct! {
    /// The descriptor `seabed`: what a program must know before it has a key.
    pub struct Descriptor {
        /// This repository.
        0 => repository: RepositoryId,
        /// Its key family.
        2 => family: FamilyId,
        /// The chunker, [`CHUNKER_GEAR`].
        4 => chunker: u8,
        /// Sizes per profile, in the order of their numbers.
        6 => profiles: Vec<ProfileSizes>,
        /// When it was made, by the clock of the machine that made it.
        8 => created: Time,
    }
}

map_struct! {
    /// A feature flag: an old program that does not know `name` refuses the operations named here.
    pub struct Feature {
        /// Its name, also in the object's name.
        0 => name: String,
        /// Reading needs it.
        2 => read: bool,
        /// Writing needs it.
        4 => write: bool,
        /// Collecting needs it.
        6 => gc: bool,
    }
}

/// Slot of a passphrase.
pub const SLOT_PASSPHRASE: u8 = 1;
/// Slot of a key file.
pub const SLOT_KEY_FILE: u8 = 2;

map_struct! {
    /// Cost of Argon2id for one slot; checked against `limits` before use.
    pub struct Kdf {
        /// Memory, KiB.
        0 => memory_kib: u32,
        /// Passes over it.
        2 => passes: u32,
        /// Lanes.
        4 => lanes: u32,
    }
}

map_struct! {
    /// A slot: one passphrase, key file or host.
    pub struct Slot {
        /// [`SLOT_PASSPHRASE`] or [`SLOT_KEY_FILE`].
        0 => kind: u8,
        /// Cost, for a passphrase.
        2 ? kdf: Option<Kdf>,
        /// Salt of the derivation.
        4 => salt: [u8; 32],
        /// Commitment to the derived key: tells a wrong secret from a damaged slot.
        6 => commitment: [u8; 32],
        /// X25519 public key; keyrings are sealed to it.
        8 => public: [u8; 32],
        /// Nonce and sealed [`SlotSecret`].
        10 => sealed: Bytes,
    }
}

map_struct! {
    /// What a slot keeps sealed.
    pub struct SlotSecret {
        /// X25519 secret key.
        0 => secret: [u8; 32],
        /// What the user calls it.
        2 ? label: String,
        /// When it was added.
        4 => created: Time,
        /// Random: only who was told it can seal a keyring copy that this slot believes.
        6 => vouch: [u8; 32],
    }
}

map_struct! {
    /// One slot's copy of the keys in a keyring.
    pub struct Recipient {
        /// The slot.
        0 => slot: ObjectId,
        /// Ephemeral X25519 public key.
        2 => ephemeral: [u8; 32],
        /// Nonce and sealed [`KeySet`].
        4 => sealed: Bytes,
    }
}

map_struct! {
    /// A keyring: the keys of all epochs so far, once per slot that remains, each copy with the keys of that slot's role.
    pub struct Keyring {
        /// The newest epoch in it.
        0 => epoch: u32,
        /// The copies.
        2 => recipients: Vec<Recipient>,
    }
}

map_struct! {
    /// One sub-key.
    pub struct SubKey {
        /// [`crate::format::object::Purpose`] as a number.
        0 => purpose: u8,
        /// Its epoch; 0 for keys that never rotate.
        2 ? epoch: u32,
        /// The key.
        4 => key: [u8; 32],
    }
}

map_struct! {
    /// A slot as the makers of keyrings know it. The objects below `slots/` are in the clear and anyone who may write can add one,
    /// so they are never the list of whom to seal to.
    pub struct Member {
        /// The slot.
        0 => slot: ObjectId,
        /// Its X25519 public key.
        2 => public: [u8; 32],
        /// Its vouch.
        4 => vouch: [u8; 32],
        /// What the user calls it: whoever makes keyrings can list all slots, the secrets of the others not at hand.
        5 ? label: String,
        /// When it was added.
        7 ? created: Option<Time>,
    }
}

map_struct! {
    /// The keys that one role holds.
    pub struct KeySet {
        /// The family they are for.
        0 => family: FamilyId,
        /// The sub-keys, ascending by purpose, then epoch.
        2 => keys: Vec<SubKey>,
        /// Whom the next keyring is sealed to; only roles that make keyrings hold it.
        4 ? members: Vec<Member>,
    }
}

/// The layout of recovery sheets that this version writes and reads.
pub const SHEET_VERSION: u8 = 1;

map_struct! {
    /// The slot that was made for a recovery sheet.
    pub struct SheetSlot {
        /// The slot.
        0 => slot: ObjectId,
        /// Its key file's 256 bits.
        2 => key: [u8; 32],
    }
}

map_struct! {
    /// A recovery sheet: what opens a repository on a machine that has nothing else, even where the store lost slots, keyrings or the
    /// descriptor. It lies in no store: it is on paper.
    pub struct Sheet {
        /// [`SHEET_VERSION`].
        0 => version: u8,
        /// The bytes of the descriptor object.
        2 => descriptor: Bytes,
        /// The newest epoch of the keys.
        4 => epoch: u32,
        /// The keys, and whom keyrings are sealed to.
        6 => keys: KeySet,
        /// A slot of its own, which opens what later rotations make too, until it is removed.
        8 ? slot: Option<SheetSlot>,
        /// When it was made.
        10 => created: Time,
    }
}
