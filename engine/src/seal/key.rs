//! Secrets, slots, keyrings and the sub-keys that a run holds (spec chapter 3).
//! Knows how keys come from each other; where slots and keyrings are stored is `repository.rs`'s business.

use crate::error::{Damage, Error, Result};
use crate::format::object::{HEADER_BYTES, ObjectType, Purpose, malformed, open_body, open_header, padded_body};
use crate::format::repo::{Kdf, KeySet, Keyring, Member, Recipient, SLOT_KEY_FILE, SLOT_PASSPHRASE, Slot, SlotSecret, SubKey};
use crate::format::wire::{Bytes, Time, from_bytes, to_bytes};
use crate::id::{Class, FamilyId, ObjectId, ObjectName, RepositoryId};
use crate::limits::{KDF_LANES_MAX, KDF_MEMORY_KIB_MAX, KDF_PASSES_MAX, SLOT_LABEL_BYTES_MAX, SLOTS_MAX, SMALL_OBJECT_BYTES_MAX};
use crate::seal::later::{Later, Newer};
use crate::seal::{Key, random, unwrap, wrap};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Argon2id cost for new slots: RFC 9106's second recommended choice, 64 MiB, 3 passes, 4 lanes.
pub const KDF_DEFAULT: (u32, u32, u32) = (64 << 10, 3, 4);

/// What the user holds.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase, as typed, without a line end.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The 256 random bits of a key file.
    KeyFile(Key),
}

impl Secret {
    fn slot_kind(&self) -> u8 {
        match self {
            Secret::Passphrase(_) => SLOT_PASSPHRASE,
            Secret::KeyFile(_) => SLOT_KEY_FILE,
        }
    }

    /// The key-encryption key of a slot. Costs are checked before any memory is taken: a hostile slot must not exhaust the host.
    fn derive(&self, name: &ObjectName, kdf: Option<&Kdf>, salt: &[u8; 32]) -> Result<Key> {
        match self {
            Secret::KeyFile(key) => {
                let mut input = Zeroizing::new([0; 64]);
                input[..32].copy_from_slice(key.as_bytes());
                input[32..].copy_from_slice(salt);
                Ok(Key::new(blake3::derive_key("seabed v1 key file", &input[..])))
            }
            Secret::Passphrase(text) => {
                let bad = || Error::damaged(name, Damage::Malformed("kdf"));
                let kdf = kdf.ok_or_else(bad)?;
                let fair = kdf.memory_kib <= KDF_MEMORY_KIB_MAX && kdf.passes <= KDF_PASSES_MAX && kdf.lanes <= KDF_LANES_MAX;
                let params = Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).ok().filter(|_| fair).ok_or_else(bad)?;
                let mut out = Zeroizing::new([0; 32]);
                let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                // Its memory is made by all threads: the first touch of 64 MiB by one of them took half as long as all the hashing.
                let blocks = argon.params().block_count();
                let mut memory = Vec::new();
                memory.try_reserve_exact(blocks).map_err(|_| bad())?;
                (0..blocks).into_par_iter().map(|_| Block::new()).collect_into_vec(&mut memory);
                argon.hash_password_into_with_memory(text, salt, &mut out[..], &mut memory[..]).map_err(|_| bad())?;
                Ok(Key::new(*out))
            }
        }
    }
}

fn commitment(kek: &Key, repository: &RepositoryId) -> [u8; 32] {
    let key = kek.derive("seabed v1 slot commitment");
    *blake3::keyed_hash(key.as_bytes(), repository.as_bytes()).as_bytes()
}

fn slot_aad(repository: &RepositoryId, name: &ObjectName) -> Vec<u8> {
    [&ObjectType::Slot.header()[..], repository.as_bytes(), name.as_str().as_bytes()].concat()
}

/// An opened slot: the X25519 secret that opens keyrings.
pub struct OpenSlot {
    /// Which slot.
    pub id: ObjectId,
    secret: StaticSecret,
    vouch: Key,
    /// What the user calls it.
    pub label: String,
    /// When it was added.
    pub created: Time,
}

impl OpenSlot {
    /// What makers of keyrings must know of it.
    pub fn member(&self) -> Member {
        Member {
            slot: self.id,
            public: PublicKey::from(&self.secret).to_bytes(),
            vouch: *self.vouch.as_bytes(),
            label: self.label.clone(),
            created: Some(self.created),
            extra: Vec::new(),
        }
    }
}

