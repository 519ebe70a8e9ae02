//! From a key file to the sub-keys (chapter 3), and the opening of sealed parts (chapter 2).

use crate::reader::cbor::Value;
use crate::reader::{Read, hex, unhex};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use x25519_dalek::{PublicKey, StaticSecret};

/// Purpose of the key that opens segments, records, footers and index parts.
pub const LISTS: u8 = 10;
/// Purpose of the key that opens names parts.
pub const NAMES: u8 = 9;
/// Purpose of the key of tombstones.
pub const ADMIN: u8 = 11;

/// The keys of a repository.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The repository's id.
    pub repository: [u8; 16],
    /// Its family.
    pub family: [u8; 16],
    sub: HashMap<(u8, u32), [u8; 32]>,
}

/// The eight bytes with which an object of this type begins.
pub fn header(kind: u8) -> [u8; 8] {
    [b'S', b'E', b'A', b'B', b'E', b'D', kind, 1]
}

fn behind_header(bytes: &[u8], kind: u8) -> Read<&[u8]> {
    bytes.strip_prefix(&header(kind)).ok_or_else(|| format!("no object of type {kind}"))
}

/// Opens nonce ‖ ciphertext ‖ tag.
fn unseal(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Read<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<24>().ok_or("cut short")?;
    XChaCha20Poly1305::new(key.into()).decrypt(nonce.into(), Payload { msg, aad }).map_err(|_| "it does not authenticate".to_owned())
}

impl Keys {
    /// Opens a repository with a key file.
    pub fn open(objects: &BTreeMap<String, Arc<Vec<u8>>>, key_file: &[u8; 32]) -> Read<Keys> {
        let descriptor = behind_header(objects.get("seabed").ok_or("no descriptor")?, 1)?;
        let body = descriptor.get(4..descriptor.len().saturating_sub(32)).ok_or("cut short")?;
        let body = Value::whole(body)?;
        let (repository, family) = (body.field(0)?.fixed::<16>()?, body.field(2)?.fixed::<16>()?);
        let below =
            |folder: &'static str| objects.iter().filter_map(move |(name, bytes)| Some((name.as_str(), name.strip_prefix(folder)?, bytes)));
        for (name, id, bytes) in below("slots/") {
            let slot = Value::whole(behind_header(bytes, 3)?)?;
            let kek = blake3::derive_key("seabed v1 key file", &[*key_file, slot.field(4)?.fixed::<32>()?].concat());
            let commitment = blake3::keyed_hash(&blake3::derive_key("seabed v1 slot commitment", &kek), &repository);
            if slot.field(0)?.uint()? != 2 || slot.field(6)?.fixed::<32>()? != *commitment.as_bytes() {
                continue;
            }
            let aad = [&header(3)[..], &repository, name.as_bytes()].concat();
            let secret = unseal(&blake3::derive_key("seabed v1 slot wrap", &kek), &aad, slot.field(10)?.bytes()?)?;
            let secret = Value::padded(&secret)?;
            let (own, vouch) = (StaticSecret::from(secret.field(0)?.fixed::<32>()?), secret.field(6)?.fixed::<32>()?);
            let id: [u8; 16] = unhex(id).ok_or("a slot's name")?;
            let mut sub = HashMap::new();
            // Names sort by epoch. Older keyrings have keys that newer ones lack where two rotations met.
            for (name, _, bytes) in below("keyring/").collect::<Vec<_>>().into_iter().rev() {
                let keyring = Value::whole(behind_header(bytes, 4)?)?;
                for copy in keyring.field(2)?.array()? {
                    if copy.field(0)?.fixed::<16>()? != id {
                        continue;
                    }
                    let ephemeral = copy.field(2)?.fixed::<32>()?;
                    let shared = own.diffie_hellman(&PublicKey::from(ephemeral));
                    let input = [*shared.as_bytes(), ephemeral, PublicKey::from(&own).to_bytes(), vouch].concat();
                    let key = blake3::derive_key("seabed v1 keyring recipient", &input);
                    let aad = [&header(4)[..], &repository, &id, name.as_bytes()].concat();
                    let set = Value::padded(&unseal(&key, &aad, copy.field(4)?.bytes()?)?)?;
                    for key in set.field(2)?.array()? {
                        let purpose = u8::try_from(key.field(0)?.uint()?).map_err(|_| "a purpose")?;
                        let epoch = u32::try_from(key.uint_or_0(2)?).map_err(|_| "an epoch")?;
                        sub.entry((purpose, epoch)).or_insert(key.field(4)?.fixed::<32>()?);
                    }
                }
            }
            if !sub.is_empty() {
                return Ok(Keys { repository, family, sub });
            }
        }
        Err("no slot opens, or no keyring is for it".to_owned())
    }

    fn sub(&self, purpose: u8, epoch: u32) -> Read<&[u8; 32]> {
        self.sub.get(&(purpose, epoch)).ok_or_else(|| format!("no key of purpose {purpose}, epoch {epoch}"))
    }

    /// The id of a chunk of this class.
    pub fn chunk_id(&self, class: u8, plain: &[u8]) -> Read<[u8; 32]> {
        Ok(*blake3::keyed_hash(self.sub(class, 0)?, plain).as_bytes())
    }

