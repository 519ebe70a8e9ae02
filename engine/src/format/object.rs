//! How every object begins, and how sealed parts are laid out (spec chapter 2).
//! An object says what it is before anything else of it is believed; this file knows no key.

use crate::buffers::room;
use crate::error::{Damage, Error, Result};
use crate::format::wire::{Enc, Malformed, Wire, from_padded};
use crate::id::{Class, ObjectId, ObjectName, SnapshotId};
use crate::limits::{TAG_BYTES, XNONCE_BYTES};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u8 = 1;
/// First six bytes of every object.
pub const MAGIC: &[u8; 6] = b"SEABED";
/// Length of the header of every object: magic, type, version.
pub const HEADER_BYTES: usize = 8;
/// Head of a sealed part: suite, purpose, two zero bytes, epoch.
pub const PART_HEAD_BYTES: usize = 8;
/// What sealing adds to a plaintext.
pub const PART_OVERHEAD_BYTES: usize = PART_HEAD_BYTES + XNONCE_BYTES + TAG_BYTES;
/// Suite 1: XChaCha20-Poly1305 under a symmetric sub-key; for frames ChaCha20-Poly1305 under a pack key.
pub const SUITE_SYMMETRIC: u8 = 1;
/// Suite 2: reserved for keys sealed to an X25519 public key (write-only hosts).
pub const SUITE_X25519: u8 = 2;

/// The type byte of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ObjectType {
    Descriptor = 1,
    Feature = 2,
    Slot = 3,
    Keyring = 4,
    DataPack = 5,
    NamesPack = 6,
    ListsPack = 7,
    Segment = 8,
    Pending = 9,
    Snapshot = 10,
    Tombstone = 11,
    Hold = 12,
    Release = 13,
    Record = 14,
    Note = 15,
}

impl ObjectType {
    /// The type of a pack of this class.
    pub const fn pack(class: Class) -> Self {
        match class {
            Class::Data => ObjectType::DataPack,
            Class::Names => ObjectType::NamesPack,
            Class::Lists => ObjectType::ListsPack,
        }
    }

    /// The type of the object of this name; `None` where the format has no such name. What else lies in a store is not ours:
    /// a README beside the segments must not stop a restore.
    pub fn of(name: &ObjectName) -> Option<Self> {
        let text = name.as_str();
        if let Some((class, _)) = name.as_pack() {
            return Some(Self::pack(class));
        }
        let (folder, rest) = text.split_once('/').unwrap_or((text, ""));
        // 32 bytes (a snapshot, a pack or zeros), then a random id.
        let about = || rest.split_once('-').is_some_and(|(a, b)| SnapshotId::from_hex(a).is_some() && ObjectId::from_hex(b).is_some());
        let random = || ObjectId::from_hex(rest).is_some();
        let (kind, fits) = match folder {
            "seabed" => (ObjectType::Descriptor, text == "seabed"),
            "features" => (ObjectType::Feature, !rest.is_empty() && !rest.contains('/')),
            "slots" => (ObjectType::Slot, random()),
            "keyring" => (ObjectType::Keyring, name.as_keyring().is_some()),
            "index" => (ObjectType::Segment, random()),
            "pending" => (ObjectType::Pending, name.as_pending().is_some()),
            "snapshots" => (ObjectType::Snapshot, name.as_snapshot().is_some()),
            "forgotten" => (ObjectType::Tombstone, name.as_tombstone().is_some()),
            "holds" => (ObjectType::Hold, about()),
            "releases" => (ObjectType::Release, about()),
            "records" => (ObjectType::Record, name.as_record().is_some()),
            "notes" => (ObjectType::Note, about()),
            _ => return None,
        };
        fits.then_some(kind)
    }

    /// The eight bytes that an object of this type begins with.
    pub const fn header(self) -> [u8; HEADER_BYTES] {
        [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], MAGIC[4], MAGIC[5], self as u8, FORMAT_VERSION]
    }
}

/// What a sub-key is for. Keys below 8 never rotate, the others belong to an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Purpose {
    IdsData = 0,
    IdsNames = 1,
    IdsLists = 2,
    Gear = 3,
    Data = 8,
    Names = 9,
    /// Lists and index.
    Lists = 10,
    Admin = 11,
}

impl Purpose {
    /// Every purpose, in the order of the format's numbers.
    pub const ALL: [Purpose; 8] = [
        Purpose::IdsData,
        Purpose::IdsNames,
        Purpose::IdsLists,
        Purpose::Gear,
        Purpose::Data,
        Purpose::Names,
        Purpose::Lists,
        Purpose::Admin,
    ];

