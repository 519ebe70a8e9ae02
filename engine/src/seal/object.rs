//! Whole objects sealed and opened: the descriptor with its MAC, objects of one sealed part, manifests of two (spec chapters 2 and 3).
//! Which purpose an object is sealed under stands here once, so that no verb can choose another.

use crate::buffers::{copied, room};
use crate::error::{Damage, Error, Result};
use crate::format::manifest::{IndexPart, NamesPart, assemble, roots_fit, split};
use crate::format::object::{
    HEADER_BYTES, ObjectType, PART_OVERHEAD_BYTES, PartHead, Purpose, SUITE_SYMMETRIC, malformed, open_body, open_header, padded_about,
    put_padded,
};
use crate::format::repo::{CHUNKER_GEAR, Descriptor, MAC_BYTES};
use crate::format::wire::{Wire, from_bytes, to_bytes};
use crate::id::{ObjectName, RepositoryId};
use crate::limits::SMALL_OBJECT_BYTES_MAX;
use crate::seal::key::Keys;
use crate::seal::{Binding, Key, object_mac, open_part, seal_part};
use subtle::ConstantTimeEq;

/// The purpose that the one part of such an object is sealed under; `None` for types that are not laid out so.
pub const fn purpose_of(kind: ObjectType) -> Option<Purpose> {
    match kind {
        // Every role must be able to read records and features: a host that may only write has to run CHECK and to know what it
        // may not do. A forged record deletes nothing live: a collector marks again before it acts on one.
        ObjectType::Segment | ObjectType::Feature | ObjectType::Record => Some(Purpose::Lists),
        ObjectType::Note => Some(Purpose::Names),
        ObjectType::Tombstone | ObjectType::Hold | ObjectType::Release => Some(Purpose::Admin),
        _ => None,
    }
}

fn seal<T: Wire>(
    keys: &Keys,
    repository: &RepositoryId,
    name: &ObjectName,
    kind: ObjectType,
    place: (u8, Purpose),
    body: &T,
    before: Vec<u8>,
) -> Result<Vec<u8>> {
    let (part, purpose) = place;
    let head = PartHead { suite: SUITE_SYMMETRIC, purpose, epoch: keys.epoch };
    let binding = Binding { scope: repository.as_bytes(), header: kind.header(), part, name: name.as_str().as_bytes() };
    seal_part(keys.require(name, purpose, keys.epoch)?, head, &binding, before, |out| put_padded(body, out))
}

/// Opens a part where it stands. Afterwards `sealed` holds anything.
fn open<T: Wire>(
    keys: &Keys,
    repository: &RepositoryId,
    name: &ObjectName,
    kind: ObjectType,
    place: (u8, Purpose),
    sealed: &mut [u8],
) -> Result<T> {
    let (part, purpose) = place;
    let head = PartHead::decode(name, sealed)?;
    // A part under another purpose was sealed by someone who may not write this kind of object.
    if head.purpose != purpose {
        return Err(Error::damaged(name, Damage::Malformed("purpose")));
    }
    let binding = Binding { scope: repository.as_bytes(), header: kind.header(), part, name: name.as_str().as_bytes() };
    let plain = open_part(name, keys.require(name, purpose, head.epoch)?, &binding, sealed)?;
    open_body(name, "body", &sealed[plain])
}

/// Seals `body` as an object of one part: header, sealed part. The caller names a type for which [`purpose_of`] knows a purpose.
pub fn seal_object<T: Wire>(keys: &Keys, repository: &RepositoryId, name: &ObjectName, kind: ObjectType, body: &T) -> Result<Vec<u8>> {
    let purpose = purpose_of(kind).ok_or(Error::SelfCheck { what: "the type of a sealed object" })?;
    // A segment is some MiB long, and several of them are made at a time: once, in the memory in which it is encoded.
    let mut object = room(HEADER_BYTES + PART_OVERHEAD_BYTES + padded_about(body));
    object.extend_from_slice(&kind.header());
    seal(keys, repository, name, kind, (0, purpose), body, object)
}