/// Makes a slot for `secret`; returns the object and the opened slot.
pub fn new_slot(
    repository: &RepositoryId,
    secret: &Secret,
    kdf: (u32, u32, u32),
    label: &str,
    now: Time,
) -> Result<(ObjectName, Vec<u8>, OpenSlot)> {
    if label.len() > SLOT_LABEL_BYTES_MAX {
        // It is in every copy of every keyring.
        return Err(Error::Refused { what: format!("the name of a slot has no more than {SLOT_LABEL_BYTES_MAX} bytes") });
    }
    let id = ObjectId::new(random()?);
    let name = ObjectName::slot(&id);
    let salt = random()?;
    let kdf = matches!(secret, Secret::Passphrase(_)).then_some(Kdf { memory_kib: kdf.0, passes: kdf.1, lanes: kdf.2, extra: Vec::new() });
    let kek = secret.derive(&name, kdf.as_ref(), &salt)?;
    let private = StaticSecret::from(random::<32>()?);
    let vouch = Key::random()?;
    let body =
        SlotSecret { secret: private.to_bytes(), label: label.to_owned(), created: now, vouch: *vouch.as_bytes(), extra: Vec::new() };
    // Padded, because the length of a label is nobody's business.
    let sealed = wrap(&kek.derive("seabed v1 slot wrap"), &slot_aad(repository, &name), &Zeroizing::new(padded_body(&body)))?;
    let slot = Slot {
        kind: secret.slot_kind(),
        kdf,
        salt,
        commitment: commitment(&kek, repository),
        public: PublicKey::from(&private).to_bytes(),
        sealed: Bytes(sealed),
        extra: Vec::new(),
    };
    let mut object = ObjectType::Slot.header().to_vec();
    object.extend_from_slice(&to_bytes(&slot));
    Ok((name, object, OpenSlot { id, secret: private, vouch, label: body.label, created: now }))
}

/// Reads a slot object.
pub fn decode_slot(name: &ObjectName, bytes: &[u8]) -> Result<Slot> {
    from_bytes(open_header(name, ObjectType::Slot, bytes)?, "slot").map_err(|m| malformed(name, m))
}

/// Tries a secret on a slot. `Ok(None)`: it is not this slot's secret. An error: it is, but the slot is damaged.
pub fn open_slot(repository: &RepositoryId, name: &ObjectName, slot: &Slot, secret: &Secret) -> Result<Option<OpenSlot>> {
    if slot.kind != secret.slot_kind() {
        return Ok(None);
    }
    let id = name.as_str().strip_prefix("slots/").and_then(ObjectId::from_hex).ok_or(Error::damaged(name, Damage::Name))?;
    let kek = secret.derive(name, slot.kdf.as_ref(), &slot.salt)?;
    if !bool::from(commitment(&kek, repository).ct_eq(&slot.commitment)) {
        return Ok(None);
    }
    let damaged = |damage| Error::damaged(name, damage);
    let plain = unwrap(&kek.derive("seabed v1 slot wrap"), &slot_aad(repository, name), &slot.sealed.0).ok_or(damaged(Damage::Seal))?;
    let body: SlotSecret = open_body(name, "slot secret", &Zeroizing::new(plain))?;
    let private = StaticSecret::from(body.secret);
    // The public key in the plaintext is what others seal to: one that was swapped must not go unseen.
    if PublicKey::from(&private).to_bytes() != slot.public {
        return Err(damaged(Damage::Malformed("public")));
    }
    Ok(Some(OpenSlot { id, secret: private, vouch: Key::new(body.vouch), label: body.label, created: body.created }))
}

/// The sub-keys that a run holds.
#[derive(Clone)]
pub struct Keys {
    /// The family they are for.
    pub family: FamilyId,
    keys: BTreeMap<(Purpose, u32), Key>,
    /// The newest epoch: what is written from now on is under its keys.
    pub epoch: u32,
    /// The slots that a keyring made from these keys is sealed to.
    pub members: Vec<Member>,
    /// Older epochs that the newest keyring does not know, with their members: of rotations that nobody has brought together yet.
    apart: BTreeMap<u32, Vec<Member>>,
    /// Those of epochs that began since.
    later: Later,
}