    /// The purpose with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| *p as u8 == code)
    }

    /// Whether keys of this purpose belong to an epoch.
    pub const fn rotates(self) -> bool {
        self as u8 >= 8
    }

    /// The key that chunk ids of this class are made with.
    pub const fn ids(class: Class) -> Self {
        match class {
            Class::Data => Purpose::IdsData,
            Class::Names => Purpose::IdsNames,
            Class::Lists => Purpose::IdsLists,
        }
    }

    /// The key that wraps the keys of packs of this class.
    pub const fn wraps(class: Class) -> Self {
        match class {
            Class::Data => Purpose::Data,
            Class::Names => Purpose::Names,
            Class::Lists => Purpose::Lists,
        }
    }

    /// The context string of `blake3::derive_key` for this purpose.
    pub const fn context(self) -> &'static str {
        match self {
            Purpose::IdsData => "seabed v1 chunk ids of data",
            Purpose::IdsNames => "seabed v1 chunk ids of names",
            Purpose::IdsLists => "seabed v1 chunk ids of lists",
            Purpose::Gear => "seabed v1 gear",
            Purpose::Data => "seabed v1 epoch data",
            Purpose::Names => "seabed v1 epoch names",
            Purpose::Lists => "seabed v1 epoch lists and index",
            Purpose::Admin => "seabed v1 epoch admin",
        }
    }
}

/// Checks the header of an object and returns what follows it.
pub fn open_header<'a>(name: &ObjectName, kind: ObjectType, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(Error::damaged(name, Damage::Short { have: bytes.len() as u64, want: HEADER_BYTES as u64 }));
    };
    if header[..6] != MAGIC[..] || header[6] != kind as u8 {
        return Err(Error::damaged(name, Damage::Magic));
    }
    if header[7] != FORMAT_VERSION {
        // Version 0 never existed: that is damage. A higher one is a newer program's work, and nothing is wrong with it.
        if header[7] == 0 {
            return Err(Error::damaged(name, Damage::Magic));
        }
        return Err(Error::NewerFormat { object: name.clone(), found: header[7].into(), known: FORMAT_VERSION.into() });
    }
    Ok(rest)
}

/// The head of a sealed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// How it is sealed.
    pub suite: u8,
    /// Which sub-key.
    pub purpose: Purpose,
    /// Of which epoch.
    pub epoch: u32,
}

impl PartHead {
    /// The eight bytes in the object.
    pub fn encode(&self) -> [u8; PART_HEAD_BYTES] {
        let e = self.epoch.to_le_bytes();
        [self.suite, self.purpose as u8, 0, 0, e[0], e[1], e[2], e[3]]
    }

    /// Reads the eight bytes.
    pub fn decode(name: &ObjectName, bytes: &[u8]) -> Result<Self> {
        let head: &[u8; PART_HEAD_BYTES] =
            bytes.first_chunk().ok_or(Error::damaged(name, Damage::Short { have: bytes.len() as u64, want: PART_HEAD_BYTES as u64 }))?;
        let [suite, purpose, 0, 0, e @ ..] = *head else {
            return Err(Error::damaged(name, Damage::Malformed("part head")));
        };
        if suite != SUITE_SYMMETRIC {
            return Err(Error::UnknownFeature { object: name.clone(), feature: format!("suite {suite}") });
        }
        let unknown = || Error::UnknownFeature { object: name.clone(), feature: format!("key purpose {purpose}") };
        let purpose = Purpose::from_code(purpose).ok_or_else(unknown)?;
        Ok(Self { suite, purpose, epoch: u32::from_le_bytes(e) })
    }
}

/// Size to which a length is padded so that it tells little (Padmé, Nikitin et al. 2019): at most 12 % more, 3 % for a pack.
pub fn padme(bytes: u64) -> u64 {
    if bytes < 2 {
        return bytes;
    }
    let exponent = bytes.ilog2();
    let mantissa_bits = exponent.ilog2().saturating_add(1);
    let low = exponent.saturating_sub(mantissa_bits);
    let mask = (1u64 << low) - 1;
    bytes.saturating_add(mask) & !mask
}

/// Smallest plaintext of a sealed body, so that short ones all look alike.
pub const BODY_BYTES_MIN: u64 = 256;

/// Encodes a body for sealing: its CBOR, then zero bytes up to the padded length.
pub fn padded_body<T: Wire>(value: &T) -> Vec<u8> {
    put_padded(value, room(padded_about(value)))
}

/// How long a body is with its padding, about: no longer, of what can be long.
pub fn padded_about<T: Wire>(value: &T) -> usize {
    padme((value.bytes_about() as u64).max(BODY_BYTES_MIN)) as usize
}