    fn part(&self, scope: &[u8; 16], kind: u8, number: u8, purpose: u8, name: &[u8], sealed: &[u8]) -> Read<Value> {
        let (head, rest) = sealed.split_first_chunk::<8>().ok_or("cut short")?;
        let [suite, have, 0, 0, epoch @ ..] = *head else { return Err("a part's head".to_owned()) };
        if suite != 1 || have != purpose {
            return Err("a part's suite or purpose".to_owned());
        }
        let aad = [&scope[..], &header(kind), &[number], head, name].concat();
        Value::padded(&unseal(self.sub(purpose, u32::from_le_bytes(epoch))?, &aad, rest)?)
    }

    /// Opens an object of one sealed part.
    pub fn object(&self, name: &str, kind: u8, purpose: u8, bytes: &[u8]) -> Read<Value> {
        self.part(&self.repository, kind, 0, purpose, name.as_bytes(), behind_header(bytes, kind)?)
    }

    /// Opens both parts of a manifest.
    pub fn manifest(&self, name: &str, kind: u8, bytes: &[u8]) -> Read<(Value, Value)> {
        let rest = behind_header(bytes, kind)?;
        let (lengths, parts) = rest.split_first_chunk::<8>().ok_or("cut short")?;
        let [a, b, c, d, ..] = *lengths;
        let (index, names) = parts.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize).ok_or("part lengths")?;
        let part = |number, purpose, sealed| self.part(&self.repository, kind, number, purpose, name.as_bytes(), sealed);
        Ok((part(0, LISTS, index)?, part(1, NAMES, names)?))
    }

    /// Opens a pack: its chunks in order, each checked against its id.
    pub fn pack(&self, class: u8, id: &[u8; 32], bytes: &[u8]) -> Read<Vec<([u8; 32], Vec<u8>)>> {
        let kind = 5 + class;
        if blake3::hash(bytes).as_bytes() != id {
            return Err("its bytes are not those that its name is the hash of".to_owned());
        }
        let (birth, rest) = behind_header(bytes, kind)?.split_first_chunk::<16>().ok_or("cut short")?;
        let (rest, trailer) = rest.split_last_chunk::<32>().ok_or("cut short")?;
        let (length, trailer) = trailer.split_first_chunk::<4>().ok_or("cut short")?;
        if trailer[..4] != [0; 4] || trailer[4..20] != birth[..] || trailer[20..] != header(kind) {
            return Err("header and trailer differ".to_owned());
        }
        let at = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or("the footer's length")?;
        let (mut frames, footer) = rest.split_at(at);
        let footer = self.part(&self.family, kind, 0, LISTS, birth, footer)?;
        let (ids, mut lengths) = (footer.field(4)?.ids()?, footer.field(6)?.array()?.iter());
        let mut ids = ids.into_iter();
        let mut chunks = Vec::new();
        for frame in footer.field(2)?.array()? {
            let stored = usize::try_from(frame.field(4)?.uint()?).map_err(|_| "a length")?;
            let (sealed, after) = frames.split_at_checked(stored).ok_or("frames beyond the footer")?;
            frames = after;
            let row = footer.field(0)?.array()?.get(frame.uint_or_0(0)? as usize).ok_or("a row of keys")?;
            let plain = self.frame(class, row, frame, sealed)?;
            let mut rest = &plain[..];
            for _ in 0..frame.field(10)?.uint()? {
                let (id, length) = ids.next().zip(lengths.next()).ok_or("fewer chunks than frames say")?;
                let (chunk, after) = rest.split_at_checked(length.uint()? as usize).ok_or("chunks beyond their frame")?;
                if self.chunk_id(class, chunk)? != id {
                    return Err(format!("chunk {} has other content", hex(&id[..4])));
                }
                chunks.push((id, chunk.to_vec()));
                rest = after;
            }
            if !rest.is_empty() {
                return Err("chunks that do not fill their frame".to_owned());
            }
        }
        if ids.next().is_some() || lengths.next().is_some() {
            return Err("more chunks than frames say".to_owned());
        }
        Ok(chunks)
    }

    fn frame(&self, class: u8, row: &Value, frame: &Value, sealed: &[u8]) -> Read<Vec<u8>> {
        let birth = row.field(4)?.fixed::<16>()?;
        let epoch = u32::try_from(row.field(0)?.uint()?).map_err(|_| "an epoch")?;
        let aad = [&b"seabed v1 pack key"[..], &self.family, &[class], &birth].concat();
        let key = unseal(self.sub(8 + class, epoch)?, &aad, row.field(6)?.bytes()?)?;
        let key: [u8; 32] = key.try_into().map_err(|_| "a pack key")?;
        let ordinal = u32::try_from(frame.field(2)?.uint()?).map_err(|_| "an ordinal")?.to_le_bytes();
        let codec = u8::try_from(frame.field(8)?.uint()?).map_err(|_| "a codec")?;
        let aad = [&self.family[..], &[class], &birth, &ordinal, &[codec]].concat();
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&ordinal);
        let encoded = ChaCha20Poly1305::new((&key).into()).decrypt(&nonce.into(), Payload { msg: sealed, aad: &aad });
        let encoded = encoded.map_err(|_| "a frame does not authenticate")?;
        let plain = frame.field(6)?.uint()? as usize;
        match codec {
            0 if encoded.len() == plain => Ok(encoded),
            1 => {
                let mut out = Vec::with_capacity(plain);
                let have = zstd_safe::decompress(&mut out, &encoded).map_err(|_| "a frame does not decode")?;
                if have == plain { Ok(out) } else { Err("a frame of another length".to_owned()) }
            }
            _ => Err("a codec that nobody writes".to_owned()),
        }
    }
}
