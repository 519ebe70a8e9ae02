//! Sealing and opening: parts of objects, frames, pack keys, MACs (spec chapter 3).
//! The only file that calls a cipher. What each seal is bound to is decided here, so that nothing can be moved or renamed unseen.

pub mod key;
pub mod later;
pub mod object;
pub mod sheet;

use crate::error::{Damage, Error, Result};
use crate::format::object::{HEADER_BYTES, PART_HEAD_BYTES, PART_OVERHEAD_BYTES, PartHead};
use crate::format::pack::{CODEC_RAW, PackKey, WRAPPED_BYTES};
use crate::id::{Birth, Class, FamilyId, ObjectName, RepositoryId};
use crate::limits::{TAG_BYTES, XNONCE_BYTES};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::error::Unspecified;
use std::ops::Range;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A symmetric key; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

impl Key {
    /// From raw bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// Fresh randomness.
    pub fn random() -> Result<Self> {
        random().map(Key)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for another purpose, from which this one cannot be found.
    pub fn derive(&self, context: &str) -> Key {
        Key(blake3::derive_key(context, &self.0))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// `N` bytes from the system's generator.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    getrandom::fill(&mut out)?;
    Ok(out)
}

/// What a sealed part is bound to besides its own head.
pub struct Binding<'a> {
    /// Repository id (objects) or family id (footers, which travel between siblings).
    pub scope: &'a [u8; 16],
    /// First eight bytes of the object.
    pub header: [u8; HEADER_BYTES],
    /// Which part of the object, from 0.
    pub part: u8,
    /// Name of the object, or the birth of a pack (whose name is the hash of what is sealed here).
    pub name: &'a [u8],
}

impl Binding<'_> {
    fn aad(&self, head: &[u8; PART_HEAD_BYTES]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(33 + self.name.len());
        aad.extend_from_slice(self.scope);
        aad.extend_from_slice(&self.header);
        aad.push(self.part);
        aad.extend_from_slice(head);
        aad.extend_from_slice(self.name);
        aad
    }
}

/// Seals under `key`, with a fresh nonce, what `put` appends: head, nonce, ciphertext, tag. They stand behind what is in `out`.
pub fn seal_part(
    key: &Key,
    head: PartHead,
    binding: &Binding<'_>,
    mut out: Vec<u8>,
    put: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Result<Vec<u8>> {
    let head = head.encode();
    let nonce: [u8; XNONCE_BYTES] = random()?;
    out.extend_from_slice(&head);
    out.extend_from_slice(&nonce);
    let start = out.len();
    let mut out = put(out);
    let tag = xcipher(key).encrypt_inout_detached(&nonce.into(), &binding.aad(&head), InOutBuf::from(&mut out[start..]));
    let tag = tag.map_err(|_| Error::SelfCheck { what: "a sealed part" })?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens what [`seal_part`] made, where it stands, and returns where the plaintext is. The caller has read the head to find the key.
pub fn open_part(name: &ObjectName, key: &Key, binding: &Binding<'_>, part: &mut [u8]) -> Result<Range<usize>> {
    let have = part.len();
    let short = || Error::damaged(name, Damage::Short { have: have as u64, want: PART_OVERHEAD_BYTES as u64 });
    let (head, rest) = part.split_first_chunk_mut::<PART_HEAD_BYTES>().ok_or_else(short)?;
    let (nonce, rest) = rest.split_first_chunk_mut::<XNONCE_BYTES>().ok_or_else(short)?;
    let (sealed, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or_else(short)?;
    xcipher(key)
        .decrypt_inout_detached((&*nonce).into(), &binding.aad(head), InOutBuf::from(sealed), (&*tag).into())
        .map_err(|_| Error::damaged(name, Damage::Seal))?;
    Ok(PART_HEAD_BYTES + XNONCE_BYTES..have - TAG_BYTES)
}

fn xcipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.as_bytes().into())
}

/// Seals a short secret for a slot, a keyring copy or a footer: nonce, ciphertext, tag.
pub fn wrap(key: &Key, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let nonce: [u8; XNONCE_BYTES] = random()?;
    let mut out = nonce.to_vec();
    out.extend_from_slice(plain);
    let tag = xcipher(key).encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(&mut out[XNONCE_BYTES..]));
    out.extend_from_slice(&tag.map_err(|_| Error::SelfCheck { what: "a wrapped key" })?);
    Ok(out)
}

/// Opens what [`wrap`] made; `None` where it does not authenticate.
pub fn unwrap(key: &Key, aad: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = wrapped.split_first_chunk::<XNONCE_BYTES>()?;
    let (sealed, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = sealed.to_vec();
    xcipher(key).decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(&mut plain[..]), tag.into()).ok()?;
    Some(plain)
}