impl Keys {
    fn none(family: FamilyId) -> Self {
        let (keys, apart) = (BTreeMap::new(), BTreeMap::new());
        Keys { family, keys, epoch: 0, members: Vec::new(), apart, later: Later::default() }
    }

    /// Keys of a new family, epoch 1, without members. Each comes from fresh secrets that are dropped again: holders of some learn nothing of others.
    pub fn generate() -> Result<Self> {
        let family = FamilyId::new(random()?);
        let (root, epoch_root) = (Key::random()?, Key::random()?);
        let derive = |p: Purpose| if p.rotates() { ((p, 1), epoch_root.derive(p.context())) } else { ((p, 0), root.derive(p.context())) };
        Ok(Keys { family, keys: Purpose::ALL.into_iter().map(derive).collect(), epoch: 1, ..Keys::none(family) })
    }

    /// From what a keyring holds.
    pub fn from_set(name: &ObjectName, set: &KeySet, epoch: u32) -> Result<Self> {
        let bad = || Error::damaged(name, Damage::Malformed("keys"));
        if !set.keys.is_sorted_by(|a, b| (a.purpose, a.epoch) < (b.purpose, b.epoch)) {
            return Err(bad());
        }
        let mut keys = BTreeMap::new();
        for sub in &set.keys {
            // A purpose of a later version is somebody else's key: not ours to use, no reason to refuse.
            if let Some(purpose) = Purpose::from_code(sub.purpose) {
                keys.insert((purpose, sub.epoch), Key::new(sub.key));
            }
        }
        let keys = Keys { family: set.family, keys, epoch, members: set.members.clone(), ..Keys::none(set.family) };
        if keys.get(Purpose::Gear, 0).is_none() { Err(bad()) } else { Ok(keys) }
    }

    /// Takes in the keys and members of `other`, a keyring of the same epoch called `name`.
    pub fn unite(&mut self, name: &ObjectName, other: Keys) -> Result<()> {
        if self.family != other.family {
            return Err(Error::damaged(name, Damage::Malformed("family")));
        }
        for (place, key) in other.keys {
            // Two keys for one place: whoever picked the other one's could read nothing that was written under this one.
            if self.keys.get(&place).is_some_and(|known| !bool::from(known.as_bytes().ct_eq(key.as_bytes()))) {
                return Err(Error::damaged(name, Damage::Malformed("keys")));
            }
            self.keys.insert(place, key);
        }
        let new = |member: &Member| !self.members.iter().any(|known| known.slot == member.slot);
        let new: Vec<_> = other.members.into_iter().filter(new).collect();
        self.members.extend(new);
        Ok(())
    }

    /// Takes in the keys of other epochs that it lacks. Of two rotations at the same time neither keyring holds the other's keys, and
    /// something may have been written under either. Keyrings are learnt from the newest to the oldest.
    pub fn learn(&mut self, older: Keys) {
        if self.family == older.family {
            let tip = !self.keys.keys().any(|(purpose, epoch)| purpose.rotates() && *epoch == older.epoch);
            if tip || self.apart.contains_key(&older.epoch) {
                self.apart.entry(older.epoch).or_default().extend(older.members);
            }
            for (place, key) in older.keys {
                self.keys.entry(place).or_insert(key);
            }
        }
    }

    /// The same with a new epoch: a new root for the keys that rotate, and all that there was. Its number is the newest plus one plus
    /// something random, so that two rotations at the same time do not give one number to two keys.
    pub fn rotated(&self) -> Result<Self> {
        let [a, b] = random::<2>()?;
        let epoch = self.epoch.checked_add(1 + u32::from(u16::from_le_bytes([a, b])));
        let epoch = epoch.ok_or_else(|| Error::Refused { what: "there are no numbers left for a new epoch".to_owned() })?;
        let root = Key::random()?;
        let mut keys = self.clone();
        keys.epoch = epoch;
        // Whoever opens the new keyring has the keys of all of them.
        keys.apart.clear();
        keys.keys.extend(Purpose::ALL.into_iter().filter(|p| p.rotates()).map(|p| ((p, epoch), root.derive(p.context()))));
        Ok(keys)
    }

    /// Whether all keys of its newest epoch are there: only then may it make a keyring, or the next holder would lack some.
    pub fn is_full(&self) -> bool {
        Purpose::ALL.into_iter().all(|purpose| self.get(purpose, self.epoch).is_some())
    }