/// Opens what [`seal_object`] made.
pub fn open_object<T: Wire>(keys: &Keys, repository: &RepositoryId, name: &ObjectName, kind: ObjectType, bytes: &[u8]) -> Result<T> {
    open_object_in_place(keys, repository, name, kind, &mut copied(bytes))
}

/// The same, in the memory in which it was read, for what is long. Afterwards `bytes` holds anything.
pub fn open_object_in_place<T: Wire>(
    keys: &Keys,
    repository: &RepositoryId,
    name: &ObjectName,
    kind: ObjectType,
    bytes: &mut [u8],
) -> Result<T> {
    let purpose = purpose_of(kind).ok_or(Error::SelfCheck { what: "the type of a sealed object" })?;
    open_header(name, kind, bytes)?;
    open(keys, repository, name, kind, (0, purpose), &mut bytes[HEADER_BYTES..])
}

const INDEX: (u8, Purpose) = (0, Purpose::Lists);
const NAMES: (u8, Purpose) = (1, Purpose::Names);

/// Type of the manifest that `name` names.
fn manifest_kind(name: &ObjectName) -> Result<ObjectType> {
    match (name.as_snapshot(), name.as_pending()) {
        (Some(_), _) => Ok(ObjectType::Snapshot),
        (_, Some(_)) => Ok(ObjectType::Pending),
        _ => Err(Error::damaged(name, Damage::Name)),
    }
}

/// Seals a manifest under `name`, which says whether it is committed or pending.
pub fn seal_manifest(keys: &Keys, repository: &RepositoryId, name: &ObjectName, index: &IndexPart, names: &NamesPart) -> Result<Vec<u8>> {
    let kind = manifest_kind(name)?;
    let index = seal(keys, repository, name, kind, INDEX, index, Vec::new())?;
    let names = seal(keys, repository, name, kind, NAMES, names, Vec::new())?;
    Ok(assemble(kind, &index, &names))
}

/// Opens the part of a manifest that a collector reads.
pub fn open_manifest_index(keys: &Keys, repository: &RepositoryId, name: &ObjectName, bytes: &[u8]) -> Result<IndexPart> {
    let kind = manifest_kind(name)?;
    let (index, _) = split(name, kind, bytes)?;
    let index: IndexPart = open(keys, repository, name, kind, INDEX, &mut copied(index))?;
    let named = name.as_snapshot().or(name.as_pending().map(|(id, _)| id));
    if named != Some(index.snapshot) {
        return Err(Error::damaged(name, Damage::Name));
    }
    Ok(index)
}

/// The older one of the epochs that the parts of a manifest say they are sealed in: that stands in the clear, and nothing is proved by it.
pub fn manifest_epoch(name: &ObjectName, bytes: &[u8]) -> Result<u32> {
    let (index, names) = split(name, manifest_kind(name)?, bytes)?;
    Ok(PartHead::decode(name, index)?.epoch.min(PartHead::decode(name, names)?.epoch))
}

/// Opens both parts of a manifest.
pub fn open_manifest(keys: &Keys, repository: &RepositoryId, name: &ObjectName, bytes: &[u8]) -> Result<(IndexPart, NamesPart)> {
    let kind = manifest_kind(name)?;
    let index = open_manifest_index(keys, repository, name, bytes)?;
    let (_, names) = split(name, kind, bytes)?;
    let names: NamesPart = open(keys, repository, name, kind, NAMES, &mut copied(names))?;
    // Each root has a half in either part; one that lost its other half would be restored as something else.
    if !roots_fit(&index.roots, &names.roots) {
        return Err(Error::damaged(name, Damage::Malformed("roots")));
    }
    Ok((index, names))
}

/// Encodes the descriptor: header, length of the body, body, MAC over all that.
pub fn encode_descriptor(descriptor: &Descriptor, gear: &Key) -> Vec<u8> {
    let body = to_bytes(descriptor);
    let mut object = ObjectType::Descriptor.header().to_vec();
    object.extend_from_slice(&(body.len() as u32).to_le_bytes());
    object.extend_from_slice(&body);
    let mac = object_mac(gear, &object);
    object.extend_from_slice(&mac);
    object
}

/// What remains to be checked of a descriptor once a key is there.
pub struct UnverifiedMac<'a> {
    name: &'a ObjectName,
    covered: &'a [u8],
    mac: [u8; MAC_BYTES],
}