fn pack_key_aad(family: &FamilyId, class: Class, birth: &Birth) -> Vec<u8> {
    [&b"seabed v1 pack key"[..], family.as_bytes(), &[class.code()], birth.as_bytes()].concat()
}

/// Wraps the key of a new pack for its footer.
pub fn wrap_pack_key(wrapping: &Key, epoch: u32, family: &FamilyId, class: Class, birth: &Birth, key: &Key) -> Result<PackKey> {
    let wrapped = wrap(wrapping, &pack_key_aad(family, class, birth), key.as_bytes())?;
    debug_assert_eq!(wrapped.len(), WRAPPED_BYTES);
    let suite = crate::format::object::SUITE_SYMMETRIC;
    Ok(PackKey { epoch, suite, birth: *birth, wrapped: crate::format::wire::Bytes(wrapped), extra: Vec::new() })
}

/// Opens a pack key from a footer; `None` where it does not authenticate.
pub fn unwrap_pack_key(wrapping: &Key, family: &FamilyId, class: Class, key: &PackKey) -> Option<Key> {
    if key.suite != crate::format::object::SUITE_SYMMETRIC {
        return None;
    }
    let plain = unwrap(wrapping, &pack_key_aad(family, class, &key.birth), &key.wrapped.0)?;
    plain.try_into().ok().map(Key)
}

/// Opens the frames of one pack key.
/// Frames are most of what is sealed: ring's ChaCha20-Poly1305 takes half as long as RustCrypto's, which does all else here.
pub struct FrameCipher {
    key: Key,
    aad: [u8; 33],
}

impl FrameCipher {
    /// For frames that were born in pack `birth`, whose key is `key`.
    pub fn new(family: &FamilyId, class: Class, birth: &Birth, key: &Key) -> Self {
        let mut aad = [0; 33];
        aad[..16].copy_from_slice(family.as_bytes());
        aad[16] = class.code();
        aad[17..].copy_from_slice(birth.as_bytes());
        FrameCipher { key: key.clone(), aad }
    }

    /// The ordinal is the nonce: a pack key is fresh and an ordinal is used once. The codec is bound too, so that a frame
    /// cannot be passed off as stored in another way.
    fn parameters(&self, ordinal: u32, codec: u8) -> ([u8; 12], [u8; 38]) {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&ordinal.to_le_bytes());
        let mut aad = [0; 38];
        aad[..33].copy_from_slice(&self.aad);
        aad[33..37].copy_from_slice(&ordinal.to_le_bytes());
        aad[37] = codec;
        (nonce, aad)
    }

    /// Made for each call, which costs nothing: ring does not wipe its keys, and ours is wiped.
    fn cipher(&self) -> std::result::Result<LessSafeKey, Unspecified> {
        UnboundKey::new(&CHACHA20_POLY1305, self.key.as_bytes()).map(LessSafeKey::new)
    }

    /// Seals a frame in place and appends its tag.
    fn seal(&self, ordinal: u32, codec: u8, frame: &mut Vec<u8>) -> Result<()> {
        let (nonce, aad) = self.parameters(ordinal, codec);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.cipher().and_then(|cipher| cipher.seal_in_place_separate_tag(nonce, Aad::from(&aad), frame));
        frame.extend_from_slice(tag.map_err(|_| Error::SelfCheck { what: "a sealed frame" })?.as_ref());
        Ok(())
    }

    /// Opens a frame in place. Returns it without its tag; `None` where it does not authenticate.
    pub fn open<'f>(&self, ordinal: u32, codec: u8, frame: &'f mut [u8]) -> Option<&'f [u8]> {
        let (nonce, aad) = self.parameters(ordinal, codec);
        let opened = self.cipher().ok()?.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), frame).ok()?;
        Some(opened)
    }
}

/// Seals the frames of a pack under construction. It counts itself, because two frames under one ordinal would share a nonce.
pub struct FrameSealer {
    cipher: FrameCipher,
    next: u32,
}

impl FrameSealer {
    /// For the pack `birth`, whose key was drawn for it and is used nowhere else.
    pub fn new(family: &FamilyId, class: Class, birth: &Birth, key: &Key) -> Self {
        FrameSealer { cipher: FrameCipher::new(family, class, birth, key), next: 0 }
    }

    /// Seals a frame in place, appends its tag and returns its ordinal, which is spent whatever becomes of the frame.
    pub fn seal(&mut self, codec: u8, frame: &mut Vec<u8>) -> Result<u32> {
        let ordinal = self.next;
        self.next = ordinal.checked_add(1).ok_or(Error::SelfCheck { what: "the number of frames" })?;
        self.cipher.seal(ordinal, codec, frame)?;
        Ok(ordinal)
    }
}

/// MAC of a plaintext object (descriptor). The key is derived from the gear key, which every role holds.
pub fn object_mac(gear: &Key, bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(gear.derive("seabed v1 descriptor mac").as_bytes(), bytes).as_bytes()
}