    /// Whether this slot is a member.
    pub fn has_member(&self, slot: &ObjectId) -> bool {
        self.members.iter().any(|member| member.slot == *slot)
    }

    /// Whether a rotation took place of which the newest keyring knows nothing: whom it removed, that one may still be sealed to.
    pub fn are_apart(&self) -> bool {
        !self.apart.is_empty()
    }

    /// Members of some of the epochs that were not brought together, and not of all: somebody removed each of them, or added it to one alone.
    pub fn disputed(&self) -> Vec<Member> {
        let all: Vec<&Vec<Member>> = self.apart.values().chain([&self.members]).collect();
        let in_all = |slot: &ObjectId| all.iter().all(|members| members.iter().any(|member| member.slot == *slot));
        let mut disputed: Vec<Member> = Vec::new();
        for member in all.iter().copied().flatten().filter(|member| !in_all(&member.slot)) {
            if !disputed.iter().any(|known| known.slot == member.slot) {
                disputed.push(member.clone());
            }
        }
        disputed
    }

    /// Where the keys of an epoch come from that began since. A run reads what others write under it, and writes on under its own.
    pub fn renewed_by(self, newer: Newer) -> Self {
        Keys { later: Later::from(newer), ..self }
    }

    /// From where `other` has those.
    pub fn renewed_as(self, other: &Keys) -> Self {
        Keys { later: other.later.anew(), ..self }
    }

    /// Whether an epoch has begun since, and this run has read something of it. What was written under its keys must not be sealed under the
    /// older ones, which whoever was removed may have.
    pub fn are_old(&self) -> bool {
        self.later.newest_epoch() > Some(self.epoch)
    }

    /// Asks for the keys of an epoch that it lacks.
    fn ask(&self, epoch: u32) -> Result<()> {
        // A role stays one.
        let is_new = |(purpose, epoch): &(Purpose, u32)| self.get(*purpose, *epoch).is_none() && self.get(*purpose, self.epoch).is_some();
        let new_of = |newer: Keys| match newer.family == self.family {
            true => newer.keys.into_iter().filter(|(place, _)| is_new(place)).collect(),
            false => BTreeMap::new(),
        };
        self.later.ask(epoch, new_of)
    }

    /// Without the keys of the given purposes: what a role may do that lacks them.
    pub fn without(&self, purposes: &[Purpose]) -> Self {
        let mut keys = Keys { later: self.later.anew(), ..self.clone() };
        keys.keys.retain(|(purpose, _), _| !purposes.contains(purpose));
        keys
    }

    /// Whether these open packs that are sealed under `other`'s keys of an epoch. Repositories of a family begin with the same keys, and
    /// rotate each for itself: by one number they may then mean two keys.
    pub fn open_packs_of(&self, other: &Keys, epoch: u32) -> bool {
        let same = |class| {
            let key = |keys: &Self| keys.get(Purpose::wraps(class), epoch).map(|key| *key.as_bytes());
            matches!((key(self), key(other)), (Some(own), Some(others)) if bool::from(own.ct_eq(&others)))
        };
        self.family == other.family && Class::ALL.into_iter().all(same)
    }

    /// The same for every epoch that `other` has keys of.
    pub fn open_all_packs_of(&self, other: &Keys) -> bool {
        other.keys.keys().filter(|(purpose, _)| purpose.rotates()).all(|(_, epoch)| self.open_packs_of(other, *epoch))
    }

    /// As a keyring holds them.
    pub fn to_set(&self) -> KeySet {
        let row = |((purpose, epoch), key): (&(Purpose, u32), &Key)| SubKey {
            purpose: *purpose as u8,
            epoch: *epoch,
            key: *key.as_bytes(),
            extra: Vec::new(),
        };
        KeySet { family: self.family, keys: self.keys.iter().map(row).collect(), members: self.members.clone(), extra: Vec::new() }
    }

    /// The key of a purpose in an epoch; the epoch of keys that never rotate is 0.
    pub fn get(&self, purpose: Purpose, epoch: u32) -> Option<&Key> {
        let place = (purpose, if purpose.rotates() { epoch } else { 0 });
        self.keys.get(&place).or_else(|| self.later.get(&place))
    }

