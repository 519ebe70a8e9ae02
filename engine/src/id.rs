//! The identifiers of the format and the names of objects in a store (spec chapter 2).
//! An id is a newtype, so that a pack cannot be asked for where a chunk is meant. Nothing here does I/O or knows a key.

use std::fmt;

/// Writes bytes as lower-case hexadecimal, the only form in which ids appear in names, messages and JSON.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
    out
}

/// Reads lower-case hexadecimal of exactly `N` bytes; `None` for anything else, capital digits included.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// Takes the raw bytes as they stand in the format.
            pub const fn new(bytes: [u8; $bytes]) -> Self { Self(bytes) }

            /// The raw bytes as they stand in the format.
            pub const fn as_bytes(&self) -> &[u8; $bytes] { &self.0 }

            /// Reads the lower-case hexadecimal form.
            pub fn from_hex(text: &str) -> Option<Self> { unhex(text).map(Self) }

            /// Eight hexadecimal digits, the form shown to people.
            pub fn short(&self) -> String { hex(&self.0[..4]) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&hex(&self.0)) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!(stringify!($name), "({})"), hex(&self.0)) }
        }
    };
}

id_type!(
    /// A chunk: keyed BLAKE3 of its plaintext, one key per [`Class`].
    ChunkId, 32);
id_type!(
    /// A pack: BLAKE3 of all its bytes.
    PackId, 32);
id_type!(
    /// A snapshot: random, chosen when the run starts.
    SnapshotId, 32);
id_type!(
    /// A repository: random, chosen at `init`.
    RepositoryId, 16);
id_type!(
    /// A key family: repositories of one family share chunk ids and can take each other's packs.
    FamilyId, 16);
id_type!(
    /// A writer: the random id of one cache directory.
    WriterId, 16);
id_type!(
    /// The random part of the name of an index segment, slot, keyring, tombstone, record or note.
    ObjectId, 16);
id_type!(
    /// The 16 random bytes with which a pack begins; frames stay bound to the pack they were born in.
    Birth, 16);

/// What a pack holds, and which key its frames and chunk ids are under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Content of files and streams.
    Data,
    /// Names and attributes: leaves of the entry tree.
    Names,
    /// Lists of chunk ids: what a collector reads.
    Lists,
}

impl Class {
    /// Every class, in the order of the format's numbers.
    pub const ALL: [Class; 3] = [Class::Data, Class::Names, Class::Lists];

    /// The number of the class in the format.
    pub const fn code(self) -> u8 {
        match self {
            Class::Data => 0,
            Class::Names => 1,
            Class::Lists => 2,
        }
    }

    /// The class with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Class::Data),
            1 => Some(Class::Names),
            2 => Some(Class::Lists),
            _ => None,
        }
    }

    /// The folder of the store that holds packs of this class.
    pub const fn folder(self) -> &'static str {
        match self {
            Class::Data => "data",
            Class::Names => "names",
            Class::Lists => "lists",
        }
    }
}