/// As [`padded_body`], behind what is in `before`.
pub fn put_padded<T: Wire>(value: &T, before: Vec<u8>) -> Vec<u8> {
    let start = before.len();
    let mut e = Enc::new(before);
    value.put(&mut e);
    let mut out = e.into_writer();
    let padded = padme(((out.len() - start) as u64).max(BODY_BYTES_MIN));
    out.resize(start + padded as usize, 0);
    out
}

/// Decodes a body that was sealed with its padding.
pub fn open_body<T: Wire>(name: &ObjectName, field: &'static str, plain: &[u8]) -> Result<T> {
    from_padded(plain, field).map_err(|m| malformed(name, m))
}

/// A decoding failure as an error of the object it was found in.
pub fn malformed(name: &ObjectName, malformed: Malformed) -> Error {
    match malformed {
        Malformed::Field(field) => Error::damaged(name, Damage::Malformed(field)),
        Malformed::Critical(key) => Error::UnknownFeature { object: name.clone(), feature: format!("key {key}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_grows_little_and_never_shrinks() {
        for n in (0..5000).chain([1 << 20, (1 << 25) + 1, 33_000_001]) {
            let p = padme(n);
            assert!(p >= n && (n < 100 || p - n <= n / 8), "{n} -> {p}");
            assert_eq!(padme(p), p, "padding is idempotent");
        }
        assert_eq!(padme(32 << 20), 32 << 20);
    }

    /// What is guessed too small would be moved while it grows, in blocks of every size.
    #[test]
    fn a_long_body_fits_into_the_room_that_is_made_for_it() {
        use crate::format::segment::{Segment, SegmentPack};
        use crate::format::wire::Bytes;
        for packs in [0, 1, 100, 5000] {
            let pack =
                SegmentPack { class: Class::Data, id: crate::id::PackId::new([9; 32]), bytes: u64::MAX, extra: vec![(7, vec![0; 9])] };
            let segment = Segment { packs: vec![pack; packs], entries: Bytes(vec![1; 21 * 100 * packs]), extra: Vec::new() };
            let (body, about) = (padded_body(&segment).len(), padded_about(&segment));
            assert!(body <= about && about <= body + body / 8 + 64, "{body} bytes in {about}");
        }
    }

    #[test]
    fn every_name_of_the_format_has_its_type_and_no_other_name_has_one() {
        let (snapshot, id, pack) = (SnapshotId::new([3; 32]), ObjectId::new([4; 16]), crate::id::PackId::new([5; 32]));
        for (name, kind) in [
            (ObjectName::descriptor(), ObjectType::Descriptor),
            (ObjectName::slot(&id), ObjectType::Slot),
            (ObjectName::keyring(1, &id), ObjectType::Keyring),
            (ObjectName::pack(Class::Names, &pack), ObjectType::NamesPack),
            (ObjectName::segment(&id), ObjectType::Segment),
            (ObjectName::pending(&snapshot, 0), ObjectType::Pending),
            (ObjectName::snapshot(&snapshot), ObjectType::Snapshot),
            (ObjectName::tombstone(&snapshot, &id), ObjectType::Tombstone),
            (ObjectName::hold(&snapshot, &id), ObjectType::Hold),
            (ObjectName::release(&snapshot, &id), ObjectType::Release),
            (ObjectName::record(1, &id), ObjectType::Record),
            (ObjectName::note(&[0; 32], &id), ObjectType::Note),
        ] {
            assert_eq!(ObjectType::of(&name), Some(kind), "{name}");
            let longer = ObjectName::parse(&format!("{name}0")).unwrap();
            assert_eq!(ObjectType::of(&longer), None, "{longer}");
        }
        assert_eq!(ObjectType::of(&ObjectName::parse("tmp/1").unwrap()), None);
        assert_eq!(ObjectType::of(&ObjectName::parse("seabed/1").unwrap()), None);
        assert_eq!(ObjectType::of(&ObjectName::parse("features/x").unwrap()), Some(ObjectType::Feature));
    }

    #[test]
    fn a_newer_version_is_not_called_damage() {
        let name = ObjectName::descriptor();
        let mut header = ObjectType::Slot.header();
        assert!(open_header(&name, ObjectType::Slot, &header).is_ok());
        header[7] = 2;
        assert!(matches!(open_header(&name, ObjectType::Slot, &header), Err(Error::NewerFormat { found: 2, .. })));
        assert!(matches!(open_header(&name, ObjectType::Note, &header), Err(Error::Damaged { .. })));
        for head in [[2, 8, 0, 0, 1, 0, 0, 0], [1, 99, 0, 0, 1, 0, 0, 0]] {
            assert!(matches!(PartHead::decode(&name, &head), Err(Error::UnknownFeature { .. })));
        }
    }
}