/// Scope of a repository in [`Binding`].
pub fn scope(repository: &RepositoryId) -> &[u8; 16] {
    repository.as_bytes()
}

const _: () = assert!(CODEC_RAW == 0 && PART_HEAD_BYTES == HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::object::{ObjectType, Purpose, SUITE_SYMMETRIC};

    fn head() -> PartHead {
        PartHead { suite: SUITE_SYMMETRIC, purpose: Purpose::Admin, epoch: 3 }
    }

    #[test]
    fn a_part_opens_only_where_it_was_sealed() {
        let key = Key::new([7; 32]);
        let name = ObjectName::parse("notes/1").unwrap();
        let binding = |scope, kind: ObjectType, part, name| Binding { scope, header: kind.header(), part, name };
        let good = binding(&[1; 16], ObjectType::Note, 0, b"notes/1");
        let sealed = seal_part(&key, head(), &good, Vec::new(), |out| [&out[..], b"hello"].concat()).unwrap();
        let open = |key: &Key, binding: &Binding<'_>, sealed: &[u8]| {
            let mut part = sealed.to_vec();
            open_part(&name, key, binding, &mut part).map(|plain| part[plain].to_vec())
        };
        assert_eq!(open(&key, &good, &sealed).unwrap(), b"hello");
        for other in [
            binding(&[2; 16], ObjectType::Note, 0, b"notes/1"),
            binding(&[1; 16], ObjectType::Hold, 0, b"notes/1"),
            binding(&[1; 16], ObjectType::Note, 1, b"notes/1"),
            binding(&[1; 16], ObjectType::Note, 0, b"notes/2"),
        ] {
            assert!(open(&key, &other, &sealed).is_err());
        }
        assert!(open(&Key::new([8; 32]), &good, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&key, &good, &bad).is_err(), "byte {at}");
            assert!(open(&key, &good, &sealed[..at]).is_err());
        }
    }

    /// Frames are sealed by one library and all else by another; they agree on what RFC 8439 says, whatever the length.
    #[test]
    fn a_frame_opens_with_the_other_library() {
        use chacha20poly1305::ChaCha20Poly1305;
        use chacha20poly1305::aead::{Aead, Payload};
        let (family, birth, key) = (FamilyId::new([1; 16]), Birth::new([2; 16]), Key::new([3; 32]));
        let mut sealer = FrameSealer::new(&family, Class::Data, &birth, &key);
        let other = ChaCha20Poly1305::new(key.as_bytes().into());
        for bytes in [0usize, 1, 15, 16, 17, 63, 64, 65, 255, 256, 1000, 4096, 100_003] {
            let plain: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let mut frame = plain.clone();
            let ordinal = sealer.seal(1, &mut frame).unwrap();
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&ordinal.to_le_bytes());
            let aad = [&[1; 16][..], &[Class::Data.code()], &[2; 16], &ordinal.to_le_bytes(), &[1]].concat();
            assert_eq!(other.decrypt(&nonce.into(), Payload { msg: &frame, aad: &aad }).unwrap(), plain);
            let theirs = other.encrypt(&nonce.into(), Payload { msg: &plain, aad: &aad }).unwrap();
            assert_eq!(theirs, frame);
            assert_eq!(FrameCipher::new(&family, Class::Data, &birth, &key).open(ordinal, 1, &mut frame).unwrap(), plain);
        }
    }

    #[test]
    fn no_ordinal_is_given_twice() {
        let (family, birth, key) = (FamilyId::new([1; 16]), Birth::new([2; 16]), Key::new([7; 32]));
        let mut sealer = FrameSealer::new(&family, Class::Data, &birth, &key);
        let cipher = FrameCipher::new(&family, Class::Data, &birth, &key);
        for want in 0..3 {
            let mut frame = b"frame".to_vec();
            assert_eq!(sealer.seal(0, &mut frame).unwrap(), want);
            assert_eq!(cipher.open(want, 0, &mut frame), Some(&b"frame"[..]));
        }
    }

    #[test]
    fn a_frame_is_bound_to_family_class_birth_ordinal_and_codec() {
        let key = Key::new([7; 32]);
        let cipher = |family, class, birth| FrameCipher::new(&FamilyId::new([family; 16]), class, &Birth::new([birth; 16]), &key);
        let good = cipher(1, Class::Data, 2);
        let mut frame = b"frame".to_vec();
        good.seal(5, 1, &mut frame).unwrap();
        let opens = |c: &FrameCipher, ordinal, codec| c.open(ordinal, codec, &mut frame.clone()).is_some();
        assert!(opens(&good, 5, 1));
        assert!(!opens(&good, 6, 1) && !opens(&good, 5, 0));
        for other in [cipher(9, Class::Data, 2), cipher(1, Class::Names, 2), cipher(1, Class::Data, 9)] {
            assert!(!opens(&other, 5, 1));
        }
    }
}