impl UnverifiedMac<'_> {
    /// Compares the MAC. Until then the descriptor is only what the store says.
    pub fn verify(&self, gear: &Key) -> Result<()> {
        let same = bool::from(object_mac(gear, self.covered).ct_eq(&self.mac));
        if same { Ok(()) } else { Err(Error::damaged(self.name, Damage::Seal)) }
    }
}

/// Reads the descriptor. Its MAC needs the gear key, which only the keyring holds: the caller verifies as soon as it is open.
pub fn decode_descriptor<'a>(name: &'a ObjectName, bytes: &'a [u8]) -> Result<(Descriptor, UnverifiedMac<'a>)> {
    if bytes.len() as u64 > SMALL_OBJECT_BYTES_MAX {
        return Err(Error::damaged(name, Damage::TooLarge { have: bytes.len() as u64, max: SMALL_OBJECT_BYTES_MAX }));
    }
    let rest = open_header(name, ObjectType::Descriptor, bytes)?;
    let short = || Error::damaged(name, Damage::Short { have: bytes.len() as u64, want: (HEADER_BYTES + 4 + MAC_BYTES) as u64 });
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (body, mac) = rest.split_last_chunk::<MAC_BYTES>().ok_or_else(short)?;
    if body.len() != u32::from_le_bytes(*length) as usize {
        return Err(Error::damaged(name, Damage::Malformed("length")));
    }
    let descriptor: Descriptor = from_bytes(body, "descriptor").map_err(|m| malformed(name, m))?;
    if descriptor.chunker != CHUNKER_GEAR {
        return Err(Error::UnknownFeature { object: name.clone(), feature: format!("chunker {}", descriptor.chunker) });
    }
    Ok((descriptor, UnverifiedMac { name, covered: &bytes[..bytes.len() - MAC_BYTES], mac: *mac }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Profile;
    use crate::format::protocol::Note;
    use crate::format::wire::{Bytes, Time};
    use crate::id::FamilyId;

    const REPO: RepositoryId = RepositoryId::new([1; 16]);

    #[test]
    fn a_descriptor_comes_back_and_any_changed_byte_is_seen() {
        let name = ObjectName::descriptor();
        let gear = Key::new([3; 32]);
        let descriptor = Descriptor {
            repository: REPO,
            family: FamilyId::new([2; 16]),
            chunker: CHUNKER_GEAR,
            profiles: Profile::default_sizes(),
            created: Time::default(),
            extra: vec![],
        };
        let object = encode_descriptor(&descriptor, &gear);
        let (back, mac) = decode_descriptor(&name, &object).unwrap();
        assert_eq!(back, descriptor);
        mac.verify(&gear).unwrap();
        assert!(mac.verify(&Key::new([4; 32])).is_err());
        for at in 0..object.len() {
            let mut bad = object.clone();
            bad[at] ^= 1;
            assert!(decode_descriptor(&name, &bad).and_then(|(_, mac)| mac.verify(&gear)).is_err(), "byte {at}");
            assert!(decode_descriptor(&name, &object[..at]).and_then(|(_, mac)| mac.verify(&gear)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_object_opens_under_its_name_and_type_alone() {
        let keys = Keys::generate().unwrap();
        let name = ObjectName::parse("notes/0-1").unwrap();
        let note = Note { kind: "tags".into(), about: Bytes::default(), time: Time::default(), body: Bytes(vec![1]), extra: vec![] };
        let object = seal_object(&keys, &REPO, &name, ObjectType::Note, &note).unwrap();
        assert_eq!(open_object::<Note>(&keys, &REPO, &name, ObjectType::Note, &object).unwrap(), note);
        let other = ObjectName::parse("notes/0-2").unwrap();
        assert!(open_object::<Note>(&keys, &REPO, &other, ObjectType::Note, &object).is_err());
        assert!(open_object::<Note>(&keys, &REPO, &name, ObjectType::Hold, &object).is_err());
        assert!(open_object::<Note>(&keys, &RepositoryId::new([2; 16]), &name, ObjectType::Note, &object).is_err());
    }
}