/// The name of an object: `/`-separated, each part of `[a-z0-9-]`, never absolute, never `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The longest name that any object of the format has, in bytes.
    pub const BYTES_MAX: usize = 200;

    /// Checks a name that came from outside (a listing, a command line).
    pub fn parse(text: &str) -> Option<Self> {
        let part = |p: &str| !p.is_empty() && p.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        (text.len() <= Self::BYTES_MAX && text.split('/').all(part)).then(|| Self(text.to_owned()))
    }

    /// `seabed`, the descriptor.
    pub fn descriptor() -> Self {
        Self("seabed".to_owned())
    }

    /// `<class>/<xx>/<pack>`; two hexadecimal digits spread the packs over 256 folders.
    pub fn pack(class: Class, id: &PackId) -> Self {
        let name = id.to_string();
        Self(format!("{}/{}/{name}", class.folder(), &name[..2]))
    }

    /// `slots/<id>`.
    pub fn slot(id: &ObjectId) -> Self {
        Self(format!("slots/{id}"))
    }

    /// `keyring/<epoch>-<id>`, the epoch in eight hexadecimal digits so that names sort by epoch.
    pub fn keyring(epoch: u32, id: &ObjectId) -> Self {
        Self(format!("keyring/{epoch:08x}-{id}"))
    }

    /// `index/<id>`.
    pub fn segment(id: &ObjectId) -> Self {
        Self(format!("index/{id}"))
    }

    /// `pending/<snapshot>-<n>`.
    pub fn pending(id: &SnapshotId, n: u32) -> Self {
        Self(format!("pending/{id}-{n:08x}"))
    }

    /// `snapshots/<id>`; the PUT of this object is the commit.
    pub fn snapshot(id: &SnapshotId) -> Self {
        Self(format!("snapshots/{id}"))
    }

    /// `forgotten/<snapshot>-<id>`.
    pub fn tombstone(snapshot: &SnapshotId, id: &ObjectId) -> Self {
        Self(format!("forgotten/{snapshot}-{id}"))
    }

    /// `records/<sequence>-<id>`; sixteen hexadecimal digits so that names sort by sequence.
    pub fn record(sequence: u64, id: &ObjectId) -> Self {
        Self(format!("records/{sequence:016x}-{id}"))
    }

    /// `features/<name>`; `None` where the feature's name cannot stand in an object's.
    pub fn feature(name: &str) -> Option<Self> {
        Self::parse(&format!("features/{name}")).filter(|_| !name.contains('/'))
    }

    /// `holds/<snapshot>-<id>`.
    pub fn hold(snapshot: &SnapshotId, id: &ObjectId) -> Self {
        Self(format!("holds/{snapshot}-{id}"))
    }

    /// `releases/<snapshot>-<id>`.
    pub fn release(snapshot: &SnapshotId, id: &ObjectId) -> Self {
        Self(format!("releases/{snapshot}-{id}"))
    }

    /// `notes/<about>-<id>`; `about` is a snapshot or a pack, or 32 zero bytes for the repository as a whole.
    pub fn note(about: &[u8; 32], id: &ObjectId) -> Self {
        Self(format!("notes/{}-{id}", hex(about)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder at the top that it lies in; empty for the descriptor.
    pub fn folder(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(folder, _)| folder)
    }

    /// The part after the last `/`.
    pub fn last(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The pack this names, with its class, if it is the name of a pack.
    pub fn as_pack(&self) -> Option<(Class, PackId)> {
        let mut parts = self.0.split('/');
        let class = match parts.next()? {
            "data" => Class::Data,
            "names" => Class::Names,
            "lists" => Class::Lists,
            _ => return None,
        };
        let folder = parts.next()?;
        let id = parts.next()?;
        (parts.next().is_none() && id.get(..2) == Some(folder)).then_some(())?;
        Some((class, PackId::from_hex(id)?))
    }

    /// The snapshot this names, if it is the name of a committed manifest.
    pub fn as_snapshot(&self) -> Option<SnapshotId> {
        SnapshotId::from_hex(self.0.strip_prefix("snapshots/")?)
    }

    /// Snapshot and number, if this is the name of a pending manifest.
    pub fn as_pending(&self) -> Option<(SnapshotId, u32)> {
        let (id, n) = self.0.strip_prefix("pending/")?.split_once('-')?;
        Some((SnapshotId::from_hex(id)?, u32::from_be_bytes(unhex(n)?)))
    }

    /// The snapshot that is forgotten, if this is the name of a tombstone.
    pub fn as_tombstone(&self) -> Option<SnapshotId> {
        let (snapshot, id) = self.0.strip_prefix("forgotten/")?.split_once('-')?;
        ObjectId::from_hex(id)?;
        SnapshotId::from_hex(snapshot)
    }

    /// The epoch, if this is the name of a keyring.
    pub fn as_keyring(&self) -> Option<u32> {
        let (epoch, id) = self.0.strip_prefix("keyring/")?.split_once('-')?;
        ObjectId::from_hex(id)?;
        Some(u32::from_be_bytes(unhex(epoch)?))
    }

    /// What it is about and its id, if this is the name of a note.
    pub fn as_note(&self) -> Option<([u8; 32], ObjectId)> {
        let (about, id) = self.0.strip_prefix("notes/")?.split_once('-')?;
        Some((unhex(about)?, ObjectId::from_hex(id)?))
    }

    /// Sequence and id, if this is the name of a record.
    pub fn as_record(&self) -> Option<(u64, ObjectId)> {
        let (sequence, id) = self.0.strip_prefix("records/")?.split_once('-')?;
        Some((u64::from_be_bytes(unhex(sequence)?), ObjectId::from_hex(id)?))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_back_and_only_in_lower_case() {
        let id = PackId::new([0xa5; 32]);
        assert_eq!(PackId::from_hex(&id.to_string()), Some(id));
        assert_eq!(PackId::from_hex(&id.to_string().to_uppercase()), None);
        assert_eq!(PackId::from_hex("a5"), None);
    }

    #[test]
    fn names_from_outside_cannot_climb() {
        for bad in ["", "/", "a/", "/a", "../a", "a/../b", "a/./b", "A", "a\0", "a b", "data/.x"] {
            assert_eq!(ObjectName::parse(bad), None, "{bad:?}");
        }
        assert!(ObjectName::parse("index/00ff").is_some());
    }

    #[test]
    fn a_number_in_a_name_has_one_spelling() {
        let (snapshot, id) = (SnapshotId::new([3; 32]), ObjectId::new([4; 16]));
        let parse = |text: String| ObjectName::parse(&text).unwrap();
        assert_eq!(ObjectName::pending(&snapshot, 1).as_pending(), Some((snapshot, 1)));
        assert_eq!(parse(format!("pending/{snapshot}-1")).as_pending(), None);
        assert_eq!(ObjectName::keyring(7, &id).as_keyring(), Some(7));
        assert_eq!(parse(format!("keyring/7-{id}")).as_keyring(), None);
        assert_eq!(ObjectName::record(9, &id).as_record(), Some((9, id)));
        assert_eq!(ObjectName::note(snapshot.as_bytes(), &id).as_note(), Some(([3; 32], id)));
        assert_eq!(parse(format!("notes/3-{id}")).as_note(), None);
        assert_eq!(ObjectName::tombstone(&snapshot, &id).as_tombstone(), Some(snapshot));
        assert_eq!(parse(format!("forgotten/{snapshot}-x")).as_tombstone(), None);
        assert!(ObjectName::feature("delta-frames").is_some() && ObjectName::feature("a/b").is_none());
    }

    #[test]
    fn a_pack_name_must_stand_in_its_own_folder() {
        let id = PackId::new([0x12; 32]);
        let name = ObjectName::pack(Class::Names, &id);
        assert_eq!(name.as_pack(), Some((Class::Names, id)));
        let moved = ObjectName::parse(&name.as_str().replace("names/12", "names/13")).unwrap();
        assert_eq!(moved.as_pack(), None);
    }
}