    /// The key of a purpose, or an error that says which object asked for one that this keyring lacks.
    pub fn require(&self, object: &ObjectName, purpose: Purpose, epoch: u32) -> Result<&Key> {
        if let Some(key) = self.get(purpose, epoch) {
            return Ok(key);
        }
        if !purpose.rotates() || self.get(purpose, self.epoch).is_none() {
            let feature = format!("key {purpose:?} of epoch {epoch}");
            return Err(Error::UnknownFeature { object: object.clone(), feature });
        }
        self.ask(epoch)?;
        // Whoever was removed.
        self.get(purpose, epoch).ok_or_else(|| Error::EpochUnknown { object: object.clone(), epoch, held: self.epoch })
    }

    /// The keys of chunk ids, in the order of [`Class::ALL`].
    pub fn chunk_ids(&self) -> Option<crate::chunk::ChunkIds> {
        let key = |class| self.get(Purpose::ids(class), 0).map(|k| *k.as_bytes());
        Some(crate::chunk::ChunkIds::new([key(Class::Data)?, key(Class::Names)?, key(Class::Lists)?]))
    }
}

/// A public key is known to the store, so a copy sealed to it alone could come from anyone, with keys that he knows. The vouch is not.
fn recipient_key(shared: &[u8; 32], ephemeral: &[u8; 32], public: &[u8; 32], vouch: &[u8; 32]) -> Key {
    let mut input = Zeroizing::new([0; 128]);
    for (place, part) in input.as_chunks_mut::<32>().0.iter_mut().zip([shared, ephemeral, public, vouch]) {
        *place = *part;
    }
    Key::new(blake3::derive_key("seabed v1 keyring recipient", &input[..]))
}

fn keyring_aad(repository: &RepositoryId, name: &ObjectName, slot: &ObjectId) -> Vec<u8> {
    [&ObjectType::Keyring.header()[..], repository.as_bytes(), slot.as_bytes(), name.as_str().as_bytes()].concat()
}

/// What a recipient takes besides the set that is sealed to it, and a keyring besides its recipients, bytes: ids, an ephemeral key, nonce,
/// tag and lengths.
const RECIPIENT_BYTES_MAX: u64 = 256;

/// Makes a keyring with one copy of `keys` per member. One that readers would refuse is not made: it would lock everybody out.
pub fn new_keyring(repository: &RepositoryId, keys: &Keys) -> Result<(ObjectName, Vec<u8>)> {
    let large = |what: String| Err(Error::Refused { what: format!("{what}: remove slots that nobody needs") });
    if keys.members.len() > SLOTS_MAX {
        return large(format!("a keyring holds no more than {SLOTS_MAX} slots"));
    }
    // Before anything is sealed: each slot gets a copy, and each copy names all slots and epochs.
    let set_bytes = padded_body(&keys.to_set()).len() as u64;
    if keys.members.len() as u64 * (set_bytes + RECIPIENT_BYTES_MAX) + RECIPIENT_BYTES_MAX > SMALL_OBJECT_BYTES_MAX {
        let (slots, epochs) = (keys.members.len(), keys.keys.keys().filter(|(purpose, _)| *purpose == Purpose::Data).count());
        return large(format!("a keyring of {slots} slots and {epochs} epochs is larger than readers take"));
    }
    let name = ObjectName::keyring(keys.epoch, &ObjectId::new(random()?));
    let set = Zeroizing::new(padded_body(&keys.to_set()));
    let mut recipients = Vec::new();
    for member in &keys.members {
        let ephemeral = StaticSecret::from(random::<32>()?);
        let ephemeral_public = PublicKey::from(&ephemeral).to_bytes();
        let shared = ephemeral.diffie_hellman(&PublicKey::from(member.public));
        let key = recipient_key(shared.as_bytes(), &ephemeral_public, &member.public, &member.vouch);
        let sealed = wrap(&key, &keyring_aad(repository, &name, &member.slot), &set)?;
        recipients.push(Recipient { slot: member.slot, ephemeral: ephemeral_public, sealed: Bytes(sealed), extra: Vec::new() });
    }
    let mut object = ObjectType::Keyring.header().to_vec();
    object.extend_from_slice(&to_bytes(&Keyring { epoch: keys.epoch, recipients, extra: Vec::new() }));
    Ok((name, object))
}

/// Reads a keyring object; its epoch must be the one in its name.
pub fn decode_keyring(name: &ObjectName, bytes: &[u8]) -> Result<Keyring> {
    let keyring: Keyring = from_bytes(open_header(name, ObjectType::Keyring, bytes)?, "keyring").map_err(|m| malformed(name, m))?;
    if name.as_keyring() != Some(keyring.epoch) || keyring.recipients.len() > SLOTS_MAX {
        return Err(Error::damaged(name, Damage::Malformed("keyring")));
    }
    Ok(keyring)
}

/// Opens the copy for `slot`; `Ok(None)` where the keyring holds none.
pub fn open_keyring(repository: &RepositoryId, name: &ObjectName, keyring: &Keyring, slot: &OpenSlot) -> Result<Option<Keys>> {
    let Some(copy) = keyring.recipients.iter().find(|r| r.slot == slot.id) else { return Ok(None) };
    let shared = slot.secret.diffie_hellman(&PublicKey::from(copy.ephemeral));
    let public = PublicKey::from(&slot.secret).to_bytes();
    let key = recipient_key(shared.as_bytes(), &copy.ephemeral, &public, slot.vouch.as_bytes());
    let plain = unwrap(&key, &keyring_aad(repository, name, &slot.id), &copy.sealed.0).ok_or(Error::damaged(name, Damage::Seal))?;
    let set: KeySet = open_body(name, "key set", &Zeroizing::new(plain))?;
    Keys::from_set(name, &set, keyring.epoch).map(Some)
}

const _: () = assert!(HEADER_BYTES == 8);

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: (u32, u32, u32) = (64, 1, 1);

    fn pass(text: &str) -> Secret {
        Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_slot_opens_with_its_secret_alone_and_in_its_repository_alone() {
        let repo = RepositoryId::new([1; 16]);
        for (secret, other) in [(pass("a"), pass("b")), (Secret::KeyFile(Key::new([1; 32])), Secret::KeyFile(Key::new([2; 32])))] {
            let (name, object, open) = new_slot(&repo, &secret, CHEAP, "laptop", Time::default()).unwrap();
            let slot = decode_slot(&name, &object).unwrap();
            let again = open_slot(&repo, &name, &slot, &secret).unwrap().unwrap();
            assert_eq!(again.secret.to_bytes(), open.secret.to_bytes());
            assert!(open_slot(&repo, &name, &slot, &other).unwrap().is_none());
            assert!(open_slot(&RepositoryId::new([2; 16]), &name, &slot, &secret).unwrap().is_none());
            let renamed = ObjectName::slot(&ObjectId::new([9; 16]));
            assert!(open_slot(&repo, &renamed, &slot, &secret).is_err(), "a slot is bound to its name");
        }
    }

    #[test]
    fn a_hostile_slot_cannot_ask_for_all_memory() {
        let repo = RepositoryId::new([1; 16]);
        let (name, object, _) = new_slot(&repo, &pass("a"), CHEAP, "", Time::default()).unwrap();
        let mut slot = decode_slot(&name, &object).unwrap();
        slot.kdf = Some(Kdf { memory_kib: u32::MAX, passes: 1, lanes: 1, extra: vec![] });
        assert!(open_slot(&repo, &name, &slot, &pass("a")).is_err());
    }

    #[test]
    fn a_keyring_opens_for_its_slots_only() {
        let repo = RepositoryId::new([1; 16]);
        let mut keys = Keys::generate().unwrap();
        let slot = |s| new_slot(&repo, &pass(s), CHEAP, "", Time::default()).unwrap().2;
        let (a, b) = (slot("a"), slot("b"));
        keys.members.push(a.member());
        let (name, object) = new_keyring(&repo, &keys).unwrap();
        let keyring = decode_keyring(&name, &object).unwrap();
        let opened = open_keyring(&repo, &name, &keyring, &a).unwrap().unwrap();
        assert_eq!(opened.to_set(), keys.to_set());
        assert!(open_keyring(&repo, &name, &keyring, &b).unwrap().is_none());
        let pretender = OpenSlot { id: a.id, secret: b.secret, vouch: a.vouch, label: String::new(), created: Time::default() };
        assert!(open_keyring(&repo, &name, &keyring, &pretender).is_err());
    }

    /// The public key of a slot is in the clear: a store could seal keys of its own choice to it and read all later backups.
    #[test]
    fn a_keyring_from_someone_who_only_knows_the_public_key_is_refused() {
        let repo = RepositoryId::new([1; 16]);
        let (_, _, slot) = new_slot(&repo, &pass("a"), CHEAP, "", Time::default()).unwrap();
        let mut forged = Keys::generate().unwrap();
        forged.epoch = 9;
        forged.members.push(Member { vouch: [0; 32], ..slot.member() });
        let (name, object) = new_keyring(&repo, &forged).unwrap();
        let keyring = decode_keyring(&name, &object).unwrap();
        assert!(open_keyring(&repo, &name, &keyring, &slot).is_err());
    }

    /// Two rotations at the same time: each keyring lacks the keys of the other, and whoever opens both has all.
    #[test]
    fn a_rotation_keeps_what_there_was_and_two_of_them_are_learnt() {
        let keys = Keys::generate().unwrap();
        let (mut a, b) = (keys.rotated().unwrap(), keys.rotated().unwrap());
        assert!(a.is_full() && a.epoch > keys.epoch && a.epoch <= keys.epoch + 1 + u32::from(u16::MAX));
        for purpose in Purpose::ALL {
            assert_eq!(a.get(purpose, 1).map(Key::as_bytes), keys.get(purpose, 1).map(Key::as_bytes), "{purpose:?}");
            let new = a.get(purpose, a.epoch).unwrap().as_bytes();
            assert_eq!(new == keys.get(purpose, 1).unwrap().as_bytes(), !purpose.rotates(), "{purpose:?}");
        }
        let epoch = b.epoch;
        a.learn(b);
        assert!(a.get(Purpose::Data, epoch).is_some());
        a.epoch = u32::MAX;
        assert!(a.rotated().is_err());
    }

    /// A keyring that is larger than readers take was put first and read afterwards: nobody could open the repository any more.
    #[test]
    fn a_keyring_is_never_larger_than_readers_take() {
        let repo = RepositoryId::new([1; 16]);
        let (_, _, slot) =
            new_slot(&repo, &Secret::KeyFile(Key::new([1; 32])), CHEAP, &"l".repeat(SLOT_LABEL_BYTES_MAX), Time::default()).unwrap();
        let mut keys = Keys::generate().unwrap();
        let of = |count: u32| {
            (0..count).map(|n| Member { slot: ObjectId::new([n.to_le_bytes(); 4].concat().try_into().unwrap()), ..slot.member() })
        };
        let sizes: Vec<Option<u64>> = (1..400)
            .step_by(7)
            .map(|count| {
                keys.members = of(count).collect();
                match new_keyring(&repo, &keys) {
                    Ok((_, object)) => Some(object.len() as u64),
                    Err(Error::Refused { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
            .collect();
        assert!(sizes.is_sorted_by_key(Option::is_none) && sizes.last() == Some(&None), "{sizes:?}");
        // And not much smaller either.
        let largest = sizes.into_iter().flatten().max().unwrap();
        assert!((SMALL_OBJECT_BYTES_MAX * 3 / 4..=SMALL_OBJECT_BYTES_MAX).contains(&largest), "{largest}");
        assert!(
            new_slot(&repo, &Secret::KeyFile(Key::new([1; 32])), CHEAP, &"l".repeat(SLOT_LABEL_BYTES_MAX + 1), Time::default()).is_err()
        );
    }

    /// Members without a label are as those of keyrings that were made before there were labels.
    #[test]
    fn a_label_takes_no_byte_where_there_is_none() {
        let old =
            Member { slot: ObjectId::new([1; 16]), public: [2; 32], vouch: [3; 32], label: String::new(), created: None, extra: vec![] };
        let bytes = to_bytes(&old);
        assert_eq!(bytes.len(), 1 + (2 + 16) + 2 * (3 + 32));
        assert_eq!(from_bytes::<Member>(&bytes, "member").unwrap(), old);
        let new = Member { label: "laptop".to_owned(), created: Some(Time::default()), ..old };
        assert_eq!(from_bytes::<Member>(&to_bytes(&new), "member").unwrap(), new);
    }

    #[test]
    fn a_key_set_with_two_keys_for_one_purpose_and_epoch_is_refused() {
        let keys = Keys::generate().unwrap();
        let name = ObjectName::keyring(1, &ObjectId::new([0; 16]));
        let mut set = keys.to_set();
        assert!(Keys::from_set(&name, &set, 1).is_ok());
        set.keys.push(set.keys.last().unwrap().clone());
        assert!(Keys::from_set(&name, &set, 1).is_err());
    }
}
